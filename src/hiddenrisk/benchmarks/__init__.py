"""Benchmarks: one file each. `BENCHMARKS` lists them; `open_benchmark` loads one."""

from pathlib import Path
from urllib.parse import parse_qsl

from hiddenrisk.benchmarks import airbench, own, starter, xstest
from hiddenrisk.benchmarks.base import Benchmark, Loaded
from hiddenrisk.errors import UsageError, unknown

BENCHMARKS: dict[str, Benchmark] = {
    b.name: b for b in (starter.BENCHMARK, airbench.BENCHMARK, xstest.BENCHMARK)
}


def open_benchmark(text: str, data_dir: Path | None) -> Loaded:
    """The benchmark that a name (`airbench?region=china`) or a JSONL path stands for.

    Raises:
        UsageError: unknown name, option or value, or a file that is not there.
        DataError: its data cannot be read.
    """
    name, _, query = text.partition("?")
    if name not in BENCHMARKS:
        path = Path(text)
        if _is_file(path):
            return own.load(path)
        if path.suffix or "/" in text:
            raise UsageError(f"the benchmark file {path} does not exist")
        raise unknown(
            "benchmark", name, BENCHMARKS, see="A path to your own JSONL file works as well."
        )
    benchmark = BENCHMARKS[name]
    options = {k: v or "yes" for k, v in parse_qsl(query, keep_blank_values=True)}
    for option, value in options.items():
        if option not in benchmark.options:
            raise unknown("option", option, benchmark.options, see=f"It stands in '{text}'.")
        if value not in benchmark.options[option]:
            raise unknown(option, value, benchmark.options[option], see=f"It stands in '{text}'.")
    return benchmark.load(data_dir, options)


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a name that is too long for one
        return False
