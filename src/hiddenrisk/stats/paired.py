"""Two models against each other: pure, scores in, differences with their tests out.

Paired where both answered the same prompts (`paired_test`), which is the sharper comparison;
`unpaired_difference` where they did not. Differences are second less first throughout.
"""

import math
from typing import NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from hiddenrisk.stats.intervals import (
    Term,
    part_of,
    score_limits,
    score_statistic,
)
from hiddenrisk.stats.means import (
    Floats,
    check_scores,
    cluster_sums,
    clustered_mean,
    difference_interval,
    mean_interval,
)
from hiddenrisk.stats.rates import NOTHING, clopper_pearson, mcnemar
from hiddenrisk.types import Estimate

Clusters = NDArray[np.uint64]
MCNEMAR, PERMUTATION = "mcnemar_midp", "permutation_midp"
MOST = 2_000_000
"""Steps of a permutation distribution; with more the normal one is as good."""
_WIDE = 10
LEAST_P = 1e-15
"""Below this the arithmetic of the permutation test ends."""


class PairedTest(msgspec.Struct, frozen=True, kw_only=True):
    """The second model against the first one on the same prompts."""

    n: int
    """Pairs with a score on both sides."""
    first: Estimate
    second: Estimate
    """Their means on those pairs."""
    difference: Estimate
    """Second less first, in [-1, 1]: the score interval (Tango's for 0/1), over prompts where
    some have several pairs."""
    p: float | None
    """Two-sided, of no difference; None where the two are nowhere apart."""
    test: str
    """How p was had: "mcnemar_midp" or "permutation_midp"."""
    exact_p: float | None
    """McNemar's exact p, which is never too small; None but for 0/1 without repeats."""
    only_first: int
    """Pairs where the first scores higher."""
    only_second: int
    odds_ratio: Estimate
    """only_second / only_first. No value where none differ; no `value` and `high` where
    only_first is 0, as they are infinite. `n` counts the pairs that differ."""
    effect: float | None
    """Cohen's h for 0/1 scores (0.2 is small, 0.5 medium, 0.8 large); else the difference in
    standard deviations, the mean of both variances. None where scores never vary."""


def paired_test(
    first: Floats, second: Floats, clusters: Clusters | None = None, *, level: float = 0.95
) -> PairedTest:
    """Compare two models on pairs of scores.

    Args:
        first: (n,) scores in [0, 1], none of them NaN.
        second: (n,) those of the other model, pair by pair.
        clusters: (n,) the prompt of each pair; None where each has its own.
        level: coverage of the intervals, in (0, 1).

    Returns:
        The comparison. Of 0/1 scores without repeats p is McNemar's mid-p; else each prompt's
        sum of differences is given either sign, which is the same test for more kinds of
        scores.

    Raises:
        ValueError: the arrays differ in length, or a score is outside [0, 1] or NaN.

    Source: Fagerland, Lydersen & Laake 2013, BMC Med. Res. Methodol. 13:91 (mid-p); Cohen
    1988, Statistical Power Analysis, 2nd ed., 6.2 (h).
    """
    if first.shape != second.shape:
        raise ValueError(f"{first.size} scores cannot be paired with {second.size}")
    for scores in (first, second):
        check_scores(scores)
    apart = second - first
    sums = apart if clusters is None else cluster_sums(apart, clusters)[0]
    if sums.size == apart.size:
        clusters = None
    down, up = int((apart < 0).sum()), int((apart > 0).sum())
    plain = _binary(first) and _binary(second)
    by_mcnemar = plain and clusters is None
    return PairedTest(
        n=first.size,
        first=_mean(first, clusters, level),
        second=_mean(second, clusters, level),
        difference=difference_interval(apart, clusters, level),
        p=mcnemar_midp(down, up) if by_mcnemar else sign_flip(sums),
        test=MCNEMAR if by_mcnemar else PERMUTATION,
        exact_p=mcnemar(down, up) if by_mcnemar else None,
        only_first=down,
        only_second=up,
        odds_ratio=_odds_ratio(apart, clusters, level),
        effect=_cohens_h(first, second) if plain else _standardised(first, second),
    )


def mcnemar_midp(one_way: int, other_way: int) -> float | None:
    """McNemar's mid-p: the exact p less half of what was seen counts on either side.

    Closer to its level than the exact test, which is too careful, and than the asymptotic one,
    which is not careful enough. None where nothing flipped.
    """
    exact = mcnemar(one_way, other_way)
    if exact is None:
        return None
    n, k = one_way + other_way, min(one_way, other_way)
    ways = math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)
    seen = math.exp(ways - n * math.log(2))
    return 1 - seen / 2 if one_way == other_way else exact - seen


def sign_flip(differences: Floats) -> float | None:
    """The permutation test of paired differences: each might as well have the other sign.

    The distribution of their sum under all 2**n choices of signs is computed, not sampled.

    Args:
        differences: (n,) of pairs, or the sums of each prompt's.

    Returns:
        The mid-p, two-sided, not below `LEAST_P`; None where all differences are 0. Of
        differences -1, 0 and 1 it is that of McNemar.

    Source: Fisher 1935, The Design of Experiments, 21; Pagano & Tritchler 1983, J. Am. Stat.
    Assoc. 78, 435-440 (the distribution by Fourier transform).
    """
    steps = _steps(differences[differences != 0])
    sizes, times = np.unique(np.abs(steps), return_counts=True)
    total, sum_seen = int(sizes @ times), abs(int(steps.sum()))
    if not total:
        return None
    if total > MOST:
        return math.erfc(sum_seen / math.sqrt(2 * float((sizes**2) @ times)))
    # Those with a plus add up to `plus`, and the sum of all is 2 * plus - total. Farther from
    # its middle than a window of this length there is nothing (Hoeffding: 1e-20 at most).
    window = _WIDE * math.sqrt(float((sizes**2) @ times))
    length = 1 << int(min(total + 1, window)).bit_length()
    plus, first = (total + sum_seen) // 2, max(0, total // 2 - length // 2)
    if plus >= first + length:
        return LEAST_P
    angles = 2 * np.pi / length * np.arange(length // 2 + 1)
    spectrum = np.ones_like(angles, dtype=np.complex128)
    for size, count in zip(sizes.tolist(), times.tolist(), strict=True):
        spectrum *= ((1 + np.exp(-1j * angles * size)) / 2) ** count
    shares = np.roll(np.fft.irfft(spectrum, length), -first)
    beyond, seen = float(shares[plus - first + 1 :].sum()), float(shares[plus - first])
    p = 2 * beyond + (seen if sum_seen else seen / 2)
    return min(1.0, max(LEAST_P, p))


def _steps(differences: Floats) -> NDArray[np.int64]:
    """The differences as whole multiples of a step; to a thousandth where they have none."""
    for step in (*range(1, 121), 1000):
        scaled = differences * step
        whole = np.rint(scaled)
        if step == 1000 or np.allclose(scaled, whole, rtol=0, atol=1e-6):
            return whole.astype(np.int64)
    raise AssertionError  # pragma: no cover - the last step fits always


def noninferior(
    difference: Estimate, margin: float, *, lower_is_better: bool = False
) -> bool | None:
    """Whether the second is surely not worse than the first by `margin` or more.

    Args:
        difference: second less first, with its two-sided interval; one of 95% makes this a
            one-sided test at 2.5%, as is usual.
        margin: in (0, 1), how much worse is still accepted.
        lower_is_better: for rates that are to be low, such as over-refusal.

    Returns:
        None where there is no interval.
    """
    if margin < 0:
        raise ValueError(f"a margin is not negative, unlike {margin}")
    bound = difference.high if lower_is_better else difference.low
    if bound is None:
        return None
    return bound < margin if lower_is_better else bound > -margin


class Unpaired(NamedTuple):
    """The second sample's mean less the first one's, of samples that have no pairs."""

    difference: Estimate
    """`n` counts the scores of both."""
    p: float | None
    """Two-sided, of no difference; None where one side has no score."""


def unpaired_difference(
    first: Floats,
    second: Floats,
    first_clusters: Clusters | None = None,
    second_clusters: Clusters | None = None,
    *,
    level: float = 0.95,
) -> Unpaired:
    """Compare two independent samples of scores in [0, 1].

    Of 0/1 scores the score interval of the difference and its test (the z test with the
    pooled rate); else the two intervals joined by MOVER, and the level at which that interval
    ends at 0.

    Args:
        first: (n,) scores, none of them NaN.
        second: (m,) those of the other sample.
        first_clusters: (n,) the prompt of each; None where each has its own.
        second_clusters: (m,) the same for the other sample.
        level: coverage in (0, 1).

    Source: Mee 1984, Biometrics 40, 1175-1176; Zou & Donner 2008, as in `intervals`.
    """
    if not (first.size and second.size):
        return Unpaired(NOTHING, None)
    if first_clusters is None and second_clusters is None and _binary(first) and _binary(second):
        return _two_rates(first, second, level)

    def joined(at: float) -> Estimate:
        a, b = _mean(first, first_clusters, at), _mean(second, second_clusters, at)
        return _apart(a, b)

    found = joined(level)
    low, high = 0.0, _FAR
    while high - low > 1e-6:
        middle = (low + high) / 2
        holds = _holds_0(joined(math.erf(middle / math.sqrt(2))))
        low, high = (low, middle) if holds else (middle, high)
    return Unpaired(found, math.erfc(high / math.sqrt(2)))


_FAR = 8.0
"""Standard errors beyond which a p-value is no number to tell: 1e-15."""


def _two_rates(first: Floats, second: Floats, level: float) -> Unpaired:
    terms = Term(1, second.sum(), second.size), Term(-1, first.sum(), first.size)
    value = float(second.mean() - first.mean())
    limits = score_limits(lambda at: score_statistic(terms, at), value, (-1.0, 1.0), level)
    if limits is None:  # pragma: no cover - what was seen is never contradicted
        raise AssertionError
    low, high = min(limits[0], value), max(limits[1], value)
    apart = Estimate(value=value, low=low, high=high, n=first.size + second.size)
    return Unpaired(apart, math.erfc(abs(score_statistic(terms)) / math.sqrt(2)))


def _apart(first: Estimate, second: Estimate) -> Estimate:
    """The difference of two independent means, from the limits of either."""
    a, b = part_of(first, -1.0), part_of(second)
    value = b.value - a.value
    low = value - math.hypot(b.value - b.low, a.high - a.value)
    high = value + math.hypot(b.high - b.value, a.value - a.low)
    return Estimate(value=value, low=low, high=high, n=first.n + second.n)


def _holds_0(found: Estimate) -> bool:
    return found.low is not None and found.high is not None and found.low <= 0 <= found.high


def _mean(scores: Floats, clusters: Clusters | None, level: float) -> Estimate:
    if clusters is None:
        return mean_interval(scores, level)
    return clustered_mean(scores, clusters, level)


def _binary(scores: Floats) -> bool:
    return bool(np.isin(scores, (0.0, 1.0)).all())


def _odds_ratio(apart: Floats, clusters: Clusters | None, level: float) -> Estimate:
    """The odds that the second scores higher where the two differ.

    The interval is that of a share among those pairs: exact, or over prompts.
    """
    differ = apart != 0
    up = (apart[differ] > 0).astype(np.float64)
    if clusters is None:
        share = clopper_pearson(int(up.sum()), up.size, level)
    else:
        share = clustered_mean(up, clusters[differ], level)
    low, high = (None if at is None or at == 1 else at / (1 - at) for at in (share.low, share.high))
    ups, downs = int(up.sum()), int(up.size - up.sum())
    return Estimate(value=ups / downs if downs else None, low=low, high=high, n=up.size)


def _cohens_h(first: Floats, second: Floats) -> float | None:
    if not first.size:
        return None
    a, b = (2 * math.asin(math.sqrt(float(scores.mean()))) for scores in (first, second))
    return b - a


def _standardised(first: Floats, second: Floats) -> float | None:
    if first.size < 2:
        return None
    spread = math.sqrt(float(first.var(ddof=1) + second.var(ddof=1)) / 2)
    return float(second.mean() - first.mean()) / spread if spread > 0 else None
