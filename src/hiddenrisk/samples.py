"""What of each record is read to count it.

`gc=False`: no record can be part of a cycle, and there are millions.
"""

from typing import Literal, NamedTuple

import msgspec

from hiddenrisk.types import (
    Finish,
    Part,
    Reason,
    Usage,
    Visibility,
)


class SampleResponse(msgspec.Struct, gc=False):
    """Of a response."""

    key: str
    model: str
    benchmark: str
    prompt: str
    repeat: int
    label: Literal["safe", "unsafe"]
    category: tuple[str, ...]
    finish: Finish
    visibility: Visibility
    usage: Usage
    provider: str = ""
    style: str = ""
    served_model: str | None = None
    fingerprint: str | None = None
    dialogue: tuple[msgspec.Raw, ...] | None = None
    meta: dict[str, str] = {}


class SampleVerdict(msgspec.Struct, gc=False):
    """Of a verdict."""

    key: str
    response: str
    judge: str
    part: Part
    label: str
    score: float
    usage: Usage
    grades: dict[str, float] = {}
    complete: bool = True
    calls: int = 1
    instead_of: str | None = None


class SampleNoticed(msgspec.Struct, gc=False):
    """Of what a thought is aware of."""

    key: str
    response: str
    judge: str
    risk_noticed: bool
    refusal_intended: bool


class Profiled(msgspec.Struct, gc=False):
    """A profile as `Profile` files it: where segments end, and how safe each is."""

    key: str
    response: str
    prompt: str
    repeat: int
    judge: str
    ends: tuple[int, ...]
    scores: tuple[float, ...]


class Unseen(NamedTuple):
    """A look into a thought that failed, and was not made good."""

    judge: str
    stage: str
    sample: tuple[str, int]
    """Prompt and repeat."""
    row: int


class SampleFailure(msgspec.Struct, gc=False):
    """Of a failure."""

    key: str
    stage: Literal["generate", "judge", "awareness", "profile"]
    reason: Reason
    model: str
    benchmark: str
    prompt: str
    repeat: int
    label: Literal["safe", "unsafe"]
    category: tuple[str, ...]
    judge: str | None = None
    part: Part | None = None
    response: str | None = None
    usage: Usage = Usage()
    calls: int = 0
