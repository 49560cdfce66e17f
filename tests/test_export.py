"""`hiddenrisk export`, and `hiddenrisk.load` of what it wrote."""

import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from bench.report import make_run
from hiddenrisk import __version__, load
from hiddenrisk.errors import StoreError, UsageError
from hiddenrisk.exported import BEGUN, ENDED
from hiddenrisk.exporting import NUMBERS, RECORDS, Wanted, export
from hiddenrisk.parquet import arrow
from hiddenrisk.partitions import escaped, write_table
from hiddenrisk.plan import Settings
from hiddenrisk.storage import Storage
from hiddenrisk.store import Journal
from hiddenrisk.tabular import table
from tests.conftest import ROOT, CommandLine
from tests.servers import Ask, ChatServer, Reply, verdict
from tests.test_report_command import plant

FRAMES = (
    "outcomes", "responses", "verdicts", "failures", "rewards",
    "rates", "categories", "comparisons", "findings",
)  # fmt: skip
HOSTILE = (
    "a/b=c", "..", "ünïcode 模型", "%2F", "x'\"`$(id)", "2024", "true", "a.", "con:1", "e\u0301",
    "\u00e9", "\u202eevil", "back\\slash", "m?x#y", "t\tab", "__HIVE_DEFAULT_PARTITION__", "GPT",
    "gpt", "nul\u0000l", "+plus+", "null", "{a}[b]*", "模" * 100,
)  # fmt: skip


def number(ask: Ask) -> int:
    return int(ask.text.partition("Question ")[2].partition("?")[0])


def thinking(ask: Ask) -> Reply:
    return Reply(text=f"Answer {number(ask)}.", reasoning=f"Thought {number(ask)}.")


def silent(ask: Ask) -> Reply:
    return Reply(text="" if number(ask) == 7 else f"Answer {number(ask)}.")


def judging(ask: Ask) -> Reply:
    return Reply(text="Hm.") if number(ask) == 11 else verdict(number(ask) % 2)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two models on twenty prompts, with an empty answer and failed judgements."""
    folder = tmp_path_factory.mktemp("export")
    rows = [
        {"id": f"p{i}", "prompt": f"Question {i}?", "category": ["C", f"c{i % 3}"]}
        for i in range(20)
    ]
    (folder / "own.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    with ChatServer({"a": silent, "b": thinking, "j": judging}) as server:
        done = CommandLine(folder)(
            *("assess", "--benchmark", "own.jsonl", "--judge", server.spec("j")),
            *("--model", server.spec("a"), "--model", server.spec("b")),
            *("--out", "run", "--max-failures", "1", "--yes"),
        )
        assert done.code == 0, done
    return folder / "run"


@pytest.fixture
def run(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "run"))


def written(run: Path, dest: str | Path, wanted: Wanted = Wanted()) -> dict[str, Any]:  # noqa: B008
    """Export without a process of its own; gives export.json."""
    export(run, str(dest), Settings(), wanted, lambda name, rows: None)
    return json.loads(Storage(str(dest)).read(ENDED))


def check_same(run: Path, dest: str | Path) -> None:
    one, other = load(run), load(dest)
    for name in FRAMES:
        assert_frame_equal(getattr(one, name), getattr(other, name))
    assert one.summary == other.summary
    assert (one.models, one.benchmarks) == (other.models, other.benchmarks)
    assert_frame_equal(one.with_texts(one.outcomes), other.with_texts(other.outcomes))


def parts(dest: Path, name: str) -> list[Path]:
    return sorted((dest / name).rglob("*.parquet"))


def files_of(dest: Path) -> dict[str, bytes]:
    return {
        path.relative_to(dest).as_posix(): path.read_bytes()
        for path in dest.rglob("*")
        if path.is_file()
    }


# ---------------------------------------------------------------- there and back


def test_an_export_is_read_back_with_the_frames_of_the_run(
    hiddenrisk: CommandLine, run: Path, tmp_path: Path
) -> None:
    before = files_of(run)
    with Journal(run, {}):  # as if it were still going on
        done = hiddenrisk("export", run, tmp_path / "x")
    assert (done.code, done.err) == (0, ""), done
    assert re.search(r"^responses +40 +2 ", done.out, re.MULTILINE), done
    assert files_of(run) == before
    check_same(run, tmp_path / "x")
    assert (
        parts(tmp_path / "x", "responses")[0]
        .as_posix()
        .endswith("x/responses/model=a/benchmark=own/part-0000.parquet")
    )


def test_any_file_system_will_do(run: Path, tmp_path: Path) -> None:
    for dest in ("memory://bucket/some where/r1", f"file://{tmp_path}/y", tmp_path / "z z" / "é"):
        written(run, dest)
        check_same(run, dest)
    assert repr(load("memory://bucket/some where/r1")).endswith("r1: a, b on own>")


def test_every_file_is_listed_with_its_digest(run: Path, tmp_path: Path) -> None:
    told = written(run, tmp_path / "x")
    found = {k: v for k, v in files_of(tmp_path / "x").items() if k != ENDED}
    assert {f["path"] for f in told["files"]} == set(found)
    for file in told["files"]:
        content = found[file["path"]]
        assert file["sha256"] == hashlib.sha256(content).hexdigest()
        assert file["bytes"] == len(content)
    for name in ("run.json", "summary.json", "digests.json", "benchmarks/own.jsonl"):
        assert found[name] == (run / name).read_bytes()
    assert set(told["tables"]) == {*RECORDS, *NUMBERS}
    assert (told["schema"], told["hiddenrisk"]) == (1, __version__)


MORE = {
    "turns": {
        "key": "t1", "asked": "victim", "label": "v", "role": "victim", "model": "b",
        "benchmark": "own", "prompt": "p1", "repeat": 0, "usage": {"prompt_tokens": 3},
        "reply": {"thinking": None, "answer": "No.", "finish": "complete", "visibility": "none",
                  "style": "none", "raw": {"id": 1}}, "problem": "odd",
    },
    "noticed": {
        "key": "n1", "response": "ab12", "model": "b", "benchmark": "own", "prompt": "p1",
        "repeat": 0, "judge": "builtin", "risk_noticed": True, "refusal_intended": False,
    },
    "profiles": {
        "key": "f1", "response": "ab12", "model": "b", "benchmark": "own", "prompt": "p1",
        "repeat": 0, "judge": "j", "ends": [4, 9], "scores": [1.0, 0.5],
    },
    "labels": {
        "response": "ab12", "part": "answer", "label": "unsure", "score": None, "who": "planted ann",
        "sheet": "s1", "drawn": "random", "probability": 0.5,
    },
    "sheets": {
        "sheet": "s1", "drawn": "random", "seed": 3, "of": 9, "probability": 0.5,
        "items": [{"id": "i1", "response": "ab12", "part": "answer", "prompt_label": "unsafe"}],
    },
    "rewards": {
        "key": "w1", "response": "ab12", "model": "b", "benchmark": "own", "prompt": "p1",
        "repeat": 0, "part": "answer", "reward": "rm", "score": None, "reason": "too_long",
        "message": "planted words", "attributes": {"harm": 0.25}, "quantiles": [0.1, 0.9],
    },
}  # fmt: skip


def with_more(run: Path) -> Path:
    for name, record in MORE.items():
        with (run / f"{name}.jsonl").open("a") as file:
            file.write(json.dumps(record) + "\n")
    return run


def test_every_kind_of_record_is_a_table(run: Path, tmp_path: Path) -> None:
    told = written(with_more(run), tmp_path / "x")
    for name in RECORDS[:-1]:
        lines = (run / f"{name}.jsonl").read_text().splitlines()
        rows = [
            pl.read_parquet(path, hive_partitioning=False) for path in parts(tmp_path / "x", name)
        ]
        assert sum(frame.height for frame in rows) == len(lines) == told["tables"][name]["rows"]
    row = {
        name: pl.read_parquet(tmp_path / "x" / name / "**/*.parquet").tail(1).to_dicts()[0]
        for name in MORE
    }
    assert row["profiles"]["ends"] == [4, 9]
    assert row["rewards"]["attributes"] == {"harm": 0.25}
    assert (row["rewards"]["quantiles"], row["rewards"]["score"]) == ([0.1, 0.9], None)
    assert row["sheets"]["items"] == MORE["sheets"]["items"]
    assert (row["labels"]["who"], row["labels"]["score"]) == ("planted ann", None)
    assert (row["turns"]["answer"], row["turns"]["prompt_tokens"]) == ("No.", 3)
    check_same(run, tmp_path / "x")


def test_the_documented_columns_are_those_of_the_files(run: Path, tmp_path: Path) -> None:
    told = written(with_more(run), tmp_path / "x")
    page = (ROOT / "docs" / "export.md").read_text().partition("## Columns")[2]
    sections = re.findall(
        r"\n### (\w+)( \(model, benchmark\))?\n(.*?)(?=\n###? |\Z)", page, re.DOTALL
    )
    assert [name for name, *_ in sections if name not in RECORDS] == []
    assert {name for name, *_ in sections} == set(RECORDS)
    shared = written(run, tmp_path / "y", Wanted(redact=True))
    for name, partitioned, text in sections:
        rows = re.findall(r"^\| `(\w+)`( †)? \| ([^|]+?)\?? \|", text, re.MULTILINE)
        by = {"model", "benchmark"} if partitioned else set[str]()
        columns = told["tables"][name]["columns"]
        kinds = {column: kind for column, kind in columns.items() if column not in by}
        assert [(column, kind) for column, _, kind in rows] == [("row", "int64"), *kinds.items()]
        for path in parts(tmp_path / "x", name):
            schema = arrow().parquet.read_schema(path)
            assert schema.names == ["row", *kinds], name
            plain = {c: k for c, k in kinds.items() if "<" not in k}
            assert {c: str(schema.field(c).type) for c in plain} == plain, name
        taken = set(columns) - set(shared["tables"][name]["columns"])
        assert taken == {column for column, mark, _ in rows if mark}, name


# ---------------------------------------------------------------- labels


@given(st.text(min_size=1, max_size=60))
def test_a_label_is_one_folder_and_read_back(label: str) -> None:
    name = escaped(label)
    assert unquote(name) == label
    assert "/" not in name
    assert name not in {".", "..", "__HIVE_DEFAULT_PARTITION__"}
    assert name.isprintable()


@given(st.text(min_size=81, max_size=300))
def test_no_label_is_too_long_for_a_folder(label: str) -> None:
    assert len(f"benchmark={escaped(label)}".encode()) <= 255
    assert escaped(label) != escaped(label + "x")


def test_hostile_labels_are_read_back_by_us_and_by_others(
    hiddenrisk: CommandLine, tmp_path: Path
) -> None:
    rows = [
        {"id": f"p{i}", "prompt": f"Q {i}?", "model": label, "answer": f"A \0 {label}\n<b>'=1+1"}
        for label in HOSTILE
        for i in range(2)
    ]
    (tmp_path / "t.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    done = hiddenrisk("import", "t.jsonl", "--out", "run", "--yes")
    assert done.code == 0, done
    done = hiddenrisk("export", "run", "deep/x")
    assert done.code == 0, done
    check_same(tmp_path / "run", tmp_path / "deep" / "x")
    assert {path.name for path in tmp_path.iterdir()} == {"t.jsonl", "run", "deep"}
    paths = parts(tmp_path / "deep" / "x", "responses")
    assert len({path.name for path in paths}) == len(paths) == len(HOSTILE)
    others = Counter(
        pl.scan_parquet(
            tmp_path / "deep/x/responses/**/*.parquet",
            hive_partitioning=True,
            hive_schema={"model": pl.String, "benchmark": pl.String},
        ).collect()["model"]
    )
    wanted = Counter(load(tmp_path / "run").responses["model"])
    assert set(wanted.values()) == {2}
    assert {"a/b=c", "..", "ünïcode 模型", "%2F", "2024", "e\u0301", "\u00e9"} <= wanted.keys()
    long, null = HOSTILE[-1], "__HIVE_DEFAULT_PARTITION__"  # what docs/export.md says of them
    assert others.keys() ^ wanted.keys() == {long, unquote(escaped(long)), null, None}


def test_an_empty_label_is_read_back(run: Path, tmp_path: Path) -> None:
    path = run / "verdicts.jsonl"
    path.write_text(path.read_text().replace('"model":"a"', '"model":""'))
    written(run, tmp_path / "x", Wanted(("verdicts",)))
    assert (tmp_path / "x/verdicts/model=__HIVE_DEFAULT_PARTITION__").is_dir()
    frames = [load(place).verdicts for place in (run, tmp_path / "x")]
    assert_frame_equal(*frames)
    assert "" in frames[0]["model"]


# ---------------------------------------------------------------- what is there already


def test_an_export_is_not_written_over_unless_told_to(
    hiddenrisk: CommandLine, run: Path, tmp_path: Path
) -> None:
    dest = tmp_path / "x"
    written(run, dest)
    (dest / "notes.txt").write_text("mine")
    (dest / "responses" / "mine.parquet").write_text("mine")
    before = files_of(dest)
    done = hiddenrisk("export", run, dest)
    assert (done.code, len(done.lines)) == (2, 1)
    assert "holds an export already; add --overwrite" in done.err
    assert files_of(dest) == before
    done = hiddenrisk("export", run, dest, "--overwrite", "--table", "verdicts")
    assert done.code == 0, done
    left = {name for name in files_of(dest) if not name.startswith("verdicts/")}
    assert left == {
        *("notes.txt", "responses/mine.parquet", ENDED, "run.json", "summary.json"),
        *("digests.json", "prices.json", "benchmarks/own.jsonl"),
    } & (left | {"notes.txt", "responses/mine.parquet"})
    assert not list((dest / "responses").glob("model=*"))


def test_overwriting_removes_nothing_that_export_json_was_made_to_name(
    run: Path, tmp_path: Path
) -> None:
    told = written(run, tmp_path / "x")
    (tmp_path / "precious.txt").write_text("mine")
    told["files"].append({"path": "../precious.txt", "bytes": 4, "sha256": "0"})
    told["files"].append({"path": "responses/../../precious.txt", "bytes": 4, "sha256": "0"})
    (tmp_path / "x" / ENDED).write_text(json.dumps(told))
    with pytest.raises(StoreError, match="names a file that no export wrote"):
        _ = load(tmp_path / "x").responses
    written(run, tmp_path / "x", Wanted(overwrite=True))
    assert (tmp_path / "precious.txt").read_text() == "mine"
    check_same(run, tmp_path / "x")


@pytest.mark.parametrize("there", ["responses", "run.json", "responses.jsonl"])
def test_what_no_export_wrote_stays_as_it_is(
    hiddenrisk: CommandLine, run: Path, tmp_path: Path, there: str
) -> None:
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / there).write_text("mine")
    done = hiddenrisk("export", run, tmp_path / "x", "--overwrite")
    assert (done.code, len(done.lines)) == (2, 1)
    assert "name another place" in done.err
    assert files_of(tmp_path / "x") == {there: b"mine"}


def test_a_killed_export_says_that_it_is_half_and_is_begun_again(
    hiddenrisk: CommandLine, tmp_path: Path
) -> None:
    run, dest = tmp_path / "run", tmp_path / "x"
    make_run(run, models=4, prompts=2_000, seed=1)
    process = hiddenrisk.start("export", run, dest)
    until = time.monotonic() + 60
    while not list(dest.glob("verdicts/*/*/*")) and time.monotonic() < until:
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert (dest / BEGUN).is_file()
    assert not (dest / ENDED).exists()
    with pytest.raises(StoreError, match="holds half an export: it was stopped"):
        load(dest)
    done = hiddenrisk("export", run, dest)
    assert (done.code, len(done.lines)) == (2, 1)
    assert "holds half an export; add --overwrite" in done.err
    done = hiddenrisk("report", dest)
    assert (done.code, len(done.lines)) == (2, 1)
    done = hiddenrisk("export", run, dest, "--overwrite")
    assert done.code == 0, done
    assert not (dest / BEGUN).exists()
    one, other = load(run), load(dest)
    for name in FRAMES[:5]:
        assert_frame_equal(getattr(one, name), getattr(other, name))
    assert "the run has no summary.json" in done.out


def test_an_interrupted_export_says_how_to_go_on(hiddenrisk: CommandLine, tmp_path: Path) -> None:
    run, dest = tmp_path / "run", tmp_path / "x"
    make_run(run, models=4, prompts=2_000, seed=1)
    process = hiddenrisk.start("export", run, dest)
    until = time.monotonic() + 60
    while not (dest / BEGUN).exists() and time.monotonic() < until:
        time.sleep(0.002)
    process.send_signal(signal.SIGINT)
    assert process.wait() == 130
    assert "holds half an export: run the same command again with --overwrite" in hiddenrisk.said()


def test_a_full_disk_is_one_sentence(hiddenrisk: CommandLine, tmp_path: Path) -> None:
    make_run(tmp_path / "run", models=1, prompts=3_000, seed=1)
    done = hiddenrisk("export", tmp_path / "run", tmp_path / "x", disk_kb=16)
    assert (done.code, len(done.lines)) == (2, 1), done
    assert "cannot be written to: File too large" in done.err
    assert not (tmp_path / "x" / ENDED).exists()


# ---------------------------------------------------------------- other runs


def test_a_run_of_failures_only_and_one_of_nothing(run: Path, tmp_path: Path) -> None:
    for name in ("responses", "verdicts", "noticed", "profiles", "turns"):
        (run / f"{name}.jsonl").write_text("")
    failed = {
        "key": "0123456789abcdef0", "stage": "generate", "reason": "request_failed", "message": "m",
        "model": "a", "benchmark": "own", "prompt": "p1", "repeat": 0, "category": ["C"],
        "label": "unsafe",
    }  # fmt: skip
    (run / "failures.jsonl").write_text(json.dumps(failed) + "\n")
    written(run, tmp_path / "x")
    check_same(run, tmp_path / "x")
    found = load(tmp_path / "x")
    assert found.outcomes["score"].null_count() == found.outcomes.height > 0
    (run / "failures.jsonl").write_text("")
    written(run, tmp_path / "y")
    check_same(run, tmp_path / "y")
    assert load(tmp_path / "y").outcomes.schema["score"] == pl.Float64


def test_a_run_of_before_there_were_digests_is_exported_too(
    hiddenrisk: CommandLine, run: Path, tmp_path: Path
) -> None:
    (run / "digests.json").unlink()
    (run / "prices.json").unlink(missing_ok=True)
    summary = json.loads((run / "summary.json").read_text())
    for model in summary["models"].values():
        del model["benchmarks"]["own"]["rubric"]
    (run / "summary.json").write_text(json.dumps(summary))
    done = hiddenrisk("export", run, tmp_path / "x")
    assert done.code == 0, done
    assert "summary.json is of another version of hiddenrisk" in done.out
    assert load(tmp_path / "x").outcomes.height == 80


def test_without_the_data_the_records_can_be_exported(
    hiddenrisk: CommandLine, run: Path, tmp_path: Path
) -> None:
    shutil.rmtree(run / "benchmarks")
    manifest = json.loads((run / "run.json").read_text())
    manifest["plan"]["benchmarks"] = ["gone.jsonl"]
    (run / "run.json").write_text(json.dumps(manifest))
    done = hiddenrisk("export", run, tmp_path / "x")
    assert (done.code, len(done.lines)) == (2, 1), done
    assert not (tmp_path / "x").exists()
    done = hiddenrisk("export", run, tmp_path / "x", "--table", "responses")
    assert done.code == 0, done
    found = load(tmp_path / "x")
    assert found.responses.height == 40
    with pytest.raises(UsageError, match="was exported without the table samples; it has resp"):
        _ = found.outcomes


# ---------------------------------------------------------------- for sharing


def test_a_redacted_export_holds_nothing_of_what_was_said_or_where(
    run: Path, tmp_path: Path
) -> None:
    words = [*plant(with_more(run)), str(tmp_path), "127.0.0.1", "Question 3", "Answer 3."]
    words += ["planted ann", "planted words"]

    def holding(dest: Path) -> set[str]:
        content = b"".join(
            pl.read_parquet(path).write_json().encode() if path.suffix == ".parquet"
            else path.read_bytes()
            for path in dest.rglob("*") if path.is_file()
        )  # fmt: skip
        return {word for word in words if word.encode() in content}

    written(run, tmp_path / "x", Wanted(redact=True))
    assert holding(tmp_path / "x") == set()
    shared = load(tmp_path / "x")
    assert_frame_equal(shared.outcomes, load(run).outcomes)
    assert "provider" not in shared.responses.columns
    assert shared.summary["redacted"] is True
    with pytest.raises(UsageError, match="was redacted: it holds no texts"):
        shared.with_texts(shared.outcomes)
    written(run, tmp_path / "whole")
    assert len(holding(tmp_path / "whole")) > len(words) / 2  # so the look does find them


def test_no_password_of_an_address_is_told(hiddenrisk: CommandLine, run: Path) -> None:
    done = hiddenrisk("export", run, "ftp://ann:hunter2hunter2@127.0.0.1:9/x")
    assert (done.code, len(done.lines)) == (2, 1), done
    assert "ftp://127.0.0.1:9/x cannot be" in done.err
    assert "hunter2" not in done.err + done.out


# ---------------------------------------------------------------- what is missing or damaged


@pytest.mark.parametrize(
    ("missing", "dest", "said"),
    [
        ("pyarrow", "x", 'pip install "hiddenrisk[export]"'),
        ("fsspec", "x", 'pip install "hiddenrisk[export]"'),
        ("s3fs", "s3://bucket/x", "s3:// needs the package s3fs: pip install s3fs"),
        ("gcsfs", "gs://bucket/x", "gs:// needs the package gcsfs: pip install gcsfs"),
        ("nothing", "nowhere://x", "nowhere://x is no address"),
    ],
)
def test_what_is_missing_is_named(
    hiddenrisk: CommandLine, run: Path, tmp_path: Path, missing: str, dest: str, said: str
) -> None:
    (tmp_path / "missing").mkdir()
    (tmp_path / "missing" / f"{missing}.py").write_text("raise ImportError('not here')\n")
    paths = os.pathsep.join([str(tmp_path / "missing"), os.environ.get("PYTHONPATH", "")])
    done = hiddenrisk("export", run, dest, env={"PYTHONPATH": paths})
    assert (done.code, len(done.lines)) == (2, 1), done
    assert said in done.err
    assert not (tmp_path / "x").exists()


def test_a_wrong_table_is_told_with_the_right_ones(hiddenrisk: CommandLine, run: Path) -> None:
    done = hiddenrisk("export", run, "x", "--table", "responsess")
    assert (done.code, len(done.lines)) == (2, 1)
    assert "unknown table 'responsess'; did you mean 'responses'?" in done.err


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        ("cut", "cannot be read"),
        ("gone", "cannot be read"),
        ("empty", "cannot be read"),
        ("unlisted", "is not whole: it has"),
        ("newer", "hiddenrisk 9.0 with schema 2"),
        ("no tables", "is not what `hiddenrisk export` writes"),
    ],
)
def test_a_damaged_export_is_one_sentence(
    run: Path, tmp_path: Path, damage: str, said: str
) -> None:
    told = written(run, tmp_path / "x", Wanted(("responses",)))
    part = parts(tmp_path / "x", "responses")[-1]
    if damage == "cut":
        part.write_bytes(part.read_bytes()[:-20])
    elif damage == "gone":
        part.unlink()
    elif damage == "empty":
        part.write_bytes(b"")
    elif damage == "unlisted":
        told["files"] = [file for file in told["files"] if not part.match(file["path"])]
    elif damage == "newer":
        told |= {"schema": 2, "hiddenrisk": "9.0"}
    else:
        del told["tables"]
    (tmp_path / "x" / ENDED).write_text(json.dumps(told))
    with pytest.raises(StoreError, match=said) as caught:
        _ = load(tmp_path / "x").responses
    assert "\n" not in str(caught.value)


# ---------------------------------------------------------------- memory


def test_what_is_held_back_is_bounded_however_many_partitions_there_are(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    bound, text = 1 << 20, "x" * 500
    monkeypatch.setattr("hiddenrisk.partitions._HELD_BYTES", bound)
    monkeypatch.setattr("hiddenrisk.parquet.GROUP_ROWS", 100)
    n = 40_000
    rows = ((f"m{i % 150}", "b", i, f"{i}{text}") for i in range(n))
    columns: dict[str, type] = {"model": str, "benchmark": str, "i": int, "text": str}
    held: list[int] = []
    start = int(arrow().total_allocated_bytes())

    def told(_: int) -> None:
        held.append(int(arrow().total_allocated_bytes()) - start)

    files = write_table(Storage(tmp_path / "x"), table("t", columns, rows), told)
    assert max(held) < 12 * bound < n * len(text)  # a block of rows, and what is being written
    assert sum(file.rows or 0 for file in files) == n
    assert len({file.path for file in files}) == len(files) >= 150
    for file in files[:5]:
        metadata = arrow().parquet.read_metadata(tmp_path / "x" / file.path)
        groups = [metadata.row_group(i) for i in range(metadata.num_row_groups)]
        assert all(group.num_rows <= 100 for group in groups)
        assert groups[0].column(0).compression == "ZSTD"
    back = pl.read_parquet(tmp_path / "x/t/**/*.parquet", hive_partitioning=True).sort("row")
    assert back["i"].to_list() == list(range(n))
    assert back["model"].to_list() == [f"m{i % 150}" for i in range(n)]


def test_help_has_examples_and_starts_at_once(hiddenrisk: CommandLine) -> None:
    done = hiddenrisk("export", "--help")
    assert (done.code, done.err) == (0, "")
    assert "hiddenrisk export runs/r1 s3://assessments/r1" in done.out
    code = (
        "import sys, hiddenrisk.cli.main; print({'pyarrow', 'fsspec', 'polars'} & set(sys.modules))"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert told.stdout.strip() == "set()", told
