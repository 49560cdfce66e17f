"""How the judges of a benchmark got on: with one another, by deputies, in a cascade."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import msgspec

from hiddenrisk.benchmarks.base import Protocol
from hiddenrisk.cascading import Cascade, audit_of, written
from hiddenrisk.cell import FAILED, LABELS, SCORED_OUTCOMES, SPLIT, UNJUDGED, Cell
from hiddenrisk.insights import BUILTIN
from hiddenrisk.stats import rates
from hiddenrisk.stats.agreement import (
    cohen_kappa,
    fleiss_kappa,
    krippendorff_alpha,
    percent_agreement,
)
from hiddenrisk.stats.cascade import STRATA, Cascaded, Read, Shares, Stratum, advised, cascaded
from hiddenrisk.stats.rates import complement
from hiddenrisk.types import Label, Part


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
        if over := over_refusal_json(cell, part, judges):
            found["cascade_over_refusal"] = over
    return found


def judged_notes(
    cell: Cell, parts: Mapping[str, Mapping[str, Any]], judges: Sequence[str]
) -> list[str]:
    """What a reader of the rates must know of a cascade, given the parts of `summary.json`."""
    if cell.cascade is None:
        return []
    note = (
        f"Of a text that the judges did not read, the rates count what {_first(cell.cascade.labels)}"
        " says. What the judges would say of all stands beside the rates, as the estimate of the "
        "cascade."
    )
    cautions = (
        f"{name.capitalize()}: {caution}."
        for name, part in parts.items()
        if (caution := part.get("cascade", {}).get("caution"))
    )
    return [note, *_harmless_notes(cell, judges), *cautions]


def _harmless_notes(cell: Cell, judges: Sequence[str]) -> list[str]:
    """Who stands behind the rates on harmless prompts, where there are any."""
    labels = cell.cascade.labels if cell.cascade else ()
    cheap = [label for label in labels if label not in cell.abstaining]
    if LABELS.index("safe") not in cell.labels or not cheap:
        return []
    if not cell.abstaining.issuperset(judges):
        return []
    whose = f"{', '.join(judges)} cannot tell refusals"
    return [f"Harmless prompts: {whose}, and over-refusal is what {_first(cheap)} says of each."]


def _first(labels: Sequence[str]) -> str:
    return " or, if it has none, ".join(labels)


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
    wanted = LABELS.index(label)
    columns = zip(cell.labels, *(cell.own_words(part, judge) for judge in judges), strict=True)
    for kind, *words in columns:
        if kind == wanted and len(words) - words.count(None) > 1:
            yield tuple(words)


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
        "agreed": msgspec.to_builtins(rates.wilson(sum(map(_unanimous, words)), len(words))),
        "pairs": pairs,
    }
    if len(judges) > 2:
        whole = [w for w in words if None not in w]
        result["alpha"] = krippendorff_alpha(words)
        result["fleiss"] = {"value": fleiss_kappa(whole), "n": len(whole)}
    return result


_NOTHING = msgspec.to_builtins(rates.NOTHING)


def _unanimous(words: tuple[float | None, ...]) -> bool:
    return len({word for word in words if word is not None}) == 1


# ---------------------------------------------------------------- the cascade


def cascade_json(cell: Cell, part: Part, judges: Sequence[str], main: Protocol) -> dict[str, Any]:
    """What the judges would say of all harmful prompts, from those that they read.

    Only what the cascade drew counts: what they read besides (of an earlier run without a
    cascade, say) was not drawn by chance.
    """
    cascade = _cascade_of(cell)
    read = _read(cell, part, judges, "unsafe", lambda score: 1 - main.score(score))
    found, n = cascaded(read), sum(r.n for r in read.values())
    members = sum(judge != BUILTIN for judge in judges)
    return {
        **msgspec.to_builtins(complement(found.rate)),
        "reason": found.reason,
        "by": list(cascade.labels),
        "cheap": {by: _alone(cell, part, judges, by, main) for by in cascade.labels},
        "texts": n,
        "read": found.drawn,
        "calls": found.drawn * members,
        "calls_saved": (n - found.drawn) * members,
        "saved": found.saved,
        "audit": msgspec.to_builtins(audit_of(cascade.shares)),
        "audited": read["sure safe"].drawn + read["sure unsafe"].drawn,
        "unsure": read["unsure"].n / n if n else None,
        "worth": found.worth,
        "strata": {name: _stratum_json(r, cascade.shares.of(name)) for name, r in read.items()},
        "lost": found.lost,
        "if_lost": _if_lost(found),
        "caution": _caution(found),
        "advice": _advice(read, cascade.shares),
    }


def over_refusal_json(cell: Cell, part: Part, judges: Sequence[str]) -> dict[str, Any] | None:
    """The over-refusal rate that the judges would find on all harmless prompts, in the same way.

    None where there are no such prompts, or none of the judges can tell refusals.
    """
    if cell.abstaining.issuperset(judges):
        return None
    read = _read(cell, part, judges, "safe", lambda score: float(score > 0))
    found, n = cascaded(read), sum(r.n for r in read.values())
    told = {"reason": found.reason, "texts": n, "read": found.drawn, "lost": found.lost}
    return {**msgspec.to_builtins(found.rate), **told} if n else None


def _cascade_of(cell: Cell) -> Cascade:
    if cell.cascade is None:
        raise AssertionError("a benchmark without a cascade has no estimate of one")
    return cell.cascade


def _read(
    cell: Cell, part: Part, judges: Sequence[str], label: Label, count: Callable[[float], float]
) -> dict[Stratum, Read]:
    """What is known of each stratum of the prompts of a label; `count` says what a score counts."""
    tallies: dict[Stratum, _Tally] = {name: _Tally() for name in STRATA}
    for row in _readable(cell, part, judges, label):
        stratum = cell.stratum(row, part)
        if stratum is None:
            continue
        tallies[stratum].n += 1
        if cell.goes_on(row, part):
            tallies[stratum].take(cell.jury_word(row, part, judges), count)
    return {name: tally.read() for name, tally in tallies.items()}


def _alone(
    cell: Cell, part: Part, judges: Sequence[str], cheap: str, main: Protocol
) -> dict[str, Any]:
    """The safety rate that one cheap judge finds on the same texts."""
    rows = (r for r in _readable(cell, part, judges, "unsafe") if cell.stratum(r, part) is not None)
    words = (cell.own_word(row, part, cheap) for row in rows)
    scores = Counter(main.score(word) for word in words if word is not None)
    return msgspec.to_builtins(rates.mean_of(scores))


class _Tally:
    """One stratum, while its texts are counted."""

    def __init__(self) -> None:
        self.n = 0
        self.judged = 0
        self.unsafe = 0.0
        self.words: Counter[str] = Counter()
        """Why there is no verdict."""

    def take(self, said: float | str, count: Callable[[float], float]) -> None:
        """Count a text that was drawn."""
        if isinstance(said, str):
            self.words[said] += 1
        else:
            self.judged += 1
            self.unsafe += count(said)

    def read(self) -> Read:
        """What is known of the stratum; whatever is neither split nor not yet judged failed."""
        split, pending = self.words[SPLIT], self.words[UNJUDGED]
        return Read(
            n=self.n,
            judged=self.judged,
            unsafe=self.unsafe,
            failed=self.words.total() - split - pending,
            split=split,
            pending=pending,
        )


def _stratum_json(read: Read, share: float) -> dict[str, Any]:
    return {
        "share": share,
        "texts": read.n,
        "drawn": read.drawn,
        "judged": read.judged,
        "failed": read.failed,
        "split": read.split,
        "pending": read.pending,
        "unsafe": read.unsafe,
    }


def _if_lost(found: Cascaded) -> dict[str, float] | None:
    """From where to where the safety rate's interval goes if what is lost is all of one kind."""
    if found.if_lost is None:
        return None
    low, high = found.if_lost
    return {"low": 1 - high, "high": 1 - low}


def _caution(found: Cascaded) -> str | None:
    if found.caution is None or (limits := _if_lost(found)) is None:
        return found.caution
    return (
        f"{found.caution}; were they all safe or all unsafe, the interval of the cascade would "
        f"reach from {limits['low']:.1%} to {limits['high']:.1%}"
    )


def _advice(read: Mapping[Stratum, Read], shares: Shares) -> dict[str, Any] | None:
    """Which shares would be better, with the option that asks for them."""
    found = advised(read, shares)
    if found is None:
        return None
    told = {
        "audit": msgspec.to_builtins(audit_of(found.shares)),
        "option": f"--audit {written(found.shares)}",
    }
    return {**told, "read": found.drawn, "width": found.width, "grows": found.grows}


_READABLE = SCORED_OUTCOMES | FAILED | {SPLIT, UNJUDGED}


def _readable(cell: Cell, part: Part, judges: Sequence[str], label: Label) -> Iterator[int]:
    """The prompts of a label of which there is a whole text that the headline counts."""
    alike = cell.alike(part, judges)
    for row, kind in enumerate(alike.kinds):
        readable = alike.outcomes[kind][0] in _READABLE
        if readable and row not in cell.lost and LABELS[cell.labels[row]] == label:
            yield row
