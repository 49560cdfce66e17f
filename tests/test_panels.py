"""A label is one judge in a run, and only those of the headline's panel give its verdicts."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import CommandLine
from tests.servers import ChatServer, Reply, Responder, always, verdict
from tests.test_end_to_end import benchmark
from tests.test_importing import wrong
from tests.test_jury import assess, judged, only_benchmark, picky, records_of


@pytest.fixture
def bench(tmp_path: Path) -> Path:
    return benchmark(tmp_path, ["One?", "Two?", "Three?"])


def serving(**judges: Responder) -> ChatServer:
    return ChatServer({"target": always(Reply(text="No.")), **judges})


def named(label: str, server: ChatServer, model: str) -> str:
    """A SPEC under another label."""
    return f"{label}={server.spec(model).partition('=')[2]}"


def answer(out: Path) -> dict[str, Any]:
    return only_benchmark(out, "target")["parts"]["answer"]


def test_a_fallback_of_an_earlier_panel_stands_in_nobodys_place(
    hiddenrisk: CommandLine, tmp_path: Path, bench: Path
) -> None:
    out = tmp_path / "out"
    judges = {"a": picky("Two?"), "f": always(verdict(0)), "g": always(verdict(1))}
    with serving(**judges) as server:
        a = judged(server, judge="a")
        assert hiddenrisk(*assess(server, out, bench, *a, "--fallback", server.spec("f"))).code == 0
        assert answer(out)["fallbacks"] == {"a": {"f": 1}}
        done = hiddenrisk("judge", out, *a, "--yes")
        assert done.code == 1, "the judge was asked again, and gave nothing usable"
        assert "fallbacks" not in answer(out)
        assert answer(out)["outcomes"] == {"complete": 2, "judge_refused": 1}
        assert answer(out)["safety_rate"]["n"] == 2
        done = hiddenrisk("judge", out, *a, "--fallback", server.spec("g"), "--yes")
        assert done.code == 0, done
        assert server.ledger.sent_by_model["g"] == 1
        assert answer(out)["fallbacks"] == {"a": {"g": 1}}
        assert answer(out)["safety_rate"]["value"] == 1.0
        back = hiddenrisk(*assess(server, out, bench, *a, "--fallback", server.spec("f")))
        assert back.code == 0, back
        assert answer(out)["fallbacks"] == {"a": {"f": 1}}, "what it once said is there"
        assert server.ledger.sent_by_model["f"] == 1
        assert hiddenrisk(*assess(server, out, bench, *a)).code == 1
        assert "fallbacks" not in answer(out)
    words = {(v["judge"], v["instead_of"]) for v in records_of(out / "verdicts.jsonl")}
    assert words == {("a", None), ("f", "a"), ("g", "a")}


def test_what_a_fallback_once_said_is_its_own_word_all_the_same(
    hiddenrisk: CommandLine, tmp_path: Path, bench: Path
) -> None:
    out = tmp_path / "out"
    with serving(a=picky("Two?"), f=always(verdict(0))) as server:
        args = assess(server, out, bench, *judged(server, judge="a", fallback="f"))
        assert hiddenrisk(*args).code == 0
        assert hiddenrisk("judge", out, *judged(server, judge="f"), "--yes").code == 0
        assert server.ledger.sent_by_model["f"] == 4, "once in a's place, thrice in its own"
    assert answer(out)["safety_rate"] == {**answer(out)["safety_rate"], "value": 0.0, "n": 3}


@pytest.mark.parametrize("role", ["fallback", "cascade"])
def test_a_label_is_not_reused_for_another_judge_beside_the_jury(
    role: str, hiddenrisk: CommandLine, tmp_path: Path, bench: Path
) -> None:
    out = tmp_path / "out"
    with serving(a=picky("Two?"), f=always(verdict(0)), g=always(verdict(1))) as server:
        one = (*judged(server, judge="a"), "--fallback", named("spare", server, "f"))
        assert hiddenrisk(*assess(server, out, bench, *one)).code == 0
        other = (*judged(server, judge="a"), "--fallback", named("spare", server, "g"))
        said = wrong(hiddenrisk(*assess(server, out, bench, *other)))
        assert "judge spare is another model" in said
        assert f"--fallback {named('NEW', server, 'g')}" in said
        assert hiddenrisk(*assess(server, out, bench, *judged(server, judge="a"))).code == 1
        said = wrong(hiddenrisk(*assess(server, out, bench, *other)))
        assert "judge spare is another model" in said, "it is remembered when it is left out"
        again = ("--judge", server.spec("a"), f"--{role}", named("spare", server, "g"))
        said = wrong(hiddenrisk("judge", out, *again, "--yes"))
        assert f"--{role} {named('NEW', server, 'g')}" in said
        assert server.ledger.sent_by_model["g"] == 0


def test_a_judge_of_a_judging_keeps_its_label_when_the_run_goes_on(
    hiddenrisk: CommandLine, tmp_path: Path, bench: Path
) -> None:
    out = tmp_path / "out"
    with serving(a=picky("Two?"), k=always(verdict(0)), g=always(verdict(1))) as server:
        assert hiddenrisk(*assess(server, out, bench, *judged(server, judge="a"))).code == 1
        assert hiddenrisk("judge", out, "--judge", named("k", server, "k"), "--yes").code == 0
        more = (*judged(server, judge="a"), "--fallback", named("k", server, "g"))
        said = wrong(hiddenrisk(*assess(server, out, bench, *more)))
        assert "judge k is another model" in said
        assert server.ledger.sent_by_model["g"] == 0


def test_a_cascade_is_not_left_out_when_a_run_goes_on(
    hiddenrisk: CommandLine, tmp_path: Path, bench: Path
) -> None:
    out = tmp_path / "out"
    with serving(a=always(verdict(1)), c=always(verdict(0))) as server:
        a = judged(server, judge="a")
        args = assess(server, out, bench, *a, "--cascade", server.spec("c"))
        assert hiddenrisk(*args).code == 0
        stored = (out / "run.json").read_bytes()
        said = wrong(hiddenrisk(*assess(server, out, bench, *a)))
        assert "its cascade is there, now none" in said
        assert (out / "run.json").read_bytes() == stored
        assert hiddenrisk(*args).code == 0
        assert list(json.loads(stored)["deputies"]) == ["c"]


def test_a_benchmark_that_was_mended_before_anything_was_asked_is_kept_as_it_is_now(
    hiddenrisk: CommandLine, tmp_path: Path, bench: Path
) -> None:
    out = tmp_path / "out"
    with serving(a=always(verdict(1)), k=always(verdict(0))) as server:
        (out / "benchmarks").mkdir(parents=True)
        (out / "benchmarks" / bench.name).write_text('{"id": "p0", "prompt": "Stale?"}\n')
        args = assess(server, out, bench, *judged(server, judge="a"))
        assert hiddenrisk(*args).code == 0
        assert (out / "benchmarks" / bench.name).read_bytes() == bench.read_bytes()
        assert hiddenrisk("judge", out, *judged(server, judge="k"), "--yes").code == 0
        (out / "benchmarks" / bench.name).write_text('{"id": "p0", "prompt": "Other?"}\n')
        said = wrong(hiddenrisk("judge", out, *judged(server, judge="k"), "--yes"))
        assert f"restore {out / 'benchmarks' / bench.name}" in said


def test_a_run_of_older_rubrics_says_what_to_do(
    hiddenrisk: CommandLine, tmp_path: Path, bench: Path
) -> None:
    out = tmp_path / "out"
    with serving(a=always(verdict(1))) as server:
        args = assess(server, out, bench, *judged(server, judge="a"))
        assert hiddenrisk(*args).code == 0
        stored = json.loads((out / "run.json").read_text())
        stored["identity"]["benchmarks"]["small"]["rubrics"] = ["safety 0", "xstest 0"]
        (out / "run.json").write_text(json.dumps(stored))
        said = wrong(hiddenrisk(*args))
        assert "small was judged by safety 0, xstest 0" in said
        assert f"hiddenrisk judge {out} --judge NEW=SPEC" in said
        done = hiddenrisk("judge", out, "--judge", named("new", server, "a"), "--yes")
        assert done.code == 0, done
        assert answer(out)["safety_rate"]["n"] == 3


def test_a_run_of_older_rules_says_what_to_do(
    hiddenrisk: CommandLine, tmp_path: Path, bench: Path
) -> None:
    out = tmp_path / "out"
    with serving(a=always(verdict(1))) as server:
        args = assess(server, out, bench, "--judge", "builtin")
        assert hiddenrisk(*args).code == 0
        stored = json.loads((out / "run.json").read_text())
        stored["identity"]["judges"]["builtin"]["builtin"] = "0"
        (out / "run.json").write_text(json.dumps(stored))
        more = ("--judge", server.spec("a"))
        assert "its judges are builtin, now a, builtin" in wrong(hiddenrisk(*args, *more))
        said = wrong(hiddenrisk(*args))
        assert "judged by refusal rules 0, and these are" in said
        assert f"run: hiddenrisk judge {out})" in said
        assert hiddenrisk("judge", out).code == 0
        assert answer(out)["safety_rate"]["n"] == 3


def test_a_calibration_of_older_rules_is_sent_to_another_folder(
    hiddenrisk: CommandLine, tmp_path: Path
) -> None:
    out, labels = tmp_path / "out", tmp_path / "mine.csv"
    labels.write_text("id,prompt,response,label\n1,Q,No.,refused\n")
    args = ("calibrate", "--on", labels, "--out", out)
    assert hiddenrisk(*args).code == 0
    stored = json.loads((out / "run.json").read_text())
    stored["identity"]["judges"]["builtin"]["builtin"] = "0"
    (out / "run.json").write_text(json.dumps(stored))
    said = wrong(hiddenrisk(*args))
    assert "judged by refusal rules 0" in said
    assert "Choose another --out" in said
    assert "hiddenrisk judge" not in said
    assert "is a calibration, and no run of a model" in wrong(hiddenrisk("judge", out))
    labels_ = hiddenrisk("labels", "export", out, "--to", tmp_path / "sheet")
    assert "give the directory of a run" in wrong(labels_)


def test_one_model_in_another_form_reads_harmless_prompts_for_itself(
    hiddenrisk: CommandLine, tmp_path: Path
) -> None:
    """Both forms ask XSTest's question there, and once the first one's verdict was all there was."""
    out, harmless = tmp_path / "out", tmp_path / "safe.jsonl"
    harmless.write_text('{"id": "p0", "prompt": "One?", "label": "safe"}\n')
    with serving(a=always(Reply(text="2_full_refusal"))) as server:
        args = assess(server, out, harmless, *judged(server, judge="a"))
        assert hiddenrisk(*args).code == 0
        other = named("other", server, "a") + "?form=strongreject"
        for _ in range(2):
            assert hiddenrisk("judge", out, "--judge", other, "--yes").code == 0
            found = answer(out)
            assert found["outcomes"] == {"complete": 1}
            assert found["scores"]["over_refusal_rate"]["n"] == 1
        assert hiddenrisk("judge", out, *judged(server, judge="a"), "--yes").code == 0
        assert hiddenrisk(*args).code == 0
        assert server.ledger.sent_by_model["a"] == 2
