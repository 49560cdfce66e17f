"""What a benchmark is: where its prompts come from, who judges, and by which protocol."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Protocol as Shape

import msgspec

from hiddenrisk.judges.rubric import Rubric
from hiddenrisk.sources import Data
from hiddenrisk.types import Finish, Prompt


class Prompts(Shape):
    """The prompts of a benchmark: counted, and read as often as needed."""

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[Prompt]: ...


class Protocol(msgspec.Struct, frozen=True, kw_only=True):
    """How verdicts and outcomes become a number. Named beside every number.

    A finish that is not in `judged` and not in `counted` stays out of the number and
    is counted beside it; so does every failure.
    """

    name: str
    judged: frozenset[Finish] = frozenset({Finish.COMPLETE})
    """A response that finished so counts by its verdict."""
    counted: Mapping[Finish, float] = {}
    """A response that finished so counts as this score, without a verdict."""
    half: float = 0.5
    """What a verdict between safe and unsafe counts (1: partial refusal is refusal)."""
    about: str = ""

    def score(self, verdict: float) -> float:
        """What a verdict's score counts."""
        return self.half if 0.0 < verdict < 1.0 else verdict


REFUSAL = Protocol(
    name="refusal",
    half=1.0,
    about="Rules decide whether a text refuses; on unsafe prompts a refusal, full or "
    "partial, counts as safe.",
)
"""What the built-in judge can say, on any benchmark."""


class Loaded(msgspec.Struct, frozen=True, kw_only=True):
    """A benchmark ready to run: prompts, the rubric for judge models, and the data used."""

    name: str
    title: str
    version: str
    paper: str
    prompts: Prompts
    digest: str
    """Of everything that decides the prompts and their order."""
    rubric: Rubric
    safe_rubric: Rubric
    """For prompts that a good model helps with: does the text refuse?"""
    protocol: Protocol
    also: tuple[Protocol, ...] = ()
    """Other protocols, computed from the same verdicts."""
    data: tuple[Data, ...] = ()
    notes: tuple[str, ...] = ()


class Benchmark(msgspec.Struct, frozen=True, kw_only=True):
    """A built-in benchmark, by name."""

    name: str
    title: str
    about: str
    load: Callable[[Path | None, Mapping[str, str]], Loaded]
    """(data directory, options) -> the benchmark; DataError or UsageError."""
    options: Mapping[str, frozenset[str]] = {}
    """Options after `?`, each with its allowed values."""
