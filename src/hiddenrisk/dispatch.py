"""Where calls are made: in this process, or by the workers of a cluster.

To the run it is the same. For a cluster the model of each endpoint is exchanged for one that
hands its calls on; the endpoint with its limit, its tries and its meter stays here.
"""

from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from functools import partial

from msgspec.structs import replace

from hiddenrisk.assess import Judge
from hiddenrisk.cell import IMPORTED
from hiddenrisk.cluster.joining import LOCAL, Cluster, joined
from hiddenrisk.cluster.parcels import Recipe
from hiddenrisk.cluster.pool import Pool
from hiddenrisk.cluster.remote import RemoteModel
from hiddenrisk.engine import Endpoint
from hiddenrisk.judges.forms import OPTIONS
from hiddenrisk.models.spec import parse, without_options
from hiddenrisk.opening import Opened
from hiddenrisk.plan import Settings, asked_under
from hiddenrisk.recorded import LABEL as RECORDED

_MOST_WORKERS = 16
"""Where the user does not say how many; one driver keeps no more of them busy."""
_HERE = frozenset({"replay", "fake", IMPORTED, RECORDED})
"""Providers whose replies are in a file of this machine, or in the SPEC itself."""
_OWN_WORKERS = frozenset({"vllm", "local"})
"""Providers whose weights a worker holds: these workers do nothing else."""


@contextmanager
def at_work(
    opened: Opened, endpoints: Sequence[Endpoint], say: Callable[[str], None]
) -> Generator[None]:
    """Have the calls of a run made where its settings say.

    Args:
        opened: the plan.
        endpoints: of its models, in their order.
        say: says a line.

    Raises:
        UsageError: the cluster cannot be joined.
    """
    asked = recipes_of(opened, endpoints)
    if not asked:  # rules and recordings need no cluster
        yield
        return
    with at_hand(opened.settings, say) as cluster:
        if cluster is None:
            yield
            return
        before = [endpoint.model for endpoint, _ in asked]
        _hand_over(asked, cluster, opened.settings.workers)
        try:
            yield
        finally:
            for (endpoint, _), model in zip(asked, before, strict=True):
                endpoint.model, endpoint.room = model, None


@contextmanager
def at_hand(settings: Settings, say: Callable[[str], None]) -> Generator[Cluster | None]:
    """The cluster that settings name; None where they name this process.

    Raises:
        UsageError: the cluster cannot be joined.
    """
    if settings.engine == LOCAL:
        yield None
        return
    with joined(settings.engine, say) as cluster:
        yield cluster


def recipes_of(opened: Opened, endpoints: Sequence[Endpoint]) -> list[tuple[Endpoint, Recipe]]:
    """Who is asked, and how a worker opens the same."""
    found: dict[int, tuple[Endpoint, Recipe]] = {}

    def note(endpoint: Endpoint, recipe: Recipe) -> None:
        if endpoint.model.provider not in _HERE:
            keyed = bool(getattr(endpoint.model, "keyed", False))
            found.setdefault(id(endpoint), (endpoint, replace(recipe, keyed=keyed)))

    for endpoint, (spec, decoding) in zip(endpoints, asked_under(opened.plan), strict=False):
        if endpoint.model.label in opened.asked:
            note(endpoint, Recipe(spec=spec, decoding=decoding))
    for judge in (*opened.models_judging, *opened.deputies):
        if judge.endpoint is not None:
            note(judge.endpoint, _recipe_of(judge))
    if opened.victim is not None and opened.plan.victim is not None:
        note(opened.victim, Recipe(spec=opened.plan.victim))
    return list(found.values())


def _recipe_of(judge: Judge) -> Recipe:
    return Recipe(spec=without_options(judge.spec, OPTIONS)[0], completions=judge.form.completions)


def _hand_over(
    asked: Sequence[tuple[Endpoint, Recipe]], cluster: Cluster, workers: int | None
) -> None:
    """Exchange the models of endpoints for ones that workers hold.

    All that are asked over HTTP share workers; weights have workers of their own.
    """
    own = [pair for pair in asked if _provider(pair[1]) in _OWN_WORKERS]
    shared = [pair for pair in asked if pair not in own]
    for group in (shared, *([pair] for pair in own)):
        if not group:
            continue
        recipes = [recipe for _, recipe in group]
        size, cpus, gpus = _room(recipes[0], cluster, workers)
        place = partial(cluster.place, cpus=cpus, gpus=gpus)
        pool = Pool(recipes, size, place, cluster.gone, cluster.say)
        for number, (endpoint, _) in enumerate(group):
            model = RemoteModel(endpoint.model, pool, number)
            endpoint.model, endpoint.room = model, model.room


def _room(recipe: Recipe, cluster: Cluster, workers: int | None) -> tuple[int, float, float]:
    """How many workers there are for a recipe, and the CPUs and GPUs of each."""
    if _provider(recipe) == "vllm" and cluster.gpus:
        each = int(parse(recipe.spec).options.get("gpus", "1"))
        return workers or max(1, int(cluster.gpus // each)), 0.0, float(each)
    if _provider(recipe) in _OWN_WORKERS:
        return workers or cluster.nodes, 0.0, 0.0
    size = workers or max(1, min(_MOST_WORKERS, int(cluster.cpus)))
    return size, cluster.share(size), 0.0


def _provider(recipe: Recipe) -> str:
    return parse(recipe.spec).provider
