r"""Pairs of replies of which people prefer one: what a reward model is held against.

HH-RLHF's harmless test set: dialogues that differ in the assistant's last reply, the one that
crowd workers found less harmful first.
Paper: Bai et al. 2022, https://arxiv.org/abs/2204.05862

A file of your own has a JSON object on each line, `.jsonl` or gzipped, with `chosen` and
`rejected` in one of three forms: dialogues as HH-RLHF writes them ("\n\nHuman: ...\n\n
Assistant: ..."), lists of messages, or bare replies beside a `prompt` (a text, or messages).

Texts are hostile and files are not all well made: a row that is no such pair is counted by what
is wrong with it, and never scored.
"""

import gzip
import hashlib
import io
import re
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from enum import StrEnum
from pathlib import Path
from typing import Any, cast

import msgspec

from hiddenrisk import sources
from hiddenrisk.errors import DataError, unknown
from hiddenrisk.sources import Data
from hiddenrisk.types import Message, Source

HH_HARMLESS = Source(
    name="hh_rlhf_harmless_test/test.jsonl.gz",
    url="https://raw.githubusercontent.com/anthropics/hh-rlhf/"
    "354e5c3cb8960630860dd5774a6ac2a58313bf4d/harmless-base/test.jsonl.gz",
    sha256="ebfaaed21162a4de120ae85366075b34425e2a6303fac59b99555002f7016f03",
    licence="MIT",
    paper="https://arxiv.org/abs/2204.05862",
    size=742_801,
)
MAX_BYTES = 1 << 28
"""Of a file, unpacked."""
MAX_LINE = 1 << 22
_GZIP = b"\x1f\x8b"
_TURN = re.compile(r"(?:\A\s*|\n\n)(Human|Assistant):")
_ROLES = {"Human": "user", "Assistant": "assistant"}


class Odd(StrEnum):
    """What is wrong with a row that is no pair."""

    NOT_JSON = "not_json"
    TOO_LONG = "too_long"
    NO_TEXTS = "no_texts"
    """`chosen` or `rejected` is not there, is neither text nor messages, or lacks a prompt."""
    TURNS = "turns"
    """User and assistant do not take turns, up to a reply."""
    EMPTY = "empty_turn"
    OTHER_PROMPT = "other_prompt"
    """The two are not replies to the same."""
    SAME = "same_reply"


class Pair(msgspec.Struct, frozen=True, kw_only=True):
    """Two replies to one prompt."""

    id: str
    """Unique in its set: the number of its line."""
    prompt: tuple[Message, ...]
    chosen: str
    """The reply that people prefer."""
    rejected: str


class PairSet(msgspec.Struct, frozen=True, kw_only=True):
    """Human preferences, loaded."""

    name: str
    title: str
    pairs: tuple[Pair, ...]
    odd: dict[str, int]
    """Rows that are no pairs, by what is wrong with them."""
    digest: str
    """Of the file."""
    data: tuple[Data, ...] = ()


class BuiltinPairs(msgspec.Struct, frozen=True, kw_only=True):
    """A set that is known by name."""

    name: str
    load: Callable[[Path | None], PairSet]
    """(data directory) -> the set; DataError."""
    sources: tuple[Source, ...]


def open_pairs(text: str, data_dir: Path | None) -> PairSet:
    """The pairs that a name (`hh-harmless`) or a path (`mine.jsonl`, `mine.jsonl.gz`) stands for.

    Raises:
        UsageError: nobody knows it.
        DataError: its file cannot be read, or has no pair.
    """
    if text in PREFERENCES:
        return PREFERENCES[text].load(data_dir)
    path = Path(text)
    stem = path.name.removesuffix(".gz").removesuffix(".jsonl")
    if not path.name.endswith((".jsonl", ".jsonl.gz")) or not stem:
        raise unknown(
            "set of preferences",
            text,
            PREFERENCES,
            see="A path to your own .jsonl or .jsonl.gz works as well.",
        )
    if stem in PREFERENCES:
        raise DataError(
            f"{path} would be called '{stem}', as a set that comes with hiddenrisk; rename the file"
        )
    try:
        if path.stat().st_size > MAX_BYTES:
            raise DataError(f"{path} has more than {MAX_BYTES >> 20} MiB; take a part of it")
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}") from error
    digest = hashlib.sha256(content).hexdigest()[:32]
    return parse(content, name=stem, title=stem, where=str(path), digest=digest)


def _load_hh(data_dir: Path | None) -> PairSet:
    file = sources.load(HH_HARMLESS, data_dir)
    found = parse(
        file.content,
        name="hh-harmless",
        title="HH-RLHF harmless test",
        where=file.origin,
        digest=file.sha256[:32],
    )
    return msgspec.structs.replace(found, data=(file,))


def parse(content: bytes, *, name: str, title: str, where: str, digest: str) -> PairSet:
    """The pairs of a file, and how many of its rows are none.

    Raises:
        DataError: it cannot be unpacked, or has no pair at all.
    """
    pairs: list[Pair] = []
    odd: Counter[str] = Counter()
    for number, line in _lines(content, where):
        found = _pair(line, str(number))
        if isinstance(found, Pair):
            pairs.append(found)
        else:
            odd[found.value] += 1
    if not pairs:
        told = ", ".join(f"{count} {reason}" for reason, count in odd.most_common()) or "no rows"
        raise DataError(
            f"{where} has no pair of replies ({told}); each line is an object with chosen and "
            "rejected, which share a prompt"
        )
    return PairSet(
        name=name, title=title, pairs=tuple(pairs), odd=dict(sorted(odd.items())), digest=digest
    )


def _lines(content: bytes, where: str) -> Iterator[tuple[int, bytes]]:
    """The lines of a file that are not blank, with their numbers, unpacked where it is gzip."""
    if not content.startswith(_GZIP) and where.endswith(".gz"):
        raise DataError(f"{where} is no gzip file; fetch it again, or call it .jsonl if it is one")
    if content.startswith(_GZIP):
        content = _unpacked(content, where)
    for number, line in enumerate(io.BytesIO(content), start=1):
        if line.strip():
            yield number, line


def _unpacked(content: bytes, where: str) -> bytes:
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(content)) as file:
            unpacked = file.read(MAX_BYTES + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{where} is cut or damaged gzip ({error}); fetch it again") from error
    if len(unpacked) > MAX_BYTES:
        raise DataError(f"{where} unpacks to more than {MAX_BYTES >> 20} MiB; take a part of it")
    return unpacked


def _pair(line: bytes, name: str) -> Pair | Odd:
    if len(line) > MAX_LINE:
        return Odd.TOO_LONG
    try:
        row = msgspec.json.decode(line, type=dict[str, Any])
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return Odd.NOT_JSON
    chosen, rejected = (_turns(row.get(side), row.get("prompt")) for side in ("chosen", "rejected"))
    if chosen is None or rejected is None:
        return Odd.NO_TEXTS
    if not (_in_turn(chosen) and _in_turn(rejected)):
        return Odd.TURNS
    if chosen[:-1] != rejected[:-1]:
        return Odd.OTHER_PROMPT
    if not all(turn.content for turn in (*chosen, rejected[-1])):
        return Odd.EMPTY
    one, other = chosen[-1].content, rejected[-1].content
    if one == other:
        return Odd.SAME
    return Pair(id=name, prompt=chosen[:-1], chosen=one, rejected=other)


def _turns(value: object, prompt: object) -> tuple[Message, ...] | None:
    """A side of a row as messages; None where it is neither text nor messages."""
    if isinstance(value, str) and _TURN.match(value):
        return _dialogue(value)
    reply = (Message("assistant", value.strip()),) if isinstance(value, str) else _messages(value)
    if reply is None or len(reply) > 1:
        return reply
    if isinstance(prompt, str):
        return (Message("user", prompt.strip()), *reply)
    before = _messages(prompt)
    return None if before is None else (*before, *reply)


def _dialogue(text: str) -> tuple[Message, ...]:
    r"""`\n\nHuman: Hi\n\nAssistant: Hello` as messages."""
    _, *pieces = _TURN.split(text)
    told = zip(pieces[::2], pieces[1::2], strict=True)
    return tuple(Message(_ROLES[who], said.strip()) for who, said in told)


def _messages(value: object) -> tuple[Message, ...] | None:
    """A list of `{"role", "content"}`."""
    if not isinstance(value, list) or not value:
        return None
    found: list[Message] = []
    for one in cast("list[object]", value):
        fields = cast("dict[str, object]", one) if isinstance(one, dict) else {}
        role, content = fields.get("role"), fields.get("content")
        if not isinstance(role, str) or not isinstance(content, str):
            return None
        found.append(Message(role, content.strip()))
    return tuple(found)


def _in_turn(turns: tuple[Message, ...]) -> bool:
    """Whether they are a system prompt or none, then user and assistant in turn, to a reply."""
    roles = [turn.role for turn in turns]
    if roles[:1] == ["system"]:
        roles = roles[1:]
    return len(roles) > 1 and roles == ["user", "assistant"] * (len(roles) // 2)


PREFERENCES: dict[str, BuiltinPairs] = {
    "hh-harmless": BuiltinPairs(name="hh-harmless", load=_load_hh, sources=(HH_HARMLESS,)),
}
