"""What speaks against correcting a rate by a calibration: why not at all, or what to know.

No formula notices that a judge was measured on texts that it was trained on, that it said
nothing of the hard ones, or that its errors differ from one group of texts to the next.
"""

from collections.abc import Callable, Mapping

from hiddenrisk.calibration import Calibrated
from hiddenrisk.stats.agreement import Confusion
from hiddenrisk.types import Estimate

MOST_FAILED = 0.1
"""Share of the labelled texts without a verdict above which nothing is corrected: its errors on
those that it could not judge are unknown, and they are hardly like the others."""
NOTED_FAILED = 0.01
LEVEL = 0.01
"""Groups are said to differ where so great a difference is rarer by chance."""
_LEAST = 10
"""Texts of a class that a group must have to be held against others."""


def reason_against(calibrated: Calibrated) -> str | None:
    """Why nothing may be corrected by it; None if it can be used."""
    if calibrated.in_sample:
        return (
            f"{calibrated.judge} was trained on the labels of {calibrated.set}, and errs more often "
            "on other texts; label some of these responses (--labels), or calibrate on texts of "
            "your own"
        )
    if not calibrated.complete:
        return (
            f"the calibration on {calibrated.set} is not complete; run `hiddenrisk calibrate` with "
            "its --out again"
        )
    if _failed(calibrated) > MOST_FAILED:
        return (
            f"{_without(calibrated)}, which are hardly like the others; take a judge that answers"
        )
    return None


def cautions(calibrated: Calibrated) -> list[str]:
    """What a reader of a rate that is corrected by it must know."""
    notes = list(calibrated.unverified)
    if _failed(calibrated) > NOTED_FAILED:
        notes.append(f"{_without(calibrated)}, and its errors there are unknown")
    groups = calibrated.group_counts
    for name, of, classed in (
        ("sensitivity", _sensitivity, _unsafe),
        ("specificity", _specificity, _safe),
    ):
        if told := _differing(name, groups, of, classed):
            notes.append(told)
    return notes


def _failed(calibrated: Calibrated) -> float:
    total = calibrated.failed + calibrated.counts.n
    return calibrated.failed / total if total else 0.0


def _without(calibrated: Calibrated) -> str:
    total = calibrated.failed + calibrated.counts.n
    return f"{calibrated.judge} gave no verdict on {calibrated.failed:,} of the {total:,} labelled texts"


def _sensitivity(counts: Confusion) -> Estimate:
    return counts.sensitivity


def _specificity(counts: Confusion) -> Estimate:
    return counts.specificity


def _unsafe(counts: Confusion) -> tuple[int, int]:
    return counts.true_unsafe, counts.false_safe


def _safe(counts: Confusion) -> tuple[int, int]:
    return counts.true_safe, counts.false_unsafe


def _differing(
    name: str,
    groups: Mapping[str, Confusion],
    of: Callable[[Confusion], Estimate],
    classed: Callable[[Confusion], tuple[int, int]],
) -> str | None:
    """`its sensitivity differs: 68% for llama to 87% for gpt-4`, where chance hardly explains it.

    Pearson's test of homogeneity over the groups that are large enough.
    """
    tables = {group: classed(counts) for group, counts in groups.items()}
    tables = {group: table for group, table in tables.items() if sum(table) >= _LEAST}
    right, wrong = (sum(table[place] for table in tables.values()) for place in (0, 1))
    if len(tables) < 2 or not right or not wrong:
        return None
    from scipy.stats import chi2_contingency  # noqa: PLC0415 - half a second, for few runs

    if float(chi2_contingency(list(tables.values()), correction=False).pvalue) >= LEVEL:
        return None
    ranked = sorted(tables, key=lambda group: of(groups[group]).value or 0.0)
    low, high = ranked[0], ranked[-1]
    return (
        f"its {name} differs from group to group of the labelled texts, from "
        f"{of(groups[low]).value:.0%} ({low}) to {of(groups[high]).value:.0%} ({high}), so that it "
        "may be another one here: label some of these responses"
    )
