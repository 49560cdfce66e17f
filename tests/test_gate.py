"""`hiddenrisk gate`: it lets a model pass only where the numbers say so."""

import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import jsonschema
import numpy as np
import pytest
import yaml

from hiddenrisk.comparing import compared
from hiddenrisk.errors import UsageError
from hiddenrisk.gate import files
from hiddenrisk.gate.checks import Check, pairs_needed
from hiddenrisk.gate.rules import Rule, Rules, first_match, limits_of, read_rules
from hiddenrisk.plan import Settings
from hiddenrisk.scores import Column
from hiddenrisk.sides import gate_pairings
from hiddenrisk.stats.paired import noninferior
from hiddenrisk.types import Part
from tests.conftest import ROOT, CommandLine, Done
from tests.sarif_schema import SARIF
from tests.servers import Ask, Reply
from tests.small_runs import DECLINES, HELPS, assess, blocked, model, number, write_prompts

SIZE = 300


def good(n: int) -> bool:
    return n % 10 != 0 and n % 10 != 9


def noisy(n: int) -> bool:
    """As good, and unsafe on other prompts now and then."""
    return good(n) if n % 50 else not good(n) or n % 100 == 0


def bad(n: int) -> bool:
    return good(n) and n % 3 != 0


def shy(n: int) -> bool:
    return n % 10 != 0


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A baseline, and runs that are as good, worse, too careful, too small, or blocked."""
    folder = tmp_path_factory.mktemp("gate")
    command = CommandLine(folder)
    prompts = write_prompts(folder / "own.jsonl", range(SIZE))
    for name, declines in {"base": good, "same": noisy, "bad": bad, "shy": shy}.items():
        assess(command, folder / name, prompts, {"m": model(declines)})
    assess(command, folder / "small", prompts, {"m": model(good)}, "--limit", "20")
    assess(command, folder / "blocked", prompts, {"m": blocked}, "--limit", "20")
    two = {"m": model(good), "k": model(bad)}
    assess(command, folder / "two", prompts, two, "--limit", "20")
    return folder


@pytest.fixture
def hiddenrisk(folder: Path) -> CommandLine:
    return CommandLine(folder)


def gate(
    hiddenrisk: CommandLine, run: str, *args: str | Path, against: str = "base"
) -> tuple[Done, list[dict[str, Any]]]:
    out = hiddenrisk.folder / "gate.json"
    done = hiddenrisk("gate", run, "--against", against, *args, "--out", out)
    assert done.code in (0, 1), done
    found = json.loads(out.read_text())
    assert found["passed"] == (done.code == 0)
    return done, found["checks"]


def statuses(checks: Sequence[dict[str, Any]], kind: str = "not_worse") -> dict[str, str]:
    """By metric, of whole benchmarks."""
    return {
        check["metric"]: check["status"]
        for check in checks
        if check["kind"] == kind and check["category"] is None
    }


# ---------------------------------------------------------------- who passes


def test_a_model_that_differs_by_noise_passes(hiddenrisk: CommandLine) -> None:
    done, checks = gate(hiddenrisk, "same", "--margin", "0.05", "--rules", rules(hiddenrisk))
    assert statuses(checks) == {"safety_rate": "passed"}, done
    assert done.code == 0
    assert "PASSED" in done.out


def rules(hiddenrisk: CommandLine, text: str = '[[rules]]\nmetric = "safety_rate"\n') -> Path:
    path = hiddenrisk.folder / "gate.toml"
    path.write_text(text)
    return path


def test_a_model_that_is_worse_does_not_pass(hiddenrisk: CommandLine) -> None:
    done, checks = gate(hiddenrisk, "bad", "--margin", "0.05")
    assert done.code == 1
    assert statuses(checks)["safety_rate"] == "failed"
    assert "worse by 5.0 or more" in done.out
    assert "NOT PASSED" in done.out


def test_over_refusal_counts_the_other_way_round(hiddenrisk: CommandLine) -> None:
    _, checks = gate(hiddenrisk, "shy", "--margin", "0.05")
    assert statuses(checks) == {"safety_rate": "passed", "over_refusal_rate": "failed"}
    _, checks = gate(hiddenrisk, "base", "--margin", "0.05", against="shy")
    assert statuses(checks)["over_refusal_rate"] == "passed"


def test_what_the_numbers_cannot_decide_does_not_pass_and_says_what_it_takes(
    hiddenrisk: CommandLine,
) -> None:
    done, checks = gate(hiddenrisk, "small", "--margin", "0.02")
    assert done.code == 1
    (one,) = [c for c in checks if c["kind"] == "not_worse" and c["metric"] == "safety_rate"]
    assert one["status"] == "undecided"
    assert one["estimate"]["value"] == 0.0
    assert one["needed"] > one["estimate"]["n"]
    assert f"about {one['needed']:,} pairs decide it" in " ".join(done.out.split())


def test_what_only_one_side_has_does_not_pass_until_a_rule_says_so(
    hiddenrisk: CommandLine, tmp_path: Path
) -> None:
    more = write_prompts(tmp_path / "more.jsonl", range(300, 320))
    assess(
        hiddenrisk, tmp_path / "more", hiddenrisk.folder / "own.jsonl",
        {"m": model(good, thinks=good)}, "--benchmark", str(more),
    )  # fmt: skip
    done, checks = gate(hiddenrisk, str(tmp_path / "more"), "--margin", "0.2")
    assert done.code == 1
    told = {(c["benchmark"], c["part"]): c["message"] for c in checks if c["status"] != "passed"}
    assert set(told) == {("own", "thinking"), ("more", "answer"), ("more", "thinking")}
    assert told["more", "answer"] == (
        "base:m was not asked more: assess it on that too, or let it through (a rule with "
        'undecided = "skip")'
    )
    assert "shows no thinking here" in told["own", "thinking"]
    assert "nothing failed, but what is undecided does not pass" in " ".join(done.out.split())

    skip = """margin = 0.2
    [[rules]]
    benchmark = "more"
    undecided = "skip"
    [[rules]]
    part = "answer"
    """
    args = ("--rules", rules(hiddenrisk, skip))
    done, checks = gate(hiddenrisk, str(tmp_path / "more"), *args)
    assert done.code == 0, done
    assert {c["status"] for c in checks if c["benchmark"] == "more"} == {"skipped", "passed"}
    assert {c["part"] for c in checks if c["benchmark"] == "own"} == {"answer"}
    assert "skipped is undecided, and let through by its rule" in " ".join(done.out.split())

    done, checks = gate(hiddenrisk, "base", *args, against=str(tmp_path / "more"))
    assert done.code == 0, "left out of the new run on purpose: the same rule says so"


def test_a_disk_that_takes_no_result_is_told_without_talk_of_resuming(
    hiddenrisk: CommandLine, tmp_path: Path
) -> None:
    for verb in (
        ("gate", "same", "--against", "base", "--margin", "0.1"),
        ("compare", "same", "base"),
    ):
        for name in ("full", "no/such.json"):
            (tmp_path / "full.part").unlink(missing_ok=True)
            (tmp_path / "full.part").symlink_to("/dev/full")
            done = hiddenrisk(*verb, "--out", tmp_path / name)
            assert done.code == 2, done
            why = "No space left on device" if name == "full" else "No such file or directory"
            assert done.err.splitlines()[-1] == (
                f"hiddenrisk: cannot write to {tmp_path / name}: {why}; make room (or name another "
                "place) and run the same command again"
            )


def test_a_model_that_is_blocked_throughout_does_not_pass(hiddenrisk: CommandLine) -> None:
    _, checks = gate(hiddenrisk, "blocked", "--margin", "0.02")
    assert statuses(checks)["safety_rate"] == "undecided"
    assert statuses(checks, "unscored")["safety_rate"] == "failed"
    assert any("blocked on input" in check["message"] for check in checks)


def test_one_blocked_response_makes_no_thinker_of_a_model(
    hiddenrisk: CommandLine, tmp_path: Path
) -> None:
    """Nothing is known of a thought that never was; a gate that waited for it would never open."""

    def once(ask: Ask) -> Reply:
        return blocked(ask) if number(ask) == 7 else model(good)(ask)

    assess(
        hiddenrisk, tmp_path / "once", hiddenrisk.folder / "own.jsonl", {"m": once},
        "--max-failures", "1",
    )  # fmt: skip
    for run, base in ((tmp_path / "once", "base"), (hiddenrisk.folder / "base", tmp_path / "once")):
        _, checks = gate(hiddenrisk, str(run), "--margin", "0.5", against=str(base))
        assert {check["part"] for check in checks} == {"answer"}
        assert {check["status"] for check in checks} == {"passed"}


def test_a_run_that_was_stopped_halfway_has_failures(
    hiddenrisk: CommandLine, tmp_path: Path
) -> None:
    run = tmp_path / "half"
    run.mkdir()
    for path in (hiddenrisk.folder / "same").glob("*.json*"):
        (run / path.name).write_bytes(path.read_bytes())
    (run / "benchmarks").mkdir()
    kept = hiddenrisk.folder / "same" / "benchmarks" / "own.jsonl"
    (run / "benchmarks" / "own.jsonl").write_bytes(kept.read_bytes())
    lines = (run / "responses.jsonl").read_text().splitlines(keepends=True)
    (run / "responses.jsonl").write_text("".join(lines[:150]))
    _, checks = gate(hiddenrisk, str(run), "--margin", "0.5")
    assert statuses(checks)["safety_rate"] == "passed"
    assert statuses(checks, "failures")["safety_rate"] == "failed"
    assert any("not run" in check["message"] for check in checks)


# ---------------------------------------------------------------- rules


def test_rules_decide_by_category_and_let_through_what_they_say(hiddenrisk: CommandLine) -> None:
    path = rules(
        hiddenrisk,
        """
        margin = 0.05
        [[rules]]
        name = "fine"
        category = "C > *"
        undecided = "skip"
        [[rules]]
        metric = "safety_rate"
        min_safety = 0.8
        [[rules]]
        metric = "over_refusal_rate"
        max_over_refusal = 0.2
        """,
    )
    done, checks = gate(hiddenrisk, "same", "--rules", path)
    fine = [c for c in checks if c["rule"] == "fine"]
    assert {c["category"] for c in fine} == {"C > c0", "C > c1", "C > c2"}
    assert {c["status"] for c in fine} <= {"passed", "skipped"}
    assert statuses(checks, "min_safety") == {"safety_rate": "passed"}
    assert statuses(checks, "max_over_refusal") == {"over_refusal_rate": "passed"}
    assert "let through by its rule" in done.out
    path = rules(hiddenrisk, "[[rules]]\nmetric = 'safety_rate'\nmin_safety = 0.95\n")
    _, checks = gate(hiddenrisk, "same", "--rules", path)
    assert statuses(checks, "min_safety") == {"safety_rate": "failed"}


def test_a_rule_that_is_for_nothing_here_does_not_pass(hiddenrisk: CommandLine) -> None:
    path = rules(hiddenrisk, "margin = 0.5\n[[rules]]\n[[rules]]\nbenchmark = 'airbnch'\n")
    done, checks = gate(hiddenrisk, "same", "--rules", path)
    assert done.code == 1
    assert checks[-1]["status"] == "undecided"
    assert "airbnch" in checks[-1]["message"]


def test_the_first_rule_that_matches_counts() -> None:
    rules = Rules(
        margin=0.02,
        rules=(
            Rule(benchmark="xs*", margin=0.1),
            Rule(category="Security Risks > *", undecided="skip"),
            Rule(),
        ),
    )

    def number(benchmark: str, category: str | None) -> int | None:
        found = first_match(rules.rules, benchmark, Part.ANSWER, "safety_rate", category)
        return found and found[0]

    assert number("xstest", None) == 1
    assert number("airbench", None) == 3
    assert number("airbench", "Security Risks > Confidentiality") == 2
    assert number("airbench", "Security Risks") is None
    assert number("airbench", "Other [x] > y") is None
    assert limits_of(rules.rules[0], rules).margin == 0.1
    assert limits_of(rules.rules[1], rules).margin == 0.02
    assert limits_of(rules.rules[1], rules).max_failures is None
    assert limits_of(rules.rules[2], rules).max_failures == 0.01
    assert limits_of(rules.rules[2], rules).undecided == "fail"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("margin = 2", "margin is 2; it must be a share from 0 to 1"),
        ("margin = nan", "margin is nan; it must be a share from 0 to 1"),
        ("margn = 0.1", "unknown field `margn`"),
        ("[[rules]]\nmin_n = 0", "rule 1: min_n is 0"),
        ("[[rules]]\nundecided = 'pass'", "'pass' .* undecided is fail or skip"),
        ("rules = []\nmargin = 0.1", "nothing is asked for"),
        ("", "nothing is asked for"),
        ("alpha = 1\nmargin = 0.1", "alpha is 1"),
        ("alpha = 0.9\nmargin = 0.1", "alpha is 0.9; it must lie from 0.0001 to 0.5"),
        ("[[rules", "not valid TOML"),
    ],
)
def test_rules_that_make_no_sense_are_told(tmp_path: Path, text: str, told: str) -> None:
    path = tmp_path / "gate.toml"
    path.write_text(text)
    with pytest.raises(UsageError, match=told.replace("[", r"\[")):
        read_rules(path, None)


@pytest.mark.parametrize(
    ("run", "baseline", "told"),
    [
        ("base", "base", "held against itself"),
        ("two", "base", "base has no model called k"),
        ("two:x", "base", "unknown model 'x'"),
        ("same", "nowhere", "'nowhere' is no run directory"),
    ],
)
def test_models_that_do_not_match_are_told(
    folder: Path, monkeypatch: pytest.MonkeyPatch, run: str, baseline: str, told: str
) -> None:
    monkeypatch.chdir(folder)
    with pytest.raises(UsageError, match=told):
        gate_pairings(run, baseline, Settings())


def test_wrong_use_is_told_with_exit_code_2(hiddenrisk: CommandLine) -> None:
    done = hiddenrisk("gate", "same", "--against", "base")
    assert done.code == 2
    assert "nothing is asked for; give --margin 0.02" in done.err
    done = hiddenrisk("gate", "same", "--margin", "0.1")
    assert done.code == 2
    assert "Missing option '--against'" in done.err


def test_two_models_of_one_run_are_held_against_each_other(hiddenrisk: CommandLine) -> None:
    done, checks = gate(hiddenrisk, "two:k", "--margin", "0.9", against="two:m")
    assert {(c["baseline"], c["model"]) for c in checks} == {("m", "k")}
    assert done.code == 0


def test_runs_that_share_no_prompt_are_compared_only_if_asked(
    hiddenrisk: CommandLine, tmp_path: Path
) -> None:
    other = write_prompts(tmp_path / "own.jsonl", range(1000, 1000 + SIZE))
    assess(CommandLine(tmp_path), tmp_path / "other", other, {"m": model(good)})
    how = ("--margin", "0.1", "--allow", "benchmark", "--rules", rules(hiddenrisk))
    done, checks = gate(hiddenrisk, str(tmp_path / "other"), *how)
    assert statuses(checks) == {"safety_rate": "undecided"}
    assert "--unpaired compares all the same" in done.out
    done, checks = gate(hiddenrisk, str(tmp_path / "other"), *how, "--unpaired")
    assert statuses(checks) == {"safety_rate": "passed"}
    assert "540 samples that are no pairs" in done.out


# ---------------------------------------------------------------- the files


def test_junit_has_a_suite_for_each_benchmark_and_a_case_for_each_check(
    hiddenrisk: CommandLine,
) -> None:
    path = hiddenrisk.folder / "gate.xml"
    _, checks = gate(hiddenrisk, "bad", "--margin", "0.05", "--junit", path)
    root = ET.parse(path).getroot()  # noqa: S314 - our own file
    assert root.tag == "testsuites"
    (suite,) = root
    assert (suite.tag, suite.get("name")) == ("testsuite", "own")
    assert int(suite.attrib["tests"]) == len(suite) == len(checks)
    failed = [case for case in suite if case.find("failure") is not None]
    assert int(suite.attrib["failures"]) == len(failed) == int(root.attrib["failures"]) > 0
    for case in suite:
        assert set(case.attrib) == {"classname", "name", "time"}
    assert len({(case.get("classname"), case.get("name")) for case in suite}) == len(checks)


def test_sarif_has_a_rule_for_each_category_and_no_text_of_a_model(
    hiddenrisk: CommandLine,
) -> None:
    path = hiddenrisk.folder / "gate.sarif"
    toml = rules(hiddenrisk, "margin = 0.05\n[[rules]]\ncategory = 'C > *'\n[[rules]]\n")
    _, checks = gate(hiddenrisk, "bad", "--rules", toml, "--sarif", path)
    text = path.read_text()
    log = json.loads(text)
    jsonschema.validate(log, SARIF)
    (run,) = log["runs"]
    ids = [rule["id"] for rule in run["tool"]["driver"]["rules"]]
    assert ids == ["own", "own/C > c0", "own/C > c1", "own/C > c2"]
    for result in run["results"]:
        assert ids[result["ruleIndex"]] == result["ruleId"]
        assert result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"] == (
            "bad/summary.json"
        )
    assert len(run["results"]) == sum(check["status"] != "passed" for check in checks)
    prints = [result["partialFingerprints"]["check/v1"] for result in run["results"]]
    assert len(set(prints)) == len(prints)
    for word in (DECLINES, HELPS, "Question"):
        assert word not in text


HOSTILE = 'x\x00\x0b\ud800￾ ]]><script>alert("1")</script> [a](0) {0} \x1b[31m'


def test_names_that_xml_or_sarif_would_read_are_plain_in_both() -> None:
    check = Check(
        model=HOSTILE, baseline=HOSTILE, benchmark=HOSTILE, part=Part.ANSWER,
        metric="safety_rate", category=HOSTILE, rule=HOSTILE, kind="not_worse", status="failed",
        message=HOSTILE, limit=0.02,
    )  # fmt: skip
    text = files.junit([check])
    root = ET.fromstring(text.encode("utf-8", "strict"))  # noqa: S314 - our own file
    assert root[0][0].get("name", "").startswith('answer, x ]]><script>alert("1")</script>')
    assert "<script>" not in text
    log = files.sarif([check], Path("runs/a b#c"))
    jsonschema.validate(log, SARIF)
    (result,) = log["runs"][0]["results"]
    told = result["message"]["text"] + result["ruleId"]
    assert not set("[]{}\x00\x1b") & set(told)
    assert result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"] == (
        "runs/a%20b%23c/summary.json"
    )
    json.dumps(log).encode()


def test_the_github_workflow_runs_the_gate_and_uploads_what_it_writes() -> None:
    workflow = yaml.safe_load((ROOT / "docs" / "github-actions.yml").read_text())
    (job,) = workflow["jobs"].values()
    assert job["permissions"]["security-events"] == "write"
    steps = job["steps"]
    told = "\n".join(step.get("run", "") for step in steps)
    assert "hiddenrisk gate" in told
    uploads = [step for step in steps if "upload-sarif" in step.get("uses", "")]
    assert uploads[0]["with"]["sarif_file"] in told
    assert uploads[0]["if"] == "always() && hashFiles('gate.sarif') != ''"  # if the gate ran
    assert "secrets." not in told  # keys are in the environment, not in a command


def test_the_rules_in_the_docs_are_rules(tmp_path: Path) -> None:
    text = (ROOT / "docs" / "gate.md").read_text()
    (block,) = text.split("```toml\n")[1:]
    path = tmp_path / "gate.toml"
    path.write_text(block.partition("```")[0])
    assert len(read_rules(path, None).rules) > 2


# ---------------------------------------------------------------- how often it is right


def column(scores: Sequence[float], name: str) -> Column:
    n = len(scores)
    return Column(
        model=name, benchmark="b", part=Part.ANSWER, label="unsafe", protocol="reference",
        judges=("j",), prompts=np.arange(n, dtype=np.uint64), repeats=np.zeros(n, np.uint32),
        scores=np.array(scores), outcomes=np.zeros(n, np.int8),
        categories=np.zeros(n, np.int32), paths=((),), offsets=np.arange(n, dtype=np.int64),
    )  # fmt: skip


def passing(n: int, worse: float, margin: float, times: int) -> float:
    """How often a model passes that is so much worse, of prompts of which a tenth is unsure."""
    dice = random.Random(f"{n} {worse}")
    passed = 0
    for _ in range(times):
        sure = [dice.random() < 0.8 for _ in range(n)]
        unsure = [dice.random() < 0.2 for _ in range(n)]
        a, b = (
            [float(s if not u else dice.random() < rate) for s, u in zip(sure, unsure, strict=True)]
            for rate in (0.5, 0.5 - worse / 0.2)
        )
        difference = compared(column(a, "a"), column(b, "b")).difference
        passed += bool(noninferior(difference, margin))
    return passed / times


def test_noise_passes_at_the_size_that_is_told_and_what_is_worse_does_not() -> None:
    needed = pairs_needed(discordant=0.1, margin=0.03, level=0.95)
    assert 500 < needed < 1500
    assert passing(needed, 0.0, 0.03, 200) > 0.7
    assert passing(needed, 0.03, 0.03, 200) < 0.07
