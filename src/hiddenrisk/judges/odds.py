"""How sure a judge was of its label: the probability of "unsafe" at the label's token.

Chat completions give it as `logprobs.content` (a list of tokens, each with the likeliest
ones in its place), completions as three lists. What is stored (`p_unsafe`) is the
probability mass of the words that mean unsafe over that of all label words, among the few
likeliest tokens that the endpoint gives: as ShieldGemma's card reads Yes against No. So it
is 1 or 0 where the other label is not among them.
"""

import math
import re
from functools import cache
from typing import Any, TypeVar

import msgspec

from hiddenrisk.judges.rubric import Odds
from hiddenrisk.types import Opinion, Reply

T = TypeVar("T")
P_UNSAFE = "p_unsafe"
"""The grade's name; in [0, 1]."""


class _Likely(msgspec.Struct):
    token: str
    logprob: float


class _Token(msgspec.Struct):
    token: str
    logprob: float
    top_logprobs: list[_Likely] = []


class _Old(msgspec.Struct):
    """The form of plain completions."""

    tokens: list[str] = []
    top_logprobs: list[dict[str, float] | None] | None = None


class _Place(msgspec.Struct, frozen=True):
    """One token of a reply, with the likeliest ones in its place: {token: logarithm}."""

    token: str
    likely: dict[str, float]


def weighed(said: T, reply: Reply, odds: Odds) -> T:
    """The opinion, with `p_unsafe` among its grades where the endpoint tells it."""
    if not isinstance(said, Opinion):
        return said
    p = p_unsafe(bytes(reply.raw), reply.answer or "", odds)
    if p is None:
        return said
    return msgspec.structs.replace(said, grades={**said.grades, P_UNSAFE: round(p, 6)})


def p_unsafe(payload: bytes, answer: str, odds: Odds) -> float | None:
    """The probability that the label means unsafe, in [0, 1].

    Args:
        payload: the provider's payload, as JSON.
        answer: the reply's text, without any thinking before it.
        odds: which words mean what, and where they stand.

    Returns:
        None where the payload holds no probabilities, or none of a label word.
    """
    places = _places(payload)
    place = _at_label(places, answer, odds) if places else None
    if place is None:
        return None
    mass = {True: 0.0, False: 0.0}
    for token, logprob in place.likely.items():
        means = _meaning(token, odds)
        if means is not None and logprob <= 0.0:
            mass[means] += math.exp(logprob)
    total = mass[True] + mass[False]
    return mass[True] / total if total > 0 else None


def _places(payload: bytes) -> list[_Place]:
    """The tokens of the first choice; none where the payload has no usable ones."""
    try:
        found: Any = msgspec.json.decode(payload)
        told: Any = found["choices"][0]["logprobs"]
        if isinstance(told.get("content"), list):
            tokens = msgspec.convert(told["content"], list[_Token])
            return [
                _Place(t.token, {p.token: p.logprob for p in (t, *t.top_logprobs)}) for t in tokens
            ]
        old = msgspec.convert(told, _Old)
    except (msgspec.MsgspecError, LookupError, TypeError, AttributeError, UnicodeError):
        return []
    tops = old.top_logprobs or []
    return [_Place(token, top or {}) for token, top in zip(old.tokens, tops, strict=False)]


def _at_label(places: list[_Place], answer: str, odds: Odds) -> _Place | None:
    """The token in which the label begins."""
    text = "".join(p.token for p in places)
    start = text.rfind(answer.strip())  # a thought may stand before it
    found = _label(odds).search(text, max(start, 0)) if start >= 0 and answer.strip() else None
    if found is None:
        return None
    at, end = found.start("word"), 0
    for place in places:
        end += len(place.token)
        if at < end:
            return place
    return None


@cache
def _label(odds: Odds) -> re.Pattern[str]:
    words = "|".join(re.escape(w) for w in (*odds.unsafe, *odds.safe))
    before = re.escape(odds.after).replace(r"\ ", r"[\s*_`]+") + r"[\s*_`]*" if odds.after else ""
    return re.compile(rf"{before}(?<![a-z])(?P<word>{words})\b", re.IGNORECASE)


def _meaning(token: str, odds: Odds) -> bool | None:
    """Whether a token begins a word that means unsafe; None where it begins none, or both."""
    start = re.sub(r"^[^\w]+", "", token).rstrip().lower()
    if not start:
        return None
    means = {
        unsafe
        for unsafe, words in ((True, odds.unsafe), (False, odds.safe))
        for word in words
        if word.lower().startswith(start)
    }
    return means.pop() if len(means) == 1 else None
