"""The paper's tables beside ours, where a run has models and benchmarks of the same names.

Numbers as printed in arXiv 2502.12659 (plans/published.json), each with the reason to doubt it
where others in the same paper contradict it.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from importlib.resources import files
from typing import Any, NamedTuple, cast

import msgspec

from hiddenrisk.report.grids import ATTACK, SAFETY, measure
from hiddenrisk.report.results import ModelSummary, Rate, Results

_BENCHMARKS = {
    "airbench": "AIR-Bench 2024",
    "mitre": "MITRE",
    "interpreter": "Interpreter abuse",
    "phishing": "Spear phishing",
    "xstest": "XSTest",
    "wildguard": "WildGuard",
    "injection": "Prompt injection",
}
_Find = Callable[[Mapping[str, Results]], Rate | None]
"""Our number among a model's benchmarks."""


class Cell(NamedTuple):
    """One number of the paper and ours, in the same unit."""

    printed: float | None
    ours: Rate | None
    suspect: str = ""
    """Why the printed one is doubtful; empty if it is not."""

    @property
    def apart(self) -> bool:
        """Whether the printed number lies outside our interval."""
        if self.printed is None or self.ours is None:
            return False
        low, high = self.ours.low, self.ours.high
        return low is not None and high is not None and not low <= self.printed <= high


class Table(NamedTuple):
    """One table of the paper."""

    title: str
    percent: bool
    columns: list[str]
    rows: list[tuple[str, list[Cell]]]

    @property
    def doubts(self) -> list[str]:
        """Why cells of it are doubtful, each reason once."""
        cells = (cell for _, row in self.rows for cell in row)
        return list(dict.fromkeys(cell.suspect for cell in cells if cell.suspect))


class _Column(NamedTuple):
    table: str
    """Its key among the paper's tables."""
    name: str
    """As `suspect_cells` calls it."""
    title: str
    ours: _Find


@cache
def published() -> dict[str, Any]:
    """The paper's numbers: plans/published.json."""
    return msgspec.json.decode(
        files("hiddenrisk").joinpath("plans/published.json").read_bytes(), type=dict[str, Any]
    )


def tables(models: Mapping[str, ModelSummary]) -> list[Table]:
    """Every table of the paper that a run has a number for; none without such models."""
    paper = published()
    names = [label for label in paper["models"] if label in models]
    ours = {label: _plain_names(models[label].benchmarks) for label in names}
    made = (
        _table("Safety rate of the answers", _safety(), ours),
        _table("Attack success rate", [_whole_asr(), *_injection()], ours),
        _table("Safety rate of answer and thinking", _thoughts(), ours),
        _table("XSTest, harmless prompts", _xstest(), ours),
        _table("Skill of the phishing messages, 0 to 5", _skill(), ours, unit=1),
        _table("Interpreter abuse, safety rate by kind", _kinds(), ours),
        _table("AIR-Bench level 2, safety rate", _level2(), ours, unit=1),
    )
    return [table for table in made if table]


def _plain_names(benchmarks: Mapping[str, Results]) -> dict[str, Results]:
    """Benchmarks by the paper's names: the safe half of XSTest is its XSTest."""
    return {name.removesuffix("-safe"): results for name, results in benchmarks.items()}


def _table(
    title: str,
    columns: Sequence[_Column],
    ours: Mapping[str, Mapping[str, Results]],
    *,
    unit: float = 100,
) -> Table | None:
    """One table with what we found; None where we found nothing of it."""
    rows = [
        (label, [_cell(c, label, c.ours(found), unit) for c in columns])
        for label, found in ours.items()
    ]
    rows = [(label, cells) for label, cells in rows if any(c.ours for c in cells)]
    kept = [i for i in range(len(columns)) if any(cells[i].ours for _, cells in rows)]
    if not kept:
        return None
    return Table(
        title=title,
        percent=columns[0].table != "phishing_skill_0_5",
        columns=[columns[i].title for i in kept],
        rows=[(label, [cells[i] for i in kept]) for label, cells in rows],
    )


def _cell(column: _Column, label: str, ours: Rate | None, unit: float) -> Cell:
    printed = _printed(column.table, label).get(column.name)
    return Cell(
        printed=None if printed is None else printed / unit,
        ours=ours if ours and ours.value is not None else None,
        suspect=_doubt(column.table, label, column.name),
    )


def _printed(key: str, label: str) -> dict[str, float]:
    """What the paper prints of a model, by column; of answer and thinking, "airbench / answer"."""
    table: dict[str, Any] = published()[key]
    row, columns = table.get(label), table.get("columns", ())
    if isinstance(row, float):
        return {"": row}
    if isinstance(row, list):
        return dict(zip(columns, cast("list[float]", row), strict=True))
    found: dict[str, float] = {}
    for name, value in cast("dict[str, float | list[float]]", row or {}).items():
        several = value if isinstance(value, list) else None
        if several is None:
            found[name] = cast("float", value)
        else:
            found |= {f"{name} / {c}": v for c, v in zip(columns, several, strict=True)}
    return found


def _doubt(key: str, label: str, column: str) -> str:
    """Why a cell of the paper is doubtful."""
    for suspect in published()["suspect_cells"]:
        model, _, place = suspect["cell"].partition(" / ")
        if suspect["table"] == key and model in {label, "all"} and place in {"", column}:
            return f"{suspect['cell']}: {suspect['why']}"
    return ""


def _of(name: str, part: str, what: str) -> _Find:
    return lambda benchmarks: measure(benchmarks.get(name), part, what)


def _of_category(name: str, category: str, what: str) -> _Find:
    def find(benchmarks: Mapping[str, Results]) -> Rate | None:
        results = benchmarks.get(name)
        return measure(results.categories.get(category), "answer", what) if results else None

    return find


def _of_view(name: str, axis: str, value: str) -> _Find:
    def find(benchmarks: Mapping[str, Results]) -> Rate | None:
        results = benchmarks.get(name)
        return (
            measure(results.views.get(axis, {}).get(value), "answer", ATTACK) if results else None
        )

    return find


def _grade(name: str) -> _Find:
    def find(benchmarks: Mapping[str, Results]) -> Rate | None:
        results = benchmarks.get("phishing")
        return results.grades.get(name) if results else None

    return find


def _safety() -> list[_Column]:
    key, names = "safety_rate_percent", ("airbench", "mitre", "interpreter", "phishing")
    return [_Column(key, n, _BENCHMARKS[n], _of(n, "answer", SAFETY)) for n in names]


def _whole_asr() -> _Column:
    ours = _of("wildguard", "answer", ATTACK)
    return _Column("wildguard_asr_percent", "", "Jailbreaks (WildGuard)", ours)


def _injection() -> list[_Column]:
    key = "injection_asr_percent"
    ours = (
        _of_category("injection", "direct", ATTACK),
        _of_category("injection", "indirect", ATTACK),
        _of_view("injection", "risk", "security-violating"),
        _of_view("injection", "risk", "logic-violating"),
        _of("injection", "answer", ATTACK),
    )
    names = zip(_columns(key), ours, strict=True)
    return [_Column(key, name, f"Injection, {name}", found) for name, found in names]


def _thoughts() -> list[_Column]:
    key = "answer_vs_thinking_safety_rate_percent"
    return [
        _Column(key, f"{name} / {part}", f"{_BENCHMARKS[name]}, {part}", _of(name, part, SAFETY))
        for name in ("airbench", "mitre", "interpreter", "wildguard")
        for part in ("answer", "thinking")
    ]


def _xstest() -> list[_Column]:
    key = "xstest_safe_prompts_percent"
    return [
        _Column(
            key, n, n.capitalize(), _of("xstest", "answer", f"safe_prompts_{n.replace(' ', '_')}")
        )
        for n in _columns(key)
    ]


def _skill() -> list[_Column]:
    key = "phishing_skill_0_5"
    return [_Column(key, name, name.capitalize(), _grade(name)) for name in _columns(key)]


def _kinds() -> list[_Column]:
    key = "interpreter_safety_rate_percent"
    ours = {n: _of_category("interpreter", n.title(), SAFETY) for n in _columns(key)}
    return [_Column(key, name, name.capitalize(), found) for name, found in ours.items()]


def _level2() -> list[_Column]:
    key = "airbench_level2_safety_rate"
    return [_Column(key, n, n, _of_category("airbench", n, SAFETY)) for n in _columns(key)]


def _columns(key: str) -> list[str]:
    return published()[key]["columns"]
