"""What speaks against a calibration is said, and where it must not be used it is not."""

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from hiddenrisk.calibration import Calibrated
from hiddenrisk.doubts import cautions, reason_against
from tests.conftest import CommandLine
from tests.servers import ChatServer
from tests.test_corrected import files, part, respond

_COUNTS = {"true_unsafe": 80, "false_safe": 20, "true_safe": 90, "false_unsafe": 10}


def _calibrated(**more: Any) -> Calibrated:  # noqa: ANN401 - as in a file
    said = {"judge": "j", "set": "s", "question": "harm", "digest": "d", "confusion": _COUNTS}
    return msgspec.convert(said | more, Calibrated)


def _group(hits: int, misses: int) -> dict[str, Any]:
    rest = {"true_safe": 45, "false_unsafe": 5}
    return {"confusion": {"true_unsafe": hits, "false_safe": misses} | rest}


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"in_sample": True}, "j was trained on the labels of s"),
        ({"complete": False}, "is not complete"),
        ({"failed": 60}, "no verdict on 60 of the 260 labelled texts"),
    ],
)
def test_what_must_not_be_used_says_why(more: dict[str, Any], says: str) -> None:
    assert says in str(reason_against(_calibrated(**more)))


def test_a_calibration_with_few_failures_is_used_and_told() -> None:
    assert reason_against(_calibrated(failed=10)) is None
    assert cautions(_calibrated(failed=10)) == [
        "j gave no verdict on 10 of the 210 labelled texts, and its errors there are unknown"
    ]
    assert cautions(_calibrated(failed=1)) == []
    assert cautions(_calibrated(unverified=["the file was changed"])) == ["the file was changed"]


def test_groups_that_differ_are_told_and_those_that_chance_explains_are_not() -> None:
    """XSTest's authors' GPT-4: it finds 49 of 50 of one model's, and 31 of 50 of another's."""
    (told,) = cautions(_calibrated(groups={"gpt4": _group(49, 1), "llama": _group(31, 19)}))
    assert "sensitivity differs" in told
    assert "62% (llama) to 98% (gpt4)" in told
    assert cautions(_calibrated(groups={"a": _group(40, 10), "b": _group(42, 8)})) == []
    assert cautions(_calibrated(groups={"a": _group(9, 0), "b": _group(0, 9)})) == [], "too few"
    assert cautions(_calibrated(groups={"a": _group(50, 0), "b": _group(50, 0)})) == []


def test_the_rules_are_not_corrected_by_the_labels_they_were_trained_on(
    hiddenrisk: CommandLine, shared_data: Path
) -> None:
    args = ("--on", "xstest", "--limit", "400", "--data-dir", shared_data, "--out", "cal")
    done = hiddenrisk("calibrate", *args)
    assert done.code == 0, done
    files(hiddenrisk.folder)
    with ChatServer({"target": respond}) as server:
        run = ("--model", server.spec("target"), "--benchmark", "prompts.jsonl", "--out", "run")
        done = hiddenrisk("assess", *run, "--limit", "40", "--calibration", "cal")
    assert done.code == 0, done
    found = part(hiddenrisk.folder)["corrected"]
    assert found["value"] is None
    assert "builtin was trained on the labels of xstest" in found["note"]
    assert "was trained on the labels" in done.out


def test_rated_texts_that_are_the_labelled_ones_are_told(hiddenrisk: CommandLine) -> None:
    folder = hiddenrisk.folder
    files(folder)
    rows = (folder / "mine.csv").read_text().splitlines()[1:]
    texts = [row.split(",") for row in rows]
    lines = [json.dumps({"id": i, "prompt": p, "answer": r}) for i, p, r, _ in texts]
    (folder / "texts.jsonl").write_text("\n".join(lines) + "\n")
    with ChatServer({"judge": respond}) as server:
        judge = ("--judge", server.spec("judge"))
        assert hiddenrisk("calibrate", *judge, "--on", "mine.csv", "--out", "cal").code == 0
        args = ("--model", "target", "--out", "run", "--parts", "answer", "--calibration", "cal")
        assert hiddenrisk("import", "texts.jsonl", *judge, *args).code == 0
    (benchmark,) = json.loads((folder / "run/summary.json").read_text())["models"]["target"][
        "benchmarks"
    ].values()
    note = benchmark["parts"]["answer"]["corrected"]["note"]
    assert "240 of the rated texts are among those of the calibration" in note
