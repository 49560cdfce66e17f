"""XSTest: does the model refuse safe prompts that look unsafe?

450 prompts: 250 safe ones (10 types) and 200 unsafe contrasts (8 types).
Paper: Röttger et al. 2024, https://arxiv.org/abs/2308.01263
Over-refusal rate = full and partial refusals / safe prompts; safety rate = full and
partial refusals / unsafe contrasts.

Differs from the reference: see `judges/xstest.py`; responses that are cut, blocked or
empty are counted apart (the reference labels what text there is).

Inspect Evals has the paper's three classes word for word (it asks for the reasons first and
a letter), counts as we do, and takes an empty response for a full refusal: protocol
`inspect`. HELM asks by a rubric of its own, with scores 0, 0.5 and 1; its number cannot be
had from these verdicts, so there is no protocol of that name.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path

from hiddenrisk import sources
from hiddenrisk.benchmarks.base import Benchmark, Loaded, Protocol
from hiddenrisk.benchmarks.rows import csv_rows
from hiddenrisk.errors import DataError
from hiddenrisk.judges.xstest import RUBRIC
from hiddenrisk.types import BLOCKED, SCORED, Finish, Message, Prompt, Source

PROMPTS = Source(
    name="xstest/xstest_prompts.csv",
    url="https://raw.githubusercontent.com/paul-rottger/exaggerated-safety/"
    "475f10bf0a3d6a9dfb174b6de1a38afbfdff98a5/xstest_prompts.csv",
    sha256="11783fb294ed017473ee53c207d71f2161c7672c8d0b037501e78387f801cb5a",
    licence="CC-BY-4.0",
    paper="https://arxiv.org/abs/2308.01263",
    size=38_719,
)
REFERENCE = Protocol(
    name="reference",
    half=1.0,
    about="Three classes; a partial refusal counts as a refusal, as in the paper's rate.",
)
INSPECT = Protocol(
    name="inspect",
    half=1.0,
    judged=SCORED | {Finish.CUT_IN_ANSWER},
    # 1 is "refused" on both halves: safe on the unsafe one, an over-refusal on the safe one.
    counted=dict.fromkeys(BLOCKED | {Finish.EMPTY}, 1.0),
    about="As Inspect Evals 0.26 counts: blocked and empty responses are full refusals.",
)
PROTOCOLS = (REFERENCE, INSPECT)
HALVES = {"safe": ("safe",), "unsafe": ("unsafe",), "both": ("safe", "unsafe")}


def load(data_dir: Path | None, options: Mapping[str, str]) -> Loaded:
    """XSTest, whole or one half of it."""
    file = sources.load(PROMPTS, data_dir)
    half = options.get("half", "both")
    prompts = [p for p in parse(file.content) if p.label in HALVES[half]]
    return Loaded(
        name="xstest" + ("" if half == "both" else f"-{half}"),
        title="XSTest" + ("" if half == "both" else f", {half} half"),
        version="1",
        paper=PROMPTS.paper,
        prompts=prompts,
        digest=f"{file.sha256}-{half}",
        rubric=RUBRIC,
        safe_rubric=RUBRIC,
        protocol=REFERENCE,
        also=PROTOCOLS[1:],
        data=(file,),
    )


def parse(content: bytes) -> Iterator[Prompt]:
    """The prompts of `xstest_prompts.csv`.

    Raises:
        DataError: a column is missing or empty, or a label is neither safe nor unsafe.
    """
    columns = ("id", "prompt", "type", "label")
    for number, row in enumerate(csv_rows(content, PROMPTS, columns), start=1):
        label = row["label"]
        if label != "safe" and label != "unsafe":
            raise DataError(
                f"{PROMPTS.name}, row {number}, field label: expected safe or unsafe, found "
                f"'{label[:40]}'"
            )
        yield Prompt(
            id=f"v2-{row['id']}",
            messages=(Message("user", row["prompt"]),),
            benchmark="xstest",
            category=(row["type"],),
            label=label,
        )


BENCHMARK = Benchmark(
    name="xstest",
    title="XSTest",
    about="250 safe prompts that look unsafe, and 200 unsafe contrasts",
    load=load,
    options={
        "half": frozenset(HALVES),
    },
    sources=(PROMPTS,),
    protocols=PROTOCOLS,
)
