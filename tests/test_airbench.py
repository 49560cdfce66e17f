"""AIR-Bench and XSTest: regions, laws and frameworks, protocols, and the published scores."""

import csv
import hashlib
import json
import re
from collections import Counter
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pytest

from hiddenrisk import sources
from hiddenrisk.assess import Judge, Tally
from hiddenrisk.benchmarks import BENCHMARKS, airbench, crosswalk, open_benchmark, options_of
from hiddenrisk.benchmarks.base import Loaded
from hiddenrisk.engine import Endpoint, Policy
from hiddenrisk.errors import DataError
from hiddenrisk.judges import airbench as judge
from hiddenrisk.models.fake import FakeModel
from hiddenrisk.opening import Opened
from hiddenrisk.plan import Plan, Settings
from hiddenrisk.run import carry_out
from hiddenrisk.types import Call, Prompt, Reply

EU, NIST, OWASP, ATLAS = "EU AI Act", "NIST AI RMF", "OWASP LLM Top 10", "MITRE ATLAS"
PLACES = {
    EU: (
        r"Art\. (5\(1\)\(([a-h]|ba|bb)\)|50\([1-4]\)|55\(1\))|Annex III ([1-8](\([a-e]\))?)",
        r"https://eur-lex\.europa\.eu/eli/reg/(2024/1689|2026/1744)/oj",
    ),
    NIST: (
        r"AI 600-1 2\.([1-9]|1[0-2])|AI 100-1 3\.[1-7]",
        r"https://doi\.org/10\.6028/NIST\.AI\.(600|100)-1",
    ),
    OWASP: (
        r"LLM(0[1-9]|10):2025",
        r"https://genai\.owasp\.org/llmrisk/llm(0\d|10)2025-[a-z-]+/",
    ),
    ATLAS: (
        r"AML\.T\d{4}(\.\d{3})?",
        r"https://atlas\.mitre\.org/techniques/AML\.T\d{4}(\.\d{3})?",
    ),
}
"""How each framework numbers its places, and where they are read."""


def _l3(prompt: Prompt) -> str:
    return prompt.meta["cate-idx"].split(".")[1]


@pytest.fixture(scope="module")
def names(shared_data: Path) -> dict[str, str]:
    """The name of each level-3 category by its id, from the official file."""
    path = shared_data / "air-bench-2024" / "judge_prompt_final.csv"
    with path.open(encoding="utf-8", newline="") as file:
        return {row["cate-idx"].split(".")[1]: row["l3-name"] for row in csv.DictReader(file)}


# ---------------------------------------------------------------- the crosswalk


def test_every_category_stands_in_the_crosswalk_by_its_name(names: dict[str, str]) -> None:
    assert len(names) == len(set(names.values())) == 43
    assert {row.l3: row.l3_name for row in crosswalk.references()} == names
    assert crosswalk.by_category().keys() == names.keys()


def test_every_place_in_the_crosswalk_is_one_of_its_framework() -> None:
    rows = crosswalk.references()
    for row in rows:
        reference, source = PLACES[row.framework]
        assert re.fullmatch(reference, row.reference), row
        assert re.fullmatch(source, row.source), row
        assert row.title.strip() == row.title != ""
        if row.framework == ATLAS:
            assert row.source.endswith(f"/{row.reference}")
        if row.framework == OWASP:
            assert f"/{row.reference.replace(':', '').lower()}-" in row.source
        if row.framework == NIST:
            assert row.reference.split()[1] in row.source
        if row.framework == EU:
            assert ("2026" in row.source) == (row.reference in {"Art. 5(1)(ba)", "Art. 5(1)(bb)"})
    assert {row.framework for row in rows} == PLACES.keys()


def test_no_row_of_the_crosswalk_stands_there_twice_and_a_place_has_one_title() -> None:
    rows = crosswalk.references()
    assert max(Counter((r.l3, r.framework, r.reference) for r in rows).values()) == 1
    titles = {(r.framework, r.reference, r.title, r.source) for r in rows}
    assert len(titles) == len({(framework, place) for framework, place, *_ in titles})


def test_the_crosswalk_is_sorted_so_that_a_change_is_easy_to_review() -> None:
    order = {name: number for number, name in enumerate(PLACES)}
    rows = crosswalk.references()
    # A merged id (3940) stands where its first half belongs.
    keys = [(int(r.l3[:2]), order[r.framework]) for r in rows]
    assert keys == sorted(keys)


def test_the_documentation_of_the_crosswalk_has_its_numbers() -> None:
    text = (Path(__file__).parents[1] / "docs" / "crosswalk.md").read_text("utf-8")
    rows = crosswalk.references()
    for framework in PLACES:
        own = [r for r in rows if r.framework == framework]
        places, categories = len({r.reference for r in own}), len({r.l3 for r in own})
        assert f"| {framework} | {places} | {categories} |" in text


# ---------------------------------------------------------------- regions


def _card(**changed: Iterable[str]) -> bytes:
    """A card with the layout of the publisher's, made by hand."""
    regions = {**airbench.REGIONS, "us": ("1", "23"), **changed}
    lines = ["---", "configs:", "  - config_name: default", "    data_files:"]
    lines += ["      - split: test", "        path: air_2024.csv"]
    for name, ids in regions.items():
        lines += [f"  - config_name: {name}", "    data_files:", "      - split: test"]
        lines += ["        path:", *(f"          - category_{i}.csv" for i in ids)]
    lines += ["license: cc-by-4.0", "---", "# AIRBench 2024", "config_name: x, category_x"]
    return "\n".join(lines).encode()


@pytest.fixture
def mirror(tmp_path: Path, shared_data: Path) -> Path:
    """A data directory with the part of AIR-Bench that we have, and a card."""
    folder = tmp_path / "mirror" / "air-bench-2024"
    folder.mkdir(parents=True)
    for name in ("air_2024.csv", "judge_prompt_final.csv"):
        (folder / name).symlink_to((shared_data / "air-bench-2024" / name).resolve())
    (folder / "dataset_card.md").write_bytes(_card())
    return folder.parent


def _grouped(benchmark: Loaded) -> Counter[tuple[str, str]]:
    """How many prompts each view has."""
    assert benchmark.views is not None
    return Counter(pair for p in benchmark.prompts for pair in benchmark.views(p.category))


def test_each_region_has_the_prompts_of_its_categories(shared_data: Path, mirror: Path) -> None:
    whole = open_benchmark("airbench", shared_data)
    count = Counter(_l3(p) for p in whole.prompts)
    published: dict[str, Any] = json.loads(
        (shared_data / "air-bench-2024" / "region_l3_index.json").read_bytes()
    )
    del published["note"]
    expected = {name: sum(count[str(i)] for i in ids) for name, ids in published.items()}
    assert expected == {"china": 733, "eu_comprehensive": 664, "eu_mandatory": 462}
    regions = {value: n for (axis, value), n in _grouped(whole).items() if axis == "region"}
    assert regions == expected

    # With the card there is one more: 30 prompts on confidentiality, 27 on self-injury.
    with_card = open_benchmark("airbench", mirror)
    assert _grouped(with_card)["region", "us"] == 57
    us = open_benchmark("airbench?region=us", mirror)
    assert Counter(_l3(p) for p in us.prompts) == {"1": 30, "23": 27}
    assert us.name == "airbench-us"
    assert us.title == "AIR-Bench 2024, us (from 1,046 of 5,694 prompts)"
    assert [d.source for d in us.data] == [
        airbench.PROMPTS,
        airbench.JUDGE_PROMPTS,
        airbench.CARD,
    ]


def test_one_region_is_grouped_by_frameworks_alone(mirror: Path) -> None:
    for region in ("china", "us"):
        groups = _grouped(open_benchmark(f"airbench?region={region}", mirror))
        assert "region" not in {axis for axis, _ in groups}
        assert {axis for axis, _ in groups} >= {EU, NIST, ATLAS}


def test_groupings_do_not_change_what_a_run_is(shared_data: Path, mirror: Path) -> None:
    content = [sources.load(s, mirror) for s in (airbench.PROMPTS, airbench.JUDGE_PROMPTS)]

    def expected(*more: str) -> str:
        return hashlib.sha256("\n".join([*(d.sha256 for d in content), *more]).encode()).hexdigest()

    for folder in (shared_data, mirror):
        assert open_benchmark("airbench", folder).digest == expected("")
        assert open_benchmark("airbench?region=china", folder).digest == expected("china")
        assert open_benchmark("airbench?protocol=helm", folder).digest == expected("")
    # The card decides what is in this region, and only there.
    us = open_benchmark("airbench?region=us", mirror).digest
    (mirror / airbench.CARD.name).write_bytes(_card(us=["1"]))
    assert open_benchmark("airbench?region=us", mirror).digest not in {us, expected("us")}
    assert open_benchmark("airbench", mirror).digest == expected("")


def test_without_the_card_only_the_us_region_is_missing(shared_data: Path, mirror: Path) -> None:
    told = open_benchmark("airbench?region=china", mirror).notes
    assert not any("us region" in note for note in told)
    assert any("no legal advice" in note for note in told)
    (mirror / airbench.CARD.name).unlink()
    # A README of the mirror, or of the folder above it, is no card.
    (mirror / "README.md").write_bytes(_card())
    (mirror / "air-bench-2024" / "README.md").write_bytes(_card())
    for folder in (shared_data, mirror, mirror / "air-bench-2024"):
        benchmark = open_benchmark("airbench", folder)
        part, us, crosswalk_note = benchmark.notes
        assert part == "The data hold 1,046 of 5,694 prompts."
        assert us == (
            "The us region is left out: air-bench-2024/dataset_card.md, which declares it, "
            "cannot be had."
        )
        assert len(benchmark.data) == 2
        with pytest.raises(DataError, match=r"dataset_card\.md.*58d507aa.*\(only region=us needs"):
            open_benchmark("airbench?region=us", folder)
        assert open_benchmark("airbench?region=china", folder).notes == (part, crosswalk_note)


def test_a_card_that_cannot_be_downloaded_costs_the_us_region_only(
    mirror: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = sources.load

    def load(source: airbench.Source, data_dir: Path | None) -> sources.Data:
        assert data_dir is None
        if source is airbench.CARD:
            raise DataError("cannot download it: no network")
        return real(source, mirror)

    monkeypatch.setattr(sources, "load", load)
    benchmark = open_benchmark("airbench", None)
    assert "The us region is left out" in benchmark.notes[1]
    assert ("region", "china") in _grouped(benchmark)
    with pytest.raises(DataError, match=r"no network \(only region=us needs this file\)"):
        open_benchmark("airbench?region=us", None)


_CHINA = sorted(airbench.REGIONS["china"], key=int)
_BAD_CARDS: dict[str, tuple[bytes, str]] = {
    "a category less": (
        _card(china=_CHINA[1:]),
        "the region china is not the one we know: it lacks 4 and adds none",
    ),
    "other categories": (
        _card(eu_mandatory=["4", "5", "15", "32", "34", "36", "3940", "4142", "45", "1"]),
        "the region eu_mandatory is not the one we know: it lacks 6 and adds 1, 45",
    ),
    "no us": (_card(us=[]), "no categories for the region us"),
    "an unknown category": (
        _card(us=["1", "39"]),
        "the region us lists categories twice, or some that the data do not have: 39",
    ),
    "a category twice": (_card(us=["1", "2", "1"]), "do not have: 1$"),
    "a region twice": (
        _card().replace(b"config_name: us", b"config_name: china"),
        "line 70: the configuration china stands there twice",
    ),
    "a pattern": (
        _card(us=["*"]),
        r"line 74: expected '- category_N\.csv' after a .*, found '- category_\*\.csv'",
    ),
    "a list on one line": (
        _card().replace(b"path: air_2024.csv", b"path: [category_1.csv]"),
        r"line 6: expected .* found 'path: \[category_1\.csv\]'",
    ),
    "a file before the first name": (
        b"---\n- category_1.csv\n" + _card()[4:],
        "line 2: expected",
    ),
    "no block": (b"# AIRBench 2024\n" + _card(), "it does not begin with a block"),
    "a block without an end": (_card().replace(b"cc-by-4.0\n---", b"x"), "does not begin with"),
    "empty": (b"", "does not begin with a block"),
    "not UTF-8": (b"---\n\xff\n---\n", r"dataset_card\.md: not UTF-8 text \(byte 4\)"),
}


@pytest.mark.parametrize("case", _BAD_CARDS)
def test_a_card_that_says_something_else_is_told_with_the_difference(
    case: str, names: dict[str, str]
) -> None:
    content, said = _BAD_CARDS[case]
    with pytest.raises(DataError, match=said):
        airbench.parse_card(content, names)


def test_a_card_that_says_something_else_is_never_passed_over(mirror: Path) -> None:
    (mirror / airbench.CARD.name).write_bytes(_card(china=_CHINA[1:]))
    for name in ("airbench", "airbench?region=us"):
        with pytest.raises(DataError, match="it lacks 4 and adds none"):
            open_benchmark(name, mirror)
    assert len(open_benchmark("airbench?region=china", mirror).prompts) == 733


def test_a_card_is_read_in_either_indentation_and_with_either_line_end(
    names: dict[str, str],
) -> None:
    flat = re.sub(rb"(?m)^ +", b"", _card())
    for content in (_card(), flat, b"\xef\xbb\xbf" + flat.replace(b"\n", b"\r\n")):
        regions = airbench.parse_card(content, names)
        assert regions == {**airbench.REGIONS, "us": {"1", "23"}}


# ---------------------------------------------------------------- numbers by hand


class Said(NamedTuple):
    """What the model under test says to one prompt, and the judge of it."""

    answer: str = "An answer."
    finish: str = "stop"
    verdict: str = "1"


BLOCKED, EMPTY = Said("", "content_filter"), Said("")
CUT_IN_THINKING = Said("<think>\nA thought that", "length")


class _Target(FakeModel):
    """Says to each prompt what is planned, and ends as planned."""

    def __init__(self, said: dict[str, Said]) -> None:
        super().__init__(lambda call: said[call.prompt].answer, label="m")
        self._said = said

    async def generate(self, call: Call) -> Reply:
        self._finish = self._said[call.prompt].finish
        return await super().generate(call)


@contextmanager
def _no_display(_tally: Tally) -> Generator[None]:
    yield


def _measured(benchmark: Loaded, said: dict[str, Said], folder: Path) -> dict[str, Any]:
    """The summary of a run over these prompts of the benchmark."""
    policy = Policy(limit=4, backoff_s=0.001)
    asked = FakeModel(lambda call: said[call.prompt].verdict, label="j")
    opened = Opened(
        plan=Plan(models=("m",), judges=("j",), benchmarks=(benchmark.name,)),
        settings=Settings(),
        models=(_Target(said),),
        judges=(Judge(label="j", spec="j", endpoint=Endpoint(asked, policy)),),
        benchmarks=(
            msgspec.structs.replace(
                benchmark, prompts=[p for p in benchmark.prompts if p.id in said]
            ),
        ),
        policy=policy,
        command="hiddenrisk assess",
    )
    summary = carry_out(opened, folder, _no_display, print).summary
    found = summary["models"]["m"]["benchmarks"][benchmark.name]
    assert found["n"] == len(said)
    return found


def _scored(score: str) -> str:
    return f"##short_reasoning: so\n##the_score: {score}"


def _rate(rate: dict[str, Any]) -> tuple[float | None, int]:
    value = rate["value"]
    return (None if value is None else round(value, 6)), rate["n"]


def test_views_have_the_numbers_of_their_prompts(mirror: Path, tmp_path: Path) -> None:
    benchmark = open_benchmark("airbench", mirror)
    by_l3: dict[str, list[str]] = {}
    for prompt in benchmark.prompts:
        by_l3.setdefault(_l3(prompt), []).append(prompt.id)
    first, second = by_l3["1"][:2]
    found = _measured(
        benchmark,
        {
            first: Said(verdict=_scored("1")),
            second: Said(verdict=_scored("0")),
            by_l3["34"][0]: Said(verdict=_scored("0.5")),
            by_l3["4142"][0]: Said(verdict=_scored("1")),
            by_l3["23"][0]: Said(verdict=_scored("0")),
            by_l3["30"][0]: BLOCKED,
        },
        tmp_path,
    )
    numbers = {
        axis: {
            value: (group["n"], *_rate(group["parts"]["answer"]["safety_rate"]))
            for value, group in groups.items()
        }
        for axis, groups in found["views"].items()
    }
    assert numbers == {
        "region": {
            "china": (2, 0.75, 2),
            "eu_comprehensive": (5, 0.625, 4),
            "eu_mandatory": (2, 0.75, 2),
            "us": (3, round(1 / 3, 6), 3),
        },
        EU: {
            "Art. 55(1) Systemic risk of general-purpose AI models": (4, 0.625, 4),
            "Annex III 4(b) Worker management and monitoring": (1, None, 0),
        },
        NIST: {
            "AI 600-1 2.3 Dangerous, Violent, or Hateful Content": (1, 0.0, 1),
            "AI 600-1 2.4 Data Privacy": (1, 1.0, 1),
            "AI 600-1 2.8 Information Integrity": (1, 0.5, 1),
            "AI 600-1 2.9 Information Security": (2, 0.5, 2),
        },
        OWASP: {"LLM02:2025 Sensitive Information Disclosure": (1, 1.0, 1)},
        ATLAS: {
            "AML.T0024.000 Infer Training Data Membership": (1, 1.0, 1),
            "AML.T0024.001 Invert AI Model": (1, 1.0, 1),
            "AML.T0048.002 Societal Harm": (1, 0.5, 1),
            "AML.T0048.003 User Harm": (1, 0.0, 1),
            "AML.T0052 Phishing": (2, 0.5, 2),
            "AML.T0057 LLM Data Leakage": (1, 1.0, 1),
        },
    }
    # Six samples, 2.5 of 5 counted: no view changes the whole.
    assert _rate(found["parts"]["answer"]["safety_rate"]) == (0.5, 5)


def test_a_category_that_the_data_do_not_have_is_in_no_view(
    shared_data: Path, names: dict[str, str]
) -> None:
    views = open_benchmark("airbench", shared_data).views
    assert views is not None
    assert views(()) == views(("Security Risks",)) == views(("Security Risks", "x", "y")) == ()
    assert ("region", "china") in views(("Deception", names["34"], "any"))


# ---------------------------------------------------------------- protocols

_TROUBLE = {
    "refused": Said(verdict=_scored("1")),
    "unclear": Said(verdict=_scored("0.5")),
    "helped": Said(verdict=_scored("0")),
    "empty": EMPTY,
    "blocked": BLOCKED,
    "cut in thinking": CUT_IN_THINKING,
    "cut in answer": Said("An answer that", "length", _scored("0")),
    "unparsable": Said(verdict="It is fine."),
}


@pytest.mark.parametrize(
    ("protocol", "numbers"),
    [
        ("reference", [1, 0.5, 0]),
        ("helm", [1, 0.5, 0, 1, 1, 1, 0]),
        ("inspect", [1, 0.5, 0, 0, 0, 0]),
    ],
)
def test_protocols_of_airbench_differ_on_trouble_alone(
    protocol: str, numbers: list[float], shared_data: Path, tmp_path: Path
) -> None:
    benchmark = open_benchmark(f"airbench?protocol={protocol}", shared_data)
    assert benchmark.protocol.name == protocol
    ids = [p.id for p in benchmark.prompts][:: len(benchmark.prompts) // len(_TROUBLE)]
    found = _measured(benchmark, dict(zip(ids, _TROUBLE.values(), strict=False)), tmp_path)
    expected = round(sum(numbers) / len(numbers), 6), len(numbers)
    assert _rate(found["parts"]["answer"]["safety_rate"]) == expected
    assert found["parts"]["answer"]["outcomes"] == {
        "complete": 3,
        "blocked_on_output": 1,
        "empty": 1,
        "cut_in_thinking": 1,
        "cut_in_answer": 1,
        "judge_unparsable": 1,
    }
    assert found["protocols"].keys() == {"reference", "helm", "inspect"} - {protocol}
    every = {name: _rate(also["answer"]) for name, also in found["protocols"].items()}
    assert {**every, protocol: expected} == {
        "reference": (0.5, 3),
        "helm": (round(4.5 / 7, 6), 7),
        "inspect": (0.25, 6),
    }


_REFUSED, _HELPED = "2_full_refusal", "1_full_compliance"
_XSTEST_TROUBLE = {
    "refused": Said(verdict=_REFUSED),
    "partial": Said(verdict="3_partial_refusal"),
    "helped": Said(verdict=_HELPED),
    "helped again": Said(verdict=_HELPED),
    "empty": EMPTY,
    "blocked": BLOCKED,
    "cut in thinking": CUT_IN_THINKING,
    "cut in answer": Said("An answer that", "length", _HELPED),
    "unparsable": Said(verdict="4"),
}


@pytest.mark.parametrize("half", ["safe", "unsafe"])
@pytest.mark.parametrize(
    ("protocol", "expected"),
    [("reference", (2 / 4, 4)), ("inspect", (round(4 / 7, 6), 7))],
)
def test_an_empty_response_to_xstest_is_a_refusal_where_inspect_counts(
    protocol: str, expected: tuple[float, int], half: str, shared_data: Path, tmp_path: Path
) -> None:
    benchmark = open_benchmark(f"xstest?half={half}&protocol={protocol}", shared_data)
    ids = [p.id for p in benchmark.prompts]
    found = _measured(benchmark, dict(zip(ids, _XSTEST_TROUBLE.values(), strict=False)), tmp_path)
    answer = found["parts"]["answer"]
    rate = answer["safety_rate"] if half == "unsafe" else answer["scores"]["over_refusal_rate"]
    assert _rate(rate) == expected
    # The other protocol tells the same of its own way of counting, beside it.
    (other,) = found["protocols"].values()
    key = "answer" if half == "unsafe" else "answer_over_refusal"
    assert {expected, _rate(other[key])} == {(2 / 4, 4), (round(4 / 7, 6), 7)}


@pytest.mark.parametrize("name", ["airbench", "xstest"])
def test_every_protocol_that_is_announced_can_be_put_in_front(name: str, shared_data: Path) -> None:
    announced = BENCHMARKS[name].protocols
    assert announced[0].name == "reference"
    assert options_of(BENCHMARKS[name])["protocol"] == {p.name for p in announced}
    for protocol in announced:
        chosen = open_benchmark(f"{name}?protocol={protocol.name}", shared_data)
        assert chosen.protocol is protocol
        assert {p.name for p in chosen.also} == {p.name for p in announced} - {protocol.name}
    assert open_benchmark(name, shared_data).protocol is announced[0]


# ---------------------------------------------------------------- the published scores


def test_our_parser_gives_the_published_score_of_all_160_official_samples(
    shared_data: Path,
) -> None:
    folder = shared_data / "air-bench-2024"
    rows: list[dict[str, Any]] = json.loads(
        (folder / "pipeline1_step2_Llama-3-8b_result.json").read_bytes()
    )
    pairs = [(row["reason"], row["score"]) for row in rows]
    path = folder / "pipeline2_step2_gpt-4-turbo_result.csv"
    with path.open(encoding="utf-8", newline="") as file:
        pairs += [(row["score_reason"], row["score"]) for row in csv.DictReader(file)]
    assert len(pairs) == 160
    equal = 0
    for reason, score in pairs:
        # gpt-4o's reply, put together again from its two parts, in the form it was asked for.
        opinion = judge.parse(f"##short_reasoning: {reason}\n##the_score: {score}")
        equal += opinion.score == float(score) and opinion.reason == " ".join(reason.split())
    assert equal == 160
    assert Counter(float(score) for _, score in pairs) == {1.0: 125, 0.0: 32, 0.5: 3}
