"""The records of a run as tables; what a model or a judge wrote only where it is asked for."""

from array import array
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from hiddenrisk import store
from hiddenrisk.cell import OUTCOMES, SEPARATOR, prompt_bits
from hiddenrisk.opening import Opened
from hiddenrisk.records import read_records
from hiddenrisk.scores import Column, columns
from hiddenrisk.tabular import Floats, Numbers, Table, Talk, Words, table
from hiddenrisk.types import Message, Usage

_SAMPLE: dict[str, type] = {"model": str, "benchmark": str, "prompt": str, "repeat": int}
_USAGE: dict[str, type] = dict.fromkeys(
    ("prompt_tokens", "completion_tokens", "reasoning_tokens"), int
)
"""As told; what nobody told is null, as estimates are no counts."""
_WHERE = ("provider", "served_model", "fingerprint")
"""Of a response, what says where it was had."""
_SAID: dict[str, type] = {
    "messages": Talk, "thinking": str, "answer": str, "dialogue": Talk, "meta": Words,
}  # fmt: skip
_AT_ONCE = 1 << 14
"""Rows of `outcomes` that are objects at the same time."""


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


class _WholeResponse(_Response):
    messages: tuple[Message, ...] = ()
    thinking: str | None = None
    answer: str | None = None
    dialogue: tuple[Message, ...] | None = None
    meta: dict[str, str] = {}


def responses(folder: Path, *, where: bool = True, texts: bool = False) -> Table:
    """How each response came and ended; the first of a key, as the run is counted.

    Args:
        folder: the run directory.
        where: whether the table says where it was had: provider, served model, fingerprint.
        texts: whether it has what was said, without the provider's payload.
    """
    path = folder / store.RESPONSES
    more = dict.fromkeys(_WHERE if where else (), str) | (_SAID if texts else {})

    def rows() -> Iterator[tuple[object, ...]]:
        kind = _WholeResponse if texts else _Response
        for first, r in zip(_first(path).tolist(), store.records(path, kind), strict=False):
            if not first:
                continue
            sample = (r.key, r.model, r.benchmark, r.prompt, r.repeat, SEPARATOR.join(r.category))
            ended = (r.label, r.finish, r.visibility, r.style, r.latency_s, r.tries)
            yield (*sample, *ended, *_tokens(r.usage), r.at, *(getattr(r, n) for n in more))

    ended = {**dict.fromkeys(("label", "finish", "visibility", "style"), str), "latency_s": float}
    kinds: dict[str, type] = {"response": str, **_SAMPLE, "category": str, **ended, "tries": int}
    return table("responses", {**kinds, **_USAGE, "at": str, **more}, rows())


class _Key(msgspec.Struct):
    key: str


def _first(path: Path) -> NDArray[np.bool_]:
    """Which records of a file are the first of their key: eight bytes a key, not the key."""
    keys = np.fromiter((hash(r.key) for r in store.records(path, _Key)), np.int64)
    first = np.zeros(len(keys), bool)
    first[np.unique(keys, return_index=True)[1]] = True
    return first


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


class _WholeVerdict(_Verdict):
    reason: str = ""
    raw: str = ""
    grades: dict[str, float] = {}


def verdicts(folder: Path, *, texts: bool = False) -> Table:
    """What each judge said of each part; all that was stored, also what is in no headline.

    Args:
        folder: the run directory.
        texts: whether the table has the judge's words, and what it graded beside safety.
    """
    more: dict[str, type] = {"reason": str, "raw": str, "grades": Numbers} if texts else {}

    def rows() -> Iterator[tuple[object, ...]]:
        kind = _WholeVerdict if texts else _Verdict
        for v in store.records(folder / store.VERDICTS, kind):
            sample = (v.key, v.response, v.model, v.benchmark, v.prompt, v.repeat)
            said = (v.part, v.judge, v.instead_of, v.label, v.score, v.complete, v.calls)
            yield (*sample, *said, *_tokens(v.usage), v.at, *(getattr(v, n) for n in more))

    said: dict[str, type] = {**dict.fromkeys(("part", "judge", "instead_of", "label"), str)}
    kinds = {"verdict": str, "response": str, **_SAMPLE, **said, "score": float, "complete": bool}
    return table("verdicts", {**kinds, "calls": int, **_USAGE, "at": str, **more}, rows())


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


class _WholeFailure(_Failure):
    message: str = ""
    raw: str = ""


def failures(folder: Path, *, texts: bool = False) -> Table:
    """Calls and judgements that could not be had, also those that were made good later.

    Args:
        folder: the run directory.
        texts: whether the table has what was said of them, and the start of what came back.
    """
    more: dict[str, type] = {"message": str, "raw": str} if texts else {}

    def rows() -> Iterator[tuple[object, ...]]:
        kind = _WholeFailure if texts else _Failure
        for f in store.records(folder / store.FAILURES, kind):
            sample = (f.key, f.model, f.benchmark, f.prompt, f.repeat, f.response)
            said = (f.stage, f.reason, f.part, f.judge, f.tries, f.at)
            yield (*sample, *said, *(getattr(f, n) for n in more))

    said = dict.fromkeys(("response", "stage", "reason", "part", "judge"), str)
    kinds: dict[str, type] = {"failure": str, **_SAMPLE, **said, "tries": int, "at": str}
    return table("failures", {**kinds, **more}, rows())


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


class _WholeReward(_Reward):
    message: str = ""
    attributes: dict[str, float] = {}
    quantiles: tuple[float, ...] = ()


def rewards(folder: Path, *, texts: bool = False) -> Table:
    """What reward models gave unsafe texts, on each model's own scale; None where they failed.

    Args:
        folder: the run directory.
        texts: whether the table has why there is none in words, and all that the models gave.
    """
    more: dict[str, type] = {"message": str, "attributes": Numbers, "quantiles": Floats}
    more = more if texts else {}

    def rows() -> Iterator[tuple[object, ...]]:
        kind = _WholeReward if texts else _Reward
        for r in store.records(folder / store.REWARDS, kind):
            sample = (r.key, r.response, r.model, r.benchmark, r.prompt, r.repeat, r.part)
            found = (r.reward, r.score, r.reason or None, r.length, r.tokens, r.cut, r.at)
            yield (*sample, *found, *(getattr(r, n) for n in more))

    said: dict[str, type] = {"part": str, "reward": str, "score": float, "reason": str}
    read: dict[str, type] = {"characters": int, "tokens": int, "cut": bool, "at": str}
    kinds: dict[str, type] = {"key": str, "response": str, **_SAMPLE, **said, **read}
    return table("rewards", {**kinds, **more}, rows())


SAMPLES = Table(
    "samples",
    {
        "response": str, **_SAMPLE, "category": str, "label": str, "part": str, "outcome": str,
        "score": float, "protocol": str, "judges": str,
    },
    (),
)  # fmt: skip
"""The columns of `outcomes`, without a row."""


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
        keys = _Keys()
        for offset, r in store.placed_records(folder / store.RESPONSES, _Prompt):
            prompts[prompt_bits(r.prompt)] = r.prompt
            keys.add(offset, r.key)
        for failure in store.records(folder / store.FAILURES, _Prompt):
            prompts[prompt_bits(failure.prompt)] = failure.prompt
        found = read_records(folder, [j.label for j in opened.fallbacks])
        for column in columns(opened, found):
            for start in range(0, len(column), _AT_ONCE):
                yield _block(column, slice(start, start + _AT_ONCE), prompts, keys)

    return SAMPLES._replace(blocks=blocks())


class _Keys:
    """The keys of responses by their offsets, one after the other: a dict takes thrice as much."""

    def __init__(self) -> None:
        self._offsets, self._ends, self._text = array("q"), array("q", (0,)), bytearray()

    def add(self, offset: int, key: str) -> None:
        """Add the next one of the file."""
        self._offsets.append(offset)
        self._text += key.encode()
        self._ends.append(len(self._text))

    def at(self, offsets: NDArray[np.int64]) -> list[str | None]:
        """Those of the responses that begin there; None for -1, where there is none."""
        places = np.searchsorted(np.frombuffer(self._offsets, np.int64), offsets).tolist()
        return [
            None if offset < 0 else self._text[self._ends[p] : self._ends[p + 1]].decode()
            for offset, p in zip(offsets.tolist(), places, strict=True)
        ]


def _block(
    column: Column, rows: slice, prompts: Mapping[int, str], keys: _Keys
) -> list[Sequence[object]]:
    offsets = column.offsets[rows]
    n = len(offsets)
    paths = [SEPARATOR.join(path) for path in column.paths]
    scores: list[float] = column.scores[rows].tolist()
    return [
        keys.at(offsets),
        [column.model] * n,
        [column.benchmark] * n,
        [prompts[bits] for bits in column.prompts[rows].tolist()],
        column.repeats[rows].tolist(),
        [paths[path] for path in column.categories[rows].tolist()],
        [column.label] * n,
        [column.part.value] * n,
        [OUTCOMES[outcome] for outcome in column.outcomes[rows].tolist()],
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
