"""Means of graded and of clustered scores, against brute force, scipy and published examples."""

import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.optimize import LinearConstraint, minimize
from scipy.stats import binomtest
from scipy.stats import t as student

from hiddenrisk.stats import rates
from hiddenrisk.stats.intervals import difference_limits, mean_limits
from hiddenrisk.stats.means import clustered_mean, difference_interval, mean_interval
from hiddenrisk.types import Estimate

GRADES = st.dictionaries(st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0]), st.integers(1, 300))
TRIPLES = st.tuples(st.integers(0, 200), st.integers(0, 200), st.integers(0, 200))


def limits(found: Estimate) -> tuple[float, float]:
    assert found.low is not None
    assert found.high is not None
    return found.low, found.high


@settings(deadline=None)
@given(successes=st.integers(0, 300), failures=st.integers(0, 300), level=st.floats(0.5, 0.999))
@example(successes=1, failures=1_000_000, level=0.95)
@example(successes=0, failures=1, level=0.95)
def test_scores_0_and_1_have_the_interval_of_wilson(
    successes: int, failures: int, level: float
) -> None:
    assume(successes + failures)
    found = mean_limits({0.0: failures, 1.0: successes}, (0.0, 1.0), level)
    expected = limits(rates.wilson(successes, successes + failures, level))
    assert found == pytest.approx(expected, abs=2e-8)


@pytest.mark.parametrize(
    ("only_first", "only_second", "n", "expected"),
    [
        # Fagerland, Lydersen & Laake 2014, Stat. Med. 33, 2850-2875, table V: Tango.
        (7, 1, 21, (-0.517, -0.026)),
        (1, 7, 21, (0.026, 0.517)),
        # No pair differs: Tango's limits are +- z^2 / (n + z^2).
        (0, 0, 44, (-0.080, 0.080)),
    ],
)
def test_paired_differences_have_the_interval_of_tango(
    only_first: int, only_second: int, n: int, expected: tuple[float, float]
) -> None:
    counts = {-1.0: only_first, 0.0: n - only_first - only_second, 1.0: only_second}
    found = mean_limits(counts, (-1.0, 1.0))
    assert tuple(round(limit, 3) for limit in found) == expected


@settings(deadline=None)
@given(counts=TRIPLES)
def test_at_each_limit_of_paired_differences_tango_has_his_statistic(
    counts: tuple[int, int, int],
) -> None:
    down, same, up = counts
    n = down + same + up
    assume(n)
    for at in mean_limits({-1.0: down, 0.0: same, 1.0: up}, (-1.0, 1.0)):
        if abs(at) < 1:
            assert abs(_tango(down, up, n, at)) == pytest.approx(1.959964, rel=1e-4)


def _tango(down: int, up: int, n: int, at: float) -> float:
    """The closed form of Tango 1998, equations 5 to 8, for up - down."""
    a, b, c = 2 * n, -up - down + (2 * n - up + down) * at, -down * at * (1 - at)
    q = (math.sqrt(b * b - 4 * a * c) - b) / (2 * a)
    return (up - down - n * at) / math.sqrt(n * (2 * q + at * (1 - at)))


@pytest.mark.parametrize(
    "counts",
    [
        {0.0: 3, 0.5: 4, 1.0: 33},
        {0.5: 4, 1.0: 36},  # 0 was never seen and may be all the same
        {0.5: 40},
        {0.0: 20, 0.25: 5, 0.75: 5},
        {1.0: 40},
    ],
)
def test_at_each_limit_the_likeliest_shares_are_as_far_off_as_the_level_says(
    counts: dict[float, int],
) -> None:
    n, support = sum(counts.values()), np.array([0.0, 0.25, 0.5, 0.75, 1.0])
    seen = np.array([counts.get(score, 0) for score in support.tolist()])
    mean = float(seen @ support) / n
    for at in mean_limits(counts, (0.0, 1.0)):
        if not 0 < at < 1:
            assert at == mean
            continue
        shares = _likeliest(seen, support, at)
        spread = float(shares @ (support - at) ** 2)
        assert abs(mean - at) / math.sqrt(spread / n) == pytest.approx(1.959964, rel=2e-3)


def _likeliest(
    seen: NDArray[np.int64], support: NDArray[np.float64], mean: float
) -> NDArray[np.float64]:
    """Shares of the scores by maximum likelihood under a mean, by a general optimiser."""

    def loss(shares: NDArray[np.float64]) -> float:
        return -float(seen @ np.log(np.maximum(shares, 1e-12))) / float(seen.sum())

    found = minimize(
        loss,
        np.full(len(support), 1 / len(support)),
        method="SLSQP",
        bounds=[(0, 1)] * len(support),
        constraints=LinearConstraint(
            np.array([np.ones(len(support)), support]), [1, mean], [1, mean]
        ),
        options={"ftol": 1e-12, "maxiter": 1000},
    )
    return np.asarray(found.x, np.float64)


@settings(deadline=None)
@given(counts=GRADES, level=st.floats(0.5, 0.999))
def test_graded_limits_hold_the_mean_and_lie_within_those_of_wilson(
    counts: dict[float, int], level: float
) -> None:
    assume(counts)
    found = rates.mean_of(counts, level)
    low, high = limits(found)
    assert found.value is not None
    widest = limits(rates.wilson(found.value * found.n, found.n, level))
    assert 0 <= low <= found.value <= high <= 1
    assert widest[0] - 1e-7 <= low < high <= widest[1] + 1e-7


@settings(deadline=None)
@given(counts=GRADES)
def test_graded_limits_turn_with_the_scale(counts: dict[float, int]) -> None:
    assume(counts)
    low, high = mean_limits(counts, (0.0, 1.0))
    turned = mean_limits({1 - score: k for score, k in counts.items()}, (0.0, 1.0))
    assert (1 - turned[1], 1 - turned[0]) == pytest.approx((low, high), abs=1e-7)
    stretched = mean_limits({5 * score: k for score, k in counts.items()}, (0.0, 5.0))
    assert stretched == pytest.approx((5 * low, 5 * high), abs=1e-6)


@settings(deadline=None)
@given(counts=GRADES, times=st.integers(2, 20))
def test_graded_limits_narrow_with_more_of_the_same(counts: dict[float, int], times: int) -> None:
    assume(counts)
    few = mean_limits(counts, (0.0, 1.0))
    many = mean_limits({score: k * times for score, k in counts.items()}, (0.0, 1.0))
    assert few[0] <= many[0] <= many[1] <= few[1]


def test_grades_on_a_scale_have_the_limits_of_their_share_of_it() -> None:
    found = rates.mean_on_scale({1.0: 4, 3.0: 10, 5.0: 6}, 5.0)
    share = rates.mean_of({0.2: 4, 0.6: 10, 1.0: 6})
    assert found.value == pytest.approx(64 / 20)
    assert limits(found) == pytest.approx([5 * limit for limit in limits(share)])


def test_an_array_of_scores_has_the_interval_of_its_counts() -> None:
    scores = np.array([0.0, 0.5, 0.5, 1.0, 1.0, 1.0])
    assert mean_interval(scores) == rates.mean_of(Counter(scores.tolist()))
    assert mean_interval(np.empty(0)) == rates.NOTHING


@pytest.mark.parametrize("wrong", [[1.5], [-0.1, 1.0], [0.5, math.nan]])
def test_scores_beyond_the_support_are_refused(wrong: list[float]) -> None:
    with pytest.raises(ValueError, match="scores between 0 and 1 are expected"):
        mean_interval(np.array(wrong))
    if not any(math.isnan(score) for score in wrong):
        with pytest.raises(ValueError, match="a score lies in"):
            rates.mean_of(Counter(wrong))


# ---------------------------------------------------------------- clusters


def test_clusters_of_one_are_no_clusters() -> None:
    scores = np.array([0.0, 0.5, 1.0, 1.0, 0.0, 1.0, 0.5])
    found = clustered_mean(scores, np.arange(7, dtype=np.uint64))
    assert found.value == mean_interval(scores).value
    assert limits(found) == pytest.approx(limits(mean_interval(scores)))


def test_repeats_that_never_differ_tell_no_more_than_one() -> None:
    once = np.array([0.0] * 7 + [1.0] * 33)
    prompts = np.arange(40, dtype=np.uint64)
    found = clustered_mean(np.tile(once, 5), np.tile(prompts, 5))
    assert (found.value, found.n) == (33 / 40, 200)
    assert limits(found) == pytest.approx(limits(rates.wilson(33, 40)))


def test_repeats_that_are_all_alike_still_leave_doubt() -> None:
    found = clustered_mean(np.ones(120), np.repeat(np.arange(30, dtype=np.uint64), 4))
    assert limits(found) == pytest.approx(limits(rates.wilson(30, 30)))


def test_the_standard_error_over_clusters_is_the_one_of_the_linearised_ratio() -> None:
    # With many clusters a score interval is the estimate +- z standard errors.
    rng = np.random.default_rng(5)
    sizes = rng.integers(1, 6, 20_000)
    clusters = np.repeat(np.arange(20_000, dtype=np.uint64), sizes)
    scores = (rng.random(len(clusters)) < np.repeat(rng.beta(2, 1, 20_000), sizes)).astype(float)
    found = clustered_mean(scores, clusters)
    assert found.value == pytest.approx(scores.mean())
    left = np.bincount(clusters.astype(int), scores - scores.mean())
    error = math.sqrt(float((left**2).sum())) / len(scores)
    low, high = limits(found)
    assert (high - low) / 2 == pytest.approx(1.959964 * error, rel=1e-3)


@settings(deadline=None)
@given(
    scores=st.lists(st.sampled_from([0.0, 0.5, 1.0]), min_size=1, max_size=60),
    prompts=st.integers(1, 20),
    seed=st.integers(0, 9),
)
def test_the_order_of_samples_and_the_names_of_clusters_do_not_matter(
    scores: list[float], prompts: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    values = np.array(scores)
    clusters = rng.integers(0, prompts, len(scores)).astype(np.uint64)
    shuffled = rng.permutation(len(scores))
    one = clustered_mean(values, clusters)
    other = clustered_mean(values[shuffled], 7 * clusters[shuffled] + 3)
    assert one.value is not None
    assert limits(other) == pytest.approx(limits(one), abs=1e-7)
    low, high = limits(one)
    assert 0 <= low <= one.value <= high <= 1


def test_every_score_needs_a_cluster() -> None:
    with pytest.raises(ValueError, match="2 scores have 1 clusters"):
        clustered_mean(np.array([0.0, 1.0]), np.array([3], np.uint64))
    assert clustered_mean(np.empty(0), np.empty(0, np.uint64)) == rates.NOTHING


# ---------------------------------------------------------------- the exact interval


@pytest.mark.parametrize("level", [0.9, 0.95])
@pytest.mark.parametrize("n", [1, 10, 263, 5694])
def test_the_exact_interval_is_the_one_of_scipy(n: int, level: float) -> None:
    for successes in {0, 1, n // 3, n - 1, n}:
        expected = binomtest(successes, n).proportion_ci(level, method="exact")
        found = limits(rates.clopper_pearson(successes, n, level))
        assert found == pytest.approx((expected.low, expected.high), abs=1e-9)


def test_the_exact_interval_is_the_one_of_a_worked_example() -> None:
    # Newcombe 1998, Statistics in Medicine 17, 857-872, table I: Clopper-Pearson.
    for successes, n, low, high in [(81, 263, 0.2527, 0.3676), (0, 20, 0.0, 0.1684)]:
        found = limits(rates.clopper_pearson(successes, n))
        assert tuple(round(limit, 4) for limit in found) == (low, high)
    assert rates.clopper_pearson(0, 0) == rates.NOTHING
    with pytest.raises(ValueError, match="no proportion"):
        rates.clopper_pearson(6, 5)


# ---------------------------------------------------------------- differences


def test_differences_that_repeats_never_change_have_the_interval_of_one_each() -> None:
    once = np.array([-1.0] * 2 + [0.0] * 30 + [1.0] * 8)
    prompts = np.arange(40, dtype=np.uint64)
    found = difference_interval(np.tile(once, 5), np.tile(prompts, 5))
    assert (found.value, found.n) == (6 / 40, 200)
    tango = mean_limits({-1.0: 2, 0.0: 30, 1.0: 8}, (-1.0, 1.0))
    assert limits(found) == pytest.approx(tango)
    assert limits(difference_interval(once)) == pytest.approx(tango)


def test_differences_that_are_all_alike_still_leave_doubt() -> None:
    prompts = np.repeat(np.arange(30, dtype=np.uint64), 2)
    for value in (0.0, 1.0, -1.0, 0.5):
        low, high = limits(difference_interval(np.full(60, value), prompts))
        assert -1 <= low <= value <= high <= 1
        assert high - low > 0.1


def test_the_interval_of_many_graded_differences_is_that_of_student() -> None:
    rng = np.random.default_rng(3)
    apart = rng.choice([-0.5, 0.0, 0.25, 0.5], 50_000)
    low, high = limits(difference_interval(apart))
    half = float(student.ppf(0.975, 49_999)) * float(apart.std(ddof=1)) / math.sqrt(50_000)
    assert (low, high) == pytest.approx((apart.mean() - half, apart.mean() + half), abs=1e-5)


def test_few_differences_that_hardly_vary_are_told_about_as_closely_as_by_student() -> None:
    # A score interval that thinks of prompts twice as far off was a quarter wider.
    sums = np.tile([-0.4, -0.2, 0.0, 0.0, 0.2, 0.4], 5)
    low, high = difference_limits(Counter(sums.tolist()))
    half = float(student.ppf(0.975, 29)) * float(sums.std(ddof=1)) / math.sqrt(30)
    assert high - low == pytest.approx(2 * half, rel=0.06)


@given(st.lists(st.sampled_from([-1.0, -0.6, -0.2, 0.0, 0.2, 0.6, 1.0]), min_size=1, max_size=40))
def test_differences_turned_round_have_their_interval_turned_round(apart: list[float]) -> None:
    low, high = difference_limits(Counter(apart))
    turned = difference_limits(Counter([-each for each in apart]))
    mean = math.fsum(apart) / len(apart)
    assert turned == pytest.approx((-high, -low), abs=1e-6)
    assert -1 <= low <= mean + 1e-9
    assert mean - 1e-9 <= high <= 1
    assert high > low


def test_a_difference_beyond_one_is_refused() -> None:
    with pytest.raises(ValueError, match="between -1 and 1 are expected"):
        difference_interval(np.array([0.5, -1.5]))
    assert difference_interval(np.empty(0)) == rates.NOTHING
