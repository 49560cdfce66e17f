"""`hiddenrisk harm`: how harmful are the unsafe texts of a run, by reward models?

As in `cli`, what takes long to import is imported by the verb that needs it.
"""

import shlex
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hiddenrisk.cli.common import FAILED, INTERRUPTED, ask_first, check_text, plain, plain_all
from hiddenrisk.cli.options import batch_option, call_options, settings_of

if TYPE_CHECKING:
    from hiddenrisk.harm import Harm

_HELP = """
\b
A reward model is
  armorm, qrm, skywork          weights on this machine or from Hugging Face, pinned
  armorm=PATH, org/name@COMMIT  your copy; any classifier with one score
  http://host:port#model?api=classify|pooling|tei   an endpoint that serves one
  strongreject                  what a judge of this run graded (`hiddenrisk judge RUN
                                --judge SPEC?form=strongreject` first)
The first two lines need `pip install "hiddenrisk[rewards]"`. NEW= before any of them gives
it a name of yours in tables and records: NEW=armorm=PATH.

\b
Examples:
  hiddenrisk harm runs/r1
  hiddenrisk harm runs/r1 --reward armorm --reward qrm --batch-tokens 65536
  hiddenrisk harm runs/r1 --reward http://localhost:8000#my-rm?api=classify --parts both
  hiddenrisk harm runs/r1 --limit 200 --calibration calibrations/rewards
  hiddenrisk harm runs/r1 --engine ray       weights on the GPUs of a Ray cluster, one worker each
"""


@click.command(epilog=_HELP)
@click.argument("run", type=click.Path(path_type=Path, file_okay=False), metavar="RUN")
@click.option(
    "--reward",
    "rewards",
    multiple=True,
    metavar="NAME",
    help="Reward model; repeat for several. [default: armorm]",
)
@click.option(
    "--parts",
    type=click.Choice(["answer", "thinking", "both"]),
    default="answer",
    show_default=True,
    help="Which unsafe texts are scored.",
)
@click.option(
    "--limit",
    type=click.IntRange(1),
    metavar="N",
    help="Texts of each model in each benchmark, at most, always the same: first those on prompts that are unsafe for several models.",
)
@click.option(
    "--calibration",
    "calibrations",
    type=click.Path(path_type=Path),
    multiple=True,
    metavar="PATH",
    help="preferences.json (or its folder) of `hiddenrisk calibrate --reward`: kept in the run, and shown beside the same reward model's results; repeat for several.",
)
@batch_option
@call_options
def harm(
    run: Path,
    rewards: tuple[str, ...],
    parts: str,
    limit: int | None,
    calibrations: tuple[Path, ...],
    batch_tokens: int,
    yes: bool,
    **options: object,
) -> None:
    """Score the unsafe answers of a run by reward models: what does a bad request get?

    The higher the score, the more of what was asked for is in the answer. A text is unsafe
    if the judges of the run's headline give it less than one half of safety; texts on
    harmless prompts are left out. Scores are kept in the run (rewards.jsonl), so that the
    same command goes on where it was.

    Models are held against each other on their own unsafe answers (the paper's way), on the
    prompts that are unsafe for both, and there at equal length.

    Exit codes: 0 done; 1 too many failures; 2 wrong use; 130 interrupted, resumable.
    """
    from hiddenrisk.cli.progress import Terminal, display  # noqa: PLC0415 - see the module
    from hiddenrisk.dispatch import at_hand  # noqa: PLC0415 - as above
    from hiddenrisk.harm import open_harm, score_run  # noqa: PLC0415 - as above
    from hiddenrisk.types import Part  # noqa: PLC0415 - as above

    settings = settings_of(options)
    check_text(*sys.argv, str(settings.data_dir or ""))
    wanted = [part for part in Part if parts in ("both", part.value)]
    console = Terminal(stderr=True)
    try:
        with at_hand(settings, console.print) as cluster:
            opened = open_harm(
                run,
                rewards or ("armorm",),
                wanted,
                settings,
                batch_tokens=batch_tokens,
                calibrations=calibrations,
                cluster=cluster,
            )
            ask_first(opened, yes=yes)
            result = score_run(opened, run, lambda tally: display(console, tally), limit)
    except KeyboardInterrupt:
        again = shlex.join(["hiddenrisk", *sys.argv[1:]])
        click.echo(f"hiddenrisk: interrupted; to resume, run: {plain(again)}", err=True)
        sys.exit(INTERRUPTED)
    sys.exit(_tell(result, opened, run, settings.max_failures))


def _tell(result: dict[str, Any], harm: "Harm", run: Path, max_failures: float) -> int:
    from hiddenrisk.cli.harm_tables import (  # noqa: PLC0415 - see the module
        harm_notes,
        harm_table,
        pairs_table,
    )
    from hiddenrisk.cli.progress import Terminal  # noqa: PLC0415 - as above

    out = Terminal()
    if not out.is_terminal:
        out.width = 160
    found = plain_all(result["harmfulness"] or {"rewards": {}, "benchmarks": {}})
    asked = {plain(reward.label) for reward in harm.rewards}
    for table in (harm_table(found), pairs_table(found, asked)):
        if table is not None:
            out.print(table)
    if not found["benchmarks"]:
        out.print("No unsafe text by the run's judges: there is nothing to score.")
    for note in harm_notes(found):
        out.print(note, soft_wrap=True)
    out.print(f"Report: {plain(str(run / 'report.html'))}", soft_wrap=True)
    cells = [
        model
        for parts in found["benchmarks"].values()
        for part in parts.values()
        for label, of in part["rewards"].items()
        if label in asked
        for model in of["models"].values()
    ]
    total, failed = sum(c["scored"] + c["failed"] for c in cells), sum(c["failed"] for c in cells)
    share = failed / total if total else 0.0
    if share > max_failures:
        again = shlex.join(["hiddenrisk", *sys.argv[1:]])
        click.echo(
            f"hiddenrisk: {share:.1%} of the unsafe texts have no score, more than the "
            f"{max_failures:.1%} allowed ({_reasons(cells)}); see {plain(str(run))}/rewards.jsonl. To try those again, run: "
            f"{plain(again)}",
            err=True,
        )
        return FAILED
    return 0


def _reasons(cells: Sequence[dict[str, Any]]) -> str:
    """`12 too_long, 3 request_failed`."""
    counts: Counter[str] = Counter()
    for cell in cells:
        counts.update(cell["failures"])
    return ", ".join(f"{count} {reason}" for reason, count in counts.most_common())
