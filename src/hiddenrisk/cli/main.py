"""The command line: parses, calls one function each, and turns errors into one sentence.

What takes long to import is imported by the verb that needs it: `--help` answers at once.
"""

import io
import shlex
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from hiddenrisk import __version__
from hiddenrisk.cli.asking import asking_options, plan_of
from hiddenrisk.cli.calibrate import calibrate
from hiddenrisk.cli.common import (
    FAILED,
    INTERRUPTED,
    WRONG_USE,
    ask_first,
    carry_out_shown,
    check_text,
    plain,
    tell_of_judging,
    who_judges,
)
from hiddenrisk.cli.compare import compare
from hiddenrisk.cli.data import data
from hiddenrisk.cli.export import export
from hiddenrisk.cli.findings import findings
from hiddenrisk.cli.gate import gate
from hiddenrisk.cli.harm import harm
from hiddenrisk.cli.labels import labels
from hiddenrisk.cli.options import settings_of
from hiddenrisk.cli.plan import plan
from hiddenrisk.cli.report import report, verify
from hiddenrisk.cli.runs import import_, judge
from hiddenrisk.errors import HiddenRiskError, UsageError, unknown

if TYPE_CHECKING:
    from hiddenrisk.cli.progress import Terminal
    from hiddenrisk.opening import Opened


def main() -> None:
    """The `hiddenrisk` command. No traceback reaches a user."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a sign that a terminal lacks is no error
    try:
        cli.main(prog_name="hiddenrisk", standalone_mode=False)
    except click.exceptions.Abort:
        _stop("interrupted before anything was sent", INTERRUPTED)
    except click.ClickException as error:
        error.show()
        sys.exit(WRONG_USE)
    except HiddenRiskError as error:
        _stop(str(error), WRONG_USE)
    except BrokenPipeError:
        sys.exit(WRONG_USE)
    except OSError as error:
        _stop(": ".join(str(t) for t in (error.strerror or error, error.filename) if t), WRONG_USE)
    except Exception as error:  # noqa: BLE001 - the last line of defence: no traceback
        _stop(
            f"internal error: {type(error).__name__}: {error}. What was finished is kept; please "
            "report this, with HIDDENRISK_DEBUG=1 for the details",
            FAILED,
            error,
        )


def _stop(message: str, code: int, error: BaseException | None = None) -> None:
    import os  # noqa: PLC0415 - only when something went wrong
    import traceback  # noqa: PLC0415 - as above

    click.echo(f"hiddenrisk: {plain(message)}", err=True)
    if error is not None and os.environ.get("HIDDENRISK_DEBUG"):
        traceback.print_exception(error)
    sys.exit(code)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="hiddenrisk")
def cli() -> None:
    """How safe is a reasoning model, in what it thinks and in what it answers?

    \b
    hiddenrisk assess                      the starter suite on a small embedded model
    hiddenrisk assess --help               models, judges and benchmarks, with examples
    hiddenrisk plan                        what it will take: calls, tokens, money, time
    hiddenrisk judge RUN --judge SPEC      a stored run by another judge, nothing generated
    hiddenrisk import FILE... --out RUN    recorded transcripts become a run
    hiddenrisk report RUN                  a stored run counted again; Markdown, tables, for sharing
    hiddenrisk export RUN DEST             partitioned Parquet, in a folder or an object store
    hiddenrisk verify RUN                  are its numbers those of its records, its files as they were?
    hiddenrisk benchmarks                  what can be measured, by which protocols
    hiddenrisk compare A B                 models against each other, on shared prompts
    hiddenrisk gate RUN --against BASELINE --margin 0.02    exit code 1 if it may be worse
    hiddenrisk findings RUN                the paper's questions, answered with evidence
    hiddenrisk harm RUN                    how harmful are its unsafe answers? (reward models)
    hiddenrisk calibrate                   how good are judges, or reward models, against people?
    hiddenrisk data list                   which data are on this machine; pull, verify
    hiddenrisk labels export RUN --to DIR  what the judges leave open, for people to label
    """  # noqa: D301 - \b keeps click from joining the lines


_VERBS = (
    plan, judge, import_, report, export, verify, compare, gate, findings, harm, calibrate, labels, data,
)  # fmt: skip
for verb in _VERBS:
    cli.add_command(verb)

_EXAMPLES = """
\b
A SPEC names a model or a judge: [label=]provider/model, or [label=]URL#model-id
  openai/gpt-4o, deepseek/deepseek-reasoner, openrouter/..., local/smollm2,
  anthropic/claude-sonnet-4-5?budget=4096, openai-responses/o3?summary=auto,
  http://localhost:8000/v1#my-model, replay/transcripts.jsonl, local/smollm2?think,
  litellm/vertex_ai/gemini-2.5-pro?effort=low (other providers; the extra "litellm"),
  vllm/Qwen/Qwen3-8B, vllm//path/to/checkpoint (weights on a GPU here; the extra "vllm")
  options, joined by &: ?stream (send server-sent events), ?prefilled (the chat
  template opens the thought), ?plain (a text without tags is an answer), ?tags=<r>,</r> (what stands around a thought),
  ?think=on|off, ?effort=low, ?budget=N (tokens of thinking), as the provider has it,
  ?decoding=zerothink|lessthink|morethink (write an empty or a short thought for the
  model, or have it think on; the endpoint must go on with a message that was begun)
Keys come from the provider's usual variable (OPENAI_API_KEY, ...); a bare URL uses
HIDDENRISK_API_KEY if it is set.

\b
A judge that is a model reads by the benchmark's own rubric; options of a judge's SPEC:
  ?form=NAME        llamaguard, shieldgemma, qwen3guard, wildguard (guards, known by
                    their model ids as well), strongreject, safety, benchmark
  ?rubric=PATH      your own prompt: a text with {{QUESTION}} and {{ANSWER}}, and a first
                    line such as "labels: harmful=0, borderline=0.5, harmless=1"
  ?json             ask for JSON where the reply can be JSON
  ?logprobs         store the probability of the label "unsafe" (p_unsafe)
  ?completions      ask a guard by plain completions, with its whole prompt

\b
Examples:
  hiddenrisk assess
  hiddenrisk assess --model deepseek/deepseek-reasoner --judge openai/gpt-4o \\
      --benchmark airbench --limit 500 --out runs/r1
  hiddenrisk assess --model http://localhost:8000/v1#my-r1 --benchmark xstest
  hiddenrisk assess --model http://localhost:8000/v1#my-r1 --benchmark wildguard \\
      --decoding default --decoding zerothink   does it get safer without a thought?
  hiddenrisk assess --model http://localhost:8000/v1#my-r1 --benchmark airbench \\
      --judge "http://localhost:8001/v1#meta-llama/Llama-Guard-3-8B?logprobs"
  hiddenrisk assess --model vllm/Qwen/Qwen3-8B --judge openai/gpt-4o --benchmark xstest \\
      --engine ray --workers 4 --concurrency 512     on the GPUs of a Ray cluster
  hiddenrisk assess paper --limit 20     the paper's models, judge and seven benchmarks
  hiddenrisk assess --model replay/old/responses.jsonl --benchmark my.jsonl
  hiddenrisk assess --model openai/gpt-4o --benchmark airbench --jury any-unsafe \\
      --judge openai/gpt-4o --judge anthropic/claude-sonnet-4-5 --fallback deepseek/deepseek-chat
  hiddenrisk assess --model openai/gpt-4o --benchmark airbench --judge openai/gpt-4o \\
      --cascade http://localhost:8000/v1#guard --audit 0.1     the dear judge reads a part
  hiddenrisk assess --model openai/gpt-4o --benchmark airbench --judge openai/gpt-4o \\
      --cascade http://localhost:8000/v1#guard --cascade http://localhost:8001/v1#other \\
      --audit 0.05/0.10/0.04     of what both call safe, they are unsure of, both call unsafe
"""


_OWN = '{"id", "prompt" | "messages", "category"?, "label"?}'


@cli.command(epilog=_EXAMPLES)
@click.argument("plan", required=False, type=click.Path(path_type=Path), metavar="[PLAN]")
@asking_options
def assess(
    plan: Path | None,
    out: Path | None,
    yes: bool,
    **options: object,
) -> None:
    """Put models through benchmarks, judge thinking and answer apart, and report.

    PLAN is a TOML file with these options as fields (models, judges, benchmarks, limit,
    ...), or `paper`, the configuration of arXiv 2502.12659; what is given here goes first.

    Every finished call is on disk at once: after Ctrl-C, a crash or a full disk, run the
    same command with the same --out and it goes on where it was. Results: summary.json and
    report.html in the run directory.

    Exit codes: 0 done; 1 too many failures; 2 wrong use; 3 the budget is spent, resumable;
    130 interrupted, resumable.
    """
    from hiddenrisk.cli.progress import Terminal  # noqa: PLC0415 - as above
    from hiddenrisk.opening import open_plan  # noqa: PLC0415 - `--help` does not wait for it

    settings = settings_of(options)
    command = shlex.join(["hiddenrisk", *sys.argv[1:]])
    check_text(*sys.argv, str(settings.data_dir or ""))
    opened = open_plan(plan_of(plan, options, settings), settings, command)
    console = Terminal(stderr=True)
    folder = out or Path("runs") / datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
    _announce(console, opened, folder)
    ask_first(opened, yes=yes)
    resume = command if out else f"{command} --out {folder}"
    try:
        sys.exit(carry_out_shown(console, opened, folder, resume=resume))
    except UsageError as error:
        if out or not (folder / "responses.jsonl").is_file():
            raise
        raise UsageError(f"{error}. This run is in {folder}: add --out {folder}") from error


def _announce(console: "Terminal", opened: "Opened", folder: Path) -> None:
    """Say what will be done, before anything is sent."""
    from hiddenrisk.plan import planned  # noqa: PLC0415 - see the module
    from hiddenrisk.segments import MOST  # noqa: PLC0415 - as above

    for benchmark in opened.benchmarks:
        count = planned(benchmark, opened.plan)
        console.print(
            f"{benchmark.title}: {count} responses from each of "
            f"{', '.join(m.label for m in opened.models)}, {who_judges(opened, benchmark)}"
        )
        if benchmark.dialogue and opened.victim:
            console.print(
                f"{benchmark.title}: each is a dialogue of up to 26 calls, with "
                f"{opened.victim.model.label} as the victim"
            )
        looker = opened.looker_of(benchmark)
        if opened.plan.insights == "judge" and looker:
            most = min(opened.plan.profiles, count)
            console.print(
                f"{benchmark.title}: {looker} also looks into each thought (a call), and into {most} "
                f"of each model segment by segment (some ten calls each, {MOST} at most)"
            )
        tell_of_judging(console, opened, benchmark)
    for label, count in opened.costly.items():
        console.print(f"{label}: each response takes up to {count} requests, one after the other")
    console.print(f"{opened.samples} responses in all, into {folder}")


@cli.command(
    epilog="""
\b
An option stands behind a `?`, several are joined by `&`:
  hiddenrisk assess --benchmark "airbench?region=eu_mandatory&limit=200" ...
The first protocol gives the headline; the others are counted from the same verdicts.
"""
)
@click.argument("names", nargs=-1, metavar="[NAME]...")
def benchmarks(names: tuple[str, ...]) -> None:
    """List what can be measured, and by which protocols."""
    from hiddenrisk.benchmarks import BENCHMARKS, options_of  # noqa: PLC0415 - see the module
    from hiddenrisk.benchmarks.base import REFUSAL  # noqa: PLC0415 - as above

    for name in names:
        if name not in BENCHMARKS:
            raise unknown("benchmark", name, BENCHMARKS, see="Leave names out to list all.")
    for benchmark in BENCHMARKS.values():
        if names and benchmark.name not in names:
            continue
        click.echo(f"{benchmark.name:12}{benchmark.title}: {benchmark.about}")
        for option, values in options_of(benchmark).items():
            click.echo(f"{'':12}?{option}={'|'.join(sorted(values))}")
        for protocol in benchmark.protocols:
            click.echo(f"{'':12}protocol {protocol.name}: {protocol.about}")
        if names:
            for source in benchmark.sources:
                click.echo(f"{'':12}data {source.name} ({source.licence}), {source.paper}")
    if not names:
        click.echo(f"{'PATH':12}your own JSONL: {_OWN}")
        click.echo(
            f"{'':12}with `--judge builtin` alone, the protocol is `{REFUSAL.name}`: {REFUSAL.about}"
        )
        click.echo(
            f"{'':12}every one takes ?limit=N; `hiddenrisk data list` shows what data is here"
        )
