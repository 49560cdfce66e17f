"""A stored run counted again, and shown in other forms: `hiddenrisk report`. Nobody is asked."""

from collections.abc import Collection
from contextlib import nullcontext
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from hiddenrisk.accounting import REPORT, SUMMARY, counted, report
from hiddenrisk.errors import StoreError, UsageError
from hiddenrisk.manifest import RUN, has_records
from hiddenrisk.opening import Opened
from hiddenrisk.parquet import arrow, write_parquet
from hiddenrisk.plan import Settings
from hiddenrisk.record_tables import record_tables
from hiddenrisk.redacting import redacted, redacted_manifest
from hiddenrisk.reopening import open_headline
from hiddenrisk.report.markdown import markdown
from hiddenrisk.report.page import render
from hiddenrisk.report.tables import summary_tables
from hiddenrisk.settled import settle_made
from hiddenrisk.store import Journal, cannot_write, write_json, write_text
from hiddenrisk.tabular import write_csv

FORMATS = ("html", "md", "csv", "parquet")
MARKDOWN, TABLES = "report.md", "tables"


class Wanted(NamedTuple):
    """What is to be written, and where."""

    formats: Collection[str] = ("html",)
    to: Path | None = None
    """Another folder than the run's own; the run is then only read, and may be going on."""
    redact: bool = False
    """Whether it is for sharing: no texts, and nothing of where the run was made."""


class Reported(NamedTuple):
    """A run that was counted again."""

    opened: Opened
    summary: dict[str, Any]
    written: list[Path]


def report_again(folder: Path, settings: Settings, wanted: Wanted) -> Reported:
    """Count a stored run, and write what comes of it.

    Args:
        folder: the run directory.
        settings: where the data are.
        wanted: in which forms, and where.

    Raises:
        StoreError: it is no run that can be opened, another process writes there, or `to`
            cannot be written or is a run of its own.
        DataError: a benchmark's data are missing, or others than those of the run.
        UsageError: an extra is missing, or the run's own folder is to be redacted.
    """
    to = wanted.to or folder
    elsewhere = to.resolve() != folder.resolve()
    if wanted.redact and not elsewhere:
        raise UsageError(f"{folder} itself stays as it is; name a folder for the copy with --to")
    if "parquet" in wanted.formats:
        arrow()
    opened = open_headline(folder, settings)
    if elsewhere:
        _make(to)
    with nullcontext() if elsewhere else Journal(folder, {}):
        done = _written(opened, folder, to, wanted)
        if not elsewhere:
            settle_made(folder)
        return done


def _make(to: Path) -> None:
    try:
        to.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise cannot_write(to, error) from error
    if has_records(to):
        raise StoreError(f"{to} is a run of its own; name another folder with --to")


def _written(opened: Opened, folder: Path, to: Path, wanted: Wanted) -> Reported:
    manifest: dict[str, Any] = msgspec.json.decode((folder / RUN).read_bytes())
    written = [to / SUMMARY]
    if wanted.redact:
        summary = redacted(counted(opened, folder).summary, manifest)
        manifest = redacted_manifest(manifest)
        write_json(to / SUMMARY, summary)
        write_json(to / RUN, manifest)
        write_text(to / REPORT, render(summary, [], manifest))
        written.append(to / RUN)
    else:
        summary = report(opened, folder, to=to)
    written.append(to / REPORT)
    if "md" in wanted.formats:
        write_text(to / MARKDOWN, markdown(summary))
        written.append(to / MARKDOWN)
    return Reported(opened, summary, [*written, *_tables(opened, folder, to, summary, wanted)])


def _tables(
    opened: Opened, folder: Path, to: Path, summary: dict[str, Any], wanted: Wanted
) -> list[Path]:
    """Write the tables that are wanted; gives where they are."""
    written: list[Path] = []
    for name, write in (("csv", write_csv), ("parquet", write_parquet)):
        if name not in wanted.formats:
            continue
        place = to / TABLES
        place.mkdir(exist_ok=True)
        records = record_tables(opened, folder, where=not wanted.redact)
        for table in (*summary_tables(summary), *records):
            write(table, place / f"{table.name}.{name}")
            written.append(place / f"{table.name}.{name}")
    return written
