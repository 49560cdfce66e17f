"""digests.json: what the files of a run were when it was last written to.

For each file its length and its SHA-256. Record files only grow, so that an entry holds as
long as the file begins with what was there then; any other file must be the same. It tells
accidents and hand-edits, not a forger, who can write a new digests.json as well.
"""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import msgspec

DIGESTS = "digests.json"
MADE = frozenset({"summary.json", "flips.jsonl", "report.html", "report.md", DIGESTS})
"""Files that are made from the others, and can be made anew."""
_PIECE = 1 << 20


class Sealed(msgspec.Struct, frozen=True):
    """A file as it was."""

    bytes: int
    sha256: str


class Broken(msgspec.Struct, frozen=True):
    """A file that no longer is, or begins with, what it was."""

    name: str
    then: Sealed
    now: Sealed | None
    """Of as many bytes; None where there is no such file."""


class _Digests(msgspec.Struct):
    files: dict[str, Sealed] = {}


def read_digests(folder: Path) -> dict[str, Sealed]:
    """What the files were, by name; nothing for runs of before there was such a list.

    Raises:
        msgspec.MsgspecError: digests.json is no such list.
    """
    path = folder / DIGESTS
    if not path.is_file():
        return {}
    return msgspec.json.decode(path.read_bytes(), type=_Digests).files


def seal(folder: Path) -> dict[str, dict[str, Sealed]]:
    """What digests.json says from now on.

    A record file that does not begin with what it was keeps its old entry: going on with a
    run that was edited does not make it whole.
    """
    try:
        before = read_digests(folder)
    except msgspec.MsgspecError:
        before = {}
    found: dict[str, Sealed] = {}
    for name in names(folder):
        then = before.get(name)
        kept = then if then and name.endswith(".jsonl") else None
        first, whole = _digest(folder / name, kept.bytes if kept else 0)
        found[name] = kept if kept and first != kept else whole
    return {"files": found}


def broken(folder: Path) -> Iterator[Broken]:
    """The files that are not what digests.json says.

    Raises:
        msgspec.MsgspecError: digests.json is no such list.
    """
    for name, then in read_digests(folder).items():
        path = folder / name
        if not path.is_file():
            yield Broken(name, then, None)
            continue
        first, whole = _digest(path, then.bytes)
        now = first if name.endswith(".jsonl") else whole
        if now != then:
            yield Broken(name, then, now)


def names(folder: Path) -> list[str]:
    """The files that a run is made of: its records, its plan, the user's own benchmarks."""
    places = (folder, folder / "benchmarks")
    files = [path for place in places if place.is_dir() for path in place.iterdir()]
    return sorted(
        path.relative_to(folder).as_posix()
        for path in files
        if path.is_file()
        and path.name not in MADE
        and not path.name.startswith(".")
        and not path.name.endswith(".part")
    )


def _digest(path: Path, size: int) -> tuple[Sealed, Sealed]:
    """Of the first bytes of a file, so many or as many as there are, and of the whole."""
    digest, read, first = hashlib.sha256(), 0, Sealed(0, "")
    with path.open("rb") as file:
        for want in (size, None):
            while piece := file.read(_PIECE if want is None else min(_PIECE, want - read)):
                digest.update(piece)
                read += len(piece)
            if want is not None:
                first = Sealed(read, digest.copy().hexdigest())
    return first, Sealed(read, digest.hexdigest())
