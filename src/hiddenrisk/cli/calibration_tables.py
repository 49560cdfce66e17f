"""What a calibration gave, as tables for a terminal or a log.

Names come from data files: `cli_calibrate` hands over results of which nothing but what can be
shown is left.
"""

from typing import Any

from rich import box
from rich.table import Table

from hiddenrisk.calibration import JURY
from hiddenrisk.cli.tables import DASH
from hiddenrisk.label_sets.base import NEGATIVE, POSITIVE, Question

_WIDE = 130
"""Columns of a terminal from which on everything is shown."""
_FEW = 12
"""So many pairs of judges are shown; calibration.json has all."""


def judges_table(
    name: str, about: dict[str, Any], results: list[dict[str, Any]], width: int
) -> Table:
    """One row a judge: how well it agrees with the humans of one set.

    A narrow terminal has no room for precision, F1 and cost; calibration.json has all.
    """
    question: Question = about["question"]
    counts = ", ".join(f"{n} {word}" for word, n in about["labels"].items())
    table = _table(f"{about['title']} ({name}): {counts}. Positive: {POSITIVE[question]}")
    table.add_column("judge", overflow="fold")
    columns = [
        "n",
        "accuracy",
        "kappa",
        f"finds {POSITIVE[question]}\n(sensitivity)",
        f"finds {NEGATIVE[question]}\n(specificity)",
        *(("precision", "F1", "calls", "seconds") if width >= _WIDE else ()),
    ]
    for column in columns:
        table.add_column(column, justify="right", no_wrap=True)
    for result in results:
        seen = "\ntrained on these labels" if result["in_sample"] else ""
        table.add_row(result["judge"] + seen, *_cells(result)[: len(columns)])
    return table


def _cells(result: dict[str, Any]) -> list[str]:
    return [
        _counted(result),
        _share(result["accuracy"]),
        _number(result["kappa"]),
        _share(result["sensitivity"]),
        _share(result["specificity"]),
        _share(result["precision"]),
        DASH if result["f1"] is None else f"{result['f1']:.3f}",
        _calls(result["cost"]),
        f"{result['latency_s']['median']:.2f}" if result["latency_s"] else DASH,
    ]


def weak_spots(results: list[dict[str, Any]]) -> Table | None:
    """Accuracy by length and group, where a judge is worst; None where nobody was asked."""
    table = _table("Where it errs: accuracy by length of the response, and on the worst group")
    for column in ("judge", "set", "short", "middle", "long", "worst group", "three classes"):
        table.add_column(column, justify="left" if column in {"judge", "set"} else "right")
    for result in results:
        lengths = result["lengths"]
        if not lengths:
            continue
        # A group of a few texts is not the worst of anything.
        large = {k: g for k, g in result["groups"].items() if g["n"] >= 20}
        worst = min(large.items(), key=lambda g: g[1]["accuracy"]["value"], default=None)
        three = result["three_classes"]
        table.add_row(
            result["judge"],
            result["set"],
            *(_share(lengths[name]["accuracy"]) for name in ("short", "middle", "long")),
            f"{_share(worst[1]['accuracy'])}\n{worst[0]}, {worst[1]['n']}" if worst else DASH,
            f"macro-F1 {three['macro_f1']:.3f}" if three else DASH,
        )
    return table if table.row_count else None


def pairs_table(comparisons: list[dict[str, Any]]) -> Table | None:
    """Which of two judges is right more often on the same texts."""
    if not comparisons:
        return None
    more = len(comparisons) - _FEW
    rest = f"; {more} more pairs are in calibration.json" if more > 0 else ""
    table = _table(f"Two judges on the same texts: who alone is right (McNemar's exact test{rest})")
    for column in ("set", "first", "second"):
        table.add_column(column, overflow="fold")
    for column in ("texts", "only first", "only second", "p"):
        table.add_column(column, justify="right")
    for pair in comparisons[:_FEW]:
        table.add_row(
            pair["set"],
            pair["first"],
            pair["second"],
            str(pair["n"]),
            str(pair["only_first_right"]),
            str(pair["only_second_right"]),
            _p(pair["p"]),
        )
    return table


def attacks_table(result: dict[str, Any]) -> Table:
    """How often a verdict flips, by judge and form, family of attacks, and attacked text."""
    table = _table("Verdicts that an attack in the judged text flips: counts of these cases only")
    table.add_column("judge, rubric", overflow="fold")
    table.add_column("attacks", overflow="fold")
    for column in ("texts", "flipped", "share", "failed"):
        table.add_column(column, justify="right", no_wrap=True)
    for found in result["results"]:
        name = f"{found['judge']}\n{found['rubric']}"
        on = {f"on {text}": counts for text, counts in found["texts"].items()}
        for kind, counts in (*found["families"].items(), *on.items(), (_all(found), found)):
            table.add_row(
                name,
                kind,
                str(counts["n"]),
                str(counts["flipped"]),
                DASH if counts["share"] is None else f"{counts['share']:.1%}",
                str(counts["failed"]),
            )
            name = ""
        table.add_section()
    return table


def _all(found: dict[str, Any]) -> str:
    """`all; flipped at least once: 2 of 8 texts, 41 of 44 attacks`."""
    texts, attacks = found["ever"]["texts"], found["ever"]["attacks"]
    return (
        f"all; flipped at least once: {texts['flipped']} of {texts['of']} texts, "
        f"{attacks['flipped']} of {attacks['of']} attacks"
    )


def _table(title: str) -> Table:
    return Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)


def _counted(result: dict[str, Any]) -> str:
    without = "left open" if result.get("kind") == JURY else "failed"
    return f"{result['n']:,}" + (f"\n{result['failed']} {without}" if result["failed"] else "")


def _share(estimate: dict[str, Any]) -> str:
    if estimate["value"] is None:
        return DASH
    return f"{estimate['value']:.1%}\n[{100 * estimate['low']:.0f}-{100 * estimate['high']:.0f}%]"


def _number(estimate: dict[str, Any]) -> str:
    if estimate["value"] is None:
        return DASH
    return f"{estimate['value']:.2f}\n[{estimate['low']:.2f}, {estimate['high']:.2f}]"


def _calls(cost: dict[str, Any]) -> str:
    if not cost["calls"]:
        return "0"
    tokens = [cost[name] for name in ("prompt_tokens", "completion_tokens")]
    told = "" if None in tokens else f"\n{sum(tokens):,} tokens"
    return f"{cost['calls']:,}{told}"


def _p(p: float | None) -> str:
    if p is None:
        return DASH
    return "< 0.001" if p < 0.001 else f"{p:.3f}"
