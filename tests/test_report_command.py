"""`hiddenrisk report`: a stored run counted again, by files that are real."""

import csv
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hiddenrisk.store import Journal
from hiddenrisk.tabular import table, write_csv
from tests.conftest import CommandLine
from tests.servers import Ask, ChatServer, Reply, verdict

SHOWN = ("summary.json", "report.html", "flips.jsonl")


def number(ask: Ask) -> int:
    return int(ask.text.partition("Question ")[2].partition("?")[0])


def answering(thinks: bool) -> Callable[[Ask], Reply]:
    def responder(ask: Ask) -> Reply:
        text = "" if number(ask) == 7 else f"Answer {number(ask)}."
        return Reply(text=text, reasoning=f"Thought {number(ask)}." if thinks else None)

    return responder


def judging(ask: Ask) -> Reply:
    if number(ask) % 5 == 4:
        return Reply(text=("1_full_compliance", "2_full_refusal")[number(ask) % 2])
    return Reply(text="Hm.") if number(ask) == 11 else verdict(number(ask) % 2)


@pytest.fixture
def run(hiddenrisk: CommandLine, tmp_path: Path) -> Path:
    """Two models on twenty prompts; one answer is empty, and a judgement of each fails."""
    rows = [
        {"id": f"p{i}", "prompt": f"Question {i}?", "category": ["C", f"c{i % 3}"]}
        | ({"label": "safe"} if i % 5 == 4 else {})
        for i in range(20)
    ]
    prompts, out = tmp_path / "own.jsonl", tmp_path / "run"
    prompts.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with ChatServer({"a": answering(False), "b": answering(True), "j": judging}) as server:
        done = hiddenrisk(
            *("assess", "--benchmark", prompts, "--judge", server.spec("j"), "--out", out),
            *("--model", server.spec("a"), "--model", server.spec("b")),
            *("--max-failures", "1", "--yes"),
        )
        assert done.code == 0, done
    return out


def content(folder: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in folder.iterdir() if p.is_file()}


def summary(folder: Path) -> dict[str, Any]:
    found = json.loads((folder / "summary.json").read_text())
    return {k: v for k, v in found.items() if k != "created"}


def test_a_run_is_counted_again_and_comes_out_the_same(hiddenrisk: CommandLine, run: Path) -> None:
    before, told = content(run), summary(run)
    for name in SHOWN:
        (run / name).unlink()
    done = hiddenrisk("report", run)
    assert (done.code, done.err) == (0, "")
    assert "of 15" in done.out
    assert str(run / "report.html") in done.out.replace("\n", "")
    assert summary(run) == told
    after = content(run)
    assert {k: v for k, v in after.items() if k not in SHOWN[:2]} == {
        k: v for k, v in before.items() if k not in SHOWN[:2]
    }


def test_with_to_the_run_is_only_read(hiddenrisk: CommandLine, run: Path, tmp_path: Path) -> None:
    before = content(run)
    with Journal(run):  # as if it were still going on
        done = hiddenrisk("report", run, "--to", tmp_path / "a" / "b")
    assert done.code == 0, done
    assert content(run) == before
    assert sorted(content(tmp_path / "a" / "b")) == sorted(SHOWN)
    assert summary(tmp_path / "a" / "b") == summary(run)


def test_a_run_that_is_being_written_is_left_alone(hiddenrisk: CommandLine, run: Path) -> None:
    before = content(run)
    with Journal(run):
        done = hiddenrisk("report", run)
    assert done.code == 2
    assert "is being written by another hiddenrisk process" in done.err
    assert content(run) == before


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["nowhere"], "nowhere is no run directory: it does not exist"),
        (["run", "--to", "run/run.json"], "cannot write to run/run.json: File exists"),
        (["run", "--format", "html,pdf"], "unknown format 'pdf'"),
        (["run", "--to", "other"], "other is a run of its own; name another folder with --to"),
    ],
)
def test_wrong_use_is_one_sentence(
    args: list[str], said: str, hiddenrisk: CommandLine, run: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "responses.jsonl").write_text("{}\n")
    done = hiddenrisk("report", *args)
    assert (done.code, len(done.lines)) == (2, 1), done
    assert said in done.err


# ---------------------------------------------------------------- other forms


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_the_tables_hold_the_numbers_of_the_summary(hiddenrisk: CommandLine, run: Path) -> None:
    done = hiddenrisk("report", run, "--format", "csv")
    assert done.code == 0, done
    told = summary(run)["models"]
    for row in rows_of(run / "tables" / "rates.csv"):
        of = told[row["model"]]["benchmarks"][row["benchmark"]]["parts"][row["part"]]
        rate = of[row["metric"]] if row["metric"] == "safety_rate" else of["scores"][row["metric"]]
        assert [row[k] for k in ("value", "low", "high", "n")] == [
            "" if rate[k] is None else str(rate[k]) for k in ("value", "low", "high", "n")
        ]
        assert row["protocol"] == "generic"
        assert row["judges"] == "j"
    counted: dict[tuple[str, ...], list[float]] = {}
    for row in rows_of(run / "tables" / "samples.csv"):
        key = (row["model"], row["part"], row["label"])
        counted.setdefault(key, []).extend([float(row["score"])] if row["score"] else [])
    for (model, part, label), scores in counted.items():
        of = told[model]["benchmarks"]["own"]["parts"][part]
        rate = of["safety_rate"] if label == "unsafe" else of["scores"].get("over_refusal_rate")
        assert len(scores) == (rate["n"] if rate else 0)
        assert not scores or sum(scores) / len(scores) == pytest.approx(rate["value"])
    assert len(rows_of(run / "tables" / "samples.csv")) == 80
    assert len(rows_of(run / "tables" / "responses.csv")) == 40
    kinds = {row["reason"] for row in rows_of(run / "tables" / "failures.csv")}
    assert kinds == {"judge_unparsable"}


def test_parquet_tables_are_the_csv_tables_with_types(hiddenrisk: CommandLine, run: Path) -> None:
    polars = pytest.importorskip("polars")
    done = hiddenrisk("report", run, "--format", "csv,parquet")
    assert done.code == 0, done
    names = {path.stem for path in (run / "tables").glob("*.csv")}
    assert names == {path.stem for path in (run / "tables").glob("*.parquet")}
    for name in names:
        frame = polars.read_parquet(run / "tables" / f"{name}.parquet")
        rows = rows_of(run / "tables" / f"{name}.csv")
        assert frame.height == len(rows)
        for row, wanted in zip(frame.iter_rows(named=True), rows, strict=True):
            for column, value in row.items():
                text = str(value).lower() if isinstance(value, bool) else str(value)
                assert wanted[column].removeprefix("'") == ("" if value is None else text)
    scores = polars.read_parquet(run / "tables" / "samples.parquet")["score"]
    assert scores.dtype == polars.Float64


def test_without_pyarrow_parquet_names_the_extra(
    hiddenrisk: CommandLine, run: Path, tmp_path: Path
) -> None:
    missing = tmp_path / "missing"
    missing.mkdir()
    (missing / "pyarrow.py").write_text("raise ImportError('not here')\n")
    paths = os.pathsep.join([str(missing), os.environ.get("PYTHONPATH", "")])
    done = hiddenrisk("report", run, "--format", "parquet", env={"PYTHONPATH": paths})
    assert done.code == 2
    assert 'pip install "hiddenrisk[export]"' in done.err


def test_markdown_says_the_rates_and_no_transcript(hiddenrisk: CommandLine, run: Path) -> None:
    done = hiddenrisk("report", run, "--format", "md")
    assert done.code == 0, done
    told = (run / "report.md").read_text().replace("\\", "")  # signs are escaped
    rate = summary(run)["models"]["b"]["benchmarks"]["own"]["parts"]["thinking"]["safety_rate"]
    assert f"{100 * rate['value']:.1f}%" in told
    assert f"of {rate['n']}" in told
    assert "1 failed" in told
    assert "Over-refusal" in told
    assert "Answer 3." not in told
    assert "Question 3?" not in told


@pytest.mark.parametrize("start", [*"=+-@\t\r", "  =", "\uff1d"])
def test_no_cell_of_a_table_is_a_formula(start: str, tmp_path: Path) -> None:
    rows_given = [(f"{start}1+1", -1.5), (None, None)]
    write_csv(table("t", {"a": str, "b": float}, rows_given), tmp_path / "t.csv")
    rows = rows_of(tmp_path / "t.csv")
    assert rows == [{"a": f"'{start}1+1", "b": "-1.5"}, {"a": "", "b": ""}]


# ---------------------------------------------------------------- for sharing


def plant(run: Path) -> list[str]:
    """Put a word of its own into everything of a run that somebody wrote; gives the words."""
    words: list[str] = []

    def word(where: str) -> str:
        words.append(f"planted{len(words)}x{where}")
        return words[-1]

    for name in ("responses", "verdicts", "failures"):
        path = run / f"{name}.jsonl"
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        for line in lines:
            for field in ("thinking", "answer", "reason", "raw", "message"):
                if isinstance(line.get(field), str) and (name, field) != ("failures", "reason"):
                    line[field] = word(field) + " " + line[field]
            for field in ("provider", "served_model", "fingerprint"):
                if field in line:
                    line[field] = word(field)
            for message in line.get("messages", ()):
                message["content"] += word("prompt")
        path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    manifest = json.loads((run / "run.json").read_text())
    home = f"/home/{word('user')}/secret"
    manifest["plan"]["models"] = [
        f"{spec.partition('=')[0]}=http://{word('host')}:8000/v1#{word('id')}"
        for spec in manifest["plan"]["models"]
    ]
    manifest["command"] = f"hiddenrisk assess --out {home} --judge {word('command')}"
    manifest["settings"]["data_dir"] = home
    manifest["environment"]["platform"] = word("platform")
    for identity in manifest["identity"]["models"].values():
        identity["endpoint"] = f"http://{word('endpoint')}/v1"
    (run / "run.json").write_text(json.dumps(manifest))
    return words


def test_a_redacted_report_holds_nothing_of_what_was_said_or_where(
    hiddenrisk: CommandLine, run: Path, tmp_path: Path
) -> None:
    told = summary(run)
    words = [*plant(run), str(tmp_path), "127.0.0.1", "localhost", "Question 3", "Answer 3."]
    done = hiddenrisk(
        *("report", run, "--to", tmp_path / "shared", "--redact"),
        *("--format", "html,md,csv,parquet"),
    )
    assert done.code == 0, done
    files = [path for path in (tmp_path / "shared").rglob("*") if path.is_file()]
    assert {path.name for path in files} >= {"summary.json", "run.json", "report.html", "report.md"}
    assert not {path.name for path in files} & {"responses.jsonl", "verdicts.jsonl", "flips.jsonl"}
    for path in files:
        content = path.read_bytes()
        if path.suffix == ".parquet":
            content = pytest.importorskip("polars").read_parquet(path).write_csv().encode()
        for word in words:
            assert word.encode() not in content, f"{word} is in {path}"
    shared = summary(tmp_path / "shared")
    assert shared["redacted"] is True
    for model in "ab":
        assert shared["models"][model]["benchmarks"] == told["models"][model]["benchmarks"]
    assert shared["comparisons"] == told["comparisons"]
    manifest = json.loads((tmp_path / "shared" / "run.json").read_text())
    assert manifest["identity"]["benchmarks"]["own"]["prompts"] == 20
    for verb in ("verify", "report", "findings"):
        refused = hiddenrisk(verb, tmp_path / "shared")
        assert refused.code == 2
        assert "it is a redacted copy, and its records stayed where it was made" in refused.err


def test_the_whole_report_does_hold_what_was_planted(
    hiddenrisk: CommandLine, run: Path, tmp_path: Path
) -> None:
    words = plant(run)
    assert hiddenrisk("report", run, "--to", tmp_path / "whole").code == 0
    whole = b"".join(content(tmp_path / "whole").values())
    assert sum(word.encode() in whole for word in words) > 50


def test_the_run_itself_is_never_redacted(hiddenrisk: CommandLine, run: Path) -> None:
    before = content(run)
    done = hiddenrisk("report", run, "--redact")
    assert done.code == 2
    assert "name a folder for the copy with --to" in done.err
    assert content(run) == before
