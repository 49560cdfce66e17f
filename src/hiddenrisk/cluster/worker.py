"""A process on a node of the cluster: it makes the calls it is given.

It holds nothing that must last. A call that it was given and has not answered when it dies is
made again by another one; what it has sent back is the driver's.
"""

import asyncio
import importlib
import os
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
from hiddenrisk.errors import CallError, HiddenRiskError, UsageError
from hiddenrisk.models import open_model
from hiddenrisk.types import Model

_TOGETHER_S = 0.005
"""So long more replies may join the first one in a parcel."""
_LAST_S = 0.5
"""So long a worker that is of no use any more lives on, for its last replies to be fetched."""
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
        self._useless = False

    async def hello(self) -> bytes:
        """Open the models, once; a `Hello`.

        Who asks anew has given up what was asked before: a connection may be lost and the
        process live on. A `collect` from then must not take what is done from now on.
        """
        self._drop_all()
        async with self._opening:
            problem = "" if self._models else await self._open()
        node, node_id = self.place()
        return ENCODER.encode(Hello(node=node, node_id=node_id, problem=problem))

    def place(self) -> tuple[str, str]:
        """The address of its node, and Ray's name of it."""
        ray: Any = importlib.import_module("ray")  # it made this process
        return ray.util.get_node_ip_address(), ray.get_runtime_context().get_node_id()

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
        if self._useless:
            return  # whoever waits for it hears that this worker is gone
        for job in wanted.jobs:
            self._jobs[job.number] = asyncio.create_task(self._work(job))
        for number in wanted.drop:  # of the same parcel, too: such a call is never made
            if task := self._jobs.pop(number, None):
                task.cancel()

    def _drop_all(self) -> list[asyncio.Task[None]]:
        tasks = list(self._jobs.values())
        for task in tasks:
            task.cancel()
        self._jobs, self._done = {}, asyncio.Queue()
        return tasks

    async def _work(self, job: Job) -> None:
        if not self._models:  # Ray started it anew, and nobody has said hello yet
            trouble = Trouble(message="the worker that had it was lost", heals=True)
            self._done.put_nowait(Done(job.number, None, trouble, job.prefilled))
            return
        model = self._models[job.model]
        model.prefilled = model.prefilled or job.prefilled
        reply, trouble = None, None
        try:
            reply = await model.generate(job.call)
        except CallError as error:
            trouble = trouble_of(error)
        except UsageError as error:  # of its engine, say: no call can work here any more
            trouble = Trouble(message=str(error), heals=True)
            self._give_up()
        except Exception as error:  # noqa: BLE001 - the driver must hear of it, or it would wait
            trouble = Trouble(
                message=f"internal error of a worker: {type(error).__name__}: {error}"
            )
        self._jobs.pop(job.number, None)
        self._done.put_nowait(Done(job.number, reply, trouble, model.prefilled))

    def _give_up(self) -> None:
        """Take no more calls and end this process, which Ray then starts anew.

        Left as it is it would fail each call at once and so, being free, be given most of them.
        """
        if not self._useless:
            self._useless = True
            asyncio.get_running_loop().call_later(_LAST_S, self.end)

    def end(self) -> None:
        """End this process."""
        os._exit(1)

    async def collect(self, wait_s: float) -> bytes:
        """What is done by now, or else the next that is; an empty list after `wait_s`."""
        queue = self._done
        try:
            found = [await asyncio.wait_for(queue.get(), wait_s)]
        except TimeoutError:
            return b"[]"
        await asyncio.sleep(_TOGETHER_S)
        while len(found) < _MOST and not queue.empty():
            found.append(queue.get_nowait())
        return ENCODER.encode(found)

    async def close(self) -> None:
        """Close the models."""
        await asyncio.gather(*self._drop_all(), return_exceptions=True)
        for model in self._models:
            await model.close()
