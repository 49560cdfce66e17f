"""A stored run judged again, by other judges or other parts: nothing is generated.

Plan, models and benchmarks come from the run's run.json; no model of the run is opened, so
that no key of theirs is needed. Verdicts are added to those that are there. The headline of
summary.json and of the page is that of the judges named last; run.json keeps the list.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Literal

import msgspec
from msgspec.structs import replace

from hiddenrisk import __version__
from hiddenrisk.asking import now
from hiddenrisk.assess import Tally
from hiddenrisk.benchmarks import open_benchmark
from hiddenrisk.benchmarks.base import Loaded
from hiddenrisk.engine import Endpoint, Policy
from hiddenrisk.errors import DataError, StoreError, UsageError
from hiddenrisk.importing import Imported, imported_benchmark
from hiddenrisk.insights import BUILTIN
from hiddenrisk.manifest import RUN, judges_of, rubrics_of
from hiddenrisk.models.spec import parse
from hiddenrisk.opening import Opened, Stored, open_plan
from hiddenrisk.plan import Plan, Settings
from hiddenrisk.recall import Recalled, StandIn, limit_for, shelf_of
from hiddenrisk.run import Ended, conduct, write_json
from hiddenrisk.store import RESPONSES, Journal

_KEPT = (
    *("models", "benchmarks", "decodings", "limit", "repeat", "max_tokens", "temperature"),
    *("profiles", "reference", "pairs"),
)
"""What of a run's plan says how its responses came about; the rest is about judges."""
Parts = Literal["both", "answer", "thinking"]
Looks = Literal["builtin", "judge", "none"]


class _Benchmark(msgspec.Struct):
    digest: str
    version: str
    rubrics: list[str]


class _Identity(msgspec.Struct):
    models: dict[str, dict[str, Any]]
    judges: dict[str, dict[str, Any]]
    benchmarks: dict[str, _Benchmark]
    victim: dict[str, Any] | None = None


class Judging(msgspec.Struct, kw_only=True):
    """Who judged a run once more, and when; an entry of `judgings` in run.json."""

    judges: list[str]
    parts: Parts
    insights: Looks
    identity: dict[str, dict[str, Any]]
    """What each judge is, by its label."""
    rubrics: dict[str, list[str]]
    """By which rubrics, by benchmark."""
    command: str
    started: str
    hiddenrisk: str


class _Settings(msgspec.Struct, frozen=True):
    data_dir: str | None = None


class Manifest(msgspec.Struct, kw_only=True):
    """What is needed of a run.json."""

    plan: dict[str, Any]
    identity: _Identity
    hiddenrisk: str = "an older version"
    settings: _Settings = _Settings()
    judgings: list[Judging] = []
    imported: Imported | None = None


def read_manifest(folder: Path) -> Manifest:
    """The run.json of a run.

    Raises:
        StoreError: the folder holds no run, or one that this version cannot read.
    """
    path = folder / RUN
    try:
        content = path.read_bytes()
        if not (folder / RESPONSES).is_file():
            raise StoreError(f"{folder} has no {RESPONSES}: there is nothing to judge yet")
    except OSError as error:
        why = "does not exist" if not folder.exists() else f"has no {RUN} that can be read"
        raise StoreError(
            f"{folder} is no run directory: it {why}; name the folder that was given as --out"
        ) from error
    try:
        return msgspec.json.decode(content, type=Manifest)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise StoreError(
            f"{path} is not the run.json of a run that this version of hiddenrisk "
            f"({__version__}) reads: {error}; judge it with the version that made it, or "
            "restore the file"
        ) from error


def open_again(
    folder: Path,
    judges: Sequence[str],
    settings: Settings,
    command: str,
    *,
    parts: Parts | None = None,
    insights: Looks | None = None,
) -> Opened:
    """A stored run with these judges, resolved; nothing has been sent yet.

    Args:
        folder: the run directory.
        judges: SPECs; none for the built-in rules.
        settings: how to carry it out.
        command: what was typed.
        parts: what the judges read; None for what the run's plan says.
        insights: who looks into thoughts; None for the rules, or nobody if nobody did.

    Raises:
        StoreError: it is no run that can be judged.
        UsageError: a judge cannot be opened, or stands there as something else.
        DataError: a benchmark's data are missing, or others than those of the run.
    """
    manifest = read_manifest(folder)
    was = _plan_of(manifest, folder)
    plan = Plan(
        **{name: getattr(was, name) for name in _KEPT},
        judges=tuple(judges) or (BUILTIN,),
        parts=parts or was.parts,
        insights=insights or ("none" if was.insights == "none" else "builtin"),
    )
    limit = settings.concurrency or limit_for(plan.judges)
    if settings.data_dir is None and manifest.settings.data_dir is not None:
        before = Path(manifest.settings.data_dir)
        settings = replace(settings, data_dir=before if before.is_dir() else None)
    shelf = shelf_of(folder)
    stored = Stored(
        models=tuple(
            StandIn(label, identity, shelf.providers.get(label, "unknown"))
            for label, identity in manifest.identity.models.items()
        ),
        benchmarks=tuple(
            _open_benchmark(text, manifest, folder, settings.data_dir) for text in was.benchmarks
        ),
        victim=_victim(was, manifest),
    )
    if stored.victim is not None:
        plan = replace(plan, victim=was.victim or _first_spec(was))
    opened = open_plan(plan, replace(settings, concurrency=limit), command, stored)
    _check_benchmarks(opened, manifest, folder)
    _check_judges(opened, manifest, folder)
    return opened


def _plan_of(manifest: Manifest, folder: Path) -> Plan:
    try:
        return msgspec.convert(manifest.plan, Plan)
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
    beside = folder / Path(text.partition("?")[0]).name
    try:
        if not Path(text).is_file() and beside.is_file():
            return open_benchmark(str(beside), data_dir)
        return open_benchmark(text, data_dir)
    except UsageError as error:
        raise DataError(
            f"{folder} was made with the benchmark {text}, which is needed for its prompts: {error}"
            + ("" if isinstance(error, DataError) else f". A copy in {folder} is found as well")
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
                "restore the file, or name the data of then with --data-dir"
            )


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


def _check_judges(opened: Opened, manifest: Manifest, folder: Path) -> None:
    """See that each judge is what its label stands for in the run, and tell twins apart.

    A judge that is there under another label is a second sample of its verdicts, which needs
    keys of its own.

    Raises:
        UsageError: a label stands there for something else.
    """
    known = _known_judges(manifest)
    for judge in opened.judges:
        if judge.endpoint is None:
            continue  # newer rules are newer rules; their verdicts take the place of the old
        model = judge.endpoint.model
        others = [identity for label, (identity, _) in known.items() if label != judge.label]
        if _as_stored(model.identity | judge.form.named) in others:
            model.identity = {**model.identity, "label": judge.label}
        before = known.get(judge.label)
        if before is None:
            continue
        if before[0] == _as_stored(model.identity | judge.form.named | {"label": judge.label}):
            model.identity = {**model.identity, "label": judge.label}  # it had a twin then
        apart = f"name it apart: --judge NEW={judge.spec.partition('=')[2] or judge.spec}"
        if before[0] != _as_stored(model.identity | judge.form.named):
            raise UsageError(
                f"in {folder}, judge {judge.label} is another model or has other options; {apart}"
            )
        for benchmark in () if judge.form.rubric else opened.benchmarks:
            rubrics = before[1].get(benchmark.name)
            if rubrics is not None and rubrics != rubrics_of(benchmark):
                raise UsageError(
                    f"in {folder}, judge {judge.label} read {benchmark.name} by "
                    f"{', '.join(rubrics)}, now by {', '.join(rubrics_of(benchmark))}; {apart}"
                )


def _known_judges(manifest: Manifest) -> dict[str, tuple[dict[str, Any], dict[str, list[str]]]]:
    """What each label stands for: the judge's identity, and by which rubrics it read."""
    first = {name: b.rubrics for name, b in manifest.identity.benchmarks.items()}
    known = {label: (identity, first) for label, identity in manifest.identity.judges.items()}
    for judging in manifest.judgings:
        known |= {label: (i, judging.rubrics) for label, i in judging.identity.items()}
    return known


def _as_stored(identity: dict[str, Any]) -> dict[str, Any]:
    """An identity as run.json gives it back."""
    return msgspec.json.decode(msgspec.json.encode(identity))


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
        _check_judges(opened, read_manifest(folder), folder)  # one may have come in between
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
        )
        return conduct(run, opened, folder, tally, display, say)


def _note(opened: Opened, folder: Path) -> None:
    """Write into run.json who judges now; the same judges once more are the same entry."""
    path = folder / RUN
    judging = Judging(
        judges=[j.spec for j in opened.judges],
        parts=opened.plan.parts,
        insights=opened.plan.insights,
        identity=judges_of(opened),
        rubrics={b.name: rubrics_of(b) for b in opened.benchmarks},
        command=opened.command,
        started=now(),
        hiddenrisk=__version__,
    )
    content: dict[str, Any] = msgspec.json.decode(path.read_bytes())
    before = msgspec.convert(content.get("judgings", []), list[Judging])
    kept = [j for j in before if _what(j) != _what(judging)]
    write_json(path, content | {"judgings": [*kept, judging]})


def _what(judging: Judging) -> tuple[object, ...]:
    return (_as_stored(judging.identity), judging.parts, judging.insights, judging.rubrics)
