"""A card's YAML is what the Hub reads, and stays what it was in every card that is made or mended from it."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml

from convert.card import Wishes, make_card, write_card
from convert.validate.card_text import block, read_card
from convert.validate.check import validate
from tests.validate.repository import changed
from tests.validate.test_card import no_card

#: as it stands in a card -> what the Hub's js-yaml 4.1 reads, what PyYAML reads of the card that is made
SCALARS: dict[str, tuple[Any, Any]] = {
    **{word: (word, word) for word in (
        "no", "No", "NO", "yes", "Yes", "YES", "on", "On", "ON", "off", "Off", "OFF", "y", "n", "Y", "N", "nUll", "tRue", "en",
        "zh", "1:30", "190:20:30.15", "1e", "=", "<", "0o8", "0b2", "1.2.3", "1__a", "v1.0", ".", "..", "_1", "+", "0x",
    )},
    "true": (True, True), "True": (True, True), "TRUE": (True, True), "false": (False, False), "null": (None, None),
    "~": (None, None), "Null": (None, None), "1": (1, 1), "-7": (-7, -7), "1_000": (1000, 1000), "0x1F": (31, 31),
    "0b101": (5, 5), "0o17": (15, "0o17"), "0123": (123, 83), "08": (8, "08"), "1e3": (1000.0, "1e3"), "1.5e3": (1500.0, "1.5e3"),
    "1.5e+3": (1500.0, 1500.0), "1.5": (1.5, 1.5), "-.inf": (float("-inf"), float("-inf")), ".5": (0.5, 0.5), "1.": (1.0, 1.0),
    "2024-07-26": (yaml.safe_load("2024-07-26"), yaml.safe_load("2024-07-26")),
    "2001-12-14 21:59:43.10 -5": (yaml.safe_load("2001-12-14 21:59:43.10 -5"), yaml.safe_load("2001-12-14 21:59:43.10 -5")),
    "'no'": ("no", "no"), '"1e3"': ("1e3", "1e3"), "'0123'": ("0123", "0123"), "'2024-07-26'": ("2024-07-26", "2024-07-26"),
    "'null'": ("null", "null"), '"true"': ("true", "true"), "''": ("", ""), "'~'": ("~", "~"), "'0o17'": ("0o17", "0o17"),
    '"a\\nb"': ("a\nb", "a\nb"), "'# x'": ("# x", "# x"), "'a: b'": ("a: b", "a: b"), "!!str no": ("no", "no"),
    "灯塔": ("灯塔", "灯塔"), "C++ é": ("C++ é", "C++ é"),
}  # fmt: skip


def python(text: str) -> dict[str, Any]:
    """The block as PyYAML reads it, which YAML 1.1 is the measure of."""
    found: dict[str, Any] = yaml.safe_load(text.split("\n---\n")[0].removeprefix("---\n"))
    return found


@pytest.mark.parametrize("text", SCALARS)
def test_a_scalar_is_read_as_the_hub_reads_it_and_written_so_that_it_stays(text: str, tmp_path: Path) -> None:
    hub, theirs = SCALARS[text]
    stood = f"---\nlicense: mit\nlanguage: [en, {text}]\nown: {text}\nlist:\n- {text}\n- k: {text}\n---\n# Name\n"
    card = read_card(stood)
    assert not card.fault
    for value in (card.data["own"], card.data["list"][0], card.data["language"][1]):
        assert (value, type(value)) == (hub, type(hub))
    source = changed([no_card]).write(tmp_path / "source")
    out = changed([no_card]).write(tmp_path / "out")
    (source / "README.md").write_text(stood, encoding="utf-8")
    (out / "README.md").write_text(stood.replace("language", "other"), encoding="utf-8")
    for _ in range(2):
        write_card(out, make_card(source, out))
        made = (out / "README.md").read_text(encoding="utf-8")
        again = read_card(made)
        assert (again.data["own"], again.data["list"], again.data["language"]) == (hub, [hub, {"k": hub}], ["en", hub])
        found = python(made)
        assert (found["own"], found["list"], found["language"]) == (theirs, [theirs, {"k": theirs}], ["en", theirs])


def test_keys_anchors_and_merges_stay(tmp_path: Path) -> None:
    card = read_card("---\nno: 1\nbase: &b {x: yes}\nmore: {<<: *b, y: 2}\nagain: *b\n'1': one\n---\n")
    assert card.data == {"no": 1, "base": {"x": "yes"}, "more": {"x": "yes", "y": 2}, "again": {"x": "yes"}, "1": "one"}
    text = block(card.data, card)
    assert yaml.safe_load(text) == card.data == read_card(f"---\n{text}\n---\n").data


def test_what_the_user_says_is_quoted_where_it_would_be_misread(tmp_path: Path) -> None:
    source, out = (changed([no_card]).write(tmp_path / name) for name in ("source", "out"))
    made = make_card(source, out, Wishes(languages=("no", "en"), licence="mit"))
    assert python(made.text)["language"] == read_card(made.text).data["language"] == ["no", "en"]


@pytest.mark.parametrize("text", [
    "---\nlicense: mit\n# My model\n\nWords that I wrote.\n",
    "---\n# My model\n\nWords.\n",
    "---\n",
    "\n\n---\nlicense: mit\n\nWords.\n\n## More\n\n| a | b |\n|---|---|\n| 1 | 2 |\n",
    "---\n# A heading between two rules\n\n---\n\nWords below.\n",
    "---\r\nlicense: mit\r\n# My model\r\n\r\nWords.\r\n",
    "no block at all\n\n---\n\nwords\n",
    "--- \nlicense: mit\n--\nWords\n",
    "# Title\n\n---\nlicense: mit\n---\nwords\n",
])  # fmt: skip
def test_a_block_that_never_closes_costs_none_of_the_users_text(text: str, tmp_path: Path) -> None:
    source, out = (changed([no_card]).write(tmp_path / name) for name in ("source", "out"))
    (out / "README.md").write_bytes(text.encode())
    first = None
    for _ in range(3):
        write_card(out, make_card(source, out))
        made = (out / "README.md").read_bytes().decode()
        assert text.strip() in made
        first = first or made
        assert made == first
    assert read_card(made).has_block and not read_card(made).fault


def test_a_block_without_an_end_is_told(tmp_path: Path) -> None:
    source, out = (changed([no_card]).write(tmp_path / name) for name in ("source", "out"))
    (out / "README.md").write_text("---\nlicense: mit\n# My model\n")
    assert any("has no second one" in note for note in make_card(source, out).notes)


def test_a_repair_keeps_what_the_block_says(tmp_path: Path) -> None:
    from convert.validate.repair import repairs
    from convert.validate.subject import Subject

    out = changed([no_card]).write(tmp_path / "out")
    (out / "README.md").write_text("---\nlicense: mit\nlanguage: [no, en]\nscore: 1e3\n---\n# Name\n")
    broken = {finding.rule.id for finding in validate(out).findings}
    (mended,) = [one for one in repairs(Subject(out), broken) if getattr(one, "file", "") == "README.md"]
    text = mended.after  # type: ignore[attr-defined]
    assert "language: ['no', en]" in text and "score: 1e3" in text and "library_name: transformers" in text


@pytest.mark.parametrize(
    "text",
    [
        "a: &a [x, x]\n" + "".join(f"{b}: &{b} [*{a}, *{a}, *{a}, *{a}]\n" for a, b in pairwise("abcdefghijklmnop")),
        "a: &a\n  - *a\n",
        "a: " + "[" * 100_000,
        "m0: &m0 {" + ", ".join(f"k{n}: 1" for n in range(500)) + "}\n"
        + "\n".join(f"m{n}: &m{n} {{<<: *m{n - 1}}}" for n in range(1, 500)),
        "a: 0x" + "f" * 100_000,
        "a: " + "9" * 100_000,
    ],
    ids=["laughs", "cycle", "depth", "merges", "hexadecimal", "digits"],
)  # fmt: skip
def test_a_block_that_stands_for_more_than_it_says_is_a_finding(text: str, tmp_path: Path) -> None:
    card = read_card(f"---\n{text}\n---\n")
    assert card.present and card.data == {} and card.fault
