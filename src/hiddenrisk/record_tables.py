"""The records of a run as tables; what a model or a judge wrote only where it is asked for."""

from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import compress, islice
from operator import attrgetter
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from hiddenrisk import store
from hiddenrisk.cell import OUTCOMES, SEPARATOR, prompt_bits
from hiddenrisk.opening import Opened
from hiddenrisk.records import read_records
from hiddenrisk.scores import Column, columns
from hiddenrisk.tabular import Floats, Numbers, Table, Talk, Words
from hiddenrisk.types import Message, Usage

_Columns = dict[str, tuple[type, Callable[[Any], object]]]
"""By name, the kind of a column and what of a record is in it."""


def _of(kind: type, *names: str) -> _Columns:
    """Columns that hold fields of their own names."""
    return {name: (kind, attrgetter(name)) for name in names}


def _more(kinds: Mapping[str, type]) -> _Columns:
    return {name: (kind, attrgetter(name)) for name, kind in kinds.items()}


_SAMPLE: _Columns = {**_of(str, "model", "benchmark", "prompt"), **_of(int, "repeat")}
_KINDS = {name: kind for name, (kind, _) in _SAMPLE.items()}
_USAGE: _Columns = {
    name: (int, attrgetter(f"usage.{name}"))
    for name in ("prompt_tokens", "completion_tokens", "reasoning_tokens")
}
"""As told; what nobody told is null, as estimates are no counts."""
_WHERE = ("provider", "served_model", "fingerprint")
"""Of a response, what says where it was had."""
_SAID: dict[str, type] = {
    "messages": Talk, "thinking": str, "answer": str, "dialogue": Talk, "meta": Words,
}  # fmt: skip
_AT_ONCE = 1 << 14
"""Rows that are objects at the same time."""


def _table(name: str, columns: _Columns, found: Iterable[list[Any]]) -> Table:
    """A table of records that come some at a time."""
    kinds = {title: kind for title, (kind, _) in columns.items()}
    return Table(name, kinds, _blocks(columns, found))


def _blocks(columns: _Columns, found: Iterable[list[Any]]) -> Iterator[list[list[object]]]:
    held: list[list[object]] = [[] for _ in columns]
    for some in found:
        for values, (_, of) in zip(held, columns.values(), strict=True):
            values.extend(map(of, some))
        if len(held[0]) >= _AT_ONCE:
            yield held
            held = [[] for _ in columns]
    yield held


def _read(path: Path, kind: type[Any]) -> Iterator[list[Any]]:
    return (batch.records for batch in store.batches(path, kind))


class _Response(msgspec.Struct, gc=False):
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


class _WholeResponse(_Response, gc=False):
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

    columns: _Columns = {
        "response": (str, attrgetter("key")),
        **_SAMPLE,
        "category": (str, lambda r: SEPARATOR.join(r.category)),
        **_of(str, "label", "finish", "visibility", "style"),
        **_of(float, "latency_s"),
        **_of(int, "tries"),
        **_USAGE,
        **_of(str, "at"),
        **_more(more),
    }

    def first() -> Iterator[list[Any]]:
        which = iter(_first(path).tolist())
        for found in _read(path, _WholeResponse if texts else _Response):
            yield list(compress(found, islice(which, len(found))))

    return _table("responses", columns, first())


class _Key(msgspec.Struct, gc=False):
    key: str


def _first(path: Path) -> NDArray[np.bool_]:
    """Which records of a file are the first of their key: eight bytes a key, not the key."""
    keys = np.fromiter((hash(r.key) for r in store.records(path, _Key)), np.int64)
    first = np.zeros(len(keys), bool)
    first[np.unique(keys, return_index=True)[1]] = True
    return first


class _Verdict(msgspec.Struct, gc=False):
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


class _WholeVerdict(_Verdict, gc=False):
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

    columns: _Columns = {
        "verdict": (str, attrgetter("key")),
        **_of(str, "response"),
        **_SAMPLE,
        **_of(str, "part", "judge", "instead_of", "label"),
        **_of(float, "score"),
        **_of(bool, "complete"),
        **_of(int, "calls"),
        **_USAGE,
        **_of(str, "at"),
        **_more(more),
    }
    kind = _WholeVerdict if texts else _Verdict
    return _table("verdicts", columns, _read(folder / store.VERDICTS, kind))


class _Failure(msgspec.Struct, gc=False):
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


class _WholeFailure(_Failure, gc=False):
    message: str = ""
    raw: str = ""


def failures(folder: Path, *, texts: bool = False) -> Table:
    """Calls and judgements that could not be had, also those that were made good later.

    Args:
        folder: the run directory.
        texts: whether the table has what was said of them, and the start of what came back.
    """
    more: dict[str, type] = {"message": str, "raw": str} if texts else {}

    columns: _Columns = {
        "failure": (str, attrgetter("key")),
        **_SAMPLE,
        **_of(str, "response", "stage", "reason", "part", "judge"),
        **_of(int, "tries"),
        **_of(str, "at"),
        **_more(more),
    }
    kind = _WholeFailure if texts else _Failure
    return _table("failures", columns, _read(folder / store.FAILURES, kind))


class _Reward(msgspec.Struct, gc=False):
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


class _WholeReward(_Reward, gc=False):
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

    columns: _Columns = {
        **_of(str, "key", "response"),
        **_SAMPLE,
        **_of(str, "part", "reward"),
        **_of(float, "score"),
        "reason": (str, lambda r: r.reason or None),
        "characters": (int, attrgetter("length")),
        **_of(int, "tokens"),
        **_of(bool, "cut"),
        **_of(str, "at"),
        **_more(more),
    }
    kind = _WholeReward if texts else _Reward
    return _table("rewards", columns, _read(folder / store.REWARDS, kind))


SAMPLES = Table(
    "samples",
    {
        "response": str, **_KINDS, "category": str, "label": str, "part": str, "outcome": str,
        "score": float, "protocol": str, "judges": str,
    },
    (),
)  # fmt: skip
"""The columns of `outcomes`, without a row."""


class _Prompt(msgspec.Struct, gc=False):
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
        found = read_records(folder, [j.label for j in opened.fallbacks], insights=False)
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
