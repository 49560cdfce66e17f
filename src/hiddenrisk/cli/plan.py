"""`hiddenrisk plan`: what a plan will take, and what it can show, before anything is spent.

As in `cli`, what takes long to import is imported by the verb that needs it.
"""

import shlex
import sys
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from hiddenrisk.cli.asking import asking_options, plan_of
from hiddenrisk.cli.common import FAILED, INTERRUPTED, OUT_OF_BUDGET, ask_first, check_text, plain
from hiddenrisk.cli.options import settings_of
from hiddenrisk.errors import UsageError

if TYPE_CHECKING:
    from hiddenrisk.cli.progress import Terminal
    from hiddenrisk.opening import Opened
    from hiddenrisk.planning.measured import Measured

_EXAMPLES = """
\b
Examples:
  hiddenrisk plan paper                       the paper's plan; no key is needed
  hiddenrisk plan --model openai/gpt-4o --judge openai/gpt-4o --benchmark airbench
  hiddenrisk plan paper --price r1=0.70/2.50 --price v3=0.30/1.20     or --prices FILE
  hiddenrisk plan weekly.toml --pilot 5 --out runs/weekly
      asks 5 samples of each model and benchmark, and plans from what they took; then
      hiddenrisk assess weekly.toml --out runs/weekly goes on from there
  hiddenrisk plan weekly.toml --like runs/last-week --json plan.json

\b
A price file has USD per million tokens; `*` in a name stands for anything:
  as_of = "2026-11-28"
  [prices]
  "openrouter/deepseek/deepseek-r1" = {input = 0.70, output = 2.50}
  "http://localhost:8000/v1#*" = {input = 0, output = 0}

\b
What a SPEC is, `hiddenrisk assess --help` tells.
"""


@click.command(epilog=_EXAMPLES)
@click.argument("plan", required=False, type=click.Path(path_type=Path), metavar="[PLAN]")
@click.option(
    "--pilot",
    type=click.IntRange(1),
    metavar="N",
    help="Ask N samples of each model on each benchmark for real, and plan from what they took. They are kept in --out, as a part of the run.",
)
@click.option(
    "--like",
    type=click.Path(path_type=Path),
    metavar="RUN",
    help="Plan from what an earlier run took, where models, judges and benchmarks have the same names.",
)
@click.option(
    "--json",
    "json_file",
    type=click.Path(path_type=Path, allow_dash=True),
    metavar="FILE",
    help="Write all of it as JSON, each model on each benchmark too; - for standard output.",
)
@asking_options
def plan(
    plan: Path | None,
    pilot: int | None,
    like: Path | None,
    json_file: Path | None,
    out: Path | None,
    yes: bool,
    **options: object,
) -> None:
    """Say what a plan will take, and what its size can show, before anything is spent.

    PLAN and the options are those of `assess`. Calls, tokens, money and time, each with what
    nine of ten cases lie between; half-widths of the rates' intervals; and the smallest
    difference between two models that would show. Requests are known and their tokens
    estimated by characters; what comes back is guessed by the kind of model, widely, unless
    --pilot or --like tells. Nothing is sent without --pilot.

    Exit codes: 0 done; 1 too many failures in the pilot; 2 wrong use; 3 the budget is spent;
    130 interrupted.
    """
    from hiddenrisk.cli.plan_tables import show  # noqa: PLC0415 - `--help` does not wait for it
    from hiddenrisk.cli.progress import Terminal  # noqa: PLC0415 - as above
    from hiddenrisk.planning.forecast import forecast, there_in  # noqa: PLC0415 - as above
    from hiddenrisk.planning.keyless import open_to_look  # noqa: PLC0415 - as above
    from hiddenrisk.planning.measured import NOTHING, measure  # noqa: PLC0415 - as above
    from hiddenrisk.store import write_json  # noqa: PLC0415 - as above

    settings = settings_of(options)
    check_text(*sys.argv, str(settings.data_dir or ""))
    command = shlex.join(["hiddenrisk", *sys.argv[1:]])
    asked = plan_of(plan, options, settings)
    if pilot and like:
        raise UsageError("--pilot and --like both say what to plan from; leave one out")
    if like is not None and not (like / "responses.jsonl").is_file():
        raise UsageError(f"--like {like} is no run: it has no responses.jsonl")
    console = Terminal(stderr=True)
    code, measured, there = 0, NOTHING, None
    if pilot:
        from hiddenrisk.opening import open_plan  # noqa: PLC0415 - as above

        opened, missing = open_plan(asked, settings, command), ""
        folder = out or Path("runs") / datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
        code, measured = _try_out(console, opened, folder, pilot, yes=yes)
        there = there_in(folder, opened, measured)
    else:
        opened, missing = open_to_look(asked, settings, command)
        if like is not None:
            measured = measure(like)
        if out is not None and (out / "responses.jsonl").is_file():
            begun = measure(out)
            there = there_in(out, opened, begun)
            if like is None:
                measured, like = begun, out
    found = forecast(opened, measured, there)
    if json_file and str(json_file) == "-":
        import msgspec  # noqa: PLC0415 - as above

        click.echo(msgspec.json.format(msgspec.json.encode(found), indent=2).decode())
        sys.exit(code)
    show(Terminal(), opened, found, like)
    if missing:
        console.print(f"Note: no key was needed for this; `assess` will want one: {plain(missing)}")
    if json_file:
        write_json(json_file, found)
        console.print(f"JSON: {plain(str(json_file))}")
    sys.exit(code)


def _try_out(
    console: "Terminal", opened: "Opened", folder: Path, per: int, *, yes: bool
) -> tuple[int, "Measured"]:
    """Carry out a pilot; the exit code that it deserves, and what it took."""
    from hiddenrisk.cli.progress import display  # noqa: PLC0415 - see the module
    from hiddenrisk.planning.measured import measure  # noqa: PLC0415 - as above
    from hiddenrisk.planning.pilot import pilot_of, samples_of  # noqa: PLC0415 - as above
    from hiddenrisk.run import carry_out  # noqa: PLC0415 - as above
    from hiddenrisk.summary import failed_share  # noqa: PLC0415 - as above

    count = samples_of(opened, per)
    console.print(f"Pilot: {count} of {opened.samples:,} responses, kept in {plain(str(folder))}")
    ask_first(opened, yes=yes)
    conduct = partial(carry_out, kind=pilot_of(per), samples=count)
    ended = conduct(opened, folder, lambda tally: display(console, tally), console.print)
    console.print(
        "They are part of the run: `hiddenrisk assess` with the same plan and "
        f"--out {plain(str(folder))} goes on from there"
    )
    if ended.interrupted:
        return INTERRUPTED, measure(folder)
    if ended.out_of_budget:
        return OUT_OF_BUDGET, measure(folder)
    # What is not run yet has not failed, and is in the denominator of a run's own share.
    share = failed_share(ended.summary) * opened.samples / max(1, count)
    return (FAILED if share > opened.settings.max_failures else 0), measure(folder)
