"""A run that is killed at any moment goes on where it was: nothing paid for is paid twice."""

import json
import random
import signal
import subprocess
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import CommandLine
from tests.servers import Ask, ChatServer, Reply, always, error, verdict

PROMPTS = 1000
CONCURRENCY = 32
KILLS = 5
LATENCY_S = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Interruption:
    """What was on disk when a run ended early, and what the server had sent by then."""

    responses: frozenset[str]
    verdicts: frozenset[str]
    sent: Counter[str]
    """Complete replies by the digest of the request."""


@dataclass(slots=True)
class Trial:
    """A benchmark, a server and a folder, and runs of them that end early."""

    server: ChatServer
    line: CommandLine
    prompts: int
    concurrency: int
    args: list[str | Path] = field(default_factory=list[str | Path])

    def __post_init__(self) -> None:
        path = self.line.folder / "many.jsonl"
        rows = ({"id": f"p{i}", "prompt": f"Prompt number {i}."} for i in range(self.prompts))
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        self.args = ["assess", "--model", self.server.spec("target")]
        self.args += ["--judge", f"{self.server.base_url}#judge", "--benchmark", path]
        self.args += ["--concurrency", str(self.concurrency), "--out", self.out, "--yes"]

    @property
    def out(self) -> Path:
        """The run directory."""
        return self.line.folder / "out"

    def interrupt(self, with_signal: signal.Signals, after_calls: int) -> int | None:
        """Run until the server has sent so many more replies, then send the signal.

        Returns:
            The exit code, or None where the run ended before it could be interrupted.
        """
        goal = self.sent + after_calls
        process = self.line.start(*self.args)
        try:
            deadline = time.monotonic() + 60
            while self.sent < goal and process.poll() is None and time.monotonic() < deadline:
                time.sleep(0.002)
            if process.poll() is not None:
                return None
            process.send_signal(with_signal)
            return process.wait(timeout=60)
        finally:
            _end(process)

    @property
    def sent(self) -> int:
        """How many complete replies the server has sent."""
        return self.server.ledger.statuses[200]

    def look(self) -> Interruption:
        """What is there after an interruption, once the server has noticed it too."""
        deadline = time.monotonic() + 10
        while self.server.ledger.in_flight and time.monotonic() < deadline:
            time.sleep(0.01)
        return Interruption(
            responses=_keys(self.out / "responses.jsonl"),
            verdicts=_keys(self.out / "verdicts.jsonl"),
            sent=self.server.ledger.sent.copy(),
        )


def models() -> dict[str, Any]:
    """A target that repeats the prompt, and a judge that finds everything safe."""

    def target(ask: Ask) -> Reply:
        return Reply(text=f"No. {ask.text} " + "I would rather not. " * 50)

    return {"target": target, "judge": always(verdict(1))}


def check_complete(trial: Trial, interruptions: list[Interruption]) -> None:
    """After the last run all is there, and nothing was lost or repeated on the way."""
    for name in ("responses.jsonl", "verdicts.jsonl"):
        lines = (trial.out / name).read_bytes().splitlines(keepends=True)
        assert all(line.endswith(b"\n") for line in lines), name
        keys = [json.loads(line)["key"] for line in lines]
        assert len(keys) == len(set(keys)) == trial.prompts, name
    final = trial.look()
    for before in interruptions:
        assert before.responses <= final.responses, "a finished response was lost"
        assert before.verdicts <= final.verdicts, "a finished verdict was lost"


def check_little_is_asked_again(trial: Trial, interruptions: int) -> None:
    """Only what was on its way when a run ended early may have been sent twice."""
    allowed = trial.prompts + interruptions * trial.concurrency
    assert trial.server.ledger.sent_by_model["target"] <= allowed
    assert trial.server.ledger.sent_by_model["judge"] <= allowed


def check_no_recorded_response_is_asked_for_again(
    trial: Trial, interruptions: list[Interruption]
) -> None:
    """What was on disk at a kill was never sent again after it."""
    digest_of: dict[str, str] = {}
    for digest, body in trial.server.ledger.bodies.items():
        asked = json.loads(body)
        if asked["model"] == "target":
            digest_of[asked["messages"][-1]["content"]] = digest
    final = trial.server.ledger.sent
    for record in _records(trial.out / "responses.jsonl"):
        digest = digest_of[record["messages"][-1]["content"]]
        for before in interruptions:
            if record["key"] in before.responses:
                assert final[digest] == before.sent[digest]


def kill_and_resume(folder: Path, *, prompts: int, kills: int, seed: int) -> str:
    """Kill a run again and again, let it finish, and check all that was promised.

    Returns:
        One line on what happened.
    """
    dice = random.Random(seed)
    with ChatServer(models(), latency_s=LATENCY_S) as server:
        line = CommandLine(folder)
        trial = Trial(server=server, line=line, prompts=prompts, concurrency=CONCURRENCY)
        interruptions: list[Interruption] = []
        while len(interruptions) < kills:
            after = dice.randrange(1, 2 * prompts // (kills + 1))
            code = trial.interrupt(signal.SIGKILL, after)
            assert code == -signal.SIGKILL, line.said()
            interruptions.append(trial.look())
        done = line(*trial.args)
        assert done.code == 0, done
        check_complete(trial, interruptions)
        check_little_is_asked_again(trial, kills)
        check_no_recorded_response_is_asked_for_again(trial, interruptions)
        repeated = trial.sent - 2 * prompts
        return f"{kills} kills, {2 * prompts} calls, {repeated} in flight at a kill and sent again"


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_killed_at_random_moments_a_run_loses_and_repeats_nothing(tmp_path: Path) -> None:
    kill_and_resume(tmp_path, prompts=PROMPTS, kills=KILLS, seed=11)


def test_a_kill_before_the_first_reply_is_survived(tmp_path: Path) -> None:
    with ChatServer(models()) as server:
        line = CommandLine(tmp_path)
        trial = Trial(server=server, line=line, prompts=20, concurrency=CONCURRENCY)
        for wait_s in (0.05, 0.2, 0.4):
            process = line.start(*trial.args)
            time.sleep(wait_s)
            _end(process)
        done = line(*trial.args)
        assert done.code == 0, done
        check_complete(trial, [])


@pytest.mark.parametrize("torn", ["responses.jsonl", "verdicts.jsonl"])
def test_a_torn_last_line_is_dropped_and_asked_again(torn: str, tmp_path: Path) -> None:
    with ChatServer(models()) as server:
        line = CommandLine(tmp_path)
        trial = Trial(server=server, line=line, prompts=20, concurrency=CONCURRENCY)
        assert line(*trial.args).code == 0
        before = trial.sent
        (trial.out / torn).write_bytes((trial.out / torn).read_bytes()[:-40])
        done = line(*trial.args)
        assert done.code == 0, done
        check_complete(trial, [])
        assert trial.sent - before == 1


def test_ctrl_c_ends_with_130_and_says_how_to_go_on(tmp_path: Path) -> None:
    with ChatServer(models(), latency_s=LATENCY_S) as server:
        line = CommandLine(tmp_path)
        trial = Trial(server=server, line=line, prompts=400, concurrency=CONCURRENCY)
        code = trial.interrupt(signal.SIGINT, after_calls=200)
        said = line.said()
        assert code == 130, said
        assert "resume" in said.lower()
        assert "Traceback" not in said
        interruption = trial.look()
        assert len(interruption.responses) >= 50
        done = line(*trial.args)
        assert done.code == 0, done
        check_complete(trial, [interruption])
        check_little_is_asked_again(trial, 1)


def test_a_full_disk_loses_nothing_that_was_finished(tmp_path: Path) -> None:
    with ChatServer(models()) as server:
        line = CommandLine(tmp_path)
        trial = Trial(server=server, line=line, prompts=200, concurrency=CONCURRENCY)
        full = line(*trial.args, disk_kb=150)
        assert full.code == 2, full
        assert str(trial.out) in full.lines[-1]
        assert "Traceback" not in full.err
        interruption = trial.look()
        assert len(interruption.responses) > 10
        done = line(*trial.args)
        assert done.code == 0, done
        check_complete(trial, [interruption])
        # Twice what is in flight: what had come in could not be written either.
        check_little_is_asked_again(trial, 2)


def test_what_failed_is_tried_again_by_the_same_command(tmp_path: Path) -> None:
    healed = False

    def target(ask: Ask) -> Reply:
        if not healed and ask.text.endswith(("3.", "7.")):
            return error(400, "a field we do not know", code="invalid_request")
        return Reply(text="No.")

    with ChatServer({**models(), "target": target}) as server:
        line = CommandLine(tmp_path)
        trial = Trial(server=server, line=line, prompts=20, concurrency=CONCURRENCY)
        assert line(*trial.args).code == 1
        before = trial.sent
        healed = True
        done = line(*trial.args)
        assert done.code == 0, done
        assert trial.sent - before == 2 * 4, "four responses and their verdicts, nothing else"
        check_complete(trial, [])
        summary = json.loads((trial.out / "summary.json").read_text())
        (found,) = summary["models"]["target"]["benchmarks"].values()
        assert found["outcomes"] == {"complete": 20}


def test_two_runs_in_one_folder_do_not_mix(tmp_path: Path) -> None:
    with ChatServer(models(), latency_s=LATENCY_S) as server:
        line = CommandLine(tmp_path)
        trial = Trial(server=server, line=line, prompts=400, concurrency=CONCURRENCY)
        first = line.start(*trial.args)
        try:
            deadline = time.monotonic() + 60
            while trial.sent < 50 and first.poll() is None and time.monotonic() < deadline:
                time.sleep(0.01)
            second = line(*trial.args)
            assert second.code == 2, second
            assert str(trial.out) in second.err
            assert first.wait(timeout=120) == 0, line.said()
        finally:
            _end(first)
        check_complete(trial, [])
        check_little_is_asked_again(trial, 0)


def _records(path: Path) -> list[dict[str, Any]]:
    """The whole records of a file; the last line may be torn after a kill."""
    if not path.exists():
        return []
    lines = path.read_bytes().splitlines(keepends=True)
    return [json.loads(line) for line in lines if line.endswith(b"\n")]


def _keys(path: Path) -> frozenset[str]:
    return frozenset(record["key"] for record in _records(path))


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.kill()
    process.wait(timeout=30)
