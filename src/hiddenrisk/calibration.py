"""How good a judge is, held against human labels; and the file that says so.

`measure` counts one judge on one set, `compare` holds two judges against each other, and
`read_calibration` reads what was written: only the counts of it, within bounds, because the
file may come from anywhere.
"""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Annotated, Any, NamedTuple

import msgspec

from hiddenrisk.asking import digest
from hiddenrisk.errors import UsageError
from hiddenrisk.label_sets.base import NEGATIVE, POSITIVE, THREE, Labelled, LabelSet, Question
from hiddenrisk.stats import rates
from hiddenrisk.stats.agreement import Confusion, Measures, confusion
from hiddenrisk.types import Usage

CALIBRATION = "calibration.json"
FORMAT = 2
_FORMATS = (1, FORMAT)
"""Those that are read; in the first, `complete` and `unverified` stand for all results at once,
and there are neither counts of groups nor digests of texts."""
MAX_BYTES = 64 << 20
MAX_TEXTS = 10_000
"""So many digests of a set's texts are kept: the smallest, so that two lists can be compared."""
JURY = "jury"
"""The kind of a result that is of several judges together."""
_NOT_JUDGED = "not_judged"
_LENGTHS = ("short", "middle", "long")


class Heard(NamedTuple):
    """What a judge made of one labelled response."""

    item: Labelled
    unsafe: bool | None
    """Whether it says the positive class; None where it gave no verdict."""
    label: str | None = None
    """Its own word."""
    failure: str | None = None
    """Why there is no verdict."""
    usage: Usage = Usage()
    calls: int = 0
    latency_s: float | None = None


def judge_digest(identity: object, rubric: str) -> str:
    """What a calibration holds for: this judge, asked by this rubric of this version."""
    return digest(identity, rubric)


def text_digest(prompt: str, response: str) -> str:
    """What tells a prompt with its response from others, in 16 hexadecimal digits.

    SHA-256 over both, each in UTF-8 and ended by a zero byte.
    """
    ended = (f"{text}\0".encode("utf-8", "replace") for text in (prompt, response))
    return hashlib.sha256(b"".join(ended)).hexdigest()[:16]


def text_digests(items: Iterable[Labelled]) -> list[str]:
    """Those of labelled texts, sorted: all of them, or the MAX_TEXTS smallest."""
    return sorted({text_digest(item.prompt, item.response) for item in items})[:MAX_TEXTS]


def measure(labels: LabelSet, heard: Sequence[Heard]) -> dict[str, Any]:
    """What calibration.json says of one judge on one set.

    A failure is counted, and is no verdict of either kind.
    """
    judged = [h for h in heard if h.unsafe is not None]
    counts = _confusion(judged)
    failures = Counter(h.failure or _NOT_JUDGED for h in heard if h.unsafe is None)
    return {
        "set": labels.name,
        "question": labels.question,
        "n": len(judged),
        "failed": failures.total(),
        "failures": dict(sorted(failures.items())),
        "complete": _NOT_JUDGED not in failures,
        "unverified": sorted({d.warning for d in labels.data if d.warning}),
        "confusion": msgspec.to_builtins(counts),
        **_rates(counts),
        "kappa": msgspec.to_builtins(counts.kappa),
        **_both_classes(counts, labels.question),
        "human_classes": _by(judged, lambda h: h.item.label, _share_right),
        "three_classes": _three_classes(judged),
        "lengths": _by_length(judged),
        "groups": _by(judged, lambda h: h.item.group, _brief) if _grouped(labels) else {},
        "cost": _cost(heard),
        "latency_s": _latency(heard),
    }


def _confusion(judged: Iterable[Heard]) -> Confusion:
    return confusion((h.item.unsafe, bool(h.unsafe)) for h in judged)


def _rates(counts: Confusion) -> dict[str, Any]:
    return {
        "accuracy": msgspec.to_builtins(counts.accuracy),
        "sensitivity": msgspec.to_builtins(counts.sensitivity),
        "specificity": msgspec.to_builtins(counts.specificity),
    }


def _both_classes(counts: Confusion, question: Question) -> dict[str, Any]:
    found: dict[str, Measures] = {
        POSITIVE[question]: counts.of_unsafe,
        NEGATIVE[question]: counts.of_safe,
    }
    main = counts.of_unsafe
    return {
        "precision": msgspec.to_builtins(main.precision),
        "recall": msgspec.to_builtins(main.recall),
        "f1": main.f1,
        "classes": msgspec.to_builtins(found),
    }


def _brief(judged: list[Heard]) -> dict[str, Any]:
    counts = _confusion(judged)
    return {"n": counts.n, "confusion": msgspec.to_builtins(counts), **_rates(counts)}


def _share_right(judged: list[Heard]) -> dict[str, Any]:
    right = sum(h.unsafe == h.item.unsafe for h in judged)
    return {"right": msgspec.to_builtins(rates.wilson(right, len(judged)))}


def _by(
    judged: Sequence[Heard], key: Callable[[Heard], str], say: Callable[[list[Heard]], Any]
) -> dict[str, Any]:
    groups: dict[str, list[Heard]] = {}
    for one in judged:
        groups.setdefault(key(one), []).append(one)
    return {name: say(group) for name, group in sorted(groups.items())}


def _grouped(labels: LabelSet) -> bool:
    return len({item.group for item in labels.items}) > 1


def _by_length(judged: Sequence[Heard]) -> dict[str, Any]:
    """Thirds of the responses by their length in characters."""
    ordered = sorted(judged, key=lambda h: len(h.item.response))
    size = len(ordered)
    if size < len(_LENGTHS):
        return {}
    found: dict[str, Any] = {}
    for place, name in enumerate(_LENGTHS):
        third = ordered[place * size // 3 : (place + 1) * size // 3]
        ends = len(third[0].item.response), len(third[-1].item.response)
        found[name] = {"characters": list(ends), **_brief(third)}
    return found


def _three_classes(judged: Sequence[Heard]) -> dict[str, Any] | None:
    """Full compliance, full and partial refusal, where humans and judge both say them."""
    pairs = [(h.item.label, h.label) for h in judged]
    human = {label for label, _ in pairs}
    if not human <= set(THREE) or len(human) < 2 or not {said for _, said in pairs} <= set(THREE):
        return None
    table = Counter(pairs)
    of_class: dict[str, float | None] = {}
    for name in THREE:
        both = table[name, name]
        named = sum(n * ((a == name) + (b == name)) for (a, b), n in table.items())
        of_class[name] = 2 * both / named if named else None
    known = [f1 for f1 in of_class.values() if f1 is not None]
    right = sum(n for (a, b), n in table.items() if a == b)
    return {
        "accuracy": msgspec.to_builtins(rates.wilson(right, len(pairs))),
        "f1": of_class,
        "macro_f1": sum(known) / len(known),
    }


def _cost(heard: Sequence[Heard]) -> dict[str, int | None]:
    """Calls and tokens; None where no endpoint said."""
    found: dict[str, int | None] = {"calls": sum(h.calls for h in heard)}
    for name in ("prompt_tokens", "completion_tokens", "reasoning_tokens"):
        told = [tokens for h in heard if (tokens := getattr(h.usage, name)) is not None]
        found[name] = sum(told) if told else None
    return found


def _latency(heard: Sequence[Heard]) -> dict[str, float | int] | None:
    """Of the calls that gave a verdict: half are faster than the median, 95% than p95."""
    times = sorted(h.latency_s for h in heard if h.calls and h.latency_s is not None)
    if not times:
        return None
    p95 = times[min(len(times) - 1, int(0.95 * len(times)))]
    return {"median": round(median(times), 4), "p95": round(p95, 4), "n": len(times)}


def compare(labels: LabelSet, first: Sequence[Heard], second: Sequence[Heard]) -> dict[str, Any]:
    """Which of two judges is right more often, on the texts that both judged: McNemar's test."""
    others = {h.item.id: h for h in second if h.unsafe is not None}
    right: Counter[tuple[bool, bool]] = Counter()
    for one in first:
        other = others.get(one.item.id)
        if one.unsafe is not None and other is not None:
            right[one.unsafe == one.item.unsafe, other.unsafe == other.item.unsafe] += 1
    return {
        "set": labels.name,
        "n": right.total(),
        "both_right": right[True, True],
        "only_first_right": right[True, False],
        "only_second_right": right[False, True],
        "neither_right": right[False, False],
        "p": rates.mcnemar(right[True, False], right[False, True]),
    }


def failed_share(result: Mapping[str, Any]) -> float:
    """Share of the texts without a verdict, of all results of a calibration or of attacks.

    A jury that leaves a text open has not failed; its members' failures are theirs.
    """
    results = [r for r in result["results"] if r.get("kind") != JURY]
    failed = sum(r["failed"] for r in results)
    total = failed + sum(r["n"] for r in results)
    return failed / total if total else 0.0


# ---------------------------------------------------------------- the file


_Count = Annotated[int, msgspec.Meta(ge=0, le=10**9)]
_Name = Annotated[str, msgspec.Meta(max_length=300)]
_Digest = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{16}$")]


class _Counts(msgspec.Struct, frozen=True):
    true_unsafe: _Count
    false_safe: _Count
    true_safe: _Count
    false_unsafe: _Count

    def counted(self) -> Confusion:
        """The same, for the statistics."""
        return Confusion(**msgspec.structs.asdict(self))


class Group(msgspec.Struct, frozen=True):
    """One group of a set."""

    confusion: _Counts | None = None
    """None in a file of an older version."""


class Calibrated(msgspec.Struct, frozen=True, kw_only=True):
    """One judge on one set, as a calibration file has it."""

    judge: _Name
    set: _Name
    question: Question
    digest: _Name
    """Of the judge: its identity, and the rubric's name and version."""
    rubric: _Name = ""
    confusion: _Counts
    failed: _Count = 0
    """Texts of the set that the judge gave no verdict on; `counts` are without them."""
    complete: bool = True
    """Whether it was asked about each of them."""
    unverified: tuple[str, ...] = ()
    """What is not as published in the set's data."""
    groups: dict[str, Group] = {}
    """By name: the models that wrote the texts, or categories."""
    in_sample: bool = False
    """Whether the judge was trained on these very labels: it errs more on other texts."""
    texts: tuple[_Digest, ...] = ()
    """`text_digest` of the set's texts, sorted; of a large set the MAX_TEXTS smallest."""

    @property
    def counts(self) -> Confusion:
        """The judge against humans."""
        return self.confusion.counted()

    @property
    def group_counts(self) -> dict[str, Confusion]:
        """The same in each group, where the file says so."""
        found = {name: group.confusion for name, group in self.groups.items()}
        return {name: counts.counted() for name, counts in found.items() if counts}


class _Set(msgspec.Struct, frozen=True):
    texts: Annotated[tuple[_Digest, ...], msgspec.Meta(max_length=MAX_TEXTS)] = ()


class _File(msgspec.Struct, frozen=True):
    calibration: int
    results: Annotated[list[Calibrated], msgspec.Meta(max_length=10_000)]
    sets: dict[str, _Set] = {}
    complete: bool = True
    unverified: tuple[str, ...] = ()

    def whole(self) -> list[Calibrated]:
        """The results with what the file says of their sets, or of all of them."""
        if self.calibration != FORMAT:
            said = {"complete": self.complete, "unverified": self.unverified}
            return [msgspec.structs.replace(one, **said) for one in self.results]
        texts = {name: one.texts for name, one in self.sets.items()}
        return [msgspec.structs.replace(r, texts=texts.get(r.set, ())) for r in self.results]


def read_calibration(path: Path) -> list[Calibrated]:
    """The counts of a calibration file, or of the one in a folder.

    Raises:
        UsageError: it is not there, too large, or no calibration of this version.
    """
    file = path / CALIBRATION if path.is_dir() else path
    try:
        if file.stat().st_size > MAX_BYTES:
            raise UsageError(f"{file} has more than {MAX_BYTES >> 20} MiB; no calibration has")
        found = msgspec.json.decode(file.read_bytes(), type=_File)
    except OSError as error:
        raise UsageError(
            f"cannot read the calibration {file}: {error.strerror or error}; "
            "`hiddenrisk calibrate --out DIR` writes one"
        ) from error
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise UsageError(
            f"{file} is no calibration ({error}); `hiddenrisk calibrate --out DIR` writes one"
        ) from error
    if found.calibration not in _FORMATS:
        raise UsageError(
            f"{file} has the calibration format {found.calibration}, and this version reads "
            f"{' and '.join(map(str, _FORMATS))}; calibrate again"
        )
    return found.whole()
