"""Which model is the reference, and which was made from which: from a plan, or as named."""

from collections.abc import Iterable, Sequence
from typing import Any

from hiddenrisk.errors import UsageError, unknown

WAYS = ("distilled", "reasoning")
"""How a model was made from its base."""


def named_roles(
    known: Iterable[str], reference: str | None, pairs: Sequence[str], planned: dict[str, Any]
) -> dict[str, Any]:
    """The roles of a run: those of its plan, but for what is named here.

    Args:
        known: the labels of the run's models.
        reference: a label.
        pairs: each as `BASE:distilled:LABEL` or `BASE:reasoning:LABEL`.
        planned: the roles of the plan, as summary.json has them.

    Raises:
        UsageError: a label is unknown, or a pair is none.
    """
    labels = list(known)
    found = [pair_of(text) for text in pairs]
    for label in (*([reference] if reference else []), *(x for p in found for x in p.values())):
        if label not in labels:
            raise unknown("model", label, labels, see="Name models by their labels in the run.")
    return {
        "reference": reference or planned["reference"],
        "pairs": found or planned["pairs"],
    }


def pair_of(text: str) -> dict[str, str]:
    """`llama:distilled:r1-70b` as the base and what was made of it; labels may hold colons.

    Raises:
        UsageError: it is no pair.
    """
    for way in WAYS:
        base, mark, made = text.partition(f":{way}:")
        if mark and base and made:
            if base == made:
                raise UsageError(f"the pair '{text}' is one model twice; name its base first")
            return {"base": base, way: made}
    raise UsageError(
        f"'{text}' is no pair; write BASE:distilled:LABEL or BASE:reasoning:LABEL, with labels of "
        "the run's models"
    )
