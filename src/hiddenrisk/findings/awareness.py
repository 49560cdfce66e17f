"""Safety thinking under attack: does it fail more often there than elsewhere?

Of the thoughts that notice the risk, how many answers are unsafe all the same? On the
benchmarks that attack the model, each by itself, against all that do not, together.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hiddenrisk.benchmarks.base import Loaded
from hiddenrisk.cell import prompt_bits
from hiddenrisk.findings.tested import Tested
from hiddenrisk.funnel import followed
from hiddenrisk.headline import headline_cell
from hiddenrisk.opening import Opened
from hiddenrisk.records import Records
from hiddenrisk.stats.means import clustered_mean, mean_interval
from hiddenrisk.stats.paired import unpaired_difference
from hiddenrisk.types import Estimate, Part


class Warned(NamedTuple):
    """Samples of a model on benchmarks, of thoughts that warned and answers that are told."""

    unsafe: NDArray[np.float64]
    """1 where the answer is unsafe all the same."""
    prompts: NDArray[np.uint64]
    intended: NDArray[np.bool_]
    """Whether the thought means to decline, too; it noticed the risk in all of them."""
    repeated: bool
    """Whether some prompts were asked several times."""

    def of_intended(self) -> "Warned":
        """Those that mean to decline."""
        which = self.intended
        return Warned(self.unsafe[which], self.prompts[which], which[which], self.repeated)

    @property
    def clusters(self) -> NDArray[np.uint64] | None:
        """The prompts, where some were asked several times."""
        return self.prompts if self.repeated else None

    def mean(self) -> Estimate:
        """How often safety thinking fails."""
        if self.repeated:
            return clustered_mean(self.unsafe, self.prompts)
        return mean_interval(self.unsafe)


class Attack(NamedTuple):
    """A model on a benchmark that attacks it, and on all that do not."""

    opened: Opened
    model: str
    benchmark: Loaded
    plain: tuple[str, ...]
    calm: Warned
    attacked: Warned

    def of_intended(self) -> "Attack":
        """The same of thoughts that mean to decline."""
        return self._replace(calm=self.calm.of_intended(), attacked=self.attacked.of_intended())


def attacks_of(opened: Opened, found: Records) -> list[Attack]:
    """Each model on each benchmark that attacks it, where its thoughts were looked into."""
    attacks: list[Attack] = []
    if not any(benchmark.attack for benchmark in opened.benchmarks):
        return attacks
    for model in opened.models:
        warned = {b.name: w for b, w in _warned(opened, found, model.label)}
        plain = tuple(b.name for b in opened.benchmarks if not b.attack and b.name in warned)
        if plain:
            calm = _together([warned[name] for name in plain])
            attacks += [
                Attack(opened, model.label, benchmark, plain, calm, warned[benchmark.name])
                for benchmark in opened.benchmarks
                if benchmark.attack and benchmark.name in warned
            ]
    return attacks


def _warned(opened: Opened, found: Records, model: str) -> Iterator[tuple[Loaded, Warned]]:
    """The benchmarks on which thoughts of a model were looked into, with those that warned."""
    for benchmark in opened.benchmarks:
        looker = opened.looker_of(benchmark)
        if looker is None:
            continue
        cell = headline_cell(opened, found, model, benchmark)
        judges = [j.label for j in opened.judges_of(benchmark)]
        looked = list(followed(cell, opened.protocols(benchmark)[0], judges, looker))
        rows = [(row, s) for row, s in looked if s.told and s.noticed]
        if looked:
            here = prompt_bits(benchmark.name)
            warned = Warned(
                np.array([float(s.safe == 0.0) for _, s in rows], np.float64),
                # An id is unique in its benchmark only.
                np.array([cell.prompts[row] ^ here for row, _ in rows], np.uint64),
                np.array([s.intended for _, s in rows], np.bool_),
                any(cell.repeats[row] for row, _ in rows),
            )
            yield benchmark, warned


def _together(parts: Sequence[Warned]) -> Warned:
    return Warned(
        np.concatenate([p.unsafe for p in parts]),
        np.concatenate([p.prompts for p in parts]),
        np.concatenate([p.intended for p in parts]),
        any(p.repeated for p in parts),
    )


def under_attack(attack: Attack, smallest: float) -> Tested:
    """How often safety thinking fails under attack, against how often it does elsewhere."""
    opened, model, benchmark, plain, calm, attacked = attack
    apart = unpaired_difference(calm.unsafe, attacked.unsafe, calm.clusters, attacked.clusters)
    looker = opened.looker_of(benchmark)
    judges = [j.label for j in opened.judges_of(benchmark)]
    notes = [f"plain: {', '.join(plain)}; thoughts looked into by {looker}"]
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
