"""A checkpoint of a 70B model's true shape that takes a few gigabytes of disk: two layers, the head and some embeddings hold
data, the rest are holes. Run as a program it verifies a folder against itself under a limit of memory, and prints its peak.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

LAYERS, HIDDEN, HEADS, KV, FFN, VOCAB = 80, 8192, 64, 8, 28672, 128256
TOKENS = 256  # embeddings that hold data; prompts are taken from them
FILLED = (0, LAYERS - 1)


def shapes() -> dict[str, tuple[int, ...]]:
    found: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (VOCAB, HIDDEN)}
    narrow = HIDDEN * KV // HEADS
    for layer in range(LAYERS):
        at = f"model.layers.{layer}."
        found |= {f"{at}{name}.weight": (HIDDEN,) for name in ("input_layernorm", "post_attention_layernorm")}
        found |= {f"{at}self_attn.{part}_proj.weight": (HIDDEN, HIDDEN) for part in "qo"}
        found |= {f"{at}self_attn.{part}_proj.weight": (narrow, HIDDEN) for part in "kv"}
        found |= {f"{at}mlp.{part}_proj.weight": (FFN, HIDDEN) for part in ("gate", "up")}
        found[f"{at}mlp.down_proj.weight"] = (HIDDEN, FFN)
    return found | {"model.norm.weight": (HIDDEN,), "lm_head.weight": (VOCAB, HIDDEN)}


def size(shape: tuple[int, ...]) -> int:
    """Bytes in bfloat16."""
    count = 2
    for length in shape:
        count *= length
    return count


def build(folder: Path) -> None:
    """Shards of ten layers, as sparse files."""
    import torch

    config = {
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "num_hidden_layers": LAYERS, "hidden_size": HIDDEN,
        "num_attention_heads": HEADS, "num_key_value_heads": KV, "intermediate_size": FFN, "vocab_size": VOCAB,
        "rms_norm_eps": 1e-5, "rope_theta": 500000.0, "max_position_embeddings": 8192, "torch_dtype": "bfloat16",
    }  # fmt: skip
    (folder / "config.json").write_text(json.dumps(config))
    noise = torch.randn(16 << 20, generator=torch.Generator().manual_seed(0)).mul_(0.02).to(torch.bfloat16)
    block = memoryview(noise.view(torch.uint8).numpy())
    shards: dict[str, dict[str, tuple[int, ...]]] = {}
    for name, shape in shapes().items():
        number = int(name.split(".")[2]) // 10 if ".layers." in name else LAYERS // 10
        shards.setdefault(f"model-{number + 1:05d}-of-{LAYERS // 10 + 1:05d}.safetensors", {})[name] = shape
    for file, held in shards.items():
        header, at = {}, 0
        for name, shape in held.items():
            header[name] = {"dtype": "BF16", "shape": list(shape), "data_offsets": [at, at + size(shape)]}
            at += size(shape)
        text = json.dumps(header).encode()
        with open(folder / file, "wb") as out:
            out.write(len(text).to_bytes(8, "little") + text)
            out.truncate(8 + len(text) + at)
            for name, shape in held.items():
                filled = size(shape) if "embed" not in name else size((TOKENS, HIDDEN))
                if ".layers." in name and int(name.split(".")[2]) not in FILLED:
                    continue
                start = 8 + len(text) + header[name]["data_offsets"][0]  # type: ignore[index]
                for low in range(0, filled, len(block)):
                    os.pwrite(out.fileno(), block[: min(len(block), filled - low)], start + low)
    table = {name: file for file, held in shards.items() for name in held}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": table}))


def main(folder: Path, limit: int, threads: int) -> None:
    import resource

    import torch

    from convert.checkpoint import open_checkpoint
    from convert.verification.run import verify

    torch.set_num_threads(threads)
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    checkpoint, began = open_checkpoint(folder), time.perf_counter()
    verdict = verify(checkpoint, checkpoint, exactness="byte", prompts=[[7, 21, 100, 3]])
    with open("/proc/self/status") as status:
        peak = next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM"))
    seconds = round(time.perf_counter() - began)
    told = {"passed": verdict.passed, "proved": verdict.proved, "spread": verdict.amplification, "peak": peak, "seconds": seconds}
    print(json.dumps(told))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
