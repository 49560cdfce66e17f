"""Reward models behind an endpoint: `http://host:port#model?api=classify|pooling|tei`.

    classify  vLLM's /classify with the conversation as messages; the model's one output
    pooling   vLLM's /pooling; one number, or one for each token, of which the last counts
    tei       text-embeddings-inference's /predict with the pair (prompt, text)

The server writes the template and the tokens, so what `tokens` promises of control words in
a text is the server's to keep, and a text longer than its window is its error: nothing is
ever cut here. Both are asked for the raw output; a server that squashes it all the same gives
scores on another scale. Retries, limits, keys and errors are those of every other endpoint
(`models.http`, `engine`).
"""

import asyncio
import math
import os
import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import Any, NoReturn

import aiohttp
import msgspec

from hiddenrisk.engine import Endpoint, Policy, run_window
from hiddenrisk.errors import CallError, unknown
from hiddenrisk.models import halves
from hiddenrisk.models.blocks import fields_of, items_of
from hiddenrisk.models.http import Gathering, HttpModel, count_of
from hiddenrisk.models.refusals import start_of
from hiddenrisk.models.spec import Spec, parse
from hiddenrisk.rewards.base import Item, NoScore, Scored, Unscored
from hiddenrisk.types import Call, Finish, Message, Reply, Sampling, Usage, Visibility

PATHS = {"classify": "/classify", "pooling": "/pooling", "tei": "/predict"}
"""Where each kind of endpoint is asked, behind the server's address."""
_MOST_BYTES = 1 << 22
"""A score is some hundred bytes; per-token rewards of a long text are a megabyte."""
Result = Scored | Unscored


class _Read(msgspec.Struct, frozen=True):
    """What a reply says; no score where the server's was no number (JSON has no NaN)."""

    score: float | None
    tokens: int | None


def open_http(text: str, *, policy: Policy) -> "HttpReward":
    """A reward model behind an endpoint.

    Raises:
        UsageError: the SPEC names no model, or an API or option that there is not.
    """
    spec = parse(text)
    api = spec.options.get("api", "")
    if spec.url is None or api not in PATHS:
        raise unknown("api", api, PATHS, see=f"Write ?api=classify behind the model of '{text}'.")
    if other := sorted(spec.options.keys() - {"api"}):
        raise unknown("option", other[0], ["api"], see="It stands behind the model id.")
    return HttpReward(spec, api, policy)


class HttpReward:
    """A reward model behind an endpoint, asked once for each text."""

    headline = "score"
    attributes: tuple[str, ...] = ("score",)

    def __init__(self, spec: Spec, api: str, policy: Policy) -> None:
        self.label = spec.label
        self._client = _Client(spec, api)
        self.identity = self._client.identity
        self.local = self._client.local
        self._policy = policy

    def close(self) -> None:
        """Nothing is held between two calls of `score`."""

    def score(self, items: Sequence[Item]) -> Iterator[Result]:
        """Score texts as their replies come.

        Raises:
            UsageError: the endpoint cannot be reached, or answers no call.
        """
        results: queue.SimpleQueue[Result | BaseException | None] = queue.SimpleQueue()
        stop: queue.SimpleQueue[Callable[[], object]] = queue.SimpleQueue()

        def work() -> None:
            try:
                asyncio.run(self._all(items, results.put, stop.put))
                results.put(None)
            except BaseException as error:  # noqa: BLE001 - raised again in the thread that waits
                results.put(error)

        thread = threading.Thread(target=work, name=f"rewards of {self.label}", daemon=True)
        thread.start()
        try:
            while (result := results.get()) is not None:
                if isinstance(result, BaseException):
                    raise result
                yield result
        finally:
            with suppress(RuntimeError):  # its loop is closed: it has ended by itself
                stop.get()()
            thread.join()

    async def _all(
        self,
        items: Sequence[Item],
        done: Callable[[Result], object],
        stoppable: Callable[[Callable[[], object]], object],
    ) -> None:
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        stoppable(lambda: loop.call_soon_threadsafe(task.cancel) if task else None)
        endpoint = Endpoint(self._client, self._policy)

        async def one(item: Item) -> None:
            done(await self._one(endpoint, item))

        async with endpoint.running(at_once=False):
            await run_window(items, one, size=self._policy.limit, stop=asyncio.Event())

    async def _one(self, endpoint: Endpoint, item: Item) -> Result:
        if not item.text.strip():
            return Unscored(item.key, NoScore.EMPTY, "there is no text to score")
        turns = (*item.messages, Message("assistant", item.text))
        call = Call(messages=turns, sampling=Sampling(), prompt=item.key)
        try:
            served = await endpoint.call(call)
        except CallError as error:
            return Unscored(item.key, NoScore.REQUEST_FAILED, str(error))
        if served.reply.answer is None:
            return Unscored(item.key, NoScore.REQUEST_FAILED, "a filter blocked the call")
        read = msgspec.json.decode(served.reply.answer, type=_Read)
        if read.score is None or not math.isfinite(read.score):
            message = "the endpoint gave a score that is no finite number"
            return Unscored(item.key, NoScore.NOT_FINITE, message)
        return Scored(
            key=item.key,
            score=read.score,
            attributes={"score": read.score},
            tokens=read.tokens,
            cut=False,
        )


class _Client(HttpModel[Gathering]):
    """The endpoint as the engine calls it: a reply's "answer" is a `_Read` as JSON."""

    def __init__(self, spec: Spec, api: str) -> None:
        base = spec.url or ""
        if api != "tei":  # vLLM's chat completions are under /v1, these are not
            base = base.removesuffix("/v1")
        super().__init__(spec, base, PATHS[api], os.environ.get("HIDDENRISK_API_KEY"))
        self._api = api
        self._model = spec.model
        self.identity: dict[str, Any] = {
            "reward": "http",
            "endpoint": base,
            "model": spec.model,
            "api": api,
        }

    def _authorization(self, key: str) -> dict[str, str]:
        return {"Authorization": f"Bearer {key}"}

    def _request(self, call: Call) -> bytes:
        if self._api == "tei":
            *prompt, text = [message.content for message in call.messages]
            pair = ["\n\n".join(prompt), text]
            return halves.dumps({"inputs": pair, "raw_scores": True, "truncate": False})
        body: dict[str, Any] = {
            "model": self._model,
            "messages": [{"role": m.role, "content": m.content} for m in call.messages],
            "add_generation_prompt": False,
            # One name each for new and for older servers; what they do not know they leave.
            "use_activation": False,
            "activation": False,
        }
        if self._api == "pooling":
            body["encoding_format"] = "float"
        return halves.dumps(body)

    async def _body(self, http: aiohttp.ClientResponse) -> bytes:
        try:
            await http.content.readexactly(_MOST_BYTES)
        except asyncio.IncompleteReadError as error:
            return error.partial
        http.close()
        raise CallError(f"the reply is longer than {_MOST_BYTES >> 20} MB, which no score is")

    def _read(self, content: bytes) -> Reply:
        value = _decoded(content)
        if self._api == "tei":
            read = _Read(_of_predict(value, content), None)
        else:
            fields = fields_of(value)
            read = _Read(_of_vllm(fields, content), _tokens(fields))
        return Reply(
            thinking=None,
            answer=msgspec.json.encode(read).decode(),
            finish=Finish.COMPLETE,
            visibility=Visibility.NONE,
            style="none",
            usage=Usage(prompt_tokens=read.tokens),
        )

    def _gather(self) -> Gathering:
        raise CallError("the reply is a stream, which no score is")

    def _gathered(self, stream: Gathering) -> Reply:  # noqa: ARG002 - of all clients
        raise CallError("the reply is a stream, which no score is")


def _decoded(content: bytes) -> object:
    try:
        return msgspec.json.decode(content)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        pass
    try:  # Python's servers write NaN
        return halves.loads(content)
    except (ValueError, RecursionError) as error:
        raise CallError(
            f"the reply is cut or malformed ({error})", heals=True, raw=start_of(content)
        ) from error


def _of_vllm(fields: dict[str, object], content: bytes) -> float | None:
    """The score in a reply of /classify or /pooling: one row, with one number.

    Raises:
        CallError: there is another number of them.
    """
    rows = items_of(fields.get("data"))
    row = fields_of(rows[0]) if len(rows) == 1 else {}
    values = row["probs"] if "probs" in row else row.get("data")
    numbers = items_of(values)
    while last := items_of(numbers[-1] if numbers else None):  # one row for each token
        numbers = last
    return _alone(numbers, content)


def _of_predict(value: object, content: bytes) -> float | None:
    """The score in a reply of /predict: one label, in a list or (a batch of one) in two.

    Raises:
        CallError: there is another number of them.
    """
    labels = items_of(value)
    labels = items_of(labels[0] if len(labels) == 1 else None) or labels
    return _alone([fields_of(label).get("score", ()) for label in labels], content)


def _alone(numbers: list[object], content: bytes) -> float | None:
    """The one number there is; None for JSON's null, which stands for NaN.

    Raises:
        CallError: it is none, or there are several.
    """
    if len(numbers) != 1:
        _refuse(f"the reply has {len(numbers)} scores, and a reward model gives one", content)
    (number,) = numbers
    if number is None:
        return None
    if not isinstance(number, int | float) or isinstance(number, bool):
        _refuse("the reply has no number where the score should be", content)
    return float(number)


def _refuse(message: str, content: bytes) -> NoReturn:
    raise CallError(message, fatal=True, raw=start_of(content))


def _tokens(fields: dict[str, object]) -> int | None:
    return count_of(fields_of(fields.get("usage")).get("prompt_tokens"))
