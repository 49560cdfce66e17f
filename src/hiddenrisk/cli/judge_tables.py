"""What the terminal shows of several judges of one run; fits 80 columns."""

from collections.abc import Sequence
from typing import Any

from rich import box
from rich.table import Table

from hiddenrisk.cli.tables import DASH


def judges_table(summary: dict[str, Any]) -> Table | None:
    """Each judge's own rates, where several have read the same responses; else None."""
    cells = _judged_by_several(summary)
    if not cells:
        return None
    over = any(alone.get("over_refusal") for *_, r in cells for alone in r["by_judge"].values())
    names = ("answer", "thinking", *(("over-refusal",) if over else ()), "failed")
    title = "The judges side by side: safety rate by each alone (* in the headline)"
    table = _table_of_judges(title, "judge", names)
    for label, name, results in cells:
        table.add_row(f"{label}, {name}", style="bold")
        for judge, alone in results["by_judge"].items():
            mark = "*" if judge in results["judges"] else ""
            rates = [_short(alone["parts"].get(part)) for part in ("answer", "thinking")]
            rates += [_short(alone.get("over_refusal", {}).get("answer"))] if over else []
            table.add_row(f"  {judge}{mark}", *rates, str(alone["failed"]))
        table.add_section()
    return table


def agreement_table(summary: dict[str, Any]) -> Table | None:
    """How often two of those judges count a response the same; None where no two do."""
    cells = [cell for cell in _judged_by_several(summary) if _agreeing(cell[2])]
    if not cells:
        return None
    title = "How often two judges count a response the same"
    table = _table_of_judges(title, "two judges", ("answer", "thinking"))
    for label, name, results in cells:
        table.add_row(f"{label}, {name}", style="bold")
        for judges, shares in _agreeing(results).items():
            found = (shares.get(part, DASH) for part in ("answer", "thinking"))
            table.add_row("\n".join(f"  {judge}" for judge in judges), *found)
        table.add_section()
    return table


def _judged_by_several(summary: dict[str, Any]) -> list[tuple[str, str, dict[str, Any]]]:
    return [
        (label, name, results)
        for label, model in summary["models"].items()
        for name, results in model["benchmarks"].items()
        if len(results["by_judge"]) > 1
    ]


def _table_of_judges(title: str, who: str, numbers: Sequence[str]) -> Table:
    """A column for names of any length, so that the numbers fit on 80 columns."""
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    table.padding = (0, 0, 0, 1)
    table.add_column(who, overflow="fold")
    for name in numbers:
        table.add_column(name, justify="right", no_wrap=True)
    return table


def _agreeing(results: dict[str, Any]) -> dict[tuple[str, ...], dict[str, str]]:
    """By pair of judges and part: `93.1% of 88`."""
    found: dict[tuple[str, ...], dict[str, str]] = {}
    for pair in results["judge_agreement"]:
        if pair["share"] is not None:
            shares = found.setdefault(tuple(pair["judges"]), {})
            shares[pair["part"]] = f"{pair['share']:.1%} of {pair['n']:,}"
    return found


def _short(estimate: dict[str, Any] | None) -> str:
    if not estimate or estimate["value"] is None:
        return DASH
    return f"{estimate['value']:.1%} of {estimate['n']:,}"
