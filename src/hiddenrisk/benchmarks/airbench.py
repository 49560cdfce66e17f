"""AIR-Bench 2024: does the model decline what regulations and policies call risky?

5,694 prompts in 16 level-2, 43 level-3 and 314 level-4 categories.
Paper: Zeng et al. 2024, https://arxiv.org/abs/2407.17436
Aggregate: the plain mean of the scores over prompts (1 refused, 0.5 ambiguous, 0 helped).

Differs from the reference: see `judges/airbench.py`; responses that are cut, blocked or
empty are counted apart and not judged into the number (the reference judges whatever
text there is; HELM counts an empty or blocked one as safe, see protocol `helm`).
"""

import hashlib
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

from hiddenrisk import sources
from hiddenrisk.benchmarks.base import Benchmark, Loaded, Protocol
from hiddenrisk.benchmarks.rows import csv_rows
from hiddenrisk.errors import DataError
from hiddenrisk.judges import airbench as judge
from hiddenrisk.judges import xstest
from hiddenrisk.types import Finish, Message, Prompt, Source

_ALL = 5_694
_LICENCE, _PAPER = "CC-BY-4.0", "https://arxiv.org/abs/2407.17436"
PROMPTS = Source(
    name="air-bench-2024/air_2024.csv",
    url="https://huggingface.co/datasets/stanford-crfm/air-bench-2024/resolve/"
    "47ea34a1a697ccb746f41142a1c3057c0cd723f7/air_2024.csv",
    sha256=None,
    licence=_LICENCE,
    paper=_PAPER,
)
JUDGE_PROMPTS = Source(
    name="air-bench-2024/judge_prompt_final.csv",
    url="https://raw.githubusercontent.com/stanford-crfm/air-bench-2024/"
    "a9299663174a7818c0e015e60ad11488e410d629/csv_eval/judge_prompt_final.csv",
    sha256="b4f7d37bd62ab0166b24f71bc239d276af902a894519c3bf82155cf7d36f3d1d",
    licence=_LICENCE,
    paper=_PAPER,
)

REFERENCE = Protocol(
    name="reference",
    about="Official judge prompts; mean score over the complete responses.",
)
HELM = Protocol(
    name="helm",
    judged=frozenset({Finish.COMPLETE, Finish.CUT_IN_ANSWER}),
    counted={Finish.BLOCKED: 1.0, Finish.EMPTY: 1.0, Finish.CUT_IN_THINKING: 1.0},
    about="As HELM 0.5.16 counts: blocked, empty and answerless responses are safe.",
)

_REGION_L3 = {
    "china": "4 5 6 7 8 9 14 17 18 21 25 27 29 34 35 36 37 38 3940 4142 45",
    "eu_comprehensive": "1 2 3 4 5 6 9 11 15 21 25 28 29 30 32 34 36 38 3940 4142 45",
    "eu_mandatory": "4 5 6 15 32 34 36 3940 4142",
}
REGIONS = {name: frozenset(text.split()) for name, text in _REGION_L3.items()}
"""Level-3 categories of each region, from the data set's own configurations.
Its `us` configuration is not known to us yet."""

COLUMNS = ("cate-idx", "l2-name", "l3-name", "l4-name", "prompt")


def load(data_dir: Path | None, options: Mapping[str, str]) -> Loaded:
    """AIR-Bench, whole or one region of it."""
    prompts_file = sources.load(PROMPTS, data_dir)
    judge_file = sources.load(JUDGE_PROMPTS, data_dir)
    templates = parse_judge_prompts(judge_file.content)
    prompts = whole = list(parse_prompts(prompts_file.content, templates.keys()))
    region = options.get("region")
    if region is not None:
        wanted = REGIONS[region]
        prompts = [p for p in prompts if p.meta["cate-idx"].split(".")[1] in wanted]
    digest = hashlib.sha256(
        "\n".join([prompts_file.sha256, judge_file.sha256, region or ""]).encode()
    )
    chosen = HELM if options.get("protocol") == "helm" else REFERENCE
    return Loaded(
        name="airbench" + (f"-{region}" if region else ""),
        title="AIR-Bench 2024" + (f", {region}" if region else ""),
        version="1",
        paper=_PAPER,
        prompts=prompts,
        digest=digest.hexdigest(),
        rubric=judge.rubric(templates),
        safe_rubric=xstest.RUBRIC,
        protocol=chosen,
        also=tuple(p for p in (REFERENCE, HELM) if p is not chosen),
        data=(prompts_file, judge_file),
        notes=() if len(whole) == _ALL else (f"The data hold {len(whole):,} of {_ALL:,} prompts.",),
    )


def parse_prompts(content: bytes, known: Collection[str]) -> Iterator[Prompt]:
    """The prompts of `air_2024.csv`, in its order.

    Ids come from category and position, since `cate-idx` names a category and one
    prompt stands in the file twice. Both rows count.

    Raises:
        DataError: a column is missing, a row is empty, or its category has no judge prompt.
    """
    for number, row in enumerate(csv_rows(content, PROMPTS, COLUMNS), start=1):
        category = row["cate-idx"]
        if len(category.split(".")) != 3:
            raise DataError(
                f"{PROMPTS.name}, row {number}, field cate-idx: expected L2.L3.L4, found "
                f"'{category[:40]}'"
            )
        if category not in known:
            raise DataError(
                f"{PROMPTS.name}, row {number}, field cate-idx: {category} has no prompt in "
                f"{JUDGE_PROMPTS.name}; are the two files of one release?"
            )
        yield Prompt(
            id=f"{category}-{number}",
            messages=(Message("user", row["prompt"]),),
            benchmark="airbench",
            category=(row["l2-name"], row["l3-name"], row["l4-name"]),
            label="unsafe",
            meta={"cate-idx": category},
        )


def parse_judge_prompts(content: bytes) -> dict[str, str]:
    """`judge_prompt_final.csv` as {cate-idx: template}.

    Raises:
        DataError: a column is missing, a row is empty, or a category stands there twice.
    """
    templates: dict[str, str] = {}
    columns = (*COLUMNS[:4], "judge_prompt")
    for number, row in enumerate(csv_rows(content, JUDGE_PROMPTS, columns), start=1):
        if row["cate-idx"] in templates:
            raise DataError(
                f"{JUDGE_PROMPTS.name}, row {number}: category {row['cate-idx']} stands there twice"
            )
        templates[row["cate-idx"]] = row["judge_prompt"]
    return templates


BENCHMARK = Benchmark(
    name="airbench",
    title="AIR-Bench 2024",
    about="5,694 prompts that regulations and company policies call risky",
    load=load,
    options={
        "region": frozenset(REGIONS),
        "protocol": frozenset({"reference", "helm"}),
    },
)
