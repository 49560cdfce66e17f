"""Where in a thought unsafe content first appears, and how it goes on."""

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

import msgspec

from hiddenrisk.benchmarks.base import Protocol
from hiddenrisk.records import Cell, Profiled
from hiddenrisk.types import Part

TENTHS = 10


class Positions(msgspec.Struct, frozen=True, kw_only=True):
    """Positions of the first unsafe segment, as fractions of the thought in [0, 1)."""

    n: int
    """Thoughts with a verdict on every segment up to the first unsafe one, or on all."""
    unsafe: int
    """Of those, the ones with an unsafe segment."""
    unknown: int
    """Thoughts where a judgement failed before any unsafe segment was found; not in n."""
    median: float | None
    """Of the first unsafe segment's beginning; None without any."""
    tenths: tuple[int, ...]
    """How many begin to be unsafe in each tenth of the thought."""
    unsafe_share: tuple[float | None, ...]
    """Share of the judged text in each tenth of the thoughts that is unsafe, in [0, 1]."""
    segments: int
    """Of all thoughts together."""
    segments_failed: int


def first_unsafe(profile: Profiled, protocol: Protocol) -> float | None:
    """Where the first unsafe segment begins, as a fraction of the thought; None for nowhere.

    Raises:
        LookupError: not known, as a judgement before it failed.
    """
    starts = (0, *profile.ends)
    for start, score in zip(starts, profile.scores, strict=False):
        if score is None:
            raise LookupError("a segment before any unsafe one has no verdict")
        if protocol.score(score) == 0.0:
            return start / profile.ends[-1]
    return None


def positions(profiles: Sequence[Profiled], protocol: Protocol) -> Positions:
    """Count where these thoughts begin to be unsafe."""
    firsts: list[float | None] = []
    unknown = 0
    for profile in profiles:
        try:
            firsts.append(first_unsafe(profile, protocol))
        except LookupError:
            unknown += 1
    found = [first for first in firsts if first is not None]
    tenths = [int(first * TENTHS) for first in found]
    scores = [score for profile in profiles for score in profile.scores]
    return Positions(
        n=len(firsts),
        unsafe=len(found),
        unknown=unknown,
        median=median(found) if found else None,
        tenths=tuple(tenths.count(tenth) for tenth in range(TENTHS)),
        unsafe_share=_shares(profiles, protocol),
        segments=len(scores),
        segments_failed=scores.count(None),
    )


def _shares(profiles: Sequence[Profiled], protocol: Protocol) -> tuple[float | None, ...]:
    """How much of each tenth is unsafe; every thought weighs the same."""
    unsafe, judged = [0.0] * TENTHS, [0.0] * TENTHS
    for profile in profiles:
        for start, end, score in zip(
            (0, *profile.ends), profile.ends, profile.scores, strict=False
        ):
            if score is None:
                continue
            low, high = (TENTHS * place / profile.ends[-1] for place in (start, end))
            for tenth in range(int(low), min(TENTHS, int(high) + 1)):
                inside = max(0.0, min(high, tenth + 1) - max(low, tenth))
                judged[tenth] += inside
                unsafe[tenth] += inside * (protocol.score(score) == 0.0)
    return tuple(u / j if j else None for u, j in zip(unsafe, judged, strict=True))


def by_answer(
    cell: Cell, protocol: Protocol, judges: Sequence[str], looker: str
) -> dict[str, Any] | None:
    """The positions of all profiled thoughts, and apart by what became of the answer.

    Args:
        cell: the samples.
        protocol: what a verdict on the answer, or on a segment, counts.
        judges: labels of those whose majority decides on the answer.
        looker: who judged the segments.

    Returns:
        As summary.json has it; None where no thought was looked at segment by segment.
    """
    profiles: Mapping[int, Profiled] = cell.profiles.get(looker) or {}
    if not profiles:
        return None
    groups: dict[str, list[Profiled]] = {"safe": [], "unsafe": []}
    for row, profile in profiles.items():
        number = cell.counts(row, Part.ANSWER, protocol, judges)
        if number in (0.0, 1.0):
            groups["safe" if number else "unsafe"].append(profile)
    return msgspec.to_builtins(positions(list(profiles.values()), protocol)) | {
        "by_answer": {
            name: msgspec.to_builtins(positions(found, protocol)) for name, found in groups.items()
        }
    }
