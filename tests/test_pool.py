"""The driver's side of workers and their own, in one process: what gets lost, and when."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import pytest

from hiddenrisk.cluster import pool as pools
from hiddenrisk.cluster import station
from hiddenrisk.cluster.parcels import ENCODER, Job, Orders, Recipe
from hiddenrisk.cluster.pool import Pool
from hiddenrisk.cluster.worker import Worker
from hiddenrisk.engine import Endpoint, Policy
from hiddenrisk.errors import CallError, UsageError
from hiddenrisk.types import Call, Message, Reply, Sampling
from tests.servers import Ask, ChatServer
from tests.servers import Reply as Said

CALL = Call(messages=(Message(role="user", content="Hello."),), sampling=Sampling(), prompt="a")
CLOSE_S = 1.0


class AtHand(Worker):
    """A worker in this process."""

    ended = False

    def place(self) -> tuple[str, str]:
        return "here", "1"

    def end(self) -> None:
        self.ended = True


class Lost(Exception):  # noqa: N818 - a condition
    """What a worker's methods raise once it is gone."""


class Actor:
    """Reaches a worker as Ray does; a test may stop it, cut the wire, or have it die."""

    def __init__(self, recipes: bytes) -> None:
        self._recipes = recipes
        self.worker = AtHand(recipes)
        self.gone = False
        self.ends: list[asyncio.Future[None]] = []
        self._runs = asyncio.Event()
        self._runs.set()
        self._cut = asyncio.Event()

    def stop(self) -> None:
        """As SIGSTOP does."""
        self._runs.clear()

    def wake(self) -> None:
        self._runs.set()

    def cut(self) -> None:
        """Lose what is on the wire; the process lives on."""
        self._cut.set()
        self._cut = asyncio.Event()

    def die(self, recipes: bytes | None = None) -> None:
        """Lose it all; with recipes it is started anew at once."""
        self.gone = recipes is None
        self.cut()
        self.ends.append(asyncio.ensure_future(self.worker.close()))
        self.worker = AtHand(recipes or self._recipes)

    async def _ask(self, work: Coroutine[Any, Any, Any]) -> Any:  # noqa: ANN401 - as it comes
        if self.gone:
            work.close()
            raise Lost
        asked, cut = asyncio.ensure_future(work), asyncio.ensure_future(self._cut.wait())
        await asyncio.wait({asked, cut}, return_when=asyncio.FIRST_COMPLETED)
        await self._runs.wait()
        if cut.done():
            raise Lost
        cut.cancel()
        return await asked

    def hello(self) -> Awaitable[bytes]:
        return self._ask(self.worker.hello())

    def take(self, orders: bytes) -> Awaitable[None]:
        return self._ask(self.worker.take(orders))

    def collect(self, wait_s: float) -> Awaitable[bytes]:
        return self._ask(self.worker.collect(wait_s))

    def close(self) -> Awaitable[None]:
        return self._ask(self.worker.close())

    def kill(self) -> None:
        self._runs.set()
        self.die()


class Scene:
    """A pool, its workers, and what is said of them."""

    def __init__(self) -> None:
        self.actors: list[Actor] = []
        self.said: list[str] = []
        self._news = asyncio.Event()
        self.pool: Pool

    def say(self, line: str) -> None:
        self.said.append(line)
        self._news.set()

    def call(self) -> asyncio.Task[Any]:
        return asyncio.create_task(self.pool.call(0, CALL, prefilled=False))

    async def until(self, word: str) -> None:
        async with asyncio.timeout(5):
            while not any(word in line for line in self.said):
                self._news.clear()
                await self._news.wait()


@asynccontextmanager
async def scene(
    server: ChatServer, workers: int = 1, before: Callable[[Actor], None] = lambda _: None
) -> AsyncGenerator[Scene]:
    at = Scene()

    def place(recipes: bytes) -> Actor:
        at.actors.append(Actor(recipes))
        before(at.actors[-1])
        return at.actors[-1]

    at.pool = Pool([Recipe(spec=server.spec("target"))], workers, place, (Lost,), at.say)
    await at.pool.start()
    try:
        yield at
    finally:
        await at.pool.close()
        for actor in at.actors:
            await asyncio.gather(*actor.ends)


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Waits of a test, not of a cluster."""
    monkeypatch.setattr(station, "SILENT_S", 0.3)
    for name, seconds in {
        "_LISTEN_S": 0.2,
        "SILENT_S": 0.3,
        "_LOOK_EVERY_S": 0.05,
        "_ALONE_S": 0.8,
        "_START_S": 0.5,
        "_LATE_S": 0.2,
        "_AGAIN_S": 0.05,
        "_CLOSE_S": CLOSE_S,
    }.items():
        monkeypatch.setattr(pools, name, seconds)


def serve(latency_s: float = 0.0) -> ChatServer:
    return ChatServer({"target": _yes}, latency_s=latency_s)


def _yes(ask: Ask) -> Said:
    return Said(text="Yes.")


def test_a_call_that_is_given_up_before_it_is_sent_is_never_made() -> None:
    async def scenario(server: ChatServer) -> None:
        worker = AtHand(ENCODER.encode([Recipe(spec=server.spec("target"))]))
        await worker.hello()
        await worker.take(ENCODER.encode(Orders([Job(1, 0, False, CALL)], [1])))
        assert await worker.collect(0.3) == b"[]"
        await worker.close()

    with serve() as server:
        asyncio.run(scenario(server))
    assert not server.ledger.arrived


def test_what_an_earlier_listener_waits_for_is_not_taken_from_the_next_one() -> None:
    """A connection is lost and the process lives on: its old `collect` still waits there."""

    async def scenario(server: ChatServer) -> None:
        async with scene(server) as at:
            at.actors[0].cut()
            await at.until("is back")
            async with asyncio.timeout(1):
                assert (await at.call()).reply is not None

    with serve() as server:
        asyncio.run(scenario(server))


def test_a_worker_that_falls_silent_keeps_no_calls_and_may_wake_up() -> None:
    async def scenario(server: ChatServer) -> None:
        async with scene(server, workers=2) as at:
            calls = [at.call() for _ in range(4)]
            await asyncio.sleep(0.05)
            at.actors[0].stop()
            ends = await asyncio.gather(*calls, return_exceptions=True)
            lost = [e for e in ends if isinstance(e, CallError)]
            assert len(lost) == 2, "those of the other one came back"
            assert all(e.heals for e in lost)
            assert (await at.call()).reply is not None, "the other one makes it"
            at.actors[0].wake()
            await at.until("heard of again")
            assert (await asyncio.gather(*(at.call() for _ in range(4))))[3].reply is not None

    with serve(latency_s=0.2) as server:
        asyncio.run(scenario(server))


def test_a_cluster_without_workers_takes_no_tries_of_a_call_and_ends_the_run_in_time() -> None:
    class Model:
        label = provider = "m"
        local = prefilled = False

        def __init__(self, pool: Pool) -> None:
            self.pool = pool
            self.identity: dict[str, Any] = {}

        async def start(self) -> None: ...
        async def close(self) -> None: ...

        async def generate(self, call: Call) -> Reply:
            done = await self.pool.call(0, call, prefilled=False)
            assert done.reply is not None
            return done.reply

    async def scenario(server: ChatServer) -> None:
        async with scene(server) as at:
            endpoint = Endpoint(Model(at.pool), Policy(tries=2, backoff_s=0.01, timeout_s=0.1))
            endpoint.room = at.pool.room
            async with endpoint.running():
                at.actors[0].die()
                await at.until("was lost")
                with pytest.raises(UsageError, match="all workers of the cluster are lost"):
                    await endpoint.call(CALL)

    with serve() as server:
        asyncio.run(scenario(server))


def test_a_lost_worker_that_cannot_begin_again_yet_is_asked_until_it_can() -> None:
    async def scenario(server: ChatServer) -> None:
        async with scene(server, workers=2) as at:
            dead = at.actors[0]
            dead.die(ENCODER.encode([Recipe(spec="http://127.0.0.1:9/v1#nobody")]))
            await at.until("not back yet")
            assert (await at.call()).reply is not None, "the other one works on"
            dead.die(ENCODER.encode([Recipe(spec=server.spec("target"))]))
            await at.until("is back")
            assert at.said[-1].endswith("2 workers")

    with serve() as server:
        asyncio.run(scenario(server))


def test_a_run_begins_without_workers_that_have_no_room_yet_and_they_join_in() -> None:
    async def scenario(server: ChatServer) -> None:
        hold: list[Actor] = []

        def no_room(actor: Actor) -> None:
            if not hold:
                actor.stop()
                hold.append(actor)

        async with scene(server, workers=3, before=no_room) as at:
            assert at.said[:2] == [
                "2 workers on 1 node",
                "1 more has no room, or not yet (`ray status` shows it); the run begins without",
            ]
            assert (await at.call()).reply is not None
            hold[0].wake()
            await at.until("a worker is up, on node here: 3 workers")

    with serve() as server:
        asyncio.run(scenario(server))


def test_a_cluster_without_room_is_said_at_once_and_ends_the_run() -> None:
    said: list[str] = []

    async def scenario(server: ChatServer) -> None:
        def place(recipes: bytes) -> Actor:
            actor = Actor(recipes)
            actor.stop()
            return actor

        pool = Pool([Recipe(spec=server.spec("target"))], 2, place, (Lost,), said.append)
        with pytest.raises(UsageError, match="no worker came up"):
            await pool.start()

    with serve() as server:
        asyncio.run(scenario(server))
    assert "no room for one" in said[0]


def test_who_ends_while_a_worker_is_away_does_not_wait_for_it() -> None:
    async def scenario(server: ChatServer) -> None:
        async with scene(server, workers=2) as at:
            at.actors[0].die()
            await at.until("was lost")
            begun = asyncio.get_running_loop().time()
        assert asyncio.get_running_loop().time() - begun < CLOSE_S / 2

    with serve() as server:
        asyncio.run(scenario(server))


class Dead:
    """A model whose engine is gone; no call can work any more."""

    prefilled = False

    async def generate(self, call: Call) -> Reply:
        raise UsageError("the engine of tiny has died")

    async def close(self) -> None:
        """Nothing is left to close."""


def test_a_worker_whose_engine_has_died_fails_one_call_and_takes_no_more() -> None:
    async def scenario(server: ChatServer) -> None:
        async with scene(server, workers=2) as at:
            first = at.actors[0].worker
            await first.close()
            first._models = [Dead()]  # pyright: ignore[reportPrivateUsage, reportAttributeAccessIssue] - what is left of one
            calls = [at.call(), at.call()]
            done = await asyncio.gather(*calls, return_exceptions=True)
            (error,) = [one for one in done if isinstance(one, CallError)]
            assert error.heals
            assert "has died" in str(error)
            more = [at.call() for _ in range(4)]
            async with asyncio.timeout(5):
                while not first.ended:  # noqa: ASYNC110 - a process has no event for its end
                    await asyncio.sleep(0.05)
            at.actors[0].die()  # as Ray tells the end of a process
            found = await asyncio.gather(*more, return_exceptions=True)
            lost = [one for one in found if isinstance(one, CallError)]
            assert all(one.heals and "was lost" in str(one) for one in lost)
            assert len(lost) < len(more), "the other worker goes on"

    with serve() as server:
        asyncio.run(scenario(server))
