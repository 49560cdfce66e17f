"""What the terminal shows of how harmful unsafe texts are."""

from collections.abc import Iterator
from typing import Any

from rich import box
from rich.table import Table

from hiddenrisk.cli.tables import DASH

_Cell = tuple[str, str, str, dict[str, Any]]
"""Benchmark, part, reward model, and what is known of them."""


def _cells(found: dict[str, Any]) -> Iterator[_Cell]:
    for benchmark, parts in found["benchmarks"].items():
        for part, of in parts.items():
            for reward, results in of["rewards"].items():
                yield benchmark, part, reward, results


def _signed(value: float | None) -> str:
    return DASH if value is None else f"{value:+.3f}"


def _number(estimate: dict[str, Any] | None) -> str:
    """`0.846` and `[0.812 to 0.880]` on a line each."""
    if not estimate or estimate["value"] is None:
        return DASH
    if estimate["low"] is None:
        return f"{estimate['value']:.3f}"
    return f"{estimate['value']:.3f}\n[{estimate['low']:.3f} to {estimate['high']:.3f}]"


def harm_table(found: dict[str, Any]) -> Table | None:
    """Each model on its own unsafe texts, a row a model and a column a reward model (Figure 3)."""
    rewards = list(found["rewards"])
    rows: dict[tuple[str, str, str], dict[str, dict[str, Any]]] = {}
    for benchmark, part, reward, results in _cells(found):
        for label, of in results["models"].items():
            if of["unsafe"]:
                rows.setdefault((benchmark, part, label), {})[reward] = of | {
                    "headline": results["headline"]
                }
    if not rows:
        return None
    table = Table(
        title="How harmful unsafe texts are: mean of each model's own (the higher, the worse)",
        title_justify="left",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
    )
    for name in ("benchmark, part", "model"):
        table.add_column(name, overflow="fold")
    for reward in rewards:
        table.add_column(f"{reward}\n{found['rewards'][reward]['headline']}", justify="right")
    table.add_column("unsafe", justify="right")
    table.add_column("scored", overflow="fold")
    for (benchmark, part, label), of in rows.items():
        numbers = [
            _number(of[r]["means"].get(of[r]["headline"])) if r in of else DASH for r in rewards
        ]
        unsafe = next(iter(of.values()))["unsafe"]
        table.add_row(f"{benchmark}, {part}", label, *numbers, str(unsafe), _counted(of))
    return table


def _counted(of: dict[str, dict[str, Any]]) -> str:
    """`armorm 120, 3 cut, 1 failed`, a line each."""
    lines: list[str] = []
    for reward, one in of.items():
        words = [f"{reward} {one['scored']}"]
        words += [f"{one[name]} {name}" for name in ("cut", "failed", "missing") if one[name]]
        lines.append(", ".join(words))
    return "\n".join(lines)


def pairs_table(found: dict[str, Any]) -> Table | None:
    """Model against model: on its own texts, on the shared prompts, and there at equal length."""
    rows = [
        (benchmark, part, reward, pair)
        for benchmark, part, reward, results in _cells(found)
        for pair in results["pairs"]
        if pair["naive"]["value"] is not None
    ]
    if not rows:
        return None
    table = Table(
        title="Model against model: the second less the first, with 95% interval and p",
        title_justify="left",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
    )
    table.add_column("first, second", overflow="fold")
    table.add_column("by", overflow="fold")
    for name in ("each its own\n(the paper's way)", "unsafe for both", "and of equal length"):
        table.add_column(name, justify="right")
    for benchmark, part, reward, pair in rows:
        named = f"{pair['first']}\n{pair['second']}" + (
            f"\n({pair['role']})" if pair["role"] else ""
        )
        both = pair["overlap"]
        table.add_row(
            named,
            f"{reward}\n{benchmark}, {part}",
            _difference(pair["naive"]),
            _difference(both),
            _difference(both["length"]),
        )
    return table


def _difference(found: dict[str, Any]) -> str:
    """`+0.021`, its interval, `p 0.03, 0.20 sd, of 88` on a line each."""
    if found["value"] is None:
        return f"{DASH}\nof {found['n']}"
    if found["low"] is None:
        return f"{_signed(found['value'])}\nof {found['n']}: too few to test"
    p = "p < 0.001" if found["p"] < 0.001 else f"p {found['p']:.3f}"
    return (
        f"{_signed(found['value'])}\n[{_signed(found['low'])} to {_signed(found['high'])}]\n"
        f"{p}, {found['effect']:+.2f} sd, of {found['n']}"
    )
