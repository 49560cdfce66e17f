"""A recorded transcript, whichever kind of file it comes from."""

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

import msgspec

from hiddenrisk.errors import DataError
from hiddenrisk.models.blocks import fields_of, items_of
from hiddenrisk.models.thoughts import text_in
from hiddenrisk.types import Message, Reply

MOST_BYTES = 1 << 30
"""Of one file, as it is on disk."""


class Transcript(msgspec.Struct, frozen=True, kw_only=True):
    """What one model said once, to one prompt; or why it said nothing."""

    where: str
    """File and line, or its place in the file."""
    model: str | None = None
    """None where the file does not say."""
    id: str | None = None
    """Of the prompt."""
    repeat: int | None = None
    """The how manieth answer to that prompt, from 0; None where the file does not say."""
    messages: tuple[Message, ...] = ()
    """What was asked; empty where the file does not say."""
    category: tuple[str, ...] = ()
    label: Literal["safe", "unsafe"] | None = None
    """Whether a good model helps with the prompt."""
    reply: Reply | None = None
    trouble: str = ""
    """Why there is no reply."""
    raw: str = ""
    """The beginning of what came instead."""


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """A prompt that a file holds apart from the replies."""

    where: str
    id: str
    messages: tuple[Message, ...]


class Contents(msgspec.Struct, kw_only=True):
    """What a file holds."""

    format: str
    name: str = ""
    """What the file itself calls its prompts."""
    transcripts: list[Transcript] = []
    prompts: list[Asked] = []
    notes: list[str] = []
    """What the user must know."""


class SourceFile(msgspec.Struct, frozen=True, kw_only=True):
    """A file that was imported; an entry of `imported.files` in run.json."""

    name: str
    """Without its folder."""
    sha256: str
    bytes: int
    format: str
    transcripts: int


def read_bytes(path: Path) -> bytes:
    """A file's content.

    Raises:
        DataError: it cannot be read, is empty, or too large.
    """
    try:
        if path.stat().st_size > MOST_BYTES:
            raise DataError(f"{path} is larger than 1 GiB; split it")
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}") from error
    if not content.strip():
        raise DataError(f"{path} is empty; give a file with transcripts")
    return content


def sha256(content: bytes) -> str:
    """The digest of a file."""
    return hashlib.sha256(content).hexdigest()


def clean(text: str) -> str:
    """The text without lone surrogates, which no file can hold."""
    return text.encode("utf-8", "replace").decode("utf-8")


def raw_of(value: object) -> msgspec.Raw:
    """A JSON value as a record keeps it: on one line, without what no other JSON reader takes."""
    text = clean(json.dumps(value, ensure_ascii=False))
    whole: object = json.loads(text, parse_constant=lambda _: None)  # NaN and Infinity
    return msgspec.Raw(json.dumps(whole, ensure_ascii=False).encode())


def said(content: object) -> str:
    """The text of a message's content, whole or in parts; what is no text is left out."""
    if isinstance(content, str):
        return clean(content)
    return clean(text_in(items_of(content)) or "")


def messages_of(value: object) -> tuple[Message, ...]:
    """The messages of a conversation, as plain text; a text alone is what a user says."""
    if isinstance(value, str):
        return (Message("user", clean(value)),)
    turns = (fields_of(item) for item in items_of(value))
    return tuple(
        Message(clean(str(turn.get("role") or "user")), said(turn.get("content")))
        for turn in turns
        if turn
    )


def last_user_text(messages: Iterable[Message]) -> str:
    """What the user said last, by which prompts are told apart."""
    texts = [m.content for m in messages if m.role == "user"]
    return texts[-1].strip() if texts else ""


def one_line(text: str, most: int = 200) -> str:
    """The beginning of a text on one line."""
    return " ".join(text.split())[:most]
