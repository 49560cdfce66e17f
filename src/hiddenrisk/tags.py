"""Thoughts between a pair of tags in the text. Pure; linear in the length of the text.

An opening tag is closed by its own closing tag only; any other tag inside is text. A tag
that is quoted, fenced as code, or stands in running text as any word is talked about and
opens or closes nothing.

A response has a few tags; one that has thousands is a model in a loop, or made to keep us
busy. After `LOOKS` tags no other is looked at: what follows belongs to the part that is
open there, but for a thought that begins after the last closing tag.
"""

import re
from bisect import bisect_left
from itertools import islice
from typing import Literal, NamedTuple

Kind = Literal["thinking", "answer", "mark"]
Style = Literal["tags", "channels", "prefilled", "none"]


class Pair(NamedTuple):
    """What stands before a thought and after it."""

    open: str
    close: str
    word: bool = False
    """A word that an answer about markup may well use: it opens a thought at the start of a
    line only, and closes one that the prompt opened only at the end of one."""


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


LOOKS = 2_000
"""How many tags are looked at on each of the few ways through a text, and how many code
fences; even, so that no code is left open there. The traces that we have hold two tags and
four fences at most."""
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
_FENCE = re.compile(r"\n[ \t]*(`{3,})[^`\n]*(`?)")
_TURN = re.compile(r"(?:\bassistant:|[|\uff5c]>(?:assistant)?)[ \t]*\Z", re.IGNORECASE)
"""What stands before a turn of the model: "Assistant:", or a special token."""
_SENTENCE_ENDS = (".", "!", "?", "\u3002", "\uff01", "\uff1f")
_ANSWER = "<answer>"
"""What R1-Zero writes after the thought. It stays in the answer: nothing is lost by it."""
_QUOTES = ("`\"'“‘«([", "`\"'”’»)]")
"""What stands before and after a tag that is quoted."""


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
    whole = _Whole(text, pairs)
    main = THINK if own is None else _own(own)
    block = _leading(whole, main, prefilled=prefilled)
    if block is None:
        return Cuts([("answer", 0, len(text))], "none", unfinished=False)
    whole.again()
    style: Style = "tags" if block.start else "prefilled"
    bounds: list[tuple[Kind, int, int]] = []
    openers = [_Places(whole, pair, pair.open) for pair in pairs]
    closers = {pair: _Places(whole, pair, pair.close) for pair in pairs}
    position = 0
    while block is not None:
        pair, mark, start = block
        bounds.append(("answer", position, mark))
        bounds.append(("mark", mark, start))
        close = _closing(whole, closers.get(pair), start, whole.fences_before(mark))
        if close < 0:
            bounds.append(("thinking", start, len(text)))
            return Cuts(bounds, style, unfinished=True)
        position = close + len(pair.close)
        bounds.append(("thinking", start, close))
        bounds.append(("mark", close, position))
        block = _opener(whole, openers, position, whole.fences_before(close))
    bounds.append(("answer", position, len(text)))
    return Cuts(bounds, style, unfinished=False)


class _Whole:
    """The text, and where blocks of code begin and end in it."""

    def __init__(self, text: str, pairs: dict[Pair, int]) -> None:
        self.text = text
        self.pairs = pairs
        self.ticks = "`" in text
        self.runs: dict[int, int] = {}
        """Start of each line that is a code fence, and how many backticks it begins with."""
        self.looks = LOOKS
        """How many tags may still be looked at."""
        if self.ticks and "```" in text:
            self._find_fences()
        self._fences = list(self.runs)
        stripped = text.lstrip()
        self.lead = len(text) - len(stripped)
        """Where the text begins, white space and a byte order mark apart."""
        if stripped.startswith("\ufeff"):
            self.lead = len(text) - len(stripped[1:].lstrip())
        self._first: dict[str, int] = {}
        self._later: dict[Pair, _Places] = {}

    def _find_fences(self) -> None:
        """Lines of three backticks and no more after them, up to a tag that ends the line."""
        text, tags = "\n" + self.text, [tag for pair in self.pairs for tag in pair[:2]]
        for fence in islice(_FENCE.finditer(text), LOOKS):
            start, end = fence.span(1)
            if not fence[2] or any(text.find(tag, end, fence.end()) >= 0 for tag in tags):
                self.runs[fence.start()] = end - start

    def first(self, pair: Pair, tag: str) -> int:
        """The first place of a tag; looked for once."""
        at = self._first.get(tag)
        if at is None:
            at = self._first[tag] = self.text.find(tag, self.pairs[pair])
        return at

    def fences_before(self, at: int) -> int:
        """Code fences that were opened or closed before a tag."""
        return bisect_left(self._fences, at) if self._fences else 0

    def closes_after(self, pair: Pair, at: int) -> bool:
        """Whether a closing tag follows that is not quoted; asked from `again` on in order."""
        places = self._later.get(pair)
        if places is None:
            places = self._later[pair] = _Places(self, pair, pair.close)
        places.seek(at)
        while places.at >= 0 and places.quoted():
            places.step()
        return places.at >= 0

    def again(self) -> None:
        """Begin anew: let `closes_after` be asked from the start."""
        self._later.clear()
        self.looks = LOOKS


class _Places:
    """The places of one tag, in the order of the text, and what stands around each."""

    __slots__ = ("_blank", "_line", "_seen", "_ticks", "_whole", "at", "pair", "size", "tag")

    def __init__(self, whole: _Whole, pair: Pair, tag: str) -> None:
        self._whole = whole
        self.pair = pair
        self.tag = tag
        self.size = len(tag)
        self.at = whole.first(pair, tag)
        """The place looked at; -1 where there is none any more."""
        self._line = self._seen = self._ticks = 0
        self._blank = True

    def step(self) -> None:
        """Go on to the next place."""
        self._find(self.at + self.size)

    def seek(self, position: int) -> None:
        """Go on to the first place from a position on."""
        if -1 < self.at < position:
            self._find(position)

    def _find(self, position: int) -> None:
        whole = self._whole
        whole.looks -= 1
        self.at = whole.text.find(self.tag, position) if whole.looks > 0 else -1

    def quoted(self) -> bool:
        """Whether the tag is in quotes, in brackets, or at an edge of a span of code."""
        before, after = self._around()
        if before and after and before in _QUOTES[0] and after in _QUOTES[1]:
            return True
        if "`" not in (before, after):
            return False
        self._look()
        return (self._ticks - self._whole.runs.get(self._line, 0)) % 2 == 1

    def line_start(self) -> bool:
        """Whether nothing but white space stands before it on its line."""
        self._look()
        return self._blank

    def line_end(self) -> bool:
        """Whether nothing stands after it on its line."""
        return self._around()[1] in {"", "\n", "\r"}

    def tight(self) -> tuple[bool, bool]:
        """Whether a character that is no white space stands right before it, and after it."""
        before, after = self._around()
        return bool(before) and not before.isspace(), bool(after) and not after.isspace()

    def turn(self) -> bool:
        """Whether it is the first of a turn of the model."""
        return _TURN.search(self._whole.text, max(0, self.at - 24), self.at) is not None

    def sentence_before(self) -> bool:
        """Whether a sentence ends before it on its line."""
        before = self._whole.text[max(0, self.at - 8) : self.at]
        return before.rstrip(" \t").endswith(_SENTENCE_ENDS)

    def answer_after(self) -> bool:
        """Whether an answer begins after it on its line, told by its tag or as a sentence."""
        end = self.at + self.size
        after = self._whole.text[end : end + 16].lstrip(" \t")
        return after.startswith(_ANSWER) or (self.sentence_before() and not after[:1].islower())

    def _around(self) -> tuple[str, str]:
        text, start = self._whole.text, self.at
        end = start + self.size
        return text[start - 1 : start] if start else "", text[end : end + 1]

    def _look(self) -> None:
        """Look at the line before the tag, from where the last look ended."""
        text, start = self._whole.text, self.at
        newline = text.rfind("\n", self._seen, start)
        if newline >= 0:
            self._line = self._seen = newline + 1
            self._ticks, self._blank = 0, True
        if self._whole.ticks:
            self._ticks += text.count("`", self._seen, start)
        self._blank = self._blank and not text[self._seen : start].strip()
        self._seen = start


def _leading(whole: _Whole, main: Pair, *, prefilled: bool) -> _Block | None:
    """The first thought, or None for no thought.

    A closing tag with no opening one before it means that the prompt opened the
    thought, unless the tag is quoted, or stands in running text as any word.
    """
    openers = [_Places(whole, pair, pair.open) for pair in whole.pairs]
    opener = _opener(whole, openers, 0, 0)
    if opener is not None and not whole.text[: opener.mark].strip():
        return opener
    whole.again()
    if prefilled and main in whole.pairs and whole.closes_after(main, 0):
        return _Block(main, 0, 0)
    lone = _lone_closing(whole)
    if prefilled:
        return _Block(main if lone is None else lone[1], 0, 0)
    if lone is not None and (opener is None or lone[0] < opener.mark):
        return _Block(lone[1], 0, 0)
    return opener


def _lone_closing(whole: _Whole) -> tuple[int, Pair] | None:
    """The first closing tag that has no opening tag of its pair before it."""
    found: list[tuple[int, Pair]] = []
    for pair in whole.pairs:
        opening, closing = _Places(whole, pair, pair.open), _Places(whole, pair, pair.close)
        for places in (opening, closing):
            while places.at >= 0 and (whole.fences_before(places.at) % 2 or places.quoted()):
                places.step()
        at = closing.at
        if at < 0 or 0 <= opening.at < at:
            continue
        start, end, tight = closing.line_start(), closing.line_end(), closing.tight()
        if (end and (start or tight[0])) or (
            not pair.word and (start or end or any(tight) or closing.answer_after())
        ):
            found.append((at, pair))
    return min(found, default=None)


def _opener(whole: _Whole, openers: list[_Places], position: int, fences: int) -> _Block | None:
    """The next opening tag that opens a thought, from a position on.

    Beyond the tags that are looked at, it is the first one after all closing tags: so that
    a thought that is cut is none of the answer there either.
    """
    block = _first_opener(whole, openers, position, fences)
    if block is None and whole.looks <= 0:
        whole.again()
        last = max(position, *(whole.text.rfind(pair.close) for pair in whole.pairs))
        openers = [_Places(whole, pair, pair.open) for pair in whole.pairs]
        block = _first_opener(whole, openers, last, whole.fences_before(last))
    return block


def _first_opener(
    whole: _Whole, openers: list[_Places], position: int, fences: int
) -> _Block | None:
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


def _at(places: _Places) -> int:
    return places.at


def _opens(whole: _Whole, tag: _Places, fences: int) -> bool:
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


def _closing(whole: _Whole, closers: _Places | None, start: int, fences: int) -> int:
    """Where the tag stands that ends the thought which begins at `start`; -1 for none.

    The first one that is neither quoted nor inside a code fence opened in the thought;
    if the fence was never closed, the first that is not quoted, which the next opening
    tag settles (so that the search stays linear over many thoughts).
    """
    if closers is None:
        return -1
    closers.seek(start)
    fallback, limit = -1, -1
    while (at := closers.at) >= 0 and not -1 < limit < at:
        if not closers.quoted():
            if (whole.fences_before(at) - fences) % 2 == 0:
                closers.step()
                return at
            if fallback < 0:
                fallback = at
                limit = whole.text.find(closers.pair.open, at)
        closers.step()
    return fallback
