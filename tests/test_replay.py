"""Recorded transcripts as a model: the files it reads, and what it says of those it cannot."""

import asyncio
import csv
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from hiddenrisk.errors import CallError, DataError
from hiddenrisk.models import open_model
from hiddenrisk.types import (
    Call,
    Finish,
    Message,
    Reason,
    Reply,
    Response,
    Sampling,
    Usage,
    Visibility,
)

ROWS = [
    {"prompt": "One?", "response": "<think>\nT\n</think>\n\nA"},
    {"prompt": "Two, with a\nsecond line?", "response": 'B "quoted", é'},
]


def _csv(path: Path, rows: Sequence[Mapping[str, str]], *, start: str = "") -> Path:
    with path.open("w", encoding="utf-8", newline="") as file:
        file.write(start)
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def _jsonl(path: Path, rows: Iterable[object]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def _ask(path: Path, *calls: tuple[str, str, int] | str, options: str = "") -> list[Reply]:
    """The replies to calls, each a prompt's text, or its (id, text, repeat)."""
    model = open_model(f"replay/{path}{options}")

    async def ask() -> list[Reply]:
        await model.start()
        try:
            return [await model.generate(_call(*_named(c))) for c in calls]
        finally:
            await model.close()

    return asyncio.run(ask())


def _named(call: tuple[str, str, int] | str) -> tuple[str, str, int]:
    return (f"id of {call}", call, 0) if isinstance(call, str) else call


def _call(prompt: str, text: str, repeat: int) -> Call:
    messages = (Message("system", "Be brief."), Message("user", text))
    return Call(messages=messages, sampling=Sampling(), prompt=prompt, repeat=repeat)


def _parts(reply: Reply) -> tuple[str | None, str | None, Finish]:
    return reply.thinking, reply.answer, reply.finish


# ---------------------------------------------------------------- files


def test_csv_jsonl_and_json_say_the_same(tmp_path: Path) -> None:
    array = tmp_path / "rows.json"
    array.write_text(json.dumps(ROWS, indent=2))
    files = [
        _csv(tmp_path / "rows.csv", ROWS),
        _csv(tmp_path / "bom.CSV", ROWS, start="\ufeff"),
        _jsonl(tmp_path / "rows.jsonl", ROWS),
        array,
    ]
    for path in files:
        one, two = _ask(path, "One?", "Two, with a\nsecond line?")
        assert _parts(one) == ("T", "A", Finish.COMPLETE), path.name
        assert _parts(two) == (None, 'B "quoted", é', Finish.COMPLETE), path.name
        assert json.loads(bytes(one.raw))["answer"] == ROWS[0]["response"]
        assert one.usage == Usage()


def test_white_space_around_a_prompt_does_not_hide_its_answer(tmp_path: Path) -> None:
    path = _jsonl(tmp_path / "rows.jsonl", [{"prompt": " One?\n", "answer": "A"}])
    assert _ask(path, "One?\n\n")[0].answer == "A"


def test_columns_are_found_by_their_usual_names(tmp_path: Path) -> None:
    rows = [{"question": "One?", "output": "A", "reasoning": "T", "finish_reason": "length"}]
    (reply,) = _ask(_jsonl(tmp_path / "rows.jsonl", rows), "One?")
    assert _parts(reply) == ("T", "A", Finish.CUT_IN_ANSWER)


def test_a_row_without_an_answer_borrows_none_from_another_column(tmp_path: Path) -> None:
    rows = [
        {"prompt": "One?", "answer": "A", "text": "something else"},
        {"prompt": "Two?", "answer": None, "text": "something else"},
    ]
    one, two = _ask(_jsonl(tmp_path / "rows.jsonl", rows), "One?", "Two?")
    assert _parts(one) == (None, "A", Finish.COMPLETE)
    assert _parts(two) == (None, None, Finish.EMPTY)


def test_the_last_user_turn_of_messages_is_the_prompt(tmp_path: Path) -> None:
    turns = [
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "Hello"},
        {"role": "user", "content": "One?"},
    ]
    path = _jsonl(tmp_path / "rows.jsonl", [{"messages": turns, "answer": "A"}])
    assert _ask(path, "One?")[0].answer == "A"


def test_a_template_that_opens_the_thought_is_told_from_the_file(tmp_path: Path) -> None:
    rows = [{"prompt": f"{n}?", "answer": f"T{n}\n</think>\n\nA{n}"} for n in range(3)]
    rows.append({"prompt": "cut?", "answer": "T cut"})
    path = _jsonl(tmp_path / "rows.jsonl", rows)
    whole, cut = _ask(path, "0?", "cut?")
    assert _parts(whole) == ("T0", "A0", Finish.COMPLETE)
    assert _parts(cut) == ("T cut", None, Finish.CUT_IN_THINKING)
    (answer,) = _ask(path, "cut?", options="?plain")
    assert _parts(answer) == (None, "T cut", Finish.COMPLETE)
    # One row among many that has no other tag is an answer that names the tag.
    plain = [{"prompt": f"{n}?", "answer": f"A{n}"} for n in range(3)] + rows[:1]
    path = _jsonl(tmp_path / "plain.jsonl", plain)
    assert _parts(_ask(path, "1?")[0]) == (None, "A1", Finish.COMPLETE)
    assert _parts(_ask(path, "1?", options="?prefilled")[0])[1:] == (None, Finish.CUT_IN_THINKING)


def test_a_recorded_provider_block_is_a_block(tmp_path: Path) -> None:
    rows = [
        {"prompt": "One?", "answer": "[PROVIDER_REFUSED]", "finish": ""},
        {"prompt": "Two?", "answer": "", "finish": "content_filter"},
    ]
    for reply in _ask(_csv(tmp_path / "rows.csv", rows), "One?", "Two?"):
        assert _parts(reply) == (None, None, Finish.BLOCKED_ON_OUTPUT)


# ---------------------------------------------------------------- which row answers


def test_rows_with_one_text_answer_in_the_order_of_the_file(tmp_path: Path) -> None:
    rows = [{"prompt": "One?", "answer": answer} for answer in ("A", "B")]
    path = _jsonl(tmp_path / "rows.jsonl", rows)
    calls = [("p1", "One?", 0), ("p2", "One?", 0), ("p1", "One?", 0), ("p1", "One?", 1)]
    # The same call again gets the same answer; more calls than rows begin again.
    assert [r.answer for r in _ask(path, *calls)] == ["A", "B", "A", "A"]


def test_a_row_is_found_by_its_id_where_the_texts_agree(tmp_path: Path) -> None:
    rows = [
        {"id": "p1", "prompt": "One?", "answer": "A"},
        {"id": "p2", "prompt": "One?", "answer": "B"},
        {"id": 3, "prompt": "Three?", "answer": "C"},
        {"id": "p4", "answer": "D"},
    ]
    path = _jsonl(tmp_path / "rows.jsonl", rows)
    calls = [("p2", "One?", 0), ("3", "Three?", 0), ("p4", "anything", 0), ("p1", "Three?", 0)]
    # An id that names another prompt elsewhere gives way to the text.
    assert [r.answer for r in _ask(path, *calls)] == ["B", "C", "D", "C"]


def test_rows_with_one_id_answer_the_repeats(tmp_path: Path) -> None:
    rows = [{"id": "p1", "prompt": "One?", "answer": answer} for answer in ("A", "B", "C")]
    path = _jsonl(tmp_path / "rows.jsonl", rows)
    calls = [("p1", "One?", repeat) for repeat in (2, 0, 1, 3)]
    assert [r.answer for r in _ask(path, *calls)] == ["C", "A", "B", "A"]


def test_a_prompt_that_was_never_recorded_is_a_failure_of_its_own_kind(tmp_path: Path) -> None:
    path = _jsonl(tmp_path / "rows.jsonl", ROWS)
    with pytest.raises(CallError, match="no answer to prompt id of Three") as caught:
        _ask(path, "Three?")
    assert caught.value.reason is Reason.NO_RECORDING
    assert not caught.value.heals
    assert not caught.value.fatal


def test_a_recording_is_known_by_its_rows_and_not_by_its_name(tmp_path: Path) -> None:
    same = open_model(f"replay/{_jsonl(tmp_path / 'a.jsonl', ROWS)}").identity
    assert open_model(f"replay/{_csv(tmp_path / 'a.csv', ROWS)}").identity["rows"] == same["rows"]
    other = open_model(f"replay/{_jsonl(tmp_path / 'b.jsonl', ROWS[:1])}").identity
    assert other["rows"] != same["rows"]


# ---------------------------------------------------------------- a run's own responses


def _response(prompt: str, **fields: Any) -> Response:  # noqa: ANN401 - fields of a record
    given: dict[str, Any] = {
        "thinking": None,
        "answer": "A",
        "finish": Finish.COMPLETE,
        "visibility": Visibility.NONE,
        "style": "none",
        "model": "m",
        "repeat": 0,
        **fields,
    }
    return Response(
        key=f"k-{prompt}-{given['repeat']}",
        benchmark="b",
        prompt=prompt,
        category=("c",),
        label="unsafe",
        messages=(Message("user", f"{prompt}?"),),
        usage=Usage(),
        provider="x",
        served_model=None,
        fingerprint=None,
        latency_s=0.1,
        tries=1,
        at="",
        raw=msgspec.Raw(b"null"),
        **given,
    )


def _own(path: Path, responses: Iterable[Response]) -> Path:
    path.write_bytes(b"".join(msgspec.json.encode(r) + b"\n" for r in responses))
    return path


def test_a_run_s_own_responses_come_back_as_they_were(tmp_path: Path) -> None:
    shown, cut = Visibility.VISIBLE, Finish.CUT_IN_THINKING
    responses = [
        _response("plain"),
        _response("field", thinking="T", visibility=shown, style="field"),
        _response("empty", thinking="", visibility=Visibility.EMPTY, style="tags"),
        _response("hidden", visibility=Visibility.HIDDEN),
        _response("cut", thinking="T", answer=None, finish=cut, visibility=shown, style="tags"),
        _response("cut at once", thinking="", answer=None, finish=cut, style="tags"),
        _response("cut unseen", answer=None, finish=cut, visibility=Visibility.HIDDEN),
        _response("second thought", thinking="T\n\nU", finish=cut, visibility=shown, style="tags"),
        _response("cut answer", finish=Finish.CUT_IN_ANSWER),
        _response("blocked", answer="A beg", finish=Finish.BLOCKED_ON_OUTPUT),
        _response("rejected", answer=None, finish=Finish.BLOCKED_ON_INPUT),
        _response("refused", answer="No.", finish=Finish.REFUSED),
        _response("nothing", answer=None, finish=Finish.EMPTY),
        # Read once more, this would be a thought.
        _response("stray tag", thinking="T", answer="A\n</think>", visibility=shown, style="tags"),
        _response("prefilled", thinking="T", visibility=shown, style="prefilled"),
    ]
    path = _own(tmp_path / "responses.jsonl", responses)
    replies = _ask(path, *((r.prompt, f"{r.prompt}?", 0) for r in responses))
    for was, reply in zip(responses, replies, strict=True):
        assert _parts(reply) == (was.thinking, was.answer, was.finish), was.prompt
        assert (reply.visibility, reply.style) == (was.visibility, was.style), was.prompt


def test_a_run_in_which_all_was_blocked_can_be_replayed(tmp_path: Path) -> None:
    blocked = _response("p", answer=None, finish=Finish.BLOCKED_ON_OUTPUT)
    (reply,) = _ask(_own(tmp_path / "responses.jsonl", [blocked]), ("p", "p?", 0))
    assert _parts(reply) == (None, None, Finish.BLOCKED_ON_OUTPUT)


_KEPT: list[tuple[str, Finish]] = [
    ('{"error": {"code": "content_filter", "message": "filtered"}}', Finish.BLOCKED_ON_INPUT),
    ('[{"error": {"message": "flagged"}}]', Finish.BLOCKED_ON_INPUT),
    ('{"error": {"message": "Output blocked by content filtering policy"}}',
     Finish.BLOCKED_ON_OUTPUT),
    ('{"error": "words of later days"}', Finish.BLOCKED_ON_INPUT),
    ('{"promptFeedback": {"blockReason": "SAFETY"}}', Finish.BLOCKED_ON_INPUT),
    ('{"choices": [{"finish_reason": "content_filter"}]}', Finish.BLOCKED_ON_OUTPUT),
    ('{"streamed": true, "choices": [{"finish_reason": "blocked"}]}', Finish.BLOCKED_ON_OUTPUT),
    ('{"content": [], "stop_reason": "refusal"}', Finish.BLOCKED_ON_OUTPUT),
    ('{"id": "p", "answer": "[PROVIDER_REFUSED]"}', Finish.BLOCKED_ON_OUTPUT),
    ("null", Finish.BLOCKED_ON_OUTPUT),
]  # fmt: skip


@pytest.mark.parametrize(("raw", "finish"), _KEPT)
def test_an_old_record_that_says_blocked_is_told_by_its_payload(
    raw: str, finish: Finish, tmp_path: Path
) -> None:
    new = _response("p", answer=None, finish=Finish.BLOCKED_ON_OUTPUT)
    old = json.loads(msgspec.json.encode(new)) | {"finish": "blocked", "raw": json.loads(raw)}
    path = _jsonl(tmp_path / "responses.jsonl", [old])
    assert _parts(_ask(path, ("p", "p?", 0))[0]) == (None, None, finish)


@pytest.mark.parametrize(
    ("said", "finish"),
    [
        ("blocked", Finish.BLOCKED_ON_OUTPUT),
        ("blocked_on_input", Finish.BLOCKED_ON_INPUT),
        ("blocked_on_output", Finish.BLOCKED_ON_OUTPUT),
        ("refused", Finish.REFUSED),
        ("complete", Finish.COMPLETE),
        ("cut_in_answer", Finish.CUT_IN_ANSWER),
    ],
)
def test_our_own_words_for_the_end_are_known_in_any_file(
    said: str, finish: Finish, tmp_path: Path
) -> None:
    path = _jsonl(tmp_path / "rows.jsonl", [{"prompt": "One?", "answer": "A", "finish": said}])
    assert _parts(_ask(path, "One?")[0]) == (None, "A", finish)


def test_repeats_of_a_run_are_replayed_as_repeats(tmp_path: Path) -> None:
    responses = [_response("p", repeat=n, answer=f"A{n}") for n in range(3)]
    path = _own(tmp_path / "responses.jsonl", responses)
    replies = _ask(path, *(("p", "p?", n) for n in range(3)))
    assert [r.answer for r in replies] == ["A0", "A1", "A2"]


def test_the_responses_of_two_models_are_not_one_model(tmp_path: Path) -> None:
    path = _own(tmp_path / "responses.jsonl", [_response("p"), _response("p", model="n")])
    with pytest.raises(DataError, match=r"answers of several models \(m, n\)"):
        open_model(f"replay/{path}")


# ---------------------------------------------------------------- files that cannot be read

_BAD_FILES: dict[str, tuple[str, bytes, str]] = {
    "no rows": ("r.jsonl", b"\n\n", "r.jsonl has no rows"),
    "empty": ("r.csv", b"", "r.csv has no rows"),
    "header only": ("r.csv", b"prompt,answer\n", "r.csv has no rows"),
    "no answer": ("r.csv", b"prompt,reply\nOne?,A\n", "no row has an answer; call the column"),
    "no prompt": ("r.csv", b"asked,answer\nOne?,A\n", "no row says what was asked; call the"),
    "not JSON": (
        "r.jsonl",
        b'{"prompt": "One?", "answer": "A"}\nplain\n',
        "line 2: not valid JSON",
    ),
    "not a JSON array": ("r.json", b'[{"prompt": "One?"}', "r.json is not valid JSON"),
    "not objects": ("r.json", b'[{"prompt": "a", "answer": "b"}, 7]', "row 2: expected an object"),
    "too deep": ("r.jsonl", b'{"x": ' + b"[" * 100_000, "line 1: not valid JSON"),
    "a list as answer": (
        "r.jsonl",
        b'{"prompt": "a", "answer": "b"}\n{"prompt": "a", "answer": ["b"]}\n',
        "row 2, field answer: expected text, found list",
    ),
    "a number as answer": (
        "r.jsonl",
        b'{"prompt": "a", "answer": NaN}\n',
        "row 1, field answer: expected text, found float",
    ),
    "odd messages": (
        "r.jsonl",
        b'{"messages": [{"role": "user"}], "answer": "b"}\n',
        "row 1, field messages: Object missing required field `content`",
    ),
    "no record of ours": (
        "r.jsonl",
        b'{"messages": [], "visibility": "visible", "answer": "b"}\n',
        "row 1: Object missing required field",
    ),
    "an odd record of ours": (
        "r.jsonl",
        (
            b'{"model": "m", "prompt": "p", "messages": [], "thinking": null, "answer": null, '
            b'"finish": "bored", "visibility": "none", "style": "none"}\n'
        ),
        r"row 1: Invalid enum value 'bored' - at `\$.finish`",
    ),
}


@pytest.mark.parametrize("case", _BAD_FILES)
def test_a_file_that_cannot_be_read_says_where(tmp_path: Path, case: str) -> None:
    name, content, said = _BAD_FILES[case]
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(DataError, match=said) as caught:
        open_model(f"replay/{path}")
    assert str(path) in str(caught.value)


def test_a_file_that_is_not_there_says_so(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"cannot read the recording .*: No such file"):
        open_model(f"replay/{tmp_path / 'none.jsonl'}")
    with pytest.raises(DataError, match=r"cannot read the recording .*: Is a directory"):
        open_model(f"replay/{tmp_path}")


def test_texts_that_no_file_can_hold_are_mended(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(
        b'{"prompt": "One \\ud800?", "answer": "A \\udfff \xff"}\n'
        b'{"messages": [{"role": "user", "content": "Two \\ud800?"}], "answer": "B"}\n'
    )
    one, two = _ask(path, "One ??", "Two ??")
    assert (one.answer, two.answer) == ("A ? \ufffd", "B")


# ---------------------------------------------------------------- recorded models


def test_the_recorded_models_answer_every_prompt(shared_data: Path) -> None:
    folder = shared_data / "air-bench-2024" / "recorded"
    files = sorted(p for p in folder.glob("*.csv") if p.name != "air_2024.csv")
    assert len(files) == 7
    for path in files:
        with path.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        replies = _ask(path, *((f"p{n}", row["prompt"], 0) for n, row in enumerate(rows)))
        blocked = [r.finish is Finish.BLOCKED_ON_OUTPUT for r in replies]
        assert blocked == [row["answer"] == "[PROVIDER_REFUSED]" for row in rows], path.name
        assert len(replies) == 628
        if not any(blocked):
            said = [(None, row["answer"].strip() or None) for row in rows]
            found = [(r.thinking, r.answer) for r in replies]
            # Numbers, not texts: some of them are harmful.
            assert not [n for n, pair in enumerate(found) if pair != said[n]], path.name
