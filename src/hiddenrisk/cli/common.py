"""What the verbs that carry out a run share: checks, and what is shown at the end.

As in `cli`, what takes long to import is imported where it is needed.
"""

import gc
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, cast

import click

from hiddenrisk.errors import UsageError

if TYPE_CHECKING:
    from hiddenrisk.assess import Tally
    from hiddenrisk.benchmarks.base import Loaded
    from hiddenrisk.cli.progress import Terminal
    from hiddenrisk.opening import Opened
    from hiddenrisk.run import Ended

FAILED, WRONG_USE, OUT_OF_BUDGET, INTERRUPTED = 1, 2, 3, 130
_FEW_PAIRS = 6
"""So many comparisons are shown at the end of a run."""
Shown = Callable[["Tally"], AbstractContextManager[None]]
Conduct = Callable[["Opened", Path, Shown, Callable[[str], None]], "Ended"]
"""What carries out an opened plan in a folder, showing how far it is."""


def plain(text: str) -> str:
    """One line that a terminal only shows: a server or a data file may have worded it."""
    return "".join(c if c.isprintable() else " " for c in text)


def plain_all(value: Any) -> Any:  # noqa: ANN401 - whatever JSON can hold
    """The same with every text in it `plain`, keys too."""
    if isinstance(value, str):
        return plain(value)
    if isinstance(value, dict):
        fields = cast("dict[Any, Any]", value)
        return {plain_all(key): plain_all(field) for key, field in fields.items()}
    if isinstance(value, list):
        return [plain_all(one) for one in cast("list[Any]", value)]
    return value


def check_text(*words: str) -> None:
    """See that every word can stand in a record.

    Raises:
        UsageError: one is not UTF-8.
    """
    for word in words:
        try:
            word.encode()
        except UnicodeEncodeError as error:
            raise UsageError(f"{word!r} is not UTF-8 text, and no record could hold it") from error


def who_judges(opened: "Opened", benchmark: "Loaded") -> str:
    """`judged by a, b by safety 1 (where one gives no verdict: c)`."""
    from hiddenrisk.cli.tables import by_whom  # noqa: PLC0415 - see the module

    labels = [j.label for j in opened.judges_of(benchmark)]
    whom = by_whom({"judges": labels, "rubric": opened.rubrics(benchmark)})
    if opened.plan.jury != "majority" and len(labels) > 1:
        whom += f", {opened.plan.jury}"
    names = ", then ".join(j.label for j in opened.fallbacks)
    return f"judged by {whom}" + (f" (where one gives no verdict: {names})" if names else "")


def tell_of_judging(console: "Terminal", opened: "Opened", benchmark: "Loaded") -> None:
    """Say before anything is sent who reads first, and what a reader of the numbers must know."""
    if cascade := opened.cascade_of(benchmark):
        console.print(f"{benchmark.title}: {cascade.told}")
    for data in benchmark.data:
        if data.warning:
            console.print(f"UNVERIFIED data: {plain(data.warning)}", style="bold yellow")
    for note in opened.notes(benchmark):
        console.print(f"Note: {plain(note)}", style="yellow")


class Asking(Protocol):
    """What is about to be done."""

    @property
    def leaves_machine(self) -> bool:
        """Whether a call goes to an endpoint that may cost money."""
        ...


def ask_first(opened: Asking, *, yes: bool) -> None:
    """Ask a person, if there is one, before calls that may cost money."""
    if opened.leaves_machine and not yes and sys.stdin is not None and sys.stdin.isatty():
        click.confirm("Go ahead?", abort=True, err=True)


class Ending(NamedTuple):
    """What a verb makes of how its work ended."""

    show: Callable[["Terminal", "Opened", Path, dict[str, Any]], None]
    """Shows the result: (terminal, plan, folder, what `Ended.summary` holds)."""
    failed_share: Callable[[dict[str, Any]], float]
    failed: str
    """What that is the share of, for a sentence: "of the samples failed"."""


def carry_out_shown(
    console: "Terminal",
    opened: "Opened",
    folder: Path,
    *,
    resume: str,
    conduct: Conduct | None = None,
    ending: Ending | None = None,
) -> int:
    """Carry out a plan, show how far it is and what it gave.

    Args:
        console: where to tell of it.
        opened: the plan.
        folder: the run directory.
        resume: the command that goes on with it.
        conduct: what carries it out, if that is not a run from its beginning.
        ending: what its result is, if that is not a run's.

    Returns:
        The exit code.
    """
    from hiddenrisk.cli.progress import Terminal, display  # noqa: PLC0415 - see the module
    from hiddenrisk.run import carry_out  # noqa: PLC0415 - as above
    from hiddenrisk.summary import failed_share  # noqa: PLC0415 - as above

    ending = ending or Ending(show_run, failed_share, "of the samples failed")
    collect_less()
    try:
        ended = (conduct or carry_out)(
            opened, folder, lambda tally: display(console, tally), console.print
        )
    except KeyboardInterrupt:
        return _interrupted(resume)
    out = Terminal()
    if not out.is_terminal:
        out.width = 160
    ending.show(out, opened, folder, ended.summary)
    if ended.interrupted:
        return _interrupted(resume)
    if ended.out_of_budget:
        return _out_of_budget(ended.summary, resume)
    share = ending.failed_share(ended.summary)
    if share > opened.settings.max_failures:
        click.echo(
            f"hiddenrisk: {share:.1%} {ending.failed}, more than the "
            f"{opened.settings.max_failures:.1%} allowed; see {plain(str(folder))}/failures.jsonl. "
            f"To try those again, run: {plain(resume)}",
            err=True,
        )
        return FAILED
    return 0


def collect_less() -> None:
    """Have the collector look less often.

    With hundreds of calls in flight, or a million records read, it looks at every object again
    and again: a fifth of the CPU, for cycles that hardly occur. Peak memory stays the same.
    """
    gc.set_threshold(50_000, 20, 20)


def _interrupted(resume: str) -> int:
    click.echo(f"hiddenrisk: interrupted; to resume, run: {plain(resume)}", err=True)
    return INTERRUPTED


def _out_of_budget(summary: dict[str, Any], resume: str) -> int:
    budget = summary["budget"]
    limits = [f"${budget['usd']:,.2f}"] if budget["usd"] is not None else []
    limits += [f"{budget['tokens']:,} tokens"] if budget["tokens"] is not None else []
    spent = [f"${budget['spent_usd']:,.2f}"] if budget["usd"] is not None else []
    spent += [f"{budget['spent_tokens']:,} tokens"] if budget["tokens"] is not None else []
    missing = sum(
        results["outcomes"].get("not_run", 0) + results["outcomes"].get("not_judged", 0)
        for model in summary["models"].values()
        for results in model["benchmarks"].values()
    )
    click.echo(
        f"hiddenrisk: stopped by the budget: {' and '.join(spent)} of {' and '.join(limits)} are "
        f"spent, and the next sample might pass it; {missing:,} samples are not run, or not judged. To go on, "
        f"run this with a larger budget: {plain(resume)}",
        err=True,
    )
    return OUT_OF_BUDGET


def show_run(out: "Terminal", opened: "Opened", folder: Path, summary: dict[str, Any]) -> None:
    """Show what a run gave: (terminal, plan, folder of the report, summary)."""
    from hiddenrisk.accounting import REPORT  # noqa: PLC0415 - see the module
    from hiddenrisk.cli.judge_tables import (  # noqa: PLC0415 - as above
        agreement_table,
        judges_table,
    )
    from hiddenrisk.cli.tables import (  # noqa: PLC0415 - as above
        advice,
        corrections,
        cost_lines,
        late_notes,
        overview_table,
        results_table,
    )

    out.print(results_table(summary))
    for table in (overview_table(summary), judges_table(summary), agreement_table(summary)):
        if table is not None:
            out.print(table)
    _show_comparisons(out, folder, summary)
    for line in [*corrections(summary), *advice(summary), *cost_lines(summary)]:
        out.print(plain(line), soft_wrap=True, markup=False, highlight=False)
    told = {note for benchmark in opened.benchmarks for note in opened.notes(benchmark)}
    for note in late_notes(summary, told):
        out.print(f"Note: {plain(note)}", style="yellow", markup=False, highlight=False)
    out.print(f"Report: {plain(str(folder / REPORT))}", soft_wrap=True)


def _show_comparisons(out: "Terminal", folder: Path, summary: dict[str, Any]) -> None:
    """Model against model: a table of a few, else how many differ and who tells which."""
    if not summary["comparisons"]:
        return
    import msgspec  # noqa: PLC0415 - see the module

    from hiddenrisk.cli.compare_tables import (  # noqa: PLC0415 - as above
        CORRECTIONS,
        comparisons_table,
    )
    from hiddenrisk.comparing import Comparison  # noqa: PLC0415 - as above

    found = msgspec.convert(summary["comparisons"], list[Comparison])
    tested = [one for one in found if one.p_holm is not None]
    if 0 < sum(one.n > 0 for one in found) <= _FEW_PAIRS:
        out.print(comparisons_table(found, 0.05, CORRECTIONS["holm"]))
    elif tested:
        apart = sum((one.p_holm or 0.0) < 0.05 for one in tested)
        out.print(f"{apart} of {len(tested)} comparisons of two models differ (p < 0.05, Holm)")
    if (folder / "responses.jsonl").is_file():  # a report may lie apart from its run
        out.print(f"Model against model: hiddenrisk compare {plain(str(folder))}", soft_wrap=True)
