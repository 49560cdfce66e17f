"""A SPEC as typed by a person: `[label=]provider/model[?options]` or `[label=]URL#model`."""

import re
from collections.abc import Collection
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


def unlabelled(text: str) -> str:
    """A SPEC without its label."""
    match = _LABEL.match(text.strip())
    return match[2] if match else text.strip()


def parse(text: str) -> Spec:
    """Parse a SPEC.

    Raises:
        UsageError: it has not the form of a SPEC.
    """
    match, rest = _LABEL.match(text.strip()), unlabelled(text)
    label = match[1] if match else None
    if rest.lower().startswith(("http://", "https://")):
        return _parse_url(rest, label)
    provider, slash, model = rest.partition("/")
    if not slash or not provider or not model:
        raise UsageError(
            f"'{text}' is not a model; write provider/model (openai/gpt-4o, local/smollm2), "
            "replay/PATH, or URL#model-id (http://localhost:8000/v1#my-model)"
        )
    model, options = _options(model)
    name = Path(model).stem if provider == "replay" else model.rstrip("/").rsplit("/", 1)[-1]
    return Spec(
        text=rest,
        label=label or _named(name, options),
        provider=provider.lower(),
        model=model,
        options=options,
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
        label=label or _named(model.rsplit("/", 1)[-1], options),
        provider="http",
        model=model,
        url=url.rstrip("/"),
        options=options,
    )


def without_options(text: str, names: Collection[str]) -> tuple[str, dict[str, str]]:
    """A SPEC without some of its options, and those.

    Raises:
        UsageError: one of them stands there twice.
    """
    head, _, query = text.partition("?")
    taken: dict[str, str] = {}
    kept: list[str] = []
    for piece in query.split("&") if query else []:
        name = piece.partition("=")[0]
        if name not in names:
            kept.append(piece)
        elif name in taken:
            raise UsageError(f"?{name} stands twice in '{text}'; give it once")
        else:
            taken[name] = dict(parse_qsl(piece, keep_blank_values=True))[name] or "yes"
    return head + ("?" + "&".join(kept) if kept else ""), taken


def _options(model: str) -> tuple[str, dict[str, str]]:
    """A model id, and the options behind it.

    Raises:
        UsageError: an option stands there twice.
    """
    model, _, query = model.partition("?")
    pairs = parse_qsl(query, keep_blank_values=True)
    names = [name for name, _ in pairs]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise UsageError(f"a model's options hold ?{twice} more than once; write it once")
    return model, {k: v or "yes" for k, v in pairs}


def _named(name: str, options: dict[str, str]) -> str:
    """A model's label where the user gives none: with what is done to its thinking."""
    thinks = options.get("think", "off") != "off"
    return _decoded(name + ("-think" if thinks else ""), options.get("decoding", "default"))


def _decoded(label: str, decoding: str) -> str:
    return label if decoding == "default" else f"{label}-{decoding}"


def with_decoding(spec: Spec, name: str) -> Spec:
    """The same model under a decoding strategy, which its label tells.

    Raises:
        UsageError: it names one itself.
    """
    if "decoding" in spec.options:
        raise UsageError(
            f"'{spec.text}' has ?decoding, and --decoding (in a plan: decodings) is for all "
            "models; leave one out"
        )
    return msgspec.structs.replace(
        spec, label=_decoded(spec.label, name), options={**spec.options, "decoding": name}
    )


def tags_of(spec: Spec) -> tuple[str, str] | None:
    """What this model writes before and after a thought, where the user says so.

    Raises:
        UsageError: they are no two different tags.
    """
    text = spec.options.get("tags")
    if text is None:
        return None
    tags = [tag.strip() for tag in text.split(",")]
    if len(tags) != 2 or not all(tags) or tags[0] == tags[1]:
        raise UsageError(
            f"tags={text} in '{spec.text}': write what stands before and behind a thought, with "
            "a comma between, as in ?tags=<r>,</r> (%2B for +, %26 for &)"
        )
    return tags[0], tags[1]
