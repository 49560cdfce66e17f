"""Intervals for numbers made of several proportions: pure, counts in, limits out.

Two ways, both without a normal approximation of the number itself:

- the score interval holds every value that the data do not contradict. For each value
  tried, the proportions are fitted again under it, so that the variance is right where
  it matters and nothing breaks down at 0 or 1;
- MOVER joins the intervals of the parts into one of their weighted sum.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from statistics import NormalDist
from typing import NamedTuple

from hiddenrisk.types import Estimate


class Term(NamedTuple):
    """`coefficient` times a proportion that was seen `k` times in `n`."""

    coefficient: float
    k: float
    """A sum of scores, where they are not all 0 or 1."""
    n: int


class Part(NamedTuple):
    """`weight` times a number that was estimated with limits of its own."""

    weight: float
    value: float
    low: float
    high: float


def part_of(estimate: Estimate, weight: float = 1.0) -> Part:
    """An estimate with its weight.

    Raises:
        ValueError: there was nothing to estimate from.
    """
    if estimate.value is None or estimate.low is None or estimate.high is None:
        raise ValueError("what has no estimate cannot be a part of a sum")
    return Part(weight, estimate.value, estimate.low, estimate.high)


@lru_cache
def normal_quantile(level: float) -> float:
    """How many standard errors a two-sided interval of this coverage takes each way."""
    return NormalDist().inv_cdf(0.5 + level / 2)


def t_quantile(level: float, df: int) -> float:
    """The same for Student's t, from 3 degrees of freedom on.

    Source: the expansion in Abramowitz & Stegun 1964, 26.7.5; at the 95% level wrong by
    less than 1 in 100 at df = 3 and by less than 2 in 100,000 from df = 15.
    """
    z = normal_quantile(level)
    g1 = (z**3 + z) / 4
    g2 = (5 * z**5 + 16 * z**3 + 3 * z) / 96
    g3 = (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384
    return z + g1 / df + g2 / df**2 + g3 / df**3


def score_statistic(terms: Sequence[Term], constant: float = 0.0) -> float:
    """How far the counts lie from "the terms add up to `constant`", in standard errors.

    The proportions are fitted by maximum likelihood under that equation. Each fitted one
    solves a quadratic that only shares one multiplier with the others, so that one
    number is searched, however many terms there are.

    Returns:
        Rao's score statistic with the sign of (seen - constant); infinite where no
        proportions in [0, 1] fulfil the equation.

    Source: Rao 1948, Proc. Camb. Phil. Soc. 44, 50-57. One term gives Wilson's interval,
    a difference of two gives that of Mee 1984.
    """
    seen = math.fsum(t.coefficient * (t.k / t.n) for t in terms) - constant
    if seen == 0:
        return 0.0
    sign = math.copysign(1.0, seen)
    flipped = [Term(sign * t.coefficient, t.k, t.n) for t in terms]
    variance = _variance_when_fitted(flipped, sign * constant, abs(seen))
    return seen / math.sqrt(variance) if variance > 0 else sign * math.inf


def _variance_when_fitted(terms: Sequence[Term], constant: float, seen: float) -> float:
    """Variance of the sum at the fitted proportions; 0 where nothing fits."""
    low, high, before = 0.0, math.inf, math.inf
    at = seen / math.fsum(_agresti(t) for t in terms)
    for _ in range(100):
        gap, slope, variance = _gap(terms, constant, at)
        if abs(gap) <= 1e-9 * seen:
            return variance
        low, high = (at, high) if gap > 0 else (low, at)
        step = at - gap / slope if slope < 0 else math.inf
        # Newton where it stays inside what is known and gets on; else outwards, or halfway. It
        # does not get on where a fitted proportion is 0 or 1 but for rounding.
        inside = low < step < min(high, 8 * at) and abs(gap) <= before / 2
        before = abs(gap)
        at = step if inside else min(4 * at, (low + high) / 2)
    return _gap(terms, constant, at)[2] if math.isfinite(high) else 0.0


def _agresti(term: Term) -> float:
    """Variance of one term, never 0: with one more seen of either kind."""
    coefficient, k, n = term
    p = (k + 1) / (n + 2)
    return coefficient**2 * p * (1 - p) / n


def _gap(terms: Sequence[Term], constant: float, multiplier: float) -> tuple[float, float, float]:
    """The sum less the constant, its slope, and its variance, at one multiplier.

    k / q - (n - k) / (1 - q) = t says which proportion q a multiplier t = multiplier *
    coefficient belongs to; of the two forms of the root that which cancels nothing is taken.
    """
    gap, slope, variance = -constant, 0.0, 0.0
    for coefficient, k, n in terms:
        t = multiplier * coefficient
        root = math.sqrt((n - t) ** 2 + 4 * t * (n - k) if t > 0 else (n + t) ** 2 - 4 * t * k)
        q = 2 * k / (n + t + root) if n + t > 0 else (n + t - root) / (2 * t)
        spread = q * (1 - q)
        gap += coefficient * q
        variance += coefficient**2 * spread / n
        curve = k * (1 - q) ** 2 + (n - k) * q**2
        if curve > 0:
            slope -= coefficient**2 * spread**2 / curve
    return gap, slope, variance


def score_limits(
    statistic: Callable[[float], float],
    value: float,
    ends: tuple[float, float],
    level: float = 0.95,
) -> tuple[float, float] | None:
    """All values between `ends` that the data do not contradict.

    Args:
        statistic: the score statistic of a value; falls as the value grows.
        value: the estimate, held between the ends.
        ends: the smallest and the largest value that can be.
        level: coverage in (0, 1).

    Returns:
        The limits; None where the data contradict every possible value.
    """
    z = normal_quantile(level)
    (least, at_least), (most, at_most) = ((end, statistic(end)) for end in ends)
    if at_least < -z or at_most > z:
        return None
    low, high = least, most
    if at_least > z:
        low = _crossing(lambda at: statistic(at) - z, (least, at_least - z), (value, -z))
    if at_most < -z:
        high = _crossing(lambda at: statistic(at) + z, (value, z), (most, at_most + z))
    return low, high


def _crossing(
    function: Callable[[float], float], start: tuple[float, float], end: tuple[float, float]
) -> float:
    """Where a function gets from above 0 at the start to below it at the end.

    Regula falsi that halves the weight of an end that stays (the Illinois rule).
    """
    (left, at_left), (right, at_right) = start, end
    at_left, at_right = min(at_left, 1e3), max(at_right, -1e3)  # they may be infinite
    stayed = 0
    while right - left > 1e-8:
        middle = (left * at_right - right * at_left) / (at_right - at_left)
        if not left < middle < right:
            middle = (left + right) / 2
        found = function(middle)
        if abs(found) < 1e-7:
            return middle
        if found > 0:
            left, at_left = middle, found
            at_right, stayed = at_right / 2 if stayed == 1 else at_right, 1
        else:
            right, at_right = middle, found
            at_left, stayed = at_left / 2 if stayed == -1 else at_left, -1
    return (left + right) / 2


def mean_limits(
    counts: Mapping[float, int],
    ends: tuple[float, float],
    level: float = 0.95,
    df: int | None = None,
) -> tuple[float, float]:
    """The score interval of the mean of graded scores.

    The shares of the scores are fitted by maximum likelihood under each mean tried; a score at
    an end that was never seen may get a share too, so that nothing breaks down where all
    scores are alike. Scores 0 and 1 give Wilson's interval, paired differences -1, 0 and 1
    that of Tango 1998 (Stat. Med. 17, 891-908).

    Args:
        counts: {score: how often}, at least one.
        ends: the least and the largest score that can be; what lies between does not count.
        level: coverage in (0, 1).
        df: degrees of freedom that the variance is divided by; all scores where None.

    Returns:
        The limits, between the ends.

    Source: Rao 1948, as in `score_statistic`; the fit is that of Owen 1988, Biometrika 75,
    237-249.
    """
    seen = {score: count for score, count in counts.items() if count}
    mirrored = {-score: count for score, count in seen.items()}
    z = normal_quantile(level)
    if df is not None:
        z *= math.sqrt(sum(seen.values()) / df)
    return -_upper_mean(mirrored, -ends[0], z), _upper_mean(seen, ends[1], z)


def difference_limits(counts: Mapping[float, int], level: float = 0.95) -> tuple[float, float]:
    """The score interval of the mean of paired differences in [-1, 1].

    Of -1, 0 and 1 it is Tango's. Others may get no share beyond those seen, and these mirrored
    about the mean: which of the two models was the luckier one is as good as a coin. Scores do
    lie off to one side, and means reckon with more (`rates.REACH`).

    Args:
        counts: {difference: how often}, at least one.
        level: coverage in (0, 1).

    Source: as for `mean_limits`; the variance has one degree of freedom less than there are
    differences, as that between clusters has (Cochran 1977, Sampling Techniques, 9.2).
    """
    if len(counts) == 1 or counts.keys() <= {-1.0, 0.0, 1.0}:
        return mean_limits(counts, (-1.0, 1.0), level)
    n = sum(counts.values())
    mean = math.fsum(apart * count for apart, count in counts.items()) / n
    reach = max(abs(apart - mean) for apart in counts)
    ends = max(-1.0, mean - reach), min(1.0, mean + reach)
    ends = min(ends[0], *counts), max(ends[1], *counts)
    low, high = mean_limits(counts, ends, level, n - 1)
    return max(-1.0, low), min(1.0, high)


def _upper_mean(counts: Mapping[float, int], end: float, z: float) -> float:
    n = sum(counts.values())
    mean = math.fsum(score * count for score, count in counts.items()) / n
    if mean >= end:
        return end
    if end not in counts:
        # Where the end takes a share, the fitted variance is (at - mean) * (end - at).
        at = (n * mean + z * z * end) / (n + z * z)
        least = end - n / math.fsum(count / (end - score) for score, count in counts.items())
        if at >= least:
            return at

    def fitted(tilt: float) -> tuple[float, float]:
        """The mean and its variance where the shares lean towards the end."""
        room = end - mean
        leaning = {s: k / (1 - tilt * (s - mean) / room) for s, k in counts.items()}
        total = math.fsum(leaning.values())
        at = math.fsum(s * k for s, k in leaning.items()) / total
        return at, math.fsum(k * (s - at) ** 2 for s, k in leaning.items()) / total / n

    def short_of(tilt: float) -> float:
        at, variance = fitted(tilt)
        return z - (at - mean) / math.sqrt(variance)

    most = 1.0 if end not in counts else 1 - 1e-12
    return fitted(_crossing(short_of, (0.0, z), (most, -math.inf)))[0]


def stratified(parts: Iterable[Part], n: int, level: float) -> tuple[float, float, float]:
    """Mean over strata, with its limits from those of each stratum.

    Args:
        parts: each stratum's share of the sample (they add up to 1) and its mean.
        n: size of the sample that the shares come from; they vary with it too.
        level: coverage in (0, 1), that of the parts' limits too.

    Returns:
        The mean, its lower and its upper limit. One stratum gives its own limits.

    Source: Zou & Donner 2008, Stat. Med. 27, 1693-1702 (MOVER).
    """
    parts = list(parts)
    value = math.fsum(p.weight * p.value for p in parts)
    between = math.fsum(p.weight * (p.value - value) ** 2 for p in parts) / n
    between *= normal_quantile(level) ** 2
    below = math.fsum((p.weight * (p.value - p.low)) ** 2 for p in parts) + between
    above = math.fsum((p.weight * (p.high - p.value)) ** 2 for p in parts) + between
    return value, value - math.sqrt(below), value + math.sqrt(above)


def stratified_score(
    terms: Sequence[Term], n: int, level: float = 0.95
) -> tuple[float, float, float]:
    """The same mean with the score interval of the sum, within 0 and 1.

    It carries how the strata's sizes vary as `stratified` does. Where a stratum's rate is
    near 0 or 1 it is narrower than MOVER (which holds in up to 99% there), and it holds where
    all rates are (MOVER in as few as 91%).

    Args:
        terms: each stratum's share of the sample (they add up to 1), with what was seen in it.
        n: size of the sample that the shares come from.
        level: coverage in (0, 1).

    Returns:
        The mean, its lower and its upper limit. One stratum gives Wilson's.
    """
    value = math.fsum(t.coefficient * (t.k / t.n) for t in terms)
    between = math.fsum(t.coefficient * (t.k / t.n - value) ** 2 for t in terms) / n

    def statistic(at: float) -> float:
        within = score_statistic(terms, at)
        if within == 0 or math.isinf(within):
            return within
        gap = value - at
        return gap / math.sqrt((gap / within) ** 2 + between)

    most = math.fsum(t.coefficient for t in terms)  # 1, but for rounding
    limits = score_limits(statistic, value, (0.0, most), level)
    if limits is None:  # pragma: no cover - what was seen is never contradicted
        raise AssertionError
    value = min(value, 1.0)
    return value, min(limits[0], value), min(max(limits[1], value), 1.0)


def mover_ratio(top: Part, bottom: Part) -> tuple[float, float]:
    """Limits of top / bottom, both with limits of their own; the weights do not count.

    A ratio R is inside where the interval of top - R * bottom holds 0.

    Raises:
        ValueError: the lower limit of the bottom is not above 0.

    Source: Donner & Zou 2012, Stat. Methods Med. Res. 21, 347-359.
    """
    if bottom.low <= 0:
        raise ValueError("a ratio has no limits where its lower part may be 0")
    low = -_upper_ratio(-top.value, top.value - top.low, bottom)
    return low, _upper_ratio(top.value, top.high - top.value, bottom)


def _upper_ratio(top: float, above: float, bottom: Part) -> float:
    """The R at which top - R * bottom has 0 as its upper limit."""
    # The upper limit reaches 0 at an R of the sign of `top + above`, and on either side of 0
    # it is another limit of the bottom that counts.
    reach = bottom.value - bottom.low if top + above > 0 else bottom.high - bottom.value
    a, b, c = bottom.value**2 - reach**2, -2 * top * bottom.value, top**2 - above**2
    root = math.sqrt(max(0.0, b * b - 4 * a * c))
    return (-b + root) / (2 * a)
