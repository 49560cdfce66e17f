"""Reward models on this machine: what a SPEC names, and batches on devices."""

import importlib
import math
import subprocess
import sys
from array import array
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hiddenrisk.errors import UsageError
from hiddenrisk.rewards import REWARDS, NoScore, Scored, Unscored, labelled, open_reward, parse
from hiddenrisk.rewards.checkpoint import Where
from hiddenrisk.rewards.local import Batches
from hiddenrisk.rewards.tokens import Row
from tests.reward_models import (
    KINDS,
    by_hand,
    gap,
    item,
    items,
    needs_torch,
    opened,
    save,
    scores,
    tensors_of,
    unscored,
    write,
)

Library = Any


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A checkpoint of each kind."""
    root = tmp_path_factory.mktemp("checkpoints")
    return {kind: save(root / kind, kind, seed=i) for i, kind in enumerate(KINDS)}


@pytest.mark.parametrize(
    ("spec", "kind", "where"),
    [
        ("armorm=/a/b", "armorm", Where(folder=Path("/a/b"))),
        ("qrm=./here", "qrm", Where(folder=Path("here"))),
        ("sequence=/a b/c", "sequence", Where(folder=Path("/a b/c"))),
        ("qrm=org/other@abc", "qrm", Where(repo="org/other", revision="abc")),
        ("org/name@v1.0", "sequence", Where(repo="org/name", revision="v1.0")),
        ("org/name", "sequence", Where(repo="org/name")),
        ("qrm", "qrm", Where(repo="nicolinho/QRM-Llama3.1-8B")),
        ("qrm@abc", "qrm", Where(repo="nicolinho/QRM-Llama3.1-8B", revision="abc")),
    ],
)
def test_a_spec_names_a_kind_and_where_its_checkpoint_is(
    spec: str, kind: str, where: Where
) -> None:
    assert parse(spec) == (kind, where)


def test_the_name_alone_means_the_published_checkpoint_at_a_pinned_commit() -> None:
    for kind, repo in (
        ("armorm", "RLHFlow/ArmoRM-Llama3-8B-v0.1"),
        ("skywork", "Skywork/Skywork-Reward-Llama-3.1-8B-v0.2"),
    ):
        name, where = parse(kind)
        assert (name, where.repo) == (kind, repo)
        assert where.revision
        assert len(where.revision) == 40


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ("", "names no reward model"),
        ("armorm@x=/y", "names no reward model"),
        ("armor", "did you mean 'armorm'"),
        ("armrm=/a/b", "did you mean 'armorm'"),
        ("mine=/a/b", "unknown reward model 'mine'"),
        ("mine=sequence", "'sequence' alone names no checkpoint"),
        ("sequence", "'sequence' alone names no checkpoint"),
        ("a/b/c", "names no reward model"),
        ("http://h#m?api=score", "unknown api 'score'"),
        ("http://h#m", "Write .api=classify"),
        ("http://h#m?api=tei&x=1", "unknown option 'x'"),
        ("http://h?api=tei", "must not hold"),
    ],
)
def test_a_spec_that_names_nothing_is_told_what_would(spec: str, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        open_reward(spec)


@pytest.mark.parametrize(
    ("spec", "label", "bare"),
    [
        ("mine=armorm", "mine", "armorm"),
        ("mine=armorm@abc", "mine", "armorm@abc"),
        ("mine=armorm=/a/b", "mine", "armorm=/a/b"),
        ("mine=sequence=/a=b", "mine", "sequence=/a=b"),
        ("My-RM.2=org/name@abc", "My-RM.2", "org/name@abc"),
        ("mine=http://h#m?api=tei", "mine", "http://h#m?api=tei"),
        ("armorm=/a/b", None, "armorm=/a/b"),
        ("qrm=org/name", None, "qrm=org/name"),
        ("mine=/a/b", None, "mine=/a/b"),
        (" armorm ", None, "armorm"),
        ("org/name", None, "org/name"),
        ("http://h#m?api=tei", None, "http://h#m?api=tei"),
    ],
)
def test_any_spec_may_have_a_label_before_it(spec: str, label: str | None, bare: str) -> None:
    assert labelled(spec) == (label, bare)


@needs_torch
def test_a_label_names_weights_and_decides_no_score(folders: dict[str, Path]) -> None:
    plain, mine = (opened(f"{n}qrm={folders['qrm']}") for n in ("", "mine="))
    assert (plain.label, mine.label) == ("qrm", "mine")
    assert plain.identity == mine.identity


def test_a_folder_that_is_not_there_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"there is no folder .*nowhere"):
        open_reward(f"armorm={tmp_path}/nowhere")


@pytest.mark.parametrize("missing", ["torch", "transformers"])
def test_without_the_extra_a_model_says_what_to_install(missing: str, tmp_path: Path) -> None:
    folder = by_hand(tmp_path / "m")
    code = (
        f"import sys; sys.modules[{missing!r}] = None; sys.modules['huggingface_hub'] = None\n"
        "from hiddenrisk.errors import UsageError\n"
        "from hiddenrisk.rewards import open_reward\n"
        f"for spec in ('armorm', 'sequence={folder}'):\n"
        "    try: open_reward(spec)\n"
        "    except UsageError as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [
        'RLHFlow/ArmoRM-Llama3-8B-v0.1 needs an extra: pip install "hiddenrisk[rewards]"',
        'the reward model m needs an extra: pip install "hiddenrisk[rewards]"',
    ]


def test_nothing_heavy_is_imported_until_a_model_is_asked_for() -> None:
    code = (
        "import sys, hiddenrisk.rewards\n"
        "heavy = {'torch', 'transformers', 'tokenizers', 'safetensors', 'huggingface_hub'}\n"
        "print(sorted(heavy & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@needs_torch
@pytest.mark.parametrize("kind", KINDS)
def test_neither_order_nor_padding_nor_batch_size_changes_a_score(
    kind: str, folders: dict[str, Path]
) -> None:
    asked = items(23)
    spec = f"{kind}={folders[kind]}"
    together = scores(open_reward(spec), asked)
    backwards = scores(open_reward(spec), asked[::-1])
    model = open_reward(spec)
    alone = {key: one for i in asked for key, one in scores(model, [i]).items()}
    narrow = scores(open_reward(spec, batch_tokens=400), asked)
    wide = scores(open_reward(spec, batch_tokens=1), asked)  # one row a batch
    for other in (backwards, alone, narrow, wide):
        assert max(gap(together[key], other[key]) for key in together) < 1e-4
    values = [one.score for one in together.values()]
    assert max(values) - min(values) > 1e-2  # there is something to tell apart


@needs_torch
@pytest.mark.parametrize("kind", KINDS)
def test_each_score_has_the_attributes_that_the_model_names(
    kind: str, folders: dict[str, Path]
) -> None:
    model = open_reward(f"{kind}={folders[kind]}")
    assert model.label == kind
    assert model.headline == "score"
    (one,) = scores(model, [item("a", "Bread.")]).values()
    assert tuple(one.attributes) == model.attributes
    assert len(model.attributes) == (1 if kind == "skywork" else 19)
    assert len(one.quantiles) == (19 if kind == "qrm" else 0)
    if kind == "qrm":
        # Mean of the distribution: the gate and the transform are linear.
        assert sum(one.quantiles) / 19 == pytest.approx(one.score, abs=1e-4)


@needs_torch
def test_two_workers_score_each_text_once_and_alike(folders: dict[str, Path]) -> None:
    asked = items(60)
    spec = f"qrm={folders['qrm']}"
    one = scores(open_reward(spec, batch_tokens=500), asked)
    two = opened(spec, batch_tokens=500, devices=["cpu", "cpu"])
    many = scores(two, asked)
    assert len(two.networks) == 2
    assert max(gap(one[key], many[key]) for key in one) < 1e-4


@needs_torch
def test_a_long_list_is_read_in_pools(
    folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hiddenrisk.rewards.local.POOL", 7)
    asked = [*items(30), item("empty", "")]
    found = list(open_reward(f"skywork={folders['skywork']}").score(asked))
    assert sorted(r.key for r in found) == sorted(i.key for i in asked)
    assert [r.key for r in found if isinstance(r, Unscored)] == ["empty"]


@needs_torch
def test_nobody_has_to_take_all_scores(folders: dict[str, Path]) -> None:
    model = open_reward(f"skywork={folders['skywork']}", batch_tokens=1)
    some = model.score(items(50))
    next(some)
    del some
    assert len(scores(model, items(3))) == 3


@needs_torch
def test_no_items_need_no_weights(folders: dict[str, Path]) -> None:
    model = opened(f"skywork={folders['skywork']}")
    assert list(model.score([])) == []
    assert model.networks == []


@needs_torch
def test_a_closed_model_loads_again(folders: dict[str, Path]) -> None:
    model = opened(f"skywork={folders['skywork']}")
    before = scores(model, items(2))
    model.close()
    assert model.networks == []
    assert scores(model, items(2)) == before


def _rows(lengths: Iterable[int]) -> list[Row]:
    return [Row(f"k{i}", array("I", [0] * n), 0, False) for i, n in enumerate(lengths)]


@given(st.lists(st.integers(1, 300), max_size=40), st.integers(1, 700))
def test_a_batch_is_bounded_and_each_row_is_in_one(lengths: list[int], most: int) -> None:
    batches = Batches(most)
    batches.add(_rows(lengths))
    seen: list[str] = []
    while batch := batches.take():
        longest = max(len(row.ids) for row in batch)
        assert len(batch) == 1 or longest * len(batch) <= most
        seen += [row.key for row in batch]
    assert sorted(seen) == sorted(f"k{i}" for i in range(len(lengths)))


class Cramped:
    """A network on a device that holds so many tokens at once, padding counted."""

    def __init__(self, network: Any, most: int) -> None:  # noqa: ANN401 - a Network
        self._network = network
        self._most = most
        self.device = network.device
        self.tried: list[int] = []

    def forward(self, batch: Sequence[Row]) -> Any:  # noqa: ANN401 - Outputs
        tokens = len(batch) * max(len(row.ids) for row in batch)
        self.tried.append(tokens)
        if tokens > self._most:
            torch: Library = importlib.import_module("torch")
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return self._network.forward(batch)


@needs_torch
def test_out_of_memory_halves_the_batch_and_goes_on(folders: dict[str, Path]) -> None:
    asked = items(40)
    spec = f"armorm={folders['armorm']}"
    wanted = scores(open_reward(spec), asked)
    model = opened(spec)
    cramped = Cramped(model.load()[0], 700)
    model.networks = [cramped]  # pyright: ignore[reportAttributeAccessIssue] - looks like one
    found = scores(model, asked)
    assert max(gap(wanted[key], found[key]) for key in wanted) < 1e-4
    assert model.batch_tokens <= 700
    before = len(cramped.tried)
    scores(model, asked)
    assert max(cramped.tried[before:]) <= 700  # what was learnt stays


@needs_torch
def test_a_text_that_does_not_fit_alone_has_no_score_and_stops_nobody(
    folders: dict[str, Path],
) -> None:
    asked = [item("long", "flour " * 60), item("a", "x"), item("b", "y")]
    model = opened(f"qrm={folders['qrm']}", devices=["cpu", "cpu"])
    model.networks = [Cramped(n, 120) for n in model.load()]  # pyright: ignore[reportAttributeAccessIssue] - looks like some
    found = {r.key: r for r in model.score(asked)}
    lost = found["long"]
    assert isinstance(lost, Unscored)
    assert lost.reason is NoScore.OUT_OF_MEMORY
    assert "tokens do not fit into the memory of cpu" in lost.message
    assert isinstance(found["a"], Scored)
    assert isinstance(found["b"], Scored)


@needs_torch
def test_a_cpu_that_is_out_of_memory_is_known_by_torchs_words(folders: dict[str, Path]) -> None:
    model = opened(f"skywork={folders['skywork']}")
    torch: Library = importlib.import_module("torch")

    class Huge:
        device = "cpu"

        def forward(self, batch: Sequence[Row]) -> Any:  # noqa: ANN401 - never returns
            return torch.zeros(1 << 60)

    model.networks = [Huge()]  # pyright: ignore[reportAttributeAccessIssue] - looks like one
    assert unscored(model, item("a", "x")).reason is NoScore.OUT_OF_MEMORY


@needs_torch
def test_a_library_of_the_card_that_has_no_memory_halves_the_batch_too(
    folders: dict[str, Path],
) -> None:
    model = opened(f"skywork={folders['skywork']}")
    real = model.load()[0]
    sizes: list[int] = []

    class Full:
        device = "cpu"

        def forward(self, batch: Sequence[Row]) -> Any:  # noqa: ANN401 - Outputs
            sizes.append(len(batch))
            if len(batch) > 2:
                raise RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublas`")
            return real.forward(batch)

    model.networks = [Full()]  # pyright: ignore[reportAttributeAccessIssue] - looks like one
    assert len(scores(model, items(8))) == 8
    assert sizes[0] == 8
    assert sizes[-1] <= 2
    before = len(sizes)
    assert len(scores(model, items(8))) == 8
    assert max(sizes[before:]) <= 4, "what was learnt stays"


@needs_torch
def test_any_other_error_of_a_device_is_raised(folders: dict[str, Path]) -> None:
    model = opened(f"skywork={folders['skywork']}")

    class Broken:
        device = "cpu"

        def forward(self, batch: Sequence[Row]) -> Any:  # noqa: ANN401 - never returns
            raise RuntimeError("device-side assert triggered")

    model.networks = [Broken()]  # pyright: ignore[reportAttributeAccessIssue] - looks like one
    with pytest.raises(RuntimeError, match="device-side assert"):
        list(model.score(items(3)))


@needs_torch
@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("kind", KINDS)
def test_nan_and_infinity_are_no_scores(kind: str, value: float, tmp_path: Path) -> None:
    folder = save(tmp_path / "m", kind)
    tensors = tensors_of(folder)
    name = "score.weight" if kind == "skywork" else "regression_layer.weight"
    tensors[name][0, 0] = value
    write(folder, tensors)
    result = unscored(open_reward(f"{kind}={folder}"), item("a", "x"))
    assert result.reason is NoScore.NOT_FINITE


def test_every_kind_is_documented() -> None:
    page = Path(__file__).parents[1] / "docs" / "rewards.md"
    text = page.read_text(encoding="utf-8")
    assert [name for name in REWARDS if f"`{name}`" not in text] == []
