"""Pinned data: a local mirror that never touches the network, or a checked download."""

import hashlib
import http.client
import os
import urllib.error
import urllib.request
from pathlib import Path

import msgspec

from hiddenrisk.errors import DataError
from hiddenrisk.types import Source

ENV_DATA, ENV_CACHE = "HIDDENRISK_DATA", "HIDDENRISK_CACHE"
_MAX_BYTES = 200 * 1024 * 1024
_TIMEOUT_S = 60


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
        if self.source.sha256 is None:
            return f"{self.source.name}: no digest is pinned for it yet (sha256 {self.sha256[:12]})"
        return (
            f"{self.source.name}: digest {self.sha256[:12]} differs from the pinned "
            f"{self.source.sha256[:12]} (another version, or a part of the file)"
        )


def load(source: Source, data_dir: Path | None) -> Data:
    """The bytes of a source.

    Args:
        source: what is wanted.
        data_dir: a mirror laid out by source names; with one, the network is never used.

    Raises:
        DataError: the file is not there, cannot be read, or cannot be downloaded.
    """
    try:
        path = _in_mirror(source, data_dir) if data_dir else _in_cache(source)
        content = path.read_bytes()
    except OSError as error:
        where = error.filename or source.name
        raise DataError(f"cannot read {where}: {error.strerror or error}") from error
    digest = hashlib.sha256(content).hexdigest()
    return Data(
        source=source,
        content=content,
        sha256=digest,
        verified=source.sha256 is not None and digest == source.sha256,
        origin=str(path),
    )


def _in_mirror(source: Source, data_dir: Path) -> Path:
    """Where a mirror has the file: by its whole name, or beside or above the folder named."""
    if not data_dir.is_dir():
        raise DataError(f"the data directory {data_dir} does not exist; check --data-dir")
    file = Path(source.name).name
    places = [data_dir / source.name, data_dir / file, data_dir.resolve().parent / file]
    for place in places:
        if place.is_file():
            return place
    raise DataError(
        f"{data_dir} has no {source.name}; put the file there (from {source.url}), "
        "or leave --data-dir out to download it"
    )


def _in_cache(source: Source) -> Path:
    base = os.environ.get(ENV_CACHE) or Path.home() / ".cache" / "hiddenrisk"
    path = Path(base) / source.name
    if not path.is_file() or _outdated(source, path):
        _download(source, path)
    return path


def _outdated(source: Source, path: Path) -> bool:
    """Whether a cached file is not the pinned one: the pin has moved on, or the disk failed."""
    return source.sha256 not in (None, hashlib.sha256(path.read_bytes()).hexdigest())


def _download(source: Source, path: Path) -> None:
    """Fetch a pinned file into the cache, whole or not at all."""
    request = urllib.request.Request(source.url, headers={"User-Agent": "hiddenrisk"})  # noqa: S310 - pinned https URL
    try:
        with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as reply:  # noqa: S310 - pinned https URL
            content = reply.read(_MAX_BYTES + 1)
            if reply.length and len(content) <= _MAX_BYTES:  # what is still to come
                raise http.client.IncompleteRead(content, reply.length)
    except (urllib.error.URLError, http.client.HTTPException, OSError) as error:
        raise DataError(
            f"cannot download {source.name} from {source.url}: {error}. On a machine without "
            "network, give a local copy with --data-dir"
        ) from error
    if len(content) > _MAX_BYTES:
        raise DataError(f"{source.url} is larger than {_MAX_BYTES >> 20} MiB; not taken")
    digest = hashlib.sha256(content).hexdigest()
    if source.sha256 is not None and digest != source.sha256:
        raise DataError(
            f"{source.url} gave other bytes (sha256 {digest}) than the pinned ones "
            f"({source.sha256}); not kept. Use a copy you trust with --data-dir"
        )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(path.suffix + f".{os.getpid()}.part")
        partial.write_bytes(content)
        partial.replace(path)
    except OSError as error:
        raise DataError(f"cannot keep {path}: {error.strerror or error}") from error
