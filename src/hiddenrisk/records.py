"""The records of a run in columns: read once, a line at a time, a few bytes a sample."""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import Literal

import msgspec

from hiddenrisk import store
from hiddenrisk.cascading import SHORT
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


def read_records(folder: Path, fallbacks: Collection[str], *, insights: bool = True) -> Records:
    """Read responses, verdicts and failures of a run, each file once.

    Args:
        folder: the run directory.
        fallbacks: labels of the judges whose verdicts may stand in another's place.
        insights: whether what thoughts tell is wanted as well.
    """
    records, rows = _read_responses(folder, fallbacks)
    if rows.twice:
        records, rows = _read_responses(folder, fallbacks, rows.twice)
    _read_turns(folder, records)
    _read_verdicts(folder, records, rows)
    _read_labels(folder, rows)
    if insights:
        _read_insights(folder, rows)
    _read_failures(folder, records, rows)
    return records


_Place = tuple[Cell, int]
"""Of a sample, the cell and its row there."""


class _Rows:
    """Where the samples are, by the key of the response: twelve bytes a sample."""

    def __init__(self, cells: Sequence[Cell]) -> None:
        import numpy as np  # noqa: PLC0415 - it takes a while, and this module is always imported

        self._np, self._cells = np, cells
        self._ends = np.cumsum([len(cell) for cell in cells])
        self._starts = self._ends - [len(cell) for cell in cells]
        keys = np.concatenate([np.zeros(0, np.uint64), *(np.array(cell.keys) for cell in cells)])
        order = np.argsort(keys)
        self._keys, self._order = keys[order], order.astype(np.uint32)
        again = self._keys[1:] == self._keys[:-1]
        self.twice = frozenset[int](self._keys[1:][again].tolist())
        """Keys that more than one sample has."""
        self.lost: dict[int, _Place] = {}
        """Where those are that have no response."""

    def of(self, keys: Iterable[str]) -> list[_Place | None]:
        """Where these are; None for those that are nowhere."""
        digits = "".join([key[:SHORT].rjust(16, "0") for key in keys])  # as `short` reads them
        wanted = self._np.frombuffer(bytes.fromhex(digits), ">u8").astype(self._np.uint64)
        if not self._keys.size:
            return list(map(self.lost.get, wanted.tolist()))
        at = self._np.searchsorted(self._keys[:-1], wanted)
        samples = self._order[at]
        cells = self._np.searchsorted(self._ends, samples, side="right")
        there = (self._keys[at] == wanted).tolist()
        rows = (samples - self._starts[cells]).tolist()
        found = zip(wanted.tolist(), there, cells.tolist(), rows, strict=True)
        return [
            (self._cells[cell], row) if known else self.lost.get(key)
            for key, known, cell, row in found
        ]


def _read_responses(
    folder: Path, fallbacks: Collection[str], twice: Collection[int] = ()
) -> tuple[Records, _Rows]:
    """The responses, and where they are.

    Args:
        folder: the run directory.
        fallbacks: as `read_records` has them.
        twice: keys that are known to come again; of such responses, the first counts.
    """
    records = Records(
        {}, defaultdict(set), defaultdict(set), defaultdict(Counter), frozenset(fallbacks)
    )
    seen: set[int] = set()
    for batch in store.batches(folder / store.RESPONSES, SampleResponse):
        by_cell: dict[tuple[str, str], list[tuple[int, SampleResponse]]] = defaultdict(list)
        for offset, response in zip(batch.offsets, batch.records, strict=True):
            if twice and (key := short(response.key)) in twice:
                if key in seen:
                    continue
                seen.add(key)
            by_cell[response.model, response.benchmark].append((offset, response))
        for (model, benchmark), placed in by_cell.items():
            responses = [response for _, response in placed]
            records.cell(model, benchmark).extend(responses, [offset for offset, _ in placed])
            _count_responses(records, model, responses)
    return records, _Rows(list(records.cells.values()))


def _count_responses(records: Records, model: str, responses: Sequence[SampleResponse]) -> None:
    """Add up what responses of a model took, and what its provider said that they come from."""
    records.served[model].update(r.served_model for r in responses if r.served_model)
    records.fingerprints[model].update(r.fingerprint for r in responses if r.fingerprint)
    # What a dialogue took stands in its turns.
    alone = [r for r in responses if r.dialogue is None]
    for billed in (True, False):
        # Nobody bills a rejected request; what was imported, somebody else asked for.
        some = [r for r in alone if billed == (r.finish is not Finish.BLOCKED_ON_INPUT)]
        spent = [(r.usage, int(r.provider != IMPORTED)) for r in some]
        if spent:
            _count(records.usage["model", model], spent, billed=billed)


def _read_turns(folder: Path, records: Records) -> None:
    for turn in store.records(folder / store.TURNS, _Turn):
        _count(records.usage[turn.asked, turn.label], [(turn.usage, turn.calls)])
        if turn.asked == "model" and turn.reply.served_model:
            records.served[turn.label].add(turn.reply.served_model)
        if turn.asked == "model" and turn.reply.fingerprint:
            records.fingerprints[turn.label].add(turn.reply.fingerprint)


def _read_verdicts(folder: Path, records: Records, rows: _Rows) -> None:
    for _, _, found in store.batches(folder / store.VERDICTS, SampleVerdict):
        for place, verdict in zip(rows.of(v.response for v in found), found, strict=True):
            if place is not None:
                place[0].judged(place[1], verdict)
        for judge in {verdict.judge for verdict in found}:
            spent = [(v.usage, v.calls) for v in found if v.judge == judge]
            _count(records.usage["judge", judge], spent)


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
        (place,) = rows.of([response])
        votes = [score for score in labels.values() if score is not None]
        score = decided(votes, "majority", harmful=True)
        if place is not None and score is not None:
            place[0].labelled(place[1], part, score)


def _read_insights(folder: Path, rows: _Rows) -> None:
    """What was found in thoughts, and the looks that failed and were not made good."""
    lost: dict[str, tuple[Cell, Unseen]] = {}
    for _, _, failures in store.batches(folder / store.FAILURES, SampleFailure):
        looks = [f for f in failures if f.stage in {"awareness", "profile"} and f.judge]
        for place, failure in zip(rows.of(f.response or "0" for f in looks), looks, strict=True):
            if place is not None and failure.judge:
                sample = (failure.prompt, failure.repeat)
                unseen = Unseen(failure.judge, failure.stage, sample, place[1])
                lost[failure.key] = (place[0], unseen)
    for _, _, noticed in store.batches(folder / store.NOTICED, SampleNoticed):
        for place, found in zip(rows.of(n.response for n in noticed), noticed, strict=True):
            lost.pop(found.key, None)
            if place is not None:
                place[0].noticing(place[1], found)
    for _, _, profiles in store.batches(folder / store.PROFILES, Profiled):
        for place, profile in zip(rows.of(p.response for p in profiles), profiles, strict=True):
            lost.pop(profile.key, None)
            if place is not None:
                place[0].profiles[profile.judge][place[1]] = profile
    for cell, unseen in lost.values():
        cell.unseen.append(unseen)


def _read_failures(folder: Path, records: Records, rows: _Rows) -> None:
    """Failures that nothing later made good."""
    for _, _, failures in store.batches(folder / store.FAILURES, SampleFailure):
        about = (f.key if f.stage == "generate" else f.response or "0" for f in failures)
        for place, failure in zip(rows.of(about), failures, strict=True):
            if failure.judge and failure.calls:
                _count(records.usage["judge", failure.judge], [(failure.usage, failure.calls)])
            if failure.stage == "generate":
                _lose(failure, place, records, rows)
            elif failure.stage == "judge" and failure.part and failure.judge and place is not None:
                cell, row = place
                cell.failed(row, failure.part, failure.judge, failure.reason)


def _lose(failure: SampleFailure, place: _Place | None, records: Records, rows: _Rows) -> None:
    """Take in that a response could not be had, unless a later try had it."""
    key = short(failure.key)
    place = place or rows.lost.get(key)
    if place is None:
        cell = records.cell(failure.model, failure.benchmark)
        place = rows.lost[key] = (cell, cell.add(failure, -1))
    cell, row = place
    if cell.offsets[row] < 0:
        cell.lose(row, failure.reason)


def _count(total: Counter[str], spent: Sequence[tuple[Usage, int]], *, billed: bool = True) -> None:
    """Add up tokens; what no provider ever reported stays without a number.

    Calls of which no tokens were told, though there must have been some, are `unmetered`.

    Args:
        total: what it is added to.
        spent: of each record the tokens, and how many calls they are of.
        billed: whether anybody bills these calls.
    """
    total["calls"] += sum(calls for _, calls in spent)
    dark = [
        calls
        for usage, calls in spent
        if not usage.prompt_tokens or usage.completion_tokens is None or usage.estimated
    ]
    if billed and dark:
        total["unmetered"] += sum(dark)
    told = {
        "prompt_tokens": [u.prompt_tokens for u, _ in spent if u.prompt_tokens is not None],
        "completion_tokens": [
            u.completion_tokens for u, _ in spent if u.completion_tokens is not None
        ],
        "reasoning_tokens": [
            u.reasoning_tokens for u, _ in spent if u.reasoning_tokens is not None
        ],
    }
    for name, numbers in told.items():
        if numbers:
            total[name] += sum(numbers)
