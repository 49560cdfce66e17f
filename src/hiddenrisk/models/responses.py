"""OpenAI's Responses API: `openai-responses/o3-mini?effort=low&summary=auto`.

The only way to see anything of how OpenAI's reasoning models think: a summary, which is
marked as such and never judged. A server that shows the thinking itself (`reasoning_text`,
as vLLM does for open models) is read as well. Nothing is stored at the provider. Options
after `?`:

    effort=low     none, minimal, low, medium, high, xhigh or max, as the model has it
    summary=auto   auto, concise or detailed; without it the thinking is hidden
    stream         send server-sent events
"""

from typing import Any

import msgspec

from hiddenrisk.errors import CallError, UsageError
from hiddenrisk.models import controls, halves
from hiddenrisk.models.blocks import fields_of, items_of, side_of_notes
from hiddenrisk.models.http import (
    HttpModel,
    base_of,
    count_of,
    error_inside,
    event_in,
    key_of,
    payload,
    text_of,
)
from hiddenrisk.models.refusals import start_of
from hiddenrisk.models.spec import Spec
from hiddenrisk.models.summaries import is_closed, shown
from hiddenrisk.thinking import read
from hiddenrisk.types import Call, Finish, Reply, Usage

_SUMMARIES = ("auto", "concise", "detailed")
_STATUS = {
    "context_length_exceeded": 400,
    "invalid_request_error": 400,
    "invalid_api_key": 401,
    "insufficient_quota": 429,
    "rate_limit_exceeded": 429,
}
"""The status that an error inside a 200 stands for, where that is not 500."""
_LAST = frozenset({"response.completed", "response.incomplete", "response.failed"})
"""Events that hold the whole response."""


def from_spec(spec: Spec) -> "ResponsesModel":
    """A client for OpenAI's API, or for the one that OPENAI_BASE_URL names.

    Raises:
        UsageError: no key is set, or an option cannot be.
    """
    reasoning: dict[str, str] = {}
    if effort := controls.value_of(spec, "effort"):
        reasoning["effort"] = effort
    if summary := spec.options.get("summary"):
        if summary not in _SUMMARIES:
            raise UsageError(
                f"summary={summary} in '{spec.text}': write one of {', '.join(_SUMMARIES)}"
            )
        reasoning["summary"] = summary
    base = base_of("OPENAI_BASE_URL", "https://api.openai.com/v1")
    return ResponsesModel(spec, base, key_of(spec, "OPENAI_API_KEY"), reasoning)


class ResponsesModel(HttpModel["Stream"]):
    """One model behind the Responses API."""

    def __init__(
        self, spec: Spec, base_url: str, key: str | None, reasoning: dict[str, str]
    ) -> None:
        super().__init__(spec, base_url, "/responses", key)
        self._model = spec.model
        self._reasoning = reasoning
        self.identity: dict[str, Any] = {
            "endpoint": base_url,
            "api": "openai-responses",
            "model": spec.model,
            "reasoning": reasoning,
        }

    def _authorization(self, key: str) -> dict[str, str]:
        return {"Authorization": f"Bearer {key}"}

    def _request(self, call: Call) -> bytes:
        return request_body(call, self._model, reasoning=self._reasoning, stream=self._streams)

    def _read(self, content: bytes) -> Reply:
        return read_response(*payload(content), asked=self._model)

    def _gather(self) -> "Stream":
        return Stream(self._model)

    def _gathered(self, stream: "Stream") -> Reply:
        return stream.reply()


def request_body(
    call: Call, model: str, *, reasoning: dict[str, str] | None = None, stream: bool = False
) -> bytes:
    """The JSON of a request."""
    body: dict[str, Any] = {"model": model, "input": call.messages, "store": False}
    if reasoning:
        body["reasoning"] = reasoning
    if call.sampling.temperature is not None:
        body["temperature"] = call.sampling.temperature
    if call.sampling.max_tokens is not None:
        body["max_output_tokens"] = call.sampling.max_tokens
    if stream:
        body["stream"] = True
    return msgspec.json.encode(body)


def read_response(
    response: dict[str, object], raw: msgspec.Raw, *, began: bool = False, asked: str = ""
) -> Reply:
    """Read a whole response.

    `began` says that some of its text had been streamed, `asked` which model was asked for.

    Raises:
        CallError: it is no finished response (heals), or an error.
    """
    if response.get("error"):
        return _read_error_in(response, began=began or bool(response.get("output")))
    status = text_of(response.get("status")) or "completed"
    if status not in {"completed", "incomplete"}:
        raise CallError(f"the response is {status[:40]}", heals=True, raw=start_of(bytes(raw)))
    if not isinstance(response.get("output"), list):
        raise CallError("the reply has no output in it", heals=True, raw=start_of(bytes(raw)))
    items = [fields_of(item) for item in items_of(response["output"])]
    reasoning = [item for item in items if item.get("type") == "reasoning"]
    thoughts = [t for item in reasoning for t in _texts(item.get("content"), "text")]
    summaries = [t for item in reasoning for t in _texts(item.get("summary"), "text")]
    served = text_of(response.get("model"))
    summarised = not thoughts or is_closed(asked) or is_closed(served)
    withheld = any(
        not _texts(item.get("content"), "text")
        and (item.get("encrypted_content") or item.get("summary"))
        for item in reasoning
    )
    usage = fields_of(response.get("usage"))
    text, refused = _answer(items)
    side = side_of_notes(sources=response.get("content_filters"))  # Azure
    if side is Finish.BLOCKED_ON_INPUT and (text or reasoning):
        side = None  # a request that was answered was not rejected
    tokens = count_of(fields_of(usage.get("output_tokens_details")).get("reasoning_tokens"))
    reading = read(
        text or None,
        "\n\n".join(thoughts or summaries) or None,
        _reason(status, response),
        reasoning_tokens=tokens or (1 if reasoning else None),
        marked=side or (Finish.REFUSED if refused else None),
    )
    summarised = summarised and reading.style == "field"
    return Reply(
        thinking=reading.thinking,
        answer=reading.answer,
        finish=reading.finish,
        visibility=shown(reading, summarised=summarised, withheld=withheld),
        style=reading.style,
        usage=Usage(
            prompt_tokens=count_of(usage.get("input_tokens")),
            completion_tokens=count_of(usage.get("output_tokens")),
            reasoning_tokens=tokens,
        ),
        served_model=served or None,
        raw=raw,
    )


def _texts(parts: object, name: str) -> list[str]:
    """The texts of some parts, without those that say nothing."""
    found = (text_of(fields_of(part).get(name)).strip() for part in items_of(parts))
    return [text for text in found if text]


def _answer(items: list[dict[str, object]]) -> tuple[str, bool]:
    """What the messages say, and whether some of it is marked as a refusal.

    A refusal is the model's own answer.
    """
    messages: list[str] = []
    refused = False
    for item in items:
        if item.get("type") == "message":
            parts = [fields_of(part) for part in items_of(item.get("content"))]
            refusal = "".join(text_of(p.get("refusal")) for p in parts)
            messages += ["".join(text_of(p.get("text")) for p in parts), refusal]
            refused = refused or bool(refusal.strip())
    return "\n\n".join(m for m in messages if m.strip()), refused


def _reason(status: str, response: dict[str, object]) -> str:
    """Why the response ended, in the words of the other APIs."""
    if status == "completed":
        return "stop"
    details = fields_of(response.get("incomplete_details"))
    return "content_filter" if details.get("reason") == "content_filter" else "length"


class Stream:
    """Waits for the event that holds the whole response."""

    def __init__(self, asked: str = "") -> None:
        self._asked = asked
        self._reply: Reply | None = None
        self._began = False
        """Whether some text has come."""
        self.done = False
        """Whether the end of the stream was seen."""

    def feed(self, line: bytes) -> None:
        """Take one line of the event stream.

        Raises:
            CallError: an event is malformed, or an error.
        """
        event = event_in(line)
        if event is None:
            return
        kind = text_of(event.get("type"))
        if kind == "error":
            self._reply, self.done = _read_error_in(event, began=self._began), True
        elif kind in _LAST:
            response, raw = payload(
                halves.dumps({"streamed": True, **fields_of(event.get("response"))})
            )
            self._reply = read_response(response, raw, began=self._began, asked=self._asked)
            self.done = True
        elif kind.endswith(".delta"):
            self._began = True

    def reply(self) -> Reply:
        """The whole reply.

        Raises:
            CallError: the stream ended before its end (heals).
        """
        if self._reply is None:
            raise CallError("the stream broke off", heals=True)
        return self._reply


def _read_error_in(payload: dict[str, object], *, began: bool) -> Reply:
    """Read the error of a failed response, or of a stream that broke off."""
    error = payload.get("error") or payload
    code = fields_of(error).get("code") or fields_of(error).get("type")
    return error_inside(_STATUS.get(text_of(code), 500), {"error": error}, began=began)
