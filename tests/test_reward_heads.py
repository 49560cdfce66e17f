"""The heads' arithmetic, against the published formulas computed in numpy on random weights."""

import importlib
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from hiddenrisk.errors import DataError
from hiddenrisk.rewards import Item, Scored, open_reward
from hiddenrisk.rewards.heads import (
    ATTRIBUTES,
    Head,
    QuantileHead,
    armo_head,
    quantile_head,
    score_head,
)
from hiddenrisk.types import Message
from tests.reward_models import GATING, HIDDEN, needs_torch, random_head, save, tensors_of

Library = Any
Array = NDArray[np.float64]
Weights = dict[str, Array]
CONFIG = {"hidden_size": HIDDEN, **GATING}


def softmax(x: Array) -> Array:
    powers = np.exp(x - x.max())
    return powers / powers.sum()


def armorm_by_hand(w: Weights, last: Array, gate: Array) -> tuple[float, Array, Array]:
    """ArmoRM for one text (arXiv 2406.12845; the facts in docs/rewards.md)."""
    x = gate
    for i in range(4):
        x = w[f"gating.layers.{i}.weight"] @ x + w[f"gating.layers.{i}.bias"]
        if i < 3:
            x = np.maximum(x, 0)
    coefficients = softmax(x / 10) * w["gating.logit_scale"][0]
    rewards = w["regression_layer.weight"] @ last
    adjusted = w["reward_transform_matrix"].T @ rewards  # from the right, on a row
    return float(coefficients @ adjusted), rewards, np.array([])


def qrm_by_hand(w: Weights, last: Array, gate: Array) -> tuple[float, Array, Array]:
    """QRM for one text (arXiv 2409.10164): Linear, ReLU, BatchNorm, three times."""
    x = gate
    for i in (0, 3, 6):
        x = np.maximum(w[f"gating.layers.{i}.weight"] @ x, 0)
        norm = {n: w[f"gating.layers.{i + 2}.{n}"] for n in ("weight", "bias")}
        mean, var = (w[f"gating.layers.{i + 2}.running_{n}"] for n in ("mean", "var"))
        x = (x - mean) / np.sqrt(var + 1e-5) * norm["weight"] + norm["bias"]
    x = w["gating.layers.9.weight"] @ x + w["gating.layers.9.bias"]
    coefficients = softmax(x / 5) * w["gating.logit_scale"][0]
    flat = w["regression_layer.weight"] @ last
    attributes = len(coefficients)
    table = np.array([[flat[a * 19 + q] for q in range(19)] for a in range(attributes)])
    transform = w["reward_transform_matrix"]
    expected = np.array(
        [
            sum(table[a].mean() * transform[a, b] for a in range(attributes))
            for b in range(attributes)
        ]
    )
    spread = np.array([coefficients @ (table[:, q] @ transform) for q in range(19)])
    return float(coefficients @ expected), expected, spread


def score_by_hand(w: Weights, last: Array, gate: Array) -> tuple[float, Array, Array]:
    score = w["score.weight"] @ last
    return float(score[0]), score, np.array([])


ByHand = Callable[[Weights, Array, Array], tuple[float, Array, Array]]
BY_HAND: dict[str, tuple[Callable[[dict[str, Any]], Head], ByHand]] = {
    "armorm": (armo_head, armorm_by_hand),
    "qrm": (quantile_head, qrm_by_hand),
    "skywork": (score_head, score_by_hand),
}


@needs_torch
@pytest.mark.parametrize("kind", BY_HAND)
@pytest.mark.parametrize("seed", range(5))
def test_a_head_agrees_with_the_published_formula_to_1e_5(kind: str, seed: int) -> None:
    torch: Library = importlib.import_module("torch")
    made, by_hand = BY_HAND[kind]
    head = made(CONFIG)
    weights = random_head(head, seed)
    draw = torch.Generator().manual_seed(100 + seed)
    last, gate = torch.randn(2, 6, HIDDEN, generator=draw) * 0.5
    out = head(weights, last, gate)
    numbers = {name: tensor.double().numpy() for name, tensor in weights.items()}
    for i in range(6):
        score, attributes, quantiles = by_hand(
            numbers, last[i].double().numpy(), gate[i].double().numpy()
        )
        assert out.scores[i].item() == pytest.approx(score, rel=1e-5, abs=1e-5)
        assert out.attributes[i].tolist() == pytest.approx(list(attributes), rel=1e-5, abs=1e-5)
        spread: list[float] = [] if out.quantiles is None else out.quantiles[i].tolist()
        assert spread == pytest.approx(list(quantiles), rel=1e-5, abs=1e-5)


@needs_torch
@pytest.mark.parametrize("kind", BY_HAND)
def test_a_score_from_disk_is_the_formula_on_the_backbones_states(
    kind: str, tmp_path: Path
) -> None:
    torch: Library = importlib.import_module("torch")
    transformers: Library = importlib.import_module("transformers")
    folder = save(tmp_path / kind, kind, seed=3)
    model = open_reward(f"{kind}={folder}")
    item = Item("a", (Message("user", "How do I bake bread?"),), "Mix flour and water.")
    (scored,) = model.score([item])
    assert isinstance(scored, Scored)

    words = transformers.AutoTokenizer.from_pretrained(folder)
    turns = [{"role": "user", "content": item.messages[0].content}]
    said = [*turns, {"role": "assistant", "content": item.text}]
    ids = words.apply_chat_template(said, return_dict=True)["input_ids"]
    header = words.encode(
        "<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n", add_special_tokens=False
    )
    place = max(i for i in range(len(ids)) if ids[i : i + len(header)] == header)
    numbers = {n: t.double().numpy() for n, t in tensors_of(folder).items()}
    backbone = transformers.LlamaModel.from_pretrained(folder).eval()
    with torch.no_grad():
        states = backbone(torch.tensor([ids]))[0][0].double().numpy()
    score, attributes, quantiles = BY_HAND[kind][1](numbers, states[-1], states[place])
    assert scored.score == pytest.approx(score, rel=1e-5, abs=1e-5)
    assert list(scored.attributes.values()) == pytest.approx(list(attributes), rel=1e-5, abs=1e-5)
    assert list(scored.quantiles) == pytest.approx(list(quantiles), rel=1e-5, abs=1e-5)
    assert scored.tokens == len(ids)


@needs_torch
def test_the_norm_uses_the_running_statistics_and_not_those_of_the_batch() -> None:
    torch: Library = importlib.import_module("torch")
    head = quantile_head(CONFIG)
    weights = random_head(head, 1)
    states = torch.randn(8, HIDDEN, generator=torch.Generator().manual_seed(2))
    together = head(weights, states, states).scores
    alone = [head(weights, states[i : i + 1], states[i : i + 1]).scores[0] for i in range(8)]
    assert together.tolist() == pytest.approx([score.item() for score in alone], abs=1e-5)
    shifted = weights | {
        "gating.layers.2.running_mean": weights["gating.layers.2.running_mean"] + 1
    }
    assert (head(shifted, states, states).scores - together).abs().max() > 1e-3


@needs_torch
@pytest.mark.parametrize("kind", ["armorm", "qrm"])
def test_a_gate_is_torchs_own_modules_under_the_published_names(kind: str) -> None:
    """The published gates are lists of modules; a number in a tensor's name is a place there."""
    torch: Library = importlib.import_module("torch")
    nn = torch.nn
    sizes = [HIDDEN, 16, 16, 16]
    layers: list[Library] = []
    for wide, out in pairwise(sizes):
        plain = [nn.Linear(wide, out)]
        layers += plain if kind == "armorm" else [nn.Linear(wide, out, bias=False), nn.ReLU(), nn.BatchNorm1d(out)]  # fmt: skip
    modules = nn.ModuleList([*layers, nn.Linear(16, 19)]).eval()
    head = BY_HAND[kind][0](CONFIG)
    weights = random_head(head, 11)
    own = {n.removeprefix("gating.layers."): t for n, t in weights.items() if ".layers." in n}
    modules.load_state_dict(own)  # strict: nothing is missing, nothing is left over
    draw = torch.Generator().manual_seed(12)
    last, gate = torch.randn(2, 5, HIDDEN, generator=draw)
    with torch.no_grad():
        x = gate
        for place, module in enumerate(modules):
            x = module(x)
            if kind == "armorm" and place < 3:
                x = nn.functional.relu(x)
        mixed = nn.functional.softmax(x / {"armorm": 10, "qrm": 5}[kind], dim=1)
        mixed = mixed * weights["gating.logit_scale"][0]
        regression = nn.functional.linear(last, weights["regression_layer.weight"])
        if kind == "qrm":
            regression = regression.view(-1, 19, 19).mean(dim=2)
        adjusted = regression @ weights["reward_transform_matrix"]
        exact = torch.sum(mixed * adjusted, dim=1)
    found = head(weights, last, gate)
    assert found.scores.tolist() == pytest.approx(exact.tolist(), rel=1e-5, abs=1e-5)
    assert mixed.sum(dim=1).tolist() == pytest.approx([weights["gating.logit_scale"].item()] * 5)


def test_the_tensors_are_those_of_the_published_checkpoints() -> None:
    gate = {f"gating.layers.{i}.{part}" for i in range(4) for part in ("weight", "bias")}
    both = {"regression_layer.weight", "reward_transform_matrix", "gating.logit_scale"}
    armorm = armo_head({"hidden_size": 4096}).shapes()
    assert armorm.keys() == gate | both
    assert armorm["regression_layer.weight"] == (19, 4096)
    assert armorm["reward_transform_matrix"] == (19, 19)
    assert armorm["gating.layers.0.weight"] == (1024, 4096)
    assert armorm["gating.layers.3.weight"] == (19, 1024)

    qrm = quantile_head({"hidden_size": 4096}).shapes()
    norms = {
        f"gating.layers.{i}.{part}"
        for i in (2, 5, 8)
        for part in ("weight", "bias", "running_mean", "running_var")
    }
    linear = {f"gating.layers.{i}.weight" for i in (0, 3, 6, 9)} | {"gating.layers.9.bias"}
    assert qrm.keys() == linear | norms | both
    assert qrm["regression_layer.weight"] == (19 * 19, 4096)


def test_the_attributes_are_named_in_the_published_order() -> None:
    assert len(ATTRIBUTES) == 19
    assert ATTRIBUTES[:5] == tuple(
        f"helpsteer-{name}"
        for name in ("helpfulness", "correctness", "coherence", "complexity", "verbosity")
    )
    assert ATTRIBUTES[10] == "beavertails-is_safe"
    assert ATTRIBUTES[-1] == "code-readability"
    second = quantile_head({"hidden_size": 8, "num_objectives": 5})
    assert second.attributes == ATTRIBUTES[:5]


def test_each_head_has_its_own_temperature_unless_the_configuration_names_one() -> None:
    assert armo_head({"hidden_size": 8}).settings == {"temperature": 10.0}
    assert quantile_head({"hidden_size": 8}).settings == {"temperature": 5.0}
    named = quantile_head({"hidden_size": 8, "gating_temperature": 3})
    assert named.settings == {"temperature": 3.0}


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ({}, "hidden_size = None"),
        ({"hidden_size": 0}, "hidden_size = 0"),
        ({"hidden_size": True}, "hidden_size = True"),
        ({"hidden_size": 8, "num_objectives": 7}, "7 attributes"),
        ({"hidden_size": 8, "num_quantiles": "many"}, "num_quantiles = 'many'"),
        ({"hidden_size": 8, "gating_temperature": 0}, "gating_temperature = 0"),
        ({"hidden_size": 8, "gating_temperature": "hot"}, "gating_temperature = 'hot'"),
    ],
)
def test_a_configuration_that_makes_no_head_is_one_sentence(
    config: dict[str, Any], says: str
) -> None:
    with pytest.raises(DataError, match=says):
        quantile_head(config)


def test_a_head_of_other_sizes_is_told_by_its_shapes() -> None:
    head = QuantileHead(
        hidden=8, quantiles=3, gate_width=4, gate_depth=1, attributes=ATTRIBUTES[:5]
    )
    assert head.shapes()["regression_layer.weight"] == (15, 8)
    assert head.unused() == {"gating.layers.2.num_batches_tracked"}
