"""What is known of a judge's errors: calibrations, and human labels of a run's own responses.

Both are files that a user names, checked before anything is sent.
"""

from collections.abc import Sequence
from pathlib import Path

import msgspec

from hiddenrisk.calibration import Calibrated, read_calibration
from hiddenrisk.errors import DataError
from hiddenrisk.label_sets.own import CLASSES, WORDS, Row, class_of, read, table
from hiddenrisk.types import Part

_HINT = "Write safe or unsafe, or complied or refused"
_WORDS = {**WORDS, "helped": "complied"}


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

    def fits(self, key: str, prompt: str, repeat: int, model: str, benchmark: str) -> bool:
        """Whether it is a label of this response."""
        if self.response:
            return self.response == key
        return (
            self.prompt == prompt
            and self.repeat in (None, repeat)
            and self.model in ("", model)
            and self.benchmark in ("", benchmark)
        )


class Evidence(msgspec.Struct, frozen=True, kw_only=True):
    """All that is known."""

    calibrations: tuple[Calibrated, ...] = ()
    labels: tuple[PartLabel, ...] = ()
    asked: bool = False
    """Whether corrected rates are wanted."""


def open_evidence(calibrations: Sequence[str], labels: str | None) -> Evidence:
    """Read what the user named.

    Raises:
        UsageError: a file is no calibration, or a label is not what it should be.
    """
    found = [one for path in calibrations for one in read_calibration(Path(path))]
    return Evidence(
        calibrations=tuple(found),
        labels=read_labels(Path(labels)) if labels else (),
        asked=bool(calibrations or labels),
    )


def read_labels(path: Path) -> tuple[PartLabel, ...]:
    """Human labels of a run's responses: CSV or JSONL with `label` and `prompt` or `response`.

    `prompt` (or `id`) is the prompt's id, `response` the response's key; `benchmark`, `model`,
    `repeat` and `part` (answer or thinking) narrow it down. Of several people (`who`) the
    majority counts. The labels.jsonl of a run is such a file; what it has of disputed
    responses is left out, because they are no random draw.

    Raises:
        DataError: it cannot be read, or a row is not what it should be.
    """
    found: dict[PartLabel, dict[str, bool]] = {}
    for row in table(read(path), path, required=("label",)):
        if row.fields.get("drawn") == "disputed" or row.fields["label"].lower() == "unsure":
            continue  # neither a random draw nor a label
        label, who = _label(row), row.fields.get("who") or ""
        said = found.setdefault(msgspec.structs.replace(label, unsafe=False), {})
        if who in said and "sheet" not in row.fields:  # a run's own records may be corrected
            raise DataError(f"{row.where}: a second label for the same response and part")
        said[who] = label.unsafe
    if not found:
        raise DataError(f"{path}: it has no labels of responses drawn at random")
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
