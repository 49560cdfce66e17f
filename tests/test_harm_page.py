"""The section of the page that says how harmful unsafe texts are, in a real browser."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pytest

from hiddenrisk.report.page import render
from tests.test_report import HOSTILE, Reader, page, rate, show, summary, visible

if TYPE_CHECKING:
    from playwright.sync_api import Page

__all__ = ["page"]


def _mean(value: float, **more: object) -> dict[str, Any]:
    return {"value": value, "low": value - 0.1, "high": value + 0.1, "n": 20, **more}


def _harmfulness(names: tuple[str, ...], rewards: tuple[str, ...]) -> dict[str, Any]:
    """Every two of the models, by each reward model, with a calibration of each."""
    known = {"title": rewards[0], "accuracy": rate(0.7, 1175), "ties": 2, "failed": 3}
    known |= {"unverified": ["a part"], "lengths": {k: {"accuracy": rate(0.6, 9)} for k in ("shorter", "longer")}}  # fmt: skip
    means = {"score": _mean(0.846), rewards[0]: _mean(-1.5)}
    own = {"unsafe": 1234, "scored": 1000, "cut": 5, "failed": 4, "missing": 230, "means": means}
    tested = _mean(0.021, p=0.0123, p_holm=0.0369, effect=0.5)
    both = tested | {"length": tested, "per_doubling": 0.1}
    pairs = [
        {"first": a, "second": b, "role": "base to reasoning", "naive": tested, "overlap": both}
        for i, a in enumerate(names)
        for b in names[i + 1 :]
    ]
    of_reward = {"models": {n: own | {"characters": 2764.4} for n in names}, "pairs": pairs}
    agreement = [{"rewards": [*rewards], "spearman": _mean(0.5)}]
    part = {"rewards": dict.fromkeys(rewards, of_reward), "agreement": agreement}
    about = {"identity": {"repo": rewards[0]}, "limit": 25, "preferences": {"hh": known}}
    return {"rewards": dict.fromkeys(rewards, about), "benchmarks": {names[0]: {"answer": part}}}


def test_the_section_says_what_stands_in_the_summary() -> None:
    said = visible(render(summary(harmfulness=_harmfulness(("base", "r1"), ("armorm", "qrm"))), []))
    for words in (
        "armorm prefers the reply that people prefer in 70.0% [60.0–80.0%] of 1,175 pairs",
        "(armorm; 2 ties; 3 failed; unverified data)",
        "Not all unsafe texts were scored, but 25 of each model and benchmark.",
        "0.846 [0.746 to 0.946]1,000 scored, 5 cut, 4 failed, 230 not scored",
        "+0.021 [-0.079 to +0.121]p = 0.012 (Holm's p = 0.037), +0.50 sd, of 20",
    ):
        assert words in said, said


def test_hostile_names_are_text() -> None:
    html = render(summary(harmfulness=_harmfulness((HOSTILE, "b"), (HOSTILE, "c"))), [])
    reader = Reader(html)
    assert not reader.tags & {"script", "img", "iframe", "a b"}
    assert not [name for name, _ in reader.attributes if name.startswith("on")]


@pytest.mark.browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [400, 1200])
def test_a_phone_shows_it_without_scrolling_the_page_sideways(
    page: "Page", tmp_path: Path, width: int, scheme: Literal["light", "dark"]
) -> None:
    names = tuple(f"model-{i}-" + "long" * (12 * (i == 3)) for i in range(6))
    found = _harmfulness(names, ("armorm", "r" * 200))
    page.set_viewport_size({"width": width, "height": 800})
    page.emulate_media(color_scheme=scheme)
    show(page, render(summary(harmfulness=found), []), tmp_path)
    page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
    assert page.evaluate("document.documentElement.scrollWidth") == width
    tall = page.evaluate(
        "Math.max(...[...document.querySelectorAll('#harm tbody tr')].map(r => r.clientHeight))"
    )
    assert tall < 250, "no cell is a column of single words"
    page.locator("#harm").screenshot(path=tmp_path / f"harm-{width}-{scheme}.png")
