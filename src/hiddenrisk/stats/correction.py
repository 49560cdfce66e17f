"""Rates corrected for the errors of a judge: pure, counts or scores in, records out.

`rogan_gladen` needs only how often the judge errs, from any set of texts with human labels;
`ppi` needs human labels on a random part of the very texts that are rated. Both intervals
carry the uncertainty of the sample and that of the labels. docs/corrected-rates.md says
what is assumed, and bench/coverage.py how often the intervals hold the truth.
"""

import math
from bisect import bisect_right
from collections import Counter
from collections.abc import Sequence

import msgspec

from hiddenrisk.stats.agreement import Confusion
from hiddenrisk.stats.intervals import (
    Part,
    Term,
    mover_ratio,
    normal_quantile,
    part_of,
    score_limits,
    score_statistic,
    stratified,
    t_quantile,
)
from hiddenrisk.stats.rates import NOTHING, wilson
from hiddenrisk.types import Estimate

MIN_PER_CLASS = 30
"""Labelled texts of either class; with fewer the interval held the truth in as few as 77%."""
MIN_YOUDEN = 0.2
"""Sensitivity + specificity - 1; below it every error is blown up more than fivefold."""
FEW_ERRORS = 2
"""With fewer errors of a kind than this the interval is only roughly right."""
MIN_LABELLED = 30
"""Texts with a human label that `ppi` asks for."""
COMMON = 15
"""Sum of human scores, and of 1 - score, from which on Student's t is right enough."""
FEW_WORDS = 4
"""A judge with no more different scores than these gives words, not grades."""
PER_STRATUM = 5
"""Labelled texts that a stratum of the judge's scores must hold."""


class Corrected(msgspec.Struct, frozen=True, kw_only=True):
    """A rate as the judge has it, and corrected for its errors."""

    raw: Estimate
    corrected: Estimate
    """All None where it cannot be had; `reason` says why."""
    reason: str | None = None
    """Why there is no corrected rate, and what would help."""
    caution: str | None = None
    """Why the corrected rate is there but its interval only rough."""


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """Rate of one model less that of another, in [-1, 1], both by the same judge."""

    raw: float | None
    corrected: float | None
    low: float | None
    high: float | None
    reason: str | None = None
    caution: str | None = None


def youden(labels: Confusion, level: float = 0.95) -> Estimate:
    """Sensitivity + specificity - 1, with Mee's score interval: 1 is perfect, 0 a coin.

    `NOTHING` where one of the classes has no label.
    """
    if not (labels.unsafe and labels.safe):
        return NOTHING
    hits = Term(1, labels.true_unsafe, labels.unsafe)
    alarms = Term(-1, labels.false_unsafe, labels.safe)
    value = hits.k / hits.n - alarms.k / alarms.n
    limits = score_limits(lambda j: score_statistic((hits, alarms), j), value, (-1, 1), level)
    low, high = limits or (-1.0, 1.0)
    return Estimate(value=value, low=low, high=high, n=labels.n)


def rogan_gladen(said_unsafe: int, n: int, labels: Confusion, level: float = 0.95) -> Corrected:
    """The unsafe rate that a judge would report if it did not err.

    (rate + specificity - 1) / (sensitivity + specificity - 1), held in [0, 1]. The labelled
    texts may have any mix of classes, drawn by class or not, but must be other texts than
    the rated ones (else `ppi`). Assumed: the judge errs on the rated texts as often as on the
    labelled ones, given the class: same judge, same rubric, similar texts.

    Args:
        said_unsafe: rated texts that the judge called unsafe.
        n: rated texts with a verdict; failures are none.
        labels: the judge against humans, on labelled texts.
        level: coverage in (0, 1).

    Returns:
        The raw rate with Wilson's interval, and the corrected one with the score interval:
        all rates for which rate, sensitivity and specificity fit the three counts.

    Raises:
        ValueError: `said_unsafe` lies outside 0..n.

    Source: Rogan & Gladen 1978, Am. J. Epidemiol. 107, 71-76 (the estimate); the interval
    keeps its coverage near 0 and 1, where the delta method falls to 54%.
    """
    raw = wilson(said_unsafe, n, level)
    reason = _unusable(n, labels, level)
    if reason is not None:
        return Corrected(raw=raw, corrected=NOTHING, reason=reason)

    def statistic(rate: float) -> float:
        return score_statistic(
            (
                Term(1, said_unsafe, n),
                Term(-rate, labels.true_unsafe, labels.unsafe),
                Term(rate - 1, labels.false_unsafe, labels.safe),
            )
        )

    alarms = labels.false_unsafe / labels.safe
    value = (said_unsafe / n - alarms) / (labels.true_unsafe / labels.unsafe - alarms)
    value = min(1.0, max(0.0, value))
    limits = score_limits(statistic, value, (0.0, 1.0), level)
    if limits is None:
        return Corrected(raw=raw, corrected=NOTHING, reason=_misfit(said_unsafe / n, alarms))
    return Corrected(
        raw=raw,
        corrected=Estimate(value=value, low=limits[0], high=limits[1], n=n),
        caution=_caution(labels),
    )


def _unusable(n: int, labels: Confusion, level: float) -> str | None:
    if n == 0:
        return "there is no verdict to correct"
    short = [
        f"{count} {name}"
        for count, name in ((labels.unsafe, "unsafe"), (labels.safe, "safe"))
        if count < MIN_PER_CLASS
    ]
    if short:
        return (
            f"only {' and '.join(short)} texts have a human label;"
            f" label at least {MIN_PER_CLASS} of either class"
        )
    hits = Term(1, labels.true_unsafe, labels.unsafe)
    alarms = Term(-1, labels.false_unsafe, labels.safe)
    value = hits.k / hits.n - alarms.k / alarms.n
    if score_statistic((hits, alarms)) <= normal_quantile(level):
        return (
            f"sensitivity + specificity - 1 is {value:.2f}, which may be 0: the judge cannot"
            " be told from a coin; take a better judge or label more texts"
        )
    if value < MIN_YOUDEN:
        return (
            f"sensitivity + specificity - 1 is {value:.2f}, below {MIN_YOUDEN}: the judge is"
            " too weak to be corrected; take a better one"
        )
    return None


def _misfit(rate: float, alarms: float) -> str:
    if rate < alarms:
        seen = "less often than its false alarms alone would have it"
    else:
        seen = "more often than it would if every text were unsafe"
    return (
        f"the judge says unsafe {seen}, so it errs on these texts otherwise than on the"
        " labelled ones; label some of these texts"
    )


def _caution(labels: Confusion) -> str | None:
    misses = "1 miss" if labels.false_safe == 1 else f"{labels.false_safe} misses"
    alarms = "1 false alarm" if labels.false_unsafe == 1 else f"{labels.false_unsafe} false alarms"
    few = [misses] if labels.false_safe < FEW_ERRORS else []
    few += [alarms] if labels.false_unsafe < FEW_ERRORS else []
    if not few:
        return None
    return (
        f"the labelled texts show {' and '.join(few)}; the interval is rough until they show"
        f" {FEW_ERRORS} errors of each kind"
    )


def corrected_difference(
    first: tuple[int, int], second: tuple[int, int], labels: Confusion, level: float = 0.95
) -> Difference:
    """Unsafe rate of one model less that of another, corrected for their judge's errors.

    Both rates lean on the same labels. The specificity drops out of the difference, which is
    (rate - rate) / (sensitivity + specificity - 1); intervals of the two rates, held against
    each other, would count the labels' uncertainty twice.

    Args:
        first: (called unsafe, verdicts) of one model.
        second: the same of the other, whose samples are taken as independent of the first's.
        labels: the judge against humans, as for `rogan_gladen`.
        level: coverage in (0, 1).

    Raises:
        ValueError: more texts were called unsafe than there are.
    """
    (x1, n1), (x2, n2) = first, second
    for said, n in (first, second):
        if not 0 <= said <= n:
            raise ValueError(f"{said} of {n} texts cannot have been called unsafe")
    reason = _unusable(min(n1, n2), labels, level)
    raw = x1 / n1 - x2 / n2 if n1 and n2 else None
    if reason is not None or raw is None:
        return Difference(raw=raw, corrected=None, low=None, high=None, reason=reason)

    def statistic(difference: float) -> float:
        return score_statistic(
            (
                Term(1, x1, n1),
                Term(-1, x2, n2),
                Term(-difference, labels.true_unsafe, labels.unsafe),
                Term(difference, labels.false_unsafe, labels.safe),
            )
        )

    youdens = labels.true_unsafe / labels.unsafe - labels.false_unsafe / labels.safe
    value = min(1.0, max(-1.0, raw / youdens))
    limits = score_limits(statistic, value, (-1.0, 1.0), level)
    if limits is None:
        reason = "the judge tells the models further apart than its errors allow; label some texts"
        return Difference(raw=raw, corrected=None, low=None, high=None, reason=reason)
    return Difference(
        raw=raw, corrected=value, low=limits[0], high=limits[1], caution=_caution(labels)
    )


def corrected_paired_difference(
    only_first: int, only_second: int, n: int, labels: Confusion, level: float = 0.95
) -> Difference:
    """The same, where both models answered the same prompts.

    Assumed besides: the judge's errors on the two answers to a prompt are independent.

    Args:
        only_first: prompts where only the first model's text was called unsafe.
        only_second: prompts where only the second's was.
        n: prompts with a verdict on both.
        labels: as for `rogan_gladen`.
        level: coverage in (0, 1).

    Raises:
        ValueError: more prompts differ than there are.

    Source: Bonett & Price 2012, J. Educ. Behav. Stat. 37, 479-488, for the difference of
    paired proportions; divided by `youden` with MOVER.
    """
    if min(only_first, only_second) < 0 or only_first + only_second > n:
        raise ValueError(f"{only_first} and {only_second} of {n} prompts cannot differ")
    reason = _unusable(n, labels, level)
    raw = (only_first - only_second) / n if n else None
    found = youden(labels, level)
    if reason is not None or raw is None or found.value is None:
        return Difference(raw=raw, corrected=None, low=None, high=None, reason=reason)
    p, q = (only_first + 1) / (n + 2), (only_second + 1) / (n + 2)
    half = normal_quantile(level) * math.sqrt((p + q - (p - q) ** 2) / (n + 2))
    top = Part(1, raw, min(raw, p - q - half), max(raw, p - q + half))
    low, high = (min(1.0, max(-1.0, limit)) for limit in mover_ratio(top, part_of(found)))
    value = min(1.0, max(-1.0, raw / found.value))
    return Difference(raw=raw, corrected=value, low=low, high=high, caution=_caution(labels))


def ppi(
    judge_unlabelled: Sequence[float],
    judge_labelled: Sequence[float],
    human_labelled: Sequence[float],
    level: float = 0.95,
) -> Corrected:
    """Mean human score over all texts, where humans have scored a random part of them.

    The mean of the human scores, moved by how much the judge's mean over the other texts
    differs from that over the labelled ones; how far it is moved depends on how well the two
    agree (power tuning), so that a useless judge does no harm. Nothing is assumed of the
    judge; the labelled texts must be a random draw from all.

    Args:
        judge_unlabelled: the judge's scores of the texts without human score, in [0, 1].
        judge_labelled: its scores of the labelled texts.
        human_labelled: the human scores of the same, in the same order, in [0, 1].
        level: coverage in (0, 1).

    Returns:
        `raw` is the judge's mean over all texts, `corrected` the human mean. It is power
        tuned, with Student's t; but where humans say 0 or 1, and the judge has few words or
        one of the labels is rare, it is stratified by the judge's scores, which keeps the
        interval right near 0 and 1.

    Raises:
        ValueError: the labelled scores do not pair up, or a score lies outside [0, 1].

    Source: Angelopoulos et al. 2023, Science 382, 669-674; PPI++: Angelopoulos, Duchi &
    Zrnic 2023, arXiv 2311.01453, section 6.
    """
    n, more = len(human_labelled), len(judge_unlabelled)
    if n != len(judge_labelled):
        raise ValueError(f"{n} human scores cannot pair up with {len(judge_labelled)} of the judge")
    for scores in (judge_unlabelled, judge_labelled, human_labelled):
        if scores and not (min(scores) >= 0 and max(scores) <= 1):
            raise ValueError("scores of humans and judges must lie in [0, 1]")
    everything = [*judge_unlabelled, *judge_labelled]
    raw = wilson(min(math.fsum(everything), len(everything)), len(everything), level)
    if n < MIN_LABELLED:
        reason = f"only {n} texts have a human label; label at least {MIN_LABELLED} at random"
        return Corrected(raw=raw, corrected=NOTHING, reason=reason)
    binary = set(human_labelled) <= {0, 1}
    total = math.fsum(human_labelled)
    common = min(total, n - total) >= COMMON
    if binary and not (common and len(set(everything)) > FEW_WORDS):
        found = _stratified(everything, judge_labelled, human_labelled, level)
    else:
        found = _tuned(judge_unlabelled, judge_labelled, human_labelled, level)
    value, low, high = (min(1.0, max(0.0, number)) for number in found)
    caution = None
    if not (binary or common):
        caution = "the human scores lie near one end; the interval is rough, label more texts"
    corrected = Estimate(value=value, low=low, high=high, n=n + more)
    return Corrected(raw=raw, corrected=corrected, caution=caution)


def _stratified(
    everything: Sequence[float], judge: Sequence[float], human: Sequence[float], level: float
) -> tuple[float, float, float]:
    """Mean of human labels in each stratum of the judge's scores, weighted by its size.

    For a judge of two words the estimate is that of power tuning, up to the variance that
    it is tuned with; the interval joins Wilson's of the strata and is right near 0 and 1.
    """
    edges = _edges(everything, judge)
    totals = Counter(bisect_right(edges, score) for score in everything)
    seen: dict[int, list[float]] = {}
    for score, label in zip(judge, human, strict=True):
        seen.setdefault(bisect_right(edges, score), []).append(label)
    parts = [
        part_of(wilson(sum(labels), len(labels), level), totals[i] / len(everything))
        for i, labels in seen.items()
    ]
    return stratified(parts, len(everything), level)


def _edges(everything: Sequence[float], judge: Sequence[float]) -> list[float]:
    """Where strata of the judge's scores begin, each with enough labelled texts.

    The scores themselves where they are few, else quarters of the range.
    """
    starts = sorted(set(everything))[1:]
    starts = starts if len(starts) < FEW_WORDS else [0.25, 0.5, 0.75]
    kept: list[float] = []
    for start in starts:
        since = kept[-1] if kept else 0.0
        enough_before = sum(since <= score < start for score in judge) >= PER_STRATUM
        if enough_before and sum(score >= start for score in judge) >= PER_STRATUM:
            kept.append(start)
    return kept


def _tuned(
    judge_unlabelled: Sequence[float],
    judge: Sequence[float],
    human: Sequence[float],
    level: float,
) -> tuple[float, float, float]:
    """Power-tuned estimate with its limits."""
    n, more = len(human), len(judge_unlabelled)
    mean, mean_judge = math.fsum(human) / n, math.fsum(judge) / n
    power, rest = 0.0, mean_judge
    if more:
        rest = math.fsum(judge_unlabelled) / more
        spread = _covariance([*judge_unlabelled, *judge], [*judge_unlabelled, *judge])
        if spread > 0:
            power = _covariance(judge, human) / spread / (1 + n / more)
    value = mean + power * (rest - mean_judge)
    left = [h - power * j for h, j in zip(human, judge, strict=True)]
    variance = _covariance(left, left) / n
    if more > 1:
        variance += power**2 * _covariance(judge_unlabelled, judge_unlabelled) / more
    if variance <= 0:
        alone = part_of(wilson(math.fsum(human), n, level))
        return value, alone.low, alone.high
    t = t_quantile(level, n - 2)
    half = t * math.sqrt(variance)
    return value, value - half, value + half


def _covariance(a: Sequence[float], b: Sequence[float]) -> float:
    mean_a, mean_b = math.fsum(a) / len(a), math.fsum(b) / len(b)
    pairs = zip(a, b, strict=True)
    return math.fsum((x - mean_a) * (y - mean_b) for x, y in pairs) / (len(a) - 1)
