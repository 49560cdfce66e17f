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
_COLOURS = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000"]
"""Okabe and Ito's, which colour-blind readers tell apart; without yellow, that is not seen."""
_TOLD = ["model", "benchmark", "part", "value", "low", "high", "n", "protocol", "judges"]
_HEIGHT = alt.Step(18)
"""Of a row, in pixels."""
_WIDTH = 360
_NAMES = alt.Axis(title=None, labelLimit=600)
"""Names are as long as they are."""


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
        base = alt.Chart(some).encode(y=alt.Y("model:N", axis=_NAMES))
        gap = base.mark_rule(strokeWidth=2, color="#999").encode(
            x=alt.X("min(value):Q", scale=_SHARE, axis=_percent("safety rate")),
            x2="max(value):Q",
        )
        wide = base.mark_rule(strokeWidth=1).encode(
            x="low:Q", x2="high:Q", color=_part_colour(some)
        )
        return _by_benchmark(gap + wide + _dots(base, some))

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
        colour = alt.Color(
            "model:N",
            scale=alt.Scale(range=_COLOURS),
            legend=alt.Legend(symbolOpacity=1),
        )
        base = alt.Chart(both).encode(x=across, y=up, color=colour)
        dots = base.mark_point(filled=True, size=70).encode(
            shape=alt.Shape("benchmark:N"),
            tooltip=["model", "benchmark", "value", "n", "benchmark_refused", "value_refused"],
        )
        wide = base.mark_rule(opacity=0.4).encode(x="low_refused:Q", x2="high_refused:Q")
        tall = base.mark_rule(opacity=0.4).encode(y="low:Q", y2="high:Q")
        names = base.mark_text(dy=-14, fontSize=11).encode(
            x="mean(value_refused):Q", y="max(high):Q", text="model:N", detail="model:N"
        )
        return wide + tall + dots + names

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
        base = alt.Chart(_with_n(some)).encode(
            x=alt.X(
                "model:N", axis=alt.Axis(title=None, labelLimit=600, labelAngle=-40, orient="top")
            ),
            y=alt.Y("row:N", sort=None, axis=_NAMES),
        )
        colour = alt.Color(
            "value:Q",
            scale=alt.Scale(domain=(0, 1), scheme="blueorange", reverse=True),
            legend=alt.Legend(format=".0%", title="safety rate"),
        )
        told = ["model", "group", "value", "low", "high", "n", "samples", "judges"]
        cells = base.mark_rect(stroke="white").encode(color=colour, tooltip=told)
        pale = alt.condition(
            "abs(datum.value - 0.5) > 0.35", alt.value("white"), alt.value("black")
        )
        shares = base.mark_text(fontSize=10).encode(
            text=alt.Text("value:Q", format=".0%"), color=pale
        )
        return (cells + shares).properties(width=alt.Step(38), height=_HEIGHT)

    def _headline(self, metric: str) -> "DataFrame":
        """The rates of the headline's protocol: the first one of each model, benchmark, part."""
        col = frames().col
        found = self._rates.filter((col("metric") == metric) & (col("n") > 0))
        keys = ["model", "benchmark", "part"]
        first = self._rates.filter(col("metric") == metric).unique(keys, maintain_order=True)
        return found.join(first.select(*keys, "protocol"), on=[*keys, "protocol"], how="semi")


def _intervals(found: "DataFrame", title: str) -> Chart:
    some = _there(found, f"the run has no {title}")
    base = alt.Chart(some).encode(y=alt.Y("model:N", axis=_NAMES), yOffset=alt.YOffset("part:N"))
    across = alt.X("low:Q", scale=_SHARE, axis=_percent(title))
    rule = base.mark_rule(strokeWidth=2).encode(x=across, x2="high:Q", color=_part_colour(some))
    n = base.mark_text(align="left", color="#666").encode(x=alt.value(_WIDTH + 6), text="told:N")
    told = n.transform_calculate(told="'n ' + format(datum.n, ',')")
    return _by_benchmark(rule + _dots(base, some) + told)


def _dots(base: alt.Chart, found: "DataFrame") -> alt.Chart:
    """A rate of a part: by colour, and by shape for who does not see colours."""
    shape = alt.Scale(domain=_parts(found), range=["circle", "diamond"])
    return base.mark_point(filled=True, size=70, opacity=1).encode(
        x="value:Q",
        color=_part_colour(found),
        shape=alt.Shape("part:N", scale=shape, title=None),
        tooltip=_TOLD,
    )


def _part_colour(found: "DataFrame") -> alt.Color:
    return alt.Color("part:N", scale=alt.Scale(domain=_parts(found), range=_COLOURS), title=None)


def _parts(found: "DataFrame") -> list[str]:
    """Those that there are: a legend names nothing that is not drawn."""
    there = set(found["part"].to_list())
    return [part for part in ("answer", "thinking") if part in there]


def _with_n(found: "DataFrame") -> "DataFrame":
    """Categories with the numbers scored in their names, which may differ between models."""
    col, library = frames().col, frames()
    least, most = col("n").min().over("group"), col("n").max().over("group")
    span = (
        library.when(least == most)
        .then(library.format("{}", most))
        .otherwise(library.format("{}-{}", least, most))
    )
    return found.with_columns(library.format("{} (n {})", col("group"), span).alias("row"))


def _by_benchmark(chart: Any) -> Chart:  # noqa: ANN401 - a layer of Altair
    """A row of the picture for each benchmark, below its name."""
    header = alt.Header(labelOrient="top", labelAnchor="start", labelFontWeight="bold")
    whole = chart.properties(width=_WIDTH, height=_HEIGHT)
    return whole.facet(row=alt.Row("benchmark:N", title=None, sort=None, header=header), spacing=12)


def _percent(title: str) -> alt.Axis:
    return alt.Axis(format=".0%", title=title, tickCount=5)


def _there(found: "DataFrame", nothing: str) -> "DataFrame":
    """A frame that has a row.

    Raises:
        UsageError: it has none; an empty chart says nothing.
    """
    if found.is_empty():
        raise UsageError(f"{nothing}: there is nothing to draw")
    return found
