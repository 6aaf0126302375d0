"""The report as one HTML page that needs nothing else: no script, no network."""

from __future__ import annotations

from html import escape
from itertools import groupby

from convert.validate.check import Report
from convert.validate.report import because, describe, looked_at, verdict
from convert.validate.rule import Finding
from convert.version import VERSION

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem }
body { color: #1c2024; background: #fff }
h1 { font-size: 1.3rem } h2 { font: 600 1rem ui-monospace, monospace; margin: 2rem 0 .5rem; overflow-wrap: anywhere }
article { border-left: 4px solid; padding: .2rem .8rem; margin: .6rem 0; background: #f6f7f8 } p { margin: .2rem 0 }
.error { border-color: #c62828 } .warning { border-color: #b26a00 } .note { border-color: #607080 }
.ignored { opacity: .6 }
.message { overflow-wrap: anywhere } .small { color: #59636e; font-size: .87rem } code { font-size: .9em }
@media (prefers-color-scheme: dark) {
  body { color: #e4e7ea; background: #15181b } article { background: #20252a } .small { color: #9aa5b1 }
}
"""


def html_page(report: Report, strict: bool = False) -> str:
    """A page with the verdict and every finding; all text from the repository is escaped."""
    parts = [
        "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'>",
        f"<title>weightsmith validate: {escape(verdict(report, strict))}</title><style>{_STYLE}</style>",
        f"<h1>{escape(verdict(report, strict))}</h1>",
        f"<p class=small>{escape(report.path)}: {escape(describe(report))}. weightsmith {escape(VERSION)}</p>",
    ]
    for file, findings in groupby(report.findings, key=lambda finding: finding.file):
        parts += [f"<section><h2>{escape(file)}</h2>", *map(_article, findings), "</section>"]
    parts += [f"<p class=small>{escape(line)}</p>" for line in looked_at(report)]
    return "\n".join([*parts, "</html>", ""])


def _article(finding: Finding) -> str:
    ignored = f"<p class=small>ignored: {escape(finding.ignored)}</p>" if finding.ignored else ""
    return (
        f"<article class='{finding.rule.severity}{' ignored' if finding.ignored else ''}'>"
        f"<p><b>{finding.rule.severity}</b> <code>{escape(finding.rule.id)}</code> {escape(finding.rule.what)}</p>"
        f"<p class=message>{escape(finding.message)}</p><p class=small>{escape(because(finding))}</p>"
        f"<p class=small>fix: {escape(finding.rule.fix)}</p>{ignored}</article>"
    )
