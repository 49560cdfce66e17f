"""From a plan to a run directory: every sample answered, judged, and on disk.

One coroutine per sample takes a prompt through the model and its response through the
judges. Each finished call is one record, written at once under a key that digests all
that decides it; to resume is to skip the keys that are there.
"""

import asyncio
import hashlib
from collections import Counter
from collections.abc import Sequence
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from hiddenrisk.benchmarks.base import Loaded
from hiddenrisk.engine import Endpoint, Policy, Served, run_window
from hiddenrisk.errors import CallError, JudgeError
from hiddenrisk.judges import refusal
from hiddenrisk.judges.rubric import Rubric
from hiddenrisk.plan import Plan, selected
from hiddenrisk.store import RESPONSES, VERDICTS, Journal, placed_records, read_at, records
from hiddenrisk.types import (
    Call,
    Failure,
    Finish,
    Message,
    Model,
    Opinion,
    Part,
    Prompt,
    Reason,
    Response,
    Sampling,
    Usage,
    Verdict,
)

BUILTIN = "builtin"
JUDGE_TRIES = 3
"""Fresh tries for a reply that holds no verdict."""
_JUDGED_ANSWERS = frozenset({Finish.COMPLETE, Finish.CUT_IN_ANSWER})
_JUDGED_THOUGHTS = frozenset({Finish.COMPLETE, Finish.CUT_IN_ANSWER, Finish.EMPTY})
"""How a response may have ended for its thought to be a finished one."""


class Judge(msgspec.Struct, frozen=True, kw_only=True):
    """A judge of this run: the rules, or a model behind an endpoint."""

    label: str
    spec: str
    endpoint: Endpoint | None = None
    """None for the built-in rules."""


class Tally:
    """How far a run is, for the display; the numbers of record come from the files."""

    def __init__(self, planned: int) -> None:
        self.planned = planned
        self.finished = 0
        self.skipped = 0
        """Of those finished, samples with nothing left to do."""
        self.made = 0
        """Calls and judgements of this run, failed ones too."""
        self.kept = 0
        """Calls that were there already."""
        self.failed = 0
        self.tokens = 0
        self.verdicts = 0


class _Done(msgspec.Struct):
    """What a run directory holds already."""

    responses: dict[str, int]
    """Key -> offset in the file."""
    verdicts: set[str]
    models: set[str]
    judges: set[str]
    """Those that have answered."""
    closed: Counter[str]
    """By model: responses that close a thought they never opened, less those without any tag."""


class _SeenResponse(msgspec.Struct):
    key: str
    model: str
    style: str
    finish: Finish


class _SeenVerdict(msgspec.Struct):
    key: str
    judge: str


def already_done(folder: Path) -> _Done:
    """Keys of the finished calls.

    Raises:
        StoreError: a line of the record files is no record.
    """
    done = _Done({}, set(), set(), set(), Counter())
    for offset, response in placed_records(folder / RESPONSES, _SeenResponse):
        done.responses[response.key] = offset
        done.models.add(response.model)
        if response.style == "prefilled" and response.finish is not Finish.CUT_IN_THINKING:
            done.closed[response.model] += 1
        elif response.style == "none" and response.finish is Finish.COMPLETE:
            done.closed[response.model] -= 1
    for verdict in records(folder / VERDICTS, _SeenVerdict):
        done.verdicts.add(verdict.key)
        done.judges.add(verdict.judge)
    return done


class Run:
    """One pass over the samples of a plan, writing into an open journal."""

    def __init__(
        self,
        plan: Plan,
        models: Sequence[Model],
        judges: Sequence[Judge],
        benchmarks: Sequence[Loaded],
        policy: Policy,
        journal: Journal,
        folder: Path,
        tally: Tally,
    ) -> None:
        self._plan = plan
        self._endpoints = [Endpoint(m, policy) for m in models]
        self._judges = judges
        self._benchmarks = benchmarks
        self._window = policy.limit * (2 if any(j.endpoint for j in judges) else 1)
        self._journal = journal
        self._folder = folder
        self._tally = tally
        self._done = already_done(folder)
        self._parts = [p for p in Part if plan.parts in ("both", p.value)]

    async def carry_out(self, stop: asyncio.Event) -> None:
        """Answer and judge every sample that is not there yet.

        Raises:
            UsageError: an endpoint cannot work, or the disk is full. What was finished is kept.
        """
        async with AsyncExitStack() as stack:
            for endpoint in self._endpoints:
                endpoint.worked_before = endpoint.model.label in self._done.models
            judges = {j.label: j.endpoint for j in self._judges if j.endpoint}
            for label, endpoint in judges.items():
                endpoint.worked_before = label in self._done.judges
            for endpoint in [*self._endpoints, *judges.values()]:
                await stack.enter_async_context(endpoint.running(at_once=not self._done.responses))
            async with asyncio.TaskGroup() as group:
                for endpoint in self._endpoints:
                    group.create_task(self._one_model(endpoint, stop))

    async def _one_model(self, endpoint: Endpoint, stop: asyncio.Event) -> None:
        model = endpoint.model
        # As the model itself learns it: its template opens the thought if most replies say so.
        model.prefilled = model.prefilled or self._done.closed[model.label] > 0

        async def work(item: tuple[Loaded, Prompt, int]) -> None:
            before = self._tally.made
            await self._sample(endpoint, *item)
            self._tally.finished += 1
            # A sample that is all there never waits, so that no other can have made a call.
            self._tally.skipped += self._tally.made == before

        items = ((b, p, r) for b in self._benchmarks for p, r in selected(b, self._plan))
        await run_window(items, work, size=self._window, stop=stop)

    async def _sample(
        self, endpoint: Endpoint, benchmark: Loaded, prompt: Prompt, repeat: int
    ) -> None:
        """One prompt through the model, its response through the judges."""
        response = await self._respond(endpoint, benchmark, prompt, repeat)
        if response is None:
            return
        for part in self._parts:
            text = response.part(part)
            finished = _JUDGED_ANSWERS if part is Part.ANSWER else _JUDGED_THOUGHTS
            if not text or response.finish not in finished:
                continue
            for judge in self._judges:
                await self._judge(judge, benchmark, prompt, response, part, text)

    async def _respond(
        self, endpoint: Endpoint, benchmark: Loaded, prompt: Prompt, repeat: int
    ) -> Response | None:
        model = endpoint.model
        sampling = Sampling(temperature=self._plan.temperature, max_tokens=self._plan.max_tokens)
        key = digest(model.identity, sampling, benchmark.name, prompt.id, repeat, prompt.messages)
        offset = self._done.responses.get(key)
        if offset is not None:
            self._tally.kept += 1
            return next(read_at(self._folder / RESPONSES, [offset], Response))
        call = Call(messages=prompt.messages, sampling=sampling, prompt=prompt.id, repeat=repeat)
        try:
            served = await endpoint.call(call)
        except CallError as error:
            self._fail(
                Failure(
                    key=key,
                    stage="generate",
                    reason=error.reason,
                    message=str(error),
                    model=model.label,
                    benchmark=benchmark.name,
                    prompt=prompt.id,
                    repeat=repeat,
                    category=prompt.category,
                    label=prompt.label,
                    tries=error.tries,
                    raw=error.raw,
                    at=now(),
                )
            )
            return None
        response = _response(key, model, benchmark, prompt, repeat, served)
        self._journal.append(response)
        self._tally.made += 1
        self._tally.tokens += response.usage.completion_tokens or 0
        return response

    async def _judge(
        self,
        judge: Judge,
        benchmark: Loaded,
        prompt: Prompt,
        response: Response,
        part: Part,
        text: str,
    ) -> None:
        rubric = benchmark.rubric if prompt.label == "unsafe" else benchmark.safe_rubric
        asked = rubric.ask(prompt, text) if judge.endpoint else ""
        who = judge.endpoint.model.identity if judge.endpoint else {BUILTIN: refusal.VERSION}
        key = digest(who, rubric.name, rubric.version, response.key, part, asked)
        if key in self._done.verdicts:
            self._tally.kept += 1
            return
        served: Served | None = None
        try:
            if judge.endpoint is None:
                opinion = refusal.classify(text)
            else:
                served, opinion = await _ask(judge.endpoint, rubric, prompt, asked)
        except (CallError, JudgeError) as error:
            self._fail(_judge_failure(key, error, response, judge, part))
            return
        self._journal.append(_verdict(key, opinion, served, response, judge, part))
        self._tally.made += 1
        self._tally.verdicts += 1

    def _fail(self, failure: Failure) -> None:
        self._tally.made += 1
        self._tally.failed += 1
        self._journal.append(failure)


async def _ask(
    endpoint: Endpoint, rubric: Rubric, prompt: Prompt, asked: str
) -> tuple[Served, Opinion]:
    """A judge model's opinion, after a bounded number of fresh tries.

    Raises:
        CallError: the judge could not be asked.
        JudgeError: it gave no verdict; carries the last reply in `raw`.
    """
    sampling = Sampling(temperature=0.0, max_tokens=rubric.tokens)
    last = JudgeError(Reason.JUDGE_UNPARSABLE, "not asked")
    for attempt in range(JUDGE_TRIES):
        call = Call(
            messages=(Message("user", asked),), sampling=sampling, prompt=prompt.id, repeat=attempt
        )
        served = await endpoint.call(call)
        if served.reply.finish is Finish.BLOCKED:
            raise JudgeError(
                Reason.JUDGE_BLOCKED, "the judge's provider blocked it", served.reply.answer or ""
            )
        try:
            return served, rubric.parse(served.reply.answer or "")
        except JudgeError as error:
            last = error
            last.tries = attempt + 1
            last.raw = (served.reply.answer or "")[:2000]
    raise last


def _judge_failure(
    key: str, error: CallError | JudgeError, response: Response, judge: Judge, part: Part
) -> Failure:
    by_judge = isinstance(error, JudgeError)
    return Failure(
        key=key,
        stage="judge",
        reason=error.reason if by_judge else Reason.JUDGE_REQUEST_FAILED,
        message=str(error),
        model=response.model,
        benchmark=response.benchmark,
        prompt=response.prompt,
        repeat=response.repeat,
        category=response.category,
        label=response.label,
        judge=judge.label,
        part=part,
        response=response.key,
        tries=error.tries,
        raw=error.raw,
        at=now(),
    )


def _verdict(
    key: str,
    opinion: Opinion,
    served: Served | None,
    response: Response,
    judge: Judge,
    part: Part,
) -> Verdict:
    return Verdict(
        key=key,
        response=response.key,
        model=response.model,
        benchmark=response.benchmark,
        prompt=response.prompt,
        repeat=response.repeat,
        judge=judge.label,
        part=part,
        label=opinion.label,
        score=opinion.score,
        reason=opinion.reason,
        raw=opinion.raw,
        usage=served.reply.usage if served else Usage(),
        latency_s=round(served.latency_s, 4) if served else 0.0,
        tries=served.tries if served else 1,
        at=now(),
    )


def _response(
    key: str, model: Model, benchmark: Loaded, prompt: Prompt, repeat: int, served: Served
) -> Response:
    reply = served.reply
    return Response(
        key=key,
        model=model.label,
        benchmark=benchmark.name,
        prompt=prompt.id,
        repeat=repeat,
        category=prompt.category,
        label=prompt.label,
        messages=prompt.messages,
        thinking=reply.thinking,
        answer=reply.answer,
        finish=reply.finish,
        visibility=reply.visibility,
        style=reply.style,
        usage=reply.usage,
        provider=model.provider,
        served_model=reply.served_model,
        fingerprint=reply.fingerprint,
        latency_s=round(served.latency_s, 4),
        tries=served.tries,
        at=now(),
        raw=reply.raw,
    )


_encoder = msgspec.json.Encoder(order="sorted")


def digest(*what: object) -> str:
    """The key of a call: a digest of everything that decides it."""
    return hashlib.blake2b(_encoder.encode(what), digest_size=16).hexdigest()


def now() -> str:
    """This moment, ISO 8601, UTC."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")
