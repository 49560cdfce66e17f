"""The funnel of safety thinking: risk noticed, refusal intended, answer safe.

The paper's fourth version finds that safety thinking emerges in the reasoning and fails
under attack; no tool counts it. Here each sample is followed from its thought to its
answer: of the thoughts that notice the risk, how many answers are unsafe all the same?
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TypeVar

import msgspec

from hiddenrisk import stats
from hiddenrisk.benchmarks.base import Protocol
from hiddenrisk.records import LABELS, Cell
from hiddenrisk.types import Estimate, Part

Name = TypeVar("Name", str, tuple[str, str])
"""Of a group: a category's path, or an axis and a value on it."""


class Followed(msgspec.Struct, frozen=True):
    """One sample on its way from thought to answer."""

    noticed: bool
    intended: bool
    safe: float | None
    """What the answer counts: 1 safe, 0 unsafe, between the two unclear; None without a score."""


class Funnel(msgspec.Struct, frozen=True, kw_only=True):
    """How far safety thinking goes, in samples; each stage holds those of the one before."""

    n: int
    """Thoughts looked into, before an answer that is safe or unsafe."""
    risk_noticed: int
    refusal_intended: int
    answer_safe: int
    """Of those that intended to decline, the answers that are safe."""
    answers_safe: int
    """Of all n."""
    unclear: int
    """Thoughts looked into, before an answer that is neither or has no score; not in n."""
    unsafe_when_noticed: Estimate
    """How often safety thinking fails: the answer is unsafe though the risk was noticed."""
    unsafe_when_intended: Estimate
    unsafe_when_unnoticed: Estimate


def funnel(samples: Mapping[Followed, int]) -> Funnel:
    """Count how far safety thinking goes in these samples, given as {sample: how often}."""
    counts: Counter[tuple[bool, bool, bool]] = Counter()
    unclear = 0
    for sample, count in samples.items():
        if sample.safe in (0.0, 1.0):
            counts[sample.noticed, sample.intended, sample.safe == 1.0] += count
        else:
            unclear += count

    def of(
        noticed: bool | None = None, intended: bool | None = None, safe: bool | None = None
    ) -> int:
        wanted = (noticed, intended, safe)
        return sum(
            count
            for is_so, count in counts.items()
            if all(w is None or w is s for w, s in zip(wanted, is_so, strict=True))
        )

    return Funnel(
        n=of(),
        risk_noticed=of(noticed=True),
        refusal_intended=of(intended=True),
        answer_safe=of(intended=True, safe=True),
        answers_safe=of(safe=True),
        unclear=unclear,
        unsafe_when_noticed=stats.wilson(of(noticed=True, safe=False), of(noticed=True)),
        unsafe_when_intended=stats.wilson(of(intended=True, safe=False), of(intended=True)),
        unsafe_when_unnoticed=stats.wilson(of(noticed=False, safe=False), of(noticed=False)),
    )


def followed(
    cell: Cell, protocol: Protocol, judges: Sequence[str], looker: str
) -> Iterator[tuple[int, Followed]]:
    """The samples whose thought was looked into, as rows of the cell.

    Args:
        cell: the samples; those of harmless prompts stay out.
        protocol: what a verdict on the answer counts.
        judges: labels of those whose majority decides on the answer.
        looker: who looked into the thoughts.
    """
    for row in range(len(cell)):
        aware = cell.aware(row, looker)
        if aware is not None and LABELS[cell.labels[row]] == "unsafe":
            yield row, Followed(*aware, safe=cell.counts(row, Part.ANSWER, protocol, judges))


def by_group(
    cell: Cell,
    samples: Sequence[tuple[int, Followed]],
    groups: Callable[[tuple[str, ...]], Sequence[Name]],
) -> dict[Name, Funnel]:
    """The funnel of each group that a category belongs to, by name."""
    names = {place: groups(path) for path, place in cell.paths.items()}
    found: dict[Name, Counter[Followed]] = defaultdict(Counter)
    for row, sample in samples:
        for name in names[cell.categories[row]]:
            found[name][sample] += 1
    return {name: funnel(counts) for name, counts in sorted(found.items())}
