"""Unsafe texts of a run, and what reward models give them: `hiddenrisk harm`.

Scores are records in the run like all others (`rewards.jsonl`): what is there is not asked
for again, and a failure is none. Who is unsafe, the judges of the headline say.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
from msgspec.structs import replace

from hiddenrisk.asking import digest, now
from hiddenrisk.assess import Tally
from hiddenrisk.errors import UsageError
from hiddenrisk.harm_summary import reward_models, unsafe_texts
from hiddenrisk.opening import Opened
from hiddenrisk.plan import Settings
from hiddenrisk.records import Records, read_records
from hiddenrisk.reopening import open_headline
from hiddenrisk.rewards import open_reward
from hiddenrisk.rewards.base import Item, RewardModel, Scored, Unscored
from hiddenrisk.rewards.local import BATCH_TOKENS
from hiddenrisk.rubric_reward import NAME, RubricReward
from hiddenrisk.run import report
from hiddenrisk.store import (
    RESPONSES,
    REWARD_FILES,
    REWARD_MODELS,
    REWARDS,
    Journal,
    read_at,
    records,
    write_json,
)
from hiddenrisk.types import Part, Response, Reward

_CHUNK = 2_048
"""Texts that are held at once: enough for batches of like length."""


class Harm(NamedTuple):
    """What is to be scored, with every name resolved."""

    opened: Opened
    rewards: tuple[RewardModel, ...]
    parts: tuple[Part, ...]


class Place(NamedTuple):
    """Where an unsafe text is."""

    offset: int
    part: Part


def open_harm(
    folder: Path,
    specs: Sequence[str],
    parts: Sequence[Part],
    settings: Settings,
    *,
    batch_tokens: int = BATCH_TOKENS,
) -> Harm:
    """Resolve the run and the reward models; no weights are loaded yet.

    Raises:
        StoreError: it is no run that can be opened.
        UsageError: a reward model is unknown, or two have one name.
    """
    opened = open_headline(folder, settings)
    rewards = tuple(
        RubricReward(folder) if text == NAME else open_reward(text, batch_tokens=batch_tokens)
        for text in specs
    )
    labels = [reward.label for reward in rewards]
    if twice := next((label for label in labels if labels.count(label) > 1), None):
        raise UsageError(f"two reward models are called '{twice}'; name them apart: NEW=SPEC")
    _check_labels(folder, rewards)
    unjudged = [
        p.value for p in parts if all(p not in opened.parts_of(b) for b in opened.benchmarks)
    ]
    if unjudged:
        raise UsageError(
            f"nobody judged the {unjudged[0]} in {folder}, so none of it is known to be unsafe; "
            f"run `hiddenrisk judge {folder} --parts {unjudged[0]}` with its judges first"
        )
    return Harm(opened, rewards, tuple(parts))


def _check_labels(folder: Path, rewards: Sequence[RewardModel]) -> None:
    """See that a label stands for one reward model in a run.

    Raises:
        UsageError: one stands for another there.
    """
    known = reward_models(folder)
    for reward in rewards:
        before = known.get(reward.label)
        if before is not None and before["identity"] != _as_stored(reward.identity):
            raise UsageError(
                f"in {folder}, the reward model {reward.label} is another one or was run otherwise; "
                f"name it apart: --reward NEW={reward.label}"
            )


def _as_stored(identity: dict[str, Any]) -> dict[str, Any]:
    return msgspec.json.decode(msgspec.json.encode(identity))


def unsafe_places(found: Records, harm: Harm) -> list[Place]:
    """Where the unsafe texts of a run are, in the order of the file."""
    return sorted(
        Place(cell.offsets[row], text.part)
        for cell, row, text in unsafe_texts(found, harm.opened)
        if text.part in harm.parts
    )


def score_run(
    harm: Harm, folder: Path, display: Callable[[Tally], AbstractContextManager[None]]
) -> dict[str, Any]:
    """Have each unsafe text scored that is not scored yet; then count the run again.

    Raises:
        StoreError: another process writes there, or the disk is full.
        UsageError: a reward model cannot be loaded or reached. What was scored is kept.
        KeyboardInterrupt: what was scored is kept.
    """
    with Journal(folder, REWARD_FILES) as journal:
        places = unsafe_places(read_records(folder, [j.label for j in harm.opened.fallbacks]), harm)
        known = reward_models(folder) | {r.label: _about(r) for r in harm.rewards}
        write_json(folder / REWARD_MODELS, known)
        tally = Tally(len(places) * len(harm.rewards))
        seen = records(folder / REWARDS, _Seen)
        there = {reward.key for reward in seen if reward.score is not None}
        with display(tally):
            for reward in harm.rewards:
                _score(reward, places, folder, journal, there, tally)
        return report(harm.opened, folder)


def _about(reward: RewardModel) -> dict[str, Any]:
    return {
        "identity": reward.identity,
        "headline": reward.headline,
        "attributes": list(reward.attributes),
    }


class _Seen(msgspec.Struct):
    key: str
    score: float | None = None


def _score(
    reward: RewardModel,
    places: Iterable[Place],
    folder: Path,
    journal: Journal,
    there: set[str],
    tally: Tally,
) -> None:
    left = iter(places)
    try:
        while chunk := list(islice(left, _CHUNK)):
            texts = dict(_texts(reward, chunk, folder))
            wanted = {key: text for key, text in texts.items() if key not in there}
            if isinstance(reward, RubricReward):
                reward.places = {key: (r.key, part) for key, (r, part, _) in wanted.items()}
            tally.kept += len(texts) - len(wanted)
            tally.skipped += len(texts) - len(wanted)
            tally.finished += len(texts) - len(wanted)
            for said in reward.score([item for _, _, item in wanted.values()]):
                response, part, _ = wanted[said.key]
                journal.append(_record(said, reward, response, part))
                there.add(said.key)
                tally.finished += 1
                tally.made += 1
                tally.failed += isinstance(said, Unscored)
                tally.tokens += (said.tokens or 0) if isinstance(said, Scored) else 0
    finally:
        reward.close()


def _texts(
    reward: RewardModel, places: Sequence[Place], folder: Path
) -> Iterator[tuple[str, tuple[Response, Part, Item]]]:
    """The texts by the keys of their scores."""
    found = read_at(folder / RESPONSES, (place.offset for place in places), Response)
    for response, place in zip(found, places, strict=True):
        key = digest(reward.identity, response.key, place.part)
        text = response.answer if place.part is Part.ANSWER else response.thinking
        yield key, (response, place.part, Item(key, response.messages, text or ""))


def _record(said: Scored | Unscored, reward: RewardModel, response: Response, part: Part) -> Reward:
    text = response.answer if part is Part.ANSWER else response.thinking
    record = Reward(
        key=said.key,
        response=response.key,
        model=response.model,
        benchmark=response.benchmark,
        prompt=response.prompt,
        repeat=response.repeat,
        part=part,
        reward=reward.label,
        score=None,
        length=len(text or ""),
        at=now(),
    )
    if isinstance(said, Unscored):
        return replace(record, reason=said.reason.value, message=said.message)
    return replace(
        record,
        score=said.score,
        attributes=said.attributes,
        quantiles=said.quantiles,
        tokens=said.tokens or 0,
        cut=said.cut,
    )
