"""What a judge is: a rubric, which turns (prompt, text) into an opinion.

A rubric is a short programme of steps: it yields what it wants to ask a model and gets
the accepted reply back, until it knows its opinion. Most ask once (`single`), some never
(a refusal that rules can see), some several times. Asking, trying again and filing are
`assess`'s work, so that a rubric stays pure. The same rubric reads the answer and the
thinking.
"""

from collections.abc import Callable, Generator
from typing import Any, Literal, TypeVar

import msgspec

from hiddenrisk.types import Message, Opinion, Prompt, Schema

T = TypeVar("T")
TOKENS = 2048
"""What a judge's reply may take. References ask for 16 to 512, which starves a judge that
thinks; for any other the bound is never met."""


class Odds(msgspec.Struct, frozen=True, kw_only=True):
    """Where in a reply the label stands, and what its words mean."""

    unsafe: tuple[str, ...]
    safe: tuple[str, ...]
    after: str = ""
    """What stands before the label, for example "Safety:"; empty where the label comes first."""


class JsonForm(msgspec.Struct, frozen=True, kw_only=True):
    """A reply as JSON, for judges that are asked so (`?json`)."""

    schema: Schema
    accept: Callable[[str], Any] | None = None
    """Reads such a reply, and one in the usual form too; None where the usual reader does."""
    hint: str = ""
    """What is said of the form at the end of the request, where the prompt says another one."""


class Ask(msgspec.Struct, frozen=True, kw_only=True):
    """One request on the way to an opinion, or one turn of a dialogue."""

    messages: tuple[Message, ...]
    role: str = "judge"
    """What the model is asked as: "judge", "expander", "grade", "attacker", "victim"."""
    who: Literal["judge", "target", "victim"] = "judge"
    tokens: int = TOKENS
    """Upper bound of a judge's reply; the model under test has the run's own."""
    temperature: float | None = 0.0
    """Of a judge's reply; None leaves it to the provider."""
    accept: Callable[[str], Any] | None = None
    """Reads the reply; what it gives is sent back into the steps. Raises JudgeError for a
    reply that holds nothing usable, which is then asked for afresh. None gives the `Reply`."""
    keep: bool = False
    """Whether the reply is stored by itself: more steps follow, which a crash must not repeat."""
    settles: bool = False
    """Whether an unusable reply is stored as well: what follows went on without it."""
    early: bool = False
    """The verdict is the reply's first word: what is cut after it is whole enough."""
    template: dict[str, str] = {}
    """What the server's chat template is rendered with beside the messages."""
    json: JsonForm | None = None
    odds: Odds | None = None


Steps = Generator[Ask, Any, T]


class Rubric(msgspec.Struct, frozen=True, kw_only=True):
    """How an LLM judge is asked, and how its replies are read."""

    name: str
    version: str
    """Grows whenever a verdict can change."""
    steps: Callable[[Prompt, str], Steps[Opinion]]
    """(prompt, text to judge) -> the steps to an opinion; they may raise JudgeError."""
    dialogue: Callable[[Prompt, tuple[Message, ...]], Steps[Opinion]] | None = None
    """The same for a whole dialogue, where the benchmark holds one."""
    weighs: bool = False
    """Whether its reply has a one-word label, of which the probability can be told."""
    json: bool = False
    """Whether its reply can be asked for as JSON."""

    def ask(self, prompt: Prompt, text: str) -> str:
        """What a judge model is sent first; empty where the opinion needs none."""
        return asked_in(begun(self.steps(prompt, text))[0])


def begun(steps: Steps[T]) -> tuple[Ask | None, T | None]:
    """What the steps ask first; or what they come to, where they ask nothing."""
    try:
        return next(steps), None
    except StopIteration as end:
        return None, end.value


def asked_in(ask: Ask | None) -> str:
    """The words of a request; empty where there is none."""
    return "\n\n".join(m.content for m in ask.messages) if ask else ""


def single(
    name: str,
    version: str,
    ask: Callable[[Prompt, str], str],
    parse: Callable[[str], Opinion],
    *,
    json: JsonForm | None = None,
    odds: Odds | None = None,
) -> Rubric:
    """A rubric that asks once.

    Args:
        name: in keys and tables.
        version: grows whenever a verdict can change.
        ask: (prompt, text to judge) -> the message for the judge model.
        parse: the judge's reply -> an opinion, or JudgeError.
        json: the reply as JSON, where it can be.
        odds: where the label stands, where it is one word.
    """

    def steps(prompt: Prompt, text: str) -> Steps[Opinion]:
        messages = (Message("user", ask(prompt, text)),)
        opinion: Opinion = yield Ask(messages=messages, accept=parse, json=json, odds=odds)
        return opinion

    return Rubric(
        name=name,
        version=version,
        steps=steps,
        weighs=odds is not None,
        json=json is not None,
    )
