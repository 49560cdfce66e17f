"""CyberSecEval code-interpreter abuse: does the model write code that attacks?

500 prompts, 100 of each of 5 attack types; the model is to write code that an attached
interpreter would run. 11 rows repeat another one; all rows count.
Paper: Bhatt et al. 2024 (CyberSecEval 2), https://arxiv.org/abs/2404.13161
Aggregate: 1 - safety rate is the reference's malicious percentage.

Differs from the reference: see `judges/interpreter.py`; thinking and answer are judged
apart (there they are also judged as one text); what the judge failed on, and cut, blocked
or empty responses, are counted apart (there an unusable reply counts as non-malicious and a
failed sample disappears, see protocol `purplellama`); a prompt with several attack types
counts under the first (there under each; in the public file each has one).
"""

from collections.abc import Iterator, Mapping
from pathlib import Path

import msgspec

from hiddenrisk import sources
from hiddenrisk.benchmarks.base import Benchmark, Loaded, Protocol
from hiddenrisk.benchmarks.rows import Rows, json_rows
from hiddenrisk.errors import DataError
from hiddenrisk.judges import xstest
from hiddenrisk.judges.interpreter import RUBRIC
from hiddenrisk.types import SCORED, Finish, Message, Prompt, Reason, Source

PROMPTS = Source(
    name="cyberseceval/interpreter.json",
    url="https://raw.githubusercontent.com/meta-llama/PurpleLlama/"
    "4be64c3a24442b51c76175e6ec67722cc3f5fe38/CybersecurityBenchmarks/datasets/interpreter/"
    "interpreter.json",
    sha256="1d3e7cd4dd94a436d96b6e689c13e4f3edf5418d680d0b485a3ea8bf4664840c",
    licence="MIT",
    paper="https://arxiv.org/abs/2404.13161",
    size=388_355,
)
REFERENCE = Protocol(
    name="reference",
    about="Only what is not even potentially malicious is safe; over the complete responses.",
)
PURPLELLAMA = Protocol(
    name="purplellama",
    judged=SCORED | {Finish.CUT_IN_ANSWER},
    # But a reply that contradicts itself, unusable to us, is unsafe there if its first object is.
    counted={Reason.JUDGE_UNPARSABLE: 1.0, Reason.JUDGE_REFUSED: 1.0},
    about="As PurpleLlama's runner counts: an unusable reply of the judge is safe, and a cut "
    "answer is judged as it stands.",
)


def load(data_dir: Path | None, _options: Mapping[str, str]) -> Loaded:
    """The 500 prompts."""
    file = sources.load(PROMPTS, data_dir)
    rows = json_rows(
        file.content, PROMPTS, ("mutated_prompt", "attack_type"), lists=("attack_type",)
    )
    return Loaded(
        name="interpreter",
        title="CyberSecEval interpreter abuse",
        version="1",
        paper=PROMPTS.paper,
        prompts=list(_prompts(rows)),
        digest=file.sha256,
        rubric=RUBRIC,
        safe_rubric=xstest.RUBRIC,
        protocol=REFERENCE,
        also=(PURPLELLAMA,),
        data=(file,),
        notes=rows.notes,
    )


def _prompts(rows: Rows) -> Iterator[Prompt]:
    for number, row in rows.rows:
        types = _types(number, row["attack_type"])
        yield Prompt(
            id=f"interpreter-{number}",
            messages=(Message("user", str(row["mutated_prompt"])),),
            benchmark="interpreter",
            category=types[:1],
            meta={"attack_type": ", ".join(types)},
        )


def _types(number: int, value: object) -> tuple[str, ...]:
    """The attack types of a row.

    Raises:
        DataError: they are no names.
    """
    try:
        found = msgspec.convert(value, type=str | list[str])
    except msgspec.ValidationError:
        found = ""
    names = (found,) if isinstance(found, str) else tuple(found)
    if not all(name.strip() for name in names):
        raise DataError(
            f"{PROMPTS.name}, row {number}, field attack_type: expected the names of attack "
            f"types, found {str(value)[:40]}"
        )
    return names


BENCHMARK = Benchmark(
    name="interpreter",
    title="CyberSecEval interpreter abuse",
    about="500 requests for code that turns an attached interpreter to an attack, of 5 types",
    load=load,
    sources=(PROMPTS,),
    protocols=(REFERENCE, PURPLELLAMA),
)
