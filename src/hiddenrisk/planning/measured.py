"""What samples of a run took, to plan from: those of a pilot, or of an earlier run."""

from collections import Counter, defaultdict
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import msgspec
import numpy as np

from hiddenrisk.errors import CallError
from hiddenrisk.planning.draws import Draws
from hiddenrisk.prices import who
from hiddenrisk.spending import read_paid
from hiddenrisk.store import RESPONSES, records
from hiddenrisk.tokens import tokens_of
from hiddenrisk.types import (
    SCORED,
    THOUGHT_THROUGH,
    Call,
    Finish,
    Message,
    Model,
    Prompt,
    Reply,
    Sampling,
    Usage,
    Visibility,
)

Cell = tuple[str, str]
"""Model and benchmark."""
_Place = tuple[str, int]
"""Prompt and repeat."""


class Measured(msgspec.Struct):
    """What each sample of a run took."""

    took: dict[Cell, dict[str, Draws]]
    """(n, 4) by whom it was paid to: calls, tokens in and out, seconds."""
    shapes: dict[Cell, Draws]
    """(n, 4): tokens of the answer and of the thought, and 1 or 0 for an answer and for a
    thought that a judge can read."""
    asked: frozenset[str]
    """Everybody who was asked anything, by the names in `usage`."""
    guessed: int = 0
    """Calls of which nobody told the tokens."""
    responses: int = 0

    def alike(self, name: str, benchmark: str) -> list[Draws]:
        """What somebody took on a benchmark, for each model."""
        found = (took for (_, where), took in self.took.items() if where == benchmark)
        return [took[name] for took in found if name in took]

    def shape(self, model: str, benchmark: str) -> Draws | None:
        """How the model answers there, or else wherever it was seen."""
        if (model, benchmark) in self.shapes:
            return self.shapes[model, benchmark]
        elsewhere = [rows for (label, _), rows in self.shapes.items() if label == model]
        return np.concatenate(elsewhere) if elsewhere else None


NOTHING = Measured({}, {}, frozenset())


class _Response(msgspec.Struct):
    model: str
    benchmark: str
    prompt: str
    repeat: int
    thinking: str | None
    answer: str | None
    finish: Finish
    visibility: Visibility
    usage: Usage
    dialogue: list[Message] | None = None


def measure(folder: Path) -> Measured:
    """What is known from the records of a run.

    Raises:
        StoreError: a line is no record.
    """
    places: dict[Cell, dict[_Place, int]] = defaultdict(dict)
    shapes: dict[Cell, list[tuple[float, ...]]] = defaultdict(list)
    for response in records(folder / RESPONSES, _Response):
        cell = (response.model, response.benchmark)
        rows = places[cell]
        if (place := (response.prompt, response.repeat)) not in rows:
            rows[place] = len(rows)
            if response.dialogue is None:  # its turns are short, and say nothing of answers
                shapes[cell].append(_shape(response))
    sums: dict[Cell, dict[str, Counter[tuple[int, int]]]] = defaultdict(
        lambda: defaultdict(Counter)
    )
    guessed = 0
    for paid in read_paid(folder):
        model, benchmark, prompt, repeat = paid.sample
        row = places[model, benchmark].get((prompt, repeat))
        if row is None:
            continue  # a sample that failed after some of its turns
        guessed += paid.calls * any(paid.estimated)
        sums_of = sums[model, benchmark][who(paid.role, paid.label)]
        # Added up in thousandths: a Counter holds whole numbers.
        for column, number in enumerate(
            (paid.calls, paid.prompt_tokens, paid.completion_tokens, paid.latency_s)
        ):
            sums_of[row, column] += round(1000 * number)
    took = {
        cell: {name: _table(found, len(places[cell])) for name, found in by_name.items()}
        for cell, by_name in sums.items()
    }
    names = frozenset(name for by_name in took.values() for name in by_name)
    count = sum(map(len, places.values()))
    return Measured(took, {c: np.array(r) for c, r in shapes.items()}, names, guessed, count)


async def recorded(model: Model, prompts: Iterable[tuple[Prompt, int]]) -> Draws:
    """How a recording answers some prompts: rows as in `Measured.shapes`."""
    rows: list[tuple[float, ...]] = []
    for prompt, repeat in prompts:
        call = Call(messages=prompt.messages, sampling=Sampling(), prompt=prompt.id, repeat=repeat)
        with suppress(CallError):  # nothing is recorded for it
            rows.append(_shape(await model.generate(call)))
    return np.array(rows) if rows else np.zeros((1, 4))


def _shape(response: _Response | Reply) -> tuple[float, ...]:
    """Tokens of answer and thought, as the provider counts them where it does."""
    answer, thinking = tokens_of(response.answer), tokens_of(response.thinking)
    if told := response.usage.completion_tokens:
        hidden = response.usage.reasoning_tokens or 0
        if not thinking and hidden:
            thinking = float(min(hidden, told))
            answer = float(told) - thinking
        elif answer + thinking > 0:
            scale = told / (answer + thinking)
            answer, thinking = answer * scale, thinking * scale
    judged = response.finish in SCORED | {Finish.CUT_IN_ANSWER} and bool(response.answer)
    shown = response.finish in THOUGHT_THROUGH and not response.visibility.unseen
    return answer, thinking, float(judged), float(shown and bool(response.thinking))


def _table(found: Counter[tuple[int, int]], rows: int) -> Draws:
    table = np.zeros((rows, 4))
    for (row, column), thousandths in found.items():
        table[row, column] = thousandths / 1000
    return table
