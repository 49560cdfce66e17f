"""Pinned data: a local mirror that never touches the network, or a checked download.

Every source is one plain file. None is an archive, and nothing is ever unpacked to disk: gzip is
read in memory, within a bound, by who reads it (`label_sets.preferences`).
"""

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import msgspec

from hiddenrisk import hub
from hiddenrisk.download import Told, fetch, is_right, not_data, part_of, shortfall
from hiddenrisk.errors import DataError
from hiddenrisk.types import Source

ENV_DATA, ENV_CACHE = "HIDDENRISK_DATA", "HIDDENRISK_CACHE"

Status = Literal["verified", "differs", "unpinned", "partial", "missing", "gated"]


class Data(msgspec.Struct, frozen=True, kw_only=True):
    """The bytes of one source, and whether they are the pinned ones."""

    source: Source
    content: bytes
    sha256: str
    verified: bool
    origin: str
    """The path they were read from; goes into the manifest."""

    @property
    def warning(self) -> str | None:
        """Why these bytes are not verified, or None."""
        if self.verified:
            return None
        name, pinned, digest = self.source.name, self.source.sha256, self.sha256[:12]
        if pinned is None:
            lacks = shortfall(self.source, len(self.content))
            told = f"; {lacks}" if lacks else ""
            return f"{name}: no digest is pinned for it yet (sha256 {digest}{told})"
        why = _difference(self.source, Path(self.origin), len(self.content))
        return f"{name}: digest {digest} differs from the pinned {pinned[:12]} ({why})"


class State(msgspec.Struct, frozen=True, kw_only=True):
    """What this machine has of one source."""

    source: Source
    path: Path | None
    size: int | None
    sha256: str | None
    status: Status
    note: str | None = None
    """Why it differs, or what to do to have it."""


def load(source: Source, data_dir: Path | None) -> Data:
    """The bytes of a source.

    Args:
        source: what is wanted.
        data_dir: a mirror laid out by source names; with one, the network is never used.

    Raises:
        DataError: the file is not there, cannot be read or downloaded, or is no data.
    """
    try:
        path = _in_mirror(source, data_dir) if data_dir else pull(source)
        content = path.read_bytes()
    except OSError as error:
        where = error.filename or source.name
        raise DataError(f"cannot read {where}: {error.strerror or error}") from error
    digest = hashlib.sha256(content).hexdigest()
    verified = digest == source.sha256
    if not verified and (instead := not_data(source, content)):
        raise DataError(
            f"{path} is {instead}, not {source.name}; put the file itself there (from {source.url})"
        )
    return Data(source=source, content=content, sha256=digest, verified=verified, origin=str(path))


def pull(source: Source, told: Told | None = None) -> Path:
    """The path of a source in the cache, downloaded if it is not there as it should be.

    Raises:
        DataError: it cannot be downloaded.
    """
    path = cached(source)
    if not is_right(source, path):  # not there, of an older pin, or the disk failed
        fetch(source, path, told)
    return path


def state(source: Source, data_dir: Path | None) -> State:
    """What is here of a source, in a mirror or else in the cache; never asks the network.

    Raises:
        DataError: there is no such mirror.
    """
    path = next(_copies(source, data_dir), None) if data_dir else cached(source)
    if path is not None and path.is_file():
        return _examined(source, path)
    part = part_of(cached(source))
    if data_dir is None and part.is_file():
        size = part.stat().st_size
        return State(source=source, path=part, size=size, sha256=None, status="partial")
    gated = hub.lacks_token(source)
    return State(
        source=source,
        path=None,
        size=None,
        sha256=None,
        status="gated" if gated else "missing",
        note=f"accept the terms at {source.gated} and set HF_TOKEN" if gated else None,
    )


def cached(source: Source) -> Path:
    """Where the cache has a source, or would have it."""
    base = os.environ.get(ENV_CACHE) or Path.home() / ".cache" / "hiddenrisk"
    return Path(base) / source.name


def _examined(source: Source, path: Path) -> State:
    try:
        content = path.read_bytes()
    except OSError as error:
        note = f"cannot be read: {error.strerror or error}"
        return State(source=source, path=path, size=None, sha256=None, status="differs", note=note)
    digest = hashlib.sha256(content).hexdigest()
    status, note = _judged(source, path, content, digest)
    return State(
        source=source, path=path, size=len(content), sha256=digest, status=status, note=note
    )


def _judged(source: Source, path: Path, content: bytes, digest: str) -> tuple[Status, str | None]:
    if digest == source.sha256:
        return "verified", None
    if instead := not_data(source, content):
        return "differs", instead
    if source.sha256 is None:
        return "unpinned", shortfall(source, len(content))
    other = path.name != Path(source.name).name  # a copy in another form has no known digest
    return "unpinned" if other else "differs", _difference(source, path, len(content))


def _difference(source: Source, path: Path, size: int) -> str:
    """What bytes may be that are data, and not the pinned ones."""
    if path.name != Path(source.name).name:
        return f"another file, {path.name}"
    return shortfall(source, size) or "another version, or a part of the file"


def _in_mirror(source: Source, data_dir: Path) -> Path:
    if (path := next(_copies(source, data_dir), None)) is not None:
        return path
    how = f"after accepting the terms at {source.gated}, " if source.gated else ""
    raise DataError(
        f"{data_dir} has no {source.name}; put the file there ({how}from {source.url}), "
        "or leave --data-dir out to download it"
    )


def _copies(source: Source, data_dir: Path) -> Iterator[Path]:
    """The files of a mirror that stand for a source, the likeliest first.

    Each of its names is looked up whole, and beside or above the folder named.
    """
    if not data_dir.is_dir():
        raise DataError(f"the data directory {data_dir} does not exist; check --data-dir")
    for name in (source.name, *source.mirrors):
        file = Path(name).name
        for path in (data_dir / name, data_dir / file, data_dir.resolve().parent / file):
            if path.is_file():
                yield path
