"""docs/surgery.md: its recipe runs as it stands, and its tables name what there is."""

import re
import shutil
from pathlib import Path

import torch

from convert.cli.running import run
from convert.cli.surgery import COMMANDS, cli
from convert.recipe import STEPS
from tests.edits.adapters import written
from tests.goldens import golden
from tests.oracle import tensors

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "surgery.md").read_text()
VOCABULARY = (Path(__file__).resolve().parents[2] / "docs" / "vocabulary.md").read_text()


def test_the_recipe_of_the_page_runs(tmp_path):
    (recipe,) = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)
    (tmp_path / "recipe.toml").write_text(recipe)
    shutil.copytree(golden("baichuan-7b").checkpoint, tmp_path / "base")
    name = "model.layers.0.self_attn.W_pack"
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
