"""`hiddenrisk calibrate`: how good are judges, held against humans, and can a text fool them?

And how good are reward models (`preferences.py`)?

As in `cli`, what takes long to import is imported by the verb that needs it.
"""

import shlex
import sys
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from hiddenrisk.cli.common import (
    Conduct,
    Ending,
    ask_first,
    carry_out_shown,
    check_text,
    plain,
    plain_all,
)
from hiddenrisk.cli.options import batch_option, call_options, settings_of
from hiddenrisk.cli.preferences import check_alone, prefer
from hiddenrisk.errors import UsageError

if TYPE_CHECKING:
    from hiddenrisk.calibrate import Calibration
    from hiddenrisk.cli.progress import Terminal
    from hiddenrisk.jury import Rule
    from hiddenrisk.label_sets.base import LabelSet
    from hiddenrisk.label_sets.rubrics import Reading
    from hiddenrisk.opening import Opened
    from hiddenrisk.plan import Settings

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
A benchmark's rate is corrected by a calibration under the benchmark's own rubric; --rubric
names it. Two of them cannot read a bare prompt and response, and need a column of your own file:
  harm:    safety (starter, your own JSONL), interpreter, mitre, wildguard, wildguard-model;
           injection, with the column judge_question (what the benchmark asks of that case);
           airbench, with the column cate-idx (the category; each has its own judge prompt)
  refusal: xstest, phishing (the response is the attacker's opening; its skill is not graded)

\b
With --reward a reward model is measured (as `hiddenrisk harm` names them): of two replies to
one prompt, does it prefer the one that people prefer? A set then holds such pairs:
  hh-harmless     HH-RLHF's harmless test, 2,312 pairs
  my.jsonl(.gz)   your own: chosen and rejected, as dialogues ("\\n\\nHuman: ...\\n\\nAssistant:
                  ..."), as lists of messages, or as bare replies beside a prompt

\b
Examples:
  hiddenrisk calibrate
  hiddenrisk calibrate --judge openai/gpt-4o --judge builtin --on xstest --limit 200
  hiddenrisk calibrate --judge recorded --on harmbench
  hiddenrisk calibrate --judge openai/gpt-4o --judge anthropic/claude-sonnet-4-5 \\
      --judge deepseek/deepseek-chat --jury majority --on harmbench
  hiddenrisk calibrate --judge openai/gpt-4o --rubric wildguard --on harmbench
  hiddenrisk calibrate --judge http://localhost:8000/v1#guard --on my.csv \\
      --labels unsafe=1,safe=0 --out calibrations/guard
  hiddenrisk calibrate --judge local/smollm2 --attack --limit 100
  hiddenrisk calibrate --reward armorm --reward qrm --out calibrations/rewards
"""


class _Typed(NamedTuple):
    """What the user asked for."""

    judges: tuple[str, ...]
    jury: "Rule | None"
    sets: tuple[str, ...]
    words: str | None
    rubric: str | None
    limit: int | None
    settings: "Settings"
    command: str


class _Work(NamedTuple):
    """What is to be done."""

    opened: "Opened"
    conduct: Conduct
    ending: Ending


@click.command(epilog=_HELP)
@click.option(
    "--judge",
    "judges",
    multiple=True,
    metavar="SPEC",
    help="Judge to measure; repeat to compare. [default: builtin]",
)
@click.option(
    "--jury",
    type=click.Choice(["majority", "any-unsafe"]),
    help="Also measure the judges as one jury that decides so, as `assess --jury` has it.",
)
@click.option(
    "--reward",
    "rewards",
    multiple=True,
    metavar="NAME",
    help="Reward model to measure, in place of judges; repeat to compare.",
)
@click.option(
    "--on",
    "sets",
    multiple=True,
    metavar="SET",
    help="Set of human labels, or a CSV or JSONL file; with --attack, a rubric. [default: all sets of the rubric's question; safety and xstest with --attack; hh-harmless with --reward]",
)
@click.option(
    "--rubric",
    metavar="NAME",
    help="By what models read: safety, xstest, airbench, interpreter, mitre, injection, phishing, wildguard or wildguard-model. [default: safety or xstest, by the set's question]",
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
    "--limit",
    type=click.IntRange(1),
    metavar="N",
    help="Texts (or pairs) of each set, drawn all over it.",
)
@batch_option
@call_options
def calibrate(
    judges: tuple[str, ...],
    jury: "Rule | None",
    rewards: tuple[str, ...],
    sets: tuple[str, ...],
    rubric: str | None,
    words: str | None,
    attack: bool,
    out: Path | None,
    limit: int | None,
    batch_tokens: int,
    yes: bool,
    **options: object,
) -> None:
    """Measure judges against human labels, attack them, or measure reward models.

    The result is DIR/calibration.json (attacks.json with --attack). `hiddenrisk assess
    --calibration DIR` corrects its rates by it, for the same judge, rubric and question.
    With --reward it is DIR/preferences.json, which `hiddenrisk harm RUN --calibration DIR`
    shows beside the same reward model's results.

    Every verdict is on disk at once: the same command with the same --out goes on where it
    was, and answers at once when all is there.

    Exit codes: 0 done; 1 too many failures; 2 wrong use; 130 interrupted, resumable.
    """
    from hiddenrisk.cli.progress import Terminal  # noqa: PLC0415 - see the module

    settings = settings_of(options)
    check_text(*sys.argv, str(settings.data_dir or ""))
    folder = out or Path("runs") / f"{datetime.now(UTC):%Y%m%d-%H%M%S}-calibration"
    command = shlex.join(["hiddenrisk", *sys.argv[1:]])
    resume = command if out else f"{command} --out {folder}"
    if rewards:
        check_alone(judges=judges, rubric=rubric, words=words, attack=attack)
        sys.exit(
            prefer(
                rewards,
                sets,
                settings,
                limit,
                folder,
                command=command,
                resume=resume,
                batch_tokens=batch_tokens,
                yes=yes,
            )
        )
    typed = _Typed(judges or ("builtin",), jury, sets, words, rubric, limit, settings, command)
    console = Terminal(stderr=True)
    work = (_attacking if attack else _measuring)(console, typed)
    ask_first(work.opened, yes=yes)
    sys.exit(
        carry_out_shown(
            console, work.opened, folder, resume=resume, conduct=work.conduct, ending=work.ending
        )
    )


# ---------------------------------------------------------------- against human labels


def _measuring(console: "Terminal", typed: _Typed) -> _Work:
    from hiddenrisk.calibrate import calibrate as carry_out  # noqa: PLC0415 - see the module
    from hiddenrisk.calibrate import open_calibration  # noqa: PLC0415 - as above
    from hiddenrisk.calibration import failed_share  # noqa: PLC0415 - as above
    from hiddenrisk.label_sets.rubrics import open_reading  # noqa: PLC0415 - as above

    reading = open_reading(typed.rubric, typed.settings.data_dir) if typed.rubric else None
    calibration = open_calibration(
        _labels(typed, reading),
        typed.judges,
        typed.settings,
        typed.limit,
        typed.command,
        reading,
        typed.jury,
    )
    _announce(console, calibration, typed.limit)
    return _Work(
        opened=calibration.opened,
        conduct=partial(carry_out, calibration),
        ending=Ending(_show, failed_share, "of the texts have no verdict"),
    )


def _labels(typed: _Typed, reading: "Reading | None") -> list["LabelSet"]:
    """The sets that are named, or else all that the rubric can read.

    Raises:
        UsageError: one is unknown, or --labels says something that cannot be.
        DataError: a file cannot be read.
    """
    from hiddenrisk.label_sets import LABEL_SETS, open_labels  # noqa: PLC0415 - see the module
    from hiddenrisk.label_sets.own import words_of  # noqa: PLC0415 - as above

    known = words_of(typed.words)
    if typed.words and not any(name not in LABEL_SETS for name in typed.sets):
        raise UsageError("--labels is for your own label file; name it with --on my.csv")
    fitting = [s.name for s in LABEL_SETS.values() if not reading or s.question == reading.question]
    names = typed.sets or fitting
    return [open_labels(name, typed.settings.data_dir, known) for name in names]


def _announce(console: "Terminal", calibration: "Calibration", limit: int | None) -> None:
    """Say what will be done, before anything is sent."""
    judges = [j.label for j in calibration.opened.judges]
    for labels in calibration.sets:
        there = [name for name in calibration.recorded if name in labels.recorded]
        names = judges + [f"recorded/{n}" for n in there]
        count = min(limit or len(labels.items), len(labels.items))
        whom = ", ".join(names) or "nobody"
        console.print(plain(f"{labels.title}: {count} labelled texts, judged by {whom}"))
    for warning in calibration.opened.unverified:
        console.print(plain(f"UNVERIFIED data: {warning}"), style="bold yellow")
    for note in (f"{s.title}: {n}" for s in calibration.sets for n in s.notes):
        console.print(plain(f"Note: {note}"), style="yellow")


def _show(out: "Terminal", _: "Opened", folder: Path, result: dict[str, Any]) -> None:
    from hiddenrisk.calibration import CALIBRATION  # noqa: PLC0415 - see the module
    from hiddenrisk.cli.calibration_tables import (  # noqa: PLC0415 - as above
        judges_table,
        pairs_table,
        weak_spots,
    )

    found = plain_all(result)
    for name, about in found["sets"].items():
        of_set = [r for r in found["results"] if r["set"] == name]
        out.print(judges_table(name, about, of_set, out.width))
    for table in (weak_spots(found["results"]), pairs_table(found["comparisons"])):
        if table is not None:
            out.print(table)
    out.print(f"Calibration: {plain(str(folder / CALIBRATION))}", soft_wrap=True)


# ---------------------------------------------------------------- under attack


def _attacking(console: "Terminal", typed: _Typed) -> _Work:
    from hiddenrisk.attacking import attack, open_attack  # noqa: PLC0415 - see the module
    from hiddenrisk.calibration import failed_share  # noqa: PLC0415 - as above

    if typed.words:
        raise UsageError("--labels is for your own label file; leave it out with --attack")
    if typed.jury:
        raise UsageError("--attack is on each judge by itself; leave out --jury")
    if typed.rubric:
        raise UsageError(f"with --attack a rubric is named by --on: write --on {typed.rubric}")
    opened = open_attack(typed.judges, typed.sets, typed.settings, typed.limit, typed.command)
    whom = ", ".join(j.label for j in opened.judges)
    for benchmark in opened.benchmarks:
        count = len(benchmark.prompts)
        console.print(plain(f"{benchmark.title}: {count} texts, judged by {whom}"))
    return _Work(
        opened, attack, Ending(_show_attacks, failed_share, "of the texts have no verdict")
    )


def _show_attacks(out: "Terminal", _: "Opened", folder: Path, result: dict[str, Any]) -> None:
    from hiddenrisk.attacking import ATTACKS  # noqa: PLC0415 - see the module
    from hiddenrisk.cli.calibration_tables import attacks_table  # noqa: PLC0415 - as above

    out.print(attacks_table(plain_all(result)))
    out.print(f"Attacks: {plain(str(folder / ATTACKS))}", soft_wrap=True)
