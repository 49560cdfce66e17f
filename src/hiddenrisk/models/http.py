"""What every client of an HTTP API does alike: one pooled session, a key that never leaves."""

import asyncio
import os
import re
from abc import ABC, abstractmethod
from contextlib import suppress
from typing import Any, Generic, Protocol, TypeVar, cast
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import aiohttp
import msgspec
from aiohttp.http_exceptions import HttpProcessingError
from yarl import URL

from hiddenrisk.errors import CallError, MissingKeyError, UsageError
from hiddenrisk.models import halves
from hiddenrisk.models.refusals import read_error, start_of
from hiddenrisk.models.spec import Spec
from hiddenrisk.types import Call, Reply

_REFUSED = {
    "temperature": r"\btemperature\b.*\b(?:support|deprecated|not permitted)",
    "schema": r"response_format|json_schema|structured[ _]outputs?|guided[ _](?:json|decoding)",
    "logprobs": r"logprobs",
}
"""What may be left out of a call, and how an endpoint says that it does not take it."""
_PATTERNS = {
    name: re.compile(rf"HTTP (?:400|422)\b.*(?:{words})", re.IGNORECASE | re.DOTALL)
    for name, words in _REFUSED.items()
}
_PARAM = re.compile(r'"param"\s*:\s*"((?:response_format|(?:top_)?logprobs)[^"]{0,40})"')
_STREAM_IDLE_S = 120.0
_CONNECT_S = 15.0
_DRAIN_S = 1.0
_LINE_BYTES = 1 << 22
LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
SECRET_CHARS = 8
"""A shorter key is a placeholder (EMPTY, none, ollama), and would blot out words of answers."""
_ONE_LINE = bytes.maketrans(b"\r\n", b"  ")
_SAID = 2000
"""So much of what cannot be read is kept."""


class Gathering(Protocol):
    """A streamed reply on its way."""

    done: bool
    """Whether the end of the stream was seen."""

    def feed(self, line: bytes) -> None:
        """Take one line of the event stream."""
        ...


S = TypeVar("S", bound=Gathering)


class HttpModel(ABC, Generic[S]):
    """One model behind one endpoint. Who inherits says what is sent, and how replies read."""

    identity: dict[str, Any]

    def __init__(
        self,
        spec: Spec,
        base_url: str,
        path: str,
        key: str | None,
        *,
        headers: dict[str, str] | None = None,
    ) -> None:
        self.label = spec.label
        self.provider = spec.provider if spec.url is None else urlsplit(base_url).netloc
        self.base_url = base_url
        self.local = urlsplit(base_url).hostname in LOOPBACK
        self.prefilled = False
        self._streams = "stream" in spec.options
        self._key = key.strip() if key else None
        self._headers = {"Content-Type": "application/json", **(headers or {})}
        self._left_out: set[str] = set()
        """What the endpoint has said that it does not take."""
        self._session: aiohttp.ClientSession | None = None
        self._proxy = _proxy_for(base_url)
        self._url = URL(f"{base_url}{path}")

    @property
    def keyed(self) -> bool:
        """Whether it has a key."""
        return self._key is not None

    @abstractmethod
    def _authorization(self, key: str) -> dict[str, str]:
        """The header that holds the key."""

    @abstractmethod
    def _request(self, call: Call) -> bytes:
        """The body of a request."""

    @abstractmethod
    def _read(self, content: bytes) -> Reply:
        """Read a whole reply with status 200."""

    @abstractmethod
    def _gather(self) -> S:
        """What puts a streamed reply together."""

    @abstractmethod
    def _gathered(self, stream: S) -> Reply:
        """The reply that a stream has put together."""

    def _read_error(self, status: int, content: bytes, retry_after: str | None) -> Reply:
        """Read a reply with another status: a block is a reply, all else is raised."""
        return read_error(status, content, retry_after)

    async def start(self) -> None:
        """See that the endpoint can be reached at all, and open the session.

        Raises:
            UsageError: nothing listens there.
        """
        await reach(self.base_url, self.label)
        headers = dict(self._headers)
        if self._key:
            headers |= self._authorization(self._key)
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, ttl_dns_cache=300, keepalive_timeout=60),
            timeout=aiohttp.ClientTimeout(
                total=None,
                sock_connect=_CONNECT_S,
                sock_read=_STREAM_IDLE_S if self._streams else None,
            ),
            headers=headers,
            read_bufsize=_LINE_BYTES,
            cookie_jar=aiohttp.DummyCookieJar(),
        )

    async def close(self) -> None:
        """Close the session."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def generate(self, call: Call) -> Reply:
        """Answer once, without retrying.

        Some reasoning models take no temperature, and judges are asked at 0; not every
        endpoint keeps to a JSON schema or tells probabilities. What an endpoint is asked
        after it said so does without.
        """
        for name in self._left_out:
            call = without(call, name)
        for _ in _REFUSED:
            try:
                return await self._once(call)
            except CallError as error:
                names = [n for n in _refused_in(error) if without(call, n) != call]
                if not names:
                    raise
                self._left_out.update(names)
                for name in names:
                    call = without(call, name)
        return await self._once(call)

    async def _once(self, call: Call) -> Reply:
        if self._session is None:
            raise CallError("the model was not started")
        body = self._request(call)
        try:
            async with self._session.post(self._url, data=body, proxy=self._proxy) as http:
                if http.status == 200 and "event-stream" in http.content_type:
                    return await self._read_stream(http)
                content = self._clean(await self._body(http))
                if http.status != 200:
                    return self._read_error(http.status, content, http.headers.get("Retry-After"))
                return self._read(content)
        except TimeoutError as error:
            raise CallError("the connection timed out", heals=True) from error
        except (aiohttp.ClientError, HttpProcessingError, OSError, ValueError) as error:
            # HttpProcessingError, or a ValueError: a line of a stream longer than the buffer.
            text = f"{type(error).__name__}: {error}"[:300].encode()
            raise CallError(self._clean(text).decode(), heals=True) from error

    async def _body(self, http: aiohttp.ClientResponse) -> bytes:
        """A whole body; who inherits may bound it."""
        return await http.read()

    async def _read_stream(self, http: aiohttp.ClientResponse) -> Reply:
        stream = self._gather()
        async for line in http.content:
            stream.feed(self._clean(line))
            if stream.done:
                await _drain(http)
                break
        return self._gathered(stream)

    def _clean(self, content: bytes) -> bytes:
        """The bytes without the key, should a server echo it: keys never reach disk."""
        if not self._key or len(self._key) < SECRET_CHARS:
            return content
        return content.replace(self._key.encode(), b"[key]")


async def reach(base_url: str, label: str) -> None:
    """Connect once without a request: an unreachable endpoint is found before any call.

    Behind a proxy nothing is tried.

    Raises:
        UsageError: nothing listens there.
    """
    if _proxy_for(base_url) is not None:
        return
    parts = urlsplit(base_url)
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
        f"cannot reach {label} at {base_url}: {why}. Is the server running, and are address "
        "and port right?"
    )


def key_of(spec: Spec, variable: str) -> str:
    """The key that a provider needs.

    Raises:
        MissingKeyError: its variable is not set.
    """
    key = os.environ.get(variable)
    if not key:
        raise MissingKeyError(
            f"{spec.provider}/{spec.model} needs a key: set the environment variable {variable}"
        )
    return key


def base_of(variable: str, default: str) -> str:
    """The base URL that the environment names, or the provider's own.

    Raises:
        UsageError: it is no URL, or holds more than an address.
    """
    url = (os.environ.get(variable) or default).strip().rstrip("/")
    if "@" in url or "?" in url or "#" in url:
        raise UsageError(
            f"{variable} must not hold a user name, a key, a query or a model (it would be "
            "written to disk); write an address such as https://host:port"
        )
    try:
        parts = urlsplit(url)
        known = parts.scheme in {"http", "https"} and bool((parts.hostname or "").encode("idna"))
        known = known and parts.port != 0
    except ValueError:  # a UnicodeError, for a host name that cannot be, is one as well
        known = False
    if not known:
        raise UsageError(f"{variable} is '{url}', which is not a URL such as https://host:port")
    return url


def payload(body: bytes) -> tuple[dict[str, object], msgspec.Raw]:
    """A JSON object, and its bytes on one line.

    Raises:
        CallError: the body is cut or malformed (heals).
    """
    value, raw = _object(body)
    if raw is None:
        raw = halves.dumps(value)
        value, _ = _object(raw)
    if b"\n" in raw or b"\r" in raw:
        raw = raw.translate(_ONE_LINE)  # in valid JSON they stand between tokens only
    return value, msgspec.Raw(raw)


def _object(body: bytes) -> tuple[dict[str, object], bytes | None]:
    """A JSON object, halves of characters as they are; and its bytes, if they are sound."""
    raw: bytes | None = body
    try:
        value: object = msgspec.json.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as strict:
        try:  # JSON, and yet with lone surrogates or bytes that are no text
            value, raw = halves.loads(body), None
            halves.dumps(value)  # as deep, and with such numbers, as can be kept
        except (ValueError, RecursionError) as error:
            raise CallError(
                f"the reply is cut or malformed ({strict})", heals=True, raw=start_of(body)
            ) from error
    if not isinstance(value, dict):
        raise CallError("the reply is no JSON object", heals=True, raw=start_of(body))
    return cast("dict[str, object]", value), raw


def event_in(line: bytes) -> dict[str, object] | None:
    """The data of one line of an event stream; None for any other line.

    Halves of characters are left as they are: the other half may be in the next event.

    Raises:
        CallError: the data are malformed (heals).
    """
    if not line.startswith(b"data:"):
        return None
    data = line[5:].strip()
    return _object(data)[0] if data and data != b"[DONE]" else None


def error_inside(status: int, content: object, *, began: bool = False) -> Reply:
    """Read an error that came with status 200: a block is a reply, all else is raised.

    `began` says that some text had come before it.

    Raises:
        CallError: with whether another try may heal it.
    """
    body = halves.dumps(content)
    with suppress(CallError):
        return read_error(400, body, None, began=began)  # a block comes by any name
    return read_error(status, body, None)


def text_of(value: object) -> str:
    """A JSON string; empty where it is something else."""
    return value if isinstance(value, str) else ""


def count_of(value: object) -> int | None:
    """A JSON count; None where it is something else."""
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def without_temperature(call: Call) -> Call:
    """The call, leaving the temperature to the model."""
    sampling = msgspec.structs.replace(call.sampling, temperature=None)
    return msgspec.structs.replace(call, sampling=sampling)


def without(call: Call, name: str) -> Call:
    """The call without what an endpoint does not take: its temperature, schema or logprobs."""
    if name == "temperature":
        return without_temperature(call)
    return msgspec.structs.replace(call, **{name: None if name == "schema" else 0})


def _refused_in(error: CallError) -> list[str]:
    """What the endpoint says it does not take; its error may name the field beside the message."""
    field = _PARAM.search(error.raw)
    said = f"{error} {field[1]}" if field else str(error)
    return [name for name, pattern in _PATTERNS.items() if pattern.search(said)]


async def _drain(http: aiohttp.ClientResponse) -> None:
    """Read what follows the last event, so that the connection can serve the next call."""
    with suppress(TimeoutError, aiohttp.ClientError, HttpProcessingError):
        async with asyncio.timeout(_DRAIN_S):
            await http.content.read()


def _proxy_for(url: str) -> str | None:
    """The proxy that the environment names for this URL, looked up once."""
    parts = urlsplit(url)
    if not parts.hostname or parts.hostname in LOOPBACK or proxy_bypass(parts.hostname):
        return None
    return getproxies().get(parts.scheme)
