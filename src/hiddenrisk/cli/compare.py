"""`hiddenrisk compare`: models of stored runs against each other.

As in `cli`, what takes long to import is imported by the verb that needs it.
"""

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from hiddenrisk.cli.common import check_text, plain
from hiddenrisk.cli.options import Finite, data_option

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hiddenrisk.compare import Found, Wanted
    from hiddenrisk.sides import Pairing

_FEW = 3
"""So many comparisons are also told in sentences, and with their categories."""

_HELP = """
\b
Examples:
  hiddenrisk compare runs/r1                          its models: the plan's pairs, or every two
  hiddenrisk compare runs/old runs/new                two runs of one model (or models) each
  hiddenrisk compare runs/all:v3 runs/all:r1 --categories 2 --out v3-r1.json
  hiddenrisk compare runs/a runs/b --benchmark airbench --part answer --correction bh
  hiddenrisk compare runs/a runs/b --allow judges,rubrics

\b
What --allow takes: benchmark (another version or digest: prompts with one id and one text
are compared), judges, rubrics, protocol, sampling, victim (of dialogues).
"""


def _allowed(
    context: click.Context, param: click.Parameter, value: tuple[str, ...]
) -> tuple[str, ...]:
    """Facts that may differ; one may be said in the plural or not."""
    if not value:
        return ()
    from hiddenrisk.measured import FACTS  # noqa: PLC0415 - only where it is given

    known = {name.rstrip("s"): name for name in FACTS}
    found: dict[str, None] = {}
    for word in (word.strip() for words in value for word in words.split(",")):
        if word.rstrip("s") not in known:
            raise click.BadParameter(
                f"'{plain(word)}' is none of {', '.join(FACTS)}.", context, param
            )
        found[known[word.rstrip("s")]] = None
    return tuple(found)


def allow_option(verb: "click.decorators.FC") -> "click.decorators.FC":
    """Give a verb the option `--allow`."""
    return click.option(
        "--allow",
        "allowed",
        multiple=True,
        callback=_allowed,
        metavar="WHAT[,WHAT]",
        help="What may differ between the runs: benchmark, judges, rubrics, protocol, sampling, victim. [default: nothing]",
    )(verb)


@click.command(epilog=_HELP)
@click.argument("models", nargs=-1, required=True, metavar="RUN[:MODEL]...")
@click.option(
    "--benchmark",
    "benchmarks",
    multiple=True,
    metavar="NAME",
    help="Compare on this one; repeat for several. [default: all that they share]",
)
@click.option(
    "--part", type=click.Choice(["answer", "thinking"]), help="Compare this one. [default: both]"
)
@click.option(
    "--categories",
    "depth",
    type=click.IntRange(0),
    metavar="DEPTH",
    help="Compare by category as well, down to this depth; 0: not at all. [default: 1 for one pair of models and in --out]",
)
@click.option(
    "--correction",
    type=click.Choice(["holm", "bh"]),
    default="holm",
    show_default=True,
    help="How p is adjusted for how many tests there are: Holm (no false alarm) or Benjamini-Hochberg (few among the alarms).",
)
@click.option(
    "--alpha",
    type=Finite(0.0001, 0.5),
    default=0.05,
    show_default=True,
    metavar="P",
    help="Level of the tests; intervals cover one less this.",
)
@allow_option
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Write all as JSON here, and beside it FILE.flips.jsonl: the prompts that flipped, by id.",
)
@data_option
def compare(
    models: tuple[str, ...],
    benchmarks: tuple[str, ...],
    part: str | None,
    depth: int | None,
    correction: Literal["holm", "bh"],
    alpha: float,
    allowed: tuple[str, ...],
    out: Path | None,
    data_dir: Path | None,
) -> None:
    """Hold models against each other, pair by pair, on the prompts that they share.

    RUN:MODEL is a model of a run; a run of one model needs no label, and one RUN alone has
    its own models compared. A difference is the second model less the first, with the
    score interval of paired rates and McNemar's test (a permutation test where scores are
    graded or prompts asked several times).

    Runs that differ in benchmark, judges, rubrics, protocol or sampling are refused.
    What has no score of both is counted beside the numbers and never compared.

    Exit codes: 0 done; 2 wrong use.
    """
    from hiddenrisk.compare import Wanted  # noqa: PLC0415 - see the module
    from hiddenrisk.compare import compare as compare_models  # noqa: PLC0415 - as above
    from hiddenrisk.plan import Settings  # noqa: PLC0415 - as above
    from hiddenrisk.sides import pairings  # noqa: PLC0415 - as above
    from hiddenrisk.types import Part  # noqa: PLC0415 - as above

    check_text(*sys.argv, str(data_dir or ""))
    who = pairings(models, Settings(data_dir=data_dir))
    wanted = Wanted(
        benchmarks=benchmarks,
        part=None if part is None else Part(part),
        depth=1 if depth is None else depth,
        alpha=alpha,
        correction=correction,
        allowed=allowed,
    )
    found = compare_models(who, wanted)
    _show(found, wanted, by_category=depth != 0 and (depth is not None or len(who) == 1))
    if out is not None:
        _write(out, found, who, wanted)


def _show(found: "Found", wanted: "Wanted", *, by_category: bool) -> None:
    from hiddenrisk.cli.compare_tables import (  # noqa: PLC0415 - see the module
        CORRECTIONS,
        categories_table,
        comparisons_table,
        differing_lines,
        footnotes,
        sentence,
    )
    from hiddenrisk.cli.progress import Terminal  # noqa: PLC0415 - as above

    out = Terminal()
    if not out.is_terminal:
        out.width = 100
    for line in differing_lines(found.differing):
        out.print(plain(line), style="bold yellow")
    alpha, correction = wanted.alpha, wanted.correction
    if any(one.n for one in found.comparisons):
        out.print(comparisons_table(found.comparisons, alpha, CORRECTIONS[correction]))
    if len(found.comparisons) <= _FEW:
        for one in (one for one in found.comparisons if one.n):
            out.print(plain(sentence(one, alpha, correction)), soft_wrap=False)
    for one in found.comparisons if by_category else ():
        if one.categories and one.n:
            out.print(categories_table(one, alpha, CORRECTIONS[correction]))
    notes = footnotes(
        found.comparisons, found.not_compared, alpha, correction, by_category=by_category
    )
    for line in notes:
        out.print(plain(line))
    for note in found.notes:
        out.print(f"Note: {plain(note)}", style="yellow")


def _write(path: Path, found: "Found", who: "Sequence[Pairing]", wanted: "Wanted") -> None:
    import msgspec  # noqa: PLC0415 - see the module

    from hiddenrisk.compare import flips, found_json  # noqa: PLC0415 - as above
    from hiddenrisk.store import write_json, write_text  # noqa: PLC0415 - as above

    command = shlex.join(["hiddenrisk", *sys.argv[1:]])
    write_json(path, found_json(found, who, wanted, command))
    lines = [msgspec.json.encode(flip).decode() + "\n" for flip in flips(who, wanted)]
    beside = path.with_suffix(".flips.jsonl")
    write_text(beside, "".join(lines))
    click.echo(f"Written: {plain(str(path))}, and {len(lines):,} flips in {plain(str(beside))}")
