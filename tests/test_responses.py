"""OpenAI's Responses API: a recorded exchange, shapes of replies, and a real loopback server."""

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
from hiddenrisk.models.http import payload
from hiddenrisk.models.responses import Stream, read_response, request_body
from hiddenrisk.types import Call, Finish, Reply, Visibility
from tests.native import KEY, Said, Seen, ask, call, streamed, whole

ITEM: dict[str, Any] = {
    "type": "reasoning",
    "id": "rs_1",
    "summary": [],
    "encrypted_content": "ZW5jcnlwdGVk",
}


def _summary(*texts: str) -> dict[str, Any]:
    return ITEM | {"summary": [{"type": "summary_text", "text": text} for text in texts]}


def _says(*texts: str, kind: str = "output_text") -> dict[str, Any]:
    name = "refusal" if kind == "refusal" else "text"
    return {
        "type": "message",
        "role": "assistant",
        "content": [{"type": kind, name: t} for t in texts],
    }


SHOWN = ITEM | {"content": [{"type": "reasoning_text", "text": "T"}]}
TOLD = _summary("S")
TEXT = _says("A")


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)


def _response(
    *items: dict[str, Any], status: str = "completed", tokens: int | None = 3, **more: object
) -> dict[str, Any]:
    usage = {
        "input_tokens": 5,
        "output_tokens": 7,
        "output_tokens_details": {"reasoning_tokens": tokens},
    }
    response = {"id": "resp_1", "model": "m", "status": status, "error": None, "usage": usage}
    return {**response, "incomplete_details": None, "output": list(items), **more}


def _events(response: dict[str, Any]) -> list[dict[str, Any]]:
    begun: dict[str, Any] = response | {"status": "in_progress", "output": []}
    return [
        {"type": "response.created", "response": begun},
        {"type": "response.output_text.delta", "delta": "half of an"},
        {"type": f"response.{response['status']}", "response": response},
    ]


def _read(response: object) -> Reply:
    return read_response(*payload(json.dumps(response).encode()))


def _gathered(events: list[dict[str, Any]]) -> Reply:
    stream = Stream()
    for event in events:
        stream.feed(b"data: " + json.dumps(event).encode() + b"\n")
    return stream.reply()


# ---------------------------------------------------------------- requests


def test_a_request_says_only_what_was_asked_for() -> None:
    body = json.loads(request_body(call(("system", "S"), ("user", "Hé")), "m"))
    turns = [{"role": "system", "content": "S"}, {"role": "user", "content": "Hé"}]
    assert body == {"model": "m", "input": turns, "store": False}
    asked = call(temperature=0.5, max_tokens=9)
    body = json.loads(request_body(asked, "m", reasoning={"effort": "low"}, stream=True))
    assert (body["temperature"], body["max_output_tokens"], body["stream"]) == (0.5, 9, True)
    assert body["reasoning"] == {"effort": "low"}


# ---------------------------------------------------------------- shapes of replies

_CUT = {"status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}}
_FILTERED = {"status": "incomplete", "incomplete_details": {"reason": "content_filter"}}
_SHAPES: list[tuple[Any, ...]] = [
    ((TOLD, TEXT), {}, "S", "A", "complete", "summarised"),
    ((_summary("S", "Z"), TEXT), {}, "S\n\nZ", "A", "complete", "summarised"),
    ((TOLD, ITEM, TEXT), {}, "S", "A", "complete", "summarised"),
    ((ITEM, TEXT), {}, None, "A", "complete", "hidden"),
    ((ITEM, TEXT), {"tokens": 0}, None, "A", "complete", "hidden"),
    ((TEXT,), {}, None, "A", "complete", "hidden"),
    ((TEXT,), {"tokens": 0}, None, "A", "complete", "none"),
    ((TEXT,), {"tokens": None}, None, "A", "complete", "none"),
    ((SHOWN, TEXT), {}, "T", "A", "complete", "visible"),
    ((_says("A", "B"), _says("C")), {"tokens": 0}, None, "AB\n\nC", "complete", "none"),
    ((TOLD, _says("I can't.", kind="refusal")), {}, "S", "I can't.", "refused", "summarised"),
    ((_says("A"), _says("I can't.", kind="refusal")), {"tokens": 0}, None, "A\n\nI can't.",
     "refused", "none"),
    ((_says("I can't", kind="refusal"),), _CUT, None, "I can't", "cut_in_answer", "hidden"),
    ((TEXT, {"type": "function_call"}), {"tokens": 0}, None, "A", "complete", "none"),
    ((TOLD, TEXT), _CUT, "S", "A", "cut_in_answer", "summarised"),
    ((TOLD,), _CUT, "S", None, "cut_in_thinking", "summarised"),
    ((ITEM,), _CUT, None, None, "cut_in_thinking", "hidden"),
    ((TEXT,), {"status": "incomplete"}, None, "A", "cut_in_answer", "hidden"),
    ((TOLD, TEXT), _FILTERED, "S", "A", "blocked_on_output", "summarised"),
    ((), _FILTERED, None, None, "blocked_on_output", "hidden"),
    ((ITEM,), {}, None, None, "empty", "hidden"),
]  # fmt: skip


@pytest.mark.parametrize("how", ["whole", "streamed"])
@pytest.mark.parametrize(("items", "more", "thinking", "answer", "finish", "visibility"), _SHAPES)
def test_a_response_is_read_for_what_it_is(
    items: tuple[dict[str, Any], ...],
    more: dict[str, Any],
    thinking: str | None,
    answer: str | None,
    finish: str,
    visibility: str,
    how: str,
) -> None:
    response = _response(*items, **more)
    reply = _read(response) if how == "whole" else _gathered(_events(response))
    assert (reply.thinking, reply.answer) == (thinking, answer)
    assert (reply.finish.value, reply.visibility.value) == (finish, visibility)
    assert (reply.usage.prompt_tokens, reply.usage.completion_tokens) == (5, 7)
    assert reply.served_model == "m"
    assert json.loads(bytes(reply.raw))["output"] == list(items), "encrypted content is kept"
    assert "ZW5j" not in f"{reply.thinking}{reply.answer}"


@pytest.mark.parametrize(
    "response",
    [
        {},
        {"status": "completed"},
        {"output": "A"},
        _response(TEXT, status="in_progress"),
        _response(TEXT, status="cancelled"),
        _response(status="failed"),
    ],
)
def test_what_is_no_finished_response_heals(response: object) -> None:
    with pytest.raises(CallError) as caught:
        _read(response)
    assert caught.value.heals


@pytest.mark.parametrize("kept", range(3))
def test_a_stream_cut_before_its_end_heals(kept: int) -> None:
    with pytest.raises(CallError, match="broke off") as caught:
        _gathered(_events(_response(TEXT))[:kept])
    assert caught.value.heals


def _failures(code: str, said: str) -> list[list[dict[str, Any]]]:
    """The ways by which a stream tells an error."""
    error = {"code": code, "message": said}
    begun = _events(_response(TEXT))[:2]
    return [
        [*begun, *_events(_response(status="failed", error=error))[2:]],
        [*begun, {"type": "error", **error, "param": None}],
        [{"type": "error", "error": {"type": code, **error}}],
    ]


@pytest.mark.parametrize(
    ("code", "heals", "overload", "fatal"),
    [
        ("server_error", True, True, False),
        ("rate_limit_exceeded", True, True, False),
        ("insufficient_quota", False, False, True),
        ("invalid_api_key", False, False, True),
        ("context_length_exceeded", False, False, False),
    ],
)
def test_an_error_inside_a_stream_is_what_its_code_says(
    code: str, heals: bool, overload: bool, fatal: bool
) -> None:
    for events in _failures(code, "Oh no"):
        with pytest.raises(CallError, match="Oh no") as caught:
            _gathered(events)
        found = caught.value
        assert (found.heals, found.overload, found.fatal) == (heals, overload, fatal)
    with pytest.raises(CallError, match="Oh no"):
        _read(_response(status="failed", error={"code": code, "message": "Oh no"}))


def test_a_rejected_prompt_is_a_block_wherever_it_is_told() -> None:
    *after_text, at_once = _failures("invalid_prompt", "Your prompt was flagged")
    assert _gathered(at_once).finish is Finish.BLOCKED_ON_INPUT
    for events in after_text:
        assert _gathered(events).finish is Finish.BLOCKED_ON_OUTPUT
        assert _gathered([e for e in events if "delta" not in e]).finish is Finish.BLOCKED_ON_INPUT


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=4)
    | st.sampled_from(["reasoning", "message", "output_text", "completed", "incomplete"]),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(
        st.sampled_from(
            ["type", "content", "text", "summary", "refusal", "status", "usage", "output", "error",
             "incomplete_details", "reason", "code", "model", "output_tokens_details"]
        ),
        inner,
        max_size=5,
    ),
    max_leaves=14,
)  # fmt: skip


@given(value=_JSON, output=_JSON)
@example(value={"status": ["x"], "type": []}, output=[[]])
@example(value={"incomplete_details": [], "status": "incomplete"}, output=[{"type": []}])
def test_no_json_raises_anything_but_an_error_of_ours(value: object, output: object) -> None:
    fields = cast("dict[str, Any]", value) if isinstance(value, dict) else {}
    failed: dict[str, object] = {"output": output, "error": value}
    responses: list[object] = [value, fields | {"output": output}, failed]
    kinds: list[object] = ["response.completed", "error", value]
    for response in responses:
        with suppress(CallError):
            msgspec.json.encode(_read(response))
        for kind in kinds:
            with suppress(CallError):
                msgspec.json.encode(_gathered([{"response": response, **fields, "type": kind}]))


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

    spec = f"openai-responses/o3-mini{options}"
    return ask(spec, answer, monkeypatch, "OPENAI_BASE_URL", asked, path="/v1", tries=tries)


@pytest.mark.parametrize("options", ["", "?stream", "?effort=low&summary=auto&stream"])
def test_a_reply_is_had_whole_or_streamed(monkeypatch: pytest.MonkeyPatch, options: str) -> None:
    response = _response(TOLD, TEXT)
    says = streamed(_events(response)) if "stream" in options else whole(response)
    served, seen = _ask(says, monkeypatch, options)
    assert (served.reply.thinking, served.reply.answer, served.tries) == ("S", "A", 1)
    assert served.reply.visibility is Visibility.SUMMARISED
    assert seen.paths == ["/v1/responses"]
    assert seen.headers[0]["authorization"] == f"Bearer {KEY}"
    assert seen.bodies[0].get("stream", False) is ("stream" in options)
    wish = {"effort": "low", "summary": "auto"} if "effort" in options else None
    assert seen.bodies[0].get("reasoning") == wish


@pytest.mark.parametrize("dropped", [True, False])
def test_a_stream_that_is_cut_heals(monkeypatch: pytest.MonkeyPatch, dropped: bool) -> None:
    events = _events(_response(TEXT))
    served, _ = _ask(
        lambda n: streamed(events[:2], cut=dropped) if n == 1 else streamed(events),
        monkeypatch,
        "?stream",
    )
    assert (served.tries, served.reply.answer) == (2, "A")


def test_an_overload_heals_after_the_wait_it_asks_for(monkeypatch: pytest.MonkeyPatch) -> None:
    error = {"error": {"code": "rate_limit_exceeded", "message": "Slow down"}}
    good = whole(_response(TEXT))
    served, _ = _ask(lambda n: whole(error, 429) if n == 1 else good, monkeypatch)
    assert served.tries == 2
    with pytest.raises(CallError) as caught:
        _ask(whole(error, 429, retry_after="3"), monkeypatch, tries=1)
    assert (caught.value.heals, caught.value.retry_after_s) == (True, 3.0)


@pytest.mark.parametrize("options", ["", "?stream"])
def test_a_wrong_key_ends_the_run_and_is_not_told(
    monkeypatch: pytest.MonkeyPatch, options: str
) -> None:
    error = {"error": {"code": "invalid_api_key", "message": f"Incorrect API key: {KEY}"}}
    with pytest.raises(UsageError, match=r"Incorrect API key: \[key\]") as caught:
        _ask(whole(error, 401), monkeypatch, options)
    cause = caught.value.__cause__
    assert isinstance(cause, CallError)
    assert cause.fatal
    assert KEY not in f"{caught.value}{cause}{cause.raw}"


def test_a_key_that_the_server_echoes_comes_back_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    response = _response(_summary(KEY), _says(f"key: {KEY}"))
    for options, says in (("", whole(response)), ("?stream", streamed(_events(response)))):
        served, _ = _ask(says, monkeypatch, options)
        assert served.reply.answer == "key: [key]"
        assert KEY not in repr(served.reply)


def test_a_rejected_prompt_is_a_block(monkeypatch: pytest.MonkeyPatch) -> None:
    error = {"error": {"code": "invalid_prompt", "message": "Invalid prompt: flagged"}}
    served, _ = _ask(whole(error, 400), monkeypatch)
    assert served.reply.finish is Finish.BLOCKED_ON_INPUT


def test_a_model_that_takes_no_temperature_is_asked_without_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    said = "Unsupported parameter: 'temperature' is not supported with this model."
    error, good = whole({"error": {"message": said}}, 400), whole(_response(TEXT))
    asked = call(temperature=0.0)
    _, seen = _ask(lambda n: error if n == 1 else good, monkeypatch, "", asked)
    assert ["temperature" in body for body in seen.bodies] == [True, False]


# ---------------------------------------------------------------- what it is called


def test_it_is_not_the_same_model_as_by_chat_completions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    specs = ("openai/o3", "openai-responses/o3", "openai-responses/o3?effort=low")
    models = [open_model(spec) for spec in specs]
    assert len({json.dumps(model.identity) for model in models}) == 3
    assert all(KEY not in json.dumps([m.label, m.provider, m.identity]) for m in models)
    monkeypatch.delenv("OPENAI_API_KEY")
    with pytest.raises(UsageError, match="set the environment variable OPENAI_API_KEY"):
        open_model("openai-responses/o3")


# ---------------------------------------------------------------- recorded exchanges


@pytest.mark.parametrize("options", ["", "&stream"])
def test_a_recorded_exchange_is_asked_and_read(
    shared_data: Path, monkeypatch: pytest.MonkeyPatch, options: str
) -> None:
    (path,) = (shared_data / "provider_cassettes_thinking").glob("test_openai__*.yaml")
    exchange = yaml.safe_load(path.read_text("utf-8"))["interactions"][0]
    asked, said = exchange["request"]["parsed_body"], exchange["response"]["parsed_body"]
    says = streamed(_events(said)) if options else whole(said)
    first = call(("user", asked["input"][0]["content"]))
    served, seen = _ask(says, monkeypatch, f"?effort=high&summary=detailed{options}", first)
    for name in ("model", "input", "reasoning"):
        assert seen.bodies[0][name] == asked[name]
    thought, message = said["output"]
    reply = served.reply
    assert reply.thinking == "\n\n".join(part["text"] for part in thought["summary"]) != ""
    assert reply.answer == message["content"][0]["text"] != ""
    assert (reply.finish, reply.visibility) == (Finish.COMPLETE, Visibility.SUMMARISED)
    assert reply.served_model == said["model"]
    assert reply.usage.reasoning_tokens == 1600
    assert json.loads(bytes(reply.raw))["output"] == said["output"]
