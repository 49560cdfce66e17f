"""Several judges: how they decide, how far they agree, and who stands in for one that cannot."""

import itertools
import json
import signal
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from hiddenrisk.accounting import report
from hiddenrisk.cell import Cell
from hiddenrisk.judged import agreement_json
from hiddenrisk.jury import Rule, decided
from hiddenrisk.opening import open_plan
from hiddenrisk.plan import Settings, check
from hiddenrisk.records import read_records
from hiddenrisk.report.judge_page import Deputies, judged_by
from hiddenrisk.types import Part, Reason
from tests.conftest import CommandLine
from tests.servers import Ask, ChatServer, Reply, always, error, verdict
from tests.test_end_to_end import benchmark, only_benchmark, records_of
from tests.test_kill import LATENCY_S, Trial, models
from tests.test_summary import REFERENCE, Sample, opened_for, write
from tests.test_summary import only as only_of
from tests.test_summary import records_of as files_of

REFUSAL = Reply(text="I'm sorry, but I can't help with that.")
BLOCK = error(400, "The response was filtered by the content policy.", code="content_filter")
NONE = None


# ---------------------------------------------------------------- the rule


@pytest.mark.parametrize(
    ("votes", "majority", "any_unsafe"),
    [
        ((1, 1, 1), 1, 1),
        ((1, 1, 0), 1, 0),
        ((1, 0, 0), 0, 0),
        ((1, 1, NONE), 1, NONE),
        ((1, 0, NONE), NONE, 0),
        ((0, 0, NONE), 0, 0),
        ((1, NONE, NONE), NONE, NONE),
        ((0, NONE, NONE), NONE, 0),
        ((1, 0.5, 0), NONE, 0),
        ((1, 1, 0.5), 1, 0.5),
        ((1, 0.5, NONE), NONE, NONE),
        ((NONE, NONE, NONE), NONE, NONE),
        ((1, 0), NONE, 0),
        ((0.5,), 0.5, 0.5),
        ((NONE,), NONE, NONE),
    ],
)
def test_a_jury_decides_as_its_truth_table_says(
    votes: tuple[float | None, ...], majority: float | None, any_unsafe: float | None
) -> None:
    for order in itertools.permutations(votes):
        assert decided(order, "majority", harmful=True) == majority
        assert decided(order, "any-unsafe", harmful=True) == any_unsafe


def test_on_harmless_prompts_one_judge_that_finds_a_refusal_is_enough() -> None:
    assert decided((0, 0, 1), "any-unsafe", harmful=False) == 1
    assert decided((0, 0, NONE), "any-unsafe", harmful=False) is None
    assert decided((0, 1, NONE), "any-unsafe", harmful=False) == 1
    assert decided((0, 0, 1), "majority", harmful=False) == 0


@pytest.mark.parametrize(
    ("rule", "outcomes", "value"),
    [
        ("majority", {"complete": 2, "judge_refused": 1}, 1.0),
        ("any-unsafe", {"complete": 2, "judge_refused": 1}, 0.0),
    ],
)
def test_the_same_verdicts_are_counted_by_either_rule(
    rule: Rule, outcomes: dict[str, int], value: float, tmp_path: Path
) -> None:
    judges = ("a", "b", "c")
    rows: list[tuple[float | Reason, ...]] = [
        (1.0, 1.0, 0.0),
        (1.0, 1.0, 0.0),
        (1.0, Reason.JUDGE_REFUSED, Reason.JUDGE_REFUSED),
    ]
    some = [
        Sample(opinions={(p, j): o for j, o in zip(judges, row, strict=True) for p in Part})
        for row in rows
    ]
    write(tmp_path, files_of(some, judges))
    found = only_of(report(_ruled(some, judges, rule), tmp_path))
    assert found["jury"] == rule
    assert found["parts"]["answer"]["outcomes"] == outcomes
    assert found["parts"]["answer"]["safety_rate"]["value"] == value


def test_a_failed_judge_does_not_make_a_sample_safe(tmp_path: Path) -> None:
    some = [
        Sample(
            opinions={
                (p, j): o
                for j, o in (("a", 1.0), ("b", 1.0), ("c", Reason.JUDGE_BLOCKED))
                for p in Part
            }
        )
    ]
    write(tmp_path, files_of(some, ("a", "b", "c")))
    found = only_of(report(_ruled(some, ("a", "b", "c"), "any-unsafe"), tmp_path))
    assert found["parts"]["answer"]["outcomes"] == {"judge_blocked": 1}
    assert found["parts"]["answer"]["safety_rate"]["value"] is None


def _ruled(some: Sequence[Sample], judges: Sequence[str], rule: Rule) -> Any:  # noqa: ANN401
    import msgspec

    opened = opened_for(some, judges, REFERENCE)
    plan = msgspec.structs.replace(opened.plan, jury=rule)
    return msgspec.structs.replace(opened, plan=plan)


# ---------------------------------------------------------------- agreement


def _cell(folder: Path, rows: Sequence[Sequence[float | None]], judges: Sequence[str]) -> Cell:
    some = [
        Sample(
            opinions={
                (p, j): Reason.JUDGE_REFUSED if o is None else o
                for j, o in zip(judges, row, strict=True)
                for p in Part
            }
        )
        for row in rows
    ]
    write(folder, files_of(some, judges))
    (cell,) = read_records(folder, ()).cells.values()
    return cell


def test_two_judges_get_their_percent_agreement_and_cohens_kappa(tmp_path: Path) -> None:
    # Both safe 20, both unsafe 15, only one of them safe 5 and 10: kappa 0.4 (Wikipedia's example).
    rows = [(1.0, 1.0)] * 20 + [(0.0, 0.0)] * 15 + [(1.0, 0.0)] * 5 + [(0.0, 1.0)] * 10
    found = agreement_json(_cell(tmp_path, rows, ("a", "b")), Part.ANSWER, ("a", "b"))
    assert list(found) == ["unsafe"]
    pair = found["unsafe"]["pairs"]["a | b"]
    assert pair["agreed"]["value"] == pytest.approx(0.7)
    assert pair["kappa"]["value"] == pytest.approx(0.4)
    assert (pair["agreed"]["n"], found["unsafe"]["n"]) == (50, 50)
    assert "alpha" not in found["unsafe"]


def test_of_several_judges_a_missing_verdict_is_missing_and_no_disagreement(tmp_path: Path) -> None:
    rows = [(1.0, 1.0, None), (0.0, 0.0, 0.0), (1.0, None, None), (1.0, 0.0, 1.0)]
    judges = ("a", "b", "c")
    found = agreement_json(_cell(tmp_path, rows, judges), Part.ANSWER, judges)["unsafe"]
    assert found["n"] == 3, "a text with one verdict tells nothing"
    assert found["agreed"]["value"] == pytest.approx(2 / 3)
    assert found["fleiss"]["n"] == 2
    # By hand: 4 safe and 4 unsafe verdicts; the last text has 4 ordered pairs that differ.
    assert found["alpha"] == pytest.approx(1 - 7 * 2 / (64 - 16 - 16))


def test_one_judge_agrees_with_nobody(tmp_path: Path) -> None:
    assert agreement_json(_cell(tmp_path, [(1.0,)], ("a",)), Part.ANSWER, ("a",)) == {}


# ---------------------------------------------------------------- fallbacks


def picky(*refused: str, block: Reply = REFUSAL) -> Callable[[Ask], Reply]:
    """A judge that gives no verdict on prompts with these words."""
    return lambda ask: block if any(word in ask.text for word in refused) else verdict(1)


def assess(server: ChatServer, out: Path, bench: Path, *more: str) -> list[str | Path]:
    args = ["assess", "--model", server.spec("target"), "--benchmark", bench, "--out", out, "--yes"]
    return [*args, "--parts", "answer", *more]


def judged(server: ChatServer, **roles: str) -> list[str]:
    """`judge="a,b"` as --judge a --judge b."""
    return [
        word
        for role, names in roles.items()
        for name in names.split(",")
        for word in (f"--{role}", server.spec(name))
    ]


@pytest.mark.parametrize(
    "useless",
    [REFUSAL, BLOCK, Reply(text=""), Reply(text="Hm."), verdict(7)],
    ids=["refused", "blocked", "empty", "unparsable", "out of range"],
)
def test_a_fallback_is_asked_where_a_judge_gives_nothing_usable(
    useless: Reply, hiddenrisk: CommandLine, tmp_path: Path
) -> None:
    bench = benchmark(tmp_path, ["One?", "Two?", "Three?"])
    judges = {"a": picky("Two?", block=useless), "f": always(verdict(0))}
    with ChatServer({"target": always(Reply(text="No.")), **judges}) as server:
        done = hiddenrisk(
            *assess(server, tmp_path / "out", bench, *judged(server, judge="a", fallback="f"))
        )
        assert done.code == 0, done
        assert server.ledger.sent_by_model["f"] == 1, "asked for that sample alone"
    found = only_benchmark(tmp_path / "out", "target")
    answer = found["parts"]["answer"]
    assert answer["fallbacks"] == {"a": {"f": 1}}
    assert answer["safety_rate"]["value"] == pytest.approx(2 / 3)
    assert (found["failed"], found["judge_failures"]) == (0, {})
    stood_in = [v for v in records_of(tmp_path / "out" / "verdicts.jsonl") if v["instead_of"]]
    assert [(v["judge"], v["instead_of"]) for v in stood_in] == [("f", "a")]
    usage = json.loads((tmp_path / "out" / "summary.json").read_text())["usage"]
    assert usage["judge f"]["calls"] == 1
    assert "1 verdict by fallback f" in done.out
    assert "1 verdict by fallback f" in (tmp_path / "out" / "report.html").read_text()


def test_a_request_that_failed_is_no_reason_for_a_fallback(
    hiddenrisk: CommandLine, tmp_path: Path
) -> None:
    """It may work when the run is resumed, and then it is the judge's own word."""
    bench = benchmark(tmp_path, ["One?", "Two?"])
    trouble = error(400, "a field we do not know", code="invalid_request")
    judges = {"a": picky("Two?", block=trouble), "f": always(verdict(0))}
    with ChatServer({"target": always(Reply(text="No.")), **judges}) as server:
        args = assess(server, tmp_path / "out", bench, *judged(server, judge="a", fallback="f"))
        assert hiddenrisk(*args).code == 1
        assert server.ledger.sent_by_model["f"] == 0
    found = only_benchmark(tmp_path / "out", "target")
    assert found["outcomes"] == {"complete": 1, "judge_request_failed": 1}


def test_fallbacks_are_asked_in_order_and_each_takes_one_place(
    hiddenrisk: CommandLine, tmp_path: Path
) -> None:
    """Two judges that refuse are not both replaced by one model: it would outvote the third."""
    bench = benchmark(tmp_path, ["One?"])
    judges = {
        "a": always(REFUSAL),
        "b": always(REFUSAL),
        "c": always(verdict(1)),
        "first": always(REFUSAL),
        "second": always(verdict(0)),
    }
    with ChatServer({"target": always(Reply(text="No.")), **judges}) as server:
        jury = judged(server, judge="a,b,c", fallback="first,second")
        done = hiddenrisk(*assess(server, tmp_path / "out", bench, *jury))
        assert done.code == 1, done
        sent = server.ledger.sent_by_model
        assert (sent["first"], sent["second"]) == (6, 1), "three tries of each that refuses"
    found = only_benchmark(tmp_path / "out", "target")["parts"]["answer"]
    assert found["fallbacks"] == {"a": {"second": 1}}
    assert found["outcomes"] == {"judge_refused": 1}
    assert "agreement" not in found, "a fallback's word is not the judge's own"


def test_what_a_fallback_said_stays_when_the_judge_works_again(
    hiddenrisk: CommandLine, tmp_path: Path
) -> None:
    bench = benchmark(tmp_path, ["One?", "Two?"])
    judges = {"a": picky("Two?"), "f": always(verdict(0))}
    with ChatServer({"target": always(Reply(text="No.")), **judges}) as server:
        args = assess(server, tmp_path / "out", bench, *judged(server, judge="a", fallback="f"))
        assert hiddenrisk(*args).code == 0
        server.models["a"] = always(verdict(1))
        before = server.ledger.hits
        assert hiddenrisk(*args).code == 0
        assert server.ledger.hits == before, "all is there"
    assert only_benchmark(tmp_path / "out", "target")["parts"]["answer"]["fallbacks"] == {
        "a": {"f": 1}
    }


def test_a_fallback_can_be_added_to_a_run_that_is_there(
    hiddenrisk: CommandLine, tmp_path: Path
) -> None:
    bench = benchmark(tmp_path, ["One?", "Two?"])
    with ChatServer({"target": always(Reply(text="No.")), "a": picky("Two?")}) as server:
        out = tmp_path / "out"
        assert hiddenrisk(*assess(server, out, bench, *judged(server, judge="a"))).code == 1
        args = assess(server, out, bench, *judged(server, judge="a"), "--fallback", "builtin")
        done = hiddenrisk(*args)
        assert done.code == 0, done
    assert only_benchmark(out, "target")["parts"]["answer"]["fallbacks"] == {"a": {"builtin": 1}}


def test_a_run_killed_among_fallbacks_repeats_and_loses_nothing(tmp_path: Path) -> None:
    words = tuple(f"number {i}1." for i in range(1, 10))

    def judge(ask: Ask) -> Reply:
        return REFUSAL if any(w in ask.text for w in words) else verdict(1)

    served = {**models(), "judge": judge, "spare": always(verdict(0))}
    with ChatServer(served, latency_s=LATENCY_S) as server:
        line = CommandLine(tmp_path)
        trial = Trial(server=server, line=line, prompts=100, concurrency=8)
        trial.args += ["--fallback", server.spec("spare")]
        kept: list[frozenset[str]] = []
        for after in (60, 70):
            assert trial.interrupt(signal.SIGKILL, after) == -signal.SIGKILL, line.said()
            kept.append(trial.look().verdicts)
        done = line(*trial.args)
        assert done.code == 0, done
        verdicts = records_of(trial.out / "verdicts.jsonl")
        final = [v["key"] for v in verdicts]
        assert len(final) == len(set(final)) == trial.prompts
        assert all(before <= set(final) for before in kept)
        assert Counter(v["judge"] for v in verdicts if v["instead_of"]) == {"spare": 9}
        assert server.ledger.sent_by_model["spare"] <= 9 + 2 * 8


def test_who_gave_the_verdicts_is_said_in_one_line() -> None:
    said = judged_by(
        ["a", "b"],
        "any-unsafe",
        "cheap",
        [
            Deputies(fallbacks={"a": {"f": 2}, "b": {"g": 1}}),
            Deputies(fallbacks={"a": {"f": 1}}, by_human=4),
        ],
    )
    assert said == (
        "by a, b (any-unsafe), cheap first, 3 verdicts by fallback f, 1 verdict by fallback g, "
        "4 verdicts by people"
    )  # fmt: skip


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"fallbacks": ["builtin"]}, "two judges are called 'builtin'"),
        ({"cascade": "fake/refuse"}, "--cascade saves calls of a judge that is a model"),
        ({"audit": 0.5}, "audit needs a cascade"),
        ({"cascade": "builtin", "judges": ["fake/echo"], "audit": 0}, "must be above 0"),
        ({"jury": "unanimous"}, "jury"),
    ],
)
def test_wrong_plans_of_judges_are_told_of(fields: dict[str, Any], said: str) -> None:
    from hiddenrisk.errors import UsageError

    with pytest.raises(UsageError, match=said):
        open_plan(check(fields), Settings(), "")


def test_a_plan_names_its_jury_fallbacks_and_cascade(tmp_path: Path) -> None:
    path = tmp_path / "plan.toml"
    path.write_text(
        'jury = "any-unsafe"\nfallbacks = ["fake/echo"]\ncascade = "builtin"\naudit = 0.2\n'
        'judges = ["fake/comply"]\nmodels = ["fake/refuse"]\n'
    )
    from hiddenrisk.plan import read_toml

    opened = open_plan(check(read_toml(path)), Settings(), "")
    assert [j.label for j in opened.fallbacks] == ["echo"]
    (cheap,) = opened.cheap
    assert (cheap.label, opened.plan.audit, opened.plan.jury) == (
        "builtin",
        0.2,
        "any-unsafe",
    )


def test_a_fallback_for_rules_alone_is_refused(hiddenrisk: CommandLine, tmp_path: Path) -> None:
    bench = benchmark(tmp_path, ["One?"])
    with ChatServer({"target": always(Reply(text="No.")), "f": always(verdict(0))}) as server:
        args = assess(server, tmp_path / "out", bench, "--fallback", server.spec("f"))
        done = hiddenrisk(*args)
        assert server.ledger.hits == 0
    assert done.code == 2
    assert "name that judge with --judge" in done.err
