"""A tiny random causal model, saved as a real one is: weights, configuration, tokenizer.

Random weights say nothing anybody would read, but they say it the same way wherever they are
loaded. So that a reply has a thought, an answer and an end, a script can be put into the last
matrix: the token that follows each of its tokens.
"""

import importlib
import itertools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

Library = Any
BOS, EOS, PAD, START, STOP = "<|begin|>", "<|end_of_text|>", "<|pad|>", "<|start|>", "<|im_end|>"
CONTROLS = (BOS, EOS, PAD, START, STOP)
WORDS = ("<think>", "</think>", "Let", "Ġme", "Ġsee", "Yes", "Ġof", "Ġcourse")
"""Tokens beside the bytes; of the tags, each is one, as in most models that think."""
PLAIN = (
    "{{ bos_token }}{% for m in messages %}<|start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|start|>assistant\n{% endif %}"
)
OPENS = PLAIN.replace("assistant\n{% endif", "assistant\n<think>\n{% endif")
"""It opens the thought, as that of DeepSeek-R1 does."""
SWITCHED = PLAIN.replace(
    "assistant\n{% endif",
    "assistant\n{% if enable_thinking is defined and not enable_thinking %}"
    "<think>\n\n</think>\n\n{% endif %}{% endif",
)
"""It closes the thought where that is asked for, as Qwen3's does."""
SCRIPT = ("Ċ", "Let", "Ġme", "Ġsee", "</think>", "Yes", "Ġof", "Ġcourse", STOP)
"""After a line's end: the rest of a thought, its end, and an answer."""
_SIZES: dict[str, Any] = {
    "hidden_size": 128,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
}


def save(
    folder: Path,
    *,
    template: str | None = PLAIN,
    script: Sequence[str] = (),
    seed: int = 0,
    **config: Any,  # noqa: ANN401 - any field of a configuration
) -> Path:
    """Write a whole checkpoint of Llama's architecture."""
    torch: Library = importlib.import_module("torch")
    transformers: Library = importlib.import_module("transformers")
    words = tokenizer(template)
    words.save_pretrained(str(folder))
    ids = {name: words.convert_tokens_to_ids(name) for name in (BOS, EOS, PAD, STOP)}
    made = transformers.LlamaConfig(
        vocab_size=len(words),
        bos_token_id=ids[BOS],
        eos_token_id=[ids[EOS], ids[STOP]],
        pad_token_id=ids[PAD],
        dtype="float32",
        **{**_SIZES, **config},
    )
    torch.manual_seed(seed)
    model = transformers.LlamaForCausalLM(made).float()
    with torch.no_grad():
        model.lm_head.weight.mul_(4)  # else all tokens are about as likely
        embedded = model.model.embed_tokens.weight
        for token, following in itertools.pairwise(script):
            now, then = (words.convert_tokens_to_ids(t) for t in (token, following))
            model.lm_head.weight[then] += 40 * embedded[now]
    model.generation_config = transformers.GenerationConfig(eos_token_id=[ids[EOS], ids[STOP]])
    model.save_pretrained(str(folder), safe_serialization=True)
    return folder


def without(folder: Path, *names: str) -> Path:
    """The checkpoint with files missing."""
    for name in names:
        (folder / name).unlink()
    return folder


def configured(folder: Path, **fields: object) -> Path:
    """The checkpoint with other fields in its configuration."""
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))
    return folder


def tokenizer(template: str | None) -> Library:
    """A fast tokenizer of bytes and a few whole words, with a chat template."""
    tokenizers: Library = importlib.import_module("tokenizers")
    transformers: Library = importlib.import_module("transformers")
    pieces = sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet())
    vocab = {word: place for place, word in enumerate([*pieces, *WORDS, *CONTROLS])}
    made = tokenizers.Tokenizer(tokenizers.models.BPE(vocab=vocab, merges=[], ignore_merges=True))
    made.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = tokenizers.decoders.ByteLevel()
    made.add_tokens([tokenizers.AddedToken(tag, special=False) for tag in WORDS[:2]])
    made.add_special_tokens([tokenizers.AddedToken(c, special=True) for c in CONTROLS])
    made.post_processor = tokenizers.processors.TemplateProcessing(
        single=f"{BOS} $A", special_tokens=[(BOS, vocab[BOS])]
    )
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=made,
        bos_token=BOS,
        eos_token=STOP,
        pad_token=PAD,
        chat_template=template,
    )
