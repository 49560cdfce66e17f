"""The heads of ArmoRM, QRM and plain sequence classifiers, in float32.

Written from the published descriptions; no code of a checkpoint is ever run. Each head maps
two hidden states of a text to scores: `last`, at the text's last token, and `gate`, where the
prompt ends (see `tokens.Encoder`). Tensors are whatever has matrix products (torch's, here
untyped: torch is optional); a head holds shapes and constants, the weights come beside it.

    ArmoRM  r = W h_last                         19 attributes
            g = softmax(MLP(h_gate) / 10) * s    MLP: Linear, ReLU, ..., Linear
            score = sum_a g_a (r T)_a
    QRM     R = reshape(W h_last)                attributes x quantiles
            g as above at temperature 5          MLP: Linear, ReLU, BatchNorm, ..., Linear
            score = sum_a g_a (mean_q R T)_a     quantile q: sum_a g_a (R_q T)_a

Sources: Wang et al. 2024, arXiv 2406.12845, section 3 (ArmoRM); Dorka 2024, arXiv 2409.10164,
section 3 (QRM); the configurations and tensor names of the published checkpoints.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple, Protocol

from hiddenrisk.errors import DataError

Tensor = Any
Weights = Mapping[str, Tensor]
Shapes = dict[str, tuple[int, ...]]

ATTRIBUTES = (
    "helpsteer-helpfulness",
    "helpsteer-correctness",
    "helpsteer-coherence",
    "helpsteer-complexity",
    "helpsteer-verbosity",
    "ultrafeedback-overall_score",
    "ultrafeedback-instruction_following",
    "ultrafeedback-truthfulness",
    "ultrafeedback-honesty",
    "ultrafeedback-helpfulness",
    "beavertails-is_safe",
    "prometheus-score",
    "argilla-overall_quality",
    "argilla-judge_lm",
    "code-complexity",
    "code-style",
    "code-explanation",
    "code-instruction-following",
    "code-readability",
)
"""In the order of the regression layer. QRM's second version has the first five."""
_NORM_EPS = 1e-5
"""What torch's BatchNorm1d adds to a variance; the checkpoints leave it at that."""


class Outputs(NamedTuple):
    """What a head makes of a batch of B texts."""

    scores: Tensor
    """[B]"""
    attributes: Tensor
    """[B, attributes]"""
    quantiles: Tensor | None = None
    """[B, quantiles]"""


class Head(Protocol):
    """The part of a reward model beside its backbone."""

    @property
    def attributes(self) -> tuple[str, ...]:
        """Names of the attributes, in order."""
        ...

    @property
    def gated(self) -> bool:
        """Whether it looks at the end of the prompt too."""
        ...

    @property
    def settings(self) -> dict[str, Any]:
        """The constants beside the weights that decide a score."""
        ...

    def shapes(self) -> Shapes:
        """The tensors it needs, by their name in a checkpoint."""
        ...

    def unused(self) -> frozenset[str]:
        """Names that a checkpoint may have beside them and no score hangs on."""
        ...

    def __call__(self, weights: Weights, last: Tensor, gate: Tensor) -> Outputs:
        """Score a batch; `last` and `gate` are [B, hidden], float32 like the weights."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ArmoHead:
    """ArmoRM: one regression per attribute, mixed by what the prompt is about."""

    hidden: int
    attributes: tuple[str, ...] = ATTRIBUTES
    gate_width: int = 1024
    gate_depth: int = 3
    temperature: float = 10.0
    gated: bool = True

    @property
    def settings(self) -> dict[str, Any]:
        """The temperature of the gate."""
        return {"temperature": self.temperature}

    def shapes(self) -> Shapes:
        """Regression, transform and gating network."""
        n = len(self.attributes)
        sizes = [self.hidden, *[self.gate_width] * self.gate_depth, n]
        shapes: Shapes = {
            "regression_layer.weight": (n, self.hidden),
            "reward_transform_matrix": (n, n),
            "gating.logit_scale": (1,),
        }
        for i, (wide, out) in enumerate(pairwise(sizes)):
            shapes[f"gating.layers.{i}.weight"] = (out, wide)
            shapes[f"gating.layers.{i}.bias"] = (out,)
        return shapes

    def unused(self) -> frozenset[str]:
        """Nothing."""
        return frozenset()

    def __call__(self, weights: Weights, last: Tensor, gate: Tensor) -> Outputs:
        """Scores and the 19 rewards, these before the transform, as published."""
        rewards = last @ weights["regression_layer.weight"].T
        logits = _linear(weights, "gating.layers.0", gate)
        for i in range(1, self.gate_depth + 1):
            logits = _linear(weights, f"gating.layers.{i}", logits.relu())
        mixed = _gate(weights, logits, self.temperature)
        transformed = rewards @ weights["reward_transform_matrix"]
        return Outputs((mixed * transformed).sum(-1), rewards)


@dataclass(frozen=True, slots=True, kw_only=True)
class QuantileHead:
    """QRM: a distribution per attribute, mixed by what the prompt is about."""

    hidden: int
    attributes: tuple[str, ...] = ATTRIBUTES
    quantiles: int = 19
    gate_width: int = 1024
    gate_depth: int = 3
    temperature: float = 5.0
    gated: bool = True

    @property
    def settings(self) -> dict[str, Any]:
        """The temperature of the gate."""
        return {"temperature": self.temperature}

    def shapes(self) -> Shapes:
        """Regression, transform and gating network; each block of it has three layers."""
        n = len(self.attributes)
        sizes = [self.hidden, *[self.gate_width] * self.gate_depth]
        shapes: Shapes = {
            "regression_layer.weight": (n * self.quantiles, self.hidden),
            "reward_transform_matrix": (n, n),
            "gating.logit_scale": (1,),
            f"gating.layers.{3 * self.gate_depth}.weight": (n, self.gate_width),
            f"gating.layers.{3 * self.gate_depth}.bias": (n,),
        }
        for i, (wide, out) in enumerate(pairwise(sizes)):
            shapes[f"gating.layers.{3 * i}.weight"] = (out, wide)
            for name in ("weight", "bias", "running_mean", "running_var"):
                shapes[f"gating.layers.{3 * i + 2}.{name}"] = (out,)
        return shapes

    def unused(self) -> frozenset[str]:
        """How many batches the running statistics were taken from."""
        blocks = range(self.gate_depth)
        return frozenset(f"gating.layers.{3 * i + 2}.num_batches_tracked" for i in blocks)

    def __call__(self, weights: Weights, last: Tensor, gate: Tensor) -> Outputs:
        """Scores, expected attributes after the transform, and the gated distribution."""
        rows = len(self.attributes), self.quantiles
        rewards = (last @ weights["regression_layer.weight"].T).reshape(-1, *rows)
        logits = gate
        for i in range(self.gate_depth):
            logits = (logits @ weights[f"gating.layers.{3 * i}.weight"].T).relu()
            logits = _norm(weights, f"gating.layers.{3 * i + 2}", logits)
        logits = _linear(weights, f"gating.layers.{3 * self.gate_depth}", logits)
        mixed = _gate(weights, logits, self.temperature)
        transform = weights["reward_transform_matrix"]
        expected = rewards.mean(-1) @ transform
        spread = rewards.transpose(1, 2) @ transform  # [B, quantiles, attributes]
        return Outputs((mixed * expected).sum(-1), expected, (mixed.unsqueeze(1) * spread).sum(-1))


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreHead:
    """A sequence classifier with one output: a linear map of the last token's state."""

    hidden: int
    attributes: tuple[str, ...] = ("score",)
    gated: bool = False

    @property
    def settings(self) -> dict[str, Any]:
        """None."""
        return {}

    def shapes(self) -> Shapes:
        """One row."""
        return {"score.weight": (1, self.hidden)}

    def unused(self) -> frozenset[str]:
        """Nothing."""
        return frozenset()

    def __call__(self, weights: Weights, last: Tensor, gate: Tensor) -> Outputs:  # noqa: ARG002 - of all heads
        """The score, which is its own attribute."""
        scores = last @ weights["score.weight"].T
        return Outputs(scores[:, 0], scores)


def armo_head(config: Mapping[str, Any]) -> ArmoHead:
    """The head that an ArmoRM's configuration describes.

    Raises:
        DataError: it describes another one.
    """
    return ArmoHead(
        hidden=_count(config, "hidden_size"),
        attributes=_named(config),
        gate_width=_count(config, "gating_hidden_dim", 1024),
        gate_depth=_count(config, "gating_n_hidden", 3),
        temperature=_temperature(config, 10.0),
    )


def quantile_head(config: Mapping[str, Any]) -> QuantileHead:
    """The head that a QRM's configuration describes.

    Raises:
        DataError: it describes another one.
    """
    return QuantileHead(
        hidden=_count(config, "hidden_size"),
        attributes=_named(config),
        quantiles=_count(config, "num_quantiles", 19),
        gate_width=_count(config, "gating_hidden_dim", 1024),
        gate_depth=_count(config, "gating_n_hidden", 3),
        temperature=_temperature(config, 5.0),
    )


def score_head(config: Mapping[str, Any]) -> ScoreHead:
    """The head of a sequence classifier with one output.

    Raises:
        DataError: the configuration has no hidden size.
    """
    return ScoreHead(hidden=_count(config, "hidden_size"))


def _linear(weights: Weights, name: str, x: Tensor) -> Tensor:
    return x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]


def _norm(weights: Weights, name: str, x: Tensor) -> Tensor:
    """BatchNorm as it is after training: by the running statistics, never the batch's own."""
    scale = (weights[f"{name}.running_var"] + _NORM_EPS).rsqrt() * weights[f"{name}.weight"]
    return (x - weights[f"{name}.running_mean"]) * scale + weights[f"{name}.bias"]


def _gate(weights: Weights, logits: Tensor, temperature: float) -> Tensor:
    return (logits / temperature).softmax(-1) * weights["gating.logit_scale"]


def _count(config: Mapping[str, Any], name: str, default: int | None = None) -> int:
    value = config.get(name, default)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 < value < 1 << 20:
        raise DataError(f"config.json has {name} = {value!r}, which is no size")
    return value


def _temperature(config: Mapping[str, Any], default: float) -> float:
    value = config.get("gating_temperature", default)
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 < value < 1e6:
        raise DataError(f"config.json has gating_temperature = {value!r}, which is no temperature")
    return float(value)


def _named(config: Mapping[str, Any]) -> tuple[str, ...]:
    """The attributes, all or (QRM's second version) the first five of them."""
    n = _count(config, "num_objectives", len(ATTRIBUTES))
    if n not in {5, len(ATTRIBUTES)}:
        raise DataError(f"config.json has {n} attributes; only 5 and {len(ATTRIBUTES)} have names")
    return ATTRIBUTES[:n]
