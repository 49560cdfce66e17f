"""OpenAI's batch files, input and output.

A line of the output is `{"custom_id", "response": {"status_code", "body"}, "error"}`, one of
the input `{"custom_id", "method", "url", "body"}`. A body is a chat completion or a response of the Responses API, and is read as it is when it
comes over HTTP. vLLM's `run-batch` and other providers write the same files.
"""

import json

import msgspec

from hiddenrisk.errors import CallError, DataError
from hiddenrisk.models.blocks import fields_of
from hiddenrisk.models.http import payload
from hiddenrisk.models.refusals import read_error
from hiddenrisk.models.responses import read_response
from hiddenrisk.models.summaries import summarises
from hiddenrisk.models.wire import read_completion
from hiddenrisk.transcripts.base import Asked, Contents, Transcript, clean, messages_of, one_line
from hiddenrisk.transcripts.tables import Row
from hiddenrisk.types import Message, Reply, Visibility


def is_batch(rows: list[Row]) -> bool:
    """Whether rows are those of a batch, of its input or its output."""
    first = rows[0][1]
    return "custom_id" in first and not first.keys().isdisjoint({"response", "body", "result"})


def read_batch(rows: list[Row]) -> Contents:
    """The transcripts of a batch's output, or the prompts of its input.

    Raises:
        DataError: a line has no custom_id, or is neither.
    """
    if all("body" in fields for _, fields in rows):
        return Contents(format="batch input", prompts=[_asked(*row) for row in rows])
    replies = [_Line(where, fields) for where, fields in rows]
    plain = [line.read(prefilled=False) for line in replies]
    styles = [t.reply.style for t in plain if t.reply and t.reply.style in {"prefilled", "none"}]
    if 2 * styles.count("prefilled") > len(styles):  # the template opened the thought
        plain = [line.read(prefilled=True) for line in replies]
    return Contents(format="batch output", transcripts=_of_one_model(plain))


def _of_one_model(found: list[Transcript]) -> list[Transcript]:
    """A line that failed does not say of which model it is: a batch is of one."""
    named = {t.model for t in found if t.model}
    if len(named) != 1:
        return found
    model = named.pop()
    return [t if t.model else msgspec.structs.replace(t, model=model) for t in found]


def _id_of(where: str, fields: dict[str, object]) -> str:
    name = fields.get("custom_id")
    if not isinstance(name, str) or not name.strip():
        raise DataError(f"{where}, field custom_id: missing or no text")
    return clean(name)


def _asked(where: str, fields: dict[str, object]) -> Asked:
    body = fields_of(fields["body"])
    asked = body.get("messages") if "messages" in body else body.get("input")
    messages = messages_of(asked)
    instructions = body.get("instructions")
    if isinstance(instructions, str) and instructions:
        messages = (Message("system", clean(instructions)), *messages)
    if not any(m.role == "user" and m.content.strip() for m in messages):
        raise DataError(f"{where}, field body: no message of a user in it (messages or input)")
    return Asked(where=where, id=_id_of(where, fields), messages=messages)


class _Line:
    """A line of the output."""

    def __init__(self, where: str, fields: dict[str, object]) -> None:
        if "response" not in fields and "error" not in fields:
            raise DataError(
                f"{where}: no line of OpenAI's batch output (it has neither response nor error)"
            )
        self._where = where
        self._id = _id_of(where, fields)
        self._response = fields_of(fields.get("response"))
        self._body = fields_of(self._response.get("body"))
        self._error = fields_of(fields.get("error"))
        model = self._body.get("model")
        self._model = clean(model) if isinstance(model, str) and model else None

    def read(self, *, prefilled: bool) -> Transcript:
        """What the model said, or why it said nothing."""
        found = Transcript(where=self._where, id=self._id, model=self._model)
        try:
            return msgspec.structs.replace(found, reply=self._reply(prefilled=prefilled))
        except CallError as error:
            return msgspec.structs.replace(found, trouble=one_line(str(error)), raw=error.raw)

    def _reply(self, *, prefilled: bool) -> Reply:
        if self._error:
            told = str(self._error.get("message") or self._error.get("code") or "failed")
            raise CallError(f"the batch says: {told}")
        status = self._response.get("status_code", 200)
        body = _encoded(self._body)
        if status != 200:
            return read_error(status if isinstance(status, int) else 502, body, None)
        if not self._body:
            raise CallError("the batch has no body for it")
        if "output" in self._body and "choices" not in self._body:
            return read_response(*payload(body))
        reply = read_completion(body, prefilled=prefilled)
        # Which provider wrote the file is not said; the model's id may tell.
        shown = reply.thinking and reply.visibility is Visibility.VISIBLE
        if shown and summarises("openrouter", self._model or ""):
            return msgspec.structs.replace(reply, visibility=Visibility.SUMMARISED)
        return reply


def _encoded(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode("utf-8", "replace")
