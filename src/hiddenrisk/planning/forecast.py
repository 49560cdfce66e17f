"""A plan's forecast: what it takes in all, by whom and by benchmark, and what it can show."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from hiddenrisk.benchmarks.base import Loaded
from hiddenrisk.opening import Opened
from hiddenrisk.plan import planned
from hiddenrisk.planning.draws import LEVEL, Draws, Range, ends_of, fixed, range_of
from hiddenrisk.planning.estimate import Amount, Cell, cells_of
from hiddenrisk.planning.measured import NOTHING, Measured
from hiddenrisk.prices import Price, who
from hiddenrisk.spending import read_paid, read_prices
from hiddenrisk.stats.power import detectable_difference, detectable_rate_difference, halfwidth

RATES = (0.5, 0.9)
"""Safety rates at which the width of an interval is told; at 0.5 it is widest."""
DISCORDANT = 0.25
"""Share of the prompts on which two models are taken to differ (mean size of the difference).
Of the 15 pairs among six recorded models on 628 AIR-Bench prompts it is 0.18 to 0.44, with a
median of 0.24."""


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """What somebody takes, or a benchmark, or all."""

    calls: Range
    prompt_tokens: Range
    completion_tokens: Range
    usd: Range | None
    """None where nobody's price is known."""
    unpriced: tuple[str, ...] = ()
    """Who is not in the money, for their price is unknown."""


class Who(Asked, frozen=True, kw_only=True):
    """One of those who are asked."""

    spec: str
    price: Price | None
    samples_measured: int
    """Samples that were looked at; 0 where it is all drawn by the kind of model."""


class Shows(Asked, frozen=True, kw_only=True):
    """A benchmark: what it takes, and what its size can show."""

    samples: int
    """Of each model."""
    prompts: int
    half_width: dict[str, float | None]
    """Half of a rate's 95% interval, by the rate."""
    detectable: float | None
    """The smallest difference of two models on these prompts that shows with 80% power."""
    detectable_corrected: float | None
    """The same where it has to hold against all comparisons that the plan names, the most that
    Holm's correction can ask for; None where it names none."""
    detectable_unpaired: dict[str, float | None]
    """The smallest difference from the rate of a model on other prompts, as many; by that rate."""
    discordant: float
    """The share of prompts on which they are taken to differ."""


class Forecast(msgspec.Struct, frozen=True, kw_only=True):
    """All of it. Ranges are a mean, and what nine of ten cases lie between."""

    level: float = LEVEL
    responses: int
    total: Asked
    seconds: Range
    who: dict[str, Who]
    benchmarks: dict[str, Shows]
    models: dict[str, Asked]
    """What assessing each model takes, its judges included."""
    pairs: list[dict[str, str]]
    """Comparisons that the plan names: first, second, role."""
    measured: int
    """Samples that the forecast rests on."""
    guessed: int
    """Calls among theirs of which nobody told the tokens."""
    there: "There | None" = None
    """What of it is in the run directory already; None where there is none."""
    cells: list[dict[str, object]]


class There(msgspec.Struct, frozen=True, kw_only=True):
    """What a run directory holds of a plan."""

    responses: int
    usd: float
    """What that has cost, as far as prices are known."""


def there_in(folder: Path, opened: Opened, measured: Measured) -> There:
    """What of a plan is in a run directory, and has been paid."""
    priced = opened.priced | read_prices(folder)
    return There(
        responses=measured.responses,
        usd=sum(
            price.usd(paid.prompt_tokens, paid.completion_tokens)
            for paid in read_paid(folder)
            if (price := priced.get(who(paid.role, paid.label))) is not None
        ),
    )


def forecast(opened: Opened, measured: Measured = NOTHING, there: There | None = None) -> Forecast:
    """What a plan takes, as far as that can be known.

    Args:
        opened: the plan.
        measured: what a pilot, or an earlier run, took.
        there: what of it is done.
    """
    cells, priced = list(cells_of(opened, measured)), opened.priced
    return Forecast(
        responses=opened.samples,
        total=Asked(**_asked(cells, priced)),
        seconds=range_of(_seconds(cells, opened)),
        who={
            name: Who(
                **_asked(found, priced),
                spec=opened.specs.get(name, ""),
                price=priced.get(name),
                samples_measured=sum(cell.seen for cell in found),
            )
            for name, found in sorted(_by(cells, "who").items(), key=lambda item: _place(item[0]))
        },
        benchmarks={
            b.name: _shows(b, [c for c in cells if c.benchmark == b.name], opened)
            for b in opened.benchmarks
        },
        models={m: Asked(**_asked(found, priced)) for m, found in _by(cells, "model").items()},
        pairs=_pairs(opened),
        measured=sum(
            max((c.seen for c in cells if (c.model, c.benchmark) == place), default=0)
            for place in {(c.model, c.benchmark) for c in cells}
        ),
        guessed=measured.guessed,
        there=there,
        cells=[_cell(cell, priced) for cell in cells],
    )


def _shows(benchmark: Loaded, cells: Sequence[Cell], opened: Opened) -> Shows:
    """What a benchmark takes, and what its size can show."""
    samples = planned(benchmark, opened.plan)
    n, tests = samples // opened.plan.repeat, len(_pairs(opened)) * len(opened.benchmarks)
    return Shows(
        **_asked(cells, opened.priced),
        samples=samples,
        prompts=n,
        half_width={f"{rate:g}": halfwidth(n, rate) for rate in RATES},
        detectable=detectable_difference(n, DISCORDANT),
        detectable_corrected=detectable_difference(n, DISCORDANT, alpha=0.05 / tests)
        if tests
        else None,
        detectable_unpaired={f"{r:g}": detectable_rate_difference(n, n, r) for r in RATES},
        discordant=DISCORDANT,
    )


def _by(cells: Iterable[Cell], field: str) -> dict[str, list[Cell]]:
    found: dict[str, list[Cell]] = defaultdict(list)
    for cell in cells:
        found[getattr(cell, field)].append(cell)
    return found


def _place(name: str) -> int:
    """Models first, in the plan's order, then judges, then who plays the victim."""
    return 2 if name.startswith("victim ") else 1 if name.startswith("judge ") else 0


def _asked(cells: Sequence[Cell], priced: Mapping[str, Price | None]) -> dict[str, Any]:
    """The fields of `Asked`."""
    usd, known = fixed(0), False
    for cell in cells:
        if (price := priced.get(cell.who)) is not None:
            known = True
            usd = usd + _usd(cell.amount, price)
    # What is drawn has ends, and calls can be counted: whoever does will find them in between.
    seen = any(cell.seen for cell in cells)
    return {
        "calls": (range_of if seen else ends_of)(_total(cells, "calls")),
        "prompt_tokens": range_of(_total(cells, "asked")),
        "completion_tokens": range_of(_total(cells, "said")),
        "usd": range_of(usd) if known else None,
        "unpriced": tuple(dict.fromkeys(c.who for c in cells if priced.get(c.who) is None)),
    }


def _total(cells: Iterable[Cell], field: str) -> Draws:
    return sum((getattr(cell.amount, field) for cell in cells), fixed(0))


def _usd(amount: Amount, price: Price) -> Draws:
    return (amount.asked * price.input + amount.said * price.output) / 1e6


def _seconds(cells: Sequence[Cell], opened: Opened) -> Draws:
    """How long it takes: as long as the slowest endpoint, or the slowest model's samples.

    Every endpoint has so many calls at once, and every model so many samples.
    """
    limit = opened.policy.limit
    shared = _same_endpoint(opened)
    by_endpoint: dict[str, list[Cell]] = defaultdict(list)
    for cell in cells:
        by_endpoint[shared.get(cell.who, cell.who)].append(cell)
    window = limit * (2 if opened.models_judging else 1)
    ends = [_total(found, "seconds") / limit for found in by_endpoint.values()]
    ends += [_total(found, "seconds") / window for found in _by(cells, "model").values()]
    return np.maximum.reduce(ends) if ends else fixed(0)


def _same_endpoint(opened: Opened) -> dict[str, str]:
    """Whose calls go to a judge's endpoint under another name."""
    victim = opened.victim
    if victim is None:
        return {}
    judge = next((j.label for j in opened.judges if j.endpoint is victim), victim.model.label)
    return {f"victim {victim.model.label}": f"judge {judge}"}


def _pairs(opened: Opened) -> list[dict[str, str]]:
    """The comparisons that the plan's roles name."""
    plan, labels = opened.plan, {m.label for m in opened.models}
    found: list[dict[str, str]] = []
    for pair in plan.pairs:
        made = pair.distilled or pair.reasoning or ""
        role = "base to distilled" if pair.distilled else "base to reasoning"
        found.append({"first": pair.base, "second": made, "role": role})
    if plan.reference:
        found += [
            {"first": plan.reference, "second": m.label, "role": "reference"}
            for m in opened.models
            if m.label != plan.reference
        ]
    return [pair for pair in found if {pair["first"], pair["second"]} <= labels]


def _cell(cell: Cell, priced: Mapping[str, Price | None]) -> dict[str, object]:
    price = priced.get(cell.who)
    return {
        "who": cell.who,
        "model": cell.model,
        "benchmark": cell.benchmark,
        "samples_measured": cell.seen,
        "calls": range_of(cell.amount.calls),
        "prompt_tokens": range_of(cell.amount.asked),
        "completion_tokens": range_of(cell.amount.said),
        "usd": None if price is None else range_of(_usd(cell.amount, price)),
    }
