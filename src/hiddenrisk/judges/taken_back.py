"""Where a judge takes its word back: "no wait", "I was wrong", "the score should be 0", "不对".

A phrase counts at the start of a clause only, so that a sentence about the text ("it tells the
reader to wait", "a correction in line 3") is none; what stands in quotation marks is none
either. `voice` sees whether a verdict stands before it, for only then is something taken back:
a judge that says "wait" while it still thinks is heard to its end.
"""

import re
from collections.abc import Iterator
from itertools import islice
from typing import NamedTuple

_MARKS = r"[\s*_`(\[]{0,8}"
_FILLERS = (
    r"(?:(?:but|oh|hm+|ah|u[hm]+|well|so|ok(?:ay)?|and|or|actually|sorry|please)\b"
    r"[\s,.…!—–-]{1,4}){0,4}"
)
_ENDS = r"(?=\s{0,8}(?:[.,;:!?…)*_—–，。！-]|$))"
_NOUN = (
    r"(?:score|grade|verdict|answer|reply|label|class(?:ification)?|category|rating|judge?ment"
    r"|assessment|evaluation|conclusion|decision|result|value)"
)
_MINE = (
    r"(?:that|this|(?:my|the|this)\s+(?:(?:first|previous|earlier|above|last|initial|own)\s+)?"
    rf"{_NOUN}(?:\s+(?:above|before|i gave))?)"
)
_WRONG = (
    r"(?:['’]s|\s+(?:is|was))\s+(?:(?:of course|clearly|actually|completely|just)\s+)?"
    rf"(?:wrong|incorrect|mistaken|false|not (?:right|correct|true|so)|withdrawn|an? (?:mistake|error)){_ENDS}"
)
_STOPS = (
    r"(?:no,?[ \t]{1,3})?"
    rf"(?:wait|hold on|hang on)(?:{_ENDS}|\s+(?:no|an?|i|that|this|it|actually|on)\b)"
    r"|no,?[ \t]{1,3}(?:scratch|sorry|actually|rather|make)\b"
    rf"|actually,?\s+(?:no\b|not{_ENDS})|sorry,?\s+(?:it|that|no)\b|w?h?oops\b"
    rf"|never ?mind{_ENDS}|my (?:mistake|bad|error)\b|(?:just |only )?(?:kidding|joking)\b"
    r"|(?:correction|edit|update|erratum)\b[\s*_]{0,8}[:,—–-]|(?:nope|nah)\b|(?:or )?rather[,:]"
)
_THINKS_AGAIN = (
    r"on (?:(?:second|further|some|more|deeper) )?(?:thoughts?|reflection|reconsideration)\b"
    r"|(?:after|upon) (?:(?:some|further|more|deeper|a little|second) ){0,3}"
    r"(?:thoughts?|reflection|reconsideration|reconsidering)\b"
    r"|having reconsidered\b|in hindsight\b|come to think of it\b|(?:thinking|looking|think) (?:about it )?(?:again|twice)\b|second thoughts?\b"
)
_CALLS_OFF = (
    r"(?:scratch|strike|cancel|undo|forget|disregard|ignore|discard) "
    r"(?:that|this|it|(?:what|all) i|my|(?:the|everything) above|the (?:previous|earlier|last))\b"
    r"|make (?:that|it) (?!clear|plain|easy|hard|possible)|(?:amend|change|correct)(?:ed)? to\b"
    rf"|changed my mind\b|(?:revised|corrected|amended|new|updated) {_NOUN}\b"
)
_I_DO = (
    r"i(?:['’](?:m|ve|d)| am| have| must| should| need to| have to| would| want to|['’]ll|['’]d like to)?\s+"
    r"(?:(?:now|just|only|actually|fully)\s+)?"
    r"(?:take (?:that|it|this|my \w+) back|(?:retract|withdraw|revoke|rescind)\b"
    r"|(?:don['’]t|do not) stand by\b|spoke too soon\b|changed? my (?:mind|verdict|answer)|reconsider(?:ed)?\b|made an? (?:mistake|error)"
    r"|(?:was )?(?:wrong|mistaken|too hasty)\b|mis(?:read|judged|spoke|typed|labell?ed|classified)\b"
    r"|rather (?:say|call|give|go with|make|rate|score)\b|meant?\b(?! by)|stand corrected|got (?:it|that|this) wrong|no longer\b|kidding\b|joking\b"
    r"|(?:correct|revise|amend|change|update|overturn|reverse) (?:my|that|this|it|myself)\b"
    r"|apologi[sz]e for (?:the|my|that|this)\b)"
    r"|let me (?:think again|re(?:think|consider|vise|evaluate|assess)|correct|change|fix|take (?:that|it) back)\b"
)
_NOT = (
    r"(?:(?:definitely|clearly|certainly|absolutely|surely|obviously|of course|probably|maybe"
    rf"|perhaps|rather)\s+not|not (?:at all|really|quite|so)|hardly|as if){_ENDS}|not(?=!)"
)
_CHINESE = (
    r"[哦啊]?不{1,3}[，！、]|修正|准确地说|不是的|不对|等等(?=[，。！,!…])|等一下|等下[，,]|且慢|慢着|更正|纠正|改正|抱歉|说错|我[说看弄搞]?错了"
    r"|我?(?:收回|撤回|改变主意|改主意|重新考虑)|仔细一想|仔细想想|再想想|转念一想|反思|作废"
    r"|(?:以上|上面|前面|之前|刚才)[^，。\n]{0,8}(?:有误|错|不对|不正确)|才怪|开玩笑|并非如此|恰恰相反|[显绝当肯明][然对定显](?:不是|不对)"
    r"|(?:应该?|应当|其实|实际上|事实上)[是为]?\s?(?=[\w-]{0,20}[a-z0-9])"
)
_NO = r"no[,.!](?=\s(?!\s{0,4}(?:wait|hold|hang|scratch|sorry|actually|rather|make)\b)|$)"
_PHRASE = re.compile(
    rf"(?<!\w)(?:(?P<core>{_STOPS}|{_THINKS_AGAIN}|{_CALLS_OFF}|{_I_DO}|{_MINE}{_WRONG}|{_NOT})"
    rf"|(?P<no>{_NO})|{_CHINESE})",
    re.IGNORECASE | re.MULTILINE,
)
_CLAUSE = re.compile(
    rf"(?:\A|\n|[^\w\s'’\"“”?-]|\s-(?=\s))(?P<start>){_MARKS}{_FILLERS}\Z", re.IGNORECASE
)
"""What stands before a phrase that begins a clause."""
# Of a bare "no": "Does it help? No." and "1. No, ..." explain.
_SENTENCE = re.compile(r"(?:\A|\n|(?<!\d)[.!;。]\s)(?P<start>)[\s*_`]{0,8}\Z")
_OUGHT = re.compile(
    rf"\b(?:{_NOUN}|it|that|this)\s+(?:should|must|ought to)\s+"
    r"(?:(?:really|actually|rather|instead|have)\s+){0,2}(?:be|been|read|say)\s+(?:an?\s+|the\s+)?"
    r"(?:\d{1,3}(?:\.\d+)?|true|false|yes|no|(?:un)?safe|(?:\w{1,12}[ -])?malicious|harm(?:ful|less))"
    r"(?=\s{0,8}(?:[.,;:!?)*_—–，。！]|$)|\s(?:instead|not|rather|because|since|here|then)\b)",
    re.IGNORECASE | re.MULTILINE,
)
"""Wherever it stands in a sentence. Labels that `word` reads are held against each other there."""
_VALUES = (r"\d{1,3}(?:\.\d{1,2})?", "true|false", "yes|no", "safe|unsafe")
_SHORT = re.compile(
    rf"(?:(?<=[.!。]\s)|^)(?P<words>[^\W\d][^\n.!?;。]{{0,40}}?[\s:：,，]|)\**(?P<value>{'|'.join(_VALUES)})"
    r"(?:, not \w+)?(?:[.!。]\**(?=\s|$)|\**\s{0,8}$)",
    re.IGNORECASE | re.MULTILINE,
)
"""A short sentence that ends with a value: "Err, 0." It is a verdict in words."""
_QUOTED = re.compile(r"\"[^\"\n]{1,200}\"|“[^”\n]{1,200}”|「[^」\n]{1,200}」")
_EXPLAINS = re.compile(r"\b(?:not|never|says?|said|step|point|item)\b|n['’]t\b")
_NO_IS_SAID = re.compile(r"no[, \t]", re.IGNORECASE)
_LOOK = 50_000
_WINDOW = 80
_MOST = 4
_FEW = 5
_JOINTS = " \t\r\n,;:.…—–-(，。；："


class TakenBack(NamedTuple):
    """A phrase that takes a word back."""

    phrase: str
    before: tuple[str, ...]
    """What stands before it. Two, where its first word may be the verdict: "No, wait"."""
    after: str


def taken_back(said: str) -> Iterator[TakenBack]:
    """The phrases of a reply that take a word back, the last ones of its end, the last first."""
    skipped, end = said[:-_LOOK], said[-_LOOK:]
    heard = _QUOTED.sub(lambda m: " " * len(m[0]), end)
    found = ((m, cuts) for m in reversed([*_PHRASE.finditer(heard)]) if (cuts := _cuts(m, heard)))
    oughts = ((m, [m.start()]) for m in reversed([*_OUGHT.finditer(heard)]))
    others = ((m, [m.start()]) for m in reversed([*_SHORT.finditer(heard)]) if _is_other(m, heard))
    both = [one for each in (found, oughts, others) for one in islice(each, _MOST)]
    for phrase, cuts in sorted(both, key=lambda one: -one[0].start())[:_MOST]:
        before = tuple(skipped + end[:cut].rstrip(_JOINTS) for cut in cuts)
        words = end[cuts[0] : phrase.end()].strip(_JOINTS)
        yield TakenBack(words, before, end[phrase.end() :])


def _is_other(short: re.Match[str], heard: str) -> bool:
    """Whether a value is of the kind that was said before it, and was not said itself."""
    value, words = short["value"].lower(), short["words"].lower()
    kind = next(kind for kind in _VALUES if re.fullmatch(kind, value, re.IGNORECASE))
    before = heard[max(0, short.start() - 400) : short.start()].lower()
    said = set(re.findall(rf"(?<![\w.])(?:{kind})(?![\w-]|\.[\w])", before))
    several = len(said) > 1 and kind is not _VALUES[0]  # then nobody knows which is meant
    prose = len(words.split()) > _FEW or _EXPLAINS.search(words) or (words and words in before)
    return not prose and bool(said) and (several or value not in said)


def _cuts(phrase: re.Match[str], heard: str) -> list[int]:
    """Where a phrase that begins a clause may be cut off; nowhere for one that does not."""
    at = phrase.start()
    start = max(0, at - _WINDOW)
    before = "x" * (start > 0) + heard[start:at]
    if phrase["core"] is None and phrase["no"] is None:
        return [at]
    clause = (_CLAUSE if phrase["core"] else _SENTENCE).search(before)
    if clause is None:
        return []
    cuts = [at - len(before) + clause.start("start"), at]
    return [*cuts, at + 2] if _NO_IS_SAID.match(phrase[0]) and phrase["core"] else cuts
