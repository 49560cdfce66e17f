"""The records beside responses and verdicts as tables: calls on the way, looks, people's labels."""

from collections.abc import Iterator
from pathlib import Path

import msgspec

from hiddenrisk import store
from hiddenrisk.tabular import Floats, Ints, Items, Table, table
from hiddenrisk.types import HumanLabel, Noticed, Profile, Sheet, Usage

_SAMPLE: dict[str, type] = {"model": str, "benchmark": str, "prompt": str, "repeat": int}
_TOLD = ("prompt_tokens", "completion_tokens", "reasoning_tokens")
"""As told; what nobody told is null, as estimates are no counts."""


class _Reply(msgspec.Struct, frozen=True):
    finish: str
    visibility: str


class _Turn(msgspec.Struct, frozen=True):
    key: str
    asked: str
    label: str
    role: str
    model: str
    benchmark: str
    prompt: str
    repeat: int
    reply: _Reply
    usage: Usage = Usage()
    calls: int = 1
    latency_s: float = 0.0
    tries: int = 1
    at: str = ""


class _WholeReply(_Reply, frozen=True):
    thinking: str | None = None
    answer: str | None = None


class _WholeTurn(_Turn, frozen=True):
    reply: _WholeReply = msgspec.field()
    problem: str = ""


def turns(folder: Path, *, texts: bool = False) -> Table:
    """Calls on the way to a response or a verdict.

    Args:
        folder: the run directory.
        texts: whether the table has what was said, without the provider's payload.
    """

    def rows() -> Iterator[tuple[object, ...]]:
        for t in store.records(folder / store.TURNS, _WholeTurn if texts else _Turn):
            sample = (t.key, t.model, t.benchmark, t.prompt, t.repeat)
            ended = (t.asked, t.label, t.role, t.reply.finish, t.reply.visibility)
            took = (t.calls, t.latency_s, t.tries, *(getattr(t.usage, n) for n in _TOLD), t.at)
            said = (
                (t.reply.thinking, t.reply.answer, t.problem) if isinstance(t, _WholeTurn) else ()
            )
            yield (*sample, *ended, *took, *said)

    ended = dict.fromkeys(("asked", "label", "role", "finish", "visibility"), str)
    took: dict[str, type] = (
        {"calls": int, "latency_s": float, "tries": int} | dict.fromkeys(_TOLD, int) | {"at": str}
    )
    said = dict.fromkeys(("thinking", "answer", "problem"), str) if texts else {}
    return table("turns", {"turn": str, **_SAMPLE, **ended, **took, **said}, rows())


def noticed(folder: Path) -> Table:
    """What thoughts are aware of, and who says so."""
    columns: dict[str, type] = {
        "key": str, "response": str, **_SAMPLE, "judge": str,
        "risk_noticed": bool, "refusal_intended": bool, "at": str,
    }  # fmt: skip
    return _records("noticed", folder / store.NOTICED, Noticed, columns)


def profiles(folder: Path) -> Table:
    """How safe thoughts are, segment by segment."""
    columns: dict[str, type] = {
        "key": str, "response": str, **_SAMPLE, "judge": str,
        "ends": Ints, "scores": Floats, "at": str,
    }  # fmt: skip
    return _records("profiles", folder / store.PROFILES, Profile, columns)


def labels(folder: Path, *, who: bool = True) -> Table:
    """People's words on parts of responses.

    Args:
        folder: the run directory.
        who: whether the table says whose they are.
    """
    columns: dict[str, type] = {
        "response": str, "part": str, "label": str, "score": float, "sheet": str,
        "drawn": str, "probability": float, "at": str, **({"who": str} if who else {}),
    }  # fmt: skip
    return _records("labels", folder / store.LABELS, HumanLabel, columns)


def sheets(folder: Path) -> Table:
    """Label sheets that were exported: what is on each, and how it was drawn."""
    columns: dict[str, type] = {
        "sheet": str, "drawn": str, "seed": int, "of": int, "probability": float,
        "band": Floats, "items": Items, "at": str,
    }  # fmt: skip
    return _records("sheets", folder / store.SHEETS, Sheet, columns)


def _records(name: str, path: Path, kind: type[msgspec.Struct], columns: dict[str, type]) -> Table:
    """A table of fields of records, under their own names."""
    rows = (tuple(getattr(r, column) for column in columns) for r in store.records(path, kind))
    return table(name, columns, rows)
