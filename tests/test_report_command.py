"""`hiddenrisk report`: a stored run counted again, by files that are real."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hiddenrisk.store import Journal
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
