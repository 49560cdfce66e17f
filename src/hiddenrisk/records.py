"""The records of a run in columns: read once, a line at a time, a few bytes a sample."""

from collections import Counter, defaultdict
from collections.abc import Collection
from pathlib import Path
from typing import Literal

import msgspec

from hiddenrisk import store
from hiddenrisk.cell import IMPORTED, Cell, short
from hiddenrisk.jury import decided
from hiddenrisk.samples import (
    Profiled,
    SampleFailure,
    SampleNoticed,
    SampleResponse,
    SampleVerdict,
    Unseen,
)
from hiddenrisk.types import (
    Drawn,
    Finish,
    Part,
    Usage,
)


class _Reply(msgspec.Struct):
    served_model: str | None = None
    fingerprint: str | None = None


class _Turn(msgspec.Struct):
    asked: Literal["model", "judge", "victim"]
    label: str
    reply: _Reply
    usage: Usage = Usage()
    calls: int = 1


class _Label(msgspec.Struct):
    response: str
    part: Part
    who: str
    score: float | None
    drawn: Drawn = "disputed"


class Records(msgspec.Struct):
    """What a run directory holds, ready to be counted."""

    cells: dict[tuple[str, str], Cell]
    served: dict[str, set[str]]
    fingerprints: dict[str, set[str]]
    usage: dict[tuple[Literal["model", "judge", "victim"], str], Counter[str]]
    """Tokens by role and label."""
    fallbacks: frozenset[str] = frozenset()

    def cell(self, model: str, benchmark: str) -> Cell:
        """The samples of a model on a benchmark, to add to."""
        found = self.cells.get((model, benchmark))
        if found is None:
            found = self.cells[model, benchmark] = Cell(self.fallbacks)
        return found


def read_records(folder: Path, fallbacks: Collection[str]) -> Records:
    """Read responses, verdicts and failures of a run, each file once.

    Args:
        folder: the run directory.
        fallbacks: labels of the judges whose verdicts may stand in another's place.
    """
    records = Records(
        {}, defaultdict(set), defaultdict(set), defaultdict(Counter), frozenset(fallbacks)
    )
    rows = _read_responses(folder, records)
    _read_turns(folder, records)
    _read_verdicts(folder, records, rows)
    _read_labels(folder, rows)
    _read_insights(folder, rows)
    _read_failures(folder, records, rows)
    return records


_Rows = dict[int, tuple[Cell, int]]


def _read_responses(folder: Path, records: Records) -> _Rows:
    rows: _Rows = {}
    for offset, record in store.placed_records(folder / store.RESPONSES, SampleResponse):
        key = short(record.key)
        if key in rows:
            continue
        cell = records.cell(record.model, record.benchmark)
        rows[key] = (cell, cell.add(record, offset))
        if record.dialogue is None:  # what a dialogue took stands in its turns
            made = record.provider != IMPORTED  # somebody else made those calls
            total = records.usage["model", record.model]
            rejected = record.finish is Finish.BLOCKED_ON_INPUT  # nobody bills that
            _count(total, record.usage, int(made), billed=not rejected)
        if record.served_model:
            records.served[record.model].add(record.served_model)
        if record.fingerprint:
            records.fingerprints[record.model].add(record.fingerprint)
    return rows


def _read_turns(folder: Path, records: Records) -> None:
    for turn in store.records(folder / store.TURNS, _Turn):
        _count(records.usage[turn.asked, turn.label], turn.usage, turn.calls)
        if turn.asked == "model" and turn.reply.served_model:
            records.served[turn.label].add(turn.reply.served_model)
        if turn.asked == "model" and turn.reply.fingerprint:
            records.fingerprints[turn.label].add(turn.reply.fingerprint)


def _read_verdicts(folder: Path, records: Records, rows: _Rows) -> None:
    totals: dict[str, Counter[str]] = {}
    for verdict in store.records(folder / store.VERDICTS, SampleVerdict):
        place = rows.get(short(verdict.response))
        if place is not None:
            place[0].judged(place[1], verdict)
        if (total := totals.get(verdict.judge)) is None:
            total = totals[verdict.judge] = records.usage["judge", verdict.judge]
        _count(total, verdict.usage, verdict.calls)


def _read_labels(folder: Path, rows: _Rows) -> None:
    """What most people say of each text they labelled; nobody's word where they are even.

    The last label of a person counts. A sheet drawn at random is there to correct rates: were
    the open texts on it settled and the others not, the headline would be of neither.
    """
    said: dict[tuple[str, Part], dict[str, float | None]] = defaultdict(dict)
    settling: set[tuple[str, Part]] = set()
    for label in store.records(folder / store.LABELS, _Label):
        said[label.response, label.part][label.who] = label.score
        if label.drawn != "random":
            settling.add((label.response, label.part))
    for (response, part), labels in said.items():
        if (response, part) not in settling:
            continue
        place = rows.get(short(response))
        votes = [score for score in labels.values() if score is not None]
        score = decided(votes, "majority", harmful=True)
        if place is not None and score is not None:
            place[0].labelled(place[1], part, score)


def _read_insights(folder: Path, rows: _Rows) -> None:
    """What was found in thoughts, and the looks that failed and were not made good."""
    lost: dict[str, tuple[Cell, Unseen]] = {}
    for failure in store.records(folder / store.FAILURES, SampleFailure):
        place = rows.get(short(failure.response or "0"))
        if failure.stage in {"awareness", "profile"} and failure.judge and place is not None:
            sample = (failure.prompt, failure.repeat)
            lost[failure.key] = (
                place[0],
                Unseen(failure.judge, failure.stage, sample, place[1]),
            )
    for found in store.records(folder / store.NOTICED, SampleNoticed):
        lost.pop(found.key, None)
        place = rows.get(short(found.response))
        if place is not None:
            place[0].noticing(place[1], found)
    for profile in store.records(folder / store.PROFILES, Profiled):
        lost.pop(profile.key, None)
        place = rows.get(short(profile.response))
        if place is not None:
            place[0].profiles[profile.judge][place[1]] = profile
    for cell, unseen in lost.values():
        cell.unseen.append(unseen)


def _read_failures(folder: Path, records: Records, rows: _Rows) -> None:
    """Failures that nothing later made good."""
    for failure in store.records(folder / store.FAILURES, SampleFailure):
        if failure.judge and failure.calls:
            _count(records.usage["judge", failure.judge], failure.usage, failure.calls)
        if failure.stage == "judge" and failure.response and failure.part and failure.judge:
            place = rows.get(short(failure.response))
            if place is not None:
                cell, row = place
                cell.failed(row, failure.part, failure.judge, failure.reason)
            continue
        if failure.stage != "generate":
            continue
        key = short(failure.key)
        if key not in rows:
            cell = records.cell(failure.model, failure.benchmark)
            rows[key] = (cell, cell.add(failure, -1))
        cell, row = rows[key]
        if cell.offsets[row] < 0:
            cell.lose(row, failure.reason)


def _count(total: Counter[str], usage: Usage, calls: int = 1, *, billed: bool = True) -> None:
    """Add up tokens; what no provider ever reported stays without a number.

    Calls of which no tokens were told, though there must have been some, are `unmetered`.
    """
    total["calls"] += calls
    silent = not usage.prompt_tokens or usage.completion_tokens is None
    if billed and (silent or usage.estimated):
        total["unmetered"] += calls
    if usage.prompt_tokens is not None:
        total["prompt_tokens"] += usage.prompt_tokens
    if usage.completion_tokens is not None:
        total["completion_tokens"] += usage.completion_tokens
    if usage.reasoning_tokens is not None:
        total["reasoning_tokens"] += usage.reasoning_tokens
