"""The report in a real browser: hostile strings, widths, filters, paper, and accessibility."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

import pytest

from hiddenrisk.report.page import render
from tests import report_data as data
from tests.hostile import HOSTILE

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.browser
DESKTOP, PHONE = 1280, 390
_OPEN = "document.querySelectorAll('details').forEach(d => d.open = true)"
_ALL = "document.querySelectorAll('.filters input:not([id])').forEach(i => i.checked = true)"
_OUTSIDE = """width => {
  // Whatever lies beyond the page and in no box that scrolls or clips by itself.
  const held = e => { for (let p = e.parentElement; p; p = p.parentElement)
    if (getComputedStyle(p).overflowX !== 'visible' || getComputedStyle(p).contain.includes('paint')) return true;
    return false; };
  return [...document.body.querySelectorAll('*')].filter(e => {
    const box = e.getBoundingClientRect();
    return box.width && (box.right > width + 1 || box.left < -1) && !e.closest('.defs, thead') && !held(e);
  }).map(e => e.outerHTML.slice(0, 120));
}"""


@pytest.fixture
def tab(browser: "Browser") -> Iterator["Page"]:
    """A tab that fails the test for a dialog, console message, page error or request."""
    page = browser.new_page(viewport={"width": DESKTOP, "height": 900})
    trouble: list[str] = []
    page.on("console", lambda message: trouble.append(message.text))
    page.on("pageerror", lambda error: trouble.append(error.message))
    page.on("request", lambda request: trouble.append(request.url))
    page.on("dialog", lambda dialog: trouble.append(dialog.message))
    yield page
    page.close()
    assert [line for line in trouble if not line.endswith("/report.html")] == []


def show(page: "Page", html: str, folder: Path) -> None:
    path = folder / "report.html"
    path.write_text(html, encoding="utf-8", newline="")
    page.goto(path.as_uri())


def full() -> str:
    return render(data.summary(), data.examples(), data.manifest())


def _whole(page: "Page") -> None:
    """Assert that nothing ran, nothing was planted, and nothing sticks out, at both widths."""
    page.evaluate(_OPEN)
    page.evaluate(_ALL)
    assert page.evaluate("typeof pwned") == "undefined"
    assert page.locator("script, img, iframe, object, embed, form, link, base, video").count() == 0
    assert page.locator("h1").count() == page.locator("main").count() == 1
    assert page.locator("style").count() == 1
    for width in (DESKTOP, PHONE):
        page.set_viewport_size({"width": width, "height": 900})
        assert page.evaluate("document.documentElement.scrollWidth") == width
        assert page.evaluate(_OUTSIDE, width) == []


def _filled(value: dict[str, Any], text: str) -> dict[str, Any]:
    """The same structure with every text in it replaced."""
    return {k: _replaced(v, text) for k, v in value.items()}


def _replaced(value: object, text: str) -> object:
    if isinstance(value, dict):
        return _filled(cast("dict[str, Any]", value), text)
    if isinstance(value, list):
        return [_replaced(v, text) for v in cast("list[object]", value)]
    return text if isinstance(value, str) else value


def test_two_hundred_hostile_outputs_prompts_and_categories_neither_run_nor_break_the_page(
    tab: "Page", tmp_path: Path
) -> None:
    assert len(set(HOSTILE)) == 200
    texts = ("prompt", "thinking", "answer", "prompt_id", "problem", "outcome", "finish")
    shown = [
        data.example(
            category=(text,),
            verdicts=tuple(
                type(v)(judge=text, part=v.part, label=text, score=0.0, reason=text)
                for v in data.example().verdicts
            ),
            **dict.fromkeys(texts, text),
        )
        for text in HOSTILE
    ]
    everything = data.summary()
    for model in everything["models"].values():
        for cell in model["benchmarks"].values():
            one = next(iter(cell["categories"].values()))
            cell["categories"] = dict.fromkeys(HOSTILE, one)
            cell["notes"] = list(HOSTILE)
            cell["views"] = {HOSTILE[0]: dict.fromkeys(HOSTILE[:50], one)}
        model["served_models"] = model["fingerprints"] = list(HOSTILE)
    show(tab, render(everything, shown), tmp_path)
    _whole(tab)
    assert tab.locator(".ex").count() == 200


@pytest.mark.parametrize("place", range(0, 200, 25))
def test_hostile_names_of_models_and_benchmarks_neither_run_nor_break_the_page(
    tab: "Page", tmp_path: Path, place: int
) -> None:
    labels = HOSTILE[place : place + 25]
    everything = data.summary(labels, titles=labels[0])
    for model in list(everything["models"].values())[3:]:  # enough to fill every section
        model["benchmarks"] = {"airbench": model["benchmarks"]["airbench"]}
    everything["comparisons"] = everything["comparisons"][:4]
    for name in ("findings", "comparisons", "unverified", "judges", "command", "created"):
        everything[name] = _replaced(everything[name], labels[-1])
    for one in everything["comparisons"]:
        one["metric"] = "safety_rate"
    shown = [data.example(model=label, benchmark=label) for label in labels]
    show(tab, render(everything, shown, _filled(data.manifest(), labels[1])), tmp_path)
    _whole(tab)


@pytest.mark.parametrize(("scheme", "width"), [("light", DESKTOP), ("dark", PHONE)])
def test_axe_finds_no_serious_violation(
    browser: "Browser", tmp_path: Path, scheme: Literal["light", "dark"], width: int
) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    two = data.MODELS[:2]
    show(page, render(data.summary(two), data.examples(two), data.manifest()), tmp_path)
    page.evaluate(_OPEN)
    page.evaluate(_ALL)
    found = axe.run(page).response["violations"]
    page.close()
    grave = [v for v in found if v["impact"] in {"serious", "critical"}]
    assert not grave, json.dumps(
        [(v["id"], [n["html"][:150] for n in v["nodes"][:3]]) for v in grave], indent=1
    )


def test_every_table_has_a_name_and_headers_and_every_picture_a_name_or_a_table(
    tab: "Page", tmp_path: Path
) -> None:
    show(tab, full(), tmp_path)
    tab.evaluate(_OPEN)
    assert tab.locator("table").count() > 20
    assert (
        tab.locator("table:not(:has(caption), [aria-labelledby]), table:not(:has(th))").count() == 0
    )
    named = "svg[role=img][aria-label], svg[role=img][aria-labelledby]"
    assert tab.locator(named).count() > 5
    alone = f"svg:not({named}, [aria-hidden=true], svg svg)"
    assert tab.locator(alone).count() == 0


def test_transcripts_are_filtered_without_a_script(tab: "Page", tmp_path: Path) -> None:
    show(tab, full(), tmp_path)

    def models() -> set[str]:
        return {h.inner_text().partition(" ")[0] for h in tab.locator(".group:visible h3").all()}

    seen = tab.locator(".ex:visible")
    assert models() == {"v3"}  # one model and benchmark to begin with
    assert seen.count() == 2
    tab.get_by_role("group", name="Model").get_by_label("r1").check()
    assert models() == {"r1"}
    tab.get_by_role("group", name="Model").get_by_label("all").check()
    tab.get_by_role("group", name="Benchmark").get_by_label("all").check()
    assert seen.count() == 12
    tab.get_by_role("group", name="Shows").get_by_label("no score").check()
    assert seen.count() == 6
    assert models() == {"v3", "r1", "o3-mini"}
    assert set(seen.locator(".chips").all_inner_texts()) == {"no verdict\ncomplete"}


def test_thinking_and_answer_stand_side_by_side_once_opened(tab: "Page", tmp_path: Path) -> None:
    show(tab, full(), tmp_path)
    first = tab.locator(".ex:visible").first
    assert not first.get_by_text("the secret thinking").is_visible()
    first.get_by_text("Show text (may be harmful)").click()
    boxes = [first.get_by_text(f"the secret {w}").bounding_box() for w in ("thinking", "answer")]
    thinking, answer = boxes
    assert thinking
    assert answer
    assert abs(thinking["y"] - answer["y"]) < 2
    assert thinking["x"] + thinking["width"] <= answer["x"]


def test_paper_shows_the_results_and_no_transcript(tab: "Page", tmp_path: Path) -> None:
    show(tab, full(), tmp_path)
    tab.emulate_media(media="print")
    assert tab.locator("#results table:visible").count() == 4
    assert tab.locator("nav:visible, .filters:visible, .ex:visible").count() == 0
    assert tab.get_by_text("The texts are left out on paper.").is_visible()


def test_the_contents_lead_to_every_section(tab: "Page", tmp_path: Path) -> None:
    show(tab, full(), tmp_path)
    links = [a.get_attribute("href") for a in tab.locator("nav a").all()]
    assert links == [f"#{s.get_attribute('id')}" for s in tab.locator("section").all()]
    assert len(links) == 16
