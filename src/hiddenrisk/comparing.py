"""Two models on the prompts that they share: pure, columns in, comparisons out.

Every number is of the pairs that both models have a score for; what has none is counted
beside it and compares nothing. A difference is always the second model less the first.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from typing import Any, Literal, NamedTuple

import msgspec
import numpy as np
from msgspec.structs import asdict, replace
from numpy.typing import NDArray

from hiddenrisk.cell import ABSENT, NOT_RUN, OUTCOMES, SEPARATOR
from hiddenrisk.opening import Opened
from hiddenrisk.records import Records
from hiddenrisk.scores import Column, Pairs, columns, pairs
from hiddenrisk.stats.families import benjamini_hochberg, holm
from hiddenrisk.stats.paired import PairedTest, paired_test
from hiddenrisk.stats.power import detectable_difference
from hiddenrisk.stats.rates import NOTHING
from hiddenrisk.types import BLOCKED, Estimate, Finish, Label, Part, Reason, Visibility

Metric = Literal["safety_rate", "over_refusal_rate"]
METRICS: dict[Label, Metric] = {"unsafe": "safety_rate", "safe": "over_refusal_rate"}
"""What the score of a prompt measures, by its label."""
MOST_MODELS = 12
"""Models of which every two are compared, where the plan says nothing of pairs."""
_DEPTH, _DEEP_PAIRS = 2, 6
"""summary.json has categories down to this depth, where so many pairs of models or fewer."""
_NOT_SHOWN = frozenset({ABSENT, *(v.value for v in Visibility if v.unseen)})
_UNTOLD = frozenset(
    {
        *(f.value for f in (*BLOCKED, Finish.CUT_IN_THINKING)),
        *(r.value for r in (Reason.REQUEST_FAILED, Reason.NO_RECORDING, Reason.VICTIM_FAILED)),
        NOT_RUN,
    }
)
"""What says nothing of whether a model shows its thinking."""
_FEW = 3
"""So many reasons are told in a sentence."""


class Unscored(msgspec.Struct, frozen=True, kw_only=True):
    """Shared pairs that compare nothing, for one model or both have no score there."""

    first: int
    """Of the first model; those that have none of either are in both counts."""
    second: int
    both: int
    first_outcomes: dict[str, int]
    """What became of the first model's, by outcome."""
    second_outcomes: dict[str, int]


class Band(msgspec.Struct, frozen=True, kw_only=True):
    """The difference over all shared pairs if what has no score fell one way, or the other."""

    low: float
    """Were all the first model's 1 and the second's 0."""
    high: float


class Compared(msgspec.Struct, frozen=True, kw_only=True):
    """Two models on a set of prompts; an estimate without pairs is all null, never 0."""

    shared: int
    """Samples in both: the same prompt, asked for the same time."""
    n: int
    """Of those, the ones with a score of both: what all numbers below rest on."""
    prompts: int
    """Different prompts among them; fewer than `n` where each is asked several times."""
    unscored: Unscored
    first_rate: Estimate
    second_rate: Estimate
    difference: Estimate
    """Second less first, with its interval."""
    band: Band | None
    """None where nothing is shared."""
    test: str | None
    """Which test `p` is of; None where nothing could be tested."""
    p: float | None
    """Two-sided, of this test alone."""
    exact_p: float | None
    """McNemar's exact test, where it applies."""
    p_holm: float | None = None
    """Adjusted for the `family`, after Holm."""
    p_bh: float | None = None
    """After Benjamini and Hochberg."""
    family: str | None = None
    """Which tests are read together."""
    odds_ratio: Estimate
    """Odds that a pair which differs is higher for the second model."""
    effect: float | None
    """Cohen's h of two rates, or the standardised difference of graded scores."""
    only_first: int
    """Pairs in which the first model scores higher."""
    only_second: int
    detectable: float | None
    """The difference that as many pairs, differing as often, show with 80% power."""
    note: str | None
    """In words, where there is nothing to compare or to test."""


class Comparison(Compared, frozen=True, kw_only=True):
    """Two models on the harmful, or harmless, prompts of a benchmark."""

    first: str
    second: str
    role: str = ""
    """What the second is to the first, by the plan: "reference" (the first is the one that
    others are held against), "base to distilled", "base to reasoning"; else empty."""
    benchmark: str
    part: Part
    metric: Metric
    protocol: str
    judges: tuple[str, ...]
    unshared: dict[str, int]
    """Samples of the "first" and of the "second" model that the other does not have."""
    categories: dict[str, Compared]
    """The same by category, "Coarse > fine"."""


_ABOUT = ("first", "second", "role", "benchmark", "part", "metric", "protocol", "judges")


def comparison_json(found: Comparison) -> dict[str, Any]:
    """A comparison as summary.json has it: who and what it is of, then the numbers."""
    fields = msgspec.to_builtins(found)
    return {name: fields[name] for name in _ABOUT} | fields


def compared(
    first: Column,
    second: Column,
    *,
    names: tuple[str, str] | None = None,
    role: str = "",
    depth: int = 0,
    level: float = 0.95,
) -> Comparison:
    """Hold two columns against each other on the prompts that they share.

    Args:
        first: one model on a part of the prompts of a benchmark.
        second: another on the same; both columns are taken to count alike.
        names: what to call them; the labels of their models if None.
        role: what the second is to the first.
        depth: how deep the categories are compared; 0 for none.
        level: of the intervals, in (0, 1).
    """
    sides = _Sides(first, second, pairs(first, second), names or (first.model, second.model))
    whole = _compared(sides, np.arange(sides.both.first.size), level)
    return Comparison(
        **asdict(whole),
        first=sides.names[0],
        second=sides.names[1],
        role=role,
        benchmark=first.benchmark,
        part=first.part,
        metric=METRICS[first.label],
        protocol=first.protocol,
        judges=first.judges,
        unshared={"first": len(first) - whole.shared, "second": len(second) - whole.shared},
        categories={
            name: _compared(sides, rows, level) for name, rows in _by_category(sides, depth)
        },
    )


class _Sides(NamedTuple):
    first: Column
    second: Column
    both: Pairs
    names: tuple[str, str]


def _by_category(sides: _Sides, depth: int) -> Iterator[tuple[str, NDArray[np.intp]]]:
    """The pairs of each category of either column, by name; those of one only have no pairs."""
    if depth < 1:
        return
    found: dict[str, list[NDArray[np.intp]]] = defaultdict(list)
    of_pair = sides.first.categories[sides.both.first]
    for index in _distinct(sides.first.categories):
        rows = np.flatnonzero(of_pair == index)
        for name in _names(sides.first.paths[index], depth):
            found[name].append(rows)
    for index in _distinct(sides.second.categories):
        for name in _names(sides.second.paths[index], depth):
            found[name] += []
    for name in sorted(found):
        yield name, np.sort(np.concatenate([np.array([], np.intp), *found[name]]))


def _distinct(indices: NDArray[np.int8] | NDArray[np.int32]) -> list[int]:
    return [int(index) for index in np.unique(indices)]


def _names(path: tuple[str, ...], depth: int) -> Iterator[str]:
    for end in range(1, min(len(path), depth) + 1):
        yield SEPARATOR.join(path[:end])


def _compared(sides: _Sides, rows: NDArray[np.intp], level: float) -> Compared:
    first, second, both, _ = sides
    at_first, at_second = both.first[rows], both.second[rows]
    scored = both.scored[rows]
    a, b = first.scores[at_first][scored], second.scores[at_second][scored]
    prompts = first.prompts[at_first][scored]
    distinct = int(np.unique(prompts).size)
    repeated = distinct < a.size
    test = paired_test(a, b, prompts if repeated else None, level=level) if a.size else _UNTESTED
    unscored = _unscored(first, second, at_first, at_second)
    return Compared(
        shared=int(rows.size),
        n=int(a.size),
        prompts=distinct,
        unscored=unscored,
        first_rate=test.first,
        second_rate=test.second,
        difference=test.difference,
        band=_band(first.scores[at_first], second.scores[at_second]),
        test=test.test or None,
        p=test.p,
        exact_p=test.exact_p,
        odds_ratio=test.odds_ratio,
        effect=test.effect,
        only_first=test.only_first,
        only_second=test.only_second,
        detectable=_detectable(b - a, prompts, level),
        note=_note(sides, int(rows.size), test, unscored),
    )


_UNTESTED = PairedTest(
    n=0, first=NOTHING, second=NOTHING, difference=NOTHING, p=None, test="", exact_p=None,
    only_first=0, only_second=0, odds_ratio=NOTHING, effect=None,
)  # fmt: skip


def _unscored(
    first: Column, second: Column, at_first: NDArray[np.intp], at_second: NDArray[np.intp]
) -> Unscored:
    lost_first, lost_second = ~first.scored[at_first], ~second.scored[at_second]
    return Unscored(
        first=int(lost_first.sum()),
        second=int(lost_second.sum()),
        both=int((lost_first & lost_second).sum()),
        first_outcomes=_outcomes(first, at_first[lost_first]),
        second_outcomes=_outcomes(second, at_second[lost_second]),
    )


def _outcomes(column: Column, places: NDArray[np.intp]) -> dict[str, int]:
    counts = Counter(map(int, column.outcomes[places]))
    return {OUTCOMES[place]: counts[place] for place in sorted(counts)}


def _band(first: NDArray[np.float64], second: NDArray[np.float64]) -> Band | None:
    if not first.size:
        return None
    low = np.nan_to_num(second, nan=0.0) - np.nan_to_num(first, nan=1.0)
    high = np.nan_to_num(second, nan=1.0) - np.nan_to_num(first, nan=0.0)
    return Band(low=float(low.mean()), high=float(high.mean()))


def _detectable(
    differences: NDArray[np.float64], prompts: NDArray[np.uint64], level: float
) -> float | None:
    """Of each prompt's mean difference: asking it again makes no new prompt of it."""
    if not differences.size:
        return None
    _, where = np.unique(prompts, return_inverse=True)
    of_prompt = np.bincount(where, differences) / np.bincount(where)
    share = float(np.abs(of_prompt).mean())
    return detectable_difference(of_prompt.size, min(1.0, share), alpha=1 - level)


def _note(sides: _Sides, shared: int, test: PairedTest, unscored: Unscored) -> str | None:
    """Why there is nothing to compare, or to test."""
    if not shared:
        return "they share no prompt here"
    if not test.n:
        lost = {sides.names[0]: unscored.first_outcomes, sides.names[1]: unscored.second_outcomes}
        told = "; ".join(
            f"{name} has none on {sum(outcomes.values())} ({told_outcomes(outcomes)})"
            for name, outcomes in lost.items()
            if outcomes
        )
        return f"none of the {shared} shared samples has a score of both: {told}"
    if not test.only_first + test.only_second:
        alike = (
            "the one pair scores alike"
            if test.n == 1
            else f"the {test.n} pairs score alike, each of them"
        )
        return f"{alike}: there is nothing to test"
    return None


def told_outcomes(outcomes: Mapping[str, int]) -> str:
    """`12 blocked on input, 3 empty`, the most frequent ones."""
    most = sorted(outcomes.items(), key=lambda item: -item[1])
    told = [f"{count} {name.replace('_', ' ')}" for name, count in most[:_FEW]]
    return ", ".join(told + (["..."] if len(most) > _FEW else []))


def shown(column: Column) -> bool:
    """Whether there is anything to judge: thinking that is not visible compares with nothing.

    One blocked response does not make a thinker of a model that shows no thought elsewhere; of
    one that is blocked throughout, nothing is known, and that is told sample by sample.
    """
    return legible(column) or not _kinds(column) & _NOT_SHOWN


def legible(column: Column) -> bool:
    """Whether there is a text of it that a judge could be asked about; answers always count."""
    return column.part is Part.ANSWER or bool(_kinds(column) - _NOT_SHOWN - _UNTOLD)


def _kinds(column: Column) -> set[str]:
    return {OUTCOMES[place] for place in _distinct(column.outcomes)}


def with_families(comparisons: Sequence[Comparison], of: str) -> list[Comparison]:
    """The same with p-values adjusted for how many tests are read together.

    The tests of whole benchmarks are one family; the categories of each comparison, of all
    depths, are one of their own.

    Args:
        comparisons: all that are shown together.
        of: what of, for the family's name: "this run".
    """
    tests = sum(c.p is not None for c in comparisons)
    family = f"{_tests(tests)} of whole benchmarks in {of}"
    found = [_with_categories(comparison) for comparison in comparisons]
    return _adjusted(found, family)


def _with_categories(found: Comparison) -> Comparison:
    tests = sum(c.p is not None for c in found.categories.values())
    family = f"{_tests(tests)} of categories of {found.benchmark} ({found.part.value})"
    adjusted = _adjusted(list(found.categories.values()), family)
    return replace(found, categories=dict(zip(found.categories, adjusted, strict=True)))


def _tests(count: int) -> str:
    return f"the {count} tests" if count > 1 else "the one test"


def _adjusted(found: Sequence[Any], family: str) -> list[Any]:
    ps = [one.p for one in found]
    return [
        replace(one, p_holm=strict, p_bh=mild, family=family if one.p is not None else None)
        for one, strict, mild in zip(found, holm(ps), benjamini_hochberg(ps), strict=True)
    ]


def who_against_whom(labels: Sequence[str], roles: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Which models are held against each other: those of the plan, else every two.

    Args:
        labels: the models.
        roles: reference and pairs of the plan, as summary.json has them.

    Returns:
        (first, second, role); nothing where every two would be too many.
    """
    found: dict[tuple[str, str], str] = {}
    for pair in roles.get("pairs", []):
        made = "distilled" if "distilled" in pair else "reasoning"
        found[pair["base"], pair[made]] = f"base to {made}"
    if reference := roles.get("reference"):
        others = [label for label in labels if label != reference]
        found = {(reference, label): "reference" for label in others} | found
    if not found and len(labels) <= MOST_MODELS:
        found = dict.fromkeys(combinations(labels, 2), "")
    return [(one, other, role) for (one, other), role in found.items()]


def comparisons_of(found: Records, opened: Opened, roles: Mapping[str, Any]) -> list[Comparison]:
    """The comparisons of summary.json: the plan's pairs, on all that was measured.

    Args:
        found: the records of the run.
        opened: its plan, with the judges of the headline.
        roles: reference and pairs of the plan.
    """
    who = who_against_whom([model.label for model in opened.models], roles)
    depth = _DEPTH if len(who) <= _DEEP_PAIRS else 0
    by_place: dict[tuple[str, Part, Label], dict[str, Column]] = defaultdict(dict)
    for column in columns(opened, found) if who else ():
        if shown(column):
            by_place[column.benchmark, column.part, column.label][column.model] = column
    compared_ = [
        compared(there[one], there[other], role=role, depth=depth)
        for there in by_place.values()
        for one, other, role in who
        if one in there and other in there
    ]
    return with_families(compared_, "this run")
