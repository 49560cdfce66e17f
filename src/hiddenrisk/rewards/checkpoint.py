"""A checkpoint on disk: where it is, what it holds, and whether it is the one that was asked for.

Weights are read from safetensors only, which holds tensors and no code; nothing of a
repository is run. What is wrong with a checkpoint is found in its headers, before any weight
is loaded and before torch is needed.
"""

import importlib
import json
import logging
import os
import re
import struct
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, cast

import msgspec

from hiddenrisk.checkpoints import fingerprint
from hiddenrisk.errors import DataError, UsageError
from hiddenrisk.rewards.heads import Shapes

Library = Any
"""An optional package, or something of it: not there for a type checker to look at."""
INSTALL = 'pip install "hiddenrisk[rewards]"'
_FILES = ["*.safetensors", "*.json", "*.jinja", "tokenizer.model"]
"""What is fetched: weights, configuration, tokenizer. Never code, never pickles."""
_SINGLE, _INDEX = "model.safetensors", "model.safetensors.index.json"
_PREFIX = "model."
"""What a backbone's tensors are called in a checkpoint that has a head beside it."""
_HEADER_BYTES = 100 << 20
_COMMIT = re.compile(r"[0-9a-f]{40}")
_FEW = 3
_log = logging.getLogger(__name__)


class Where(msgspec.Struct, frozen=True, kw_only=True):
    """A checkpoint as a user names it: a folder, or a repository at a revision."""

    folder: Path | None = None
    repo: str | None = None
    revision: str | None = None

    @property
    def name(self) -> str:
        """For messages."""
        return str(self.folder) if self.folder else self.repo or ""


class Checkpoint(msgspec.Struct, frozen=True, kw_only=True):
    """A checkpoint on disk, its headers read."""

    name: str
    folder: Path
    config: dict[str, Any]
    tensors: Shapes
    files: dict[str, str]
    """Which file has which tensor."""
    identity: dict[str, str]
    """Repository and commit; or a fingerprint of the files, for a folder."""


def open_checkpoint(where: Where, *, cache_dir: Path | None = None) -> Checkpoint:
    """Find a checkpoint, fetching it where it must be, and read its headers.

    Raises:
        UsageError: it is not here and cannot be fetched.
        DataError: it is no checkpoint, or broken.
    """
    folder = where.folder or _fetch(where, cache_dir)
    if not folder.is_dir():
        raise UsageError(f"there is no folder {folder}; name one that has a model's config.json")
    config = _object(folder / "config.json")
    tensors, files = _headers(folder)
    if where.folder:
        identity = {"checkpoint": fingerprint(folder, set(files.values()))}
    else:
        identity = {"repo": where.repo or "", "revision": folder.name}
    return Checkpoint(
        name=where.name,
        folder=folder,
        config=config,
        tensors=tensors,
        files=files,
        identity=identity,
    )


def check(
    found: Checkpoint, kind: str, backbone: Shapes, head: Shapes, ignored: Iterable[str]
) -> None:
    """See that a checkpoint has exactly the tensors of a backbone and a head.

    Raises:
        DataError: a tensor is missing, is there and should not be, or has another shape.
    """
    wanted = {_PREFIX + name: shape for name, shape in backbone.items()} | head
    passed = set(ignored)
    extra = [
        name
        for name in found.tensors.keys() - wanted.keys() - passed
        if not name.endswith("rotary_emb.inv_freq")  # old checkpoints keep what is computed anew
    ]
    shared = wanted.keys() & found.tensors.keys()
    other = [name for name in shared if found.tensors[name] != wanted[name]]
    problems = [
        f"it lacks {_few(wanted.keys() - found.tensors.keys())}",
        f"it also has {_few(extra)}",
        "; ".join(
            f"{name} is {list(found.tensors[name])} and not {list(wanted[name])}"
            for name in sorted(other)[:_FEW]
        ),
    ]
    said = [text for text in problems if text and not text.endswith(" ")]
    if said:
        raise DataError(
            f"{found.name} is no {kind} checkpoint: {'; '.join(said)}. Is it another model, or an "
            "incomplete copy?"
        )


def _few(names: Iterable[str]) -> str:
    ordered = sorted(names)
    more = f" and {len(ordered) - _FEW} more" if len(ordered) > _FEW else ""
    return ", ".join(ordered[:_FEW]) + more


def _headers(folder: Path) -> tuple[Shapes, dict[str, str]]:
    """The shape of every tensor, and the file it is in."""
    tensors: Shapes = {}
    files: dict[str, str] = {}
    for file in _weight_files(folder):
        for name, shape in _header(folder / file).items():
            if name in tensors:
                raise DataError(f"{folder} has {name} in two files; fetch the checkpoint again")
            tensors[name], files[name] = shape, file
    return tensors, files


def _weight_files(folder: Path) -> list[str]:
    if not (folder / _INDEX).is_file():
        if (folder / _SINGLE).is_file():
            return [_SINGLE]
        raise DataError(
            f"{folder} has no {_SINGLE} and no {_INDEX}; weights are read from safetensors only. "
            "Take a revision that has them, or convert the checkpoint"
        )
    listed = _object(folder / _INDEX).get("weight_map")
    names = cast("dict[str, object]", listed).values() if isinstance(listed, dict) else ()
    files = sorted({name for name in names if isinstance(name, str)})
    if not files or any(Path(name).name != name for name in files):
        raise DataError(f"{folder / _INDEX} lists no files of its own folder; fetch it again")
    return files


def _header(path: Path) -> Shapes:
    """The tensors of one file. The format: a length, that many bytes of JSON, the data."""
    try:
        with path.open("rb") as file:
            (size,) = struct.unpack("<Q", file.read(8))
            found: dict[str, Any] = json.loads(file.read(size)) if size < _HEADER_BYTES else {}
        found.pop("__metadata__", None)
        shapes = {name: tuple(map(int, tensor["shape"])) for name, tensor in found.items()}
        end = 8 + size + max((int(t["data_offsets"][1]) for t in found.values()), default=-1)
    except FileNotFoundError as error:
        raise DataError(f"{path} is missing; fetch the checkpoint again") from error
    except (OSError, struct.error, ValueError, TypeError, LookupError, AttributeError) as error:
        raise DataError(f"{path} is no safetensors file; fetch the checkpoint again") from error
    if not shapes or path.stat().st_size != end:
        raise DataError(
            f"{path} is cut or damaged ({path.stat().st_size} bytes); fetch the checkpoint again"
        )
    return shapes


def _object(path: Path) -> dict[str, Any]:
    """The JSON object in a file."""
    try:
        value: object = json.loads(path.read_bytes())
    except FileNotFoundError as error:
        raise DataError(f"{path.parent} has no {path.name}; is it a model's folder?") from error
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{path} cannot be read: {error}") from error
    if not isinstance(value, dict):
        raise DataError(f"{path} holds no JSON object")
    return cast("dict[str, Any]", value)


def _fetch(where: Where, cache_dir: Path | None) -> Path:
    """The folder of a repository's revision, from the hub's cache or the hub itself.

    Raises:
        UsageError: the hub's client is not installed, or has and finds nothing.
    """
    # The user asked for one file set; nobody else is to be told.
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    try:
        hub: Library = importlib.import_module(
            "huggingface_hub"
        )  # optional, and untyped without it
    except ImportError as error:
        raise UsageError(f"{where.name} needs an extra: {INSTALL}") from error
    asked: Mapping[str, Any] = {
        "revision": where.revision,
        "cache_dir": cache_dir,
        "allow_patterns": _FILES,
    }
    try:
        if where.revision and _COMMIT.fullmatch(where.revision):
            folder = _cached(hub, where, asked) or hub.snapshot_download(where.repo, **asked)
        else:  # a branch moves: ask first, and do without an answer
            folder = hub.snapshot_download(where.repo, **asked)
    except Exception as error:
        said = str(error).strip().splitlines() or [type(error).__name__]
        raise UsageError(
            f"cannot fetch {where.name} ({said[0][:200]}). Check the name and the revision, "
            "accept its terms and set HF_TOKEN if it has any, or name a folder that has it: "
            "NAME=/path/to/checkpoint"
        ) from error
    path = Path(folder)
    if where.revision is None:
        _log.warning("%s was read at %s; write %s@%s to stay with it", *[where.name, path.name] * 2)
    return path


def _cached(hub: Library, where: Where, asked: Mapping[str, Any]) -> str | None:
    """A commit that is whole in the cache needs no network."""
    try:
        folder: str = hub.snapshot_download(where.repo, local_files_only=True, **asked)
        _headers(Path(folder))  # an interrupted download left a part of it
    except (hub.errors.LocalEntryNotFoundError, DataError):
        return None
    return folder
