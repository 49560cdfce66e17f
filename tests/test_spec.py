"""How a model is named on the command line."""

import string
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hiddenrisk.errors import UsageError
from hiddenrisk.models import BUILDERS, open_model
from hiddenrisk.models.spec import parse

Parts = tuple[str, str, str, str | None, dict[str, str]]
"""Label, provider, model, URL and options."""

_SPECS: dict[str, Parts | None] = {
    "openai/gpt-4o": ("gpt-4o", "openai", "gpt-4o", None, {}),
    " openai/gpt-4o\n": ("gpt-4o", "openai", "gpt-4o", None, {}),
    "OpenAI/gpt-4o": ("gpt-4o", "openai", "gpt-4o", None, {}),
    "mine=openai/gpt-4o": ("mine", "openai", "gpt-4o", None, {}),
    "R1 = x=openai/o3": None,
    "v3.2=openrouter/deepseek/deepseek-v3.2": (
        "v3.2",
        "openrouter",
        "deepseek/deepseek-v3.2",
        None,
        {},
    ),
    "openrouter/deepseek/deepseek-r1:free": (
        "deepseek-r1:free",
        "openrouter",
        "deepseek/deepseek-r1:free",
        None,
        {},
    ),
    "deepseek/r1?stream": ("r1", "deepseek", "r1", None, {"stream": "yes"}),
    "local/smollm2?think&budget=300": (
        "smollm2-think",
        "local",
        "smollm2",
        None,
        {"think": "yes", "budget": "300"},
    ),
    "s=local/smollm2?think": ("s", "local", "smollm2", None, {"think": "yes"}),
    "replay/out/a=b.csv": ("a=b", "replay", "out/a=b.csv", None, {}),
    "replay//tmp/runs/first.v2.jsonl?prefilled": (
        "first.v2",
        "replay",
        "/tmp/runs/first.v2.jsonl",
        None,
        {"prefilled": "yes"},
    ),
    "http://localhost:8000/v1#m": ("m", "http", "m", "http://localhost:8000/v1", {}),
    "http://localhost:8000/v1/#m": ("m", "http", "m", "http://localhost:8000/v1", {}),
    "HTTPS://h/v1#m": ("m", "http", "m", "HTTPS://h/v1", {}),
    "http://[::1]:8000/v1#org/m?stream&prefilled": (
        "m",
        "http",
        "org/m",
        "http://[::1]:8000/v1",
        {"stream": "yes", "prefilled": "yes"},
    ),
    "r1=https://h/v1#deepseek-ai/DeepSeek-R1": (
        "r1",
        "http",
        "deepseek-ai/DeepSeek-R1",
        "https://h/v1",
        {},
    ),
    "": None,
    "gpt-4o": None,
    "openai/": None,
    "/gpt-4o": None,
    "label=": None,
    "label=gpt-4o": None,
    "http://h/v1": None,
    "http://h/v1#": None,
    "http://h/v1#?stream": None,
    "http://#m": None,
    "http:///v1#m": None,
    "http://a..b/v1#m": None,
    "http://h:0/v1#m": None,
    "http://h:99999/v1#m": None,
    "http://h:port/v1#m": None,
    "http://[::1/v1#m": None,
}


@pytest.mark.parametrize("typed", [t for t, parts in _SPECS.items() if parts is not None])
def test_a_spec_is_taken_apart(typed: str) -> None:
    spec = parse(typed)
    assert (spec.label, spec.provider, spec.model, spec.url, spec.options) == _SPECS[typed]
    assert spec.text == typed.strip().removeprefix(f"{spec.label}=")


@pytest.mark.parametrize("typed", [t for t, parts in _SPECS.items() if parts is None])
def test_what_is_no_spec_is_refused_when_it_is_opened(typed: str) -> None:
    with pytest.raises(UsageError):
        open_model(typed)


_ANYTHING = st.text(st.sampled_from(string.ascii_letters + "=/:?#@[]&.%0 é\n"), max_size=30)


@given(text=_ANYTHING | _ANYTHING.map("http://".__add__) | _ANYTHING.map("fake/".__add__))
def test_no_text_raises_anything_but_wrong_use(text: str) -> None:
    with suppress(UsageError):
        open_model(text)


@pytest.mark.parametrize(
    "typed",
    [
        "http://user:{}@h/v1#m",
        "http://{}@h/v1#m",
        "http://user:{}@h/v1",
        "http://user:{}@h:99999/v1#m",
        "http://user:p/{}@h/v1#m",
        "http://user:{}@[::1/v1#m",
        "label=https://user:{}@h/v1#m",
        "http://h/v1?api_key={}#m",
        "http://h/v1?api_key={}",
    ],
)
def test_a_url_with_a_secret_in_it_is_refused_without_repeating_it(typed: str) -> None:
    with pytest.raises(UsageError, match="HIDDENRISK_API_KEY") as caught:
        open_model(typed.format("hunter2"))
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("opnai/gpt-4o", "unknown provider 'opnai'; did you mean 'openai'"),
        ("deepsek/r1", "did you mean 'deepseek'"),
        ("nothing-like-it/x", "known: .*deepseek.* For any other endpoint write its URL"),
        ("fake/refuze", "write fake/refuse, comply or echo"),
        ("local/smollm3", "unknown local model 'smollm3'; did you mean 'smollm2'"),
        ("http://h/v1#m?steam", "unknown option 'steam'; did you mean 'stream'"),
        ("fake/echo?stream", "unknown option 'stream'"),
        ("http://h/v1#m?prefilled=no", "option 'prefilled' .* takes no value"),
        ("replay/x.csv?plain=no", "option 'plain' .* takes no value"),
        ("http://h/v1#m?plain&prefilled", "'prefilled' and 'plain' .* contrary"),
        ("local/smollm2?think=no", "think=no .* write on or off"),
        ("local/smollm2?think&budget=lots", "budget=lots .* 5 to 2500 tokens, or none"),
        ("local/smollm2?think&budget=²", "5 to 2500 tokens, or none"),
        ("local/smollm2?think&budget=2501", "5 to 2500 tokens, or none"),
        ("anthropic/claude?prefilled", "unknown option 'prefilled'"),
        ("anthropic/claude?thinking=4096", "unknown option 'thinking'; did you mean 'think'"),
        ("anthropic/claude?think=4096", r"write on or off \(tokens of thinking are \?budget=N\)"),
        ("anthropic/claude?budget", "budget=yes .* tokens from 1024 to"),
        ("anthropic/claude?budget=1023", "tokens from 1024 to"),
        ("anthropic/claude?budget=10²", "tokens from 1024 to"),
        ("anthropic/claude?budget=2048&effort=low", "two measures of one thing"),
        ("openai-responses/o3?efort=low", "unknown option 'efort'; did you mean 'effort'"),
        ("openai-responses/o3?effort=lots", "effort=lots .* one of none, minimal, low, medium"),
        ("openai-responses/o3?summary", "summary=yes .* one of auto, concise, detailed"),
        ("gpt-4o", "write provider/model"),
        ("http://h/v1", "names no model; add it after '#', for example http://h/v1#my-model"),
    ],
)
def test_a_mistyped_spec_says_what_was_meant(typed: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        open_model(typed)


def test_every_provider_can_be_opened_with_its_key(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in BUILDERS.keys() - {"http", "local", "replay", "fake", "litellm", "vllm"}:
        variable = f"{name.partition('-')[0].upper()}_API_KEY"
        monkeypatch.setenv(variable, "a-key-of-some-length")
        model = open_model(f"{name}/some/model?stream")
        assert (model.label, model.provider) == ("model", name)
        assert model.identity["model"] == "some/model"
    assert open_model("ollama/llama3").local


def test_two_models_with_other_endpoints_or_ids_have_other_identities() -> None:
    specs = ("http://h/v1#m", "http://h/v1#n", "http://g/v1#m", "fake/echo", "fake/comply")
    assert len({str(open_model(spec).identity) for spec in specs}) == len(specs)
    assert open_model("x=http://h/v1#m").identity == open_model("http://h/v1/#m").identity
