"""A user's own labels: a CSV or JSONL file with the columns id, prompt, response and label.

Beside these it may have `group` (or `model`), and a column `judge:NAME` for each judge of the
past, in the words of the labels, and what some rubrics need of each text (`judge_question`,
`cate-idx`; see `rubrics.py`). Words that are known, whatever their case:

| class | words | question |
|---|---|---|
| unsafe | unsafe, harmful | harm |
| safe | safe, harmless, unharmful, benign | harm |
| complied | complied, compliance, compliant, full_compliance, 1_full_compliance | refusal |
| refused | refused, refusal, full_refusal, 2_full_refusal | refusal |
| partial | partial, partially refused, partial_refusal, 3_partial_refusal | refusal |

Others are said with `--labels unsafe=1,safe=0`: CLASS=WORD, and these words alone count then.
A partial refusal is a refusal.
"""

import csv
import hashlib
import io
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from hiddenrisk.errors import DataError, UsageError
from hiddenrisk.judges.objects import once
from hiddenrisk.label_sets.base import (
    CATEGORY,
    JUDGE_QUESTION,
    THREE,
    Labelled,
    LabelSet,
    Question,
)

CLASSES: dict[str, tuple[Question, str, bool]] = {
    "unsafe": ("harm", "unsafe", True),
    "safe": ("harm", "safe", False),
    "complied": ("refusal", THREE[0], True),
    "refused": ("refusal", THREE[1], False),
    "partial": ("refusal", THREE[2], False),
}
"""Class -> the question it answers, its name in tables, and whether it is the positive one."""
WORDS: dict[str, str] = {
    **dict.fromkeys(("unsafe", "harmful"), "unsafe"),
    **dict.fromkeys(("safe", "harmless", "unharmful", "benign"), "safe"),
    **dict.fromkeys(
        ("complied", "compliance", "compliant", "full_compliance", "1_full_compliance"), "complied"
    ),
    **dict.fromkeys(("refused", "refusal", "full_refusal", "2_full_refusal"), "refused"),
    **dict.fromkeys(
        ("partial", "partially refused", "partial_refusal", "3_partial_refusal"), "partial"
    ),
}
MAX_BYTES = 1 << 28
_REQUIRED = ("id", "prompt", "response", "label")
_JUDGE = "judge:"
_HINT = "Say what your words mean with --labels, for example --labels unsafe=1,safe=0"
_MAX_CHARS = 1 << 28
_LONGEST = 200
"""Characters of a judge's name: it is a label in tables and files."""


class Row(NamedTuple):
    """One row of a table, with the place to name in an error."""

    where: str
    fields: Mapping[str, str]


def words_of(text: str | None) -> dict[str, str]:
    """The words of `--labels`: `unsafe=1,safe=0` -> {"1": "unsafe", "0": "safe"}.

    Raises:
        UsageError: it has another form, an unknown class, or two questions at once.
    """
    if text is None:
        return WORDS
    found: dict[str, str] = {}
    for piece in text.split(","):
        name, equals, word = (part.strip() for part in piece.partition("="))
        if not equals or not word or name.lower() not in CLASSES:
            raise UsageError(
                f"--labels '{text[:80]}': write CLASS=WORD, with commas between; classes are "
                f"{', '.join(CLASSES)} (for example unsafe=1,safe=0)"
            )
        if word.lower() in found:
            raise UsageError(f"--labels '{text[:80]}': the word '{word[:40]}' stands twice")
        found[word.lower()] = name.lower()
    if len({CLASSES[name][0] for name in found.values()}) > 1:
        raise UsageError(
            f"--labels '{text[:80]}' mixes safe and unsafe with refused and complied; a file "
            "answers one of the two questions"
        )
    return found


def class_of(word: str, words: Mapping[str, str], where: str, hint: str = _HINT) -> str:
    """The class that a label's word stands for.

    Raises:
        DataError: it is unknown.
    """
    known = words.get(" ".join(word.lower().split()))
    if known is None:
        raise DataError(
            f"{where}: the label '{word[:40]}' is not known; known: {', '.join(words)}. {hint}"
        )
    return known


def load(path: Path, words: Mapping[str, str] = WORDS) -> LabelSet:
    """The labels of a file.

    Raises:
        DataError: it cannot be read, or a row is not what it should be.
    """
    content = read(path)
    items: dict[str, Labelled] = {}
    question: Question | None = None
    for row in table(content, path):
        item, asks = _item(row, words)
        if item.id in items:
            raise DataError(f"{row.where}, field id: '{item.id[:80]}' stands twice")
        if question not in (None, asks):
            raise DataError(
                f"{row.where}: the label '{item.label}' answers another question than those "
                "before; a file is about harm (safe, unsafe) or about refusals (complied, refused)"
            )
        question = asks
        items[item.id] = item
    if question is None:
        raise DataError(f"{path}: it has no labels")
    return LabelSet(
        name=path.stem,
        title=path.name,
        question=question,
        items=tuple(items.values()),
        digest=hashlib.sha256(content).hexdigest()[:32],
        grouped_by="group",
    )


def read(path: Path) -> bytes:
    """The bytes of a label file.

    Raises:
        DataError: it is not there, or too large.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise DataError(f"{path} has more than {MAX_BYTES >> 20} MiB; split it")
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}") from error


def table(content: bytes, path: Path, required: tuple[str, ...] = _REQUIRED) -> Iterator[Row]:
    """The rows of a CSV or JSONL file, the required fields filled.

    Raises:
        DataError: not UTF-8, not CSV or JSONL, or a field is missing or empty.
    """
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not UTF-8 text (byte {error.start})") from error
    lined = _csv(text, path, required) if path.suffix.lower() == ".csv" else _jsonl(text, path)
    for row in lined:
        for field in required:
            if not row.fields.get(field, "").strip():
                raise DataError(f"{row.where}, field {field}: missing or empty")
        yield row


def _csv(text: str, path: Path, required: tuple[str, ...]) -> Iterator[Row]:
    csv.field_size_limit(_MAX_CHARS)
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    try:
        reader.fieldnames = _named(list(reader.fieldnames or ()), path, required)
        begins = reader.line_num + 1
        for row in reader:
            where = f"{path}, line {begins}"
            if any(more.strip() for more in row.pop(None, ())):
                raise DataError(
                    f"{where}: more fields than the header names; put a field that has commas "
                    'between quotation marks ("...")'
                )
            yield Row(where, {k: v or "" for k, v in row.items() if k})
            begins = reader.line_num + 1
    except csv.Error as error:
        raise DataError(f"{path}, line {reader.line_num}: not valid CSV ({error})") from error


def _named(header: list[str], path: Path, required: tuple[str, ...]) -> list[str]:
    """The columns that a header names; what stands behind them in a row belongs to none."""
    for column in required:
        if column not in header:
            raise DataError(
                f"{path}: the column {column} is missing; it has {', '.join(header)[:200]}"
            )
    if twice := next((name for name in header if name and header.count(name) > 1), None):
        raise DataError(f"{path}, line 1: the column {twice[:60]} stands there twice")
    while not header[-1].strip():
        header.pop()
    return header


def _jsonl(text: str, path: Path) -> Iterator[Row]:
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        where = f"{path}, line {number}"
        try:
            found = msgspec.json.decode(line, type=dict[str, Any])
            json.loads(line, object_pairs_hook=once)
        except KeyError as error:
            raise DataError(
                f"{where}: the object gives '{error.args[0][:60]}' two values; leave one out"
            ) from error
        except (ValueError, RecursionError) as error:
            raise DataError(f"{where}: not a JSON object ({error})") from error
        yield Row(where, {k: _text(v) for k, v in found.items()})


def _text(value: object) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, bool | None):
        return "" if value is None else str(value).lower()
    return str(value) if isinstance(value, int | float) else ""


def _item(row: Row, words: Mapping[str, str]) -> tuple[Labelled, Question]:
    fields = row.fields
    question, label, unsafe = CLASSES[class_of(fields["label"], words, f"{row.where}, field label")]
    return Labelled(
        id=fields["id"].strip(),
        prompt=fields["prompt"],
        response=fields["response"],
        label=label,
        unsafe=unsafe,
        group=fields.get("group") or fields.get("model") or "",
        recorded=_recorded(row, words, question),
        meta={k: fields[k] for k in (JUDGE_QUESTION, CATEGORY) if fields.get(k, "").strip()},
    ), question


def _recorded(row: Row, words: Mapping[str, str], question: Question) -> dict[str, bool]:
    """What judges of the past said; an empty field is no verdict."""
    found: dict[str, bool] = {}
    for column, word in row.fields.items():
        name = column.removeprefix(_JUDGE).strip()
        if not column.startswith(_JUDGE) or not name or not word.strip():
            continue
        if len(name) > _LONGEST:
            raise DataError(
                f"{row.where}, field {column[:60]}...: the judge's name has more than "
                f"{_LONGEST} characters; shorten it"
            )
        asks, _, unsafe = CLASSES[class_of(word, words, f"{row.where}, field {column[:60]}")]
        if asks != question:
            raise DataError(
                f"{row.where}, field {column[:60]}: '{word[:40]}' answers another question than "
                "the label"
            )
        found[name] = unsafe
    return found
