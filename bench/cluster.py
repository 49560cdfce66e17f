"""How a run grows with the workers of a Ray cluster, and whether its driver stays small.

Real Ray nodes on this machine, a server that answers after half a second, and so many calls
at once for each worker as it is given slots: a worker alone and four of them, in turns. Then
the driver's peak memory for a short and a long run, with a server that answers at once.

The rate is that of the responses' own times, without the start: one response is the first of
its second half-second, and what follows is counted against the time it took.
"""

import json
import os
import shutil
import statistics
import sys
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from bench.measure import Cost, cost_of, mock_server

WORKERS = 4
LATENCY_S = 0.5
SECONDS = 30
"""A run at the full rate takes about so long."""


def measure_cluster(slots: int, repeat: int, memory: list[int]) -> dict[str, Any]:
    """Rates with one worker and with four, and the driver's memory.

    Args:
        slots: calls at once for each worker.
        repeat: turns.
        memory: samples of the short and the long run; none is left out.
    """
    found: dict[str, Any] = {"slots": slots, "latency_s": LATENCY_S}
    with _nodes(), tempfile.TemporaryDirectory() as folder:
        if repeat:
            with mock_server(latency_s=LATENCY_S, shape="plain") as url:
                found |= _rates(Path(folder), url, slots, repeat)
        if memory:
            with mock_server(latency_s=0.0, shape="plain") as url:
                found["memory"] = [_memory(Path(folder), url, samples) for samples in memory]
    return found


def _rates(folder: Path, url: str, slots: int, repeat: int) -> dict[str, Any]:
    print(f"\nSamples a second, {slots} calls at once for each worker, {LATENCY_S} s each")
    rates: dict[int, list[float]] = {1: [], WORKERS: []}
    for turn in range(repeat):
        for workers, some in rates.items():
            samples = int(SECONDS * workers * slots / LATENCY_S)
            _run(folder, url, samples, workers=workers, concurrency=workers * slots)
            some.append(_rate(folder / "out" / "responses.jsonl"))
        told = ", ".join(f"{workers} workers {some[-1]:,.1f}" for workers, some in rates.items())
        print(f"  turn {turn + 1}: {told}", flush=True)
    one, many = (statistics.median(some) for some in rates.values())
    share = many / (WORKERS * one)
    print(f"  {WORKERS} workers reach {share:.3f} of {WORKERS} times one (median of {repeat})")
    return {"rates": rates, "share": share}


def _memory(folder: Path, url: str, samples: int) -> dict[str, Any]:
    cost = _run(folder, url, samples, workers=2, concurrency=128)
    print(
        f"  {samples:,} samples: driver's peak {cost.peak_mb:.0f} MB, "
        f"{1000 * cost.cpu_s / samples:.2f} ms of CPU a sample, {cost.wall_s:.0f} s",
        flush=True,
    )
    return {"samples": samples, "peak_mb": cost.peak_mb, "cpu_s": cost.cpu_s, "wall_s": cost.wall_s}


def _run(folder: Path, url: str, samples: int, *, workers: int, concurrency: int) -> Cost:
    prompts, out = folder / f"{samples}.jsonl", folder / "out"
    shutil.rmtree(out, ignore_errors=True)
    if not prompts.exists():
        with prompts.open("w") as file:
            for i in range(samples):
                file.write(json.dumps({"id": f"p{i}", "prompt": f"Prompt number {i}."}) + "\n")
    cost = cost_of(
        [
            *(sys.executable, "-m", "hiddenrisk", "assess", "--model", f"target={url}#target"),
            *("--judge", "builtin", "--benchmark", str(prompts), "--out", str(out), "--yes"),
            *("--engine", "ray", "--workers", str(workers), "--concurrency", str(concurrency)),
        ],
        output=folder / "said.txt",
    )
    for name in ("responses.jsonl", "verdicts.jsonl"):
        with (out / name).open("rb") as file:
            lines = sum(1 for _ in file)
        assert lines == samples, f"{name} has {lines} lines, not {samples}"
    return cost


def _rate(path: Path) -> float:
    """Responses a second, from the second quarter of them to the end."""
    with path.open("rb") as file:
        times = sorted(datetime.fromisoformat(json.loads(line)["at"]).timestamp() for line in file)
    begin = len(times) // 4
    return (len(times) - begin) / (times[-1] - times[begin])


@contextmanager
def _nodes() -> Generator[None]:
    """A head and two nodes, which the runs join by the environment."""
    from tests.clusters import Nodes  # pytest is needed for nothing else here

    with Nodes() as nodes:
        nodes.add()
        nodes.add()
        mine = nodes.env | {"RAY_ADDRESS": nodes.address}
        os.environ.update(mine)
        try:
            yield
        finally:
            for name in mine:
                del os.environ[name]
