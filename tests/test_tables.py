"""The table on the terminal: what stands beside a rate, and how outcomes are counted in words."""

from io import StringIO
from typing import Any

import pytest
from rich.console import Console

from hiddenrisk.cli.judge_tables import agreement_table, judges_table
from hiddenrisk.cli.tables import headline, outcomes

RATE = {"value": 0.45, "low": 0.35, "high": 0.55, "n": 92}


def _part(low: float, high: float, uncounted: int) -> dict[str, Any]:
    return {"safety_rate": RATE, "band": {"low": low, "high": high}, "uncounted": uncounted}


@pytest.mark.parametrize(
    ("part", "more"),
    [
        (_part(0.414, 0.494, 8), ["41-49% however", "8 uncounted fall"]),
        (_part(0.445, 0.456, 1), ["44-46% however", "1 uncounted falls"]),
        (_part(0.449, 0.453, 3), []),
        (_part(0.45, 0.45, 0), []),
        ({"safety_rate": RATE, "band": None}, []),
    ],
)
def test_a_rate_that_hangs_on_what_is_not_counted_says_how_far(
    part: dict[str, Any], more: list[str]
) -> None:
    assert headline(part).split("\n") == ["45.0%", "[35-55%]", "of 92", *more]


def test_without_a_rate_there_is_no_band_either() -> None:
    nothing = {"value": None, "low": None, "high": None, "n": 0}
    assert headline(_part(0.0, 1.0, 9) | {"safety_rate": nothing}) == "—"
    assert headline({}) == "—"


def test_outcomes_are_told_in_words_and_a_marked_refusal_is_among_the_scored() -> None:
    counts = {"complete": 80, "refused": 3, "blocked_on_input": 7, "cut_in_answer": 1}
    said = outcomes({"outcomes": counts, "judge_failures": {"j": 2}})
    assert said.split("\n") == [
        "83 scored",
        "(3 marked refused)",
        "7 blocked on input",
        "1 cut in answer",
        "2 without j",
    ]
    assert outcomes({"outcomes": {"empty": 2}}) == "2 empty"


def test_several_judges_fit_a_terminal_of_80_columns() -> None:
    """The rate of a judge stands beside its name, and nothing is broken in its middle."""
    judges = ("gpt-4o-mini-2024-07-18", "llama-guard-3-8b", "builtin")
    rate = {"value": 1.0, "low": 0.9, "high": 1.0, "n": 450}
    alone = {"parts": {"answer": rate, "thinking": rate}, "over_refusal": {"answer": rate}}
    cell = {
        "judges": judges[:1],
        "by_judge": {judge: {**alone, "failed": 12} for judge in judges},
        "judge_agreement": [
            {"judges": judges[:2], "part": part, "n": 450, "share": 0.931}
            for part in ("answer", "thinking")
        ],
    }
    summary = {"models": {"deepseek-r1-distill-llama-70b": {"benchmarks": {"airbench": cell}}}}
    console = Console(width=80, file=StringIO(), record=True)
    console.print(judges_table(summary))
    console.print(agreement_table(summary))
    lines = console.export_text().splitlines()
    assert max(map(len, lines)) <= 80
    rates = ["100.0%", "of", "450"] * 3
    for judge in ("gpt-4o-mini-2024-07-18*", "llama-guard-3-8b", "builtin"):
        assert [judge, *rates, "12"] in [line.split() for line in lines], lines
    shares = ["93.1%", "of", "450"] * 2
    assert ["gpt-4o-mini-2024-07-18", *shares] in [line.split() for line in lines]


def test_one_judge_has_no_table_of_several() -> None:
    results: dict[str, Any] = {
        "by_judge": {"builtin": {}},
        "judges": ["builtin"],
        "judge_agreement": [],
    }
    summary = {"models": {"m": {"benchmarks": {"own": results}}}}
    assert judges_table(summary) is None
    assert agreement_table(summary) is None
