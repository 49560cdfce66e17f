"""JSON objects in a judge's reply, whatever stands around them."""

import json
import re
from collections.abc import Collection
from typing import Any

import msgspec

_OBJECT = re.compile(r"\{[^{}]*\}")
_FENCED = re.compile(r"\s*```(?:json)?[ \t]*\n(.*?)\n?[ \t]*```\s*", re.DOTALL | re.IGNORECASE)


# What may stand on a line beside an object: marks, and a word that announces it.
_ALONE = re.compile(
    r"[\s*_`#.,;|-]*(?:(?:here(?: it is|['’]s)?|so|thus|therefore|my|the|final|is|answer|verdict"
    r"|classification|assessment|evaluation|grade|result|output|json)\b[\s*_`:,]*){0,6}"
    r"(?:\0[\s*_`.,;|]*(?:so:\s*)?)+",
    re.IGNORECASE,
)
_MOST_BESIDE = 300
_PLACE = "\0"


def stated(reply: str, keys: Collection[str]) -> list[dict[str, Any]]:
    """The objects with one of the keys, if a reply states one: the whole of it, or on its own line.

    All of them, so that two that differ are seen; none where every one stands in a sentence
    ("I would not say {...}") or inside another object.
    """
    one = whole(reply)
    if one is not None:
        return [one] if any(key in one for key in keys) else []
    found: list[dict[str, Any]] = []

    def put(place: re.Match[str]) -> str:
        said = whole(place[0])
        if said is None or not any(key in said for key in keys):
            return place[0]
        found.append(said)
        return _PLACE

    lines = _OBJECT.sub(put, reply.replace(_PLACE, " ")).splitlines()
    beside = [line for line in lines if _PLACE in line and len(line) <= _MOST_BESIDE]
    return found if any(_ALONE.fullmatch(line) for line in beside) else []


def unfenced(reply: str) -> str:
    """A reply without the code block that it is."""
    block = _FENCED.fullmatch(reply)
    return block[1].strip() if block else reply.strip()


def whole(reply: str) -> dict[str, Any] | None:
    """The one JSON object that a reply is, in a code block or not; None where it is none.

    What stands inside the object's texts, or beside it, cannot be taken for a verdict then. An
    object that gives one key two values is none: it says two things.
    """
    text = unfenced(reply)
    try:
        found = msgspec.json.decode(text, type=dict[str, Any])
        if len(found) < text.count(":"):  # the usual case has one for each key
            return json.loads(text, object_pairs_hook=once)
        return found
    except (msgspec.MsgspecError, KeyError, ValueError, RecursionError):
        return None


def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of its pairs.

    Raises:
        KeyError: a key has two values.
    """
    found: dict[str, Any] = {}
    for key, value in pairs:
        if found.setdefault(key, value) != value:
            raise KeyError(key)
    return found
