"""Models: one file per way to reach one. A SPEC names one; `open_model` gives it."""

from collections.abc import Callable, Collection

from hiddenrisk.errors import UsageError, unknown
from hiddenrisk.models import (
    anthropic,
    controls,
    fake,
    litellm,
    local,
    openai,
    replay,
    responses,
    vllm,
)
from hiddenrisk.models.completions import completing
from hiddenrisk.models.decoding import DEFAULT, decoding_of
from hiddenrisk.models.spec import Spec, parse, with_decoding
from hiddenrisk.types import Model

BUILDERS: dict[str, Callable[[Spec], Model]] = {
    **dict.fromkeys(openai.PROVIDERS, openai.from_spec),
    "anthropic": anthropic.from_spec,
    "openai-responses": responses.from_spec,
    "litellm": litellm.from_spec,
    "http": openai.from_spec,
    "local": local.from_spec,
    "vllm": vllm.from_spec,
    "replay": replay.from_spec,
    "fake": fake.from_spec,
}
"""Who builds the model of each provider."""

OPTIONS: dict[str, frozenset[str]] = {
    "anthropic": frozenset({"stream", *controls.NAMES}),
    "openai-responses": frozenset({"stream", "effort", "summary"}),
    "litellm": frozenset({"effort", "budget"}),
    "local": frozenset({"think", "budget", "decoding"}),
    "vllm": frozenset({"think", "effort", "tags", "decoding", *vllm.OPTIONS}),
    "replay": frozenset({"prefilled", "plain", "tags"}),
    "fake": frozenset(),
}
"""Options after `?`; every OpenAI-compatible provider takes the same ones."""
_HTTP_OPTIONS = frozenset({"stream", "prefilled", "plain", "tags", "decoding", *controls.NAMES})
_FLAGS = frozenset({"stream", "prefilled", "plain", "eager"})
"""They are there or not; `?prefilled=no` would say the contrary of what it does."""


def open_model(
    text: str,
    decoding: str = DEFAULT,
    *,
    completions: bool = False,
    known: Collection[str] = (),
) -> Model:
    """The model that a SPEC names, under a decoding strategy, not yet started.

    Args:
        text: the SPEC.
        decoding: the strategy's name.
        completions: whether it is asked by plain completions, with a prompt that is all ours.
        known: options that who asks has taken out already, for messages.

    Raises:
        UsageError: unknown provider or option, missing key, unreadable recording.
    """
    spec = parse(text)
    if spec.provider not in BUILDERS:
        raise unknown(
            "provider",
            spec.provider,
            BUILDERS.keys() - {"http"},
            see="For any other endpoint write its URL: http://host:port/v1#model-id.",
        )
    if decoding != DEFAULT:
        spec = with_decoding(spec, decoding)
    decoding_of(spec)  # who cannot be decoded so is told who can
    allowed = OPTIONS.get(spec.provider, _HTTP_OPTIONS)
    for option, value in spec.options.items():
        if option not in allowed:
            where = spec.text.partition("?")[0]  # what was given to it may be a key
            see = f"It stands behind '{where}'."
            raise unknown("option", option, {*allowed, *known}, see=see)
        if option in _FLAGS and value != "yes":
            raise UsageError(
                f"option '{option}' in '{spec.text}' takes no value; write ?{option}, or leave it out"
            )
    if {"prefilled", "plain"} <= spec.options.keys():
        raise UsageError(
            f"options 'prefilled' and 'plain' in '{spec.text}' say the contrary of each other: "
            "a text without tags is a thought, or an answer; leave one of them out"
        )
    return completing(spec) if completions else BUILDERS[spec.provider](spec)
