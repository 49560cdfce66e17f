"""A limit on what a run may spend, in USD or tokens: no sample is begun that may pass it.

Every sample sets aside what one like it took so far, from its first call to its last. A new
one has to fit into what is left; while others are in flight it waits for what they really
take, and when none is, the run stops. So a limit is passed by no more than what the last
samples took beyond their like. What the first sample of a model takes nobody knows: it goes
alone. Calls that were dropped half-way (kill -9, a broken connection) cost money that nobody
reports, and are not in the count.
"""

import asyncio
from collections import defaultdict
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from contextvars import ContextVar
from typing import NamedTuple

import msgspec

from hiddenrisk.prices import FREE, Price
from hiddenrisk.spending import Paid
from hiddenrisk.types import Reply, Usage


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """How much may be spent; None for no limit."""

    usd: float | None = None
    tokens: int | None = None

    @property
    def some(self) -> bool:
        """Whether there is one at all."""
        return self.usd is not None or self.tokens is not None


class Cost(NamedTuple):
    """Money and tokens."""

    usd: float = 0.0
    tokens: float = 0.0

    def and_(self, other: "Cost") -> "Cost":
        """Both together."""
        return Cost(self.usd + other.usd, self.tokens + other.tokens)

    def less(self, other: "Cost") -> "Cost":
        """What is left of it, at least nothing."""
        return Cost(max(0.0, self.usd - other.usd), max(0.0, self.tokens - other.tokens))


class _Known:
    """What samples of one kind took."""

    def __init__(self) -> None:
        self.count = 0
        self.total = Cost()

    @property
    def mean(self) -> Cost:
        return Cost(self.total.usd / self.count, self.total.tokens / self.count)


class _Sample:
    """A sample on its way."""

    def __init__(self, model: str, benchmark: str) -> None:
        self.kinds = ((model, benchmark), (model, ""), ("", ""))
        """From near to far."""
        self.begun = False
        self.aside = Cost()
        self.took = Cost()


_SAMPLE: ContextVar[_Sample | None] = ContextVar("sample", default=None)


class Purse:
    """What may be spent, and what is set aside for samples in flight."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.spent = Cost()
        self.empty = False
        """Whether a sample was not begun because it might pass the limit."""
        self._flying: set[_Sample] = set()
        self._known: dict[tuple[str, str], _Known] = defaultdict(_Known)
        self._changed = asyncio.Event()
        self._stop = asyncio.Event()

    def open(self, stop: asyncio.Event) -> None:
        """Get ready for a run that this event stops."""
        self._changed, self._stop = asyncio.Event(), stop

    def remember(self, paid: Iterable[tuple[Paid, Price | None]]) -> None:
        """Count what earlier parts of the run took, each with its price; learn from it."""
        took: dict[tuple[str, str, str, int], Cost] = defaultdict(Cost)
        for one, price in paid:
            cost = _cost(price, one.prompt_tokens, one.completion_tokens)
            took[one.sample] = took[one.sample].and_(cost)
        for (model, benchmark, _, _), cost in took.items():
            self.spent = self.spent.and_(cost)
            self._learn(_Sample(model, benchmark), cost)

    @contextmanager
    def sample(self, model: str, benchmark: str) -> Generator[None]:
        """While a sample is worked on: all calls made inside it are its."""
        sample = _Sample(model, benchmark)
        token = _SAMPLE.set(sample)
        try:
            yield
            if sample.begun:
                self._learn(sample, sample.took)
        finally:
            _SAMPLE.reset(token)
            self._flying.discard(sample)
            self._changed.set()

    async def admit(self) -> None:
        """Let a sample make its first call, if it fits into what is left; later ones pass.

        Raises:
            CancelledError: it does not, and the run stops.
        """
        sample = _SAMPLE.get()
        if sample is None or sample.begun:
            return
        while not (fits := self._fits(sample)) or self._stop.is_set():
            if not (fits or self._flying):
                self.empty = True
                self._stop.set()
            if self._stop.is_set():
                raise asyncio.CancelledError
            self._changed.clear()
            await self._changed.wait()
        sample.begun = True
        self._flying.add(sample)

    def pay(self, price: Price | None, usage: Usage) -> None:
        """Count a call that came back."""
        guess = usage.estimated or (0, 0)
        asked, said = (usage.prompt_tokens or 0), (usage.completion_tokens or 0)
        cost = _cost(price, asked + guess[0], said + guess[1])
        self.spent = self.spent.and_(cost)
        if (sample := _SAMPLE.get()) is not None:
            sample.took = sample.took.and_(cost)

    @property
    def told(self) -> dict[str, float | int | bool | None]:
        """As summary.json has it."""
        return {
            "usd": self.limits.usd,
            "tokens": self.limits.tokens,
            "spent_usd": round(self.spent.usd, 6),
            "spent_tokens": round(self.spent.tokens),
            "reached": self.empty,
        }

    def _fits(self, sample: _Sample) -> bool:
        """Whether what it is expected to take is left, beside what is set aside for others.

        Like it are samples of the same model and benchmark, else of the model, else all. Of a
        model of which nothing is known one goes at a time; the first of all goes alone.
        """
        alike = [kind for kind in sample.kinds if kind in self._known]
        new = sample.kinds[1] not in self._known
        if new and any(other.kinds[1] == sample.kinds[1] for other in self._flying):
            return False
        if not alike:
            return not self._flying and self._within(self.spent)
        sample.aside = self._known[alike[0]].mean
        aside = sample.aside
        for other in self._flying:
            aside = aside.and_(other.aside.less(other.took))
        return self._within(self.spent) and self._within(self.spent.and_(aside), full=True)

    def _within(self, cost: Cost, *, full: bool = False) -> bool:
        """Whether a cost is below the limits, or (`full`) at most as high."""
        pairs = zip(cost, (self.limits.usd, self.limits.tokens), strict=True)
        return all(m is None or (took <= m if full else took < m) for took, m in pairs)

    def _learn(self, sample: _Sample, cost: Cost) -> None:
        for kind in sample.kinds:
            self._known[kind].count += 1
            self._known[kind].total = self._known[kind].total.and_(cost)


class Meter(NamedTuple):
    """What an endpoint reports its calls to."""

    purse: Purse
    price: Price | None

    async def before(self) -> None:
        """See that a call may be made; see `Purse.admit`."""
        await self.purse.admit()

    def after(self, reply: Reply) -> None:
        """Count a call."""
        self.purse.pay(self.price, reply.usage)


def _cost(price: Price | None, asked: float, said: float) -> Cost:
    return Cost((price or FREE).usd(asked, said), asked + said)
