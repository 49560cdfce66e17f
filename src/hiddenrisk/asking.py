"""The steps of a rubric or a dialogue, carried out: asked, tried again, and kept.

A step that says so is a record of its own (`Turn`): after a crash a talk of twenty calls
goes on at the twenty-first.
"""

import asyncio
import hashlib
import itertools
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import msgspec
from msgspec.structs import replace

from hiddenrisk.engine import Endpoint
from hiddenrisk.errors import CallError, JudgeError
from hiddenrisk.judges.odds import weighed
from hiddenrisk.judges.quoting import own_words
from hiddenrisk.judges.rubric import Ask, Steps, asked_in
from hiddenrisk.keys import KeyIndex
from hiddenrisk.store import TURNS, Journal, placed_records, read_at
from hiddenrisk.types import (
    Call,
    Finish,
    Message,
    Opinion,
    Reason,
    Reply,
    Sampling,
    Turn,
    Usage,
    both,
)

T = TypeVar("T")

LOGPROBS = 5
"""Likeliest tokens that are asked for: what every endpoint gives that gives any."""
JUDGE_TRIES = 3
"""Fresh tries for a reply that holds nothing usable."""


class Scene(msgspec.Struct, frozen=True, kw_only=True):
    """Where steps take place: who is asked, and about what."""

    key: str
    """Of the response or verdict that the steps lead to."""
    judge: Endpoint
    """Who judges, or checks how a dialogue stands."""
    target: Endpoint | None = None
    """The model under test, in a dialogue."""
    victim: Endpoint | None = None
    """Who plays the other side of it."""
    sampling: Sampling = Sampling()
    """Of the model under test."""
    json: bool = False
    """Whether the judge is asked for JSON where its reply can be that."""
    logprobs: bool = False
    """Whether the judge is asked for the probability of its label."""
    model: str
    benchmark: str
    prompt: str
    repeat: int


class Spent(msgspec.Struct, frozen=True, kw_only=True):
    """What a step took, where it is no record of its own."""

    calls: int = 0
    usage: Usage = Usage()
    latency_s: float = 0.0
    """Of the call that was usable."""
    tries: int = 0


class _SeenTurn(msgspec.Struct):
    key: str


class Asker:
    """Carries out steps; what was kept before is read instead of asked again."""

    def __init__(
        self, journal: Journal, folder: Path, told: Callable[[Reply | None], None]
    ) -> None:
        self._journal = journal
        self._told = told
        self._path = folder / TURNS
        self.kept = KeyIndex((at, t.key) for at, t in placed_records(self._path, _SeenTurn))
        """Where the turns of earlier parts of this run stand in their file."""
        self.stop = asyncio.Event()
        """Once set, no step is begun that a resumed run can take up again."""

    async def carry_out(
        self, steps: Steps[T], scene: Scene, first: Ask | None = None
    ) -> tuple[T, Spent]:
        """Go through the steps to their end.

        Args:
            steps: the steps.
            scene: who is asked, and about what.
            first: what the steps have yielded already, if they have begun.

        Returns:
            What they come to, and what the last step took, with the steps that gave nothing
            usable; but for those that are records of their own.

        Raises:
            CallError: a model could not be asked.
            JudgeError: a reply held nothing usable, and the steps cannot do without it.
            CancelledError: the run is to stop; the steps that are kept are not lost.
        """
        ask, spent, wasted = first, Spent(), Spent()
        try:
            if ask is None:
                ask = next(steps)
            for number in itertools.count():
                if ask.keep and self.stop.is_set():
                    raise asyncio.CancelledError
                key = self._key(ask, number, scene)
                try:
                    said, spent = await self._one(ask, key, scene)
                    ask = steps.send(said)
                except JudgeError as error:
                    unusable, spent = ask, Spent()
                    if not ask.settles:
                        wasted = _together(wasted, error)
                    # Where the steps go on without it, so they must when they are resumed.
                    try:
                        ask = steps.throw(error)
                    except StopIteration:
                        self._keep_unusable(unusable, key, scene, error)
                        raise
                    self._keep_unusable(unusable, key, scene, error)
        except StopIteration as end:
            if wasted.calls:
                usage = both(wasted.usage, spent.usage)
                spent = replace(spent, calls=wasted.calls + spent.calls, usage=usage)
            return end.value, spent
        raise AssertionError  # pragma: no cover - the loop has no end of its own

    def _key(self, ask: Ask, number: int, scene: Scene) -> str:
        if not ask.keep:
            return ""
        endpoint = _asked(ask, scene)
        return digest(scene.key, endpoint.model.identity, number, ask.role, ask.messages)

    async def _one(self, ask: Ask, key: str, scene: Scene) -> tuple[Any, Spent]:
        if ask.keep and (offset := self.kept.place(key)) is not None:
            self._told(None)
            turn = next(read_at(self._path, [offset], Turn))
            if turn.problem:
                raise JudgeError(Reason.JUDGE_UNPARSABLE, turn.problem)
            return _read(ask, turn.reply, turn.reply.answer or "", scene), Spent()
        try:
            said, reply, spent = await _ask(_asked(ask, scene), ask, scene)
        except CallError as error:
            if scene.target and ask.who != "target":
                error.reason = Reason.VICTIM_FAILED
            raise
        if not ask.keep:
            return said, spent
        self._keep(ask, key, scene, reply, spent)
        return said, Spent()

    def _keep_unusable(self, ask: Ask, key: str, scene: Scene, error: JudgeError) -> None:
        if ask.settles and error.reply is not None:
            spent = Spent(calls=error.calls, usage=error.usage, tries=error.tries)
            self._keep(ask, key, scene, error.reply, spent, str(error))

    def _keep(
        self, ask: Ask, key: str, scene: Scene, reply: Reply, spent: Spent, problem: str = ""
    ) -> None:
        self._journal.append(
            Turn(
                key=key,
                asked="model" if ask.who == "target" else ask.who,
                label=_asked(ask, scene).model.label,
                role=ask.role,
                model=scene.model,
                benchmark=scene.benchmark,
                prompt=scene.prompt,
                repeat=scene.repeat,
                reply=reply,
                problem=problem,
                usage=spent.usage,
                calls=spent.calls,
                latency_s=round(spent.latency_s, 4),
                tries=spent.tries,
                at=now(),
            )
        )
        self._told(reply)


def _together(wasted: Spent, error: JudgeError) -> Spent:
    return Spent(calls=wasted.calls + error.calls, usage=both(wasted.usage, error.usage))


def _asked(ask: Ask, scene: Scene) -> Endpoint:
    others = {"target": scene.target, "victim": scene.victim}
    return others.get(ask.who) or scene.judge


async def _ask(endpoint: Endpoint, ask: Ask, scene: Scene) -> tuple[Any, Reply, Spent]:
    """A model's reply as the step wants it, after a bounded number of fresh tries.

    Raises:
        CallError: the model could not be asked.
        JudgeError: no usable reply; carries the last one, and what all took.
    """
    target = ask.who == "target"
    sampling = (
        scene.sampling if target else Sampling(temperature=ask.temperature, max_tokens=ask.tokens)
    )
    usage = Usage()
    json = ask.json if scene.json else None
    for attempt in itertools.count(1):
        served = await endpoint.call(
            Call(
                messages=_hinted(ask.messages, json.hint) if json else ask.messages,
                sampling=sampling,
                prompt=scene.prompt,
                repeat=scene.repeat if target else attempt - 1,
                schema=json.schema if json else None,
                logprobs=LOGPROBS if ask.odds and scene.logprobs else 0,
                template=ask.template,
            )
        )
        reply = served.reply
        usage = reply.usage if attempt == 1 else both(usage, reply.usage)
        try:
            said = _read(ask, reply, _whole(reply, ask), scene)
        except JudgeError as error:
            if attempt < JUDGE_TRIES and error.reason is not Reason.JUDGE_BLOCKED:
                continue
            error.tries = error.calls = attempt
            error.raw = (reply.answer or "")[:2000]
            error.reply, error.usage = reply, usage
            raise
        spent = Spent(calls=attempt, usage=usage, latency_s=served.latency_s, tries=served.tries)
        return said, reply, spent
    raise AssertionError  # pragma: no cover - the loop has no end of its own


def _read(ask: Ask, reply: Reply, text: str, scene: Scene) -> Any:  # noqa: ANN401 - the step's own
    """What a step makes of a reply: what its reader gives, with the odds where they are wanted.

    A verdict is read from the judge's own words only; what an expander says is passed on as it
    stands.
    """
    if ask.accept is None:
        return reply
    accept = (ask.json.accept if ask.json and scene.json else None) or ask.accept
    if ask.who == "judge" and ask.role != "expander":
        said = accept(own_words(text, asked_in(ask)))
        said = replace(said, raw=text) if isinstance(said, Opinion) else said
    else:
        said = accept(text)
    return weighed(said, reply, ask.odds) if ask.odds and scene.logprobs else said


def _hinted(messages: tuple[Message, ...], hint: str) -> tuple[Message, ...]:
    """The messages, the last one with a word on the form of the reply."""
    if not hint:
        return messages
    last = messages[-1]
    return (*messages[:-1], replace(last, content=f"{last.content.rstrip()}\n\n{hint}"))


def _whole(reply: Reply, ask: Ask) -> str:
    """The text of a reply that is whole: half a sentence may say the contrary of the whole."""
    if reply.finish.blocked:
        raise JudgeError(Reason.JUDGE_BLOCKED, "the judge's provider blocked it")
    if reply.finish is Finish.REFUSED and ask.who == "judge":  # a victim may well refuse
        raise JudgeError(Reason.JUDGE_REFUSED, "the judge's provider marks its reply as a refusal")
    if reply.finish is Finish.CUT_IN_ANSWER and not ask.early:
        raise JudgeError(Reason.JUDGE_UNPARSABLE, "the judge's reply was cut off")
    return reply.answer or ""


_encoder = msgspec.json.Encoder(order="sorted")


def digest(*what: object) -> str:
    """The key of a call: a digest of everything that decides it."""
    return hashlib.blake2b(_encoder.encode(what), digest_size=16).hexdigest()


def now() -> str:
    """This moment, ISO 8601, UTC."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")
