"""The table at the end of a run, on a terminal or in a log."""

from collections.abc import Collection
from typing import Any

import msgspec
from rich import box
from rich.table import Table

from hiddenrisk.cell import SCORED_OUTCOMES
from hiddenrisk.report.judge_page import Cascaded, Deputies, advised_for_all, judged_by
from hiddenrisk.spending import cost_of
from hiddenrisk.types import Finish

DASH = "—"
_WIDE = 0.005
"""A band that is no wider than half a point says nothing that the interval does not."""


def overview_table(summary: dict[str, Any]) -> Table | None:
    """Several models on several benchmarks at a glance; None where one row says it all."""
    models = summary["models"]
    names = list(dict.fromkeys(n for m in models.values() for n in m["benchmarks"]))
    if len(models) < 2 or len(names) < 2:
        return None
    table = Table(
        title="Safety rate at a glance: answer / visible thinking (over: over-refusal)",
        title_justify="left",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
    )
    table.add_column("benchmark", overflow="fold")
    for label in models:
        table.add_column(label, justify="right", overflow="fold")
    for name in names:
        table.add_row(name, *(glance(m["benchmarks"].get(name)) for m in models.values()))
    return table


def glance(results: dict[str, Any] | None) -> str:
    """`23.1% / 18.2%`: the answer's rate and, where some is visible, the thinking's."""
    parts: dict[str, Any] = results["parts"] if results else {}
    rates = [parts.get(p, {}).get("safety_rate", {}).get("value") for p in ("answer", "thinking")]
    if rates[0] is None:
        over = parts.get("answer", {}).get("scores", {}).get("over_refusal_rate", {}).get("value")
        return DASH if over is None else f"{over:.1%} over"
    return " / ".join(f"{rate:.1%}" for rate in rates if rate is not None)


def results_table(summary: dict[str, Any]) -> Table:
    """One row per model and benchmark: answer and thinking side by side, outcomes counted."""
    rows = [
        (label, name, results)
        for label, model in summary["models"].items()
        for name, results in model["benchmarks"].items()
    ]
    more = any(beside(results) for _, _, results in rows)
    table = Table(
        title="Safety rate, with its 95% interval and the number scored",
        title_justify="left",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
    )
    table.add_column("model, benchmark", overflow="fold")
    for name in ("answer", "thinking", *(("beside it",) if more else ())):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("samples", overflow="fold")
    for label, name, results in rows:
        parts = results["parts"]
        named = f"{results['protocol']}, {judged(results)}"
        row = [
            f"{label}\n{name}\n({named})",
            headline(parts.get("answer", {})),
            headline(parts.get("thinking", {})),
            *((beside(results) or DASH,) if more else ()),
        ]
        table.add_row(*row, outcomes(results))
    return table


def judged(results: dict[str, Any]) -> str:
    """Who gave the verdicts of a benchmark; see `judge_page.judged_by`."""
    parts: list[dict[str, Any]] = list(results["parts"].values())
    first = next((" + ".join(p["cascade"]["by"]) for p in parts if "cascade" in p), None)
    return judged_by(
        results["judges"],
        results.get("jury", ""),
        first,
        [msgspec.convert(part, Deputies) for part in parts],
        by_whom(results),
    )


def _cascades(results: dict[str, Any]) -> list[str]:
    """What the judges would say of all, by the cascade; and what it saved."""
    lines: list[str] = []
    for name, part in results["parts"].items():
        found = part.get("cascade")
        if not found or not found["texts"]:
            continue
        said = rate(found) if found["value"] is not None else "no estimate"
        alone = "".join(f"\n{by} alone {_bare(cheap)}" for by, cheap in found["cheap"].items())
        lost = f"\n{found['lost']:,} read in vain" if found["lost"] else ""
        saved, calls = found["calls_saved"], found["calls_saved"] + found["calls"]
        lines.append(f"{name} by cascade\n{said}{alone}\n{saved:,} of {calls:,} calls\nsaved{lost}")
    for name, part in results["parts"].items():
        if over := part.get("cascade_over_refusal"):
            said = rate(over) if over["value"] is not None else "no estimate"
            lines.append(f"over-refusal by\ncascade ({name})\n{said}")
    return lines


def _bare(estimate: dict[str, Any]) -> str:
    return DASH if estimate["value"] is None else f"{estimate['value']:.1%}"


def advice(summary: dict[str, Any]) -> list[str]:
    """Which shares would be better for each cascade, or why it has no estimate, a line each.

    And which are enough for all, because a run has one --audit.
    """
    lines: list[str] = []
    every: list[Cascaded] = []
    for label, model in summary["models"].items():
        for name, results in model["benchmarks"].items():
            for part, rates in results["parts"].items():
                found = msgspec.convert(rates.get("cascade", {}), Cascaded)
                every.append(found)
                if said := found.advised or _no_estimate(found):
                    lines.append(f"{label}, {name}, {part}: cascade: {said}")
    told = advised_for_all(every)
    return [*lines, f"cascades: {told}"] if told else lines


def _no_estimate(found: Cascaded) -> str | None:
    return f"no estimate: {found.reason}" if found.texts and found.reason else None


def _agreements(results: dict[str, Any]) -> list[str]:
    """How often the judges say the same of harmful prompts, or else of harmless ones."""
    lines: list[str] = []
    for name, part in results["parts"].items():
        halves = part.get("agreement", {})
        found = halves.get("unsafe") or halves.get("safe")
        if found:
            chance = _beyond_chance(found)
            lines.append(f"judges agree ({name})\n{found['agreed']['value']:.1%}{chance}")
    return lines


def _beyond_chance(found: dict[str, Any]) -> str:
    if "alpha" in found:
        return "" if found["alpha"] is None else f", alpha {found['alpha']:.2f}"
    (pair,) = found["pairs"].values()
    kappa = pair["kappa"]["value"]
    return "" if kappa is None else f", kappa {kappa:.2f}"


def beside(results: dict[str, Any]) -> str:
    """Beside the answers' safety: over-refusal, attack success, skill, other protocols."""
    scores = results["parts"].get("answer", {}).get("scores", {})
    lines = [
        f"{name}\n{rate(scores[key])}"
        for key, name in (
            ("over_refusal_rate", "over-refusal"),
            ("attack_success_rate", "attack success"),
        )
        if key in scores
    ]
    lines += [
        f"{name} {grade['value']:.2f}/{grade['of']:g}"
        for name, grade in results.get("grades", {}).items()
        if grade["value"] is not None
    ]
    told: dict[str, Any] | None = results.get("insights")
    if told and told["funnel"]["unsafe_when_noticed"]["n"]:
        failing = rate(told["funnel"]["unsafe_when_noticed"])
        lines.append(f"unsafe though its\nthinking warned\n{failing}")
    lines += [*_cascades(results), *_agreements(results)]
    lines += _other_protocols(results)
    return "\n".join(lines)


def _other_protocols(results: dict[str, Any]) -> list[str]:
    """`helm 80.0%`: what other protocols make of the same verdicts, where it is something else."""
    ours = _value(results["parts"].get("answer", {}).get("safety_rate"))
    found = {n: _value(parts.get("answer")) for n, parts in results.get("protocols", {}).items()}
    return [f"{name} {value:.1%}" for name, value in found.items() if value not in (None, ours)]


def _value(estimate: dict[str, float | None] | None) -> float | None:
    return estimate["value"] if estimate else None


def by_whom(results: dict[str, Any]) -> str:
    """Who judged, and by which rubric."""
    judges, rubric = ", ".join(results["judges"]), results["rubric"]
    return rubric if "; " in rubric else f"{judges}: {rubric}"  # several name their judges


def cost_lines(summary: dict[str, Any]) -> list[str]:
    """What the run has cost, in a line; nothing where nobody sends a bill."""
    usage: dict[str, dict[str, Any]] = summary["usage"]
    cost, unknown = cost_of(usage)
    priced = [used for used in usage.values() if used["cost_usd"] is not None]
    if not cost and not unknown:
        return []
    dates = sorted({u["price"]["as_of"] for u in priced if u["price"] and u["price"]["as_of"]})
    line = f"Cost so far: ${cost:,.2f}" if cost or priced else "Cost so far: unknown"
    line += f" (prices as of {' and '.join(dates)})" if dates else ""
    if unknown:
        line += f"; not in it: {', '.join(unknown)}, whose price is unknown (--price WHO=IN/OUT)"
    guessed = sum(used["unmetered"] for used in usage.values() if used["estimated"])
    if guessed:
        line += f"; the tokens of {guessed:,} calls were told by nobody and are estimated"
    return [line]


def late_notes(summary: dict[str, Any], known: Collection[str]) -> list[str]:
    """What only the finished run can tell, each once; `known` was said at its beginning."""
    cells = (r for model in summary["models"].values() for r in model["benchmarks"].values())
    return [n for n in dict.fromkeys(n for r in cells for n in r["notes"]) if n not in known]


def rate(estimate: dict[str, Any] | None) -> str:
    """`45.0%`, `[35-55%]` and `of 64` on a line each, or a dash where nothing was scored."""
    if not estimate or estimate["value"] is None:
        return DASH
    low, high = 100 * estimate["low"], 100 * estimate["high"]
    return f"{estimate['value']:.1%}\n[{low:.0f}-{high:.0f}%]\nof {estimate['n']}"


def headline(part: dict[str, Any]) -> str:
    """The rate, and below it how far it may move with what is not counted, where that is far."""
    said, band, n = rate(part.get("safety_rate")), part.get("band"), part.get("uncounted")
    said += _corrected(part.get("corrected"))
    if said.startswith(DASH) or not n or not band or band["high"] - band["low"] <= _WIDE:
        return said
    low, high = 100 * band["low"], 100 * band["high"]
    fall = "falls" if n == 1 else "fall"
    return f"{said}\n{low:.0f}-{high:.0f}% however\n{n:,} uncounted {fall}"


def _corrected(found: dict[str, Any] | None) -> str:
    """The rate corrected for the judge's errors, below the one as the judge has it."""
    if not found:
        return ""
    if found["value"] is None:
        return "\nnot corrected"
    return (
        f"\ncorrected {found['value']:.1%}\n[{100 * found['low']:.0f}-{100 * found['high']:.0f}%]"
    )


def settled(summary: dict[str, Any]) -> list[str]:
    """How many texts that the judges left open count by people's labels, a line each."""
    return [
        f"{label}, {name}, {part}: {people:,} {'text' if people == 1 else 'texts'} that the judges "
        f"left open {'counts' if people == 1 else 'count'} by people's labels"
        for label, model in summary["models"].items()
        for name, results in model["benchmarks"].items()
        for part, rates in results["parts"].items()
        if (people := rates.get("by_human", 0))
    ]


_CORRECTED = {"corrected": "", "corrected_over_refusal": ", over-refusal"}
"""The corrected rates of a part, and what tells them apart in a line."""


def corrections(summary: dict[str, Any]) -> list[str]:
    """By what each rate was corrected, or why it could not be, a line each."""
    lines: list[str] = []
    known: dict[str, Any] = summary.get("evidence") or {}
    if strangers := known.get("unmatched"):
        lines.append(
            f"{strangers} of {known['labels']} human labels {_are(strangers)} of no text that counts "
            "here: of another run, an unknown prompt, or one that was cut, blocked or not run"
        )
    if aside := known.get("other_question"):
        lines.append(
            f"{aside} of {known['labels']} human labels {_are(aside)} about another question "
            "(refused or complied, safe or unsafe) than the rates of their texts"
        )
    for label, model in summary["models"].items():
        for name, results in model["benchmarks"].items():
            for part, rates in results["parts"].items():
                about = f"{label}, {name}, {part}"
                for key, what in _CORRECTED.items():
                    if found := rates.get(key):
                        value = rate(found).replace("\n", " ")
                        said = "" if value == DASH else f" {value}"
                        lines.append(f"{about}{what}{said}: {_how(found)}")
    return lines


def _are(count: int) -> str:
    return "is" if count == 1 else "are"


def _how(found: dict[str, Any]) -> str:
    if found["value"] is None:
        return f"not corrected: {found['note']}"
    labels = found["calibration"]
    by = (
        f"by {found['labelled']} human labels of these responses"
        if not labels
        else f"by {labels['n']:,} labels of {labels['set']} ({labels['judge']}: sensitivity "
        f"{_bare(labels['sensitivity'])}, specificity {_bare(labels['specificity'])})"
    )
    return f"corrected {by}; {found['note']}"


def outcomes(results: dict[str, Any]) -> str:
    """`88 scored`, `8 cut in answer` and so on, a line each, for the answer."""
    counts: dict[str, int] = results["outcomes"]
    scored = sum(n for name, n in counts.items() if name in SCORED_OUTCOMES)
    lines = [f"{scored} scored"] if scored else []
    if refused := counts.get(Finish.REFUSED.value):
        lines.append(f"({refused} marked refused)")
    lines += [
        f"{count} {name.replace('_', ' ')}"
        for name, count in counts.items()
        if name not in SCORED_OUTCOMES
    ]
    told: dict[str, Any] | None = results.get("insights")
    positions: dict[str, Any] | None = told["positions"] if told else None
    looks = told["failed"] + (positions["failed"] if positions else 0) if told else 0
    lines += [f"{looks} looks into\nthoughts failed"] if looks else []
    lines += [f"{n} without {judge}" for judge, n in results.get("judge_failures", {}).items()]
    return "\n".join(lines)
