"""Tables as Parquet files, a bounded number of rows in memory: Arrow's own writer.

Zstandard, row groups of at most 65,536 rows or about 16 MiB, and the same types for the same
table whatever is in it (docs/export.md).
"""

from collections.abc import Sequence
from contextlib import closing
from importlib import import_module
from pathlib import Path
from typing import Any

from hiddenrisk.errors import StoreError, UsageError
from hiddenrisk.store import cannot_write
from hiddenrisk.tabular import Floats, Ints, Items, Numbers, Table, Talk, Words

NAMES: dict[type, str] = {
    str: "string", int: "int64", float: "double", bool: "bool",
    Talk: "list<struct<role: string, content: string>>",
    Items: "list<struct<id: string, response: string, part: string, prompt_label: string>>",
    Floats: "list<double>", Ints: "list<int64>",
    Numbers: "map<string, double>", Words: "map<string, string>",
}  # fmt: skip
"""What export.json calls the types of columns; Arrow's own names differ by its version."""
GROUP_ROWS, GROUP_BYTES = 1 << 16, 16 << 20


def arrow() -> Any:  # noqa: ANN401 - a module
    """Arrow, with its Parquet.

    Raises:
        UsageError: it is not installed.
    """
    try:
        library: Any = import_module("pyarrow")  # an extra, and it takes a while
        import_module("pyarrow.parquet")
        import_module("pyarrow.compute")
    except ImportError as error:
        raise UsageError('Parquet files need PyArrow: pip install "hiddenrisk[export]"') from error
    return library


def kind_of(kind: type) -> Any:  # noqa: ANN401 - a type of Arrow's
    """A column's type, as Arrow has it."""
    pa = arrow()
    text = pa.string()
    item = dict.fromkeys(("id", "response", "part", "prompt_label"), text)
    kinds = {
        str: text, int: pa.int64(), float: pa.float64(), bool: pa.bool_(),
        Talk: pa.list_(pa.struct({"role": text, "content": text})),
        Items: pa.list_(pa.struct(item)),
        Floats: pa.list_(pa.float64()), Ints: pa.list_(pa.int64()),
        Numbers: pa.map_(text, pa.float64()), Words: pa.map_(text, text),
    }  # fmt: skip
    return kinds[kind]


def arrays(table: Table, block: Sequence[Sequence[object]]) -> list[Any]:
    """The columns of a block of a table's.

    Raises:
        StoreError: a value does not fit its column.
    """
    pa = arrow()
    found: list[Any] = []
    for (name, kind), values in zip(table.columns.items(), block, strict=True):
        try:
            found.append(pa.array(_plain(kind, values), kind_of(kind)))
        except (pa.ArrowException, OverflowError, UnicodeEncodeError) as error:
            raise StoreError(
                f"{name} of {table.name} holds a value that is no {kind.__name__} of a table "
                f"({' '.join(str(error).split())[:120]}); look for it with: hiddenrisk verify RUN"
            ) from error
    return found


def _plain(kind: type, values: Sequence[Any]) -> Sequence[object]:
    """Values as Arrow takes them."""
    if kind is Talk:
        return [None if v is None else [(m.role, m.content) for m in v] for v in values]
    if kind is Items:
        return [[(i.id, i.response, i.part, i.prompt_label) for i in v] for v in values]
    return values


class Groups:
    """A Parquet file that is written row group by row group.

    Args:
        file: where to.
        schema: its columns, as Arrow has them.
    """

    def __init__(self, file: Any, schema: Any) -> None:  # noqa: ANN401 - Arrow's
        self._writer = arrow().parquet.ParquetWriter(file, schema, compression="zstd")
        self._held: list[Any] = []
        self._held_rows = self.rows = self.bytes = 0
        """`bytes`: what is held back, in memory."""

    def add(self, batch: Any) -> None:  # noqa: ANN401 - Arrow's
        """Add a record batch."""
        self._held.append(batch)
        self._held_rows += batch.num_rows
        self.bytes += batch.nbytes
        if self._held_rows >= GROUP_ROWS or self.bytes >= GROUP_BYTES:
            self.flush()

    def flush(self) -> None:
        """Write what is held back."""
        if self._held:
            self._writer.write_table(arrow().Table.from_batches(self._held), GROUP_ROWS)
            self.rows += self._held_rows
        self._held.clear()
        self._held_rows = self.bytes = 0

    def close(self) -> None:
        """Write the rest, and the file's end."""
        self.flush()
        self._writer.close()


def write_parquet(table: Table, path: Path) -> None:
    """Write a table as one file, whole or not at all.

    Raises:
        UsageError: PyArrow is not installed.
        StoreError: it cannot be written, or a value does not fit its column.
    """
    pa = arrow()
    schema = pa.schema({name: kind_of(kind) for name, kind in table.columns.items()})
    part = path.with_name(path.name + ".part")
    try:
        with part.open("wb") as file, closing(Groups(file, schema)) as groups:
            for block in table.blocks:
                groups.add(pa.record_batch(arrays(table, block), schema))
        part.replace(path)
    except OSError as error:
        raise cannot_write(path, error) from error
    finally:
        part.unlink(missing_ok=True)
