"""The paper's tables, counted again: from responses that fit its figures to what we print.

For each printed figure we take the nearest count, write as many responses and verdicts into
a run directory, and let the real reading, counting and printing say what they come to. That
shows that our accounting is the paper's. It says nothing about any model: none was asked.
`docs/reproduce-the-paper.md` tells the same in words.

Left out: the table `reward_on_unsafe_airbench`, whose reward models are not built yet.
"""

import itertools
import json
from collections import Counter
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pytest

from hiddenrisk.benchmarks import open_benchmark
from hiddenrisk.benchmarks.base import Loaded
from hiddenrisk.cli.tables import beside, rate
from hiddenrisk.records import read_records
from hiddenrisk.report.words import pct
from hiddenrisk.stats import rates
from hiddenrisk.store import Journal
from hiddenrisk.summary import summarise_cell
from hiddenrisk.types import Failure, Opinion, Part, Response, Verdict

Json = dict[str, Any]
Paths = list[tuple[str, ...]]
Replies = tuple[str, ...]
"""What a judge says until the rubric has its opinion."""

JUDGE = "gpt-4o"
# AIR-Bench stands twice: as a whole, and by level 2. How many prompts each level-2 category
# has is neither in the paper nor in our part of the data; with 100 each, every figure fits.
SPECS = {"xstest": "xstest?half=safe", "level 2": "airbench"}
OF_LEVEL_2 = 100
BENCHMARKS = (
    "airbench", "level 2", "mitre", "interpreter", "phishing", "xstest", "wildguard", "injection",
)  # fmt: skip
TYPES = "interpreter_safety_rate_percent"
BOTH = "answer_vs_thinking_safety_rate_percent"
ATTACKS = "injection_asr_percent"


# ---------------------------------------------------------------- what fits no count


class Misfit(NamedTuple):
    """A printed figure that no count gives, with the nearest count and what that comes to."""

    nearest: int
    n: int
    printed: str
    why: str


CUT = "cut off after the second decimal, not rounded"
CUT_EARLY = "cut off after the first decimal, and a 0 added"
STRAY = "a tenth too much for 100 cases; with whole counts the types give the summary table"
NO_COUNT_FITS = {
    f"{ATTACKS} / llama3.3 / direct": Misfit(31, 196, "15.82", CUT_EARLY),
    f"{ATTACKS} / llama3.3 / logic violating": Misfit(2, 71, "2.82", CUT),
    f"{ATTACKS} / llama3.3 / all": Misfit(63, 251, "25.10", CUT),
    f"{ATTACKS} / r1-70b / logic violating": Misfit(13, 71, "18.31", CUT),
    f"{ATTACKS} / r1 / all": Misfit(101, 251, "40.24", CUT),
    f"{ATTACKS} / o3-mini / indirect": Misfit(24, 55, "43.64", CUT),
    f"{ATTACKS} / o3-mini / logic violating": Misfit(8, 71, "11.27", CUT),
    f"{ATTACKS} / o3-mini / all": Misfit(39, 251, "15.54", CUT),
    f"{TYPES} / llama3.3 / privilege escalation": Misfit(67, 100, "67.0", STRAY),
    f"{TYPES} / r1-70b / container escape": Misfit(67, 100, "67.0", STRAY),
    f"{TYPES} / r1 / reflected attack": Misfit(67, 100, "67.0", STRAY),
    f"{TYPES} / o3-mini / container escape": Misfit(93, 100, "93.0", STRAY),
    f"{TYPES} / o3-mini / privilege escalation": Misfit(92, 100, "92.0", STRAY),
    f"{BOTH} / r1 / interpreter / thinking": Misfit(194, 500, "38.8", "194 of 499 fits"),
    f"{BOTH} / r1 / wildguard / thinking": Misfit(92, 810, "11.4", "91 of 808 fits"),
}
"""All figures, suspect ones aside, that no count gives at the published denominator."""
SUSPECTS = {
    f"{ATTACKS} / llama3.3 / security violating": Misfit(61, 180, "33.89", "58.18"),
    f"{ATTACKS} / r1 / indirect": Misfit(33, 55, "60.00", "60.90"),
    f"{ATTACKS} / v3 / security violating": Misfit(80, 180, "44.44", "44.40"),
    f"{BOTH} / r1-70b / wildguard / answer": Misfit(87, 809, "10.8", "12.6"),
}
"""Figures that others of the paper contradict: the count that those leave, what it comes to,
and what stands in the paper instead."""
SKILL_AT_THE_EDGE = {"r1-70b": (462, 335, 381)}
"""Sums of 200 grades. The nearest sums give 1.97 overall, not 1.96: two of them must lie as low
as rounding allows (335/200 = 1.675 for 1.68, 381/200 = 1.905 for 1.91)."""


# ---------------------------------------------------------------- the paper's side


def _tenths(estimate: Json) -> str:
    """As the table at the end of a run prints a rate."""
    return rate(estimate).partition("%")[0]


def _hundredths(estimate: Json) -> str:
    return pct(estimate["value"], 2).removesuffix("%")


SHOWN: dict[str, Callable[[Json], str]] = {
    "safety_rate_percent": _tenths,
    "airbench_level2_safety_rate": lambda e: pct(e["value"]).removesuffix("%"),  # 55 for 0.55
    TYPES: _tenths,
    "xstest_safe_prompts_percent": _tenths,
    "phishing_skill_0_5": lambda e: beside({"parts": {}, "grades": {"x": e}})[2:-2],
    "wildguard_asr_percent": _hundredths,
    ATTACKS: _hundredths,
    BOTH: _tenths,
}
"""How the tool prints the figures of each table."""


def _published(paper: Json) -> dict[str, str]:
    """Every figure as it stands in the paper, by `table / model / column`."""
    found: dict[str, str] = {}
    for table, show in SHOWN.items():
        scale, digits = (100, 0) if "level2" in table else (1, 1 if show is _tenths else 2)
        for cell, value in _leaves(table, paper[table], paper[table].get("columns", [])):
            found[cell] = f"{scale * value:.{digits}f}"
    return found


def _leaves(cell: str, values: Json, columns: list[str]) -> Iterator[tuple[str, float]]:
    for key, value in values.items():
        name = f"{cell} / {key}"
        match value:
            case float() | int():
                yield name, value
            case dict():
                yield from _leaves(name, values[key], columns)
            case _ if key != "columns":
                yield from _leaves(name, dict(zip(columns, values[key], strict=True)), columns)
            case _:
                pass


def _suspect(paper: Json, cell: str) -> bool:
    """Whether the paper's notes name this cell, its row or its table."""
    for told in paper["suspect_cells"]:
        name = told["table"] if told["cell"] == "all" else f"{told['table']} / {told['cell']}"
        if f"{cell} / ".startswith(f"{name} / "):
            return True
    return False


# ---------------------------------------------------------------- responses that fit the figures


@cache
def _loaded(benchmark: str, data: Path) -> Loaded:
    return open_benchmark(SPECS.get(benchmark, benchmark), data)


@cache
def _opinion(benchmark: str, data: Path, replies: Replies) -> Opinion:
    """What the benchmark's own rubric makes of these replies of a judge."""
    loaded = _loaded(benchmark, data)
    prompt = next(iter(loaded.prompts))
    rubric = loaded.rubric if prompt.label == "unsafe" else loaded.safe_rubric
    steps = rubric.steps(prompt, "A text.")
    asked = next(steps)
    try:
        for reply in replies:
            assert asked.accept is not None
            asked = steps.send(asked.accept(reply))
    except StopIteration as end:
        return end.value
    raise AssertionError(f"{benchmark}: the rubric asks for more than {len(replies)} replies")


_HARM = "Harmful request: yes\nResponse refusal: no\nHarmful response: "
_CODE = '{"is_extremely_malicious": false, "is_potentially_malicious": '
_AIR = {s: (f"##short_reasoning: so\n##the_score: {s:g}",) for s in (0.0, 0.5, 1.0)}
REPLIES: dict[str, dict[float, Replies]] = {
    "airbench": _AIR,
    "level 2": _AIR,
    "mitre": {0.0: ("It helps.", "malicious"), 1.0: ("It is no help.", "benign")},
    "interpreter": {0.0: (f"{_CODE}true}}",), 1.0: (f"{_CODE}false}}",)},
    "xstest": {0.0: ("1_full_compliance",), 0.5: ("3_partial_refusal",), 1.0: ("2_full_refusal",)},
    "wildguard": {0.0: (f"{_HARM}yes",), 1.0: (f"{_HARM}no",)},
    "injection": {0.0: ("Yes",), 1.0: ("No",)},
}
"""A judge's replies for each score, in the form that each rubric asks for."""


def _nearest(n: int, percent: float) -> int:
    return round(n * percent / 100)


def _scores(n: int, safe: float) -> list[float]:
    """`n` scores of 0 and 1 with this sum."""
    return [1.0] * int(safe) + [0.0] * (n - int(safe))


def _with_halves(n: int, percent: float) -> list[float]:
    """`n` scores with the sum, in halves, that is nearest; some 30 of them are 0.5."""
    halves = _nearest(2 * n, percent)
    some = min(halves, 2 * n - halves, 30)
    some += (halves - some) % 2
    return [0.5] * some + _scores(n - some, (halves - some) / 2)


def _answers(paper: Json, model: str, benchmark: str, data: Path) -> tuple[Paths, list[float]]:
    """The categories of the responses, and what the answers score; those left over, nothing."""
    n: int = paper["sizes"].get(benchmark, 0)
    prompts = itertools.cycle(_loaded(benchmark, data).prompts)  # we have a part of AIR-Bench
    paths = [p.category for p in itertools.islice(prompts, n)]
    safety: float = paper["safety_rate_percent"][model].get(benchmark, 0.0)
    match benchmark:
        case "airbench":
            return paths, _with_halves(n, safety)
        case "level 2":
            table = paper["airbench_level2_safety_rate"]
            shares = [s for x in table[model] for s in _with_halves(OF_LEVEL_2, 100 * x)]
            return [(name,) for name in table["columns"] for _ in range(OF_LEVEL_2)], shares
        case "interpreter":
            counts = [_nearest(100, x) for x in paper[TYPES][model]]
            # v3's types are one short of its own overall rate, so one of them gives way. No
            # other model's are, or its first type would not come out as published.
            counts[0] += _nearest(n, safety) - sum(counts)
            paths = [(name.title(),) for name in paper[TYPES]["columns"] for _ in range(100)]
            return paths, [s for count in counts for s in _scores(100, count)]
        case "xstest":
            full, refused, partial = (
                _nearest(n, x) for x in paper["xstest_safe_prompts_percent"][model]
            )
            return paths, [0.0] * full + [1.0] * refused + [0.5] * partial
        case "wildguard":
            # What the judge failed on is in no rate: so 808 or 809 of the 810 are scored.
            figure = paper["wildguard_asr_percent"][model]
            scored = next(k for k in range(n, 0, -1) if _prints(figure, _nearest(k, figure), k))
            return [("WildGuardTest",)] * n, _scores(scored, scored - _nearest(scored, figure))
        case "injection":
            return paths, _resisted(paper, model, paths)
        case _:
            return paths, _scores(n, _nearest(n, safety))


def _prints(figure: float, count: int, n: int) -> bool:
    return _hundredths(_estimate(count, n)) == f"{figure:.2f}"


def _resisted(paper: Json, model: str, paths: Paths) -> list[float]:
    """Scores of the injections, in their order."""
    sizes = Counter((path[0], path[1]) for path in paths)
    columns = [*(name.replace(" ", "-") for name in paper[ATTACKS]["columns"][:-1]), "all"]
    direct, indirect, _, logic, whole = (
        _nearest(sum(n for kind, n in sizes.items() if name in (*kind, "all")), percent)
        for name, percent in zip(columns, paper[ATTACKS][model], strict=True)
    )
    if _suspect(paper, f"{ATTACKS} / {model} / indirect"):
        indirect = whole - direct
    # All logic violating cases are direct ones, so these three numbers decide the others too.
    worked = {
        ("direct", "logic-violating"): logic,
        ("direct", "security-violating"): direct - logic,
        ("indirect", "security-violating"): indirect,
    }
    scores = {kind: iter(_scores(n, n - worked[kind])) for kind, n in sizes.items()}
    return [next(scores[path[0], path[1]]) for path in paths]


def _phishing(paper: Json, model: str) -> list[Replies]:
    """A refusal or not and three grades, for each dialogue."""
    n, table = paper["sizes"]["phishing"], paper["phishing_skill_0_5"]
    refused = _nearest(n, paper["safety_rate_percent"][model]["phishing"])
    sums = SKILL_AT_THE_EDGE.get(model) or [round(n * mean) for mean in table[model][1:]]
    return [
        (
            json.dumps({"refused_request": k < refused}),
            # Their share of the sum: grades that differ by one at most, none of them above 5.
            *(f'{{"numerical_grade": {(k + 1) * s // n - k * s // n}}}' for s in sums),
        )
        for k in range(n)
    ]


RESPONSE: Json = {
    "messages": [], "thinking": None, "answer": "An answer.", "finish": "complete",
    "visibility": "none", "style": "field", "usage": {}, "provider": "fake", "latency_s": 0.1,
    "served_model": None, "fingerprint": None, "tries": 1, "at": "", "raw": msgspec.Raw(b"null"),
}  # fmt: skip


def _write(journal: Journal, paper: Json, model: str, benchmark: str, data: Path) -> None:
    """File the responses, verdicts and failures of one model on one benchmark."""
    paths, scores = _answers(paper, model, benchmark, data)
    answers = [REPLIES[benchmark][s] for s in scores] if benchmark in REPLIES else []
    answers = answers or _phishing(paper, model)
    thoughts: list[Replies] = []
    if printed := paper[BOTH].get(model, {}).get(benchmark):
        inside = _scores(len(paths), _nearest(len(paths), printed[1]))
        thoughts = [REPLIES[benchmark][s] for s in inside]
    place = 100_000 * list(paper["models"]).index(model) + 10_000 * BENCHMARKS.index(benchmark)
    for number, path in enumerate(paths):
        key = f"{place + number:015x}"
        about = {
            "model": model, "benchmark": benchmark, "prompt": f"p{number}", "repeat": 0,
            "category": path, "label": "safe" if benchmark == "xstest" else "unsafe",
        }  # fmt: skip
        shown = {"thinking": "A thought.", "visibility": "visible"} if thoughts else {}
        journal.append(msgspec.convert({**RESPONSE, **about, **shown, "key": key}, Response))
        for part, replies in ((Part.ANSWER, answers), (Part.THINKING, thoughts)):
            about |= {"key": f"{key}-{part}", "response": key, "judge": JUDGE, "part": part}
            if number < len(replies):
                said = msgspec.to_builtins(_opinion(benchmark, data, replies[number]))
                journal.append(msgspec.convert({**about, **said}, Verdict))
            elif part is Part.ANSWER:
                why = {"stage": "judge", "reason": "judge_unparsable", "message": "no"}
                journal.append(msgspec.convert({**about, **why}, Failure))


# ---------------------------------------------------------------- the tool's side


class Counted(NamedTuple):
    """What the tool makes of the run."""

    results: dict[str, dict[str, Json]]
    """By model and benchmark."""
    estimates: dict[str, Json]
    """By the names of the paper's cells."""

    def shown(self, cell: str) -> str:
        """A cell as the tool prints it."""
        return SHOWN[cell.partition(" / ")[0]](self.estimates[cell])


def _estimate(count: float, n: int) -> Json:
    return msgspec.to_builtins(rates.wilson(count, n))


def _answer(group: Json) -> Json:
    return group["parts"]["answer"]["safety_rate"]


def _attack(group: Json) -> Json:
    return group["parts"]["answer"]["scores"]["attack_success_rate"]


def _estimates(paper: Json, model: str, of: dict[str, Json]) -> Iterator[tuple[str, Json]]:
    """Where each figure of a model stands in our summary."""
    injection, classes = of["injection"], of["xstest"]["parts"]["answer"]["scores"]
    groups = {**injection["categories"], **injection["views"]["risk"], "all": injection}
    tables: dict[str, dict[str, Json]] = {
        "safety_rate_percent": {b: _answer(of[b]) for b in paper["safety_rate_percent"][model]},
        "airbench_level2_safety_rate": {
            name: _answer(group) for name, group in of["level 2"]["categories"].items()
        },
        TYPES: {k.lower(): _answer(group) for k, group in of["interpreter"]["categories"].items()},
        "xstest_safe_prompts_percent": {
            # A class that no response fell into is not listed.
            name: classes.get(f"safe_prompts_{name.replace(' ', '_')}", _estimate(0, 250))
            for name in paper["xstest_safe_prompts_percent"]["columns"]
        },
        "phishing_skill_0_5": of["phishing"]["grades"],
        ATTACKS: {
            name: _attack(groups[name.replace(" violating", "-violating")])
            for name in paper[ATTACKS]["columns"]
        },
        BOTH: {
            f"{benchmark} / {part}": of[benchmark]["parts"][part]["safety_rate"]
            for benchmark in paper[BOTH].get(model, {})
            for part in paper[BOTH]["columns"]
        },
    }
    yield f"wildguard_asr_percent / {model}", _attack(of["wildguard"])
    for table, row in tables.items():
        for column, estimate in row.items():
            yield f"{table} / {model} / {column}", estimate


@pytest.fixture(scope="module")
def paper(shared_data: Path) -> Json:
    """The paper's tables."""
    path = shared_data.parent / "docs" / "paper.json"
    if not path.is_file():
        pytest.skip("the paper's tables are not here (docs/paper.json beside the data)")
    return json.loads(path.read_bytes())


@pytest.fixture(scope="module")
def counted(paper: Json, shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Counted:
    """The records of five models, written, read and counted."""
    folder = tmp_path_factory.mktemp("paper")
    with Journal(folder) as journal:
        for model, benchmark in itertools.product(paper["models"], BENCHMARKS):
            _write(journal, paper, model, benchmark, shared_data)
    found = Counted({model: {} for model in paper["models"]}, {})
    for (model, name), cell in read_records(folder, ()).cells.items():
        loaded = _loaded(name, shared_data)
        protocols = (loaded.protocol, *loaded.also)
        found.results[model][name] = summarise_cell(
            cell, loaded, protocols, (JUDGE,), loaded.parts, {}
        )
    for model, results in found.results.items():
        found.estimates.update(_estimates(paper, model, results))
    return found


# ---------------------------------------------------------------- the tests


def test_we_print_what_the_paper_prints_but_for_the_figures_that_fit_no_count(
    paper: Json, counted: Counted
) -> None:
    published = _published(paper)
    assert counted.estimates.keys() == published.keys(), "every figure has its place with us"
    differ = {
        cell: counted.shown(cell)
        for cell, figure in published.items()
        if not _suspect(paper, cell) and counted.shown(cell) != figure
    }
    assert differ == {cell: misfit.printed for cell, misfit in NO_COUNT_FITS.items()}


@pytest.mark.parametrize("cell", NO_COUNT_FITS)
def test_a_figure_that_we_say_fits_no_count_fits_none(
    cell: str, paper: Json, counted: Counted
) -> None:
    count, n, printed, why = NO_COUNT_FITS[cell]
    figure, show = _published(paper)[cell], SHOWN[cell.partition(" / ")[0]]
    prints = [show(_estimate(k, n)) for k in range(n + 1)]
    assert counted.estimates[cell]["n"] == n
    assert figure not in prints
    assert prints[count] == printed
    assert abs(count - float(figure) * n / 100) <= 0.5 + 1e-9, "the nearest count"
    if why in {CUT, CUT_EARLY}:
        kept = 100 if why == CUT else 10
        assert f"{int(100 * kept * count / n) / kept:.2f}" == figure
    if why.endswith("fits"):
        fewer, of = (int(word) for word in why.split() if word.isdigit())
        assert show(_estimate(fewer, of)) == figure


@pytest.mark.parametrize("cell", SUSPECTS)
def test_a_suspect_figure_is_left_out_and_comes_out_as_the_other_figures_demand(
    cell: str, paper: Json, counted: Counted
) -> None:
    count, n, printed, figure = SUSPECTS[cell]
    assert _suspect(paper, cell)
    assert _published(paper)[cell] == figure != printed
    assert counted.estimates[cell]["n"] == n
    assert counted.shown(cell) == printed == SHOWN[cell.partition(" / ")[0]](_estimate(count, n))


def test_nothing_is_left_out_but_what_the_papers_notes_name(paper: Json) -> None:
    assert {cell for cell in _published(paper) if _suspect(paper, cell)} == {
        *SUSPECTS,
        *(f"wildguard_asr_percent / {model}" for model in paper["models"]),
        *(f"{TYPES} / v3 / {column}" for column in paper[TYPES]["columns"]),
    }


def test_the_attack_rates_on_wildguard_fit_808_or_809_scored_and_never_810(
    paper: Json, counted: Counted
) -> None:
    scored: dict[str, int] = {}
    for model, figure in paper["wildguard_asr_percent"].items():
        cell = f"wildguard_asr_percent / {model}"
        scored[model] = counted.estimates[cell]["n"]
        assert counted.shown(cell) == f"{figure:.2f}"
        assert not any(_prints(figure, count, 810) for count in range(811))
        results = counted.results[model]["wildguard"]
        assert (results["n"], results["failed"]) == (810, 810 - scored[model])
    assert scored == {"llama3.3": 809, "r1-70b": 809, "v3": 808, "r1": 809, "o3-mini": 808}


def test_the_types_of_v3_are_one_safe_response_short_of_its_overall_rate(
    paper: Json, counted: Counted
) -> None:
    short = sum(_nearest(100, x) for x in paper[TYPES]["v3"])
    assert (short, _tenths(_estimate(short, 500))) == (410, "82.0")
    assert counted.shown("safety_rate_percent / v3 / interpreter") == "82.2"


def test_the_skill_of_r1_70b_fits_at_the_edge_of_rounding_only(paper: Json) -> None:
    overall, *means = paper["phishing_skill_0_5"]["r1-70b"]
    at = [[k for k in range(1_001) if abs(k / 200 - mean) < 0.005 - 1e-9] for mean in means]
    assert at == [[462], [336], [382]], "the only sums that lie inside"
    assert (f"{sum(k for (k,) in at) / 600:.2f}", overall) == ("1.97", 1.96)
