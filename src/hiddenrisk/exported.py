"""What `hiddenrisk export` wrote, read back: export.json, and frames of its tables."""

import os
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from hiddenrisk import __version__
from hiddenrisk.errors import HiddenRiskError, StoreError, UsageError
from hiddenrisk.parquet import arrow
from hiddenrisk.partitions import ROW, File, is_part
from hiddenrisk.storage import Storage
from hiddenrisk.tabular import Table, frame_of, frames

if TYPE_CHECKING:  # the extra "frames"
    from polars import DataFrame

BEGUN, ENDED = "exporting.json", "export.json"
"""Written first, and removed at the end; and written last: without it an export is none."""
SCHEMA = 1
"""Grows when a column goes, or means something else; new columns leave it."""


class Written(msgspec.Struct, frozen=True, kw_only=True):
    """A table of an export."""

    rows: int
    columns: dict[str, str]
    """Names and types, as Arrow calls them; those of folders are in no file."""


class Contents(msgspec.Struct, frozen=True, kw_only=True):
    """The content of export.json."""

    hiddenrisk: str
    """The version that wrote it."""
    schema: int
    exported: str
    """When, ISO 8601, UTC."""
    redacted: bool
    models: list[str]
    benchmarks: list[str]
    tables: dict[str, Written]
    files: list[File]


class _Schema(msgspec.Struct):
    schema: int
    hiddenrisk: str


def is_export(folder: Path) -> bool:
    """Whether a folder of this machine holds an export, or half of one."""
    return any((folder / name).is_file() for name in (ENDED, BEGUN))


def exported_at(address: str | os.PathLike[str]) -> "Exported | None":
    """The export at an address; None where a folder of this machine holds none.

    Raises:
        StoreError: it is half an export, of a newer version, or cannot be read.
        UsageError: fsspec or PyArrow is not installed.
    """
    text = os.fspath(address)
    if "://" not in text and not is_export(Path(text).expanduser()):
        return None
    arrow()
    storage = Storage(address)
    if not storage.has(ENDED):
        if storage.has(BEGUN):
            raise StoreError(
                f"{storage} holds half an export: it was stopped, or is still being written; to "
                f"write it anew, run: hiddenrisk export RUN {storage} --overwrite"
            )
        raise StoreError(f"{storage} holds no export: there is no {ENDED}")
    return Exported(storage, read_contents(storage))


def read_contents(storage: Storage) -> Contents:
    """What export.json says.

    Raises:
        StoreError: it cannot be read, or by a newer version only.
    """
    content = storage.read(ENDED)
    try:
        version = msgspec.json.decode(content, type=_Schema)
        if version.schema > SCHEMA:
            raise StoreError(
                f"{storage} was written by hiddenrisk {version.hiddenrisk} with schema "
                f"{version.schema}, and this is {__version__}, which reads {SCHEMA}: update it"
            )
        return msgspec.json.decode(content, type=Contents)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise StoreError(
            f"{storage}/{ENDED} is not what `hiddenrisk export` writes ({error}); export it again"
        ) from error


class Exported:
    """An export, to be read."""

    def __init__(self, storage: Storage, contents: Contents) -> None:
        self.contents = contents
        self._storage = storage

    def __str__(self) -> str:
        return str(self._storage)

    def frame(self, table: Table) -> "DataFrame":
        """A table of the export in the order of the run.

        Args:
            table: its name and columns; it is not read, and columns that redaction took are not
                in the frame.

        Raises:
            UsageError: it was not exported.
            StoreError: a file is missing or damaged.
        """
        written = self._table(table.name)
        names = [name for name in table.columns if name in written.columns]
        pieces = list(self._pieces(table.name, names))
        if sum(len(piece) for piece in pieces) != written.rows:
            raise StoreError(
                f"{self}/{table.name} is not whole: it has {sum(map(len, pieces)):,} rows of "
                f"{written.rows:,}; export it again"
            )
        if not pieces:
            kinds = {name: table.columns[name] for name in names}
            return frame_of(Table(table.name, kinds, ()))
        found = frames().from_arrow(arrow().concat_tables(pieces))
        return found.sort(ROW).select(names)

    def _table(self, name: str) -> Written:
        if name not in self.contents.tables:
            raise UsageError(
                f"{self} was exported without the table {name}; it has "
                f"{', '.join(self.contents.tables) or 'none'}"
            )
        return self.contents.tables[name]

    def _pieces(self, name: str, columns: Collection[str]) -> Iterator[Any]:
        for file in self._parts(name):
            kept = [ROW, *(column for column in columns if column not in file.partition)]
            with _Opened(self._storage, file) as found:
                piece = found.read(columns=kept)
            for column in columns:
                if column in file.partition:
                    values = arrow().repeat(file.partition[column], len(piece))
                    piece = piece.append_column(column, values)
            yield piece.select([ROW, *columns])

    def _parts(self, name: str) -> Iterator[File]:
        """The files of a table.

        Raises:
            StoreError: export.json names a file that no export wrote.
        """
        for file in self.contents.files:
            if file.path.startswith(f"{name}/"):
                if not is_part(file.path, (name,)):
                    raise StoreError(f"{self}/{ENDED} names a file that no export wrote")
                yield file

    def texts(self, keys: Collection[str]) -> "DataFrame":
        """The texts of responses: `response`, `prompt_text`, `thinking`, `answer`.

        Raises:
            UsageError: they were not exported.
            StoreError: a file is missing or damaged.
        """
        columns = ["response", "messages", "thinking", "answer"]
        if not set(columns) <= self._table("responses").columns.keys():
            raise UsageError(f"{self} was redacted: it holds no texts")
        library = frames()
        schema = dict.fromkeys(("response", "prompt_text", "thinking", "answer"), library.String)
        wanted = arrow().array(sorted(keys), arrow().string())
        pieces = [
            library.from_arrow(piece).with_columns(
                prompt_text=library.col("messages")
                .list.eval(library.element().struct.field("content"))
                .list.join("\n\n")
            )
            for piece in self._chosen("responses", columns, wanted)
        ]
        return library.concat(
            [library.DataFrame(schema=schema), *(piece.select(list(schema)) for piece in pieces)]
        )

    def _chosen(self, name: str, columns: list[str], wanted: Any) -> Iterator[Any]:  # noqa: ANN401
        """Rows whose first column is wanted; of row groups without one, no other is read."""
        compute = arrow().compute
        for file in self._parts(name):
            with _Opened(self._storage, file) as found:
                for group in range(found.num_row_groups):
                    keys = found.read_row_group(group, columns=columns[:1]).column(0)
                    mask: Any = compute.is_in(keys, value_set=wanted)
                    if compute.any(mask).as_py():
                        yield found.read_row_group(group, columns=columns).filter(mask)

    def summary(self) -> dict[str, Any]:
        """The content of summary.json.

        Raises:
            StoreError: it is not there, or no summary.
        """
        try:
            return msgspec.json.decode(self._storage.read("summary.json"), type=dict[str, Any])
        except (StoreError, msgspec.DecodeError, UnicodeDecodeError) as error:
            raise StoreError(
                f"{self}/summary.json cannot be read ({error}): the run had none when it was "
                "exported, or it is damaged"
            ) from error


class _Opened:
    """A part of a table, open; what is wrong with it is said in one sentence."""

    def __init__(self, storage: Storage, file: File) -> None:
        self._storage, self._file = storage, file

    def __enter__(self) -> Any:  # noqa: ANN401 - Arrow's
        try:
            self._content = self._storage.open(self._file.path)
            return arrow().parquet.ParquetFile(self._content)
        except (arrow().ArrowException, OSError) as error:
            raise self._damaged(error) from error

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        self._content.close()
        if isinstance(error, Exception) and not isinstance(error, HiddenRiskError):
            raise self._damaged(error) from error

    def _damaged(self, error: Exception) -> StoreError:
        told = " ".join(str(error).split())[:120]
        return StoreError(
            f"{self._storage}/{self._file.path} cannot be read ({told}); export it again"
        )
