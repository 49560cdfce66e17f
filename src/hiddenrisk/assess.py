"""From a plan to a run directory: every sample answered, judged, and on disk.

One coroutine per sample takes a prompt through the model and its response through the
judges. Each finished call is one record, written at once under a key that digests all
that decides it; to resume is to skip the keys that are there.
"""

import asyncio
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, nullcontext
from pathlib import Path

import msgspec

from hiddenrisk.asking import Asker, Scene, Spent, digest
from hiddenrisk.benchmarks.base import Loaded
from hiddenrisk.budget import Meter, Purse
from hiddenrisk.cascading import Cascade, shares_of
from hiddenrisk.done import already_done, stratum_in
from hiddenrisk.engine import Endpoint, Policy, run_window
from hiddenrisk.errors import CallError, JudgeError
from hiddenrisk.filing import judge_failure_of, lost_of, response_of, talked_of, verdict_of
from hiddenrisk.insights import BUILTIN, Insights
from hiddenrisk.judges import refusal
from hiddenrisk.judges.forms import Form
from hiddenrisk.judges.rubric import Rubric, asked_in, begun
from hiddenrisk.plan import Plan, profiled, selected
from hiddenrisk.prices import Price, who
from hiddenrisk.stats.cascade import Stratum, together
from hiddenrisk.store import RESPONSES, Journal, Reader
from hiddenrisk.types import (
    SCORED,
    THOUGHT_THROUGH,
    Call,
    Failure,
    Finish,
    Model,
    Opinion,
    Part,
    Prompt,
    Reason,
    Reply,
    Response,
    Sampling,
)

_JUDGED_ANSWERS = SCORED | {Finish.CUT_IN_ANSWER}
NO_USE = frozenset(
    {
        Reason.JUDGE_REFUSED,
        Reason.JUDGE_BLOCKED,
        Reason.JUDGE_UNPARSABLE,
        Reason.JUDGE_OUT_OF_RANGE,
    }
)
"""Failures of a judge after which a fallback is asked: it answered, or its provider did for it,
and there is no verdict in that. A request that failed is no such thing: it may work when the
run is resumed."""


class Judge(msgspec.Struct, frozen=True, kw_only=True):
    """A judge of this run: the rules, or a model behind an endpoint."""

    label: str
    spec: str
    endpoint: Endpoint | None = None
    """None for the built-in rules."""
    form: Form = Form()
    """By which prompt a model is asked."""

    def rubric(self, benchmark: Loaded, label: str) -> Rubric | None:
        """What texts on a prompt of this label are judged by; None where this judge cannot."""
        return self.form.reads(benchmark.rubric, benchmark.safe_rubric, label)

    def judges(self, benchmark: Loaded, label: str) -> bool:
        """Whether it has anything to say of texts on a prompt of this label."""
        able = self.endpoint is not None or benchmark.rules
        return able and self.rubric(benchmark, label) is not None


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


def first_reader(judges: Sequence[Judge]) -> Judge | None:
    """The first judge that is a model which can be asked anything; guards only classify."""
    return next((j for j in judges if j.endpoint and not j.form.guard), None)


def first_model(judges: Sequence[Judge]) -> Endpoint | None:
    """Its endpoint."""
    reader = first_reader(judges)
    return reader.endpoint if reader else None


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
        victim: Endpoint | None = None,
        *,
        fallbacks: Sequence[Judge] = (),
        cheap: Sequence[Judge] = (),
    ) -> None:
        self._plan = plan
        self._fallbacks = fallbacks
        self._cheap = cheap
        labels = tuple(j.label for j in cheap)
        self._cascade = Cascade(labels=labels, shares=shares_of(plan.audit))
        self._endpoints = [Endpoint(m, policy) for m in models]
        self._judges = judges
        self._benchmarks = benchmarks
        self._window = policy.limit * (2 if any(j.endpoint for j in judges) else 1)
        self._journal = journal
        self._tally = tally
        self._done = already_done(folder, labels, [j.label for j in fallbacks])
        self._stored = Reader(folder / RESPONSES, Response)
        self._asker = Asker(journal, folder, self._count_turn)
        self._victim = victim
        self._checker = first_model(judges) or victim
        self._parts = [p for p in Part if plan.parts in ("both", p.value)]
        self._insights: Insights | None = None
        if plan.insights != "none" and Part.THINKING in self._parts:
            reader = first_reader(judges) if plan.insights == "judge" else None
            endpoint, form = (reader.endpoint, reader.form) if reader else (None, Form())
            self._insights = Insights(endpoint, journal, folder, self._asker, form)
        self._profiled = {b.name: profiled(b, plan) for b in benchmarks}
        self._sampling = Sampling(temperature=plan.temperature, max_tokens=plan.max_tokens)
        self._purse: Purse | None = None

    @property
    def endpoints(self) -> Sequence[Endpoint]:
        """Of the models that answer, in their order."""
        return self._endpoints

    def charge(self, purse: Purse, prices: Mapping[str, Price | None]) -> None:
        """Count every call against a budget.

        Args:
            purse: what may be spent.
            prices: by the names in `usage`.
        """
        self._purse = purse
        for endpoint in self._endpoints:
            endpoint.meter = Meter(purse, prices.get(endpoint.model.label))
        for judge in (*self._judges, *self._fallbacks, *self._cheap):
            if judge.endpoint is not None:
                judge.endpoint.meter = Meter(purse, prices.get(who("judge", judge.label)))
        if self._victim is not None and self._victim.meter is None:
            self._victim.meter = Meter(purse, prices.get(who("victim", self._victim.model.label)))

    async def carry_out(self, stop: asyncio.Event) -> None:
        """Answer and judge every sample that is not there yet.

        Raises:
            UsageError: an endpoint cannot work, or the disk is full. What was finished is kept.
        """
        self._asker.stop = stop
        if self._purse is not None:
            self._purse.open(stop)
        async with AsyncExitStack() as stack:
            stack.enter_context(self._stored)
            for endpoint in self._endpoints:
                endpoint.worked_before = endpoint.model.label in self._done.models
            asked = [*self._judges, *self._fallbacks, *self._cheap]
            judges = {j.label: j.endpoint for j in asked if j.endpoint}
            for label, endpoint in judges.items():
                endpoint.worked_before = label in self._done.judges
            others = [*judges.values()]
            if self._victim and self._victim not in others:
                others.append(self._victim)
                self._victim.worked_before = bool(self._asker.kept)
            for endpoint in [*self._endpoints, *others]:
                await stack.enter_async_context(endpoint.running(at_once=not self._done.responses))
            async with asyncio.TaskGroup() as group:
                for endpoint in self._endpoints:
                    group.create_task(self._one_model(endpoint, stop))

    async def _one_model(self, endpoint: Endpoint, stop: asyncio.Event) -> None:
        model = endpoint.model
        # As the model itself learns it: its template opens the thought if most replies say so.
        model.prefilled = model.prefilled or self._done.closed[model.label] > 0

        async def work(item: tuple[Loaded, Prompt, int]) -> None:
            before, purse = self._tally.made, self._purse
            with purse.sample(model.label, item[0].name) if purse else nullcontext():
                await self._sample(endpoint, *item)
            self._tally.finished += 1
            # A sample that is all there never waits, so that no other can have made a call.
            self._tally.skipped += self._tally.made == before

        items = ((b, p, r) for b in self._benchmarks for p, r in self._chosen(b))
        await run_window(items, work, size=self._window, stop=stop)

    def _chosen(self, benchmark: Loaded) -> Iterator[tuple[Prompt, int]]:
        """The samples to see to, of those that are planned."""
        return selected(benchmark, self._plan)

    async def _sample(
        self, endpoint: Endpoint, benchmark: Loaded, prompt: Prompt, repeat: int
    ) -> None:
        """One prompt through the model, its response through the judges, its thinking looked into."""
        response = await self._respond(endpoint, benchmark, prompt, repeat)
        if response is None:
            return
        for part in self._parts:
            if part not in benchmark.parts:
                continue
            text = response.part(part)
            finished = _JUDGED_ANSWERS if part is Part.ANSWER else THOUGHT_THROUGH
            if not text or response.finish not in finished:
                continue
            if part is Part.THINKING and response.visibility.unseen:
                continue  # a provider's words, or not all of the thought
            if await self._reads_on(benchmark, prompt, response, part, text):
                await self._by_the_jury(benchmark, prompt, response, part, text)
            if part is Part.THINKING and prompt.label == "unsafe":
                await self._look_into(benchmark, prompt, response)

    async def _look_into(self, benchmark: Loaded, prompt: Prompt, response: Response) -> None:
        """See what a thought tells; rules do so only where a refusal tells anything."""
        insights = self._insights
        if insights is None or (insights.by_rules and not benchmark.rules):
            return
        sampled = (prompt.id, response.repeat) in self._profiled[benchmark.name]
        taken, failed = await insights.look(benchmark, prompt, response, sampled=sampled)
        self._tally.made += taken
        self._tally.failed += failed

    async def _respond(
        self, endpoint: Endpoint, benchmark: Loaded, prompt: Prompt, repeat: int
    ) -> Response | None:
        model, sampling = endpoint.model, self._sampling
        key = digest(model.identity, sampling, benchmark.name, prompt.id, repeat, prompt.messages)
        if benchmark.dialogue and self._victim and self._checker:
            others = (self._victim.model.identity, self._checker.model.identity)
            key = digest(key, *others, benchmark.version)
        offset = self._done.responses.place(key)
        if offset is not None:
            self._tally.kept += 1
            return self._stored.at(offset)
        try:
            if benchmark.dialogue:
                response = await self._talk(key, endpoint, benchmark, prompt, repeat)
            else:
                call = Call(
                    messages=prompt.messages, sampling=sampling, prompt=prompt.id, repeat=repeat
                )
                served = await endpoint.call(call)
                response = response_of(key, model, benchmark, prompt, repeat, served)
        except (CallError, JudgeError) as error:
            self._fail(lost_of(key, error, model, benchmark, prompt, repeat))
            return None
        self._journal.append(response)
        self._tally.made += 1
        self._tally.tokens += response.usage.completion_tokens or 0
        return response

    async def _talk(
        self, key: str, endpoint: Endpoint, benchmark: Loaded, prompt: Prompt, repeat: int
    ) -> Response:
        """Let the model talk with the one that plays the other side."""
        if benchmark.dialogue is None or self._victim is None or self._checker is None:
            raise AssertionError(f"{benchmark.name} was opened without a victim")
        scene = Scene(
            key=key,
            judge=self._checker,
            target=endpoint,
            victim=self._victim,
            sampling=self._sampling,
            model=endpoint.model.label,
            benchmark=benchmark.name,
            prompt=prompt.id,
            repeat=repeat,
        )
        start = time.monotonic()
        talk, _ = await self._asker.carry_out(benchmark.dialogue(prompt), scene)
        latency_s = time.monotonic() - start
        return talked_of(key, endpoint.model, benchmark, prompt, repeat, talk, latency_s)

    async def _reads_on(
        self, benchmark: Loaded, prompt: Prompt, response: Response, part: Part, text: str
    ) -> bool:
        """Have the cheap judges of a cascade, if there are any, read first; do the others too?"""
        found: list[Stratum] = []
        for cheap in self._cheap:
            if cheap.judges(benchmark, prompt.label):
                await self._judge(cheap, benchmark, prompt, response, part, text)
                place = (response.key, part, cheap.label)
                found.append(self._done.strata.pop(place, "unsure"))
        # Where none of them can tell anything, the others read as if there were no cascade.
        return not found or self._cascade.goes_on(response.key, together(found))

    async def _by_the_jury(
        self, benchmark: Loaded, prompt: Prompt, response: Response, part: Part, text: str
    ) -> None:
        """A verdict of each judge, or of the first fallback that gives one in its place.

        A fallback takes one place at most, or it would have two votes.
        """
        taken = {self._done.stood_in.get((response.key, part, j.label)) for j in self._judges}
        for judge in self._judges:
            if judge.endpoint is None and not benchmark.rules and len(self._judges) > 1:
                continue
            if (response.key, part, judge.label) in self._done.stood_in:
                self._tally.kept += 1
                continue
            reason = await self._judge(judge, benchmark, prompt, response, part, text)
            for other in self._fallbacks:
                if reason not in NO_USE:
                    break
                if other.label in taken or not other.judges(benchmark, prompt.label):
                    continue
                reason = await self._judge(
                    other, benchmark, prompt, response, part, text, judge.label
                )
                if reason is None:
                    taken.add(other.label)

    async def _judge(
        self,
        judge: Judge,
        benchmark: Loaded,
        prompt: Prompt,
        response: Response,
        part: Part,
        text: str,
        instead_of: str | None = None,
    ) -> Reason | None:
        """Have a judge's verdict on disk; or the reason why there is none."""
        rubric = judge.rubric(benchmark, prompt.label)
        if rubric is None:
            return None  # not judged; the run says so
        named = (rubric.name, rubric.version, response.key, part)
        if instead_of is not None:
            named = (*named, "instead of", instead_of)
        if judge.endpoint is None:
            key = digest({BUILTIN: refusal.VERSION}, *named, "")
            if not self._is_there(key):
                opinion = refusal.classify(text)
                self._file(key, opinion, Spent(), response, judge, part, instead_of)
            return None
        if rubric.dialogue and response.dialogue is not None:
            steps = rubric.dialogue(prompt, response.dialogue)
        else:
            steps = rubric.steps(prompt, text)
        first, opinion = begun(steps)
        key = digest(judge.endpoint.model.identity, *named, asked_in(first), *judge.form.how)
        if self._is_there(key):
            return None
        spent = Spent()
        if opinion is None:
            scene = Scene(
                key=key,
                judge=judge.endpoint,
                model=response.model,
                benchmark=benchmark.name,
                prompt=prompt.id,
                repeat=response.repeat,
                json=judge.form.json,
                logprobs=judge.form.logprobs,
            )
            try:
                opinion, spent = await self._asker.carry_out(steps, scene, first)
            except (CallError, JudgeError) as error:
                failure = judge_failure_of(key, error, response, judge.label, part)
                self._fail(failure)
                return failure.reason
        self._file(key, opinion, spent, response, judge, part, instead_of)
        return None

    def _is_there(self, key: str) -> bool:
        there = key in self._done.verdicts
        self._tally.kept += there
        return there

    def _file(
        self,
        key: str,
        opinion: Opinion,
        spent: Spent,
        response: Response,
        judge: Judge,
        part: Part,
        instead_of: str | None,
    ) -> None:
        verdict = verdict_of(key, opinion, spent, response, judge.label, part, instead_of)
        self._journal.append(verdict)
        if judge in self._cheap:
            stratum = stratum_in(opinion.score, opinion.grades)
            self._done.strata[response.key, part, judge.label] = stratum
        if opinion.problem_reason is not None:
            trouble = JudgeError(opinion.problem_reason, opinion.problem)
            self._fail(judge_failure_of(key, trouble, response, judge.label, part))
        self._tally.made += 1
        self._tally.verdicts += 1
        self._tally.tokens += spent.usage.completion_tokens or 0

    def _count_turn(self, reply: Reply | None) -> None:
        if reply is None:
            self._tally.kept += 1
            return
        self._tally.made += 1
        self._tally.tokens += reply.usage.completion_tokens or 0

    def _fail(self, failure: Failure) -> None:
        self._tally.made += 1
        self._tally.failed += 1
        self._journal.append(failure)
