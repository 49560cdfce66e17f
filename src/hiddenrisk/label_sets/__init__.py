"""Human labels to measure judges by: one file a source. `open_labels` loads a set."""

from collections.abc import Mapping
from pathlib import Path

from hiddenrisk.errors import DataError, unknown
from hiddenrisk.label_sets import harmbench, own, pyrit, xstest
from hiddenrisk.label_sets.base import BuiltinSet, LabelSet

LABEL_SETS: dict[str, BuiltinSet] = {
    s.name: s for s in (xstest.SET, harmbench.SET, pyrit.REFUSAL_SET, pyrit.HARM_SET)
}


def open_labels(text: str, data_dir: Path | None, words: Mapping[str, str]) -> LabelSet:
    """The set that a name (`xstest`) or a path (`mine.csv`, `mine.jsonl`) stands for.

    Raises:
        UsageError: nobody knows it.
        DataError: its file cannot be read.
    """
    if text in LABEL_SETS:
        return LABEL_SETS[text].load(data_dir)
    path = Path(text)
    if path.suffix.lower() in {".csv", ".jsonl"}:
        if path.stem in LABEL_SETS:
            raise DataError(
                f"{path} would be called '{path.stem}', as a set that comes with hiddenrisk; "
                "rename the file"
            )
        return own.load(path, words)
    raise unknown(
        "label set", text, LABEL_SETS, see="A path to your own .csv or .jsonl works as well."
    )
