"""How long models think and answer, by what kind of model it is: where nothing was measured.

Means over a benchmark's prompts, in tokens; each pair is what nine of ten models lie between.
They are wide on purpose. Measured, at 4 characters a token: the answers of six models to 628
AIR-Bench prompts have means of 272 (Llama 3 8B) to 915 (Mistral Large); R1-Distill-Llama-8B
thinks 871 tokens on AdvBench and 727 on Alpaca instructions, and answers with 386 and 251;
DeepSeek-R1, told of a policy, thinks 338 and answers with 117 (STAR-1).
"""

import re

import msgspec

from hiddenrisk.models.decoding import MORE, THOUGHTS
from hiddenrisk.models.spec import Spec
from hiddenrisk.models.summaries import is_closed, summarises

ANSWERS = (150.0, 1_000.0)


class Kind(msgspec.Struct, frozen=True, kw_only=True):
    """What is expected of a model."""

    name: str
    thinking: tuple[float, float] | None = None
    """Tokens of a thought, in the mean; None for a model that does not think."""
    visible: tuple[float, float] = (0.0, 0.0)
    """Share of the responses whose thinking a judge can read."""
    answer: tuple[float, float] = ANSWERS


PLAIN = Kind(name="does not think")
VISIBLE = Kind(name="shows its thinking", thinking=(250.0, 2_000.0), visible=(0.8, 1.0))
HIDDEN = Kind(name="hides its thinking", thinking=(100.0, 2_000.0))
UNKNOWN = Kind(name="unknown", thinking=(20.0, 1_500.0), visible=(0.0, 1.0))
LONG = Kind(name="is made to think on", thinking=(3_000.0, 10_000.0), visible=(0.8, 1.0))
"""Morethink: ten rounds, within 10,000 tokens."""

_OFF = {("think", "off"), ("effort", "none"), ("budget", "0")}
_VISIBLE = re.compile(
    r"(?:^|[/_-])r1(?:$|[/_:-])|reasoner|qwq|think|reasoning|magistral|gpt-oss|minimax-m|kimi-k\d"
    r"|glm-(?:4\.[5-9]|[5-9])|star-?1|marco-o1|skywork-o|openthinker|s1-\d",
    re.IGNORECASE,
)
_HIDDEN = re.compile(
    r"(?:^|/)(?:o[1-9](?:$|[-:@])|gpt-[5-9]|grok-[4-9]|gemini-(?:2\.5|[3-9]|pro|flash))",
    re.IGNORECASE,
)
_PLAIN = re.compile(
    r"(?:^|/)(?:gpt-(?:3\.5|4)|chatgpt|claude|grok-[123]|gemini-(?:1|2\.0)|deepseek-(?:chat|v3)"
    r"|v3(?:$|[-.])|(?:meta-)?llama|mistral|mixtral|ministral|codestral|open-mi|gemma|phi-[1-4]"
    r"|qwen-?(?:1|2|turbo|plus|max)|smollm2?|command|nova-)",
    re.IGNORECASE,
)


def kind_of(spec: Spec) -> Kind:
    """What kind of model a SPEC names, by its options and its model id."""
    options, model = spec.options, spec.model
    decoding = options.get("decoding")
    if decoding in THOUGHTS:
        return PLAIN
    if decoding == MORE:
        return LONG
    if _OFF & set(options.items()) or "plain" in options:
        return PLAIN
    closed = is_closed(model) or summarises(spec.provider, model)
    if {"think", "effort", "budget"} & options.keys():
        return _bounded(HIDDEN if closed else VISIBLE, options.get("budget", ""))
    if "prefilled" in options or _VISIBLE.search(model):
        return HIDDEN if closed and not _VISIBLE.search(model) else VISIBLE
    if _HIDDEN.search(model):
        return HIDDEN
    return PLAIN if _PLAIN.search(model) else UNKNOWN


def _bounded(kind: Kind, budget: str) -> Kind:
    """A model that thinks within a budget of tokens, if that is set."""
    most = float(budget) if budget.isdecimal() else 0.0
    low, high = kind.thinking or (1.0, 1.0)
    if not most or most >= high:
        return kind
    return msgspec.structs.replace(kind, thinking=(min(low, most / 4), most))
