"""The report: what it says, what it never says, and that nothing in it can run."""

import re
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hiddenrisk.cell import OUTCOMES
from hiddenrisk.report.examples import grouped, verdict
from hiddenrisk.report.grids import category_rows
from hiddenrisk.report.page import TEXT_LIMIT, Example, ExampleVerdict, clean, render
from hiddenrisk.report.results import PartSummary, Rate, Results
from hiddenrisk.report.words import grouped_outcomes, pct, span, why

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

HOSTILE = (
    "</pre></details></title></style><script>pwned=1</script><img src=x onerror=pwned=1>"
    "<svg/onload=pwned=1><a href=javascript:pwned=1>x</a><!--<b \"' onclick='pwned=1'>{{ 7*7 }}"
    "\0\x1b[31m\r\ud800\u202egnp.exe\u2066\ufeff\U000e0041"
)
NULL = {"value": None, "low": None, "high": None, "n": 0}


def rate(value: float, n: int) -> dict[str, Any]:
    return {"value": value, "low": max(0, value - 0.1), "high": min(1, value + 0.1), "n": n}


def part(value: float | None, outcomes: dict[str, int]) -> dict[str, Any]:
    n = outcomes.get("complete", 0)
    return {
        "safety_rate": NULL if value is None else rate(value, n),
        "band": {"low": 0.2, "high": 0.7},
        "outcomes": outcomes,
        "scores": {},
        "sensitivity": {
            name: {"n": k, "safe": 0.47, "unsafe": 0.42, "excluded": value}
            for name, k in outcomes.items()
            if k and name != "complete"
        },
    }


def results(answer: float | None = 0.45, thinking: float | None = 0.3) -> dict[str, Any]:
    outcomes = {"complete": 60, "blocked_on_input": 2, "cut_in_thinking": 1, "judge_refused": 1}
    unseen = outcomes if thinking is not None else {"hidden": 64}
    return {
        "title": "Starter suite",
        "protocol": "reference",
        "judges": ["builtin"],
        "n": 64,
        "outcomes": outcomes,
        "parts": {"answer": part(answer, outcomes), "thinking": part(thinking, unseen)},
        "categories": {},
        "protocols": {"helm": {"answer": rate(0.5, 64), "thinking": NULL}},
        "notes": ["Three prompts were asked twice."],
    }


def summary(**changes: object) -> dict[str, Any]:
    models = {"smollm2": {"spec": "local/smollm2", "benchmarks": {"starter": results()}}}
    usage = {"smollm2": {"role": "model", "calls": 64, "prompt_tokens": 1234}}
    judges = {"builtin": {"spec": "builtin", "kind": "rules"}}
    base = {"hiddenrisk": "0.1.0", "created": "2026-11-23T17:00:00Z", "complete": True}
    return base | {"models": models, "judges": judges, "usage": usage} | changes


EXAMPLE = Example(
    model="smollm2",
    benchmark="starter",
    prompt_id="starter-1",
    category=("Security Risks", "Integrity"),
    label="unsafe",
    prompt="the secret prompt",
    thinking="the secret thinking",
    answer="the secret answer",
    finish="complete",
    visibility="visible",
    outcome="complete",
    verdicts=(ExampleVerdict(judge="builtin", part="answer", label="complied", score=0.0),),
)


def example(**changes: object) -> Example:
    return msgspec.structs.replace(EXAMPLE, **changes)


class Reader(HTMLParser):
    """Reads a page as a browser does: its tags, attributes, and text in and out of details."""

    VOID = frozenset({"meta", "br", "wbr"})

    def __init__(self, page: str) -> None:
        super().__init__()
        self.path: list[str] = []
        self.tags: set[str] = set()
        self.attributes: list[tuple[str, str]] = []
        self.open_text: list[str] = []
        self.hidden_text: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes += [(name, value or "") for name, value in attrs]
        if tag not in self.VOID:
            self.path.append(f"{tag}.{dict(attrs).get('class')}")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes += [(name, value or "") for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        assert self.path, f"</{tag}> closes nothing"
        assert self.path.pop().partition(".")[0] == tag
        if tag not in {"b", "code", "small", "span"}:
            self.handle_data(" ")

    def handle_data(self, data: str) -> None:
        inside = "details.harmful" in self.path and "summary.None" not in self.path
        if "head.None" not in self.path:
            (self.hidden_text if inside else self.open_text).append(data)


def visible(page: str) -> str:
    """The text of a page outside its closed parts, with single spaces."""
    return " ".join("".join(Reader(page).open_text).split())


def hostile_page() -> str:
    """A page in which every text that comes from outside is hostile."""
    cell = results() | {"title": HOSTILE, "protocol": HOSTILE, "notes": [HOSTILE]}
    cell |= {"judges": [HOSTILE], "protocols": {HOSTILE: {}}}
    cell |= {"categories": {HOSTILE: results(), f"{HOSTILE} > x": results(thinking=None)}}
    model = {"spec": HOSTILE, "served_models": [HOSTILE], "fingerprints": [HOSTILE, None]}
    everything = summary(
        created=HOSTILE,
        command=HOSTILE,
        unverified=[HOSTILE],
        models={HOSTILE: model | {"provider": HOSTILE, "benchmarks": {HOSTILE: cell}}},
        judges={HOSTILE: {"spec": HOSTILE, "kind": HOSTILE}},
        usage={HOSTILE: {"role": HOSTILE, "calls": 1}},
    )
    said = {"judge": HOSTILE, "part": HOSTILE, "label": HOSTILE, "reason": HOSTILE}
    fields: dict[str, Any] = dict.fromkeys(Example.__struct_fields__, HOSTILE)
    fields |= {"category": (HOSTILE,), "verdicts": (ExampleVerdict(score=0.0, **said),)}
    return render(everything, [example(**fields)])


def test_hostile_text_cannot_run() -> None:
    page = hostile_page()
    reader = Reader(page)
    dangerous = {"script", "img", "iframe", "object", "embed", "link", "base", "form", "a b"}
    assert not reader.tags & dangerous
    assert not [name for name, _ in reader.attributes if name.startswith("on")]
    links = [value for name, value in reader.attributes if name in {"href", "src", "srcdoc"}]
    assert all(re.fullmatch("#[a-z]+", link) for link in links)
    assert page.count("<style>") == page.count("</style>") == 1
    assert "49" not in visible(page)  # no template in a value is evaluated


def test_hostile_text_does_not_break_the_page() -> None:
    reader = Reader(hostile_page())  # asserts that every tag closes what it should
    assert not reader.path


def test_the_page_may_load_and_run_nothing() -> None:
    policy = re.search('Content-Security-Policy" content="([^"]+)"', render(summary(), []))
    assert policy
    assert policy[1].startswith("default-src 'none'; style-src 'unsafe-inline'; img-src data:;")


def test_invisible_characters_are_shown_and_the_page_can_be_stored() -> None:
    page = hostile_page()
    page.encode()
    assert not re.search("[\0\x1b\r\u202e\u2066\ufeff\U000e0041]", page)
    for code in ("0000", "001B", "202E", "2066", "FEFF", "E0041"):
        assert f"[U+{code}]" in page


@given(st.text(st.characters(exclude_categories=())))
def test_clean_text_can_be_stored_and_stays_clean(text: str) -> None:
    once = clean(text)
    once.encode()
    assert clean(once) == once


def test_clean_leaves_ordinary_writing_alone() -> None:
    text = "Tab\there,\nnew line; naïve café, 日本語, עברית, فارسی می‌خواهم, 👩‍👩‍👧 ❤️"
    assert clean(text) == text


def test_harmful_text_is_in_closed_details_only() -> None:
    page = render(summary(), [example(problem="the secret problem")])
    reader = Reader(page)
    inside = "".join(reader.hidden_text)
    for name in ("prompt", "thinking", "answer", "problem"):
        assert f"the secret {name}" in inside
    assert "secret" not in visible(page)
    assert '<details class="harmful" open' not in page
    assert page.count('<details class="harmful"><summary>Show text (may be harmful)') == 1


def test_a_row_tells_id_category_outcome_and_verdicts_without_the_text() -> None:
    said = visible(render(summary(), [example(outcome="cut_in_answer")]))
    assert "starter-1 Security Risks > Integrity answer: unsafe (complied) cut in answer" in said


def test_a_long_text_is_cut_and_says_how_much_is_left_out() -> None:
    page = render(summary(), [example(answer="x" * 1_000_000)])
    assert len(page) < 60_000
    assert f"{1_000_000 - TEXT_LIMIT:,} more characters are left out" in page


def test_thinking_that_is_not_there_says_why() -> None:
    hidden = example(thinking=None, visibility="hidden")
    none = example(thinking=None, visibility="none", answer=None, finish="blocked_on_input")
    told = example(thinking="In short.", visibility="summarised")
    text = "".join(Reader(render(summary(), [hidden, none, told])).hidden_text)
    assert "Thinking (the provider's summary, not judged)" in text
    assert "— not visible: the provider shows none of it" in text
    assert "— none (blocked on input)" in text


def test_what_if_an_outcome_were_counted_otherwise_stands_below_the_outcomes() -> None:
    said = visible(render(summary(), []))
    assert "smollm2 answer Blocked on input 2 45.0% 47.0% 42.0% 45.0%" in said
    assert "smollm2 thinking Judge refused 1 30.0% 47.0% 42.0% 30.0%" in said
    everything = summary(models={"m": {"benchmarks": {"starter": results(None, None)}}})
    said = visible(render(everything, []))
    assert "answer Blocked on input 2 — 47.0% 42.0% —" in said
    empty = results()
    for part in empty["parts"].values():
        part["sensitivity"] = {}
    said = visible(render(summary(models={"m": {"benchmarks": {"starter": empty}}}), []))
    assert "What if: " not in said


def test_a_rate_that_is_null_is_a_dash_with_its_reason_and_never_zero() -> None:
    benchmarks = {"starter": results(answer=None, thinking=None)}
    counts = {"blocked_on_input": 50, "blocked_on_output": 10, "cut_in_answer": 4}
    benchmarks["starter"]["parts"]["answer"]["outcomes"] = counts
    said = visible(render(summary(models={"m": {"benchmarks": benchmarks}}), []))
    assert "— none scored: 4 cut, 60 blocked" in said
    assert "— not visible" in said
    assert "none for its thinking (not visible)" in said
    axis = "0% 50% 100%"
    assert not re.search(r"(?<![\d.])0(\.0)?%", said.replace(axis, ""))


def test_every_rate_has_its_interval_denominator_protocol_and_judge() -> None:
    said = visible(render(summary(), []))
    assert "reference protocol, judged by builtin; 95% intervals" in said
    assert "smollm2 45.0% [35.0–55.0%] of 60 band 20–70% 30.0% [20.0–40.0%] of 60" in said


def test_a_sentence_tells_the_result_in_plain_words() -> None:
    said = visible(render(summary(), []))
    assert (
        "smollm2 answered unsafe prompts safely in 45% [35–55%] of 60 responses; its thinking was"
        " safe in 30% [20–40%] of 60 responses. 4 of 64 responses got no score (1 cut, 2 blocked, 1 failed)."
    ) in said


def test_a_sentence_over_several_benchmarks_names_them() -> None:
    other = results(thinking=None) | {"title": "XSTest"}
    models = {"m": {"benchmarks": {"starter": results(), "xstest": other}}}
    said = visible(render(summary(models=models), []))
    assert "safe in 30% [20–40%] of 60 (Starter suite), — (XSTest) (not visible)." in said


def test_over_refusal_has_a_column_where_it_is_measured() -> None:
    measured = results()
    measured["parts"]["answer"]["scores"] = {"over_refusal_rate": rate(0.2, 250)}
    models = {"m": {"benchmarks": {"xstest": measured, "starter": results()}}}
    said = visible(render(summary(models=models), []))
    assert "20.0% [10.0–30.0%] of 250" in said
    assert 'data-label="Over-refusal"' not in render(summary(), [])


def test_unverified_data_and_an_unfinished_run_are_announced_before_any_number() -> None:
    said = visible(render(summary(unverified=["a.csv: digest differs"], complete=False), []))
    assert "a.csv: digest differs" in said
    assert said.index("Unverified data.") < said.index("Incomplete run.") < said.index("45%")
    quiet = visible(render(summary(), []))
    assert "Unverified data" not in quiet
    assert "Incomplete run" not in quiet


def test_every_outcome_of_the_engine_has_a_word() -> None:
    assert "other" not in grouped_outcomes(dict.fromkeys(OUTCOMES, 1))


def test_the_same_input_gives_the_same_page() -> None:
    examples = [example(), example(prompt_id="starter-2")]
    assert render(summary(), examples) == render(summary(), examples)


def test_an_empty_summary_is_a_page_that_says_so() -> None:
    said = visible(render({}, []))
    assert "no results yet" in said
    assert "There are no examples to show." in said


def test_a_missing_part_or_count_is_not_zero() -> None:
    only_answers = results()
    del only_answers["parts"]["thinking"]
    said = visible(render(summary(models={"m": {"benchmarks": {"starter": only_answers}}}), []))
    assert "there is none for its thinking (not judged)" in said
    assert "1,234 — not reported" in said


def test_a_summary_of_another_shape_is_an_error_that_names_the_place() -> None:
    with pytest.raises(msgspec.ValidationError, match=r"\$\.models"):
        render({"models": {"m": {"benchmarks": {"b": {"n": "many"}}}}}, [])


def test_unsafe_answers_come_first_then_thinking_refusals_trouble_and_the_rest() -> None:
    def said(name: str, score: float, what: str = "answer", label: str = "unsafe") -> Example:
        words = ExampleVerdict(judge="j", part=what, label="word", score=score)
        return example(prompt_id=name, label=label, verdicts=(words,))

    rest, unclear = said("rest", 1.0), said("unclear", 0.5)
    refused = said("refused", 1.0, label="safe")
    lost = example(prompt_id="lost", verdicts=(), problem="HTTP 500")
    examples = [rest, unclear, lost, refused, said("thought", 0.0, "thinking"), said("unsafe", 0.2)]
    (group,) = grouped(examples)
    names = [one.prompt_id for _, one in group.examples]
    assert names == ["unsafe", "thought", "refused", "lost", "rest", "unclear"]


@pytest.mark.parametrize(
    ("label", "score", "word"),
    [
        ("unsafe", 0.0, "unsafe"),
        ("unsafe", 0.5, "unclear"),
        ("unsafe", 1.0, "safe"),
        ("safe", 0.0, "helped"),
        ("safe", 1.0, "refused"),
    ],
)
def test_a_score_reads_as_a_word(label: str, score: float, word: str) -> None:
    assert verdict(example(label=label), score) == word


@pytest.mark.parametrize(
    ("value", "digits", "text"),
    [
        (0.583, 0, "58%"),
        (0.583, 1, "58.3%"),
        (0.0, 0, "0%"),
        (1.0, 1, "100.0%"),
        (0.001, 0, "<1%"),
        (0.9996, 1, ">99.9%"),
        (0.999, 0, ">99%"),
        (1e-17, 1, "0.0%"),
        (float("nan"), 0, "—"),
        (None, 0, "—"),
    ],
)
def test_rounding_never_makes_a_share_all_or_nothing(
    value: float | None, digits: int, text: str
) -> None:
    assert pct(value, digits) == text


def test_an_interval_that_is_missing_is_not_shown() -> None:
    assert span(Rate(value=0.5, n=3)) == span(None) == ""
    assert span(Rate(value=0.5, low=0.004, high=0.62, n=3)) == "[<1–62%]"


def test_every_outcome_is_counted_even_one_that_we_do_not_know() -> None:
    outcomes = {"complete": 5, "refused": 2, "blocked_on_input": 3, "blocked_on_output": 1}
    outcomes |= {"judge_blocked": 2, "no_recording": 1, "not_run": 6, "new": 4}
    groups = grouped_outcomes(outcomes)
    assert groups == {"scored": 7, "blocked": 4, "failed": 3, "not run": 6, "other": 4}
    assert sum(groups.values()) == sum(outcomes.values())


@pytest.mark.parametrize(
    ("outcomes", "reason"),
    [
        ({}, "no responses"),
        ({"absent": 9}, "no thinking"),
        ({"hidden": 9}, "not visible"),
        ({"hidden": 4, "summarised": 5}, "not visible"),
        ({"hidden": 9, "blocked": 1}, "none scored: 1 blocked, 9 not visible"),
        ({"complete": 25}, "no unsafe prompt scored"),
    ],
)
def test_a_reason_is_given_where_there_is_no_rate(outcomes: dict[str, int], reason: str) -> None:
    assert why(PartSummary(outcomes=outcomes)) == reason


def test_finer_categories_stand_below_their_parent() -> None:
    paths = ["Hate/Toxicity", "Hate", "Privacy > PII > Leaks", "Privacy", "Hate > Slurs", "A > B"]
    models = {"m": Results(categories={path: Results() for path in paths})}
    rows = [(row.depth, row.name) for row in category_rows(models)]
    below_hate, below_privacy = [(0, "Hate"), (1, "Slurs")], [(0, "Privacy"), (1, "PII > Leaks")]
    assert rows == [(0, "Hate/Toxicity"), *below_hate, *below_privacy, (0, "A > B")]


def test_finer_categories_are_folded_away() -> None:
    cells = {path: results() for path in ("Privacy", "Privacy > PII", "Privacy > PII > Leaks")}
    benchmark = results() | {"categories": cells}
    page = render(summary(models={"m": {"benchmarks": {"starter": benchmark}}}), [])
    above, _, folded = page.partition("<summary>All 3 categories")
    assert ">Privacy</th>" in above
    assert "Leaks" not in above
    assert ">Leaks</th>" in folded


def test_every_text_colour_has_enough_contrast_in_both_schemes() -> None:
    style = render({}, []).partition("<style>")[2].partition("</style>")[0]
    light, dark = re.findall(r":root \{([^}]+)\}", style)[:2]

    def luminance(colour: str) -> float:
        digits = colour if len(colour) == 6 else "".join(c + c for c in colour)
        shares = [int(digits[i : i + 2], 16) / 255 for i in (0, 2, 4)]
        red, green, blue = (
            c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in shares
        )
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    texts = ("ink", "soft", "link", "a", "t")
    pairs = [(text, base) for text in texts for base in ("page", "card")]
    pairs += [(tone, f"{tone}-bg") for tone in ("bad", "warn", "good")]
    pairs += [("bad", "page"), *(("ink", f"h{i}") for i in range(10))]
    for scheme in (light, dark):
        colours = dict(re.findall(r"--([a-z0-9-]+): #([0-9a-f]+)", scheme))
        for pair in pairs:
            low, high = sorted(luminance(colours[name]) for name in pair)
            assert (high + 0.05) / (low + 0.05) >= 4.5, pair  # WCAG 2.2, 1.4.3


def test_importing_the_report_does_not_load_jinja() -> None:
    check = "import sys, hiddenrisk.report.page; sys.exit('jinja2' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", check]).returncode == 0


# --- in a real browser ---


@pytest.fixture
def page(browser: "Browser") -> Iterator["Page"]:
    """A tab of the width of a phone that fails the test for any console message or request."""
    tab = browser.new_page(viewport={"width": 400, "height": 800})
    trouble: list[str] = []
    tab.on("console", lambda message: trouble.append(message.text))
    tab.on("pageerror", lambda error: trouble.append(error.message))
    tab.on("request", lambda request: trouble.append(request.url))
    yield tab
    tab.close()
    assert [line for line in trouble if not line.endswith("/report.html")] == []


def show(page: "Page", html: str, folder: Path) -> None:
    path = folder / "report.html"
    path.write_text(html, encoding="utf-8", newline="")
    page.goto(path.as_uri())


@pytest.mark.browser
def test_harmful_text_appears_when_its_summary_is_clicked(page: "Page", tmp_path: Path) -> None:
    show(page, render(summary(), [example()]), tmp_path)
    for name in ("prompt", "thinking", "answer"):
        assert not page.get_by_text(f"the secret {name}").is_visible()
    page.get_by_text("Show text (may be harmful)").click()
    for name in ("prompt", "thinking", "answer"):
        assert page.get_by_text(f"the secret {name}").is_visible()


@pytest.mark.browser
def test_nothing_runs_in_a_browser_even_with_every_text_opened(
    page: "Page", tmp_path: Path
) -> None:
    show(page, hostile_page(), tmp_path)
    page.locator(".harmful summary").click()
    assert page.evaluate("typeof pwned") == "undefined"
    assert page.locator("script, img, .texts *:not(div, h4, p, pre)").count() == 0


@pytest.mark.browser
def test_a_narrow_page_does_not_scroll_sideways(page: "Page", tmp_path: Path) -> None:
    long = "x" * 3_000
    cells = {long: results(), f"{long} > {long}": results(thinking=None)}
    benchmark = results() | {"title": long, "categories": cells, "notes": [long]}
    model = {"spec": long, "fingerprints": [long], "benchmarks": {long: benchmark}}
    everything = summary(models={long: model}, unverified=[long], command=long)
    examples = [example(prompt_id=long, category=(long,), answer=long, model=long, benchmark=long)]
    for content in (render(summary(), [example()]), render(everything, examples)):
        show(page, content, tmp_path)
        page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
        assert page.evaluate("document.documentElement.scrollWidth") == 400
