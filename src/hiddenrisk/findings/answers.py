"""A question, its comparisons, and the answer that these give."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from msgspec.structs import replace

from hiddenrisk.findings import words
from hiddenrisk.findings.beside import beside as sentences
from hiddenrisk.findings.tested import Contest, Tested, as_if, classes, is_counted, result_of
from hiddenrisk.stats.decisions import ALPHA, Answer, Decision, Hypothesis, conclude, decide
from hiddenrisk.stats.intervals import normal_quantile, part_of
from hiddenrisk.stats.power import needed_pairs
from hiddenrisk.types import Estimate

POWER = 0.8
_COUNTED_AS = {"safe": 1.0, "unsafe": 0.0, "excluded": math.nan}


class Question(msgspec.Struct, frozen=True, kw_only=True):
    """What is asked, and what is said of the second side of each comparison."""

    id: str
    text: str
    claim: str
    """What a supported hypothesis says, between the names of the two sides."""
    opposite: str
    higher: bool
    """Whether the claim is that the second side's number is the higher one."""
    caution: str = ""
    """What the comparisons cannot tell."""


class Settled(msgspec.Struct, frozen=True, kw_only=True):
    """A question with its comparisons, decided."""

    question: Question
    tests: tuple[Tested, ...]
    decisions: tuple[Decision, ...]
    answer: Answer

    @property
    def family(self) -> int:
        """How many comparisons the p values are corrected for."""
        return sum(d.p_holm is not None for d in self.decisions)


def settle(question: Question, tests: Sequence[Tested]) -> Settled:
    """Decide each comparison of a question, and the question."""
    decisions = decide([_hypothesis(test, question.higher) for test in tests])
    return Settled(
        question=question,
        tests=tuple(tests),
        decisions=tuple(decisions),
        answer=conclude(decisions),
    )


def _hypothesis(test: Tested, higher: bool) -> Hypothesis:
    effect = test.difference if higher else _negative(test.difference)
    return Hypothesis(effect=effect, p=test.p, smallest=test.smallest)


def _negative(e: Estimate) -> Estimate:
    value, low, high = (None if x is None else -x for x in (e.value, e.high, e.low))
    return Estimate(value=value, low=low, high=high, n=e.n)


# ---------------------------------------------------------------- what it would take


class Needed(msgspec.Struct, frozen=True, kw_only=True):
    """How many pairs (or samples) in all would decide a comparison; None where no number is known."""

    seen: int | None
    """If the difference is the one that was seen, and goes the way that is said."""
    smallest: int | None
    """To find the smallest difference that matters."""


def needed(test: Tested, decision: Decision, family: int, *, higher: bool) -> Needed | None:
    """What would decide a comparison that is not; None where it is, or there is nothing to go by.

    At the level of the strictest step of Holm's method, with 80% power.
    """
    value = test.difference.value
    if decision.answer != "undecided" or value is None or not test.n:
        return None
    alpha = ALPHA / max(1, family)
    towards = value > 0 if higher else value < 0
    seen = _needed(test, abs(value), alpha) if towards else None
    smallest = _needed(test, test.smallest, alpha) if test.smallest else None
    return Needed(seen=seen, smallest=smallest)


def _needed(test: Tested, size: float, alpha: float) -> int | None:
    if test.discordant is not None:
        found = needed_pairs(size, test.discordant, alpha=alpha, power=POWER)
    else:
        # What is no pair of scores: the error falls as the square root of the number.
        d = test.difference
        if d.low is None or d.high is None or not size:
            return None
        error = (d.high - d.low) / 2 / normal_quantile(0.95)
        reach = normal_quantile(1 - alpha) + normal_quantile(2 * POWER - 1)
        found = math.ceil(test.n * (reach * error / size) ** 2)
    return None if found is None else max(found, test.n + 1)


# ---------------------------------------------------------------- how far it hangs on choices


def by_outcome(
    settled: Settled, contests: Sequence[Contest], smallest: float
) -> dict[str, dict[str, Any]]:
    """What the answer would be if each outcome alone were counted safe, unsafe, or left out."""
    found: dict[str, dict[str, Any]] = {}
    for outcome, n in classes(contests).items():
        entry: dict[str, Any] = {"n": n}
        for name, score in _COUNTED_AS.items():
            if name == "excluded" and not is_counted(contests, outcome):
                entry[name] = beside(settled, settled)  # the headline leaves it out
                continue
            tests = [
                test if (other := as_if(contest, outcome, score)) == contest
                else result_of(other, smallest)
                for contest, test in zip(contests, settled.tests, strict=True)
            ]  # fmt: skip
            entry[name] = beside(settled, settle(settled.question, tests))
        found[outcome] = entry
    return found


def by_judge(settled: Settled, models: Mapping[str, Any]) -> dict[str, Any] | None:
    """The same with rates corrected for the judge's errors; None where there is none.

    A comparison without corrected rates stays as it is.
    """
    tests = [corrected(test, models) for test in settled.tests]
    known = sum(test is not None for test in tests)
    if not known:
        return None
    merged = [new or old for new, old in zip(tests, settled.tests, strict=True)]
    return {"n": known, **beside(settled, settle(settled.question, merged))}


def beside(settled: Settled, other: Settled) -> dict[str, Any]:
    """Another answer to the same question: does it hold, and how many comparisons change?"""
    pairs = zip(settled.decisions, other.decisions, strict=True)
    return {
        "answer": other.answer,
        "holds": other.answer == settled.answer,
        "changed": sum(a.answer != b.answer for a, b in pairs),
    }


def corrected(test: Tested, models: Mapping[str, Any]) -> Tested | None:
    """A comparison of the two sides' corrected rates; None where a side has none.

    The sides' intervals are joined (`joined`), and p is that of the interval: the two sides
    are taken to be independent, which errs on the careful side for pairs and one judge.
    """
    one, other = _corrected_of(test, models, second=False), _corrected_of(test, models, second=True)
    if one is None or other is None:
        return None
    difference = joined(one, other)
    return replace(
        test,
        n=one.n + other.n,
        shared=None,
        first_rate=one,
        second_rate=other,
        difference=difference,
        p=p_of(difference),
        test="corrected rates",
        discordant=None,
    )


def _corrected_of(test: Tested, models: Mapping[str, Any], *, second: bool) -> Estimate | None:
    side = test.second if second else test.first
    model, part = (test.model, side) if test.model else (side, test.part)
    benchmarks = models.get(model or "", {}).get("benchmarks", {})
    found = benchmarks.get(test.benchmark, {}).get("parts", {}).get(part, {}).get("corrected")
    if not found or found["value"] is None or found["low"] is None:
        return None
    return Estimate(value=found["value"], low=found["low"], high=found["high"], n=found["n"])


def joined(first: Estimate, second: Estimate) -> Estimate:
    """The second less the first, of two independent estimates, with the interval of both.

    Raises:
        ValueError: one of them has no interval.

    Source: Zou & Donner 2008, Stat. Med. 27, 1693-1702 (MOVER).
    """
    a, b = part_of(first), part_of(second)
    value = b.value - a.value
    return Estimate(
        value=value,
        low=value - math.hypot(b.value - b.low, a.high - a.value),
        high=value + math.hypot(b.high - b.value, a.value - a.low),
        n=first.n + second.n,
    )


def p_of(difference: Estimate) -> float | None:
    """Two-sided p of no difference, from the arm of a 95% interval that points to zero."""
    value = difference.value
    if value is None or difference.low is None or difference.high is None:
        return None
    arm = value - difference.low if value > 0 else difference.high - value
    if arm <= 0:
        return None
    return math.erfc(abs(value) / arm * normal_quantile(0.95) / math.sqrt(2))


# ---------------------------------------------------------------- what summary.json says


def finding_json(
    settled: Settled,
    *,
    sensitivity: Mapping[str, Any] | None = None,
    missing: str = "",
    **more: Any,  # noqa: ANN401 - JSON
) -> dict[str, Any]:
    """A finding as summary.json has it.

    Args:
        settled: the question, decided.
        sensitivity: what else the answer would be, by what is counted otherwise.
        missing: why there is nothing to compare, and the next step, where there is nothing.
        more: other fields.
    """
    rows = list(zip(settled.tests, settled.decisions, strict=True))
    higher = settled.question.higher
    wants = [needed(test, d, settled.family, higher=higher) for test, d in rows]
    found: dict[str, Any] = {
        "id": settled.question.id,
        "question": settled.question.text,
        "answer": settled.answer,
        "because": words.because(settled, missing),
        "counts": {
            name: sum(d.answer == name for _, d in rows)
            for name in ("supported", "refuted", "undecided", "not_measured")
        },
        "evidence": [
            row_json(test, decision, want)
            for (test, decision), want in zip(rows, wants, strict=True)
        ],
        "family": words.family(settled),
        "needed": words.needed_of(settled, wants),
        "sensitivity": {"outcomes": {}, "judge": None, "measures": {}, **(sensitivity or {})},
        "caution": settled.question.caution if rows else "",
        **more,
    }
    return {**found, "beside": sentences(found)}


def row_json(test: Tested, decision: Decision, want: Needed | None) -> dict[str, Any]:
    """A comparison as summary.json has it."""
    fields = msgspec.to_builtins(test)
    fields.pop("discordant")
    return {
        **fields,
        "told": words.difference(test) if test.difference.value is not None else "",
        "p_holm": decision.p_holm,
        "answer": decision.answer,
        "reversed": decision.reversed,
        "small": decision.small,
        "needed": msgspec.to_builtins(want),
    }
