"""Corrected rates: formulas by hand, worked examples, ppi_py, and coverage by simulation."""

import csv
import json
import math
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.coverage import Cell, cover, lang_reiczigel
from hiddenrisk.stats.agreement import Confusion, confusion
from hiddenrisk.stats.correction import (
    Corrected,
    corrected_difference,
    corrected_paired_difference,
    ppi,
    rogan_gladen,
    youden,
)
from hiddenrisk.stats.rates import NOTHING, wilson
from hiddenrisk.types import Estimate

GOOD = Confusion(true_unsafe=90, false_safe=10, true_safe=190, false_unsafe=10)
GPT4 = Confusion(true_unsafe=190, false_safe=5, true_safe=204, false_unsafe=37)


def limits(estimate: Estimate) -> tuple[float, float]:
    assert estimate.low is not None
    assert estimate.high is not None
    return estimate.low, estimate.high


def test_the_corrected_rate_is_that_of_rogan_and_gladen() -> None:
    found = rogan_gladen(150, 500, GOOD)
    # 30% called unsafe, 5% false alarms, 90% found: (0.30 - 0.05) / (0.90 - 0.05).
    assert found.corrected.value == pytest.approx(0.25 / 0.85)
    assert found.raw == wilson(150, 500)
    assert found.reason is found.caution is None


def test_with_errors_that_are_known_the_limits_are_those_of_a_worked_example() -> None:
    # epiR's manual: 23 of 150 cows, sensitivity 96%, specificity 89%: 5.1% (0 to 13%), and
    # Reiczigel et al. 2010: the limits are Wilson's, moved like the rate itself.
    known = Confusion(
        true_unsafe=96 * 10**6, false_safe=4 * 10**6, true_safe=89 * 10**6, false_unsafe=11 * 10**6
    )
    found = rogan_gladen(23, 150, known).corrected
    low, high = limits(wilson(23, 150))
    assert found.value == pytest.approx(0.051, abs=5e-4)
    assert limits(found) == pytest.approx(
        (max(0, (low - 0.11) / 0.85), (high - 0.11) / 0.85), abs=1e-4
    )
    assert round(limits(found)[1], 2) == 0.13


def test_a_judge_that_never_errs_leaves_the_rate() -> None:
    sure = Confusion(true_unsafe=10**8, false_safe=0, true_safe=10**8, false_unsafe=0)
    found = rogan_gladen(3, 200, sure)
    assert limits(found.corrected) == pytest.approx(limits(found.raw), abs=1e-5)
    assert found.caution is not None  # nobody has seen it err


def test_the_closed_form_of_the_comparison_is_that_of_lang_and_reiczigel() -> None:
    # By hand, for 150 of 500, 45 of 50 and 48 of 50 (R package asht, prevSeSp).
    cell = Cell(0.3, 0.9, 0.96, 500, 50)
    low, high = lang_reiczigel(cell, np.array([150.0]), np.array([45.0]), np.array([48.0]))
    z = 1.959963984540054
    n, m = 500 + z * z, 52
    p, se, sp = (150 + z * z / 2) / n, 46 / m, 49 / m
    rate = (p + sp - 1) / (se + sp - 1)
    vse, vsp = se * (1 - se) / m, sp * (1 - sp) / m
    shift = 2 * z * z * (rate * vse - (1 - rate) * vsp)
    variance = (p * (1 - p) / n + rate**2 * vse + (1 - rate) ** 2 * vsp) / (se + sp - 1) ** 2
    half = z * math.sqrt(variance)
    assert (low[0], high[0]) == pytest.approx((rate + shift - half, rate + shift + half))
    # The interval that ships is near it, where nothing is near 0 or 1.
    labels = Confusion(true_unsafe=45, false_safe=5, true_safe=48, false_unsafe=2)
    ours = limits(rogan_gladen(150, 500, labels).corrected)
    assert ours == pytest.approx((low[0], high[0]), abs=0.02)


@given(
    said=st.integers(0, 400),
    hits=st.integers(30, 60),
    right=st.integers(30, 60),
)
def test_a_corrected_rate_lies_in_its_interval_and_that_in_0_to_1(
    said: int, hits: int, right: int
) -> None:
    labels = Confusion(
        true_unsafe=hits, false_safe=60 - hits, true_safe=right, false_unsafe=60 - right
    )
    found = rogan_gladen(said, 400, labels)
    if found.reason is not None:
        assert found.corrected == NOTHING
        return
    low, high = limits(found.corrected)
    assert found.corrected.value is not None
    assert 0 <= low <= found.corrected.value <= high <= 1


def test_more_labels_make_the_interval_narrower_down_to_that_of_the_sample() -> None:
    widths: list[float] = []
    for times in (1, 4, 16, 10**6):
        labels = Confusion(
            true_unsafe=45 * times, false_safe=5 * times, true_safe=45 * times,
            false_unsafe=5 * times,
        )  # fmt: skip
        low, high = limits(rogan_gladen(300, 1000, labels).corrected)
        widths.append(high - low)
    assert widths == sorted(widths, reverse=True)
    low, high = limits(wilson(300, 1000))
    assert widths[-1] == pytest.approx((high - low) / 0.8, rel=1e-3)


@pytest.mark.parametrize(
    ("said", "n", "labels", "words"),
    [
        (0, 0, GOOD, "no verdict"),
        (5, 50, Confusion(true_unsafe=20, false_safe=5, true_safe=90, false_unsafe=0), "25 unsafe"),
        (
            5,
            50,
            Confusion(true_unsafe=90, false_safe=5, true_safe=9, false_unsafe=0),
            "only 9 safe",
        ),
        (
            5,
            50,
            Confusion(true_unsafe=0, false_safe=0, true_safe=0, false_unsafe=0),
            "0 unsafe and",
        ),
        (9, 50, Confusion(true_unsafe=30, false_safe=20, true_safe=25, false_unsafe=25), "coin"),
        (9, 50, Confusion(true_unsafe=10, false_safe=90, true_safe=90, false_unsafe=10), "coin"),
        (
            90,
            500,
            Confusion(true_unsafe=570, false_safe=430, true_safe=570, false_unsafe=430),
            "too weak",
        ),
        (0, 2000, Confusion(true_unsafe=90, false_safe=10, true_safe=70, false_unsafe=30), "less"),
        (500, 500, Confusion(true_unsafe=60, false_safe=40, true_safe=99, false_unsafe=1), "more"),
    ],
)
def test_what_cannot_be_corrected_says_why_and_gives_no_number(
    said: int, n: int, labels: Confusion, words: str
) -> None:
    found = rogan_gladen(said, n, labels)
    assert found.corrected == NOTHING
    assert found.reason is not None
    assert words in found.reason
    assert found.raw == wilson(said, n)


def test_a_judge_that_was_never_seen_to_err_is_a_caution() -> None:
    labels = Confusion(true_unsafe=50, false_safe=0, true_safe=49, false_unsafe=1)
    found = rogan_gladen(20, 100, labels)
    assert found.corrected.value is not None
    assert found.caution is not None
    assert "0 misses and 1 false alarm;" in found.caution


def test_youden_is_nothing_without_labels_of_both_classes() -> None:
    assert youden(Confusion(true_unsafe=5, false_safe=1, true_safe=0, false_unsafe=0)) == NOTHING


def test_a_difference_is_blown_up_by_the_judges_errors_and_ignores_its_specificity() -> None:
    found = corrected_difference((150, 500), (100, 500), GOOD)
    assert found.raw == pytest.approx(0.1)
    assert found.corrected == pytest.approx(0.1 / 0.85)
    turned = corrected_difference((100, 500), (150, 500), GOOD)
    assert found.low is not None
    assert found.high is not None
    assert (turned.low, turned.high) == pytest.approx((-found.high, -found.low), abs=1e-6)


def test_the_labels_uncertainty_counts_once_in_a_difference() -> None:
    """Two equal models differ by nothing, however little is known of the judge."""
    few = Confusion(true_unsafe=36, false_safe=14, true_safe=40, false_unsafe=10)
    found = corrected_difference((10_000, 20_000), (10_000, 20_000), few)
    one = limits(rogan_gladen(10_000, 20_000, few).corrected)
    assert found.low is not None
    assert found.high is not None
    assert found.high - found.low < (one[1] - one[0]) / 4


def test_a_difference_on_the_same_prompts_leans_on_those_that_differ() -> None:
    found = corrected_paired_difference(40, 15, 500, GOOD)
    assert found.raw == pytest.approx(0.05)
    assert found.corrected == pytest.approx(0.05 / 0.85)
    apart = corrected_difference((125, 500), (100, 500), GOOD)
    assert found.low is not None and found.high is not None  # noqa: PT018
    assert apart.low is not None and apart.high is not None  # noqa: PT018
    assert found.corrected is not None
    assert found.low < found.corrected < found.high
    assert found.high - found.low < apart.high - apart.low
    # Known errors: the interval of Bonett & Price alone, (p - q) +- z * sqrt(...).
    known = Confusion(true_unsafe=10**9, false_safe=0, true_safe=10**9, false_unsafe=0)
    p, q = 41 / 502, 16 / 502
    half = 1.959964 * math.sqrt((p + q - (p - q) ** 2) / 502)
    exact = corrected_paired_difference(40, 15, 500, known)
    assert (exact.low, exact.high) == pytest.approx((p - q - half, p - q + half), abs=1e-4)


def test_a_difference_that_cannot_be_corrected_says_why() -> None:
    weak = Confusion(true_unsafe=30, false_safe=30, true_safe=30, false_unsafe=30)
    for found in (
        corrected_difference((5, 50), (9, 50), weak),
        corrected_paired_difference(5, 9, 50, weak),
        corrected_difference((0, 0), (9, 50), GOOD),
        corrected_paired_difference(0, 0, 0, GOOD),
    ):
        assert found.corrected is found.low is found.high is None
        assert found.reason is not None
    with pytest.raises(ValueError, match="51 of 50"):
        corrected_difference((51, 50), (9, 50), GOOD)
    with pytest.raises(ValueError, match="cannot differ"):
        corrected_paired_difference(30, 21, 50, GOOD)
    far = corrected_difference((500, 500), (0, 500), GOOD)
    assert far.reason is not None
    assert "further apart" in far.reason


# --- humans label a part of the rated texts ------------------------------------------------


def graded() -> tuple[list[float], list[float], list[float]]:
    """Scores of 200 texts by the judge, and of 40 more by judge and humans."""
    human = [(i * 7 % 11) / 10 for i in range(40)]
    judge = [min(1, max(0, round(v + ((i * 5 % 7) - 3) / 20, 2))) for i, v in enumerate(human)]
    return [(i * 13 % 21) / 20 for i in range(200)], judge, human


def test_ppi_gives_what_ppi_py_gives() -> None:
    # ppi-python 0.2.3: ppi_mean_pointestimate and ppi_mean_ci. It divides by n where we divide
    # by n - 1, and takes the normal quantile where we take Student's.
    found = ppi(*graded()).corrected
    assert found.value == pytest.approx(0.50307448, abs=1e-4)
    assert limits(found) == pytest.approx((0.45516652, 0.55098244), abs=0.003)
    low, high = limits(found)
    assert low < 0.45516652
    assert high > 0.55098244


def test_ppi_is_the_closed_form_of_the_paper() -> None:
    more, judge, human = (np.array(each) for each in graded())
    n, m = len(human), len(more)
    spread = np.var(np.concatenate([more, judge]), ddof=1)
    power = np.cov(judge, human, ddof=1)[0, 1] / spread / (1 + n / m)
    value = human.mean() + power * (more.mean() - judge.mean())
    variance = np.var(human - power * judge, ddof=1) / n + power**2 * np.var(more, ddof=1) / m
    found = ppi(*graded())
    half = 2.024394 * math.sqrt(float(variance))  # scipy's t at 38 degrees of freedom
    assert found.corrected.value == pytest.approx(float(value))
    assert limits(found.corrected) == pytest.approx((value - half, value + half), abs=1e-5)
    assert found.caution is None


def test_ppi_of_two_words_is_the_mean_stratified_by_them() -> None:
    judge = [1.0] * 20 + [0.0] * 30
    human = [1.0] * 18 + [0.0] * 2 + [1.0] * 3 + [0.0] * 27
    found = ppi([1.0] * 280 + [0.0] * 170, judge, human)
    # 300 of 500 texts are called unsafe; 18 of 20 and 3 of 30 of those looked at are.
    assert found.corrected.value == pytest.approx(0.6 * 18 / 20 + 0.4 * 3 / 30)
    assert found.raw == wilson(300, 500)
    assert found.corrected.n == 500


def test_ppi_with_a_label_for_every_text_is_the_mean_of_the_labels() -> None:
    _, judge, human = graded()
    found = ppi([], judge, human).corrected
    assert found.value == pytest.approx(sum(human) / 40)
    words = [1.0] * 7 + [0.0] * 33
    low, high = limits(ppi([], words, words).corrected)
    plain = limits(wilson(7, 40))
    assert (low, high) == pytest.approx(plain, abs=0.05)


def test_ppi_of_a_judge_that_always_says_the_same_is_the_mean_of_the_labels() -> None:
    human = [1.0] * 3 + [0.0] * 47
    found = ppi([0.0] * 500, [0.0] * 50, human).corrected
    assert limits(found) == pytest.approx(limits(wilson(3, 50)))
    grades = [0.25] * 50
    assert ppi([0.0] * 500, [0.0] * 50, grades).corrected.value == 0.25


def test_no_unsafe_label_in_few_is_not_certainty() -> None:
    found = ppi([0.0] * 500, [0.0] * 40, [0.0] * 40).corrected
    assert limits(found) == pytest.approx(limits(wilson(0, 40)))


def test_ppi_says_what_it_cannot_take() -> None:
    found = ppi([0.0] * 100, [0.0] * 29, [0.0] * 29)
    assert found.corrected == NOTHING
    assert found.reason is not None
    assert "only 29 texts" in found.reason
    assert ppi([], [], []) == Corrected(
        raw=NOTHING, corrected=NOTHING, reason=ppi([], [], []).reason
    )
    with pytest.raises(ValueError, match="cannot pair up"):
        ppi([0.0], [0.0], [])
    with pytest.raises(ValueError, match=r"lie in \[0, 1\]"):
        ppi([2.0], [0.0], [0.0])
    with pytest.raises(ValueError, match=r"lie in \[0, 1\]"):
        ppi([math.nan], [0.0], [0.0])


# --- what the intervals promise ------------------------------------------------------------


@pytest.mark.parametrize(
    "cell",
    [
        Cell(0.02, 0.9, 0.98, 500, 100),
        Cell(0.5, 0.7, 0.9, 100, 50),
        Cell(0.98, 0.95, 0.8, 1000, 200),
        Cell(0.3, 0.974, 0.846, 436, 200),  # GPT-4 on HarmBench's validation set
    ],
    ids=str,
)
def test_the_corrected_interval_holds_the_truth_as_often_as_it_says(cell: Cell) -> None:
    assert cell.realistic
    assert 0.93 <= cover(cell, runs=1000, seed=7).score <= 0.97


def test_the_interval_of_a_few_labels_holds_the_truth_as_often_as_it_says() -> None:
    rng = random.Random(11)
    held = 0
    for _ in range(600):
        human = [float(rng.random() < 0.1) for _ in range(400)]
        judge = [h if rng.random() < 0.88 else 1 - h for h in human]
        low, high = limits(ppi(judge[40:], judge[:40], human[:40]).corrected)
        held += low <= 0.1 <= high
    assert 0.93 <= held / 600 <= 0.985  # three standard errors around 96%


@pytest.mark.parametrize("rates", [(0.3, 0.2), (0.05, 0.05)])
def test_the_interval_of_a_difference_holds_the_truth_as_often_as_it_says(
    rates: tuple[float, float],
) -> None:
    rng = np.random.default_rng(5)
    called = [0.85 * rate + 0.05 for rate in rates]
    held = 0
    for _ in range(600):
        hits, right = int(rng.binomial(100, 0.9)), int(rng.binomial(100, 0.95))
        labels = Confusion(
            true_unsafe=hits, false_safe=100 - hits, true_safe=right, false_unsafe=100 - right
        )
        one, other = ((int(rng.binomial(400, p)), 400) for p in called)
        found = corrected_difference(one, other, labels)
        assert found.low is not None
        assert found.high is not None
        held += found.low <= rates[0] - rates[1] <= found.high
    assert 0.925 <= held / 600 <= 0.975


# --- recorded judges -----------------------------------------------------------------------


def test_xstests_gpt4_labels_are_corrected_as_the_docs_say(shared_data: Path) -> None:
    """Labels of Llama 2's completions do not fit those of GPT-4: the correction misses."""
    calibration, rated = (list(_xstest(shared_data, name)) for name in ("llama2new", "gpt4"))
    labels = confusion(calibration)
    assert labels == Confusion(true_unsafe=186, false_safe=88, true_safe=176, false_unsafe=0)
    found = rogan_gladen(sum(judge for _, judge in rated), len(rated), labels)
    assert found.raw.value == 192 / 450
    assert found.corrected.value == pytest.approx(192 / 450 / (186 / 274))
    assert [round(limit, 3) for limit in limits(found.corrected)] == DOCS_XSTEST
    low, _ = limits(found.corrected)
    assert sum(human for human, _ in rated) / len(rated) == 220 / 450 < low
    # A hundred labels of the rated completions themselves need no such assumption.
    random.Random(1).shuffle(rated)
    known, rest = rated[:100], rated[100:]
    within = ppi(
        [float(judge) for _, judge in rest],
        [float(judge) for _, judge in known],
        [float(human) for human, _ in known],
    ).corrected
    assert limits(within)[0] <= 220 / 450 <= limits(within)[1]
    assert [round(number, 3) for number in (within.value or 0, *limits(within))] == DOCS_PPI


DOCS_PPI = [0.514, 0.447, 0.589]
DOCS_XSTEST = [0.549, 0.719]


def _xstest(shared_data: Path, name: str) -> Iterator[tuple[bool, bool]]:
    """Whether humans, and GPT-4, call a completion a refusal, full or partial."""
    folder = shared_data / "xstest" / "evaluation" / "automated_evaluation_labels"
    path = folder / f"xstest_v2_completions_{name}_gpteval.csv"
    with path.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            yield (
                row["final_label"] != "1_full_compliance",
                row["gpt4_label"] != "1_full_compliance",
            )


def test_harmbenchs_recorded_judges_are_moved_towards_the_humans(shared_data: Path) -> None:
    """Each judge is calibrated on one half of the behaviours, and corrected on the other."""
    path = shared_data / "harmbench" / "text_behaviors_val_set.json"
    groups: dict[str, list[dict[str, Any]]] = json.loads(path.read_text(encoding="utf-8"))
    names = sorted(groups)
    halves = [[row for name in names[i::2] for row in groups[name]] for i in (0, 1)]
    truth = sum(_majority(row) for row in halves[1]) / len(halves[1])
    for judge in ("gpt-4-0613", "mixtral", "llama_guard", "gpt-4-1106-preview", "cls", "GPTFuzz"):
        labels = confusion((_majority(row), bool(row[judge])) for row in halves[0])
        said = sum(bool(row[judge]) for row in halves[1])
        found = rogan_gladen(said, len(halves[1]), labels)
        low, high = limits(found.corrected)
        assert low <= truth <= high, judge


def _majority(row: dict[str, Any]) -> bool:
    return row["human_0"] + row["human_1"] + row["human_2"] >= 2
