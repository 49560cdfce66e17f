"""Reward models: how much people would prefer a text, by attributes or as one number.

A SPEC names one; `open_reward` gives it:

    armorm                        the published checkpoint, at the revision that is pinned here
    qrm@COMMIT                    the same, at a revision of yours
    armorm=/path/to/checkpoint    a copy on this machine
    qrm=org/name@COMMIT           another checkpoint with the same head
    org/name@COMMIT               any sequence classifier with one output (also sequence=...)
    http://host:port#model?api=classify|pooling|tei

Before each of them may stand a label of yours: `mine=armorm=/path`, `mine=org/name@COMMIT`.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from hiddenrisk.engine import Policy
from hiddenrisk.errors import UsageError, unknown
from hiddenrisk.rewards import heads
from hiddenrisk.rewards.base import Item, NoScore, RewardModel, Scored, Unscored
from hiddenrisk.rewards.checkpoint import Where, open_checkpoint
from hiddenrisk.rewards.heads import Head
from hiddenrisk.rewards.http import open_http
from hiddenrisk.rewards.local import BATCH_TOKENS, LocalReward

__all__ = [
    "REWARDS",
    "Item",
    "NoScore",
    "RewardModel",
    "Scored",
    "Unscored",
    "labelled",
    "open_reward",
]


class Kind(msgspec.Struct, frozen=True, kw_only=True):
    """A kind of reward model, and the checkpoint that its name alone means."""

    head: Callable[[Mapping[str, Any]], Head]
    repo: str | None = None
    revision: str | None = None
    """A commit, so that a score stays what it was; None where none could be verified, so
    that the newest is taken and its commit recorded."""


REWARDS: dict[str, Kind] = {
    "armorm": Kind(
        head=heads.armo_head,
        repo="RLHFlow/ArmoRM-Llama3-8B-v0.1",
        revision="eb2676d20da2f2d41082289d23c59b9f7427f955",
    ),
    "qrm": Kind(head=heads.quantile_head, repo="nicolinho/QRM-Llama3.1-8B"),
    "skywork": Kind(
        head=heads.score_head,
        repo="Skywork/Skywork-Reward-Llama-3.1-8B-v0.2",
        revision="d4117fbfd81b72f41b96341238baa1e3e90a4ce1",
    ),
    "sequence": Kind(head=heads.score_head),
}
"""The kinds by name."""
_NAMED = re.compile(
    r"(?P<kind>[a-z0-9_-]+)(?:@(?P<revision>[\w.-]+))?(?:=(?P<rest>.+))?", re.DOTALL
)
_LABEL = re.compile(r"(?P<label>[^=/:?#\s]+)=(?P<rest>.+)", re.DOTALL)
_REPO = re.compile(r"(?P<repo>\w[\w.-]*/\w[\w.-]*)(?:@(?P<revision>[\w./-]+))?")


def open_reward(
    spec: str,
    *,
    window: int | None = None,
    batch_tokens: int = BATCH_TOKENS,
    devices: Sequence[str] | None = None,
    cache_dir: Path | None = None,
    policy: Policy | None = None,
) -> RewardModel:
    """The reward model that a SPEC names, its files checked, its weights not yet loaded.

    Args:
        spec: see the module.
        window: tokens of prompt and text at most, where the weights are here; None for the
            model's own, up to 8192.
        batch_tokens: of one batch on a device, padding included.
        devices: torch's names of devices, each with a copy; None for all GPUs, or the CPU.
        cache_dir: where fetched checkpoints are; None for the hub's usual place.
        policy: for an endpoint, how many calls at once, and when one is tried again.

    Raises:
        UsageError: the SPEC cannot be followed, an extra is missing, or nothing can be
            fetched.
        DataError: the checkpoint is not what its name says.
    """
    if "://" in spec:
        return open_http(spec, policy=policy or Policy())
    label, bare = labelled(spec)
    name, where = parse(bare)
    kind = REWARDS[name]
    if batch_tokens < 1:
        raise UsageError(f"a batch of {batch_tokens} tokens holds nothing; write 1 or more")
    found = open_checkpoint(where, cache_dir=cache_dir)
    return LocalReward(
        label or (name if name != "sequence" else Path(where.name).name),
        name,
        found,
        kind.head(found.config),
        window=window,
        batch_tokens=batch_tokens,
        devices=devices,
    )


def labelled(spec: str) -> tuple[str | None, str]:
    """A label of the user's, if there is one, and the SPEC behind it.

    `armorm=/path` has none: the name of a kind says how the checkpoint is read.
    """
    text = spec.strip()
    found = _LABEL.fullmatch(text)
    if found is None or found["label"] in REWARDS:
        return None, text
    rest = found["rest"]
    named = _NAMED.fullmatch(rest)
    if "://" in rest or _REPO.fullmatch(rest) or (named and named["kind"] in REWARDS):
        return found["label"], rest
    return None, text


def parse(spec: str) -> tuple[str, Where]:
    """The kind that a SPEC without a label names, and where its checkpoint is.

    Raises:
        UsageError: it has not the form of a SPEC.
    """
    text = spec.strip()
    if plain := _REPO.fullmatch(text):
        return "sequence", Where(repo=plain["repo"], revision=plain["revision"])
    named = _NAMED.fullmatch(text)
    if named is None or (named["rest"] and named["revision"]):
        raise UsageError(
            f"'{spec}' names no reward model; write {', '.join(REWARDS)} with =/path or "
            "=org/name@commit behind, org/name@commit, or http://host:port#model?api=classify"
        )
    name, rest = named["kind"], named["rest"]
    if name not in REWARDS:
        raise unknown("reward model", name, REWARDS, see=f"It stands in '{spec}'.")
    kind = REWARDS[name]
    if rest:
        repo = _REPO.fullmatch(rest)
        folder = Path(rest).expanduser()
        if repo and not folder.exists():
            return name, Where(repo=repo["repo"], revision=repo["revision"])
        return name, Where(folder=folder)
    if kind.repo is None:
        raise UsageError(
            f"'{name}' alone names no checkpoint; write {name}=/path or org/name@commit"
        )
    return name, Where(repo=kind.repo, revision=named["revision"] or kind.revision)
