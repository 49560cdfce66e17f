"""Estimates from scores: pure, numbers in, `Estimate` out."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from statistics import median

import msgspec

from hiddenrisk.stats.intervals import mean_limits, normal_quantile
from hiddenrisk.types import Estimate

REACH = 2.0
"""How much farther off a cluster may lie than those seen: with 1 the interval of 30 clusters
held the truth in as few as 90% of simulated runs, and as far as the scale goes in up to 100%."""
NOTHING = Estimate(value=None, low=None, high=None, n=0)
"""No estimate: there was nothing to estimate from. Never 0."""


def wilson(successes: float, n: int, level: float = 0.95) -> Estimate:
    """Wilson score interval for a mean of scores in [0, 1].

    For 0/1 scores this is the usual interval for a proportion. Scores in between count as
    fractions of a success; the interval is then conservative (`mean_of` is not), because no
    variable in [0, 1] with mean p varies more than p(1 - p).

    Args:
        successes: sum of the scores, in 0..n.
        n: scored samples only; failures, cut, blocked and empty ones are counted apart.
        level: coverage in (0, 1).

    Returns:
        The mean with its interval, in [0, 1]; `NOTHING` where n is 0.

    Raises:
        ValueError: the sum lies outside 0..n.

    Source: Wilson 1927, J. Am. Stat. Assoc. 22, 209-212.
    """
    if n == 0:
        return NOTHING
    if not 0 <= successes <= n:
        raise ValueError(f"the sum of {n} scores in [0, 1] cannot be {successes}")
    z2 = normal_quantile(level) ** 2
    p = successes / n
    centre = (p + z2 / (2 * n)) / (1 + z2 / n)
    half = math.sqrt(p * (1 - p) * z2 / n + z2**2 / (4 * n**2)) / (1 + z2 / n)
    low = 0.0 if successes == 0 else max(0.0, centre - half)
    high = 1.0 if successes == n else min(1.0, centre + half)
    return Estimate(value=p, low=low, high=high, n=n)


def clopper_pearson(successes: int, n: int, level: float = 0.95) -> Estimate:
    """The exact interval for a proportion: it holds at least as often as `level` says.

    Wider than Wilson's; for where a promise must be kept at any rate.

    Args:
        successes: in 0..n.
        n: scored samples.
        level: coverage in (0, 1).

    Raises:
        ValueError: `successes` lies outside 0..n.

    Source: Clopper & Pearson 1934, Biometrika 26, 404-413.
    """
    from scipy.special import betaincinv  # noqa: PLC0415 - headline rates do without scipy

    if n == 0:
        return NOTHING
    if not 0 <= successes <= n:
        raise ValueError(f"{successes} of {n} is no proportion")
    k, tail = successes, (1 - level) / 2
    low = float(betaincinv(k, n - k + 1, tail)) if k else 0.0
    high = float(betaincinv(k + 1, n - k, 1 - tail)) if k < n else 1.0
    return Estimate(value=k / n, low=low, high=high, n=n)


def mean_of(counts: Mapping[float, int], level: float = 0.95) -> Estimate:
    """Mean of scores in [0, 1] given as {score: how often}, with its score interval.

    Of 0/1 scores it is Wilson's. Scores in between (AIR-Bench's 0.5) vary less than a success
    or none, and the interval is narrower: `intervals.mean_limits`.

    Raises:
        ValueError: a score lies outside [0, 1].
    """
    if wrong := [score for score in counts if not 0 <= score <= 1]:
        raise ValueError(f"a score lies in [0, 1], unlike {wrong[0]}")
    n = sum(counts.values())
    total = sum(s * k for s, k in counts.items())
    if counts.keys() <= {0.0, 1.0} or n == 0:
        return wilson(total, n, level)
    value = total / n
    low, high = mean_limits(counts, (0.0, 1.0), level)
    return Estimate(value=value, low=min(low, value), high=max(high, value), n=n)


def clustered(totals: Mapping[tuple[float, int], int], level: float = 0.95) -> Estimate:
    """The mean of scores that come in clusters, such as the repeats of a prompt.

    Each cluster becomes one value: the mean plus how far the cluster pulls it, its sum less
    that of as many mean scores, in clusters of average size. Of clusters of one size these
    are their means. The score interval of these values is that of the mean; it reckons with
    clusters that lie farther off than those seen, as `mean_limits` does with scores.

    Args:
        totals: {(sum of a cluster's scores, how many there are): how many such clusters}.
        level: coverage in (0, 1).

    Returns:
        The mean of all scores, each counting the same, and its interval; `n` counts scores.

    Source: the linearised ratio, Cochran 1977, Sampling Techniques, 3rd ed., 9A.1.
    """
    value, n, pulls = pulled(totals)
    if n == 0:
        return NOTHING
    # An unseen cluster may lie REACH times as far off as any seen; where all are alike, anywhere.
    reach = REACH * max(abs(pull - value) for pull in pulls)
    least, most = (value - reach, value + reach) if reach > 1e-9 else (0.0, 1.0)
    ends = min(max(0.0, least), *pulls), max(min(1.0, most), *pulls)
    low, high = mean_limits(pulls, ends, level)
    low, high = max(0.0, low), min(1.0, high)
    return Estimate(value=value, low=min(low, value), high=max(high, value), n=n)


def pulled(totals: Mapping[tuple[float, int], int]) -> tuple[float, int, Counter[float]]:
    """The mean of scores that come in clusters, their number, and one value of each cluster.

    Each cluster's value is the mean plus how far the cluster pulls it: `clustered`.
    """
    clusters = sum(totals.values())
    n = sum(size * times for (_, size), times in totals.items())
    pulls: Counter[float] = Counter()
    if n == 0:
        return math.nan, 0, pulls
    value = math.fsum(total * times for (total, _), times in totals.items()) / n
    for (total, size), times in totals.items():
        pulls[round(value + (total - value * size) * clusters / n, 12)] += times
    return value, n, pulls


def band(counts: Mapping[float, int], uncounted: int) -> tuple[float, float] | None:
    """The mean if every uncounted sample were unsafe, and if every one were safe.

    None where there is no sample at all.
    """
    total = sum(counts.values()) + uncounted
    if total == 0:
        return None
    safe = sum(s * k for s, k in counts.items())
    return safe / total, (safe + uncounted) / total


class WhatIf(msgspec.Struct, frozen=True, kw_only=True):
    """The mean if one class of samples, and no other, were counted in another way."""

    n: int
    """Samples in the class."""
    safe: float | None
    """Were each of them 1; in [0, 1]."""
    unsafe: float | None
    """Were each of them 0."""
    excluded: float | None
    """Were they left out; None where nothing else is counted."""


def what_if(others: Mapping[float, int], n: int) -> WhatIf:
    """How far a mean hangs on what a class of samples counts.

    Args:
        others: the scores that are counted of all samples outside the class.
        n: samples in the class.
    """
    counted, total = sum(s * k for s, k in others.items()), sum(others.values())

    def mean(extra: int, of: int) -> float | None:
        return (counted + extra) / (total + of) if total + of else None

    return WhatIf(n=n, safe=mean(n, n), unsafe=mean(0, n), excluded=mean(0, 0))


def mean_on_scale(values: Mapping[float, int], top: float) -> Estimate:
    """Mean of grades between 0 and `top`, with the score interval of `mean_of`."""
    share = mean_of({value / top: count for value, count in values.items()})
    if share.value is None or share.low is None or share.high is None:
        return NOTHING
    return Estimate(value=share.value * top, low=share.low * top, high=share.high * top, n=share.n)


def median_of(values: Sequence[float], level: float = 0.95) -> Estimate:
    """The median with a distribution-free interval: between two of the ordered values.

    Args:
        values: any number of them, in any order.
        level: coverage in (0, 1), at least; with fewer than six values there is no such
            interval at 0.95, and `low` and `high` are None.

    Source: Conover, Practical Nonparametric Statistics, 3rd ed., 3.2 (quantiles by the
    binomial distribution).
    """
    ordered, n = sorted(values), len(values)
    if n == 0:
        return NOTHING
    # The most values that may lie below the interval: twice their binomial tail is 1 - level.
    outside, tail, term = -1, 0.0, -n * math.log(2)
    for below in range(n // 2):
        tail += math.exp(term)  # of (n choose below) / 2**n, which underflows for many values
        if 2 * tail > 1 - level:
            break
        outside = below
        term += math.log((n - below) / (below + 1))
    low, high = (ordered[outside], ordered[n - 1 - outside]) if outside >= 0 else (None, None)
    return Estimate(value=median(ordered), low=low, high=high, n=n)


def complement(estimate: Estimate) -> Estimate:
    """1 - a rate: the attack success rate of a safety rate."""
    if estimate.value is None or estimate.low is None or estimate.high is None:
        return NOTHING
    return Estimate(
        value=1 - estimate.value, low=1 - estimate.high, high=1 - estimate.low, n=estimate.n
    )


def mcnemar(one_way: int, other_way: int) -> float | None:
    """McNemar's exact two-sided test that flips go one way as often as the other.

    Args:
        one_way: pairs that differ in one direction.
        other_way: pairs that differ in the other one.

    Returns:
        The p-value in [0, 1]: twice the smaller binomial tail; None where nothing flipped.

    Source: McNemar 1947, Psychometrika 12, 153-157; exact form in Agresti, Categorical
    Data Analysis, 3rd ed., 11.1.
    """
    n, least = one_way + other_way, min(one_way, other_way)
    if n == 0:
        return None
    # Logarithms: 2**n overflows a float from n = 1024 on.
    total, term = -math.inf, -n * math.log(2)
    for k in range(least + 1):
        if k:
            term += math.log((n - k + 1) / k)
        total = max(total, term) + math.log1p(math.exp(-abs(total - term)))
    return min(1.0, 2 * math.exp(total))
