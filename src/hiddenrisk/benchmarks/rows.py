"""Rows of data files, with errors that name file, row and field."""

import csv
import io
from collections.abc import Iterator

from hiddenrisk.errors import DataError
from hiddenrisk.types import Source

_MAX_CHARS = 1 << 28
"""Of one field. Python's own bound is 128 K, for a whole process: a prompt may be longer."""


def csv_rows(content: bytes, source: Source, columns: tuple[str, ...]) -> Iterator[dict[str, str]]:
    """The rows of a CSV file, these columns only, all of them filled.

    Raises:
        DataError: not UTF-8, a column is missing, or a field is empty.
    """
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{source.name}: not UTF-8 text (byte {error.start})") from error
    csv.field_size_limit(_MAX_CHARS)
    reader = csv.DictReader(io.StringIO(text, newline=""))
    number = 0
    try:
        header = list(reader.fieldnames or ())
        for column in columns:
            if column not in header:
                raise DataError(
                    f"{source.name}: the column {column} is missing; it has "
                    f"{', '.join(header)[:200]}"
                )
        for number, row in enumerate(reader, start=1):
            for column in columns:
                if not (row[column] or "").strip():
                    raise DataError(f"{source.name}, row {number}, field {column}: empty")
            yield {column: row[column] for column in columns}
    except csv.Error as error:
        raise DataError(f"{source.name}, after row {number}: not valid CSV ({error})") from error
    if number == 0:
        raise DataError(f"{source.name}: it has no rows")
