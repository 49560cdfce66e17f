"""The cascade: who is read, the estimate against brute force, and what it saves."""

import itertools
import math
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bench.cascade import PAIRS, WANTED, Piloted, recorded_judges, run_cascade, strata_of
from bench.coverage import measure_cascades
from hiddenrisk.cascading import audit_of, shares_of, written
from hiddenrisk.stats.cascade import (
    Read,
    Shares,
    Stratum,
    advised,
    best_shares,
    by_score,
    by_votes,
    cascaded,
    goes_on,
    outlook,
)
from hiddenrisk.stats.rates import NOTHING, wilson

PILOT: dict[Stratum, tuple[float, float]] = {
    "sure safe": (0.5, 0.02),
    "unsure": (0.2, 0.5),
    "sure unsafe": (0.3, 0.95),
}


@pytest.mark.parametrize(
    ("p", "stratum"),
    [
        (0, "sure safe"),
        (0.19, "sure safe"),
        (0.2, "unsure"),
        (0.8, "unsure"),
        (0.81, "sure unsafe"),
        (1, "sure unsafe"),
    ],
)
def test_a_probability_in_the_band_is_unsure(p: float, stratum: Stratum) -> None:
    assert by_score(p) == stratum


@pytest.mark.parametrize("p", [-0.1, 1.1, math.nan])
def test_what_is_no_probability_is_refused(p: float) -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        by_score(p)


def test_cheap_judges_are_sure_only_if_all_agree_and_none_failed() -> None:
    assert by_votes([True]) == by_votes([True, True]) == "sure unsafe"
    assert by_votes([False, False]) == "sure safe"
    assert by_votes([True, False]) == by_votes([True, None]) == by_votes([]) == "unsure"


def test_the_audit_reads_its_share_and_all_that_is_unsure() -> None:
    keys = [f"prompt-{i}" for i in range(20_000)]
    shares = Shares(sure_safe=0.05, sure_unsafe=0.2)
    drawn = Counter(
        stratum for key in keys for stratum in PILOT if goes_on(key, stratum, shares, seed=3)
    )
    assert drawn["unsure"] == 20_000
    # Four standard errors of a binomial.
    assert abs(drawn["sure safe"] - 1000) < 4 * math.sqrt(20_000 * 0.05 * 0.95)
    assert abs(drawn["sure unsafe"] - 4000) < 4 * math.sqrt(20_000 * 0.2 * 0.8)


def test_the_draw_hangs_on_key_and_seed_alone_and_grows_with_the_share() -> None:
    keys = [f"k{i}" for i in range(2000)]
    one, ten = Shares(sure_safe=0.01), Shares(sure_safe=0.1)

    def read(shares: Shares, seed: int) -> set[str]:
        return {key for key in keys if goes_on(key, "sure safe", shares, seed)}

    assert read(ten, 1) == read(ten, 1)
    assert read(one, 1) < read(ten, 1)
    assert read(ten, 1) != read(ten, 2)


@pytest.mark.parametrize("share", [0, -0.1, 1.1, math.nan])
def test_a_stratum_that_is_never_read_is_refused(share: float) -> None:
    with pytest.raises(ValueError, match="above 0"):
        Shares(sure_safe=share)


def test_the_estimate_weighs_each_stratum_by_its_texts() -> None:
    found = cascaded(
        {
            "sure safe": Read(n=600, judged=60, unsafe=3),
            "unsure": Read(n=100, judged=100, unsafe=40),
            "sure unsafe": Read(n=300, judged=30, unsafe=27),
        }
    )
    assert found.rate.value == pytest.approx(0.6 * 3 / 60 + 0.1 * 0.4 + 0.3 * 27 / 30)
    assert found.rate.n == 1000
    assert found.drawn == 190
    assert found.saved == pytest.approx(0.81)
    # The variance by hand: that of 1,000 texts, and that of the texts that were not read.
    rate = found.rate.value or 0.0
    unread = 0.6 * 0.05 * 0.95 * 9 + 0.3 * 0.9 * 0.1 * 9
    assert found.worth == pytest.approx(1000 * rate * (1 - rate) / (rate * (1 - rate) + unread))


def test_reading_everything_in_one_stratum_gives_the_interval_of_wilson() -> None:
    found = cascaded({"unsure": Read(n=80, judged=80, unsafe=13)})
    assert found.rate.value == pytest.approx(13 / 80)
    plain = wilson(13, 80)
    assert (found.rate.low, found.rate.high) == pytest.approx((plain.low, plain.high))
    assert found.saved == 0
    assert found.worth == pytest.approx(80)


def test_the_estimate_is_unbiased_over_every_possible_audit() -> None:
    """All audits of two from each stratum of a small run: the estimates' mean is the truth."""
    safe, unsafe = (0, 0, 1, 0, 0), (1, 0, 1)  # what the expensive judge would say
    pairs = itertools.product(itertools.combinations(safe, 2), itertools.combinations(unsafe, 2))
    values = [
        cascaded(
            {
                "sure safe": Read(n=5, judged=2, unsafe=sum(one)),
                "sure unsafe": Read(n=3, judged=2, unsafe=sum(other)),
            }
        ).rate.value
        or 0.0
        for one, other in pairs
    ]
    assert math.fsum(values) / len(values) == pytest.approx(3 / 8)


def test_texts_without_any_verdict_leave_no_rate() -> None:
    found = cascaded(
        {"sure safe": Read(n=40, judged=0, unsafe=0), "unsure": Read(n=9, judged=9, unsafe=5)}
    )
    assert found.rate == NOTHING
    assert found.worth is None
    assert found.reason is not None
    assert "sure safe" in found.reason
    nobody = cascaded({"unsure": Read(n=0, judged=0, unsafe=0)})
    assert nobody.rate == NOTHING
    assert nobody.reason == "the cheap judge gave no verdict"


def test_counts_that_cannot_be_are_refused() -> None:
    with pytest.raises(ValueError, match="9 texts read of 8"):
        cascaded({"unsure": Read(n=8, judged=9, unsafe=1)})
    with pytest.raises(ValueError, match="cannot be"):
        cascaded({"unsure": Read(n=8, judged=8, unsafe=9)})


@example(counts=[(11, 1, 1), (31, 11, 11)])  # all safe, and shares that add up to 1 + 2e-16
@given(
    counts=st.lists(
        st.integers(1, 300).flatmap(
            lambda n: st.integers(1, n).flatmap(
                lambda m: st.tuples(st.just(n), st.just(m), st.integers(0, m))
            )
        ),
        min_size=1,
        max_size=3,
    )
)
def test_the_rate_lies_in_its_interval_and_that_in_0_to_1(
    counts: list[tuple[int, int, int]],
) -> None:
    read: dict[Stratum, Read] = {
        name: Read(n=n, judged=m, unsafe=k) for name, (n, m, k) in zip(PILOT, counts, strict=False)
    }
    rate = cascaded(read).rate
    assert rate.value is not None
    assert rate.low is not None
    assert rate.high is not None
    assert 0 <= rate.low <= rate.value <= rate.high <= 1


def test_an_outlook_says_what_the_interval_then_shows() -> None:
    shares = Shares(sure_safe=0.1, unsure=1.0, sure_unsafe=0.2)
    expected = outlook(PILOT, shares, 10_000)
    assert expected.calls == pytest.approx(500 + 2000 + 600)
    read: dict[Stratum, Read] = {}
    for name, (weight, rate) in PILOT.items():
        judged = round(10_000 * weight * shares.of(name))
        read[name] = Read(n=round(10_000 * weight), judged=judged, unsafe=judged * rate)
    found = cascaded(read)
    assert found.rate.high is not None
    assert found.rate.low is not None
    assert found.rate.high - found.rate.low == pytest.approx(expected.width, rel=0.05)
    assert found.worth == pytest.approx(expected.worth)


def test_reading_more_is_never_worse() -> None:
    widths = [
        outlook(PILOT, Shares(sure_safe=s, sure_unsafe=s), 1000).width for s in (0.02, 0.1, 0.5, 1)
    ]
    assert widths == sorted(widths, reverse=True)


@pytest.mark.parametrize("budget", [0.05, 0.1, 0.3, 0.9])
def test_the_best_shares_beat_others_that_cost_the_same(budget: float) -> None:
    best = best_shares(PILOT, budget)
    found = outlook(PILOT, best, 5000)
    assert found.calls == pytest.approx(budget * 5000, rel=1e-6)
    flat = outlook(PILOT, Shares(sure_safe=budget, unsure=budget, sure_unsafe=budget), 5000)
    assert found.width <= flat.width
    for name in PILOT:  # no small change of two shares at equal cost is better
        for other in PILOT:
            moved = _moved(best, name, other)
            if moved is not None:
                assert outlook(PILOT, moved, 5000).width >= found.width - 1e-9


def _moved(shares: Shares, down: Stratum, up: Stratum) -> Shares | None:
    step = 0.005
    changed = {name: shares.of(name) for name in PILOT}
    changed[down] -= step / PILOT[down][0]
    changed[up] += step / PILOT[up][0]
    if not all(0.02 <= share <= 1 for share in changed.values()):
        return None
    return Shares(
        sure_safe=changed["sure safe"],
        unsure=changed["unsure"],
        sure_unsafe=changed["sure unsafe"],
    )


def test_cascades_of_recorded_judges_are_unbiased_and_hold_the_truth(shared_data: Path) -> None:
    del shared_data  # asked for so that the test skips without it
    rows = recorded_judges()
    assert rows is not None
    for cheap, expensive in PAIRS:
        strata = strata_of(rows, cheap, expensive)
        found = run_cascade(strata, Shares(), texts=2000, runs=200, seed=2)
        assert abs(found["bias_in_errors"]) < 3.5
        assert found["holds"] > 0.91


@pytest.mark.parametrize("pair", PAIRS, ids=lambda pair: f"{pair[1]} after {'+'.join(pair[0])}")
def test_with_its_pilot_counted_a_cascade_needs_30_percent_of_the_calls(
    shared_data: Path, pair: tuple[tuple[str, ...], str]
) -> None:
    """1,000 of 20,000 texts read: 200 as a pilot, the others by the shares that it suggests."""
    del shared_data
    rows = recorded_judges()
    assert rows is not None
    cheap, expensive = pair
    strata = strata_of(rows, cheap, expensive)
    found = run_cascade(strata, Piloted(200, 0.05), texts=20_000, runs=200, seed=2)
    # A cheap judge that agrees too little cannot save as much; the docs say so.
    assert (found["cost"] <= WANTED) == (cheap != ("mixtral",))
    assert abs(found["bias_in_errors"]) < 3.5
    assert found["holds"] > 0.91


def test_what_the_bench_leaves_out_it_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HIDDENRISK_TEST_DATA", str(tmp_path))
    found = measure_cascades(runs=1, seed=1)
    assert list(found) == ["left_out"]
    assert found["left_out"].startswith("LEFT OUT: the cascade")


# ---------------------------------------------------------------- what is lost


def test_what_was_read_in_vain_is_no_saving() -> None:
    """The expensive judge read 211 of 400 texts, and failed on 98."""
    found = cascaded(
        {
            "sure safe": Read(n=200, judged=30, unsafe=3, failed=31),
            "unsure": Read(n=100, judged=53, unsafe=30, failed=40, split=7),
            "sure unsafe": Read(n=100, judged=30, unsafe=24, failed=20),
        }
    )
    assert (found.drawn, found.lost) == (211, 98)
    assert found.saved == pytest.approx(1 - 211 / 400)
    assert found.caution is not None
    assert found.caution.startswith("98 of 211 texts that the expensive judge read")


def test_the_limits_of_what_is_lost_are_those_of_both_extremes() -> None:
    read: dict[Stratum, Read] = {
        "sure safe": Read(n=600, judged=50, unsafe=3, failed=10),
        "unsure": Read(n=100, judged=96, unsafe=40, split=4),
    }
    found = cascaded(read)
    safe, unsafe = (
        cascaded(
            {
                "sure safe": Read(n=600, judged=60, unsafe=3 + 10 * lost),
                "unsure": Read(n=100, judged=100, unsafe=40 + 4 * lost),
            }
        ).rate
        for lost in (0, 1)
    )
    assert found.if_lost == (safe.low, unsafe.high)
    assert found.rate.low is not None
    assert found.rate.high is not None
    assert safe.low is not None
    assert unsafe.high is not None
    assert safe.low < found.rate.low < found.rate.high < unsafe.high


def test_a_few_that_are_lost_need_no_caution_and_none_has_no_limits() -> None:
    few = cascaded({"unsure": Read(n=100, judged=97, unsafe=40, failed=3)})
    assert few.caution is None
    assert few.if_lost is not None
    assert cascaded({"unsure": Read(n=100, judged=97, unsafe=40, pending=3)}).if_lost is None


# ---------------------------------------------------------------- better shares


def seen(n: int, shares: Shares) -> dict[Stratum, Read]:
    """What is read of texts like the pilot's."""
    found: dict[Stratum, Read] = {}
    for name, (weight, rate) in PILOT.items():
        judged = round(n * weight * shares.of(name))
        found[name] = Read(n=round(n * weight), judged=judged, unsafe=judged * rate)
    return found


def test_better_shares_tell_as_much_with_fewer_texts_read() -> None:
    found = advised(seen(20_000, Shares()), Shares())
    assert found is not None
    assert not found.grows
    now = outlook(PILOT, Shares(), 20_000)
    best = outlook(PILOT, found.shares, 20_000)
    assert best.width == pytest.approx(now.width, rel=0.01)
    assert found.width == pytest.approx(best.width, rel=0.01)
    assert found.drawn == pytest.approx(best.calls, rel=0.01)
    assert best.calls < 0.8 * now.calls
    assert advised(seen(20_000, found.shares), found.shares) is None, "and they are the best"


def test_after_a_pilot_the_shares_go_on_with_it() -> None:
    pilot = Shares(sure_safe=0.01, unsure=0.01, sure_unsafe=0.01)
    found = advised(seen(20_000, pilot), pilot)
    assert found is not None
    assert found.grows
    assert found.drawn == pytest.approx(1000, rel=0.03)
    assert all(found.shares.of(name) >= 0.01 for name in PILOT), "what was read stays drawn"
    assert found.shares.unsure > found.shares.sure_unsafe > found.shares.sure_safe


def test_nothing_is_advised_from_what_is_not_read() -> None:
    read = seen(20_000, Shares())
    for unread in (
        Read(n=4000, judged=0, unsafe=0),
        Read(n=4000, judged=9, unsafe=1, pending=5),
    ):
        assert advised({**read, "unsure": unread}, Shares()) is None
    assert advised({}, Shares()) is None


def test_shares_are_written_as_the_option_takes_them() -> None:
    assert written(shares_of(0.1)) == "0.1"
    assert written(shares_of((0.05, 0.1, 0.04))) == "0.05/0.1/0.04"
    assert audit_of(shares_of((0.2, 1.0, 0.2))) == 0.2
    assert audit_of(shares_of((0.2, 1.0, 0.3))) == (0.2, 1.0, 0.3)
