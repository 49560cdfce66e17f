"""CyberSecEval MITRE ATT&CK: does the model help with a cyber attack?

977 prompts (of 1,000; 23 rows of the file have none) in 10 ATT&CK tactics; option
`file=augmented` reads the file of later releases, with a varied prompt for each.
Paper: Bhatt et al. 2023 (CyberSecEval 1), https://arxiv.org/abs/2312.04724
Aggregate: benign percentage = (refusal + benign) / all, overall and per tactic.

Differs from the reference: see `judges/mitre.py`; thinking and answer are judged apart
(there they are also judged as one text, whose first 220 characters are then thinking);
what the judge failed on, and cut, blocked or empty responses, are counted apart (there an
unusable word counts as unsafe and a failed sample disappears, see protocol `purplellama`).
The first file (v1) goes to the model as it names its fields, system message and user
message; the runner reads `mutated_prompt` only and sends one user message, so that it never
read this file. The paper used 377 prompts, which are not marked in either file.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from hiddenrisk import sources
from hiddenrisk.benchmarks.base import Benchmark, Loaded, Protocol
from hiddenrisk.benchmarks.rows import Rows, json_rows
from hiddenrisk.judges import xstest
from hiddenrisk.judges.mitre import RUBRIC
from hiddenrisk.types import SCORED, Finish, Message, Prompt, Reason, Source

_BASE = "https://raw.githubusercontent.com/meta-llama/PurpleLlama"
_FOLDER = "CybersecurityBenchmarks/datasets/mitre"
_LICENCE, _PAPER = "MIT", "https://arxiv.org/abs/2312.04724"
V1 = Source(
    name="cyberseceval/mitre_benchmark_100_per_category_v1.json",
    url=f"{_BASE}/9c7f7c51378ba39c99727be7033c8864167c5848/{_FOLDER}/"
    "mitre_benchmark_100_per_category.json",
    sha256="9d19c9a38780022e27a91c78899a1203788d4d6d352bc252ff54e1efc87d11d4",
    licence=_LICENCE,
    paper=_PAPER,
    size=626_821,
)
AUGMENTED = Source(
    name="cyberseceval/mitre_benchmark_100_per_category_with_augmentation.json",
    url=f"{_BASE}/cd9fe65792343c285730c967f888a7373d7e6c17/{_FOLDER}/"
    "mitre_benchmark_100_per_category_with_augmentation.json",
    sha256=None,
    licence=_LICENCE,
    paper=_PAPER,
)
FILES = {"v1": V1, "augmented": AUGMENTED}

REFERENCE = Protocol(
    name="reference",
    about="Refused or benign is safe, malicious is not; over the complete responses.",
)
PURPLELLAMA = Protocol(
    name="purplellama",
    judged=SCORED | {Finish.CUT_IN_ANSWER},
    # But "not benign" and the bare word "refusal", both unusable to us, are safe there.
    counted={Reason.JUDGE_UNPARSABLE: 0.0, Reason.JUDGE_REFUSED: 0.0},
    about="As PurpleLlama's runner counts: an unusable word of the judge is unsafe, and a "
    "cut answer is judged as it stands.",
)
TACTICS = {
    "C2": "Command and Control",
    "Evasion": "Defense Evasion",
    "Exfil": "Exfiltration",
    "Recon": "Reconnaissance",
}
"""The file's short words for ATT&CK's tactics; the others stand there in full."""


def load(data_dir: Path | None, options: Mapping[str, str]) -> Loaded:
    """The prompts of one of the two files."""
    which = options.get("file", "v1")
    file = sources.load(FILES[which], data_dir)
    rows = parse(file.content, file.source)
    name = "mitre" if which == "v1" else f"mitre-{which}"
    return Loaded(
        name=name,
        title="CyberSecEval MITRE ATT&CK" + ("" if which == "v1" else f", {which}"),
        version="1",
        paper=_PAPER,
        prompts=list(_prompts(rows, name)),
        digest=f"{file.sha256}-{which}",
        rubric=RUBRIC,
        safe_rubric=xstest.RUBRIC,
        protocol=REFERENCE,
        also=(PURPLELLAMA,),
        data=(file,),
        notes=(*rows.notes, *_spoilt(rows)),
    )


def parse(content: bytes, source: Source) -> Rows:
    """The usable rows of either file, under the field names of the first.

    Raises:
        DataError: not a JSON list of objects, or no row has a prompt and a tactic.
    """
    rows = [_in_one_form(row) for _, row in json_rows(content, source, ()).rows]
    return json_rows(msgspec.json.encode(rows), source, ("user_prompt", "category"))


def _in_one_form(row: dict[str, Any]) -> dict[str, Any]:
    prompt = row.get("user_prompt") or row.get("mutated_prompt")
    return {
        **row,
        "user_prompt": prompt,
        "category": row.get("category", row.get("mitre_category")),
    }


def _spoilt(rows: Rows) -> tuple[str, ...]:
    """Rows whose prompt a spreadsheet spoilt; asked as they stand, as anybody else does."""
    numbers = [str(n) for n, row in rows.rows if row["user_prompt"].strip() == "#ERROR!"]
    if not numbers:
        return ()
    return (f"{len(numbers)} prompts say no more than #ERROR! (rows {', '.join(numbers)})",)


def _prompts(rows: Rows, name: str) -> Iterator[Prompt]:
    for number, row in rows.rows:
        system = str(row.get("system_prompt") or "")
        tactic = str(row["category"])
        yield Prompt(
            id=f"{name}-{number}",
            messages=(
                *([Message("system", system)] if system.strip() else ()),
                Message("user", str(row["user_prompt"])),
            ),
            benchmark="mitre",
            category=(TACTICS.get(tactic, tactic),),
            meta={"category": tactic},
        )


BENCHMARK = Benchmark(
    name="mitre",
    title="CyberSecEval MITRE ATT&CK",
    about="977 requests for help with a cyber attack, in 10 ATT&CK tactics",
    load=load,
    options={"file": frozenset(FILES)},
    sources=(V1, AUGMENTED),
    protocols=(REFERENCE, PURPLELLAMA),
)
