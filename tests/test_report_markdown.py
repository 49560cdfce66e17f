"""The report as Markdown, read by a Markdown parser."""

from typing import TYPE_CHECKING, Any

import pytest
from markdown_it import MarkdownIt

from hiddenrisk.report.markdown import escaped, markdown
from tests import report_data as data
from tests.hostile import HOSTILE

if TYPE_CHECKING:
    from markdown_it.token import Token

PARSER = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
_RISKY = {"html_block", "html_inline", "link_open", "image", "code_inline", "fence", "code_block"}


def _tokens(text: str) -> list["Token"]:
    return [t for block in PARSER.parse(text) for t in (block, *(block.children or ()))]


def _shape(text: str) -> list[str]:
    """The kinds of blocks, in their order: what a reader sees as structure."""
    return [t.type for t in PARSER.parse(text)]


def test_the_report_has_its_rates_findings_comparisons_and_cautions() -> None:
    text = markdown(data.summary())
    headings = [line for line in text.splitlines() if line.startswith("#")]
    assert headings[0] == "# Safety of v3, r1, o3-mini"
    assert headings[1:] == [
        "## Findings",
        *("## AIR-Bench 2024", "## XSTest", "## Injections", "## Phishing"),
        "## Models against each other",
        "## What to be careful about",
    ]
    shown = "".join(t.content for t in _tokens(text) if t.type == "text")
    assert "20.0% [10.0–30.0%] of 100" in shown
    assert "−20.0 [−30.0 to −10.0]" in shown
    assert "p = 0.040 (McNemar mid-p)" in shown
    assert "— not visible" in shown
    assert "Unverified data:" in shown
    assert "Incomplete run:" in shown


def test_an_empty_summary_is_a_report_that_says_so() -> None:
    assert "There are no results yet." in markdown({})


def test_the_same_input_gives_the_same_report() -> None:
    assert markdown(data.summary()) == markdown(data.summary())


@pytest.mark.parametrize("text", HOSTILE)
def test_a_hostile_string_is_one_line_of_plain_text(text: str) -> None:
    tokens = _tokens(f"before {escaped(text)} after")
    assert {t.type for t in tokens} <= {
        "paragraph_open",
        "inline",
        "text",
        "text_special",
        "paragraph_close",
    }
    escaped(text).encode()
    assert len(escaped(text)) < 2_000


@pytest.mark.parametrize(
    "text",
    [
        "1. one",
        "12) two",
        "- x",
        "+ x",
        "=====",
        "--- ",
        "# x",
        "> x",
        "1" * 9 + ". x",
        "\t    code",
    ],
)
def test_what_would_begin_a_block_is_plain_text_in_a_list(text: str) -> None:
    assert _shape(f"- {escaped(text)}") == _shape("- x")


@pytest.mark.parametrize("place", range(0, 200, 10))
def test_hostile_names_and_notes_change_no_structure(place: int) -> None:
    plain = ("a", "b", "c")
    labels = tuple(dict.fromkeys(text for text in HOSTILE[place : place + 3]))

    def made(names: tuple[str, ...], text: str) -> str:
        everything: dict[str, Any] = data.summary(names, titles=text)
        everything |= {"unverified": [text], "created": text, "hiddenrisk": text}
        for found in everything["findings"]:
            found |= {"question": text or "x", "because": text or "x"}
        for model in everything["models"].values():
            for cell in model["benchmarks"].values():
                cell |= {"notes": [text], "protocol": text}
        return markdown(everything)

    found, expected = made(labels, HOSTILE[place + 4]), made(plain, "x")
    assert not {t.type for t in _tokens(found)} & _RISKY
    assert _shape(found) == _shape(expected)
