"""A Ray cluster: the one that runs, one at an address, or one started here for this run.

Ray is heavy and optional, so it is imported when it is asked for and not before.
"""

import importlib
import importlib.util
import os
import secrets
import socket
import time
import warnings
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from hiddenrisk import __version__
from hiddenrisk.cluster.worker import Worker
from hiddenrisk.errors import UsageError

Library = Any
INSTALL = 'pip install "hiddenrisk[ray]"'
LOCAL, RAY = "local", "ray"
_PROBE_S = 60.0
_REACH_S = 10.0
_CONNECTS = 3
"""Ray's client gives its server half a minute, which a busy head does not always keep to."""
_CLIENT_PORT = 10001
"""Ray's usual one."""
_SHARE = 100
"""Ray counts CPUs in hundredths here: workers that wait for replies need no whole one."""


def installed() -> bool:
    """Whether Ray is there, without importing it."""
    return importlib.util.find_spec("ray") is not None


def check_engine(engine: str, workers: int | None = None) -> None:
    """See that an engine is one that we know, and that what it needs is installed.

    Raises:
        UsageError: it is not, or workers are wanted where there are none.
    """
    if engine == LOCAL:
        if workers is not None:
            raise UsageError(
                f"--workers {workers} are those of a Ray cluster; add --engine ray, or leave it out "
                "(--concurrency says how many calls are made at once)"
            )
        return
    if engine != RAY and not (engine.startswith("ray://") and engine.removeprefix("ray://")):
        raise UsageError(
            f"unknown engine '{engine}'; write local, ray (the cluster that runs here, or a new one "
            "on this machine), or ray://HOST:PORT (10001 is Ray's usual port for clients)"
        )
    if not installed():
        raise UsageError(f"--engine {engine} needs an extra: {INSTALL}")


class DisconnectedError(ConnectionError):
    """The connection to the cluster is gone."""


class RayActor:
    """A worker that Ray holds."""

    def __init__(self, cluster: "Cluster", handle: Library) -> None:
        self._cluster = cluster
        self._handle = handle

    def hello(self) -> Awaitable[bytes]:
        """See `Worker`, as for the rest."""
        return self._cluster.reach(self._handle.hello.remote)

    def take(self, orders: bytes) -> Awaitable[None]:
        """Begin calls, and drop others."""
        return self._cluster.reach(self._handle.take.remote, orders)

    def collect(self, wait_s: float) -> Awaitable[bytes]:
        """What is done."""
        return self._cluster.reach(self._handle.collect.remote, wait_s)

    def close(self) -> Awaitable[None]:
        """Close its models."""
        return self._cluster.reach(self._handle.close.remote)

    def kill(self) -> None:
        """End it for good."""
        self._cluster.end(self._handle)


class Cluster:
    """What is joined."""

    def __init__(self, ray: Library, say: Callable[[str], None]) -> None:
        self._ray = ray
        self.say = say
        self.gone: tuple[type[BaseException], ...] = (ray.exceptions.RayError, ConnectionError)
        """What calls to a lost worker raise; a cluster that is gone, too."""
        there: dict[str, float] = ray.cluster_resources()
        self.cpus = there.get("CPU", 0.0)
        self.gpus = there.get("GPU", 0.0)
        self.nodes = sum(bool(n["Alive"]) for n in ray.nodes())

    def place(self, recipes: bytes, *, cpus: float, gpus: float) -> RayActor:
        """Start a worker that makes calls.

        Args:
            recipes: what it opens.
            cpus: its share of them; a tenth is a tenth of one.
            gpus: how many it needs.
        """
        return RayActor(self, self.actor(Worker, recipes, cpus=cpus, gpus=gpus))

    def reach(self, ask: Callable[..., Any], *given: object) -> Any:  # noqa: ANN401 - Ray's own
        """Ask Ray for something.

        Raises:
            DisconnectedError: there is no connection any more.
        """
        try:
            return ask(*given)
        except self._ray.exceptions.RayError:
            raise
        except Exception as error:  # Ray's client has no class of its own for it
            raise DisconnectedError(
                f"the connection to the cluster is lost: {_said(error)}"
            ) from error

    def actor(self, kind: type, *arguments: object, cpus: float, gpus: float) -> Library:
        """Start a process of a class of ours where there is room; Ray starts it anew when it dies."""
        options: dict[str, Any] = {
            "num_cpus": cpus,
            "num_gpus": gpus,
            "max_restarts": -1,
            "max_task_retries": 0,  # who asks tries again, and counts it
            "scheduling_strategy": "SPREAD",
        }
        return self._ray.remote(kind).options(**options).remote(*arguments)

    def wait(
        self, asked: list[Library], timeout_s: float | None
    ) -> tuple[list[Library], list[Library]]:
        """What of it is done, at least one unless time runs out, and what is not."""
        return self.reach(partial(self._ray.wait, asked, num_returns=1, timeout=timeout_s))

    def get(self, done: Library) -> bytes:
        """What came back.

        Raises:
            BaseException: one of `gone`, where the worker was lost.
        """
        return self.reach(self._ray.get, done)

    def end(self, actor: Library) -> None:
        """End a process for good."""
        self.reach(partial(self._ray.kill, actor, no_restart=True))

    def share(self, workers: int) -> float:
        """The CPUs of each of so many workers: one, or less where there are not enough."""
        whole = int(self.cpus * _SHARE / max(workers, 1))
        return max(1, min(_SHARE, whole)) / _SHARE

    def see_nodes(self) -> None:
        """See that every node has this version of the package.

        Raises:
            UsageError: one has not.
        """
        probe: Library = importlib.import_module("hiddenrisk.cluster.probe")
        self._ray.cloudpickle.register_pickle_by_value(probe)
        strategy = self._ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy
        ask = self._ray.remote(probe.probe)
        nodes = self._with_cpus()
        if not nodes:
            raise UsageError(
                "the cluster has no node with a CPU for a worker; `ray status` shows it"
            )
        asked = {
            name: ask.options(num_cpus=0, scheduling_strategy=strategy(name, soft=False)).remote()
            for name in nodes
        }
        until = time.monotonic() + _PROBE_S
        for name, answer in asked.items():
            try:
                left_s = max(0.0, until - time.monotonic())
                node: dict[str, str] = self._ray.get(answer, timeout=left_s)
            except self._ray.exceptions.RayError as error:
                if name not in self._with_cpus():
                    continue  # it was lost a moment ago, and Ray has only now seen it
                raise UsageError(
                    f"a node of the cluster does not answer: {_said(error)}"
                ) from error
            if not node["hiddenrisk"]:
                raise UsageError(
                    f"node {node['node']} of the cluster has no hiddenrisk; in the environment that "
                    f"its Ray runs in: pip install hiddenrisk=={__version__}"
                )
            if node["hiddenrisk"] != __version__:
                raise UsageError(
                    f"node {node['node']} of the cluster has hiddenrisk {node['hiddenrisk']}, and "
                    f"this is {__version__}; the two may read a reply differently: install one "
                    "version everywhere"
                )

    def _with_cpus(self) -> list[str]:
        """Ray's names of the nodes that have a CPU for a worker."""
        return [n["NodeID"] for n in self._ray.nodes() if n["Alive"] and n["Resources"].get("CPU")]


@contextmanager
def joined(engine: str, say: Callable[[str], None]) -> Generator[Cluster]:
    """Connect to the cluster that an engine names, and let go of it at the end.

    Args:
        engine: "ray" or "ray://HOST:PORT".
        say: says a line.

    Raises:
        UsageError: there is none, it is of another version, or a node lacks the package.
    """
    check_engine(engine)
    # Ray would tell its makers of a cluster that is started here; one that runs is its owner's.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # Without a GPU a worker sees none, and Ray would warn of a rule that is to come.
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    # Where its client has lost the head, the next word to Ray would look for another cluster,
    # for five minutes, or start one.
    os.environ["RAY_ENABLE_AUTO_CONNECT"] = "0"
    # A head that is gone would end this process, without a word to us, after a minute; so much
    # longer, and it is told that no worker is left.
    os.environ.setdefault("RAY_gcs_rpc_server_reconnect_timeout_s", "600")
    address = engine if engine != RAY else os.environ.get("RAY_ADDRESS")
    where = f"the cluster at {address}" if address and ":" in address else "a Ray cluster"
    if address and ":" in address:
        _reach(address, where)
    say(f"joining {where}")
    address = address or _begun_here() or LOCAL
    if address == LOCAL:
        lock()
    ray: Library = importlib.import_module("ray")  # it looks at the environment now
    try:
        _connect(ray, address)
    except (ray.exceptions.RayError, RuntimeError, ValueError, OSError, TimeoutError) as error:
        raise UsageError(_refused(where, engine, error)) from error
    try:
        cluster = Cluster(ray, say)
        cluster.see_nodes()
        yield cluster
    except (ray.exceptions.RayError, DisconnectedError) as error:
        raise UsageError(
            f"{_said(error)}; what was finished is kept, and the same command resumes"
        ) from error
    finally:
        ray.shutdown()


def _connect(ray: Library, address: str) -> None:
    """Connect; again where a client's server, which somebody listens for, was too slow.

    Raises:
        ConnectionError: it was each time. Other errors are Ray's.
    """
    for tries_left in reversed(range(_CONNECTS if address.startswith("ray://") else 1)):
        try:
            with warnings.catch_warnings(action="ignore"):
                ray.init(address, log_to_driver=False, logging_level="ERROR")
        except ConnectionError:
            if not tries_left:
                raise
            ray.shutdown()
        else:
            return


def _begun_here() -> str | None:
    """The cluster that `ray start` began on this machine, where Ray itself looks for it."""
    folder = os.environ.get("RAY_TMPDIR") or os.environ.get("TMPDIR") or "/tmp"  # noqa: S108 - Ray's
    try:
        address = Path(folder, "ray", "ray_current_cluster").read_text().strip()
        _reach(address, "")
    except (OSError, UsageError):  # none, or one that is gone
        return None
    return address


def lock() -> None:
    """Have a cluster that is started here want a token, made up for it, unless the user says.

    It listens on all addresses of this machine, and without one whoever reaches it can run
    code as the user, whose keys are in the environment.
    """
    if "RAY_AUTH_MODE" not in os.environ:
        os.environ["RAY_AUTH_MODE"] = "token"
        if not os.environ.get("RAY_AUTH_TOKEN_PATH"):
            os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))


def _reach(address: str, where: str) -> None:
    """See that something listens: Ray itself tries for minutes.

    Raises:
        UsageError: nothing does.
    """
    parts = urlsplit(address if "://" in address else f"//{address}")
    try:
        place = parts.hostname or "", parts.port or _CLIENT_PORT
        with socket.create_connection(place, timeout=_REACH_S):
            return
    except (OSError, ValueError) as error:
        said = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise UsageError(_refused(where, address, OSError(said))) from error


def _refused(where: str, address: str, error: Exception) -> str:
    said = _said(error)
    if "version" in said.lower() and "mismatch" in said.lower():
        return f"{where} runs another version of Ray or of Python than this: {said}"
    step = (
        "Is it up, and is this its port for clients (10001, where nobody changed it)?"
        if address.startswith("ray://")
        else "RAY_ADDRESS names the one to join; without it, Ray joins the one that runs on this "
        "machine, or starts one."
    )
    token = "If it wants a token, set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN (or _TOKEN_PATH)"
    return f"cannot join {where}: {said.rstrip('.')}. {step} {token}"


def _said(error: BaseException) -> str:
    """The words of an error of Ray's, on one line."""
    return " ".join(str(error).split())[:300] or type(error).__name__
