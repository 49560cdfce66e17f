"""A run as partitioned Parquet, in a folder or an object store: `hiddenrisk export`.

Order matters: exporting.json first, export.json last. What a table of records refers to is
written after it, so that in the export of a run that is going on every verdict has its response.
"""

from collections.abc import Callable, Collection, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from hiddenrisk import __version__, more_tables, record_tables
from hiddenrisk.accounting import SUMMARY, read_summary
from hiddenrisk.asking import now
from hiddenrisk.digests import DIGESTS
from hiddenrisk.errors import StoreError, unknown
from hiddenrisk.evidence import EVIDENCE
from hiddenrisk.exported import BEGUN, ENDED, SCHEMA, Contents, Written
from hiddenrisk.importing import PROMPTS
from hiddenrisk.manifest import BENCHMARKS, RUN
from hiddenrisk.panels import read_manifest
from hiddenrisk.parquet import NAMES, arrow
from hiddenrisk.partitions import BY, File, is_part, write_table
from hiddenrisk.plan import Settings
from hiddenrisk.redacting import redacted, redacted_manifest
from hiddenrisk.reopening import open_headline
from hiddenrisk.report.tables import summary_tables
from hiddenrisk.spending import BUDGET, PRICES
from hiddenrisk.storage import Storage
from hiddenrisk.store import RESPONSES, REWARD_MODELS
from hiddenrisk.tabular import Table, table

RECORDS = (
    "failures", "verdicts", "rewards", "turns", "noticed", "profiles", "labels", "sheets",
    "responses", "samples",
)  # fmt: skip
NUMBERS = ("rates", "categories", "outcomes", "comparisons", "findings")
TABLES = (*RECORDS, *NUMBERS)
_BESIDE = (SUMMARY, DIGESTS, PRICES, BUDGET, EVIDENCE, REWARD_MODELS, PROMPTS)
"""What is copied with run.json, where it is there."""
Told = Callable[[str, int], None]
"""Is told the table that is being written, and how many rows are."""


class Wanted(NamedTuple):
    """What is to be exported, and how."""

    tables: Collection[str] = TABLES
    redact: bool = False
    """Whether it is for sharing: no texts, and nothing of where the run was made."""
    overwrite: bool = False
    """Whether an export that is there is removed first."""


class Done(NamedTuple):
    """An export that was written."""

    address: str
    contents: Contents
    notes: list[str]
    """What is not in it, and why."""


def export(folder: Path, address: str, settings: Settings, wanted: Wanted, told: Told) -> Done:
    """Write a run as partitioned Parquet; the run is only read, and may be going on.

    Args:
        folder: the run directory.
        address: where to: a folder, or what fsspec takes.
        settings: where the data are, for the table `samples`.
        wanted: which tables, and how.
        told: is told how far it is.

    Raises:
        StoreError: it is no run that can be opened, or the address cannot be written to.
        DataError: a benchmark's data are missing, or others than those of the run.
        UsageError: an extra is missing, a table is unknown, or an export is there already.
    """
    arrow()
    for name in wanted.tables:
        if name not in TABLES:
            raise unknown("table", name, TABLES, see="--table can be repeated.")
    storage = Storage(address)
    there = _there(storage, overwrite=wanted.overwrite)
    source = _Source(folder, settings, wanted)
    _remove(storage, there)
    begun = {"hiddenrisk": __version__, "schema": SCHEMA, "begun": now()}
    storage.write(BEGUN, _json(begun))
    files: list[File] = []
    written: dict[str, Written] = {}
    for one in source.tables():
        by = BY if one.name in RECORDS else ()
        parts = write_table(storage, one, partial(told, one.name), by)
        files += parts
        written[one.name] = _written(one, parts)
    for name, content in source.beside():
        sink = storage.write(name, content)
        files.append(File(path=name, bytes=sink.bytes, sha256=sink.sha256))
    contents = Contents(
        hiddenrisk=__version__,
        schema=SCHEMA,
        exported=now(),
        redacted=wanted.redact,
        models=source.models,
        benchmarks=source.benchmarks,
        tables=written,
        files=files,
    )
    storage.write(ENDED, _json(contents))
    storage.remove([BEGUN])
    return Done(str(storage), contents, source.notes)


def _json(value: object) -> bytes:
    return msgspec.json.format(msgspec.json.encode(value), indent=2) + b"\n"


def _written(one: Table, parts: list[File]) -> Written:
    columns = {name: NAMES[kind] for name, kind in one.columns.items()}
    return Written(rows=sum(part.rows or 0 for part in parts), columns=columns)


# ---------------------------------------------------------------- what is there already


def _there(storage: Storage, *, overwrite: bool) -> list[str]:
    """The files of an export that is to be removed.

    Raises:
        StoreError: there is an export, and it shall stay, or something that no export wrote.
    """
    top = storage.top()
    if RESPONSES in top:
        raise StoreError(f"{storage} is a run directory; name another place for the export")
    if ENDED in top or BEGUN in top:
        if not overwrite:
            what = "an export already" if ENDED in top else "half an export"
            raise StoreError(
                f"{storage} holds {what}; add --overwrite to write it anew, or name another place"
            )
        found = [name for name in storage.names() if _ours(name)]
        # Without its last file it is none from the first moment on; the sign that one was
        # begun stays to the end.
        return sorted(found, key=lambda name: (name != ENDED, name == BEGUN))
    ours = {*TABLES, RUN, BENCHMARKS, *_BESIDE}
    if taken := sorted(ours & top):
        raise StoreError(
            f"{storage} holds {', '.join(taken)}, which no export of ours wrote; name another place"
        )
    return []


def _ours(name: str) -> bool:
    """Whether an export writes files of this name."""
    beside = name in (RUN, BEGUN, ENDED, *_BESIDE)
    return beside or is_part(name, TABLES) or name.rpartition("/")[0] == BENCHMARKS


def _remove(storage: Storage, names: list[str]) -> None:
    if names and BEGUN not in names:
        storage.write(BEGUN, b"{}\n")
        names = [*names, BEGUN]
    storage.remove(names)


# ---------------------------------------------------------------- what is written


class _Source:
    """A run, opened as far as its export needs it."""

    def __init__(self, folder: Path, settings: Settings, wanted: Wanted) -> None:
        identity = read_manifest(folder).identity
        self.models, self.benchmarks = list(identity.models), list(identity.benchmarks)
        self.notes: list[str] = []
        self._folder, self._wanted = folder, wanted
        self._manifest: dict[str, Any] = msgspec.json.decode((folder / RUN).read_bytes())
        self._opened = open_headline(folder, settings) if "samples" in wanted.tables else None
        self._summary = read_summary(folder) if (folder / SUMMARY).is_file() else None
        if self._summary is not None and wanted.redact:
            self._summary = redacted(self._summary, self._manifest)
        self._numbers = self._count()

    def _count(self) -> list[Table]:
        """The tables of the summary, which are small."""
        if not set(NUMBERS) & set(self._wanted.tables):
            return []
        again = f"make it with `hiddenrisk report {self._folder}`, and export again"
        if self._summary is None:
            self.notes.append(f"no {', '.join(NUMBERS)}: the run has no {SUMMARY}; {again}")
            return []
        try:
            found = summary_tables(self._summary)
            return [table(one.name, one.columns, list(one.rows)) for one in found]
        except (KeyError, TypeError, AttributeError):
            self.notes.append(
                f"no {', '.join(NUMBERS)}: {SUMMARY} is of another version of hiddenrisk; {again}"
            )
            return []

    def tables(self) -> Iterator[Table]:
        """The tables that are wanted, in the order in which they are written."""
        folder, whole = self._folder, not self._wanted.redact
        made: dict[str, Callable[[], Table]] = {
            "failures": lambda: record_tables.failures(folder, texts=whole),
            "verdicts": lambda: record_tables.verdicts(folder, texts=whole),
            "rewards": lambda: record_tables.rewards(folder, texts=whole),
            "turns": lambda: more_tables.turns(folder, texts=whole),
            "noticed": lambda: more_tables.noticed(folder),
            "profiles": lambda: more_tables.profiles(folder),
            "labels": lambda: more_tables.labels(folder, who=whole),
            "sheets": lambda: more_tables.sheets(folder),
            "responses": lambda: record_tables.responses(folder, where=whole, texts=whole),
        }
        for name in RECORDS:
            if name in self._wanted.tables and name in made:
                yield made[name]()
        if self._opened is not None:
            yield record_tables.outcomes(self._opened, folder)
        yield from (one for one in self._numbers if one.name in self._wanted.tables)

    def beside(self) -> Iterator[tuple[str, bytes]]:
        """The files beside the tables; of a run for sharing, the two that a report has."""
        if self._wanted.redact:
            yield RUN, _json(redacted_manifest(self._manifest))
            if self._summary is not None:
                yield SUMMARY, _json(self._summary)
            return
        for name in (RUN, *_BESIDE):
            if (self._folder / name).is_file():
                yield name, (self._folder / name).read_bytes()
        for path in sorted((self._folder / BENCHMARKS).glob("*")):
            if path.is_file() and not path.name.endswith(".part"):
                yield f"{BENCHMARKS}/{path.name}", path.read_bytes()
