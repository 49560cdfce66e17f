"""What summary.json says of how harmful unsafe texts are, from the records of a run."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from hiddenrisk.cell import LABELS, SCORED_OUTCOMES, Cell, short
from hiddenrisk.comparing import who_against_whom
from hiddenrisk.label_sets.base import positive
from hiddenrisk.opening import Opened
from hiddenrisk.records import Records
from hiddenrisk.stats.harmfulness import Text, correlation, mean, naive, overlap
from hiddenrisk.store import REWARD_MODELS, REWARDS, records
from hiddenrisk.types import Part

SCORE = "score"
"""The reward model's own score, beside its attributes."""


_Key = tuple[int, Part]
"""The first bits of a response's key, and the part."""


class _Reward(msgspec.Struct):
    response: str
    model: str
    benchmark: str
    prompt: str
    part: Part
    reward: str
    score: float | None = None
    reason: str = ""
    attributes: dict[str, float] = {}
    cut: bool = False
    length: int = 0


class Unsafe(NamedTuple):
    """An unsafe text of a run."""

    model: str
    benchmark: str
    part: Part


_Scored = dict[tuple[str, str, Part], dict[str, list[_Reward]]]
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
    labels = [model.label for model in opened.models]
    found = _read(folder, unsafe)
    benchmarks: dict[str, Any] = defaultdict(dict)
    for benchmark, part in dict.fromkeys((text.benchmark, text.part) for text in unsafe.values()):
        counts = {
            label: sum(text == Unsafe(label, benchmark, part) for text in unsafe.values())
            for label in labels
        }
        by_reward = {
            reward: _of_reward(found, reward, about, benchmark, part, counts, roles)
            for reward, about in models.items()
        }
        benchmarks[benchmark][part.value] = {
            "rewards": by_reward,
            "agreement": _agreement(found, list(models), benchmark, part),
        }
    return {"rewards": dict(models), "benchmarks": dict(benchmarks)}


def _read(folder: Path, unsafe: Mapping[_Key, Unsafe]) -> _Found:
    """What is there; of a text that was scored twice the last score."""
    last: dict[tuple[str, Part, str], _Reward] = {}
    for reward in records(folder / REWARDS, _Reward):
        place = (reward.response, reward.part, reward.reward)
        if (short(reward.response), reward.part) not in unsafe:
            continue
        if reward.score is not None or place not in last:
            last[place] = reward
    scored: _Scored = defaultdict(lambda: defaultdict(list))
    failed: _Failed = defaultdict(Counter)
    for reward in last.values():
        where = (reward.reward, reward.benchmark, reward.part)
        if reward.score is None:
            failed[*where, reward.model][reward.reason] += 1
        else:
            scored[where][reward.model].append(reward)
    return _Found(scored, failed)


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
    names = [SCORE, *(name for name in about["attributes"] if name != SCORE)]
    models = {
        label: _of_model(
            by_model.get(label, []),
            names,
            n,
            found.failed.get((reward, benchmark, part, label), Counter()),
        )
        for label, n in counts.items()
    }
    pairs = [
        _pair(by_model.get(one, []), by_model.get(other, []), names, about["headline"])
        | {"first": one, "second": other, "role": role}
        for one, other, role in who_against_whom(list(counts), roles)
    ]
    return {"headline": about["headline"], "models": models, "pairs": pairs}


def _of_model(
    rewards: Sequence[_Reward], names: Sequence[str], unsafe: int, failed: Mapping[str, int]
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
        "means": {name: msgspec.to_builtins(mean(list(_texts(rewards, name)))) for name in names},
    }


def _pair(
    first: Sequence[_Reward], second: Sequence[_Reward], names: Sequence[str], headline: str
) -> dict[str, Any]:
    a, b = (list(_texts(side, headline)) for side in (first, second))
    return {
        "naive": msgspec.to_builtins(naive(a, b)),
        "overlap": msgspec.to_builtins(overlap(a, b)),
        "attributes": {
            name: _brief(list(_texts(first, name)), list(_texts(second, name))) for name in names
        },
    }


def _brief(first: Sequence[Text], second: Sequence[Text]) -> dict[str, Any]:
    """Of the overlap of one attribute what stands in a table."""
    whole = msgspec.to_builtins(overlap(first, second))
    return {name: whole[name] for name in ("value", "low", "high", "p", "effect", "n")}


def _texts(rewards: Sequence[_Reward], name: str) -> Iterator[Text]:
    for reward in rewards:
        value = reward.score if name == SCORE else reward.attributes.get(name)
        if value is not None:
            yield Text(reward.prompt, value, reward.length)


def _agreement(
    found: _Found, rewards: Sequence[str], benchmark: str, part: Part
) -> list[dict[str, Any]]:
    """How alike two reward models rank the texts that both scored, of all models together."""
    values = {
        reward: {
            one.response: one.score
            for some in found.scored.get((reward, benchmark, part), {}).values()
            for one in some
            if one.score is not None
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
            cell = found.cells.get((model.label, benchmark.name))
            if cell is None:
                continue
            cell.abstaining, cell.rule = opened.abstaining(), opened.plan.jury
            cell.cascade = opened.cascade_of(benchmark)
            for part in opened.parts_of(benchmark):
                for row in unsafe_rows(cell, part, judges):
                    yield cell, row, Unsafe(model.label, benchmark.name, part)
