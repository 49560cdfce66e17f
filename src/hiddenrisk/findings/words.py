"""Findings in sentences that a person can quote: with numbers, n, protocol and judge."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from hiddenrisk.findings.tested import Tested
from hiddenrisk.stats.decisions import ALPHA, Decision
from hiddenrisk.types import Estimate

if TYPE_CHECKING:
    from hiddenrisk.findings.answers import Needed, Settled

RATES = {"safety_rate", "unsafe_when_noticed"}
"""Measures in [0, 1], told in percent and their differences in points."""
MINUS = "−"
_FEW = 3
_Row = tuple[Tested, Decision]


def because(settled: "Settled", missing: str) -> str:
    """Why the answer is what it is, in one sentence.

    Args:
        settled: the question, decided.
        missing: why there is nothing to compare, where there is nothing.
    """
    rows = list(zip(settled.tests, settled.decisions, strict=True))
    measured = [row for row in rows if row[1].answer != "not_measured"]
    if measured:
        return sentence(f"{_said(settled, measured)}; {_under([test for test, _ in measured])}")
    notes = list(dict.fromkeys(f"{name_of(test)}: {test.note}" for test, _ in rows))
    more = f" (and {len(notes) - _FEW} more)" if len(notes) > _FEW else ""
    return sentence("; ".join(notes[:_FEW]) + more if notes else missing)


def _said(settled: "Settled", rows: Sequence[_Row]) -> str:
    """What the comparisons say, without the conditions."""
    question, m = settled.question, len(rows)
    towards = [row for row in rows if row[1].answer == "supported"]
    against = [row for row in rows if row[1].reversed]
    clear = [d.p_holm for _, d in (*towards, *against) if d.p_holm is not None]
    surely = _corrected("at most", max(clear), settled) if clear else ""
    if settled.answer == "mixed":
        return (
            f"in {of(len(towards), m)} {question.claim}, {_by(towards)}, and in {len(against)} "
            f"{question.opposite}, {_by(against)}{_rest(settled)}{surely}"
        )
    if towards:
        small = ", though by less than matters" if all(d.small for _, d in towards) else ""
        return f"in {of(len(towards), m)} {question.claim}, {_by(towards)}{small}{_rest(settled)}{surely}"
    if against:
        return (
            f"in {of(len(against), m)} {question.opposite}, {_by(against)}{_rest(settled)}{surely}"
        )
    return _unclear(settled, rows)


def _unclear(settled: "Settled", rows: Sequence[_Row]) -> str:
    """What is said where no comparison shows a difference."""
    m = len(rows)
    ps = [d.p_holm for _, d in rows if d.p_holm is not None]
    least = _corrected("at least", min(ps), settled) if ps else ""
    if settled.answer == "refuted":
        which = "the one comparison excludes" if m == 1 else f"all {m} comparisons exclude"
        said = f"{which} a difference of {smallest_of(rows[0][0])} or more that way"
    else:
        which = "the one comparison does not show" if m == 1 else f"none of {m} comparisons shows"
        said = f"{which} that {settled.question.claim}"
    lost = len(settled.decisions) - m
    unmeasured = f" ({lost} not measured)" if lost else ""
    return f"{said}: {_all_of(rows)}{unmeasured}{least}"


def _corrected(bound: str, p: float, settled: "Settled") -> str:
    """`; Holm-corrected p at most 0.012`."""
    text = p_value(p)
    said = (
        text if text.startswith("<") else f"= {text}" if settled.family == 1 else f"{bound} {text}"
    )
    return f"; {'p' if settled.family == 1 else 'Holm-corrected p'} {said}"


def _rest(settled: "Settled") -> str:
    """` (3 undecided, 1 not measured)`: what the others came to."""
    answers = [d.answer for d in settled.decisions]
    small = sum(d.answer == "refuted" and not d.reversed for d in settled.decisions)
    counts = {
        "undecided": answers.count("undecided"),
        f"with less than {smallest_of(settled.tests[0])} that way": small,
        "not measured": answers.count("not_measured"),
    }
    said = [f"{count} {name}" for name, count in counts.items() if count]
    return f" ({', '.join(said)})" if said else ""


def _by(rows: Sequence[_Row]) -> str:
    """`by 3.1 to 12.0 points (most: ...)`, of those that were decided."""
    tests = sorted((test for test, _ in rows), key=lambda t: abs(t.difference.value or 0.0))
    least, most = tests[0], tests[-1]
    example = f"{name_of(most)}: {both_rates(most)}, {difference(most)}, n {most.n:,}"
    low, high = size(least, bare=True), size(most)
    if len(tests) == 1 or low == high.split()[0]:
        return f"by {high} ({example})"
    if len({test.measure for test in tests}) > 1:
        return f"most by {high} ({example})"  # rewards have scales of their own
    return f"by {low} to {high} (most {example})"


def _all_of(rows: Sequence[_Row]) -> str:
    tests = sorted((test for test, _ in rows), key=lambda t: t.difference.value or 0.0)
    least, most = signed(tests[0]), signed(tests[-1])
    if len(tests) == 1:
        return f"{name_of(tests[0])}: {both_rates(tests[0])}, {difference(tests[0])}"
    return f"differences of {least}" + (f" to {most}" if most != least else "")


def _under(tests: Sequence[Tested]) -> str:
    """The conditions: n, protocol, judge."""
    counts = sorted({test.n for test in tests})
    n = f"{counts[0]:,}" if len(counts) == 1 else f"{counts[0]:,} to {counts[-1]:,}"
    protocols = list(dict.fromkeys(test.protocol for test in tests if test.protocol))
    judges = listed(judge for test in tests for judge in test.judges)
    said = [f"n {n} each" if len(tests) > 1 else f"n {n}"]
    said += (
        [f"protocol{'s' if len(protocols) > 1 else ''} {listed(protocols)}"] if protocols else []
    )
    said += [f"judged by {judges}"] if judges else []
    return ", ".join(said)


def family(settled: "Settled") -> str:
    """What is corrected for, and what counts as nothing."""
    tested = settled.family
    if not settled.tests:
        return ""
    kinds = list(dict.fromkeys(smallest_of(test) for test in settled.tests if test.smallest))
    matters = f"; less than {' or '.join(kinds[:_FEW])} does not matter" if kinds else ""
    noun = "comparison" if tested == 1 else "comparisons"
    return f"{tested} {noun} of this question, Holm's correction at {ALPHA:.0%}{matters}"


def needed_of(settled: "Settled", wants: Sequence["Needed | None"]) -> str | None:
    """What would decide the comparison that is nearest to being decided; None where all are."""
    known = [
        (want.seen or want.smallest or 0, test, want)
        for test, want in zip(settled.tests, wants, strict=True)
        if want is not None and (want.seen or want.smallest)
    ]
    if settled.answer != "undecided" or not known:
        return None
    _, test, want = min(known, key=lambda one: one[0] / one[1].n)
    unit = "samples" if test.shared is None else "prompts"
    said: list[str] = []
    if want.seen:
        said.append(f"{want.seen - test.n:,} more {unit} if the {size(test)} seen are the truth")
    if want.smallest:
        said.append(f"{want.smallest - test.n:,} more to find {smallest_of(test)}")
    corrected = f", corrected over {settled.family} comparisons" if settled.family > 1 else ""
    return sentence(
        f"nearest to being decided is {name_of(test)}, with {test.n:,} {unit}: it would take "
        f"about {', '.join(said)} (80% power{corrected})"
    )


# ---------------------------------------------------------------- pieces


def name_of(test: Tested) -> str:
    """`r1 against v3 on mitre`, or `r1 on mitre, thinking against answer`."""
    by = "" if test.measure in RATES or test.measure == "skill" else f" by {test.measure}"
    if test.model is None:
        return f"{test.second} against {test.first} on {test.benchmark}{by}"
    return f"{test.model} on {test.benchmark}, {test.second} against {test.first}"


def both_rates(test: Tested) -> str:
    """`24.8% against 81.4%`: the second side, then the first."""
    return f"{number(test, test.second_rate)} against {number(test, test.first_rate)}"


def number(test: Tested, estimate: Estimate) -> str:
    """A mean of either side, as its measure is told."""
    if estimate.value is None:
        return "—"
    if test.measure in RATES:
        return f"{estimate.value:.1%}"
    return f"{estimate.value:.2f}" if test.measure == "skill" else f"{estimate.value:.3f}"


def signed(test: Tested, *, bare: bool = False) -> str:
    """`−3.1 points`; `bare`, without the unit."""
    return f"{_sign(test.difference.value)}{size(test, bare=bare)}"


def size(test: Tested, *, bare: bool = False) -> str:
    """`3.1 points`, without its sign; `bare`, without the unit."""
    return _sized(test, abs(test.difference.value or 0.0), bare=bare)


def difference(test: Tested, *, bare: bool = False) -> str:
    """`−3.1 points [−5.0 to −1.2]`; `bare`, without the unit."""
    e = test.difference
    if e.low is None or e.high is None:
        return signed(test, bare=bare)
    low, high = (f"{_sign(x)}{_sized(test, abs(x), bare=True)}" for x in (e.low, e.high))
    return f"{signed(test, bare=bare)} [{low} to {high}]"


def smallest_of(test: Tested) -> str:
    """The smallest difference that matters, in its unit."""
    if test.measure in RATES or test.measure == "skill":
        amount = test.smallest or 0.0
        if test.measure == "skill":
            return f"{amount:g} of a grade"
        return f"{100 * amount:g} point{'' if amount == 0.01 else 's'}"
    return "0.2 standard deviations"


def _sized(test: Tested, amount: float, *, bare: bool) -> str:
    if test.measure in RATES:
        return f"{100 * amount:.1f}" + ("" if bare else " points")
    if test.measure == "skill":
        return f"{amount:.2f}" + ("" if bare else " of a grade")
    return f"{amount:.3f}"


def _sign(value: float | None) -> str:
    return MINUS if value is not None and value < 0 else "+"


def p_value(p: float | None) -> str:
    """`0.012`, or `< 0.001`; a dash where nothing was tested."""
    if p is None:
        return "—"
    return "< 0.001" if p < 0.001 else f"{p:.3f}" if p < 0.1 else f"{p:.2f}"


def of(k: int, m: int) -> str:
    """`3 of 8 comparisons`, or `the one comparison`."""
    return "the one comparison" if m == 1 else f"{k} of {m} comparisons"


def listed(names: Iterable[str]) -> str:
    """`a`, `a and b`, `a, b and c`: each once."""
    *others, last = list(dict.fromkeys(names)) or [""]
    return f"{', '.join(others)} and {last}" if others else last


def sentence(text: str) -> str:
    """With a capital and a full stop."""
    return f"{text[0].upper()}{text[1:]}." if text else ""
