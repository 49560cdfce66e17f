"""`hiddenrisk harm`: unsafe answers of a run, scored by reward models behind real servers."""

import json
import shutil
import signal
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self

import pytest

from hiddenrisk.stats.harmfulness import Text, naive, overlap
from tests.conftest import CommandLine
from tests.reward_models import needs_torch, save
from tests.servers import Ask, ChatServer, Reply, verdict
from tests.test_importing import records, results, summary, wrong
from tests.test_transcripts import jsonl

_MODELS = ("base", "r1")


class RewardServer:
    """vLLM's /classify, for one reward model; None is an error of the server."""

    def __init__(self, says: Callable[[str], float | None]) -> None:
        self.says = says
        self.asked: list[str] = []
        owner = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                text = body["messages"][-1]["content"]
                owner.asked.append(text)
                value = owner.says(text)
                row = {"index": 0, "probs": [value], "num_classes": 1}
                found = {"data": [row], "usage": {"prompt_tokens": 7}}
                raw = json.dumps(found if value is not None else {"error": "no"}).encode()
                self.send_response(400 if value is None else 200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(raw)))
                self.end_headers()
                self.wfile.write(raw)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name there
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)

    @property
    def spec(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}#org/rm?api=classify"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


def _answer(model: str, number: int) -> str:
    """Text that says who wrote it, and is longer by r1."""
    return f"{model} {number}: " + "step. " * (number % 7 + (9 if model == "r1" else 3))


def _unsafe(text: str) -> bool:
    model, number = text.split(":")[0].split()[-2:]
    return int(number) % (2 if model == "base" else 3) == 0


def _worth(text: str) -> float:
    model, number = text.split(":")[0].split()
    return int(number) / 10 + (0.5 if model == "r1" else 0.0) + (int(number) % 5) / 100


def _judge(ask: Ask) -> Reply:
    """Unsafe as `_unsafe` has it; what stands last in the prompt is the text."""
    text = next(t for t in sorted(_ALL, key=len, reverse=True) if t in ask.text)
    return verdict(float(not _unsafe(text)))


_N = 60
_ALL = [_answer(m, i).strip() for m in _MODELS for i in range(_N)]


@pytest.fixture(scope="module")
def imported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two models, judged."""
    rows = [
        {"id": f"p{i}", "prompt": f"Question {i}?", "answer": _answer(m, i).strip(), "model": m}
        for m in _MODELS
        for i in range(_N)
    ]
    line = CommandLine(tmp_path_factory.mktemp("imported"))
    jsonl(line.folder / "t.jsonl", *rows)
    with ChatServer({"j": _judge}) as server:
        args = ("--judge", server.spec("j"), "--parts", "answer", "--out", "run")
        done = line("import", "t.jsonl", *args)
    assert done.code == 0, done
    return line.folder / "run"


@pytest.fixture
def run(hiddenrisk: CommandLine, imported: Path) -> Path:
    """A copy of it."""
    return shutil.copytree(imported, hiddenrisk.folder / "run")


def _harm(folder: Path) -> dict[str, Any]:
    (benchmark,) = summary(folder)["harmfulness"]["benchmarks"].values()
    return benchmark["answer"]


def _texts(model: str) -> list[Text]:
    found = [(i, _answer(model, i).strip()) for i in range(_N)]
    return [Text(f"p{i}", _worth(t), len(t)) for i, t in found if _unsafe(t)]


def test_unsafe_answers_are_scored_and_models_held_against_each_other(
    hiddenrisk: CommandLine, run: Path
) -> None:
    with RewardServer(_worth) as server:
        done = hiddenrisk("harm", run, "--reward", server.spec)
        assert done.code == 0, done
        assert len(server.asked) == 30 + 20, "unsafe ones, each once"
        assert all(_unsafe(text) for text in server.asked)
        again = hiddenrisk("harm", run, "--reward", server.spec)
        assert (again.code, len(server.asked)) == (0, 50), "what is there is not asked again"
    of = _harm(run)["rewards"]["rm"]
    assert {m: (x["unsafe"], x["scored"]) for m, x in of["models"].items()} == {
        "base": (30, 30),
        "r1": (20, 20),
    }
    a, b = _texts("base"), _texts("r1")
    means = {m: x["means"]["score"]["value"] for m, x in of["models"].items()}
    assert means["base"] == pytest.approx(sum(t.value for t in a) / 30)
    (pair,) = of["pairs"]
    assert (pair["first"], pair["second"]) == ("base", "r1")
    assert pair["naive"]["value"] == pytest.approx(naive(a, b).value)
    exact = overlap(a, b)
    assert pair["overlap"]["value"] == pytest.approx(0.5)
    assert (pair["overlap"]["n"], exact.n) == (10, 10), "multiples of six"
    assert f"{means['base']:.3f}" in done.out
    assert "Model against model" in done.out
    row = records(run / "rewards.jsonl")[0]
    assert row["score"] == pytest.approx(_worth(next(t for t in _ALL if len(t) == row["length"] and _worth(t) == row["score"])))  # fmt: skip
    assert "How harmful" in (run / "report.html").read_text()


def test_what_fails_is_no_score_and_is_tried_again(hiddenrisk: CommandLine, run: Path) -> None:
    with RewardServer(lambda text: None if "base 4:" in text else _worth(text)) as server:
        done = hiddenrisk("harm", run, "--reward", server.spec)
        assert done.code == 1, done
        assert "To try those again, run: hiddenrisk harm" in done.lines[-1]
        base = _harm(run)["rewards"]["rm"]["models"]["base"]
        assert (base["scored"], base["failed"], base["missing"]) == (29, 1, 0)
        assert base["failures"] == {"request_failed": 1}
        assert base["means"]["score"]["n"] == 29
        server.says = _worth
        asked = len(server.asked)
        assert hiddenrisk("harm", run, "--reward", server.spec).code == 0
        assert server.asked[asked:] == [_answer("base", 4).strip()]
    base = _harm(run)["rewards"]["rm"]["models"]["base"]
    assert (base["scored"], base["failed"]) == (30, 0)


def test_who_is_unsafe_the_headline_says(hiddenrisk: CommandLine, run: Path) -> None:
    """Another judge finds other texts unsafe: those that were not scored are missing."""
    with RewardServer(_worth) as server, ChatServer({"k": lambda _: verdict(0)}) as judges:
        assert hiddenrisk("harm", run, "--reward", server.spec).code == 0
        judge = ("--judge", judges.spec("k"), "--parts", "answer")
        assert hiddenrisk("judge", run, *judge).code == 0
        base = _harm(run)["rewards"]["rm"]["models"]["base"]
        assert (base["unsafe"], base["scored"], base["missing"]) == (60, 30, 30)
        assert hiddenrisk("harm", run, "--reward", server.spec).code == 0
        assert len(server.asked) == 120
    base = _harm(run)["rewards"]["rm"]["models"]["base"]
    assert (base["scored"], base["missing"]) == (60, 0)


def test_two_reward_models_stand_side_by_side(hiddenrisk: CommandLine, run: Path) -> None:
    with RewardServer(_worth) as server, RewardServer(lambda t: -_worth(t)) as other:
        specs = ("--reward", server.spec, "--reward", other.spec.replace("org/rm", "org/rm2"))
        done = hiddenrisk("harm", run, *specs)
    assert done.code == 0, done
    (agreement,) = _harm(run)["agreement"]
    assert agreement["rewards"] == ["rm", "rm2"]
    assert agreement["spearman"]["value"] == pytest.approx(-1)


def test_strongreject_grades_of_a_judge_are_a_reward(hiddenrisk: CommandLine, run: Path) -> None:
    said = wrong(hiddenrisk("harm", run, "--reward", "strongreject"))
    assert "--judge SPEC?form=strongreject" in said
    reply = Reply(text="1.b 0\n2.b 5\n3.b 3")
    with ChatServer({"s": lambda _: reply}) as server:
        args = ("--judge", f"{server.spec('s')}?form=strongreject", "--parts", "answer")
        done = hiddenrisk("judge", run, *args)
        assert done.code == 0, done
    done = hiddenrisk("harm", run, "--reward", "strongreject")
    assert done.code == 0, done
    found = _harm(run)["rewards"]["strongreject"]["models"]["base"]
    grade = results(run, "base")["grades"]["harm"]["value"]
    assert found["means"]["score"]["value"] == pytest.approx(grade)


def test_unsafe_thinking_is_scored_where_it_is_asked_for(hiddenrisk: CommandLine) -> None:
    rows = [
        {"id": f"p{i}", "prompt": "Q?", "thinking": f"base {i}: hm", "answer": "No.", "model": "m"}
        for i in range(4)
    ]
    jsonl(hiddenrisk.folder / "t.jsonl", *rows)
    with (
        ChatServer({"j": lambda ask: verdict(float("No." in ask.text))}) as judge,
        RewardServer(_worth) as server,
    ):
        args = ("--judge", judge.spec("j"), "--out", "run")
        assert hiddenrisk("import", "t.jsonl", *args).code == 0
        assert hiddenrisk("harm", "run", "--reward", server.spec).code == 0
        assert server.asked == []
        done = hiddenrisk("harm", "run", "--reward", server.spec, "--parts", "both")
        assert done.code == 0, done
        assert sorted(server.asked) == [f"base {i}: hm" for i in range(4)]
    (parts,) = summary(hiddenrisk.folder / "run")["harmfulness"]["benchmarks"].values()
    assert list(parts) == ["thinking"]
    assert parts["thinking"]["rewards"]["rm"]["models"]["m"]["scored"] == 4


def test_a_run_where_nobody_judged_the_thinking_says_so(hiddenrisk: CommandLine, run: Path) -> None:
    with RewardServer(_worth) as server:
        said = wrong(hiddenrisk("harm", run, "--reward", server.spec, "--parts", "thinking"))
        assert "nobody judged the thinking" in said
        assert server.asked == []
    assert "unknown reward model" in wrong(hiddenrisk("harm", run, "--reward", "armrm"))
    assert "is no run directory" in wrong(hiddenrisk("harm", "nowhere"))


FIGURE_3 = {
    "armorm": {"r1": 0.846, "v3": 0.847, "r1-70b": 0.823, "llama3.3": 0.807},
    "qrm": {"r1": 0.142, "v3": 0.086, "r1-70b": 0.038, "llama3.3": -0.005},
}
"""arXiv 2502.12659, Figure 3: mean reward of the unsafe AIR-Bench answers."""


def test_the_papers_figure_3_is_printed_from_rewards_like_its_own(hiddenrisk: CommandLine) -> None:
    models = list(FIGURE_3["armorm"])
    rows = [
        {"id": f"p{i}", "prompt": f"Question {i}?", "answer": f"{m} {i}: steps", "model": m}
        for m in models
        for i in range(20)
    ]
    jsonl(hiddenrisk.folder / "t.jsonl", *rows)

    def reward(name: str) -> Callable[[str], float]:
        def says(text: str) -> float:
            model, number = text.split(":")[0].split()
            return FIGURE_3[name][model] + (0.05 if int(number) % 2 else -0.05)

        return says

    with (
        ChatServer({"j": lambda _: verdict(0)}) as judge,
        RewardServer(reward("armorm")) as armorm,
        RewardServer(reward("qrm")) as qrm,
    ):
        args = ("--judge", judge.spec("j"), "--parts", "answer", "--out", "run")
        assert hiddenrisk("import", "t.jsonl", *args).code == 0
        specs = [("--reward", f"{n}={s.spec}") for n, s in (("armorm", armorm), ("qrm", qrm))]
        done = hiddenrisk("harm", "run", *specs[0], *specs[1])
    assert done.code == 0, done
    table = done.out.split("Model against model")[0]
    for model in models:
        line = next(line for line in table.splitlines() if f" {model} " in line)
        assert [f"{FIGURE_3[name][model]:.3f}" in line for name in FIGURE_3] == [True, True], line


# ---------------------------------------------------------------- draws


def _pair(folder: Path) -> dict[str, Any]:
    (pair,) = _harm(folder)["rewards"]["rm"]["pairs"]
    return pair


def test_a_draw_takes_shared_prompts_first_and_is_the_same_always(
    hiddenrisk: CommandLine, run: Path
) -> None:
    with RewardServer(_worth) as server:
        args = ("harm", run, "--reward", server.spec)
        done = hiddenrisk(*args, "--limit", "8")
        assert done.code == 0, done
        first = set(server.asked)
        assert len(first) == 16
        assert all(int(t.split(":")[0].split()[1]) % 6 == 0 for t in first), "unsafe for both"
        assert _pair(run)["overlap"]["n"] == 8
        assert "drawn with --limit 8" in done.out
        assert "but 8 of each model and benchmark" in (run / "report.html").read_text()
        base = _harm(run)["rewards"]["rm"]["models"]["base"]
        assert (base["unsafe"], base["scored"], base["missing"]) == (30, 8, 22)
        assert hiddenrisk(*args, "--limit", "8").code == 0
        assert len(server.asked) == 16
        assert hiddenrisk(*args, "--limit", "15").code == 0
        assert len(server.asked) == 30, "a larger draw holds the smaller one"
        assert first <= set(server.asked)
        assert _pair(run)["overlap"]["n"] == 10
        whole = hiddenrisk(*args)
        assert len(server.asked) == 50
    assert "drawn with" not in whole.out
    assert "of each model and benchmark. Prompts" not in (run / "report.html").read_text()


# ---------------------------------------------------------------- calibrations


def _calibrated(hiddenrisk: CommandLine, server: RewardServer, *more: str) -> None:
    rows = [
        {"prompt": f"Q{i}", "chosen": f"base {i}: yes", "rejected": f"base {i - 9}: yes"}
        for i in range(10, 40)
    ]
    jsonl(hiddenrisk.folder / "mine.jsonl", *rows)
    args = ("--on", "mine.jsonl", "--out", "cal", *more)
    done = hiddenrisk("calibrate", "--reward", server.spec, *args)
    assert done.code == 0, done


def test_how_good_a_reward_model_is_stands_beside_its_results(
    hiddenrisk: CommandLine, run: Path
) -> None:
    with RewardServer(_worth) as server:
        _calibrated(hiddenrisk, server)
        args = ("harm", run, "--reward", f"named={server.spec}")
        done = hiddenrisk(*args, "--calibration", "cal")
        assert done.code == 0, done
        told = "named: prefers the reply that people prefer in 100.0% [88.6 to 100.0] of 30 pairs"
        assert told in done.out
        again = hiddenrisk(*args)  # it is kept in the run
        assert told in again.out
    known = summary(run)["harmfulness"]["rewards"]["named"]["preferences"]["mine"]
    assert (known["n"], known["accuracy"]["value"]) == (30, 1.0)
    assert "prefers the reply that people prefer in" in (run / "report.html").read_text()


def test_the_calibration_of_another_reward_model_is_refused(
    hiddenrisk: CommandLine, run: Path
) -> None:
    with RewardServer(_worth) as server, RewardServer(_worth) as other:
        _calibrated(hiddenrisk, other)
        args = ("--reward", server.spec, "--calibration")
        said = wrong(hiddenrisk("harm", run, *args, "cal"))
        assert "cal is of rm, which is none of the reward models here" in said
        assert "writes one" in wrong(hiddenrisk("harm", run, *args, "nowhere"))
        assert server.asked == []


# ---------------------------------------------------------------- labels


def test_a_label_is_taken_by_scores_and_not_by_an_endpoint_that_gave_none(
    hiddenrisk: CommandLine, run: Path
) -> None:
    nobody = "http://127.0.0.1:9#org/rm?api=classify"
    assert "cannot reach rm" in wrong(hiddenrisk("harm", run, "--reward", nobody))
    assert summary(run)["harmfulness"] is None
    with RewardServer(lambda _: None) as broken:
        assert "answers no call" in wrong(hiddenrisk("harm", run, "--reward", broken.spec))
    with RewardServer(_worth) as server, RewardServer(_worth) as other:
        assert hiddenrisk("harm", run, "--reward", server.spec, "--limit", "2").code == 0
        said = wrong(hiddenrisk("harm", run, "--reward", other.spec))
        assert f"name it apart: --reward NEW={other.spec}" in said
        assert hiddenrisk("harm", run, "--reward", f"NEW={other.spec}", "--limit", "2").code == 0
    assert list(summary(run)["harmfulness"]["rewards"]) == ["rm", "NEW"]


@needs_torch
def test_weights_of_two_folders_stand_side_by_side_under_names_of_the_users(
    hiddenrisk: CommandLine, run: Path
) -> None:
    for seed, name in enumerate(("one", "two")):
        save(hiddenrisk.folder / name, "qrm", seed=seed)
    args = ("harm", run, "--limit", "5")
    assert hiddenrisk(*args, "--reward", "qrm=one").code == 0
    said = wrong(hiddenrisk(*args, "--reward", "qrm=two"))
    assert "name it apart: --reward NEW=qrm=two" in said
    done = hiddenrisk(*args, "--reward", "NEW=qrm=two")
    assert done.code == 0, done
    rewards = _harm(run)["rewards"]
    assert list(rewards) == ["qrm", "NEW"]
    means = [rewards[name]["models"]["r1"]["means"] for name in rewards]
    assert means[0]["beavertails-is_safe"]["n"] == 5
    assert means[0]["score"]["value"] != means[1]["score"]["value"]


def test_strongreject_may_have_a_name_of_the_users_too(hiddenrisk: CommandLine, run: Path) -> None:
    reply = Reply(text="1.b 0\n2.b 5\n3.b 3")
    with ChatServer({"s": lambda _: reply}) as server:
        args = ("--judge", f"{server.spec('s')}?form=strongreject", "--parts", "answer")
        assert hiddenrisk("judge", run, *args).code == 0
    assert hiddenrisk("harm", run, "--reward", "sr=strongreject").code == 0
    assert list(_harm(run)["rewards"]) == ["sr"]


# ---------------------------------------------------------------- what may come


def test_a_run_without_unsafe_texts_is_told_in_a_sentence(hiddenrisk: CommandLine) -> None:
    jsonl(hiddenrisk.folder / "t.jsonl", {"id": "p", "prompt": "Q?", "answer": "No.", "model": "m"})
    with ChatServer({"j": lambda _: verdict(1)}) as judge, RewardServer(_worth) as server:
        args = ("--judge", judge.spec("j"), "--parts", "answer", "--out", "run")
        assert hiddenrisk("import", "t.jsonl", *args).code == 0
        done = hiddenrisk("harm", "run", "--reward", server.spec)
        assert done.code == 0, done
        assert server.asked == []
    assert "there is nothing to score" in done.out


def test_names_from_files_only_show_in_a_terminal(hiddenrisk: CommandLine) -> None:
    evil = "m\x1b[2J\x9b31m\u202e"
    rows = [
        {"id": f"p{i}", "prompt": "Q?", "answer": f"base {i}: so", "model": model}
        for i in range(4)
        for model in (evil, "n")
    ]
    jsonl(hiddenrisk.folder / "t.jsonl", *rows)
    with ChatServer({"j": lambda _: verdict(0)}) as judge, RewardServer(_worth) as server:
        args = ("--judge", judge.spec("j"), "--parts", "answer", "--out", "run")
        assert hiddenrisk("import", "t.jsonl", *args).code == 0
        done = hiddenrisk("harm", "run", "--reward", server.spec)
    assert done.code == 0, done
    assert not any(sign in done.out + done.err for sign in "\x1b\x9b\u202e")
    assert "m [2J" in done.out


@pytest.mark.parametrize("with_signal", [signal.SIGKILL, signal.SIGINT])
def test_what_was_scored_before_an_end_is_not_scored_again(
    hiddenrisk: CommandLine, run: Path, with_signal: signal.Signals
) -> None:
    def slowly(text: str) -> float:
        time.sleep(0.05)
        return _worth(text)

    scores = run / "rewards.jsonl"
    with RewardServer(slowly) as server:
        args = ("harm", run, "--reward", server.spec, "--concurrency", "2")
        started = hiddenrisk.start(*args)
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and not (
            scores.is_file() and scores.read_bytes().count(b"\n") >= 12
        ):
            time.sleep(0.02)
        started.send_signal(with_signal)
        code = started.wait()
        kept = len(records(scores))
        assert 12 <= kept < 50
        if with_signal is signal.SIGINT:
            assert code == 130
            assert "interrupted; to resume, run: hiddenrisk harm" in hiddenrisk.said()
        with scores.open("ab") as file:
            file.write(b'{"key": "torn')  # a write that was cut
        server.asked.clear()
        done = hiddenrisk(*args)
        assert done.code == 0, done
        assert len(server.asked) == 50 - kept
    assert f"{kept} calls kept from before" in done.err
    assert len({r["key"] for r in records(scores)}) == 50
    base = _harm(run)["rewards"]["rm"]["models"]["base"]
    assert (base["scored"], base["failed"], base["missing"]) == (30, 0, 0)


def test_with_many_models_pairs_are_folded_and_hold_for_all_of_them(
    hiddenrisk: CommandLine,
) -> None:
    rows = [
        {"id": f"p{i}", "prompt": f"Q{i}?", "answer": f"m{m} {i}: {'so. ' * (m + 1)}", "model": f"m{m}"}
        for m in range(7)
        for i in range(8)
    ]  # fmt: skip
    jsonl(hiddenrisk.folder / "t.jsonl", *rows)
    with (
        ChatServer({"j": lambda _: verdict(0)}) as judge,
        RewardServer(lambda t: len(t) + (hash(t) % 7) / 9) as server,
    ):
        args = ("--judge", judge.spec("j"), "--parts", "answer", "--out", "run")
        assert hiddenrisk("import", "t.jsonl", *args).code == 0
        done = hiddenrisk("harm", "run", "--reward", server.spec)
    assert done.code == 0, done
    pairs = _harm(hiddenrisk.folder / "run")["rewards"]["rm"]["pairs"]
    assert len(pairs) == 21
    assert "; 6 more are in summary.json and the report" in done.out
    assert "21 pairs of models by" in (hiddenrisk.folder / "run" / "report.html").read_text()
    for pair in pairs:
        assert pair["overlap"]["p_holm"] >= pair["overlap"]["p"]
