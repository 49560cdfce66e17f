"""`hiddenrisk data`: which data are on this machine, where they come from, and are they right?

As in `cli`, what takes long to import is imported by the verb that needs it.
"""

import json
import os
import sys
import time
from collections import Counter
from collections.abc import Generator, Iterable, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from hiddenrisk.errors import DataError, UsageError, unknown
from hiddenrisk.types import Source

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from hiddenrisk.download import Told
    from hiddenrisk.sources import State

FAILED, INTERRUPTED = 1, 130
_LINE_EVERY_S = 5.0
_STYLES = {"verified": "green", "differs": "bold red", "unpinned": "yellow", "partial": "yellow"}

_NAMES = """
\b
A NAME is a benchmark (all its files) or a file, as `hiddenrisk data list` shows them.
"""
_DATA_DIR = click.option(
    "--data-dir",
    envvar="HIDDENRISK_DATA",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Look in this mirror, as `assess --data-dir` does, and not in the cache.",
)


Row = tuple[tuple[str, ...], "State"]
"""A file's benchmarks, and what is here of it."""


class Wanted(NamedTuple):
    """A file, and the benchmarks that read it."""

    source: Source
    users: tuple[str, ...]


@click.group()
def data() -> None:
    """Show, download and check the data of the benchmarks.

    \b
    hiddenrisk data list                   what there is, and what of it is on this machine
    hiddenrisk data pull xstest            download now what a benchmark reads
    hiddenrisk data verify                 compute the digests again

    Downloads go to ~/.cache/hiddenrisk, or to HIDDENRISK_CACHE. `assess` downloads by itself
    what it needs; only files behind terms (marked gated) need HF_TOKEN.
    """  # noqa: D301 - \b keeps click from joining the lines


@data.command(
    "list",
    epilog="""
\b
Examples:
  hiddenrisk data list
  hiddenrisk data list --data-dir mirror
  hiddenrisk data list --json

\b
States: verified (the pinned bytes), differs (other bytes), unpinned (here, and no digest is
known to compare with), partial (a download that broke off), missing, gated (missing; the
terms must be accepted first).
""",
)
@_DATA_DIR
@click.option("--json", "as_json", is_flag=True, help="Print everything, as JSON.")
def show(data_dir: Path | None, as_json: bool) -> None:
    """List the files, and what of them is here."""
    from hiddenrisk.cli.progress import Terminal  # noqa: PLC0415 - see the module
    from hiddenrisk.sources import state  # noqa: PLC0415 - as above

    wanted = catalogue()
    rows = [(file.users, state(file.source, data_dir)) for file in wanted]
    if as_json:
        click.echo(json.dumps([_as_json(*row) for row in rows], indent=2, ensure_ascii=False))
        return
    console = Terminal()
    if console.is_terminal:
        _draw(console, rows)
        hint = "" if data_dir else ". `hiddenrisk data pull` downloads what is not here"
        console.print(f"\n{_counted(held for _, held in rows)}{hint}")
    else:
        for line in aligned([[*_cells(*row), row[1].note or ""] for row in rows]):
            click.echo(line)


@data.command(
    epilog=_NAMES
    + """
\b
Examples:
  hiddenrisk data pull
  hiddenrisk data pull airbench xstest
  HF_TOKEN=... hiddenrisk data pull wildguard_test.parquet
"""
)
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("--data-dir", is_eager=True, hidden=True)
def pull(names: tuple[str, ...], data_dir: str | None) -> None:
    """Download files into the cache; all of them if none is named.

    What is here already is left alone, and a download that broke off goes on where it was.

    Exit codes: 0 all are here; 1 some could not be had; 2 wrong use; 130 interrupted.
    """
    from hiddenrisk.cli.progress import Terminal  # noqa: PLC0415 - see the module

    if data_dir is not None:
        raise UsageError(
            "pull takes no --data-dir: it writes to the cache, and HIDDENRISK_CACHE=DIR moves that; "
            "a data directory holds copies that you put there yourself"
        )
    if mirror := os.environ.get("HIDDENRISK_DATA"):
        click.echo(f"HIDDENRISK_DATA is set: runs read {mirror}, and not the cache", err=True)
    console = Terminal(stderr=True)
    failed = 0
    try:
        for file in chosen(names):
            failed += not _pull(file.source, console)
    except KeyboardInterrupt:
        click.echo(
            "hiddenrisk: interrupted; run the same command again, and it goes on from here",
            err=True,
        )
        sys.exit(INTERRUPTED)
    if failed:
        sys.exit(FAILED)


@data.command(epilog=_NAMES)
@click.argument("names", nargs=-1, metavar="[NAME]...")
@_DATA_DIR
def verify(names: tuple[str, ...], data_dir: Path | None) -> None:
    """Check the files that are here against their digests.

    Exit codes: 0 none differs; 1 one differs, or one that was named is not here; 2 wrong use.
    """
    from hiddenrisk.sources import state  # noqa: PLC0415 - see the module

    held = [state(file.source, data_dir) for file in chosen(names)]
    for one in held:
        where = f" ({one.path})" if one.path and one.status != "verified" else ""
        note = f": {one.note}" if one.note else ""
        click.echo(f"{one.status:8}  {one.source.name}{where}{note}")
    click.echo(_counted(held))
    count = Counter(one.status for one in held)
    if count["differs"] or (names and count["missing"] + count["partial"] + count["gated"]):
        sys.exit(FAILED)


# ---------------------------------------------------------------- which files


def catalogue() -> list[Wanted]:
    """Every file that a benchmark or a set of human labels reads, once."""
    from hiddenrisk.benchmarks import BENCHMARKS  # noqa: PLC0415 - see the module
    from hiddenrisk.label_sets import LABEL_SETS  # noqa: PLC0415 - as above
    from hiddenrisk.label_sets.preferences import PREFERENCES  # noqa: PLC0415 - as above

    found: dict[str, Wanted] = {}
    used = [(b.name, b.sources) for b in BENCHMARKS.values()]
    used += [(f"labels-{s.name}", s.sources) for s in (*LABEL_SETS.values(), *PREFERENCES.values())]
    for name, sources in used:
        for source in sources:
            users = found[source.name].users if source.name in found else ()
            found[source.name] = Wanted(source, (*users, name))
    return list(found.values())


def chosen(names: Sequence[str]) -> list[Wanted]:
    """The files that names stand for, in the order of the catalogue; all without names.

    Raises:
        UsageError: a name is unknown.
    """
    from hiddenrisk.benchmarks import BENCHMARKS  # noqa: PLC0415 - see the module

    files = catalogue()
    users = {user for file in files for user in file.users}
    known = {*BENCHMARKS, *users, *(file.source.name for file in files)}
    for name in names:
        if name not in known and not any(_is_called(file, name) for file in files):
            raise unknown("data", name, known, see="`hiddenrisk data list` shows all.")
        if name in BENCHMARKS and not BENCHMARKS[name].sources:
            click.echo(f"{name}: comes with hiddenrisk, and reads no other data", err=True)
    return [f for f in files if not names or any(_is_called(f, name) for name in names)]


def _is_called(file: Wanted, name: str) -> bool:
    return name in {*file.users, file.source.name, Path(file.source.name).name}


# ---------------------------------------------------------------- downloads


def _pull(source: Source, console: "Console") -> bool:
    """Have one file in the cache, or say why not."""
    from hiddenrisk.sources import cached, state  # noqa: PLC0415 - see the module
    from hiddenrisk.sources import pull as download  # noqa: PLC0415 - as above

    done = "is here already"
    try:
        if state(source, None).status not in {"verified", "unpinned"}:
            with _telling(source, console) as told:
                download(source, told)
            done = "downloaded"
    except DataError as error:
        click.echo(f"hiddenrisk: {error}", err=True)
        return False
    held = state(source, None)
    status = f"unpinned (sha256 {held.sha256})" if held.status == "unpinned" else held.status
    click.echo(f"{source.name}: {done}, {short(held.size)}, {status}, {cached(source)}")
    return True


@contextmanager
def _telling(source: Source, console: "Console") -> "Generator[Told]":
    """Show how far a download is: a bar on a terminal, a line now and then elsewhere."""
    from rich import progress as shown  # noqa: PLC0415 - see the module

    if not console.is_terminal:
        yield _lines(source)
        return
    columns = (
        shown.TextColumn("{task.description}", markup=False),
        shown.BarColumn(bar_width=None),
        shown.DownloadColumn(),
        shown.TimeRemainingColumn(),
    )
    with shown.Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(source.name, total=source.size)
        yield lambda done, total: bar.update(task, completed=done, total=total or source.size)


def _lines(source: Source) -> "Told":
    said = time.monotonic()

    def tell(done: int, total: int | None) -> None:
        nonlocal said
        if time.monotonic() - said >= _LINE_EVERY_S:
            said = time.monotonic()
            of = f" of {short(total)}" if total else ""
            click.echo(f"{source.name}: {short(done)}{of}", err=True)

    return tell


# ---------------------------------------------------------------- how it looks


def _draw(console: "Console", rows: Sequence[Row]) -> None:
    """A line for each file where that fits, or else a few."""
    from rich.measure import Measurement  # noqa: PLC0415 - see the module

    drawn = table(rows)
    width = Measurement.get(console, console.options.update(max_width=1000), drawn).maximum
    if width > console.width:
        console.print(blocks(rows))
        return
    console.print(drawn)
    notes = [f"\n{held.source.name}: {held.note}" for _, held in rows if held.note]
    console.print("".join(notes), end="\n" if notes else "")


def table(rows: Iterable[Row]) -> "Table":
    """A line for each file, below its folder."""
    from rich.table import Table  # noqa: PLC0415 - see the module
    from rich.text import Text  # noqa: PLC0415 - as above

    drawn = Table(box=None, pad_edge=False)
    for head in ("state", "file", "benchmarks", "size", "sha256", "licence"):
        drawn.add_column(head, justify="right" if head == "size" else "left")
    above = ""
    for users, held in rows:
        state, name, *others = _cells(users, held)
        folder, _, file = name.rpartition("/")
        if folder != above:
            drawn.add_row("", f"{folder}/")
            above = folder
        drawn.add_row(Text(state, _style(state)), f"  {file}" if folder else file, *others)
    return drawn


def blocks(rows: Iterable[Row]) -> "Table":
    """A few lines for each file: its name, what it is, and what is to be said of it."""
    from rich.table import Table  # noqa: PLC0415 - see the module
    from rich.text import Text  # noqa: PLC0415 - as above

    drawn = Table.grid(padding=(0, 2, 0, 0))
    for users, held in rows:
        state, name, readers, size, digest, licence = _cells(users, held)
        pinned = "no digest pinned" if digest == "-" else f"sha256 {digest}"
        known = [] if size == "?" else [size]
        about = ", ".join([f"for {readers}", *known, licence, pinned])
        lines = [(name, ""), (f"\n{about}", "dim"), (f"\n{held.note}" if held.note else "", "")]
        drawn.add_row(Text(state, _style(state)), Text.assemble(*lines, overflow="fold"))
    return drawn


def _style(state: str) -> str:
    return _STYLES.get(state, "dim")


def _counted(states: "Iterable[State]") -> str:
    count = Counter(held.status for held in states)
    return ", ".join(f"{n} {status}" for status, n in count.items()) or "nothing to look at"


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """The rows as plain lines, their cells below each other."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]


def short(size: int | None) -> str:
    """A size in bytes, to three digits: `38.7 kB`, `1.95 MB`; `?` where it is unknown."""
    if size is None:
        return "?"
    for unit, factor in (("MB", 1_000_000), ("kB", 1_000)):
        if size >= factor:
            return f"{size / factor:.{max(0, 3 - len(str(size // factor)))}f} {unit}"
    return f"{size} B"


def _cells(users: tuple[str, ...], held: "State") -> list[str]:
    source = held.source
    size = short(source.size if held.size is None else held.size)
    if held.status == "partial" and source.size is not None:
        size += f" of {short(source.size)}"
    digest = source.sha256[:12] if source.sha256 else "-"
    return [held.status, source.name, ", ".join(users), size, digest, source.licence]


def _as_json(users: tuple[str, ...], held: "State") -> dict[str, Any]:
    source = held.source
    return {
        "name": source.name,
        "benchmarks": users,
        "url": source.url,
        "paper": source.paper,
        "licence": source.licence,
        "terms": source.gated,
        "size": source.size,
        "sha256": source.sha256,
        "here": {
            "status": held.status,
            "path": str(held.path) if held.path else None,
            "size": held.size,
            "sha256": held.sha256,
            "note": held.note,
        },
    }
