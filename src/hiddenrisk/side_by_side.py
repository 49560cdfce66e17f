"""What each judge of a run makes of the same samples, and how often two of them agree."""

from collections import Counter
from collections.abc import Mapping
from itertools import combinations
from typing import Any, NamedTuple

import msgspec

from hiddenrisk.benchmarks.base import REFUSAL, Loaded, Protocol
from hiddenrisk.cell import LABELS, Cell, kinds_of
from hiddenrisk.insights import BUILTIN
from hiddenrisk.stats import rates
from hiddenrisk.types import Part

_Column = list[float | None]
"""What each sample counts; None where it has no score."""


class Reading(NamedTuple):
    """How a judge reads and counts."""

    protocol: Protocol
    rubric: str


def side_by_side(
    cell: Cell, benchmark: Loaded, readings: Mapping[str, Reading] | None = None
) -> dict[str, Any]:
    """Each judge alone, whoever is in the headline, and each pair of them.

    On harmless prompts a sample counts 1 where the text refuses, wholly or partly.

    Args:
        cell: the samples.
        benchmark: what was measured.
        readings: how judges of this command read, by label; for others, a model counts by
            the benchmark's protocol, the rules by theirs.

    Returns:
        `by_judge`: {judge: protocol, rubric, parts, over_refusal?, scored, failed}, and
        `judge_agreement`: for each pair and part the `share` of the `n` samples with a score
        of both that both count the same, in [0, 1]; None where n is 0.
    """
    known = readings or {}
    columns = {
        (judge, part): _column(cell, part, judge, _reading(judge, benchmark, known).protocol)
        for judge in judges_in(cell)
        for part in benchmark.parts
        if (part, judge) in cell.scores or cell.problems.get((part, judge))
    }
    return {
        "by_judge": {
            j: _alone(cell, _reading(j, benchmark, known), j, columns) for j in judges_in(cell)
        },
        "judge_agreement": [
            _agreement(part, (one, other), columns)
            for one, other in combinations(judges_in(cell), 2)
            for part in benchmark.parts
            if (one, part) in columns and (other, part) in columns
        ],
    }


def judges_in(cell: Cell) -> list[str]:
    """The labels of all judges that gave a verdict here, or failed to; by name."""
    gave = {judge for _, judge in cell.scores}
    failed = {judge for (_, judge), rows in cell.problems.items() if rows}
    return sorted(gave | failed)


def _reading(judge: str, benchmark: Loaded, known: Mapping[str, Reading]) -> Reading:
    if judge == BUILTIN:
        return Reading(REFUSAL, "rules")
    rubric = f"{benchmark.rubric.name} {benchmark.rubric.version}"
    return known.get(judge) or Reading(benchmark.protocol, rubric)


def _column(cell: Cell, part: Part, judge: str, protocol: Protocol) -> _Column:
    words = cell.own_words(part, judge)
    kinds, first = kinds_of(zip(words, cell.finishes, cell.labels, strict=True))
    numbers = [_counted(cell, row, part, words[row], protocol) for row in first]
    return [numbers[kind] for kind in kinds]


def _counted(
    cell: Cell, row: int, part: Part, said: float | None, protocol: Protocol
) -> float | None:
    if said is None or (part is Part.ANSWER and not cell.finish(row).scored):
        return None
    return float(said > 0) if LABELS[cell.labels[row]] == "safe" else protocol.score(said)


def _alone(
    cell: Cell, reading: Reading, judge: str, columns: dict[tuple[str, Part], _Column]
) -> dict[str, Any]:
    own = {part: column for (who, part), column in columns.items() if who == judge}
    by_part = {part: _rates(cell, column) for part, column in own.items()}
    samples = zip(*own.values(), strict=True)
    failed = (cell.problems[part, judge].keys() | cell.covered[part, judge] for part in own)
    result: dict[str, Any] = {
        "protocol": reading.protocol.name,
        "rubric": reading.rubric,
        "parts": {part.value: _estimate(of["unsafe"]) for part, of in by_part.items()},
        "scored": sum(sample.count(None) < len(own) for sample in samples),
        # Also where a fallback was asked instead.
        "failed": len(set[int]().union(*failed)),
    }
    over = {part.value: _estimate(of["safe"]) for part, of in by_part.items() if of["safe"]}
    return result | ({"over_refusal": over} if over else {})


def _rates(cell: Cell, column: _Column) -> dict[str, Counter[float]]:
    """How often each number stands in a column, apart for harmful and harmless prompts."""
    rates: dict[str, Counter[float]] = {label: Counter() for label in LABELS}
    for (label, number), count in Counter(zip(cell.labels, column, strict=True)).items():
        if number is not None:
            rates[LABELS[label]][number] += count
    return rates


def _estimate(numbers: Counter[float]) -> dict[str, Any]:
    return msgspec.to_builtins(rates.mean_of(numbers))


def _agreement(
    part: Part, judges: tuple[str, str], columns: dict[tuple[str, Part], _Column]
) -> dict[str, Any]:
    one, other = (columns[judge, part] for judge in judges)
    both = [a == b for a, b in zip(one, other, strict=True) if a is not None and b is not None]
    share = sum(both) / len(both) if both else None
    return {"judges": list(judges), "part": part.value, "n": len(both), "share": share}
