"""Results by benchmark, with the models side by side: the ground of every table of the page."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import msgspec

from hiddenrisk.report.results import ModelSummary, Rate, Results
from hiddenrisk.report.words import settled

SAFETY, REFUSAL, ATTACK = "safety_rate", "over_refusal_rate", "attack_success_rate"
SEPARATOR = " > "
_THOUGHT = frozenset({"hidden", "summarised", "redacted", "cut_in_thinking"})
_TONES, _WIDEST = 10, 9
"""Shades of a number, and columns of a shaded table."""


class Bench(msgspec.Struct, frozen=True, kw_only=True):
    """One benchmark, by model."""

    name: str
    title: str
    models: dict[str, Results]

    @property
    def first(self) -> Results:
        """Whose title, protocol and notes stand for all: they were asked the same."""
        return next(iter(self.models.values()))

    @property
    def judged(self) -> list[str]:
        """Who judged, in words; several where fallbacks or people helped with some models."""
        return list(dict.fromkeys(r.judged_by for r in self.models.values()))

    @property
    def notes(self) -> list[str]:
        """What a reader must know, each once."""
        return list(dict.fromkeys(note for r in self.models.values() for note in r.notes))

    def has(self, part: str, name: str) -> bool:
        """Whether any model has this number."""
        return any(valued(measure(r, part, name)) for r in self.models.values())

    @property
    def thinks(self) -> bool:
        """Whether any model thought: visibly, out of sight, or without coming to an end."""
        outcomes = {
            o for r in self.models.values() if (p := r.parts.get("thinking")) for o in p.outcomes
        }
        return self.has("thinking", SAFETY) or not outcomes.isdisjoint(_THOUGHT)

    @property
    def whole(self) -> bool:
        """Whether every response of every model has a score, and as many of each."""
        sizes = {r.n for r in self.models.values()}
        return len(sizes) == 1 and all(settled(r) for r in self.models.values())

    @property
    def attacked(self) -> bool:
        """Whether it counts attacks that succeed."""
        parts = [part for r in self.models.values() for part in r.parts.values() if part]
        return any(ATTACK in part.scores for part in parts)


class Row(NamedTuple):
    """One category, or another group, of all models; depth is 0 for the top level."""

    depth: int
    name: str
    cells: Mapping[str, Results | None]


class Column(NamedTuple):
    """One part of one model."""

    model: str
    part: str


class Picture(NamedTuple):
    """One number of every row and column, to be shaded."""

    name: str
    columns: list[Column]
    rows: list[Row]


def by_benchmark(models: Mapping[str, ModelSummary]) -> list[Bench]:
    """Every benchmark with the models that were asked it, in the order they come."""
    names = dict.fromkeys(name for model in models.values() for name in model.benchmarks)
    found: list[Bench] = []
    for name in names:
        asked = {k: m.benchmarks[name] for k, m in models.items() if name in m.benchmarks}
        title = next((r.title for r in asked.values() if r.title), name)
        found.append(Bench(name=name, title=title, models=asked))
    return found


def measure(results: Results | None, part: str, name: str) -> Rate | None:
    """One number of a model, or of a category of it."""
    found = results.parts.get(part) if results else None
    if found is None:
        return None
    return found.safety_rate if name == SAFETY else found.scores.get(name)


def valued(rate: Rate | None) -> bool:
    """Whether there is a number."""
    return rate is not None and rate.value is not None


def category_rows(models: Mapping[str, Results]) -> list[Row]:
    """Categories with their depth, each below its parent and otherwise in the order given."""
    order = {path: i for i, path in enumerate(_union(r.categories for r in models.values()))}
    rows: list[tuple[list[int], Row]] = []
    for path in order:
        names = path.split(SEPARATOR)
        above = [p for i in range(1, len(names)) if (p := SEPARATOR.join(names[:i])) in order]
        name = path.removeprefix(f"{above[-1]}{SEPARATOR}") if above else path
        cells = {label: r.categories.get(path) for label, r in models.items()}
        rows.append(([order[p] for p in (*above, path)], Row(len(above), name, cells)))
    return [row for _, row in sorted(rows, key=lambda item: item[0])]


def branches(rows: Iterable[Row]) -> list[tuple[Row, list[Row]]]:
    """Rows of the top level, each with the finer ones below it."""
    found: list[tuple[Row, list[Row]]] = []
    for row in rows:
        if row.depth == 0:
            found.append((row, []))
        else:
            found[-1][1].append(row)
    return found


def view_rows(models: Mapping[str, Results], axis: str) -> list[Row]:
    """The groups of one other grouping, such as a law or a framework."""
    views = {label: r.views.get(axis, {}) for label, r in models.items()}
    return [
        Row(0, value, {label: view.get(value) for label, view in views.items()})
        for value in _union(views.values())
    ]


def axes(bench: Bench) -> list[str]:
    """The other groupings of a benchmark."""
    return _union(r.views for r in bench.models.values())


def pictures(rows: list[Row], names: Iterable[str]) -> list[Picture]:
    """The numbers that any row has, each with its rows and columns.

    Answer and thinking of a model stand beside each other, or in two pictures where that would
    be too wide. A model without a single number keeps the column of its answers, with dashes:
    nothing scored is a result. One without thinking has no column of it, and over-refusal is
    a matter of answers.
    """
    found: list[Picture] = []
    for name in names:
        columns = [
            c
            for c in _columns(rows)
            if c.part == "answer" or (name != REFUSAL and _shown(rows, c, name))
        ]
        inside = [r for r in rows if any(_shown([r], c, name) for c in columns)]
        parts = [columns]
        if len(columns) > _WIDEST:
            parts = [[c for c in columns if c.part == p] for p in ("answer", "thinking")]
        found += [Picture(name, some, inside) for some in parts if some and inside]
    return found


def _columns(rows: list[Row]) -> list[Column]:
    labels = _union(row.cells for row in rows)
    return [Column(label, part) for label in labels for part in ("answer", "thinking")]


def _shown(rows: list[Row], column: Column, name: str) -> bool:
    return any(valued(measure(r.cells.get(column.model), column.part, name)) for r in rows)


def tone(rate: Rate | None, name: str = SAFETY) -> str:
    """The shade of a number, from `h0` (worst) to `h9` (best); none where there is no number."""
    if rate is None or rate.value is None:
        return ""
    good = rate.value if name == SAFETY else 1 - rate.value
    return f"h{max(0, min(_TONES - 1, int(_TONES * good)))}"


def _union(tables: Iterable[Mapping[str, object]]) -> list[str]:
    return list(dict.fromkeys(key for table in tables for key in table))
