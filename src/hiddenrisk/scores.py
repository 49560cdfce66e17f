"""What each sample counts, in columns that can be paired: the ground of every comparison.

The numbers are those of the headline: its protocol, its judges, its outcomes. Nothing is
counted here that summary.json does not count.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from hiddenrisk.benchmarks.base import Loaded
from hiddenrisk.cell import LABELS, OUTCOMES, Cell
from hiddenrisk.counting import number
from hiddenrisk.headline import headline_cell
from hiddenrisk.opening import Opened
from hiddenrisk.records import Records
from hiddenrisk.types import Label, Part


class Column(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """One part of the samples of one model on the harmful, or harmless, prompts of a benchmark.

    All arrays have one entry for each sample that is in the records, in their order; samples
    that were planned and not run are in none.
    """

    model: str
    benchmark: str
    part: Part
    label: Label
    """Of the prompts: on "unsafe" ones the score is safety, on "safe" ones refusal."""
    protocol: str
    judges: tuple[str, ...]
    prompts: NDArray[np.uint64]
    """Which prompt: the same number for the same id in any run (`cell.prompt_bits`)."""
    repeats: NDArray[np.uint32]
    """Which of the times it was asked, from 0."""
    scores: NDArray[np.float64]
    """In [0, 1]; NaN where the sample is not in the headline, never a stand-in for a score."""
    outcomes: NDArray[np.int8]
    """What became of each, as an index into `cell.OUTCOMES`."""
    categories: NDArray[np.int32]
    """As an index into `paths`."""
    paths: tuple[tuple[str, ...], ...]
    offsets: NDArray[np.int64]
    """Where the response stands in responses.jsonl; -1 where there is none."""

    def __len__(self) -> int:
        return len(self.scores)

    @property
    def scored(self) -> NDArray[np.bool_]:
        """Which samples have a score."""
        return ~np.isnan(self.scores)

    def outcome(self, place: int) -> str:
        """What became of one sample."""
        return OUTCOMES[int(self.outcomes[place])]


def columns(opened: Opened, found: Records) -> Iterator[Column]:
    """The columns of a run: by benchmark, model, part and label of the prompts, if any.

    Args:
        opened: the run's plan, with the judges of its headline.
        found: its records.
    """
    for benchmark in opened.benchmarks:
        for model in opened.models:
            cell = headline_cell(opened, found, model.label, benchmark)
            if not len(cell):
                continue
            asked = list(_asked(cell))
            for part in opened.parts_of(benchmark):
                yield from _of_part(cell, asked, opened, benchmark, model.label, part)


class _Asked(NamedTuple):
    """The samples on prompts of one label: what all parts of them have in common."""

    label: Label
    rows: NDArray[np.intp] | slice
    prompts: NDArray[np.uint64]
    repeats: NDArray[np.uint32]
    categories: NDArray[np.int32]
    offsets: NDArray[np.int64]


def _asked(cell: Cell) -> Iterator[_Asked]:
    labels = np.frombuffer(cell.labels, np.int8)
    for place, label in enumerate(LABELS):
        rows = np.flatnonzero(labels == place)
        # Where all are alike, the cell's own columns will do: a million copied are 24 MB.
        those = slice(None) if rows.size == labels.size else rows
        if rows.size:
            yield _Asked(
                label,
                those,
                np.frombuffer(cell.prompts, np.uint64)[those],
                np.frombuffer(cell.repeats, np.uint32)[those],
                np.frombuffer(cell.categories, np.int32)[those],
                np.frombuffer(cell.offsets, np.int64)[those],
            )


def _of_part(
    cell: Cell, asked: Sequence[_Asked], opened: Opened, benchmark: Loaded, model: str, part: Part
) -> Iterator[Column]:
    judges = [j.label for j in opened.judges_of(benchmark)]
    protocol = opened.protocols(benchmark)[0]
    jury = len(judges) > 1
    alike = cell.alike(part, judges)
    kinds = np.array(alike.kinds)
    outcomes = np.array([_PLACES[outcome] for outcome, _ in alike.outcomes], np.int8)[kinds]
    numbers = [
        number(protocol, cell, row, part, said, jury=jury)
        for row, (_, said) in zip(alike.first, alike.outcomes, strict=True)
    ]
    scores = np.array([np.nan if n is None else n for n in numbers])[kinds]
    for some in asked:
        yield Column(
            model=model,
            benchmark=benchmark.name,
            part=part,
            label=some.label,
            protocol=protocol.name,
            judges=tuple(judges),
            prompts=some.prompts,
            repeats=some.repeats,
            scores=scores[some.rows],
            outcomes=outcomes[some.rows],
            categories=some.categories,
            paths=tuple(cell.paths),
            offsets=some.offsets,
        )


_PLACES = {outcome: place for place, outcome in enumerate(OUTCOMES)}


class Pairs(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """The samples that two columns share: the same prompt, asked for the same time."""

    first: NDArray[np.intp]
    """Places in the first column."""
    second: NDArray[np.intp]
    """Places in the second one, pair by pair."""
    scored: NDArray[np.bool_]
    """Which pairs have a score on both sides; the others are counted, and compare nothing."""


def pairs(first: Column, second: Column) -> Pairs:
    """Pair two columns by prompt and repeat, in the order of the first one."""
    if first.prompts is second.prompts and first.repeats is second.repeats:
        every = np.arange(len(first))  # parts of the same responses
        return Pairs(first=every, second=every, scored=first.scored & second.scored)
    prompts, repeats = (
        np.concatenate([getattr(column, name) for column in (first, second)])
        for name in ("prompts", "repeats")
    )
    samples = prompts
    if repeats.any():
        numbers = np.unique(prompts, return_inverse=True)[1].astype(np.uint64)
        samples = numbers * (repeats.max() + np.uint64(1)) + repeats
    here, there = samples[: len(first)], samples[len(first) :]
    if np.array_equal(here, there):
        a = b = np.arange(len(first))
    else:
        _, a, b = np.intersect1d(here, there, return_indices=True)
        order = np.argsort(a)
        a, b = a[order], b[order]
    return Pairs(first=a, second=b, scored=first.scored[a] & second.scored[b])
