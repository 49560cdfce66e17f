"""Reward models against human preferences: pairs, their statistics, and `calibrate --reward`."""

import gzip
import json
import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats as scipy_stats

from hiddenrisk.errors import DataError, UsageError
from hiddenrisk.label_sets import preferences
from hiddenrisk.label_sets.preferences import HH_HARMLESS, Odd, PairSet, open_pairs, parse
from hiddenrisk.preferred import read_preferences
from hiddenrisk.stats.preferences import Choice, accuracy, by_length, longer
from hiddenrisk.types import Message
from tests.conftest import CommandLine
from tests.reward_models import needs_torch, save
from tests.test_harm import RewardServer
from tests.test_importing import records, wrong
from tests.test_transcripts import jsonl

ASK = "\n\nHuman: How is bread baked?\n\nAssistant:"


def read(*rows: object) -> PairSet:
    content = "\n".join(r if isinstance(r, str) else json.dumps(r) for r in rows).encode()
    return parse(content, name="s", title="s", where="s.jsonl", digest="d")


def pair(chosen: object, rejected: object, **more: object) -> dict[str, object]:
    return {"chosen": chosen, "rejected": rejected, **more}


GOOD = pair(f"{ASK} With flour.", f"{ASK} No.")


@pytest.mark.parametrize(
    "row",
    [
        GOOD,
        pair("With flour.", "No.", prompt="How is bread baked?"),
        pair(" With flour.\n", "No.", prompt=[{"role": "user", "content": "How is bread baked?"}]),
        pair(
            *(
                [
                    {"role": "user", "content": "How is bread baked?"},
                    {"role": "assistant", "content": said},
                ]
                for said in ("With flour.", "No.")
            ),
            prompt="How is bread baked?",
        ),
        pair(
            [{"role": "assistant", "content": "With flour."}],
            [{"role": "assistant", "content": "No."}],
            prompt="How is bread baked?",
        ),
    ],
)
def test_a_pair_reads_alike_in_every_form(row: dict[str, object]) -> None:
    (found,) = read(row).pairs
    assert found.prompt == (Message("user", "How is bread baked?"),)
    assert (found.chosen, found.rejected) == ("With flour.", "No.")


def test_a_dialogue_keeps_its_turns() -> None:
    before = "\n\nHuman: Hi\n\nAssistant: Hello.\nHow are you?\n\nHuman: Well"
    (found,) = read(pair(f"{before}\n\nAssistant: Good", f"{before}\n\nAssistant: So?")).pairs
    assert [m.role for m in found.prompt] == ["user", "assistant", "user"]
    assert found.prompt[1].content == "Hello.\nHow are you?"


ODD: list[tuple[object, Odd]] = [
    ("{", Odd.NOT_JSON),
    ('"text"', Odd.NOT_JSON),
    ("[" * 100_000, Odd.NOT_JSON),
    ('{"chosen": "\\ud800', Odd.NOT_JSON),
    ({"chosen": f"{ASK} Yes."}, Odd.NO_TEXTS),
    (pair(f"{ASK} Yes.", None), Odd.NO_TEXTS),
    (pair(1, 2), Odd.NO_TEXTS),
    (pair([], [{"role": "user"}]), Odd.NO_TEXTS),
    (pair("With flour.", "No."), Odd.NO_TEXTS),  # of which prompt?
    (pair(f"{ASK} Yes.", f"{ASK} No.\n\nHuman: Go on"), Odd.TURNS),
    (pair(f"{ASK} Yes.", f"{ASK} No.\n\nAssistant: Well, yes"), Odd.TURNS),
    (pair(f"{ASK} Yes.", "\n\nAssistant: Hello"), Odd.TURNS),
    (pair(f"{ASK} Yes.", f"{ASK} "), Odd.EMPTY),
    (pair("\n\nHuman:\n\nAssistant: a", "\n\nHuman:\n\nAssistant: b"), Odd.EMPTY),
    (pair(f"{ASK} Yes.", "\n\nHuman: And cake?\n\nAssistant: No."), Odd.OTHER_PROMPT),
    # A reply that plants a turn of its own makes another prompt, and is no pair.
    (pair(f"{ASK} Yes.\n\nHuman: Thanks\n\nAssistant: Sure", f"{ASK} No."), Odd.OTHER_PROMPT),
    (pair(f"{ASK} Yes.", f"{ASK}  Yes. "), Odd.SAME),
]


@pytest.mark.parametrize(("row", "reason"), ODD)
def test_a_row_that_is_no_pair_is_counted_and_not_scored(row: object, reason: Odd) -> None:
    found = read(row, "", GOOD)
    assert [p.id for p in found.pairs] == ["3"], "the number of its line"
    assert found.odd == {reason: 1}


def test_a_line_without_end_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preferences, "MAX_LINE", 1000)
    assert read(pair(f"{ASK} {'y' * 1000}", f"{ASK} No."), GOOD).odd == {Odd.TOO_LONG: 1}


def test_a_file_without_any_pair_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"s\.jsonl has no pair of replies \(2 no_texts\)"):
        read({}, {})
    with pytest.raises(DataError, match=r"no pair of replies \(no rows\)"):
        read("")
    path = jsonl(tmp_path / "hh-harmless.jsonl", GOOD)
    with pytest.raises(DataError, match="rename the file"):
        open_pairs(str(path), None)
    with pytest.raises(UsageError, match="did you mean 'hh-harmless'"):
        open_pairs("hh-harmles", None)
    with pytest.raises(DataError, match="cannot read"):
        open_pairs(str(tmp_path / "nowhere.jsonl"), None)


def test_gzip_is_read_and_what_is_none_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "mine.jsonl.gz"
    whole = gzip.compress(json.dumps(GOOD).encode() * 1)
    path.write_bytes(whole)
    found = open_pairs(str(path), None)
    assert (found.name, len(found.pairs)) == ("mine", 1)
    for content, says in (
        (json.dumps(GOOD).encode(), "is no gzip file"),
        (whole[:-9], "is cut or damaged gzip"),
        (whole[:12] + b"\xff\xff" + whole[14:], "is cut or damaged gzip"),
        (b"", "is no gzip file"),
    ):
        path.write_bytes(content)
        with pytest.raises(DataError, match=says):
            open_pairs(str(path), None)
    monkeypatch.setattr(preferences, "MAX_BYTES", 1 << 20)
    path.write_bytes(gzip.compress(bytes(8 << 20)))
    with pytest.raises(DataError, match="unpacks to more than 1 MiB"):
        open_pairs(str(path), None)


def test_a_part_of_the_pinned_file_is_read_and_unverified(shared_data: Path) -> None:
    found = open_pairs("hh-harmless", shared_data)
    assert len(found.pairs) + sum(found.odd.values()) == 1179
    assert found.odd == {Odd.TURNS: 4}
    (file,) = found.data
    assert file.warning
    assert "a part of the file" in file.warning
    notice = (shared_data / "hh_rlhf_harmless_test" / "NOTICE.txt").read_text()
    assert str(HH_HARMLESS.sha256) in notice
    assert all(p.prompt[-1].role == "user" and p.chosen != p.rejected for p in found.pairs)


# ---------------------------------------------------------------- statistics


def test_a_share_has_wilsons_interval_and_ties_stand_apart() -> None:
    choices = [Choice(1, 9, 9)] * 31 + [Choice(-1, 9, 9)] * 12 + [Choice(0, 9, 9)] * 5
    found = accuracy(choices)
    exact = scipy_stats.binomtest(31, 43).proportion_ci(method="wilson")
    assert found.ties == 5
    assert found.accuracy.n == 43
    assert (found.accuracy.low, found.accuracy.high) == pytest.approx((exact.low, exact.high))
    assert accuracy([Choice(0, 1, 2)]).accuracy.value is None, "ties alone are no share"


def test_who_goes_by_length_alone_is_found_out() -> None:
    """People prefer the longer reply in three of ten; the reward model always does."""
    choices = [Choice(a - b, a, b) for a, b in [(300, 100)] * 30 + [(100, 300)] * 70]
    choices += [Choice(1, 100, 100), Choice(-1, 110, 100)]
    groups = by_length(choices)
    assert groups["longer"].accuracy.value == 1.0
    assert groups["shorter"].accuracy.value == 0.0
    assert groups["alike"].accuracy.n == 2
    told = longer(choices)
    assert told.model.n == told.people.n == 101, "without the two of one length"
    assert told.people.value == pytest.approx(31 / 101)
    assert told.model.value == pytest.approx(100 / 101)


_CHOICE = st.builds(
    Choice,
    st.sampled_from([-1.5, -1.0, 0.0, 0.5, 2.0]),
    st.integers(1, 5000),
    st.integers(1, 5000),
)


@given(st.lists(_CHOICE, max_size=60))
def test_each_pair_is_in_one_group(choices: list[Choice]) -> None:
    whole, groups = accuracy(choices), by_length(choices).values()
    assert sum(g.accuracy.n for g in groups) == whole.accuracy.n
    assert sum(g.ties for g in groups) == whole.ties
    assert whole.accuracy.n + whole.ties == len(choices)
    turned = accuracy([Choice(-c.margin, c.rejected, c.chosen) for c in choices])
    if whole.accuracy.value is not None and turned.accuracy.value is not None:
        assert turned.accuracy.value == pytest.approx(1 - whole.accuracy.value)


# ---------------------------------------------------------------- the command


def _rows(count: int) -> list[dict[str, object]]:
    """Replies of which the preferred one is marked, and as often longer as shorter."""
    draw = random.Random(1)
    rows: list[dict[str, object]] = []
    for i in range(count):
        sizes = draw.randint(1, 9), draw.randint(20, 60)
        one, other = sizes if i % 2 else sizes[::-1]
        good, bad = "good " + "so. " * one, "bad " + "so. " * other
        rows.append(pair(f"{good}{i}", f"{bad}{i}", prompt=f"Question {i}?"))
    return rows


def _good(text: str) -> float:
    return float(text.startswith("good"))


def _results(folder: Path) -> list[dict[str, Any]]:
    return json.loads((folder / "preferences.json").read_text())["results"]


def test_a_reward_model_that_prefers_as_people_do_is_always_right(hiddenrisk: CommandLine) -> None:
    jsonl(hiddenrisk.folder / "mine.jsonl", *_rows(40), {"chosen": "alone"})
    with RewardServer(_good) as server:
        args = ("calibrate", "--reward", server.spec, "--on", "mine.jsonl", "--out", "cal")
        done = hiddenrisk(*args)
        assert done.code == 0, done
        assert len(server.asked) == 80
        assert hiddenrisk(*args).code == 0
        assert len(server.asked) == 80, "what is there is not asked again"
    (one,) = _results(hiddenrisk.folder / "cal")
    assert one["accuracy"]["value"] == 1.0
    assert (one["n"], one["ties"], one["failed"], one["odd"]) == (40, 0, 0, {"no_texts": 1})
    assert one["identity"]["model"] == "org/rm"
    assert "100.0%" in done.out
    assert "rows that are no pairs, left out: 1 no_texts" in done.err
    (read_back,) = read_preferences(hiddenrisk.folder / "cal")
    assert read_back.accuracy.value == 1.0


def test_ties_and_failures_stand_apart_and_a_failure_is_tried_again(
    hiddenrisk: CommandLine,
) -> None:
    jsonl(hiddenrisk.folder / "mine.jsonl", *_rows(20))

    def says(text: str) -> float | None:
        number = int(text.split()[-1].removeprefix("so."))
        return (
            None if number == 3 and text.startswith("bad") else 0.5 if number < 3 else _good(text)
        )

    with RewardServer(says) as server:
        args = ("calibrate", "--reward", server.spec, "--on", "mine.jsonl", "--out", "cal")
        done = hiddenrisk(*args)
        assert done.code == 1, done
        assert "5.0% of the pairs have no two scores" in done.lines[-1]
        (one,) = _results(hiddenrisk.folder / "cal")
        assert (one["n"], one["ties"], one["failed"]) == (19, 3, 1)
        assert one["accuracy"]["n"] == 16
        assert one["failures"] == {"request_failed": 1}
        server.says = _good
        before = len(server.asked)
        assert hiddenrisk(*args).code == 0
        assert len(server.asked) == before + 1
    (one,) = _results(hiddenrisk.folder / "cal")
    assert (one["n"], one["failed"]) == (20, 0)


def test_a_draw_is_the_same_always_and_in_a_larger_one(hiddenrisk: CommandLine) -> None:
    jsonl(hiddenrisk.folder / "mine.jsonl", *_rows(40))
    with RewardServer(_good) as server:
        args = ("calibrate", "--reward", server.spec, "--on", "mine.jsonl", "--out")
        for limit, asked in ((8, 16), (8, 16), (20, 40), (8, 40)):
            done = hiddenrisk(*args, "cal", "--limit", str(limit))
            assert done.code == 0, done
            assert len(server.asked) == asked
        assert hiddenrisk(*args, "other", "--limit", "8").code == 0
    first, other = (records(hiddenrisk.folder / f / "rewards.jsonl") for f in ("cal", "other"))
    assert {r["key"] for r in first[:16]} == {r["key"] for r in other}


def test_results_of_others_stay_and_a_label_is_one_reward_model(hiddenrisk: CommandLine) -> None:
    jsonl(hiddenrisk.folder / "mine.jsonl", *_rows(6))
    with RewardServer(_good) as server, RewardServer(lambda t: -_good(t)) as other:
        args = ("--on", "mine.jsonl", "--out", "cal")
        assert hiddenrisk("calibrate", "--reward", server.spec, *args).code == 0
        assert hiddenrisk("calibrate", "--reward", f"b={other.spec}", *args).code == 0
        found = {r["reward"]: r["accuracy"]["value"] for r in _results(hiddenrisk.folder / "cal")}
        assert found == {"rm": 1.0, "b": 0.0}
        said = wrong(hiddenrisk("calibrate", "--reward", other.spec, *args))
        assert "name it apart: --reward NEW=SPEC" in said


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (("--judge", "builtin"), "--judge is of judges"),
        (("--attack",), "--attack is of judges"),
        (("--reward", "strongreject"), "measure that judge: hiddenrisk calibrate --judge"),
        (("--on", "xstest"), "unknown set of preferences 'xstest'"),
        (("--on", "none.jsonl"), "cannot read none.jsonl"),
        (("--reward", "rm=http://127.0.0.1:9#rm?api=tei"), "two reward models are called 'rm'"),
    ],
)
def test_what_cannot_be_is_said_at_once(
    hiddenrisk: CommandLine, args: tuple[str, ...], says: str
) -> None:
    jsonl(hiddenrisk.folder / "mine.jsonl", GOOD)
    on = () if "--on" in args else ("--on", "mine.jsonl")
    spec = "http://127.0.0.1:9#rm?api=classify"
    assert says in wrong(hiddenrisk("calibrate", "--reward", spec, *on, *args))


def test_a_run_is_no_place_for_a_calibration(hiddenrisk: CommandLine) -> None:
    jsonl(hiddenrisk.folder / "mine.jsonl", GOOD)
    (hiddenrisk.folder / "run").mkdir()
    (hiddenrisk.folder / "run" / "responses.jsonl").write_text("")
    args = ("--on", "mine.jsonl", "--out", "run")
    spec = "http://127.0.0.1:9#rm?api=classify"
    assert "run is a run" in wrong(hiddenrisk("calibrate", "--reward", spec, *args))


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("[]", "is no calibration of a reward model"),
        ('{"preferences": 1, "results": [{"reward": 3}]}', "is no calibration of a reward model"),
        ('{"preferences": 9, "results": []}', "has the format 9"),
        ("[" * 100_000, "is no calibration of a reward model"),
    ],
)
def test_a_file_that_is_no_such_calibration_is_refused(
    tmp_path: Path, content: str, says: str
) -> None:
    path = tmp_path / "preferences.json"
    path.write_text(content)
    with pytest.raises(UsageError, match=says):
        read_preferences(tmp_path)
    with pytest.raises(UsageError, match="writes one"):
        read_preferences(tmp_path / "nowhere.json")


@needs_torch
def test_each_attribute_is_held_against_people_too(
    hiddenrisk: CommandLine, shared_data: Path
) -> None:
    save(hiddenrisk.folder / "m", "armorm", max_position_embeddings=2048)
    args = ("--data-dir", shared_data, "--limit", "6", "--out", "cal", "--max-failures", "1")
    done = hiddenrisk("calibrate", "--reward", "mine=armorm=m", *args)
    assert done.code == 0, done
    assert "UNVERIFIED data: hh_rlhf_harmless_test" in done.err
    (one,) = _results(hiddenrisk.folder / "cal")
    assert (one["reward"], one["set"], len(one["attributes"])) == ("mine", "hh-harmless", 19)
    assert one["n"] + one["failed"] == 6
    assert one["attributes"]["beavertails-is_safe"]["accuracy"]["n"] == one["n"]
    assert one["unverified"]
    assert "beavertails-is_safe" in done.out


def test_control_characters_of_names_never_reach_a_terminal(hiddenrisk: CommandLine) -> None:
    jsonl(hiddenrisk.folder / "mine.jsonl", GOOD)
    with RewardServer(_good) as server:
        spec = f"a\x1b[31m={server.spec}"
        done = hiddenrisk("calibrate", "--reward", spec, "--on", "mine.jsonl", "--out", "cal")
    assert done.code == 0, done
    assert "\x1b" not in done.out + done.err
