"""Whether a run is as its last pass left it, with nothing left to do.

A pass that saw to every sample and failed at nothing leaves a word of it. As long as the plan
is the same and no file has changed since, the same command has nothing to ask and nothing to
count: a million samples are known to be there without a look at one.
"""

from contextlib import suppress
from pathlib import Path

import msgspec

from hiddenrisk.asking import digest
from hiddenrisk.digests import MADE, names
from hiddenrisk.errors import StoreError
from hiddenrisk.manifest import manifest_of
from hiddenrisk.opening import Opened
from hiddenrisk.store import write_json

_WORD = ".settled.json"
_MOMENTS = frozenset({"command", "started", "environment"})
"""What of a manifest decides no number."""


class _Settled(msgspec.Struct, frozen=True):
    plan: str
    records: str
    """The files that a run is made of, as they were."""
    made: str
    """Those that are made from them."""


def settle(opened: Opened, folder: Path) -> None:
    """Leave word that there is nothing left to do, if the disk takes it."""
    with suppress(StoreError):
        write_json(folder / _WORD, _state(opened, folder))


def settle_made(folder: Path) -> None:
    """Renew the word, if it still holds, where the made files have been made anew."""
    if (there := _read(folder)) is not None and there.records == _files(folder, names(folder)):
        renewed = msgspec.structs.replace(there, made=_files(folder, MADE))
        with suppress(StoreError):
            write_json(folder / _WORD, renewed)


def settled(opened: Opened, folder: Path) -> bool:
    """Whether there is nothing left to do, and all is as it was."""
    there = _read(folder)
    return there is not None and _alone(opened) and there == _state(opened, folder)


def _alone(opened: Opened) -> bool:
    """Whether no file outside the folder decides a number, but for the prompts."""
    settings = opened.settings
    return not (opened.evidence.asked or settings.prices or settings.price)


def _state(opened: Opened, folder: Path) -> _Settled:
    manifest = {k: v for k, v in manifest_of(opened).items() if k not in _MOMENTS}
    return _Settled(digest(manifest), _files(folder, names(folder)), _files(folder, MADE))


def _files(folder: Path, wanted: "list[str] | frozenset[str]") -> str:
    """How long these files are and when they were written, digested."""
    found = [(name, (folder / name).stat()) for name in sorted(wanted) if (folder / name).is_file()]
    return digest([(name, stat.st_size, stat.st_mtime_ns) for name, stat in found])


def _read(folder: Path) -> _Settled | None:
    try:
        return msgspec.json.decode((folder / _WORD).read_bytes(), type=_Settled)
    except (OSError, msgspec.DecodeError, UnicodeDecodeError):
        return None
