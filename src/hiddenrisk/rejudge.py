"""A stored run judged again, by other judges or other parts: nothing is generated.

Verdicts are added to those that are there. The headline of summary.json and of the page is
that of the judges named last; run.json keeps the list, and who is in the headline.
"""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import msgspec

from hiddenrisk import __version__
from hiddenrisk.asking import now
from hiddenrisk.assess import Tally
from hiddenrisk.cascading import cheap_of, shares_of
from hiddenrisk.manifest import RUN, deputies_of, judges_of, rubrics_of
from hiddenrisk.opening import Opened
from hiddenrisk.panels import Judging, Manifest, as_stored, check_judges, read_manifest
from hiddenrisk.plan import Settings
from hiddenrisk.recall import Recalled
from hiddenrisk.reopening import open_stored
from hiddenrisk.run import Ended, conduct
from hiddenrisk.store import Journal, write_json


def open_again(folder: Path, settings: Settings, command: str, panel: Mapping[str, Any]) -> Opened:
    """A stored run with these judges, who can be asked; see `open_stored`.

    Raises:
        StoreError: it is no run that can be judged.
        UsageError: a judge cannot be opened, or stands there as something else.
        DataError: a benchmark's data are missing, or others than those of the run.
    """
    opened = open_stored(folder, settings, command, panel)
    _check(opened, folder)
    return opened


def changed_rubrics(opened: Opened, manifest: Manifest) -> list[str]:
    """What a reader must know: the rubrics of now are others than those of the run."""
    found: list[str] = []
    for benchmark in opened.benchmarks:
        then = manifest.identity.benchmarks[benchmark.name].rubrics
        if then != rubrics_of(benchmark):
            found.append(
                f"{benchmark.name} is judged by {', '.join(rubrics_of(benchmark))} now; when it "
                f"was run, the rubrics were {', '.join(then)}"
            )
    return found


def _check(opened: Opened, folder: Path) -> None:
    """See that each judge is what its label stands for in the run."""
    judges = [*opened.judges, *opened.fallbacks, *opened.cheap]
    check_judges(opened, judges, read_manifest(folder), folder)


def judge_again(
    opened: Opened,
    folder: Path,
    display: Callable[[Tally], AbstractContextManager[None]],
    say: Callable[[str], None],
) -> Ended:
    """Judge what is not judged yet, then count and report all that is there.

    Raises:
        StoreError: another process writes there, or the disk is full.
        UsageError: an endpoint cannot work. What was finished is kept.
    """
    tally = Tally(opened.samples)
    with Journal(folder) as journal:
        _check(opened, folder)  # one may have come in between
        _note(opened, folder)
        run = Recalled(
            opened.plan,
            opened.models,
            opened.judges,
            opened.benchmarks,
            opened.policy,
            journal,
            folder,
            tally,
            opened.victim,
            fallbacks=opened.fallbacks,
            cheap=opened.cheap,
        )
        return conduct(run, opened, folder, tally, display, say)


def _note(opened: Opened, folder: Path) -> None:
    """Write into run.json who judges now; the same judges once more are the same entry."""
    path = folder / RUN
    judging = Judging(
        judges=list(opened.plan.judges),
        jury=opened.plan.jury,
        fallbacks=list(opened.plan.fallbacks),
        cascade=list(opened.plan.cascade),
        audit=opened.plan.audit,
        parts=opened.plan.parts,
        insights=opened.plan.insights,
        identity=judges_of(opened) | deputies_of(opened),
        rubrics={b.name: rubrics_of(b) for b in opened.benchmarks},
        command=opened.command,
        started=now(),
        hiddenrisk=__version__,
    )
    content: dict[str, Any] = msgspec.json.decode(path.read_bytes())
    before = msgspec.convert(content.get("judgings", []), list[Judging])
    kept = [j for j in before if _what(j) != _what(judging)]
    write_json(path, content | {"judgings": [*kept, judging], "headline": len(kept)})


def _what(judging: Judging) -> tuple[object, ...]:
    cascade = (cheap_of(judging.cascade), shares_of(judging.audit))
    panel = (judging.jury, judging.fallbacks, *cascade)
    identity = as_stored(judging.identity)
    return (identity, *panel, judging.parts, judging.insights, judging.rubrics)
