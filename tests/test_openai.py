"""The client for OpenAI-compatible endpoints, over real HTTP on loopback."""

import asyncio
import json
import threading
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from hiddenrisk.errors import CallError, UsageError
from hiddenrisk.models import open_model
from hiddenrisk.types import Call, Finish, Message, Model, Sampling
from hiddenrisk.types import Reply as ModelReply
from tests.servers import Ask, ChatServer, Faults, Reply, always, error

KEY = "sk-loopback-0123456789"
HANGS_UP = b""


def _call(text: str = "Hello", *, max_tokens: int | None = None) -> Call:
    sampling = Sampling(temperature=0.5, max_tokens=max_tokens)
    return Call(messages=(Message("user", text),), sampling=sampling, prompt="p")


async def _replies(model: Model, texts: Sequence[str]) -> list[ModelReply]:
    """The replies to the texts, one after the other."""
    await model.start()
    try:
        return [await model.generate(_call(text)) for text in texts]
    finally:
        await model.close()


def _ask(spec: str, *texts: str) -> list[ModelReply]:
    return asyncio.run(_replies(open_model(spec), texts or ("Hello",)))


# ---------------------------------------------------------------- a server that says exact bytes


@dataclass
class Wire:
    """What a scripted server saw."""

    port: int = 0
    connections: int = 0
    paths: list[str] = field(default_factory=list[str])
    bodies: list[bytes] = field(default_factory=list[bytes])

    @property
    def spec(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1#m"


@contextmanager
def _serving(answer: Callable[[int], bytes]) -> Generator[Wire]:
    """A server that says exactly these bytes (head and body) to the n-th request."""
    wire = Wire()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        timeout = 10

        def setup(self) -> None:
            super().setup()
            wire.connections += 1

        def do_POST(self) -> None:
            wire.paths.append(self.path)
            wire.bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
            said = answer(len(wire.bodies))
            self.wfile.write(said)
            self.close_connection = said == HANGS_UP

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    wire.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield wire
    finally:
        server.shutdown()
        server.server_close()
        thread.join(timeout=10)


def _http(
    body: bytes,
    *,
    status: str = "200 OK",
    kind: str = "application/json",
    length: int | None = None,
) -> bytes:
    """A response; `length` is what it says of its body, where that is not true."""
    head = f"Content-Type: {kind}\r\nContent-Length: {len(body) if length is None else length}\r\n"
    return f"HTTP/1.1 {status}\r\n{head}\r\n".encode() + body


def _completion(text: str) -> bytes:
    message = {"role": "assistant", "content": text}
    return json.dumps({"choices": [{"message": message, "finish_reason": "stop"}]}).encode()


# ---------------------------------------------------------------- replies


@pytest.mark.parametrize("options", ["", "?stream"])
def test_a_reply_is_had_whole_or_streamed(options: str) -> None:
    with ChatServer({"m": always(Reply(text="A", reasoning="T"))}) as server:
        (reply,) = _ask(server.spec("m") + options)
        (body,) = server.ledger.bodies.values()
    assert (reply.thinking, reply.answer, reply.finish) == ("T", "A", Finish.COMPLETE)
    assert (reply.served_model, reply.usage.reasoning_tokens) == ("m", 1)
    sent = json.loads(body)
    assert sent["temperature"] == 0.5
    assert sent.get("stream", False) is bool(options)


@pytest.mark.parametrize("options", ["", "?stream"])
def test_calls_share_their_connection(options: str) -> None:
    event = b"data: " + _completion("A").replace(b"message", b"delta") + b"\n\n"
    stream = [event, b"data: [DONE]\n\n", b""]
    chunked = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in stream)
    head = (
        b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
    )
    said = head + chunked if options else _http(_completion("A"))
    with _serving(lambda _: said) as wire:
        replies = _ask(wire.spec + options, *(str(n) for n in range(8)))
    assert [r.answer for r in replies] == ["A"] * 8
    assert len(wire.bodies) == 8
    # One to see that the endpoint is there, one for all calls.
    assert wire.connections == 2


def test_a_server_that_ignores_the_wish_for_a_stream_is_understood() -> None:
    with _serving(lambda _: _http(_completion("A"))) as wire:
        (reply,) = _ask(wire.spec + "?stream")
    assert json.loads(wire.bodies[0])["stream"] is True
    assert reply.answer == "A"


def test_a_stream_that_lingers_after_its_end_is_not_waited_for() -> None:
    event = b"data: " + _completion("A").replace(b"message", b"delta") + b"\n\ndata: [DONE]\n\n"
    # The body is announced as longer than it ever gets.
    said = _http(event, kind="text/event-stream", length=len(event) + 9)
    with _serving(lambda _: said) as wire:
        (reply,) = _ask(wire.spec + "?stream")
    assert reply.answer == "A"


def test_a_pretty_printed_reply_is_kept_on_one_line() -> None:
    body = json.dumps(json.loads(_completion("A\nB")), indent=2).encode()
    with _serving(lambda _: _http(body)) as wire:
        (reply,) = _ask(wire.spec)
    assert b"\n" not in bytes(reply.raw)
    assert json.loads(bytes(reply.raw)) == json.loads(body)
    assert wire.paths == ["/v1/chat/completions"]


# ---------------------------------------------------------------- the template that opens the thought


def _by_text(ask: Ask) -> Reply:
    if ask.text == "think":
        return Reply(text="T\n</think>\n\nA")
    return Reply(text=ask.text)


def test_a_template_that_opens_the_thought_is_learnt() -> None:
    with ChatServer({"m": _by_text}) as server:
        first, second, third = _ask(server.spec("m"), "think", "so far", "think")
    assert (first.thinking, first.answer, first.style) == ("T", "A", "prefilled")
    assert (second.thinking, second.answer) == ("so far", None)
    assert second.finish is Finish.CUT_IN_THINKING
    assert (third.thinking, third.answer, third.style) == ("T", "A", "prefilled")


def test_replies_without_tags_are_answers_where_the_user_says_so() -> None:
    with ChatServer({"m": _by_text}) as server:
        spec = server.spec("m")
        replies = _ask(f"{spec}?plain", "think", "so far", "think")
    assert [r.answer for r in replies] == ["A", "so far", "A"]
    assert open_model(f"{spec}?plain").identity != open_model(spec).identity


def test_one_echoed_tag_among_plain_replies_teaches_nothing() -> None:
    with ChatServer({"m": _by_text}) as server:
        replies = _ask(server.spec("m"), "plain", "plain", "think", "plain")
    assert [r.style for r in replies] == ["none", "none", "prefilled", "none"]
    assert replies[-1].answer == "plain"


def test_a_declared_template_needs_no_lesson() -> None:
    with ChatServer({"m": _by_text}) as server:
        (cut,) = _ask(server.spec("m") + "?prefilled", "so far")
    assert (cut.thinking, cut.answer, cut.finish) == ("so far", None, Finish.CUT_IN_THINKING)


# ---------------------------------------------------------------- trouble


def _trouble(spec: str) -> CallError:
    with pytest.raises(CallError) as caught:
        _ask(spec)
    return caught.value


@pytest.mark.parametrize("options", ["", "?stream"])
def test_a_dropped_connection_heals(options: str) -> None:
    faults = Faults(share=1, hang_share=0, kinds=("drop_in_body",))
    with ChatServer({"m": always(Reply(text="A" * 100))}, faults=faults) as server:
        assert _trouble(server.spec("m") + options).heals
    with _serving(lambda _: HANGS_UP) as wire:
        found = _trouble(wire.spec + options)
    assert found.heals
    assert not found.fatal


@pytest.mark.parametrize(
    "said",
    [
        b"nonsense\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Encoding: gzip\r\n\r\nplain",
        _http(b"data: {" + b"x" * (9 << 20) + b"}\n\n", kind="text/event-stream"),
        _http(b"data: {]\n\n", kind="text/event-stream"),
        _http(b"", kind="text/event-stream"),
        _http(b"<html>", kind="text/html"),
        _http(b"", status="204 No Content"),
    ],
)
def test_what_is_no_reply_is_an_error_of_ours(said: bytes) -> None:
    with _serving(lambda _: said) as wire:
        found = _trouble(wire.spec + "?stream")
    assert str(found)


def test_the_server_says_how_long_to_wait() -> None:
    with ChatServer({"m": always(error(429, "slow down", Retry_After="3"))}) as server:
        found = _trouble(server.spec("m"))
    assert (found.heals, found.overload, found.retry_after_s) == (True, True, 3.0)


def test_a_model_that_takes_no_temperature_is_asked_without_one() -> None:
    def picky(ask: Ask) -> Reply:
        if b'"temperature"' in ask.body:
            return error(
                400,
                "Unsupported value: 'temperature' does not support 0.5 with this model.",
                code="unsupported_value",
            )
        return Reply(text="Yes.")

    with ChatServer({"m": picky}) as server:
        replies = _ask(server.spec("m"), "one", "two", "three")
        assert [reply.answer for reply in replies] == ["Yes."] * 3
        assert server.ledger.hits == 4, "it is told once"


def test_a_blocked_request_is_a_reply() -> None:
    blocked = error(400, "The response was filtered", code="content_filter")
    with ChatServer({"m": always(blocked)}) as server:
        (reply,) = _ask(server.spec("m"))
    assert reply.finish is Finish.BLOCKED_ON_INPUT


@pytest.mark.parametrize("options", ["", "?stream"])
def test_a_refusal_in_a_field_of_its_own_is_the_answer_and_marked(options: str) -> None:
    said = {"choices": [{"message": {"content": None, "refusal": "No."}, "finish_reason": "stop"}]}
    body = json.dumps(said).encode()
    if options:
        body = b"data: " + body.replace(b"message", b"delta") + b"\n\ndata: [DONE]\n\n"
    kind = "text/event-stream" if options else "application/json"
    with _serving(lambda _: _http(body, kind=kind)) as wire:
        (reply,) = _ask(wire.spec + options)
    assert (reply.answer, reply.finish) == ("No.", Finish.REFUSED)


def test_an_endpoint_where_nothing_listens_is_told_before_any_call() -> None:
    with _serving(lambda _: HANGS_UP) as wire:
        spec = wire.spec
    with pytest.raises(UsageError, match=rf"cannot reach m at http://127.0.0.1:{wire.port}/v1: "):
        _ask(spec)


def test_a_model_that_was_not_started_answers_nothing() -> None:
    model = open_model("http://127.0.0.1:1/v1#m")
    with pytest.raises(CallError, match="not started"):
        asyncio.run(_generate(model))


async def _generate(model: Model) -> ModelReply:
    return await model.generate(_call())


# ---------------------------------------------------------------- keys


def _echo(ask: Ask) -> Reply:
    """Say the key in every way: as an answer, in an error, with a block."""
    match ask.text:
        case "answer":
            return Reply(text=f"your header is {ask.authorization}", reasoning=ask.authorization)
        case "block":
            return error(400, f"content policy, {ask.authorization}", code="content_filter")
        case _:
            return error(401, f"wrong key: {ask.authorization}", code=str(ask.authorization))


@pytest.mark.parametrize("options", ["", "?stream"])
@pytest.mark.parametrize("key", [KEY, f" {KEY}\n"])
def test_a_key_that_the_server_echoes_comes_back_nowhere(
    monkeypatch: pytest.MonkeyPatch, key: str, options: str
) -> None:
    monkeypatch.setenv("HIDDENRISK_API_KEY", key)
    with ChatServer({"m": _echo}) as server:
        spec = server.spec("m")
        answer, block = _ask(spec, "answer", "block")
        found = _trouble(spec + options)
        assert server.ledger.authorizations == {f"Bearer {KEY}"}
    assert found.fatal
    assert "[key]" in str(found)
    assert answer.answer == "your header is Bearer [key]"
    assert block.finish is Finish.BLOCKED_ON_INPUT
    for text in (str(found), repr(found), found.raw, repr(answer), repr(block)):
        assert KEY not in text


def test_a_placeholder_for_a_key_blots_out_no_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HIDDENRISK_API_KEY", "EMPTY")
    with ChatServer({"m": always(Reply(text="The glass is EMPTY."))}) as server:
        (reply,) = _ask(server.spec("m"))
        assert server.ledger.authorizations == {"Bearer EMPTY"}
    assert reply.answer == "The glass is EMPTY."


def test_a_key_is_nowhere_in_what_identifies_a_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    model = open_model("openai/gpt-4o")
    assert KEY not in json.dumps([model.label, model.provider, model.identity])
    assert not model.local


def test_a_provider_without_its_key_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DEEPSEEK_API_KEY", raising=False)
    with pytest.raises(UsageError, match="set the environment variable DEEPSEEK_API_KEY"):
        open_model("deepseek/deepseek-reasoner")


# ---------------------------------------------------------------- proxies


def test_the_proxy_of_the_environment_is_used_for_other_machines(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("no_proxy", "NO_PROXY", "HTTP_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with _serving(lambda _: _http(_completion("A"))) as wire:
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{wire.port}")
        (reply,) = _ask("http://model.test/v1#m")
        assert reply.answer == "A"
        assert wire.paths == ["http://model.test/v1/chat/completions"]
        # And never for this machine.
        _ask(wire.spec)
        assert wire.paths[1:] == ["/v1/chat/completions"]
