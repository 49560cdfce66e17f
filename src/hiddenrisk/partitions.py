"""A table as Parquet files in folders that say what is in them, as Hive has it.

`responses/model=gpt-4o/benchmark=airbench/part-0000.parquet`: the columns of the folders are
not in the files. What a folder's name could not hold, or what a reader could take for more
than a name, is percent-encoded as Hive does; an empty label is Hive's default partition.
Files are numbered over the whole table, so that no two can be one where a file system takes
two labels for the same.
"""

import hashlib
import re
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from itertools import accumulate
from typing import Any

import msgspec

from hiddenrisk.parquet import Groups, arrays, arrow, kind_of
from hiddenrisk.storage import Sink, Storage
from hiddenrisk.tabular import Table

BY = ("model", "benchmark")
"""What tables are partitioned by, where they have it."""
ROW = "row"
"""The column that says which row of the table it is: files hold them apart."""
_EMPTY = "__HIVE_DEFAULT_PARTITION__"
_LONGEST, _DIGEST = 240, 16
"""Bytes of a label in a folder's name, of which most file systems take 255; and of a digest."""
_OPEN, _HELD_BYTES, _FILE_BYTES = 64, 32 << 20, 512 << 20
"""Files open at a time, bytes held back in all of them, and after how many a file ends."""
_ESCAPED = frozenset("\"#%'*/:=?\\{}[]^<>|&;$`!~+,")
_PART = re.compile(
    r"(?P<table>[a-z]+)/(?:model=[^/]*/benchmark=[^/]*/)?part-[0-9]{4,9}\.parquet", re.ASCII
)


class File(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A file of an export."""

    path: str
    bytes: int
    sha256: str
    rows: int | None = None
    """None where it is no part of a table."""
    partition: dict[str, str] = {}


def escaped(label: str) -> str:
    """A label as a part of a folder's name.

    One that is too long for a folder is shortened, and a digest tells it apart: the whole
    label is in export.json only.
    """
    if not label:
        return _EMPTY
    if label == _EMPTY:
        return f"%5F{label[1:]}"
    ends = {0} if label[0] == " " else set[int]()
    ends |= {len(label) - 1} if label[-1] in " ." else set()
    signs = [
        "".join(f"%{byte:02X}" for byte in sign.encode())
        if sign in _ESCAPED or not sign.isprintable() or place in ends
        else sign
        for place, sign in enumerate(label)
    ]
    sizes = list(accumulate(len(sign.encode()) for sign in signs))
    if sizes[-1] <= _LONGEST:
        return "".join(signs)
    kept = bisect_right(sizes, _LONGEST - _DIGEST - 1)
    digest = hashlib.blake2b(label.encode(), digest_size=_DIGEST // 2).hexdigest()
    return "".join([*signs[:kept], "~", digest])


def folder_of(name: str, partition: Mapping[str, str]) -> str:
    """Where the files of a partition of a table are."""
    return "/".join([name, *(f"{key}={escaped(value)}" for key, value in partition.items())])


def is_part(path: str, tables: Sequence[str]) -> bool:
    """Whether this is the name of a part of one of these tables, and of nothing else."""
    found = _PART.fullmatch(path)
    return found is not None and found["table"] in tables


def write_table(
    storage: Storage, table: Table, told: Callable[[int], None], by: Sequence[str] = BY
) -> list[File]:
    """Write a table; gives the files, none where it has no row.

    Args:
        storage: where to.
        table: what; read once, and never held whole.
        by: what it is partitioned by, of the columns that it has.
        told: is told now and then how many rows are written.
    """
    parts = _Parts(storage, table, [name for name in by if name in table.columns])
    rows = 0
    for block in table.blocks:
        parts.add(block, rows)
        rows += len(block[0])
        told(rows)
    return parts.close()


class _Part:
    """A file that is being written."""

    def __init__(self, path: str, partition: dict[str, str], sink: Sink, schema: Any) -> None:  # noqa: ANN401 - Arrow's
        self.groups = Groups(sink, schema)
        self.sink = sink
        self._path, self._partition = path, partition

    def close(self) -> File:
        self.groups.close()
        self.sink.close()
        return File(
            path=self._path,
            bytes=self.sink.bytes,
            sha256=self.sink.sha256,
            rows=self.groups.rows,
            partition=self._partition,
        )


class _Parts:
    """The files of one table: a few open, the others written."""

    def __init__(self, storage: Storage, table: Table, by: Sequence[str]) -> None:
        self._storage = storage
        self._table = table
        names = list(table.columns)
        self._by = {name: names.index(name) for name in by}
        kept = [name for name in names if name not in by]
        kinds = {name: kind_of(table.columns[name]) for name in kept}
        self._schema = arrow().schema({ROW: arrow().int64(), **kinds})
        self._places = [names.index(name) for name in kept]
        self._open: OrderedDict[tuple[object, ...], _Part] = OrderedDict()
        self._written: list[File] = []

    def add(self, block: Sequence[Sequence[object]], first: int) -> None:
        """Add a block of the table, whose first row is this one."""
        pa = arrow()
        columns = arrays(self._table, block)
        rows = pa.array(range(first, first + len(block[0])), pa.int64())
        whole = pa.record_batch([rows, *(columns[p] for p in self._places)], self._schema)
        for partition, places in self._partitions(block).items():
            batch = whole if len(places) == len(whole) else whole.take(pa.array(places))
            self._part(partition).groups.add(batch)
            self._bound()

    def _partitions(self, block: Sequence[Sequence[object]]) -> dict[tuple[object, ...], list[int]]:
        """Which rows of a block are of which partition."""
        found: dict[tuple[object, ...], list[int]] = {}
        labels = zip(*(block[place] for place in self._by.values()), strict=True)
        for row, key in enumerate(labels if self._by else [()] * len(block[0])):
            found.setdefault(key, []).append(row)
        return found

    def _part(self, key: tuple[object, ...]) -> _Part:
        """The file that rows of a partition go to."""
        part = self._open.get(key)
        if part is not None and part.sink.bytes > _FILE_BYTES:
            self._written.append(self._open.pop(key).close())
            part = None
        if part is None:
            if len(self._open) >= _OPEN:
                self._written.append(self._open.popitem(last=False)[1].close())
            partition = {name: str(label) for name, label in zip(self._by, key, strict=True)}
            number = len(self._open) + len(self._written)
            path = f"{folder_of(self._table.name, partition)}/part-{number:04}.parquet"
            part = _Part(path, partition, self._storage.create(path), self._schema)
            self._open[key] = part
        self._open.move_to_end(key)
        return part

    def _bound(self) -> None:
        """See that no more is held back than should be: the fullest file writes first."""
        while sum(part.groups.bytes for part in self._open.values()) > _HELD_BYTES:
            max(self._open.values(), key=lambda part: part.groups.bytes).groups.flush()

    def close(self) -> list[File]:
        """End all files; gives all that were written, in the order of their names."""
        self._written += [part.close() for part in self._open.values()]
        return sorted(self._written, key=lambda file: file.path)
