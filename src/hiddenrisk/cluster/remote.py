"""The model that a run sees: everything of the real one but who makes the call."""

from typing import Any

from hiddenrisk.cluster.pool import Pool
from hiddenrisk.types import Call, Model, Reply


class RemoteModel:
    """A model that the workers of a cluster have opened."""

    def __init__(self, model: Model, pool: Pool, place: int) -> None:
        """Stand in for a model.

        Args:
            model: as it was opened here; it is never started.
            pool: the workers.
            place: of its recipe among theirs.
        """
        self.label = model.label
        self.provider = model.provider
        self.identity: dict[str, Any] = model.identity
        self.local = model.local
        self.prefilled = model.prefilled
        self._pool = pool
        self._place = place
        self._started = False

    async def start(self) -> None:
        """Have the workers up.

        Raises:
            UsageError: none comes up, or one cannot open the model.
        """
        await self._pool.start()
        self._started = True

    async def close(self) -> None:
        """Let the workers go, if nobody else needs them."""
        if self._started:
            self._started = False
            await self._pool.close()

    async def room(self) -> None:
        """Return when a worker is there; see `engine.Endpoint.room`.

        Raises:
            UsageError: none comes.
        """
        await self._pool.room()

    async def generate(self, call: Call) -> Reply:
        """Answer once, without retrying.

        Raises:
            CallError: no usable reply, or the worker was lost (heals).
            UsageError: there are no workers any more.
        """
        done = await self._pool.call(self._place, call, prefilled=self.prefilled)
        self.prefilled = self.prefilled or done.prefilled
        if done.reply is None:
            raise AssertionError("a job without trouble has a reply")
        return done.reply
