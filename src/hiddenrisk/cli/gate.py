"""`hiddenrisk gate`: does a run pass against a baseline?

As in `cli`, what takes long to import is imported by the verb that needs it.
"""

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hiddenrisk.cli.common import FAILED, check_text, plain
from hiddenrisk.cli.compare import allow_option
from hiddenrisk.cli.options import Finite, data_option

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hiddenrisk.gate.checks import Check
    from hiddenrisk.gate.rules import Rules

_HELP = """
\b
Examples:
  hiddenrisk gate runs/new --against runs/released --margin 0.02
  hiddenrisk gate runs/new:r1-v2 --against runs/old:r1 --rules gate.toml
  hiddenrisk gate runs/new --against runs/old --margin 0.02 --junit gate.xml --sarif gate.sarif

\b
A rules file; of several rules, the first that matches counts:
  margin = 0.02                 # of all rules that say nothing else
  [[rules]]
  benchmark = "airbench"        # patterns with * and ?
  category = "*"                # each category of the first level; left out: the whole
  margin = 0.1
  undecided = "skip"            # too few pairs to tell: let it through, and say so
  [[rules]]
  benchmark = "*"
  min_safety = 0.9              # the lower limit of the safety rate
  max_over_refusal = 0.1        # the upper limit of the over-refusal rate
"""


@click.command(epilog=_HELP)
@click.argument("run", metavar="RUN[:MODEL]")
@click.option(
    "--against",
    "baseline",
    required=True,
    metavar="BASELINE[:MODEL]",
    help="The run that RUN must not be worse than; models are matched by label.",
)
@click.option(
    "--margin",
    type=Finite(0.0, 1.0),
    metavar="M",
    help="How much less safe is accepted: 0.02 is two points. Over-refusal may rise by as much.",
)
@click.option(
    "--rules",
    "rules_file",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="TOML file of rules: margins, floors and ceilings by benchmark, part and category.",
)
@click.option(
    "--unpaired",
    is_flag=True,
    help="Compare as independent samples where no prompt is shared; takes many more of them.",
)
@allow_option
@click.option(
    "--junit", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE", help="JUnit XML."
)
@click.option(
    "--sarif", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE", help="SARIF 2.1.0."
)
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="All checks as JSON.",
)
@data_option
def gate(
    run: str,
    baseline: str,
    margin: float | None,
    rules_file: Path | None,
    unpaired: bool,
    allowed: tuple[str, ...],
    junit: Path | None,
    sarif: Path | None,
    out: Path | None,
    data_dir: Path | None,
) -> None:
    """Pass only if RUN is surely not worse than BASELINE by more than a margin.

    For every benchmark and part, the models are paired on the prompts that they share, and
    the lower end of the 95% interval of the difference must lie above minus the margin (for
    over-refusal, the upper end below it). What the numbers cannot decide does not pass: the
    gate says how many pairs would decide it. All checks must hold, so none is adjusted for
    their number.

    Exit codes: 0 passed; 1 not passed; 2 wrong use.
    """
    from hiddenrisk.gate.checks import checks  # noqa: PLC0415 - see the module
    from hiddenrisk.gate.rules import read_rules  # noqa: PLC0415 - as above
    from hiddenrisk.plan import Settings  # noqa: PLC0415 - as above
    from hiddenrisk.sides import check_alike, gate_pairings, provenance  # noqa: PLC0415 - as above

    check_text(*sys.argv, str(data_dir or ""))
    rules = read_rules(rules_file, margin)
    matched = gate_pairings(run, baseline, Settings(data_dir=data_dir))
    names = {name for pairing in matched.pairs for name in pairing.second.run.facts}
    differing = check_alike(matched.pairs, names, allowed)
    notes: dict[str, None] = dict.fromkeys(matched.notes)
    found = checks(matched.pairs, rules, unpaired=unpaired, notes=notes)
    notes |= dict.fromkeys(provenance(matched.pairs))
    passed = all(check.holds for check in found)
    _show(found, rules, differing, list(notes), passed=passed)
    folder = matched.pairs[0].second.run.folder
    _write(found, rules, differing, list(notes), folder, junit=junit, sarif=sarif, out=out)
    sys.exit(0 if passed else FAILED)


def _show(
    found: "Sequence[Check]",
    rules: "Rules",
    differing: "Sequence[dict[str, str]]",
    notes: "Sequence[str]",
    *,
    passed: bool,
) -> None:
    from hiddenrisk.cli.compare_tables import differing_lines  # noqa: PLC0415 - see the module
    from hiddenrisk.cli.gate_tables import checks_table, rest, verdict, worth_showing  # noqa: PLC0415 - as above
    from hiddenrisk.cli.progress import Terminal  # noqa: PLC0415 - as above

    out = Terminal()
    if not out.is_terminal:
        out.width = 100
    for line in differing_lines(differing):
        out.print(plain(line), style="bold yellow")
    shown = worth_showing(found)
    if shown:
        out.print(checks_table(shown))
    if line := rest(found, shown):
        out.print(line)
    for note in notes:
        out.print(f"Note: {plain(note)}", style="yellow")
    style = "bold green" if passed else "bold red"
    out.print(verdict(found, rules.alpha), style=style)


def _write(
    found: "Sequence[Check]",
    rules: "Rules",
    differing: "Sequence[dict[str, str]]",
    notes: "Sequence[str]",
    folder: Path,
    *,
    junit: Path | None,
    sarif: Path | None,
    out: Path | None,
) -> None:
    import msgspec  # noqa: PLC0415 - see the module

    from hiddenrisk import __version__  # noqa: PLC0415 - as above
    from hiddenrisk.gate import files  # noqa: PLC0415 - as above
    from hiddenrisk.store import write_json, write_text  # noqa: PLC0415 - as above

    if junit is not None:
        write_text(junit, files.junit(found))
    if sarif is not None:
        write_json(sarif, files.sarif(found, folder))
    if out is not None:
        result: dict[str, Any] = {
            "hiddenrisk": __version__,
            "command": shlex.join(["hiddenrisk", *sys.argv[1:]]),
            "passed": all(check.holds for check in found),
            "level": 1 - rules.alpha,
            "multiplicity": "all checks must hold (intersection-union test): none is adjusted",
            "rules": msgspec.to_builtins(rules),
            "differing": list(differing),
            "notes": list(notes),
            "checks": msgspec.to_builtins(list(found)),
        }
        write_json(out, result)
