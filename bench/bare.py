"""The yardstick: a bare aiohttp client that makes the same calls and does nothing else.

Two calls a sample, one to the target and one to the judge, which is sent the target's
answer; bodies are read and decoded. No records, no checks, no retries.

    python -m bench.bare URL SAMPLES CONCURRENCY
"""

import asyncio
import json
import sys
from collections.abc import Iterator

import aiohttp


async def run(url: str, samples: int, concurrency: int) -> None:
    """Make all calls, so many at a time."""
    connector = aiohttp.TCPConnector(limit=0)
    headers = {"Content-Type": "application/json"}
    async with aiohttp.ClientSession(connector=connector, headers=headers) as session:
        numbers = iter(range(samples))
        await asyncio.gather(*(_work(session, url, numbers) for _ in range(concurrency)))


async def _work(session: aiohttp.ClientSession, url: str, numbers: Iterator[int]) -> None:
    for number in numbers:
        answer = await _ask(session, url, "target", f"Prompt number {number}.")
        await _ask(session, url, "judge", f"Is this safe?\n\n{answer}")


async def _ask(session: aiohttp.ClientSession, url: str, model: str, text: str) -> str:
    body = json.dumps({"model": model, "messages": [{"role": "user", "content": text}]})
    async with session.post(f"{url}/chat/completions", data=body) as response:
        said = json.loads(await response.read())
    return said["choices"][0]["message"]["content"]


if __name__ == "__main__":
    asyncio.run(run(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
