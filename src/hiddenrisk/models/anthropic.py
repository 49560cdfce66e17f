"""Anthropic's Messages API: `anthropic/claude-sonnet-4-5?budget=4096`.

Thinking comes in blocks of its own. Claude 3.7 shows all of it but what is encrypted
(`redacted_thinking`); later models show a summary (docs.claude.com, "Extended thinking"),
which is marked as such and never judged. Options after `?`:

    budget=N      up to N tokens of thinking (at least 1024), on top of `max_tokens`
    think=on      as much as the model finds good (Claude 4.6 and later); off for none
    effort=low    how much to spend on thinking and answer (low, medium, high, xhigh or max)
    stream        send server-sent events

With thinking on, the API takes no temperature, so none is sent. `max_tokens` is required
by the API: where the run names none, it is 8192.
"""

import re
from collections import defaultdict
from typing import Any

import msgspec

from hiddenrisk.errors import CallError
from hiddenrisk.models import controls, halves
from hiddenrisk.models.blocks import GUARDRAIL, fields_of, items_of
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
from hiddenrisk.models.refusals import BROKEN, read_error, start_of
from hiddenrisk.models.spec import Spec
from hiddenrisk.models.summaries import claude_summarises, shown
from hiddenrisk.thinking import read
from hiddenrisk.types import Call, Finish, Reply, Usage, Visibility

VERSION = "2023-06-01"
MAX_TOKENS = 8192
"""For a call that does not say; the API asks for a number."""
_LEAST_THINKING = 1024
"""The API takes no smaller budget."""
_STATUS = {
    "invalid_request_error": 400,
    "authentication_error": 401,
    "billing_error": 402,
    "permission_error": 403,
    "not_found_error": 404,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "api_error": 500,
    "timeout_error": 504,
    "overloaded_error": 529,
}
"""The status that an error inside a 200 stands for; it is healed where it is none of these."""
_NO_CREDIT = re.compile(r"HTTP 400\b.*credit balance", re.IGNORECASE | re.DOTALL)
_GROWING = {"text_delta": "text", "thinking_delta": "thinking", "signature_delta": "signature"}
"""What grows by each kind of delta."""


def from_spec(spec: Spec) -> "AnthropicModel":
    """A client for Anthropic's API, or for the one that ANTHROPIC_BASE_URL names.

    Raises:
        UsageError: no key is set, or an option cannot be.
    """
    thinking, extra = _thinking(spec), _extra(spec)
    base = base_of("ANTHROPIC_BASE_URL", "https://api.anthropic.com")
    model = AnthropicModel(spec, base, key_of(spec, "ANTHROPIC_API_KEY"), thinking, extra)
    if extra:
        model.identity["controls"] = extra
    return model


def _thinking(spec: Spec) -> int | None:
    """The budget; 0 where the model decides, None where nothing is said or thinking is off.

    Raises:
        UsageError: a value makes no sense, or two options contradict each other.
    """
    controls.names_set(spec)
    budget: int | None = controls.value_of(spec, "budget", least=_LEAST_THINKING)
    return 0 if budget is None and controls.value_of(spec, "think") else budget


def _extra(spec: Spec) -> dict[str, Any]:
    """What the other options add to every request."""
    effort = controls.value_of(spec, "effort")
    extra: dict[str, Any] = {"output_config": {"effort": effort}} if effort else {}
    if controls.value_of(spec, "think") is False:
        extra["thinking"] = {"type": "disabled"}
    return extra


class AnthropicModel(HttpModel["Stream"]):
    """One Claude model."""

    def __init__(
        self,
        spec: Spec,
        base_url: str,
        key: str | None,
        thinking: int | None,
        extra: dict[str, Any],
    ) -> None:
        super().__init__(
            spec, base_url, "/v1/messages", key, headers={"anthropic-version": VERSION}
        )
        self._model = spec.model
        self._thinking = thinking
        self._extra = extra
        self.identity: dict[str, Any] = {
            "endpoint": base_url,
            "api": "anthropic-messages",
            "model": spec.model,
            "thinking": None if thinking is None else str(thinking or "adaptive"),
            "default_max_tokens": MAX_TOKENS,
        }

    def _authorization(self, key: str) -> dict[str, str]:
        return {"x-api-key": key}

    def _request(self, call: Call) -> bytes:
        return request_body(
            call,
            self._model,
            thinking=self._thinking,
            stream=self._streams,
            extra=self._extra,
        )

    def _read(self, content: bytes) -> Reply:
        message, raw = payload(content)
        return read_message(message, raw, self._model)

    def _gather(self) -> "Stream":
        return Stream()

    def _gathered(self, stream: "Stream") -> Reply:
        return stream.reply(self._model)

    def _read_error(self, status: int, content: bytes, retry_after: str | None) -> Reply:
        try:
            return read_error(status, content, retry_after)
        except CallError as error:
            # An unknown model, or no credit: the same would happen to every call.
            error.fatal = error.fatal or status == 404 or bool(_NO_CREDIT.search(str(error)))
            raise


def request_body(
    call: Call,
    model: str,
    *,
    thinking: int | None = None,
    stream: bool = False,
    extra: dict[str, Any] | None = None,
) -> bytes:
    """The JSON of a request; `thinking` is the budget, 0 where the model decides."""
    sampling = call.sampling
    body: dict[str, Any] = {
        "model": model,
        "max_tokens": (sampling.max_tokens or MAX_TOKENS) + (thinking or 0),
        "messages": [m for m in call.messages if m.role != "system"],
        **(extra or {}),
    }
    if system := "\n\n".join(m.content for m in call.messages if m.role == "system"):
        body["system"] = system
    if thinking:
        body["thinking"] = {"type": "enabled", "budget_tokens": thinking}
    elif thinking is not None:
        body["thinking"] = {"type": "adaptive", "display": "summarized"}
    elif sampling.temperature is not None:
        body["temperature"] = sampling.temperature
    if stream:
        body["stream"] = True
    return msgspec.json.encode(body)


def read_message(message: dict[str, object], raw: msgspec.Raw, model: str) -> Reply:
    """Read a whole reply; `model` is the one that was asked for.

    Raises:
        CallError: it is no message (heals), or an error.
    """
    if message.get("error"):
        return _read_error_in(message, began=False)
    if not isinstance(message.get("content"), list):
        raise CallError("the reply has no content in it", heals=True, raw=start_of(bytes(raw)))
    reason = text_of(message.get("stop_reason"))
    if reason in BROKEN:
        raise CallError(f"the provider broke off ({reason})", heals=True, raw=start_of(bytes(raw)))
    blocks = [fields_of(block) for block in items_of(message["content"])]
    thoughts = [b for b in blocks if b.get("type") == "thinking"]
    texts = [t for b in thoughts if (t := text_of(b.get("thinking")).strip())]
    served = text_of(message.get("model")) or None
    summarised = claude_summarises(model) or claude_summarises(served or "")
    withheld = any(b.get("type") == "redacted_thinking" for b in blocks) or any(
        # Shown as nothing: the signature holds the thought.
        (summarised or b.get("signature")) and not text_of(b.get("thinking")).strip()
        for b in thoughts
    )
    reading = read(
        _answer(blocks) or None,
        "\n\n".join(texts) or None,
        reason or None,
        reasoning_tokens=1 if withheld and not texts else None,  # nobody says how many
        marked=Finish.BLOCKED_ON_OUTPUT if message.get(GUARDRAIL) == "INTERVENED" else None,
    )
    summarised = summarised and reading.style == "field"
    visibility = shown(reading, summarised=summarised, withheld=withheld)
    thinking = reading.thinking
    if thoughts and visibility is Visibility.NONE:
        thinking, visibility = "", Visibility.EMPTY
    usage = fields_of(message.get("usage"))
    return Reply(
        thinking=thinking,
        answer=reading.answer,
        finish=reading.finish,
        visibility=visibility,
        style=reading.style,
        usage=Usage(
            prompt_tokens=count_of(usage.get("input_tokens")),
            completion_tokens=count_of(usage.get("output_tokens")),
        ),
        served_model=served,
        raw=raw,
    )


def _answer(blocks: list[dict[str, object]]) -> str:
    """The texts: one where they follow each other (citations cut them so), else paragraphs."""
    runs = [[""]]
    for block in blocks:
        if block.get("type") == "text":
            runs[-1].append(text_of(block.get("text")))
        else:
            runs.append([])
    return "\n\n".join(text for run in runs if (text := "".join(run)))


class Stream:
    """Puts a streamed reply together, event by event."""

    def __init__(self) -> None:
        self._message: dict[str, object] = {}
        self._blocks: dict[int, dict[str, object]] = {}
        self._grown: defaultdict[tuple[int, str], list[str]] = defaultdict(list)
        self._blocked: Reply | None = None
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
        match event.get("type"):
            case "message_start":
                self._message = dict(fields_of(event.get("message")))
            case "content_block_start":
                self._blocks[_index(event)] = dict(fields_of(event.get("content_block")))
            case "content_block_delta":
                self._grow(_index(event), fields_of(event.get("delta")))
            case "message_delta":
                usage = {
                    **fields_of(self._message.get("usage")),
                    **fields_of(event.get("usage")),
                }
                self._message |= {**fields_of(event.get("delta")), "usage": usage}
            case "message_stop":
                if GUARDRAIL in event:
                    self._message[GUARDRAIL] = event[GUARDRAIL]
                self.done = True
            case "error":
                self._stop(_read_error_in(event, began=bool(self._blocks)))
            case _:  # a ping, the end of a block, or an event of later days
                pass

    def _stop(self, reply: Reply) -> None:
        """End with a block; of a message that had begun, what was written is kept."""
        self.done = True
        if self._blocks:
            self._message["stop_reason"] = reply.finish.value
        else:
            self._blocked = reply

    def _grow(self, index: int, delta: dict[str, object]) -> None:
        name = _GROWING.get(text_of(delta.get("type")))
        if name is not None:
            self._blocks.setdefault(index, {"type": "thinking" if name != "text" else name})
            self._grown[index, name].append(text_of(delta.get(name)))

    def reply(self, model: str) -> Reply:
        """The whole reply.

        Raises:
            CallError: the stream ended before its end (heals).
        """
        for (index, name), pieces in self._grown.items():
            begun = text_of(self._blocks[index].get(name))
            self._blocks[index][name] = halves.mended(begun + "".join(pieces))
        self._grown.clear()
        blocks = [self._blocks[index] for index in sorted(self._blocks)]
        if self._blocked is not None:
            return self._blocked
        if not self.done and not self._message.get("stop_reason"):
            so_far = "".join(text_of(b.get("text")) for b in blocks)
            raise CallError("the stream broke off", heals=True, raw=so_far)
        whole = {"streamed": True, **self._message, "content": blocks}
        return read_message(*payload(halves.dumps(whole)), model)


def _index(event: dict[str, object]) -> int:
    return count_of(event.get("index")) or 0


def _read_error_in(message: dict[str, object], *, began: bool) -> Reply:
    kind = text_of(fields_of(message.get("error")).get("type"))
    return error_inside(_STATUS.get(kind, 502), message, began=began)
