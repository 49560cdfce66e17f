"""What the sections of the report say: pictures, overview, the paper's tables, samples."""

import json
import time
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import pytest

from hiddenrisk.cell import Cell
from hiddenrisk.examples import shown_rows
from hiddenrisk.report.conclusions import Comparison
from hiddenrisk.report.examples import KINDS, choices, grouped
from hiddenrisk.report.grids import Column, by_benchmark, category_rows, pictures, tone
from hiddenrisk.report.overview import cautions, leaders, measured, thought_gap
from hiddenrisk.report.page import render
from hiddenrisk.report.plots import against_zero, forests, place, scale, tradeoffs
from hiddenrisk.report.published import published, tables
from hiddenrisk.report.results import Rate, Summary
from hiddenrisk.report.words import p_value, points, points_span
from hiddenrisk.samples import SampleResponse, SampleVerdict
from hiddenrisk.types import Estimate, Finish, Part, Usage, Visibility
from tests import report_data as data
from tests.test_report import visible


def read(**changes: object) -> Summary:
    return msgspec.convert(data.summary() | changes, Summary)


def made(models: dict[str, dict[str, Any]]) -> Summary:
    """A summary of these benchmarks by model."""
    return read(models={label: {"benchmarks": found} for label, found in models.items()})


# --- pictures ---


def test_models_stand_side_by_side_and_one_that_was_not_asked_has_a_dash() -> None:
    page = made({"a": {"x": data.results(0.5, None)}, "b": {"x": data.results(0.4, 0.3)}})
    (bench,) = by_benchmark(page.models)
    (picture,) = pictures(category_rows(bench.models), ["safety_rate"])
    assert picture.columns == [
        Column("a", "answer"),
        Column("b", "answer"),
        Column("b", "thinking"),
    ]
    assert [row.name for row in picture.rows] == [
        "Privacy",
        "Leaks",
        "PII",
        "Self-harm",
        "Deception",
    ]
    other = made({"a": {"x": data.results(0.5, None)}, "b": {"y": data.results(0.4, None)}})
    assert visible(render(msgspec.to_builtins(other), [])).count("not asked") == 2


def test_a_picture_that_would_be_too_wide_is_two() -> None:
    page = made({f"m{i}": {"x": data.results(0.5, 0.4)} for i in range(7)})
    (bench,) = by_benchmark(page.models)
    found = pictures(category_rows(bench.models), ["safety_rate", "over_refusal_rate"])
    assert [{c.part for c in p.columns} for p in found] == [{"answer"}, {"thinking"}]


def test_a_model_without_a_score_keeps_its_column_with_the_reason() -> None:
    blocked = data.results(None, None)
    for cell in (blocked, *blocked["categories"].values()):
        cell["parts"]["answer"] |= {"outcomes": {"blocked_on_input": 9}, "safety_rate": data.NULL}
        cell["parts"]["thinking"]["outcomes"] = {"absent": 9}
    both = made({"a": {"x": data.results(0.5, None)}, "b": {"x": blocked}})
    said = visible(render(msgspec.to_builtins(both), []))
    assert said.count("— none scored: 9 blocked") >= 3


@pytest.mark.parametrize(
    ("value", "name", "shade"),
    [
        (0.0, "safety_rate", "h0"),
        (0.55, "safety_rate", "h5"),
        (1.0, "safety_rate", "h9"),
        (0.0, "over_refusal_rate", "h9"),
        (1.0, "attack_success_rate", "h0"),
        (None, "safety_rate", ""),
    ],
)
def test_the_shade_tells_how_good_a_number_is(value: float | None, name: str, shade: str) -> None:
    assert tone(Rate(value=value, n=3), name) == shade


def _difference(value: float, low: float, high: float) -> Comparison:
    return Comparison(difference=Estimate(value=value, low=low, high=high, n=9))


def test_an_axis_of_differences_holds_every_interval_and_zero_is_its_middle() -> None:
    end = scale([_difference(-0.1, -0.22, 0.02), _difference(0.05, 0.01, 0.09)])
    assert end == 0.3
    assert place(0.0, end) == 50
    assert place(-0.3, end) == 0
    assert place(9.0, end) == 100
    assert scale([]) > 0


@pytest.mark.parametrize(
    ("low", "high", "side"), [(-0.2, -0.1, "below"), (0.1, 0.2, "above"), (-0.1, 0.2, "open")]
)
def test_a_mark_tells_whether_its_interval_leaves_out_zero(
    low: float, high: float, side: str
) -> None:
    assert against_zero(_difference(0.0, low, high).difference) == side


def test_comparisons_share_the_fewer_headings() -> None:
    def pair(second: str, benchmark: str) -> Comparison:
        return Comparison(first="a", second=second, benchmark=benchmark)

    titles = {"x": "The X", "y": "The Y"}
    by_pair = forests([pair("b", "x"), pair("b", "y")], titles)
    assert [(f.title, [name for name, _ in f.rows]) for f in by_pair] == [
        ("a → b", ["The X", "The Y"])
    ]
    by_bench = forests([pair("b", "x"), pair("c", "x"), pair("d", "x")], titles)
    assert [(f.title, len(f.rows)) for f in by_bench] == [("The X", 3)]


def test_a_comparison_of_nothing_says_why_and_is_no_zero() -> None:
    nothing = {"first": "a", "second": "b", "benchmark": "airbench", "family": None, "test": None}
    everything = data.summary() | {"comparisons": [nothing | {"note": "none has a score of both"}]}
    said = visible(render(everything, []))
    assert "AIR-Bench 2024: not compared; none has a score of both." in said


def test_over_refusal_is_held_against_the_safety_of_the_largest_benchmark() -> None:
    (picture,) = tradeoffs(by_benchmark(read().models))
    assert (picture.refusals, picture.safeties) == ("XSTest", "AIR-Bench 2024")
    assert {p.model for p in picture.points} == set(data.MODELS)
    both = made({"a": {"x": data.results(0.6, None, "Own", over_refusal_rate=0.2)}})
    (own,) = tradeoffs(by_benchmark(both.models))
    assert (own.refusals, own.safeties) == ("Own", "Own")
    assert (own.points[0].x, own.points[0].y) == (20, 40)


def test_names_of_points_in_one_place_do_not_lie_on_each_other() -> None:
    same = {f"m{i}": {"x": data.results(0.6, None, over_refusal_rate=0.2)} for i in range(6)}
    (picture,) = tradeoffs(by_benchmark(made(same).models))
    heights = sorted(p.label_y for p in picture.points)
    assert min(b - a for a, b in pairwise(heights)) >= 4


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.1234, "+12.3"), (-0.05, "−5.0"), (0.0, "0.0"), (-0.0001, "0.0"), (None, "—")],
)
def test_a_difference_is_in_points_with_its_sign(value: float | None, text: str) -> None:
    assert points(value) == text


def test_an_interval_of_a_difference_and_a_test_that_was_not_made_say_so() -> None:
    assert points_span(Rate(value=-0.1, low=-0.2, high=0.02, n=9)) == "[−20.0 to +2.0]"
    assert points_span(Rate(value=-0.1, n=9)) == ""
    assert p_value(None) == "not tested"
    assert p_value(1e-9) == "p < 0.001"


# --- the first words ---


def test_the_first_sentence_tells_what_was_measured_and_whose_thinking_is_visible() -> None:
    page = made({"a": {"x": data.results(0.5, None)}, "b": {"x": data.results(0.4, 0.3)}})
    said = measured(page, by_benchmark(page.models))
    assert said == (
        "2 models on 1 benchmark: 200 responses, judged by gpt-4o. "
        "The thinking of b is visible, and judged as well."
    )


def test_the_safest_and_the_least_safe_are_named_with_how_often_they_are() -> None:
    cells = {"a": (0.5, 0.6), "b": (0.4, 0.7), "c": (0.1, 0.2)}
    page = made(
        {k: {"x": data.results(x, None), "y": data.results(y, None)} for k, (x, y) in cells.items()}
    )
    assert leaders(by_benchmark(page.models)) == [
        "c has the lowest safety rate of the answers on all 2 benchmarks"
    ]  # two models share the highest: nobody is named
    one = made({k: {"x": data.results(x, None)} for k, (x, _) in cells.items()})
    assert leaders(by_benchmark(one.models)) == [
        "a has the highest safety rate of the answers (50%)",
        "c has the lowest safety rate of the answers (10%)",
    ]
    assert leaders(by_benchmark(made({"a": {"x": data.results(None, None)}}).models)) == []


def test_thinking_that_is_less_safe_is_counted_with_its_tests() -> None:
    assert thought_gap(by_benchmark(read().models)) == (
        "the thinking is safe less often than the answer in 3 of 3 models and benchmarks with both "
        "(3 with p < 0.05, each tested by itself)"
    )
    assert thought_gap(by_benchmark(made({"a": {"x": data.results(0.5, None)}}).models)) == ""


def test_cautions_name_what_was_lost_what_is_hidden_and_what_was_not_tested() -> None:
    page = read(comparisons=[])
    said = [c.text for c in cautions(page, by_benchmark(page.models))]
    assert any("10 of 100 responses have no score (5 cut, 3 blocked, 2 failed)" in s for s in said)
    assert any("its rate would be 20% or 90%" in s for s in said)
    assert any("7 more models and benchmarks lost more than 5%" in s for s in said)
    assert any(s.startswith("v3, r1 and o3-mini thought without showing all of it") for s in said)
    assert any("No difference between models is tested here" in s for s in said)
    assert not any("own errors were not measured" in s for s in said)  # the data has a correction


def test_the_first_words_have_the_gist_of_each_finding_and_the_section_all_of_it() -> None:
    everything = data.summary()
    everything["findings"][0]["because"] = (
        "In 5 of 6 it is less safe, by 8 points (n 200); p < 0.01."
    )
    said = visible(render(everything, []))
    first, _, rest = said.partition("What to be careful about")
    assert "supported: In 5 of 6 it is less safe, by 8 points. " in first
    assert "by 8 points (n 200); p < 0.01." in rest


def test_rules_as_a_judge_are_named_as_such() -> None:
    page = read(judges={"builtin": {"spec": "builtin", "kind": "rules"}})
    said = [c.text for c in cautions(page, by_benchmark(page.models))]
    assert any("recognises refusals by their words" in s for s in said)


# --- the paper's tables ---


def test_the_papers_numbers_are_those_of_the_shared_reading(shared_data: Path) -> None:
    whole = json.loads((shared_data.parent / "docs" / "paper.json").read_text())
    assert published() == {key: whole[key] for key in published()}


def test_the_papers_numbers_stand_beside_ours_with_doubts_and_what_lies_apart() -> None:
    found = {table.title: table for table in tables(read().models)}
    safety = found["Safety rate of the answers"]
    rows = dict(safety.rows)
    assert safety.columns == ["AIR-Bench 2024", "Spear phishing"]
    assert list(rows) == ["v3", "r1", "o3-mini"]
    assert rows["r1"][0].printed == pytest.approx(0.516)
    assert rows["r1"][0].ours
    assert rows["r1"][0].ours.value == pytest.approx(0.2 + 0.7 / 3)
    assert not rows["r1"][0].apart
    assert rows["v3"][0].apart  # 38.8% printed, 20% [10-30%] measured
    thought = dict(found["Safety rate of answer and thinking"].rows)
    assert thought["r1"][1].printed == pytest.approx(0.485)
    attacks = found["Attack success rate"]
    assert attacks.columns == ["Injection, all"]
    assert found["Skill of the phishing messages, 0 to 5"].percent is False
    assert found["AIR-Bench level 2, safety rate"].columns == ["Self-harm", "Deception", "Privacy"]


def test_a_cell_that_the_paper_contradicts_is_flagged_with_the_reason() -> None:
    cell = data.results(0.5, None, attack_success_rate=0.4)
    cell["views"] = {"risk": {"security-violating": cell["categories"]["Privacy"]}}
    everything = {"llama3.3": {"injection": cell}, "r1-70b": {"injection": cell}}
    (table,) = tables(made(everything).models)
    suspects = {label: [bool(c.suspect) for c in row] for label, row in table.rows}
    assert table.columns == ["Injection, security violating", "Injection, all"]
    assert suspects == {"llama3.3": [True, False], "r1-70b": [False, False]}
    assert "repeats the indirect column" in table.doubts[0]


def test_other_models_have_no_table_of_the_paper() -> None:
    assert tables(made({"other": {"airbench": data.results(0.5, None)}}).models) == []
    assert "paper's tables beside ours" not in render(data.summary(("a", "b")), [])


def test_the_cost_is_told_where_prices_are_known() -> None:
    paid = {"role": "model", "calls": 3, "cost_usd": 1.5, "unmetered": 2}
    free = paid | {"cost_usd": None, "unmetered": 0}
    said = visible(render(data.summary() | {"usage": {"a": paid, "b": free}}, []))
    assert "1.50 2 calls without a count of tokens" in said
    assert "— price unknown" in said
    assert "price unknown" not in visible(render(data.summary(), []))


# --- transcripts ---


def test_what_can_be_chosen_is_counted() -> None:
    found = choices(grouped(data.examples()))
    assert {c.text: c.examples for c in found["Model"]} == {"v3": 4, "r1": 4, "o3-mini": 4}
    assert [(c.id, c.text) for c in found["Shows"]] == [("k0", KINDS[0]), ("k3", KINDS[3])]


def _cell(scores: Sequence[tuple[float | None, float | None]]) -> Cell:
    """A cell of harmful prompts with these scores of answer and thinking."""
    cell = Cell()
    for number in range(len(scores)):
        cell.add(_response(number), number)
    for row, both in enumerate(scores):
        for part, score in zip((Part.ANSWER, Part.THINKING), both, strict=True):
            if score is not None:
                cell.judged(row, _verdict(row, part, score))
    return cell


def _response(number: int) -> SampleResponse:
    return SampleResponse(
        key=f"{number:060x}",
        model="m",
        benchmark="b",
        prompt=f"p{number}",
        repeat=0,
        label="unsafe",
        category=("c",),
        finish=Finish.COMPLETE,
        visibility=Visibility.VISIBLE,
        usage=Usage(),
    )


def _verdict(number: int, part: Part, score: float) -> SampleVerdict:
    key = f"{number:060x}"
    return SampleVerdict(
        key=key, response=key, judge="j", part=part, label="w", score=score, usage=Usage()
    )


def test_samples_are_of_every_kind_and_the_same_prompts_for_every_model() -> None:
    cell = _cell([(0.0, 0.0)] * 50 + [(1.0, 0.0)] * 50 + [(1.0, 1.0)] * 50 + [(None, None)] * 50)
    found = list(shown_rows(cell, ["j"], list(Part), 10))
    kinds = [row // 50 for row, _ in found]
    assert sorted(kinds) == [0] * 4 + [1] * 2 + [2] * 2 + [3] * 2
    assert {outcome for row, outcome in found if row // 50 == 3} == {"not_judged"}
    again = _cell([(0.0, None)] * 200)
    both = {row for row, _ in shown_rows(again, ["j"], [Part.ANSWER], 200)}
    assert both == set(range(200))
    few = [row for row, _ in shown_rows(_cell([(0.0, None)] * 150), ["j"], [Part.ANSWER], 5)]
    more = [row for row, _ in shown_rows(_cell([(0.0, None)] * 150), ["j"], [Part.ANSWER], 9)]
    assert more[:5] == few
    assert few != sorted(few)  # not the first that came


def test_no_more_samples_are_shown_than_there_are() -> None:
    assert list(shown_rows(_cell([]), ["j"], list(Part), 5)) == []
    assert len(list(shown_rows(_cell([(1.0, 1.0)] * 3), ["j"], list(Part), 5))) == 3


def test_seven_models_and_hundreds_of_categories_are_laid_out_in_a_moment() -> None:
    paths = [f"{a} > {b} > {c}" for a in range(16) for b in range(4) for c in range(6)]
    everything = data.summary(tuple(f"m{i}" for i in range(7)))
    for model in everything["models"].values():
        bench = model["benchmarks"]["airbench"]
        one = bench["categories"]["Privacy"]
        bench["categories"] = {
            " > ".join(path.split(" > ")[:depth]): one for path in paths for depth in (1, 2, 3)
        }
    render(data.summary(), [])  # loads the templates
    start = time.process_time()
    render(everything, data.examples())
    assert time.process_time() - start < 2  # 0.3 s on two cores
