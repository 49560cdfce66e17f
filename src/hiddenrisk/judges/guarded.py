"""Untrusted text inside a guard's prompt: it can neither close its turn nor open another.

A guard's prompt is a conversation in special tokens and headings. What looks like one of
them in the text that is judged (`<|eot_id|>`, `<start_of_turn>`, `[INST]`, `<END
CONVERSATION>`, a line that begins with `Agent:`) is neutralised by a look-alike, also where
invisible characters part it. All other text goes in as it is.
"""

import re

from hiddenrisk.judges.fence import INVISIBLE, shortened

_TOKEN = re.compile(
    r"<(?=\s{0,8}(?:\|[^<>|\n]{1,40}\||(?:/\s{0,8})?(?:start_of_turn|end_of_turn|bos|eos|pad|s"
    r"|(?:seed:)?think(?:ing)?|reasoning|thought)\s{0,8}>|(?:BEGIN|END)\s[A-Z ]{1,40}>))",
    re.IGNORECASE,
)
_INST = re.compile(r"\[(?=\s{0,8}(?:/\s{0,8})?(?:INST|THINK)\s{0,8}\])", re.IGNORECASE)
_SPEAKER = re.compile(
    r"^([ \t*_#>]*(?:User|Agent|Assistant|Human Question|Chatbot Response)[ \t*_]*):",
    re.IGNORECASE | re.MULTILINE,
)
# What a guard's reply is read by: a guard that quotes the text must not seem to say it.
_LINE = re.compile(
    r"^([ \t*_#>]*(?:Safety|Categories|Refusal)[ \t*_]*):", re.IGNORECASE | re.MULTILINE
)


def inert(text: str) -> str:
    """The text, as it may stand in a turn of a guard's prompt."""
    text = shortened(text)
    if not text.isascii():
        text = text.encode("utf-8", "replace").decode("utf-8")
        visible = INVISIBLE.sub("", text)
        if visible != text and _special(visible):
            text = visible
    if not _special(text):
        return text
    text = _INST.sub("［", _TOKEN.sub("‹", text))  # noqa: RUF001 - look-alikes on purpose
    return _LINE.sub(r"\1：", _SPEAKER.sub(r"\1：", text))  # noqa: RUF001 - as above


def _special(text: str) -> bool:
    return any(p.search(text) for p in (_TOKEN, _INST, _SPEAKER, _LINE))
