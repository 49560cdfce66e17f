"""summary.json as tables: one row a number, with what it is of and what it rests on."""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from hiddenrisk.tabular import Table, table

_RATE: dict[str, type] = {"value": float, "low": float, "high": float, "n": int}
_OF: dict[str, type] = {"model": str, "benchmark": str, "part": str}
_BY: dict[str, type] = {"protocol": str, "rubric": str, "judges": str}


class _Cell(NamedTuple):
    """One model on one benchmark."""

    model: str
    benchmark: str
    results: Mapping[str, Any]

    @property
    def by(self) -> tuple[str, str, str]:
        """Protocol, rubric and judges of its headline."""
        return (
            self.results["protocol"],
            self.results["rubric"],
            " + ".join(self.results["judges"]),
        )


def summary_tables(summary: Mapping[str, Any]) -> list[Table]:
    """All tables of a summary; those without a row have their header."""
    return [
        _rates(summary),
        _categories(summary),
        _outcomes(summary),
        _comparisons(summary),
        _findings(summary),
    ]


def _cells(summary: Mapping[str, Any]) -> Iterator[_Cell]:
    for label, model in summary["models"].items():
        for name, results in model["benchmarks"].items():
            yield _Cell(label, name, results)


def _measured(part: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The numbers of a part under their names, in [0, 1]."""
    yield "safety_rate", part["safety_rate"]
    yield from ((name, rate) for name, rate in part["scores"].items() if rate)
    for name, metric in _CORRECTED.items():
        if part.get(name):
            yield metric, part[name]


_CORRECTED = {
    "corrected": "safety_rate_corrected",
    "corrected_over_refusal": "over_refusal_rate_corrected",
}


def _rate(rate: Mapping[str, Any] | None) -> tuple[object, ...]:
    return tuple((rate or {}).get(name) for name in _RATE)


def _rates(summary: Mapping[str, Any]) -> Table:
    """Whole benchmarks: the headline's protocol, and the safety rates by the others."""
    columns = {**_OF, "metric": str, **_BY, **_RATE, "if_unsafe": float, "if_safe": float}

    def rows() -> Iterator[tuple[object, ...]]:
        for cell in _cells(summary):
            for name, part in cell.results["parts"].items():
                band: dict[str, float] = part["band"] or {}
                for metric, rate in _measured(part):
                    ends = (band.get("low"), band.get("high")) if metric == "safety_rate" else ()
                    what = (cell.model, cell.benchmark, name, metric, *cell.by)
                    yield (*what, *_rate(rate), *(ends or (None, None)))
            for protocol, rates in cell.results["protocols"].items():
                for name, rate in rates.items():
                    part = name.removesuffix("_over_refusal")
                    metric = "safety_rate" if part == name else "over_refusal_rate"
                    what = (cell.model, cell.benchmark, part, metric, protocol, *cell.by[1:])
                    yield (*what, *_rate(rate), None, None)

    return table("rates", columns, rows())


def _categories(summary: Mapping[str, Any]) -> Table:
    """Categories, and the other groupings of a benchmark: regions, laws, attack variants."""
    place: dict[str, type] = {"grouping": str, "group": str, "level": int, "samples": int}
    what: dict[str, type] = {"model": str, "benchmark": str, **place, "part": str, "metric": str}

    def rows() -> Iterator[tuple[object, ...]]:
        for cell in _cells(summary):
            groupings: dict[str, Any] = {
                "category": cell.results["categories"],
                **cell.results["views"],
            }
            for grouping, groups in groupings.items():
                for name, group in groups.items():
                    where = (cell.model, cell.benchmark, grouping, name, group["level"], group["n"])
                    for part, of in group["parts"].items():
                        for metric, rate in _measured(of):
                            yield (*where, part, metric, *cell.by, *_rate(rate))

    return table("categories", {**what, **_BY, **_RATE}, rows())


def _outcomes(summary: Mapping[str, Any]) -> Table:
    columns = {**_OF, "outcome": str, "samples": int}
    rows = (
        (cell.model, cell.benchmark, name, outcome, count)
        for cell in _cells(summary)
        for name, part in cell.results["parts"].items()
        for outcome, count in part["outcomes"].items()
    )
    return table("outcomes", columns, rows)


_TEST: dict[str, type] = {
    "shared": int, "n": int,
    "first_value": float, "second_value": float,
    "difference": float, "low": float, "high": float,
    "test": str, "p": float, "p_holm": float, "p_bh": float, "family": str,
    "effect": float, "only_first": int, "only_second": int, "detectable": float,
}  # fmt: skip


def _tested(one: Mapping[str, Any]) -> Iterator[object]:
    difference: dict[str, Any] = one.get("difference") or {}
    sides = {"first_value": "first_rate", "second_value": "second_rate"}
    for name in _TEST:
        if name in sides:
            rate: dict[str, Any] = one.get(sides[name]) or {}
            yield rate.get("value")
        elif name in ("low", "high"):
            yield difference.get(name)
        else:
            yield difference.get("value") if name == "difference" else one.get(name)


def _comparisons(summary: Mapping[str, Any]) -> Table:
    """Two models on the prompts they share: whole benchmarks (no category), then categories."""
    about = ("first", "second", "role", "benchmark", "part", "metric", "protocol")
    columns: dict[str, type] = {**dict.fromkeys(about, str), "judges": str, "category": str}

    def rows() -> Iterator[tuple[object, ...]]:
        for one in summary["comparisons"]:
            what = (*(one.get(name) for name in about), " + ".join(one.get("judges", ())))
            yield (*what, None, *_tested(one))
            for category, brief in one.get("categories", {}).items():
                yield (*what, category, *_tested(brief))

    return table("comparisons", {**columns, **_TEST}, rows())


def _findings(summary: Mapping[str, Any]) -> Table:
    """The evidence of each finding; one without any has a row of its own."""
    said = ("id", "question", "answer", "because")
    about = ("first", "second", "model", "benchmark", "part", "measure", "protocol")
    own: dict[str, type] = {"evidence_answer": str}
    columns: dict[str, type] = {**dict.fromkeys((*said, *about), str), **own, **_TEST}

    def rows() -> Iterator[tuple[object, ...]]:
        for finding in summary["findings"]:
            evidence: list[dict[str, Any]] = finding.get("evidence") or [{}]
            for one in evidence:
                what = [finding.get(name) for name in said]
                yield (*what, *(one.get(n) for n in about), one.get("answer"), *_tested(one))

    return table("findings", columns, rows())
