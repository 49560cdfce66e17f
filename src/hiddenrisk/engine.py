"""Calls that heal, under a limit that adapts; and a bounded window of samples.

An `Endpoint` is one model with its policy: how many calls at once, when to try
again, when to give up. It knows nothing of benchmarks or judges, so that a
distributed engine can take its place behind `Endpoint.call` and `run_window`.
"""

import asyncio
import itertools
import math
import random
import time
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Protocol, TypeVar

import msgspec

from hiddenrisk.errors import CallError, UsageError
from hiddenrisk.tokens import with_estimate
from hiddenrisk.types import Call, Model, Reason, Reply

T = TypeVar("T")

_FIRST_LIMIT = 32
_LEAST_LIMIT = 4
_CUT_EVERY_S = 1.0
_STRAINED = 0.25
_MEMORY = 0.05
"""How much one call changes the share of overloaded ones: the last forty or so count."""
_HISTORY = 100
_HANG_FACTOR = 3.0
_LOOK_EVERY_S = 0.5
_HOPELESS = 25
"""So many calls given up with none that worked: the endpoint will not work."""
_SHUT_OUT = 10
"""So many calls in a row that were refused as a whole (key, credit): it works no more."""


class Policy(msgspec.Struct, frozen=True, kw_only=True):
    """When to try again, and when to give up."""

    limit: int = 32
    """Calls at once, at most."""
    tries: int = 10
    """With a fifth of all calls failing at random, one in ten million fails ten times."""
    timeout_s: float = 600.0
    """For one try. Reasoning models take minutes."""
    hang_after_s: float = 15.0
    """A call may be given up as hung from this age on: once a hundred calls are known,
    and it is three times older than the slowest of the last hundred."""
    deadline_s: float = 3600.0
    """For all tries of one call and the waits between them; waiting for a place is free."""
    backoff_s: float = 0.25
    backoff_max_s: float = 30.0
    retry_after_max_s: float = 300.0
    """An endpoint that asks for a longer wait is given up for this call."""


class Served(msgspec.Struct, frozen=True):
    """A reply and what it took."""

    reply: Reply
    latency_s: float
    """Of the try that worked."""
    tries: int


class Meter(Protocol):
    """Is told of every call, and may hold one back."""

    def before(self) -> Awaitable[None]:
        """Return when a call may be made.

        Raises:
            CancelledError: it may not, and the run stops.
        """
        ...

    def after(self, reply: Reply) -> None:
        """Take note of a call that came back."""
        ...


class Limiter:
    """Concurrency that rises while all is well and halves when the endpoint is overloaded.

    Overloaded is an endpoint that answers a quarter of the recent calls with 429 or 5xx:
    a limit that is passed soon gives more than that, while an endpoint that fails now and
    then for other reasons gets no better by being asked less.
    """

    def __init__(self, limit: int) -> None:
        self.most = limit
        self.now = float(min(limit, _FIRST_LIMIT))
        self.active = 0
        self._rising_fast = True
        self._last_cut = 0.0
        self._strain = 0.0
        """Share of recent calls that met an overload."""
        self._waiting: deque[asyncio.Future[None]] = deque()

    async def acquire(self) -> None:
        """Wait for a free place."""
        if self.active < int(self.now):
            self.active += 1
            return
        place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(place)
        try:
            await place
        except asyncio.CancelledError:
            if place.done() and not place.cancelled():
                self.release()
            raise

    def release(self) -> None:
        """Give a place back, and hand free ones to those who wait."""
        self.active -= 1
        self._hand_out()

    def _hand_out(self) -> None:
        while self._waiting and self.active < int(self.now):
            place = self._waiting.popleft()
            if not place.done():
                self.active += 1
                place.set_result(None)

    def went_well(self) -> None:
        """A call came back: allow a little more."""
        self._strain *= 1 - _MEMORY
        if self.now < self.most:
            step = 1.0 if self._rising_fast else 1.0 / self.now
            self.now = min(float(self.most), self.now + step)
            self._hand_out()

    def overloaded(self) -> None:
        """A call met an overload: if many do, allow half, at most once a second."""
        self._strain += _MEMORY * (1 - self._strain)
        now = time.monotonic()
        if self._strain > _STRAINED and now - self._last_cut >= _CUT_EVERY_S:
            self._last_cut = now
            self._rising_fast = False
            self.now = max(float(min(self.most, _LEAST_LIMIT)), self.now / 2)


class Endpoint:
    """One model, called with retries under a limit."""

    def __init__(self, model: Model, policy: Policy) -> None:
        self.model = model
        self.limiter = Limiter(policy.limit)
        self._policy = policy
        self._latencies: deque[float] = deque(maxlen=_HISTORY)
        self._active: dict[asyncio.Timeout, tuple[float, float]] = {}
        self.worked_before = False
        """It answered in an earlier part of this run, so that it is not hopeless."""
        self.meter: Meter | None = None
        """Who counts what its calls cost, if anybody does."""
        self.room: Callable[[], Awaitable[None]] | None = None
        """Returns when somebody is there to make a call, where that may take a while: a cluster
        without workers is no fault of the endpoint, and takes none of a call's tries and time."""
        self._worked = 0
        self._given_up = 0
        self._refused = 0
        self._started = False
        self._starting = asyncio.Lock()

    @asynccontextmanager
    async def running(self, *, at_once: bool = True) -> AsyncGenerator[None]:
        """Start the model, watch over its calls, and close it at the end.

        Args:
            at_once: start before the first call rather than at it. A run that is all
                there already then needs no endpoint.
        """
        self._starting = asyncio.Lock()
        watch = asyncio.create_task(self._watch())
        try:
            if at_once:
                await self._start()
            yield
        finally:
            watch.cancel()
            self._started = False
            await self.model.close()

    async def _start(self) -> None:
        async with self._starting:
            if not self._started:
                await self.model.start()
                self._started = True

    async def call(self, call: Call) -> Served:
        """Call until it works, or cannot.

        Raises:
            CallError: it failed for good.
            UsageError: no call to this endpoint can work.
        """
        if self.meter is not None:
            await self.meter.before()
        if not self._started:
            await self._start()
        spent_s = 0.0
        hangs = 0
        for number in itertools.count(1):
            if self.room is not None:
                await self.room()
            await self.limiter.acquire()
            begun = time.monotonic()
            try:
                served = await self._try(call, number, hangs)
            except CallError as error:
                hangs += isinstance(error.__cause__, TimeoutError)
                spent_s += time.monotonic() - begun
                wait_s = self._wait_s(error, number, spent_s)
                if wait_s is None:
                    error.tries = number
                    self._give_up(error)
                    raise
                await asyncio.sleep(wait_s)
                spent_s += wait_s
            else:
                self._worked += 1
                self._refused = 0
                reply = with_estimate(call, served.reply)
                if self.meter is not None:
                    self.meter.after(reply)
                return Served(reply, served.latency_s, served.tries)
        raise AssertionError  # pragma: no cover - the loop has no end of its own

    async def _try(self, call: Call, number: int, hangs: int) -> Served:
        """Call once, in a place of the limiter that it gives back."""
        begun = time.monotonic()
        try:
            # The watch sets the end: a timer for each call would cost more than the watch.
            async with asyncio.timeout(None) as scope:
                # A call that was given up as hung before is given twice the time.
                self._active[scope] = (begun, 2.0**hangs)
                try:
                    reply = await self.model.generate(call)
                finally:
                    del self._active[scope]
        except TimeoutError as error:
            age = time.monotonic() - begun
            raise CallError(f"no reply within {age:.0f} s", heals=True) from error
        except CallError as error:
            if error.overload:
                self.limiter.overloaded()
            raise
        finally:
            self.limiter.release()
        latency_s = time.monotonic() - begun
        self._latencies.append(latency_s)
        self.limiter.went_well()
        return Served(reply, latency_s, number)

    def _wait_s(self, error: CallError, number: int, spent_s: float) -> float | None:
        """How long to wait before the next try; None when there shall be none."""
        policy = self._policy
        if not error.heals or number >= policy.tries:
            return None
        wait_s = min(policy.backoff_max_s, policy.backoff_s * 2 ** (number - 1))
        wait_s *= random.uniform(0.5, 1.5)  # noqa: S311 - jitter, not a secret
        if error.retry_after_s is not None:
            if error.retry_after_s > policy.retry_after_max_s:
                return None
            wait_s = max(wait_s, error.retry_after_s)
        return None if spent_s + wait_s > policy.deadline_s else wait_s

    def _give_up(self, error: CallError) -> None:
        """Count a call that failed for good; stop the run when none can work."""
        if error.reason is Reason.NO_RECORDING:
            return  # a recording may well hold a few of the prompts only
        self._given_up += 1
        self._refused = self._refused + 1 if error.fatal else 0
        if self._worked:
            hopeless = self._refused >= _SHUT_OUT
        else:
            hopeless = error.fatal or (self._given_up >= _HOPELESS and not self.worked_before)
        if not hopeless:
            return
        advice = (
            "The endpoint is overloaded or out of order; try later, or with --concurrency lower"
            if error.overload
            else "Check the model id, the key and the address"
        )
        answers = "answers no more calls" if self._worked else "answers no call"
        kept = "; what was finished is kept, and the same command resumes" if self._worked else ""
        raise UsageError(f"{self.model.label} {answers}: {error}. {advice}{kept}") from error

    async def _watch(self) -> None:
        """Give up calls that are out of time, or hang, judged by how long the others take."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(_LOOK_EVERY_S)
            bound_s = math.inf
            if len(self._latencies) == _HISTORY:
                bound_s = max(self._policy.hang_after_s, _HANG_FACTOR * max(self._latencies))
            now = time.monotonic()
            for scope, (begun, patience) in list(self._active.items()):
                most_s = min(self._policy.timeout_s, bound_s * patience)
                if now - begun > most_s and not scope.expired():
                    scope.reschedule(loop.time())


async def run_window(
    items: Iterable[T],
    work: Callable[[T], Awaitable[None]],
    *,
    size: int,
    stop: asyncio.Event,
    head_start_s: float = 10.0,
) -> None:
    """Work on items, `size` at a time, taking a new one whenever one is finished.

    The first item goes ahead alone for up to `head_start_s`, so that what fails for
    every item fails once. After `stop` no new item is taken; those begun are finished.

    Raises:
        Exception: the first error of `work`; the other items are cancelled.
    """
    window: set[asyncio.Task[None]] = set()
    places = asyncio.Semaphore(size)
    failed: list[BaseException] = []

    def finished(task: asyncio.Task[None]) -> None:
        window.discard(task)
        places.release()
        if not task.cancelled() and (error := task.exception()) is not None:
            failed.append(error)

    async def one(item: T) -> None:
        await work(item)

    try:
        for index, item in enumerate(items):
            await places.acquire()
            if stop.is_set() or failed:
                break
            task = asyncio.create_task(one(item))
            window.add(task)
            task.add_done_callback(finished)
            if index == 0:
                await asyncio.wait({task}, timeout=head_start_s)
        while window and not failed:
            await asyncio.wait(window, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in window:
            task.cancel()
        await asyncio.gather(*window, return_exceptions=True)
    if failed:
        raise failed[0]
