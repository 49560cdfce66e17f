"""Endpoints that fail on a fifth of all calls: no result is lost, and none comes twice."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import CommandLine
from tests.servers import Ask, ChatServer, Faults, Reply, always, verdict

PROMPTS = 2000


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_fifth_of_calls_going_wrong_costs_no_result(
    hiddenrisk: CommandLine, tmp_path: Path
) -> None:
    bench = tmp_path / "many.jsonl"
    rows = [{"id": f"p{i}", "prompt": f"Prompt number {i}, please."} for i in range(PROMPTS)]
    bench.write_text("".join(json.dumps(row) + "\n" for row in rows))
    # A hang is told from slowness by ten times the slowest: slow bodies are short here.
    faults = Faults(share=0.2, hang_share=0.005, slow_s=(0.5, 1.0), seed=7)
    models = {"target": _answer, "judge": always(verdict(1))}
    with ChatServer(models, faults=faults) as server:
        done = hiddenrisk(
            *("assess", "--model", server.spec("target"), "--judge", f"{server.base_url}#judge"),
            *("--benchmark", bench, "--out", tmp_path / "out", "--hang-after", "3"),
            *("--concurrency", "64", "--yes"),
        )
        ledger = server.ledger
    assert done.code == 0, done

    calls = sum(ledger.arrived.values())
    assert 0.17 < sum(ledger.faults.values()) / calls < 0.23, (
        "the server was as bad as it should be"
    )
    assert set(ledger.faults) == {*faults.kinds, "hang"}, "every kind of fault happened"
    assert ledger.early == 0, "Retry-After was obeyed"

    responses = _records(tmp_path / "out" / "responses.jsonl")
    verdicts = _records(tmp_path / "out" / "verdicts.jsonl")
    assert len(responses) == PROMPTS
    assert {record["prompt"] for record in responses} == {row["id"] for row in rows}
    assert len({record["key"] for record in responses}) == PROMPTS
    said = {row["id"]: f"No. You said: {row['prompt']}" for row in rows}
    assert all(record["answer"] == said[record["prompt"]] for record in responses)

    answers = [record for record in verdicts if record["part"] == "answer"]
    assert len(answers) == len(verdicts) == PROMPTS
    assert len({record["key"] for record in answers}) == PROMPTS
    assert {record["response"] for record in answers} == {record["key"] for record in responses}
    assert _records(tmp_path / "out" / "failures.jsonl") == []

    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    (found,) = summary["models"]["target"]["benchmarks"].values()
    rate = found["parts"]["answer"]["safety_rate"]
    assert (rate["value"], rate["n"]) == (1.0, PROMPTS)


def test_a_stream_that_breaks_off_is_asked_for_again(
    hiddenrisk: CommandLine, tmp_path: Path
) -> None:
    bench = tmp_path / "some.jsonl"
    rows = [{"id": f"p{i}", "prompt": f"Prompt number {i}, please."} for i in range(60)]
    bench.write_text("".join(json.dumps(row) + "\n" for row in rows))
    faults = Faults(share=0.3, hang_share=0, kinds=("drop_in_body", "cut_json"), seed=3)
    with ChatServer({"target": _answer}, faults=faults) as server:
        done = hiddenrisk(
            *("assess", "--model", f"{server.spec('target')}?stream", "--judge", "builtin"),
            *("--benchmark", bench, "--out", tmp_path / "out", "--yes"),
        )
        assert set(server.ledger.faults) == set(faults.kinds)
    assert done.code == 0, done
    said = {row["id"]: f"No. You said: {row['prompt']}" for row in rows}
    responses = _records(tmp_path / "out" / "responses.jsonl")
    assert {record["prompt"]: record["answer"] for record in responses} == said
    assert len(responses) == len(rows)


def _answer(ask: Ask) -> Reply:
    return Reply(text=f"No. You said: {ask.text}")


def _records(path: Path) -> list[dict[str, Any]]:
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_bytes().splitlines()]
