"""Power, against statsmodels and against the tests themselves, counted out."""

from importlib import import_module

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom

from hiddenrisk.stats.paired import mcnemar_midp
from hiddenrisk.stats.power import (
    detectable_difference,
    detectable_rate_difference,
    halfwidth,
    needed_pairs,
)
from hiddenrisk.stats.rates import wilson

PROPORTION = import_module("statsmodels.stats.proportion")
SHARES = st.floats(0.01, 0.9)


def test_needed_pairs_are_those_of_a_worked_example() -> None:
    # HyLown's calculator "McNemar's Z-test, 2-sided equality" (Connor 1987, p. 209): its
    # example of 0.45 and 0.05 of the pairs that differ needs 23.
    assert needed_pairs(0.4, 0.5) == 23


@pytest.mark.parametrize(("difference", "discordant"), [(0.05, 0.2), (0.1, 0.15), (0.03, 0.06)])
@pytest.mark.parametrize("power", [0.8, 0.9])
def test_that_many_pairs_find_the_difference_as_often_as_promised(
    difference: float, discordant: float, power: float
) -> None:
    pairs = needed_pairs(difference, discordant, power=power)
    assert pairs is not None
    assert _power_of_midp(pairs, difference, discordant) == pytest.approx(power, abs=0.04)


def _power_of_midp(pairs: int, difference: float, discordant: float) -> float:
    """How often McNemar's mid-p is below 0.05, over all tables."""
    one_way, found = (discordant + difference) / 2 / discordant, 0.0
    for differ in range(pairs + 1):
        often = float(binom.pmf(differ, pairs, discordant))
        if often < 1e-9:
            continue
        shares = binom.pmf(np.arange(differ + 1), differ, one_way)
        for k, share in enumerate(shares.tolist()):
            p = mcnemar_midp(k, differ - k) if share > 1e-9 else None
            found += often * share * (p is not None and p < 0.05)
    return found


@settings(deadline=None)
@given(n=st.integers(10, 20_000), discordant=SHARES)
def test_the_detectable_difference_is_the_one_that_needs_all_the_pairs(
    n: int, discordant: float
) -> None:
    difference = detectable_difference(n, discordant)
    if difference is None:
        needed = needed_pairs(discordant, discordant)
        assert needed is not None
        assert needed > n
        return
    assert 0 < difference <= discordant
    assert needed_pairs(difference, discordant) == pytest.approx(n, abs=1)
    assert needed_pairs(-difference, discordant) == needed_pairs(difference, discordant)


def test_what_cannot_be_is_not_promised() -> None:
    assert needed_pairs(0.0, 0.2) is None
    assert needed_pairs(0.3, 0.2) is None
    assert detectable_difference(0, 0.2) is None
    assert detectable_difference(1000, 0.0) is None
    assert detectable_difference(10, 0.1) is None
    assert detectable_rate_difference(0, 10, 0.5) is None
    assert detectable_rate_difference(3, 3, 0.5) is None
    assert halfwidth(0, 0.5) is None


@pytest.mark.parametrize(("n", "ratio", "base"), [(300, 1.0, 0.9), (628, 0.5, 0.2), (100, 2, 0.5)])
def test_the_detectable_difference_of_two_rates_is_the_one_of_statsmodels(
    n: int, ratio: float, base: float
) -> None:
    size = detectable_rate_difference(n, round(n * ratio), base)
    assert size is not None
    signed = size if base < 0.5 else -size
    found = PROPORTION.power_proportions_2indep(signed, base, round(n * ratio), ratio=1 / ratio)
    assert float(found.power) == pytest.approx(0.8, abs=1e-3)


@settings(deadline=None)
@given(n=st.integers(1, 5000), rate=st.floats(0, 1))
def test_half_the_width_is_that_of_the_interval(n: int, rate: float) -> None:
    found = wilson(rate * n, n)
    assert found.low is not None
    assert found.high is not None
    assert halfwidth(n, rate) == (found.high - found.low) / 2


def test_shares_and_levels_that_cannot_be_are_refused() -> None:
    with pytest.raises(ValueError, match=r"unlike 1\.2"):
        needed_pairs(0.1, 1.2)
    with pytest.raises(ValueError, match="0 < alpha < power < 1"):
        detectable_difference(100, 0.2, power=0.01)
