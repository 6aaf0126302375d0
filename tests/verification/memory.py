"""Run by test_weights in a process of its own: builds a Llama of random weights that exist nowhere, verifies it against
itself, and prints by how many bytes the process grew at its peak."""

import json
import sys
import zlib

import torch

from convert.checkpoint.stored import Stored
from convert.verification.decoders import decoder_for
from convert.verification.run import judge
from convert.verification.weights import Weights

HIDDEN, HEADS, FFN = 512, 8, 1408


def names(layers: int, vocabulary: int) -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {
        "model.embed_tokens.weight": (vocabulary, HIDDEN),
        "model.norm.weight": (HIDDEN,),
        "lm_head.weight": (vocabulary, HIDDEN),
    }
    for layer in range(layers):
        at = f"model.layers.{layer}."
        shapes |= {f"{at}self_attn.{part}_proj.weight": (HIDDEN, HIDDEN) for part in "qkvo"}
        shapes |= {f"{at}mlp.{part}_proj.weight": (FFN, HIDDEN) for part in ("gate", "up")}
        shapes |= {f"{at}{name}.weight": (HIDDEN,) for name in ("input_layernorm", "post_attention_layernorm")}
        shapes[f"{at}mlp.down_proj.weight"] = (HIDDEN, FFN)
    return shapes


def read(stored: Stored, start: int, stop: int) -> bytearray:
    random = torch.Generator().manual_seed(zlib.crc32(stored.name.encode()) + start)
    values = 0.05 * torch.randn((stop - start, *stored.shape[1:]), generator=random)
    return bytearray(values.numpy().tobytes())


def peak() -> int:
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM"))


def main(layers: int, vocabulary: int) -> None:
    torch.set_num_threads(1)
    torch.randn(64, 64) @ torch.randn(64, 64)
    tensors = {
        name: Stored(name, "nowhere", "F32", shape, (1,) * len(shape), 0)
        for name, shape in names(layers, vocabulary).items()
    }
    config = {
        "model_type": "llama", "num_hidden_layers": layers, "hidden_size": HIDDEN, "num_attention_heads": HEADS,
        "vocab_size": vocabulary,
    }  # fmt: skip
    before = peak()
    sides = [decoder_for(config, Weights(tensors, read, block_bytes=1 << 20)) for _ in range(2)]
    assert judge(sides[0], sides[1], exactness="byte").passed
    print(json.dumps(peak() - before))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
