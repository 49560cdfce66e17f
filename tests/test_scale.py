"""A million samples: few bytes for each, and a finished run is known to be finished at a glance."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.measure import mock_server
from bench.report import make_run
from hiddenrisk.benchmarks.own import JsonlPrompts
from hiddenrisk.keys import KeyIndex
from tests.conftest import ROOT, CommandLine
from tests.servers import ChatServer, Reply, always

_PEAK = """
import json, sys
from pathlib import Path
from bench.measure import cost_of
print(json.dumps(cost_of(sys.argv[2:], output=Path(sys.argv[1])).peak_mb))
"""


def peak_bytes(folder: Path, *args: str | Path) -> float:
    """The peak memory of `hiddenrisk` with these arguments.

    Started by a process of its own: Linux starts a child's peak at that of its parent, and a
    test's is large.
    """
    command = [sys.executable, "-c", _PEAK, folder / "said.txt", sys.executable, "-m", "hiddenrisk"]
    found = subprocess.run(
        [*command, *args], cwd=ROOT, env=os.environ, capture_output=True, check=True, timeout=300
    )
    return float(found.stdout) * 2**20


# ---------------------------------------------------------------- memory


@pytest.mark.parametrize(("verb", "most"), [("report", 330), ("verify", 330)])
def test_a_stored_sample_takes_few_bytes(verb: str, most: int, tmp_path: Path) -> None:
    peaks: dict[int, float] = {}
    for samples in (5_000, 45_000):
        run = tmp_path / str(samples) / "run"
        make_run(run, models=1, prompts=samples, seed=1)
        peak_bytes(tmp_path, "report", run)
        peaks[samples] = peak_bytes(tmp_path, verb, run)
    grown = (peaks[45_000] - peaks[5_000]) / 40_000
    assert grown < most, f"{verb} takes {grown:.0f} bytes a sample"


def test_a_sample_takes_few_bytes_while_a_run_goes_on(tmp_path: Path) -> None:
    peaks: dict[int, float] = {}
    with mock_server(latency_s=0.0, shape="field", size=3_000) as url:
        for samples in (1_500, 6_000):
            prompts = write_prompts(tmp_path / f"{samples}.jsonl", samples)
            asked = ("--model", f"target={url}#target", "--judge", "builtin", "--yes")
            where = ("--benchmark", prompts, "--out", tmp_path / f"run-{samples}")
            peaks[samples] = peak_bytes(tmp_path, "assess", *asked, *where)
    grown = (peaks[6_000] - peaks[1_500]) / 4_500
    assert grown < 1_500, f"a run takes {grown:.0f} bytes a sample; a response has 3,000"


def write_prompts(path: Path, samples: int) -> Path:
    path.write_text(
        "".join(f'{{"id": "p{i}", "prompt": "Question {i}?"}}\n' for i in range(samples))
    )
    return path


# ---------------------------------------------------------------- a finished run


def test_the_command_of_a_finished_run_asks_and_counts_nothing(
    hiddenrisk: CommandLine, tmp_path: Path
) -> None:
    with ChatServer({"m": always(Reply(text="I must decline."))}) as server:
        asked = assess(server, write_prompts(tmp_path / "prompts.jsonl", 12))
        first = hiddenrisk(*asked)
        before = (tmp_path / "run" / "summary.json").read_bytes()
        requests = server.ledger.hits
        again = hiddenrisk(*asked)
    assert first.code == again.code == 0
    assert "all 12 samples are there: nothing is left to do" in again.out + again.err
    assert server.ledger.hits == requests
    assert (tmp_path / "run" / "summary.json").read_bytes() == before, "it was counted again"
    assert first.out.splitlines()[-3:] == again.out.splitlines()[-3:], "another result is told"


@pytest.mark.parametrize(
    "change", ["a record", "the summary", "no page", "a price", "no word", "a spoilt word"]
)
def test_a_finished_run_that_changed_is_counted_again(
    change: str, hiddenrisk: CommandLine, tmp_path: Path
) -> None:
    run, more = tmp_path / "run", ()
    with ChatServer({"m": always(Reply(text="I must decline."))}) as server:
        asked = assess(server, write_prompts(tmp_path / "prompts.jsonl", 3))
        hiddenrisk(*asked)
        if change == "a record":
            lines = (run / "verdicts.jsonl").read_bytes().splitlines(keepends=True)
            (run / "verdicts.jsonl").write_bytes(b"".join(lines[:-1]))
        elif change == "the summary":
            (run / "summary.json").write_text("{}")
        elif change == "no page":
            (run / "report.html").unlink()
        elif change == "a price":
            more = ("--price", "m=1/1")
        else:
            word = run / ".settled.json"
            word.unlink() if change == "no word" else word.write_text("{")
        again = hiddenrisk(*asked, *more)
    assert again.code == 0
    assert "nothing is left to do" not in again.out + again.err
    summary = json.loads((run / "summary.json").read_text())
    assert summary["models"]["m"]["benchmarks"]["prompts"]["n"] == 3
    assert (run / "report.html").is_file()
    assert len((run / "verdicts.jsonl").read_bytes().splitlines()) == 3


def test_a_run_with_a_failure_is_not_taken_for_finished(
    hiddenrisk: CommandLine, tmp_path: Path
) -> None:
    with ChatServer({"m": always(Reply(status=400, text="no"))}) as server:
        asked = assess(server, write_prompts(tmp_path / "prompts.jsonl", 2))
        hiddenrisk(*asked)
        before = server.ledger.hits
        hiddenrisk(*asked)
    assert server.ledger.hits > before


def test_a_report_of_a_finished_run_leaves_it_finished(
    hiddenrisk: CommandLine, tmp_path: Path
) -> None:
    with ChatServer({"m": always(Reply(text="I must decline."))}) as server:
        asked = assess(server, write_prompts(tmp_path / "prompts.jsonl", 3))
        hiddenrisk(*asked)
        hiddenrisk("report", tmp_path / "run")
        again = hiddenrisk(*asked)
    assert "nothing is left to do" in again.out + again.err


def assess(server: ChatServer, prompts: Path) -> list[str | Path]:
    model = ("--model", server.spec("m"), "--judge", "builtin", "--benchmark", prompts)
    return ["assess", *model, "--out", prompts.parent / "run", "--yes"]


# ---------------------------------------------------------------- keys, and prompts by id


@given(st.lists(st.tuples(st.integers(0, 2**40), st.text("0123456789abcdef", min_size=1))))
def test_keys_are_found_where_they_first_stood(placed: list[tuple[int, str]]) -> None:
    index, first = KeyIndex(placed), dict[int, int]()
    for place, key in placed:
        first.setdefault(int(key[:16], 16), place)
    for _, key in placed:
        assert key in index
        assert index.place(key) == first[int(key[:16], 16)]
    assert ("f" * 17 in index) == (int("f" * 16, 16) in first)


def test_a_key_that_is_no_digest_is_a_key_like_any_other() -> None:
    index = KeyIndex([(1, "not hexadecimal"), (2, "")])
    assert (index.place("not hexadecimal"), index.place(""), index.place("x")) == (1, 2, None)


def test_a_prompt_of_a_long_file_is_found_by_its_id(tmp_path: Path) -> None:
    rows = (f'{{"id": "p{i}", "prompt": "{"long " * 40} {i}?"}}' for i in range(2_000))
    path = tmp_path / "long.jsonl"
    path.write_bytes(b"\xef\xbb\xbf" + "\n\n".join(rows).encode())
    prompts = JsonlPrompts(path, "long")
    listed = list(prompts)
    assert len(listed) == len(prompts) == 2_000
    for place in (0, 1_999, 1_000, 1_001, 3):
        assert prompts.find(f"p{place}") == listed[place]
    assert prompts.find("p2000") is None
