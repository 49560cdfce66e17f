"""What a judge is: a rubric, which turns (prompt, text) into an opinion.

A rules rubric reads the text itself. An LLM rubric writes a prompt for a judge model
and reads its reply; asking, trying again and filing are `assess`'s work, so that a
rubric stays pure. The same rubric reads the answer and the thinking.
"""

from collections.abc import Callable

import msgspec

from hiddenrisk.types import Opinion, Prompt


class Rubric(msgspec.Struct, frozen=True, kw_only=True):
    """How an LLM judge is asked, and how its reply is read."""

    name: str
    version: str
    """Grows whenever a verdict can change."""
    ask: Callable[[Prompt, str], str]
    """(prompt, text to judge) -> the message for the judge model."""
    parse: Callable[[str], Opinion]
    """The judge's reply -> an opinion, or JudgeError."""
    tokens: int = 2048
    """What a reply may take. References ask for 16 to 512, which starves a judge that
    thinks; for any other the bound is never met."""
