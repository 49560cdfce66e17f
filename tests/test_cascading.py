"""A cascade in a run: who reads what, what it costs, and what is estimated from it."""

import csv
import hashlib
import json
import re
import signal
from pathlib import Path
from typing import Any

import msgspec
import pytest

from hiddenrisk.cascading import SHORT, Cascade, shares_of, stratum_of
from hiddenrisk.done import already_done
from hiddenrisk.judges.odds import LABEL_MASS, P_UNSAFE
from hiddenrisk.records import read_records
from hiddenrisk.report.judge_page import Advice, Cascaded, advised_for_all
from hiddenrisk.stats.cascade import Read, cascaded
from hiddenrisk.store import VERDICTS
from hiddenrisk.types import Part, Verdict
from tests.conftest import CommandLine
from tests.servers import Ask, ChatServer, Reply, Responder, always, verdict
from tests.test_end_to_end import benchmark, only_benchmark, records_of, summary_of
from tests.test_kill import LATENCY_S, Trial
from tests.test_summary import Sample, write
from tests.test_summary import records_of as files_of

PROMPTS = 120
_NUMBER = re.compile(r"Answer (\d+)\.")


@pytest.mark.parametrize(
    ("score", "p_unsafe", "stratum"),
    [
        (1.0, None, "sure safe"),
        (0.0, None, "sure unsafe"),
        (0.5, None, "unsure"),
        (None, None, "unsure"),
        (1.0, 0.05, "sure safe"),
        (0.0, 0.95, "sure unsafe"),
        (0.0, 0.8, "unsure"),
        (1.0, 0.2, "unsure"),
    ],
)
def test_a_cheap_judge_is_sure_or_it_is_not(
    score: float | None, p_unsafe: float | None, stratum: str
) -> None:
    assert stratum_of(score, p_unsafe) == stratum


def test_a_judge_whose_likely_words_are_no_labels_is_never_sure(tmp_path: Path) -> None:
    for score in (0.0, 1.0):
        assert (
            stratum_of(score, doubtful=True) == stratum_of(score, 0.99, doubtful=True) == "unsure"
        )
    files = files_of([Sample(opinions={(p, "cheap"): 0.0 for p in Part})], ("cheap",))
    grades = {Part.ANSWER: {LABEL_MASS: 0.2}, Part.THINKING: dict[str, float]()}
    files[VERDICTS] = [
        msgspec.structs.replace(v, grades=grades[v.part])
        for v in files[VERDICTS]
        if isinstance(v, Verdict)
    ]
    write(tmp_path, files)
    (cell,) = read_records(tmp_path, ()).cells.values()
    cell.cascade = Cascade(labels=("cheap",), shares=shares_of(0.1))
    assert [cell.stratum(0, part) for part in grades] == ["unsure", "sure unsafe"]
    done = already_done(tmp_path, ["cheap"])
    assert {part: stratum for (_, part, _), stratum in done.strata.items()} == {
        Part.ANSWER: "unsure",
        Part.THINKING: "sure unsafe",
    }


def test_thinking_and_answer_of_a_sample_have_probabilities_of_their_own(tmp_path: Path) -> None:
    files = files_of([Sample(opinions={(p, "cheap"): 0.0 for p in Part})], ("cheap",))
    odds = {Part.ANSWER: 0.95, Part.THINKING: 0.5}
    files[VERDICTS] = [
        msgspec.structs.replace(v, grades={P_UNSAFE: odds[v.part]})
        for v in files[VERDICTS]
        if isinstance(v, Verdict)
    ]
    write(tmp_path, files)
    (cell,) = read_records(tmp_path, ()).cells.values()
    cell.cascade = Cascade(labels=("cheap",))
    assert [cell.stratum(0, part) for part in odds] == ["sure unsafe", "unsure"]


def test_the_draw_hangs_on_the_response_alone_and_a_larger_share_holds_the_smaller() -> None:
    keys = [hashlib.blake2b(f"{i}".encode(), digest_size=16).hexdigest() for i in range(4000)]
    small, large = (Cascade(labels=("c",), shares=shares_of(share)) for share in (0.1, 0.3))
    drawn = {k for k in keys if small.goes_on(k, "sure safe")}
    assert drawn <= {k for k in keys if large.goes_on(k, "sure safe")}
    assert drawn == {k for k in keys if small.goes_on(k, "sure unsafe")}
    assert 320 <= len(drawn) <= 480
    assert all(small.goes_on(k, "unsure") for k in keys)
    assert drawn == {k for k in keys if small.goes_on(k[:SHORT] + "0" * 17, "sure safe")}


def target(ask: Ask) -> Reply:
    return Reply(text=f"Answer {re.findall(r'[0-9]+', ask.text)[0]}.")


def number_in(ask: Ask) -> int:
    return int(_NUMBER.findall(ask.text)[-1])


def dear(ask: Ask) -> Reply:
    """Finds every third text unsafe."""
    return verdict(float(number_in(ask) % 3 != 0))


def cheap(ask: Ask) -> Reply:
    """Is wrong on every seventh, refuses every tenth, and is right on the others."""
    number = number_in(ask)
    if number % 10 == 0:
        return Reply(text="I'm sorry, but I can't help with that.")
    return verdict(float((number % 3 != 0) ^ (number % 7 == 0)))


def assess(server: ChatServer, tmp_path: Path, *more: str, audit: str = "0.3") -> list[str | Path]:
    bench = benchmark(tmp_path, [f"Prompt {i}?" for i in range(PROMPTS)])
    args: list[str | Path] = ["assess", "--model", server.spec("target"), "--benchmark", bench]
    args += ["--judge", server.spec("dear"), "--cascade", server.spec("cheap"), "--audit", audit]
    return [*args, "--parts", "answer", "--out", tmp_path / "out", "--yes", *more]


def numbers_read_by(judge: str, out: Path) -> set[int]:
    read = {v["response"] for v in records_of(out / "verdicts.jsonl") if v["judge"] == judge}
    responses = records_of(out / "responses.jsonl")
    return {int(r["prompt"][1:]) for r in responses if r["key"] in read}


def test_the_dear_judge_reads_the_unsure_and_an_audit_share(
    hiddenrisk: CommandLine, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    with ChatServer({"target": target, "dear": dear, "cheap": cheap}) as server:
        args = assess(server, tmp_path)
        done = hiddenrisk(*args)
        assert done.code == 0, done
        before = server.ledger.sent_by_model["dear"]
        assert hiddenrisk(*args).code == 0
        sent = server.ledger.sent_by_model
        assert sent["dear"] == before, "nothing that was read is read again"
    keys = {int(r["prompt"][1:]): r["key"] for r in records_of(out / "responses.jsonl")}
    cascade = Cascade(labels=("cheap",), shares=shares_of(0.3))
    unsure = {i for i in range(PROMPTS) if i % 10 == 0}
    audited = {i for i in range(PROMPTS) if cascade.goes_on(keys[i], "sure safe")} - unsure
    read = numbers_read_by("dear", out)
    assert read == unsure | audited
    found = only_benchmark(out, "target")
    assert found["outcomes"] == {"complete": PROMPTS}
    assert found["failed"] == 0, "where the cheap judge fails the dear one reads"
    check_the_estimate(found["parts"]["answer"], read, unsure)
    assert "answer by cascade" in done.out
    assert f"{PROMPTS - len(read)} of {PROMPTS} calls" in done.out
    assert "cheap first" in done.out
    page = (out / "report.html").read_text()
    assert "estimated from what they read" in page
    assert "which saved" in page
    assert any("did not read" in note for note in found["notes"])
    assert summary_of(out)["judges"]["cheap"]["role"] == "cheap"


def check_the_estimate(part: dict[str, Any], read: set[int], unsure: set[int]) -> None:
    """The numbers of the cascade, counted anew from the two rules."""
    rows = [i for i in range(PROMPTS) if i not in unsure]
    said_safe = {i for i in rows if (i % 3 != 0) ^ (i % 7 == 0)}
    strata = {
        "sure safe": said_safe,
        "unsure": unsure,
        "sure unsafe": set(rows) - said_safe,
    }
    expected = cascaded({
        name: Read(
            n=len(some), judged=len(some & read), unsafe=sum(i % 3 == 0 for i in some & read)
        )
        for name, some in strata.items()  # pyright: ignore[reportArgumentType]
    })  # fmt: skip
    found = part["cascade"]
    assert expected.rate.value is not None
    assert found["value"] == pytest.approx(1 - expected.rate.value)
    assert expected.rate.low is not None
    assert expected.rate.high is not None
    assert found["low"] == pytest.approx(1 - expected.rate.high)
    assert found["high"] == pytest.approx(1 - expected.rate.low)
    assert (found["texts"], found["calls"], found["calls_saved"]) == (
        PROMPTS, len(read), PROMPTS - len(read),
    )  # fmt: skip
    assert found["saved"] == pytest.approx(1 - len(read) / PROMPTS)
    assert (found["audited"], found["unsure"]) == (len(read - unsure), len(unsure) / PROMPTS)
    assert found["cheap"]["cheap"]["value"] == pytest.approx(len(said_safe) / len(rows))
    safe = {i for i in read if i % 3} | (said_safe - read)
    assert part["safety_rate"]["value"] == pytest.approx(len(safe) / PROMPTS)


def test_a_larger_audit_reads_what_the_smaller_one_left(
    hiddenrisk: CommandLine, tmp_path: Path
) -> None:
    with ChatServer({"target": target, "dear": dear, "cheap": cheap}) as server:
        assert hiddenrisk(*assess(server, tmp_path, audit="0.2")).code == 0
        first = numbers_read_by("dear", tmp_path / "out")
        assert hiddenrisk(*assess(server, tmp_path, audit="1")).code == 0
        assert server.ledger.sent_by_model["target"] == PROMPTS
        assert server.ledger.sent_by_model["dear"] == PROMPTS
    assert first < numbers_read_by("dear", tmp_path / "out") == set(range(PROMPTS))
    found = only_benchmark(tmp_path / "out", "target")["parts"]["answer"]
    assert found["cascade"]["value"] == pytest.approx(2 / 3)
    assert found["safety_rate"]["value"] == pytest.approx(2 / 3)
    assert found["cascade"]["saved"] == 0


def test_where_a_stratum_was_not_read_there_is_no_estimate_but_a_reason(
    hiddenrisk: CommandLine, tmp_path: Path
) -> None:
    refuses = always(Reply(text="I'm sorry, but I can't help with that."))
    judges = {"dear": refuses, "cheap": always(verdict(1))}
    with ChatServer({"target": target, **judges}) as server:
        done = hiddenrisk(*assess(server, tmp_path))
    assert done.code == 1
    assert "answer: cascade: no estimate: no verdict of the expensive judge" in done.out
    found = only_benchmark(tmp_path / "out", "target")["parts"]["answer"]["cascade"]
    assert (found["value"], found["low"], found["high"], found["n"]) == (None, None, None, 0)
    assert "no verdict of the expensive judge" in found["reason"]


def test_rules_come_first_at_no_call_at_all(hiddenrisk: CommandLine, tmp_path: Path) -> None:
    with ChatServer({"target": target, "dear": dear}) as server:
        args = assess(server, tmp_path)
        args[args.index("--cascade") + 1] = "builtin"
        done = hiddenrisk(*args)
        assert done.code == 0, done
        assert server.ledger.sent_by_model["dear"] < PROMPTS / 2
    found = only_benchmark(tmp_path / "out", "target")["parts"]["answer"]["cascade"]
    assert found["by"] == ["builtin"]
    assert found["cheap"]["builtin"]["value"] == 0.0
    read = numbers_read_by("dear", tmp_path / "out")
    unsafe = sum(i % 3 == 0 for i in read)
    # However wrong the cheap judge is: of one stratum, what was drawn tells all.
    of_all = cascaded({"sure unsafe": Read(n=PROMPTS, judged=len(read), unsafe=unsafe)}).rate
    assert of_all.low is not None
    assert of_all.high is not None
    assert found["value"] == pytest.approx(1 - unsafe / len(read))
    assert found["low"] == pytest.approx(1 - of_all.high)
    assert found["high"] == pytest.approx(1 - of_all.low)


def test_another_cheap_judge_is_another_plan(hiddenrisk: CommandLine, tmp_path: Path) -> None:
    with ChatServer({"target": target, "dear": dear, "cheap": cheap, "x": cheap}) as server:
        args = assess(server, tmp_path)
        assert hiddenrisk(*args).code == 0
        args[args.index("--cascade") + 1] = f"cheap={server.base_url}#x"
        done = hiddenrisk(*args)
        assert done.code == 2
        assert "another plan" in done.err


def test_a_run_killed_in_a_cascade_goes_on_where_it_was(tmp_path: Path) -> None:
    def repeating(ask: Ask) -> Reply:
        return Reply(text=f"Answer {re.findall(r'[0-9]+', ask.text)[0]}.")

    served = {"target": repeating, "judge": dear, "cheap": cheap}
    with ChatServer(served, latency_s=LATENCY_S) as server:
        line = CommandLine(tmp_path)
        trial = Trial(server=server, line=line, prompts=PROMPTS, concurrency=8)
        trial.args += ["--cascade", server.spec("cheap"), "--audit", "0.3"]
        kept: list[frozenset[str]] = []
        for after in (70, 80):
            assert trial.interrupt(signal.SIGKILL, after) == -signal.SIGKILL, line.said()
            kept.append(trial.look().verdicts)
        done = line(*trial.args)
        assert done.code == 0, done
        verdicts = records_of(trial.out / "verdicts.jsonl")
        final = [v["key"] for v in verdicts]
        assert len(final) == len(set(final))
        assert all(before <= set(final) for before in kept)
        read = sum(v["judge"] == "judge" for v in verdicts)
        assert server.ledger.sent_by_model["judge"] <= read + 2 * 8
        assert json.loads((trial.out / "summary.json").read_text())["complete"] is True
        (found,) = summary_of(trial.out)["models"]["target"]["benchmarks"].values()
        assert found["parts"]["answer"]["cascade"]["calls"] == read


# ---------------------------------------------------------------- harmless prompts, and people


def mixed(tmp_path: Path) -> Path:
    """Prompts of which every other one is harmless."""
    rows = (
        {"id": f"p{i}", "prompt": f"Prompt {i}?", "label": "safe" if i % 2 else "unsafe"}
        for i in range(PROMPTS)
    )
    path = tmp_path / "mixed.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def refusing(every: int, partly: int = 10_000) -> Responder:
    """A judge that finds every so manieth text a refusal, or a partial one, and all harmless."""

    def judge(ask: Ask) -> Reply:
        if "1_full_compliance" not in ask.text:
            return verdict(1)
        number = number_in(ask)
        if number % every == 0:
            return Reply(text="2_full_refusal")
        return Reply(text="1_full_compliance" if number % partly else "3_partial_refusal")

    return judge


def of_mixed(
    hiddenrisk: CommandLine, server: ChatServer, tmp_path: Path, judge: str
) -> dict[str, Any]:
    args = assess(server, tmp_path)
    args[args.index("--benchmark") + 1] = mixed(tmp_path)
    args[args.index("--judge") + 1] = judge
    done = hiddenrisk(*args)
    assert done.code == 0, done
    return only_benchmark(tmp_path / "out", "target") | {"out": done.out}


def test_where_a_guard_cannot_judge_the_cheap_judges_word_counts_for_every_harmless_prompt(
    hiddenrisk: CommandLine, tmp_path: Path
) -> None:
    """Those it is unsure of go on to the guard, who has no word for them: none may be missing."""
    guard = "meta-llama/Llama-Guard-3-8B"
    judges = {guard: always(Reply(text="safe")), "cheap": refusing(3, partly=5)}
    with ChatServer({"target": target, **judges}) as server:
        found = of_mixed(hiddenrisk, server, tmp_path, f"{server.base_url}#{guard}")
    assert found["outcomes"] == {"complete": PROMPTS}
    scores = found["parts"]["answer"]["scores"]
    odd = range(1, PROMPTS, 2)
    refused = sum(i % 3 == 0 or i % 5 == 0 for i in odd)
    assert scores["over_refusal_rate"]["n"] == PROMPTS // 2
    assert scores["over_refusal_rate"]["value"] == pytest.approx(refused / (PROMPTS // 2))
    partial = scores["safe_prompts_partial_refusal"]["value"]
    assert partial == pytest.approx(sum(i % 5 == 0 and i % 3 != 0 for i in odd) / (PROMPTS // 2))
    assert "cascade_over_refusal" not in found["parts"]["answer"], "there is nobody to estimate"
    note = "Llama-Guard-3-8B cannot tell refusals, and over-refusal is what cheap says of each"
    assert any(note in n for n in found["notes"])
    assert note in (tmp_path / "out/report.html").read_text()


def test_over_refusal_is_estimated_by_the_cascade_too(
    hiddenrisk: CommandLine, tmp_path: Path
) -> None:
    judges = {"dear": refusing(3), "cheap": refusing(10_001)}
    with ChatServer({"target": target, **judges}) as server:
        found = of_mixed(hiddenrisk, server, tmp_path, server.spec("dear"))
    part = found["parts"]["answer"]
    read = {i for i in numbers_read_by("dear", tmp_path / "out") if i % 2}
    refused = sum(i % 3 == 0 for i in read)
    over = part["cascade_over_refusal"]
    assert (over["texts"], over["read"], over["n"]) == (PROMPTS // 2, len(read), PROMPTS // 2)
    assert over["value"] == pytest.approx(refused / len(read)), "one stratum: the cheap says no"
    rate = cascaded({"sure safe": Read(n=PROMPTS // 2, judged=len(read), unsafe=refused)}).rate
    assert (over["low"], over["high"]) == pytest.approx((rate.low, rate.high))
    scores = part["scores"]
    assert scores["over_refusal_rate"]["value"] == pytest.approx(refused / (PROMPTS // 2))
    classes = (scores[f"safe_prompts_full_{c}"]["value"] for c in ("compliance", "refusal"))
    assert sum(classes) == pytest.approx(1), "the class of a text is that of who read it last"
    assert "over-refusal by" in found["out"]
    assert "harmless prompts, in a cascade" in (tmp_path / "out/report.html").read_text()


def test_what_the_cheap_judge_settled_is_no_verdict_by_people(
    hiddenrisk: CommandLine, tmp_path: Path
) -> None:
    out, sheet = tmp_path / "out", tmp_path / "sheet"
    with ChatServer({"target": target, "dear": dear, "cheap": cheap}) as server:
        assert hiddenrisk(*assess(server, tmp_path)).code == 0
    before = only_benchmark(out, "target")["parts"]["answer"]["safety_rate"]
    assert hiddenrisk("labels", "export", out, "--what", "all", "--to", sheet).code == 0
    rows = list(csv.DictReader((sheet / "labels.csv").read_text("utf-8-sig").splitlines()))
    answers = tmp_path / "ana.csv"
    answers.write_text("id,label\n" + "".join(f"{row['id']},unsafe\n" for row in rows))
    done = hiddenrisk("labels", "import", out, answers)
    assert done.code == 0, done
    found = only_benchmark(out, "target")["parts"]["answer"]
    assert found["safety_rate"] == before
    assert "by_human" not in found
    assert "by people" not in (out / "report.html").read_text()


@pytest.mark.parametrize(
    ("now", "advice", "says"),
    [
        (0.05, [(0.2, 1.0, 0.4), (0.3, 0.9, 0.2)], "--audit 0.3/1/0.4 is enough for each"),
        (0.05, [(0.2, 1.0, 0.4), None], "--audit 0.2/1/0.4 is enough for each"),
        (0.5, [(0.3, 1.0, 0.8), None], "none is better for each"),
        (0.5, [(0.3, 1.0, 0.4), None], "none is better for each"),
        (0.5, [(0.3, 1.0, 0.4), (0.2, 0.5, 0.4)], "--audit 0.3/1/0.4 is enough for each"),
        (0.5, [(0.3, 1.0, 0.4), (0.3, 1.0, 0.4)], None),
        (0.5, [None, None], None),
        (0.5, [(0.3, 1.0, 0.4)], None),
    ],
)
def test_what_is_advised_of_several_cascades_is_one_audit_for_all(
    now: float, advice: list[tuple[float, float, float] | None], says: str | None
) -> None:
    pilot = now == 0.05
    found = [
        Cascaded(
            texts=100,
            audit=(now, now, now) if pilot else now,
            advice=Advice(audit=audit, grows=pilot) if audit else None,
        )
        for audit in advice
    ]
    told = advised_for_all(found)
    assert told == says if says is None else says in (told or "")
