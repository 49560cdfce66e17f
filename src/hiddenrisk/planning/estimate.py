"""What a plan will take: calls, tokens and seconds of everybody who is asked, cell by cell.

Requests are known as texts and sketched (`sketch`); what comes back is not, and is drawn: by
the kind of model (`kinds`), or from what a pilot or an earlier run took (`measured`).
"""

import asyncio
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import msgspec
import numpy as np

from hiddenrisk.assess import Judge, first_model, first_reader
from hiddenrisk.benchmarks.base import Loaded
from hiddenrisk.cascading import shares_of
from hiddenrisk.judges import awareness
from hiddenrisk.models.spec import Spec, parse
from hiddenrisk.models.standin import StandIn
from hiddenrisk.opening import Opened
from hiddenrisk.plan import asked_under, selected
from hiddenrisk.planning.draws import Draws, factor, fixed, mean_of_sample, share
from hiddenrisk.planning.kinds import UNKNOWN, kind_of
from hiddenrisk.planning.measured import Measured, recorded
from hiddenrisk.planning.sketch import (
    TEXT,
    Sketch,
    Sketched,
    exchanges,
    sketch,
    sketch_dialogue,
    walk,
)
from hiddenrisk.prices import who
from hiddenrisk.segments import MOST
from hiddenrisk.tokens import CHARS, OFF, tokens_in
from hiddenrisk.types import Label, Model, Part, Prompt

REPLIES: dict[str, tuple[float, float]] = {
    "judge": (25.0, 200.0),
    "word": (2.0, 15.0),
    "expander": (150.0, 700.0),
    "check": (8.0, 50.0),
    "grade": (60.0, 300.0),
    "awareness": (12.0, 60.0),
    "attacker": (50.0, 250.0),
    "victim": (20.0, 130.0),
}
"""Tokens of a reply by what is asked, in the mean; "word" for a label of one word."""
SKETCHED = 400
"""So many prompts of a benchmark are looked at for the length of judges' requests."""
_SEGMENTS = (1 / 700, 1 / 220)
"""Segments of a thought by its characters."""
_SPEED, _EMBEDDED = (20.0, 120.0), (15.0, 60.0)
"""Tokens a second of one call."""
_OVERHEAD = (0.3, 3.0)
"""Seconds before the first token."""


class Amount(NamedTuple):
    """What some calls take."""

    calls: Draws
    asked: Draws
    """Tokens in."""
    said: Draws
    """Tokens out, thinking included."""
    seconds: Draws
    """Of all calls, one after the other."""


class Cell(NamedTuple):
    """What one who is asked takes for one model on one benchmark."""

    who: str
    model: str
    benchmark: str
    amount: Amount
    seen: int
    """Samples that this was measured on; 0 where it is drawn by the kind of model."""


class Lengths(msgspec.Struct, frozen=True, kw_only=True):
    """How a model answers."""

    answer: Draws
    thinking: Draws
    answered: Draws
    """Share of the responses with an answer that is judged."""
    visible: Draws
    """Share with a thought that is judged."""


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a benchmark's prompts, as far as the plan asks them."""

    counts: dict[Label, int]
    """Samples."""
    prompts: dict[Label, list[Prompt]]
    """Some of them, spread over all."""
    asked: float
    """Tokens of a request, in the mean."""

    @property
    def n(self) -> int:
        """Samples of one model."""
        return sum(self.counts.values())


def facts_of(benchmark: Loaded, opened: Opened) -> Facts:
    """Look through the prompts that are asked."""
    prompts: dict[Label, list[Prompt]] = defaultdict(list)
    total = 0.0
    for prompt, repeat in selected(benchmark, opened.plan):
        if repeat:
            break
        prompts[prompt.label].append(prompt)
        total += tokens_in(prompt.messages)
    asked = sum(map(len, prompts.values()))
    return Facts(
        counts={label: len(found) * opened.plan.repeat for label, found in prompts.items()},
        prompts={label: found[:: -(-len(found) // SKETCHED)] for label, found in prompts.items()},
        asked=total / max(1, asked),
    )


def cells_of(opened: Opened, measured: Measured) -> Iterator[Cell]:
    """What everybody takes, for each model on each benchmark."""
    facts = {b.name: facts_of(b, opened) for b in opened.benchmarks}
    sketches: dict[tuple[str, str, Label], Sketch | None] = {}
    for (text, decoding), model in zip(asked_under(opened.plan), opened.models, strict=True):
        spec = parse(text)
        if decoding != "default":
            spec = msgspec.structs.replace(spec, options={**spec.options, "decoding": decoding})
        for benchmark in opened.benchmarks:
            at = _At(opened, model, spec, benchmark, facts[benchmark.name], measured, sketches)
            yield from at.cells()


class _At:
    """One model on one benchmark."""

    def __init__(
        self,
        opened: Opened,
        model: Model,
        spec: Spec,
        benchmark: Loaded,
        facts: Facts,
        measured: Measured,
        sketches: dict[tuple[str, str, Label], Sketch | None],
    ) -> None:
        self._opened, self._model, self._spec = opened, model, spec
        self._benchmark, self._facts, self._measured = benchmark, facts, measured
        self._sketches = sketches
        self._ratio = factor("characters", *OFF)
        self._kind = kind_of(spec)
        self._lengths = self._how_long()

    def cells(self) -> Iterator[Cell]:
        """What everybody takes: as measured, else as drawn."""
        measured = self._measured.took.get((self._model.label, self._benchmark.name), {})
        # A run may have had other judges, or was judged again: they are not asked here.
        took = {name: table for name, table in measured.items() if name in self._opened.specs}
        for name, table in took.items():
            yield self._cell(name, self._as_measured(name, table), len(table))
        drawn: dict[str, list[Amount]] = defaultdict(list)
        for name, amount in self._drawn():
            # Who was asked elsewhere in that run and not here is not asked here.
            if name not in took and not (took and name in self._measured.asked):
                drawn[name].append(amount)
        for name, amounts in drawn.items():
            yield self._cell(name, _sum(amounts), 0)

    def _cell(self, name: str, amount: Amount, seen: int) -> Cell:
        return Cell(name, self._model.label, self._benchmark.name, amount, seen)

    def _as_measured(self, name: str, table: Draws) -> Amount:
        # All models are asked the same prompts: if those of a pilot are short, all are off alike.
        key = f"{'' if name == self._model.label else name} {self._benchmark.name}"
        alike = self._measured.alike(name, self._benchmark.name)
        calls, asked, said, seconds = (mean_of_sample(key, table, alike) * self._facts.n).T
        if name == self._model.label and not self._benchmark.dialogue:
            calls = self._facts.n * self._requests()  # a record is one response
        return Amount(calls, asked, said, seconds)

    def _requests(self) -> Draws:
        """How many requests a response takes, in the mean."""
        label = self._model.label
        return share(f"requests {label}", 4, 12) if label in self._opened.costly else fixed(1)

    def _how_long(self) -> Lengths:
        """Of the answers and thoughts: as measured on this benchmark or elsewhere, else drawn."""
        label = self._model.label
        if self._recorded:
            rows = asyncio.run(recorded(self._model, selected(self._benchmark, self._opened.plan)))
            answer, thinking, answered, visible = (
                fixed(value)
                for value in rows.sum(axis=0) / (len(rows), len(rows), self._facts.n, self._facts.n)
            )
            return Lengths(answer=answer, thinking=thinking, answered=answered, visible=visible)
        if (shape := self._measured.shape(label, self._benchmark.name)) is not None:
            means = mean_of_sample(f"shape {label} {self._benchmark.name}", shape)
            shares = np.minimum(1.0, means[:, 2:])
            return Lengths(
                answer=means[:, 0],
                thinking=means[:, 1],
                answered=shares[:, 0],
                visible=shares[:, 1],
            )
        kind = self._kind
        thinking = factor(f"thinking {label}", *kind.thinking) if kind.thinking else fixed(0)
        lengths = Lengths(
            answer=factor(f"answer {label}", *kind.answer),
            thinking=thinking,
            answered=share(f"answered {label}", 0.85, 1.0),
            visible=share(f"visible {label}", *kind.visible),
        )
        return _cut(lengths, self._opened.plan.max_tokens)

    @property
    def _recorded(self) -> bool:
        """Whether the model is a recording, which is read and not asked."""
        return self._model.provider == "replay" and not isinstance(self._model, StandIn)

    # ------------------------------------------------------------ who is asked

    def _drawn(self) -> Iterator[tuple[str, Amount]]:
        if self._benchmark.dialogue:
            yield from self._talks()
        elif not self._recorded:
            yield self._model.label, self._answers()
        for label, count in self._facts.counts.items():
            for part in self._opened.parts_of(self._benchmark):
                yield from self._judged(part, label, count)
        yield from self._looked_into()

    def _answers(self) -> Amount:
        n, lengths = fixed(self._facts.n), self._lengths
        asked, said = self._facts.asked * self._ratio, lengths.answer + lengths.thinking
        rounds = self._requests()
        if self._model.label in self._opened.costly:  # each sends what was thought before
            asked = rounds * (asked + lengths.thinking / 2)
        return self._timed(self._model.label, n * rounds, n * asked, n * lengths.answered * said)

    def _judged(self, part: Part, label: Label, count: int) -> Iterator[tuple[str, Amount]]:
        lengths = self._lengths
        of = lengths.answered if part is Part.ANSWER else lengths.visible
        text = lengths.answer if part is Part.ANSWER else lengths.thinking
        for judge, reads in self._readers(label):
            found = self._sketch(judge, label)
            if found is None:
                continue
            texts = count * of * reads
            if found.settled:
                texts = texts * share(f"does not refuse {self._model.label}", 0, 1)
            yield from self._asked_by(judge, found.calls, texts, text)

    def _readers(self, label: Label) -> Iterator[tuple[Judge, Draws]]:
        """Each judge that is a model, with the share of the texts that it reads."""
        opened, benchmark = self._opened, self._benchmark
        cheap = [j for j in opened.cheap if j.judges(benchmark, label)]
        for judge in cheap:
            yield judge, fixed(1)
        rest = _goes_on(opened) if cheap else fixed(1)
        jury = [j for j in opened.judges if j.judges(benchmark, label)]
        for judge in jury:
            yield judge, rest
        for judge in opened.fallbacks:
            rest = rest * share(f"without a verdict {judge.label}", 0, 0.05)
            yield judge, rest * len(jury)

    def _sketch(self, judge: Judge, label: Label) -> Sketch | None:
        """What a judge asks; None for rules, and for one that cannot judge such prompts."""
        key = (judge.label, self._benchmark.name, label)
        if key not in self._sketches:
            rubric = judge.rubric(self._benchmark, label) if judge.endpoint else None
            rounds = exchanges(self._talk())
            self._sketches[key] = (
                sketch(rubric, self._facts.prompts[label], rounds) if rubric else None
            )
        return self._sketches[key]

    def _asked_by(
        self, judge: Judge, calls: Sequence[Sketched], texts: Draws, text: Draws
    ) -> Iterator[tuple[str, Amount]]:
        """The calls of a judge over so many texts of this length."""
        name = who("judge", judge.label)
        rounds = exchanges(self._talk())
        message = self._reply("attacker", self._model.label)
        other = self._reply("victim" if rounds else "expander", name)
        for call in calls:
            shorter = self._rounds() / rounds if call.said > 1 else 1.0
            asked = call.fixed * self._ratio + call.text * text
            asked = asked + shorter * (call.said * message + call.other * other)
            said = self._said_by(judge, call)
            yield name, self._timed(name, texts, texts * asked, texts * said)

    def _said_by(self, judge: Judge, call: Sketched) -> Draws:
        """Tokens of a judge's reply, and of what it thinks before it."""
        kind = kind_of(parse(judge.spec))
        rubric = judge.rubric(self._benchmark, "unsafe")
        word = call.role == "judge" and (judge.form.guard or (rubric and rubric.weighs))
        said = self._reply("word" if word else call.role, who("judge", judge.label))
        if kind.thinking and kind is not UNKNOWN:
            said = said + factor(f"thinking judge {judge.label}", *kind.thinking)
        return np.minimum(said, call.most)

    # ------------------------------------------------------------ dialogues

    def _talk(self) -> tuple[Sketched, ...]:
        key = ("", self._benchmark.name, "unsafe")
        if key not in self._sketches:
            prompts = next(iter(self._facts.prompts.values()), None)
            calls = sketch_dialogue(self._benchmark, prompts) if prompts else ()
            self._sketches[key] = Sketch(calls, settled=False)
        found = self._sketches[key]
        return found.calls if found else ()

    def _rounds(self) -> Draws:
        """Messages that the model writes in a dialogue, in the mean."""
        return sum((_still(n) for n in range(exchanges(self._talk()))), fixed(0))

    def _talks(self) -> Iterator[tuple[str, Amount]]:
        victim = self._opened.victim
        if victim is None:
            return
        checker = first_model(self._opened.judges) or victim
        names = {
            "target": self._model.label,
            "victim": who("victim", victim.model.label),
            "judge": who("judge", checker.model.label),
        }
        message = self._reply("attacker", self._model.label)
        other = self._reply("victim", names["victim"])
        for call in self._talk():
            texts = self._facts.n * _still(call.round)
            if call.round or call.who != "target":
                texts = texts * self._lengths.answered
            asked = call.fixed * self._ratio + call.said * message + call.other * other
            if call.who == "target":
                said = message + self._lengths.thinking
            else:
                said = np.minimum(self._reply(call.role, names[call.who]), call.most)
            name = names[call.who]
            yield name, self._timed(name, texts, texts * asked, texts * said)

    # ------------------------------------------------------------ insights

    def _looked_into(self) -> Iterator[tuple[str, Amount]]:
        """A judge that looks into thoughts: once each, and into some of them by segments."""
        opened, benchmark = self._opened, self._benchmark
        reader = first_reader(opened.judges) if opened.plan.insights == "judge" else None
        count = self._facts.counts.get("unsafe", 0)
        if reader is None or Part.THINKING not in opened.parts_of(benchmark) or not count:
            return
        prompts, thinking = self._facts.prompts["unsafe"], self._lengths.thinking
        calls, _ = walk(awareness.steps(prompts[0], TEXT))
        yield from self._asked_by(reader, calls, count * self._lengths.visible, thinking)
        segments = np.clip(thinking * CHARS * factor("segments", *_SEGMENTS), 1, MOST)
        found = sketch(reader.form.rubric or benchmark.rubric, prompts)
        texts = min(opened.plan.profiles, count) * self._lengths.visible * segments
        yield from self._asked_by(reader, found.calls, texts, thinking / segments)

    # ------------------------------------------------------------ helpers

    def _reply(self, role: str, name: str) -> Draws:
        return factor(f"reply {role} {name}", *REPLIES.get(role, REPLIES["judge"]))

    def _timed(self, name: str, calls: Draws, asked: Draws, said: Draws) -> Amount:
        embedded = self._opened.specs.get(name, "").partition("=")[2].startswith("local/")
        speed = factor(f"speed {name}", *(_EMBEDDED if embedded else _SPEED))
        return Amount(
            calls, asked, said, calls * factor(f"overhead {name}", *_OVERHEAD) + said / speed
        )


def _goes_on(opened: Opened) -> Draws:
    """The share of the texts that the cheap judges of a cascade leave to the others."""
    shares = shares_of(opened.plan.audit)
    unsure, safe = share("unsure", 0, 0.5), share("called safe", 0, 1)
    sure = safe * shares.of("sure safe") + (1 - safe) * shares.of("sure unsafe")
    return unsure * shares.of("unsure") + (1 - unsure) * sure


def _still(number: int) -> Draws:
    """The share of the dialogues that get to a round: from the third on, some end before it."""
    return share("victim goes on", 0.5, 1) ** max(0, number - 1)


def _cut(lengths: Lengths, most: int | None) -> Lengths:
    """No response is longer than it may be."""
    if most is None:
        return lengths
    total = np.maximum(lengths.answer + lengths.thinking, 1e-9)
    scale = np.minimum(1.0, most / total)
    return msgspec.structs.replace(
        lengths, answer=lengths.answer * scale, thinking=lengths.thinking * scale
    )


def _sum(amounts: Sequence[Amount]) -> Amount:
    return Amount(*(sum(column, fixed(0)) for column in zip(*amounts, strict=True)))
