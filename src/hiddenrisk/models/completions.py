"""Plain completions: the whole prompt is ours, special tokens and all (`?completions`).

For guards whose server has no chat template, or another one than the model's own. What is
sent is the text of the messages as it stands; the template was written by who asks.
"""

from typing import Any

import msgspec

from hiddenrisk.errors import CallError, UsageError
from hiddenrisk.models import vllm
from hiddenrisk.models.blocks import fields_of, items_of
from hiddenrisk.models.http import payload
from hiddenrisk.models.openai import PROVIDERS, OpenAIModel, from_spec
from hiddenrisk.models.spec import Spec
from hiddenrisk.models.wire import read_completion
from hiddenrisk.types import Call, Model, Reply

PATH = "/completions"


def completing(spec: Spec) -> Model:
    """A model that is asked by plain completions: an OpenAI-compatible server, or vLLM here.

    Raises:
        UsageError: the provider has none, or an option does not go with it.
    """
    if spec.provider not in {"http", "vllm", *PROVIDERS}:
        raise UsageError(
            f"{spec.provider} has no completions (in '{spec.text}'); leave out ?completions"
        )
    if clash := sorted(spec.options.keys() & {"stream", "prefilled", "decoding"}):
        raise UsageError(f"'{spec.text}' has ?completions and ?{clash[0]}; leave one out")
    if spec.provider == "vllm":
        return vllm.from_spec(spec, whole=True)
    model = from_spec(spec, kind=CompletionsModel, path=PATH)
    model.identity["completions"] = True
    return model


class CompletionsModel(OpenAIModel):
    """One model behind the completions endpoint."""

    def _request(self, call: Call) -> bytes:
        body: dict[str, Any] = {
            "model": self._model,
            "prompt": "\n\n".join(m.content for m in call.messages),
            **self._extra,
        }
        if call.sampling.temperature is not None:
            body["temperature"] = call.sampling.temperature
        # Servers stop after 16 tokens where nobody says how many.
        body["max_tokens"] = call.sampling.max_tokens or 16
        if call.logprobs:
            body["logprobs"] = call.logprobs
        return msgspec.json.encode(body)

    def _read(self, content: bytes) -> Reply:
        """Read a completion as the chat completion that says the same."""
        found, raw = payload(content)
        choices: list[dict[str, object]] = []
        for choice in map(fields_of, items_of(found.get("choices"))):
            text = choice.get("text")
            if not isinstance(text, str):
                raise CallError("the reply has no text in it", heals=True, raw=str(choice))
            message = {"role": "assistant", "content": text}
            choices.append({"message": message, "finish_reason": choice.get("finish_reason")})
        reply = read_completion(msgspec.json.encode({**found, "choices": choices}))
        return msgspec.structs.replace(reply, raw=raw)
