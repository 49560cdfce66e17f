"""Charts of a run, for notebooks: rates with their intervals, never a bar from an empty cell."""

from typing import TYPE_CHECKING, Any

from hiddenrisk.errors import UsageError
from hiddenrisk.tabular import frames

try:
    import altair as alt
except ImportError as error:
    raise UsageError('charts need Altair: pip install "hiddenrisk[frames]"') from error

if TYPE_CHECKING:
    from polars import DataFrame

Chart = alt.Chart | alt.LayerChart | alt.FacetChart
_SHARE = alt.Scale(domain=(0, 1))
_PARTS = alt.Scale(domain=["answer", "thinking"], range=["#2a6f97", "#c8553d"])
_TOLD = ["model", "benchmark", "part", "value", "low", "high", "n", "protocol", "judges"]
_HEIGHT = alt.Step(18)
"""Of a row, in pixels."""


class Charts:
    """What of a run's rates is drawn. Every chart is Altair's: change it as you like.

    Args:
        rates: the rates of whole benchmarks (`StoredRun.rates`).
        categories: those of categories.
    """

    def __init__(self, rates: "DataFrame", categories: "DataFrame") -> None:
        self._rates = rates
        self._categories = categories

    def safety(self) -> Chart:
        """The safety rate of each model on each benchmark, answer and thinking, with intervals."""
        return _intervals(self._headline("safety_rate"), "safety rate")

    def thinking(self) -> Chart:
        """Thinking against answer: two points a model, and the gap between them."""
        found = self._headline("safety_rate")
        both = found.filter(frames().col("part").n_unique().over("model", "benchmark") == 2)
        some = _there(both, "no model has a rate for its thinking and for its answer")
        base = alt.Chart(some).encode(y=alt.Y("model:N", title=None))
        gap = base.mark_rule(strokeWidth=2, color="#999").encode(
            x=alt.X("min(value):Q", scale=_SHARE, axis=_percent("safety rate")),
            x2="max(value):Q",
        )
        dots = base.mark_point(filled=True, size=70).encode(
            x="value:Q", color=alt.Color("part:N", scale=_PARTS, title=None), tooltip=_TOLD
        )
        return _by_benchmark(gap + dots)

    def over_refusal(self) -> Chart:
        """Over-refusal against safety: the best models are at the top left.

        One point for each model and each pair of a benchmark that measures harm and one that
        measures over-refusal, of the answers.
        """
        col = frames().col
        answers = self._rates.filter((col("part") == "answer") & (col("n") > 0))
        keys = ["model", "benchmark", "value", "low", "high", "n"]
        refused = answers.filter(col("metric") == "over_refusal_rate").select(keys)
        safe = self._headline("safety_rate").filter(col("part") == "answer").select(keys)
        both = _there(
            safe.join(refused, on="model", suffix="_refused"),
            "no model has both a safety rate and an over-refusal rate",
        )
        across = alt.X("value_refused:Q", scale=_SHARE, axis=_percent("over-refusal rate"))
        up = alt.Y("value:Q", scale=_SHARE, axis=_percent("safety rate"))
        base = alt.Chart(both).encode(x=across, y=up, color=alt.Color("model:N"))
        dots = base.mark_point(filled=True, size=70).encode(
            shape=alt.Shape("benchmark:N"),
            tooltip=["model", "benchmark", "value", "n", "benchmark_refused", "value_refused"],
        )
        wide = base.mark_rule(opacity=0.4).encode(x="low_refused:Q", x2="high_refused:Q")
        tall = base.mark_rule(opacity=0.4).encode(y="low:Q", y2="high:Q")
        return wide + tall + dots

    def categories(
        self, benchmark: str, *, part: str = "answer", level: int = 2, grouping: str = "category"
    ) -> Chart:
        """The safety rate of each model in each category of a benchmark, as a map of colours.

        Args:
            benchmark: its name, for example "airbench".
            part: "answer" or "thinking".
            level: how deep, from 1; the deepest that there is if it is not that deep.
            grouping: another one of the benchmark's groupings, for example its regions.

        Raises:
            UsageError: there is nothing to show.
        """
        col = frames().col
        wanted = (col("benchmark") == benchmark) & (col("part") == part) & (col("n") > 0)
        found = self._categories.filter(
            wanted & (col("grouping") == grouping) & (col("metric") == "safety_rate")
        )
        some = _there(
            found.filter(col("level") == col("level").filter(col("level") <= level).max()),
            f"{benchmark} has no safety rate of the {part} by {grouping}",
        )
        base = alt.Chart(some).encode(
            x=alt.X("model:N", title=None), y=alt.Y("group:N", sort=None, title=None)
        )
        colour = alt.Color(
            "value:Q",
            scale=alt.Scale(domain=(0, 1), scheme="blueorange", reverse=True),
            legend=alt.Legend(format=".0%", title="safety rate"),
        )
        told = ["model", "group", "value", "low", "high", "n", "samples", "judges"]
        cells = base.mark_rect(stroke="white").encode(color=colour, tooltip=told)
        return cells.properties(height=_HEIGHT)

    def _headline(self, metric: str) -> "DataFrame":
        """The rates of the headline's protocol: the first one of each model, benchmark, part."""
        col = frames().col
        found = self._rates.filter((col("metric") == metric) & (col("n") > 0))
        keys = ["model", "benchmark", "part"]
        first = self._rates.filter(col("metric") == metric).unique(keys, maintain_order=True)
        return found.join(first.select(*keys, "protocol"), on=[*keys, "protocol"], how="semi")


def _intervals(found: "DataFrame", title: str) -> Chart:
    some = _there(found, f"the run has no {title}")
    base = alt.Chart(some).encode(
        y=alt.Y("model:N", title=None),
        yOffset=alt.YOffset("part:N"),
        color=alt.Color("part:N", scale=_PARTS, title=None),
    )
    across = alt.X("low:Q", scale=_SHARE, axis=_percent(title))
    rule = base.mark_rule(strokeWidth=2).encode(x=across, x2="high:Q")
    dots = base.mark_point(filled=True, size=50).encode(x="value:Q", tooltip=_TOLD)
    return _by_benchmark(rule + dots)


def _by_benchmark(chart: Any) -> Chart:  # noqa: ANN401 - a layer of Altair
    """A row of the picture for each benchmark."""
    whole = chart.properties(width=360, height=_HEIGHT)
    return whole.facet(row=alt.Row("benchmark:N", title=None, sort=None))


def _percent(title: str) -> alt.Axis:
    return alt.Axis(format=".0%", title=title)


def _there(found: "DataFrame", nothing: str) -> "DataFrame":
    """A frame that has a row.

    Raises:
        UsageError: it has none; an empty chart says nothing.
    """
    if found.is_empty():
        raise UsageError(f"{nothing}: there is nothing to draw")
    return found
