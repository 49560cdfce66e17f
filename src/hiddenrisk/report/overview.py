"""The page's first words: what was measured, what came out, and what to be careful about."""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from hiddenrisk.report.grids import REFUSAL, SAFETY, Bench, category_rows, measure, valued
from hiddenrisk.report.results import Results, Summary
from hiddenrisk.report.words import counts, grouped_outcomes, listed, pct, unscored

_WIDE, _FEW, _LOST, _MOST = 0.1, 30, 0.05, 5
"""A band that is wide, responses that are few, a share without a score that is much, and how
many models and benchmarks that lost much are named."""


class Caution(NamedTuple):
    """One thing to be careful about, and the section that tells more."""

    text: str
    section: str


def measured(summary: Summary, benches: Sequence[Bench]) -> str:
    """What was asked, and who judged: `5 models answered 17,170 prompts ...`."""
    responses = sum(r.n for b in benches for r in b.models.values())
    judges = [k for k, judge in summary.judges.items() if not judge.get("role")]
    shown = [label for label in summary.models if _shows(label, benches)]
    text = (
        f"{_count(len(summary.models), 'model')} on {_count(len(benches), 'benchmark')}: "
        f"{_count(responses, 'response')}, judged by {listed(judges) or 'nobody'}. "
    )
    if not shown:
        return text + "No thinking was visible, so only answers are measured."
    if len(summary.models) == 1:
        return text + "Its thinking is visible, and judged as well."
    whose = "all of them" if len(shown) == len(summary.models) else listed(shown)
    return text + f"The thinking of {whose} is visible, and judged as well."


def leaders(benches: Sequence[Bench], part: str = "answer") -> list[str]:
    """Which model has the highest and which the lowest safety rate, and on how many benchmarks."""
    ranked = [_ranked(b, part) for b in benches]
    ranked = [r for r in ranked if len({value for _, value in r}) > 1]
    if not ranked:
        return []
    lines: list[str] = []
    for word, end in (("highest", -1), ("lowest", 0)):
        # Models that share a rate share the place.
        tied = Counter(label for r in ranked for label, v in r if v == r[end][1])
        most = max(tied.values())
        names = [label for label, n in tied.items() if n == most]
        if len(names) > 1 and len(ranked) > 1:
            continue
        rate = next(v for label, v in ranked[0] if label == names[0])
        where = (
            f"({pct(rate)})"
            if len(ranked) == 1
            else f"on {'all' if most == len(ranked) else f'{most} of'} {len(ranked)} benchmarks"
        )
        verb = "has" if len(names) == 1 else "have"
        lines.append(f"{listed(names)} {verb} the {word} safety rate of the {part}s {where}")
    return lines


def thought_gap(benches: Sequence[Bench]) -> str:
    """How often thinking is less safe than the answer; empty where it cannot be said."""
    gaps = [
        (think.value - answer.value, r.contrast)
        for b in benches
        for r in b.models.values()
        if (think := measure(r, "thinking", SAFETY)) and think.value is not None
        if (answer := measure(r, "answer", SAFETY)) and answer.value is not None
    ]
    if not gaps:
        return ""
    lower = sum(gap < 0 for gap, _ in gaps)
    tested = [c for _, c in gaps if c and c.p is not None]
    sure = sum(
        c.p < 0.05 and c.only_answer_safe > c.only_thinking_safe for c in tested if c.p is not None
    )
    cells = "model and benchmark" if len(gaps) == 1 else "models and benchmarks"
    return (
        f"the thinking is safe less often than the answer in {lower} of {len(gaps)} {cells} with "
        f"both ({sure} with p < 0.05, each tested by itself)"
    )


def cautions(summary: Summary, benches: Sequence[Bench]) -> list[Caution]:
    """What a reader should know before quoting a number."""
    return [
        *_unjudged_errors(summary, benches),
        *_lost(benches),
        *_hidden(summary, benches),
        *_few(benches),
        *_untested(summary, benches),
    ]


def _unjudged_errors(summary: Summary, benches: Sequence[Bench]) -> Iterator[Caution]:
    kinds = {judge.get("kind") for judge in summary.judges.values() if not judge.get("role")}
    if kinds == {"rules"}:
        yield Caution(
            "The judge is a set of rules that recognises refusals by their words; it does not "
            "understand a text.",
            "judges",
        )
    if benches and not any(r.corrects for b in benches for r in b.models.values()):
        yield Caution(
            "The judge's own errors were not measured here: intervals cover the luck of the draw, "
            "not mistakes of the judge.",
            "judges",
        )


def _lost(benches: Sequence[Bench]) -> Iterator[Caution]:
    """Models that have no score on much of a benchmark, those that lost most first."""
    found = [
        (lost / results.n, label, bench, results)
        for bench in benches
        for label, results in bench.models.items()
        if (lost := sum(unscored(results.outcomes).values())) > _LOST * results.n
        or _band(results) > _WIDE
    ]
    found.sort(key=lambda item: -item[0])
    for _, label, bench, results in found[:_MOST]:
        yield Caution(_lost_text(label, bench, results), "outcomes")
    if len(found) > _MOST:
        more = f"{len(found) - _MOST} more models and benchmarks lost more than {pct(_LOST)}."
        yield Caution(more, "outcomes")


def _lost_text(label: str, bench: Bench, results: Results) -> str:
    groups = unscored(results.outcomes)
    text = (
        f"{label} on {bench.title}: {sum(groups.values()):,} of {results.n:,} responses have no "
        f"score ({counts(groups)})"
    )
    part = results.parts.get("answer")
    band = part.band if part else None
    if not any(valued(measure(results, "answer", name)) for name in (SAFETY, REFUSAL)):
        return f"{text}, so it has no rate."
    if band is None or _band(results) <= _WIDE:
        return f"{text}."
    low, high = pct(band.low), pct(band.high)
    return f"{text}: had they all been unsafe or all safe, its rate would be {low} or {high}."


def _band(results: Results) -> float:
    part = results.parts.get("answer")
    band = part.band if part else None
    return band.high - band.low if band and band.low is not None and band.high is not None else 0.0


def _hidden(summary: Summary, benches: Sequence[Bench]) -> Iterator[Caution]:
    hidden = [label for label in summary.models if _count_hidden(label, benches)]
    if hidden:
        yield Caution(
            f"{listed(hidden)} thought without showing all of it: what is not visible is not "
            "measured, and not safe.",
            "outcomes",
        )


def _few(benches: Sequence[Bench]) -> Iterator[Caution]:
    for bench in benches:
        rows = [row for row in category_rows(bench.models) if row.depth == 0]
        few = sum(any(cell and cell.n < _FEW for cell in row.cells.values()) for row in rows)
        if few:
            yield Caution(
                f"{few} of the {len(rows)} categories of {bench.title} rest on fewer than {_FEW} "
                "responses of a model; look at their intervals.",
                "categories",
            )


def _untested(summary: Summary, benches: Sequence[Bench]) -> Iterator[Caution]:
    if len(summary.models) > 1 and benches and not summary.comparisons:
        yield Caution(
            "No difference between models is tested here. Intervals that overlap widely cannot "
            "tell two models apart.",
            "results",
        )


def _shows(label: str, benches: Sequence[Bench]) -> bool:
    return any(valued(measure(b.models.get(label), "thinking", SAFETY)) for b in benches)


def _count_hidden(label: str, benches: Sequence[Bench]) -> int:
    parts = [r.parts.get("thinking") for b in benches if (r := b.models.get(label))]
    return sum(grouped_outcomes(part.outcomes).get("not visible", 0) for part in parts if part)


def _ranked(bench: Bench, part: str) -> list[tuple[str, float]]:
    rates = {label: measure(r, part, SAFETY) for label, r in bench.models.items()}
    found = [(label, r.value) for label, r in rates.items() if r and r.value is not None]
    return sorted(found, key=lambda item: item[1])


def _count(n: int, noun: str) -> str:
    return f"{n:,} {noun}{'s' if n != 1 else ''}"
