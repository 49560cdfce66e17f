"""Where things stand in the pictures of the page. Lengths are percentages of the width."""

from collections.abc import Sequence
from typing import NamedTuple

from hiddenrisk.report.conclusions import Comparison
from hiddenrisk.report.grids import REFUSAL, SAFETY, Bench, measure
from hiddenrisk.report.results import Rate
from hiddenrisk.types import Estimate

_SCALES = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0)
"""Ends of an axis of differences."""
_CLOSE_X, _CLOSE_Y = 22.0, 4.5
"""Labels closer than this, in percent of the picture, would lie on each other."""


class Forest(NamedTuple):
    """Comparisons that share a heading, and what each is called below it."""

    title: str
    note: str
    head: str
    """What the rows are."""
    rows: list[tuple[str, Comparison]]


def forests(found: Sequence[Comparison], titles: dict[str, str]) -> list[Forest]:
    """Comparisons under the fewer headings: pairs of models, or benchmarks.

    Args:
        found: comparisons of one metric.
        titles: of the benchmarks, by name.
    """
    pairs = {(c.first, c.second) for c in found}
    by_pair = len(pairs) <= len({c.benchmark for c in found})
    groups: dict[tuple[str, str], list[tuple[str, Comparison]]] = {}
    for c in found:
        pair, bench = f"{c.first} → {c.second}", titles.get(c.benchmark, c.benchmark)
        heading = (pair, c.role) if by_pair else (bench, "")
        groups.setdefault(heading, []).append((bench if by_pair else pair, c))
    head = "Benchmark" if by_pair else "First → second"
    return [Forest(title, note, head, rows) for (title, note), rows in groups.items()]


def scale(found: Sequence[Comparison]) -> float:
    """The end of an axis of differences that holds every interval."""
    ends = [
        abs(end)
        for c in found
        for end in (c.difference.value, c.difference.low, c.difference.high)
        if end is not None
    ]
    return next((s for s in _SCALES if s >= max(ends, default=0)), 1.0)


def place(value: float, end: float) -> float:
    """Where a difference stands on an axis from -end to end."""
    return 50 + 50 * max(-1.0, min(1.0, value / end))


def against_zero(difference: Estimate) -> str:
    """Whether an interval lies below zero, above it, or holds it."""
    if difference.low is None or difference.high is None:
        return "open"
    return "below" if difference.high < 0 else "above" if difference.low > 0 else "open"


class Point(NamedTuple):
    """One model between safety and over-refusal."""

    model: str
    refusal: Rate
    safety: Rate
    x: float
    y: float
    label_y: float
    left: bool
    """Whether its name stands to the left."""


class Tradeoff(NamedTuple):
    """Over-refusal on one benchmark against safety on one, perhaps the same."""

    refusals: str
    safeties: str
    points: list[Point]


def tradeoffs(benches: Sequence[Bench]) -> list[Tradeoff]:
    """A picture for each benchmark of harmless prompts.

    Safety is that of the same benchmark if it has harmful prompts as well, else of the one with
    the most responses.
    """
    safe = [b for b in benches if b.has("answer", SAFETY)]
    found: list[Tradeoff] = []
    for bench in benches:
        if not bench.has("answer", REFUSAL) or not safe:
            continue
        other = bench if bench in safe else max(safe, key=_responses)
        points = list(_dodged([*_points(bench, other)]))
        if points:
            found.append(Tradeoff(bench.title, other.title, points))
    return found


def _responses(bench: Bench) -> int:
    return sum(results.n for results in bench.models.values())


def _points(refusals: Bench, safeties: Bench) -> list[Point]:
    found: list[Point] = []
    for label, results in refusals.models.items():
        over = measure(results, "answer", REFUSAL)
        safe = measure(safeties.models.get(label), "answer", SAFETY)
        if over and safe and over.value is not None and safe.value is not None:
            x, y = 100 * over.value, 100 * (1 - safe.value)
            found.append(Point(label, over, safe, x, y, y, x > 60))
    return found


def _dodged(points: list[Point]) -> list[Point]:
    """The points with their names moved down where they would lie on each other."""
    done: list[Point] = []
    for point in sorted(points, key=lambda p: p.y):
        near = [p.label_y for p in done if abs(p.x - point.x) < _CLOSE_X]
        lowest = max(near, default=-_CLOSE_Y)
        done.append(point._replace(label_y=max(point.y, lowest + _CLOSE_Y)))
    return done
