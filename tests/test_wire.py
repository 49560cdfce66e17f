"""The OpenAI-compatible wire: shapes of replies, recorded exchanges, and bytes that are not JSON."""

import email.utils
import json
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

import msgspec
import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from hiddenrisk.errors import CallError
from hiddenrisk.models.refusals import read_error, retry_after_s
from hiddenrisk.models.wire import (
    Stream,
    read_completion,
    request_body,
)
from hiddenrisk.types import Call, Finish, Message, Reply, Sampling, Usage, Visibility

DONE, REFUSED = Finish.COMPLETE, Finish.REFUSED


def _body(message: dict[str, Any] | None = None, finish: str | None = "stop", **more: Any) -> bytes:  # noqa: ANN401 - any JSON
    """A chat completion."""
    choice = {"index": 0, "message": message or {"content": "A"}, "finish_reason": finish}
    return json.dumps({"id": "x", "model": "m", "choices": [choice]} | more).encode()


def _events(*deltas: dict[str, Any], finish: str | None = "stop", done: bool = True) -> list[bytes]:
    """The lines of an event stream."""
    chunks: list[dict[str, Any]] = [{"choices": [{"delta": delta}]} for delta in deltas]
    if finish is not None:
        chunks.append({"choices": [{"delta": {}, "finish_reason": finish}]})
    chunks.append({"choices": [], "model": "m", "usage": {"completion_tokens": 3}})
    lines = [b"data: " + json.dumps(chunk).encode() + b"\r\n" for chunk in chunks]
    return [*lines, b"data: [DONE]\n"] if done else lines


def _streamed(lines: list[bytes], *, prefilled: bool = False) -> Reply:
    stream = Stream()
    for line in lines:
        stream.feed(line)
    return stream.reply(prefilled=prefilled)


def _parts(reply: Reply) -> tuple[str | None, str | None, Finish, str]:
    return reply.thinking, reply.answer, reply.finish, reply.style


# ---------------------------------------------------------------- requests


def test_a_request_says_only_what_was_asked_for() -> None:
    call = Call(messages=(Message("user", "Hé"),), sampling=Sampling(), prompt="p")
    assert json.loads(request_body(call, "m")) == {
        "model": "m",
        "messages": [{"role": "user", "content": "Hé"}],
    }
    sampling = Sampling(temperature=0.0, max_tokens=9)
    call = Call(messages=call.messages, sampling=sampling, prompt="p", repeat=3)
    body = json.loads(
        request_body(call, "m", token_field="max_completion_tokens", stream=True, extra={"k": 1})
    )
    assert body["temperature"] == 0.0
    assert body["max_completion_tokens"] == 9
    assert body["k"] == 1
    assert (body["stream"], body["stream_options"]) == (True, {"include_usage": True})
    assert "max_tokens" not in body


# ---------------------------------------------------------------- shapes of a reply

_SHAPES: dict[str, tuple[dict[str, Any], str, tuple[str | None, str | None, Finish, str]]] = {
    "plain": ({"content": "A"}, "stop", (None, "A", DONE, "none")),
    "reasoning_content": (
        {"content": "A", "reasoning_content": "T"},
        "stop",
        ("T", "A", DONE, "field"),
    ),
    "reasoning": ({"content": "A", "reasoning": "T"}, "stop", ("T", "A", DONE, "field")),
    "tags": ({"content": "<think>\nT\n</think>\n\nA"}, "stop", ("T", "A", DONE, "tags")),
    "closing tag": ({"content": "T\n</think>\n\nA"}, "stop", ("T", "A", DONE, "prefilled")),
    "field and no content": (
        {"content": None, "reasoning_content": "T"},
        "length",
        ("T", None, Finish.CUT_IN_THINKING, "field"),
    ),
    "content in parts": (
        {"content": [{"type": "text", "text": "A"}, {"type": "text", "text": "B"}, 7, "x"]},
        "stop",
        (None, "AB", DONE, "none"),
    ),
    "thinking in parts": (
        {
            "content": [
                {"type": "thinking", "thinking": [{"type": "text", "text": "T"}, {"text": "U"}]},
                {"type": "text", "text": "A"},
            ]
        },
        "stop",
        ("TU", "A", DONE, "field"),
    ),
    "thinking in parts, as text": (
        {"content": [{"type": "thinking", "thinking": "T"}]},
        "length",
        ("T", None, Finish.CUT_IN_THINKING, "field"),
    ),
    "refusal": ({"content": None, "refusal": "No."}, "stop", (None, "No.", REFUSED, "none")),
    "refusal, after a thought": (
        {"content": "", "reasoning_content": "T", "refusal": "No."},
        "stop",
        ("T", "No.", REFUSED, "field"),
    ),
    "refusal, cut": (
        {"content": None, "refusal": "No, I"},
        "length",
        (None, "No, I", Finish.CUT_IN_ANSWER, "none"),
    ),
    "refusal, filtered": (
        {"content": None, "refusal": "No, I"},
        "content_filter",
        (None, "No, I", Finish.BLOCKED_ON_OUTPUT, "none"),
    ),
    "refusal beside an answer": (
        {"content": "A", "refusal": "No."},
        "stop",
        (None, "A\n\nNo.", Finish.REFUSED, "none"),
    ),
    "refusal that says nothing": (
        {"content": None, "refusal": ""},
        "stop",
        (None, None, Finish.EMPTY, "none"),
    ),
    "content_filter": (
        {"content": ""},
        "content_filter",
        (None, None, Finish.BLOCKED_ON_OUTPUT, "none"),
    ),
    "content_filter in the middle": (
        {"content": "A beg", "reasoning_content": "T"},
        "content_filter",
        ("T", "A beg", Finish.BLOCKED_ON_OUTPUT, "field"),
    ),
    "cut": ({"content": "A"}, "length", (None, "A", Finish.CUT_IN_ANSWER, "none")),
    "empty": ({"content": ""}, "stop", (None, None, Finish.EMPTY, "none")),
    "null content": ({"content": None}, "stop", (None, None, Finish.EMPTY, "none")),
    "null character": ({"content": "a\0b"}, "stop", (None, "a\0b", DONE, "none")),
}


@pytest.mark.parametrize("shape", _SHAPES)
def test_a_whole_reply_is_read(shape: str) -> None:
    message, finish, expected = _SHAPES[shape]
    assert _parts(read_completion(_body(message, finish))) == expected


@pytest.mark.parametrize("shape", _SHAPES)
def test_a_streamed_reply_is_read_like_a_whole_one(shape: str) -> None:
    message, finish, expected = _SHAPES[shape]
    reply = _streamed(_events({"role": "assistant"}, message, finish=finish))
    assert _parts(reply) == expected
    assert (reply.served_model, reply.usage.completion_tokens) == ("m", 3)
    # What is kept of it can be read again, like a whole one.
    assert _parts(read_completion(bytes(reply.raw))) == expected


def test_a_stream_is_put_together_from_its_pieces() -> None:
    pieces: list[dict[str, Any]] = [{"content": "", "reasoning_content": p} for p in ("T", "h", "")]
    pieces += [{"content": p, "reasoning_content": None} for p in ("<thi", "nk>\nU\n</th", "ink>A")]
    refused = _streamed(_events({"refusal": "I can"}, {"refusal": "'t."}, {"refusal": None}))
    assert refused.answer == "I can't."
    lines = _events(*pieces)
    lines[2:2] = [b"\n", b": keep-alive\n", b"event: message\n", b"data:\n", b"id: 7\n"]
    assert _parts(_streamed(lines)) == ("Th\n\nU", "A", DONE, "field")


def test_a_stream_without_its_end_heals() -> None:
    cut = _events({"content": "A"}, finish=None, done=False)
    with pytest.raises(CallError, match="broke off") as caught:
        _streamed(cut)
    assert caught.value.heals
    assert caught.value.raw == "A"
    # Some servers say why they stopped and no [DONE], and some the other way round.
    assert _streamed(_events({"content": "A"}, done=False)).answer == "A"
    assert _streamed(_events({"content": "A"}, finish=None)).answer == "A"


def test_an_error_in_a_stream_is_an_error_or_a_block() -> None:
    overloaded = b'data: {"error": {"message": "try later", "code": 503}}\n'
    with pytest.raises(CallError, match="503: try later") as caught:
        _streamed([*_events({"content": "A"}, finish=None, done=False), overloaded])
    assert (caught.value.heals, caught.value.overload) == (True, True)
    blocked = b'data: {"error": {"message": "filtered", "code": "content_filter"}}\n'
    reply = _streamed([*_events({"content": "A beg"}, finish=None, done=False), blocked])
    assert _parts(reply) == (None, "A beg", Finish.BLOCKED_ON_OUTPUT, "none")


def test_a_declared_template_holds_for_the_text_and_not_for_a_refusal_field() -> None:
    cut = read_completion(_body({"content": "T"}, "length"), prefilled=True)
    assert _parts(cut) == ("T", None, Finish.CUT_IN_THINKING, "prefilled")
    refused = read_completion(_body({"content": None, "refusal": "No."}), prefilled=True)
    assert _parts(refused) == (None, "No.", REFUSED, "none")
    streamed = _streamed(_events({"content": "T\n</think>\n\nA"}), prefilled=True)
    assert _parts(streamed) == ("T", "A", DONE, "prefilled")


def test_usage_is_kept_and_what_is_not_said_stays_unknown() -> None:
    usage = {
        "prompt_tokens": 5,
        "completion_tokens": 7,
        "completion_tokens_details": {"reasoning_tokens": 6},
    }
    reply = read_completion(_body(usage=usage, system_fingerprint="fp"))
    assert reply.usage == Usage(prompt_tokens=5, completion_tokens=7, reasoning_tokens=6)
    assert (reply.served_model, reply.fingerprint) == ("m", "fp")
    assert reply.visibility is Visibility.HIDDEN
    assert read_completion(_body(usage=None)).usage == Usage()


@pytest.mark.parametrize(
    "odd",
    [
        {"usage": {"prompt_tokens": 5.5}},
        {"usage": []},
        {"usage": {"completion_tokens_details": "none"}},
        {"model": 5},
        {"system_fingerprint": {}},
        {"created": float("nan")},
        {"created": "\ud800"},
    ],
)
def test_an_odd_count_or_name_does_not_cost_the_reply(odd: dict[str, Any]) -> None:
    assert read_completion(_body(**odd)).answer == "A"


def test_counts_written_as_text_or_as_a_fraction_are_counts() -> None:
    reply = read_completion(_body(usage={"prompt_tokens": "5", "completion_tokens": 7.0}))
    assert reply.usage == Usage(prompt_tokens=5, completion_tokens=7)


@pytest.mark.parametrize("reason", ["error", "network_error", "insufficient_system_resource"])
def test_a_reply_that_the_provider_could_not_finish_is_asked_for_again(reason: str) -> None:
    with pytest.raises(CallError, match=reason) as caught:
        read_completion(_body({"content": "A beg"}, reason))
    assert caught.value.heals
    with pytest.raises(CallError, match=reason):
        _streamed(_events({"content": "A beg"}, finish=reason))


def test_a_filter_that_sends_no_message_is_a_block() -> None:
    body = b'{"choices": [{"index": 0, "finish_reason": "content_filter"}]}'
    assert read_completion(body).finish is Finish.BLOCKED_ON_OUTPUT


# ---------------------------------------------------------------- raw


@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
def test_the_payload_is_kept_on_one_line(indent: int | None, line_end: str) -> None:
    payload = json.loads(_body({"content": 'two\nlines, "quotes" and \\n', "x": [1.50, "é"]}))
    text = json.dumps(payload, indent=indent, ensure_ascii=False).replace("\n", line_end)
    reply = read_completion(text.encode())
    assert not {b"\n", b"\r"} & {bytes([b]) for b in bytes(reply.raw)}
    assert json.loads(bytes(reply.raw)) == payload
    if indent is None:
        assert bytes(reply.raw) == text.encode(), "what is one line already stays as it is"


def test_a_payload_that_is_no_proper_text_can_still_be_written_and_read() -> None:
    for body in (
        _body().replace(b'"x"', b'"\xff\xfe"', 1),
        _body(id="\ud800"),
        _body({"content": "a \ud83d b"}),
        b"\xef\xbb\xbf" + _body(),
        _body().replace(b'"x"', b'"tab\there"', 1),
    ):
        reply = read_completion(body)
        line = msgspec.json.encode(reply)
        assert msgspec.json.decode(line)["raw"]["model"] == "m"
        assert reply.answer in {"A", "a \\ud83d b"}


# ---------------------------------------------------------------- errors

_OPENAI_FILTER = {
    "error": {
        "message": "Invalid prompt: your prompt was flagged as potentially violating our usage "
        "policy. Please try again with a different prompt.",
        "type": "invalid_request_error",
        "param": None,
        "code": "invalid_prompt",
    }
}
_AZURE_FILTER = {
    "error": {
        "message": "The response was filtered due to the prompt triggering Azure OpenAI's content "
        "management policy. Please modify your prompt and retry.",
        "type": None,
        "param": "prompt",
        "code": "content_filter",
        "status": 400,
        "innererror": {
            "code": "ResponsibleAIPolicyViolation",
            "content_filter_result": {"violence": {"filtered": True, "severity": "medium"}},
        },
    }
}
_INNER_FILTER = {"error": {"message": "no", "innererror": {"code": "ResponsibleAIPolicyViolation"}}}
_ALIBABA_FILTER = {"error": {"code": "data_inspection_failed", "message": "Input data may contain"}}
_OPENROUTER_FILTER = {
    "error": {
        "code": 403,
        "message": "the model requires moderation. Your input was flagged for x.",
        "metadata": {"reasons": ["x"], "flagged_input": "..."},
    }
}


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (400, _OPENAI_FILTER),
        (400, _AZURE_FILTER),
        (400, _INNER_FILTER),
        (400, _ALIBABA_FILTER),
        (403, _OPENROUTER_FILTER),
        (400, [_AZURE_FILTER]),
    ],
)
def test_a_content_filter_that_answers_with_an_error_is_a_block(status: int, body: object) -> None:
    reply = read_error(status, json.dumps(body, indent=1).encode(), None)
    assert _parts(reply) == (None, None, Finish.BLOCKED_ON_INPUT, "none")
    assert b"\n" not in bytes(reply.raw)
    assert json.loads(bytes(reply.raw)) == body


@pytest.mark.parametrize(
    ("status", "error", "heals", "overload", "fatal"),
    [
        (400, {"message": "bad", "code": "bad_request"}, False, False, False),
        (400, {"message": "no", "code": "model_not_found"}, False, False, True),
        (401, {"message": "Incorrect API key", "code": "invalid_api_key"}, False, False, True),
        (402, {"message": "Insufficient Balance"}, False, False, True),
        (403, {"message": "forbidden"}, False, False, True),
        (404, {"message": "no such model", "code": "model_not_found"}, False, False, True),
        (404, {"message": "no recording", "code": "no_recording"}, False, False, False),
        (408, {"message": "slow"}, True, False, False),
        (413, {"message": "too large"}, False, False, False),
        (429, {"message": "slow down"}, True, True, False),
        (429, {"message": "no money", "code": "insufficient_quota"}, False, False, True),
        (500, {"message": "oops"}, True, True, False),
        (503, {"message": "The content filter is down", "code": "x"}, True, True, False),
        (529, {"message": "overloaded"}, True, True, False),
    ],
)
def test_an_error_says_whether_another_try_may_heal_it(
    status: int, error: dict[str, Any], heals: bool, overload: bool, fatal: bool
) -> None:
    with pytest.raises(CallError, match=f"HTTP {status}: {error['message']}") as caught:
        read_error(status, json.dumps({"error": error}).encode(), "2")
    found = caught.value
    assert (found.heals, found.overload, found.fatal) == (heals, overload, fatal)
    assert found.retry_after_s == 2.0
    assert error["message"] in found.raw


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "HTTP 500$"),
        (b"<html>Bad\n  Gateway</html>", "HTTP 500: <html>Bad Gateway</html>$"),
        (b'{"error": "plain words"}', "HTTP 500: plain words$"),
        (b'{"error": null, "message": "beside"}', "HTTP 500: beside$"),
        (b'{"object": "error", "message": "vLLM", "code": 500}', "HTTP 500: vLLM$"),
        (b'{"detail": "FastAPI"}', "HTTP 500: FastAPI$"),
        (b'[{"error": {"message": "Gemini"}}]', "HTTP 500: Gemini$"),
        (b'{"error": {"message": {"a": 1}}}', "HTTP 500: "),
        (b"[" * 100_000, "HTTP 500: "),
        (b'{"error": {"message": 1e999}}', "HTTP 500: "),
        (b"\xff\xfe", "HTTP 500: "),
        (b'{"error": "\\ud800"}', "HTTP 500: "),
    ],
)
def test_an_error_body_of_any_shape_is_an_error_of_ours(body: bytes, said: str) -> None:
    with pytest.raises(CallError, match=said) as caught:
        read_error(500, body, None)
    assert len(str(caught.value)) < 400
    msgspec.json.encode(str(caught.value) + caught.value.raw)


@pytest.mark.parametrize(
    ("error", "status", "heals"),
    [
        ({"code": 429, "message": "slow down"}, 429, True),
        ({"code": "503", "message": "later"}, 503, True),
        ({"code": 401, "message": "no key"}, 401, False),
        ({"message": "who knows"}, 502, True),
        ({"code": 1302, "message": "own numbers"}, 502, True),
        ("words", 502, True),
    ],
)
def test_an_error_inside_a_200_is_an_error(error: object, status: int, heals: bool) -> None:
    with pytest.raises(CallError, match=f"HTTP {status}: ") as caught:
        read_completion(json.dumps({"error": error, "choices": None}).encode())
    assert caught.value.heals is heals


@pytest.mark.parametrize(
    "error",
    [
        {"code": "content_filter", "message": "no"},
        {"code": 403, "message": "Your input was flagged by moderation"},
        {"code": None, "type": "content_policy_violation", "message": "no"},
        {"message": "rejected by our safety system"},
    ],
)
def test_a_block_inside_a_200_is_a_block(error: dict[str, Any]) -> None:
    assert read_completion(json.dumps({"error": error}).encode()).finish is Finish.BLOCKED_ON_INPUT


def test_an_empty_error_beside_a_reply_is_none() -> None:
    nothings: tuple[object, ...] = (None, {}, "")
    for nothing in nothings:
        assert read_completion(_body(error=nothing)).answer == "A"


def test_a_reply_without_a_choice_heals() -> None:
    for body in (b"{}", b'{"choices": []}', b'{"choices": [{}]}', b'{"choices": null}'):
        with pytest.raises(CallError) as caught:
            read_completion(body)
        assert caught.value.heals


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("7", 7.0),
        ("0.25", 0.25),
        (" 3 ", 3.0),
        ("-5", 0.0),
        (None, None),
        ("", None),
        ("soon", None),
        ("inf", None),
        ("nan", None),
        ("1e999", None),
        ("Wed, 21 Oct 2015 07:28:00 GMT", 0.0),
        ("Mon, 99 Jan 2020 99:00:00 GMT", None),
        ("Mon, 01 Jan 0001 00:00:00 -0000", 0.0),
    ],
)
def test_retry_after_is_a_number_or_a_date(header: str | None, seconds: float | None) -> None:
    assert retry_after_s(header) == seconds


def test_retry_after_as_a_date_counts_from_now() -> None:
    later = email.utils.formatdate(time.time() + 30, usegmt=True)
    found = retry_after_s(later)
    assert found is not None
    assert 28 < found <= 30


# ---------------------------------------------------------------- laws

_JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters(), max_size=8)  # lone surrogates and null characters too
    | st.sampled_from(["stop", "length", "content_filter", "<think>", "</think>\nA", "error"])
    | st.sampled_from(["reasoning.text", "reasoning.summary", "reasoning.encrypted", "thinking"]),
    lambda children: (
        st.lists(children, max_size=4)
        | st.dictionaries(
            st.sampled_from(
                [
                    *("choices", "message", "delta", "content", "text", "reasoning", "refusal"),
                    *("reasoning_content", "finish_reason", "usage", "completion_tokens", "model"),
                    *("completion_tokens_details", "error", "code", "innererror", "thinking"),
                    *("type", "system_fingerprint", "detail", "reasoning_details", "summary"),
                    *("data", "thought", "extra_content", "google", "reasoningContent"),
                    *("reasoningText", "redactedContent"),
                ]
            ),
            children,
            max_size=5,
        )
    ),
    max_leaves=16,
)
_CHOICES = st.fixed_dictionaries(
    {"choices": st.lists(st.fixed_dictionaries({"message": _JSON, "delta": _JSON}), max_size=2)},
    optional={"usage": _JSON, "error": _JSON, "model": _JSON, "x": _JSON},
)


def _well_formed(reply: Reply) -> None:
    """Check that a reply can be written as one line and read again."""
    line = msgspec.json.encode(reply)
    assert b"\n" not in line
    json.loads(line)


@given(value=_JSON | _CHOICES, indent=st.sampled_from([None, 1]))
def test_no_json_raises_anything_but_an_error_of_ours(value: object, indent: int | None) -> None:
    body = json.dumps(value, indent=indent).encode()
    for prefilled in (False, True):
        try:
            _well_formed(read_completion(body, prefilled=prefilled))
        except CallError as error:
            msgspec.json.encode([str(error), error.raw])
    stream = Stream()
    with suppress(CallError):
        stream.feed(b"data: " + json.dumps(value).encode())
        _well_formed(stream.reply())
    with suppress(CallError):
        _well_formed(read_error(400, body, None))


@given(body=st.binary(max_size=200), header=st.text(max_size=40))
@example(body=b"[" * 50_000, header="Thu, 01 Jan 1970 00:00:00 GMT")
@example(body=b'{"x":' + b"[" * 50_000 + b"]" * 50_000 + b',\n"choices":[]}', header="9" * 400)
@example(body=b'{"choices":[{"message":{"content":"A"}}],\n"x":1e999}', header="-inf")
@example(body=b'{"choices":[{"message":{"content":"A"}}],\n"x":' + b"9" * 5000 + b"}", header="")
@example(body=b"\xff\n", header="")
def test_no_bytes_raise_anything_but_an_error_of_ours(body: bytes, header: str) -> None:
    for act in (
        lambda: read_completion(body),
        lambda: read_error(429, body, header),
        lambda: Stream().feed(body),
        lambda: Stream().feed(b"data: " + body),
    ):
        try:
            act()
        except CallError as error:
            msgspec.json.encode([str(error), error.raw])


def test_a_reply_cut_anywhere_heals() -> None:
    body = _body({"content": "A", "reasoning_content": "Té"}, usage={"prompt_tokens": 5})
    for end in range(len(body)):
        with pytest.raises(CallError) as caught:
            read_completion(body[:end])
        assert caught.value.heals


# ---------------------------------------------------------------- recorded exchanges


def _recorded(data: Path, name: str) -> list[tuple[bytes, dict[str, Any] | None]]:
    """The reply bodies of one cassette, each with its JSON where it is no stream."""
    folder = data / "provider_cassettes_thinking"
    (path,) = folder.glob(f"test_{name}__*.yaml") if "." not in name else [folder / name]
    found: list[tuple[bytes, dict[str, Any] | None]] = []
    for exchange in yaml.safe_load(path.read_text("utf-8"))["interactions"]:
        if not str(exchange["request"]["uri"]).endswith("/chat/completions"):
            continue
        response = cast("dict[str, Any]", exchange["response"])
        if "parsed_body" in response:
            parsed = cast("dict[str, Any]", response["parsed_body"])
            found.append((json.dumps(parsed).encode(), parsed))
        else:
            found.append((str(response["body"]["string"]).encode(), None))
    assert found
    return found


def _message(parsed: dict[str, Any] | None) -> dict[str, Any]:
    assert parsed is not None
    return cast("dict[str, Any]", parsed["choices"][0]["message"])


@pytest.mark.parametrize(
    ("name", "field"),
    [
        ("test_deepseek__test_deepseek_model_thinking_part.yaml", "reasoning_content"),
        ("zai", "reasoning_content"),
    ],
)
def test_recorded_replies_with_a_field_are_read(shared_data: Path, name: str, field: str) -> None:
    for body, parsed in _recorded(shared_data, name):
        reply, message = read_completion(body), _message(parsed)
        assert reply.thinking == message[field].strip() != ""
        assert reply.answer == message["content"].strip() != ""
        assert (reply.finish, reply.style) == (DONE, "field")
        assert parsed is not None
        assert reply.served_model == parsed["model"]
        said = parsed["usage"]["completion_tokens_details"]["reasoning_tokens"]
        assert reply.usage.reasoning_tokens == said > 0
        assert json.loads(bytes(reply.raw)) == parsed


def test_recorded_replies_of_groq_have_tags_and_then_a_field(shared_data: Path) -> None:
    (tagged, first), (apart, second) = _recorded(shared_data, "groq")
    _check_tags(read_completion(tagged), _message(first)["content"])
    reply, message = read_completion(apart), _message(second)
    assert (reply.thinking, reply.answer) == (
        message["reasoning"].strip(),
        message["content"].strip(),
    )
    assert reply.style == "field"
    assert reply.usage.reasoning_tokens is None


def test_recorded_replies_of_hugging_face_have_tags(shared_data: Path) -> None:
    for body, parsed in _recorded(shared_data, "huggingface"):
        _check_tags(read_completion(body), _message(parsed)["content"])


def _check_tags(reply: Reply, content: str) -> None:
    thought, closing, answer = content.partition("</think>")
    assert closing
    assert reply.thinking == thought.removeprefix("<think>").strip() != ""
    assert reply.answer == answer.strip() != ""
    assert (reply.finish, reply.style) == (DONE, "tags")


def test_recorded_replies_of_mistral_have_thinking_among_the_parts(shared_data: Path) -> None:
    for body, parsed in _recorded(shared_data, "mistral"):
        thought, answer = cast("list[dict[str, Any]]", _message(parsed)["content"])
        reply = read_completion(body)
        assert reply.thinking == "".join(p["text"] for p in thought["thinking"]).strip() != ""
        assert reply.answer == answer["text"].strip() != ""
        assert (reply.style, reply.visibility) == ("field", Visibility.VISIBLE)


def test_a_recorded_stream_is_read(shared_data: Path) -> None:
    name = "test_deepseek__test_deepseek_model_thinking_stream.yaml"
    ((body, _),) = _recorded(shared_data, name)
    said = {"reasoning_content": "", "content": ""}
    usage: dict[str, Any] = {}
    for line in body.decode().splitlines():
        if line.startswith("data: {"):
            chunk: dict[str, Any] = json.loads(line.removeprefix("data: "))
            usage = chunk["usage"] or usage
            for field in said:
                said[field] += chunk["choices"][0]["delta"].get(field) or ""
    reply = _streamed(body.splitlines(keepends=True))
    assert reply.thinking == said["reasoning_content"].strip() != ""
    assert reply.answer == said["content"].strip() != ""
    assert (reply.finish, reply.style) == (DONE, "field")
    assert reply.served_model == "deepseek-reasoner"
    assert reply.fingerprint is not None
    assert reply.usage == Usage(
        prompt_tokens=usage["prompt_tokens"],
        completion_tokens=usage["completion_tokens"],
        reasoning_tokens=usage["completion_tokens_details"]["reasoning_tokens"],
    )
    # Half of it is no reply.
    with pytest.raises(CallError, match="broke off"):
        _streamed(body.splitlines(keepends=True)[:200])


@pytest.mark.parametrize(
    ("asked", "served", "visibility"),
    [
        ("google/gemini-2.5-pro", "m", Visibility.SUMMARISED),
        ("openrouter/auto", "google/gemini-2.5-flash", Visibility.SUMMARISED),
        ("claude-opus-4-1-20250805", "m", Visibility.SUMMARISED),
        ("openai/o3", "m", Visibility.SUMMARISED),
        ("gpt-5-mini", "m", Visibility.SUMMARISED),
        ("claude-3-7-sonnet-20250219", "m", Visibility.VISIBLE),
        ("openai/gpt-oss-120b", "m", Visibility.VISIBLE),
        ("someone/gpt-4-distill-qwen-7b", "m", Visibility.VISIBLE),
        ("deepseek/deepseek-r1", "m", Visibility.VISIBLE),
    ],
)
def test_whose_thinking_is_a_summary_is_known_by_the_models_id(
    asked: str, served: str, visibility: Visibility
) -> None:
    body = _body({"content": "A", "reasoning": "T"}, model=served)
    assert read_completion(body, asked=asked).visibility is visibility


def test_a_reply_that_a_server_aborted_is_asked_for_again() -> None:
    with pytest.raises(CallError, match="broke off") as caught:
        read_completion(_body({"content": "Half an"}, "abort"))
    assert caught.value.heals
