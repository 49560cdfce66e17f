"""How providers say that a filter stopped a call, and on which side. Pure.

They say it in an error (`side_of_error`), in the reason why a reply ended (see
`thinking.read`), or beside the reply (`side_of_notes`). Blocked on input: the request was
rejected and nothing was generated. Blocked on output: what the model wrote was withheld or
stopped. Where nobody says which, an error is about the input and a finish reason about the
output; an error after some text is about the output. Shapes are from the providers'
documentation and from their users' reports; each has a case in `tests/test_blocks.py`.
"""

import re
from collections.abc import Iterable
from typing import NamedTuple, cast

import msgspec

from hiddenrisk.types import Finish

GUARDRAIL = "amazon-bedrock-guardrailAction"
"""The field by which Bedrock says that what follows is its own text, not the model's."""
_CODES = frozenset(
    {
        "contentfilter",  # Azure, Moonshot (as a type)
        "contentpolicy", "contentpolicyviolation",  # OpenAI, OpenRouter
        "responsibleaipolicyviolation",  # Azure
        "moderation", "moderationblocked", "moderationblock",
        "datainspectionfailed",  # Alibaba
        "1301",  # Z.ai
        "safety", "prohibitedcontent",  # Gemini
        "sensitivecontent", "sensitivewordsdetected", "sensitiveworddetected",  # gateways
        "guardrailintervened",  # Bedrock
    }
)  # fmt: skip
"""What an error calls itself, in small letters and digits: it can be nothing else."""
_OTHER_CODES = frozenset(
    {
        "contentfiltererror",  # Azure's filter did not work: nothing was filtered
        "unknownparameter", "unsupportedparameter", "unsupportedvalue", "invalidvalue",
        "modelnotfound", "invalidapikey", "insufficientquota", "accountdeactivated",
        "servererror", "ratelimiterror", "ratelimitexceeded", "overloadederror",
    }
)  # fmt: skip
"""Codes of other troubles, whatever the message speaks of."""
_WORDS = re.compile(
    r"content (?:management |usage )?policy|content ?policy ?violation|content[ _-]?filter"
    r"|safety (?:system|check|filter|polic|reasons)|safety_check_type"
    r"|(?:usage|acceptable use) polic|usage guidelines|violat\w* .{0,30}\bpolic"
    r"|\bflagged\b|requires moderation|content moderation|moderation (?:block|filter|system)"
    r"|blocked by .{0,30}(?:moderation|guardrail|filter)|guardrail (?:block|interven|violation)"
    r"|responsible ai|inappropriate content|data ?inspection|content exists risk"
    r"|considered high risk|(?:unsafe|sensitive) (?:or sensitive )?content|敏感内容"
    r"|prohibited[_ ]content|block_?reason",
    re.IGNORECASE,
)
"""What a message says of a block where the code is an ordinary one (DeepSeek, xAI, Anthropic)."""
_OTHER_WORDS = re.compile(
    r"\b(?:unknown|unsupported|unrecogni[sz]ed|unexpected|missing|invalid)"
    r" (?:request |query )?(?:parameter|argument|field|property|value)"
    r"|(?:\bnot|n't) support"
    r"|\b(?:account|organi[sz]ation|project|subscription|access)(?: \S+){0,3}"
    r" (?:is|was|been) (?:\w+ ){0,2}"
    r"(?:deactivated|suspended|terminated|disabled|banned|flagged|blocked|restricted)"
    r"|(?:filter\w*|moderation|system|service)(?: \w+){0,3} (?:down|unavailable|timed out)"
    r"|contents? (?:is|are|was|were) not filtered",
    re.IGNORECASE,
)
"""What a message says that speaks of filters and tells of another trouble."""
_MALFORMED = re.compile(
    r"\b(?:missing|required|schema|malformed|must be|expected|empty|too (?:long|large)"
    r"|invalid (?:\w+ ){0,3}(?:request|json|type|input))\b",
    re.IGNORECASE,
)
"""What `invalid_prompt` is about where it is not the content (OpenRouter, gateways)."""
_OF_OUTPUT = re.compile(r"\b(?:output|completion|generated)\b", re.IGNORECASE)
_OF_INPUT = re.compile(r"\b(?:input|prompt|request)\b", re.IGNORECASE)
_UNSAID = re.compile(r"unspecified$", re.IGNORECASE)


class Told(NamedTuple):
    """What one error says; a gateway's holds the provider's inside."""

    fields: dict[str, object]
    message: str

    @property
    def names(self) -> list[str]:
        """Its codes and types, as they are written: the most telling first."""
        inner = fields_of(self.fields.get("innererror"))
        found = (self.fields.get("code"), inner.get("code"), self.fields.get("type"))
        return [str(n) for n in found if isinstance(n, str | int) and str(n)]


def told_in(value: object) -> list[Told]:
    """What an error's payload says, whatever its shape; the outermost first."""
    if len(items := items_of(value)) == 1:  # Gemini sends a list of one
        value = items[0]
    whole = fields_of(value)
    error = whole.get("error") or value
    fields = fields_of(error)
    if not fields:  # words beside a code (xAI), or nothing but words
        return [Told(whole, _line(error or ""))]
    told = [Told(fields, _line(fields.get("message") or fields.get("detail") or ""))]
    raw: object = fields_of(fields.get("metadata")).get("raw")  # OpenRouter: the provider's own
    if isinstance(raw, str):
        try:
            raw = msgspec.json.decode(raw)
        except (msgspec.MsgspecError, RecursionError):
            told.append(Told({}, _line(raw)))
    return [*told, *(told_in(raw)[:1] if fields_of(raw) else [])]


def side_of_error(value: object, *, began: bool = False) -> Finish | None:
    """Which side an error says was blocked; None where its trouble is another one.

    Args:
        value: the payload, decoded.
        began: some text had come before.
    """
    told = [t for t in told_in(value) if _blocks(t)]
    if not told:
        return None
    return Finish.BLOCKED_ON_OUTPUT if began or _is_of_output(told[-1]) else Finish.BLOCKED_ON_INPUT


def _blocks(told: Told) -> bool:
    """Whether an error says that the content was the trouble."""
    names = {re.sub(r"[^a-z0-9]", "", name.lower()) for name in told.names}
    if names & _OTHER_CODES:
        return False
    flagged = fields_of(told.fields.get("metadata")).get("reasons")  # OpenRouter
    if names & _CODES or (isinstance(flagged, list) and flagged):
        return True
    if _OTHER_WORDS.search(told.message):
        return False
    if _WORDS.search(told.message):
        return True
    return "invalidprompt" in names and not _MALFORMED.search(told.message)


def _is_of_output(told: Told) -> bool:
    """Whether an error says that it was the model's text that was blocked."""
    marks = [fields_of(m) for m in items_of(told.fields.get("contentFilter"))]  # Z.ai
    sources = [fields_of(m) for m in items_of(told.fields.get("content_filters"))]  # Azure
    sides = {m.get("role") for m in marks}
    sides |= {m.get("source_type") for m in sources if m.get("blocked") is True}
    if sides:
        return not sides.isdisjoint({"assistant", "completion"})
    return bool(_OF_OUTPUT.search(told.message)) and not _OF_INPUT.search(told.message)


def side_of_notes(
    *,
    prompt: Iterable[object] = (),
    output: Iterable[object] = (),
    sources: object = None,
) -> Finish | None:
    """Which side the notes beside a reply say was blocked; None where they say of none.

    Args:
        prompt: notes on the prompt: Gemini's `promptFeedback`, Azure's `prompt_filter_results`.
        output: notes on a choice: Azure's `content_filter_results`, Gemini's `safetyRatings`.
        sources: Azure's `content_filters`, which name their side.
    """
    found = [fields_of(s) for s in items_of(sources)]
    sides = {s.get("source_type") for s in found if s.get("blocked") is True}
    if "prompt" in sides or any(_stops(note) for note in prompt):
        return Finish.BLOCKED_ON_INPUT
    if sides or any(_stops(note) for note in output):
        return Finish.BLOCKED_ON_OUTPUT
    return None


def _stops(note: object, depth: int = 4) -> bool:
    """Whether a filter's note says that it took something away.

    A filter that failed, or only detected something, took nothing away.
    """
    fields, items = fields_of(note), items_of(note)
    if not fields and not items:
        return False
    if fields.get("filtered") is True or fields.get("blocked") is True:
        return True
    reason = fields.get("blockReason") or fields.get("block_reason")
    if isinstance(reason, str) and reason and not _UNSAID.search(reason):
        return True
    return depth > 0 and any(_stops(n, depth - 1) for n in (*fields.values(), *items))


def choices_in(candidates: object) -> list[dict[str, object]]:
    """Gemini's candidates in the shape of choices, without what has an odd type."""
    choices: list[dict[str, object]] = []
    for fields in map(fields_of, items_of(candidates)):
        parts = items_of(fields_of(fields.get("content")).get("parts"))
        reason = fields.get("finishReason") or fields.get("finish_reason")
        message = {"content": parts} if parts else None
        choices.append(
            {
                "message": message,
                "finish_reason": reason if isinstance(reason, str) else None,
                "safety_ratings": fields.get("safetyRatings") or fields.get("safety_ratings"),
            }
        )
    return choices


def side_of_record(raw: object) -> Finish:
    """The side of a record that says no more than "blocked", from the payload kept with it."""
    fields = fields_of(raw)
    if fields.keys() & {"choices", "candidates", "content", "output", "answer"}:
        return Finish.BLOCKED_ON_OUTPUT
    told = side_of_error(raw) or side_of_notes(prompt=(raw,))
    rejected = fields.keys() & {"error", "code", "message", "detail"} or items_of(raw)
    return told or (Finish.BLOCKED_ON_INPUT if rejected else Finish.BLOCKED_ON_OUTPUT)


def fields_of(value: object) -> dict[str, object]:
    """A JSON object's fields; none where it is something else."""
    return cast("dict[str, object]", value) if isinstance(value, dict) else {}


def items_of(value: object) -> list[object]:
    """A JSON array's items; none where it is something else."""
    return cast("list[object]", value) if isinstance(value, list) else []


def _line(text: object) -> str:
    """The words on one line, and not too many of them."""
    return " ".join(str(text).split())[:300]
