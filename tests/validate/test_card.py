"""Cards from facts: what is said, where it comes from, and that the user's own words stay."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from convert.card import Wishes, make_card, write_card
from convert.checkpoint import open_checkpoint
from convert.prepare import plan_conversion
from convert.validate.card_text import read_card
from convert.validate.check import validate
from surgery.errors import ConversionError
from tests.goldens import golden
from tests.trained.checkpoints import size_of, widened
from tests.trained.kinds import kind
from tests.validate.changes import card, config, file, manifest
from tests.validate.repository import Change, Repository, changed
from tests.writing import write


def no_card(made: Repository) -> None:
    made.card = None


@pytest.fixture
def source(tmp_path: Path) -> Path:
    told = {"license": "other", "license_name": "their-terms", "license_link": "LICENSE", "base_model": "org/older"}
    return changed([card(**told)]).write(tmp_path / "source")


def out_of(tmp_path: Path, *changes: Change) -> Path:
    return changed(changes).write(tmp_path / "out")


def block(text: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(text.split("---\n")[1])
    return found


def test_the_licence_is_carried_over_from_the_source(source: Path, tmp_path: Path) -> None:
    made = make_card(source, out_of(tmp_path, no_card))
    told = block(made.text)
    assert (told["license"], told["license_name"], told["license_link"]) == ("other", "their-terms", "LICENSE")
    assert "`their-terms`" in made.text and made.notes == ("the licence of 'org/older' is unknown: read its card",)


def test_without_a_licence_in_the_source_none_is_made_up(tmp_path: Path) -> None:
    source = changed([no_card]).write(tmp_path / "source")
    made = make_card(source, out_of(tmp_path, no_card))
    assert "license" not in block(made.text)
    assert any("states no licence" in note for note in made.notes)
    assert any("--base-model" in note for note in made.notes)


def test_another_licence_than_the_sources_is_pointed_out(source: Path, tmp_path: Path) -> None:
    made = make_card(source, out_of(tmp_path, no_card), Wishes(licence="mit"))
    assert block(made.text)["license"] == "mit"
    assert any("a conversion changes no licence" in note for note in made.notes)


def test_a_snapshot_of_the_hub_cache_names_itself_with_its_revision(tmp_path: Path) -> None:
    revision = "0123456789abcdef0123456789abcdef01234567"
    source = changed([]).write(tmp_path / "models--org--name" / "snapshots" / revision)
    (tmp_path / "models--org--name" / "blobs").mkdir()
    made = make_card(source, out_of(tmp_path, no_card))
    assert block(made.text)["base_model"] == "org/name"
    assert f"org/name@{revision}" in made.text


def test_what_the_user_wrote_stays(source: Path, tmp_path: Path) -> None:
    out = out_of(tmp_path, card(tags=["mine"], language=["de"]))
    own = read_card((out / "README.md").read_text()).body.strip()
    write_card(out, make_card(source, out))
    first = (out / "README.md").read_text()
    assert own in first and block(first)["tags"] == ["mine"] and block(first)["language"] == ["de"]
    assert block(first)["license"] == "apache-2.0"
    (out / "README.md").write_text(first + "\n## Mine too\n\nWords after the made part.\n")
    write_card(out, make_card(source, out))
    second = (out / "README.md").read_text()
    assert own in second and second.endswith("Words after the made part.\n")
    assert second.count("## Sizes") == second.count("<!-- weightsmith: from here on") == 1


def test_a_card_made_twice_is_the_same(source: Path, tmp_path: Path) -> None:
    out = out_of(tmp_path, no_card)
    write_card(out, made := make_card(source, out))
    assert make_card(source, out) == made


def test_the_conversion_and_its_proof_are_told_from_the_manifest(source: Path, tmp_path: Path) -> None:
    proof = {
        "verdict": "passed",
        "mode": "full",
        "compute": "float32",
        "proved": "all 2 layers",
        "tolerance": "byte: 1e-6",
    }
    told = {
        "source": {"family": "baichuan-7b"}, "target": "llama", "exactness": "byte", "version": "9.9", "verification": proof,
        "steps": ["normalise the head"], "left": {"a.inv_freq": "recomputed", "b.inv_freq": "recomputed"},
    }  # fmt: skip
    text = make_card(source, out_of(tmp_path, no_card, manifest(**told))).text
    assert "Converted by weightsmith 9.9 from `org/older`, the family `baichuan-7b`, to `llama`." in text
    assert "**byte**" in text and "- normalise the head" in text and "2 tensors (recomputed)" in text
    assert "Passed: all 2 layers." in text and "Tolerance: byte: 1e-6." in text


def test_the_limits_of_programs_are_told(source: Path, tmp_path: Path) -> None:
    text = make_card(source, out_of(tmp_path, no_card, config(hidden_act="gelu"))).text
    assert "- vllm: the activation of a Llama is not SiLU" in text and "- llama.cpp: " in text
    assert "vllm: " not in make_card(source, changed([no_card]).write(tmp_path / "plain")).text


def test_the_table_of_memory_is_the_arithmetic_of_its_formulae(source: Path, tmp_path: Path) -> None:
    out = out_of(tmp_path, no_card)
    parameters = sum(value.size for tensors in changed([]).shards.values() for value in tensors.values())
    cache = 2 * 2 * 2 * 4 * 128  # keys and values, layers, key-value heads, head, tokens
    rows = [line for line in make_card(source, out).text.splitlines() if line.startswith("| inference, ")]
    expected = {"float32": parameters * 4 + cache * 4, "bfloat16": parameters * 2 + cache * 2}
    for name, total in expected.items():
        (row,) = [row for row in rows if f"inference, {name} " in row]
        assert row.split("|")[2].strip() == f"{total / 1000:.1f} KB"


def test_a_damaged_block_is_refused_and_kept(source: Path, tmp_path: Path) -> None:
    out = out_of(tmp_path)
    (out / "README.md").write_text(before := "---\nlicense: [mit\n---\nwords\n")
    with pytest.raises(ConversionError, match="cannot be completed"):
        make_card(source, out)
    assert (out / "README.md").read_text() == before


def test_a_made_card_has_no_findings_of_its_own(source: Path, tmp_path: Path) -> None:
    out = out_of(tmp_path, no_card, file("LICENSE", "Their own terms.\n"))
    write_card(out, make_card(source, out))
    assert validate(out, only=["card", "licence", "secrets"]).findings == ()


def test_the_card_names_what_the_source_was_made_from_and_shows_what_its_licence_asks_for(tmp_path: Path) -> None:
    source = changed([card(license="mit", base_model="someone/x")]).write(tmp_path / "source")
    out = out_of(tmp_path, no_card, manifest(), file("LICENSE", "MIT"), file("Llama 许可协议.pdf", b"%PDF"))
    made = make_card(source, out, Wishes(base_model="deepseek-ai/DeepSeek-R1-Distill-Llama-8B"))
    assert "was made from `meta-llama/Llama-3.1-8B`, whose Llama 3.1 Community License goes on to hold" in made.text
    assert "**Built with Llama.**" in made.text and any("Llama 3.1 Community License" in note for note in made.notes)
    assert "Changed files: " in made.text and "config.json were changed from the source by this conversion" in made.text
    assert "[LICENSE](<LICENSE>), [Llama 许可协议.pdf](<Llama 许可协议.pdf>)" in made.text
    write_card(out, made)
    assert validate(out, only=["licence-modified", "licence-built-with"]).findings == ()


def test_a_card_names_every_file_that_is_no_longer_the_sources(tmp_path: Path) -> None:
    pieces, source = kind("llama-other-size"), tmp_path / "source"
    widened(golden("llama-gqa").checkpoint, size_of(pieces), pieces.files, source)
    (source / "LICENSE").write_text("Terms.\n")
    (source / "generation_config.json").write_text('{"temperature": 0.5, "top_p": 0.9, "max_new_tokens": 10}')
    write(plan_conversion(open_checkpoint(source), "mistral", max_shard_size=500_000), tmp_path / "out")
    files = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir() if path.name != "weightsmith.json"}
    same = {name for name, content in files.items() if (source / name).is_file() and (source / name).read_bytes() == content}
    assert "LICENSE" in same and "generation_config.json" not in same
    (said,) = re.findall(r"Changed files: (.*) were changed from", make_card(source, tmp_path / "out").text)
    assert set(said.split(", ")) >= files.keys() - same
    assert "LICENSE" not in said


def test_a_card_does_not_call_a_licence_the_sources_beside_a_stricter_one(tmp_path: Path) -> None:
    source = changed([card(license="apache-2.0", base_model="Qwen/Qwen2.5-3B-Instruct")]).write(tmp_path / "source")
    made = make_card(source, out_of(tmp_path, no_card), Wishes(base_model="someone/my-ft"))
    assert "The weights stay under" not in made.text
    assert "The source's card states `apache-2.0`; the Qwen Research License holds beside it" in made.text


def test_the_licence_of_a_tuned_sources_base_is_told_by_the_sources_own_card(tmp_path: Path) -> None:
    source = changed([card(license="apache-2.0", base_model="meta-llama/Meta-Llama-3-8B")]).write(tmp_path / "source")
    made = make_card(source, out_of(tmp_path, no_card), Wishes(base_model="someone/tuned"))
    assert any("'meta-llama/Meta-Llama-3-8B' is under the Llama 3 Community License" in note for note in made.notes)
    assert "**Built with Meta Llama 3.**" in made.text


def test_a_merge_names_all_parts_and_their_licences(tmp_path: Path) -> None:
    bases = ["01-ai/Yi-6B", "Qwen/Qwen2.5-72B"]
    source = changed([card(license="other", license_name="qwen", base_model=bases)]).write(tmp_path / "source")
    text = make_card(source, out_of(tmp_path, no_card)).text
    assert "`01-ai/Yi-6B`: Yi (Apache License 2.0); `Qwen/Qwen2.5-72B`: Qwen License." in text
    assert "The strictest holds for all: Qwen License." in text


@pytest.mark.parametrize(
    ("body", "title"),
    [
        ("# A model ##\nwords", "A model"), ("words\n## b\n#\tT \n", "T"), ("#none\n#\n", ""),
        ("# a" + " " * 300_000 + "b\n", "a" + " " * 300_000 + "b"), ("# a" + "#" * 300_000 + "x", "a" + "#" * 300_000 + "x"),
    ],
    ids=["closed", "second level first", "none", "spaces", "signs"],
)  # fmt: skip
def test_a_title_is_read_in_one_pass(body: str, title: str) -> None:
    assert read_card(f"---\nlicense: mit\n---\n{body}").title == title


@pytest.mark.parametrize("value", [[1], {"a": 1}, ["finetune"], 3, True])
def test_a_relation_of_another_kind_is_a_finding(value: object, tmp_path: Path) -> None:
    found = validate(changed([card(base_model_relation=value)]).write(tmp_path), only=["base-model-relation"])
    assert [finding.rule.id for finding in found.findings] == ["base-model-relation"]
