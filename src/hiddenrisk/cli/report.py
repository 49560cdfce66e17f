"""`hiddenrisk report` and `hiddenrisk verify`: a stored run counted again.

As in `cli`, what takes long to import is imported by the verb that needs it.
"""

import sys
from pathlib import Path

import click

from hiddenrisk.cli.common import FAILED, check_text, collect_less, plain, show_run
from hiddenrisk.cli.options import data_option
from hiddenrisk.errors import unknown

_EXAMPLES = """
\b
Files (in RUN, or in DIR):
  html     report.html: one page, needs nothing else; always written, with summary.json
  md       report.md: the same numbers as Markdown, without transcripts
  csv      tables/*.csv: rates, categories, outcomes, comparisons, findings; and from the
           records samples, responses, verdicts, failures, rewards, without any text
  parquet  the same as Parquet; needs pip install "hiddenrisk[export]"

\b
Examples:
  hiddenrisk report runs/r1                           summary.json and report.html anew
  hiddenrisk report runs/r1 --format md,csv           more forms, beside them
  hiddenrisk report runs/r1 --to shared/r1 --redact --format md,csv     for sharing
"""


@click.command(epilog=_EXAMPLES)
@click.argument("run", type=click.Path(path_type=Path), metavar="RUN")
@click.option(
    "--to",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Folder for the files, if not the run's own. The run is then only read, and may be going on.",
)
@click.option(
    "--format",
    "formats",
    multiple=True,
    metavar="NAME[,NAME]",
    help="html, md, csv, parquet; several with commas, or repeated. [default: html]",
)
@click.option(
    "--redact",
    is_flag=True,
    help="For sharing: numbers, labels and digests, but no text of prompts, models or judges, and no path, host or SPEC. Needs --to.",
)
@data_option
def report(
    run: Path, to: Path | None, formats: tuple[str, ...], redact: bool, data_dir: Path | None
) -> None:
    """Count a stored run again, and write its report; nobody is asked anything.

    RUN is the directory that `assess`, `judge` or `import` wrote. The headline is that of the
    judges named last. Responses and verdicts stay as they are.

    Exit codes: 0 done; 2 wrong use.
    """
    from hiddenrisk.cli.progress import Terminal  # noqa: PLC0415 - `--help` does not wait for it
    from hiddenrisk.plan import Settings  # noqa: PLC0415 - as above
    from hiddenrisk.reporting import Wanted, report_again  # noqa: PLC0415 - as above

    check_text(str(run), str(to or ""), str(data_dir or ""))
    wanted = Wanted(_formats(formats), to, redact)
    collect_less()
    done = report_again(run, Settings(data_dir=data_dir), wanted)
    out = Terminal()
    if not out.is_terminal:
        out.width = 160
    show_run(out, done.opened, to or run, done.summary)
    for path in done.written:
        if path.suffix == ".md" or path.stem == "rates":
            more = f" (and {path.parent.name}/*{path.suffix})" if path.stem == "rates" else ""
            out.print(f"{plain(str(path))}{more}", soft_wrap=True, markup=False, highlight=False)


def _formats(given: tuple[str, ...]) -> list[str]:
    from hiddenrisk.reporting import FORMATS  # noqa: PLC0415 - see the module

    names = [name.strip() for one in given for name in one.split(",")]
    for name in names:
        if name not in FORMATS:
            raise unknown("format", name, FORMATS, see="Several are joined by commas.")
    return names or ["html"]


_VERIFY_EXAMPLES = """
\b
Examples:
  hiddenrisk verify runs/r1
  hiddenrisk verify runs/r1 --data-dir mirror      where the benchmarks' data are
"""


@click.command(epilog=_VERIFY_EXAMPLES)
@click.argument("run", type=click.Path(path_type=Path), metavar="RUN")
@data_option
def verify(run: Path, data_dir: Path | None) -> None:
    """Hold a stored run against itself; nothing is written, and nobody asked.

    Every number of summary.json is counted again from the records; flips.jsonl and
    report.html are made again. Files are held against digests.json, prompts and data against
    run.json, responses against their prompts, verdicts against their responses; keys are
    computed again from what decides them, the judged text among it.

    It finds accidents and hand-edits. Whoever forges a whole run forges its digests as well:
    keep those of digests.json elsewhere if that matters.

    Exit codes: 0 all is as it should be; 1 something is not; 2 wrong use.
    """
    from hiddenrisk import verifying  # noqa: PLC0415 - as above
    from hiddenrisk.plan import Settings  # noqa: PLC0415 - see the module

    check_text(str(run), str(data_dir or ""))
    collect_less()
    found = verifying.verify(run, Settings(data_dir=data_dir))
    for line in found.checked:
        click.echo(f"checked: {plain(line)}")
    for line in found.notes:
        click.echo(f"note: {plain(line)}")
    for one in found.problems[: verifying.MOST]:
        where = f", {one.where}" if one.where else ""
        pair = f"stored {_short(one.stored)}, found {_short(one.found)}"
        click.echo(plain(f"{one.file}{where}: {pair}"), err=True)
    if len(found.problems) > verifying.MOST:
        click.echo(f"and {len(found.problems) - verifying.MOST:,} more", err=True)
    if found.problems:
        click.echo(
            f"hiddenrisk: {len(found.problems):,} things in {plain(str(run))} are not as they should be",
            err=True,
        )
        sys.exit(FAILED)
    but = ", but for what the notes say was not checked" if found.notes else ""
    click.echo(f"{plain(str(run))} is as it should be{but}")


def _short(value: object) -> str:
    told = repr(value)
    return (
        told if len(told) <= _MOST_SHOWN else f"{told[:_MOST_SHOWN]}... ({len(told):,} characters)"
    )


_MOST_SHOWN = 120
