"""A stored run counted again: `hiddenrisk report`. Nobody is asked anything."""

from contextlib import nullcontext
from pathlib import Path
from typing import Any, NamedTuple

from hiddenrisk.errors import StoreError
from hiddenrisk.manifest import has_records
from hiddenrisk.opening import Opened
from hiddenrisk.plan import Settings
from hiddenrisk.reopening import open_headline
from hiddenrisk.run import report
from hiddenrisk.store import Journal, cannot_write


class Reported(NamedTuple):
    """A run that was counted again."""

    opened: Opened
    to: Path
    """Where the files are."""
    summary: dict[str, Any]


def report_again(folder: Path, settings: Settings, to: Path | None = None) -> Reported:
    """Count a stored run, and write what comes of it.

    Args:
        folder: the run directory.
        settings: where the data are.
        to: another folder for the files; the run is then only read, and may be going on.

    Raises:
        StoreError: it is no run that can be opened, another process writes there, or `to`
            cannot be written or is a run of its own.
        DataError: a benchmark's data are missing, or others than those of the run.
    """
    opened = open_headline(folder, settings)
    elsewhere = to is not None and to.resolve() != folder.resolve()
    if to is not None and elsewhere:
        _make(to)
    with nullcontext() if elsewhere else Journal(folder, {}):
        return Reported(opened, to or folder, report(opened, folder, to=to))


def _make(to: Path) -> None:
    try:
        to.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise cannot_write(to, error) from error
    if has_records(to):
        raise StoreError(f"{to} is a run of its own; name another folder with --to")
