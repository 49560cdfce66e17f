"""Prompts by a model's own chat template, where its tokenizer is here."""

import inspect
from typing import Any

import msgspec
from jinja2 import TemplateError

from hiddenrisk.errors import CallError, UsageError
from hiddenrisk.models.engines import Library, first_line
from hiddenrisk.tags import pairs
from hiddenrisk.types import Call, Message

_PROBE = (Message("user", "Hello."),)
_SWITCHES: dict[str, tuple[dict[str, Any], ...]] = {
    "think": tuple({"enable_thinking": on, "thinking": on} for on in (False, True)),
    "effort": tuple({"reasoning_effort": word} for word in ("low", "high")),
}
"""By option: what templates call the switch, at two of its values."""


class Rendered(msgspec.Struct, frozen=True):
    """A prompt as the model reads it."""

    text: str
    tokens: list[int]
    opened: tuple[str, str] | None
    """The tags of the thought that the template has opened, if it has."""


class Renderer:
    """A tokenizer with its chat template, under the switches that a SPEC sets.

    Args:
        tokenizer: one of transformers'.
        label: of the model, for messages.
        switches: what the template is rendered with beside the messages.
        tags: what this model writes around a thought, if the user says so.
        whole: prompts are all ours, and the template is left alone.
    """

    def __init__(
        self,
        tokenizer: Library,
        label: str,
        switches: dict[str, Any],
        tags: tuple[str, str] | None,
        *,
        whole: bool = False,
    ) -> None:
        self._tokenizer = tokenizer
        self._label = label
        self._switches = switches
        self._pairs = pairs(tags)
        self._whole = whole
        self._dropped = {
            int(place): str(getattr(tokenizer, f"{name}_token"))
            for name in ("bos", "eos", "pad")
            if (place := getattr(tokenizer, f"{name}_token_id", None)) is not None
        }
        """Tokens that are no text; all other special ones may mark a thought or a channel."""

    def check(self) -> bool:
        """See that the template does what is asked of it; whether it opens a thought.

        Raises:
            UsageError: there is none, it cannot be rendered, or it knows no such switch.
        """
        if self._whole:
            return False
        if not getattr(self._tokenizer, "chat_template", None):
            raise UsageError(
                f"the tokenizer of {self._label} has no chat template; take the chat model and "
                "not its base, or ask a guard with ?completions"
            )
        try:
            for option, ways in _SWITCHES.items():
                if self._switches.keys() & ways[0].keys() and not self._listens(ways):
                    raise UsageError(
                        f"the chat template of {self._label} reads no switch for ?{option}, so "
                        "that it would change nothing; leave it out"
                    )
            return self._opened(self._template(_PROBE)) is not None
        except CallError as error:
            raise UsageError(f"{self._label}: {error}") from error

    def render(self, call: Call, begun: str = "") -> Rendered:
        """The prompt of a call, with the beginning of the reply behind it.

        Raises:
            CallError: the template takes no such messages.
        """
        if self._whole:
            text = "\n\n".join(m.content for m in call.messages)
            bos = getattr(self._tokenizer, "bos_token", None)
            own = not (bos and text.startswith(bos))
            return Rendered(text, self._tokenizer.encode(text, add_special_tokens=own), None)
        text = self._template(call.messages, **call.template)
        opened = self._opened(text)
        text += begun
        return Rendered(text, self._tokenizer.encode(text, add_special_tokens=False), opened)

    def cleaned(self, text: str, tokens: list[int]) -> str:
        """A reply's text without the tokens that mark the ends of texts."""
        for place in self._dropped.keys() & set(tokens):
            text = text.replace(self._dropped[place], "")
        return text

    def _template(self, messages: tuple[Message, ...], **more: object) -> str:
        turns = [{"role": m.role, "content": m.content} for m in messages]
        try:
            text = self._tokenizer.apply_chat_template(
                turns, tokenize=False, add_generation_prompt=True, **{**self._switches, **more}
            )
        except (TemplateError, TypeError, ValueError, KeyError) as error:
            raise CallError(
                f"the chat template does not take these messages ({first_line(error)})"
            ) from error
        return str(text)

    def _listens(self, ways: tuple[dict[str, Any], ...]) -> bool:
        """Whether the prompt hangs on a switch: a template ignores what it does not know."""
        return len({self._template(_PROBE, **way) for way in ways}) > 1

    def _opened(self, text: str) -> tuple[str, str] | None:
        """The tags of a thought that a prompt ends with the beginning of."""
        end = text.rstrip()
        return next((pair for pair in self._pairs if end.endswith(pair[0])), None)


async def tokenizer_of(library: Library) -> Library:
    """The tokenizer of an engine; older ones have to be waited for."""
    found: Library = library.get_tokenizer()
    return await found if inspect.isawaitable(found) else found
