"""Pinned data: mirrors, the cache, and downloads over real HTTP on loopback."""

import hashlib
import threading
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from hiddenrisk import sources
from hiddenrisk.errors import DataError
from hiddenrisk.types import Source

CONTENT = b"id,prompt\n1,Why?\n"
DIGEST = hashlib.sha256(CONTENT).hexdigest()


def _source(url: str = "https://example.test/data.csv", sha256: str | None = DIGEST) -> Source:
    return Source(name="folder/data.csv", url=url, sha256=sha256, licence="CC0", paper="")


def _put(path: Path, content: bytes = CONTENT) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, and no proxy on the way to this machine."""
    folder = tmp_path / "cache"
    monkeypatch.setenv(sources.ENV_CACHE, str(folder))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    return folder


# ---------------------------------------------------------------- mirrors


@pytest.mark.parametrize("place", ["mirror/folder/data.csv", "mirror/data.csv", "data.csv"])
def test_a_file_is_found_by_its_name_beside_or_above_the_folder(tmp_path: Path, place: str) -> None:
    (tmp_path / "mirror").mkdir()
    path = _put(tmp_path / place)
    data = sources.load(_source(), tmp_path / "mirror")
    assert (data.content, data.sha256, data.origin) == (CONTENT, DIGEST, str(path))
    assert data.verified
    assert data.warning is None


def test_the_whole_name_goes_before_the_file_name(tmp_path: Path) -> None:
    _put(tmp_path / "data.csv", b"another")
    _put(tmp_path / "folder" / "data.csv")
    assert sources.load(_source(), tmp_path).verified


def test_other_bytes_than_the_pinned_ones_are_used_with_a_warning(tmp_path: Path) -> None:
    _put(tmp_path / "data.csv", b"another")
    data = sources.load(_source(), tmp_path)
    assert data.content == b"another"
    assert not data.verified
    assert data.warning is not None
    assert data.warning.startswith("folder/data.csv: digest ")
    assert f"differs from the pinned {DIGEST[:12]}" in data.warning


def test_bytes_without_a_pinned_digest_are_never_verified(tmp_path: Path) -> None:
    _put(tmp_path / "data.csv")
    data = sources.load(_source(sha256=None), tmp_path)
    assert not data.verified
    assert data.warning is not None
    assert "no digest is pinned for it yet" in data.warning


def test_a_file_that_a_mirror_lacks_is_not_downloaded(tmp_path: Path, cache: Path) -> None:
    with _serving(CONTENT) as web, pytest.raises(DataError) as caught:
        sources.load(_source(web.url), tmp_path)
    said = f"{tmp_path} has no folder/data.csv; put the file there (from {web.url})"
    assert str(caught.value).startswith(said)
    assert web.asked == []


def test_a_mirror_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none does not exist; check --data-dir"):
        sources.load(_source(), tmp_path / "none")


# ---------------------------------------------------------------- downloads


@dataclass
class Web:
    """What a server of one file was asked."""

    url: str = ""
    asked: list[str] = field(default_factory=list[str])


@contextmanager
def _serving(
    content: bytes, *, status: int = 200, length: int | None = None, chunked: bool = False
) -> Generator[Web]:
    """A server of one file.

    Args:
        content: the file; what is sent of it before the connection closes.
        status: of the reply.
        length: what the reply says of its length, where that is not true.
        chunked: send it in a chunk that has no end.
    """
    web = Web()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            web.asked.append(self.headers["User-Agent"])
            self.send_response(status)
            self.send_header("Connection", "close")
            if chunked:
                self.send_header("Transfer-Encoding", "chunked")
                self.end_headers()
                self.wfile.write(b"ffff\r\n" + content)
            else:
                self.send_header("Content-Length", str(len(content) if length is None else length))
                self.end_headers()
                self.wfile.write(content)
            self.close_connection = True

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    web.url = f"http://127.0.0.1:{server.server_address[1]}/data.csv"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield web
    finally:
        server.shutdown()
        server.server_close()
        thread.join(timeout=10)


def _kept(cache: Path) -> list[Path]:
    return [path for path in cache.rglob("*") if path.is_file()]


def test_a_download_that_matches_its_digest_is_kept_and_not_asked_for_again(cache: Path) -> None:
    with _serving(CONTENT) as web:
        first = sources.load(_source(web.url), None)
        again = sources.load(_source(web.url), None)
    assert first == again
    assert first.verified
    assert web.asked == ["hiddenrisk"]
    assert _kept(cache) == [cache / "folder" / "data.csv"]
    assert first.origin == str(cache / "folder" / "data.csv")


def test_a_download_that_does_not_match_its_digest_is_refused_and_not_kept(cache: Path) -> None:
    with _serving(b"something else") as web, pytest.raises(DataError) as caught:
        sources.load(_source(web.url), None)
    assert f"{web.url} gave other bytes" in str(caught.value)
    assert DIGEST in str(caught.value)
    assert _kept(cache) == []


def test_a_download_without_a_pinned_digest_is_kept_and_unverified(cache: Path) -> None:
    with _serving(CONTENT) as web:
        data = sources.load(_source(web.url, sha256=None), None)
        assert sources.load(_source(web.url, sha256=None), None) == data
    assert not data.verified
    assert len(web.asked) == 1
    assert len(_kept(cache)) == 1


@pytest.mark.parametrize("sha256", [None, DIGEST])
@pytest.mark.parametrize("chunked", [False, True])
def test_half_a_download_is_no_download(cache: Path, chunked: bool, sha256: str | None) -> None:
    with (
        _serving(CONTENT, length=1000, chunked=chunked) as web,
        pytest.raises(DataError, match=r"cannot download folder/data\.csv from .*--data-dir"),
    ):
        sources.load(_source(web.url, sha256), None)
    assert _kept(cache) == []


def test_a_file_that_the_web_lacks_is_told(cache: Path) -> None:
    with (
        _serving(b"", status=404) as web,
        pytest.raises(DataError, match=r"cannot download .* 404: Not Found.* --data-dir"),
    ):
        sources.load(_source(web.url), None)
    assert _kept(cache) == []


def test_a_web_that_is_not_there_is_told(cache: Path) -> None:
    with _serving(CONTENT) as web:
        pass
    with pytest.raises(DataError, match=r"cannot download .* refused.* --data-dir"):
        sources.load(_source(web.url), None)
    assert _kept(cache) == []


def test_a_cached_file_that_is_not_the_pinned_one_is_fetched_anew(cache: Path) -> None:
    _put(cache / "folder" / "data.csv", b"of an older pin")
    with _serving(CONTENT) as web:
        assert sources.load(_source(web.url), None).content == CONTENT
        assert sources.load(_source(web.url), None).verified
    assert len(web.asked) == 1


def test_a_cache_that_cannot_be_written_is_told(cache: Path) -> None:
    cache.write_text("a file where a folder should be")
    with (
        _serving(CONTENT) as web,
        pytest.raises(DataError, match=r"cannot keep .*data\.csv: Not a directory"),
    ):
        sources.load(_source(web.url), None)
