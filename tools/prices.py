"""Write the price table that ships with the package: prices on which two public tables agree.

    python tools/prices.py MODEL_PRICES.json DATE > src/hiddenrisk/plans/prices.toml

The first table is litellm's (`model_prices_and_context_window_backup.json` in its wheel), the
second genai-prices, which has to be installed where this runs. A model is left out where they
differ, where only one knows it, where its price is 0 (a free tier is no price), and where it
does not write text. Both tables are MIT-licensed; only figures are taken.
"""

import json
import re
import sys
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

PROVIDERS = {
    "openai": ("openai", "openai"),
    "anthropic": ("anthropic", "anthropic"),
    "deepseek": ("deepseek", "deepseek"),
    "openrouter": ("openrouter", "openrouter"),
    "together_ai": ("together", "together"),
    "groq": ("groq", "groq"),
    "fireworks_ai": ("fireworks", "fireworks"),
    "mistral": ("mistral", "mistral"),
    "xai": ("xai", "x-ai"),
    "gemini": ("gemini", "google"),
    "zai": ("zai", "zai"),
}
"""litellm's name of a provider -> ours, and that of genai-prices."""
_NO_TEXT = re.compile(
    r"^ft:|audio|realtime|tts|image|search|transcri|computer-use|robotics|omni|voxtral|embed"
    r"|deep-research|vision-exp|experimental"
)
_PER = 1_000_000


def theirs(name: str, provider: str) -> tuple[float, float] | None:
    """USD per million tokens, in and out, by genai-prices; None where it does not know."""
    genai: Any = import_module("genai_prices")
    try:
        sides = [
            genai.calc_price(genai.Usage(**tokens), name, provider_id=provider).total_price
            for tokens in (
                {"input_tokens": 1000, "output_tokens": 0},
                {"input_tokens": 0, "output_tokens": 1000},
            )
        ]
    except (LookupError, ValueError):
        return None
    return round(float(sides[0]) * 1000, 6), round(float(sides[1]) * 1000, 6)


def rows(table: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """What both agree on, by our names."""
    found: dict[str, dict[str, Any]] = {}
    for key, entry in table.items():
        names = PROVIDERS.get(str(entry.get("litellm_provider")))
        paid, out = entry.get("input_cost_per_token"), entry.get("output_cost_per_token")
        if names is None or entry.get("mode") not in {"chat", "responses"} or not paid or not out:
            continue
        ours, other = names
        prefix = f"{entry['litellm_provider']}/"
        model = key.removeprefix(prefix)
        price = (round(paid * _PER, 6), round(out * _PER, 6))
        if _NO_TEXT.search(model) or theirs(model, other) != price:
            continue
        until = entry.get("deprecation_date")
        found[f"{ours}/{model}".lower()] = {
            "input": price[0],
            "output": price[1],
            **({"until": until} if until else {}),
        }
    return dict(sorted(found.items()))


def toml(found: dict[str, dict[str, Any]], as_of: str, source: str) -> str:
    """The file."""
    lines = [
        "# USD per million tokens, in and out (thinking is out), for prompts of ordinary length,",
        "# without discounts for cached or batched tokens. Only prices on which two public tables",
        "# agree; a model that is missing has no known price. `until`: when its provider was to",
        "# take it away. Made by tools/prices.py; your own go first: hiddenrisk plan --prices FILE.",
        "",
        f'as_of = "{as_of}"',
        f'source = "{source}"',
        "",
        "[prices]",
    ]
    for name, price in found.items():
        until = f', until = "{price["until"]}"' if "until" in price else ""
        lines.append(
            f'"{name}" = {{input = {price["input"]:g}, output = {price["output"]:g}{until}}}'
        )
    return "\n".join(lines) + "\n"


def main() -> None:
    """Print the file."""
    path, as_of = sys.argv[1:]
    found = rows(json.loads(Path(path).read_text("utf-8")))
    source = f"litellm's price map and genai-prices {version('genai-prices')}, where they agree"
    print(toml(found, as_of, source), end="")


if __name__ == "__main__":
    main()
