"""What a large number of traces needs, on paper: calls, tokens, GPU hours, storage, the driver.

    python -m tools.scale
    python -m tools.scale --traces 1e6 --prompt-tokens 900 --guard-tokens-per-s 12000

Every input is an option. The defaults are what was measured (docs/scale.md says where) or, for
the lengths of texts, those of a reasoning model's traces; put in your own. Nothing is run.
"""

import argparse
from dataclasses import dataclass, fields


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """What the estimate hangs on."""

    traces: float = 1e8
    """Stored responses to judge."""
    judged: float = 1.0
    """Verdicts for each: 2 where the thinking is judged as well as the answer."""
    prompt_tokens: float = 1000.0
    """That a guard reads for one verdict: its template, the request and the text."""
    reply_tokens: float = 10.0
    """That it writes."""
    guard_tokens_per_s: float = 30_000.0
    """Read by one GPU: an 8B model's plain forward pass on an H200 took 31,600 to 33,900."""
    guard_written_per_s: float = 3_000.0
    """Written by one GPU, all rows of its batch together."""
    gpus: float = 64.0
    """At work at once."""
    driver_ms: float = 1.0
    """CPU of the driver for one sample with one verdict of a model."""
    drivers: float = 16.0
    """Runs side by side, each with its share of the traces."""
    response_bytes: float = 1_500.0
    """Of a stored response without its text, and of its place in the files of a run."""
    text_bytes: float = 6_000.0
    """Of its thinking, answer and the provider's payload."""
    verdict_bytes: float = 500.0
    """Of a stored verdict."""
    key_bytes: float = 80.0
    """Of the driver's memory, for each sample when all is counted; 16 while it runs."""


def needs(given: Inputs) -> dict[str, float]:
    """The estimate.

    Returns:
        `calls`, `tokens`, `gpu_hours`, `days` (on `gpus`), `storage_tb`, `driver_hours` (of one
        core, all drivers together), `driver_days` (side by side), `driver_gb` (memory of each).
    """
    calls = given.traces * given.judged
    read, written = calls * given.prompt_tokens, calls * given.reply_tokens
    gpu_s = read / given.guard_tokens_per_s + written / given.guard_written_per_s
    stored = given.traces * (given.response_bytes + given.text_bytes)
    stored += calls * given.verdict_bytes
    driver_s = calls * given.driver_ms / 1000
    return {
        "calls": calls,
        "tokens": read + written,
        "gpu_hours": gpu_s / 3600,
        "days": gpu_s / given.gpus / 86400,
        "storage_tb": stored / 1e12,
        "driver_hours": driver_s / 3600,
        "driver_days": driver_s / given.drivers / 86400,
        "driver_gb": given.traces / given.drivers * given.key_bytes / 1e9,
    }


def main() -> None:
    """Print the inputs and the estimate."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.scale",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    for field in fields(Inputs):
        option = "--" + field.name.replace("_", "-")
        parser.add_argument(option, type=float, default=field.default, metavar="N")
    given = Inputs(**vars(parser.parse_args()))
    for field in fields(Inputs):
        print(f"  {field.name:20} {getattr(given, field.name):>16,.10g}")
    print()
    for name, value in needs(given).items():
        print(f"  {name:20} {value:>16,.4g}")


if __name__ == "__main__":
    main()
