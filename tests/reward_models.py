"""Tiny random reward models, saved as the real ones are, and loaded the real way.

The architectures are exactly those of ArmoRM, QRM and Skywork's classifier; only the sizes
are small. The tokenizer is a real fast one: bytes, a few whole words, Llama 3's controls.
"""

import importlib
import importlib.util
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from hiddenrisk.rewards import Item, RewardModel, Scored, Unscored, open_reward
from hiddenrisk.rewards.heads import Head, armo_head, quantile_head, score_head
from hiddenrisk.rewards.local import LocalReward
from hiddenrisk.types import Message

Library = Any
HAVE = importlib.util.find_spec("torch") and importlib.util.find_spec("transformers")
needs_torch = pytest.mark.skipif(not HAVE, reason="torch is not installed (make rewards)")
KINDS = ("armorm", "qrm", "skywork")
ASKED = (Message("user", "How do I bake bread?"),)
CONTROLS = (
    "<|begin_of_text|>",
    "<|end_of_text|>",
    "<|start_header_id|>",
    "<|end_header_id|>",
    "<|eot_id|>",
)
LLAMA_IDS = {
    "<|begin_of_text|>": 128000,
    "<|end_of_text|>": 128001,
    "<|start_header_id|>": 128006,
    "<|end_header_id|>": 128007,
    "<|eot_id|>": 128009,
    "assistant": 78191,
    "ĊĊ": 271,
}
"""Where Llama 3 has them."""
TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}{{ '<|start_header_id|>' + m['role'] + "
    "'<|end_header_id|>\n\n' + m['content'] | trim + '<|eot_id|>' }}{% endfor %}"
)
_WORDS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
"""How Llama 3 takes a text apart before its bytes are paired."""
HIDDEN = 32
SIZES: dict[str, Any] = {
    "hidden_size": HIDDEN,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
}
GATING: dict[str, Any] = {"gating_hidden_dim": 16, "gating_n_hidden": 3}
HEADS = {"armorm": armo_head, "qrm": quantile_head, "skywork": score_head, "sequence": score_head}


def tokenizer(*, template: str | None = TEMPLATE, ids: Mapping[str, int] | None = None) -> Library:
    """A fast tokenizer; `ids` puts some of its words where another one has them."""
    tokenizers: Library = importlib.import_module("tokenizers")
    transformers: Library = importlib.import_module("transformers")
    pieces = sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet())
    words = [*pieces, "assistant", "user", "ĊĊ", *CONTROLS]
    fixed = ids or {}
    vocab = {word: fixed.get(word, place) for place, word in enumerate(words)}
    made = tokenizers.Tokenizer(tokenizers.models.BPE(vocab=vocab, merges=[], ignore_merges=True))
    made.pre_tokenizer = tokenizers.pre_tokenizers.Sequence(
        [
            tokenizers.pre_tokenizers.Split(tokenizers.Regex(_WORDS), "isolated"),
            tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    made.decoder = tokenizers.decoders.ByteLevel()
    made.add_special_tokens([tokenizers.AddedToken(c, special=True) for c in CONTROLS])
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=made, bos_token=CONTROLS[0], eos_token=CONTROLS[4], chat_template=template
    )


def random_head(head: Head, seed: int) -> dict[str, Library]:
    """Weights that tell the parts of a head apart: nothing is zero, one or symmetric."""
    torch: Library = importlib.import_module("torch")
    draw = torch.Generator().manual_seed(seed)
    weights: dict[str, Library] = {}
    for name, shape in head.shapes().items():
        weights[name] = torch.randn(*shape, generator=draw) * 0.5
        if name.endswith("running_var"):
            weights[name] = weights[name].abs() + 0.3
        if name == "gating.logit_scale":
            weights[name] = weights[name].abs() + 0.5
    for name in sorted(head.unused()):
        weights[name] = torch.tensor(7)
    return weights


def save(
    folder: Path,
    kind: str,
    *,
    seed: int = 0,
    shards: int = 1,
    template: str | None = TEMPLATE,
    leave_out: tuple[str, ...] = (),
    more: Mapping[str, Library] | None = None,
    dtype: str | None = None,
    **config: Any,  # noqa: ANN401 - any field of a configuration
) -> Path:
    """Write a whole checkpoint; `leave_out` and `more` make it a wrong one."""
    torch: Library = importlib.import_module("torch")
    transformers: Library = importlib.import_module("transformers")
    folder.mkdir(parents=True, exist_ok=True)
    words = tokenizer(template=template)
    words.save_pretrained(str(folder))
    fields = {**SIZES, **(GATING if kind in {"armorm", "qrm"} else {}), **config}
    made = transformers.LlamaConfig(vocab_size=len(words), pad_token_id=None, **fields)
    torch.manual_seed(seed)
    if dtype:  # of the weights, for a model of full size
        torch.set_default_dtype(getattr(torch, dtype))
    try:
        backbone = transformers.LlamaModel(made)
    finally:
        torch.set_default_dtype(torch.float32)
    said = {
        **made.to_dict(),
        **fields,
        "model_type": "llama",
        "architectures": ["LlamaForRewardModelWithGating"],
        # The real ones ask for their own code to be run. Nobody does.
        "auto_map": {"AutoModelForSequenceClassification": "modeling_custom.Model"},
    }
    (folder / "config.json").write_text(json.dumps(said))
    tensors = {f"model.{name}": tensor for name, tensor in backbone.state_dict().items()}
    tensors |= random_head(HEADS[kind](said), seed)
    tensors = {n: t.contiguous() for n, t in tensors.items() if n not in leave_out}
    write(folder, tensors | dict(more or {}), shards)
    return folder


def write(folder: Path, tensors: Mapping[str, Library], shards: int = 1) -> None:
    """Write weights in one file, or in several with their index."""
    store: Library = importlib.import_module("safetensors.torch")
    if shards == 1:
        store.save_file(dict(tensors), folder / "model.safetensors", metadata={"format": "pt"})
        return
    places: dict[str, str] = {}
    names = sorted(tensors)
    for i in range(shards):
        file = f"model-{i + 1:05}-of-{shards:05}.safetensors"
        part = {name: tensors[name] for name in names[i::shards]}
        store.save_file(part, folder / file, metadata={"format": "pt"})
        places |= dict.fromkeys(part, file)
    index = {"metadata": {"total_size": 0}, "weight_map": places}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def tensors_of(folder: Path) -> dict[str, Library]:
    """All tensors of a checkpoint."""
    store: Library = importlib.import_module("safetensors.torch")
    found: dict[str, Library] = {}
    for path in sorted(folder.glob("*.safetensors")):
        found |= store.load_file(path)
    return found


def item(key: str, text: str, *turns: Message) -> Item:
    return Item(key, turns or ASKED, text)


def items(count: int) -> list[Item]:
    """Of very different lengths, in no order of length."""
    return [item(f"k{i}", f"Text {i}: " + "flour and water. " * (i * 7 % 11)) for i in range(count)]


def opened(spec: str, **options: Any) -> LocalReward:  # noqa: ANN401 - of open_reward
    model = open_reward(spec, **options)
    assert isinstance(model, LocalReward)
    return model


def scores(model: RewardModel, asked: Sequence[Item]) -> dict[str, Scored]:
    """By key; every item must have a score, and one."""
    found = list(model.score(asked))
    assert sorted(r.key for r in found) == sorted(i.key for i in asked)
    assert all(isinstance(r, Scored) for r in found), found
    return {r.key: r for r in found if isinstance(r, Scored)}


def gap(one: Scored, other: Scored) -> float:
    """The largest difference between two scores, in anything."""
    pairs = [(one.score, other.score), *zip(one.quantiles, other.quantiles, strict=True)]
    pairs += [(one.attributes[name], other.attributes[name]) for name in one.attributes]
    return max(abs(a - b) for a, b in pairs)


def unscored(model: RewardModel, asked: Item) -> Unscored:
    (result,) = model.score([asked])
    assert isinstance(result, Unscored)
    return result


def by_hand(folder: Path) -> Path:
    """A checkpoint written without any library."""
    folder.mkdir()
    header = b'{"score.weight":{"dtype":"F32","shape":[1,8],"data_offsets":[0,32]}}'
    body = len(header).to_bytes(8, "little") + header + bytes(32)
    (folder / "model.safetensors").write_bytes(body)
    (folder / "config.json").write_text('{"model_type": "llama", "hidden_size": 8}')
    return folder
