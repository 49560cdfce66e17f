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

import msgspec

from hiddenrisk import harmony
from hiddenrisk.tags import Cuts, Kind, Style, cut, present
from hiddenrisk.types import Finish, Visibility

_CUT_REASONS = frozenset(
    {
        "length", "max_tokens", "max_output_tokens",
        "model_length",  # Mistral
        "model_context_window_exceeded",  # Z.ai
    }
)  # fmt: skip
_BLOCK_REASONS = frozenset(
    {
        "content_filter", "content-filter", "blocked", Finish.BLOCKED_ON_OUTPUT.value,
        "refusal",  # Anthropic's classifier
        "sensitive",  # Z.ai
        "safety", "prohibited_content", "blocklist", "spii", "recitation", "language",  # Gemini
        "image_safety", "image_prohibited_content", "image_recitation", "model_armor",  # Gemini
        "guardrail_intervened", "content_filtered",  # Bedrock
        "error_toxic",  # Cohere
    }
)  # fmt: skip
"""Why a reply ended, where a filter took from what the model wrote."""
BLOCK_MARKERS = frozenset({"[PROVIDER_REFUSED]"})
"""Stock texts that stand for a provider's block in recordings; no model says them."""
_TOKENS_ALONE = re.compile(
    r"(?:<[|\uff5c][^<>|\uff5c\s]{1,40}[|\uff5c]>|</?s>|<eos>|<end_of_turn>|</think>|\s)+"
)
"""Special tokens that a server left in the text, as `<|im_end|>`, and a closing tag that came
twice: alone, they are no answer."""


_UNSEEN = re.compile(
    r"[\s\u00ad\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f"
    r"\u202a-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0]*"
)
"""Characters without a width or a form of their own, as a BOM. Unicode's tags are none of
them: they spell words."""


class Segment(msgspec.Struct, frozen=True, gc=False):
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
    style: Style
    unfinished: bool


class Reading(msgspec.Struct, frozen=True, kw_only=True):
    """What a provider's payload amounts to, once read."""

    thinking: str | None
    answer: str | None
    finish: Finish
    visibility: Visibility
    style: str


def join(segments: tuple[Segment, ...]) -> str:
    """The raw text again."""
    return "".join(s.text for s in segments)


def split(text: str, *, prefilled: bool = False, tags: tuple[str, str] | None = None) -> Split:
    """Take a raw text apart.

    Args:
        text: what the model wrote, with its tags.
        prefilled: the chat template is known to open the thought in the prompt, so
            that the text starts inside it. Without this, a closing tag that comes
            before any opening one says the same.
        tags: what this model writes before and after a thought, if that is none of the
            pairs that are known.

    Raises:
        ValueError: `tags` are the same, or blank.
    """
    found = harmony.cut(text)
    if found is None:
        pairs = present(text, tags)
        if not pairs and not prefilled:
            return _assemble(text, Cuts([("answer", 0, len(text))], "none", unfinished=False))
        found = cut(text, pairs, prefilled=prefilled, own=tags)
    return _assemble(text, found)


def read(
    content: str | None,
    reasoning: str | None,
    finish_reason: str | None,
    *,
    prefilled: bool = False,
    reasoning_tokens: int | None = None,
    tags: tuple[str, str] | None = None,
    marked: Finish | None = None,
) -> Reading:
    """Make one reading of what a provider sent.

    Args:
        content: the visible message, with inline tags if the server leaves them in.
        reasoning: a field that holds the thinking apart, if the provider has one.
        finish_reason: the provider's word for why it stopped.
        prefilled: see `split`. Ignored where a field holds the thinking.
        reasoning_tokens: tokens billed as thinking; with no thinking shown, it is hidden.
        tags: see `split`.
        marked: what the provider says elsewhere than in the reason: that a filter blocked
            the call, or that the answer is the model's refusal.
    """
    field = _untagged(reasoning, tags) if reasoning else ""
    by_field = bool(field)
    stock = (content or "").strip() in BLOCK_MARKERS
    text = "" if stock or content is None else content
    parts = split(text, prefilled=prefilled and not by_field and bool(text.strip()), tags=tags)
    parts = msgspec.structs.replace(parts, answer=_seen(parts.answer) or None)
    thoughts = [field] if by_field else []
    if parts.thinking is not None and not (by_field and parts.thinking == field):  # sent twice
        thoughts.append(_seen(parts.thinking))
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
            Finish.BLOCKED_ON_OUTPUT if stock else _marked(reason, marked),
        ),
        visibility=_visibility(thinking, reasoning_tokens),
        style=style,
    )


def _untagged(reasoning: str, tags: tuple[str, str] | None) -> str:
    """What a field holds of a thought, without the tags that a server left around it.

    Where some of it would be an answer, the tags are words of the thought.
    """
    parts = split(reasoning, tags=tags)
    return _seen(parts.thinking if parts.thinking and parts.answer is None else reasoning).strip()


def _seen(text: str | None) -> str:
    """The text; empty where nothing of it can be seen."""
    return "" if text is None or _UNSEEN.fullmatch(text) else text


def is_block(reason: str) -> bool:
    """Whether a finish reason says that a filter took from what the model wrote."""
    return reason.lower() in _BLOCK_REASONS


def _marked(reason: str, marked: Finish | None) -> Finish | None:
    """A block or a refusal: what names its side goes before what the reason says."""
    if marked is not None and marked.blocked:
        return marked
    if is_block(reason):
        return Finish.BLOCKED_ON_OUTPUT
    ours = (Finish.BLOCKED_ON_INPUT, Finish.REFUSED)
    return next((finish for finish in ours if finish.value == reason), marked)


def _finish(parts: Split, thought: bool, reason: str, marked: Finish | None) -> Finish:
    cut, closed = reason in _CUT_REASONS, parts.thinking is not None
    if marked is not None and marked.blocked:
        return marked
    if parts.unfinished:
        return Finish.CUT_IN_THINKING
    if parts.answer is None:
        # A thought in the text that was closed is whole; of one beside the text nobody says.
        return Finish.CUT_IN_THINKING if cut and thought and not closed else Finish.EMPTY
    return Finish.CUT_IN_ANSWER if cut else marked or Finish.COMPLETE


def _visibility(thinking: str | None, reasoning_tokens: int | None) -> Visibility:
    if thinking:
        return Visibility.VISIBLE
    if reasoning_tokens:
        return Visibility.HIDDEN
    return Visibility.NONE if thinking is None else Visibility.EMPTY


def _tokens_alone(answer: str) -> bool:
    return answer[0] == "<" and len(answer) < 200 and _TOKENS_ALONE.fullmatch(answer) is not None


def _assemble(text: str, cuts: Cuts) -> Split:
    """Cut the text at the bounds, white space at the edges going to the marks."""
    segments: list[Segment] = []
    thoughts: list[str] = []
    answers: list[str] = []
    for kind, start, end in cuts.bounds:
        if start == end:
            continue
        piece = text[start:end]
        core = piece if kind == "mark" else piece.strip()
        if kind == "mark" or not core or (kind == "answer" and _tokens_alone(core)):
            segments.append(Segment("mark", piece))
            continue
        (thoughts if kind == "thinking" else answers).append(core)
        if len(core) == len(piece):
            segments.append(Segment(kind, core))
            continue
        lead = len(piece) - len(piece.lstrip())
        if lead:
            segments.append(Segment("mark", piece[:lead]))
        segments.append(Segment(kind, core))
        if lead + len(core) < len(piece):
            segments.append(Segment("mark", piece[lead + len(core) :]))
    return Split(
        segments=tuple(segments),
        thinking=None if cuts.style == "none" else "\n\n".join(thoughts),
        answer="\n\n".join(answers) if answers else None,
        style=cuts.style,
        unfinished=cuts.unfinished,
    )
