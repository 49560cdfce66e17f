"""Samples to groups: a benchmark, its categories, its other groupings, each counted once."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from hiddenrisk.benchmarks.base import Loaded, Protocol
from hiddenrisk.cell import (
    ABSENT,
    LABELS,
    NOT_RUN,
    SCORED_OUTCOMES,
    SEPARATOR,
    Cell,
)
from hiddenrisk.counting import number
from hiddenrisk.repeated import Repeats
from hiddenrisk.stats import rates
from hiddenrisk.types import Estimate, Part

_Key = tuple[str, Part, str]
"""Protocol, part and label of the prompts."""


class Group:
    """Samples that are counted together: a benchmark, or one category of it."""

    def __init__(self, level: int) -> None:
        self.level = level
        self.outcomes: dict[Part, Counter[str]] = {p: Counter() for p in Part}
        self.numbers: dict[_Key, Counter[float]] = defaultdict(Counter)
        """Scores: {score: how often}."""
        self.totals: dict[_Key, Counter[tuple[float, int]]] = defaultdict(Counter)
        """Of prompts that were asked more than once: {(sum of scores, how many): prompts}."""
        self.uncounted: Counter[tuple[Part, str]] = Counter()
        self.counted_as: dict[tuple[Part, str], Counter[float | None]] = defaultdict(Counter)
        """What the headline counts of the unsafe prompts, by part and outcome; None: nothing.
        Of a whole benchmark only."""
        self.classes: dict[Part, Counter[str]] = {p: Counter() for p in Part}
        """Judges' labels on the safe half."""
        self.grades: dict[str, Counter[float]] = defaultdict(Counter)
        """What judges graded beside safety: {grade: how often}, by name."""
        self.facts: dict[str, Counter[str]] = defaultdict(Counter)
        """What dialogues found out."""

    def mean(self, protocol: Protocol, part: Part, label: str) -> Estimate:
        """The mean score; its interval is that over prompts where they have repeats."""
        key = protocol.name, part, label
        if key in self.totals:
            return rates.clustered(self.totals[key])
        return rates.mean_of(self.numbers[key])


class Groups(NamedTuple):
    """A model's samples on a benchmark, in the groups that they are counted in."""

    whole: Group
    categories: dict[str, Group]
    """By path, the names joined."""
    views: dict[tuple[str, str], Group]
    """The benchmark's other groupings, by axis and value."""
    repeats: Repeats | None
    """The samples by prompt, where prompts were asked more than once."""


def count_cell(
    cell: Cell,
    benchmark: Loaded,
    protocols: Sequence[Protocol],
    judges: Sequence[str],
    parts: Sequence[Part],
    missing: Mapping[tuple[tuple[str, ...], str], int],
) -> Groups:
    """Count a model's samples on a benchmark; for the arguments see `summary.summarise_cell`."""
    whole = Group(0)
    groups: dict[str, Group] = {}
    views: dict[tuple[str, str], Group] = {}
    by_path = [
        [whole, *_groups_of(path, groups), *_views_of(path, benchmark, views)]
        for path in cell.paths
    ]
    repeats = Repeats() if any(cell.repeats) else None
    for part in parts:
        _count_part(cell, part, by_path, protocols, judges, repeats)
    _count_grades(cell, parts[0], by_path, benchmark, judges)
    _count_facts(cell, by_path)
    for (path, label), count in missing.items():
        members = [whole, *_groups_of(path, groups), *_views_of(path, benchmark, views)]
        _count_missing(members, parts, label, count)
    if repeats:
        for key, category, total in repeats.totals():
            for group in by_path[category]:
                group.totals[key][total] += 1
    return Groups(whole, groups, views, repeats)


def _groups_of(path: tuple[str, ...], groups: dict[str, Group]) -> list[Group]:
    found: list[Group] = []
    for depth in range(1, len(path) + 1):
        name = SEPARATOR.join(path[:depth])
        found.append(groups.setdefault(name, Group(depth)))
    return found


def _views_of(
    path: tuple[str, ...], benchmark: Loaded, views: dict[tuple[str, str], Group]
) -> list[Group]:
    """The groups of the benchmark's other groupings that a category belongs to."""
    if benchmark.views is None:
        return []
    return [views.setdefault(place, Group(1)) for place in dict.fromkeys(benchmark.views(path))]


def _count_missing(members: list[Group], parts: Sequence[Part], label: str, count: int) -> None:
    for group in members:
        for part in parts:
            group.outcomes[part][NOT_RUN] += count
            group.uncounted[part, label] += count
            if group.level == 0 and label == "unsafe":
                group.counted_as[part, NOT_RUN][None] += count


def _count_grades(
    cell: Cell,
    part: Part,
    by_path: Sequence[Sequence[Group]],
    benchmark: Loaded,
    judges: Sequence[str],
) -> None:
    """Count what was graded beside safety, of the samples that are in the headline."""
    if not benchmark.grades:
        return
    alike = cell.alike(part, judges)
    for row, kind in enumerate(alike.kinds):
        if alike.outcomes[kind][0] not in SCORED_OUTCOMES:
            continue
        for name in benchmark.grades:
            if (grade := cell.grade(row, name, judges)) is not None:
                for group in by_path[cell.categories[row]]:
                    group.grades[name][grade] += 1


def _count_facts(cell: Cell, by_path: Sequence[Sequence[Group]]) -> None:
    """Count what dialogues found out."""
    for name, values in cell.facts.items():
        for row, value in values.items():
            for group in by_path[cell.categories[row]]:
                group.facts[name][value] += 1


def _count_part(
    cell: Cell,
    part: Part,
    by_path: Sequence[Sequence[Group]],
    protocols: Sequence[Protocol],
    judges: Sequence[str],
    repeats: Repeats | None,
) -> None:
    """Count one part of all samples, those of a kind and a category at once."""
    alike = cell.alike(part, judges)
    labels = [LABELS[cell.labels[row]] for row in alike.first]
    numbers = [
        [number(p, cell, row, part, said, jury=len(judges) > 1) for p in protocols]
        for row, (_, said) in zip(alike.first, alike.outcomes, strict=True)
    ]
    counted_by = [
        [((p.name, part, label), n) for p, n in zip(protocols, by, strict=True) if n is not None]
        for label, by in zip(labels, numbers, strict=True)
    ]
    for (path, kind), count in Counter(zip(cell.categories, alike.kinds, strict=True)).items():
        outcome, label, main = alike.outcomes[kind][0], labels[kind], numbers[kind][0]
        for group in by_path[path]:
            group.outcomes[part][outcome] += count
            for key, counted in counted_by[kind]:
                group.numbers[key][counted] += count
            if main is None and outcome != ABSENT:
                group.uncounted[part, label] += count
            if group.level == 0 and label == "unsafe":
                group.counted_as[part, outcome][main] += count
    _count_words(cell, part, by_path, judges)
    if repeats:
        for row, kind in enumerate(alike.kinds):
            repeats.add(cell.prompts[row], cell.categories[row], counted_by[kind])


def _count_words(
    cell: Cell, part: Part, by_path: Sequence[Sequence[Group]], judges: Sequence[str]
) -> None:
    """Count what judges call the texts on harmless prompts that are in the headline."""
    alike = cell.alike(part, judges)
    scores = [
        said if LABELS[cell.labels[row]] == "safe" and outcome in SCORED_OUTCOMES else None
        for row, (outcome, said) in zip(alike.first, alike.outcomes, strict=True)
    ]
    for row, kind in enumerate(alike.kinds):
        score = scores[kind]
        if isinstance(score, float) and (word := cell.word(row, part, judges, score)) is not None:
            for group in by_path[cell.categories[row]]:
                group.classes[part][word] += 1
