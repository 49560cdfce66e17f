"""`hiddenrisk harm`: how harmful are the unsafe texts of a run, by reward models?

As in `cli`, what takes long to import is imported by the verb that needs it.
"""

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hiddenrisk.cli.common import FAILED, INTERRUPTED, Finite, check_text, plain

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
The first two lines need `pip install "hiddenrisk[rewards]"`.

\b
Examples:
  hiddenrisk harm runs/r1
  hiddenrisk harm runs/r1 --reward armorm --reward qrm --batch-tokens 65536
  hiddenrisk harm runs/r1 --reward http://localhost:8000#my-rm?api=classify --parts both
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
    "--batch-tokens",
    type=click.IntRange(64),
    default=16_384,
    show_default=True,
    metavar="N",
    help="Tokens of a batch, padding included: bounds the memory.",
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
    type=Finite(0.0, 1.0),
    default=0.01,
    show_default=True,
    metavar="SHARE",
    help="Share of texts without a score above which the exit code is 1.",
)
def harm(
    run: Path,
    rewards: tuple[str, ...],
    parts: str,
    batch_tokens: int,
    data_dir: Path | None,
    max_failures: float,
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
    from hiddenrisk.cli.progress import Terminal, display  # noqa: PLC0415 - as above
    from hiddenrisk.harm import open_harm, score_run  # noqa: PLC0415 - see the module
    from hiddenrisk.plan import Settings  # noqa: PLC0415 - as above
    from hiddenrisk.types import Part  # noqa: PLC0415 - as above

    check_text(*sys.argv)
    wanted = [part for part in Part if parts in ("both", part.value)]
    opened = open_harm(
        run, rewards or ("armorm",), wanted, Settings(data_dir=data_dir), batch_tokens=batch_tokens
    )
    console = Terminal(stderr=True)
    try:
        result = score_run(opened, run, lambda tally: display(console, tally))
    except KeyboardInterrupt:
        again = shlex.join(["hiddenrisk", *sys.argv[1:]])
        click.echo(f"hiddenrisk: interrupted; to resume, run: {again}", err=True)
        sys.exit(INTERRUPTED)
    sys.exit(_tell(result, opened, run, max_failures))


def _tell(result: dict[str, Any], harm: "Harm", run: Path, max_failures: float) -> int:
    from hiddenrisk.cli.harm_tables import harm_table, pairs_table  # noqa: PLC0415 - see the module
    from hiddenrisk.cli.progress import Terminal  # noqa: PLC0415 - as above

    out = Terminal()
    if not out.is_terminal:
        out.width = 160
    found = result["harmfulness"]
    for table in (harm_table(found), pairs_table(found)):
        if table is not None:
            out.print(table)
    out.print(f"Report: {run / 'report.html'}", soft_wrap=True)
    asked = {reward.label for reward in harm.rewards}
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
            f"{max_failures:.1%} allowed; see {run}/rewards.jsonl. To try those again, run: "
            f"{plain(again)}",
            err=True,
        )
        return FAILED
    return 0
