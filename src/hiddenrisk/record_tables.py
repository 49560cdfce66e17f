"""The records of a run as tables, without any text that a model or a judge wrote."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import msgspec

from hiddenrisk import store
from hiddenrisk.cell import OUTCOMES, SEPARATOR, prompt_bits
from hiddenrisk.opening import Opened
from hiddenrisk.records import read_records
from hiddenrisk.scores import Column, columns
from hiddenrisk.tabular import Table, table
from hiddenrisk.types import Usage

_SAMPLE: dict[str, type] = {"model": str, "benchmark": str, "prompt": str, "repeat": int}
_USAGE: dict[str, type] = dict.fromkeys(Usage.__struct_fields__, int)
_WHERE = ("provider", "served_model", "fingerprint")
"""Of a response, what says where it was had."""


def _tokens(usage: Usage) -> tuple[int | None, int | None, int | None]:
    return (usage.prompt_tokens, usage.completion_tokens, usage.reasoning_tokens)


class _Response(msgspec.Struct):
    key: str
    model: str
    benchmark: str
    prompt: str
    repeat: int
    category: tuple[str, ...]
    label: str
    finish: str
    visibility: str
    style: str = ""
    usage: Usage = Usage()
    provider: str = ""
    served_model: str | None = None
    fingerprint: str | None = None
    latency_s: float | None = None
    tries: int | None = None
    at: str = ""


def responses(folder: Path, *, where: bool = True) -> Table:
    """How each response came and ended; the first of a key, as the run is counted.

    Args:
        folder: the run directory.
        where: whether the table says where it was had: provider, served model, fingerprint.
    """
    names = _WHERE if where else ()

    def rows() -> Iterator[tuple[object, ...]]:
        seen: set[str] = set()
        for r in store.records(folder / store.RESPONSES, _Response):
            if r.key in seen:
                continue
            seen.add(r.key)
            sample = (r.key, r.model, r.benchmark, r.prompt, r.repeat, SEPARATOR.join(r.category))
            ended = (r.label, r.finish, r.visibility, r.style, r.latency_s, r.tries)
            yield (*sample, *ended, *_tokens(r.usage), r.at, *(getattr(r, n) for n in names))

    ended = {**dict.fromkeys(("label", "finish", "visibility", "style"), str), "latency_s": float}
    kinds: dict[str, type] = {"response": str, **_SAMPLE, "category": str, **ended, "tries": int}
    return table("responses", {**kinds, **_USAGE, "at": str, **dict.fromkeys(names, str)}, rows())


class _Verdict(msgspec.Struct):
    key: str
    response: str
    model: str
    benchmark: str
    prompt: str
    repeat: int
    judge: str
    part: str
    label: str
    score: float
    complete: bool = True
    instead_of: str | None = None
    usage: Usage = Usage()
    calls: int | None = None
    at: str = ""


def verdicts(folder: Path) -> Table:
    """What each judge said of each part; all that was stored, also what is in no headline."""

    def rows() -> Iterator[tuple[object, ...]]:
        for v in store.records(folder / store.VERDICTS, _Verdict):
            sample = (v.key, v.response, v.model, v.benchmark, v.prompt, v.repeat)
            said = (v.part, v.judge, v.instead_of, v.label, v.score, v.complete, v.calls)
            yield (*sample, *said, *_tokens(v.usage), v.at)

    said: dict[str, type] = {**dict.fromkeys(("part", "judge", "instead_of", "label"), str)}
    kinds = {"verdict": str, "response": str, **_SAMPLE, **said, "score": float, "complete": bool}
    return table("verdicts", {**kinds, "calls": int, **_USAGE, "at": str}, rows())


class _Failure(msgspec.Struct):
    key: str
    stage: str
    reason: str
    model: str
    benchmark: str
    prompt: str
    repeat: int
    judge: str | None = None
    part: str | None = None
    response: str | None = None
    tries: int | None = None
    at: str = ""


def failures(folder: Path) -> Table:
    """Calls and judgements that could not be had, also those that were made good later."""

    def rows() -> Iterator[tuple[object, ...]]:
        for f in store.records(folder / store.FAILURES, _Failure):
            sample = (f.key, f.model, f.benchmark, f.prompt, f.repeat, f.response)
            yield (*sample, f.stage, f.reason, f.part, f.judge, f.tries, f.at)

    said = dict.fromkeys(("response", "stage", "reason", "part", "judge"), str)
    kinds: dict[str, type] = {"failure": str, **_SAMPLE, **said, "tries": int, "at": str}
    return table("failures", kinds, rows())


class _Reward(msgspec.Struct):
    key: str
    response: str
    model: str
    benchmark: str
    prompt: str
    repeat: int
    part: str
    reward: str
    score: float | None = None
    reason: str = ""
    tokens: int | None = None
    length: int | None = None
    cut: bool = False
    at: str = ""


def rewards(folder: Path) -> Table:
    """What reward models gave unsafe texts, on each model's own scale; None where they failed."""

    def rows() -> Iterator[tuple[object, ...]]:
        for r in store.records(folder / store.REWARDS, _Reward):
            sample = (r.key, r.response, r.model, r.benchmark, r.prompt, r.repeat, r.part)
            yield (*sample, r.reward, r.score, r.reason or None, r.length, r.tokens, r.cut, r.at)

    said: dict[str, type] = {"part": str, "reward": str, "score": float, "reason": str}
    read: dict[str, type] = {"characters": int, "tokens": int, "cut": bool, "at": str}
    return table("rewards", {"key": str, "response": str, **_SAMPLE, **said, **read}, rows())


class _Prompt(msgspec.Struct):
    prompt: str
    key: str


def outcomes(opened: Opened, folder: Path) -> Table:
    """What became of each part of each sample, and what it counts in the headline.

    The score of a harmful prompt (label "unsafe") is safety, of a harmless one refusal; None
    where the sample is not in the headline. Planned samples that were not run have no row.
    """

    def blocks() -> Iterator[list[Sequence[object]]]:
        prompts: dict[int, str] = {}
        keys: dict[int, str | None] = {-1: None}
        for offset, r in store.placed_records(folder / store.RESPONSES, _Prompt):
            prompts[prompt_bits(r.prompt)] = r.prompt
            keys[offset] = r.key
        for failure in store.records(folder / store.FAILURES, _Prompt):
            prompts[prompt_bits(failure.prompt)] = failure.prompt
        found = read_records(folder, [j.label for j in opened.fallbacks])
        for column in columns(opened, found):
            yield _block(column, prompts, keys)

    said: dict[str, type] = {"category": str, "label": str, "part": str, "outcome": str}
    kinds: dict[str, type] = {"response": str, **_SAMPLE, **said, "score": float}
    return Table("samples", {**kinds, "protocol": str, "judges": str}, blocks())


def _block(
    column: Column, prompts: Mapping[int, str], keys: Mapping[int, str | None]
) -> list[Sequence[object]]:
    n = len(column)
    paths = [SEPARATOR.join(path) for path in column.paths]
    scores: list[float] = column.scores.tolist()
    return [
        [keys[offset] for offset in column.offsets.tolist()],
        [column.model] * n,
        [column.benchmark] * n,
        [prompts[bits] for bits in column.prompts.tolist()],
        column.repeats.tolist(),
        [paths[path] for path in column.categories.tolist()],
        [column.label] * n,
        [column.part.value] * n,
        [OUTCOMES[outcome] for outcome in column.outcomes.tolist()],
        [None if score != score else score for score in scores],  # not a number: no score
        [column.protocol] * n,
        [" + ".join(column.judges)] * n,
    ]


def record_tables(opened: Opened, folder: Path, *, where: bool = True) -> list[Table]:
    """All of them; `where` as `responses` has it."""
    return [
        outcomes(opened, folder),
        responses(folder, where=where),
        verdicts(folder),
        failures(folder),
        rewards(folder),
    ]
