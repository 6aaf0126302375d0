"""A hundred gigabytes in seconds of a processor: headers only, whatever lies behind them."""

import json
import time
from pathlib import Path

import pytest

from convert.validate.check import validate

pytestmark = pytest.mark.slow

HIDDEN, FFN, LAYERS, KV, HEAD, VOCAB = 8192, 28672, 58, 8, 128, 128256  # Llama 3 70B, with fewer layers


def tensors() -> dict[str, list[int]]:
    found = {"model.embed_tokens.weight": [VOCAB, HIDDEN]}
    for layer in range(LAYERS):
        at = f"model.layers.{layer}."
        found |= {
            f"{at}self_attn.q_proj.weight": [HIDDEN, HIDDEN],
            f"{at}self_attn.k_proj.weight": [KV * HEAD, HIDDEN],
            f"{at}self_attn.v_proj.weight": [KV * HEAD, HIDDEN],
            f"{at}self_attn.o_proj.weight": [HIDDEN, HIDDEN],
            f"{at}mlp.gate_proj.weight": [FFN, HIDDEN],
            f"{at}mlp.up_proj.weight": [FFN, HIDDEN],
            f"{at}mlp.down_proj.weight": [HIDDEN, FFN],
            f"{at}input_layernorm.weight": [HIDDEN],
            f"{at}post_attention_layernorm.weight": [HIDDEN],
        }
    return found | {"model.norm.weight": [HIDDEN], "lm_head.weight": [VOCAB, HIDDEN]}


def nbytes(shape: list[int]) -> int:
    return 2 * shape[0] * (shape[1] if len(shape) > 1 else 1)


def write(path: Path) -> int:
    """Real headers in shards of about 5 GB, with holes where the weights would be; returns the bytes they claim."""
    shards: list[dict[str, list[int]]] = [{}]
    for name, shape in tensors().items():
        if sum(map(nbytes, shards[-1].values())) + nbytes(shape) > 5_000_000_000:
            shards.append({})
        shards[-1][name] = shape
    table: dict[str, str] = {}
    for number, held in enumerate(shards, 1):
        file = f"model-{number:05d}-of-{len(shards):05d}.safetensors"
        header, end = {"__metadata__": {"format": "pt"}}, 0
        for name, shape in held.items():
            header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [end, end + nbytes(shape)]}  # type: ignore[dict-item]
            end += nbytes(shape)
            table[name] = file
        text = json.dumps(header).encode()
        text += b" " * (-len(text) % 8)
        with open(path / file, "wb") as out:
            out.write(len(text).to_bytes(8, "little") + text)
            out.truncate(8 + len(text) + end)
    total = sum(map(nbytes, tensors().values()))
    (path / "model.safetensors.index.json").write_text(
        json.dumps({"metadata": {"total_size": total}, "weight_map": table})
    )
    config = {
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": HIDDEN, "intermediate_size": FFN,
        "num_hidden_layers": LAYERS, "num_attention_heads": HIDDEN // HEAD, "num_key_value_heads": KV, "vocab_size": VOCAB,
        "rms_norm_eps": 1e-5, "torch_dtype": "bfloat16", "rope_theta": 500000.0, "tie_word_embeddings": True,
        "eos_token_id": 128001, "hidden_act": "silu",
    }  # fmt: skip
    (path / "config.json").write_text(json.dumps(config))
    return total


def test_a_hundred_gigabytes_validate_in_less_than_ten_seconds_of_a_processor_without_deep(tmp_path: Path) -> None:
    assert write(tmp_path) > 100_000_000_000
    began = time.process_time()
    report = validate(tmp_path)
    took = time.process_time() - began
    told = {finding.rule.id for finding in report.findings}
    assert told == {
        "card-missing",
        "licence-missing",
        "tokenizer-missing",
        "tied-head-stored",
    }  # the holes are equal, and too large to read
    assert took < 10, f"{took:.1f} s"
