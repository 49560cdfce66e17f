"""What many tests share: the data, the command line, and no way out of this machine."""

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser

ROOT = Path(__file__).parents[1]
LOOPBACK = ("127.", "::1", "localhost", "0.0.0.0")  # noqa: S104  named, never bound to

_FROM_USER = ("HIDDENRISK_", "_API_KEY", "_BASE_URL", "_proxy", "_PROXY", "HF_", "HUGGING_FACE_")
"""Settings of whoever runs the tests that a run of the command line must not see."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """What a finished command left."""

    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[str]:
        """What it said on standard error, without blank lines."""
        return [line for line in self.err.splitlines() if line.strip()]

    def __str__(self) -> str:
        return f"exit code {self.code}\n--- stdout\n{self.out}\n--- stderr\n{self.err}"


class CommandLine:
    """`hiddenrisk` as a user runs it: a process of its own, with a clean environment."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(
        self,
        *args: str | Path,
        env: Mapping[str, str] | None = None,
        disk_kb: int | None = None,
        timeout_s: float = 300,
    ) -> Done:
        """Run to the end; `disk_kb` is how long a file may grow before the disk is "full"."""
        command = self._command(args)
        if disk_kb is not None:
            # A measurement of coverage could not write its own file either.
            env = {**(env or {}), "COVERAGE_PROCESS_START": "", "COVERAGE_PROCESS_CONFIG": ""}
            command = ["bash", "-c", f'ulimit -f {disk_kb}; exec "$0" "$@"', *command]
        done = subprocess.run(
            command,
            cwd=self.folder,
            env=self._environment(env),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=timeout_s,
        )
        return Done(code=done.returncode, out=done.stdout.decode(), err=done.stderr.decode())

    def start(
        self, *args: str | Path, env: Mapping[str, str] | None = None
    ) -> subprocess.Popen[bytes]:
        """Run without waiting. What it says goes to files in the folder, so no pipe fills up."""
        with (
            (self.folder / "started.out").open("wb") as out,
            (self.folder / "started.err").open("wb") as err,
        ):
            return subprocess.Popen(
                self._command(args),
                cwd=self.folder,
                env=self._environment(env),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
            )

    def said(self) -> str:
        """What a started command has said on standard error so far."""
        return (self.folder / "started.err").read_text()

    @staticmethod
    def _command(args: tuple[str | Path, ...]) -> list[str]:
        return [sys.executable, "-m", "hiddenrisk", *map(str, args)]

    @staticmethod
    def _environment(env: Mapping[str, str] | None) -> dict[str, str]:
        kept = {k: v for k, v in os.environ.items() if not any(mark in k for mark in _FROM_USER)}
        return kept | {"COLUMNS": "200", "TERM": "dumb"} | dict(env or {})


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The mirror of the benchmarks' data: HIDDENRISK_TEST_DATA, or the one beside the checkout."""
    told = os.environ.get("HIDDENRISK_TEST_DATA")
    path = Path(told) if told else ROOT.parent / "shared" / "data"
    if not path.is_dir():
        pytest.skip("the benchmarks' data is not here (HIDDENRISK_TEST_DATA says where it is)")
    return path


@pytest.fixture
def hiddenrisk(tmp_path: Path) -> CommandLine:
    """The command line, run in this test's own folder."""
    return CommandLine(tmp_path)


@pytest.fixture(autouse=True)
def no_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make any connection or look-up that leaves this machine an error."""
    connect, connect_ex = socket.socket.connect, socket.socket.connect_ex
    look_up = cast(Callable[..., object], socket.getaddrinfo)

    def guarded_connect(self: socket.socket, address: tuple[str, int]) -> None:
        _stay_here(self, address)
        connect(self, address)

    def guarded_connect_ex(self: socket.socket, address: tuple[str, int]) -> int:
        _stay_here(self, address)
        return connect_ex(self, address)

    def guarded_look_up(host: str | bytes | None, *args: object, **kwargs: object) -> object:
        if host is not None:
            _stay_on_this_machine(host)
        return look_up(host, *args, **kwargs)

    monkeypatch.setattr(socket.socket, "connect", guarded_connect)
    monkeypatch.setattr(socket.socket, "connect_ex", guarded_connect_ex)
    monkeypatch.setattr(socket, "getaddrinfo", guarded_look_up)


def _stay_here(sock: socket.socket, address: tuple[str, int]) -> None:
    if sock.family is not socket.AF_UNIX:
        _stay_on_this_machine(address[0])


def _stay_on_this_machine(host: str | bytes) -> None:
    name = host.decode() if isinstance(host, bytes) else host
    if not name.startswith(LOOPBACK):
        raise AssertionError(f"a test tried to reach {name}")


@pytest.fixture(scope="module")
def browser() -> Iterator["Browser"]:
    """A real browser. Of one module: while it is open, `asyncio.run` cannot be called."""
    pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    from playwright.sync_api import sync_playwright

    names = ("chromium", "chromium-browser", "google-chrome")
    path = next(filter(None, map(shutil.which, names)), None)
    if path is None:
        pytest.skip("there is no chromium or google-chrome on the PATH")
    quiet = "--no-sandbox --disable-gpu --disable-background-networking --disable-component-update"
    arguments = f"{quiet} --disable-sync --no-first-run".split()
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=path, args=arguments)
        yield opened
        opened.close()
