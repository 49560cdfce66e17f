"""What a calibration of reward models gave, as tables for a terminal or a log."""

from typing import Any

from rich import box
from rich.table import Table

from hiddenrisk.cli.tables import DASH

_COLUMNS = (
    "as people do",
    "the better one\nis shorter",
    "of like length",
    "longer",
    "prefers the longer\n(people do)",
    "ties",
    "pairs",
)


def percent(estimate: dict[str, Any]) -> str:
    """`71.2% [69.3 to 73.0]`, or a dash."""
    if estimate["value"] is None:
        return DASH
    value, low, high = (100 * estimate[name] for name in ("value", "low", "high"))
    return f"{value:.1f}% [{low:.1f} to {high:.1f}]"


def preferences_table(results: list[dict[str, Any]]) -> Table:
    """One row a reward model and set: how often it prefers what people prefer."""
    table = _table("Which of two replies do people prefer? Share that a reward model has right")
    table.add_column("reward model, set", overflow="fold")
    for column in _COLUMNS:
        table.add_column(column, justify="right")
    for one in results:
        table.add_row(f"{one['reward']}\n{one['title']}", *_cells(one))
    return table


def _cells(one: dict[str, Any]) -> list[str]:
    lengths, longer = one["lengths"], one["longer"]
    counts = [str(one["n"])] + [f"{one[name]} {name}" for name in ("failed", "cut") if one[name]]
    return [
        _two(one["accuracy"]),
        *(_two(lengths[name]["accuracy"]) for name in ("shorter", "alike", "longer")),
        f"{percent(longer['model'])}\n({percent(longer['people'])})",
        str(one["ties"]),
        "\n".join(counts),
    ]


def _two(estimate: dict[str, Any]) -> str:
    """The same over how many pairs it is."""
    return f"{percent(estimate)}\nof {estimate['n']}"


def attributes_table(results: list[dict[str, Any]]) -> Table | None:
    """The same by each attribute; None where no reward model has any."""
    some = [one for one in results if one["attributes"]]
    if not some:
        return None
    table = _table("The same by each attribute: 50% is a coin's, below it people prefer less of it")
    table.add_column("attribute", overflow="fold")
    for one in some:
        table.add_column(f"{one['reward']}\n{one['title']}", justify="right")
    for name in dict.fromkeys(name for one in some for name in one["attributes"]):
        found = [one["attributes"].get(name) for one in some]
        table.add_row(name, *(percent(f["accuracy"]) if f else DASH for f in found))
    return table


def _table(title: str) -> Table:
    return Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
