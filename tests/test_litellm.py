"""Models by way of litellm, against real servers on loopback.

Most of it needs the optional package (`make extras` installs it and runs this file).
"""

import asyncio
import importlib.util
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hiddenrisk.engine import Served
from hiddenrisk.errors import CallError, UsageError
from hiddenrisk.models import open_model
from hiddenrisk.models.litellm import reshape
from hiddenrisk.types import Call, Finish, Usage, Visibility
from tests.conftest import CommandLine
from tests.native import KEY, Said, Seen, ask, call, serving, whole
from tests.servers import Ask, ChatServer, Faults, Reply, always

HAVE = importlib.util.find_spec("litellm") is not None
needs_litellm = pytest.mark.skipif(not HAVE, reason="litellm is not installed (make extras)")
CLAUDE, OLD_CLAUDE = "claude-sonnet-4-5", "claude-3-7-sonnet-20250219"
THOUGHT = {"type": "thinking", "thinking": "T", "signature": "c2ln"}
OMITTED = {"type": "thinking", "thinking": "", "signature": "c2ln"}
REDACTED = {"type": "redacted_thinking", "data": "ZW5jcnlwdGVk"}


@pytest.fixture(autouse=True)
def _keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for provider in ("OPENAI", "ANTHROPIC", "GEMINI"):
        monkeypatch.setenv(f"{provider}_API_KEY", KEY)


def _completion(finish: str | None = "stop", **message: Any) -> dict[str, Any]:  # noqa: ANN401 - any JSON
    return {
        "id": "c1",
        "object": "chat.completion",
        "created": 1,
        "model": "served",
        "system_fingerprint": "fp",
        "choices": [
            {"index": 0, "finish_reason": finish, "message": {"role": "assistant", **message}}
        ],
        "usage": {
            "prompt_tokens": 3,
            "completion_tokens": 5,
            "total_tokens": 8,
            "completion_tokens_details": {"reasoning_tokens": 2},
        },
    }


def _message(*blocks: dict[str, Any], stop: str = "end_turn", model: str = OLD_CLAUDE) -> Any:  # noqa: ANN401 - any JSON
    return {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": list(blocks),
        "stop_reason": stop,
        "stop_sequence": None,
        "usage": {"input_tokens": 5, "output_tokens": 7},
    }


def _candidate(*parts: dict[str, Any], stop: str = "STOP") -> dict[str, Any]:
    candidate = {"content": {"role": "model", "parts": list(parts)}, "finishReason": stop}
    return {
        "candidates": [candidate | {"index": 0}],
        "usageMetadata": {
            "promptTokenCount": 3,
            "candidatesTokenCount": 4,
            "thoughtsTokenCount": 7,
            "totalTokenCount": 14,
        },
        "modelVersion": "gemini-2.5-pro",
    }


def _error(status: int, message: str, code: str = "", **headers: str) -> Said:
    said = {"error": {"message": message, "type": "error", "param": None, "code": code or None}}
    return whole(said, status, **headers)


def _openai(
    says: Said | Callable[[int], Said],
    monkeypatch: pytest.MonkeyPatch,
    asked: Call | None = None,
    *,
    model: str = "x",
    tries: int = 1,
) -> tuple[Served, Seen]:
    def answers(n: int) -> Said:
        return says(n) if callable(says) else says

    spec = f"litellm/openai/{model}"
    return ask(spec, answers, monkeypatch, "OPENAI_BASE_URL", asked, path="/v1", tries=tries)


def _claude(
    says: Said,
    monkeypatch: pytest.MonkeyPatch,
    asked: Call | None = None,
    *,
    model: str = OLD_CLAUDE,
) -> tuple[Served, Seen]:
    spec = f"litellm/anthropic/{model}"
    return ask(spec, lambda _: says, monkeypatch, "ANTHROPIC_BASE_URL", asked, tries=1)


def _failure(
    spec: str, said: Said, monkeypatch: pytest.MonkeyPatch, variable: str, path: str = ""
) -> CallError:
    """What one call raises."""

    async def generate() -> None:
        async with serving(lambda _: said) as (port, _):
            monkeypatch.setenv(variable, f"http://127.0.0.1:{port}{path}")
            model = open_model(spec)
            await model.start()
            await model.generate(call(max_tokens=9))

    with pytest.raises(CallError) as caught:
        asyncio.run(generate())
    return caught.value


# ---------------------------------------------------------------- without the package


@pytest.mark.skipif(HAVE, reason="litellm is installed")
def test_without_the_package_one_sentence_says_what_to_install() -> None:
    with pytest.raises(UsageError) as caught:
        open_model("litellm/bedrock/anthropic.claude-3-7")
    expected = (
        'litellm/bedrock/anthropic.claude-3-7 needs an extra: pip install "hiddenrisk[litellm]"'
    )
    assert str(caught.value) == expected


def test_nothing_else_imports_the_package() -> None:
    code = "import sys, hiddenrisk.cli.main, hiddenrisk.models; sys.exit('litellm' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


@pytest.mark.parametrize(
    ("native", "read"),
    [("network_error", "network_error"), ("ERROR", "ERROR"), (None, "stop")],
)
def test_the_finish_that_litellm_does_not_know_is_put_back(native: str | None, read: str) -> None:
    said = _completion(content="A")
    said["choices"][0]["provider_specific_fields"] = {"native_finish_reason": native}
    assert reshape(said, "openai/x")["choices"][0]["finish_reason"] == read


def test_a_finish_that_litellm_understood_stays() -> None:
    said = _completion("content_filter", content="A")
    said["choices"][0]["provider_specific_fields"] = {"native_finish_reason": "sensitive"}
    assert reshape(said, "zai/x")["choices"][0]["finish_reason"] == "content_filter"


@pytest.mark.parametrize(
    ("asked", "kind"),
    [
        ("anthropic/claude-sonnet-4-5", "reasoning.summary"),
        ("bedrock/us.anthropic.claude-opus-4-1-20250805-v1:0", "reasoning.summary"),
        ("vertex_ai/gemini-2.5-pro", "reasoning.summary"),
        ("openai/o3", "reasoning.summary"),
        ("azure/gpt-5-mini", "reasoning.summary"),
        ("bedrock/anthropic.claude-3-7-sonnet-20250219-v1:0", None),
        ("bedrock/us.deepseek.r1-v1:0", None),
        ("groq/openai/gpt-oss-120b", None),
    ],
)
def test_who_summarises_its_thinking_is_told_by_the_models_name(
    asked: str, kind: str | None
) -> None:
    said = reshape(_completion(content="A", reasoning_content="T"), asked)
    details = said["choices"][0]["message"].get("reasoning_details", [])
    assert [d["type"] for d in details] == ([kind] if kind else [])


# ---------------------------------------------------------------- SPECs


@needs_litellm
@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ("litellm/opnai/x", "litellm has no provider 'opnai'"),
        ("litellm/gpt-4o", "litellm has no provider 'gpt-4o'"),
        ("litellm/openai/", "litellm has no provider 'openai'"),
        ("litellm/cohere/command-a-reasoning", "does not hand on why a reply of 'cohere' ended"),
        ("litellm/bedrock/invoke/meta.llama3", "write litellm/bedrock/converse/MODEL instead"),
        ("litellm/groq/x", "needs a key: set the environment variable GROQ_API_KEY"),
        ("litellm/openai/x?stream", "unknown option 'stream'; known: budget, effort"),
        ("litellm/openai/x?effort", "effort=yes"),
        ("litellm/openai/x?budget=0", "write 1 to 1000000 tokens"),
        ("litellm/openai/x?budget=9&effort=low", "has effort and budget"),
    ],
)
def test_what_cannot_be_is_said_before_any_call(
    spec: str, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("GROQ_API_KEY", raising=False)
    with pytest.raises(UsageError) as caught:
        open_model(spec)
    assert says in str(caught.value)


@needs_litellm
@pytest.mark.parametrize(
    ("provider", "module", "package"),
    [("bedrock", "boto3", "boto3"), ("vertex_ai", "google.auth", "google-auth")],
)
def test_a_provider_that_needs_one_more_package_says_which(
    provider: str, module: str, package: str
) -> None:
    if importlib.util.find_spec(module.partition(".")[0]) is not None:
        pytest.skip(f"{package} is installed")
    with pytest.raises(UsageError, match=f"needs one more package: pip install {package}"):
        open_model(f"litellm/{provider}/x")


@needs_litellm
def test_a_model_is_local_only_where_its_address_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    away = open_model("litellm/openai/x?effort=low")
    assert (away.local, away.provider) == (False, "litellm/openai")
    assert away.identity == {"litellm": "openai/x", "effort": "low"}
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:1/v1/")
    here = open_model("litellm/openai/x")
    assert here.local
    assert here.identity == {"litellm": "openai/x", "endpoint": "http://127.0.0.1:1/v1"}
    monkeypatch.setenv("OPENAI_BASE_URL", "https://me:secret@host/v1")
    with pytest.raises(UsageError, match="must not hold a user name"):
        open_model("litellm/openai/x")


# ---------------------------------------------------------------- replies


@needs_litellm
def test_thinking_answer_usage_and_names_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    says = whole(_completion(content="A", reasoning_content="T"))
    asked = call(("system", "Be brief."), ("user", "Hi"), temperature=0.5, max_tokens=9)
    served, seen = _openai(says, monkeypatch, asked)
    reply = served.reply
    assert (reply.thinking, reply.answer, reply.finish) == ("T", "A", Finish.COMPLETE)
    assert (reply.visibility, reply.style) == (Visibility.VISIBLE, "field")
    assert reply.usage == Usage(prompt_tokens=3, completion_tokens=5, reasoning_tokens=2)
    assert (reply.served_model, reply.fingerprint) == ("served", "fp")
    assert json.loads(bytes(reply.raw))["choices"][0]["message"]["content"] == "A"
    assert seen.paths == ["/v1/chat/completions"]
    assert seen.headers[0]["authorization"] == f"Bearer {KEY}"
    turns = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}]
    assert seen.bodies == [{"model": "x", "messages": turns, "temperature": 0.5, "max_tokens": 9}]


@needs_litellm
@pytest.mark.parametrize(
    ("finish", "message", "expected"),
    [
        ("stop", {"content": "<think>\nT\n</think>\n\nA"}, ("T", "A", Finish.COMPLETE)),
        (
            "length",
            {"content": None, "reasoning_content": "T"},
            ("T", None, Finish.CUT_IN_THINKING),
        ),
        ("length", {"content": "A", "reasoning_content": "T"}, ("T", "A", Finish.CUT_IN_ANSWER)),
        ("content_filter", {"content": None}, (None, None, Finish.BLOCKED_ON_OUTPUT)),
        ("stop", {"content": None, "refusal": "No."}, (None, "No.", Finish.REFUSED)),
        ("stop", {"content": ""}, (None, None, Finish.EMPTY)),
        ("stop", {"content": "\ud800 ☃ \u2028"}, (None, "? ☃", Finish.COMPLETE)),
    ],
)
def test_a_reply_is_read_as_any_chat_completion(
    finish: str,
    message: dict[str, Any],
    expected: tuple[str | None, str | None, Finish],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    reply = _openai(whole(_completion(finish, **message)), monkeypatch)[0].reply
    assert (reply.thinking, reply.answer, reply.finish) == expected


@needs_litellm
@pytest.mark.parametrize("finish", ["error", "network_error", "insufficient_system_resource"])
def test_a_reply_that_the_provider_broke_off_is_no_answer(
    finish: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(CallError, match=rf"broke off \({finish}\)") as caught:
        _openai(whole(_completion(finish, content="A")), monkeypatch)
    assert caught.value.heals


@needs_litellm
def test_counts_that_nobody_told_are_unknown_and_not_zero(monkeypatch: pytest.MonkeyPatch) -> None:
    says = whole(_completion(content="A") | {"usage": None})
    assert _openai(says, monkeypatch)[0].reply.usage == Usage()


@needs_litellm
@pytest.mark.parametrize(
    ("model", "blocks", "thinking", "visibility"),
    [
        (OLD_CLAUDE, [THOUGHT], "T", Visibility.VISIBLE),
        (OLD_CLAUDE, [REDACTED], None, Visibility.HIDDEN),
        (OLD_CLAUDE, [THOUGHT, REDACTED], "T", Visibility.VISIBLE),
        (OLD_CLAUDE, [], None, Visibility.NONE),
        (CLAUDE, [THOUGHT], "T", Visibility.SUMMARISED),
        (CLAUDE, [OMITTED], None, Visibility.HIDDEN),
    ],
)
def test_claudes_thinking_is_as_visible_as_it_is_natively(
    model: str,
    blocks: list[dict[str, Any]],
    thinking: str | None,
    visibility: Visibility,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    says = whole(_message(*blocks, {"type": "text", "text": "A"}, model=model))
    served, seen = _claude(says, monkeypatch, call(max_tokens=9), model=model)
    reply = served.reply
    assert (reply.thinking, reply.answer) == (thinking, "A")
    assert (reply.visibility, reply.served_model) == (visibility, model)
    # How many tokens of them are thinking, Claude does not say; litellm would guess.
    assert reply.usage == Usage(prompt_tokens=5, completion_tokens=7)
    assert (seen.paths, seen.headers[0]["x-api-key"]) == (["/v1/messages"], KEY)


@needs_litellm
@pytest.mark.parametrize(
    ("stop", "finish"),
    [("refusal", Finish.BLOCKED_ON_OUTPUT), ("max_tokens", Finish.CUT_IN_ANSWER)],
)
def test_claudes_ends_are_told_apart(
    stop: str, finish: Finish, monkeypatch: pytest.MonkeyPatch
) -> None:
    says = whole(_message({"type": "text", "text": "A"}, stop=stop))
    assert _claude(says, monkeypatch, call(max_tokens=9))[0].reply.finish is finish


@needs_litellm
def test_a_budget_comes_on_top_and_no_temperature_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    says = whole(_message(THOUGHT, {"type": "text", "text": "A"}))
    asked = call(max_tokens=100, temperature=0.0)
    _, seen = _claude(says, monkeypatch, asked, model=f"{OLD_CLAUDE}?budget=2048")
    body = seen.bodies[0]
    assert body["thinking"] == {"type": "enabled", "budget_tokens": 2048}
    assert body["max_tokens"] == 2148
    assert "temperature" not in body


@needs_litellm
def test_an_effort_goes_to_a_model_that_takes_one(monkeypatch: pytest.MonkeyPatch) -> None:
    _, seen = _openai(whole(_completion(content="A")), monkeypatch, model="o3?effort=low")
    assert seen.bodies[0]["reasoning_effort"] == "low"


@needs_litellm
def test_an_effort_that_a_model_does_not_take_ends_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    said = whole(_completion(content="A"))
    error = _failure("litellm/openai/x?effort=low", said, monkeypatch, "OPENAI_BASE_URL", "/v1")
    assert error.fatal
    assert "does not support parameters" in str(error)


@needs_litellm
@pytest.mark.parametrize(
    ("candidate", "thinking", "answer", "finish"),
    [
        (_candidate({"text": "T", "thought": True}, {"text": "A"}), "T", "A", Finish.COMPLETE),
        (
            {**_candidate(), "candidates": [], "promptFeedback": {"blockReason": "SAFETY"}},
            None,
            None,
            Finish.BLOCKED_ON_OUTPUT,  # litellm does not say which side
        ),
        (_candidate(stop="SAFETY"), None, None, Finish.BLOCKED_ON_OUTPUT),
    ],
)
def test_geminis_thinking_is_a_summary_and_its_filter_a_block(
    candidate: dict[str, Any],
    thinking: str | None,
    answer: str | None,
    finish: Finish,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    spec, says = "litellm/gemini/gemini-2.5-pro", whole(candidate)
    reply = ask(spec, lambda _: says, monkeypatch, "GEMINI_API_BASE", tries=1)[0].reply
    assert (reply.thinking, reply.answer, reply.finish) == (thinking, answer, finish)
    if thinking:
        assert reply.visibility is Visibility.SUMMARISED
        assert reply.usage.reasoning_tokens == 7


def _converse(*content: dict[str, Any], stop: str = "end_turn") -> dict[str, Any]:
    return {
        "output": {"message": {"role": "assistant", "content": list(content)}},
        "stopReason": stop,
        "usage": {"inputTokens": 3, "outputTokens": 5, "totalTokens": 8},
        "metrics": {"latencyMs": 1},
    }


_BEDROCK_THOUGHT = {"reasoningContent": {"reasoningText": {"text": "T", "signature": "c2ln"}}}


@needs_litellm
@pytest.mark.skipif(importlib.util.find_spec("boto3") is None, reason="boto3 is not installed")
@pytest.mark.parametrize(
    ("model", "stop", "finish", "visibility"),
    [
        ("us.deepseek.r1-v1:0", "end_turn", Finish.COMPLETE, Visibility.VISIBLE),
        ("us.deepseek.r1-v1:0", "max_tokens", Finish.CUT_IN_ANSWER, Visibility.VISIBLE),
        (
            "us.deepseek.r1-v1:0",
            "guardrail_intervened",
            Finish.BLOCKED_ON_OUTPUT,
            Visibility.VISIBLE,
        ),
        (f"us.anthropic.{CLAUDE}-v1:0", "end_turn", Finish.COMPLETE, Visibility.SUMMARISED),
        (f"us.anthropic.{OLD_CLAUDE}-v1:0", "end_turn", Finish.COMPLETE, Visibility.VISIBLE),
    ],
)
def test_bedrocks_converse_is_read_whole(
    model: str,
    stop: str,
    finish: Finish,
    visibility: Visibility,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE01234")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", KEY)
    monkeypatch.setenv("AWS_REGION_NAME", "us-east-1")
    says = whole(_converse(_BEDROCK_THOUGHT, {"text": "A"}, stop=stop))
    spec, variable = f"litellm/bedrock/converse/{model}", "AWS_BEDROCK_RUNTIME_ENDPOINT"
    served, seen = ask(spec, lambda _: says, monkeypatch, variable, call(max_tokens=9), tries=1)
    reply = served.reply
    assert (reply.thinking, reply.answer) == ("T", "A")
    assert (reply.finish, reply.visibility) == (finish, visibility)
    assert reply.usage == Usage(prompt_tokens=3, completion_tokens=5)
    assert seen.paths == [f"/model/{model}/converse"]


# ---------------------------------------------------------------- errors


@needs_litellm
def test_a_block_is_a_reply_by_the_code_that_litellm_drops(monkeypatch: pytest.MonkeyPatch) -> None:
    reply = _openai(_error(400, "Sorry.", "content_filter"), monkeypatch)[0].reply
    assert (reply.finish, reply.answer) == (Finish.BLOCKED_ON_INPUT, None)


@needs_litellm
def test_claudes_filter_is_a_block(monkeypatch: pytest.MonkeyPatch) -> None:
    message = "Output blocked by content filtering policy"
    error = {"type": "error", "error": {"type": "invalid_request_error", "message": message}}
    reply = _claude(whole(error, 400), monkeypatch, call(max_tokens=9))[0].reply
    assert reply.finish is Finish.BLOCKED_ON_OUTPUT


@needs_litellm
@pytest.mark.parametrize(
    ("said", "heals", "overload", "fatal", "after_s"),
    [
        (_error(429, "slow down", "rate_limit_exceeded", Retry_After="2"), True, True, False, 2.0),
        (_error(429, "pay", "insufficient_quota"), False, False, True, None),
        (_error(402, "pay"), False, False, True, None),
        (_error(401, f"Incorrect API key provided: {KEY}"), False, False, True, None),
        (_error(403, "no"), False, False, True, None),
        (_error(404, "no such model"), False, False, True, None),
        (_error(400, "too long", "context_length_exceeded"), False, False, False, None),
        (_error(500, "out of order"), True, True, False, None),
        (_error(503, "out of order"), True, True, False, None),
        (Said(body=b"<html>bad gateway", status=502, kind="text/html"), True, True, False, None),
        (Said(body=b'{"choices": [{"mess'), True, False, False, None),
        (whole({"id": "c1"}), True, False, False, None),
    ],
)
def test_errors_heal_or_not_as_they_do_over_plain_http(
    said: Said,
    heals: bool,
    overload: bool,
    fatal: bool,
    after_s: float | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    error = _failure("litellm/openai/x", said, monkeypatch, "OPENAI_BASE_URL", "/v1")
    assert (error.heals, error.overload, error.fatal) == (heals, overload, fatal)
    assert error.retry_after_s == after_s
    assert KEY not in f"{error}{error.raw}"
    assert "\n" not in str(error)


@needs_litellm
def test_anthropics_overload_keeps_its_status_and_its_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    body = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}
    said = whole(body, 529, Retry_After="3")
    error = _failure(f"litellm/anthropic/{CLAUDE}", said, monkeypatch, "ANTHROPIC_BASE_URL")
    assert str(error) == "HTTP 529: Overloaded"
    assert (error.heals, error.retry_after_s) == (True, 3.0)


@needs_litellm
def test_retries_are_ours_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    good = whole(_completion(content="A"))
    served, seen = _openai(lambda n: good if n > 2 else _error(503, "later"), monkeypatch, tries=3)
    assert (served.tries, len(seen.bodies)) == (3, 3)


@needs_litellm
def test_a_model_that_takes_no_temperature_is_asked_without(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    good = whole(_completion(content="A"))
    bad = _error(400, "`temperature` may only be set to 1 when thinking is enabled.")
    _, seen = _openai(lambda n: bad if n == 1 else good, monkeypatch, call(temperature=0.0))
    assert ["temperature" in body for body in seen.bodies] == [True, False]
    # litellm knows it of these, and does not even ask.
    _, seen = _openai(good, monkeypatch, call(temperature=0.0), model="o3")
    assert ["temperature" in body for body in seen.bodies] == [False]


@needs_litellm
def test_an_echoed_key_stays_out_of_replies_and_a_word_stays_in(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "abc/+def0123")
    monkeypatch.setenv("SOME_TOKEN", "disabled")
    says = whole(_completion(content=f"{KEY} is disabled, abc/+def0123.", reasoning_content=KEY))
    reply = _openai(says, monkeypatch)[0].reply
    assert (reply.answer, reply.thinking) == ("[key] is disabled, [key].", "[key]")
    assert KEY.encode() not in bytes(reply.raw)


@needs_litellm
def test_an_endpoint_where_nothing_listens_is_found_before_any_call(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with ChatServer({}) as server:
        gone = server.base_url
    monkeypatch.setenv("OPENAI_BASE_URL", gone)
    model = open_model("litellm/openai/x")
    with pytest.raises(UsageError, match=f"cannot reach x at {gone}"):
        asyncio.run(model.start())


# ---------------------------------------------------------------- a whole run

_WATCH = """
import sys

def watch(event, args):
    if event == "socket.connect" and isinstance(args[1], tuple):
        where = args[1][0]
    elif event == "socket.getaddrinfo":
        where = args[0]
    elif event in ("socket.gethostbyname", "socket.sendto"):
        where = f"{event} {args}"
    else:
        return
    with open(LOG, "a") as log:
        log.write(f"{where}\\n")

sys.addaudithook(watch)
"""


@needs_litellm
def test_a_run_phones_nobody_and_leaves_no_key(hiddenrisk: CommandLine, tmp_path: Path) -> None:
    log, hook = tmp_path / "calls.log", tmp_path / "hook"
    hook.mkdir()
    (hook / "sitecustomize.py").write_text(f"LOG = {str(log)!r}\n{_WATCH}")
    (tmp_path / ".env").write_text("OPENAI_BASE_URL=http://never.invalid/v1\n")
    said = Reply(text="I'm sorry, but I can't help with that.", reasoning="I should decline.")

    def model(asked: Ask) -> Reply:
        assert asked.authorization == f"Bearer {KEY}"
        return said

    with ChatServer(
        {"x": model}, faults=Faults(share=0.3, hang_share=0.0, kinds=("500",))
    ) as server:
        env = {
            "OPENAI_BASE_URL": server.base_url,
            "OPENAI_API_KEY": KEY,
            "PYTHONPATH": f"{hook}:{Path(__file__).parents[1] / 'src'}",
        }
        done = hiddenrisk(
            "assess", "--model", "litellm/openai/x", "--judge", "builtin", "--limit", "12",
            "--out", "run", "--yes", env=env,
        )  # fmt: skip
        assert done.code == 0, done
        hits = server.ledger.hits
        again = hiddenrisk(
            "assess", "--model", "litellm/openai/x", "--judge", "builtin", "--limit", "12",
            "--out", "run", "--yes", env=env,
        )  # fmt: skip
        assert (again.code, server.ledger.hits) == (0, hits), again
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    starter = summary["models"]["x"]["benchmarks"]["starter"]
    assert starter["n"] == 12
    assert starter["parts"]["thinking"]["safety_rate"]["n"] > 0
    assert set(log.read_text().split("\n")) - {""} == {"127.0.0.1"}
    everything = b"".join(p.read_bytes() for p in (tmp_path / "run").rglob("*") if p.is_file())
    assert KEY.encode() not in everything
    for text in (done.err, done.out):
        assert KEY not in text
        assert "litellm." not in text.lower()
        assert "warning" not in text.lower()


@needs_litellm
def test_a_wrong_key_ends_a_run_with_one_sentence(hiddenrisk: CommandLine) -> None:
    wrong = Reply(text=f"Incorrect API key provided: {KEY}", status=401, code="invalid_api_key")
    with ChatServer({"x": always(wrong)}) as server:
        env = {"OPENAI_BASE_URL": server.base_url, "OPENAI_API_KEY": KEY}
        done = hiddenrisk(
            "assess", "--model", "litellm/openai/x", "--judge", "builtin", "--limit", "12",
            "--out", "run", "--yes", env=env,
        )  # fmt: skip
    assert done.code != 0
    assert "HTTP 401: Incorrect API key provided: [key]" in done.err
    assert KEY not in done.err + done.out
    assert "Traceback" not in done.err
