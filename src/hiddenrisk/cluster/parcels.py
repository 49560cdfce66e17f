"""What goes between the driver and its workers: plain records, as JSON.

Many calls go in one parcel: a message to a worker takes the driver half a millisecond of CPU,
whatever it holds.
"""

import msgspec

from hiddenrisk.errors import CallError
from hiddenrisk.types import Call, Reason, Reply


class Recipe(msgspec.Struct, frozen=True, kw_only=True):
    """How a worker opens a model that the driver has opened. Never holds a key."""

    spec: str
    decoding: str = "default"
    completions: bool = False
    keyed: bool = False
    """Whether the driver has a key for it, so that a worker must have one as well."""


class Job(msgspec.Struct, frozen=True, array_like=True):
    """A call for a worker."""

    number: int
    model: int
    """Its place among the worker's recipes."""
    prefilled: bool
    """See `types.Model`; what the driver knows of it by now."""
    call: Call


class Orders(msgspec.Struct, frozen=True):
    """What the driver sends at once."""

    jobs: list[Job]
    drop: list[int]
    """Numbers of jobs that nobody waits for any more."""


class Trouble(msgspec.Struct, frozen=True, kw_only=True):
    """A `CallError` on its way."""

    message: str
    heals: bool = False
    overload: bool = False
    retry_after_s: float | None = None
    fatal: bool = False
    reason: Reason = Reason.REQUEST_FAILED
    raw: str = ""


class Done(msgspec.Struct, frozen=True, array_like=True):
    """What became of a job: a reply or trouble."""

    number: int
    reply: Reply | None
    trouble: Trouble | None
    prefilled: bool
    """What the worker knows of the model by now."""


class Hello(msgspec.Struct, frozen=True, kw_only=True):
    """A worker that is ready, or why it cannot be."""

    node: str
    """The address of its node."""
    node_id: str
    """Ray's name of it: several nodes may share an address."""
    problem: str = ""


def trouble_of(error: CallError) -> Trouble:
    """An error as a record."""
    return Trouble(
        message=str(error),
        heals=error.heals,
        overload=error.overload,
        retry_after_s=error.retry_after_s,
        fatal=error.fatal,
        reason=error.reason,
        raw=error.raw,
    )


def error_of(trouble: Trouble) -> CallError:
    """The error again."""
    return CallError(
        trouble.message,
        heals=trouble.heals,
        overload=trouble.overload,
        retry_after_s=trouble.retry_after_s,
        fatal=trouble.fatal,
        reason=trouble.reason,
        raw=trouble.raw,
    )


ENCODER = msgspec.json.Encoder()
ORDERS = msgspec.json.Decoder(Orders)
DONE = msgspec.json.Decoder(list[Done])
RECIPES = msgspec.json.Decoder(list[Recipe])
HELLO = msgspec.json.Decoder(Hello)
