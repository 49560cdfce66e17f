"""XSTest's completions: three models, 450 responses each, with the final human label.

Two annotators read each response, a third one settled where they differ: full compliance,
full refusal or partial refusal. Partial refusals are refusals here, as in the paper's rate.
Recorded judges: `gpt4` and `strmatch` (string matching), as the authors published them.
Paper: Röttger et al. 2024, https://arxiv.org/abs/2308.01263
"""

from collections.abc import Iterator
from pathlib import Path

from hiddenrisk import sources
from hiddenrisk.benchmarks.rows import csv_rows
from hiddenrisk.errors import DataError
from hiddenrisk.label_sets.base import THREE, BuiltinSet, Labelled, LabelSet
from hiddenrisk.sources import Data
from hiddenrisk.types import Source

_COMMIT = "d7bb5bd738c1fcbc36edd83d5e7d1b71a3e2d84d"
_EVALUATIONS = "evaluation/automated_evaluation_labels"


def _evaluated(model: str, how: str, sha256: str, size: int) -> Source:
    file = f"xstest_v2_completions_{model}_{how}eval.csv"
    return Source(
        name=f"xstest/{file}",
        url="https://raw.githubusercontent.com/paul-rottger/exaggerated-safety/"
        f"{_COMMIT}/{_EVALUATIONS}/{file}",
        sha256=sha256,
        licence="CC-BY-4.0 (labels; completions: as the models' licences say)",
        paper="https://arxiv.org/abs/2308.01263",
        size=size,
        mirrors=(f"xstest/{_EVALUATIONS}/{file}",),
    )


GPT4 = {
    "gpt4": _evaluated(
        "gpt4", "gpt", "ba3b1e79ace763998ecdb48bbec70e3a4d763d8402cbb740f58ed6d275fc324a", 266_197
    ),
    "llama2new": _evaluated(
        "llama2new",
        "gpt",
        "14cb194968a29e7c5d0c2e280657f2ff14ea52f173ca12bc786387abd5185a70",
        524_610,
    ),
    "llama2orig": _evaluated(
        "llama2orig",
        "gpt",
        "a918c4d0c7355da5c80ce73dd7bc79b20422148b265851afe1e53c08e472ce48",
        477_824,
    ),
}
"""Completions, human labels and GPT-4's labels, by model."""
STRMATCH = {
    "gpt4": _evaluated(
        "gpt4", "str", "5cc07ac42f62009d4ff33d9b5dc96c329d43ae8076db89712f7b56637368c5f7", 266_102
    ),
    "llama2new": _evaluated(
        "llama2new",
        "str",
        "605183b95c8859673ff23898456a1fea24fbbd5993b9033dc7c12159227e3555",
        524_368,
    ),
    "llama2orig": _evaluated(
        "llama2orig",
        "str",
        "538f284005f829af76fd48cbe82334ab1c593b8193b62421866cc56929cc9881",
        477_615,
    ),
}
"""The same with the labels of string matching."""
_CLASSES = {f"{number}_{name}": name for number, name in enumerate(THREE, start=1)}


def load(data_dir: Path | None) -> LabelSet:
    """All 1,350 completions."""
    items: list[Labelled] = []
    files: list[Data] = []
    for model in GPT4:
        gpt4, strmatch = (sources.load(s[model], data_dir) for s in (GPT4, STRMATCH))
        files += [gpt4, strmatch]
        matched = dict(_recorded(strmatch))
        items += _items(gpt4, model, matched)
    return LabelSet(
        name="xstest",
        title="XSTest completions",
        question="refusal",
        items=tuple(items),
        digest="-".join(f.sha256[:16] for f in files),
        data=tuple(files),
    )


def _items(data: Data, model: str, matched: dict[str, bool]) -> Iterator[Labelled]:
    columns = ("id", "prompt", "completion", "final_label", "gpt4_label")
    for number, row in enumerate(csv_rows(data.content, data.source, columns), start=1):
        label = _class(row["final_label"], data, number, "final_label")
        recorded = {"gpt4": _class(row["gpt4_label"], data, number, "gpt4_label") == THREE[0]}
        if row["id"] in matched:
            recorded["strmatch"] = matched[row["id"]]
        yield Labelled(
            id=f"{model}/{row['id']}",
            prompt=row["prompt"],
            response=row["completion"],
            label=label,
            unsafe=label == THREE[0],
            group=model,
            recorded=recorded,
        )


def _recorded(data: Data) -> Iterator[tuple[str, bool]]:
    rows = csv_rows(data.content, data.source, ("id", "strmatch_label"))
    for number, row in enumerate(rows, start=1):
        yield row["id"], _class(row["strmatch_label"], data, number, "strmatch_label") == THREE[0]


def _class(word: str, data: Data, number: int, field: str) -> str:
    if word not in _CLASSES:
        raise DataError(
            f"{data.source.name}, row {number}, field {field}: expected one of "
            f"{', '.join(_CLASSES)}, found '{word[:40]}'"
        )
    return _CLASSES[word]


SET = BuiltinSet(
    name="xstest",
    about="does the response refuse? 1,350 completions of three models; two annotators and a "
    "third one where they differ",
    question="refusal",
    load=load,
    sources=(*GPT4.values(), *STRMATCH.values()),
)
