"""`hiddenrisk compare`, as a user runs it: on small runs whose every score is known."""

import csv
import importlib
import json
import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from hiddenrisk.errors import UsageError
from hiddenrisk.plan import Settings
from hiddenrisk.sides import pairings
from tests.conftest import CommandLine, Done
from tests.servers import Ask, ChatServer, Reply, Responder, judge_from_csv, target_from_csv
from tests.small_runs import assess, blocked, judge, model, number, write_prompts

STATSMODELS: Any = importlib.import_module("statsmodels.stats.api")
"""It has no types."""
SIZE = 60


def first(n: int) -> bool:
    return n % 2 == 0


def second(n: int) -> bool:
    return n % 4 != 1


def third(n: int) -> bool:
    return n % 3 == 0


MODELS = {"a": model(first), "b": model(second), "c": model(third, thinks=first)}
"""The third shows its thinking, the others do not."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs of one set of prompts: three models, and one model measured in several ways."""
    folder = tmp_path_factory.mktemp("runs")
    command, few = CommandLine(folder), {"m": model(second)}
    prompts = write_prompts(folder / "own.jsonl", range(SIZE))
    assess(command, folder / "three", prompts, MODELS)
    assess(command, folder / "old", prompts, {"m": model(first)}, "--limit", "40")
    for name, how in {
        "new": (), "warm": ("--temperature", "0.5"), "short": ("--max-tokens", "77"),
        "jury": ("--judge", "builtin"), "rules": ("--judge", "builtin"),
    }.items():  # fmt: skip
        judges: dict[str, Responder] = {} if name == "rules" else {"judge": judge}
        assess(command, folder / name, prompts, few, *how, "--limit", "20", judges=judges)
    return folder


@pytest.fixture
def hiddenrisk(folder: Path) -> CommandLine:
    """The command line where those runs are."""
    return CommandLine(folder)


@pytest.fixture(scope="module")
def told(folder: Path) -> tuple[Done, dict[str, Any]]:
    """What `compare` says of the three models of one run, and writes."""
    return written(CommandLine(folder), "three", "--categories", "2")


@pytest.fixture
def three(told: tuple[Done, dict[str, Any]]) -> dict[str, Any]:
    """The latter."""
    return told[1]


@pytest.fixture
def apart(tmp_path: Path) -> CommandLine:
    """The command line in a folder of its own."""
    return CommandLine(tmp_path)


def written(hiddenrisk: CommandLine, *args: str | Path) -> tuple[Done, dict[str, Any]]:
    out = hiddenrisk.folder / "found.json"
    done = hiddenrisk("compare", *args, "--out", out)
    assert done.code == 0, done
    return done, json.loads(out.read_text())


def only(found: dict[str, Any], **wanted: str) -> dict[str, Any]:
    (one,) = [c for c in found["comparisons"] if all(c[k] == v for k, v in wanted.items())]
    return one


def _exact(down: int, up: int) -> float:
    """McNemar's exact test, by statsmodels."""
    return float(STATSMODELS.mcnemar(np.array([[0, down], [up, 0]]), exact=True).pvalue)


def _midp(down: int, up: int) -> float:
    """The same less half of what was seen on either side."""
    return _exact(down, up) - float(stats.binom.pmf(min(up, down), up + down, 0.5))


def _many(ps: Sequence[float], method: str) -> list[float]:
    """Adjusted p-values, by statsmodels."""
    return list(STATSMODELS.multipletests(ps, method=method)[1])


# ---------------------------------------------------------------- the numbers


def test_two_models_of_a_run_are_paired_prompt_by_prompt(three: dict[str, Any]) -> None:
    harmful = [n for n in range(SIZE) if n % 10 != 9]
    a, b = ([float(side(n)) for n in harmful] for side in (first, second))
    up = sum(y > x for x, y in zip(a, b, strict=True))
    down = sum(y < x for x, y in zip(a, b, strict=True))
    one = only(three, first="a", second="b", metric="safety_rate")
    assert one["n"] == one["shared"] == one["prompts"] == len(harmful) == 54
    assert one["first_rate"]["value"] == pytest.approx(np.mean(a))
    assert one["second_rate"]["value"] == pytest.approx(np.mean(b))
    assert one["difference"]["value"] == pytest.approx(np.mean(b) - np.mean(a))
    assert (one["only_first"], one["only_second"]) == (down, up)
    assert one["test"] == "mcnemar_midp"
    assert one["exact_p"] == pytest.approx(_exact(down, up))
    assert one["p"] == pytest.approx(_midp(down, up))
    over = only(three, first="a", second="b", metric="over_refusal_rate")
    assert over["n"] == 6
    assert over["first_rate"]["value"] == 0.0


def test_the_adjusted_p_values_are_those_of_statsmodels(three: dict[str, Any]) -> None:
    tested = [c for c in three["comparisons"] if c["p"] is not None]
    assert len(tested) > 3
    for field, method in (("p_holm", "holm"), ("p_bh", "fdr_bh")):
        wanted = _many([c["p"] for c in tested], method)
        assert [c[field] for c in tested] == pytest.approx(wanted)
    assert {c["family"] for c in tested} == {
        f"the {len(tested)} tests of whole benchmarks in this comparison"
    }
    for one in three["comparisons"]:
        cells = [c for c in one["categories"].values() if c["p"] is not None]
        if cells:
            wanted = _many([c["p"] for c in cells], "holm")
            assert [c["p_holm"] for c in cells] == pytest.approx(wanted)


def test_the_categories_add_up_to_the_whole(three: dict[str, Any]) -> None:
    one = only(three, first="a", second="b", metric="safety_rate")
    assert set(one["categories"]) == {"C", "C > c0", "C > c1", "C > c2"}
    fine = [cell for name, cell in one["categories"].items() if " > " in name]
    for field in ("n", "shared", "only_first", "only_second"):
        assert sum(cell[field] for cell in fine) == one["categories"]["C"][field] == one[field]


def test_the_flips_are_the_prompts_that_score_differently(
    hiddenrisk: CommandLine,
) -> None:
    _, found = written(hiddenrisk, "three:a", "three:b", "--part", "answer", "--categories", "0")
    assert only(found, metric="safety_rate")["categories"] == {}
    lines = (hiddenrisk.folder / "found.flips.jsonl").read_text().splitlines()
    flips = [json.loads(line) for line in lines]
    assert {flip["prompt"] for flip in flips} == {
        f"p{n}" for n in range(SIZE) if first(n) != second(n)
    }
    assert all(flip["first_score"] != flip["second_score"] for flip in flips)
    assert set(flips[0]) == {
        "first", "second", "benchmark", "part", "metric", "prompt", "repeat", "category",
        "first_score", "second_score",
    }  # fmt: skip


def test_repeats_of_a_prompt_count_as_one_prompt(apart: CommandLine, tmp_path: Path) -> None:
    prompts = write_prompts(tmp_path / "own.jsonl", range(20))
    models = {"a": model(first), "b": model(second)}
    assess(apart, tmp_path / "run", prompts, models, "--repeat", "3")
    _, found = written(apart, tmp_path / "run", "--part", "answer")
    one = only(found, metric="safety_rate")
    assert (one["n"], one["prompts"]) == (54, 18)
    assert one["test"] == "permutation_midp"
    # Three equal answers of a prompt are one piece of evidence: the p of 18 prompts.
    down = sum(first(n) and not second(n) for n in range(20) if n % 10 != 9)
    up = sum(second(n) and not first(n) for n in range(20) if n % 10 != 9)
    assert one["p"] == pytest.approx(_midp(down, up))


def test_a_summary_has_the_comparisons_that_compare_prints(
    folder: Path, three: dict[str, Any]
) -> None:
    summary = json.loads((folder / "three" / "summary.json").read_text())
    mine, theirs = (
        {
            (c["first"], c["second"], c["part"], c["metric"]): c
            | {"family": None, "categories": None}
            for c in found["comparisons"]
        }
        for found in (summary, three)
    )
    assert mine == theirs
    assert len(mine) == 6


# ---------------------------------------------------------------- what cannot be compared


def test_thinking_that_one_does_not_show_is_not_compared(
    told: tuple[Done, dict[str, Any]],
) -> None:
    done, found = told
    assert {c["part"] for c in found["comparisons"]} == {"answer"}
    assert "a shows no thinking: not visible is not safe" in done.out
    assert {one["part"] for one in found["not_compared"]} == {"thinking"}


def test_a_model_that_is_blocked_throughout_gives_words_and_no_zero(
    apart: CommandLine, tmp_path: Path
) -> None:
    prompts = write_prompts(tmp_path / "own.jsonl", range(20))
    assess(apart, tmp_path / "run", prompts, {"a": model(first), "b": blocked})
    done, found = written(apart, tmp_path / "run")
    one = only(found, part="answer", metric="safety_rate")
    assert one["n"] == 0
    assert one["difference"] == {"value": None, "low": None, "high": None, "n": 0}
    assert one["p"] is one["p_holm"] is one["test"] is one["detectable"] is None
    assert one["unscored"]["second_outcomes"] == {"blocked_on_input": 18}
    safe = sum(first(n) for n in range(20) if n % 10 != 9) / 18
    assert one["band"] == pytest.approx({"low": -safe, "high": 1 - safe})
    assert "b has none on 18 (18 blocked on input)" in done.out


def test_models_that_never_differ_have_an_interval_and_no_test(
    apart: CommandLine, tmp_path: Path
) -> None:
    prompts = write_prompts(tmp_path / "own.jsonl", range(20))
    assess(apart, tmp_path / "run", prompts, {"a": model(first), "b": model(first)})
    done, found = written(apart, tmp_path / "run")
    one = only(found, metric="safety_rate")
    assert one["p"] is one["odds_ratio"]["value"] is None
    assert one["difference"]["value"] == 0.0
    assert one["difference"]["low"] < 0 < one["difference"]["high"]
    assert "the 18 pairs score alike" in done.out


def test_what_fails_on_one_side_is_counted_beside_the_pairs(
    apart: CommandLine, tmp_path: Path
) -> None:
    def half(ask: Ask) -> Reply:
        return blocked(ask) if number(ask) < 5 else model(first)(ask)

    prompts = write_prompts(tmp_path / "own.jsonl", range(20))
    assess(apart, tmp_path / "run", prompts, {"a": half, "b": model(second)})
    done, found = written(apart, tmp_path / "run")
    one = only(found, metric="safety_rate")
    assert (one["shared"], one["n"]) == (18, 13)
    assert (one["unscored"]["first"], one["unscored"]["second"]) == (5, 0)
    assert "5 of 18 shared samples have no score of both (a 5 blocked on input)" in done.out


def test_runs_that_share_a_part_of_the_prompts_are_paired_on_it(hiddenrisk: CommandLine) -> None:
    done, found = written(hiddenrisk, "old", "new")
    shared = {c["metric"]: c["shared"] for c in found["comparisons"]}
    paths = [hiddenrisk.folder / run / "responses.jsonl" for run in ("old", "new")]
    asked = [
        {json.loads(line)["prompt"] for line in path.read_text().splitlines()} for path in paths
    ]
    assert sum(shared.values()) == len(asked[0] & asked[1]) < 20
    one = only(found, metric="safety_rate")
    assert (one["first"], one["second"]) == ("old:m", "new:m")
    assert sum(c["unshared"]["first"] for c in found["comparisons"]) == 40 - sum(shared.values())
    assert "samples are of old:m only" in done.out


def test_runs_that_share_no_prompt_say_so(apart: CommandLine, tmp_path: Path) -> None:
    here = write_prompts(tmp_path / "here" / "own.jsonl", range(10))
    there = write_prompts(tmp_path / "there" / "own.jsonl", range(10, 20))
    assess(apart, tmp_path / "one", here, {"a": model(first)})
    assess(apart, tmp_path / "two", there, {"b": model(first)})
    refused = apart("compare", "one", "two")
    assert refused.code == 2
    assert "own: benchmark version" in refused.err
    assert "--allow benchmark" in refused.err
    done, found = written(apart, "one", "two", "--allow", "benchmark")
    assert only(found, metric="safety_rate")["note"] == "they share no prompt here"
    assert "they share no prompt here" in done.out
    assert "NOT MEASURED ALIKE, own: benchmark" in done.out


def test_one_id_with_two_texts_is_no_shared_prompt(apart: CommandLine, tmp_path: Path) -> None:
    here = write_prompts(tmp_path / "here" / "own.jsonl", range(20))
    there = tmp_path / "there" / "own.jsonl"
    changed = here.read_text().replace("Question 3?", "Another question 3?")
    there.parent.mkdir()
    there.write_text(changed)
    assess(apart, tmp_path / "one", here, {"a": model(first)})
    assess(apart, tmp_path / "two", there, {"b": model(second)})
    done, found = written(apart, "one", "two", "--allow", "benchmarks")
    assert only(found, metric="safety_rate")["shared"] == 17
    assert "1 harmful prompts have one id in both runs and not one text" in done.out


def test_what_a_model_was_not_asked_is_not_called_unjudged(
    hiddenrisk: CommandLine, tmp_path: Path
) -> None:
    prompts = write_prompts(tmp_path / "own.jsonl", range(5))  # all of them harmful
    assess(hiddenrisk, tmp_path / "few", prompts, {"m": model(first)})
    done, found = written(hiddenrisk, "old", str(tmp_path / "few"), "--allow", "benchmark")
    told = {one["reason"] for one in found["not_compared"] if one["part"] == "answer"}
    assert told == {"few:m was asked no harmless prompts of it"}
    assert "nobody judged" not in done.out


def test_what_is_shared_in_part_is_told_of_harmful_and_harmless_prompts(
    hiddenrisk: CommandLine,
) -> None:
    done, _ = written(hiddenrisk, "old", "new")
    told = [
        line for line in " ".join(done.out.split()).split(" old:m and new:m ") if "only" in line
    ]
    assert any(line.startswith("on own (over-refusal): ") for line in told), done
    assert sum(line.startswith("on own (answer): ") for line in told) == 1, done


# ---------------------------------------------------------------- what is refused


def test_the_same_judge_at_another_address_is_the_same_judge(hiddenrisk: CommandLine) -> None:
    done, found = written(hiddenrisk, "old", "new")
    assert found["differing"] == []
    assert "NOT MEASURED ALIKE" not in done.out


@pytest.mark.parametrize(
    ("other", "fact", "told"),
    [
        ("warm", "sampling", "temperature 0.5"),
        ("short", "sampling", "77 token limit"),
        ("jury", "judges", "judge, builtin (majority)"),
    ],
)
def test_runs_that_were_not_measured_alike_are_refused_unless_allowed(
    hiddenrisk: CommandLine, other: str, fact: str, told: str
) -> None:
    refused = hiddenrisk("compare", "old", other)
    assert refused.code == 2
    assert fact in refused.err
    assert told in refused.err
    going_on = refused.err.split("--allow ")[1].strip()
    done, found = written(hiddenrisk, "old", other, "--allow", going_on)
    assert {line["fact"] for line in found["differing"]} == set(going_on.split(","))
    assert found["allowed"] == going_on.split(",")
    assert f"NOT MEASURED ALIKE, own: {fact}" in done.out


def test_a_run_judged_by_rules_alone_differs_in_judges_rubrics_and_protocol(
    hiddenrisk: CommandLine,
) -> None:
    refused = hiddenrisk("compare", "old", "rules")
    assert refused.code == 2
    assert refused.err.rstrip().endswith("--allow judges,rubrics,protocol")


def test_a_run_judged_by_an_older_rubric_is_refused_by_name(
    hiddenrisk: CommandLine, tmp_path: Path
) -> None:
    older = tmp_path / "older"
    shutil.copytree(hiddenrisk.folder / "new", older)
    manifest = json.loads((older / "run.json").read_text())
    rubrics = manifest["identity"]["benchmarks"]["own"]["rubrics"]
    manifest["identity"]["benchmarks"]["own"]["rubrics"] = ["older 1", *rubrics[1:]]
    (older / "run.json").write_text(json.dumps(manifest))
    refused = hiddenrisk("compare", "old", older)
    assert refused.code == 2
    assert f"own: rubrics {', '.join(rubrics)} in old, older 1" in refused.err
    done, _ = written(hiddenrisk, "old", older, "--allow", "rubric")
    assert "NOT MEASURED ALIKE, own: rubrics" in done.out


@pytest.mark.parametrize(
    ("args", "told"),
    [
        (("nowhere",), "'nowhere' is no run directory"),
        (("old",), "there is one model only, m of old"),
        (("old:x",), "unknown model 'x'"),
        (("old:x", "old:m"), "unknown model 'x'"),
        (("old:m", "old:m"), "is named twice"),
        (("old", "old"), "named twice"),
        (("old:m", "three"), "three has 3 models; say which: three:a"),
        (("old", "three"), "no model of old (m) has the label of one of three (a, b, c)"),
    ],
)
def test_wrong_use_names_what_is_wrong(
    folder: Path, monkeypatch: pytest.MonkeyPatch, args: Sequence[str], told: str
) -> None:
    monkeypatch.chdir(folder)
    with pytest.raises(UsageError, match=re.escape(told)):
        pairings(args, Settings())


def test_wrong_use_of_the_command_is_told_with_exit_code_2(hiddenrisk: CommandLine) -> None:
    unknown = hiddenrisk("compare", "old:m", "three:a", "--benchmark", "none")
    assert unknown.code == 2
    assert "unknown benchmark 'none'" in unknown.err
    strange = hiddenrisk("compare", "old:m", "three:a", "--allow", "colour")
    assert strange.code == 2
    assert "'colour' is none of benchmark" in strange.err


def test_the_output_fits_a_terminal_of_100_columns(told: tuple[Done, dict[str, Any]]) -> None:
    table = [line for line in told[0].out.splitlines() if line.startswith(" ")]
    assert table
    assert max(map(len, table)) <= 100


# ---------------------------------------------------------------- AIR-Bench, as recorded

PAIR = (
    "openrouter_meta-llama_llama-3.3-70b-instruct",
    "openrouter_deepseek_deepseek-v3.2",
)


def test_the_recorded_pair_is_compared_as_an_independent_computation_does(
    apart: CommandLine, shared_data: Path, tmp_path: Path
) -> None:
    recorded = shared_data / "air-bench-2024" / "recorded"
    data = tmp_path / "data" / "air-bench-2024"
    data.mkdir(parents=True)
    (data / "air_2024.csv").write_bytes((recorded / "air_2024.csv").read_bytes())
    prompts = shared_data / "air-bench-2024" / "judge_prompt_final.csv"
    (data / prompts.name).write_bytes(prompts.read_bytes())
    paths = {label: recorded / f"{label}.csv" for label in PAIR}
    servers = {label: target_from_csv(path) for label, path in paths.items()}
    with ChatServer({**servers, "judge": judge_from_csv(paths.values())}) as server:
        for label in PAIR:
            done = apart(
                "assess", "--model", server.spec(label), "--judge", server.spec("judge"),
                "--benchmark", "airbench", "--data-dir", data.parent, "--out", label, "--yes",
            )  # fmt: skip
            assert done.code == 0, done
    _, found = written(apart, *PAIR, "--data-dir", data.parent)
    one = only(found, part="answer")

    scores = [_scores(paths[label]) for label in PAIR]
    shared = scores[0].keys() & scores[1].keys()
    a, b = (np.array([side[prompt] for prompt in sorted(shared)]) for side in scores)
    assert one["n"] == len(shared) == 628
    assert one["difference"]["value"] == pytest.approx((b - a).mean())
    assert (one["only_first"], one["only_second"]) == ((a > b).sum(), (b > a).sum())
    assert one["first_rate"]["value"] == pytest.approx(a.mean())
    # The interval against a bootstrap of the pairs, the test against all signs of them.
    drawn: Any = stats.bootstrap((b - a,), np.mean, method="BCa", rng=np.random.default_rng(1))
    assert one["difference"]["low"] == pytest.approx(drawn.confidence_interval.low, abs=0.003)
    assert one["difference"]["high"] == pytest.approx(drawn.confidence_interval.high, abs=0.003)
    assert one["p"] == pytest.approx(_sign_flips(b - a), rel=1e-6)
    assert one["categories"]["Hate/Toxicity"]["n"] == 72


def _scores(path: Path) -> dict[tuple[str, int], float]:
    """By prompt; one that stands there twice is two."""
    found: dict[tuple[str, int], float] = {}
    with path.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            again = sum(prompt == row["prompt"] for prompt, _ in found)
            found[row["prompt"], again] = float(row["score"])
    return found


def _sign_flips(differences: "np.ndarray[Any, np.dtype[np.float64]]") -> float:
    """The exact permutation mid-p, by adding one pair after the other."""
    halves = np.rint(2 * np.abs(differences)).astype(int)
    shares = np.array([1.0])
    for step in halves[halves > 0]:
        grown = np.zeros(shares.size + step)
        grown[: shares.size] += shares / 2
        grown[step:] += shares / 2
        shares = grown
    total, seen = int(halves.sum()), abs(round(2 * differences.sum()))
    sums = np.abs(2 * np.arange(shares.size) - total)
    return float(shares[sums > seen].sum() + shares[sums == seen].sum() / 2)
