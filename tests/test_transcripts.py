"""Recorded transcripts: every kind of file read by one path, and one sentence for a bad one."""

import csv
import io
import json
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

from hiddenrisk.errors import DataError
from hiddenrisk.transcripts import inspect_log, read_transcripts
from hiddenrisk.transcripts.base import Transcript
from hiddenrisk.types import Finish, Message, Reply, Visibility


def read(path: Path) -> list[Transcript]:
    return read_transcripts(path)[1].transcripts


def reply(transcript: Transcript) -> Reply:
    assert transcript.reply is not None, transcript.trouble
    return transcript.reply


def jsonl(path: Path, *rows: object) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def table(path: Path, *rows: dict[str, str]) -> Path:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)
    path.write_text(text.getvalue())
    return path


# ---------------------------------------------------------------- rows


def test_a_row_says_all_that_a_sample_needs(tmp_path: Path) -> None:
    row = {
        "id": 7, "prompt": "How?", "answer": "So.", "thinking": "Hm.", "model": "r1",
        "category": "A > B", "label": "harmful", "repeat": 2, "finish_reason": "length",
        "grade": 3,
    }  # fmt: skip
    source, found = read_transcripts(jsonl(tmp_path / "t.jsonl", row))
    (t,) = found.transcripts
    assert (t.id, t.model, t.category, t.label, t.repeat) == ("7", "r1", ("A", "B"), "unsafe", 2)
    assert t.messages == (Message("user", "How?"),)
    assert t.where.endswith("t.jsonl, line 1")
    said = reply(t)
    assert (said.thinking, said.answer, said.finish) == ("Hm.", "So.", Finish.CUT_IN_ANSWER)
    assert found.notes == [f"{tmp_path / 't.jsonl'}: not read: grade"]
    assert (source.name, source.transcripts) == ("t.jsonl", 1)


def test_a_conversation_ends_in_its_answer(tmp_path: Path) -> None:
    turns = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "How?"}]},
        {"role": "assistant", "content": "So.", "reasoning_content": "Hm."},
    ]
    (t,) = read(jsonl(tmp_path / "t.jsonl", {"messages": turns}))
    assert t.messages == (Message("system", "Be brief."), Message("user", "How?"))
    assert (reply(t).thinking, reply(t).answer) == ("Hm.", "So.")


def test_texts_that_close_a_thought_they_never_opened_are_prefilled(tmp_path: Path) -> None:
    texts = ["I think.</think>Yes.", "I think too.</think>No.", "I never got to the end"]
    rows = [{"prompt": f"Q{i}", "response": text} for i, text in enumerate(texts)]
    found = [reply(t) for t in read(table(tmp_path / "t.csv", *rows))]
    assert [r.finish for r in found] == [Finish.COMPLETE, Finish.COMPLETE, Finish.CUT_IN_THINKING]
    assert found[2].answer is None


def test_an_error_of_a_row_is_trouble_and_no_answer(tmp_path: Path) -> None:
    path = jsonl(
        tmp_path / "t.jsonl",
        {"prompt": "a", "answer": None, "error": {"message": "HTTP 500"}},
        {"prompt": "b", "answer": "", "error": None},
        {"prompt": "c", "answer": "Fine."},
    )
    failed, empty, fine = read(path)
    assert (failed.reply, failed.trouble) == (None, "HTTP 500")
    assert reply(empty).finish is Finish.EMPTY
    assert reply(fine).answer == "Fine."


def test_a_line_of_a_csv_is_where_it_begins(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text('prompt,answer\nq,"two\nlines"\nr,x\n')
    assert [t.where.rpartition(", ")[2] for t in read(path)] == ["line 2", "line 4"]


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("t.jsonl", "", "is empty"),
        ("t.csv", "prompt,answer\n", "has no rows"),
        ("t.jsonl", '{"prompt": "a", "answer": "b"}\n{"prompt"\n', "line 2: not valid JSON"),
        ("t.jsonl", '["a"]', "row 1: expected an object"),
        ("t.jsonl", "3\n", "line 1: expected an object"),
        ("t.jsonl", '[{"a": 1}', "is not valid JSON"),
        ("t.csv", "question,note\na,b\n", "no column with answers (its columns: note, question)"),
        ("t.csv", "answer,note\na,b\n", "no column that says what was asked"),
        ("t.csv", "prompt,answer\na,b,c\n", "line 2: more fields than the header"),
        ("t.csv", "prompt,prompt,answer\na,b,c\n", "line 1: the column prompt stands there twice"),
        ("t.jsonl", '{"prompt": "a", "answer": [1]}', "line 1, field answer: expected text"),
        ("t.jsonl", '{"prompt": "a", "answer": "b", "label": "full_refusal"}', "rename the column"),
        ("t.jsonl", '{"prompt": "a", "answer": "b", "repeat": "x"}', "expected a number from 0"),
        ("t.jsonl", '{"messages": 3, "answer": "b"}', "expected a list of role and content"),
        ("t.csv", 'messages,answer\n"[{",b\n', "field messages: not valid JSON"),
        ("t.jsonl", '{"custom_id": "", "response": {}}', "field custom_id"),
        ("t.jsonl", '{"custom_id": "a", "result": {}}', "neither response nor error"),
        ("t.jsonl", '{"custom_id": "a", "body": {}}', "no message of a user"),
        ("t.eval", "nothing of the kind", "not valid JSON"),
        ("t.eval", "PK\x03\x04 and no more", "damaged zip file"),
        ("t.eval", '{"eval": {}}', "names no model"),
        ("t.json", '{"eval": {"model": "m"}, "samples": []}', "no samples"),
    ],
)
def test_a_bad_file_is_one_sentence(name: str, text: str, said: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(DataError) as error:
        read(tmp_path / name)
    assert said in str(error.value)
    assert name in str(error.value)
    assert "\n" not in str(error.value)


def test_odd_values_are_kept_as_json_that_anybody_reads(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    deep = "[" * 400 + "]" * 400
    path.write_text(
        '{"prompt": "a\\ud800", "answer": "b", "x": NaN, "y": 1'
        + "0" * 40
        + ', "z": -Infinity, "deep": '
        + deep
        + "}\n"
    )
    (t,) = read(path)
    kept = json.loads(bytes(reply(t).raw))
    assert (kept["x"], kept["z"], kept["y"]) == (None, None, 10**40)
    assert t.messages == (Message("user", "a?"),)
    path.write_text('{"prompt": "a", "answer": "b", "deep": ' + "[" * 100_000 + "}\n")
    with pytest.raises(DataError, match="line 1: not valid JSON"):
        read(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"cannot read .*none\.csv"):
        read(tmp_path / "none.csv")


# ---------------------------------------------------------------- batches


def _line(name: str, body: object, status: int = 200, error: object = None) -> dict[str, Any]:
    response = None if body is None else {"status_code": status, "body": body}
    return {"id": "b", "custom_id": name, "response": response, "error": error}


def _chat(content: str | None, finish: str = "stop", **message: object) -> dict[str, Any]:
    said = {"role": "assistant", "content": content, **message}
    usage = {"prompt_tokens": 3, "completion_tokens": 5}
    choices = [{"message": said, "finish_reason": finish}]
    return {"object": "chat.completion", "model": "m-1", "choices": choices, "usage": usage}


def test_a_batch_is_read_as_the_same_replies_over_http(tmp_path: Path) -> None:
    filtered = {"error": {"code": "content_filter", "message": "The content was filtered."}}
    responses = {
        "object": "response", "status": "completed", "model": "m-1",
        "output": [
            {"type": "reasoning", "summary": [{"type": "summary_text", "text": "In short."}]},
            {"type": "message", "content": [{"type": "output_text", "text": "So."}]},
        ],
    }  # fmt: skip
    path = jsonl(
        tmp_path / "out.jsonl",
        _line("a", _chat("Yes.", reasoning_content="Hm.")),
        _line("b", _chat("Half", finish="length")),
        _line("c", filtered, status=400),
        _line("d", {"error": {"message": "too busy"}}, status=500),
        _line("e", None, error={"code": "batch_expired", "message": "It expired."}),
        _line("f", _chat(None, refusal="I can't.")),
        _line("g", responses),
        _line("h", {}),
    )
    found = {t.id or "": t for t in read(path)}
    assert {name: t.reply.finish for name, t in found.items() if t.reply} == {
        "a": Finish.COMPLETE,
        "b": Finish.CUT_IN_ANSWER,
        "c": Finish.BLOCKED_ON_INPUT,
        "f": Finish.REFUSED,
        "g": Finish.COMPLETE,
    }
    assert {name: t.trouble for name, t in found.items() if not t.reply} == {
        "d": "HTTP 500: too busy",
        "e": "the batch says: It expired.",
        "h": "the batch has no body for it",
    }
    assert (reply(found["a"]).thinking, found["a"].model) == ("Hm.", "m-1")
    assert reply(found["a"]).usage.completion_tokens == 5
    assert reply(found["g"]).visibility is Visibility.SUMMARISED


def test_a_batch_s_input_has_the_prompts(tmp_path: Path) -> None:
    path = jsonl(
        tmp_path / "in.jsonl",
        {"custom_id": "a", "body": {"messages": [{"role": "user", "content": "How?"}]}},
        {"custom_id": "b", "body": {"instructions": "Be brief.", "input": "And this?"}},
    )
    found = read_transcripts(path)[1]
    assert [p.messages for p in found.prompts] == [
        (Message("user", "How?"),),
        (Message("system", "Be brief."), Message("user", "And this?")),
    ]


# ---------------------------------------------------------------- logs of Inspect


def sample(name: str | int, content: object, epoch: int = 1, **more: object) -> dict[str, Any]:
    """A sample as inspect_ai 0.3.285 writes it, without what we do not read."""
    message = {"role": "assistant", "content": content}
    asked = {"role": "user", "content": f"Question {name}?"}
    return {
        "id": name, "epoch": epoch, "input": f"Question {name}?", "target": "x",
        "messages": [asked, message],
        "output": {
            "model": "served",
            "choices": [{"message": message, "stop_reason": "stop"}],
            "usage": {"input_tokens": 10, "output_tokens": 20, "reasoning_tokens": 5},
        },
        "metadata": {"category": "Fraud"}, "attachments": {}, "events": [],
    } | more  # fmt: skip


def log(
    path: Path, *samples: dict[str, Any], model: str = "vllm/my-r1", status: str = "success"
) -> Path:
    """A log, as the zip that it is."""
    header = {"version": 2, "status": status, "eval": {"model": model, "task": "harm"}}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("_journal/start.json", json.dumps(header))
        for s in samples:
            archive.writestr(f"samples/{s['id']}_epoch_{s['epoch']}.json", json.dumps(s))
        archive.writestr("header.json", json.dumps(header))
    return path


REASONED = [{"type": "reasoning", "reasoning": "Hm."}, {"type": "text", "text": "So."}]


def test_thinking_and_answer_of_a_log_are_told_apart(tmp_path: Path) -> None:
    encrypted = [{"type": "reasoning", "reasoning": "c2VjcmV0", "redacted": True}, REASONED[1]]
    summary = [{**encrypted[0], "summary": "In short."}, REASONED[1]]
    path = log(
        tmp_path / "l.eval",
        sample("a", REASONED),
        sample("b", "<think>Hm.</think>So."),
        sample("c", encrypted),
        sample("d", summary),
        sample("e", [{"type": "text", "text": "I can't.", "refusal": True}]),
        sample("f", "attachment://1", attachments={"1": "A long text."}),
    )
    found = [reply(t) for t in read(path)]
    assert [r.answer for r in found] == ["So.", "So.", "So.", "So.", "I can't.", "A long text."]
    assert [r.thinking for r in found[:4]] == ["Hm.", "Hm.", None, "In short."]
    assert [r.visibility.value for r in found[:4]] == [
        *("visible", "visible", "hidden", "summarised"),
    ]
    assert found[4].finish is Finish.REFUSED
    (first, *_) = read(path)
    assert (first.id, first.repeat, first.category) == ("a", 0, ("Fraud",))
    assert (first.model, first.messages) == ("vllm/my-r1", (Message("user", "Question a?"),))


@pytest.mark.parametrize(
    ("model", "seen"),
    [
        ("openai/o3", "summarised"),
        ("google/gemini-2.5-pro", "summarised"),
        ("anthropic/claude-sonnet-4-5", "summarised"),
        ("anthropic/claude-3-7-sonnet-latest", "visible"),
        ("together/deepseek-ai/DeepSeek-R1", "visible"),
    ],
)
def test_a_summary_in_a_log_is_told_by_the_model(model: str, seen: str, tmp_path: Path) -> None:
    (t,) = read(log(tmp_path / "l.eval", sample(1, REASONED), model=model))
    assert reply(t).visibility.value == seen


def test_what_failed_in_a_log_is_no_answer(tmp_path: Path) -> None:
    message = {"role": "assistant", "content": "Half"}
    cut = {"choices": [{"message": message, "stop_reason": "max_tokens"}]}
    blocked = {"choices": [{"message": {"content": ""}, "stop_reason": "content_filter"}]}
    path = log(
        tmp_path / "l.eval",
        sample("a", "x", error={"message": "It broke.", "traceback": "..."}),
        sample("b", "x", output={"choices": []}),
        sample("c", "x", output=cut),
        sample("d", "x", output=blocked),
        status="error",
    )
    _, found = read_transcripts(path)
    broke, none, half, filtered = found.transcripts
    assert (broke.reply, broke.trouble) == (None, "the log says: It broke.")
    assert (none.reply, none.trouble) == (None, "the log has no output for it")
    assert reply(half).finish is Finish.CUT_IN_ANSWER
    assert reply(filtered).finish is Finish.BLOCKED_ON_OUTPUT
    assert "status is: error" in found.notes[0]


def test_a_log_as_json_is_the_same(tmp_path: Path) -> None:
    samples = [sample("a", REASONED), sample("a", "So.", epoch=2)]
    path = tmp_path / "l.json"
    about = {"eval": {"model": "vllm/my-r1"}, "status": "success"}
    path.write_text(json.dumps({"version": 2, **about, "samples": samples}))
    zipped = read(log(tmp_path / "l.eval", *samples))
    plain = read(path)
    assert [(t.id, t.repeat, reply(t).answer) for t in plain] == [
        (t.id, t.repeat, reply(t).answer) for t in zipped
    ]


def test_a_zip_bomb_is_refused_before_it_is_unpacked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inspect_log, "_MEMBER_BYTES", 1 << 20)
    path = log(tmp_path / "l.eval", sample("a", "x" * (2 << 20)))
    assert path.stat().st_size < 1 << 16
    with pytest.raises(DataError, match="unpacks to more than 1 MiB"):
        read(path)


def test_a_damaged_member_is_named(tmp_path: Path) -> None:
    path = log(tmp_path / "l.eval", sample("a", "So. " * 500))
    content = bytearray(path.read_bytes())
    at = content.index(b"samples/a_epoch_1.json") + 40
    content[at : at + 10] = b"\xff" * 10
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"samples/a_epoch_1\.json.*cannot be unpacked"):
        read(path)


def _with_zstd(path: Path, packed: bytes) -> Path:
    """A log whose only sample is compressed with method 93, as inspect_ai writes them."""
    log(path, sample("a", "So."))
    with zipfile.ZipFile(path) as archive:
        header = archive.read("header.json")
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("header.json", header)
        archive.writestr("samples/a_epoch_1.json", packed)
    content = path.read_bytes()
    for sign, method in ((b"PK\x03\x04", 8), (b"PK\x01\x02", 10)):
        at = content.rindex(sign) + method
        content = content[:at] + (93).to_bytes(2, "little") + content[at + 2 :]
    path.write_bytes(content)
    return path


def test_zstandard_is_read_where_it_is_installed(tmp_path: Path) -> None:
    zstandard = pytest.importorskip("zstandard")
    packed = zstandard.ZstdCompressor().compress(json.dumps(sample("a", REASONED)).encode())
    (t,) = read(_with_zstd(tmp_path / "l.eval", packed))
    assert (reply(t).thinking, reply(t).answer) == ("Hm.", "So.")
    with pytest.raises(DataError, match="cannot be unpacked"):
        read(_with_zstd(tmp_path / "m.eval", packed[:-9] + b"\0" * 9))


@pytest.mark.skipif(sys.version_info >= (3, 14), reason="zipfile reads it itself")
def test_without_zstandard_the_way_out_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "zstandard", None)
    with pytest.raises(DataError, match=r"hiddenrisk\[inspect\].*inspect log convert"):
        read(_with_zstd(tmp_path / "l.eval", b"packed"))
