"""What a run directory says was spent: each call's tokens, and who they were paid to.

Read from the records, so that a run that is resumed knows what it cost before. Where a
provider told no tokens, the record has an estimate (`tokens.with_estimate`), which is counted
as such. Records from before there were estimates are guessed at by the texts beside them.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from hiddenrisk.errors import StoreError
from hiddenrisk.prices import Price, Role, who
from hiddenrisk.store import FAILURES, RESPONSES, TURNS, VERDICTS, records, write_json
from hiddenrisk.tokens import FRAME, tokens_in, tokens_of
from hiddenrisk.types import Finish, Message, Part, Usage

PRICES, BUDGET = "prices.json", "budget.json"
_RUBRIC = 700
"""Tokens of a judge's instructions, where no record tells them: AIR-Bench's are 600 to 900."""
_IMPORTED = "imported"
TOLD = ("calls", "prompt_tokens", "completion_tokens", "reasoning_tokens")
_UNKNOWN = Price(input=1.0, output=1.0)


class Paid(NamedTuple):
    """What one record took."""

    sample: tuple[str, str, str, int]
    """Model, benchmark, prompt, repeat."""
    role: Role
    """Whom it was paid to."""
    label: str
    calls: int
    prompt_tokens: float
    completion_tokens: float
    estimated: tuple[float, float]
    """How many of the one, and of the other, no provider told."""
    latency_s: float


class _Sample(msgspec.Struct):
    model: str
    benchmark: str
    prompt: str
    repeat: int

    @property
    def place(self) -> tuple[str, str, str, int]:
        return self.model, self.benchmark, self.prompt, self.repeat


class _Response(_Sample, kw_only=True):
    key: str
    messages: list[Message]
    thinking: str | None
    answer: str | None
    finish: Finish
    usage: Usage
    provider: str = ""
    latency_s: float = 0.0
    dialogue: list[Message] | None = None


class _Said(msgspec.Struct):
    thinking: str | None = None
    answer: str | None = None


class _Turn(_Sample, kw_only=True):
    asked: Role
    label: str
    role: str
    reply: _Said
    usage: Usage = Usage()
    calls: int = 1
    latency_s: float = 0.0


class _Verdict(_Sample, kw_only=True):
    response: str
    judge: str
    part: Part
    raw: str = ""
    usage: Usage = Usage()
    calls: int = 1
    latency_s: float = 0.0


class _Failure(_Sample, kw_only=True):
    judge: str | None = None
    part: Part | None = None
    response: str | None = None
    raw: str = ""
    usage: Usage = Usage()
    calls: int = 0


class _Texts(NamedTuple):
    """Estimated tokens of a response's texts."""

    prompt: float
    answer: float
    thinking: float

    def read(self, part: Part | None) -> float:
        """What a judge was sent of it, with its instructions."""
        said = self.thinking if part is Part.THINKING else self.answer
        return FRAME + _RUBRIC + self.prompt + said


_NOTHING = _Texts(0.0, 0.0, 0.0)


def read_paid(folder: Path) -> Iterator[Paid]:
    """What each record of a run took, one at a time; nobody is paid for what was imported.

    Raises:
        StoreError: a line is no record.
    """
    texts: dict[str, _Texts] = {}
    for response in records(folder / RESPONSES, _Response):
        asked = tokens_in(response.messages)
        answer, thinking = tokens_of(response.answer), tokens_of(response.thinking)
        if response.dialogue is not None:  # what it took stands in its turns
            answer = sum(tokens_of(message.content) for message in response.dialogue)
        elif response.provider != _IMPORTED:
            # Nobody bills a request that was rejected, unless the provider says so.
            took = 0.0 if response.finish is Finish.BLOCKED_ON_INPUT else asked
            yield _paid(
                response.place, "model", response.model, 1, response.usage,
                (took, answer + thinking), response.latency_s,
            )  # fmt: skip
        texts[response.key] = _Texts(asked, answer, thinking)
    sent: Counter[tuple[str, str, str, int]] = Counter()
    for turn in records(folder / TURNS, _Turn):
        said = tokens_of(turn.reply.answer) + tokens_of(turn.reply.thinking)
        # What a later turn was sent is what was said before, and the prompt that is not here.
        asked = FRAME + _RUBRIC + float(sent[turn.place])
        sent[turn.place] += round(said)
        yield _paid(
            turn.place, turn.asked, turn.label, turn.calls, turn.usage, (asked, said),
            turn.latency_s,
        )  # fmt: skip
    for verdict in records(folder / VERDICTS, _Verdict):
        if verdict.calls:
            sides = texts.get(verdict.response, _NOTHING).read(verdict.part), tokens_of(verdict.raw)
            yield _paid(
                verdict.place, "judge", verdict.judge, verdict.calls, verdict.usage, sides,
                verdict.latency_s,
            )  # fmt: skip
    for failure in records(folder / FAILURES, _Failure):
        if failure.judge and failure.calls:
            read = texts.get(failure.response or "", _NOTHING).read(failure.part)
            sides = read, tokens_of(failure.raw)
            yield _paid(
                failure.place, "judge", failure.judge, failure.calls, failure.usage, sides, 0.0
            )


def _paid(
    place: tuple[str, str, str, int],
    role: Role,
    label: str,
    calls: int,
    usage: Usage,
    texts: tuple[float, float],
    latency_s: float,
) -> Paid:
    """A record's tokens: as told, with those estimated; else as its texts have them, per call."""
    told = usage.prompt_tokens or 0, usage.completion_tokens or 0
    guess = usage.estimated or (
        0.0 if told[0] else texts[0] * max(1, calls),
        0.0 if told[1] else texts[1],
    )
    return Paid(place, role, label, calls, told[0] + guess[0], told[1] + guess[1], guess, latency_s)


# ---------------------------------------------------------------- what it cost


def keep_prices(
    folder: Path, told: Mapping[str, Price | None], known: Mapping[str, Price | None]
) -> None:
    """Note what each model and judge costs; what was noted before stays, but for the user's word.

    Args:
        folder: the run directory.
        told: the prices that the user names now, by the names in `usage`.
        known: all prices that are known now.

    Raises:
        StoreError: the disk is full, or the file is none of ours.
    """
    write_json(folder / PRICES, _there(known) | read_prices(folder) | _there(told))


def _there(prices: Mapping[str, Price | None]) -> dict[str, Price]:
    return {name: price for name, price in prices.items() if price is not None}


def read_prices(folder: Path) -> dict[str, Price]:
    """The prices by which a run counts its money, by the names in its `usage`.

    Raises:
        StoreError: the file is none of ours.
    """
    path = folder / PRICES
    if not path.is_file():
        return {}
    try:
        return msgspec.json.decode(path.read_bytes(), type=dict[str, Price])
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise StoreError(f"{path} holds no prices ({error}); move it away") from error


def keep_budget(folder: Path, told: Mapping[str, Any] | None) -> None:
    """Note the budget that a run was carried out under last, so that it is counted again alike.

    Raises:
        StoreError: the disk is full.
    """
    if told is not None:
        write_json(folder / BUDGET, told)
    elif (folder / BUDGET).is_file():
        (folder / BUDGET).unlink()


def read_budget(folder: Path) -> dict[str, Any] | None:
    """That budget, and what was spent of it; None without one.

    Raises:
        StoreError: the file is none of ours.
    """
    path = folder / BUDGET
    if not path.is_file():
        return None
    try:
        return msgspec.json.decode(path.read_bytes(), type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise StoreError(f"{path} holds no budget ({error}); move it away") from error


def usage_json(
    usage: Mapping[tuple[Role, str], Counter[str]],
    known: Mapping[str, Price | None],
    folder: Path,
) -> dict[str, dict[str, Any]]:
    """The tokens of a run by whom they were paid to, with what that cost.

    `cost_usd` is null where the price is unknown. Calls whose provider told no tokens are
    `unmetered`; where they may have cost money, their tokens are estimated.
    """
    prices = _there(known) | read_prices(folder)
    unmetered = {
        key
        for key, count in usage.items()
        if count["unmetered"] and (prices.get(who(*key)) or _UNKNOWN).costs
    }
    guessed = _estimated(folder) if unmetered else {}
    found: dict[str, dict[str, Any]] = {}
    for (role, label), count in sorted(usage.items()):
        price = prices.get(who(role, label))
        guess = guessed.get((role, label)) if (role, label) in unmetered else None
        paid = [count[name] + (guess[name] if guess else 0) for name in TOLD[1:3]]
        cost = 0.0 if not count["calls"] else price.usd(*paid) if price else None
        found[who(role, label)] = {
            "role": role,
            **{name: count.get(name) for name in TOLD},
            "unmetered": count["unmetered"],
            "estimated": {name: round(guess[name]) for name in TOLD[1:3]} if guess else None,
            "cost_usd": None if cost is None else round(cost, 6),
            "price": msgspec.to_builtins(price) if price else None,
        }
    return found


def cost_of(usage: Mapping[str, Mapping[str, Any]]) -> tuple[float, list[str]]:
    """What a summary's `usage` adds up to in USD, and whose price is unknown."""
    unknown = [name for name, used in usage.items() if used["cost_usd"] is None]
    return sum(used["cost_usd"] or 0.0 for used in usage.values()), unknown


def _estimated(folder: Path) -> dict[tuple[Role, str], dict[str, float]]:
    """The tokens that nobody told, by whom they were paid to."""
    sums: dict[tuple[Role, str], dict[str, float]] = defaultdict(
        lambda: dict.fromkeys(TOLD[1:3], 0.0)
    )
    for paid in read_paid(folder):
        for name, count in zip(TOLD[1:3], paid.estimated, strict=True):
            sums[paid.role, paid.label][name] += count
    return sums
