"""JSON objects in a judge's reply, whatever stands around them."""

import re
from typing import Any

import msgspec

_OBJECT = re.compile(r"\{[^{}]*\}")
_FENCED = re.compile(r"\s*```(?:json)?[ \t]*\n(.*?)\n?[ \t]*```\s*", re.DOTALL | re.IGNORECASE)


def objects(reply: str) -> list[dict[str, Any]]:
    """The JSON objects in a reply: the whole of it, and those without objects inside."""
    found: list[dict[str, Any]] = []
    for text in [reply.strip(), *_OBJECT.findall(reply)]:
        try:
            found.append(msgspec.json.decode(text, type=dict[str, Any]))
        except (msgspec.MsgspecError, UnicodeError, RecursionError):
            continue
    return found


def whole(reply: str) -> dict[str, Any] | None:
    """The one JSON object that a reply is, in a code block or not; None where it is none.

    What stands inside the object's texts, or beside it, cannot be taken for a verdict then.
    """
    block = _FENCED.fullmatch(reply)
    try:
        return msgspec.json.decode(block[1] if block else reply.strip(), type=dict[str, Any])
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return None
