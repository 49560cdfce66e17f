"""Logs of Inspect (inspect.aisi.org.uk): `.eval`, a zip of JSON, or the same as one `.json`.

Read as they are, without the package: `header.json` (while a run is not finished
`_journal/start.json`) names the model, `samples/ID_epoch_N.json` is a sample. Since 2026 the
members are compressed with Zstandard, which Python's own zipfile knows from 3.14 on; before
that it takes `pip install "hiddenrisk[inspect]"`. Nothing is unpacked to disk, and what is
read of a file is bounded, whatever its directory says.
"""

import importlib
import io
import json
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from hiddenrisk.errors import DataError
from hiddenrisk.models.blocks import fields_of, items_of
from hiddenrisk.models.http import count_of, text_of
from hiddenrisk.models.summaries import claude_summarises
from hiddenrisk.thinking import read
from hiddenrisk.transcripts.base import Contents, Transcript, clean, one_line, raw_of
from hiddenrisk.types import Finish, Message, Reply, Usage, Visibility

_ZSTD = 93
_MEMBER_BYTES, _ALL_BYTES, _MEMBERS = 1 << 26, 1 << 32, 500_000
"""Of one sample, of all together (both unpacked), and how many there may be."""
_LOCAL_HEADER = 30
_SUMMARIES = ("openai/", "google/", "azureai/gpt", "azureai/o")
"""Models by Inspect's names whose providers show a summary of the thinking at best."""
_UNREADABLE = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, OSError)


def is_log(path: Path, content: bytes) -> bool:
    """Whether a file is a log of Inspect."""
    if path.suffix.lower() == ".eval" or content.startswith(b"PK\x03\x04"):
        return True
    return path.suffix.lower() == ".json" and b'"eval"' in content[:4096]


def read_log(path: Path, content: bytes) -> Contents:
    """The transcripts of a log.

    Raises:
        DataError: it is no log, is damaged, or larger than it may be.
    """
    if content.startswith(b"PK"):
        header, samples = _unzipped(path, content)
    else:
        header = _parsed(content, str(path))
        samples = (
            (f"{path}, sample {i}", fields_of(s))
            for i, s in enumerate(items_of(header.get("samples")), start=1)
        )
    about = fields_of(header.get("eval"))
    model = text_of(about.get("model"))
    if not model:
        raise DataError(f"{path} is no log of Inspect: it names no model (eval.model)")
    transcripts = [_transcript(where, sample, clean(model)) for where, sample in samples]
    if not transcripts:
        raise DataError(f"{path} has no samples in it (was it written with --no-log-samples?)")
    status = text_of(header.get("status")) or "not finished"
    notes = [] if status == "success" else [f"{path}: the log's own status is: {status[:40]}"]
    task = one_line(clean(text_of(about.get("task"))), 80)
    return Contents(format="Inspect log", name=task, transcripts=transcripts, notes=notes)


# ---------------------------------------------------------------- the zip


def _unzipped(
    path: Path, content: bytes
) -> tuple[dict[str, object], Iterator[tuple[str, dict[str, object]]]]:
    try:
        archive = zipfile.ZipFile(io.BytesIO(content))
    except _UNREADABLE as error:
        raise DataError(f"{path} is a damaged zip file ({error}); copy it again") from error
    members = {info.filename: info for info in archive.infolist()}
    if len(members) > _MEMBERS:
        raise DataError(f"{path} holds more than {_MEMBERS:,} files; that is no log")
    budget = _Budget(path)
    start = next((n for n in ("header.json", "_journal/start.json") if n in members), None)
    if start is None:
        raise DataError(f"{path} is no log of Inspect: it has no header.json in it")
    header = _parsed(budget.read(archive, content, members[start]), f"{path}, {start}")
    named = [n for n in members if n.startswith("samples/") and n.endswith(".json")]
    return header, (
        (f"{path}, {one_line(name)}", _parsed(budget.read(archive, content, members[name]), name))
        for name in named
    )


class _Budget:
    """Reads members of a zip file, and no more of them than is sound."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._left = _ALL_BYTES

    def read(self, archive: zipfile.ZipFile, content: bytes, info: zipfile.ZipInfo) -> bytes:
        """A member, unpacked.

        Raises:
            DataError: it is damaged, or unpacks to more than it may.
        """
        most = min(_MEMBER_BYTES, self._left)
        try:
            if info.compress_type == _ZSTD and not hasattr(zipfile, "ZIP_ZSTANDARD"):
                found = _unzstd(_stored(content, info), most, self._path)
            else:
                with archive.open(info) as member:
                    found = member.read(most + 1)
        except _UNREADABLE as error:
            raise DataError(
                f"{self._path}, {one_line(info.filename)}: cannot be unpacked ({error}); copy "
                "the file again"
            ) from error
        if len(found) > most:
            raise DataError(
                f"{self._path}, {one_line(info.filename)}: unpacks to more than "
                f"{most >> 20:,} MiB, which no sample should; split the log"
            )
        self._left -= len(found)
        return found


def _stored(content: bytes, info: zipfile.ZipInfo) -> bytes:
    """A member as it stands in the file, still compressed."""
    header = content[info.header_offset : info.header_offset + _LOCAL_HEADER]
    if len(header) < _LOCAL_HEADER or not header.startswith(b"PK\x03\x04"):
        raise zipfile.BadZipFile("a member is not where the directory says")
    names = int.from_bytes(header[26:28], "little") + int.from_bytes(header[28:30], "little")
    start = info.header_offset + _LOCAL_HEADER + names
    return content[start : start + info.compress_size]


def _unzstd(packed: bytes, most: int, path: Path) -> bytes:
    try:
        zstandard: Any = importlib.import_module("zstandard")
    except ImportError as error:
        raise DataError(
            f'{path} is compressed with Zstandard: pip install "hiddenrisk[inspect]", or '
            f"rewrite it with `inspect log convert {path.name} --to json --output-dir DIR`"
        ) from error
    try:
        with zstandard.ZstdDecompressor().stream_reader(packed) as reader:
            return bytes(reader.read(most + 1))
    except zstandard.ZstdError as error:
        raise zipfile.BadZipFile(str(error)) from error


def _parsed(content: bytes, where: str) -> dict[str, object]:
    try:
        value: object = json.loads(content.decode("utf-8-sig", "replace"))
    except (ValueError, RecursionError) as error:
        raise DataError(f"{where}: not valid JSON ({error})") from error
    if not isinstance(value, dict):
        raise DataError(f"{where}: expected an object, found {type(value).__name__}")
    return fields_of(value)  # pyright: ignore[reportUnknownArgumentType] - any keys


# ---------------------------------------------------------------- a sample


def _transcript(where: str, sample: dict[str, object], model: str) -> Transcript:
    attached = fields_of(sample.get("attachments"))
    name, epoch = sample.get("id"), count_of(sample.get("epoch")) or 1
    if not isinstance(name, str | int) or isinstance(name, bool) or not str(name):
        raise DataError(f"{where}, field id: missing")
    output = fields_of(sample.get("output"))
    error = sample.get("error") or output.get("error")
    choices = items_of(output.get("choices"))
    choice = fields_of(choices[0]) if choices else {}
    category = fields_of(sample.get("metadata")).get("category")
    found = Transcript(
        where=where,
        model=model,
        id=clean(str(name)),
        repeat=epoch - 1,
        messages=_asked(sample, attached),
        category=(clean(category),) if isinstance(category, str) and category.strip() else (),
    )
    if error or not choice:
        told = text_of(fields_of(error).get("message")) or text_of(error)
        trouble = f"the log says: {told}" if told else "the log has no output for it"
        return msgspec.structs.replace(found, trouble=one_line(trouble))
    return msgspec.structs.replace(found, reply=_reply(choice, output, model, attached))


def _asked(sample: dict[str, object], attached: dict[str, object]) -> tuple[Message, ...]:
    """What was asked: the messages before the model first spoke, or else the input."""
    given = sample.get("input")
    turns = [fields_of(turn) for turn in items_of(sample.get("messages"))]
    spoken = [i for i, turn in enumerate(turns) if turn.get("role") == "assistant"]
    source = turns[: spoken[0]] if spoken and spoken[0] else turns if not spoken else []
    if not source and isinstance(given, str):
        source = [{"role": "user", "content": given}]
    elif not source:
        source = [fields_of(turn) for turn in items_of(given)]
    return tuple(
        Message(clean(text_of(turn.get("role")) or "user"), _text(turn.get("content"), attached))
        for turn in source
    )


def _parts(content: object, attached: dict[str, object]) -> list[dict[str, object]]:
    """The parts of a content, long texts put back in their places."""
    if isinstance(content, str):
        return [{"type": "text", "text": _whole(content, attached)}]
    parts = [fields_of(part) for part in items_of(content)]
    return [{k: _whole(v, attached) for k, v in part.items()} for part in parts]


def _whole(value: object, attached: dict[str, object]) -> object:
    if isinstance(value, str) and value.startswith("attachment://"):
        return attached.get(value.removeprefix("attachment://"), value)
    return value


def _text(content: object, attached: dict[str, object]) -> str:
    parts = _parts(content, attached)
    return clean("".join(text_of(p.get("text")) for p in parts if p.get("type") == "text"))


def _reply(
    choice: dict[str, object], output: dict[str, object], model: str, attached: dict[str, object]
) -> Reply:
    message = fields_of(choice.get("message"))
    parts = _parts(message.get("content"), attached)
    thoughts = [p for p in parts if p.get("type") == "reasoning"]
    shown = [text_of(p.get("reasoning")) for p in thoughts if p.get("redacted") is not True]
    told = [text_of(p.get("summary")) for p in thoughts]
    texts = [p for p in parts if p.get("type") == "text"]
    refused = bool(texts) and all(p.get("refusal") is True for p in texts)
    thinking = "\n\n".join(t for t in shown if t.strip())
    summary = "\n\n".join(t for t in told if t.strip())
    usage = fields_of(output.get("usage"))
    tokens = count_of(usage.get("reasoning_tokens"))
    stop = text_of(choice.get("stop_reason"))
    reading = read(
        _text(message.get("content"), attached) or None,
        clean(thinking or summary) or None,
        "" if stop == "unknown" else stop,
        reasoning_tokens=tokens or (1 if thoughts else None),
        marked=Finish.REFUSED if refused else None,
    )
    summarised = reading.style == "field" and (
        not thinking or claude_summarises(model) or model.startswith(_SUMMARIES)
    )
    return Reply(
        thinking=reading.thinking,
        answer=reading.answer,
        finish=reading.finish,
        visibility=Visibility.SUMMARISED if summarised else reading.visibility,
        style=reading.style,
        usage=Usage(
            prompt_tokens=count_of(usage.get("input_tokens")),
            completion_tokens=count_of(usage.get("output_tokens")),
            reasoning_tokens=tokens,
        ),
        served_model=clean(text_of(output.get("model"))) or None,
        raw=raw_of({"choice": choice, "usage": usage}),
    )
