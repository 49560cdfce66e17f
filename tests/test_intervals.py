"""Score intervals and joined intervals, against scipy, brute force and worked examples."""

import math
from collections.abc import Callable, Sequence

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar
from scipy.stats import t as student

from hiddenrisk.stats.intervals import (
    Part,
    Term,
    mover_ratio,
    part_of,
    score_limits,
    score_statistic,
    stratified,
    stratified_score,
    t_quantile,
)
from hiddenrisk.stats.rates import wilson

COUNTS = st.integers(1, 400).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))


def difference(a: tuple[int, int], b: tuple[int, int]) -> tuple[float, float] | None:
    """Limits of a difference of two proportions."""
    terms = Term(1, *a), Term(-1, *b)
    value = a[0] / a[1] - b[0] / b[1]
    return score_limits(lambda d: score_statistic(terms, d), value, (-1, 1))


@given(counts=COUNTS)
def test_one_proportion_has_the_interval_of_wilson(counts: tuple[int, int]) -> None:
    k, n = counts
    limits = score_limits(lambda p: score_statistic([Term(1, k, n)], p), k / n, (0, 1))
    expected = wilson(k, n)
    assert limits == pytest.approx((expected.low, expected.high), abs=1e-6)


def test_a_difference_has_the_interval_of_a_worked_example() -> None:
    # Newcombe 1998, Statistics in Medicine 17, 873-890, table II: 56/70 - 48/80, Mee.
    limits = difference((56, 70), (48, 80))
    assert limits is not None
    assert [round(limit, 4) for limit in limits] == [0.0533, 0.3377]


@pytest.mark.parametrize("rate", [0.0, 0.01, 0.3, 0.77, 1.0])
@pytest.mark.parametrize(
    "counts",
    [
        [(230, 500), (45, 50), (3, 50)],
        [(30, 500), (50, 50), (0, 50)],
        [(480, 500), (49, 50), (20, 50)],
        [(2, 4000), (700, 1000), (10, 1000)],
    ],
)
def test_the_statistic_is_that_of_the_fit_by_brute_force(
    counts: Sequence[tuple[int, int]], rate: float
) -> None:
    said, hits, alarms = counts
    seen = said[0] / said[1] - rate * hits[0] / hits[1] - (1 - rate) * alarms[0] / alarms[1]
    s, f = _fit(said, hits, alarms, rate)
    p = rate * s + (1 - rate) * f
    variance = (
        p * (1 - p) / said[1]
        + rate**2 * s * (1 - s) / hits[1]
        + (1 - rate) ** 2 * f * (1 - f) / alarms[1]
    )
    terms = Term(1, *said), Term(-rate, *hits), Term(rate - 1, *alarms)
    assert score_statistic(terms) == pytest.approx(seen / math.sqrt(variance), rel=1e-3)


def _fit(
    said: tuple[int, int], hits: tuple[int, int], alarms: tuple[int, int], rate: float
) -> tuple[float, float]:
    """The likeliest sensitivity and false alarm rate, by two nested searches."""

    def loss(s: float, f: float) -> float:
        p = rate * s + (1 - rate) * f
        return -sum(
            _log(k, q) + _log(n - k, 1 - q) for (k, n), q in ((said, p), (hits, s), (alarms, f))
        )

    def best_alarms(s: float) -> float:
        return _least(lambda f: loss(s, f))

    s = _least(lambda s: loss(s, best_alarms(s)))
    return s, best_alarms(s)


def _least(function: Callable[[float], float]) -> float:
    found = minimize_scalar(function, bounds=(0, 1), method="bounded", options={"xatol": 1e-10})
    return float(found.x)


def _log(k: int, q: float) -> float:
    return k * math.log(max(q, 1e-300)) if k else 0.0


def test_what_no_proportions_fulfil_is_infinitely_far() -> None:
    assert score_statistic([Term(1, 3, 10)], 1.5) == -math.inf
    assert score_statistic([Term(1, 3, 10), Term(-1, 9, 10)], -1.5) == math.inf


def test_data_that_contradict_every_value_have_no_limits() -> None:
    statistic = [Term(1, 0, 1000), Term(-1, 50, 100)]
    assert score_limits(lambda d: score_statistic(statistic, d), 0.2, (0.2, 1)) is None


@example(a=(52, 52), b=(117, 117))  # rounding once held the search up between 77 and 87
@given(a=COUNTS, b=COUNTS)
def test_limits_of_a_difference_hold_it_and_turn_with_it(
    a: tuple[int, int], b: tuple[int, int]
) -> None:
    one, other = difference(a, b), difference(b, a)
    assert one is not None
    assert other is not None
    assert one[0] - 1e-7 <= a[0] / a[1] - b[0] / b[1] <= one[1] + 1e-7
    assert one == pytest.approx((-other[1], -other[0]), abs=1e-6)


@pytest.mark.parametrize("level", [0.8, 0.9, 0.95])
@pytest.mark.parametrize("df", [15, 28, 100, 1000])
def test_the_quantile_of_t_is_that_of_scipy(df: int, level: float) -> None:
    expected = float(student.ppf(0.5 + level / 2, df))
    assert t_quantile(level, df) == pytest.approx(expected, abs=5e-5)


def test_one_stratum_keeps_its_own_limits() -> None:
    assert stratified([Part(1, 0.1, 0.04, 0.2)], 50, 0.95) == pytest.approx((0.1, 0.04, 0.2))


def test_strata_that_are_known_leave_the_draw_of_the_sample() -> None:
    # Half the sample is surely unsafe and half surely safe: a plain proportion, by Wald.
    value, low, high = stratified([Part(0.5, 1, 1, 1), Part(0.5, 0, 0, 0)], 100, 0.95)
    half = 1.959964 * math.sqrt(0.25 / 100)
    assert (value, low, high) == pytest.approx((0.5, 0.5 - half, 0.5 + half))


def test_limits_of_a_ratio_are_where_the_difference_reaches_0() -> None:
    top, bottom = Part(1, 0.1, -0.02, 0.24), Part(1, 0.8, 0.7, 0.87)
    low, high = mover_ratio(top, bottom)
    # Donner & Zou's condition: the limit of top - R * bottom that is nearest to 0 is 0.
    assert top.value - high * bottom.value + math.hypot(0.14, high * 0.1) == pytest.approx(0)
    assert top.value - low * bottom.value - math.hypot(0.12, low * 0.1) == pytest.approx(0)
    assert mover_ratio(Part(1, -0.1, -0.24, 0.02), bottom) == pytest.approx((-high, -low))


def test_a_ratio_to_what_may_be_0_is_refused() -> None:
    with pytest.raises(ValueError, match="no limits"):
        mover_ratio(Part(1, 0.1, 0, 0.2), Part(1, 0.1, 0, 0.2))


# ---------------------------------------------------------------- strata, by score


def test_one_stratum_by_score_has_the_interval_of_wilson() -> None:
    plain = wilson(13, 80)
    value, low, high = stratified_score([Term(1.0, 13, 80)], 80)
    assert (value, low, high) == pytest.approx((13 / 80, plain.low, plain.high))


def test_at_each_limit_the_sum_lies_as_far_off_as_the_level_says() -> None:
    terms = [Term(0.5, 4, 90), Term(0.2, 25, 40), Term(0.3, 58, 60)]
    value, *limits = stratified_score(terms, 4000)
    between = math.fsum(c * (k / n - value) ** 2 for c, k, n in terms) / 4000
    for limit in limits:
        fitted = ((value - limit) / score_statistic(terms, limit)) ** 2
        assert abs(value - limit) == pytest.approx(1.95996 * math.sqrt(fitted + between), rel=1e-4)


def test_where_all_rates_are_small_the_score_interval_still_holds() -> None:
    """MOVER holds in 91% there."""
    rng = np.random.default_rng(4)
    weights, rates, sizes = (0.5, 0.2, 0.3), (0.01, 0.02, 0.03), (10, 20, 10)
    truth = math.fsum(w * r for w, r in zip(weights, rates, strict=True))
    held = {"score": 0, "mover": 0}
    for counts in rng.binomial(sizes, rates, (1000, 3)).tolist():
        strata = list(zip(weights, counts, sizes, strict=True))
        _, low, high = stratified_score([Term(*each) for each in strata], 4000)
        held["score"] += low <= truth <= high
        parts = [part_of(wilson(k, n), w) for w, k, n in strata]
        _, low, high = stratified(parts, 4000, 0.95)
        held["mover"] += low <= truth <= high
    assert held["score"] > 920 > held["mover"]
