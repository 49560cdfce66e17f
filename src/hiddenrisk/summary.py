"""Records to `summary.json`: every sample in exactly one outcome, every rate with its n."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from hiddenrisk.benchmarks.base import REFUSAL, Loaded, Protocol
from hiddenrisk.cell import (
    ABSENT,
    FAILED,
    NOT_RUN,
    OUTCOMES,
    UNJUDGED,
    Cell,
)
from hiddenrisk.contrast import contrast
from hiddenrisk.groups import Group, count_cell
from hiddenrisk.judged import judged_json, judged_notes
from hiddenrisk.repeated import repeats_json
from hiddenrisk.side_by_side import Reading, side_by_side
from hiddenrisk.stats import rates
from hiddenrisk.telling import insights_json
from hiddenrisk.types import Estimate, Finish, Part


def summarise_cell(
    cell: Cell,
    benchmark: Loaded,
    protocols: Sequence[Protocol],
    judges: Sequence[str],
    parts: Sequence[Part],
    missing: Mapping[tuple[tuple[str, ...], str], int],
    notes: Sequence[str] | None = None,
    looker: str | None = None,
    sample: frozenset[tuple[str, int]] = frozenset(),
    rubric: str | None = None,
    readings: Mapping[str, Reading] | None = None,
) -> dict[str, Any]:
    """One model on one benchmark; the first protocol gives the headline.

    Args:
        cell: the samples.
        benchmark: what was measured.
        protocols: how to count; all are reported.
        judges: labels of those whose majority decides.
        parts: what was judged.
        missing: planned samples that were not run, by category and label.
        notes: what a reader must know; the benchmark's own if None.
        looker: who looked into the thoughts; None for nobody.
        sample: (prompt, repeat) of those that were to be looked at segment by segment.
        rubric: by what the judges read; the benchmark's own rubric if None.
        readings: how each judge of this command reads, by label.
    """
    counted = count_cell(cell, benchmark, protocols, judges, parts, missing)
    whole, repeats = counted.whole, counted.repeats
    # A judge may have failed where the others were enough, or on a response counted apart.
    silent = {judge: cell.troubled(parts, judge) for judge in judges}
    main = protocols[0]
    whole_json = _whole_json(cell, whole, main, parts, benchmark, judges)
    if repeats:
        for part in parts:
            found = repeats_json(repeats.scores(main.name, part, "unsafe"))
            whole_json["parts"][part.value]["repeats"] = found
    return {
        "title": benchmark.title,
        "version": benchmark.version,
        "protocol": main.name,
        "about": main.about,
        "rubric": rubric or f"{benchmark.rubric.name} {benchmark.rubric.version}",
        "judges": list(judges),
        "jury": cell.rule,
        **whole_json,
        "failed": len(_failed(cell, parts, judges).union(*silent.values())),
        "judge_failures": {j: len(rows) for j, rows in sorted(silent.items()) if rows},
        **_unasked(cell, judges, parts),
        "categories": {
            k: _group_json(g, main, parts, benchmark) for k, g in sorted(counted.categories.items())
        },
        "views": _views_json(counted.views, main, parts, benchmark),
        **side_by_side(cell, benchmark, readings),
        "contrast": _contrast_json(cell, main, judges, parts),
        "insights": insights_json(cell, benchmark, main, judges, looker, sample)
        if looker
        else None,
        "protocols": {p.name: _protocol_json(whole, p, parts) for p in protocols[1:]},
        "notes": [
            *(benchmark.notes if notes is None else notes),
            *judged_notes(cell, whole_json["parts"], judges),
        ],
    }


def _unasked(cell: Cell, judges: Sequence[str], parts: Sequence[Part]) -> dict[str, Any]:
    """Samples that are not judged because no judge of the run can, by part; nothing if none."""
    if not cell.abstaining:
        return {}
    rows = [row for row in range(len(cell)) if not cell.asked(row, judges)]
    outcomes = {p.value: [cell.outcome(row, p, judges)[0] for row in rows] for p in parts}
    return {"unasked": {part: found.count(UNJUDGED) for part, found in outcomes.items()}}


def _whole_json(
    cell: Cell,
    whole: Group,
    main: Protocol,
    parts: Sequence[Part],
    benchmark: Loaded,
    judges: Sequence[str],
) -> dict[str, Any]:
    """The whole benchmark, with how its judges got on."""
    result = _group_json(whole, main, parts, benchmark)
    for part in parts:
        result["parts"][part.value] |= judged_json(cell, part, judges, main)
    return result


def _contrast_json(
    cell: Cell, main: Protocol, judges: Sequence[str], parts: Sequence[Part]
) -> dict[str, Any] | None:
    """Thinking against answer; None where not both were judged, or nothing can be compared."""
    if len(parts) < len(Part):
        return None
    found, _ = contrast(cell, main, judges)
    return msgspec.to_builtins(found) if found.n + found.unclear else None


def _protocol_json(whole: Group, protocol: Protocol, parts: Sequence[Part]) -> dict[str, Any]:
    """The safety rates by another protocol, and the over-refusal rates of the safe half."""
    found = {part.value: _estimate(whole.mean(protocol, part, "unsafe")) for part in parts}
    for part in parts:
        if whole.numbers[protocol.name, part, "safe"]:
            found[f"{part.value}_over_refusal"] = _estimate(whole.mean(protocol, part, "safe"))
    return found


def _views_json(
    views: dict[tuple[str, str], Group], main: Protocol, parts: Sequence[Part], benchmark: Loaded
) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for (axis, value), group in sorted(views.items(), key=lambda item: _in_order(item[0])):
        found.setdefault(axis, {})[value] = _group_json(group, main, parts, benchmark)
    return found


def _in_order(place: tuple[str, str]) -> list[str | int]:
    """Names in the order of a reader: 2.3 before 2.10."""
    pieces = re.split(r"(\d+)", "\0".join(place))
    return [int(p) if i % 2 else p for i, p in enumerate(pieces)]


def _failed(cell: Cell, parts: Sequence[Part], judges: Sequence[str]) -> set[int]:
    """The samples of which a part ended as a failure."""
    found: set[int] = set()
    for part in parts:
        alike = cell.alike(part, judges)
        kinds = {kind for kind, (outcome, _) in enumerate(alike.outcomes) if outcome in FAILED}
        found.update(row for row, kind in enumerate(alike.kinds) if kind in kinds)
    return found


def _group_json(
    group: Group, main: Protocol, parts: Sequence[Part], benchmark: Loaded
) -> dict[str, Any]:
    first = parts[0]
    result: dict[str, Any] = {
        "level": group.level,
        "n": group.outcomes[first].total(),
        "outcomes": _ordered(group.outcomes[first]),
        "parts": {p.value: _part_json(group, main, p, benchmark) for p in parts},
    }
    if group.grades:
        result["grades"] = {
            name: msgspec.to_builtins(rates.mean_on_scale(group.grades[name], top)) | {"of": top}
            for name, top in benchmark.grades.items()
        }
    if group.facts:
        result["facts"] = {name: dict(sorted(c.items())) for name, c in group.facts.items()}
    return result


def _part_json(group: Group, main: Protocol, part: Part, benchmark: Loaded) -> dict[str, Any]:
    unsafe = group.numbers[main.name, part, "unsafe"]
    limits = rates.band(unsafe, group.uncounted[part, "unsafe"])
    result: dict[str, Any] = {
        "safety_rate": _estimate(group.mean(main, part, "unsafe")),
        "band": {"low": limits[0], "high": limits[1]} if limits else None,
        "outcomes": _ordered(group.outcomes[part]),
        "scores": {},
    }
    if group.level == 0:
        result["uncounted"] = group.uncounted[part, "unsafe"]
        result["sensitivity"] = _sensitivity(group, part, unsafe)
    # Who resists an attack need not refuse: rules cannot tell how many succeeded.
    # Nor can a judge that is not asked the benchmark's own question, where that is another one.
    own = benchmark.rules or main in (benchmark.protocol, *benchmark.also)
    if benchmark.attack and main is not REFUSAL and own:
        rate = rates.complement(group.mean(main, part, "unsafe"))
        result["scores"]["attack_success_rate"] = _estimate(rate)
    safe = group.numbers[main.name, part, "safe"]
    if safe or group.uncounted[part, "safe"]:
        scored = safe.total()
        result["scores"]["over_refusal_rate"] = _estimate(group.mean(main, part, "safe"))
        for word, count in sorted(group.classes[part].items()):
            result["scores"][f"safe_prompts_{word}"] = _estimate(rates.wilson(count, scored))
    return result


def _sensitivity(group: Group, part: Part, counted: Counter[float]) -> dict[str, Any]:
    """The safety rate if one outcome alone were counted safe, unsafe or not at all.

    What is complete is what the others are held against; where there was no thinking there
    is nothing to be safe or unsafe.
    """
    found: dict[str, Any] = {}
    for outcome in OUTCOMES:
        inside = group.counted_as.get((part, outcome))
        if not inside or outcome in {Finish.COMPLETE.value, ABSENT}:
            continue
        others = counted - Counter({s: k for s, k in inside.items() if s is not None})
        found[outcome] = msgspec.to_builtins(rates.what_if(others, inside.total()))
    return found


def _estimate(estimate: Estimate) -> dict[str, Any]:
    return msgspec.to_builtins(estimate)


def _ordered(outcomes: Counter[str]) -> dict[str, int]:
    return {name: outcomes[name] for name in OUTCOMES if outcomes[name]}


def failed_share(summary: dict[str, Any]) -> float:
    """Share of all samples with a failed call or judgement, in [0, 1]."""
    total = failed = 0
    for model in summary["models"].values():
        for results in model["benchmarks"].values():
            total += results["n"]
            failed += results["failed"]
    return failed / total if total else 0.0


def incomplete(summary: dict[str, Any]) -> bool:
    """Whether a planned sample was not run, a judge did not judge it, or nobody looked into it."""
    found = [r for model in summary["models"].values() for r in model["benchmarks"].values()]
    return any(r["insights"] and r["insights"]["missing"] for r in found) or any(
        part["outcomes"].get(NOT_RUN)
        or part["outcomes"].get(UNJUDGED, 0) > results.get("unasked", {}).get(name, 0)
        for results in found
        for name, part in results["parts"].items()
    )
