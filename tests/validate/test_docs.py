"""The documentation of the rules is made from the rules, and is as they are."""

import re
from pathlib import Path

from convert.validate.docs import main, pages
from convert.validate.rules import rules

WRITTEN = Path(__file__).resolve().parents[2] / "docs" / "rules"


def test_the_written_pages_are_those_that_the_rules_make() -> None:
    """If this fails: python -m convert.validate.docs"""
    assert {page.name: page.read_text("utf-8") for page in WRITTEN.glob("*.md")} == pages()


def test_every_rule_has_one_heading_and_one_link() -> None:
    made = pages()
    headings = re.findall(
        r"^## (\S+)$", "\n".join(text for name, text in made.items() if name != "README.md"), re.MULTILINE
    )
    assert sorted(headings) == sorted(rule.id for rule in rules())
    links = re.findall(r"\((\w+\.md)#([\w-]+)\)", made["README.md"])
    assert sorted(links) == sorted((f"{rule.group}.md", rule.id) for rule in rules())


def test_pages_of_groups_that_are_gone_are_removed(tmp_path: Path) -> None:
    (tmp_path / "gone.md").write_text("old")
    main(tmp_path)
    assert {page.name for page in tmp_path.iterdir()} == set(pages())
