"""What a rate is of: the texts behind it, and what judges and people say of each."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from hiddenrisk.assess import Judge
from hiddenrisk.benchmarks.base import Loaded
from hiddenrisk.cell import LABELS, Cell
from hiddenrisk.evidence import PartLabel, Place
from hiddenrisk.label_sets import rubrics
from hiddenrisk.label_sets.base import Question, positive
from hiddenrisk.opening import Opened
from hiddenrisk.stats.rates import wilson
from hiddenrisk.store import RESPONSES, read_at
from hiddenrisk.types import Estimate, Label, Part

MIDDLE = 0.5
"""The score between safe and unsafe."""


class Heard(NamedTuple):
    """What the judges, and people, say of the texts behind one rate."""

    rows: Sequence[int]
    said: Sequence[float | None]
    """The judges' score; None where they settle on none."""
    human: Sequence[PartLabel | None]
    by_people: Sequence[bool]
    """Whether it is a person's word that the rate as judged counts, the judges having none."""
    aside: frozenset[PartLabel] = frozenset()
    """Labels of these texts that answer another question than the rate."""

    def of(self, places: Sequence[int]) -> "Heard":
        """Those at some places only."""
        return Heard(
            [self.rows[place] for place in places],
            [self.said[place] for place in places],
            [self.human[place] for place in places],
            [self.by_people[place] for place in places],
        )

    @property
    def scores(self) -> list[float]:
        """Those of the texts on which the judges settled."""
        return [said for said in self.said if said is not None]

    @property
    def raw(self) -> Estimate:
        """The unsafe among these."""
        scores = self.scores
        return wilson(sum(positive(score) for score in scores), len(scores))

    @property
    def graded(self) -> bool:
        """Whether the judges give fine scores."""
        return any(0 < score < 1 and score != MIDDLE for score in self.scores)


class Rated(NamedTuple):
    """What a rate is of."""

    opened: Opened
    benchmark: Loaded
    part: Part
    label: Label
    """Harmful prompts, on which positive is unsafe, or harmless ones, on which it is helping."""
    judges: Sequence[Judge]
    others: Sequence[str]
    """Who else gave verdicts."""

    @property
    def members(self) -> Sequence[Judge]:
        """Those of the judges who have a word on prompts of this label."""
        able = [j for j in self.judges if j.rubric(self.benchmark, self.label) is not None]
        return able or self.judges

    @property
    def question(self) -> Question:
        """What they answer together: refusal only where all of them do."""
        asked = {question_of(judge, self.benchmark, self.label) for judge in self.members}
        return "refusal" if asked == {"refusal"} else "harm"


def hear(cell: Cell, rated: Rated, model: str, folder: Path) -> Heard:
    """The texts that count in the rate, or would if the judges had settled.

    A person's word is no judge's: were it taken for one where the judges failed, the labelled
    texts would no longer be a random draw of those that are rated.
    """
    labels = [j.label for j in rated.judges]
    rows = [
        row
        for row in range(len(cell))
        if LABELS[cell.labels[row]] == rated.label and cell.readable(row, rated.part)
    ]
    words = [cell.judges_word(row, rated.part, labels) for row in rows]
    said = [None if isinstance(word, str) else word for word in words]
    by_people = [cell.by_human(row, rated.part, labels) for row in rows]
    labelled = _labelled(rows, rated, cell, model, folder)
    human = [next((x for x in reversed(said) if answers(x, rated)), None) for said in labelled]
    aside = frozenset(x for said in labelled for x in said if not answers(x, rated))
    return Heard(rows, said, human, by_people, aside)


def _labelled(
    rows: Sequence[int], rated: Rated, cell: Cell, model: str, folder: Path
) -> list[list[PartLabel]]:
    """What humans say of each text, whatever they were asked."""
    wanted: dict[str, list[PartLabel]] = {}
    for label in rated.opened.evidence.labels:
        if label.part is rated.part:
            wanted.setdefault(label.response or label.prompt, []).append(label)
    if not wanted:
        return [[] for _ in rows]
    found: list[list[PartLabel]] = []
    for response in read_at(folder / RESPONSES, (cell.offsets[row] for row in rows), Place):
        here = (*wanted.get(response.prompt, ()), *wanted.get(response.key, ()))
        found.append([x for x in here if x.fits(response, model, rated.benchmark.name)])
    return found


def answers(label: PartLabel, rated: Rated) -> bool:
    """Whether it is a word on what the rate is about.

    On harmful prompts "unsafe" is what every rate is after, and "refused" only what judges of
    refusals count; on harmless ones helping is all there is to ask for.
    """
    if label.question is None or label.question == "harm":
        return rated.label == "unsafe" or label.question is None
    return rated.label == "safe" or rated.question == "refusal"


def question_of(judge: Judge, benchmark: Loaded, label: Label = "unsafe") -> Question:
    """What a judge's verdicts on prompts of a label answer: the form by which it reads decides."""
    if judge.endpoint is None:
        return "refusal"
    return rubrics.question_of(judge.rubric(benchmark, label) or benchmark.rubric)
