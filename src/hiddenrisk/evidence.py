"""What is known of a judge's errors: calibrations, and human labels of a run's own responses.

Both are files that a user names, checked before anything is sent, and kept in the run.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec
from msgspec.structs import replace

from hiddenrisk.calibration import MAX_BYTES, Calibrated, read_calibration
from hiddenrisk.errors import DataError, StoreError
from hiddenrisk.label_sets.base import Question
from hiddenrisk.label_sets.own import CLASSES, WORDS, Row, class_of, read, table
from hiddenrisk.store import LABELS, write_json
from hiddenrisk.types import UNSURE, Part

EVIDENCE = "evidence.json"
_HINT = "Write safe or unsafe, complied or refused, or unsure"
_WORDS = {**WORDS, "helped": "complied"}


class Place(msgspec.Struct):
    """Which response a record is."""

    key: str
    prompt: str
    repeat: int


class PartLabel(msgspec.Struct, frozen=True, kw_only=True):
    """What humans say of one part of one response of a run."""

    unsafe: bool | None
    """None where they are unsure, or as many say one thing as the other."""
    question: Question | None = None
    """What they were asked, as far as their word tells."""
    part: Part = Part.ANSWER
    response: str = ""
    """The response's key; or else the prompt's id, with what narrows it down."""
    prompt: str = ""
    benchmark: str = ""
    model: str = ""
    repeat: int = 0

    def fits(self, place: Place, model: str, benchmark: str) -> bool:
        """Whether it is a label of this response."""
        if self.response:
            return self.response == place.key
        there = (self.prompt, self.repeat, self.model, self.benchmark)
        return there == (place.prompt, place.repeat, model, benchmark)


class Evidence(msgspec.Struct, frozen=True, kw_only=True):
    """All that is known."""

    calibrations: tuple[Calibrated, ...] = ()
    labels: tuple[PartLabel, ...] = ()

    @property
    def asked(self) -> bool:
        """Whether corrected rates are wanted."""
        return bool(self.calibrations or self.labels)


class Scope(NamedTuple):
    """The responses of a run: what a label must say to be of one of them only."""

    models: Sequence[str]
    benchmarks: Sequence[str]
    repeat: int = 1


def open_evidence(calibrations: Sequence[str], labels: str | None, scope: Scope) -> Evidence:
    """Read what the user named.

    Raises:
        UsageError: a file is no calibration, or a label is not what it should be.
    """
    found = [one for path in calibrations for one in read_calibration(Path(path))]
    return Evidence(
        calibrations=tuple(found),
        labels=read_labels(Path(labels), scope) if labels else (),
    )


def settled(folder: Path, named: Evidence) -> Evidence:
    """What is known where a run is counted: what is named now, or else was named before.

    It is kept in the run, so that who counts it again, elsewhere or for new labels, has it.
    The run's own labels of texts drawn at random count as well; a named file goes first.

    Raises:
        StoreError: the disk is full, or what was kept there cannot be read.
        DataError: the run's labels are not what they should be.
    """
    file = folder / EVIDENCE
    before = _kept(file)
    now = Evidence(
        calibrations=named.calibrations or before.calibrations,
        labels=named.labels or before.labels,
    )
    if now != before:
        write_json(file, now)
    return replace(now, labels=(*_drawn(folder / LABELS), *now.labels))


def _kept(file: Path) -> Evidence:
    try:
        if file.stat().st_size > MAX_BYTES:
            raise StoreError(f"{file} has more than {MAX_BYTES >> 20} MiB; remove it")
        return msgspec.json.decode(file.read_bytes(), type=Evidence)
    except FileNotFoundError:
        return Evidence()
    except (OSError, msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise StoreError(
            f"{file} cannot be read ({error}); remove it, and name --calibration and --labels again"
        ) from error


def _drawn(file: Path) -> tuple[PartLabel, ...]:
    """What people said of texts that `labels export` drew at random."""
    if not file.is_file():
        return ()
    return _voted(table(read(file), file, required=("label",)), Scope((), ()))


def read_labels(path: Path, scope: Scope) -> tuple[PartLabel, ...]:
    """Human labels of a run's responses: CSV or JSONL with `label` and `prompt` or `response`.

    `prompt` (or `id`) is the prompt's id, `response` the response's key; `benchmark`, `model`,
    `repeat` and `part` (answer or thinking) say which one, where there are several. Of several
    people (`who`) the majority counts. The labels.jsonl of a run is such a file; what it has
    of disputed responses is left out, because they are no random draw.

    Args:
        path: the file.
        scope: the responses that there are.

    Raises:
        DataError: it cannot be read, or a row is not what it should be, or could be of several
            responses.
    """
    found = _voted(table(read(path), path, required=("label",)), scope)
    if not found:
        raise DataError(f"{path}: it has no labels of responses drawn at random")
    return found


def _voted(rows: Iterable[Row], scope: Scope) -> tuple[PartLabel, ...]:
    """What most people say of each response; of each person the last word counts."""
    found: dict[PartLabel, dict[str, bool | None]] = {}
    questions: dict[PartLabel, Question | None] = {}
    for row in rows:
        if row.fields.get("drawn") == "disputed":
            continue  # no random draw
        label, who = _label(row, scope), row.fields.get("who") or ""
        place = replace(label, unsafe=None, question=None)
        questions[place] = questions.get(place) or label.question
        said = found.setdefault(place, {})
        if who in said and "sheet" not in row.fields:  # a run's own records may be corrected
            raise DataError(f"{row.where}: a second label for the same response and part")
        said[who] = label.unsafe
    return tuple(
        replace(one, unsafe=_majority(said), question=questions[one]) for one, said in found.items()
    )


def _majority(said: Mapping[str, bool | None]) -> bool | None:
    votes = [vote for vote in said.values() if vote is not None]
    more = 2 * sum(votes) - len(votes)
    return more > 0 if more else None


def _label(row: Row, scope: Scope) -> PartLabel:
    fields = row.fields
    prompt = fields.get("prompt") or fields.get("id") or ""
    response = fields.get("response") or ""
    if not prompt and not response:
        raise DataError(f"{row.where}: neither prompt (the prompt's id) nor response (its key)")
    part = fields.get("part") or Part.ANSWER.value
    if part not in set(Part):
        raise DataError(
            f"{row.where}, field part: expected answer or thinking, found '{part[:40]}'"
        )
    unsafe, question = _said(row)
    label = PartLabel(unsafe=unsafe, question=question, part=Part(part), response=response)
    if response:
        return label
    return replace(
        label,
        prompt=prompt,
        benchmark=_one_of(row, "benchmark", scope.benchmarks),
        model=_one_of(row, "model", scope.models),
        repeat=_repeat(row, scope),
    )


def _said(row: Row) -> tuple[bool | None, Question | None]:
    """Whether it is unsafe (or helps), and which of the two was asked."""
    word = row.fields["label"]
    if word.strip().lower() == UNSURE:
        return None, None
    question, _, unsafe = CLASSES[class_of(word, _WORDS, f"{row.where}, field label", _HINT)]
    return unsafe, question


def _one_of(row: Row, field: str, names: Sequence[str]) -> str:
    """What a row says of itself; or what there is, where there is only one.

    Raises:
        DataError: it could be of several.
    """
    named = row.fields.get(field) or ""
    if not named and len(names) > 1:
        raise DataError(
            f"{row.where}: the run has several {field}s ({', '.join(names[:5])}); name the one that "
            f"the label is for in a column {field}, or the response's key in a column response"
        )
    return named or next(iter(names), "")


def _repeat(row: Row, scope: Scope) -> int:
    repeat = row.fields.get("repeat") or ""
    if not repeat and scope.repeat > 1:
        raise DataError(
            f"{row.where}: each prompt was asked {scope.repeat} times; say which of them the label is "
            f"for in a column repeat (0 to {scope.repeat - 1})"
        )
    if repeat and not (repeat.isascii() and repeat.isdigit() and len(repeat) < 10):
        raise DataError(f"{row.where}, field repeat: expected a number, found '{repeat[:40]}'")
    return int(repeat or 0)
