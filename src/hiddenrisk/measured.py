"""What decides the numbers of a run beside the model, in words: two runs compare where these agree.

Versions, prompts and rubrics are those that run.json tells, not those of today. Where a judge
is reached and what it is called do not count: the same model at another address is the same.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from hiddenrisk.assess import Judge
from hiddenrisk.benchmarks.base import Loaded
from hiddenrisk.insights import BUILTIN
from hiddenrisk.opening import Opened
from hiddenrisk.panels import Manifest

FACTS = ("benchmark", "judges", "rubrics", "protocol", "sampling", "victim")
"""What must be the same in both runs, and what `--allow` takes."""
_ELSEWHERE = ("endpoint", "label", "recognised")
"""Of a judge's identity, where it is reached and what it is called; not what it is."""
_RUBRIC = ("rubric", "rubric_file", "rubric_sha256")


def facts_of(opened: Opened, manifest: Manifest, benchmark: Loaded) -> dict[str, str]:
    """What decides the numbers of a benchmark of a run, but for the model: {fact: words}.

    Args:
        opened: the run's plan, with the judges of its headline.
        manifest: its run.json: versions, digests and rubrics are those of its time.
        benchmark: one of its benchmarks.
    """
    then = manifest.identity.benchmarks[benchmark.name]
    judging = manifest.judging
    rubrics = judging.rubrics.get(benchmark.name, then.rubrics) if judging else then.rubrics
    facts = {
        "benchmark": f"version {then.version}, prompts {then.digest[:12]}",
        "judges": _judges(opened, benchmark),
        "rubrics": _rubrics(opened.judges_of(benchmark), rubrics, _rules(manifest)),
        "protocol": opened.protocols(benchmark)[0].name,
        "sampling": _sampling(manifest),
    }
    if benchmark.dialogue and opened.victim:
        facts["victim"] = _identity(opened.victim.model.label, opened.victim.model.identity)
    return facts


def _judges(opened: Opened, benchmark: Loaded) -> str:
    judges = opened.judges_of(benchmark)
    told = ", ".join(_judge(judge) for judge in judges)
    if len(judges) > 1:
        told = f"{told} ({opened.plan.jury})"
    if cascade := opened.cascade_of(benchmark):
        cheap = [_judge(j) for j in opened.cheap if j.label in cascade.labels]
        told = f"{', '.join(cheap)} first (audit {opened.plan.audit}), then {told}"
    if opened.fallbacks:
        told += f", else {', '.join(_judge(judge) for judge in opened.fallbacks)}"
    return told


def _judge(judge: Judge) -> str:
    if judge.endpoint is None:
        return BUILTIN
    return _identity(judge.label, judge.endpoint.model.identity)


def _identity(label: str, identity: Mapping[str, Any]) -> str:
    """`gpt-4o (form="strongreject")`: what a model is, wherever it is reached."""
    dropped = (*_ELSEWHERE, *_RUBRIC, "model")
    options = {k: v for k, v in sorted(identity.items()) if k not in dropped and v is not None}
    told = ", ".join(f"{k}={msgspec.json.encode(v).decode()}" for k, v in options.items())
    name = str(identity.get("model", label))
    return f"{name} ({told})" if told else name


def _rules(manifest: Manifest) -> str:
    """Which of the built-in rules gave their verdicts."""
    judging = manifest.judging
    known = judging.identity if judging else manifest.identity.judges | manifest.deputies
    return f"refusal rules {known.get(BUILTIN, {}).get(BUILTIN, 'of an unknown version')}"


def _rubrics(judges: Sequence[Judge], then: Sequence[str], rules: str) -> str:
    """By what the judges read: their own rubrics, or else the benchmark's of that time."""
    found: dict[str, None] = {}
    for judge in judges:
        identity = judge.endpoint.model.identity if judge.endpoint else {}
        own = " ".join(str(identity[name]) for name in _RUBRIC if name in identity)
        found[(own or ", ".join(then)) if judge.endpoint else rules] = None
    return "; ".join(found)


def _sampling(manifest: Manifest) -> str:
    if manifest.imported is not None:
        return "as recorded elsewhere"
    temperature, tokens = (manifest.plan.get(name) for name in ("temperature", "max_tokens"))
    warm = "the provider's temperature" if temperature is None else f"temperature {temperature:g}"
    return f"{warm}, {'no' if tokens is None else tokens} token limit"
