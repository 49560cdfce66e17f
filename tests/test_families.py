"""Families of tests, against statsmodels and scipy."""

from importlib import import_module

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import false_discovery_control

from hiddenrisk.stats.families import benjamini_hochberg, holm

MULTITEST = import_module("statsmodels.stats.multitest")
PS = st.lists(st.floats(0, 1), min_size=1, max_size=40)


@settings(deadline=None)
@given(ps=PS)
def test_adjusted_p_values_are_those_of_statsmodels_and_scipy(ps: list[float]) -> None:
    assert holm(ps) == pytest.approx(MULTITEST.multipletests(ps, method="holm")[1].tolist())
    assert benjamini_hochberg(ps) == pytest.approx(false_discovery_control(ps).tolist())


def test_adjusted_p_values_are_those_of_a_worked_example() -> None:
    # Benjamini & Hochberg 1995, section 4.1: 15 hypotheses; at 0.05 Bonferroni's kind of
    # control rejects 3 and that of false discoveries 4.
    ps = [0.0001, 0.0004, 0.0019, 0.0095, 0.0201, 0.0278, 0.0298, 0.0344, 0.0459, 0.3240]
    ps += [0.4262, 0.5719, 0.6528, 0.7590, 1.0]
    for adjust, rejected in ((holm, 3), (benjamini_hochberg, 4)):
        assert sum(p is not None and p <= 0.05 for p in adjust(ps)) == rejected


@settings(deadline=None)
@given(ps=st.lists(st.none() | st.floats(0, 1), max_size=20))
def test_what_was_not_tested_stays_so_and_is_not_in_the_family(ps: list[float | None]) -> None:
    known = [p for p in ps if p is not None]
    for adjust in (holm, benjamini_hochberg):
        found = adjust(ps)
        assert [p is None for p in found] == [p is None for p in ps]
        assert [p for p in found if p is not None] == adjust(known)


@settings(deadline=None)
@given(ps=PS)
def test_false_discoveries_are_controlled_with_smaller_p_values_than_any_false_alarm(
    ps: list[float],
) -> None:
    for raw, discovery, alarm in zip(ps, benjamini_hochberg(ps), holm(ps), strict=True):
        assert discovery is not None
        assert alarm is not None
        assert raw <= discovery + 1e-12
        assert discovery <= alarm + 1e-12 <= 1 + 2e-12


def test_what_is_no_p_value_is_refused() -> None:
    with pytest.raises(ValueError, match=r"unlike 1\.5"):
        holm([0.1, 1.5])
    with pytest.raises(ValueError, match="unlike nan"):
        benjamini_hochberg([0.1, float("nan")])
    assert holm([]) == []
