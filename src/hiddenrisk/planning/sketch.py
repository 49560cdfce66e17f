"""The calls that a rubric or a dialogue makes, without making them: its steps are walked.

Real prompts go in, and a word that nobody writes stands for each text that is not there yet:
so the characters of every request are known, and how often it holds the text to be judged, a
reply of the model under test, or an earlier reply of another one.
"""

from collections.abc import Iterable
from typing import Any, NamedTuple

from hiddenrisk.benchmarks.base import Loaded
from hiddenrisk.judges.awareness import Awareness
from hiddenrisk.judges.rubric import Ask, Rubric, Steps, begun
from hiddenrisk.tokens import FRAME, tokens_of
from hiddenrisk.types import Finish, Message, Opinion, Prompt, Reply, Visibility

TEXT, SAID, OTHER = "hrjudgedtextq", "hrmodelreplyq", "hrotherreplyq"
"""What stands for the judged text, a reply of the model under test, and one of another model."""
REFUSAL = "I'm sorry, but I can't help with that."
_MOST = 64


class Sketched(NamedTuple):
    """One request."""

    role: str
    who: str
    """"judge", "target" or "victim"."""
    most: int
    """Tokens that its reply may have; those of the model under test are the run's own."""
    fixed: float
    """Tokens of it that are known, estimated by their characters."""
    text: float
    """How often it holds the judged text."""
    said: float
    """How often it holds a reply of the model under test."""
    other: float
    """How often it holds a reply of another model."""
    round: int
    """How many requests to the model under test came before, in a dialogue."""


class Sketch(NamedTuple):
    """The steps of a rubric, on average over prompts."""

    calls: tuple[Sketched, ...]
    settled: bool
    """Whether rules alone settle what refuses, so that nobody is asked."""


def sketch(rubric: Rubric, prompts: Iterable[Prompt], rounds: int = 0) -> Sketch:
    """What a rubric asks, on average over some prompts.

    Args:
        rubric: the rubric.
        prompts: at least one; all of one label.
        rounds: of a whole dialogue that is judged; 0 for a text.
    """
    walked: list[list[Sketched]] = []
    settled = False
    for prompt in prompts:
        if rubric.dialogue and rounds:
            walked.append(walk(rubric.dialogue(prompt, _talk(rounds)))[0])
            continue
        if not walked:
            settled = begun(rubric.steps(prompt, REFUSAL))[0] is None
        walked.append(walk(rubric.steps(prompt, TEXT))[0])
    return Sketch(_mean(walked), settled)


def sketch_dialogue(benchmark: Loaded, prompts: Iterable[Prompt]) -> tuple[Sketched, ...]:
    """What a dialogue asks, on average over some prompts, if it goes on to its end."""
    talk = benchmark.dialogue
    if talk is None:
        return ()
    return _mean([walk(talk(prompt))[0] for prompt in prompts])


def walk(steps: Steps[Any]) -> tuple[list[Sketched], Any]:
    """The requests of some steps, each answered by a stand-in; and what they come to."""
    found: list[Sketched] = []
    try:
        ask = next(steps)
        while len(found) < _MOST:
            asked = sum(one.who == "target" for one in found)
            found.append(_sketched(ask, max(0, asked - (ask.who != "target"))))
            ask = steps.send(_stand_in(ask))
    except StopIteration as end:
        return found, end.value
    steps.close()
    return found, None


def exchanges(calls: tuple[Sketched, ...]) -> int:
    """How many messages the model under test writes in a dialogue, at most."""
    return sum(call.who == "target" for call in calls)


def _talk(rounds: int) -> tuple[Message, ...]:
    pair = (Message("attacker", SAID), Message("victim", OTHER))
    return pair * rounds


def _sketched(ask: Ask, number: int) -> Sketched:
    words = "".join(message.content for message in ask.messages)
    text, said, other = (words.count(mark) for mark in (TEXT, SAID, OTHER))
    for mark in (TEXT, SAID, OTHER):
        words = words.replace(mark, "")
    fixed = FRAME + tokens_of(words)
    return Sketched(ask.role, ask.who, ask.tokens, fixed, text, said, other, number)


def _stand_in(ask: Ask) -> object:
    """A reply that lets the steps go on."""
    if ask.who == "target":
        return Reply(
            thinking=None,
            answer=SAID,
            finish=Finish.COMPLETE,
            visibility=Visibility.NONE,
            style="none",
        )
    if ask.who == "victim" or ask.role == "expander":
        return OTHER
    stand_ins: dict[str, object] = {
        "check": False,
        "grade": 0.0,
        "awareness": Awareness(risk_noticed=False, refusal_intended=False),
    }
    return stand_ins.get(ask.role, Opinion(label="safe", score=1.0))


def _mean(walked: list[list[Sketched]]) -> tuple[Sketched, ...]:
    """Request by request, on average; all walks of one rubric ask alike."""
    columns = zip(*walked, strict=False)
    return tuple(
        column[0]._replace(
            fixed=sum(one.fixed for one in column) / len(column),
            text=sum(one.text for one in column) / len(column),
        )
        for column in columns
    )
