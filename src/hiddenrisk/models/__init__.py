"""Models: one file per way to reach one. A SPEC names one; `open_model` gives it."""

from collections.abc import Callable

from hiddenrisk.errors import UsageError, unknown
from hiddenrisk.models import anthropic, fake, litellm, local, openai, replay, responses
from hiddenrisk.models.spec import Spec, parse
from hiddenrisk.types import Model

BUILDERS: dict[str, Callable[[Spec], Model]] = {
    **dict.fromkeys(openai.PROVIDERS, openai.from_spec),
    "anthropic": anthropic.from_spec,
    "openai-responses": responses.from_spec,
    "litellm": litellm.from_spec,
    "http": openai.from_spec,
    "local": local.from_spec,
    "replay": replay.from_spec,
    "fake": fake.from_spec,
}
"""Who builds the model of each provider."""

OPTIONS: dict[str, frozenset[str]] = {
    "anthropic": frozenset({"stream", "thinking"}),
    "openai-responses": frozenset({"stream", "effort", "summary"}),
    "litellm": frozenset({"effort", "budget"}),
    "local": frozenset({"think", "budget"}),
    "replay": frozenset({"prefilled"}),
    "fake": frozenset(),
}
"""Options after `?`; every OpenAI-compatible provider takes the same two."""
_HTTP_OPTIONS = frozenset({"stream", "prefilled"})
_WITH_VALUE = frozenset({"budget", "thinking", "effort", "summary"})
"""The others are there or not; `?prefilled=no` would say the contrary of what it does."""


def open_model(text: str) -> Model:
    """The model that a SPEC names, not yet started.

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
    allowed = OPTIONS.get(spec.provider, _HTTP_OPTIONS)
    for option, value in spec.options.items():
        if option not in allowed:
            raise unknown("option", option, allowed, see=f"It stands in '{spec.text}'.")
        if option not in _WITH_VALUE and value != "yes":
            raise UsageError(
                f"option '{option}' in '{spec.text}' takes no value; write ?{option}, or leave it out"
            )
    return BUILDERS[spec.provider](spec)
