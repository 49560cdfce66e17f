"""The driver's side of the workers: who gets a call, what comes back, who was lost.

A worker that dies takes with it the calls that it had: each of them fails with an error that
heals, and the engine makes it again, on another worker or on this one when Ray has started it
anew. Nothing that had come back is asked for twice.
"""

import asyncio
import itertools
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Any, Protocol

from hiddenrisk.cluster.parcels import (
    DONE,
    ENCODER,
    HELLO,
    Done,
    Job,
    Orders,
    Recipe,
    error_of,
)
from hiddenrisk.errors import CallError, UsageError
from hiddenrisk.types import Call

_LISTEN_S = 5.0
"""A worker says at least so often that it is there."""
_SILENT_S = 30.0
"""One that was not heard for so long gets no more calls, until it is heard again."""
_LOOK_EVERY_S = 0.5
_ALONE_S = 180.0
"""A run without any worker waits so long for one."""
_START_S = 300.0
"""Workers get so long to start; a model may have to be loaded."""
_CLOSE_S = 10.0
"""Workers get so long to close their models."""
_TRIES = 5
"""A worker that dies so often before it is up for the first time will not come up."""
_TOGETHER_S = 0.002
"""So long more calls may join the first one in a parcel."""


class Actor(Protocol):
    """A worker, as the driver reaches it; what it raises when the worker is gone, `Gone` says."""

    def hello(self) -> Awaitable[bytes]:
        """See `worker.Worker`, as for the rest."""
        ...

    def take(self, orders: bytes) -> Awaitable[None]:
        """Begin calls, and drop others."""
        ...

    def collect(self, wait_s: float) -> Awaitable[bytes]:
        """What is done."""
        ...

    def close(self) -> Awaitable[None]:
        """Close its models."""
        ...

    def kill(self) -> None:
        """End it for good."""
        ...


class Station:
    """One worker with the calls that it has."""

    def __init__(self, actor: Actor) -> None:
        self.actor = actor
        self.node = self.node_id = ""
        self.ready = False
        self.heard = 0.0
        self.jobs: dict[int, asyncio.Future[Done]] = {}
        self.out = Orders([], [])
        self.to_send = asyncio.Event()

    @property
    def at_work(self) -> bool:
        """Whether it is there and was heard of lately."""
        return self.ready and time.monotonic() - self.heard < _SILENT_S


class Pool:
    """Workers that have opened the same models."""

    def __init__(
        self,
        recipes: Sequence[Recipe],
        size: int,
        place: Callable[[bytes], Actor],
        gone: tuple[type[BaseException], ...],
        say: Callable[[str], None],
    ) -> None:
        """Note what is wanted; `start` places the workers.

        Args:
            recipes: the models.
            size: how many workers.
            place: starts a worker, from the recipes as JSON.
            gone: what calls to a worker that is lost raise.
            say: says a line.
        """
        self.recipes = recipes
        self._size = size
        self._place = place
        self._gone = gone
        self._say = say
        self._stations: list[Station] = []
        self._numbers = itertools.count()
        self._tasks: set[asyncio.Task[None]] = set()
        self._users = 0
        self._starting = asyncio.Lock()
        self._broken: UsageError | None = None
        self._ending = False

    async def start(self) -> None:
        """Have the workers up, at least one; each user of the pool calls it.

        Raises:
            UsageError: none comes up, or one cannot open a model.
        """
        async with self._starting:
            self._users += 1
            if self._stations:
                return
            recipes = ENCODER.encode(self.recipes)
            self._stations = [Station(self._place(recipes)) for _ in range(self._size)]
            try:
                await self._first_up()
            except BaseException:
                await self._end()
                raise

    async def _first_up(self) -> None:
        """Wait until all workers are up, or for a while; go on without those that are not."""
        rising = {asyncio.create_task(self._rise(s)) for s in self._stations}
        try:
            done, late = await asyncio.wait(
                rising, timeout=_START_S, return_when=asyncio.FIRST_EXCEPTION
            )
            for task in done:
                task.result()
        except BaseException:
            for task in rising:
                task.cancel()
            raise
        self._tasks |= late
        up = [s for s in self._stations if s.ready]
        if not up:
            raise UsageError(
                f"no worker came up within {_START_S:.0f} s: the cluster has no room for one. Free "
                "CPUs (or GPUs, where a model is vllm/...) or add nodes; `ray status` shows both"
            )
        nodes = len({s.node_id for s in up})
        self._say(f"{_told(len(up), 'worker')} on {_told(nodes, 'node')}")

    async def _rise(self, station: Station) -> None:
        """Wait for a worker to be up, and look after it from then on.

        Raises:
            UsageError: it cannot open a model.
        """
        died = 0
        while True:
            try:
                hello = HELLO.decode(await station.actor.hello())
                break
            except self._gone as error:
                died += 1
                if died >= _TRIES and not station.node:
                    said = str(error).strip().partition("\n")[0][:300]
                    raise UsageError(f"a worker died {died} times as it started: {said}") from error
                await asyncio.sleep(_LOOK_EVERY_S)
        if hello.problem:
            raise UsageError(f"the worker on node {hello.node} cannot begin: {hello.problem}")
        station.node, station.node_id = hello.node, hello.node_id
        station.ready = True
        station.heard = time.monotonic()
        for work in (self._send, self._listen):
            self._look_after(work(station))

    def _look_after(self, work: Any) -> None:  # noqa: ANN401 - a coroutine
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def call(self, model: int, call: Call, *, prefilled: bool) -> Done:
        """Have a call made.

        Args:
            model: its place among the recipes.
            call: the call.
            prefilled: what is known of the model.

        Returns:
            What came back, with a reply in it.

        Raises:
            CallError: it failed, there or on the way.
            UsageError: there are no workers any more.
        """
        station = await self._free()
        number = next(self._numbers)
        future: asyncio.Future[Done] = asyncio.get_running_loop().create_future()
        station.jobs[number] = future
        station.out.jobs.append(Job(number, model, prefilled, call))
        station.to_send.set()
        try:
            done = await future
        except asyncio.CancelledError:
            if station.jobs.pop(number, None) is not None:
                station.out.drop.append(number)
                station.to_send.set()
            raise
        if done.trouble is not None:
            raise error_of(done.trouble)
        return done

    async def _free(self) -> Station:
        """The worker with the fewest calls; waits for one where there is none.

        Raises:
            UsageError: none comes.
        """
        begun = time.monotonic()
        while True:
            if self._broken is not None:
                raise self._broken
            there = [s for s in self._stations if s.at_work]
            if there:
                return min(there, key=lambda s: len(s.jobs))
            if time.monotonic() - begun > _ALONE_S:
                raise UsageError(
                    f"all workers of the cluster are lost, and none came back within "
                    f"{_ALONE_S:.0f} s; what was finished is kept, and the same command resumes"
                )
            await asyncio.sleep(_LOOK_EVERY_S)

    async def _send(self, station: Station) -> None:
        """Send a worker what is for it, in parcels, as long as it lives."""
        while station.ready:
            await station.to_send.wait()
            await asyncio.sleep(_TOGETHER_S)
            station.to_send.clear()
            orders, station.out = station.out, Orders([], [])
            if not station.ready:
                return
            try:
                await station.actor.take(ENCODER.encode(orders))
            except self._gone:
                self._lost(station)

    async def _listen(self, station: Station) -> None:
        """Take what a worker has done, as long as it lives."""
        while station.ready:
            try:
                parcel = await station.actor.collect(_LISTEN_S)
            except self._gone:
                self._lost(station)
                return
            station.heard = time.monotonic()
            for done in DONE.decode(parcel):
                future = station.jobs.pop(done.number, None)
                if future is not None and not future.done():
                    future.set_result(done)

    def _lost(self, station: Station) -> None:
        """A worker is gone: its calls are made again, and it may come back."""
        if self._ending or not station.ready:
            return
        station.ready = False
        jobs, station.jobs = station.jobs, {}
        station.out = Orders([], [])
        station.to_send.set()  # who waits for it sees that it is gone
        for future in jobs.values():
            if not future.done():
                future.set_exception(CallError("the worker that made it was lost", heals=True))
        left = sum(s.ready for s in self._stations)
        self._say(
            f"a worker on node {station.node} was lost; {_told(len(jobs), 'call')} "
            f"{'is' if len(jobs) == 1 else 'are'} made again, {_told(left, 'worker')} left"
        )
        self._look_after(self._back(station))

    async def _back(self, station: Station) -> None:
        """Wait until Ray has started a lost worker anew, here or elsewhere."""
        await asyncio.sleep(_LOOK_EVERY_S)
        station.to_send.clear()
        try:
            await self._rise(station)
        except UsageError as error:
            self._broken = UsageError(
                f"{error}; what was finished is kept, and the same command resumes"
            )
            return
        there = sum(s.ready for s in self._stations)
        self._say(f"a worker is back, on node {station.node}: {_told(there, 'worker')}")

    async def close(self) -> None:
        """Let the workers go when the last user does."""
        async with self._starting:
            self._users -= 1
            if self._users <= 0:
                await self._end()

    async def _end(self) -> None:
        """Let models close, then end the workers: who still listens to one hears that it is gone.

        A future of Ray's that is given up while it waits makes Ray complain aloud.
        """
        self._ending = True
        up = [s for s in self._stations if s.ready]
        closing = [asyncio.ensure_future(s.actor.close()) for s in up]
        if closing:
            await asyncio.wait(closing, timeout=_CLOSE_S)
        for station in self._stations:
            with suppress(*self._gone):
                station.actor.kill()
            station.ready = False
            station.to_send.set()
        tasks = [*self._tasks, *closing]
        if tasks:
            await asyncio.wait(tasks, timeout=_CLOSE_S)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._tasks.clear()
        self._stations = []
        self._ending = False


def _told(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
