"""The responses that a page shows, and the samples whose thinking and answer differ."""

import heapq
from array import array
from collections import deque
from collections.abc import Iterator, Sequence
from itertools import cycle
from pathlib import Path
from typing import NamedTuple

import msgspec
from msgspec.structs import replace

from hiddenrisk.benchmarks.base import Protocol
from hiddenrisk.cell import (
    FAILED,
    LABELS,
    Cell,
    kinds_of,
)
from hiddenrisk.contrast import contrast
from hiddenrisk.report.page import Example, ExampleVerdict
from hiddenrisk.store import (
    RESPONSES,
    VERDICTS,
    batches,
    read_at,
)
from hiddenrisk.types import Message, Part, Response, Verdict

_EXAMPLES, _ALL_EXAMPLES, _LEAST_EXAMPLES = 40, 400, 5
"""Responses in the report: of each model and benchmark at most, of all, and
of each at least."""


def most_examples(cells: int) -> int:
    """How many responses of each model and benchmark are shown, where there are so many pairs."""
    return max(_LEAST_EXAMPLES, min(_EXAMPLES, _ALL_EXAMPLES // cells))


class Flips(NamedTuple):
    """Samples whose thinking and answer differ in one way."""

    flip: str
    """`only_answer_safe` or `only_thinking_safe`."""
    offsets: "array[int]"
    """Where their responses stand."""


def flips_of(cell: Cell, protocol: Protocol, judges: Sequence[str]) -> list[Flips]:
    """The samples of a cell whose thinking and answer differ."""
    _, found = contrast(cell, protocol, judges)
    both = {
        "only_answer_safe": found.only_answer_safe,
        "only_thinking_safe": found.only_thinking_safe,
    }
    return [
        Flips(flip, array("q", map(cell.offsets.__getitem__, rows))) for flip, rows in both.items()
    ]


class _Flipped(msgspec.Struct):
    """What of a response the list of flips has."""

    key: str
    model: str
    benchmark: str
    prompt: str
    repeat: int
    category: tuple[str, ...]


def flip_lines(folder: Path, flips: Sequence[Flips]) -> Iterator[str]:
    """The lines of flips.jsonl: there may be as many as samples."""
    for flip, offsets in flips:
        for response in read_at(folder / RESPONSES, offsets, _Flipped) if offsets else ():
            about = msgspec.structs.asdict(response)
            line = {"flip": flip, "response": about.pop("key"), **about}
            yield msgspec.json.encode(line).decode() + "\n"


def examples_of(
    folder: Path, cell: Cell, judges: Sequence[str], parts: Sequence[Part], most: int
) -> dict[str, Example]:
    """The responses to show, by key; what the judges said of them comes later."""
    rows = list(shown_rows(cell, judges, parts, most))
    if not rows:
        return {}
    responses = read_at(folder / RESPONSES, (cell.offsets[row] for row, _ in rows), Response)
    return {
        r.key: Example(
            model=r.model,
            benchmark=r.benchmark,
            prompt_id=r.prompt,
            category=r.category,
            label=r.label,
            prompt="\n\n".join(m.content for m in r.messages),
            thinking=r.thinking,
            answer=r.answer if r.dialogue is None else _transcript(r.dialogue),
            dialogue=r.dialogue is not None,
            finish=r.finish.value,
            visibility=r.visibility.value,
            outcome=outcome,
            verdicts=(),
            problem=None if outcome not in FAILED else outcome,
        )
        for r, (_, outcome) in zip(responses, rows, strict=True)
    }


def _transcript(dialogue: tuple[Message, ...]) -> str:
    return "\n\n".join(f"{m.role.capitalize()}: {m.content}" for m in dialogue)


class _Judged(msgspec.Struct):
    response: str


def with_verdicts(folder: Path, examples: dict[str, Example]) -> list[Example]:
    """The examples with what the judges said, which takes one look at all verdicts."""
    said: dict[str, list[ExampleVerdict]] = {key: [] for key in examples}
    path, places = folder / VERDICTS, list[int]()
    for batch in batches(path, _Judged) if examples else ():
        if not said.keys().isdisjoint([verdict.response for verdict in batch.records]):
            placed = zip(batch.offsets, batch.records, strict=True)
            places += [at for at, verdict in placed if verdict.response in said]
    for verdict in read_at(path, places, Verdict) if places else ():
        said[verdict.response].append(
            ExampleVerdict(
                judge=verdict.judge,
                part=verdict.part.value,
                label=verdict.label,
                score=verdict.score,
                reason=verdict.reason,
            )
        )
    return [replace(e, verdicts=tuple(said[key])) for key, e in examples.items()]


def shown_rows(
    cell: Cell, judges: Sequence[str], parts: Sequence[Part], most: int
) -> Iterator[tuple[int, str]]:
    """Samples worth a person's look: (row, outcome of the first part).

    Two of five are unsafe, as far as there are any, and one each is unsafe in the thinking
    alone, without a score, and none of these. Of a kind, those of the prompts with the smallest
    digests: a sample drawn without regard to the order, and the same prompts for every model.
    """
    alike = [cell.alike(part, judges).kinds for part in parts]
    kinds, first = kinds_of(zip(*alike, strict=True))
    looks = [_look(cell, row, judges, parts) for row in first]
    responses = [row for row, offset in enumerate(cell.offsets) if offset >= 0]
    queues = [
        deque(
            heapq.nsmallest(
                most,
                (row for row in responses if looks[kinds[row]][1] == look),
                key=cell.prompts.__getitem__,
            )
        )
        for look in range(4)
    ]
    left = min(most, sum(map(len, queues)))
    for look in cycle((0, 0, 1, 2, 3)):
        if not left:
            return
        if queues[look]:
            left -= 1
            row = queues[look].popleft()
            yield row, looks[kinds[row]][0]


def _look(cell: Cell, row: int, judges: Sequence[str], parts: Sequence[Part]) -> tuple[str, int]:
    """The outcome of a sample, and what it shows: the kinds of `shown_rows`, from 0."""
    harmful = LABELS[cell.labels[row]] == "unsafe"
    outcome, said = cell.outcome(row, parts[0], judges)
    if not isinstance(said, float):
        return outcome, 2
    if said < 0.5 if harmful else said > 0.5:
        return outcome, 0
    inside = [cell.outcome(row, part, judges)[1] for part in parts[1:] if harmful]
    return outcome, 1 if any(isinstance(word, float) and word < 0.5 for word in inside) else 3
