"""How long a model is to think, its own tags, and whose thinking is a summary."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from hiddenrisk.errors import UsageError
from hiddenrisk.models import open_model
from hiddenrisk.models.controls import CONTROLS, fields_of
from hiddenrisk.models.openai import PROVIDERS
from hiddenrisk.models.spec import parse
from hiddenrisk.models.summaries import claude_summarises, summarises
from hiddenrisk.types import Call, Finish, Message, Reply, Sampling, Visibility
from tests.servers import Ask, ChatServer
from tests.servers import Reply as Said


def _ask(spec: str, text: str = "Hello") -> Reply:
    async def scenario() -> Reply:
        model = open_model(spec)
        await model.start()
        try:
            call = Call(messages=(Message("user", text),), sampling=Sampling(), prompt="p")
            return await model.generate(call)
        finally:
            await model.close()

    return asyncio.run(scenario())


# ---------------------------------------------------------------- think, effort, budget


def test_every_provider_has_its_controls() -> None:
    assert CONTROLS.keys() == PROVIDERS.keys() | {"http", "vllm"}


@pytest.mark.parametrize(
    ("typed", "fields"),
    [
        ("openai/o3?effort=low", {"reasoning_effort": "low"}),
        ("deepseek/m?think=off", {"thinking": {"type": "disabled"}}),
        (
            "deepseek/m?think&effort=max",
            {"thinking": {"type": "enabled"}, "reasoning_effort": "max"},
        ),
        ("openrouter/a/b?effort=high", {"reasoning": {"effort": "high"}}),
        ("openrouter/a/b?budget=2000", {"reasoning": {"max_tokens": 2000}}),
        (
            "openrouter/a/b?think=on&effort=high",
            {"reasoning": {"enabled": True, "effort": "high"}},
        ),
        ("together/m?think=off", {"reasoning": {"enabled": False}}),
        ("groq/m?effort=none", {"reasoning_effort": "none"}),
        ("fireworks/m?budget=4096", {"thinking": {"type": "enabled", "budget_tokens": 4096}}),
        ("mistral/m?effort=high", {"reasoning_effort": "high"}),
        ("xai/m?effort=low", {"reasoning_effort": "low"}),
        (
            "gemini/m?budget=0",
            {
                "extra_body": {
                    "google": {"thinking_config": {"thinking_budget": 0, "include_thoughts": True}}
                }
            },
        ),
        ("zai/m?think=off", {"thinking": {"type": "disabled"}}),
        ("ollama/m?effort=none", {"reasoning_effort": "none"}),
        (
            "http://h/v1#m?think=off",
            {"chat_template_kwargs": {"enable_thinking": False, "thinking": False}},
        ),
        (
            "http://h/v1#m?think=on&budget=64",
            {
                "chat_template_kwargs": {
                    "enable_thinking": True,
                    "thinking": True,
                    "thinking_budget": 64,
                },
                "thinking_token_budget": 64,
                "thinking_budget_tokens": 64,
            },
        ),
        (
            "http://h/v1#m?effort=low",
            {"reasoning_effort": "low", "chat_template_kwargs": {"reasoning_effort": "low"}},
        ),
        ("http://h/v1#m?stream", {}),
    ],
)
def test_an_option_becomes_what_the_provider_calls_it(typed: str, fields: dict[str, Any]) -> None:
    assert fields_of(parse(typed)) == fields


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("openai/o3?budget=9", r"openai has no \?budget .* it has \?effort"),
        ("deepseek/m?budget=9", r"deepseek has no \?budget .* it has \?think, \?effort"),
        ("ollama/m?think=off", r"ollama has no \?think .* it has \?effort"),
        ("http://h/v1#m?think=no", "write on or off"),
        ("http://h/v1#m?effort", "effort=yes .* one of none, minimal"),
        ("http://h/v1#m?budget=²", "budget=² .* a number of tokens from 0 to 1000000"),
        ("http://h/v1#m?budget=-1", "a number of tokens"),
        ("http://h/v1#m?budget=9&effort=low", "two measures of one thing"),
        ("http://h/v1#m?think=off&budget=9", r"turns thinking off and sets \?budget"),
    ],
)
def test_what_cannot_be_is_told_before_anything_is_sent(
    monkeypatch: pytest.MonkeyPatch, typed: str, said: str
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "a-key-of-some-length")
    monkeypatch.setenv("DEEPSEEK_API_KEY", "a-key-of-some-length")
    with pytest.raises(UsageError, match=said):
        open_model(typed)


@pytest.mark.parametrize("options", ["", "&stream"])
def test_the_fields_are_in_the_request_whole_or_streamed(options: str) -> None:
    bodies: list[dict[str, Any]] = []

    def answer(ask: Ask) -> Said:
        bodies.append(json.loads(ask.body))
        return Said(text="A")

    with ChatServer({"m": answer}) as server:
        reply = _ask(f"{server.base_url}#m?think=off&tags=<r>,</r>{options}")
    assert reply.answer == "A"
    assert bodies[0]["chat_template_kwargs"] == {"enable_thinking": False, "thinking": False}


def test_anthropic_takes_the_same_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", "a-key-of-some-length")

    def identity(options: str) -> dict[str, Any]:
        return open_model(f"anthropic/claude-x{options}").identity

    # As they were when the options were called thinking=4096 and thinking=adaptive.
    assert identity("")["thinking"] is None
    assert identity("?budget=4096")["thinking"] == "4096"
    assert identity("?think=on")["thinking"] == "adaptive"
    assert "controls" not in identity("") | identity("?budget=4096") | identity("?think=on")
    assert identity("?effort=low")["controls"] == {"output_config": {"effort": "low"}}
    assert identity("?think=off")["controls"] == {"thinking": {"type": "disabled"}}


def test_what_is_set_is_part_of_what_the_model_is_and_nothing_else() -> None:
    options = ("", "?think=on", "?think=off", "?effort=low", "?budget=9", "?tags=<r>,</r>")
    identities = [open_model(f"http://h/v1#m{o}").identity for o in options]
    assert identities[0] == {"endpoint": "http://h/v1", "model": "m"}
    assert all(a != b for i, a in enumerate(identities) for b in identities[:i])


def test_a_label_tells_that_a_model_thinks() -> None:
    labels = [open_model(f"http://h/v1#m{o}").label for o in ("?think", "?think=on", "?think=off")]
    assert labels == ["m-think", "m-think", "m"]


# ---------------------------------------------------------------- the user's own tags


@pytest.mark.parametrize("options", ["", "&stream"])
@pytest.mark.parametrize(
    ("tags", "text"),
    [
        ("<r>,</r>", "<r>T</r>A"),
        ("%3Cr%2B%3E,%3C/r%2B%3E", "<r+>T</r+>A"),
        ("[[plan]], [[end]]", "[[plan]]T[[end]]A"),
    ],
)
def test_a_models_own_tags_are_read(tags: str, text: str, options: str) -> None:
    with ChatServer({"m": lambda _: Said(text=text)}) as server:
        reply = _ask(f"{server.base_url}#m?tags={tags}{options}")
        plain = _ask(f"{server.base_url}#m")
    assert (reply.thinking, reply.answer, reply.visibility) == ("T", "A", Visibility.VISIBLE)
    assert plain.thinking is None


def test_a_recording_is_read_by_its_own_tags(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    path.write_text(
        '{"prompt": "1", "answer": "<r>T</r>A"}\n{"prompt": "2", "answer": "<r>T</r>A"}\n'
    )
    assert _ask(f"replay/{path}?tags=<r>,</r>", "1").thinking == "T"
    assert _ask(f"replay/{path}", "1").thinking is None
    assert (
        open_model(f"replay/{path}?tags=<r>,</r>").identity != open_model(f"replay/{path}").identity
    )
    assert "tags" not in open_model(f"replay/{path}").identity


def test_a_recording_may_open_thoughts_with_its_own_tags_in_the_prompt(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    path.write_text(
        '{"prompt": "1", "answer": "T</r>A"}\n{"prompt": "2", "answer": "T</r>A"}\n'
        '{"prompt": "3", "answer": "so far"}\n'
    )
    cut = _ask(f"replay/{path}?tags=<r>,</r>", "3")
    assert (cut.thinking, cut.finish) == ("so far", Finish.CUT_IN_THINKING)


@pytest.mark.parametrize("tags", ["", "=<r>", "=<r>,", "=,</r>", "=<r>,<r>", "=a,b,c", "=,"])
@pytest.mark.parametrize("spec", ["http://h/v1#m", "replay/none.jsonl"])
def test_what_is_no_pair_of_tags_is_refused(spec: str, tags: str) -> None:
    with pytest.raises(UsageError, match=r"as in \?tags=<r>,</r>"):
        open_model(f"{spec}?tags{tags}")


# ---------------------------------------------------------------- summaries


@pytest.mark.parametrize(
    ("provider", "model", "summary"),
    [
        ("openai", "o3", True),
        ("gemini", "gemini-2.5-pro", True),
        ("openrouter", "openai/o3-mini", True),
        ("openrouter", "openai/gpt-oss-120b", False),
        ("openrouter", "google/gemini-2.5-pro", True),
        ("openrouter", "google/gemma-3-27b", False),
        ("openrouter", "anthropic/claude-sonnet-4.5", True),
        ("openrouter", "anthropic/claude-opus-4", True),
        ("openrouter", "anthropic/claude-3.7-sonnet:thinking", False),
        ("openrouter", "deepseek/deepseek-r1", False),
        ("groq", "openai/gpt-oss-120b", False),
        ("deepseek", "deepseek-reasoner", False),
        ("http", "gemini-like", False),
        ("xai", "grok-3-mini", False),
    ],
)
def test_whose_thinking_is_a_summary(provider: str, model: str, summary: bool) -> None:
    assert summarises(provider, model) is summary


def test_claude_summarises_from_the_fourth_generation_on() -> None:
    assert claude_summarises("claude-sonnet-4-5")
    assert not claude_summarises("claude-3-7-sonnet-20250219")
    assert not claude_summarises("deepseek-r1")


@pytest.mark.parametrize("options", ["", "?stream"])
@pytest.mark.parametrize(
    ("provider", "model", "said", "visibility"),
    [
        ("openai", "o3", Said(text="A", reasoning="T"), "summarised"),
        ("openai", "o3", Said(text="<think>T</think>A"), "summarised"),
        ("openai", "o3", Said(text="A"), "none"),
        ("gemini", "g", Said(text="<thought>T</thought>A"), "summarised"),
        ("openrouter", "openai/o3", Said(text="A", reasoning="T"), "summarised"),
        ("openrouter", "deepseek/r1", Said(text="A", reasoning="T"), "visible"),
        ("deepseek", "r1", Said(text="A", reasoning="T"), "visible"),
    ],
)
def test_a_summary_is_never_called_visible(
    monkeypatch: pytest.MonkeyPatch,
    provider: str,
    model: str,
    said: Said,
    visibility: str,
    options: str,
) -> None:
    with ChatServer({model: lambda _: said}) as server:
        monkeypatch.setitem(PROVIDERS, provider, (server.base_url, None))
        reply = _ask(f"{provider}/{model}{options}")
    assert (reply.answer, reply.visibility.value) == ("A", visibility)
