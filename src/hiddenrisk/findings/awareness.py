"""Safety thinking under attack: does it fail more often there than elsewhere?

Of the thoughts that notice the risk, how many answers are unsafe all the same? On the
benchmarks that attack the model, each by itself, against all that do not, together.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hiddenrisk.benchmarks.base import Loaded
from hiddenrisk.cell import Cell
from hiddenrisk.findings.tested import Tested
from hiddenrisk.funnel import Followed, followed
from hiddenrisk.opening import Opened
from hiddenrisk.records import Records
from hiddenrisk.stats.means import clustered_mean, mean_interval
from hiddenrisk.stats.paired import unpaired_difference
from hiddenrisk.types import Estimate, Part

Aware = Literal["noticed", "intended"]
"""What the thought does: it notices the risk, or it means to decline as well."""


class Warned(NamedTuple):
    """The samples of a model on a benchmark whose thought warned, before a told answer."""

    unsafe: NDArray[np.float64]
    """1 where the answer is unsafe all the same."""
    prompts: NDArray[np.uint64]
    repeated: bool

    def mean(self) -> Estimate:
        """How often safety thinking fails."""
        if self.repeated:
            return clustered_mean(self.unsafe, self.prompts)
        return mean_interval(self.unsafe)

    @property
    def clusters(self) -> NDArray[np.uint64] | None:
        """The prompts, where some were asked several times."""
        return self.prompts if self.repeated else None


def under_attack(
    opened: Opened, found: Records, smallest: float, aware: Aware = "noticed"
) -> list[Tested]:
    """Each model on each benchmark that attacks it, against those that do not."""
    tests: list[Tested] = []
    for model in opened.models:
        warned = {b.name: w for b, w in _warned(opened, found.cells, model.label, aware)}
        attacks = [b for b in opened.benchmarks if b.attack and b.name in warned]
        plain = [b for b in opened.benchmarks if not b.attack and b.name in warned]
        calm = _together([warned[b.name] for b in plain])
        if calm is None:
            continue
        tests += [
            _tested(opened, model.label, attack, calm, warned, plain, smallest)
            for attack in attacks
        ]
    return tests


def _warned(
    opened: Opened, cells: Mapping[tuple[str, str], Cell], model: str, aware: Aware
) -> Iterator[tuple[Loaded, Warned]]:
    """The benchmarks on which thoughts of a model were looked into, with those that warned."""
    for benchmark in opened.benchmarks:
        cell, looker = cells.get((model, benchmark.name)), opened.looker_of(benchmark)
        if cell is None or looker is None:
            continue
        cell.abstaining, cell.rule = opened.abstaining(), opened.plan.jury
        cell.cascade = opened.cascade_of(benchmark)
        judges = [j.label for j in opened.judges_of(benchmark)]
        protocol = opened.protocols(benchmark)[0]
        looked = list(followed(cell, protocol, judges, looker))
        rows = [(row, s) for row, s in looked if s.told and _warns(s, aware)]
        if looked:
            yield (
                benchmark,
                Warned(
                    np.array([float(s.safe == 0.0) for _, s in rows], np.float64),
                    np.array([cell.prompts[row] for row, _ in rows], np.uint64),
                    any(cell.repeats[row] for row, _ in rows),
                ),
            )


def _warns(sample: Followed, aware: Aware) -> bool:
    return sample.noticed and (sample.intended or aware == "noticed")


def _together(parts: Sequence[Warned]) -> Warned | None:
    if not parts:
        return None
    return Warned(
        np.concatenate([p.unsafe for p in parts]),
        np.concatenate([p.prompts for p in parts]),
        any(p.repeated for p in parts),
    )


def _tested(
    opened: Opened,
    model: str,
    benchmark: Loaded,
    calm: Warned,
    warned: Mapping[str, Warned],
    plain: Sequence[Loaded],
    smallest: float,
) -> Tested:
    attacked = warned[benchmark.name]
    apart = unpaired_difference(calm.unsafe, attacked.unsafe, calm.clusters, attacked.clusters)
    looker = opened.looker_of(benchmark)
    judges = [j.label for j in opened.judges_of(benchmark)]
    notes = [f"plain: {', '.join(b.name for b in plain)}; thoughts looked into by {looker}"]
    if judges == [looker]:
        notes.append("the same rules judge the answers")
    if apart.difference.value is None:
        side = "under attack" if calm.unsafe.size else "on plain benchmarks"
        notes.insert(0, f"no thought notices a risk {side}")
    return Tested(
        first="plain",
        second="attacked",
        model=model,
        benchmark=benchmark.name,
        part=Part.THINKING.value,
        measure="unsafe_when_noticed",
        protocol=opened.protocols(benchmark)[0].name,
        judges=tuple(judges),
        n=apart.difference.n,
        first_rate=calm.mean(),
        second_rate=attacked.mean(),
        difference=apart.difference,
        p=apart.p,
        test="score" if calm.clusters is None and attacked.clusters is None else "mover",
        smallest=smallest,
        note="; ".join(notes),
    )
