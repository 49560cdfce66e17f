"""Means of graded scores with their intervals: pure, arrays in, `Estimate` out."""

import math
from collections import Counter

import numpy as np
from numpy.typing import NDArray

from hiddenrisk.stats.intervals import difference_limits, mean_limits
from hiddenrisk.stats.rates import NOTHING, clustered, pulled
from hiddenrisk.types import Estimate

Floats = NDArray[np.float64]


def mean_interval(scores: Floats, level: float = 0.95) -> Estimate:
    """The mean of independent scores with its score interval.

    Wilson's interval for scores 0 and 1.

    Args:
        scores: (n,), each in [0, 1]; none of them NaN.
        level: coverage in (0, 1).

    Returns:
        The mean with its interval; `NOTHING` of no scores.

    Raises:
        ValueError: a score lies outside [0, 1].
    """
    check_scores(scores)
    if not scores.size:
        return NOTHING
    values, times = np.unique(scores, return_counts=True)
    counts: dict[float, int] = dict(zip(values.tolist(), times.tolist(), strict=True))
    value = math.fsum(score * count for score, count in counts.items()) / scores.size
    low, high = mean_limits(counts, (0.0, 1.0), level)
    return Estimate(value=value, low=min(low, value), high=max(high, value), n=scores.size)


def clustered_mean(
    scores: Floats,
    clusters: NDArray[np.uint64],
    level: float = 0.95,
) -> Estimate:
    """The mean of scores that come in clusters, with the score interval over the clusters.

    Clusters are what was drawn: the repeats of a prompt are one, and so may be the prompts of
    a category. How it is done: `rates.clustered`.

    Args:
        scores: (n,), as in `mean_interval`.
        clusters: (n,), which cluster each score is of.
        level: coverage in (0, 1).

    Returns:
        The mean of the scores, each counting the same, and its interval; `n` counts scores.
    """
    check_scores(scores)
    sums, sizes = cluster_sums(scores, clusters)
    return clustered(Counter(zip(sums.tolist(), sizes.tolist(), strict=True)), level)


def difference_interval(
    apart: Floats, clusters: NDArray[np.uint64] | None = None, level: float = 0.95
) -> Estimate:
    """The mean of paired differences with its score interval: `intervals.difference_limits`.

    Args:
        apart: (n,), each in [-1, 1], none of them NaN.
        clusters: (n,) the prompt of each; each becomes one value, as in `rates.clustered`.
            None where each has its own.
        level: coverage in (0, 1).

    Returns:
        The mean of the differences, each counting the same, and its interval; `n` counts them.

    Raises:
        ValueError: a difference lies outside [-1, 1].
    """
    check_scores(apart, -1.0)
    own = np.arange(apart.size, dtype=np.uint64) if clusters is None else clusters
    sums, sizes = cluster_sums(apart, own)
    value, n, pulls = pulled(Counter(zip(sums.tolist(), sizes.tolist(), strict=True)))
    if not n:
        return NOTHING
    low, high = difference_limits(pulls, level)
    return Estimate(value=value, low=min(low, value), high=max(high, value), n=n)


def cluster_sums(scores: Floats, clusters: NDArray[np.uint64]) -> tuple[Floats, NDArray[np.intp]]:
    """The sum of each cluster's scores, and how many there are.

    Raises:
        ValueError: not every score has a cluster.
    """
    if scores.shape != clusters.shape:
        raise ValueError(f"{scores.size} scores have {clusters.size} clusters; one each is meant")
    _, places = np.unique(clusters, return_inverse=True)
    return np.bincount(places, scores).astype(np.float64), np.bincount(places)


def check_scores(scores: Floats, least: float = 0.0) -> None:
    """Refuse scores outside [least, 1], or NaN."""
    if scores.size and not (least <= scores.min() and scores.max() <= 1):
        raise ValueError(
            f"scores between {least:g} and 1 are expected, none missing;"
            f" these reach from {scores.min()} to {scores.max()}"
        )
