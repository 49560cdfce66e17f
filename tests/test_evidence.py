"""What people and calibrations know of a run stays with it, and is of the texts it says."""

import csv
import io
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hiddenrisk.stats.correction import ppi
from tests.conftest import CommandLine
from tests.servers import Ask, ChatServer, Reply, verdict
from tests.test_importing import results, summary, wrong
from tests.test_transcripts import jsonl

_N = 300


def _number(text: str) -> int:
    return int(text.split("number ")[1].split()[0].rstrip(".?"))


def _hard(number: int) -> bool:
    return number % 2 == 0


def _unsafe(number: int) -> bool:
    """Seven of ten hard texts, and one of ten of the others."""
    return (number // 2) % 10 < (7 if _hard(number) else 1)


def _gives_up(ask: Ask) -> Reply:
    """A judge that is right on what is easy and has no word for the rest."""
    number = _number(ask.text)
    return Reply(text="Hm.") if _hard(number) else verdict(float(not _unsafe(number)))


def _lenient(_: Ask) -> Reply:
    return verdict(1)


def _texts(folder: Path, n: int = _N, **more: str) -> Path:
    rows = [
        {"id": f"p{i}", "prompt": f"Question {i}?", "answer": f"This is number {i}.", **more}
        for i in range(n)
    ]
    return jsonl(folder / "texts.jsonl", *rows)


def _fill(sheet: Path, label: Callable[[int], str]) -> None:
    rows = list(csv.DictReader(io.StringIO(sheet.read_text("utf-8-sig"), newline="")))
    column = next(name for name in rows[0] if "number" in rows[0][name])
    with sheet.open("w", newline="") as file:
        writer = csv.DictWriter(file, ["id", "label"])
        writer.writeheader()
        for row in rows:
            writer.writerow({"id": row["id"], "label": label(_number(row[column]))})


def _answer(folder: Path) -> dict[str, Any]:
    return results(folder / "run", "m")["parts"]["answer"]


def _judged(line: CommandLine, server: ChatServer, *more: str) -> str:
    args = ("--model", "m", "--out", "run", "--parts", "answer", "--max-failures", "1", *more)
    done = line("import", _texts(line.folder), "--judge", server.spec("j"), *args)
    assert done.code == 0, done
    return done.out


def test_labels_drawn_at_random_correct_for_what_no_judge_could_read(
    hiddenrisk: CommandLine,
) -> None:
    """The judge fails on hard texts, and these are the unsafe ones: the raw rate knows nothing."""
    with ChatServer({"j": _gives_up}) as server:
        _judged(hiddenrisk, server)
        raw = _answer(hiddenrisk.folder)["safety_rate"]
        assert (raw["n"], raw["value"]) == (_N // 2, pytest.approx(0.9))
        args = ("--what", "random", "--n", "120", "--to", "sheet", "--parts", "answer")
        assert hiddenrisk("labels", "export", "run", *args).code == 0
        _fill(hiddenrisk.folder / "sheet/labels.csv", lambda i: "unsafe" if _unsafe(i) else "safe")
        asked = server.ledger.hits
        done = hiddenrisk("labels", "import", "run", "sheet/labels.csv")
        assert (done.code, server.ledger.hits) == (0, asked), done
    found = _answer(hiddenrisk.folder)
    value = found["corrected"]["value"]
    assert f"m, texts, answer {value:.1%}" in done.out
    assert found["safety_rate"] == raw, "a sample is there to correct the rate, not to be in it"
    assert found.get("by_human", 0) == 0
    corrected = found["corrected"]
    assert (corrected["method"], corrected["labelled"], corrected["n"]) == ("ppi", 120, _N)
    assert corrected["low"] < 0.6 < corrected["high"] < 0.75
    assert "150 texts on which no judge settled" in corrected["note"]


def test_inference_holds_where_the_judge_fails_on_purpose() -> None:
    """300 draws: the truth lies in the interval as often as it says."""
    rng, held = random.Random(5), 0
    for _ in range(300):
        labelled = set(rng.sample(range(_N), 80))
        word = [0.5 if _hard(i) else float(_unsafe(i)) for i in range(_N)]
        found = ppi(
            [word[i] for i in range(_N) if i not in labelled],
            [word[i] for i in labelled],
            [float(_unsafe(i)) for i in labelled],
        ).corrected
        assert found.low is not None
        assert found.high is not None
        held += found.low <= 0.4 <= found.high
    assert held >= 0.92 * 300


def test_where_people_are_unsure_the_interval_holds_either_way(hiddenrisk: CommandLine) -> None:
    words = {i: "unsafe" if _unsafe(i) else "safe" for i in range(100)}
    words |= dict.fromkeys(range(0, 100, 5), "unsure")
    rows = "".join(f"p{i},{word}\n" for i, word in words.items())
    (hiddenrisk.folder / "human.csv").write_text("prompt,label\n" + rows)
    with ChatServer({"j": _lenient}) as server:
        _judged(hiddenrisk, server, "--labels", "human.csv")
    corrected = _answer(hiddenrisk.folder)["corrected"]
    sure = [i for i in range(100) if i % 5]
    rest = [0.0] * (_N - 80)
    exact = ppi(rest, [0.0] * 80, [float(_unsafe(i)) for i in sure]).corrected
    assert exact.value is not None
    assert (corrected["labelled"], corrected["unsure"]) == (80, 20)
    assert corrected["value"] == pytest.approx(1 - exact.value)
    worst = ppi(rest[:-20], [0.0] * 100, [float(i % 5 == 0 or _unsafe(i)) for i in range(100)])
    assert worst.corrected.high is not None
    assert corrected["low"] == pytest.approx(1 - worst.corrected.high)
    assert "unsure of 20 texts" in corrected["note"]


def test_the_run_keeps_who_judges_it_and_by_what_it_is_corrected(hiddenrisk: CommandLine) -> None:
    """`labels import` counts it again: with the judges named last, and without a key."""
    rows = "".join(f"p{i},{'unsafe' if _unsafe(i) else 'safe'}\n" for i in range(0, _N, 3))
    (hiddenrisk.folder / "human.csv").write_text("prompt,label\n" + rows)
    with ChatServer({"j": _gives_up, "k": _lenient}) as server:
        _judged(hiddenrisk, server, "--labels", "human.csv")
        before = _answer(hiddenrisk.folder)["corrected"]
        args = ("--judge", server.spec("k"), "--parts", "answer")
        assert hiddenrisk("judge", "run", *args).code == 0
    after = _answer(hiddenrisk.folder)["corrected"]
    assert after["low"] <= before["value"] <= after["high"], "it says what people say"
    assert after["labelled"] == before["labelled"] == 100
    sheet = ("labels", "export", "run", "--what", "all", "--to", "sheet", "--parts", "answer")
    assert hiddenrisk(*sheet).code == 0
    _fill(hiddenrisk.folder / "sheet/labels.csv", lambda i: "safe" if i == 4 else "")
    assert hiddenrisk("labels", "import", "run", "sheet/labels.csv").code == 0
    found = results(hiddenrisk.folder / "run", "m")
    assert found["judges"] == ["k"]
    assert found["parts"]["answer"]["safety_rate"]["value"] == 1.0
    assert found["parts"]["answer"]["corrected"]["labelled"] == 101
    assert summary(hiddenrisk.folder / "run")["evidence"]["unmatched"] == 0


def test_labels_of_no_text_are_counted_and_told(hiddenrisk: CommandLine) -> None:
    rows = "".join(f"{'p' if i % 2 else 'q'}{i},safe\n" for i in range(80))
    (hiddenrisk.folder / "human.csv").write_text("prompt,label\n" + rows)
    with ChatServer({"j": _lenient}) as server:
        _texts(hiddenrisk.folder)
        args = ("--model", "m", "--out", "run", "--parts", "answer", "--labels", "human.csv")
        done = hiddenrisk("import", "texts.jsonl", "--judge", server.spec("j"), *args)
    assert done.code == 0, done
    assert summary(hiddenrisk.folder / "run")["evidence"]["unmatched"] == 40
    assert "40 of 80 human labels are of no text that counts here" in done.out


def test_a_label_that_could_be_of_several_responses_is_refused(hiddenrisk: CommandLine) -> None:
    bench = jsonl(hiddenrisk.folder / "b.jsonl", {"id": "p1", "prompt": "Question 1?"})
    (hiddenrisk.folder / "l.csv").write_text("prompt,label\np1,safe\n")
    models = {"m": _lenient, "n": _lenient}
    with ChatServer(models) as server:
        one, two = (("--model", server.spec(name)) for name in models)
        rest = ("--benchmark", bench, "--labels", "l.csv", "--out", "run")
        said = wrong(hiddenrisk("assess", *one, *two, *rest))
        assert "several models (m, n)" in said
        assert "column model" in said
        assert "asked 3 times" in wrong(hiddenrisk("assess", *one, "--repeat", "3", *rest))
        (hiddenrisk.folder / "l.csv").write_text("prompt,model,label\np1,,unsafe\np1,m,safe\n")
        assert "a second label for the same" in wrong(hiddenrisk("assess", *one, *rest))
        assert server.ledger.hits == 0


def test_over_refusal_is_corrected_too(hiddenrisk: CommandLine) -> None:
    """A judge of refusals that misses every fourth, calibrated on texts of the same kind."""

    def judge(ask: Ask) -> Reply:
        if "1_full_compliance" not in ask.text:
            return verdict(1)
        number = _number(ask.text)
        refuses = number % 3 == 0 and number % 4 != 0
        return Reply(text="2_full_refusal" if refuses else "1_full_compliance")

    rows = "".join(
        f"c{i},Question {i}?,This is number {i}.,{'refused' if i % 3 == 0 else 'complied'}\n"
        for i in range(600)
    )
    (hiddenrisk.folder / "mine.csv").write_text("id,prompt,response,label\n" + rows)
    texts = jsonl(
        hiddenrisk.folder / "texts.jsonl",
        *(
            {"id": f"p{i}", "prompt": f"Question {i}?", "answer": f"This is number {i}.",
             "label": "safe" if i % 2 else "unsafe"}
            for i in range(600)
        ),
    )  # fmt: skip
    with ChatServer({"j": judge}) as server:
        spec = ("--judge", server.spec("j"))
        assert hiddenrisk("calibrate", *spec, "--on", "mine.csv", "--out", "cal").code == 0
        args = ("--model", "m", "--out", "run", "--parts", "answer", "--calibration", "cal")
        done = hiddenrisk("import", texts, *spec, *args)
        assert done.code == 0, done
    found = results(hiddenrisk.folder / "run", "m")
    over = found["parts"]["answer"]["corrected_over_refusal"]
    raw = found["parts"]["answer"]["scores"]["over_refusal_rate"]
    assert raw["value"] == pytest.approx(1 / 3), "no odd text is a multiple of four"
    assert over["raw"]["value"] == pytest.approx(raw["value"])
    assert over["value"] == pytest.approx(min(1, (1 / 3) / 0.75), abs=0.01)
    assert f"over-refusal {over['value']:.1%}" in done.out
    page = (hiddenrisk.folder / "run/report.html").read_text()
    assert "over-refusal of the answer" in page


def test_a_form_of_another_version_is_another_judge(hiddenrisk: CommandLine) -> None:
    """Else verdicts of the old version would stand in where the new one failed."""
    reply = Reply(text='{"refusal": 0, "convincingness": 5, "specificity": 5}')
    with ChatServer({"j": lambda _: reply}) as server:
        _texts(hiddenrisk.folder, 3)
        spec = server.spec("j") + "?form=strongreject"
        args = ("--model", "m", "--out", "run", "--parts", "answer", "--max-failures", "1")
        assert hiddenrisk("import", "texts.jsonl", "--judge", spec, *args).code == 0
        path = hiddenrisk.folder / "run/run.json"
        manifest = json.loads(path.read_text())
        named = manifest["identity"]["judges"]["j"]
        assert named["rubric"].startswith("strongreject ")
        named["rubric"] = "strongreject 0"
        path.write_text(json.dumps(manifest))
        said = wrong(hiddenrisk("judge", "run", "--judge", spec))
    assert "judge j is another model or has other options" in said


def test_a_form_is_remembered_when_others_judge(hiddenrisk: CommandLine) -> None:
    def judge(ask: Ask) -> Reply:
        return verdict(1) if "the_score" in ask.text else Reply(text="safe")

    with ChatServer({"j": judge, "guard": judge}) as server:
        _texts(hiddenrisk.folder, 4)
        guard = (
            f"g={server.spec('guard').partition('=')[2] or server.spec('guard')}?form=llamaguard"
        )
        args = ("--model", "m", "--out", "run", "--parts", "answer")
        assert hiddenrisk("import", "texts.jsonl", "--judge", guard, *args).code == 0
        before = results(hiddenrisk.folder / "run", "m")["by_judge"]["g"]
        assert "llamaguard" in before["rubric"]
        assert hiddenrisk("judge", "run", "--judge", server.spec("j")).code == 0
    assert results(hiddenrisk.folder / "run", "m")["by_judge"]["g"] == before


def test_labels_about_refusing_do_not_correct_a_rate_about_harm(hiddenrisk: CommandLine) -> None:
    rows = "".join(f"p{i},refused\n" for i in range(60))
    (hiddenrisk.folder / "human.csv").write_text("prompt,label\n" + rows)
    with ChatServer({"j": _lenient}) as server:
        said = _judged(hiddenrisk, server, "--labels", "human.csv")
    corrected = _answer(hiddenrisk.folder)["corrected"]
    assert corrected["value"] is None
    assert "the human labels are about refusal" in corrected["note"]
    evidence = summary(hiddenrisk.folder / "run")["evidence"]
    assert (evidence["unmatched"], evidence["other_question"]) == (0, 60)
    assert "60 of 60 human labels are about another question" in said
    assert "of no text" not in said


def test_a_label_counts_for_every_sheet_it_stands_on(hiddenrisk: CommandLine) -> None:
    """Else those on a disputed sheet would be missing from the random draw."""
    truth = {i: "unsafe" if _unsafe(i) else "safe" for i in range(_N)}
    with ChatServer({"j": _gives_up}) as server:
        _judged(hiddenrisk, server)
    sheets = (("disputed", ()), ("random", ("--n", "120")))
    for drawn, more in sheets:
        args = ("--what", drawn, *more, "--to", drawn, "--parts", "answer")
        assert hiddenrisk("labels", "export", "run", *args).code == 0
        _fill(hiddenrisk.folder / drawn / "labels.csv", truth.__getitem__)
        done = hiddenrisk("labels", "import", "run", f"{drawn}/labels.csv", "--who", "ben")
        assert done.code == 0, done
    corrected = _answer(hiddenrisk.folder)["corrected"]
    assert corrected["labelled"] == 120
    assert corrected["low"] < 0.6 < corrected["high"]
    assert _answer(hiddenrisk.folder)["safety_rate"]["value"] == pytest.approx(0.6)


def test_a_rate_tells_of_the_people_behind_itself_alone(hiddenrisk: CommandLine) -> None:
    """Of 400 texts the judge leaves 30 harmful and 10 harmless ones to people."""

    def judge(ask: Ask) -> Reply:
        number = _number(ask.text)
        if number < 40:
            return Reply(text="Hm.")
        return (
            Reply(text="1_full_compliance") if "1_full" in ask.text else verdict(float(number % 2))
        )

    rows = [
        {"id": f"p{i}", "prompt": f"Question {i}?", "answer": f"This is number {i}.",
         "label": "unsafe" if i < 30 or i > 220 else "safe"}
        for i in range(400)
    ]  # fmt: skip
    texts = jsonl(hiddenrisk.folder / "texts.jsonl", *rows)
    labelled = "".join(
        f"c{i},Question {i}?,This is number {i}.,{'safe' if i % 2 else 'unsafe'}\n"
        for i in range(1000, 1200)
    )
    (hiddenrisk.folder / "mine.csv").write_text("id,prompt,response,label\n" + labelled)
    with ChatServer({"j": judge}) as server:
        spec = ("--judge", server.spec("j"))
        assert hiddenrisk("calibrate", *spec, "--on", "mine.csv", "--out", "cal").code == 0
        args = ("--model", "m", "--out", "run", "--parts", "answer", "--calibration", "cal")
        assert hiddenrisk("import", texts, *spec, *args).code == 1
    assert hiddenrisk("labels", "export", "run", "--to", "sheet").code == 0
    sheet = (hiddenrisk.folder / "sheet/labels.csv").read_text("utf-8-sig")
    filled = csv.DictReader(io.StringIO(sheet, newline=""))
    words = "".join(f"{r['id']},{'safe' if 'safe' in r['labels'] else 'helped'}\n" for r in filled)
    (hiddenrisk.folder / "ana.csv").write_text("id,label\n" + words)
    assert hiddenrisk("labels", "import", "run", "ana.csv").code == 0
    found = _answer(hiddenrisk.folder)
    assert found["by_human"] == 40
    assert "; 30 texts that people settled are not in it" in f"; {found['corrected']['note']}"
