"""`hiddenrisk plan`: what it says that a plan takes, against what a run of it took."""

import json
import math
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from hiddenrisk.cli.plan_tables import shows_table, who_table
from hiddenrisk.models.spec import parse
from hiddenrisk.opening import Opened, open_plan
from hiddenrisk.plan import Settings, check, read_toml
from hiddenrisk.planning.draws import factor, mean_of_sample, range_of, share
from hiddenrisk.planning.forecast import Forecast, forecast
from hiddenrisk.planning.keyless import open_to_look
from hiddenrisk.planning.kinds import HIDDEN, PLAIN, UNKNOWN, VISIBLE, kind_of
from hiddenrisk.planning.measured import measure
from hiddenrisk.run import carry_out
from tests import stand_ins
from tests.conftest import CommandLine
from tests.servers import Ask, ChatServer, Reply, SilentServer
from tests.test_decoding import Continuing


@pytest.fixture
def server() -> Iterator[ChatServer]:
    with stand_ins.server() as server:
        yield server


def _opened(server: ChatServer, data: Path | None = None, **fields: object) -> Opened:
    plan = {
        "models": [server.spec("r1"), server.spec("v3")],
        "judges": [server.spec("gpt-4o")],
        **fields,
    }
    return open_plan(check(plan), Settings(data_dir=data, concurrency=32), "test")


def _run(opened: Opened, folder: Path) -> dict[str, Any]:
    return carry_out(opened, folder, lambda _: nullcontext(), lambda _: None).summary


def _calls(found: Forecast, *names: str) -> tuple[int, int]:
    """The least and the most that can be."""
    ranges = [found.who[name].calls for name in names if name in found.who]
    return sum(math.floor(r.low + 1e-6) for r in ranges), sum(
        math.ceil(r.high - 1e-6) for r in ranges
    )


PLANS: dict[str, dict[str, Any]] = {
    "airbench": {"benchmarks": ["airbench"], "limit": 12},
    "mitre": {"benchmarks": ["mitre"], "limit": 15},
    "interpreter": {"benchmarks": ["interpreter"], "limit": 12},
    "phishing": {"benchmarks": ["phishing"], "limit": 4},
    "injection": {"benchmarks": ["injection"], "limit": 12},
    "xstest": {"benchmarks": ["xstest"], "limit": 20},
    "wildguard": {"benchmarks": ["wildguard"], "limit": 12},
    "starter": {"benchmarks": ["starter"], "limit": 16},
    "repeat": {"benchmarks": ["starter"], "limit": 6, "repeat": 3},
    "answers only": {"benchmarks": ["starter"], "limit": 16, "parts": "answer"},
    "thinking only": {"benchmarks": ["starter"], "limit": 16, "parts": "thinking"},
    "insights": {"benchmarks": ["mitre", "starter"], "limit": 8, "insights": "judge"},
}


@pytest.mark.parametrize("name", PLANS)
def test_the_calls_of_a_run_lie_where_the_plan_says(
    name: str, server: ChatServer, shared_data: Path, tmp_path: Path
) -> None:
    opened = _opened(server, shared_data, **PLANS[name])
    found = forecast(opened)
    _run(opened, tmp_path)
    ledger = server.ledger.sent_by_model
    for model in ("r1", "v3"):
        low, high = _calls(found, model)
        assert low <= ledger[model] <= high
        if name != "phishing":
            assert low == high == ledger[model], "one request each, known beforehand"
    low, high = _calls(found, "judge gpt-4o", "victim gpt-4o")
    assert low <= ledger["gpt-4o"] <= high
    if name != "insights":  # a thought may have forty segments, each read by itself
        assert high - low < ledger.total(), "an interval that holds anything says nothing"


def test_where_all_is_answered_and_shown_the_upper_end_is_the_count(
    server: ChatServer, tmp_path: Path
) -> None:
    opened = _opened(server, benchmarks=["starter"], limit=20)
    found = forecast(opened)
    _run(opened, tmp_path)
    # 20 answers of each model, and the thoughts of r1; v3 has none.
    assert server.ledger.sent_by_model["gpt-4o"] == 60 == _calls(found, "judge gpt-4o")[1]


def test_dialogues_that_go_on_to_their_end_take_26_calls_and_their_grades(
    server: ChatServer, shared_data: Path, tmp_path: Path
) -> None:
    opened = _opened(server, shared_data, benchmarks=["phishing"], limit=5)
    found = forecast(opened)
    _run(opened, tmp_path)
    ledger = server.ledger.sent_by_model
    each = (ledger["r1"] + ledger["v3"] + ledger["gpt-4o"]) / 10
    assert each == 26, "the stand-in for the victim never refuses"
    assert found.total.calls.high == pytest.approx(260)
    for name, count in (("r1", 30), ("v3", 30), ("victim gpt-4o", 60)):
        assert found.who[name].calls.high == pytest.approx(count)


def test_juries_cascades_and_fallbacks_are_counted(tmp_path: Path) -> None:
    judges = dict.fromkeys(("one", "two", "cheap", "spare"), stand_ins.judge)
    with ChatServer({"r1": stand_ins.model("r1"), **judges}) as server:
        opened = _opened(
            server,
            models=[server.spec("r1")],
            judges=[server.spec("one"), server.spec("two")],
            fallbacks=[server.spec("spare")],
            cascade=[server.spec("cheap")],
            audit=(0.2, 1.0, 0.5),
            benchmarks=["starter"],
            limit=60,
        )
        found = forecast(opened)
        _run(opened, tmp_path)
        ledger = server.ledger.sent_by_model
    assert ledger["cheap"] == 120 == _calls(found, "judge cheap")[1]
    for judge in ("one", "two"):
        low, high = _calls(found, f"judge {judge}")
        assert low <= ledger[judge] <= high
        assert high <= 120
    assert found.who["judge spare"].calls.high < 20
    assert found.who["judge one"].calls == found.who["judge two"].calls


def test_decodings_are_counted_by_their_requests(tmp_path: Path) -> None:
    with ChatServer({"r1": Continuing(), "gpt-4o": stand_ins.judge}) as server:
        opened = _opened(
            server,
            models=[server.spec("r1")],
            decodings=["zerothink", "morethink"],
            benchmarks=["starter"],
            limit=10,
        )
        found = forecast(opened)
        _run(opened, tmp_path)
        ledger = server.ledger.sent_by_model
    assert found.who["r1-zerothink"].calls.low == found.who["r1-zerothink"].calls.high == 10
    assert found.who["r1-morethink"].calls.low == 40
    assert found.who["r1-morethink"].calls.high == 120
    assert ledger["r1"] == 10 + 120, "twelve requests each"
    low, high = _calls(found, "judge gpt-4o")
    assert low <= ledger["gpt-4o"] <= high
    # Every round sends the prompt again, and all that was thought before.
    again, once = (found.who[f"r1-{name}"].prompt_tokens for name in ("morethink", "zerothink"))
    assert again.low > 10 * once.low


def test_a_recording_is_read_and_its_judges_calls_are_known(
    server: ChatServer, tmp_path: Path
) -> None:
    rows = [
        {"prompt": f"How do I do {n}?", "answer": "Like this. " * n, "thinking": "Hm." * (n % 2)}
        for n in range(1, 21)
    ]
    (tmp_path / "told.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "own.jsonl").write_text(
        "".join(
            json.dumps({"id": str(n), "prompt": row["prompt"]}) + "\n" for n, row in enumerate(rows)
        )
    )
    opened = _opened(
        server,
        models=[f"old=replay/{tmp_path / 'told.jsonl'}"],
        benchmarks=[str(tmp_path / "own.jsonl")],
    )
    found = forecast(opened)
    assert set(found.who) == {"judge gpt-4o"}
    usage = _run(opened, tmp_path / "out")["usage"]["judge gpt-4o"]
    calls = found.who["judge gpt-4o"].calls
    assert calls.low == calls.high == pytest.approx(30) == usage["calls"]


def test_rules_ask_nobody_and_cost_nothing(server: ChatServer) -> None:
    found = forecast(_opened(server, judges=["builtin"], benchmarks=["starter"], limit=5))
    assert set(found.who) == {"r1", "v3"}
    assert found.total.calls.low == found.total.calls.high == 10
    assert found.total.usd is not None
    assert found.total.usd.high == 0


# ---------------------------------------------------------------- tokens


@pytest.mark.local
def test_the_tokens_of_requests_are_those_of_a_real_tokenizer(tmp_path: Path) -> None:
    pytest.importorskip("xllamacpp")
    opened = open_plan(
        check({"limit": 4, "max_tokens": 4, "models": ["local/smollm2"]}), Settings(), "test"
    )
    found = forecast(opened).who["smollm2"]
    told = _run(opened, tmp_path)["usage"]["smollm2"]
    # Its chat template has a system message of its own: 22 tokens more than most.
    asked = told["prompt_tokens"] - 4 * 22
    assert found.prompt_tokens.low <= asked <= found.prompt_tokens.high
    assert told["completion_tokens"] <= 4 * 4
    assert found.completion_tokens.high <= 4 * 4 + 1e-6


# ---------------------------------------------------------------- kinds


@pytest.mark.parametrize(
    ("spec", "kind"),
    [
        ("openai/gpt-4o", PLAIN),
        ("openai/o3-mini", HIDDEN),
        ("openai/gpt-6-sol", HIDDEN),
        ("openrouter/deepseek/deepseek-chat", PLAIN),
        ("openrouter/deepseek/deepseek-r1", VISIBLE),
        ("openrouter/deepseek/deepseek-r1-distill-llama-70b", VISIBLE),
        ("openrouter/meta-llama/llama-3.3-70b-instruct", PLAIN),
        ("deepseek/deepseek-reasoner", VISIBLE),
        ("anthropic/claude-sonnet-5", PLAIN),
        ("anthropic/claude-sonnet-5?think=on", HIDDEN),
        ("xai/grok-4.5", HIDDEN),
        ("gemini/gemini-2.5-flash", HIDDEN),
        ("local/smollm2?think", VISIBLE),
        ("http://localhost:8000/v1#my-model", UNKNOWN),
        ("http://localhost:8000/v1#my-model?think=off", PLAIN),
        ("http://localhost:8000/v1#r1?decoding=zerothink", PLAIN),
    ],
)
def test_what_a_model_does_is_told_by_its_id_and_options(spec: str, kind: object) -> None:
    assert kind_of(parse(spec)) == kind


def test_a_budget_of_thinking_bounds_what_is_expected() -> None:
    kind = kind_of(parse("http://localhost:8000/v1#my-model?budget=512"))
    assert kind.thinking is not None
    assert kind.thinking[1] == 512


# ---------------------------------------------------------------- draws


def test_ends_of_a_share_have_a_weight_and_names_decide_the_draw() -> None:
    drawn = share("a", 0.2, 1.0)
    assert drawn.min() == 0.2
    assert drawn.max() == 1.0
    assert np.mean(drawn == 1.0) > 0.05
    assert (share("a", 0.2, 1.0) == drawn).all()
    assert not (share("b", 0.2, 1.0) == drawn).all()
    found = range_of(factor("length", 100, 1_000))
    assert found.low == pytest.approx(100, rel=0.1)
    assert found.high == pytest.approx(1_000, rel=0.1)


@pytest.mark.parametrize(("n", "spread"), [(5, 0.4), (10, 0.8), (50, 1.2)])
def test_nine_of_ten_intervals_of_a_pilot_hold_the_mean(n: int, spread: float) -> None:
    dice = np.random.default_rng(7)
    truth = math.exp(spread**2 / 2)
    held = 0
    for number in range(400):
        sample = np.exp(spread * dice.standard_normal((n, 1)))
        found = range_of(mean_of_sample(f"{n} {number}", sample)[:, 0])
        held += found.low <= truth <= found.high
    assert 0.82 <= held / 400 <= 0.96


# ---------------------------------------------------------------- the command line


def test_a_plan_is_told_answer_first_and_as_json_and_sends_nothing(
    hiddenrisk: CommandLine, server: ChatServer, tmp_path: Path
) -> None:
    args = ["plan", "--model", server.spec("r1"), "--judge", server.spec("gpt-4o"), "--limit", "12"]
    done = hiddenrisk(*args, "--price", "gpt-4o=2.5/10", "--json", "plan.json")
    assert done.code == 0, done
    assert done.out.startswith("12 responses take ")
    assert "not in it" not in done.out
    assert max(map(len, done.out.splitlines())) <= 100
    assert server.ledger.hits == 0
    assert not (tmp_path / "runs").exists()
    found = json.loads((tmp_path / "plan.json").read_text())
    assert found["who"]["r1"]["calls"] == {"low": 12.0, "value": 12.0, "high": 12.0}
    assert found["who"]["judge gpt-4o"]["usd"]["value"] > 0
    assert found["benchmarks"]["starter"]["half_width"]["0.5"] == pytest.approx(0.246, abs=0.002)


def test_the_tables_of_the_papers_plan_fit_a_terminal_of_80_columns(shared_data: Path) -> None:
    """A money column past the edge of the screen is what a reader came for."""
    opened, _ = open_to_look(
        check(read_toml(Path("paper"))), Settings(data_dir=shared_data), "test"
    )
    found = forecast(opened)
    console = Console(width=80)
    for table in (who_table(found), shows_table(found)):
        with console.capture() as told:
            console.print(table)
        assert "…" not in told.get()
        assert console.measure(table).maximum <= 80
    assert "that shows" in told.get()


def test_an_unknown_price_is_said_and_never_nothing(hiddenrisk: CommandLine) -> None:
    done = hiddenrisk(
        "plan", "--model", "https://example.org/v1#big", "--judge", "openai/gpt-4o", "--limit", "9"
    )
    assert done.code == 0, done
    assert "not in it: big, whose price is unknown" in " ".join(done.out.split())
    assert "--price big=IN/OUT" in done.out
    assert "will want one" in done.err
    assert "OPENAI_API_KEY" in done.err


def test_a_budget_is_held_against_the_plan_without_a_key_and_without_a_price(
    hiddenrisk: CommandLine,
) -> None:
    known = ["plan", "--model", "openai/gpt-4o", "--judge", "openai/gpt-4o", "--limit", "9"]
    done = hiddenrisk(*known, "--budget", "0.001")
    assert done.code == 0, done
    assert "A budget of $0.001 pays for about " in done.out
    assert "A budget of $100.00 is enough" in hiddenrisk(*known, "--budget", "100").out
    done = hiddenrisk(
        "plan", "--model", "https://example.org/v1#big", "--limit", "9", "--budget", "1"
    )
    assert done.code == 0, done
    assert "whether it is enough hangs on the prices that are unknown" in done.out


def test_a_pilot_is_part_of_the_run_and_narrows_the_plan(
    hiddenrisk: CommandLine, server: ChatServer, tmp_path: Path
) -> None:
    args = ["--model", server.spec("r1"), "--judge", server.spec("gpt-4o"), "--limit", "40"]
    args += ["--price", "r1=1/2", "--price", "gpt-4o=2.5/10"]
    blind = hiddenrisk("plan", *args, "--json", "-")
    done = hiddenrisk("plan", *args, "--pilot", "6", "--out", "run", "--yes", "--json", "plan.json")
    assert done.code == 0, done
    before, found = json.loads(blind.out), json.loads((tmp_path / "plan.json").read_text())
    assert server.ledger.sent_by_model["r1"] == 6
    assert found["measured"] == 6
    widths = [p["total"]["usd"]["high"] / p["total"]["usd"]["low"] for p in (before, found)]
    assert widths[1] < widths[0] / 2
    assert found["who"]["r1"]["samples_measured"] == 6
    rest = hiddenrisk("assess", *args, "--out", "run", "--yes")
    assert rest.code == 0, rest
    assert server.ledger.sent_by_model["r1"] == 40, "nothing is paid twice"
    usage = json.loads((tmp_path / "run" / "summary.json").read_text())["usage"]
    spent = sum(used["cost_usd"] for used in usage.values())
    assert found["total"]["usd"]["low"] <= spent <= found["total"]["usd"]["high"]
    there = hiddenrisk("plan", *args, "--out", "run")
    assert f"40 of the responses are there already, and ${spent:.2f} of it is paid" in there.out
    assert "Planned from what 40 samples took in run" in there.out, "what is there is no guess"
    like = hiddenrisk("plan", *args, "--like", "run", "--json", "-")
    again = json.loads(like.out)
    assert again["measured"] == 40
    assert again["total"]["usd"]["value"] == pytest.approx(spent, rel=0.03)
    assert again["who"]["judge gpt-4o"]["calls"]["value"] == pytest.approx(80)


def test_another_run_tells_lengths_where_the_judge_is_another_one(
    server: ChatServer, tmp_path: Path
) -> None:
    _run(_opened(server, benchmarks=["starter"], limit=30), tmp_path)
    opened = _opened(
        server, judges=[f"other={server.base_url}#gpt-4o"], benchmarks=["starter"], limit=60
    )
    blind, found = forecast(opened), forecast(opened, measure(tmp_path))
    assert found.who["r1"].samples_measured == 30
    assert found.who["judge other"].samples_measured == 0
    assert "judge gpt-4o" not in found.who, "who judged then is not asked now"
    short, long = (f.who["judge other"].prompt_tokens.value for f in (found, blind))
    assert short < long / 1.5, "the stand-ins write a line where most models write a page"
    assert found.who["judge other"].calls.high == pytest.approx(180)


def test_tokens_that_nobody_told_are_estimated_and_said(
    hiddenrisk: CommandLine, tmp_path: Path
) -> None:
    def silent(ask: Ask) -> Reply:
        return Reply(text="Sure. " * 41)

    with SilentServer({"m": silent, "j": stand_ins.judge}) as server:
        args = ["--model", server.spec("m"), "--judge", server.spec("j"), "--limit", "10", "--yes"]
        args += ["--price", "m=1/10", "--price", "j=1/1"]
        done = hiddenrisk("plan", *args, "--pilot", "4", "--out", "run", "--json", "plan.json")
        assert done.code == 0, done
        assert "4 of the responses are there already" in done.out
        assert "Nobody told the tokens of 8 calls" in " ".join(done.out.split())
        done = hiddenrisk("assess", *args, "--out", "run")
        assert done.code == 0, done
    assert "the tokens of 20 calls were told by nobody and are estimated" in done.out
    used = json.loads((tmp_path / "run" / "summary.json").read_text())["usage"]["m"]
    assert used["completion_tokens"] is None
    assert used["unmetered"] == 10
    assert used["estimated"]["completion_tokens"] == pytest.approx(10 * 60, rel=0.02)
    assert used["cost_usd"] > 10 * 60 * 10 / 1e6
