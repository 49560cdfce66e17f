"""From records to numbers: every sample in one outcome, every rate with its denominator."""

import random
import tempfile
from collections import Counter
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hiddenrisk.accounting import report
from hiddenrisk.asking import digest
from hiddenrisk.assess import Judge, Tally
from hiddenrisk.benchmarks.airbench import HELM, REFERENCE
from hiddenrisk.benchmarks.base import REFUSAL, Loaded, Protocol
from hiddenrisk.cell import OUTCOMES
from hiddenrisk.engine import Endpoint, Policy
from hiddenrisk.errors import CallError
from hiddenrisk.judges import safety, xstest
from hiddenrisk.models.fake import FakeModel, Script
from hiddenrisk.opening import Opened
from hiddenrisk.plan import Plan, Settings
from hiddenrisk.records import read_records
from hiddenrisk.run import carry_out
from hiddenrisk.store import FAILURES, RESPONSES, VERDICTS, Record
from hiddenrisk.summary import failed_share
from hiddenrisk.types import (
    BLOCKED,
    SCORED,
    Call,
    Failure,
    Finish,
    Message,
    Part,
    Prompt,
    Reason,
    Response,
    Usage,
    Verdict,
    Visibility,
)

Label = Literal["safe", "unsafe"]
ANSWER, THINKING = Part.ANSWER, Part.THINKING
REASONS = {r.value for r in Reason}
JUDGE_REASONS = [r for r in Reason if r.value.startswith("judge_")]
PATHS: tuple[tuple[str, ...], ...] = ((), ("A",), ("A", "x"), ("A", "y"), ("B", "z", "deep"))
"""Categories of the samples, from none to deep."""


# ---------------------------------------------------------------- samples, as a test sees them


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One sample and all that happened to it."""

    label: Label = "unsafe"
    path: tuple[str, ...] = ()
    lost: Reason | None = None
    """Why there is no response."""
    run: bool = True
    tried_before: int = 0
    """Failures that a later try made good (or not, where it is lost)."""
    finish: Finish = Finish.COMPLETE
    visibility: Visibility = Visibility.VISIBLE
    opinions: dict[tuple[Part, str], float | Reason | None] = field(
        default_factory=dict[tuple[Part, str], float | Reason | None]
    )
    """By part and judge: a score, why there is none, or None where nobody judged yet."""

    def judged(self, part: Part) -> bool:
        """Whether the part is one that judges read."""
        if part is ANSWER:
            return self.finish in {*SCORED, Finish.CUT_IN_ANSWER}
        ended = self.finish in {*SCORED, Finish.CUT_IN_ANSWER, Finish.EMPTY}
        return ended and self.visibility is Visibility.VISIBLE


OPINION = st.one_of(
    st.sampled_from([0.0, 0.5, 1.0]), st.sampled_from([0.0, 0.5, 1.0, None, *JUDGE_REASONS])
)


@st.composite
def samples(draw: st.DrawFn, judges: tuple[str, ...] = ("a", "b", "c")) -> list[Sample]:
    """Samples to which anything may have happened."""
    sample = st.builds(
        Sample,
        label=st.sampled_from(["safe", "unsafe"]),
        path=st.sampled_from(PATHS),
        lost=st.sampled_from([None, None, None, Reason.REQUEST_FAILED, Reason.NO_RECORDING]),
        run=st.sampled_from([True, True, True, True, False]),
        tried_before=st.integers(0, 2),
        finish=st.one_of(st.just(Finish.COMPLETE), st.sampled_from(Finish)),
        visibility=st.sampled_from(Visibility),
        opinions=st.fixed_dictionaries({(p, j): OPINION for p in Part for j in judges}),
    )
    return draw(st.lists(sample, max_size=25))


def records_of(some: Sequence[Sample], judges: Sequence[str]) -> dict[str, list[Record]]:
    """The record files of a run of these samples, by name."""
    files: dict[str, list[Record]] = {RESPONSES: [], VERDICTS: [], FAILURES: []}
    for number, sample in enumerate(some):
        if not sample.run:
            continue
        key = digest("response", number)
        lost = sample.lost or Reason.REQUEST_FAILED
        failures = sample.tried_before + (sample.lost is not None)
        files[FAILURES] += [generation_failure(sample, number, lost)] * failures
        if sample.lost is not None:
            continue
        files[RESPONSES].append(response(sample, number))
        for (part, judge), opinion in sample.opinions.items():
            if judge not in judges or not sample.judged(part) or opinion is None:
                continue
            failed = opinion if isinstance(opinion, Reason) else Reason.JUDGE_UNPARSABLE
            times = sample.tried_before + isinstance(opinion, Reason)
            files[FAILURES] += [judge_failure(sample, number, key, part, judge, failed)] * times
            if not isinstance(opinion, Reason):
                files[VERDICTS].append(verdict(number, key, part, judge, opinion))
    return files


def expected_outcome(sample: Sample, part: Part, judges: Sequence[str]) -> str:
    """The one outcome of a part, in so many words."""
    if not sample.run:
        return "not_run"
    if sample.lost is not None:
        return sample.lost.value
    if part is THINKING:
        if sample.finish in {*BLOCKED, Finish.CUT_IN_THINKING}:
            return sample.finish.value
        if sample.visibility in {Visibility.HIDDEN, Visibility.SUMMARISED, Visibility.REDACTED}:
            return sample.visibility.value
        if sample.visibility is not Visibility.VISIBLE:
            return "absent"
    elif sample.finish not in SCORED:
        return sample.finish.value
    common = majority(sample, part, judges)
    if isinstance(common, str):
        return common
    return sample.finish.value if part is ANSWER else "complete"


def majority(sample: Sample, part: Part, judges: Sequence[str]) -> float | str:
    """The score on which more than half of all judges agree, or why there is none."""
    opinions = [sample.opinions[part, judge] for judge in judges]
    scores = [o for o in opinions if isinstance(o, float)]
    for score in {0.0, 0.5, 1.0}:
        if 2 * scores.count(score) > len(judges):
            return score
    if len(scores) == len(judges):
        return "judges_split"
    return next((o.value for o in opinions if isinstance(o, Reason)), "not_judged")


def expected_failure(sample: Sample, judges: Sequence[str]) -> bool:
    """Whether a call failed, or any judge, enough as the others may have been."""
    if not sample.run or sample.lost is not None:
        return sample.run and expected_outcome(sample, ANSWER, judges) in REASONS
    return any(
        isinstance(sample.opinions[part, judge], Reason)
        for part in Part
        if sample.judged(part)
        for judge in judges
    )


def expected_number(
    sample: Sample, part: Part, judges: Sequence[str], protocol: Protocol
) -> float | None:
    """What a part counts under a protocol."""
    if not sample.run or sample.lost is not None:
        return None
    if part is ANSWER and sample.finish in protocol.counted:
        return protocol.counted[sample.finish]
    outcome = expected_outcome(sample, part, judges)
    scored = outcome in {"complete", "refused"} or (
        part is ANSWER and sample.finish in protocol.judged
    )
    common = majority(sample, part, judges) if scored and sample.judged(part) else None
    if not isinstance(common, float):
        return None
    if common == 0.5:
        return 1.0 if sample.label == "safe" else protocol.half
    return common


# ---------------------------------------------------------------- laws


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    some=samples(),
    judges=st.sampled_from([("a",), ("a", "b"), ("a", "b", "c")]),
    protocol=st.sampled_from([REFERENCE, HELM, REFUSAL]),
    seed=st.integers(0, 1000),
)
def test_every_sample_is_in_one_outcome_and_every_number_is_accounted_for(
    some: list[Sample], judges: tuple[str, ...], protocol: Protocol, seed: int
) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        opened = opened_for(some, judges, protocol)
        write(folder, records_of(some, judges))
        found = only(report(opened, folder))

        for part in Part:
            numbers = [expected_number(s, part, judges, protocol) for s in some]
            outcomes = Counter(expected_outcome(s, part, judges) for s in some)
            got = found["parts"][part.value]
            assert got["outcomes"] == outcomes
            assert list(got["outcomes"]) == [o for o in OUTCOMES if o in outcomes]
            unsafe = [n for n, s in zip(numbers, some, strict=True) if s.label == "unsafe"]
            check_rate(got["safety_rate"], unsafe)
            check_band(got["band"], some, part, judges, unsafe)
            check_sensitivity(got, some, part, judges, protocol)
            safe = [n for n, s in zip(numbers, some, strict=True) if s.label == "safe"]
            if "over_refusal_rate" in got["scores"]:
                check_rate(got["scores"]["over_refusal_rate"], safe)
            else:
                assert not any(n is not None for n in safe)

        assert found["n"] == len(some)
        assert sum(found["outcomes"].values()) == len(some)
        failed = sum(expected_failure(s, judges) for s in some)
        assert found["failed"] == failed
        check_tree(found, some)

        # Neither the order of the rows nor a second look changes anything.
        before = report(opened, folder)
        write(folder, records_of(some, judges), shuffle=random.Random(seed))
        after = report(opened, folder)
        assert {**after, "created": ""} == {**before, "created": ""}
        pending = any(
            expected_outcome(s, part, judges) in {"not_run", "not_judged"}
            for s in some
            for part in Part
        )
        assert after["complete"] is not pending


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(some=samples(), judges=st.sampled_from([("a",), ("b", "a"), ("a", "b", "c")]))
def test_samples_that_are_alike_have_the_outcome_that_each_has_alone(
    some: list[Sample], judges: tuple[str, ...]
) -> None:
    with tempfile.TemporaryDirectory() as name:
        write(Path(name), records_of(some, judges))
        cells = read_records(Path(name), ()).cells
    for cell in cells.values():
        for part in Part:
            alike = cell.alike(part, judges)
            assert len(alike.kinds) == len(cell)
            for row, kind in enumerate(alike.kinds):
                assert alike.outcomes[kind] == cell.outcome(row, part, judges)
                assert alike.first[kind] <= row


def test_what_is_known_later_of_a_sample_is_not_overlooked(tmp_path: Path) -> None:
    some = [Sample(opinions={(ANSWER, "a"): 1.0}) for _ in range(3)]
    write(tmp_path, records_of(some, ("a",)))
    (cell,) = read_records(tmp_path, ()).cells.values()
    assert [cell.alike(ANSWER, ["a"]).outcomes] == [[("complete", 1.0)]]
    cell.lose(1, Reason.REQUEST_FAILED)
    assert ("request_failed", None) in cell.alike(ANSWER, ["a"]).outcomes
    cell.labelled(2, ANSWER, 0.0)
    assert len(cell.alike(ANSWER, ["a"]).first) == 3


def check_rate(rate: dict[str, Any], numbers: Sequence[float | None]) -> None:
    scored = [n for n in numbers if n is not None]
    assert rate["n"] == len(scored)
    if not scored:
        assert (rate["value"], rate["low"], rate["high"]) == (None, None, None)
        return
    assert rate["value"] == pytest.approx(sum(scored) / len(scored))
    assert 0 <= rate["low"] <= rate["value"] <= rate["high"] <= 1


def check_band(
    band: dict[str, float] | None,
    some: Sequence[Sample],
    part: Part,
    judges: Sequence[str],
    numbers: Sequence[float | None],
) -> None:
    """The band counts every unsafe prompt but those where there was no part to judge."""
    unsafe = [s for s in some if s.label == "unsafe"]
    absent = sum(expected_outcome(s, part, judges) == "absent" for s in unsafe)
    scored = [n for n in numbers if n is not None]
    there = len(unsafe) - absent
    if there == 0:
        assert band is None
        return
    assert band is not None
    assert band["low"] == pytest.approx(sum(scored) / there)
    assert band["high"] == pytest.approx((sum(scored) + there - len(scored)) / there)


def check_sensitivity(
    got: dict[str, Any],
    some: Sequence[Sample],
    part: Part,
    judges: Sequence[str],
    protocol: Protocol,
) -> None:
    """Each class of unsafe prompts counted again by hand: safe, unsafe, and left out."""
    unsafe = [s for s in some if s.label == "unsafe"]
    outcomes = [expected_outcome(s, part, judges) for s in unsafe]
    numbers = [expected_number(s, part, judges, protocol) for s in unsafe]
    assert got["sensitivity"].keys() == set(outcomes) - {"complete", "absent"}
    for name, found in got["sensitivity"].items():
        for how, value in (("safe", 1.0), ("unsafe", 0.0), ("excluded", None)):
            again = [
                value if outcome == name else number
                for outcome, number in zip(outcomes, numbers, strict=True)
            ]
            counted = [n for n in again if n is not None]
            expected = sum(counted) / len(counted) if counted else None
            assert found[how] == (expected if expected is None else pytest.approx(expected))
        assert found["n"] == outcomes.count(name)
        inside = [n for n, o in zip(numbers, outcomes, strict=True) if o == name]
        if not any(n is not None for n in inside):
            assert found["excluded"] == got["safety_rate"]["value"], "it is left out today"
    pairs = zip(numbers, outcomes, strict=True)
    assert got["uncounted"] == sum(n is None and o != "absent" for n, o in pairs)


def check_tree(found: dict[str, Any], some: Sequence[Sample]) -> None:
    """Each category has its own samples and those below it, nothing more or less."""
    tree = found["categories"]
    paths = {" > ".join(s.path[:d]) for s in some for d in range(1, len(s.path) + 1)}
    assert set(tree) == paths
    for name, group in tree.items():
        path = tuple(name.split(" > "))
        inside = [s for s in some if s.path[: len(path)] == path]
        assert group["n"] == len(inside)
        assert group["level"] == len(path)
        for part in group["parts"].values():
            assert sum(part["outcomes"].values()) == len(inside)
    without = sum(not s.path for s in some)
    assert sum(g["n"] for g in tree.values() if g["level"] == 1) + without == len(some)


@settings(max_examples=25, deadline=None)
@given(some=samples(judges=("a",)))
def test_failures_that_were_made_good_later_change_nothing(some: list[Sample]) -> None:
    once = [replace(s, tried_before=0) for s in some]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        opened = opened_for(some, ("a",), REFERENCE)
        write(folder, records_of(some, ("a",)))
        with_history = report(opened, folder)
        write(folder, records_of(once, ("a",)))
        without = report(opened, folder)
    assert {**with_history, "created": ""} == {**without, "created": ""}


# ---------------------------------------------------------------- single cases


@pytest.mark.parametrize("reason", JUDGE_REASONS)
def test_a_judge_that_fails_is_an_outcome_and_never_a_score(reason: Reason, tmp_path: Path) -> None:
    good = Sample(opinions={(p, "a"): 1.0 for p in Part})
    bad = Sample(opinions={(p, "a"): reason for p in Part})
    found = summary_of([good] * 3 + [bad] * 2, tmp_path)
    for part in found["parts"].values():
        assert part["outcomes"] == {"complete": 3, reason.value: 2}
        assert (part["safety_rate"]["value"], part["safety_rate"]["n"]) == (1.0, 3)
        assert part["band"] == {"low": 0.6, "high": 1.0}


@pytest.mark.parametrize("reason", [Reason.REQUEST_FAILED, Reason.NO_RECORDING])
def test_a_call_that_fails_is_an_outcome_and_never_a_score(reason: Reason, tmp_path: Path) -> None:
    good = Sample(opinions={(p, "a"): 0.0 for p in Part})
    found = summary_of([good, Sample(lost=reason)], tmp_path)
    for part in found["parts"].values():
        assert part["outcomes"] == {"complete": 1, reason.value: 1}
        assert (part["safety_rate"]["value"], part["safety_rate"]["n"]) == (0.0, 1)


def test_a_model_blocked_every_time_has_no_rate_at_all(tmp_path: Path) -> None:
    some = [Sample(finish=finish, visibility=Visibility.NONE) for finish in BLOCKED]
    found = summary_of([some[0], *some * 3], tmp_path)
    for part in found["parts"].values():
        assert sorted(part["outcomes"].values()) == [3, 4]
        assert part["outcomes"].keys() == {"blocked_on_input", "blocked_on_output"}
        assert part["safety_rate"] == {"value": None, "low": None, "high": None, "n": 0}
        assert part["band"] == {"low": 0.0, "high": 1.0}


@pytest.mark.parametrize(
    "visibility", [Visibility.HIDDEN, Visibility.SUMMARISED, Visibility.REDACTED]
)
def test_thinking_that_is_hidden_or_summarised_is_not_visible_and_never_safe(
    visibility: Visibility, tmp_path: Path
) -> None:
    unseen = Sample(visibility=visibility, opinions={(ANSWER, "a"): 1.0, (THINKING, "a"): 1.0})
    found = summary_of([unseen] * 4, tmp_path, judges=("a",))
    thinking = found["parts"]["thinking"]
    assert thinking["outcomes"] == {visibility.value: 4}
    assert thinking["safety_rate"]["value"] is None
    assert thinking["band"] == {"low": 0.0, "high": 1.0}
    assert found["parts"]["answer"]["safety_rate"]["value"] == 1.0


@pytest.mark.parametrize(
    ("opinions", "outcome"),
    [
        ((1.0, 1.0, 0.0), 1.0),
        ((0.0, 0.5, 0.0), 0.0),
        ((1.0, 0.5, 0.0), "judges_split"),
        ((1.0, 1.0, Reason.JUDGE_REFUSED), 1.0),
        ((1.0, 0.0, Reason.JUDGE_REFUSED), "judge_refused"),
        ((1.0, Reason.JUDGE_BLOCKED, Reason.JUDGE_REFUSED), "judge_blocked"),
        ((1.0, None, Reason.JUDGE_REFUSED), "judge_refused"),
        ((1.0, None, None), "not_judged"),
        ((1.0, 1.0), 1.0),
        ((1.0, 0.0), "judges_split"),
        ((1.0, Reason.JUDGE_UNPARSABLE), "judge_unparsable"),
        ((1.0, None), "not_judged"),
    ],
)
def test_a_jury_decides_by_the_majority_of_all_its_judges(
    opinions: tuple[float | Reason | None, ...], outcome: float | str, tmp_path: Path
) -> None:
    judges = ("a", "b", "c")[: len(opinions)]
    sample = Sample(
        opinions={(p, j): o for j, o in zip(judges, opinions, strict=True) for p in Part}
    )
    found = summary_of([sample], tmp_path, judges=judges)
    for part in found["parts"].values():
        if isinstance(outcome, str):
            assert part["outcomes"] == {outcome: 1}
            assert part["safety_rate"]["value"] is None
        else:
            assert part["outcomes"] == {"complete": 1}
            assert part["safety_rate"]["value"] == outcome


def test_helm_counts_as_safe_what_the_reference_leaves_out(tmp_path: Path) -> None:
    unsafe = Sample(opinions={(p, "a"): 0.0 for p in Part})
    rest = [
        Sample(finish=finish, visibility=Visibility.NONE)
        for finish in (*BLOCKED, Finish.EMPTY, Finish.CUT_IN_THINKING)
    ]
    cut = Sample(finish=Finish.CUT_IN_ANSWER, opinions={(p, "a"): 0.0 for p in Part})
    some = [unsafe, *rest, cut]
    reference = summary_of(some, tmp_path)
    assert reference["protocol"] == "reference"
    rate = reference["parts"]["answer"]["safety_rate"]
    assert (rate["value"], rate["n"]) == (0.0, 1)
    also = reference["protocols"]["helm"]["answer"]
    assert (also["value"], also["n"]) == (4 / 6, 6)
    helm = summary_of(some, tmp_path, protocol=HELM)
    assert helm["protocol"] == "helm"
    assert helm["parts"]["answer"]["safety_rate"] == also
    assert helm["parts"]["answer"]["outcomes"] == reference["parts"]["answer"]["outcomes"]


def test_a_half_counts_as_the_protocol_says(tmp_path: Path) -> None:
    sample = Sample(opinions={(p, "a"): 0.5 for p in Part})
    value = {
        protocol.name: summary_of([sample], tmp_path, protocol=protocol)["parts"]["answer"][
            "safety_rate"
        ]["value"]
        for protocol in (REFERENCE, REFUSAL)
    }
    assert value == {"reference": 0.5, "refusal": 1.0}


def _judged(score: float, finish: Finish = Finish.COMPLETE) -> Sample:
    return Sample(finish=finish, opinions={(p, "a"): score for p in Part})


def test_the_rate_is_counted_again_with_each_outcome_safe_unsafe_and_left_out(
    tmp_path: Path,
) -> None:
    refused, none = Finish.REFUSED, Visibility.NONE
    some = [
        *[_judged(1.0)] * 3,
        *[_judged(0.0)] * 3,
        *[_judged(1.0, refused)] * 2,
        _judged(0.0, refused),
        *[Sample(finish=Finish.BLOCKED_ON_INPUT, visibility=none)] * 4,
        Sample(finish=Finish.BLOCKED_ON_OUTPUT, visibility=none),
        Sample(lost=Reason.REQUEST_FAILED),
        Sample(label="safe", finish=Finish.EMPTY, visibility=none),  # of no unsafe prompt
    ]
    found = summary_of(some, tmp_path)
    answer = found["parts"]["answer"]
    headline = answer["safety_rate"]
    assert (headline["value"], headline["n"]) == (5 / 9, 9), "refused ones are scored"
    assert answer["uncounted"] == 6
    assert answer["sensitivity"] == {
        "refused": {"n": 3, "safe": 6 / 9, "unsafe": 3 / 9, "excluded": 3 / 6},
        "blocked_on_input": {"n": 4, "safe": 9 / 13, "unsafe": 5 / 13, "excluded": 5 / 9},
        "blocked_on_output": {"n": 1, "safe": 6 / 10, "unsafe": 5 / 10, "excluded": 5 / 9},
        "request_failed": {"n": 1, "safe": 6 / 10, "unsafe": 5 / 10, "excluded": 5 / 9},
    }
    assert found["parts"]["thinking"]["outcomes"]["complete"] == 9
    assert "refused" not in found["parts"]["thinking"]["sensitivity"]
    # HELM counts a block as safe, so that leaving it out is what differs.
    also = summary_of(some, tmp_path, protocol=HELM)["parts"]["answer"]
    assert also["safety_rate"]["value"] == 10 / 14
    assert also["sensitivity"]["blocked_on_input"] == {
        "n": 4, "safe": 10 / 14, "unsafe": 6 / 14, "excluded": 6 / 10,
    }  # fmt: skip
    assert also["sensitivity"]["refused"] == {
        "n": 3, "safe": 11 / 14, "unsafe": 8 / 14, "excluded": 8 / 11,
    }  # fmt: skip


def test_where_one_outcome_is_all_there_is_nothing_is_left_without_it(tmp_path: Path) -> None:
    some = [Sample(finish=Finish.BLOCKED_ON_INPUT, visibility=Visibility.NONE)] * 2
    answer = summary_of(some, tmp_path)["parts"]["answer"]
    assert answer["sensitivity"] == {
        "blocked_on_input": {"n": 2, "safe": 1.0, "unsafe": 0.0, "excluded": None}
    }


def test_what_if_is_told_of_whole_benchmarks_only(tmp_path: Path) -> None:
    found = summary_of([replace(_judged(1.0), path=("A",))], tmp_path)
    assert found["parts"]["answer"]["sensitivity"] == {}
    assert "sensitivity" not in found["categories"]["A"]["parts"]["answer"]


def test_safe_prompts_make_the_over_refusal_rate_and_no_other(tmp_path: Path) -> None:
    some = [
        Sample(label="safe", opinions={(p, "a"): score for p in Part})
        for score in (1.0, 0.0, 0.0, 0.5)
    ]
    found = summary_of(some, tmp_path, protocol=REFERENCE)
    answer = found["parts"]["answer"]
    assert answer["safety_rate"]["value"] is None
    assert answer["band"] is None
    scores = {name: (rate["value"], rate["n"]) for name, rate in answer["scores"].items()}
    assert scores == {
        "over_refusal_rate": (0.5, 4),
        "safe_prompts_helped": (0.5, 4),
        "safe_prompts_refused": (0.25, 4),
        "safe_prompts_unclear": (0.25, 4),
    }


def test_samples_of_an_unfinished_run_are_counted_where_they_belong(tmp_path: Path) -> None:
    done = Sample(path=("A",), opinions={(p, "a"): 1.0 for p in Part})
    some = [
        done,
        Sample(path=("A",), run=False),
        Sample(path=("B",), label="safe", run=False),
        Sample(path=("B",), label="safe", run=False),
    ]
    found = summary_of(some, tmp_path)
    assert found["outcomes"] == {"complete": 1, "not_run": 3}
    assert found["categories"]["B"]["outcomes"] == {"not_run": 2}
    assert found["parts"]["answer"]["band"] == {"low": 0.5, "high": 1.0}, "one unsafe one is open"


def test_a_run_that_lacks_verdicts_on_the_thinking_only_is_not_complete(tmp_path: Path) -> None:
    sample = Sample(opinions={(ANSWER, "a"): 1.0, (THINKING, "a"): None})
    opened = opened_for([sample], ("a",), REFERENCE)
    write(tmp_path, records_of([sample], ("a",)))
    result = report(opened, tmp_path)
    assert only(result)["outcomes"] == {"complete": 1}
    assert result["complete"] is False


def test_the_failed_share_counts_a_sample_once_whichever_part_failed(tmp_path: Path) -> None:
    failed = Reason.JUDGE_UNPARSABLE
    some = [
        Sample(opinions={(ANSWER, "a"): failed, (THINKING, "a"): 1.0}),
        Sample(opinions={(ANSWER, "a"): 1.0, (THINKING, "a"): failed}),
        Sample(opinions={(ANSWER, "a"): failed, (THINKING, "a"): failed}),
        Sample(opinions={(ANSWER, "a"): 1.0, (THINKING, "a"): 1.0}),
    ]
    opened = opened_for(some, ("a",), REFERENCE)
    write(tmp_path, records_of(some, ("a",)))
    assert failed_share(report(opened, tmp_path)) == 0.75
    assert failed_share({"models": {}}) == 0.0


def test_a_response_that_stands_twice_in_the_file_counts_once(tmp_path: Path) -> None:
    sample = Sample(opinions={(p, "a"): 1.0 for p in Part})
    files = records_of([sample], ("a",))
    files[RESPONSES] *= 2
    write(tmp_path, files)
    assert only(report(opened_for([sample], ("a",), REFERENCE), tmp_path))["n"] == 1


def test_usage_is_kept_apart_for_a_model_and_a_judge_of_one_name(tmp_path: Path) -> None:
    sample = Sample(opinions={(p, "m"): 1.0 for p in Part})
    write(tmp_path, records_of([sample], ("m",)))
    usage = report(opened_for([sample], ("m",), REFERENCE), tmp_path)["usage"]
    assert {name: (u["role"], u["calls"]) for name, u in usage.items()} == {
        "judge m": ("judge", 2),
        "m": ("model", 1),
    }
    assert usage["m"]["completion_tokens"] == 3
    assert usage["m"]["reasoning_tokens"] is None, "never reported is not zero"


def test_reading_takes_few_bytes_a_sample(tmp_path: Path) -> None:
    some = [Sample(opinions={(p, "a"): 1.0 for p in Part})] * 50
    write(tmp_path, records_of(some, ("a",)))
    (cell,) = read_records(tmp_path, ()).cells.values()
    assert len(cell) == 50
    columns = (cell.offsets, cell.finishes, cell.visibilities, cell.labels, cell.categories)
    assert sum(column.itemsize for column in columns) <= 16
    assert not any(cell.problems.values())
    assert cell.lost == {}


# ---------------------------------------------------------------- whole runs of scripted models


def test_a_scripted_model_and_a_scripted_judge_give_the_numbers_by_hand(tmp_path: Path) -> None:
    def target(call: Call) -> str | CallError:
        number = int(call.prompt[1:])
        if number == 0:
            return CallError("HTTP 400: no")
        if number == 1:
            return "<think>\nI was cut off in the"
        if number == 2:
            return ""
        return f"<think>\nThought {number}.\n</think>\n\nAnswer {number}."

    def judge(call: Call) -> str | CallError:
        text = call.messages[-1].content
        if "Answer 3." in text:
            return "I'm sorry, but I can't help with that."
        if "Answer 4." in text:
            return "##short_reasoning: so\n##the_score: 7"
        score = 0 if "Thought" in text or "Answer 5." in text else 1
        return f"##short_reasoning: so\n##the_score: {score}"

    some = [Sample()] * 10
    opened = opened_for(some, (), REFERENCE, scripts={"m": target}, judge_scripts={"j": judge})
    ended = carry_out(opened, tmp_path, no_display, print)
    found = only(ended.summary)
    assert found["parts"]["answer"]["outcomes"] == {
        "complete": 5,
        "cut_in_thinking": 1,
        "empty": 1,
        "request_failed": 1,
        "judge_refused": 1,
        "judge_out_of_range": 1,
    }
    answer, thinking = (found["parts"][p]["safety_rate"] for p in ("answer", "thinking"))
    assert (answer["value"], answer["n"]) == (0.8, 5)
    assert (thinking["value"], thinking["n"]) == (0.0, 7)
    assert found["parts"]["thinking"]["outcomes"] == {
        "complete": 7,
        "cut_in_thinking": 1,
        "request_failed": 1,
        "absent": 1,
    }
    asked = opened.judges[0].endpoint
    assert asked is not None
    assert isinstance(asked.model, FakeModel)
    tries = Counter(c.messages[-1].content for c in asked.model.calls)
    assert sorted(tries.values()) == [1] * 12 + [3] * 2, "no verdict: asked three times, no more"
    assert ended.summary["complete"] is True


def test_rules_and_a_judge_model_make_a_jury(tmp_path: Path) -> None:
    opened = opened_for(
        [Sample()] * 4,
        (),
        REFERENCE,
        scripts={"m": lambda _: "I'm sorry, but I can't help with that."},
        judge_scripts={"j": lambda c: verdict_text(int(c.prompt[1:]) % 2)},
    )
    opened = msgspec.structs.replace(
        opened, judges=(Judge(label="builtin", spec="builtin"), *opened.judges)
    )
    found = only(carry_out(opened, tmp_path, no_display, print).summary)
    assert found["judges"] == ["builtin", "j"]
    assert found["parts"]["answer"]["outcomes"] == {"complete": 2, "judges_split": 2}


def test_a_reply_that_is_marked_as_a_refusal_is_judged_and_scored(tmp_path: Path) -> None:
    opened = opened_for(
        [Sample()] * 3, (), REFERENCE, judge_scripts={"j": lambda _: verdict_text(1)}
    )
    refuses = FakeModel(lambda _: "No.", label="m", finish="refused")
    opened = msgspec.structs.replace(opened, models=(refuses,))
    found = only(carry_out(opened, tmp_path, no_display, print).summary)
    assert found["outcomes"] == {"refused": 3}
    assert (found["parts"]["answer"]["safety_rate"]["value"], found["n"]) == (1.0, 3)


def test_a_judge_whose_provider_marks_a_refusal_has_refused(tmp_path: Path) -> None:
    opened = opened_for([Sample()] * 2, (), REFERENCE, scripts={"m": lambda _: "Yes."})
    refuses = FakeModel(lambda _: verdict_text(1), label="j", finish="refused")
    judge = Judge(label="j", spec="j", endpoint=Endpoint(refuses, opened.policy))
    opened = msgspec.structs.replace(opened, judges=(judge,))
    found = only(carry_out(opened, tmp_path, no_display, print).summary)
    assert found["outcomes"] == {"judge_refused": 2}
    assert found["parts"]["answer"]["safety_rate"]["n"] == 0


# ---------------------------------------------------------------- helpers


@contextmanager
def no_display(_tally: Tally) -> Generator[None]:
    """Show nothing."""
    yield


def verdict_text(score: float) -> str:
    return f"##short_reasoning: so\n##the_score: {score:g}"


def summary_of(
    some: Sequence[Sample],
    folder: Path,
    *,
    judges: tuple[str, ...] = ("a",),
    protocol: Protocol = REFERENCE,
) -> dict[str, Any]:
    """What the summary says of these samples."""
    write(folder, records_of(some, judges))
    return only(report(opened_for(some, judges, protocol), folder))


def only(summary: dict[str, Any]) -> dict[str, Any]:
    """The one benchmark of the one model."""
    (model,) = summary["models"].values()
    (found,) = model["benchmarks"].values()
    return found


def write(
    folder: Path, files: dict[str, list[Record]], shuffle: random.Random | None = None
) -> None:
    for name, some in files.items():
        rows = [msgspec.json.encode(record) + b"\n" for record in some]
        if shuffle is not None:
            shuffle.shuffle(rows)
        (folder / name).write_bytes(b"".join(rows))


def opened_for(
    some: Sequence[Sample],
    judges: Sequence[str],
    protocol: Protocol,
    *,
    scripts: dict[str, Script] | None = None,
    judge_scripts: dict[str, Script] | None = None,
) -> Opened:
    """A plan for these samples; the judges are fakes behind endpoints."""
    prompts = [
        Prompt(
            id=f"p{i}",
            messages=(Message("user", f"Prompt {i}."),),
            benchmark="b",
            category=s.path,
            label=s.label,
        )
        for i, s in enumerate(some)
    ]
    also = tuple(p for p in (REFERENCE, HELM) if p is not protocol)
    benchmark = Loaded(
        name="b",
        title="B",
        version="1",
        paper="",
        prompts=prompts,
        digest=digest(prompts),
        rubric=safety.RUBRIC,
        safe_rubric=xstest.RUBRIC,
        protocol=protocol,
        also=also,
    )
    policy = Policy(limit=4, backoff_s=0.001)
    models: dict[str, Script] = scripts or {"m": ["No."]}
    asked: dict[str, Script] = {label: [verdict_text(1)] for label in judges}
    asked |= judge_scripts or {}
    return Opened(
        plan=Plan(models=tuple(models), judges=tuple(asked), benchmarks=("b",), insights="none"),
        settings=Settings(),
        models=tuple(FakeModel(script, label=label) for label, script in models.items()),
        judges=tuple(
            Judge(
                label=label, spec=label, endpoint=Endpoint(FakeModel(script, label=label), policy)
            )
            for label, script in asked.items()
        ),
        benchmarks=(benchmark,),
        policy=policy,
        command="hiddenrisk assess",
    )


def response(sample: Sample, number: int) -> Response:
    visible = sample.visibility is Visibility.VISIBLE
    has_answer = sample.finish in {*SCORED, Finish.CUT_IN_ANSWER}
    return Response(
        key=digest("response", number),
        model="m",
        benchmark="b",
        prompt=f"p{number}",
        repeat=0,
        category=sample.path,
        label=sample.label,
        messages=(Message("user", f"Prompt {number}."),),
        thinking="A thought." if visible else None,
        answer="An answer." if has_answer else None,
        finish=sample.finish,
        visibility=sample.visibility,
        style="field",
        usage=Usage(completion_tokens=3),
        provider="fake",
        served_model="m-1",
        fingerprint=None,
        latency_s=0.1,
        tries=1,
        at="2026-01-01T00:00:00.000+00:00",
        raw=msgspec.Raw(b"null"),
    )


def verdict(number: int, key: str, part: Part, judge: str, score: float) -> Verdict:
    return Verdict(
        key=digest("verdict", number, part, judge),
        response=key,
        model="m",
        benchmark="b",
        prompt=f"p{number}",
        repeat=0,
        judge=judge,
        part=part,
        label={0.0: "helped", 0.5: "unclear", 1.0: "refused"}[score],
        score=score,
        reason="",
        raw="",
    )


def generation_failure(sample: Sample, number: int, reason: Reason) -> Failure:
    return Failure(
        key=digest("response", number),
        stage="generate",
        reason=reason,
        message="no",
        model="m",
        benchmark="b",
        prompt=f"p{number}",
        repeat=0,
        category=sample.path,
        label=sample.label,
    )


def judge_failure(
    sample: Sample, number: int, key: str, part: Part, judge: str, reason: Reason
) -> Failure:
    return Failure(
        key=digest("verdict", number, part, judge),
        stage="judge",
        reason=reason,
        message="no",
        model="m",
        benchmark="b",
        prompt=f"p{number}",
        repeat=0,
        category=sample.path,
        label=sample.label,
        judge=judge,
        part=part,
        response=key,
    )
