"""What each sample counts, in columns: the very numbers of the headline, paired by prompt."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace

from hiddenrisk.cell import OUTCOMES, SCORED_OUTCOMES
from hiddenrisk.plan import Settings
from hiddenrisk.records import read_records
from hiddenrisk.reopening import open_headline
from hiddenrisk.scores import Column, columns, pairs
from hiddenrisk.types import Part
from tests.conftest import CommandLine
from tests.servers import Ask, ChatServer, Reply, always, verdict


def prompts(tmp_path: Path) -> Path:
    rows = [
        {"id": f"p{i}", "prompt": f"Question {i}?", "category": ["C", f"c{i % 3}"]}
        | ({"label": "safe"} if i % 5 == 4 else {})
        for i in range(20)
    ]
    path = tmp_path / "own.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def number(ask: Ask) -> int:
    return int(ask.text.partition("Question ")[2].partition("?")[0])


def first(ask: Ask) -> Reply:
    return Reply(text=f"Answer {number(ask)}.") if number(ask) % 4 else Reply(text="")


def judging(ask: Ask) -> Reply:
    if number(ask) % 5 == 4:
        return Reply(text=("1_full_compliance", "2_full_refusal")[number(ask) % 2])
    return verdict(number(ask) % 2)


@pytest.fixture
def run(hiddenrisk: CommandLine, tmp_path: Path) -> Path:
    out = tmp_path / "out"
    models = {"a": first, "b": always(Reply(text="Well.", reasoning="Hm."))}
    with ChatServer({**models, "j": judging}) as server:
        done = hiddenrisk(
            *("assess", "--benchmark", prompts(tmp_path), "--judge", server.spec("j")),
            *("--model", server.spec("a"), "--model", server.spec("b")),
            *("--repeat", "2", "--out", out, "--yes"),
        )
        assert done.code == 0, done
    return out


def columns_of(run: Path) -> dict[tuple[str, Part, str], Column]:
    opened = open_headline(run, Settings())
    found = columns(opened, read_records(run, [j.label for j in opened.fallbacks]))
    return {(c.model, c.part, c.label): c for c in found}


def test_the_mean_of_a_column_is_the_rate_of_the_headline(run: Path) -> None:
    summary = json.loads((run / "summary.json").read_text())
    for (model, part, label), column in columns_of(run).items():
        of: dict[str, Any] = summary["models"][model]["benchmarks"]["own"]["parts"][part.value]
        refusal = of["scores"].get("over_refusal_rate", {"n": 0, "value": None})
        rate = of["safety_rate"] if label == "unsafe" else refusal
        scores = column.scores[column.scored]
        assert scores.size == rate["n"], (model, part, label)
        if rate["n"]:
            assert scores.mean() == pytest.approx(rate["value"])
        else:
            assert rate["value"] is None
    assert len(columns_of(run)) == 8


def test_a_sample_without_a_score_is_nan_and_has_its_outcome(run: Path) -> None:
    column = columns_of(run)["a", Part.ANSWER, "unsafe"]
    for place in range(len(column)):
        scored = column.outcome(place) in SCORED_OUTCOMES
        assert scored != np.isnan(column.scores[place])
    assert {column.outcome(p) for p in np.flatnonzero(~column.scored).tolist()} == {"empty"}
    assert OUTCOMES[column.outcomes[0]] == column.outcome(0)


def test_columns_are_paired_by_prompt_and_repeat(run: Path) -> None:
    found = columns_of(run)
    a, b = (found[model, Part.ANSWER, "unsafe"] for model in "ab")
    both = pairs(a, b)
    assert len(both.first) == len(a) == len(b) == 32
    assert (a.prompts[both.first] == b.prompts[both.second]).all()
    assert (a.repeats[both.first] == b.repeats[both.second]).all()
    assert set(a.repeats.tolist()) == {0, 1}
    assert (both.scored == ~np.isnan(a.scores[both.first])).all()
    assert (a.scores[both.first][both.scored] == b.scores[both.second][both.scored]).all()


@pytest.mark.parametrize("times", [1, 3])
def test_pairs_are_those_of_a_look_up_sample_by_sample(run: Path, times: int) -> None:
    dice = np.random.default_rng(times)
    some = columns_of(run)["a", Part.ANSWER, "unsafe"]

    def drawn() -> Column:
        ids = dice.permutation(300)[:200]
        prompts = (ids // times).astype(np.uint64) * np.uint64(2**50) + np.uint64(3)
        scores = np.where(dice.random(200) < 0.8, 1.0, np.nan)
        repeats = (ids % times).astype(np.uint32)
        return replace(some, prompts=prompts, repeats=repeats, scores=scores)

    a, b = drawn(), drawn()
    there = {s: i for i, s in enumerate(zip(b.prompts.tolist(), b.repeats.tolist(), strict=True))}
    mine = list(zip(a.prompts.tolist(), a.repeats.tolist(), strict=True))
    found = pairs(a, b)
    wanted = [(i, there[sample]) for i, sample in enumerate(mine) if sample in there]
    assert list(zip(found.first.tolist(), found.second.tolist(), strict=True)) == wanted
    assert (found.scored == (a.scored[found.first] & b.scored[found.second])).all()


def test_columns_that_share_no_prompt_have_no_pairs(run: Path) -> None:
    found = columns_of(run)
    apart = pairs(found["a", Part.ANSWER, "unsafe"], found["b", Part.ANSWER, "safe"])
    assert apart.first.size == apart.second.size == apart.scored.size == 0
