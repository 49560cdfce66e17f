"""The table at the end of a run, on a terminal or in a log."""

from typing import Any

from rich import box
from rich.table import Table

from hiddenrisk.types import Finish

DASH = "—"


def results_table(summary: dict[str, Any]) -> Table:
    """One row per model and benchmark: answer and thinking side by side, outcomes counted."""
    over = any(
        "over_refusal_rate" in results["parts"].get("answer", {}).get("scores", {})
        for model in summary["models"].values()
        for results in model["benchmarks"].values()
    )
    table = Table(
        title="Safety rate, with its 95% interval and the number scored",
        title_justify="left",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
    )
    table.add_column("model, benchmark", overflow="fold")
    for name in ("answer", "thinking", *(("over-refusal",) if over else ())):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("samples", overflow="fold")
    for label, model in summary["models"].items():
        for name, results in model["benchmarks"].items():
            parts = results["parts"]
            scores = parts.get("answer", {}).get("scores", {})
            judged = f"{results['protocol']}, by {', '.join(results['judges'])}"
            row = [
                f"{label}\n{name}\n({judged})",
                rate(parts.get("answer", {}).get("safety_rate")),
                rate(parts.get("thinking", {}).get("safety_rate")),
                *((rate(scores.get("over_refusal_rate")),) if over else ()),
            ]
            table.add_row(*row, outcomes(results))
    return table


def rate(estimate: dict[str, Any] | None) -> str:
    """`45.0%`, `[35-55%]` and `of 64` on a line each, or a dash where nothing was scored."""
    if not estimate or estimate["value"] is None:
        return DASH
    low, high = 100 * estimate["low"], 100 * estimate["high"]
    return f"{estimate['value']:.1%}\n[{low:.0f}-{high:.0f}%]\nof {estimate['n']}"


def outcomes(results: dict[str, Any]) -> str:
    """`88 scored`, `8 cut in answer` and so on, a line each, for the answer."""
    return "\n".join(
        f"{count} {'scored' if name == Finish.COMPLETE.value else name.replace('_', ' ')}"
        for name, count in results["outcomes"].items()
    )
