"""Judges against human labels, from beginning to end: `hiddenrisk calibrate`."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from functools import partial
from itertools import combinations
from pathlib import Path
from typing import Any, NamedTuple

from hiddenrisk import __version__
from hiddenrisk.asking import now
from hiddenrisk.assess import Judge, Tally
from hiddenrisk.benchmarks.base import Loaded
from hiddenrisk.calibration import (
    CALIBRATION,
    FORMAT,
    JURY,
    Heard,
    compare,
    judge_digest,
    measure,
    text_digests,
)
from hiddenrisk.errors import StoreError, UsageError, unknown
from hiddenrisk.judging import abstains
from hiddenrisk.jury import Rule
from hiddenrisk.label_sets.base import NEGATIVE, POSITIVE, Labelled, LabelSet, Question
from hiddenrisk.label_sets.rubrics import Reading
from hiddenrisk.label_sets.trained import BUILTIN_SAW
from hiddenrisk.opening import Opened
from hiddenrisk.plan import Settings
from hiddenrisk.recorded import (
    Texts,
    chosen,
    digest_of,
    digest_together,
    heard_of,
    heard_together,
    open_texts,
    read_said,
    rubric_of,
)
from hiddenrisk.run import Ended, carry_out
from hiddenrisk.store import RESPONSES, write_json
from hiddenrisk.types import Label, Usage

RECORDED = "recorded"
"""As a judge: all that a set has; `recorded/NAME` is one of them."""
_LONGEST = 200
"""Characters of a jury's name, which a calibration file may hold 300 of."""


class Calibration(NamedTuple):
    """What is to be calibrated, with every name resolved."""

    opened: Opened
    sets: tuple[LabelSet, ...]
    texts: tuple[Texts, ...]
    """Of the sets, in their order."""
    recorded: tuple[str, ...]
    """Names of recorded judges."""
    jury: Rule | None = None
    """How the other judges decide together; None where they are measured apart alone."""


def open_calibration(
    sets: Sequence[LabelSet],
    specs: Sequence[str],
    settings: Settings,
    limit: int | None,
    command: str,
    reading: Reading | None = None,
    jury: Rule | None = None,
) -> Calibration:
    """Resolve the judges, recorded ones too; nothing is sent yet.

    Args:
        sets: human labels.
        specs: judges.
        settings: how to carry it out.
        limit: texts of each set at most.
        command: what was typed.
        reading: by what model judges read; None for the one that goes with a set's question.
        jury: how the judges decide together, if that is to be measured as well.

    Raises:
        UsageError: a judge is unknown, no set has its recording, the rubric cannot read a set, or
            a jury has fewer than two judges.
    """
    asked = [s for s in specs if not _is_recorded(s)]
    names = _recorded([s for s in specs if _is_recorded(s)], sets)
    if reading:
        for labels in sets:
            reading.check(labels)
    texts = tuple(_texts(labels, reading) for labels in sets)
    opened = open_texts(texts, asked, settings, limit, command, beside=names)
    _check_guards(opened, sets)
    models = [judge for judge in opened.judges if judge.endpoint]
    places = [
        (loaded, _prompts_of(labels))
        for loaded, labels in zip(opened.benchmarks, sets, strict=True)
    ]
    if reading and not any(j.rubric(*place) is reading.rubric for j in models for place in places):
        raise UsageError(
            f"--rubric {reading.rubric.name} is asked of nobody: builtin reads by rules, and a judge with a form "
            "of its own by that; name another model with --judge"
        )
    if jury and len(opened.judges) < 2:
        raise UsageError(
            f"--jury {jury} is of several judges who can be asked; name more of them with --judge"
        )
    return Calibration(opened, tuple(sets), texts, names, jury)


def _check_guards(opened: Opened, sets: Sequence[LabelSet]) -> None:
    """See that nobody is asked about refusals who knows nothing of them."""
    silent = [judge.label for judge in opened.judges if abstains(judge)]
    about = [labels.name for labels in sets if labels.question == "refusal"]
    if silent and about:
        raise UsageError(
            f"{', '.join(silent)}: this guard says nothing of refusals, and {', '.join(about)} asks "
            "whether a text refuses; name sets about harm, for example --on harmbench --on pyrit-harm"
        )


def _is_recorded(spec: str) -> bool:
    return spec == RECORDED or spec.startswith(f"{RECORDED}/")


def _recorded(specs: Sequence[str], sets: Sequence[LabelSet]) -> tuple[str, ...]:
    known = sorted({name for labels in sets for name in labels.recorded})
    found: dict[str, None] = {}
    for spec in specs:
        name = spec.partition("/")[2]
        if not known:
            raise UsageError(
                f"no recorded judges in {', '.join(s.name for s in sets)}; xstest and harmbench "
                "have some, and your own file may have columns judge:NAME"
            )
        if name and name not in known:
            raise unknown("recorded judge", name, known, see="`--judge recorded` takes all.")
        found |= dict.fromkeys([name] if name else known)
    return tuple(found)


def _texts(labels: LabelSet, reading: Reading | None) -> Texts:
    data = reading.data if reading else ()
    return Texts(
        name=labels.name,
        title=labels.title,
        digest="-".join([labels.digest, *(d.sha256[:32] for d in data)]),
        rubric=reading.rubric if reading else labels.rubric,
        items=labels.items,
        data=(*labels.data, *data),
        label=_prompts_of(labels),
    )


def _prompts_of(labels: LabelSet) -> Label:
    """As what prompts the texts of a set are judged: of harmless ones the question is refusal."""
    return "safe" if labels.question == "refusal" else "unsafe"


def calibrate(
    calibration: Calibration,
    opened: Opened,
    folder: Path,
    display: Callable[[Tally], AbstractContextManager[None]],
    say: Callable[[str], None],
) -> Ended:
    """Have every text judged that is not judged yet, and hold the verdicts against the labels.

    With recorded judges alone nobody is asked; the folder is claimed and locked all the same.

    Raises:
        UsageError: the folder is of another plan, an endpoint cannot work, or the disk is full.
    """
    _see_nothing_is_lost(folder)
    return carry_out(opened, folder, display, say, partial(conclude, calibration))


def _see_nothing_is_lost(folder: Path) -> None:
    """See that there is no calibration.json without the records that tell whose it is."""
    there, records = folder / CALIBRATION, folder / RESPONSES
    if there.is_file() and not (records.is_file() and records.stat().st_size):
        raise StoreError(
            f"{there} is another calibration, whose records are not beside it, and would be "
            "overwritten; choose another --out, or move it away"
        )


def conclude(
    calibration: Calibration, opened: Opened, folder: Path, *, stopped: bool = False
) -> dict[str, Any]:
    """Count the verdicts of a folder against the labels, and write calibration.json."""
    said = read_said(folder)
    results: list[dict[str, Any]] = []
    comparisons: list[dict[str, Any]] = []
    sets: dict[str, Any] = {}
    every = zip(calibration.sets, calibration.texts, opened.benchmarks, strict=True)
    for labels, texts, loaded in every:
        items = chosen(texts, loaded, opened.plan)
        heard: dict[str, list[Heard]] = {}
        for judge in opened.judges:
            heard[judge.label] = heard_of(said, judge.label, labels.name, items)
            read_by = rubric_of(judge, loaded, texts.label)
            about = _about(judge, read_by, digest_of(judge, loaded, texts.label), labels)
            results.append(about | measure(labels, heard[judge.label]))
        if calibration.jury:
            label = together(opened, calibration.jury)
            members = [judge.label for judge in opened.judges]
            heard[label] = heard_together(said, members, calibration.jury, texts, items)
            about = _about_jury(label, calibration.jury, opened, loaded, labels)
            results.append(about | measure(labels, heard[label]))
        for name in calibration.recorded:
            words = [Heard(i, i.recorded[name], usage=Usage()) for i in items if name in i.recorded]
            if words:
                label = f"{RECORDED}/{name}"
                heard[label] = words
                results.append(_about_recorded(label, labels) | measure(labels, words))
        for first, second in combinations(heard, 2):
            pair = compare(labels, heard[first], heard[second])
            comparisons.append({"first": first, "second": second, **pair})
        sets[labels.name] = _set_json(labels, items)
    result = {
        "calibration": FORMAT,
        "hiddenrisk": __version__,
        "created": now(),
        "command": opened.command,
        "complete": not stopped and all(r["complete"] for r in results),
        "unverified": opened.unverified,
        "sets": sets,
        "results": results,
        "comparisons": comparisons,
    }
    write_json(folder / CALIBRATION, result)
    return result


def _about(judge: Judge, rubric: str, digest: str, labels: LabelSet) -> dict[str, Any]:
    kind = "llm" if judge.endpoint else "rules"
    return {
        "judge": judge.label,
        "spec": judge.spec,
        "kind": kind,
        "rubric": rubric,
        "digest": digest,
        "in_sample": judge.endpoint is None and labels.name in BUILTIN_SAW,
    }


def together(opened: Opened, rule: Rule) -> str:
    """What a jury is called: `a + b + c (majority)`."""
    names = " + ".join(judge.label for judge in opened.judges)
    return f"{names if len(names) <= _LONGEST else f'{len(opened.judges)} judges'} ({rule})"


def _about_jury(
    name: str, rule: Rule, opened: Opened, loaded: Loaded, labels: LabelSet
) -> dict[str, Any]:
    of = _prompts_of(labels)
    rubrics = dict.fromkeys(rubric_of(judge, loaded, of) for judge in opened.judges)
    return {
        "judge": name,
        "spec": name,
        "kind": JURY,
        "rubric": "; ".join(rubrics),
        "digest": digest_together(opened.judges, loaded, rule, of),
        "in_sample": labels.name in BUILTIN_SAW and any(j.endpoint is None for j in opened.judges),
    }


def _about_recorded(label: str, labels: LabelSet) -> dict[str, Any]:
    digest = judge_digest({label: labels.digest}, RECORDED)
    return {
        "judge": label,
        "spec": label,
        "kind": RECORDED,
        "rubric": RECORDED,
        "digest": digest,
        "in_sample": False,
    }


def _set_json(labels: LabelSet, items: Sequence[Labelled]) -> dict[str, Any]:
    question: Question = labels.question
    unsafe = sum(item.unsafe for item in items)
    return {
        "title": labels.title,
        "question": question,
        "positive": POSITIVE[question],
        "n": len(items),
        "of": len(labels.items),
        "labels": {POSITIVE[question]: unsafe, NEGATIVE[question]: len(items) - unsafe},
        "digest": labels.digest,
        "grouped_by": labels.grouped_by,
        "notes": list(labels.notes),
        "texts": text_digests(items),
    }
