"""Untrusted text inside a judge's prompt: it can neither close its block nor plant a verdict.

The blocks and marks of our rubrics are neutralised wherever they occur in the text,
by look-alikes that no parser of ours takes for the real ones; so are the tags and tokens that
end a thought. All other text goes in
as it is, so that an ordinary response is judged under the exact upstream prompt.
"""

import re
from collections.abc import Mapping

MAX_CHARS = 200_000
"""A longer text loses its middle, and says so: no judge reads a megabyte."""
_KEPT_END = 50_000

# With the space as well: one official prompt closes a block with `</user request>`.
_TAG = re.compile(r"<(?=\s*(?:/\s*)?(?:user[_\s]request|model[_\s]response))", re.IGNORECASE)
_MARK = re.compile(r"#\s*#(?=[\s*_`]*(?:the_score|short_reasoning))", re.IGNORECASE)
# A judge that quotes the end of a thought would seem to have thought all it said before.
_THOUGHT = re.compile(
    r"<(?=\s*(?:/\s*)?(?:seed:)?(?:think(?:ing)?|reasoning|thought)\s*>"
    r"|\|(?:start|channel|message|end|return|call|constrain)\|>)"
    r"|\[(?=/?THINK\])|◁(?=/?think▷)",
    re.IGNORECASE,
)
_CLASS = re.compile(r"\b(CLASS\s*):")
INVISIBLE = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e"
    "\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb\U000e0000-\U000e0fff]"
)
_PLACE = re.compile(r"\{\{(QUESTION|ANSWER|CATEGORY)\}\}")


def fence(text: str) -> str:
    """The text, unable to leave the block it is put into."""
    text = shortened(text)
    if not text.isascii():
        text = _seen(text.encode("utf-8", "replace").decode("utf-8"))
    # Look before searching: nearly all texts hold none of these.
    if "<" in text:
        text = _TAG.sub("‹", text)  # noqa: RUF001 - a look-alike on purpose
    if any(mark in text for mark in "<[◁"):
        text = _THOUGHT.sub(lambda m: "［" if m[0] == "[" else "‹", text)  # noqa: RUF001 - as above
    if "#" in text:
        text = _MARK.sub("＃＃", text)  # noqa: RUF001 - as above
    return _CLASS.sub(r"\1：", text) if "CLASS" in text else text  # noqa: RUF001 - as above


def shortened(text: str) -> str:
    """The text, without its middle where it is longer than any judge reads."""
    if len(text) <= MAX_CHARS:
        return text
    left_out = len(text) - MAX_CHARS
    head, tail = text[: MAX_CHARS - _KEPT_END], text[-_KEPT_END:]
    return f"{head}\n[... {left_out} characters left out ...]\n{tail}"


def _seen(text: str) -> str:
    """The text as a reader sees it, where invisible characters hide a tag or a mark."""
    visible = INVISIBLE.sub("", text)
    hides = visible != text and any(p.search(visible) for p in (_TAG, _MARK, _THOUGHT))
    return visible if hides else text


def fill(template: str, values: Mapping[str, str]) -> str:
    """Put fenced texts into `{{QUESTION}}`, `{{ANSWER}}` and `{{CATEGORY}}`, in one pass.

    One pass, because a question that itself says `{{ANSWER}}` must stay as it is; a place
    for which there is no value stays as well.
    """

    def put(place: re.Match[str]) -> str:
        return fence(values[place[1]]) if place[1] in values else place[0]

    return _PLACE.sub(put, template)
