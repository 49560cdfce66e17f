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

_WIDE = 100
"""Columns that a row on one line takes; on a narrower screen it takes two."""
_STYLES = {"supported": "bold", "refuted": "bold", "mixed": "bold"}
_UNCORRECTED = (
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
    for finding in sorted(found["findings"], key=_silent):
        answer = finding["answer"].replace("_", " ").upper()
        told = Text(plain(finding["question"]), style="bold")
        for line in (finding["because"], finding["needed"], *finding["beside"]):
            if line:
                told.append(f"\n{plain(line)}", style="not bold")
        grid.add_row(Text(answer, style=_STYLES.get(finding["answer"], "")), told)
        grid.add_row()
    yield grid
    tested = [f for f in found["findings"] if f["family"]]
    if tested and not found["published"] and not any(f["sensitivity"]["judge"] for f in tested):
        yield Text(f"{_UNCORRECTED}\n")


def _silent(finding: dict[str, Any]) -> bool:
    """Whether there is nothing to say of a question, but why it is not measured: told last."""
    said = finding["evidence"] or finding["beside"] or finding["needed"]
    return finding["answer"] == "not_measured" and not said


def evidence_tables(found: dict[str, Any], width: int) -> Iterator[RenderableType]:
    """The comparisons of each question, a table each, for a screen of so many columns."""
    for finding in found["findings"]:
        rows = list(finding["evidence"])
        if second := finding.get("second"):
            rows += second["evidence"]
        if rows:
            title = f"{finding['question']} {finding['family']}"
            gap = finding["id"] in {"gap", "attack_gap"}
            yield _evidence(title, rows, gap=gap, narrow=width < _WIDE)
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


def _evidence(title: str, rows: list[dict[str, Any]], *, gap: bool, narrow: bool) -> Table:
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
    apart = ("difference", "[95%]")
    middle = ("\n".join(sides), "\n".join(apart)) if narrow else (*sides, " ".join(apart))
    for name in ("n", *middle, "p"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("answer", no_wrap=True)
    to = "\n→ " if narrow else " → "
    for row in rows:
        alone = row["second"] if gap else row["model"]
        name = plain(alone) if alone else f"{plain(row['first'])}{to}{plain(row['second'])}"
        table.add_row(name, *_cells(row, narrow=narrow))
    return table


def _cells(row: dict[str, Any], *, narrow: bool) -> tuple[str, ...]:
    test = _test(row)
    by = "" if test.measure in words.RATES else f"\n{test.measure}"
    apart = words.difference(test, bare=True) if row["n"] else "—"
    rates = [words.number(test, rate) for rate in (test.first_rate, test.second_rate)]
    if narrow:
        rates, apart = ["\n".join(rates)], apart.replace(" [", "\n[")
    return (
        plain(row["benchmark"]) + by,
        f"{row['n']:,}",
        *rates,
        apart,
        words.p_value(row["p_holm"]),
        row["answer"].replace("_", " ") + ("*" if row["note"] else ""),
    )


def _test(row: dict[str, Any]) -> Tested:
    fields = {k: row[k] for k in Tested.__struct_fields__ if k in row}
    return msgspec.convert(fields, Tested)
