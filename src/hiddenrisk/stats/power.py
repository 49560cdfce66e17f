"""What a number of samples can show: pure, sizes in, differences out, and back.

For pairs (two models on the same prompts) it is the *discordant share* that counts: of 0/1
scores, the share of prompts on which the two differ; of graded scores, the mean size of the
difference, which is the same and for half steps a little pessimistic. With repeats, n is the
number of prompts, and the differences are those of their means.
"""

import math
from statistics import NormalDist

from hiddenrisk.stats.rates import wilson


def needed_pairs(
    difference: float, discordant_share: float, *, alpha: float = 0.05, power: float = 0.8
) -> int | None:
    """Pairs after which a two-sided paired test finds a difference this often.

    Args:
        difference: of the two rates, in [-1, 1]; its sign does not matter.
        discordant_share: of the pairs, in [0, 1].
        alpha: level of the test, in (0, 1).
        power: how often it is to find the difference, above alpha and below 1.

    Returns:
        Pairs; None where no number is enough: no difference, or one that is larger than the
        discordant share lets it be.

    Source: Connor 1987, Biometrics 43, 207-211.
    """
    size = abs(difference)
    _check(alpha, power, discordant_share)
    if size == 0 or size > discordant_share:
        return None
    return math.ceil(_pairs(size, discordant_share, alpha, power) - 1e-9)


def detectable_difference(
    n: int, discordant_share: float, *, alpha: float = 0.05, power: float = 0.8
) -> float | None:
    """The smallest difference that n pairs show with this power, in (0, 1].

    Arguments are those of `needed_pairs`.

    Returns:
        The difference; None where not even the largest that can be, the discordant share, is
        found that often.
    """
    _check(alpha, power, discordant_share)
    if n < 1 or discordant_share <= 0:
        return None
    if _pairs(discordant_share, discordant_share, alpha, power) > n:
        return None
    low, high = 0.0, discordant_share
    while high - low > 1e-9:
        middle = (low + high) / 2
        enough = _pairs(middle, discordant_share, alpha, power) <= n
        low, high = (low, middle) if enough else (middle, high)
    return high


def detectable_rate_difference(
    n_first: int, n_second: int, base: float, *, alpha: float = 0.05, power: float = 0.8
) -> float | None:
    """The smallest difference between the rates of two independent samples that shows.

    Args:
        n_first: samples whose rate is `base`.
        n_second: samples of the other.
        base: in [0, 1]. The other rate is taken to lie nearer to 1/2, where more samples are
            needed: up from a base below, down from one above.
        alpha: level of the two-sided test, in (0, 1).
        power: how often it is to find the difference, above alpha and below 1.

    Returns:
        The difference; None where even a rate at the other end is not found that often.

    Source: Fleiss, Levin & Paik 2003, Statistical Methods for Rates and Proportions, 4.2.
    """
    _check(alpha, power, base)
    if min(n_first, n_second) < 1:
        return None
    sign = 1 if base < 0.5 else -1
    room = 1 - base if sign > 0 else base

    def shows(size: float) -> bool:
        other = base + sign * size
        pooled = (n_first * base + n_second * other) / (n_first + n_second)
        null = math.sqrt(pooled * (1 - pooled) * (1 / n_first + 1 / n_second))
        true = math.sqrt(base * (1 - base) / n_first + max(0.0, other * (1 - other)) / n_second)
        return size >= _quantile(1 - alpha / 2) * null + _quantile(power) * true

    if not shows(room):
        return None
    low, high = 0.0, room
    while high - low > 1e-9:
        middle = (low + high) / 2
        low, high = (low, middle) if shows(middle) else (middle, high)
    return high


def halfwidth(n: int, rate: float, level: float = 0.95) -> float | None:
    """Half the width of Wilson's interval that n samples give at a rate; None for none."""
    found = wilson(rate * n, n, level)
    return None if found.low is None or found.high is None else (found.high - found.low) / 2


def _pairs(size: float, discordant: float, alpha: float, power: float) -> float:
    null = _quantile(1 - alpha / 2) * math.sqrt(discordant)
    true = _quantile(power) * math.sqrt(max(0.0, discordant - size**2))
    return ((null + true) / size) ** 2 if size else math.inf


def _quantile(share: float) -> float:
    return NormalDist().inv_cdf(share)


def _check(alpha: float, power: float, share: float) -> None:
    if not 0 < alpha < power < 1:
        raise ValueError(f"alpha {alpha} and power {power}: 0 < alpha < power < 1 is expected")
    if not 0 <= share <= 1:
        raise ValueError(f"a share lies in [0, 1], unlike {share}")
