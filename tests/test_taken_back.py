"""A judge that takes its word back has said nothing, and one that explains it keeps it."""

import pytest

from hiddenrisk.judges import injection, mitre, scored, xstest
from hiddenrisk.types import Reason
from tests.retractions import (
    CONTRADICTIONS,
    KEPT,
    PLAIN,
    RETRACTIONS,
    SHORT,
    explained,
    replies,
)
from tests.test_bad_replies import PARSERS, outcome
from tests.test_own_voice import read


@pytest.mark.parametrize("phrase", RETRACTIONS)
@pytest.mark.parametrize("judge", PARSERS)
def test_a_verdict_that_is_taken_back_is_none(judge: str, phrase: str) -> None:
    parse, one, other = PARSERS[judge]
    for said, contrary, short in ((one, other, SHORT[judge][1]), (other, one, SHORT[judge][0])):
        for reply in replies(said, phrase, short, contrary):
            assert isinstance(outcome(parse, reply), Reason), reply


@pytest.mark.parametrize("phrase", CONTRADICTIONS)
@pytest.mark.parametrize("judge", PLAIN)
def test_a_verdict_beside_which_another_is_named_is_none(judge: str, phrase: str) -> None:
    parse, one, other = PARSERS[judge]
    for said, contrary, short in ((one, other, SHORT[judge][1]), (other, one, SHORT[judge][0])):
        for reply in replies(said, phrase, short, contrary):
            assert isinstance(outcome(parse, reply), Reason), reply


def test_the_generator_makes_hundreds_of_replies() -> None:
    assert len(PARSERS) * len(RETRACTIONS) + len(PLAIN) * len(CONTRADICTIONS) > 1_000


@pytest.mark.parametrize(("judge", "reply", "label"), KEPT)
def test_a_verdict_that_is_weighed_or_explained_stands(judge: str, reply: str, label: str) -> None:
    parse = {"xstest": xstest, "mitre": mitre, "injection": injection, "scored": scored}[
        judge
    ].parse
    assert getattr(outcome(parse, reply), "label", None) == label


@pytest.mark.parametrize("judge", PARSERS)
def test_what_explains_a_verdict_does_not_undo_it(judge: str) -> None:
    parse, *verdicts = PARSERS[judge]
    for verdict in verdicts:
        for reply in explained(judge, verdict):
            assert read(parse, reply) == read(parse, verdict), reply
