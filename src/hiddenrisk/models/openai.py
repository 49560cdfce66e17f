"""Any OpenAI-compatible endpoint, by its chat completions."""

import os
from typing import Any

import msgspec

from hiddenrisk.models import controls, decoding
from hiddenrisk.models.decoding import Decoding
from hiddenrisk.models.http import HttpModel, key_of
from hiddenrisk.models.spec import Spec, tags_of
from hiddenrisk.models.summaries import summarises
from hiddenrisk.models.wire import Stream, read_completion, request_body
from hiddenrisk.types import Call, Finish, Reply, Visibility

PROVIDERS: dict[str, tuple[str, str | None]] = {
    "openai": ("https://api.openai.com/v1", "OPENAI_API_KEY"),
    "deepseek": ("https://api.deepseek.com/v1", "DEEPSEEK_API_KEY"),
    "openrouter": ("https://openrouter.ai/api/v1", "OPENROUTER_API_KEY"),
    "together": ("https://api.together.xyz/v1", "TOGETHER_API_KEY"),
    "groq": ("https://api.groq.com/openai/v1", "GROQ_API_KEY"),
    "fireworks": ("https://api.fireworks.ai/inference/v1", "FIREWORKS_API_KEY"),
    "mistral": ("https://api.mistral.ai/v1", "MISTRAL_API_KEY"),
    "xai": ("https://api.x.ai/v1", "XAI_API_KEY"),
    "gemini": ("https://generativelanguage.googleapis.com/v1beta/openai", "GEMINI_API_KEY"),
    "zai": ("https://api.z.ai/api/paas/v4", "ZAI_API_KEY"),
    "ollama": ("http://localhost:11434/v1", None),
}
"""Base URL and key variable of each provider."""


def from_spec(
    spec: Spec, kind: "type[OpenAIModel] | None" = None, path: str = "/chat/completions"
) -> "OpenAIModel":
    """A client for a provider or a bare URL; of another kind, for another endpoint of it.

    Raises:
        UsageError: the provider needs a key and its variable is not set, or an option
            cannot be.
    """
    extra, tags = controls.fields_of(spec), tags_of(spec)
    how = decoding.decoding_of(spec, tags=tags, opened="prefilled" in spec.options)
    if spec.url is not None:
        base, key = spec.url, os.environ.get("HIDDENRISK_API_KEY")
    else:
        base, variable = PROVIDERS[spec.provider]
        key = key_of(spec, variable) if variable else None
    base = (how.way.base_url if how else None) or base
    model = (kind or OpenAIModel)(spec, base, key, extra=extra, tags=tags, how=how, path=path)
    if extra:
        model.identity["controls"] = extra
    return model


def wanted(call: Call) -> dict[str, Any]:
    """What a judge's request asks for beside the text."""
    fields: dict[str, Any] = {}
    if call.schema is not None:
        form = {"name": call.schema.name, "schema": call.schema.schema, "strict": True}
        fields["response_format"] = {"type": "json_schema", "json_schema": form}
    if call.logprobs:
        fields |= {"logprobs": True, "top_logprobs": call.logprobs}
    if call.template:
        fields["chat_template_kwargs"] = call.template
    return fields


class OpenAIModel(HttpModel[Stream]):
    """One model behind one endpoint."""

    def __init__(
        self,
        spec: Spec,
        base_url: str,
        key: str | None,
        *,
        extra: dict[str, Any] | None = None,
        tags: tuple[str, str] | None = None,
        how: Decoding | None = None,
        path: str = "/chat/completions",
    ) -> None:
        super().__init__(spec, base_url, path, key)
        self.prefilled = "prefilled" in spec.options
        self._never = "plain" in spec.options
        """No reply begins inside a thought, whatever others show."""
        self._closed = self._plain = 0
        """Replies that closed a thought they never opened, and replies without any tag."""
        self._gives_reasons = False
        """Whether a stream has said why it ended; from then on, one that does not broke off."""
        self._provider = spec.provider
        self._model = spec.model
        self._token_field = "max_completion_tokens" if spec.provider == "openai" else "max_tokens"
        self._extra = extra or {}
        self._tags = tags
        self._how = how
        self.identity: dict[str, Any] = {"endpoint": base_url, "model": spec.model}
        if tags:
            self.identity["tags"] = tags
        if self._never:
            self.identity["plain"] = True
        if how:
            self.identity["decoding"] = how.identity

    def _authorization(self, key: str) -> dict[str, str]:
        return {"Authorization": f"Bearer {key}"}

    async def generate(self, call: Call) -> Reply:
        """Answer once, without retrying; under a decoding strategy, in several requests."""
        if self._how is None:
            return await super().generate(call)
        return await decoding.decode(self._how, call, super().generate)

    def _request(self, call: Call) -> bytes:
        more = decoding.fields_of(self._how, call) if self._how else {}
        more |= wanted(call)
        return request_body(
            call,
            self._model,
            token_field=self._token_field,
            stream=self._streams,
            extra=self._extra | more,
        )

    def _read(self, content: bytes) -> Reply:
        return self._learnt(
            read_completion(content, prefilled=self._inside, tags=self._tags, asked=self._model)
        )

    def _gather(self) -> Stream:
        return Stream()

    def _gathered(self, stream: Stream) -> Reply:
        reply = stream.reply(
            prefilled=self._inside,
            tags=self._tags,
            asked=self._model,
            with_reason=self._gives_reasons,
        )
        self._gives_reasons = self._gives_reasons or stream.has_reason
        return self._learnt(reply)

    @property
    def _inside(self) -> bool:
        """Whether replies start inside a thought; what follows a message of ours does not."""
        return self.prefilled and self._how is None and not self._never

    def _learnt(self, reply: Reply) -> Reply:
        """The reply, once it was learnt from.

        Replies that close a thought they never opened: the template opens all of them.
        Most replies have to: one that merely echoes a tag, among many without any, must
        not turn the answers that follow into unfinished thoughts.
        """
        if self._how is None:
            if reply.style == "prefilled":
                self._closed += reply.finish is not Finish.CUT_IN_THINKING
            elif reply.style == "none":
                self._plain += reply.finish is Finish.COMPLETE
            self.prefilled = self.prefilled or self._closed > self._plain
        models = (self._model, reply.served_model or "")  # a router may choose another one
        if reply.thinking and any(summarises(self._provider, m) for m in models):
            return msgspec.structs.replace(reply, visibility=Visibility.SUMMARISED)
        return reply
