"""What is known of a judge's errors: calibrations, and human labels of a run's own responses.

Both are files that a user names, checked before anything is sent.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec

from hiddenrisk.calibration import MAX_BYTES, Calibrated, read_calibration
from hiddenrisk.errors import DataError, StoreError
from hiddenrisk.label_sets.own import CLASSES, WORDS, Row, class_of, read, table
from hiddenrisk.store import LABELS, write_json
from hiddenrisk.types import Part

EVIDENCE = "evidence.json"
_HINT = "Write safe or unsafe, or complied or refused"
_WORDS = {**WORDS, "helped": "complied"}


class Place(msgspec.Struct):
    """Which response a record is."""

    key: str
    prompt: str
    repeat: int


class PartLabel(msgspec.Struct, frozen=True, kw_only=True):
    """What a human says of one part of one response of a run."""

    unsafe: bool
    part: Part = Part.ANSWER
    response: str = ""
    """The response's key; or else the prompt's id, with what narrows it down."""
    prompt: str = ""
    benchmark: str = ""
    model: str = ""
    repeat: int | None = None

    def fits(self, place: Place, model: str, benchmark: str) -> bool:
        """Whether it is a label of this response."""
        if self.response:
            return self.response == place.key
        return (
            self.prompt == place.prompt
            and self.repeat in (None, place.repeat)
            and self.model in ("", model)
            and self.benchmark in ("", benchmark)
        )


class Evidence(msgspec.Struct, frozen=True, kw_only=True):
    """All that is known."""

    calibrations: tuple[Calibrated, ...] = ()
    labels: tuple[PartLabel, ...] = ()

    @property
    def asked(self) -> bool:
        """Whether corrected rates are wanted."""
        return bool(self.calibrations or self.labels)


def open_evidence(calibrations: Sequence[str], labels: str | None) -> Evidence:
    """Read what the user named.

    Raises:
        UsageError: a file is no calibration, or a label is not what it should be.
    """
    found = [one for path in calibrations for one in read_calibration(Path(path))]
    return Evidence(
        calibrations=tuple(found),
        labels=read_labels(Path(labels)) if labels else (),
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
    return msgspec.structs.replace(now, labels=(*_drawn(folder / LABELS), *now.labels))


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
    return _majority(table(read(file), file, required=("label",))) if file.is_file() else ()


def read_labels(path: Path) -> tuple[PartLabel, ...]:
    """Human labels of a run's responses: CSV or JSONL with `label` and `prompt` or `response`.

    `prompt` (or `id`) is the prompt's id, `response` the response's key; `benchmark`, `model`,
    `repeat` and `part` (answer or thinking) narrow it down. Of several people (`who`) the
    majority counts. The labels.jsonl of a run is such a file; what it has of disputed
    responses is left out, because they are no random draw.

    Raises:
        DataError: it cannot be read, or a row is not what it should be.
    """
    found = _majority(table(read(path), path, required=("label",)))
    if not found:
        raise DataError(f"{path}: it has no labels of responses drawn at random")
    return found


def _majority(rows: Iterable[Row]) -> tuple[PartLabel, ...]:
    """What most people say of each response; nothing where they are even."""
    found: dict[PartLabel, dict[str, bool]] = {}
    for row in rows:
        if row.fields.get("drawn") == "disputed" or row.fields["label"].lower() == "unsure":
            continue  # neither a random draw nor a label
        label, who = _label(row), row.fields.get("who") or ""
        said = found.setdefault(msgspec.structs.replace(label, unsafe=False), {})
        if who in said and "sheet" not in row.fields:  # a run's own records may be corrected
            raise DataError(f"{row.where}: a second label for the same response and part")
        said[who] = label.unsafe
    votes = {one: 2 * sum(said.values()) - len(said) for one, said in found.items()}
    return tuple(
        msgspec.structs.replace(one, unsafe=more > 0) for one, more in votes.items() if more
    )


def _label(row: Row) -> PartLabel:
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
    repeat = fields.get("repeat") or ""
    if repeat and not (repeat.isascii() and repeat.isdigit() and len(repeat) < 10):
        raise DataError(f"{row.where}, field repeat: expected a number, found '{repeat[:40]}'")
    known = class_of(fields["label"], _WORDS, f"{row.where}, field label", _HINT)
    return PartLabel(
        unsafe=CLASSES[known][2],
        part=Part(part),
        response=response,
        prompt=prompt,
        benchmark=fields.get("benchmark") or "",
        model=fields.get("model") or "",
        repeat=int(repeat) if repeat else None,
    )
