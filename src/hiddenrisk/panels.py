"""Who judged a run, and when: what each judge's label stands for there.

A label means one judge in a run, whatever it was named for: the jury, a fallback, a cascade,
now or in an earlier judging. Its verdicts would be taken for another's else.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import msgspec

from hiddenrisk import __version__
from hiddenrisk.assess import Judge
from hiddenrisk.cascading import Audit
from hiddenrisk.errors import StoreError, UsageError
from hiddenrisk.exported import is_export
from hiddenrisk.jury import Rule
from hiddenrisk.manifest import RUN, deputies_of, has_records, rubrics_of
from hiddenrisk.models.spec import unlabelled
from hiddenrisk.opening import Opened
from hiddenrisk.plan import AUDIT
from hiddenrisk.recorded import LABEL
from hiddenrisk.store import RESPONSES
from hiddenrisk.transcripts import SourceFile
from hiddenrisk.types import Model

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


class Imported(msgspec.Struct, kw_only=True):
    """What run.json says of an imported run."""

    files: list[SourceFile]
    benchmark: str
    """Its name here."""
    unmatched: int = 0
    """Transcripts that belong to no prompt of the benchmark; they are left out."""
    note: str = "recorded elsewhere; hiddenrisk measured none of these responses"


class Judging(msgspec.Struct, kw_only=True):
    """Who judged a run once more, and when; an entry of `judgings` in run.json."""

    judges: list[str]
    jury: Rule = "majority"
    fallbacks: list[str] = []
    cascade: str | list[str] | None = None
    """The cheap judges; older files name one, or none."""
    audit: Audit = AUDIT
    parts: Parts
    insights: Looks
    identity: dict[str, dict[str, Any]]
    """What each judge is, by its label: the jury, the fallbacks, the cheap ones."""
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
    command: str = ""
    deputies: dict[str, dict[str, Any]] = {}
    """Judges of the plan beside its jury, and those that once were."""
    hiddenrisk: str = "an older version"
    settings: _Settings = _Settings()
    judgings: list[Judging] = []
    headline: int | None = None
    """Which of the judgings is in the headline; None for the plan's own judges."""
    imported: Imported | None = None

    @property
    def judging(self) -> Judging | None:
        """The judging in the headline; None for the plan's own judges."""
        there = self.headline is not None and 0 <= self.headline < len(self.judgings)
        return self.judgings[self.headline] if there and self.headline is not None else None


def read_manifest(folder: Path) -> Manifest:
    """The run.json of a run.

    Raises:
        StoreError: the folder holds no run, or one that this version cannot read.
    """
    found = _read(folder)
    if LABEL in found.identity.models.get(LABEL, {}):  # its texts are nobody's answers
        raise StoreError(
            f"{folder} is a calibration, and no run of a model; `hiddenrisk calibrate` goes on with "
            "it: run its command again, with more judges and another --out if you like"
        )
    return found


def _read(folder: Path) -> Manifest:
    path = folder / RUN
    try:
        content = path.read_bytes()
        if is_export(folder):
            raise StoreError(
                f"{folder} is what `hiddenrisk export` wrote of a run: hiddenrisk.load reads it, "
                "and everything else the run directory itself"
            )
        if not (folder / RESPONSES).is_file():
            raise StoreError(f"{folder} has no {RESPONSES}: {_why_none(content)}")
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


class _Copy(msgspec.Struct):
    redacted: bool = False


def _why_none(content: bytes) -> str:
    try:
        if msgspec.json.decode(content, type=_Copy).redacted:
            return (
                "it is a redacted copy, and its records stayed where it was made; its numbers are "
                "in report.html, in summary.json, and in tables/ if they were asked for"
            )
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        pass
    return "there is nothing to judge yet"


def kept_in(folder: Path, opened: Opened) -> dict[str, Any]:
    """What run.json keeps when a plan goes on with its run: who else judged it, and as what.

    Raises:
        StoreError: this version cannot read the run.json.
        UsageError: a fallback or a cheap judge of the plan stands there for something else.
    """
    if not has_records(folder):
        return {}
    manifest = _read(folder)
    check_judges(opened, [*opened.fallbacks, *opened.cheap], manifest, folder)
    kept: dict[str, Any] = {"deputies": manifest.deputies | deputies_of(opened)}
    return kept | ({"judgings": manifest.judgings} if manifest.judgings else {})


def check_judges(opened: Opened, judges: Sequence[Judge], manifest: Manifest, folder: Path) -> None:
    """See that each judge is what its label stands for in the run, and tell twins apart.

    A judge that is there under another label is a second sample of its verdicts, which needs
    keys of its own.

    Args:
        opened: who judges now.
        judges: those of them to see to.
        manifest: the run.json of the run.
        folder: the run directory.

    Raises:
        UsageError: a label stands there for something else.
    """
    known = _known_judges(manifest)
    for judge in judges:
        if judge.endpoint is None:
            continue  # newer rules are newer rules; their verdicts take the place of the old
        model = judge.endpoint.model
        before = known.get(judge.label)
        if before is None:
            if any(_is_twin(identity, model) for identity, _ in known.values()):
                model.identity = {**model.identity, "label": judge.label}
            continue
        if before[0] == as_stored(model.identity | judge.form.named | {"label": judge.label}):
            model.identity = {**model.identity, "label": judge.label}  # it had a twin then
        apart = f"name it apart: {_option(opened, judge)} NEW={unlabelled(judge.spec)}"
        if before[0] != as_stored(model.identity | judge.form.named):
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


def _is_twin(identity: dict[str, Any], model: Model) -> bool:
    """Whether a judge of the run asks the same model, and its verdicts have the plain keys.

    Whatever its form: two forms may read harmless prompts by one rubric.
    """
    ours = as_stored(model.identity)
    return "label" not in identity and all(identity.get(k) == v for k, v in ours.items())


def _option(opened: Opened, judge: Judge) -> str:
    """By which option it was named."""
    if judge in opened.fallbacks:
        return "--fallback"
    return "--cascade" if judge in opened.cheap else "--judge"


def _known_judges(manifest: Manifest) -> dict[str, tuple[dict[str, Any], dict[str, list[str]]]]:
    """What each label stands for: the judge's identity, and by which rubrics it read."""
    first = {name: b.rubrics for name, b in manifest.identity.benchmarks.items()}
    there = manifest.identity.judges | manifest.deputies
    known = {label: (identity, first) for label, identity in there.items()}
    for judging in manifest.judgings:
        known |= {label: (i, judging.rubrics) for label, i in judging.identity.items()}
    return known


def as_stored(identity: dict[str, Any]) -> dict[str, Any]:
    """An identity as run.json gives it back."""
    return msgspec.json.decode(msgspec.json.encode(identity))
