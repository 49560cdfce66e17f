"""Thinking in the shapes that providers send it in: parts of the content, details. Pure."""

from typing import Literal, NamedTuple

from hiddenrisk.models.blocks import fields_of, items_of
from hiddenrisk.models.halves import mended

_THOUGHT_TYPES = frozenset({"thinking", "reasoning", "thought"})
_DETAILS: dict[str, tuple[Literal["text", "summary", "encrypted"], str]] = {
    "reasoning.text": ("text", "text"),
    "reasoning.summary": ("summary", "summary"),
    "reasoning.encrypted": ("encrypted", "data"),
}
"""The types of `reasoning_details`, and the field of each that holds it."""


class Thought(NamedTuple):
    """A stretch of thinking, as a provider sends it."""

    kind: Literal["text", "summary", "encrypted"]
    text: str
    part: object = None
    format: str | None = None
    """Whose shape it has, as OpenRouter tells."""


def text_in(content: str | list[object] | None) -> str | None:
    """A message's text, whether whole or in parts."""
    if content is None or isinstance(content, str):
        return content
    parts = (fields_of(part) for part in content)
    texts = (p.get("text") for p in parts if not _is_thought(p))
    return "".join(t for t in texts if isinstance(t, str))


def _is_thought(part: dict[str, object]) -> bool:
    """Whether a part of the content with a text is thinking."""
    return part.get("thought") is True or part.get("type") in _THOUGHT_TYPES


def thoughts_in(part: dict[str, object]) -> list[Thought]:
    """The thinking in one part of the content."""
    if "reasoningContent" in part:  # Bedrock, whole and streamed
        held = fields_of(part["reasoningContent"])
        text = fields_of(held.get("reasoningText")).get("text") or held.get("text")
        if isinstance(text, str) and text:
            return [Thought("text", text)]
        return [Thought("encrypted", "")] if "redactedContent" in held else []
    if part.get("type") == "redacted_thinking":
        return [Thought("encrypted", "")]
    thinking = part.get("thinking")  # Mistral (in parts), Cohere (as text)
    text = thinking if isinstance(thinking, str) else text_in(items_of(thinking))
    if not text and _is_thought(part):
        text = part.get("text")
    if not isinstance(text, str) or not text:
        return []
    # Gemini calls what it shows of a thought a summary of it.
    return [Thought("summary" if part.get("thought") is True else "text", text)]


def detail(item: dict[str, object]) -> list[Thought]:
    """One entry of `reasoning_details`."""
    for name, (kind, key) in _DETAILS.items():
        text = item.get(key)
        if item.get("type") == name and isinstance(text, str) and (text or kind == "encrypted"):
            shape = item.get("format")
            return [
                Thought(kind, text, item.get("index"), shape if isinstance(shape, str) else None)
            ]
    return []


def merged(thoughts: list[Thought]) -> list[Thought]:
    """The pieces of a stream put together where they belong to one stretch."""
    found: list[tuple[Thought, list[str]]] = []
    for thought in thoughts:
        last = found[-1][0] if found else None
        if last and (last.kind, last.part) == (thought.kind, thought.part):
            found[-1][1].append(thought.text)
        else:
            found.append((thought, [thought.text]))
    return [thought._replace(text=mended("".join(texts))) for thought, texts in found]


def joined(thoughts: list[Thought]) -> str:
    """What can be read of the thinking."""
    return "\n\n".join(t.text for t in thoughts if t.kind != "encrypted" and t.text)


def as_details(thoughts: list[Thought]) -> list[dict[str, object]]:
    """What a field cannot say of the thinking; nothing where it is plain text."""
    if all(t.kind == "text" and t.format is None for t in thoughts):
        return []
    names = {kind: (name, key) for name, (kind, key) in _DETAILS.items()}
    details: list[dict[str, object]] = []
    for number, t in enumerate(thoughts):
        name, key = names[t.kind]
        details.append({"type": name, key: t.text, "index": number})
        if t.format:
            details[-1]["format"] = t.format
    return details
