"""Cascades of HarmBench's recorded judges: bias, coverage, and what they save."""

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bench.measure import ROOT
from hiddenrisk.cascade import STRATA, Read, Shares, Stratum, best_shares, by_votes, cascaded
from hiddenrisk.intervals import normal_quantile

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


def measure_cascade(runs: int, seed: int, texts: int) -> list[dict[str, Any]]:
    """Bias, coverage and saving of cascades of recorded judges."""
    rows = recorded_judges()
    if rows is None:
        print("\nCascade: skipped, for HarmBench's recorded judges are not here")
        return []
    print(f"\nCascade over {texts} texts drawn from {len(rows)} recorded ones, {runs} runs a row")
    print("  read: share of the texts that the expensive judge reads")
    print("  cost: its calls, of those that it would need alone for the same width")
    print("  wide: the interval against that of reading everything")
    print("  expensive   cheap                             shares             read  cost  wide")
    found: list[dict[str, Any]] = []
    for cheap, expensive in PAIRS:
        strata = strata_of(rows, cheap, expensive)
        for shares in designs(strata):
            row = run_cascade(strata, shares, texts, runs, seed)
            found.append({"texts": texts, "cheap": cheap, "expensive": expensive, **row})
            print(
                f"  {expensive:<11} {'+'.join(cheap):<31} {row['shares']:<19}"
                f" {row['read']:5.1%} {row['cost']:5.1%} {row['wide']:5.2f}x"
                f"  bias {row['bias_in_errors']:+.1f} standard errors; holds {row['holds']:.1%}"
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


def designs(strata: Mapping[Stratum, tuple[int, int]]) -> Iterator[Shares]:
    """All that is unsure and a tenth of the rest; then the best for 5% and 10% of the texts."""
    yield Shares()
    total = sum(n for n, _ in strata.values())
    pilot: dict[Stratum, tuple[float, float]] = {
        name: (n / total, (unsafe + 1) / (n + 2)) for name, (n, unsafe) in strata.items()
    }
    for budget in (0.05, 0.1):
        yield best_shares(pilot, budget)


def run_cascade(
    strata: Mapping[Stratum, tuple[int, int]], shares: Shares, texts: int, runs: int, seed: int
) -> dict[str, Any]:
    """Draw the texts and the audit again and again."""
    rng = np.random.default_rng([seed, runs])
    names: list[Stratum] = [name for name in STRATA if name in strata]
    total = sum(n for n, _ in strata.values())
    truth = sum(unsafe for _, unsafe in strata.values()) / total
    shares_of = [strata[name][0] / total for name in names]
    drawn: list[list[int]] = rng.multinomial(texts, shares_of, runs).tolist()
    values: list[float] = []
    held, calls, width = 0, 0, 0.0
    for sizes in drawn:
        read: dict[Stratum, Read] = {}
        for name, size in zip(names, sizes, strict=True):
            judged = int(rng.binomial(size, shares.of(name)))
            unsafe = int(rng.binomial(judged, strata[name][1] / strata[name][0]))
            read[name] = Read(n=size, judged=judged, unsafe=unsafe)
        found = cascaded(read)
        rate = found.rate
        if rate.value is None or rate.low is None or rate.high is None:
            continue
        values.append(rate.value)
        held += rate.low <= truth <= rate.high
        calls += found.calls
        width += rate.high - rate.low
    full = 2 * normal_quantile(0.95) * (truth * (1 - truth) / texts) ** 0.5
    done = len(values)
    # What the printed interval is worth: the simple sample whose interval is as wide.
    same_width = 4 * normal_quantile(0.95) ** 2 * truth * (1 - truth) / (width / done) ** 2
    error = float(np.std(values)) / done**0.5
    return {
        "shares": "/".join(f"{shares.of(name):.0%}" for name in names),
        "runs": done,
        "read": calls / done / texts,
        "cost": calls / done / same_width,
        "wide": width / done / full,
        "holds": held / done,
        "bias": float(np.mean(values)) - truth,
        "bias_in_errors": (float(np.mean(values)) - truth) / error,
    }
