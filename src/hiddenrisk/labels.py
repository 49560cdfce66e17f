"""People's labels, read back from a sheet: checked as a whole before any of it is kept."""

import csv
import io
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from hiddenrisk.accounting import report
from hiddenrisk.asking import now
from hiddenrisk.errors import DataError, StoreError, UsageError
from hiddenrisk.plan import Settings
from hiddenrisk.reopening import open_headline
from hiddenrisk.sheets import CHOICES, read_summary
from hiddenrisk.stats.agreement import cohen_kappa, krippendorff_alpha, percent_agreement
from hiddenrisk.store import LABEL_FILES, LABELS, SHEETS, Journal, records
from hiddenrisk.types import Estimate, HumanLabel, Part, Sheet, SheetItem

_DELIMITERS = (",", ";", "\t")
_MOST_BYTES = 1 << 30


class Imported(NamedTuple):
    """What an import added."""

    added: int
    changed: int
    """Labels that the same person had given otherwise before."""
    same: int
    """Labels that were there already."""
    skipped: int
    """Rows without a label."""


class Agreed(NamedTuple):
    """How far people agree with one another, on the texts that several labelled."""

    people: tuple[str, ...]
    texts: int
    agreed: Estimate
    kappa: Estimate | None
    """Cohen's, of two."""
    alpha: float | None
    """Krippendorff's, of more."""


class _Row(NamedTuple):
    line: int
    id: str
    label: str
    who: str


def take_in(folder: Path, file: Path, who: str | None = None) -> Imported:
    """Read a filled-in sheet and keep its labels in the run; all of them, or none.

    Args:
        folder: the run directory.
        file: a CSV with the columns id and label, and who labelled if it likes.
        who: who labelled, where the file does not say; its name otherwise.

    Raises:
        DataError: the file is no such sheet, or a row of it is wrong; says which.
        UsageError: the directory is no run, or the run has no sheet.
    """
    read_summary(folder)
    sheets = list(records(folder / SHEETS, Sheet))
    if not sheets:
        raise UsageError(
            f"{folder} has no label sheet; `hiddenrisk labels export {folder} --to DIR` makes one"
        )
    rows, skipped = _filled(file, who or file.stem)
    found = _checked(rows, sheets, folder, file)
    with Journal(folder, LABEL_FILES) as journal:
        kept = list(records(folder / LABELS, HumanLabel))
        before = {(x.response, x.part, x.who): x.label for x in kept}
        # A label counts for each sheet it stands on: they were drawn in different ways.
        there = {(x.response, x.part, x.who, x.sheet): x.label for x in kept}
        said = Counter[str]()
        for label in found:
            place = (label.response, label.part, label.who)
            old = before.get(place)
            if old != label.label or there.get((*place, label.sheet)) != label.label:
                journal.append(label)
            said["added" if old is None else "same" if old == label.label else "changed"] += 1
    return Imported(said["added"], said["changed"], said["same"], skipped)


def _filled(file: Path, who: str) -> tuple[list[_Row], int]:
    """The rows with a label, and how many have none."""
    found = _table(file)
    rows: list[_Row] = []
    for line, row in found:
        name, label = (row["id"] or "").strip(), (row["label"] or "").strip().lower()
        if not name and not label and not any(value for value in row.values() if value):
            continue  # an empty line
        if not name:
            raise DataError(
                f"{file}, line {line}: a row has no id; each stands as on the sheet, "
                "for example a1b2c3-0001"
            )
        rows.append(_Row(line, name, label, (row.get("who") or "").strip().lstrip("'") or who))
    seen: dict[tuple[str, str], int] = {}
    for row in rows:
        first = seen.setdefault((row.id, row.who), row.line)
        if first != row.line:
            raise DataError(
                f"{file}, line {row.line}: {row.id} stands on line {first} already, and one label "
                "of each person can count; leave one out"
            )
    filled = [row for row in rows if row.label]
    if not filled:
        raise DataError(f"{file} has no label: the column label is empty in all {len(rows)} rows")
    return filled, len(rows) - len(filled)


def _table(file: Path) -> list[tuple[int, dict[str, str | None]]]:
    """The rows of a CSV with the lines they end on, whatever a spreadsheet put between its cells."""
    try:
        if file.stat().st_size > _MOST_BYTES:
            raise DataError(f"{file} is larger than 1 GB and no label sheet")
        text = file.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{file} is not UTF-8 text; save it as CSV UTF-8") from error
    except OSError as error:
        raise DataError(f"{file} cannot be read: {error.strerror or error}") from error
    if not text.strip():
        raise DataError(f"{file} is empty")
    for delimiter in _DELIMITERS:
        reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter, restval="")
        try:
            names = [name.strip().lower() for name in reader.fieldnames or ()]
            if {"id", "label"} <= set(names):
                reader.fieldnames = names
                return list(_cells(reader, names, file))
        except csv.Error as error:
            raise DataError(f"{file}, line {reader.line_num}: no CSV ({error})") from error
    raise DataError(f"{file} has no columns id and label in its first line")


def _cells(
    reader: "csv.DictReader[str]", names: Sequence[str], file: Path
) -> Iterator[tuple[int, dict[str, str | None]]]:
    """The rows by column.

    Raises:
        DataError: a column that counts stands there twice, or a row has more cells than columns.
    """
    if twice := next((name for name in ("id", "label", "who") if names.count(name) > 1), None):
        raise DataError(f"{file}: the column {twice} stands in its first line twice")
    for row in reader:
        if any(more.strip() for more in row.pop(None, ())):
            raise DataError(
                f"{file}, line {reader.line_num}: more cells than the first line names; put one "
                'that has commas between quotation marks ("...")'
            )
        yield reader.line_num, row


def _checked(
    rows: Sequence[_Row], sheets: Sequence[Sheet], folder: Path, file: Path
) -> list[HumanLabel]:
    """The rows as labels of this run.

    Raises:
        DataError: an id is of no sheet of this run, or a label is not one of its choices.
    """
    places: dict[str, tuple[Sheet, SheetItem]] = {
        item.id: (sheet, item) for sheet in sheets for item in sheet.items
    }
    at = now()
    found: list[HumanLabel] = []
    for row in rows:
        where = f"{file}, line {row.line}"
        if row.id not in places:
            raise DataError(f"{where}: {_stranger(row.id, sheets, folder)}")
        sheet, item = places[row.id]
        choices = CHOICES[item.prompt_label]
        if row.label not in choices:
            raise DataError(
                f"{where}: {row.label[:60]!r} is no label of {row.id}; it takes "
                f"{', '.join(choices)}, or nothing to skip it"
            )
        found.append(
            HumanLabel(
                response=item.response,
                part=item.part,
                label=row.label,
                score=choices[row.label],
                who=row.who,
                sheet=sheet.sheet,
                drawn=sheet.drawn,
                probability=sheet.probability,
                at=at,
            )
        )
    return found


def _stranger(name: str, sheets: Sequence[Sheet], folder: Path) -> str:
    ours = ", ".join(sheet.sheet for sheet in sheets)
    if name.rpartition("-")[0] in {sheet.sheet for sheet in sheets}:
        return f"there is no {name[:60]} on that sheet; ids stand as they were exported"
    return f"{name[:60]} is on no label sheet of {folder} (it has {ours}): these are of another run"


def agreement(folder: Path) -> Agreed | None:
    """How far people agree; None where no text has labels of two.

    "unsure" is no label here. The last label of a person counts.
    """
    said: dict[tuple[str, Part], dict[str, str]] = {}
    for label in records(folder / LABELS, HumanLabel):
        said.setdefault((label.response, label.part), {})[label.who] = label.label
    people = tuple(sorted({who for labels in said.values() for who in labels}))
    rows = [_known(labels, people) for labels in said.values()]
    shared = [row for row in rows if sum(label is not None for label in row) > 1]
    if not shared:
        return None
    same = [(len({label for label in row if label is not None}), 1) for row in shared]
    kappa = None
    if len(people) == 2:
        kappa = cohen_kappa(Counter((str(a), str(b)) for a, b in shared))
    return Agreed(
        people,
        len(shared),
        percent_agreement(same),
        kappa,
        krippendorff_alpha(shared) if len(people) > 2 else None,
    )


def _known(labels: Mapping[str, str], people: Sequence[str]) -> tuple[str | None, ...]:
    known = (labels.get(who) for who in people)
    return tuple(label if label != "unsure" else None for label in known)


def recount(folder: Path) -> dict[str, Any] | str:
    """Make summary and report anew, so that they know the labels; no call is made.

    Returns:
        The summary; or why it is as it was, with what makes it anew.

    Raises:
        StoreError: run.json cannot be read, or another process writes to the run.
    """
    try:
        opened = open_headline(folder, Settings())
    except StoreError:
        raise
    except UsageError as error:
        return f"{error}. The labels are kept, and count once that is done"
    with Journal(folder):
        return report(opened, folder)
