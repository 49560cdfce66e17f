"""Recorded texts as a run: what judges are measured on is answered from memory.

A calibration is a run like any other, so that it is kept, resumed and counted as one; only
the model is none: it gives back the text that stands beside the prompt.
"""

from collections.abc import Iterable, Mapping, Sequence
from functools import reduce
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
from msgspec.structs import replace

from hiddenrisk.assess import Judge
from hiddenrisk.benchmarks.base import Loaded, Protocol
from hiddenrisk.calibration import Heard, judge_digest
from hiddenrisk.cell import SPLIT
from hiddenrisk.engine import Policy
from hiddenrisk.insights import BUILTIN
from hiddenrisk.judges import refusal
from hiddenrisk.judges.forms import OWN
from hiddenrisk.judges.rubric import Rubric
from hiddenrisk.judging import open_judge
from hiddenrisk.jury import Rule, decided
from hiddenrisk.label_sets.base import Labelled, positive
from hiddenrisk.opening import Opened, distinct, tell_twins_apart
from hiddenrisk.plan import Plan, Settings, selected
from hiddenrisk.recall import limit_for
from hiddenrisk.sources import Data
from hiddenrisk.store import FAILURES, VERDICTS, records
from hiddenrisk.types import (
    Call,
    Finish,
    Label,
    Message,
    Prompt,
    Reason,
    Reply,
    Usage,
    Visibility,
    both,
)

LABEL = "recorded"
"""What the texts' author is called in the records."""
_PROTOCOL = Protocol(name="calibration", about="Verdicts on texts whose labels are known.")


class Texts(NamedTuple):
    """Texts to judge: a benchmark that asks nothing."""

    name: str
    title: str
    digest: str
    rubric: Rubric
    items: Sequence[Labelled]
    data: tuple[Data, ...] = ()
    meta: Mapping[str, str] = {}
    """What rubrics ask for beside the prompt."""
    label: Label = "unsafe"
    """As what prompts they are judged: of harmless ones ("safe") judges are asked for refusals."""


class Recorded:
    """A model that gives back what is recorded; see `types.Model`."""

    label = LABEL
    provider = LABEL
    local = True
    prefilled = False

    def __init__(self, texts: Sequence[Texts], beside: Sequence[str] = ()) -> None:
        self.identity: dict[str, Any] = {LABEL: {t.name: t.digest for t in texts}}
        if beside:  # what is measured decides whose folder it is, asked or not
            self.identity["judges"] = sorted(beside)
        self._responses = {_place(t.name, i.id): i.response for t in texts for i in t.items}

    async def generate(self, call: Call) -> Reply:
        """The text that stands beside the prompt."""
        return Reply(
            thinking=None,
            answer=self._responses[call.prompt],
            finish=Finish.COMPLETE,
            visibility=Visibility.NONE,
            style="none",
        )

    async def start(self) -> None:
        """Nothing to start."""

    async def close(self) -> None:
        """Nothing to close."""


def _place(name: str, item: str) -> str:
    return f"{name}:{item}"


def open_texts(
    texts: Sequence[Texts],
    judges: Sequence[str],
    settings: Settings,
    limit: int | None,
    command: str,
    beside: Sequence[str] = (),
) -> Opened:
    """Resolve the judges; nothing is sent yet.

    Args:
        texts: what is judged.
        judges: SPECs; there may be none.
        settings: how to carry it out.
        limit: texts of each set at most.
        command: what was typed.
        beside: judges of the past, whose verdicts come with the texts.

    Raises:
        UsageError: a judge is unknown, or two things have one name.
    """
    policy = Policy(
        limit=settings.concurrency or limit_for(judges),
        tries=settings.tries,
        timeout_s=settings.timeout_s,
        hang_after_s=settings.hang_after_s,
    )
    found = tuple(_whole(open_judge(text, policy)) for text in judges)
    distinct("judge", [j.label for j in found])
    distinct("set", [t.name for t in texts])
    tell_twins_apart([j.endpoint.model for j in found if j.endpoint])
    return Opened(
        plan=Plan(
            models=(LABEL,),
            judges=tuple(judges),
            benchmarks=tuple(t.name for t in texts),
            limit=limit,
            parts="answer",
            insights="none",
        ),
        settings=settings,
        models=(Recorded(texts, beside),),
        judges=found,
        benchmarks=tuple(_loaded(t) for t in texts),
        policy=policy,
        command=command,
    )


def _whole(judge: Judge) -> Judge:
    """A judge with a rubric of the user's own, which is measured on whatever it is named for."""
    if judge.form.name != OWN:
        return judge
    return replace(judge, form=replace(judge.form, safe_rubric=judge.form.rubric))


def _loaded(texts: Texts) -> Loaded:
    prompts = [
        Prompt(
            id=_place(texts.name, item.id),
            messages=(Message("user", item.prompt),),
            benchmark=texts.name,
            label=texts.label,
            meta={**texts.meta, **item.meta},
        )
        for item in texts.items
    ]
    return Loaded(
        name=texts.name,
        title=texts.title,
        version="1",
        paper="",
        prompts=prompts,
        digest=texts.digest,
        rubric=texts.rubric,
        safe_rubric=texts.rubric,
        protocol=_PROTOCOL,
        data=texts.data,
    )


def chosen(texts: Texts, loaded: Loaded, plan: Plan) -> list[Labelled]:
    """The items that a plan's limit leaves."""
    by_place = {_place(texts.name, item.id): item for item in texts.items}
    return [by_place[prompt.id] for prompt, _ in selected(loaded, plan)]


def rubric_of(judge: Judge, loaded: Loaded, label: Label = "unsafe") -> str:
    """By what a judge reads a benchmark's texts on prompts of a label: name and version."""
    if judge.endpoint is None:
        return f"{BUILTIN} {refusal.VERSION}"
    rubric = judge.rubric(loaded, label) or loaded.rubric
    return f"{rubric.name} {rubric.version}"


def digest_of(judge: Judge, loaded: Loaded, label: Label = "unsafe") -> str:
    """The digest under which a judge's calibration is found again."""
    if judge.endpoint is None:
        return judge_digest({BUILTIN: refusal.VERSION}, rubric_of(judge, loaded, label))
    # How the form came to be chosen decides no verdict; all else of it does.
    form = {k: v for k, v in judge.form.named.items() if k != "recognised"}
    # Nor does the label that tells two samples of one model apart; see `tell_twins_apart`.
    identity = {k: v for k, v in judge.endpoint.model.identity.items() if k != "label"}
    return judge_digest(
        identity | ({"form": form} if form else {}), rubric_of(judge, loaded, label)
    )


def digest_together(
    judges: Sequence[Judge], loaded: Loaded, rule: Rule, label: Label = "unsafe"
) -> str:
    """The same of judges who decide together, in whatever order; of one alone, its own."""
    members = sorted(digest_of(judge, loaded, label) for judge in judges)
    return members[0] if len(members) == 1 else judge_digest({"jury": rule, "of": members}, rule)


# ---------------------------------------------------------------- what the judges said


class _Verdict(msgspec.Struct):
    judge: str
    benchmark: str
    prompt: str
    label: str
    score: float
    usage: Usage = Usage()
    calls: int = 0
    latency_s: float = 0.0


class _Failure(msgspec.Struct):
    stage: str
    reason: Reason
    benchmark: str
    prompt: str
    judge: str | None = None
    usage: Usage = Usage()
    calls: int = 0


class Said(NamedTuple):
    """The verdicts and failures of a folder, by judge and place."""

    verdicts: Mapping[tuple[str, str], _Verdict]
    failures: Mapping[tuple[str, str], _Failure]


def read_said(folder: Path) -> Said:
    """What all judges said; of several failures on one text the last one."""
    verdicts = {(v.judge, v.prompt): v for v in records(folder / VERDICTS, _Verdict)}
    failures = {
        (f.judge, f.prompt): f
        for f in records(folder / FAILURES, _Failure)
        if f.stage == "judge" and f.judge
    }
    return Said(verdicts, failures)


def heard_of(said: Said, judge: str, name: str, items: Iterable[Labelled]) -> list[Heard]:
    """What one judge said of each item of a set."""
    return [_heard(said, judge, name, item) for item in items]


def _heard(said: Said, judge: str, name: str, item: Labelled) -> Heard:
    place = (judge, _place(name, item.id))
    if verdict := said.verdicts.get(place):
        return Heard(
            item,
            positive(verdict.score),
            label=verdict.label,
            usage=verdict.usage,
            calls=verdict.calls,
            latency_s=verdict.latency_s,
        )
    if failure := said.failures.get(place):
        return Heard(
            item,
            None,
            failure=failure.reason.value,
            usage=failure.usage,
            calls=failure.calls,
        )
    return Heard(item, None)


def heard_together(
    said: Said, judges: Sequence[str], rule: Rule, texts: Texts, items: Iterable[Labelled]
) -> list[Heard]:
    """What judges who decide together make of each item; they fail where they settle on nothing."""
    return [_together(said, judges, rule, texts, item) for item in items]


def _together(said: Said, judges: Sequence[str], rule: Rule, texts: Texts, item: Labelled) -> Heard:
    places = [(judge, _place(texts.name, item.id)) for judge in judges]
    verdicts = [said.verdicts.get(place) for place in places]
    failures = [said.failures.get(p) for p, v in zip(places, verdicts, strict=True) if v is None]
    score = decided(
        [verdict.score if verdict else None for verdict in verdicts],
        rule,
        harmful=texts.label == "unsafe",
    )
    records = [record for record in (*verdicts, *failures) if record]
    usage, calls = reduce(both, (r.usage for r in records), Usage()), sum(r.calls for r in records)
    if score is not None:
        label = next(v.label for v in verdicts if v and v.score == score)
        return Heard(item, positive(score), label=label, usage=usage, calls=calls)
    if None in failures:
        return Heard(item, None)  # somebody has not read it yet
    reason = next((failure.reason.value for failure in failures if failure), SPLIT)
    return Heard(item, None, failure=reason, usage=usage, calls=calls)
