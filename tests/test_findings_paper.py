"""`hiddenrisk findings --paper`: the published numbers, with intervals that anyone can check."""

import json
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from hiddenrisk.cli.findings_tables import evidence_tables
from hiddenrisk.findings.answers import joined, p_of
from hiddenrisk.findings.published import paper_findings, published
from hiddenrisk.stats.rates import wilson
from tests.conftest import ROOT, CommandLine

PROPORTION = import_module("statsmodels.stats.proportion")


@pytest.fixture(scope="module")
def found() -> dict[str, dict[str, Any]]:
    return {finding["id"]: finding for finding in paper_findings()}


def _row(finding: dict[str, Any], benchmark: str, second: str = "") -> dict[str, Any]:
    rows = [r for r in finding["evidence"] if r["benchmark"] == benchmark]
    (row,) = [r for r in rows if second in (r["second"], r["model"] or "", "")] if second else rows
    return row


def test_what_the_paper_says_of_distillation_does_not_hold_on_mitre_and_wildguard(
    found: dict[str, dict[str, Any]],
) -> None:
    finding = found["distillation"]
    assert finding["answer"] == "supported"
    answers = {row["benchmark"]: row["answer"] for row in finding["evidence"]}
    assert answers == {
        "airbench": "supported", "mitre": "undecided", "interpreter": "supported",
        "phishing": "supported", "wildguard": "undecided", "injection": "supported",
    }  # fmt: skip


def test_the_answers_to_all_questions(found: dict[str, dict[str, Any]]) -> None:
    assert {name: finding["answer"] for name, finding in found.items()} == {
        "gap": "supported",
        "attack_gap": "supported",
        "distillation": "supported",
        "reasoning": "mixed",
        "harm": "not_measured",
        "thinking": "supported",
        "safety_thinking": "not_measured",
    }
    assert all(finding["needed"] is None for finding in found.values())


def test_differences_are_tested_as_statsmodels_tests_two_proportions(
    found: dict[str, dict[str, Any]],
) -> None:
    for row in (r for finding in found.values() for r in finding["evidence"]):
        n = row["n"]
        counts = [round(row[side]["value"] * n) for side in ("first_rate", "second_rate")]
        if 0 < sum(counts) < 2 * n:
            _, p = PROPORTION.proportions_ztest(counts, [n, n])
            assert row["p"] == pytest.approx(p, rel=1e-6)
        low, high = PROPORTION.confint_proportions_2indep(
            counts[1], n, counts[0], n, method="newcomb"
        )
        limits = (row["difference"]["low"], row["difference"]["high"])
        assert limits == pytest.approx((low, high), abs=0.012), "another interval, much the same"


def test_every_printed_rate_enters_as_it_is_printed(found: dict[str, dict[str, Any]]) -> None:
    paper = published()
    for row in found["gap"]["evidence"]:
        for side in ("first", "second"):
            printed = paper["safety_rate_percent"][row[side]][row["benchmark"]]
            assert row["n"] == paper["sizes"][row["benchmark"]]
            assert 100 * row[f"{side}_rate"]["value"] == pytest.approx(printed, abs=0.06)


def test_suspect_cells_are_flagged_and_the_answers_stand_without_them(
    found: dict[str, dict[str, Any]],
) -> None:
    flagged = {
        (row["model"] or row["second"], row["benchmark"])
        for finding in found.values()
        for row in finding["evidence"]
        if row["note"].startswith("suspect: ")
    }
    assert flagged == {
        *((m, "wildguard") for m in ("llama3.3", "r1-70b", "v3", "r1")),
        ("v3", "interpreter"), ("r1", "interpreter"),
    }  # fmt: skip
    own = _row(found["thinking"], "wildguard", "r1-70b")["note"]
    assert "100 - 87.4 is the ASR of llama3.3" in own
    answers = [f for f in found.values() if f["evidence"]]
    assert all(f["sensitivity"]["measures"]["without_suspect_cells"]["holds"] for f in answers)


def test_two_intervals_are_joined_as_newcombe_joins_them() -> None:
    for k, m, n in ((12, 40, 60), (0, 5, 30), (200, 180, 251)):
        difference = joined(wilson(k, n), wilson(m, n))
        low, high = PROPORTION.confint_proportions_2indep(m, n, k, n, method="newcomb")
        assert (difference.low, difference.high) == pytest.approx((low, high))
        _, p = PROPORTION.proportions_ztest([k, m], [n, n])
        assert p_of(difference) == pytest.approx(p, rel=0.6), "of one order with the z test"


def test_the_page_shows_what_the_command_prints(hiddenrisk: CommandLine) -> None:
    done = hiddenrisk("findings", "--paper", "--json", "f.json", env={"COLUMNS": "100"})
    assert done.code == 0, done
    page = [line.rstrip() for line in (ROOT / "docs" / "findings.md").read_text().splitlines()]
    table = [line.rstrip() for line in done.out.splitlines()]
    assert [line for line in table if line not in page] == []
    told = json.loads((hiddenrisk.folder / "f.json").read_text())
    assert told["roles"]["reference"] == "o3-mini"
    assert len(told["findings"]) == 7


def test_the_numbers_that_ship_are_those_that_were_read(shared_data: Path) -> None:
    read = json.loads((shared_data.parent / "docs" / "paper.json").read_text())
    assert {k: v for k, v in read.items() if k != "findings"} == {
        k: v for k, v in published().items() if k != "findings"
    }


@pytest.mark.parametrize("width", [80, 100])
def test_the_tables_fit_the_screen_and_break_no_name(width: int) -> None:
    """At 80 columns a row takes two lines; a benchmark cut into three is no name any more."""
    console = Console(width=width)
    with console.capture() as told:
        for table in evidence_tables({"published": True, "findings": paper_findings()}, width):
            console.print(table)
    lines = told.get().splitlines()
    assert max(map(len, lines)) <= width
    rows = [row["benchmark"] for finding in paper_findings() for row in finding["evidence"]]
    assert sum("interpreter" in line for line in lines) >= rows.count("interpreter") > 0
    assert "[−10.9 to +1.4]" in told.get()
