"""Anthropic's Messages API: recorded exchanges, shapes of replies, and a real loopback server."""

import asyncio
import json
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

import msgspec
import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from hiddenrisk.engine import Served
from hiddenrisk.errors import CallError, UsageError
from hiddenrisk.models import open_model
from hiddenrisk.models.anthropic import MAX_TOKENS, Stream, read_message, request_body
from hiddenrisk.models.http import payload
from hiddenrisk.types import Call, Finish, Reply, Visibility
from tests.conftest import CommandLine, Done
from tests.native import KEY, Said, Seen, ask, call, serving, streamed, whole

OLD, NEW = "claude-3-7-sonnet-20250219", "claude-sonnet-4-5"
TEXT = {"type": "text", "text": "A"}
THOUGHT = {"type": "thinking", "thinking": "T", "signature": "c2ln"}
OMITTED = {"type": "thinking", "thinking": "", "signature": "c2ln"}
REDACTED = {"type": "redacted_thinking", "data": "ZW5jcnlwdGVk"}


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", KEY)


def _message(*blocks: dict[str, Any], stop: str | None = "end_turn", model: str = OLD) -> Any:  # noqa: ANN401 - any JSON
    return {
        "type": "message",
        "id": "msg_1",
        "role": "assistant",
        "model": model,
        "content": list(blocks),
        "stop_reason": stop,
        "usage": {"input_tokens": 5, "output_tokens": 7},
    }


def _events(message: dict[str, Any]) -> list[dict[str, Any]]:
    """The events by which a message is streamed, each text in two pieces."""
    usage = message["usage"] | {"output_tokens": 1}
    begun: dict[str, Any] = message | {"content": [], "stop_reason": None, "usage": usage}
    events: list[dict[str, Any]] = [{"type": "message_start", "message": begun}, {"type": "ping"}]
    for index, block in enumerate(message["content"]):
        at = {"index": index}
        fields = {k: v for k, v in block.items() if k in {"text", "thinking", "signature"}}
        empty = block | dict.fromkeys(fields, "")
        events.append({"type": "content_block_start", "content_block": empty, **at})
        for name, text in fields.items():
            for piece in (text[:1], text[1:]):
                delta = {"type": f"{name}_delta", name: piece}
                events.append({"type": "content_block_delta", "delta": delta, **at})
        events.append({"type": "content_block_stop", **at})
    spent = message["usage"]["output_tokens"]
    end = {"stop_reason": message["stop_reason"], "stop_sequence": None}
    events.append({"type": "message_delta", "delta": end, "usage": {"output_tokens": spent}})
    return [*events, {"type": "message_stop"}]


def _read(message: object, model: str = OLD) -> Reply:
    return read_message(*payload(json.dumps(message).encode()), model)


def _gathered(events: list[dict[str, Any]], model: str = OLD) -> Reply:
    stream = Stream()
    for event in events:
        stream.feed(b"event: " + str(event["type"]).encode() + b"\n")
        stream.feed(b"data: " + json.dumps(event).encode() + b"\n")
    return stream.reply(model)


# ---------------------------------------------------------------- requests


def _body(asked: Call, thinking: int | None = None) -> dict[str, Any]:
    return json.loads(request_body(asked, "m", thinking=thinking))


def test_a_request_says_only_what_was_asked_for() -> None:
    assert _body(call(("user", "Hé"))) == {
        "model": "m",
        "max_tokens": MAX_TOKENS,
        "messages": [{"role": "user", "content": "Hé"}],
    }


def test_system_messages_stand_apart() -> None:
    body = _body(call(("system", "S"), ("user", "U"), ("assistant", "V"), ("system", "W")))
    assert body["system"] == "S\n\nW"
    assert [m["role"] for m in body["messages"]] == ["user", "assistant"]


def test_a_budget_for_thinking_comes_on_top_and_leaves_no_temperature() -> None:
    body = _body(call(temperature=0.5, max_tokens=100), thinking=2048)
    assert body["thinking"] == {"type": "enabled", "budget_tokens": 2048}
    assert body["max_tokens"] == 2148
    assert "temperature" not in body
    body = _body(call(temperature=0.5, max_tokens=100), thinking=0)
    assert body["thinking"] == {"type": "adaptive", "display": "summarized"}
    assert (body["max_tokens"], "temperature" in body) == (100, False)
    assert _body(call(temperature=0.5))["temperature"] == 0.5


# ---------------------------------------------------------------- shapes of replies

_SHAPES: list[tuple[Any, ...]] = [
    ((TEXT,), "end_turn", OLD, None, "A", "complete", "none"),
    ((TEXT, TEXT), "stop_sequence", OLD, None, "AA", "complete", "none"),
    ((THOUGHT, TEXT), "end_turn", OLD, "T", "A", "complete", "visible"),
    ((THOUGHT, THOUGHT, TEXT), "end_turn", OLD, "T\n\nT", "A", "complete", "visible"),
    ((THOUGHT, REDACTED, TEXT), "end_turn", OLD, "T", "A", "complete", "redacted"),
    ((REDACTED, TEXT), "end_turn", OLD, None, "A", "complete", "hidden"),
    ((OMITTED, TEXT), "end_turn", OLD, None, "A", "complete", "hidden"),
    (({"type": "thinking", "thinking": ""}, TEXT), "end_turn", OLD, "", "A", "complete", "empty"),
    (({"type": "thinking", "thinking": ""}, TEXT), "end_turn", NEW, None, "A", "complete", "hidden"),
    ((THOUGHT, TEXT), "end_turn", NEW, "T", "A", "complete", "summarised"),
    ((THOUGHT, TEXT), "end_turn", "claude-opus-5", "T", "A", "complete", "summarised"),
    ((THOUGHT, TEXT), "end_turn", "deepseek-reasoner", "T", "A", "complete", "visible"),
    ((THOUGHT,), "max_tokens", OLD, "T", None, "cut_in_thinking", "visible"),
    ((REDACTED,), "max_tokens", OLD, None, None, "cut_in_thinking", "hidden"),
    ((THOUGHT, TEXT), "max_tokens", OLD, "T", "A", "cut_in_answer", "visible"),
    ((TEXT,), "model_context_window_exceeded", OLD, None, "A", "cut_in_answer", "none"),
    ((TEXT,), "refusal", OLD, None, "A", "blocked_on_output", "none"),
    ((), "refusal", OLD, None, None, "blocked_on_output", "none"),
    ((TEXT, {"type": "tool_use", "input": {}}), "tool_use", OLD, None, "A", "complete", "none"),
    ((), "end_turn", OLD, None, None, "empty", "none"),
    ((THOUGHT,), "end_turn", OLD, "T", None, "empty", "visible"),
]  # fmt: skip


@pytest.mark.parametrize("how", ["whole", "streamed"])
@pytest.mark.parametrize(
    ("blocks", "stop", "model", "thinking", "answer", "finish", "visibility"), _SHAPES
)
def test_a_message_is_read_for_what_it_is(
    blocks: tuple[dict[str, Any], ...],
    stop: str,
    model: str,
    thinking: str | None,
    answer: str | None,
    finish: str,
    visibility: str,
    how: str,
) -> None:
    message = _message(*blocks, stop=stop, model=model)
    reply = _read(message, model) if how == "whole" else _gathered(_events(message), model)
    assert (reply.thinking, reply.answer) == (thinking, answer)
    assert (reply.finish.value, reply.visibility.value) == (finish, visibility)
    assert (reply.usage.prompt_tokens, reply.usage.completion_tokens) == (5, 7)
    assert reply.served_model == model
    kept = json.loads(bytes(reply.raw))
    assert kept["content"] == list(blocks), "signatures and encrypted blocks are kept"


def test_a_summary_is_known_by_the_model_that_was_asked_or_served() -> None:
    assert _read(_message(THOUGHT, TEXT, model="alias"), NEW).visibility is Visibility.SUMMARISED
    assert _read(_message(THOUGHT, TEXT, model=NEW), "alias").visibility is Visibility.SUMMARISED
    assert _read(_message(THOUGHT, TEXT), "claude-3-7-sonnet-latest").visibility is (
        Visibility.VISIBLE
    )


def test_a_signature_is_no_text() -> None:
    reply = _read(_message(THOUGHT, REDACTED, TEXT))
    assert "c2ln" not in f"{reply.thinking}{reply.answer}"
    assert "ZW5j" not in f"{reply.thinking}{reply.answer}"


def test_a_turn_that_is_to_be_gone_on_with_is_asked_for_again() -> None:
    with pytest.raises(CallError, match="broke off") as caught:
        _read(_message(THOUGHT, TEXT, stop="pause_turn"))
    assert caught.value.heals


@pytest.mark.parametrize("body", [{}, {"content": None}, {"content": "A"}, {"type": "message"}])
def test_what_is_no_message_heals(body: object) -> None:
    with pytest.raises(CallError) as caught:
        _read(body)
    assert caught.value.heals


@pytest.mark.parametrize("kept", range(1, 9))
def test_a_stream_cut_before_its_end_heals(kept: int) -> None:
    events = _events(_message(THOUGHT, TEXT))
    with pytest.raises(CallError, match="broke off") as caught:
        _gathered(events[:kept])
    assert caught.value.heals


@pytest.mark.parametrize(
    ("kind", "heals", "overload", "fatal"),
    [
        ("overloaded_error", True, True, False),
        ("rate_limit_error", True, True, False),
        ("api_error", True, True, False),
        ("something_new", True, True, False),
        ("invalid_request_error", False, False, False),
        ("authentication_error", False, False, True),
        ("billing_error", False, False, True),
    ],
)
def test_an_error_inside_a_stream_is_what_its_type_says(
    kind: str, heals: bool, overload: bool, fatal: bool
) -> None:
    event = {"type": "error", "error": {"type": kind, "message": "Overloaded"}}
    for events in ([event], [*_events(_message(TEXT))[:4], event]):
        with pytest.raises(CallError, match="Overloaded") as caught:
            _gathered(events)
        found = caught.value
        assert (found.heals, found.overload, found.fatal) == (heals, overload, fatal)
    with pytest.raises(CallError, match="Overloaded"):
        _read(event)


@pytest.mark.parametrize("kind", ["invalid_request_error", "api_error"])
def test_a_filter_inside_a_stream_is_a_block(kind: str) -> None:
    said = {"type": kind, "message": "Output blocked by content filtering policy"}
    reply = _gathered([*_events(_message(TEXT))[:4], {"type": "error", "error": said}])
    assert (reply.answer, reply.finish) == ("A", Finish.BLOCKED_ON_OUTPUT), "what came is kept"
    at_once = _gathered([{"type": "error", "error": said}])
    assert (at_once.answer, at_once.finish) == (None, Finish.BLOCKED_ON_OUTPUT)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=4)
    | st.sampled_from(["text", "thinking", "message_start", "content_block_delta", "error"]),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(
        st.sampled_from(
            ["type", "content", "text", "thinking", "delta", "index", "usage", "message", "error",
             "stop_reason", "signature", "content_block", "model", "input_tokens"]
        ),
        inner,
        max_size=5,
    ),
    max_leaves=14,
)  # fmt: skip


@given(value=_JSON, content=_JSON, kind=st.sampled_from([c["type"] for c in _events(_message())]))
@example(value={"stop_reason": ["x"], "content": [[]]}, content=[{"type": []}], kind="error")
def test_no_json_raises_anything_but_an_error_of_ours(
    value: object, content: object, kind: str
) -> None:
    for message in (value, {"content": content, "usage": value, "model": value}):
        with suppress(CallError):
            msgspec.json.encode(_read(message))
    fields = cast("dict[str, Any]", value) if isinstance(value, dict) else {}
    with suppress(CallError):
        msgspec.json.encode(_gathered([{"message": content, **fields, "type": kind}]))


# ---------------------------------------------------------------- over real HTTP


def _ask(
    says: Said | Callable[[int], Said],
    monkeypatch: pytest.MonkeyPatch,
    options: str = "",
    asked: Call | None = None,
    *,
    tries: int = 3,
) -> tuple[Served, Seen]:
    def answer(number: int) -> Said:
        return says if isinstance(says, Said) else says(number)

    spec = f"anthropic/{OLD}{options}"
    return ask(spec, answer, monkeypatch, "ANTHROPIC_BASE_URL", asked, tries=tries)


@pytest.mark.parametrize("options", ["", "?stream", "?budget=2048&stream"])
def test_a_reply_is_had_whole_or_streamed(monkeypatch: pytest.MonkeyPatch, options: str) -> None:
    message = _message(THOUGHT, TEXT)
    says = streamed(_events(message)) if "stream" in options else whole(message)
    served, seen = _ask(says, monkeypatch, options, call(temperature=0.5))
    assert (served.reply.thinking, served.reply.answer) == ("T", "A")
    assert (served.reply.visibility, served.tries) == (Visibility.VISIBLE, 1)
    assert seen.paths == ["/v1/messages"]
    assert seen.headers[0]["x-api-key"] == KEY
    assert seen.headers[0]["anthropic-version"] == "2023-06-01"
    assert "authorization" not in seen.headers[0]
    assert seen.bodies[0].get("stream", False) is ("stream" in options)
    assert ("temperature" in seen.bodies[0]) is ("budget" not in options)


@pytest.mark.parametrize("dropped", [True, False])
def test_a_stream_that_is_cut_heals(monkeypatch: pytest.MonkeyPatch, dropped: bool) -> None:
    events = _events(_message(THOUGHT, TEXT))
    served, _ = _ask(
        lambda n: streamed(events[:5], cut=dropped) if n == 1 else streamed(events),
        monkeypatch,
        "?stream",
    )
    assert (served.tries, served.reply.answer) == (2, "A")


@pytest.mark.parametrize(
    ("status", "kind"), [(429, "rate_limit_error"), (529, "overloaded_error"), (500, "api_error")]
)
def test_an_overload_heals_after_the_wait_it_asks_for(
    monkeypatch: pytest.MonkeyPatch, status: int, kind: str
) -> None:
    error = whole(
        {"type": "error", "error": {"type": kind, "message": "Slow down"}}, status, retry_after="1"
    )
    good = whole(_message(TEXT))
    served, seen = _ask(lambda n: error if n == 1 else good, monkeypatch)
    assert (served.tries, len(seen.bodies)) == (2, 2)
    with pytest.raises(CallError) as caught:
        _ask(whole({"error": {"type": kind}}, status, retry_after="3"), monkeypatch, tries=1)
    found = caught.value
    assert (found.heals, found.overload, found.retry_after_s) == (True, True, 3.0)


@pytest.mark.parametrize(
    ("status", "kind", "said"),
    [
        (401, "authentication_error", f"invalid x-api-key {KEY}"),
        (403, "permission_error", f"{KEY} may not"),
        (404, "not_found_error", f"model: claude-x, {KEY}"),
        (400, "invalid_request_error", f"Your credit balance is too low, {KEY}"),
    ],
)
@pytest.mark.parametrize("options", ["", "?stream"])
def test_what_no_call_can_overcome_ends_the_run_without_telling_the_key(
    monkeypatch: pytest.MonkeyPatch, status: int, kind: str, said: str, options: str
) -> None:
    error = whole({"type": "error", "error": {"type": kind, "message": said}}, status)
    with pytest.raises(UsageError, match="Check the model id, the key") as caught:
        _ask(error, monkeypatch, options)
    cause = caught.value.__cause__
    assert isinstance(cause, CallError)
    assert cause.fatal
    assert "[key]" in str(cause)
    for text in (str(caught.value), str(cause), cause.raw):
        assert KEY not in text


def test_a_key_that_the_server_echoes_comes_back_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    message = _message({"type": "text", "text": f"key: {KEY}"})
    for options, says in (("", whole(message)), ("?stream", streamed([
        {"type": "message_start", "message": message | {"content": []}},
        {"type": "content_block_start", "index": 0, "content_block": message["content"][0]},
        {"type": "message_stop"},
    ]))):  # fmt: skip
        served, _ = _ask(says, monkeypatch, options)
        assert served.reply.answer == "key: [key]"
        assert KEY not in repr(served.reply)


def test_a_bad_request_is_not_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def says(number: int) -> Said:
        asked.append(number)
        said = {"type": "invalid_request_error", "message": "max_tokens: 8192 > 4096"}
        return whole({"type": "error", "error": said}, 400)

    with pytest.raises(CallError, match="max_tokens: 8192 > 4096") as caught:
        _ask(says, monkeypatch)
    assert asked == [1]
    assert not caught.value.fatal


def test_a_model_that_takes_no_temperature_is_asked_without_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    said = {
        "type": "invalid_request_error",
        "message": "`temperature` is deprecated for this model.",
    }
    error, good = whole({"type": "error", "error": said}, 400), whole(_message(TEXT))
    asked = call(temperature=0.0)
    served, seen = _ask(lambda n: error if n == 1 else good, monkeypatch, "", asked)
    assert served.reply.answer == "A"
    assert ["temperature" in body for body in seen.bodies] == [True, False]


# ---------------------------------------------------------------- a whole run


@pytest.mark.parametrize(("model", "outcome"), [(OLD, "complete"), (NEW, "summarised")])
def test_summarised_thinking_is_kept_and_never_judged(
    hiddenrisk: CommandLine, model: str, outcome: str
) -> None:
    async def run() -> Done:
        async with serving(lambda _: whole(_message(THOUGHT, TEXT, model=model))) as (port, _):
            command = (
                *("assess", "--model", f"anthropic/{model}?budget=1024", "--judge", "builtin"),
                *("--benchmark", "starter", "--limit", "3", "--out", "out"),
            )
            env = {
                "ANTHROPIC_BASE_URL": f"http://127.0.0.1:{port}",
                "ANTHROPIC_API_KEY": KEY,
            }
            return await asyncio.to_thread(hiddenrisk, *command, env=env)

    done = asyncio.run(run())
    assert done.code == 0, done
    out = hiddenrisk.folder / "out"
    assert all(KEY.encode() not in path.read_bytes() for path in out.iterdir() if path.is_file())
    (found,) = json.loads((out / "summary.json").read_text())["models"].values()
    thinking = found["benchmarks"]["starter"]["parts"]["thinking"]
    assert thinking["outcomes"] == {outcome: 3}
    assert (thinking["safety_rate"]["n"] > 0) is (outcome == "complete")
    assert '"thinking":"T"' in (out / "responses.jsonl").read_text()
    judged = '"part":"thinking"' in (out / "verdicts.jsonl").read_text()
    assert judged is (outcome == "complete")


# ---------------------------------------------------------------- what it is called


def test_a_key_is_needed_and_nowhere_in_what_identifies_a_model(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = open_model(f"anthropic/{NEW}?budget=4096")
    assert KEY not in json.dumps([model.label, model.provider, model.identity])
    assert not model.local
    assert model.identity != open_model(f"anthropic/{NEW}").identity
    monkeypatch.delenv("ANTHROPIC_API_KEY")
    with pytest.raises(UsageError, match="set the environment variable ANTHROPIC_API_KEY"):
        open_model(f"anthropic/{NEW}")


@pytest.mark.parametrize("url", ["https://me:hunter2@h", "https://h?key=hunter2", "h:hunter2", "/"])
def test_an_address_that_is_none_or_holds_a_secret_is_refused(
    monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    monkeypatch.setenv("ANTHROPIC_BASE_URL", url)
    with pytest.raises(UsageError, match="ANTHROPIC_BASE_URL") as caught:
        open_model(f"anthropic/{NEW}")
    assert "hunter2@" not in str(caught.value)
    assert "key=" not in str(caught.value)


# ---------------------------------------------------------------- recorded exchanges


def _recorded(data: Path) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    (path,) = (data / "provider_cassettes_thinking").glob("test_anthropic__*.yaml")
    return [
        (exchange["request"]["parsed_body"], exchange["response"]["parsed_body"])
        for exchange in yaml.safe_load(path.read_text("utf-8"))["interactions"]
    ]


@pytest.mark.parametrize("options", ["?budget=1024", "?budget=1024&stream"])
def test_recorded_exchanges_are_asked_and_read(
    shared_data: Path, monkeypatch: pytest.MonkeyPatch, options: str
) -> None:
    for asked, said in _recorded(shared_data):
        says = streamed(_events(said)) if "stream" in options else whole(said)
        first = call(("user", asked["messages"][0]["content"][0]["text"]), max_tokens=3072)
        spec = f"anthropic/{asked['model']}{options}"
        served, seen = ask(spec, lambda _, s=says: s, monkeypatch, "ANTHROPIC_BASE_URL", first)
        for name in ("model", "max_tokens", "thinking"):
            assert seen.bodies[0][name] == asked[name]
        thought, text = said["content"]
        reply = served.reply
        assert reply.thinking == thought["thinking"].strip() != ""
        assert reply.answer == text["text"].strip() != ""
        assert (reply.finish, reply.visibility) == (Finish.COMPLETE, Visibility.SUMMARISED)
        assert reply.served_model == said["model"]
        assert reply.usage.prompt_tokens == said["usage"]["input_tokens"]
        assert json.loads(bytes(reply.raw))["content"] == said["content"]
