"""A digest of a checkpoint's files: which weights they are."""

import hashlib
from collections.abc import Collection
from pathlib import Path

_SMALL = frozenset({".json", ".jinja", ".model"})
_SMALL_BYTES = 64 << 20
_TAIL_BYTES = 1 << 16


def fingerprint(folder: Path, weights: Collection[str]) -> str:
    """A digest that tells checkpoints apart without reading tens of gigabytes.

    Of small files all bytes; of weights the size, the header's start and the last 64 KB.

    Args:
        folder: where the files are.
        weights: the names of those that hold the weights.

    Returns:
        32 hexadecimal digits.
    """
    digest = hashlib.sha256()
    small = {p.name for p in folder.iterdir() if p.suffix in _SMALL}
    for name in sorted({*small, *weights}):
        path = folder / name
        size = path.stat().st_size
        digest.update(f"{name}\0{size}\0".encode())
        with path.open("rb") as file:
            if name not in weights and size <= _SMALL_BYTES:
                digest.update(file.read())
                continue
            digest.update(file.read(_TAIL_BYTES))
            file.seek(max(0, size - _TAIL_BYTES))
            digest.update(file.read())
    return digest.hexdigest()[:32]
