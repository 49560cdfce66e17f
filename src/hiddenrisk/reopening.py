"""A stored run opened again: its plan, with every name in it resolved, and no model asked.

Plan, models and benchmarks come from run.json; no model of the run is opened, so that no key
of theirs is needed. Nor is one for judges, where the run is only to be counted again.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
from msgspec.structs import replace

from hiddenrisk import __version__
from hiddenrisk.benchmarks import open_benchmark
from hiddenrisk.benchmarks.base import Loaded
from hiddenrisk.engine import Endpoint, Policy
from hiddenrisk.errors import DataError, StoreError, UsageError
from hiddenrisk.importing import imported_benchmark
from hiddenrisk.insights import BUILTIN
from hiddenrisk.judges import refusal
from hiddenrisk.manifest import BENCHMARKS, rubrics_of
from hiddenrisk.models.spec import parse
from hiddenrisk.models.standin import StandIn
from hiddenrisk.opening import Opened, Stored, open_plan
from hiddenrisk.panels import Judging, Manifest, read_manifest
from hiddenrisk.plan import PANEL, Plan, Settings, check, plan_from
from hiddenrisk.recall import limit_for, providers_of


def open_stored(
    folder: Path,
    settings: Settings,
    command: str,
    panel: Mapping[str, Any],
    identities: Mapping[str, dict[str, Any]] | None = None,
    *,
    strict: bool = True,
) -> Opened:
    """A stored run with these judges, resolved; nothing has been sent yet.

    Args:
        folder: the run directory.
        settings: how to carry it out.
        command: what was typed.
        panel: the fields of a plan that say who judges; as in a new plan where they are left
            out, but for what is judged, which is as it was.
        identities: what the judges are, by label, where none of them is to be asked anything.
        strict: refuse prompts that are not those of the run; who does not sees to it himself.

    Raises:
        StoreError: it is no run that can be opened.
        UsageError: a judge cannot be opened.
        DataError: a benchmark's data are missing, or others than those of the run.
    """
    manifest = read_manifest(folder)
    was = plan_of(manifest, folder)
    kept = {name: getattr(was, name) for name in Plan.__struct_fields__ if name not in PANEL}
    looks = "none" if was.insights == "none" else "builtin"
    fields = {
        **kept,
        "judges": (BUILTIN,),
        "jury": was.jury,
        "parts": was.parts,
        "insights": looks,
        **panel,
    }
    plan = check(fields, f"judging {folder} again")
    limit = settings.concurrency or limit_for(plan.judges)
    if settings.data_dir is None and manifest.settings.data_dir is not None:
        before = Path(manifest.settings.data_dir)
        settings = replace(settings, data_dir=before if before.is_dir() else None)
    providers = providers_of(folder, manifest.identity.models)
    stored = Stored(
        models=tuple(
            StandIn(label, identity, providers.get(label, "unknown"))
            for label, identity in manifest.identity.models.items()
        ),
        benchmarks=tuple(
            _open_benchmark(text, manifest, folder, settings.data_dir) for text in was.benchmarks
        ),
        victim=_victim(was, manifest),
        judges=identities,
    )
    if stored.victim is not None:
        plan = replace(plan, victim=was.victim or _first_spec(was))
    opened = open_plan(plan, replace(settings, concurrency=limit), command, stored)
    if strict:
        _check_benchmarks(opened, manifest, folder)
    return opened


def open_headline(folder: Path, settings: Settings, *, strict: bool = True) -> Opened:
    """A stored run with the judges of its headline, to count it again: nobody is asked.

    Args:
        folder: the run directory.
        settings: where the data are.
        strict: refuse prompts, rules or rubrics that are not those of the run.

    Raises:
        StoreError: it is no run that can be opened.
        UsageError: a judge's prompt file is missing.
        DataError: a benchmark's data are missing, or others than those of the run.
    """
    manifest = read_manifest(folder)
    judging = manifest.judging
    whose: Plan | Judging = judging or plan_of(manifest, folder)
    panel = {name: getattr(whose, name) for name in PANEL}
    identities = judging.identity if judging else manifest.identity.judges | manifest.deputies
    command = judging.command if judging else manifest.command
    opened = open_stored(folder, settings, command, panel, identities, strict=strict)
    if strict:
        then = judging.rubrics if judging else None
        _check_rubrics(folder, opened, then, identities, manifest)
    return opened


def _check_rubrics(
    folder: Path,
    opened: Opened,
    then: Mapping[str, list[str]] | None,
    identities: Mapping[str, dict[str, Any]],
    manifest: Manifest,
) -> None:
    """See that verdicts of then are counted as what they are.

    Raises:
        UsageError: this version's rules or rubrics are others.
    """
    rules = identities.get(BUILTIN, {}).get(BUILTIN, refusal.VERSION)
    if any(j.endpoint is None for j in opened.judges) and rules != refusal.VERSION:
        raise UsageError(
            f"the run was judged by refusal rules {rules}, and these are {refusal.VERSION}; to judge "
            f"it by them, run: hiddenrisk judge {folder}"
        )
    for benchmark in opened.benchmarks if opened.models_judging else ():
        name = benchmark.name
        was = then.get(name) if then else manifest.identity.benchmarks[name].rubrics
        if was is not None and was != rubrics_of(benchmark):
            raise UsageError(
                f"{name} was judged by {', '.join(was)}, and is judged by "
                f"{', '.join(rubrics_of(benchmark))} now; to judge it so, run: "
                f"hiddenrisk judge {folder} --judge NEW=SPEC (NEW: a label that is not there yet)"
            )


def plan_of(manifest: Manifest, folder: Path) -> Plan:
    """The plan of a run.

    Raises:
        StoreError: this version does not know such a plan.
    """
    try:
        return plan_from(manifest.plan)
    except msgspec.ValidationError as error:
        raise StoreError(
            f"{folder} was made by hiddenrisk {manifest.hiddenrisk}, and this is {__version__}, "
            f"which does not know its plan ({error}); judge it with that version"
        ) from error


def _victim(was: Plan, manifest: Manifest) -> Endpoint | None:
    """Who played the other side of the dialogues, for the record."""
    if manifest.identity.victim is None:
        return None
    spec = parse(was.victim or _first_spec(was))
    return Endpoint(StandIn(spec.label, manifest.identity.victim, spec.provider), Policy(limit=1))


def _first_spec(was: Plan) -> str:
    """The first judge of a plan that is a model."""
    return next((text for text in was.judges if text != BUILTIN), BUILTIN)


def _open_benchmark(text: str, manifest: Manifest, folder: Path, data_dir: Path | None) -> Loaded:
    """A benchmark of the run, from where it was then or from the run's own folder.

    Raises:
        DataError: its data are not here.
    """
    if manifest.imported is not None:
        return imported_benchmark(text, manifest.imported, folder, data_dir)
    path, _, options = text.partition("?")
    name = Path(path).name
    kept = (folder / BENCHMARKS / name, folder / name)
    try:
        if beside := next((path for path in kept if path.is_file()), None):
            return open_benchmark(f"{beside}?{options}" if options else str(beside), data_dir)
        return open_benchmark(text, data_dir)
    except UsageError as error:
        raise DataError(
            f"{folder} was made with the benchmark {text}, which is needed for its prompts: {error}"
            + (
                ""
                if isinstance(error, DataError)
                else f". A copy in {folder / BENCHMARKS} is found as well"
            )
        ) from error


def _check_benchmarks(opened: Opened, manifest: Manifest, folder: Path) -> None:
    """See that the prompts are those that were asked.

    Raises:
        DataError: a benchmark is another one now.
    """
    for benchmark in opened.benchmarks:
        then = manifest.identity.benchmarks.get(benchmark.name)
        if then is None or then.digest != benchmark.digest:
            raise DataError(
                f"the prompts of {benchmark.name} are not those that {folder} was made with "
                f"(digest {then.digest[:12] if then else 'unknown'}, now {benchmark.digest[:12]}); "
                f"restore {_file_of(benchmark.name, folder)}, or name the data of then with --data-dir"
            )


def _file_of(name: str, folder: Path) -> str:
    """Where a benchmark's prompts are, for a sentence."""
    kept = folder / BENCHMARKS / f"{name}.jsonl"
    return str(kept) if kept.is_file() else "the file"
