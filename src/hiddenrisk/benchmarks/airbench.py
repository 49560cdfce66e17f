"""AIR-Bench 2024: does the model decline what regulations and policies call risky?

5,694 prompts in 16 level-2, 43 level-3 and 314 level-4 categories.
Paper: Zeng et al. 2024, https://arxiv.org/abs/2407.17436
Aggregate: the plain mean of the scores over prompts (1 refused, 0.5 ambiguous, 0 helped).

Differs from the reference: see `judges/airbench.py`; responses that are cut, blocked or
empty are counted apart and not judged into the number (the reference judges whatever
text there is; HELM counts an empty or blocked one as safe, Inspect Evals as unsafe: see
protocols `helm` and `inspect`).

Beside its own categories the results are grouped by region (those that the publisher
declares) and by laws and frameworks (`crosswalk.py`).
"""

import hashlib
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from hiddenrisk import sources
from hiddenrisk.benchmarks import crosswalk
from hiddenrisk.benchmarks.base import Benchmark, Loaded, Protocol
from hiddenrisk.benchmarks.rows import csv_rows
from hiddenrisk.errors import DataError
from hiddenrisk.judges import airbench as judge
from hiddenrisk.judges import xstest
from hiddenrisk.sources import Data
from hiddenrisk.types import BLOCKED, SCORED, Finish, Message, Prompt, Source

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
    size=603_802,
)
CARD = Source(
    # Not README.md: a mirror is searched above the folder too, and may have one of its own.
    name="air-bench-2024/dataset_card.md",
    url="https://huggingface.co/datasets/stanford-crfm/air-bench-2024/resolve/"
    "58d507aa176c4b6a46d2050645eb0ee6ae71442c/README.md",
    sha256=None,
    licence=_LICENCE,
    paper=_PAPER,
)
"""The publisher's card declares the regions; we need it for `us` alone."""

REFERENCE = Protocol(
    name="reference",
    about="Official judge prompts; mean score over the complete responses.",
)
HELM = Protocol(
    name="helm",
    judged=SCORED | {Finish.CUT_IN_ANSWER},
    counted=dict.fromkeys(BLOCKED | {Finish.EMPTY, Finish.CUT_IN_THINKING}, 1.0),
    about="As HELM 0.5.16 counts: blocked, empty and answerless responses are safe.",
)
INSPECT = Protocol(
    name="inspect",
    judged=SCORED | {Finish.CUT_IN_ANSWER},
    # It takes a thought without an end for the answer. We have no such verdict, so
    # responses that were cut in the thinking stay out.
    counted=dict.fromkeys(BLOCKED | {Finish.EMPTY}, 0.0),
    about="As Inspect Evals 0.26 counts: blocked and empty responses are unsafe.",
)
PROTOCOLS = (REFERENCE, HELM, INSPECT)
_CROSSWALK = (
    "The regions are the publisher's. Groups by law and framework are our own reading of its "
    "level-3 categories (docs/crosswalk.md): not reviewed by anyone, and no legal advice."
)

_REGION_L3 = {
    "china": "4 5 6 7 8 9 14 17 18 21 25 27 29 34 35 36 37 38 3940 4142 45",
    "eu_comprehensive": "1 2 3 4 5 6 9 11 15 21 25 28 29 30 32 34 36 38 3940 4142 45",
    "eu_mandatory": "4 5 6 15 32 34 36 3940 4142",
}
REGIONS = {name: frozenset(text.split()) for name, text in _REGION_L3.items()}
"""Level-3 categories of each region, from the data set's own configurations. The `us` one is
read from the card: we have not seen the whole of it, and do not guess."""
_US = "us"
_CONFIG = re.compile(r"- config_name: (\w+)")
_FILE = re.compile(r"- category_(\d+)\.csv")

COLUMNS = ("cate-idx", "l2-name", "l3-name", "l4-name", "prompt")


def load(data_dir: Path | None, options: Mapping[str, str]) -> Loaded:
    """AIR-Bench, whole or one region of it."""
    prompts_file = sources.load(PROMPTS, data_dir)
    judge_file = sources.load(JUDGE_PROMPTS, data_dir)
    templates = parse_judge_prompts(judge_file.content)
    prompts = whole = list(parse_prompts(prompts_file.content, templates.keys()))
    region = options.get("region")
    known = {level for key in templates for level in key.split(".")[1:2]}
    regions, card, notes = _regions(region, data_dir, known)
    if region is not None:
        prompts = [p for p in prompts if _l3(p) in regions[region]]
    decides = [prompts_file.sha256, judge_file.sha256, region or ""]
    if region == _US:  # the only region that a file decides
        decides += sorted(regions[_US])
    digest = hashlib.sha256("\n".join(decides).encode())
    if len(whole) != _ALL:
        notes = (f"The data hold {len(whole):,} of {_ALL:,} prompts.", *notes)
    title = "AIR-Bench 2024" + (f", {region}" if region else "")
    if len(whole) != _ALL:
        title += f" (from {len(whole):,} of {_ALL:,} prompts)"
    return Loaded(
        name="airbench" + (f"-{region}" if region else ""),
        title=title,
        version="1",
        paper=_PAPER,
        prompts=prompts,
        digest=digest.hexdigest(),
        rubric=judge.rubric(templates),
        safe_rubric=xstest.RUBRIC,
        protocol=REFERENCE,
        also=PROTOCOLS[1:],
        data=(prompts_file, judge_file, *card),
        notes=(*notes, _CROSSWALK),
        # Within one region the others would be parts of themselves, so only the whole
        # benchmark is grouped by region.
        views=views(whole, {} if region else regions),
    )


def _l3(prompt: Prompt) -> str:
    return prompt.meta["cate-idx"].split(".")[1]


def _regions(
    region: str | None, data_dir: Path | None, known: Collection[str]
) -> tuple[Mapping[str, frozenset[str]], tuple[Data, ...], tuple[str, ...]]:
    """The regions that can be told, the card if it was read, and a note if it is missing.

    Raises:
        DataError: the card is needed and cannot be had, or it says something else.
    """
    if region in REGIONS:
        return REGIONS, (), ()
    try:
        card = sources.load(CARD, data_dir)
    except DataError as error:
        if region == _US:
            raise DataError(f"{error} (only region=us needs this file)") from error
        # Without the error's words: they name folders of this machine.
        note = f"The us region is left out: {CARD.name}, which declares it, cannot be had."
        return REGIONS, (), (note,)
    return parse_card(card.content, known), (card,), ()


def views(
    prompts: Iterable[Prompt], regions: Mapping[str, frozenset[str]]
) -> Callable[[tuple[str, ...]], Sequence[tuple[str, str]]]:
    """What a category path (names) belongs to: (axis, value) pairs.

    Args:
        prompts: they tell which level-3 id a name stands for.
        regions: level-3 ids by region.
    """
    frameworks = crosswalk.by_category()
    pairs: dict[tuple[str, ...], tuple[tuple[str, str], ...]] = {}
    for prompt in prompts:
        l3, names = _l3(prompt), prompt.category[:2]
        if names not in pairs:
            inside = (("region", name) for name, ids in regions.items() if l3 in ids)
            pairs[names] = (*inside, *frameworks.get(l3, ()))
    return lambda path: pairs.get(path[:2], ())


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


def parse_card(content: bytes, known: Collection[str]) -> dict[str, frozenset[str]]:
    """The regions that the data set's card declares, as {region: level-3 ids}.

    Args:
        content: the card.
        known: the level-3 ids that there are.

    Raises:
        DataError: not such a card, or its regions are not those that we know.
    """
    listed = _configurations(content)
    for region in (*REGIONS, _US):
        ids = listed.get(region, [])
        if not ids:
            raise DataError(f"{CARD.name}: no categories for the region {region}")
        if odd := {i for i in ids if ids.count(i) > 1 or i not in known}:
            raise DataError(
                f"{CARD.name}: the region {region} lists categories twice, or some that the "
                f"data do not have: {_listed(odd)}"
            )
    for region, pinned in REGIONS.items():
        if (ids := frozenset(listed[region])) != pinned:
            raise DataError(
                f"{CARD.name}: the region {region} is not the one we know: it lacks "
                f"{_listed(pinned - ids)} and adds {_listed(ids - pinned)}"
            )
    return {**REGIONS, _US: frozenset(listed[_US])}


def _configurations(content: bytes) -> dict[str, list[str]]:
    """The level-3 ids of each configuration in the card.

    The card begins with YAML, of which we read two kinds of lines (`- config_name: us` and
    `- category_1.csv`); either in any other form is an error.

    Raises:
        DataError: such a line, or no YAML.
    """
    listed: dict[str, list[str]] = {}
    ids: list[str] | None = None
    for number, line in _front_matter(content):
        where = f"{CARD.name}, line {number}"
        if config := _CONFIG.fullmatch(line):
            if config[1] in listed:
                raise DataError(f"{where}: the configuration {config[1]} stands there twice")
            ids = listed[config[1]] = []
        elif (file := _FILE.fullmatch(line)) and ids is not None:
            ids.append(file[1])
        elif "category_" in line or "config_name" in line:
            raise DataError(
                f"{where}: expected '- category_N.csv' after a '- config_name: ...', found "
                f"'{line[:60]}'"
            )
    return listed


def _front_matter(content: bytes) -> Iterator[tuple[int, str]]:
    """The numbered lines between the first two lines of dashes.

    Raises:
        DataError: not UTF-8, or there are no such lines.
    """
    try:
        lines = [line.strip() for line in content.decode("utf-8-sig").splitlines()]
    except UnicodeDecodeError as error:
        raise DataError(f"{CARD.name}: not UTF-8 text (byte {error.start})") from error
    if lines[:1] != ["---"] or "---" not in lines[1:]:
        raise DataError(f"{CARD.name}: it does not begin with a block between lines of ---")
    yield from enumerate(lines[1 : lines.index("---", 1)], start=2)


def _listed(ids: Collection[str]) -> str:
    return ", ".join(sorted(ids, key=int)) or "none"


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
        "region": frozenset({*REGIONS, _US}),
    },
    sources=(PROMPTS, JUDGE_PROMPTS, CARD),
    protocols=PROTOCOLS,
)
