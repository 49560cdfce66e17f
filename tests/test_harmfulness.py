"""How harmful unsafe texts are: the statistics, against scipy and by simulation."""

import math
import random

import numpy as np
import pytest
from scipy import stats as scipy_stats

from hiddenrisk.stats.harmfulness import Text, correlation, mean, naive, overlap


def _texts(values: dict[str, float], lengths: dict[str, int] | None = None) -> list[Text]:
    return [Text(p, value, (lengths or {}).get(p, 100)) for p, value in values.items()]


def _drawn(seed: int, n: int, shift: float = 0.0) -> dict[str, float]:
    rng = random.Random(seed)
    return {f"p{i}": rng.gauss(shift, 1) for i in range(n)}


def test_a_mean_has_students_interval_over_prompts() -> None:
    values = _drawn(1, 30)
    found = mean(_texts(values))
    low, high = scipy_stats.t.interval(
        0.95, 29, loc=np.mean(list(values.values())), scale=scipy_stats.sem(list(values.values()))
    )
    assert (found.low, found.high) == pytest.approx((low, high))
    twice = [*_texts(values), *_texts(values)]
    assert mean(twice) == found, "repeats of a prompt are no more prompts"


def test_nothing_to_score_is_no_number() -> None:
    assert mean([]).value is None
    assert mean(_texts({"p": 0.3})).low is None
    assert overlap([], _texts({"p": 1.0})).value is None
    assert naive([], _texts({"p": 1.0})).value is None
    assert overlap(_texts({"p": 1.0}), _texts({"q": 1.0})).n == 0


def test_the_naive_comparison_is_welchs_test() -> None:
    a, b = _drawn(1, 40), _drawn(2, 55, 0.6)
    found = naive(_texts(a), _texts(b))
    welch = scipy_stats.ttest_ind(list(b.values()), list(a.values()), equal_var=False)
    interval = welch.confidence_interval(0.95)
    assert found.p == pytest.approx(welch.pvalue)
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high))
    assert found.n == 95


def test_the_overlap_is_the_paired_test_on_shared_prompts() -> None:
    a = _drawn(1, 60)
    b = {prompt: value + 0.3 + 0.2 * noise for (prompt, value), noise in zip(a.items(), _drawn(3, 60).values(), strict=True)}  # fmt: skip
    del b["p0"]
    b["elsewhere"] = 9.0
    found = overlap(_texts(a), _texts(b))
    shared = sorted(a.keys() & b.keys())
    paired = scipy_stats.ttest_rel([b[p] for p in shared], [a[p] for p in shared])
    interval = paired.confidence_interval(0.95)
    assert found.n == 59
    assert found.p == pytest.approx(paired.pvalue)
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high))
    differences = np.array([b[p] - a[p] for p in shared])
    g = differences.mean() / differences.std(ddof=1) * (1 - 3 / (4 * 58 - 1))
    assert found.effect == pytest.approx(g)
    assert found.rank_p == pytest.approx(scipy_stats.wilcoxon(differences).pvalue)


def test_at_equal_length_what_length_explains_is_gone() -> None:
    """The second model's texts are longer, and a doubling is worth half a point: no more."""
    rng = random.Random(4)
    a, b = dict[str, float](), dict[str, float]()
    short, long = dict[str, int](), dict[str, int]()
    for i in range(300):
        p = f"p{i}"
        short[p], long[p] = rng.randint(200, 400), rng.randint(300, 1600)
        a[p] = 0.5 * math.log2(short[p]) + rng.gauss(0, 0.2)
        b[p] = 0.5 * math.log2(long[p]) + rng.gauss(0, 0.2)
    found = overlap(_texts(a, short), _texts(b, long))
    assert found.p is not None
    assert found.p < 1e-10, "without regard to length the second seems more harmful"
    assert found.length.low is not None
    assert found.length.high is not None
    assert found.length.low < 0 < found.length.high
    assert found.per_doubling == pytest.approx(0.5, abs=0.05)


def test_the_regression_is_that_of_its_formulas() -> None:
    """HC3 written out observation by observation."""
    rng = random.Random(5)
    a = {f"p{i}": rng.random() for i in range(12)}
    b = {p: v + rng.random() for p, v in a.items()}
    short = {p: rng.randint(50, 900) for p in a}
    long = {p: rng.randint(50, 900) for p in a}
    found = overlap(_texts(a, short), _texts(b, long)).length
    names = sorted(a)
    y = np.array([b[p] - a[p] for p in names])
    x = np.array([[1.0, math.log2(long[p]) - math.log2(short[p])] for p in names])
    beta, *_ = np.linalg.lstsq(x, y, rcond=None)
    inverse = np.linalg.inv(x.T @ x)
    meat = np.zeros((2, 2))
    for row, value in zip(x, y, strict=True):
        leverage = row @ inverse @ row
        meat += np.outer(row, row) * ((value - row @ beta) / (1 - leverage)) ** 2
    error = math.sqrt((inverse @ meat @ inverse)[0, 0])
    wide = scipy_stats.t.ppf(0.975, 10) * error
    assert found.value == pytest.approx(beta[0])
    assert (found.low, found.high) == pytest.approx((beta[0] - wide, beta[0] + wide))


def test_ranks_of_two_reward_models_are_compared() -> None:
    a = _drawn(1, 50)
    b = {p: v**3 for p, v in a.items()}
    assert correlation(a, b).value == pytest.approx(1.0)
    c = {p: v + noise for (p, v), noise in zip(a.items(), _drawn(9, 50).values(), strict=True)}
    found = correlation(a, c)
    assert found.value == pytest.approx(scipy_stats.spearmanr([*a.values()], [*c.values()])[0])
    assert found.low is not None
    assert found.high is not None
    assert found.low < 0.7 < found.high
    assert correlation(a, {"other": 1.0}).value is None


def test_the_overlap_is_null_where_models_differ_in_which_prompts_are_unsafe_only() -> None:
    """The naive comparison is not: the second model also fails on the prompts that hurt most."""
    rng = np.random.default_rng(6)
    found = {"naive": 0, "overlap": 0}
    draws = 200
    for _ in range(draws):
        danger = rng.normal(0, 1, 300)
        first = {f"p{i}": d + rng.normal(0, 0.5) for i, d in enumerate(danger) if rng.random() < 1 / (1 + math.exp(2 * d))}  # fmt: skip
        second = {f"p{i}": d + rng.normal(0, 0.5) for i, d in enumerate(danger) if rng.random() < 0.5}  # fmt: skip
        a, b = _texts(first), _texts(second)
        found["naive"] += (naive(a, b).p or 0) < 0.05
        found["overlap"] += (overlap(a, b).p or 0) < 0.05
    assert found["naive"] > 0.95 * draws
    assert found["overlap"] < 0.1 * draws
