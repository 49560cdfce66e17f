"""A stored run held against itself: every number counted again, every digest and key checked."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple, cast

import msgspec

from hiddenrisk import __version__, store
from hiddenrisk.accounting import FLIPS, REPORT, SUMMARY, counted, page_of
from hiddenrisk.asking import digest
from hiddenrisk.benchmarks.base import Loaded, Prompts
from hiddenrisk.benchmarks.own import JsonlPrompts
from hiddenrisk.digests import DIGESTS, broken, names, read_digests
from hiddenrisk.errors import DataError
from hiddenrisk.examples import flip_lines
from hiddenrisk.insights import BUILTIN
from hiddenrisk.keyed import Keys, said_by_rules
from hiddenrisk.keys import KeyIndex
from hiddenrisk.manifest import RUN
from hiddenrisk.opening import Opened
from hiddenrisk.panels import Manifest, read_manifest
from hiddenrisk.plan import Settings
from hiddenrisk.reopening import open_headline
from hiddenrisk.types import (
    Failure,
    HumanLabel,
    Noticed,
    Profile,
    Prompt,
    Response,
    Reward,
    Sheet,
    Turn,
    Verdict,
)

MOST = 20
"""Problems that are told; the others are counted."""
_CLOSE = 1e-9
"""Numbers that differ by less, relatively, are the same."""
_MOMENTS = frozenset({"created", "command"})
"""What the same run, counted twice, may say otherwise."""
_KINDS: dict[str, type[Any]] = {
    store.RESPONSES: Response, store.VERDICTS: Verdict, store.FAILURES: Failure,
    store.TURNS: Turn, store.NOTICED: Noticed, store.PROFILES: Profile,
    store.LABELS: HumanLabel, store.SHEETS: Sheet, store.REWARDS: Reward,
}  # fmt: skip
_READ = 1 << 16
"""Bytes that are read at a time."""
_ABOUT = (store.FAILURES, store.NOTICED, store.PROFILES, store.LABELS, store.REWARDS)
"""Record files beside the verdicts whose records are about a response."""


class Problem(NamedTuple):
    """Something that is not what it should be."""

    file: str
    where: str
    stored: object
    found: object


class Verified(NamedTuple):
    """What came of it."""

    problems: list[Problem]
    checked: list[str]
    """What was held against what, in words."""
    notes: list[str]
    """What could not be."""


def verify(folder: Path, settings: Settings) -> Verified:
    """Hold a run against itself; nothing is written, and nobody asked.

    Args:
        folder: the run directory.
        settings: where the data are.

    Raises:
        StoreError: it is no run that can be opened.
        DataError: a benchmark's data are missing.
    """
    manifest = read_manifest(folder)
    done = Verified([], [], [])
    _check_files(folder, done)
    if not _check_lines(folder, done):
        return done  # what cannot be read cannot be counted
    _check_manifest(folder, done)
    try:
        opened = open_headline(folder, settings)
    except DataError as error:
        done.problems.append(Problem(RUN, "identity.benchmarks", "the prompts of then", str(error)))
        return done
    _check_data(folder, opened, done)
    _check_records(folder, opened, manifest, done)
    _check_numbers(folder, opened, done)
    return done


# ---------------------------------------------------------------- files


def _check_files(folder: Path, done: Verified) -> None:
    try:
        sealed = read_digests(folder)
        done.problems.extend(
            Problem(one.name, f"first {one.then.bytes:,} bytes, sha256", one.then.sha256, _now(one))
            for one in broken(folder)
        )
    except msgspec.MsgspecError as error:
        done.problems.append(Problem(DIGESTS, "", "a list of digests", str(error)))
        return
    if not sealed:
        done.notes.append(f"no {DIGESTS}: the run is older than such lists, or never ended")
        return
    done.checked.append(f"{len(sealed)} files against {DIGESTS}")
    if added := [name for name in names(folder) if name not in sealed]:
        done.notes.append(f"not in {DIGESTS}: {', '.join(added)}")
    for name, then in sealed.items():
        path = folder / name
        if path.is_file() and path.stat().st_size > then.bytes:
            done.notes.append(f"{name} has grown since {DIGESTS} was written: the rest is unsealed")


def _now(one: Any) -> str:  # noqa: ANN401 - digests.Broken
    return one.now.sha256 if one.now else "no such file"


def _check_lines(folder: Path, done: Verified) -> bool:
    """Whether every line of the record files is a record."""
    before, total = len(done.problems), 0
    for name, kind in _KINDS.items():
        path = folder / name
        if not path.is_file():
            continue
        decoder, number = msgspec.json.Decoder(kind), 1
        with path.open("rb") as file:
            while piece := file.read(_READ) + file.readline():
                if not piece.endswith(b"\n"):
                    at = number + piece.count(b"\n")
                    done.problems.append(Problem(name, f"line {at}", "a whole line", "torn"))
                wrong = _wrong_lines(piece, decoder, number)
                done.problems.extend(Problem(name, at, "a record", told) for at, told in wrong)
                number += piece.count(b"\n")
        total += number - 1
    done.checked.append(f"{total:,} lines are records")
    return len(done.problems) == before


def _wrong_lines(
    piece: bytes, decoder: "msgspec.json.Decoder[Any]", number: int
) -> Iterator[tuple[str, str]]:
    """Which lines of a piece are no records, and why; all are read at once, which is faster."""
    lines = piece.removesuffix(b"\n").split(b"\n")
    with suppress(msgspec.MsgspecError):
        if len(decoder.decode_lines(piece)) == len(lines):
            return
    for at, line in enumerate(lines, number):
        try:
            decoder.decode(line)
        except msgspec.MsgspecError as error:
            yield f"line {at}", str(error)


def _check_manifest(folder: Path, done: Verified) -> None:
    """run.json against its own digest, and the plan in it against the identity."""
    stored: dict[str, Any] = msgspec.json.decode((folder / RUN).read_bytes())
    if (told := stored.get("digest")) is not None:
        done.problems.extend(_differing(RUN, "digest", told, digest(stored["identity"])))
        done.checked.append(f"the identity in {RUN} against its digest")
    for name in ("limit", "repeat", "max_tokens", "temperature", "parts"):
        pair = (stored["plan"].get(name), stored["identity"].get(name))
        if stored["identity"].keys() >= {name}:
            done.problems.extend(_differing(RUN, f"plan.{name}", *pair))


def _check_data(folder: Path, opened: Opened, done: Verified) -> None:
    """The sources of now against those of then; that the prompts are the same, opening tells."""
    stored: dict[str, Any] = msgspec.json.decode((folder / RUN).read_bytes())
    now = {d.source.name: d for b in opened.benchmarks for d in b.data}
    for then in stored.get("data", []):
        if (data := now.get(then["name"])) is not None:
            where = f"data.{then['name']}"
            done.problems.extend(_differing(RUN, f"{where}.sha256", then["sha256"], data.sha256))
            done.problems.extend(
                _differing(RUN, f"{where}.verified", then["verified"], data.verified)
            )
    verified = sum(data.verified for data in now.values())
    done.checked.append(f"the prompts of {len(opened.benchmarks)} benchmarks against {RUN}")
    if now:
        done.checked.append(f"{len(now)} sources: {verified} verified")
    done.notes.extend(f"unverified data: {warning}" for warning in opened.unverified)


# ---------------------------------------------------------------- records


class _Prompts:
    """The prompts of a run by benchmark and id."""

    def __init__(self, opened: Opened) -> None:
        self._found = {b.name: (b, _finder(b.prompts)) for b in opened.benchmarks}

    def of(self, benchmark: str, prompt: str) -> tuple[Loaded, Prompt] | None:
        """A benchmark with one of its prompts."""
        if benchmark not in self._found:
            return None
        loaded, find = self._found[benchmark]
        found = find(prompt)
        return None if found is None else (loaded, found)


def _finder(prompts: Prompts) -> Callable[[str], Prompt | None]:
    """Finds a prompt by its id; those of a user's own file, which may be long, stay there."""
    return prompts.find if isinstance(prompts, JsonlPrompts) else {p.id: p for p in prompts}.get


class _About(msgspec.Struct):
    key: str = ""
    response: str | None = None


def _check_records(folder: Path, opened: Opened, manifest: Manifest, done: Verified) -> None:
    judging = manifest.judging
    judges = manifest.identity.judges | manifest.deputies | (judging.identity if judging else {})
    keys = Keys(opened, manifest.identity.models, judges, manifest.identity.victim)
    prompts = _Prompts(opened)
    offsets = KeyIndex(
        (at, r.key) for at, r in store.placed_records(folder / store.RESPONSES, _About)
    )
    keyed = 0
    for offset, response in store.placed_records(folder / store.RESPONSES, Response):
        if offsets.place(response.key) != offset:
            done.problems.append(Problem(store.RESPONSES, f"key {response.key}", "once", "twice"))
        found = prompts.of(response.benchmark, response.prompt)
        if found is None:
            what = f"{response.benchmark}, prompt {response.prompt}"
            done.problems.append(Problem(store.RESPONSES, what, "a prompt of the run", "unknown"))
            continue
        keyed += _check_response(response, *found, keys, done)
    done.checked.append(f"{len(offsets):,} responses: prompts, and {keyed:,} keys")
    _say_unkeyed(
        done, "responses", len(offsets) - keyed, "of a model that run.json does not tell of"
    )
    _check_verdicts(folder, offsets, prompts, keys, done)
    for name in _ABOUT:
        done.problems.extend(
            Problem(name, f"key {one.key or '?'}", f"response {one.response}", "no such response")
            for one in store.records(folder / name, _About)
            if one.response is not None and one.response not in offsets
        )


def _check_response(
    response: Response, benchmark: Loaded, prompt: Prompt, keys: Keys, done: Verified
) -> bool:
    """Hold a response against its prompt and its key; whether the key could be computed."""
    what = f"key {response.key}"
    for field in ("messages", "category", "label"):
        stored, wanted = getattr(response, field), getattr(prompt, field)
        if field == "messages" and benchmark.dialogue:
            continue  # what the model was told first, the talk decides
        if stored != wanted:
            done.problems.append(Problem(store.RESPONSES, f"{what}, {field}", stored, wanted))
    possible = keys.response(response, benchmark, prompt)
    if possible and response.key not in possible:
        done.problems.append(Problem(store.RESPONSES, what, response.key, possible[0]))
    return bool(possible)


def _check_verdicts(
    folder: Path, offsets: KeyIndex, prompts: _Prompts, keys: Keys, done: Verified
) -> None:
    """Hold each verdict against its response; its key hangs on the text that was judged."""
    total = keyed = 0
    with store.Reader(folder / store.RESPONSES, Response) as responses:
        for verdict in store.records(folder / store.VERDICTS, Verdict):
            total += 1
            what = f"key {verdict.key}"
            offset = offsets.place(verdict.response)
            response = None if offset is None else responses.at(offset)
            if response is None or response.key != verdict.response:
                problem = (f"response {verdict.response}", "no such response")
                done.problems.append(Problem(store.VERDICTS, what, *problem))
                continue
            for field in ("model", "benchmark", "prompt", "repeat"):
                pair = (getattr(verdict, field), getattr(response, field))
                if pair[0] != pair[1]:
                    done.problems.append(Problem(store.VERDICTS, f"{what}, {field}", *pair))
            found = prompts.of(response.benchmark, response.prompt)
            key = keys.verdict(verdict, response, *found) if found else None
            if key is None:
                continue
            keyed += 1
            if key != verdict.key and verdict.judge != BUILTIN:
                told = "the text, prompt, judge or rubric of another verdict"
                done.problems.append(Problem(store.VERDICTS, what, verdict.key, f"{key}: {told}"))
            elif (said := said_by_rules(verdict, response)) and key == verdict.key:
                pair = ((verdict.label, verdict.score), said)
                done.problems.extend(_differing(store.VERDICTS, f"{what}, verdict", *pair))
    done.checked.append(f"{total:,} verdicts: responses, and {keyed:,} keys")
    _say_unkeyed(done, "verdicts", total - keyed, "of judges outside the headline")


def _say_unkeyed(done: Verified, what: str, n: int, why: str) -> None:
    """What no key speaks for: only digests and numbers are held against it."""
    if n > 0:
        done.notes.append(f"the keys of {n:,} {what} were not computed again ({why})")


# ---------------------------------------------------------------- numbers


def _check_numbers(folder: Path, opened: Opened, done: Verified) -> None:
    """Count the run again and hold summary, flips and page against it."""
    try:
        stored = msgspec.json.decode((folder / SUMMARY).read_bytes(), type=dict[str, Any])
    except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
        done.problems.append(Problem(SUMMARY, "", "the summary of a run", str(error)))
        return
    stopped = stored.get("complete") is False
    found = counted(opened, folder, stopped=stopped)
    again: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(found.summary))
    same_version = stored.get("hiddenrisk") == __version__
    if not same_version:
        told = f"counted by hiddenrisk {stored.get('hiddenrisk')}, verified by {__version__}"
        done.notes.append(f"{told}: its page is not held against what this version would write")
        again["hiddenrisk"] = stored.get("hiddenrisk")
    kept = {k: v for k, v in stored.items() if k not in _MOMENTS}
    new = {k: v for k, v in again.items() if k not in _MOMENTS}
    done.problems.extend(differences(SUMMARY, "", kept, new))
    done.checked.append(f"{_leaves(kept):,} values of {SUMMARY}, counted again")
    flips = flip_lines(folder, found.flips)
    _check_text(folder, FLIPS, flips, "other samples differ", done)
    if same_version:  # the page of the records, whatever summary.json says
        moments = {k: v for k, v in stored.items() if k in _MOMENTS and isinstance(v, str)}
        page = page_of(folder, again | moments, found.shown)
        _check_text(folder, REPORT, [page], "another page", done)
    done.checked.append(f"{FLIPS}" + (f" and {REPORT}, made again" if same_version else ""))


def _check_text(
    folder: Path, name: str, wanted: Iterable[str], otherwise: str, done: Verified
) -> None:
    """Hold a file against what it would be, were it written again, piece by piece."""
    try:
        with (folder / name).open(encoding="utf-8", newline="") as file:
            same = all(file.read(len(piece)) == piece for piece in wanted) and not file.read(1)
    except (OSError, UnicodeDecodeError) as error:
        done.problems.append(Problem(name, "", "as stored", str(error)))
        return
    if not same:
        done.problems.append(Problem(name, "", "as stored", otherwise))


def differences(file: str, where: str, stored: object, found: object) -> Iterator[Problem]:
    """Where two JSON values differ, leaf by leaf."""
    if isinstance(stored, dict) and isinstance(found, dict):
        old, new = cast("dict[str, object]", stored), cast("dict[str, object]", found)
        for key in [*old, *(k for k in new if k not in old)]:
            place = f"{where}.{key}" if where else key
            yield from differences(file, place, old.get(key, _ABSENT), new.get(key, _ABSENT))
    elif isinstance(stored, list) and isinstance(found, list):
        ones, others = cast("list[object]", stored), cast("list[object]", found)
        if len(ones) != len(others):
            yield Problem(file, f"{where}, length", len(ones), len(others))
        for place, (one, other) in enumerate(zip(ones, others, strict=False)):
            yield from differences(file, f"{where}[{place}]", one, other)
    else:
        yield from _differing(file, where, stored, found)


_ABSENT = "(not there)"


def _same(stored: Any, found: Any) -> bool:  # noqa: ANN401 - JSON
    numbers = (int, float)
    if isinstance(stored, bool) or isinstance(found, bool):
        return stored is found
    if isinstance(stored, numbers) and isinstance(found, numbers):
        return abs(stored - found) <= _CLOSE * max(1.0, abs(stored), abs(found))
    return stored == found


def _differing(file: str, where: str, stored: Any, found: Any) -> Iterable[Problem]:  # noqa: ANN401
    return () if _same(stored, found) else (Problem(file, where, stored, found),)


def _leaves(value: object) -> int:
    if isinstance(value, dict):
        return sum(map(_leaves, cast("dict[str, object]", value).values()))
    if isinstance(value, list):
        return sum(map(_leaves, cast("list[object]", value)))
    return 1
