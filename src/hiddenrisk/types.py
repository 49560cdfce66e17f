"""The records: what is sent, what comes back, and what a judge says of it.

Frozen, typed, and written to disk as they stand (one JSON object a line). This
module imports nothing of ours; everything else imports it.
"""

from collections.abc import Awaitable
from enum import StrEnum
from typing import Any, Literal, Protocol

import msgspec

Label = Literal["safe", "unsafe"]
"""Of a prompt: a good model helps, or it declines."""


Drawn = Literal["disputed", "random", "all"]
"""Which texts a label sheet has: those that judges left open, a random sample, or all."""
UNSURE = "unsure"
"""The label of a person who cannot tell."""


class Part(StrEnum):
    """The part of a response that a judge reads."""

    ANSWER = "answer"
    THINKING = "thinking"


class Finish(StrEnum):
    """How a response ended. Compare members with `is`: each is true in an `if`."""

    COMPLETE = "complete"
    REFUSED = "refused"
    """The provider marks the answer as the model's refusal. A refusal in plain words, which
    nobody marks, is complete: what it is, the judge says."""
    BLOCKED_ON_INPUT = "blocked_on_input"
    """The provider rejected the request for its content; nothing was generated."""
    BLOCKED_ON_OUTPUT = "blocked_on_output"
    """A filter withheld or stopped what the model wrote; what came before it is kept."""
    EMPTY = "empty"
    CUT_IN_THINKING = "cut_in_thinking"
    """Stopped inside the thinking: there is a thought and no (finished) answer."""
    CUT_IN_ANSWER = "cut_in_answer"

    @property
    def scored(self) -> bool:
        """Whether a response that ended so is in the headline, once it is judged."""
        return self in SCORED

    @property
    def blocked(self) -> bool:
        """Whether a provider's filter took the answer away, on either side."""
        return self in BLOCKED

    @classmethod
    def _missing_(cls, value: object) -> "Finish | None":
        # Records from before the two sides were told apart.
        return cls.BLOCKED_ON_OUTPUT if value == "blocked" else None


SCORED = frozenset({Finish.COMPLETE, Finish.REFUSED})
"""There is a whole answer, which a judge can read and the headline counts."""
THOUGHT_THROUGH = SCORED | {Finish.CUT_IN_ANSWER, Finish.EMPTY}
"""A thought, if there is one, is whole."""
BLOCKED = frozenset({Finish.BLOCKED_ON_INPUT, Finish.BLOCKED_ON_OUTPUT})


class Visibility(StrEnum):
    """What can be seen of the thinking. What is not shown as it is, is never safe."""

    VISIBLE = "visible"
    EMPTY = "empty"
    """A thinking block was there, with nothing in it."""
    HIDDEN = "hidden"
    """The model thought (the provider bills for it) and the provider shows none of it."""
    SUMMARISED = "summarised"
    """What is shown is the provider's summary of the thinking, not the thinking."""
    REDACTED = "redacted"
    """A part of the thinking is withheld: what is shown is kept, and not judged without it."""
    NONE = "none"

    @property
    def unseen(self) -> bool:
        """Whether there is thinking that a judge cannot read as it was, whole."""
        return self in {Visibility.HIDDEN, Visibility.SUMMARISED, Visibility.REDACTED}


class Message(msgspec.Struct, frozen=True):
    """One turn of a conversation."""

    role: str
    content: str


class Prompt(msgspec.Struct, frozen=True, kw_only=True):
    """What is sent to a model, with the benchmark's own labels."""

    id: str
    """Unique in its benchmark and stable between runs."""
    messages: tuple[Message, ...]
    benchmark: str
    category: tuple[str, ...] = ()
    """Path from coarse to fine, for example ("Security Risks", "Integrity", "Malware")."""
    label: Label = "unsafe"
    """Whether a good model helps ("safe") or declines ("unsafe")."""
    meta: dict[str, str] = {}
    """Upstream labels, kept as they are (for example AIR-Bench's `cate-idx`)."""

    @property
    def text(self) -> str:
        """The user's side of the conversation, as a judge is shown it."""
        return "\n\n".join(m.content for m in self.messages if m.role == "user")


class Sampling(msgspec.Struct, frozen=True, kw_only=True):
    """What decides a generation beside the messages; part of every call's key."""

    temperature: float | None = None
    """None leaves it to the provider."""
    max_tokens: int | None = None
    """Upper bound in tokens, thinking included; None leaves it to the provider."""


class Usage(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Tokens as the provider counts them; None where it does not say."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    reasoning_tokens: int | None = None
    estimated: tuple[int, int] | None = None
    """Tokens in and out that no provider told, by the characters of the texts: `tokens`."""


def both(one: Usage, other: Usage) -> Usage:
    """The tokens of two calls together; None stays None only where neither is known."""
    guesses = [usage.estimated for usage in (one, other) if usage.estimated]
    return Usage(
        prompt_tokens=_sum(one.prompt_tokens, other.prompt_tokens),
        completion_tokens=_sum(one.completion_tokens, other.completion_tokens),
        reasoning_tokens=_sum(one.reasoning_tokens, other.reasoning_tokens),
        estimated=(sum(g[0] for g in guesses), sum(g[1] for g in guesses)) if guesses else None,
    )


def _sum(one: int | None, other: int | None) -> int | None:
    return other if one is None else one if other is None else one + other


class Reply(msgspec.Struct, frozen=True, kw_only=True):
    """What a model gave back for one call, thinking and answer apart."""

    thinking: str | None
    answer: str | None
    finish: Finish
    visibility: Visibility
    style: str
    """How the thinking came: "field", "tags", "prefilled" (only the closing tag), "channels"
    (Harmony) or "none"."""
    usage: Usage = Usage()
    served_model: str | None = None
    fingerprint: str | None = None
    raw: msgspec.Raw = msgspec.Raw(b"null")
    """The provider's payload, as JSON, unchanged in content."""


class Response(msgspec.Struct, frozen=True, kw_only=True):
    """A finished generation on disk. `key` is the digest of all that decides it."""

    key: str
    model: str
    benchmark: str
    prompt: str
    """The prompt's id."""
    repeat: int
    category: tuple[str, ...]
    label: Label
    messages: tuple[Message, ...]
    thinking: str | None
    answer: str | None
    finish: Finish
    visibility: Visibility
    style: str
    usage: Usage
    provider: str
    served_model: str | None
    fingerprint: str | None
    latency_s: float
    tries: int
    at: str
    """When it was had, ISO 8601, UTC."""
    raw: msgspec.Raw
    dialogue: tuple[Message, ...] | None = None
    """Who said what, where the model talked with another one; `answer` is its first message,
    and what the calls took stands in their turns."""
    meta: dict[str, str] = {}
    """What a dialogue found out, for example whether the other side gave in."""

    def part(self, part: Part) -> str | None:
        """The text of one part, or None where there is none to read."""
        return self.answer if part is Part.ANSWER else self.thinking


class Reason(StrEnum):
    """Why a call or a judgement could not be had."""

    REQUEST_FAILED = "request_failed"
    """No usable response after the allowed tries, or the request was rejected."""
    NO_RECORDING = "no_recording"
    VICTIM_FAILED = "victim_failed"
    """The model on the other side of a dialogue, or the one that checks it, could not be had."""
    JUDGE_REQUEST_FAILED = "judge_request_failed"
    JUDGE_REFUSED = "judge_refused"
    JUDGE_BLOCKED = "judge_blocked"
    JUDGE_UNPARSABLE = "judge_unparsable"
    JUDGE_OUT_OF_RANGE = "judge_out_of_range"


class Opinion(msgspec.Struct, frozen=True, kw_only=True):
    """What a judge made of one text, before it is filed as a `Verdict`."""

    label: str
    score: float
    """Safety in [0, 1]: 1 is safe (for XSTest's safe half: 1 is refused)."""
    reason: str = ""
    raw: str = ""
    grades: dict[str, float] = {}
    """What is measured beside safety, each on the benchmark's own scale."""
    problem: str = ""
    """Why the grades could not be had; safety does not hang on them."""
    problem_reason: Reason | None = None


class Turn(msgspec.Struct, frozen=True, kw_only=True):
    """A call on the way to a response or a verdict, kept so that it is never made again."""

    key: str
    """Digest of all that decides the call."""
    asked: Literal["model", "judge", "victim"]
    """Whose tokens these are."""
    label: str
    """Of the model that was asked."""
    role: str
    """What it was asked as: "attacker", "victim", "check", "expander", "grade"."""
    model: str
    """The label of the model under test."""
    benchmark: str
    prompt: str
    repeat: int
    reply: Reply
    problem: str = ""
    """Why the reply could not be used, where the talk went on without it."""
    usage: Usage = Usage()
    """Of all calls that the step took, unusable replies too."""
    calls: int = 1
    latency_s: float = 0.0
    tries: int = 1
    at: str = ""


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """A judge's word on one part of one response."""

    key: str
    response: str
    """The response's key."""
    model: str
    benchmark: str
    prompt: str
    repeat: int
    judge: str
    part: Part
    label: str
    score: float
    reason: str
    raw: str
    grades: dict[str, float] = {}
    complete: bool = True
    """False where the grades could not be had: they are asked for again on resuming."""
    usage: Usage = Usage()
    """Of the last step, unusable replies too; steps before it are turns."""
    calls: int = 1
    """Of the last step; 0 where rules decided."""
    latency_s: float = 0.0
    tries: int = 1
    at: str = ""
    instead_of: str | None = None
    """The judge that could give no verdict, where `judge` is a fallback and took its place."""


class Reward(msgspec.Struct, frozen=True, kw_only=True):
    """What a reward model gives one part of one response."""

    key: str
    response: str
    """The response's key."""
    model: str
    benchmark: str
    prompt: str
    repeat: int
    part: Part
    reward: str
    """The reward model's label."""
    score: float | None
    """None where there is none, which is tried again when the run is scored again."""
    reason: str = ""
    """Why there is none; see `rewards.base.NoScore`."""
    message: str = ""
    attributes: dict[str, float] = {}
    quantiles: tuple[float, ...] = ()
    """Of the score, where the model gives a distribution."""
    tokens: int = 0
    """Of prompt and text, as the model read them; 0 where nobody said."""
    cut: bool = False
    """Whether the text was longer than the model's window."""
    length: int = 0
    """Characters of the text."""
    at: str = ""


class HumanLabel(msgspec.Struct, frozen=True, kw_only=True):
    """A person's word on one part of one response."""

    response: str
    """The response's key."""
    part: Part
    label: str
    """"safe" or "unsafe" on a harmful prompt, "refused" or "helped" on a harmless one, or
    "unsure"."""
    score: float | None
    """The label as a judge's score (1 is safe, or refused); None where the person is unsure."""
    who: str
    sheet: str
    """The label sheet, which says how the texts on it were drawn."""
    drawn: Drawn
    probability: float
    """Of each text that could be drawn to be on the sheet, in (0, 1]."""
    at: str = ""


class SheetItem(msgspec.Struct, frozen=True):
    """A text on a label sheet."""

    id: str
    response: str
    part: Part
    prompt_label: Label


class Sheet(msgspec.Struct, frozen=True, kw_only=True):
    """A label sheet that was exported: what is on it, and how that was drawn."""

    sheet: str
    drawn: Drawn
    seed: int
    of: int
    """How many texts could have been drawn."""
    probability: float
    band: tuple[float, float] | None = None
    """Probabilities of "unsafe" that counted as disputed."""
    items: tuple[SheetItem, ...]
    """In the order of the sheet."""
    at: str = ""


class Noticed(msgspec.Struct, frozen=True, kw_only=True):
    """What a thought is aware of: the first steps of safety thinking."""

    key: str
    response: str
    """The response's key."""
    model: str
    benchmark: str
    prompt: str
    repeat: int
    judge: str
    risk_noticed: bool
    refusal_intended: bool
    at: str = ""


class Profile(msgspec.Struct, frozen=True, kw_only=True):
    """How safe a thought is from its beginning to its end, segment by segment."""

    key: str
    response: str
    model: str
    benchmark: str
    prompt: str
    repeat: int
    judge: str
    ends: tuple[int, ...]
    """Where each segment ends, in characters of the thinking; the first begins at 0."""
    scores: tuple[float, ...]
    """Safety of each segment in [0, 1], as the judge's rubric has it. A thought of which one
    could not be had has no profile."""
    at: str = ""


class Failure(msgspec.Struct, frozen=True, kw_only=True):
    """A call or a judgement that could not be had. Never a score."""

    key: str
    stage: Literal["generate", "judge", "awareness", "profile"]
    reason: Reason
    message: str
    model: str
    benchmark: str
    prompt: str
    repeat: int
    category: tuple[str, ...]
    label: Label
    judge: str | None = None
    part: Part | None = None
    response: str | None = None
    tries: int = 1
    usage: Usage = Usage()
    """Of the judge's unusable replies."""
    calls: int = 0
    """How many those are."""
    raw: str = ""
    at: str = ""


class Estimate(msgspec.Struct, frozen=True, kw_only=True):
    """A number with its interval and denominator; all None where n is 0."""

    value: float | None
    low: float | None
    high: float | None
    n: int


class Source(msgspec.Struct, frozen=True, kw_only=True):
    """One upstream file, pinned."""

    name: str
    """Path under a data directory, for example "air-bench-2024/air_2024.csv"."""
    url: str
    sha256: str | None
    """None where the publisher's file could not be digested yet: always unverified."""
    licence: str
    paper: str
    size: int | None = None
    """In bytes, where it is known."""
    gated: str | None = None
    """Where the publisher's terms are accepted, for a file that is not open to all."""
    mirrors: tuple[str, ...] = ()
    """Other names that a data directory may have it under."""


class Schema(msgspec.Struct, frozen=True):
    """The JSON that a reply shall be, where the endpoint can make it so."""

    name: str
    schema: dict[str, Any]
    """A JSON schema of an object."""


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """One request to a model."""

    messages: tuple[Message, ...]
    sampling: Sampling
    prompt: str
    """The prompt's id (recordings are looked up by it)."""
    repeat: int = 0
    schema: Schema | None = None
    """Asked for as `response_format`; left out where the endpoint does not take it."""
    logprobs: int = 0
    """So many likeliest tokens are asked for at each place of the reply; 0 for none."""
    template: dict[str, str] = {}
    """What the server's chat template is rendered with beside the messages."""


class Model(Protocol):
    """Anything that answers: an endpoint, an embedded model, a recording, a fake."""

    label: str
    """The name in tables; the user's `label=` or the model id."""
    provider: str
    identity: dict[str, Any]
    """Everything about the model that decides its output; goes into keys, never a secret."""
    local: bool
    """True where a call leaves neither the machine nor a bill."""
    prefilled: bool
    """The chat template opens the thought: texts start inside it. Declared, or learnt."""

    def generate(self, call: Call) -> Awaitable[Reply]:
        """Answer once, without retrying.

        Raises:
            CallError: no usable reply; says whether another try may heal it.
        """
        ...

    async def start(self) -> None:
        """Take the resources that calls need (a session, a server)."""
        ...

    async def close(self) -> None:
        """Give them back."""
        ...
