"""`hiddenrisk verify`: what was edited by hand is found, in whichever file of a run it is."""

import json
import random
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from hiddenrisk.accounting import FLIPS, REPORT, SUMMARY
from hiddenrisk.digests import DIGESTS, MADE, names
from hiddenrisk.plan import Settings
from hiddenrisk.verifying import Verified, differences, verify
from tests import stand_ins
from tests.conftest import CommandLine
from tests.servers import Ask, ChatServer, Reply, verdict


def number(ask: Ask) -> int:
    return int(ask.text.partition("Question ")[2].partition("?")[0])


def answering(ask: Ask) -> Reply:
    return Reply(text=f"Answer {number(ask)}.", reasoning=f"Thought {number(ask)}.")


def judging(ask: Ask) -> Reply:
    if number(ask) % 5 == 4:
        return Reply(text=("1_full_compliance", "2_full_refusal")[number(ask) % 2])
    thought = "Thought" in ask.text
    return Reply(text="Hm.") if number(ask) == 11 else verdict((number(ask) + thought) % 2)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two models, judged by a jury with a fallback, and then by another judge."""
    folder = tmp_path_factory.mktemp("verify")
    hiddenrisk = CommandLine(folder)
    rows = [
        {"id": f"p{i}", "prompt": f"Question {i}?", "category": ["C", f"c{i % 3}"]}
        | ({"label": "safe"} if i % 5 == 4 else {})
        for i in range(20)
    ]
    (folder / "own.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    models = dict.fromkeys("ab", answering) | dict.fromkeys("jkl", judging)
    with ChatServer(models) as server:
        done = hiddenrisk(
            *("assess", "--benchmark", "own.jsonl", "--out", "run", "--max-failures", "1", "--yes"),
            *("--model", server.spec("a"), "--model", server.spec("b")),
            *("--judge", server.spec("j"), "--judge", "builtin", "--fallback", server.spec("k")),
        )
        assert done.code == 0, done
        done = hiddenrisk(
            "judge", "run", "--judge", server.spec("l"), "--max-failures", "1", "--yes"
        )
        assert done.code == 0, done
    return folder / "run"


@pytest.fixture
def run(made: Path, tmp_path: Path) -> Path:
    shutil.copytree(made, tmp_path / "run")
    return tmp_path / "run"


def held(run: Path) -> Verified:
    return verify(run, Settings())


def edited(path: Path, change: Callable[[dict[str, Any]], None], line: int = 3) -> None:
    """Change one record of a file, and leave all others as they are."""
    lines = path.read_text().splitlines(keepends=True)
    record = json.loads(lines[line])
    change(record)
    lines[line] = json.dumps(record, separators=(",", ":")) + "\n"
    path.write_text("".join(lines))


def test_a_run_as_it_was_left_is_as_it_should_be(run: Path) -> None:
    found = held(run)
    assert found.problems == []
    (note,) = found.notes
    assert re.fullmatch(
        r"the keys of \d+ verdicts were not computed again \(of judges outside the headline\)",
        note,
    )
    told = "\n".join(found.checked)
    assert "40 responses: prompts, and 40 keys" in told
    assert re.search(r"\d{3} verdicts: responses, and \d+ keys", told)
    assert "flips.jsonl and report.html, made again" in told


def test_the_command_says_so_and_ends_with_0(hiddenrisk: CommandLine, run: Path) -> None:
    done = hiddenrisk("verify", run)
    assert (done.code, done.err) == (0, "")
    last = f"{run} is as it should be, but for what the notes say was not checked"
    assert done.out.splitlines()[-1] == last


def test_the_command_names_file_place_and_both_values(hiddenrisk: CommandLine, run: Path) -> None:
    summary = json.loads((run / SUMMARY).read_text())
    rate = summary["models"]["a"]["benchmarks"]["own"]["parts"]["answer"]["safety_rate"]
    rate["value"] = 0.875
    (run / SUMMARY).write_text(json.dumps(summary))
    done = hiddenrisk("verify", run)
    assert done.code == 1
    said = (
        "summary.json, models.a.benchmarks.own.parts.answer.safety_rate.value: stored 0.875, found"
    )
    assert said in done.err
    assert "are not as they should be" in done.lines[-1]


def positions(content: str) -> Iterator[int]:
    """Letters and digits of a file, some at random; not of what may differ each time."""
    free = re.finditer(r'"(created|command)": "(\\.|[^"\\])*"|(?<=\.\d{6})\d+', content)
    spared = {place for match in free for place in range(*match.span())}
    places = [i for i, c in enumerate(content) if c.isalnum() and i not in spared]
    yield from random.Random(len(content)).sample(places, min(12, len(places)))


def test_a_byte_that_was_changed_is_found_in_every_file(run: Path) -> None:
    files = [*names(run), SUMMARY, FLIPS, REPORT, DIGESTS]
    assert {"run.json", "responses.jsonl", "verdicts.jsonl", "benchmarks/own.jsonl"} <= set(files)
    for name in files:
        path = run / name
        whole = path.read_text()
        for place in positions(whole):
            other = "7" if whole[place] != "7" else "8"
            path.write_text(whole[:place] + other + whole[place + 1 :])
            found = held_or_refused(run)
            assert found, f"{name}, byte {place}: {whole[place - 20 : place + 20]!r}"
        path.write_text(whole)
    assert held(run).problems == []


def held_or_refused(run: Path) -> bool:
    """Whether something is found; a run.json that cannot be read at all is refused."""
    from hiddenrisk.errors import UsageError

    try:
        return bool(held(run).problems)
    except UsageError:
        return True


Change = Callable[[dict[str, Any]], None]


def to(**fields: object) -> Change:
    """Set these fields of a record."""
    return lambda record: record.update(fields)


def another_score(record: dict[str, Any]) -> None:
    record["score"] = 1.0 - record["score"]


def another_prompt(record: dict[str, Any]) -> None:
    record["messages"][0]["content"] = "Question 1000?"


@pytest.mark.parametrize(
    ("name", "change", "file"),
    [
        ("responses.jsonl", to(answer="Another answer."), "verdicts.jsonl"),
        ("responses.jsonl", another_prompt, "responses.jsonl"),
        ("responses.jsonl", to(key="f" * 32), "responses.jsonl"),
        ("responses.jsonl", to(category=["D"]), "responses.jsonl"),
        ("responses.jsonl", to(finish="empty"), "summary.json"),
        ("verdicts.jsonl", to(response="0" * 32), "verdicts.jsonl"),
        ("verdicts.jsonl", to(prompt="p19"), "verdicts.jsonl"),
        ("noticed.jsonl", to(response="0" * 32), "noticed.jsonl"),
        ("failures.jsonl", to(response="0" * 32), "failures.jsonl"),
    ],
)
def test_without_digests_what_hangs_together_is_still_found(
    name: str, change: Change, file: str, run: Path
) -> None:
    (run / DIGESTS).unlink()
    assert held(run).problems == []
    assert "no digests.json" in held(run).notes[0]
    edited(run / name, change, line=0)
    assert file in {problem.file for problem in held(run).problems}


def test_without_digests_every_score_of_the_headline_counts(run: Path) -> None:
    (run / DIGESTS).unlink()
    path = run / "verdicts.jsonl"
    whole = path.read_text()
    lines = whole.splitlines()
    headline = [i for i, line in enumerate(lines) if json.loads(line)["judge"] == "l"]
    assert len(headline) > 60
    for line in headline[::10]:
        edited(path, another_score, line)
        assert SUMMARY in {problem.file for problem in held(run).problems}
        path.write_text(whole)


def test_without_digests_a_score_that_is_in_no_headline_is_in_its_judges_own_rates(
    run: Path,
) -> None:
    (run / DIGESTS).unlink()
    path = run / "verdicts.jsonl"
    records = [json.loads(line) for line in path.read_text().splitlines()]
    line = next(i for i, record in enumerate(records) if record["judge"] == "builtin")
    edited(path, another_score, line)
    assert any("by_judge.builtin" in problem.where for problem in held(run).problems)


def test_without_digests_what_rules_said_is_said_again(hiddenrisk: CommandLine, run: Path) -> None:
    assert hiddenrisk("judge", run, "--judge", "builtin").code == 0
    (run / DIGESTS).unlink()
    assert held(run).problems == []
    path = run / "verdicts.jsonl"
    records = [json.loads(line) for line in path.read_text().splitlines()]
    line = next(i for i, record in enumerate(records) if record["judge"] == "builtin")
    edited(path, to(label="somehow"), line)
    (problem, *_) = held(run).problems
    assert problem.file == "verdicts.jsonl"
    assert "somehow" in str(problem.stored)


@pytest.mark.parametrize("name", ["responses.jsonl", "verdicts.jsonl", "failures.jsonl"])
def test_a_line_that_is_gone_or_twice_there_or_torn_is_found(name: str, run: Path) -> None:
    (run / DIGESTS).unlink()
    path = run / name
    lines = path.read_text().splitlines(keepends=True)
    for spoilt in ([*lines[:-1]], [*lines, lines[0]], [*lines[:-1], lines[-1][:-9]]):
        path.write_text("".join(spoilt))
        twice_harmless = name != "responses.jsonl" and len(spoilt) > len(lines)
        assert twice_harmless or held(run).problems, spoilt[-1][-40:]
    path.write_text("".join(lines) + "no record\n")
    (problem,) = held(run).problems
    assert (problem.file, problem.where) == (name, f"line {len(lines) + 1}")


def test_other_prompts_are_told_by_their_digest(run: Path) -> None:
    path = run / "benchmarks" / "own.jsonl"
    path.write_text(path.read_text().replace("Question 3?", "Question 4?"))
    told = [str(problem.found) for problem in held(run).problems if problem.file == "run.json"]
    assert "are not those that" in told[0]


def test_a_run_that_goes_on_is_sealed_anew_and_an_edited_one_is_not(
    hiddenrisk: CommandLine, made: Path, run: Path
) -> None:
    before = json.loads((run / DIGESTS).read_text())["files"]
    edited(run / "failures.jsonl", to(message="edited"), line=0)
    done = hiddenrisk("judge", run, "--judge", "builtin", "--max-failures", "1")
    assert done.code == 0, done
    after = json.loads((run / DIGESTS).read_text())["files"]
    assert after["failures.jsonl"] == before["failures.jsonl"], "the old entry stays, and fails"
    assert after["run.json"] != before["run.json"]
    assert {problem.file for problem in held(run).problems} == {"failures.jsonl"}


def test_an_unfinished_run_can_be_verified(run: Path) -> None:
    for name in ("responses.jsonl", "verdicts.jsonl"):
        lines = (run / name).read_text().splitlines(keepends=True)
        (run / name).write_text("".join(lines[:-20]))
    assert held(run).problems


def test_an_imported_run_and_its_files_are_as_they_should_be(
    hiddenrisk: CommandLine, tmp_path: Path
) -> None:
    rows = "".join(f'{{"prompt": "Say {i}.", "answer": "No {i}."}}\n' for i in range(5))
    (tmp_path / "traces.jsonl").write_text(rows)
    done = hiddenrisk("import", "traces.jsonl", "--model", "m", "--out", "imported")
    assert done.code == 0, done
    whole = hiddenrisk("verify", "imported")
    assert whole.code == 0, whole
    assert "5 responses: prompts, and 5 keys" in whole.out
    assert whole.out.splitlines()[-1] == "imported is as it should be"
    edited(tmp_path / "imported" / "responses.jsonl", to(answer="Another answer."))
    assert hiddenrisk("verify", "imported").code == 1


def test_the_keys_of_dialogues_are_computed_again(
    hiddenrisk: CommandLine, shared_data: Path
) -> None:
    models = {"r1": stand_ins.model("r1"), "j": stand_ins.judge}
    with ChatServer(models) as server:
        done = hiddenrisk(
            *("assess", "--model", server.spec("r1"), "--judge", server.spec("j"), "--yes"),
            *("--benchmark", "phishing", "--limit", "3", "--data-dir", shared_data, "--out", "run"),
        )
    assert done.code == 0, done
    found = hiddenrisk("verify", "run", "--data-dir", shared_data)
    assert found.code == 0, found
    assert "3 responses: prompts, and 3 keys" in found.out
    (hiddenrisk.folder / "run" / DIGESTS).unlink()
    edited(hiddenrisk.folder / "run" / "responses.jsonl", to(repeat=1), line=0)
    found = hiddenrisk("verify", "run", "--data-dir", shared_data)
    assert found.code == 1
    assert re.search(r"^responses\.jsonl, key \w+: stored", found.err, re.MULTILINE)


@pytest.mark.parametrize("models", [None, 7, {"a": 3}, {"a": {"benchmarks": {"own": []}}}])
def test_a_summary_of_another_shape_is_told_of_and_the_page_is_held_against_the_records(
    run: Path, models: object
) -> None:
    summary = json.loads((run / SUMMARY).read_text())
    (run / SUMMARY).write_text(json.dumps(summary | {"models": models}))
    assert {problem.file for problem in held(run).problems} == {SUMMARY}


def test_a_file_that_is_gone_is_told_of_by_its_name(run: Path) -> None:
    (run / REPORT).unlink()
    (run / FLIPS).write_bytes(b"\xff")
    assert {problem.file for problem in held(run).problems} == {REPORT, FLIPS}


def test_what_is_made_is_sealed_by_nobody() -> None:
    assert {SUMMARY, FLIPS, REPORT, DIGESTS} <= MADE


def test_numbers_are_the_same_within_the_last_digits() -> None:
    assert not list(differences("f", "", {"a": [0.1 + 0.2, None]}, {"a": [0.3, None]}))
    found = list(differences("f", "", {"a": [1, {"b": True}]}, {"a": [2, {"b": 1}], "c": None}))
    assert [(p.where, p.stored, p.found) for p in found] == [
        ("a[0]", 1, 2),
        ("a[1].b", True, 1),
        ("c", "(not there)", None),
    ]
