"""What there is of a model and its baseline: on each benchmark, and on each category of it."""

from collections.abc import Iterator, Sequence

import msgspec
import numpy as np

from hiddenrisk.cell import SEPARATOR
from hiddenrisk.comparing import Compared, Comparison, compared, legible, shown
from hiddenrisk.plan import selected
from hiddenrisk.scores import Column
from hiddenrisk.sides import KINDS, Pairing, Place, StoredRun, columns_of
from hiddenrisk.types import Part

_LET_THROUGH = 'let it through (a rule with undecided = "skip")'


class Seen(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """What there is of a model and its baseline on one set of prompts."""

    pairing: Pairing
    place: Place
    category: str | None
    pair: Compared | None
    """None where one side has nothing."""
    why_not: str | None
    """Why there is no pair, in words."""
    own: Column | None
    """The model's samples of the category."""
    theirs: Column | None
    planned: int
    """The model's samples, those that were not run too."""


def what_there_is(
    pairing: Pairing, place: Place, depth: int, level: float, notes: dict[str, None]
) -> Iterator[Seen]:
    """The whole of a place, then its categories."""
    theirs, own = (_shown(side.columns.get(place)) for side in (pairing.first, pairing.second))
    if not any(column is not None and legible(column) for column in (own, theirs)):
        return  # thinking that neither shows, or that nobody judged
    why_not = _why_not(pairing, place, theirs, own)
    pair: Comparison | None = None
    if own is not None and theirs is not None:
        theirs, own = columns_of(pairing, place, notes)
        pair = compared(theirs, own, names=pairing.names, depth=depth, level=level)
        if (left := pair.unshared["first"]) and pair.shared:
            notes[
                f"{place[0]}, {place[1].value}, {KINDS[place[2]]} prompts: {left} of "
                f"{len(theirs)} samples of {pairing.names[0]} are not in {pairing.names[1]}, and "
                "take no part"
            ] = None
    planned = _planned(pairing.second.run, place, own)
    yield Seen(
        pairing=pairing, place=place, category=None, pair=pair, why_not=why_not,
        own=own, theirs=theirs, planned=planned,
    )  # fmt: skip
    for category in _categories([own, theirs], depth):
        mine, others = (_within(column, category) for column in (own, theirs))
        yield Seen(
            pairing=pairing, place=place, category=category, why_not=why_not,
            pair=pair.categories.get(category) if pair else None,
            own=mine, theirs=others, planned=0 if mine is None else len(mine),
        )  # fmt: skip


def _shown(column: Column | None) -> Column | None:
    return column if column is not None and shown(column) else None


def _why_not(
    pairing: Pairing, place: Place, theirs: Column | None, own: Column | None
) -> str | None:
    for name, column, side in (
        (pairing.names[0], theirs, pairing.first),
        (pairing.names[1], own, pairing.second),
    ):
        if column is None and place[0] not in side.run.facts:
            return f"{name} was not asked {place[0]}: assess it on that too, or {_LET_THROUGH}"
        if column is None and place[1] is Part.THINKING:
            return (
                f"{name} shows no thinking here, or none that was judged: judge it, "
                f'check answers alone (rules with part = "answer"), or {_LET_THROUGH}'
            )
        if column is None:
            return f"{name} has no answers here that were judged: judge them, or {_LET_THROUGH}"
    return None


def _planned(run: StoredRun, place: Place, own: Column | None) -> int:
    """How many samples the model's run was to have; more than it has where some were not run."""
    there = 0 if own is None else len(own)
    benchmark = next((b for b in run.opened.benchmarks if b.name == place[0]), None)
    if benchmark is None:
        return there
    wanted = sum(prompt.label == place[2] for prompt, _ in selected(benchmark, run.opened.plan))
    return max(there, wanted)


def _categories(sides: Sequence[Column | None], depth: int) -> list[str]:
    found: set[tuple[str, ...]] = set()
    for column in sides:
        if column is None:
            continue
        for path in (column.paths[int(index)] for index in np.unique(column.categories)):
            found |= {path[:end] for end in range(1, min(len(path), depth) + 1)}
    return [SEPARATOR.join(path) for path in sorted(found)]


def _within(column: Column | None, category: str) -> Column | None:
    """A column's samples of one category; None where there are none."""
    if column is None:
        return None
    steps = tuple(category.split(SEPARATOR))
    inside = [i for i, path in enumerate(column.paths) if path[: len(steps)] == steps]
    rows = np.flatnonzero(np.isin(column.categories, inside))
    if not rows.size:
        return None
    arrays = ("prompts", "repeats", "scores", "outcomes", "categories", "offsets")
    return msgspec.structs.replace(column, **{name: getattr(column, name)[rows] for name in arrays})
