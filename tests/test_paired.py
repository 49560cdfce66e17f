"""Paired and unpaired comparisons, against scipy, statsmodels, enumeration and papers."""

import itertools
import math
from importlib import import_module

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom, binomtest

from hiddenrisk.stats import rates
from hiddenrisk.stats.paired import (
    LEAST_P,
    PairedTest,
    mcnemar_midp,
    noninferior,
    paired_test,
    sign_flip,
    unpaired_difference,
)
from hiddenrisk.types import Estimate

# Without types of its own; and some of its names begin with "test".
PROPORTION = import_module("statsmodels.stats.proportion")
TABLES = import_module("statsmodels.stats.contingency_tables")
GRADES = st.sampled_from([0.0, 0.5, 1.0])
Floats = np.ndarray[tuple[int], np.dtype[np.float64]]


def table(both: int, only_first: int, only_second: int, neither: int) -> tuple[Floats, Floats]:
    """Pairs of 0/1 scores with these counts."""
    counts = [both, only_first, only_second, neither]
    return np.repeat([1.0, 1.0, 0.0, 0.0], counts), np.repeat([1.0, 0.0, 1.0, 0.0], counts)


def limits(found: Estimate) -> tuple[float, float]:
    assert found.low is not None
    assert found.high is not None
    return found.low, found.high


def test_the_comparison_is_that_of_a_published_table() -> None:
    # Bentur et al. 2009 in Fagerland, Lydersen & Laake 2013, BMC Med. Res. Methodol. 13:91
    # (tests), and 2014, Stat. Med. 33, 2850-2875 (Tango's interval, table V).
    found = paired_test(*table(1, 1, 7, 12))
    assert (found.n, found.only_first, found.only_second) == (21, 1, 7)
    assert found.test == "mcnemar_midp"
    assert found.p == pytest.approx(0.0391, abs=5e-5)
    assert found.exact_p == pytest.approx(0.0703, abs=5e-5)
    assert [round(x, 3) for x in limits(found.difference)] == [0.026, 0.517]
    assert found.difference.value == pytest.approx(6 / 21)


def test_the_exact_test_and_odds_are_those_of_a_second_table() -> None:
    # Cavo et al. 2012, as above: 59, 6, 16, 80.
    found = paired_test(*table(59, 6, 16, 80))
    expected = TABLES.mcnemar([[59, 6], [16, 80]], exact=True)
    assert found.exact_p == pytest.approx(float(expected.pvalue))
    share = binomtest(16, 22).proportion_ci(method="exact")
    assert found.odds_ratio.value == pytest.approx(16 / 6)
    assert limits(found.odds_ratio) == pytest.approx(
        (share.low / (1 - share.low), share.high / (1 - share.high))
    )
    assert found.effect == pytest.approx(
        float(PROPORTION.proportion_effectsize(75 / 161, 65 / 161))
    )


def test_many_pairs_give_the_statistic_of_a_textbook() -> None:
    # Agresti, An Introduction to Categorical Data Analysis, 9.1 (two ratings of a leader by
    # 1,600 people): McNemar's statistic is 17.3559 with 1 degree of freedom.
    found = paired_test(*table(794, 150, 86, 570))
    assert found.difference.value == pytest.approx(-0.04)
    assert found.p == pytest.approx(math.erfc(math.sqrt(17.3559 / 2)), rel=0.1)


@settings(deadline=None)
@given(one=st.integers(0, 400), other=st.integers(0, 400))
def test_mid_p_lies_below_the_exact_p_by_what_was_seen(one: int, other: int) -> None:
    exact, mid = rates.mcnemar(one, other), mcnemar_midp(one, other)
    if one + other == 0:
        assert exact is mid is None
        return
    assert exact is not None
    assert mid is not None
    seen = math.comb(one + other, one) / 2 ** (one + other)
    assert mid == pytest.approx(1 - seen / 2 if one == other else exact - seen, rel=1e-6)


@settings(deadline=None)
@given(one=st.integers(0, 300), other=st.integers(0, 300), same=st.integers(0, 50))
def test_flipping_signs_of_0_and_1_is_the_test_of_mcnemar(one: int, other: int, same: int) -> None:
    expected = mcnemar_midp(one, other)
    found = sign_flip(np.repeat([-1.0, 1.0, 0.0], [one, other, same]))
    if expected is None:
        assert found is None
    else:
        assert found == pytest.approx(max(expected, LEAST_P), rel=1e-6, abs=1e-12)


@settings(deadline=None)
@given(values=st.lists(st.sampled_from([-1.0, -0.5, -0.25, 0.0, 1 / 3, 0.5, 0.7]), max_size=9))
def test_flipping_signs_gives_what_trying_all_signs_gives(values: list[float]) -> None:
    found = sign_flip(np.array(values))
    sizes = [abs(value) for value in values if value]
    if not sizes:
        assert found is None
        return
    seen = abs(math.fsum(values))
    sums = [
        abs(math.fsum(sign * size for sign, size in zip(signs, sizes, strict=True)))
        for signs in itertools.product((-1, 1), repeat=len(sizes))
    ]
    beyond = sum(each > seen + 1e-9 for each in sums)
    equal = sum(abs(each - seen) <= 1e-9 for each in sums)
    assert found == pytest.approx((beyond + equal / 2) / len(sums), abs=1e-9)


def test_very_many_pairs_are_tested_by_the_normal_distribution() -> None:
    rng = np.random.default_rng(3)
    apart = rng.choice([-1.0, -0.5, 0.0, 0.5, 1.0], 3_000_000, p=[0.1, 0.1, 0.6, 0.1, 0.1])
    found, part = sign_flip(apart), sign_flip(apart[:1_000_000])
    assert found is not None
    assert part is not None
    z = abs(float(apart.sum())) / math.sqrt(float((apart**2).sum()))
    assert found == pytest.approx(math.erfc(z / math.sqrt(2)))
    exact = abs(float(apart[:1_000_000].sum())) / math.sqrt(float((apart[:1_000_000] ** 2).sum()))
    assert part == pytest.approx(math.erfc(exact / math.sqrt(2)), abs=2e-4)


PAIRS = st.lists(st.tuples(GRADES, GRADES, st.integers(0, 8)), min_size=1, max_size=60)


@settings(deadline=None)
@given(pairs=PAIRS, repeated=st.booleans())
def test_the_other_way_round_all_is_mirrored(
    pairs: list[tuple[float, float, int]], repeated: bool
) -> None:
    first, second = (np.array([pair[side] for pair in pairs]) for side in (0, 1))
    prompts = np.array([pair[2] for pair in pairs], np.uint64) if repeated else None
    one, other = paired_test(first, second, prompts), paired_test(second, first, prompts)
    assert (one.only_first, one.only_second) == (other.only_second, other.only_first)
    low, high = limits(one.difference)
    assert limits(other.difference) == pytest.approx((-high, -low), abs=1e-6)
    assert one.difference.value is not None
    assert -1 <= low <= one.difference.value <= high <= 1
    assert one.p == (None if other.p is None else pytest.approx(other.p, abs=1e-9))
    assert one.effect == (None if other.effect is None else pytest.approx(-other.effect))


def test_a_model_against_itself_differs_nowhere() -> None:
    scores = np.array([0.0, 1.0] * 40)
    found = paired_test(scores, scores)
    assert (found.p, found.exact_p, found.difference.value, found.effect) == (None, None, 0.0, 0.0)
    assert found.odds_ratio == rates.NOTHING
    low, high = limits(found.difference)
    assert -low == pytest.approx(high)
    assert high == pytest.approx(1.959964**2 / (80 + 1.959964**2))


def test_no_pairs_compare_nothing() -> None:
    found = paired_test(np.empty(0), np.empty(0))
    assert found == PairedTest(
        n=0,
        first=rates.NOTHING,
        second=rates.NOTHING,
        difference=rates.NOTHING,
        p=None,
        test="mcnemar_midp",
        exact_p=None,
        only_first=0,
        only_second=0,
        odds_ratio=rates.NOTHING,
        effect=None,
    )


def test_odds_that_have_no_bound_have_no_value() -> None:
    found = paired_test(*table(10, 0, 5, 10)).odds_ratio
    assert (found.value, found.high, found.n) == (None, None, 5)
    assert found.low == pytest.approx(0.9164, abs=1e-4)  # of all 5: odds of 0.025 ** (1 / 5)
    other = paired_test(*table(10, 5, 0, 10)).odds_ratio
    assert (other.value, other.low) == (0.0, 0.0)


def test_repeats_that_never_differ_test_as_one() -> None:
    first, second = table(20, 3, 12, 15)
    once = paired_test(first, second)
    prompts = np.tile(np.arange(50, dtype=np.uint64), 4)
    found = paired_test(np.tile(first, 4), np.tile(second, 4), prompts)
    assert (found.n, found.test, found.exact_p) == (200, "permutation_midp", None)
    assert found.p == pytest.approx(once.p)
    assert limits(found.difference) == pytest.approx(limits(once.difference), abs=1e-6)
    assert found.odds_ratio.value == once.odds_ratio.value == 4.0


def test_graded_scores_have_their_difference_in_standard_deviations() -> None:
    first, second = np.array([0.0, 0.5, 1.0, 0.5]), np.array([0.5, 1.0, 1.0, 0.5])
    found = paired_test(first, second)
    spread = math.sqrt((first.var(ddof=1) + second.var(ddof=1)) / 2)
    assert found.test == "permutation_midp"
    assert found.effect == pytest.approx(0.25 / spread)
    assert found.p == pytest.approx(0.25)  # 2 of 4 choices of signs are as far off
    assert paired_test(np.array([0.5]), np.array([1.0])).effect is None


def test_arrays_that_cannot_be_paired_are_refused() -> None:
    with pytest.raises(ValueError, match="2 scores cannot be paired with 1"):
        paired_test(np.array([0.0, 1.0]), np.array([1.0]))
    with pytest.raises(ValueError, match="none missing"):
        paired_test(np.array([0.0, math.nan]), np.array([1.0, 1.0]))
    with pytest.raises(ValueError, match="2 scores have 1 clusters"):
        paired_test(np.array([0.0, 1.0]), np.array([1.0, 1.0]), np.array([1], np.uint64))


# ---------------------------------------------------------------- not worse


def estimate(low: float, high: float) -> Estimate:
    return Estimate(value=(low + high) / 2, low=low, high=high, n=100)


def test_not_worse_is_what_the_bound_says() -> None:
    assert noninferior(estimate(-0.019, 0.03), 0.02) is True
    assert noninferior(estimate(-0.02, 0.03), 0.02) is False
    assert noninferior(estimate(-0.2, -0.1), 0.02) is False
    assert noninferior(rates.NOTHING, 0.02) is None


def test_not_worse_of_a_rate_that_is_to_be_low_looks_at_the_other_bound() -> None:
    assert noninferior(estimate(-0.3, 0.019), 0.02, lower_is_better=True) is True
    assert noninferior(estimate(-0.019, 0.03), 0.02, lower_is_better=True) is False
    with pytest.raises(ValueError, match="not negative"):
        noninferior(estimate(0, 1), -0.02)


# ---------------------------------------------------------------- without pairs


def test_two_rates_have_the_interval_and_the_test_of_worked_examples() -> None:
    # Newcombe 1998, Statistics in Medicine 17, 873-890, table II: 56/70 - 48/80, Mee.
    first, second = np.repeat([1.0, 0.0], [48, 32]), np.repeat([1.0, 0.0], [56, 14])
    found = unpaired_difference(first, second)
    assert [round(x, 4) for x in limits(found.difference)] == [0.0533, 0.3377]
    assert (found.difference.value, found.difference.n) == (pytest.approx(0.2), 150)
    expected = PROPORTION.test_proportions_2indep(
        56, 70, 48, 80, method="score", compare="diff", correction=False
    )
    assert found.p == pytest.approx(float(expected.pvalue))


def test_graded_samples_are_joined_from_their_own_intervals() -> None:
    rng = np.random.default_rng(8)
    first, second = rng.choice([0.0, 0.5, 1.0], 200), rng.choice([0.5, 1.0], 300)
    found = unpaired_difference(first, second)
    a, b = rates.mean_of(counts(first)), rates.mean_of(counts(second))
    assert a.value is not None
    assert b.value is not None
    below = math.hypot(b.value - limits(b)[0], limits(a)[1] - a.value)
    assert limits(found.difference)[0] == pytest.approx(b.value - a.value - below)


def counts(scores: Floats) -> dict[float, int]:
    values, times = np.unique(scores, return_counts=True)
    return dict(zip(values.tolist(), times.tolist(), strict=True))


@settings(deadline=None)
@given(seed=st.integers(0, 200), clustered=st.booleans())
def test_the_test_of_graded_samples_agrees_with_their_interval(seed: int, clustered: bool) -> None:
    rng = np.random.default_rng(seed)
    first = rng.choice([0.0, 0.5, 1.0], 60)
    second = rng.choice([0.0, 0.5, 1.0], 60, p=[0.2, 0.3, 0.5])
    prompts = np.repeat(np.arange(20, dtype=np.uint64), 3) if clustered else None
    found = unpaired_difference(first, second, prompts, prompts)
    low, high = limits(found.difference)
    assert found.p is not None
    assert (found.p < 0.05) == (not low <= 0 <= high)


def test_a_side_without_scores_compares_nothing() -> None:
    found = unpaired_difference(np.empty(0), np.array([1.0]))
    assert found == (rates.NOTHING, None)
    same = unpaired_difference(np.ones(5), np.ones(9))
    assert (same.difference.value, same.p) == (0.0, 1.0)


@pytest.mark.parametrize("n", [400, 20_000])
@pytest.mark.parametrize("lean", [0.0, 0.02, 0.05, 0.4])
def test_many_graded_differences_have_the_p_of_two_binomials(n: int, lean: float) -> None:
    dice = np.random.default_rng(n)
    weights = np.array([1, 1, 1, 1 + lean])
    differences = dice.choice([-1.0, -0.5, 0.5, 1.0], n, p=weights / weights.sum())
    halves, wholes = (int((abs(differences) == size).sum()) for size in (0.5, 1.0))
    total, seen = halves + 2 * wholes, abs(int(2 * differences.sum()))
    plus, ones = (total + seen) // 2, np.arange(wholes + 1)
    weight = binom.pmf(ones, wholes, 0.5)
    beyond = float((weight * binom.sf(plus - 2 * ones, halves, 0.5)).sum())
    there = float((weight * binom.pmf(plus - 2 * ones, halves, 0.5)).sum())
    exact = max(LEAST_P, min(1.0, 2 * beyond + (there if seen else there / 2)))
    assert sign_flip(differences) == pytest.approx(exact, rel=1e-6, abs=1e-12)
