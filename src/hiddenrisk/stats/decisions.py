"""From the tests of a question to its answer: supported, refuted, mixed, or undecided.

Pure: effects and p values in, answers out. A question is put as hypotheses, one for each
comparison that it speaks of (a model on a benchmark), and each says which way its effect
goes. They are one family: p values are corrected by Holm's method, so that "supported" is
said of a family without any effect in 5% of the cases at most.

That no effect was found refutes nothing: refuting takes evidence of its own. docs/findings.md
has the reasons.
"""

from collections.abc import Sequence
from typing import Literal

import msgspec

from hiddenrisk.stats.families import holm
from hiddenrisk.types import Estimate

Answer = Literal["supported", "refuted", "mixed", "undecided", "not_measured"]
ALPHA = 0.05
"""How often a family without any effect may be called one with an effect."""


class Hypothesis(msgspec.Struct, frozen=True, kw_only=True):
    """A comparison of which the question says the direction."""

    effect: Estimate
    """Positive where it goes the way that the question says, with its 95% interval."""
    p: float | None
    """Two-sided, of no effect; None where nothing can be tested."""
    smallest: float | None
    """The smallest effect that matters, above 0; None where none can be named."""


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a hypothesis in its family."""

    answer: Answer
    p_holm: float | None
    reversed: bool = False
    """Refuted by an effect that goes the other way, not only by one too small to matter."""
    small: bool = False
    """Supported, and the interval says that the effect is below the smallest that matters."""


def decide(hypotheses: Sequence[Hypothesis], alpha: float = ALPHA) -> list[Decision]:
    """Decide each hypothesis of a family.

    - supported: the corrected p is below alpha and the effect goes the way that is said;
    - refuted: the same the other way; or the whole interval lies below the smallest effect
      that matters;
    - not measured: there is no estimate; such hypotheses are not of the family;
    - undecided: all others.

    Source: Holm 1979, Scand. J. Statist. 6, 65-70; to refute by an interval: Lakens 2017,
    Soc. Psychol. Pers. Sci. 8, 355-362 (the upper one of two one-sided tests).
    """
    corrected = holm([None if h.effect.value is None else h.p for h in hypotheses])
    return [_decided(h, p, alpha) for h, p in zip(hypotheses, corrected, strict=True)]


def _decided(hypothesis: Hypothesis, p: float | None, alpha: float) -> Decision:
    effect, smallest = hypothesis.effect, hypothesis.smallest
    if effect.value is None:
        return Decision(answer="not_measured", p_holm=None)
    excluded = smallest is not None and effect.high is not None and effect.high < smallest
    if p is not None and p < alpha and effect.value > 0:
        return Decision(answer="supported", p_holm=p, small=excluded)
    if p is not None and p < alpha and effect.value < 0:
        return Decision(answer="refuted", p_holm=p, reversed=True)
    return Decision(answer="refuted" if excluded else "undecided", p_holm=p)


def conclude(decisions: Sequence[Decision]) -> Answer:
    """The answer of a family.

    - supported: a hypothesis is, and no effect goes the other way;
    - mixed: a hypothesis is, and an effect goes the other way;
    - refuted: no hypothesis is supported, and an effect goes the other way or each
      hypothesis is refuted. Of "each" no p has to be corrected: it takes all of them
      (Berger 1982, Technometrics 24, 295-300, intersection-union tests);
    - undecided: all others; not measured: there is no hypothesis that was.
    """
    measured = [d for d in decisions if d.answer != "not_measured"]
    if not measured:
        return "not_measured"
    supported = any(d.answer == "supported" for d in measured)
    reverse = any(d.reversed for d in measured)
    if supported:
        return "mixed" if reverse else "supported"
    if reverse or all(d.answer == "refuted" for d in measured):
        return "refuted"
    return "undecided"
