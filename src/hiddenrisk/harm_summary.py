"""What summary.json says of how harmful unsafe texts are, from the records of a run."""

import math
from array import array
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from hiddenrisk.cell import LABELS, SCORED_OUTCOMES, Cell, short
from hiddenrisk.comparing import who_against_whom
from hiddenrisk.headline import headline_cell
from hiddenrisk.label_sets.base import positive
from hiddenrisk.opening import Opened
from hiddenrisk.records import Records
from hiddenrisk.scoring import key_of
from hiddenrisk.stats.families import holm
from hiddenrisk.stats.harmfulness import Text, correlation, mean, naive, overlap
from hiddenrisk.store import REWARD_MODELS, REWARDS, records
from hiddenrisk.types import Part

SCORE = "score"
"""The reward model's own score, beside its attributes."""


_Key = tuple[int, Part]
"""The first bits of a response's key, and the part."""


class _Reward(msgspec.Struct):
    key: str
    response: str
    prompt: str
    part: Part
    reward: str
    score: float | None = None
    reason: str = ""
    attributes: dict[str, float] = {}
    cut: bool = False
    length: int = 0


class _Valued(NamedTuple):
    """A score, small: there may be hundreds of thousands."""

    response: str
    prompt: str
    length: int
    cut: bool
    values: "array[float]"
    """In the order of `_names`; NaN for one that the record lacks."""


class Unsafe(NamedTuple):
    """An unsafe text of a run."""

    model: str
    benchmark: str
    part: Part


_Scored = dict[tuple[str, str, Part], dict[str, list[_Valued]]]
_Failed = dict[tuple[str, str, Part, str], Counter[str]]


class _Found(NamedTuple):
    """All that is known of the rewards of the unsafe texts."""

    scored: _Scored
    """By reward model, benchmark and part: the rewards of each model."""
    failed: _Failed
    """By reward model, benchmark, part and model: how often for which reason."""


def reward_models(folder: Path) -> dict[str, dict[str, Any]]:
    """What reward models scored texts of a run, by label: identity, headline, attributes."""
    try:
        return msgspec.json.decode((folder / REWARD_MODELS).read_bytes(), type=dict[str, Any])
    except (OSError, msgspec.DecodeError, UnicodeDecodeError):
        return {}


def harm_json(
    folder: Path, there: Records, opened: Opened, roles: Mapping[str, Any]
) -> dict[str, Any] | None:
    """How harmful the unsafe texts of a run are; None where no reward model scored any.

    Args:
        folder: the run directory.
        there: its records.
        opened: its plan, with the judges of the headline.
        roles: reference and pairs of the plan, as summary.json has them.
    """
    models = reward_models(folder)
    if not models:
        return None
    unsafe = {(cell.keys[row], text.part): text for cell, row, text in unsafe_texts(there, opened)}
    counts = Counter(unsafe.values())
    found = _read(folder, unsafe, models)
    benchmarks: dict[str, Any] = defaultdict(dict)
    for benchmark, part in dict.fromkeys((text.benchmark, text.part) for text in counts):
        of_each = {m.label: counts[Unsafe(m.label, benchmark, part)] for m in opened.models}
        by_reward = {
            reward: _of_reward(found, reward, about, benchmark, part, of_each, roles)
            for reward, about in models.items()
        }
        benchmarks[benchmark][part.value] = {
            "rewards": by_reward,
            "agreement": _agreement(found, list(models), benchmark, part),
        }
    return {"rewards": dict(models), "benchmarks": dict(benchmarks)}


def _names(about: Mapping[str, Any]) -> list[str]:
    """The values of each record of a reward model: its score, then its attributes."""
    return [SCORE, *(name for name in about["attributes"] if name != SCORE)]


def _read(
    folder: Path, unsafe: Mapping[_Key, Unsafe], models: Mapping[str, Mapping[str, Any]]
) -> _Found:
    """What is there; of a text that was scored twice the last score."""
    names = {reward: _names(about) for reward, about in models.items()}
    last: dict[tuple[_Key, str], _Valued | str] = {}
    for reward in records(folder / REWARDS, _Reward):
        key = short(reward.response), reward.part
        if key not in unsafe or reward.reward not in names:
            continue
        if reward.score is not None:
            last[key, reward.reward] = _valued(reward, names[reward.reward])
        elif not isinstance(last.get((key, reward.reward)), _Valued) and _is_of(reward, models):
            last[key, reward.reward] = reward.reason
    scored: _Scored = defaultdict(lambda: defaultdict(list))
    failed: _Failed = defaultdict(Counter)
    for (key, label), one in last.items():
        text = unsafe[key]
        where = (label, text.benchmark, text.part)
        if isinstance(one, _Valued):
            scored[where][text.model].append(one)
        else:
            failed[*where, text.model][one] += 1
    return _Found(scored, failed)


def _is_of(failure: _Reward, models: Mapping[str, Mapping[str, Any]]) -> bool:
    """Whether a failure is of the reward model that has the label now.

    An endpoint that never gave a score may have had it before. Scores need no look: with the
    first of them a label is taken.
    """
    identity = models[failure.reward]["identity"]
    return failure.key == key_of(identity, failure.response, failure.part)


def _valued(reward: _Reward, names: Sequence[str]) -> _Valued:
    given = {SCORE: reward.score, **reward.attributes}
    values = (given.get(name) for name in names)
    return _Valued(
        response=reward.response,
        prompt=reward.prompt,
        length=reward.length,
        cut=reward.cut,
        values=array("d", (math.nan if value is None else value for value in values)),
    )


def _of_reward(
    found: _Found,
    reward: str,
    about: Mapping[str, Any],
    benchmark: str,
    part: Part,
    counts: Mapping[str, int],
    roles: Mapping[str, Any],
) -> dict[str, Any]:
    by_model = found.scored.get((reward, benchmark, part), {})
    names = _names(about)
    models = {
        label: _of_model(
            by_model.get(label, []),
            names,
            n,
            found.failed.get((reward, benchmark, part, label), Counter()),
        )
        for label, n in counts.items()
    }
    pairs: list[dict[str, Any]] = [
        _pair(by_model.get(one, []), by_model.get(other, []), names, about["headline"])
        | {"first": one, "second": other, "role": role}
        for one, other, role in who_against_whom(list(counts), roles)
    ]
    overlaps: list[dict[str, Any]] = [pair["overlap"] for pair in pairs]
    _correct([pair["naive"] for pair in pairs])
    _correct(overlaps)
    _correct([one["length"] for one in overlaps])
    return {"headline": about["headline"], "models": models, "pairs": pairs}


def _correct(told: Sequence[dict[str, Any]]) -> None:
    """Tell beside each p what it is among all pairs of a table; a test by itself needs none."""
    if sum(one["p"] is not None for one in told) > 1:
        for one, p in zip(told, holm([one["p"] for one in told]), strict=True):
            one["p_holm"] = p


def _of_model(
    rewards: Sequence[_Valued], names: Sequence[str], unsafe: int, failed: Mapping[str, int]
) -> dict[str, Any]:
    lost = sum(failed.values())
    return {
        "unsafe": unsafe,
        "scored": len(rewards),
        "cut": sum(reward.cut for reward in rewards),
        "failed": lost,
        "failures": dict(sorted(failed.items())),
        "missing": unsafe - len(rewards) - lost,
        "characters": sum(r.length for r in rewards) / len(rewards) if rewards else None,
        "means": {
            name: msgspec.to_builtins(mean(_texts(rewards, place)))
            for place, name in enumerate(names)
        },
    }


def _pair(
    first: Sequence[_Valued], second: Sequence[_Valued], names: Sequence[str], headline: str
) -> dict[str, Any]:
    a, b = (_texts(side, names.index(headline)) for side in (first, second))
    return {
        "naive": msgspec.to_builtins(naive(a, b)),
        "overlap": msgspec.to_builtins(overlap(a, b)),
        "attributes": {
            name: _brief(_texts(first, place), _texts(second, place))
            for place, name in enumerate(names)
        },
    }


def _brief(first: Sequence[Text], second: Sequence[Text]) -> dict[str, Any]:
    """Of the overlap of one attribute what stands in a table."""
    whole = msgspec.to_builtins(overlap(first, second))
    return {name: whole[name] for name in ("value", "low", "high", "p", "effect", "n")}


def _texts(rewards: Sequence[_Valued], place: int) -> list[Text]:
    """What the statistics need of one value; without what lacks it."""
    return [
        Text(r.prompt, r.values[place], r.length)
        for r in rewards
        if not math.isnan(r.values[place])
    ]


def _agreement(
    found: _Found, rewards: Sequence[str], benchmark: str, part: Part
) -> list[dict[str, Any]]:
    """How alike two reward models rank the texts that both scored, of all models together."""
    values = {
        reward: {
            one.response: one.values[0]
            for some in found.scored.get((reward, benchmark, part), {}).values()
            for one in some
        }
        for reward in rewards
    }
    return [
        {"rewards": [a, b], "spearman": msgspec.to_builtins(correlation(values[a], values[b]))}
        for a, b in combinations(rewards, 2)
    ]


def unsafe_rows(cell: Cell, part: Part, judges: Sequence[str]) -> Iterator[int]:
    """The texts on harmful prompts that the headline finds unsafe: a safety below one half."""
    alike = cell.alike(part, judges)
    unsafe = [
        LABELS[cell.labels[row]] == "unsafe"
        and outcome in SCORED_OUTCOMES
        and isinstance(said, float)
        and positive(said)
        for row, (outcome, said) in zip(alike.first, alike.outcomes, strict=True)
    ]
    return (row for row, kind in enumerate(alike.kinds) if unsafe[kind])


def unsafe_texts(found: Records, opened: Opened) -> Iterator[tuple[Cell, int, Unsafe]]:
    """The unsafe texts of a run, each with its cell and row there."""
    for benchmark in opened.benchmarks:
        judges = [j.label for j in opened.judges_of(benchmark)]
        for model in opened.models:
            cell = headline_cell(opened, found, model.label, benchmark)
            for part in opened.parts_of(benchmark):
                for row in unsafe_rows(cell, part, judges):
                    yield cell, row, Unsafe(model.label, benchmark.name, part)
