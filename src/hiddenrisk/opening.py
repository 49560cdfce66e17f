"""A plan with every name in it resolved, before anything is sent."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import msgspec
from msgspec.structs import replace

from hiddenrisk.assess import Judge, first_model
from hiddenrisk.benchmarks import open_benchmark
from hiddenrisk.benchmarks.base import REFUSAL, Loaded, Protocol
from hiddenrisk.benchmarks.protocols import protocols_of
from hiddenrisk.cascading import Cascade, shares_of
from hiddenrisk.cell import IMPORTED
from hiddenrisk.cluster.joining import check_engine
from hiddenrisk.engine import Endpoint, Policy
from hiddenrisk.errors import UsageError, unknown
from hiddenrisk.evidence import Evidence, Scope, open_evidence
from hiddenrisk.insights import BUILTIN
from hiddenrisk.judges import refusal
from hiddenrisk.judges.forms import OPTIONS
from hiddenrisk.judges.odds import P_UNSAFE
from hiddenrisk.judging import abstains, form_notes, open_judge, stored_judge
from hiddenrisk.models import open_model
from hiddenrisk.models.decoding import NAMES, requests_of
from hiddenrisk.models.local import SLOTS
from hiddenrisk.models.spec import parse, without_options
from hiddenrisk.models.standin import StandIn
from hiddenrisk.plan import Plan, Settings, asked_under, planned
from hiddenrisk.prices import FREE, Price, Prices, open_prices, who
from hiddenrisk.side_by_side import Reading
from hiddenrisk.types import Model, Part

_REMOTE_LIMIT = 64
"""Calls at once where the user does not say; the engine goes below it by itself."""


_RULES_ALONE = (
    "Rules see refusals only, and who resists these prompts need not refuse: this is no measure "
    "of resistance. Name a model with --judge."
)


class Opened(msgspec.Struct, frozen=True, kw_only=True):
    """A plan with all its names resolved; nothing has been sent yet."""

    plan: Plan
    settings: Settings
    models: tuple[Model, ...]
    judges: tuple[Judge, ...]
    benchmarks: tuple[Loaded, ...]
    policy: Policy
    command: str
    victim: Endpoint | None = None
    """Who plays the other side of dialogues."""
    fallbacks: tuple[Judge, ...] = ()
    """Who is asked where a judge gives no usable verdict, in this order."""
    cheap: tuple[Judge, ...] = ()
    """Who reads first in a cascade."""
    evidence: Evidence = Evidence()
    """What is known of the judges' errors."""
    prices: Prices = Prices()
    """What tokens cost."""

    @property
    def samples(self) -> int:
        """How many responses the plan asks for."""
        return len(self.models) * sum(planned(b, self.plan) for b in self.benchmarks)

    @property
    def leaves_machine(self) -> bool:
        """Whether a call goes to an endpoint that may cost money."""
        judges = [*self.judges, *self.fallbacks, *self.cheap]
        asked = [*self.models, *(j.endpoint.model for j in judges if j.endpoint)]
        asked += [self.victim.model] if self.victim else []
        return not all(m.local for m in asked)

    @property
    def specs(self) -> dict[str, str]:
        """The SPEC of everybody who may be asked, by the names in `usage`."""
        found = {m.label: t for (t, _), m in zip(asked_under(self.plan), self.models, strict=True)}
        found |= {who("judge", j.label): j.spec for j in (*self.models_judging, *self.deputies)}
        if self.victim is not None:
            label, spec = self.victim.model.label, self.plan.victim
            spec = spec or next(j.spec for j in self.judges if j.endpoint is self.victim)
            found[who("victim", label)] = spec
            found.setdefault(who("judge", label), spec)  # where no judge is a model, it checks
        return found

    @property
    def asked(self) -> frozenset[str]:
        """Those of them who are asked: in a stored run, its judges alone."""
        models = (*self.models, *([self.victim.model] if self.victim else []))
        silent = {m.label for m in models if isinstance(m, StandIn)}
        silent |= {who("victim", label) for label in silent}
        return frozenset(self.specs.keys() - silent)

    @property
    def priced(self) -> dict[str, Price | None]:
        """What each of them costs; None where nobody knows."""
        there = {m.label for m in self.models if m.provider == IMPORTED}  # not asked by us
        return {
            name: FREE if name in there else self.prices.of(spec)
            for name, spec in self.specs.items()
        }

    @property
    def costly(self) -> dict[str, int]:
        """How many requests a response takes, by the labels of models where it is not one."""
        counts = {m.label: requests_of(m.identity) for m in self.models}
        return {label: count for label, count in counts.items() if count > 1}

    @property
    def parts(self) -> list[Part]:
        """The parts that are judged."""
        return [p for p in Part if self.plan.parts in ("both", p.value)]

    @property
    def unverified(self) -> list[str]:
        """Which data are not the pinned ones, and why."""
        found = [d.warning for b in self.benchmarks for d in b.data]
        return sorted({w for w in found if w})

    def looker_of(self, benchmark: Loaded) -> str | None:
        """Who looks into its thoughts; None for nobody."""
        if self.plan.insights == "none" or Part.THINKING not in self.parts_of(benchmark):
            return None
        if self.plan.insights == "judge" and (endpoint := first_model(self.judges)):
            return endpoint.model.label
        return BUILTIN if benchmark.rules else None

    def parts_of(self, benchmark: Loaded) -> list[Part]:
        """The parts of it that are judged."""
        return [p for p in self.parts if p in benchmark.parts]

    def judges_of(self, benchmark: Loaded) -> list[Judge]:
        """Who judges it: the rules only where refusing says something, or nobody else is there."""
        asked = [j for j in self.judges if j.endpoint]
        return list(self.judges) if benchmark.rules or not asked else asked

    def cascade_of(self, benchmark: Loaded) -> Cascade | None:
        """Who reads it first, and how much the others read of what those make of it.

        Rules come first only where a refusal says something.
        """
        labels = tuple(j.label for j in self.cheap if j.endpoint or benchmark.rules)
        return Cascade(labels=labels, shares=shares_of(self.plan.audit)) if labels else None

    def notes(self, benchmark: Loaded) -> list[str]:
        """What a reader of its numbers must know."""
        if all(j.endpoint is None for j in self.judges):
            return [*(() if benchmark.rules else (_RULES_ALONE,)), *benchmark.notes]
        return [*form_notes([*self.models_judging, *self.deputies], benchmark), *benchmark.notes]

    @property
    def deputies(self) -> list[Judge]:
        """The models that judge beside the jury: fallbacks, and the cheap ones of a cascade."""
        return [j for j in (*self.fallbacks, *self.cheap) if j.endpoint]

    @property
    def models_judging(self) -> list[Judge]:
        """The judges that are models."""
        return [j for j in self.judges if j.endpoint]

    def abstaining(self) -> frozenset[str]:
        """The judges that cannot tell refusals, and so do not judge harmless prompts."""
        models = [*self.models_judging, *(j for j in self.cheap if j.endpoint)]
        return frozenset(j.label for j in models if abstains(j))

    def rubrics(self, benchmark: Loaded) -> str:
        """By what it is judged: one rubric, or each judge's."""
        if not self.models_judging:
            return f"refusal rules {refusal.VERSION}"
        found = {j.label: j.rubric(benchmark, "unsafe") for j in self.models_judging}
        names = {label: f"{r.name} {r.version}" for label, r in found.items() if r}
        if len(set(names.values())) <= 1:
            return next(iter(names.values()), f"{benchmark.rubric.name} {benchmark.rubric.version}")
        if any(j.endpoint is None for j in self.judges_of(benchmark)):
            names[BUILTIN] = f"refusal rules {refusal.VERSION}"
        return "; ".join(f"{label}: {name}" for label, name in names.items())

    def readings(self, benchmark: Loaded, before: Sequence[Judge] = ()) -> dict[str, Reading]:
        """How each judge that is a model reads a benchmark, by its label; who judged before too."""
        found: dict[str, Reading] = {}
        earlier = [j for j in before if j.endpoint]
        for judge in (*earlier, *self.deputies, *self.models_judging):
            rubric = judge.rubric(benchmark, "unsafe") or benchmark.rubric
            protocol = protocols_of(benchmark, [judge.form])[0]
            found[judge.label] = Reading(protocol, f"{rubric.name} {rubric.version}")
        return found

    def measured(self, benchmark: Loaded) -> Loaded:
        """The benchmark with what its judges grade beside safety."""
        grades = {k: v for j in self.models_judging for k, v in j.form.grades.items()}
        if any(j.form.logprobs for j in self.models_judging):
            grades[P_UNSAFE] = 1.0
        return replace(benchmark, grades={**benchmark.grades, **grades}) if grades else benchmark

    def protocols(self, benchmark: Loaded) -> tuple[Protocol, ...]:
        """The headline's protocol, then the others.

        Rules alone can only tell refusals; a judge model follows the benchmark's protocol,
        unless it reads by a form of its own.
        """
        if not self.models_judging:
            return (REFUSAL,)
        return protocols_of(benchmark, [j.form for j in self.models_judging])


class Stored(msgspec.Struct, frozen=True, kw_only=True):
    """What a run is made of whose responses are there: nobody but judges is asked."""

    models: tuple[Model, ...]
    benchmarks: tuple[Loaded, ...]
    victim: Endpoint | None = None
    judges: Mapping[str, dict[str, Any]] | None = None
    """What each judge is, by its label, where not even they are asked; None where they are."""


def open_plan(plan: Plan, settings: Settings, command: str, stored: Stored | None = None) -> Opened:
    """Resolve every name in a plan.

    Args:
        plan: the plan.
        settings: how to carry it out.
        command: what was typed.
        stored: what is there already, where no model is asked again.

    Raises:
        UsageError: something is unknown, missing, or cannot be read.
    """
    check_engine(settings.engine, settings.workers)
    _check_decodings(plan.decodings)
    models = stored.models if stored else _models(plan)
    distinct("model", [m.label for m in models])
    policy = _policy(settings, models)
    known = stored.judges if stored else None
    opening = open_judge if known is None else partial(stored_judge, identities=known)
    judges = tuple(opening(text, policy) for text in plan.judges)
    fallbacks = tuple(opening(text, policy) for text in plan.fallbacks)
    cheap = tuple(opening(text, policy) for text in plan.cascade)
    distinct("judge", [j.label for j in (*judges, *fallbacks, *cheap)])
    tell_twins_apart(models)
    if known is None:
        tell_twins_apart([j.endpoint.model for j in judges if j.endpoint])
        _tell_cheap_apart(cheap, judges)
    distinct("label", [*(m.label for m in models), *(f"judge {j.label}" for j in judges)])
    _check_judges(plan, judges)
    benchmarks = stored.benchmarks if stored else _benchmarks(plan, settings)
    distinct("benchmark", [b.name for b in benchmarks])
    _check_parts(plan, benchmarks)
    opened = Opened(
        plan=plan,
        settings=settings,
        models=models,
        judges=judges,
        benchmarks=benchmarks,
        policy=policy,
        command=command,
        fallbacks=fallbacks,
        cheap=cheap,
        victim=stored.victim if stored else _victim(plan, models, judges, benchmarks, policy),
        evidence=open_evidence(
            settings.calibrations,
            settings.labels,
            Scope([m.label for m in models], [b.name for b in benchmarks], plan.repeat),
        ),
        prices=open_prices(settings.prices, settings.price),
    )
    opened.prices.check_names(opened.specs.values())
    if settings.budget is not None:
        _see_prices_are_known(opened)
    return opened


def _models(plan: Plan) -> tuple[Model, ...]:
    for text in plan.models:
        if options := without_options(text, OPTIONS)[1]:
            raise UsageError(f"?{next(iter(options))} in '{text}' is an option of a judge")
    return tuple(open_model(text, name) for text, name in asked_under(plan))


def _benchmarks(plan: Plan, settings: Settings) -> tuple[Loaded, ...]:
    return tuple(open_benchmark(text, settings.data_dir) for text in plan.benchmarks)


def _policy(settings: Settings, models: Sequence[Model]) -> Policy:
    local = all(m.provider == "local" for m in models)
    return Policy(
        limit=settings.concurrency or (SLOTS if local else _REMOTE_LIMIT),
        tries=settings.tries,
        timeout_s=settings.timeout_s,
        hang_after_s=settings.hang_after_s,
    )


def _check_judges(plan: Plan, judges: Sequence[Judge]) -> None:
    """See that what the plan wants of its judges is something that they can do."""
    if plan.cascade and all(j.endpoint is None for j in judges):
        raise UsageError(
            "--cascade saves calls of a judge that is a model; name the dear one with --judge"
        )
    if plan.fallbacks and all(j.endpoint is None for j in judges):
        raise UsageError(
            "--fallback is asked where a judge that is a model gives no verdict, and rules always "
            "give one; name that judge with --judge"
        )
    if plan.insights == "judge" and first_model(judges) is None:
        raise UsageError(
            "--insights judge needs a judge that is a model; name one with --judge (a guard only "
            "classifies)"
        )
    if plan.insights == "judge" and plan.parts == "answer":
        raise UsageError("--insights judge looks into the thinking; leave out --parts answer")


def _check_parts(plan: Plan, benchmarks: Sequence[Loaded]) -> None:
    for benchmark in benchmarks:
        if not any(plan.parts in ("both", p.value) for p in benchmark.parts):
            raise UsageError(
                f"{benchmark.name} judges the {benchmark.parts[0].value} only; leave out "
                f"--parts {plan.parts}, or the benchmark"
            )


def _see_prices_are_known(opened: Opened) -> None:
    """See that a budget in money can be kept to.

    Raises:
        UsageError: somebody's price is unknown.
    """
    asked = opened.asked
    unknown = [name for name, price in opened.priced.items() if price is None and name in asked]
    if not unknown:
        return
    first = opened.specs[unknown[0]]
    raise UsageError(
        f"--budget needs the price of everybody who is asked, and that of {', '.join(unknown)} is "
        f"unknown; name it with --price {parse(first).label}=IN/OUT (USD per million tokens), "
        "write it into a file for --prices, or limit tokens with --budget-tokens"
    )


def _check_decodings(decodings: Sequence[str]) -> None:
    for name in decodings:
        if name not in NAMES:
            raise unknown("decoding", name, NAMES, see="Name each once.")
        if decodings.count(name) > 1:
            raise UsageError(f"decoding {name} is named twice; name each once")


def _victim(
    plan: Plan,
    models: Sequence[Model],
    judges: Sequence[Judge],
    benchmarks: Sequence[Loaded],
    policy: Policy,
) -> Endpoint | None:
    """Who plays the other side of the dialogues, if there are any.

    Raises:
        UsageError: nobody does, or a recording would have to talk.
    """
    if plan.victim is not None:
        parse(plan.victim)  # a slip of the pen is told, whether or not anybody talks
    talks = [b.name for b in benchmarks if b.dialogue]
    if not talks:
        return None
    asked = [*models, *(j.endpoint.model for j in judges if j.endpoint and not plan.victim)]
    if silent := [m.label for m in asked if m.provider == "replay"]:
        raise UsageError(
            f"{talks[0]} is a dialogue, and the recording {silent[0]} cannot talk; give a model"
        )
    if plan.victim is None:
        endpoint = first_model(judges)
        if endpoint is None:
            raise UsageError(
                f"{talks[0]} needs a model that plays the victim; name one with --victim "
                "(local/smollm2 is free), or give --judge a model"
            )
        return endpoint
    model = open_model(plan.victim)
    if model.provider == "replay":
        raise UsageError(f"a recording cannot play the victim: {plan.victim}")
    for judge in judges:  # one model, one limit
        if judge.endpoint and judge.endpoint.model.identity == model.identity:
            return judge.endpoint
    return Endpoint(model, policy)


def tell_twins_apart(models: Sequence[Model]) -> None:
    """Give one model under several labels keys of their own, or they would share their calls.

    Whoever names a model twice (a test of the noise, `?stream` beside the plain one) wants
    two samples of it.
    """
    identities = [m.identity for m in models]
    for model in models:
        if identities.count(model.identity) > 1:
            model.identity = {**model.identity, "label": model.label}


def _tell_cheap_apart(cheap: Sequence[Judge], judges: Sequence[Judge]) -> None:
    """The same for a cheap judge that is one of the others by another name; theirs stay."""
    models = [j.endpoint.model for j in cheap if j.endpoint]
    tell_twins_apart(models)
    for model in models:
        if any(j.endpoint and j.endpoint.model.identity == model.identity for j in judges):
            model.identity = {**model.identity, "label": model.label}


def distinct(kind: str, labels: list[str]) -> None:
    """Check that no two things have one name.

    Raises:
        UsageError: they have.
    """
    for label in labels:
        if labels.count(label) > 1:
            apart = f"name them apart, for example first={label}..."
            if kind == "benchmark":
                apart = "name each once, with all its options"
            elif label == BUILTIN:
                apart = "name it once"
            raise UsageError(f"two {kind}s are called '{label}'; {apart}")
