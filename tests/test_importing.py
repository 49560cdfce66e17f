"""`hiddenrisk import`: transcripts recorded elsewhere become a run like any other."""

import json
import shutil
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from hiddenrisk.errors import UsageError
from hiddenrisk.importing import gather
from hiddenrisk.matching import Wanted
from hiddenrisk.plan import Settings
from tests.conftest import CommandLine, Done
from tests.servers import ChatServer, always, verdict
from tests.test_transcripts import REASONED, jsonl, log, sample, table

REFUSES, HELPS = "I'm sorry, but I can't help with that.", "Sure, first do this, then do that."


def summary(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "summary.json").read_text())


def results(folder: Path, model: str) -> dict[str, Any]:
    (found,) = summary(folder)["models"][model]["benchmarks"].values()
    return found


def records(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def wrong(done: Done) -> str:
    assert done.code == 2, done
    assert "Traceback" not in done.err, done
    return done.lines[-1]


def test_rows_become_a_run_with_its_prompts(hiddenrisk: CommandLine) -> None:
    path = jsonl(
        hiddenrisk.folder / "t.jsonl",
        {"prompt": "Harm?", "answer": REFUSES, "thinking": "No.", "model": "a", "category": "X"},
        {"prompt": "Harm?", "answer": HELPS, "model": "b", "category": "X"},
        {"prompt": "Look?", "answer": REFUSES, "model": "a", "label": "safe"},
        {"prompt": "Look?", "answer": HELPS, "model": "b", "label": "safe"},
    )
    done = hiddenrisk("import", path, "--out", "run")
    assert done.code == 0, done
    assert "t.jsonl: 4 transcripts (JSON rows)" in done.err
    run = hiddenrisk.folder / "run"
    assert list(summary(run)["models"]) == ["a", "b"]
    a, b = (results(run, name) for name in ("a", "b"))
    assert (a["n"], a["parts"]["answer"]["safety_rate"]["value"]) == (2, 1.0)
    assert b["parts"]["answer"]["safety_rate"]["value"] == 0.0
    assert a["parts"]["answer"]["scores"]["over_refusal_rate"]["value"] == 1.0
    assert a["by_judge"]["builtin"]["over_refusal"]["answer"]["value"] == 1.0
    assert "X" in a["categories"]
    assert {r["provider"] for r in records(run / "responses.jsonl")} == {"imported"}
    assert summary(run)["usage"]["a"]["calls"] == 0, "we called nobody"
    manifest = json.loads((run / "run.json").read_text())["imported"]
    assert [f["name"] for f in manifest["files"]] == ["t.jsonl"]
    assert "measured none" in manifest["note"]
    assert "t.jsonl" in (run / "report.html").read_text()


def test_the_run_needs_neither_its_files_nor_its_place(hiddenrisk: CommandLine) -> None:
    path = jsonl(hiddenrisk.folder / "t.jsonl", {"prompt": "Harm?", "answer": HELPS})
    assert hiddenrisk("import", path, "--out", "run").code == 0
    path.unlink()
    shutil.move(hiddenrisk.folder / "run", hiddenrisk.folder / "elsewhere")
    with ChatServer({"j": always(verdict(1))}) as server:
        done = hiddenrisk("judge", "elsewhere", "--judge", server.spec("j"))
    assert done.code == 0, done
    found = results(hiddenrisk.folder / "elsewhere", "t")
    assert found["judges"] == ["j"]
    assert found["parts"]["answer"]["safety_rate"]["value"] == 1.0
    assert "Imported from t.jsonl" in found["notes"][0]


def test_texts_that_come_again_are_samples_of_their_own(hiddenrisk: CommandLine) -> None:
    rows = [{"prompt": "Harm?", "response": text} for text in (HELPS, REFUSES, HELPS)]
    path = table(hiddenrisk.folder / "t.csv", *rows)
    assert hiddenrisk("import", path, "--out", "run").code == 0
    found = results(hiddenrisk.folder / "run", "t")
    assert (found["n"], found["outcomes"]) == (3, {"complete": 3})


def test_prompts_of_a_benchmark_are_found_by_id_or_text(hiddenrisk: CommandLine) -> None:
    bench = hiddenrisk.folder / "mine.jsonl"
    prompts = [{"id": f"p{i}", "prompt": f"Question {i}?", "label": "safe"} for i in range(5)]
    jsonl(bench, *prompts)
    path = jsonl(
        hiddenrisk.folder / "t.jsonl",
        {"id": "p0", "answer": HELPS},
        {"id": "row 2", "prompt": " Question 1? ", "answer": HELPS},
        {"id": "p3", "prompt": "Question 2?", "answer": REFUSES},
        {"id": "p9", "prompt": "Nobody asked this.", "answer": HELPS},
    )
    done = hiddenrisk("import", path, "--benchmark", bench, "--out", "run")
    assert done.code == 0, done
    assert "1 transcript belongs to no prompt of mine and is left out" in done.err
    run = hiddenrisk.folder / "run"
    assert {r["prompt"]: r["answer"] for r in records(run / "responses.jsonl")} == {
        "p0": HELPS,
        "p1": HELPS,
        "p2": REFUSES,
    }
    found = results(run, "t")
    assert "3 of its 5 prompts are in the files." in found["notes"]
    assert json.loads((run / "run.json").read_text())["imported"]["unmatched"] == 1


def test_a_prompt_of_a_benchmark_that_comes_again_is_one_sample_more(
    hiddenrisk: CommandLine,
) -> None:
    bench = hiddenrisk.folder / "mine.jsonl"
    texts = ("Twice?", "Once?", "Twice?", "Never?")
    jsonl(bench, *({"id": f"p{i}", "prompt": text} for i, text in enumerate(texts)))
    rows = [{"prompt": text, "answer": HELPS} for text in ("Twice?", "Once?", *["Twice?"] * 3)]
    path = jsonl(hiddenrisk.folder / "t.jsonl", *rows)
    done = hiddenrisk("import", path, "--benchmark", bench, "--out", "run")
    assert done.code == 0, done
    run = hiddenrisk.folder / "run"
    names = {r["prompt"] for r in records(run / "responses.jsonl")}
    assert names == {"p0", "p1", "p2", "p0#2", "p2#2"}
    assert results(run, "t")["outcomes"] == {"complete": 5}
    assert "3 of its 4 prompts are in the files." in results(run, "t")["notes"]
    assert hiddenrisk("judge", "run").code == 0
    assert results(run, "t")["outcomes"] == {"complete": 5}


def test_a_built_in_benchmark_brings_its_rubric(hiddenrisk: CommandLine) -> None:
    rows = [{"id": f"starter-{n:03}", "answer": HELPS, "model": m} for n in (1, 2, 3) for m in "ab"]
    path = jsonl(hiddenrisk.folder / "t.jsonl", *rows)
    with ChatServer({"j": always(verdict(0))}) as server:
        args = ("--benchmark", "starter", "--judge", server.spec("j"), "--out", "run")
        done = hiddenrisk("import", path, *args)
        assert done.code == 0, done
        again = hiddenrisk("judge", "run")
    assert again.code == 0, again
    found = results(hiddenrisk.folder / "run", "a")
    assert (found["n"], set(found["by_judge"])) == (3, {"builtin", "j"})


def test_a_sample_that_a_model_lacks_is_a_failure(hiddenrisk: CommandLine) -> None:
    path = jsonl(
        hiddenrisk.folder / "t.jsonl",
        {"prompt": "One?", "answer": HELPS, "model": "a"},
        {"prompt": "Two?", "answer": HELPS, "model": "a"},
        {"prompt": "One?", "answer": HELPS, "model": "b"},
    )
    done = hiddenrisk("import", path, "--out", "run")
    assert done.code == 1, done
    assert "b has no transcript for 1 of 2 samples" in done.err
    found = results(hiddenrisk.folder / "run", "b")
    assert found["outcomes"] == {"complete": 1, "no_recording": 1}


def test_a_batch_and_its_input_become_a_run(hiddenrisk: CommandLine) -> None:
    names = ("a", "b", "c", "d")
    asked = [
        {"custom_id": n, "body": {"messages": [{"role": "user", "content": f"{n}?"}]}}
        for n in names
    ]

    def out(name: str, status: int, body: object) -> dict[str, Any]:
        return {"custom_id": name, "response": {"status_code": status, "body": body}}

    choice = {"message": {"content": REFUSES, "reasoning_content": "Hm."}, "finish_reason": "stop"}
    lines = [
        out("a", 200, {"model": "m-1", "choices": [choice]}),
        out("b", 400, {"error": {"code": "content_filter", "message": "content policy"}}),
        out("c", 500, {"error": {"message": "too busy"}}),
    ]
    folder = hiddenrisk.folder
    given, made = jsonl(folder / "in.jsonl", *asked), jsonl(folder / "out.jsonl", *lines)
    assert "nothing says what was asked" in wrong(hiddenrisk("import", made, "--out", "x"))
    assert "prompts and no replies" in wrong(hiddenrisk("import", given, "--out", "x"))
    done = hiddenrisk(
        "import", given, made, "--model", "r1", "--out", "run", "--max-failures", "0.5"
    )
    assert done.code == 0, done
    found = results(folder / "run", "r1")
    assert found["outcomes"] == {
        "complete": 1,
        "blocked_on_input": 1,
        "request_failed": 1,
        "no_recording": 1,
    }
    assert found["parts"]["answer"]["safety_rate"]["n"] == 1
    failures = records(folder / "run" / "failures.jsonl")
    assert any("too busy" in failure["message"] for failure in failures)


def test_epochs_of_a_log_are_repeats(hiddenrisk: CommandLine) -> None:
    samples = [sample(name, REASONED, epoch) for name in ("a", "b") for epoch in (1, 2)]
    path = log(hiddenrisk.folder / "l.eval", *samples)
    done = hiddenrisk("import", path, "--out", "run")
    assert done.code == 0, done
    run = hiddenrisk.folder / "run"
    assert json.loads((run / "run.json").read_text())["plan"]["repeat"] == 2
    (name,) = summary(run)["models"]["vllm/my-r1"]["benchmarks"]
    assert name == "harm"
    assert results(run, "vllm/my-r1")["n"] == 4


def test_the_responses_of_a_run_are_transcripts(hiddenrisk: CommandLine) -> None:
    bench = jsonl(hiddenrisk.folder / "b.jsonl", {"id": "p", "prompt": "Harm?"})
    for model in ("refuse", "comply"):
        args = ("--model", f"fake/{model}", "--benchmark", bench, "--out", model)
        assert hiddenrisk("assess", *args).code == 0
    files = [hiddenrisk.folder / model / "responses.jsonl" for model in ("refuse", "comply")]
    assert hiddenrisk("import", *files, "--out", "both").code == 0
    both = hiddenrisk.folder / "both"
    for model in ("refuse", "comply"):
        was = results(hiddenrisk.folder / model, model)["parts"]
        assert results(both, model)["parts"] == was


@pytest.mark.parametrize(
    ("rows", "wanted", "said"),
    [
        ([{"id": "a", "prompt": "Q?"}], Wanted(), "has no column with answers"),
        ([{"id": "a", "answer": "x"}], Wanted(), "nothing says what was asked"),
        ([{"prompt": "", "answer": "x"}], Wanted(), "fill in its prompt, or take it out"),
        (
            [{"id": "a", "prompt": "Q?", "answer": "x"}] * 2,
            Wanted(),
            "line 2: t has answered prompt 'a' already, in",
        ),
        (
            [
                {"id": "a", "prompt": "Q?", "answer": "x"},
                {"id": "a", "prompt": "R?", "answer": "x"},
            ],
            Wanted(),
            "line 2: prompt 'a' is another text than in",
        ),
        (
            [
                {"id": "a", "prompt": "Q?", "answer": "x", "label": "safe", "model": "m"},
                {"id": "a", "prompt": "Q?", "answer": "x", "label": "unsafe", "model": "n"},
            ],
            Wanted(),
            "line 2, field label: prompt 'a' is unsafe here and safe in",
        ),
        (
            [{"prompt": "Q?", "answer": "x", "model": m} for m in "ab"],
            Wanted(model="c"),
            "--model c would stand for several models (a, b)",
        ),
        ([{"prompt": "Q?", "answer": "x"}], Wanted(model=" "), "must have 1 to 100 signs"),
        (
            [{"prompt": "Q?", "answer": "x"}],
            Wanted(benchmark="starter"),
            "none of the 1 transcripts belongs to a prompt of starter",
        ),
        (
            [{"prompt": "Q?", "answer": "x"}],
            Wanted(benchmark="starter?limit=3"),
            "leave ?limit out",
        ),
        (
            [{"prompt": "Q?", "answer": "x"}],
            Wanted(benchmark="starter", label="safe"),
            "--label is for prompts that come from the files",
        ),
    ],
)
def test_what_cannot_be_imported_is_one_sentence(
    rows: list[dict[str, Any]], wanted: Wanted, said: str, tmp_path: Path
) -> None:
    path = jsonl(tmp_path / "t.jsonl", *rows)
    with pytest.raises(UsageError) as error:
        gather([path], wanted, {}, Settings(), "")
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_nothing_is_written_before_all_is_checked(hiddenrisk: CommandLine) -> None:
    path = jsonl(hiddenrisk.folder / "t.jsonl", {"prompt": "Q?", "answer": "x"})
    done = hiddenrisk("import", path, "--judge", "gpt-4o", "--out", "run")
    assert "unknown judge 'gpt-4o'" in wrong(done)
    assert not (hiddenrisk.folder / "run").exists()


def test_a_name_that_is_no_benchmark_s_is_told(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "t.jsonl", {"prompt": "Q?", "answer": "x"})
    gathered = gather([path], Wanted(benchmark="xtest"), {}, Settings(), "")
    assert gathered.notes == [
        "xtest is no built-in benchmark: the prompts come from the files",
    ]
    with pytest.raises(UsageError, match=r"none\.jsonl does not exist"):
        gather([path], Wanted(benchmark="none.jsonl"), {}, Settings(), "")


def test_a_folder_of_something_else_is_left_alone(hiddenrisk: CommandLine) -> None:
    folder = hiddenrisk.folder
    one = jsonl(folder / "one.jsonl", {"prompt": "Q?", "answer": HELPS})
    two = jsonl(folder / "two.jsonl", {"prompt": "Q?", "answer": REFUSES})
    assert hiddenrisk("import", one, "--model", "m", "--out", "run").code == 0
    before = (folder / "run" / "run.json").read_bytes()
    said = wrong(hiddenrisk("import", two, "--model", "m", "--out", "run"))
    assert "belongs to another plan" in said
    assert (folder / "run" / "run.json").read_bytes() == before
    assert hiddenrisk("import", one, "--model", "m", "--out", "run").code == 0


def test_an_import_that_is_killed_goes_on_where_it_was(hiddenrisk: CommandLine) -> None:
    count = 200
    rows = [{"prompt": f"Question {i}?", "answer": HELPS} for i in range(count)]
    path = jsonl(hiddenrisk.folder / "t.jsonl", *rows)
    run = hiddenrisk.folder / "run"
    with ChatServer({"j": always(verdict(1))}, latency_s=0.02) as server:
        args = ["import", path, "--judge", server.spec("j"), "--concurrency", "8", "--out", run]
        process = hiddenrisk.start(*args)
        try:
            deadline = time.monotonic() + 60
            while server.ledger.statuses[200] < 60 and time.monotonic() < deadline:
                time.sleep(0.005)
            process.send_signal(signal.SIGKILL)
        finally:
            process.wait(timeout=30)
        done = hiddenrisk(*args)
        assert done.code == 0, done
        assert server.ledger.statuses[200] <= count + 8
    for name in ("responses.jsonl", "verdicts.jsonl"):
        keys = [record["key"] for record in records(run / name)]
        assert len(keys) == len(set(keys)) == count, name


def test_a_name_in_a_file_cannot_drive_the_terminal(hiddenrisk: CommandLine) -> None:
    row = {"prompt": "Q?", "answer": "x", "model": "m\x1b]0;owned\x07\u202e", "n\x1b[2J": 1}
    done = hiddenrisk("import", jsonl(hiddenrisk.folder / "t.jsonl", row), "--out", "run")
    assert done.code == 0, done
    assert not any(sign in done.out + done.err for sign in ("\x1b", "\x07", "\u202e"))


def test_recorded_thoughts_of_a_distilled_model(hiddenrisk: CommandLine, shared_data: Path) -> None:
    traces = shared_data / "traces_r1distill_ky295"
    files = [traces / "cautious.csv", traces / "non_cautious.csv"]
    if not all(path.is_file() for path in files):
        pytest.skip("the traces are not here")
    done = hiddenrisk("import", *files, "--model", "r1-distill", "--out", "run")
    assert done.code == 0, done
    found = results(hiddenrisk.folder / "run", "r1-distill")
    assert found["n"] == 162
    assert found["parts"]["thinking"]["safety_rate"]["n"] == found["outcomes"]["complete"]


def test_a_line_of_a_batch_that_failed_is_of_the_batches_model(hiddenrisk: CommandLine) -> None:
    asked = ({"custom_id": f"c{i}", "body": {"messages": [{"role": "user", "content": f"Q{i}?"}]}} for i in range(2))  # fmt: skip
    jsonl(hiddenrisk.folder / "in.jsonl", *asked)
    body = {"model": "gpt-x", "choices": [{"message": {"content": HELPS}, "finish_reason": "stop"}]}
    jsonl(
        hiddenrisk.folder / "out.jsonl",
        {"custom_id": "c0", "response": {"status_code": 200, "body": body}},
        {"custom_id": "c1", "response": None, "error": {"message": "expired"}},
    )
    done = hiddenrisk("import", "in.jsonl", "out.jsonl", "--out", "run", "--max-failures", "1")
    assert done.code == 0, done
    run = hiddenrisk.folder / "run"
    assert list(summary(run)["models"]) == ["gpt-x"]
    assert results(run, "gpt-x")["outcomes"] == {"complete": 1, "request_failed": 1}


@pytest.mark.parametrize("encoding", ["latin-1", "utf-16"])
def test_a_file_that_is_not_utf8_is_told(hiddenrisk: CommandLine, encoding: str) -> None:
    (hiddenrisk.folder / "t.csv").write_bytes("prompt,answer\nCafé?,Nein.\n".encode(encoding))
    said = wrong(hiddenrisk("import", "t.csv", "--out", "run"))
    assert "save it as UTF-8" in said
