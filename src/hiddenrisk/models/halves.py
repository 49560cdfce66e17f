r"""JSON that holds halves of characters (lone surrogates), as no UTF-8 text can. Pure.

Two halves that meet, in one text or over two chunks of a stream, are one character. A half
alone is written out as six characters, `\ud800`: nothing is lost, a person sees it, and
every reader of JSON can read the record. Kept as an escape it would make the line unreadable
for most of them, msgspec among them.
"""

import json
import re

import msgspec

_HALF = re.compile("[\ud800-\udfff]")


def loads(body: bytes) -> object:
    """Read JSON that a strict reader refuses; bytes that are no text become U+FFFD.

    Raises:
        ValueError: it is no JSON.
        RecursionError: it is nested too deep.
    """
    text = body.decode("utf-8-sig", "replace")
    return json.loads(text, strict=False, parse_constant=lambda _: None)


def dumps(value: object) -> bytes:
    """Write JSON on one line, halves written out.

    Raises:
        ValueError: it holds a number that JSON has not.
        RecursionError: it is nested too deep.
    """
    try:
        return msgspec.json.encode(value)
    except UnicodeEncodeError:
        text = json.dumps(msgspec.to_builtins(value), ensure_ascii=False, allow_nan=False)
    return _HALF.sub(lambda half: f"\\\\u{ord(half[0]):04x}", text).encode()


def mended(text: str) -> str:
    """A text in which halves that meet are one character, and those alone are written out."""
    if text.isascii() or not _HALF.search(text):
        return text
    met = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass")
    return _HALF.sub(lambda half: f"\\u{ord(half[0]):04x}", met)
