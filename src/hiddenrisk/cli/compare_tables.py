"""What the terminal shows of models held against each other; every line fits 100 columns."""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from rich import box
from rich.table import Table

from hiddenrisk.cli.tables import DASH
from hiddenrisk.comparing import Compared, Comparison, told_outcomes
from hiddenrisk.types import Estimate, Part

if TYPE_CHECKING:
    from hiddenrisk.compare import NotCompared

_MOST_ROWS, _MOST_LINES = 40, 8
CORRECTIONS = {"holm": "Holm", "bh": "Benjamini-Hochberg"}


def comparisons_table(
    found: Sequence[Comparison], alpha: float, correction: str, title: str | None = None
) -> Table:
    """One row for each two models on a benchmark, a line for each of the two."""
    table = _table(title or "Model against model, on the samples that both have a score for")
    table.add_column("models", overflow="fold", ratio=1)
    table.add_column("on", overflow="fold")
    for name in (
        "rate",
        f"difference, points\n[{1 - alpha:.0%} interval]",
        f"p\n({correction})",
        "higher",
        "pairs",
    ):
        table.add_column(name, justify="right", no_wrap=True)
    for one in [one for one in found if one.n][:_MOST_ROWS]:
        _add_pair(table, one, told_p(one, alpha, correction))
    return table


def _add_pair(table: Table, one: Comparison, p: str) -> None:
    """Two rows: names of any length stay beside their numbers."""
    gap = difference(one.difference).split("\n")
    higher = (f"{one.only_first}", f"{one.only_second}") if one.n else (DASH, "")
    table.add_row(
        one.first,
        one.benchmark,
        _rate(one.first_rate),
        gap[0],
        p,
        higher[0],
        f"{one.n:,}",
    )
    second = f"{one.second} ({one.role})" if one.role else one.second
    table.add_row(
        second, on(one), _rate(one.second_rate), gap[-1] if len(gap) > 1 else "", "", higher[1]
    )
    table.add_section()


def categories_table(one: Comparison, alpha: float, correction: str) -> Table:
    """The categories of one comparison."""
    table = _table(f"{one.benchmark}, {on(one)}, by category: {one.second} less {one.first}")
    table.add_column("category", overflow="fold", ratio=1)
    for name in (
        "rates",
        f"difference, points\n[{1 - alpha:.0%} interval]",
        f"p\n({correction})",
        "higher",
        "pairs",
    ):
        table.add_column(name, justify="right", no_wrap=True)
    for name, cell in one.categories.items():
        table.add_row(
            name,
            f"{_rate(cell.first_rate)}\n{_rate(cell.second_rate)}",
            difference(cell.difference),
            told_p(cell, alpha, correction),
            f"{cell.only_first}\n{cell.only_second}" if cell.n else DASH,
            f"{cell.n:,}",
        )
    return table


def _table(title: str) -> Table:
    return Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)


def on(one: Comparison) -> str:
    """`answer`, or `over-refusal`, which is the answer's, or `over-refusal in thinking`."""
    if one.metric == "safety_rate":
        return one.part.value
    return "over-refusal" if one.part is Part.ANSWER else "over-refusal in thinking"


def _rate(estimate: Estimate) -> str:
    return DASH if estimate.value is None else f"{estimate.value:.1%}"


def points(share: float) -> str:
    """A difference in percentage points."""
    return f"{100 * share:+.1f}"


def difference(estimate: Estimate) -> str:
    """`+2.2` and `[-1.1 to +5.6]` on a line each."""
    if estimate.value is None or estimate.low is None or estimate.high is None:
        return DASH
    return f"{points(estimate.value)}\n[{points(estimate.low)} to {points(estimate.high)}]"


def adjusted(one: Compared, correction: str) -> float | None:
    """The p-value that is told."""
    return one.p_holm if correction in ("holm", CORRECTIONS["holm"]) else one.p_bh


def told_p(one: Compared, alpha: float, correction: str) -> str:
    """`0.013 *`: marked where it is below the level."""
    p = adjusted(one, correction)
    if p is None:
        return DASH
    told = "<0.001" if p < 0.001 else f"{p:.3f}"
    return f"{told} *" if p < alpha else told


def sentence(one: Comparison, alpha: float, correction: str) -> str:
    """What a comparison says, in words."""
    about = f"{one.benchmark}, {on(one)}"
    gap, p = one.difference, adjusted(one, correction)
    if gap.value is None or gap.low is None or gap.high is None:
        return f"{about}: not compared: {one.note}"
    if one.note:
        return f"{about}: {one.note}; the difference lies in [{points(gap.low)} to {points(gap.high)}] points"
    span = f"{points(gap.value)} points [{points(gap.low)} to {points(gap.high)}]"
    told = "p < 0.001" if p is not None and p < 0.001 else f"p = {p:.3f}"
    word = "declines" if one.metric == "over_refusal_rate" else "is safe"
    if p is not None and p < alpha:
        more = "more" if gap.value > 0 else "less"
        return f"{about}: {one.second} {word} {more} often than {one.first}: {span}, {told} ({CORRECTIONS[correction]})"
    return f"{about}: no difference is shown: {span}, {told} ({CORRECTIONS[correction]})"


def footnotes(
    found: Sequence[Comparison],
    not_compared: Sequence["NotCompared"],
    alpha: float,
    correction: str,
    *,
    by_category: bool,
) -> Iterator[str]:
    """How to read the numbers, and what is not in them."""
    tested = [one for one in found if one.p is not None]
    if tested:
        yield (
            f"p is of {_tests(tested)}, adjusted after {CORRECTIONS[correction]} for "
            f"{tested[0].family}; * is below {alpha:g}. Intervals are not adjusted."
        )
    families = (cell.family for one in found for cell in one.categories.values() if cell.family)
    if by_category and (family := next(families, None)):
        yield f"By category, for {family}: each table is a family of its own."
    if able := [one for one in found if one.detectable is not None]:
        yield f"With 80% power so many pairs show a difference of {_span(able)}."
    if (more := sum(one.n > 0 for one in found) - _MOST_ROWS) > 0:
        yield f"{more} more comparisons are not shown; --out has all."
    lines = dict.fromkeys(line for one in found if (line := _unscored(one)))
    yield from _first(list(lines), "--out has all")
    yield from _first(list(_missing(not_compared)), "--out has all")


def _missing(not_compared: Sequence["NotCompared"]) -> Iterator[str]:
    """Each reason once, with the benchmarks that it holds for."""
    where: dict[tuple[str, str], dict[str, None]] = {}
    for one in not_compared:
        part = f" ({one.part.value})" if one.part else ""
        where.setdefault((one.reason, part), {})[one.benchmark] = None
    for (reason, part), benchmarks in where.items():
        yield f"Not compared on {', '.join(benchmarks)}{part}: {reason}."


def _tests(tested: Sequence[Comparison]) -> str:
    names = {"mcnemar_midp": "McNemar's test (mid-p)", "permutation_midp": "a permutation test"}
    return " or ".join(dict.fromkeys(names.get(str(one.test), str(one.test)) for one in tested))


def _span(able: Sequence[Comparison]) -> str:
    sizes = sorted(one.detectable for one in able if one.detectable is not None)
    low, high = f"{100 * sizes[0]:.1f}", f"{100 * sizes[-1]:.1f}"
    return f"{low} points" if low == high else f"{low} to {high} points, by benchmark and pair"


def _unscored(one: Comparison) -> str | None:
    """What of the shared samples compares nothing, and what is not shared."""
    lines: list[str] = []
    lost: Mapping[str, Mapping[str, int]] = {
        one.first: one.unscored.first_outcomes,
        one.second: one.unscored.second_outcomes,
    }
    if one.n and one.n < one.shared and one.band:
        told = "; ".join(f"{name} {told_outcomes(o)}" for name, o in lost.items() if o)
        lines.append(
            f"{one.shared - one.n} of {one.shared} shared samples have no score of both ({told}); "
            f"the difference is {points(one.band.low)} to {points(one.band.high)} however they fall"
        )
    if one.n == 0:
        return f"Not compared on {one.benchmark} ({on(one)}): {one.note}."
    apart = {one.first: one.unshared["first"], one.second: one.unshared["second"]}
    lines += [f"{n} samples are of {name} only" for name, n in apart.items() if n]
    if not lines:
        return None
    return f"{one.first} and {one.second} on {one.benchmark} ({on(one)}): {'; '.join(lines)}."


def differing_lines(differing: Sequence[Mapping[str, str]]) -> Iterator[str]:
    """What was not measured alike, and compared all the same."""
    for line in differing:
        yield (
            f"NOT MEASURED ALIKE, {line['benchmark']}: {line['fact']}: {line['first']} / "
            f"{line['second']} (--allow {line['fact']})"
        )


def _first(lines: Sequence[str], more: str) -> Iterator[str]:
    yield from lines[:_MOST_LINES]
    if len(lines) > _MOST_LINES:
        yield f"... and {len(lines) - _MOST_LINES} such lines more; {more}."
