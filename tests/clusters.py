"""Real Ray nodes on this machine, each a process tree of its own that a test may kill."""

import importlib.util
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil
import pytest

HAVE = importlib.util.find_spec("ray") is not None
needs_ray = pytest.mark.skipif(not HAVE, reason="ray is not installed (make ray)")
_QUIET = ("--disable-usage-stats", "--dashboard-agent-listen-port=0", "--metrics-export-port=0")
_UP_S = 90.0


class Nodes:
    """A head with the port for clients, and as many more nodes as are added.

    Use as a context manager: all of them are gone at its end.
    """

    def __init__(self, *, head_cpus: int = 0, python_path: Path | None = None) -> None:
        """Note what is wanted.

        Args:
            head_cpus: of the head; 0 for one that takes no workers.
            python_path: a folder that all nodes' Python looks into first.
        """
        self.port, self.client_port = _free(), _free()
        # Without a token anyone on this machine could run code in the cluster.
        self.env = {
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": secrets.token_hex(32),
            "RAY_USAGE_STATS_ENABLED": "0",
        }
        """For whoever joins the cluster."""
        self._folder = Path(tempfile.mkdtemp(prefix="hr", dir="/tmp"))  # sockets' paths are short
        self._nodes: list[subprocess.Popen[bytes]] = []
        self._head_cpus = head_cpus
        self._more = {"PYTHONPATH": str(python_path)} if python_path else {}

    @property
    def address(self) -> str:
        """For RAY_ADDRESS."""
        return f"127.0.0.1:{self.port}"

    @property
    def for_clients(self) -> str:
        """For --engine."""
        return f"ray://127.0.0.1:{self.client_port}"

    @property
    def pids(self) -> list[int]:
        """Of the nodes' first processes."""
        return [node.pid for node in self._nodes]

    def __enter__(self) -> Self:
        self._start(
            *("--head", f"--port={self.port}", f"--ray-client-server-port={self.client_port}"),
            *("--include-dashboard=false", f"--temp-dir={self._folder}"),
            cpus=self._head_cpus,
        )
        for port in (self.port, self.client_port):
            _wait_for(port)
        return self

    def add(self, cpus: int = 2) -> int:
        """Start a node; its number."""
        self._start(f"--address={self.address}", cpus=cpus)
        number = len(self._nodes) - 1
        said, end = self._folder / f"node{number}.txt", time.monotonic() + _UP_S
        while "runtime started" not in said.read_text():
            if time.monotonic() > end:
                raise RuntimeError(said.read_text())
            time.sleep(0.1)
        return number

    def kill(self, number: int) -> None:
        """End a node and all that runs on it, at once."""
        _kill_tree(self._nodes[number])

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for node in reversed(self._nodes):
            _kill_tree(node)
        shutil.rmtree(self._folder, ignore_errors=True)

    def _start(self, *more: str, cpus: int) -> None:
        ray = Path(sys.executable).with_name("ray")
        with (self._folder / f"node{len(self._nodes)}.txt").open("wb") as said:
            self._nodes.append(
                subprocess.Popen(
                    [
                        *(ray, "start", "--block", "--node-ip-address=127.0.0.1"),
                        *(f"--num-cpus={cpus}", "--object-store-memory=100000000"),
                        *(*_QUIET, *more),
                    ],
                    stdin=subprocess.DEVNULL,
                    stdout=said,
                    stderr=said,
                    env=os.environ | self.env | self._more,
                    start_new_session=True,
                )
            )


def workers_of(nodes: Nodes, kind: str = "Worker") -> list[psutil.Process]:
    """The processes of our workers on these nodes, by the name of their class."""
    found: list[psutil.Process] = []
    for pid in nodes.pids:
        try:
            below = psutil.Process(pid).children(recursive=True)
        except psutil.Error:
            continue
        found += [p for p in below if f"ray::{kind}" in " ".join(_line(p))]
    return found


def _line(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


def _free() -> int:
    with socket.socket() as it:
        it.bind(("127.0.0.1", 0))
        return it.getsockname()[1]


def _wait_for(port: int) -> None:
    end = time.monotonic() + _UP_S
    while time.monotonic() < end:
        with socket.socket() as it:
            if it.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    raise RuntimeError(f"no Ray on port {port} within {_UP_S:.0f} s")


def _kill_tree(process: subprocess.Popen[bytes]) -> None:
    try:
        whole = [psutil.Process(process.pid)]
        whole += whole[0].children(recursive=True)
    except psutil.Error:
        return
    for one in whole:
        try:
            one.send_signal(signal.SIGKILL)
        except psutil.Error:
            continue
    process.wait()
