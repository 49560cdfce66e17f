"""Reward models behind endpoints: real servers on loopback that speak the three APIs."""

import asyncio
import json
import threading
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from hiddenrisk.engine import Policy
from hiddenrisk.errors import UsageError
from hiddenrisk.models.spec import parse
from hiddenrisk.rewards import Item, NoScore, Scored, Unscored, open_reward
from hiddenrisk.rewards.http import HttpReward, open_http
from hiddenrisk.types import Message
from tests.native import KEY, Said, Seen, serving, whole

Body = dict[str, Any]
Result = Scored | Unscored
ASKED = (Message("system", "Be kind."), Message("user", "How do I bake bread?"))
QUICK = Policy(tries=3, backoff_s=0.01, retry_after_max_s=5)


def items(*texts: str) -> list[Item]:
    return [Item(f"k{i}", ASKED, text) for i, text in enumerate(texts)]


def scored(
    api: str,
    says: Callable[[Body], Said],
    asked: Sequence[Item],
    *,
    base: str = "",
    policy: Policy = QUICK,
) -> tuple[dict[str, Result], Seen]:
    """Score behind a server that answers each body; results by key."""

    async def run() -> tuple[dict[str, Result], Seen]:
        shown: list[Seen] = []
        async with serving(lambda n: says(shown[0].bodies[n - 1])) as (port, seen):
            shown.append(seen)
            spec = parse(f"http://127.0.0.1:{port}{base}#org/rm?api={api}")
            model = HttpReward(spec, api, policy)
            found = await asyncio.to_thread(lambda: list(model.score(asked)))
        assert sorted(r.key for r in found) == sorted(i.key for i in asked)
        return {r.key: r for r in found}, seen

    return asyncio.run(run())


def length(body: Body) -> float:
    """A score that tells texts apart: the length of the last turn."""
    return float(len(body["messages"][-1]["content"]))


def classified(*values: object, tokens: int | None = None) -> Said:
    row = {"index": 0, "label": "LABEL_0", "probs": list(values), "num_classes": len(values)}
    usage = {} if tokens is None else {"usage": {"prompt_tokens": tokens}}
    return whole({"id": "c1", "object": "list", "model": "m", "data": [row], **usage})


def pooled(data: object) -> Said:
    row = {"index": 0, "object": "pooling", "data": data}
    return whole({"id": "p1", "object": "list", "data": [row], "usage": {"prompt_tokens": 4}})


def test_classify_is_asked_with_the_conversation_and_gives_the_raw_output() -> None:
    found, seen = scored(
        "classify",
        lambda body: classified(length(body) - 7.25, tokens=31),
        items("Mix flour.", "No."),
        base="/v1",
    )
    assert found["k0"] == Scored(
        key="k0", score=2.75, attributes={"score": 2.75}, tokens=31, cut=False
    )
    assert isinstance(found["k1"], Scored)
    assert found["k1"].score == -4.25
    assert set(seen.paths) == {"/classify"}  # beside /v1, not under it
    (body,) = [b for b in seen.bodies if b["messages"][-1]["content"] == "No."]
    assert [m["role"] for m in body["messages"]] == ["system", "user", "assistant"]
    assert body["model"] == "org/rm"
    assert body["use_activation"] is False
    assert body["add_generation_prompt"] is False


@pytest.mark.parametrize("data", [[-1.5], [[9.0], [3.0], [-1.5]], [[-1.5]]])
def test_pooling_gives_one_number_or_one_for_each_token(data: object) -> None:
    found, seen = scored("pooling", lambda _: pooled(data), items("x"))
    one = found["k0"]
    assert isinstance(one, Scored)
    assert (one.score, one.tokens) == (-1.5, 4)
    assert seen.paths == ["/pooling"]
    assert seen.bodies[0]["encoding_format"] == "float"


@pytest.mark.parametrize("nested", [False, True])
def test_predict_is_asked_with_the_pair(*, nested: bool) -> None:
    labels = [{"score": 0.75, "label": "LABEL_0"}]
    found, seen = scored(
        "tei", lambda _: whole([labels] if nested else labels), items("Mix flour.")
    )
    one = found["k0"]
    assert isinstance(one, Scored)
    assert (one.score, one.tokens) == (0.75, None)
    assert seen.paths == ["/predict"]
    prompt = "Be kind.\n\nHow do I bake bread?"
    assert seen.bodies == [
        {"inputs": [prompt, "Mix flour."], "raw_scores": True, "truncate": False}
    ]


def test_an_empty_text_is_no_call() -> None:
    found, seen = scored("classify", lambda _: classified(1.0), items("", " \n", "x"))
    reasons = [r.reason for r in found.values() if isinstance(r, Unscored)]
    assert reasons == [NoScore.EMPTY, NoScore.EMPTY]
    assert len(seen.bodies) == 1


@pytest.mark.parametrize(
    ("api", "said"),
    [
        ("classify", b'{"data": [{"index": 0, "probs": [NaN]}]}'),
        ("classify", b'{"data": [{"index": 0, "probs": [null]}]}'),
        ("pooling", b'{"data": [{"index": 0, "data": [-Infinity]}]}'),
        ("tei", b'[{"score": null, "label": "LABEL_0"}]'),
    ],
)
def test_what_is_no_finite_number_is_no_score_and_not_asked_for_again(
    api: str, said: bytes
) -> None:
    found, seen = scored(api, lambda _: Said(body=said), items("x"))
    one = found["k0"]
    assert isinstance(one, Unscored)
    assert one.reason is NoScore.NOT_FINITE
    assert len(seen.bodies) == 1


@pytest.mark.parametrize(
    ("api", "said", "says"),
    [
        ("classify", classified(0.1, 0.9), "the reply has 2 scores"),
        ("classify", classified(), "the reply has 0 scores"),
        ("classify", classified("high"), "has no number where the score should be"),
        ("classify", classified(True), "has no number"),
        ("classify", whole({"data": []}), "the reply has 0 scores"),
        ("classify", whole([1.0]), "the reply has 0 scores"),
        ("pooling", pooled([0.1, 0.2, 0.3]), "the reply has 3 scores"),
        ("tei", whole([{"score": 1, "label": "a"}, {"score": 2, "label": "b"}]), "has 2 scores"),
        ("tei", whole({"error": "?"}), "the reply has 0 scores"),
    ],
)
def test_an_endpoint_that_gives_no_single_score_is_told_at_once(
    api: str, said: Said, says: str
) -> None:
    with pytest.raises(UsageError, match=f"answers no call: .*{says}"):
        scored(api, lambda _: said, items("x", "y"))


def test_faults_that_heal_are_tried_again() -> None:
    told = [
        whole({"error": {"message": "slow down"}}, 429, Retry_After="0"),
        whole({"error": {"message": "oh"}}, 503),
        classified(2.0),
    ]
    found, seen = scored("classify", lambda _: told.pop(0), items("x"))
    assert isinstance(found["k0"], Scored)
    assert len(seen.bodies) == 3


def test_a_reply_that_broke_off_is_asked_for_again() -> None:
    told = [Said(body=b'{"data": [{"pro'), classified(2.0)]
    found, _ = scored("classify", lambda _: told.pop(0), items("x"))
    assert isinstance(found["k0"], Scored)


def test_a_text_that_is_too_long_for_the_server_fails_alone() -> None:
    def says(body: Body) -> Said:
        if length(body) > 100:
            return whole({"error": {"message": "maximum context length is 8 tokens"}}, 400)
        return classified(length(body))

    found, _ = scored("classify", says, items("x", "long " * 100, "y"))
    lost = found["k1"]
    assert isinstance(lost, Unscored)
    assert lost.reason is NoScore.REQUEST_FAILED
    assert "maximum context length" in lost.message
    assert isinstance(found["k0"], Scored)
    assert isinstance(found["k2"], Scored)


def test_a_reply_without_end_is_given_up() -> None:
    huge = Said(body=b'{"data": [' + b"1," * (3 << 20))
    told = [classified(1.0), huge]
    found, seen = scored("classify", lambda _: told.pop(0), items("x", "y"), policy=_one_by_one())
    (lost,) = [r for r in found.values() if isinstance(r, Unscored)]
    assert "longer than 4 MB" in lost.message
    assert len(seen.bodies) == 2


def test_a_stream_is_no_score() -> None:
    told = [classified(1.0), Said(body=b"data: {}\n\n", kind="text/event-stream")]
    found, _ = scored("classify", lambda _: told.pop(0), items("x", "y"), policy=_one_by_one())
    (lost,) = [r for r in found.values() if isinstance(r, Unscored)]
    assert "the reply is a stream" in lost.message


def _one_by_one() -> Policy:
    return Policy(limit=1, tries=1)


def test_the_key_of_the_environment_is_sent_and_never_said(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HIDDENRISK_API_KEY", KEY)
    told = [classified(1.0), whole({"error": {"message": f"bad {KEY}"}}, 400)]
    found, seen = scored("classify", lambda _: told.pop(0), items("x", "y"), policy=_one_by_one())
    assert {h["authorization"] for h in seen.headers} == {f"Bearer {KEY}"}
    (lost,) = [r for r in found.values() if isinstance(r, Unscored)]
    assert lost.message.endswith("bad [key]")


def test_many_texts_come_back_once_each() -> None:
    asked = items(*("x" * n for n in range(1, 301)))
    found, seen = scored("classify", lambda body: classified(length(body)), asked)
    assert len(seen.bodies) == 300
    for one in asked:
        result = found[one.key]
        assert isinstance(result, Scored)
        assert result.score == len(one.text)


def test_half_a_character_is_written_out() -> None:
    _, seen = scored("classify", lambda _: classified(1.0), items("half \ud83d"))
    assert seen.bodies[0]["messages"][-1]["content"] == "half \\ud83d"


def test_an_endpoint_where_nobody_listens_is_said_so() -> None:
    model = open_reward("http://127.0.0.1:9#rm?api=classify")
    with pytest.raises(UsageError, match=r"cannot reach rm at http://127\.0\.0\.1:9"):
        list(model.score(items("x")))


def test_nobody_has_to_take_all_scores() -> None:
    async def run() -> int:
        async with serving(lambda _: classified(1.0)) as (port, seen):
            model = open_http(f"http://127.0.0.1:{port}#rm?api=classify", policy=Policy(limit=2))

            def one() -> None:
                some = model.score(items(*["x"] * 5000))
                next(some)
                del some

            await asyncio.to_thread(one)
            await asyncio.sleep(0.3)  # for the server, whose connections were cut as it answered
        return len(seen.bodies)

    assert asyncio.run(run()) < 5000
    assert not any(t.name.startswith("rewards of") for t in threading.enumerate())


def test_no_items_are_no_call() -> None:
    assert list(open_reward("http://127.0.0.1:9#rm?api=tei").score([])) == []


def test_the_identity_names_the_endpoint_and_the_api(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HIDDENRISK_API_KEY", KEY)
    model = open_reward("mine=http://host:8000/v1#org/rm?api=pooling")
    assert model.label == "mine"
    assert model.attributes == ("score",)
    assert model.identity == {
        "reward": "http",
        "endpoint": "http://host:8000",
        "model": "org/rm",
        "api": "pooling",
    }
    assert KEY not in json.dumps(model.identity)
