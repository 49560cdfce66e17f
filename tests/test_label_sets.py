"""Label sets: what is in those that are known, and what is wrong with a user's own."""

from collections import Counter
from pathlib import Path

import msgspec
import pytest

from hiddenrisk.errors import DataError, UsageError
from hiddenrisk.label_sets import LABEL_SETS, open_labels
from hiddenrisk.label_sets.own import WORDS, load, words_of


@pytest.mark.parametrize(
    ("name", "unsafe", "safe"),
    [("xstest", 507, 843), ("pyrit-refusal", 35, 70), ("pyrit-harm", 532, 452)],
)
def test_a_known_set_has_the_published_labels(
    shared_data: Path, name: str, unsafe: int, safe: int
) -> None:
    labels = open_labels(name, shared_data, WORDS)
    assert Counter(i.unsafe for i in labels.items) == {True: unsafe, False: safe}
    assert len({i.id for i in labels.items}) == len(labels.items)
    assert all(d.verified for d in labels.data)


def test_the_majority_of_three_votes_labels_a_harmbench_generation(shared_data: Path) -> None:
    labels = open_labels("harmbench", shared_data, WORDS)
    raw = msgspec.json.decode((shared_data / "harmbench/text_behaviors_val_set.json").read_bytes())
    votes = [
        sum(int(row[f"human_{i}"]) for i in range(3)) >= 2 for rows in raw.values() for row in rows
    ]
    assert [i.unsafe for i in labels.items] == votes
    assert labels.recorded == sorted(labels.recorded)
    assert {"gpt-4-0613", "llama_guard", "cls"} <= set(labels.recorded)


def test_every_known_set_has_pinned_sources() -> None:
    for labels in LABEL_SETS.values():
        assert labels.sources
        assert all(s.sha256 and s.size and s.licence for s in labels.sources)


def _written(folder: Path, text: str, name: str = "mine.csv") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


HEAD = "id,prompt,response,label\n"


def test_an_own_csv_becomes_a_set_with_groups_and_recorded_judges(tmp_path: Path) -> None:
    path = _written(
        tmp_path,
        "id,prompt,response,label,model,judge:old\n"
        '1,Hello,Hi,Safe,a,unsafe\n2,Hello,"Hi\nthere",harmful,b,unsafe\n3,Q,A,safe,b,\n',
    )
    labels = load(path)
    assert (labels.name, labels.question, labels.recorded) == ("mine", "harm", ["old"])
    assert [i.unsafe for i in labels.items] == [False, True, False]
    assert [dict(i.recorded) for i in labels.items] == [{"old": True}, {"old": True}, {}]
    assert [i.group for i in labels.items] == ["a", "b", "b"]


def test_an_own_jsonl_may_have_numbers_as_ids_and_labels(tmp_path: Path) -> None:
    path = _written(
        tmp_path,
        '{"id": 1, "prompt": "Q", "response": "A", "label": 1}\n\n'
        '{"id": 2, "prompt": "Q", "response": "A", "label": 0}\n',
        "mine.jsonl",
    )
    labels = load(path, words_of("refused=1, complied=0"))
    assert labels.question == "refusal"
    assert [i.label for i in labels.items] == ["full_refusal", "full_compliance"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "the column id is missing"),
        (HEAD, "it has no labels"),
        ("id,prompt,label\n1,Q,safe\n", "the column response is missing"),
        (HEAD + "1,Q,A,safe\n1,Q,B,safe\n", "line 3, field id: '1' stands twice"),
        (HEAD + "1,Q,A,safe\n,Q,B,safe\n", "line 3, field id: missing or empty"),
        (HEAD + '1,"Q\nQ",A,safe\n2,Q, ,safe\n', "line 4, field response: missing or empty"),
        (HEAD + "1,Q,A,maybe\n", "line 2, field label: the label 'maybe' is not known"),
        (HEAD + "1,Q,A,\n", "line 2, field label: missing or empty"),
        (HEAD + "1,Q,A,safe\n2,Q,A,refused\n", "line 3: the label 'full_refusal' answers another"),
        (HEAD + '1,Q,"A,safe\n', "not valid CSV"),
        (HEAD + "1,Q,Well, A,safe\n", "line 2: more fields than the header names"),
        (HEAD + "1,Q,A,safe\n2,Q,A,safe,unsafe\n", "line 3: more fields than the header names"),
        (HEAD.replace("\n", ",,\n") + "1,Q,A,safe,note\n", "line 2: more fields than the header"),
        ("id,prompt,response,label,label\n1,Q,A,safe,unsafe\n", "the column label stands there tw"),
        (
            "id,prompt,response,label,judge:x\n1,Q,A,safe,dunno\n",
            "line 2, field judge:x: the label 'dunno' is not known",
        ),
    ],
)
def test_a_bad_row_is_told_with_file_line_and_field(tmp_path: Path, text: str, says: str) -> None:
    path = _written(tmp_path, text)
    with pytest.raises(DataError) as told:
        load(path)
    assert says in str(told.value)
    assert str(path) in str(told.value)
    assert "\n" not in str(told.value)


def test_empty_cells_beyond_the_header_and_an_unnamed_index_are_no_fields(tmp_path: Path) -> None:
    text = ",id,prompt,response,label,,\n0,1,Q,A,safe,, \n1,2,Q,A,unsafe,,,,\n2,3,Q,A,safe\n"
    assert [i.unsafe for i in load(_written(tmp_path, text)).items] == [False, True, False]


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("[]", "line 1: not a JSON object"),
        ('{"id": 1', "line 1: not a JSON object"),
        ('{"id": {}, "prompt": "Q", "response": "A", "label": "safe"}', "line 1, field id"),
        ('{"id": 1, "prompt": "Q", "response": null, "label": "safe"}', "line 1, field response"),
        (
            '{"id": 1, "prompt": "Q", "response": "A", "label": "safe", "label": "unsafe"}',
            "line 1: the object gives 'label' two values",
        ),
    ],
)
def test_a_bad_line_is_told_too(tmp_path: Path, line: str, says: str) -> None:
    with pytest.raises(DataError, match=says.replace("[", r"\[")):
        load(_written(tmp_path, line + "\n", "mine.jsonl"))


def test_bytes_that_are_no_text_and_files_that_are_not_there(tmp_path: Path) -> None:
    path = tmp_path / "mine.csv"
    with pytest.raises(DataError, match="cannot read"):
        load(path)
    path.write_bytes(HEAD.encode() + b"1,Q,\xff,safe\n")
    with pytest.raises(DataError, match="not UTF-8"):
        load(path)


@pytest.mark.parametrize("text", ["1", "unsafe=", "bad=1", "unsafe=1,safe=1", "unsafe=1,refused=0"])
def test_a_slip_in_labels_is_told(text: str) -> None:
    with pytest.raises(UsageError, match="--labels"):
        words_of(text)


def test_an_unknown_set_names_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="did you mean 'xstest'"):
        open_labels("xtest", None, WORDS)
    with pytest.raises(DataError, match="rename the file"):
        open_labels(str(_written(tmp_path, HEAD, "xstest.csv")), None, WORDS)
