"""Raw text to thinking and answer: the conformance table, laws, and real traces."""

import asyncio
import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from hiddenrisk.models import open_model
from hiddenrisk.tags import present
from hiddenrisk.thinking import Reading, join, read, split
from hiddenrisk.types import Call, Finish, Message, Model, Sampling, Visibility
from hiddenrisk.types import Reply as ModelReply
from tests.servers import Ask, ChatServer, Reply

CUT, DONE = Finish.CUT_IN_THINKING, Finish.COMPLETE


# ---------------------------------------------------------------- the table of the peers

TABLE = {
    "normal": ("<think>\nT\n</think>\n\nA", "T", "A", "tags", False),
    "prefilled (only </think>)": ("T\n</think>\n\nA", "T", "A", "prefilled", False),
    "truncated": ("<think>\nT1\nT2 cut", "T1\nT2 cut", None, "tags", True),
    "empty think": ("<think>\n\n</think>\n\nA", "", "A", "tags", False),
    "two blocks": (
        "<think>\nT\n</think>\n\nA<think>\nU\n</think>\n\nB",
        "T\n\nU",
        "A\n\nB",
        "tags",
        False,
    ),
    "no think": ("A", None, "A", "none", False),
    "quoted tag in answer": (
        "<think>\nT\n</think>\n\nuse `</think>` tag",
        "T",
        "use `</think>` tag",
        "tags",
        False,
    ),
    "bare tag in answer": (
        "<think>\nT\n</think>\n\nuse </think> tag",
        "T",
        "use </think> tag",
        "tags",
        False,
    ),
    # Ours, beyond the peers' table.
    "on one line": ("<think>T</think>A", "T", "A", "tags", False),
    "closing tag on the line": ("T</think>A", "T", "A", "prefilled", False),
    "closing tag first": ("</think>\n\nA", "", "A", "prefilled", False),
    "nothing but a thought": ("<think>\nT\n</think>\n", "T", None, "tags", False),
    "nothing but an opening tag": ("<think>", "", None, "tags", True),
    "blank": (" \n\n", None, None, "none", False),
    "empty": ("", None, None, "none", False),
    "white space first": ("\n\n <think>\nT\n</think>\nA", "T", "A", "tags", False),
    "words first": ("Sure.\n<think>\nT\n</think>\n\nA", "T", "Sure.\n\nA", "tags", False),
    "unfinished second thought": (
        "<think>\nT\n</think>\n\nA\n<think>\nU cut",
        "T\n\nU cut",
        "A",
        "tags",
        True,
    ),
    "unfinished second thought on the line": (
        "<think>\nT\n</think>\n\nA<think>\nU cut",
        "T\n\nU cut",
        "A",
        "tags",
        True,
    ),
    "words on the line, then cut": ("Sure.<think>\nT cut", "T cut", "Sure.", "tags", True),
    "a byte order mark, then cut": ("\ufeff<think>\nT cut", "T cut", "\ufeff", "tags", True),
    "quoted while thinking": (
        "<think>\nThey wrote `</think>` and \"</think>\".\n</think>\n\nA",
        'They wrote `</think>` and "</think>".',
        "A",
        "tags",
        False,
    ),
    "code while thinking": (
        "<think>\n```xml\n<think>\nx\n</think>\n```\nT\n</think>\n\nA",
        "```xml\n<think>\nx\n</think>\n```\nT",
        "A",
        "tags",
        False,
    ),
    "code that ends the thought": (
        "<think>\n```py\nx\n```</think>\n\nA",
        "```py\nx\n```",
        "A",
        "tags",
        False,
    ),
    "code span that ends the thought": ("<think>so `x`</think>A", "so `x`", "A", "tags", False),
    "code never closed while thinking": (
        "<think>\n```py\nx\n</think>\n\nA",
        "```py\nx",
        "A",
        "tags",
        False,
    ),
    "code never closed, then a cut second thought": (
        "<think>\n```py\nx\n</think>\n\nA\n<think>\nU",
        "```py\nx\n\nU",
        "A",
        "tags",
        True,
    ),
    "code in an answer without thought": (
        "Write:\n```html\n<think>\nx\n</think>\n```\nDone.",
        None,
        "Write:\n```html\n<think>\nx\n</think>\n```\nDone.",
        "none",
        False,
    ),
    "code in a list of an answer without thought": (
        "1. Write:\n   ```html\n   <think>\n   x\n   </think>\n   ```\n2. Done.",
        None,
        "1. Write:\n   ```html\n   <think>\n   x\n   </think>\n   ```\n2. Done.",
        "none",
        False,
    ),
    "quoted tags in an answer without thought": (
        "The tags `<think>` and '</think>' and “<think>” frame it.",
        None,
        "The tags `<think>` and '</think>' and “<think>” frame it.",
        "none",
        False,
    ),
    "tags in running text": (
        "One writes </think> after the thought.",
        None,
        "One writes </think> after the thought.",
        "none",
        False,
    ),
    "double backticks": ("It is ``</think>`` here.", None, "It is ``</think>`` here.", "none", False),
}  # fmt: skip


@pytest.mark.parametrize("case", TABLE)
def test_every_case_of_the_table_is_split_as_it_should_be(case: str) -> None:
    text, thinking, answer, style, unfinished = TABLE[case]
    found = split(text)
    assert (found.thinking, found.answer) == (thinking, answer)
    assert (found.style, found.unfinished) == (style, unfinished)
    assert join(found.segments) == text


@pytest.mark.parametrize(
    ("text", "thinking", "answer"),
    [
        ("T so </think> <answer> A </answer>", "T so", "<answer> A </answer>"),
        ("T so </think> <ans", None, "T so </think> <ans"),
        ("T. </think> A", "T.", "A"),
        ("T! </think> **A**", "T!", "**A**"),
        ("思考。 </think> 答え", "思考。", "答え"),
        ("A tag ends it. </think> is its name.", None, "A tag ends it. </think> is its name."),
        ("It ends in </think> Then comes A.", None, "It ends in </think> Then comes A."),
        ("T. </thinking> A", None, "T. </thinking> A"),
    ],
)
def test_a_closing_tag_on_the_line_is_told_by_what_stands_around_it(
    text: str, thinking: str | None, answer: str
) -> None:
    found = split(text)
    assert (found.thinking, found.answer) == (thinking, answer)
    assert join(found.segments) == text


@pytest.mark.parametrize(
    ("text", "thinking", "answer", "unfinished"),
    [
        ("T1\nT2 cut", "T1\nT2 cut", None, True),  # the table's "prefilled+truncated"
        ("T\n</think>\n\nA", "T", "A", False),
        ("T </think> A", "T", "A", False),
        ("`T\n</think>\n\nA", "`T", "A", False),
        ("```py\nx\n</think>\n\nA", "```py\nx", "A", False),
        ("say `</think>`.\n</think>\n\nA", "say `</think>`.", "A", False),
        ("<think>\nT\n</think>\n\nA", "T", "A", False),  # the server gave the tag back
        ("T\n<think>\nU\n</think>\n\nA", "T\n<think>\nU", "A", False),
        ("\n\n</think>\n\nA", "", "A", False),
    ],
)
def test_a_declared_template_puts_the_start_of_the_text_inside_the_thought(
    text: str, thinking: str, answer: str | None, unfinished: bool
) -> None:
    found = split(text, prefilled=True)
    assert (found.thinking, found.answer, found.unfinished) == (thinking, answer, unfinished)
    assert join(found.segments) == text


# ---------------------------------------------------------------- laws

_PIECES = (
    "<think>", "</think>", "`", "```", "\n```py\n", "\n", "\n\n", " ", "   ```", "\t", "\r\n",
    "word", ". ", '"', "'", "(", ")", "“", "”", "<", ">", "/", "think>", "é", "\u2028", "\0",
)  # fmt: skip
TAGGED = st.lists(st.sampled_from(_PIECES), max_size=40).map("".join)


def _tag_free(text: str) -> bool:
    # Hypothesis takes words from our own modules, Harmony's tokens among them.
    return not present(text) and "|>" not in text


FREE = (st.lists(st.sampled_from(_PIECES[2:]), max_size=25).map("".join) | st.text()).filter(
    _tag_free
)
"""Any text without a tag; code fences may be left open in it."""
NO_CODE = FREE.filter(lambda text: "```" not in text)


@given(text=TAGGED | st.text(), prefilled=st.booleans())
@example(text="```</think>```</think>", prefilled=False)
@example(text="\n```<think>`x\n</think>", prefilled=True)
def test_nothing_of_a_text_is_lost_or_moved(text: str, prefilled: bool) -> None:
    found = split(text, prefilled=prefilled)
    assert join(found.segments) == text
    thoughts = [s.text for s in found.segments if s.kind == "thinking"]
    answers = [s.text for s in found.segments if s.kind == "answer"]
    assert (found.thinking or "") == "\n\n".join(thoughts)
    assert (found.answer or "") == "\n\n".join(answers)
    assert all(s.text == s.text.strip() != "" for s in found.segments if s.kind != "mark")
    assert (found.thinking is None) == (found.style == "none")


@given(text=TAGGED | st.text(), prefilled=st.booleans())
def test_no_answer_comes_after_an_unfinished_thought(text: str, prefilled: bool) -> None:
    found = split(text, prefilled=prefilled)
    if found.unfinished:
        kinds = [s.kind for s in found.segments]
        opened = max(
            (i for i, s in enumerate(found.segments) if s.text == "<think>" and s.kind == "mark"),
            default=0,
        )
        assert "answer" not in kinds[opened:]


@given(thought=FREE, answer=NO_CODE, cut=FREE)
def test_an_unfinished_thought_is_never_part_of_the_answer(
    thought: str, answer: str, cut: str
) -> None:
    assert split(f"<think>{cut}").answer is None
    assert split(cut, prefilled=True).answer is None
    found = split(f"<think>\n{thought}\n</think>\n\n{answer}\n<think>\n{cut}")
    assert found.answer == (answer.strip() or None)
    assert found.unfinished


@given(thought=FREE, answer=FREE)
def test_a_framed_thought_and_its_answer_come_apart_as_they_were(thought: str, answer: str) -> None:
    found = split(f"<think>\n{thought}\n</think>\n\n{answer}")
    assert (found.thinking, found.answer) == (thought.strip(), answer.strip() or None)
    assert (found.style, found.unfinished) == ("tags", False)


@given(thought=FREE, answer=FREE)
def test_a_thought_that_the_prompt_opened_comes_apart_as_well(thought: str, answer: str) -> None:
    found = split(f"{thought}\n</think>\n\n{answer}", prefilled=True)
    assert (found.thinking, found.answer) == (thought.strip(), answer.strip() or None)
    assert (found.style, found.unfinished) == ("prefilled", False)


@given(thought=NO_CODE, answer=FREE)
def test_a_closing_tag_alone_tells_that_the_prompt_opened_the_thought(
    thought: str, answer: str
) -> None:
    found = split(f"{thought}\n</think>\n\n{answer}")
    assert (found.thinking, found.answer) == (thought.strip(), answer.strip() or None)
    assert (found.style, found.unfinished) == ("prefilled", False)


@given(thought=FREE, answer=NO_CODE)
def test_so_does_one_behind_code_that_was_left_open(thought: str, answer: str) -> None:
    text = f"{thought}\n</think>\n\n{answer}"
    found = split(text)
    assert (found.thinking, found.answer) == (thought.strip(), answer.strip() or None)


_SAID = st.lists(
    st.sampled_from(["word", "I write </think> and go on", "in <think> tags", "`x`", "So. "]),
    max_size=6,
).map(" ".join)


@given(said=_SAID, answer=NO_CODE, opening=st.sampled_from(["", "<think>\n"]))
def test_a_tag_that_a_thought_speaks_of_closes_nothing_before_one_that_stands_alone(
    said: str, answer: str, opening: str
) -> None:
    text = f"{opening}Okay, {said} now.\n</think>\n\n{answer}"
    for prefilled in (False, True):
        found = split(text, prefilled=prefilled)
        assert found.thinking == f"Okay, {said} now."
        assert found.answer == (answer.strip() or None)


@pytest.mark.parametrize(
    "unit",
    [
        "<think>",
        "</think>",
        "<think>\nx\n</think>\ny\n",
        "<think>\n```\n</think>\n",
        "`</think>` ",
        "\n```<think>\n",
        "\n     ",
        "`",
    ],
)
def test_nothing_of_a_megabyte_of_anything_is_lost(unit: str) -> None:
    text = unit * (1_000_000 // len(unit))
    assert join(split(text).segments) == text


# ---------------------------------------------------------------- readings


def _reading(
    content: str | None,
    reasoning: str | None,
    finish_reason: str | None,
    *,
    prefilled: bool = False,
    reasoning_tokens: int | None = None,
) -> tuple[str | None, str | None, Finish, Visibility, str]:
    found: Reading = read(
        content,
        reasoning,
        finish_reason,
        prefilled=prefilled,
        reasoning_tokens=reasoning_tokens,
    )
    return found.thinking, found.answer, found.finish, found.visibility, found.style


def test_a_field_holds_the_thinking_apart() -> None:
    assert _reading("A", "\nT\n", "stop") == ("T", "A", DONE, Visibility.VISIBLE, "field")
    assert _reading("A", " ", "stop") == (None, "A", DONE, Visibility.NONE, "none")
    # A server's parser that takes the first thought only.
    both = _reading("A\n<think>\nU\n</think>\nB", "T", "stop")
    assert both == ("T\n\nU", "A\n\nB", DONE, Visibility.VISIBLE, "field")
    # With a field, the text is no thought, whatever the template does.
    apart = _reading("A", "T", "stop", prefilled=True)
    assert apart == ("T", "A", DONE, Visibility.VISIBLE, "field")


@pytest.mark.parametrize("reason", ["length", "LENGTH", "max_tokens", "model_length"])
def test_a_cut_is_told_by_where_it_happened(reason: str) -> None:
    assert _reading("A", "T", reason)[2] is Finish.CUT_IN_ANSWER
    assert _reading("", "T", reason)[2] is CUT
    assert _reading("<think>\nT", None, reason)[2] is CUT
    assert _reading("<think>\nT\n</think>\nA", None, reason)[2] is Finish.CUT_IN_ANSWER
    assert _reading("T", None, reason, prefilled=True)[:3] == ("T", None, CUT)
    assert _reading("", None, reason)[2] is Finish.EMPTY


def test_thinking_that_is_billed_and_not_shown_is_hidden() -> None:
    shown = _reading("A", None, "stop", reasoning_tokens=7)
    assert shown == (None, "A", DONE, Visibility.HIDDEN, "none")
    # The budget went into thinking that nobody shows: not an empty reply.
    cut = _reading("", None, "length", reasoning_tokens=7)
    assert cut == (None, None, CUT, Visibility.HIDDEN, "none")
    assert _reading("A", None, "stop", reasoning_tokens=0)[3] is Visibility.NONE
    assert _reading("A", "T", "stop", reasoning_tokens=7)[3] is Visibility.VISIBLE


def test_an_empty_block_is_not_the_same_as_none() -> None:
    empty = _reading("<think>\n\n</think>\n\nA", None, "stop")
    assert empty == ("", "A", DONE, Visibility.EMPTY, "tags")
    assert _reading("A", None, "stop")[0] is None


@pytest.mark.parametrize("content", ["", None, " \n"])
def test_an_empty_reply_is_empty_also_where_the_prompt_opens_the_thought(
    content: str | None,
) -> None:
    empty = (None, None, Finish.EMPTY, Visibility.NONE, "none")
    assert _reading(content, None, "stop") == empty
    assert _reading(content, None, "stop", prefilled=True) == empty


@pytest.mark.parametrize(
    "reason",
    [
        *("content_filter", "content_filter: PROHIBITED_CONTENT", "SAFETY", "sensitive", "refusal"),
        *("PROHIBITED_CONTENT", "BLOCKLIST", "SPII", "RECITATION", "LANGUAGE", "IMAGE_SAFETY"),
        *("guardrail_intervened", "content_filtered", "ERROR_TOXIC", "blocked"),
    ],
)
def test_a_block_is_a_block_however_the_provider_calls_it(reason: str) -> None:
    assert _reading("", None, reason)[2] is Finish.BLOCKED_ON_OUTPUT
    assert _reading("A beg", "T", reason)[:3] == ("T", "A beg", Finish.BLOCKED_ON_OUTPUT)


def test_a_recorded_block_marker_is_no_answer() -> None:
    blocked = (None, None, Finish.BLOCKED_ON_OUTPUT, Visibility.NONE, "none")
    assert _reading("[PROVIDER_REFUSED]\n", None, "stop") == blocked
    assert _reading("[PROVIDER_REFUSED]", None, None, prefilled=True) == blocked


# ---------------------------------------------------------------- real traces


def _csv(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def _traces(data: Path, kind: str) -> tuple[list[Path], list[tuple[str, str]]]:
    """The files of one collection, and its (prompt, raw text) pairs."""
    if kind == "r1distill":
        folder = data / "traces_r1distill_ky295"
        paths = [folder / f"{name}_reasoning_output.csv" for name in ("advbench", "alpaca")]
        return paths, [(r["prompt"], r["response"]) for path in paths for r in _csv(path)]
    folder, file, prompt = {
        "r1": ("traces_star1_r1", "STAR-1.json", "question"),
        "empty": ("traces_empty_think_lrmstudy", "sft_train_nocot.json", "prompt"),
    }[kind]
    path = data / folder / file
    rows: list[dict[str, Any]] = json.loads(path.read_bytes())
    return [path], [(r[prompt], r["response"]) for r in rows]


def _expected(text: str) -> tuple[str | None, str | None, Finish]:
    """What a trace with at most one closing tag holds, taken apart by hand."""
    thought, closing, answer = text.strip().partition("</think>")
    thought = thought.removeprefix("<think>").strip()
    return (thought, answer.strip(), DONE) if closing else (thought, None, CUT)


def _found(reply: ModelReply) -> tuple[str | None, str | None, Finish]:
    return reply.thinking, reply.answer, reply.finish


async def _ask_all(model: Model, prompts: Sequence[str]) -> list[ModelReply]:
    """The replies to all prompts, 32 at a time, in order."""
    places = asyncio.Semaphore(32)

    async def ask(number: int, prompt: str) -> ModelReply:
        call = Call(messages=(Message("user", prompt),), sampling=Sampling(), prompt=f"p{number}")
        async with places:
            return await model.generate(call)

    await model.start()
    try:
        return await asyncio.gather(*(ask(n, p) for n, p in enumerate(prompts)))
    finally:
        await model.close()


@pytest.mark.parametrize(("kind", "count", "cut"), [("r1distill", 620, 5), ("r1", 701, 0)])
def test_real_traces_are_split_without_a_mistake(
    shared_data: Path, kind: str, count: int, cut: int
) -> None:
    texts = [text for _, text in _traces(shared_data, kind)[1]]
    assert len(texts) == count
    prefilled = kind == "r1distill"
    wrong = [n for n, t in enumerate(texts) if not _is_right(t, prefilled=prefilled)]
    assert not wrong
    assert sum(split(t, prefilled=prefilled).unfinished for t in texts) == cut


def _is_right(text: str, *, prefilled: bool) -> bool:
    found = split(text, prefilled=prefilled)
    thinking, answer, finish = _expected(text)
    return (found.thinking, found.answer) == (thinking, answer) and found.unfinished == (
        finish is CUT
    )


def test_a_thousand_empty_thoughts_are_empty(shared_data: Path) -> None:
    texts = [text for _, text in _traces(shared_data, "empty")[1]]
    assert len(texts) == 1000
    for text in texts:
        found = read(text, None, "stop")
        assert (found.thinking, found.visibility, found.finish) == ("", Visibility.EMPTY, DONE)
        assert found.answer == text.removeprefix("<think>\n\n</think>\n\n").strip()


@pytest.mark.parametrize("kind", ["r1distill", "r1", "empty"])
def test_replayed_traces_are_split_without_a_mistake(shared_data: Path, kind: str) -> None:
    paths, pairs = _traces(shared_data, kind)
    replies: list[ModelReply] = []
    rest = pairs
    for path in paths:
        model = open_model(f"replay/{path}")
        assert model.prefilled == (kind == "r1distill"), "told from the file itself"
        count = len(_csv(path)) if path.suffix == ".csv" else len(rest)
        replies += asyncio.run(_ask_all(model, [prompt for prompt, _ in rest[:count]]))
        rest = rest[count:]
    # Prompts that stand in a file twice are answered in its order.
    wrong = [
        n
        for n, (reply, (_, text)) in enumerate(zip(replies, pairs, strict=True))
        if _found(reply) != _expected(text)
    ]
    assert not wrong


@pytest.mark.parametrize("kind", ["r1distill", "r1", "empty"])
def test_served_traces_are_split_without_a_mistake(shared_data: Path, kind: str) -> None:
    pairs = _traces(shared_data, kind)[1]

    def model(ask: Ask) -> Reply:
        text = pairs[int(ask.text)][1]
        return Reply(text=text, finish="stop" if "</think>" in text else "length")

    with ChatServer({"traces": model}) as server:
        spec = server.spec("traces") + ("?prefilled" if kind == "r1distill" else "")
        numbers = [str(n) for n in range(len(pairs))]
        replies = asyncio.run(_ask_all(open_model(spec), numbers))
    wrong = [
        n
        for n, (reply, (_, text)) in enumerate(zip(replies, pairs, strict=True))
        if _found(reply) != _expected(text)
    ]
    assert not wrong
