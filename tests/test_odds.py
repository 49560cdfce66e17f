"""How sure a judge was: read from what endpoints tell of their tokens."""

import json
import math

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hiddenrisk.judges import llamaguard, qwen3guard, shieldgemma, wildguard
from hiddenrisk.judges.odds import LABEL_MASS, P_UNSAFE, p_unsafe, weigh, weighed
from hiddenrisk.judges.rubric import Ask, Odds, begun
from hiddenrisk.types import Finish, Message, Opinion, Prompt, Visibility
from hiddenrisk.types import Reply as Heard

Likely = dict[str, float]
"""Tokens that were likely in one place, with their probability; the first one was said."""


_MITRE = Odds(unsafe=("malicious",), safe=("benign",))


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
    "the other label is not among the likeliest": (({"safe": 0.99},), "safe", llamaguard.ODDS, 0.01),
    "nothing but the chosen token": (({"safe": 0.55},), "safe", llamaguard.ODDS, 0.45),
    "nothing but the chosen token, unsafe": (({"unsafe": 0.9},), "unsafe", llamaguard.ODDS, 0.9),
    "other words have the rest": (({"safe": 0.6, "Fine": 0.4},), "safe", llamaguard.ODDS, 0.0),
    "other words have some of the rest": (({"Yes": 0.6, "The": 0.2},), "Yes", shieldgemma.ODDS, 0.75),
    "labels have little of it": (({"safe": 0.05, "Fine": 0.9},), "safe", llamaguard.ODDS, None),
    "labels have little of it together": (
        ({"safe": 0.2, "unsafe": 0.2, "Fine": 0.5},), "safe", llamaguard.ODDS, None),
    "the start of n/a is no no": (
        ({"Harmful response:": 1.0}, {" n": 0.6, " yes": 0.4}, {"/a": 1.0}),
        "Harmful response: n/a", wildguard.ODDS, None),
    "n/a among the likeliest": (
        ({"Harmful response:": 1.0}, {" yes": 0.5, " n": 0.3, " no": 0.1, " N/A": 0.1}),
        "Harmful response: yes", wildguard.ODDS, 0.5 / 0.6),
    "the word that is the verdict, not one before it": (
        ({"It names malicious": 1.0}, {" tools": 1.0}, {".\n\n": 1.0}, {"benign": 0.8, "malicious": 0.2}),
        "It names malicious tools.\n\nbenign", _MITRE, 0.2),
    "the first word, not one behind it": (
        ({"Benign": 0.7, "Malicious": 0.3}, {". It is not": 1.0}, {" malicious": 1.0}, {".": 1.0}),
        "Benign. It is not malicious.", _MITRE, 0.3),
    "no telling which word": (
        ({"So I say": 1.0}, {" benign": 0.9}, {", not": 1.0}, {" malicious": 1.0}, {" at all": 1.0}),
        "So I say benign, not malicious at all", _MITRE, None),
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


def test_plain_completions_without_alternatives_tell_the_chosen_tokens_own() -> None:
    told = {"tokens": ["\n\n", "safe"], "token_logprobs": [-0.01, math.log(0.9)]}
    for more in ({}, {"top_logprobs": None}, {"top_logprobs": [None, None]}):
        payload = json.dumps({"choices": [{"logprobs": told | more}]}).encode()
        assert p_unsafe(payload, "safe", llamaguard.ODDS) == pytest.approx(0.1)


def _heard(answer: str, payload: bytes) -> Heard:
    return Heard(
        thinking=None,
        answer=answer,
        finish=Finish.COMPLETE,
        visibility=Visibility.NONE,
        style="none",
        raw=msgspec.Raw(payload),
    )


def test_too_little_mass_on_labels_is_said_and_no_probability() -> None:
    said = llamaguard.parse("safe")
    few = weighed(said, _heard("safe", chat({"safe": 0.05, "Fine": 0.9})), llamaguard.ODDS)
    assert few.grades == {LABEL_MASS: pytest.approx(0.05)}
    many = weighed(said, _heard("safe", chat({"safe": 0.9})), llamaguard.ODDS)
    assert many.grades == {P_UNSAFE: pytest.approx(0.1)}
    mute = weighed(said, _heard("safe", b'{"choices": [{"logprobs": null}]}'), llamaguard.ODDS)
    assert mute.grades == {}


def test_a_token_that_says_the_contrary_of_the_verdict_is_not_its_label() -> None:
    payload = chat({"Safe": 0.9, "Unsafe": 0.1})
    assert weigh(payload, "Safe", llamaguard.ODDS, unsafe=True) == (None, 0.0)
    assert weigh(payload, "Safe", llamaguard.ODDS, unsafe=False) == (pytest.approx(0.1), 1.0)


_POLICIES: list[tuple[list[dict[str, float]], dict[str, float]]] = [
    ([{P_UNSAFE: 0.1}, {P_UNSAFE: 0.4}, {P_UNSAFE: 0.2}, {P_UNSAFE: 0.1}], {P_UNSAFE: 0.4}),
    ([{P_UNSAFE: 0.1}, {LABEL_MASS: 0.3}, {P_UNSAFE: 0.2}, {}], {LABEL_MASS: 0.3}),
    ([{}, {}, {}, {}], {}),
    ([{LABEL_MASS: 0.3}, {P_UNSAFE: 0.9}], {P_UNSAFE: 0.9}),
    ([{P_UNSAFE: 0.3}, {LABEL_MASS: 0.2}], {LABEL_MASS: 0.2}),
]


@pytest.mark.parametrize(("policies", "expected"), _POLICIES)
def test_the_highest_of_the_policies_counts_if_each_that_says_no_tells_one(
    policies: list[dict[str, float]], expected: dict[str, float]
) -> None:
    """The last of fewer than four says Yes."""
    prompt = Prompt(id="1", messages=(Message("user", "q"),), benchmark="b")
    steps = shieldgemma.rubric(completions=False).steps(prompt, "text")
    ask = begun(steps)[0]
    opinions = [Opinion(label="safe", score=1.0, grades=grades) for grades in policies]
    if len(policies) < 4:
        opinions[-1] = Opinion(label="unsafe", score=0.0, grades=policies[-1])
    assert isinstance(ask, Ask)
    for opinion in opinions[:-1]:
        steps.send(opinion)
    with pytest.raises(StopIteration) as end:
        steps.send(opinions[-1])
    assert end.value.value.grades == expected
