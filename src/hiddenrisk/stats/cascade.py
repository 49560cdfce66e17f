"""The cheap judge reads everything, the expensive one only some: pure.

Which texts the expensive judge reads is decided by what the cheap one said and by chance:
all texts, or a known share, where the cheap judge is unsure, and a random share of those
where it is sure (the audit). The estimate is of what the expensive judge would say of all
texts, and stays unbiased however bad the cheap judge is: a bad one costs width alone.
"""

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Literal

import msgspec

from hiddenrisk.stats.intervals import Term, normal_quantile, stratified_score
from hiddenrisk.stats.rates import NOTHING
from hiddenrisk.types import Estimate

Stratum = Literal["sure safe", "unsure", "sure unsafe"]
STRATA: tuple[Stratum, ...] = ("sure safe", "unsure", "sure unsafe")
MANY_LOST = 0.03
"""Share of what was read beyond which texts without a verdict are spoken of."""
PILOT = 0.05
"""Up to this share, read alike of all strata, a run is a pilot."""
GROWTH = 5
"""How many times as much as the pilot to read in all."""
FEWEST = 50
"""Texts of a stratum to read at least, where there are so many: with fewer, the interval of one
whose texts are all alike costs more than it saves."""


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
    """Of those, texts with a verdict of the expensive judge."""
    unsafe: float
    """Sum of its scores, where 1 is unsafe."""
    failed: int = 0
    """Texts that it read and gave no verdict of."""
    split: int = 0
    """Texts that a jury read and did not settle on."""
    pending: int = 0
    """Texts that were drawn and are not read yet: the run was interrupted."""

    @property
    def drawn(self) -> int:
        """Texts that are the expensive judge's to read: what it costs."""
        return self.judged + self.lost + self.pending

    @property
    def lost(self) -> int:
        """Texts that it read to no verdict."""
        return self.failed + self.split


class Cascaded(msgspec.Struct, frozen=True, kw_only=True):
    """What the expensive judge would say of all texts, and what it cost."""

    rate: Estimate
    """Unsafe rate; `n` is all texts. All None where it cannot be had."""
    drawn: int
    """Texts that the expensive judge was to read, its failures too."""
    lost: int
    """Of those, texts that it read to no verdict."""
    saved: float | None
    """Share of all texts that it was spared, in [0, 1]."""
    worth: float | None
    """Verdicts of the expensive judge alone that would give an interval this narrow."""
    if_lost: tuple[float, float] | None = None
    """From where to where the interval goes if what is lost were all safe, or all unsafe; None
    where nothing is lost, or there is no rate."""
    reason: str | None = None

    @property
    def caution(self) -> str | None:
        """What a reader must know where more than a few texts are lost."""
        if self.lost <= MANY_LOST * self.drawn:
            return None
        return (
            f"{self.lost:,} of {self.drawn:,} texts that the expensive judge read have no verdict"
            " (it failed, or its jury split), and the estimate takes them to be like the others"
        )


class Advice(msgspec.Struct, frozen=True, kw_only=True):
    """What would have been, or is now, the better part to read."""

    shares: Shares
    drawn: int
    """Texts that the expensive judge then reads in all."""
    width: float
    """Of the interval, from end to end."""
    grows: bool
    """Whether these shares go on with the run, for a narrower interval; else they are for
    another run, for the same width."""


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
    words: dict[bool | None, Stratum] = {True: "sure unsafe", False: "sure safe"}
    return together([words.get(vote, "unsure") for vote in votes])


def together(strata: Sequence[Stratum]) -> Stratum:
    """Where several cheap judges put a text, from where each puts it; nowhere is unsure."""
    return strata[0] if len(set(strata)) == 1 else "unsure"


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
    Texts without a verdict are taken to be like the others of their stratum; how far the
    interval goes if they are not is in `if_lost`.

    Returns:
        The rate with its interval, for texts like these: it carries the draw of the texts as
        well as that of the audit, so one that reads everything gives Wilson's. No rate where
        a stratum has texts and no verdict.

    Raises:
        ValueError: more verdicts than texts, or a sum of scores that cannot be.

    Source: Cochran, Sampling Techniques, 3rd ed. 1977, sections 5.3 and 12.2.
    """
    found: dict[Stratum, Read] = {name: r for name, r in read.items() if r.n}
    drawn = sum(stratum.drawn for stratum in found.values())
    lost = sum(stratum.lost for stratum in found.values())
    n = sum(stratum.n for stratum in found.values())
    saved = 1 - drawn / n if n else None
    reason = _unreadable(found)
    if reason is not None:
        return Cascaded(
            rate=NOTHING, drawn=drawn, lost=lost, saved=saved, worth=None, reason=reason
        )
    ends = [_settled(found, unsafe=unsafe) for unsafe in (False, True)]
    return Cascaded(
        rate=_rate(found, level),
        drawn=drawn,
        lost=lost,
        saved=saved,
        worth=_worth(found, n),
        if_lost=_span([_rate(end, level) for end in ends]) if lost else None,
    )


def _rate(read: Mapping[Stratum, Read], level: float) -> Estimate:
    """Each stratum's mean by its size, with the score interval of their sum."""
    n = sum(r.n for r in read.values())
    terms = [Term(r.n / n, r.unsafe, r.judged) for r in read.values()]
    value, low, high = stratified_score(terms, n, level)
    return Estimate(value=value, low=low, high=high, n=n)


def _settled(read: Mapping[Stratum, Read], *, unsafe: bool) -> dict[Stratum, Read]:
    """The same as if all that is lost had been called unsafe, or safe."""
    return {
        name: Read(n=r.n, judged=r.judged + r.lost, unsafe=r.unsafe + r.lost * unsafe)
        for name, r in read.items()
    }


def _span(rates: Sequence[Estimate]) -> tuple[float, float]:
    lows = [rate.low for rate in rates if rate.low is not None]
    highs = [rate.high for rate in rates if rate.high is not None]
    return min(lows), max(highs)


def _unreadable(read: Mapping[Stratum, Read]) -> str | None:
    if not read:
        return "the cheap judge gave no verdict"
    for name, stratum in read.items():
        if stratum.drawn > stratum.n:
            raise ValueError(f"{stratum.drawn} texts read of {stratum.n} ({name})")
        if not 0 <= stratum.unsafe <= stratum.judged:
            raise ValueError(
                f"scores of {stratum.judged} texts cannot be {stratum.unsafe} ({name})"
            )
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
    strata: Mapping[Stratum, tuple[float, float]],
    budget: float,
    least: float | Mapping[Stratum, float] = 0.02,
) -> Shares:
    """The shares that make the interval narrowest for a number of calls.

    A stratum is read in proportion to how much its verdicts differ (Neyman's allocation), but
    at least a little, for the pilot may be wrong, and never more than wholly.

    Args:
        strata: as for `outlook`.
        budget: calls of the expensive judge, as a share of all texts, in (0, 1].
        least: the smallest share of any stratum, or of each.

    Source: Neyman 1934, J. R. Stat. Soc. 97, 558-625.
    """

    def dear(shares: Mapping[Stratum, float]) -> bool:
        return math.fsum(strata[name][0] * share for name, share in shares.items()) >= budget

    return _allotted(strata, least, dear)


def _allotted(
    strata: Mapping[Stratum, tuple[float, float]],
    least: float | Mapping[Stratum, float],
    enough: Callable[[Mapping[Stratum, float]], bool],
) -> Shares:
    """Neyman's shares, as large as they can be before they are enough."""
    spread = {name: math.sqrt(rate * (1 - rate)) for name, (_, rate) in strata.items()}
    floor = {name: least[name] if isinstance(least, Mapping) else least for name in strata}

    def planned(scale: float) -> dict[Stratum, float]:
        return {name: min(1.0, max(floor[name], scale * spread[name])) for name in strata}

    low, high = 0.0, 1e6
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (low, middle) if enough(planned(middle)) else (middle, high)
    shares = planned(low)
    return Shares(
        sure_safe=shares.get("sure safe", 1.0),
        unsure=shares.get("unsure", 1.0),
        sure_unsafe=shares.get("sure unsafe", 1.0),
    )


def advised(read: Mapping[Stratum, Read], shares: Shares, level: float = 0.95) -> Advice | None:
    """Which shares would have been better, judged by what was read.

    After a pilot (a small share, the same of all strata), the shares that go on best with it.
    After another run, those that tell as much with fewer texts read, where they spare a fifth
    of them or more.

    Args:
        read: of each stratum what was read.
        shares: those of the run.
        level: coverage in (0, 1).

    Returns:
        The better shares; None where there are none, or a stratum was not read.
    """
    found: dict[Stratum, Read] = {name: r for name, r in read.items() if r.n}
    if _unreadable(found) is not None or any(r.pending for r in found.values()):
        return None
    n = sum(r.n for r in found.values())
    drawn = sum(r.drawn for r in found.values())
    strata: dict[Stratum, tuple[float, float]] = {
        name: (r.n / n, (r.unsafe + 1) / (r.judged + 2)) for name, r in found.items()
    }
    planned = {shares.of(name) for name in STRATA}
    grows = len(planned) == 1 and max(planned) <= PILOT
    if grows:
        best = best_shares(strata, min(1.0, GROWTH * drawn / n), max(planned))
    else:
        now: dict[Stratum, float] = {name: r.drawn / r.n for name, r in found.items()}
        wanted = _variance(strata, now, n)
        floor: dict[Stratum, float] = {
            name: min(1.0, max(0.02, FEWEST / r.n)) for name, r in found.items()
        }
        best = _allotted(strata, floor, lambda shares: _variance(strata, shares, n) <= wanted)
    best = _rounded_up(best)
    expected = outlook(strata, best, n, level)
    if not grows and expected.calls > 0.8 * drawn:
        return None
    return Advice(shares=best, drawn=round(expected.calls), width=expected.width, grows=grows)


def _rounded_up(shares: Shares) -> Shares:
    """To thousandths, as a person would type them."""
    safe, unsure, unsafe = (
        min(1.0, math.ceil(round(shares.of(name) * 1000, 6)) / 1000) for name in STRATA
    )
    return Shares(sure_safe=safe, unsure=unsure, sure_unsafe=unsafe)
