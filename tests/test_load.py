"""`hiddenrisk.load`: a stored run in frames, as a notebook reads it."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import polars as pl
import pytest

import hiddenrisk
from hiddenrisk.errors import StoreError, UsageError
from tests.conftest import ROOT, CommandLine
from tests.servers import Ask, ChatServer, Reply, verdict


def number(ask: Ask) -> int:
    return int(ask.text.partition("Question ")[2].partition("?")[0])


def first(ask: Ask) -> Reply:
    return Reply(text="" if number(ask) == 7 else f"Answer {number(ask)}.")


def second(ask: Ask) -> Reply:
    return Reply(text=f"Answer {number(ask)}.", reasoning=f"Thought {number(ask)}.")


def judging(ask: Ask) -> Reply:
    if number(ask) % 5 == 4:
        return Reply(text=("1_full_compliance", "2_full_refusal")[number(ask) % 2])
    return Reply(text="Hm.") if number(ask) == 11 else verdict(number(ask) % 2)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with runs/r1: two models, one of which shows its thinking, asked twice."""
    folder = tmp_path_factory.mktemp("load")
    rows = [
        {"id": f"p{i}", "prompt": f"Question {i}?", "category": ["C", f"c{i % 3}", "x"][: i % 4]}
        | ({"label": "safe"} if i % 5 == 4 else {})
        for i in range(20)
    ]
    (folder / "own.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    with ChatServer({"a": first, "b": second, "j": judging}) as server:
        done = CommandLine(folder)(
            *("assess", "--benchmark", "own.jsonl", "--judge", server.spec("j")),
            *("--model", server.spec("a"), "--model", server.spec("b"), "--repeat", "2"),
            *("--out", "runs/r1", "--max-failures", "1", "--yes"),
        )
        assert done.code == 0, done
    return folder


@pytest.fixture
def run(folder: Path) -> "hiddenrisk.StoredRun":
    return hiddenrisk.load(folder / "runs" / "r1")


def test_the_mean_score_of_the_outcomes_is_the_rate_of_the_report(
    run: "hiddenrisk.StoredRun",
) -> None:
    assert run.outcomes.height == 2 * 2 * 20 * 2
    found = run.outcomes.group_by("model", "part", "label").agg(
        pl.col("score").mean().alias("mean"), pl.col("score").count().alias("n")
    )
    for model, part, label, mean, n in found.iter_rows():
        of = run.summary["models"][model]["benchmarks"]["own"]["parts"][part]
        rate = of["safety_rate"] if label == "unsafe" else of["scores"].get("over_refusal_rate")
        assert n == (rate["n"] if rate else 0)
        assert mean == (pytest.approx(rate["value"]) if n else None)


def test_what_failed_or_cannot_be_seen_has_no_score(run: "hiddenrisk.StoredRun") -> None:
    scored = run.outcomes.filter(pl.col("score").is_not_null())
    assert set(scored["outcome"]) == {"complete"}
    others = run.outcomes.filter(pl.col("score").is_null())
    assert set(others["outcome"]) == {"empty", "absent", "judge_unparsable"}
    assert run.failures["reason"].unique().to_list() == ["judge_unparsable"]


def test_categories_have_a_column_a_step(run: "hiddenrisk.StoredRun") -> None:
    for frame in (run.outcomes, run.responses):
        steps = frame.select("prompt", "category", "level_1", "level_2", "level_3").unique()
        for prompt, category, *levels in steps.iter_rows():
            i = int(prompt[1:])
            wanted = ["C", f"c{i % 3}", "x"][: i % 4]
            assert category == " > ".join(wanted)
            assert levels == [*wanted, *[None] * (3 - len(wanted))]


def test_frames_are_the_records(run: "hiddenrisk.StoredRun") -> None:
    lines = {
        name: [json.loads(line) for line in (run.folder / f"{name}.jsonl").read_text().splitlines()]
        for name in ("responses", "verdicts", "failures")
    }
    assert run.responses["response"].to_list() == [r["key"] for r in lines["responses"]]
    assert run.verdicts["score"].to_list() == [r["score"] for r in lines["verdicts"]]
    assert run.failures["failure"].to_list() == [r["key"] for r in lines["failures"]]
    assert run.rewards.is_empty()
    assert run.rewards.schema["score"] == pl.Float64
    assert not {"thinking", "answer", "raw", "reason"} & set(run.responses.columns)


def test_texts_are_those_of_the_rows(run: "hiddenrisk.StoredRun") -> None:
    some = run.outcomes.filter((pl.col("part") == "thinking") & (pl.col("model") == "b"))
    texts = run.with_texts(some.sample(9, seed=1))
    for row in texts.iter_rows(named=True):
        i = row["prompt"][1:]
        assert (row["prompt_text"], row["thinking"]) == (f"Question {i}?", f"Thought {i}.")
        assert row["answer"] == f"Answer {i}."
    assert run.with_texts(some.clear()).columns[-3:] == ["prompt_text", "thinking", "answer"]
    with pytest.raises(UsageError, match="no column 'response'"):
        run.with_texts(run.rates)


def test_charts_are_drawn_from_rates_with_their_intervals(run: "hiddenrisk.StoredRun") -> None:
    for chart in (
        run.charts.safety(),
        run.charts.thinking(),
        run.charts.over_refusal(),
        run.charts.categories("own"),
        run.charts.categories("own", part="thinking", level=1),
    ):
        told: dict[str, Any] = chart.to_dict()
        (rows,) = told["datasets"].values()
        assert rows
        assert all(row["n"] > 0 and row["low"] <= row["value"] <= row["high"] for row in rows)
    safety: dict[str, Any] = run.charts.safety().to_dict()
    (rows,) = safety["datasets"].values()
    assert {(row["model"], row["part"]) for row in rows} == {
        ("a", "answer"),
        ("b", "answer"),
        ("b", "thinking"),
    }


def test_charts_tell_n_whole_names_and_parts_without_colour(run: "hiddenrisk.StoredRun") -> None:
    safety = json.dumps(run.charts.safety().to_dict())
    assert "format(datum.n, ',')" in safety
    assert '"labelLimit": 600' in safety
    assert '"range": ["circle", "diamond"]' in safety
    told: dict[str, Any] = run.charts.categories("own", level=1).to_dict()
    (rows,) = told["datasets"].values()
    assert rows
    for row in rows:
        ns = {one["n"] for one in rows if one["group"] == row["group"]}
        span = f"{min(ns)}-{max(ns)}" if len(ns) > 1 else str(row["n"])
        assert row["row"] == f"{row['group']} (n {span})"


def test_a_chart_of_nothing_says_so(run: "hiddenrisk.StoredRun") -> None:
    with pytest.raises(UsageError, match="airbench has no safety rate of the answer by category"):
        run.charts.categories("airbench")


def test_a_folder_that_is_no_run_is_told_of(tmp_path: Path, run: "hiddenrisk.StoredRun") -> None:
    with pytest.raises(StoreError, match="is no run directory"):
        hiddenrisk.load(tmp_path / "nowhere")
    assert repr(run).endswith("a, b on own>")
    with pytest.raises(AttributeError, match="has no attribute 'laod'"):
        getattr(hiddenrisk, "la" + "od")


def test_the_package_is_light_until_it_is_used() -> None:
    told = (
        "import sys, hiddenrisk; print(sorted({'polars', 'numpy', 'msgspec'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", told], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "[]", done.stderr


@pytest.mark.parametrize("missing", ["polars", "altair"])
def test_without_the_extra_its_name_is_said(missing: str, folder: Path) -> None:
    code = (
        f"import sys; sys.modules[{missing!r}] = None\n"
        "import hiddenrisk\n"
        "try:\n    print(hiddenrisk.load('runs/r1').charts)\n"
        "except hiddenrisk.UsageError as error:\n    print(error)\n"
    )
    code = code.replace("hiddenrisk.UsageError", "Exception")
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, timeout=60
    )
    assert 'pip install "hiddenrisk[frames]"' in done.stdout, done


def test_the_examples_of_the_page_run_as_they_stand(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    page = (ROOT / "docs" / "notebook.md").read_text()
    examples = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    assert len(examples) >= 6
    names: dict[str, Any] = {}
    for example in examples:
        exec(compile(example, "docs/notebook.md", "exec"), names)  # noqa: S102 - our own page
    assert names["texts"].height == 5
    assert {"prompt_text", "thinking", "answer"} <= set(names["texts"].columns)
