"""`hiddenrisk calibrate`: whose folder it is, and names that come from anywhere."""

import json
from pathlib import Path

import pytest

from hiddenrisk.calibration import CALIBRATION
from hiddenrisk.store import Journal
from tests.conftest import CommandLine

# ---------------------------------------------------------------- whose folder it is


def _recorded_file(folder: Path, name: str = "mine.csv") -> None:
    rows = "".join(
        f"{i},Q{i},A{i},{'unsafe' if i < 6 else 'safe'},{'unsafe' if i < 4 else 'safe'},safe\n"
        for i in range(10)
    )
    (folder / name).write_text("id,prompt,response,label,judge:old,judge:older\n" + rows)


@pytest.mark.parametrize(
    "other",
    [
        ("--judge", "recorded/old", "--on", "mine.csv"),
        ("--judge", "recorded", "--on", "other.csv"),
        ("--judge", "recorded", "--on", "mine.csv", "--limit", "5"),
        ("--judge", "builtin", "--on", "mine.csv"),
        ("--attack", "--limit", "5"),
    ],
)
def test_recorded_judges_claim_their_folder_as_others_do(
    hiddenrisk: CommandLine, other: tuple[str, ...]
) -> None:
    for name in ("mine.csv", "other.csv"):
        _recorded_file(hiddenrisk.folder, name)
    args = ("calibrate", "--judge", "recorded", "--on", "mine.csv", "--out", "cal")
    assert hiddenrisk(*args).code == 0
    before = (hiddenrisk.folder / "cal" / CALIBRATION).read_bytes()
    done = hiddenrisk("calibrate", *other, "--out", "cal")
    assert done.code == 2, done
    assert "belongs to another plan" in done.lines[-1]
    assert (hiddenrisk.folder / "cal" / CALIBRATION).read_bytes() == before
    assert hiddenrisk(*args).code == 0


def test_recorded_judges_wait_for_nobody_who_writes_there(hiddenrisk: CommandLine) -> None:
    _recorded_file(hiddenrisk.folder)
    (hiddenrisk.folder / "cal").mkdir()
    with Journal(hiddenrisk.folder / "cal"):
        done = hiddenrisk("calibrate", "--judge", "recorded", "--on", "mine.csv", "--out", "cal")
    assert done.code == 2, done
    assert "is being written by another hiddenrisk process" in done.err


@pytest.mark.parametrize("judge", ["recorded", "builtin"])
def test_a_calibration_without_its_records_is_not_overwritten(
    hiddenrisk: CommandLine, judge: str
) -> None:
    _recorded_file(hiddenrisk.folder)
    (hiddenrisk.folder / "cal").mkdir()
    there = hiddenrisk.folder / "cal" / CALIBRATION
    there.write_text('{"calibration": 1, "results": []}')
    before = there.read_bytes()
    done = hiddenrisk("calibrate", "--judge", judge, "--on", "mine.csv", "--out", "cal")
    assert done.code == 2, done
    assert "is another calibration" in done.lines[-1]
    assert there.read_bytes() == before


# ---------------------------------------------------------------- names from anywhere


def test_what_data_files_are_called_cannot_move_a_terminal(hiddenrisk: CommandLine) -> None:
    evil = "\x1b[31mred\x1b]0;title\x07\u202e\r"
    rows = [
        json.dumps(
            {
                "id": str(i), "prompt": f"Question {i}", "response": f"Answer {i}",
                "label": "unsafe" if i % 2 else "safe", "group": f"{evil}{i % 2}",
                f"judge:{evil}x": "unsafe", "judge:y": "safe",
            }
        )
        for i in range(60)
    ]  # fmt: skip
    name = "mine\x1b[2J.jsonl"
    (hiddenrisk.folder / name).write_text("\n".join(rows))
    args = ("calibrate", "--judge", "recorded", "--judge", "builtin", "--on", name)
    done = hiddenrisk(*args, "--out", "cal\x1b[1m")
    assert done.code == 0, done
    wrong = hiddenrisk("calibrate", "--judge", f"recorded/{evil}", "--on", name)
    assert wrong.code == 2
    other = hiddenrisk(*args, "--out", "cal\x1b[1m", "--limit", "5")
    assert other.code == 2
    for text in (done.out, done.err, wrong.err, other.err):
        assert "red" in text or "mine" in text or "cal" in text
        assert all(c.isprintable() or c == "\n" for c in text), repr(text)
    assert "recorded/" in done.out
    assert "worst group" in done.out
    found = json.loads((hiddenrisk.folder / "cal\x1b[1m" / CALIBRATION).read_text())
    assert set(found["results"][0]["groups"]) == {f"{evil}0", f"{evil}1"}


def test_a_judges_name_of_a_page_is_told(hiddenrisk: CommandLine) -> None:
    row = {"id": "1", "prompt": "Q", "response": "A", "label": "safe", f"judge:{'x' * 300}": "safe"}
    (hiddenrisk.folder / "mine.jsonl").write_text(json.dumps(row))
    done = hiddenrisk("calibrate", "--judge", "recorded", "--on", "mine.jsonl")
    assert done.code == 2
    assert "more than 200 characters" in done.err
    assert len(done.lines[0]) < 300
