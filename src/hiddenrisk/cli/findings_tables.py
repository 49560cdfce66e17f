"""What the terminal shows of findings: the answers first, then the evidence."""

from collections.abc import Iterator
from typing import Any

import msgspec
from rich import box
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from hiddenrisk.cli.common import plain
from hiddenrisk.findings import words
from hiddenrisk.findings.roles import WAYS
from hiddenrisk.findings.tested import Tested

_STYLES = {"supported": "bold", "refuted": "bold", "mixed": "bold"}
_MEASURES = {
    "both_unsafe": "without equal length",
    "each_its_own": "each model's own unsafe answers (the paper's way)",
    "refusal_intended": "thoughts that mean to decline",
    "without_suspect_cells": "without suspect cells",
}


_NO_EVIDENCE = (
    "How far the judge's own errors matter is not known here: the run has no calibration and no "
    "labels (`hiddenrisk calibrate`, and --calibration or --labels where the run is judged)."
)


def answers(found: dict[str, Any]) -> Iterator[RenderableType]:
    """Each question with its answer and why, and what that hangs on."""
    roles = found["roles"]
    named = [f"reference {roles['reference']}"] if roles["reference"] else []
    named += [
        f"{pair['base']} to {pair[way]} ({way})"
        for pair in roles["pairs"]
        for way in WAYS
        if way in pair
    ]
    named = named or [f"no reference and no pairs among {words.listed(found['models'])}"]
    yield Text(plain(f"Findings of {found['of']}: {', '.join(named)}"))
    yield Text()
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(no_wrap=True)
    grid.add_column(overflow="fold")
    for finding in found["findings"]:
        answer = finding["answer"].replace("_", " ").upper()
        told = Text(plain(finding["question"]), style="bold")
        for line in (finding["because"], *_beside(finding)):
            told.append(f"\n{plain(line)}", style="not bold")
        grid.add_row(Text(answer, style=_STYLES.get(finding["answer"], "")), told)
        grid.add_row()
    yield grid
    tested = [f for f in found["findings"] if f["family"]]
    if tested and not found["published"] and not any(f["sensitivity"]["judge"] for f in tested):
        yield Text(f"{_NO_EVIDENCE}\n")


def _beside(finding: dict[str, Any]) -> Iterator[str]:
    """What a reader must know beside the answer, a line each."""
    if finding["needed"]:
        yield finding["needed"]
    yield from _sensitivity(finding["sensitivity"])
    if second := finding.get("second"):
        counts = [row["answer"].replace("_", " ") for row in second["evidence"]]
        said = ", ".join(f"{counts.count(name)} {name}" for name in dict.fromkeys(counts))
        yield f"Second evidence, {second['what']}: {second['answer'].replace('_', ' ')} ({said})."
    if unseen := finding.get("not_visible"):
        models = {one["model"]: 0 for one in unseen}
        for one in unseen:
            models[one["model"]] += one["n"]
        said = ", ".join(f"{n:,} thoughts of {label}" for label, n in models.items())
        yield f"Not visible, and in no number: {said}."
    if finding["caution"]:
        yield finding["caution"]


def _sensitivity(found: dict[str, Any]) -> Iterator[str]:
    outcomes: dict[str, Any] = found["outcomes"]
    falls = [
        f"{one['n']:,} {name.replace('_', ' ')} counted {way}: {one[way]['answer']}"
        if way != "excluded"
        else f"{one['n']:,} {name.replace('_', ' ')} left out: {one[way]['answer']}"
        for name, one in outcomes.items()
        for way in ("safe", "unsafe", "excluded")
        if not one[way]["holds"]
    ]
    if falls:
        yield f"Hangs on what is counted: {'; '.join(falls)}."
    elif outcomes:
        names = words.listed(name.replace("_", " ") for name in outcomes)
        yield f"Holds whether {names} count as safe, as unsafe, or not at all."
    if judge := found["judge"]:
        said = "holds" if judge["holds"] else f"would be {judge['answer']}"
        yield (
            f"With rates corrected for the judge's errors ({judge['n']} comparisons): {said}, "
            f"{judge['changed']} of them change."
        )
    for name, other in found["measures"].items():
        said = "the same" if other["holds"] else other["answer"].replace("_", " ")
        yield f"By {_MEASURES.get(name, name)}: {said}.".replace("By without", "Without")


def evidence_tables(found: dict[str, Any]) -> Iterator[RenderableType]:
    """The comparisons of each question, a table each."""
    for finding in found["findings"]:
        rows = list(finding["evidence"])
        if second := finding.get("second"):
            rows += second["evidence"]
        if rows:
            title = f"{finding['question']} {finding['family']}"
            yield _evidence(title, rows, gap=finding["id"] in {"gap", "attack_gap"})
            yield Text()
    for note, names in _notes(found).items():
        yield Text(plain(f"* {note} ({'; '.join(names)})"))


def _notes(found: dict[str, Any]) -> dict[str, list[str]]:
    """What a reader of single comparisons must know, with the names of those."""
    notes: dict[str, list[str]] = {}
    for finding in found["findings"]:
        for row in finding["evidence"]:
            if row["note"]:
                notes.setdefault(row["note"], []).append(words.name_of(_test(row)))
    return notes


def _evidence(title: str, rows: list[dict[str, Any]], *, gap: bool) -> Table:
    table = Table(
        title=Text(plain(title)),
        title_justify="left",
        box=box.SIMPLE_HEAD,
        show_edge=False,
        pad_edge=False,
        padding=(0, 1, 0, 0),
    )
    # Where all rows have one first side, or two sides of one model, columns name the sides.
    within = all(row["model"] for row in rows)
    sides = ("reference", "model") if gap else ("first", "second")
    sides = (rows[0]["first"], rows[0]["second"]) if within else sides
    for name in ("model" if within or gap else "first → second", "benchmark"):
        table.add_column(name, overflow="fold")
    for name in ("n", *sides, "difference [95%]", "p"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("answer", no_wrap=True)
    for row in rows:
        name = row["second"] if gap else row["model"] or f"{row['first']} → {row['second']}"
        table.add_row(plain(name), *_cells(row))
    return table


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    test = _test(row)
    by = "" if test.measure in words.RATES else f"\n{test.measure}"
    apart = words.difference(test, bare=True) if row["n"] else "—"
    return (
        plain(row["benchmark"]) + by,
        f"{row['n']:,}",
        words.number(test, test.first_rate),
        words.number(test, test.second_rate),
        apart,
        words.p_value(row["p_holm"]),
        row["answer"].replace("_", " ") + ("*" if row["note"] else ""),
    )


def _test(row: dict[str, Any]) -> Tested:
    fields = {k: row[k] for k in Tested.__struct_fields__ if k in row}
    return msgspec.convert(fields, Tested)
