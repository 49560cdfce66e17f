"""From tests to answers: each rule by itself, and how often chance alone is called an effect."""

from importlib import import_module

import numpy as np
import pytest

from hiddenrisk.stats.decisions import Decision, Hypothesis, conclude, decide
from hiddenrisk.stats.paired import paired_test
from hiddenrisk.types import Estimate

MULTITEST = import_module("statsmodels.stats.multitest")
NOTHING = Estimate(value=None, low=None, high=None, n=0)


def effect(value: float, low: float, high: float, p: float | None) -> Hypothesis:
    found = Estimate(value=value, low=low, high=high, n=100)
    return Hypothesis(effect=found, p=p, smallest=0.02)


UP = effect(0.2, 0.1, 0.3, 0.001)
DOWN = effect(-0.2, -0.3, -0.1, 0.001)
UNCLEAR = effect(0.05, -0.05, 0.15, 0.4)
NEAR_ZERO = effect(0.001, -0.01, 0.012, 0.8)
UNKNOWN = Hypothesis(effect=NOTHING, p=None, smallest=0.02)


def test_a_hypothesis_is_decided_by_its_corrected_p_its_direction_and_its_interval() -> None:
    answers = [d.answer for d in decide([UP, DOWN, UNCLEAR, NEAR_ZERO, UNKNOWN])]
    assert answers == ["supported", "refuted", "undecided", "refuted", "not_measured"]
    assert [d.reversed for d in decide([DOWN, NEAR_ZERO])] == [True, False]


def test_that_nothing_was_found_refutes_nothing() -> None:
    (wide,) = decide([effect(0.0, -0.1, 0.1, 1.0)])
    assert wide.answer == "undecided"
    (never,) = decide([effect(0.0, -0.1, 0.1, None)])
    assert (never.answer, never.p_holm) == ("undecided", None)
    (unbounded,) = decide([Hypothesis(effect=NEAR_ZERO.effect, p=0.8, smallest=None)])
    assert unbounded.answer == "undecided", "no effect is too small where none is named"


def test_an_effect_that_is_surely_too_small_to_matter_is_supported_and_said_to_be_small() -> None:
    (found,) = decide([effect(0.01, 0.005, 0.015, 0.0001)])
    assert (found.answer, found.small) == ("supported", True)


def test_a_p_that_does_not_outlast_the_correction_supports_nothing() -> None:
    close = effect(0.1, 0.01, 0.19, 0.03)
    assert decide([close])[0].answer == "supported"
    assert [d.answer for d in decide([close, UNCLEAR])] == ["undecided", "undecided"]
    assert decide([close, UNKNOWN])[0].answer == "supported", "what is not tested costs nothing"


def test_the_correction_is_holms() -> None:
    ps = [0.04, 0.001, 0.3, 0.012, 0.9, 0.013]
    found = [d.p_holm for d in decide([effect(0.1, 0.0, 0.2, p) for p in ps])]
    assert found == pytest.approx(MULTITEST.multipletests(ps, method="holm")[1].tolist())


@pytest.mark.parametrize(
    ("hypotheses", "answer"),
    [
        ([UP], "supported"),
        ([UP, UNCLEAR, NEAR_ZERO], "supported"),
        ([UP, DOWN], "mixed"),
        ([DOWN], "refuted"),
        ([DOWN, UNCLEAR], "refuted"),
        ([NEAR_ZERO, NEAR_ZERO], "refuted"),
        ([NEAR_ZERO, UNCLEAR], "undecided"),
        ([UNCLEAR, UNKNOWN], "undecided"),
        ([NEAR_ZERO, UNKNOWN], "refuted"),
        ([UNKNOWN], "not_measured"),
        ([], "not_measured"),
    ],
)
def test_a_question_is_answered_by_all_its_hypotheses(
    hypotheses: list[Hypothesis], answer: str
) -> None:
    assert conclude(decide(hypotheses)) == answer


# ---------------------------------------------------------------- chance


def _family(dice: np.random.Generator, apart: float, size: int, n: int) -> list[Decision]:
    """So many comparisons of two models whose second is safer by `apart`, on n prompts each."""
    found: list[Hypothesis] = []
    for base in dice.uniform(0.2, 0.8 - apart, size):
        ease = dice.random(n)  # what makes a prompt easy is so for both
        first, second = (
            ((ease + dice.random(n)) / 2 < share).astype(np.float64)
            for share in (base, base + apart)
        )
        test = paired_test(first, second)
        found.append(Hypothesis(effect=test.difference, p=test.p, smallest=0.02))
    return decide(found)


def test_models_with_equal_shares_are_called_different_in_five_of_a_hundred_runs_at_most() -> None:
    dice = np.random.default_rng(7)
    families = [_family(dice, 0.0, 6, 150) for _ in range(200)]
    wrong = sum(any(d.answer == "supported" or d.reversed for d in f) for f in families)
    assert wrong <= 17, "10 are expected; 18 or more have a probability of 1%"
    assert wrong >= 2, "nor is the test one that finds nothing"
    assert {conclude(f) for f in families} >= {"undecided"}


def test_a_difference_is_found_where_there_is_one() -> None:
    dice = np.random.default_rng(8)
    answers = [conclude(_family(dice, 0.15, 6, 150)) for _ in range(50)]
    assert answers.count("supported") >= 48


def test_a_family_without_any_effect_is_refuted_once_there_is_enough_of_it() -> None:
    dice = np.random.default_rng(9)
    answers = [conclude(_family(dice, 0.0, 2, 12_000)) for _ in range(25)]
    assert answers.count("refuted") >= 18, answers
    assert answers.count("supported") <= 3
