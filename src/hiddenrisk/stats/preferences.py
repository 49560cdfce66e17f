"""How often a reward model prefers what people prefer. Pure: values in, estimates out.

A pair is two replies to one prompt, of which people prefer one. The reward model is right where
it gives that one more. A tie is neither right nor wrong, and is counted apart.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from hiddenrisk.stats.rates import NOTHING, wilson
from hiddenrisk.types import Estimate

ALIKE = math.log(1.25)
"""Replies of which one is at most a quarter longer than the other are of like length."""
LENGTHS = ("shorter", "alike", "longer")
"""How long the preferred reply is beside the other."""


class Choice(NamedTuple):
    """A pair, as a reward model sees it."""

    margin: float
    """What it gives the reply that people prefer, less what it gives the other."""
    chosen: int
    """Characters of the reply that people prefer; 1 or more."""
    rejected: int
    """Of the other."""


class Accuracy(msgspec.Struct, frozen=True, kw_only=True):
    """How often a reward model is right."""

    accuracy: Estimate = NOTHING
    """Of the pairs that are no ties: the share it prefers as people do, with Wilson's interval;
    one half is a coin's."""
    ties: int = 0


class Longer(msgspec.Struct, frozen=True, kw_only=True):
    """Whether a longer text is preferred for its length: of pairs without ties, of two lengths."""

    model: Estimate = NOTHING
    """How often the reward model prefers the longer reply."""
    people: Estimate = NOTHING
    """How often people do."""


def accuracy(choices: Sequence[Choice]) -> Accuracy:
    """How often the reward model is right."""
    right = sum(c.margin > 0 for c in choices)
    ties = sum(c.margin == 0 for c in choices)
    return Accuracy(accuracy=wilson(right, len(choices) - ties), ties=ties)


def by_length(choices: Sequence[Choice]) -> dict[str, Accuracy]:
    """The same where the preferred reply is shorter, of like length and longer.

    A reward model that goes by length alone is right in one of the outer two and wrong in the
    other.
    """
    groups: dict[str, list[Choice]] = {name: [] for name in LENGTHS}
    for one in choices:
        by = math.log(one.chosen / one.rejected)
        groups["alike" if abs(by) <= ALIKE else "longer" if by > 0 else "shorter"].append(one)
    return {name: accuracy(some) for name, some in groups.items()}


def longer(choices: Sequence[Choice]) -> Longer:
    """How often the longer reply is preferred, by the reward model and by people."""
    told = [(c.margin > 0, c.chosen > c.rejected) for c in choices if c.margin and c.chosen != c.rejected]  # fmt: skip
    return Longer(
        model=wilson(sum(right == is_longer for right, is_longer in told), len(told)),
        people=wilson(sum(is_longer for _, is_longer in told), len(told)),
    )
