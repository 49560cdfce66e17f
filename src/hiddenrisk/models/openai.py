"""Any OpenAI-compatible endpoint, on one pooled aiohttp session."""

import asyncio
import os
import re
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import aiohttp
import msgspec
from aiohttp.http_exceptions import HttpProcessingError
from yarl import URL

from hiddenrisk.errors import CallError, UsageError
from hiddenrisk.models.spec import Spec
from hiddenrisk.models.wire import Stream, read_completion, read_error, request_body
from hiddenrisk.types import Call, Finish, Reply

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

_NO_TEMPERATURE = re.compile(r"HTTP 400\b.*\btemperature\b.*\bsupport", re.IGNORECASE | re.DOTALL)
_STREAM_IDLE_S = 120.0
_CONNECT_S = 15.0
_DRAIN_S = 1.0
_LINE_BYTES = 1 << 22
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
_SECRET_CHARS = 8
"""A shorter key is a placeholder (EMPTY, none, ollama), and would blot out words of answers."""


def from_spec(spec: Spec) -> "OpenAIModel":
    """A client for a provider or a bare URL.

    Raises:
        UsageError: the provider needs a key and its variable is not set.
    """
    if spec.url is not None:
        return OpenAIModel(spec, spec.url, os.environ.get("HIDDENRISK_API_KEY"))
    base, variable = PROVIDERS[spec.provider]
    key = os.environ.get(variable) if variable else None
    if variable and not key:
        raise UsageError(
            f"{spec.provider}/{spec.model} needs a key: set the environment variable {variable}"
        )
    return OpenAIModel(spec, base, key)


class OpenAIModel:
    """One model behind one endpoint."""

    def __init__(
        self, spec: Spec, base_url: str, key: str | None, *, extra: dict[str, Any] | None = None
    ) -> None:
        self.label = spec.label
        self.provider = spec.provider if spec.url is None else urlsplit(base_url).netloc
        self.base_url = base_url
        self.local = urlsplit(base_url).hostname in _LOOPBACK
        self.prefilled = "prefilled" in spec.options
        self._closed = self._plain = 0
        """Replies that closed a thought they never opened, and replies without any tag."""
        self._stream = "stream" in spec.options
        self._model = spec.model
        self._token_field = "max_completion_tokens" if spec.provider == "openai" else "max_tokens"
        self._key = key.strip() if key else None
        self._extra = extra or {}
        self._no_temperature = False
        self._session: aiohttp.ClientSession | None = None
        self._proxy = _proxy_for(base_url)
        self._url = URL(f"{base_url}/chat/completions")
        self.identity: dict[str, Any] = {"endpoint": base_url, "model": spec.model}

    async def start(self) -> None:
        """See that the endpoint can be reached at all, and open the session.

        Raises:
            UsageError: nothing listens there.
        """
        if self._proxy is None:
            await self._reach()
        headers = {"Content-Type": "application/json"}
        if self._key:
            headers["Authorization"] = f"Bearer {self._key}"
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, ttl_dns_cache=300, keepalive_timeout=60),
            timeout=aiohttp.ClientTimeout(
                total=None,
                sock_connect=_CONNECT_S,
                sock_read=_STREAM_IDLE_S if self._stream else None,
            ),
            headers=headers,
            read_bufsize=_LINE_BYTES,
            cookie_jar=aiohttp.DummyCookieJar(),
        )

    async def _reach(self) -> None:
        """Connect once without a request: an unreachable endpoint is found before any call."""
        parts = urlsplit(self.base_url)
        port = parts.port or (443 if parts.scheme == "https" else 80)
        error: OSError | None = None
        for wait_s in (0.0, 0.5, 1.5):
            await asyncio.sleep(wait_s)
            try:
                async with asyncio.timeout(_CONNECT_S):
                    _, writer = await asyncio.open_connection(parts.hostname, port)
            except OSError as failed:
                error = failed
                continue
            writer.close()
            return
        why = (error.strerror if error else None) or type(error).__name__
        raise UsageError(
            f"cannot reach {self.label} at {self.base_url}: {why}. Is the server running, and "
            "are address and port right?"
        )

    async def close(self) -> None:
        """Close the session."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def generate(self, call: Call) -> Reply:
        """Answer once, without retrying.

        Some reasoning models take no temperature, and judges are asked at 0: what such a
        model is asked after it said so leaves the temperature to it.
        """
        if self._no_temperature:
            call = _without_temperature(call)
        try:
            return await self._once(call)
        except CallError as error:
            if call.sampling.temperature is None or not _NO_TEMPERATURE.search(str(error)):
                raise
            self._no_temperature = True
        return await self._once(_without_temperature(call))

    async def _once(self, call: Call) -> Reply:
        if self._session is None:
            raise CallError("the model was not started")
        body = request_body(
            call,
            self._model,
            token_field=self._token_field,
            stream=self._stream,
            extra=self._extra,
        )
        try:
            async with self._session.post(self._url, data=body, proxy=self._proxy) as http:
                if http.status == 200 and "event-stream" in http.content_type:
                    return await self._read_stream(http)
                content = self._clean(await http.read())
                if http.status != 200:
                    return read_error(http.status, content, http.headers.get("Retry-After"))
                reply = read_completion(content, prefilled=self.prefilled)
        except TimeoutError as error:
            raise CallError("the connection timed out", heals=True) from error
        except (aiohttp.ClientError, HttpProcessingError, OSError, ValueError) as error:
            # HttpProcessingError, or a ValueError: a line of a stream longer than the buffer.
            text = f"{type(error).__name__}: {error}"[:300].encode()
            raise CallError(self._clean(text).decode(), heals=True) from error
        self._learn(reply)
        return reply

    async def _read_stream(self, http: aiohttp.ClientResponse) -> Reply:
        stream = Stream()
        async for line in http.content:
            stream.feed(self._clean(line))
            if stream.done:
                await _drain(http)
                break
        reply = stream.reply(prefilled=self.prefilled)
        self._learn(reply)
        return reply

    def _clean(self, content: bytes) -> bytes:
        """The bytes without the key, should a server echo it: keys never reach disk."""
        if not self._key or len(self._key) < _SECRET_CHARS:
            return content
        return content.replace(self._key.encode(), b"[key]")

    def _learn(self, reply: Reply) -> None:
        """Replies that close a thought they never opened: the template opens all of them.

        Most replies have to: one that merely echoes a tag, among many without any, must
        not turn the answers that follow into unfinished thoughts.
        """
        if reply.style == "prefilled":
            self._closed += reply.finish is not Finish.CUT_IN_THINKING
        elif reply.style == "none":
            self._plain += reply.finish is Finish.COMPLETE
        self.prefilled = self.prefilled or self._closed > self._plain


def _without_temperature(call: Call) -> Call:
    sampling = msgspec.structs.replace(call.sampling, temperature=None)
    return msgspec.structs.replace(call, sampling=sampling)


async def _drain(http: aiohttp.ClientResponse) -> None:
    """Read what follows the last event, so that the connection can serve the next call."""
    with suppress(TimeoutError, aiohttp.ClientError, HttpProcessingError):
        async with asyncio.timeout(_DRAIN_S):
            await http.content.read()


def _proxy_for(url: str) -> str | None:
    """The proxy that the environment names for this URL, looked up once."""
    parts = urlsplit(url)
    if not parts.hostname or parts.hostname in _LOOPBACK or proxy_bypass(parts.hostname):
        return None
    return getproxies().get(parts.scheme)
