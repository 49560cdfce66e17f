"""`--budget`: a run stops before it passes a limit, and goes on under a larger one."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hiddenrisk.budget import Limits, Purse
from hiddenrisk.prices import Price
from hiddenrisk.types import Usage
from tests import stand_ins
from tests.conftest import CommandLine, Done
from tests.servers import Ask, ChatServer, Reply, SilentServer

PRICES = ["--price", "r1=100/1000", "--price", "v3=10/100", "--price", "gpt-4o=10/30"]


@pytest.fixture
def server() -> Iterator[ChatServer]:
    with stand_ins.server(latency_s=0.01) as server:
        yield server


class Runs:
    """A run of two stand-ins on the starter suite, carried out under this and that budget."""

    def __init__(self, line: CommandLine, server: ChatServer) -> None:
        self.server, self._line = server, line
        self._args = [
            "--model", server.spec("r1"), "--model", server.spec("v3"),
            "--judge", server.spec("gpt-4o"), "--benchmark", "starter",
            "--out", "run", "--yes", "--concurrency", "8",
        ]  # fmt: skip

    def __call__(self, *args: str) -> Done:
        return self._line("assess", *self._args, *args)

    @property
    def summary(self) -> dict[str, Any]:
        return json.loads((self._line.folder / "run" / "summary.json").read_text())

    @property
    def cost(self) -> float:
        return sum(used["cost_usd"] for used in self.summary["usage"].values())


@pytest.fixture
def runs(hiddenrisk: CommandLine, server: ChatServer) -> Runs:
    return Runs(hiddenrisk, server)


def test_a_run_stops_at_its_budget_says_what_is_missing_and_resumes_to_the_end(runs: Runs) -> None:
    done = runs(*PRICES, "--budget", "0.60")
    assert done.code == 3, done
    assert "stopped by the budget: $0.6" in done.err
    assert "of $0.60 are spent" in done.err
    first = runs.summary
    assert not first["complete"]
    assert first["budget"]["reached"]
    assert first["budget"]["spent_usd"] == pytest.approx(runs.cost)
    # One sample takes 3 cents at most, and no window of eight goes past the limit.
    assert 0.50 < runs.cost < 0.66
    outcomes = [m["benchmarks"]["starter"]["outcomes"] for m in first["models"].values()]
    missing = sum(found.get("not_run", 0) + found.get("not_judged", 0) for found in outcomes)
    assert missing > 100
    assert f"{missing} samples are not run, or not judged" in done.err

    spent, hits = runs.cost, runs.server.ledger.hits
    again = runs(*PRICES, "--budget", "0.60")
    assert again.code == 3, again
    assert runs.server.ledger.hits - hits <= 4, "what was spent before counts"
    assert runs.cost - spent < 0.04

    rest = runs(*PRICES, "--budget", "50")
    assert rest.code == 0, rest
    assert runs.summary["complete"]
    assert not runs.summary["budget"]["reached"]
    ledger = runs.server.ledger.sent_by_model
    assert ledger["r1"] == ledger["v3"] == 96, "nothing is paid twice"
    assert "Cost so far: $" in rest.out

    hits = runs.server.ledger.hits
    over = runs(*PRICES, "--budget", "0.01")
    assert over.code == 0, "a run that is complete has nothing left to spend"
    assert runs.server.ledger.hits == hits


def test_a_budget_of_tokens_needs_no_price(runs: Runs) -> None:
    done = runs("--budget-tokens", "5000")
    assert done.code == 3, done
    budget = runs.summary["budget"]
    assert budget["tokens"] == 5000
    assert 4000 < budget["spent_tokens"] < 5600
    told = runs.summary["usage"].values()
    assert budget["spent_tokens"] == sum(
        (used["prompt_tokens"] or 0) + (used["completion_tokens"] or 0) for used in told
    )


def _page(ask: Ask) -> Reply:
    return Reply(text="Sure. " * 400)


def _bill(line: CommandLine, server: ChatServer, *args: str) -> None:
    """Carry out a run of which nobody tells the tokens, and hold the budget against the bill."""
    done = line(
        *("assess", "--model", server.spec("m"), "--judge", server.spec("j"), *args),
        *("--price", "m=1/10", "--price", "j=100/100", "--budget", "100", "--yes"),
        *("--out", "run", "--max-failures", "1"),
    )
    assert done.code == 0, done
    summary = json.loads((line.folder / "run" / "summary.json").read_text())
    used, budget = summary["usage"], summary["budget"]
    assert budget["spent_tokens"] == sum(sum(each["estimated"].values()) for each in used.values())
    assert budget["spent_usd"] == pytest.approx(sum(each["cost_usd"] for each in used.values()))
    assert budget["spent_tokens"] > 5_000


def test_tokens_that_nobody_told_are_the_same_in_the_budget_and_in_the_bill(
    hiddenrisk: CommandLine, tmp_path: Path
) -> None:
    rows = [{"id": f"p{i}", "prompt": "How? " * 200 * (i + 1)} for i in range(6)]
    (tmp_path / "own.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    asked = 0

    def unsteady(ask: Ask) -> Reply:
        """What cannot be read is paid for too, whether it is asked for again or given up."""
        nonlocal asked
        asked += 1
        return Reply(text="Hm. " * 30) if asked % 3 else stand_ins.judge(ask)

    with SilentServer({"m": _page, "j": unsteady}) as server:
        _bill(hiddenrisk, server, "--benchmark", "own.jsonl", "--benchmark", "starter")
    failed = (tmp_path / "run" / "failures.jsonl").read_text()
    assert "judge_unparsable" in failed


def test_so_are_those_of_expansions_grades_and_dialogues(
    hiddenrisk: CommandLine, shared_data: Path
) -> None:
    with SilentServer({"m": _page, "j": stand_ins.judge}) as server:
        _bill(
            hiddenrisk, server, "--benchmark", "mitre", "--benchmark", "phishing",
            "--benchmark", "airbench", "--data-dir", str(shared_data), "--limit", "3",
        )  # fmt: skip


@pytest.mark.parametrize("verb", ["assess", "plan"])
def test_a_price_that_is_nobodys_is_refused_with_the_names_there_are(
    hiddenrisk: CommandLine, server: ChatServer, verb: str
) -> None:
    done = hiddenrisk(
        *(verb, "--model", server.spec("r1"), "--judge", server.spec("gpt-4o")),
        *("--price", "r1=1/2", "--price", "judge gpt-4o=2.5/10", "--limit", "3"),
    )
    assert done.code == 2, done
    assert done.err.splitlines()[-1] == (
        "hiddenrisk: --price judge gpt-4o: nobody who is asked is called so; name one of r1, gpt-4o"
    )
    assert server.ledger.hits == 0
    assert not (hiddenrisk.folder / "runs").exists()


def test_an_unknown_price_refuses_a_budget_with_the_next_step(hiddenrisk: CommandLine) -> None:
    done = hiddenrisk(
        "assess", "--model", "https://example.org/v1#big", "--limit", "3", "--budget", "5"
    )
    assert done.code == 2
    assert "that of big is unknown; name it with --price big=IN/OUT" in done.err
    assert not (hiddenrisk.folder / "runs").exists()


def test_judges_of_a_stored_run_have_a_budget_of_their_own(
    runs: Runs, hiddenrisk: CommandLine
) -> None:
    assert runs("--limit", "60").code == 0
    judge = f"other={runs.server.base_url}#gpt-4o"
    args = ["judge", "run", "--judge", judge, "--yes", "--concurrency", "8"]
    done = hiddenrisk(*args, "--price", "other=100/100", "--budget", "1")
    assert done.code == 3, done
    other = runs.summary["usage"]["judge other"]
    assert 0.8 < other["cost_usd"] < 1.2
    assert 0 < other["calls"] < 180
    assert hiddenrisk(*args, "--budget", "100").code == 0
    other = runs.summary["usage"]["judge other"]
    assert other["calls"] == 180
    assert other["price"]["source"] == "--price", "what was said of a price is remembered"


def test_every_run_tells_its_cost_and_keeps_its_prices(runs: Runs, tmp_path: Path) -> None:
    assert runs(*PRICES, "--limit", "6").code == 0
    usage = runs.summary["usage"]
    told = usage["r1"]
    expected = (told["prompt_tokens"] * 100 + told["completion_tokens"] * 1000) / 1e6
    assert told["cost_usd"] == pytest.approx(expected)
    kept = json.loads((tmp_path / "run" / "prices.json").read_text())
    assert kept["judge gpt-4o"]["input"] == 10


# ---------------------------------------------------------------- the purse itself


def _pay(purse: Purse, usd: float) -> None:
    purse.pay(Price(input=0.0, output=usd), Usage(prompt_tokens=1, completion_tokens=1_000_000))


async def _samples(purse: Purse, costs: list[float], stop: asyncio.Event) -> int:
    """Carry out samples, eight at once; how many were begun."""
    begun, window = 0, asyncio.Semaphore(8)

    async def one(usd: float) -> None:
        async with window:
            with purse.sample("m", "b"):
                await take(usd)

    async def take(usd: float) -> None:
        nonlocal begun
        await purse.admit()
        begun += 1
        await asyncio.sleep(0.001)
        _pay(purse, usd)

    purse.open(stop)
    tasks = [asyncio.create_task(one(usd)) for usd in costs]
    await asyncio.gather(*tasks, return_exceptions=True)
    return begun


@pytest.mark.parametrize("limit", [0.5, 1.0, 7.3, 40.0])
def test_samples_that_cost_alike_never_pass_the_limit(limit: float) -> None:
    purse, stop = Purse(Limits(usd=limit)), asyncio.Event()
    begun = asyncio.run(_samples(purse, [1.0] * 30, stop))
    assert begun == max(1, min(30, int(limit)))
    assert purse.empty == (begun < 30) == stop.is_set()


def test_samples_that_cost_more_than_their_like_pass_it_by_no_more_than_that() -> None:
    purse = Purse(Limits(usd=10.0))
    begun = asyncio.run(_samples(purse, [0.1] * 8 + [2.0] * 40, asyncio.Event()))
    assert purse.empty
    assert 10.0 < purse.spent.usd <= 10.0 + 8 * 1.9, "one window of eight"
    assert begun < 20


def test_whoever_waits_for_a_place_in_the_budget_hears_the_stop() -> None:
    async def run() -> bool:
        purse, stop = Purse(Limits(usd=1.5)), asyncio.Event()
        purse.open(stop)
        release = asyncio.Event()

        async def slow() -> None:
            with purse.sample("m", "b"):
                await purse.admit()
                await release.wait()

        async def waiting() -> None:
            with purse.sample("m", "b"):
                await purse.admit()

        first = asyncio.create_task(slow())
        await asyncio.sleep(0)
        second = asyncio.create_task(waiting())
        await asyncio.sleep(0.01)
        assert not second.done()
        stop.set()
        release.set()
        await asyncio.wait({first, second}, timeout=5)
        return second.cancelled() and not purse.empty

    assert asyncio.run(run())
