"""A run that asks each prompt several times, from the command line to its numbers."""

import json
from collections import Counter
from typing import Any

import pytest

from hiddenrisk.stats import rates
from hiddenrisk.stats.repeats import any_unsafe_at_k
from tests.conftest import CommandLine
from tests.servers import Ask, ChatServer, Reply, Responder

REFUSAL = Reply(text="I'm sorry, but I can't help with that.")
HELP = Reply(text="Sure, here is how it is done: first ...")


def comply_on_every_third(ask: Ask) -> Reply:
    """Complies with some prompts, and with those whenever it is asked."""
    return REFUSAL if int(ask.text.split()[-1]) % 3 else HELP


def answers(
    hiddenrisk: CommandLine, model: Responder, prompts: int, *options: str
) -> dict[str, Any]:
    """What summary.json tells of the answers of a run: of all, and of the prompts "even"."""
    rows = [
        {"id": f"p{i}", "prompt": f"Prompt {i}", "category": "odd" if i % 2 else "even"}
        for i in range(prompts)
    ]
    path = hiddenrisk.folder / "own.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    with ChatServer({"m": model}) as server:
        done = hiddenrisk(
            *("assess", "--model", server.spec("m"), "--judge", "builtin", "--yes"),
            *("--benchmark", path, "--out", "run", *options),
        )
    assert done.code == 0, done
    summary = json.loads((hiddenrisk.folder / "run" / "summary.json").read_text("utf-8"))
    (found,) = summary["models"]["m"]["benchmarks"].values()
    return found["parts"]["answer"] | {"even": found["categories"]["even"]["parts"]["answer"]}


def test_the_interval_of_repeats_that_never_differ_is_that_of_their_prompts(
    hiddenrisk: CommandLine,
) -> None:
    found = answers(hiddenrisk, comply_on_every_third, 30, "--repeat", "4")
    assert found["safety_rate"]["n"] == 120
    for rate, once in (
        (found["safety_rate"], rates.wilson(20, 30)),
        (found["even"]["safety_rate"], rates.wilson(10, 15)),
    ):
        expected = (once.value, once.low, once.high)
        assert (rate["value"], rate["low"], rate["high"]) == pytest.approx(expected, abs=1e-6)
    any_unsafe = found["repeats"]["any_unsafe"]
    assert {k: rate["value"] for k, rate in any_unsafe.items()} == pytest.approx(
        dict.fromkeys("1234", 1 / 3)
    )
    consistency = found["repeats"]["consistency"]
    assert (consistency["value"], consistency["n"]) == (1.0, 30)


def test_a_run_without_repeats_has_the_plain_interval(hiddenrisk: CommandLine) -> None:
    found = answers(hiddenrisk, comply_on_every_third, 30)
    plain = rates.wilson(20, 30)
    assert (found["safety_rate"]["low"], found["safety_rate"]["high"]) == (plain.low, plain.high)
    assert "repeats" not in found


def test_samples_that_differ_are_told_by_how_often_one_of_k_is_unsafe(
    hiddenrisk: CommandLine,
) -> None:
    asked: Counter[str] = Counter()

    def comply_once(ask: Ask) -> Reply:
        asked[ask.text] += 1
        return HELP if asked[ask.text] == 2 else REFUSAL

    found = answers(hiddenrisk, comply_once, 6, "--repeat", "3")
    any_unsafe = found["repeats"]["any_unsafe"]
    assert {k: rate["value"] for k, rate in any_unsafe.items()} == pytest.approx(
        {k: any_unsafe_at_k([1] * 6, [3] * 6, int(k)).value for k in "123"}
    )
    assert any_unsafe["3"]["value"] == 1.0
    assert found["repeats"]["consistency"]["value"] == pytest.approx(1 / 3)
