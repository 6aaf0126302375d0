"""``convert validate`` and ``convert card``."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from convert.cli.options import debug_option, json_option, variant_option
from convert.cli.places import command, overwrite_option, write_beside
from convert.cli.running import emit, note
from surgery.errors import UsageError, VerificationFailed, show

if TYPE_CHECKING:
    from convert.validate.check import Report


def _names(context: click.Context, option: click.Parameter, value: str) -> tuple[str, ...]:
    """Several names between commas."""
    return tuple(part.strip() for part in value.split(",") if part.strip())


def _reasons(context: click.Context, option: click.Parameter, value: tuple[str, ...]) -> dict[str, str]:
    """RULE=REASON: rules whose findings shall not count, and why."""
    found = {}
    for one in value:
        rule, _, reason = one.partition("=")
        if not reason.strip():
            told = f"{one!r} gives no reason; write RULE=REASON, e.g. e-mail='our public contact'."
            raise click.BadParameter(told, context, option)
        found[rule] = reason.strip()
    return found


@command("validate")
@click.argument("directory", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option(
    "--for", "consumers", callback=_names, default="", help="transformers, transformers-4, vllm, llama.cpp, mlx."
)
@click.option("--deep", is_flag=True, help="Read every byte: NaN, constant rows, duplicates, hashes.")
@click.option("--sha256", is_flag=True, help="With --deep: SHA-256 of every weight file, as the Hub has it.")
@click.option("--strict", is_flag=True, help="Warnings fail too.")
@click.option("--only", callback=_names, default="", help="Rules or groups of rules.")
@click.option(
    "--ignore",
    callback=_reasons,
    multiple=True,
    metavar="RULE=REASON",
    help="Do not count a rule; the reason is recorded.",
)
@click.option(
    "--name", default="", metavar="ORG/NAME", help="The repository's name on the Hub, which licences have a say in."
)
@click.option("--fix", is_flag=True, help="Mend what is mechanical; the changes are shown first.")
@click.option("--dry-run", is_flag=True, help="With --fix: show the changes and write nothing.")
@click.option(
    "--sarif", "sarif_file", type=click.Path(dir_okay=False, path_type=Path), help="Write SARIF 2.1.0 for CI."
)
@click.option("--html", "html_file", type=click.Path(dir_okay=False, path_type=Path), help="Write one HTML page.")
@overwrite_option
@json_option
@debug_option
def validate_(
    directory: Path, consumers: tuple[str, ...], deep: bool, sha256: bool, strict: bool, only: tuple[str, ...],
    ignore: dict[str, str], name: str, fix: bool, dry_run: bool, sarif_file: Path | None,
    html_file: Path | None, overwrite: bool, as_json: bool, debug: bool,
) -> None:  # fmt: skip
    """Say everything about DIRECTORY that would embarrass whoever publishes it, with the rule, the reason and the fix.

    Exit status 5 when there are errors (with --strict, warnings too).
    """
    from convert.validate.report import report_text

    if sha256 and not deep:
        raise UsageError("--sha256 hashes what --deep reads; give both.")
    if dry_run and not fix:
        raise UsageError("--dry-run shows what --fix would change; give both.")

    def look() -> Report:
        return _validate(directory, consumers, only, ignore, deep, sha256, name)

    report = look()
    if fix and _mend(directory, report, dry_run):
        report = look()
    if sarif_file is not None:
        from convert.validate.sarif import sarif

        write_beside("sarif_file", json.dumps(sarif(report), indent=1, ensure_ascii=True) + "\n")
    if html_file is not None:
        from convert.validate.html_page import html_page

        write_beside("html_file", html_page(report, strict))
    emit(
        report_text(report, strict),
        as_json,
        lambda: {**report.to_json(), "passed": report.passed(strict), "strict": strict},
    )
    if not report.passed(strict):
        raise VerificationFailed(f"{report.path} is not ready to publish; see the findings above.")


def _validate(
    directory: Path,
    consumers: tuple[str, ...],
    only: tuple[str, ...],
    ignore: dict[str, str],
    deep: bool,
    sha256: bool,
    name: str,
) -> Report:
    from convert.validate.check import validate

    options: dict[str, Any] = {
        "consumers": consumers,
        "only": only,
        "ignore": ignore,
        "deep": deep,
        "sha256": sha256,
        "name": name,
    }
    if not deep:
        return validate(directory, **options)
    from convert.cli.progress import Bar
    from convert.validate.subject import Subject

    total = sum(file.size for file in Subject(directory).weights.files.values())
    with Bar(max(total, 1)) as bar:
        return validate(directory, progress=bar, **options)


def _mend(directory: Path, report: Report, dry_run: bool) -> bool:
    """Show the repairs on stderr and write them; False when there is nothing to write."""
    from convert.validate.repair import apply, repairs
    from convert.validate.subject import Subject

    subject = Subject(directory)
    found = repairs(subject, {finding.rule.id for finding in report.findings if not finding.ignored})
    for repair in found:
        click.echo(repair.shown(), err=True, nl=False)
    if not found:
        note("nothing that --fix can mend")
    elif not dry_run:
        apply(subject, found)
    return bool(found) and not dry_run


@command("card")
@click.argument("src")
@click.argument("out", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--license", "licence", help="Licence id of the Hub, where the source's card has none.")
@click.option("--license-name", "licence_name", help="Its name, where the id is other.")
@click.option("--license-link", "licence_link", help="A file of OUT or a page with its terms.")
@click.option("--base-model", help="org/name of the source, where SRC is only a directory.")
@click.option(
    "--language", "languages", multiple=True, metavar="CODE", help="Language code; may be given several times."
)
@click.option("--name", default="", help="The model's name, for the title.")
@click.option("--dry-run", is_flag=True, help="Print the card and write nothing.")
@variant_option
@json_option
@debug_option
def card_(
    src: str, out: Path, licence: str | None, licence_name: str | None, licence_link: str | None,
    base_model: str | None, languages: tuple[str, ...], name: str, dry_run: bool, variant: str | None,
    as_json: bool, debug: bool,
) -> None:  # fmt: skip
    """Write or complete OUT/README.md from facts about SRC and OUT; what you wrote there yourself is kept."""
    from convert.card import Wishes, make_card, write_card

    if not dry_run and os.path.exists(src) and os.path.samefile(src, out):
        raise UsageError(f"OUT is SRC ({show(src)}), whose card would be replaced. A source is never written to; name an output.")
    wishes = Wishes(licence, licence_name, licence_link, base_model, languages, name, variant)
    made = make_card(src, out, wishes)
    if not dry_run:
        write_card(out, made)
    for line in made.notes:
        note(line)
    emit(
        made.text if dry_run else f"written: {out / 'README.md'}",
        as_json,
        lambda: {"text": made.text, "notes": list(made.notes)},
    )
