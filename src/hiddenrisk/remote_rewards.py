"""Reward models whose weights are on the GPUs of a cluster's nodes.

Each worker is a process with a GPU of its own that opens the reward model as this machine
would. Texts go to whoever is free, a few hundred at a time; what a worker had when it died
goes to another one, and Ray starts it anew.
"""

import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import msgspec

from hiddenrisk.cluster.joining import Cluster, Library
from hiddenrisk.errors import HiddenRiskError, UsageError
from hiddenrisk.rewards import open_reward
from hiddenrisk.rewards.base import Item, NoScore, Scored, Unscored

Result = Scored | Unscored
_PIECE = 256
"""Texts that a worker is given at once; it sorts them by length and makes batches."""
_AHEAD = 2
"""Pieces that a worker has: one that it scores, and one that waits."""
_TRIES = 5
"""So often a piece may be lost with its worker: then it may be what kills it."""
_LOOK_EVERY_S = 0.5
_ALONE_S = 180.0
"""Without any worker one is waited for so long."""
_START_S = 1800.0
"""Eight billion weights may have to be fetched and loaded."""


class About(msgspec.Struct, frozen=True, kw_only=True):
    """What a worker has opened, or why it cannot."""

    problem: str = ""
    label: str = ""
    identity: dict[str, Any] = {}
    attributes: tuple[str, ...] = ()
    headline: str = "score"


class _Outcome(msgspec.Struct, frozen=True):
    """One of the two."""

    scored: Scored | None = None
    unscored: Unscored | None = None


_ABOUT = msgspec.json.Decoder(About)
_ITEMS = msgspec.json.Decoder(list[Item])
_OUTCOMES = msgspec.json.Decoder(list[_Outcome])


class RewardWorker:
    """Becomes an actor of Ray, which shows it the GPU that is its own."""

    def __init__(self, spec: str, batch_tokens: int) -> None:
        self._problem = ""
        try:
            self._reward = open_reward(spec, batch_tokens=batch_tokens)
        except HiddenRiskError as error:
            self._problem = str(error)

    def about(self) -> bytes:
        """An `About`."""
        if self._problem:
            return msgspec.json.encode(About(problem=self._problem))
        reward = self._reward
        return msgspec.json.encode(
            About(
                label=reward.label,
                identity=reward.identity,
                attributes=reward.attributes,
                headline=reward.headline,
            )
        )

    def score(self, items: bytes, identity: bytes) -> bytes:
        """A list of `_Outcome`; an `About` with its problem where it cannot score.

        Args:
            items: a list of `Item`.
            identity: what the run takes the reward model for. Another revision, or another
                type of weights, gives other scores, which must not stand under its name.
        """
        if self._problem:
            return self.about()
        if msgspec.json.encode(self._reward.identity) != identity:
            problem = "it has opened another revision, or with another type, than the first one"
            return msgspec.json.encode(About(problem=problem))
        try:
            found = list(self._reward.score(_ITEMS.decode(items)))
        except HiddenRiskError as error:
            return msgspec.json.encode(About(problem=str(error)))
        return msgspec.json.encode(
            [_Outcome(scored=r) if isinstance(r, Scored) else _Outcome(unscored=r) for r in found]
        )


class RemoteReward:
    """A reward model that the workers of a cluster have opened."""

    local = True

    def __init__(self, cluster: Cluster, spec: str, batch_tokens: int, workers: int | None) -> None:
        """Start the workers, and ask one what it has opened.

        Raises:
            UsageError: none comes up, or it cannot open the reward model.
        """
        size = workers or max(1, int(cluster.gpus))
        gpus = 1.0 if cluster.gpus else 0.0
        cpus = 0.0 if gpus else cluster.share(size)
        self._cluster = cluster
        self._workers = [
            cluster.actor(RewardWorker, spec, batch_tokens, cpus=cpus, gpus=gpus)
            for _ in range(size)
        ]
        about = self._first()
        if about.problem:
            raise UsageError(f"a worker of the cluster cannot begin: {about.problem}")
        self.label, self.identity = about.label, about.identity
        self.attributes, self.headline = about.attributes, about.headline

    def _first(self) -> About:
        """What the first worker that is up says."""
        asked = [self._cluster.reach(worker.about.remote) for worker in self._workers]
        up, _ = self._cluster.wait(asked, _START_S)
        if not up:
            raise UsageError(
                f"no worker came up within {_START_S:.0f} s: the cluster has no room for one; "
                "`ray status` shows what it has"
            )
        return _ABOUT.decode(self._cluster.get(up[0]))

    def score(self, items: Sequence[Item]) -> Iterator[Result]:
        """Score texts, each once, in the order in which workers finish.

        Raises:
            UsageError: a worker cannot load the weights, or texts are lost again and again.
        """
        identity = msgspec.json.encode(self.identity)
        desk = _Desk(items, self._workers, self._cluster.reach, identity)
        desk.hand_out()
        seen = time.monotonic()
        while desk.open:
            done, _ = self._cluster.wait(list(desk.asked), _LOOK_EVERY_S)
            for one in done:
                worker, piece = desk.asked.pop(one)
                try:
                    parcel = self._cluster.get(one)
                except self._cluster.gone as error:
                    yield from desk.lost(worker, piece, error)
                    continue
                seen = time.monotonic()
                if piece is None:
                    desk.down.discard(worker)
                else:
                    yield from _read(parcel)
            desk.hand_out()
            if time.monotonic() - seen > _ALONE_S and len(desk.down) == len(self._workers):
                raise UsageError(
                    "all workers of the cluster are lost; what was scored is kept, and the same "
                    "command resumes"
                )

    def close(self) -> None:
        """Let the workers go."""
        for worker in self._workers:
            self._cluster.end(worker)
        self._workers = []


class _Desk:
    """What is to be scored, who scores what, and who was lost."""

    def __init__(
        self,
        items: Sequence[Item],
        workers: Sequence[Library],
        ask: Callable[..., Library],
        identity: bytes,
    ) -> None:
        pieces = (items[i : i + _PIECE] for i in range(0, len(items), _PIECE))
        self._workers = workers
        self._ask = ask
        self._identity = identity
        self.waiting = deque(_Piece(piece) for piece in pieces)
        self.asked: dict[Library, tuple[Library, _Piece | None]] = {}
        """By Ray's reference: the worker, and its piece; None where it is asked if it is back."""
        self.down: set[Library] = set()

    @property
    def open(self) -> bool:
        """Whether a piece has no scores yet; a worker that never comes back keeps nobody."""
        return bool(self.waiting) or any(piece for _, piece in self.asked.values())

    def hand_out(self) -> None:
        """Give whoever is there the next pieces; a lost one's go to those that had no more, too."""
        has = Counter(worker for worker, _ in self.asked.values())
        for least in range(_AHEAD):
            for worker in self._workers:
                if self.waiting and worker not in self.down and has[worker] == least:
                    piece = self.waiting.popleft()
                    texts = msgspec.json.encode(piece.items)
                    asked = self._ask(worker.score.remote, texts, self._identity)
                    self.asked[asked] = worker, piece
                    has[worker] += 1

    def lost(
        self, worker: Library, piece: "_Piece | None", error: BaseException
    ) -> Iterator[Unscored]:
        """Have a lost worker's piece scored by another, and ask it until it is back.

        A piece that is lost again and again may be what kills workers, and is given up.
        """
        if piece is not None:
            piece.lost += 1
            if piece.lost < _TRIES:
                self.waiting.append(piece)
            else:
                yield from _given_up(piece.items, error)
        if worker not in self.down or piece is None:
            self.down.add(worker)
            time.sleep(_LOOK_EVERY_S)
            self.asked[self._ask(worker.about.remote)] = worker, None


class _Piece:
    """Texts that go to a worker together."""

    def __init__(self, items: Sequence[Item]) -> None:
        self.items = items
        self.lost = 0


def _read(parcel: bytes) -> Iterator[Result]:
    if parcel.startswith(b"{"):
        raise UsageError(f"a worker of the cluster cannot score: {_ABOUT.decode(parcel).problem}")
    for outcome in _OUTCOMES.decode(parcel):
        if (result := outcome.scored or outcome.unscored) is not None:
            yield result


def _given_up(items: Sequence[Item], error: BaseException) -> Iterator[Unscored]:
    said = str(error).strip().partition("\n")[0][:200]
    for item in items:
        message = f"its worker was lost {_TRIES} times ({said})"
        yield Unscored(item.key, NoScore.REQUEST_FAILED, message)
