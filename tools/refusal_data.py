"""What the refusal judge is trained on and measured with: labelled answers of public sets.

All but our own sentences stay where they are: only weights go into the repository. Each file
is read from a mirror of the data and must have the bytes that it had when we trained.
"""

import csv
import hashlib
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).parents[1]
OWN = ROOT / "tests" / "data" / "refusal_examples.jsonl"
HAND = Path(__file__).with_name("refusal_labels.csv")
"""Labels that we gave to 200 answers of two sets by their first words: digest, label."""
COMPLIES, REFUSES = "full_compliance", "full_refusal"
MODELS = ("gpt4", "llama2new", "llama2orig")
_XSTEST = "xstest/model_completions/xstest_v2_completions_{}.csv"
_PYRIT = "pyrit_scorer_evals/scorer_evals/refusal_scorer/refusal.csv"
_HARMBENCH = "harmbench/text_behaviors_val_set.json"
_WRITTEN = "traces_empty_think_lrmstudy/sft_train_nocot.json"
_ALPACA = "traces_r1distill_ky295/alpaca_reasoning_output.csv"
_AIR = "air-bench-2024/recorded/{}.csv"
_AIR_MODELS = (
    "openai_gpt-4o",
    "openrouter_deepseek_deepseek-v3.2",
    "openrouter_google_gemini-2.5-flash",
    "openrouter_meta-llama_llama-3-8b-instruct",
    "openrouter_meta-llama_llama-3.3-70b-instruct",
    "openrouter_mistralai_mistral-large",
)
SHA256 = {
    "xstest/model_completions/xstest_v2_completions_gpt4.csv": "71af323af8ecdec0efae23992317721441d2cfedddedeef3248f842f4e15c9ca",
    "xstest/model_completions/xstest_v2_completions_llama2new.csv": "6365cc55ce0a593c7ab8785853d02784be027d97199d4077912b4313cd010099",
    "xstest/model_completions/xstest_v2_completions_llama2orig.csv": "cbc52550e8ba8197a3e3d97a5af078d27bae4766737cd62df80270126a87ffc6",
    "pyrit_scorer_evals/scorer_evals/refusal_scorer/refusal.csv": "1ebc42ef7dadd97962cc00d04edd6a52a321f7936c063ff3453d2bbcef30a5d7",
    "harmbench/text_behaviors_val_set.json": "94be6e62caa79ac9ff83f9c2e1b2c6bfc7c1a15088a61c4e82c202b84fc73edd",
    "traces_empty_think_lrmstudy/sft_train_nocot.json": "e4ab357c5702e1b33df9949170aa62f4a08aba6a29724d0c45caa43f9d0dd7ae",
    "traces_r1distill_ky295/alpaca_reasoning_output.csv": "b69ceaf7b3df2187d5776133052986995553cd8f7c891bd85831bd83e7642309",
    "air-bench-2024/recorded/openai_gpt-4o.csv": "2821b5347ac069d7b490dc7cb7ae4cfd6fb243f7c04f891ae8a40d2bc6538c62",
    "air-bench-2024/recorded/openrouter_deepseek_deepseek-v3.2.csv": "130ab07f153bc43a95359edd48e32c87b89a1b2050b06e903788c85c603699ae",
    "air-bench-2024/recorded/openrouter_google_gemini-2.5-flash.csv": "38fd5958236ac9039acbddc9150321c8766de310fde2407d10051a889628489f",
    "air-bench-2024/recorded/openrouter_meta-llama_llama-3-8b-instruct.csv": "53ca1b2a8eaf3f10ff0a57597dbb9757236fe05beeb9578ead2e3a3419f5ee25",
    "air-bench-2024/recorded/openrouter_meta-llama_llama-3.3-70b-instruct.csv": "8b4e326c966abd64f13f9c9ed2364c3a55bb53fa467ecb449f45d51533f74477",
    "air-bench-2024/recorded/openrouter_mistralai_mistral-large.csv": "aef2ea546c6133b54f4e71c392ae188e90ccfe597a89bcfe7377c48fb81d7036",
}
"""The files, by their names in the mirror."""


class Row(NamedTuple):
    """One answer and what is known of it."""

    source: str
    prompt: str
    """What tells prompts apart; rows of one prompt are never split between train and test."""
    text: str
    label: str
    """A class; "safe" where a model found an answer harmless, which may refuse or help."""


def xstest(data: Path) -> Iterator[Row]:
    """450 completions of three models each, with the final label of two people."""
    for model in MODELS:
        for row in _csv(data, _XSTEST.format(model)):
            label = row["final_label"][2:]
            yield Row(f"xstest/{model}", row["id"], row["completion"], label)


def pyrit(data: Path) -> Iterator[Row]:
    """105 answers labelled by people; 10 of the refusals are answers that miss the question."""
    for i, row in enumerate(_csv(data, _PYRIT, skip=1)):
        label = REFUSES if row["human_score"] == "1" else COMPLIES
        yield Row("pyrit", f"pyrit-{i}", row["assistant_response"], label)


def harmbench(data: Path) -> Iterator[Row]:
    """Generations: most of three people found them harmful (compliance), or none did ("safe")."""
    groups: dict[str, list[dict[str, Any]]] = json.loads(_bytes(data, _HARMBENCH))
    for behavior, generations in groups.items():
        for one in generations:
            votes = sum(int(one[f"human_{i}"]) for i in range(3))
            if votes != 1:
                label = COMPLIES if votes else "safe"
                yield Row("harmbench", behavior, one["generation"], label)


def written(data: Path) -> Iterator[Row]:
    """1,000 refusals written for training; each twentieth, as they are much alike."""
    rows: list[dict[str, str]] = json.loads(_bytes(data, _WRITTEN))
    for i, row in enumerate(rows[::20]):
        yield Row("written", f"written-{i}", row["response"].partition("</think>")[2], REFUSES)


def alpaca(data: Path) -> Iterator[Row]:
    """Answers to 100 harmless instructions."""
    for i, row in enumerate(_csv(data, _ALPACA)):
        yield Row("alpaca", f"alpaca-{i}", row["response"].partition("</think>")[2], COMPLIES)


def air(data: Path) -> Iterator[Row]:
    """Answers of six models; where a judge model found them harmful, they comply."""
    for model in _AIR_MODELS:
        for row in _csv(data, _AIR.format(model)):
            if row["score"] != "0.5" and row["answer"] != "[PROVIDER_REFUSED]":
                label = COMPLIES if row["score"] == "0.0" else "safe"
                yield Row(f"air/{model}", "air-" + _digest(row["prompt"]), row["answer"], label)


def by_hand(rows: list[Row]) -> list[Row]:
    """Those of the rows that we labelled, with our labels."""
    with HAND.open(encoding="utf-8", newline="") as file:
        labels = {row["digest"]: row["label"] for row in csv.DictReader(file)}
    found = {_digest(row.text): row for row in rows}
    return [found[d]._replace(source="hand", label=labels[d]) for d in sorted(labels) if d in found]


def own() -> list[Row]:
    """Our own sentences, the English answers among them."""
    rows = [json.loads(line) for line in OWN.read_text(encoding="utf-8").splitlines()]
    kept = [row for row in rows if row["lang"] == "en" and row["part"] == "answer"]
    return [Row("own", row["id"], row["text"], row["label"]) for row in kept]


def _csv(data: Path, name: str, *, skip: int = 0) -> Iterator[dict[str, str]]:
    file = io.StringIO(_bytes(data, name).decode("utf-8-sig"), newline="")
    for _ in range(skip):
        file.readline()
    yield from csv.DictReader(file)


def _bytes(data: Path, name: str) -> bytes:
    file = data / name
    if not file.is_file():
        raise SystemExit(f"{file} is not there; --data-dir must name a mirror of the data")
    raw = file.read_bytes()
    if hashlib.sha256(raw).hexdigest() != SHA256[name]:
        raise SystemExit(f"{file} is not the file we trained on; take the one with {SHA256[name]}")
    return raw


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]
