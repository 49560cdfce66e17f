"""What a judge says in its own voice: its reply without thoughts, quotations and suppositions.

`quoting` cuts what a reply copied from the prompt. Here the reply's own form tells what is no
verdict: a block in think tags, a quotation (`> ...`), what is struck out (`~~...~~`), and what
a line such as "The text ends with:" or "If it had declined, I would write:" introduces. A verdict
that the judge takes back (`taken_back`) is none either, unless it gives the same one again.
"""

import re
from collections.abc import Callable
from functools import partial, wraps
from typing import Concatenate, ParamSpec, TypeVar

from hiddenrisk.errors import JudgeError
from hiddenrisk.judges.objects import whole
from hiddenrisk.judges.quoting import MARK
from hiddenrisk.judges.taken_back import taken_back
from hiddenrisk.thinking import split
from hiddenrisk.types import Opinion, Reason

P = ParamSpec("P")
T = TypeVar("T")

_TAGS = r"(?:(?:seed:)?think(?:ing)?|reasoning|thought)"
_THOUGHT = re.compile(rf"\s*(?:<{_TAGS}>|\[THINK\]|◁think▷|<\|(?:start|channel)\|>)", re.IGNORECASE)
# Without its opening tag it may be a quotation, so what stands before it is not dropped: no
# verdict may hang on it.
_CLOSING = re.compile(rf"</{_TAGS}>|\[/THINK\]|◁/think▷", re.IGNORECASE)
_STRUCK = re.compile(r"~~[^~\n]{1,400}~~")
_FENCE = re.compile(r"\s*(?:```|~~~)")
_CLAUSE = re.compile(r"(?<=[.!?;])\s+")
_OTHERS_SAY = re.compile(
    r"\b(?:says?|said|reads?|ends?|ended|ending|begins?|starts?|opens?|closes?|claims?|claimed"
    r"|claiming|contains?|containing|includes?|states?|stating|wrote|writes?|written|holds?"
    r"|concludes?|instructs?|orders?|demands?|asks?|tells?|wants?|tries|pretends?|quotes?|quoted"
    r"|quoting|plants?|planted|injected|embedded|hidden|considered|if|were|had|would have"
    r"|instead|rather than|not|never|neither|cannot|wrong|options?|choices|candidates|possible"
    r"|examples?|instance|could|might|maybe|perhaps|possibly|following (?:string|line|text|words?))\b|n['’]t\b",
    re.IGNORECASE,
)
_I_SAY = re.compile(
    r"\b(?:my|final|i (?:would |will |must |therefore |thus )?(?:say|conclude|find|answer|judge"
    r"|reply|classify|rate|give))\b",
    re.IGNORECASE,
)
_SUPPOSES = re.compile(
    r"\b(?:if|had|were|would have|could|might)\b|n['’]t\b|\bnot\b", re.IGNORECASE
)


def answered(reply: str) -> str:
    """The reply without the thought that it begins with; empty where that never ends."""
    return (split(reply).answer or "") if _THOUGHT.match(reply) else reply


def own_voice(reply: str) -> str:
    """The reply, with `[...]` in the place of what the judge quotes, strikes out or supposes."""
    if whole(reply) is not None:
        return reply  # its texts are no verdicts, and the object is
    *thoughts, said = _CLOSING.split(reply)
    lines = _STRUCK.sub(MARK, said).splitlines()
    kept, at = [MARK] * bool(thoughts), 0
    while at < len(lines):
        line = lines[at]
        kept.append(MARK if line.lstrip().startswith(">") else line)
        at += 1
        if introduces(line):
            end = _end_of_block(lines, at)
            kept += [MARK] * (end > at)
            at = end
    return "\n".join(kept)


def introduces(line: str) -> bool:
    """Whether a line announces, behind a colon at its end, what is not the judge's verdict."""
    line = line[-400:].strip(" \t*_`\"'“”")
    if not line.endswith(":"):
        return False
    clause = _CLAUSE.split(line)[-1]
    if _I_SAY.search(clause):
        return _SUPPOSES.search(clause) is not None
    return _OTHERS_SAY.search(clause) is not None


def _end_of_block(lines: list[str], start: int) -> int:
    """Where the paragraph or code block ends that follows a line."""
    at = start
    while at < len(lines) and not lines[at].strip():
        at += 1
    if at < len(lines) and _FENCE.match(lines[at]):
        at += 1
        while at < len(lines) and not _FENCE.match(lines[at]):
            at += 1
        return min(at + 1, len(lines))
    while at < len(lines) and lines[at].strip():
        at += 1
    return at


def spoken(parse: Callable[Concatenate[str, P], T]) -> Callable[Concatenate[str, P], T]:
    """The parser, made to take a verdict from what the judge says in its own voice only.

    A verdict that it quotes still counts against another one: a reply in which two verdicts
    stand is none, whoever says them.
    """

    @wraps(parse)
    def heard(reply: str, *args: P.args, **kwargs: P.kwargs) -> T:
        answer = answered(reply)
        said = parse(answer, *args, **kwargs)
        voice = own_voice(answer)
        again = partial(_same, said, parse=lambda v: parse(v, *args, **kwargs))
        if voice != answer and not again(voice):
            raise JudgeError(
                Reason.JUDGE_UNPARSABLE,
                "the verdict stands only in what the judge quotes or supposes",
            )
        if phrase := _taken_back(voice, again):
            raise JudgeError(
                Reason.JUDGE_UNPARSABLE, f"the reply gives a verdict, and then says {phrase!r}"
            )
        return said

    return heard


def _taken_back(voice: str, again: Callable[[str], bool]) -> str:
    """The words by which a reply takes its verdict back; empty where it does not.

    Args:
        voice: the reply, in the judge's own voice.
        again: whether a text gives the reply's verdict.
    """
    if whole(voice) is not None:
        return ""
    for phrase, before, after in taken_back(voice):
        if any(map(again, before)):
            return "" if again(after) else phrase[:60]
    return ""


def _same(said: T, voice: str, *, parse: Callable[[str], T]) -> bool:
    try:
        again = parse(voice)
    except JudgeError:
        return False
    if isinstance(said, Opinion) and isinstance(again, Opinion):
        return (said.label, said.score) == (again.label, again.score)
    return said == again
