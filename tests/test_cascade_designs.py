"""Cascades as a user designs them: several cheap judges, a share for each stratum, failures."""

import json
import re
import signal
from pathlib import Path
from typing import Any

import pytest

from hiddenrisk.cascading import Cascade, shares_of
from hiddenrisk.errors import StoreError, UsageError
from hiddenrisk.opening import open_plan
from hiddenrisk.panels import Manifest
from hiddenrisk.plan import Settings, check, plan_from, read_toml
from hiddenrisk.reopening import plan_of
from hiddenrisk.stats.cascade import Read, cascaded
from tests.conftest import CommandLine
from tests.servers import Ask, ChatServer, Reply, always, verdict
from tests.test_cascading import (
    PROMPTS,
    cheap,
    dear,
    number_in,
    numbers_read_by,
    target,
)
from tests.test_end_to_end import benchmark, only_benchmark, records_of, summary_of
from tests.test_importing import wrong
from tests.test_kill import LATENCY_S, Trial
from tests.test_transcripts import jsonl

SHARES = (0.2, 0.6, 0.4)
AUDIT = "0.2/0.6/0.4"
SORRY = Reply(text="I'm sorry, but I can't help with that.")


def other(ask: Ask) -> Reply:
    """A second cheap judge: wrong on every fifth, refuses every eleventh."""
    number = number_in(ask)
    if number % 11 == 0:
        return SORRY
    return verdict(float((number % 3 != 0) ^ (number % 5 == 0)))


def stratum(number: int) -> str:
    """Where the two put a text, by their rules."""
    first = None if number % 10 == 0 else (number % 3 != 0) ^ (number % 7 == 0)
    second = None if number % 11 == 0 else (number % 3 != 0) ^ (number % 5 == 0)
    if first is None or first is not second:
        return "unsure"
    return "sure safe" if first else "sure unsafe"


SERVED = {"target": target, "dear": dear, "cheap": cheap, "other": other}


def assess(
    server: ChatServer, folder: Path, *more: str, audit: str = AUDIT, prompts: int = PROMPTS
) -> list[str | Path]:
    bench = benchmark(folder, [f"Prompt {i}?" for i in range(prompts)])
    args: list[str | Path] = ["assess", "--model", server.spec("target"), "--benchmark", bench]
    args += ["--judge", server.spec("dear"), "--audit", audit, "--parts", "answer"]
    args += ["--cascade", server.spec("cheap"), "--cascade", server.spec("other")]
    return [*args, "--out", folder / "out", "--yes", *more]


def keys_of(out: Path) -> dict[int, str]:
    return {int(r["prompt"][1:]): r["key"] for r in records_of(out / "responses.jsonl")}


def drawn_from(keys: dict[int, str]) -> set[int]:
    """Whom the shares draw, of texts that the two cheap judges read."""
    cascade = Cascade(labels=("cheap", "other"), shares=shares_of(SHARES))
    return {i for i, key in keys.items() if cascade.goes_on(key, stratum(i))}  # pyright: ignore[reportArgumentType]


def cascade_in(out: Path) -> dict[str, Any]:
    return only_benchmark(out, "target")["parts"]["answer"]["cascade"]


def check_counts(found: dict[str, Any], drawn: set[int]) -> None:
    """The estimate and its strata, counted anew from the rules of the judges."""
    strata = {
        name: {i for i in range(PROMPTS) if stratum(i) == name}
        for name in ("sure safe", "unsure", "sure unsafe")
    }
    expected = cascaded({
        name: Read(n=len(s), judged=len(s & drawn), unsafe=sum(i % 3 == 0 for i in s & drawn))
        for name, s in strata.items()  # pyright: ignore[reportArgumentType]
    })  # fmt: skip
    assert expected.rate.value is not None
    assert found["value"] == pytest.approx(1 - expected.rate.value)
    assert expected.rate.low is not None
    assert expected.rate.high is not None
    assert found["low"] == pytest.approx(1 - expected.rate.high)
    assert found["high"] == pytest.approx(1 - expected.rate.low)
    assert (found["texts"], found["read"], found["calls"]) == (PROMPTS, len(drawn), len(drawn))
    assert found["saved"] == pytest.approx(1 - len(drawn) / PROMPTS)
    assert found["by"] == ["cheap", "other"]
    assert found["audit"] == list(SHARES)
    for (name, some), share in zip(strata.items(), SHARES, strict=True):
        got = found["strata"][name]
        assert (got["share"], got["texts"]) == (share, len(some))
        assert got["drawn"] == got["judged"] == len(some & drawn)
        assert (got["failed"], got["split"], got["pending"]) == (0, 0, 0)


# ---------------------------------------------------------------- several cheap judges


def test_two_cheap_judges_are_sure_where_they_agree(
    hiddenrisk: CommandLine, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    with ChatServer(SERVED) as server:
        done = hiddenrisk(*assess(server, tmp_path))
        assert done.code in (0, 1), done  # texts that cheap judges refuse, and nobody else reads
        before = server.ledger.sent_by_model["dear"]
        again = hiddenrisk(*assess(server, tmp_path))
        assert server.ledger.sent_by_model["dear"] == before, "nothing is read again"
    drawn = drawn_from(keys_of(out))
    assert numbers_read_by("dear", out) == drawn
    found = cascade_in(out)
    check_counts(found, drawn)
    for name, rule in (("cheap", 10), ("other", 11)):
        assert found["cheap"][name]["n"] == sum(i % rule != 0 for i in range(PROMPTS))
    plan = json.loads((out / "run.json").read_text())
    assert len(plan["plan"]["cascade"]) == 2
    assert plan["plan"]["audit"] == list(SHARES)
    assert list(plan["identity"]["cascade"]) == ["cheap", "other"]
    assert {
        label for label, j in summary_of(out)["judges"].items() if j.get("role") == "cheap"
    } == {
        "cheap",
        "other",
    }
    assert "0.6 of what they are unsure of, 0.2 of what they all call safe" in again.err
    assert "cheap + other first" in done.out
    page = (out / "report.html").read_text()
    assert "What the judges read" in page
    assert '<span class="name">cheap</span> and <span class="name">other</span> read all' in page


def test_a_text_that_nobody_read_counts_by_the_first_cheap_judge_that_has_a_word(
    hiddenrisk: CommandLine, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    with ChatServer(SERVED) as server:
        hiddenrisk(*assess(server, tmp_path))
    drawn = drawn_from(keys_of(out))
    spared = set(range(PROMPTS)) - drawn
    mute = {i for i in spared if i % 110 == 0}
    by_other = {i for i in spared - mute if i % 10 == 0}
    safe = sum(i % 3 != 0 for i in drawn)
    safe += sum((i % 3 != 0) ^ (i % 5 == 0) for i in by_other)
    safe += sum((i % 3 != 0) ^ (i % 7 == 0) for i in spared - mute - by_other)
    rate = only_benchmark(out, "target")["parts"]["answer"]["safety_rate"]
    assert rate["n"] == PROMPTS - len(mute)
    assert rate["value"] == pytest.approx(safe / rate["n"])
    outcomes = only_benchmark(out, "target")["outcomes"]
    assert sum(n for name, n in outcomes.items() if name != "complete") == len(mute)
    assert "not_judged" not in outcomes


def test_a_guard_that_tells_no_refusals_leaves_harmless_prompts_to_the_other(
    hiddenrisk: CommandLine, tmp_path: Path
) -> None:
    rows = [
        {"id": f"p{i}", "prompt": f"Prompt {i}?", "label": "safe" if i % 2 else "unsafe"}
        for i in range(PROMPTS)
    ]
    bench = jsonl(tmp_path / "mixed.jsonl", *rows)

    def declined(ask: Ask) -> Reply:
        """By either rubric."""
        asks_of_refusals = "1_full_compliance" in ask.text
        return Reply(text="2_full_refusal") if asks_of_refusals else verdict(1)

    served = {"target": target, "dear": declined, "cheap": declined}
    with ChatServer({**served, "guard": always(Reply(text="safe"))}) as server:
        args = ["assess", "--model", server.spec("target"), "--benchmark", bench, "--yes"]
        args += ["--judge", server.spec("dear"), "--audit", "0.3/0.5/0.3", "--parts", "answer"]
        args += ["--cascade", f"guard={server.base_url}#guard?form=llamaguard"]
        args += ["--cascade", server.spec("cheap"), "--out", tmp_path / "out"]
        done = hiddenrisk(*args)
        assert done.code == 0, done
        harmful = PROMPTS // 2
        assert server.ledger.sent_by_model["guard"] == harmful
        assert server.ledger.sent_by_model["cheap"] == PROMPTS
        assert server.ledger.sent_by_model["dear"] < PROMPTS / 2, "and harmless ones are spared"
    found = cascade_in(tmp_path / "out")
    assert found["texts"] == harmful
    assert found["read"] == found["strata"]["sure safe"]["drawn"]
    assert only_benchmark(tmp_path / "out", "target")["outcomes"] == {"complete": PROMPTS}


def test_a_run_killed_with_two_cheap_judges_goes_on_where_it_was(tmp_path: Path) -> None:
    def repeating(ask: Ask) -> Reply:
        return Reply(text=f"Answer {re.findall(r'[0-9]+', ask.text)[0]}.")

    served = {"target": repeating, "judge": dear, "cheap": cheap, "other": other}
    with ChatServer(served, latency_s=LATENCY_S) as server:
        line = CommandLine(tmp_path)
        trial = Trial(server=server, line=line, prompts=PROMPTS, concurrency=8)
        trial.args += ["--cascade", server.spec("cheap"), "--cascade", server.spec("other")]
        trial.args += ["--audit", AUDIT, "--parts", "answer", "--max-failures", "1"]
        for after in (90, 110):
            assert trial.interrupt(signal.SIGKILL, after) == -signal.SIGKILL, line.said()
            trial.look()
        done = line(*trial.args)
        assert done.code == 0, done
        final = [v["key"] for v in records_of(trial.out / "verdicts.jsonl")]
        assert len(final) == len(set(final))
    drawn = drawn_from(keys_of(trial.out))
    assert numbers_read_by("judge", trial.out) == drawn
    check_counts(cascade_in(trial.out), drawn)


# ---------------------------------------------------------------- judge and import


def test_a_stored_run_is_judged_by_a_cascade_of_two(
    hiddenrisk: CommandLine, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    bench = benchmark(tmp_path, [f"Prompt {i}?" for i in range(PROMPTS)])
    with ChatServer(SERVED) as server:
        made = ["--model", server.spec("target"), "--benchmark", bench, "--parts", "answer"]
        assert hiddenrisk("assess", *made, "--out", out, "--yes").code == 0
        args = ["judge", out, "--judge", server.spec("dear"), "--audit", AUDIT]
        args += ["--cascade", server.spec("cheap"), "--cascade", server.spec("other")]
        args += ["--max-failures", "1"]
        for _ in range(2):
            done = hiddenrisk(*args)
            assert done.code == 0, done
        drawn = drawn_from(keys_of(out))
        assert server.ledger.sent_by_model["dear"] == len(drawn)
        check_counts(cascade_in(out), drawn)
        (judging,) = json.loads((out / "run.json").read_text())["judgings"]
        assert (len(judging["cascade"]), judging["audit"]) == (2, list(SHARES))
        assert {"dear", "cheap", "other"} == set(judging["identity"])
        wider = [*args[: args.index("--audit")], "--audit", "1", *args[args.index("--audit") + 2 :]]
        assert hiddenrisk(*wider).code == 0
        assert server.ledger.sent_by_model["dear"] == PROMPTS
    assert len(json.loads((out / "run.json").read_text())["judgings"]) == 2
    done = hiddenrisk("labels", "export", out, "--to", tmp_path / "sheet", "--what", "all")
    assert done.code == 0, done


def test_an_import_is_judged_by_a_cascade_of_two(hiddenrisk: CommandLine, tmp_path: Path) -> None:
    rows = [
        {"id": f"p{i}", "prompt": f"Prompt {i}?", "answer": f"Answer {i}.", "model": "target"}
        for i in range(PROMPTS)
    ]
    path, out = jsonl(tmp_path / "t.jsonl", *rows), tmp_path / "out"
    with ChatServer(SERVED) as server:
        args = ["import", path, "--judge", server.spec("dear"), "--audit", AUDIT, "--out", out]
        args += ["--cascade", server.spec("cheap"), "--cascade", server.spec("other")]
        done = hiddenrisk(*args, "--parts", "answer", "--max-failures", "1", "--yes")
        assert done.code == 0, done
    check_counts(cascade_in(out), drawn_from(keys_of(out)))


# ---------------------------------------------------------------- what is read in vain


def test_what_the_dear_judge_reads_in_vain_is_no_saving(
    hiddenrisk: CommandLine, tmp_path: Path
) -> None:
    def failing(ask: Ask) -> Reply:
        return SORRY if number_in(ask) % 2 else dear(ask)

    with ChatServer({**SERVED, "dear": failing}) as server:
        done = hiddenrisk(*assess(server, tmp_path, "--max-failures", "1"))
        assert done.code == 0, done
    drawn = drawn_from(keys_of(tmp_path / "out"))
    found = cascade_in(tmp_path / "out")
    lost = sum(i % 2 for i in drawn)
    assert (found["read"], found["lost"]) == (len(drawn), lost)
    assert found["saved"] == pytest.approx(1 - len(drawn) / PROMPTS)
    assert found["calls_saved"] == PROMPTS - len(drawn)
    assert sum(s["failed"] for s in found["strata"].values()) == lost
    assert sum(s["judged"] for s in found["strata"].values()) == len(drawn) - lost
    assert found["if_lost"]["low"] < found["low"] < found["high"] < found["if_lost"]["high"]
    said = f"{lost} of {len(drawn)} texts that the expensive judge read have no verdict"
    assert said in done.out
    assert said in (tmp_path / "out" / "report.html").read_text()
    assert f"{lost} read in vain" in done.out


def test_a_jury_takes_a_call_of_each_member_and_its_splits_are_counted(
    hiddenrisk: CommandLine, tmp_path: Path
) -> None:
    def second(ask: Ask) -> Reply:
        """Says the contrary on every fourth."""
        number = number_in(ask)
        return verdict(float((number % 3 != 0) ^ (number % 4 == 0)))

    with ChatServer({**SERVED, "second": second}) as server:
        more = ("--judge", server.spec("second"), "--max-failures", "1")
        done = hiddenrisk(*assess(server, tmp_path, *more))
        assert done.code == 0, done
        sent = server.ledger.sent_by_model
        assert sent["dear"] == sent["second"]
        found = cascade_in(tmp_path / "out")
        assert found["calls"] == sent["dear"] + sent["second"]
    drawn = drawn_from(keys_of(tmp_path / "out"))
    assert (found["read"], found["calls"]) == (len(drawn), 2 * len(drawn))
    assert found["calls_saved"] == 2 * (PROMPTS - len(drawn))
    assert f"{found['calls_saved']} of {2 * PROMPTS} calls" in done.out
    split = sum(i % 4 == 0 for i in drawn)
    assert sum(s["split"] for s in found["strata"].values()) == split == found["lost"]
    assert found["caution"] is not None


# ---------------------------------------------------------------- better shares


def test_a_pilot_says_how_to_go_on_and_the_run_goes_on(
    hiddenrisk: CommandLine, tmp_path: Path
) -> None:
    out, many = tmp_path / "out", 700
    with ChatServer(SERVED) as server:
        allow = ("--max-failures", "1")
        args = assess(server, tmp_path, *allow, audit="0.05/0.05/0.05", prompts=many)
        done = hiddenrisk(*args)
        assert done.code == 0, done
        first = numbers_read_by("dear", out)
        pilot = cascade_in(out)
        advice = pilot["advice"]
        assert advice["grows"] is True
        assert f"to go on with this run, {advice['option']} is the best split" in done.out
        assert advice["option"] in (out / "report.html").read_text()
        grown = hiddenrisk(
            *assess(server, tmp_path, *allow, audit=advice["option"].split()[1], prompts=many)
        )
        assert grown.code == 0, grown
        assert server.ledger.sent_by_model["target"] == many
    assert first < numbers_read_by("dear", out)
    found = cascade_in(out)
    assert found["audit"] == advice["audit"]
    assert found["high"] - found["low"] < pilot["high"] - pilot["low"]
    assert found["read"] == pytest.approx(advice["read"], rel=0.25)


def test_a_run_that_read_too_much_says_what_would_have_been_enough(
    hiddenrisk: CommandLine, tmp_path: Path
) -> None:
    """The cheap judge is always right and unsure of much: reading all of that is a waste."""

    def careful(ask: Ask) -> Reply:
        number = number_in(ask)
        return verdict(0.5 if number % 2 else float(number % 3 != 0))

    def steady(ask: Ask) -> Reply:
        """Finds all that the cheap ones are unsure of safe."""
        number = number_in(ask)
        return verdict(float(number % 2 or number % 3 != 0))

    served = {"target": target, "dear": steady, "cheap": careful, "other": careful}
    with ChatServer(served) as server:
        done = hiddenrisk(*assess(server, tmp_path, audit="0.5", prompts=700))
        assert done.code == 0, done
    advice = cascade_in(tmp_path / "out")["advice"]
    assert advice["grows"] is False
    assert advice["read"] < 0.8 * cascade_in(tmp_path / "out")["read"]
    assert f"next time {advice['option']} would tell as much" in done.out


# ---------------------------------------------------------------- plans, new and old


@pytest.mark.parametrize(
    ("audit", "said"),
    [
        ("0.1/0.2", "'0.1/0.2' is neither a share such as 0.1 nor three, SAFE/UNSURE/UNSAFE"),
        ("much", "neither a share such as 0.1 nor three"),
        ("0.1/0/0.1", "audit is 0.1/0/0.1; each share must be above 0"),
        ("0.1/2/0.1", "at most 1"),
        ("nan", "audit is nan; it must be above 0"),
        ("0", "audit is 0; it must be above 0"),
    ],
)
def test_a_wrong_audit_is_told_of(hiddenrisk: CommandLine, audit: str, said: str) -> None:
    args = ("--judge", "fake/comply", "--cascade", "builtin", "--audit", audit)
    done = hiddenrisk("assess", "--model", "fake/refuse", *args)
    assert said in " ".join(wrong(done).split())


def test_a_plan_file_names_several_cheap_judges_and_three_shares(tmp_path: Path) -> None:
    path = tmp_path / "plan.toml"
    text = 'models = ["fake/refuse"]\njudges = ["fake/comply"]\n'
    path.write_text(f'{text}cascade = ["builtin", "fake/echo"]\naudit = [0.05, 1, 0.04]\n')
    opened = open_plan(check(read_toml(path)), Settings(), "")
    assert [j.label for j in opened.cheap] == ["builtin", "echo"]
    assert opened.plan.audit == (0.05, 1.0, 0.04)
    path.write_text(f'{text}cascade = "builtin"\naudit = 0.2\n')
    opened = open_plan(check(read_toml(path)), Settings(), "")
    assert (opened.plan.cascade, opened.plan.audit) == (("builtin",), 0.2)
    for wrong_field in ("audit = [0.1, 0.2]", 'audit = "0.1/0.2/0.1"', "cascade = 3"):
        path.write_text(f'{text}cascade = "builtin"\n'.replace("cascade", "#") + wrong_field)
        with pytest.raises(UsageError, match=r"plan\.toml: Expected"):
            read_toml(path)
    with pytest.raises(UsageError, match="audit needs a cascade"):
        check({"audit": [0.1, 0.2, 0.3]})
    with pytest.raises(UsageError, match="two judges are called 'echo'"):
        open_plan(check({"cascade": ["fake/echo"] * 2, "judges": ["fake/comply"]}), Settings(), "")


@pytest.mark.parametrize(("then", "now"), [(None, ()), ("builtin", ("builtin",))])
def test_plans_of_before_are_still_read(then: str | None, now: tuple[str, ...]) -> None:
    assert plan_from({"cascade": then, "audit": 0.3}).cascade == now
    manifest: dict[str, Any] = {"models": {}, "judges": {}, "benchmarks": {}}
    stored = Manifest(plan={"cascade": then, "audit": 0.3}, identity=manifest)  # pyright: ignore[reportArgumentType]
    assert plan_of(stored, Path("run")).cascade == now
    stored.plan["cascade"] = 4
    with pytest.raises(StoreError, match="does not know its plan"):
        plan_of(stored, Path("run"))


def test_a_run_of_before_is_judged_again_and_counted_again(
    hiddenrisk: CommandLine, tmp_path: Path
) -> None:
    """run.json then named the one cheap judge of the plan and of a judging as a text."""
    out = tmp_path / "out"
    with ChatServer(SERVED) as server:
        args = assess(server, tmp_path, audit="0.3")
        one = [*args[: args.index("--cascade") + 2], *args[args.index("--cascade") + 4 :]]
        assert hiddenrisk(*one).code == 0
        again = ["judge", out, "--judge", server.spec("dear"), "--audit", "0.3"]
        again += ["--cascade", server.spec("cheap")]
        assert hiddenrisk(*again).code == 0
        run = json.loads((out / "run.json").read_text())
        run["plan"]["cascade"] = run["plan"]["cascade"][0]
        run["judgings"][0]["cascade"] = run["judgings"][0]["cascade"][0]
        (out / "run.json").write_text(json.dumps(run))
        before = server.ledger.sent_by_model["dear"]
        assert hiddenrisk(*again).code == 0
        assert len(json.loads((out / "run.json").read_text())["judgings"]) == 1, "the same judges"
        (out / "run.json").write_text(json.dumps(run))
        assert (
            hiddenrisk("labels", "export", out, "--to", tmp_path / "s", "--what", "all").code == 0
        )
        assert hiddenrisk(*one).code == 0
        assert server.ledger.sent_by_model["dear"] == before
