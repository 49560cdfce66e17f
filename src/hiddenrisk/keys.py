"""Which keys there are, and where, in sixteen bytes each; a table of strings takes ten times that.

A key is known by its first sixty-four bits. Among a million keys, chance takes one for another
once in twenty million runs.
"""

from array import array
from bisect import bisect_left
from collections.abc import Iterable
from hashlib import blake2b

_DIGITS = 16
"""Of a key, which is hexadecimal, so many make sixty-four bits."""


def _bits(key: str) -> int:
    try:
        return int(key[:_DIGITS], 16) % 2**64
    except ValueError:  # no key that this tool wrote
        return int.from_bytes(blake2b(key.encode("utf-8", "replace"), digest_size=8).digest())


class KeyIndex:
    """The keys of records, each with a place."""

    def __init__(self, placed: Iterable[tuple[int, str]] = ()) -> None:
        """Take them in; of a key that comes twice, the first place counts."""
        bits, places = array("Q"), array("q")
        for place, key in placed:
            bits.append(_bits(key))
            places.append(place)
        self._bits, self._places = _in_order(bits, places) if bits else (bits, places)

    def __len__(self) -> int:
        return len(self._bits)

    def __contains__(self, key: str) -> bool:
        return self.place(key) is not None

    def place(self, key: str) -> int | None:
        """The place of a key; None where it is not there."""
        bits = _bits(key)
        at = bisect_left(self._bits, bits)
        there = at < len(self._bits) and self._bits[at] == bits
        return self._places[at] if there else None


def _in_order(bits: "array[int]", places: "array[int]") -> "tuple[array[int], array[int]]":
    """Both by the first of them; those that are equal stay in the order in which they came."""
    import numpy as np  # noqa: PLC0415 - it takes a while, and a new run has no keys

    order = np.argsort(np.frombuffer(bits, np.uint64), kind="stable")
    return (
        array("Q", np.frombuffer(bits, np.uint64)[order].tobytes()),
        array("q", np.frombuffer(places, np.int64)[order].tobytes()),
    )


def repeated(numbers: "array[int]") -> frozenset[int]:
    """Those that come more than once, of numbers of eight bytes with a sign."""
    import numpy as np  # noqa: PLC0415 - as above

    ordered = np.sort(np.frombuffer(numbers, np.int64))
    return frozenset[int](ordered[1:][ordered[1:] == ordered[:-1]].tolist())
