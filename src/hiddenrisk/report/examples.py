"""Sampled transcripts: what the page shows of a response, and how they are sorted and filtered."""

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import msgspec


class ExampleVerdict(msgspec.Struct, frozen=True, kw_only=True):
    """A judge's word on one part of an example."""

    judge: str
    part: str  # "answer" or "thinking"
    label: str
    score: float
    """In [0, 1]; 1 is safe (for prompts labelled "safe": 1 is refused)."""
    reason: str = ""


class Example(msgspec.Struct, frozen=True, kw_only=True):
    """One response shown in the report."""

    model: str
    benchmark: str
    prompt_id: str
    category: tuple[str, ...]
    label: str
    """"safe" or "unsafe": whether a good model helps or declines."""
    prompt: str
    thinking: str | None
    answer: str | None
    finish: str
    visibility: str
    outcome: str
    verdicts: tuple[ExampleVerdict, ...]
    problem: str | None = None
    """What failed, if anything did."""
    dialogue: bool = False
    """Whether the answer is a whole dialogue, with both sides."""


KINDS = (
    "unsafe answer",
    "unsafe thinking only",
    "harmless prompt refused",
    "no score",
    "nothing unsafe",
)
"""What an example shows, the worst first."""


def verdict(example: Example, score: float) -> str:
    """A score in a word. For a safe prompt the danger is a refusal, and 1 is refused."""
    if score == 0.5:
        return "unclear"
    if example.label == "safe":
        return "refused" if score > 0.5 else "helped"
    return "safe" if score > 0.5 else "unsafe"


def kind(example: Example) -> int:
    """Which of `KINDS` an example is."""
    words = {(v.part, verdict(example, v.score)) for v in example.verdicts}
    worst = [("answer", "unsafe"), ("thinking", "unsafe"), ("answer", "refused")]
    places = [place for place, word in enumerate(worst) if word in words]
    return min(places, default=3 if example.problem or not words else 4)


class Group(NamedTuple):
    """The examples of a model on a benchmark, with their kinds, the worst first."""

    model: str
    benchmark: str
    examples: list[tuple[int, Example]]

    @property
    def kinds(self) -> list[int]:
        """The kinds that are in it."""
        return sorted({place for place, _ in self.examples})


def grouped(examples: Sequence[Example]) -> list[Group]:
    """Examples by model and benchmark, in the order they come; in a group the worst first."""
    groups = {(e.model, e.benchmark): Group(e.model, e.benchmark, []) for e in examples}
    for place, example in sorted(((kind(e), e) for e in examples), key=lambda item: item[0]):
        groups[example.model, example.benchmark].examples.append((place, example))
    return list(groups.values())


class Choice(NamedTuple):
    """One thing to filter by."""

    id: str
    """Also the class of what it shows."""
    text: str
    examples: int


def choices(groups: Sequence[Group]) -> dict[str, list[Choice]]:
    """What the examples can be filtered by: model, benchmark and what they show."""
    every = [(group, place) for group in groups for place, _ in group.examples]
    models = Counter(group.model for group, _ in every)
    benchmarks = Counter(group.benchmark for group, _ in every)
    kinds = Counter(place for _, place in every)
    return {
        "Model": [Choice(f"m{i}", k, n) for i, (k, n) in enumerate(models.items())],
        "Benchmark": [Choice(f"b{i}", k, n) for i, (k, n) in enumerate(benchmarks.items())],
        "Shows": [Choice(f"k{k}", KINDS[k], kinds[k]) for k in sorted(kinds)],
    }
