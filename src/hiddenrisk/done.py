"""What a run directory holds already: what is there is not asked for again."""

from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

import msgspec

from hiddenrisk.cascading import stratum_of
from hiddenrisk.judges.odds import LABEL_MASS, P_UNSAFE
from hiddenrisk.keys import KeyIndex
from hiddenrisk.stats.cascade import Stratum
from hiddenrisk.store import RESPONSES, VERDICTS, placed_records, records
from hiddenrisk.types import Finish, Part


class Done(msgspec.Struct):
    """What a run directory holds already."""

    responses: KeyIndex
    """Each with its offset in the file."""
    verdicts: KeyIndex
    models: set[str]
    judges: set[str]
    """Those that have answered."""
    closed: Counter[str]
    """By model: responses that close a thought they never opened, less those without any tag."""
    stood_in: dict[tuple[str, Part, str], str]
    """(response, part, judge) -> the fallback whose verdict took that judge's place."""
    strata: dict[tuple[str, Part, str], Stratum]
    """(response, part, cheap judge of a cascade) -> what that judge made of it."""


class _SeenResponse(msgspec.Struct):
    key: str
    model: str
    style: str
    finish: Finish


class _SeenVerdict(msgspec.Struct):
    key: str
    judge: str
    response: str
    part: Part
    score: float
    grades: dict[str, float] = {}
    complete: bool = True
    instead_of: str | None = None


def already_done(
    folder: Path, cheap: Collection[str] = (), fallbacks: Collection[str] = ()
) -> Done:
    """Keys of the finished calls.

    Args:
        folder: the run directory.
        cheap: labels of the judges that read first in a cascade.
        fallbacks: labels of those that may take a judge's place; verdicts of others in one
            are of another panel.

    Raises:
        StoreError: a line of the record files is no record.
    """
    done = Done(KeyIndex(), KeyIndex(), set(), set(), Counter(), {}, {})
    done.responses = KeyIndex(_responses(folder, done))
    done.verdicts = KeyIndex(_verdicts(folder, done, cheap, fallbacks))
    return done


def _responses(folder: Path, done: Done) -> Iterator[tuple[int, str]]:
    for offset, response in placed_records(folder / RESPONSES, _SeenResponse):
        yield offset, response.key
        done.models.add(response.model)
        if response.style == "prefilled" and response.finish is not Finish.CUT_IN_THINKING:
            done.closed[response.model] += 1
        elif response.style == "none" and response.finish is Finish.COMPLETE:
            done.closed[response.model] -= 1


def _verdicts(
    folder: Path, done: Done, cheap: Collection[str], fallbacks: Collection[str]
) -> Iterator[tuple[int, str]]:
    for verdict in records(folder / VERDICTS, _SeenVerdict):
        if verdict.complete:
            yield 0, verdict.key
        done.judges.add(verdict.judge)
        if verdict.instead_of is not None and verdict.judge in fallbacks:
            seat = (verdict.response, verdict.part, verdict.instead_of)
            done.stood_in[seat] = verdict.judge
        if verdict.judge in cheap:
            stratum = stratum_in(verdict.score, verdict.grades)
            done.strata[verdict.response, verdict.part, verdict.judge] = stratum


def stratum_in(score: float, grades: Mapping[str, float]) -> Stratum:
    """Where a verdict of the cheap judge puts a text."""
    return stratum_of(score, grades.get(P_UNSAFE), doubtful=LABEL_MASS in grades)
