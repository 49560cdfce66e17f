"""A run from beginning to end: carry out what the plan names, then count what it gave."""

import asyncio
import signal
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import Any, cast

import msgspec

from hiddenrisk.accounting import read_summary, report
from hiddenrisk.assess import Run, Tally
from hiddenrisk.budget import Limits, Purse
from hiddenrisk.dispatch import at_work
from hiddenrisk.manifest import (
    RUN,
    claim,
    keep_benchmarks,
    manifest_of,
)
from hiddenrisk.opening import Opened
from hiddenrisk.panels import kept_in
from hiddenrisk.prices import who
from hiddenrisk.settled import settle, settled
from hiddenrisk.spending import (
    keep_budget,
    keep_prices,
    read_paid,
    read_prices,
)
from hiddenrisk.store import (
    Journal,
    write_json,
)


class Ended(msgspec.Struct, frozen=True, kw_only=True):
    """How a run ended."""

    summary: dict[str, Any]
    interrupted: bool
    out_of_budget: bool = False
    """It stopped because the next sample might have passed its budget."""


def carry_out(
    opened: Opened,
    folder: Path,
    display: Callable[[Tally], AbstractContextManager[None]],
    say: Callable[[str], None],
    count: Callable[..., dict[str, Any]] | None = None,
    *,
    kind: Callable[..., Run] = Run,
    samples: int | None = None,
) -> Ended:
    """Run the samples that are not there yet, then count and report all that is.

    Args:
        opened: the plan.
        folder: the run directory.
        display: shows how far it is.
        say: says a line.
        count: what to make of the records, with the arguments of `report`; `report` if None.
        kind: what carries it out, with the arguments of `Run`.
        samples: how many that sees to; all of the plan if None.

    Raises:
        UsageError: the folder is of another plan, an endpoint cannot work, or the disk is full.
    """
    manifest = manifest_of(opened)
    claim(folder, manifest)
    whole = count is None and samples is None  # a run, and nothing that is carried out as one
    if whole and settled(opened, folder):
        say(f"all {opened.samples:,} samples are there: nothing is left to do")
        return Ended(summary=read_summary(folder), interrupted=False)
    tally = Tally(opened.samples if samples is None else samples)
    with Journal(folder) as journal:
        claim(folder, manifest)  # now that nobody else can: one may have come in between
        write_json(folder / RUN, manifest | kept_in(folder, opened))
        keep_benchmarks(opened, folder)
        run = kind(
            opened.plan,
            opened.models,
            opened.judges,
            opened.benchmarks,
            opened.policy,
            journal,
            folder,
            tally,
            opened.victim,
            fallbacks=opened.fallbacks,
            cheap=opened.cheap,
        )
        ended = conduct(run, opened, folder, tally, display, say, count)
    if whole and tally.finished == tally.planned and not tally.failed:
        settle(opened, folder)
    return ended


def conduct(
    run: Run,
    opened: Opened,
    folder: Path,
    tally: Tally,
    display: Callable[[Tally], AbstractContextManager[None]],
    say: Callable[[str], None],
    count: Callable[..., dict[str, Any]] | None = None,
) -> Ended:
    """Carry out a run whose journal is open, then count and report all that is there."""
    purse = _purse(run, opened, folder)
    with at_work(opened, run.endpoints, say):
        stopped = asyncio.run(_until_stopped(run, display(tally), say))
    unfinished = stopped and tally.finished < tally.planned
    keep_budget(folder, purse.told if purse else None)
    result = (count or report)(opened, folder, stopped=unfinished)
    empty = purse is not None and purse.empty
    return Ended(summary=result, interrupted=stopped and not empty, out_of_budget=empty)


def _purse(run: Run, opened: Opened, folder: Path) -> Purse | None:
    """The budget of a run, less what those took before who are asked; None where there is none."""
    priced, told = opened.priced, {n: opened.prices.told(s) for n, s in opened.specs.items()}
    keep_prices(folder, told, priced)
    limits = Limits(usd=opened.settings.budget, tokens=opened.settings.budget_tokens)
    if not limits.some:
        return None
    known, purse = priced | read_prices(folder), Purse(limits)
    asked, before = opened.asked, ((who(p.role, p.label), p) for p in read_paid(folder))
    purse.remember((paid, known.get(name)) for name, paid in before if name in asked)
    run.charge(purse, known)
    return purse


async def _until_stopped(
    run: Run, shown: AbstractContextManager[None], say: Callable[[str], None]
) -> bool:
    """Carry a run out; Ctrl-C lets the calls in flight finish, a second one drops them."""
    stop = asyncio.Event()
    work = asyncio.create_task(_grouped(run, stop))
    loop = asyncio.get_running_loop()

    def interrupt(*, at_once: bool) -> None:
        if stop.is_set() or at_once:
            stop.set()
            work.cancel()
        else:
            stop.set()
            say("stopping: waiting for the calls in flight (Ctrl-C again drops them)")

    for sign in (signal.SIGINT, signal.SIGTERM):
        # Who sends SIGTERM will not wait for a model to finish thinking.
        loop.add_signal_handler(sign, partial(interrupt, at_once=sign is signal.SIGTERM))
    try:
        with shown:  # from here on, Ctrl-C is heard
            await work
    except asyncio.CancelledError:
        if not stop.is_set():
            raise
    finally:
        for sign in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(sign)
    return stop.is_set()


async def _grouped(run: Run, stop: asyncio.Event) -> None:
    """Carry a run out; of several errors at once, the first one is told."""
    try:
        await run.carry_out(stop)
    except BaseExceptionGroup as group:
        raise _first(group) from None


def _first(error: BaseException) -> BaseException:
    if isinstance(error, BaseExceptionGroup):
        group = cast("BaseExceptionGroup[BaseException]", error)
        return _first(group.exceptions[0])
    return error
