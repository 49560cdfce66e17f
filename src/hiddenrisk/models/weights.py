"""A model's files in a folder: whether they are there, and which ones they are."""

import hashlib
from pathlib import Path

from hiddenrisk.errors import UsageError

_SMALL = frozenset({".json", ".jinja", ".model"})
_SMALL_BYTES = 64 << 20
_TAIL_BYTES = 1 << 16
_HERE = ("/", "./", "../", "~")
_TOKENIZERS = ("tokenizer.json", "tokenizer.model", "vocab.json")


def folder_of(model: str) -> Path | None:
    """The folder that a model's name is; None where it is a hub id."""
    return Path(model).expanduser() if model.startswith(_HERE) else None


def check(folder: Path, label: str) -> None:
    """See that a folder holds a model, before anything heavy is loaded.

    Raises:
        UsageError: it does not.
    """
    if not (folder / "config.json").is_file():
        raise UsageError(
            f"{label}: there is no config.json in {folder}; name the folder of a checkpoint, or a "
            "hub id: vllm/org/name"
        )
    if next(folder.glob("*.safetensors"), None) is None:
        raise UsageError(
            f"{label}: there is no *.safetensors in {folder}; weights are read from safetensors "
            "only. Convert the checkpoint, or take a copy that has them"
        )
    if not any((folder / name).is_file() for name in _TOKENIZERS):
        raise UsageError(
            f"{label}: there is no tokenizer in {folder} ({' or '.join(_TOKENIZERS)}); put its "
            "files beside the weights"
        )


def fingerprint(folder: Path) -> str:
    """A digest that tells checkpoints apart without reading tens of gigabytes.

    Of small files all bytes; of weights the size, the start with its header, and the end.
    """
    digest = hashlib.sha256()
    found = [p for p in folder.iterdir() if p.suffix in {*_SMALL, ".safetensors"} and p.is_file()]
    for path in sorted(found):
        size = path.stat().st_size
        digest.update(f"{path.name}\0{size}\0".encode())
        with path.open("rb") as file:
            if path.suffix in _SMALL and size <= _SMALL_BYTES:
                digest.update(file.read())
                continue
            digest.update(file.read(_TAIL_BYTES))
            file.seek(max(0, size - _TAIL_BYTES))
            digest.update(file.read())
    return digest.hexdigest()[:32]
