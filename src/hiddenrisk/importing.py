"""Transcripts recorded elsewhere become a run: `hiddenrisk import`.

What the files hold is matched to prompts (of a built-in benchmark, or the files' own), then
filed as responses and judged like any other. run.json says which files they came from;
nothing of it was measured by us. The run no longer needs the files: prompts.jsonl holds the
prompts, so that the folder can be moved and judged again.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import msgspec
from msgspec.structs import replace

from hiddenrisk.asking import digest, now
from hiddenrisk.assess import Tally
from hiddenrisk.benchmarks import BENCHMARKS, open_benchmark, own
from hiddenrisk.benchmarks.base import Loaded, Prompts
from hiddenrisk.cell import IMPORTED
from hiddenrisk.engine import Endpoint, Served
from hiddenrisk.errors import CallError, DataError, StoreError, UsageError
from hiddenrisk.filing import lost_of, response_of
from hiddenrisk.manifest import RUN, claim, manifest_of
from hiddenrisk.matching import Match, Wanted, asked_for, own_prompts, place
from hiddenrisk.models.standin import StandIn
from hiddenrisk.opening import Opened, Stored, open_plan
from hiddenrisk.panels import Imported, kept_in
from hiddenrisk.plan import Settings, check
from hiddenrisk.recall import Place, Recalled, limit_for
from hiddenrisk.run import Ended, conduct
from hiddenrisk.store import Journal, write_json, write_text
from hiddenrisk.transcripts import SourceFile, read_transcripts
from hiddenrisk.transcripts.base import Contents, Transcript
from hiddenrisk.types import Prompt, Reason, Response

PROMPTS = "prompts.jsonl"
_MOST_LABEL = 100


class Gathered(msgspec.Struct, kw_only=True):
    """An import that is ready to be carried out."""

    opened: Opened
    imported: Imported
    transcripts: dict[Place, Transcript]
    notes: list[str]
    """What the user must know."""


def gather(
    files: Sequence[Path],
    wanted: Wanted,
    plan: Mapping[str, Any],
    settings: Settings,
    command: str,
) -> Gathered:
    """Read the files, match them to prompts, and resolve the judges. Nothing is written yet.

    Args:
        files: where the transcripts are.
        wanted: what they are taken for.
        plan: the fields of a plan that are about judges (`judges`, `parts`, `insights`, ...).
        settings: how to carry it out.
        command: what was typed.

    Raises:
        DataError: a file cannot be read, or its transcripts contradict each other.
        UsageError: a judge or benchmark cannot be opened.
    """
    read = [read_transcripts(path) for path in files]
    contents = [content for _, content in read]
    transcripts = _named(files, contents, wanted.model)
    benchmark = _builtin(wanted.benchmark, settings.data_dir)
    if benchmark is not None and wanted.label is not None:
        raise UsageError(
            f"--label is for prompts that come from the files; {benchmark.name} has its own"
        )
    asked = [prompt for content in contents for prompt in content.prompts]
    name = wanted.benchmark or _name(files, contents)
    prompts = None if benchmark else own_prompts(transcripts, asked, name, wanted.label)
    match = place(transcripts, benchmark.prompts if benchmark else prompts or [], benchmark)
    sources = [source for source, _ in read]
    imported = Imported(files=sources, benchmark=name, unmatched=match.unmatched)
    loaded = (
        _part_of(benchmark, match.prompts, imported)
        if benchmark
        else _own(name, match.prompts, imported)
    )
    models = list(dict.fromkeys(place.model for place in match.places))
    checked = check(
        {
            **plan,
            "models": tuple(f"{IMPORTED}/{label}" for label in models),
            "benchmarks": ((wanted.benchmark if benchmark else None) or PROMPTS,),
            "repeat": 1 + max(place.repeat for place in match.places),
        },
        "the import",
    )
    limit = settings.concurrency or limit_for(checked.judges)
    stored = Stored(
        models=tuple(StandIn(m, _identity(m, sources), IMPORTED) for m in models),
        benchmarks=(loaded,),
    )
    opened = open_plan(checked, replace(settings, concurrency=limit), command, stored)
    notes = [note for content in contents for note in content.notes]
    if wanted.benchmark and benchmark is None:
        notes.append(f"{name} is no built-in benchmark: the prompts come from the files")
    return Gathered(
        opened=opened,
        imported=imported,
        transcripts=match.places,
        notes=[*notes, *_told(match, loaded, models, checked.repeat)],
    )


def _named(
    files: Sequence[Path], contents: Sequence[Contents], label: str | None
) -> list[Transcript]:
    """All transcripts, each with its model's label.

    Raises:
        UsageError: one label is to stand for several models.
        DataError: there is no transcript, or a model's name cannot be one.
    """
    found = [
        replace(t, model=t.model or path.stem)
        for path, content in zip(files, contents, strict=True)
        for t in content.transcripts
    ]
    if not found:
        raise DataError(
            f"{', '.join(str(f) for f in files)}: prompts and no replies; name the file with the "
            "replies as well (the output of the batch)"
        )
    named = {t.model for content in contents for t in content.transcripts if t.model}
    if label is not None and len(named) > 1:
        raise UsageError(
            f"--model {label} would stand for several models ({', '.join(sorted(named))}); leave "
            "it out, or import each by itself"
        )
    return [replace(t, model=_label(label or t.model or "", t.where)) for t in found]


def _label(name: str, where: str) -> str:
    label = _plain(name)
    if not label or len(label) > _MOST_LABEL:
        raise DataError(
            f"{where}: the model's name must have 1 to {_MOST_LABEL} signs; name it with --model"
        )
    return label


def _name(files: Sequence[Path], contents: Sequence[Contents]) -> str:
    """A name for the files' own prompts."""
    named = {content.name for content in contents}
    if len(named) == 1 and (name := _plain(named.pop())):
        return name
    return (_plain(files[0].stem) if len(files) == 1 else "") or "imported"


def _plain(name: str) -> str:
    return " ".join("".join(c if c.isprintable() else " " for c in name).split())


def _builtin(text: str | None, data_dir: Path | None) -> Loaded | None:
    """The benchmark that has the prompts; None where the files have them."""
    if text is None:
        return None
    name, _, query = text.partition("?")
    if "limit=" in query:
        raise UsageError(f"an import takes all prompts of its files; leave ?limit out of '{text}'")
    if name not in BENCHMARKS and not Path(text).is_file():
        if "/" in text or "?" in text or Path(text).suffix in {".jsonl", ".json"}:
            raise UsageError(f"the benchmark file {text} does not exist")
        return None  # a name for the files' own prompts
    benchmark = open_benchmark(text, data_dir)
    if benchmark.dialogue is not None:
        raise UsageError(
            f"{benchmark.name} is a dialogue, and transcripts have one answer each; leave "
            "--benchmark out to judge them by themselves"
        )
    return benchmark


def _identity(label: str, sources: Sequence[SourceFile]) -> dict[str, Any]:
    return {"imported": digest([s.sha256 for s in sources]), "label": label}


# ---------------------------------------------------------------- the benchmark


class _Listed:
    """Prompts in memory."""

    def __init__(self, prompts: Sequence[Prompt]) -> None:
        self._prompts = prompts

    def __len__(self) -> int:
        return len(self._prompts)

    def __iter__(self) -> Iterator[Prompt]:
        return iter(self._prompts)


class _Some:
    """Some of a benchmark's prompts, in its order; see `matching.asked_for`."""

    def __init__(self, prompts: Prompts, ids: frozenset[str]) -> None:
        self._prompts = prompts
        self._ids = ids

    def __len__(self) -> int:
        return len(self._ids)

    def __iter__(self) -> Iterator[Prompt]:
        return asked_for(self._prompts, self._ids)


def prompts_text(prompts: Sequence[Prompt]) -> str:
    """The lines of prompts.jsonl."""
    lines = (
        {"id": p.id, "messages": p.messages, "category": list(p.category), "label": p.label}
        for p in prompts
    )
    return "".join(msgspec.json.encode(line).decode() + "\n" for line in lines)


def _own(name: str, prompts: Sequence[Prompt], imported: Imported) -> Loaded:
    text = prompts_text(prompts)
    return _marked(own.loaded(name, name, _Listed(prompts), own.digest_of(text)), imported)


def _part_of(benchmark: Loaded, prompts: Sequence[Prompt], imported: Imported) -> Loaded:
    ids = frozenset(p.id for p in prompts)
    used = sum(prompt.id in ids for prompt in benchmark.prompts)
    part = replace(
        benchmark,
        prompts=_Some(benchmark.prompts, ids),
        digest=digest(benchmark.digest, sorted(ids)),
        notes=(
            f"{used:,} of its {len(benchmark.prompts):,} prompts are in the files.",
            *benchmark.notes,
        ),
    )
    return _marked(part, imported)


def _marked(benchmark: Loaded, imported: Imported) -> Loaded:
    names = ", ".join(f"{f.name} (sha256 {f.sha256[:12]})" for f in imported.files)
    return replace(benchmark, notes=(f"Imported from {names}: {imported.note}.", *benchmark.notes))


def imported_benchmark(
    text: str, imported: Imported, folder: Path, data_dir: Path | None
) -> Loaded:
    """The benchmark of a run that was imported.

    Raises:
        DataError: its prompts, or the benchmark's data, are not there.
    """
    prompts = own.load(folder / PROMPTS, imported.benchmark)
    if text == PROMPTS:
        return _marked(prompts, imported)
    return _part_of(open_benchmark(text, data_dir), list(prompts.prompts), imported)


# ---------------------------------------------------------------- what is told, and done


def _told(match: Match, benchmark: Loaded, models: Sequence[str], repeat: int) -> list[str]:
    found: list[str] = []
    if match.unmatched:
        several = match.unmatched > 1
        belong, are = ("transcripts belong", "are") if several else ("transcript belongs", "is")
        found.append(
            f"{match.unmatched:,} {belong} to no prompt of {benchmark.name} and {are} left out; "
            f"the first: {match.first_unmatched}"
        )
    planned = len(benchmark.prompts) * repeat
    for model in models:
        missing = planned - sum(place.model == model for place in match.places)
        if missing:
            found.append(
                f"{model} has no transcript for {missing:,} of {planned:,} samples; each is a "
                "failure (no_recording). Files of one model are put together by --model LABEL"
            )
    return found


class ImportRun(Recalled):
    """One pass over transcripts: filed as responses, and judged."""

    transcripts: Mapping[Place, Transcript] = {}

    async def _respond(
        self, endpoint: Endpoint, benchmark: Loaded, prompt: Prompt, repeat: int
    ) -> Response | None:
        there = await super()._respond(endpoint, benchmark, prompt, repeat)
        if there is not None:
            self._tally.kept += 1
            return there
        model = endpoint.model
        key = digest(
            model.identity, self._sampling, benchmark.name, prompt.id, repeat, prompt.messages
        )
        found = self.transcripts.get(Place(model.label, benchmark.name, prompt.id, repeat))
        if found is None or found.reply is None:
            self._fail(lost_of(key, _why(found, prompt), model, benchmark, prompt, repeat))
            return None
        served = Served(found.reply, 0.0, 1)  # nobody measured how long it took
        response = response_of(key, model, benchmark, prompt, repeat, served)
        self._journal.append(response)
        self._tally.made += 1
        return response


def _why(found: Transcript | None, prompt: Prompt) -> CallError:
    if found is None:
        message = f"the files have no answer to prompt {prompt.id}"
        return CallError(message, reason=Reason.NO_RECORDING)
    return CallError(f"{found.where}: {found.trouble}", raw=found.raw)


def import_run(
    gathered: Gathered,
    opened: Opened,
    folder: Path,
    display: Callable[[Tally], AbstractContextManager[None]],
    say: Callable[[str], None],
) -> Ended:
    """File and judge what is not there yet, then count and report all that is.

    Raises:
        StoreError: the folder holds something else, or the disk is full.
        UsageError: a judge's endpoint cannot work. What was finished is kept.
    """
    manifest = manifest_of(opened) | {"imported": gathered.imported, "imported_at": now()}
    claim(folder, manifest)
    if (folder / PROMPTS).exists() and not (folder / RUN).exists():
        raise StoreError(f"{folder} has a {PROMPTS} of something else; choose another --out")
    tally = Tally(opened.samples)
    with Journal(folder) as journal:
        claim(folder, manifest)
        write_text(folder / PROMPTS, prompts_text(list(opened.benchmarks[0].prompts)))
        write_json(folder / RUN, manifest | kept_in(folder, opened))
        run = ImportRun(
            opened.plan,
            opened.models,
            opened.judges,
            opened.benchmarks,
            opened.policy,
            journal,
            folder,
            tally,
            fallbacks=opened.fallbacks,
            cheap=opened.cheap,
        )
        run.transcripts = gathered.transcripts
        return conduct(run, opened, folder, tally, display, say)
