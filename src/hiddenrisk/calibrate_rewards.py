"""Reward models against human preferences, from beginning to end: `hiddenrisk calibrate --reward`.

Scores are records of the folder (`rewards.jsonl`), as in a run: what is there is not scored
again. Results of reward models that are not asked now stay in the file.
"""

import hashlib
import heapq
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from hiddenrisk import __version__
from hiddenrisk.asking import digest, now
from hiddenrisk.assess import Tally
from hiddenrisk.errors import StoreError, UsageError
from hiddenrisk.label_sets.preferences import Pair, PairSet
from hiddenrisk.plan import Settings
from hiddenrisk.preferred import (
    FORMAT,
    PREFERENCES,
    Both,
    Preferred,
    Valued,
    measure,
    read_preferences,
)
from hiddenrisk.rewards import open_reward
from hiddenrisk.rewards.base import Item, RewardModel
from hiddenrisk.rubric_reward import NAME
from hiddenrisk.scoring import CHUNK, Text, as_stored, policy_of, score
from hiddenrisk.store import (
    RESPONSES,
    REWARD_FILES,
    REWARDS,
    Journal,
    cannot_keep,
    records,
    write_json,
)
from hiddenrisk.types import Part

_SIDES = ("chosen", "rejected")


class Preferences(NamedTuple):
    """What is to be measured on what, with every name resolved."""

    rewards: tuple[RewardModel, ...]
    sets: tuple[PairSet, ...]
    command: str

    @property
    def leaves_machine(self) -> bool:
        """Whether a text goes to an endpoint that may cost money."""
        return not all(reward.local for reward in self.rewards)


def open_preferences(
    sets: Sequence[PairSet],
    specs: Sequence[str],
    settings: Settings,
    limit: int | None,
    command: str,
    *,
    batch_tokens: int,
) -> Preferences:
    """Resolve the reward models; no weights are loaded and nothing is sent yet.

    Args:
        sets: pairs of replies.
        specs: reward models.
        settings: how endpoints are asked.
        limit: pairs of each set at most: the same ones always, and a larger draw holds a
            smaller one.
        command: what was typed.
        batch_tokens: of a batch on this machine.

    Raises:
        UsageError: a reward model is unknown, or two things have one name.
    """
    if any(spec.rpartition("=")[2] == NAME for spec in specs):
        raise UsageError(
            f"{NAME} is what a judge of a run graded, and no run has these pairs; measure that "
            "judge: hiddenrisk calibrate --judge SPEC?form=strongreject"
        )
    policy = policy_of(settings)
    rewards = tuple(open_reward(s, batch_tokens=batch_tokens, policy=policy) for s in specs)
    for what, names in (
        ("reward models are", [r.label for r in rewards]),
        ("sets are", [s.name for s in sets]),
    ):
        if twice := next((name for name in names if names.count(name) > 1), None):
            raise UsageError(f"two {what} called '{twice}'; name them apart")
    return Preferences(rewards, tuple(_drawn(s, limit) for s in sets), command)


def _drawn(pairs: PairSet, limit: int | None) -> PairSet:
    if limit is None or limit >= len(pairs.pairs):
        return pairs
    some = heapq.nsmallest(limit, pairs.pairs, key=lambda p: hashlib.sha256(p.id.encode()).digest())
    return msgspec.structs.replace(pairs, pairs=tuple(sorted(some, key=lambda p: int(p.id))))


def carry_out(
    wanted: Preferences,
    folder: Path,
    display: Callable[[Tally], AbstractContextManager[None]],
) -> dict[str, Any]:
    """Have each reply scored that is not scored yet, and count who is preferred.

    Raises:
        StoreError: the folder is a run's, or cannot be written.
        UsageError: a reward model cannot be loaded or reached, or a label stands for another
            one there. What was scored is kept.
        KeyboardInterrupt: what was scored is kept.
    """
    if (folder / RESPONSES).exists():
        raise StoreError(f"{folder} is a run; choose another --out for a calibration")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise cannot_keep(folder, error) from error
    before = _others(wanted, folder)
    with Journal(folder, REWARD_FILES) as journal:
        tally = Tally(2 * sum(len(s.pairs) for s in wanted.sets) * len(wanted.rewards))
        there = {seen.key for seen in records(folder / REWARDS, _Seen) if seen.score is not None}
        with display(tally):
            for reward in wanted.rewards:
                score(reward, _chunks(reward, wanted.sets), journal, there, tally)
        return _conclude(wanted, folder, before)


def _others(wanted: Preferences, folder: Path) -> list[dict[str, Any]]:
    """The results in a folder's file that are not measured anew.

    Raises:
        UsageError: a label stands for another reward model there, or the file is no such file.
    """
    if not (folder / PREFERENCES).exists():
        return []
    now_measured = {(r.label, s.name) for r in wanted.rewards for s in wanted.sets}
    identities = {r.label: as_stored(r.identity) for r in wanted.rewards}
    found: list[Preferred] = read_preferences(folder)
    for one in found:
        if identities.get(one.reward, one.identity) != one.identity:
            raise UsageError(
                f"in {folder}, the reward model {one.reward} is another one or was run otherwise; "
                "name it apart: --reward NEW=SPEC"
            )
    whole = msgspec.json.decode((folder / PREFERENCES).read_bytes())["results"]
    return [one for one in whole if (one["reward"], one["set"]) not in now_measured]


class _Seen(msgspec.Struct):
    key: str
    score: float | None = None


class _Scored(msgspec.Struct):
    key: str
    score: float | None = None
    attributes: dict[str, float] = {}
    reason: str = ""
    cut: bool = False


def _chunks(reward: RewardModel, sets: Sequence[PairSet]) -> Iterator[Sequence[Text]]:
    texts = (
        Text(
            item=Item(_key(reward, pair, side), pair.prompt, getattr(pair, side)),
            response=f"{pairs.name}:{pair.id}:{side}",
            model=side,
            benchmark=pairs.name,
            prompt=pair.id,
            repeat=0,
            part=Part.ANSWER,
        )
        for pairs in sets
        for pair in pairs.pairs
        for side in _SIDES
    )
    while chunk := list(islice(texts, CHUNK)):
        yield chunk


def _key(reward: RewardModel, pair: Pair, side: str) -> str:
    return digest(reward.identity, pair.prompt, getattr(pair, side))


def _conclude(wanted: Preferences, folder: Path, others: list[dict[str, Any]]) -> dict[str, Any]:
    """Count the scores of a folder, and write preferences.json."""
    results = list(others)
    for reward in wanted.rewards:
        valued = _valued(reward, wanted.sets, folder)
        for pairs in wanted.sets:
            both = [_both(reward, pair, valued) for pair in pairs.pairs]
            about = {
                "reward": reward.label,
                "identity": reward.identity,
                "headline": reward.headline,
                "title": pairs.title,
                "digest": pairs.digest,
                "odd": pairs.odd,
            }
            results.append(about | measure(pairs, both, _attributes(reward)))
    found = {
        "preferences": FORMAT,
        "hiddenrisk": __version__,
        "created": now(),
        "command": wanted.command,
        "results": results,
    }
    write_json(folder / PREFERENCES, found)
    return found


def _attributes(reward: RewardModel) -> tuple[str, ...]:
    """Those beside the headline."""
    return tuple(name for name in reward.attributes if name != reward.headline)


def _valued(reward: RewardModel, sets: Sequence[PairSet], folder: Path) -> dict[str, Valued]:
    """What the reward model gives the replies, by key; of a failure the last reason."""
    wanted = {_key(reward, p, side) for s in sets for p in s.pairs for side in _SIDES}
    names = _attributes(reward)
    found: dict[str, Valued] = {}
    for one in records(folder / REWARDS, _Scored):
        if one.key not in wanted:
            continue
        if one.score is not None:
            values = (one.score, *(one.attributes[name] for name in names))
            found[one.key] = Valued(values, cut=one.cut)
        elif one.key not in found or found[one.key].values is None:
            found[one.key] = Valued(None, one.reason)
    return found


def _both(reward: RewardModel, pair: Pair, valued: dict[str, Valued]) -> Both:
    one, other = (valued.get(_key(reward, pair, side), Valued(None)) for side in _SIDES)
    return pair, one, other
