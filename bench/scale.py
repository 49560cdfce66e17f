"""A million samples on one machine: a run against the mock with short texts, and what follows it.

The run is made by the command as a user types it; then the same command again (a resume after
completion), `report`, `verify`, and `load` with the frames that a notebook looks at first. Each
is a process of its own, and its peak memory is that of the whole process.
"""

import dataclasses
import sys
import tempfile
from pathlib import Path
from typing import Any

from bench.measure import Cost, cost_of, mock_server

SIZE = 200
"""Bytes of thinking and answer."""
LATENCY_S = 0.01
_LOAD = """
import sys, hiddenrisk
run = hiddenrisk.load(sys.argv[1])
print(len(run.responses), len(run.verdicts), len(run.outcomes))
"""


def measure_scale(samples: int, judge: str, concurrency: int) -> dict[str, Any]:
    """Seconds and peak memory of a run of many samples, and of all that is done with it.

    Args:
        samples: how many.
        judge: "builtin", or "model" for one behind the mock, which is a call more a text.
        concurrency: calls in flight.
    """
    print(f"\nScale: {samples:,} samples, judge {judge}, texts of {SIZE} bytes")
    with (
        tempfile.TemporaryDirectory() as place,
        mock_server(latency_s=LATENCY_S, shape="field", size=SIZE) as url,
    ):
        folder = Path(place)
        prompts = _write_prompts(folder / "prompts.jsonl", samples)
        run = folder / "run"
        assess = [
            *(sys.executable, "-m", "hiddenrisk", "assess"),
            *("--model", f"target={url}#target"),
            *("--judge", "builtin" if judge == "builtin" else f"{url}#judge"),
            *("--benchmark", str(prompts), "--concurrency", str(concurrency)),
            *("--out", str(run), "--yes"),
        ]
        commands = {
            "assess": assess,
            "resume": assess,
            "report": [sys.executable, "-m", "hiddenrisk", "report", str(run)],
            "verify": [sys.executable, "-m", "hiddenrisk", "verify", str(run)],
            "load": [sys.executable, "-c", _LOAD, str(run)],
        }
        costs: dict[str, Cost] = {}
        for name, command in commands.items():
            cost = costs[name] = cost_of(command, output=folder / "said.txt")
            per_sample = f"; {cost.cpu_s * 1000 / samples:.2f} ms CPU a sample"
            print(
                f"  {name:<7} {cost.wall_s:8.1f} s; {cost.cpu_s:.1f} s CPU; "
                f"peak {cost.peak_mb:,.0f} MB{per_sample if name == 'assess' else ''}",
                flush=True,
            )
        size = sum(file.stat().st_size for file in run.glob("*.jsonl")) / 1e6
        print(f"  {size:,.0f} MB of records")
    return {
        "samples": samples,
        "judge": judge,
        "size_mb": size,
        "costs": {name: dataclasses.asdict(cost) for name, cost in costs.items()},
    }


def _write_prompts(path: Path, samples: int) -> Path:
    with path.open("w") as file:
        file.writelines(f'{{"id":"p{i}","prompt":"Question {i}?"}}\n' for i in range(samples))
    return path
