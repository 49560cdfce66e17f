"""Numbers and outcomes in the words of the page."""

import re
from collections import Counter
from collections.abc import Mapping

from hiddenrisk.report.results import ModelSummary, PartSummary, Positions, Rate, Results
from hiddenrisk.types import Estimate

DASH, SCORED = "—", "scored"


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


def points(value: float | None) -> str:
    """A difference of shares in percentage points, such as "−12.3"; None is a dash."""
    if value is None or value != value:
        return DASH
    text = f"{100 * value:+.1f}".replace("-", "−")
    return "0.0" if text in {"+0.0", "−0.0"} else text


def points_span(rate: Rate | Estimate | None) -> str:
    """An interval of a difference, such as "[−15.0 to −9.6]"; empty where there is none."""
    if rate is None or rate.low is None or rate.high is None:
        return ""
    return f"[{points(rate.low)} to {points(rate.high)}]"


def p_value(p: float | None) -> str:
    """A p-value in words that promise no more than it holds."""
    if p is None:
        return "not tested"
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}"


_TESTS = {
    "mcnemar_midp": "McNemar mid-p",
    "mcnemar_exact": "McNemar exact",
    "permutation_midp": "permutation mid-p",
    "cluster_bootstrap": "cluster bootstrap",
}


def test_name(name: str) -> str:
    """A test as people call it."""
    return _TESTS.get(name, name.replace("_", " "))


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


def grouped_outcomes(outcomes: Mapping[str, int]) -> dict[str, int]:
    """Outcomes counted in few words, without the zeros; what we do not know is "other"."""
    groups = dict.fromkeys(_GROUPS, 0)
    for outcome, count in outcomes.items():
        known = "failed" if outcome.startswith("judge_") else _GROUP_OF.get(outcome, "other")
        groups[known] += count
    return {group: count for group, count in groups.items() if count}


def unscored(outcomes: Mapping[str, int]) -> dict[str, int]:
    """What became of the responses that have no score."""
    groups = grouped_outcomes(outcomes)
    groups.pop(SCORED, None)
    return groups


def settled(results: Results) -> bool:
    """Whether every response has a score, and every thought that there was."""
    groups = [unscored(part.outcomes) for part in results.parts.values() if part]
    silent = not results.judge_failures and bool(results.n)
    return silent and all(group.keys() <= {"no thinking"} for group in groups)


def counts(groups: Mapping[str, int]) -> str:
    """`1 cut, 2 blocked`."""
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
    return f"none scored: {counts(groups)}"


def sentence(model: ModelSummary) -> str:
    """What a model did on all its benchmarks, in plain words, to follow its name."""
    lost = sum(
        (Counter(grouped_outcomes(r.outcomes)) for r in model.benchmarks.values()), Counter[str]()
    )
    total = lost.total()
    del lost[SCORED]
    answers = _claims(model, "answer", "answered unsafe prompts safely in")
    thoughts = _claims(model, "thinking", "its thinking was safe in")
    trouble = f" {sum(lost.values()):,} of {total:,} responses got no score ({counts(lost)})."
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


def gist(text: str) -> str:
    """The first clause of a sentence, without what stands in brackets or after a semicolon."""
    return re.split(r" \(|;", text, maxsplit=1)[0].rstrip(".")


def listed(names: list[str], most: int = 12) -> str:
    """`a, b and c`; what is beyond the most is counted."""
    if len(names) > most:
        names = [*names[:most], f"{len(names) - most:,} more"]
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1]))) if names else ""


def shares(positions: Positions) -> list[float]:
    """All that a picture of them has to hold; a zero at least."""
    groups = [positions, *positions.by_answer.values()]
    return [0.0, *(share for group in groups for share in group.unsafe_share if share)]
