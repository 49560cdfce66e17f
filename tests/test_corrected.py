"""Headlines corrected for the judge's errors, beside the raw ones."""

import csv
import json
import random
from pathlib import Path
from typing import Any

import pytest

from hiddenrisk.errors import DataError
from hiddenrisk.evidence import Scope, read_labels
from hiddenrisk.stats.agreement import Confusion
from hiddenrisk.stats.correction import ppi, rogan_gladen
from tests.conftest import CommandLine
from tests.servers import Ask, ChatServer, Reply, always, verdict

_N, _LABELLED = 200, 240
_ONE = Scope(["m"], ["b"])


def _unsafe(number: int) -> bool:
    return number % 4 == 0


def _says(number: int) -> bool:
    """What the judge says: it misses one unsafe text in ten, and is alarmed by one in eight."""
    return number % 40 != 0 if _unsafe(number) else number % 8 == 3


def respond(ask: Ask) -> Reply:
    """A model that numbers its answers, and a judge that errs on known ones."""
    number = int(ask.text.split("number ")[1].split()[0].rstrip(".?"))
    if ask.model == "target":
        return Reply(text=f"This is answer number {number} of all.")
    return Reply(text=f"##short_reasoning: so it is\n##the_score: {0 if _says(number) else 1}")


def files(folder: Path) -> None:
    with (folder / "mine.csv").open("w") as file:
        file.write("id,prompt,response,label\n")
        for i in range(1000, 1000 + _LABELLED):
            label = "unsafe" if _unsafe(i) else "safe"
            file.write(f"{i},Question number {i} ?,This is answer number {i} of all.,{label}\n")
    with (folder / "prompts.jsonl").open("w") as file:
        for i in range(_N):
            row = {"id": f"p{i}", "prompt": f"Question number {i} ?", "category": f"c{i % 2}"}
            file.write(json.dumps(row) + "\n")


def part(folder: Path, part: str = "answer") -> dict[str, Any]:
    summary = json.loads((folder / "run" / "summary.json").read_text())
    return summary["models"]["target"]["benchmarks"]["prompts"]["parts"][part]


def _safe(found: Any) -> tuple[float, float, float]:  # noqa: ANN401
    return 1 - found.value, 1 - found.high, 1 - found.low


def test_a_calibrated_judges_rate_is_corrected_beside_the_raw_one(
    hiddenrisk: CommandLine,
) -> None:
    folder = hiddenrisk.folder
    files(folder)
    with ChatServer({"target": respond, "judge": respond}) as server:
        judge = ("--judge", server.spec("judge"))
        cal = hiddenrisk("calibrate", *judge, "--on", "mine.csv", "--out", "cal")
        assert cal.code == 0, cal
        run = (
            "assess", "--model", server.spec("target"), *judge,
            "--benchmark", "prompts.jsonl", "--out", "run",
        )  # fmt: skip
        plain = hiddenrisk(*run)
        assert plain.code == 0, plain
        assert "corrected" not in part(folder)
        asked = server.ledger.hits
        done = hiddenrisk(*run, "--calibration", "cal")
        assert done.code == 0, done
        assert server.ledger.hits == asked
    numbers = range(1000, 1000 + _LABELLED)
    pairs = [(_unsafe(i), _says(i)) for i in numbers]
    counts = Confusion(
        true_unsafe=pairs.count((True, True)),
        false_safe=pairs.count((True, False)),
        true_safe=pairs.count((False, False)),
        false_unsafe=pairs.count((False, True)),
    )
    wanted = rogan_gladen(sum(_says(i) for i in range(_N)), _N, counts)
    found = part(folder)["corrected"]
    assert found["method"] == "rogan-gladen"
    assert (found["value"], found["low"], found["high"]) == pytest.approx(_safe(wanted.corrected))
    assert found["low"] <= 0.75 <= found["high"]
    assert found["n"] == _N
    assert found["raw"]["value"] == pytest.approx(part(folder)["safety_rate"]["value"])
    assert found["calibration"]["set"] == "mine"
    assert found["calibration"]["n"] == _LABELLED
    assert found["calibration"]["sensitivity"]["value"] == pytest.approx(counts.sensitivity.value)
    assert f"corrected {found['value']:.1%}" in done.out
    summary = json.loads((folder / "run" / "summary.json").read_text())
    of = summary["models"]["target"]["benchmarks"]["prompts"]["categories"]["c1"]
    odd = rogan_gladen(sum(_says(i) for i in range(1, _N, 2)), _N // 2, counts)
    assert of["parts"]["answer"]["corrected"]["value"] == pytest.approx(_safe(odd.corrected)[0])
    page = (folder / "run" / "report.html").read_text()
    assert "Corrected for the judge" in page
    assert f"{found['value']:.1%}" in page


@pytest.mark.parametrize(
    ("judge", "says"),
    [
        ("builtin", "no calibration is of builtin"),
        ("twin", "no calibration is of twin"),
    ],
)
def test_a_calibration_of_another_judge_corrects_nothing_and_says_why(
    hiddenrisk: CommandLine, judge: str, says: str
) -> None:
    folder = hiddenrisk.folder
    files(folder)
    with ChatServer({"target": respond, "judge": respond, "twin": respond}) as server:
        cal = hiddenrisk(
            "calibrate", "--judge", server.spec("judge"), "--on", "mine.csv", "--out", "cal"
        )
        assert cal.code == 0
        done = hiddenrisk(
            "assess", "--model", server.spec("target"), "--benchmark", "prompts.jsonl", "--out", "run",
            "--judge", judge if judge == "builtin" else server.spec(judge),
            "--limit", "40", "--calibration", "cal",
        )  # fmt: skip
    assert done.code == 0, done
    found = part(folder)["corrected"]
    assert found["value"] is None
    assert says in found["note"]
    assert says in done.out
    assert says in (folder / "run" / "report.html").read_text()


def test_a_jury_and_a_tiny_calibration_are_not_corrected(hiddenrisk: CommandLine) -> None:
    folder = hiddenrisk.folder
    files(folder)
    with ChatServer({"target": respond, "judge": respond}) as server:
        judge = ("--judge", server.spec("judge"))
        assert (
            hiddenrisk(
                "calibrate", *judge, "--on", "mine.csv", "--limit", "20", "--out", "cal"
            ).code
            == 0
        )
        run = (
            "assess",
            "--model",
            server.spec("target"),
            "--benchmark",
            "prompts.jsonl",
            "--limit",
            "40",
        )
        done = hiddenrisk(*run, *judge, "--out", "run", "--calibration", "cal")
        assert done.code == 0, done
        found = part(folder)["corrected"]
        assert found["value"] is None
        assert "label at least 30 of either class" in found["note"]
        assert found["calibration"]["n"] == 20
        (folder / "run").rename(folder / "first")
        done = hiddenrisk(
            *run, *judge, "--judge", "builtin", "--out", "run", "--calibration", "cal"
        )
        assert done.code == 0, done
    assert "no calibration is of the jury of judge, builtin" in part(folder)["corrected"]["note"]


def second(ask: Ask) -> Reply:
    """A judge that errs on others."""
    number = int(ask.text.split("number ")[1].split()[0].rstrip(".?"))
    return verdict(float(not (_unsafe(number) ^ (number % 11 == 0))))


def third(ask: Ask) -> Reply:
    """One that now and then has no word."""
    number = int(ask.text.split("number ")[1].split()[0].rstrip(".?"))
    return Reply(text="Hm.") if number % 13 == 0 else verdict(float(not _unsafe(number)))


def _together(number: int, rule: str) -> bool | None:
    """Whether the three call it unsafe."""
    votes = [_says(number), _unsafe(number) ^ (number % 11 == 0)]
    votes += [] if number % 13 == 0 else [_unsafe(number)]
    if rule == "majority":
        return next((word for word in (True, False) if votes.count(word) >= 2), None)
    return True if any(votes) else (None if len(votes) < 3 else False)


@pytest.mark.parametrize("rule", ["majority", "any-unsafe"])
def test_a_jury_is_calibrated_and_corrected_as_one_judge(
    hiddenrisk: CommandLine, rule: str
) -> None:
    folder = hiddenrisk.folder
    files(folder)
    served = {"target": respond, "judge": respond, "second": second, "third": third}
    with ChatServer(served) as server:
        judges = [w for j in ("judge", "second", "third") for w in ("--judge", server.spec(j))]
        more = ("--jury", rule, "--max-failures", "1")
        cal = hiddenrisk("calibrate", *judges, "--on", "mine.csv", "--out", "cal", *more)
        assert cal.code == 0, cal
        assert f"judge + second + third ({rule})" in cal.out
        run = (
            "assess", "--model", server.spec("target"), "--benchmark", "prompts.jsonl",
            "--parts", "answer", "--calibration", "cal", "--max-failures", "1",
        )  # fmt: skip
        turned = [*judges[2:], *judges[:2]]
        done = hiddenrisk(*run, *turned, "--out", "run", "--jury", rule)
        assert done.code == 0, done
        other = "any-unsafe" if rule == "majority" else "majority"
        assert hiddenrisk(*run, *judges, "--out", "other", "--jury", other).code == 0
    numbers = range(1000, 1000 + _LABELLED)
    pairs = [(_unsafe(i), _together(i, rule)) for i in numbers]
    counts = Confusion(
        true_unsafe=pairs.count((True, True)),
        false_safe=pairs.count((True, False)),
        true_safe=pairs.count((False, False)),
        false_unsafe=pairs.count((False, True)),
    )
    said = [word for i in range(_N) if (word := _together(i, rule)) is not None]
    wanted = rogan_gladen(sum(said), len(said), counts)
    found = part(folder)["corrected"]
    assert (found["value"], found["low"], found["high"]) == pytest.approx(_safe(wanted.corrected))
    assert found["calibration"]["n"] == counts.n
    (folder / "run").rename(folder / "kept")
    (folder / "other").rename(folder / "run")
    note = part(folder)["corrected"]["note"]
    assert f"no calibration is of the jury of judge, second, third by {other}" in note
    assert f"--jury {other} makes one" in note


def test_a_jury_that_settles_on_nothing_has_not_failed(hiddenrisk: CommandLine) -> None:
    files(hiddenrisk.folder)
    with ChatServer({"yes": always(verdict(1)), "no": always(verdict(0))}) as server:
        judges = [w for j in ("yes", "no") for w in ("--judge", server.spec(j))]
        args = ("--jury", "majority", "--limit", "40", "--out", "cal")
        done = hiddenrisk("calibrate", *judges, "--on", "mine.csv", *args)
    assert done.code == 0, done
    assert "40 left open" in done.out
    found = json.loads((hiddenrisk.folder / "cal/calibration.json").read_text())["results"][-1]
    assert (found["kind"], found["n"], found["failures"]) == ("jury", 0, {"judges_split": 40})
    assert found["complete"] is True


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (("--jury", "majority"), "--jury majority is of several judges"),
        (("--jury", "majority", "--attack"), "leave out --jury"),
        (("--judge", "recorded", "--judge", "builtin", "--jury", "majority"), "of several judges"),
    ],
)
def test_a_jury_of_one_is_none(hiddenrisk: CommandLine, args: tuple[str, ...], says: str) -> None:
    (hiddenrisk.folder / "mine.csv").write_text(
        "id,prompt,response,label,judge:old\n1,Q,A,safe,safe\n"
    )
    on = () if "--attack" in args else ("--on", "mine.csv")
    done = hiddenrisk("calibrate", *args, *on, "--out", "cal")
    assert done.code == 2
    assert says in done.err


def test_human_labels_of_the_runs_own_responses_go_first(hiddenrisk: CommandLine) -> None:
    folder = hiddenrisk.folder
    files(folder)
    drawn = random.Random(1).sample(range(_N), 60)
    with (folder / "human.csv").open("w", newline="") as file:
        csv.writer(file).writerows(
            [("prompt", "label"), *((f"p{i}", "unsafe" if _unsafe(i) else "safe") for i in drawn)]
        )
    with ChatServer({"target": respond, "judge": respond}) as server:
        done = hiddenrisk(
            "assess", "--model", server.spec("target"), "--judge", server.spec("judge"),
            "--benchmark", "prompts.jsonl", "--out", "run", "--labels", "human.csv",
        )  # fmt: skip
    assert done.code == 0, done
    rest = [float(_says(i)) for i in range(_N) if i not in drawn]
    order = sorted(drawn)
    wanted = ppi(rest, [float(_says(i)) for i in order], [float(_unsafe(i)) for i in order])
    found = part(folder)["corrected"]
    assert (found["method"], found["labelled"], found["calibration"]) == ("ppi", 60, None)
    assert (found["value"], found["low"], found["high"]) == pytest.approx(
        _safe(wanted.corrected), abs=1e-9
    )
    assert "60 human labels" in done.out


def test_labels_for_nobody_are_told(hiddenrisk: CommandLine) -> None:
    folder = hiddenrisk.folder
    files(folder)
    (folder / "human.csv").write_text("prompt,label\nnobody,safe\n")
    with ChatServer({"target": respond, "judge": respond}) as server:
        done = hiddenrisk(
            "assess", "--model", server.spec("target"), "--judge", server.spec("judge"), "--limit", "5",
            "--benchmark", "prompts.jsonl", "--out", "run", "--labels", "human.csv",
        )  # fmt: skip
    assert done.code == 0, done
    assert "no human label is for a judged response" in part(folder)["corrected"]["note"]


def test_bad_evidence_is_told_before_anything_is_sent(hiddenrisk: CommandLine) -> None:
    files(hiddenrisk.folder)
    (hiddenrisk.folder / "bad.csv").write_text("prompt,label\np1,perhaps\n")
    with ChatServer({"target": respond}) as server:
        run = ("assess", "--model", server.spec("target"), "--benchmark", "prompts.jsonl")
        for args, says in (
            (("--calibration", "nowhere"), "cannot read the calibration nowhere"),
            (("--labels", "bad.csv"), "bad.csv, line 2, field label: the label 'perhaps'"),
        ):
            done = hiddenrisk(*run, *args)
            assert done.code == 2
            assert says in done.err
            assert len(done.lines) == 1
        assert server.ledger.hits == 0


def test_people_vote_and_disputed_texts_are_left_out(tmp_path: Path) -> None:
    path = tmp_path / "labels.jsonl"
    rows = [
        {"response": "k1", "part": "answer", "label": "safe", "who": "a", "sheet": "s"},
        {"response": "k1", "part": "answer", "label": "unsafe", "who": "b", "sheet": "s"},
        {"response": "k1", "part": "answer", "label": "unsafe", "who": "a", "sheet": "s"},
        {"response": "k2", "part": "answer", "label": "safe", "who": "a", "drawn": "disputed"},
        {"response": "k3", "part": "thinking", "label": "unsure", "who": "a"},
        {"response": "k4", "part": "thinking", "label": "safe", "who": "a"},
        {"response": "k4", "part": "thinking", "label": "unsafe", "who": "b"},
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = read_labels(path, _ONE)
    wanted = [("k1", True), ("k3", None), ("k4", None)]
    assert [(one.response, one.unsafe) for one in found] == wanted


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ("p1,safe,answer\np1,safe,answer", "line 3: a second label"),
        ("p1,safe,middle", "field part: expected answer or thinking"),
        (",safe,answer", "neither prompt"),
        ("p1,safe,answer,unsafe", "line 2: more fields than the header names"),
    ],
)
def test_a_bad_label_of_a_response_is_told(tmp_path: Path, row: str, says: str) -> None:
    path = tmp_path / "human.csv"
    path.write_text(f"prompt,label,part\n{row}\n")
    with pytest.raises(DataError, match=says):
        read_labels(path, _ONE)
