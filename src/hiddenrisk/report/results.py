"""summary.json as the page reads it: shapes of what stands there; what is missing reads as empty."""

from typing import Any

import msgspec

from hiddenrisk.report.conclusions import Comparison, Finding
from hiddenrisk.report.harm_page import Harmfulness
from hiddenrisk.report.judge_page import (
    Agreement,
    Cascaded,
    Deputies,
    OverRefusal,
    advised_for_all,
    judged_by,
)


class Rate(msgspec.Struct, frozen=True, kw_only=True):
    """A number as summary.json has it; value None where there is nothing to estimate."""

    value: float | None = None
    low: float | None = None
    high: float | None = None
    n: int = 0


class Grade(Rate, frozen=True, kw_only=True):
    """A mean grade, from 0 to `of`; higher is more skilled (or more harmful)."""

    of: float = 1.0


class WhatIf(msgspec.Struct, frozen=True, kw_only=True):
    """The safety rate if one outcome alone were counted otherwise; see `stats.WhatIf`."""

    n: int = 0
    safe: float | None = None
    unsafe: float | None = None
    excluded: float | None = None


class Errors(msgspec.Struct, frozen=True, kw_only=True):
    """How often the judge errs, on which labelled texts."""

    judge: str = ""
    set: str = ""
    n: int = 0
    sensitivity: Rate = Rate()
    specificity: Rate = Rate()


class CorrectedRate(Rate, frozen=True, kw_only=True):
    """A safety rate corrected for the judge's errors; see `corrected.py`."""

    method: str = ""
    raw: Rate = Rate()
    calibration: Errors | None = None
    labelled: int = 0
    note: str = ""


class PartSummary(msgspec.Struct, frozen=True, kw_only=True):
    """What was measured in one part (answer or thinking)."""

    safety_rate: Rate | None = None
    band: Rate | None = None
    """The rate with all uncounted responses counted unsafe (low) and safe (high)."""
    outcomes: dict[str, int] = {}
    scores: dict[str, Rate | None] = {}
    sensitivity: dict[str, WhatIf] = {}
    agreement: dict[str, Agreement] = {}
    cascade: Cascaded | None = None
    cascade_over_refusal: OverRefusal | None = None
    fallbacks: dict[str, dict[str, int]] = {}
    by_human: int = 0
    corrected: CorrectedRate | None = None
    corrected_over_refusal: CorrectedRate | None = None

    @property
    def corrections(self) -> list[tuple[str, Rate | None, CorrectedRate]]:
        """What rates were to be corrected: what of, as the judge has it, and corrected."""
        over = self.scores.get("over_refusal_rate")
        found = (
            ("safety", self.safety_rate, self.corrected),
            ("over-refusal", over, self.corrected_over_refusal),
        )
        return [(what, raw, rate) for what, raw, rate in found if rate]


class Contrast(msgspec.Struct, frozen=True, kw_only=True):
    """Thinking against answer, sample by sample; see `contrast.Contrast`."""

    both_safe: int = 0
    both_unsafe: int = 0
    only_answer_safe: int = 0
    only_thinking_safe: int = 0
    unclear: int = 0
    n: int = 0
    p: float | None = None


class Funnel(msgspec.Struct, frozen=True, kw_only=True):
    """How far safety thinking goes; see `funnel.Funnel`."""

    n: int = 0
    risk_noticed: int = 0
    refusal_intended: int = 0
    answer_safe: int = 0
    answers_safe: int = 0
    unsafe_when_noticed: Rate = Rate()
    unsafe_when_intended: Rate = Rate()
    unsafe_when_unnoticed: Rate = Rate()
    looked: int = 0
    noticing: Rate = Rate()
    intending: Rate = Rate()
    categories: dict[str, "Funnel"] = {}
    views: dict[str, dict[str, "Funnel"]] = {}


class Positions(msgspec.Struct, frozen=True, kw_only=True):
    """Where thoughts turn unsafe; see `positions.Positions`."""

    n: int = 0
    segments: int = 0
    unsafe: Rate = Rate()
    first: Rate = Rate()
    unsafe_share: list[float | None] = []
    failed: int = 0
    by_answer: dict[str, "Positions"] = {}


class Insights(msgspec.Struct, frozen=True, kw_only=True):
    """What the thoughts tell beside whether they are safe."""

    judge: str = ""
    same_rules: bool = False
    """The same rules gave the verdicts."""
    failed: int = 0
    missing: int = 0
    funnel: Funnel = Funnel()
    positions: Positions | None = None


class Alone(msgspec.Struct, frozen=True, kw_only=True):
    """What one judge alone makes of the samples; see `side_by_side`."""

    protocol: str = ""
    rubric: str = ""
    parts: dict[str, Rate] = {}
    over_refusal: dict[str, Rate] = {}
    scored: int = 0
    failed: int = 0


class PairAgreement(msgspec.Struct, frozen=True, kw_only=True):
    """How often two judges count a part the same, of the `n` that both scored."""

    judges: list[str] = []
    part: str = ""
    n: int = 0
    share: float | None = None


class Results(msgspec.Struct, frozen=True, kw_only=True):
    """One model on one benchmark, or on one category of it (then without what follows parts)."""

    n: int = 0
    outcomes: dict[str, int] = {}
    parts: dict[str, PartSummary | None] = {}
    title: str = ""
    protocol: str = ""
    about: str = ""
    rubric: str = ""
    judges: list[str] = []
    jury: str = "majority"
    categories: dict[str, "Results"] = {}
    views: dict[str, dict[str, "Results"]] = {}
    """Other groupings than the categories: by axis, then by value."""
    by_judge: dict[str, Alone] = {}
    judge_agreement: list[PairAgreement] = []
    judge_failures: dict[str, int] = {}
    """Samples on which each judge failed, enough as the others may have been."""
    contrast: Contrast | None = None
    insights: Insights | None = None
    grades: dict[str, Grade] = {}
    facts: dict[str, dict[str, int]] = {}
    """What dialogues found out: {name: {value: how often}}."""
    protocols: dict[str, dict[str, Rate | None]] = {}
    notes: list[str] = []

    @property
    def judged_by(self) -> str:
        """Who gave the verdicts."""
        parts = [p for p in self.parts.values() if p]
        first = next((" + ".join(p.cascade.by) for p in parts if p.cascade), None)
        deputies = [Deputies(fallbacks=p.fallbacks, by_human=p.by_human) for p in parts]
        return judged_by(self.judges, self.jury, first, deputies)

    @property
    def several(self) -> bool:
        """Whether there is anything to say of how its judges got on."""
        parts = [p for p in self.parts.values() if p]
        return any(p.agreement or p.fallbacks or p.by_human or p.cascade for p in parts)

    @property
    def advised(self) -> str | None:
        """Which --audit is enough for all its parts, where they are advised unlike."""
        return advised_for_all([p.cascade for p in self.parts.values() if p and p.cascade])

    @property
    def tells(self) -> bool:
        """Whether anything is known of its thinking beside how safe it is."""
        return bool((self.contrast and self.contrast.n) or self.insights)

    @property
    def corrects(self) -> bool:
        """Whether a rate of it was to be corrected for the judge's errors."""
        return any(part and part.corrections for part in self.parts.values())


class ModelSummary(msgspec.Struct, frozen=True, kw_only=True):
    """One model."""

    spec: str = ""
    provider: str = ""
    served_models: list[str | None] = []
    fingerprints: list[str | None] = []
    benchmarks: dict[str, Results] = {}


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """The parts of summary.json that the page shows; keys that are missing read as empty."""

    hiddenrisk: str = ""
    created: str = ""
    command: str = ""
    complete: bool = True
    unverified: list[str] = []
    judges: dict[str, dict[str, Any]] = {}
    victim: dict[str, str] | None = None
    models: dict[str, ModelSummary] = {}
    usage: dict[str, dict[str, Any]] = {}
    harmfulness: Harmfulness | None = None
    comparisons: list[Comparison] = []
    findings: list[Finding] = []


class Data(msgspec.Struct, frozen=True, kw_only=True):
    """A file of prompts."""

    name: str = ""
    licence: str | None = None
    sha256: str = ""
    verified: bool = False


class Measured(msgspec.Struct, frozen=True, kw_only=True):
    """A benchmark as it was asked."""

    digest: str = ""
    version: str = ""
    prompts: int = 0
    rubrics: list[str] = []
    limit: int | None = None


class Identity(msgspec.Struct, frozen=True, kw_only=True):
    """What decides the numbers of a run."""

    limit: int | None = None
    repeat: int = 1
    max_tokens: int | None = None
    temperature: float | None = None
    benchmarks: dict[str, Measured] = {}


class Environment(msgspec.Struct, frozen=True, kw_only=True):
    """Where it ran."""

    python: str = ""
    platform: str = ""
    packages: dict[str, str | None] = {}


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """The parts of run.json that the page shows."""

    digest: str = ""
    started: str = ""
    identity: Identity = Identity()
    protocols: dict[str, str] = {}
    data: list[Data] = []
    environment: Environment = Environment()
