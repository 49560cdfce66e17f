"""`vllm/MODEL`: weights on one's own GPU, without a server, by vLLM's own engine.

MODEL is a hub id (`vllm/Qwen/Qwen3-8B`) or a folder (`vllm//data/checkpoint`,
`vllm/./checkpoint`). Behind it, beside what other providers have:

    ?revision=COMMIT   of the hub's repository; without it the newest, whose commit is recorded
    ?dtype=bfloat16    of the weights; without it the checkpoint's own
    ?window=8192       tokens of prompt and reply together; without it the model's own
    ?gpus=2            the weights are spread over so many
    ?memory=0.5        share of each GPU that the engine takes, 0.9 of it without
    ?eager             no compiling: sooner there, and slower

To open the model takes neither vLLM nor the weights: what it is, is what the SPEC says. All
that is heavy is in `start`. Calls that are made at once are answered in one batch, which
the engine takes up and lets go of token by token.

The prompt is made by the model's own chat template, and the reply read by our own parser,
from text that keeps its special tokens: vLLM's reasoning parsers are one for each family,
have to be named, and lose what is told apart here (a thought that is cut, empty, or opened by
the template). The payload that is stored is the one that vLLM's server would send.
"""

import hashlib
import itertools
import re
import time
from collections.abc import Mapping
from typing import Any

import msgspec

from hiddenrisk.errors import CallError, UsageError
from hiddenrisk.models import controls, decoding, engines
from hiddenrisk.models.decoding import Continued, decoding_of
from hiddenrisk.models.engines import Engine, Library, Settings
from hiddenrisk.models.rendering import Rendered, Renderer, tokenizer_of
from hiddenrisk.models.spec import Spec, tags_of
from hiddenrisk.models.weights import folder_of
from hiddenrisk.models.wire import read_completion
from hiddenrisk.types import Call, Reply

OPTIONS = ("revision", "dtype", "window", "gpus", "memory", "eager")
_DTYPES = ("auto", "bfloat16", "float16", "float32")
_LEAST_WINDOW, _MOST_WINDOW = 64, 10**8
_MOST_GPUS = 64
_COMPLETION_TOKENS = 16
"""Of a plain completion where nobody says how many, as a server has it."""
_HUB_ID = re.compile(r"\w[\w.-]*(?:/\w[\w.-]*)?")
_REVISION = re.compile(r"[\w./-]+")
_NEVER = -9999.0
"""The logarithm of no probability, as vLLM's server writes it."""


def from_spec(spec: Spec, *, whole: bool = False) -> "VllmModel":
    """The model; `whole` for prompts that are all ours, without a chat template.

    Raises:
        UsageError: the name or an option makes no sense.
    """
    folder = folder_of(spec.model)
    if folder is None and not _HUB_ID.fullmatch(spec.model):
        raise UsageError(
            f"'{spec.text}' names no model; write a hub id (vllm/Qwen/Qwen3-8B) or a folder "
            "(vllm//path/to/checkpoint, vllm/./checkpoint)"
        )
    revision, dtype = spec.options.get("revision"), spec.options.get("dtype")
    if revision is not None and (folder is not None or not _REVISION.fullmatch(revision)):
        raise UsageError(
            f"revision={revision} in '{spec.text}': write a commit, a tag or a branch of the hub's "
            "repository; a folder has none"
        )
    if dtype is not None and dtype not in _DTYPES:
        raise UsageError(f"dtype={dtype} in '{spec.text}': write one of {', '.join(_DTYPES)}")
    settings = Settings(
        label=spec.label,
        model=spec.model,
        revision=revision,
        dtype=dtype,
        window=_number(spec, "window", _LEAST_WINDOW, _MOST_WINDOW),
        gpus=_number(spec, "gpus", 1, _MOST_GPUS) or 1,
        memory=_share(spec),
        eager="eager" in spec.options,
    )
    return VllmModel(spec, settings, whole=whole)


def _number(spec: Spec, name: str, least: int, most: int) -> int | None:
    text = spec.options.get(name)
    if text is None:
        return None
    if not (text.isascii() and text.isdecimal() and least <= int(text[:12]) <= most):
        raise UsageError(f"{name}={text} in '{spec.text}': write a number from {least} to {most}")
    return int(text)


def _share(spec: Spec) -> float | None:
    text = spec.options.get("memory")
    if text is None:
        return None
    if not re.fullmatch(r"0?\.\d{1,4}|1(?:\.0)?", text) or not float(text):
        raise UsageError(
            f"memory={text} in '{spec.text}': write the share of a GPU's memory that the engine "
            "may take, as in ?memory=0.5"
        )
    return float(text)


class VllmModel:
    """A model in an engine of our own."""

    def __init__(self, spec: Spec, settings: Settings, *, whole: bool = False) -> None:
        self.label = spec.label
        self.provider = "vllm"
        self.local = True
        self.prefilled = False
        self.gpus = settings.gpus
        """How many it needs, where it is started."""
        self._tags = tags_of(spec)
        extra = controls.fields_of(spec)
        self._switches: dict[str, Any] = extra.get("chat_template_kwargs", {})
        self._how = decoding_of(spec, tags=self._tags)
        self._settings = settings
        self._whole = whole
        # Of the rest of the settings none decides more than how sums are rounded, which the
        # other calls in a batch do as well.
        decides = {
            "vllm": settings.model,
            "revision": settings.revision,
            "dtype": settings.dtype,
            "window": settings.window,
            "tags": self._tags,
            "controls": extra or None,
            "decoding": self._how.identity if self._how else None,
            "completions": whole or None,
        }
        self.identity: dict[str, Any] = {k: v for k, v in decides.items() if v is not None}
        self._engine: Engine | None = None
        self._renderer: Renderer | None = None
        self._numbers = itertools.count()

    async def start(self) -> None:
        """Load the weights and start the engine.

        Raises:
            UsageError: vLLM is not installed, or the model cannot be had with it here.
        """
        self._engine = await engines.start(self._settings)
        try:
            tokenizer = await tokenizer_of(self._engine.library)
            self._renderer = Renderer(
                tokenizer, self.label, self._switches, self._tags, whole=self._whole
            )
            self.prefilled = self._renderer.check()
        except UsageError:
            await self.close()
            raise
        if self._how:
            self._how = self._how._replace(opened=self.prefilled)

    async def close(self) -> None:
        """End the engine and its processes."""
        engine, self._engine = self._engine, None
        if engine is not None:
            await engine.close()

    async def generate(self, call: Call) -> Reply:
        """Answer once, without retrying; under a decoding strategy, in several requests."""
        if self._how is None:
            return await self._once(call)
        return await decoding.decode(self._how, call, self._once)

    async def _once(self, call: Call) -> Reply:
        engine, renderer = self._engine, self._renderer
        if engine is None or renderer is None:
            raise UsageError(f"{self.label} was not started")
        begun = call.begun if isinstance(call, Continued) else ""
        prompt = renderer.render(call, begun)
        room = engine.window - len(prompt.tokens)
        if room < 1:
            raise CallError(
                f"the prompt has {len(prompt.tokens)} tokens, and the window of {self.label} "
                f"{engine.window}, prompt and reply together (?window is its size)"
            )
        if call.schema and prompt.opened:
            raise CallError(
                f"the chat template of {self.label} opens a thought, and ?json leaves no place to "
                "think; leave ?json out, or write ?think=off",
                fatal=True,
            )
        parameters = self._sampling(engine, call, room)
        output = await self._asked(engine, prompt, parameters)
        said = output.outputs[0]
        # As from a server that repeats what was begun: it is sure that it was gone on with.
        text = begun + renderer.cleaned(said.text, list(said.token_ids))
        tags, opened = self._tags or prompt.opened, prompt.opened and self._how is None
        return read_completion(
            msgspec.json.encode(self._payload(engine, prompt, said, text)),
            prefilled=bool(opened),
            tags=tags,
            asked=self._settings.model,
        )

    async def _asked(self, engine: Engine, prompt: Rendered, parameters: Library) -> Library:
        """The engine's output; a call that is cancelled is taken out of the batch."""
        number = f"{self.label}-{next(self._numbers)}"
        tokens = {"prompt_token_ids": prompt.tokens}
        last: Library = None
        try:
            async for output in engine.library.generate(tokens, parameters, request_id=number):
                last = output
        except Exception as error:
            if getattr(engine.library, "errored", False):
                raise engine.died(error) from error
            said = engines.first_line(error.__cause__ or error)
            raise CallError(f"the engine does not take this call ({said})") from error
        if last is None or not last.outputs:
            raise CallError("the engine gave no output", heals=True)
        return last

    def _sampling(self, engine: Engine, call: Call, room: int) -> Library:
        """What the engine is to do; the model's own settings where the call says nothing."""
        fields: dict[str, Any] = dict(engine.defaults)
        if call.sampling.temperature is not None:
            fields["temperature"] = call.sampling.temperature
        most = call.sampling.max_tokens or fields.get("max_tokens")
        if most is None and self._whole:
            most = _COMPLETION_TOKENS
        fields["max_tokens"] = min(room, most or room)
        if fields.get("temperature") != 0:
            fields["seed"] = _seed(call)
        if call.logprobs:
            fields["logprobs"] = call.logprobs
        if call.schema is not None:
            form = engine.sampling.StructuredOutputsParams(json=call.schema.schema)
            fields["structured_outputs"] = form
        if self._how and isinstance(call, Continued) and call.inside:
            fields["stop"] = [self._how.close]
        return engine.sampling.SamplingParams(
            output_kind=engine.sampling.RequestOutputKind.FINAL_ONLY,
            skip_special_tokens=False,  # tags and channels may be such
            spaces_between_special_tokens=False,
            **fields,
        )

    def _payload(
        self, engine: Engine, prompt: Rendered, said: Library, text: str
    ) -> dict[str, Any]:
        """What vLLM's server would send for the same output."""
        choice: dict[str, Any] = {
            "index": 0,
            "message": {"role": "assistant", "content": text},
            "finish_reason": said.finish_reason,
            "stop_reason": said.stop_reason,
        }
        if said.logprobs:
            pairs = zip(said.token_ids, said.logprobs, strict=False)
            choice["logprobs"] = {"content": [_place(token, likely) for token, likely in pairs]}
        prompted, written = len(prompt.tokens), len(said.token_ids)
        return {
            "object": "chat.completion",
            "created": int(time.time()),
            "model": self._settings.model,
            "system_fingerprint": engine.fingerprint,
            "choices": [choice],
            "usage": {
                "prompt_tokens": prompted,
                "completion_tokens": written,
                "total_tokens": prompted + written,
            },
        }


def _place(token: int, likely: Mapping[int, Library]) -> dict[str, Any]:
    """One token of a reply, with the likeliest ones in its place."""
    ranked = sorted(likely.values(), key=lambda one: one.rank or 0)
    said = [{"token": p.decoded_token or "", "logprob": max(p.logprob, _NEVER)} for p in ranked]
    chosen = likely[token]
    return {
        "token": chosen.decoded_token or "",
        "logprob": max(chosen.logprob, _NEVER),
        "top_logprobs": said,
    }


def _seed(call: Call) -> int:
    """The same for the same call, wherever and beside whatever it is made.

    The engine draws from one stream for all else: two engines that begin alike would give
    two repeats of a prompt the same reply.
    """
    begun = call.begun if isinstance(call, Continued) else ""
    asked = msgspec.json.encode((call.messages, call.sampling, call.prompt, call.repeat, begun))
    return int.from_bytes(hashlib.sha256(asked).digest()[:4]) >> 1
