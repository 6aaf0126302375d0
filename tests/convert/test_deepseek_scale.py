"""A checkpoint of DeepSeek-V3's true size, headers only: planned in seconds of a processor and in little memory."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path

import pytest

from tests.published import published

ROOT = Path(__file__).resolve().parents[2]
BYTES = {"F8_E4M3": 1, "F32": 4, "BF16": 2}
SHARD = 4_300_000_000

RUN = """
import sys, time
from convert.checkpoint import open_checkpoint
from convert.prepare import plan_conversion
start = time.process_time()
plan = plan_conversion(open_checkpoint(sys.argv[1]), "deepseek_v3")
plan.digest
peak = [line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")][0]
print(time.process_time() - start, peak, plan.tensors, plan.elements)
"""


def scaled(name, rows, columns):
    return [
        (f"{name}.weight", "F8_E4M3", [rows, columns]),
        (f"{name}.weight_scale_inv", "F32", [math.ceil(rows / 128), math.ceil(columns / 128)]),
    ]


def gated(name, hidden, width):
    return [
        *scaled(f"{name}.gate_proj", width, hidden),
        *scaled(f"{name}.up_proj", width, hidden),
        *scaled(f"{name}.down_proj", hidden, width),
    ]


def layer(i):
    """The tensors of one of R1's layers; 61 is the one that predicts a token more."""
    at, hidden = f"model.layers.{i}.", 7168
    found = [(f"{at}{norm}_layernorm.weight", "BF16", [hidden]) for norm in ("input", "post_attention")]
    found += scaled(at + "self_attn.q_a_proj", 1536, hidden) + scaled(at + "self_attn.q_b_proj", 128 * 192, 1536)
    found += scaled(at + "self_attn.kv_a_proj_with_mqa", 576, hidden)
    found += scaled(at + "self_attn.kv_b_proj", 128 * 256, 512) + scaled(at + "self_attn.o_proj", hidden, 128 * 128)
    latents = {"q_a": 1536, "kv_a": 512}
    found += [(f"{at}self_attn.{name}_layernorm.weight", "BF16", [width]) for name, width in latents.items()]
    if i < 3:
        return found + gated(at + "mlp", hidden, 18432)
    found += [(at + "mlp.gate.weight", "BF16", [256, hidden]), (at + "mlp.gate.e_score_correction_bias", "F32", [256])]
    found += gated(at + "mlp.shared_experts", hidden, 2048)
    for e in range(256):
        found += gated(f"{at}mlp.experts.{e}", hidden, 2048)
    if i == 61:
        found += [(f"{at}{norm}.weight", "BF16", [hidden]) for norm in ("enorm", "hnorm", "shared_head.norm")]
        found += [(f"{at}{name}.weight", "BF16", [129280, hidden]) for name in ("embed_tokens", "shared_head.head")]
        found += [(at + "eh_proj.weight", "BF16", [hidden, 2 * hidden])]
    return found


def write_headers(folder):
    """Sparse shards: the headers are there, the payloads are holes."""
    tensors = [("model.embed_tokens.weight", "BF16", [129280, 7168]), ("lm_head.weight", "BF16", [129280, 7168])]
    tensors += [("model.norm.weight", "BF16", [7168]), *(t for i in range(62) for t in layer(i))]
    shards, filled = [{}], 0
    for name, dtype, shape in tensors:
        size = math.prod(shape) * BYTES[dtype]
        if filled + size > SHARD:
            shards.append({})
            filled = 0
        shards[-1][name] = {"dtype": dtype, "shape": shape, "data_offsets": [filled, filled + size]}
        filled += size
    names = [f"model-{i:05d}-of-{len(shards):05d}.safetensors" for i in range(1, len(shards) + 1)]
    for name, entries in zip(names, shards, strict=True):
        header = json.dumps(entries).encode()
        header += b" " * (-len(header) % 8)
        with open(folder / name, "wb") as file:
            file.write(len(header).to_bytes(8, "little") + header)
            file.truncate(8 + len(header) + max(e["data_offsets"][1] for e in entries.values()))
    weight_map = {key: name for name, entries in zip(names, shards, strict=True) for key in entries}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    return [name for name, _, _ in tensors]


@pytest.mark.slow
def test_deepseek_v3_is_planned_in_seconds_of_a_processor_and_300_megabytes(tmp_path):
    names = write_headers(tmp_path)
    assert len(names) > 90_000
    (config,) = (c.config for c in published("deepseek_v3") if c.name == "deepseek-r1")
    (tmp_path / "config.json").write_text(json.dumps(config))
    command = [sys.executable, "-c", RUN, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=True)
    seconds, peak, tensors, parameters = done.stdout.split()
    assert float(seconds) < 30
    assert int(peak) * 1024 <= 300 << 20
    assert int(tensors) == sum(not name.endswith("_scale_inv") for name in names)
    assert 680e9 < int(parameters) < 690e9  # 671 billion, and the layer that predicts a token more
