"""The options that name models, judges and benchmarks: what `assess` does, and `plan` foretells."""

from functools import reduce
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hiddenrisk.cli.options import JUDGING, Finite, Verb, settings_options

if TYPE_CHECKING:
    from hiddenrisk.plan import Plan, Settings

_ASKING = (
    click.option(
        "--model",
        "models",
        multiple=True,
        metavar="SPEC",
        help="Model to assess; repeat for several. [default: local/smollm2?think]",
    ),
    *JUDGING,
    click.option(
        "--victim",
        metavar="SPEC",
        help="Model that plays the victim in `phishing`; the first judge that is a model checks how it does. [default: that judge]",
    ),
    click.option(
        "--benchmark",
        "benchmarks",
        multiple=True,
        metavar="NAME",
        help="Built-in name (with ?options) or a JSONL file; repeat for several. [default: starter]",
    ),
    click.option(
        "--decoding",
        "decodings",
        multiple=True,
        metavar="NAME",
        help="Ask every model under this strategy: default, zerothink, lessthink or morethink; repeat to compare. [default: default]",
    ),
    click.option(
        "--out",
        type=click.Path(path_type=Path),
        metavar="DIR",
        help="Run directory; the same one again resumes. [default: runs/DATE-TIME]",
    ),
    click.option(
        "--limit",
        type=click.IntRange(1),
        metavar="N",
        help="Prompts per benchmark, drawn all over it, always the same.",
    ),
    click.option("--repeat", type=click.IntRange(1), metavar="N", help="Ask each prompt N times."),
    click.option(
        "--max-tokens",
        type=click.IntRange(1),
        metavar="N",
        help="Tokens a response may take, thinking included.",
    ),
    click.option(
        "--temperature",
        type=Finite(0.0),
        metavar="T",
        help="Sampling temperature. [default: the provider's]",
    ),
    click.option(
        "--profiles",
        type=click.IntRange(0),
        metavar="N",
        help="Thoughts of each model and benchmark that are looked at segment by segment; some ten calls each with `--insights judge`. [default: 100]",
    ),
)


def asking_options(verb: Verb) -> Verb:
    """Give a verb the options of a plan, and how it is carried out."""
    return reduce(
        lambda function, option: option(function), reversed(_ASKING), settings_options(verb)
    )


def plan_of(path: Path | None, options: dict[str, object], settings: "Settings") -> "Plan":
    """The plan of a file, with what is given on the command line in front.

    Raises:
        UsageError: the file cannot be read, or the plan makes no sense.
    """
    from hiddenrisk.plan import check, read_toml  # noqa: PLC0415 - `--help` does not wait for it

    fields = {k: v for k, v in options.items() if not hasattr(settings, k)}
    given: dict[str, Any] = {k: v for k, v in fields.items() if v not in (None, ())}
    return check((read_toml(path) if path else {}) | given, str(path or "the plan"))
