"""A judge's own words: its reply without what it copied from the text under judgement.

A text may hold a verdict in the judge's form, and a judge that repeats the text repeats the
verdict. Quotations are found by their long lines, which no reply has by chance; short lines
between and beside them ("benign") are taken for quoted where the text has them as well. So a
planted verdict that is quoted can at most cost the judge's own one, which is then a failure
and no flip.
"""

import re

LONG = 25
"""Characters from which on an equal line is a quotation and no coincidence."""
MARK = "[...]"
_EDGES = " \t\r>*_`\"'“”‘’«»-|#"
_MAX_CHARS = 400_000
_LOOK = 60


def own_words(reply: str, shown: str) -> str:
    """The reply, with every quotation of what the judge was shown replaced by `[...]`.

    Args:
        reply: what the judge said.
        shown: all that it was sent, the fenced text included.
    """
    if len(reply) < LONG or len(reply) > _MAX_CHARS:
        return reply
    there = _spaced(reply)
    near = {_bare(line) for line in shown.splitlines() if _may_be_in(line, there)}
    long = sorted((line for line in near if len(line) >= LONG and line in there), key=len)[::-1]
    if not long:
        return reply
    lines = {_bare(line) for line in shown.splitlines()} - {""}
    quoted = re.compile("|".join(_loose(line) for line in long))
    kept, touched = list[str](), list[bool]()
    for line in reply.splitlines():
        cut, count = quoted.subn(MARK, line)
        kept.append(cut)
        touched.append(count > 0)
    _spread(kept, touched, lines)
    return "\n".join(
        MARK if t and _bare(k) in lines else k for k, t in zip(kept, touched, strict=True)
    )


def _may_be_in(line: str, reply: str) -> bool:
    """Whether a line may stand in a reply: at least its first word does. Most do not."""
    if len(line) < LONG:
        return False
    words = line[:_LOOK].strip(_EDGES).split(None, 1)
    return len(words) < 2 or words[0] in reply


def _bare(line: str) -> str:
    """A line without marks of quotation, and with single spaces."""
    return " ".join(line.split()).strip(_EDGES)


def _spaced(text: str) -> str:
    return "\n".join(" ".join(line.split()) for line in text.splitlines())


def _loose(line: str) -> str:
    return r"\s+".join(re.escape(word) for word in line.split(" "))


def _spread(kept: list[str], touched: list[bool], lines: set[str]) -> None:
    """Take for quoted what stands beside a quotation and in the text: down, then up."""
    for order in (range(len(kept)), range(len(kept) - 1, -1, -1)):
        near = False
        for place in order:
            bare = _bare(kept[place])
            if touched[place]:
                near = True
            elif near and bare in lines:
                touched[place] = True
            elif bare:
                near = False
