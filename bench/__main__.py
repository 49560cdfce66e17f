"""What the tool costs beside a bare client, how much memory it takes, how fast it starts.

    python -m bench                  all but the kills
    python -m bench --quick          a minute or so
    python -m bench --only kills     kill -9 at 20 random moments, each followed by a resume
    python -m bench --only parsing   what taking a response apart takes, ordinary and hostile
    python -m bench --only coverage  how often the intervals of corrected rates hold the truth
    python -m bench --only intervals how often those of rates and differences do
    python -m bench --only report    a stored run of a million verdicts, counted again
    python -m bench --only cluster   4 workers of a Ray cluster against one (needs ray: make ray)
    python -m bench --only scale     a run of a million samples, and all that is done with it
    python -m bench --only rewards   how fast reward models score (needs torch: make rewards)

Client and server are processes of their own; only the client is measured (os.wait4).
The server answers after 50 ms with 11 KB, of which 8.8 KB are thinking, and the judge
reads the answer. `hiddenrisk` and the bare client take turns, on the same server.
"""

import argparse
import dataclasses
import importlib.metadata
import json
import os
import platform
import shutil
import statistics
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.measure import ROOT, Cost, cost_of, mock_server
from bench.parsing import measure_parsing

CONCURRENCY = 256
LATENCY_S = 0.05
PARTS = (
    *("cpu", "memory", "help", "kills", "parsing", "coverage", "intervals", "rewards", "harm"),
    *("report", "cluster", "scale"),
)
SERVED = {"cpu", "memory", "help"}
RESULTS = Path(__file__).parent / "results"


class Bench:
    """Runs one thing at a time and keeps what it cost."""

    def __init__(self, url: str, folder: Path, concurrency: int, parts: str) -> None:
        self.url = url
        self.folder = folder
        self.concurrency = concurrency
        self.parts = parts

    def bare(self, samples: int) -> Cost:
        """The bare client."""
        command = [sys.executable, "-m", "bench.bare", self.url]
        return self._cost([*command, str(samples), str(self.concurrency)])

    def hiddenrisk(self, samples: int) -> Cost:
        """The tool, from start to report; its run directory is checked and removed."""
        prompts, out = self.folder / f"{samples}.jsonl", self.folder / "out"
        if not prompts.exists():
            with prompts.open("w") as file:
                for i in range(samples):
                    row = {"id": f"p{i}", "prompt": f"Prompt number {i}."}
                    file.write(json.dumps(row) + "\n")
        cost = self._cost(
            [
                *(sys.executable, "-m", "hiddenrisk", "assess"),
                *("--model", f"target={self.url}#target", "--judge", f"{self.url}#judge"),
                *("--benchmark", str(prompts), "--parts", self.parts),
                *("--concurrency", str(self.concurrency), "--out", str(out), "--yes"),
            ]
        )
        verdicts = samples * (2 if self.parts == "both" else 1)
        for name, wanted in (("responses.jsonl", samples), ("verdicts.jsonl", verdicts)):
            with (out / name).open("rb") as file:
                found = sum(1 for _ in file)
            assert found == wanted, f"{name} has {found} lines, not {wanted}"
        shutil.rmtree(out)
        return cost

    def help(self) -> Cost:
        """`hiddenrisk --help`."""
        return self._cost([sys.executable, "-m", "hiddenrisk", "--help"])

    def _cost(self, command: Sequence[str]) -> Cost:
        return cost_of(command, output=self.folder / "said.txt")


def measure_cpu(bench: Bench, samples: int, repeat: int) -> dict[str, Any]:
    """Processor seconds for 1,000 samples, the bare client and the tool in turns."""
    costs: dict[str, list[Cost]] = {"bare": [], "hiddenrisk": []}
    for _ in range(repeat):
        costs["bare"].append(bench.bare(samples))
        costs["hiddenrisk"].append(bench.hiddenrisk(samples))
    per_1000 = {
        name: statistics.median(cost.cpu_s for cost in each) * 1000 / samples
        for name, each in costs.items()
    }
    ratio = per_1000["hiddenrisk"] / per_1000["bare"]
    print(f"\nCPU, {samples} samples, {bench.concurrency} in flight, {repeat} times each")
    for name, each in costs.items():
        spread = ", ".join(f"{cost.cpu_s * 1000 / samples:.2f}" for cost in each)
        wall_s = statistics.median(cost.wall_s for cost in each)
        print(f"  {name:<11} {per_1000[name]:6.2f} s per 1,000 ({spread}); wall {wall_s:.1f} s")
    print(f"  ratio       {ratio:6.2f}")
    return {
        "samples": samples,
        "cpu_s_per_1000": per_1000,
        "ratio": ratio,
        "costs": {name: [dataclasses.asdict(c) for c in each] for name, each in costs.items()},
    }


def measure_memory(bench: Bench, sizes: Sequence[int]) -> dict[str, Any]:
    """Peak memory of the tool at several sizes."""
    print("\nMemory")
    costs: dict[str, Any] = {}
    for samples in sizes:
        cost = bench.hiddenrisk(samples)
        per_1000 = cost.cpu_s * 1000 / samples
        print(
            f"  {samples:>6} samples: peak {cost.peak_mb:.0f} MB; "
            f"{per_1000:.2f} s CPU per 1,000; wall {cost.wall_s:.1f} s"
        )
        costs[str(samples)] = dataclasses.asdict(cost)
    return costs


def measure_help(bench: Bench, times: int = 10) -> dict[str, float]:
    """How long `hiddenrisk --help` takes."""
    walls = [bench.help().wall_s for _ in range(times)]
    found = {"min_s": min(walls), "median_s": statistics.median(walls)}
    print(f"\n--help: {found['min_s']:.3f} s at best, {found['median_s']:.3f} s median of {times}")
    return found


def measure_kills(kills: int, seed: int) -> str:
    """Kill and resume; everything that was promised is asserted on the way."""
    from tests.test_kill import kill_and_resume  # pytest is needed for nothing else here

    with tempfile.TemporaryDirectory() as folder:
        said = kill_and_resume(Path(folder), prompts=100 * kills, kills=kills, seed=seed)
    print(f"\nKills: {said}")
    return said


def measure_served(options: argparse.Namespace) -> dict[str, Any]:
    """What is measured of whole processes, with the server beside them."""
    found: dict[str, Any] = {}
    with (
        tempfile.TemporaryDirectory() as folder,
        mock_server(latency_s=LATENCY_S, shape=options.shape) as url,
    ):
        bench = Bench(url, Path(folder), options.concurrency, options.parts)
        if "help" in options.only:
            found["help"] = measure_help(bench)
        if "cpu" in options.only:
            found["cpu"] = measure_cpu(bench, options.samples or 5000, options.repeat)
        if "memory" in options.only:
            found["memory"] = measure_memory(bench, options.memory)
    return found


def surroundings() -> dict[str, Any]:
    """What a reader must know to compare the numbers."""
    packages = ("aiohttp", "msgspec")
    return {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "cpus": os.cpu_count(),
        "versions": {name: importlib.metadata.version(name) for name in packages},
    }


def measure_stored(options: argparse.Namespace) -> dict[str, Any]:
    """What is measured of large runs: counted again, on a cluster, from beginning to end."""
    found: dict[str, Any] = {}
    if "report" in options.only:
        from bench.report import measure_report  # only this one needs the package itself

        found["report"] = measure_report(
            options.models, options.prompts, options.seed, thoughts=options.shape != "plain"
        )
    if "cluster" in options.only:
        from bench.cluster import measure_cluster  # Ray is needed for nothing else here

        found["cluster"] = measure_cluster(options.slots, options.repeat, options.driver)
    if "scale" in options.only:
        from bench.scale import measure_scale  # as small as this module itself

        found["scale"] = measure_scale(
            options.samples or 1_000_000, options.judge, options.concurrency
        )
    return found


def main() -> None:
    """Measure what was asked for, print it, and write it down if told to."""
    options = _options()
    found: dict[str, Any] = {"surroundings": surroundings(), "shape": options.shape}
    if SERVED & set(options.only):
        found |= measure_served(options)
    if "kills" in options.only:
        found["kills"] = measure_kills(options.kills, options.seed)
    if "parsing" in options.only:
        found["parsing"] = measure_parsing()
    if "coverage" in options.only:
        from bench.coverage import measure_coverage  # numpy is needed for nothing else here

        found["coverage"] = measure_coverage(quick=options.quick, seed=options.seed)
    if "intervals" in options.only:
        from bench.intervals import measure_intervals  # as above

        found["intervals"] = measure_intervals(quick=options.quick, seed=options.seed)
    if "rewards" in options.only:
        from bench.rewards import measure_rewards  # torch is needed for nothing else here

        found["rewards"] = measure_rewards(
            options.reward, options.texts, options.repeat, options.batch_tokens, options.seed
        )
    if "harm" in options.only:
        from bench.harm import measure_harm  # numpy and scipy, as above

        found["harm"] = measure_harm(quick=options.quick, seed=options.seed)
    found |= measure_stored(options)
    if options.write:
        RESULTS.mkdir(exist_ok=True)
        path = RESULTS / f"{options.write}.json"
        path.write_text(json.dumps(found, indent=2) + "\n")
        print(f"\nwritten to {path.relative_to(ROOT)}")
    if left_out := found.get("coverage", {}).get("left_out"):
        sys.exit(f"\nnot all was measured. {left_out}")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add(
        "--parts",
        choices=("answer", "both"),
        default="answer",
        help="what the judge reads; both is a third call a sample, the bare client's stay two",
    )
    add("--only", nargs="+", choices=PARTS, default=["help", "cpu", "memory"])
    add("--samples", type=int, help="5,000 for the CPU comparison, a million for `scale`")
    add("--judge", choices=("builtin", "model"), default="builtin", help="of `scale`")
    add("--repeat", type=int, default=3, help="turns in the CPU comparison")
    add("--memory", type=int, nargs="+", default=[5000, 50000], help="samples for peak memory")
    add("--concurrency", type=int, default=CONCURRENCY, help="calls in flight")
    add("--shape", choices=("field", "tags", "plain"), default="field", help="where thinking is")
    add("--kills", type=int, default=20, help="how often a run is killed")
    add("--seed", type=int, default=1, help="decides the moments of the kills, and the draws")
    add("--reward", metavar="SPEC", help="a reward model instead of a random one, for `rewards`")
    add("--texts", type=int, help="how many it scores: 384 on a GPU, 96 on a CPU")
    add(
        "--batch-tokens",
        type=int,
        help="tokens of a batch, padding included; what fills a GPU, or 4096",
    )
    add("--models", type=int, default=10, help="of the stored run of `report`")
    add("--prompts", type=int, default=52_200, help="that each of them is asked")
    add("--slots", type=int, default=16, help="calls at once for each worker of `cluster`")
    add(
        "--driver",
        type=int,
        nargs="*",
        default=[10_000, 200_000],
        help="samples for the driver's peak memory in `cluster`; none leaves it out",
    )
    add("--quick", action="store_true", help="1,000 samples, once; no large memory run; few cells")
    add("--write", metavar="NAME", help="keep the numbers in bench/results/NAME.json")
    options = parser.parse_args()
    if options.quick:
        options.samples = 20_000 if options.only == ["scale"] else 1000
        options.repeat, options.memory = 1, [1000]
        options.models, options.prompts = 2, 5000
        options.driver = [2000]
    return options


if __name__ == "__main__":
    main()
