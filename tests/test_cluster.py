"""Calls made by the workers of real Ray nodes on this machine, and what happens when those die."""

import json
import os
import re
import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from hiddenrisk.cluster import joining
from hiddenrisk.errors import UsageError
from tests import tiny_models
from tests.clusters import Nodes, needs_ray, workers_of
from tests.conftest import CommandLine, Done
from tests.reward_models import needs_torch, save
from tests.servers import Ask, ChatServer, Reply, verdict

pytestmark = [needs_ray, pytest.mark.timeout(400)]

SLOTS = 32


@pytest.fixture(scope="module")
def nodes() -> Iterator[Nodes]:
    """A head that takes no workers, and two nodes that do."""
    with Nodes() as nodes:
        nodes.add()
        nodes.add()
        yield nodes


@pytest.fixture
def server() -> Iterator[ChatServer]:
    models = {"target": _answer, "judge": _judge}
    with ChatServer(models, latency_s=0.02) as server:
        yield server


def _answer(ask: Ask) -> Reply:
    return Reply(text=f"No. You said: {ask.text}", reasoning=f"They say {ask.text}")


def _judge(ask: Ask) -> Reply:
    """A verdict that hangs on the text it reads, and on nothing else."""
    number = re.search(r"Prompt number (\d+)", ask.text)
    return verdict(int(number is None or int(number[1]) % 3 > 0))


def assess(
    hiddenrisk: CommandLine,
    server: ChatServer,
    nodes: Nodes,
    *more: str | Path,
    prompts: int = 200,
    out: str = "out",
    start: bool = False,
) -> Any:  # noqa: ANN401 - what was started, or what it left
    bench = hiddenrisk.folder / f"{prompts}.jsonl"
    rows = [{"id": f"p{i}", "prompt": f"Prompt number {i}."} for i in range(prompts)]
    bench.write_text("".join(json.dumps(row) + "\n" for row in rows))
    run = hiddenrisk.start if start else hiddenrisk
    return run(
        *("assess", "--model", server.spec("target"), "--judge", f"{server.base_url}#judge"),
        *("--benchmark", bench, "--out", out, "--yes", "--insights", "none", *more),
        env=nodes.env | {"RAY_ADDRESS": nodes.address},
    )


def records(hiddenrisk: CommandLine, name: str, out: str = "out") -> list[dict[str, Any]]:
    path = hiddenrisk.folder / out / f"{name}.jsonl"
    return [json.loads(line) for line in path.read_bytes().splitlines()] if path.exists() else []


def all_there_once(hiddenrisk: CommandLine, prompts: int) -> None:
    """Every prompt has one response, whose two parts have one verdict each."""
    responses, verdicts = records(hiddenrisk, "responses"), records(hiddenrisk, "verdicts")
    assert len(responses) == len({r["prompt"] for r in responses}) == prompts
    assert len(verdicts) == len({v["key"] for v in verdicts}) == 2 * prompts
    assert {v["response"] for v in verdicts} == {r["key"] for r in responses}
    assert records(hiddenrisk, "failures") == []


def wait_until(there: Callable[[], bool], seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not there():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.05)


def under_way(hiddenrisk: CommandLine, least: int) -> Callable[[], bool]:
    return lambda: len(records(hiddenrisk, "responses")) >= least


def test_a_cluster_gives_the_same_verdicts_and_the_same_summary(
    hiddenrisk: CommandLine, server: ChatServer, nodes: Nodes
) -> None:
    here = assess(hiddenrisk, server, nodes, out="here")
    there = assess(hiddenrisk, server, nodes, "--engine", "ray", "--workers", "4", out="there")
    assert here.code == there.code == 0, there
    assert "4 workers on 2 nodes" in there.err
    for name in ("responses", "verdicts"):
        assert _lasting(records(hiddenrisk, name, "here")) == _lasting(
            records(hiddenrisk, name, "there")
        )
    counted = [
        json.loads((hiddenrisk.folder / out / "summary.json").read_text())["models"]
        for out in ("here", "there")
    ]
    assert counted[0] == counted[1]


def _lasting(found: list[dict[str, Any]]) -> list[str]:
    """Records as text, without what the clock says, in the order of their keys."""
    clock = {"at", "latency_s", "tries"}
    kept = [{k: v for k, v in r.items() if k not in clock} for r in found]
    for one in kept:
        if "finish" in one:  # a response: what the provider sent
            raw: dict[str, Any] = one["raw"]
            one["raw"] = {k: v for k, v in raw.items() if k not in {"id", "created"}}
    return [json.dumps(one) for one in sorted(kept, key=lambda r: r["key"])]


def test_a_client_elsewhere_can_use_a_cluster(
    hiddenrisk: CommandLine, server: ChatServer, nodes: Nodes
) -> None:
    done = assess(hiddenrisk, server, nodes, "--engine", nodes.for_clients)
    assert done.code == 0, done
    assert "workers on 2 nodes" in done.err
    assert "Traceback" not in done.err
    all_there_once(hiddenrisk, 200)


def test_a_stored_run_is_judged_by_workers_and_calibration_asks_them_too(
    hiddenrisk: CommandLine, server: ChatServer, nodes: Nodes
) -> None:
    env = nodes.env | {"RAY_ADDRESS": nodes.address}
    assert assess(hiddenrisk, server, nodes, "--parts", "answer", prompts=50).code == 0
    judge = f"second={server.base_url}#judge"
    done = hiddenrisk("judge", "out", "--judge", judge, "--engine", "ray", "--yes", env=env)
    assert done.code == 0, done
    assert "workers on" in done.err
    found = records(hiddenrisk, "verdicts")
    assert sum(v["judge"] == "second" for v in found) == 50
    own = hiddenrisk.folder / "own.csv"
    rows = [f"p{i},Prompt number {i}.,No.,{('unsafe', 'safe', 'safe')[i % 3]}" for i in range(30)]
    own.write_text("id,prompt,response,label\n" + "\n".join(rows) + "\n")
    done = hiddenrisk(
        *("calibrate", "--on", own, "--judge", judge, "--engine", "ray", "--out", "cal", "--yes"),
        env=env,
    )
    assert done.code == 0, done
    assert "workers on" in done.err


def test_the_limit_of_an_endpoint_holds_over_all_workers(
    hiddenrisk: CommandLine, server: ChatServer, nodes: Nodes
) -> None:
    done = assess(
        *(hiddenrisk, server, nodes, "--engine", "ray", "--workers", "4"),
        *("--concurrency", "5", "--judge", "builtin"),
    )
    assert done.code == 0, done
    assert 5 <= server.ledger.peak_in_flight <= 10, "five calls to each of two models"


def test_a_worker_that_is_killed_costs_only_the_calls_it_had(
    hiddenrisk: CommandLine, server: ChatServer, nodes: Nodes
) -> None:
    run = assess(
        *(hiddenrisk, server, nodes, "--engine", "ray", "--workers", "4"),
        *("--concurrency", str(SLOTS)),
        prompts=1500,
        start=True,
    )
    wait_until(under_way(hiddenrisk, 300))
    workers_of(nodes)[0].kill()
    assert run.wait(200) == 0, hiddenrisk.said()
    all_there_once(hiddenrisk, 1500)
    assert "was lost" in hiddenrisk.said()
    assert "a worker is back" in hiddenrisk.said()
    again = sum(server.ledger.arrived.values()) - len(server.ledger.arrived)
    assert again <= 2 * SLOTS, "only calls in flight were made again"


def test_a_node_that_is_lost_in_the_middle_costs_no_result(
    hiddenrisk: CommandLine, server: ChatServer, nodes: Nodes
) -> None:
    third = nodes.add()
    run = assess(
        *(hiddenrisk, server, nodes, "--engine", "ray", "--workers", "6"),
        *("--concurrency", "128", "--parts", "answer"),
        prompts=10_000,
        start=True,
    )
    wait_until(under_way(hiddenrisk, 3000))
    nodes.kill(third)
    assert run.wait(300) == 0, hiddenrisk.said()
    assert "was lost" in hiddenrisk.said()
    verdicts = records(hiddenrisk, "verdicts")
    assert len(verdicts) == len({v["key"] for v in verdicts}) == 10_000
    assert len({v["response"] for v in verdicts}) == 10_000


@pytest.mark.parametrize("sign", [signal.SIGKILL, signal.SIGINT])
def test_a_run_whose_driver_dies_is_resumed_by_the_same_command(
    hiddenrisk: CommandLine, server: ChatServer, nodes: Nodes, sign: signal.Signals
) -> None:
    command = (hiddenrisk, server, nodes, "--engine", "ray", "--concurrency", str(SLOTS))
    run = assess(*command, prompts=800, start=True)
    wait_until(under_way(hiddenrisk, 200))
    run.send_signal(sign)
    assert run.wait(180) == (-signal.SIGKILL if sign is signal.SIGKILL else 130)
    wait_until(lambda: not workers_of(nodes), 180)
    before = len(records(hiddenrisk, "responses"))
    assert before < 800
    done: Done = assess(*command, prompts=800)
    assert done.code == 0, done
    all_there_once(hiddenrisk, 800)
    again = sum(server.ledger.arrived.values()) - len(server.ledger.arrived)
    assert again <= 2 * SLOTS, "only calls in flight were made again"


def test_a_budget_stops_a_run_on_a_cluster(
    hiddenrisk: CommandLine, server: ChatServer, nodes: Nodes
) -> None:
    done = assess(hiddenrisk, server, nodes, "--engine", "ray", "--budget-tokens", "3000")
    assert done.code == 3, done
    assert 0 < len(records(hiddenrisk, "responses")) < 200


def test_a_finished_run_needs_no_worker(
    hiddenrisk: CommandLine, server: ChatServer, nodes: Nodes
) -> None:
    assert assess(hiddenrisk, server, nodes).code == 0
    hits = server.ledger.hits
    done = assess(hiddenrisk, server, nodes, "--engine", "ray")
    assert done.code == 0, done
    assert "worker" not in done.err
    assert server.ledger.hits == hits


def test_a_worker_without_the_key_is_told_of_before_anything_is_sent(
    hiddenrisk: CommandLine, server: ChatServer, nodes: Nodes
) -> None:
    env = nodes.env | {"RAY_ADDRESS": nodes.address, "HIDDENRISK_API_KEY": "sk-test-123456789"}
    done = hiddenrisk(
        *("assess", "--model", server.spec("target"), "--benchmark", "starter", "--yes"),
        *("--engine", "ray", "--out", "out"),
        env=env,
    )
    assert done.code == 2, done
    assert "HIDDENRISK_API_KEY" in done.lines[-1]
    assert "cannot begin" in done.lines[-1]
    assert "sk-test" not in done.err + done.out
    assert sum(server.ledger.arrived.values()) == 0


def test_a_model_that_a_worker_cannot_reach_is_told_of_in_one_sentence(
    hiddenrisk: CommandLine, nodes: Nodes
) -> None:
    done = hiddenrisk(
        *("assess", "--model", "http://127.0.0.1:9/v1#nobody", "--benchmark", "starter", "--yes"),
        *("--engine", "ray", "--out", "out"),
        env=nodes.env | {"RAY_ADDRESS": nodes.address},
    )
    assert done.code == 2, done
    assert "the worker on node" in done.lines[-1]
    assert "cannot reach nobody" in done.lines[-1]


def test_weights_in_vllm_on_workers_give_what_they_give_here(
    hiddenrisk: CommandLine, nodes: Nodes, tmp_path: Path
) -> None:
    pytest.importorskip("vllm", reason="vllm is not installed (make vllm)")
    weights = tiny_models.save(
        tmp_path / "tiny", template=tiny_models.OPENS, script=tiny_models.SCRIPT
    )
    bench = tmp_path / "b.jsonl"
    rows = [{"id": f"p{i}", "prompt": f"Prompt number {i}."} for i in range(20)]
    bench.write_text("".join(json.dumps(row) + "\n" for row in rows))
    spec = f"tiny=vllm/{weights}?eager&memory=0.05&dtype=float32"
    command = ("assess", "--model", spec, "--benchmark", bench, "--max-tokens", "20", "--yes")
    assert hiddenrisk(*command, "--out", "here").code == 0
    done = hiddenrisk(
        *(*command, "--out", "there", "--engine", "ray", "--workers", "1"),
        env=nodes.env | {"RAY_ADDRESS": nodes.address},
    )
    assert done.code == 0, done
    assert "1 worker on 1 node" in done.err
    for name in ("responses", "verdicts"):
        here, there = (_lasting(records(hiddenrisk, name, out)) for out in ("here", "there"))
        assert len(here) >= 20
        assert here == there


@needs_torch
def test_reward_models_score_on_workers_as_they_do_here_and_outlive_one_of_them(
    hiddenrisk: CommandLine, nodes: Nodes, tmp_path: Path
) -> None:
    rows = [
        {"id": f"p{i}", "prompt": f"Question {i}?", "answer": "Gladly. " + "step. " * (i % 50 + 1)}
        for i in range(1500)
    ]
    (tmp_path / "t.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert hiddenrisk("import", "t.jsonl", "--judge", "builtin", "--out", "here").code == 0
    shutil.copytree(tmp_path / "here", tmp_path / "there")
    reward = f"armorm={save(tmp_path / 'rm', 'armorm')}"
    assert hiddenrisk("harm", "here", "--reward", reward).code == 0
    env = nodes.env | {"RAY_ADDRESS": nodes.address}
    command = ("harm", "there", "--reward", reward, "--engine", "ray", "--workers", "2")
    run = hiddenrisk.start(*command, env=env)
    wait_until(lambda: len(records(hiddenrisk, "rewards", "there")) > 0)
    workers_of(nodes, "RewardWorker")[0].kill()
    assert run.wait(200) == 0, hiddenrisk.said()
    here, there = (
        {r["key"]: r["score"] for r in records(hiddenrisk, "rewards", out)}
        for out in ("here", "there")
    )
    assert len(records(hiddenrisk, "rewards", "there")) == len(there) == 1500
    assert there == pytest.approx(here, abs=1e-4)


@needs_torch
def test_a_reward_model_that_a_worker_cannot_open_is_told_of_in_one_sentence(
    hiddenrisk: CommandLine, nodes: Nodes, tmp_path: Path
) -> None:
    row = {"id": "a", "prompt": "Question?", "answer": "Gladly. First step."}
    (tmp_path / "t.jsonl").write_text(json.dumps(row) + "\n")
    assert hiddenrisk("import", "t.jsonl", "--judge", "builtin", "--out", "run").code == 0
    done = hiddenrisk(
        *("harm", "run", "--reward", "armorm=/nowhere", "--engine", "ray"),
        env=nodes.env | {"RAY_ADDRESS": nodes.address},
    )
    assert done.code == 2, done
    assert "a worker of the cluster cannot begin" in done.lines[-1]
    assert "/nowhere" in done.lines[-1]


@pytest.mark.parametrize("engine", ["ray://127.0.0.1:9", "ray"])
def test_a_cluster_that_is_not_there_is_told_of_in_one_sentence(
    hiddenrisk: CommandLine, server: ChatServer, engine: str
) -> None:
    begun = time.monotonic()
    done = hiddenrisk(
        *("assess", "--model", server.spec("target"), "--benchmark", "starter", "--yes"),
        *("--engine", engine, "--out", "out"),
        env={"RAY_ADDRESS": "127.0.0.1:9"},
    )
    assert done.code == 2, done
    assert time.monotonic() - begun < 30, "Ray itself tries for minutes"
    assert (
        f"cannot join the cluster at {engine if ':' in engine else '127.0.0.1:9'}" in done.lines[-1]
    )
    assert "Traceback" not in done.err
    assert server.ledger.hits == 0


@pytest.mark.parametrize(
    ("version", "told"), [("", "has no hiddenrisk"), ("0.0.1", "has hiddenrisk 0.0.1")]
)
def test_nodes_without_this_version_of_the_package_are_told_of(
    hiddenrisk: CommandLine, server: ChatServer, tmp_path: Path, version: str, told: str
) -> None:
    # What Python loads at its start there, and not where the command runs.
    (tmp_path / "sitecustomize.py").write_text(
        "import importlib.metadata as m\n"
        "real = m.version\n"
        "def version(name):\n"
        "    if name != 'hiddenrisk': return real(name)\n"
        f"    if not {version!r}: raise m.PackageNotFoundError(name)\n"
        f"    return {version!r}\n"
        "m.version = version\n"
    )
    with Nodes(head_cpus=1, python_path=tmp_path) as nodes:
        done = assess(hiddenrisk, server, nodes, "--engine", "ray")
    assert done.code == 2, done
    assert told in done.lines[-1]
    assert sum(server.ledger.arrived.values()) == 0


def test_a_cluster_that_is_started_here_wants_a_token(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.setenv(name, "")  # so that it is taken back
        monkeypatch.delenv(name)
    joining.lock()
    assert os.environ["RAY_AUTH_MODE"] == "token"
    assert len(os.environ["RAY_AUTH_TOKEN"]) == 64
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    monkeypatch.delenv("RAY_AUTH_TOKEN")
    joining.lock()
    assert "RAY_AUTH_TOKEN" not in os.environ, "whoever runs it said so"


def test_without_a_cluster_one_is_started_here_and_leaves_nothing_behind(
    hiddenrisk: CommandLine, server: ChatServer
) -> None:
    folder = tempfile.mkdtemp(prefix="hr", dir="/tmp")  # sockets' paths are short
    bench = hiddenrisk.folder / "b.jsonl"
    bench.write_text(json.dumps({"id": "a", "prompt": "Hello."}) + "\n")
    done = hiddenrisk(
        *("assess", "--model", server.spec("target"), "--benchmark", bench, "--yes"),
        *("--engine", "ray", "--workers", "2", "--out", "out"),
        env={"RAY_TMPDIR": folder},
    )
    try:
        assert done.code == 0, done
        assert "2 workers on 1 node" in done.err
        assert Path(folder, "ray").is_dir(), "it was there"
        wait_until(lambda: not _daemons_in(folder), 60)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _daemons_in(folder: str) -> set[int]:
    """The daemons of Ray whose temporary folder this is."""
    found: set[int] = set()
    for process in psutil.process_iter():
        try:
            words = process.cmdline()
        except psutil.Error:
            continue
        ours = any(folder in word for word in words)
        if ours and Path(words[0]).name in {"raylet", "gcs_server"}:
            found.add(process.pid)
    return found


@pytest.mark.parametrize("engine", ["rai", "ray://", "ray:host", "spark"])
def test_an_engine_that_nobody_knows_is_wrong_use(engine: str) -> None:
    with pytest.raises(UsageError, match="unknown engine"):
        joining.check_engine(engine)


def test_workers_without_a_cluster_are_wrong_use() -> None:
    with pytest.raises(UsageError, match="add --engine ray"):
        joining.check_engine("local", 4)


def test_what_asks_nobody_joins_no_cluster(hiddenrisk: CommandLine) -> None:
    bench = hiddenrisk.folder / "b.jsonl"
    bench.write_text(json.dumps({"id": "a", "prompt": "Hello."}) + "\n")
    (hiddenrisk.folder / "r.jsonl").write_text(
        json.dumps({"id": "a", "prompt": "Hello.", "answer": "No."}) + "\n"
    )
    done = hiddenrisk(
        *("assess", "--model", "m=replay/r.jsonl", "--benchmark", bench, "--yes"),
        *("--engine", "ray", "--out", "out"),
        env={"RAY_ADDRESS": "127.0.0.1:9"},
    )
    assert done.code == 0, done
    assert "joining" not in done.err


def test_without_ray_a_message_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(joining, "installed", lambda: False)
    with pytest.raises(UsageError, match=r"hiddenrisk\[ray\]"):
        joining.check_engine("ray")
