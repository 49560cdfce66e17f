"""`hiddenrisk findings`: the paper's questions, answered from a run.

As in `cli`, what takes long to import is imported by the verb that needs it.
"""

import sys
from pathlib import Path
from typing import Any

import click

from hiddenrisk.cli.common import check_text
from hiddenrisk.cli.options import Finite, data_option
from hiddenrisk.errors import UsageError

_WIDTH = 100
"""Of a log; a terminal has its own."""
_HELP = """
\b
Examples:
  hiddenrisk findings runs/paper                     by the roles of the run's plan
  hiddenrisk findings runs/mine --reference gpt-4o --pair llama:distilled:r1-70b
  hiddenrisk findings runs/mine --smallest 0.05      less than five points does not matter
  hiddenrisk findings runs/paper --json findings.json
  hiddenrisk findings --paper                        the paper's own numbers, with intervals

\b
supported     an effect that way, after Holm's correction, and none the other way
refuted       an effect the other way, or all intervals exclude the smallest that matters
mixed         effects both ways
undecided     neither; what it would take is said
not measured  nothing to compare; what is missing is said
docs/findings.md tells how, and why so.
"""


@click.command(epilog=_HELP)
@click.argument(
    "run", required=False, type=click.Path(path_type=Path, file_okay=False), metavar="[RUN]"
)
@click.option(
    "--reference",
    metavar="LABEL",
    help="Model that the others are held against. [default: the plan's]",
)
@click.option(
    "--pair",
    "pairs",
    multiple=True,
    metavar="BASE:WAY:LABEL",
    help="A model and what was made of it, WAY being distilled or reasoning; repeat for several. [default: the plan's]",
)
@click.option(
    "--smallest",
    type=Finite(0.0, 1.0, min_open=True, max_open=True),
    default=0.02,
    show_default=True,
    metavar="SHARE",
    help="Smallest difference of rates that matters: 0.02 is two points.",
)
@click.option(
    "--json",
    "to",
    type=click.Path(path_type=Path, dir_okay=False, allow_dash=True),
    metavar="FILE",
    help="Write the findings with all their evidence as JSON; - for standard output, and no text.",
)
@click.option("--paper", is_flag=True, help="The paper's published numbers instead of a run.")
@data_option
def findings(
    run: Path | None,
    reference: str | None,
    pairs: tuple[str, ...],
    smallest: float,
    to: Path | None,
    data_dir: Path | None,
    *,
    paper: bool,
) -> None:
    """Answer the paper's questions (arXiv 2502.12659) from a run, with the evidence.

    Are open models less safe than the reference, on benchmarks and under attack? Distilled
    and reasoning models than their bases? Do they do more harm where they are unsafe? Is the
    thinking less safe than the answer, and does safety thinking fail under attack?

    RUN is the directory that `assess`, `judge` or `import` wrote; nothing in it is changed,
    and no model is asked. What is compared are the prompts that both sides share.

    Exit codes: 0 done, whatever the answers are; 2 wrong use.
    """
    check_text(*sys.argv)
    if paper:
        if run or reference or pairs:
            raise UsageError(
                "--paper shows the published numbers, with the paper's own roles; leave out "
                "RUN, --reference and --pair"
            )
        found = _of_paper(smallest)
    elif run is None:
        raise UsageError("name a run directory, or --paper for the paper's own numbers")
    else:
        found = _of_run(run, reference, pairs, smallest, data_dir)
    if to is not None:
        _write(found, to)
    if to != Path("-"):
        _show(found)


def _of_paper(smallest: float) -> dict[str, Any]:
    from hiddenrisk.findings.published import paper_findings, published  # noqa: PLC0415

    paper = published()
    roles = {"reference": "o3-mini", "pairs": paper["pairs"]}
    about = f"the numbers that {paper['paper']} prints, with unpaired tests"
    return {
        "of": about,
        "published": True,
        "models": list(paper["models"]),
        "roles": roles,
        "smallest": smallest,
        "findings": paper_findings(smallest),
    }


def _of_run(
    run: Path,
    reference: str | None,
    pairs: tuple[str, ...],
    smallest: float,
    data_dir: Path | None,
) -> dict[str, Any]:
    from hiddenrisk.accounting import roles_of  # noqa: PLC0415 - as above
    from hiddenrisk.findings import findings_of  # noqa: PLC0415 - see the module
    from hiddenrisk.findings.roles import named_roles  # noqa: PLC0415 - as above
    from hiddenrisk.plan import Settings  # noqa: PLC0415 - as above
    from hiddenrisk.reopening import open_headline  # noqa: PLC0415 - as above

    opened = open_headline(run, Settings(data_dir=data_dir))
    labels = [model.label for model in opened.models]
    roles = named_roles(labels, reference, pairs, roles_of(opened))
    return {
        "of": str(run),
        "published": False,
        "models": labels,
        "roles": roles,
        "smallest": smallest,
        "findings": findings_of(opened, run, roles, smallest),
    }


def _write(found: dict[str, Any], to: Path) -> None:
    import msgspec  # noqa: PLC0415 - see the module

    from hiddenrisk import __version__  # noqa: PLC0415 - as above

    text = msgspec.json.format(msgspec.json.encode({"hiddenrisk": __version__, **found})).decode()
    if to == Path("-"):
        click.echo(text)
        return
    try:
        to.write_text(f"{text}\n", "utf-8")
    except OSError as error:
        raise UsageError(f"cannot write {to}: {error.strerror or error}") from error


def _show(found: dict[str, Any]) -> None:
    from hiddenrisk.cli.findings_tables import (  # noqa: PLC0415 - see the module
        answers,
        evidence_tables,
    )
    from hiddenrisk.cli.progress import Terminal  # noqa: PLC0415 - as above

    out = Terminal()
    if not out.is_terminal:
        out.width = _WIDTH
        out.soft_wrap = False
    for part in (*answers(found), *evidence_tables(found, out.width)):
        out.print(part)
