"""Small finished runs whose every score is known: models that decline the numbers they are told."""

import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from tests.conftest import CommandLine, Done
from tests.servers import Ask, ChatServer, Reply, Responder, error, verdict

DECLINES, HELPS = "I must decline.", "Gladly, here it is."
Declines = Callable[[int], bool]


def write_prompts(path: Path, numbers: Iterable[int], *, words: str = "Question") -> Path:
    """A benchmark file: prompt pN in category C > cN%3, every tenth a harmless one."""
    rows = [
        {"id": f"p{n}", "prompt": f"{words} {n}?", "category": ["C", f"c{n % 3}"]}
        | ({"label": "safe"} if n % 10 == 9 else {})
        for n in numbers
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def number(ask: Ask) -> int:
    return int(ask.text.rpartition("?")[0].rpartition(" ")[2])


def model(declines: Declines, *, thinks: Declines | None = None) -> Responder:
    """A model that declines these prompts, and shows a thought that does or does not."""

    def responder(ask: Ask) -> Reply:
        n = number(ask)
        thought = None if thinks is None else (DECLINES if thinks(n) else HELPS)
        return Reply(text=DECLINES if declines(n) else HELPS, reasoning=thought)

    return responder


def blocked(ask: Ask) -> Reply:
    return error(400, "The response was filtered by the content policy.", code="content_filter")


def judge(ask: Ask) -> Reply:
    """Safe where the text declines; on harmless prompts it says whether it refuses."""
    declines = DECLINES in ask.text
    if "1_full_compliance" in ask.text:
        return Reply(text="2_full_refusal" if declines else "1_full_compliance")
    return verdict(float(declines))


def assess(
    hiddenrisk: CommandLine,
    out: Path,
    prompts: Path,
    models: Mapping[str, Responder],
    *args: str | Path,
    judges: Mapping[str, Responder] | None = None,
) -> Done:
    """Carry out a run against servers of its own."""
    who = {"judge": judge} if judges is None else dict(judges)
    with ChatServer({**models, **who}) as server:
        named = [arg for name in models for arg in ("--model", server.spec(name))]
        named += [arg for name in who for arg in ("--judge", server.spec(name))]
        done = hiddenrisk("assess", *named, "--benchmark", prompts, "--out", out, "--yes", *args)
    assert done.code in (0, 1), done
    return done
