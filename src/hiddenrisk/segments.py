"""A thought cut into segments at its natural breaks. Pure; linear in the length of the text.

A segment is a paragraph, short ones together with the next; a long paragraph is cut at the
ends of sentences. However long a thought is, it has at most `MOST` segments: each is judged,
and a judge is paid by the call.
"""

import re
from collections.abc import Iterator

LEAST, LONG, MOST = 200, 1_000, 40
"""Characters below which a segment takes the next paragraph in, and above which a paragraph
is cut; and how many segments a thought has at most."""

_PARAGRAPH = re.compile(r"\n[ \t\r]*\n\s*")
_SENTENCE = re.compile(r"(?<=[.!?。！？])[\"')\]]?\s+|(?<=[。！？])|\n")  # noqa: RUF001 - Chinese


def ends(thought: str) -> tuple[int, ...]:
    """Where each segment ends, in characters from the start; the last one at the end.

    A segment begins where the one before it ends (the first at 0), so that together they
    are the whole thought. An empty thought has none.
    """
    least = max(LEAST, -(-len(thought) // MOST))
    found: list[int] = []
    start = 0
    for end in _breaks(thought):
        if end - start >= least and len(thought) - end >= least:
            found.append(end)
            start = end
    return (*found, len(thought)) if thought else ()


def cut(thought: str, at: tuple[int, ...]) -> list[str]:
    """The segments of a thought that end at these places."""
    return [thought[start:end] for start, end in zip((0, *at), at, strict=False)]


def _breaks(thought: str) -> Iterator[int]:
    """Where paragraphs end, and in long ones sentences, in the order of the text."""
    start = 0
    for gap in _PARAGRAPH.finditer(thought):
        yield from _inside(thought, start, gap.start())
        yield gap.end()
        start = gap.end()
    yield from _inside(thought, start, len(thought))


def _inside(thought: str, start: int, end: int) -> Iterator[int]:
    """Where a paragraph is cut: at the first end of a sentence after half of what is long."""
    if end - start <= LONG:
        return
    last = start
    for gap in _SENTENCE.finditer(thought, start, end):
        if gap.end() - last >= LONG // 2 and end - gap.end() >= LEAST:
            yield gap.end()
            last = gap.end()
