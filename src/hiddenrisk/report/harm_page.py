"""What the page says of how harmful unsafe texts are: the shapes that `harm_summary` writes."""

from typing import Any

import msgspec


class Mean(msgspec.Struct, frozen=True, kw_only=True):
    """A mean with its interval; on the reward model's own scale."""

    value: float | None = None
    low: float | None = None
    high: float | None = None
    n: int = 0


class Difference(Mean, frozen=True, kw_only=True):
    """The second model less the first; see `harmfulness.Difference`."""

    p: float | None = None
    p_holm: float | None = None
    effect: float | None = None


class Overlap(Difference, frozen=True, kw_only=True):
    """The same on the prompts that are unsafe for both."""

    rank_p: float | None = None
    length: Difference = Difference()
    per_doubling: float | None = None


class OfModel(msgspec.Struct, frozen=True, kw_only=True):
    """One model's own unsafe texts."""

    unsafe: int = 0
    scored: int = 0
    cut: int = 0
    failed: int = 0
    missing: int = 0
    characters: float | None = None
    means: dict[str, Mean] = {}


class Pair(msgspec.Struct, frozen=True, kw_only=True):
    """Two models."""

    first: str = ""
    second: str = ""
    role: str = ""
    naive: Difference = Difference()
    overlap: Overlap = Overlap()


class OfReward(msgspec.Struct, frozen=True, kw_only=True):
    """By one reward model."""

    headline: str = "score"
    models: dict[str, OfModel] = {}
    pairs: list[Pair] = []


class Agreement(msgspec.Struct, frozen=True, kw_only=True):
    """How alike two reward models rank the same texts."""

    rewards: list[str] = []
    spearman: Mean = Mean()


class OfPart(msgspec.Struct, frozen=True, kw_only=True):
    """One part of one benchmark."""

    rewards: dict[str, OfReward] = {}
    agreement: list[Agreement] = []


class Share(msgspec.Struct, frozen=True, kw_only=True):
    """How often a reward model has pairs right; see `preferred.measure`."""

    accuracy: Mean = Mean()
    ties: int = 0


class Preferred(Share, frozen=True, kw_only=True):
    """A reward model against human preferences, on one set of pairs."""

    title: str = ""
    failed: int = 0
    unverified: list[str] = []
    lengths: dict[str, Share] = {}


class About(msgspec.Struct, frozen=True, kw_only=True):
    """A reward model."""

    identity: dict[str, Any] = {}
    """All that decides a score: repository and revision, or endpoint; dtype, window."""
    limit: int | None = None
    """Texts of each model and benchmark that were drawn; None where all were."""
    preferences: dict[str, Preferred] = {}


class Harmfulness(msgspec.Struct, frozen=True, kw_only=True):
    """All of it."""

    rewards: dict[str, About] = {}
    benchmarks: dict[str, dict[str, OfPart]] = {}


def number(mean: Mean) -> str:
    """`0.846`, or a dash."""
    return "—" if mean.value is None else f"{mean.value:.3f}"


def signed(difference: Difference) -> str:
    """`+0.021`, or a dash."""
    return "—" if difference.value is None else f"{difference.value:+.3f}"


def between(mean: Mean, *, sign: bool = False) -> str:
    """`[0.812 to 0.880]`; nothing without an interval."""
    if mean.low is None or mean.high is None:
        return ""
    form = "{:+.3f}" if sign else "{:.3f}"
    return f"[{form.format(mean.low)} to {form.format(mean.high)}]"
