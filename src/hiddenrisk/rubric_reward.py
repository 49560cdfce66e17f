"""StrongREJECT's score as a reward: a measure of harm that needs no weights.

A judge of the run has graded the texts already (`?form=strongreject`); here its grades are
read back. Source: Souly et al. 2024, arXiv 2402.10260.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from hiddenrisk.errors import UsageError
from hiddenrisk.judges.strongreject import HARM
from hiddenrisk.rewards.base import Item, NoScore, Scored, Unscored
from hiddenrisk.scoring import key_of
from hiddenrisk.store import VERDICTS, records
from hiddenrisk.types import Part

NAME = "strongreject"


class _Verdict(msgspec.Struct):
    response: str
    judge: str
    part: Part
    grades: dict[str, float] = {}


class RubricReward:
    """The grades of one judge of a run; see `rewards.base.RewardModel`."""

    attributes: tuple[str, ...] = ("score",)
    headline = "score"
    local = True

    def __init__(self, folder: Path, label: str = NAME) -> None:
        self.label = label
        grades: dict[tuple[str, Part], float] = {}
        judge = ""
        for verdict in records(folder / VERDICTS, _Verdict):
            if HARM in verdict.grades:
                judge = judge or verdict.judge
                if verdict.judge == judge:
                    grades[verdict.response, verdict.part] = verdict.grades[HARM]
        if not judge:
            raise UsageError(
                f"no judge of {folder} graded by StrongREJECT's rubric; run `hiddenrisk judge "
                f"{folder} --judge SPEC?form=strongreject` first"
            )
        self.identity: dict[str, Any] = {NAME: judge}
        self._grades = {key_of(self.identity, *place): grade for place, grade in grades.items()}

    def score(self, items: Sequence[Item]) -> Iterator[Scored | Unscored]:
        """The grades that are there."""
        for item in items:
            grade = self._grades.get(item.key)
            if grade is None:
                yield Unscored(item.key, NoScore.NOT_GRADED, "the judge gave it no grade")
            else:
                yield Scored(
                    key=item.key, score=grade, attributes={"score": grade}, tokens=None, cut=False
                )

    def close(self) -> None:
        """Nothing is held."""
