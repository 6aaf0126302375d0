"""The reference decoders against what the vendors' own code computed."""

import ast
import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import convert.verification
from convert.verification.decoders import decoder_for, families
from convert.verification.weights import Weights
from surgery.errors import ConversionError
from tests.goldens import Golden, goldens
from tests.shared import SHARED, needs_shared
from tests.verification.decoding import BAICHUAN, decoded

VERIFIER = Path(convert.verification.__file__).parent
MERGED = ("lora-", "delta-")  # two checkpoints each: nothing to decode before they are merged
CASES = [case for case in goldens() if not case.name.startswith(MERGED)]
STORIES = ["stories260K", "stories260K-baichuan", "stories260K-internlm2", "stories260K-yi"]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_logits_and_hidden_states_are_the_vendors(case: Golden):
    golden = load_file(case.logits)
    variant = case.provenance.get("variant")
    # the FP8 golden was computed from weights that the vendor's dequantisation had rounded to bf16
    rounded = torch.bfloat16 if case.name.endswith("fp8") else None
    name = BAICHUAN[variant["family"]] if variant else None
    logits, streams, final = decoded(case.checkpoint, golden["input_ids"], name, rounded)
    if "after the final norm" in case.provenance["hidden_states_convention"]:
        streams[-1] = final
    torch.testing.assert_close(logits, golden["logits"], atol=1e-4, rtol=0)
    torch.testing.assert_close(torch.stack(streams), golden["hidden_states"], atol=1e-4, rtol=0)


@needs_shared
@pytest.mark.parametrize("name", STORIES)
def test_a_trained_model_has_the_logits_on_record_in_every_layout(name: str):
    for prompt in json.loads((SHARED / "real" / "stories260K" / "expected.json").read_text())["prompts"]:
        logits = decoded(SHARED / "real" / name, torch.tensor([prompt["ids"]]))[0][0, -1]
        best, ids = zip(*[(value, token) for token, value in prompt["last_logits_top5"]], strict=True)
        assert logits.topk(5).indices.tolist() == list(ids)
        torch.testing.assert_close(logits[list(ids)], torch.tensor(best), atol=1e-3, rtol=0)


def test_a_config_of_no_known_family_is_refused_by_what_it_says():
    with pytest.raises(ConversionError, match=r"model_type 'mamba', architectures \['MambaForCausalLM'\]\) fits none"):
        decoder_for({"model_type": "mamba", "architectures": ["MambaForCausalLM"]}, Weights({}, lambda *_: bytearray()))


def test_every_family_of_the_goldens_has_a_decoder():
    assert set(families()) == {
        "aquila2", "baichuan", "chatglm", "chatglm1", "deepseek", "gemma", "gemma2", "glm", "gpt2", "granite", "internlm",
        "internlm2", "llama", "llama4", "meta", "minicpm", "mistral", "mixtral", "nanogpt", "phi3", "qwen", "qwen2",
        "qwen2_moe", "qwen3", "stablelm", "yi",
    }  # fmt: skip


def imports(path: Path) -> set[str]:
    """The modules that a file names in its import statements."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    plain = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    return plain | {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}


def test_the_second_entry_shares_nothing_with_the_first():
    """No table, no layout, no movement: of our own code only errors, processes, readers of files, and the verifier itself."""
    files = ("convert.checkpoint", "surgery.tokenizer.facts", "surgery.tokenizer.sources")
    allowed = ("convert.verification", "convert.children", "surgery.errors", "surgery.apart", *files)
    for path in VERIFIER.rglob("*.py"):
        ours = {name for name in imports(path) if name.split(".")[0] in ("convert", "mappings", "surgery")}
        assert all(name.startswith(allowed) for name in ours), path
        assert "transformers" not in imports(path) or path.name == "stock_process.py", path


def test_what_the_parent_imports_is_without_torch():
    for name in ("__init__.py", "verdict.py", "child.py", "meaning.py"):
        tree = ast.parse((VERIFIER / name).read_text(encoding="utf-8"))
        top = {alias.name for node in tree.body if isinstance(node, ast.Import) for alias in node.names}
        top |= {node.module or "" for node in tree.body if isinstance(node, ast.ImportFrom)}
        heavy = ("torch", "convert.verification.run", "convert.verification.weights")
        assert not any(name.startswith(heavy) for name in top)
