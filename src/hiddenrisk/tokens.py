"""How many tokens a text has, by its characters: where no provider has counted them yet.

English prose and code take 3.5 to 4.7 characters a token by the tokenizers of today, Chinese
0.6 to 2; so an estimate may be off by a fifth either way, and by more where few letters are
Latin. What a provider counts always goes first.
"""

from collections.abc import Iterable

from msgspec.structs import replace

from hiddenrisk.types import Call, Finish, Message, Reply

CHARS, OTHERS = 4.1, 1.3
"""Characters a token: ASCII, and all others."""
OFF = (0.8, 1.25)
"""The share of an estimate that the real number is of it, in nine of ten cases."""
FRAME = 8
"""What a chat template adds to a request; with a system message of its own up to 30."""


def tokens_of(text: str | None) -> float:
    """An estimate of a text's tokens."""
    if not text:
        return 0.0
    plain = len(text) if text.isascii() else len(text.encode("ascii", "ignore"))
    return plain / CHARS + (len(text) - plain) / OTHERS


def tokens_in(messages: Iterable[Message]) -> float:
    """The same of a request."""
    return FRAME + sum(tokens_of(message.content) for message in messages)


def with_estimate(call: Call, reply: Reply) -> Reply:
    """A reply with an estimate of the tokens that its provider did not tell.

    A zero where there is text tells nothing. Nobody bills a request that was rejected, unless
    the provider says so.
    """
    asked = said = 0
    if not reply.usage.prompt_tokens and reply.finish is not Finish.BLOCKED_ON_INPUT:
        asked = round(tokens_in(call.messages))
    if not reply.usage.completion_tokens:
        said = round(tokens_of(reply.answer) + tokens_of(reply.thinking))
    if not (asked or said):
        return reply
    return replace(reply, usage=replace(reply.usage, estimated=(asked, said)))
