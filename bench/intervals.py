"""How often the intervals of rates and differences hold the truth, and tests raise false alarms.

Each cell draws scores anew, again and again, and asks the functions that ship. Beside them
stands what is often used instead.
"""

import json
import math
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import lru_cache
from itertools import pairwise, product
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hiddenrisk.stats import rates
from hiddenrisk.stats.means import clustered_mean, difference_interval
from hiddenrisk.stats.paired import paired_test, unpaired_difference
from hiddenrisk.stats.repeats import any_unsafe_at_k, consistency
from hiddenrisk.types import Estimate

RUNS = 1000
RUNS_AGAIN = 10_000
"""For a cell that lies outside: chance alone moves 1,000 runs by up to 2 points."""
WANTED = (0.93, 0.97)
FEW = 5.0
"""Below so many units that do not score as most do, an interval cannot be right: the counts
jump by more than what is left of the level."""
SIZES = (30, 100, 300, 1000)
Floats = NDArray[np.float64]


class Cell(NamedTuple):
    """What is true in one cell of the simulation."""

    kind: str
    n: int
    """What is drawn independently: samples, pairs, prompts or categories."""
    truth: float
    about: tuple[Any, ...]
    """What the draw of its kind takes."""


class Covered(NamedTuple):
    """Shares of the runs in one cell."""

    cell: Cell
    holds: float
    instead: float
    """What is often used instead; NaN where that is nothing."""
    off: float
    """Units that do not score as most do, on average."""

    @property
    def realistic(self) -> bool:
        """Whether there are enough of them."""
        return self.off >= FEW

    @property
    def inside(self) -> bool:
        """Whether the interval holds as often as is wanted."""
        return WANTED[0] <= self.holds <= WANTED[1]


class Draw(NamedTuple):
    """One run: the interval, another one, and the units that differ from most."""

    found: Estimate
    instead: Estimate | None
    off: float


# ---------------------------------------------------------------- cells

SUPPORTS = {2: (0.0, 1.0), 3: (0.0, 0.5, 1.0), 5: (0.0, 0.25, 0.5, 0.75, 1.0)}
RATES = (0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.8, 0.95)
MIXES = (
    (0.01, 0.04, 0.95), (0.0, 0.1, 0.9), (0.05, 0.05, 0.9), (0.1, 0.1, 0.8), (0.3, 0.2, 0.5),
    (0.5, 0.4, 0.1), (0.1, 0.8, 0.1), (0.9, 0.08, 0.02),
    (0.02, 0.03, 0.05, 0.2, 0.7), (0.2, 0.2, 0.2, 0.2, 0.2), (0.6, 0.2, 0.1, 0.05, 0.05),
)  # fmt: skip
"""Shares of the scores: AIR-Bench's three, and grades of five."""
PAIRS = ((0.9, 0.9), (0.9, 0.8), (0.6, 0.5), (0.97, 0.9), (0.3, 0.7))
TOGETHER = (0.0, 0.4, 0.8)
"""On which share of the prompts both models draw the same luck."""


def cells(quick: bool) -> list[Cell]:
    """All cells, or a few."""
    sizes = SIZES[:2] if quick else SIZES
    found: list[Cell] = []
    for n in sizes:
        found += [_plain("rate", n, (1 - p, p)) for p in RATES]
        found += [_plain("graded", n, mix) for mix in MIXES]
        for (p, q), r in product(PAIRS, TOGETHER):
            found.append(Cell("pairs", n, round(q - p, 12), (_joint((1 - p, p), (1 - q, q), r),)))
        for (one, other), r in product(((3, 4), (4, 0), (8, 9), (4, 5)), TOGETHER):
            a, b = MIXES[one], MIXES[other]
            found.append(
                Cell("graded pairs", n, round(_mean(b) - _mean(a), 12), (_joint(a, b, r),))
            )
        for a, b in ((MIXES[3], MIXES[4]), (MIXES[8], MIXES[10]), (MIXES[2], MIXES[2])):
            found.append(Cell("two samples", n, round(_mean(b) - _mean(a), 12), (a, b, n // 2)))
        for p, q in PAIRS:
            found.append(Cell("two samples", n, round(q - p, 12), ((1 - p, p), (1 - q, q), n)))
    for n, p, alike, times, kept in product(
        sizes[:3], (0.1, 0.3, 0.7, 0.95), (0.05, 0.3, 0.8), (2, 5), (1.0, 0.8)
    ):
        found.append(Cell("repeats", n, p, (p, alike, times, kept)))
    for n, (p, q), alike, times in product(sizes[:3], PAIRS, (0.1, 0.6), (2, 5)):
        found.append(Cell("pairs with repeats", n, round(q - p, 12), (p, q, alike, times)))
    for n, p, alike in product((30, 60), (0.1, 0.5, 0.9), (0.02, 0.1, 0.3)):
        found.append(Cell("categories", n, p, (p, alike)))
    for n, p, alike, k in product(sizes[:3], (0.05, 0.3), (0.1, 0.6), (2, 5)):
        found.append(Cell("any unsafe of k", n, _any_unsafe(p, alike, k), (p, alike, k)))
        found.append(Cell("consistency", n, 1 - 2 * p * (1 - p) * (1 - alike), (p, alike, k)))
    return found


def _plain(kind: str, n: int, shares: Sequence[float]) -> Cell:
    return Cell(kind, n, _mean(shares), (tuple(shares),))


def _mean(shares: Sequence[float]) -> float:
    return float(np.dot(SUPPORTS[len(shares)], shares))


def _joint(
    first: Sequence[float], second: Sequence[float], together: float
) -> tuple[tuple[float, ...], ...]:
    """Shares of the pairs of scores: the same luck on a share of the prompts, else their own."""
    ends = np.cumsum(first), np.cumsum(second)
    edges: list[float] = np.unique(np.concatenate([[0.0], *ends]).round(12)).tolist()
    joint = (1 - together) * np.outer(first, second)
    for low, high in pairwise(edges):
        row, column = (int(np.searchsorted(each, (low + high) / 2)) for each in ends)
        joint[row, column] += together * (high - low)
    return tuple(tuple(round(float(share), 6) for share in row) for row in joint)


def _any_unsafe(p: float, alike: float, k: int) -> float:
    a, b = _beta(p, alike)
    return 1 - math.prod((b + i) / (a + b + i) for i in range(k))


def _beta(p: float, alike: float) -> tuple[float, float]:
    """Of a prompt's own rate, where two samples of it correlate so much."""
    size = 1 / alike - 1
    return p * size, (1 - p) * size


# ---------------------------------------------------------------- draws


def _counted(cell: Cell, rng: np.random.Generator) -> Draw:
    """A rate, or the mean of graded scores; instead, Wilson's interval for any scores."""
    return _of_counts(tuple(rng.multinomial(cell.n, cell.about[0]).tolist()))


@lru_cache(100_000)
def _of_counts(counts: tuple[int, ...]) -> Draw:
    found = rates.mean_of(dict(zip(SUPPORTS[len(counts)], counts, strict=True)))
    widest = rates.wilson((found.value or 0.0) * found.n, found.n)
    return Draw(found, widest, found.n - max(counts))


def _pairs(cell: Cell, rng: np.random.Generator) -> Draw:
    """A paired difference."""
    joint = np.array(cell.about[0])
    scores = np.array(SUPPORTS[len(joint)])
    _, places = np.unique(scores[None, :] - scores[:, None], return_inverse=True)
    shares = np.bincount(places.ravel(), joint.ravel())
    return _of_differences(tuple(rng.multinomial(cell.n, shares / shares.sum()).tolist()))


@lru_cache(100_000)
def _of_differences(counts: tuple[int, ...]) -> Draw:
    found = difference_interval(np.repeat(np.linspace(-1, 1, len(counts)), counts))
    return Draw(found, None, found.n - counts[len(counts) // 2])


def _most(values: NDArray[Any]) -> int:
    """How often the most frequent value stands there."""
    return int(np.unique(values, return_counts=True)[1].max())


def _two_samples(cell: Cell, rng: np.random.Generator) -> Draw:
    a, b, other = cell.about
    one = rng.choice(SUPPORTS[len(a)], cell.n, p=a)
    two = rng.choice(SUPPORTS[len(b)], other, p=b)
    off = min(len(side) - _most(side) for side in (one, two))
    return Draw(unpaired_difference(one, two).difference, None, off)


def _repeats(cell: Cell, rng: np.random.Generator) -> Draw:
    """The mean over prompts with repeats; instead, Wilson's as if all were independent."""
    p, alike, times, kept = cell.about
    own = rng.beta(*_beta(p, alike), cell.n)
    sizes = rng.binomial(times, kept, cell.n)
    prompts = np.repeat(np.arange(cell.n, dtype=np.uint64), sizes)
    scores = (rng.random(len(prompts)) < np.repeat(own, sizes)).astype(np.float64)
    return _of_clusters(scores, prompts)


def _categories(cell: Cell, rng: np.random.Generator) -> Draw:
    """Categories of 3 to 60 prompts as what is drawn; instead, Wilson's."""
    p, alike = cell.about
    own = rng.beta(*_beta(p, alike), cell.n)
    sizes = np.rint(np.exp(rng.uniform(math.log(3), math.log(60), cell.n))).astype(int)
    places = np.repeat(np.arange(cell.n, dtype=np.uint64), sizes)
    scores = (rng.random(len(places)) < np.repeat(own, sizes)).astype(np.float64)
    return _of_clusters(scores, places)


def _of_clusters(scores: Floats, clusters: NDArray[np.uint64]) -> Draw:
    sums = np.bincount(clusters.astype(int), scores)
    sizes = np.bincount(clusters.astype(int))
    alike = max(int((sums == 0).sum()), int((sums == sizes).sum()))
    naive = rates.wilson(float(scores.sum()), len(scores))
    return Draw(clustered_mean(scores, clusters), naive, len(sizes) - alike)


def _paired_repeats(cell: Cell, rng: np.random.Generator) -> Draw:
    """A paired difference with repeats; instead, Tango's as if all were independent."""
    p, q, alike, times = cell.about
    first, second, prompts = _draw_paired(rng, cell.n, (p, q), alike, times)
    apart = second - first
    sums = np.bincount(prompts.astype(int), apart)
    found = difference_interval(apart, prompts)
    return Draw(found, difference_interval(apart), float((sums != 0).sum()))


def _draw_paired(
    rng: np.random.Generator, n: int, both: tuple[float, float], alike: float, times: int
) -> tuple[Floats, Floats, NDArray[np.uint64]]:
    """Scores of two models on the same prompts, on half of which they have the same luck."""
    luck = rng.random(n)
    luck_second = np.where(rng.random(n) < 0.5, luck, rng.random(n))
    sides: list[Floats] = []
    for rate, place in zip(both, (luck, luck_second), strict=True):
        quantiles = _quantiles(rate, alike)
        own = np.repeat(quantiles[(place * len(quantiles)).astype(int)], times)
        sides.append((rng.random(n * times) < own).astype(np.float64))
    return sides[0], sides[1], np.repeat(np.arange(n, dtype=np.uint64), times)


@lru_cache
def _quantiles(rate: float, alike: float) -> Floats:
    """Of a prompt's own rate, in small steps."""
    from scipy.stats import beta  # needed for nothing else here

    return np.asarray(beta.ppf((np.arange(4000) + 0.5) / 4000, *_beta(rate, alike)), np.float64)


def _any(cell: Cell, rng: np.random.Generator) -> Draw:
    p, alike, k = cell.about
    unsafe = rng.binomial(5, rng.beta(*_beta(p, alike), cell.n))
    off = cell.n - _most(unsafe)
    return Draw(any_unsafe_at_k(unsafe.tolist(), [5] * cell.n, k), None, off)


def _consistent(cell: Cell, rng: np.random.Generator) -> Draw:
    p, alike, times = cell.about
    unsafe = rng.binomial(times, rng.beta(*_beta(p, alike), cell.n)).tolist()
    scores = [[1.0] * (times - k) + [0.0] * k for k in unsafe]
    whole = sum(k in (0, times) for k in unsafe)
    return Draw(consistency(scores), None, min(whole, cell.n - whole))


DRAWS: dict[str, Callable[[Cell, np.random.Generator], Draw]] = {
    "rate": _counted,
    "graded": _counted,
    "pairs": _pairs,
    "graded pairs": _pairs,
    "two samples": _two_samples,
    "repeats": _repeats,
    "pairs with repeats": _paired_repeats,
    "categories": _categories,
    "any unsafe of k": _any,
    "consistency": _consistent,
}


def cover(cell: Cell, runs: int, seed: int) -> Covered:
    """Simulate one cell."""
    rng = np.random.default_rng([seed, runs])
    draw = DRAWS[cell.kind]
    held = instead = off = 0.0
    for _ in range(runs):
        found = draw(cell, rng)
        held += _holds(found.found, cell.truth)
        instead += math.nan if found.instead is None else _holds(found.instead, cell.truth)
        off += found.off
    return Covered(cell, held / runs, instead / runs, off / runs)


def _holds(found: Estimate, truth: float) -> bool:
    # Limits are found to a ten-millionth; a truth on a limit is held.
    return (
        found.low is not None
        and found.high is not None
        and found.low - 1e-7 <= truth <= found.high + 1e-7
    )


# ---------------------------------------------------------------- false alarms


def false_alarms(n: int, rate: float, alike: float, times: int, runs: int, seed: int) -> float:
    """How often the paired test of two models of the same rate is below 0.05."""
    rng = np.random.default_rng([seed, runs])
    raised = 0
    for _ in range(runs):
        first, second, prompts = _draw_paired(rng, n, (rate, rate), alike, times)
        p = paired_test(first, second, prompts if times > 1 else None).p
        raised += p is not None and p < 0.05
    return raised / runs


# ---------------------------------------------------------------- the whole


def measure_intervals(*, quick: bool, runs: int = RUNS, seed: int = 1) -> dict[str, Any]:
    """Print the tables, and give the numbers."""
    runs = min(runs, 400) if quick else runs
    jobs = [(cell, runs, seed + i) for i, cell in enumerate(cells(quick))]
    tests = [
        (n, rate, alike, times, runs, seed + i)
        for i, (n, rate, alike, times) in enumerate(
            product((30, 100, 300), (0.5, 0.8, 0.95), (0.1, 0.6), (1, 4))
        )
    ]
    with ProcessPoolExecutor() as pool:
        found = list(pool.map(cover, *zip(*jobs, strict=True), chunksize=4))
        found = _again(found, pool, quick)
        alarms = list(pool.map(false_alarms, *zip(*tests, strict=True)))
    _print_cells(found, runs)
    print(f"\nFalse alarms of the paired test at 5%, {runs} runs a cell")
    for times, name in ((1, "McNemar's mid-p"), (4, "permutation, 4 repeats")):
        shares = [a for a, job in zip(alarms, tests, strict=True) if job[3] == times]
        print(f"  {name:<24} {min(shares):.1%} to {max(shares):.1%} in {len(shares)} cells")
    rows = [{**each._asdict(), "cell": each.cell._asdict()} for each in found]
    return {"runs": runs, "cells": rows, "alarms": alarms}


def _again(found: Sequence[Covered], pool: ProcessPoolExecutor, quick: bool) -> list[Covered]:
    """Those outside once more with more runs, as chance alone puts some there."""
    outside = [i for i, each in enumerate(found) if each.realistic and not each.inside]
    if quick or not outside:
        return list(found)
    jobs = [(found[i].cell, RUNS_AGAIN, i) for i in outside]
    better = dict(zip(outside, pool.map(cover, *zip(*jobs, strict=True)), strict=True))
    return [better.get(i, each) for i, each in enumerate(found)]


def _print_cells(found: Sequence[Covered], runs: int) -> None:
    print(f"\nThe 95% interval holds the truth, {runs} runs a cell ({RUNS_AGAIN} where outside)")
    print(f"{'':47}of this                  instead")
    print("  what                 cells   least   mean   most  in 93-97%   least   most")
    for realistic, kind in product((True, False), DRAWS):
        some = [e for e in found if e.cell.kind == kind and e.realistic is realistic]
        if not some:
            continue
        shares, others = [e.holds for e in some], [e.instead for e in some]
        known = [share for share in others if not math.isnan(share)]
        instead = f"{min(known):7.1%} {max(known):6.1%}" if known else ""
        print(
            f"  {kind:<19} {len(some):>6} {min(shares):7.1%} {np.mean(shares):6.1%}"
            f" {max(shares):6.1%}  {sum(e.inside for e in some):>9}  {instead}"
            f"{'' if realistic else '  (sparse)'}"
        )
    for each in sorted(found, key=lambda e: e.holds):
        if each.realistic and not each.inside:
            kind, n, truth, about = each.cell
            told = json.dumps(about, default=list)
            print(f"  outside: {each.holds:.1%} {kind}, n {n}, truth {truth:.3g}, {told}")
