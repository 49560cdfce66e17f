"""Transcripts as rows: JSONL, a JSON array or CSV, one transcript a row.

Columns are found by their usual names (`models.replay.FIELDS`, and `COLUMNS` here). Rows
with `messages` and no answer end in the answer. The responses of a run are rows, too.
"""

import codecs
import csv
import io
import json
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import msgspec

from hiddenrisk.errors import DataError
from hiddenrisk.models.blocks import fields_of, items_of, side_of_record
from hiddenrisk.models.replay import FIELDS, OURS
from hiddenrisk.thinking import read, split
from hiddenrisk.transcripts.base import Contents, Transcript, clean, messages_of, one_line, raw_of
from hiddenrisk.types import Message, Reply, Response

COLUMNS: dict[str, tuple[str, ...]] = {
    **FIELDS,
    "messages": ("messages", "conversation"),
    "category": ("category",),
    "label": ("label",),
    "model": ("model", "model_name", "model_id"),
    "repeat": ("repeat", "epoch"),
    "error": ("error",),
}
"""Which column is what: the first name that the file has."""
_LABELS: dict[str, Literal["safe", "unsafe"]] = {
    "safe": "safe", "benign": "safe", "harmless": "safe",
    "unsafe": "unsafe", "harmful": "unsafe", "malicious": "unsafe",
}  # fmt: skip

Row = tuple[str, dict[str, Any]]
"""Where it stands, and its fields."""


def rows_in(path: Path, content: bytes) -> list[Row]:
    """The rows of a JSONL, JSON or CSV file.

    Raises:
        DataError: it is no such file, or has no rows.
    """
    text = text_of(path, content)
    if path.suffix.lower() in {".csv", ".tsv"}:
        rows = list(_csv(text, path))
    elif text.lstrip().startswith("["):
        rows = list(_array(text, path))
    else:
        rows = list(_lines(text, path))
    if not rows:
        raise DataError(f"{path} has no rows; give a file with transcripts")
    return rows


def text_of(path: Path, content: bytes) -> str:
    """The text of a file.

    Raises:
        DataError: it is not UTF-8.
    """
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise DataError(f"{path} is UTF-16 text; save it as UTF-8")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path} is not UTF-8 text (byte {error.start}); save it as UTF-8"
        ) from error


def _csv(text: str, path: Path) -> Iterator[Row]:
    csv.field_size_limit(1 << 28)
    tabs = "\t" if path.suffix.lower() == ".tsv" else ","
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=tabs)
    line = 1
    try:
        names = reader.fieldnames or ()
        if twice := {name for name in names if names.count(name) > 1}:
            raise DataError(f"{path}, line 1: the column {min(twice)} stands there twice")
        line = reader.line_num
        for fields in reader:
            where, line = f"{path}, line {line + 1}", reader.line_num
            if None in fields:
                raise DataError(f"{where}: more fields than the header names; quote the commas")
            yield where, dict(fields)
    except csv.Error as error:
        raise DataError(f"{path}, line {line + 1}: not valid CSV ({error})") from error


def _array(text: str, path: Path) -> Iterator[Row]:
    try:
        rows: list[object] = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path} is not valid JSON: {error}") from error
    for number, row in enumerate(rows, start=1):
        yield _object(row, f"{path}, row {number}")


def _lines(text: str, path: Path) -> Iterator[Row]:
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            where = f"{path}, line {number}"
            try:
                row: object = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise DataError(
                    f"{where}: not valid JSON ({error}); write one object on each line"
                ) from error
            yield _object(row, where)


def _object(row: object, where: str) -> Row:
    if not isinstance(row, dict):
        raise DataError(f"{where}: expected an object, found {type(row).__name__}")
    return where, fields_of(row)  # pyright: ignore[reportUnknownArgumentType] - any keys


def read_table(path: Path, rows: list[Row]) -> Contents:
    """The transcripts of rows.

    Raises:
        DataError: the columns that are needed are not there, or a field holds what it cannot.
    """
    if {"visibility", "messages", "finish", "key"} <= rows[0][1].keys():
        return Contents(format="responses of a run", transcripts=[_recorded(*r) for r in rows])
    columns = {what: _column(rows, names) for what, names in COLUMNS.items()}
    _check(path, rows, columns)
    found = [_Parsed(where, fields, columns) for where, fields in rows]
    by_model: dict[str | None, list[_Parsed]] = defaultdict(list)
    for parsed in found:
        by_model[parsed.model].append(parsed)
    prefilled = {model: _prefilled(several) for model, several in by_model.items()}
    known = {name for name in columns.values() if name}
    unread = sorted({name for _, fields in rows for name in fields} - known)
    notes = [f"{path}: not read: {one_line(', '.join(unread))}"] if unread else []
    return Contents(
        format="CSV" if path.suffix.lower() in {".csv", ".tsv"} else "JSON rows",
        transcripts=[p.transcript(prefilled=prefilled[p.model]) for p in found],
        notes=notes,
    )


def _column(rows: list[Row], names: tuple[str, ...]) -> str | None:
    return next((n for n in names if any(f.get(n) is not None for _, f in rows)), None)


def _check(path: Path, rows: list[Row], columns: dict[str, str | None]) -> None:
    there = one_line(", ".join(sorted({name for _, fields in rows for name in fields})))
    if not (columns["answer"] or columns["thinking"] or columns["messages"] or columns["error"]):
        if empty := next((name for name in FIELDS["answer"] if name in there.split(", ")), None):
            raise DataError(f"{path}: the column {empty} is empty in all rows; it has the answers")
        raise DataError(
            f"{path} has no column with answers (its columns: {there}); call it one of "
            f"{', '.join(FIELDS['answer'])}"
        )
    if not (columns["prompt"] or columns["id"] or columns["messages"]):
        raise DataError(
            f"{path} has no column that says what was asked (its columns: {there}); call it one "
            f"of {', '.join(FIELDS['prompt'])}, or messages"
        )


class _Parsed:
    """A row's fields by what they are; its text is not taken apart yet."""

    def __init__(self, where: str, fields: dict[str, Any], columns: dict[str, str | None]) -> None:
        self.where = where
        self._fields = fields
        self._columns = columns
        self.model = self._text("model") or None
        self.answer, self.thinking = self._text("answer"), self._text("thinking")
        self.messages = self._messages()

    def transcript(self, *, prefilled: bool) -> Transcript:
        """The transcript, its text taken apart."""
        finish = self._text("finish")
        trouble = self._error()
        reply = None
        if not trouble or self.answer or self.thinking:
            reading = read(
                self.answer,
                self.thinking or None,
                OURS.get(finish or "", finish),
                prefilled=prefilled,
            )
            reply = Reply(
                thinking=reading.thinking,
                answer=reading.answer,
                finish=reading.finish,
                visibility=reading.visibility,
                style=reading.style,
                raw=raw_of(self._fields),
            )
        repeat = self._text("repeat")
        return Transcript(
            where=self.where,
            model=self.model,
            id=self._text("id") or None,
            repeat=self._repeat(repeat) if repeat else None,
            messages=self.messages,
            category=self._category(),
            label=self._label(),
            reply=reply,
            trouble="" if reply else one_line(trouble),
        )

    def _value(self, what: str) -> object:
        name = self._columns[what]
        return self._fields.get(name) if name is not None else None

    def _text(self, what: str) -> str | None:
        value = self._value(what)
        if value is None:
            return None
        if isinstance(value, str | int) and not isinstance(value, bool):
            return clean(str(value))
        raise DataError(
            f"{self.where}, field {self._columns[what]}: expected text, found "
            f"{type(value).__name__}"
        )

    def _messages(self) -> tuple[Message, ...]:
        """What was asked. A conversation that holds the answer as well gives it away here."""
        value = self._value("messages")
        if isinstance(value, str) and value.lstrip().startswith("["):  # in a CSV
            try:
                value = json.loads(value)
            except (ValueError, RecursionError) as error:
                raise DataError(
                    f"{self.where}, field messages: not valid JSON ({error})"
                ) from error
        if value is None:
            prompt = self._text("prompt")
            return (Message("user", prompt),) if prompt and prompt.strip() else ()
        turns = messages_of(value)
        if not turns or not isinstance(value, list):
            raise DataError(f"{self.where}, field messages: expected a list of role and content")
        if turns[-1].role != "assistant":
            return turns
        if self.answer is None:
            last = fields_of(items_of(value)[-1])  # pyright: ignore[reportUnknownArgumentType]
            self.answer = turns[-1].content
            thought = last.get("reasoning_content") or last.get("reasoning")
            self.thinking = self.thinking or (thought if isinstance(thought, str) else None)
        return turns[:-1]

    def _error(self) -> str:
        value = self._value("error")
        if isinstance(value, dict):
            return str(fields_of(value).get("message") or "failed")  # pyright: ignore[reportUnknownArgumentType]
        return str(value) if value else ""

    def _repeat(self, text: str) -> int:
        first = 1 if self._columns["repeat"] == "epoch" else 0
        if not text.isascii() or not text.isdigit() or not first <= int(text) < 1000:
            raise DataError(
                f"{self.where}, field {self._columns['repeat']}: expected a number from {first} "
                f"to 999, found '{text[:40]}'"
            )
        return int(text) - first

    def _category(self) -> tuple[str, ...]:
        value = self._value("category")
        names = value.split(" > ") if isinstance(value, str) else items_of(value)
        return tuple(clean(str(name)).strip() for name in names if str(name).strip())

    def _label(self) -> Literal["safe", "unsafe"] | None:
        text = self._text("label")
        if not text:
            return None
        if text.lower() not in _LABELS:
            raise DataError(
                f"{self.where}, field label: expected safe or unsafe (is the prompt harmful?), "
                f"found '{text[:40]}'; rename the column if it says something else"
            )
        return _LABELS[text.lower()]


def _prefilled(rows: list[_Parsed]) -> bool:
    """Whether the model's template opened the thought in the prompt; see `models.replay`."""
    texts = [r.answer for r in rows if r.answer and not r.thinking]
    return 2 * sum(split(t).style == "prefilled" for t in texts) > len(texts) > 0


def _recorded(where: str, fields: dict[str, Any]) -> Transcript:
    """A response of a run, as it was read then."""
    try:
        kept = {k: v for k, v in fields.items() if k not in {"raw", "at"}}
        r = msgspec.convert(kept | {"raw": msgspec.Raw(b"null"), "at": ""}, Response)
    except msgspec.ValidationError as error:
        raise DataError(f"{where}: no response of a run ({error})") from error
    if r.dialogue is not None:
        raise DataError(f"{where} is a dialogue; use `hiddenrisk judge` on its own run")
    raw = fields.get("raw")
    return Transcript(
        where=where,
        model=r.model,
        id=r.prompt,
        repeat=r.repeat,
        messages=r.messages,
        category=r.category,
        label=r.label,
        reply=Reply(
            thinking=None if r.thinking is None else clean(r.thinking),
            answer=None if r.answer is None else clean(r.answer),
            finish=side_of_record(raw) if fields["finish"] == "blocked" else r.finish,
            visibility=r.visibility,
            style=r.style,
            usage=r.usage,
            served_model=r.served_model,
            fingerprint=r.fingerprint,
            raw=raw_of(raw),
        ),
    )
