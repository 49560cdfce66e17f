"""A run directory: append-only records, one writer, and what is already there.

A record is one JSON object on one line, written by one `write()` as soon as it is
finished: the operating system has it from then on, so that killing the process
loses nothing that was finished. `fdatasync` on a timer bounds what a power cut can
take. A torn last line (a write that was itself cut) is dropped when the directory
is opened for writing.
"""

import errno
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from itertools import accumulate, chain
from pathlib import Path
from types import TracebackType
from typing import Generic, NamedTuple, Self, TypeVar

import msgspec
from filelock import FileLock, Timeout

from hiddenrisk.digests import DIGESTS, seal
from hiddenrisk.errors import StoreError
from hiddenrisk.types import (
    Failure,
    HumanLabel,
    Noticed,
    Profile,
    Response,
    Reward,
    Sheet,
    Turn,
    Verdict,
)

Record = Response | Verdict | Failure | Turn | Noticed | Profile | HumanLabel | Sheet | Reward
T = TypeVar("T")

RESPONSES, VERDICTS, FAILURES = "responses.jsonl", "verdicts.jsonl", "failures.jsonl"
TURNS, NOTICED, PROFILES = "turns.jsonl", "noticed.jsonl", "profiles.jsonl"
LABELS, SHEETS = "labels.jsonl", "sheets.jsonl"
REWARDS, REWARD_MODELS = "rewards.jsonl", "rewards.json"
_SYNC_EVERY_S = 1.0
_CHUNK = 1 << 20
_READ = 1 << 16
"""Bytes that are read at a time: what fits into a processor's cache is decoded fastest."""


class Journal:
    """The record files of a run, open for appending by one process.

    Args:
        folder: the run directory.
        files: which of them, by what they hold; none to keep others from writing.
    """

    def __init__(self, folder: Path, files: Mapping[type, str] | None = None) -> None:
        self._folder = folder
        self._names = _FILES if files is None else files
        self._lock = FileLock(folder / ".lock")
        self._files: dict[type, int] = {}
        self._synced = time.monotonic()
        self._encoder = msgspec.json.Encoder()
        self._broken: StoreError | None = None

    def __enter__(self) -> Self:
        """Take the lock and open the files.

        Raises:
            StoreError: another process writes here, or the folder cannot be written.
        """
        try:
            self._lock.acquire(timeout=0)
            for kind, name in self._names.items():
                self._files[kind] = _open_for_append(self._folder / name)
        except Timeout as error:
            raise StoreError(
                f"{self._folder} is being written by another hiddenrisk process; "
                "wait for it to end, or choose another --out"
            ) from error
        except OSError as error:
            self._close()
            raise cannot_keep(self._folder, error) from error
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        trouble = self._close()
        if isinstance(trouble, OSError) and error is None:
            raise cannot_keep(self._folder, trouble) from trouble
        if trouble is not None and error is None:
            raise trouble

    def _close(self) -> OSError | StoreError | None:
        """Sync, close and digest what is open; give the lock back, whatever the disk says to it."""
        trouble: OSError | StoreError | None = None
        written = bool(self._files)
        for file in self._files.values():
            try:
                os.fdatasync(file)
            except OSError as error:
                trouble = error
            os.close(file)
        self._files.clear()
        try:
            if written and trouble is None:
                write_json(self._folder / DIGESTS, seal(self._folder))
        except (OSError, StoreError) as error:
            trouble = error
        finally:
            self._lock.release()
        return trouble

    def append(self, record: Record) -> None:
        """Write one finished record, at once.

        Raises:
            StoreError: the disk is full or the file cannot be written; what was
                written before stays whole, and nothing more is written after.
        """
        if self._broken is not None:
            raise self._broken
        line = self._encoder.encode(record) + b"\n"
        file = self._files[type(record)]
        try:
            size = os.write(file, line)
            if size != len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            if time.monotonic() - self._synced > _SYNC_EVERY_S:
                self._synced = time.monotonic()
                for each in self._files.values():
                    os.fdatasync(each)
        except OSError as error:
            self._broken = cannot_keep(self._folder, error)
            raise self._broken from error


_FILES: dict[type, str] = {
    Response: RESPONSES, Verdict: VERDICTS, Failure: FAILURES, Turn: TURNS,
    Noticed: NOTICED, Profile: PROFILES,
}  # fmt: skip
LABEL_FILES: dict[type, str] = {HumanLabel: LABELS, Sheet: SHEETS}
REWARD_FILES: dict[type, str] = {Reward: REWARDS}


def cannot_write(path: Path, error: OSError) -> StoreError:
    """One sentence for a file that a full or unwritable disk does not take."""
    return StoreError(
        f"cannot write to {path}: {error.strerror or error}; make room (or name another place) "
        "and run the same command again"
    )


def cannot_keep(folder: Path, error: OSError) -> StoreError:
    """The same for a run, which goes on where it was."""
    return StoreError(
        f"cannot write to {folder}: {error.strerror or error}. Nothing that was finished is "
        "lost; make room (or give another --out) and run the same command again to resume"
    )


def _open_for_append(path: Path) -> int:
    """Open for appending, after dropping a torn last line."""
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
    size = end = os.fstat(file).st_size
    while end > 0:
        start = max(0, end - _CHUNK)
        newline = os.pread(file, end - start, start).rfind(b"\n")
        if newline >= 0:
            end = start + newline + 1
            break
        end = start
    if end != size:
        os.ftruncate(file, end)
    return file


def lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """The whole lines of a record file with their offsets; a torn last one is left out."""
    if not path.exists():
        return
    offset = 0
    with path.open("rb") as file:
        for line in file:
            if line.endswith(b"\n"):
                yield offset, line
            offset += len(line)


def records(path: Path, kind: type[T]) -> Iterator[T]:
    """The records of a file, one at a time.

    Raises:
        StoreError: a line in the middle of the file is not such a record.
    """
    return chain.from_iterable(batch.records for batch in batches(path, kind))


def placed_records(path: Path, kind: type[T]) -> Iterator[tuple[int, T]]:
    """The records of a file with their offsets (for `read_at`), one at a time.

    Args:
        path: the file; one that is not there has no records.
        kind: what of each record is wanted, if not the whole.

    Raises:
        StoreError: a line in the middle of the file is not such a record.
    """
    for batch in batches(path, kind):
        yield from zip(batch.offsets, batch.records, strict=True)


class Batch(NamedTuple, Generic[T]):
    """Records that were read at once."""

    offset: int
    """Of the first."""
    lines: bytes
    records: list[T]

    @property
    def offsets(self) -> list[int]:
        """Where each record begins."""
        sizes = (len(line) + 1 for line in self.lines.split(b"\n")[:-2])
        return list(accumulate(sizes, initial=self.offset))


def batches(path: Path, kind: type[T]) -> Iterator[Batch[T]]:
    """The records of a file, some at a time: what is done for many at once is cheaper.

    Args:
        path: the file; one that is not there has no records.
        kind: what of each record is wanted, if not the whole.

    Raises:
        StoreError: a line in the middle of the file is not such a record.
    """
    # Where there are not as many records as lines (to this decoder, a line is white space like
    # any other), or one is no record, the lines are read one by one, to say which it is.
    decoder, number = msgspec.json.Decoder(kind), 1
    for offset, chunk in _chunks(path):
        found: list[T] = []
        with suppress(msgspec.MsgspecError):
            found = decoder.decode_lines(chunk)
        count = chunk.count(b"\n")
        if len(found) != count:
            lines = chunk.split(b"\n")[:-1]
            found = [_decode(decoder.decode, x, path, n) for n, x in enumerate(lines, number)]
        number += count
        yield Batch(offset, chunk, found)


def _chunks(path: Path) -> Iterator[tuple[int, bytes]]:
    """The whole lines of a record file, some at a time, with their offsets."""
    if not path.exists():
        return
    offset = 0
    with path.open("rb") as file:
        while chunk := file.read(_READ) + file.readline():
            if whole := chunk[: chunk.rfind(b"\n") + 1]:
                yield offset, whole
            offset += len(chunk)


def read_at(path: Path, offsets: Iterable[int], kind: type[T]) -> Iterator[T]:
    """The records that begin at these offsets, in that order.

    Raises:
        StoreError: there is no such record at one of them.
    """
    with Reader(path, kind) as file:
        for offset in offsets:
            yield file.at(offset)


class Reader(Generic[T]):
    """The records of a file at their offsets; neighbours are read together."""

    def __init__(self, path: Path, kind: type[T]) -> None:
        self._path = path
        self._decoder = msgspec.json.Decoder(kind)
        self._start, self._chunk = 0, b""
        """What was read last, and where it begins."""

    def __enter__(self) -> Self:
        self._file = self._path.open("rb", buffering=0)
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def at(self, offset: int) -> T:
        """The record that begins there.

        Raises:
            StoreError: none does.
        """
        return _decode(self._decoder.decode, self._line(offset), self._path, None)

    def _line(self, offset: int) -> bytes:
        place, end = offset - self._start, -1
        if 0 <= place < len(self._chunk):
            end = self._chunk.find(b"\n", place)
        if end < 0:
            self._start, place = offset, 0
            self._chunk = _read_line(self._file.fileno(), offset)
            end = self._chunk.find(b"\n")
        return self._chunk[place:] if end < 0 else self._chunk[place:end]


def _read_line(file: int, offset: int) -> bytes:
    """What a file has from there on: a piece that holds a whole line, if there is one."""
    pieces = [os.pread(file, _READ, offset)]
    while pieces[-1] and b"\n" not in pieces[-1]:
        offset += len(pieces[-1])
        pieces.append(os.pread(file, _READ, offset))
    return b"".join(pieces)


def _decode(decode: Callable[[bytes], T], line: bytes, path: Path, number: int | None) -> T:
    try:
        return decode(line)
    except msgspec.MsgspecError as error:
        where = f"line {number}" if number else "a line"
        raise StoreError(
            f"{path}, {where}: not a record of this version of hiddenrisk ({error}). "
            "Move the file away to start over, or restore it from a copy"
        ) from error


def write_json(path: Path, value: object) -> None:
    """Write a value as a JSON file, whole or not at all."""
    text = msgspec.json.format(msgspec.json.encode(value), indent=2).decode()
    write_text(path, text + "\n")


def write_text(path: Path, text: str) -> None:
    """Write a file whole or not at all."""
    write_lines(path, [text])


def write_lines(path: Path, lines: Iterable[str]) -> None:
    """The same, line by line; each with its end."""
    part = path.with_name(path.name + ".part")
    try:
        with part.open("w", encoding="utf-8", errors="replace") as file:
            file.writelines(lines)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except OSError as error:
        with suppress(OSError):
            part.unlink(missing_ok=True)
        raise cannot_write(path, error) from error
