"""What a token costs: prices as data, by provider and model. Unknown is unknown, never 0.

The table that ships with the package (`plans/prices.toml`) has only prices on which two public
tables agree, and says as of when. A file of the user's (`--prices`) and single prices
(`--price`) go before it. What runs on this machine costs nothing, unless the user says what.
"""

import tomllib
from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal, cast
from urllib.parse import urlsplit

import msgspec

from hiddenrisk.errors import UsageError
from hiddenrisk.models.http import LOOPBACK
from hiddenrisk.models.openai import PROVIDERS
from hiddenrisk.models.spec import Spec, parse

Role = Literal["model", "judge", "victim"]
MILLION = 1_000_000
_MOST = 1e6
"""USD per million tokens; more is a slip of the pen."""
_FREE = frozenset({"local", "vllm", "replay", "fake", "imported"})
"""Providers that send no bill: nothing leaves the machine, or somebody else paid."""
_SAME = {"openai-responses": "openai"}
"""Other ways to a provider, at the same price."""


class Price(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """USD per million tokens, without discounts for cached or batched ones."""

    input: float
    output: float
    """Thinking included."""
    as_of: str = ""
    """A date, as the source has it."""
    source: str = ""
    until: str = ""
    """When the provider was to take the model away, where the source says so."""

    @property
    def costs(self) -> bool:
        """Whether it is more than nothing."""
        return self.input > 0 or self.output > 0

    def usd(self, prompt_tokens: float, completion_tokens: float) -> float:
        """What so many tokens cost."""
        return (prompt_tokens * self.input + completion_tokens * self.output) / MILLION


FREE = Price(input=0.0, output=0.0, source="runs on this machine")


class Prices(msgspec.Struct, frozen=True, kw_only=True):
    """All that is known of prices, the user's own words first."""

    single: Mapping[str, Price] = {}
    """By label, or by SPEC without label and options."""
    tables: Sequence[Mapping[str, Price]] = ()
    """By SPEC without label and options; `*` stands for anything. The first that knows counts."""

    def of(self, text: str) -> Price | None:
        """The price of what a SPEC names; None where nobody knows it."""
        spec = _parsed(text)
        if spec is None:
            return None
        known = self.told(text) or (FREE if _is_free(spec) else None)
        return known or _find(_shipped(), _name(spec))

    def told(self, text: str) -> Price | None:
        """The price that the user has named."""
        spec = _parsed(text)
        if spec is None:
            return None
        name = _name(spec)
        single = self.single.get(spec.label) or self.single.get(name)
        found = (_find(table, name) for table in self.tables)
        return single or next((price for price in found if price is not None), None)

    def check_names(self, texts: Iterable[str]) -> None:
        """See that each single price is somebody's: a slip of the pen would change no price.

        Args:
            texts: the SPECs of all who may be asked.

        Raises:
            UsageError: a price is nobody's.
        """
        specs = [spec for text in texts if (spec := _parsed(text)) is not None]
        known = {name for spec in specs for name in (spec.label, _name(spec))}
        if nobodys := [name for name in self.single if name not in known]:
            raise UsageError(
                f"--price {', '.join(nobodys)}: nobody who is asked is called so; name one of "
                f"{', '.join(dict.fromkeys(spec.label for spec in specs))}"
            )


def _parsed(text: str) -> Spec | None:
    try:
        return parse(text)
    except UsageError:  # a stored run may have models that nobody can ask
        return None


def who(role: str, label: str) -> str:
    """Under which name somebody stands in `usage`: a model by its label, others by role too."""
    return label if role == "model" else f"{role} {label}"


def open_prices(paths: Iterable[str] = (), single: Iterable[str] = ()) -> Prices:
    """The prices that a user names, before those that ship with the package.

    Args:
        paths: price files; the last goes first.
        single: `WHO=IN/OUT`, a label or a SPEC, and USD per million tokens.

    Raises:
        UsageError: a file cannot be read, or a price is none.
    """
    tables = [_read(Path(path)) for path in paths]
    return Prices(single=dict(map(_single, single)), tables=tables[::-1])


def _single(text: str) -> tuple[str, Price]:
    name, _, numbers = text.rpartition("=")
    try:
        paid, out = (float(number) for number in numbers.split("/"))
        if not name:
            raise ValueError
    except ValueError as error:
        raise UsageError(
            f"--price {text} is no price; write WHO=IN/OUT, a label or provider/model and USD per "
            "million tokens in and out, such as gpt-4o=2.50/10"
        ) from error
    return _lower(name), _checked(
        Price(input=paid, output=out, source="--price"), f"--price {text}"
    )


def _read(path: Path) -> dict[str, Price]:
    try:
        return _table(tomllib.loads(path.read_text("utf-8-sig")), str(path), path.name)
    except OSError as error:
        raise UsageError(f"cannot read the prices {path}: {error.strerror or error}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"the prices {path} are not valid TOML: {error}") from error


@cache
def _shipped() -> dict[str, Price]:
    text = files("hiddenrisk.plans").joinpath("prices.toml").read_text("utf-8")
    return _table(tomllib.loads(text), "prices.toml", "")


def _table(fields: dict[str, Any], where: str, source: str) -> dict[str, Price]:
    """The prices of a file: `as_of` and `source` for all of it, then one table of prices.

    Raises:
        UsageError: an entry is no price.
    """
    common = {k: str(fields[k]) for k in ("as_of", "source") if k in fields}
    found: dict[str, Price] = {}
    prices = fields.get("prices")
    if not isinstance(prices, dict):
        raise UsageError(
            f"{where} has no [prices]; write a line for each model below it, such as "
            '"openai/gpt-4o" = {input = 2.50, output = 10.00}'
        )
    for name, entry in cast("dict[str, Any]", prices).items():
        try:
            price = msgspec.convert({"source": source, **common, **entry}, Price)
        except (msgspec.ValidationError, TypeError) as error:
            raise UsageError(
                f"{where}: the price of {name} is no price ({error}); write {{input = 2.50, "
                "output = 10.00}, USD per million tokens"
            ) from error
        found[_lower(name)] = _checked(price, f"{where}, {name}")
    return found


def _checked(price: Price, where: str) -> Price:
    for number in (price.input, price.output):
        if not 0 <= number <= _MOST:
            raise UsageError(
                f"{where}: a price must be in 0..{_MOST:g} USD per million tokens, not {number:g}"
            )
    return price


def _name(spec: Spec) -> str:
    provider = spec.provider
    if spec.url is not None:
        known = (name for name, (url, _) in PROVIDERS.items() if url == spec.url)
        provider = next(known, None)
        if provider is None:
            return f"{spec.url}#{spec.model}"
    return _lower(f"{_SAME.get(provider, provider)}/{spec.model}")


def _lower(name: str) -> str:
    """Ids of providers' models differ by more than their case; labels and URLs may not."""
    return name if "://" in name or "/" not in name else name.lower()


def _find(table: Mapping[str, Price], name: str) -> Price | None:
    """The exact name, else the longest pattern that fits."""
    if name in table:
        return table[name]
    fitting = [key for key in table if "*" in key and fnmatchcase(name, key)]
    return table[max(fitting, key=len)] if fitting else None


def _is_free(spec: Spec) -> bool:
    if spec.url is not None:
        return urlsplit(spec.url).hostname in LOOPBACK
    return spec.provider in _FREE or spec.provider == "ollama"
