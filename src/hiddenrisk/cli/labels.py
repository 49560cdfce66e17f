"""`hiddenrisk labels`: what judges leave open goes to people, and their labels come back."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from hiddenrisk.errors import UsageError

if TYPE_CHECKING:
    from hiddenrisk.labels import Agreed
    from hiddenrisk.types import Drawn

FAILED = 1
_RUN = click.argument("run", type=click.Path(path_type=Path, file_okay=False), metavar="RUN")


@click.group()
def labels() -> None:
    """Have people label what the judges of a run leave open.

    \b
    hiddenrisk labels export runs/r1 --to sheet      what the jury left open, as CSV and HTML
    hiddenrisk labels import runs/r1 answers.csv     the labels become part of the run
    """  # noqa: D301 - \b keeps click from joining the lines


def _band(
    _ctx: click.Context, _param: click.Parameter, value: str | None
) -> tuple[float, float] | None:
    """Two probabilities, LOW-HIGH."""
    if value is None:
        return None
    low, _, high = value.partition("-")
    try:
        band = float(low), float(high)
    except ValueError:
        raise click.BadParameter(f"{value!r} is not LOW-HIGH, for example 0.2-0.8.") from None
    if not 0 <= band[0] <= band[1] <= 1:
        raise click.BadParameter(f"{value!r} is not two probabilities, the lower one first.")
    return band


@labels.command(
    epilog="""
\b
Examples:
  hiddenrisk labels export runs/r1 --to sheet
  hiddenrisk labels export runs/r1 --what random --n 200 --parts answer --to sample
  hiddenrisk labels export runs/r1 --disputed 0.2-0.8 --to unsure
"""
)
@_RUN
@click.option(
    "--to",
    required=True,
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Where labels.csv and labels.html go.",
)
@click.option(
    "--what",
    "drawn",
    type=click.Choice(["disputed", "random", "all"]),
    default="disputed",
    show_default=True,
    help="Texts that the judges left open, a random sample (needs --n), or all.",
)
@click.option(
    "--n", type=click.IntRange(1), metavar="N", help="So many of them at most, drawn by chance."
)
@click.option(
    "--parts",
    type=click.Choice(["both", "answer", "thinking"]),
    default="both",
    show_default=True,
    help="What of a response may be on the sheet.",
)
@click.option(
    "--disputed",
    "band",
    callback=_band,
    metavar="LOW-HIGH",
    help="Also texts whose probability of being unsafe a judge puts into this band (judges with ?logprobs).",
)
@click.option(
    "--seed", type=int, default=0, show_default=True, metavar="N", help="Of the draw and the order."
)
def export(
    run: Path,
    to: Path,
    drawn: "Drawn",
    n: int | None,
    parts: str,
    band: tuple[float, float] | None,
    seed: int,
) -> None:
    """Write a blind label sheet: no model, no judge, no verdict, in random order.

    labels.html is for the browser, which saves the labels as a CSV, and labels.csv for a
    spreadsheet; either CSV can be imported. The run notes what is on the sheet and how it was
    drawn.
    """
    from hiddenrisk.sheets import export as write  # noqa: PLC0415 - `--help` does not wait for it
    from hiddenrisk.types import Part  # noqa: PLC0415 - as above

    if drawn == "random" and n is None:
        raise UsageError("a random sheet needs a size: add --n 100, or take --what all")
    if band and drawn != "disputed":
        raise UsageError(f"--disputed adds to --what disputed; leave it out with --what {drawn}")
    chosen = [p for p in Part if parts in ("both", p.value)]
    sheet = write(run, to, drawn=drawn, n=n, parts=chosen, band=band, seed=seed)
    count = len(sheet.items)
    click.echo(
        f"{count} of {sheet.of} {'disputed ' if drawn == 'disputed' else ''}texts: label them in "
        f"{to / 'labels.html'} (or {to / 'labels.csv'}), then run: "
        f"hiddenrisk labels import {run} FILE"
    )


@labels.command(
    "import",
    epilog="""
\b
Examples:
  hiddenrisk labels import runs/r1 answers.csv
  hiddenrisk labels import runs/r1 sheet/labels.csv --who ana
""",
)
@_RUN
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE")
@click.option(
    "--who", metavar="NAME", help="Who labelled, where FILE does not say. [default: FILE's name]"
)
def import_(run: Path, file: Path, who: str | None) -> None:
    """Take the labels of a sheet into the run, and count it again.

    A text that the judges left open gets the label that most people gave it. Labels of a random
    sample also correct the rates, from 30 on. A label of the same person for the same text takes
    the place of the earlier one. Nothing is kept of a file with a mistake in it.

    Exit codes: 0 done; 1 kept, but the run could not be counted again; 2 wrong use.
    """
    from hiddenrisk.cli.common import plain  # noqa: PLC0415 - see `export`
    from hiddenrisk.cli.tables import corrections, settled  # noqa: PLC0415 - as above
    from hiddenrisk.labels import agreement, recount, take_in  # noqa: PLC0415 - as above

    done = take_in(run, file, who)
    words = [f"{done.added} label{'' if done.added == 1 else 's'} added"]
    words += [f"{done.changed} changed"] if done.changed else []
    words += [f"{done.same} {'was' if done.same == 1 else 'were'} there"] if done.same else []
    rows = "row" if done.skipped == 1 else "rows"
    words += [f"{done.skipped} {rows} without a label"] if done.skipped else []
    click.echo(", ".join(words))
    if (agreed := agreement(run)) is not None:
        click.echo(_told(agreed))
    found = recount(run)
    if isinstance(found, str):
        click.echo(f"hiddenrisk: the run was not counted again: {found}", err=True)
        sys.exit(FAILED)
    for line in [*settled(found), *corrections(found)]:
        click.echo(plain(line))
    click.echo(f"Report: {run / 'report.html'}")


def _told(agreed: "Agreed") -> str:
    share = agreed.agreed
    beyond = ""
    if agreed.kappa is not None and agreed.kappa.value is not None:
        beyond = f", Cohen's kappa {agreed.kappa.value:.2f}"
    if agreed.alpha is not None:
        beyond = f", Krippendorff's alpha {agreed.alpha:.2f}"
    return (
        f"{', '.join(agreed.people)}: the same label on {share.value:.0%} "
        f"[{share.low:.0%}-{share.high:.0%}] of {agreed.texts} texts that several labelled{beyond}"
    )
