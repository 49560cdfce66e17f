"""The records of a run, counted: summary.json, flips.jsonl and the page.

Whatever asks models or judges ends here, and so does what only counts a stored run again:
the same records give the same numbers.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
from msgspec.structs import replace

from hiddenrisk import __version__, summary
from hiddenrisk.asking import now
from hiddenrisk.assess import Judge
from hiddenrisk.benchmarks.base import Loaded
from hiddenrisk.cell import Cell
from hiddenrisk.corrected import Known, add_corrected, evidence_json
from hiddenrisk.errors import StoreError
from hiddenrisk.evidence import settled
from hiddenrisk.examples import (
    Flips,
    examples_of,
    flip_lines,
    flips_of,
    most_examples,
    with_verdicts,
)
from hiddenrisk.headline import headline_cell
from hiddenrisk.judging import odds_notes
from hiddenrisk.manifest import (
    RUN,
    judges_before,
)
from hiddenrisk.opening import Opened
from hiddenrisk.plan import PLAIN, Plan, asked_under, planned, profiled, selected
from hiddenrisk.records import Records, read_records
from hiddenrisk.report.page import Example, render
from hiddenrisk.spending import (
    read_budget,
    usage_json,
)
from hiddenrisk.store import (
    REWARD_MODELS,
    write_json,
    write_lines,
    write_text,
)
from hiddenrisk.types import Model, Part

SUMMARY, FLIPS, REPORT = "summary.json", "flips.jsonl", "report.html"


class Counted(msgspec.Struct, frozen=True, kw_only=True):
    """What the records of a run come to."""

    summary: dict[str, Any]
    """The content of summary.json."""
    flips: list[Flips]
    """What flips.jsonl lists."""
    shown: dict[str, Example]
    """Responses for the page, by key, without what the judges said of them."""


def report(
    opened: Opened, folder: Path, *, stopped: bool = False, to: Path | None = None
) -> dict[str, Any]:
    """Count the records of a run, and write summary.json, flips.jsonl and report.html.

    Args:
        opened: the plan.
        folder: the run directory.
        stopped: something of a sample is missing, even if all is judged.
        to: where the files go; into the run directory if None.
    """
    found, to = counted(opened, folder, stopped=stopped), to or folder
    write_lines(to / FLIPS, flip_lines(folder, found.flips))
    write_json(to / SUMMARY, found.summary)
    write_text(to / REPORT, page_of(folder, found.summary, found.shown))
    return found.summary


def read_summary(folder: Path) -> dict[str, Any]:
    """The content of a run's summary.json.

    Raises:
        StoreError: it is not there, or no summary.
    """
    path = folder / SUMMARY
    try:
        return msgspec.json.decode(path.read_bytes(), type=dict[str, Any])
    except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
        raise StoreError(
            f"{path} cannot be read ({error}); `hiddenrisk report {folder}` makes it anew"
        ) from error


def page_of(folder: Path, told: dict[str, Any], shown: dict[str, Example]) -> str:
    """The page of a run.

    Args:
        folder: the run directory.
        told: the content of summary.json.
        shown: the responses to show.
    """
    return render(told, with_verdicts(folder, shown), _manifest(folder))


def counted(opened: Opened, folder: Path, *, stopped: bool = False) -> Counted:
    """Count the records of a run; nothing is written.

    Args:
        opened: the plan.
        folder: the run directory.
        stopped: something of a sample is missing, even if all is judged.
    """
    found = read_records(folder, [j.label for j in opened.fallbacks])
    opened = replace(opened, evidence=settled(folder, opened.evidence))
    before = judges_before(folder, opened.policy)
    most = most_examples(len(opened.models) * len(opened.benchmarks))
    models: dict[str, Any] = {}
    shown: dict[str, Example] = {}
    flips: list[Flips] = []
    known = Known(set(), set())
    samples = {b.name: profiled(b, opened.plan) for b in opened.benchmarks}
    for (text, _), model in zip(asked_under(opened.plan), opened.models, strict=True):
        benchmarks: dict[str, Any] = {}
        for benchmark in opened.benchmarks:
            cell = headline_cell(opened, found, model.label, benchmark)
            results = _results(cell, opened, benchmark, model, before, samples[benchmark.name])
            add_corrected(results, cell, opened, benchmark, model.label, folder, known)
            benchmarks[benchmark.name] = results
            labels = [j.label for j in opened.judges_of(benchmark)]
            if len(opened.parts_of(benchmark)) == len(Part):
                flips += flips_of(cell, opened.protocols(benchmark)[0], labels)
            shown |= examples_of(folder, cell, labels, opened.parts_of(benchmark), most)
        models[model.label] = _about(text, model, found) | {"benchmarks": benchmarks}
    result = _summary(opened, folder, found, models, known)
    result["complete"] = not stopped and not summary.incomplete(result)
    return Counted(summary=result, flips=flips, shown=shown)


def _results(
    cell: Cell,
    opened: Opened,
    benchmark: Loaded,
    model: Model,
    before: Sequence[Judge],
    sample: frozenset[tuple[str, int]],
) -> dict[str, Any]:
    """What summary.json says of a model on a benchmark, not corrected for the judges' errors."""
    return summary.summarise_cell(
        cell,
        opened.measured(benchmark),
        opened.protocols(benchmark),
        [j.label for j in opened.judges_of(benchmark)],
        opened.parts_of(benchmark),
        _missing(cell, benchmark, opened.plan),
        [
            *opened.notes(benchmark),
            *odds_notes(cell, opened.models_judging, benchmark),
            *_late_notes(cell, model),
        ],
        looker=opened.looker_of(benchmark),
        sample=sample,
        rubric=opened.rubrics(benchmark),
        readings=opened.readings(benchmark, before),
    )


def _about(text: str, model: Model, found: Records) -> dict[str, Any]:
    """What a model is, as it was named and as its provider says."""
    return {
        "spec": text,
        "decoding": model.identity.get("decoding", {}).get("name", PLAIN),
        "provider": model.provider,
        "served_models": sorted(found.served[model.label]),
        "fingerprints": sorted(found.fingerprints[model.label]),
    }


def _summary(
    opened: Opened, folder: Path, found: Records, models: dict[str, Any], known: Known
) -> dict[str, Any]:
    """The content of summary.json, but for whether it is complete."""
    result: dict[str, Any] = {
        "hiddenrisk": __version__,
        "created": now(),
        "command": opened.command,
        "unverified": opened.unverified,
        "judges": {
            **{j.label: {"spec": j.spec, "kind": _kind(j), **j.form.named} for j in opened.judges},
            **_others("fallback", opened.fallbacks),
            **_others("cheap", opened.cheap),
        },
        "jury": opened.plan.jury,
        "evidence": evidence_json(opened.evidence, known),
        "victim": _victim(opened),
        "models": models,
        "roles": roles_of(opened),
        "harmfulness": _harmfulness(folder, found, opened),
        "comparisons": _comparisons(found, opened),
        "findings": [],
        "usage": usage_json(found.usage, opened.priced, folder),
        "budget": read_budget(folder),
    }
    result["findings"] = _findings(found, opened, result)
    return result


def _manifest(folder: Path) -> dict[str, Any] | None:
    """What run.json says, for the page."""
    path = folder / RUN
    return msgspec.json.decode(path.read_bytes(), type=dict[str, Any]) if path.is_file() else None


def _late_notes(cell: Cell, model: Model) -> list[str]:
    """What is known of a model's replies only once they are there."""
    if not cell.untagged or model.provider == "local":
        return []  # the embedded model's prompt is ours: it does open the thought
    note = (
        f"{cell.untagged} of {model.label}'s texts have no closing tag and were read as unfinished "
        "thoughts, not as answers, as its other replies close a thought that they never opened "
        "(or ?prefilled says so). If they are answers, assess it again with ?plain "
        "(replay/TRANSCRIPTS?plain)."
    )
    return [note]


def _victim(opened: Opened) -> dict[str, str] | None:
    """Who played the other side of dialogues; it decides how far an attacker got."""
    if opened.victim is None:
        return None
    spec = opened.plan.victim or next(j.spec for j in opened.judges if j.endpoint is opened.victim)
    return {"label": opened.victim.model.label, "spec": spec}


def roles_of(opened: Opened) -> dict[str, Any]:
    """Reference and pairs of the plan, as far as their models are in the run."""
    labels, plan = {m.label for m in opened.models}, opened.plan
    pairs = [
        {k: v for k, v in msgspec.structs.asdict(pair).items() if v is not None}
        for pair in plan.pairs
        if {pair.base, pair.distilled or pair.reasoning} <= labels
    ]
    return {"reference": plan.reference if plan.reference in labels else None, "pairs": pairs}


def _comparisons(found: Records, opened: Opened) -> list[dict[str, Any]]:
    """The plan's pairs of models on the prompts they share; nothing with one model."""
    if len(opened.models) < 2:
        return []
    from hiddenrisk import comparing  # noqa: PLC0415 - numpy takes a while

    compared = comparing.comparisons_of(found, opened, roles_of(opened))
    return [comparing.comparison_json(one) for one in compared]


def _harmfulness(folder: Path, found: Records, opened: Opened) -> dict[str, Any] | None:
    if not (folder / REWARD_MODELS).is_file():
        return None
    from hiddenrisk.harm_summary import harm_json  # noqa: PLC0415 - scipy.stats takes a while

    return harm_json(folder, found, opened, roles_of(opened))


def _findings(found: Records, opened: Opened, result: Mapping[str, Any]) -> list[dict[str, Any]]:
    from hiddenrisk.findings import findings_in  # noqa: PLC0415 - numpy and scipy take a while

    return findings_in(found, opened, result)


def _missing(cell: Cell, benchmark: Loaded, plan: Plan) -> Counter[tuple[tuple[str, ...], str]]:
    """Planned samples that were not run, by category and label."""
    if len(cell) >= planned(benchmark, plan):
        return Counter()
    wanted = Counter((prompt.category, prompt.label) for prompt, _ in selected(benchmark, plan))
    return wanted - cell.kinds()


def _others(role: str, judges: Sequence[Judge]) -> dict[str, dict[str, Any]]:
    """Judges that are not of the jury."""
    return {
        j.label: {"spec": j.spec, "kind": _kind(j), "role": role, **j.form.named} for j in judges
    }


def _kind(judge: Judge) -> str:
    if judge.endpoint is None:
        return "rules"
    return "guard" if judge.form.guard else "llm"
