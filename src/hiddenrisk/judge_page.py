"""What the page says of how judges got on: the shapes that `judged` puts into summary.json."""

from collections import Counter
from collections.abc import Sequence

import msgspec

from hiddenrisk.types import Estimate

NOTHING = Estimate(value=None, low=None, high=None, n=0)


class Pair(msgspec.Struct, frozen=True, kw_only=True):
    """Two judges on the same texts."""

    agreed: Estimate = NOTHING
    kappa: Estimate = NOTHING


class Fleiss(msgspec.Struct, frozen=True, kw_only=True):
    """Fleiss' kappa of the texts that all judged."""

    value: float | None = None
    n: int = 0


class Agreement(msgspec.Struct, frozen=True, kw_only=True):
    """All judges on the prompts of one label."""

    n: int = 0
    agreed: Estimate = NOTHING
    pairs: dict[str, Pair] = {}
    alpha: float | None = None
    fleiss: Fleiss | None = None


class Cascaded(Estimate, frozen=True, kw_only=True):
    """What the judges would say of all harmful prompts, and what it took to know."""

    value: float | None = None
    low: float | None = None
    high: float | None = None
    n: int = 0
    reason: str | None = None
    by: str = ""
    cheap: Estimate = NOTHING
    texts: int = 0
    calls: int = 0
    calls_saved: int = 0
    saved: float | None = None
    audit: float = 0.0
    audited: int = 0
    unsure: float | None = None
    worth: float | None = None


class Deputies(msgspec.Struct, frozen=True, kw_only=True):
    """Verdicts of one part that no judge of the jury gave."""

    fallbacks: dict[str, dict[str, int]] = {}
    by_human: int = 0


def judged_by(
    judges: Sequence[str],
    rule: str,
    first: str | None,
    deputies: Sequence[Deputies],
    named: str | None = None,
) -> str:
    """`by a, b (any-unsafe), 12 verdicts by fallback f`: who gave the verdicts of a headline.

    Args:
        judges: the jury.
        rule: how it decides.
        first: the cheap judge of a cascade.
        deputies: of each part, who else gave a verdict.
        named: the jury with its rubrics, in words; its labels if None.
    """
    counts: Counter[str] = Counter()
    for part in deputies:
        for by in part.fallbacks.values():
            counts.update(by)
    people = sum(part.by_human for part in deputies)
    words = [f"by {named or ', '.join(judges)}"]
    if len(judges) > 1 and rule == "any-unsafe":
        words[0] += " (any-unsafe)"
    words += [f"{first} first"] if first else []
    words += [f"{_verdicts(n)} by fallback {name}" for name, n in sorted(counts.items())]
    return ", ".join([*words, *([f"{_verdicts(people)} by people"] if people else [])])


def _verdicts(count: int) -> str:
    return f"{count:,} verdict{'s' if count != 1 else ''}"
