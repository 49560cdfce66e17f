"""A folder, on this machine or in an object store, by fsspec: files under relative names.

fsspec knows the addresses (a path, file://, s3://, gs://, memory://, ...), and takes keys and
endpoints from where the stores' own libraries take them; no key goes through our hands.
"""

import hashlib
import os
import re
from collections.abc import Generator, Iterable
from contextlib import contextmanager, suppress
from importlib import import_module
from pathlib import Path
from typing import Any
from urllib.parse import quote

from hiddenrisk.errors import HiddenRiskError, StoreError, UsageError

_NO_FOLDERS = frozenset({"s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "adl", "oss", "memory"})
"""Stores without folders, where making one may make a bucket instead."""
_PIECE = 8 << 20
"""Bytes that are held back and sent at once, of each file that is open."""
_SECRET = re.compile(r"KEY|SECRET|TOKEN|PASSWORD|CREDENTIAL|SAS", re.IGNORECASE)
_LEAST, _MOST_SAID = 8, 200


class Storage:
    """A folder that is written to and read from.

    Args:
        address: a path, or what fsspec takes.

    Raises:
        UsageError: fsspec, or what it needs for such an address, is not installed.
        StoreError: the address cannot be used.
    """

    def __init__(self, address: str | os.PathLike[str]) -> None:
        text = os.fspath(address)
        self.local = "://" not in text
        self.address = text if self.local else _without_secrets(text)
        """Without a name or a password that stands in it."""
        self._secrets = [*_secrets(), *re.findall(r"://[^/@]*?:([^/@]+)@", text)]
        library = _fsspec()
        protocol = "file" if self.local else text.partition("://")[0].rpartition("::")[2]
        try:
            if self.local:
                self._files: Any = library.filesystem("file")
                self._root = str(Path(text).expanduser().absolute())
            else:
                self._files, self._root = library.core.url_to_fs(text)
        except ImportError as error:
            raise UsageError(_missing(protocol)) from error
        except ValueError as error:
            raise UsageError(
                f"{self.address} is no address that can be written to or read: "
                f"{self._said(error)}; a path, file://, s3://BUCKET/NAME and gs://BUCKET/NAME are"
            ) from error
        except Exception as error:  # a file system is somebody else's: it may raise anything
            raise self._refused("reached", error) from error
        self._root = self._root.rstrip("/")
        self._folders = protocol not in _NO_FOLDERS
        self._web = protocol in {"http", "https"}
        self._made: set[str] = set()

    def __str__(self) -> str:
        return self.address

    def top(self) -> set[str]:
        """The names of the files and folders in it; none where there is no such folder."""
        with self.reaching("read"):
            self._files.invalidate_cache()
            try:
                found: list[str] = self._files.ls(self._root, detail=False)
            except FileNotFoundError:
                return set()
        return {name.rstrip("/").rpartition("/")[2] for name in found}

    def names(self) -> list[str]:
        """All files under it, however deep; none where there is no such folder."""
        with self.reaching("read"):
            self._files.invalidate_cache()
            found: list[str] = self._files.find(self._root)
        start = len(self._root) + 1
        return sorted(name[start:] for name in found if name.startswith(f"{self._root}/"))

    def has(self, name: str) -> bool:
        """Whether there is such a file."""
        with self.reaching("read"):
            self._files.invalidate_cache()
            return bool(self._files.isfile(self._path(name)))

    def read(self, name: str) -> bytes:
        """The content of a file."""
        with self.reaching("read"):
            return bytes(self._files.cat_file(self._path(name)))

    def open(self, name: str) -> Any:  # noqa: ANN401 - a file of fsspec's
        """A file to read from, in pieces."""
        with self.reaching("read"):
            return self._files.open(self._path(name), "rb")

    def create(self, name: str) -> "Sink":
        """A file to write, from its beginning to its end."""
        path = self._path(name)
        with self.reaching("written to"):
            folder = path.rpartition("/")[0]
            if self._folders and folder not in self._made:
                self._files.makedirs(folder, exist_ok=True)
                self._made.add(folder)
            return Sink(self, self._files.open(path, "wb", block_size=_PIECE))

    def write(self, name: str, content: bytes) -> "Sink":
        """Write a whole file; gives what it was written to, closed."""
        sink = self.create(name)
        sink.write(content)
        sink.close()
        return sink

    def remove(self, names: Iterable[str]) -> None:
        """Remove files, and the folders that are empty then."""
        for name in names:
            with self.reaching("written to"):
                self._files.rm_file(self._path(name))
            if isinstance(self._files, _fsspec().get_filesystem_class("file")):
                _remove_empty(Path(self._path(name)).parent, Path(self._root))
        self._made.clear()

    def _path(self, name: str) -> str:
        return f"{self._root}/{quote(name) if self._web else name}"

    @contextmanager
    def reaching(self, done: str) -> Generator[None]:
        """Turn whatever a file system raises into one sentence."""
        try:
            yield
        except HiddenRiskError:
            raise
        except Exception as error:
            raise self._refused(done, error) from error

    def _refused(self, done: str, error: Exception) -> StoreError:
        return StoreError(f"{self.address} cannot be {done}: {self._said(error)}")

    def _said(self, error: Exception) -> str:
        """What an error says, in one line, without a secret of ours."""
        told = " ".join(str(getattr(error, "strerror", None) or error).split())
        for secret in self._secrets:
            told = told.replace(secret, "[left out]")
        told = told if len(told) <= _MOST_SAID else f"{told[:_MOST_SAID]}..."
        kind = type(error).__name__
        return told if isinstance(error, OSError) and told else f"{kind}: {told}" if told else kind


class Sink:
    """A file that is written from its beginning to its end, and digested on the way."""

    def __init__(self, storage: Storage, file: Any) -> None:  # noqa: ANN401 - a file of fsspec's
        self._storage = storage
        self._file = file
        self._digest = hashlib.sha256()
        self.bytes = 0
        self.closed = False

    @property
    def sha256(self) -> str:
        """Of what was written so far."""
        return self._digest.hexdigest()

    def write(self, content: bytes) -> int:
        """Add to it."""
        with self._storage.reaching("written to"):
            self._file.write(content)
        self._digest.update(content)
        self.bytes += len(content)
        return len(content)

    def tell(self) -> int:
        """How long it is."""
        return self.bytes

    def flush(self) -> None:
        """Nothing: what is not sent yet is sent when it is closed."""

    def close(self) -> None:
        """Have all of it stored."""
        if not self.closed:
            self.closed = True
            with self._storage.reaching("written to"):
                self._file.close()


def _fsspec() -> Any:  # noqa: ANN401 - a module
    try:
        library: Any = import_module("fsspec")  # an extra
        import_module("fsspec.core")
    except ImportError as error:
        raise UsageError('exports need fsspec: pip install "hiddenrisk[export]"') from error
    return library


def _missing(protocol: str) -> str:
    """Which package an address needs."""
    registry: Any = import_module("fsspec.registry")
    known: dict[str, Any] = registry.known_implementations.get(protocol, {})
    package = str(known.get("class", "")).partition(".")[0]
    if package in ("", "fsspec"):  # fsspec's own, by way of another package
        return f"{protocol}:// cannot be used here: {known.get('err', 'fsspec does not know it')}"
    return f"{protocol}:// needs the package {package}: pip install {package}"


def _without_secrets(address: str) -> str:
    return re.sub(r"://[^/@]*@", "://", address).partition("?")[0]


def _secrets() -> list[str]:
    """Values of the environment that an error might repeat."""
    found = [v for k, v in os.environ.items() if _SECRET.search(k) and len(v) >= _LEAST]
    return sorted(found, key=len, reverse=True)


def _remove_empty(folder: Path, root: Path) -> None:
    while root in folder.parents:
        with suppress(OSError):
            folder.rmdir()
        if folder.exists():
            return
        folder = folder.parent
