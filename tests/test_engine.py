"""Calls that heal under a limit that adapts, and a window of samples that stays bounded."""

import asyncio
import random
import time
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hiddenrisk.engine import Endpoint, Limiter, Policy, Served, run_window
from hiddenrisk.errors import CallError, UsageError
from hiddenrisk.models import open_model
from hiddenrisk.models.fake import FakeModel
from hiddenrisk.types import Call, Message, Reason, Reply, Sampling
from tests.servers import ChatServer, Faults, always
from tests.servers import Reply as Said

QUICK = Policy(backoff_s=0.001, backoff_max_s=0.002)


# ---------------------------------------------------------------- the limiter


def strain(limiter: Limiter) -> None:
    """A row of overloads, as when a rate limit is passed."""
    for _ in range(8):
        limiter.overloaded()


def test_the_limit_rises_by_one_with_every_call_until_the_first_overload() -> None:
    limiter = Limiter(100)
    assert limiter.now == 32
    for _ in range(10):
        limiter.went_well()
    assert limiter.now == 42
    strain(limiter)
    assert limiter.now == 21
    for _ in range(21):
        limiter.went_well()
    assert 21.9 < limiter.now <= 22, "by one for each round of calls from then on"


def test_the_limit_never_rises_above_what_the_user_said() -> None:
    limiter = Limiter(33)
    for _ in range(50):
        limiter.went_well()
    assert limiter.now == 33
    assert Limiter(3).now == 3


def test_the_limit_is_halved_once_a_second_at_most_and_never_below_its_floor() -> None:
    limiter, near, small = Limiter(16), Limiter(5), Limiter(2)
    for _ in range(50):
        limiter.overloaded()
        near.overloaded()
        small.overloaded()
    assert limiter.now == 8, "fifty complaints of one burst are one complaint"
    assert near.now == 4
    assert small.now == 2, "a user's own small limit stays as it is"
    time.sleep(1.05)
    limiter.overloaded()
    near.overloaded()
    assert limiter.now == near.now == 4


def test_a_place_given_back_goes_to_who_waited_longest() -> None:
    async def scenario() -> list[int]:
        limiter = Limiter(1)
        order: list[int] = []

        async def one(number: int) -> None:
            await limiter.acquire()
            order.append(number)
            await asyncio.sleep(0)
            limiter.release()

        await asyncio.gather(*(one(i) for i in range(5)))
        assert limiter.active == 0
        return order

    assert asyncio.run(scenario()) == [0, 1, 2, 3, 4]


def test_a_place_that_a_rise_makes_goes_to_who_waits_already() -> None:
    async def scenario() -> bool:
        limiter = Limiter(64)
        for _ in range(32):
            await limiter.acquire()
        waiting = asyncio.create_task(limiter.acquire())
        await asyncio.sleep(0)
        assert not waiting.done()
        limiter.went_well()
        await asyncio.sleep(0)
        return waiting.done()

    assert asyncio.run(scenario())


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(), limit=st.integers(1, 12))
def test_no_place_is_lost_or_made_up_however_calls_are_cancelled(seed: int, limit: int) -> None:
    dice = random.Random(seed)
    peak = 0

    async def scenario() -> None:
        limiter = Limiter(limit)

        async def one() -> None:
            nonlocal peak
            await limiter.acquire()
            try:
                peak = max(peak, limiter.active)
                for _ in range(dice.randrange(4)):
                    await asyncio.sleep(0)
                (limiter.overloaded if dice.random() < 0.3 else limiter.went_well)()
            finally:
                limiter.release()

        tasks = [asyncio.create_task(one()) for _ in range(40)]
        while not all(task.done() for task in tasks):
            if dice.random() < 0.5:
                dice.choice(tasks).cancel()
            await asyncio.sleep(0)
        assert limiter.active == 0
        for _ in range(int(limiter.now)):
            await asyncio.wait_for(limiter.acquire(), 1)

    asyncio.run(scenario())
    assert peak <= limit


# ---------------------------------------------------------------- one call, tried again


def test_what_heals_is_tried_again_until_it_works() -> None:
    model = FakeModel([healing(), healing(), "I won't."])
    served = asyncio.run(one_call(model))
    assert (served.reply.answer, served.tries) == ("I won't.", 3)
    assert len(model.calls) == 3


def test_what_cannot_heal_is_tried_once() -> None:
    model = FakeModel([CallError("a field we do not know"), "too late"])
    with pytest.raises(CallError, match="a field we do not know"):
        asyncio.run(one_call(model))
    assert len(model.calls) == 1


def test_tries_are_bounded() -> None:
    model = FakeModel(lambda _: healing())
    with pytest.raises(CallError):
        asyncio.run(one_call(model, Policy(tries=4, backoff_s=0.001)))
    assert len(model.calls) == 4


def test_the_wait_that_an_endpoint_asks_for_is_obeyed() -> None:
    model = FakeModel([healing(retry_after_s=0.3), "I won't."])
    start = time.monotonic()
    asyncio.run(one_call(model))
    assert 0.3 <= time.monotonic() - start < 2


def test_an_endpoint_that_asks_for_a_longer_wait_than_we_have_is_given_up() -> None:
    model = FakeModel([healing(retry_after_s=3600.0), "too late"])
    start = time.monotonic()
    with pytest.raises(CallError):
        asyncio.run(one_call(model))
    assert len(model.calls) == 1
    assert time.monotonic() - start < 2


def test_a_call_is_given_up_where_the_next_try_would_come_after_its_deadline() -> None:
    model = FakeModel(lambda _: healing(retry_after_s=0.2))
    with pytest.raises(CallError):
        asyncio.run(one_call(model, Policy(deadline_s=0.5, backoff_s=0.001)))
    assert len(model.calls) == 3


def test_time_spent_waiting_for_a_place_does_not_count_against_a_call() -> None:
    failed: set[str] = set()

    def script(call: Call) -> str | CallError:
        if call.prompt not in failed:
            failed.add(call.prompt)
            return healing()
        return "I won't."

    model = FakeModel(script, latency_s=0.02)
    policy = Policy(limit=1, deadline_s=0.2, backoff_s=0.001)

    async def scenario() -> None:
        endpoint = Endpoint(model, policy)
        async with endpoint.running():
            await asyncio.gather(*(endpoint.call(ask(f"p{i}")) for i in range(20)))

    start = time.monotonic()
    asyncio.run(scenario())
    assert time.monotonic() - start > 0.2, "the last ones had waited for longer than the deadline"


def test_a_reply_that_does_not_come_in_time_is_a_failure_that_heals() -> None:
    model = Slow(lambda _: 30.0)
    start = time.monotonic()
    with pytest.raises(CallError, match="no reply within") as caught:
        asyncio.run(one_call(model, Policy(timeout_s=0.05, tries=2, backoff_s=0.001)))
    assert caught.value.heals
    assert len(model.calls) == 2
    assert time.monotonic() - start < 5


def test_overloads_in_a_row_halve_the_limit_and_other_failures_do_not() -> None:
    async def scenario(error: CallError) -> float:
        endpoint = Endpoint(FakeModel([error] * 8 + ["I won't."]), QUICK)
        async with endpoint.running():
            await endpoint.call(ask("p"))
        return endpoint.limiter.now

    assert asyncio.run(scenario(healing(overload=True))) < 17
    assert asyncio.run(scenario(healing())) == 32


def test_an_overload_now_and_then_leaves_the_limit_alone() -> None:
    limiter = Limiter(64)
    for turn in range(2000):
        limiter.overloaded() if turn % 12 == 0 else limiter.went_well()
    assert limiter.now == 64


def test_an_endpoint_that_shuts_the_door_later_ends_the_run() -> None:
    async def scenario() -> None:
        shut = CallError("HTTP 401: key revoked", fatal=True)
        endpoint = Endpoint(FakeModel(["I won't."] + [shut] * 20), QUICK)
        async with endpoint.running():
            await endpoint.call(ask("p"))
            for _ in range(9):
                with pytest.raises(CallError):
                    await endpoint.call(ask("p"))
            with pytest.raises(UsageError, match="answers no more calls: HTTP 401"):
                await endpoint.call(ask("p"))

    asyncio.run(scenario())


def test_a_cancelled_call_gives_its_place_back() -> None:
    async def scenario() -> None:
        endpoint = Endpoint(Slow(lambda _: 30.0), Policy(limit=2))
        async with endpoint.running():
            tasks = [asyncio.create_task(endpoint.call(ask(f"p{i}"))) for i in range(6)]
            await asyncio.sleep(0.01)
            assert endpoint.limiter.active == 2
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            assert endpoint.limiter.active == 0

    asyncio.run(scenario())


def test_no_more_calls_than_the_limit_are_made_at_once() -> None:
    model = Slow(lambda _: 0.005)

    async def scenario() -> None:
        endpoint = Endpoint(model, Policy(limit=3))
        async with endpoint.running():
            await asyncio.gather(*(endpoint.call(ask(f"p{i}")) for i in range(30)))

    asyncio.run(scenario())
    assert model.peak == 3


def test_a_real_server_is_never_asked_again_before_it_said() -> None:
    faults = Faults(
        share=0.6, hang_share=0, kinds=("429_after", "429_bare"), retry_after_s=(0.1, 0.4), seed=5
    )
    with ChatServer({"target": always(Said(text="I won't."))}, faults=faults) as server:

        async def scenario() -> list[Served]:
            endpoint = Endpoint(open_model(server.spec("target")), QUICK)
            async with endpoint.running():
                return await asyncio.gather(*(endpoint.call(ask(f"p{i}")) for i in range(20)))

        served = asyncio.run(scenario())
        assert server.ledger.early == 0
        assert server.ledger.faults["429_after"] > 3
    assert {s.reply.answer for s in served} == {"I won't."}
    assert max(s.tries for s in served) > 1


# ---------------------------------------------------------------- calls that hang


def test_a_call_far_slower_than_all_others_is_given_up_and_tried_again() -> None:
    hung: list[str] = []

    def wait_s(call: Call) -> float:
        if call.prompt == "odd" and not hung:
            hung.append(call.prompt)
            return 30.0
        return 0.001

    served, took_s = asyncio.run(after_a_hundred(Slow(wait_s), hang_after_s=0.1))
    assert served.tries == 2
    assert took_s < 5


def test_a_call_that_is_no_outlier_is_left_alone() -> None:
    def wait_s(call: Call) -> float:
        return 0.5 if call.prompt == "odd" else 0.25

    served, _ = asyncio.run(after_a_hundred(Slow(wait_s), hang_after_s=0.1))
    assert served.tries == 1, "twice the slowest is slow, not hung"


def test_no_call_is_given_up_as_hung_before_a_hundred_are_known() -> None:
    def wait_s(call: Call) -> float:
        return 1.2 if call.prompt == "odd" else 0.0

    served, _ = asyncio.run(after_a_hundred(Slow(wait_s), hang_after_s=0.1, known=98))
    assert served.tries == 1


def test_a_call_given_up_as_hung_gets_twice_the_time_at_the_next_try() -> None:
    def wait_s(call: Call) -> float:
        return 30.0 if call.prompt == "odd" and len(model.lasted_s) < 2 else 0.0

    model = Slow(wait_s)
    served, _ = asyncio.run(after_a_hundred(model, hang_after_s=0.55))
    first, second = model.lasted_s
    assert served.tries == 3
    assert 0.55 <= first < 1.1 + 0.3
    assert second >= 1.1


# ---------------------------------------------------------------- endpoints that cannot work


def test_what_would_fail_every_call_ends_the_run_at_the_first() -> None:
    model = FakeModel([CallError("HTTP 401: wrong key", fatal=True), "too late"], label="mine")
    with pytest.raises(UsageError, match="mine answers no call: HTTP 401: wrong key"):
        asyncio.run(one_call(model))
    assert len(model.calls) == 1


def test_an_endpoint_that_has_answered_is_not_given_up_for_one_call() -> None:
    replies = ["I won't.", CallError("HTTP 403: not this prompt", fatal=True), "I won't."]
    assert [type(r) for r in asyncio.run(calls(FakeModel(replies), 3))] == [
        *(Served, CallError, Served),
    ]


def test_after_twenty_five_calls_that_failed_and_none_that_worked_the_run_ends() -> None:
    results = asyncio.run(calls(FakeModel(lambda _: CallError("HTTP 400: no")), 30))
    assert [type(r) for r in results[:24]] == [CallError] * 24
    assert isinstance(results[24], UsageError)


def test_an_overloaded_endpoint_is_told_from_a_wrong_key() -> None:
    results = asyncio.run(calls(FakeModel(lambda _: CallError("HTTP 503", overload=True)), 25))
    assert "--concurrency" in str(results[24])
    assert "key" not in str(results[24])


def test_failures_that_are_left_over_from_a_run_that_worked_do_not_end_the_next() -> None:
    model = FakeModel(lambda _: CallError("HTTP 400: too long"))
    results = asyncio.run(calls(model, 40, worked_before=True))
    assert {type(r) for r in results} == {CallError}


def test_a_key_that_is_wrong_now_ends_a_run_that_worked_before() -> None:
    model = FakeModel(lambda _: CallError("HTTP 401", fatal=True))
    (result,) = asyncio.run(calls(model, 1, worked_before=True))
    assert isinstance(result, UsageError)


def test_a_recording_of_few_prompts_is_no_endpoint_out_of_order() -> None:
    model = FakeModel(lambda _: CallError("not recorded", reason=Reason.NO_RECORDING))
    assert {type(r) for r in asyncio.run(calls(model, 60))} == {CallError}


# ---------------------------------------------------------------- starting and closing


def test_a_model_is_started_before_its_calls_and_closed_after_them() -> None:
    model = Noted()

    async def scenario() -> None:
        async with Endpoint(model, QUICK).running():
            model.seen.append("body")

    asyncio.run(scenario())
    assert model.seen == ["start", "body", "close"]


def test_a_model_that_does_not_start_is_closed_and_told_of() -> None:
    model = Noted(trouble=UsageError("nobody listens there"))

    async def scenario() -> None:
        async with Endpoint(model, QUICK).running():
            model.seen.append("body")

    with pytest.raises(UsageError, match="nobody listens"):
        asyncio.run(scenario())
    assert model.seen == ["start", "close"]


def test_a_model_may_be_started_by_its_first_call_and_then_once_only() -> None:
    model = Noted()

    async def scenario() -> None:
        endpoint = Endpoint(model, QUICK)
        async with endpoint.running(at_once=False):
            assert model.seen == []
            await asyncio.gather(*(endpoint.call(ask(f"p{i}")) for i in range(5)))
        assert model.seen == ["start", "close"]
        async with endpoint.running(at_once=False):
            await endpoint.call(ask("again"))

    asyncio.run(scenario())
    assert model.seen == ["start", "close"] * 2, "a second run starts it anew"


# ---------------------------------------------------------------- the window


def test_the_window_works_on_everything_and_on_so_many_at_once() -> None:
    window = Window()
    asyncio.run(window.run(range(50), size=7))
    assert sorted(window.done) == list(range(50))
    assert window.peak == 7


def test_items_are_taken_only_as_they_are_needed() -> None:
    window = Window()
    taken: list[int] = []

    def items() -> Iterator[int]:
        for i in range(50):
            taken.append(i)
            assert len(taken) - len(window.done) <= 7 + 1, "the window, and the one about to enter"
            yield i

    asyncio.run(window.run(items(), size=7))
    assert len(window.done) == 50


def test_the_first_item_goes_ahead_alone() -> None:
    window = Window(wait_s=lambda _: 0.05)
    asyncio.run(window.run(range(5), size=5))
    assert window.events[:2] == ["begin 0", "end 0"]


def test_the_first_item_goes_ahead_for_so_long_only() -> None:
    window = Window(wait_s=lambda i: 0.4 if i == 0 else 0.0)
    asyncio.run(window.run(range(5), size=5, head_start_s=0.05))
    assert window.events[-1] == "end 0"


def test_what_fails_for_every_item_fails_once() -> None:
    window = Window(fails_at=0)
    with pytest.raises(ValueError, match="item 0"):
        asyncio.run(window.run(range(50), size=10))
    assert window.events == ["begin 0"]


def test_after_the_stop_no_item_is_begun_and_those_begun_are_finished() -> None:
    async def scenario() -> None:
        stop = asyncio.Event()

        def items() -> Iterator[int]:
            for i in range(50):
                if i == 10:
                    stop.set()
                yield i

        await window.run(items(), size=4, stop=stop)

    window = Window()
    asyncio.run(scenario())
    assert sorted(window.done) == list(range(10))


def test_a_stop_while_the_first_item_is_alone_begins_no_other() -> None:
    async def scenario() -> None:
        stop = asyncio.Event()
        asyncio.get_running_loop().call_later(0.05, stop.set)
        await window.run(range(50), size=4, stop=stop)

    window = Window(wait_s=lambda _: 0.15)
    asyncio.run(scenario())
    assert window.events == ["begin 0", "end 0"]


def test_the_first_error_cancels_the_others_and_is_the_one_raised() -> None:
    window = Window(wait_s=lambda i: {0: 0.0, 3: 0.02}.get(i, 30.0), fails_at=3)
    start = time.monotonic()
    with pytest.raises(ValueError, match="item 3"):
        asyncio.run(window.run(range(50), size=8))
    assert time.monotonic() - start < 5
    assert window.done == [0]
    assert window.cancelled == 7


def test_items_that_cannot_be_read_on_cancel_what_was_begun() -> None:
    def items() -> Iterator[int]:
        yield 0
        yield 1
        raise ValueError("the file is gone")

    window = Window(wait_s=lambda i: 30.0 * i)
    with pytest.raises(ValueError, match="the file is gone"):
        asyncio.run(window.run(items(), size=8))
    assert window.done == [0]


def test_cancelling_the_window_cancels_its_items() -> None:
    window = Window(wait_s=lambda i: 30.0 * i)

    async def scenario() -> None:
        task = asyncio.create_task(window.run(range(50), size=8))
        await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(scenario())
    assert (window.done, window.cancelled) == ([0], 8)


# ---------------------------------------------------------------- helpers


def healing(*, retry_after_s: float | None = None, overload: bool = False) -> CallError:
    return CallError("HTTP 500", heals=True, overload=overload, retry_after_s=retry_after_s)


def ask(prompt: str) -> Call:
    return Call(
        messages=(Message("user", f"Please, {prompt}."),), sampling=Sampling(), prompt=prompt
    )


async def one_call(model: FakeModel, policy: Policy = QUICK) -> Served:
    endpoint = Endpoint(model, policy)
    async with endpoint.running():
        return await endpoint.call(ask("p"))


async def calls(
    model: FakeModel, count: int, *, worked_before: bool = False
) -> list[Served | CallError | UsageError]:
    """So many calls, one after the other, and what came of each."""
    endpoint = Endpoint(model, QUICK)
    endpoint.worked_before = worked_before
    results: list[Served | CallError | UsageError] = []
    async with endpoint.running():
        for i in range(count):
            try:
                results.append(await endpoint.call(ask(f"p{i}")))
            except (CallError, UsageError) as error:
                results.append(error)
    return results


async def after_a_hundred(
    model: FakeModel, *, hang_after_s: float, known: int = 100
) -> tuple[Served, float]:
    """A call named "odd" after a hundred others, and how long it took."""
    endpoint = Endpoint(model, Policy(limit=32, hang_after_s=hang_after_s, backoff_s=0.001))
    async with endpoint.running():
        await asyncio.gather(*(endpoint.call(ask(f"p{i}")) for i in range(known)))
        start = time.monotonic()
        return await endpoint.call(ask("odd")), time.monotonic() - start


class Slow(FakeModel):
    """A fake that takes its time, different for each call."""

    def __init__(self, wait_s: Callable[[Call], float]) -> None:
        super().__init__(lambda _: "I won't.")
        self._wait_s = wait_s
        self.active = self.peak = 0
        self.lasted_s: list[float] = []
        """How long the calls took that were cancelled."""

    async def generate(self, call: Call) -> Reply:
        self.active += 1
        self.peak = max(self.peak, self.active)
        start = time.monotonic()
        self.calls.append(call)
        try:
            await asyncio.sleep(self._wait_s(call))
        except asyncio.CancelledError:
            self.lasted_s.append(time.monotonic() - start)
            raise
        finally:
            self.active -= 1
        return await super().generate(call)


class Noted(FakeModel):
    """A fake that notes when it is started and closed."""

    def __init__(self, trouble: UsageError | None = None) -> None:
        super().__init__(lambda _: "I won't.")
        self.seen: list[str] = []
        self._trouble = trouble

    async def start(self) -> None:
        self.seen.append("start")
        await asyncio.sleep(0)
        if self._trouble is not None:
            raise self._trouble

    async def close(self) -> None:
        self.seen.append("close")


class Window:
    """Work that notes what it does."""

    def __init__(
        self,
        wait_s: Callable[[int], float] = lambda _: 0.001,
        fails_at: int | None = None,
    ) -> None:
        self._wait_s = wait_s
        self._fails_at = fails_at
        self.events: list[str] = []
        self.done: list[int] = []
        self.active = self.peak = self.cancelled = 0

    async def run(
        self,
        items: Iterator[int] | range,
        *,
        size: int,
        stop: asyncio.Event | None = None,
        head_start_s: float = 10.0,
    ) -> None:
        stop = stop or asyncio.Event()
        await run_window(items, self._work, size=size, stop=stop, head_start_s=head_start_s)

    async def _work(self, item: int) -> None:
        self.events.append(f"begin {item}")
        self.active += 1
        self.peak = max(self.peak, self.active)
        try:
            await asyncio.sleep(self._wait_s(item))
            if item == self._fails_at:
                raise ValueError(f"item {item}")
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self.active -= 1
        self.events.append(f"end {item}")
        self.done.append(item)
