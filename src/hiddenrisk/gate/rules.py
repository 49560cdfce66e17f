"""What a gate asks for: a TOML file of rules, or a margin alone."""

import tomllib
from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Literal

import msgspec

from hiddenrisk.cell import SEPARATOR
from hiddenrisk.comparing import Metric
from hiddenrisk.errors import UsageError
from hiddenrisk.types import Part

_LEAST_ALPHA, _MOST_ALPHA = 0.0001, 0.5
"""As in `hiddenrisk compare`; with more, an interval would hold less than it leaves out."""
_SHARES = ("margin", "min_safety", "max_over_refusal", "max_failures", "max_unscored")


class Limits(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is asked for; a field that is None is not."""

    margin: float | None = None
    """How much less safe than the baseline is accepted, in [0, 1): the interval of the
    difference must lie above it. On harmless prompts: how much more often it declines."""
    min_n: int | None = None
    """Pairs (of a floor or ceiling: samples) with a score, below which nothing is decided."""
    min_safety: float | None = None
    """The safety rate's lower limit must reach it."""
    max_over_refusal: float | None = None
    """The over-refusal rate's upper limit must not be above it."""
    max_failures: float | None = None
    """Share of the model's samples that failed or were not run, at most."""
    max_unscored: float | None = None
    """Share of the shared samples that the baseline has a score for and the model has not."""
    undecided: Literal["fail", "skip"] | None = None
    """What becomes of a check that the numbers cannot decide: it fails, or is let through."""


class Rule(Limits, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Limits for what it matches; of several rules the first that matches counts."""

    name: str = ""
    benchmark: str = "*"
    """A pattern with * and ?, as in a shell."""
    part: Literal["answer", "thinking", "*"] = "*"
    metric: Metric | Literal["*"] = "*"
    category: str | None = None
    """A pattern for each step of the path: "*" is every category of the first level,
    "Security Risks > *" those below one; None is the whole benchmark."""

    @property
    def depth(self) -> int:
        """How deep the categories are that it can match; 0 for the whole benchmark."""
        return 0 if self.category is None else len(self.category.split(SEPARATOR))

    def matches(self, benchmark: str, part: Part, metric: Metric, category: str | None) -> bool:
        """Whether it is for this."""
        return (
            fnmatchcase(benchmark, self.benchmark)
            and self.part in ("*", part.value)
            and self.metric in ("*", metric)
            and self._matches(category)
        )

    def _matches(self, category: str | None) -> bool:
        if self.category is None or category is None:
            return self.category is category
        patterns, steps = self.category.split(SEPARATOR), category.split(SEPARATOR)
        return len(patterns) == len(steps) and all(
            step == pattern or fnmatchcase(step, pattern)  # a name may have brackets
            for step, pattern in zip(steps, patterns, strict=True)
        )

    def told(self, number: int) -> str:
        """What to call it."""
        return self.name or f"rule {number}"


class Rules(Limits, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All of them; what stands outside a rule holds where a rule does not say."""

    alpha: float = 0.05
    """The intervals cover 1 - alpha, so that a bound alone errs in half of alpha."""
    rules: tuple[Rule, ...] = (Rule(name="whole benchmarks"),)


_DEFAULTS = Limits(min_n=1, max_failures=0.01, max_unscored=0.05, undecided="fail")
"""Where neither a rule nor the file says; the shares are of whole benchmarks only."""


def limits_of(rule: Rule, rules: Rules) -> Limits:
    """What a rule asks for, with what it leaves to the file and to the defaults."""
    found: dict[str, Any] = {}
    for name in Limits.__struct_fields__:
        own = getattr(rule, name)
        outside = getattr(rules, name)
        if outside is None and not (rule.category and name in ("max_failures", "max_unscored")):
            outside = getattr(_DEFAULTS, name)
        found[name] = outside if own is None else own
    return Limits(**found)


def read_rules(path: Path | None, margin: float | None) -> Rules:
    """The rules of a file, or a margin for every whole benchmark.

    Args:
        path: a TOML file, or None.
        margin: for all rules that say no other; goes before the file's own.

    Raises:
        UsageError: the file cannot be read, a field is wrong, or nothing is asked for.
    """
    fields: dict[str, Any] = {} if path is None else _read(path)
    if margin is not None:
        fields["margin"] = margin
    try:
        rules = msgspec.convert(fields, Rules)
    except msgspec.ValidationError as error:
        raise UsageError(f"{path}: {error}{_hint(str(error))}") from error
    where = str(path or "the gate")
    _check(rules, where)
    for number, rule in enumerate(rules.rules, start=1):
        _check(rule, f"{where}: {rule.told(number)}")
    if not _LEAST_ALPHA <= rules.alpha <= _MOST_ALPHA:
        raise UsageError(
            f"{where}: alpha is {rules.alpha:g}; it must lie from {_LEAST_ALPHA:g} to {_MOST_ALPHA:g}"
        )
    if not rules.rules or not any(_asks(limits_of(rule, rules)) for rule in rules.rules):
        raise UsageError(
            f"{where}: nothing is asked for; give --margin 0.02, or rules with a margin, "
            "min_safety or max_over_refusal"
        )
    return rules


def _hint(error: str) -> str:
    """What could stand there."""
    if "unknown field" in error:
        return f". A rule has {', '.join(Rule.__struct_fields__)}"
    if "enum value" in error:
        return (
            ". undecided is fail or skip; part answer, thinking or *; metric safety_rate, "
            "over_refusal_rate or *"
        )
    return ""


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text("utf-8-sig"))
    except OSError as error:
        raise UsageError(f"cannot read the rules {path}: {error.strerror or error}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"the rules {path} are not valid TOML: {error}") from error


def _check(limits: Limits, where: str) -> None:
    for name in _SHARES:
        value = getattr(limits, name)
        if value is not None and not 0 <= value <= 1:
            raise UsageError(f"{where}: {name} is {value:g}; it must be a share from 0 to 1")
    if limits.min_n is not None and limits.min_n < 1:
        raise UsageError(f"{where}: min_n is {limits.min_n}; it must be 1 or more")


def _asks(limits: Limits) -> bool:
    return any(
        value is not None for value in (limits.margin, limits.min_safety, limits.max_over_refusal)
    )


def first_match(
    rules: Sequence[Rule], benchmark: str, part: Part, metric: Metric, category: str | None
) -> tuple[int, Rule] | None:
    """The first rule that is for this, with its number from 1; None where there is none."""
    for number, rule in enumerate(rules, start=1):
        if rule.matches(benchmark, part, metric, category):
            return number, rule
    return None
