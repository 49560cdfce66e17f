"""How fast reward models score, as a share of the backbone's plain forward pass.

The same rows in the same batches go through both, in turns, so that the share tells what
reading texts, padding, heads and handing results out cost. On a CPU the model is a tiny random
one; on a GPU it is a random one of the size of ArmoRM (8 billion weights, bfloat16), unless
`--reward` names a real one. Random weights take as long as trained ones.

On a GPU seconds are by the clock; on a CPU they are the process's own, which other work on
the machine does not stretch.
"""

import random
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hiddenrisk.rewards import Item, Scored, open_reward
from hiddenrisk.rewards.checkpoint import Library
from hiddenrisk.rewards.loading import Libraries, Network
from hiddenrisk.rewards.local import Batches, LocalReward
from hiddenrisk.rewards.tokens import Row
from hiddenrisk.types import Message

WORDS = [
    "the",
    "bread",
    "is",
    "baked",
    "with",
    "flour",
    "water",
    "salt",
    "and",
    "yeast",
    "for",
    "an",
    "hour",
    "until",
    "it",
    "is",
    "brown",
]
TINY: dict[str, Any] = {
    "hidden_size": 256,
    "intermediate_size": 688,
    "num_hidden_layers": 4,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "max_position_embeddings": 2048,
    "gating_hidden_dim": 64,
}
LLAMA_8B: dict[str, Any] = {
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "max_position_embeddings": 8192,
    "gating_hidden_dim": 1024,
}


def measure_rewards(
    reward: str | None, texts: int | None, repeat: int, batch_tokens: int | None, seed: int
) -> dict[str, Any]:
    """Tokens a second through the reward model and through its backbone alone."""
    torch = Libraries("bench").torch
    on_gpu = bool(torch.cuda.is_available())
    most = batch_tokens or (32768 if on_gpu else 4096)
    texts = texts or (1024 if on_gpu else 96)
    with tempfile.TemporaryDirectory() as folder:
        spec = reward or f"armorm={_random(Path(folder), on_gpu=on_gpu)}"
        model = open_reward(spec, batch_tokens=most, devices=["cuda:0" if on_gpu else "cpu"])
        assert isinstance(model, LocalReward)
        items = _items(texts, seed, words=500 if on_gpu else 60)
        batches = _batches(model, items, most)
        _plain(torch, model, batches[:2])  # the first pass also chooses kernels
        rates: dict[str, list[float]] = {"plain": [], "scored": []}
        for _ in range(repeat):
            rates["plain"].append(_rate(batches, _plain(torch, model, batches)))
            rates["scored"].append(_rate(batches, _scored(model, items)))
    share = statistics.median(rates["scored"]) / statistics.median(rates["plain"])
    found = {
        "device": torch.cuda.get_device_name(0) if on_gpu else "cpu",
        "model": reward or ("random, 8B" if on_gpu else "random, tiny"),
        "texts": texts,
        "batches": len(batches),
        "batch_tokens": most,
        "tokens_per_s": rates,
        "share": share,
    }
    _tell(found)
    return found


def _tell(found: dict[str, Any]) -> None:
    print(f"\nReward model ({found['model']}) on {found['device']}, {found['texts']} texts in")
    print(f"  {found['batches']} batches of at most {found['batch_tokens']} tokens")
    for name, each in found["tokens_per_s"].items():
        spread = ", ".join(f"{rate:,.0f}" for rate in each)
        print(f"  {name:<7} {statistics.median(each):10,.0f} tokens a second ({spread})")
    print(f"  share   {found['share']:10.3f}")


def _random(folder: Path, *, on_gpu: bool) -> Path:
    from tests.reward_models import save  # pytest is needed for nothing else here

    return save(
        folder, "armorm", dtype="bfloat16" if on_gpu else None, **(LLAMA_8B if on_gpu else TINY)
    )


def _items(texts: int, seed: int, words: int) -> list[Item]:
    """Answers whose lengths spread as those of models do: most short, a few long."""
    draw = random.Random(seed)
    asked = (Message("user", "How is bread baked?"),)
    lengths = [1 + int(draw.lognormvariate(0, 0.6) * words) for _ in range(texts)]
    return [
        Item(f"k{i}", asked, " ".join(draw.choices(WORDS, k=length)))
        for i, length in enumerate(lengths)
    ]


def _batches(model: LocalReward, items: Sequence[Item], most: int) -> list[list[Row]]:
    """The batches that scoring makes of these items."""
    rows = [row for row in map(model.encoder.encode, items) if isinstance(row, Row)]
    assert len(rows) == len(items)
    batches = Batches(most)
    batches.add(rows)
    return list(iter(batches.take, []))


def _plain(torch: Library, model: LocalReward, batches: Sequence[list[Row]]) -> float:
    """Seconds of the backbone's forward passes, the inputs ready on the device."""
    (network,) = model.load()
    inputs = [network.inputs(batch) for batch in batches]
    wait = torch.cuda.synchronize if network.device != "cpu" else bool
    wait()
    start = _now(network)
    with torch.inference_mode():
        for ids in inputs:
            network.backbone(input_ids=ids, use_cache=False)
    wait()
    return _now(network) - start


def _scored(model: LocalReward, items: Sequence[Item]) -> float:
    """Seconds from texts to scores."""
    (network,) = model.load()
    start = _now(network)
    results = list(model.score(items))
    seconds = _now(network) - start
    assert len(results) == len(items)
    assert all(isinstance(result, Scored) for result in results)
    return seconds


def _now(network: Network) -> float:
    return time.process_time() if network.device == "cpu" else time.perf_counter()


def _rate(batches: Sequence[list[Row]], seconds: float) -> float:
    """Tokens a second, padding not counted."""
    return sum(len(row.ids) for batch in batches for row in batch) / seconds
