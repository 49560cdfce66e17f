"""Cascades of HarmBench's recorded judges: bias, coverage, and what they save."""

import json
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from bench.measure import ROOT
from hiddenrisk.stats.cascade import STRATA, Read, Shares, Stratum, best_shares, by_votes, cascaded
from hiddenrisk.stats.intervals import normal_quantile

WANTED = 0.30
"""Of the calls that the expensive judge alone needs for the same width."""
LEFT_OUT = (
    "LEFT OUT: the cascade, for HarmBench's recorded judges are not here. Put"
    " text_behaviors_val_set.json of HarmBench into ../shared/data/harmbench, or name the folder"
    " above that with HIDDENRISK_TEST_DATA"
)
JUDGES = {
    "cls": "HarmBench's own, 13B",
    "cls_mistral": "HarmBench's own, 7B",
    "mixtral": "Mixtral",
    "gpt-4-1106-preview": "GPT-4 Turbo",
    "gpt-4-0613": "GPT-4",
    "human": "majority of three humans",
}
PAIRS: tuple[tuple[tuple[str, ...], str], ...] = (
    (("cls_mistral", "mixtral"), "gpt-4-0613"),
    (("gpt-4-1106-preview", "cls_mistral"), "gpt-4-0613"),
    (("cls_mistral", "mixtral"), "human"),
    (("cls_mistral", "mixtral"), "cls"),
    (("cls_mistral",), "gpt-4-0613"),
    (("mixtral",), "gpt-4-0613"),
)


def recorded_judges() -> list[dict[str, bool]] | None:
    """What each judge, and the majority of the humans, said of each text; None without data."""
    told = os.environ.get("HIDDENRISK_TEST_DATA")
    folder = Path(told) if told else ROOT.parent / "shared" / "data"
    path = folder / "harmbench" / "text_behaviors_val_set.json"
    if not path.is_file():
        return None
    groups: dict[str, list[dict[str, Any]]] = json.loads(path.read_text(encoding="utf-8"))
    return [
        {name: bool(row[name]) for name in JUDGES if name != "human"}
        | {"human": sum(row[f"human_{i}"] for i in range(3)) >= 2}
        for rows in groups.values()
        for row in rows
    ]


class Piloted(NamedTuple):
    """First a pilot, alike of all strata; then more, by the shares that it suggests.

    The pilot is a part of what is read and of the estimate, as where a run goes on with a
    larger `--audit`.
    """

    texts: int
    """In the pilot."""
    share: float
    """Of all texts, to be read in all."""


class Design(NamedTuple):
    """How much of what is read."""

    name: str
    shares: Shares | Piloted


def measure_cascade(runs: int, seed: int, texts: int) -> list[dict[str, Any]]:
    """Bias, coverage and saving of cascades of recorded judges."""
    rows = recorded_judges()
    if rows is None:
        return []
    print(f"\nCascade over {texts} texts drawn from {len(rows)} recorded ones, {runs} runs a row")
    print(
        "  cost: calls of the expensive judge, its pilot's too, of those that it would need alone"
    )
    print("        for the same width; MISSES where that is more than 30%")
    print("  wide: the interval against that of reading everything")
    print(
        "  design             shares read        read   cost  wide  holds  bias in standard errors"
    )
    found: list[dict[str, Any]] = []
    for cheap, expensive in PAIRS:
        strata = strata_of(rows, cheap, expensive)
        print(f"  {expensive} after {' + '.join(cheap)}")
        for design in designs(strata, texts):
            row = run_cascade(strata, design.shares, texts, runs, seed)
            told = {"texts": texts, "cheap": cheap, "expensive": expensive, "design": design.name}
            found.append({**told, **row})
            print(
                f"    {design.name:<16} {row['shares']:<17} {row['read']:5.1%} {row['cost']:6.1%}"
                f" {row['wide']:5.2f} {row['holds']:6.1%} {row['bias_in_errors']:+5.1f}"
                f"{'' if row['cost'] <= WANTED else '  MISSES'}"
            )
    return found


def strata_of(
    rows: Sequence[Mapping[str, bool]], cheap: Sequence[str], expensive: str
) -> dict[Stratum, tuple[int, int]]:
    """Texts, and those of them that the expensive judge calls unsafe, in each stratum."""
    counts: dict[Stratum, tuple[int, int]] = {}
    for row in rows:
        name = by_votes([row[judge] for judge in cheap])
        n, unsafe = counts.get(name, (0, 0))
        counts[name] = n + 1, unsafe + row[expensive]
    return counts


def designs(strata: Mapping[Stratum, tuple[int, int]], texts: int) -> Iterator[Design]:
    """What a user can ask for: knowing nothing, after a pilot, and knowing all beforehand."""
    yield Design("default", Shares())
    for share in (0.05, 0.1):
        yield Design(f"flat {share:.0%}", Shares(sure_safe=share, unsure=share, sure_unsafe=share))
    for pilot, share in ((100, 0.05), (200, 0.05), (200, 0.1)):
        if 2 * pilot <= share * texts:
            yield Design(f"pilot {pilot}, {share:.0%}", Piloted(pilot, share))
    total = sum(n for n, _ in strata.values())
    known: dict[Stratum, tuple[float, float]] = {
        name: (n / total, (unsafe + 1) / (n + 2)) for name, (n, unsafe) in strata.items()
    }
    for share in (0.05, 0.1):
        yield Design(f"known, {share:.0%}", best_shares(known, share))


class Recorded(NamedTuple):
    """The strata to draw from."""

    names: list[Stratum]
    weights: list[float]
    """Of each its share of the texts."""
    rates: list[float]
    """Of each the expensive judge's unsafe rate."""

    @property
    def truth(self) -> float:
        """The expensive judge's unsafe rate of all."""
        return sum(w * r for w, r in zip(self.weights, self.rates, strict=True))


def run_cascade(
    strata: Mapping[Stratum, tuple[int, int]],
    shares: Shares | Piloted,
    texts: int,
    runs: int,
    seed: int,
) -> dict[str, Any]:
    """Draw the texts and the audit again and again."""
    rng = np.random.default_rng([seed, runs])
    names: list[Stratum] = [name for name in STRATA if name in strata]
    total = sum(n for n, _ in strata.values())
    recorded = Recorded(
        names, [strata[s][0] / total for s in names], [strata[s][1] / strata[s][0] for s in names]
    )
    truth = recorded.truth
    values: list[float] = []
    held, calls, width = 0, 0, 0.0
    parts: Counter[Stratum] = Counter()
    for _ in range(runs):
        read = _read(rng, recorded, shares, texts)
        found = cascaded(read)
        rate = found.rate
        if rate.value is None or rate.low is None or rate.high is None:
            continue
        values.append(rate.value)
        held += rate.low <= truth <= rate.high
        calls += found.drawn
        width += rate.high - rate.low
        parts.update({name: r.drawn for name, r in read.items()})
    full = 2 * normal_quantile(0.95) * (truth * (1 - truth) / texts) ** 0.5
    done = len(values)
    # What the printed interval is worth: the simple sample whose interval is as wide.
    same_width = 4 * normal_quantile(0.95) ** 2 * truth * (1 - truth) / (width / done) ** 2
    error = float(np.std(values)) / done**0.5
    sizes = zip(names, recorded.weights, strict=True)
    return {
        "shares": "/".join(
            f"{parts[name] / (done * weight * texts):.0%}" for name, weight in sizes
        ),
        "runs": done,
        "read": calls / done / texts,
        "cost": calls / done / same_width,
        "wide": width / done / full,
        "holds": held / done,
        "bias": float(np.mean(values)) - truth,
        "bias_in_errors": (float(np.mean(values)) - truth) / error,
    }


def _read(
    rng: np.random.Generator, recorded: Recorded, shares: Shares | Piloted, texts: int
) -> dict[Stratum, Read]:
    """One draw of the texts, and of those that are read."""
    names, rates = recorded.names, recorded.rates
    sizes: list[int] = rng.multinomial(texts, recorded.weights).tolist()
    if isinstance(shares, Shares):
        first = [shares.of(name) for name in names]
    else:
        first = [shares.texts / texts] * len(names)
    judged = rng.binomial(sizes, first)
    unsafe = rng.binomial(judged, rates)
    if isinstance(shares, Piloted):
        seen: dict[Stratum, tuple[float, float]] = {
            name: (n / texts, (k + 1) / (m + 2))
            for name, n, m, k in zip(names, sizes, judged.tolist(), unsafe.tolist(), strict=True)
        }
        best = best_shares(seen, shares.share, first[0])
        more = [(best.of(name) - first[0]) / (1 - first[0]) for name in names]
        added = rng.binomial(np.array(sizes) - judged, more)
        judged, unsafe = judged + added, unsafe + rng.binomial(added, rates)
    return {
        name: Read(n=n, judged=m, unsafe=k)
        for name, n, m, k in zip(names, sizes, judged.tolist(), unsafe.tolist(), strict=True)
    }
