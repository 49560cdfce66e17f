"""Keys computed again from what decides them: a record whose key differs was changed."""

from collections.abc import Mapping
from typing import Any

from hiddenrisk.asking import digest
from hiddenrisk.assess import Judge
from hiddenrisk.benchmarks.base import Loaded
from hiddenrisk.insights import BUILTIN
from hiddenrisk.judges import refusal
from hiddenrisk.judges.rubric import asked_in, begun
from hiddenrisk.opening import Opened
from hiddenrisk.types import Prompt, Response, Sampling, Verdict


class Keys:
    """The keys that records of a run must have, as far as they can be computed.

    Args:
        opened: the run's plan, with the judges of its headline.
        models: what each model was, by label, as run.json says.
        judges: what each judge was.
        victim: what the other side of dialogues was; None without one.
    """

    def __init__(
        self,
        opened: Opened,
        models: Mapping[str, dict[str, Any]],
        judges: Mapping[str, dict[str, Any]],
        victim: dict[str, Any] | None = None,
    ) -> None:
        self._models = models
        self._identities = judges
        self._victim = victim
        every = (*opened.judges, *opened.fallbacks, *opened.cheap)
        self._judges: dict[str, Judge] = {judge.label: judge for judge in every}
        self._said: dict[str, tuple[dict[str, Any], tuple[Any, ...]]] = {
            judge.label: (
                {k: v for k, v in judges[judge.label].items() if k not in judge.form.named},
                judge.form.how,
            )
            for judge in every
            if judge.label in judges
        }
        """What of a judge is in its verdicts' keys: who it is, and how it is asked."""
        self._sampling = Sampling(
            temperature=opened.plan.temperature, max_tokens=opened.plan.max_tokens
        )

    def response(self, response: Response, benchmark: Loaded, prompt: Prompt) -> list[str]:
        """The keys that a response may have; none where what decides them is not known.

        That of a dialogue hangs on the other side too, and on who checked it: a judge, or the
        other side itself.
        """
        identity = self._models.get(response.model)
        if identity is None:
            return []
        key = digest(
            identity, self._sampling, benchmark.name, prompt.id, response.repeat, prompt.messages
        )
        if not benchmark.dialogue:
            return [key]
        if self._victim is None:
            return []
        checkers = [*map(self._own, self._identities), self._victim]
        return [digest(key, self._victim, each, benchmark.version) for each in checkers]

    def _own(self, judge: str) -> dict[str, Any]:
        """What the model behind a judge is, without the form that its verdicts take."""
        named = self._judges[judge].form.named if judge in self._judges else {}
        return {k: v for k, v in self._identities[judge].items() if k not in named}

    def verdict(
        self, verdict: Verdict, response: Response, benchmark: Loaded, prompt: Prompt
    ) -> str | None:
        """The key of a verdict: it hangs on the text that was judged.

        None for a judge outside the headline, whose rubric may have been another version, and
        for a part without a text.
        """
        judge = self._judges.get(verdict.judge)
        text = response.part(verdict.part)
        rubric = judge.rubric(benchmark, prompt.label) if judge else None
        if judge is None or rubric is None or not text:
            return None
        named = (rubric.name, rubric.version, response.key, verdict.part)
        if verdict.instead_of is not None:
            named = (*named, "instead of", verdict.instead_of)
        if judge.endpoint is None:
            return digest({BUILTIN: refusal.VERSION}, *named, "")
        if judge.label not in self._said:
            return None
        identity, how = self._said[judge.label]
        if rubric.dialogue and response.dialogue is not None:
            steps = rubric.dialogue(prompt, response.dialogue)
        else:
            steps = rubric.steps(prompt, text)
        return digest(identity, *named, asked_in(begun(steps)[0]), *how)


def said_by_rules(verdict: Verdict, response: Response) -> tuple[str, float] | None:
    """What the built-in rules say of a text: label and score; None for another judge's verdict."""
    text = response.part(verdict.part)
    if verdict.judge != BUILTIN or not text:
        return None
    opinion = refusal.classify(text)
    return opinion.label, opinion.score
