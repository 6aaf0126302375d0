"""The rules' documentation, made from the rules themselves: `python -m convert.validate.docs [FOLDER]`."""

from __future__ import annotations

import sys
from itertools import groupby
from pathlib import Path

from convert.validate.repair import MENDED
from convert.validate.rule import Rule
from convert.validate.rules import rules

_HEAD = """# Rules of `weightsmith validate`

Made from the rules by `python -m convert.validate.docs`; do not edit. {count} rules. Errors make the command exit with
status 5, warnings only with `--strict`; `--only` and `--ignore` take the names below, `--only` also those of groups.

In a workflow of GitHub, so that findings show beside the files (`--sarif` and `--html` name new files outside the directory, into
which nothing is written; `--overwrite` lets them replace a file):

```yaml
- run: pip install weightsmith
- run: weightsmith validate . --strict --sarif ../weightsmith.sarif
- uses: github/codeql-action/upload-sarif@v3
  if: always()
  with:
    sarif_file: ../weightsmith.sarif
```

Before every commit, in `.pre-commit-config.yaml`:

```yaml
- repo: local
  hooks:
    - id: weightsmith
      name: weightsmith validate
      entry: weightsmith validate .
      language: python
      additional_dependencies: [weightsmith]
      pass_filenames: false
      always_run: true
```
"""


def pages() -> dict[str, str]:
    """Every page by its name: an index, and one page a group in which every rule has its heading."""
    grouped = {group: tuple(found) for group, found in groupby(rules(), key=lambda rule: rule.group)}
    index = [_HEAD.format(count=len(rules()))]
    for group, found in grouped.items():
        index += [f"\n## [{group}]({group}.md)\n", "| rule | severity | what |", "|---|---|---|"]
        index += [f"| [{r.id}]({group}.md#{r.id}) | {r.severity} | {_cell(r.what)} |" for r in found]
    made = {f"{group}.md": _page(group, found) for group, found in grouped.items()}
    return {"README.md": "\n".join(index) + "\n", **made}


def _page(group: str, found: tuple[Rule, ...]) -> str:
    parts = [f"# Group `{group}`\n", f"{_purpose(found[0])}\n"]
    for rule in found:
        parts += [
            f"## {rule.id}\n",
            f"*{rule.severity}*{_when(rule)}\n",
            f"- **What**: {rule.what}",
            f"- **Why**: {rule.why}",
        ]
        parts += [f"- **Fix**: {rule.fix}", f"- **Source**: {rule.source}\n"]
    return "\n".join(parts)


def _purpose(rule: Rule) -> str:
    module = sys.modules[rule.check.__module__]
    return (module.__doc__ or "").strip()


def _when(rule: Rule) -> str:
    told = []
    if rule.deep:
        told.append("with `--deep`")
    if rule.consumer:
        proof = "executed here" if rule.proof == "executed" else "read in its source"
        told.append(f"with `--for {rule.consumer}` ({proof})")
    if rule.id in MENDED:
        told.append("mended by `--fix`")
    return f", {', '.join(told)}" if told else ""


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def main(folder: Path) -> None:
    """Write all pages, and remove those of groups that are gone."""
    folder.mkdir(parents=True, exist_ok=True)
    made = pages()
    for stale in folder.glob("*.md"):
        if stale.name not in made:
            stale.unlink()
    for name, text in made.items():
        (folder / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "docs/rules"))
