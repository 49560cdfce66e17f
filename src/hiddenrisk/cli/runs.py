"""`hiddenrisk judge` and `hiddenrisk import`: runs whose responses are there already.

As in `cli`, what takes long to import is imported by the verb that needs it.
"""

import shlex
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from hiddenrisk.cli.common import (
    ask_first,
    carry_out_shown,
    check_text,
    plain,
    tell_of_judging,
    who_judges,
)
from hiddenrisk.cli.options import judging_options, panel_of, settings_of, settings_options

if TYPE_CHECKING:
    from hiddenrisk.cli.progress import Terminal
    from hiddenrisk.opening import Opened

_JUDGE_EXAMPLES = """
\b
Examples:
  hiddenrisk judge runs/r1 --judge openai/gpt-4o
  hiddenrisk judge runs/r1 --judge llama=http://localhost:8000/v1#my-judge --parts answer
  hiddenrisk judge runs/r1 --judge openai/gpt-4o --judge anthropic/claude-sonnet-4-5 \\
      --jury any-unsafe --fallback deepseek/deepseek-chat
  hiddenrisk judge runs/r1                   by the built-in rules again

\b
What a SPEC is, `hiddenrisk assess --help` tells. The run's own judges stay as they are;
to have their numbers in the headline again, name them here, or run `assess` again.
"""


@click.command(epilog=_JUDGE_EXAMPLES)
@click.argument("run", type=click.Path(path_type=Path), metavar="RUN")
@judging_options
@settings_options
def judge(
    run: Path,
    yes: bool,
    **options: object,
) -> None:
    """Judge a stored run by other judges, or other parts of it; nothing is generated.

    RUN is the directory that `assess` or `import` wrote. No model of the run is asked, so
    that no key of theirs is needed; the benchmarks are loaded again for their rubrics.

    Verdicts are added to those that are there, and what is judged already is skipped: after
    Ctrl-C or a crash, run the same command again. The headline of summary.json and of the
    page is then that of the judges named here; every judge's own rates stand side by side.

    Exit codes: 0 done; 1 too many failures; 2 wrong use; 3 the budget is spent, resumable;
    130 interrupted, resumable.
    """
    from hiddenrisk.cli.progress import Terminal  # noqa: PLC0415 - `--help` does not wait for it
    from hiddenrisk.rejudge import (  # noqa: PLC0415 - as above
        changed_rubrics,
        judge_again,
        open_again,
        read_manifest,
    )

    settings = settings_of(options)
    check_text(*sys.argv, str(settings.data_dir or ""))
    command = shlex.join(["hiddenrisk", *sys.argv[1:]])
    opened = open_again(run, settings, command, panel_of(options))
    console = Terminal(stderr=True)
    _announce(console, opened, run)
    for note in changed_rubrics(opened, read_manifest(run)):
        console.print(f"Note: {plain(note)}", style="bold yellow")
    ask_first(opened, yes=yes)
    sys.exit(carry_out_shown(console, opened, run, resume=command, conduct=judge_again))


_IMPORT_EXAMPLES = """
\b
Files, told by their content:
  CSV, JSONL, JSON   a row for each transcript: prompt or messages, answer (or response,
                     output, ...), thinking?, id?, model?, category?, label?, repeat?,
                     finish_reason?, error?; a run's responses.jsonl is such a file
  Inspect logs       .eval, or .json
  OpenAI batches     the output; name the batch's input as well, for its prompts

\b
Examples:
  hiddenrisk import traces.csv --model my-r1 --out runs/traces
  hiddenrisk import logs/2026-11-02_xstest.eval --benchmark xstest --out runs/inspect
  hiddenrisk import batch_input.jsonl batch_output.jsonl --judge openai/gpt-4o --out runs/b
  hiddenrisk judge runs/traces --judge openai/gpt-4o
"""


@click.command(name="import", epilog=_IMPORT_EXAMPLES)
@click.argument(
    "files", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="FILE..."
)
@click.option(
    "--out",
    required=True,
    type=click.Path(path_type=Path),
    metavar="RUN",
    help="Run directory; the same one again resumes.",
)
@click.option(
    "--model",
    metavar="LABEL",
    help="Label of the model, where all files are of one. [default: what the files say, or their names]",
)
@click.option(
    "--benchmark",
    metavar="NAME",
    help="Built-in benchmark or JSONL file that has the prompts (matched by id or text), or a name for the files' own.",
)
@judging_options
@click.option(
    "--label",
    type=click.Choice(["unsafe", "safe"]),
    help="Whether a good model declines the files' own prompts or helps, where no row says. [default: unsafe]",
)
@settings_options
def import_(
    files: tuple[Path, ...],
    out: Path,
    model: str | None,
    benchmark: str | None,
    label: Literal["unsafe", "safe"] | None,
    yes: bool,
    **options: object,
) -> None:
    """Make a run of transcripts that were recorded elsewhere: judged, reported, looked into.

    Prompts come from the benchmark that is named, else from the files; those are read by a
    generic safety rubric. What failed there is a failure here, never a score. run.json names
    the files with their digests; the run does not need them any more once it is complete.

    Exit codes: 0 done; 1 too many failures; 2 wrong use; 3 the budget is spent, resumable;
    130 interrupted, resumable.
    """
    from hiddenrisk.cli.progress import Terminal  # noqa: PLC0415 - as above
    from hiddenrisk.importing import gather, import_run  # noqa: PLC0415 - see the module
    from hiddenrisk.matching import Wanted  # noqa: PLC0415 - as above

    settings = settings_of(options)
    check_text(*sys.argv, str(settings.data_dir or ""))
    command = shlex.join(["hiddenrisk", *sys.argv[1:]])
    gathered = gather(
        files,
        Wanted(model=model, benchmark=benchmark, label=label),
        panel_of(options),
        settings,
        command,
    )
    console = Terminal(stderr=True)
    for source in gathered.imported.files:
        found = f"{source.transcripts:,} transcripts" if source.transcripts else "prompts"
        console.print(f"{plain(source.name)}: {found} ({source.format})")
    for note in gathered.notes:
        console.print(f"Note: {plain(note)}", style="yellow")
    _announce(console, gathered.opened, out)
    ask_first(gathered.opened, yes=yes)

    conduct = partial(import_run, gathered)
    sys.exit(carry_out_shown(console, gathered.opened, out, resume=command, conduct=conduct))


def _announce(console: "Terminal", opened: "Opened", folder: Path) -> None:
    """Say what will be done, before anything is sent."""
    from hiddenrisk.plan import planned  # noqa: PLC0415 - see the module

    for benchmark in opened.benchmarks:
        parts = " and ".join(part.value for part in opened.parts_of(benchmark))
        console.print(
            f"{benchmark.title}: {planned(benchmark, opened.plan)} responses of each of "
            f"{', '.join(m.label for m in opened.models)}; {parts} {who_judges(opened, benchmark)}"
        )
        tell_of_judging(console, opened, benchmark)
    console.print(f"{opened.samples} responses in all, in {folder}; no model is asked for them")
