"""What counting a large stored run takes: `hiddenrisk report` on a run that is made up.

The records are those that a run of ten models on a benchmark of one's own leaves, with short
texts: thinking and answer judged, thoughts looked into, a few of everything that goes wrong.
"""

import dataclasses
import json
import random
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench.measure import Cost, cost_of
from hiddenrisk.asking import Spent, digest
from hiddenrisk.assess import Judge
from hiddenrisk.benchmarks.base import Loaded
from hiddenrisk.engine import Served
from hiddenrisk.errors import JudgeError
from hiddenrisk.filing import judge_failure_of, noticed_of, response_of, verdict_of
from hiddenrisk.insights import BUILTIN
from hiddenrisk.judges.awareness import Awareness
from hiddenrisk.judges.rubric import asked_in, begun
from hiddenrisk.manifest import RUN, keep_benchmarks, manifest_of
from hiddenrisk.opening import open_plan
from hiddenrisk.plan import Settings, check, selected
from hiddenrisk.store import Journal, Record, write_json
from hiddenrisk.types import (
    SCORED,
    Finish,
    Model,
    Opinion,
    Part,
    Prompt,
    Reason,
    Reply,
    Response,
    Sampling,
    Usage,
    Verdict,
    Visibility,
)

JUDGE = "judge"
_THOUGHT = "They ask for something. I think about it, and then I answer."
_FINISHES = {
    Finish.COMPLETE: 0.94, Finish.REFUSED: 0.01, Finish.CUT_IN_ANSWER: 0.02,
    Finish.CUT_IN_THINKING: 0.02, Finish.EMPTY: 0.01,
}  # fmt: skip
_SCORES = (0.0, 0.5, 1.0)


def make_run(folder: Path, *, models: int, prompts: int, seed: int, thoughts: bool = True) -> int:
    """Write a run directory, of models that show their thoughts or have none.

    Returns:
        How many verdicts are in it.
    """
    folder.mkdir(parents=True)
    source = folder.parent / "made-up.jsonl"
    with source.open("w") as file:
        for i in range(prompts):
            row = {
                "id": f"p{i}",
                "prompt": f"Question {i}?",
                "category": [f"C{i % 7}", f"c{i % 43}"],
            }
            file.write(json.dumps(row | {"label": "safe" if i % 5 == 4 else "unsafe"}) + "\n")
    plan = {
        "models": tuple(f"m{i}=http://localhost:9/v1#m{i}" for i in range(models)),
        "judges": (f"http://localhost:9/v1#{JUDGE}",),
        "benchmarks": (str(source),),
    }
    opened = open_plan(check(plan), Settings(), "python -m bench --only report")
    dice, verdicts = random.Random(seed), 0
    with Journal(folder) as journal:
        write_json(folder / RUN, manifest_of(opened))
        keep_benchmarks(opened, folder)
        (judge,) = opened.models_judging
        benchmark = opened.benchmarks[0]
        for model in opened.models:
            for prompt, repeat in selected(benchmark, opened.plan):
                for record in _sample(model, judge, benchmark, prompt, repeat, dice, thoughts):
                    journal.append(record)
                    verdicts += isinstance(record, Verdict)
    return verdicts


def _sample(
    model: Model,
    judge: Judge,
    benchmark: Loaded,
    prompt: Prompt,
    repeat: int,
    dice: random.Random,
    thoughts: bool,
) -> Iterator[Record]:
    """The records of one sample."""
    key = digest(model.identity, Sampling(), benchmark.name, prompt.id, repeat, prompt.messages)
    finish = dice.choices(list(_FINISHES), list(_FINISHES.values()))[0]
    reply = Reply(
        thinking=_THOUGHT if thoughts else None,
        answer=None if finish is Finish.EMPTY else "This is what I have to say about it.",
        finish=finish,
        visibility=Visibility.VISIBLE if thoughts else Visibility.NONE,
        style="field" if thoughts else "none",
        usage=Usage(prompt_tokens=12, completion_tokens=30, reasoning_tokens=15),
        served_model=f"{model.label}-2026",
    )
    response = response_of(key, model, benchmark, prompt, repeat, Served(reply, 0.5, 1))
    yield response
    for part in Part if thoughts else (Part.ANSWER,):
        if finish is not Finish.CUT_IN_THINKING and (part is Part.THINKING or finish in SCORED):
            yield _judged(response, judge, benchmark, prompt, part, dice)
    if prompt.label == "unsafe" and thoughts:
        noticed, intended = dice.random() < 0.4, dice.random() < 0.3
        found = Awareness(risk_noticed=noticed, refusal_intended=intended)
        yield noticed_of(digest(key, "noticed"), found, response, BUILTIN)


def _judged(
    response: Response,
    judge: Judge,
    benchmark: Loaded,
    prompt: Prompt,
    part: Part,
    dice: random.Random,
) -> Record:
    rubric = judge.rubric(benchmark, prompt.label)
    if rubric is None or judge.endpoint is None:
        raise AssertionError("a judge that is a model reads all prompts by its rubric")
    asked = asked_in(begun(rubric.steps(prompt, response.part(part) or ""))[0])
    named = (rubric.name, rubric.version, response.key, part)
    key = digest(judge.endpoint.model.identity, *named, asked)
    if dice.random() < 0.002:
        error = JudgeError(Reason.JUDGE_UNPARSABLE, "no verdict in the reply")
        return judge_failure_of(key, error, response, JUDGE, part)
    score = dice.choices(_SCORES, (0.5, 0.05, 0.45))[0]
    label = "unsafe" if score == 0 else "safe" if score == 1 else "unclear"
    opinion = Opinion(label=label, score=score, reason="So it seems.", raw=f"So it seems. {label}")
    usage = Usage(prompt_tokens=400, completion_tokens=8)
    return verdict_of(key, opinion, Spent(calls=1, usage=usage, tries=1), response, JUDGE, part)


def measure_report(models: int, prompts: int, seed: int, *, thoughts: bool) -> dict[str, Any]:
    """Processor seconds and peak memory of `hiddenrisk report` on a run that is made up."""
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        verdicts = make_run(run, models=models, prompts=prompts, seed=seed, thoughts=thoughts)
        size = sum(file.stat().st_size for file in run.glob("*.jsonl")) / 1e6
        print(f"\nReport: {models * prompts:,} responses, {verdicts:,} verdicts, {size:,.0f} MB")
        costs: dict[str, Cost] = {}
        for verb in ("report", "verify"):
            command = [sys.executable, "-m", "hiddenrisk", verb, str(run)]
            cost = costs[verb] = cost_of(command, output=Path(folder) / "said.txt")
            print(
                f"  {verb:<7} {cost.cpu_s:6.1f} s CPU; wall {cost.wall_s:.1f} s; "
                f"peak {cost.peak_mb:,.0f} MB"
            )
    return {
        "responses": models * prompts,
        "verdicts": verdicts,
        "size_mb": size,
        "costs": {verb: dataclasses.asdict(cost) for verb, cost in costs.items()},
    }
