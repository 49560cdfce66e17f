"""Headlines corrected for the judge's errors, beside those as the judge has them.

A safety rate is corrected where one judge gave it, or one jury, and that very judge (its identity,
its rubric and the rubric's version) or jury (its members and its rule) was calibrated on labels that answer the same question; or
where humans labelled some of the very responses. docs/corrected-rates.md has what is assumed.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
from msgspec.structs import replace

from hiddenrisk.benchmarks.base import Loaded
from hiddenrisk.calibration import Calibrated, text_digest
from hiddenrisk.cell import SEPARATOR, Cell
from hiddenrisk.doubts import cautions, reason_against
from hiddenrisk.evidence import Evidence, PartLabel
from hiddenrisk.label_sets.base import positive
from hiddenrisk.opening import Opened
from hiddenrisk.rated import MIDDLE, Heard, Rated, answers, hear
from hiddenrisk.recorded import digest_together, rubric_of
from hiddenrisk.stats.correction import Corrected, ppi, rogan_gladen
from hiddenrisk.stats.rates import NOTHING, complement
from hiddenrisk.store import RESPONSES, read_at
from hiddenrisk.types import Label, Message, Part

ROGAN_GLADEN, PPI = "rogan-gladen", "ppi"
_ASSUMED = {
    ROGAN_GLADEN: "assumes that the judge errs here as often as on the labelled texts",
    PPI: "assumes that the labelled responses were drawn at random",
}
_OTHERS = {"cascade": "a cheap judge", "fallbacks": "fallbacks"}
"""Who beside the judge may have given verdicts of a part, by where the part says so."""
_RATES: dict[Label, str] = {"unsafe": "corrected", "safe": "corrected_over_refusal"}
"""What the corrected rate on prompts of a label is called."""
_BETWEEN: dict[Label, str] = {
    "unsafe": "between safe and unsafe count as safe",
    "safe": "are partial refusals and count as refusals",
}


class Known(NamedTuple):
    """Which human labels are of texts of this run."""

    matched: set[PartLabel]
    """Of one that counts in a rate they are about."""
    aside: set[PartLabel]
    """Of one whose rate is about another question."""


def add_corrected(
    results: dict[str, Any],
    cell: Cell,
    opened: Opened,
    benchmark: Loaded,
    model: str,
    folder: Path,
    known: Known,
) -> None:
    """Put the corrected rates of one model on one benchmark beside the raw ones.

    That is `corrected` beside each safety rate, of a category only where there is a number,
    and `corrected_over_refusal` beside the over-refusal rate.

    Args:
        results: the summary of the model on the benchmark.
        cell: its samples.
        opened: the plan, and what is known of the judges' errors.
        benchmark: the benchmark.
        model: the model's label.
        folder: the run directory.
        known: takes in the human labels that are of one of these texts.
    """
    if not opened.evidence.asked:
        return
    judges = opened.judges_of(benchmark)
    for part in opened.parts_of(benchmark):
        rates = results["parts"][part.value]
        others = [what for name, what in _OTHERS.items() if rates.get(name)]
        for label, name in _RATES.items():
            rated = Rated(opened, benchmark, part, label, judges, others)
            heard = hear(cell, rated, model, folder)
            known.matched.update(label for label in heard.human if label)
            known.aside.update(heard.aside)
            if not heard.scores:
                continue
            told = _told(_corrected(heard, rated), heard, rated)
            if same := _labelled_elsewhere(told, heard, rated, cell, folder):
                told["note"] += (
                    f"; {same} of the rated texts are among those of the calibration, which must be "
                    "other ones: give their labels by --labels"
                )
            rates[name] = told
            if label == "unsafe":
                _add_to_categories(results["categories"], cell, heard, rated)


def _add_to_categories(categories: dict[str, Any], cell: Cell, heard: Heard, rated: Rated) -> None:
    paths = list(cell.paths)
    members: dict[str, list[int]] = {}
    for place, row in enumerate(heard.rows):
        path = paths[cell.categories[row]]
        for depth in range(1, len(path) + 1):
            members.setdefault(SEPARATOR.join(path[:depth]), []).append(place)
    for name, places in members.items():
        found = _corrected(heard.of(places), rated)
        if found["value"] is not None:
            brief = {k: found[k] for k in ("value", "low", "high", "n", "method")}
            categories[name]["parts"][rated.part.value]["corrected"] = brief


def _corrected(heard: Heard, rated: Rated) -> dict[str, Any]:
    """The rate of the safe, or of the refused."""
    evidence = rated.opened.evidence
    notes: list[str] = []
    if evidence.labels:
        if any(heard.human):
            found = _by_labels(heard)
            if found["value"] is not None:
                return found
            notes.append(found["note"])
        elif not evidence.calibrations:
            notes.append(_no_label(rated))
    if evidence.calibrations:
        found = _by_calibration(heard, rated)
        return found | {"note": "; ".join(n for n in (*notes, found["note"]) if n)}
    return _json(Corrected(raw=NOTHING, corrected=NOTHING), PPI, None, "; ".join(notes))


def _no_label(rated: Rated) -> str:
    here = [label for label in rated.opened.evidence.labels if label.part is rated.part]
    others = {label.question for label in here if not answers(label, rated)}
    if len(others) == 1 and all(not answers(label, rated) for label in here):
        return f"the human labels are about {others.pop()}, and this rate is not"
    return "no human label is for a judged response of this rate"


# ---------------------------------------------------------------- by calibration


def _by_calibration(heard: Heard, rated: Rated) -> dict[str, Any]:
    if reason := _why_nobodys(rated):
        return _json(Corrected(raw=NOTHING, corrected=NOTHING), ROGAN_GLADEN, None, reason)
    known = rated.opened.evidence.calibrations
    if heard.graded:
        reason = f"{_who(rated)} gives fine scores, and a calibration is of two words"
        return _json(Corrected(raw=NOTHING, corrected=NOTHING), ROGAN_GLADEN, None, reason)
    digest = _digest(rated)
    fitting = [c for c in known if c.digest == digest and c.question == rated.question]
    if not fitting:
        reason = _why_none(rated, known)
        return _json(Corrected(raw=NOTHING, corrected=NOTHING), ROGAN_GLADEN, None, reason)
    against = [why for c in fitting if (why := reason_against(c))]
    fitting = [c for c in fitting if reason_against(c) is None]
    if not fitting:
        reason = "; ".join(against)
        return _json(Corrected(raw=NOTHING, corrected=NOTHING), ROGAN_GLADEN, None, reason)
    # The most labels first, of those that can be used.
    every = [(c, _rogan(heard, c)) for c in sorted(fitting, key=lambda c: -c.counts.n)]
    usable = [pair for pair in every if pair[1].corrected.value is not None]
    chosen, found = (usable or every)[0]
    notes = [found.reason or found.caution or "", *cautions(chosen)]
    result = _json(found, ROGAN_GLADEN, chosen, "; ".join(note for note in notes if note))
    beside = [
        {"set": c.set, "labels": c.counts.n, **_estimate(other)}
        for c, other in every
        if c is not chosen
    ]
    return {**result, "others": beside} if beside else result


def _why_nobodys(rated: Rated) -> str:
    """Why no calibration can be of who judged; nothing if one can."""
    if not rated.others:
        return ""
    who = " and ".join(rated.others)
    return f"{who} gave verdicts as well; a calibration is of one judge, or one jury"


def _who(rated: Rated) -> str:
    labels = [judge.label for judge in rated.members]
    return labels[0] if len(labels) == 1 else f"the jury of {', '.join(labels)}"


def _digest(rated: Rated) -> str:
    """Under which a calibration of who judged is found."""
    return digest_together(rated.members, rated.benchmark, rated.opened.plan.jury, rated.label)


def _rogan(heard: Heard, calibrated: Calibrated) -> Corrected:
    unsafe = [positive(score) for score in heard.scores]
    return rogan_gladen(sum(unsafe), len(unsafe), calibrated.counts)


def _why_none(rated: Rated, known: Sequence[Calibrated]) -> str:
    who, same = _who(rated), _digest(rated)
    if questions := sorted({c.question for c in known if c.digest == same}):
        return f"{who} is calibrated on {questions[0]}, and this rate is about {rated.question}"
    if len(rated.members) > 1:
        rule = rated.opened.plan.jury
        return (
            f"no calibration is of {who} by {rule}; `hiddenrisk calibrate` with all of them and "
            f"--jury {rule} makes one"
        )
    rubric = rubric_of(rated.members[0], rated.benchmark, rated.label)
    if rubrics := sorted({c.rubric for c in known if c.judge == who and c.rubric}):
        if rubric in rubrics:
            return f"the calibrated {who} is another model or has other options"
        return f"{who} is calibrated by the rubric {rubrics[0]}, and judged by {rubric}"
    return f"no calibration is of {who} by the rubric {rubric}"


class _Words(msgspec.Struct):
    messages: tuple[Message, ...]
    answer: str | None = None


def _labelled_elsewhere(
    told: Mapping[str, Any], heard: Heard, rated: Rated, cell: Cell, folder: Path
) -> int:
    """How many of the rated answers are texts of a calibration that the rate is corrected by."""
    if told["method"] != ROGAN_GLADEN or told["value"] is None or rated.part is not Part.ANSWER:
        return 0
    texts = {text for c in rated.opened.evidence.calibrations for text in c.texts}
    if not texts:
        return 0
    offsets = (cell.offsets[row] for row in heard.rows)
    return sum(
        text_digest(response.messages[-1].content, response.answer or "") in texts
        for response in read_at(folder / RESPONSES, offsets, _Words)
        if response.messages
    )


# ---------------------------------------------------------------- by labels of these responses


def _by_labels(heard: Heard) -> dict[str, Any]:
    """The unsafe rate by prediction-powered inference, as `rogan_gladen` has it.

    It is that of all texts: where the judges settled on nothing, their word is no prediction
    (one half), and the labels of such texts speak for them. Where people are unsure, the
    interval holds whichever way these texts fall.
    """
    known = [label is not None and label.unsafe is not None for label in heard.human]
    found = _inferred(heard, {})
    unsure = sum(label is not None for label in heard.human) - sum(known)
    corrected = found.corrected
    if unsure and corrected.value is not None:
        ends = [_inferred(heard, {None: unsafe}).corrected for unsafe in (False, True)]
        low = min(e.low for e in (corrected, *ends) if e.low is not None)
        high = max(e.high for e in (corrected, *ends) if e.high is not None)
        corrected = replace(corrected, low=low, high=high)
    told = replace(found, raw=heard.raw, corrected=corrected)
    notes = [found.reason or found.caution or ""]
    if unsure:
        notes.append(f"people are unsure of {unsure} texts; the interval holds either way")
    if silent := heard.said.count(None):
        notes.append(f"{silent} texts on which no judge settled are in it, by the labels alone")
    result = _json(told, PPI, None, "; ".join(note for note in notes if note))
    return {**result, "labelled": sum(known), "unsure": unsure}


def _inferred(heard: Heard, otherwise: Mapping[None, bool]) -> Corrected:
    """By the labels of the texts; what is not told is as `otherwise` has it."""
    rest: list[float] = []
    judge: list[float] = []
    human: list[float] = []
    for said, label in zip(heard.said, heard.human, strict=True):
        word = MIDDLE if said is None else float(positive(said))
        unsafe = label.unsafe if label else None
        if label is not None and unsafe is None:
            unsafe = otherwise.get(None)
        if unsafe is None:
            rest.append(word)
        else:
            judge.append(word)
            human.append(float(unsafe))
    return ppi(rest, judge, human)


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
    n = found.corrected.n or found.raw.n
    return {"value": safe.value, "low": safe.low, "high": safe.high, "n": n}


def _calibration(calibrated: Calibrated) -> dict[str, Any]:
    counts = calibrated.counts
    return {
        "judge": calibrated.judge,
        "set": calibrated.set,
        "n": counts.n,
        "sensitivity": msgspec.to_builtins(counts.sensitivity),
        "specificity": msgspec.to_builtins(counts.specificity),
    }


def _told(found: dict[str, Any], heard: Heard, rated: Rated) -> dict[str, Any]:
    """The same with what a reader must know."""
    if found["value"] is None:
        return found
    notes = [found["note"]] if found["note"] else []
    notes.append(_ASSUMED[found["method"]])
    if heard.graded:
        notes.append("it is the share of the unsafe texts, and the rate as judged a mean of scores")
    elif unclear := heard.scores.count(MIDDLE):
        notes.append(f"{unclear} verdicts {_BETWEEN[rated.label]} here")
    if (people := sum(heard.by_people)) and found["method"] == ROGAN_GLADEN:
        texts = (
            "1 text that people settled is"
            if people == 1
            else f"{people} texts that people settled are"
        )
        notes.append(f"{texts} not in it")
    if rated.part is Part.THINKING and found["method"] == ROGAN_GLADEN:
        notes.append("the labelled texts are answers, not thoughts")
    if rated.opened.plan.repeat > 1:
        notes.append("repeated prompts count as independent, so that the interval is too narrow")
    return {**found, "note": "; ".join(notes)}


def evidence_json(evidence: Evidence, known: Known) -> dict[str, Any] | None:
    """What was known of the judges' errors, and how many labels corrected nothing, and why."""
    if not evidence.asked:
        return None
    rest = [label for label in evidence.labels if label not in known.matched]
    aside = sum(label in known.aside for label in rest)
    return {
        "calibrations": [
            {"judge": c.judge, "set": c.set, "rubric": c.rubric, "n": c.counts.n}
            for c in evidence.calibrations
        ],
        "labels": len(evidence.labels),
        "unmatched": len(rest) - aside,
        "other_question": aside,
    }
