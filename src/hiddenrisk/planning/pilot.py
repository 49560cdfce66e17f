"""A few samples of a plan, carried out for real: they are part of the run, never paid twice."""

import hashlib
import heapq
from collections.abc import Iterator

from hiddenrisk.assess import Run
from hiddenrisk.benchmarks.base import Loaded
from hiddenrisk.opening import Opened
from hiddenrisk.plan import planned
from hiddenrisk.types import Prompt


class Pilot(Run):
    """One pass over some of the samples of each model on each benchmark."""

    per = 1
    """How many."""

    def _chosen(self, benchmark: Loaded) -> Iterator[tuple[Prompt, int]]:
        samples = super()._chosen(benchmark)
        yield from heapq.nsmallest(self.per, samples, key=_drawn)


def pilot_of(per: int) -> type[Pilot]:
    """A pilot of so many samples of each model on each benchmark.

    They are drawn by their prompts' ids, so that a larger pilot holds the smaller one.
    """
    return type("Pilot", (Pilot,), {"per": per})


def samples_of(opened: Opened, per: int) -> int:
    """How many samples a pilot sees to."""
    each = sum(min(per, planned(b, opened.plan)) for b in opened.benchmarks)
    return each * len(opened.models)


def _drawn(sample: tuple[Prompt, int]) -> bytes:
    prompt, repeat = sample
    return hashlib.blake2b(f"pilot {prompt.id} {repeat}".encode("utf-8", "replace")).digest()
