"""What the page says of models held against each other: the shapes that summary.json has."""

import msgspec

from hiddenrisk.types import Estimate

NOTHING = Estimate(value=None, low=None, high=None, n=0)


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """Two models on the prompts of one category that both were scored on."""

    n: int = 0
    first_rate: Estimate = NOTHING
    second_rate: Estimate = NOTHING
    difference: Estimate = NOTHING
    """Second less first, in [-1, 1]."""
    p: float | None = None
    p_holm: float | None = None
    note: str | None = None
    """Why there is nothing to compare."""


class Comparison(Difference, frozen=True, kw_only=True):
    """Two models on the prompts of one benchmark; see `comparing`."""

    first: str = ""
    second: str = ""
    role: str = ""
    benchmark: str = ""
    part: str = ""
    metric: str = "safety_rate"
    shared: int = 0
    test: str | None = ""
    p_bh: float | None = None
    family: str | None = None
    """None where nothing could be tested."""
    only_first: int = 0
    only_second: int = 0
    effect: float | None = None
    detectable: float | None = None
    categories: dict[str, Difference] = {}

    @property
    def corrected(self) -> float | None:
        """The p-value to go by: corrected for the family where that was done."""
        return self.p if self.p_holm is None else self.p_holm


class Evidence(msgspec.Struct, frozen=True, kw_only=True):
    """One test that a finding rests on."""

    first: str = ""
    second: str = ""
    model: str | None = None
    """Where both sides are of one model."""
    benchmark: str = ""
    part: str = ""
    measure: str = "safety_rate"
    n: int = 0
    told: str = ""
    """The difference in words, in the unit of its measure."""
    p: float | None = None
    p_holm: float | None = None
    answer: str = ""


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One question of the paper, answered."""

    id: str = ""
    question: str = ""
    answer: str = "not_measured"
    because: str = ""
    evidence: list[Evidence] = []
    family: str = ""
    needed: str | None = None
    beside: list[str] = []
    """What it hangs on and what it cannot tell, in sentences."""
