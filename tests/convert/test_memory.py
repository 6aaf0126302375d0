"""The writer's memory: bounded, and the same for a model ten times as large. Peaks are VmHWM, read by the process itself."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.synthetic import Synthetic
from convert.checkpoint import open_checkpoint
from convert.prepare import plan_conversion

ROOT = Path(__file__).resolve().parents[2]
MB = 1 << 20

RUN = """
import sys
from convert.cli.main import cli
cli.main(sys.argv[1:], standalone_mode=False)
print([line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")][0])
"""


def peak(*arguments: object) -> int:
    """Peak resident bytes of one command."""
    done = subprocess.run(
        [sys.executable, "-c", RUN, *map(str, arguments)], capture_output=True, text=True, cwd=ROOT, check=True
    )
    return int(done.stdout.splitlines()[-1]) * 1024


@pytest.mark.slow
@pytest.mark.parametrize(("version", "bound"), [(1, 40 * MB), (2, 320 * MB)])
def test_the_writers_memory_is_bounded_at_any_size(version, bound, tmp_path):
    peaks = []
    for gigabytes in (0.3, 2.0):
        source = tmp_path / f"source-{gigabytes}"
        Synthetic(version, gigabytes, 3, "safetensors").write(source)
        plan = plan_conversion(open_checkpoint(source), "llama")
        out = tmp_path / f"out-{gigabytes}"
        peaks.append(peak("baichuan-to-llama", source, out, "--verify", "off"))
        assert peaks[-1] <= bound + 1500 * plan.tensors
        assert peaks[-1] <= plan.writer_peak
        for folder in (source, out):
            for file in folder.iterdir():
                file.unlink()
    assert peaks[1] <= peaks[0] * 1.15


@pytest.mark.slow
def test_a_huge_checkpoint_is_planned_from_headers_in_little_memory(tmp_path):
    """90,000 tensors in 260 sparse shards: only the headers exist."""
    layers, shards = 10_000, 260
    names = {"model.embed_tokens.weight": [320, 64], "model.norm.weight": [64], "lm_head.weight": [320, 64]}
    for i in range(layers):
        for name, shape in {
            "input_layernorm": [64], "post_attention_layernorm": [64], "self_attn.q_proj": [64, 64], "self_attn.k_proj": [64, 64],
            "self_attn.v_proj": [64, 64], "self_attn.o_proj": [64, 64], "mlp.gate_proj": [96, 64], "mlp.up_proj": [96, 64],
            "mlp.down_proj": [64, 96],
        }.items():  # fmt: skip
            names[f"model.layers.{i}.{name}.weight"] = shape
    weight_map = {}
    items = list(names.items())
    per = -(-len(items) // shards)
    for number in range(shards):
        file = f"model-{number + 1:05d}-of-{shards:05d}.safetensors"
        header, at = {}, 0
        for name, shape in items[number * per : (number + 1) * per]:
            size = 2 * shape[0] * (shape[1] if len(shape) > 1 else 1)
            header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [at, at + size]}
            at += size
            weight_map[name] = file
        text = json.dumps(header).encode()
        with open(tmp_path / file, "wb") as out:
            out.write(len(text).to_bytes(8, "little") + text)
            out.truncate(8 + len(text) + at)
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    config = {
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 64, "intermediate_size": 96,
        "num_hidden_layers": layers, "num_attention_heads": 4, "vocab_size": 320, "torch_dtype": "bfloat16",
    }  # fmt: skip
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert peak("plan", tmp_path, "--to", "internlm2") <= 300 * MB
