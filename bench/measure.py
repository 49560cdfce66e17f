"""Start processes, and take the operating system's word for what they cost.

This module and its callers stay small on purpose: Linux starts a child's peak memory at
that of the process that started it.
"""

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
LIMIT_S = 7200.0
"""A process that takes longer is killed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What one process cost, of its own (the server's share is not in it)."""

    cpu_s: float
    """User and system."""
    wall_s: float
    peak_mb: float
    """The largest resident set, in MB of 1024 x 1024 bytes."""


def cost_of(command: Sequence[str], *, output: Path) -> Cost:
    """Run a command to its end; what it says goes into a file.

    Raises:
        RuntimeError: it did not end well.
    """
    with output.open("wb") as file:
        start = time.perf_counter()
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=_environment(),
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
        )
        watchdog = threading.Timer(LIMIT_S, process.kill)
        watchdog.start()
        try:
            _, status, usage = os.wait4(process.pid, 0)
        except BaseException:
            process.kill()
            process.wait()
            raise
        finally:
            watchdog.cancel()
        wall_s = time.perf_counter() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        said = output.read_text(errors="replace")[-2000:]
        raise RuntimeError(f"exit code {process.returncode} from {' '.join(command)}\n{said}")
    unit = 1 if sys.platform == "darwin" else 1024
    return Cost(
        cpu_s=usage.ru_utime + usage.ru_stime,
        wall_s=wall_s,
        peak_mb=usage.ru_maxrss * unit / 2**20,
    )


@contextmanager
def mock_server(
    *, latency_s: float, shape: str, size: int | None = None
) -> Generator[str, None, None]:
    """The mock target and judge in a process of their own; gives the base URL.

    Args:
        latency_s: after which it answers.
        shape: where its thinking is.
        size: bytes of thinking and answer; 11 KB if None.
    """
    with subprocess.Popen(
        [
            *(sys.executable, "-m", "tests.servers", "mock"),
            *("--latency", str(latency_s), "--shape", shape),
            *(("--bytes", str(size)) if size else ()),
        ],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        try:
            if process.stdout is None or process.stdin is None:
                raise RuntimeError("no pipes to the server")
            port = json.loads(process.stdout.readline())["port"]
            yield f"http://127.0.0.1:{port}/v1"
            process.stdin.close()
            process.wait(timeout=30)
        finally:
            process.kill()


def _environment() -> dict[str, str]:
    """Ours, without the settings that would change what is measured."""
    return {k: v for k, v in os.environ.items() if not k.startswith(("HIDDENRISK_", "COVERAGE_"))}
