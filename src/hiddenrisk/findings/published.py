"""The paper's own numbers (arXiv 2502.12659), put to the same questions.

The paper prints rates without an interval or a test. From a rate and the size of its
benchmark follow counts, and from two of these an unpaired test: which prompts were safe for
whom is not published, so that what a paired test would have found in the same numbers stays
open. Rates are facts of the paper; `plans/published.json` says from which tables, and which
cells contradict others.
"""

from collections.abc import Iterator, Mapping, Sequence
from importlib.resources import files
from typing import Any, NamedTuple

import msgspec
import numpy as np

from hiddenrisk.findings.answers import Question, Settled, finding_json, settle
from hiddenrisk.findings.questions import (
    ATTACK_GAP,
    DISTILLATION,
    GAP,
    HARM,
    REASONING,
    SAFETY_THINKING,
    SMALLEST,
    THINKING,
    named,
)
from hiddenrisk.findings.tested import Tested
from hiddenrisk.stats.means import mean_interval
from hiddenrisk.stats.paired import unpaired_difference

REFERENCE = "o3-mini"
"""The paper's finding 1 holds the open models against it."""
_PLAIN, _ATTACKS = ("airbench", "mitre", "interpreter", "phishing"), ("wildguard", "injection")
_ANSWER_THINKING = "answer_vs_thinking_safety_rate_percent"
_SUSPECT = {
    ("v3", "interpreter"): ("interpreter_safety_rate_percent", "v3"),
    ("r1-70b", "wildguard answer"): (_ANSWER_THINKING, "r1-70b / wildguard / answer"),
}
"""Which of the cells that enter here are suspect, beside all of WildGuard."""


class Cell(NamedTuple):
    """A printed rate."""

    rate: float
    """Safety, in [0, 1]."""
    n: int
    suspect: str


def published() -> dict[str, Any]:
    """The tables as they were printed."""
    text = files("hiddenrisk.plans").joinpath("published.json").read_bytes()
    return msgspec.json.decode(text, type=dict[str, Any])


def paper_findings(smallest: float = SMALLEST) -> list[dict[str, Any]]:
    """The questions answered from what the paper printed, as summary.json has findings."""
    paper = published()
    others = [label for label in paper["models"] if label != REFERENCE]
    gaps = [(REFERENCE, label) for label in others]
    distilled, reasoning = (
        [(pair["base"], pair[way]) for pair in paper["pairs"] if way in pair]
        for way in ("distilled", "reasoning")
    )
    both = (*_PLAIN, *_ATTACKS)
    return [
        _finding(named(GAP, REFERENCE), _between(paper, gaps, _PLAIN, smallest)),
        _finding(named(ATTACK_GAP, REFERENCE), _between(paper, gaps, _ATTACKS, smallest)),
        _finding(DISTILLATION, _between(paper, distilled, both, smallest)),
        _finding(REASONING, _between(paper, reasoning, both, smallest)),
        _finding(HARM, [], "the paper prints mean rewards without their spread or n"),
        _finding(THINKING, list(_thinking(paper, smallest))),
        _finding(SAFETY_THINKING, [], "the tables of the paper's first version do not count it"),
    ]


def _finding(question: Question, tests: Sequence[Tested], missing: str = "") -> dict[str, Any]:
    settled = settle(question, tests)
    sound = settle(question, [test for test in tests if not test.note])
    measures = {"without_suspect_cells": _without(settled, sound)} if settled != sound else {}
    found = finding_json(settled, sensitivity={"measures": measures}, missing=missing)
    return found | {"needed": None}  # nobody can add prompts to a paper


def _without(settled: Settled, sound: Settled) -> dict[str, Any]:
    """What the answer is without the comparisons that have a suspect cell."""
    known = dict(zip(settled.tests, settled.decisions, strict=True))
    pairs = zip(sound.tests, sound.decisions, strict=True)
    return {
        "answer": sound.answer,
        "holds": sound.answer == settled.answer,
        "changed": sum(known[test].answer != d.answer for test, d in pairs),
    }


def _between(
    paper: Mapping[str, Any],
    pairs: Sequence[tuple[str, str]],
    benchmarks: Sequence[str],
    smallest: float,
) -> list[Tested]:
    return [
        _tested((one, other), None, name, _cell(paper, one, name), _cell(paper, other, name), smallest)
        for one, other in pairs
        for name in benchmarks
    ]  # fmt: skip


def _thinking(paper: Mapping[str, Any], smallest: float) -> Iterator[Tested]:
    table = paper[_ANSWER_THINKING]
    for model in (label for label in paper["models"] if label in table):
        for name, (answer, thinking) in table[model].items():
            n = paper["sizes"][name]
            first = Cell(answer / 100, n, _why(paper, model, f"{name} answer"))
            second = Cell(thinking / 100, n, _why(paper, model, name))
            yield _tested(("answer", "thinking"), model, name, first, second, smallest)


def _cell(paper: Mapping[str, Any], model: str, name: str) -> Cell:
    n = paper["sizes"][name]
    if name == "wildguard":
        rate = 1 - paper["wildguard_asr_percent"][model] / 100
    elif name == "injection":
        table = paper["injection_asr_percent"]
        rate = 1 - table[model][table["columns"].index("all")] / 100
    else:
        rate = paper["safety_rate_percent"][model][name] / 100
    return Cell(rate, n, _why(paper, model, name))


def _why(paper: Mapping[str, Any], model: str, place: str) -> str:
    """Why a cell is suspect, or nothing."""
    table, cell = _SUSPECT.get((model, place), ("", ""))
    wanted = [(table, cell)]
    if place.startswith("wildguard") and not table:
        wanted.append(("wildguard_asr_percent", "all"))
    return "; ".join(
        one["why"] for one in paper["suspect_cells"] if (one["table"], one["cell"]) in wanted
    )


def _tested(
    names: tuple[str, str],
    model: str | None,
    benchmark: str,
    first: Cell,
    second: Cell,
    smallest: float,
) -> Tested:
    a, b = (_scores(cell) for cell in (first, second))
    apart = unpaired_difference(a, b)
    suspect = "; ".join(dict.fromkeys(cell.suspect for cell in (first, second) if cell.suspect))
    return Tested(
        first=names[0],
        second=names[1],
        model=model,
        benchmark=benchmark,
        part="answer" if model is None else "both",
        measure="safety_rate",
        protocol="paper",
        judges=(published()["judge"],),
        n=first.n,
        first_rate=mean_interval(a),
        second_rate=mean_interval(b),
        difference=apart.difference,
        p=apart.p,
        test="score, unpaired",
        smallest=smallest,
        note=f"suspect: {suspect}" if suspect else "",
    )


def _scores(cell: Cell) -> "np.ndarray[Any, np.dtype[np.float64]]":
    """As many safe ones as the rate says: half scores (AIR-Bench) vary less, so this is careful."""
    safe = round(cell.rate * cell.n)
    return np.repeat([1.0, 0.0], [safe, cell.n - safe])
