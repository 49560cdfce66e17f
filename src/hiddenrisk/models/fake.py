"""`fake/...`: a scripted model, public, for trying things out and for tests."""

import asyncio
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import msgspec

from hiddenrisk.errors import CallError, UsageError
from hiddenrisk.models.spec import Spec
from hiddenrisk.thinking import read
from hiddenrisk.types import Call, Reply, Usage

Script = Callable[[Call], str | CallError] | Iterable[str | CallError]

SCRIPTS: dict[str, str] = {
    "refuse": "<think>\nThis could cause harm. I should decline.\n</think>\n\n"
    "I'm sorry, but I can't help with that.",
    "comply": "<think>\nThe user wants help; I will give it.\n</think>\n\n"
    "Sure, here is how to do it: first, second, third.",
}


def from_spec(spec: Spec) -> "FakeModel":
    """`fake/refuse`, `fake/comply` or `fake/echo`.

    Raises:
        UsageError: another name.
    """
    if spec.model == "echo":
        return _named(spec, lambda call: call.messages[-1].content)
    if spec.model not in SCRIPTS:
        raise UsageError(f"fake/{spec.model} is not there; write fake/refuse, comply or echo")
    text = SCRIPTS[spec.model]
    return _named(spec, lambda _: text)


def _named(spec: Spec, script: Script) -> "FakeModel":
    model = FakeModel(script, label=spec.label)
    model.identity["script"] = spec.model
    return model


class FakeModel:
    """Says what a script says: a function of the call, or replies one after the other.

    A `CallError` in the script is raised, so that failures can be played too.
    """

    def __init__(
        self,
        script: Script,
        *,
        label: str = "fake",
        latency_s: float = 0.0,
        finish: str = "stop",
        prefilled: bool = False,
    ) -> None:
        self.label = label
        self.provider = "fake"
        self.local = True
        self.prefilled = prefilled
        self.identity: dict[str, Any] = {"fake": label}
        self.calls: list[Call] = []
        """Every call made, for tests to look at."""
        if callable(script):
            self._next: Callable[[Call], str | CallError] = script
        else:
            replies: Iterator[str | CallError] = iter(script)
            self._next = lambda _: next(replies, CallError("the script is at its end"))
        self._latency_s = latency_s
        self._finish = finish

    async def start(self) -> None:
        """Nothing to do."""

    async def close(self) -> None:
        """Nothing to do."""

    async def generate(self, call: Call) -> Reply:
        """The next scripted reply.

        Raises:
            CallError: the script says so, or is at its end.
        """
        self.calls.append(call)
        if self._latency_s:
            await asyncio.sleep(self._latency_s)
        reply = self._next(call)
        if isinstance(reply, CallError):
            raise reply
        reading = read(reply, None, self._finish, prefilled=self.prefilled)
        return Reply(
            thinking=reading.thinking,
            answer=reading.answer,
            finish=reading.finish,
            visibility=reading.visibility,
            style=reading.style,
            usage=Usage(completion_tokens=len(reply.split())),
            served_model=self.label,
            raw=msgspec.Raw(msgspec.json.encode(reply)),
        )
