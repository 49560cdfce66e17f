"""`hiddenrisk compare`: models of stored runs on the prompts that they share."""

from collections.abc import Iterator, Sequence
from typing import Any, Literal

import msgspec
import numpy as np

from hiddenrisk import __version__
from hiddenrisk.comparing import (
    METRICS,
    Comparison,
    compared,
    comparison_json,
    shown,
    with_families,
)
from hiddenrisk.errors import UsageError, unknown
from hiddenrisk.scores import pairs
from hiddenrisk.sides import KINDS, Pairing, Place, Side, check_alike, columns_of, provenance
from hiddenrisk.store import RESPONSES, read_at
from hiddenrisk.types import Part

Correction = Literal["holm", "bh"]


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be compared, and how."""

    benchmarks: tuple[str, ...] = ()
    """None: all."""
    part: Part | None = None
    """None: both."""
    depth: int = 1
    """Of categories; 0 for none."""
    alpha: float = 0.05
    """Level of the tests; the intervals cover 1 - alpha."""
    correction: Correction = "holm"
    allowed: tuple[str, ...] = ()
    """Facts that may differ: `measured.FACTS`."""


class NotCompared(msgspec.Struct, frozen=True, kw_only=True):
    """What only one side has, or neither can show."""

    first: str
    second: str
    benchmark: str
    part: Part | None
    reason: str


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """What came of it."""

    comparisons: list[Comparison]
    not_compared: list[NotCompared]
    differing: list[dict[str, str]]
    """What is not alike and was allowed to differ: benchmark, fact, first, second."""
    notes: list[str]


def compare(who: Sequence[Pairing], wanted: Wanted) -> Found:
    """Compare models pair by pair.

    Raises:
        UsageError: the runs were not measured alike, or no two have a benchmark in common.
    """
    names = _benchmarks(who, wanted)
    differing = check_alike(who, names, wanted.allowed)
    comparisons: list[Comparison] = []
    missing: list[NotCompared] = []
    notes: dict[str, None] = {}
    for pairing in who:
        for place in _places(pairing, names, wanted.part):
            reason = _why_not(pairing, place)
            if reason is None:
                comparisons.append(_comparison(pairing, place, wanted, notes))
            else:
                missing.append(_told(pairing, place, reason))
    return Found(
        comparisons=with_families(comparisons, "this comparison"),
        not_compared=_each_once(missing),
        differing=differing,
        notes=[*notes, *provenance(who)],
    )


def _benchmarks(who: Sequence[Pairing], wanted: Wanted) -> list[str]:
    """The benchmarks to compare on.

    Raises:
        UsageError: one is in no run, or no two models have one in common.
    """
    runs = dict.fromkeys(side.run for pairing in who for side in (pairing.first, pairing.second))
    known = list(dict.fromkeys(name for run in runs for name in run.facts))
    for name in wanted.benchmarks:
        if name not in known:
            raise unknown("benchmark", name, known, see="Those were measured in these runs.")
    names = list(wanted.benchmarks) or known
    if not any(
        name in pairing.first.run.facts and name in pairing.second.run.facts
        for pairing in who
        for name in names
    ):
        had = "; ".join(f"{run.folder} has {', '.join(run.facts)}" for run in runs)
        raise UsageError(f"there is no benchmark that two of these runs share: {had}")
    return names


def _places(pairing: Pairing, names: Sequence[str], part: Part | None) -> list[Place]:
    """What either side has, in the order of the benchmarks."""
    found = dict.fromkeys([*pairing.first.columns, *pairing.second.columns])
    wanted = [place for place in found if place[0] in names and part in (None, place[1])]
    return sorted(wanted, key=lambda place: names.index(place[0]))


def _why_not(pairing: Pairing, place: Place) -> str | None:
    for name, side in zip(pairing.names, (pairing.first, pairing.second), strict=True):
        reason = _absent(side, name, place)
        if reason:
            return reason
    return None


def _absent(side: Side, name: str, place: Place) -> str | None:
    benchmark, part, label = place
    if benchmark not in side.run.facts:
        return f"{name} was not asked it"
    column = side.columns.get(place)
    if column is None:
        prompts = f"{KINDS[label]} prompts"
        judged = any((benchmark, part, other) in side.columns for other in KINDS)
        return (
            f"{name} was asked no {prompts} of it"
            if judged
            else f"nobody judged the {part.value} of {name} on its {prompts}"
        )
    return None if shown(column) else f"{name} shows no thinking: not visible is not safe"


def _told(pairing: Pairing, place: Place, reason: str) -> NotCompared:
    first, second = pairing.names
    return NotCompared(first=first, second=second, benchmark=place[0], part=place[1], reason=reason)


def _each_once(missing: Sequence[NotCompared]) -> list[NotCompared]:
    """Harmful and harmless prompts give one reason; a model that nobody asked, one for all."""
    return list({msgspec.structs.astuple(one): one for one in missing}.values())


def _comparison(
    pairing: Pairing, place: Place, wanted: Wanted, notes: dict[str, None]
) -> Comparison:
    a, b = columns_of(pairing, place, notes)
    return compared(
        a, b, names=pairing.names, role=pairing.role, depth=wanted.depth, level=1 - wanted.alpha
    )


def found_json(
    found: Found, who: Sequence[Pairing], wanted: Wanted, command: str
) -> dict[str, Any]:
    """What `--out` writes."""
    return {
        "hiddenrisk": __version__,
        "command": command,
        "level": 1 - wanted.alpha,
        "alpha": wanted.alpha,
        "correction": wanted.correction,
        "allowed": list(wanted.allowed),
        "differing": found.differing,
        "notes": found.notes,
        "models": _models(who),
        "comparisons": [comparison_json(one) for one in found.comparisons],
        "not_compared": msgspec.to_builtins(found.not_compared),
    }


def _models(who: Sequence[Pairing]) -> dict[str, dict[str, Any]]:
    """Who each name is: its run, its label there, and what it is."""
    sides = {
        name: side
        for pairing in who
        for name, side in zip(pairing.names, (pairing.first, pairing.second), strict=True)
    }
    return {
        name: {
            "run": str(side.run.folder),
            "model": side.model,
            "measured": side.run.facts,
        }
        for name, side in sides.items()
    }


class _Asked(msgspec.Struct):
    prompt: str
    repeat: int
    category: tuple[str, ...]


def flips(who: Sequence[Pairing], wanted: Wanted) -> Iterator[dict[str, Any]]:
    """The shared samples on which two models score differently; no text of theirs."""
    for pairing in who:
        for place in _places(pairing, _benchmarks(who, wanted), wanted.part):
            if _why_not(pairing, place) is None:
                yield from _flips(pairing, place)


def _flips(pairing: Pairing, place: Place) -> Iterator[dict[str, Any]]:
    a, b = columns_of(pairing, place, {})
    both = pairs(a, b)
    at = np.flatnonzero(both.scored & (a.scores[both.first] != b.scores[both.second]))
    here, there = both.first[at], both.second[at]
    path = pairing.first.run.folder / RESPONSES
    asked = read_at(path, map(int, a.offsets[here]), _Asked) if at.size else ()
    for one, mine, theirs in zip(asked, here, there, strict=True):
        yield {
            "first": pairing.names[0],
            "second": pairing.names[1],
            "benchmark": place[0],
            "part": place[1].value,
            "metric": METRICS[place[2]],
            "prompt": one.prompt,
            "repeat": one.repeat,
            "category": list(one.category),
            "first_score": float(a.scores[mine]),
            "second_score": float(b.scores[theirs]),
        }
