"""JSON objects in a judge's reply, whatever stands around them."""

import re
from typing import Any

import msgspec

_OBJECT = re.compile(r"\{[^{}]*\}")


def objects(reply: str) -> list[dict[str, Any]]:
    """The JSON objects in a reply: the whole of it, and those without objects inside."""
    found: list[dict[str, Any]] = []
    for text in [reply.strip(), *_OBJECT.findall(reply)]:
        try:
            found.append(msgspec.json.decode(text, type=dict[str, Any]))
        except (msgspec.MsgspecError, UnicodeError, RecursionError):
            continue
    return found
