"""Where the tags of a text stand, what stands around each, and which blocks of code they are in.

Pure. `tags` asks it whether a tag opens or closes a thought.
"""

import re
from bisect import bisect_left
from itertools import islice
from typing import NamedTuple


class Pair(NamedTuple):
    """What stands before a thought and after it."""

    open: str
    close: str
    word: bool = False
    """A word that an answer about markup may well use: it opens a thought at the start of a
    line only, and closes one that the prompt opened only at the end of one."""


LOOKS = 2_000
"""How many tags are looked at on each of the few ways through a text, and how many code
fences; even, so that no code is left open there. The traces that we have hold two tags and
four fences at most."""
_FENCE = re.compile(r"\n[ \t]*```+[^`\n]*(`)?")
_RUN = re.compile(r"[ \t]*(`+)")
_TURN = re.compile(r"(?:\bassistant:|[|\uff5c]>(?:assistant)?|</answer>)[ \t]*\Z", re.IGNORECASE)
"""What stands before a turn of the model: "Assistant:", a special token, or R1-Zero's answer."""
_SENTENCE_ENDS = (".", "!", "?", "\u3002", "\uff01", "\uff1f")
_ANSWER = "<answer>"
"""What R1-Zero writes after the thought. It stays in the answer: nothing is lost by it."""
_FIGURE_ENDS = frozenset("0123456789$}])")
"""What a result ends in that stands before the tag: "so we get 4 </think> The answer is 4"."""
_PAUSES = frozenset(".,;:")
_QUOTES = ("`\"'“‘«([", "`\"'”’»)]")
"""What stands before and after a tag that is quoted."""


class Whole:
    """The text, and where blocks of code begin and end in it."""

    def __init__(self, text: str, pairs: dict[Pair, int]) -> None:
        self.text = text
        self.pairs = pairs
        self.ticks = "`" in text
        self.looks = LOOKS
        """How many tags may still be looked at."""
        self._fences = self._find_fences() if self.ticks and "```" in text else []
        """The start of each line that is a code fence."""
        self._run = (-1, 0)
        stripped = text.lstrip()
        self.lead = len(text) - len(stripped)
        """Where the text begins, white space and a byte order mark apart."""
        if stripped.startswith("\ufeff"):
            self.lead = len(text) - len(stripped[1:].lstrip())
        self._first: dict[str, int] = {}
        self._later: dict[str, Places] = {}

    def _find_fences(self) -> list[int]:
        """Lines of three backticks and no more after them, up to a tag that ends the line."""
        fences = islice(_FENCE.finditer("\n" + self.text), LOOKS)
        return [f.start() for f in fences if not f.lastindex or self._tag_in(f)]

    def _tag_in(self, fence: re.Match[str]) -> bool:
        """Whether a tag stands between the backticks of a line."""
        return any(tag in fence[0] for pair in self.pairs for tag in pair[:2])

    def run(self, line: int) -> int:
        """How many backticks a line begins with, if it is a code fence."""
        place = bisect_left(self._fences, line)
        if place == len(self._fences) or self._fences[place] != line:
            return 0
        if self._run[0] != line and (found := _RUN.match(self.text, line)):
            self._run = (line, found.end(1) - found.start(1))
        return self._run[1]

    def first(self, pair: Pair, tag: str) -> int:
        """The first place of a tag; looked for once."""
        at = self._first.get(tag)
        if at is None:
            at = self._first[tag] = self.text.find(tag, self.pairs[pair])
        return at

    def fences_before(self, at: int) -> int:
        """Code fences that were opened or closed before a tag."""
        return bisect_left(self._fences, at) if self._fences else 0

    def left_open(self, at: int) -> bool:
        """Whether the block of code that a place is in was left open before it.

        It was where the fences that follow make whole blocks on their own. A fence that names
        a language closes nothing.
        """
        after = self._fences[self.fences_before(at) :]
        if len(after) % 2:
            return False
        inside = False
        for line in after:
            end = self.text.find("\n", line)
            words = self.text[line : end if end >= 0 else len(self.text)].strip(" \t\r`")
            named = bool(words) and not words.startswith(("<", "[", "◁"))
            inside = named or not inside
        return not inside

    def closes_after(self, pair: Pair, at: int) -> bool:
        """Whether a closing tag follows that is not quoted; asked from `again` on in order."""
        places = self._from(pair, pair.close, at)
        while places.at >= 0 and places.quoted():
            places.step()
        return places.at >= 0

    def opening_after(self, pair: Pair, at: int) -> int:
        """The next opening tag that may open a thought, -1 for none; asked in order as well."""
        places = self._from(pair, pair.open, at)
        while places.at >= 0 and not places.may_open():
            places.step()
        return places.at

    def _from(self, pair: Pair, tag: str, at: int) -> "Places":
        places = self._later.get(tag)
        if places is None:
            places = self._later[tag] = Places(self, pair, tag)
        places.seek(at)
        return places

    def again(self) -> None:
        """Begin anew: let what follows be asked from the start."""
        self._later.clear()
        self.looks = LOOKS


class Places:
    """The places of one tag, in the order of the text, and what stands around each."""

    __slots__ = ("_blank", "_line", "_seen", "_ticks", "_whole", "at", "pair", "size", "tag")

    def __init__(self, whole: Whole, pair: Pair, tag: str) -> None:
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
        return (self._ticks - self._whole.run(self._line)) % 2 == 1

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
        after = self._after()
        if after.startswith(_ANSWER):
            return True
        if self.sentence_before():
            return not after[:1].islower()
        before = self._whole.text[max(0, self.at - 8) : self.at].rstrip(" \t")
        return before[-1:] in _FIGURE_ENDS and (after[:1].isupper() or not after[:1].strip())

    def firm(self) -> bool:
        """Whether it ends its line, alone on it or right behind what was said.

        So stands a closing tag that closes; few that are talked about do.
        """
        if self.pair.word:
            return self.line_end() and (self.tight()[0] or self.line_start())
        if self._after()[:1] not in {"", "\n", "\r"}:
            return False
        return self.tight()[0] or self.line_start() or self.sentence_before()

    def in_words(self) -> bool:
        """Whether a sentence goes on from before it to after it: it may be talked about."""
        before = self._around()[0]
        if not before or not (before in " \t" or before.isalnum()):
            return False
        return self.goes_on() and not self.line_start() and not self.sentence_before()

    def goes_on(self) -> bool:
        """Whether what follows goes on with a sentence."""
        end = self.at + self.size
        after, then = self._whole.text[end : end + 1], self._whole.text[end + 1 : end + 2]
        return then.islower() if after == " " else after in _PAUSES and then in {" ", "\n"}

    def may_open(self) -> bool:
        """Whether an opening tag stands where one may open a thought at all."""
        if self.at in {0, self._whole.lead}:
            return True
        if self.quoted():
            return False
        return self.line_end() or self.tight()[0] or self.line_start() or self.turn()

    def _after(self) -> str:
        """The beginning of what follows on its line, without the space before it."""
        end = self.at + self.size
        return self._whole.text[end : end + 16].lstrip(" \t")

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
