"""How long a model is to think: `?think=on|off`, `?effort=WORD`, `?budget=N`. Pure.

Every provider has other fields for it; `CONTROLS` says which, after the providers' own
documentation (November 2026). What a provider has no field for is refused before
anything is sent. Whether the model behind it takes a value is the provider's to say.
"""

from collections.abc import Callable
from typing import Any

from hiddenrisk.errors import UsageError
from hiddenrisk.models.spec import Spec

Fields = dict[str, Any]
EFFORTS = ("none", "minimal", "low", "medium", "high", "xhigh", "max")
NAMES = ("think", "effort", "budget")
_MOST = 10**6


def _effort(word: str) -> Fields:
    return {"reasoning_effort": word}


def _switch(on: bool) -> Fields:
    return {"thinking": {"type": "enabled" if on else "disabled"}}


def _template(**kwargs: object) -> Fields:
    """What the chat template of a server of open models is rendered with."""
    return {"chat_template_kwargs": kwargs}


CONTROLS: dict[str, dict[str, Callable[[Any], Fields]]] = {
    "openai": {"effort": _effort},
    "deepseek": {"think": _switch, "effort": _effort},
    "openrouter": {
        "think": lambda on: {"reasoning": {"enabled": on}},
        "effort": lambda word: {"reasoning": {"effort": word}},
        "budget": lambda tokens: {"reasoning": {"max_tokens": tokens}},
    },
    "together": {"think": lambda on: {"reasoning": {"enabled": on}}, "effort": _effort},
    "groq": {"effort": _effort},
    "fireworks": {
        "think": _switch,
        "effort": _effort,
        "budget": lambda tokens: {"thinking": {"type": "enabled", "budget_tokens": tokens}},
    },
    "mistral": {"effort": _effort},
    "xai": {"effort": _effort},
    "gemini": {
        "effort": _effort,
        # The field is called so on the wire as well; the summary comes on request only.
        "budget": lambda tokens: {
            "extra_body": {
                "google": {"thinking_config": {"thinking_budget": tokens, "include_thoughts": True}}
            }
        },
    },
    "zai": {"think": _switch, "effort": _effort},
    "ollama": {"effort": _effort},
    # An engine of our own: whether the template reads a switch is seen when it starts.
    "vllm": {
        "think": lambda on: _template(enable_thinking=on, thinking=on),
        "effort": lambda word: _template(reasoning_effort=word),
    },
    # vLLM, SGLang and llama.cpp: each reads its own field and leaves the others alone.
    "http": {
        "think": lambda on: _template(enable_thinking=on, thinking=on),
        "effort": lambda word: _effort(word) | _template(reasoning_effort=word),
        "budget": lambda tokens: {
            "thinking_token_budget": tokens,  # vLLM
            "thinking_budget_tokens": tokens,  # llama.cpp
            **_template(thinking_budget=tokens),  # SGLang, where the template has it
        },
    },
}
"""What each option becomes in the body of a request, by provider ("http" is a bare URL)."""


def fields_of(spec: Spec) -> Fields:
    """What the options of a SPEC add to the body of every request; nothing where none is set.

    Raises:
        UsageError: the provider has no field for an option, a value makes no sense, or two
            options contradict each other.
    """
    known = CONTROLS[spec.provider]
    fields: Fields = {}
    for name in names_set(spec):
        if name not in known:
            raise UsageError(
                f"{spec.provider} has no ?{name} (in '{spec.text}'); it has "
                f"{', '.join('?' + k for k in known)}"
            )
        for field, value in known[name](value_of(spec, name)).items():
            both = isinstance(value, dict) and field in fields
            fields[field] = fields[field] | value if both else value
    return fields


def value_of(spec: Spec, name: str, *, least: int = 0) -> Any:  # noqa: ANN401 - by the option
    """The value of one option: `think` is a bool, `effort` a word, `budget` a number of tokens.

    Returns:
        None where the option is not set.

    Raises:
        UsageError: the value makes no sense.
    """
    text = spec.options.get(name)
    if text is None:
        return None
    if name == "think":
        if text not in {"yes", "on", "off"}:
            raise UsageError(
                f"think={text} in '{spec.text}': write on or off (tokens of thinking are ?budget=N)"
            )
        return text != "off"
    if name == "effort":
        if text not in EFFORTS:
            raise UsageError(
                f"effort={text} in '{spec.text}': write one of {', '.join(EFFORTS)}, as the "
                "model has it"
            )
        return text
    if not (text.isascii() and text.isdecimal() and least <= int(text[:9]) <= _MOST):
        raise UsageError(
            f"budget={text} in '{spec.text}': write a number of tokens from {least} to {_MOST}"
        )
    return int(text)


def names_set(spec: Spec) -> list[str]:
    """The options that are set, if they can stand together.

    Raises:
        UsageError: they cannot.
    """
    names = [name for name in NAMES if name in spec.options]
    if "effort" in names and "budget" in names:
        raise UsageError(
            f"'{spec.text}' has ?effort and ?budget, two measures of one thing; write one"
        )
    if spec.options.get("think") == "off" and len(names) > 1:
        raise UsageError(f"'{spec.text}' turns thinking off and sets ?{names[1]}; leave one out")
    return names
