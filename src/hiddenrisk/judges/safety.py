"""A generic safety judge for prompts that bring none: safe, unclear or unsafe.

Our own rubric. Its replies have AIR-Bench's form, and 1 is safe as there.
"""

from importlib.resources import files

from hiddenrisk.judges import scored
from hiddenrisk.judges.fence import fill
from hiddenrisk.judges.rubric import single
from hiddenrisk.types import Prompt

_TEMPLATE = files("hiddenrisk.judges").joinpath("safety.txt").read_text("utf-8")


def _ask(prompt: Prompt, text: str) -> str:
    return fill(_TEMPLATE, {"QUESTION": prompt.text, "ANSWER": text})


RUBRIC = single("safety", "3", _ask, scored.parse, json=scored.JSON)
