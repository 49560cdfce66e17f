"""The command line: one sentence for what is wrong, and nothing lost whatever is pressed."""

import json
import os
import pty
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hiddenrisk.cli.main import main
from tests.conftest import CommandLine, Done
from tests.servers import Ask, ChatServer, Reply, always, error

UNWATCHED = {"COVERAGE_PROCESS_START": "", "COVERAGE_PROCESS_CONFIG": ""}
"""Coverage cannot write its own file either on a disk that is full."""
REFUSAL = "I'm sorry, but I can't help with that."


class InThisProcess:
    """The command line without a process of its own: for what ends before anything is sent."""

    def __init__(self, capsys: pytest.CaptureFixture[str], patch: pytest.MonkeyPatch) -> None:
        self._capsys = capsys
        self._patch = patch

    def __call__(self, *args: str) -> Done:
        self._patch.setattr(sys, "argv", ["hiddenrisk", *args])
        self._capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        said = self._capsys.readouterr()
        assert isinstance(ended.value.code, int)
        return Done(code=ended.value.code, out=said.out, err=said.err)


@pytest.fixture
def here(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> InThisProcess:
    monkeypatch.chdir(tmp_path)
    for name in os.environ:
        if name.startswith("HIDDENRISK_") or name.endswith("_API_KEY"):
            monkeypatch.delenv(name)
    return InThisProcess(capsys, monkeypatch)


# ---------------------------------------------------------------- help


def test_help_shows_the_verbs_and_loads_little(hiddenrisk: CommandLine) -> None:
    code = (
        "import sys; from hiddenrisk.cli.main import cli\n"
        "cli.main(sys.argv[1:], prog_name='hiddenrisk', standalone_mode=False)\n"
        "heavy = {'aiohttp', 'asyncio', 'jinja2', 'rich'} & set(sys.modules)\n"
        "print('loaded', sorted(heavy))"
    )
    for args in (["--help"], ["assess", "--help"], ["judge", "--help"], ["--version"]):
        done = subprocess.run([sys.executable, "-c", code, *args], capture_output=True, text=True)
        assert done.returncode == 0, done
        assert done.stdout.splitlines()[-1] == "loaded []"


def test_help_names_every_verb_and_option(hiddenrisk: CommandLine) -> None:
    done = hiddenrisk("--help")
    assert done.code == 0
    assert "assess" in done.out
    for verb in ("benchmarks", "data", "judge", "import"):
        assert verb in done.out
    done = hiddenrisk("assess", "--help")
    assert done.code == 0
    for option in (
        *("--model", "--judge", "--benchmark", "--out", "--limit", "--repeat", "--max-tokens"),
        *("--temperature", "--parts", "--concurrency", "--data-dir", "--max-failures", "--yes"),
        *("--timeout", "--hang-after", "--tries", "HIDDENRISK_API_KEY", "130"),
    ):
        assert option in done.out, option


def test_benchmarks_lists_what_can_be_measured(hiddenrisk: CommandLine) -> None:
    done = hiddenrisk("benchmarks")
    assert done.code == 0
    for word in ("starter", "airbench", "xstest", "?half=both|safe|unsafe", "PATH"):
        assert word in done.out, word


def test_version_is_the_package_s_own(hiddenrisk: CommandLine) -> None:
    import hiddenrisk as package

    assert hiddenrisk("--version").out.split()[-1] == package.__version__


# ---------------------------------------------------------------- wrong use


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["--model", "opnai/gpt-4o"], "unknown provider 'opnai'; did you mean 'openai'?"),
        (["--model", "gpt-4o"], "'gpt-4o' is not a model"),
        (["--model", "http://127.0.0.1:1/v1"], "names no model"),
        (["--model", "http://me:pw@127.0.0.1:1/v1#m"], "HIDDENRISK_API_KEY"),
        (["--model", "openai/gpt-4o"], "OPENAI_API_KEY"),
        (["--judge", "deepseek/deepseek-chat"], "DEEPSEEK_API_KEY"),
        (["--model", "fake/refuse?stram"], "stram"),
        (["--model", "local/smolm2"], "did you mean 'smollm2'?"),
        (["--model", "replay/nowhere.jsonl"], "cannot read the recording nowhere.jsonl"),
        (["--benchmark", "airbnch"], "unknown benchmark 'airbnch'; did you mean 'airbench'?"),
        (["--benchmark", "none.jsonl"], "none.jsonl does not exist"),
        (["--benchmark", "xstest?half=left"], "left"),
        (["--benchmark", "xstest", "--data-dir", "nowhere"], "nowhere does not exist"),
        (["--model", "fake/refuse", "--model", "fake/refuse"], "two models are called 'refuse'"),
        (["--judge", "builtin", "--judge", "builtin"], "two judges are called 'builtin'"),
        (["--limit", "9999999999999"], "limit is 9999999999999"),
        (["none.toml"], "cannot read the plan none.toml"),
        (["--out", "bench.jsonl"], "bench.jsonl is a file"),
        (["--out", "bench.jsonl/below"], "cannot write to bench.jsonl/below"),
        (["--out", b"o\xff".decode("utf-8", "surrogateescape")], "is not UTF-8 text"),
    ],
)
def test_wrong_use_is_one_sentence_that_names_it(
    args: list[str], said: str, here: InThisProcess
) -> None:
    small(Path(), "bench")
    for word, default in (("--model", "fake/refuse"), ("--benchmark", "bench.jsonl")):
        args = args if word in args else [*args, word, default]
    assert said in wrong_use(here("assess", "--out", "out", *args))


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--limit", "0"),
        ("--limit", "ten"),
        ("--repeat", "0"),
        ("--max-tokens", "-5"),
        ("--temperature", "-1"),
        ("--temperature", "nan"),
        ("--temperature", "inf"),
        ("--max-failures", "1.5"),
        ("--max-failures", "nan"),
        ("--concurrency", "0"),
        ("--timeout", "0"),
        ("--timeout", "inf"),
        ("--hang-after", "0"),
        ("--tries", "0"),
        ("--parts", "neither"),
        ("--nonsense", "1"),
    ],
)
def test_a_number_out_of_range_is_a_usage_error(
    option: str, value: str, here: InThisProcess
) -> None:
    done = here("assess", option, value)
    assert done.code == 2
    assert done.err.startswith("Usage: hiddenrisk assess")
    assert option in done.lines[-1]
    assert "Traceback" not in done.err


def test_a_bad_plan_file_is_named_with_its_field(hiddenrisk: CommandLine) -> None:
    plan = hiddenrisk.folder / "plan.toml"
    plan.write_text('models = ["fake/refuse"]\nlimt = 3\n')
    assert "plan.toml: Object contains unknown field `limt`" in wrong_use(
        hiddenrisk("assess", plan, "--out", "out")
    )
    assert not (hiddenrisk.folder / "out").exists()


def test_what_a_server_says_cannot_drive_the_terminal(hiddenrisk: CommandLine) -> None:
    nasty = "no such\x1b]0;owned\x07 model\r\n\x1b[2Jhere \u202e\u2028"
    with ChatServer({"m": lambda _: error(404, nasty, code="model_not_found")}) as server:
        done = hiddenrisk(*assess(server.spec("m"), small(hiddenrisk.folder)))
    line = wrong_use(done)
    assert "no such" in line
    assert not any(sign in done.err for sign in ("\x1b", "\x07", "\r", "\u202e", "\u2028"))


# ---------------------------------------------------------------- plans


def test_options_go_before_what_the_plan_file_says(hiddenrisk: CommandLine) -> None:
    bench = small(hiddenrisk.folder, count=6)
    plan = hiddenrisk.folder / "plan.toml"
    plan.write_text(
        f'models = ["fake/refuse"]\nbenchmarks = ["{bench}"]\nlimit = 2\nrepeat = 2\n'
        'temperature = 0.5\nparts = "answer"\n'
    )
    assert hiddenrisk("assess", plan, "--out", "as-written").code == 0
    args = ("--limit", "3", "--model", "fake/comply", "--parts", "both", "--temperature", "0")
    assert hiddenrisk("assess", plan, *args, "--out", "changed").code == 0
    written, changed = (
        json.loads((hiddenrisk.folder / name / "run.json").read_text())["plan"]
        for name in ("as-written", "changed")
    )
    assert written["limit"] == written["repeat"] == 2
    assert (written["temperature"], written["parts"]) == (0.5, "answer")
    assert (changed["limit"], changed["repeat"], changed["models"]) == (3, 2, ["fake/comply"])
    assert (changed["temperature"], changed["parts"]) == (0.0, "both")


def test_without_a_folder_the_run_gets_one_named_after_the_time(hiddenrisk: CommandLine) -> None:
    bench = small(hiddenrisk.folder)
    done = hiddenrisk("assess", "--model", "fake/refuse", "--benchmark", bench)
    assert done.code == 0, done
    (folder,) = (hiddenrisk.folder / "runs").iterdir()
    assert (folder / "report.html").exists()
    assert f"Report: runs/{folder.name}/report.html" in done.out


def test_a_folder_that_was_not_named_is_told_where_it_is_needed(hiddenrisk: CommandLine) -> None:
    bench = small(hiddenrisk.folder, count=400)
    done = hiddenrisk(
        "assess", "--model", "fake/refuse", "--benchmark", bench, disk_kb=100, env=UNWATCHED
    )
    (folder,) = (hiddenrisk.folder / "runs").iterdir()
    assert f"add --out runs/{folder.name}" in wrong_use(done)


def test_odd_names_are_shown_as_they_are(hiddenrisk: CommandLine) -> None:
    bench = small(hiddenrisk.folder, "odd [red]name :smile:")
    done = hiddenrisk(*assess("[bold]m=fake/refuse", bench, "out [/y]"))
    assert done.code == 0, done
    assert "odd [red]name :smile:: 3 responses from each of [bold]m, judged" in done.err
    assert "[bold]m" in done.out
    assert "odd [red]name :smile:" in done.out
    assert "out [/y]/report.html" in done.out


# ---------------------------------------------------------------- exit codes


@pytest.mark.parametrize(("allowed", "code"), [(None, 1), ("0.2", 0), ("0.19", 1)])
def test_the_exit_code_is_1_above_the_allowed_share_of_failures(
    allowed: str | None, code: int, hiddenrisk: CommandLine
) -> None:
    def target(ask: Ask) -> Reply:
        return (
            error(400, "no", code="odd") if ask.text.endswith(("3.", "7.")) else Reply(text="No.")
        )

    with ChatServer({"m": target}) as server:
        args = assess(server.spec("m"), small(hiddenrisk.folder, count=10))
        done = hiddenrisk(*args, *(() if allowed is None else ("--max-failures", allowed)))
    assert done.code == code, done
    if code:
        assert done.lines[-1].startswith("hiddenrisk: 20.0% of the samples failed")
        assert "To try those again, run: hiddenrisk assess" in done.lines[-1]


@pytest.mark.parametrize(("stream", "kept"), [("out", "err"), ("err", "out")])
def test_a_reader_that_goes_away_does_not_end_the_run(
    stream: str, kept: str, hiddenrisk: CommandLine
) -> None:
    read, write = os.pipe()
    os.close(read)
    streams = {"out": subprocess.PIPE, "err": subprocess.PIPE, stream: write}
    args = assess("fake/refuse", small(hiddenrisk.folder))
    done = subprocess.run(
        [sys.executable, "-m", "hiddenrisk", *map(str, args)],
        cwd=hiddenrisk.folder,
        stdin=subprocess.DEVNULL,
        stdout=streams["out"],
        stderr=streams["err"],
    )
    os.close(write)
    assert done.returncode == 0, done
    assert (hiddenrisk.folder / "out" / "report.html").exists()
    assert b"Traceback" not in ((done.stderr if kept == "err" else done.stdout) or b"")


def test_a_terminal_without_our_signs_is_no_error(hiddenrisk: CommandLine) -> None:
    args = assess("fake/refuse", small(hiddenrisk.folder))
    done = hiddenrisk(*args, "--parts", "answer", env={"PYTHONIOENCODING": "ascii"})
    assert done.code == 0, done


def test_without_a_standard_input_nobody_is_asked(hiddenrisk: CommandLine) -> None:
    args = assess("fake/refuse", small(hiddenrisk.folder))
    with ChatServer({"j": always(Reply(text="##short_reasoning: so\n##the_score: 1"))}) as server:
        command = [sys.executable, "-m", "hiddenrisk", *map(str, args)]
        command += ["--judge", f"http://localhost:{server.port}/v1#j"]
        closed = ["bash", "-c", 'exec "$0" "$@" <&-', *command]
        done = subprocess.run(closed, cwd=hiddenrisk.folder, capture_output=True)
    assert done.returncode == 0, done


# ---------------------------------------------------------------- interrupted


def test_ctrl_c_twice_drops_the_calls_in_flight(hiddenrisk: CommandLine) -> None:
    bench = small(hiddenrisk.folder, count=30)
    with ChatServer({"m": always(Reply(text=REFUSAL))}, latency_s=60) as server:
        process = hiddenrisk.start(*assess(server.spec("m"), bench))
        try:
            wait_for(lambda: server.ledger.in_flight > 0)
            process.send_signal(signal.SIGINT)
            wait_for(lambda: "Ctrl-C again drops them" in hiddenrisk.said())
            process.send_signal(signal.SIGINT)
            assert process.wait(timeout=20) == 130
        finally:
            process.kill()
            process.wait()
    said = hiddenrisk.said()
    assert "Traceback" not in said
    assert said.splitlines()[-1].startswith("hiddenrisk: interrupted; to resume, run: hiddenrisk")
    summary = json.loads((hiddenrisk.folder / "out" / "summary.json").read_text())
    assert summary["complete"] is False


def test_a_request_to_end_is_obeyed_at_once(hiddenrisk: CommandLine) -> None:
    bench = small(hiddenrisk.folder, count=30)
    with ChatServer({"m": always(Reply(text=REFUSAL))}, latency_s=60) as server:
        process = hiddenrisk.start(*assess(server.spec("m"), bench))
        try:
            wait_for(lambda: server.ledger.in_flight > 0)
            process.send_signal(signal.SIGTERM)
            assert process.wait(timeout=20) == 130
        finally:
            process.kill()
            process.wait()
    assert "Traceback" not in hiddenrisk.said()


def test_two_models_and_their_judge_may_share_a_server(hiddenrisk: CommandLine) -> None:
    judge = always(Reply(text="##short_reasoning: so\n##the_score: 1"))
    models = {"one": always(Reply(text=REFUSAL)), "two": always(Reply(text="Sure.")), "j": judge}
    with ChatServer(models) as server:
        args = assess(server.spec("one"), small(hiddenrisk.folder))
        done = hiddenrisk(
            *(*args, "--model", server.spec("two"), "--judge", "builtin"),
            *("--judge", server.spec("j")),
        )
    assert done.code == 0, done
    summary = json.loads((hiddenrisk.folder / "out" / "summary.json").read_text())
    counts = {
        label: model["benchmarks"]["small"]["outcomes"]
        for label, model in summary["models"].items()
    }
    assert counts == {"one": {"complete": 3}, "two": {"judges_split": 3}}
    assert set(summary["usage"]) == {"one", "two", "judge builtin", "judge j"}


# ---------------------------------------------------------------- what one sees


def test_a_log_gets_plain_lines(hiddenrisk: CommandLine) -> None:
    done = hiddenrisk(*assess("fake/refuse", small(hiddenrisk.folder)))
    assert done.code == 0, done
    assert "\x1b" not in done.err + done.out
    assert "small: 3 responses from each of refuse, judged by builtin" in done.err
    assert done.lines[-1].startswith("3/3 samples (100%), 0 failed")
    assert "refuse" in done.out
    assert "3 scored" in done.out


def test_a_terminal_gets_a_line_that_moves(hiddenrisk: CommandLine) -> None:
    bench = small(hiddenrisk.folder, count=25)
    with ChatServer({"m": always(Reply(text=REFUSAL))}, latency_s=0.3) as server:
        args = assess(server.spec("m"), bench)
        code, seen = in_terminal(hiddenrisk.folder, [*args, "--concurrency", "8"])
    assert code == 0, seen
    assert "Traceback" not in seen
    assert "25/25 samples (100%)" in seen
    assert seen.count("/25 samples") > 3, "the line was drawn again and again"
    assert "━" in seen, "with a bar"


def test_on_a_terminal_one_is_asked_before_money_is_spent(hiddenrisk: CommandLine) -> None:
    bench = small(hiddenrisk.folder)
    args = ["assess", "--model", "http://192.0.2.1:9/v1#m", "--benchmark", str(bench)]
    code, seen = in_terminal(hiddenrisk.folder, [*args, "--out", "out"], typed=b"n\n")
    assert code == 130, seen
    assert "Go ahead?" in seen
    assert "before anything was sent" in seen
    assert not (hiddenrisk.folder / "out").exists()


def test_ctrl_c_on_a_terminal_ends_with_the_way_to_resume(hiddenrisk: CommandLine) -> None:
    bench = small(hiddenrisk.folder, count=200)
    with ChatServer({"m": always(Reply(text=REFUSAL))}, latency_s=0.2) as server:
        args = [*assess(server.spec("m"), bench), "--concurrency", "4"]
        code, seen = in_terminal(hiddenrisk.folder, args, typed=b"\x03", after="/200 samples")
    assert code == 130, seen
    assert "Traceback" not in seen
    assert "waiting for the calls in flight" in seen
    assert "to resume, run:" in seen


# ---------------------------------------------------------------- helpers


def wrong_use(done: Done) -> str:
    """The one line, the last, in which a command with exit code 2 says what is wrong."""
    assert done.code == 2, done
    assert "Traceback" not in done.out + done.err, done
    lines = [line for line in done.lines if line.startswith("hiddenrisk: ")]
    assert lines == done.lines[-1:], done
    return lines[0]


def test_texts_that_were_read_as_unfinished_thoughts_are_counted(
    hiddenrisk: CommandLine,
) -> None:
    bench = small(hiddenrisk.folder, count=10)
    texts = ["T\n</think>\n\nA."] * 6 + [REFUSAL] * 4
    rows = [{"prompt_id": f"p{n}", "response": text} for n, text in enumerate(texts)]
    recorded = hiddenrisk.folder / "mixed.jsonl"
    recorded.write_text("".join(json.dumps(row) + "\n" for row in rows))
    said = "4 of mixed's texts have no closing tag and were read as unfinished thoughts"

    done = hiddenrisk(*assess(f"mixed=replay/{recorded}", bench))
    assert said in " ".join(done.out.split())
    results = _only_results(hiddenrisk.folder / "out")
    assert results["outcomes"]["cut_in_thinking"] == 4
    assert any(note.startswith(said) and "?plain" in note for note in results["notes"])

    done = hiddenrisk(*assess(f"mixed=replay/{recorded}?plain", bench, "plain"))
    results = _only_results(hiddenrisk.folder / "plain")
    assert results["outcomes"] == {"complete": 10}
    assert said not in done.out


def small(folder: Path, name: str = "small", count: int = 3) -> Path:
    """A benchmark file of so many prompts."""
    path = folder / f"{name}.jsonl"
    rows = ({"id": f"p{i}", "prompt": f"Prompt {i}."} for i in range(count))
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def assess(model: str, bench: Path, out: str = "out") -> list[str | Path]:
    return ["assess", "--model", model, "--benchmark", bench, "--out", out]


def _only_results(folder: Path) -> dict[str, Any]:
    """What a run of one model on one benchmark has in its summary."""
    summary = json.loads((folder / "summary.json").read_text())
    (model,) = summary["models"].values()
    (results,) = model["benchmarks"].values()
    return results


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.01)


def in_terminal(
    folder: Path, args: list[str | Path], typed: bytes = b"", after: str = "Go ahead?"
) -> tuple[int, str]:
    """Run in a terminal of its own, type something once a text is seen, and see all it shows."""
    master, slave = pty.openpty()
    environment = {k: v for k, v in os.environ.items() if "proxy" not in k.lower()}
    process = subprocess.Popen(
        [sys.executable, "-c", _IN_TERMINAL, "-m", "hiddenrisk", *map(str, args)],
        cwd=folder,
        env=environment | {"TERM": "xterm", "COLUMNS": "200"},
        stdin=slave,
        stdout=slave,
        stderr=slave,
        start_new_session=True,
    )
    os.close(slave)
    seen = b""
    deadline = time.monotonic() + 60
    try:
        while time.monotonic() < deadline:
            if select.select([master], [], [], 0.1)[0]:
                try:
                    piece = os.read(master, 65536)
                except OSError:  # the other end is closed
                    break
                if not piece:
                    break
                seen += piece
            if typed and after.encode() in seen:
                os.write(master, typed)
                typed = b""
        return process.wait(timeout=10), seen.decode()
    finally:
        process.kill()
        process.wait()
        os.close(master)


# The terminal becomes the process's own, so that a typed Ctrl-C reaches it as a signal.
_IN_TERMINAL = """
import fcntl, os, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
"""
