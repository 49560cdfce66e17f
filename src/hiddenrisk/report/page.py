"""The report: one HTML page that needs nothing else, and in which nothing can run.

The layout is in templates/*.jinja; here is what the page says. Model output is hostile:
Jinja escapes every value, `clean` writes out what would be unseen, and the page's policy
forbids scripts and requests. Harmful text is inside a closed `<details class="harmful">`.
"""

import re
from collections import Counter
from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from hiddenrisk.report.harm_page import between, number, signed
from hiddenrisk.report.results import ModelSummary, PartSummary, Positions, Rate, Results, Summary
from hiddenrisk.types import Estimate

if TYPE_CHECKING:  # loaded by the first `render`: `--help` should not wait for it
    from jinja2 import Environment

TEXT_LIMIT = 4_000
"""Characters of one text that the page shows; the run directory has the whole."""
DASH, SCORED = "—", "scored"


class ExampleVerdict(msgspec.Struct, frozen=True, kw_only=True):
    """A judge's word on one part of an example."""

    judge: str
    part: str  # "answer" or "thinking"
    label: str
    score: float
    """In [0, 1]; 1 is safe (for prompts labelled "safe": 1 is refused)."""
    reason: str = ""


class Example(msgspec.Struct, frozen=True, kw_only=True):
    """One response shown in the report."""

    model: str
    benchmark: str
    prompt_id: str
    category: tuple[str, ...]
    label: str
    """"safe" or "unsafe": whether a good model helps or declines."""
    prompt: str
    thinking: str | None
    answer: str | None
    finish: str
    visibility: str
    outcome: str
    verdicts: tuple[ExampleVerdict, ...]
    problem: str | None = None
    """What failed, if anything did."""
    dialogue: bool = False
    """Whether the answer is a whole dialogue, with both sides."""


def render(summary: dict[str, Any], examples: Sequence[Example]) -> str:
    """The whole page as HTML: the same for the same input, and always storable as UTF-8.

    Args:
        summary: the content of summary.json.
        examples: the responses to show with their texts; all that are given are shown.

    Raises:
        msgspec.ValidationError: a value in the summary has another type than expected.
    """
    page = msgspec.convert(summary, Summary)
    words = (
        *(category_rows, grouped_outcomes, p_value, pct, sentence, shares, span, verdict),
        *(view_rows, why, number, signed, between),
    )
    names = {f.__name__: f for f in words} | {"DASH": DASH, "TEXT_LIMIT": TEXT_LIMIT}
    template = _environment().get_template("report.html.jinja")
    return template.render(names, s=page, example_groups=grouped(examples))


@cache
def _environment() -> "Environment":
    from jinja2 import Environment, PackageLoader, StrictUndefined  # noqa: PLC0415, see above

    return Environment(
        loader=PackageLoader("hiddenrisk"),
        autoescape=True,
        finalize=_finalize,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


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


def pct(value: float | None, digits: int = 0) -> str:
    """A share as a percentage. Rounding never makes it 0% or 100%; None is a dash."""
    if value is None or value != value:  # not a number
        return DASH
    step = 10**-digits
    percent = 100 * value
    if 1e-9 < percent < step / 2:
        return f"<{step:g}%"
    if 100 - step / 2 <= percent < 100 - 1e-9:
        return f">{100 - step:g}%"
    return f"{abs(percent):.{digits}f}%"


def span(rate: Rate | Estimate | None, digits: int = 0) -> str:
    """An interval such as "[54–62%]"; empty where there is none."""
    if rate is None or rate.low is None or rate.high is None:
        return ""
    return f"[{pct(rate.low, digits).removesuffix('%')}–{pct(rate.high, digits)}]"


_GROUPS = {
    SCORED: ("complete", "refused", "scored"),
    "cut": ("cut_in_thinking", "cut_in_answer"),
    "blocked": ("blocked_on_input", "blocked_on_output", "blocked"),
    "empty": ("empty",),
    "failed": ("request_failed", "no_recording", "victim_failed"),
    "split": ("judges_split",),
    "not judged": ("not_judged",),
    "not run": ("not_run",),
    "not visible": ("hidden", "summarised", "redacted"),
    "no thinking": ("absent",),
    "other": (),
}
_GROUP_OF = {outcome: group for group, outcomes in _GROUPS.items() for outcome in outcomes}


def grouped_outcomes(outcomes: dict[str, int]) -> dict[str, int]:
    """Outcomes counted in few words, without the zeros; what we do not know is "other"."""
    groups = dict.fromkeys(_GROUPS, 0)
    for outcome, count in outcomes.items():
        known = "failed" if outcome.startswith("judge_") else _GROUP_OF.get(outcome, "other")
        groups[known] += count
    return {group: count for group, count in groups.items() if count}


def _counts(groups: dict[str, int]) -> str:
    return ", ".join(f"{count:,} {group}" for group, count in groups.items())


def why(part: PartSummary | None) -> str:
    """Why a part has no safety rate."""
    if part is None:
        return "not judged"
    groups = grouped_outcomes(part.outcomes)
    if not groups:
        return "no responses"
    if SCORED in groups:
        return "no unsafe prompt scored"
    if len(groups) == 1 and groups.keys() <= {"not visible", "no thinking"}:
        return next(iter(groups))
    return f"none scored: {_counts(groups)}"


def sentence(model: ModelSummary) -> str:
    """What a model did on all its benchmarks, in plain words, to follow its name."""
    groups = (Counter(grouped_outcomes(r.outcomes)) for r in model.benchmarks.values())
    lost = sum(groups, Counter[str]())
    total = lost.total()
    del lost[SCORED]
    answers = _claims(model, "answer", "answered unsafe prompts safely in")
    thoughts = _claims(model, "thinking", "its thinking was safe in")
    trouble = f" {sum(lost.values()):,} of {total:,} responses got no score ({_counts(lost)})."
    return f"{answers}; {thoughts}.{trouble if lost else ''}"


def _claims(model: ModelSummary, name: str, verb: str) -> str:
    claims: list[str] = []
    reasons: dict[str, None] = {}
    for key, results in model.benchmarks.items():
        part = results.parts.get(name)
        rate = part.safety_rate if part else None
        where = f"({results.title or key})" if len(model.benchmarks) > 1 else "responses"
        if rate is None or rate.value is None:
            reasons[why(part)] = None
            claims.append(f"{DASH} {where}")
        else:
            claims.append(f"{pct(rate.value)} {span(rate)} of {rate.n:,} {where}")
    because = f" ({', '.join(reasons)})" if reasons else ""
    if all(claim.startswith(DASH) for claim in claims):
        if list(reasons) == ["no thinking"]:
            return "it showed no thinking"
        answer = name == "answer"
        none = "has no safety rate for its answers" if answer else "there is none for its thinking"
        return f"{none}{because}"
    return f"{verb} {', '.join(claims)}{because}"


class Row(NamedTuple):
    """One category as the table shows it; depth is 0 for the benchmark's own top level."""

    depth: int
    name: str
    results: Results


def category_rows(categories: dict[str, Results]) -> list[Row]:
    """Categories with their depth, each below its parent and otherwise in the order given."""
    order = {path: place for place, path in enumerate(categories)}
    rows: list[tuple[list[int], Row]] = []
    for path, results in categories.items():
        names = path.split(" > ")
        above = [p for i in range(1, len(names)) if (p := " > ".join(names[:i])) in order]
        name = path.removeprefix(f"{above[-1]} > ") if above else path
        rows.append(([order[p] for p in (*above, path)], Row(len(above), name, results)))
    return [row for _, row in sorted(rows)]


def p_value(p: float | None) -> str:
    """A p-value in words that promise no more than it holds."""
    if p is None:
        return "no sample flipped"
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}"


def shares(positions: Positions) -> list[float]:
    """All that a picture of them has to hold; a zero at least."""
    groups = [positions, *positions.by_answer.values()]
    return [0.0, *(share for group in groups for share in group.unsafe_share if share)]


def view_rows(groups: dict[str, Results]) -> list[Row]:
    """The groups of one axis, as the category table shows them."""
    return [Row(0, name, results) for name, results in groups.items()]


def verdict(example: Example, score: float) -> str:
    """A score in a word. For a safe prompt the danger is a refusal, and 1 is refused."""
    if score == 0.5:
        return "unclear"
    if example.label == "safe":
        return "refused" if score > 0.5 else "helped"
    return "safe" if score > 0.5 else "unsafe"


def _rank(example: Example) -> int:
    """Unsafe answers first, then unsafe thinking, refused safe prompts, trouble, the rest."""
    words = {(v.part, verdict(example, v.score)) for v in example.verdicts}
    worst = [("answer", "unsafe"), ("thinking", "unsafe"), ("answer", "refused")]
    ranks = [rank for rank, word in enumerate(worst) if word in words]
    return min(ranks, default=3 if example.problem or not words else 4)


def grouped(examples: Sequence[Example]) -> dict[tuple[str, str], list[Example]]:
    """Examples by model and benchmark, in the order they come; in a group the worst first."""
    groups: dict[tuple[str, str], list[Example]] = {(e.model, e.benchmark): [] for e in examples}
    for example in sorted(examples, key=_rank):
        groups[example.model, example.benchmark].append(example)
    return groups
