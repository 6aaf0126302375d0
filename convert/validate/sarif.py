"""The report as SARIF 2.1.0, which code hosts show beside the files."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from convert.validate.check import Report
from convert.validate.report import looked_at
from convert.validate.rule import Finding, Rule
from convert.version import VERSION

SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"


def sarif(report: Report) -> dict[str, Any]:
    """One run with every rule that was asked and every finding; ignored ones are suppressed with their reason."""
    places = {rule.id: place for place, rule in enumerate(report.asked)}
    driver = {"name": "weightsmith", "version": VERSION, "rules": [_rule(rule) for rule in report.asked]}
    return {
        "$schema": SCHEMA,
        "version": "2.1.0",
        "runs": [
            {
                "tool": {"driver": driver},
                "results": [_result(finding, places[finding.rule.id]) for finding in report.findings],
                "columnKind": "unicodeCodePoints",
                "properties": {"lookedAt": looked_at(report)},
            }
        ],
    }


def _rule(rule: Rule) -> dict[str, Any]:
    return {
        "id": rule.id,
        "shortDescription": {"text": rule.what},
        "fullDescription": {"text": f"{rule.what}: {rule.why}"},
        "help": {"text": f"{rule.fix}. Source: {rule.source}"},
        "defaultConfiguration": {"level": rule.severity},
        "properties": {"tags": [rule.group, *([rule.consumer] if rule.consumer else [])]},
    }


def _result(finding: Finding, place: int) -> dict[str, Any]:
    suppressed = [{"kind": "external", "justification": finding.ignored}] if finding.ignored else []
    return {
        "ruleId": finding.rule.id,
        "ruleIndex": place,
        "level": finding.rule.severity,
        "message": {"text": f"{finding.message}. {finding.rule.why}. Fix: {finding.rule.fix}"},
        "locations": [{"physicalLocation": {"artifactLocation": {"uri": quote(finding.file)}}}],
        **({"suppressions": suppressed} if suppressed else {}),
    }
