"""How sure a judge was: read from what endpoints tell of their tokens."""

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hiddenrisk.judges import llamaguard, qwen3guard, shieldgemma, wildguard
from hiddenrisk.judges.odds import p_unsafe
from hiddenrisk.judges.rubric import Odds

Likely = dict[str, float]
"""Tokens that were likely in one place, with their probability; the first one was said."""


def chat(*places: Likely) -> bytes:
    """A chat completion's payload."""
    content = [
        {
            "token": next(iter(place)),
            "logprob": math.log(next(iter(place.values()))),
            "top_logprobs": [{"token": t, "logprob": math.log(p)} for t, p in place.items()],
        }
        for place in places
    ]
    return json.dumps({"choices": [{"logprobs": {"content": content}}]}).encode()


def plain(*places: Likely) -> bytes:
    """A plain completion's payload."""
    told = {
        "tokens": [next(iter(place)) for place in places],
        "top_logprobs": [{t: math.log(p) for t, p in place.items()} for place in places],
    }
    return json.dumps({"choices": [{"logprobs": told}]}).encode()


CASES: dict[str, tuple[tuple[Likely, ...], str, Odds, float | None]] = {
    "safe": (({"\n\n": 1.0}, {"safe": 0.9, "unsafe": 0.1}), "safe", llamaguard.ODDS, 0.1),
    "unsafe, in two pieces": (
        ({"\n\n": 1.0}, {"un": 0.6, "safe": 0.4}, {"safe": 1.0}, {"\nS1": 1.0}),
        "unsafe\nS1",
        llamaguard.ODDS,
        0.6,
    ),
    "other tokens take no part": (
        ({"Yes": 0.4, "No": 0.4, "The": 0.2}, {".": 1.0}),
        "Yes.",
        shieldgemma.ODDS,
        0.5,
    ),
    "other spellings of one label add up": (
        ({"Yes": 0.3, " yes": 0.2, "No": 0.5},),
        "Yes",
        shieldgemma.ODDS,
        0.5,
    ),
    "the label behind its name": (
        (
            {"Harmful": 1.0}, {" request": 1.0}, {":": 1.0}, {" yes": 0.99, " no": 0.01},
            {"\n": 1.0}, {"Response": 1.0}, {" refusal": 1.0}, {":": 1.0}, {" no": 0.99, " yes": 0.01},
            {"\n": 1.0}, {"Harmful": 1.0}, {" response": 1.0}, {":": 1.0}, {" no": 0.75, " yes": 0.25},
        ),
        "Harmful request: yes\nResponse refusal: no\nHarmful response: no",
        wildguard.ODDS,
        0.25,
    ),
    "three labels": (
        (
            {"Safety": 1.0},
            {":": 1.0},
            {" Controversial": 0.5, " Unsafe": 0.3, " Safe": 0.2},
            {"\nCategories: PII\nRefusal: No": 1.0},
        ),
        "Safety: Controversial\nCategories: PII\nRefusal: No",
        qwen3guard.ODDS,
        0.3,
    ),
    "a thought before the answer": (
        ({"<think>unsafe?</think>": 1.0}, {"\n": 1.0}, {"safe": 0.8, "unsafe": 0.2}),
        "safe",
        llamaguard.ODDS,
        0.2,
    ),
    "the other label is not among the likeliest": (({"safe": 0.99},), "safe", llamaguard.ODDS, 0.0),
    "no label word at all": (({"Fine": 0.99},), "Fine", llamaguard.ODDS, None),
    "another answer than the tokens": (({"safe": 0.99},), "unsafe", llamaguard.ODDS, None),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_the_probability_of_the_label_is_read_at_its_token(name: str) -> None:
    places, answer, odds, expected = CASES[name]
    for payload in (chat(*places), plain(*places)):
        found = p_unsafe(payload, answer, odds)
        assert found == (None if expected is None else pytest.approx(expected))


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"null",
        b"[]",
        b'{"choices": []}',
        b'{"choices": [{"logprobs": null}]}',
        b'{"choices": [{"logprobs": {"content": null}}]}',
        b'{"choices": [{"logprobs": {"content": [{"token": 1}]}}]}',
        b'{"choices": [{"logprobs": {"tokens": ["safe"], "top_logprobs": [null]}}]}',
        b'{"choices": [{"logprobs": {"tokens": ["safe"]}}]}',
        b'{"choices": [{"logprobs": "none"}]}',
        b'{"choices": [{"message": {"content": "safe"}}]}',
    ],
)
def test_an_endpoint_that_tells_none_gives_none(payload: bytes) -> None:
    assert p_unsafe(payload, "safe", llamaguard.ODDS) is None


@given(
    places=st.lists(
        st.dictionaries(
            st.sampled_from(["safe", "unsafe", " un", "S1", "\n", "x"]) | st.text(max_size=3),
            st.floats(1e-9, 1.0),
            min_size=1,
        ),
        max_size=5,
    ),
    answer=st.sampled_from(["safe", "unsafe", "unsafe\nS1", ""]),
)
def test_it_is_a_probability_whatever_the_endpoint_says(places: list[Likely], answer: str) -> None:
    found = p_unsafe(chat(*places), answer, llamaguard.ODDS)
    assert found is None or 0.0 <= found <= 1.0
