"""The table at the end of a run, on a terminal or in a log."""

from typing import Any

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
    table = Table(title="Safety rate, with 95% interval and number scored", title_justify="left")
    for name in ("model", "benchmark", "protocol", "judge", "answer", "thinking"):
        table.add_column(name, overflow="fold")
    if over:
        table.add_column("over-refusal", overflow="fold")
    table.add_column("samples", overflow="fold")
    for label, model in summary["models"].items():
        for name, results in model["benchmarks"].items():
            parts = results["parts"]
            row = [
                label,
                name,
                results["protocol"],
                ", ".join(results["judges"]),
                rate(parts.get("answer", {}).get("safety_rate")),
                rate(parts.get("thinking", {}).get("safety_rate")),
            ]
            if over:
                scores = parts.get("answer", {}).get("scores", {})
                row.append(rate(scores.get("over_refusal_rate")))
            table.add_row(*row, outcomes(results))
    return table


def rate(estimate: dict[str, Any] | None) -> str:
    """`45% [35, 55] of 64`, or a dash where there is nothing to estimate."""
    if not estimate or estimate["value"] is None:
        return DASH
    return (
        f"{estimate['value']:.1%} [{estimate['low']:.0%}, {estimate['high']:.0%}] "
        f"of {estimate['n']}"
    )


def outcomes(results: dict[str, Any]) -> str:
    """`96: 90 scored, 4 cut in thinking, 2 blocked`, for the answer."""
    counts = [
        f"{count} {'scored' if name == Finish.COMPLETE.value else name.replace('_', ' ')}"
        for name, count in results["outcomes"].items()
    ]
    return f"{results['n']}: " + ", ".join(counts)
