"""Synthetic Baichuan checkpoints of a wanted size: the published layout, random bfloat16 bytes, written as a stream.

The headers are real (safetensors, or the stored zip and pickle that `torch.save` writes), so a converter sees nothing
unusual. No tensor is ever whole in memory.
"""

import json
import os
import struct
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Literal

Form = Literal["safetensors", "bin"]
Shape = tuple[int, ...]

# Baichuan 7B's proportions at a quarter of its width, so that a gigabyte has tens of layers.
HIDDEN, FFN, HEADS = 1024, 2752, 8
VOCABULARY = {1: 64000, 2: 125696}
BLOCK = 1 << 20
# Random bytes are bfloat16 numbers of any size, NaN included. This mask keeps 0x3C.. and 0x3D..: |x| from 2^-7 to 2^-3.
EXPONENT_BITS = 0x3C


@dataclass(frozen=True)
class Synthetic:
    """One checkpoint to write: `version` 1 or 2 of Baichuan 7B, about `gigabytes` of weights in `shards` files."""

    version: int
    gigabytes: float
    shards: int
    form: Form

    @property
    def layers(self) -> int:
        outside = 2 * _bytes((VOCABULARY[self.version], HIDDEN)) + _bytes((HIDDEN,))
        inside = sum(_bytes(shape) for shape in _layer(0).values())
        return max(1, round((self.gigabytes * 1e9 - outside) / inside))

    @property
    def tensors(self) -> Mapping[str, Shape]:
        vocabulary = VOCABULARY[self.version]
        shapes: dict[str, Shape] = {"model.embed_tokens.weight": (vocabulary, HIDDEN)}
        for layer in range(self.layers):
            shapes |= _layer(layer)
        return shapes | {"model.norm.weight": (HIDDEN,), "lm_head.weight": (vocabulary, HIDDEN)}

    @property
    def config(self) -> dict[str, object]:
        return {
            "architectures": ["BaiChuanForCausalLM" if self.version == 1 else "BaichuanForCausalLM"],
            "bos_token_id": 1,
            "eos_token_id": 2,
            "hidden_act": "silu",
            "hidden_size": HIDDEN,
            "initializer_range": 0.02,
            "intermediate_size": FFN,
            "max_position_embeddings": 4096,
            "model_max_length": 4096,
            "model_type": "baichuan",
            "num_attention_heads": HEADS,
            "num_hidden_layers": self.layers,
            "pad_token_id": 0,
            "rms_norm_eps": 1e-06,
            "tie_word_embeddings": False,
            "torch_dtype": "bfloat16",
            "transformers_version": "4.29.2",
            "use_cache": True,
            "vocab_size": VOCABULARY[self.version],
        }

    def write(self, folder: Path) -> int:
        """Writes the checkpoint into the new directory `folder`; its size in bytes."""
        folder.mkdir(parents=True)
        stem, suffix = ("model", "safetensors") if self.form == "safetensors" else ("pytorch_model", "bin")
        writer = _write_safetensors if self.form == "safetensors" else _write_zip
        weight_map: dict[str, str] = {}
        for number, part in enumerate(_split(self.tensors, self.shards), start=1):
            file = f"{stem}-{number:05d}-of-{self.shards:05d}.{suffix}"
            writer(folder / file, part)
            weight_map |= dict.fromkeys(part, file)
        total = sum(_bytes(shape) for shape in self.tensors.values())
        index = {"metadata": {"total_size": total}, "weight_map": weight_map}
        (folder / f"{stem}.{suffix}.index.json").write_text(json.dumps(index, indent=1))
        (folder / "config.json").write_text(json.dumps(self.config, indent=2) + "\n")
        return sum(path.stat().st_size for path in folder.iterdir())

    def write_adapter(self, folder: Path, rank: int) -> None:
        """Writes a LoRA of that rank for every linear layer but the head into the new directory `folder`."""
        folder.mkdir(parents=True)
        parts: dict[str, Shape] = {}
        for name, shape in self.tensors.items():
            if ".layers." in name and len(shape) == 2:
                module = f"base_model.model.{name.removesuffix('.weight')}"
                parts |= {f"{module}.lora_A.weight": (rank, shape[1]), f"{module}.lora_B.weight": (shape[0], rank)}
        _write_safetensors(folder / "adapter_model.safetensors", parts)
        config = {"peft_type": "LORA", "task_type": "CAUSAL_LM", "r": rank, "lora_alpha": 2 * rank, "bias": "none"}
        (folder / "adapter_config.json").write_text(json.dumps(config, indent=2) + "\n")


def _layer(layer: int) -> dict[str, Shape]:
    prefix = f"model.layers.{layer}."
    return {
        prefix + "self_attn.W_pack.weight": (3 * HIDDEN, HIDDEN),
        prefix + "self_attn.o_proj.weight": (HIDDEN, HIDDEN),
        prefix + "mlp.gate_proj.weight": (FFN, HIDDEN),
        prefix + "mlp.down_proj.weight": (HIDDEN, FFN),
        prefix + "mlp.up_proj.weight": (FFN, HIDDEN),
        prefix + "input_layernorm.weight": (HIDDEN,),
        prefix + "post_attention_layernorm.weight": (HIDDEN,),
    }


def _bytes(shape: Shape) -> int:
    return 2 * prod(shape)


def _split(tensors: Mapping[str, Shape], shards: int) -> list[dict[str, Shape]]:
    """The tensors in order, in `shards` runs of about equal size."""
    total = sum(_bytes(shape) for shape in tensors.values())
    parts: list[dict[str, Shape]] = [{} for _ in range(shards)]
    done = 0
    for name, shape in tensors.items():
        parts[min(shards - 1, done * shards // total)][name] = shape
        done += _bytes(shape)
    return parts


def _noise(size: int) -> Iterator[bytes]:
    """`size` bytes of ordinary bfloat16 numbers, block by block, each block different."""
    tables = bytes(EXPONENT_BITS | (value & 0x81) for value in range(256))
    while size:
        block = bytearray(os.urandom(min(size, BLOCK)))
        block[1::2] = block[1::2].translate(tables)  # the high byte of each little-endian number
        yield bytes(block)
        size -= len(block)


def _write_safetensors(path: Path, tensors: Mapping[str, Shape]) -> None:
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    offset = 0
    for name, shape in tensors.items():
        header[name] = {"dtype": "BF16", "shape": list(shape), "data_offsets": [offset, offset + _bytes(shape)]}
        offset += _bytes(shape)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for block in _noise(offset):
            file.write(block)


def _write_zip(path: Path, tensors: Mapping[str, Shape]) -> None:
    """What `torch.save` writes for a state dict: a stored zip, the pickle first, one entry of raw bytes per tensor."""
    root = path.stem
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr(f"{root}/data.pkl", _pickled(tensors))
        archive.writestr(f"{root}/byteorder", b"little")
        for key, shape in enumerate(tensors.values()):
            with archive.open(zipfile.ZipInfo(f"{root}/data/{key}"), "w", force_zip64=True) as entry:
                for block in _noise(_bytes(shape)):
                    entry.write(block)
        archive.writestr(f"{root}/version", b"3\n")


# Pickle protocol 2, opcode by opcode: the few that a state dict of contiguous tensors needs.


def _pickled(tensors: Mapping[str, Shape]) -> bytes:
    items = b"".join(_text(name) + _tensor(str(key), shape) for key, (name, shape) in enumerate(tensors.items()))
    return b"\x80\x02}(" + items + b"u."


def _tensor(key: str, shape: Shape) -> bytes:
    storage = _tuple(_text("storage"), _name("torch", "BFloat16Storage"), _text(key), _text("cpu"), _int(prod(shape)))
    no_hooks = _name("collections", "OrderedDict") + b")R"
    size, stride = _tuple(*map(_int, shape)), _tuple(*map(_int, _strides(shape)))
    arguments = _tuple(storage + b"Q", _int(0), size, stride, b"\x89", no_hooks)
    return _name("torch._utils", "_rebuild_tensor_v2") + arguments + b"R"


def _text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value.encode())) + value.encode()


def _int(value: int) -> bytes:
    return b"J" + struct.pack("<i", value)


def _tuple(*parts: bytes) -> bytes:
    return b"(" + b"".join(parts) + b"t"


def _name(module: str, name: str) -> bytes:
    return f"c{module}\n{name}\n".encode()


def _strides(shape: Shape) -> Shape:
    return tuple(prod(shape[axis + 1 :]) for axis in range(len(shape)))
