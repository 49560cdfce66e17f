"""Thoughts between a pair of tags in the text. Pure; linear in the length of the text.

An opening tag is closed by its own closing tag only; any other tag inside is text. A tag
that is quoted, fenced as code, or stands in running text as any word is talked about and
opens or closes nothing. Where the first closing tag may be talked about, one that stands firm
after it goes before it.

A response has a few tags; one that has thousands is a model in a loop, or made to keep us
busy. After `LOOKS` tags no other is looked at: what follows belongs to the part that is
open there, but for a thought that begins after the last closing tag.
"""

import re
from functools import lru_cache
from itertools import islice
from typing import Literal, NamedTuple

from hiddenrisk.places import Pair, Places, Whole

Kind = Literal["thinking", "answer", "mark"]
Style = Literal["tags", "channels", "prefilled", "none"]


class Cuts(NamedTuple):
    """Where a text is taken apart, each stretch with what it is."""

    bounds: list[tuple[Kind, int, int]]
    style: Style
    unfinished: bool


class _Block(NamedTuple):
    """A thought that begins; `mark` and `start` are the same where the prompt began it."""

    pair: Pair
    mark: int
    start: int
    close: int = -1
    """Where its closing tag stands, if that alone told of the thought."""


_NESTED = 16
"""How many tags are looked at to see whether nested thoughts balance."""
THINK = Pair("<think>", "</think>")
_KINDS = (
    ("<", "think>", (("think>", THINK), ("seed:think>", Pair("<seed:think>", "</seed:think>")))),
    (
        "<",
        "ing>",
        (
            ("thinking>", Pair("<thinking>", "</thinking>", word=True)),
            ("reasoning>", Pair("<reasoning>", "</reasoning>", word=True)),
        ),
    ),
    ("<", "thought>", (("thought>", Pair("<thought>", "</thought>", word=True)),)),  # Gemini
    ("[", "THINK]", (("THINK]", Pair("[THINK]", "[/THINK]")),)),
    ("◁", "think▷", (("think▷", Pair("◁think▷", "◁/think▷")),)),
)
"""The pairs that are known, under what their tags begin and end with: to see that a text has
no tag at all takes few searches (one for a single character costs next to nothing)."""


def present(text: str, own: tuple[str, str] | None = None) -> dict[Pair, int]:
    """The pairs of which the text has a tag, the user's own one first.

    With each goes a place before which none of its tags stands.
    """
    pairs: dict[Pair, int] = {}
    if own is not None:
        mine = _own(own)
        places = [at for tag in own if (at := text.find(tag)) >= 0]
        if places:
            pairs[mine] = min(places)
    for first, ending, kinds in _KINDS:
        start = text.find(ending) if first in text else -1
        if start < 0:
            continue
        for end, pair in kinds:
            longer = len(pair.close) - len(end)
            at = start if end == ending else text.find(end, max(0, start - len(end)))
            if at >= 0 and pair[:2] != own:
                pairs[pair] = max(0, at - longer)
    return pairs


def pairs(own: tuple[str, str] | None = None) -> list[tuple[str, str]]:
    """All pairs that are known, the user's own one first."""
    found = [(pair.open, pair.close) for _, _, kinds in _KINDS for _, pair in kinds]
    return found if own is None else [own, *found]


def _own(tags: tuple[str, str]) -> Pair:
    if not all(t.strip() for t in tags) or tags[0] == tags[1]:
        raise ValueError("the tags of a thought are two different texts, neither of them blank")
    return Pair(*tags)


def cut(
    text: str, pairs: dict[Pair, int], *, prefilled: bool, own: tuple[str, str] | None = None
) -> Cuts:
    """Find the thoughts of a text between the tags of these pairs.

    Args:
        text: the text.
        pairs: those of which the text has a tag, as `present` gives them.
        prefilled: the text is known to start inside a thought.
        own: the user's own pair, of which the prompt then opened a thought.
    """
    whole = Whole(text, pairs)
    main = THINK if own is None else _own(own)
    block = _leading(whole, main, prefilled=prefilled)
    if block is None:
        return Cuts([("answer", 0, len(text))], "none", unfinished=False)
    whole.again()
    style: Style = "tags" if block.start else "prefilled"
    bounds: list[tuple[Kind, int, int]] = []
    openers = [Places(whole, pair, pair.open) for pair in pairs]
    closers = {pair: Places(whole, pair, pair.close) for pair in pairs}
    position = 0
    while block is not None:
        pair, mark, start, close = block
        bounds.append(("answer", position, mark))
        bounds.append(("mark", mark, start))
        if close < 0:
            close = _closing(whole, closers.get(pair), start, whole.fences_before(mark))
        if close < 0:
            bounds.append(("thinking", start, len(text)))
            return Cuts(bounds, style, unfinished=True)
        position = _behind(whole, closers[pair], close)
        bounds.append(("thinking", start, close))
        bounds.append(("mark", close, position))
        block = _opener(whole, openers, position, whole.fences_before(close))
    bounds.append(("answer", position, len(text)))
    return Cuts(bounds, style, unfinished=False)


def _leading(whole: Whole, main: Pair, *, prefilled: bool) -> _Block | None:
    """The first thought, or None for no thought.

    A closing tag with no opening one before it means that the prompt opened the
    thought, unless the tag is quoted, or stands in running text as any word.
    """
    openers = [Places(whole, pair, pair.open) for pair in whole.pairs]
    opener = _opener(whole, openers, 0, 0)
    if opener is not None and not whole.text[: opener.mark].strip():
        return opener
    whole.again()
    if prefilled and main in whole.pairs and whole.closes_after(main, 0):
        return _Block(main, 0, 0)
    lone = _lone_closing(whole, len(whole.text) if opener is None else opener.mark)
    if prefilled:
        return _Block(main if lone is None else lone[1], 0, 0)
    return opener if lone is None else _Block(lone[1], 0, 0, close=lone[0])


def _lone_closing(whole: Whole, end: int) -> tuple[int, Pair] | None:
    """The first closing tag, before the thought that begins at `end`, of one that the prompt began."""
    found = [(_lone(whole, pair, end), pair) for pair in whole.pairs]
    return min((one for one in found if one[0] >= 0), default=None)


def _lone(whole: Whole, pair: Pair, end: int) -> int:
    """The closing tag of a pair that closes what the prompt began; -1 for none.

    Where tags are talked about before it, it has to stand firm, or between two sentences. In
    a block of code it closes only where the block was left open before it.
    """
    closing = Places(whole, pair, pair.close)
    if not -1 < closing.at < end:
        return -1
    spoken, opened = _spoken(whole, pair)
    if pair.word:
        end = min(end, spoken)
    told, in_code, mentioned = -1, -1, False
    while -1 < closing.at < end:
        at = closing.at
        if closing.quoted():
            pass
        elif whole.fences_before(at) % 2:
            if in_code < 0 and at < opened and closing.firm() and whole.left_open(at):
                in_code = at
        elif _closes_alone(closing, spoken=mentioned or spoken < at):
            if told >= 0 or not closing.in_words():
                return at
            told, mentioned = at, True
        else:
            mentioned = True
        closing.step()
    return told if told >= 0 else in_code


def _closes_alone(closing: Places, *, spoken: bool) -> bool:
    if closing.pair.word or closing.firm():
        return closing.firm()
    if spoken:
        return closing.answer_after()
    return (
        closing.line_start() or closing.line_end() or any(closing.tight()) or closing.answer_after()
    )


def _spoken(whole: Whole, pair: Pair) -> tuple[int, int]:
    """The first opening tag that is neither quoted nor code, and the first that might open.

    The end of the text where there is none.
    """
    opening, opened = Places(whole, pair, pair.open), len(whole.text)
    while opening.at >= 0:
        if opening.may_open():
            opened = min(opened, opening.at)
        if not (whole.fences_before(opening.at) % 2 or opening.quoted()):
            return opening.at, opened
        opening.step()
    return len(whole.text), opened


def _opener(whole: Whole, openers: list[Places], position: int, fences: int) -> _Block | None:
    """The next opening tag that opens a thought, from a position on.

    Beyond the tags that are looked at, it is the first one after all closing tags: so that
    a thought that is cut is none of the answer there either.
    """
    block = _first_opener(whole, openers, position, fences)
    if block is None and whole.looks <= 0:
        whole.again()
        last = max(position, *(whole.text.rfind(pair.close) for pair in whole.pairs))
        openers = [Places(whole, pair, pair.open) for pair in whole.pairs]
        block = _first_opener(whole, openers, last, whole.fences_before(last))
    return block


def _first_opener(whole: Whole, openers: list[Places], position: int, fences: int) -> _Block | None:
    for places in openers:
        places.seek(position)
    left = [places for places in openers if places.at >= 0]
    while left:
        places = left[0] if len(left) == 1 else min(left, key=_at)
        if _opens(whole, places, fences):
            return _Block(places.pair, places.at, places.at + places.size)
        places.step()
        if places.at < 0:
            left.remove(places)
    return None


def _at(places: Places) -> int:
    return places.at


def _opens(whole: Whole, tag: Places, fences: int) -> bool:
    """Whether an opening tag opens a thought, rather than being talked about.

    At the start of a line it does, and right after a word at the end of one. Elsewhere no
    word of the language does: at the start of a turn, or after a sentence at the end of a
    line, and else only where a closing tag follows.
    `fences` are those before the text that the tag stands in: a fence that an earlier
    thought left open is not open here.
    """
    if tag.at in {0, whole.lead}:
        return True
    if tag.quoted() or (whole.fences_before(tag.at) - fences) % 2 == 1:
        return False
    end, (tight_before, tight_after) = tag.line_end(), tag.tight()
    if tag.line_start():
        return not tag.pair.word or end or tight_after
    if end and tight_before:
        return True
    if tag.pair.word:
        return False
    if tag.turn() or (end and tag.sentence_before()):
        return True
    return (end or tight_before) and whole.closes_after(tag.pair, tag.at)


def _closing(whole: Whole, closers: Places | None, start: int, fences: int) -> int:
    """Where the tag stands that ends the thought which begins at `start`; -1 for none.

    The first one that is neither quoted nor inside a code fence opened in the thought. Two
    things are settled by what comes before the next opening tag (so that the search stays
    linear over many thoughts): if the fence was never closed, the first that is not quoted
    ends it; if the first stands among words and one stands firm after it, that one does.
    """
    if closers is None:
        return -1
    closers.seek(start)
    told, in_code, limit = -1, -1, -1
    while (at := closers.at) >= 0 and not -1 < limit < at:
        if not closers.quoted():
            if (whole.fences_before(at) - fences) % 2:
                in_code = at if in_code < 0 else in_code
            elif closers.firm() if told >= 0 else not closers.in_words():
                return _balanced(whole, closers, start, fences)
            elif told < 0:
                told = at
            if limit < 0:
                limit = whole.opening_after(closers.pair, at)
        closers.step()
    return told if told >= 0 else in_code


def _balanced(whole: Whole, closing: Places, start: int, fences: int) -> int:
    """The closing tag that is looked at, or the one that balances opening tags before it.

    Only tags on lines of their own are counted: a thought that holds such opening tags, and
    as many closing ones, is closed by the one after those.
    """
    at, pair = closing.at, closing.pair
    if whole.text.find(pair.open, start, at) < 0 or not (closing.line_start() and closing.firm()):
        return at
    depth = 1
    for tag in islice(_alone(pair).finditer(whole.text, start), _NESTED):
        if (whole.fences_before(tag.start(1)) - fences) % 2 == 0:
            depth += 1 if tag[1] == pair.open else -1
        if depth == 0:
            return tag.start(1)
    return at


@lru_cache(maxsize=64)
def _alone(pair: Pair) -> re.Pattern[str]:
    """The tags of a pair that have a line for themselves."""
    return re.compile(
        rf"^[ \t]*({re.escape(pair.open)}|{re.escape(pair.close)})[ \t\r]*$", re.MULTILINE
    )


def _behind(whole: Whole, closers: Places, close: int) -> int:
    """Where the mark ends that begins with a closing tag: one that comes twice is one mark."""
    position = close + closers.size
    closers.seek(position)
    while closers.at >= 0 and not whole.text[position : closers.at].strip():
        if closers.goes_on():
            break
        position = closers.at + closers.size
        closers.step()
    return position
