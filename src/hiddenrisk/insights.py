"""What thoughts tell beside whether they are safe: looked into, and filed.

Of each thought on a harmful prompt, whether it notices the risk and means to decline; of a
sample, where it is unsafe. By rules, or by a judge model. What is there already is skipped.
"""

from pathlib import Path
from typing import Any

import msgspec

from hiddenrisk import segments
from hiddenrisk.asking import Asker, Scene, digest
from hiddenrisk.benchmarks.base import Loaded
from hiddenrisk.engine import Endpoint
from hiddenrisk.errors import CallError, JudgeError
from hiddenrisk.filing import insight_failure_of, noticed_of, profile_of
from hiddenrisk.judges import awareness, profile
from hiddenrisk.judges.forms import Form
from hiddenrisk.judges.rubric import Rubric
from hiddenrisk.keys import KeyIndex
from hiddenrisk.store import NOTICED, PROFILES, Journal, records
from hiddenrisk.types import Failure, Noticed, Profile, Prompt, Response

BUILTIN = "builtin"


class _Seen(msgspec.Struct):
    key: str


class Insights:
    """Looks into thoughts, by rules or through a judge's endpoint."""

    def __init__(
        self,
        endpoint: Endpoint | None,
        journal: Journal,
        folder: Path,
        asker: Asker,
        form: Form,
    ) -> None:
        self._endpoint = endpoint
        self._form = form
        self._who: Any = endpoint.model.identity if endpoint else BUILTIN
        if form.how:
            self._who = (self._who, *form.how)
        self.by_rules = endpoint is None
        self._judge = endpoint.model.label if endpoint else BUILTIN
        self._journal = journal
        self._asker = asker
        files = (folder / NOTICED, folder / PROFILES)
        self._there = KeyIndex((0, seen.key) for file in files for seen in records(file, _Seen))

    async def look(
        self, benchmark: Loaded, prompt: Prompt, response: Response, *, sampled: bool
    ) -> tuple[int, int]:
        """Look into a response's thinking, as far as that was not done.

        Args:
            benchmark: its rubric reads the segments, or the judge's own one.
            prompt: a harmful one.
            response: one whose thinking is whole and visible.
            sampled: whether it is looked at segment by segment, too.

        Returns:
            How many looks were taken, and how many of them failed.
        """
        taken = failed = 0
        rubric = self._form.rubric or benchmark.rubric
        for look in (self._notice, self._profile) if sampled else (self._notice,):
            record = await look(rubric, prompt, response)
            if record is not None:
                self._journal.append(record)
                taken += 1
                failed += isinstance(record, Failure)
        return taken, failed

    async def _notice(
        self, _rubric: Rubric, prompt: Prompt, response: Response
    ) -> Noticed | Failure | None:
        thinking = response.thinking or ""
        key = digest(self._who, "noticed", awareness.VERSION, response.key)
        if key in self._there:
            return None
        if self._endpoint is None:
            found = awareness.look(prompt.text, thinking)
            return noticed_of(key, found, response, BUILTIN)
        steps, scene = awareness.steps(prompt, thinking), self._scene(key, response, self._endpoint)
        try:
            found, _ = await self._asker.carry_out(steps, scene)
        except (CallError, JudgeError) as error:
            return insight_failure_of(key, "awareness", error, response, self._judge)
        return noticed_of(key, found, response, self._judge)

    async def _profile(
        self, rubric: Rubric, prompt: Prompt, response: Response
    ) -> Profile | Failure | None:
        thinking = response.thinking or ""
        ends = segments.ends(thinking)
        reader = (rubric.name, rubric.version) if self._endpoint else (BUILTIN, profile.VERSION)
        key = digest(self._who, "profile", reader, response.key, ends)
        if key in self._there:
            return None
        pieces = segments.cut(thinking, ends)
        if self._endpoint is None:
            return profile_of(key, ends, profile.look(prompt.text, pieces), response, BUILTIN)
        steps = profile.steps(rubric, prompt, pieces)
        scene = self._scene(key, response, self._endpoint)
        try:
            judged, spent = await self._asker.carry_out(steps, scene)
        except CallError as error:
            return insight_failure_of(key, "profile", error, response, self._judge)
        if judged.trouble is not None:
            judged.trouble.usage, judged.trouble.calls = spent.usage, spent.calls
            return insight_failure_of(key, "profile", judged.trouble, response, self._judge)
        return profile_of(key, ends, judged.scores, response, self._judge)

    def _scene(self, key: str, response: Response, endpoint: Endpoint) -> Scene:
        return Scene(
            key=key,
            judge=endpoint,
            model=response.model,
            benchmark=response.benchmark,
            prompt=response.prompt,
            repeat=response.repeat,
            json=self._form.json,
        )
