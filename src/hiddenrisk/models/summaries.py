"""Whose thinking is shown as a summary only, by provider and model id. Pure.

A summary is the provider's words about the thinking. It is marked and never judged,
whichever field or tags it comes in.

OpenAI shows "a summary of the reasoning" and never the reasoning (platform.openai.com,
"Reasoning models"); Gemini's API gives "thought summaries" (ai.google.dev, "Gemini
thinking"); Claude's does from the fourth generation on (docs.claude.com, "Extended
thinking"). xAI documents that Grok's thinking is encrypted and has no field in chat
completions but that of grok-3-mini, which is no summary.
"""

import re

_ALL_SHOWN = re.compile(r"claude-(?:[123]\b|v[123]|instant)", re.IGNORECASE)
"""Claude models before the fourth generation; from that on, thinking is summarised."""
_ROUTED = re.compile(
    r"(?:^|/)(?:openai/(?!gpt-oss)|google/gemini|gemini-)", re.IGNORECASE
)  # gpt-oss is an open model, and its thinking is shown as it is


def claude_summarises(model: str) -> bool:
    """Whether what a Claude model shows of its thinking is a summary; False for other models."""
    return "claude" in model.lower() and not _ALL_SHOWN.search(model)


def summarises(provider: str, model: str) -> bool:
    """Whether what a provider shows of a model's thinking is a summary."""
    if provider in {"openai", "gemini"}:
        return True
    if provider != "openrouter":
        return False
    return claude_summarises(model) or bool(_ROUTED.search(model))
