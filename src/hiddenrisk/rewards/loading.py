"""What torch and transformers are needed for: checking, loading and running a backbone.

Both are heavy and optional, so they are imported when a model is asked for and not before.
"""

import importlib
import importlib.util
import os
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from hiddenrisk.errors import DataError, UsageError
from hiddenrisk.rewards.checkpoint import INSTALL, Checkpoint, Library
from hiddenrisk.rewards.heads import Head, Outputs, Shapes, Tensor, Weights
from hiddenrisk.rewards.tokens import Row

_USUAL_WINDOW = 8192
"""ArmoRM's whole window. Llama 3.1 has places for 131,072 tokens; no reward model here was
trained near that, and an answer is seldom longer."""
_LEAST_WINDOW = 64
_OUT_OF_MEMORY = ("can't allocate memory", "not enough memory", "_STATUS_ALLOC_FAILED")
"""Of torch's CPU allocator, and of cuBLAS and cuDNN, which ask for memory of their own."""


class Libraries:
    """Torch and transformers."""

    def __init__(self, label: str) -> None:
        """Import them.

        Raises:
            UsageError: the extra is not installed.
        """
        # All are looked for before one is imported, which takes seconds.
        names = ("torch", "transformers", "safetensors")
        if not all(map(importlib.util.find_spec, names)):
            raise UsageError(f"the reward model {label} needs an extra: {INSTALL}")
        # Threads that spin while they wait cost most of the speed of a busy machine.
        os.environ.setdefault("OMP_WAIT_POLICY", "passive")
        self.torch: Library = importlib.import_module("torch")
        self.transformers: Library = importlib.import_module("transformers")
        self.safetensors: Library = importlib.import_module("safetensors")

    def config(self, found: Checkpoint) -> Any:  # noqa: ANN401 - of transformers
        """The configuration of the backbone.

        Raises:
            DataError: it cannot be had without running the repository's own code.
        """
        try:
            return self.transformers.AutoConfig.from_pretrained(
                str(found.folder), local_files_only=True, trust_remote_code=False
            )
        except (OSError, ValueError, KeyError, TypeError) as error:
            kind = found.config.get("model_type")
            raise DataError(
                f"{found.name} is a model of type '{kind}', which transformers cannot load without "
                "running the repository's own code; take another reward model"
            ) from error

    def shapes(self, config: Library, found: Checkpoint) -> Shapes:
        """The tensors of the backbone, by name, without taking memory for them.

        Raises:
            DataError: transformers has no backbone of this kind.
        """
        try:
            with self.torch.device("meta"):
                backbone = self.transformers.AutoModel.from_config(config, trust_remote_code=False)
        except (ValueError, TypeError, RuntimeError) as error:
            said = str(error).partition("\n")[0][:200]
            raise DataError(
                f"{found.name} has a config.json that makes no model ({said})"
            ) from error
        return {name: tuple(tensor.shape) for name, tensor in backbone.state_dict().items()}

    def tokenizer(self, found: Checkpoint) -> Any:  # noqa: ANN401 - of transformers
        """The checkpoint's tokenizer.

        Raises:
            DataError: it has none that can be read.
        """
        try:
            return self.transformers.AutoTokenizer.from_pretrained(
                str(found.folder), local_files_only=True, trust_remote_code=False
            )
        except (OSError, ValueError, KeyError, TypeError, ImportError) as error:
            said = str(error).strip().partition("\n")[0][:200]
            raise DataError(f"{found.name} has no tokenizer that can be read ({said})") from error

    def devices(self, wanted: Sequence[str] | None) -> list[str]:
        """The devices to work on, each with a copy of the model.

        Raises:
            UsageError: one of them is not there, or they are of two kinds.
        """
        cards = [f"cuda:{i}" for i in range(self.torch.cuda.device_count())]
        devices = list(wanted or cards or ["cpu"])
        for device in devices:
            if device not in {"cpu", *cards}:
                there = ", ".join([*cards, "cpu"])
                raise UsageError(f"there is no device '{device}' here; there is: {there}")
        if len({device.partition(":")[0] for device in devices}) > 1:
            raise UsageError("a CPU and a GPU round differently; name devices of one kind")
        return devices

    def network(
        self, found: Checkpoint, config: Library, head: Head, device: str, dtype: str
    ) -> "Network":
        """The model on one device. Checked before, so that nothing is left at random."""
        with self._quiet():
            backbone = self.transformers.AutoModel.from_pretrained(
                str(found.folder),
                config=config,
                dtype=getattr(self.torch, dtype),
                use_safetensors=True,
                local_files_only=True,
                trust_remote_code=False,
            )
        weights = self._head_weights(found, head.shapes(), device)
        return Network(self.torch, backbone.eval().to(device), head, weights, device)

    def out_of_memory(self, error: BaseException) -> bool:
        """Whether memory ran out; a CPU and some libraries of a card say so in words only."""
        said = str(error)
        return isinstance(error, self.torch.OutOfMemoryError | MemoryError) or any(
            words in said for words in _OUT_OF_MEMORY
        )

    def _head_weights(self, found: Checkpoint, shapes: Shapes, device: str) -> Weights:
        """The head's tensors, in float32."""
        weights: dict[str, Tensor] = {}
        for file in sorted({found.files[name] for name in shapes}):
            path = found.folder / file
            with self.safetensors.safe_open(path, framework="pt", device=device) as tensors:
                names = [name for name in shapes if found.files[name] == file]
                weights |= {name: tensors.get_tensor(name).float() for name in names}
        return weights

    @contextmanager
    def _quiet(self) -> Generator[None]:
        """Without the bars and warnings of transformers, which are then as before.

        It warns of the head's tensors as unexpected ones; what is expected we have checked.
        """
        said: Library = self.transformers.utils.logging
        verbosity, bars = said.get_verbosity(), said.is_progress_bar_enabled()
        said.set_verbosity_error()
        said.disable_progress_bar()
        try:
            yield
        finally:
            said.set_verbosity(verbosity)
            if bars:
                said.enable_progress_bar()


def window_of(config: Library, wanted: int | None, found: Checkpoint) -> int:
    """Tokens of prompt and text together, at most.

    Raises:
        UsageError: more are wanted than the model has places for, or hardly any.
    """
    most = int(getattr(config, "max_position_embeddings", 0) or _USUAL_WINDOW)
    if wanted is None:
        return min(most, _USUAL_WINDOW)
    if not _LEAST_WINDOW <= wanted <= most:
        raise UsageError(
            f"a window of {wanted} tokens for {found.name}: write {_LEAST_WINDOW} to {most}"
        )
    return wanted


class Network:
    """A backbone and a head on one device."""

    def __init__(
        self, torch: Library, backbone: Library, head: Head, weights: Weights, device: str
    ) -> None:
        self.backbone = backbone
        self.device = device
        self._torch = torch
        self._head = head
        self._weights = weights

    def inputs(self, batch: Sequence[Row]) -> Tensor:
        """The tokens of a batch, [rows, longest], padded on the right."""
        ids = np.zeros((len(batch), max(len(row.ids) for row in batch)), dtype=np.int64)
        for i, row in enumerate(batch):
            ids[i, : len(row.ids)] = row.ids
        return self._sent(ids)

    def forward(self, batch: Sequence[Row]) -> Outputs:
        """Score a batch. On a card the scores may still be in the making when this returns."""
        torch = self._torch
        places = np.array([(i, len(row.ids) - 1, row.gate) for i, row in enumerate(batch)])
        with torch.inference_mode():
            rows, last, gate = self._sent(places.T)
            states = self.backbone(input_ids=self.inputs(batch), use_cache=False)[0]
            return self._head(self._weights, states[rows, last].float(), states[rows, gate].float())

    def _sent(self, numbers: "np.ndarray[Any, np.dtype[np.int64]]") -> Tensor:
        """Numbers on the device; a card fetches them by itself and nobody waits for it."""
        tensor = self._torch.from_numpy(np.ascontiguousarray(numbers))
        if self.device == "cpu":
            return tensor
        return tensor.pin_memory().to(self.device, non_blocking=True)
