"""Tables as files: CSV that no spreadsheet takes for a formula, and frames of Polars."""

import csv
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from hiddenrisk.errors import UsageError
from hiddenrisk.store import cannot_write

if TYPE_CHECKING:  # the extra "frames"; nothing else needs it
    import polars

_FORMULA = "=+-@\t\r\n＝＋－＠"  # noqa: RUF001 - full-width signs begin formulas too
_AT_ONCE = 4_096
"""Rows that are held as objects before they are a frame; some have long texts."""


class Table(NamedTuple):
    """Columns under names, in blocks; what is not known is None. Read once."""

    name: str
    columns: Mapping[str, type]
    """Of str, int, float or bool; in an export also of the kinds below."""
    blocks: Iterable[Sequence[Sequence[object]]]
    """Each has all columns, of so many rows as it likes."""

    @property
    def rows(self) -> Iterator[tuple[object, ...]]:
        """The rows, one after the other."""
        for block in self.blocks:
            yield from zip(*block, strict=True)


class Talk:
    """Messages: a sequence of `types.Message`."""


class Items:
    """Texts on a label sheet: a sequence of `types.SheetItem`."""


class Floats:
    """A sequence of float."""


class Ints:
    """A sequence of int."""


class Numbers:
    """A mapping of str to float."""


class Words:
    """A mapping of str to str."""


def table(name: str, columns: Mapping[str, type], rows: Iterable[Sequence[object]]) -> Table:
    """A table of these rows."""
    return Table(name, columns, _blocks(rows))


def _blocks(rows: Iterable[Sequence[object]]) -> Iterator[list[Sequence[object]]]:
    left = iter(rows)
    while some := list(islice(left, _AT_ONCE)):
        yield list(zip(*some, strict=True))


def plain(cell: str) -> str:
    """A cell that no spreadsheet takes for a formula: with a quote before what may begin one."""
    start = cell.lstrip(" \u00a0\u3000")
    return f"'{cell}" if start[:1] and start[0] in _FORMULA else cell


def write_csv(table: Table, path: Path) -> None:
    """Write a table whole or not at all; None is an empty cell.

    Raises:
        StoreError: it cannot be written.
    """
    part = path.with_name(path.name + ".part")
    try:
        with part.open("w", encoding="utf-8", errors="replace", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(table.columns)
            writer.writerows([_cell(value) for value in row] for row in table.rows)
        part.replace(path)
    except OSError as error:
        with suppress(OSError):
            part.unlink(missing_ok=True)
        raise cannot_write(path, error) from error


def _cell(value: object) -> object:
    if isinstance(value, str):
        return plain(value)
    return str(value).lower() if isinstance(value, bool) else value


def frame_of(table: Table) -> "polars.DataFrame":
    """A table as a frame.

    Raises:
        UsageError: Polars is not installed.
    """
    library = frames()
    kinds = {str: library.String, int: library.Int64, float: library.Float64, bool: library.Boolean}
    schema: dict[str, Any] = {name: kinds[kind] for name, kind in table.columns.items()}
    blocks = (
        library.DataFrame(dict(zip(schema, block, strict=True)), schema=schema)
        for block in table.blocks
    )
    return library.concat([library.DataFrame(schema=schema), *blocks])


def frames() -> Any:  # noqa: ANN401 - a module
    """Polars.

    Raises:
        UsageError: it is not installed.
    """
    try:
        import polars  # noqa: PLC0415 - an extra, and it takes a while
    except ImportError as error:
        raise UsageError('frames need Polars: pip install "hiddenrisk[frames]"') from error
    return polars
