"""A process on a node of the cluster: it makes the calls it is given.

It holds nothing that must last. A call that it was given and has not answered when it dies is
made again by another one; what it has sent back is the driver's.
"""

import asyncio
import importlib
from collections.abc import Sequence
from typing import Any

from hiddenrisk.cluster.parcels import (
    ENCODER,
    ORDERS,
    RECIPES,
    Done,
    Hello,
    Job,
    Recipe,
    Trouble,
    trouble_of,
)
from hiddenrisk.errors import CallError, HiddenRiskError
from hiddenrisk.models import open_model
from hiddenrisk.types import Model

_TOGETHER_S = 0.005
"""So long more replies may join the first one in a parcel."""
_MOST = 512
"""Replies in a parcel: 5 MB of long thoughts."""


class Worker:
    """Becomes an actor of Ray; its methods run on one event loop."""

    def __init__(self, recipes: bytes) -> None:
        """Note what to open, a list of `Recipe`; nothing is opened yet."""
        self._recipes: list[Recipe] = RECIPES.decode(recipes)
        self._models: list[Model] = []
        self._jobs: dict[int, asyncio.Task[None]] = {}
        self._done: asyncio.Queue[Done] = asyncio.Queue()
        self._opening = asyncio.Lock()

    async def hello(self) -> bytes:
        """Open the models, once; a `Hello`."""
        async with self._opening:
            problem = "" if self._models else await self._open()
        ray: Any = importlib.import_module("ray")  # it made this process
        node_id = ray.get_runtime_context().get_node_id()
        hello = Hello(node=ray.util.get_node_ip_address(), node_id=node_id, problem=problem)
        return ENCODER.encode(hello)

    async def _open(self) -> str:
        models: list[Model] = []
        try:
            for recipe in self._recipes:
                model = open_model(recipe.spec, recipe.decoding, completions=recipe.completions)
                models.append(model)
                if recipe.keyed and not getattr(model, "keyed", True):
                    return f"{model.label} has a key here and none there; set HIDDENRISK_API_KEY"
                await model.start()
        except HiddenRiskError as error:
            for model in models:
                await model.close()
            return str(error)
        self._models = models
        return ""

    async def take(self, orders: bytes) -> None:
        """Begin calls, and drop others; returns at once."""
        wanted = ORDERS.decode(orders)
        for number in wanted.drop:
            if task := self._jobs.pop(number, None):
                task.cancel()
        for job in wanted.jobs:
            self._jobs[job.number] = asyncio.create_task(self._work(job))

    async def _work(self, job: Job) -> None:
        model = self._models[job.model]
        model.prefilled = model.prefilled or job.prefilled
        reply, trouble = None, None
        try:
            reply = await model.generate(job.call)
        except CallError as error:
            trouble = trouble_of(error)
        except HiddenRiskError as error:
            trouble = Trouble(message=str(error), fatal=True)
        except Exception as error:  # noqa: BLE001 - the driver must hear of it, or it would wait
            trouble = Trouble(
                message=f"internal error of a worker: {type(error).__name__}: {error}"
            )
        self._jobs.pop(job.number, None)
        self._done.put_nowait(Done(job.number, reply, trouble, model.prefilled))

    async def collect(self, wait_s: float) -> bytes:
        """What is done by now, or else the next that is; an empty list after `wait_s`."""
        try:
            found = [await asyncio.wait_for(self._done.get(), wait_s)]
        except TimeoutError:
            return b"[]"
        await asyncio.sleep(_TOGETHER_S)
        while len(found) < _MOST and not self._done.empty():
            found.append(self._done.get_nowait())
        return ENCODER.encode(found)

    async def close(self) -> None:
        """Close the models."""
        tasks: Sequence[asyncio.Task[None]] = list(self._jobs.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for model in self._models:
            await model.close()
