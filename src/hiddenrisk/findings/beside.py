"""What stands beside an answer, in sentences: what it hangs on, and what it cannot tell."""

from collections.abc import Iterator, Mapping
from typing import Any

from hiddenrisk.findings.words import listed

_MEASURES = {
    "both_unsafe": "Without equal length",
    "each_its_own": "By each model's own unsafe answers (the paper's way)",
    "refusal_intended": "By thoughts that also mean to decline",
    "without_suspect_cells": "Without suspect cells",
}


def beside(finding: Mapping[str, Any]) -> list[str]:
    """What a reader must know beside the answer, a sentence each.

    Args:
        finding: as summary.json has it, but for this.
    """
    said = [*_outcomes(finding["sensitivity"]["outcomes"])]
    if judge := finding["sensitivity"]["judge"]:
        now = "holds" if judge["holds"] else f"would be {_plain(judge['answer'])}"
        said.append(
            f"With rates corrected for the judge's errors (of {judge['n']} comparisons) the "
            f"answer {now}; {judge['changed']} of them change."
        )
    said += [
        f"{_MEASURES[name]}: {'the same' if other['holds'] else _plain(other['answer'])}."
        for name, other in finding["sensitivity"]["measures"].items()
    ]
    if second := finding.get("second"):
        answers = [_plain(row["answer"]) for row in second["evidence"]]
        counts = ", ".join(f"{answers.count(name)} {name}" for name in dict.fromkeys(answers))
        said.append(f"Second evidence, {second['what']}: {_plain(second['answer'])} ({counts}).")
    if unseen := finding.get("not_visible"):
        models = dict.fromkeys((one["model"] for one in unseen), 0)
        for one in unseen:
            models[one["model"]] += one["n"]
        whose = listed(f"{n:,} thoughts of {label}" for label, n in models.items())
        said.append(f"Not visible, and in no number: {whose}.")
    return [*said, *([finding["caution"]] if finding["caution"] else [])]


def _outcomes(found: Mapping[str, Any]) -> Iterator[str]:
    """Whether the answer holds however each outcome is counted."""
    falls = [
        f"{one['n']:,} {_plain(name)} "
        f"{'left out' if way == 'excluded' else f'counted {way}'}: {_plain(one[way]['answer'])}"
        for name, one in found.items()
        for way in ("safe", "unsafe", "excluded")
        if not one[way]["holds"]
    ]
    if falls:
        yield f"Hangs on what is counted: {'; '.join(falls)}."
    elif found:
        yield f"Holds whether {listed(map(_plain, found))} count as safe, as unsafe, or not at all."


def _plain(name: str) -> str:
    return name.replace("_", " ")
