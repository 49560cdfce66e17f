"""Rates and their intervals, against scipy and against their own laws."""

import math
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom, binomtest

from hiddenrisk.stats import rates
from hiddenrisk.types import Estimate

SCORES = st.sampled_from([0.0, 0.5, 1.0])
COUNTS = st.dictionaries(SCORES, st.integers(0, 10_000), max_size=3)
LEVELS = st.floats(0.5, 0.999)


def known(estimate: Estimate) -> tuple[float, float, float]:
    """Low, value and high of an estimate that is there."""
    assert estimate.low is not None
    assert estimate.value is not None
    assert estimate.high is not None
    return estimate.low, estimate.value, estimate.high


@pytest.mark.parametrize("level", [0.8, 0.95, 0.99])
@pytest.mark.parametrize("n", [1, 2, 7, 64, 628, 5694])
def test_the_interval_is_the_one_of_scipy(n: int, level: float) -> None:
    for successes in {0, 1, n // 3, n // 2, n - 1, n}:
        low, value, high = known(rates.wilson(successes, n, level))
        expected = binomtest(successes, n).proportion_ci(level, method="wilson")
        assert value == successes / n
        assert math.isclose(low, expected.low, abs_tol=1e-12)
        assert math.isclose(high, expected.high, abs_tol=1e-12)


def test_the_interval_is_the_one_of_a_worked_example() -> None:
    # Newcombe 1998, Statistics in Medicine 17, 857-872, table I: Wilson without correction.
    for successes, n, low, high in [
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ]:
        found = known(rates.wilson(successes, n))
        assert (round(found[0], 4), round(found[2], 4)) == (low, high)


def test_nothing_gives_no_estimate_and_never_zero() -> None:
    nothing = Estimate(value=None, low=None, high=None, n=0)
    assert rates.wilson(0, 0) == nothing
    assert rates.mean_of({}) == nothing
    assert rates.mean_of({1.0: 0}) == nothing
    assert rates.band({}, 0) is None


def test_scores_in_between_count_as_fractions_of_a_success() -> None:
    half = rates.mean_of({0.0: 10, 0.5: 20, 1.0: 30})
    assert (half.value, half.n) == (40 / 60, 60)
    low, _, high = known(half)
    widest = known(rates.wilson(40, 60))
    assert widest[0] < low < high < widest[2]  # they vary less than 40 times 1 and 20 times 0
    assert rates.mean_of({0.5: 3}).value == 0.5


@pytest.mark.parametrize(("successes", "n"), [(-1, 5), (6, 5), (5.001, 5), (math.nan, 5), (1, -2)])
def test_a_sum_that_cannot_be_is_refused(successes: float, n: int) -> None:
    with pytest.raises(ValueError, match="cannot be"):
        rates.wilson(successes, n)


@given(counts=COUNTS, level=LEVELS)
def test_an_interval_holds_its_point_and_stays_between_0_and_1(
    counts: dict[float, int], level: float
) -> None:
    n = sum(counts.values())
    total = sum(score * count for score, count in counts.items())
    if n == 0:
        return
    low, value, high = known(rates.wilson(total, n, level))
    assert 0 <= low <= value <= high <= 1
    assert low < high


@given(successes=st.integers(0, 50), failures=st.integers(0, 50), times=st.integers(2, 20))
def test_an_interval_shrinks_with_more_of_the_same(
    successes: int, failures: int, times: int
) -> None:
    n = successes + failures
    if n == 0:
        return
    few, many = rates.wilson(successes, n), rates.wilson(successes * times, n * times)
    assert width(many) < width(few)
    assert many.value == few.value


@given(successes=st.integers(0, 500), failures=st.integers(1, 500), level=LEVELS)
def test_an_interval_is_the_mirror_image_for_the_other_outcome(
    successes: int, failures: int, level: float
) -> None:
    n = successes + failures
    one, other = known(rates.wilson(successes, n, level)), known(rates.wilson(failures, n, level))
    assert math.isclose(one[0], 1 - other[2], abs_tol=1e-9)
    assert math.isclose(one[2], 1 - other[0], abs_tol=1e-9)


@given(successes=st.integers(0, 500), failures=st.integers(1, 500))
def test_an_interval_widens_with_the_level(successes: int, failures: int) -> None:
    n = successes + failures
    assert width(rates.wilson(successes, n, 0.8)) < width(rates.wilson(successes, n, 0.99))


@given(counts=COUNTS, uncounted=st.integers(0, 10_000))
def test_the_band_brackets_the_rate_whatever_the_uncounted_are(
    counts: dict[float, int], uncounted: int
) -> None:
    limits = rates.band(counts, uncounted)
    if sum(counts.values()) + uncounted == 0:
        assert limits is None
        return
    assert limits is not None
    low, high = limits
    assert 0 <= low <= high <= 1
    for safe in {0, uncounted // 2, uncounted}:
        full = Counter(counts)
        full[1.0] += safe
        full[0.0] += uncounted - safe
        value = rates.mean_of(full).value
        assert value is not None
        assert low - 1e-12 <= value <= high + 1e-12


@given(counts=COUNTS)
def test_with_nothing_uncounted_the_band_is_the_rate(counts: dict[float, int]) -> None:
    limits = rates.band(counts, 0)
    value = rates.mean_of(counts).value
    assert limits == (None if value is None else (value, value))


def width(estimate: Estimate) -> float:
    low, _, high = known(estimate)
    return high - low


# ---------------------------------------------------------------- what if


@pytest.mark.parametrize(
    ("others", "n", "safe", "unsafe", "excluded"),
    [
        ({0.0: 3, 1.0: 1}, 4, 5 / 8, 1 / 8, 1 / 4),
        ({0.0: 1, 0.5: 2, 1.0: 1}, 1, 3 / 5, 2 / 5, 2 / 4),
        ({}, 3, 1.0, 0.0, None),
        ({1.0: 2}, 0, 1.0, 1.0, 1.0),
        ({}, 0, None, None, None),
    ],
)
def test_a_class_of_samples_is_counted_safe_unsafe_and_left_out(
    others: dict[float, int],
    n: int,
    safe: float | None,
    unsafe: float | None,
    excluded: float | None,
) -> None:
    assert rates.what_if(others, n) == rates.WhatIf(
        n=n, safe=safe, unsafe=unsafe, excluded=excluded
    )


@given(counts=COUNTS, uncounted=st.integers(0, 1000))
def test_one_class_that_is_all_the_uncounted_moves_the_rate_as_far_as_the_band(
    counts: dict[float, int], uncounted: int
) -> None:
    found, band = rates.what_if(counts, uncounted), rates.band(counts, uncounted)
    assert (found.unsafe, found.safe) == (band or (None, None))
    assert found.excluded == rates.mean_of(counts).value


@pytest.mark.parametrize(
    ("n", "rank"), [(5, None), (6, 1), (9, 2), (20, 6), (100, 40), (516, 236), (20_000, 9861)]
)
def test_the_interval_of_a_median_lies_between_the_ranks_of_the_binomial(
    n: int, rank: int | None
) -> None:
    found = rates.median_of([float(value) for value in range(n, 0, -1)])
    assert (found.value, found.n) == ((n + 1) / 2, n)
    if rank is None:
        assert (found.low, found.high) == (None, None)
    else:
        # Ranks as in Conover's table A3; here the values are their own ranks.
        assert (found.low, found.high) == (rank, n + 1 - rank)
        assert 2 * float(binom.cdf(rank - 1, n, 0.5)) <= 0.05 < 2 * float(binom.cdf(rank, n, 0.5))


def test_no_values_have_no_median() -> None:
    assert rates.median_of([]).value is None
