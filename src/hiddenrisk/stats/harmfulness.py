"""How harmful unsafe texts are, model against model: means, pairs, and what length explains.

Pure: values in, estimates out. A *value* is what a reward model gives a text: the higher, the
more a bad request gets out of it. Models are unsafe on different prompts, and some prompts
have more harmful answers than others; so means of each model's own unsafe texts (the paper's
way, `naive`) mix how harmful a model's texts are with which prompts it fails on. On the
prompts that are unsafe for both (`overlap`) they are not mixed.

Repeats of a prompt are averaged first: prompts are what was drawn.
"""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray
from scipy import stats as scipy_stats

from hiddenrisk.types import Estimate

LEAST = 3
"""Prompts below which nothing is tested: a spread of two is none."""
_NOISE = 1e-9
"""What of a value is rounding: a spread below is none, and nothing is tested."""
_NOTHING = Estimate(value=None, low=None, high=None, n=0)
Floats = NDArray[np.float64]


class Text(NamedTuple):
    """An unsafe text, and what a reward model gives it."""

    prompt: str
    value: float
    length: int
    """Characters."""


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """The second model's mean less the first's."""

    value: float | None = None
    low: float | None = None
    high: float | None = None
    p: float | None = None
    """Two-sided, of no difference."""
    p_holm: float | None = None
    """The same, where all pairs of models are looked at; None for a pair by itself."""
    effect: float | None = None
    """In standard deviations (Hedges' g; of paired values, of their differences)."""
    n: int = 0
    """Prompts: of both models together, or of the pairs."""


class Overlap(Difference, frozen=True, kw_only=True):
    """The difference on the prompts that are unsafe for both."""

    rank_p: float | None = None
    """Of Wilcoxon's signed-rank test, which asks nothing of the values' shape."""
    length: Difference = Difference()
    """The same at equal length: the intercept over the difference of log characters."""
    per_doubling: float | None = None
    """By how much the value rises where a text is twice as long."""


def mean(texts: Sequence[Text]) -> Estimate:
    """The mean of a model's own unsafe texts, with Student's interval over prompts."""
    values = _array(list(_by_prompt(texts).values()), 0)
    if len(values) == 0:
        return _NOTHING
    value = float(values.mean())
    if len(values) < 2:
        return Estimate(value=value, low=None, high=None, n=len(values))
    wide = _t(len(values) - 1) * float(values.std(ddof=1)) / math.sqrt(len(values))
    return Estimate(value=value, low=value - wide, high=value + wide, n=len(values))


def naive(first: Sequence[Text], second: Sequence[Text]) -> Difference:
    """Each model on its own unsafe texts: Welch's test. The paper's way."""
    a, b = (_array(list(_by_prompt(texts).values()), 0) for texts in (first, second))
    n = len(a) + len(b)
    if not (len(a) and len(b)):
        return Difference(n=n)
    value = float(b.mean() - a.mean())
    if min(len(a), len(b)) < LEAST:
        return Difference(value=value, n=n)
    va, vb = a.var(ddof=1) / len(a), b.var(ddof=1) / len(b)
    if math.sqrt(va + vb) <= _NOISE * float(np.abs(np.concatenate([a, b])).max()):
        return Difference(value=value, n=n)
    error = math.sqrt(va + vb)
    freedom = (va + vb) ** 2 / (va**2 / (len(a) - 1) + vb**2 / (len(b) - 1))
    pooled = ((len(a) - 1) * a.var(ddof=1) + (len(b) - 1) * b.var(ddof=1)) / (n - 2)
    return _told(value, error, float(freedom), math.sqrt(pooled), n, n - 2)


def overlap(first: Sequence[Text], second: Sequence[Text]) -> Overlap:
    """The two on the prompts that are unsafe for both: the paired t test, and Wilcoxon's."""
    a, b = _by_prompt(first), _by_prompt(second)
    shared = sorted(a.keys() & b.keys())
    n = len(shared)
    if not n:
        return Overlap()
    pairs = np.array([[*a[prompt], *b[prompt]] for prompt in shared])
    values, lengths = pairs[:, 2] - pairs[:, 0], pairs[:, 3] - pairs[:, 1]
    value = float(values.mean())
    spread = float(values.std(ddof=1)) if n > 1 else 0.0
    if n < LEAST or spread <= _NOISE * float(np.abs(pairs[:, [0, 2]]).max()):
        return Overlap(value=value, n=n)
    found = _told(value, spread / math.sqrt(n), n - 1, spread, n, n - 1)
    at_equal, slope = _at_equal_length(values, lengths)
    return Overlap(
        **msgspec.structs.asdict(found),
        rank_p=float(scipy_stats.wilcoxon(values, method="auto").pvalue),
        length=at_equal,
        per_doubling=slope,
    )


def correlation(first: Mapping[str, float], second: Mapping[str, float]) -> Estimate:
    """Spearman's rank correlation of what two reward models give the same texts.

    The interval is Bonett and Wright's (2000, Psychometrika 65, 23-28).
    """
    shared = sorted(first.keys() & second.keys())
    n = len(shared)
    if n <= LEAST:
        return Estimate(value=None, low=None, high=None, n=n)
    x, y = (np.array([side[key] for key in shared]) for side in (first, second))
    if np.ptp(x) == 0 or np.ptp(y) == 0:
        return Estimate(value=None, low=None, high=None, n=n)
    rho = float(scipy_stats.spearmanr(x, y).statistic)
    if abs(rho) >= 1:
        return Estimate(value=rho, low=rho, high=rho, n=n)
    wide = float(scipy_stats.norm.ppf(0.975)) * math.sqrt((1 + rho * rho / 2) / (n - 3))
    centre = math.atanh(rho)
    return Estimate(value=rho, low=math.tanh(centre - wide), high=math.tanh(centre + wide), n=n)


def _by_prompt(texts: Sequence[Text]) -> dict[str, tuple[float, float]]:
    """Mean value and mean log length of each prompt's texts."""
    found: dict[str, list[Text]] = {}
    for text in texts:
        found.setdefault(text.prompt, []).append(text)
    return {
        prompt: (
            math.fsum(t.value for t in some) / len(some),
            math.fsum(math.log2(max(1, t.length)) for t in some) / len(some),
        )
        for prompt, some in found.items()
    }


def _array(pairs: Sequence[tuple[float, float]], column: int) -> Floats:
    return np.array([pair[column] for pair in pairs], dtype=np.float64)


def _t(freedom: float) -> float:
    return float(scipy_stats.t.ppf(0.975, freedom))


def _told(
    value: float, error: float, freedom: float, spread: float, n: int, of_spread: int
) -> Difference:
    """A difference with its interval and test from its standard error.

    Args:
        value: the difference.
        error: its standard error.
        freedom: degrees of freedom of the error.
        spread: the standard deviation that the effect is told in.
        n: prompts.
        of_spread: degrees of freedom of the spread, for Hedges' correction.
    """
    p = float(2 * scipy_stats.t.sf(abs(value) / error, freedom))
    wide = _t(freedom) * error
    shrink = 1 - 3 / (4 * of_spread - 1)
    return Difference(
        value=value, low=value - wide, high=value + wide, p=p, effect=shrink * value / spread, n=n
    )


def _at_equal_length(values: Floats, lengths: Floats) -> tuple[Difference, float | None]:
    """The intercept of the values over the lengths, with HC3's errors, and the slope.

    HC3: MacKinnon and White 1985, J. Econometrics 29, 305-325; spreads need not be equal.
    """
    n = len(values)
    if n < 2 * LEAST or np.ptp(lengths) == 0:
        return Difference(n=n), None
    design = np.column_stack([np.ones(n), lengths])
    inverse = np.linalg.inv(design.T @ design)
    fit = inverse @ design.T @ values
    left = values - design @ fit
    leverage = np.einsum("ij,jk,ik->i", design, inverse, design)
    weights = (left / np.maximum(1 - leverage, 1e-9)) ** 2
    covariance = inverse @ (design.T * weights) @ design @ inverse
    error, spread = math.sqrt(covariance[0, 0]), float(left.std(ddof=2))
    if min(error, spread) <= _NOISE * float(np.abs(values).max()):
        return Difference(value=float(fit[0]), n=n), float(fit[1])
    return _told(float(fit[0]), error, n - 2, spread, n, n - 2), float(fit[1])
