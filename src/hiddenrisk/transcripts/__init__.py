"""Recorded transcripts, from the files that people have them in: one file each kind."""

from pathlib import Path

from hiddenrisk.transcripts.base import Contents, SourceFile, read_bytes, sha256
from hiddenrisk.transcripts.batch import is_batch, read_batch
from hiddenrisk.transcripts.inspect_log import is_log, read_log
from hiddenrisk.transcripts.tables import read_table, rows_in


def read_transcripts(path: Path) -> tuple[SourceFile, Contents]:
    """What a file holds, whichever kind it is: told by its content.

    Raises:
        DataError: it cannot be read, or holds no transcripts.
    """
    content = read_bytes(path)
    if is_log(path, content):
        found = read_log(path, content)
    else:
        rows = rows_in(path, content)
        found = read_batch(rows) if is_batch(rows) else read_table(path, rows)
    source = SourceFile(
        name=path.name,
        sha256=sha256(content),
        bytes=len(content),
        format=found.format,
        transcripts=len(found.transcripts),
    )
    return source, found
