"""docs/surgery.md: its recipe runs as it stands, and its tables name what there is."""

import re
import shutil
from pathlib import Path

import pytest
import torch

from convert.cli.running import run
from convert.cli.surgery import COMMANDS, cli
from convert.recipe import STEPS
from tests.edits.adapters import written
from tests.goldens import golden
from tests.oracle import tensors

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "surgery.md").read_text()
VOCABULARY = (Path(__file__).resolve().parents[2] / "docs" / "vocabulary.md").read_text()


@pytest.mark.parametrize(
    ("base", "name"),
    [("baichuan-7b", "model.layers.0.self_attn.W_pack"), ("llama-gqa", "model.layers.0.self_attn.q_proj")],
)
def test_the_recipe_of_the_page_runs(base, name, tmp_path):
    _, recipe = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)
    (tmp_path / "recipe.toml").write_text(recipe)
    shutil.copytree(golden(base).checkpoint, tmp_path / "base")
    rows, columns = tensors(tmp_path / "base")[f"{name}.weight"].shape
    torch.manual_seed(4)
    factors = {f"{name}.lora_A.weight": torch.randn(4, columns) / 20, f"{name}.lora_B.weight": torch.randn(rows, 4)}
    written(tmp_path / "adapter", factors)
    assert run(cli, "surgery", ["run", str(tmp_path / "recipe.toml")]) == 0
    assert {t.dtype for t in tensors(tmp_path / "out").values()} == {torch.bfloat16}


def test_every_command_and_every_step_with_its_settings_is_in_the_docs():
    for name in COMMANDS:
        assert re.search(rf"`(surgery )?{name}[ `]", PAGE + VOCABULARY), name
    table = PAGE[PAGE.index("| `do` |") :]
    for name, step in STEPS.items():
        (line,) = (line for line in table.splitlines() if line.startswith("|") and f"`{name}`" in line)
        assert all(f"`{setting}`" in line for setting in step.settings), line


def test_the_way_of_chinese_llama_on_a_tied_base_runs_as_the_page_has_it(tmp_path, monkeypatch, capsys):
    import json
    import warnings

    from convert.cli.main import cli as weightsmith
    from tests.oracle import native_logits
    from tests.trained.corpus import chinese
    from tests.vocabulary.test_extend import pieces_model

    section = PAGE[PAGE.index("### A language for a tied model") : PAGE.index("## Deltas")]
    blocks = re.findall(r"```(\w+)\n(.*?)```", section, re.DOTALL)
    assert [kind for kind, _ in blocks] == ["bash", "python", "toml", "bash"]
    monkeypatch.chdir(tmp_path)
    pieces_model(tmp_path / "base", tied=True)
    Path("corpus.txt").write_text("\n".join(chinese(400)), encoding="utf-8")
    programs = {"surgery": cli, "weightsmith": weightsmith}
    for kind, text in blocks:
        if kind == "toml":
            Path("chinese.toml").write_text(text)
        elif kind == "python":
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                exec(compile(text, "docs/surgery.md", "exec"), {})
        else:
            for line in text.splitlines():
                program, *words = line.split()
                status = run(programs[program], program, words)
                assert status == 0, capsys.readouterr().err
    found, base = tensors(tmp_path / "chinese"), tensors(tmp_path / "base")
    rows = len(found["model.embed_tokens.weight"])
    assert rows > len(base["model.embed_tokens.weight"])
    config = json.loads((tmp_path / "chinese" / "config.json").read_text())
    assert (config["vocab_size"], config["tie_word_embeddings"], config["torch_dtype"]) == (rows, False, "bfloat16")
    assert not torch.equal(found["lm_head.weight"], found["model.embed_tokens.weight"])
    ids = torch.arange(rows - 30, rows).reshape(2, 15)
    truth = _unmerged(tmp_path, ids)
    assert (native_logits(tmp_path / "chinese", ids) - truth).norm() <= 0.03 * truth.norm()  # cast to bfloat16


def _unmerged(folder: Path, ids: torch.Tensor) -> torch.Tensor:
    """What peft computes with the adapter on its base."""
    import warnings

    import peft

    from tests.edits.adapters import load

    with warnings.catch_warnings(), torch.inference_mode():
        warnings.simplefilter("ignore")
        return peft.PeftModel.from_pretrained(load(folder / "longer"), str(folder / "adapter")).eval()(ids).logits
