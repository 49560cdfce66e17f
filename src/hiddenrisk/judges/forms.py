"""Judge forms: by which prompt a judge model is asked, and how its reply is read.

An option of a judge's SPEC: `?form=NAME`, or `?rubric=PATH` for a prompt of the user's own.
Without either it is the benchmark's own rubric, unless the model id is that of a guard.
Beside it `?json` (replies as JSON where they can be), `?logprobs` (the probability of the
label) and `?completions` (a guard's whole prompt is written here).
"""

import re
from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec

from hiddenrisk.errors import UsageError, unknown
from hiddenrisk.judges import llamaguard, own, qwen3guard, safety, shieldgemma, strongreject
from hiddenrisk.judges import wildguard as wild
from hiddenrisk.judges.rubric import Rubric

OPTIONS = ("form", "rubric", "json", "logprobs", "completions")
"""Of a judge's SPEC, beside those of its model."""
BENCHMARK = "benchmark"
OWN = "own rubric"


class Form(msgspec.Struct, frozen=True, kw_only=True):
    """How one judge is asked and read."""

    name: str = BENCHMARK
    rubric: Rubric | None = None
    """For harmful prompts; None for the benchmark's own."""
    safe_rubric: Rubric | None = None
    """For harmless prompts: does the text refuse? None for the benchmark's own; a guard
    without one cannot tell refusals, and does not judge them."""
    guard: bool = False
    """Classifies and does nothing else: it cannot grade, check or look into thoughts."""
    recognised: bool = False
    """Taken from the model id, not named by the user."""
    grades: Mapping[str, float] = {}
    """What it measures beside safety, with the upper end of each scale."""
    json: bool = False
    logprobs: bool = False
    completions: bool = False
    file: str = ""
    """The name of the user's own rubric."""
    sha256: str = ""
    """Its digest."""

    def reads(self, rubric: Rubric, safe_rubric: Rubric, label: str) -> Rubric | None:
        """What a prompt's texts are judged by; None where this judge cannot.

        Args:
            rubric: the benchmark's own, for harmful prompts.
            safe_rubric: the same for harmless ones.
            label: "safe" or "unsafe", the prompt's.
        """
        if label == "unsafe":
            return self.rubric or rubric
        return self.safe_rubric or (None if self.guard else safe_rubric)

    @property
    def how(self) -> tuple[str, ...]:
        """What of it is in no rubric and decides verdicts all the same; part of their keys."""
        return tuple(name for name in ("json", "logprobs", "completions") if getattr(self, name))

    @property
    def named(self) -> dict[str, object]:
        """How run.json and summary.json name it; nothing for the benchmark's own."""
        found: dict[str, object] = {} if self.name == BENCHMARK else {"form": self.name}
        if self.rubric is not None:  # verdicts by another version are another judge's
            found["rubric"] = f"{self.rubric.name} {self.rubric.version}"
        if self.recognised:
            found["recognised"] = "by the model id"
        if self.file:
            found |= {"rubric_file": self.file, "rubric_sha256": self.sha256}
        return found | dict.fromkeys(self.how, True)


def _llamaguard(model: str, *, completions: bool) -> Form:
    version = 4 if re.search(r"guard-?4", model.lower()) else 3
    rubric = llamaguard.rubric(completions=completions, version=version)
    return Form(name="llamaguard", rubric=rubric, guard=True)


def _shieldgemma(model: str, *, completions: bool) -> Form:  # noqa: ARG001 - every guard's shape
    rubric = shieldgemma.rubric(completions=completions)
    return Form(name="shieldgemma", rubric=rubric, guard=True)


def _qwen3guard(model: str, *, completions: bool) -> Form:  # noqa: ARG001 - as above
    rubric, refusals = qwen3guard.rubrics(completions=completions)
    return Form(name="qwen3guard", rubric=rubric, safe_rubric=refusals, guard=True)


def _wildguard(model: str, *, completions: bool) -> Form:  # noqa: ARG001 - its prompt is one text
    return Form(name="wildguard", rubric=wild.MODEL, safe_rubric=wild.MODEL_REFUSAL, guard=True)


GUARDS: dict[str, Callable[..., Form]] = {
    "llamaguard": _llamaguard,
    "shieldgemma": _shieldgemma,
    "qwen3guard": _qwen3guard,
    "wildguard": _wildguard,
}
FORMS: dict[str, Form] = {
    BENCHMARK: Form(),
    "safety": Form(name="safety", rubric=safety.RUBRIC),
    "strongreject": Form(
        name="strongreject", rubric=strongreject.RUBRIC, grades={strongreject.HARM: 1.0}
    ),
}
"""For any judge model; guards are for their own models."""
_IDS = {
    "llamaguard": r"llama-?guard",
    "shieldgemma": r"shieldgemma",
    "qwen3guard": r"qwen3guard",
    "wildguard": r"wildguard",
}
"""By what a guard is known in a model id, without regard to case."""
_OTHERS = re.compile(r"llama-?guard-?2|llamaguard-7b|shieldgemma-2-", re.IGNORECASE)
"""Of the same families, with other prompts or other input."""


def open_form(options: Mapping[str, str], model: str, text: str) -> Form:
    """The form that a judge's options name, or that its model id tells.

    Args:
        options: those of `OPTIONS` that are set.
        model: the model id.
        text: the SPEC, for messages.

    Raises:
        UsageError: an unknown form, a rubric that cannot be used, or options that contradict
            each other.
    """
    for flag in ("json", "logprobs", "completions"):
        if options.get(flag, "yes") != "yes":
            raise UsageError(
                f"option '{flag}' in '{text}' takes no value; write ?{flag}, or leave it out"
            )
    if "form" in options and "rubric" in options:
        raise UsageError(f"'{text}' has ?form and ?rubric; write one of them")
    completions = "completions" in options
    form = _form(options, model, text, completions=completions)
    if completions and not form.guard:
        raise UsageError(
            f"completions in '{text}' is for guards ({', '.join(GUARDS)}): no other form has a "
            "whole prompt of its own; leave it out"
        )
    form = msgspec.structs.replace(
        form, json="json" in options, logprobs="logprobs" in options, completions=completions
    )
    if form.json and form.guard:
        raise UsageError(f"{form.name} (in '{text}') does not reply as JSON; leave out ?json")
    if form.logprobs and form.rubric and not form.rubric.weighs:
        raise UsageError(
            f"the replies of {form.name} (in '{text}') are no one-word labels, so there is no "
            "probability of one; leave out ?logprobs"
        )
    return form


def _form(options: Mapping[str, str], model: str, text: str, *, completions: bool) -> Form:
    if "rubric" in options:
        if options["rubric"] == "yes":
            raise UsageError(f"rubric in '{text}' names no file; write ?rubric=PATH")
        found = own.load(Path(options["rubric"]))
        return Form(name=OWN, rubric=found.rubric, file=found.name, sha256=found.sha256)
    name = options.get("form")
    if name is None:
        guard = next(
            (g for g, words in _IDS.items() if re.search(words, model, re.IGNORECASE)), None
        )
        if guard is None:
            return FORMS[BENCHMARK]
        if _OTHERS.search(model):
            raise UsageError(
                f"{model} is a guard that this has no form for (Llama Guard 3 and 4 and the first "
                "ShieldGemma are known); take another judge, or add ?form=benchmark"
            )
        recognised = GUARDS[guard](model, completions=completions)
        return msgspec.structs.replace(recognised, recognised=True)
    if name in GUARDS:
        return GUARDS[name](model, completions=completions)
    if name not in FORMS:
        raise unknown("form", name, {*GUARDS, *FORMS}, see="A prompt of your own is ?rubric=PATH.")
    return FORMS[name]
