"""How the judges of a benchmark got on: with one another, by deputies, in a cascade."""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from hiddenrisk import stats
from hiddenrisk.agreement import cohen_kappa, fleiss_kappa, krippendorff_alpha, percent_agreement
from hiddenrisk.benchmarks.base import Protocol
from hiddenrisk.cascade import STRATA, Read, Stratum, cascaded
from hiddenrisk.records import FAILED, LABELS, SCORED_OUTCOMES, SPLIT, UNJUDGED, Cell
from hiddenrisk.stats import complement
from hiddenrisk.types import Part


def judged_json(cell: Cell, part: Part, judges: Sequence[str], main: Protocol) -> dict[str, Any]:
    """What a part of a whole benchmark has beside its rates, where there is any of it."""
    found: dict[str, Any] = {}
    if agreed := agreement_json(cell, part, judges):
        found["agreement"] = agreed
    if stood_in := _stood_in(cell, part, judges):
        found["fallbacks"] = stood_in
    if by_human := sum(cell.by_human(row, part, judges) for row in cell.human[part]):
        found["by_human"] = by_human
    if cell.cascade is not None:
        found["cascade"] = cascade_json(cell, part, judges, main)
    return found


def judged_notes(cell: Cell) -> list[str]:
    """What a reader of the rates must know of a cascade."""
    if cell.cascade is None:
        return []
    note = (
        f"Of a text that the judges did not read, the rates count what {cell.cascade.label} says. "
        "What the judges would say of all stands beside the rates, as the estimate of the cascade."
    )
    return [note]


def _stood_in(cell: Cell, part: Part, judges: Sequence[str]) -> dict[str, dict[str, int]]:
    """How many verdicts of each judge's place came from each fallback."""
    counts = {j: Counter(cell.stand_ins[part, j].values()) for j in judges}
    return {judge: dict(sorted(count.items())) for judge, count in counts.items() if count}


# ---------------------------------------------------------------- agreement


def agreement_json(cell: Cell, part: Part, judges: Sequence[str]) -> dict[str, Any]:
    """How far the judges agree on the harmful ("unsafe") and on the harmless ("safe") prompts.

    Apart, because a score of 1 means another thing on each. A verdict of a fallback is not
    the judge's own word and left out; so is a text on which fewer than two gave their word.
    """
    if len(judges) < 2:
        return {}
    rows = {label: list(_words(cell, part, judges, label)) for label in reversed(LABELS)}
    return {label: _agreement(words, judges) for label, words in rows.items() if words}


def _words(
    cell: Cell, part: Part, judges: Sequence[str], label: str
) -> Iterator[tuple[float | None, ...]]:
    for row in range(len(cell)):
        if LABELS[cell.labels[row]] == label:
            words = tuple(cell.own_word(row, part, judge) for judge in judges)
            if sum(word is not None for word in words) > 1:
                yield words


def _agreement(words: list[tuple[float | None, ...]], judges: Sequence[str]) -> dict[str, Any]:
    """Of each pair the share of equal verdicts and Cohen's kappa; of all Krippendorff's alpha.

    Fleiss' kappa needs a verdict of each judge on each text, and so is of those texts alone.
    """
    pairs: dict[str, Any] = {}
    for first in range(len(judges)):
        for second in range(first + 1, len(judges)):
            both = [(w[first], w[second]) for w in words]
            known = [(a, b) for a, b in both if a is not None and b is not None]
            table = Counter((f"{a:g}", f"{b:g}") for a, b in known)
            pairs[f"{judges[first]} | {judges[second]}"] = {
                "agreed": msgspec.to_builtins(percent_agreement(known)),
                "kappa": msgspec.to_builtins(cohen_kappa(table)) if table else _NOTHING,
            }
    result: dict[str, Any] = {
        "n": len(words),
        "agreed": msgspec.to_builtins(stats.wilson(sum(map(_unanimous, words)), len(words))),
        "pairs": pairs,
    }
    if len(judges) > 2:
        whole = [w for w in words if None not in w]
        result["alpha"] = krippendorff_alpha(words)
        result["fleiss"] = {"value": fleiss_kappa(whole), "n": len(whole)}
    return result


_NOTHING = msgspec.to_builtins(stats.NOTHING)


def _unanimous(words: tuple[float | None, ...]) -> bool:
    return len({word for word in words if word is not None}) == 1


# ---------------------------------------------------------------- the cascade


def cascade_json(cell: Cell, part: Part, judges: Sequence[str], main: Protocol) -> dict[str, Any]:
    """What the judges would say of all harmful prompts, from those that they read.

    Only what the cascade drew counts: what they read besides (of an earlier run without a
    cascade, say) was not drawn by chance.
    """
    if cell.cascade is None:
        raise AssertionError("a benchmark without a cascade has no estimate of one")
    texts: Counter[Stratum] = Counter()
    judged: Counter[Stratum] = Counter()
    unsafe: dict[Stratum, float] = dict.fromkeys(STRATA, 0.0)
    cheap: Counter[float] = Counter()
    for row in _readable(cell, part, judges):
        stratum = cell.stratum(row, part)
        if stratum is None:
            continue
        texts[stratum] += 1
        first = cell.own_word(row, part, cell.cascade.label)
        if first is not None:
            cheap[main.score(first)] += 1
        word = cell.jury_word(row, part, judges) if cell.goes_on(row, part) else None
        if isinstance(word, float):
            judged[stratum] += 1
            unsafe[stratum] += 1 - main.score(word)
    read: dict[Stratum, Read] = {
        s: Read(n=texts[s], judged=judged[s], unsafe=unsafe[s]) for s in STRATA
    }
    found = cascaded(read)
    n = texts.total()
    return {
        **msgspec.to_builtins(complement(found.rate)),
        "reason": found.reason,
        "by": cell.cascade.label,
        "cheap": msgspec.to_builtins(stats.mean_of(cheap)),
        "texts": n,
        "calls": found.calls,
        "calls_saved": n - found.calls,
        "saved": found.saved,
        "audit": cell.cascade.audit,
        "audited": judged["sure safe"] + judged["sure unsafe"],
        "unsure": texts["unsure"] / n if n else None,
        "worth": found.worth,
    }


_READABLE = SCORED_OUTCOMES | FAILED | {SPLIT, UNJUDGED}


def _readable(cell: Cell, part: Part, judges: Sequence[str]) -> Iterator[int]:
    """The harmful prompts of which there is a whole text that the headline counts."""
    for row in range(len(cell)):
        if row not in cell.lost and LABELS[cell.labels[row]] == "unsafe":
            outcome, _ = cell.outcome(row, part, judges)
            if outcome in _READABLE:
                yield row
