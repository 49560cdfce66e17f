"""The conformance suite, `tests/data/thinking_cases.jsonl`: whole, streamed, and every prefix.

Each case has a payload (`message` and `finish_reason`, or `deltas` of a stream; what stands
beside them in the choice and in the body), what the caller declares (`prefilled`, `tags`),
and what it amounts to.
"""

import json
import re
from itertools import pairwise
from pathlib import Path
from typing import Any, cast

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from bench.parsing import hostile
from hiddenrisk.models.wire import Stream, read_completion
from hiddenrisk.places import LOOKS
from hiddenrisk.thinking import Split, join, read, split
from hiddenrisk.types import Finish, Reply, Visibility

Case = dict[str, Any]

_FILE = Path(__file__).parent / "data" / "thinking_cases.jsonl"
CASES: dict[str, Case] = {
    case["name"]: case for case in map(json.loads, _FILE.read_text("utf-8").splitlines())
}
WHOLE = [name for name, case in CASES.items() if "message" in case]
TEXTS = [
    name
    for name in WHOLE
    if set(CASES[name]["message"]) == {"content"}
    and isinstance(CASES[name]["message"]["content"], str)
]


def _options(case: Case) -> dict[str, Any]:
    tags = case.get("tags")
    return {"prefilled": case.get("prefilled", False), "tags": tuple(tags) if tags else None}


def _whole(case: Case) -> Reply:
    choice = {"message": case["message"], "finish_reason": case["finish_reason"]}
    body = {"choices": [choice | case.get("choice", {})], "usage": case.get("usage")}
    body |= case.get("body", {})
    return read_completion(json.dumps(body).encode(), **_options(case))


def _streamed(case: Case, deltas: list[dict[str, Any]]) -> Reply:
    chunks: list[dict[str, Any]] = [{"choices": [{"delta": delta}]} for delta in deltas]
    last = {"delta": {}, "finish_reason": case["finish_reason"]} | case.get("choice", {})
    chunks = [{"choices": []} | case.get("body", {}), *chunks, {"choices": [last]}]
    chunks.append({"choices": [], "usage": case.get("usage")})
    stream = Stream()
    for chunk in chunks:
        stream.feed(b"data: " + json.dumps(chunk).encode() + b"\n")
    stream.feed(b"data: [DONE]\n")
    return stream.reply(**_options(case))


def _check(reply: Reply, case: Case) -> None:
    found = (reply.thinking, reply.answer, reply.finish, reply.visibility)
    assert found == tuple(case[name] for name in ("thinking", "answer", "finish", "visibility"))


def _deltas(message: dict[str, Any], sizes: list[int]) -> list[dict[str, Any]]:
    """A whole message as a stream: its texts in pieces of these sizes, one field at a time.

    Thinking comes before the text, in fields and in parts, as servers send it.
    """
    deltas: list[dict[str, Any]] = []
    for name in sorted(message, key=lambda name: name in {"content", "refusal"}):
        value = message[name]
        if isinstance(value, str) and not (name == "reasoning" and "reasoning_details" in message):
            deltas += [{name: piece} for piece in _pieces(value, sizes)]
        elif isinstance(value, list):
            deltas += [{name: [item]} for item in cast("list[object]", value)]
        else:
            deltas.append({name: value})
    if "reasoning_details" in message and message.get("reasoning"):
        deltas = [d for d in deltas if set(d) - {"reasoning", "reasoning_details"}]
        together = {n: message[n] for n in ("reasoning", "reasoning_details")}
        deltas.insert(0, together)
    return deltas


def _pieces(text: str, sizes: list[int]) -> list[str]:
    cuts, at = [0], 0
    while at < len(text):
        at += sizes[len(cuts) % len(sizes)]
        cuts.append(min(at, len(text)))
    return [text[a:b] for a, b in pairwise(cuts)]


def test_the_suite_is_large_enough_and_every_case_is_one_of_its_own() -> None:
    assert len(CASES) == len(_FILE.read_text("utf-8").splitlines()) >= 80


@pytest.mark.parametrize("name", WHOLE)
def test_a_whole_payload_is_read_as_the_suite_says(name: str) -> None:
    _check(_whole(CASES[name]), CASES[name])


@pytest.mark.parametrize("sizes", [[1], [2], [3, 1], [7], [4096]], ids=str)
@pytest.mark.parametrize("name", WHOLE)
def test_a_streamed_payload_is_read_as_the_suite_says(name: str, sizes: list[int]) -> None:
    case = CASES[name]
    reply = _streamed(case, _deltas(case["message"], sizes))
    _check(reply, case)
    # What is kept of a stream is read like a whole payload.
    _check(read_completion(bytes(reply.raw), **_options(case)), case)


@pytest.mark.parametrize("name", [name for name in CASES if name not in WHOLE])
def test_a_stream_is_read_as_the_suite_says(name: str) -> None:
    case = CASES[name]
    reply = _streamed(case, case["deltas"])
    _check(reply, case)
    _check(read_completion(bytes(reply.raw), **_options(case)), case)


@given(name=st.sampled_from(WHOLE), sizes=st.lists(st.integers(1, 40), min_size=1, max_size=5))
def test_where_a_stream_is_cut_changes_nothing(name: str, sizes: list[int]) -> None:
    case = CASES[name]
    _check(_streamed(case, _deltas(case["message"], sizes)), case)


# ---------------------------------------------------------------- prefixes

_MARKS = ("<|start|>", "<|channel|>", "<|end|>", "<|return|>", "<|call|>", "<|message|>")
_WORDS = ("think", "thinking", "reasoning", "thought", "seed:think", "scratch")
_TAGS = (
    *(f"<{slash}{word}>" for word in _WORDS for slash in ("", "/")),
    *("[THINK]", "[/THINK]", "◁think▷", "◁/think▷", "[(*", "*)]", *_MARKS),
)


def _part_at_end(text: str) -> int:
    """How much of the end of a text is the beginning of a tag."""
    sizes = (n for tag in _TAGS for n in range(1, len(tag)) if text.endswith(tag[:n]))
    return max(sizes, default=0)


def _kinds(found: Split) -> str:
    """For each character, the part it is in: t, a or m."""
    return "".join(s.kind[0] * len(s.text) for s in found.segments)


def _check_prefix(text: str, whole: str, end: int, **options: Any) -> None:  # noqa: ANN401
    """The law: no character changes sides between thinking and answer as a text grows.

    It may be either and then a mark, or a mark and then either: white space at an edge, a
    tag that is quoted once the closing quote is there. The beginning of a tag at the end
    of a prefix may be anything, and a tag there is one only until it is seen to be a word.
    """
    prefix = text[:end]
    found = split(prefix, **options)
    assert join(found.segments) == prefix
    if prefix.endswith(_TAGS):
        return
    sides = set(zip(_kinds(found)[: end - _part_at_end(prefix)], whole, strict=False))
    assert not sides & {("a", "t"), ("t", "a")}, prefix


@pytest.mark.parametrize("name", TEXTS)
def test_every_prefix_is_split_without_contradiction(name: str) -> None:
    case = CASES[name]
    text, options = case["message"]["content"], _options(case)
    found = split(text, **options)
    whole = _kinds(found)
    told = 0
    if not options["prefilled"] and found.style in {"prefilled", "channels"}:
        # That the text began inside a thought is told by what ends it.
        answer = whole.find("a") if "a" in whole else len(text)
        told = answer if not text.lstrip().startswith(("<|", "analysis<|")) else 0
    for end in range(len(text) + 1):
        so_far = split(text[:end], **options)
        if any(_in_code(t or "") for t in (text[:end], so_far.thinking, found.thinking)):
            # Whether a block of code in a thought is closed is told by the rest alone.
            assert join(so_far.segments) == text[:end]
        elif _SPOKEN.search(found.thinking or ""):
            # So is whether a tag inside a thought was spoken of, or closes a nested one.
            assert join(so_far.segments) == text[:end]
        elif end >= told:
            _check_prefix(text, whole, end, **options)


_SPOKEN = re.compile(r"\w </think>(?: [a-z]|, )|^<think>$", re.MULTILINE)


def _in_code(text: str) -> bool:
    return len(re.findall("^ *```", text, re.MULTILINE)) % 2 == 1


_PAIRS = (
    ("<think>", "</think>"),
    ("<thinking>", "</thinking>"),
    ("<reasoning>", "</reasoning>"),
    ("<thought>", "</thought>"),
    ("[THINK]", "[/THINK]"),
    ("<seed:think>", "</seed:think>"),
    ("◁think▷", "◁/think▷"),
)
_PLAIN = st.lists(
    st.sampled_from(
        ["word", " ", "\n", "\n\n", ". ", "a < b", "`x`", "\0", "\ud800", "\udfff", "é", "🙂", "]"]
    ),
    min_size=1,
    max_size=8,
).map(lambda words: "x" + "".join(words) + "x")
_TURNS = st.lists(st.tuples(st.sampled_from(_PAIRS), _PLAIN, _PLAIN), min_size=1, max_size=4)


@given(turns=_TURNS, cut=st.floats(0, 1))
def test_thoughts_of_any_kind_come_apart_at_any_length(
    turns: list[tuple[tuple[str, str], str, str]], cut: float
) -> None:
    text = "".join(f"{o}\n{t}\n{c}\n\n{a}\n" for (o, c), t, a in turns)
    found = split(text)
    assert found.thinking == "\n\n".join(t for _, t, _ in turns)
    assert found.answer == "\n\n".join(a for _, _, a in turns)
    assert not found.unfinished
    end = round(cut * len(text))
    _check_prefix(text, _kinds(found), end)
    # A prefix says of itself whether it ends inside a thought.
    prefix = split(text[: end - _part_at_end(text[:end])])
    held = text[:end].rstrip()
    opened = max(held.rfind(o) for (o, _), _, _ in turns)
    closed = max(held.rfind(c) for (_, c), _, _ in turns)
    if not _part_at_end(text[:end]):
        assert prefix.unfinished == (opened > closed)
        reading = read(text[:end], None, "length")
        assert (reading.finish is Finish.CUT_IN_THINKING) == (opened > closed)


_CHANNEL = st.sampled_from(["analysis", "commentary", "final", "commentary to=functions.f"])


@given(messages=st.lists(st.tuples(_CHANNEL, _PLAIN), min_size=1, max_size=5), cut=st.floats(0, 1))
def test_channels_come_apart_at_any_length(messages: list[tuple[str, str]], cut: float) -> None:
    shown = [text for channel, text in messages if channel in {"final", "commentary"}]
    hidden = [text for channel, text in messages if channel not in {"final", "commentary"}]
    text = "<|end|><|start|>assistant".join(f"<|channel|>{c}<|message|>{t}" for c, t in messages)
    found = split(text)
    assert found.thinking == ("\n\n".join(hidden) if hidden else None)
    assert found.answer == ("\n\n".join(shown) or None)
    _check_prefix(text, _kinds(found), round(cut * len(text)))


@given(
    pieces=st.lists(
        st.sampled_from([*_TAGS, "`", "```", "\n```\n", "\n", " ", "x", '"', "assistant",
                         "analysis", "final", " to=f", "assistantfinal", "\ud800", "\0"])
        | st.text(max_size=3),
        max_size=30,
    ),
    prefilled=st.booleans(),
    tags=st.none() | st.sampled_from([("<scratch>", "</scratch>"), ("<", ">"), ("<think>", "x")]),
)  # fmt: skip
def test_nothing_of_any_text_is_lost(
    pieces: list[str], prefilled: bool, tags: tuple[str, str] | None
) -> None:
    text = "".join(pieces)
    found = split(text, prefilled=prefilled, tags=tags)
    assert join(found.segments) == text
    assert (found.thinking is None) == (found.style == "none")
    assert all(s.text == s.text.strip() != "" for s in found.segments if s.kind != "mark")
    if found.unfinished:
        assert "a" not in _kinds(found)[len(_kinds(found).rstrip("tm")) :]


@pytest.mark.parametrize("tags", [("", "</x>"), ("<x>", " "), ("|", "|")])
def test_a_pair_of_ones_own_is_two_texts(tags: tuple[str, str]) -> None:
    with pytest.raises(ValueError, match="two different texts"):
        split("A", tags=tags)


@pytest.mark.parametrize(
    "text",
    [
        "<think><thinking>[THINK]<seed:think>◁think▷<reasoning>" * 17_000,
        "</think></thinking>[/THINK]</seed:think>◁/think▷" * 20_000,
        "<think>" * 66_000 + "</think>" * 66_000,
        "<think><thinking><reasoning>" * 18_000 + "</reasoning></thinking></think>" * 18_000,
        ("<think> <thinking>\n[/THINK] " + "lorem ipsum `d` " * 11) * 5_000,
        ("`<thinking>` </think>` \n```\n" + "lorem " * 30) * 5_000,
        "<think>\n" + "word " * 200_000 + "\n</think>\nA",
        "<|start|>assistant<|channel|>analysis<|message|>" * 20_000,
        "<|channel|>final<|message|>```" + "<|end|><|start|>" * 60_000,
        "<|start|>" * 110_000,
        "<|end|>" + " " * 1_000_000,
        "<|start|>assistant" + " " * 1_000_000 + "<|message|>",
        "<|channel|>final" + "\n" * 1_000_000 + "<|message|>",
        "<|channel|>final<|message|>" + "<|end|>" * 130_000,
        "<|channel|>analysis<|message|>" + "<|end|>   <|start|>x" * 50_000,
        "analysis" + "assistantanalysis" * 58_000 + "assistantfinal",
    ],
    ids=lambda text: text[:24],
)
def test_nothing_of_a_megabyte_of_tags_is_lost(text: str) -> None:
    # What it takes is measured by `python -m bench --only parsing`.
    assert join(split(text).segments) == text


@pytest.mark.parametrize("prefilled", [False, True])
@pytest.mark.parametrize("name", hostile())
def test_nothing_of_a_flood_is_lost(name: str, prefilled: bool) -> None:
    text, _, tags = hostile()[name].shape(50_000, prefilled=prefilled)
    found = split(text, prefilled=prefilled, tags=tags)
    assert join(found.segments) == text
    assert (found.thinking is None) == (found.style == "none")


# ---------------------------------------------------------------- more tags than are looked at

_THOUGHT = "<think>\nT\n</think>\nA\n"


def test_a_thousand_thoughts_are_taken_apart() -> None:
    found = split(_THOUGHT * 950)
    assert found.thinking == "\n\n".join("T" * 950)
    assert found.answer == "\n\n".join("A" * 950)


@pytest.mark.parametrize("count", range(LOOKS - 3, LOOKS + 3))
@pytest.mark.parametrize("unit", [_THOUGHT, "y<think>T</think>", "`<think>` `</think>` "])
def test_a_thought_that_is_cut_is_no_answer_after_any_number_of_tags(count: int, unit: str) -> None:
    text = unit * count + "\n<think>\nU cut"
    found = split(text)
    assert found.unfinished
    assert found.thinking is not None
    assert found.thinking.endswith("U cut")
    assert "U cut" not in (found.answer or "")
    assert join(found.segments) == text


def test_what_follows_too_many_tags_is_of_the_part_that_is_open() -> None:
    inside = split("<think>\n" + "`</think>` " * LOOKS + "U\n</think>\nA")
    assert (inside.answer, inside.unfinished) == (None, True)
    outside = split(_THOUGHT * LOOKS + "B")
    assert (outside.answer or "").endswith("<think>\nT\n</think>\nA\nB")
    assert not outside.unfinished


def test_opening_tags_in_a_thought_are_none_of_those_that_are_counted() -> None:
    found = split("<think>\n" * (2 * LOOKS) + "T\n</think>\n" + "x </think> " * (2 * LOOKS) + "A")
    assert not found.unfinished
    assert (found.thinking or "").endswith("T")
    assert (found.answer or "").endswith("A")


def test_code_is_told_up_to_a_number_of_fences() -> None:
    found = split("<think>\n" + "```\nx\n```\n" * LOOKS + "T\n</think>\nA")
    assert (found.answer, found.unfinished) == ("A", False)


@pytest.mark.parametrize("count", [LOOKS // 2, LOOKS])
def test_the_last_message_is_told_after_any_number_of_messages(count: int) -> None:
    message = "<|start|>assistant<|channel|>{}<|message|>{}<|end|>"
    middle = (message.format("analysis", "T") + message.format("final", "A")) * count
    found = split(middle + message.format("final", "B"))
    assert (found.answer or "").endswith("B")
    assert not found.unfinished
    found = split(middle + "<|start|>assistant<|channel|>analysis<|message|>U cut")
    assert found.unfinished
    assert "U cut" not in (found.answer or "")


# ---------------------------------------------------------------- recorded exchanges


def _bedrock(data: Path, name: str) -> dict[str, Any]:
    path = data / "provider_cassettes_thinking" / f"test_bedrock__{name}.yaml"
    interactions = cast("dict[str, Any]", yaml.safe_load(path.read_text("utf-8")))
    return cast("dict[str, Any]", interactions["interactions"][0]["response"])


def test_a_recorded_reply_of_bedrock_has_thinking_among_the_parts(shared_data: Path) -> None:
    recorded = _bedrock(shared_data, "test_bedrock_model_thinking_part_deepseek")
    message = recorded["parsed_body"]["output"]["message"]
    answer, thought = message["content"]
    reply = _whole({"message": message, "finish_reason": "end_turn"})
    assert reply.thinking == thought["reasoningContent"]["reasoningText"]["text"].strip() != ""
    assert reply.answer == answer["text"].strip() != ""
    assert (reply.finish, reply.visibility) == (Finish.COMPLETE, Visibility.VISIBLE)


def test_a_recorded_stream_of_bedrock_is_put_together(shared_data: Path) -> None:
    recorded = _bedrock(shared_data, "test_bedrock_model_thinking_part_stream")
    deltas: list[dict[str, Any]] = []
    decoder = json.JSONDecoder()
    events = cast("bytes", recorded["body"]["string"]).decode("latin-1")
    for event in re.finditer(r'\{"contentBlockIndex"', events):
        body = events[event.start() :].encode("latin-1").decode("utf-8", "replace")
        found = cast("dict[str, Any]", decoder.raw_decode(body)[0])
        if "delta" in found:
            deltas.append({"content": [found["delta"]]})
    reply = _streamed({"finish_reason": "end_turn"}, deltas)
    parts = [delta["content"][0] for delta in deltas]
    thought = "".join(p.get("reasoningContent", {}).get("text", "") for p in parts)
    assert reply.thinking == thought.strip() != ""
    assert reply.answer == "".join(p.get("text", "") for p in parts).strip() != ""
    assert reply.finish is Finish.COMPLETE
