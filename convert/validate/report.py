"""The report for a person: findings by file, worst first, each with its fix."""

from __future__ import annotations

from itertools import groupby

from convert.checkpoint.names import printed
from convert.validate.check import ONLY, Report
from convert.validate.rule import Finding, Rule
from surgery.errors import listed

_MARKS = {"error": "error  ", "warning": "warning", "note": "note   "}


def report_text(report: Report, strict: bool = False) -> str:
    """Everything on as few lines as it takes; a fix is told once, where it first applies."""
    lines = [f"{report.path}: {describe(report)}"]
    told: set[str] = set()
    for file, findings in groupby(report.findings, key=lambda finding: finding.file):
        lines.append(f"{printed(file)}")
        for finding in findings:
            lines.append(f"  {_MARKS[finding.rule.severity]} {finding.rule.id}: {finding.message}")
            if finding.ignored:
                lines.append(f"          ignored: {finding.ignored}")
            elif finding.rule.id not in told:
                told.add(finding.rule.id)
                lines.append(f"          {because(finding)}")
                lines.append(f"          fix: {finding.rule.fix}")
    return "\n".join([*lines, *looked_at(report), verdict(report, strict)])


def looked_at(report: Report) -> list[str]:
    """Which rules were not asked, or asked in vain, and why; with ``--only`` also those that were."""
    lines = []
    if ONLY in report.unasked:
        lines.append(f"asked: {_named(report.asked)}")
    if report.unasked:
        parts = (f"{len(found)} {'left out by' if why == ONLY else 'of'} {why}" for why, found in report.unasked.items())
        lines.append(f"not asked: {', '.join(parts)}")
    for why, found in report.unjudged.items():
        lines.append(f"could not be judged: {_named(found)}: {why}")
    return lines


def _named(found: tuple[Rule, ...]) -> str:
    return listed((rule.id for rule in found), 40)


def describe(report: Report) -> str:
    """What kind of repository it is, and how it was looked at."""
    kinds = {"model": "a model", "adapter": "an adapter", "meta": "Meta's model files", "single": "a single torch file"}
    family = f" of the family {report.family}" if report.family else ""
    depth = "every byte read" if report.deep else "headers only"
    programs = f", for {', '.join(report.consumers)}" if report.consumers else ""
    return f"{kinds[report.kind]}{family}; {len(report.asked)} rules, {depth}{programs}"


def because(finding: Finding) -> str:
    """Why a rule matters; of a program, also how that is known."""
    proof = {"executed": " [executed here]", "read": " [read in its source]"}.get(finding.rule.proof or "", "")
    return f"{finding.rule.why}{proof}"


def verdict(report: Report, strict: bool) -> str:
    """One line: whether it may be published; "ready" is said only where all rules that apply were asked and judged."""
    counts = report.counts
    told = [f"{counts[s]} {s}{'s' if counts[s] != 1 else ''}" for s in ("error", "warning", "note") if counts.get(s)]
    ignored = sum(bool(finding.ignored) for finding in report.findings)
    told += [f"{ignored} ignored"] if ignored else []
    word = "ready to publish" if report.passed(strict) else "not ready to publish"
    if report.passed(strict) and not report.whole:
        vain = sum(map(len, report.unjudged.values()))
        every = len(report.asked) + sum(map(len, report.unasked.values()))
        word = f"{len(report.asked)} of {every} rules asked{f', {vain} in vain' if vain else ''}"
    return f"{word}{' (strict)' if strict else ''}: {', '.join(told) or 'no findings'}"
