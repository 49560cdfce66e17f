"""`hiddenrisk report`: a stored run counted again, and shown.

As in `cli`, what takes long to import is imported by the verb that needs it.
"""

from pathlib import Path

import click

from hiddenrisk.cli.common import check_text, collect_less, show_run

_EXAMPLES = """
\b
Examples:
  hiddenrisk report runs/r1                  summary.json and report.html made anew
  hiddenrisk report runs/r1 --to shared/r1   somewhere else; the run is only read
"""


@click.command(epilog=_EXAMPLES)
@click.argument("run", type=click.Path(path_type=Path), metavar="RUN")
@click.option(
    "--to",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Folder for the files, if not the run's own.",
)
@click.option(
    "--data-dir",
    envvar="HIDDENRISK_DATA",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Local mirror of the data; the network is then never used for it.",
)
def report(run: Path, to: Path | None, data_dir: Path | None) -> None:
    """Count a stored run again, and write its report; nobody is asked anything.

    RUN is the directory that `assess`, `judge` or `import` wrote. The headline is that of the
    judges named last. Responses and verdicts stay as they are.

    Exit codes: 0 done; 2 wrong use.
    """
    from hiddenrisk.cli.progress import Terminal  # noqa: PLC0415 - `--help` does not wait for it
    from hiddenrisk.plan import Settings  # noqa: PLC0415 - as above
    from hiddenrisk.reporting import report_again  # noqa: PLC0415 - as above

    check_text(str(run), str(to or ""), str(data_dir or ""))
    collect_less()
    done = report_again(run, Settings(data_dir=data_dir), to)
    out = Terminal()
    if not out.is_terminal:
        out.width = 160
    show_run(out, done.opened, done.to, done.summary)
