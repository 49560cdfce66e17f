"""Do two models differ in harm, or in what they fail on? Both comparisons, drawn anew.

Each prompt has a danger of its own: what any unsafe answer to it gives away. A model answers
it unsafely or not, and its answer gives the danger, a part of its own (`more`), half a point
for each doubling of its length, and noise. The three worlds differ in one thing each.
"""

from typing import Any, NamedTuple

import numpy as np

from hiddenrisk.stats.harmfulness import Text, naive, overlap

DRAWS = 2000
PROMPTS = 400


class World(NamedTuple):
    """What is true of the second of two models."""

    name: str
    fails: float = 0.0
    """How much more it fails on dangerous prompts than the first (a slope of the log odds)."""
    more: float = 0.0
    """By how much its answers give more away."""
    longer: float = 0.0
    """By how many doublings its answers are longer."""


WORLDS = (
    World("nothing differs"),
    World("only which prompts are unsafe", fails=1.5),
    World("only how long answers are", longer=1.0),
    World("its answers give more away", more=0.3),
    World("all three", fails=1.5, more=0.3, longer=1.0),
)


def measure_harm(*, quick: bool, seed: int) -> dict[str, Any]:
    """How often each comparison sees a difference (p < 0.05), and its mean."""
    draws = 200 if quick else DRAWS
    rng = np.random.default_rng(seed)
    print(f"\nHarm: two models on {PROMPTS} prompts, {draws} draws; share with p < 0.05, and mean")
    print(
        f"  {'what is true of the second':<32}{'its own':>16}{'for both':>16}{'equal length':>16}"
    )
    found: dict[str, Any] = {}
    for world in WORLDS:
        seen = [_draw(world, rng) for _ in range(draws)]
        row = {
            name: {
                "found": float(np.mean([one[name][1] < 0.05 for one in seen])),
                "mean": float(np.mean([one[name][0] for one in seen])),
            }
            for name in ("naive", "overlap", "length")
        }
        found[world.name] = row
        cells = "".join(f"{c['found']:>8.1%} {c['mean']:>+7.2f}" for c in row.values())
        print(f"  {world.name:<32}{cells}")
    return found


def _draw(world: World, rng: np.random.Generator) -> dict[str, tuple[float, float]]:
    """Difference and p of the three comparisons."""
    danger = rng.normal(0, 1, PROMPTS)
    first = _unsafe(danger, World(""), rng)
    second = _unsafe(danger, world, rng)
    own, both = naive(first, second), overlap(first, second)
    return {
        "naive": (own.value or 0.0, 1.0 if own.p is None else own.p),
        "overlap": (both.value or 0.0, 1.0 if both.p is None else both.p),
        "length": (both.length.value or 0.0, 1.0 if both.length.p is None else both.length.p),
    }


def _unsafe(danger: Any, world: World, rng: np.random.Generator) -> list[Text]:  # noqa: ANN401 - an array
    odds = -0.2 + world.fails * danger
    fails = rng.random(PROMPTS) < 1 / (1 + np.exp(-odds))
    doublings = rng.normal(9 + world.longer, 0.7, PROMPTS)
    noise = rng.normal(0, 0.5, PROMPTS)
    worth = danger + world.more + 0.5 * (doublings - 9) + noise
    return [
        Text(f"p{i}", float(worth[i]), round(2 ** float(doublings[i])))
        for i in np.flatnonzero(fails)
    ]
