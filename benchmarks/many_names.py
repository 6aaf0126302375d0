"""How long, and with how much memory, commands that read headers take over a checkpoint of very many tensors.

The shards are sparse: every header is whole, and the bytes of the tensors are a hole that takes no room on the disk.
"""

from __future__ import annotations

import argparse
import json
import os
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

_EXPERTS = 64
_HIDDEN, _FFN, _HEADS, _VOCABULARY = 64, 32, 4, 512
COMMANDS = {
    "inspect": ("inspect", "{src}"),
    "plan": ("plan", "{src}", "--to", "mixtral"),
    "validate": ("validate", "{src}"),
}


def shapes(layers: int) -> Iterator[tuple[str, list[int]]]:
    """The tensors of a Mixtral of so many layers: its experts are what gives a model many names."""
    yield "model.embed_tokens.weight", [_VOCABULARY, _HIDDEN]
    for layer in range(layers):
        at = f"model.layers.{layer}."
        for part in "qkvo":
            yield f"{at}self_attn.{part}_proj.weight", [_HIDDEN, _HIDDEN]
        yield f"{at}block_sparse_moe.gate.weight", [_EXPERTS, _HIDDEN]
        for expert in range(_EXPERTS):
            one = f"{at}block_sparse_moe.experts.{expert}."
            yield f"{one}w1.weight", [_FFN, _HIDDEN]
            yield f"{one}w2.weight", [_HIDDEN, _FFN]
            yield f"{one}w3.weight", [_FFN, _HIDDEN]
        yield f"{at}input_layernorm.weight", [_HIDDEN]
        yield f"{at}post_attention_layernorm.weight", [_HIDDEN]
    yield "model.norm.weight", [_HIDDEN]
    yield "lm_head.weight", [_VOCABULARY, _HIDDEN]


def write(folder: Path, tensors: int, shards: int) -> int:
    """A checkpoint of about so many tensors in so many sparse shards; returns how many there are."""
    layers = max(1, round(tensors / (3 * _EXPERTS + 7)))
    told = list(shapes(layers))
    each = -(-len(told) // shards)
    places: dict[str, str] = {}
    for number, first in enumerate(range(0, len(told), each), 1):
        name = f"model-{number:05d}-of-{-(-len(told) // each):05d}.safetensors"
        header: dict[str, object] = {"__metadata__": {"format": "pt"}}
        end = 0
        for tensor, shape in told[first : first + each]:
            begin, end = end, end + 2 * shape[0] * (shape[1] if len(shape) > 1 else 1)
            header[tensor] = {"dtype": "BF16", "shape": shape, "data_offsets": [begin, end]}
            places[tensor] = name
        text = json.dumps(header).encode()
        with open(folder / name, "wb") as file:
            file.write(struct.pack("<Q", len(text)) + text)
            file.truncate(8 + len(text) + end)
    index = {"metadata": {"total_size": sum(2 * s[0] * (s[1] if len(s) > 1 else 1) for _, s in told)}, "weight_map": places}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index), encoding="utf-8")
    (folder / "config.json").write_text(json.dumps({
        "architectures": ["MixtralForCausalLM"], "model_type": "mixtral", "hidden_size": _HIDDEN, "intermediate_size": _FFN,
        "num_hidden_layers": layers, "num_attention_heads": _HEADS, "num_key_value_heads": _HEADS, "vocab_size": _VOCABULARY,
        "num_local_experts": _EXPERTS, "num_experts_per_tok": 2, "hidden_act": "silu", "max_position_embeddings": 512,
        "rms_norm_eps": 1e-05, "rope_theta": 1e6, "sliding_window": None, "tie_word_embeddings": False,
        "torch_dtype": "bfloat16", "bos_token_id": 1, "eos_token_id": 2,
    }), encoding="utf-8")  # fmt: skip
    return len(told)


def measured(arguments: tuple[str, ...], src: Path) -> tuple[int, float, int, str]:
    """The exit status, the seconds, the most resident memory in bytes, and the output of one command."""
    line = [sys.executable, "-m", "benchmarks.many_names", "--child", *(word.format(src=src) for word in arguments)]
    begun = time.monotonic()
    with tempfile.TemporaryFile("w+") as told:
        child = subprocess.Popen(line, stdout=told, stderr=told, cwd=Path(__file__).resolve().parents[1])
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        told.seek(0)
        return child.returncode, time.monotonic() - begun, usage.ru_maxrss << 10, told.read()


def main() -> None:
    """Write the checkpoint, run the commands, print a line for each."""
    if sys.argv[1:2] == ["--child"]:
        from convert.cli.main import cli
        from convert.cli.running import run

        sys.exit(run(cli, "weightsmith", sys.argv[2:]))
    parser = argparse.ArgumentParser(prog="python -m benchmarks.many_names", description=__doc__)
    parser.add_argument("--tensors", type=int, default=200_000)
    parser.add_argument("--shards", type=int, default=300)
    parser.add_argument("--folder", help="where the checkpoint may lie for the while; default: a temporary folder")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=asked.folder) as folder:
        count = write(Path(folder), asked.tensors, asked.shards)
        print(f"{count:,} tensors in {asked.shards} shards")
        for name, arguments in COMMANDS.items():
            status, seconds, peak, _ = measured(arguments, Path(folder))
            print(f"{name:10} exit {status}  {seconds:6.1f} s  {peak / 1e6:6.0f} MB")


if __name__ == "__main__":
    main()
