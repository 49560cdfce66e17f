"""Checkpoints of reward models: whole ones, wrong ones, broken ones, and the hub's cache."""

import importlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from hiddenrisk.errors import DataError, UsageError
from hiddenrisk.rewards import open_reward
from tests.reward_models import (
    HIDDEN,
    KINDS,
    by_hand,
    items,
    needs_torch,
    save,
    scores,
)

Library = Any


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A checkpoint of each kind."""
    root = tmp_path_factory.mktemp("checkpoints")
    return {kind: save(root / kind, kind, seed=i) for i, kind in enumerate(KINDS)}


@needs_torch
def test_shards_and_one_file_give_the_same_scores(tmp_path: Path) -> None:
    one, many = (save(tmp_path / str(n), "qrm", seed=5, shards=n) for n in (1, 3))
    asked = items(4)
    first, second = (scores(open_reward(f"qrm={folder}"), asked) for folder in (one, many))
    assert first == second


@needs_torch
def test_the_identity_tells_weights_apart_and_names_no_place(tmp_path: Path) -> None:
    same, copy = (save(tmp_path / n, "armorm", seed=1) for n in ("one", "two"))
    other = save(tmp_path / "three", "armorm", seed=2)
    first, second, third = (open_reward(f"armorm={f}").identity for f in (same, copy, other))
    assert first == second != third
    assert str(tmp_path) not in json.dumps(first)
    assert first["reward"] == "armorm"
    assert (first["dtype"], first["window"], first["temperature"]) == ("float32", 512, 10.0)
    narrow = open_reward(f"armorm={same}", window=200).identity
    assert narrow["window"] == 200


@needs_torch
@pytest.mark.parametrize(
    ("made", "asked", "says"),
    [
        ("skywork", "armorm", "no armorm checkpoint: it lacks gating.layers.0.bias, .* and 8 more"),
        ("armorm", "skywork", "no skywork checkpoint: it lacks score.weight; it also has gating"),
        ("armorm", "qrm", "no qrm checkpoint: it lacks gating"),
        ("qrm", "armorm", "no armorm checkpoint"),
    ],
)
def test_a_checkpoint_of_another_kind_is_refused(
    made: str, asked: str, says: str, folders: dict[str, Path]
) -> None:
    with pytest.raises(DataError, match=says):
        open_reward(f"{asked}={folders[made]}")


@needs_torch
def test_a_missing_tensor_is_named_and_never_drawn_at_random(tmp_path: Path) -> None:
    folder = save(tmp_path / "m", "skywork", leave_out=("model.norm.weight",))
    with pytest.raises(DataError, match=r"it lacks model\.norm\.weight\. Is it another model"):
        open_reward(f"skywork={folder}")


@needs_torch
def test_a_tensor_too_many_is_named(tmp_path: Path) -> None:
    torch: Library = importlib.import_module("torch")
    folder = save(tmp_path / "m", "skywork", more={"lm_head.weight": torch.zeros(3, 3)})
    with pytest.raises(DataError, match=r"it also has lm_head\.weight"):
        open_reward(f"skywork={folder}")


@needs_torch
def test_a_classifier_with_two_outputs_is_no_reward_model(tmp_path: Path) -> None:
    torch: Library = importlib.import_module("torch")
    folder = save(tmp_path / "m", "skywork", more={"score.weight": torch.zeros(2, HIDDEN)})
    with pytest.raises(DataError, match=r"score.weight is \[2, 32\] and not \[1, 32\]"):
        open_reward(f"sequence={folder}")


@needs_torch
def test_what_old_checkpoints_keep_of_rotary_positions_is_passed_over(tmp_path: Path) -> None:
    torch: Library = importlib.import_module("torch")
    name = "model.layers.0.self_attn.rotary_emb.inv_freq"
    folder = save(tmp_path / "m", "skywork", more={name: torch.zeros(4)})
    assert scores(open_reward(f"skywork={folder}"), items(2))


@needs_torch
def test_code_beside_the_weights_is_never_run(tmp_path: Path) -> None:
    folder = save(tmp_path / "m", "armorm")
    ran = tmp_path / "ran"
    code = f"import pathlib; pathlib.Path({str(ran)!r}).touch()\nclass Model: pass\n"
    (folder / "modeling_custom.py").write_text(code)
    config = json.loads((folder / "config.json").read_text())
    names = ("AutoModel", "AutoConfig", "AutoModelForSequenceClassification", "AutoTokenizer")
    config["auto_map"] = dict.fromkeys(names, "modeling_custom.Model")
    (folder / "config.json").write_text(json.dumps(config))
    assert scores(open_reward(f"armorm={folder}"), items(1))
    assert not ran.exists()


@needs_torch
def test_a_model_that_needs_its_own_code_is_refused(tmp_path: Path) -> None:
    folder = save(tmp_path / "m", "skywork")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "model_type": "mystery"}))
    with pytest.raises(DataError, match=r"model of type 'mystery'.* own code"):
        open_reward(f"skywork={folder}")


def _ruin(folder: Path, how: str) -> None:
    weights = folder / "model.safetensors"
    index = folder / "model.safetensors.index.json"
    if how == "pickled":
        weights.rename(folder / "pytorch_model.bin")
    elif how == "cut":
        weights.write_bytes(weights.read_bytes()[:-5])
    elif how == "short":
        weights.write_bytes(b"\x01\x02")
    elif how == "no header":
        weights.write_bytes((1 << 62).to_bytes(8, "little") + b"{}")
    elif how == "no shard":
        index.write_text('{"weight_map": {"a": "model-00001-of-00001.safetensors"}}')
    elif how == "elsewhere":
        index.write_text('{"weight_map": {"a": "../other/model.safetensors"}}')
    elif how == "no config":
        (folder / "config.json").unlink()
    elif how == "bad config":
        (folder / "config.json").write_text("{oh no")
    elif how == "a list":
        (folder / "config.json").write_text("[]")


@pytest.mark.parametrize(
    ("how", "says"),
    [
        ("pickled", "weights are read from safetensors only"),
        ("cut", r"model.safetensors is cut or damaged \(\d+ bytes\)"),
        ("short", "no safetensors file"),
        ("no header", "cut or damaged"),
        ("no shard", "model-00001-of-00001.safetensors is missing"),
        ("elsewhere", "lists no files of its own folder"),
        ("no config", "has no config.json"),
        ("bad config", "cannot be read"),
        ("a list", "holds no JSON object"),
    ],
)
def test_a_broken_checkpoint_is_one_sentence(how: str, says: str, tmp_path: Path) -> None:
    folder = by_hand(tmp_path / "m")
    _ruin(folder, how)
    with pytest.raises(DataError, match=says):
        open_reward(f"sequence={folder}")


@needs_torch
def test_a_checkpoint_without_a_tokenizer_is_refused(tmp_path: Path) -> None:
    folder = save(tmp_path / "m", "skywork")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).unlink()
    with pytest.raises(DataError, match="tokenizer"):
        open_reward(f"skywork={folder}")


@needs_torch
@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"window": 10}, "a window of 10 tokens .* write 64 to 512"),
        ({"window": 513}, "a window of 513 tokens"),
        ({"devices": ["cuda:77"]}, "there is no device 'cuda:77' here"),
        ({"batch_tokens": 0}, "a batch of 0 tokens"),
    ],
)
def test_options_that_cannot_be_are_refused(
    options: dict[str, Any], says: str, folders: dict[str, Path]
) -> None:
    with pytest.raises(UsageError, match=says):
        open_reward(f"skywork={folders['skywork']}", **options)


COMMIT = "0123456789abcdef0123456789abcdef01234567"


@needs_torch
def test_a_commit_in_the_hubs_cache_needs_no_network(tmp_path: Path) -> None:
    place = tmp_path / "models--org--tiny" / "snapshots" / COMMIT
    save(place, "skywork")
    model = open_reward(f"org/tiny@{COMMIT}", cache_dir=tmp_path)
    assert model.label == "tiny"
    assert model.identity["repo"] == "org/tiny"
    assert model.identity["revision"] == COMMIT
    assert scores(model, items(2))


@needs_torch
@pytest.mark.parametrize("revision", ["", "@main"])
def test_a_hub_that_cannot_be_reached_is_one_sentence(revision: str, tmp_path: Path) -> None:
    code = (
        "from pathlib import Path\n"
        "from hiddenrisk.errors import UsageError\n"
        "from hiddenrisk.rewards import open_reward\n"
        f"try: open_reward('org/tiny{revision}', cache_dir=Path({str(tmp_path)!r}))\n"
        "except UsageError as error: print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={"HF_ENDPOINT": "http://127.0.0.1:9", "PYTHONPATH": ":".join(sys.path)},
    )
    (said,) = done.stdout.splitlines()
    assert said.startswith("cannot fetch org/tiny (")
    assert said.endswith("NAME=/path/to/checkpoint")
