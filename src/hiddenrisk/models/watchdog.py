"""Child processes that never outlive this one: a watchdog ends them when it is killed."""

import multiprocessing
import signal
import subprocess
from collections.abc import Generator
from contextlib import contextmanager, suppress
from multiprocessing import resource_tracker
from multiprocessing.process import BaseProcess

_END_S = 10.0
_WATCH = 'ids=""; while read -r id; do ids="$ids $id"; done; [ -z "$ids" ] || kill -TERM $ids'
"""A shell that is told process ids, and ends them once nobody can tell it any more."""


class Watchdog:
    """Ends the processes that multiprocessing starts from now on, should this one be gone.

    A shell in a session of its own reads their ids from a pipe that nobody else holds: where
    this process is killed, however, the pipe is closed.
    """

    def __init__(self) -> None:
        self._before = set(multiprocessing.active_children())
        self._known: set[BaseProcess] = set()
        self._shell = subprocess.Popen(  # noqa: S603 - the script is ours
            ["/bin/sh", "-c", _WATCH],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def look(self) -> None:
        """Take note of new processes."""
        for process in set(multiprocessing.active_children()) - self._before - self._known:
            self._known.add(process)
            if self._shell.stdin is not None:
                with suppress(OSError):  # the shell was killed
                    self._shell.stdin.write(f"{process.pid}\n".encode())
                    self._shell.stdin.flush()

    def terminate(self) -> None:
        """Ask the processes to end."""
        for process in self._known:
            process.terminate()

    def end(self) -> None:
        """See that the processes have ended, and watch no more."""
        for process in self._known:
            process.join(_END_S)
            if process.is_alive():
                process.kill()
                process.join(_END_S)
        self._shell.kill()
        if self._shell.stdin is not None:
            self._shell.stdin.close()
        self._shell.wait()


@contextmanager
def deaf() -> Generator[None]:
    """Processes that this thread starts meanwhile never hear Ctrl-C.

    A signal that is blocked stays blocked in a child; for one that is ignored it may set a
    handler of its own.
    """
    resource_tracker.ensure_running()  # it unblocks the signal for the thread that starts it
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
