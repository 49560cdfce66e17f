"""Which prompt each recorded transcript answers. Pure.

A transcript that names its prompt is matched by that id, if the text agrees; any other by the
text of what the user said last. A text that comes again without an id is a sample of its own
(`ID#2`); only files that number their repeats have repeats.
"""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Container, Iterable, Iterator, Sequence
from itertools import count
from typing import Literal

import msgspec

from hiddenrisk.benchmarks.base import Loaded
from hiddenrisk.errors import DataError
from hiddenrisk.recall import Place
from hiddenrisk.transcripts.base import Asked, Transcript, last_user_text, one_line
from hiddenrisk.types import Message, Prompt


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """What transcripts are taken for."""

    model: str | None = None
    """The label of their model; None for what the files say."""
    benchmark: str | None = None
    """A benchmark that has the prompts, or a name for the files' own."""
    label: Literal["safe", "unsafe"] | None = None
    """Of prompts whose rows do not say; None for unsafe."""


class Match(msgspec.Struct, kw_only=True):
    """Transcripts in their places."""

    places: dict[Place, Transcript]
    prompts: list[Prompt]
    """Those that are asked for, in order."""
    unmatched: int = 0
    first_unmatched: str = ""
    """Where the first of them stands, and what it begins with."""


def own_prompts(
    transcripts: Sequence[Transcript],
    asked: Sequence[Asked],
    benchmark: str,
    label: Literal["safe", "unsafe"] | None,
) -> list[Prompt]:
    """The prompts that the files themselves hold, each once, in the order they come.

    Raises:
        DataError: a prompt is missing, or one id stands for two.
    """
    found: dict[str, tuple[Prompt, str]] = {}
    for one in asked:
        _take(found, _prompt(one.id, one.messages, benchmark, label), one.where)
    seen: Counter[tuple[str, str]] = Counter()
    for t in transcripts:
        if not last_user_text(t.messages):
            if t.id in found:
                continue
            raise DataError(
                f"{t.where}: nothing says what was asked; "
                + (
                    f"name the file with the prompts as well, or --benchmark (its id is {t.id})"
                    if t.id
                    else "fill in its prompt, or take it out"
                )
            )
        prompt = _prompt(_id_of(t, seen), t.messages, benchmark, t.label or label)
        _take(found, msgspec.structs.replace(prompt, category=t.category), t.where)
    return [prompt for prompt, _ in found.values()]


def _prompt(
    name: str,
    messages: tuple[Message, ...],
    benchmark: str,
    label: Literal["safe", "unsafe"] | None,
) -> Prompt:
    return Prompt(id=name, messages=messages, benchmark=benchmark, label=label or "unsafe")


def _take(found: dict[str, tuple[Prompt, str]], prompt: Prompt, where: str) -> None:
    before, there = found.setdefault(prompt.id, (prompt, where))
    if last_user_text(before.messages) != last_user_text(prompt.messages):
        raise DataError(
            f"{where}: prompt '{one_line(prompt.id, 60)}' is another text than in {there}; give "
            "each prompt an id of its own, or import the files one by one"
        )
    if before.label != prompt.label:
        raise DataError(
            f"{where}, field label: prompt '{one_line(prompt.id, 60)}' is {prompt.label} here "
            f"and {before.label} in {there}"
        )
    if prompt.category and not before.category:
        found[prompt.id] = (msgspec.structs.replace(before, category=prompt.category), there)


def _id_of(t: Transcript, seen: Counter[tuple[str, str]]) -> str:
    """The prompt's id; made of its text where it has none, and of how often the model had it."""
    if t.id is not None:
        return t.id
    text = last_user_text(t.messages)
    name = hashlib.blake2b(text.encode("utf-8", "replace"), digest_size=6).hexdigest()
    if t.repeat is not None:
        return name
    seen[t.model or "", text] += 1
    return _again(name, seen[t.model or "", text])


def _again(name: str, times: int) -> str:
    return name if times == 1 else f"{name}#{times}"


def asked_for(prompts: Iterable[Prompt], ids: Container[str]) -> Iterator[Prompt]:
    """Those of the prompts that have these ids, each as often as it is a sample of its own."""
    for prompt in prompts:
        if prompt.id in ids:
            yield prompt
            for times in count(2):
                name = _again(prompt.id, times)
                if name not in ids:
                    break
                yield msgspec.structs.replace(prompt, id=name)


def place(
    transcripts: Sequence[Transcript], prompts: Iterable[Prompt], benchmark: Loaded | None
) -> Match:
    """Put each transcript in its place.

    Args:
        transcripts: with their models' labels.
        prompts: of the benchmark, or the files' own.
        benchmark: the one that has the prompts; None where they are the files' own.

    Raises:
        DataError: two transcripts have one place, or none has any.
    """
    by_id = {prompt.id: prompt for prompt in prompts}
    found: dict[Place, Transcript] = {}
    lost: list[Transcript] = []
    counted: Counter[tuple[str, str]] = Counter()
    if benchmark is None:
        for t in transcripts:
            name = _id_of(t, counted)
            _put(found, t, Place(t.model or "", by_id[name].benchmark, name, t.repeat or 0))
        return Match(places=found, prompts=list(by_id.values()))
    by_text: dict[str, list[str]] = defaultdict(list)
    for prompt in by_id.values():
        by_text[last_user_text(prompt.messages)].append(prompt.id)
    for t in transcripts:
        spot = _spot(t, by_id, by_text, counted)
        if spot is None:
            lost.append(t)
        else:
            _put(found, t, Place(t.model or "", benchmark.name, *spot))
    if not found:
        raise DataError(
            f"none of the {len(transcripts):,} transcripts belongs to a prompt of "
            f"{benchmark.name}, by id or by text; leave --benchmark out to take the prompts from "
            f"the files. The first is {_beginning(lost[0])}"
        )
    used = {spot.prompt for spot in found}
    return Match(
        places=found,
        prompts=list(asked_for(by_id.values(), used)),
        unmatched=len(lost),
        first_unmatched=_beginning(lost[0]) if lost else "",
    )


def _spot(
    t: Transcript,
    by_id: dict[str, Prompt],
    by_text: dict[str, list[str]],
    counted: Counter[tuple[str, str]],
) -> tuple[str, int] | None:
    """Prompt and repeat of a transcript; None where it belongs to no prompt."""
    text = last_user_text(t.messages)
    named = by_id.get(t.id or "")
    if named is not None and (not text or last_user_text(named.messages) == text):
        return named.id, t.repeat or 0
    names = by_text.get(text) if text else None
    if not names:
        return None
    # A benchmark may have one text twice, and then the turns go round.
    said = text if t.repeat is None else f"{t.repeat}\0{text}"
    turn = counted[t.model or "", said]
    counted[t.model or "", said] += 1
    name = names[turn % len(names)]
    return _again(name, 1 + turn // len(names)), t.repeat or 0


def _put(found: dict[Place, Transcript], t: Transcript, spot: Place) -> None:
    before = found.setdefault(spot, t)
    if before is not t:
        raise DataError(
            f"{t.where}: {spot.model} has answered prompt '{one_line(spot.prompt, 60)}' already, "
            f"in {before.where}; give each row an id of its own, or a column repeat (0, 1, ...)"
        )


def _beginning(t: Transcript) -> str:
    text = one_line(last_user_text(t.messages), 60)
    return (
        f"{t.where}"
        + (f", id {one_line(t.id, 40)}" if t.id else "")
        + (f", '{text}...'" if text else "")
    )
