"""A run from beginning to end: open what the plan names, carry it out, show what it gave."""

import asyncio
import signal
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import Any, cast

import msgspec
from msgspec.structs import replace

from hiddenrisk import __version__, summary
from hiddenrisk.asking import now
from hiddenrisk.assess import Judge, Run, Tally
from hiddenrisk.benchmarks.base import Loaded, Protocol
from hiddenrisk.budget import Limits, Purse
from hiddenrisk.cell import FAILED, Cell
from hiddenrisk.contrast import contrast
from hiddenrisk.corrected import Known, add_corrected, evidence_json
from hiddenrisk.evidence import settled
from hiddenrisk.judging import odds_notes
from hiddenrisk.manifest import (
    RUN,
    claim,
    judges_before,
    keep_benchmarks,
    manifest_of,
)
from hiddenrisk.opening import Opened
from hiddenrisk.panels import kept_in
from hiddenrisk.plan import PLAIN, Plan, asked_under, planned, profiled, selected
from hiddenrisk.prices import who
from hiddenrisk.records import Records, read_records
from hiddenrisk.report.page import Example, ExampleVerdict, render
from hiddenrisk.spending import (
    keep_budget,
    keep_prices,
    read_budget,
    read_paid,
    read_prices,
    usage_json,
)
from hiddenrisk.store import (
    RESPONSES,
    REWARD_MODELS,
    VERDICTS,
    Journal,
    placed_records,
    read_at,
    write_json,
    write_text,
)
from hiddenrisk.types import Message, Model, Part, Response, Verdict

SUMMARY, FLIPS, REPORT = "summary.json", "flips.jsonl", "report.html"
_EXAMPLES, _ALL_EXAMPLES, _LEAST_EXAMPLES = 40, 400, 5
"""Responses in the report, the worst first: of each model and benchmark at most, of all, and
of each at least."""


class Ended(msgspec.Struct, frozen=True, kw_only=True):
    """How a run ended."""

    summary: dict[str, Any]
    interrupted: bool
    out_of_budget: bool = False
    """It stopped because the next sample might have passed its budget."""


def carry_out(
    opened: Opened,
    folder: Path,
    display: Callable[[Tally], AbstractContextManager[None]],
    say: Callable[[str], None],
    count: Callable[..., dict[str, Any]] | None = None,
    *,
    kind: Callable[..., Run] = Run,
    samples: int | None = None,
) -> Ended:
    """Run the samples that are not there yet, then count and report all that is.

    Args:
        opened: the plan.
        folder: the run directory.
        display: shows how far it is.
        say: says a line.
        count: what to make of the records, with the arguments of `report`; `report` if None.
        kind: what carries it out, with the arguments of `Run`.
        samples: how many that sees to; all of the plan if None.

    Raises:
        UsageError: the folder is of another plan, an endpoint cannot work, or the disk is full.
    """
    manifest = manifest_of(opened)
    claim(folder, manifest)
    tally = Tally(opened.samples if samples is None else samples)
    with Journal(folder) as journal:
        claim(folder, manifest)  # now that nobody else can: one may have come in between
        write_json(folder / RUN, manifest | kept_in(folder, opened))
        keep_benchmarks(opened, folder)
        run = kind(
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
        return conduct(run, opened, folder, tally, display, say, count)


def conduct(
    run: Run,
    opened: Opened,
    folder: Path,
    tally: Tally,
    display: Callable[[Tally], AbstractContextManager[None]],
    say: Callable[[str], None],
    count: Callable[..., dict[str, Any]] | None = None,
) -> Ended:
    """Carry out a run whose journal is open, then count and report all that is there."""
    purse = _purse(run, opened, folder)
    stopped = asyncio.run(_until_stopped(run, display(tally), say))
    unfinished = stopped and tally.finished < tally.planned
    keep_budget(folder, purse.told if purse else None)
    result = (count or report)(opened, folder, stopped=unfinished)
    empty = purse is not None and purse.empty
    return Ended(summary=result, interrupted=stopped and not empty, out_of_budget=empty)


def _purse(run: Run, opened: Opened, folder: Path) -> Purse | None:
    """The budget of a run, less what those took before who are asked; None where there is none."""
    priced, told = opened.priced, {n: opened.prices.told(s) for n, s in opened.specs.items()}
    keep_prices(folder, told, priced)
    limits = Limits(usd=opened.settings.budget, tokens=opened.settings.budget_tokens)
    if not limits.some:
        return None
    known, purse = priced | read_prices(folder), Purse(limits)
    asked, before = opened.asked, ((who(p.role, p.label), p) for p in read_paid(folder))
    purse.remember((paid, known.get(name)) for name, paid in before if name in asked)
    run.charge(purse, known)
    return purse


async def _until_stopped(
    run: Run, shown: AbstractContextManager[None], say: Callable[[str], None]
) -> bool:
    """Carry a run out; Ctrl-C lets the calls in flight finish, a second one drops them."""
    stop = asyncio.Event()
    work = asyncio.create_task(_grouped(run, stop))
    loop = asyncio.get_running_loop()

    def interrupt(*, at_once: bool) -> None:
        if stop.is_set() or at_once:
            stop.set()
            work.cancel()
        else:
            stop.set()
            say("stopping: waiting for the calls in flight (Ctrl-C again drops them)")

    for sign in (signal.SIGINT, signal.SIGTERM):
        # Who sends SIGTERM will not wait for a model to finish thinking.
        loop.add_signal_handler(sign, partial(interrupt, at_once=sign is signal.SIGTERM))
    try:
        with shown:  # from here on, Ctrl-C is heard
            await work
    except asyncio.CancelledError:
        if not stop.is_set():
            raise
    finally:
        for sign in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(sign)
    return stop.is_set()


async def _grouped(run: Run, stop: asyncio.Event) -> None:
    """Carry a run out; of several errors at once, the first one is told."""
    try:
        await run.carry_out(stop)
    except BaseExceptionGroup as group:
        raise _first(group) from None


def _first(error: BaseException) -> BaseException:
    if isinstance(error, BaseExceptionGroup):
        group = cast("BaseExceptionGroup[BaseException]", error)
        return _first(group.exceptions[0])
    return error


class Counted(msgspec.Struct, frozen=True, kw_only=True):
    """What the records of a run come to."""

    summary: dict[str, Any]
    """The content of summary.json."""
    flips: list[dict[str, Any]]
    """The lines of flips.jsonl."""
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
    write_text(to / FLIPS, flip_lines(found))
    write_json(to / SUMMARY, found.summary)
    write_text(to / REPORT, page_of(folder, found.summary, found.shown))
    return found.summary


def flip_lines(found: Counted) -> str:
    """The content of flips.jsonl."""
    return "".join(f"{_one_line(flip)}\n" for flip in found.flips)


def page_of(folder: Path, told: dict[str, Any], shown: dict[str, Example]) -> str:
    """The page of a run.

    Args:
        folder: the run directory.
        told: the content of summary.json.
        shown: the responses to show.
    """
    return render(told, _with_verdicts(folder, shown), _manifest(folder))


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
    pairs = len(opened.models) * len(opened.benchmarks)
    most = max(_LEAST_EXAMPLES, min(_EXAMPLES, _ALL_EXAMPLES // pairs))
    models: dict[str, Any] = {}
    shown: dict[str, Example] = {}
    flips: list[dict[str, Any]] = []
    known = Known(set(), set())
    samples = {b.name: profiled(b, opened.plan) for b in opened.benchmarks}
    for (text, _), model in zip(asked_under(opened.plan), opened.models, strict=True):
        benchmarks: dict[str, Any] = {}
        for benchmark in opened.benchmarks:
            labels = [j.label for j in opened.judges_of(benchmark)]
            cell = found.cells.get((model.label, benchmark.name)) or Cell()
            cell.abstaining = opened.abstaining()
            cell.rule, cell.cascade = opened.plan.jury, opened.cascade_of(benchmark)
            benchmarks[benchmark.name] = summary.summarise_cell(
                cell,
                opened.measured(benchmark),
                opened.protocols(benchmark),
                labels,
                opened.parts_of(benchmark),
                _missing(cell, benchmark, opened.plan),
                [
                    *opened.notes(benchmark),
                    *odds_notes(cell, opened.models_judging, benchmark),
                    *_late_notes(cell, model),
                ],
                looker=opened.looker_of(benchmark),
                sample=samples[benchmark.name],
                rubric=opened.rubrics(benchmark),
                readings=opened.readings(benchmark, before),
            )
            results = benchmarks[benchmark.name]
            add_corrected(results, cell, opened, benchmark, model.label, folder, known)
            if len(opened.parts_of(benchmark)) == len(Part):
                flips += _flips(folder, cell, opened.protocols(benchmark)[0], labels)
            shown |= _examples(folder, cell, labels, opened.parts_of(benchmark), most)
        models[model.label] = {
            "spec": text,
            "decoding": model.identity.get("decoding", {}).get("name", PLAIN),
            "provider": model.provider,
            "served_models": sorted(found.served[model.label]),
            "fingerprints": sorted(found.fingerprints[model.label]),
            "benchmarks": benchmarks,
        }
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
    result["complete"] = not stopped and not summary.incomplete(result)
    return Counted(summary=result, flips=flips, shown=shown)


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
    from hiddenrisk.harm_summary import harm_json  # noqa: PLC0415 - numpy and scipy take a while

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


class _Flipped(msgspec.Struct):
    """What of a response the list of flips has."""

    key: str
    model: str
    benchmark: str
    prompt: str
    repeat: int
    category: tuple[str, ...]


def _flips(
    folder: Path, cell: Cell, protocol: Protocol, judges: Sequence[str]
) -> Iterator[dict[str, Any]]:
    """The samples whose thinking and answer differ, as flips.jsonl lists them."""
    _, found = contrast(cell, protocol, judges)
    both = {
        "only_answer_safe": found.only_answer_safe,
        "only_thinking_safe": found.only_thinking_safe,
    }
    for flip, rows in both.items():
        offsets = [cell.offsets[row] for row in rows]
        for response in read_at(folder / RESPONSES, offsets, _Flipped) if rows else ():
            about = msgspec.structs.asdict(response)
            yield {"flip": flip, "response": about.pop("key"), **about}


def _examples(
    folder: Path, cell: Cell, judges: Sequence[str], parts: Sequence[Part], most: int
) -> dict[str, Example]:
    """The responses to show, by key; what the judges said of them comes later."""
    rows = list(summary.shown_rows(cell, judges, parts, most))
    if not rows:
        return {}
    responses = read_at(folder / RESPONSES, (cell.offsets[row] for row, _ in rows), Response)
    return {
        r.key: Example(
            model=r.model,
            benchmark=r.benchmark,
            prompt_id=r.prompt,
            category=r.category,
            label=r.label,
            prompt="\n\n".join(m.content for m in r.messages),
            thinking=r.thinking,
            answer=r.answer if r.dialogue is None else _transcript(r.dialogue),
            dialogue=r.dialogue is not None,
            finish=r.finish.value,
            visibility=r.visibility.value,
            outcome=outcome,
            verdicts=(),
            problem=None if outcome not in FAILED else outcome,
        )
        for r, (_, outcome) in zip(responses, rows, strict=True)
    }


def _transcript(dialogue: tuple[Message, ...]) -> str:
    return "\n\n".join(f"{m.role.capitalize()}: {m.content}" for m in dialogue)


class _Judged(msgspec.Struct):
    response: str


def _with_verdicts(folder: Path, examples: dict[str, Example]) -> list[Example]:
    """The examples with what the judges said, which takes one look at all verdicts."""
    said: dict[str, list[ExampleVerdict]] = {key: [] for key in examples}
    path = folder / VERDICTS
    every = placed_records(path, _Judged) if examples else ()
    places = [at for at, verdict in every if verdict.response in said]
    for verdict in read_at(path, places, Verdict) if places else ():
        said[verdict.response].append(
            ExampleVerdict(
                judge=verdict.judge,
                part=verdict.part.value,
                label=verdict.label,
                score=verdict.score,
                reason=verdict.reason,
            )
        )
    return [replace(e, verdicts=tuple(said[key])) for key, e in examples.items()]


def _one_line(value: object) -> str:
    return msgspec.json.encode(value).decode()
