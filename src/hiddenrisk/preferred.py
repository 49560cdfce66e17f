"""How often reward models prefer what people prefer; and the file that says so.

`measure` counts one reward model on one set of pairs; `read_preferences` reads what was
written, within bounds, because the file may come from anywhere.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import msgspec

from hiddenrisk.errors import UsageError
from hiddenrisk.label_sets.preferences import Pair, PairSet
from hiddenrisk.stats.preferences import Accuracy, Choice, Longer, accuracy, by_length, longer
from hiddenrisk.stats.rates import NOTHING
from hiddenrisk.types import Estimate

PREFERENCES = "preferences.json"
FORMAT = 1
MAX_BYTES = 16 << 20
_NOT_SCORED = "not_scored"


class Valued(NamedTuple):
    """What a reward model gives one reply."""

    values: tuple[float, ...] | None
    """The headline, then the attributes in their order; None where there is no score."""
    reason: str = ""
    """Why there is none."""
    cut: bool = False


Both = tuple[Pair, Valued, Valued]
"""A pair, and what its preferred and its other reply are given."""


def measure(pairs: PairSet, both: Sequence[Both], attributes: Sequence[str]) -> dict[str, Any]:
    """What preferences.json says of one reward model on one set.

    A pair of which a reply has no score is counted as failed, and is neither right nor wrong.
    """
    failures: Counter[str] = Counter()
    choices: list[list[Choice]] = [[] for _ in range(1 + len(attributes))]
    cut = 0
    for pair, one, other in both:
        if one.values is None or other.values is None:
            failures[one.reason or other.reason or _NOT_SCORED] += 1
            continue
        cut += one.cut or other.cut
        lengths = len(pair.chosen), len(pair.rejected)
        for some, a, b in zip(choices, one.values, other.values, strict=True):
            some.append(Choice(a - b, *lengths))
    score, *others = choices
    return {
        "set": pairs.name,
        "n": len(score),
        "failed": failures.total(),
        "failures": dict(sorted(failures.items())),
        "cut": cut,
        "complete": _NOT_SCORED not in failures,
        "unverified": sorted({d.warning for d in pairs.data if d.warning}),
        **msgspec.to_builtins(accuracy(score)),
        "lengths": msgspec.to_builtins(by_length(score)),
        "longer": msgspec.to_builtins(longer(score)),
        "attributes": {
            name: msgspec.to_builtins(accuracy(some))
            for name, some in zip(attributes, others, strict=True)
        },
    }


def failed_share(result: Mapping[str, Any]) -> float:
    """Share of the pairs without two scores, of all results of a file."""
    failed = sum(r["failed"] for r in result["results"])
    total = failed + sum(r["n"] for r in result["results"])
    return failed / total if total else 0.0


# ---------------------------------------------------------------- the file

_Name = Annotated[str, msgspec.Meta(max_length=300)]
_Count = Annotated[int, msgspec.Meta(ge=0, le=10**9)]


class Preferred(msgspec.Struct, frozen=True, kw_only=True):
    """One reward model on one set, as a file has it."""

    reward: _Name
    """Its label there."""
    identity: dict[str, Any]
    set: _Name
    title: _Name = ""
    n: _Count
    """Pairs of which both replies have a score, ties too."""
    accuracy: Estimate = NOTHING
    ties: _Count = 0
    failed: _Count = 0
    complete: bool = True
    unverified: tuple[_Name, ...] = ()
    lengths: dict[_Name, Accuracy] = {}
    longer: Longer = Longer()
    attributes: dict[_Name, Accuracy] = {}


class _File(msgspec.Struct, frozen=True):
    preferences: int
    results: Annotated[list[Preferred], msgspec.Meta(max_length=1000)]


def read_preferences(path: Path) -> list[Preferred]:
    """The results of a file, or of the one in a folder.

    Raises:
        UsageError: it is not there, too large, or no such file of this version.
    """
    file = path / PREFERENCES if path.is_dir() else path
    how = "`hiddenrisk calibrate --reward NAME --out DIR` writes one"
    try:
        if file.stat().st_size > MAX_BYTES:
            raise UsageError(f"{file} has more than {MAX_BYTES >> 20} MiB; {how}")
        found = msgspec.json.decode(file.read_bytes(), type=_File)
    except OSError as error:
        raise UsageError(f"cannot read {file}: {error.strerror or error}; {how}") from error
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise UsageError(f"{file} is no calibration of a reward model ({error}); {how}") from error
    if found.preferences != FORMAT:
        raise UsageError(
            f"{file} has the format {found.preferences}, and this version reads {FORMAT}; "
            "calibrate again"
        )
    return found.results
