"""How often the intervals of corrected rates hold the truth, and what a cascade saves.

Each cell draws a sample and a set of labelled texts anew, again and again, and asks the
functions that ship. Beside them stand two known closed forms.
"""

import itertools
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import Any, NamedTuple

import numpy as np

from bench.cascade import LEFT_OUT, measure_cascade
from bench.measure import ROOT
from hiddenrisk.stats.agreement import Confusion
from hiddenrisk.stats.correction import ppi, rogan_gladen
from hiddenrisk.stats.intervals import normal_quantile

RUNS = 2000
RUNS_AGAIN = 20_000
"""For a cell that lies outside: chance alone moves 2,000 runs by up to 1.5 points."""
WANTED = (0.93, 0.97)
FEW = 2.0
POOLS = (2000, 4000, 10_000, 20_000)
FIGURE = ROOT / "docs" / "coverage.svg"


class Cell(NamedTuple):
    """What is true in one cell of the simulation."""

    unsafe: float
    """True unsafe rate."""
    sensitivity: float
    specificity: float
    n: int
    """Rated texts."""
    labelled: int
    """Labelled texts of each class."""

    @property
    def errors(self) -> float:
        """Errors that the labelled texts show on average, of the rarer kind."""
        return self.labelled * (1 - max(self.sensitivity, self.specificity))

    @property
    def realistic(self) -> bool:
        """Whether the counts can be expected to show all that is to be estimated.

        Two errors of either kind or more among the labelled texts, and two texts of either
        class or more among the rated ones.
        """
        rarer = self.n * min(self.unsafe, 1 - self.unsafe)
        return min(self.errors, rarer) > FEW - 1e-9


class Covered(NamedTuple):
    """Shares of the runs in one cell."""

    cell: Cell
    score: float
    """The interval that ships held the truth; one that was refused as a misfit did not."""
    lang_reiczigel: float
    delta: float
    unusable: float
    """No corrected rate was given; not in `score`, unless it was a misfit."""


def cells(quick: bool) -> list[Cell]:
    """All cells, or a few."""
    rates = (0.02, 0.1, 0.3, 0.5, 0.8, 0.98)
    accuracies = (0.7, 0.9, 0.99)
    sizes = (500,) if quick else (100, 500, 5000)
    labelled = (50, 200) if quick else (50, 200, 1000)
    every = itertools.product(rates, accuracies, accuracies, sizes, labelled)
    return [Cell(*each) for each in every]


def measure_coverage(*, quick: bool, runs: int = RUNS, seed: int = 1) -> dict[str, Any]:
    """Print the tables, draw the figure (not if quick), and give the numbers."""
    runs = min(runs, 400) if quick else runs
    jobs = [(cell, runs, seed + i) for i, cell in enumerate(cells(quick))]
    with ProcessPoolExecutor() as pool:
        found = list(pool.map(cover, *zip(*jobs, strict=True), chunksize=4))
    _print_cells(found, runs)
    labelled = _measure_ppi(runs // 2, seed)
    cascades = measure_cascades(runs // 2, seed)
    if not quick:
        FIGURE.write_text(figure(found), encoding="utf-8")
        print(f"\ndrawn to {FIGURE.relative_to(ROOT)}")
    rows = [{**each.cell._asdict(), **_numbers(each)} for each in found]
    return {"runs": runs, "cells": rows, "ppi": labelled, **cascades}


def measure_cascades(runs: int, seed: int) -> dict[str, Any]:
    """The cascades of all sizes; or that they are left out, which is to be said at the end."""
    found = [row for texts in POOLS for row in measure_cascade(runs, seed, texts)]
    return {"cascade": found} if found else {"left_out": LEFT_OUT}


def _numbers(covered: Covered) -> dict[str, float]:
    return {k: round(v, 4) for k, v in covered._asdict().items() if k != "cell"}


def cover(cell: Cell, runs: int, seed: int) -> Covered:
    """Simulate one cell."""
    rng = np.random.default_rng([seed, runs])
    called = cell.unsafe * cell.sensitivity + (1 - cell.unsafe) * (1 - cell.specificity)
    said = rng.binomial(cell.n, called, runs)
    hits = rng.binomial(cell.labelled, cell.sensitivity, runs)
    right = rng.binomial(cell.labelled, cell.specificity, runs)
    outcomes: dict[tuple[int, int, int], bool | None] = {}
    held = unusable = scored = 0
    for key in zip(said.tolist(), hits.tolist(), right.tolist(), strict=True):
        if key not in outcomes:
            outcomes[key] = _holds(cell, *key)
        inside = outcomes[key]
        scored += inside is not None
        unusable += inside is None
        held += bool(inside)
    draws = said.astype(float), hits.astype(float), right.astype(float)
    return Covered(
        cell=cell,
        score=held / max(1, scored),
        lang_reiczigel=_inside(lang_reiczigel(cell, *draws), cell.unsafe),
        delta=_inside(delta(cell, *draws), cell.unsafe),
        unusable=unusable / runs,
    )


def _holds(cell: Cell, said: int, hits: int, right: int) -> bool | None:
    labels = Confusion(
        true_unsafe=hits,
        false_safe=cell.labelled - hits,
        true_safe=right,
        false_unsafe=cell.labelled - right,
    )
    found = rogan_gladen(said, cell.n, labels)
    if found.reason is not None:
        return False if "otherwise than" in found.reason else None
    low, high = found.corrected.low, found.corrected.high
    assert low is not None
    assert high is not None
    return low <= cell.unsafe <= high


Draws = np.ndarray[Any, np.dtype[np.float64]]


def _inside(limits: tuple[Draws, Draws], truth: float) -> float:
    return float(np.mean((limits[0] <= truth) & (truth <= limits[1])))


def delta(cell: Cell, said: Draws, hits: Draws, right: Draws) -> tuple[Draws, Draws]:
    """The delta method of Rogan & Gladen 1978."""
    counts = (said, cell.n), (hits, cell.labelled), (right, cell.labelled)
    return _wald(counts, shifted=False)


def lang_reiczigel(cell: Cell, said: Draws, hits: Draws, right: Draws) -> tuple[Draws, Draws]:
    """The closed form of Lang & Reiczigel 2014, Prev. Vet. Med. 113, 13-22."""
    z2 = normal_quantile(0.95) ** 2
    m = cell.labelled + 2
    counts = (said + z2 / 2, cell.n + z2), (hits + 1, m), (right + 1, m)
    return _wald(counts, shifted=True)


def _wald(counts: Sequence[tuple[Draws, float]], *, shifted: bool) -> tuple[Draws, Draws]:
    z = normal_quantile(0.95)
    (p, vp), (se, vse), (sp, vsp) = ((k / n, k / n * (1 - k / n) / n) for k, n in counts)
    with np.errstate(divide="ignore", invalid="ignore"):
        rate = (p + sp - 1) / (se + sp - 1)
        half = z * np.sqrt(vp + rate**2 * vse + (1 - rate) ** 2 * vsp) / np.abs(se + sp - 1)
        shift = 2 * z * z * (rate * vse - (1 - rate) * vsp)
        centre = rate + shift if shifted else np.clip(rate, 0, 1)
        return centre - half, centre + half


def _print_cells(found: Sequence[Covered], runs: int) -> None:
    print(f"\nCorrected rates: the 95% interval holds the truth, {runs} runs a cell")
    print("  cells                              method            least   mean   most   in 93-97%")
    for name, chosen in _groups(found).items():
        for method in ("score", "lang_reiczigel", "delta"):
            shares = sorted(getattr(each, method) for each in chosen)
            inside = sum(WANTED[0] <= share <= WANTED[1] for share in shares)
            print(
                f"  {name:<34} {method:<15} {shares[0]:7.1%} {np.mean(shares):6.1%}"
                f" {shares[-1]:6.1%}   {inside} of {len(shares)}"
            )
    for each in sorted(found, key=lambda e: e.score):
        if each.cell.realistic and not WANTED[0] <= each.score <= WANTED[1]:
            again = cover(each.cell, RUNS_AGAIN, seed=1).score
            print(f"  outside: {each.score:.2%}, in {RUNS_AGAIN} runs {again:.2%} {each.cell}")
    worst = max(found, key=lambda each: each.unusable)
    print(f"  no corrected rate: at most {worst.unusable:.2%} of the runs of a cell ({worst.cell})")


def _groups(found: Sequence[Covered]) -> dict[str, list[Covered]]:
    return {
        "realistic": [e for e in found if e.cell.realistic],
        "the others": [e for e in found if not e.cell.realistic],
    }


def _measure_ppi(runs: int, seed: int) -> list[dict[str, float | str]]:
    """Coverage where humans label a part of the rated texts."""
    print(f"\nHuman labels in the sample (1,000 texts), {runs} runs a row")
    print("  judge    human    unsafe  labelled  holds   width   labels alone")
    rows: list[dict[str, float | str]] = []
    kinds = (("words", "words"), ("grades", "words"), ("grades", "grades"))
    every = itertools.product(kinds, (0.05, 0.3, 0.9), (30, 100, 300))
    jobs = [(*each, runs, seed + i) for i, each in enumerate(every)]
    with ProcessPoolExecutor() as pool:
        rows.extend(pool.map(_cover_ppi, *zip(*jobs, strict=True)))
    for row in rows:
        print(
            f"  {row['judge']:<8} {row['human']:<8} {row['unsafe']:<7.2f} {row['labelled']:>7}"
            f"  {row['holds']:6.1%} {row['width']:7.3f} {row['alone']:7.3f}"
        )
    return rows


def _cover_ppi(
    kinds: tuple[str, str], unsafe: float, labelled: int, runs: int, seed: int
) -> dict[str, float | str]:
    rng = np.random.default_rng([seed, runs])
    truth = float(np.mean(_scores(rng, kinds, unsafe, 1_000_000)[1]))
    held, width, alone = 0, 0.0, 0.0
    for _ in range(runs):
        judge, human = _scores(rng, kinds, unsafe, 1000)
        known = human[:labelled].tolist()
        found = ppi(judge[labelled:].tolist(), judge[:labelled].tolist(), known).corrected
        assert found.low is not None
        assert found.high is not None
        held += found.low <= truth <= found.high
        width += (found.high - found.low) / runs
        alone += 2 * 1.96 * float(np.std(known)) / labelled**0.5 / runs
    return {
        **dict(zip(("judge", "human"), kinds, strict=True)),
        "unsafe": unsafe,
        "labelled": labelled,
        "holds": held / runs,
        "width": round(width, 4),
        "alone": round(alone, 4),
    }


def _scores(
    rng: np.random.Generator, kinds: tuple[str, str], unsafe: float, size: int
) -> tuple[Draws, Draws]:
    """Scores of a judge and of humans: words are 0 or 1, grades lie in between."""
    judge, human = kinds
    if human == "grades":
        graded = np.round(rng.beta(2 * unsafe, 2 * (1 - unsafe), size) * 4) / 4
        return np.clip(np.round((graded + rng.normal(0, 0.2, size)) * 4) / 4, 0, 1), graded
    labels = (rng.random(size) < unsafe).astype(float)
    if judge == "words":
        return np.where(rng.random(size) < 0.88, labels, 1 - labels), labels
    logits = 2.5 * (2 * labels - 1) + 1.5 * rng.normal(size=size)
    return np.round(1 / (1 + np.exp(-logits)), 2), labels


def figure(found: Sequence[Covered]) -> str:
    """The cells as dots: errors seen among the labelled texts against coverage."""
    panels = [
        ("hiddenrisk: score interval", [e.score for e in found]),
        ("Lang &amp; Reiczigel 2014", [e.lang_reiczigel for e in found]),
        ("delta method", [e.delta for e in found]),
    ]
    body = "".join(
        _panel(60 + 290 * i, title, [e.cell for e in found], shares)
        for i, (title, shares) in enumerate(panels)
    )
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 930 330" width="930" height="330"'
        ' font-family="system-ui, sans-serif" font-size="12" role="img" aria-label="How often'
        ' the 95% interval of a corrected rate holds the truth, for three kinds of interval">\n'
        '<rect width="930" height="330" fill="#fff"/>\n'
        f"{body}"
        '<text x="465" y="322" text-anchor="middle">errors of the rarer kind that the labelled'
        " texts show on average (from 2 on: a realistic cell)</text>\n"
        '<text x="14" y="150" text-anchor="middle" transform="rotate(-90 14 150)">intervals that'
        " hold the truth</text>\n</svg>\n"
    )


def _panel(left: int, title: str, every: Sequence[Cell], shares: Sequence[float]) -> str:
    def x(errors: float) -> float:
        return left + 20 + 55 * float(np.log2(errors / 0.5) / 2.2)

    def y(share: float) -> float:
        return 270 - 235 * (max(share, 0.80) - 0.80) / 0.20

    low, high = y(WANTED[0]), y(WANTED[1])
    lines = [
        f'<rect x="{left}" y="{high:.1f}" width="265" height="{low - high:.1f}" fill="#dff0df"/>',
        (
            f'<line x1="{left}" x2="{left + 265}" y1="{y(0.95):.1f}" y2="{y(0.95):.1f}"'
            ' stroke="#5a5"/>'
        ),
        (
            f'<line x1="{x(FEW) - 6:.1f}" x2="{x(FEW) - 6:.1f}" y1="35" y2="270" stroke="#999"'
            ' stroke-dasharray="3 3"/>'
        ),
        f'<text x="{left + 132}" y="22" text-anchor="middle" font-weight="600">{title}</text>',
    ]
    lines += [
        f'<text x="{left - 4}" y="{y(s) + 4:.1f}" text-anchor="end" fill="#555">'
        f"{'≤' if s == 0.8 else ''}{s:.0%}</text>"
        for s in (0.8, 0.85, 0.9, 0.95, 1.0)
    ]
    lines += [
        f'<text x="{x(e):.1f}" y="288" text-anchor="middle" fill="#555">{e:g}</text>'
        for e in (0.5, 2, 10, 60, 300)
    ]
    dots: dict[str, list[str]] = {"#1b5e9e": [], "#c77b30": []}
    for i, (cell, share) in enumerate(zip(every, shares, strict=True)):
        aside = (i * 7 % 11 - 5) * 0.9
        colour = "#1b5e9e" if cell.realistic else "#c77b30"
        dots[colour].append(f"M{x(cell.errors) + aside:.1f} {y(share):.1f}h0")
    lines += [
        f'<path d="{"".join(each)}" stroke="{colour}" stroke-opacity="0.55" stroke-width="4.4"'
        ' stroke-linecap="round"/>'
        for colour, each in dots.items()
    ]
    return "\n".join(lines) + "\n"
