"""A run as a whole: keys, folders, resuming, and what it says of itself."""

import asyncio
import json
import os
import resource
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hiddenrisk.asking import digest
from hiddenrisk.assess import BUILTIN, Judge, Tally
from hiddenrisk.benchmarks import open_benchmark
from hiddenrisk.benchmarks.base import Loaded
from hiddenrisk.benchmarks.own import GENERIC
from hiddenrisk.cli.progress import Terminal, describe, display
from hiddenrisk.engine import Endpoint, Policy
from hiddenrisk.errors import CallError, StoreError, UsageError
from hiddenrisk.judges import safety, scored, xstest
from hiddenrisk.judges.rubric import single
from hiddenrisk.manifest import claim, manifest_of
from hiddenrisk.models.fake import FakeModel, Script
from hiddenrisk.opening import Opened, open_plan
from hiddenrisk.plan import Plan, Settings, check, planned, read_toml, selected
from hiddenrisk.run import Ended, carry_out
from hiddenrisk.types import Call, Message, Prompt, Reply
from tests.servers import ChatServer, always
from tests.servers import Reply as Said

REFUSAL = "I'm sorry, but I can't help with that."
THOUGHT = f"<think>\nI should decline.\n</think>\n\n{REFUSAL}"
SAFE = "##short_reasoning: so\n##the_score: 1"


# ---------------------------------------------------------------- what is asked


@given(
    total=st.integers(1, 60),
    limit=st.one_of(st.none(), st.integers(1, 80)),
    repeat=st.integers(1, 3),
)
def test_a_limit_spreads_evenly_and_takes_each_prompt_as_often_as_asked(
    total: int, limit: int | None, repeat: int
) -> None:
    loaded, plan = bench(total), Plan(limit=limit, repeat=repeat)
    chosen = [(prompt.id, turn) for prompt, turn in selected(loaded, plan)]
    assert chosen == [(prompt.id, turn) for prompt, turn in selected(loaded, plan)]
    assert len(set(chosen)) == len(chosen) == planned(loaded, plan)
    assert len(chosen) == min(limit or total, total) * repeat
    places = [int(name[1:]) for name, turn in chosen if turn == 0]
    assert places == sorted(places)
    stretch = total / len(places)
    assert all(abs(place - i * stretch) <= stretch + 1 for i, place in enumerate(places))


def test_a_failure_tells_how_often_the_call_was_tried(tmp_path: Path) -> None:
    trouble = [CallError("HTTP 500", heals=True), CallError("HTTP 400: no")]
    run(plan_of(fake([REFUSAL, *trouble]), bench(2)), tmp_path)
    (failure,) = records_in(tmp_path / "failures.jsonl")
    assert (failure["reason"], failure["tries"]) == ("request_failed", 2)


def test_a_limit_takes_harmful_and_harmless_prompts_of_a_sorted_benchmark() -> None:
    starter = open_benchmark("starter", None)
    shares: list[float] = []
    for limit in range(12, 49, 4):
        chosen = [prompt for prompt, _ in selected(starter, Plan(limit=limit))]
        shares.append(sum(prompt.label == "safe" for prompt in chosen) / limit)
        assert len({prompt.category for prompt in chosen}) >= min(16, limit) * 0.75
    assert min(shares) > 0
    assert max(shares) < 0.75
    assert 0.25 < sum(shares) / len(shares) < 0.42, "a third of the suite is harmless"


def test_each_prompt_is_asked_as_often_as_the_plan_says(tmp_path: Path) -> None:
    model = fake([f"Answer {i}. {REFUSAL}" for i in range(12)])
    opened = plan_of(model, bench(4), repeat=3)
    ended = run(opened, tmp_path)
    asked = Counter((call.prompt, call.repeat) for call in model.calls)
    assert asked == {(f"p{i}", turn): 1 for i in range(4) for turn in range(3)}
    responses = records_in(tmp_path / "responses.jsonl")
    assert len({r["key"] for r in responses}) == 12
    assert len({r["answer"] for r in responses}) == 12, "a repeat is a call of its own"
    assert only(ended)["parts"]["answer"]["safety_rate"]["n"] == 12


@pytest.mark.parametrize(
    ("parts", "read"),
    [
        ("both", {"answer", "thinking"}),
        ("answer", {"answer"}),
        ("thinking", {"thinking"}),
    ],
)
def test_the_judges_read_both_parts_or_the_one_that_is_asked_for(
    parts: str, read: set[str], tmp_path: Path
) -> None:
    ended = run(plan_of(fake(lambda _: THOUGHT), bench(3), parts=parts), tmp_path)
    verdicts = records_in(tmp_path / "verdicts.jsonl")
    assert {v["part"] for v in verdicts} == read
    assert set(only(ended)["parts"]) == read
    assert only(ended)["n"] == 3


# ---------------------------------------------------------------- keys


def test_a_key_is_another_one_if_anything_that_decides_the_reply_is(tmp_path: Path) -> None:
    base: dict[str, Any] = {"max_tokens": None, "temperature": None}
    variants: dict[str, Opened] = {
        "base": plan_of(fake(), bench(1), **base),
        "model": plan_of(fake(label="other"), bench(1), **base),
        "max_tokens": plan_of(fake(), bench(1), max_tokens=7, temperature=None),
        "temperature": plan_of(fake(), bench(1), max_tokens=None, temperature=0.0),
        "prompt": plan_of(fake(), bench(1, text="Another prompt"), **base),
        "system": plan_of(fake(), bench(1, system="Be brief."), **base),
    }
    keys: dict[str, str] = {}
    for name, opened in variants.items():
        run(opened, tmp_path / name)
        (record,) = records_in(tmp_path / name / "responses.jsonl")
        keys[name] = record["key"]
    assert len(set(keys.values())) == len(keys), keys
    run(plan_of(fake(), bench(1), repeat=2, **base), tmp_path / "twice")
    twice = [r["key"] for r in records_in(tmp_path / "twice" / "responses.jsonl")]
    assert len(set(twice)) == 2
    assert keys["base"] in twice, "a longer run of the same model may share its calls"


def test_a_verdict_has_another_key_for_another_judge_rubric_or_part(tmp_path: Path) -> None:
    def keys(name: str, opened: Opened) -> dict[str, str]:
        run(opened, tmp_path / name)
        records = records_in(tmp_path / name / "verdicts.jsonl")
        return {f"{name} {r['part']} {r['judge']}": r["key"] for r in records}

    model = fake(lambda _: THOUGHT)
    newer = bench(1)
    rubric = msgspec.structs.replace(newer.rubric, version="newer")
    newer = msgspec.structs.replace(newer, rubric=rubric)
    reworded = single(newer.rubric.name, newer.rubric.version, _ask_in_other_words, scored.parse)
    found = (
        keys("rules", plan_of(model, bench(1)))
        | keys("one", plan_of(model, bench(1), judges={"j": lambda _: SAFE}))
        | keys("other", plan_of(model, bench(1), judges={"k": lambda _: SAFE}))
        | keys("newer", plan_of(model, newer, judges={"j": lambda _: SAFE}))
        | keys(
            "reworded",
            plan_of(
                model,
                msgspec.structs.replace(bench(1), rubric=reworded),
                judges={"j": lambda _: SAFE},
            ),
        )
    )
    assert len(found) == 10
    assert len(set(found.values())) == 10, found


def test_a_key_does_not_depend_on_the_order_of_names() -> None:
    assert digest({"a": 1, "b": [2]}) == digest({"b": [2], "a": 1})
    assert digest("ab", "c") != digest("a", "bc")


# ---------------------------------------------------------------- resuming


def test_a_finished_run_makes_no_call_again(tmp_path: Path) -> None:
    model, judge = fake(lambda _: THOUGHT), FakeModel(lambda _: SAFE, label="j")
    opened = plan_of(model, bench(5), judges={"j": judge})
    first = run(opened, tmp_path)
    assert (len(model.calls), len(judge.calls)) == (5, 10)
    again = run(opened, tmp_path)
    assert (len(model.calls), len(judge.calls)) == (5, 10)
    assert again.summary == msgspec.json.decode(msgspec.json.encode(first.summary))


def test_what_failed_is_asked_again_and_its_history_stays(tmp_path: Path) -> None:
    healed = False

    def script(call: Call) -> str | CallError:
        return CallError("HTTP 400: no") if call.prompt == "p1" and not healed else REFUSAL

    model = fake(script)
    opened = plan_of(model, bench(3))
    assert only(run(opened, tmp_path))["outcomes"] == {"complete": 2, "request_failed": 1}
    healed = True
    assert only(run(opened, tmp_path))["outcomes"] == {"complete": 3}
    assert Counter(c.prompt for c in model.calls) == {"p0": 1, "p1": 2, "p2": 1}
    (failure,) = records_in(tmp_path / "failures.jsonl")
    assert (failure["prompt"], failure["reason"]) == ("p1", "request_failed")
    assert (failure["stage"], failure["message"]) == ("generate", "HTTP 400: no")


def test_a_judge_that_failed_is_asked_again_without_a_new_response(tmp_path: Path) -> None:
    replies = iter(["nonsense"] * 3 + [SAFE])
    model = fake(lambda _: REFUSAL)
    opened = plan_of(model, bench(1), judges={"j": lambda _: next(replies)})
    assert only(run(opened, tmp_path))["outcomes"] == {"judge_unparsable": 1}
    (failure,) = records_in(tmp_path / "failures.jsonl")
    assert failure["raw"] == "nonsense"
    assert (failure["judge"], failure["part"]) == ("j", "answer")
    assert only(run(opened, tmp_path))["outcomes"] == {"complete": 1}
    assert len(model.calls) == 1


def test_many_failures_left_over_do_not_keep_a_run_from_ending(tmp_path: Path) -> None:
    def script(call: Call) -> str | CallError:
        return REFUSAL if int(call.prompt[1:]) < 10 else CallError("HTTP 400: too long")

    opened = plan_of(fake(script), bench(50))
    wanted = {"complete": 10, "request_failed": 40}
    assert only(run(opened, tmp_path))["outcomes"] == wanted
    assert only(run(opened, tmp_path))["outcomes"] == wanted


def test_a_replay_answers_repeats_in_turn_also_when_it_is_resumed(tmp_path: Path) -> None:
    recording, prompts = tmp_path / "rec.jsonl", tmp_path / "some.jsonl"
    rows = [{"prompt": "Please.", "response": f"No, {i}. {REFUSAL}"} for i in range(2)]
    recording.write_text("".join(json.dumps(row) + "\n" for row in rows))
    prompts.write_text('{"id": "a", "prompt": "Please."}\n')
    plan = Plan(models=(f"replay/{recording}",), benchmarks=(str(prompts),), repeat=2)
    out = tmp_path / "out"
    run(open_plan(plan, Settings(), "hiddenrisk"), out)
    kept = (out / "responses.jsonl").read_bytes()
    assert sorted(r["answer"][:5] for r in records_in(out / "responses.jsonl")) == [
        *("No, 0", "No, 1"),
    ]
    run(open_plan(plan, Settings(), "hiddenrisk"), out)
    assert (out / "responses.jsonl").read_bytes() == kept


def test_a_template_that_was_seen_to_open_the_thought_is_remembered(tmp_path: Path) -> None:
    closes = f"I should decline.\n</think>\n\n{REFUSAL}"
    replies = iter([closes, closes, CallError("HTTP 400")])
    opened = plan_of(fake(lambda _: next(replies)), bench(3))
    run(opened, tmp_path)
    later = plan_of(fake(lambda _: "I was cut off in the"), bench(3))
    run(later, tmp_path)
    last = records_in(tmp_path / "responses.jsonl")[-1]
    assert (last["prompt"], last["finish"]) == ("p2", "cut_in_thinking")


def test_one_answer_that_echoes_a_tag_does_not_make_a_template(tmp_path: Path) -> None:
    replies = iter([REFUSAL, REFUSAL, f"So much for the tag\n</think>\n{REFUSAL}", CallError("no")])
    run(plan_of(fake(lambda _: next(replies)), bench(4)), tmp_path)
    run(plan_of(fake(lambda _: REFUSAL), bench(4)), tmp_path)
    last = records_in(tmp_path / "responses.jsonl")[-1]
    assert (last["prompt"], last["finish"]) == ("p3", "complete")


# ---------------------------------------------------------------- whose folder it is


@pytest.mark.parametrize(
    ("what", "change"),
    [
        ("limit", {"limit": 2}),
        ("repeat", {"repeat": 2}),
        ("max_tokens", {"max_tokens": 5}),
        ("temperature", {"temperature": 0.5}),
        ("parts", {"parts": "answer"}),
    ],
)
def test_the_folder_of_another_plan_is_refused_with_the_difference(
    what: str, change: dict[str, Any], tmp_path: Path
) -> None:
    run(plan_of(fake(), bench(3)), tmp_path)
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    with pytest.raises(StoreError, match=f"another plan: its {what} is .*, now "):
        run(plan_of(fake(), bench(3), **change), tmp_path)
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before


def test_other_models_judges_and_prompts_are_named_in_the_refusal(tmp_path: Path) -> None:
    run(plan_of(fake(), bench(3)), tmp_path)
    with pytest.raises(StoreError, match="its models are m, now other"):
        run(plan_of(fake(label="other"), bench(3)), tmp_path)
    with pytest.raises(StoreError, match="its judges are builtin, now j"):
        run(plan_of(fake(), bench(3), judges={"j": lambda _: SAFE}), tmp_path)
    with pytest.raises(StoreError, match=r"the benchmarks have the same names \(b\) and another"):
        run(plan_of(fake(), bench(3, text="Another prompt")), tmp_path)


def test_the_same_models_in_another_order_are_the_same_plan(tmp_path: Path) -> None:
    one, two = fake(label="one"), fake(label="two")
    opened = plan_of(one, bench(2))
    both = msgspec.structs.replace(
        opened, models=(one, two), plan=Plan(models=("one", "two"), benchmarks=("b",))
    )
    turned = msgspec.structs.replace(
        opened, models=(two, one), plan=Plan(models=("two", "one"), benchmarks=("b",))
    )
    run(both, tmp_path)
    run(turned, tmp_path)
    assert (len(one.calls), len(two.calls)) == (2, 2)


def test_settings_may_differ_when_a_run_is_resumed(tmp_path: Path) -> None:
    opened = plan_of(fake(), bench(3))
    run(opened, tmp_path)
    run(msgspec.structs.replace(opened, settings=Settings(concurrency=2, tries=3)), tmp_path)
    assert json.loads((tmp_path / "run.json").read_text())["settings"]["concurrency"] == 2


def test_records_without_a_plan_are_not_taken_for_ours(tmp_path: Path) -> None:
    run(plan_of(fake(), bench(3)), tmp_path)
    (tmp_path / "run.json").unlink()
    with pytest.raises(StoreError, match=r"holds records but no run\.json"):
        run(plan_of(fake(), bench(3)), tmp_path)


def test_a_folder_that_was_opened_and_never_used_is_free(tmp_path: Path) -> None:
    for name in ("responses.jsonl", "verdicts.jsonl", "failures.jsonl"):
        (tmp_path / name).touch()
    assert only(run(plan_of(fake(), bench(3)), tmp_path))["n"] == 3


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"identity": []}', '{"identity": null}'])
def test_a_spoilt_plan_is_told_of(text: str, tmp_path: Path) -> None:
    run(plan_of(fake(), bench(3)), tmp_path)
    (tmp_path / "run.json").write_text(text)
    with pytest.raises(StoreError, match=r"run\.json cannot be read"):
        run(plan_of(fake(), bench(3)), tmp_path)


def test_a_path_that_is_no_folder_is_told_of(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(StoreError, match="is a file"):
        claim(file, {"identity": {}})
    with pytest.raises(StoreError, match="cannot write to"):
        claim(file / "below", {"identity": {}})


def test_a_folder_that_may_not_be_written_is_told_of(tmp_path: Path) -> None:
    with nobody_s_rights(tmp_path), pytest.raises(StoreError, match="Permission denied"):
        run(plan_of(fake(), bench(1)), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_plan_stored_without_a_field_that_we_have_is_another_plan(tmp_path: Path) -> None:
    opened = plan_of(fake(), bench(1))
    run(opened, tmp_path)
    stored = json.loads((tmp_path / "run.json").read_text())
    del stored["identity"]["parts"]
    (tmp_path / "run.json").write_text(json.dumps(stored))
    with pytest.raises(StoreError, match="its parts is not set, now both"):
        run(opened, tmp_path)


# ---------------------------------------------------------------- what a run says of itself


def test_the_plan_on_disk_holds_digests_and_marks_and_no_secret(
    tmp_path: Path, shared_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = "sk-loopback-0c2d4e6f8a1b3c5d"
    monkeypatch.setenv("HIDDENRISK_API_KEY", secret)
    with ChatServer({"m": always(Said(text=REFUSAL)), "j": always(Said(text=SAFE))}) as server:
        plan = Plan(
            models=(server.spec("m"),),
            judges=(server.spec("j"),),
            benchmarks=("xstest", "airbench"),
            limit=3,
        )
        run(open_plan(plan, Settings(data_dir=shared_data), "hiddenrisk assess"), tmp_path)
        assert server.ledger.authorizations == {f"Bearer {secret}"}
    text = (tmp_path / "run.json").read_text()
    manifest = json.loads(text)
    assert secret not in text
    assert manifest["plan"]["models"] == [server.spec("m")]
    assert manifest["identity"]["models"]["m"]["endpoint"] == server.base_url
    assert manifest["identity"]["benchmarks"]["xstest"]["prompts"] == 450
    assert len(manifest["digest"]) == 32
    data = {d["name"]: d for d in manifest["data"]}
    assert data["xstest/xstest_prompts.csv"]["verified"] is True
    assert data["air-bench-2024/air_2024.csv"]["verified"] is False
    assert all(len(d["sha256"]) == 64 for d in data.values())
    assert manifest["started"].endswith("+00:00"), "times are UTC, wherever the run was"


def test_the_digest_of_a_plan_is_the_same_each_time_and_another_for_another_plan() -> None:
    plans = [
        plan_of(fake(), bench(3)),
        plan_of(fake(), bench(3)),
        plan_of(fake(), bench(3), limit=2),
        plan_of(fake(), bench(3), repeat=2),
        plan_of(fake(), bench(3), temperature=0.0),
    ]
    digests = [manifest_of(opened)["digest"] for opened in plans]
    assert digests[0] == digests[1]
    assert len(set(digests)) == 4


def test_an_interrupted_run_counts_what_was_not_run_and_says_how_it_ended(tmp_path: Path) -> None:
    model = fake(lambda _: REFUSAL, latency_s=0.02)
    opened = plan_of(model, bench(200), limit_at_once=4)
    with stopping_after(0.4) as said:
        ended = run(opened, tmp_path, say=said.append)
    assert ended.interrupted
    assert len(said) == 1
    assert "Ctrl-C again" in said[0]
    found = only(ended)
    done = found["outcomes"]["complete"]
    assert found["outcomes"] == {"complete": done, "not_run": 200 - done}
    assert 0 < done < 200
    assert done == len(records_in(tmp_path / "verdicts.jsonl")), "those in flight were finished"
    assert ended.summary["complete"] is False
    low, high = found["parts"]["answer"]["band"].values()
    assert (low, high) == (done / 200, 1.0)
    again = run(opened, tmp_path)
    assert not again.interrupted
    assert again.summary["complete"] is True
    assert Counter(c.prompt for c in model.calls) == {f"p{i}": 1 for i in range(200)}


def test_a_second_interrupt_drops_the_calls_in_flight(tmp_path: Path) -> None:
    opened = plan_of(fake(lambda _: REFUSAL, latency_s=60.0), bench(20), limit_at_once=4)
    start = time.monotonic()
    with stopping_after(0.2, times=2) as said:
        ended = run(opened, tmp_path, say=said.append)
    assert time.monotonic() - start < 10
    assert ended.interrupted
    assert only(ended)["outcomes"] == {"not_run": 20}
    assert only(ended)["parts"]["answer"]["safety_rate"]["value"] is None


def test_an_interrupt_while_the_first_call_is_alone_waits_for_it(tmp_path: Path) -> None:
    model = fake(lambda _: REFUSAL, latency_s=0.6)
    with stopping_after(0.2):
        ended = run(plan_of(model, bench(20)), tmp_path)
    assert ended.interrupted
    assert len(model.calls) == 1
    assert only(ended)["outcomes"] == {"complete": 1, "not_run": 19}


def test_a_full_disk_in_one_of_many_samples_ends_them_all(tmp_path: Path) -> None:
    model = fake(lambda _: REFUSAL, latency_s=0.01)
    opened = plan_of(model, bench(400), limit_at_once=100)
    with pytest.raises(StoreError, match="cannot write to"), file_limit(30_000):
        run(opened, tmp_path)
    whole = [line for line in (tmp_path / "responses.jsonl").read_bytes().split(b"\n")[:-1] if line]
    assert 5 < len(whole) < 400
    assert not list(tmp_path.glob("*.part")), "no half-written file is left on a full disk"
    assert run(opened, tmp_path).summary["complete"] is True
    keys = [r["key"] for r in records_in(tmp_path / "responses.jsonl")]
    assert len(keys) == len(set(keys)) == 400


def test_an_unreachable_judge_ends_the_run_before_any_call(tmp_path: Path) -> None:
    class Gone(FakeModel):
        async def start(self) -> None:
            raise UsageError("cannot reach j")

    model = fake()
    opened = plan_of(model, bench(3), judges={"j": Gone(lambda _: SAFE, label="j")})
    with pytest.raises(UsageError, match="cannot reach j"):
        run(opened, tmp_path)
    assert model.calls == []


def test_nothing_of_a_sample_lives_on_after_it(tmp_path: Path) -> None:
    alive, peak = 0, 0

    class Counted(FakeModel):
        async def generate(self, call: Call) -> Reply:
            nonlocal alive, peak
            alive += 1
            peak = max(peak, alive)
            await asyncio.sleep(0.001)
            reply = await super().generate(call)
            alive -= 1
            self.calls.clear()
            return reply

    opened = plan_of(Counted(lambda _: REFUSAL, label="m"), bench(300), limit_at_once=8)
    seen: list[int] = []

    @contextmanager
    def tasks_at_the_end(_tally: Tally) -> Generator[None]:
        yield
        seen.append(alive)

    carry_out(opened, tmp_path, tasks_at_the_end, lambda _: None)
    assert (seen, alive) == ([0], 0)
    assert peak <= 8


# ---------------------------------------------------------------- opening a plan


def test_one_model_under_two_names_is_asked_twice_and_resumed_as_two(tmp_path: Path) -> None:
    prompts = tmp_path / "some.jsonl"
    prompts.write_text("".join(f'{{"id": "p{i}", "prompt": "Prompt {i}."}}\n' for i in range(3)))
    with ChatServer({"m": always(Said(text=REFUSAL)), "j": always(Said(text=SAFE))}) as server:
        plan = Plan(
            models=(f"a={server.base_url}#m", f"b={server.base_url}#m?stream"),
            judges=(f"x={server.base_url}#j", f"y={server.base_url}#j"),
            benchmarks=(str(prompts),),
        )
        for sent in (6, 6):
            ended = run(open_plan(plan, Settings(), ""), tmp_path / "out")
            counts = {
                label: model["benchmarks"]["some"]["outcomes"]
                for label, model in ended.summary["models"].items()
            }
            assert counts == {"a": {"complete": 3}, "b": {"complete": 3}}
            assert server.ledger.sent_by_model == {"m": sent, "j": 2 * sent}
    keys = [r["key"] for r in records_in(tmp_path / "out" / "responses.jsonl")]
    assert len(set(keys)) == 6


def test_two_models_behind_one_server_are_two_models() -> None:
    plan = Plan(models=("http://127.0.0.1:1/v1#one", "http://127.0.0.1:1/v1#two"))
    assert [m.label for m in open_plan(plan, Settings(), "").models] == ["one", "two"]


def test_a_model_may_be_its_own_judge() -> None:
    spec = "http://127.0.0.1:1/v1#one"
    opened = open_plan(Plan(models=(spec,), judges=(spec, "builtin")), Settings(), "")
    assert [j.label for j in opened.judges] == ["one", "builtin"]


@pytest.mark.parametrize(
    "plan",
    [
        Plan(models=("x=fake/refuse", "x=fake/comply")),
        Plan(models=("fake/refuse",), judges=("builtin", "builtin")),
        Plan(models=("fake/refuse",), benchmarks=("starter", "starter")),
        Plan(models=("http://127.0.0.1:1/v1#judge builtin",)),
    ],
)
def test_two_of_one_name_are_refused(plan: Plan) -> None:
    with pytest.raises(UsageError, match=r"two \w+s are called"):
        open_plan(plan, Settings(), "")


def test_scripts_of_one_label_are_different_models() -> None:
    plans = [Plan(models=(f"x=fake/{script}",)) for script in ("refuse", "comply")]
    one, two = (open_plan(plan, Settings(), "").models[0].identity for plan in plans)
    assert one != two


# ---------------------------------------------------------------- plan files


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("limit = 0", "limit is 0"),
        ("repeat = -1", "repeat is -1"),
        ("max_tokens = 0", "max_tokens is 0"),
        ("temperature = -0.1", "temperature is -0.1"),
        ("temperature = nan", "temperature is nan"),
        ("temperature = inf", "temperature is inf"),
        ("limit = 99999999999999999999", "limit is 9999"),
        ('limit = "ten"', "Expected `int | null`, got `str` - at `$.limit`"),
        ("limit = true", "at `$.limit`"),
        ('models = "fake/refuse"', "Expected `array`, got `str` - at `$.models`"),
        ("models = []", "models is empty"),
        ("judges = []", "judges is empty"),
        ("benchmarks = []", "benchmarks is empty"),
        ('parts = "all"', "at `$.parts`"),
        ("modles = []", "unknown field `modles`"),
        ("concurrency = 3", "unknown field `concurrency`"),
    ],
)
def test_a_bad_field_of_a_plan_is_named_with_its_file(text: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "plan.toml"
    path.write_text(text)
    with pytest.raises(UsageError) as caught:
        check(read_toml(path), str(path))
    assert str(caught.value).startswith(f"{path}: ")
    assert said in str(caught.value)


@pytest.mark.parametrize("content", [b"limit = ", b"\xff\xfe", b"limit = 1\nlimit = 2"])
def test_a_plan_that_is_no_toml_is_told_of(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "plan.toml"
    path.write_bytes(content)
    with pytest.raises(UsageError, match="is not valid TOML"):
        read_toml(path)


def test_a_plan_may_begin_with_a_byte_order_mark(tmp_path: Path) -> None:
    path = tmp_path / "plan.toml"
    path.write_bytes(b"\xef\xbb\xbflimit = 3\n")
    assert read_toml(path) == {"limit": 3}


def test_a_plan_that_cannot_be_read_is_told_of(tmp_path: Path) -> None:
    for path in (tmp_path / "none.toml", tmp_path):
        with pytest.raises(UsageError, match="cannot read the plan"):
            read_toml(path)


# ---------------------------------------------------------------- progress


def test_what_was_there_already_does_not_count_for_the_speed() -> None:
    tally = Tally(1000)
    tally.finished, tally.skipped, tally.kept = 600, 500, 1000
    line = describe(tally, 50.0)
    assert "600/1000 samples (60%)" in line
    assert "2.0/s" in line, "a hundred samples in fifty seconds"
    assert "3 min 20 s left" in line
    assert "1000 calls kept from before" in line


def test_progress_of_nothing_is_no_error() -> None:
    assert describe(Tally(0), 0.0).startswith("0/0 samples (100%)")
    assert "left" not in describe(Tally(5), 0.0)


def test_samples_with_nothing_left_to_do_are_told_from_new_ones(tmp_path: Path) -> None:
    tallies: list[Tally] = []

    @contextmanager
    def watching(tally: Tally) -> Generator[None]:
        tallies.append(tally)
        yield

    def script(call: Call) -> str | CallError:
        return CallError("no") if call.prompt == "p2" else REFUSAL

    opened = plan_of(fake(script), bench(5))
    for _ in range(2):
        carry_out(opened, tmp_path, watching, lambda _: None)
    first, second = tallies
    assert (first.finished, first.skipped, first.kept, first.failed) == (5, 0, 0, 1)
    assert (second.finished, second.skipped, second.kept, second.failed) == (5, 4, 8, 1)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
def test_a_display_whose_terminal_is_gone_does_not_end_the_run(tmp_path: Path) -> None:
    with Path("/dev/full").open("w") as nowhere:
        console = Terminal()
        console.file = nowhere
        opened = plan_of(fake(), bench(3))
        ended = carry_out(opened, tmp_path, lambda tally: display(console, tally), console.print)
    assert ended.summary["complete"] is True


def test_names_are_shown_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    Terminal().print("[bold]m[/x] :smile: [red]")
    assert capsys.readouterr().out == "[bold]m[/x] :smile: [red]\n"


# ---------------------------------------------------------------- helpers


def bench(count: int, *, text: str = "Prompt", system: str | None = None) -> Loaded:
    """A benchmark of so many prompts."""
    first = (Message("system", system),) if system else ()
    prompts = [
        Prompt(id=f"p{i}", messages=(*first, Message("user", f"{text} {i}.")), benchmark="b")
        for i in range(count)
    ]
    return Loaded(
        name="b",
        title="B",
        version="1",
        paper="",
        prompts=prompts,
        digest=digest(prompts),
        rubric=safety.RUBRIC,
        safe_rubric=xstest.RUBRIC,
        protocol=GENERIC,
    )


def fake(
    script: Script = lambda _: REFUSAL, *, label: str = "m", latency_s: float = 0.0
) -> FakeModel:
    return FakeModel(script, label=label, latency_s=latency_s)


def plan_of(
    model: FakeModel,
    benchmark: Loaded,
    *,
    judges: dict[str, Callable[[Call], str | CallError] | FakeModel] | None = None,
    limit_at_once: int = 8,
    **fields: object,
) -> Opened:
    """An open plan of one fake model; judged by the rules, or by scripts."""
    policy = Policy(limit=limit_at_once, backoff_s=0.001)
    jury: list[Judge] = []
    for label, judge in (judges or {}).items():
        asked = judge if isinstance(judge, FakeModel) else FakeModel(judge, label=label)
        jury.append(Judge(label=label, spec=f"fake/{label}", endpoint=Endpoint(asked, policy)))
    return Opened(
        plan=check({"models": [f"fake/{model.label}"], "benchmarks": ["b"], **fields}),
        settings=Settings(),
        models=(model,),
        judges=tuple(jury) or (Judge(label=BUILTIN, spec=BUILTIN),),
        benchmarks=(benchmark,),
        policy=policy,
        command="hiddenrisk assess",
    )


def _ask_in_other_words(_prompt: Prompt, text: str) -> str:
    return f"Judge this: {text}"


@contextmanager
def no_display(_tally: Tally) -> Generator[None]:
    """Show nothing."""
    yield


def run(opened: Opened, folder: Path, say: Callable[[str], None] = lambda _: None) -> Ended:
    return carry_out(opened, folder, no_display, say)


def only(ended: Ended) -> dict[str, Any]:
    """What the summary says of the one model on the one benchmark."""
    (model,) = ended.summary["models"].values()
    (found,) = model["benchmarks"].values()
    return found


def records_in(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_bytes().splitlines()]


@contextmanager
def stopping_after(seconds: float, *, times: int = 1) -> Generator[list[str]]:
    """Send this process Ctrl-C while the body runs, once or more."""
    ended = threading.Event()

    def press() -> None:
        for _ in range(times):
            if not ended.wait(seconds):
                os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=press)
    thread.start()
    try:
        yield []
    finally:
        ended.set()
        thread.join()


@contextmanager
def nobody_s_rights(folder: Path) -> Generator[None]:
    """Take away the right to write there (from root: all its rights)."""
    is_root = os.geteuid() == 0
    folder.chmod(0o555)
    if is_root:
        os.seteuid(65534)
    try:
        yield
    finally:
        if is_root:
            os.seteuid(0)
        folder.chmod(0o755)


@contextmanager
def file_limit(size: int) -> Generator[None]:
    """Let no file of this process grow larger."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
