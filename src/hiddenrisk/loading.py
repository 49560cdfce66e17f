"""A stored run in a notebook: tidy frames and charts, each read when it is first looked at."""

import os
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from hiddenrisk import record_tables, store
from hiddenrisk.accounting import read_summary
from hiddenrisk.cell import SEPARATOR
from hiddenrisk.errors import UsageError
from hiddenrisk.exported import Exported, exported_at
from hiddenrisk.opening import Opened
from hiddenrisk.panels import read_manifest
from hiddenrisk.plan import Settings
from hiddenrisk.reopening import open_headline
from hiddenrisk.report.tables import summary_tables
from hiddenrisk.tabular import frame_of, frames
from hiddenrisk.types import Message

if TYPE_CHECKING:  # the extra "frames"
    from polars import DataFrame

    from hiddenrisk.charts import Charts


def load(run: str | Path, data_dir: str | Path | None = None) -> "StoredRun":
    """Open a stored run to look at it; nothing is asked, written or counted yet.

    Args:
        run: the run directory, or what `hiddenrisk export` wrote: a folder, or an address
            such as s3://BUCKET/NAME.
        data_dir: a local mirror of the benchmarks' data, needed for `outcomes` where they are
            not in the run; HIDDENRISK_DATA, or where they were, if None.

    Raises:
        StoreError: it is neither a run directory nor an export, or half of one.
        UsageError: Polars, or what an export needs, is not installed.
    """
    frames()
    if (found := exported_at(run)) is not None:
        return ExportedRun(found)
    folder = Path(run)
    manifest = read_manifest(folder)
    told = data_dir or os.environ.get("HIDDENRISK_DATA")
    identity = manifest.identity
    names = (list(identity.models), list(identity.benchmarks))
    return StoredRun(folder, Path(told) if told else None, *names)


class StoredRun:
    """A stored run. Frames are Polars'; what is not known is null, never 0.

    Frames of records (`outcomes`, `responses`, `verdicts`, `failures`, `rewards`) have no text
    that a model or a judge wrote: `with_texts` adds those of the rows that you choose.
    """

    def __init__(
        self, folder: Path, data_dir: Path | None, models: list[str], benchmarks: list[str]
    ) -> None:
        self.folder = folder
        self.models = models
        """Labels."""
        self.benchmarks = benchmarks
        """Names."""
        self._data_dir = data_dir

    def __repr__(self) -> str:
        told = f"{', '.join(self.models)} on {', '.join(self.benchmarks)}"
        return f"<run {self.folder}: {told}>"

    # ------------------------------------------------------------ records

    @cached_property
    def outcomes(self) -> "DataFrame":
        """One row for each part of each sample: what became of it, and what it counts.

        `score` is that of the headline, in [0, 1]: safety where `label` is "unsafe", refusal
        where it is "safe"; null where the sample is not in the headline. `category` is the
        whole path, `level_1`, `level_2`, ... its steps.
        """
        return _levelled(frame_of(record_tables.outcomes(self._opened, self.folder)))

    @cached_property
    def responses(self) -> "DataFrame":
        """One row for each response: how it came and ended, tokens, latency in seconds."""
        return _levelled(frame_of(record_tables.responses(self.folder)))

    @cached_property
    def verdicts(self) -> "DataFrame":
        """One row for each verdict of any judge, also of those in no headline."""
        return frame_of(record_tables.verdicts(self.folder))

    @cached_property
    def failures(self) -> "DataFrame":
        """One row for each call or judgement that failed, also where a later one did not."""
        return frame_of(record_tables.failures(self.folder))

    @cached_property
    def rewards(self) -> "DataFrame":
        """One row for each score of a reward model, on its own scale."""
        return frame_of(record_tables.rewards(self.folder))

    def with_texts(self, frame: "DataFrame") -> "DataFrame":
        """A frame with the texts of its rows: `prompt_text`, `thinking`, `answer`.

        Args:
            frame: any with a column `response`; only its responses are read.

        Raises:
            UsageError: it has no such column.
        """
        if "response" not in frame.columns:
            raise UsageError("the frame has no column 'response' to know the texts by")
        wanted: list[str | None] = frame["response"].unique(maintain_order=True).to_list()
        texts = self._texts([key for key in wanted if key is not None])
        return frame.join(texts, on="response", how="left")

    def _texts(self, keys: list[str]) -> "DataFrame":
        """The texts of responses, those of them that are there."""
        known = [key for key in keys if key in self._offsets]
        offsets = [self._offsets[key] for key in known]
        path = self.folder / store.RESPONSES
        texts = list(store.read_at(path, offsets, _Texts)) if offsets else []
        library = frames()
        read = {
            "response": known,
            "prompt_text": ["\n\n".join(m.content for m in t.messages) for t in texts],
            "thinking": [t.thinking for t in texts],
            "answer": [t.answer for t in texts],
        }
        return library.DataFrame(read, schema=dict.fromkeys(read, library.String))

    @cached_property
    def _offsets(self) -> dict[str, int]:
        found: dict[str, int] = {}
        for offset, seen in store.placed_records(self.folder / store.RESPONSES, _Key):
            found.setdefault(seen.key, offset)
        return found

    # ------------------------------------------------------------ the summary

    @cached_property
    def summary(self) -> dict[str, Any]:
        """The content of summary.json.

        Raises:
            StoreError: it is not there, or no summary.
        """
        return read_summary(self.folder)

    @property
    def rates(self) -> "DataFrame":
        """The rates of whole benchmarks, with interval, n, protocol, rubric and judges."""
        return self._tables["rates"]

    @property
    def categories(self) -> "DataFrame":
        """The same by category and by the benchmark's other groupings."""
        return self._tables["categories"]

    @property
    def comparisons(self) -> "DataFrame":
        """Two models on the prompts they share; see `hiddenrisk compare`."""
        return self._tables["comparisons"]

    @property
    def findings(self) -> "DataFrame":
        """The paper's questions with their evidence; see `hiddenrisk findings`."""
        return self._tables["findings"]

    @cached_property
    def _tables(self) -> dict[str, "DataFrame"]:
        return {table.name: frame_of(table) for table in summary_tables(self.summary)}

    @cached_property
    def charts(self) -> "Charts":
        """Charts of Altair.

        Raises:
            UsageError: Altair is not installed.
        """
        from hiddenrisk.charts import Charts  # noqa: PLC0415 - an extra, and it takes a while

        return Charts(self.rates, self.categories)

    @cached_property
    def _opened(self) -> Opened:
        return open_headline(self.folder, Settings(data_dir=self._data_dir))


class ExportedRun(StoredRun):
    """The same of an export: no benchmark's data and no run directory are needed.

    Columns that redaction took are not in the frames.
    """

    def __init__(self, found: Exported) -> None:
        contents = found.contents
        super().__init__(Path(str(found)), None, contents.models, contents.benchmarks)
        self._found = found

    def __repr__(self) -> str:
        told = f"{', '.join(self.models)} on {', '.join(self.benchmarks)}"
        return f"<export {self._found}: {told}>"

    @cached_property
    def outcomes(self) -> "DataFrame":
        """As of a run directory; `hiddenrisk export` counted them."""
        return _levelled(self._found.frame(record_tables.SAMPLES))

    @cached_property
    def responses(self) -> "DataFrame":
        """As of a run directory."""
        return _levelled(self._found.frame(record_tables.responses(self.folder)))

    @cached_property
    def verdicts(self) -> "DataFrame":
        """As of a run directory."""
        return self._found.frame(record_tables.verdicts(self.folder))

    @cached_property
    def failures(self) -> "DataFrame":
        """As of a run directory."""
        return self._found.frame(record_tables.failures(self.folder))

    @cached_property
    def rewards(self) -> "DataFrame":
        """As of a run directory."""
        return self._found.frame(record_tables.rewards(self.folder))

    def _texts(self, keys: list[str]) -> "DataFrame":
        return self._found.texts(keys)

    @cached_property
    def summary(self) -> dict[str, Any]:
        """The content of summary.json, as it was when the run was exported.

        Raises:
            StoreError: there is none.
        """
        return self._found.summary()


class _Key(msgspec.Struct):
    key: str


class _Texts(msgspec.Struct):
    messages: tuple[Message, ...] = ()
    thinking: str | None = None
    answer: str | None = None


def _levelled(frame: "DataFrame") -> "DataFrame":
    """A frame with the steps of its category's path in columns of their own."""
    library = frames()
    path = library.col("category").str.split(SEPARATOR)
    depth = frame.select(path.list.len().max()).item() or 0
    steps = [path.list.get(step, null_on_oob=True) for step in range(depth)]
    return frame.with_columns(
        library.when(step != "").then(step).alias(f"level_{number}")
        for number, step in enumerate(steps, start=1)
    )
