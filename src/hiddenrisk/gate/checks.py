"""Whether a model passes: each rule on each benchmark and category, decided by an interval.

All checks must pass, so that their number needs no correction: a model that is worse than a
margin somewhere passes that check, and with it the gate, in at most half of alpha (an
intersection-union test: Berger 1982, Technometrics 24, 295-300). What more checks cost is
power: the gate says how many pairs a margin needs.
"""

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from hiddenrisk.cell import FAILED, OUTCOMES, UNJUDGED
from hiddenrisk.comparing import METRICS, Compared, Metric
from hiddenrisk.gate.rules import Limits, Rule, Rules, first_match, limits_of
from hiddenrisk.gate.seen import Seen, what_there_is
from hiddenrisk.scores import Column
from hiddenrisk.sides import Pairing
from hiddenrisk.stats.intervals import normal_quantile
from hiddenrisk.stats.means import clustered_mean, mean_interval
from hiddenrisk.stats.paired import noninferior, unpaired_difference
from hiddenrisk.stats.power import needed_pairs
from hiddenrisk.types import Estimate, Label, Part

Kind = Literal["not_worse", "min_safety", "max_over_refusal", "failures", "unscored", "measured"]
Status = Literal["passed", "failed", "undecided", "skipped"]
_LOST = FAILED | {UNJUDGED}


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that was asked for, and what came of it."""

    model: str
    baseline: str
    benchmark: str
    part: Part | None
    metric: Metric | None
    category: str | None
    """None: the whole benchmark."""
    rule: str
    kind: Kind
    status: Status
    """"undecided" lets nothing pass; "skipped" is undecided, and let through by its rule."""
    message: str
    limit: float | None = None
    """The margin, floor, ceiling or share that is asked for."""
    estimate: Estimate | None = None
    """What was decided by: a difference (the model less the baseline), or a rate."""
    needed: int | None = None
    """Pairs that would decide it, where the numbers tell."""

    @property
    def holds(self) -> bool:
        """Whether it keeps nobody out."""
        return self.status in ("passed", "skipped")


def checks(
    who: Sequence[Pairing],
    rules: Rules,
    *,
    unpaired: bool = False,
    notes: dict[str, None] | None = None,
) -> list[Check]:
    """Every check of every model, in the order of the runs.

    Args:
        who: baseline and model.
        rules: what is asked for.
        unpaired: compare as independent samples where no prompt is shared.
        notes: where to note what was left out.
    """
    found: list[Check] = []
    matched: set[int] = set()
    depth = max(rule.depth for rule in rules.rules)
    for pairing in who:
        for place in dict.fromkeys([*pairing.second.columns, *pairing.first.columns]):
            for seen in what_there_is(
                pairing, place, depth, 1 - rules.alpha, {} if notes is None else notes
            ):
                metric = METRICS[place[2]]
                match = first_match(rules.rules, place[0], place[1], metric, seen.category)
                if match is not None:
                    matched.add(match[0])
                    found += _checked(seen, *match, rules, unpaired=unpaired)
    unused = [r for n, r in enumerate(rules.rules, start=1) if n not in matched]
    return [*found, *(_unused(rule, rules, who) for rule in unused)]


def _unused(rule: Rule, rules: Rules, who: Sequence[Pairing]) -> Check:
    about = f"benchmark {rule.benchmark}, part {rule.part}"
    about += f", category {rule.category}" if rule.category else ""
    return Check(
        model=", ".join(dict.fromkeys(pairing.names[1] for pairing in who)),
        baseline=", ".join(dict.fromkeys(pairing.names[0] for pairing in who)),
        benchmark=rule.benchmark,
        part=None,
        metric=None,
        category=rule.category,
        rule=rule.told(rules.rules.index(rule) + 1),
        kind="measured",
        status=_open(limits_of(rule, rules)),
        message=f"there is nothing here that the rule is for, or earlier rules took it: {about}",
    )


def _open(limits: Limits) -> Status:
    return "skipped" if limits.undecided == "skip" else "undecided"


def _checked(
    seen: Seen, number: int, rule: Rule, rules: Rules, *, unpaired: bool
) -> Iterator[Check]:
    limits, level = limits_of(rule, rules), 1 - rules.alpha
    about = _About(seen, rule.told(number), limits)
    label: Label = seen.place[2]
    if limits.margin is not None:
        yield _not_worse(about, limits.margin, level, unpaired=unpaired)
    if label == "unsafe" and limits.min_safety is not None:
        yield _bounded(about, "min_safety", limits.min_safety, level)
    if label == "safe" and limits.max_over_refusal is not None:
        yield _bounded(about, "max_over_refusal", limits.max_over_refusal, level)
    if limits.max_failures is not None and seen.own is not None:
        yield _failures(about, seen.own, limits.max_failures)
    if limits.max_unscored is not None and limits.margin is not None and seen.pair:
        yield _unscored(about, seen.pair, limits.max_unscored)


class _About(msgspec.Struct, frozen=True, eq=False):
    """What a check is of."""

    seen: Seen
    rule: str
    limits: Limits

    def check(
        self,
        kind: Kind,
        status: Status,
        message: str,
        limit: float,
        estimate: Estimate | None = None,
        needed: int | None = None,
    ) -> Check:
        """It, with what came of it."""
        benchmark, part, label = self.seen.place
        return Check(
            model=self.seen.pairing.names[1],
            baseline=self.seen.pairing.names[0],
            benchmark=benchmark,
            part=part,
            metric=METRICS[label],
            category=self.seen.category,
            rule=self.rule,
            kind=kind,
            status=_open(self.limits) if status == "undecided" else status,
            message=message,
            limit=limit,
            estimate=estimate,
            needed=needed,
        )


def _not_worse(about: _About, margin: float, level: float, *, unpaired: bool) -> Check:
    seen = about.seen
    over = seen.place[2] == "safe"
    pair = seen.pair
    gap, told = (None, "") if pair is None else (pair.difference, f"{pair.n:,} pairs")
    if (
        unpaired
        and seen.own is not None
        and seen.theirs is not None
        and (pair is None or not pair.shared)
    ):
        gap = _apart(seen.theirs, seen.own, level)
        told = f"{gap.n:,} samples that are no pairs"
    if gap is None or gap.value is None or gap.low is None or gap.high is None:
        reason = seen.why_not or (pair.note if pair else None) or "there is nothing to compare"
        more = "; --unpaired compares all the same" if pair and not pair.shared else ""
        return about.check("not_worse", "undecided", f"{reason}{more}", margin)
    span = f"{_points(gap.value)} points [{_points(gap.low)} to {_points(gap.high)}] of {told}"
    least = about.limits.min_n or 1
    if gap.n < least:
        few = f"{span}: too few, {least} are asked for"
        return about.check("not_worse", "undecided", few, margin, gap, least)
    if noninferior(gap, margin, lower_is_better=over):
        inside = f"{span}: not worse by {_size(margin)}"
        return about.check("not_worse", "passed", inside, margin, gap)
    worst = gap.high if over else -gap.low
    if (gap.low if over else -gap.high) >= margin:
        beyond = f"{span}: worse by {_size(margin)} or more"
        return about.check("not_worse", "failed", beyond, margin, gap)
    apart = (pair.only_first + pair.only_second) / pair.n if pair and pair.n else None
    needed = None if apart is None else pairs_needed(apart, margin, level) or None
    shift = gap.value if over else -gap.value
    hint = (
        "the difference itself is not inside the margin"
        if shift >= margin
        else f"about {needed:,} pairs decide it, if the two are equally good"
        if needed and needed > gap.n
        else "more pairs may decide it"
    )
    open_ = f"{span}: may be worse by {_size(worst)}, and {_size(margin)} is accepted; {hint}"
    return about.check("not_worse", "undecided", open_, margin, gap, needed)


def pairs_needed(discordant: float, margin: float, level: float) -> int:
    """Pairs with which a model that is as good passes in four of five times.

    Args:
        discordant: share of the pairs on which the two differ, in [0, 1].
        margin: how much worse is accepted, in [0, 1).
        level: coverage of the interval, in (0, 1).

    Returns:
        At least as many as the score interval takes to get inside the margin where no pair
        differs; 0 without a margin, which no number of pairs shows.
    """
    if not margin:
        return 0
    alike = normal_quantile(level) ** 2 * (1 - margin) / margin
    return max(math.ceil(alike), needed_pairs(margin, discordant, alpha=1 - level) or 0)


def _apart(first: Column, second: Column, level: float) -> Estimate:
    a, b = first.scored, second.scored
    return unpaired_difference(
        first.scores[a],
        second.scores[b],
        _clusters(first.prompts[a]),
        _clusters(second.prompts[b]),
        level=level,
    ).difference


def _clusters(prompts: NDArray[np.uint64]) -> NDArray[np.uint64] | None:
    return prompts if np.unique(prompts).size < prompts.size else None


def _bounded(about: _About, kind: Kind, limit: float, level: float) -> Check:
    """A floor of the safety rate, or a ceiling of the over-refusal rate."""
    seen, floor = about.seen, kind == "min_safety"
    own = seen.own
    rate = None if own is None else _rate(own, level)
    if rate is None or rate.value is None or rate.low is None or rate.high is None:
        name = seen.pairing.names[1]
        return about.check(kind, "undecided", f"no sample of {name} has a score here", limit)
    asked = f"{'at least' if floor else 'at most'} {limit:.1%} is asked for"
    span = f"{rate.value:.1%} [{rate.low:.1%} to {rate.high:.1%}] of {rate.n:,}; {asked}"
    least = about.limits.min_n or 1
    if rate.n < least:
        few = f"{span}: too few, {least} are asked for"
        return about.check(kind, "undecided", few, limit, rate, least)
    if rate.low >= limit if floor else rate.high <= limit:
        return about.check(kind, "passed", span, limit, rate)
    missed = rate.high < limit if floor else rate.low > limit
    status: Status = "failed" if missed else "undecided"
    return about.check(kind, status, span, limit, rate)


def _rate(own: Column, level: float) -> Estimate:
    scores, prompts = own.scores[own.scored], own.prompts[own.scored]
    clusters = _clusters(prompts)
    if clusters is None:
        return mean_interval(scores, level)
    return clustered_mean(scores, clusters, level)


def _failures(about: _About, own: Column, limit: float) -> Check:
    lost = Counter(OUTCOMES[place] for place in map(int, own.outcomes))
    told: Mapping[str, int] = {name: n for name, n in lost.items() if name in _LOST}
    not_run = about.seen.planned - len(own)
    total = sum(told.values()) + not_run
    share = total / about.seen.planned if about.seen.planned else 0.0
    why = ", ".join(f"{n} {name.replace('_', ' ')}" for name, n in told.items())
    why = ", ".join(filter(None, [why, f"{not_run} not run" if not_run else ""]))
    message = f"{total} of {about.seen.planned} samples failed ({share:.1%}; at most {limit:.1%})"
    message += f": {why}" if why else ""
    return about.check("failures", "failed" if share > limit else "passed", message, limit)


def _unscored(about: _About, pair: Compared, limit: float) -> Check:
    """What the model has no score for and the baseline has: blocked, cut, empty, failed."""
    lost = pair.unscored.second - pair.unscored.both
    share = lost / pair.shared if pair.shared else 0.0
    message = (
        f"{lost} of {pair.shared} shared samples have a score of the baseline and none of the "
        f"model ({share:.1%}; at most {limit:.1%})"
    )
    return about.check("unscored", "failed" if share > limit else "passed", message, limit)


def _points(share: float) -> str:
    return f"{100 * share:+.1f}"


def _size(share: float) -> str:
    return f"{100 * share:.1f}"
