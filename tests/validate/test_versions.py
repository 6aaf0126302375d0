"""Outputs load in transformers 5 and in 4.57.6 with equal logits; what is said of 4.57 is executed in it.

The older version gets an environment of its own, which borrows torch and the rest from the one that runs the tests.
"""

import json
import os
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from convert.checkpoint import open_checkpoint
from convert.prepare import plan_conversion
from convert.writing import write
from tests.goldens import golden
from tests.validate.changes import without
from tests.validate.fixtures import FIXTURES
from tests.validate.repository import changed

pytestmark = pytest.mark.slow

OLD = "4.57.6"
CASES = ("llama-gqa", "llama-tied", "llama-attention-bias", "llama-rope-llama3", "baichuan-7b", "internlm2-7b", "yi-6b")

LOGITS = """
import sys, json, numpy, torch, transformers
from transformers import AutoModelForCausalLM
for path in json.loads(sys.argv[1]):
    model = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32)
    ids = torch.arange(40).reshape(2, 20) * 5 % 250
    with torch.no_grad():
        numpy.save(path + "/" + sys.argv[2] + ".npy", model(ids).logits.numpy())
print(transformers.__version__)
"""

ASK = """
import sys, json, transformers
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer
what, path = sys.argv[1:]
try:
    if what == "theta":
        told = AutoConfig.from_pretrained(path).rope_theta
    elif what == "model":
        told = type(AutoModelForCausalLM.from_pretrained(path)).__name__
    else:
        told = type(AutoTokenizer.from_pretrained(path)).__name__
except Exception as error:
    told = "refused: " + type(error).__name__
print(json.dumps(told))
"""


@pytest.fixture(scope="module")
def old(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of an environment with transformers 4.57.6."""
    home = tmp_path_factory.mktemp("transformers-4")
    venv.create(home, with_pip=True)
    python = home / "bin" / "python"
    done = subprocess.run(
        [python, "-m", "pip", "install", "--quiet", f"transformers=={OLD}"], capture_output=True, text=True, check=False
    )
    if done.returncode:
        pytest.skip(f"transformers {OLD} cannot be installed here: {done.stderr.strip()[-200:]}")
    (packages,) = (home / "lib").glob("python*/site-packages")
    (packages / "borrowed.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return python


def run(python: Path | str, program: str, *arguments: str) -> str:
    offline = {**os.environ, "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [python, "-W", "ignore", "-c", program, *arguments], capture_output=True, text=True, check=False, env=offline
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout.strip().splitlines()[-1]


def test_converted_goldens_have_equal_logits_in_both_versions(old: Path, tmp_path: Path) -> None:
    outputs = []
    for name in CASES:
        write(plan_conversion(open_checkpoint(golden(name).checkpoint), "llama"), tmp_path / name, verify=None)
        outputs.append(str(tmp_path / name))
    assert run(old, LOGITS, json.dumps(outputs), "old") == OLD
    assert run(sys.executable, LOGITS, json.dumps(outputs), "new").startswith("5.")
    for path in outputs:
        one, other = (np.load(Path(path) / f"{which}.npy") for which in ("old", "new"))
        assert np.abs(one - other).max() < 1e-5 * np.abs(one).max(), path


def ask(python: Path | str, what: str, path: Path) -> Any:
    return json.loads(run(python, ASK, what, str(path)))


def test_the_old_version_does_not_see_rope_in_the_new_form(old: Path, tmp_path: Path) -> None:
    bad, good = (changed(changes) for changes in FIXTURES["transformers-4-rope"])
    assert ask(old, "theta", bad.write(tmp_path / "bad")) == 10000.0
    assert ask(old, "theta", good.write(tmp_path / "good")) == 500000.0


def test_the_old_version_has_no_proportional_rope(old: Path, tmp_path: Path) -> None:
    bad, good = (changed(changes) for changes in FIXTURES["transformers-4-rope-type"])
    assert ask(old, "model", bad.write(tmp_path / "bad")).startswith("refused: ")
    assert ask(sys.executable, "model", tmp_path / "bad") == "LlamaForCausalLM"
    assert ask(old, "model", good.write(tmp_path / "good")) == "LlamaForCausalLM"


def test_the_old_version_has_not_the_new_tokenizer_classes(old: Path, tmp_path: Path) -> None:
    bad, good = (changed(changes) for changes in FIXTURES["transformers-4-tokenizer"])
    assert ask(old, "tokenizer", bad.write(tmp_path / "bad")).startswith("refused: ")
    assert ask(sys.executable, "tokenizer", tmp_path / "bad") != "refused: ValueError"
    assert ask(old, "tokenizer", good.write(tmp_path / "good")) == "PreTrainedTokenizerFast"


def test_the_old_version_refuses_files_without_a_format(old: Path, tmp_path: Path) -> None:
    bad, good = (changed(changes) for changes in FIXTURES["header-no-format"])
    assert ask(old, "model", bad.write(tmp_path / "bad")).startswith("refused: ")
    assert ask(old, "model", good.write(tmp_path / "good")) == "LlamaForCausalLM"


def test_neither_version_loads_shards_without_an_index(old: Path, tmp_path: Path) -> None:
    path = changed([without("model.safetensors.index.json")]).write(tmp_path / "bad")
    assert ask(old, "model", path).startswith("refused: ") and ask(sys.executable, "model", path).startswith(
        "refused: "
    )
