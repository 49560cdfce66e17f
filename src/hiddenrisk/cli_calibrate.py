"""`hiddenrisk calibrate`: how good are judges, held against humans, and can a text fool them?

As in `cli`, what takes long to import is imported by the verb that needs it.
"""

import shlex
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hiddenrisk.errors import UsageError

if TYPE_CHECKING:
    from hiddenrisk.opening import Opened
    from hiddenrisk.plan import Settings
    from hiddenrisk.progress import Terminal
    from hiddenrisk.run import Ended

FAILED, INTERRUPTED = 1, 130

_HELP = """
\b
A SET holds responses with human labels:
  xstest          does it refuse? 1,350 completions of three models
  harmbench       is it harmful? 602 generations of attacked models, three votes
  pyrit-refusal   does it refuse? 105 responses
  pyrit-harm      is it harmful? 984 responses in eight categories
  my.csv, my.jsonl   your own: columns id, prompt, response, label, and if you like
                  group, and judge:NAME for what another judge said
Known labels: safe, unsafe (harmful, harmless, benign); complied, refused, partial
(also as XSTest writes them). Others are said with --labels unsafe=1,safe=0.

\b
A judge is `builtin`, a SPEC as in `hiddenrisk assess --help`, or `recorded` (all that
published their verdicts with a set; recorded/NAME for one). A model judge reads
refusals by XSTest's three classes and harm by hiddenrisk's own safety rubric.

\b
Examples:
  hiddenrisk calibrate
  hiddenrisk calibrate --judge openai/gpt-4o --judge builtin --on xstest --limit 200
  hiddenrisk calibrate --judge recorded --on harmbench
  hiddenrisk calibrate --judge http://localhost:8000/v1#guard --on my.csv \\
      --labels unsafe=1,safe=0 --out calibrations/guard
  hiddenrisk calibrate --judge local/smollm2 --attack --limit 100
"""


@click.command(epilog=_HELP)
@click.option(
    "--judge",
    "judges",
    multiple=True,
    metavar="SPEC",
    help="Judge to measure; repeat to compare. [default: builtin]",
)
@click.option(
    "--on",
    "sets",
    multiple=True,
    metavar="SET",
    help="Set of human labels, or a CSV or JSONL file; with --attack, a rubric. [default: all sets; safety and xstest with --attack]",
)
@click.option(
    "--labels",
    "words",
    metavar="CLASS=WORD,...",
    help="What the labels of your own file mean; classes are unsafe, safe, complied, refused, partial.",
)
@click.option(
    "--attack",
    is_flag=True,
    help="Put attacks on the judge into mild texts, and count the verdicts that flip.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Where to keep it; the same one again resumes. [default: runs/DATE-TIME-calibration]",
)
@click.option(
    "--limit", type=click.IntRange(1), metavar="N", help="Texts of each set, drawn all over it."
)
@click.option(
    "--concurrency",
    type=click.IntRange(1),
    metavar="N",
    help="Calls at once per endpoint, at most. [default: 64, or 8 on local/...]",
)
@click.option(
    "--data-dir",
    envvar="HIDDENRISK_DATA",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Local mirror of the data; the network is then never used for it.",
)
@click.option(
    "--max-failures",
    type=click.FloatRange(0.0, 1.0),
    default=0.01,
    show_default=True,
    metavar="SHARE",
    help="Share of texts without a verdict above which the exit code is 1.",
)
@click.option(
    "--timeout",
    "timeout_s",
    type=click.FloatRange(1.0, 86_400.0),
    default=600.0,
    show_default=True,
    metavar="S",
    help="Seconds for one try of a call.",
)
@click.option(
    "--tries",
    type=click.IntRange(1),
    default=10,
    show_default=True,
    metavar="N",
    help="Tries of a call that can heal.",
)
@click.option(
    "--yes", "-y", is_flag=True, help="Do not ask before calling endpoints that may cost money."
)
def calibrate(
    judges: tuple[str, ...],
    sets: tuple[str, ...],
    words: str | None,
    attack: bool,
    out: Path | None,
    limit: int | None,
    concurrency: int | None,
    data_dir: Path | None,
    max_failures: float,
    timeout_s: float,
    tries: int,
    yes: bool,
) -> None:
    """Measure judges against human labels, or attack them.

    The result is DIR/calibration.json (attacks.json with --attack). `hiddenrisk assess
    --calibration DIR` corrects its rates by it, for the same judge and the same question.

    Every verdict is on disk at once: the same command with the same --out goes on where it
    was, and answers at once when all is there.

    Exit codes: 0 done; 1 too many failures; 2 wrong use; 130 interrupted, resumable.
    """
    from hiddenrisk.plan import Settings  # noqa: PLC0415 - see the module

    settings = Settings(
        concurrency=concurrency,
        max_failures=max_failures,
        timeout_s=timeout_s,
        tries=tries,
        data_dir=data_dir,
    )
    folder = out or Path("runs") / f"{datetime.now(UTC):%Y%m%d-%H%M%S}-calibration"
    command = shlex.join(["hiddenrisk", *sys.argv[1:]])
    specs = judges or ("builtin",)
    if attack:
        if words:
            raise UsageError("--labels is for your own label file; leave it out with --attack")
        code = _attack(
            specs, sets, settings, limit, command, folder, yes=yes, named=out is not None
        )
    else:
        code = _measure(
            specs, sets, words, settings, limit, command, folder, yes=yes, named=out is not None
        )
    sys.exit(code)


def _measure(
    specs: tuple[str, ...],
    sets: tuple[str, ...],
    words: str | None,
    settings: "Settings",
    limit: int | None,
    command: str,
    folder: Path,
    *,
    yes: bool,
    named: bool,
) -> int:
    from hiddenrisk.calibrate import calibrate as carry_out  # noqa: PLC0415 - see the module
    from hiddenrisk.calibrate import open_calibration  # noqa: PLC0415 - as above
    from hiddenrisk.label_sets import LABEL_SETS, open_labels  # noqa: PLC0415 - as above
    from hiddenrisk.label_sets.own import words_of  # noqa: PLC0415 - as above
    from hiddenrisk.progress import Terminal, display  # noqa: PLC0415 - as above

    known = words_of(words)
    if words and not any(name not in LABEL_SETS for name in sets):
        raise UsageError("--labels is for your own label file; name it with --on my.csv")
    console = Terminal(stderr=True)
    loaded = [open_labels(name, settings.data_dir, known) for name in sets or LABEL_SETS]
    calibration = open_calibration(loaded, specs, settings, limit, command)
    for labels in loaded:
        there = [name for name in calibration.recorded if name in labels.recorded]
        names = [j.label for j in calibration.opened.judges] + [f"recorded/{n}" for n in there]
        count = min(limit or len(labels.items), len(labels.items))
        console.print(
            f"{labels.title}: {count} labelled texts, judged by {', '.join(names) or 'nobody'}"
        )
    _warn(console, calibration.opened)
    for note in (f"{s.title}: {n}" for s in loaded for n in s.notes):
        console.print(f"Note: {note}", style="yellow")
    _confirm(calibration.opened, yes=yes)
    resume = command if named else f"{command} --out {folder}"
    return _finish(
        lambda: carry_out(
            calibration, folder, lambda tally: display(console, tally), console.print
        ),
        lambda result: _show(result, folder),
        settings,
        resume,
        folder,
    )


def _attack(
    specs: tuple[str, ...],
    rubrics: tuple[str, ...],
    settings: "Settings",
    limit: int | None,
    command: str,
    folder: Path,
    *,
    yes: bool,
    named: bool,
) -> int:
    from hiddenrisk.attacking import attack, open_attack  # noqa: PLC0415 - see the module
    from hiddenrisk.progress import Terminal, display  # noqa: PLC0415 - as above

    console = Terminal(stderr=True)
    opened = open_attack(specs, rubrics, settings, limit, command)
    for benchmark in opened.benchmarks:
        console.print(
            f"{benchmark.title}: {len(benchmark.prompts)} texts, judged by "
            f"{', '.join(j.label for j in opened.judges)}"
        )
    _confirm(opened, yes=yes)
    resume = command if named else f"{command} --out {folder}"
    return _finish(
        lambda: attack(opened, folder, lambda tally: display(console, tally), console.print),
        lambda result: _show_attacks(result, folder),
        settings,
        resume,
        folder,
    )


def _warn(console: "Terminal", opened: "Opened") -> None:
    for warning in opened.unverified:
        console.print(f"UNVERIFIED data: {warning}", style="bold yellow")


def _confirm(opened: "Opened", *, yes: bool) -> None:
    if opened.leaves_machine and not yes and sys.stdin is not None and sys.stdin.isatty():
        click.confirm("Go ahead?", abort=True, err=True)


def _finish(
    work: Callable[[], "Ended"],
    show: Callable[[dict[str, Any]], None],
    settings: "Settings",
    resume: str,
    folder: Path,
) -> int:
    from hiddenrisk.calibrate import failed_share  # noqa: PLC0415 - see the module

    try:
        ended = work()
    except KeyboardInterrupt:
        click.echo(f"hiddenrisk: interrupted; to resume, run: {resume}", err=True)
        return INTERRUPTED
    show(ended.summary)
    if ended.interrupted:
        click.echo(f"hiddenrisk: interrupted; to resume, run: {resume}", err=True)
        return INTERRUPTED
    share = failed_share(ended.summary)
    if share > settings.max_failures:
        click.echo(
            f"hiddenrisk: {share:.1%} of the texts have no verdict, more than the "
            f"{settings.max_failures:.1%} allowed; see {folder}/failures.jsonl. To try those "
            f"again, run: {resume}",
            err=True,
        )
        return FAILED
    return 0


def _show(result: dict[str, Any], folder: Path) -> None:
    from hiddenrisk.calibration import CALIBRATION  # noqa: PLC0415 - see the module
    from hiddenrisk.calibration_tables import (  # noqa: PLC0415 - as above
        judges_table,
        pairs_table,
        weak_spots,
    )

    out = _terminal()
    for name, about in result["sets"].items():
        of_set = [r for r in result["results"] if r["set"] == name]
        out.print(judges_table(name, about, of_set, out.width))
    for table in (weak_spots(result["results"]), pairs_table(result["comparisons"])):
        if table is not None:
            out.print(table)
    out.print(f"Calibration: {folder / CALIBRATION}", soft_wrap=True)


def _show_attacks(result: dict[str, Any], folder: Path) -> None:
    from hiddenrisk.attacking import ATTACKS  # noqa: PLC0415 - see the module
    from hiddenrisk.calibration_tables import attacks_table  # noqa: PLC0415 - as above

    out = _terminal()
    out.print(attacks_table(result))
    out.print(f"Attacks: {folder / ATTACKS}", soft_wrap=True)


def _terminal() -> "Terminal":
    from hiddenrisk.progress import Terminal  # noqa: PLC0415 - see the module

    out = Terminal()
    if not out.is_terminal:
        out.width = 160
    return out
