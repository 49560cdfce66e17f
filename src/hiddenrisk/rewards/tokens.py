"""Texts as a reward model reads them: the chat template, and no control token from outside.

A prompt or an answer may contain the text of a control token (`<|eot_id|>`), by accident or
to open a turn of its own. Read as the token it would end the answer early, or move the place
where the gate looks. So what a text says is never read as a control token: such words are
split into plain text, in the prompt as in the answer, and the template alone writes controls.

Longer than the window: the END of the answer is dropped and what the template closes a turn
with is kept, so that the last token is the one the model was trained to be read at. `cut`
says so. The prompt is never cut; where it leaves fewer than 16 tokens there is no score.
"""

import importlib
import itertools
import re
from array import array
from collections.abc import Iterable

import msgspec
from jinja2 import TemplateError

from hiddenrisk.errors import DataError
from hiddenrisk.models import halves
from hiddenrisk.rewards.base import Item, NoScore, Unscored
from hiddenrisk.rewards.checkpoint import Library

HEADER = "<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n"
"""Where the prompt ends and the answer begins, in Llama 3's template. The gates of ArmoRM and
QRM read the first token of its last occurrence (ids 128009 128006 78191 128007 271)."""
_CONTROLS = ("<|eot_id|>", "<|start_header_id|>", "<|end_header_id|>")
_DATE = "26 Jul 2024"
"""Llama 3.1's own default for "today"; some templates ask the clock, and a score must not."""
_LEAST = 16
_TEMPLATE_FAILS = (TemplateError, TypeError, ValueError, LookupError, AttributeError)
"""A template is a program of its own."""
_PROBE = "probe"


class Row(msgspec.Struct, frozen=True):
    """A text ready for the model."""

    key: str
    ids: "array[int]"
    gate: int
    """Where the header of the answer begins; 0 for a model without a gate."""
    cut: bool


class Encoder:
    """A tokenizer with a chat template, and the window of a model."""

    def __init__(self, tokenizer: Library, *, name: str, window: int, gated: bool) -> None:
        """Take what is needed of a `transformers` tokenizer.

        Raises:
            DataError: it has no chat template, is none of the fast ones, or (for a gated
                model) has not the control tokens of Llama 3.
        """
        if not getattr(tokenizer, "chat_template", None):
            raise DataError(
                f"the tokenizer of {name} has no chat template, so nobody knows how it wants its "
                "turns; put a chat_template.jinja beside it, or take another reward model"
            )
        if not getattr(tokenizer, "is_fast", False):
            raise DataError(f"{name} has no tokenizer.json; fetch it with the checkpoint")
        self._tokenizer = tokenizer
        self._name = name
        self._window = window
        added: dict[int, Library] = tokenizer.added_tokens_decoder
        self._controls = {str(t.content): i for i, t in added.items() if t.special}
        # A control of one character cannot be told from that character.
        words = sorted((w for w in self._controls if len(w) > 1), key=len, reverse=True)
        self._control = re.compile("|".join(map(re.escape, words)) or r"(?!)")
        backend: Library = tokenizer.backend_tokenizer
        backend.no_truncation()
        backend.no_padding()
        self._whole = backend
        tokenizers: Library = importlib.import_module("tokenizers")  # comes with transformers
        self._plain: Library = tokenizers.Tokenizer.from_str(backend.to_str())
        self._plain.encode_special_tokens = True
        self.header = self._header() if gated else ()
        probe = self._render([{"role": "user", "content": _PROBE}], _PROBE)
        closing = probe[probe.rfind(_PROBE) + len(_PROBE) :]
        self._closing = self._ids(closing, mark="")

    def encode(self, item: Item) -> Row | Unscored:
        """A text as the model reads it, or why it cannot."""
        answer = halves.mended(item.text).strip()
        if not answer:
            return Unscored(item.key, NoScore.EMPTY, "there is no text to score")
        told = [(m.role, halves.mended(m.content)) for m in item.messages]
        mark = self._mark_for([answer, *(content for _, content in told)])
        turns = [{"role": role, "content": self._marked(text, mark)} for role, text in told]
        said = self._marked(answer, mark)
        try:
            text = self._render(turns, said)
        except DataError as error:
            return Unscored(item.key, NoScore.TEMPLATE, str(error))
        begins = text.rfind(said)
        if begins < 0:
            return Unscored(item.key, NoScore.TEMPLATE, "the chat template changes the text")
        ids = self._ids(text, mark)
        if not (cut := len(ids) > self._window):
            return self._row(item.key, ids, cut=cut)
        kept = self._window - len(self._closing)
        room = kept - len(self._ids(text[:begins], mark))
        if room < _LEAST or ids[len(ids) - len(self._closing) :] != self._closing:
            message = f"the prompt leaves {max(room, 0)} of {self._window} tokens to the text"
            return Unscored(item.key, NoScore.TOO_LONG, message)
        return self._row(item.key, ids[:kept] + self._closing, cut=cut)

    def _row(self, key: str, ids: list[int], *, cut: bool) -> Row | Unscored:
        gate = _last(self.header, ids) if self.header else 0
        if gate is None:
            message = "the chat template writes no header that the gate can be read at"
            return Unscored(key, NoScore.TEMPLATE, message)
        return Row(key, array("I", ids), gate, cut)

    def _header(self) -> tuple[int, ...]:
        missing = [word for word in _CONTROLS if word not in self._controls]
        if missing:
            raise DataError(
                f"the tokenizer of {self._name} has no control token {missing[0]}, so it is not "
                "Llama 3's, and the gate has no place to be read at"
            )
        return tuple(self._ids(HEADER, mark=""))

    def _render(self, turns: Iterable[dict[str, str]], answer: str) -> str:
        """The conversation as one text.

        Raises:
            DataError: the template refuses it.
        """
        messages = [*turns, {"role": "assistant", "content": answer}]
        try:
            text = self._tokenizer.apply_chat_template(
                messages, tokenize=False, add_generation_prompt=False, date_string=_DATE
            )
        except _TEMPLATE_FAILS as error:
            said = f"{type(error).__name__}: {error}"[:200]
            raise DataError(f"the chat template of {self._name} fails ({said})") from error
        return str(text)

    def _mark_for(self, texts: list[str]) -> str:
        """What is put into words that look like control tokens; empty where there are none.

        It must stand in none of the texts itself.
        """
        if not any(self._control.search(text) for text in texts):
            return ""
        marks = (f"\ue000{n}\ue001" for n in itertools.count())
        return next(m for m in marks if not any(m in text for text in texts))

    def _marked(self, text: str, mark: str) -> str:
        """The text with every word that looks like a control token broken by the mark."""
        if not mark:
            return text
        while self._control.search(text):  # again: two may overlap
            text = self._control.sub(lambda found: f"{found[0][0]}{mark}{found[0][1:]}", text)
        return text

    def _ids(self, text: str, mark: str) -> list[int]:
        """The tokens of a rendered text; between the template's controls all is plain."""
        if not mark:
            return self._whole.encode(text, add_special_tokens=False).ids
        ids: list[int] = []
        begin = 0
        for found in self._control.finditer(text):
            ids += self._split(text[begin : found.start()], mark)
            ids.append(self._controls[found.group()])
            begin = found.end()
        return ids + self._split(text[begin:], mark)

    def _split(self, text: str, mark: str) -> list[int]:
        plain = text.replace(mark, "")
        return self._plain.encode(plain, add_special_tokens=False).ids if plain else []


def _last(pattern: tuple[int, ...], ids: list[int]) -> int | None:
    """Where a pattern occurs last."""
    wanted = list(pattern)
    for place in range(len(ids) - len(wanted), -1, -1):
        if ids[place] == wanted[0] and ids[place : place + len(wanted)] == wanted:
            return place
    return None
