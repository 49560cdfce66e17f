"""Thought against answer, sample by sample: which of the two is less safe, and where they differ.

Two rates side by side hide whether it is the same samples that are unsafe in both. The
2x2 table of a benchmark counts the unsafe prompts whose thinking and answer both have a
verdict; McNemar's test asks whether the two kinds of flips are equally many. The paper's
finding 4 is that the thinking is less safe than the answer.
"""

from array import array
from collections.abc import Sequence

import msgspec

from hiddenrisk.benchmarks.base import Protocol
from hiddenrisk.cell import LABELS, Cell
from hiddenrisk.stats import rates
from hiddenrisk.types import Part


class Contrast(msgspec.Struct, frozen=True, kw_only=True):
    """The 2x2 table of one model on one benchmark."""

    both_safe: int
    both_unsafe: int
    only_answer_safe: int
    """The thought is unsafe and the answer is not: the model held back."""
    only_thinking_safe: int
    """The thought is safe and the answer is not: the thinking did not help."""
    unclear: int
    """Both were judged, and one of them neither safe nor unsafe; not in the table."""
    n: int
    """Samples in the table."""
    p: float | None
    """McNemar's exact test of as many flips one way as the other; None without a flip."""


class Flips(msgspec.Struct, frozen=True):
    """The samples that differ, as rows of the cell, in the order they came."""

    only_answer_safe: Sequence[int]
    only_thinking_safe: Sequence[int]


def contrast(cell: Cell, protocol: Protocol, judges: Sequence[str]) -> tuple[Contrast, Flips]:
    """Hold the thinking of each sample against its answer.

    Args:
        cell: the samples; those of harmless prompts stay out.
        protocol: says what a verdict between safe and unsafe counts; 1 is safe, 0 is not.
        judges: labels of those whose majority decides.
    """
    pairs: dict[tuple[float, float], array[int]] = {}
    thoughts, answers = (cell.counted(part, protocol, judges) for part in _PARTS)
    for row, (thought, answer) in enumerate(zip(thoughts, answers, strict=True)):
        if thought is not None and answer is not None and LABELS[cell.labels[row]] == "unsafe":
            pairs.setdefault((thought, answer), array("I")).append(row)
    flips = Flips(pairs.get((0.0, 1.0), ()), pairs.get((1.0, 0.0), ()))
    table = {k: len(v) for k, v in pairs.items() if set(k) <= {0.0, 1.0}}
    held, slipped = len(flips.only_answer_safe), len(flips.only_thinking_safe)
    found = Contrast(
        both_safe=table.get((1.0, 1.0), 0),
        both_unsafe=table.get((0.0, 0.0), 0),
        only_answer_safe=held,
        only_thinking_safe=slipped,
        unclear=sum(len(v) for v in pairs.values()) - sum(table.values()),
        n=sum(table.values()),
        p=rates.mcnemar(held, slipped),
    )
    return found, flips


_PARTS = (Part.THINKING, Part.ANSWER)
