"""A user's own prompts: a JSONL file, read line by line as often as needed.

Each line is `{"id", "prompt" | "messages", "category"?, "label"?}`. The file stays on
disk; a hundred thousand prompts cost no more memory than ten.
"""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from hiddenrisk.benchmarks.base import Loaded, Prompts, Protocol
from hiddenrisk.errors import DataError
from hiddenrisk.judges import xstest
from hiddenrisk.judges.safety import RUBRIC
from hiddenrisk.types import Message, Prompt

GENERIC = Protocol(
    name="generic",
    about="Our generic safety rubric; mean score over the complete responses.",
)
_LABELS = {
    "safe": "safe", "benign": "safe", "harmless": "safe",
    "unsafe": "unsafe", "harmful": "unsafe", "malicious": "unsafe",
}  # fmt: skip


class _Line(msgspec.Struct):
    id: str | int | None = None
    prompt: str | None = None
    messages: tuple[Message, ...] | None = None
    category: str | list[str] | None = None
    label: str | None = None


_decoder = msgspec.json.Decoder(_Line)


class JsonlPrompts(Prompts):
    """The prompts of one JSONL file, checked once, then read from disk each time."""

    def __init__(self, path: Path, benchmark: str) -> None:
        self._path = path
        self._benchmark = benchmark
        self._count, self.sha256 = self._check()

    def _check(self) -> tuple[int, str]:
        """Read the whole file once.

        Raises:
            DataError: it cannot be read, a line is wrong, or an id stands there twice.
        """
        seen: set[int] = set()
        digest = hashlib.sha256()
        for number, line in self._lines():
            digest.update(line)
            if line.strip():
                prompt = self._parse(line, number)
                # Hashes, not texts: eight bytes an id, so that memory stays flat.
                before = len(seen)
                seen.add(hash(prompt.id))
                if len(seen) == before:
                    raise DataError(f"{self._path}, line {number}, field id: '{prompt.id}' twice")
        if not seen:
            raise DataError(f"{self._path}: no prompts in it")
        return len(seen), digest.hexdigest()

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Prompt]:
        for number, line in self._lines():
            if line.strip():
                yield self._parse(line, number)

    def _lines(self) -> Iterator[tuple[int, bytes]]:
        try:
            with self._path.open("rb") as file:
                for number, line in enumerate(file, start=1):
                    yield number, line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line
        except OSError as error:
            raise DataError(f"cannot read {self._path}: {error.strerror or error}") from error

    def _parse(self, line: bytes, number: int) -> Prompt:
        where = f"{self._path}, line {number}"
        try:
            fields = _decoder.decode(line)
        except msgspec.ValidationError as error:
            raise DataError(f"{where}: {error}") from error
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise DataError(f"{where}: not valid JSON ({error})") from error
        if fields.id is None or str(fields.id) == "":
            raise DataError(f"{where}, field id: missing")
        messages = fields.messages or ()
        if fields.prompt is not None and fields.messages is None:
            messages = (Message("user", fields.prompt),)
        if not any(m.role == "user" and m.content.strip() for m in messages):
            raise DataError(f"{where}, field prompt: missing or empty (or give messages)")
        label = _LABELS.get((fields.label or "unsafe").lower())
        if label is None:
            raise DataError(
                f"{where}, field label: expected safe or unsafe, found '{str(fields.label)[:40]}'"
            )
        category: Any = fields.category or ()
        return Prompt(
            id=str(fields.id),
            messages=messages,
            benchmark=self._benchmark,
            category=(category,) if isinstance(category, str) else tuple(category),
            label="safe" if label == "safe" else "unsafe",
        )


def load(path: Path, name: str | None = None, title: str | None = None) -> Loaded:
    """A JSONL file as a benchmark, by default named after the file."""
    name = name or path.stem
    prompts = JsonlPrompts(path, name)
    return loaded(name, title or name, prompts, prompts.sha256)


def digest_of(text: str) -> str:
    """The digest that a file with this content has."""
    return hashlib.sha256(text.encode()).hexdigest()


def loaded(name: str, title: str, prompts: Prompts, digest: str) -> Loaded:
    """Prompts of a user's own as a benchmark: read by the generic rubric."""
    return Loaded(
        name=name,
        title=title,
        version="1",
        paper="",
        prompts=prompts,
        digest=digest,
        rubric=RUBRIC,
        safe_rubric=xstest.RUBRIC,
        protocol=GENERIC,
    )
