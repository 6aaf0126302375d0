"""The report as one HTML page that needs nothing else: no script, no network."""

from __future__ import annotations

from html import escape
from itertools import groupby

from convert.validate.check import Report
from convert.validate.report import because, describe, looked_at, verdict
from convert.validate.rule import Finding
from convert.version import VERSION
from surgery.errors import visible

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
        f"<title>weightsmith validate: {_shown(verdict(report, strict))}</title><style>{_STYLE}</style>",
        f"<h1>{_shown(verdict(report, strict))}</h1>",
        f"<p class=small>{_shown(report.path)}: {_shown(describe(report))}. weightsmith {_shown(VERSION)}</p>",
    ]
    for file, findings in groupby(report.findings, key=lambda finding: finding.file):
        parts += [f"<section><h2>{_shown(file)}</h2>", *map(_article, findings), "</section>"]
    parts += [f"<p class=small>{_shown(line)}</p>" for line in looked_at(report)]
    return "\n".join([*parts, "</html>", ""])


def _article(finding: Finding) -> str:
    ignored = f"<p class=small>ignored: {_shown(finding.ignored)}</p>" if finding.ignored else ""
    return (
        f"<article class='{finding.rule.severity}{' ignored' if finding.ignored else ''}'>"
        f"<p><b>{finding.rule.severity}</b> <code>{_shown(finding.rule.id)}</code> {_shown(finding.rule.what)}</p>"
        f"<p class=message>{_shown(finding.message)}</p><p class=small>{_shown(because(finding))}</p>"
        f"<p class=small>fix: {_shown(finding.rule.fix)}</p>{ignored}</article>"
    )


def _shown(text: str) -> str:
    """Text of others, as the page may hold it."""
    return escape(visible(text))
