"""A run for sharing: its numbers and labels, and nothing of where it ran or what was said.

What is kept is listed here, field by field; what is not listed is left out. Of the words that
are kept, whatever names a place (an address, a path, a host) is blotted out as well.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, cast

BLOT = "[left out]"
_LEFT_OUT = frozenset(
    {"spec", "command", "provider", "served_models", "fingerprints", "rubric_file", "identity"}
)
"""Fields that are emptied wherever they stand in a summary."""
_KEPT = (
    "hiddenrisk", "created", "unverified", "jury", "evidence", "models", "roles", "harmfulness",
    "comparisons", "findings", "usage", "spending", "complete", "judges", "victim",
)  # fmt: skip
_MANIFEST = ("hiddenrisk", "digest", "protocols", "started", "unverified")
_PLAN = (
    "jury", "audit", "limit", "repeat", "max_tokens", "temperature", "parts", "insights",
    "profiles", "reference", "pairs", "decodings",
)  # fmt: skip
_BENCHMARK = ("digest", "version", "prompts", "rubrics", "limit")
_DATA = ("name", "url", "licence", "pinned", "sha256", "verified")
_PLACES = re.compile(
    r"[a-z][a-z0-9+.-]*://[^\s'\"<>)\]]+"  # addresses
    r"|(?<![\w/])~?/(?:[\w.@+-]+/)*[\w.@+-]+"  # paths
    r"|\b[A-Za-z]:\\[^\s'\"<>]+|\\\\[\w.-]+\\[^\s'\"<>]+",
    re.IGNORECASE,
)
_LEAST = 3
"""A shorter word stands in too many others to be blotted out."""


def redacted(summary: Mapping[str, Any], manifest: Mapping[str, Any]) -> dict[str, Any]:
    """The summary of a run without what says where it ran.

    Args:
        summary: the content of summary.json.
        manifest: that of run.json; every place it names is blotted out of what is kept.
    """
    kept = {name: summary[name] for name in _KEPT if name in summary}
    return {**_Blotter(summary, manifest).clean(kept), "redacted": True}


def redacted_manifest(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """The run.json of a run without what says where it ran: digests stay, identities go."""
    identity, plan = manifest["identity"], manifest["plan"]
    environment: dict[str, Any] = manifest.get("environment", {})
    told: dict[str, Any] = {
        **{k: manifest[k] for k in _MANIFEST if k in manifest},
        "plan": {k: plan[k] for k in _PLAN if k in plan},
        "environment": {
            **{k: environment[k] for k in ("python", "packages") if k in environment},
            "platform": BLOT,
        },
    }
    empty: dict[str, Any] = {}
    asked: dict[str, Any] = {
        "models": dict.fromkeys(identity["models"], empty),
        "judges": dict.fromkeys(identity["judges"], empty),
        "benchmarks": {
            name: {k: one[k] for k in _BENCHMARK if k in one}
            for name, one in identity["benchmarks"].items()
        },
    }
    # Where the publisher has the data, everybody may know.
    data = [{k: one.get(k) for k in _DATA} for one in manifest.get("data", [])]
    cleaned = _Blotter({}, manifest).clean(told)
    return {"redacted": True, **cleaned, "identity": asked, "data": data}


class _Blotter:
    """Blots out what names a place of a run; how its user calls things stays."""

    def __init__(self, summary: Mapping[str, Any], manifest: Mapping[str, Any]) -> None:
        identity = manifest["identity"]
        self._labels = {*identity["models"], *identity["judges"], *identity["benchmarks"]}
        words = sorted(_words(summary, manifest) - self._labels, key=len, reverse=True)
        known = "|".join(re.escape(word) for word in words if len(word) >= _LEAST)
        self._known = re.compile(rf"(?<![\w.-])(?:{known})(?![\w-])") if known else None

    def clean(self, value: Any) -> Any:  # noqa: ANN401 - JSON
        """The same without the fields and the words that are left out."""
        if isinstance(value, str) and value not in self._labels:
            known = self._known.sub(BLOT, value) if self._known else value
            return _PLACES.sub(BLOT, known)
        if isinstance(value, dict):
            fields = cast("dict[str, Any]", value)
            return {k: _emptied(v) if k in _LEFT_OUT else self.clean(v) for k, v in fields.items()}
        if isinstance(value, list):
            return [self.clean(one) for one in cast("list[Any]", value)]
        return value


def _emptied(value: object) -> object:
    """Something of the same shape, with nothing in it."""
    if isinstance(value, str):
        return BLOT
    if isinstance(value, list):
        return [BLOT] if value else []
    return {} if isinstance(value, dict) else None


def _words(summary: Mapping[str, Any], manifest: Mapping[str, Any]) -> set[str]:
    """What names a place in a run: SPECs without their labels, paths, hosts."""
    plan = manifest.get("plan", {})
    specs = [
        *_strings([plan.get(k) for k in ("models", "judges", "fallbacks", "cascade", "victim")]),
        *_strings([j.get("judges") for j in manifest.get("judgings", [])]),
        *_specs(summary),
    ]
    found = {spec.partition("=")[2] if "=" in spec else spec for spec in specs}
    found |= {text.partition("?")[0] for text in _strings(plan.get("benchmarks")) if "/" in text}
    found |= set(_strings(manifest.get("settings", {}).get("data_dir")))
    return {*found, str(Path.home()), str(Path.cwd())}


def _specs(value: object) -> Iterator[str]:
    """All that stands as a `spec`, a `provider` or a served model, however deep."""
    if isinstance(value, Mapping):
        for key, one in cast("Mapping[str, object]", value).items():
            yield from _strings(one) if key in _LEFT_OUT - {"identity"} else _specs(one)
    elif isinstance(value, list):
        for one in cast("list[object]", value):
            yield from _specs(one)


def _strings(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for one in cast("Mapping[str, object]", value).values():
            yield from _strings(one)
    elif isinstance(value, Iterable):
        for one in cast("Iterable[object]", value):
            yield from _strings(one)
