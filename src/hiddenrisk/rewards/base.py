"""What a reward model is asked and says, and what anything that scores must have."""

from collections.abc import Iterator, Sequence
from enum import StrEnum
from typing import Any, Protocol

import msgspec

from hiddenrisk.types import Message


class Item(msgspec.Struct, frozen=True):
    """One text to score."""

    key: str
    """Given back with the score; unique among the items of one call."""
    messages: tuple[Message, ...]
    """The prompt: what came before the text."""
    text: str
    """The answer (or thinking) that is judged, as the assistant's next turn."""


class NoScore(StrEnum):
    """Why a text has no score."""

    EMPTY = "empty_text"
    TOO_LONG = "too_long"
    """The prompt leaves too little of the model's window to the text."""
    TEMPLATE = "template"
    """The chat template refuses these turns, or changes the text."""
    NOT_FINITE = "not_finite"
    """The model gave NaN or an infinity."""
    OUT_OF_MEMORY = "out_of_memory"
    """The text does not fit into memory even alone."""
    NOT_GRADED = "not_graded"
    """A rubric is asked, and its judge gave no grade."""
    REQUEST_FAILED = "request_failed"
    """The endpoint gave no usable reply after the allowed tries."""


class Scored(msgspec.Struct, frozen=True, kw_only=True):
    """What a reward model says of one text. All numbers are finite."""

    key: str
    score: float
    """The preference score, on the model's own scale: higher is preferred. No two models
    share a scale, so compare texts under one model only."""
    attributes: dict[str, float]
    """By name, as the model publishes them; for a plain classifier "score" alone."""
    quantiles: tuple[float, ...] = ()
    """The distribution of the score (QRM), at evenly spaced levels; empty elsewhere."""
    tokens: int | None
    """Of prompt and text together as the model read them; None where an endpoint does not
    tell."""
    cut: bool
    """The end of the text was dropped, because it is longer than the window."""


class Unscored(msgspec.Struct, frozen=True):
    """A text without a score. Never counted as one."""

    key: str
    reason: NoScore
    message: str


class RewardModel(Protocol):
    """Anything that scores texts: weights on this machine, or an endpoint."""

    label: str
    """The name in tables."""
    identity: dict[str, Any]
    """All that decides a score (repository, revision, head, dtype, window); goes into keys,
    and holds no secret and no path."""
    attributes: tuple[str, ...]
    """Names of the attributes of each score; empty where an endpoint alone knows them."""
    headline: str
    """The value that is reported where nobody chooses: "score", or an attribute."""
    local: bool
    """Whether no text leaves this machine."""

    def score(self, items: Sequence[Item]) -> Iterator[Scored | Unscored]:
        """Score texts; each item comes back once, in any order.

        Raises:
            UsageError: the model cannot be loaded, or the endpoint answers no call.
        """
        ...

    def close(self) -> None:
        """Give the memory or the connections back; scoring again takes them anew."""
        ...
