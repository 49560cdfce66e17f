"""The paper's questions (arXiv 2502.12659) answered from a run.

Each is put as hypotheses over models and benchmarks, tested on the prompts that both sides
share, corrected together, and answered: supported, refuted, mixed, undecided or not measured.
docs/findings.md says how, and why so.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from hiddenrisk.errors import StoreError
from hiddenrisk.findings.questions import SMALLEST, Material, findings_json, worth_asking
from hiddenrisk.opening import Opened
from hiddenrisk.records import Records, read_records
from hiddenrisk.scores import columns


def findings_in(found: Records, opened: Opened, summary: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The findings of a run that is being counted; none where it says nothing to any question.

    Args:
        found: its records.
        opened: its plan, with the judges of its headline.
        summary: its summary.json, as far as it is known.
    """
    held, roles = list(columns(opened, found)), summary["roles"]
    if not worth_asking(roles, held):
        return []
    return findings_json(
        Material(
            opened=opened,
            found=found,
            columns=held,
            roles=roles,
            harmfulness=summary["harmfulness"],
            models=summary["models"],
        )
    )


def findings_of(
    opened: Opened, folder: Path, roles: dict[str, Any], smallest: float = SMALLEST
) -> list[dict[str, Any]]:
    """The findings of a stored run under these roles; nothing is written.

    Args:
        opened: the run's plan, with the judges of its headline.
        folder: the run directory.
        roles: `reference`, and `pairs`, as summary.json has them.
        smallest: the smallest difference of rates that matters, in (0, 1).

    Raises:
        StoreError: its summary.json is not there, or cannot be read.
    """
    from hiddenrisk.harm_summary import harm_json  # noqa: PLC0415 - scipy.stats takes a while

    found = read_records(folder, [j.label for j in opened.fallbacks])
    material = Material(
        opened=opened,
        found=found,
        columns=list(columns(opened, found)),
        roles=roles,
        harmfulness=harm_json(folder, found, opened, roles),
        models=_counted(folder),
        smallest=smallest,
    )
    return findings_json(material)


def _counted(folder: Path) -> dict[str, Any]:
    """What summary.json has of the models: their corrected rates are in it."""
    try:
        found = msgspec.json.decode((folder / "summary.json").read_bytes(), type=dict[str, Any])
        return found["models"]
    except (OSError, msgspec.MsgspecError, KeyError) as error:
        raise StoreError(
            f"{folder} has no summary.json that can be read ({error}); resume the run with its own "
            "--out, or judge it again, and it is written anew"
        ) from error
