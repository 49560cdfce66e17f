"""A run whose responses are on disk already: they are judged, and no model is asked."""

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec

from hiddenrisk.assess import Judge, Run, Tally
from hiddenrisk.benchmarks.base import Loaded
from hiddenrisk.engine import Endpoint, Policy
from hiddenrisk.models.local import SLOTS
from hiddenrisk.models.spec import parse
from hiddenrisk.plan import Plan
from hiddenrisk.store import RESPONSES, Journal, placed_records, records
from hiddenrisk.types import Model, Prompt, Response

_LIMIT = 64


def limit_for(judges: Sequence[str]) -> int:
    """How many calls at once where only judges are asked and the user does not say."""
    asked = [parse(text) for text in judges if "/" in text]
    local = bool(asked) and all(spec.provider == "local" for spec in asked)
    return SLOTS if local else _LIMIT


class Place(NamedTuple):
    """Which sample a response is of; one run has one response for each."""

    model: str
    benchmark: str
    prompt: str
    repeat: int


class _Placed(msgspec.Struct):
    model: str
    benchmark: str
    prompt: str
    repeat: int


def shelf_of(folder: Path) -> dict[Place, int]:
    """Where the responses of a run stand in their file.

    Raises:
        StoreError: a line is no record.
    """
    offsets: dict[Place, int] = {}
    for offset, r in placed_records(folder / RESPONSES, _Placed):
        offsets.setdefault(Place(r.model, r.benchmark, r.prompt, r.repeat), offset)
    return offsets


class _Provided(msgspec.Struct):
    model: str
    provider: str = ""


def providers_of(folder: Path, models: Collection[str]) -> dict[str, str]:
    """The provider of each of these models, where a response of it is there.

    Raises:
        StoreError: a line is no record.
    """
    found: dict[str, str] = {}
    for response in records(folder / RESPONSES, _Provided):
        found.setdefault(response.model, response.provider)
        if len(found) == len(models):
            break
    return found


class Recalled(Run):
    """One pass of the judges over the responses of a run."""

    def __init__(
        self,
        plan: Plan,
        models: Sequence[Model],
        judges: Sequence[Judge],
        benchmarks: Sequence[Loaded],
        policy: Policy,
        journal: Journal,
        folder: Path,
        tally: Tally,
        victim: Endpoint | None = None,
        fallbacks: Sequence[Judge] = (),
        cheap: Sequence[Judge] = (),
    ) -> None:
        super().__init__(
            plan,
            models,
            judges,
            benchmarks,
            policy,
            journal,
            folder,
            tally,
            victim,
            fallbacks=fallbacks,
            cheap=cheap,
        )
        self._shelf = shelf_of(folder)  # only now that nobody else writes there

    async def _respond(
        self, endpoint: Endpoint, benchmark: Loaded, prompt: Prompt, repeat: int
    ) -> Response | None:
        place = Place(endpoint.model.label, benchmark.name, prompt.id, repeat)
        offset = self._shelf.get(place)
        if offset is None:
            return None  # not run, or lost: that is counted as it was
        return self._stored.at(offset)
