"""Reward models whose weights are on this machine: loading, batching, several cards.

The backbone is `transformers`' own (bfloat16 on a GPU, float32 on a CPU), the head is ours
(`heads`, always float32). Rows are padded on the right and the backbone is causal, so padding
can change no state before it: no mask is needed, and a row scores in a batch as it does alone.

Each device has a copy of the model and a thread that hands it the next batch before it waits
for the scores of the one before: a card is idle for nobody. A batch holds at most `batch_tokens` tokens, padding counted, and rows
of like length; at least one row. A batch that does not fit into memory is taken apart and the
bound halved; a row that does not fit alone has no score.
"""

import math
import queue
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any

from hiddenrisk.errors import UsageError
from hiddenrisk.rewards.base import Item, NoScore, Scored, Unscored
from hiddenrisk.rewards.checkpoint import Checkpoint, check
from hiddenrisk.rewards.heads import Head, Outputs
from hiddenrisk.rewards.loading import Libraries, Network, window_of
from hiddenrisk.rewards.tokens import Encoder, Row

POOL = 2048
"""So many items are read ahead and sorted by length; what bounds memory for long lists."""
BATCH_TOKENS = 16384
"""Keeps a card busy with 8 billion weights; one with less memory finds its own bound."""
Result = Scored | Unscored
Begun = tuple[list[Row], Outputs | None]
"""A batch and the scores that it will have; None for a row that does not fit into memory."""


class Batches:
    """Rows waiting to be scored, the longest first, and how large a batch may be.

    The longest first, so that what does not fit shows at once. Several threads take from it.
    """

    def __init__(self, most_tokens: int) -> None:
        self.most_tokens = most_tokens
        self._rows: deque[Row] = deque()
        self._lock = threading.Lock()

    def add(self, rows: Sequence[Row]) -> None:
        """Rows of a pool, when those of the one before are done."""
        with self._lock:
            self._rows.extend(sorted(rows, key=lambda row: len(row.ids), reverse=True))

    def take(self) -> list[Row]:
        """The next batch; empty when none is left."""
        with self._lock:
            batch: list[Row] = []
            while self._rows:
                longest = len(batch[0].ids) if batch else len(self._rows[0].ids)
                if batch and longest * (len(batch) + 1) > self.most_tokens:
                    break
                batch.append(self._rows.popleft())
            return batch

    def put_back(self, batch: Sequence[Row]) -> None:
        """A batch that did not fit: it comes again in halves, and later ones are smaller."""
        with self._lock:
            self._rows.extendleft(reversed(batch))
            fits = len(batch[0].ids) * len(batch) // 2
            self.most_tokens = max(1, min(self.most_tokens, fits))

    def clear(self) -> None:
        """Forget what is waiting."""
        with self._lock:
            self._rows.clear()


class LocalReward:
    """A reward model on this machine; its weights are loaded at the first score."""

    headline = "score"
    local = True

    def __init__(
        self,
        label: str,
        kind: str,
        found: Checkpoint,
        head: Head,
        *,
        window: int | None = None,
        batch_tokens: int = BATCH_TOKENS,
        devices: Sequence[str] | None = None,
    ) -> None:
        """See that all is there that a score needs, without loading the weights.

        Args:
            label: the name in tables.
            kind: what the head is called.
            found: the checkpoint.
            head: as its configuration describes it.
            window: tokens of prompt and text together, at most; None for the model's own.
            batch_tokens: of one batch, padding included.
            devices: torch's names, each with a copy; None for all GPUs, or else the CPU.

        Raises:
            UsageError: the extra is not installed, or a device is not there.
            DataError: the checkpoint is of another kind, or its tokenizer is of no use.
        """
        self._libraries = Libraries(label)
        self._found, self._head = found, head
        self._config = config = self._libraries.config(found)
        backbone = self._libraries.shapes(config, found)
        check(found, kind, backbone, head.shapes(), head.unused())
        self._devices = self._libraries.devices(devices)
        self._dtype = "bfloat16" if self._devices[0].startswith("cuda") else "float32"
        window = window_of(config, window, found)
        tokenizer = self._libraries.tokenizer(found)
        self.encoder = Encoder(tokenizer, name=found.name, window=window, gated=head.gated)
        self.label = label
        self.attributes = head.attributes
        self.identity: dict[str, Any] = {
            "reward": kind,
            **found.identity,
            **head.settings,
            "dtype": self._dtype,
            "window": window,
        }
        self.batch_tokens = batch_tokens
        """Of a batch, at most; less from when one did not fit into memory."""
        self.networks: list[Network] = []
        self._threads: list[ThreadPoolExecutor] = []
        """One for each network, kept: a card takes most of a second to know a new thread."""

    def load(self) -> list[Network]:
        """The model on each device, loaded once.

        Raises:
            UsageError: it does not fit into memory.
        """
        while len(self.networks) < len(self._devices):
            device = self._devices[len(self.networks)]
            try:
                network = self._libraries.network(
                    self._found, self._config, self._head, device, self._dtype
                )
            except (RuntimeError, MemoryError) as error:
                if not self._libraries.out_of_memory(error):
                    raise
                raise UsageError(
                    f"{self.label} does not fit into the memory of {device}; use a larger one, or "
                    "score behind an endpoint: http://host:port#model?api=classify"
                ) from error
            self.networks.append(network)
        return self.networks

    def close(self) -> None:
        """Give the memory back."""
        self.networks = []
        for thread in self._threads:
            thread.shutdown()
        self._threads = []
        self._empty_cache()

    def score(self, items: Sequence[Item]) -> Iterator[Result]:
        """Score texts, each once, in the order that fills batches best."""
        if not items:
            return
        networks = self.load()
        while len(self._threads) < len(networks):
            self._threads.append(ThreadPoolExecutor(1))
        workers = list(zip(networks, self._threads, strict=False))
        results: queue.SimpleQueue[Result | BaseException] = queue.SimpleQueue()
        batches = Batches(self.batch_tokens)
        pools = [items[i : i + POOL] for i in range(0, len(items), POOL)]
        drains: list[Future[None]] = []
        with ThreadPoolExecutor(1) as reader:
            try:
                ahead = reader.submit(self._read, pools[0])
                for following in [*pools[1:], ()]:
                    rows, unreadable = ahead.result()
                    ahead = reader.submit(self._read, following)  # while these are scored
                    yield from unreadable
                    batches.add(rows)
                    drains = [t.submit(self._drain, n, batches, results) for n, t in workers]
                    for _ in rows:
                        if isinstance(result := results.get(), BaseException):
                            raise result
                        yield result
            finally:
                batches.clear()
                wait(drains)
                self.batch_tokens = batches.most_tokens

    def _read(self, items: Sequence[Item]) -> tuple[list[Row], list[Unscored]]:
        rows: list[Row] = []
        unreadable: list[Unscored] = []
        for item in items:
            read = self.encoder.encode(item)
            if isinstance(read, Row):
                rows.append(read)
            else:
                unreadable.append(read)
        return rows, unreadable

    def _drain(
        self,
        network: Network,
        batches: Batches,
        results: "queue.SimpleQueue[Result | BaseException]",
    ) -> None:
        """Score batches on one device until none is left."""
        begun: Begun | None = None
        try:
            while batch := batches.take():
                outputs = self._begin(network, batch)
                if outputs is None and len(batch) > 1:
                    batches.put_back(batch)
                    continue
                self._tell(network, begun, results)
                begun = batch, outputs
            self._tell(network, begun, results)
        except BaseException as error:  # noqa: BLE001 - raised again in the thread that waits
            results.put(error)

    def _begin(self, network: Network, batch: list[Row]) -> Outputs | None:
        """Hand a batch to the device, which may still work on another; None if it does not fit."""
        try:
            return network.forward(batch)
        except (RuntimeError, MemoryError) as error:
            if not self._libraries.out_of_memory(error):
                raise
        # Out of the `except`: the error holds on to the tensors that filled the memory.
        self._empty_cache()
        return None

    def _tell(
        self,
        network: Network,
        begun: Begun | None,
        results: "queue.SimpleQueue[Result | BaseException]",
    ) -> None:
        """Wait for the scores of a batch and hand them out."""
        if begun is None:
            return
        batch, outputs = begun
        if outputs is None:
            for row in batch:
                message = f"{len(row.ids)} tokens do not fit into the memory of {network.device}"
                results.put(Unscored(row.key, NoScore.OUT_OF_MEMORY, message))
            return
        scores, attributes, quantiles = outputs
        spreads = [()] * len(batch) if quantiles is None else quantiles.tolist()
        columns = batch, scores.tolist(), attributes.tolist(), spreads
        for row in zip(*columns, strict=True):
            results.put(self._result(*row))

    def _result(
        self, row: Row, score: float, values: Sequence[float], spread: Sequence[float]
    ) -> Result:
        if not all(map(math.isfinite, (score, *values, *spread))):
            message = "the model gave a score that is no finite number"
            return Unscored(row.key, NoScore.NOT_FINITE, message)
        return Scored(
            key=row.key,
            score=score,
            attributes=dict(zip(self.attributes, values, strict=True)),
            quantiles=tuple(spread),
            tokens=len(row.ids),
            cut=row.cut,
        )

    def _empty_cache(self) -> None:
        if self._dtype == "bfloat16":
            self._libraries.torch.cuda.empty_cache()
