"""What happened, as the records that a run keeps."""

from collections.abc import Sequence
from typing import Literal

import msgspec

from hiddenrisk.asking import Spent, now
from hiddenrisk.benchmarks.base import Dialogue, Loaded
from hiddenrisk.engine import Served
from hiddenrisk.errors import CallError, JudgeError
from hiddenrisk.judges.awareness import Awareness
from hiddenrisk.types import (
    Failure,
    Model,
    Noticed,
    Opinion,
    Part,
    Profile,
    Prompt,
    Reason,
    Reply,
    Response,
    Usage,
    Verdict,
)


def lost_of(
    key: str,
    error: CallError | JudgeError,
    model: Model,
    benchmark: Loaded,
    prompt: Prompt,
    repeat: int,
) -> Failure:
    """A sample that gave no response."""
    return Failure(
        key=key,
        stage="generate",
        # A reply of the victim's side that cannot be used is no judgement that failed.
        reason=error.reason if isinstance(error, CallError) else Reason.VICTIM_FAILED,
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


def judge_failure_of(
    key: str, error: CallError | JudgeError, response: Response, judge: str, part: Part
) -> Failure:
    """A judgement that could not be had."""
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
        judge=judge,
        part=part,
        response=response.key,
        tries=error.tries,
        usage=error.usage if by_judge else Usage(),
        calls=error.calls if by_judge else 0,
        raw=error.raw,
        at=now(),
    )


def insight_failure_of(
    key: str,
    stage: Literal["awareness", "profile"],
    error: CallError | JudgeError,
    response: Response,
    judge: str,
) -> Failure:
    """A look into a thought that could not be had; no sample's score hangs on it."""
    failure = judge_failure_of(key, error, response, judge, Part.THINKING)
    return msgspec.structs.replace(failure, stage=stage)


def verdict_of(
    key: str,
    opinion: Opinion,
    spent: Spent,
    response: Response,
    judge: str,
    part: Part,
    instead_of: str | None = None,
) -> Verdict:
    """A judge's opinion, filed."""
    return Verdict(
        key=key,
        response=response.key,
        model=response.model,
        benchmark=response.benchmark,
        prompt=response.prompt,
        repeat=response.repeat,
        judge=judge,
        part=part,
        label=opinion.label,
        score=opinion.score,
        reason=opinion.reason,
        raw=opinion.raw,
        grades=opinion.grades,
        complete=opinion.problem_reason is None,
        usage=spent.usage,
        calls=spent.calls,
        latency_s=round(spent.latency_s, 4),
        tries=spent.tries,
        at=now(),
        instead_of=instead_of,
    )


def noticed_of(key: str, found: Awareness, response: Response, judge: str) -> Noticed:
    """What a thought is aware of, filed."""
    return Noticed(
        key=key,
        response=response.key,
        model=response.model,
        benchmark=response.benchmark,
        prompt=response.prompt,
        repeat=response.repeat,
        judge=judge,
        risk_noticed=found.risk_noticed,
        refusal_intended=found.refusal_intended,
        at=now(),
    )


def profile_of(
    key: str,
    ends: tuple[int, ...],
    scores: Sequence[float],
    response: Response,
    judge: str,
) -> Profile:
    """How safe the segments of a thought are, filed."""
    return Profile(
        key=key,
        response=response.key,
        model=response.model,
        benchmark=response.benchmark,
        prompt=response.prompt,
        repeat=response.repeat,
        judge=judge,
        ends=ends,
        scores=tuple(scores),
        at=now(),
    )


def response_of(
    key: str, model: Model, benchmark: Loaded, prompt: Prompt, repeat: int, served: Served
) -> Response:
    """A reply, filed."""
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


def talked_of(
    key: str,
    model: Model,
    benchmark: Loaded,
    prompt: Prompt,
    repeat: int,
    talk: Dialogue,
    latency_s: float,
) -> Response:
    """A dialogue as one response; what each call took stands in its turns."""
    reply = Reply(
        thinking=talk.thinking,
        answer=talk.answer,
        finish=talk.finish,
        visibility=talk.visibility,
        style=talk.style,
    )
    filed = response_of(key, model, benchmark, prompt, repeat, Served(reply, latency_s, 1))
    return msgspec.structs.replace(filed, dialogue=talk.messages, meta=talk.meta)
