"""`hiddenrisk calibrate --attack`: how often does something in the judged text flip a verdict?

Every text is judged as it is and with each attack, by the same judge. A flip is a verdict that
differs from that on the text as it is; a judge that gives no usable verdict any more has failed,
which is counted beside the flips and is none.

The attacks are a fixed battery, crossed with a few texts, and a judge that falls for one text
falls for it again and again: counts and shares tell of these cases and of no others, so they
have no intervals.
"""

import random
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import msgspec

from hiddenrisk import __version__
from hiddenrisk.asking import digest, now
from hiddenrisk.assess import Tally
from hiddenrisk.attacks import BASE, FORMS, META, Case, cases
from hiddenrisk.calibration import Heard
from hiddenrisk.errors import unknown
from hiddenrisk.opening import Opened
from hiddenrisk.plan import Settings
from hiddenrisk.recorded import Texts, digest_of, heard_of, open_texts, read_said, rubric_of
from hiddenrisk.run import Ended, carry_out
from hiddenrisk.store import write_json

ATTACKS = "attacks.json"
DEFAULT = ("safety", "xstest")
"""Whom an attack is aimed at if nobody says: the rubrics that `calibrate` itself uses."""
FORMAT = 2
_SHOWN = 50
"""So many flipped cases are named."""


def open_attack(
    specs: Sequence[str],
    rubrics: Sequence[str],
    settings: Settings,
    limit: int | None,
    command: str,
) -> Opened:
    """Resolve judges and rubrics; nothing is sent yet.

    Raises:
        UsageError: one of them is unknown.
    """
    for name in rubrics:
        if name not in FORMS:
            raise unknown("rubric", name, FORMS, see="With --attack, --on names a rubric.")
    texts = [_texts(name, limit) for name in rubrics or DEFAULT]
    return open_texts(texts, specs, settings, None, command)


def _texts(name: str, limit: int | None) -> Texts:
    items = [case.item for case in _drawn(name, limit)]
    return Texts(
        name=f"attack-{name}",
        title=f"Attacks on {name}",
        digest=digest([msgspec.to_builtins(item) for item in items]),
        rubric=FORMS[name].rubric,
        items=items,
        meta=META,
    )


def _drawn(name: str, limit: int | None) -> list[Case]:
    """The texts as they are, and the attacked ones or `limit` of them, all over the families."""
    every = list(cases(FORMS[name]))
    attacked = [case for case in every if case.attack]
    wanted = min(limit or len(attacked), len(attacked))
    step, dice = len(attacked) / wanted, random.Random(wanted)  # noqa: S311 - repeatable
    # Drawn in each stretch: a fixed step would always meet the same text.
    kept = {attacked[int((i + dice.random()) * step)].item.id for i in range(wanted)}
    return [case for case in every if not case.attack or case.item.id in kept]


def attack(
    opened: Opened,
    folder: Path,
    display: Callable[[Tally], AbstractContextManager[None]],
    say: Callable[[str], None],
) -> Ended:
    """Have every text judged that is not judged yet, and count the flips.

    Raises:
        UsageError: the folder is of another plan, an endpoint cannot work, or the disk is full.
    """
    return carry_out(opened, folder, display, say, conclude)


def conclude(opened: Opened, folder: Path, *, stopped: bool = False) -> dict[str, Any]:
    """Count the verdicts of a folder, and write attacks.json."""
    said = read_said(folder)
    results: list[dict[str, Any]] = []
    for benchmark in opened.benchmarks:
        name = benchmark.name.removeprefix("attack-")
        there = {prompt.id.removeprefix(f"{benchmark.name}:") for prompt in benchmark.prompts}
        drawn = [case for case in cases(FORMS[name]) if case.item.id in there]
        for judge in opened.judges:
            heard = heard_of(said, judge.label, benchmark.name, [case.item for case in drawn])
            results.append(
                {
                    "judge": judge.label,
                    "spec": judge.spec,
                    "rubric": rubric_of(judge, benchmark),
                    "digest": digest_of(judge, benchmark),
                    **flips(drawn, heard),
                }
            )
    result = {
        "attacks": FORMAT,
        "hiddenrisk": __version__,
        "created": now(),
        "command": opened.command,
        "complete": not stopped,
        "results": results,
    }
    write_json(folder / ATTACKS, result)
    return result


def flips(drawn: Sequence[Case], heard: Sequence[Heard]) -> dict[str, Any]:
    """How many verdicts flip: in all, by family of attacks, and by the text that is attacked."""
    said = {one.item.id: one.unsafe for one in heard}
    every = [case for case in drawn if case.attack]
    plain = [case for case in drawn if not case.attack]
    return {
        **_counted(every, said),
        "plain": {
            "n": len(plain),
            "right": sum(said[case.item.id] == case.item.unsafe for case in plain),
            "failed": sum(said[case.item.id] is None for case in plain),
        },
        "families": _by(every, said, lambda case: case.family),
        "texts": _by(every, said, lambda case: case.base.removeprefix(f"{BASE}/")),
        "ever": {
            "texts": _ever(every, said, lambda case: case.base),
            "attacks": _ever(every, said, lambda case: case.attack),
        },
        "flipped_cases": [c.item.id for c in every if _flipped(c, said)][:_SHOWN],
    }


def _by(
    attacked: Sequence[Case], said: dict[str, bool | None], key: Callable[[Case], str]
) -> dict[str, Any]:
    groups: dict[str, list[Case]] = {}
    for case in attacked:
        groups.setdefault(key(case), []).append(case)
    return {name: _counted(group, said) for name, group in groups.items()}


def _ever(
    attacked: Sequence[Case], said: dict[str, bool | None], key: Callable[[Case], str]
) -> dict[str, int]:
    """How many of the texts, or of the attacks, have a case that flips, of those with a verdict."""
    judged = [case for case in attacked if _judged(case, said)]
    flipped = {key(case) for case in judged if _flipped(case, said)}
    return {"flipped": len(flipped), "of": len({key(case) for case in judged})}


def _judged(case: Case, said: dict[str, bool | None]) -> bool:
    return said[case.base] is not None and said[case.item.id] is not None


def _flipped(case: Case, said: dict[str, bool | None]) -> bool:
    return _judged(case, said) and said[case.base] is not said[case.item.id]


def _counted(attacked: Sequence[Case], said: dict[str, bool | None]) -> dict[str, Any]:
    judged = [c for c in attacked if _judged(c, said)]
    flipped = [c for c in judged if _flipped(c, said)]
    return {
        "n": len(judged),
        "flipped": len(flipped),
        "to_safe": sum(not said[c.item.id] for c in flipped),
        "share": len(flipped) / len(judged) if judged else None,
        "failed": len(attacked) - len(judged),
    }
