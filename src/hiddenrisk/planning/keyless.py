"""A plan opened to be looked at: where a key is missing, stand-ins take the models' places."""

from typing import Any

import msgspec

from hiddenrisk.benchmarks import open_benchmark
from hiddenrisk.engine import Endpoint, Policy
from hiddenrisk.errors import MissingKeyError
from hiddenrisk.insights import BUILTIN
from hiddenrisk.models.decoding import DEFAULT
from hiddenrisk.models.spec import parse, with_decoding
from hiddenrisk.models.standin import StandIn
from hiddenrisk.opening import Opened, Stored, open_plan
from hiddenrisk.plan import Plan, Settings, asked_under


def open_to_look(plan: Plan, settings: Settings, command: str) -> tuple[Opened, str]:
    """Resolve a plan of which nothing is to be sent.

    Returns:
        The plan, and which key is missing for it to be carried out; empty if none is.

    Raises:
        UsageError: something is unknown, or cannot be read.
    """
    # A budget is only held against what the plan takes: prices may be unknown, and that is said.
    unbound, missing = msgspec.structs.replace(settings, budget=None), ""
    try:
        opened = open_plan(plan, unbound, command)
    except MissingKeyError as error:
        opened, missing = _with_stand_ins(plan, unbound, command), str(error)
    return msgspec.structs.replace(opened, settings=settings), missing


def _with_stand_ins(plan: Plan, settings: Settings, command: str) -> Opened:
    benchmarks = tuple(open_benchmark(text, settings.data_dir) for text in plan.benchmarks)
    victim = None
    if any(benchmark.dialogue for benchmark in benchmarks):
        text = plan.victim or next((t for t in plan.judges if t != BUILTIN), None)
        if text is not None:
            plan = msgspec.structs.replace(plan, victim=text)
            victim = Endpoint(_stand_in(text), Policy())
    stored = Stored(
        models=tuple(_stand_in(text, decoding) for text, decoding in asked_under(plan)),
        benchmarks=benchmarks,
        victim=victim,
        judges={},
    )
    return open_plan(plan, settings, command, stored)


def _stand_in(text: str, decoding: str = DEFAULT) -> StandIn:
    spec = parse(text) if decoding == DEFAULT else with_decoding(parse(text), decoding)
    identity: dict[str, Any] = {"model": spec.text}
    if name := spec.options.get("decoding"):
        identity["decoding"] = {"name": name}
    return StandIn(spec.label, identity, spec.provider)
