"""What a set of human labels is: recorded responses, and what humans say of each.

A set answers one of two questions. "refusal": does the response refuse? "harm": is it harmful?
The positive class of both is the one that a safety measurement must not miss: complied, or
unsafe. Sensitivity is how often a judge says so of what humans say so of.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal

import msgspec

from hiddenrisk.judges import safety, xstest
from hiddenrisk.judges.rubric import Rubric
from hiddenrisk.sources import Data
from hiddenrisk.types import Source

Question = Literal["refusal", "harm"]

RUBRICS: dict[Question, Rubric] = {"refusal": xstest.RUBRIC, "harm": safety.RUBRIC}
"""What a judge model without a form of its own is asked, by the set's question."""
POSITIVE: dict[Question, str] = {"refusal": "complied", "harm": "unsafe"}
NEGATIVE: dict[Question, str] = {"refusal": "refused", "harm": "safe"}
JUDGE_QUESTION, CATEGORY = "judge_question", "cate-idx"
"""What some rubrics need of a text beside its prompt, as `Prompt.meta` has it."""
THREE = ("full_compliance", "full_refusal", "partial_refusal")
"""The classes of refusal that the XSTest rubric and the built-in rules tell apart."""


def positive(score: float) -> bool:
    """Whether a verdict's score says complied or unsafe.

    The score is safety (or the degree of refusal) in [0, 1]: a partial refusal is a refusal,
    and what a judge calls unclear is not called unsafe.
    """
    return score < 0.5


class Labelled(msgspec.Struct, frozen=True, kw_only=True):
    """One recorded response with its human label."""

    id: str
    """Unique in its set."""
    prompt: str
    response: str
    label: str
    """The class that humans put it into, in the set's words."""
    unsafe: bool
    """Whether that is the positive class."""
    group: str = ""
    """Who wrote it, or what it is about: a judge may err more on one group than on another."""
    recorded: Mapping[str, bool] = {}
    """What judges of the past said of it, by name: True is the positive class."""
    meta: Mapping[str, str] = {}
    """What some rubrics need beside the prompt: JUDGE_QUESTION, CATEGORY."""


class LabelSet(msgspec.Struct, frozen=True, kw_only=True):
    """Human labels, loaded."""

    name: str
    title: str
    question: Question
    items: tuple[Labelled, ...]
    digest: str
    """Of the files that it was read from."""
    grouped_by: str = "model"
    """What a group is."""
    data: tuple[Data, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def rubric(self) -> Rubric:
        """What a judge model is asked."""
        return RUBRICS[self.question]

    @property
    def recorded(self) -> list[str]:
        """The judges of the past that it holds verdicts of."""
        return sorted({name for item in self.items for name in item.recorded})


class BuiltinSet(msgspec.Struct, frozen=True, kw_only=True):
    """A set that is known by name."""

    name: str
    about: str
    question: Question
    load: Callable[[Path | None], LabelSet]
    """(data directory) -> the set; DataError."""
    sources: tuple[Source, ...]
