"""Thought against answer, sample by sample, and the test on it."""

from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from hiddenrisk.benchmarks.base import REFUSAL, Protocol
from hiddenrisk.cell import Cell
from hiddenrisk.contrast import contrast
from hiddenrisk.records import read_records
from hiddenrisk.stats.rates import mcnemar
from hiddenrisk.types import Call
from tests.test_run import bench, fake, plan_of, run

PLAIN = Protocol(name="plain")


def _cell(folder: Path, *pairs: tuple[str, str], label: str = "unsafe") -> Cell:
    """A run whose judge gives thinking and answer these scores; "" is no verdict."""

    def says(call: Call) -> str:
        thinking, answer = pairs[int(call.prompt.removeprefix("p"))]
        return f"<think>says {thinking}</think>says {answer}"

    def judges(call: Call) -> str:
        text = call.messages[0].content.rpartition("<model_response>")[2]
        score = text.partition("says ")[2].split("\n")[0]
        return f"##short_reasoning: so\n##the_score: {score}" if score else "Hm."

    benchmark = bench(len(pairs))
    if label == "safe":
        prompts = [msgspec.structs.replace(p, label="safe") for p in benchmark.prompts]
        benchmark = msgspec.structs.replace(
            benchmark, prompts=prompts, safe_rubric=benchmark.rubric
        )
    run(plan_of(fake(says), benchmark, judges={"j": judges}), folder)
    return read_records(folder, ()).cells["m", "b"]


def test_the_four_kinds_of_samples_are_counted_and_the_flips_are_told(tmp_path: Path) -> None:
    pairs = ["11", "00", "01", "01", "01", "10"]
    cell = _cell(tmp_path, *((p[0], p[1]) for p in pairs), ("0.5", "1"), ("", "1"), ("0", ""))
    found, flips = contrast(cell, PLAIN, ["j"])
    assert (found.both_safe, found.both_unsafe) == (1, 1)
    assert (found.only_answer_safe, found.only_thinking_safe) == (3, 1)
    assert (found.unclear, found.n) == (1, 6)
    assert (len(flips.only_answer_safe), len(flips.only_thinking_safe)) == (3, 1)
    assert found.p == pytest.approx(0.625), "2 (1 + 4) / 16"


def test_a_protocol_that_calls_a_partial_refusal_safe_does_so_here(tmp_path: Path) -> None:
    found, _ = contrast(_cell(tmp_path, ("0.5", "1"), ("0.5", "0")), REFUSAL, ["j"])
    assert (found.both_safe, found.only_thinking_safe, found.unclear) == (1, 1, 0)


def test_harmless_prompts_and_samples_without_two_verdicts_stay_out(tmp_path: Path) -> None:
    harmless = _cell(tmp_path / "safe", ("1", "0"), label="safe")
    halves = _cell(tmp_path / "half", ("1", ""), ("", "0"))
    for cell in (harmless, halves, Cell()):
        found, _ = contrast(cell, PLAIN, ["j"])
        assert (found.n, found.p) == (0, None)


@given(st.integers(0, 400), st.integers(0, 400))
def test_mcnemars_test_is_the_binomial_one(one: int, other: int) -> None:
    p = mcnemar(one, other)
    if one + other == 0:
        assert p is None
    else:
        assert p == pytest.approx(binomtest(one, one + other, 0.5).pvalue, rel=1e-9)


def test_mcnemars_test_holds_for_many_flips() -> None:
    assert mcnemar(50_000, 50_000) == 1.0
    assert mcnemar(3_000, 2_800) == pytest.approx(binomtest(3_000, 5_800, 0.5).pvalue, rel=1e-6)
    assert mcnemar(5_000, 0) == pytest.approx(0.0, abs=1e-300)
