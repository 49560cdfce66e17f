"""The report: one HTML page that needs nothing else, and in which nothing can run.

The layout is in templates/*.jinja; here is what they are given. Model output is hostile:
Jinja escapes every value, `clean` writes out what would be unseen, and the page's policy
forbids scripts and requests. Harmful text is inside a closed `<details class="harmful">`.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any, cast

import msgspec

from hiddenrisk.report import examples as shown
from hiddenrisk.report import grids, overview, plots, published, words
from hiddenrisk.report.conclusions import not_measured
from hiddenrisk.report.examples import Example, ExampleVerdict
from hiddenrisk.report.harm_page import between, number, signed
from hiddenrisk.report.results import Manifest, Summary

if TYPE_CHECKING:  # loaded by the first `render`: `--help` should not wait for it
    from jinja2 import Environment

__all__ = ["TEXT_LIMIT", "Example", "ExampleVerdict", "clean", "render"]

TEXT_LIMIT = 4_000
"""Characters of one text that the page shows; the run directory has the whole."""
_WORDS: tuple[Callable[..., object], ...] = (
    *(
        words.pct,
        words.span,
        words.points,
        words.points_span,
        words.p_value,
        words.test_name,
        words.why,
    ),
    *(
        words.grouped_outcomes,
        words.unscored,
        words.counts,
        words.sentence,
        words.shares,
        words.settled,
    ),
    *(words.listed, words.gist, number, signed, between),
    *(grids.measure, grids.valued, grids.tone, grids.category_rows, grids.branches),
    *(grids.view_rows, grids.axes, grids.pictures),
    *(plots.forests, plots.scale, plots.place, plots.against_zero, shown.verdict),
    *(overview.measured, overview.leaders, overview.thought_gap, overview.cautions),
    not_measured,
)


def render(
    summary: dict[str, Any],
    examples: Sequence[Example],
    manifest: Mapping[str, Any] | None = None,
) -> str:
    """The whole page as HTML: the same for the same input, and always storable as UTF-8.

    Args:
        summary: the content of summary.json.
        examples: the responses to show with their texts; all that are given are shown.
        manifest: the content of run.json, if there is one to show.

    Raises:
        msgspec.ValidationError: a value in the summary has another type than expected.
    """
    page = msgspec.convert(summary, Summary)
    benches = grids.by_benchmark(page.models)
    groups = shown.grouped(examples)
    return _environment().get_template("report.html.jinja").render(
        s=page,
        benches=benches,
        titles={b.name: b.title for b in benches},
        tradeoffs=plots.tradeoffs(benches),
        published=published.tables(page.models),
        manifest=msgspec.convert(manifest, Manifest) if manifest else None,
        example_groups=groups,
        choices=shown.choices(groups),
    )  # fmt: skip


@cache
def _environment() -> "Environment":
    from jinja2 import Environment, PackageLoader, StrictUndefined  # noqa: PLC0415, see above

    environment = Environment(
        loader=PackageLoader("hiddenrisk"),
        autoescape=True,
        finalize=_finalize,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    known = cast("dict[str, object]", environment.globals)
    known |= {f.__name__: f for f in _WORDS} | {"DASH": words.DASH, "TEXT_LIMIT": TEXT_LIMIT}
    return environment


# Everything that would be invisible, reorder its neighbours or not survive UTF-8: controls
# (but tab and newline), soft hyphen, bidi marks, zero-width characters (but the joiners that
# scripts and emoji need), variation and tag characters used for smuggling, surrogates.
_UNSEEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u061c\u115f\u1160\u180e\u200b\u200e\u200f\u2028-\u202e"
    "\u2060-\u206f\u3164\ud800-\udfff\ufdd0-\ufdef\ufeff\uffa0\ufff9-\ufffb\ufffe\uffff"
    "\U000e0000-\U000e0fff]"
)


def clean(text: str) -> str:
    """The text with every unseen character written out, safe to encode as UTF-8."""
    return _UNSEEN.sub(lambda match: f"[U+{ord(match[0]):04X}]", text.replace("\r\n", "\n"))


def _finalize(value: object) -> object:
    """What Jinja puts on the page for a value, before it escapes it."""
    if isinstance(value, str) and not hasattr(value, "__html__"):  # a macro's output has it
        return clean(value)
    return "" if value is None else value
