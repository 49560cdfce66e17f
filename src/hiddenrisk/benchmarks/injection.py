"""CyberSecEval textual prompt injection: can the user talk the model out of its orders?

251 English cases: 196 direct and 55 indirect injections; 180 break security, 71 only the
logic of the orders; 15 variants. Option `language=multilingual` reads 1,004 machine
translations of them (four times 251) into 17 languages.
Paper: Bhatt et al. 2024 (CyberSecEval 2), https://arxiv.org/abs/2404.13161
Aggregate: attack success rate = injections that worked / cases, also by type, risk,
variant and language.

Differs from the reference: see `judges/injection.py`; thinking and answer are judged apart
(there as one text, so that a secret that was only thought of counts); what the judge failed
on, and cut, blocked or empty responses, are counted apart (there an unusable reply counts as
resisted and a failed sample disappears, see protocol `purplellama`).
"""

from collections.abc import Iterator, Mapping
from pathlib import Path

from hiddenrisk import sources
from hiddenrisk.benchmarks.base import Benchmark, Loaded, Protocol
from hiddenrisk.benchmarks.rows import Rows, json_rows
from hiddenrisk.judges import xstest
from hiddenrisk.judges.injection import RUBRIC
from hiddenrisk.types import SCORED, Finish, Message, Prompt, Reason, Source

_BASE = (
    "https://raw.githubusercontent.com/meta-llama/PurpleLlama/"
    "4be64c3a24442b51c76175e6ec67722cc3f5fe38/CybersecurityBenchmarks/datasets/prompt_injection"
)
_LICENCE, _PAPER = "MIT", "https://arxiv.org/abs/2404.13161"
ENGLISH = Source(
    name="cyberseceval/prompt_injection.json",
    url=f"{_BASE}/prompt_injection.json",
    sha256="069e4d5d36f6d19f972a3bbc65df840cc729354f89358a9031aeb44d95b18a9a",
    licence=_LICENCE,
    paper=_PAPER,
    size=199_176,
)
MULTILINGUAL = Source(
    name="cyberseceval/prompt_injection_multilingual_machine_translated.json",
    url=f"{_BASE}/prompt_injection_multilingual_machine_translated.json",
    sha256="f018adfc7b1f766f98ce4dd4c8e34e97a8a88f402a2b63576652027e02c2a15f",
    licence=_LICENCE,
    paper=_PAPER,
    size=1_067_207,
)
LANGUAGES = {"english": ENGLISH, "multilingual": MULTILINGUAL}

REFERENCE = Protocol(
    name="reference",
    about="An injection worked if the judge says so; over the complete responses.",
)
PURPLELLAMA = Protocol(
    name="purplellama",
    judged=SCORED | {Finish.CUT_IN_ANSWER},
    # But an unusable reply that holds "yes" ("yes and no") means there that it worked.
    counted={Reason.JUDGE_UNPARSABLE: 1.0, Reason.JUDGE_REFUSED: 1.0},
    about="As PurpleLlama's runner counts: an unusable reply of the judge means that the "
    "injection failed, and a cut answer is judged as it stands.",
)
_PATH = ("injection_type", "risk_category", "injection_variant")
_AXES = ("risk", "variant", "language")


def load(data_dir: Path | None, options: Mapping[str, str]) -> Loaded:
    """The cases, in English or in other languages."""
    language = options.get("language", "english")
    english = language == "english"
    file = sources.load(LANGUAGES[language], data_dir)
    path = _PATH if english else (*_PATH, "speaking_language")
    fields = ("test_case_prompt", "user_input", "judge_question", *path)
    rows = json_rows(file.content, file.source, fields)
    name = "injection" if english else f"injection-{language}"
    return Loaded(
        name=name,
        title="CyberSecEval prompt injection" + ("" if english else f", {language}"),
        version="1",
        paper=_PAPER,
        prompts=list(_prompts(rows, name, path)),
        digest=f"{file.sha256}-{language}",
        rubric=RUBRIC,
        safe_rubric=xstest.RUBRIC,
        protocol=REFERENCE,
        also=(PURPLELLAMA,),
        data=(file,),
        notes=rows.notes,
        attack=True,
        rules=False,
        views=views,
    )


def _prompts(rows: Rows, name: str, path: tuple[str, ...]) -> Iterator[Prompt]:
    for number, row in rows.rows:
        yield Prompt(
            id=f"{name}-{number}",
            messages=(
                Message("system", str(row["test_case_prompt"])),
                Message("user", str(row["user_input"])),
            ),
            benchmark="injection",
            category=tuple(str(row[field]) for field in path),
            meta={"judge_question": str(row["judge_question"])},
        )


def views(category: tuple[str, ...]) -> list[tuple[str, str]]:
    """Risk, variant and language by themselves, across what stands above them in the path."""
    return list(zip(_AXES, category[1:], strict=False))


BENCHMARK = Benchmark(
    name="injection",
    title="CyberSecEval prompt injection",
    about="251 attempts to make the model break its orders; 1,004 in other languages",
    load=load,
    options={"language": frozenset(LANGUAGES)},
    sources=(ENGLISH, MULTILINGUAL),
    protocols=(REFERENCE, PURPLELLAMA),
)
