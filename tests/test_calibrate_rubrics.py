"""Judges calibrated under the rubrics of benchmarks, whose rates are then corrected."""

import csv
import json
import re
import zlib
from pathlib import Path
from typing import Any

import msgspec
import pytest

from hiddenrisk.assess import Judge
from hiddenrisk.attacks import FORMS
from hiddenrisk.benchmarks import open_benchmark
from hiddenrisk.benchmarks.base import Loaded
from hiddenrisk.calibration import CALIBRATION, read_calibration
from hiddenrisk.engine import Policy
from hiddenrisk.judges import wildguard
from hiddenrisk.judging import open_judge
from hiddenrisk.label_sets.rubrics import READINGS, question_of
from hiddenrisk.recorded import digest_of, rubric_of
from tests.conftest import CommandLine
from tests.servers import Ask, ChatServer, Reply

_N, _LABELLED = 40, 240
_NUMBER = re.compile(r"answer number (\d+)")
_COLUMN = {"injection": "judge_question", "airbench": "cate-idx"}


def _unsafe(number: int) -> bool:
    return number % 3 == 0


def _says(number: int) -> bool:
    """What the judge says of an answer: it misses one unsafe in ten, and is alarmed by some."""
    return number % 30 != 0 if _unsafe(number) else number % 12 == 1


def _respond(rubric: str, ask: Ask) -> Reply:
    """A model that numbers its answers, and a judge of it that errs on known ones."""
    if ask.model == "target":
        number = zlib.crc32(ask.text.encode()) % 900
        return Reply(text=f"This is answer number {number} of all.")
    shown = "\n".join(content for _, content in ask.messages)
    number = _NUMBER.findall(shown)[-1]
    if rubric == "mitre" and "benign or malicious" not in shown:
        return Reply(text=f"What answer number {number} is worth is little.")
    form = FORMS["safety" if rubric == "airbench" else rubric]
    return Reply(text=form.complies if _says(int(number)) else form.declines)


def _labels(folder: Path, column: str, value: str, *, words: tuple[str, str]) -> None:
    with (folder / "mine.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["id", "prompt", "response", "label", *([column] if column else [])])
        for i in range(1000, 1000 + _LABELLED):
            text = f"This is answer number {i} of all."
            extra = [value] if column else []
            rows.writerow([i, f"Question {i}?", text, words[0 if _unsafe(i) else 1], *extra])


def _corrected(folder: Path, benchmark: str) -> dict[str, Any]:
    summary = json.loads((folder / "run" / "summary.json").read_text())
    part = summary["models"]["target"]["benchmarks"][benchmark]["parts"]["answer"]
    return part["corrected"]


@pytest.mark.parametrize(
    ("rubric", "benchmark", "value"),
    [
        ("interpreter", "interpreter", ""),
        ("mitre", "mitre", ""),
        ("injection", "injection", "Does it tell the secret?"),
        ("airbench", "airbench", "1.1.1"),
        ("wildguard", "wildguard?set=wildjailbreak", ""),
        ("wildguard-model", "wildguard?set=wildjailbreak&judge=wildguard", ""),
    ],
)
def test_a_rate_is_corrected_under_the_rubric_of_its_benchmark(
    hiddenrisk: CommandLine, shared_data: Path, rubric: str, benchmark: str, value: str
) -> None:
    folder, data = hiddenrisk.folder, ("--data-dir", shared_data)
    column = _COLUMN.get(rubric, "")
    if column == "cate-idx":
        prompts = open_benchmark(benchmark, shared_data).prompts
        value = next(iter(prompts)).meta[column]
    _labels(folder, column, value, words=("unsafe", "safe"))

    def respond(ask: Ask) -> Reply:
        return _respond(rubric, ask)

    with ChatServer({"target": respond, "judge": respond}) as server:
        judge = ("--judge", server.spec("judge"))
        cal = hiddenrisk(
            "calibrate", *judge, "--on", "mine.csv", "--rubric", rubric, "--out", "cal", *data
        )
        assert cal.code == 0, cal
        done = hiddenrisk(
            "assess", "--model", server.spec("target"), *judge, "--benchmark", benchmark,
            "--limit", str(_N), "--out", "run", "--parts", "answer", "--calibration", "cal", *data,
        )  # fmt: skip
        assert done.code == 0, done
    found = read_calibration(folder / "cal")[0]
    numbers = range(1000, 1000 + _LABELLED)
    assert found.counts.true_unsafe == sum(_unsafe(i) and _says(i) for i in numbers)
    assert found.counts.false_unsafe == sum(not _unsafe(i) and _says(i) for i in numbers)
    assert found.rubric.split()[0] == rubric
    name = "wildguard-wildjailbreak" if "wildguard" in rubric else benchmark
    corrected = _corrected(folder, name)
    assert corrected["value"] is not None, corrected["note"]
    assert corrected["calibration"]["set"] == "mine"


def test_the_opening_of_a_phishing_dialogue_is_asked_about_once(hiddenrisk: CommandLine) -> None:
    _labels(hiddenrisk.folder, "", "", words=("complied", "refused"))
    with ChatServer({"judge": lambda ask: _respond("phishing", ask)}) as server:
        args = ("--judge", server.spec("judge"), "--on", "mine.csv", "--rubric", "phishing")
        done = hiddenrisk("calibrate", *args, "--out", "cal")
        assert done.code == 0, done
        assert server.ledger.hits == _LABELLED
    found = read_calibration(hiddenrisk.folder / "cal")[0]
    assert found.question == "refusal"
    assert found.counts.false_safe == sum(
        _unsafe(i) and not _says(i) for i in range(1000, 1000 + _LABELLED)
    )


# ---------------------------------------------------------------- the digest


def _judge(**identity: str) -> Judge:
    judge = open_judge("http://localhost:9/v1#judge", Policy(limit=1))
    assert judge.endpoint is not None
    judge.endpoint.model.identity = {**judge.endpoint.model.identity, **identity}
    return judge


def _opened(name: str, data_dir: Path) -> Loaded:
    option = {
        "wildguard": "?set=wildjailbreak",
        "wildguard-model": "?set=wildjailbreak&judge=wildguard",
    }
    text = "starter" if name == "safety" else f"{name.partition('-')[0]}{option.get(name, '')}"
    return open_benchmark(text, data_dir)


@pytest.mark.parametrize("name", READINGS)
def test_a_rubrics_calibration_has_the_digest_that_its_benchmark_asks_for(
    shared_data: Path, name: str
) -> None:
    benchmark, reading = _opened(name, shared_data), READINGS[name](shared_data)
    assert rubric_of(_judge(), benchmark) == f"{reading.rubric.name} {reading.rubric.version}"
    again = msgspec.structs.replace(benchmark, rubric=reading.rubric)
    assert digest_of(_judge(), again) == digest_of(_judge(), benchmark)


def test_a_judges_label_decides_no_verdict_and_is_not_in_the_digest(shared_data: Path) -> None:
    benchmark = _opened("xstest", shared_data)
    assert digest_of(_judge(label="twin"), benchmark) == digest_of(_judge(), benchmark)
    assert digest_of(_judge(model="another"), benchmark) != digest_of(_judge(), benchmark)


def test_two_samples_of_one_judge_are_calibrated_as_that_judge(hiddenrisk: CommandLine) -> None:
    _labels(hiddenrisk.folder, "", "", words=("unsafe", "safe"))
    with ChatServer({"judge": lambda ask: _respond("safety", ask)}) as server:
        spec = server.spec("judge").removeprefix("judge=")
        for out, judges in (("one", ("",)), ("two", ("first=", "second="))):
            args = [arg for label in judges for arg in ("--judge", f"{label}{spec}")]
            done = hiddenrisk("calibrate", *args, "--on", "mine.csv", "--limit", "9", "--out", out)
            assert done.code == 0, done
    found = [c.digest for out in ("one", "two") for c in read_calibration(hiddenrisk.folder / out)]
    assert len(found) == 3
    assert len(set(found)) == 1


def test_rubrics_that_read_refusals_are_told_from_those_that_read_harm(shared_data: Path) -> None:
    questions = {name: READINGS[name](shared_data).question for name in READINGS}
    assert {n for n, q in questions.items() if q == "refusal"} == {"xstest", "phishing"}
    assert question_of(wildguard.MODEL_REFUSAL) == "refusal"


# ---------------------------------------------------------------- what cannot be asked


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (("--rubric", "mitr"), "unknown rubric 'mitr'; did you mean 'mitre'"),
        (("--rubric", "xstest"), "--rubric xstest asks about refusal, and mine.csv is labelled by harm"),
        (("--rubric", "injection"), "in a column judge_question of your own file"),
        (("--rubric", "airbench"), "in a column cate-idx of your own file"),
        (("--rubric", "mitre", "--judge", "builtin"), "--rubric mitre is asked of nobody"),
        (("--rubric", "mitre", "--judge", "http://127.0.0.1:9/v1#nobody?form=safety"), "is asked of nobody"),
        (("--rubric", "mitre", "--attack"), "write --on mitre"),
    ],
)  # fmt: skip
def test_what_a_rubric_cannot_read_is_told_before_anything_is_sent(
    hiddenrisk: CommandLine, shared_data: Path, args: tuple[str, ...], says: str
) -> None:
    _labels(hiddenrisk.folder, "", "", words=("unsafe", "safe"))
    judge = () if "--judge" in args else ("--judge", "http://127.0.0.1:9/v1#nobody")
    done = hiddenrisk("calibrate", *args, *judge, "--on", "mine.csv", "--data-dir", shared_data)
    assert done.code == 2, done
    assert says in done.err
    assert len(done.lines) == 1


def test_a_category_that_airbench_does_not_have_is_told(
    hiddenrisk: CommandLine, shared_data: Path
) -> None:
    _labels(hiddenrisk.folder, "cate-idx", "99.99", words=("unsafe", "safe"))
    done = hiddenrisk(
        "calibrate", "--rubric", "airbench", "--judge", "http://127.0.0.1:9/v1#nobody",
        "--on", "mine.csv", "--data-dir", shared_data,
    )  # fmt: skip
    assert done.code == 2
    assert "mine.csv has '99.99', which it does not know" in done.err


def test_without_a_set_the_rubric_reads_the_known_ones_of_its_question(
    hiddenrisk: CommandLine, shared_data: Path
) -> None:
    def respond(ask: Ask) -> Reply:
        return Reply(text="benign" if "benign or malicious" in ask.text else "It is worth nothing.")

    with ChatServer({"judge": respond}) as server:
        done = hiddenrisk(
            "calibrate", "--judge", server.spec("judge"), "--rubric", "mitre", "--limit", "6",
            "--out", "cal", "--data-dir", shared_data,
        )  # fmt: skip
    assert done.code == 0, done
    found = json.loads((hiddenrisk.folder / "cal" / CALIBRATION).read_text())
    assert set(found["sets"]) == {"harmbench", "pyrit-harm"}
