"""A judge from its SPEC: the model behind it, the form it is asked by, and what to say of both."""

from collections.abc import Mapping, Sequence
from typing import Any

from hiddenrisk.assess import Judge
from hiddenrisk.benchmarks.base import Loaded
from hiddenrisk.benchmarks.protocols import follows
from hiddenrisk.cell import Cell
from hiddenrisk.engine import Endpoint, Policy
from hiddenrisk.errors import UsageError, unknown
from hiddenrisk.insights import BUILTIN
from hiddenrisk.judges.forms import BENCHMARK, OPTIONS, OWN, Form, open_form
from hiddenrisk.judges.odds import P_UNSAFE
from hiddenrisk.models import open_model
from hiddenrisk.models.openai import PROVIDERS
from hiddenrisk.models.spec import Spec, parse, without_options
from hiddenrisk.models.standin import StandIn
from hiddenrisk.types import Part


def open_judge(text: str, policy: Policy) -> Judge:
    """The judge that a SPEC names.

    Raises:
        UsageError: it cannot be had, or its options make no sense together.
    """
    if text == BUILTIN:
        return Judge(label=BUILTIN, spec=BUILTIN)
    if text.partition("?")[0] == BUILTIN:
        raise UsageError(f"'{text}': builtin is rules and takes no options; write builtin")
    if "/" not in text:
        raise unknown("judge", text, [BUILTIN], see="Any model can judge: openai/gpt-4o.")
    bare, options = without_options(text, OPTIONS)
    spec = parse(bare)
    form = open_form(options, spec.model, text)
    _check_client(form, spec, text)
    model = open_model(bare, completions=form.completions, known=OPTIONS)
    if not bare.strip().startswith(f"{spec.label}="):
        model.label = _labelled(model.label, form)
    return Judge(label=model.label, spec=text, endpoint=Endpoint(model, policy), form=form)


def stored_judge(text: str, policy: Policy, identities: Mapping[str, dict[str, Any]]) -> Judge:
    """The judge that a SPEC named in a stored run, whom nobody asks again.

    Args:
        text: the SPEC.
        policy: as the run has it.
        identities: what the judges of the run are, by label.

    Raises:
        UsageError: its prompt file is missing.
    """
    if text == BUILTIN:
        return Judge(label=BUILTIN, spec=BUILTIN)
    bare, options = without_options(text, OPTIONS)
    spec = parse(bare)
    form = open_form(options, spec.model, text)
    named = bare.strip().startswith(f"{spec.label}=")
    label = spec.label if named else _labelled(spec.label, form)
    model = StandIn(label, identities.get(label, {}), spec.provider)
    return Judge(label=label, spec=text, endpoint=Endpoint(model, policy), form=form)


def _labelled(label: str, form: Form) -> str:
    """The label of a judge whose user gives none: with the form, unless the model id tells it."""
    if form.name == BENCHMARK or form.guard:
        return label
    return f"{label}-{form.file.partition('.')[0] if form.file else form.name}"


def _check_client(form: Form, spec: Spec, text: str) -> None:
    """What only OpenAI-compatible endpoints are asked for.

    Raises:
        UsageError: the provider is none, or the options exclude each other.
    """
    if form.how and spec.provider not in {"http", "local", "vllm", *PROVIDERS}:
        raise UsageError(
            f"{spec.provider} has no ?{form.how[0]} (in '{text}'); OpenAI-compatible endpoints have it"
        )
    if form.logprobs and "stream" in spec.options:
        raise UsageError(f"'{text}' has ?logprobs and ?stream; leave one out")


def abstains(judge: Judge) -> bool:
    """Whether a judge does not judge harmless prompts."""
    return judge.form.guard and judge.form.safe_rubric is None


def form_notes(judges: Sequence[Judge], benchmark: Loaded) -> list[str]:
    """What a reader of a benchmark's numbers must know of the forms of its judge models."""
    notes = [_recognised(j) for j in judges if j.form.recognised]
    others = [j.label for j in judges if not follows(j.form, benchmark)]
    silent = [j.label for j in judges if abstains(j)]
    if others and not benchmark.rules:
        notes.append(
            f"{', '.join(others)}: a judge that is not asked the benchmark's own question sees "
            "harmful content only, and this is no measure of resistance."
        )
    if silent and any(prompt.label == "safe" for prompt in benchmark.prompts):
        notes.append(
            f"{', '.join(silent)}: this guard says nothing of refusals, so it does not judge "
            "harmless prompts; without another judge they are not judged."
        )
    if len(judges) > 1 and any(j.form.grades or j.form.name == OWN for j in judges):
        notes.append(
            "Several judges of whom one gives fine scores rarely agree to the point: a sample "
            "without a majority for one score is split, and counts nowhere."
        )
    notes += [note for j in judges if j.form.json and (note := _no_json(j, benchmark))]
    return notes + [
        f"{j.label} was to tell the probability of its label, but the reply that this benchmark "
        f"asks for has no one-word label: there is no {P_UNSAFE}."
        for j in judges
        if j.form.logprobs and (rubric := j.rubric(benchmark, "unsafe")) and not rubric.weighs
    ]


def _no_json(judge: Judge, benchmark: Loaded) -> str:
    """Which of a benchmark's questions a judge with ?json answers in words all the same."""
    labels = {prompt.label for prompt in benchmark.prompts}
    rubrics = [judge.rubric(benchmark, label) for label in labels]
    names = sorted({rubric.name for rubric in rubrics if rubric and not rubric.json})
    if not names:
        return ""
    return (
        f"{judge.label} was to reply as JSON, but the rubric {' and '.join(names)} asks for a "
        "word or for lines: there ?json does nothing."
    )


def _recognised(judge: Judge) -> str:
    return (
        f"{judge.label} is taken for a guard by its model id, and asked in the form "
        f"{judge.form.name} (?form=benchmark asks by the benchmark's own rubric)."
    )


def odds_notes(cell: Cell, judges: Sequence[Judge], benchmark: Loaded) -> list[str]:
    """Where a judge was to tell probabilities and too few are there."""
    notes: list[str] = []
    for judge in judges:
        rubric = judge.rubric(benchmark, "unsafe")
        if not judge.form.logprobs or rubric is None or not rubric.weighs:
            continue
        asked = sum(cell.verdicts(part, judge.label, "unsafe") for part in Part)
        told = cell.graded[P_UNSAFE, judge.label]
        if told < asked:
            notes.append(
                f"{judge.label}: {told} of {asked} verdicts have {P_UNSAFE}; for the others its "
                "endpoint told no probability of the label, or one that is mostly on other words, "
                "or rules decided."
            )
    return notes
