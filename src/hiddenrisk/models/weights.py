"""A model's files in a folder: whether they are there, and which ones they are."""

from pathlib import Path

from hiddenrisk.checkpoints import fingerprint
from hiddenrisk.errors import UsageError

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


def fingerprint_of(folder: Path) -> str:
    """A digest of the files; see `checkpoints.fingerprint`."""
    return fingerprint(folder, [path.name for path in folder.glob("*.safetensors")])
