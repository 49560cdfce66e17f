"""`replay/PATH`: recorded transcripts answer, as a model like any other.

JSONL, a JSON array, or CSV; one transcript a row. A run's own `responses.jsonl` is
one such file, and gives its answers as they were read then. Columns are found by their
usual names (see `FIELDS`). A row is looked up by prompt id where the file has ids that
match, else by the prompt's text; several rows with one id answer the repeats in the order
of the file, and several with one text whoever asks, in that order.
"""

import csv
import hashlib
import io
import json
import threading
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec

from hiddenrisk.errors import CallError, DataError
from hiddenrisk.models.blocks import side_of_record
from hiddenrisk.models.spec import Spec, tags_of
from hiddenrisk.thinking import Reading, read, split
from hiddenrisk.types import Call, Finish, Message, Reason, Reply, Usage, Visibility

FIELDS: dict[str, tuple[str, ...]] = {
    "id": ("prompt_id", "id", "sample_id"),
    "prompt": (
        "prompt", "question", "instruction", "forbidden_prompt", "goal", "behavior", "input",
        "user_input", "query",
    ),
    "answer": (
        "answer", "response", "completion", "output", "generation", "content", "text",
        "model_output",
    ),
    "thinking": ("thinking", "reasoning_content", "reasoning", "thought", "cot"),
    "finish": ("finish_reason", "finish", "stop_reason"),
}  # fmt: skip
"""Which column is what: the first name that the file has."""

_MAX_BYTES = 1 << 30
OURS = {"cut_in_thinking": "length", "cut_in_answer": "length"}
"""Our own words for how a response ended, as finish reasons; the others are read as they are."""


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One recorded transcript."""

    id: str | None
    prompt: str | None
    answer: str | None
    thinking: str | None
    finish: str | None
    reading: Reading | None = None
    """What a run of ours made of it; it stays so."""


class _Record(msgspec.Struct):
    """What a row needs of a line in a run's `responses.jsonl`."""

    model: str
    prompt: str
    messages: list[Message]
    thinking: str | None
    answer: str | None
    finish: Finish
    visibility: Visibility
    style: str


def from_spec(spec: Spec) -> "ReplayModel":
    """A recording as a model.

    Raises:
        DataError: the file cannot be read or has no transcripts.
        UsageError: the tags are no pair.
    """
    tags = tags_of(spec)
    rows = load(Path(spec.model))
    told = "prefilled" in spec.options
    prefilled = told or ("plain" not in spec.options and _prefilled(rows, tags))
    return ReplayModel(spec, rows, prefilled=prefilled, tags=tags)


def _prefilled(rows: list[Row], tags: tuple[str, str] | None) -> bool:
    """Whether the recorded model's template opened the thought in the prompt.

    It did where most texts close a thought that they never opened; the few without
    any tag were then cut inside the thought.
    """
    texts = [r.answer for r in rows if r.answer and not r.thinking]
    return 2 * sum(split(t, tags=tags).style == "prefilled" for t in texts) > len(texts) > 0


class ReplayModel:
    """Answers from rows."""

    def __init__(
        self,
        spec: Spec,
        rows: list[Row],
        *,
        prefilled: bool,
        tags: tuple[str, str] | None = None,
    ) -> None:
        self.label = spec.label
        self.provider = "replay"
        self.local = True
        self.prefilled = prefilled
        rows_json = msgspec.json.encode(rows)
        self.identity: dict[str, Any] = {
            "replay": Path(spec.model).name,
            "rows": hashlib.sha256(rows_json).hexdigest(),
            "prefilled": prefilled,
            **({"tags": tags} if tags else {}),
        }
        self._tags = tags
        self._by_id: dict[str, list[Row]] = defaultdict(list)
        self._by_text: dict[str, list[Row]] = defaultdict(list)
        for row in rows:
            if row.id is not None:
                self._by_id[row.id].append(row)
            if row.prompt is not None:
                self._by_text[row.prompt.strip()].append(row)
        self._taken: dict[str, dict[tuple[str, int], int]] = defaultdict(dict)
        self._turn = threading.Lock()

    async def start(self) -> None:
        """Nothing to do: the rows are in memory."""

    async def close(self) -> None:
        """Nothing to do."""

    async def generate(self, call: Call) -> Reply:
        """The recorded answer.

        Raises:
            CallError: nothing is recorded for this prompt.
        """
        row = self._find(call)
        reading = row.reading or read(
            row.answer, row.thinking, row.finish, prefilled=self.prefilled, tags=self._tags
        )
        return Reply(
            thinking=reading.thinking,
            answer=reading.answer,
            finish=reading.finish,
            visibility=reading.visibility,
            style=reading.style,
            usage=Usage(),
            raw=msgspec.Raw(msgspec.json.encode(row)),
        )

    def _find(self, call: Call) -> Row:
        text = _last_user_text(call.messages).strip()
        named = self._by_id.get(call.prompt, ())
        named = [r for r in named if r.prompt is None or r.prompt.strip() == text]
        if named:
            return named[call.repeat % len(named)]
        rows = self._by_text.get(text)
        if not rows:
            raise CallError(
                f"the recording has no answer to prompt {call.prompt}",
                reason=Reason.NO_RECORDING,
            )
        with self._turn:
            taken = self._taken[text]
            turn = taken.setdefault((call.prompt, call.repeat), len(taken))
        return rows[turn % len(rows)]


def _last_user_text(messages: Iterable[Message]) -> str:
    texts = [m.content for m in messages if m.role == "user"]
    return texts[-1] if texts else ""


def load(path: Path) -> list[Row]:
    """The transcripts of a file.

    Raises:
        DataError: it cannot be read, is no JSONL, JSON or CSV, or has no answer column.
    """
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise DataError(f"{path} is larger than 1 GiB; split it")
        text = path.read_bytes().decode("utf-8-sig", "replace")
    except OSError as error:
        raise DataError(f"cannot read the recording {path}: {error.strerror or error}") from error
    fields = list(
        _csv_rows(text, path) if path.suffix.lower() == ".csv" else _json_rows(text, path)
    )
    if not fields:
        raise DataError(f"the recording {path} has no rows")
    if "messages" in fields[0] and "visibility" in fields[0]:
        return _recorded(fields, path)
    columns = {what: _column(fields, names) for what, names in FIELDS.items()}
    if not (columns["answer"] or columns["thinking"]):
        raise DataError(
            f"{path}: no row has an answer; call the column one of {', '.join(FIELDS['answer'])}"
        )
    if not (columns["prompt"] or columns["id"] or _column(fields, ("messages",))):
        raise DataError(
            f"{path}: no row says what was asked; call the column one of "
            f"{', '.join(FIELDS['prompt'])}, or prompt_id"
        )
    return [_row(f, columns, path, number) for number, f in enumerate(fields, start=1)]


def _column(fields: list[dict[str, Any]], names: tuple[str, ...]) -> str | None:
    """The first of the names that the file has."""
    return next((n for n in names if any(f.get(n) is not None for f in fields)), None)


def _csv_rows(text: str, path: Path) -> Iterator[dict[str, Any]]:
    csv.field_size_limit(1 << 28)
    try:
        yield from csv.DictReader(io.StringIO(text, newline=""))
    except csv.Error as error:
        raise DataError(f"{path} is not valid CSV: {error}") from error


def _json_rows(text: str, path: Path) -> Iterator[dict[str, Any]]:
    if text.lstrip().startswith("["):
        try:
            rows: list[Any] = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise DataError(f"{path} is not valid JSON: {error}") from error
    else:
        rows = []
        for number, line in enumerate(text.split("\n"), start=1):
            if not line.strip():
                continue
            try:
                rows.append(json.loads(line))
            except (ValueError, RecursionError) as error:
                raise DataError(f"{path}, line {number}: not valid JSON ({error})") from error
    for number, row in enumerate(rows, start=1):
        if not isinstance(row, dict):
            raise DataError(f"{path}, row {number}: expected an object, found {type(row).__name__}")
        yield row


def _recorded(fields: list[dict[str, Any]], path: Path) -> list[Row]:
    """The rows of a run's `responses.jsonl`, read as they were.

    Raises:
        DataError: a line is no such record, or several models stand in the file.
    """
    rows: list[Row] = []
    models: set[str] = set()
    for number, f in enumerate(fields, start=1):
        try:
            record = msgspec.convert(f, _Record)
        except msgspec.ValidationError as error:
            raise DataError(f"{path}, row {number}: {error}") from error
        models.add(record.model)
        rows.append(
            Row(
                id=record.prompt,
                prompt=_clean(_last_user_text(record.messages)),
                answer=None,
                thinking=None,
                finish=None,
                reading=Reading(
                    thinking=None if record.thinking is None else _clean(record.thinking),
                    answer=None if record.answer is None else _clean(record.answer),
                    finish=_finish_of(f, record),
                    visibility=record.visibility,
                    style=record.style,
                ),
            )
        )
    if len(models) > 1:
        raise DataError(
            f"{path} has the answers of several models ({', '.join(sorted(models))}); "
            "put the lines of one into a file of their own"
        )
    return rows


def _finish_of(fields: dict[str, Any], record: _Record) -> Finish:
    """How it ended. Old records say "blocked", and the payload on which side that was."""
    return side_of_record(fields.get("raw")) if fields["finish"] == "blocked" else record.finish


def _row(fields: dict[str, Any], columns: dict[str, str | None], path: Path, number: int) -> Row:
    value = {what: _value(fields, name, path, number) for what, name in columns.items()}
    prompt = value["prompt"]
    if fields.get("messages") is not None:
        prompt = _prompt_of(fields["messages"], path, number)
    return Row(
        id=value["id"],
        prompt=prompt,
        answer=value["answer"],
        thinking=value["thinking"] or None,
        finish=OURS.get(value["finish"] or "", value["finish"]),
    )


def _value(fields: dict[str, Any], name: str | None, path: Path, number: int) -> str | None:
    value = fields.get(name) if name is not None else None
    if value is None:
        return None
    if isinstance(value, str | int):
        return _clean(str(value))
    raise DataError(
        f"{path}, row {number}, field {name}: expected text, found {type(value).__name__}"
    )


def _prompt_of(messages: object, path: Path, number: int) -> str:
    try:
        return _clean(_last_user_text(msgspec.convert(messages, list[Message])))
    except msgspec.ValidationError as error:
        raise DataError(f"{path}, row {number}, field messages: {error}") from error


def _clean(text: str) -> str:
    """The text without lone surrogates, which no file can hold."""
    return text.encode("utf-8", "replace").decode("utf-8")
