"""`hiddenrisk data`: what it lists, downloads and checks, and what it never says."""

import hashlib
import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest
from msgspec.structs import replace

from hiddenrisk import benchmarks, download, hub, label_sets
from hiddenrisk.benchmarks import airbench, xstest
from hiddenrisk.cli.data import aligned, catalogue, chosen, short
from hiddenrisk.cli.main import main
from hiddenrisk.errors import UsageError
from hiddenrisk.label_sets import preferences
from hiddenrisk.types import Source
from tests.conftest import CommandLine, Done
from tests.fileserver import FileServer

CONTENT = b"id,prompt\n" + b"1,Why?\n" * 1000
TOKEN = "hf_a-token-that-nobody-may-see"
TERMS = f"{hub.HUB}/datasets/someone/something"
NO_TOKEN: dict[str, str] = dict.fromkeys(hub.ENV_TOKENS, "")
OPEN = Source(
    name="ours/open.csv",
    url=f"{hub.HUB}/datasets/ours/open.csv",
    sha256=hashlib.sha256(CONTENT).hexdigest(),
    licence="CC0",
    paper="https://arxiv.org/abs/0000.00000",
    size=len(CONTENT),
)
GATED = replace(OPEN, name="ours/gated.csv", url=f"{TERMS}/gated.csv", gated=TERMS)


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.fixture
def web() -> FileServer:
    return FileServer(content=CONTENT)


class Here:
    """The command line in this process, where a benchmark of two files takes xstest's place."""

    def __init__(self, capsys: pytest.CaptureFixture[str], patch: pytest.MonkeyPatch) -> None:
        self._capsys = capsys
        self._patch = patch

    def __call__(self, *args: str) -> Done:
        self._patch.setattr(sys, "argv", ["hiddenrisk", "data", *args])
        self._capsys.readouterr()
        code = 0
        try:
            main()
        except SystemExit as ended:
            code = ended.code
        said = self._capsys.readouterr()
        assert isinstance(code, int)
        assert TOKEN not in said.out + said.err
        return Done(code=code, out=said.out, err=said.err)


@pytest.fixture
def here(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, cache: Path) -> Here:
    ours = replace(xstest.BENCHMARK, name="ours", sources=(OPEN, GATED))
    monkeypatch.setattr(benchmarks, "BENCHMARKS", {"ours": ours})
    monkeypatch.setattr(label_sets, "LABEL_SETS", {})
    monkeypatch.setattr(preferences, "PREFERENCES", {})
    for name in (*hub.ENV_TOKENS, hub.ENV_ENDPOINT, "HIDDENRISK_DATA"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HIDDENRISK_CACHE", str(cache))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(download, "_PAUSES_S", (0.0,))
    return Here(capsys, monkeypatch)


# ---------------------------------------------------------------- list


def test_list_has_a_line_for_each_file_of_each_benchmark(
    hiddenrisk: CommandLine, cache: Path
) -> None:
    done = hiddenrisk("data", "list", env={"HIDDENRISK_CACHE": str(cache), **NO_TOKEN})
    assert (done.code, done.err) == (0, "")
    assert len(done.out.splitlines()) == len(catalogue())
    (line,) = [line for line in done.out.splitlines() if xstest.PROMPTS.name in line]
    assert line.split() == [
        *("missing", "xstest/xstest_prompts.csv", "xstest", "38.7", "kB"),
        *(str(xstest.PROMPTS.sha256)[:12], "CC-BY-4.0"),
    ]


def test_list_looks_into_a_mirror(hiddenrisk: CommandLine, shared_data: Path) -> None:
    done = hiddenrisk("data", "list", "--data-dir", shared_data, "--json", env=NO_TOKEN)
    assert done.code == 0
    files = {file["name"]: file for file in json.loads(done.out)}
    prompts = files["xstest/xstest_prompts.csv"]
    assert prompts["benchmarks"] == ["xstest"]
    assert prompts["here"] == {
        "status": "verified",
        "path": str(shared_data / "xstest" / "xstest_prompts.csv"),
        "size": 38_719,
        "sha256": xstest.PROMPTS.sha256,
        "note": None,
    }
    by_variable = hiddenrisk(
        "data", "list", "--json", env={"HIDDENRISK_DATA": str(shared_data), **NO_TOKEN}
    )
    assert by_variable.out == done.out


def test_list_in_a_mirror_that_is_not_there_is_wrong_use(hiddenrisk: CommandLine) -> None:
    done = hiddenrisk("data", "list", "--data-dir", "nowhere")
    assert done.code == 2
    assert done.lines == ["hiddenrisk: the data directory nowhere does not exist; check --data-dir"]


def _on_terminal(columns: int, cache: Path) -> list[str]:
    """What `data list` draws on a terminal, line by line, without its colours."""
    ours, theirs = pty.openpty()
    env = {k: v for k, v in os.environ.items() if not k.startswith("HIDDENRISK_")}
    env |= {"HIDDENRISK_CACHE": str(cache), "COLUMNS": str(columns), "NO_COLOR": "1", **NO_TOKEN}
    env["TERM"] = "dumb"
    process = subprocess.Popen(
        [sys.executable, "-m", "hiddenrisk", "data", "list"],
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=theirs,
    )
    os.close(theirs)
    said = b""
    try:
        while chunk := os.read(ours, 1 << 16):
            said += chunk
    except OSError:
        pass  # how a terminal ends
    os.close(ours)
    assert process.wait(timeout=60) == 0
    return said.decode().splitlines()


@pytest.mark.parametrize("columns", [80, 200])
def test_a_terminal_shows_every_name_whole_and_no_line_too_long(cache: Path, columns: int) -> None:
    lines = _on_terminal(columns, cache)
    assert max(map(len, lines)) <= columns
    for file in catalogue():
        assert any(Path(file.source.name).name in line for line in lines), file.source.name
    assert "terms at" in "".join(lines)
    assert lines[-1].endswith("`hiddenrisk data pull` downloads what is not here")


# ---------------------------------------------------------------- pull


def test_pull_downloads_and_then_leaves_alone(
    hiddenrisk: CommandLine, cache: Path, web: FileServer
) -> None:
    with web:
        env = {"HIDDENRISK_CACHE": str(cache), hub.ENV_ENDPOINT: web.root, "HF_TOKEN": TOKEN}
        done = hiddenrisk("data", "pull", "air_2024.csv", env=env)
        again = hiddenrisk("data", "pull", airbench.PROMPTS.name, env=env)
    path = cache / airbench.PROMPTS.name
    assert (done.code, again.code) == (0, 0), done
    assert done.out.startswith(f"{airbench.PROMPTS.name}: downloaded, 7.01 kB, unpinned")
    assert again.out.startswith(f"{airbench.PROMPTS.name}: is here already, 7.01 kB")
    assert path.read_bytes() == CONTENT
    assert [asked.path for asked in web.asked] == [
        airbench.PROMPTS.url.removeprefix(hub.HUB),
    ]
    assert web.asked[0].authorization is None
    assert TOKEN not in done.out + done.err


def test_pull_goes_on_where_an_earlier_one_was_stopped(
    here: Here, web: FileServer, monkeypatch: pytest.MonkeyPatch, cache: Path
) -> None:
    with web:
        monkeypatch.setenv(hub.ENV_ENDPOINT, web.root)
        web.cuts = [3000, 1000]
        broken = here("pull", OPEN.name)
        held = here("list")
        done = here("pull", OPEN.name)
    assert broken.code == 1
    assert "4,000 bytes are kept, and the same command goes on from there" in broken.err
    assert held.out.splitlines()[0].split()[:8] == [
        *("partial", OPEN.name, "ours", "4.00", "kB", "of", "7.01", "kB"),
    ]
    assert done.code == 0
    assert done.out == (
        f"{OPEN.name}: downloaded, 7.01 kB, verified, {cache / 'ours' / 'open.csv'}\n"
    )
    assert web.sent == len(CONTENT)


def test_pull_goes_on_with_the_others_after_one_failed(
    here: Here, web: FileServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        benchmarks,
        "BENCHMARKS",
        {"ours": replace(xstest.BENCHMARK, name="ours", sources=(GATED, OPEN))},
    )
    with web:
        monkeypatch.setenv(hub.ENV_ENDPOINT, web.root)
        done = here("pull", "ours")
    assert done.code == 1
    (line,) = done.lines
    assert line == (
        f"hiddenrisk: {GATED.name} is given only to those who accept its terms: accept them at "
        f"{TERMS} and set HF_TOKEN to your token, or put a copy of the file under --data-dir"
    )
    assert done.out.startswith(f"{OPEN.name}: downloaded")
    assert len(web.asked) == 1


def test_pull_brings_the_token_for_a_gated_file_and_never_says_it(
    here: Here, web: FileServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    web.token = TOKEN
    with web:
        monkeypatch.setenv(hub.ENV_ENDPOINT, web.root)
        done = here("pull", "gated.csv")
        web.token = "another"
        refused = here("pull", "open.csv")
    assert done.code == 0, done
    assert web.asked[0].authorization == f"Bearer {TOKEN}"
    assert refused.code == 1
    assert "HTTP 401" in refused.err


@pytest.mark.parametrize("args", [["--data-dir", "there"], ["--data-dir=there", "xstest"]])
def test_pull_into_a_data_directory_is_refused(hiddenrisk: CommandLine, args: list[str]) -> None:
    done = hiddenrisk("data", "pull", *args)
    assert done.code == 2
    assert "pull takes no --data-dir" in done.err
    assert "HIDDENRISK_CACHE=DIR" in done.err
    assert len(done.lines) == 1


def test_pull_tells_that_runs_read_a_mirror(
    here: Here, web: FileServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HIDDENRISK_DATA", "mirror")
    with web:
        monkeypatch.setenv(hub.ENV_ENDPOINT, web.root)
        done = here("pull", "open.csv")
    assert done.code == 0
    assert done.lines == ["HIDDENRISK_DATA is set: runs read mirror, and not the cache"]


def test_pull_that_is_interrupted_says_how_to_go_on(
    here: Here, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*args: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("hiddenrisk.sources.fetch", stop)
    done = here("pull", "open.csv")
    assert done.code == 130
    assert done.lines == [
        "hiddenrisk: interrupted; run the same command again, and it goes on from here"
    ]


def test_a_benchmark_without_data_needs_none(hiddenrisk: CommandLine) -> None:
    done = hiddenrisk("data", "pull", "starter")
    assert (done.code, done.out) == (0, "")
    assert done.lines == ["starter: comes with hiddenrisk, and reads no other data"]


@pytest.mark.parametrize("verb", ["pull", "verify"])
def test_an_unknown_name_is_wrong_use(hiddenrisk: CommandLine, verb: str) -> None:
    done = hiddenrisk("data", verb, "xstest", "xtest")
    assert done.code == 2
    assert done.out == ""
    assert done.lines == [
        "hiddenrisk: unknown data 'xtest'; did you mean 'xstest'? `hiddenrisk data list` shows all."
    ]


# ---------------------------------------------------------------- verify


def test_verify_tells_what_differs_and_what_is_missing(here: Here, cache: Path) -> None:
    nothing = here("verify")
    assert nothing.code == 0
    assert nothing.out.splitlines() == [
        f"missing   {OPEN.name}",
        f"gated     {GATED.name}: accept the terms at {TERMS} and set HF_TOKEN",
        "1 missing, 1 gated",
    ]
    assert here("verify", "ours").code == 1
    path = cache / OPEN.name
    path.parent.mkdir(parents=True)
    path.write_bytes(CONTENT)
    assert here("verify", "open.csv").code == 0
    path.write_bytes(CONTENT[:-7])
    half = here("verify")
    assert half.code == 1
    assert half.out.splitlines()[0] == (
        f"differs   {OPEN.name} ({path}): 7,003 of 7,010 bytes: a part of the file, or half a "
        "download"
    )


def test_verify_looks_into_a_mirror(hiddenrisk: CommandLine, shared_data: Path) -> None:
    done = hiddenrisk("data", "verify", "xstest", "--data-dir", shared_data)
    assert (done.code, done.out) == (0, "verified  xstest/xstest_prompts.csv\n1 verified\n")


def test_a_file_that_cannot_be_read_is_told(
    here: Here, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = cache / OPEN.name
    path.parent.mkdir(parents=True)
    path.write_bytes(CONTENT)

    def refuse(self: Path) -> bytes:
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "read_bytes", refuse)
    done = here("verify")
    assert done.code == 1
    assert "cannot be read: Permission denied" in done.out


# ---------------------------------------------------------------- help and parts


@pytest.mark.parametrize("verb", [[], ["list"], ["pull"], ["verify"]])
def test_help_loads_little(hiddenrisk: CommandLine, verb: list[str]) -> None:
    code = (
        "import sys; from hiddenrisk.cli.main import cli\n"
        "cli.main(sys.argv[1:], prog_name='hiddenrisk', standalone_mode=False)\n"
        "print('loaded', sorted({'aiohttp', 'urllib.request', 'rich'} & set(sys.modules)))"
    )
    command = [sys.executable, "-c", code, "data", *verb, "--help"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "loaded []", done


def test_a_file_of_two_benchmarks_is_listed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    both = {
        name: replace(xstest.BENCHMARK, name=name, sources=(OPEN,)) for name in ("one", "other")
    }
    monkeypatch.setattr(benchmarks, "BENCHMARKS", both)
    monkeypatch.setattr(label_sets, "LABEL_SETS", {})
    monkeypatch.setattr(preferences, "PREFERENCES", {})
    assert catalogue() == [(OPEN, ("one", "other"))]
    assert chosen(["other", "one"]) == catalogue()
    with pytest.raises(UsageError, match=r"known: one, other, ours/open\.csv"):
        chosen(["something"])


@pytest.mark.parametrize(
    ("size", "said"),
    [
        *((None, "?"), (0, "0 B"), (999, "999 B"), (1000, "1.00 kB"), (38_719, "38.7 kB")),
        *((603_802, "604 kB"), (1_951_522, "1.95 MB"), (123_456_789, "123 MB")),
    ],
)
def test_sizes_are_short(size: int | None, said: str) -> None:
    assert short(size) == said


def test_cells_stand_below_each_other() -> None:
    assert aligned([["a", "long", ""], ["bb", "x", "end"]]) == ["a   long", "bb  x     end"]
    assert aligned([]) == []
