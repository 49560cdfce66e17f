"""Other providers by way of litellm: `litellm/bedrock/anthropic.claude-...?budget=4096`.

For breadth, not for speed: the optional package `litellm` (`pip install
"hiddenrisk[litellm]"`) translates to some hundred providers and takes seconds to import, so
it is imported when a model is asked for and not before. It makes one request a call; retries,
caching, callbacks, telemetry and the look-up of prices are off. Keys, addresses and regions
come from the variables that litellm reads (docs.litellm.ai, "Providers"). Options after `?`:

    effort=WORD   how hard to think (`reasoning_effort`): none, minimal, low, medium, high, ...
    budget=N      up to N tokens of thinking, on top of `max_tokens` (Claude, Gemini)

With either, no temperature is sent. There is no `?stream`: litellm ends a stream that broke
off with "stop", as if that were all. For the same reason some providers are refused.

What litellm makes of a reply has the shape of a chat completion and is read as one (`wire`),
after `reshape` has put back what litellm took away. An error is read from the provider's own
body where there is one, which still has the code that litellm leaves out (`refusals`).
"""

import importlib
import importlib.util
import json
import logging
import os
import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any
from urllib.parse import quote, urlsplit

from hiddenrisk.errors import CallError, UsageError
from hiddenrisk.models.blocks import fields_of, items_of
from hiddenrisk.models.http import LOOPBACK, SECRET_CHARS, base_of, reach, without_temperature
from hiddenrisk.models.refusals import read_error
from hiddenrisk.models.spec import Spec
from hiddenrisk.models.summaries import claude_summarises, is_closed
from hiddenrisk.models.wire import read_completion
from hiddenrisk.types import Call, Reply

_NEEDS = {
    "bedrock": ("boto3", "boto3"),
    "sagemaker_chat": ("boto3", "boto3"),
    "vertex_ai": ("google.auth", "google-auth"),
}
"""What some providers need beside litellm: a module, and the package that has it."""
_SILENT = frozenset(
    [
        "bytez",
        "cloudflare",
        "cohere",
        "cohere_chat",
        "langgraph",
        "nlp_cloud",
        "ollama",
        "oobabooga",
        "petals",
        "replicate",
        "sagemaker",
        "triton",
    ]
)
"""Where litellm (1.88.6) drops why a reply ended, so that a cut one would pass for complete."""
_SIGNS_IN = frozenset({"azure", "azure_ai", "watsonx"})
"""These take a token or a login in place of a key, so that a missing key says nothing."""
_SECRET_NAME = re.compile(r"(?:KEY|KEY_ID|TOKEN|SECRET|PASSWORD|CREDENTIALS?)$", re.IGNORECASE)
_EFFORTS = re.compile(r"[a-z]{2,12}")
_MOST = 10**6
_CAUSES = 10
_WORD_CHARS = 20
_HOPELESS = frozenset({"ImportError", "UnsupportedParamsError"})
"""What litellm raises by itself, and would for every call."""
_TIMEOUT_S = 3600.0
"""litellm gives up after 600 s by itself; when to give up is the engine's to say."""


def from_spec(spec: Spec) -> "LiteLLMModel":
    """A client for one model of one of litellm's providers.

    Raises:
        UsageError: litellm or what a provider needs is not installed, the provider is
            unknown, its key is not set, or an option cannot be.
    """
    if importlib.util.find_spec("litellm") is None:
        raise UsageError(f'litellm/{spec.model} needs an extra: pip install "hiddenrisk[litellm]"')
    provider, _, name = spec.model.partition("/")
    library = load()
    if not name or provider not in {str(getattr(p, "value", p)) for p in library.provider_list}:
        raise UsageError(
            f"litellm has no provider '{provider}' (in '{spec.text}'); write "
            "litellm/PROVIDER/MODEL, with a provider from docs.litellm.ai/docs/providers"
        )
    _refuse_silent(provider, name)
    module, package = _NEEDS.get(provider, ("litellm", "litellm"))
    if not _have(module):
        raise UsageError(f"litellm/{provider}/... needs one more package: pip install {package}")
    missing = library.validate_environment(spec.model)["missing_keys"]
    keys = [key for key in missing if key.endswith("_API_KEY")]
    if keys and provider not in _SIGNS_IN:
        raise UsageError(f"{spec.text} needs a key: set the environment variable {keys[0]}")
    return LiteLLMModel(spec, library, _options(spec), _base(provider))


def _refuse_silent(provider: str, name: str) -> None:
    """Refuse where a cut reply would count as complete.

    Raises:
        UsageError: litellm does not say why replies ended.
    """
    if provider in _SILENT:
        raise UsageError(
            f"litellm does not hand on why a reply of '{provider}' ended, so that a cut one would "
            "count as complete; use the provider's OpenAI-compatible endpoint instead, by its URL: "
            "https://host/v1#model-id"
        )
    if provider == "bedrock" and name.startswith("invoke/"):
        raise UsageError(
            "litellm does not hand on why a reply of 'bedrock/invoke' ended, so that a cut one "
            "would count as complete; write litellm/bedrock/converse/MODEL instead"
        )


def load() -> Any:  # noqa: ANN401 - an untyped package
    """Import litellm, and turn off all that is not a call to a model."""
    # Before the import: otherwise it fetches a table of prices, and reads `.env` files.
    os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
    os.environ["LITELLM_MODE"] = "PRODUCTION"
    with warnings.catch_warnings():  # of its own age, which nobody here can help
        warnings.simplefilter("ignore")
        library: Any = importlib.import_module("litellm")  # heavy, optional, untyped
    library.suppress_debug_info = True
    library.telemetry = library.set_verbose = False
    library.cache = library.model_fallbacks = library.num_retries = None
    library.drop_params = library.modify_params = False
    library.disable_hf_tokenizer_download = True
    for name in ("callbacks", "success_callback", "failure_callback", "input_callback"):
        setattr(library, name, [])
    for name in ("LiteLLM", "LiteLLM Router", "LiteLLM Proxy"):
        logging.getLogger(name).disabled = True  # its messages may quote keys
    return library


def _have(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # the package that it would be in
        return False


def _base(provider: str) -> str | None:
    """The address that the environment names for a provider, as litellm looks for it."""
    names = (f"{provider.upper()}_{kind}" for kind in ("API_BASE", "BASE_URL"))
    named = next((name for name in names if os.environ.get(name)), None)
    return base_of(named, "") if named else None


def _options(spec: Spec) -> dict[str, Any]:
    """What the options add to every request.

    Raises:
        UsageError: a value that no provider takes.
    """
    extra: dict[str, Any] = {}
    if (effort := spec.options.get("effort")) is not None:
        if effort == "yes" or not _EFFORTS.fullmatch(effort):
            raise UsageError(f"effort={effort} in '{spec.text}': write a word such as low or high")
        extra["reasoning_effort"] = effort
    if (budget := spec.options.get("budget")) is not None:
        if not (budget.isascii() and budget.isdecimal() and 0 < int(budget[:9]) <= _MOST):
            raise UsageError(f"budget={budget} in '{spec.text}': write 1 to {_MOST} tokens")
        extra["thinking"] = {"type": "enabled", "budget_tokens": int(budget)}
    if len(extra) > 1:
        raise UsageError(f"'{spec.text}' has effort and budget; write one of the two")
    return extra


class LiteLLMModel:
    """One model, asked through litellm."""

    def __init__(
        self,
        spec: Spec,
        library: Any,  # noqa: ANN401 - an untyped package
        extra: dict[str, Any],
        base: str | None,
    ) -> None:
        self.label = spec.label
        self.provider = f"litellm/{spec.model.partition('/')[0]}"
        self.local = base is not None and urlsplit(base).hostname in LOOPBACK
        self.prefilled = False
        self.identity: dict[str, Any] = {"litellm": spec.model, **spec.options}
        if base is not None:
            self.identity["endpoint"] = base
        self._base = base
        self._extra = extra
        self._library = library
        self._model = spec.model
        self._no_temperature = bool(extra)
        self._secrets = _secrets()

    async def start(self) -> None:
        """See that an endpoint of one's own can be reached at all.

        Raises:
            UsageError: nothing listens there.
        """
        if self._base is not None:
            await reach(self._base, self.label)

    async def close(self) -> None:
        """Nothing: litellm's connections are shared by all its models, and end with the run."""

    async def generate(self, call: Call) -> Reply:
        """Answer once, without retrying.

        What a model is asked after it refused the temperature leaves the temperature to it.
        """
        if self._no_temperature:
            call = without_temperature(call)
        try:
            return await self._once(call)
        except CallError as error:
            asked = call.sampling.temperature
            if asked is None or error.heals or "temperature" not in str(error).lower():
                raise
            self._no_temperature = True
        return await self._once(without_temperature(call))

    async def _once(self, call: Call) -> Reply:
        try:
            said: Any = await self._library.acompletion(**self._request(call))
        except Exception as error:  # noqa: BLE001 - a fault in a library ends a call, not a run
            failed = error
        else:
            whole: dict[str, Any] = said.model_dump(exclude_none=True, warnings=False)
            body = self._clean(json.dumps(reshape(whole, self._model), default=str).encode())
            return read_completion(body, asked=self._model)
        return read_failure(failed, self._clean)

    def _request(self, call: Call) -> dict[str, Any]:
        sampling = call.sampling
        request: dict[str, Any] = {
            "model": self._model,
            "messages": [{"role": m.role, "content": m.content} for m in call.messages],
            "num_retries": 0,
            "max_retries": 0,
            "caching": False,
            "timeout": _TIMEOUT_S,
            **self._extra,
        }
        if self._base is not None:
            request["api_base"] = self._base
        if sampling.temperature is not None:
            request["temperature"] = sampling.temperature
        if sampling.max_tokens is not None:
            budget = fields_of(self._extra.get("thinking")).get("budget_tokens")
            more = budget if isinstance(budget, int) else 0
            request["max_tokens"] = sampling.max_tokens + more
        return request

    def _clean(self, content: bytes) -> bytes:
        """The bytes without any key of the environment: litellm's messages may quote it."""
        for secret in self._secrets:
            content = content.replace(secret, b"[key]")
        return content


def _secrets() -> list[bytes]:
    """What must not be written down: keys and tokens of the environment, the longest first."""
    named = (v.strip() for name, v in os.environ.items() if _SECRET_NAME.search(name))
    # A setting such as "disabled" is a word, and would be blotted out of answers.
    values = {v for v in named if len(v) >= (SECRET_CHARS if not v.isalpha() else _WORD_CHARS)}
    spelt = {form for v in values for form in (v, quote(v, safe=""), json.dumps(v)[1:-1])}
    return sorted((form.encode("utf-8", "surrogateescape") for form in spelt), key=len)[::-1]


def reshape(said: dict[str, Any], asked: str) -> dict[str, Any]:
    """Put back into litellm's completion what it took away; pure, changes its argument.

    The finish reason (unknown ones became "stop"), a refusal in a field of its own, what kind
    of thinking is shown, and no token counts that nobody has told: zeros, and those of the
    thinking of Claude and on Bedrock, which litellm estimates.

    Args:
        said: the completion, as plain JSON.
        asked: the model that was asked for.
    """
    served = said.get("model")
    names = (asked, served if isinstance(served, str) else "")
    summary = any(claude_summarises(name) or is_closed(name) for name in names)
    for choice in map(fields_of, items_of(said.get("choices"))):
        native = fields_of(choice.get("provider_specific_fields")).get("native_finish_reason")
        if choice.get("finish_reason") == "stop" and isinstance(native, str):
            choice["finish_reason"] = native
        message = fields_of(choice.get("message"))
        message.setdefault(
            "refusal", fields_of(message.get("provider_specific_fields")).get("refusal")
        )
        if details := _details(message, summary=summary):
            message["reasoning_details"] = details
    usage = fields_of(said.get("usage"))
    if not usage.get("prompt_tokens") and not usage.get("completion_tokens"):
        said.pop("usage", None)
    elif asked.startswith("bedrock/") or any("claude" in name.lower() for name in names):
        usage.pop("completion_tokens_details", None)
    return said


def _details(message: dict[str, object], *, summary: bool) -> list[object]:
    """The thinking as `reasoning_details`: what can be read of it is a summary, or encrypted."""
    told = items_of(fields_of(message.get("provider_specific_fields")).get("reasoning_details"))
    if told:
        return told
    text = message.get("reasoning_content")
    details: list[object] = []
    if summary and isinstance(text, str) and text:
        details.append({"type": "reasoning.summary", "summary": text})
    blocks = map(fields_of, items_of(message.get("thinking_blocks")))
    # A block that shows nothing is encrypted, or left out: its signature holds the thought.
    details += [
        {"type": "reasoning.encrypted", "data": ""} for b in blocks if not b.get("thinking")
    ]
    return details


def read_failure(error: Exception, clean: Callable[[bytes], bytes]) -> Reply:
    """Read what litellm raised: a block is a reply, all else is raised again as ours.

    Args:
        error: what litellm raised; what it was made from hangs on it.
        clean: takes keys out of a text.

    Raises:
        CallError: with whether another try may heal it.
    """
    causes = list(_causes(error))
    for response in (getattr(cause, "response", None) for cause in causes):
        content = _content_of(response)
        if response is not None and content and response.status_code != 200:
            return _read_error(
                response.status_code, clean(content), response.headers.get("Retry-After")
            )
    names = {kind.__name__ for cause in causes for kind in type(cause).__mro__}
    said = clean(str(error).partition("Traceback")[0].encode()).decode("utf-8", "replace")
    status = getattr(error, "status_code", None)
    status = status if isinstance(status, int) else 500
    headers: Any = getattr(error, "litellm_response_headers", None)
    if "ContentPolicyViolationError" in names:
        return _read_error(400, _as_body(said, "content_policy_violation"), None)
    if headers is not None and not any(getattr(c, "status_code", 0) == 200 for c in causes):
        return _read_error(status, _as_body(said, ""), headers.get("Retry-After"))
    # Nothing came back, or nothing that can be read; or litellm did not even ask.
    raise CallError(
        " ".join(said.split())[:300],
        heals=status >= 500 or status in {408, 429},
        fatal=bool(names & _HOPELESS) or status in {401, 403, 404},
    ) from None


def _read_error(status: int, body: bytes, retry_after: str | None) -> Reply:
    try:
        return read_error(status, body, retry_after)
    except CallError as failed:
        failed.fatal = failed.fatal or status == 404  # no such model
        raise failed from None  # the context may quote keys


def _as_body(message: str, code: str) -> bytes:
    return json.dumps({"error": {"message": message, "code": code}}).encode()


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """An error, and the errors that it was made from."""
    for _ in range(_CAUSES):
        if error is None:
            return
        yield error
        error = error.__cause__ or error.__context__


def _content_of(response: Any) -> bytes:  # noqa: ANN401 - of httpx, which is not ours
    with suppress(AttributeError, RuntimeError):  # a stream that nobody read
        content = response.content
        return content if isinstance(content, bytes) else b""
    return b""
