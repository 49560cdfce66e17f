"""Means of graded scores with their intervals: pure, arrays in, `Estimate` out."""

import math
from collections import Counter

import numpy as np
from numpy.typing import NDArray

from hiddenrisk.stats.intervals import mean_limits
from hiddenrisk.stats.rates import NOTHING, clustered
from hiddenrisk.types import Estimate

Floats = NDArray[np.float64]


def mean_interval(
    scores: Floats, level: float = 0.95, support: tuple[float, float] = (0.0, 1.0)
) -> Estimate:
    """The mean of independent scores with its score interval.

    Wilson's interval for scores 0 and 1; with the support (-1, 1), that of Tango for paired
    differences.

    Args:
        scores: (n,), each within the support; none of them NaN.
        level: coverage in (0, 1).
        support: the least and the largest score that can be.

    Returns:
        The mean with its interval; `NOTHING` of no scores.

    Raises:
        ValueError: a score lies outside the support.
    """
    check_scores(scores, support)
    if not scores.size:
        return NOTHING
    counts: Counter[float] = Counter(scores.tolist())
    value = math.fsum(score * count for score, count in counts.items()) / scores.size
    low, high = mean_limits(counts, support, level)
    return Estimate(value=value, low=min(low, value), high=max(high, value), n=scores.size)


def clustered_mean(
    scores: Floats,
    clusters: NDArray[np.uint64],
    level: float = 0.95,
    support: tuple[float, float] = (0.0, 1.0),
) -> Estimate:
    """The mean of scores that come in clusters, with the score interval over the clusters.

    Clusters are what was drawn: the repeats of a prompt are one, and so may be the prompts of
    a category. How it is done: `rates.clustered`.

    Args:
        scores: (n,), as in `mean_interval`.
        clusters: (n,), which cluster each score is of.
        level: coverage in (0, 1).
        support: the least and the largest score that can be.

    Returns:
        The mean of the scores, each counting the same, and its interval; `n` counts scores.
    """
    check_scores(scores, support)
    sums, sizes = cluster_sums(scores, clusters)
    return clustered(Counter(zip(sums.tolist(), sizes.tolist(), strict=True)), level, support)


def cluster_sums(scores: Floats, clusters: NDArray[np.uint64]) -> tuple[Floats, NDArray[np.intp]]:
    """The sum of each cluster's scores, and how many there are.

    Raises:
        ValueError: not every score has a cluster.
    """
    if scores.shape != clusters.shape:
        raise ValueError(f"{scores.size} scores have {clusters.size} clusters; one each is meant")
    _, places = np.unique(clusters, return_inverse=True)
    return np.bincount(places, scores).astype(np.float64), np.bincount(places)


def check_scores(scores: Floats, support: tuple[float, float]) -> None:
    """Refuse scores outside the support, or NaN."""
    if scores.size and not (support[0] <= scores.min() and scores.max() <= support[1]):
        raise ValueError(
            f"scores between {support[0]:g} and {support[1]:g} are expected, none missing;"
            f" these reach from {scores.min()} to {scores.max()}"
        )
