"""Prices as data: the table that ships, the user's own, and what is not known."""

import tomllib
from datetime import date
from importlib.resources import files
from pathlib import Path

import pytest

from hiddenrisk.errors import UsageError
from hiddenrisk.prices import open_prices


def _file(tmp_path: Path, text: str, name: str = "mine.toml") -> str:
    path = tmp_path / name
    path.write_text(text)
    return str(path)


def test_the_shipped_table_is_dated_sourced_and_in_range() -> None:
    table = tomllib.loads(files("hiddenrisk.plans").joinpath("prices.toml").read_text())
    assert date.fromisoformat(table["as_of"]) <= date(2026, 11, 28)
    assert "agree" in table["source"]
    for name, price in table["prices"].items():
        assert 0 < price["input"] <= price["output"] <= 1000, name
        assert "*" not in name, "a pattern would price models that nobody has looked up"
        if "until" in price:
            date.fromisoformat(price["until"])


@pytest.mark.parametrize(
    ("spec", "paid"),
    [
        ("openai/gpt-4o", (2.5, 10.0)),
        ("judge=openai/gpt-4o?json", (2.5, 10.0)),
        ("openai-responses/gpt-4o", (2.5, 10.0)),
        ("https://api.openai.com/v1#gpt-4o", (2.5, 10.0)),
        ("openai/GPT-4o", (2.5, 10.0)),
    ],
)
def test_one_model_has_one_price_however_it_is_reached(
    spec: str, paid: tuple[float, float]
) -> None:
    price = open_prices().of(spec)
    assert price is not None
    assert (price.input, price.output) == paid
    assert price.as_of == "2026-11-28"


@pytest.mark.parametrize(
    "spec", ["openai/gpt-4o-mine", "openrouter/deepseek/deepseek-r1", "https://example.org/v1#m"]
)
def test_what_nobody_has_looked_up_is_unknown(spec: str) -> None:
    assert open_prices().of(spec) is None


@pytest.mark.parametrize(
    "spec", ["local/smollm2", "replay/x.csv", "http://127.0.0.1:8000/v1#m", "ollama/llama3"]
)
def test_what_runs_on_this_machine_costs_nothing_unless_the_user_says_so(spec: str) -> None:
    price = open_prices().of(spec)
    assert price is not None
    assert not price.costs
    told = open_prices(single=[f"{spec}=1/2"]).of(spec)
    assert told is not None
    assert told.output == 2


def test_the_users_words_go_first_and_the_last_file_before_the_others(tmp_path: Path) -> None:
    first = _file(
        tmp_path,
        '[prices]\n"openai/gpt-4o" = {input = 1, output = 1}\n"big/*" = {input = 3, output = 3}\n'
        '"big/model-*" = {input = 4, output = 4}\n',
    )
    second = _file(
        tmp_path, 'as_of = "2026-12-01"\n[prices]\n"openai/gpt-4o" = {input = 2, output = 2}\n', "b"
    )
    prices = open_prices([first, second], ["dear=9/9"])
    found = {
        spec: price.input
        for spec in ("openai/gpt-4o", "dear=openai/gpt-4o", "big/thing", "big/model-1")
        if (price := prices.of(spec))
    }
    assert found == {
        "openai/gpt-4o": 2, "dear=openai/gpt-4o": 9, "big/thing": 3, "big/model-1": 4,
    }  # fmt: skip
    dated = prices.of("openai/gpt-4o")
    assert dated is not None
    assert (dated.as_of, dated.source) == ("2026-12-01", "b")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[prices\n", "not valid TOML"),
        ("x = 1\n", "has no [prices]"),
        ('[prices]\n"a/b" = 3\n', "the price of a/b is no price"),
        ('[prices]\n"a/b" = {input = 3}\n', "the price of a/b is no price"),
        ('[prices]\n"a/b" = {input = 3, output = "x"}\n', "the price of a/b is no price"),
        ('[prices]\n"a/b" = {input = -1, output = 1}\n', "must be in 0.."),
        ('[prices]\n"a/b" = {input = nan, output = 1}\n', "must be in 0.."),
    ],
)
def test_a_bad_price_file_is_told_with_the_next_step(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(UsageError, match="price") as error:
        open_prices([_file(tmp_path, text)])
    assert said in str(error.value)


@pytest.mark.parametrize("text", ["gpt-4o", "gpt-4o=", "gpt-4o=1", "=1/2", "a=1/b", "a=-1/2"])
def test_a_single_price_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="--price"):
        open_prices(single=[text])
