"""What a person asks for: a plan (it decides the results) and settings (they do not)."""

import hashlib
import heapq
import random
import tomllib
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

import msgspec

from hiddenrisk.benchmarks.base import Loaded
from hiddenrisk.cascading import Audit, cheap_of, shares_of
from hiddenrisk.errors import UsageError
from hiddenrisk.jury import Rule
from hiddenrisk.types import Prompt

_MOST = 10**9
SHIPPED = ("paper",)
"""Plans that come with the package, by name."""
PLAIN = "default"
"""The decoding strategy that is none."""
AUDIT = 0.1
"""Of what the cheap judges are sure of; all that they are unsure of is read."""
DEFAULT_MODEL, DEFAULT_JUDGE, DEFAULT_BENCHMARK = "local/smollm2?think", "builtin", "starter"


class Pair(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A model and what was made of it, by their labels. Compared, never mixed."""

    base: str
    distilled: str | None = None
    """What was distilled into the base."""
    reasoning: str | None = None
    """The base after training to reason."""


class Plan(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything that decides the results of a run. The fields of a PLAN.toml."""

    models: tuple[str, ...] = (DEFAULT_MODEL,)
    judges: tuple[str, ...] = (DEFAULT_JUDGE,)
    jury: Rule = "majority"
    """How several judges decide."""
    fallbacks: tuple[str, ...] = ()
    """Judges that are asked, in this order, where one gives no usable verdict."""
    cascade: tuple[str, ...] = ()
    """Cheap judges that read everything first; the others read where these are unsure."""
    audit: Audit = AUDIT
    """How much the others read of what the cheap judges are sure of; or of what those call
    safe, are unsure of, and call unsafe."""
    benchmarks: tuple[str, ...] = (DEFAULT_BENCHMARK,)
    decodings: tuple[str, ...] = ()
    """Strategies under which every model is asked, each as a model of its own; "default" is
    the plain one, and so is none at all."""
    limit: int | None = None
    """Prompts per benchmark, drawn all over it, always the same; None for all."""
    repeat: int = 1
    """How often each prompt is asked."""
    max_tokens: int | None = None
    temperature: float | None = None
    parts: Literal["both", "answer", "thinking"] = "both"
    insights: Literal["builtin", "judge", "none"] = "builtin"
    """Who looks into thoughts for what they notice and intend, and where they turn unsafe:
    rules, the first judge that is a model, or nobody."""
    profiles: int = 100
    """Of each model and benchmark, so many thoughts are looked at segment by segment."""
    victim: str | None = None
    """Who plays the other side of a dialogue; None for the first judge that is a model."""
    reference: str | None = None
    """Label of the model that the others are held against."""
    pairs: tuple[Pair, ...] = ()
    """Which model was made from which."""


PANEL = ("judges", "jury", "fallbacks", "cascade", "audit", "parts", "insights")
"""The fields of a plan that say who judges, and what; a stored run can be judged by others."""


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """How a run is carried out; may differ when it is resumed."""

    concurrency: int | None = None
    """Calls at once and endpoint, at most; None for 64, or 8 on the embedded model."""
    max_failures: float = 0.01
    """Share of samples that may fail before the exit code is 1, in [0, 1]."""
    timeout_s: float = 600.0
    hang_after_s: float = 15.0
    tries: int = 10
    engine: str = "local"
    """Where calls are made: "local", "ray", or "ray://HOST:PORT"."""
    workers: int | None = None
    """Of a cluster; None for what it has room for."""
    data_dir: Path | None = None
    calibrations: tuple[str, ...] = ()
    """Calibration files, or their folders: rates are corrected by them."""
    labels: str | None = None
    """A file of human labels for responses of the run."""
    budget: float | None = None
    """USD that the run may take, all parts of it together; None for no limit."""
    budget_tokens: int | None = None
    """The same in tokens, in and out."""
    prices: tuple[str, ...] = ()
    """Price files; see `prices.open_prices`."""
    price: tuple[str, ...] = ()
    """Single prices, `WHO=IN/OUT`."""


def read_toml(path: Path) -> dict[str, Any]:
    """The fields of a plan file, or of a plan that ships with the package (`paper`).

    Raises:
        UsageError: it cannot be read, or holds something that a plan does not have.
    """
    shipped = files("hiddenrisk.plans").joinpath(f"{path}.toml")
    try:
        if str(path) in SHIPPED and not path.is_file():
            return tomllib.loads(shipped.read_text("utf-8"))
        fields = tomllib.loads(path.read_text("utf-8-sig"))
    except OSError as error:
        known = f"; plans that come with hiddenrisk: {', '.join(SHIPPED)}"
        raise UsageError(
            f"cannot read the plan {path}: {error.strerror or error}{'' if path.suffix else known}"
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"the plan {path} is not valid TOML: {error}") from error
    check(fields, str(path))
    return fields


def check(fields: dict[str, Any], where: str = "the plan") -> Plan:
    """A plan from its fields.

    Raises:
        UsageError: a field is unknown, of a wrong type, or out of range.
    """
    try:
        plan = plan_from(fields)
    except msgspec.ValidationError as error:
        fields_known = f". A plan has {', '.join(Plan.__struct_fields__)}"
        raise UsageError(
            f"{where}: {error}{fields_known if 'unknown field' in str(error) else ''}"
        ) from error
    for name, least in (
        ("limit", 1),
        ("repeat", 1),
        ("max_tokens", 1),
        ("temperature", 0),
        ("profiles", 0),
    ):
        value = getattr(plan, name)
        if value is not None and not least <= value <= _MOST:
            raise UsageError(f"{where}: {name} is {value}; it must be in {least}..{_MOST}")
    for name in ("models", "judges", "benchmarks"):
        if not getattr(plan, name):
            raise UsageError(f"{where}: {name} is empty; name at least one")
    _check_audit(plan, where)
    for pair in plan.pairs:
        if (pair.distilled is None) == (pair.reasoning is None):
            raise UsageError(f"{where}: a pair has a base and either distilled or reasoning")
    return plan


def plan_from(fields: dict[str, Any]) -> Plan:
    """A plan from its fields, not checked; an older one names one cheap judge, or none.

    Raises:
        msgspec.ValidationError: a field is unknown, or of a wrong type.
    """
    cascade = fields.get("cascade", ())
    if cascade is None or isinstance(cascade, str):
        fields = {**fields, "cascade": cheap_of(cascade)}
    return msgspec.convert(fields, Plan)


def _check_audit(plan: Plan, where: str) -> None:
    audit = plan.audit
    try:
        shares_of(audit)
    except ValueError as error:
        said = "/".join(f"{s:g}" for s in (audit if isinstance(audit, tuple) else (audit,)))
        each = "each share" if isinstance(audit, tuple) else "it"
        raise UsageError(
            f"{where}: audit is {said}; {each} must be above 0 (what is never read twice tells "
            "nothing of the cheap judge's errors) and at most 1"
        ) from error
    if audit != AUDIT and not plan.cascade:
        raise UsageError(f"{where}: audit needs a cascade; name its cheap judge with --cascade")


def asked_under(plan: Plan) -> list[tuple[str, str]]:
    """Each model's SPEC with each decoding strategy, in the order in which they are opened."""
    return [(spec, name) for spec in plan.models for name in plan.decodings or (PLAIN,)]


def selected(benchmark: Loaded, plan: Plan) -> Iterator[tuple[Prompt, int]]:
    """The prompts to ask, with the repeat index: all, or `limit` spread over the benchmark."""
    total, wanted = len(benchmark.prompts), _asked(benchmark, plan)
    for repeat in range(plan.repeat):
        if wanted == total:
            yield from ((prompt, repeat) for prompt in benchmark.prompts)
            continue
        places = _spread(wanted, total)
        place = next(places, None)
        for index, prompt in enumerate(benchmark.prompts):
            if index == place:
                yield prompt, repeat
                place = next(places, None)


def profiled(benchmark: Loaded, plan: Plan) -> frozenset[tuple[str, int]]:
    """The samples whose thoughts are looked at segment by segment: (prompt, repeat).

    Those with the smallest digests, so that a larger sample holds the smaller one.
    """
    if plan.insights == "none" or not plan.profiles:
        return frozenset()
    harmful = ((p.id, r) for p, r in selected(benchmark, plan) if p.label == "unsafe")
    return frozenset(heapq.nsmallest(plan.profiles, harmful, key=_drawn))


def _drawn(sample: tuple[str, int]) -> bytes:
    return hashlib.blake2b(repr(sample).encode("utf-8", "replace"), digest_size=8).digest()


def _spread(wanted: int, total: int) -> Iterator[int]:
    """`wanted` places out of `total`, one in each stretch of equal length, always the same.

    Where in its stretch a place lies is drawn (with a fixed seed): benchmarks are sorted,
    and a fixed step falls into step with them. In the starter suite every sixth prompt is
    a harmless one.
    """
    dice, last = random.Random(f"{wanted} of {total}"), -1  # noqa: S311 - repeatable on purpose
    for number in range(wanted):
        place = int((number + dice.random()) * total / wanted)
        last = min(max(place, last + 1), total - (wanted - number))
        yield last


def planned(benchmark: Loaded, plan: Plan) -> int:
    """Samples of one model on one benchmark."""
    return _asked(benchmark, plan) * plan.repeat


def _asked(benchmark: Loaded, plan: Plan) -> int:
    """How many prompts are asked: the plan's limit or the benchmark's own, the smaller one."""
    total = len(benchmark.prompts)
    return min(plan.limit or total, benchmark.limit or total, total)
