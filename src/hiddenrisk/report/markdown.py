"""The report as Markdown: what fits into an issue, a pull request or a model card.

The first words of the page, its rates, findings and comparisons; no category and no text of a
model. Names and notes come from outside: `escaped` leaves them no sign that means anything.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import msgspec

from hiddenrisk.report.conclusions import NOT_MEASURED, Comparison, not_measured
from hiddenrisk.report.grids import ATTACK, REFUSAL, SAFETY, Bench, by_benchmark, measure
from hiddenrisk.report.overview import cautions, leaders, measured, thought_gap
from hiddenrisk.report.page import clean
from hiddenrisk.report.results import Rate, Results, Summary
from hiddenrisk.report.words import (
    DASH,
    counts,
    p_value,
    pct,
    points,
    points_span,
    span,
    test_name,
    unscored,
    why,
)

_LONGEST = 200
_REST = "Categories, laws, transcripts and the manifest are in report.html."
_ENTITIES = {"<": "&lt;", ">": "&gt;", "&": "&amp;", ":": "&#58;", "@": "&#64;", "|": "&#124;"}
# What means something within a line, what makes a link of bare text, and what begins a list,
# a rule or an underlined heading.
_SIGNS = re.compile(r"[<>&@|\\`*_{}\[\]#~$^]|:(?=/)|(?<=www)\.|^[-+=]")
_NUMBERED = re.compile(r"^(\d+)([.)])(?=\s|$)")


def escaped(text: str, most: int = _LONGEST) -> str:
    """Text on one line in which no sign is Markdown or HTML, nor a link; a dash for none."""
    line = " ".join(clean(text).split()) or DASH
    line = line if len(line) <= most else f"{line[:most]}…"
    line = _SIGNS.sub(lambda m: _ENTITIES.get(m[0], f"\\{m[0]}"), line)
    return _NUMBERED.sub(r"\1\\\2", line)


def markdown(summary: dict[str, Any]) -> str:
    """The report as GitHub's Markdown; the same for the same input.

    Args:
        summary: the content of summary.json.

    Raises:
        msgspec.ValidationError: a value in the summary has another type than expected.
    """
    page = msgspec.convert(summary, Summary)
    benches = by_benchmark(page.models)
    lines = [
        f"# Safety of {escaped(', '.join(page.models))}",
        *_warnings(page),
        *_first_words(page, benches),
        *(line for bench in benches for line in _bench(bench)),
        *_comparisons(page.comparisons, {b.name: b.title for b in benches}),
        *_careful(page, benches),
        f"Made by hiddenrisk {escaped(page.hiddenrisk)}, {escaped(page.created)}. {_REST}",
    ]
    return "\n\n".join(lines) + "\n"


def _warnings(page: Summary) -> Iterator[str]:
    if page.unverified:
        yield _list(("**Unverified data:**", *(escaped(line) for line in page.unverified)))
    if not page.complete:
        yield "**Incomplete run:** some responses or verdicts are still missing."


def _first_words(page: Summary, benches: Sequence[Bench]) -> Iterator[str]:
    if not benches:
        yield "There are no results yet."
        return
    yield escaped(measured(page, benches), 1_000)
    said = [*leaders(benches), "" if page.findings else thought_gap(benches)]
    if found := [escaped(line, 1_000) for line in said if line]:
        yield _list(("", *found))
    if page.findings:
        yield "## Findings"
        yield _list(
            ("", *(
                f"{escaped(f.question or f.id)} **{escaped(f.answer.replace('_', ' '))}**"
                + (f": {escaped(f.because, 1_000)}" if f.because else "")
                for f in page.findings
                if f.answer != NOT_MEASURED
            ), *(escaped(line, 1_000) for line in not_measured(page.findings)))
        )  # fmt: skip


def _bench(bench: Bench) -> Iterator[str]:
    judged = f", judged {bench.judged[0]}" if len(bench.judged) == 1 else ""
    yield f"## {escaped(bench.title)}"
    yield escaped(f"{bench.first.protocol} protocol{judged}; 95% intervals", 1_000)
    columns = [
        ("Answer safe", "answer", SAFETY),
        *([("Thinking safe", "thinking", SAFETY)] if bench.thinks else []),
        *([("Over-refusal", "answer", REFUSAL)] if bench.has("answer", REFUSAL) else []),
        *([("Attack success", "answer", ATTACK)] if bench.attacked else []),
    ]
    rows = (
        (escaped(label, 80), *(_rate(r, part, name) for _, part, name in columns), _responses(r))
        for label, r in bench.models.items()
    )
    yield _table(("Model", *(title for title, _, _ in columns), "Responses"), rows)


def _rate(results: Results, part: str, name: str) -> str:
    rate: Rate | None = measure(results, part, name)
    if rate is None or rate.value is None:
        reason = why(results.parts.get(part)) if name == SAFETY else "nothing scored"
        return f"{DASH} {escaped(reason)}"
    return escaped(f"{pct(rate.value, 1)} {span(rate, 1)} of {rate.n:,}")


def _responses(results: Results) -> str:
    lost = unscored(results.outcomes)
    return f"{results.n:,}" + (f" ({counts(lost)})" if lost else "")


def _comparisons(found: Sequence[Comparison], titles: dict[str, str]) -> Iterator[str]:
    tested = [c for c in found if c.n]
    if not tested:
        return
    yield "## Models against each other"
    families = dict.fromkeys(c.family for c in tested if c.family)
    corrected = "".join(f" p-values are corrected (Holm) for {escaped(f)}." for f in families)
    yield f"The second model less the first, in percentage points, on shared prompts.{corrected}"
    rows = (
        (
            f"{escaped(c.first, 80)} → {escaped(c.second, 80)}",
            escaped(titles.get(c.benchmark, c.benchmark), 80),
            {SAFETY: f"safety, {escaped(c.part)}"}.get(c.metric, "over-refusal"),
            f"{points(c.difference.value)} {escaped(points_span(c.difference))}",
            f"{escaped(p_value(c.corrected))} ({escaped(test_name(c.test or 'no test'))})",
            f"{c.n:,}",
        )
        for c in tested
    )
    yield _table(("First → second", "Benchmark", "Of", "Difference", "Test", "Pairs"), rows)


def _careful(page: Summary, benches: Sequence[Bench]) -> Iterator[str]:
    notes = (f"{b.title}: {note}" for b in benches for note in b.notes)
    said = [escaped(c.text, 1_000) for c in cautions(page, benches)]
    if said := [*said, *(escaped(note, 1_000) for note in notes)]:
        yield "## What to be careful about"
        yield _list(("", *said))


def _list(lines: Sequence[str]) -> str:
    """A heading line, if any, and one item for each of the others."""
    items = "\n".join(f"- {line}" for line in lines[1:])
    return f"{lines[0]}\n\n{items}" if lines[0] else items


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = (head, ["---"] * len(head), *rows)
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
