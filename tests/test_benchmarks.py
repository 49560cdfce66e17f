"""Benchmarks: what every one promises, the public data they read, and rows that are wrong."""

import importlib
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from hiddenrisk import sources
from hiddenrisk.benchmarks import BENCHMARKS, airbench, open_benchmark, options_of, own, xstest
from hiddenrisk.benchmarks.base import REFUSAL, Loaded, Protocol
from hiddenrisk.errors import DataError, UsageError
from hiddenrisk.types import BLOCKED, SCORED, Finish, Prompt, Source


@pytest.fixture(scope="module")
def recorded(shared_data: Path) -> Path:
    """The folder with two prompts of every AIR-Bench category; it has no judge prompts."""
    return shared_data / "air-bench-2024" / "recorded"


def _ids(benchmark: Loaded) -> list[str]:
    return [prompt.id for prompt in benchmark.prompts]


# ---------------------------------------------------------------- what every benchmark promises

BUILT_IN = sorted(BENCHMARKS)


def _documentation(name: str) -> str:
    """The docstring of the benchmark's file, and of its judge's where it points there."""
    texts = [importlib.import_module(f"hiddenrisk.benchmarks.{name}").__doc__ or ""]
    if f"judges/{name}.py" in texts[0]:
        texts.append(importlib.import_module(f"hiddenrisk.judges.{name}").__doc__ or "")
    return "\n".join(texts)


@pytest.mark.parametrize("name", BUILT_IN)
def test_every_benchmark_says_where_it_comes_from_and_how_it_differs(name: str) -> None:
    said = _documentation(name)
    if "of our own" not in said:
        assert "Paper: " in said
        assert "https://arxiv.org/abs/" in said
        assert "Differs from the reference: " in said
    assert BENCHMARKS[name].title
    assert BENCHMARKS[name].about


@pytest.mark.parametrize("name", BUILT_IN)
def test_every_benchmark_keeps_its_promises(shared_data: Path, name: str) -> None:
    benchmark = open_benchmark(name, shared_data)
    prompts = list(benchmark.prompts)
    assert benchmark.name == name
    assert len(benchmark.prompts) == len(prompts) > 0
    assert len({p.id for p in prompts}) == len(prompts), "ids are unique"
    assert prompts == list(open_benchmark(name, shared_data).prompts), "and stable"
    assert benchmark.digest == open_benchmark(name, shared_data).digest
    for prompt in prompts:
        assert prompt.benchmark == name
        assert prompt.text.strip()
        assert prompt.category
        assert all(prompt.category)
    for data in benchmark.data:
        _check_source(data.source)
    assert benchmark.paper.startswith("https://") or not benchmark.data
    _check_judges(benchmark, prompts)


def _check_source(source: Source) -> None:
    assert source.url.startswith("https://")
    assert source.url.endswith(Path(source.name).suffix)
    assert any(len(part) == 40 for part in source.url.split("/")), "pinned to a commit"
    assert source.sha256 is None or len(source.sha256) == 64
    assert source.licence
    assert source.paper.startswith("https://")


def _check_judges(benchmark: Loaded, prompts: list[Prompt]) -> None:
    """Every prompt can be judged, by every protocol."""
    answer = "An answer that stands in no prompt."
    for prompt in prompts:
        rubric = benchmark.rubric if prompt.label == "unsafe" else benchmark.safe_rubric
        asked = rubric.ask(prompt, answer)
        assert asked.count(answer) == 1, prompt.id
        assert "{{ANSWER}}" not in asked.replace(prompt.text, ""), prompt.id
    for protocol in (benchmark.protocol, *benchmark.also, REFUSAL):
        assert protocol.about
        assert not protocol.judged & protocol.counted.keys()
        assert all(0 <= score <= 1 for score in protocol.counted.values())
    names = [p.name for p in (benchmark.protocol, *benchmark.also)]
    assert len(set(names)) == len(names)


_LACKING = {
    ("airbench", "us"): "only region=us needs this file",
    ("mitre", "augmented"): "mitre_benchmark_100_per_category_with_augmentation.json",
    ("wildguard", "wildguardtest"): "WildGuardTest: ",
}
"""What the mirror has no data for, and what is said then."""


@pytest.mark.parametrize("name", BUILT_IN)
def test_every_option_of_every_benchmark_can_be_chosen(shared_data: Path, name: str) -> None:
    usual = open_benchmark(name, shared_data)
    for option, values in options_of(BENCHMARKS[name]).items():
        for value in values:
            try:
                chosen = open_benchmark(f"{name}?{option}={value}", shared_data)
            except DataError as error:  # a mirror may lack the file that only this one needs
                said = str(error)
                assert _LACKING[name, value] in said
                continue
            if chosen.data == usual.data:  # a part of the same file; another one has its own
                assert set(_ids(chosen)) <= set(_ids(usual))
            assert chosen.name.startswith(name)


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("xtest", "unknown benchmark 'xtest'; did you mean 'xstest'"),
        ("nothing-like-it", "known: airbench, .*starter, .*xstest"),
        ("xstest?hlaf=safe", "unknown option 'hlaf'; did you mean 'half'"),
        ("xstest?half=saef", "unknown half 'saef'; did you mean 'safe'"),
        ("airbench?region", r"unknown region '\(nothing\)'"),
        ("airbench?region=mars", "unknown region 'mars'"),
        ("starter?region=china", "unknown option 'region'"),
        ("no/such/file.jsonl", "the benchmark file no/such/file.jsonl does not exist"),
        ("prompts.jsonl", "the benchmark file prompts.jsonl does not exist"),
        ("x" * 300, "unknown benchmark 'xxx"),
    ],
)
def test_a_mistyped_benchmark_says_what_was_meant(typed: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        open_benchmark(typed, None)


def test_a_protocol_counts_a_verdict_between_safe_and_unsafe_as_it_says() -> None:
    assert [Protocol(name="x").score(s) for s in (0.0, 0.5, 1.0)] == [0.0, 0.5, 1.0]
    assert [REFUSAL.score(s) for s in (0.0, 0.5, 1.0)] == [0.0, 1.0, 1.0]
    # Trouble stays out of the number unless a protocol says otherwise.
    assert REFUSAL.judged == airbench.REFERENCE.judged == SCORED
    assert {airbench.HELM.counted[f] for f in (*BLOCKED, Finish.EMPTY)} == {1.0}


# ---------------------------------------------------------------- starter


def test_the_starter_suite_needs_no_data() -> None:
    starter = open_benchmark("starter", None)
    prompts = list(starter.prompts)
    assert Counter(p.label for p in prompts) == {"unsafe": 64, "safe": 32}
    assert len({p.category for p in prompts}) == 16
    assert not starter.data


# ---------------------------------------------------------------- AIR-Bench


def test_airbench_reads_a_part_of_the_public_file(shared_data: Path) -> None:
    benchmark = open_benchmark("airbench", shared_data)
    prompts = list(benchmark.prompts)
    assert len(prompts) == len(set(_ids(benchmark))) == 1046
    assert len({p.meta["cate-idx"] for p in prompts}) == 314
    assert len({p.category for p in prompts}) == 314
    assert len({p.category[:2] for p in prompts}) == 43
    assert len({p.category[0] for p in prompts}) == 16
    assert {p.label for p in prompts} == {"unsafe"}
    prompts_file, judge_file = benchmark.data
    # The publisher's file could not be digested yet; the judge prompts are the pinned ones.
    assert (prompts_file.verified, judge_file.verified) == (False, True)
    assert prompts_file.warning is not None
    assert "no digest is pinned" in prompts_file.warning


def test_a_prompt_that_stands_twice_in_the_file_counts_twice(recorded: Path) -> None:
    prompts = list(open_benchmark("airbench", recorded).prompts)
    assert len(prompts) == len({p.id for p in prompts}) == 628
    ((text, count),) = [(t, n) for t, n in Counter(p.text for p in prompts).items() if n > 1]
    assert count == 2
    twins = [p for p in prompts if p.text == text]
    assert {p.meta["cate-idx"] for p in twins} == {"15.4142.13"}
    assert len({p.id for p in twins}) == 2
    assert set(Counter(p.meta["cate-idx"] for p in prompts).values()) == {2}


def test_judge_prompts_are_found_beside_or_above_the_folder_named(
    shared_data: Path, recorded: Path
) -> None:
    for folder in (shared_data, shared_data / "air-bench-2024", recorded):
        assert len(open_benchmark("airbench", folder).prompts) in {1046, 628}


def test_a_region_has_the_categories_that_its_publisher_names(shared_data: Path) -> None:
    path = shared_data / "air-bench-2024" / "region_l3_index.json"
    published: dict[str, Any] = json.loads(path.read_bytes())
    del published["note"]
    assert {name: {str(i) for i in ids} for name, ids in published.items()} == airbench.REGIONS
    whole = list(open_benchmark("airbench", shared_data).prompts)
    digests = {open_benchmark("airbench", shared_data).digest}
    for name, ids in published.items():
        region = open_benchmark(f"airbench?region={name}", shared_data)
        wanted = {str(i) for i in ids}
        expected = [p for p in whole if p.meta["cate-idx"].split(".")[1] in wanted]
        # The same prompts under the same ids as in the whole.
        assert list(region.prompts) == expected
        assert {p.meta["cate-idx"].split(".")[1] for p in region.prompts} == wanted
        assert region.name == f"airbench-{name}"
        digests.add(region.digest)
    assert len(digests) == 4


def test_the_protocol_in_front_can_be_chosen(shared_data: Path) -> None:
    usual = open_benchmark("airbench", shared_data)
    helm = open_benchmark("airbench?protocol=helm", shared_data)
    assert (usual.protocol, usual.also) == (airbench.REFERENCE, (airbench.HELM, airbench.INSPECT))
    assert (helm.protocol, helm.also) == (airbench.HELM, (airbench.REFERENCE, airbench.INSPECT))


_HEADER = b"cate-idx,l2-name,l3-name,l4-name,prompt\n"
_ROW = b"1.1.1,a,b,c,Why?\n"

_BAD_PROMPTS: dict[str, tuple[bytes, str]] = {
    "no rows": (_HEADER, "air_2024.csv: it has no rows"),
    "empty": (b"", "air_2024.csv: the column cate-idx is missing"),
    "no header": (_ROW, "air_2024.csv: the column cate-idx is missing; it has 1.1.1, a, b, c, Why"),
    "a column less": (b"cate-idx,l2-name,l3-name,prompt\n", "the column l4-name is missing"),
    "an empty field": (_HEADER + _ROW + b"1.1.1,a,b,c, \n", "row 2, field prompt: empty"),
    "a short row": (_HEADER + b"1.1.1,a,b\n", "row 1, field l4-name: empty"),
    "an odd category": (
        _HEADER + _ROW + _ROW.replace(b"1.1.1", b"1.1"),
        "row 2, field cate-idx: expected L2.L3.L4, found '1.1'",
    ),
    "an unknown category": (
        _HEADER + _ROW.replace(b"1.1.1", b"9.9.9"),
        "row 1, field cate-idx: 9.9.9 has no prompt in .*judge_prompt_final.csv",
    ),
    "not UTF-8": (_HEADER + b"1.1.1,a,b,c,\xff\n", r"air_2024.csv: not UTF-8 text \(byte 52\)"),
    "no CSV": (b"x" * 200_000, "air_2024.csv: the column cate-idx is missing; it has x{200}$"),
}


@pytest.mark.parametrize("case", _BAD_PROMPTS)
def test_a_bad_row_is_told_by_file_row_and_field(case: str) -> None:
    content, said = _BAD_PROMPTS[case]
    with pytest.raises(DataError, match=said):
        list(airbench.parse_prompts(content, {"1.1.1"}))


def test_quotes_line_ends_and_marks_in_a_csv_are_kept_as_they_are() -> None:
    row = '1.1.1,"a, b",c,d,"He said ""why?""\r\nand left.\n"\r\n'
    content = "\ufeff".encode() + _HEADER.replace(b"\n", b"\r\n") + row.encode()
    (prompt,) = airbench.parse_prompts(content, {"1.1.1"})
    assert prompt.text == 'He said "why?"\r\nand left.\n'
    assert prompt.category == ("a, b", "c", "d")
    assert prompt.id == "1.1.1-1"


def test_a_long_prompt_is_no_trouble() -> None:
    row = b"1.1.1,a,b,c," + b"x" * 200_000
    (prompt,) = airbench.parse_prompts(_HEADER + row, {"1.1.1"})
    assert len(prompt.text) == 200_000


def test_a_category_with_two_judge_prompts_is_refused() -> None:
    header = _HEADER.replace(b"prompt", b"judge_prompt")
    with pytest.raises(DataError, match=r"row 2: category 1\.1\.1 stands there twice"):
        airbench.parse_judge_prompts(header + _ROW + _ROW)


# ---------------------------------------------------------------- XSTest


def test_xstest_has_250_safe_prompts_and_200_contrasts(shared_data: Path) -> None:
    benchmark = open_benchmark("xstest", shared_data)
    prompts = list(benchmark.prompts)
    assert Counter(p.label for p in prompts) == {"safe": 250, "unsafe": 200}
    types = {
        label: Counter(p.category for p in prompts if p.label == label)
        for label in ("safe", "unsafe")
    }
    assert len(types["safe"]) == 10
    assert len(types["unsafe"]) == 8
    assert set(types["safe"].values()) == set(types["unsafe"].values()) == {25}
    (data,) = benchmark.data
    assert data.verified
    assert data.warning is None
    assert benchmark.protocol.score(0.5) == 1.0, "a partial refusal is a refusal"


def test_the_halves_of_xstest_make_the_whole(shared_data: Path) -> None:
    whole, both, safe, unsafe = (
        open_benchmark(f"xstest{half}", shared_data)
        for half in ("", "?half=both", "?half=safe", "?half=unsafe")
    )
    assert sorted(_ids(safe) + _ids(unsafe)) == sorted(_ids(whole))
    assert (both.name, safe.name, unsafe.name) == ("xstest", "xstest-safe", "xstest-unsafe")
    assert both.digest == whole.digest
    assert len({whole.digest, safe.digest, unsafe.digest}) == 3
    assert {p.label for p in safe.prompts} == {"safe"}


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (b"1,Why?,t,safe\n2,Why?,t,maybe\n", "row 2, field label: expected safe or unsafe, found"),
        (b"1,,t,safe\n", "row 1, field prompt: empty"),
    ],
)
def test_a_bad_row_of_xstest_is_told_by_file_row_and_field(rows: bytes, said: str) -> None:
    with pytest.raises(DataError, match=rf"xstest/xstest_prompts\.csv, {said}"):
        list(xstest.parse(b"id,prompt,type,label\n" + rows))


# ---------------------------------------------------------------- a user's own prompts


def _file(tmp_path: Path, content: str | bytes) -> Path:
    path = tmp_path / "mine.jsonl"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def test_a_file_of_one_s_own_is_a_benchmark(tmp_path: Path) -> None:
    lines: list[dict[str, Any]] = [
        {"id": "a", "prompt": "Why?"},
        {"id": 2, "prompt": "How?", "category": "x", "label": "Benign", "more": [1]},
        {
            "id": "c",
            "messages": [
                {"role": "system", "content": "Be brief."},
                {"role": "user", "content": "Who?"},
            ],
            "category": ["x", "y"],
            "label": "harmful",
        },
        {"id": "d", "prompt": "é\u2028\n", "label": None, "category": None},
    ]
    text = "\ufeff" + "\n\n".join(json.dumps(line, ensure_ascii=False) for line in lines)
    path = _file(tmp_path, text)
    benchmark = open_benchmark(str(path), None)
    prompts = list(benchmark.prompts)
    assert (benchmark.name, len(benchmark.prompts)) == ("mine", 4)
    assert [p.id for p in prompts] == ["a", "2", "c", "d"]
    assert [p.label for p in prompts] == ["unsafe", "safe", "unsafe", "unsafe"]
    assert [p.category for p in prompts] == [(), ("x",), ("x", "y"), ()]
    assert [p.text for p in prompts] == ["Why?", "How?", "Who?", "é\u2028\n"]
    assert [m.role for m in prompts[2].messages] == ["system", "user"]
    assert prompts == list(benchmark.prompts), "it can be read again"


def test_the_digest_of_a_file_of_one_s_own_is_that_of_its_content(tmp_path: Path) -> None:
    first = own.load(_file(tmp_path, '{"id": 1, "prompt": "Why?"}\n'))
    again = own.load(_file(tmp_path, '{"id": 1, "prompt": "Why?"}\n'))
    other = own.load(_file(tmp_path, '{"id": 1, "prompt": "How?"}\n'))
    assert first.digest == again.digest != other.digest


_GOOD = '{"id": "a", "prompt": "Why?"}\n'
_BAD_LINES: dict[str, tuple[str | bytes, str]] = {
    "empty": ("", "no prompts in it"),
    "blank": ("\n \n", "no prompts in it"),
    "not JSON": (_GOOD + "plain\n", "line 2: not valid JSON"),
    "cut": (_GOOD + '{"id": "b", "pro', "line 2: not valid JSON"),
    "too deep": (_GOOD + '{"id": "b", "x": ' + "[" * 100_000, "line 2: not valid JSON"),
    "not UTF-8": (_GOOD.encode() + b'{"id": "b", "prompt": "\xff"}', "line 2: not valid JSON"),
    "UTF-16": (_GOOD.encode("utf-16"), "line 1: not valid JSON"),
    "no object": (_GOOD + "[1]\n", "line 2: Expected `object`"),
    "no id": ('{"prompt": "Why?"}', "line 1, field id: missing"),
    "an empty id": ('{"id": "", "prompt": "Why?"}', "line 1, field id: missing"),
    "an odd id": ('{"id": 1.5, "prompt": "Why?"}', r"line 1: Expected .* at `\$\.id`"),
    "an id twice": (_GOOD + "\n" + _GOOD, "line 3, field id: 'a' twice"),
    "a number is the same id as its text": (
        '{"id": 1, "prompt": "a"}\n{"id": "1", "prompt": "b"}',
        "line 2, field id: '1' twice",
    ),
    "no prompt": ('{"id": "a"}', "line 1, field prompt: missing or empty"),
    "no user's turn": (
        '{"id": "a", "messages": [{"role": "system", "content": "Be brief."}]}',
        "line 1, field prompt: missing or empty",
    ),
    "an empty prompt": ('{"id": "a", "prompt": " "}', "line 1, field prompt: missing or empty"),
    "no messages": ('{"id": "a", "messages": []}', "line 1, field prompt: missing or empty"),
    "an odd prompt": ('{"id": "a", "prompt": 5}', r"line 1: Expected .* at `\$\.prompt`"),
    "an odd message": (
        '{"id": "a", "messages": [{"role": "user"}]}',
        r"line 1: Object missing required field `content` - at `\$\.messages\[0\]`",
    ),
    "an odd label": (
        '{"id": "a", "prompt": "Why?", "label": "bad"}',
        "line 1, field label: expected safe or unsafe, found 'bad'",
    ),
    "an odd category": (
        '{"id": "a", "prompt": "Why?", "category": [1]}',
        r"line 1: Expected `str`, got `int` - at `\$\.category\[0\]`",
    ),
}


@pytest.mark.parametrize("case", _BAD_LINES)
def test_a_bad_line_of_one_s_own_is_told_by_file_line_and_field(tmp_path: Path, case: str) -> None:
    content, said = _BAD_LINES[case]
    path = _file(tmp_path, content)
    with pytest.raises(DataError, match=said) as caught:
        open_benchmark(str(path), None)
    assert str(path) in str(caught.value)
    assert len(str(caught.value)) < 400


def test_a_file_that_goes_away_while_it_is_read_is_told(tmp_path: Path) -> None:
    path = _file(tmp_path, _GOOD)
    prompts = own.load(path).prompts
    path.unlink()
    with pytest.raises(DataError, match=r"cannot read .*mine\.jsonl: No such file"):
        list(prompts)


def test_data_that_is_not_there_is_told_with_its_source(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"xstest/xstest_prompts\.csv; put the file there"):
        open_benchmark("xstest", tmp_path)
    assert sources.load(xstest.PROMPTS, _mirror(tmp_path)).warning is not None


def _mirror(folder: Path) -> Path:
    """A mirror with another version of a file."""
    path = folder / xstest.PROMPTS.name
    path.parent.mkdir()
    path.write_bytes(b"id,prompt,type,label\n1,Why?,t,safe\n")
    return folder


def test_half_a_file_is_told_as_such(shared_data: Path, tmp_path: Path) -> None:
    for source in (xstest.PROMPTS, BENCHMARKS["interpreter"].sources[0]):
        content = (shared_data / source.name).read_bytes()
        path = tmp_path / source.name
        path.parent.mkdir(parents=True)
        path.write_bytes(content[: len(content) // 2])
        name = "xstest" if "xstest" in source.name else "interpreter"
        with pytest.raises(DataError, match=r"of [\d,]+ bytes are here: half a download\?"):
            open_benchmark(name, tmp_path)
