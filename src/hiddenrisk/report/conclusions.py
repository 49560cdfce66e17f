"""What the page says of models held against each other: the shapes that summary.json has."""

from collections.abc import Sequence

import msgspec

from hiddenrisk.types import Estimate

NOT_MEASURED = "not_measured"
"""The answer to a question that a run has no numbers for."""
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
    answer: str = NOT_MEASURED
    because: str = ""
    evidence: list[Evidence] = []
    family: str = ""
    needed: str | None = None
    beside: list[str] = []
    """What it hangs on and what it cannot tell, in sentences."""

    @property
    def silent(self) -> bool:
        """Whether the run has nothing to say of it, but for why."""
        return self.answer == NOT_MEASURED and not (self.evidence or self.beside)


def not_measured(found: Sequence[Finding]) -> list[str]:
    """One line for all questions that this run has no numbers for; nothing if there is none."""
    count = sum(f.answer == NOT_MEASURED for f in found)
    if not count:
        return []
    which = "one more question" if count == 1 else f"{count} more questions"
    return [f"The run does not answer {which} of the paper: Findings says why."]
