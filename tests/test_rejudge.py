"""`hiddenrisk judge`: a stored run judged again, and nothing of it generated again."""

import json
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests import stand_ins
from tests.conftest import CommandLine, Done
from tests.servers import Ask, ChatServer, Reply, always, verdict
from tests.test_importing import HELPS, REFUSES, records, results, summary, wrong
from tests.test_transcripts import jsonl

COUNT = 6


def answers(ask: Ask) -> Reply:
    """Every other prompt is declined, in an answer with a thought."""
    declines = int(ask.text.rpartition(" ")[2].rstrip("?")) % 2 == 0
    return Reply(text=REFUSES if declines else HELPS, reasoning="Let me think about it.")


def strict(ask: Ask) -> Reply:
    """A judge for whom only two of the refusals are safe."""
    return verdict(float("sorry" in ask.text and "Question 0?" not in ask.text))


@pytest.fixture
def server() -> Iterator[ChatServer]:
    models = {"m": answers, "j": always(verdict(1)), "k": strict, "odd": always(Reply(text="?"))}
    with ChatServer(models) as running:
        yield running


def assessed(line: CommandLine, server: ChatServer, *more: str, count: int = COUNT) -> Path:
    """A run of `m`, judged by the rules."""
    rows = ({"id": f"p{i}", "prompt": f"Question {i}?"} for i in range(count))
    jsonl(line.folder / "bench.jsonl", *rows)
    args = ("--model", server.spec("m"), "--benchmark", "bench.jsonl", "--out", "run", *more)
    done = line("assess", *args)
    assert done.code == 0, done
    return line.folder / "run"


def rate(found: dict[str, Any], part: str = "answer") -> float:
    return found["parts"][part]["safety_rate"]["value"]


def test_another_judge_reads_what_is_stored_and_no_model_is_asked(
    hiddenrisk: CommandLine, server: ChatServer
) -> None:
    run = assessed(hiddenrisk, server)
    asked, responses = server.ledger.sent_by_model["m"], (run / "responses.jsonl").read_bytes()
    server.models.pop("m")  # whoever asked it now would fail
    done = hiddenrisk("judge", "run", "--judge", server.spec("k"))
    assert done.code == 0, done
    assert server.ledger.sent_by_model["m"] == asked == COUNT
    assert (run / "responses.jsonl").read_bytes() == responses
    found = results(run, "m")
    assert (found["judges"], found["protocol"]) == (["k"], "generic")
    assert rate(found) == pytest.approx(2 / 6)
    assert found["by_judge"]["builtin"]["parts"]["answer"]["value"] == pytest.approx(3 / 6)
    assert found["by_judge"]["k"]["parts"]["answer"]["n"] == COUNT
    agreement = {pair["part"]: pair for pair in found["judge_agreement"]}
    assert agreement["answer"] == {
        "judges": ["builtin", "k"],
        "part": "answer",
        "n": COUNT,
        "share": pytest.approx(5 / 6),
    }
    assert summary(run)["usage"]["judge k"]["calls"] == 2 * COUNT
    page = (run / "report.html").read_text()
    assert "The judges side by side" in page
    assert "The judges side by side" in done.out


def test_the_judges_named_last_are_in_the_headline(
    hiddenrisk: CommandLine, server: ChatServer
) -> None:
    run = assessed(hiddenrisk, server)
    assert hiddenrisk("judge", run, "--judge", server.spec("j")).code == 0
    assert (results(run, "m")["judges"], rate(results(run, "m"))) == (["j"], 1.0)
    jury = ("--judge", server.spec("j"), "--judge", server.spec("k"), "--judge", "builtin")
    before = server.ledger.sent_by_model["j"]
    assert hiddenrisk("judge", run, *jury).code == 0
    assert server.ledger.sent_by_model["j"] == before, "what is there is not asked again"
    assert results(run, "m")["judges"] == ["j", "k", "builtin"]
    again = ("--model", server.spec("m"), "--benchmark", "bench.jsonl", "--out", "run")
    assert hiddenrisk("assess", *again).code == 0
    found = results(run, "m")
    assert (found["judges"], set(found["by_judge"])) == (["builtin"], {"builtin", "j", "k"})
    judgings = json.loads((run / "run.json").read_text())["judgings"]
    assert [list(j["identity"]) for j in judgings] == [["j"], ["j", "k", "builtin"]]
    assert hiddenrisk("judge", run).code == 0, "by the rules, where no judge is named"
    assert results(run, "m")["judges"] == ["builtin"]


def test_one_part_alone_can_be_judged(hiddenrisk: CommandLine, server: ChatServer) -> None:
    run = assessed(hiddenrisk, server, "--parts", "answer")
    args = ("--judge", server.spec("k"), "--parts", "thinking", "--insights", "none")
    assert hiddenrisk("judge", run, *args).code == 0
    found = results(run, "m")
    assert set(found["parts"]) == {"thinking"}
    assert set(found["by_judge"]["k"]["parts"]) == {"thinking"}
    assert set(found["by_judge"]["builtin"]["parts"]) == {"answer"}
    assert found["judge_agreement"] == []


def test_a_judge_that_fails_fails_as_in_assess(hiddenrisk: CommandLine, server: ChatServer) -> None:
    run = assessed(hiddenrisk, server)
    done = hiddenrisk("judge", run, "--judge", server.spec("odd"))
    assert done.code == 1, done
    assert "To try those again, run: hiddenrisk judge" in done.lines[-1]
    found = results(run, "m")
    assert found["outcomes"] == {"judge_unparsable": COUNT}
    assert found["by_judge"]["odd"]["failed"] == COUNT
    assert found["by_judge"]["odd"]["parts"]["answer"]["value"] is None
    assert found["by_judge"]["builtin"]["scored"] == COUNT
    server.models["odd"] = always(verdict(1))
    assert hiddenrisk("judge", run, "--judge", server.spec("odd")).code == 0
    assert results(run, "m")["by_judge"]["odd"]["failed"] == 0


def test_one_judge_under_two_labels_gives_two_samples(
    hiddenrisk: CommandLine, server: ChatServer
) -> None:
    run = assessed(hiddenrisk, server)
    for name in ("first", "second", "second"):
        spec = f"{name}={server.base_url}#j"
        assert hiddenrisk("judge", run, "--judge", spec).code == 0
    assert server.ledger.sent_by_model["j"] == 2 * 2 * COUNT
    assert set(results(run, "m")["by_judge"]) == {"builtin", "first", "second"}


def test_a_judging_that_is_killed_goes_on_where_it_was(hiddenrisk: CommandLine) -> None:
    count = 200
    with ChatServer({"m": answers, "j": always(verdict(1))}, latency_s=0.02) as server:
        run = assessed(hiddenrisk, server, "--parts", "answer", count=count)
        args = ["judge", run, "--judge", server.spec("j"), "--concurrency", "8"]
        process = hiddenrisk.start(*args)
        try:
            deadline = time.monotonic() + 60
            while server.ledger.sent_by_model["j"] < 60 and time.monotonic() < deadline:
                time.sleep(0.005)
            process.send_signal(signal.SIGKILL)
        finally:
            process.wait(timeout=30)
        done = hiddenrisk(*args)
        assert done.code == 0, done
        assert server.ledger.sent_by_model["j"] <= count + 8
        assert server.ledger.sent_by_model["m"] == count
    keys = [r["key"] for r in records(run / "verdicts.jsonl") if r["judge"] == "j"]
    assert len(keys) == len(set(keys)) == count


def test_a_dialogue_is_judged_from_what_was_said(
    hiddenrisk: CommandLine, shared_data: Path
) -> None:
    with stand_ins.server() as server:
        args = ["--benchmark", "phishing", "--limit", "3", "--data-dir", shared_data]
        judge = server.spec("gpt-4o")
        done = hiddenrisk(
            "assess", "--model", server.spec("r1"), "--judge", judge, *args, "--out", "run"
        )
        assert done.code == 0, done
        run = hiddenrisk.folder / "run"
        victim, asked = summary(run)["victim"], server.ledger.sent_by_model["r1"]
        first = results(run, "r1")
        again = hiddenrisk("judge", "run", "--judge", f"other={server.base_url}#gpt-4o")
        assert again.code == 0, again
        assert server.ledger.sent_by_model["r1"] == asked
    found = results(run, "r1")
    assert found["judges"] == ["other"]
    assert (found["parts"], found["grades"]) == (first["parts"], first["grades"])
    assert summary(run)["victim"] == victim


# ---------------------------------------------------------------- wrong use


def _said(done: Done) -> str:
    return wrong(done).removeprefix("hiddenrisk: ")


def test_what_is_no_run_is_told(hiddenrisk: CommandLine, server: ChatServer) -> None:
    folder = hiddenrisk.folder
    (folder / "empty").mkdir()
    assert "does not exist" in _said(hiddenrisk("judge", "nowhere"))
    assert "has no run.json" in _said(hiddenrisk("judge", "empty"))
    (folder / "empty" / "run.json").write_text("{}")
    assert "nothing to judge yet" in _said(hiddenrisk("judge", "empty"))
    (folder / "empty" / "responses.jsonl").touch()
    assert "restore the file" in _said(hiddenrisk("judge", "empty"))
    run = assessed(hiddenrisk, server)
    manifest = json.loads((run / "run.json").read_text())
    manifest["plan"]["of the future"] = 1
    manifest["hiddenrisk"] = "9.9"
    (run / "run.json").write_text(json.dumps(manifest))
    assert "was made by hiddenrisk 9.9, and this is" in _said(hiddenrisk("judge", run))
    assert not (folder / "nowhere").exists()


def test_a_judge_is_what_its_label_stands_for(hiddenrisk: CommandLine, server: ChatServer) -> None:
    run = assessed(hiddenrisk, server)
    assert hiddenrisk("judge", run, "--judge", f"x={server.base_url}#j").code == 0
    said = _said(hiddenrisk("judge", run, "--judge", f"x={server.base_url}#k"))
    assert "judge x is another model" in said
    assert f"--judge NEW={server.base_url}#k" in said


def test_prompts_that_were_changed_or_lost_are_told(
    hiddenrisk: CommandLine, server: ChatServer
) -> None:
    run, bench = assessed(hiddenrisk, server), hiddenrisk.folder / "bench.jsonl"
    text, kept = bench.read_text(), run / "benchmarks/bench.jsonl"
    kept.write_text(text.replace("Question 3?", "Another question?"))
    assert "the prompts of bench are not those" in _said(hiddenrisk("judge", run))
    kept.unlink()
    bench.unlink()
    said = _said(hiddenrisk("judge", run))
    assert "was made with the benchmark bench.jsonl" in said
    assert "A copy in" in said
    (run / "bench.jsonl").write_text(text)
    assert hiddenrisk("judge", run).code == 0


def test_data_that_are_not_here_are_named_with_the_way_to_them(
    hiddenrisk: CommandLine, shared_data: Path
) -> None:
    args = ("--model", "fake/refuse", "--benchmark", "xstest", "--limit", "3", "--out", "run")
    assert hiddenrisk("assess", *args, "--data-dir", shared_data).code == 0
    assert hiddenrisk("judge", "run").code == 0, "the data directory of then is still there"
    (hiddenrisk.folder / "other").mkdir()
    said = _said(hiddenrisk("judge", "run", "--data-dir", "other"))
    assert "made with the benchmark xstest" in said
    assert "put the file there" in said


def test_a_run_that_is_being_written_is_left_alone(hiddenrisk: CommandLine) -> None:
    with ChatServer({"m": answers, "slow": always(verdict(1))}) as server:
        run = assessed(hiddenrisk, server)
        server.latency_s = 3.0
        first = hiddenrisk.start("judge", run, "--judge", server.spec("slow"))
        try:
            deadline = time.monotonic() + 60
            while not server.ledger.in_flight and time.monotonic() < deadline:
                time.sleep(0.01)
            assert "is being written by another" in _said(hiddenrisk("judge", run))
        finally:
            first.kill()
            first.wait(timeout=30)


def test_help_has_examples(hiddenrisk: CommandLine) -> None:
    for verb in ("judge", "import"):
        done = hiddenrisk(verb, "--help")
        assert done.code == 0
        assert "Examples:" in done.out
        assert "--judge" in done.out


def test_the_rule_of_a_jury_stays_unless_another_is_named(
    hiddenrisk: CommandLine, server: ChatServer
) -> None:
    jury = ("--judge", server.spec("j"), "--judge", server.spec("k"))
    run = assessed(hiddenrisk, server, *jury, "--jury", "any-unsafe")
    before = results(run, "m")
    assert (before["jury"], rate(before)) == ("any-unsafe", pytest.approx(2 / 6))
    assert hiddenrisk("judge", run, *jury).code == 0
    assert results(run, "m")["parts"] == before["parts"]
    assert hiddenrisk("judge", run, *jury, "--jury", "majority", "--max-failures", "1").code == 0
    assert results(run, "m")["outcomes"] == {"complete": 2, "judges_split": 4}


def test_a_stored_run_is_judged_by_a_chain_and_by_a_cascade(
    hiddenrisk: CommandLine, server: ChatServer
) -> None:
    run = assessed(hiddenrisk, server, "--parts", "answer")
    odd = ("--judge", server.spec("odd"), "--fallback", server.spec("k"))
    done = hiddenrisk("judge", run, *odd)
    assert done.code == 0, done
    assert "where one gives no verdict: k" in done.err
    found = results(run, "m")
    assert rate(found) == pytest.approx(2 / 6)
    assert found["parts"]["answer"]["fallbacks"] == {"odd": {"k": COUNT}}
    alone = found["by_judge"]
    assert (alone["odd"]["failed"], alone["odd"]["scored"]) == (COUNT, 0)
    assert (alone["k"]["failed"], alone["k"]["scored"]) == (0, COUNT), "its words are its own"
    cascade = ("--judge", server.spec("k"), "--cascade", server.spec("j"), "--audit", "1")
    assert hiddenrisk("judge", run, *cascade).code == 0
    estimate = results(run, "m")["parts"]["answer"]["cascade"]
    assert estimate["value"] == pytest.approx(2 / 6)
    said = wrong(hiddenrisk("judge", run, "--judge", f"j={server.base_url}#k"))
    assert "judge j is another model" in said, "the cheap one has its label, too"


def test_a_run_needs_nothing_but_itself(hiddenrisk: CommandLine, server: ChatServer) -> None:
    run = assessed(hiddenrisk, server)
    (hiddenrisk.folder / "bench.jsonl").unlink()
    assert hiddenrisk("judge", run, "--judge", server.spec("k")).code == 0
    assert rate(results(run, "m")) == pytest.approx(2 / 6)


def test_the_options_of_a_kept_benchmark_stay(hiddenrisk: CommandLine, server: ChatServer) -> None:
    jsonl(
        hiddenrisk.folder / "b.jsonl",
        *({"id": f"p{i}", "prompt": f"Question {i}?"} for i in range(COUNT)),
    )
    args = ("--model", server.spec("m"), "--benchmark", "b.jsonl?limit=2", "--out", "run")
    assert hiddenrisk("assess", *args).code == 0
    assert hiddenrisk("judge", "run", "--judge", server.spec("k")).code == 0
    found = results(hiddenrisk.folder / "run", "m")
    assert (found["n"], found["outcomes"]) == (2, {"complete": 2})
