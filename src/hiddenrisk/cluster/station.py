"""One worker, as the driver sees it: how to reach it, and the calls that it has."""

import asyncio
import time
from collections.abc import Awaitable
from typing import Protocol

from hiddenrisk.cluster.parcels import Done, Orders

SILENT_S = 30.0
"""One that was not heard for so long gets no more calls until it is heard again, and those
that it had are made again."""


class Actor(Protocol):
    """A worker, as the driver reaches it; what calls raise when it is gone, the cluster says."""

    def hello(self) -> Awaitable[bytes]:
        """See `worker.Worker`, as for the rest."""
        ...

    def take(self, orders: bytes) -> Awaitable[None]:
        """Begin calls, and drop others."""
        ...

    def collect(self, wait_s: float) -> Awaitable[bytes]:
        """What is done."""
        ...

    def close(self) -> Awaitable[None]:
        """Close its models."""
        ...

    def kill(self) -> None:
        """End it for good."""
        ...


class Station:
    """One worker with the calls that it has."""

    def __init__(self, actor: Actor) -> None:
        self.actor = actor
        self.node = self.node_id = ""
        self.ready = False
        self.life = 0
        """How often it came up; what is said of an earlier life is of no use."""
        self.heard = 0.0
        self.jobs: dict[int, asyncio.Future[Done]] = {}
        self.out = Orders([], [])
        self.to_send = asyncio.Event()

    @property
    def at_work(self) -> bool:
        """Whether it is there and was heard of lately."""
        return self.ready and time.monotonic() - self.heard < SILENT_S

    def lives(self, life: int) -> bool:
        """Whether it is there, in this life of it."""
        return self.ready and self.life == life
