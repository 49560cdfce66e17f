"""Comparisons that bear on a question, each with its test."""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from hiddenrisk.cell import ABSENT, OUTCOMES, SCORED_OUTCOMES
from hiddenrisk.scores import Column, Pairs, pairs
from hiddenrisk.stats.paired import paired_test
from hiddenrisk.types import Estimate, Visibility

Scores = NDArray[np.float64]


class Tested(msgspec.Struct, frozen=True, kw_only=True):
    """A comparison: what was found on either side, and what a test makes of it."""

    first: str
    second: str
    model: str | None = None
    """Where both sides are of one model."""
    benchmark: str
    part: str
    measure: str
    """What is compared: "safety_rate", "unsafe_when_noticed", "skill", or a reward model."""
    protocol: str | None
    judges: tuple[str, ...]
    n: int
    """Pairs with a score on both sides; of unpaired sides, samples of both together."""
    shared: int | None = None
    """Pairs, with a score or without; None where nothing is paired."""
    first_rate: Estimate
    second_rate: Estimate
    difference: Estimate
    """The second less the first."""
    p: float | None
    """Two-sided, of no difference, not corrected."""
    test: str
    smallest: float | None
    """The smallest difference that matters, in the unit of the difference."""
    discordant: float | None = None
    """Mean size of the difference in a pair: of 0/1 scores, the share of pairs that differ.
    None where prompts were asked several times."""
    note: str = ""
    """What a reader of this comparison must know."""


class Contest(NamedTuple):
    """Two columns that are held against each other, and what their sides are called."""

    first: Column
    second: Column
    names: tuple[str, str]
    model: str | None
    """Where both sides are of one model."""
    part: str
    both: Pairs


def between_models(first: Column, second: Column) -> Contest:
    """The same part of two models."""
    names = (first.model, second.model)
    return Contest(first, second, names, None, first.part.value, pairs(first, second))


def within_model(first: Column, second: Column) -> Contest:
    """Two parts of the same responses."""
    names = (first.part.value, second.part.value)
    return Contest(first, second, names, first.model, "both", pairs(first, second))


def result_of(contest: Contest, smallest: float) -> Tested:
    """The second column against the first on the pairs that have a score on both sides."""
    first, second, _, _, _, both = contest
    a, b = first.scores[both.first], second.scores[both.second]
    scored = ~(np.isnan(a) | np.isnan(b))
    a, b = a[scored], b[scored]
    repeated = first.repeats.size and int(first.repeats.max()) > 0
    clusters = first.prompts[both.first][scored] if repeated else None
    found = paired_test(a, b, clusters)
    shared = len(both.first)
    return Tested(
        first=contest.names[0],
        second=contest.names[1],
        model=contest.model,
        benchmark=first.benchmark,
        part=contest.part,
        measure="safety_rate",
        protocol=first.protocol,
        judges=first.judges,
        n=found.n,
        shared=shared,
        first_rate=found.first,
        second_rate=found.second,
        difference=found.difference,
        p=found.p,
        test=found.test,
        smallest=smallest,
        discordant=float(np.abs(b - a).mean()) if len(a) and not repeated else None,
        note="" if found.n else _why_nothing(contest),
    )


def _why_nothing(contest: Contest) -> str:
    """Why no pair of a contest has a score on both sides."""
    if not len(contest.both.first):
        return "no prompt is shared"
    said: list[str] = []
    sides = ((contest.first, contest.both.first), (contest.second, contest.both.second))
    for name, (column, places) in zip(contest.names, sides, strict=True):
        if not column.scored[places].any():
            counts = Counter(outcomes_of(column.outcomes[places])).most_common(_FEW)
            what = ", ".join(f"{n:,} {outcome.replace('_', ' ')}" for outcome, n in counts)
            said.append(f"{name} has no score ({what})")
    return "; ".join(said) or "no shared prompt has a score on both sides"


_FEW = 3


def outcomes_of(codes: NDArray[np.int8]) -> dict[str, int]:
    """How often each outcome is among these, given as indices into `cell.OUTCOMES`."""
    counts = np.bincount(codes, minlength=len(OUTCOMES))
    return {name: int(n) for name, n in zip(OUTCOMES, counts, strict=True) if n}


# ---------------------------------------------------------------- what if an outcome counted

_NO_CLASS = SCORED_OUTCOMES | {ABSENT, *(v.value for v in Visibility if v.unseen)}
"""A whole answer counts by its verdict, which is no choice; what nobody saw counts as nothing."""


def classes(contests: Iterable[Contest]) -> dict[str, int]:
    """The outcomes whose counting is a choice, and how many samples have each."""
    columns = {id(c): c for contest in contests for c in contest[:2]}
    counts: Counter[str] = Counter()
    for column in columns.values():
        counts.update(outcomes_of(column.outcomes))
    return {name: counts[name] for name in OUTCOMES if counts[name] and name not in _NO_CLASS}


def as_if(contest: Contest, outcome: str, score: float) -> Contest:
    """The same contest, had samples with this outcome this score (NaN: none)."""
    first, second = (_as_if(column, outcome, score) for column in contest[:2])
    return contest._replace(first=first, second=second)


def _as_if(column: Column, outcome: str, score: float) -> Column:
    inside = column.outcomes == OUTCOMES.index(outcome)
    if not inside.any():
        return column
    return msgspec.structs.replace(column, scores=np.where(inside, score, column.scores))


def is_counted(contests: Sequence[Contest], outcome: str) -> bool:
    """Whether any sample with this outcome has a score in the headline."""
    code = OUTCOMES.index(outcome)
    return any(
        bool((column.scored & (column.outcomes == code)).any())
        for contest in contests
        for column in contest[:2]
    )
