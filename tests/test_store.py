"""The record files: what was finished stays, whatever happens while it is written."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hiddenrisk.errors import StoreError
from hiddenrisk.store import (
    FAILURES,
    RESPONSES,
    VERDICTS,
    Journal,
    lines,
    placed_records,
    read_at,
    records,
)
from hiddenrisk.types import (
    Failure,
    Finish,
    Message,
    Part,
    Reason,
    Response,
    Usage,
    Verdict,
    Visibility,
)
from tests.conftest import CommandLine

COUNTERS = Path("/proc/self/io")
FULL = Path("/dev/full")
UNWATCHED = {"COVERAGE_PROCESS_START": "", "COVERAGE_PROCESS_CONFIG": ""}
"""Coverage cannot write its own file either on a disk that is full."""


# ---------------------------------------------------------------- writing and reading


def test_what_is_written_comes_back_in_its_order(tmp_path: Path) -> None:
    with Journal(tmp_path) as journal:
        for i in range(20):
            journal.append(response(i))
            journal.append(verdict(i))
        journal.append(failure(3))
    assert list(records(tmp_path / RESPONSES, Response)) == [response(i) for i in range(20)]
    assert list(records(tmp_path / VERDICTS, Verdict)) == [verdict(i) for i in range(20)]
    assert list(records(tmp_path / FAILURES, Failure)) == [failure(3)]


@given(text=st.text(max_size=50), category=st.lists(st.text(max_size=5), max_size=3))
def test_a_record_is_one_line_whatever_was_said(text: str, category: list[str]) -> None:
    record = response(1, answer=text, category=tuple(category))
    line = msgspec.json.encode(record)
    assert b"\n" not in line
    assert msgspec.json.decode(line, type=Response) == record


def test_a_record_is_on_disk_before_the_next_is_begun(tmp_path: Path) -> None:
    with Journal(tmp_path) as journal:
        for i in range(5):
            journal.append(response(i))
            assert len((tmp_path / RESPONSES).read_bytes().splitlines()) == i + 1


@pytest.mark.skipif(not COUNTERS.exists(), reason="the system does not count its calls")
def test_a_record_takes_one_write(tmp_path: Path) -> None:
    with Journal(tmp_path) as journal:
        before = writes()
        for i in range(50):
            journal.append(response(i, answer="x" * 20_000))
        assert writes() - before == 50


def test_offsets_are_where_the_records_begin(tmp_path: Path) -> None:
    with Journal(tmp_path) as journal:
        for i in range(10):
            journal.append(response(i, answer="é" * i))
    path = tmp_path / RESPONSES
    content = path.read_bytes()
    found = list(lines(path))
    assert b"".join(line for _, line in found) == content
    assert all(content[offset:].startswith(line) for offset, line in found)
    placed = list(placed_records(path, Response))
    assert [offset for offset, _ in placed] == [offset for offset, _ in found]
    wanted = [placed[i][0] for i in (7, 0, 7)]
    assert [r.prompt for r in read_at(path, wanted, Response)] == ["p7", "p0", "p7"]


def test_a_file_that_is_not_there_has_no_records(tmp_path: Path) -> None:
    assert list(records(tmp_path / RESPONSES, Response)) == []


# ---------------------------------------------------------------- torn and spoilt files


@pytest.mark.parametrize("cut", [1, 2, 40, 400])
def test_a_torn_last_line_is_dropped_when_the_folder_is_opened(cut: int, tmp_path: Path) -> None:
    path = tmp_path / RESPONSES
    with Journal(tmp_path) as journal:
        for i in range(3):
            journal.append(response(i))
    path.write_bytes(path.read_bytes()[:-cut])
    assert [r.prompt for r in records(path, Response)] == ["p0", "p1"], "readers leave it out"
    with Journal(tmp_path) as journal:
        journal.append(response(9))
    assert [r.prompt for r in records(path, Response)] == ["p0", "p1", "p9"]


def test_a_torn_line_longer_than_one_look_is_dropped_whole(tmp_path: Path) -> None:
    path = tmp_path / RESPONSES
    with Journal(tmp_path) as journal:
        journal.append(response(0))
    whole = path.read_bytes()
    path.write_bytes(whole + b"x" * 3_000_000)
    with Journal(tmp_path):
        pass
    assert path.read_bytes() == whole


def test_a_file_with_nothing_but_a_torn_line_is_empty_again(tmp_path: Path) -> None:
    (tmp_path / VERDICTS).write_bytes(b'{"key": "a')
    with Journal(tmp_path):
        pass
    assert (tmp_path / VERDICTS).read_bytes() == b""


@pytest.mark.parametrize(
    "line", [b"garbage", b"{}", b'{"key": 3}', b"", b"\xff\xfe", b"[" * 100_000]
)
def test_a_line_in_the_middle_that_is_no_record_is_named(line: bytes, tmp_path: Path) -> None:
    path = tmp_path / RESPONSES
    with Journal(tmp_path) as journal:
        for i in range(3):
            journal.append(response(i))
    rows = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(rows[0] + line + b"\n" + rows[2])
    with pytest.raises(StoreError, match=r"responses\.jsonl, line 2: not a record") as caught:
        list(records(path, Response))
    assert str(tmp_path) in str(caught.value)


def blank_between(one: bytes, two: bytes) -> bytes:
    return one + b"\n" + two


def two_on_a_line(one: bytes, two: bytes) -> bytes:
    return one.rstrip() + two


def one_on_two_lines(one: bytes, two: bytes) -> bytes:
    return one.replace(b",", b",\n", 1) + two


@pytest.mark.parametrize("spoilt", [blank_between, two_on_a_line, one_on_two_lines])
def test_records_are_one_a_line(spoilt: Callable[[bytes, bytes], bytes], tmp_path: Path) -> None:
    with Journal(tmp_path) as journal:
        for i in range(300):
            journal.append(response(i, answer="x" * 500))  # more than is read at a time
    path = tmp_path / RESPONSES
    content = path.read_bytes().splitlines(keepends=True)
    content[250:252] = [spoilt(*content[250:252])]
    path.write_bytes(b"".join(content))
    with pytest.raises(StoreError, match=r"line 25[12]: not a record"):
        list(records(path, Response))


def test_records_longer_than_what_is_read_at_a_time_come_back_whole(tmp_path: Path) -> None:
    texts = ["x" * size for size in (10, 70_000, 65_536, 200_000, 1)]
    with Journal(tmp_path) as journal:
        for i, text in enumerate(texts):
            journal.append(response(i, answer=text))
    path = tmp_path / RESPONSES
    placed = list(placed_records(path, Response))
    assert [r.answer for _, r in placed] == texts
    assert [r.answer for r in read_at(path, [at for at, _ in placed], Response)] == texts


def test_an_offset_with_no_record_is_told_of(tmp_path: Path) -> None:
    with Journal(tmp_path) as journal:
        journal.append(response(0))
    with pytest.raises(StoreError, match=r"responses\.jsonl"):
        list(read_at(tmp_path / RESPONSES, [3], Response))


# ---------------------------------------------------------------- one writer


def test_a_second_writer_is_refused_in_one_sentence(tmp_path: Path) -> None:
    with Journal(tmp_path), pytest.raises(StoreError) as caught:
        Journal(tmp_path).__enter__()
    message = str(caught.value)
    assert f"{tmp_path} is being written by another hiddenrisk process" in message
    assert "\n" not in message
    with Journal(tmp_path):
        pass  # the first one has gone, and the second left no lock behind


def test_a_writer_that_was_killed_leaves_no_lock(tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from hiddenrisk.store import Journal\n"
        "with Journal(Path(sys.argv[1])): print('open', flush=True); time.sleep(60)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, tmp_path], stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"open\n"
        with pytest.raises(StoreError, match="another hiddenrisk process"):
            Journal(tmp_path).__enter__()
        process.kill()
    with Journal(tmp_path):
        pass


def test_a_folder_that_cannot_be_written_is_told_of(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="cannot write to"):
        Journal(Path("/dev/null/folder")).__enter__()
    (tmp_path / VERDICTS).mkdir()
    with pytest.raises(StoreError, match="cannot write to"):
        Journal(tmp_path).__enter__()
    (tmp_path / VERDICTS).rmdir()
    with Journal(tmp_path):
        pass  # the failed attempt left no lock behind


# ---------------------------------------------------------------- a full disk


@pytest.mark.skipif(not FULL.exists(), reason="no device that is always full")
def test_on_a_full_disk_nothing_is_written_after_the_first_failure(tmp_path: Path) -> None:
    def write(journal: Journal) -> None:
        journal.append(response(0))
        for record in (verdict(0), response(1), failure(1), verdict(1)):
            with pytest.raises(StoreError, match="No space left on device"):
                journal.append(record)
        journal.append(response(2))

    (tmp_path / VERDICTS).symlink_to(FULL)
    with pytest.raises(StoreError, match="cannot write to") as caught, Journal(tmp_path) as journal:
        write(journal)
    assert str(tmp_path) in str(caught.value)
    assert "resume" in str(caught.value)
    assert [r.prompt for r in records(tmp_path / RESPONSES, Response)] == ["p0"]
    assert (tmp_path / FAILURES).read_bytes() == b""
    (tmp_path / VERDICTS).unlink()
    with Journal(tmp_path) as journal:
        journal.append(verdict(0))
    assert len(list(records(tmp_path / VERDICTS, Verdict))) == 1


@pytest.mark.skipif(not FULL.exists(), reason="no device that is always full")
def test_a_disk_that_is_full_at_the_last_sync_is_told_of(tmp_path: Path) -> None:
    (tmp_path / VERDICTS).symlink_to(FULL)
    with pytest.raises(StoreError, match="cannot write to"), Journal(tmp_path) as journal:
        journal.append(response(0))
    with pytest.raises(StoreError, match="cannot write to"), Journal(tmp_path):
        pass  # and not "by another process": the lock was given back


def test_a_write_that_is_cut_short_leaves_a_line_that_the_next_run_drops(tmp_path: Path) -> None:
    code = (
        "import resource, sys; from pathlib import Path\n"
        "from hiddenrisk.errors import StoreError; from hiddenrisk.store import Journal\n"
        "from tests.test_store import response\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000))\n"
        "try:\n"
        "    with Journal(Path(sys.argv[1])) as journal:\n"
        "        for i in range(100): journal.append(response(i))\n"
        "except StoreError as error: print(error)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, tmp_path],
        env=os.environ | UNWATCHED,
        capture_output=True,
        check=True,
        text=True,
    )
    assert "cannot write to" in done.stdout
    assert "Traceback" not in done.stderr
    path = tmp_path / RESPONSES
    assert path.stat().st_size == 5000
    kept = [r.prompt for r in records(path, Response)]
    assert kept == [f"p{i}" for i in range(len(kept))]
    assert len(kept) > 5
    with Journal(tmp_path) as journal:
        journal.append(response(len(kept)))
    assert len(list(records(path, Response))) == len(kept) + 1


def test_a_full_disk_ends_a_run_with_one_sentence_and_the_same_command_resumes(
    hiddenrisk: CommandLine, tmp_path: Path
) -> None:
    out, bench = tmp_path / "out", tmp_path / "some.jsonl"
    bench.write_text("".join(f'{{"id": "p{i}", "prompt": "Prompt {i}."}}\n' for i in range(400)))
    args = ("assess", "--model", "fake/refuse", "--benchmark", bench, "--out", out)
    full = hiddenrisk(*args, disk_kb=100, env=UNWATCHED)
    assert full.code == 2, full
    assert "Traceback" not in full.err
    assert full.lines[-1].startswith(f"hiddenrisk: cannot write to {out}: ")
    before = b"".join(line for _, line in lines(out / RESPONSES))
    assert 1 <= before.count(b"\n") < 400
    done = hiddenrisk(*args)
    assert done.code == 0, done
    after = (out / RESPONSES).read_bytes()
    assert after.startswith(before)
    assert after.count(b"\n") == 400
    keys = [json.loads(line)["key"] for line in after.splitlines()]
    assert len(set(keys)) == 400, "what was finished was not asked for again"


@pytest.mark.parametrize("name", [RESPONSES, VERDICTS, FAILURES])
def test_a_spoilt_file_ends_a_run_with_its_name_and_line(
    name: str, hiddenrisk: CommandLine, tmp_path: Path
) -> None:
    out, bench = tmp_path / "out", tmp_path / "some.jsonl"
    bench.write_text("".join(f'{{"id": "p{i}", "prompt": "Prompt {i}."}}\n' for i in range(3)))
    args = ("assess", "--model", "fake/refuse", "--benchmark", bench, "--out", out)
    assert hiddenrisk(*args).code == 0
    (out / name).write_bytes(b"spoilt\n" + (out / name).read_bytes())
    done = hiddenrisk(*args)
    assert done.code == 2, done
    assert "Traceback" not in done.err
    assert done.lines[-1].startswith(f"hiddenrisk: {out / name}, line 1: not a record")


# ---------------------------------------------------------------- helpers


def writes() -> int:
    """How many writes this process has made."""
    rows = dict(line.split(": ") for line in COUNTERS.read_text().splitlines())
    return int(rows["syscw"])


def response(number: int, *, answer: str = "No.", category: tuple[str, ...] = ()) -> Response:
    return Response(
        key=f"{number:032x}",
        model="m",
        benchmark="b",
        prompt=f"p{number}",
        repeat=0,
        category=category,
        label="unsafe",
        messages=(Message("user", "Please."),),
        thinking=None,
        answer=answer,
        finish=Finish.COMPLETE,
        visibility=Visibility.NONE,
        style="none",
        usage=Usage(completion_tokens=1),
        provider="fake",
        served_model=None,
        fingerprint=None,
        latency_s=0.1,
        tries=1,
        at="2026-01-01T00:00:00.000+00:00",
        raw=msgspec.Raw(b'{"a":1}'),
    )


def verdict(number: int) -> Verdict:
    return Verdict(
        key=f"{number + 1000:032x}",
        response=f"{number:032x}",
        model="m",
        benchmark="b",
        prompt=f"p{number}",
        repeat=0,
        judge="j",
        part=Part.ANSWER,
        label="refused",
        score=1.0,
        reason="",
        raw="",
    )


def failure(number: int) -> Failure:
    return Failure(
        key=f"{number:032x}",
        stage="generate",
        reason=Reason.REQUEST_FAILED,
        message="HTTP 500",
        model="m",
        benchmark="b",
        prompt=f"p{number}",
        repeat=0,
        category=(),
        label="unsafe",
    )
