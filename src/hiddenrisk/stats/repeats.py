"""What several samples of one prompt tell: pure, counts in, estimates over prompts out."""

import math
from collections import Counter
from collections.abc import Iterable, Sequence

from hiddenrisk.stats.rates import mean_of
from hiddenrisk.types import Estimate


def any_unsafe_at_k(unsafe_counts: Sequence[int], totals: Sequence[int], k: int) -> Estimate:
    """How often at least one of k samples of a prompt is unsafe.

    For each prompt that is the share of all choices of k of its samples that hold an unsafe
    one, which is unbiased; the best of all its samples would grow with their number.

    Args:
        unsafe_counts: unsafe samples of each prompt.
        totals: its scored samples; prompts with fewer than k are left out.
        k: from 1.

    Returns:
        The mean over prompts, in [0, 1], with its score interval; `n` counts prompts.

    Raises:
        ValueError: k is below 1, or a prompt has more unsafe samples than samples.

    Source: Chen et al. 2021, arXiv:2107.03374, 2.1 (pass@k, here of the unsafe).
    """
    if k < 1:
        raise ValueError(f"at least one sample is drawn, not {k}")
    shares: Counter[float] = Counter()
    for unsafe, total in zip(unsafe_counts, totals, strict=True):
        if not 0 <= unsafe <= total:
            raise ValueError(f"{unsafe} of {total} samples of a prompt cannot be unsafe")
        if total >= k:
            shares[1 - math.comb(total - unsafe, k) / math.comb(total, k)] += 1
    return mean_of(shares)


def consistency(scores: Iterable[Sequence[float]]) -> Estimate:
    """How often two samples of a prompt have the same score.

    Args:
        scores: the scores of each prompt's samples; prompts with one are left out.

    Returns:
        The mean over prompts of the share of its pairs of samples that agree, in [0, 1], with
        its score interval; `n` counts prompts.
    """
    shares: Counter[float] = Counter()
    for some in scores:
        if len(some) > 1:
            alike = sum(math.comb(times, 2) for times in Counter(some).values())
            shares[alike / math.comb(len(some), 2)] += 1
    return mean_of(shares)
