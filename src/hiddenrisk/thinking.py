"""Raw text to thinking and answer. Pure; linear in the length of the text.

Every character of the input lands in exactly one segment (thinking, answer or
mark), so that `join(split(text).segments) == text`: nothing is lost. An unfinished
thought is never an answer.

The cases, and who gets them wrong, are measured for nine parsers in the project's
notes on its peers: a closing tag alone (a chat template that opens the thought in
the prompt), a thought that is cut off, an empty thought, two thoughts, a tag quoted
in the answer, and no thought at all.
"""

import re
from typing import Literal

import msgspec

from hiddenrisk.types import Finish, Visibility

Kind = Literal["thinking", "answer", "mark"]

OPEN, CLOSE = "<think>", "</think>"
_TAGS = re.compile(r"</?think>")
_FENCE = re.compile(r"[ \t]*`{3,}[^`]*\Z")
"""A whole line that opens or closes a block of code, inside a list as well."""
_QUOTES = ("`\"'“‘«([", "`\"'”’»)]")
"""What stands before and after a tag that is quoted."""
_CUT_REASONS = frozenset(
    {
        "length", "max_tokens", "max_output_tokens",
        "model_length",  # Mistral
        "model_context_window_exceeded",  # Z.ai
    }
)  # fmt: skip
_BLOCK_REASONS = frozenset(
    {
        "content_filter", "content-filter", "safety", "refusal", "blocked",
        "sensitive",  # Z.ai
        "prohibited_content", "blocklist", "spii", "recitation",  # Gemini
    }
)  # fmt: skip
BLOCK_MARKERS = frozenset({"[PROVIDER_REFUSED]"})
"""Stock texts that stand for a provider's block in recordings; no model says them."""


class Segment(msgspec.Struct, frozen=True):
    """A stretch of the raw text: a part of the thinking, of the answer, or what separates them."""

    kind: Kind
    text: str


class Split(msgspec.Struct, frozen=True, kw_only=True):
    """A raw text taken apart.

    `thinking` is None where there was no thinking block, and "" where there was an
    empty one. `answer` is None where nothing but thinking and marks came.
    `unfinished` says that the text ends inside a thought.
    """

    segments: tuple[Segment, ...]
    thinking: str | None
    answer: str | None
    style: Literal["tags", "prefilled", "none"]
    unfinished: bool


class Reading(msgspec.Struct, frozen=True, kw_only=True):
    """What a provider's payload amounts to, once read."""

    thinking: str | None
    answer: str | None
    finish: Finish
    visibility: Visibility
    style: str


class _Tag(msgspec.Struct, frozen=True):
    """One tag in the text and what stands around it."""

    opens: bool
    start: int
    end: int
    fences: int
    """Code fences that were opened or closed before it."""
    line_start: bool
    line_end: bool
    tight_before: bool
    """A character that is no white space stands right before it."""
    tight_after: bool
    quoted: bool


def join(segments: tuple[Segment, ...]) -> str:
    """The raw text again."""
    return "".join(s.text for s in segments)


def split(text: str, *, prefilled: bool = False) -> Split:
    """Take a raw text apart.

    Args:
        text: what the model wrote, with its tags.
        prefilled: the chat template is known to open the thought in the prompt, so
            that the text starts inside it. Without this, a closing tag that comes
            before any opening one says the same.
    """
    if not prefilled and OPEN not in text and CLOSE not in text:
        return _assemble(text, [("answer", 0, len(text))], "none", unfinished=False)
    tags = _tags(text)
    last_close = max((t.start for t in tags if not t.opens and not t.quoted), default=-1)
    bounds: list[tuple[Kind, int, int]] = []
    position, unfinished = 0, False
    style: Literal["tags", "prefilled", "none"] = "none"
    first = _leading_block(text, tags, last_close, prefilled=prefilled)
    if first is not None:
        style = "prefilled" if first == 0 else "tags"
    block, floor = first, 0
    while block is not None:
        if block > 0:
            bounds.append(("answer", position, block - len(OPEN)))
            bounds.append(("mark", block - len(OPEN), block))
        close, floor = _closing(tags, block, floor)
        if close is None:
            bounds.append(("thinking", block, len(text)))
            position, unfinished = len(text), True
            break
        bounds.append(("thinking", block, close.start))
        bounds.append(("mark", close.start, close.end))
        position = close.end
        block, floor = _next_block(tags, close, floor, last_close)
    bounds.append(("answer", position, len(text)))
    return _assemble(text, bounds, style, unfinished=unfinished)


def read(
    content: str | None,
    reasoning: str | None,
    finish_reason: str | None,
    *,
    prefilled: bool = False,
    reasoning_tokens: int | None = None,
) -> Reading:
    """Make one reading of what a provider sent.

    Args:
        content: the visible message, with inline tags if the server leaves them in.
        reasoning: a field that holds the thinking apart, if the provider has one.
        finish_reason: the provider's word for why it stopped.
        prefilled: see `split`. Ignored where a field holds the thinking.
        reasoning_tokens: tokens billed as thinking; with no thinking shown, it is hidden.
    """
    by_field = bool(reasoning and reasoning.strip())
    marked = (content or "").strip() in BLOCK_MARKERS
    text = "" if marked or content is None else content
    parts = split(text, prefilled=prefilled and not by_field and bool(text.strip()))
    thoughts = [reasoning.strip()] if reasoning and by_field else []
    if parts.thinking is not None:
        thoughts.append(parts.thinking)
    thinking = "\n\n".join(t for t in thoughts if t) if thoughts else None
    style = "field" if by_field else parts.style
    reason = (finish_reason or "").lower().partition(":")[0]  # "content_filter: OTHER"
    return Reading(
        thinking=thinking,
        answer=parts.answer,
        finish=_finish(
            parts,
            bool(thinking or reasoning_tokens),
            reason,
            blocked=marked or reason in _BLOCK_REASONS,
        ),
        visibility=_visibility(thinking, reasoning_tokens),
        style=style,
    )


def _finish(parts: Split, thought: bool, reason: str, *, blocked: bool) -> Finish:
    cut = reason in _CUT_REASONS
    if blocked:
        return Finish.BLOCKED
    if parts.unfinished:
        return Finish.CUT_IN_THINKING
    if parts.answer is None:
        return Finish.CUT_IN_THINKING if cut and thought else Finish.EMPTY
    return Finish.CUT_IN_ANSWER if cut else Finish.COMPLETE


def _visibility(thinking: str | None, reasoning_tokens: int | None) -> Visibility:
    if thinking:
        return Visibility.VISIBLE
    if reasoning_tokens:
        return Visibility.HIDDEN
    return Visibility.NONE if thinking is None else Visibility.EMPTY


def _tags(text: str) -> list[_Tag]:
    """All tags with their surroundings; each gap between two tags is looked at once."""
    tags: list[_Tag] = []
    fences, ticks, last, blank = 0, 0, 0, True
    for token in _TAGS.finditer(text):
        start, end = token.span()
        newline = text.rfind("\n", last, start)
        fresh = newline >= 0 or not tags
        if fresh:
            blank, ticks = True, 0
        line = newline + 1 if newline >= 0 else last
        fences += _fences(text, last, start)
        if not (fresh and _FENCE.match(text, line, start)):  # a fence opens no code span
            ticks += text.count("`", line, start)
        before, after = text[start - 1 : start] if start else "", text[end : end + 1]
        in_code_span = ticks % 2 == 1 and "`" in (before, after)
        in_quotes = bool(before and after) and before in _QUOTES[0] and after in _QUOTES[1]
        tags.append(
            _Tag(
                opens=token.group() == OPEN,
                start=start,
                end=end,
                fences=fences,
                line_start=blank and not text[line:start].strip(),
                line_end=after in {"", "\n", "\r"},
                tight_before=bool(before) and not before.isspace(),
                tight_after=bool(after) and not after.isspace(),
                quoted=in_code_span or in_quotes,
            )
        )
        last, blank = end, False
    return tags


def _fences(text: str, start: int, end: int) -> int:
    """Code fences in a stretch of the text; each line is looked at once."""
    count, at = 0, text.find("```", start, end)
    while at >= 0:
        line = max(text.rfind("\n", start, at) + 1, start)
        stop = text.find("\n", at, end)
        stop = stop if stop >= 0 else end
        whole = line > start or start == 0
        count += whole and _FENCE.match(text, line, stop) is not None
        at = text.find("```", stop, end)
    return count


def _leading_block(text: str, tags: list[_Tag], last_close: int, *, prefilled: bool) -> int | None:
    """Where the first thought begins (its first character), or None for no thought.

    A closing tag with no opening one before it means that the prompt opened the
    thought, unless the tag is quoted, or stands in running text as any word.
    """
    opener = next((t for t in tags if t.opens and _is_opener(t, last_close)), None)
    if opener is not None and not text[: opener.start].strip():
        return opener.end
    if prefilled:
        return 0
    first = next((t for t in tags if not t.quoted and t.fences % 2 == 0), None)
    if first is not None and not first.opens:
        in_running_text = not (first.line_start or first.line_end)
        if not in_running_text or first.tight_before or first.tight_after:
            return 0
    return opener.end if opener is not None else None


def _is_opener(tag: _Tag, last_close: int, fences: int = 0) -> bool:
    """Whether an opening tag opens a thought, rather than being talked about.

    At the start of a line it does, and right after a word at the end of one; elsewhere
    only where a closing tag follows.
    `fences` are those before the text that the tag stands in: a fence that an earlier
    thought left open is not open here.
    """
    if tag.start == 0:
        return True
    if tag.quoted or (tag.fences - fences) % 2 == 1:
        return False
    if tag.line_start or (tag.line_end and tag.tight_before):
        return True
    return (tag.line_end or tag.tight_before) and tag.start < last_close


def _closing(tags: list[_Tag], block: int, floor: int) -> tuple[_Tag | None, int]:
    """The tag that ends the thought which begins at `block`, and where to look on from.

    The first one that is neither quoted nor inside a code fence opened in the thought;
    if a fence was never closed, the first that is not quoted, which the next opening
    tag settles (so that the search stays linear over many thoughts).
    """
    fallback: tuple[_Tag | None, int] = (None, len(tags))
    fences: int | None = None
    for index in range(floor, len(tags)):
        tag = tags[index]
        if tag.start < block:
            fences = tag.fences
            continue
        if fences is None:
            fences = tags[index - 1].fences if index else 0
        if tag.opens and fallback[0] is not None:
            break
        if tag.opens or tag.quoted:
            continue
        if (tag.fences - fences) % 2 == 0:
            return tag, index + 1
        if fallback[0] is None:
            fallback = (tag, index + 1)
    return fallback


def _next_block(
    tags: list[_Tag], close: _Tag, floor: int, last_close: int
) -> tuple[int | None, int]:
    """The next thought after the one that `close` ended, if there is one."""
    for index in range(floor, len(tags)):
        tag = tags[index]
        if tag.start >= close.end and tag.opens and _is_opener(tag, last_close, close.fences):
            return tag.end, index + 1
    return None, len(tags)


def _assemble(
    text: str,
    bounds: list[tuple[Kind, int, int]],
    style: Literal["tags", "prefilled", "none"],
    *,
    unfinished: bool,
) -> Split:
    """Cut the text at the bounds, white space at the edges going to the marks."""
    segments: list[Segment] = []
    for kind, start, end in bounds:
        piece = text[start:end]
        if not piece:
            continue
        core = piece.strip()
        if kind == "mark" or not core:
            segments.append(Segment("mark", piece))
            continue
        lead = len(piece) - len(piece.lstrip())
        tail = lead + len(core)
        pieces: tuple[tuple[Kind, str], ...] = (
            ("mark", piece[:lead]),
            (kind, core),
            ("mark", piece[tail:]),
        )
        segments.extend(Segment(k, t) for k, t in pieces if t)
    thoughts = [s.text for s in segments if s.kind == "thinking"]
    answers = [s.text for s in segments if s.kind == "answer"]
    return Split(
        segments=tuple(segments),
        thinking=None if style == "none" else "\n\n".join(thoughts),
        answer="\n\n".join(answers) if answers else None,
        style=style,
        unfinished=unfinished,
    )
