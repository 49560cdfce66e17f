"""Who scores which texts, when workers are lost: on a stand-in for Ray that answers at once."""

from collections.abc import Callable

import msgspec
import pytest

from hiddenrisk import remote_rewards
from hiddenrisk.remote_rewards import About, RemoteReward
from hiddenrisk.rewards.base import Item, Scored

ITEMS = [Item(f"t{i}", (), "No.") for i in range(500)]


class Gone(Exception):  # noqa: N818 - a condition
    """What a lost worker's methods raise."""


class Asked:
    """Ray's reference to what is asked; nothing comes of it while `held`."""

    def __init__(self, answer: Callable[[], bytes], *, held: bool = False) -> None:
        self.answer = answer
        self.held = held


class Method:
    def __init__(self, ask: Callable[..., Asked]) -> None:
        self.remote = ask


class Actor:
    """A worker; `dies` with the first texts it is given, and never comes back."""

    def __init__(self, *, dies: bool) -> None:
        self._dies = dies
        self._gone = False
        self.about = Method(lambda: Asked(self._about, held=self._gone))
        self.score = Method(self._asked)

    def _asked(self, items: bytes, identity: bytes) -> Asked:
        assert identity == b"{}", "what the first worker has opened"
        return Asked(lambda: self._score(items))

    def _about(self) -> bytes:
        return msgspec.json.encode(About(label="rm"))

    def _score(self, items: bytes) -> bytes:
        self._gone = self._gone or self._dies
        if self._gone:
            raise Gone
        keys = [item.key for item in msgspec.json.decode(items, type=list[Item])]
        scores = [Scored(key=k, score=1.0, attributes={}, tokens=None, cut=False) for k in keys]
        return msgspec.json.encode([{"scored": one} for one in scores])


class Cluster:
    """Workers of which the second one dies; the others are done before that is known."""

    gone = (Gone,)
    gpus = 0.0

    def __init__(self) -> None:
        self.actors: list[Actor] = []

    def share(self, workers: int) -> float:
        return 1.0 / workers

    def actor(self, *_: object, **__: object) -> Actor:
        self.actors.append(Actor(dies=len(self.actors) == 1))
        return self.actors[-1]

    def wait(self, asked: list[Asked], timeout_s: float) -> tuple[list[Asked], list[Asked]]:
        there = [one for one in asked if not one.held]
        if not there:
            raise AssertionError("nobody has anything to do, and texts wait")
        return there[:1], asked

    def get(self, done: Asked) -> bytes:
        return done.answer()

    def reach(self, ask: Callable[..., Asked], *given: object) -> Asked:
        return ask(*given)

    def end(self, actor: Actor) -> None: ...


def test_texts_of_a_worker_that_never_comes_back_go_to_one_that_had_no_more_to_do(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(remote_rewards, "_LOOK_EVERY_S", 0.0)
    reward = RemoteReward(Cluster(), "rm", 1000, 2)  # pyright: ignore[reportArgumentType] - stands in
    found = list(reward.score(ITEMS))
    assert sorted(one.key for one in found) == sorted(item.key for item in ITEMS)
    assert all(isinstance(one, Scored) for one in found)


def test_a_worker_that_opened_another_model_gives_no_scores_under_its_name() -> None:
    worker = remote_rewards.RewardWorker("http://127.0.0.1:9#rm?api=classify", 4096)
    about = msgspec.json.decode(worker.about(), type=About)
    texts = msgspec.json.encode([Item("t", (), " ")])
    same = worker.score(texts, msgspec.json.encode(about.identity))
    assert b"empty_text" in same
    other = worker.score(texts, msgspec.json.encode(about.identity | {"dtype": "bfloat16"}))
    assert "another revision" in msgspec.json.decode(other, type=About).problem
    nobody = remote_rewards.RewardWorker("nobody", 4096)
    assert msgspec.json.decode(nobody.score(texts, b"{}"), type=About).problem
