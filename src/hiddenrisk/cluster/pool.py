"""The driver's side of the workers: who gets a call, what comes back, who was lost.

A worker that dies takes with it the calls that it had: each of them fails with an error that
heals, and the engine makes it again, on another worker or on this one when Ray has started it
anew. Nothing that had come back is asked for twice.
"""

import asyncio
import itertools
import time
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from typing import Any

import msgspec

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
from hiddenrisk.cluster.station import SILENT_S, Actor, Station
from hiddenrisk.errors import CallError, UsageError
from hiddenrisk.types import Call

_LISTEN_S = 5.0
"""A worker says at least so often that it is there."""
_LOOK_EVERY_S = 0.5
_ALONE_S = 180.0
"""A run without any worker waits so long for one."""
_START_S = 300.0
"""Workers get so long to start; a model may have to be loaded."""
_LATE_S = 20.0
"""So long the others may be up after the first one; who comes later joins in."""
_AGAIN_S = 5.0
"""A worker that is back and cannot begin, because its endpoint is down, say, is asked again."""
_CLOSE_S = 10.0
"""Workers get so long to close their models."""
_TRIES = 5
"""A worker that dies so often before it is up for the first time will not come up."""
_TOGETHER_S = 0.002
"""So long more calls may join the first one in a parcel."""


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
        self._broken: BaseException | None = None
        """A fault of ours, that ends the run rather than leave it waiting."""
        self._problem = ""
        """Why a worker that was lost cannot begin again."""
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
        """Wait until one worker is up, and a while for the others; go on without those."""
        rising = {asyncio.create_task(self._rise(s)): s for s in self._stations}
        try:
            await self._one_up(rising)
            done, late = await asyncio.wait(
                rising, timeout=_LATE_S, return_when=asyncio.FIRST_EXCEPTION
            )
            for task in done:
                task.result()
        except BaseException:
            for task in rising:
                task.cancel()
            raise
        for task in late:
            self._look_after(self._late(task, rising[task]))
        up = [s for s in self._stations if s.ready]
        nodes = len({s.node_id for s in up})
        self._say(f"{_told(len(up), 'worker')} on {_told(nodes, 'node')}")
        if late:
            self._say(
                f"{len(late)} more {'has' if len(late) == 1 else 'have'} no room, or not yet "
                f"(`ray status` shows it); the run begins without"
            )

    async def _one_up(self, rising: Collection[asyncio.Task[bool]]) -> None:
        """Wait until a worker is up, or cannot be.

        Raises:
            UsageError: none is, after a long while.
        """
        wait_s = _LATE_S
        done, _ = await asyncio.wait(rising, timeout=wait_s, return_when=asyncio.FIRST_COMPLETED)
        if not done:
            self._say(
                f"no worker is up after {wait_s:.0f} s: the cluster has no room for one (`ray "
                f"status` shows it), or a model is long in loading; waiting {_START_S:.0f} s for it"
            )
            done, _ = await asyncio.wait(
                rising, timeout=_START_S, return_when=asyncio.FIRST_COMPLETED
            )
        if not done:
            raise UsageError(
                f"no worker came up within {wait_s + _START_S:.0f} s: the cluster has no room for "
                "one. Free CPUs (or GPUs, where a model is vllm/...) or add nodes; `ray status` "
                "shows both"
            )

    async def _late(self, rising: "asyncio.Task[bool]", station: Station) -> None:
        """Tell of a worker that came up when the run had begun, or could not."""
        try:
            if await rising:
                self._say(f"a worker is up, on node {station.node}: {self._there()}")
        except UsageError as error:
            self._say(f"going on without a worker: {error}")

    async def _rise(self, station: Station) -> bool:
        """Wait for a worker to be up, and look after it from then on.

        Returns:
            Whether it is; no more where the pool ends.

        Raises:
            UsageError: it cannot open a model.
        """
        died = 0
        while True:
            try:
                hello = HELLO.decode(await station.actor.hello())
                break
            except self._gone as error:
                if self._ending:
                    return False
                died += 1
                if died >= _TRIES and not station.node:
                    said = str(error).strip().partition("\n")[0][:300]
                    raise UsageError(
                        f"a worker died {died} times as it started: {said.rstrip('.')}. Ray's logs "
                        "on its node (session_latest/logs in Ray's temporary folder) tell why"
                    ) from error
                await asyncio.sleep(_LOOK_EVERY_S)
        if hello.problem:
            raise UsageError(f"the worker on node {hello.node} cannot begin: {hello.problem}")
        station.node, station.node_id = hello.node, hello.node_id
        station.ready = True
        station.life += 1
        station.heard = time.monotonic()
        for work in (self._send, self._listen):
            self._look_after(work(station, station.life))
        return True

    def _look_after(self, work: Any) -> None:  # noqa: ANN401 - a coroutine
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: "asyncio.Task[None]") -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._broken = error

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

    async def room(self) -> None:
        """Return when a worker is there.

        Raises:
            UsageError: none comes.
        """
        await self._free()

    async def _free(self) -> Station:
        """The worker with the fewest calls; waits for one where there is none.

        Raises:
            UsageError: none comes.
        """
        for looks in itertools.count():
            if self._broken is not None:
                raise self._broken
            there = [s for s in self._stations if s.at_work]
            if there:
                return min(there, key=lambda s: len(s.jobs))
            alone_s = time.monotonic() - max((s.heard for s in self._stations), default=0.0)
            # A driver that was stopped for a while (Ctrl-Z) listens first.
            if alone_s > _ALONE_S and looks * _LOOK_EVERY_S > _LISTEN_S:
                why = f" ({self._problem})" if self._problem else ""
                raise UsageError(
                    f"all workers of the cluster are lost, and none came back within "
                    f"{_ALONE_S:.0f} s{why}; what was finished is kept, and the same command resumes"
                )
            await asyncio.sleep(_LOOK_EVERY_S)
        raise AssertionError  # pragma: no cover - the loop has no end of its own

    async def _send(self, station: Station, life: int) -> None:
        """Send a worker what is for it, in parcels, as long as it lives."""
        while station.lives(life):
            await station.to_send.wait()
            await asyncio.sleep(_TOGETHER_S)
            if not station.lives(life):
                return
            station.to_send.clear()
            orders, station.out = station.out, Orders([], [])
            try:
                await station.actor.take(ENCODER.encode(orders))
            except self._gone:
                self._lost(station, life)

    async def _listen(self, station: Station, life: int) -> None:
        """Take what a worker has done, as long as it lives."""
        while station.lives(life):
            try:
                found = DONE.decode(await self._heard(station))
            except (*self._gone, msgspec.DecodeError):
                self._lost(station, life)
                return
            for done in found:
                future = station.jobs.pop(done.number, None)
                if future is not None and not future.done():
                    future.set_result(done)

    async def _heard(self, station: Station) -> bytes:
        """What a worker has done; one that says nothing for long keeps no calls meanwhile.

        Raises:
            BaseException: one of `gone`, where it is lost.
        """
        said = asyncio.ensure_future(station.actor.collect(_LISTEN_S))
        await asyncio.wait({said}, timeout=SILENT_S)
        await asyncio.wait({said}, timeout=_LOOK_EVERY_S)  # who was stopped was this process
        silent = not said.done()
        if silent and not self._ending:
            numbers = list(station.jobs)
            again = self._give_up(station, "the worker that made it fell silent")
            station.out.drop.extend(numbers)  # should it wake up
            self._say(
                f"a worker on node {station.node} was not heard of for {SILENT_S:.0f} s; {again}"
            )
        parcel = await said
        station.heard = time.monotonic()
        if silent:
            station.to_send.set()
            self._say(f"a worker is heard of again, on node {station.node}: {self._there()}")
        return parcel

    def _give_up(self, station: Station, why: str) -> str:
        """Have the calls of a worker made again; tell of it."""
        jobs, station.jobs = station.jobs, {}
        station.out = Orders([], [])
        for future in jobs.values():
            if not future.done():
                future.set_exception(CallError(why, heals=True))
        return f"{_told(len(jobs), 'call')} {'is' if len(jobs) == 1 else 'are'} made again"

    def _there(self) -> str:
        return _told(sum(s.at_work for s in self._stations), "worker")

    def _lost(self, station: Station, life: int) -> None:
        """A worker is gone: its calls are made again, and it may come back."""
        if self._ending or not station.lives(life):
            return
        station.ready = False
        again = self._give_up(station, "the worker that made it was lost")
        station.to_send.set()  # who waits for it sees that it is gone
        self._say(f"a worker on node {station.node} was lost; {again}, {self._there()} left")
        self._look_after(self._back(station))

    async def _back(self, station: Station) -> None:
        """Wait until Ray has started a lost worker anew, here or elsewhere."""
        await asyncio.sleep(_LOOK_EVERY_S)
        station.to_send.clear()
        while True:
            try:
                if not await self._rise(station):
                    return
                break
            except UsageError as error:
                if str(error) != self._problem:
                    self._problem = str(error)
                    self._say(f"a lost worker is not back yet: {error}")
                await asyncio.sleep(_AGAIN_S)
        self._problem = ""
        self._say(f"a worker is back, on node {station.node}: {self._there()}")

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
        closing = [asyncio.create_task(self._closed(s)) for s in up]
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

    async def _closed(self, station: Station) -> None:
        with suppress(*self._gone):
            await station.actor.close()


def _told(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
