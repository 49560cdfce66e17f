"""Judges against human labels, from beginning to end: `hiddenrisk calibrate`."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import partial
from itertools import combinations
from pathlib import Path
from typing import Any, NamedTuple

from hiddenrisk import __version__
from hiddenrisk.asking import now
from hiddenrisk.assess import Judge, Tally
from hiddenrisk.calibration import (
    CALIBRATION,
    FORMAT,
    Heard,
    compare,
    judge_digest,
    measure,
)
from hiddenrisk.errors import UsageError, unknown
from hiddenrisk.label_sets.base import NEGATIVE, POSITIVE, LabelSet, Question
from hiddenrisk.opening import Opened
from hiddenrisk.plan import Settings
from hiddenrisk.recorded import (
    Texts,
    chosen,
    digest_of,
    heard_of,
    open_texts,
    read_said,
    rubric_of,
)
from hiddenrisk.run import Ended, carry_out
from hiddenrisk.store import cannot_write, write_json
from hiddenrisk.types import Usage

RECORDED = "recorded"
"""As a judge: all that a set has; `recorded/NAME` is one of them."""


class Calibration(NamedTuple):
    """What is to be calibrated, with every name resolved."""

    opened: Opened
    sets: tuple[LabelSet, ...]
    recorded: tuple[str, ...]
    """Names of recorded judges."""


def open_calibration(
    sets: Sequence[LabelSet],
    specs: Sequence[str],
    settings: Settings,
    limit: int | None,
    command: str,
) -> Calibration:
    """Resolve the judges, recorded ones too; nothing is sent yet.

    Raises:
        UsageError: a judge is unknown, or no set has its recording.
    """
    asked = [s for s in specs if not _is_recorded(s)]
    names = _recorded([s for s in specs if _is_recorded(s)], sets)
    texts = [_texts(labels) for labels in sets]
    opened = open_texts(texts, asked, settings, limit, command)
    return Calibration(opened, tuple(sets), names)


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


def _texts(labels: LabelSet) -> Texts:
    return Texts(
        name=labels.name,
        title=labels.title,
        digest=labels.digest,
        rubric=labels.rubric,
        items=labels.items,
        data=labels.data,
    )


def calibrate(
    calibration: Calibration,
    folder: Path,
    display: Callable[[Tally], AbstractContextManager[None]],
    say: Callable[[str], None],
) -> Ended:
    """Have every text judged that is not judged yet, and hold the verdicts against the labels.

    Raises:
        UsageError: the folder is of another plan, an endpoint cannot work, or the disk is full.
    """
    count = partial(conclude, calibration)
    if calibration.opened.judges:
        return carry_out(calibration.opened, folder, display, say, count)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise cannot_write(folder, error) from error
    return Ended(summary=count(calibration.opened, folder), interrupted=False)


def conclude(
    calibration: Calibration, opened: Opened, folder: Path, *, stopped: bool = False
) -> dict[str, Any]:
    """Count the verdicts of a folder against the labels, and write calibration.json."""
    said = read_said(folder)
    results: list[dict[str, Any]] = []
    comparisons: list[dict[str, Any]] = []
    sets: dict[str, Any] = {}
    for labels, loaded in zip(calibration.sets, opened.benchmarks, strict=True):
        items = chosen(_texts(labels), loaded, opened.plan)
        heard: dict[str, list[Heard]] = {}
        for judge in opened.judges:
            heard[judge.label] = heard_of(said, judge.label, labels.name, items)
            about = _about(judge, rubric_of(judge, loaded), digest_of(judge, loaded))
            results.append(about | measure(labels, heard[judge.label]))
        for name in calibration.recorded:
            words = [Heard(i, i.recorded[name], usage=Usage()) for i in items if name in i.recorded]
            if words:
                label = f"{RECORDED}/{name}"
                heard[label] = words
                results.append(_about_recorded(label, labels) | measure(labels, words))
        for first, second in combinations(heard, 2):
            pair = compare(labels, heard[first], heard[second])
            comparisons.append({"first": first, "second": second, **pair})
        sets[labels.name] = _set_json(labels, len(items), sum(i.unsafe for i in items))
    result = {
        "calibration": FORMAT,
        "hiddenrisk": __version__,
        "created": now(),
        "command": opened.command,
        "complete": not stopped and not any("not_judged" in r["failures"] for r in results),
        "unverified": opened.unverified,
        "sets": sets,
        "results": results,
        "comparisons": comparisons,
    }
    write_json(folder / CALIBRATION, result)
    return result


def _about(judge: Judge, rubric: str, digest: str) -> dict[str, Any]:
    kind = "llm" if judge.endpoint else "rules"
    return {
        "judge": judge.label,
        "spec": judge.spec,
        "kind": kind,
        "rubric": rubric,
        "digest": digest,
    }


def _about_recorded(label: str, labels: LabelSet) -> dict[str, Any]:
    digest = judge_digest({label: labels.digest}, RECORDED)
    return {"judge": label, "spec": label, "kind": RECORDED, "rubric": RECORDED, "digest": digest}


def _set_json(labels: LabelSet, n: int, unsafe: int) -> dict[str, Any]:
    question: Question = labels.question
    return {
        "title": labels.title,
        "question": question,
        "positive": POSITIVE[question],
        "n": n,
        "of": len(labels.items),
        "labels": {POSITIVE[question]: unsafe, NEGATIVE[question]: n - unsafe},
        "digest": labels.digest,
        "grouped_by": labels.grouped_by,
        "notes": list(labels.notes),
    }


def failed_share(result: Mapping[str, Any]) -> float:
    """Share of the texts that a judge gave no verdict on, of all judges and sets."""
    failed = sum(r["failed"] for r in result["results"])
    total = failed + sum(r["n"] for r in result["results"])
    return failed / total if total else 0.0
