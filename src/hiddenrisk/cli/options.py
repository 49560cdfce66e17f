"""The options that several verbs take, and what is made of them.

As in `cli`, what takes long to import is imported where it is needed.
"""

import math
from collections.abc import Callable
from functools import reduce
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

import click

if TYPE_CHECKING:
    from hiddenrisk.plan import Settings

Verb = TypeVar("Verb", bound=Callable[..., object])


def _shares(
    context: click.Context, param: click.Parameter, value: str | None
) -> float | tuple[float, ...] | None:
    """One share, or three with slashes between them: of the sure safe, the unsure, the unsafe.

    Whether they are above 0 and at most 1 the plan checks, for plan files have them too.
    """
    if value is None:
        return None
    try:
        numbers = tuple(float(word) for word in value.split("/"))
    except ValueError:
        numbers = ()
    if len(numbers) not in (1, 3):
        raise click.BadParameter(
            f"'{value}' is neither a share such as 0.1 nor three, SAFE/UNSURE/UNSAFE, such as "
            "0.05/0.10/0.04.",
            context,
            param,
        )
    return numbers[0] if len(numbers) == 1 else numbers


class Finite(click.FloatRange):
    """A number, and neither infinite nor none at all, which compare as if in range."""

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """The number, if it is one."""
        number = float(super().convert(cast("float", value), param, ctx))
        if not math.isfinite(number):
            self.fail(f"{number} is not a finite number.", param, ctx)
        return number


data_option = click.option(
    "--data-dir",
    envvar="HIDDENRISK_DATA",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Local mirror of the data; the network is then never used for it.",
)
_CALLS = (
    click.option(
        "--engine",
        default="local",
        show_default=True,
        metavar="ENGINE",
        help="Where calls are made: `local`, this process; `ray`, the workers of the Ray cluster that RAY_ADDRESS names or that runs on this machine, or else of one started for this run; `ray://HOST:PORT`, those of a cluster elsewhere.",
    ),
    click.option(
        "--workers",
        type=click.IntRange(1),
        metavar="N",
        help="Workers of a Ray cluster. [default: one for each CPU, 16 at most; for weights, one for each GPU]",
    ),
    click.option(
        "--concurrency",
        type=click.IntRange(1),
        metavar="N",
        help="Calls at once per endpoint, at most, all workers of a cluster together; adapts below. [default: 64, or 8 on local/...]",
    ),
    data_option,
    click.option(
        "--max-failures",
        type=Finite(0.0, 1.0),
        default=0.01,
        show_default=True,
        metavar="SHARE",
        help="Share of failed samples above which the exit code is 1.",
    ),
    click.option(
        "--timeout",
        "timeout_s",
        type=Finite(1.0),
        default=600.0,
        show_default=True,
        metavar="S",
        help="Seconds for one try of a call.",
    ),
    click.option(
        "--hang-after",
        "hang_after_s",
        type=Finite(0.5),
        default=15.0,
        show_default=True,
        metavar="S",
        help="Seconds from which on a call that is three times slower than the last hundred is given up and tried again.",
    ),
    click.option(
        "--tries",
        type=click.IntRange(1),
        default=10,
        show_default=True,
        metavar="N",
        help="Tries of a call that can heal.",
    ),
    click.option(
        "--yes",
        "-y",
        is_flag=True,
        help="Do not ask before calling endpoints that may cost money.",
    ),
)
batch_option = click.option(
    "--batch-tokens",
    type=click.IntRange(64),
    default=16_384,
    show_default=True,
    metavar="N",
    help="Tokens of a reward model's batch on this machine, padding included: bounds the memory.",
)
PRICES = (
    click.option(
        "--prices",
        multiple=True,
        type=click.Path(),
        metavar="FILE",
        help="Prices of your own, before those that come with hiddenrisk; repeat for several, the last goes first.",
    ),
    click.option(
        "--price",
        multiple=True,
        metavar="WHO=IN/OUT",
        help="One price: a label or provider/model, and USD per million tokens in and out, as gpt-4o=2.50/10.",
    ),
)
_BUDGET = (
    click.option(
        "--budget",
        type=Finite(0.0, min_open=True),
        metavar="USD",
        help="Begin no sample that may take the models and judges of this command past this, what they took in the run before counted in; then the exit code is 3.",
    ),
    click.option(
        "--budget-tokens",
        type=click.IntRange(1),
        metavar="N",
        help="The same in tokens, in and out, of models and judges.",
    ),
    *PRICES,
)
_EVIDENCE = (
    click.option(
        "--calibration",
        "calibrations",
        multiple=True,
        metavar="PATH",
        help="calibration.json (or its folder) of `hiddenrisk calibrate`: rates of a judge in it are also reported corrected for its errors; repeat for several.",
    ),
    click.option(
        "--labels",
        metavar="FILE",
        help="Human labels for responses of this run drawn at random, as CSV or JSONL (prompt, label, and if needed benchmark, model, repeat, part): rates are also reported corrected by them.",
    ),
)


JUDGING = (
    click.option(
        "--judge",
        "judges",
        multiple=True,
        metavar="SPEC",
        help="Who judges; `builtin` needs no model, several are a jury. [default: builtin]",
    ),
    click.option(
        "--jury",
        type=click.Choice(["majority", "any-unsafe"]),
        help="How several judges decide: most of them, or one that finds it unsafe is enough. [default: majority; of a stored run, as its own]",
    ),
    click.option(
        "--fallback",
        "fallbacks",
        multiple=True,
        metavar="SPEC",
        help="Judge that is asked where one refuses, is blocked or gives nothing usable; repeat for a chain.",
    ),
    click.option(
        "--cascade",
        multiple=True,
        metavar="SPEC",
        help="Cheap judge that reads everything first; --judge reads where it is unsure, and an audit share of the rest. Repeat for several: sure is what all say alike, unsure where they differ or one fails.",
    ),
    click.option(
        "--audit",
        callback=_shares,
        metavar="SHARE[/SHARE/SHARE]",
        help="Share of what the cheap judges are sure of that --judge reads all the same, with all that they are unsure of; or SAFE/UNSURE/UNSAFE, the shares to read of what they call safe, are unsure of, and call unsafe, as 0.05/0.10/0.04. [default: 0.1]",
    ),
    click.option(
        "--parts",
        type=click.Choice(["both", "answer", "thinking"]),
        help="What the judges read. [default: both; of a stored run, what was read]",
    ),
    click.option(
        "--insights",
        type=click.Choice(["builtin", "judge", "none"]),
        help="Who looks into thoughts: do they notice the risk, mean to decline, and where do they turn unsafe? Rules, the first judge that is a model (a call for each thought), or nobody. [default: builtin; nobody in a stored run where nobody did]",
    ),
)


def judging_options(verb: Verb) -> Verb:
    """Give a verb the options that say who judges, and what: the fields `plan.PANEL`."""
    return reduce(lambda function, option: option(function), reversed(JUDGING), verb)


def panel_of(options: dict[str, object]) -> dict[str, object]:
    """Those of them that were given."""
    from hiddenrisk.plan import PANEL  # noqa: PLC0415 - see the module

    return {k: v for k, v in options.items() if k in PANEL and v not in (None, ())}


def call_options(verb: Verb) -> Verb:
    """Give a verb the options that say how calls are made; they decide no result."""
    return reduce(lambda function, option: option(function), reversed(_CALLS), verb)


def settings_options(verb: Verb) -> Verb:
    """The same, what may be spent, and what is known of the judges' errors."""
    options = (*_BUDGET, *_EVIDENCE)
    return reduce(lambda function, option: option(function), reversed(options), call_options(verb))


def settings_of(options: dict[str, object]) -> "Settings":
    """The settings among a verb's options."""
    from hiddenrisk.plan import Settings  # noqa: PLC0415 - see the module

    known: dict[str, Any] = {k: v for k, v in options.items() if k in Settings.__struct_fields__}
    return Settings(**known)
