"""A model of a stored run: who it was is known, and nobody asks it again."""

from typing import Any

from hiddenrisk.errors import CallError
from hiddenrisk.types import Call, Reply


class StandIn:
    """Stands where a model stood: it has its name and identity, and answers nothing."""

    def __init__(self, label: str, identity: dict[str, Any], provider: str) -> None:
        self.label = label
        self.identity = identity
        self.provider = provider
        self.local = True
        self.prefilled = False

    async def start(self) -> None:
        """Nothing to do."""

    async def close(self) -> None:
        """Nothing to do."""

    async def generate(self, call: Call) -> Reply:
        """Answer nothing.

        Raises:
            CallError: always.
        """
        raise CallError(f"{self.label} is not asked again (prompt {call.prompt})", fatal=True)
