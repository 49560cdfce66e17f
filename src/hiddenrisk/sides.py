"""Models of stored runs, ready to be held against each other: who they are, and how they count.

Two runs compare where all that decides a number but the model is the same. What it is, each
run tells in words; where the words differ nothing is compared, unless the user says so.
"""

from collections.abc import Collection, Sequence
from itertools import combinations
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np
from msgspec.structs import replace

from hiddenrisk.accounting import roles_of
from hiddenrisk.asking import digest
from hiddenrisk.comparing import MOST_MODELS, who_against_whom
from hiddenrisk.errors import UsageError, unknown
from hiddenrisk.measured import FACTS, facts_of
from hiddenrisk.opening import Opened
from hiddenrisk.panels import read_manifest
from hiddenrisk.plan import Settings
from hiddenrisk.records import read_records
from hiddenrisk.reopening import open_headline
from hiddenrisk.scores import Column, columns
from hiddenrisk.store import RESPONSES, read_at
from hiddenrisk.types import Label, Message, Part

Place = tuple[str, Part, Label]
"""Benchmark, part, and label of the prompts."""
KINDS: dict[Label, str] = {"unsafe": "harmful", "safe": "harmless"}
"""What prompts of a label are called."""


class StoredRun(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """A run with its records counted."""

    folder: Path
    opened: Opened
    columns: dict[str, dict[Place, Column]]
    """By model."""
    facts: dict[str, dict[str, str]]
    """What decides the numbers of each benchmark, in words: {benchmark: {fact: words}}."""
    imported: bool

    @property
    def labels(self) -> list[str]:
        """Its models."""
        return [model.label for model in self.opened.models]


class Side(NamedTuple):
    """A model of a run."""

    run: StoredRun
    model: str

    @property
    def columns(self) -> dict[Place, Column]:
        """What each of its samples counts."""
        return self.run.columns.get(self.model, {})


class Pairing(NamedTuple):
    """Two models to compare, and what they are to be called."""

    first: Side
    second: Side
    names: tuple[str, str]
    role: str = ""


def open_run(folder: Path, settings: Settings) -> StoredRun:
    """A run with what each of its samples counts; nobody is asked.

    Raises:
        StoreError: it is no run that can be opened.
        UsageError: a judge's prompt file is missing.
        DataError: a benchmark's data are missing.
    """
    manifest = read_manifest(folder)
    opened = open_headline(folder, settings, strict=False)
    found = read_records(folder, [j.label for j in opened.fallbacks])
    by_model: dict[str, dict[Place, Column]] = {}
    for column in columns(opened, found):
        place = (column.benchmark, column.part, column.label)
        by_model.setdefault(column.model, {})[place] = column
    return StoredRun(
        folder=folder,
        opened=opened,
        columns=by_model,
        facts={b.name: facts_of(opened, manifest, b) for b in opened.benchmarks},
        imported=manifest.imported is not None,
    )


def split_side(text: str) -> tuple[Path, str | None]:
    """The folder and, if any, the model that `RUN` or `RUN:MODEL` names; labels may have colons.

    Raises:
        UsageError: there is no such folder.
    """
    if Path(text).is_dir():
        return Path(text), None
    for at in (place for place, sign in enumerate(text) if sign == ":"):
        if Path(text[:at]).is_dir() and text[at + 1 :]:
            return Path(text[:at]), text[at + 1 :]
    raise UsageError(
        f"'{text}' is no run directory; write RUN, or RUN:MODEL for one of its models, where RUN "
        "is the folder that was given as --out"
    )


def pairings(texts: Sequence[str], settings: Settings) -> list[Pairing]:
    """Who is to be compared with whom.

    One run: its models, as its plan has it or every two. Two runs of several models: those of
    one label. Else every two of the models that are named.

    Raises:
        UsageError: a model is unknown or must be named, or there are no two.
        StoreError: a folder is no run.
        DataError: a benchmark's data are missing.
    """
    named = [split_side(text) for text in texts]
    runs = {folder: open_run(folder, settings) for folder, _ in named}
    opened = [(runs[folder], label) for folder, label in named]
    if len(opened) == 1:
        return _within(*opened[0])
    if len(opened) == 2 and all(label is None for _, label in opened):
        (first, _), (second, _) = opened
        if len(first.labels) > 1 or len(second.labels) > 1:
            return matched(first, second)
    sides = [one_side(run, label) for run, label in opened]
    for side in sides:
        if sides.count(side) > 1:
            raise UsageError(f"{side.model} of {side.run.folder} is named twice; name each once")
    if len(sides) > MOST_MODELS:
        raise UsageError(
            f"{len(sides)} models are too many to compare every two of them; name {MOST_MODELS} at most"
        )
    return [Pairing(a, b, _names(a, b)) for a, b in combinations(sides, 2)]


def _within(run: StoredRun, label: str | None) -> list[Pairing]:
    if label is not None or len(run.labels) < 2:
        only = one_side(run, label).model  # a label that is none is told as that
        raise UsageError(
            f"there is one model only, {only} of {run.folder}; name another one to compare it "
            "with: RUN, or RUN:MODEL"
        )
    who = who_against_whom(run.labels, roles_of(run.opened))
    if not who:
        raise UsageError(
            f"{run.folder} has {len(run.labels)} models, too many to compare every two of them; "
            f"name those to compare: {run.folder}:{run.labels[0]} {run.folder}:{run.labels[1]}"
        )
    return [Pairing(Side(run, a), Side(run, b), (a, b), role) for a, b, role in who]


def matched(first: StoredRun, second: StoredRun) -> list[Pairing]:
    """The models of one label in two runs.

    Raises:
        UsageError: there are none.
    """
    shared = [label for label in first.labels if label in second.labels]
    if not shared:
        raise UsageError(
            f"no model of {first.folder} ({', '.join(first.labels)}) has the label of one of "
            f"{second.folder} ({', '.join(second.labels)}); name the pair: "
            f"{first.folder}:{first.labels[0]} {second.folder}:{second.labels[0]}"
        )
    sides = [(Side(first, label), Side(second, label)) for label in shared]
    return [Pairing(a, b, _names(a, b)) for a, b in sides]


class Matched(NamedTuple):
    """Baseline and model, pair by pair, and who has no partner."""

    pairs: list[Pairing]
    notes: list[str]


def gate_pairings(text: str, baseline: str, settings: Settings) -> Matched:
    """A run's models with those of a baseline: by label, or the two that are named.

    A model that is alone in its run needs no label, and is held against the only one of the
    other whatever they are called.

    Raises:
        UsageError: a model has no partner.
        StoreError: a folder is no run.
        DataError: a benchmark's data are missing.
    """
    (folder, label), (against, other) = split_side(text), split_side(baseline)
    run = open_run(folder, settings)
    base = run if against.samefile(folder) else open_run(against, settings)
    if label is None and other is None and base is run:
        raise UsageError(
            f"{folder} is held against itself; name another baseline, or two of its models"
        )
    if label is None and other is None and (len(run.labels) > 1 or len(base.labels) > 1):
        if missing := [name for name in run.labels if name not in base.labels]:
            raise UsageError(
                f"{against} has no model called {', '.join(missing)} ({against} has "
                f"{', '.join(base.labels)}); name the pair: {folder}:{missing[0]} --against "
                f"{against}:{base.labels[0]}"
            )
        alone = [name for name in base.labels if name not in run.labels]
        notes = [f"{', '.join(alone)} of {against} is not in {folder}"] if alone else []
        return Matched(matched(base, run), notes)
    first = one_side(base, other if other or label not in base.labels else label)
    second = one_side(run, label if label or other not in run.labels else other)
    if first.run is second.run and first.model == second.model:
        raise UsageError(
            f"{second.model} of {folder} is held against itself; name another baseline"
        )
    return Matched([Pairing(first, second, _names(first, second))], [])


def one_side(run: StoredRun, label: str | None) -> Side:
    """A model of a run; the only one needs no label.

    Raises:
        UsageError: it is not there, or must be named.
    """
    if label is None and len(run.labels) == 1:
        return Side(run, run.labels[0])
    if label is None:
        raise UsageError(
            f"{run.folder} has {len(run.labels)} models; say which: "
            f"{', '.join(f'{run.folder}:{name}' for name in run.labels)}"
        )
    if label not in run.labels:
        raise unknown("model", label, run.labels, see=f"Those are the models of {run.folder}.")
    return Side(run, label)


def _names(first: Side, second: Side) -> tuple[str, str]:
    """What to call two models: by their labels, or else with their runs as well."""
    if first.model != second.model:
        return first.model, second.model
    a, b = (side.run.folder for side in (first, second))
    if a.name != b.name:
        return f"{a.name}:{first.model}", f"{b.name}:{second.model}"
    return f"{a}:{first.model}", f"{b}:{second.model}"


def differences(first: StoredRun, second: StoredRun, benchmark: str) -> dict[str, tuple[str, str]]:
    """What decides the numbers of a benchmark and is not the same: {fact: (here, there)}."""
    here, there = first.facts[benchmark], second.facts[benchmark]
    return {
        fact: (here.get(fact, "none"), there.get(fact, "none"))
        for fact in FACTS
        if here.get(fact) != there.get(fact)
    }


def check_alike(
    pairs: Sequence[Pairing], benchmarks: Collection[str], allowed: Collection[str]
) -> list[dict[str, str]]:
    """See that what is compared was measured alike.

    Args:
        pairs: who is compared with whom.
        benchmarks: on what.
        allowed: facts that may differ.

    Returns:
        What differs and is allowed to: benchmark, fact, first, second.

    Raises:
        UsageError: something else differs.
    """
    told: list[dict[str, str]] = []
    refused: dict[str, str] = {}
    for a, b in dict.fromkeys(
        (p.first.run, p.second.run) for p in pairs if p.first.run is not p.second.run
    ):
        for name in (n for n in a.facts if n in b.facts and n in benchmarks):
            for fact, (here, there) in differences(a, b, name).items():
                told.append({"benchmark": name, "fact": fact, "first": here, "second": there})
                if fact not in allowed:
                    refused.setdefault(
                        fact, f"{name}: {fact} {here} in {a.folder}, {there} in {b.folder}"
                    )
    if refused:
        going_on = ",".join(dict.fromkeys([*allowed, *refused]))
        raise UsageError(
            f"the runs were not measured alike, so that their numbers do not compare. "
            f"{'; '.join(refused.values())}. Make them alike (`hiddenrisk judge RUN` judges a run "
            f"again), or go on all the same with --allow {going_on}"
        )
    return told


def provenance(who: Sequence[Pairing]) -> list[str]:
    """What a reader must know of where the runs come from."""
    runs = dict.fromkeys(side.run for pairing in who for side in (pairing.first, pairing.second))
    notes = [
        f"{run.folder} was recorded elsewhere; how its responses were made is not known"
        for run in runs
        if run.imported
    ]
    where: dict[str, list[str]] = {}
    for run in runs:
        for warning in run.opened.unverified:
            where.setdefault(warning, []).append(str(run.folder))
    return notes + [
        f"UNVERIFIED data in {', '.join(folders)}: {warning}" for warning, folders in where.items()
    ]


def columns_of(pairing: Pairing, place: Place, notes: dict[str, None]) -> tuple[Column, Column]:
    """Both columns of a place, without prompts that only have the id in common.

    Args:
        pairing: who is compared.
        place: on what; both sides have it.
        notes: where to note what was left out.
    """
    a, b = pairing.first.columns[place], pairing.second.columns[place]
    runs = pairing.first.run, pairing.second.run
    if runs[0] is not runs[1] and "benchmark" in differences(*runs, place[0]):
        a, b, dropped = _same_questions(a, b, *runs)
        if dropped:
            notes[
                f"{place[0]}: {dropped} {KINDS[place[2]]} prompts have one id in both runs and "
                "not one text; they are left out"
            ] = None
    return a, b


def _same_questions(
    first: Column, second: Column, a: StoredRun, b: StoredRun
) -> tuple[Column, Column, int]:
    """Two columns without the prompts that go by one id and are not one text.

    Only prompts of benchmarks that differ can be such. What was never answered has no text
    here, and stays.

    Returns:
        Both columns, and how many prompts were left out.
    """
    here, there = _texts(first, a.folder), _texts(second, b.folder)
    other = {p for p, text in here.items() if there.get(p, text) != text}
    if not other:
        return first, second, 0
    return _without(first, other), _without(second, other), len(other)


class _Asked(msgspec.Struct):
    messages: tuple[Message, ...]


def _texts(column: Column, folder: Path) -> dict[int, str]:
    """A digest of what each prompt says, by prompt."""
    there = np.flatnonzero(column.offsets >= 0)
    asked = read_at(folder / RESPONSES, map(int, column.offsets[there]), _Asked)
    prompts = map(int, column.prompts[there])
    return {prompt: digest(one.messages) for prompt, one in zip(prompts, asked, strict=True)}


def _without(column: Column, prompts: Collection[int]) -> Column:
    kept = np.array([int(prompt) not in prompts for prompt in column.prompts], np.bool_)
    arrays = ("prompts", "repeats", "scores", "outcomes", "categories", "offsets")
    return replace(column, **{name: getattr(column, name)[kept] for name in arrays})
