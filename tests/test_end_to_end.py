"""The command line against real servers that replay recordings: the recorded numbers come back."""

import json
import shutil
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import CommandLine, Done
from tests.servers import (
    Ask,
    Block,
    ChatServer,
    LabelJudge,
    Recorded,
    Reply,
    always,
    error,
    judge_from_csv,
    refused_by_provider,
    rows_of,
    target_from_csv,
)

REFUSED = "openai_gpt-5.5"
"""The recorded model whose provider refused every prompt."""
PROMPTS = 628
REFUSAL = "I'm sorry, but I can't help with that."


# ---------------------------------------------------------------- AIR-Bench, as recorded


@dataclass(frozen=True, slots=True, kw_only=True)
class Recordings:
    """The recorded models, and a data folder with exactly the prompts they were asked."""

    paths: dict[str, Path]
    data: Path

    def mean(self, label: str) -> float:
        """The mean of the recorded scores."""
        scores = [float(row["score"]) for row in rows_of(self.paths[label])]
        return sum(scores) / len(scores)

    @property
    def answered(self) -> list[str]:
        """The models that answered."""
        return [label for label in self.paths if label != REFUSED]


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedRun:
    """One finished run of all recorded models and what its server saw of it."""

    server: ChatServer
    args: list[str | Path]
    out: Path
    done: Done
    summary: dict[str, Any]

    def airbench(self, label: str) -> dict[str, Any]:
        """What the summary says of one model."""
        return self.summary["models"][label]["benchmarks"]["airbench"]


@pytest.fixture(scope="module")
def recordings(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Recordings:
    source = shared_data / "air-bench-2024"
    data = tmp_path_factory.mktemp("data")
    folder = data / "air-bench-2024"
    folder.mkdir()
    shutil.copyfile(source / "recorded" / "air_2024.csv", folder / "air_2024.csv")
    shutil.copyfile(source / "judge_prompt_final.csv", folder / "judge_prompt_final.csv")
    paths = {path.stem: path for path in sorted((source / "recorded").glob("open*.csv"))}
    assert len(paths) == 7
    assert REFUSED in paths
    return Recordings(paths=paths, data=data)


@pytest.fixture(scope="module")
def recorded_run(
    recordings: Recordings, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RecordedRun]:
    folder = tmp_path_factory.mktemp("recorded")
    out = folder / "out"
    targets = {label: target_from_csv(path) for label, path in recordings.paths.items()}
    judge = judge_from_csv(recordings.paths.values())
    with ChatServer({**targets, "judge": judge}) as server:
        args: list[str | Path] = ["assess"]
        for label in targets:
            args += ["--model", server.spec(label)]
        args += ["--judge", f"{server.base_url}#judge", "--benchmark", "airbench"]
        args += ["--data-dir", recordings.data, "--out", out, "--yes"]
        done = CommandLine(folder)(*args)
        assert done.code == 0, done
        yield RecordedRun(server=server, args=args, out=out, done=done, summary=summary_of(out))


def test_the_recorded_means_come_back_to_three_decimals(
    recorded_run: RecordedRun, recordings: Recordings
) -> None:
    for label in recordings.answered:
        found = recorded_run.airbench(label)
        rate = found["parts"]["answer"]["safety_rate"]
        assert round(rate["value"], 3) == round(recordings.mean(label), 3), label
        assert rate["n"] == PROMPTS, label
        assert found["n"] == PROMPTS, label
        assert rate["low"] <= rate["value"] <= rate["high"], label


def test_a_model_that_its_provider_blocks_has_no_safety_rate(recorded_run: RecordedRun) -> None:
    found = recorded_run.airbench(REFUSED)
    assert found["outcomes"] == {"blocked_on_input": PROMPTS}
    assert found["parts"]["answer"]["safety_rate"]["value"] is None
    assert found["parts"]["answer"]["safety_rate"]["n"] == 0


def test_thinking_that_nobody_sent_has_no_safety_rate(
    recorded_run: RecordedRun, recordings: Recordings
) -> None:
    for label in recordings.paths:
        thinking = recorded_run.airbench(label)["parts"].get("thinking")
        assert thinking is None or thinking["safety_rate"]["value"] is None, label


def test_the_outcomes_add_up_to_the_prompts(
    recorded_run: RecordedRun, recordings: Recordings
) -> None:
    for label in recordings.paths:
        found = recorded_run.airbench(label)
        assert sum(found["outcomes"].values()) == found["n"] == PROMPTS, label


def test_every_call_has_exactly_one_record(
    recorded_run: RecordedRun, recordings: Recordings
) -> None:
    responses = records_of(recorded_run.out / "responses.jsonl")
    verdicts = records_of(recorded_run.out / "verdicts.jsonl")
    assert len(responses) == len(recordings.paths) * PROMPTS
    assert len({record["key"] for record in responses}) == len(responses)
    assert len(verdicts) == len(recordings.answered) * PROMPTS
    assert len({record["key"] for record in verdicts}) == len(verdicts)
    assert {record["part"] for record in verdicts} == {"answer"}
    assert records_of(recorded_run.out / "failures.jsonl") == []


def test_every_call_is_sent_once(recorded_run: RecordedRun, recordings: Recordings) -> None:
    ledger = recorded_run.server.ledger
    for label in recordings.answered:
        assert ledger.sent_by_model[label] == PROMPTS, label
    assert ledger.sent_by_model["judge"] == len(recordings.answered) * PROMPTS
    assert ledger.statuses[400] == PROMPTS, "a provider's refusal is final, not tried again"


def test_recorded_answers_are_kept_to_the_letter(
    recorded_run: RecordedRun, recordings: Recordings
) -> None:
    kept: dict[str, list[str]] = {}
    for record in records_of(recorded_run.out / "responses.jsonl"):
        kept.setdefault(record["model"], []).append(record["answer"])
    for label in recordings.answered:
        said = [row["answer"] for row in rows_of(recordings.paths[label])]
        assert sorted(kept[label]) == sorted(said), label


def test_data_other_than_the_published_is_marked_unverified(recorded_run: RecordedRun) -> None:
    manifest = json.loads((recorded_run.out / "run.json").read_text())
    verified = {file["name"]: file["verified"] for file in manifest["data"]}
    assert verified["air-bench-2024/air_2024.csv"] is False
    assert verified["air-bench-2024/judge_prompt_final.csv"] is True
    assert "unverified" in (recorded_run.out / "report.html").read_text().lower()


def test_running_a_finished_run_again_calls_nobody(recorded_run: RecordedRun) -> None:
    before = recorded_run.server.ledger.hits
    kept = (recorded_run.out / "responses.jsonl").read_bytes()
    done = CommandLine(recorded_run.out.parent)(*recorded_run.args)
    assert done.code == 0, done
    assert recorded_run.server.ledger.hits == before
    assert (recorded_run.out / "responses.jsonl").read_bytes() == kept
    again = summary_of(recorded_run.out)
    assert again["models"] == recorded_run.summary["models"]


@pytest.mark.parametrize("label", ["openrouter_deepseek_deepseek-v3.2", REFUSED])
def test_a_replayed_csv_gives_the_recorded_mean(
    label: str, recordings: Recordings, hiddenrisk: CommandLine, tmp_path: Path
) -> None:
    path = recordings.paths[label]
    with ChatServer({"judge": judge_from_csv([path])}) as server:
        done = hiddenrisk(
            *("assess", "--model", f"replayed=replay/{path}"),
            *("--judge", f"{server.base_url}#judge", "--benchmark", "airbench"),
            *("--data-dir", recordings.data, "--out", tmp_path / "out", "--yes"),
        )
    assert done.code == 0, done
    found = summary_of(tmp_path / "out")["models"]["replayed"]["benchmarks"]["airbench"]
    rate = found["parts"]["answer"]["safety_rate"]
    assert found["n"] == PROMPTS
    if label == REFUSED:
        assert found["outcomes"] == {"blocked_on_output": PROMPTS}
        assert rate["value"] is None
    else:
        assert round(rate["value"], 3) == round(recordings.mean(label), 3)


@pytest.mark.parametrize("block", ["status_400", "finish"])
def test_a_block_is_a_block_however_the_provider_words_it(
    block: Block, hiddenrisk: CommandLine, tmp_path: Path
) -> None:
    def target(ask: Ask) -> Reply:
        return refused_by_provider(block) if "bad" in ask.text else Reply(text=REFUSAL)

    bench = benchmark(tmp_path, ["a bad thing", "another bad thing", "a third"])
    with ChatServer({"target": target}) as server:
        done = hiddenrisk(*assess(server, bench, tmp_path / "out"))
    assert done.code == 0, done
    found = only_benchmark(tmp_path / "out", "target")
    side = "input" if block == "status_400" else "output"
    assert found["outcomes"][f"blocked_on_{side}"] == 2
    assert found["parts"]["answer"]["safety_rate"]["n"] == 1


# ---------------------------------------------------------------- XSTest, as labelled


def test_xstest_over_refusal_is_the_one_of_the_human_labels(
    shared_data: Path, hiddenrisk: CommandLine, tmp_path: Path
) -> None:
    folder = shared_data / "xstest"
    prompts = {row["id"]: row for row in rows_of(folder / "xstest_prompts.csv")}
    labels: list[tuple[str, str, str]] = []
    targets: dict[str, Recorded] = {}
    expected: dict[str, float] = {}
    for path in sorted((folder / "model_completions").glob("*.csv")):
        label = path.stem.rpartition("_")[2]
        replies: dict[str, Reply] = {}
        refused = 0
        for row in rows_of(path):
            # By id: one prompt reads differently in the two files.
            prompt = prompts[row["id"].removeprefix("v2-")]
            replies[prompt["prompt"]] = Reply(text=row["completion"])
            labels.append((prompt["prompt"], row["completion"], row["final_label"]))
            if prompt["label"] == "safe":
                refused += row["final_label"] in {"2_full_refusal", "3_partial_refusal"}
        targets[label] = Recorded(replies)
        expected[label] = refused / 250
    assert len(expected) == 3
    with ChatServer({**targets, "judge": LabelJudge(labels)}) as server:
        models = [word for label in targets for word in ("--model", server.spec(label))]
        done = hiddenrisk(
            *("assess", *models, "--judge", f"{server.base_url}#judge", "--benchmark", "xstest"),
            *("--data-dir", shared_data, "--out", tmp_path / "out", "--yes"),
        )
    assert done.code == 0, done
    summary = summary_of(tmp_path / "out")
    for label, rate in expected.items():
        found = summary["models"][label]["benchmarks"]["xstest"]
        over_refusal = found["parts"]["answer"]["scores"]["over_refusal_rate"]
        assert found["n"] == 450, label
        assert round(over_refusal["value"], 3) == round(rate, 3), label
        assert over_refusal["n"] == 250, label


# ---------------------------------------------------------------- small runs


def test_a_streamed_reply_is_put_together_again(hiddenrisk: CommandLine, tmp_path: Path) -> None:
    thought, answer = (
        "The user asks.\nI weigh \u201cit\u201d \u2014 carefully.",
        f"{REFUSAL} \U0001f642",
    )
    bench = benchmark(tmp_path, ["one", "two", "three"])
    with ChatServer({"target": always(Reply(text=answer, reasoning=thought))}) as server:
        done = hiddenrisk(
            *("assess", "--model", f"{server.spec('target')}?stream", "--judge", "builtin"),
            *("--benchmark", bench, "--out", tmp_path / "out", "--yes"),
        )
        assert done.code == 0, done
        assert all(b'"stream":' in body for body in server.ledger.bodies.values())
    responses = records_of(tmp_path / "out" / "responses.jsonl")
    assert len(responses) == 3
    for response in responses:
        assert response["thinking"] == thought
        assert response["answer"] == answer
        assert response["finish"] == "complete"
        assert response["usage"]["reasoning_tokens"] == len(thought.split())


def test_failures_above_the_allowed_share_end_with_exit_code_1(
    hiddenrisk: CommandLine, tmp_path: Path
) -> None:
    def target(ask: Ask) -> Reply:
        if "odd" in ask.text:
            return error(400, "this request has a field we do not know", code="invalid_request")
        return Reply(text=REFUSAL)

    bench = benchmark(
        tmp_path, [f"an {'odd' if i % 5 == 0 else 'even'} one, {i}" for i in range(10)]
    )
    with ChatServer({"target": target}) as server:
        done = hiddenrisk(*assess(server, bench, tmp_path / "out"))
    assert done.code == 1, done
    assert len(records_of(tmp_path / "out" / "failures.jsonl")) == 2
    rate = only_benchmark(tmp_path / "out", "target")["parts"]["answer"]["safety_rate"]
    assert (rate["value"], rate["n"]) == (1.0, 8)


def test_the_key_is_sent_and_leaves_no_trace(hiddenrisk: CommandLine, tmp_path: Path) -> None:
    secret = "sk-loopback-5f0e6c1d9b7a4e23"

    def target(ask: Ask) -> Reply:
        if "error" in ask.text:
            return error(400, f"bad request with {ask.authorization}", code="invalid_request")
        if "echo" in ask.text:
            return Reply(text=f"{REFUSAL} By the way: {ask.authorization}", reasoning=secret)
        return Reply(text=REFUSAL)

    bench = benchmark(tmp_path, ["plain", "echo it", "make an error of it"])
    with ChatServer({"target": target}) as server:
        args = assess(server, bench, tmp_path / "out")
        done = hiddenrisk(*args, env={"HIDDENRISK_API_KEY": secret})
        assert server.ledger.authorizations == {f"Bearer {secret}"}
    assert done.code == 1, done
    assert secret not in done.out + done.err
    files = [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert {"responses.jsonl", "failures.jsonl", "run.json"} <= {path.name for path in files}
    assert [path.name for path in files if secret.encode() in path.read_bytes()] == []


# ---------------------------------------------------------------- wrong use


def test_an_unknown_benchmark_suggests_the_nearest(hiddenrisk: CommandLine, tmp_path: Path) -> None:
    with ChatServer({"target": always(Reply(text=REFUSAL))}) as server:
        done = hiddenrisk(*assess(server, "airbnch", tmp_path / "out"))
    line = wrong_use(done)
    assert "airbnch" in line
    assert "'airbench'" in line


def test_an_unknown_provider_is_named(hiddenrisk: CommandLine, tmp_path: Path) -> None:
    bench = benchmark(tmp_path, ["one"])
    done = hiddenrisk(
        *("assess", "--model", "opnai/gpt-4o", "--judge", "builtin"),
        *("--benchmark", bench, "--out", tmp_path / "out", "--yes"),
    )
    line = wrong_use(done)
    assert "opnai" in line
    assert "'openai'" in line


def test_a_missing_key_is_named_by_its_variable(hiddenrisk: CommandLine, tmp_path: Path) -> None:
    bench = benchmark(tmp_path, ["one"])
    done = hiddenrisk(
        *("assess", "--model", "openai/gpt-4o", "--judge", "builtin"),
        *("--benchmark", bench, "--out", tmp_path / "out", "--yes"),
    )
    assert "OPENAI_API_KEY" in wrong_use(done)


def test_an_endpoint_where_nobody_listens_is_found_at_once(
    hiddenrisk: CommandLine, tmp_path: Path
) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    bench = benchmark(tmp_path, [f"prompt {i}" for i in range(50)])
    start = time.monotonic()
    done = hiddenrisk(
        *("assess", "--model", f"gone=http://127.0.0.1:{port}/v1#gone", "--judge", "builtin"),
        *("--benchmark", bench, "--out", tmp_path / "out", "--yes"),
    )
    assert f"127.0.0.1:{port}" in wrong_use(done)
    assert time.monotonic() - start < 20


def test_a_model_that_the_endpoint_does_not_have_is_found_with_one_call(
    hiddenrisk: CommandLine, tmp_path: Path
) -> None:
    bench = benchmark(tmp_path, [f"prompt {i}" for i in range(50)])
    with ChatServer({"target": always(Reply(text=REFUSAL))}) as server:
        done = hiddenrisk(
            *("assess", "--model", f"{server.base_url}#targte", "--judge", "builtin"),
            *("--benchmark", bench, "--out", tmp_path / "out", "--yes"),
        )
        assert sum(server.ledger.arrived.values()) == 1
    assert "targte" in wrong_use(done)


def test_the_folder_of_another_plan_is_left_alone(hiddenrisk: CommandLine, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with ChatServer({"target": always(Reply(text=REFUSAL))}) as server:
        first = hiddenrisk(*assess(server, benchmark(tmp_path, ["one", "two"], "first"), out))
        assert first.code == 0, first
        kept = {path.name: path.read_bytes() for path in out.iterdir() if path.is_file()}
        other = hiddenrisk(*assess(server, benchmark(tmp_path, ["three"], "second"), out))
    assert str(out) in wrong_use(other)
    assert {path.name: path.read_bytes() for path in out.iterdir() if path.is_file()} == kept


@pytest.mark.parametrize(
    "line",
    [
        '{"id": "three", "prompt": "cut of',
        '{"id": "three"}',
        '{"prompt": "no id"}',
        '{"id": "three", "prompt": 3}',
        '{"id": "one", "prompt": "an id that was there before"}',
        '["three", "not an object"]',
    ],
    ids=["cut", "no-prompt", "no-id", "prompt-is-a-number", "id-twice", "a-list"],
)
def test_a_corrupt_benchmark_is_named_with_its_line(
    line: str, hiddenrisk: CommandLine, tmp_path: Path
) -> None:
    bench = benchmark(tmp_path, ["one", "two"], ids=["one", "two"])
    with bench.open("a") as file:
        file.write(line + "\n")
    with ChatServer({"target": always(Reply(text=REFUSAL))}) as server:
        done = hiddenrisk(*assess(server, bench, tmp_path / "out"))
        assert server.ledger.hits == 0
    said = wrong_use(done)
    assert bench.name in said
    assert "line 3" in said or f"{bench.name}:3" in said


def test_a_missing_data_file_is_named(hiddenrisk: CommandLine, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with ChatServer({"target": always(Reply(text=REFUSAL))}) as server:
        args = assess(server, "airbench", tmp_path / "out")
        done = hiddenrisk(*args, "--data-dir", tmp_path / "empty")
        assert server.ledger.hits == 0
    assert "air_2024.csv" in wrong_use(done)


# ---------------------------------------------------------------- helpers


def wrong_use(done: Done) -> str:
    """The one line, the last, in which a command with exit code 2 says what is wrong."""
    assert done.code == 2, done
    assert "Traceback" not in done.out + done.err, done
    lines = [line for line in done.lines if line.startswith("hiddenrisk: ")]
    assert lines == done.lines[-1:], done
    return lines[0]


def assess(server: ChatServer, bench: str | Path, out: Path) -> list[str | Path]:
    """Assess the server's `target` with the built-in judge."""
    model = ["assess", "--model", server.spec("target"), "--judge", "builtin"]
    return [*model, "--benchmark", bench, "--out", out, "--yes"]


def benchmark(
    folder: Path, prompts: list[str], name: str = "small", ids: list[str] | None = None
) -> Path:
    """A benchmark file of these prompts."""
    path = folder / f"{name}.jsonl"
    names = ids or [f"p{i}" for i in range(len(prompts))]
    rows = (json.dumps({"id": i, "prompt": p}) for i, p in zip(names, prompts, strict=True))
    path.write_text("".join(row + "\n" for row in rows))
    return path


def summary_of(out: Path) -> dict[str, Any]:
    return json.loads((out / "summary.json").read_text())


def only_benchmark(out: Path, label: str) -> dict[str, Any]:
    """What the summary of a run with one benchmark says of a model."""
    (found,) = summary_of(out)["models"][label]["benchmarks"].values()
    return found


def records_of(path: Path) -> list[dict[str, Any]]:
    """The records of a file; none where there is no file."""
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_bytes().splitlines()]
