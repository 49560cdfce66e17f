"""A summary that fills every section of the report, and a transcript of each kind."""

from itertools import product
from typing import Any

import msgspec

from hiddenrisk.report.examples import Example, ExampleVerdict

MODELS = ("v3", "r1", "o3-mini")
CATEGORIES = ("Privacy", "Privacy > Leaks", "Privacy > Leaks > PII", "Self-harm", "Deception")
NULL = {"value": None, "low": None, "high": None, "n": 0}


def rate(value: float, n: int = 100) -> dict[str, Any]:
    low, high = max(-1, value - 0.1), min(1, value + 0.1)
    return {"value": value, "low": low, "high": high, "n": n}


def part(value: float | None, outcomes: dict[str, int], **scores: float) -> dict[str, Any]:
    return {
        "safety_rate": NULL if value is None else rate(value),
        "band": {"low": 0.2, "high": 0.9},
        "outcomes": outcomes,
        "scores": {name: rate(score) for name, score in scores.items()},
        "sensitivity": {"blocked_on_input": {"n": 2, "safe": 0.5, "unsafe": 0.4, "excluded": 0.45}},
    }


def results(
    answer: float | None, thinking: float | None, title: str = "A benchmark", **scores: float
) -> dict[str, Any]:
    """One model on one benchmark; a rate of None was measured and has nothing to estimate."""
    outcomes = {"complete": 90, "cut_in_answer": 5, "blocked_on_input": 3, "judge_refused": 2}
    seen = outcomes if thinking is not None else {"hidden": 100}
    both = {"answer": part(answer, outcomes, **scores), "thinking": part(thinking, seen, **scores)}
    cell = {"n": 100, "outcomes": outcomes, "parts": both}
    return cell | {
        "title": title,
        "protocol": "reference",
        "about": "The official judge prompts.",
        "rubric": "rubric 3",
        "judges": ["gpt-4o"],
        "categories": dict.fromkeys(CATEGORIES, cell),
        "protocols": {"helm": {"answer": rate(0.5), "thinking": NULL}},
        "notes": ["Three rows are left out."],
        "judge_failures": {"gpt-4o": 2},
    }


def summary(models: tuple[str, ...] = MODELS, titles: str | None = None) -> dict[str, Any]:
    """Every section has something to say; `titles` stands in for all names of benchmarks."""
    made = {label: _model(i / len(models), titles) for i, label in enumerate(models)}
    return {
        "hiddenrisk": "0.1.0",
        "created": "2026-11-23T17:00:00Z",
        "command": "hiddenrisk assess paper",
        "complete": False,
        "unverified": ["a.csv: digest differs"],
        "judges": {"gpt-4o": {"spec": "openai/gpt-4o", "kind": "llm"}},
        "victim": {"label": "gpt-4o", "spec": "openai/gpt-4o"},
        "models": made,
        "usage": {m: {"role": "model", "calls": 64, "prompt_tokens": 9} for m in models},
        "harmfulness": _harm(models),
        "comparisons": [
            _comparison(models[0], other, benchmark, metric)
            for other in models[1:]
            for benchmark, metric in (
                ("airbench", "safety_rate"),
                ("injection", "safety_rate"),
                ("xstest-safe", "over_refusal_rate"),
            )
        ],
        "findings": [_finding(answer, models) for answer in ("supported", "refuted", "undecided")],
    }


def _model(share: float, title: str | None) -> dict[str, Any]:
    bench = results(0.2 + 0.7 * share, 0.1 + 0.6 * share, title or "AIR-Bench 2024") | _thoughts()
    bench["parts"]["answer"] |= _judged()
    bench["by_judge"] = {name: _alone() for name in ("gpt-4o", "builtin")}
    bench["judge_agreement"] = [{"judges": ["a", "b"], "part": "answer", "n": 9, "share": 0.9}]
    cell = bench["categories"]["Privacy"]
    bench["views"] = {"EU AI Act": {"Article 5": cell, "Annex III": cell}}
    refusals = results(None, None, title or "XSTest", over_refusal_rate=share)
    attacks = results(0.6, None, title or "Injections", attack_success_rate=1 - share)
    attacks["views"] = {"risk": {"logic": attacks["categories"]["Privacy"]}}
    graded = results(0.3, None, title or "Phishing")
    graded["grades"] = {"overall": rate(1.5) | {"of": 5.0}}
    graded["facts"] = {"victim_gave_in": {"no": 7, "yes": 2}}
    names = ("airbench", "xstest-safe", "injection", "phishing")
    cells = zip(names, (bench, refusals, attacks, graded), strict=True)
    return {"spec": "a/b", "provider": "a", "served_models": ["b"], "benchmarks": dict(cells)}


def _thoughts() -> dict[str, Any]:
    counts = {"n": 90, "risk_noticed": 40, "refusal_intended": 30, "answer_safe": 20}
    failing = dict.fromkeys(("when_noticed", "when_intended", "when_unnoticed"), rate(0.4))
    funnel = counts | {"answers_safe": 33, "looked": 95}
    funnel |= {f"unsafe_{name}": value for name, value in failing.items()}
    groups = {"categories": {"Privacy": funnel, "Deception": funnel}, "views": {}}
    where = {"n": 20, "segments": 80, "unsafe": rate(0.4), "first": rate(0.2)}
    where |= {"unsafe_share": [0.1, 0.2, 0.3, 0.4, 0.5, 0.4, 0.3, 0.2, 0.1, 0.0]}
    positions = where | {"failed": 1, "by_answer": {"safe": where, "unsafe": where}}
    told = {"judge": "builtin", "funnel": funnel | groups, "positions": positions, "failed": 1}
    corners = {"both_safe": 30, "both_unsafe": 40, "only_answer_safe": 15, "only_thinking_safe": 5}
    return {"contrast": corners | {"unclear": 3, "n": 90, "p": 0.04}, "insights": told}


def _judged() -> dict[str, Any]:
    errors = {"judge": "gpt-4o", "set": "labels", "n": 300}
    errors |= {"sensitivity": rate(0.9), "specificity": rate(0.95)}
    corrected = rate(0.4) | {"method": "ppi", "raw": rate(0.5), "calibration": errors, "note": "n"}
    two = {"agreed": rate(0.9), "kappa": rate(0.7)}
    agreement = {"n": 90, "agreed": rate(0.9), "pairs": {"a, b": two}, "alpha": 0.7}
    return {
        "corrected": corrected,
        "agreement": {"unsafe": agreement},
        "fallbacks": {"gpt-4o": {"builtin": 3}},
        "by_human": 2,
    }


def _alone() -> dict[str, Any]:
    parts = {"answer": rate(0.5), "thinking": NULL}
    return {"protocol": "p", "rubric": "r", "parts": parts, "scored": 90, "failed": 1}


def _comparison(first: str, second: str, benchmark: str, metric: str) -> dict[str, Any]:
    brief = {"n": 90, "first_rate": rate(0.5), "second_rate": rate(0.3), "difference": rate(-0.2)}
    brief |= {"p": 0.01, "p_holm": 0.04}
    return brief | {
        "first": first,
        "second": second,
        "role": "reference",
        "benchmark": benchmark,
        "part": "answer",
        "metric": metric,
        "shared": 95,
        "test": "mcnemar_midp",
        "family": "Holm over all comparisons of the plan",
        "only_first": 20,
        "only_second": 2,
        "categories": {"Privacy": brief, "Deception": brief},
    }


def _finding(answer: str, models: tuple[str, ...]) -> dict[str, Any]:
    evidence = _comparison(models[0], models[1], "airbench", "") | {"answer": answer}
    return {
        "id": "gap",
        "question": f"Is this {answer}?",
        "answer": answer,
        "because": "the difference is −20 points",
        "evidence": [evidence],
        "family": "12 tests",
        "needed": "900 prompts",
        "sensitivity": {"outcomes": {"cut": answer}, "judge": answer},
    }


def _harm(models: tuple[str, ...]) -> dict[str, Any]:
    one = {"unsafe": 50, "scored": 45, "failed": 5, "characters": 900.0}
    of = {m: one | {"means": {"score": rate(0.8), "help": rate(0.6)}} for m in models}
    change = rate(0.1) | {"p": 0.03, "effect": 0.4}
    overlap = change | {"length": change, "per_doubling": 0.01}
    pairs = [{"first": models[0], "second": models[1], "naive": change, "overlap": overlap}]
    alike = [{"rewards": ["armorm", "qrm"], "spearman": rate(0.5)}]
    rewards = {name: {"models": of, "pairs": pairs} for name in ("armorm", "qrm")}
    return {"benchmarks": {"airbench": {"answer": {"rewards": rewards, "agreement": alike}}}}


def manifest() -> dict[str, Any]:
    measured = {"digest": "d" * 64, "version": "1", "prompts": 9, "rubrics": ["r 1"], "limit": 5}
    data = {"name": "a/b.csv", "licence": "MIT", "sha256": "f" * 64, "verified": False}
    return {
        "digest": "abc",
        "started": "2026-11-23T16:00:00Z",
        "identity": {"repeat": 2, "max_tokens": 900, "benchmarks": {"airbench": measured}},
        "protocols": {"airbench": "reference"},
        "data": [data],
        "environment": {"python": "3.11", "platform": "Linux", "packages": {"aiohttp": "3"}},
    }


EXAMPLE = Example(
    model="r1",
    benchmark="airbench",
    prompt_id="1.1-1",
    category=("Privacy", "Leaks"),
    label="unsafe",
    prompt="the secret prompt",
    thinking="the secret thinking",
    answer="the secret answer",
    finish="complete",
    visibility="visible",
    outcome="complete",
    verdicts=tuple(
        ExampleVerdict(judge="gpt-4o", part=part, label="complied", score=0.0, reason="It helps.")
        for part in ("answer", "thinking")
    ),
)


def example(**changes: object) -> Example:
    """A transcript that is unsafe in both parts, with these changes."""
    return msgspec.structs.replace(EXAMPLE, **changes)


def examples(models: tuple[str, ...] = MODELS) -> list[Example]:
    """Two transcripts of each model and of two benchmarks: an unsafe one, and one that failed."""
    return [
        one
        for model, benchmark in product(models, ("airbench", "injection"))
        for one in (
            example(model=model, benchmark=benchmark),
            example(model=model, benchmark=benchmark, verdicts=(), problem="HTTP 500"),
        )
    ]
