"""The channels of OpenAI's Harmony format (gpt-oss), left in the text by a server. Pure; linear.

A text is a row of messages, `<|start|>assistant<|channel|>analysis<|message|>...<|end|>`, of
which the prompt may have begun the first. What the format keeps from the user is thinking:
the `analysis` channel, calls of tools on any channel (they have a recipient, `to=`), and
what others said (the results of tools). What it means for the user is the answer: the
`final` channel, and `commentary` without a recipient, a preamble to calls of tools, which
the format means to be shown (https://github.com/openai/harmony, docs/format.md; vLLM reads
it the same way since its pull request 32114).

A server that drops special tokens leaves `analysis...assistantfinal...`. This is taken
apart only where both words stand, in this order, and the second one once; a text that was
cut before it cannot be told from any other, and is left as it is.

As with tags, only so many tokens are looked at: what follows belongs to the message that is
open there, but for the last message of all.
"""

import re
from collections.abc import Iterator
from itertools import islice
from typing import NamedTuple

from hiddenrisk.places import LOOKS
from hiddenrisk.tags import Cuts, Kind

_PART_OF = r"(?:<(?:\|[a-z]{0,9}+\|?+)?+)?+\Z"
"""What is left of a token where the text ends inside it."""
_TOKEN = re.compile(
    rf"<\|(?:(end|return|call)\|>(?=\s*+(?:<\|(?:start|channel)\|>|{_PART_OF}))|(?:start|channel)\|>)"
)
"""A token that may end a message, or begin the head of one."""
_TO = r"(?: [^<\n]{0,200}+)?+"
_HEAD = re.compile(
    rf"(?:<\|start\|>(?P<role>(?:[A-Za-z][\w.-]{{0,100}}+)?+{_TO}))?+"
    rf"(?:<\|channel\|>\s?(?P<channel>[a-z]*+)(?P<to>{_TO}))?"
    r"(?:<\|constrain\|>[^<\n]{0,200}+)?+"
    rf"(?:<\|message\|>|(?P<cut>{_PART_OF}))"
)
"""Only the space before a channel may be of the next part: all else is tried once (`+`)."""
_BARE = re.compile(rf"(?P<channel>analysis|commentary|final)(?P<to>{_TO})<\|message\|>")
"""A head of which the prompt has all that stands before the channel's name."""
_CHANNELS = ("analysis", "commentary", "final")
_PART = re.compile(_PART_OF)
_SPACE = re.compile(r"\s*")
_STRIPPED = re.compile(r"\s*analysis(?=\S)")
_TURN = re.compile("assistantanalysis")
_FINAL = "assistantfinal"


class _Head(NamedTuple):
    """The head of a message; of one that is cut before its channel, the kind is "mark"."""

    kind: Kind
    start: int
    end: int
    cut: bool = False


class _Stop(NamedTuple):
    """How a message ends: its end, that of its end token, and the head that follows."""

    at: int
    over: int
    head: _Head | None


def cut(text: str) -> Cuts | None:
    """Take a text with channels apart; None where it has none."""
    if "<|message|>" not in text and not text.lstrip().startswith("<|"):
        return _stripped(text)
    bounds: list[tuple[Kind, int, int]] = []
    position, kind, opened = 0, "mark", False
    start = len(text) - len(text.lstrip())
    head = _bare(text, start) or _head(text, start, first=True)
    if head is None:
        stop = _handed_over(text)
        if stop is None and text.startswith("<|", start) and _PART.match(text, start):
            return Cuts([("mark", 0, len(text))], "none", unfinished=False)
        if stop is None:
            return None
        bounds.append(("thinking", 0, stop.at))
        bounds.append(("mark", stop.at, stop.over))
        head, opened = stop.head, True
    thought, unfinished = opened, False
    tokens = _tokens(text)
    while head is not None:
        bounds.append(("mark", head.start, head.end))
        kind, position = head.kind, head.end
        thought = thought or kind == "thinking"
        if head.cut:
            unfinished = kind == "thinking"
            break
        stop = _stop(text, tokens, position, kind)
        bounds.append((kind, position, stop.at))
        bounds.append(("mark", stop.at, stop.over))
        unfinished = kind == "thinking" and stop.head is None and stop.at == stop.over
        head = stop.head
    style = "none" if not thought else "prefilled" if opened else "channels"
    return Cuts([("mark", 0, bounds[0][1]), *bounds], style, unfinished)


def _head(text: str, at: int, *, first: bool = False) -> _Head | None:
    """The head of a message that begins here; `first` is one of the model's own."""
    found = _HEAD.match(text, at) if text.startswith("<|", at) else None
    if found is None:
        return None
    role, channel, to = found["role"], found["channel"], found["to"] or ""
    who = (role or "").partition(" ")[0]
    ours, ends = role is None or who == "assistant", found["cut"] is not None
    known = channel in _CHANNELS
    if not ends:
        told = known or (channel is None and bool(who))
    else:  # cut: it may yet become a head
        told = channel is None or any(name.startswith(channel) for name in _CHANNELS)
    if not told or (role is None and channel is None):
        return None
    if first and not (ours or (ends and channel is None and "assistant".startswith(who))):
        return None
    if ends and not (known and (to or found["cut"])):
        return _Head("mark", at, found.end(), cut=True)
    return _Head(_kind(channel, f"{role} {to}", ours=ours), at, found.end(), cut=ends)


def _bare(text: str, at: int) -> _Head | None:
    found = _BARE.match(text, at)
    if found is None:
        return None
    return _Head(_kind(found["channel"], found["to"], ours=True), at, found.end())


def _kind(channel: str | None, to: str, *, ours: bool) -> Kind:
    """What a message is: only what the format means for the user is an answer."""
    return "thinking" if not ours or "to=" in to or channel == "analysis" else "answer"


def _tokens(text: str) -> Iterator[re.Match[str]]:
    """The tokens that are looked at, and those of the last message."""
    at = 0
    for token in islice(_TOKEN.finditer(text), LOOKS):
        at = token.start()
        yield token
    last = text.rfind("<|start|>", at + 1)
    if last >= 0:
        yield from islice(_TOKEN.finditer(text, last), LOOKS)


def _stop(text: str, tokens: Iterator[re.Match[str]], position: int, kind: Kind) -> _Stop:
    """The end of the message whose text begins here; takes the tokens up to there.

    An end token ends it where the text ends or another message begins; elsewhere, in
    quotes, and in a code block of an answer, it is talked about.
    """
    fences, counted = 0, position
    for token in tokens:
        at = token.start()
        if at < position or text[at - 1 : at] == "`":
            continue
        if kind == "answer":
            fences += text.count("```", counted, at)
            counted = at
            if fences % 2 == 1:
                continue
        over = _after_space(text, token.end()) if token[1] else at
        head = _head(text, over)
        if head is not None:
            return _Stop(at, over, head)
        if token[1] and _PART.match(text, over):
            return _Stop(at, len(text), None)
    return _Stop(len(text), len(text), None)


def _after_space(text: str, at: int) -> int:
    found = _SPACE.match(text, at)
    return found.end() if found else at


def _handed_over(text: str) -> _Stop | None:
    """The end of a thought that the prompt began, told by a whole head of ours after it."""
    token = _TOKEN.search(text)
    if token is None or token[1] is None or text.count("```", 0, token.start()) % 2 == 1:
        return None
    stop = _stop(text, iter([token]), 0, "thinking")
    ours = stop.at == token.start() and stop.head is not None and not stop.head.cut
    return stop if ours else None


def _stripped(text: str) -> Cuts | None:
    """A text whose special tokens were dropped, if that can be told."""
    opening = _STRIPPED.match(text)
    if opening is None or text.count(_FINAL) != 1 or "assistantcommentary" in text:
        return None
    bounds: list[tuple[Kind, int, int]] = [("mark", 0, opening.end())]
    position, final = opening.end(), text.find(_FINAL)
    for turn in islice(_TURN.finditer(text, position, final), LOOKS):
        bounds.append(("thinking", position, turn.start()))
        bounds.append(("mark", *turn.span()))
        position = turn.end()
    answer = final + len(_FINAL)
    bounds.append(("thinking", position, final))
    bounds.append(("mark", final, answer))
    bounds.append(("answer", answer, len(text)))
    return Cuts(bounds, "channels", unfinished=False)
