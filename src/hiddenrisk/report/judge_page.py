"""What the page says of how judges got on: the shapes that `judged` puts into summary.json."""

from collections import Counter
from collections.abc import Sequence

import msgspec

from hiddenrisk.cascading import Audit, shares_of, written
from hiddenrisk.plan import AUDIT
from hiddenrisk.stats.cascade import STRATA, Shares
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


class Stratum(msgspec.Struct, frozen=True, kw_only=True):
    """Texts of which the cheap judges say the same."""

    share: float = 0.0
    texts: int = 0
    drawn: int = 0
    judged: int = 0
    failed: int = 0
    split: int = 0
    pending: int = 0


class Advice(msgspec.Struct, frozen=True, kw_only=True):
    """Which shares would be better."""

    option: str = ""
    audit: Audit = AUDIT
    read: int = 0
    width: float = 0.0
    grows: bool = False


class Cascaded(Estimate, frozen=True, kw_only=True):
    """What the judges would say of all harmful prompts, and what it took to know."""

    value: float | None = None
    low: float | None = None
    high: float | None = None
    n: int = 0
    reason: str | None = None
    by: tuple[str, ...] = ()
    audit: Audit = AUDIT
    cheap: dict[str, Estimate] = msgspec.field(default_factory=dict)
    texts: int = 0
    read: int = 0
    calls: int = 0
    calls_saved: int = 0
    saved: float | None = None
    audited: int = 0
    unsure: float | None = None
    worth: float | None = None
    strata: dict[str, Stratum] = msgspec.field(default_factory=dict)
    lost: int = 0
    caution: str | None = None
    advice: Advice | None = None

    @property
    def advised(self) -> str | None:
        """Which shares would be better, in words."""
        return advised(self.advice, self) if self.advice else None


def advised_for_all(found: Sequence[Cascaded]) -> str | None:
    """What is enough for each of several cascades of a run, which has one --audit; in words.

    None where nothing is advised, or the same of all.
    """
    told = [c for c in found if c.texts]
    advice = [c.advice for c in told if c.advice]
    wanted = [shares_of(c.advice.audit if c.advice else c.audit) for c in told]
    if not advice or len(set(wanted)) < 2:
        return None
    most = {name: max(shares.of(name) for shares in wanted) for name in STRATA}
    now = shares_of(told[0].audit)
    dearer = any(most[name] > now.of(name) for name in STRATA)
    if not advice[0].grows and (dearer or all(most[name] == now.of(name) for name in STRATA)):
        return "--audit is one for all of them, and none is better for each"
    enough = Shares(
        sure_safe=most["sure safe"], unsure=most["unsure"], sure_unsafe=most["sure unsafe"]
    )
    return f"--audit is one for all of them: --audit {written(enough)} is enough for each"


class OverRefusal(Estimate, frozen=True, kw_only=True):
    """The over-refusal rate that the judges would find, by a cascade."""

    value: float | None = None
    low: float | None = None
    high: float | None = None
    n: int = 0
    reason: str | None = None
    texts: int = 0
    read: int = 0
    lost: int = 0


def advised(advice: Advice, found: Cascaded) -> str:
    """`next time --audit 0.03/0.11/0.04 would tell as much: ...`."""
    about = f"about {advice.read:,} of {found.texts:,} texts"
    if not advice.grows:
        return (
            f"next time {advice.option} would tell as much: the judges would read {about}, "
            f"not {found.read:,}"
        )
    wide = "" if found.low is None or found.high is None else f", now {found.high - found.low:.3f}"
    return (
        f"to go on with this run, {advice.option} is the best split: the judges would read "
        f"{about} in all, and the interval would be {advice.width:.3f} wide{wide}"
    )


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
        first: the cheap judges of a cascade.
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
