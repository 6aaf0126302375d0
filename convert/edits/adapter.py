"""Adapters as peft saves them: which tensors mean what, and that they are whole, finite and unambiguous."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from convert.checkpoint import Checkpoint, Sources, Stored, read_rows
from convert.checkpoint.files import list_folder
from convert.checkpoint.reading import same_values
from convert.checkpoint.shards import ADAPTERS, read_file
from convert.edits.adapter_config import AdapterConfig, read_config
from surgery.dtypes import FLOATS, ITEMSIZE
from surgery.errors import ConversionError, listed, show

#: names begin with this, one ``model`` for peft's wrapper and the rest for the model's own
_ROOT = "base_model.model."
_KEY = re.compile(
    r"(?P<module>(?:(?!\.lora_).)+?)\.(?P<what>"
    r"lora_[AB](?:\.default)?\.weight|lora_embedding_[AB](?:\.default)?|lora_B(?:\.default)?\.bias"
    r"|modules_to_save(?:\.default)?\.(?:weight|bias)|(?:original_module|base_layer)\.(?:weight|bias)|weight|bias)"
)
_FOREIGN = {
    "lora_magnitude_vector": "DoRA", "hada_w": "LoHa", "lokr_w": "LoKr", "oft_": "OFT", "boft_": "BOFT", "ia3_l": "IA3",
    "vera_lambda": "VeRA", "lora_E": "AdaLoRA", "ln_tuning_layers": "LN tuning", "prompt_embeddings": "prompt tuning",
    "trainable_tokens": "trainable tokens", "adaption_": "adaption prompts",
}  # fmt: skip
_ROWS = 16 << 20  # bytes read at once

#: where the exponent of an element type is, as bits of an unsigned integer of its size
_EXPONENT = {"F64": 0x7FF0_0000_0000_0000, "F32": 0x7F80_0000, "F16": 0x7C00, "BF16": 0x7F80}


@dataclass(frozen=True)
class Pair:
    """The two matrices of a module: ``down`` rank x inputs, ``up`` outputs x rank; and the bias of ``up``, if any."""

    down: Stored
    up: Stored
    bias: Stored | None = None
    embedding: bool = False


@dataclass(frozen=True)
class Adapter:
    """A LoRA: its words, and its tensors by what they change."""

    checkpoint: Checkpoint
    config: AdapterConfig
    pairs: Mapping[str, Pair]  # module -> its matrices
    replaced: Mapping[str, Stored] = field(default_factory=dict)  # tensor of the base -> what replaces it
    copies: Mapping[str, tuple[Stored, ...]] = field(default_factory=dict)  # tensor of the base -> untrained copies of it


def read_adapter(checkpoint: Checkpoint) -> Adapter:
    """What the tensors of an adapter change; ``ConversionError`` where they are not a LoRA's, or not all of them."""
    config = read_config(checkpoint.config)
    halves: dict[str, dict[str, Stored]] = {}
    replaced: dict[str, Stored] = {}
    saved: dict[str, Stored] = {}
    copies: dict[str, list[Stored]] = {}
    for name, stored in checkpoint.tensors.items():
        key = name.rpartition("/")[2]
        match = _KEY.fullmatch(key.removeprefix(_ROOT)) if key.startswith(_ROOT) else None
        if match is None:
            raise _unknown(key)
        if stored.dtype not in FLOATS:
            raise ConversionError(f"{show(key)} of the adapter has dtype {stored.dtype}, not a floating-point type.")
        module, what = match["module"], match["what"].replace(".default", "")
        if what.startswith("lora_"):
            halves.setdefault(module, {})[what] = stored
        elif what in ("weight", "bias", "base_layer.bias"):  # trained biases lie in the layer that LoRA wraps
            replaced[f"{module}.{what.removeprefix('base_layer.')}"] = stored
        elif what.startswith("modules_to_save"):
            saved[f"{module}.{what.rpartition('.')[2]}"] = stored
        else:
            copies.setdefault(f"{module}.{what.rpartition('.')[2]}", []).append(stored)
    with Sources(checkpoint.files) as sources:
        for tensor, stored in saved.items():
            if tensor in replaced and not same_values(sources, stored, replaced[tensor]):
                raise ConversionError(
                    f"the adapter holds {show(tensor)} twice (with and without modules_to_save in the name), and the "
                    "two differ. Save the adapter again with peft."
                )
        pairs = {module: _pair(module, parts, config) for module, parts in halves.items()}
        used = [*replaced.values(), *saved.values(), *(t for p in pairs.values() for t in (p.down, p.up, p.bias) if t)]
        for stored in used:
            _check_finite(sources, stored)
    return Adapter(checkpoint, config, pairs, {**replaced, **saved}, {k: tuple(v) for k, v in copies.items()})


def check_alone(checkpoint: Checkpoint) -> None:
    """Refuse when another file beside the one that was read holds different tensors."""
    folder = list_folder(checkpoint.path)
    present = [layout.single for layout in ADAPTERS if layout.single in folder.names]
    others = [name for name in present if name not in checkpoint.files]
    for name in others:
        source = folder.find(name)
        tensors = read_file(source).tensors
        with Sources({**checkpoint.files, name: source}) as sources:
            differing = sorted(
                key
                for key in checkpoint.tensors.keys() | tensors.keys()
                if key not in checkpoint.tensors
                or key not in tensors
                or not same_values(sources, checkpoint.tensors[key], tensors[key])
            )
        if differing:
            raise ConversionError(
                f"{show(str(checkpoint.path))} holds {listed(present)}, and they differ "
                f"({listed(map(show, differing), 3)}). Nobody can tell which one is meant; remove the other."
            )


def rows_of_base_differ(sources: Sources, base: Stored, copy: Stored) -> bool:
    """Whether an untrained copy of a tensor has other values than the base, in the rows that both have.

    A copy may be stored more coarsely or finely than the base, so both are compared as the coarser of the two.
    """
    import torch

    from convert.evaluate import TORCH

    if base.shape[1:] != copy.shape[1:]:
        return True
    kinds = {base.dtype, copy.dtype}
    coarse = torch.bfloat16 if "BF16" in kinds else torch.float16 if "F16" in kinds else torch.float32
    count = min(base.shape[0], copy.shape[0])
    for first, last in _row_blocks(copy, count):
        one, other = (
            torch.frombuffer(read_rows(sources, stored, first, last), dtype=TORCH[stored.dtype]).to(coarse)
            for stored in (base, copy)
        )
        if not torch.equal(one, other):
            return True
    return False


def _pair(module: str, parts: Mapping[str, Stored], config: AdapterConfig) -> Pair:
    embedding = any(what.startswith("lora_embedding") for what in parts)
    names = ("lora_embedding_A", "lora_embedding_B") if embedding else ("lora_A.weight", "lora_B.weight")
    if absent := [name for name in names if name not in parts]:
        raise ConversionError(f"the adapter has no {absent[0]} for the module {show(module)}: it is incomplete. Get it again.")
    if strange := parts.keys() - {*names, "lora_B.bias"}:
        raise ConversionError(
            f"the adapter has both linear and embedding matrices for the module {show(module)}: {listed(strange)}."
        )
    pair = Pair(parts[names[0]], parts[names[1]], parts.get("lora_B.bias"), embedding)
    rank = config.rank_of(module)
    if len(pair.down.shape) != 2 or len(pair.up.shape) != 2 or {pair.down.shape[0], pair.up.shape[1]} != {rank}:
        raise ConversionError(
            f"the matrices of the module {show(module)} have the shapes {pair.down.shape} and {pair.up.shape}, which "
            f"are not of the rank {rank} that adapter_config.json gives it. The config belongs to another adapter."
        )
    return pair


def _unknown(key: str) -> ConversionError:
    kind = next((name for part, name in _FOREIGN.items() if part in key), "")
    if kind:
        return ConversionError(
            f"{show(key)}: this is a tensor of {kind}, not of a LoRA, and cannot be merged here. Merge it with the "
            "library that made it, and convert the result."
        )
    return ConversionError(
        f"{show(key)} is no name that peft gives a LoRA's tensor ({_ROOT}<module>.lora_A.weight and so on), so what "
        "it means is not known. If an older program wrote it, load it with peft and save it again."
    )


def _check_finite(sources: Sources, stored: Stored) -> None:
    """Refuse a tensor that has NaN or infinite elements: they would spread over the whole row or column."""
    import numpy as np

    mask = _EXPONENT[stored.dtype]
    for first, last in _row_blocks(stored, stored.shape[0] if stored.shape else 0):
        bits = np.frombuffer(read_rows(sources, stored, first, last), f"<u{ITEMSIZE[stored.dtype]}")
        wrong = np.flatnonzero((bits & mask) == mask)
        if len(wrong):
            width = max(1, stored.numel // stored.shape[0])
            at = (first + int(wrong[0]) // width, int(wrong[0]) % width)
            raise ConversionError(
                f"{show(stored.name)} of the adapter holds NaN or infinity (the first at row {at[0]}, column "
                f"{at[1]}). The training diverged or the file is damaged; merging it would ruin the base."
            )


def _row_blocks(stored: Stored, count: int) -> Iterable[tuple[int, int]]:
    row = max(1, stored.nbytes // max(1, stored.shape[0])) if stored.shape else 1
    step = max(1, _ROWS // row)
    return ((first, min(first + step, count)) for first in range(0, count, step))
