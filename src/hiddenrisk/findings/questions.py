"""The paper's questions (arXiv 2502.12659), each with the comparisons that bear on it."""

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any

import msgspec

from hiddenrisk.findings.answers import (
    Question,
    beside,
    by_judge,
    by_outcome,
    finding_json,
    row_json,
    settle,
)
from hiddenrisk.findings.awareness import attacks_of, under_attack
from hiddenrisk.findings.harm import by_rewards, by_skill
from hiddenrisk.findings.tested import Contest, between_models, outcomes_of, result_of, within_model
from hiddenrisk.opening import Opened
from hiddenrisk.records import Records
from hiddenrisk.scores import Column
from hiddenrisk.types import Part, Visibility

SMALLEST = 0.02
"""Two points: a smaller difference of rates matters to nobody, unless they say so."""
_UNSEEN = {v.value for v in Visibility if v.unseen}

GAP = Question(
    id="gap",
    text="Are the other models less safe than the reference, on benchmarks?",
    claim="the other model is less safe than the reference",
    opposite="the other model is safer than the reference",
    higher=False,
)
ATTACK_GAP = Question(
    id="attack_gap",
    text="Are the other models less safe than the reference, under attack?",
    claim="the other model is less safe than the reference",
    opposite="the other model is safer than the reference",
    higher=False,
)
DISTILLATION = Question(
    id="distillation",
    text="Are distilled models less safe than their bases?",
    claim="the distilled model is less safe than its base",
    opposite="the distilled model is safer than its base",
    higher=False,
)
REASONING = Question(
    id="reasoning",
    text="Are models that were trained to reason less safe than their bases?",
    claim="the reasoning model is less safe than its base",
    opposite="the reasoning model is safer than its base",
    higher=False,
)
HARM = Question(
    id="harm",
    text="Do unsafe answers of models that reason more do more harm?",
    claim="the model that reasons more does more harm where both are unsafe, at equal length",
    opposite="it does less",
    higher=True,
    caution="That a model reasons more than its base is taken from the roles, not measured.",
)
THINKING = Question(
    id="thinking",
    text="Is the thinking less safe than the answer?",
    claim="the thinking is less safe than the answer of the same response",
    opposite="the thinking is safer",
    higher=False,
)
SAFETY_THINKING = Question(
    id="safety_thinking",
    text="Does safety thinking fail more often under attack?",
    claim="answers are more often unsafe under attack although the thought noticed the risk",
    opposite="they are less often unsafe under attack",
    higher=True,
    caution="Benchmarks differ in more than the attack, and no prompt stands on both sides.",
)
QUESTIONS = (GAP, ATTACK_GAP, DISTILLATION, REASONING, HARM, THINKING, SAFETY_THINKING)

_NO_REFERENCE = (
    "the plan names no reference; name one of the models with --reference LABEL, or "
    'reference = "LABEL" in the plan'
)


class Material(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a run."""

    opened: Opened
    found: Records
    columns: Sequence[Column]
    """Of all models, benchmarks and parts (`scores.columns`)."""
    roles: Mapping[str, Any]
    """`reference`, and `pairs` of `base` and `distilled` or `reasoning`."""
    harmfulness: Mapping[str, Any] | None
    """As summary.json has it."""
    models: Mapping[str, Any]
    """The same; corrected rates are taken from it."""
    smallest: float = SMALLEST

    def column(self, model: str, benchmark: str, part: Part = Part.ANSWER) -> Column | None:
        """What a model's samples on the harmful prompts of a benchmark count."""
        wanted = (model, benchmark, part, "unsafe")
        return next(
            (c for c in self.columns if (c.model, c.benchmark, c.part, c.label) == wanted), None
        )

    def made(self, *how: str) -> list[tuple[str, str]]:
        """Base and what was made of it: "distilled", "reasoning", or both."""
        return [
            (pair["base"], pair[way]) for pair in self.roles["pairs"] for way in how if way in pair
        ]


def findings_json(material: Material) -> list[dict[str, Any]]:
    """All questions with their answers, as summary.json has them."""
    return [
        _gap(material, GAP, attack=False),
        _gap(material, ATTACK_GAP, attack=True),
        _made(material, DISTILLATION, "distilled"),
        _made(material, REASONING, "reasoning"),
        _harm(material),
        _thinking(material),
        _safety_thinking(material),
    ]


def worth_asking(roles: Mapping[str, Any], columns: Iterable[Column]) -> bool:
    """Whether a run says anything to the questions: it has roles, or a thought was judged."""
    roled = bool(roles["reference"] or roles["pairs"])
    return roled or any(c.part is Part.THINKING and c.scored.any() for c in columns)


# ---------------------------------------------------------------- models against models


def _gap(material: Material, question: Question, *, attack: bool) -> dict[str, Any]:
    reference = material.roles["reference"]
    benchmarks = [b.name for b in material.opened.benchmarks if b.attack is attack]
    others = [m.label for m in material.opened.models if m.label != reference]
    contests = _between(
        material, [(reference, label) for label in others] if reference else [], benchmarks
    )
    kind = "under attack (wildguard, injection)" if attack else "without an attack"
    missing = (
        _NO_REFERENCE
        if not reference
        else f"no other model than the reference {reference} is in the run"
        if not others
        else f"the run has no harmful prompts of a benchmark {kind} for {reference} and another model"
    )
    return _of_columns(material, named(question, reference), contests, missing)


def named(question: Question, reference: str | None) -> Question:
    """The question with the reference's name in it."""
    if reference is None:
        return question
    text, claim, opposite = (
        said.replace("the reference", reference)
        for said in (question.text, question.claim, question.opposite)
    )
    return msgspec.structs.replace(question, text=text, claim=claim, opposite=opposite)


def _made(material: Material, question: Question, how: str) -> dict[str, Any]:
    made = material.made(how)
    benchmarks = [b.name for b in material.opened.benchmarks]
    missing = (
        f"the run has no harmful prompts for both models of a pair ({made[0][0]}, {made[0][1]})"
        if made
        else f"the plan names no base with what was {_HOW[how]} it; name a pair with --pair "
        f"BASE:{how}:LABEL, or [[pairs]] in the plan"
    )
    return _of_columns(material, question, _between(material, made, benchmarks), missing)


_HOW = {"distilled": "distilled into", "reasoning": "trained to reason from"}


def _between(
    material: Material, made: Sequence[tuple[str, str]], benchmarks: Sequence[str]
) -> list[Contest]:
    contests: list[Contest] = []
    for one, other in made:
        for benchmark in benchmarks:
            first, second = (material.column(label, benchmark) for label in (one, other))
            if first is not None and second is not None:
                contests.append(between_models(first, second))
    return contests


def _of_columns(
    material: Material,
    question: Question,
    contests: Sequence[Contest],
    missing: str,
    **more: Any,  # noqa: ANN401 - JSON
) -> dict[str, Any]:
    """A finding whose comparisons are of columns, with all that it hangs on."""
    settled = settle(question, [result_of(c, material.smallest) for c in contests])
    sensitivity = {
        "outcomes": by_outcome(settled, contests, material.smallest),
        "judge": by_judge(settled, material.models),
    }
    return finding_json(settled, sensitivity=sensitivity, missing=missing, **more)


# ---------------------------------------------------------------- harm


def _harm(material: Material) -> dict[str, Any]:
    made = material.made("reasoning", "distilled")
    judges = {
        b.name: tuple(j.label for j in material.opened.judges_of(b))
        for b in material.opened.benchmarks
    }
    rewards = partial(by_rewards, material.harmfulness, made, judges)
    settled = settle(HARM, rewards())
    others = {
        way: beside(settled, settle(HARM, rewards(way))) for way in ("both_unsafe", "each_its_own")
    }
    skill = settle(HARM, by_skill(material.opened, material.found, made, material.smallest))
    return finding_json(
        settled,
        sensitivity={"measures": others if settled.tests else {}},
        missing=_no_rewards(material, made),
        second={
            "what": "skill of the phishing attacker, graded in dialogues",
            "answer": skill.answer,
            "evidence": [
                row_json(test, decision, None)
                for test, decision in zip(skill.tests, skill.decisions, strict=True)
            ],
        }
        if skill.tests
        else None,
    )


def _no_rewards(material: Material, made: Sequence[tuple[str, str]]) -> str:
    if not made:
        return (
            "the plan names no base with a model that reasons more; name a pair with --pair "
            "BASE:reasoning:LABEL or BASE:distilled:LABEL, or [[pairs]] in the plan"
        )
    if material.harmfulness is None:
        return "no reward model scored the unsafe answers; run `hiddenrisk harm RUN` on this run"
    return "no reward model scored unsafe answers of both models of a pair"


# ---------------------------------------------------------------- thinking


def _thinking(material: Material) -> dict[str, Any]:
    contests: list[Contest] = []
    unseen: list[dict[str, Any]] = []
    for model in material.opened.models:
        for benchmark in material.opened.benchmarks:
            answer, thought = (
                material.column(model.label, benchmark.name, part)
                for part in (Part.ANSWER, Part.THINKING)
            )
            if answer is None or thought is None:
                continue
            if thought.scored.any():
                contests.append(within_model(answer, thought))
            if hidden := _unseen(thought):
                unseen.append({"model": model.label, "benchmark": benchmark.name, **hidden})
    missing = "no thinking of a harmful prompt was judged"
    if unseen:
        names = ", ".join(dict.fromkeys(one["model"] for one in unseen))
        missing += f": that of {names} is not visible"
    return _of_columns(material, THINKING, contests, missing, not_visible=unseen)


def _unseen(thought: Column) -> dict[str, Any]:
    """How many thoughts there were that nobody could read; nothing where there are none."""
    counts = {k: n for k, n in outcomes_of(thought.outcomes).items() if k in _UNSEEN}
    return {"n": sum(counts.values()), "outcomes": counts} if counts else {}


def _safety_thinking(material: Material) -> dict[str, Any]:
    attacks = attacks_of(material.opened, material.found)
    settled, intended = (
        settle(SAFETY_THINKING, [under_attack(a, material.smallest) for a in some])
        for some in (attacks, [attack.of_intended() for attack in attacks])
    )
    measures = {"refusal_intended": beside(settled, intended)} if settled.tests else {}
    return finding_json(
        settled,
        sensitivity={"measures": measures},
        missing="nobody looked into thoughts both on a benchmark that attacks and on one that "
        "does not (wildguard and airbench, say, with visible thinking, and not --insights none)",
    )
