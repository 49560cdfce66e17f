"""Every error of ours, one tree:

    HiddenRiskError
    ├── UsageError      what the user asked for cannot be done as asked (exit 2)
    │   ├── DataError   a data file cannot be read or contradicts itself
    │   ├── MissingKeyError  a provider wants a key, and its variable is not set
    │   └── StoreError  a run directory belongs to another plan, is locked, or is full
    ├── CallError       one call to a model failed; never ends a run by itself
    └── JudgeError      a judge's reply holds no usable verdict; never a score

A message names the thing, the value, what was expected and the next step.
"""

import difflib
from collections.abc import Iterable

from hiddenrisk.types import Reason, Reply, Usage

_FEW = 6
"""So many names are listed even where one of them is near."""


class HiddenRiskError(Exception):
    """Base of all errors a caller may want to catch."""


class UsageError(HiddenRiskError):
    """The request cannot be carried out as it stands."""


class DataError(UsageError):
    """A data file cannot be read, or a row of it is not what it should be."""


class MissingKeyError(UsageError):
    """A provider wants a key that the environment does not have."""


class StoreError(UsageError):
    """A run directory cannot be used."""


class CallError(HiddenRiskError):
    """A call to a model gave nothing usable.

    Args:
        message: what happened, without any secret.
        heals: whether another try may succeed.
        overload: whether the endpoint says that it has too much to do.
        retry_after_s: how long the endpoint asks us to wait, in seconds.
        fatal: the same would happen to every call (wrong key, unknown model).
        raw: the start of what came back, for the failure record.
    """

    def __init__(
        self,
        message: str,
        *,
        heals: bool = False,
        overload: bool = False,
        retry_after_s: float | None = None,
        fatal: bool = False,
        reason: Reason = Reason.REQUEST_FAILED,
        raw: str = "",
    ) -> None:
        super().__init__(message)
        self.heals = heals
        self.overload = overload
        self.retry_after_s = retry_after_s
        self.fatal = fatal
        self.reason = reason
        self.raw = raw[:2000]
        self.tries = 1
        """How often the call was tried, once it is given up."""


class JudgeError(HiddenRiskError):
    """A judge's reply that cannot be taken as a verdict."""

    def __init__(self, reason: Reason, message: str, raw: str = "") -> None:
        super().__init__(message)
        self.reason = reason
        self.raw = raw[:2000]
        self.tries = 1
        self.reply: Reply | None = None
        """The last reply that held nothing usable."""
        self.usage = Usage()
        """Of all of them."""
        self.calls = 0


def unknown(kind: str, name: str, known: Iterable[str], *, see: str) -> UsageError:
    """An error for a name that nobody knows, with the nearest known one."""
    names = sorted(known)
    near = difflib.get_close_matches(name.lower(), names, n=1, cutoff=0.5)
    known_ones = f"known: {', '.join(names)}"
    if near and len(names) > _FEW:
        hint = f"; did you mean '{near[0]}'?"
    else:
        hint = f"; did you mean '{near[0]}'? {known_ones}." if near else f"; {known_ones}."
    return UsageError(f"unknown {kind} '{name}'{hint} {see}")
