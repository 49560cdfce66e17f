"""The OpenAI-compatible wire: bytes in, `Reply` or `CallError` out. Pure."""

from typing import Any

import msgspec

from hiddenrisk.errors import CallError
from hiddenrisk.models import halves
from hiddenrisk.models.blocks import GUARDRAIL, choices_in, fields_of, items_of, side_of_notes
from hiddenrisk.models.refusals import BROKEN, blocked, read_error, start_of, status_in
from hiddenrisk.models.summaries import is_closed, is_formatted, shown
from hiddenrisk.models.thoughts import (
    Thought,
    as_details,
    detail,
    joined,
    merged,
    text_in,
    thoughts_in,
)
from hiddenrisk.thinking import Reading, is_block, read
from hiddenrisk.types import Call, Finish, Reply, Usage


class _Details(msgspec.Struct):
    reasoning_tokens: int | None = None


class _Usage(msgspec.Struct):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    completion_tokens_details: _Details | None = None


class _Message(msgspec.Struct):
    content: str | list[object] | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    thinking: object = None  # Ollama
    reasoning_details: object = None  # OpenRouter
    refusal: str | None = None
    extra_content: object = None  # Gemini


class _Choice(msgspec.Struct):
    message: _Message | None = None
    delta: _Message | None = None
    finish_reason: str | None = None
    native_finish_reason: object = None  # OpenRouter
    content_filter_results: object = None  # Azure
    content_filter_result: object = None  # Azure
    safety_ratings: object = None  # Gemini


class _Completion(msgspec.Struct):
    choices: list[_Choice] | None = None
    usage: _Usage | None = None
    model: str | None = None
    system_fingerprint: str | None = None
    error: object = None
    prompt_filter_results: object = None  # Azure
    content_filters: object = None  # Azure
    prompt_feedback: object = None  # Gemini
    promptFeedback: object = None  # noqa: N815 - Gemini's own name
    candidates: object = None  # Gemini
    guardrail: object = msgspec.field(default=None, name=GUARDRAIL)  # Bedrock


_FIELDS = ("reasoning_content", "reasoning", "thinking")
_decoder = msgspec.json.Decoder(_Completion)
_encoder = msgspec.json.Encoder()
_ONE_LINE = bytes.maketrans(b"\r\n", b"  ")


def request_body(
    call: Call,
    model: str,
    *,
    token_field: str = "max_tokens",
    stream: bool = False,
    extra: dict[str, Any] | None = None,
) -> bytes:
    """The JSON of a chat completion request."""
    body: dict[str, Any] = {"model": model, "messages": call.messages, **(extra or {})}
    if call.sampling.temperature is not None:
        body["temperature"] = call.sampling.temperature
    if call.sampling.max_tokens is not None:
        body[token_field] = call.sampling.max_tokens
    if stream:
        body |= {"stream": True, "stream_options": {"include_usage": True}}
    return _encoder.encode(body)


def read_completion(
    body: bytes,
    *,
    prefilled: bool = False,
    tags: tuple[str, str] | None = None,
    asked: str = "",
) -> Reply:
    """Read a whole (not streamed) reply with status 200.

    Args:
        body: the payload.
        prefilled: see `thinking.split`.
        tags: see `thinking.split`.
        asked: the model that was asked for.

    Raises:
        CallError: the body is cut or malformed (heals), or holds an error.
    """
    completion, raw = _decode(body)
    if completion.error:
        return read_error(status_in(completion.error), body, None)
    choices = _choices(completion)
    choice = choices[0] if choices else None
    side = _side(completion, choice)
    if choice is None or (choice.message is None and choice.finish_reason is None):
        if side is not None:
            return blocked(side, raw)
        raise CallError("the reply has no choice in it", heals=True, raw=start_of(body))
    # Gemini's filter sends a finish reason and no message.
    message = choice.message or _Message()
    reason = _reason(choice)
    return _reply(
        completion, message, reason, raw, side, prefilled=prefilled, tags=tags, asked=asked
    )


class Stream:
    """Puts a streamed reply together, chunk by chunk."""

    def __init__(self) -> None:
        self._content: list[str] = []
        self._thoughts: list[Thought] = []
        self._field = "reasoning_content"
        self._last = _Completion()
        self._usage: _Usage | None = None
        self._finish: str | None = None
        self._refusal: list[str] = []
        self._extra: object = None
        self._side: Finish | None = None
        """What the chunks say that a filter blocked, beside their text."""
        self.done = False
        """Whether the end of the stream was seen."""

    def feed(self, line: bytes) -> None:
        """Take one line of the event stream.

        Raises:
            CallError: a chunk is malformed, or holds an error.
        """
        if not line.startswith(b"data:"):
            return
        data = line[5:].strip()
        if not data:
            return
        if data == b"[DONE]":
            self.done = True
            return
        chunk, _ = _decode(data, piece=True)
        if chunk.error:
            began = any(self._content) or bool(self._thoughts)
            reply = read_error(status_in(chunk.error), data, None, began=began)
            self._finish, self.done = reply.finish.value, True
            return
        self._last = chunk if chunk.model else self._last
        self._usage = chunk.usage or self._usage
        choices = _choices(chunk)
        for choice in choices:
            self._take(choice)
        self._side = _side(chunk, choices[0] if choices else None) or self._side

    def _take(self, choice: _Choice) -> None:
        delta = choice.delta or choice.message
        if delta is not None:
            self._content.append(text_in(delta.content) or "")
            self._refusal.append(delta.refusal or "")
            self._field = next((f for f in _FIELDS if getattr(delta, f)), self._field)
            self._thoughts += _thoughts(delta)
            self._extra = delta.extra_content if _says_thought(delta) else self._extra
        self._finish = _reason(choice) or self._finish

    @property
    def has_reason(self) -> bool:
        """Whether the stream has said why it ended."""
        return self._finish is not None or self._side is not None

    def reply(
        self,
        *,
        prefilled: bool = False,
        tags: tuple[str, str] | None = None,
        asked: str = "",
        with_reason: bool = False,
    ) -> Reply:
        """The whole reply; see `read_completion` for the options.

        `with_reason` says that this server's streams say why they end.

        Raises:
            CallError: the stream ended before its end (heals).
        """
        text = any(self._content) or bool(self._thoughts)
        if (side := _standing(self._side, text=text)) is not None:
            self._finish = side.value  # what said so is not kept
        if self._finish is None and (with_reason or not self.done):
            raise CallError("the stream broke off", heals=True, raw="".join(self._content)[:2000])
        thoughts = merged(self._thoughts)
        message = _Message(
            content=halves.mended("".join(self._content)) or None,
            reasoning_content=joined(thoughts) or None,
            reasoning_details=as_details(thoughts) or None,
            refusal=halves.mended("".join(self._refusal)) or None,
            extra_content=self._extra,
        )
        payload = {
            "streamed": True,
            "model": self._last.model,
            "system_fingerprint": self._last.system_fingerprint,
            "usage": self._usage,
            "choices": [
                {
                    "finish_reason": self._finish,
                    "message": {
                        "content": message.content,
                        self._field: message.reasoning_content,
                        **{
                            name: value
                            for name in ("reasoning_details", "refusal", "extra_content")
                            if (value := getattr(message, name))
                        },
                    },
                }
            ],
        }
        completion = msgspec.structs.replace(self._last, usage=self._usage)
        raw = msgspec.Raw(halves.dumps(payload))
        return _reply(
            completion,
            message,
            self._finish,
            raw,
            None,
            prefilled=prefilled,
            tags=tags,
            asked=asked,
        )


def _choices(completion: _Completion) -> list[_Choice]:
    """The choices; Gemini's candidates, where a gateway passes them on as they are."""
    if completion.choices or completion.candidates is None:
        return completion.choices or []
    return msgspec.convert(choices_in(completion.candidates), list[_Choice])


def _reason(choice: _Choice) -> str | None:
    """Why a choice ended. A gateway may call it a stop, and give the provider's word too."""
    native = choice.native_finish_reason
    if isinstance(native, str) and (is_block(native) or native.lower() in BROKEN):
        return native
    return choice.finish_reason


def _side(completion: _Completion, choice: _Choice | None) -> Finish | None:
    """What the notes beside a reply say that a filter blocked."""
    prompt = (
        completion.prompt_filter_results,
        completion.prompt_feedback,
        completion.promptFeedback,
    )
    output = (
        (choice.content_filter_results, choice.content_filter_result, choice.safety_ratings)
        if choice is not None
        else ()
    )
    if completion.guardrail == "INTERVENED":
        output = (*output, {"blocked": True})
    sources = completion.content_filters
    if sources is None and not any(prompt) and not any(output):
        return None  # nearly every reply: it is read some thousand times
    return side_of_notes(prompt=prompt, output=output, sources=sources)


def _standing(side: Finish | None, *, text: bool) -> Finish | None:
    """The side that was blocked: a request that was answered was not rejected."""
    return None if side is Finish.BLOCKED_ON_INPUT and text else side


def _reply(
    completion: _Completion,
    message: _Message,
    finish_reason: str | None,
    raw: msgspec.Raw,
    side: Finish | None,
    *,
    prefilled: bool,
    tags: tuple[str, str] | None,
    asked: str,
) -> Reply:
    if side is None and (finish_reason or "").lower() in BROKEN:
        raise CallError(
            f"the provider broke off ({finish_reason})", heals=True, raw=start_of(bytes(raw))
        )
    usage = completion.usage or _Usage()
    details = usage.completion_tokens_details
    text, thoughts = text_in(message.content), merged(_thoughts(message))
    kinds = {t.kind for t in thoughts}
    tokens = details.reasoning_tokens if details else None
    side = _standing(side, text=bool((text or "").strip() or thoughts))
    reading = read(
        text,
        joined(thoughts) or None,
        finish_reason,
        prefilled=prefilled,
        reasoning_tokens=tokens or (1 if "encrypted" in kinds else tokens),
        tags=tags,
        marked=side,
    )
    if refusal := (message.refusal or "").strip():
        reading = _refused(reading, refusal, finish_reason, side)
    models = (asked, completion.model or "")  # a router may choose another one
    summarised = (
        "summary" in kinds
        or _says_thought(message)
        or any(map(is_closed, models))
        or is_formatted({t.format for t in thoughts}, models)
    )
    return Reply(
        thinking=reading.thinking,
        answer=reading.answer,
        finish=reading.finish,
        visibility=shown(reading, summarised=summarised, withheld="encrypted" in kinds),
        style=reading.style,
        usage=Usage(
            prompt_tokens=usage.prompt_tokens,
            completion_tokens=usage.completion_tokens,
            reasoning_tokens=tokens,
        ),
        served_model=completion.model,
        fingerprint=completion.system_fingerprint,
        raw=raw,
    )


def _refused(
    reading: Reading, refusal: str, finish_reason: str | None, side: Finish | None
) -> Reading:
    """The reading with a refusal from a field of its own, which holds no thought.

    It is the last that was written: why the reply ended is about it.
    """
    last = read(refusal, None, finish_reason, marked=side or Finish.REFUSED)
    answer = f"{reading.answer}\n\n{refusal}" if reading.answer else refusal
    return msgspec.structs.replace(reading, answer=answer, finish=last.finish)


def _thoughts(message: _Message) -> list[Thought]:
    """A message's thinking: in parts of the content, in a field of its own, or in details.

    Details beside a field say what the field holds.
    """
    if isinstance(message.content, list):
        found = [t for part in message.content for t in thoughts_in(fields_of(part))]
        if found:
            return found
    details = [t for item in items_of(message.reasoning_details) for t in detail(fields_of(item))]
    thinking = message.thinking if isinstance(message.thinking, str) else None
    field = message.reasoning_content or message.reasoning or thinking
    if not field:
        return details
    told = {t.kind for t in details}
    shape = next((t.format for t in details if t.format), None)
    said = Thought("summary" if "summary" in told else "text", field, format=shape)
    return [said, *(t for t in details if t.kind == "encrypted")]


def _says_thought(message: _Message) -> bool:
    """Whether Gemini marks what it wrote between tags as a summary of a thought."""
    return fields_of(fields_of(message.extra_content).get("google")).get("thought") is True


def _decode(body: bytes, *, piece: bool = False) -> tuple[_Completion, msgspec.Raw]:
    """Decode a body, keeping it as it is where it is one line of valid JSON.

    Halves of characters in a `piece` are left as they are: the next may hold the other half.
    """
    try:
        if not body.isascii():
            body.decode()  # the decoder does not look at what it skips
        completion = _decoder.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as strict:
        return _decode_leniently(body, strict, piece=piece)
    if b"\n" in body or b"\r" in body:
        body = body.translate(_ONE_LINE)  # in valid JSON they stand between tokens only
    return completion, msgspec.Raw(body)


def _decode_leniently(
    body: bytes, strict: Exception, *, piece: bool
) -> tuple[_Completion, msgspec.Raw]:
    """Bodies that are JSON and yet not what we expect: lone surrogates, odd field types."""
    try:
        value = halves.loads(body)
        clean = halves.dumps(value)
        return _convert(value if piece else msgspec.json.decode(clean)), msgspec.Raw(clean)
    except (ValueError, msgspec.MsgspecError, RecursionError) as error:
        raise CallError(
            f"the reply is cut or malformed ({strict})", heals=True, raw=start_of(body)
        ) from error


def _convert(value: object) -> _Completion:
    """A completion, without the counts and names in it that have an odd type.

    Raises:
        msgspec.ValidationError: its choices have an odd type.
    """
    fields = fields_of(value)
    for name, kind in (("usage", _Usage), ("model", str), ("system_fingerprint", str)):
        try:
            msgspec.convert(fields.get(name), kind | None, strict=False)
            if isinstance(text := fields.get(name), str):
                fields[name] = halves.mended(text)
        except msgspec.ValidationError:
            del fields[name]
    return msgspec.convert(value, _Completion, strict=False)
