"""What an endpoint says when it gives no completion: a block, or an error that may heal. Pure."""

import email.utils
import math
import re
import time

import msgspec

from hiddenrisk.errors import CallError
from hiddenrisk.models.blocks import fields_of, side_of_error, told_in
from hiddenrisk.types import Finish, Reply, Visibility

_HEALING = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 520, 521, 522, 523, 524, 529})
BROKEN = frozenset(
    {
        "error",  # OpenRouter, Mistral
        "abort",  # vLLM, SGLang
        "network_error",  # Z.ai
        "insufficient_system_resource",  # DeepSeek
        "pause_turn",  # Anthropic: a turn that is to be gone on with
    }
)
"""Finish reasons of a reply that the provider did not finish: asked for again."""
_BLOCKING = frozenset({400, 403, 406, 421, 422, 451})
"""The statuses that a block comes with; with any other an error is no more than that."""
_encoder = msgspec.json.Encoder()


def read_error(status: int, body: bytes, retry_after: str | None, *, began: bool = False) -> Reply:
    """Read a reply with an error status: a block is a reply, all else is raised.

    Args:
        status: the HTTP status, or what stands for it inside a 200.
        body: the payload.
        retry_after: the header.
        began: some text had come before, so that it is the output that was blocked.

    Raises:
        CallError: with whether another try may heal it.
    """
    value, raw = _decoded(body)
    if status in _BLOCKING and (side := side_of_error(value, began=began)):
        return blocked(side, raw)
    told = told_in(value)[0]
    code, message = next(iter(told.names), ""), told.message
    unpaid = status == 402 or code == "insufficient_quota"
    raise CallError(
        f"HTTP {status}" + (f": {message}" if message else ""),
        heals=not unpaid and (status in _HEALING or status >= 500),
        overload=not unpaid and (status == 429 or status >= 500),
        retry_after_s=retry_after_s(retry_after),
        fatal=unpaid
        or status in {401, 403}
        or (status in {400, 404} and code == "model_not_found"),
        raw=start_of(body),
    )


def blocked(side: Finish, raw: msgspec.Raw) -> Reply:
    """A reply of which a filter left nothing."""
    return Reply(
        thinking=None,
        answer=None,
        finish=side,
        visibility=Visibility.NONE,
        style="none",
        raw=raw,
    )


def retry_after_s(header: str | None) -> float | None:
    """Seconds from a `Retry-After` header, which is a number or a date."""
    if not header:
        return None
    try:
        seconds = float(header)
        return max(0.0, seconds) if math.isfinite(seconds) else None
    except ValueError:
        pass
    try:
        return max(0.0, email.utils.parsedate_to_datetime(header).timestamp() - time.time())
    except (ValueError, TypeError, OverflowError):
        return None


def _decoded(body: bytes) -> tuple[object, msgspec.Raw]:
    """An error's payload, and how it is kept: as JSON, whatever it is."""
    try:
        value: object = msgspec.json.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        value = start_of(body)
    return value, msgspec.Raw(_encoder.encode(value))


def status_in(error: object) -> int:
    """The status that an error inside a 200 stands for."""
    code = fields_of(error).get("code")
    if isinstance(code, int | str) and re.fullmatch("[45][0-9][0-9]", str(code)):
        return int(code)
    return 400 if side_of_error({"error": error}) else 502


def start_of(body: bytes) -> str:
    """The start of a body, for a failure's record."""
    return body[:2000].decode("utf-8", "replace")
