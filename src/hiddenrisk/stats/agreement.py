"""How well judges agree with humans, and with one another: pure, counts or labels in.

"Positive" is unsafe everywhere: sensitivity is how often the judge calls unsafe what humans
call unsafe, specificity how often it calls safe what they call safe.
"""

import math
from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence
from itertools import permutations
from typing import Literal

import msgspec

from hiddenrisk.stats.intervals import normal_quantile
from hiddenrisk.stats.rates import NOTHING, wilson
from hiddenrisk.types import Estimate


class Measures(msgspec.Struct, frozen=True, kw_only=True):
    """How well the judge finds one class."""

    precision: Estimate
    """Of those that the judge puts into the class, the share that humans put there. Depends
    on how frequent the class is, unlike the recall."""
    recall: Estimate
    """Of those that humans put into the class, the share that the judge puts there."""
    f1: float | None
    """Harmonic mean of the two; None where neither names the class."""


class Confusion(msgspec.Struct, frozen=True, kw_only=True):
    """A judge's words against human labels on the same texts, as counts."""

    true_unsafe: int
    """Unsafe for humans and for the judge."""
    false_safe: int
    """Unsafe for humans, safe for the judge: what it misses."""
    true_safe: int
    """Safe for humans and for the judge."""
    false_unsafe: int
    """Safe for humans, unsafe for the judge: a false alarm."""

    def __post_init__(self) -> None:
        if min(self.true_unsafe, self.false_safe, self.true_safe, self.false_unsafe) < 0:
            raise ValueError(f"a confusion table has counts from 0 on, not {self}")

    @property
    def unsafe(self) -> int:
        """Texts that humans call unsafe."""
        return self.true_unsafe + self.false_safe

    @property
    def safe(self) -> int:
        """Texts that humans call safe."""
        return self.true_safe + self.false_unsafe

    @property
    def n(self) -> int:
        """All texts."""
        return self.unsafe + self.safe

    @property
    def sensitivity(self) -> Estimate:
        """Share of the unsafe that the judge calls unsafe, with Wilson's interval."""
        return wilson(self.true_unsafe, self.unsafe)

    @property
    def specificity(self) -> Estimate:
        """Share of the safe that the judge calls safe, with Wilson's interval."""
        return wilson(self.true_safe, self.safe)

    @property
    def accuracy(self) -> Estimate:
        """Share of the texts with the same label, with Wilson's interval."""
        return wilson(self.true_unsafe + self.true_safe, self.n)

    @property
    def of_unsafe(self) -> Measures:
        """Precision, recall and F1 of "unsafe"."""
        return _measures(self.true_unsafe, self.false_unsafe, self.false_safe)

    @property
    def of_safe(self) -> Measures:
        """Precision, recall and F1 of "safe"."""
        return _measures(self.true_safe, self.false_safe, self.false_unsafe)

    @property
    def kappa(self) -> Estimate:
        """Cohen's kappa with its interval."""
        return cohen_kappa(
            {
                ("unsafe", "unsafe"): self.true_unsafe,
                ("unsafe", "safe"): self.false_safe,
                ("safe", "safe"): self.true_safe,
                ("safe", "unsafe"): self.false_unsafe,
            }
        )


def confusion(pairs: Iterable[tuple[bool, bool]]) -> Confusion:
    """Count pairs of (humans say unsafe, the judge says unsafe)."""
    counts = Counter((bool(human), bool(judge)) for human, judge in pairs)
    return Confusion(
        true_unsafe=counts[True, True],
        false_safe=counts[True, False],
        true_safe=counts[False, False],
        false_unsafe=counts[False, True],
    )


def _measures(both: int, judge_alone: int, human_alone: int) -> Measures:
    named = 2 * both + judge_alone + human_alone
    return Measures(
        precision=wilson(both, both + judge_alone),
        recall=wilson(both, both + human_alone),
        f1=2 * both / named if named else None,
    )


def percent_agreement(pairs: Iterable[tuple[Hashable, Hashable]]) -> Estimate:
    """Share of texts that two give the same label, with Wilson's interval."""
    same = [a == b for a, b in pairs]
    return wilson(sum(same), len(same))


def cohen_kappa(table: Mapping[tuple[str, str], int], level: float = 0.95) -> Estimate:
    """Agreement of two judges beyond what their label counts alone would bring about.

    Args:
        table: how often the first gave one label and the second the other, any labels.
        level: coverage in (0, 1).

    Returns:
        Kappa in [-1, 1]: 1 is perfect, 0 is chance. The interval adds half a text to each
        cell, without which perfect agreement on ten texts would have no error at all.
        `NOTHING` where both always gave one and the same label: chance explains it all.

    Source: Cohen 1960; the standard error is that of Fleiss, Cohen & Everitt 1969,
    Psychol. Bull. 72, 323-327.
    """
    labels = sorted({label for pair in table for label in pair}, key=repr)
    counts = [[table.get((a, b), 0) for b in labels] for a in labels]
    n = sum(map(sum, counts))
    kappa = _kappa(counts)
    if kappa is None:
        return NOTHING
    half = normal_quantile(level) * _kappa_error([[c + 0.5 for c in row] for row in counts])
    return Estimate(value=kappa, low=max(-1.0, kappa - half), high=min(1.0, kappa + half), n=n)


def _shares(
    counts: Sequence[Sequence[float]],
) -> tuple[list[list[float]], list[float], list[float]]:
    n = sum(map(sum, counts))
    cells = [[c / n for c in row] for row in counts]
    return cells, [sum(row) for row in cells], [sum(column) for column in zip(*cells, strict=True)]


def _kappa(counts: Sequence[Sequence[float]]) -> float | None:
    if not sum(map(sum, counts)):
        return None
    cells, rows, columns = _shares(counts)
    agreed = math.fsum(cells[i][i] for i in range(len(cells)))
    chance = math.fsum(a * b for a, b in zip(rows, columns, strict=True))
    return None if chance >= 1 else (agreed - chance) / (1 - chance)


def _kappa_error(counts: Sequence[Sequence[float]]) -> float:
    """Standard error of kappa, from all cells above 0."""
    cells, rows, columns = _shares(counts)
    size = range(len(cells))
    agreed = math.fsum(cells[i][i] for i in size)
    chance = math.fsum(rows[i] * columns[i] for i in size)
    kappa = (agreed - chance) / (1 - chance)
    on = math.fsum(cells[i][i] * (1 - (rows[i] + columns[i]) * (1 - kappa)) ** 2 for i in size)
    off = (1 - kappa) ** 2 * math.fsum(
        cells[i][j] * (columns[i] + rows[j]) ** 2 for i, j in permutations(size, 2)
    )
    rest = (kappa - chance * (1 - kappa)) ** 2
    n = sum(map(sum, counts))
    return math.sqrt(max(0.0, on + off - rest) / n) / (1 - chance)


def fleiss_kappa(texts: Iterable[Sequence[Hashable]]) -> float | None:
    """Agreement of several judges beyond chance.

    Args:
        texts: the labels of each text, equally many for each, at least two.

    Returns:
        Kappa, at most 1; None where there is no text, or one label only.

    Raises:
        ValueError: the texts have different numbers of labels, or fewer than two.

    Source: Fleiss 1971, Psychol. Bull. 76, 378-382.
    """
    counts = [Counter(labels) for labels in texts]
    sizes = {count.total() for count in counts}
    if not counts:
        return None
    if len(sizes) > 1 or min(sizes) < 2:
        raise ValueError(
            "Fleiss' kappa needs equally many labels of each text, two or more;"
            " krippendorff_alpha takes missing ones"
        )
    size = sizes.pop()
    agreed = math.fsum(_same(count) / (size * (size - 1)) for count in counts) / len(counts)
    total = sum(counts, Counter[Hashable]())
    chance = math.fsum((k / (size * len(counts))) ** 2 for k in total.values())
    return None if len(total) == 1 else (agreed - chance) / (1 - chance)


def _same(count: Counter[Hashable]) -> int:
    """Ordered pairs of judges that gave the same label."""
    return sum(k * (k - 1) for k in count.values())


def krippendorff_alpha(
    texts: Iterable[Sequence[float | str | None]], scale: Literal["nominal", "interval"] = "nominal"
) -> float | None:
    """Agreement of several judges beyond chance, where some labels may be missing.

    Args:
        texts: the labels of each text; None is missing. A text with one label tells nothing.
        scale: "nominal" for labels, that differ or not; "interval" for numbers, whose
            differences count squared.

    Returns:
        Alpha, at most 1; None where no two labels can be held against each other, or all
        labels are the same.

    Source: Krippendorff 2011, "Computing Krippendorff's alpha-reliability".
    """
    known = [Counter(label for label in labels if label is not None) for labels in texts]
    known = [count for count in known if count.total() >= 2]
    total = sum(known, Counter[float | str]())
    seen = math.fsum(_unlike(count, scale) / (count.total() - 1) for count in known)
    expected = _unlike(total, scale)
    return None if expected == 0 else 1 - (total.total() - 1) * seen / expected


def _unlike(count: Counter[float | str], scale: Literal["nominal", "interval"]) -> float:
    """Difference of all ordered pairs of labels, added up."""
    if scale == "nominal":
        return float(count.total() ** 2 - sum(k * k for k in count.values()))
    pairs = permutations(count.items(), 2)
    return math.fsum(j * k * (float(a) - float(b)) ** 2 for (a, j), (b, k) in pairs)
