"""Whose thinking is not shown as it is: a summary of it, or with a part withheld. Pure.

A summary is the provider's words about the thinking. It is marked and never judged,
whichever field or tags it comes in, and through whatever API or router: the model's id says
so, as it was asked for or as it was served, or else the format of OpenRouter's
`reasoning_details` does.

OpenAI shows "a summary of the reasoning" and never the reasoning (platform.openai.com,
"Reasoning models"); Gemini's API gives "thought summaries" (ai.google.dev, "Gemini
thinking"); Claude's does from the fourth generation on (docs.claude.com, "Extended
thinking"). xAI documents that Grok's thinking is encrypted and has no field in chat
completions but that of grok-3-mini, which is no summary.

A part is withheld where a stretch of the thought came encrypted beside others that can be
read: Claude 3.7's safety filter does so (`redacted_thinking`).
"""

import re
from collections.abc import Iterable

from hiddenrisk.thinking import Reading
from hiddenrisk.types import Visibility

_ALL_SHOWN = re.compile(r"claude-(?:[123]\b|v[123]|instant)", re.IGNORECASE)
"""Claude models before the fourth generation; from that on, thinking is summarised."""
_CLOSED = re.compile(
    r"(?:^|/|anthropic\.|databricks-)"  # Bedrock, Databricks
    r"(?:claude-(?![123]\b|v[123]|instant)"
    r"|gemini-(?:\d|pro|flash|ultra|exp)"
    r"|o[1-9](?=$|[-:@])|(?:chat)?gpt-[4-9](?!all)|codex-)",
    re.IGNORECASE,
)
"""Models that show a summary at most. A word within an id says nothing: open models are named
after what they were taught by."""
_OPEN = re.compile(r"distil|gguf|\b\d+b\b|(?:^|/)(?:gpt-oss|gemma)", re.IGNORECASE)
"""What the ids of open models say; what they think is shown as it is."""
_ROUTED = re.compile(
    r"(?:^|/)(?:openai/(?!gpt-oss)|google/gemini|gemini-)", re.IGNORECASE
)  # gpt-oss is an open model, and its thinking is shown as it is
_SUMMARIES = frozenset({"openai-responses-v1", "azure-openai-responses-v1", "google-gemini-v1"})
_CLAUDE = "anthropic-claude-v1"
"""OpenRouter's formats of `reasoning_details` (openrouter.ai, "Reasoning tokens")."""
_ANTHROPIC = re.compile("claude|anthropic", re.IGNORECASE)


def claude_summarises(model: str) -> bool:
    """Whether what a Claude model shows of its thinking is a summary; False for other models."""
    return "claude" in model.lower() and not _ALL_SHOWN.search(model)


def summarises(provider: str, model: str) -> bool:
    """Whether what a provider shows of a model's thinking is a summary."""
    if provider in {"openai", "gemini"} or is_closed(model):
        return True
    if provider != "openrouter":
        return False
    return claude_summarises(model) or bool(_ROUTED.search(model))


def is_closed(model: str) -> bool:
    """Whether a model's id, by itself, says that its thinking is summarised."""
    return bool(_CLOSED.search(model)) and not _OPEN.search(model)


def is_formatted(formats: Iterable[str | None], models: Iterable[str]) -> bool:
    """Whether the formats of `reasoning_details` are those of summaries.

    The ids say otherwise where they name an open model, or a Claude that shows all. Claude's
    format is OpenRouter's default too, so that another maker's name goes before it.
    """
    told, names = set(formats), [m for m in models if m]
    if any(_OPEN.search(m) or _ALL_SHOWN.search(m) for m in names):
        return False
    others = any("/" in m and not _ANTHROPIC.search(m) for m in names)
    return bool(told & _SUMMARIES) or (_CLAUDE in told and not others)


def shown(reading: Reading, *, summarised: bool, withheld: bool) -> Visibility:
    """What can be seen of a thought, once it is known what it is that is shown."""
    if not reading.thinking:
        return reading.visibility
    if summarised:
        return Visibility.SUMMARISED
    return Visibility.REDACTED if withheld else reading.visibility
