"""How far a run is: a live line on a terminal, plain lines elsewhere. Reads, never decides."""

import os
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from functools import partial

from rich.console import Console, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table

from hiddenrisk.assess import Tally

_LIVE_EVERY_S, _LINE_EVERY_S = 0.25, 15.0


class Terminal(Console):
    """Where a run is told of: names stand as they are, and nobody needs to listen."""

    def __init__(self, *, stderr: bool = False) -> None:
        # A log is as wide as its lines: only a terminal has an edge to break them at.
        super().__init__(stderr=stderr, markup=False, emoji=False, highlight=False)
        self.soft_wrap = not self.is_terminal

    def _check_buffer(self) -> None:
        try:
            super()._check_buffer()
        except OSError:  # the terminal is gone, or a log is on a full disk
            self.on_broken_pipe()

    def on_broken_pipe(self) -> None:
        """Say no more and let the run go on (rich would end it)."""
        self.quiet = True
        with suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), self.file.fileno())


@contextmanager
def display(console: Console, tally: Tally) -> Generator[None]:
    """Show a tally while the body runs."""
    begun = time.monotonic()
    try:
        with telling(console, partial(describe, tally), partial(_line, tally)):
            yield
    finally:
        console.print(describe(tally, time.monotonic() - begun))


@contextmanager
def telling(
    console: Console,
    plain: Callable[[float], str],
    live: Callable[[float], RenderableType] | None = None,
) -> Generator[None]:
    """Tell how far something is while the body runs: a line, where there is one to tell.

    Args:
        console: where to.
        plain: makes the line, of the seconds that went by.
        live: the same for a terminal, where it is another one.
    """
    begun = time.monotonic()
    ended = threading.Event()

    def keep_telling() -> None:
        if console.is_terminal:
            made = live or plain
            with Live(made(0.0), console=console, transient=True) as shown:
                while not ended.wait(_LIVE_EVERY_S):
                    shown.update(made(time.monotonic() - begun))
        else:
            while not ended.wait(_LINE_EVERY_S):
                if line := plain(time.monotonic() - begun):
                    console.print(line)

    thread = threading.Thread(target=keep_telling, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def describe(tally: Tally, elapsed_s: float) -> str:
    """One plain line: done, failed, tokens, rate, time left."""
    share = tally.finished / tally.planned if tally.planned else 1.0
    line = f"{tally.finished}/{tally.planned} samples ({share:.0%})"
    if tally.kept:
        line += f", {tally.kept} calls kept from before"
    line += f", {tally.failed} failed, {_short(tally.tokens)} tokens"
    # What was there already took no time, and says nothing of the time that is left.
    rate = (tally.finished - tally.skipped) / elapsed_s if elapsed_s > 0 else 0.0
    line += f", {rate:.1f}/s, {_span(elapsed_s)}"
    if rate and tally.finished < tally.planned:
        line += f", {_span((tally.planned - tally.finished) / rate)} left"
    return line


def _line(tally: Tally, elapsed_s: float) -> Table:
    grid = Table.grid(padding=(0, 1))
    bar = ProgressBar(total=max(1, tally.planned), completed=tally.finished, width=24)
    grid.add_row(bar, describe(tally, elapsed_s))
    return grid


def _short(count: int) -> str:
    for size, unit in ((1_000_000, "M"), (1_000, "k")):
        if count >= size:
            return f"{count / size:.1f}{unit}"
    return str(count)


def _span(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02d} min"
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"
