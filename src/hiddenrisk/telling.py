"""What the thoughts of a benchmark tell, as summary.json has it."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from hiddenrisk.benchmarks.base import Loaded, Protocol
from hiddenrisk.cell import SEPARATOR, Cell
from hiddenrisk.funnel import Followed, by_group, followed, funnel, together
from hiddenrisk.positions import by_answer


def insights_json(
    cell: Cell,
    benchmark: Loaded,
    main: Protocol,
    judges: Sequence[str],
    looker: str,
    sample: frozenset[tuple[str, int]],
) -> dict[str, Any] | None:
    """The funnel and the positions of one model on one benchmark; None without any thought.

    Args:
        cell: the samples.
        benchmark: what was measured.
        main: the headline's protocol.
        judges: labels of those whose majority decides on the answer.
        looker: who looked into the thoughts.
        sample: (prompt, repeat) of those that were to be looked at segment by segment.
    """
    samples = Counter((cell.categories[row], s) for row, s in followed(cell, main, judges, looker))
    failed = {u.row for u in cell.unseen if u[:2] == (looker, "awareness")}
    missing = sum(
        aware is None and row not in failed and cell.looked_at(row)
        for row, aware in enumerate(cell.awareness(looker))
    )
    if not samples and not failed and not missing:
        return None
    return {
        "judge": looker,
        "same_rules": judges == [looker],
        "failed": len(failed),
        "missing": missing,
        "funnel": {
            **msgspec.to_builtins(funnel(together(samples))),
            "categories": msgspec.to_builtins(by_group(cell, samples, _above)),
            "views": _views(cell, benchmark, samples),
        },
        "positions": by_answer(cell, main, judges, looker, sample),
    }


def _above(path: tuple[str, ...]) -> list[str]:
    return [SEPARATOR.join(path[:depth]) for depth in range(1, len(path) + 1)]


def _views(
    cell: Cell, benchmark: Loaded, samples: Mapping[tuple[int, Followed], int]
) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    views = benchmark.views
    if views is None:
        return found
    groups = by_group(cell, samples, lambda path: list(dict.fromkeys(views(path))))
    for (axis, value), counted in groups.items():
        found.setdefault(axis, {})[value] = msgspec.to_builtins(counted)
    return found
