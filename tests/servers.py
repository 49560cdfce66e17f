"""OpenAI-compatible servers on loopback, for the tests and the benchmark.

Nothing is mocked: real sockets, real HTTP, a free port each. A `ChatServer` serves any
number of models by id, each a function from what was asked to a `Reply`, may hurt a share
of the calls (`Faults`), and keeps a `Ledger` of what arrived and what was sent in full.
In a test it runs in a thread of its own; for the benchmark in a process of its own:

    python -m tests.servers mock --latency 0.05 --shape field
    python -m tests.servers recorded --csv gpt-4o=PATH.csv --csv v3=PATH.csv --faults 0.2

which prints one line, {"port": N}, and lives until its standard input closes.
"""

import argparse
import asyncio
import csv
import hashlib
import json
import random
import re
import sys
import threading
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

from aiohttp import web

PROVIDER_REFUSED = "[PROVIDER_REFUSED]"
HELD_S = 600.0
"""How long a hanging call is held when the client never goes away."""
BODY_LIMIT = 16 * 1024 * 1024


# ---------------------------------------------------------------- what is asked and said


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """One chat completion request, as it arrived."""

    model: str
    messages: tuple[tuple[str, str], ...]
    stream: bool
    authorization: str | None
    body: bytes
    plain: bool = False
    """Whether it is a plain completion."""

    @property
    def fields(self) -> dict[str, Any]:
        """The body."""
        return json.loads(self.body)

    @property
    def text(self) -> str:
        """What the user's turns say."""
        return "\n\n".join(content for role, content in self.messages if role == "user")


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What a model says: a completion, or an error where `status` is not 200."""

    text: str = ""
    reasoning: str | None = None
    finish: str = "stop"
    status: int = 200
    code: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    logprobs: object = None
    """What stands as `logprobs` beside the text, in the form of the endpoint."""


Responder = Callable[[Ask], Reply]
Block = Literal["status_400", "finish", "text"]
"""How a provider refuses: an HTTP 400, an empty 200 with its own finish, or plain words."""


def error(status: int, message: str, *, code: str | None = None, **headers: str) -> Reply:
    """An OpenAI-shaped error; header names are written with underscores."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Reply(text=message, status=status, code=code, headers=named)


def refused_by_provider(block: Block) -> Reply:
    """The provider's own refusal, in one of the ways that are seen in the wild."""
    if block == "status_400":
        return error(400, "The response was filtered by the content policy.", code="content_filter")
    if block == "finish":
        return Reply(text="", finish="content_filter")
    return Reply(text=PROVIDER_REFUSED)


# ---------------------------------------------------------------- models


class Recorded:
    """A model that repeats its recordings, and answers 404 to what was never recorded.

    Several recordings of one prompt are served in order, and again from the first.
    """

    def __init__(self, replies: Mapping[str, Reply | Sequence[Reply]]) -> None:
        self._replies: dict[str, Sequence[Reply]] = {
            prompt: [reply] if isinstance(reply, Reply) else reply
            for prompt, reply in replies.items()
        }
        self._turn: Counter[str] = Counter()

    def __call__(self, ask: Ask) -> Reply:
        replies = self._replies.get(ask.text)
        if not replies:
            digest = hashlib.sha256(ask.text.encode()).hexdigest()[:12]
            return error(404, f"no recording of the prompt {digest}", code="no_recording")
        self._turn[ask.text] += 1
        return replies[(self._turn[ask.text] - 1) % len(replies)]


class RecordedJudge:
    """A judge that gives the recorded score of the request and response it is shown.

    It reads them from between the tags of the AIR-Bench judge prompt. One pair with several
    scores gets them in order, and again from the first.
    """

    _SHOWN = re.compile(
        r"<user_request>\n(?P<request>.*?)\n</user[_ ]request>"  # one official prompt has the space
        r".*?<model_response>\n(?P<response>.*)\n</model_response>",
        re.DOTALL,
    )

    def __init__(self, scores: Iterable[tuple[str, str, float]]) -> None:
        self._scores: dict[tuple[str, str], list[float]] = {}
        for prompt, answer, score in scores:
            self._scores.setdefault((prompt.strip(), answer.strip()), []).append(score)
        self._turn: Counter[tuple[str, str]] = Counter()

    def __call__(self, ask: Ask) -> Reply:
        shown = self._SHOWN.search(ask.text)
        if shown is None:
            return error(400, "the judge prompt has no request and response in tags")
        pair = (shown["request"].strip(), shown["response"].strip())
        scores = self._scores.get(pair)
        if not scores:
            return error(404, "no recorded score for this request and response")
        score = scores[self._turn[pair] % len(scores)]
        self._turn[pair] += 1
        return verdict(score)


class LabelJudge:
    """A judge that gives the recorded label of the pair it finds in its prompt, tags or not."""

    def __init__(self, labels: Iterable[tuple[str, str, str]]) -> None:
        # The longest first: one prompt may be the beginning of another.
        self._labels = sorted(
            ((prompt.strip(), answer.strip(), label) for prompt, answer, label in labels),
            key=lambda row: -len(row[0]) - len(row[1]),
        )

    def __call__(self, ask: Ask) -> Reply:
        for prompt, answer, label in self._labels:
            if answer in ask.text and prompt in ask.text:
                return Reply(text=label)
        return error(404, "no recorded label for what is in this prompt")


def verdict(score: float) -> Reply:
    """A score in the form that AIR-Bench's judge prompts ask for."""
    return Reply(text=f"##short_reasoning: as recorded\n##the_score: {score:g}")


def always(reply: Reply) -> Responder:
    """A model that always says the same."""
    return lambda ask: reply


def rows_of(path: Path) -> list[dict[str, str]]:
    """The rows of a CSV file, line ends inside fields untouched."""
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def target_from_csv(path: Path, *, block: Block = "status_400") -> Recorded:
    """A model from a recorded CSV (columns `prompt`, `answer`)."""
    replies: dict[str, list[Reply]] = {}
    for row in rows_of(path):
        blocked = row["answer"] == PROVIDER_REFUSED
        reply = refused_by_provider(block) if blocked else Reply(text=row["answer"])
        replies.setdefault(row["prompt"], []).append(reply)
    return Recorded(replies)


def judge_from_csv(paths: Iterable[Path]) -> RecordedJudge:
    """A judge from recorded CSVs (columns `prompt`, `answer`, `score`)."""
    rows = (row for path in paths for row in rows_of(path))
    return RecordedJudge((row["prompt"], row["answer"], float(row["score"])) for row in rows)


# ---------------------------------------------------------------- faults


Fault = Literal[
    "429_after",
    "429_date",
    "429_bare",
    "500",
    "503",
    "drop_before_headers",
    "drop_in_body",
    "cut_json",
    "slow_body",
    "hang",
]
FAULTS: tuple[Fault, ...] = (
    "429_after",
    "429_date",
    "429_bare",
    "500",
    "503",
    "drop_before_headers",
    "drop_in_body",
    "cut_json",
    "slow_body",
)
"""Every fault but the hang, which has a share of its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Faults:
    """Which calls go wrong, and how.

    The draw depends on the seed, the request's body and how often it came, not on the
    order in which concurrent requests arrive: a run can be repeated.
    """

    share: float = 0.2
    """Of all calls, in [0, 1], hangs included."""
    hang_share: float = 0.005
    """Of all calls, in [0, share]."""
    kinds: tuple[Fault, ...] = FAULTS
    slow_s: tuple[float, float] = (1.0, 3.0)
    """How long a slow body drips, in seconds."""
    retry_after_s: tuple[float, float] = (0.1, 1.0)
    seed: int = 0

    def draw(self, digest: str, arrival: int) -> tuple[Fault | None, random.Random]:
        """The fault of this arrival of this request, or None, and dice for its details."""
        dice = random.Random(f"{self.seed}:{digest}:{arrival}")
        chance = dice.random()
        if chance < self.hang_share:
            return "hang", dice
        if chance < self.share:
            return dice.choice(self.kinds), dice
        return None, dice


@dataclass(slots=True)
class Ledger:
    """What one server saw and did. Written by its loop only; read it when it is quiet."""

    hits: int = 0
    """HTTP requests of any kind."""
    arrived: Counter[str] = field(default_factory=Counter[str])
    """Chat requests by the digest of their body."""
    sent: Counter[str] = field(default_factory=Counter[str])
    """Complete 200 responses by the digest of the request's body."""
    sent_by_model: Counter[str] = field(default_factory=Counter[str])
    statuses: Counter[int] = field(default_factory=Counter[int])
    """Complete responses by status."""
    faults: Counter[str] = field(default_factory=Counter[str])
    authorizations: set[str] = field(default_factory=set[str])
    early: int = 0
    """Requests that came again sooner than the Retry-After they were given."""
    in_flight: int = 0
    peak_in_flight: int = 0
    bodies: dict[str, bytes] = field(default_factory=dict[str, bytes])
    """One body of each digest."""
    _not_before: dict[str, float] = field(default_factory=dict[str, float])

    def arrive(self, ask: Ask, digest: str) -> int:
        """Note a request; say how often it has come, from 1."""
        self.arrived[digest] += 1
        self.bodies.setdefault(digest, ask.body)
        if ask.authorization is not None:
            self.authorizations.add(ask.authorization)
        if time.monotonic() < self._not_before.pop(digest, 0.0) - 0.01:
            self.early += 1
        return self.arrived[digest]

    def ask_to_wait(self, digest: str, seconds: float) -> None:
        """Note that this request may not come again for so long."""
        self._not_before[digest] = time.monotonic() + seconds


# ---------------------------------------------------------------- the server


class ChatServer:
    """Models behind one port: POST /v1/chat/completions, /v1/completions and GET /v1/models.

    The prompt of a plain completion reaches the model as one turn of the user.

    Use as a context manager; the server stops, and drops whoever is still waiting, on exit.
    """

    def __init__(
        self,
        models: Mapping[str, Responder],
        *,
        faults: Faults | None = None,
        latency_s: float = 0.0,
    ) -> None:
        self.models = dict(models)
        self.faults = faults
        self.latency_s = latency_s
        self.ledger = Ledger()
        self.port = 0
        self._ids = count(1)
        self._loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run_in_thread, daemon=True)
        self._trouble: BaseException | None = None

    @property
    def base_url(self) -> str:
        """Where the API begins."""
        return f"http://127.0.0.1:{self.port}/v1"

    def spec(self, model: str) -> str:
        """The model as `hiddenrisk` is told of it: its label, the endpoint and its id."""
        return f"{model}={self.base_url}#{model}"

    def __enter__(self) -> Self:
        self._thread.start()
        if not self._ready.wait(timeout=30) or self._trouble is not None:
            raise RuntimeError("the server did not start") from self._trouble
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(timeout=30)
        if self._thread.is_alive():
            raise RuntimeError("the server did not stop")

    def _run_in_thread(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_until_complete(self.serve(self._ready.set, self._stop.wait))
        except BaseException as trouble:  # noqa: BLE001  told to the thread that waits
            self._trouble = trouble
            self._ready.set()
        finally:
            self._loop.close()

    async def serve(
        self, ready: Callable[[], None], until: Callable[[], Awaitable[object]]
    ) -> None:
        """Serve on a free port, call `ready` once `port` is known, and stop after `until`."""
        app = web.Application(client_max_size=BODY_LIMIT)
        app.router.add_post("/v1/chat/completions", self._counted(self._chat))
        app.router.add_post("/v1/completions", self._counted(self._chat))
        app.router.add_get("/v1/models", self._counted(self._list))
        app.router.add_route("*", "/{tail:.*}", self._counted(self._nothing))
        # Cancelled handlers tell us when a client that was left hanging goes away.
        runner = web.AppRunner(
            app, access_log=None, handler_cancellation=True, shutdown_timeout=0.2
        )
        await runner.setup()
        try:
            site = web.TCPSite(runner, "127.0.0.1", 0, backlog=2048)
            await site.start()
            self.port = int(runner.addresses[0][1])
            ready()
            await until()
        finally:
            await runner.cleanup()

    def _counted(
        self, handle: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        async def counted(request: web.Request) -> web.StreamResponse:
            ledger = self.ledger
            ledger.hits += 1
            ledger.in_flight += 1
            ledger.peak_in_flight = max(ledger.peak_in_flight, ledger.in_flight)
            try:
                return await handle(request)
            except ConnectionResetError:
                return web.Response()  # whoever asked is gone
            finally:
                ledger.in_flight -= 1

        return counted

    async def _nothing(self, request: web.Request) -> web.StreamResponse:
        return _json_response(error(404, f"nothing at {request.path}", code="unknown_url"))

    async def _list(self, request: web.Request) -> web.StreamResponse:
        data = [{"id": name, "object": "model", "created": 0} for name in self.models]
        return web.json_response({"object": "list", "data": data})

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        try:
            ask = _read(body, request.headers.get("Authorization"))
        except (ValueError, KeyError, TypeError) as trouble:
            return _json_response(error(400, f"not a chat request: {trouble!r}"))
        digest = hashlib.sha256(body).hexdigest()
        arrival = self.ledger.arrive(ask, digest)
        if self.latency_s:
            await asyncio.sleep(self.latency_s)
        fault, dice = None, random.Random(0)
        if self.faults is not None:
            fault, dice = self.faults.draw(digest, arrival)
        if fault is not None:
            self.ledger.faults[fault] += 1
            return await self._hurt(request, ask, digest, fault, dice)
        reply = self._reply(ask)
        if reply.status != 200:
            self.ledger.statuses[reply.status] += 1
            return _json_response(reply)
        if ask.stream:
            return await self._stream(request, ask, digest, reply)
        response = web.Response(body=self._completion(ask, reply), content_type="application/json")
        await response.prepare(request)
        await response.write_eof()
        self._sent(ask, digest)
        return response

    def _reply(self, ask: Ask) -> Reply:
        model = self.models.get(ask.model)
        if model is None:
            return error(404, f"the model {ask.model!r} does not exist", code="model_not_found")
        return model(ask)

    def _sent(self, ask: Ask, digest: str) -> None:
        self.ledger.sent[digest] += 1
        self.ledger.sent_by_model[ask.model] += 1
        self.ledger.statuses[200] += 1

    def _completion(self, ask: Ask, reply: Reply) -> bytes:
        message: dict[str, Any] = {"role": "assistant", "content": reply.text}
        if reply.reasoning is not None:
            message["reasoning_content"] = reply.reasoning
        said = {"text": reply.text} if ask.plain else {"message": message}
        choice = {"index": 0, **said, "finish_reason": reply.finish, "logprobs": reply.logprobs}
        return json.dumps(
            {
                "id": f"chatcmpl-{next(self._ids)}",
                "object": "chat.completion",
                "created": int(time.time()),
                "model": ask.model,
                "system_fingerprint": "fp_loopback",
                "choices": [choice],
                "usage": _usage(ask, reply),
            }
        ).encode()

    async def _stream(
        self, request: web.Request, ask: Ask, digest: str, reply: Reply
    ) -> web.StreamResponse:
        """The same completion as server-sent events, a few characters at a time."""
        response = await _open_stream(request)
        for event in self._events(ask, reply):
            await response.write(event)
        await response.write_eof()
        self._sent(ask, digest)
        return response

    async def _bad_stream(
        self, request: web.Request, ask: Ask, fault: Fault, reply: Reply
    ) -> web.StreamResponse:
        """Half of a stream: the connection drops, or ends as if that were all."""
        response = await _open_stream(request)
        events = self._events(ask, reply)
        for event in events[: len(events) // 2]:
            await response.write(event)
        if fault == "drop_in_body":
            return _drop(request, response)
        await response.write_eof()
        return response

    def _events(self, ask: Ask, reply: Reply) -> list[bytes]:
        chunk: dict[str, Any] = {
            "id": f"chatcmpl-{next(self._ids)}",
            "object": "chat.completion.chunk",
            "created": int(time.time()),
            "model": ask.model,
        }

        def event(delta: Mapping[str, str], finish: str | None = None) -> bytes:
            choice = {"index": 0, "delta": delta, "finish_reason": finish}
            return _event(chunk | {"choices": [choice]})

        events = [event({"role": "assistant", "content": ""})]
        for name, text in (("reasoning_content", reply.reasoning or ""), ("content", reply.text)):
            events += [event({name: text[i : i + 7]}) for i in range(0, len(text), 7)]
        events.append(event({}, reply.finish))
        events.append(_event(chunk | {"choices": [], "usage": _usage(ask, reply)}))
        events.append(b"data: [DONE]\n\n")
        return events

    async def _hurt(
        self, request: web.Request, ask: Ask, digest: str, fault: Fault, dice: random.Random
    ) -> web.StreamResponse:
        """Answer one call in a way that it should not be answered."""
        match fault:
            case "429_after":
                seconds = round(dice.uniform(*self.faults.retry_after_s), 1) if self.faults else 1
                self.ledger.ask_to_wait(digest, seconds)
                return _json_response(_slow_down(Retry_After=f"{seconds}"))
            case "429_date":
                moment = datetime.now(UTC) + timedelta(seconds=1)
                return _json_response(_slow_down(Retry_After=format_datetime(moment, usegmt=True)))
            case "429_bare":
                return _json_response(_slow_down())
            case "500" | "503":
                return _json_response(error(int(fault), "out of order", code="server_error"))
            case "drop_before_headers":
                return _drop(request, web.Response())
            case "hang":
                await asyncio.sleep(HELD_S)
                return _json_response(error(504, "held for too long"))
            case "drop_in_body" | "cut_json" | "slow_body":
                return await self._bad_body(request, ask, digest, fault, dice)

    async def _bad_body(
        self, request: web.Request, ask: Ask, digest: str, fault: Fault, dice: random.Random
    ) -> web.StreamResponse:
        reply = self._reply(ask)
        if reply.status != 200:
            return _json_response(reply)
        if ask.stream and fault != "slow_body":
            return await self._bad_stream(request, ask, fault, reply)
        body = self._completion(ask, reply)
        half = body[: len(body) // 2]
        if fault == "cut_json":
            return web.Response(body=half, content_type="application/json")
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        response.content_length = len(body)
        await response.prepare(request)
        if fault == "drop_in_body":
            await response.write(half)
            return _drop(request, response)
        pieces = 10
        pause_s = dice.uniform(*self.faults.slow_s) / pieces if self.faults else 0.1
        for i in range(pieces):
            await asyncio.sleep(pause_s)
            await response.write(body[i * len(body) // pieces : (i + 1) * len(body) // pieces])
        await response.write_eof()
        self._sent(ask, digest)
        return response


class SilentServer(ChatServer):
    """A server that tells no usage."""

    def _completion(self, ask: Ask, reply: Reply) -> bytes:
        fields = json.loads(super()._completion(ask, reply))
        del fields["usage"]
        return json.dumps(fields).encode()


def _read(body: bytes, authorization: str | None) -> Ask:
    """The request as the models see it.

    Raises:
        ValueError, KeyError, TypeError: it is not a chat request.
    """
    data = json.loads(body)
    plain = "prompt" in data
    turns = [("user", data["prompt"])] if plain else _turns(data["messages"])
    return Ask(
        model=data["model"],
        messages=tuple((str(role), str(content)) for role, content in turns),
        plain=plain,
        stream=bool(data.get("stream")),
        authorization=authorization,
        body=body,
    )


def _turns(messages: list[dict[str, Any]]) -> list[tuple[str, str]]:
    return [(m["role"], m["content"]) for m in messages]


def _usage(ask: Ask, reply: Reply) -> dict[str, Any]:
    """Words for tokens: enough to see that they add up."""
    thinking = len((reply.reasoning or "").split())
    asked, said = len(ask.text.split()), len(reply.text.split()) + thinking
    return {
        "prompt_tokens": asked,
        "completion_tokens": said,
        "total_tokens": asked + said,
        "completion_tokens_details": {"reasoning_tokens": thinking},
    }


def _event(data: Mapping[str, Any]) -> bytes:
    return b"data: " + json.dumps(data).encode() + b"\n\n"


async def _open_stream(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    await response.prepare(request)
    return response


def _slow_down(**headers: str) -> Reply:
    return error(429, "slow down", code="rate_limit_exceeded", **headers)


def _json_response(reply: Reply) -> web.Response:
    body = {"error": {"message": reply.text, "type": "error", "param": None, "code": reply.code}}
    return web.json_response(body, status=reply.status, headers=dict(reply.headers))


def _drop(request: web.Request, response: web.StreamResponse) -> web.StreamResponse:
    """Cut the connection; whatever aiohttp still does with the response goes nowhere."""
    if request.transport is not None:
        request.transport.abort()
    return response


# ---------------------------------------------------------------- the benchmark's mock

Shape = Literal["field", "tags", "plain"]
"""Where the mock's thinking is: `reasoning_content`, `<think>` tags, or nowhere."""
MOCK_BYTES = 11_000
MOCK_THINKING = 8_800
"""Of the 11 KB, this much is thinking where the shape has any."""
_WORDS = "a reasoning model weighs what was asked before it answers, and says so at length. "


def mock_texts(shape: Shape, size: int = MOCK_BYTES) -> tuple[str | None, str]:
    """The mock's `reasoning_content` and `content`, 11 KB in all if nothing else is said."""
    filler, thought = _WORDS * (size // len(_WORDS) + 1), size * MOCK_THINKING // MOCK_BYTES
    if shape == "plain":
        return None, filler[:size]
    thinking, answer = filler[:thought], filler[: size - thought]
    if shape == "tags":
        return None, f"<think>\n{thinking}\n</think>\n\n{answer}"
    return thinking, answer


def _mock_body(model: str, content: str, reasoning: str | None = None) -> bytes:
    message: dict[str, Any] = {"role": "assistant", "content": content}
    if reasoning is not None:
        message["reasoning_content"] = reasoning
    return json.dumps(
        {
            "id": "chatcmpl-mock",
            "object": "chat.completion",
            "created": 0,
            "model": model,
            "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 100, "completion_tokens": 2600, "total_tokens": 2700},
        }
    ).encode()


async def serve_mock(
    latency_s: float,
    shape: Shape,
    size: int,
    ready: Callable[[int], None],
    until: Awaitable[object],
) -> None:
    """A target and a judge that cost next to nothing: fixed bytes after a fixed wait.

    The judge is whoever is asked under the model id `judge`.
    """
    reasoning, content = mock_texts(shape, size)
    target = _mock_body("target", content, reasoning)
    judge = _mock_body("judge", verdict(1).text)
    is_judge = re.compile(rb'"model"\s*:\s*"judge"').search

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        body = await request.read()
        if latency_s:
            await asyncio.sleep(latency_s)
        said = judge if is_judge(body) else target
        return web.Response(body=said, content_type="application/json")

    runner = web.ServerRunner(web.Server(answer))
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0, backlog=2048)
        await site.start()
        ready(int(runner.addresses[0][1]))
        await until
    finally:
        await runner.cleanup()


# ---------------------------------------------------------------- as a process


def _say_port(port: int) -> None:
    sys.stdout.write(json.dumps({"port": port}) + "\n")
    sys.stdout.flush()


async def _until_stdin_closes() -> None:
    """Return when whoever started us is gone."""
    reader = asyncio.StreamReader()
    protocol = asyncio.StreamReaderProtocol(reader)
    await asyncio.get_running_loop().connect_read_pipe(lambda: protocol, sys.stdin)
    await reader.read()


async def _serve_recorded(args: argparse.Namespace) -> None:
    paths: dict[str, Path] = {}
    for item in args.csv:
        label, _, path = str(item).rpartition("=")
        paths[label or Path(path).stem] = Path(path)
    models: dict[str, Responder] = {
        label: target_from_csv(path, block=args.block) for label, path in paths.items()
    }
    models["judge"] = judge_from_csv(paths.values())
    faults = Faults(share=args.faults, seed=args.seed) if args.faults else None
    server = ChatServer(models, faults=faults, latency_s=args.latency)
    await server.serve(lambda: _say_port(server.port), _until_stdin_closes)


async def _serve_mock(args: argparse.Namespace) -> None:
    await serve_mock(args.latency, args.shape, args.bytes, _say_port, _until_stdin_closes())


def main(argv: Sequence[str] | None = None) -> None:
    """Serve until standard input closes."""
    parser = argparse.ArgumentParser(prog="python -m tests.servers", description=__doc__)
    kinds = parser.add_subparsers(dest="kind", required=True)
    mock = kinds.add_parser("mock", help="fixed bytes after a fixed wait")
    mock.add_argument("--latency", type=float, default=0.05)
    mock.add_argument("--shape", choices=("field", "tags", "plain"), default="field")
    mock.add_argument("--bytes", type=int, default=MOCK_BYTES, help="of thinking and answer")
    recorded = kinds.add_parser("recorded", help="recorded answers and their judge")
    recorded.add_argument("--csv", action="append", required=True, metavar="LABEL=PATH")
    recorded.add_argument("--block", choices=("status_400", "finish", "text"), default="status_400")
    recorded.add_argument("--latency", type=float, default=0.0)
    recorded.add_argument("--faults", type=float, default=0.0, metavar="SHARE")
    recorded.add_argument("--seed", type=int, default=0)
    args = parser.parse_args(argv)
    asyncio.run(_serve_mock(args) if args.kind == "mock" else _serve_recorded(args))


if __name__ == "__main__":
    main()
