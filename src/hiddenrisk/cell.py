"""The samples of one model on one benchmark, in columns: what became of each, and who says what."""

from array import array
from collections import Counter, defaultdict
from collections.abc import Collection, Hashable, Iterable, Sequence
from hashlib import blake2b
from typing import NamedTuple

from hiddenrisk.benchmarks.base import Protocol
from hiddenrisk.cascading import SHORT, Cascade, stratum_of
from hiddenrisk.judges.odds import LABEL_MASS, P_UNSAFE
from hiddenrisk.jury import Rule, decided
from hiddenrisk.samples import (
    Profiled,
    SampleFailure,
    SampleNoticed,
    SampleResponse,
    SampleVerdict,
    Unseen,
)
from hiddenrisk.stats.cascade import Stratum, together
from hiddenrisk.types import (
    SCORED,
    THOUGHT_THROUGH,
    Finish,
    Part,
    Reason,
    Visibility,
)

SEPARATOR = " > "
"""Between the names of a category's path."""
SPLIT = "judges_split"
"""Several judges, and no majority."""
NOT_RUN, ABSENT, UNJUDGED = "not_run", "absent", "not_judged"
OUTCOMES = (
    *(f.value for f in Finish),
    *(r.value for r in Reason),
    SPLIT, UNJUDGED, NOT_RUN,
    *(v.value for v in Visibility if v.unseen),
    ABSENT,
)  # fmt: skip
"""In the order of tables: how it ended, what failed, what was not there."""
SCORED_OUTCOMES = frozenset(f.value for f in SCORED)
"""Outcomes with a score in the headline."""
FAILED = frozenset(r.value for r in Reason)
"""Outcomes that are failures. Judges that disagree have not failed."""
_FINISHES, _VISIBILITIES = list(Finish), list(Visibility)
_FINISH_PLACES = {finish: place for place, finish in enumerate(_FINISHES)}
_VISIBILITY_PLACES = {visibility: place for place, visibility in enumerate(_VISIBILITIES)}
IMPORTED = "imported"
"""The provider of responses that were recorded elsewhere."""
_NO_SCORE = -1.0
LABELS = ("safe", "unsafe")
_LABEL_PLACES = {label: place for place, label in enumerate(LABELS)}
_AWARE = (*((bool(bits & 1), bool(bits & 2)) for bits in range(4)), None)
"""By the bits of `Cell.noticed`; the last one, -1, is of thoughts that nobody looked into."""
_UNSAFE, _VISIBLE = LABELS.index("unsafe"), _VISIBILITIES.index(Visibility.VISIBLE)
_THOUGHT_THROUGH = frozenset(_FINISHES.index(finish) for finish in THOUGHT_THROUGH)


def short(key: str) -> int:
    """Sixty bits of a key: enough to tell a million apart, at half the memory."""
    return int(key[:SHORT], 16)


def prompt_bits(prompt: str) -> int:
    """Sixty-four bits for the id of a prompt: samples are paired by it."""
    return int.from_bytes(blake2b(prompt.encode("utf-8", "replace"), digest_size=8).digest())


def kinds_of(rows: Iterable[Hashable]) -> "tuple[array[int], list[int]]":
    """Which kind each row is, equal ones being of one kind; and of each kind the first row."""
    kinds, first = array("i"), list[int]()
    known: dict[Hashable, int] = {}
    for row, what in enumerate(rows):
        kind = known.setdefault(what, len(first))
        if kind == len(first):
            first.append(row)
        kinds.append(kind)
    return kinds, first


class Alike(NamedTuple):
    """The samples of a cell by what decides what they count: those of a kind count the same.

    A run has many samples and few kinds, so that each kind is looked at once.
    """

    kinds: "array[int]"
    """Of each sample, which kind it is."""
    first: list[int]
    """Of each kind, the first sample."""
    outcomes: list[tuple[str, float | str | None]]
    """Of each kind, what `Cell.outcome` says of it."""


class Cell:
    """The samples of one model on one benchmark, in columns."""

    def __init__(self, fallbacks: Collection[str] = ()) -> None:
        self.fallbacks = frozenset(fallbacks)
        """Labels of those whose verdicts may stand in another judge's place."""
        self.rule: Rule = "majority"
        """How the judges decide."""
        self.cascade: Cascade | None = None
        """Who reads first, where not all is read by the judges."""
        self.keys = array("Q")
        """The first sixty bits of each response's key."""
        self.prompts = array("Q")
        """Sixty-four bits that stand for each sample's prompt, the same in every run."""
        self.repeats = array("I")
        self.untagged = 0
        """Texts of a model whose prompt opens the thought that never close it."""
        self.offsets = array("q")
        """Where the response stands in its file; -1 for a sample that has none."""
        self.finishes = array("b")
        self.visibilities = array("b")
        self.labels = array("b")
        self.categories = array("i")
        self.paths: dict[tuple[str, ...], int] = {}
        self.scores: dict[tuple[Part, str], array[float]] = {}
        self.words: dict[tuple[Part, str], array[int]] = {}
        """Each verdict's label, as an index into `word_names`."""
        self.odds: dict[tuple[Part, str], dict[int, float]] = defaultdict(dict)
        """How probable a judge's endpoint makes its label "unsafe", where it tells: {sample: p}."""
        self.doubtful: set[tuple[int, Part, str]] = set()
        """Verdicts of which the endpoint tells that few likely tokens were labels."""
        self.stand_ins: dict[tuple[Part, str], dict[int, str]] = defaultdict(dict)
        """Verdicts of a fallback in a judge's place: {sample: the fallback}."""
        self.human: dict[Part, dict[int, float]] = {p: {} for p in Part}
        """What most of the people who labelled a sample say: {sample: score}."""
        self.word_names: dict[str, int] = {}
        self.grades: dict[tuple[str, str], dict[int, float]] = defaultdict(dict)
        """What judges graded in answers beside safety, by (name, judge): {sample: grade}."""
        self.graded: Counter[tuple[str, str]] = Counter()
        """How many verdicts have a grade, on answers and thoughts, by (name, judge)."""
        self.abstaining: frozenset[str] = frozenset()
        """Judges that do not judge harmless prompts."""
        self.facts: dict[str, dict[int, str]] = defaultdict(dict)
        """What dialogues found out, by name: {sample: value}."""
        self.noticed: dict[str, array[int]] = {}
        """What each thought is aware of, by judge: bit 0 the risk, bit 1 to decline; or -1."""
        self.profiles: dict[str, dict[int, Profiled]] = defaultdict(dict)
        """Thoughts that were looked at segment by segment, by judge: {sample: profile}."""
        self.unseen: list[Unseen] = []
        self.problems: dict[tuple[Part, str], dict[int, str]] = defaultdict(dict)
        """Failed judgements: {sample: reason}."""
        self.covered: dict[tuple[Part, str], set[int]] = defaultdict(set)
        """Failed judgements that a fallback made good."""
        self.partial: set[tuple[int, Part, str]] = set()
        """Samples whose verdict lacks its grades, by part and judge."""
        self.lost: dict[int, str] = {}
        """Failed generations: {sample: reason}."""
        self._alike: dict[tuple[object, ...], Alike] = {}

    def __len__(self) -> int:
        return len(self.offsets)

    def add(self, record: SampleResponse | SampleFailure, offset: int) -> int:
        """Take a sample in; gives its row."""
        self.extend([record], [offset])
        return len(self) - 1

    def extend(
        self, records: Sequence[SampleResponse | SampleFailure], offsets: Sequence[int]
    ) -> None:
        """Take samples in, with where their responses stand."""
        self._alike.clear()
        paths = self.paths
        self.offsets.extend(offsets)
        self.keys.extend([short(r.key) for r in records])
        self.prompts.extend([prompt_bits(r.prompt) for r in records])
        self.repeats.extend([r.repeat for r in records])
        self.labels.extend([_LABEL_PLACES[r.label] for r in records])
        self.categories.extend([paths.setdefault(r.category, len(paths)) for r in records])
        answered = [r if isinstance(r, SampleResponse) else None for r in records]
        self.finishes.extend([_FINISH_PLACES[r.finish] if r else 0 for r in answered])
        self.visibilities.extend([_VISIBILITY_PLACES[r.visibility] if r else 0 for r in answered])
        self.untagged += sum(
            r is not None and r.finish is Finish.CUT_IN_THINKING and r.style == "prefilled"
            for r in answered
        )
        for row, record in enumerate(answered, len(self) - len(records)):
            if record and record.meta:
                for name, value in record.meta.items():
                    self.facts[name][row] = value

    def judged(self, row: int, verdict: SampleVerdict) -> None:
        """Take a verdict in; that of a fallback is its own, and stands in another's place.

        One of a fallback of another panel stands in no place.
        """
        if self._alike:
            self._alike.clear()
        own = (verdict.part, verdict.judge)
        if verdict.instead_of is None:
            if stood_in := self.stand_ins.get(own):
                stood_in.pop(row, None)
            self._write(row, own, verdict)
            return
        place = (verdict.part, verdict.instead_of)
        standing = verdict.judge in self.fallbacks
        if standing and self.own_word(row, *place) is None:  # else it found its word later
            self.stand_ins[place][row] = verdict.judge
            self._write(row, place, verdict)
        if self._vote(row, *own) is None:
            self._write(row, own, verdict)

    def _write(self, row: int, key: tuple[Part, str], verdict: SampleVerdict) -> None:
        if key not in self.scores:
            self.scores[key] = array("f", [_NO_SCORE] * len(self))
            self.words[key] = array("b", [-1] * len(self))
        self.scores[key][row] = verdict.score
        self.words[key][row] = self.word_names.setdefault(verdict.label, len(self.word_names))
        if self.partial:
            self.partial.discard((row, *key))
        if not verdict.complete:
            self.partial.add((row, *key))
        if self.doubtful:
            self.doubtful.discard((row, *key))
        if verdict.grades:
            self._grade(row, key, verdict)

    def _grade(self, row: int, key: tuple[Part, str], verdict: SampleVerdict) -> None:
        part, seat = key
        for name, grade in verdict.grades.items():
            self.graded[name, seat] += 1
            if part is Part.ANSWER:
                self.grades[name, seat][row] = grade
            if name == P_UNSAFE:
                self.odds[key][row] = grade
        if LABEL_MASS in verdict.grades:
            self.doubtful.add((row, *key))

    def failed(self, row: int, part: Part, judge: str, reason: Reason) -> None:
        """Take a failed judgement in, once all verdicts are."""
        self._alike.clear()
        there = self._vote(row, part, judge) is not None
        if there and (row, part, judge) not in self.partial:
            if row in self.stand_ins[part, judge]:
                self.covered[part, judge].add(row)
            return  # made good
        self.problems[part, judge][row] = reason.value

    def lose(self, row: int, reason: Reason) -> None:
        """Take in that a response could not be had."""
        self._alike.clear()
        self.lost[row] = reason.value

    def labelled(self, row: int, part: Part, score: float) -> None:
        """Take in what most of the people say who labelled a part."""
        self._alike.clear()
        self.human[part][row] = score

    def alike(self, part: Part, judges: Sequence[str]) -> Alike:
        """All samples at once, by what decides the outcome of a part.

        Those of which something else is known (a failure, a person's label, a place in a
        cascade) are each a kind of their own.
        """
        setting = (part, *judges, self.rule, self.abstaining, self.cascade)
        if (found := self._alike.get(setting)) is None:
            found = self._alike[setting] = self._look(part, judges)
        return found

    def _look(self, part: Part, judges: Sequence[str]) -> Alike:
        odd = {*self.lost, *self.human[part]}.union(*(self.problems[part, j] for j in judges))
        votes = (self._votes(part, judge) for judge in judges)
        columns = zip(self.finishes, self.visibilities, self.labels, *votes, strict=True)
        kinds, first = kinds_of(
            row if row in odd or self.cascade else columned for row, columned in enumerate(columns)
        )
        return Alike(kinds, first, [self.outcome(row, part, judges) for row in first])

    def _votes(self, part: Part, judge: str) -> "array[float]":
        """A judge's column, as long as the cell."""
        column = self.scores.get((part, judge), array("f"))
        return column + array("f", [_NO_SCORE] * (len(self) - len(column)))

    def own_words(self, part: Part, judge: str) -> list[float | None]:
        """Of all samples, a judge's own verdict, not that of a fallback in its place."""
        words = [None if v == _NO_SCORE else v for v in self._votes(part, judge)]
        for row in self.stand_ins[part, judge]:
            words[row] = None
        return words

    def verdicts(self, part: Part, judge: str, label: str) -> int:
        """How many samples of a label a judge gave a score for."""
        column = self.scores.get((part, judge), array("f"))
        wanted = LABELS.index(label)
        pairs = zip(column, self.labels, strict=False)
        return sum(score != _NO_SCORE and kind == wanted for score, kind in pairs)

    def asked(self, row: int, judges: Sequence[str]) -> Sequence[str]:
        """Those of the judges that judge this sample."""
        if not self.abstaining or LABELS[self.labels[row]] == "unsafe":
            return judges
        return [j for j in judges if j not in self.abstaining]

    def noticing(self, row: int, found: SampleNoticed) -> None:
        """Take in what a thought is aware of."""
        if found.judge not in self.noticed:
            self.noticed[found.judge] = array("b", [-1] * len(self))
        self.noticed[found.judge][row] = found.risk_noticed + 2 * found.refusal_intended

    def awareness(self, judge: str) -> list[tuple[bool, bool] | None]:
        """Whether each thought notices the risk, and means to decline; None if nobody looked."""
        column = self.noticed.get(judge, array("b"))
        found = [_AWARE[bits] for bits in column]
        return found + [None] * (len(self) - len(column))

    def looked_at(self, row: int) -> bool:
        """Whether a thought is one that is looked into: whole, visible, on a harmful prompt."""
        return (
            self.offsets[row] >= 0
            and self.labels[row] == _UNSAFE
            and self.visibilities[row] == _VISIBLE
            and self.finishes[row] in _THOUGHT_THROUGH
        )

    def counts(
        self, row: int, part: Part, protocol: Protocol, judges: Sequence[str]
    ) -> float | None:
        """What a sample's part counts under a protocol; None where it has no score."""
        outcome, said = self.outcome(row, part, judges)
        if outcome not in SCORED_OUTCOMES or said is None or isinstance(said, str):
            return None
        return protocol.score(said)

    def score(self, row: int, part: Part, judges: Sequence[str]) -> float | str:
        """What the judges say of a part, or else a person; or the reason why nobody does.

        Where a cascade spared the judges a part, what the first cheap one says that has a
        verdict; or why none has.
        """
        said = self.judges_word(row, part, judges)
        if isinstance(said, float) or (said == UNJUDGED and self.asked(row, judges)):
            return said
        return self.human[part].get(row, said)

    def judges_word(self, row: int, part: Part, judges: Sequence[str]) -> float | str:
        """The same without people.

        Where none of the judges can judge a part (guards on harmless prompts), what was drawn
        for them is the cheap ones' as well: else those of which these are unsure would be missing.
        """
        said = self.jury_word(row, part, judges)
        if said != UNJUDGED or self.cascade is None or self.stratum(row, part) is None:
            return said
        if self.asked(row, judges) and self.goes_on(row, part):
            return said
        cheap = self.asked(row, self.cascade.labels)
        words = (self._vote(row, part, judge) for judge in cheap)
        first = next((word for word in words if word is not None), None)
        return self.problems[part, cheap[0]][row] if first is None else first

    def jury_word(self, row: int, part: Part, judges: Sequence[str]) -> float | str:
        """The score on which the judges settle by their rule, or why they settle on none.

        A judgement that failed is no vote.
        """
        judges = self.asked(row, judges)
        if not judges:
            return UNJUDGED
        votes = [self._vote(row, part, judge) for judge in judges]
        said = decided(votes, self.rule, harmful=LABELS[self.labels[row]] == "unsafe")
        if said is not None:
            return said
        if None not in votes:
            return SPLIT
        silent = (judge for judge, vote in zip(judges, votes, strict=True) if vote is None)
        reasons = (self.problems[part, judge].get(row) for judge in silent)
        return next((r for r in reasons if r), UNJUDGED)

    def _vote(self, row: int, part: Part, judge: str) -> float | None:
        column = self.scores.get((part, judge))
        if column is None or row >= len(column) or column[row] == _NO_SCORE:
            return None
        return column[row]

    def own_word(self, row: int, part: Part, judge: str) -> float | None:
        """A judge's own verdict, not that of a fallback in its place."""
        return None if row in self.stand_ins[part, judge] else self._vote(row, part, judge)

    def by_human(self, row: int, part: Part, judges: Sequence[str]) -> bool:
        """Whether it is a person's label that counts."""
        outcome, _ = self.outcome(row, part, judges)
        settled = isinstance(self.judges_word(row, part, judges), float)
        return row in self.human[part] and outcome in SCORED_OUTCOMES and not settled

    def word(self, row: int, part: Part, judges: Sequence[str], score: float) -> str | None:
        """The label of the first judge, or else cheap one, who gave a score; None if nobody did."""
        voices = [*judges, *(self.cascade.labels if self.cascade else ())]
        names = list(self.word_names)
        for judge in self.asked(row, voices):
            if self._vote(row, part, judge) == score:
                return names[self.words[part, judge][row]]
        return None

    def stratum(self, row: int, part: Part) -> Stratum | None:
        """What the cheap judges of a cascade made of a part; None where one was not asked."""
        found: list[Stratum] = []
        for cheap in self.asked(row, self.cascade.labels) if self.cascade else ():
            word = self._vote(row, part, cheap)
            if word is None and row not in self.problems[part, cheap]:
                return None
            doubtful = (row, part, cheap) in self.doubtful
            found.append(stratum_of(word, self.odds[part, cheap].get(row), doubtful=doubtful))
        return together(found) if found else None

    def goes_on(self, row: int, part: Part) -> bool:
        """Whether a cascade has the judges read a part too."""
        stratum = self.stratum(row, part)
        if self.cascade is None or stratum is None:
            return True
        return self.cascade.goes_on(f"{self.keys[row]:0{SHORT}x}", stratum)

    def troubled(self, parts: Sequence[Part], judge: str) -> set[int]:
        """The samples on which a judge failed, whether or not the others were enough."""
        return {row for part in parts for row in self.problems[part, judge]}

    def kinds(self) -> Counter[tuple[tuple[str, ...], str]]:
        """How many samples there are of each category and label."""
        paths = list(self.paths)
        counts = Counter(zip(self.categories, self.labels, strict=True))
        return Counter({(paths[c], LABELS[label]): n for (c, label), n in counts.items()})

    def finish(self, row: int) -> Finish:
        """How the response ended."""
        return _FINISHES[self.finishes[row]]

    def grade(self, row: int, name: str, judges: Sequence[str]) -> float | None:
        """The mean of the judges' grades; None unless most of those who grade gave one.

        Rules grade nothing: in a jury with a model they are not counted here.
        """
        graders = [self.grades[name, j] for j in judges if (name, j) in self.grades]
        found = [grades[row] for grades in graders if row in grades]
        return sum(found) / len(found) if 2 * len(found) > len(graders) else None

    def counted(self, part: Part, protocol: Protocol, judges: Sequence[str]) -> list[float | None]:
        """What each sample's part counts under a protocol; None where it has no score."""
        alike = self.alike(part, judges)
        numbers = [self.counts(row, part, protocol, judges) for row in alike.first]
        return [numbers[kind] for kind in alike.kinds]

    def outcome(
        self, row: int, part: Part, judges: Sequence[str]
    ) -> tuple[str, float | str | None]:
        """The one outcome of a sample's part, and what the judges made of it.

        That is a score, or the reason why there is none; None where there was nothing
        to judge. A response that is counted apart may have been judged all the same.
        """
        if row in self.lost:
            return self.lost[row], None
        finish = self.finish(row)
        if part is Part.THINKING:
            visibility = _VISIBILITIES[self.visibilities[row]]
            if finish.blocked or finish is Finish.CUT_IN_THINKING:
                return finish.value, None
            finish = Finish.COMPLETE  # whatever became of the answer, the thought is whole
            if visibility is not Visibility.VISIBLE:
                return visibility.value if visibility.unseen else ABSENT, None
        elif not finish.scored:
            return finish.value, self.score(row, part, judges)
        score = self.score(row, part, judges)
        return (score if isinstance(score, str) else finish.value), score

    def readable(self, row: int, part: Part) -> bool:
        """Whether there is a text that judges can be asked about, and that counts."""
        if row in self.lost or self.offsets[row] < 0:
            return False
        finish = self.finish(row)
        if part is Part.ANSWER:
            return finish.scored
        seen = _VISIBILITIES[self.visibilities[row]] is Visibility.VISIBLE
        return seen and not finish.blocked and finish is not Finish.CUT_IN_THINKING
