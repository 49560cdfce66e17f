"""`hiddenrisk export`: a run as partitioned Parquet, here or in an object store.

As in `cli`, what takes long to import is imported by the verb that needs it.
"""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from hiddenrisk.cli.common import INTERRUPTED, check_text, collect_less, plain
from hiddenrisk.cli.options import data_option

if TYPE_CHECKING:
    from hiddenrisk.cli.progress import Terminal
    from hiddenrisk.exporting import Done

_EXAMPLES = """
\b
Tables:
  responses, verdicts, failures, rewards, turns, noticed, profiles, labels, sheets
           the records, with their texts (which can be harmful)
  samples  what became of each part of each sample, and its score in the headline
  rates, categories, outcomes, comparisons, findings
           the numbers of summary.json
Their columns: docs/export.md. Tables of records are partitioned by model and benchmark.

\b
Places: a folder, or whatever fsspec reaches. Keys and endpoints are those of the store's own
library (AWS_ACCESS_KEY_ID, AWS_PROFILE, AWS_ENDPOINT_URL, GOOGLE_APPLICATION_CREDENTIALS, ...).
  pip install "hiddenrisk[export]"             folders
  pip install "hiddenrisk[export]" s3fs        s3://BUCKET/NAME
  pip install "hiddenrisk[export]" gcsfs       gs://BUCKET/NAME

\b
Examples:
  hiddenrisk export runs/r1 exports/r1
  hiddenrisk export runs/r1 s3://assessments/r1
  hiddenrisk export runs/r1 exports/r1 --overwrite        write it anew
  hiddenrisk export runs/r1 shared/r1 --redact            for sharing: no text, no place
  hiddenrisk export runs/r1 exports/r1 --table responses --table verdicts

\b
To read it:
  hiddenrisk.load("s3://assessments/r1").outcomes         in Python, as hiddenrisk.load(RUN)
  SELECT * FROM read_parquet('exports/r1/responses/**/*.parquet', hive_partitioning = true)
"""


@click.command(epilog=_EXAMPLES)
@click.argument("run", type=click.Path(path_type=Path), metavar="RUN")
@click.argument("dest", metavar="DEST")
@click.option(
    "--table",
    "tables",
    multiple=True,
    metavar="NAME",
    help="Export this table only; can be repeated. [default: all]",
)
@click.option(
    "--redact",
    is_flag=True,
    help="For sharing: numbers, labels and digests, but no text of prompts, models or judges, and no path, host or SPEC.",
)
@click.option(
    "--overwrite",
    is_flag=True,
    help="Where DEST holds an export, or half of one, remove it first: the files that an export writes, and no others.",
)
@data_option
def export(
    run: Path,
    dest: str,
    tables: tuple[str, ...],
    redact: bool,
    overwrite: bool,
    data_dir: Path | None,
) -> None:
    """Write a run as partitioned Parquet, into a folder or an object store.

    RUN is the directory that `assess`, `judge` or `import` wrote; it is only read, and may be
    going on. DEST gets a folder for each table, run.json, summary.json and what else says how
    the run was made, and at the very end export.json with the rows and a digest of each file:
    without that, it is half an export, and says so when it is read.

    Exit codes: 0 done; 2 wrong use; 130 interrupted, to be begun again with --overwrite.
    """
    from hiddenrisk.cli.progress import Terminal, telling  # noqa: PLC0415 - `--help` does not wait
    from hiddenrisk.exporting import TABLES, Wanted  # noqa: PLC0415 - as above
    from hiddenrisk.exporting import export as write  # noqa: PLC0415 - as above
    from hiddenrisk.plan import Settings  # noqa: PLC0415 - as above

    check_text(str(run), dest, str(data_dir or ""))
    collect_less()
    wanted = Wanted(tables or TABLES, redact, overwrite)
    now = {"table": "", "rows": 0}

    def told(table: str, rows: int) -> None:
        now.update(table=table, rows=rows)

    def line(elapsed_s: float) -> str:
        return f"{now['table']}: {now['rows']:,} rows, {elapsed_s:.0f} s" if now["table"] else ""

    try:
        with telling(Terminal(stderr=True), line):
            done = write(run, dest, Settings(data_dir=data_dir), wanted, told)
    except KeyboardInterrupt:
        click.echo(
            f"hiddenrisk: interrupted; {plain(dest)} holds half an export: run the same command "
            "again with --overwrite",
            err=True,
        )
        sys.exit(INTERRUPTED)
    _show(Terminal(), done)


def _show(out: "Terminal", done: "Done") -> None:
    """What was written, table by table."""
    from rich.table import Table  # noqa: PLC0415 - as above

    shown = Table("table", box=None, pad_edge=False)
    for name in ("rows", "files", "MB"):
        shown.add_column(name, justify="right")
    empty = [name for name, written in done.contents.tables.items() if not written.rows]
    for name, written in done.contents.tables.items():
        if name in empty:
            continue
        parts = [file for file in done.contents.files if file.path.startswith(f"{name}/")]
        size = f"{sum(part.bytes for part in parts) / 1e6:,.1f}"
        shown.add_row(name, f"{written.rows:,}", f"{len(parts):,}", size)
    out.print(shown)
    if empty:
        out.print(f"Without a row, and a file: {', '.join(empty)}", soft_wrap=True)
    for note in done.notes:
        out.print(f"Note: {plain(note)}", style="yellow")
    out.print(f'Read it: hiddenrisk.load("{plain(done.address)}")', soft_wrap=True)
