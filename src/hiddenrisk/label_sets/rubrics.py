"""The rubrics by which labelled texts can be read: those of the benchmarks, and what each needs.

A benchmark's rate is corrected by a calibration of its judge under the same rubric. Most
rubrics read a prompt and a response, or the response alone. Two need one more thing of each
text, which a user's own file has in a column: `judge_question` (what the injection judge is to
answer with yes or no) and `cate-idx` (AIR-Bench's category, which has a judge prompt of its own).
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

from hiddenrisk import sources
from hiddenrisk.benchmarks import airbench
from hiddenrisk.errors import UsageError, unknown
from hiddenrisk.judges import airbench as airbench_judge
from hiddenrisk.judges import injection, interpreter, mitre, phishing, safety, wildguard, xstest
from hiddenrisk.judges.rubric import Rubric, Steps
from hiddenrisk.label_sets.base import CATEGORY, JUDGE_QUESTION, LabelSet, Question
from hiddenrisk.sources import Data
from hiddenrisk.types import Message, Opinion, Prompt

_REFUSALS = frozenset(
    {xstest.RUBRIC.name, phishing.RUBRIC.name, wildguard.MODEL_REFUSAL.name, "qwen3guard refusal"}
)
"""Rubrics whose verdict is whether a text refuses, by name; the others' is harm."""


class Reading(NamedTuple):
    """A rubric, ready to read labelled texts."""

    rubric: Rubric
    needs: str = ""
    """What each text must have beside its prompt: a column of the label file."""
    allowed: frozenset[str] = frozenset()
    """The values that it may have there; empty for any."""
    data: tuple[Data, ...] = ()
    """What the rubric itself was read from."""

    @property
    def question(self) -> Question:
        """Which question its verdicts answer."""
        return question_of(self.rubric)

    def check(self, labels: LabelSet) -> None:
        """See that it can read the texts of a set.

        Raises:
            UsageError: their labels answer another question, or a text lacks what it needs.
        """
        name = self.rubric.name
        if labels.question != self.question:
            words = {"harm": "safe and unsafe", "refusal": "complied and refused"}
            raise UsageError(
                f"--rubric {name} asks about {self.question}, and {labels.title} is labelled by "
                f"{labels.question}; it needs labels such as {words[self.question]}"
            )
        for item in labels.items if self.needs else ():
            value = item.meta.get(self.needs, "")
            if not value or (self.allowed and value not in self.allowed):
                found = f"'{value[:40]}', which it does not know" if value else "nothing"
                raise UsageError(
                    f"--rubric {name} needs {_WHAT[self.needs]} of each text, in a column "
                    f"{self.needs} of your own file; {labels.title} has {found} there for "
                    f"'{item.id[:80]}'"
                )


_WHAT = {JUDGE_QUESTION: "the question to answer with yes or no", CATEGORY: "the category"}


def question_of(rubric: Rubric) -> Question:
    """Which question a rubric's verdicts answer: does the text refuse, or is it harmful?"""
    return "refusal" if rubric.name in _REFUSALS else "harm"


def _opening(prompt: Prompt, text: str) -> Steps[Opinion]:
    """The phishing judge's check for a refusal, which decides its verdict, without the grades."""
    talk = (Message("attacker", text), Message(phishing.BROKEN, "only the opening is there"))
    return phishing.dialogue_steps(prompt, talk)


def _airbench(data_dir: Path | None) -> Reading:
    file = sources.load(airbench.JUDGE_PROMPTS, data_dir)
    templates = airbench.parse_judge_prompts(file.content)
    rubric = airbench_judge.rubric(templates)
    return Reading(rubric, CATEGORY, frozenset(templates), (file,))


def _as_is(reading: Reading, _data_dir: Path | None) -> Reading:
    return reading


_PHISHING = Rubric(name=phishing.RUBRIC.name, version=phishing.RUBRIC.version, steps=_opening)
READINGS: dict[str, Callable[[Path | None], Reading]] = {
    "safety": partial(_as_is, Reading(safety.RUBRIC)),
    "xstest": partial(_as_is, Reading(xstest.RUBRIC)),
    "airbench": _airbench,
    "interpreter": partial(_as_is, Reading(interpreter.RUBRIC)),
    "mitre": partial(_as_is, Reading(mitre.RUBRIC)),
    "injection": partial(_as_is, Reading(injection.RUBRIC, JUDGE_QUESTION)),
    "phishing": partial(_as_is, Reading(_PHISHING)),
    "wildguard": partial(_as_is, Reading(wildguard.CHAT)),
    "wildguard-model": partial(_as_is, Reading(wildguard.MODEL)),
}
"""By the names of `--rubric`: (data directory) -> the reading."""


def open_reading(name: str, data_dir: Path | None) -> Reading:
    """The rubric of a name.

    Raises:
        UsageError: nobody knows it.
        DataError: its judge prompts cannot be had.
    """
    if name not in READINGS:
        see = "A prompt of your own is an option of a judge, ?rubric=PATH."
        raise unknown("rubric", name, READINGS, see=see)
    return READINGS[name](data_dir)
