"""How fast reward models score, as a share of the backbone's plain forward pass.

The same rows in the same batches go through both, in turns, so that the share tells what
reading texts, padding, heads and handing results out cost. On a CPU the model is a tiny random
one; on a GPU it is a random one of the size of ArmoRM (8 billion weights, bfloat16), made on
the card, unless `--reward` names a real one: random weights take as long as trained ones, and
nothing is downloaded. The batch that fills a card is found, unless `--batch-tokens` says it.

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
from hiddenrisk.rewards.heads import ArmoHead
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


FULL_VOCABULARY = 128257
LEAST_TOKENS, MOST_TOKENS = 4096, 262144
"""Between these the batch that fills the card is looked for, doubling."""
GAIN = 1.02
"""A batch twice as large that is no faster than this is not worth its memory."""


def measure_rewards(
    reward: str | None, texts: int | None, repeat: int, batch_tokens: int | None, seed: int
) -> dict[str, Any]:
    """Tokens a second through the reward model and through its backbone alone.

    Each line is printed as soon as it is known: whoever stops it early has what came before.
    """
    libraries = Libraries("bench")
    torch = libraries.torch
    on_gpu = bool(torch.cuda.is_available())
    device = "cuda:0" if on_gpu else "cpu"
    with tempfile.TemporaryDirectory() as folder:
        spec = reward or f"armorm={_small(Path(folder), on_gpu=on_gpu)}"
        model = open_reward(spec, devices=[device])
        assert isinstance(model, LocalReward)
        if reward is None:
            model.networks = [_network(libraries, device, LLAMA_8B if on_gpu else TINY)]
        name = torch.cuda.get_device_name(0) if on_gpu else "cpu"
        what = reward or ("random, 8B" if on_gpu else "random, tiny")
        print(
            f"\nReward model ({what}) on {name}; tokens a second, padding not counted", flush=True
        )
        items = _items(texts or (384 if on_gpu else 96), seed, words=150 if on_gpu else 60)
        found: dict[str, Any] = {"device": name, "model": what, "texts": len(items)}
        if batch_tokens is None and on_gpu:
            batch_tokens, found["sizes"] = _filling(torch, model, items)
        model.batch_tokens = batch_tokens or 4096
        return found | _compare(torch, model, items, repeat)


def _compare(
    torch: Library, model: LocalReward, items: Sequence[Item], repeat: int
) -> dict[str, Any]:
    """The plain pass and scoring in turns, over the same batches."""
    most = model.batch_tokens
    batches = _batches(model, items, most)
    _plain(torch, model, batches[:2])  # the first pass also chooses kernels
    print(f"  {len(batches)} batches of at most {most} tokens", flush=True)
    rates: dict[str, list[float]] = {"plain": [], "scored": []}
    for turn in range(repeat):
        rates["plain"].append(_rate(batches, _plain(torch, model, batches)))
        rates["scored"].append(_rate(batches, _scored(model, items)))
        told = ", ".join(f"{kind} {some[-1]:,.0f}" for kind, some in rates.items())
        print(f"  turn {turn + 1}: {told}", flush=True)
    assert model.batch_tokens == most, "a batch did not fit, so that the two are not the same"
    share = statistics.median(rates["scored"]) / statistics.median(rates["plain"])
    print(f"  share of the plain forward pass: {share:.3f} (median of {repeat})", flush=True)
    return {"batches": len(batches), "batch_tokens": most, "tokens_per_s": rates, "share": share}


def _filling(
    torch: Library, model: LocalReward, items: Sequence[Item]
) -> tuple[int, dict[int, float | None]]:
    """The batch from which on a larger one is no faster, or does not fit; and what was tried.

    None stands for what did not fit.
    """
    tried: dict[int, float | None] = {}
    best, most = LEAST_TOKENS, LEAST_TOKENS
    while most <= MOST_TOKENS:
        batches = _batches(model, items, most)[:3]
        try:
            _plain(torch, model, batches[:1])
            tried[most] = _rate(batches, _plain(torch, model, batches))
        except torch.OutOfMemoryError:
            tried[most] = None
        rate, before = tried[most], tried.get(most // 2)
        print(f"  batch of {most}: {f'{rate:,.0f}' if rate else 'does not fit'}", flush=True)
        if rate is None or (before is not None and rate < GAIN * before):
            break
        best, most = most, 2 * most
    torch.cuda.empty_cache()
    return best, tried


def _small(folder: Path, *, on_gpu: bool) -> Path:
    """A tiny checkpoint, of which the tokenizer, the template and the window are used."""
    from tests.reward_models import save  # pytest is needed for nothing else here

    window = LLAMA_8B["max_position_embeddings"] if on_gpu else TINY["max_position_embeddings"]
    return save(folder, "armorm", max_position_embeddings=window)


def _network(libraries: Libraries, device: str, sizes: dict[str, Any]) -> Network:
    """A random ArmoRM of these sizes, made on the device itself: nothing is downloaded or read."""
    torch, transformers = libraries.torch, libraries.transformers
    on_gpu = device != "cpu"
    head = ArmoHead(hidden=sizes["hidden_size"], gate_width=sizes["gating_hidden_dim"])
    config = transformers.LlamaConfig(vocab_size=FULL_VOCABULARY if on_gpu else 1024, **sizes)
    with torch.device(device):
        dtype = torch.bfloat16 if on_gpu else torch.float32
        backbone = transformers.AutoModel.from_config(config, dtype=dtype).eval()
        weights = {n: 0.02 * torch.randn(*shape) for n, shape in head.shapes().items()}
    return Network(torch, backbone, head, weights, device)


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
