"""Replies of named lines: `Harmful response: yes`, `Safety: Unsafe`."""

import re
from collections.abc import Collection

from hiddenrisk.errors import JudgeError
from hiddenrisk.judges.scored import no_verdict
from hiddenrisk.types import Reason

MARKS = "*_`#>~-"
"""What may stand around a name or a value in a reply: bold, code, quotes, lists."""
_TO_SPACES = str.maketrans(dict.fromkeys(MARKS, " "))
_NUMBER = re.compile(r"\(?\d[.)]\s*")


def named(reply: str, names: Collection[str]) -> dict[str, set[str]]:
    """The values by name (both in lower case); several for a name that is there with several."""
    said: dict[str, set[str]] = {}
    for line in reply.splitlines():
        before, colon, after = line.partition(":")
        # Long lines are prose; their start need not be looked at closely.
        name = " ".join(before[:100].translate(_TO_SPACES).lower().split())
        name = _NUMBER.sub("", name, count=1) if name[:1] in "(123" else name
        if colon and name in names:
            said.setdefault(name, set()).add(after.strip(MARKS + " \t.")[:200].lower())
    return said


def one_each(reply: str, allowed: dict[str, set[str]]) -> dict[str, str]:
    """The one value of each name.

    Raises:
        JudgeError: refused, or a line is missing, contradicts another, or says something else.
    """
    said = named(reply, allowed)
    if not said:
        raise no_verdict(reply)
    for name, words in allowed.items():
        values = said.get(name, set[str]())
        if len(values) != 1:
            what = f"different answers {sorted(values)}" if values else "no answer"
            raise JudgeError(Reason.JUDGE_UNPARSABLE, f"{what} for '{name}'"[:300])
        if not values <= words:
            raise JudgeError(
                Reason.JUDGE_UNPARSABLE, f"'{name}' is none of {sorted(words)}: {sorted(values)}"
            )
    return {name: values.pop() for name, values in said.items()}
