"""Where in a thought unsafe content first appears, and how it goes on."""

from collections.abc import Sequence
from typing import Any

import msgspec

from hiddenrisk.benchmarks.base import Protocol
from hiddenrisk.cell import Cell
from hiddenrisk.samples import Profiled
from hiddenrisk.stats import rates
from hiddenrisk.types import Estimate, Part

TENTHS = 10


class Positions(msgspec.Struct, frozen=True, kw_only=True):
    """Thoughts of which every segment was judged."""

    n: int
    segments: int
    """Of all thoughts together."""
    unsafe: Estimate
    """Share of the thoughts that have an unsafe segment, in [0, 1]."""
    first: Estimate
    """Median of where the first one begins, as a fraction of the thought in [0, 1)."""
    tenths: tuple[int, ...]
    """How many begin to be unsafe in each tenth of the thought."""
    unsafe_share: tuple[float | None, ...]
    """Share of the text in each tenth that is unsafe, in [0, 1]; every thought weighs the same."""


def first_unsafe(profile: Profiled, protocol: Protocol) -> float | None:
    """Where the first unsafe segment begins, as a fraction of the thought; None for nowhere."""
    for start, score in zip((0, *profile.ends), profile.scores, strict=False):
        if protocol.score(score) == 0.0:
            return start / profile.ends[-1]
    return None


def positions(profiles: Sequence[Profiled], protocol: Protocol) -> Positions:
    """Count where these thoughts begin to be unsafe."""
    firsts = [first_unsafe(profile, protocol) for profile in profiles]
    found = [first for first in firsts if first is not None]
    tenths = [int(first * TENTHS) for first in found]
    return Positions(
        n=len(profiles),
        segments=sum(len(profile.scores) for profile in profiles),
        unsafe=rates.wilson(len(found), len(profiles)),
        first=rates.median_of(found),
        tenths=tuple(tenths.count(tenth) for tenth in range(TENTHS)),
        unsafe_share=_shares(profiles, protocol),
    )


def _shares(profiles: Sequence[Profiled], protocol: Protocol) -> tuple[float | None, ...]:
    unsafe = [0.0] * TENTHS
    for profile in profiles:
        for start, end, score in zip(
            (0, *profile.ends), profile.ends, profile.scores, strict=False
        ):
            if protocol.score(score) != 0.0:
                continue
            low, high = (TENTHS * place / profile.ends[-1] for place in (start, end))
            for tenth in range(int(low), min(TENTHS, int(high) + 1)):
                unsafe[tenth] += max(0.0, min(high, tenth + 1) - max(low, tenth))
    return tuple(share / len(profiles) if profiles else None for share in unsafe)


def by_answer(
    cell: Cell,
    protocol: Protocol,
    judges: Sequence[str],
    looker: str,
    sample: frozenset[tuple[str, int]],
) -> dict[str, Any] | None:
    """The positions of all profiled thoughts, and apart by what became of the answer.

    Args:
        cell: the samples.
        protocol: what a verdict on the answer, or on a segment, counts.
        judges: labels of those whose majority decides on the answer.
        looker: who judged the segments.
        sample: (prompt, repeat) of the thoughts that count: a folder may hold more.

    Returns:
        As summary.json has it; None where no thought was looked at segment by segment.
    """
    looked = cell.profiles.get(looker) or {}
    profiles = {row: p for row, p in looked.items() if (p.prompt, p.repeat) in sample}
    failed = sum(u[:2] == (looker, "profile") and u.sample in sample for u in cell.unseen)
    if not profiles and not failed:
        return None
    groups: dict[str, list[Profiled]] = {"safe": [], "unsafe": []}
    for row, profile in profiles.items():
        number = cell.counts(row, Part.ANSWER, protocol, judges)
        if number in (0.0, 1.0):
            groups["safe" if number else "unsafe"].append(profile)
    return msgspec.to_builtins(positions(list(profiles.values()), protocol)) | {
        "failed": failed,
        "by_answer": {
            name: msgspec.to_builtins(positions(found, protocol)) for name, found in groups.items()
        },
    }
