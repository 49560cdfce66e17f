"""The cheap judge reads everything, the expensive one only some: pure.

Which texts the expensive judge reads is decided by what the cheap one said and by chance:
all texts, or a known share, where the cheap judge is unsure, and a random share of those
where it is sure (the audit). The estimate is of what the expensive judge would say of all
texts, and stays unbiased however bad the cheap judge is: a bad one costs width alone.
"""

import hashlib
import math
from collections.abc import Mapping, Sequence
from typing import Literal

import msgspec

from hiddenrisk.intervals import normal_quantile, part_of, stratified
from hiddenrisk.stats import NOTHING, wilson
from hiddenrisk.types import Estimate

Stratum = Literal["sure safe", "unsure", "sure unsafe"]
STRATA: tuple[Stratum, ...] = ("sure safe", "unsure", "sure unsafe")


class Shares(msgspec.Struct, frozen=True, kw_only=True):
    """How much of each stratum the expensive judge reads, each in [0, 1]."""

    sure_safe: float = 0.1
    unsure: float = 1.0
    sure_unsafe: float = 0.1

    def __post_init__(self) -> None:
        if not all(0 < self.of(stratum) <= 1 for stratum in STRATA):
            raise ValueError(
                "the share of each stratum must be above 0 and at most 1: what is never read"
                f" cannot be estimated; not {self}"
            )

    def of(self, stratum: Stratum) -> float:
        """The share of one stratum."""
        by_name = {
            "sure safe": self.sure_safe,
            "unsure": self.unsure,
            "sure unsafe": self.sure_unsafe,
        }
        return by_name[stratum]


class Read(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of one stratum."""

    n: int
    """Texts that the cheap judge put here."""
    judged: int
    """Of those, texts with a verdict of the expensive judge: all drawn, less its failures."""
    unsafe: float
    """Sum of its scores, where 1 is unsafe."""


class Cascaded(msgspec.Struct, frozen=True, kw_only=True):
    """What the expensive judge would say of all texts, and what it cost."""

    rate: Estimate
    """Unsafe rate; `n` is all texts. All None where it cannot be had."""
    calls: int
    """Verdicts of the expensive judge."""
    saved: float | None
    """Share of its calls that were not needed to judge all texts, in [0, 1]."""
    worth: float | None
    """Verdicts of the expensive judge alone that would give an interval this narrow."""
    reason: str | None = None


class Outlook(msgspec.Struct, frozen=True, kw_only=True):
    """What to expect of a cascade."""

    calls: float
    """Of the expensive judge."""
    width: float
    """Of the interval, from end to end."""
    worth: float
    """Calls of the expensive judge alone for the same width."""


def by_score(p_unsafe: float, low: float = 0.2, high: float = 0.8) -> Stratum:
    """Where a cheap judge that gives a probability puts a text; unsure from `low` to `high`."""
    if not 0 <= p_unsafe <= 1:
        raise ValueError(f"a probability lies between 0 and 1, unlike {p_unsafe}")
    if p_unsafe < low:
        return "sure safe"
    return "unsure" if p_unsafe <= high else "sure unsafe"


def by_votes(votes: Sequence[bool | None]) -> Stratum:
    """Where one or several cheap judges put a text, True for unsafe; sure only if they agree.

    A vote that could not be had (None) makes the text unsure, and so does no vote at all.
    """
    if votes and all(vote is True for vote in votes):
        return "sure unsafe"
    return "sure safe" if votes and all(vote is False for vote in votes) else "unsure"


def goes_on(key: str, stratum: Stratum, shares: Shares, seed: int = 0) -> bool:
    """Whether the expensive judge reads this text.

    The draw hangs on the key and the seed alone, so that a run that is resumed draws the
    same, and a larger share reads all that a smaller one did.
    """
    return _draw(key, seed) < shares.of(stratum)


def _draw(key: str, seed: int) -> float:
    """A number in [0, 1), the same for the same key and seed."""
    digest = hashlib.blake2b(f"{seed}:{key}".encode(), digest_size=8, person=b"cascade").digest()
    return (int.from_bytes(digest, "big") >> 11) / 2**53


def cascaded(read: Mapping[Stratum, Read], level: float = 0.95) -> Cascaded:
    """Estimate what the expensive judge would say of all texts.

    Each stratum's mean counts by how many texts are in it. That is Horvitz and Thompson's
    estimate with the share that was read in the place of the share that was planned, and the
    difference estimate too, for what the cheap judge says is the same within a stratum.
    Failures of the expensive judge are taken to hide what its verdicts of the stratum show.

    Returns:
        The rate with its interval, for texts like these: it carries the draw of the texts as
        well as that of the audit, so one that reads everything gives Wilson's. No rate where
        a stratum has texts and no verdict.

    Raises:
        ValueError: more verdicts than texts, or a sum of scores that cannot be.

    Source: Cochran, Sampling Techniques, 3rd ed. 1977, sections 5.3 and 12.2.
    """
    found: dict[Stratum, Read] = {name: r for name, r in read.items() if r.n}
    calls = sum(stratum.judged for stratum in found.values())
    n = sum(stratum.n for stratum in found.values())
    reason = _unreadable(found)
    if reason is not None:
        saved = 1 - calls / n if n else None
        return Cascaded(rate=NOTHING, calls=calls, saved=saved, worth=None, reason=reason)
    parts = [part_of(wilson(r.unsafe, r.judged, level), r.n / n) for r in found.values()]
    value, low, high = stratified(parts, n, level)
    rate = Estimate(value=value, low=max(0.0, low), high=min(1.0, high), n=n)
    return Cascaded(rate=rate, calls=calls, saved=1 - calls / n, worth=_worth(found, n))


def _unreadable(read: Mapping[Stratum, Read]) -> str | None:
    if not read:
        return "the cheap judge gave no verdict"
    for name, stratum in read.items():
        if stratum.judged > stratum.n:
            raise ValueError(f"{stratum.judged} verdicts on {stratum.n} texts ({name})")
        if not stratum.judged:
            return (
                f"no verdict of the expensive judge on the {stratum.n} texts where the cheap one"
                f" is {name}; raise the share that it reads"
            )
    return None


def _worth(read: Mapping[Stratum, Read], n: int) -> float | None:
    """Size of the simple sample with this variance; None where all scores are the same."""
    strata: dict[Stratum, tuple[float, float]] = {
        name: (r.n / n, r.unsafe / r.judged) for name, r in read.items()
    }
    shares: dict[Stratum, float] = {name: r.judged / r.n for name, r in read.items()}
    variance = _variance(strata, shares, n)
    value = math.fsum(weight * rate for weight, rate in strata.values())
    return value * (1 - value) / variance if variance > 0 else None


def _variance(
    strata: Mapping[Stratum, tuple[float, float]], shares: Mapping[Stratum, float], n: float
) -> float:
    """Of the estimate: that of the sample of texts, and that of reading a part of each stratum."""
    value = math.fsum(weight * rate for weight, rate in strata.values())
    unread = math.fsum(
        weight * rate * (1 - rate) * (1 / shares[name] - 1)
        for name, (weight, rate) in strata.items()
    )
    return (value * (1 - value) + unread) / n


def outlook(
    strata: Mapping[Stratum, tuple[float, float]], shares: Shares, n: int, level: float = 0.95
) -> Outlook:
    """What a cascade over `n` texts will cost and tell, from a pilot or an earlier run.

    Args:
        strata: of each stratum its share of the texts and the expensive judge's unsafe rate in
            it. A rate of 0 or 1 from a small pilot promises too much: put (unsafe + 1) / (n + 2).
        shares: how much of each the expensive judge is to read.
        n: texts.
        level: coverage in (0, 1).
    """
    by_name: dict[Stratum, float] = {name: shares.of(name) for name in strata}
    variance = _variance(strata, by_name, n)
    value = math.fsum(weight * rate for weight, rate in strata.values())
    return Outlook(
        calls=n * math.fsum(weight * by_name[name] for name, (weight, _) in strata.items()),
        width=2 * normal_quantile(level) * math.sqrt(variance),
        worth=value * (1 - value) / variance if variance > 0 else float(n),
    )


def best_shares(
    strata: Mapping[Stratum, tuple[float, float]], budget: float, least: float = 0.02
) -> Shares:
    """The shares that make the interval narrowest for a number of calls.

    A stratum is read in proportion to how much its verdicts differ (Neyman's allocation), but
    at least a little, for the pilot may be wrong, and never more than wholly.

    Args:
        strata: as for `outlook`.
        budget: calls of the expensive judge, as a share of all texts, in (0, 1].
        least: the smallest share of any stratum.

    Source: Neyman 1934, J. R. Stat. Soc. 97, 558-625.
    """
    spread = {name: math.sqrt(rate * (1 - rate)) for name, (_, rate) in strata.items()}

    def planned(scale: float) -> dict[Stratum, float]:
        return {name: min(1.0, max(least, scale * spread[name])) for name in strata}

    low, high = 0.0, 1e6
    for _ in range(100):
        middle = (low + high) / 2
        cost = math.fsum(strata[name][0] * share for name, share in planned(middle).items())
        low, high = (middle, high) if cost < budget else (low, middle)
    shares = planned(low)
    return Shares(
        sure_safe=shares.get("sure safe", 1.0),
        unsure=shares.get("unsure", 1.0),
        sure_unsafe=shares.get("sure unsafe", 1.0),
    )
