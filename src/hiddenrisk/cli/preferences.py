"""`hiddenrisk calibrate --reward`: does a reward model prefer what people prefer?

As in `cli`, what takes long to import is imported where it is needed.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hiddenrisk.cli.common import FAILED, INTERRUPTED, ask_first, plain, plain_all
from hiddenrisk.errors import UsageError

if TYPE_CHECKING:
    from hiddenrisk.calibrate_rewards import Preferences
    from hiddenrisk.cli.progress import Terminal
    from hiddenrisk.plan import Settings

DEFAULT = ("hh-harmless",)


def prefer(
    rewards: Sequence[str],
    sets: Sequence[str],
    settings: "Settings",
    limit: int | None,
    folder: Path,
    *,
    command: str,
    resume: str,
    batch_tokens: int,
    yes: bool,
) -> int:
    """Measure reward models on pairs of replies of which people prefer one.

    Returns:
        The exit code.
    """
    from hiddenrisk.calibrate_rewards import carry_out, open_preferences  # noqa: PLC0415 - see the module
    from hiddenrisk.cli.progress import Terminal, display  # noqa: PLC0415 - as above
    from hiddenrisk.label_sets.preferences import open_pairs  # noqa: PLC0415 - as above
    from hiddenrisk.preferred import failed_share  # noqa: PLC0415 - as above

    console = Terminal(stderr=True)
    pairs = [open_pairs(name, settings.data_dir) for name in sets or DEFAULT]
    wanted = open_preferences(pairs, rewards, settings, limit, command, batch_tokens=batch_tokens)
    _announce(console, wanted)
    ask_first(wanted, yes=yes)
    try:
        found = carry_out(wanted, folder, lambda tally: display(console, tally))
    except KeyboardInterrupt:
        click.echo(f"hiddenrisk: interrupted; to resume, run: {plain(resume)}", err=True)
        return INTERRUPTED
    _show(found, folder)
    share = failed_share(found)
    if share > settings.max_failures:
        click.echo(
            f"hiddenrisk: {share:.1%} of the pairs have no two scores, more than the "
            f"{settings.max_failures:.1%} allowed; see {plain(str(folder))}/rewards.jsonl. To try "
            f"those again, run: {plain(resume)}",
            err=True,
        )
        return FAILED
    return 0


def _announce(console: "Terminal", wanted: "Preferences") -> None:
    """Say what will be done, before any text is scored."""
    whom = ", ".join(r.label for r in wanted.rewards)
    for pairs in wanted.sets:
        console.print(plain(f"{pairs.title}: {len(pairs.pairs)} pairs, scored by {whom}"))
        for data in pairs.data:
            if data.warning:
                console.print(f"UNVERIFIED data: {plain(data.warning)}", style="bold yellow")
        if pairs.odd:
            told = ", ".join(f"{count} {reason}" for reason, count in pairs.odd.items())
            console.print(plain(f"Note: rows that are no pairs, left out: {told}"), style="yellow")


def _show(result: dict[str, Any], folder: Path) -> None:
    from hiddenrisk.cli.preference_tables import (  # noqa: PLC0415 - see the module
        attributes_table,
        preferences_table,
    )
    from hiddenrisk.cli.progress import Terminal  # noqa: PLC0415 - as above
    from hiddenrisk.preferred import PREFERENCES  # noqa: PLC0415 - as above

    out = Terminal()
    if not out.is_terminal:
        out.width = 160
    found = plain_all(result)["results"]
    for table in (preferences_table(found), attributes_table(found)):
        if table is not None:
            out.print(table)
    out.print(f"Calibration: {plain(str(folder / PREFERENCES))}", soft_wrap=True)


def check_alone(*, judges: object, rubric: object, words: object, attack: bool) -> None:
    """See that nothing is said of judges where a reward model is measured.

    Raises:
        UsageError: something is.
    """
    given = {"--judge": judges, "--rubric": rubric, "--labels": words, "--attack": attack}
    if other := next((name for name, value in given.items() if value), None):
        raise UsageError(
            f"{other} is of judges, and --reward of reward models; calibrate one at a time"
        )
