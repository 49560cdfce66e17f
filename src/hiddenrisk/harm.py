"""Unsafe texts of a run, and what reward models give them: `hiddenrisk harm`.

Scores are records in the run like all others (`rewards.jsonl`): what is there is not asked
for again, and a failure is none. Who is unsafe, the judges of the headline say.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from hiddenrisk.accounting import report
from hiddenrisk.asking import digest
from hiddenrisk.assess import Tally
from hiddenrisk.cluster.joining import Cluster
from hiddenrisk.engine import Policy
from hiddenrisk.errors import UsageError
from hiddenrisk.harm_summary import reward_models, unsafe_texts
from hiddenrisk.opening import Opened
from hiddenrisk.plan import Settings
from hiddenrisk.preferred import Preferred, read_preferences
from hiddenrisk.records import Records, read_records
from hiddenrisk.remote_rewards import RemoteReward
from hiddenrisk.reopening import open_headline
from hiddenrisk.rewards import REWARDS as MODELS
from hiddenrisk.rewards import labelled, open_reward
from hiddenrisk.rewards.base import Item, RewardModel
from hiddenrisk.rewards.local import BATCH_TOKENS
from hiddenrisk.rubric_reward import NAME, RubricReward
from hiddenrisk.scoring import CHUNK, Text, as_stored, key_of, policy_of, score
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
from hiddenrisk.types import Part, Response


class Harm(NamedTuple):
    """What is to be scored, with every name resolved."""

    opened: Opened
    rewards: tuple[RewardModel, ...]
    parts: tuple[Part, ...]
    preferences: tuple[Preferred, ...] = ()
    """How often reward models prefer what people do."""

    @property
    def leaves_machine(self) -> bool:
        """Whether a text goes to an endpoint that may cost money."""
        return not all(reward.local for reward in self.rewards)


class Place(NamedTuple):
    """Where an unsafe text is, and whose."""

    offset: int
    model: str
    benchmark: str
    part: Part


def open_harm(
    folder: Path,
    specs: Sequence[str],
    parts: Sequence[Part],
    settings: Settings,
    *,
    batch_tokens: int = BATCH_TOKENS,
    calibrations: Sequence[Path] = (),
    cluster: Cluster | None = None,
) -> Harm:
    """Resolve the run and the reward models; no weights are loaded and nothing is sent yet.

    Args:
        folder: the run directory.
        specs: the reward models.
        parts: whose unsafe texts.
        settings: how endpoints are asked.
        batch_tokens: of one batch, padding included.
        calibrations: how often reward models prefer what people do.
        cluster: who holds the weights, if this machine does not.

    Raises:
        StoreError: it is no run that can be opened.
        UsageError: a reward model is unknown, or two have one name.
    """
    opened = open_headline(folder, settings)
    policy = policy_of(settings)
    rewards = tuple(_open(text, folder, batch_tokens, policy, settings, cluster) for text in specs)
    labels = [reward.label for reward in rewards]
    if twice := next((label for label in labels if labels.count(label) > 1), None):
        raise UsageError(f"two reward models are called '{twice}'; name them apart: NEW=SPEC")
    _check_labels(folder, rewards, specs)
    unjudged = [
        p.value for p in parts if all(p not in opened.parts_of(b) for b in opened.benchmarks)
    ]
    if unjudged:
        raise UsageError(
            f"nobody judged the {unjudged[0]} in {folder}, so none of it is known to be unsafe; "
            f"run `hiddenrisk judge {folder} --parts {unjudged[0]}` with its judges first"
        )
    preferences = tuple(one for path in calibrations for one in read_preferences(path))
    harm = Harm(opened, rewards, tuple(parts), preferences)
    for path in calibrations:
        _check_known(path, harm, folder)
    return harm


def _check_known(path: Path, harm: Harm, folder: Path) -> None:
    """See that a calibration is of a reward model that is asked, or was.

    Raises:
        UsageError: it is of none.
    """
    there = [about["identity"] for about in reward_models(folder).values()]
    there += [as_stored(reward.identity) for reward in harm.rewards]
    found = read_preferences(path)
    if not any(one.identity in there for one in found):
        told = ", ".join(sorted({one.reward for one in found})) or "nobody"
        raise UsageError(
            f"{path} is of {told}, which is none of the reward models here, or was run otherwise "
            "(revision, dtype and window count); calibrate the one that scores this run: "
            "hiddenrisk calibrate --reward NAME"
        )


def _open(
    spec: str,
    folder: Path,
    batch_tokens: int,
    policy: Policy,
    settings: Settings,
    cluster: Cluster | None,
) -> RewardModel:
    label, _, rest = spec.rpartition("=")
    if rest == NAME and label not in MODELS:
        return RubricReward(folder, label or NAME)
    if cluster is not None and "://" not in spec:  # an endpoint is asked from here
        return RemoteReward(cluster, spec, batch_tokens, settings.workers)
    return open_reward(spec, batch_tokens=batch_tokens, policy=policy)


def _check_labels(folder: Path, rewards: Sequence[RewardModel], specs: Sequence[str]) -> None:
    """See that a label stands for one reward model in a run.

    One that has scored nothing there (an endpoint at another port, say) stands for none.

    Raises:
        UsageError: one stands for another there.
    """
    known = reward_models(folder)
    for reward, spec in zip(rewards, specs, strict=True):
        before = known.get(reward.label)
        if before is None or before["identity"] == as_stored(reward.identity):
            continue
        if any(seen.reward == reward.label for seen in _scores(folder)):
            raise UsageError(
                f"in {folder}, the reward model {reward.label} is another one or was run otherwise; "
                f"name it apart: --reward NEW={labelled(spec)[1]}"
            )


def unsafe_places(found: Records, harm: Harm) -> list[Place]:
    """Where the unsafe texts of a run are, in the order of the file."""
    return sorted(
        Place(cell.offsets[row], *text)
        for cell, row, text in unsafe_texts(found, harm.opened)
        if text.part in harm.parts
    )


def drawn(places: Sequence[Place], folder: Path, limit: int) -> list[Place]:
    """`limit` texts of each model in each benchmark and part, always the same.

    Prompts come first that are unsafe for several models, because only these tell models
    apart; among them those with the smallest digests, so that a larger draw holds a smaller one.
    """
    read = read_at(folder / RESPONSES, (place.offset for place in places), _Asked)
    asked = [(one.prompt, one.repeat) for one in read]
    unsafe: dict[tuple[str, Part, str], set[str]] = defaultdict(set)
    for place, (prompt, _) in zip(places, asked, strict=True):
        unsafe[place.benchmark, place.part, prompt].add(place.model)
    groups: dict[tuple[str, str, Part], list[tuple[int, str, int, Place]]] = defaultdict(list)
    for place, (prompt, repeat) in zip(places, asked, strict=True):
        shared = len(unsafe[place.benchmark, place.part, prompt])
        order = (-shared, digest(place.benchmark, prompt), repeat, place)
        groups[place.model, place.benchmark, place.part].append(order)
    return sorted(place for some in groups.values() for *_, place in sorted(some)[:limit])


class _Asked(msgspec.Struct):
    prompt: str
    repeat: int


def score_run(
    harm: Harm,
    folder: Path,
    display: Callable[[Tally], AbstractContextManager[None]],
    limit: int | None = None,
) -> dict[str, Any]:
    """Have each unsafe text scored that is not scored yet; then count the run again.

    Args:
        harm: what by whom.
        folder: the run directory.
        display: shows how far it is.
        limit: texts of each model in each benchmark and part; None for all.

    Raises:
        StoreError: another process writes there, or the disk is full.
        UsageError: a reward model cannot be loaded or reached. What was scored is kept.
        KeyboardInterrupt: what was scored is kept.
    """
    with Journal(folder, REWARD_FILES) as journal:
        fallbacks = [j.label for j in harm.opened.fallbacks]
        places = unsafe_places(read_records(folder, fallbacks, insights=False), harm)
        wanted = drawn(places, folder, limit) if limit else places
        tally = Tally(len(wanted) * len(harm.rewards))
        there = {seen.key for seen in _scores(folder)}
        with display(tally):
            for reward in harm.rewards:
                known = partial(_know, folder, reward, limit if len(wanted) < len(places) else None)
                score(reward, _chunks(reward, wanted, folder), journal, there, tally, known)
        _keep_preferences(harm.preferences, folder)
        return report(harm.opened, folder)


def _keep_preferences(preferences: Sequence[Preferred], folder: Path) -> None:
    """Write down beside the reward models of a run how often they prefer what people do."""
    known = reward_models(folder)
    for about in known.values():
        of_it = {p.set: _brief(p) for p in preferences if p.identity == about["identity"]}
        about["preferences"] = about.get("preferences", {}) | of_it
    if preferences:
        write_json(folder / REWARD_MODELS, known)


def _brief(one: Preferred) -> dict[str, Any]:
    found: dict[str, Any] = msgspec.to_builtins(one)
    return {name: value for name, value in found.items() if name not in ("reward", "identity")}


def _know(folder: Path, reward: RewardModel, limit: int | None) -> None:
    """Write down what a reward model is, before its first score is."""
    known = reward_models(folder)
    before = known.get(reward.label, {})
    same = before.get("identity") == as_stored(reward.identity)
    known[reward.label] = {
        "identity": reward.identity,
        "headline": reward.headline,
        "attributes": list(reward.attributes),
        "limit": limit,
        "preferences": before.get("preferences", {}) if same else {},
    }
    write_json(folder / REWARD_MODELS, known)


def _scores(folder: Path) -> "Iterator[_Seen]":
    """The scores that are there, failures left out."""
    return (seen for seen in records(folder / REWARDS, _Seen) if seen.score is not None)


class _Seen(msgspec.Struct):
    key: str
    reward: str
    score: float | None = None


def _chunks(reward: RewardModel, places: Iterable[Place], folder: Path) -> Iterator[list[Text]]:
    left = iter(places)
    while chunk := list(islice(left, CHUNK)):
        found = read_at(folder / RESPONSES, (place.offset for place in chunk), Response)
        yield [_text(reward, *one) for one in zip(found, chunk, strict=True)]


def _text(reward: RewardModel, response: Response, place: Place) -> Text:
    said = response.answer if place.part is Part.ANSWER else response.thinking
    key = key_of(reward.identity, response.key, place.part)
    return Text(
        item=Item(key, response.messages, said or ""),
        response=response.key,
        model=response.model,
        benchmark=response.benchmark,
        prompt=response.prompt,
        repeat=response.repeat,
        part=place.part,
    )
