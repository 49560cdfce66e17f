"""What pipelines read of a gate: JUnit XML, and SARIF with a rule for each risk category.

Both name benchmarks, categories and numbers, and hold no text of a prompt or a response.
Names come from data files: what XML or SARIF reads as a sign of its own is taken out.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote
from xml.etree import ElementTree as ET

from hiddenrisk import __version__
from hiddenrisk.asking import digest
from hiddenrisk.gate.checks import Check

_SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"
_NOT_XML = re.compile(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""What XML 1.0 has no way to write, not even as a reference (its production 2)."""
_MARKS = str.maketrans({"[": "(", "]": ")", "{": "(", "}": ")"})
"""Links and placeholders of a SARIF message."""
_LEVELS = {"failed": "error", "undecided": "warning", "skipped": "none"}


def junit(checks: Sequence[Check]) -> str:
    """A JUnit file: a suite for each benchmark, a case for each check.

    Undecided is a failure of the type "undecided"; what a rule lets through is skipped.
    """
    root = ET.Element("testsuites", {"name": "hiddenrisk gate"} | _counts(checks))
    for benchmark in dict.fromkeys(check.benchmark for check in checks):
        cases = [check for check in checks if check.benchmark == benchmark]
        suite = ET.SubElement(root, "testsuite", {"name": _xml(benchmark)} | _counts(cases))
        for check in cases:
            _case(suite, check)
    ET.indent(root)
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{ET.tostring(root, encoding="unicode")}\n'


def _counts(checks: Sequence[Check]) -> dict[str, str]:
    failures = sum(not check.holds for check in checks)
    skipped = sum(check.status == "skipped" for check in checks)
    counts = {"tests": len(checks), "failures": failures, "errors": 0, "skipped": skipped}
    return {name: str(count) for name, count in counts.items()} | {"time": "0"}


def _case(suite: ET.Element, check: Check) -> None:
    case = ET.SubElement(
        suite,
        "testcase",
        classname=_xml(f"{check.model}.{check.rule}"),
        name=_xml(named(check)),
        time="0",
    )
    message = _xml(f"{check.message}; against {check.baseline}")
    if not check.holds:
        ET.SubElement(case, "failure", type=check.status, message=message).text = message
    elif check.status == "skipped":
        ET.SubElement(case, "skipped", message=message)
    else:
        ET.SubElement(case, "system-out").text = message


def named(check: Check) -> str:
    """`answer, Security Risks > Confidentiality: not_worse`."""
    where = [check.part.value if check.part else "", check.category or "all"]
    over = " (over-refusal)" if check.metric == "over_refusal_rate" else ""
    return f"{', '.join(filter(None, where))}: {check.kind.replace('_', ' ')}{over}"


def _xml(text: str) -> str:
    return _NOT_XML.sub("", text)


def sarif(checks: Sequence[Check], run: Path) -> dict[str, Any]:
    """A SARIF 2.1.0 log: a result for each check that does not pass, a rule for its category.

    Args:
        checks: all of them.
        run: the gated run, whose summary the results point to.
    """
    open_ = [check for check in checks if check.status != "passed"]
    risks = list(dict.fromkeys(_risk(check) for check in checks))
    return {
        "$schema": _SCHEMA,
        "version": "2.1.0",
        "runs": [
            {
                "tool": {
                    "driver": {
                        "name": "hiddenrisk",
                        "version": __version__,
                        "rules": [_rule(risk) for risk in risks],
                    }
                },
                "columnKind": "unicodeCodePoints",
                "results": [_result(check, risks, run) for check in open_],
            }
        ],
    }


def _risk(check: Check) -> str:
    """Benchmark and category: the rule that a result is of."""
    return f"{check.benchmark}/{check.category}" if check.category else check.benchmark


def _rule(risk: str) -> dict[str, Any]:
    text = _sarif(risk)
    return {"id": text, "shortDescription": {"text": f"Safety on {text}"}}


def _result(check: Check, risks: Sequence[str], run: Path) -> dict[str, Any]:
    risk = _risk(check)
    # A result that is let through is no finding: SARIF has it open, and without a level.
    kind = "open" if check.status == "skipped" else "fail"
    same = [check.model, risk, str(check.part), str(check.metric), check.kind]
    return {
        "ruleId": _sarif(risk),
        "ruleIndex": risks.index(risk),
        "kind": kind,
        "level": _LEVELS[check.status],
        "message": {"text": _sarif(f"{check.model}, {named(check)}: {check.message}")},
        "locations": [
            {
                "physicalLocation": {
                    "artifactLocation": {"uri": _uri(run / "summary.json")},
                    "region": {"startLine": 1},
                },
                "logicalLocations": [{"fullyQualifiedName": _sarif(f"{check.model}/{risk}")}],
            }
        ],
        "partialFingerprints": {"check/v1": digest(*map(_sarif, same))},
    }


def _sarif(text: str) -> str:
    return "".join(c if c.isprintable() else " " for c in text).translate(_MARKS)


def _uri(path: Path) -> str:
    text = quote(path.as_posix(), safe="/")
    return f"file://{text}" if path.is_absolute() else text
