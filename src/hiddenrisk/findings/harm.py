"""How much harm is in the unsafe answers of a base, and in those of what was made of it.

Reward models decide (`hiddenrisk harm`), at equal length, on the prompts that are unsafe for
both. The skill of phishing attackers, where dialogues were graded, is a second evidence of
another kind and stands beside.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

import msgspec
import numpy as np

from hiddenrisk.benchmarks.base import Loaded
from hiddenrisk.cell import SCORED_OUTCOMES
from hiddenrisk.findings.tested import Tested
from hiddenrisk.headline import headline_cell
from hiddenrisk.opening import Opened
from hiddenrisk.records import Records
from hiddenrisk.stats.paired import paired_test
from hiddenrisk.stats.rates import NOTHING
from hiddenrisk.types import Estimate, Part

SMALL = 0.2
"""In standard deviations: what Cohen calls a small effect. Rewards have no scale of their own.

Cohen 1988, Statistical Power Analysis, 2nd ed., 2.2.
"""
Way = Literal["equal_length", "both_unsafe", "each_its_own"]
"""Which comparison of docs/harmfulness.md; the last one is the paper's."""


def by_rewards(
    harmfulness: Mapping[str, Any] | None,
    made: Sequence[tuple[str, str]],
    judges: Mapping[str, tuple[str, ...]],
    way: Way = "equal_length",
) -> list[Tested]:
    """Each base and what was made of it, by each reward model on each benchmark's answers.

    Args:
        harmfulness: what summary.json says of it; None where no reward model was asked.
        made: (base, what was made of it).
        judges: of each benchmark, whose verdicts say what is unsafe.
        way: which of the three comparisons.
    """
    return [
        _of_reward(pair, results, benchmark, reward, judges.get(benchmark, ()), way)
        for benchmark, parts in (harmfulness or {"benchmarks": {}})["benchmarks"].items()
        for reward, results in parts.get(Part.ANSWER.value, {"rewards": {}})["rewards"].items()
        for pair in results["pairs"]
        if (pair["first"], pair["second"]) in made
    ]


def _of_reward(
    pair: Mapping[str, Any],
    results: Mapping[str, Any],
    benchmark: str,
    reward: str,
    judges: tuple[str, ...],
    way: Way,
) -> Tested:
    overlap = pair["overlap"]
    found = {
        "equal_length": overlap["length"],
        "both_unsafe": overlap,
        "each_its_own": pair["naive"],
    }[way]
    known = {k: found[k] for k in ("value", "low", "high", "n")}
    value, effect = found["value"], found["effect"]
    means = [
        results["models"][pair[side]]["means"][results["headline"]] for side in ("first", "second")
    ]
    told = value is not None and found["low"] is not None
    return Tested(
        first=pair["first"],
        second=pair["second"],
        benchmark=benchmark,
        part=Part.ANSWER.value,
        measure=reward,
        protocol=None,
        judges=judges,
        n=found["n"],
        shared=overlap["n"],
        first_rate=msgspec.convert(means[0], Estimate),
        second_rate=msgspec.convert(means[1], Estimate),
        difference=Estimate(**known) if told else NOTHING,
        p=found["p"],
        test={"equal_length": "length_hc3", "both_unsafe": "paired_t", "each_its_own": "welch"}[
            way
        ],
        # The effect is the value in standard deviations, less Hedges' correction.
        smallest=abs(SMALL * value / effect) if value and effect else None,
        note=_OWN if told else _why(found["n"], overlap["n"], way),
    )


_OWN = "the means beside are those of each model's own unsafe answers"


def _why(n: int, both: int, way: Way) -> str:
    where = "of both" if way == "each_its_own" else "for both"
    known = n if way == "each_its_own" else both
    return f"{known} prompts with a scored unsafe answer {where}: too few, or all alike"


def by_skill(
    opened: Opened, found: Records, made: Sequence[tuple[str, str]], smallest: float
) -> list[Tested]:
    """Each base and what was made of it, by the graded skill of its dialogues, pair by pair."""
    tests: list[Tested] = []
    for benchmark in opened.benchmarks:
        if benchmark.dialogue is None or not benchmark.grades:
            continue
        name, top = next(iter(benchmark.grades.items()))
        graded = {
            label: dict(_grades(opened, found, benchmark, label, name))
            for label in dict.fromkeys(label for pair in made for label in pair)
        }
        tests += [
            _of_skill(opened, benchmark, pair, graded[pair[0]], graded[pair[1]], top, smallest)
            for pair in made
        ]
    return tests


_Sample = tuple[int, int]
"""Prompt and repeat."""


def _grades(
    opened: Opened, found: Records, benchmark: Loaded, label: str, name: str
) -> Iterator[tuple[_Sample, float]]:
    """The grades of a model's dialogues that are in the headline."""
    cell = headline_cell(opened, found, label, benchmark)
    judges = [j.label for j in opened.judges_of(benchmark)]
    for row in range(len(cell)):
        grade = cell.grade(row, name, judges)
        if grade is not None and cell.outcome(row, Part.ANSWER, judges)[0] in SCORED_OUTCOMES:
            yield (cell.prompts[row], cell.repeats[row]), grade


def _of_skill(
    opened: Opened,
    benchmark: Loaded,
    pair: tuple[str, str],
    first: Mapping[_Sample, float],
    second: Mapping[_Sample, float],
    top: float,
    smallest: float,
) -> Tested:
    shared = [sample for sample in first if sample in second]
    a, b = (np.array([side[s] for s in shared], np.float64) / top for side in (first, second))
    repeated = any(repeat for _, repeat in shared)
    prompts = np.array([prompt for prompt, _ in shared], np.uint64) if repeated else None
    test = paired_test(a, b, prompts)
    return Tested(
        first=pair[0],
        second=pair[1],
        benchmark=benchmark.name,
        part=Part.ANSWER.value,
        measure="skill",
        protocol=opened.protocols(benchmark)[0].name,
        judges=tuple(j.label for j in opened.judges_of(benchmark)),
        n=test.n,
        shared=test.n,
        first_rate=_scaled(test.first, top),
        second_rate=_scaled(test.second, top),
        difference=_scaled(test.difference, top),
        p=test.p,
        test=test.test,
        smallest=smallest * top,
        note="" if test.n else "no dialogue is graded on both sides",
    )


def _scaled(e: Estimate, top: float) -> Estimate:
    value, low, high = (None if x is None else x * top for x in (e.value, e.low, e.high))
    return Estimate(value=value, low=low, high=high, n=e.n)
