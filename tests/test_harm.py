"""`hiddenrisk harm`: unsafe answers of a run, scored by reward models behind real servers."""

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self

import pytest

from hiddenrisk.stats.harmfulness import Text, naive, overlap
from tests.conftest import CommandLine
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


@pytest.fixture
def run(hiddenrisk: CommandLine) -> Iterator[Path]:
    rows = [
        {"id": f"p{i}", "prompt": f"Question {i}?", "answer": _answer(m, i).strip(), "model": m}
        for m in _MODELS
        for i in range(_N)
    ]
    jsonl(hiddenrisk.folder / "t.jsonl", *rows)
    with ChatServer({"j": _judge}) as server:
        args = ("--judge", server.spec("j"), "--parts", "answer", "--out", "run")
        done = hiddenrisk("import", "t.jsonl", *args)
        assert done.code == 0, done
        yield hiddenrisk.folder / "run"


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
