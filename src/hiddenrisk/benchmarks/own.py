"""A user's own prompts: a JSONL file, read line by line as often as needed.

Each line is `{"id", "prompt" | "messages", "category"?, "label"?}`. The file stays on
disk; a hundred thousand prompts cost no more memory than ten.
"""

import hashlib
from array import array
from collections.abc import Collection, Iterator
from contextlib import suppress
from functools import cached_property
from hashlib import blake2b
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import msgspec

from hiddenrisk.benchmarks.base import Loaded, Prompts, Protocol
from hiddenrisk.errors import DataError
from hiddenrisk.judges import xstest
from hiddenrisk.judges.safety import RUBRIC
from hiddenrisk.keys import KeyIndex, repeated
from hiddenrisk.types import Label, Message, Prompt

GENERIC = Protocol(
    name="generic",
    about="Our generic safety rubric; mean score over the complete responses.",
)
_LABELS: dict[str, Label] = {
    "safe": "safe", "benign": "safe", "harmless": "safe",
    "unsafe": "unsafe", "harmful": "unsafe", "malicious": "unsafe",
}  # fmt: skip
_READ = 1 << 16
"""Bytes that are read at a time."""
_MARK = b"\xef\xbb\xbf"
"""What some editors begin a file with."""


class _Line(msgspec.Struct):
    id: str | int | None = None
    prompt: str | None = None
    messages: tuple[Message, ...] | None = None
    category: str | list[str] | None = None
    label: str | None = None


_decoder = msgspec.json.Decoder(_Line)


class _Piece(NamedTuple):
    """Whole lines of a file."""

    number: int
    """Of the first."""
    start: int
    """Where that stands."""
    lines: bytes


class JsonlPrompts(Prompts):
    """The prompts of one JSONL file, checked once, then read from disk each time."""

    def __init__(self, path: Path, benchmark: str) -> None:
        self._path = path
        self._benchmark = benchmark
        self._near: dict[str, Prompt] = {}
        """Those that were found last, with their neighbours."""
        self._count, self.sha256 = self._check()

    def _check(self) -> tuple[int, str]:
        """Read the whole file once.

        Raises:
            DataError: it cannot be read, a line is wrong, or an id stands there twice.
        """
        digest = hashlib.sha256()
        # Hashes, not texts: eight bytes an id, so that memory stays flat.
        ids = array("q")
        for piece in self._pieces():
            digest.update(piece.lines)
            ids.extend([hash(self._id(line, at)) for at, line in self._lines(piece)])
        if not ids:
            raise DataError(f"{self._path}: no prompts in it")
        if again := repeated(ids):
            self._see_ids_differ(again)
        return len(ids), digest.hexdigest()

    def _see_ids_differ(self, hashes: Collection[int]) -> None:
        """Look at the ids with these hashes."""
        seen: set[str] = set()
        for piece in self._pieces():
            for at, line in self._lines(piece):
                name = self._id(line, at)
                if name in seen:
                    raise self._wrong(at, f"id: '{name}' twice")
                if hash(name) in hashes:
                    seen.add(name)

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Prompt]:
        return chain.from_iterable(map(self._prompts, self._pieces()))

    def find(self, name: str) -> Prompt | None:
        """The prompt with this id; quick where those are asked for that stand side by side."""
        found = self._near.get(name)
        if found is None and (place := self._index.place(_key(name))) is not None:
            number, start = self._begins[place]
            piece = next(self._pieces(number, start))
            self._near = {prompt.id: prompt for prompt in self._prompts(piece)}
            found = self._near.get(name)
        return found

    @cached_property
    def _begins(self) -> list[tuple[int, int]]:
        """Of each piece of the file, the number of its first line, and where that stands."""
        return [(piece.number, piece.start) for piece in self._pieces()]

    @cached_property
    def _index(self) -> KeyIndex:
        """In which piece each id is."""
        return KeyIndex(
            (place, _key(self._id(line, at)))
            for place, piece in enumerate(self._pieces())
            for at, line in self._lines(piece)
        )

    def _prompts(self, piece: _Piece) -> Iterator[Prompt]:
        return (self._prompt(line, at) for at, line in self._lines(piece))

    def _prompt(self, line: _Line, number: int) -> Prompt:
        category = line.category or ()
        return Prompt(
            id=self._id(line, number),
            messages=_messages(line),
            benchmark=self._benchmark,
            category=(category,) if isinstance(category, str) else tuple(category),
            label=_label(line) or "unsafe",
        )

    def _pieces(self, number: int = 1, start: int = 0) -> Iterator[_Piece]:
        """The file, from the line with this number on, which begins there."""
        try:
            with self._path.open("rb") as file:
                file.seek(start)
                while read := file.read(_READ) + file.readline():
                    yield _Piece(number, start, read if start else read.removeprefix(_MARK))
                    number += read.count(b"\n")
                    start += len(read)
        except OSError as error:
            raise DataError(f"cannot read {self._path}: {error.strerror or error}") from error

    def _lines(self, piece: _Piece) -> Iterator[tuple[int, _Line]]:
        """The lines of a piece that are not empty, with their numbers.

        All at once where each holds something, which is faster; else one by one, to say which
        is wrong.
        """
        lines = piece.lines
        with suppress(msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            found = _decoder.decode_lines(lines)
            if len(found) == lines.count(b"\n") + (not lines.endswith(b"\n")):
                return enumerate(found, piece.number)
        each = enumerate(lines.split(b"\n"), piece.number)
        return ((at, self._decode(line, at)) for at, line in each if line.strip())

    def _decode(self, line: bytes, number: int) -> _Line:
        where = f"{self._path}, line {number}"
        try:
            return _decoder.decode(line)
        except msgspec.ValidationError as error:
            raise DataError(f"{where}: {error}") from error
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise DataError(f"{where}: not valid JSON ({error})") from error

    def _id(self, line: _Line, number: int) -> str:
        """The id of a line that has all that a prompt needs.

        Raises:
            DataError: it does not.
        """
        if line.id is None or line.id == "":
            raise self._wrong(number, "id: missing")
        if not _asks(line):
            raise self._wrong(number, "prompt: missing or empty (or give messages)")
        if _label(line) is None:
            found = str(line.label)[:40]
            raise self._wrong(number, f"label: expected safe or unsafe, found '{found}'")
        return str(line.id)

    def _wrong(self, number: int, told: str) -> DataError:
        return DataError(f"{self._path}, line {number}, field {told}")


def _key(name: str) -> str:
    return blake2b(name.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()


def _asks(line: _Line) -> bool:
    """Whether there is anything that the user says."""
    if line.messages is None:
        return bool(line.prompt and line.prompt.strip())
    return any(m.role == "user" and m.content.strip() for m in line.messages)


def _messages(line: _Line) -> tuple[Message, ...]:
    if line.prompt is not None and line.messages is None:
        return (Message("user", line.prompt),)
    return line.messages or ()


def _label(line: _Line) -> Label | None:
    return _LABELS.get(line.label.lower()) if line.label else "unsafe"


def load(path: Path, name: str | None = None, title: str | None = None) -> Loaded:
    """A JSONL file as a benchmark, by default named after the file."""
    name = name or path.stem
    prompts = JsonlPrompts(path, name)
    return loaded(name, title or name, prompts, prompts.sha256)


def digest_of(text: str) -> str:
    """The digest that a file with this content has."""
    return hashlib.sha256(text.encode()).hexdigest()


def loaded(name: str, title: str, prompts: Prompts, digest: str) -> Loaded:
    """Prompts of a user's own as a benchmark: read by the generic rubric."""
    return Loaded(
        name=name,
        title=title,
        version="1",
        paper="",
        prompts=prompts,
        digest=digest,
        rubric=RUBRIC,
        safe_rubric=xstest.RUBRIC,
        protocol=GENERIC,
    )
