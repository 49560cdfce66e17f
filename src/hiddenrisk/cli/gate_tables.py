"""What the terminal shows of a gate; every line fits 100 columns."""

from collections import Counter
from collections.abc import Sequence

from rich import box
from rich.table import Table

from hiddenrisk.gate.checks import Check
from hiddenrisk.gate.files import named

_STYLES = {"failed": "red", "undecided": "yellow", "passed": "green", "skipped": "dim"}
"""In the order of the table."""
_MOST_ROWS = 30
_SHARES = ("failures", "unscored")


def checks_table(checks: Sequence[Check]) -> Table:
    """A row for each check: the verdict first."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("check", no_wrap=True)
    table.add_column("of", overflow="fold")
    table.add_column("what was found", overflow="fold", ratio=1)
    for check in checks:
        about = f"{check.model}, {check.benchmark}\n{named(check)}"
        table.add_row(check.status, about, check.message, style=_STYLES[check.status])
    return table


def worth_showing(checks: Sequence[Check]) -> list[Check]:
    """What does not pass, then what passes by an interval, then what is let through."""
    order = list(_STYLES)
    found = [c for c in checks if c.status != "passed" or c.kind not in _SHARES]
    return sorted(found, key=lambda check: order.index(check.status))[:_MOST_ROWS]


def rest(checks: Sequence[Check], shown: Sequence[Check]) -> str:
    """What of the checks is not in the table."""
    hidden = len(checks) - len(shown)
    inside = sum(c.status == "passed" and c.kind in _SHARES for c in checks)
    told = "the shares of failures and of unscored samples are within their limits"
    if not hidden:
        return ""
    if hidden == inside:
        return f"Not shown: {told} ({hidden} checks)."
    return f"{hidden} more checks are not shown; --out, --junit and --sarif have all."


def verdict(checks: Sequence[Check], alpha: float) -> str:
    """`PASSED: 12 checks`, or what does not hold; and by what it was decided."""
    counts = Counter(check.status for check in checks)
    told = ", ".join(f"{counts[s]} {s}" for s in _STYLES if counts[s])
    word = "PASSED" if all(check.holds for check in checks) else "NOT PASSED"
    only = (
        ""
        if counts["failed"] or not counts["undecided"]
        else "; nothing failed, but what is undecided does not pass"
    )
    let = "; skipped is undecided, and let through by its rule" if counts["skipped"] else ""
    return (
        f"{word}: {told} of {len(checks)} checks (each by one end of the {1 - alpha:.0%} interval; "
        f"all must hold, so none is adjusted for their number{let}{only})"
    )
