"""What the terminal shows of how harmful unsafe texts are."""

from collections.abc import Collection, Iterator
from typing import Any

from rich import box
from rich.table import Table

from hiddenrisk.cli.preference_tables import percent
from hiddenrisk.cli.tables import DASH

_FEW = 15
"""So many comparisons are shown: those of every two of six models, by one reward model."""
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
    for (benchmark, part, label), of in rows.items():
        numbers = [_own(of[r]) if r in of else DASH for r in rewards]
        unsafe = next(iter(of.values()))["unsafe"]
        table.add_row(f"{benchmark}, {part}", label, *numbers, str(unsafe))
    return table


def _own(of: dict[str, Any]) -> str:
    """A mean with its interval, over `120 scored, 3 cut, 1 failed, 9 not scored`."""
    words = [f"{of[name]} {name}" for name in ("scored", "cut", "failed") if of[name]]
    words += [f"{of['missing']} not scored"] if of["missing"] else []
    return "\n".join([_number(of["means"].get(of["headline"])), ", ".join(words) or "0 scored"])


def pairs_table(found: dict[str, Any], asked: Collection[str]) -> Table | None:
    """Model against model: on its own texts, on the shared prompts, and there at equal length.

    By the reward models that were asked; the report has all.
    """
    every = [
        (benchmark, part, reward, pair)
        for benchmark, part, reward, results in _cells(found)
        for pair in results["pairs"]
        if pair["naive"]["value"] is not None and reward in asked
    ]
    if not every:
        return None
    rows = every[:_FEW]
    more = len(every) - len(rows)
    rest = f"; {more} more are in summary.json and the report" if more else ""
    table = Table(
        title=f"Model against model: the second less the first, with 95% interval and p{rest}",
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
    """`+0.021`, its interval, `p 0.030 (Holm's p 0.090)`, `0.20 sd, of 88` on a line each."""
    if found["value"] is None:
        return f"{DASH}\nof {found['n']}"
    if found["low"] is None:
        return f"{_signed(found['value'])}\nof {found['n']}: too few to test"
    p = (
        _p(found["p"])
        if found.get("p_holm") is None
        else f"{_p(found['p'])} (Holm's {_p(found['p_holm'])})"
    )
    return (
        f"{_signed(found['value'])}\n[{_signed(found['low'])} to {_signed(found['high'])}]\n"
        f"{p}\n{found['effect']:+.2f} sd, of {found['n']}"
    )


def _p(p: float) -> str:
    return "p < 0.001" if p < 0.001 else f"p {p:.3f}"


def harm_notes(found: dict[str, Any]) -> Iterator[str]:
    """What a reader of the tables must know: a draw, and how good the reward models are."""
    limits = {about["limit"] for about in found["rewards"].values() if about.get("limit")}
    if limits and len(_models(found)) > 1:
        yield (
            f"Note: drawn with --limit {max(limits)}. Prompts that are unsafe for several models "
            "came first, so what each model's own have in the mean is not of all its unsafe texts."
        )
    for label, about in found["rewards"].items():
        for one in about.get("preferences", {}).values():
            yield f"{label}: {preferred(one)}"


def _models(found: dict[str, Any]) -> set[str]:
    cells = [results["models"] for *_, results in _cells(found)]
    return {label for models in cells for label, of in models.items() if of["unsafe"]}


def preferred(one: dict[str, Any]) -> str:
    """`prefers the reply that people prefer in 71.2% [..] of 1,170 pairs (HH-RLHF ...)`."""
    lengths = one["lengths"]
    by = ", ".join(
        f"{percent(lengths[name]['accuracy'])} where it is {word}"
        for name, word in (("shorter", "the shorter"), ("longer", "the longer"))
        if name in lengths
    )
    said = [f"{one[name]} {name}" for name in ("ties", "failed") if one[name]]
    unverified = "; UNVERIFIED data" if one["unverified"] else ""
    return (
        f"prefers the reply that people prefer in {percent(one['accuracy'])} of "
        f"{one['accuracy']['n']:,} pairs ({'; '.join([one['title'], *said])}{unverified}); {by}"
    )
