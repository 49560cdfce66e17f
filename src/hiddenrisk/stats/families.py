"""p-values of several tests read together: pure, p-values in, adjusted ones out.

A test that could not be made has no p-value (None); it stays None and is not in the family.
An adjusted p-value is compared with the usual level, 0.05.
"""

from collections.abc import Callable, Sequence


def holm(ps: Sequence[float | None]) -> list[float | None]:
    """Adjusted so that the chance of any false alarm in the whole family stays at the level.

    Args:
        ps: p-values in [0, 1] in any order.

    Raises:
        ValueError: one lies outside [0, 1].

    Source: Holm 1979, Scand. J. Stat. 6, 65-70.
    """

    def step_down(ordered: Sequence[float]) -> list[float]:
        found: list[float] = []
        worst = 0.0
        for place, p in enumerate(ordered):
            worst = max(worst, min(1.0, (len(ordered) - place) * p))
            found.append(worst)
        return found

    return _adjusted(ps, step_down)


def benjamini_hochberg(ps: Sequence[float | None]) -> list[float | None]:
    """Adjusted so that at most the level's share of what is called different is not.

    Holds for independent tests and for those that depend positively, as tests of models on
    the same prompts do. Arguments and errors are those of `holm`.

    Source: Benjamini & Hochberg 1995, J. R. Stat. Soc. B 57, 289-300.
    """

    def step_up(ordered: Sequence[float]) -> list[float]:
        found: list[float] = []
        least = 1.0
        for rank in range(len(ordered), 0, -1):
            least = min(least, len(ordered) / rank * ordered[rank - 1])
            found.append(least)
        return found[::-1]

    return _adjusted(ps, step_up)


def _adjusted(
    ps: Sequence[float | None], adjust: Callable[[Sequence[float]], list[float]]
) -> list[float | None]:
    """Adjust those that are there, in ascending order, and put them back in their places."""
    known = sorted((p, place) for place, p in enumerate(ps) if p is not None)
    if wrong := [p for p, _ in known if not 0 <= p <= 1]:
        raise ValueError(f"a p-value lies in [0, 1], unlike {wrong[0]}")
    found: list[float | None] = [None] * len(ps)
    for (_, place), p in zip(known, adjust([p for p, _ in known]), strict=True):
        found[place] = p
    return found
