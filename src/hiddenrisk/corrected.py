"""Headlines corrected for the judge's errors, beside those as the judge has them.

A safety rate is corrected where one judge gave it, and that very judge (its identity, its
rubric and the rubric's version) was calibrated on labels that answer the same question; or
where humans labelled some of the very responses. docs/corrected-rates.md has what is assumed.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from hiddenrisk.assess import Judge
from hiddenrisk.benchmarks.base import Loaded
from hiddenrisk.calibration import Calibrated
from hiddenrisk.correction import Corrected, ppi, rogan_gladen
from hiddenrisk.evidence import PartLabel
from hiddenrisk.judges import xstest
from hiddenrisk.label_sets.base import Question, positive
from hiddenrisk.opening import Opened
from hiddenrisk.recorded import digest_of, rubric_of
from hiddenrisk.records import LABELS, SCORED_OUTCOMES, Cell
from hiddenrisk.stats import NOTHING, complement
from hiddenrisk.store import RESPONSES, read_at
from hiddenrisk.types import Part

ROGAN_GLADEN, PPI = "rogan-gladen", "ppi"
_ASSUMED = {
    ROGAN_GLADEN: "assumes that the judge errs here as often as on the labelled texts",
    PPI: "assumes that the labelled responses were drawn at random",
}
_OTHERS = {"cascade": "a cheap judge", "fallbacks": "fallbacks", "by_human": "people"}
"""Who beside the judge may have given verdicts of a part, by where the part says so."""


class _Heard(NamedTuple):
    """The verdicts behind one rate."""

    rows: list[int]
    unsafe: list[bool]
    unclear: int


class _Place(msgspec.Struct):
    key: str
    prompt: str
    repeat: int


def add_corrected(
    results: dict[str, Any],
    cell: Cell,
    opened: Opened,
    benchmark: Loaded,
    model: str,
    folder: Path,
) -> None:
    """Put `corrected` beside each safety rate of one model on one benchmark."""
    evidence = opened.evidence
    if not evidence.asked:
        return
    judges = opened.judges_of(benchmark)
    for part in opened.parts_of(benchmark):
        heard = _heard(cell, part, [j.label for j in judges])
        if not heard.rows:
            continue
        rates = results["parts"][part.value]
        others = [what for name, what in _OTHERS.items() if rates.get(name)]
        found = _corrected(heard, judges, others, opened, benchmark, part, folder, cell, model)
        rates["corrected"] = found


def _corrected(
    heard: _Heard,
    judges: Sequence[Judge],
    others: Sequence[str],
    opened: Opened,
    benchmark: Loaded,
    part: Part,
    folder: Path,
    cell: Cell,
    model: str,
) -> dict[str, Any]:
    notes: list[str] = []
    if opened.evidence.labels:
        labels = [one for one in opened.evidence.labels if one.part is part]
        human = _labelled(heard, labels, cell, folder, model, benchmark.name)
        if human:
            found = _by_labels(heard, human)
            if found["value"] is not None:
                return _told(found, heard, part, opened)
            notes.append(found["note"])
        elif not opened.evidence.calibrations:
            notes.append("no human label is for a judged response of this rate")
    if opened.evidence.calibrations:
        found = _by_calibration(heard, judges, others, opened, benchmark)
        found["note"] = "; ".join([*notes, found["note"]])
        return _told(found, heard, part, opened)
    return _json(Corrected(raw=NOTHING, corrected=NOTHING), PPI, None, "; ".join(notes))


def _heard(cell: Cell, part: Part, judges: Sequence[str]) -> _Heard:
    """The verdicts on harmful prompts that count in the headline."""
    heard = _Heard([], [], 0)
    unclear = 0
    for row in range(len(cell)):
        if LABELS[cell.labels[row]] != "unsafe":
            continue
        outcome, said = cell.outcome(row, part, judges)
        if outcome in SCORED_OUTCOMES and said is not None and not isinstance(said, str):
            heard.rows.append(row)
            heard.unsafe.append(positive(said))
            unclear += 0 < said < 1
    return heard._replace(unclear=unclear)


def question_of(judge: Judge, benchmark: Loaded) -> Question:
    """What a judge's verdicts on harmful prompts answer: the form by which it reads decides."""
    rules = judge.endpoint is None
    refusals = rules or judge.rubric(benchmark, "unsafe") is xstest.RUBRIC
    return "refusal" if refusals else "harm"


# ---------------------------------------------------------------- by calibration


def _by_calibration(
    heard: _Heard,
    judges: Sequence[Judge],
    others: Sequence[str],
    opened: Opened,
    benchmark: Loaded,
) -> dict[str, Any]:
    if len(judges) != 1:
        reason = "several judges decide together; a calibration is of one judge"
        return _json(Corrected(raw=NOTHING, corrected=NOTHING), ROGAN_GLADEN, None, reason)
    if others:
        reason = f"{' and '.join(others)} gave verdicts as well; a calibration is of one judge"
        return _json(Corrected(raw=NOTHING, corrected=NOTHING), ROGAN_GLADEN, None, reason)
    judge, known = judges[0], opened.evidence.calibrations
    question, digest = question_of(judge, benchmark), digest_of(judge, benchmark)
    fitting = [c for c in known if c.digest == digest and c.question == question]
    if not fitting:
        reason = _why_none(judge, benchmark, question, known)
        return _json(Corrected(raw=NOTHING, corrected=NOTHING), ROGAN_GLADEN, None, reason)
    # The most labels first, of those that can be used.
    every = [(c, _rogan(heard, c)) for c in sorted(fitting, key=lambda c: -c.counts.n)]
    usable = [pair for pair in every if pair[1].corrected.value is not None]
    chosen, found = (usable or every)[0]
    result = _json(found, ROGAN_GLADEN, chosen, found.reason or found.caution or "")
    beside = [
        {"set": c.set, "labels": c.counts.n, **_estimate(other)}
        for c, other in every
        if c is not chosen
    ]
    return {**result, "others": beside} if beside else result


def _rogan(heard: _Heard, calibrated: Calibrated) -> Corrected:
    return rogan_gladen(sum(heard.unsafe), len(heard.unsafe), calibrated.counts)


def _why_none(
    judge: Judge, benchmark: Loaded, question: Question, known: Sequence[Calibrated]
) -> str:
    rubric, same = rubric_of(judge, benchmark), digest_of(judge, benchmark)
    if questions := sorted({c.question for c in known if c.digest == same}):
        return f"{judge.label} is calibrated on {questions[0]}, and this rate is about {question}"
    if rubrics := sorted({c.rubric for c in known if c.judge == judge.label and c.rubric}):
        if rubric in rubrics:
            return f"the calibrated {judge.label} is another model or has other options"
        return f"{judge.label} is calibrated by the rubric {rubrics[0]}, and judged by {rubric}"
    return f"no calibration is of {judge.label} by the rubric {rubric}"


# ---------------------------------------------------------------- by labels of these responses


def _labelled(
    heard: _Heard,
    labels: Sequence[PartLabel],
    cell: Cell,
    folder: Path,
    model: str,
    benchmark: str,
) -> dict[int, bool]:
    """What humans say of the judged responses: {place among those heard: unsafe}."""
    wanted: dict[str, list[PartLabel]] = {}
    for label in labels:
        wanted.setdefault(label.response or label.prompt, []).append(label)
    found: dict[int, bool] = {}
    for place, response in enumerate(_places(heard, cell, folder) if wanted else ()):
        for label in (*wanted.get(response.key, ()), *wanted.get(response.prompt, ())):
            if label.fits(response.key, response.prompt, response.repeat, model, benchmark):
                found[place] = label.unsafe
    return found


def _places(heard: _Heard, cell: Cell, folder: Path) -> Iterator[_Place]:
    return read_at(folder / RESPONSES, (cell.offsets[row] for row in heard.rows), _Place)


def _by_labels(heard: _Heard, human: dict[int, bool]) -> dict[str, Any]:
    """The unsafe rate by prediction-powered inference, as `rogan_gladen` has it."""
    judge = [float(unsafe) for unsafe in heard.unsafe]
    found = ppi(
        [said for place, said in enumerate(judge) if place not in human],
        [judge[place] for place in human],
        [float(unsafe) for unsafe in human.values()],
    )
    result = _json(found, PPI, None, found.reason or found.caution or "")
    return {**result, "labelled": len(human)}


# ---------------------------------------------------------------- what summary.json says


def _json(
    found: Corrected, method: str, calibrated: Calibrated | None, note: str
) -> dict[str, Any]:
    return {
        **_estimate(found),
        "method": method,
        "raw": msgspec.to_builtins(complement(found.raw)),
        "calibration": _calibration(calibrated) if calibrated else None,
        "note": note,
    }


def _estimate(found: Corrected) -> dict[str, Any]:
    """Safety, of which the unsafe rate is the complement."""
    safe = complement(found.corrected)
    return {"value": safe.value, "low": safe.low, "high": safe.high, "n": found.raw.n}


def _calibration(calibrated: Calibrated) -> dict[str, Any]:
    counts = calibrated.counts
    return {
        "judge": calibrated.judge,
        "set": calibrated.set,
        "n": counts.n,
        "sensitivity": msgspec.to_builtins(counts.sensitivity),
        "specificity": msgspec.to_builtins(counts.specificity),
    }


def _told(found: dict[str, Any], heard: _Heard, part: Part, opened: Opened) -> dict[str, Any]:
    """The same with what a reader must know."""
    if found["value"] is None:
        return found
    notes = [found["note"]] if found["note"] else []
    notes.append(_ASSUMED[found["method"]])
    if heard.unclear:
        notes.append(f"{heard.unclear} verdicts between safe and unsafe count as safe here")
    if part is Part.THINKING and found["method"] == ROGAN_GLADEN:
        notes.append("the labelled texts are answers, not thoughts")
    if opened.plan.repeat > 1:
        notes.append("repeated prompts count as independent, so that the interval is too narrow")
    return {**found, "note": "; ".join(notes)}
