"""A SPEC as typed by a person: `[label=]provider/model[?options]` or `[label=]URL#model`."""

import re
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import msgspec

from hiddenrisk.errors import UsageError

_LABEL = re.compile(r"^([^=/:?#\s]+)=(.+)$", re.DOTALL)


class Spec(msgspec.Struct, frozen=True, kw_only=True):
    """A parsed SPEC."""

    text: str
    """As typed, without the label."""
    label: str
    provider: str
    """A provider's name, or "http" for a bare URL."""
    model: str
    """The model id; for `replay`, the path."""
    url: str | None = None
    """The base URL of a bare endpoint."""
    options: dict[str, str]
    """What follows `?`; an option without a value is "yes"."""


def parse(text: str) -> Spec:
    """Parse a SPEC.

    Raises:
        UsageError: it has not the form of a SPEC.
    """
    match = _LABEL.match(text.strip())
    label, rest = (match[1], match[2]) if match else (None, text.strip())
    if rest.lower().startswith(("http://", "https://")):
        return _parse_url(rest, label)
    provider, slash, model = rest.partition("/")
    if not slash or not provider or not model:
        raise UsageError(
            f"'{text}' is not a model; write provider/model (openai/gpt-4o, local/smollm2), "
            "replay/PATH, or URL#model-id (http://localhost:8000/v1#my-model)"
        )
    model, options = _options(model)
    name = Path(model).stem if provider == "replay" else model.rsplit("/", 1)[-1]
    if label is None and options.get("think"):
        name += "-think"
    return Spec(
        text=rest, label=label or name, provider=provider.lower(), model=model, options=options
    )


def _parse_url(text: str, label: str | None) -> Spec:
    url, hash_, model = text.partition("#")
    model, options = _options(model)
    # First of all, so that no other message repeats what stands before the "@".
    if "@" in url or "?" in url:
        raise UsageError(
            "a URL must not hold a user name, a key or a query (it would be written to disk); "
            "put the key into the environment variable HIDDENRISK_API_KEY, and options behind "
            "the model id"
        )
    if not hash_ or not model:
        raise UsageError(
            f"'{text}' names no model; add it after '#', for example {url.rstrip('/')}#my-model"
        )
    try:
        parts = urlsplit(url)
        bad = not (parts.hostname or "").encode("idna") or parts.port == 0
    except ValueError:  # a UnicodeError, for a host name that cannot be, is one as well
        bad = True
    if bad:
        raise UsageError(f"'{url}' is not a URL such as http://localhost:8000/v1")
    return Spec(
        text=text,
        label=label or model.rsplit("/", 1)[-1],
        provider="http",
        model=model,
        url=url.rstrip("/"),
        options=options,
    )


def _options(model: str) -> tuple[str, dict[str, str]]:
    model, _, query = model.partition("?")
    pairs = parse_qsl(query, keep_blank_values=True)
    return model, {k: v or "yes" for k, v in pairs}
