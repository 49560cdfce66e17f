"""Texts through a reward model, each score a record at once: what is there is not asked again."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import msgspec
from msgspec.structs import replace

from hiddenrisk.asking import digest, now
from hiddenrisk.assess import Tally
from hiddenrisk.engine import Policy
from hiddenrisk.plan import Settings
from hiddenrisk.rewards.base import Item, RewardModel, Scored, Unscored
from hiddenrisk.store import Journal
from hiddenrisk.types import Part, Reward

CALLS = 64
"""At once, to an endpoint, where nobody says."""
CHUNK = 2_048
"""Texts that are held at once: enough for batches of like length."""


class Text(NamedTuple):
    """A text to score, and what its record says of it."""

    item: Item
    """Its key is the record's."""
    response: str
    """Key or name of the response that it is of."""
    model: str
    benchmark: str
    prompt: str
    repeat: int
    part: Part


def key_of(identity: dict[str, Any], response: str, part: Part) -> str:
    """The key of a score: all that decides it."""
    return digest(identity, response, part)


def policy_of(settings: Settings) -> Policy:
    """How an endpoint is asked."""
    return Policy(
        limit=settings.concurrency or CALLS,
        tries=settings.tries,
        timeout_s=settings.timeout_s,
        hang_after_s=settings.hang_after_s,
    )


def as_stored(identity: dict[str, Any]) -> dict[str, Any]:
    """A reward model's identity as it is read back from JSON, to compare it with one."""
    return msgspec.json.decode(msgspec.json.encode(identity))


def score(
    reward: RewardModel,
    chunks: Iterable[Sequence[Text]],
    journal: Journal,
    there: set[str],
    tally: Tally,
    begins: Callable[[], None] = lambda: None,
) -> None:
    """Score what is not scored yet, and give the reward model's memory back.

    Args:
        reward: by whom.
        chunks: the texts, at most CHUNK at a time.
        journal: where the records go.
        there: keys of the scores that are there; those that are made come in.
        tally: for the display.
        begins: called once, before the first record of this reward model (or where it has some).

    Raises:
        StoreError: the disk is full.
        UsageError: the reward model cannot be loaded or reached.
    """
    begun = False
    try:
        for chunk in chunks:
            wanted = {text.item.key: text for text in chunk if text.item.key not in there}
            kept = len(chunk) - len(wanted)
            tally.kept += kept
            tally.skipped += kept
            tally.finished += kept
            if kept and not begun:
                begins()
                begun = True
            for said in reward.score([text.item for text in wanted.values()]):
                if not begun:
                    begins()
                    begun = True
                journal.append(_record(said, reward.label, wanted[said.key]))
                if isinstance(said, Scored):
                    there.add(said.key)
                    tally.tokens += said.tokens or 0
                tally.failed += isinstance(said, Unscored)
                tally.finished += 1
                tally.made += 1
    finally:
        reward.close()


def _record(said: Scored | Unscored, label: str, text: Text) -> Reward:
    record = Reward(
        key=said.key,
        response=text.response,
        model=text.model,
        benchmark=text.benchmark,
        prompt=text.prompt,
        repeat=text.repeat,
        part=text.part,
        reward=label,
        score=None,
        length=len(text.item.text),
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
