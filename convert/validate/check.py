"""All rules put to a repository, and the verdict."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from convert.validate.rule import CONSUMERS, Finding, Rule, Severity
from convert.validate.rules import GROUPS, rules
from convert.validate.subject import Subject
from surgery.errors import UsageError, listed, show

ONLY = "--only"
_ORDER: Mapping[Severity, int] = {"error": 0, "warning": 1, "note": 2}


@dataclass(frozen=True)
class Report:
    """What validation found. ``findings`` are in the order of files, worst first; ignored ones are among them."""

    path: str
    kind: str
    family: str | None
    findings: tuple[Finding, ...]
    asked: tuple[Rule, ...]
    deep: bool
    consumers: tuple[str, ...]
    hashes: Mapping[str, str] = field(default_factory=dict)
    sha256: Mapping[str, str] = field(default_factory=dict)
    unasked: Mapping[str, tuple[Rule, ...]] = field(default_factory=dict)  # by what would ask them
    unjudged: Mapping[str, tuple[Rule, ...]] = field(default_factory=dict)  # asked in vain, by what was in the way

    @property
    def whole(self) -> bool:
        """Whether every rule that applies at this depth, for these programs, was asked and could be judged."""
        return ONLY not in self.unasked and not self.unjudged

    @property
    def counts(self) -> Mapping[str, int]:
        """How many findings of each severity count."""
        return Counter(finding.rule.severity for finding in self.findings if not finding.ignored)

    def passed(self, strict: bool = False) -> bool:
        """Whether nothing forbids publishing: no error, and with ``strict`` no warning."""
        return not self.counts.get("error", 0) and not (strict and self.counts.get("warning", 0))

    def to_json(self) -> dict[str, Any]:
        return {
            "path": self.path,
            "kind": self.kind,
            "family": self.family,
            "deep": self.deep,
            "consumers": list(self.consumers),
            "passed": self.passed(),
            "counts": {severity: self.counts.get(severity, 0) for severity in _ORDER},
            "ready": self.passed() and self.whole,
            "rules_asked": len(self.asked),
            "rules_not_asked": {why: [rule.id for rule in found] for why, found in self.unasked.items()},
            "rules_not_judged": {why: [rule.id for rule in found] for why, found in self.unjudged.items()},
            "findings": [
                {
                    "rule": finding.rule.id,
                    "group": finding.rule.group,
                    "severity": finding.rule.severity,
                    "file": finding.file,
                    "message": finding.message,
                    "fix": finding.rule.fix,
                    **({"tensor": finding.tensor} if finding.tensor else {}),
                    **({"ignored": finding.ignored} if finding.ignored else {}),
                    **({"proof": finding.rule.proof} if finding.rule.proof else {}),
                }
                for finding in self.findings
            ],
            **({"xxh3_128": dict(self.hashes)} if self.hashes else {}),
            **({"sha256": dict(self.sha256)} if self.sha256 else {}),
        }


def validate(
    path: str | Path,
    *,
    consumers: Iterable[str] = (),
    only: Iterable[str] = (),
    ignore: Mapping[str, str] | None = None,
    deep: bool = False,
    sha256: bool = False,
    name: str = "",
    progress: Callable[[int, str], None] | None = None,
) -> Report:
    """Put the rules to the repository at ``path``; never raises for what it holds.

    ``only`` are ids or groups of rules; ``ignore`` maps ids to the reason why a finding does not count; ``consumers``
    are of ``CONSUMERS``; ``deep`` reads every byte of the weights, ``sha256`` hashes them on the way; ``name`` is the
    repository's id on the Hub, where that is known.
    """
    asked_for, ignored = frozenset(consumers), dict(ignore or {})
    _known("--for", asked_for, CONSUMERS)
    _known("--ignore", ignored, [rule.id for rule in rules()])
    only = frozenset(only)
    asked = tuple(_asked(only, asked_for, deep))
    subject = Subject(path, consumers=asked_for, name=name)
    if deep:
        from convert.validate.scan import scan

        subject.scan = scan(subject.weights, sha256=sha256, progress=progress)
    findings = sorted(
        (
            Finding(rule, found.file, found.message, found.tensor, ignored.get(rule.id, ""))
            for rule in asked
            for found in rule.check(subject)
        ),
        key=lambda finding: (finding.file, _ORDER[finding.rule.severity], bool(finding.ignored)),
    )
    family = subject.expected.family
    return Report(
        path=str(subject.path),
        kind=subject.kind,
        family=family.label if family is not None else None,
        findings=tuple(findings),
        asked=asked,
        deep=deep,
        consumers=tuple(one for one in CONSUMERS if one in asked_for),
        hashes=subject.scan.hashes if subject.scan is not None else {},
        sha256=subject.scan.sha256 if subject.scan is not None else {},
        unasked=_grouped((_not_asked(rule, only), rule) for rule in rules() if rule not in asked),
        unjudged=_grouped((subject.lacks(rule.needs), rule) for rule in asked if rule.needs is not None),
    )


def _not_asked(rule: Rule, only: frozenset[str]) -> str:
    """What would have had a rule asked."""
    if only and not {rule.id, rule.group} & only:
        return ONLY
    return "--deep" if rule.deep else f"--for {rule.consumer}"


def _grouped(found: Iterable[tuple[str, Rule]]) -> dict[str, tuple[Rule, ...]]:
    """Rules by their reason; those without one are left out."""
    groups: dict[str, tuple[Rule, ...]] = {}
    for why, rule in found:
        if why:
            groups[why] = (*groups.get(why, ()), rule)
    return groups


def _asked(only: frozenset[str], consumers: frozenset[str], deep: bool) -> Iterator[Rule]:
    _known("--only", only, [*GROUPS, *(rule.id for rule in rules())])
    for rule in rules():
        wanted = not only or rule.id in only or rule.group in only
        if wanted and (deep or not rule.deep) and (not rule.consumer or rule.consumer in consumers):
            yield rule


def _known(option: str, given: Iterable[str], known: Iterable[str]) -> None:
    known = list(known)
    for name in given:
        if name not in known:
            near = get_close_matches(name, known, 3)
            meant = f" Did you mean {listed(near)}?" if near else f" Known are {listed(known, 20)}."
            raise UsageError(f"{option} {show(name)}: there is no such rule, group or program.{meant}")
