"""Adapters as peft saves them: which tensors mean what, and that they are whole, finite and unambiguous."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import TypeVar

from convert.checkpoint import Checkpoint, Sources, Stored, read_rows
from convert.checkpoint.files import list_folder
from convert.checkpoint.reading import same_values
from convert.checkpoint.shards import ADAPTERS, read_file
from convert.edits.adapter_config import AdapterConfig, read_config
from convert.edits.adapter_names import Named, named
from surgery.dtypes import FLOATS, ITEMSIZE
from surgery.errors import ConversionError, listed, show

T = TypeVar("T")

_ROWS = 16 << 20  # bytes read at once

#: where the exponent of an element type is, as bits of an unsigned integer of its size
_EXPONENT = {"F64": 0x7FF0_0000_0000_0000, "F32": 0x7F80_0000, "F16": 0x7C00, "BF16": 0x7F80}


@dataclass(frozen=True)
class Pair:
    """The two matrices of a module: ``down`` rank x inputs, ``up`` outputs x rank; the bias of ``up``, if any; the norms that
    DoRA gives the outputs."""

    module: str
    down: Stored
    up: Stored
    bias: Stored | None = None
    embedding: bool = False
    magnitude: Stored | None = None

    @property
    def tensors(self) -> tuple[Stored, ...]:
        return tuple(t for t in (self.down, self.up, self.bias, self.magnitude) if t is not None)


@dataclass(frozen=True)
class Rows:
    """Rows of a matrix that were trained by themselves: which, and what they are now."""

    at: tuple[int, ...]
    values: Stored


@dataclass(frozen=True)
class Adapter:
    """A LoRA: its words, and its tensors by the tensor of the base that they change."""

    checkpoint: Checkpoint
    config: AdapterConfig
    pairs: Mapping[str, Pair]
    replaced: Mapping[str, Stored] = field(default_factory=dict)  # what was trained whole
    base: Mapping[str, Stored] = field(default_factory=dict)  # what the model in training had otherwise than the base
    rows: Mapping[str, Rows] = field(default_factory=dict)
    copies: Mapping[str, tuple[Stored, ...]] = field(default_factory=dict)  # untrained copies of the base's tensors
    idle: int = 0  # pairs whose product is zero
    wrappers: tuple[str, ...] = ()  # who put their names into those of the tensors

    def renamed(self, name: Callable[[str], str]) -> Adapter:
        """The adapter by other names of the base's tensors."""

        def told(table: Mapping[str, T]) -> dict[str, T]:
            return {name(tensor): value for tensor, value in table.items()}

        return replace(
            self, pairs=told(self.pairs), replaced=told(self.replaced), base=told(self.base), rows=told(self.rows),
            copies=told(self.copies),
        )  # fmt: skip

    def without(self, tensor: str) -> Adapter:
        """The adapter without what it trained of one tensor."""

        def kept(table: Mapping[str, T]) -> dict[str, T]:
            return {name: value for name, value in table.items() if name != tensor}

        return replace(self, pairs=kept(self.pairs), replaced=kept(self.replaced), rows=kept(self.rows))


def read_adapter(checkpoint: Checkpoint) -> Adapter:
    """What the tensors of an adapter change; ``ConversionError`` where they are not a LoRA's, or not all of them."""
    config = read_config(checkpoint.config)
    told = {name: named(name.partition("/")[2]) for name in checkpoint.tensors}
    twice = [key for key, count in Counter(each.key for each in told.values()).items() if count > 1]
    if twice:
        raise ConversionError(
            f"the adapter holds {show(twice[0])} several times, under names that differ only by what wrappers put into them. "
            "Nobody can tell which one counts; save it again."
        )
    halves: dict[str, dict[str, Stored]] = {}
    whole: dict[str, Stored] = {}
    saved: dict[str, Stored] = {}
    base: dict[str, Stored] = {}
    rows: dict[str, Rows] = {}
    copies: dict[str, list[Stored]] = {}
    for name, stored in checkpoint.tensors.items():
        of = told[name]
        _check_type(of, stored)
        if of.what.startswith("lora_"):
            halves.setdefault(of.module, {})[of.what] = stored
        elif of.what.endswith("trainable_tokens_delta"):
            rows[of.tensor] = _rows(of.module, stored, config)
        elif of.what in ("bias", "base_layer.bias"):  # trained biases lie in the layer that LoRA wraps
            whole[of.tensor] = stored
        elif of.what == "weight":
            (whole if config.trains_whole(of.module) else base)[of.tensor] = stored
        elif of.what.startswith("modules_to_save"):
            saved[of.tensor] = stored
        else:
            copies.setdefault(of.tensor, []).append(stored)
    whole |= {tensor: base.pop(tensor) for tensor in saved.keys() & base.keys()}  # trained whole, whatever the config says
    with Sources(checkpoint.files) as sources:
        for tensor, stored in saved.items():
            if tensor in whole and not same_values(sources, stored, whole[tensor]):
                raise ConversionError(
                    f"the adapter holds {show(tensor)} twice (with and without modules_to_save in the name), and the "
                    "two differ. Save the adapter again with peft."
                )
        pairs = {f"{module}.weight": _pair(module, parts, config) for module, parts in halves.items()}
        if config.tokens and not rows:
            raise ConversionError(
                "adapter_config.json says trainable_token_indices, and the adapter holds no such rows "
                "(token_adapter.trainable_tokens_delta): it is incomplete. Get it again."
            )
        used = (whole, saved, base, {name: each.values for name, each in rows.items()})
        for stored in (tensor for tensors in used for tensor in tensors.values()):
            _scan(sources, stored)
        idle = sum(_is_idle(sources, pair) for pair in pairs.values())
    return Adapter(
        checkpoint, config, pairs, {**whole, **saved}, base, rows, {k: tuple(v) for k, v in copies.items()}, idle,
        tuple(sorted({who for each in told.values() for who in each.wrappers})),
    )  # fmt: skip


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


def _check_type(of: Named, stored: Stored) -> None:
    if stored.dtype not in FLOATS:
        raise ConversionError(f"{show(of.key)} of the adapter has dtype {stored.dtype}, not a floating-point type.")
    if not stored.numel:
        raise ConversionError(
            f"{show(of.key)} of the adapter has the shape {stored.shape}, a tensor of size 0: DeepSpeed ZeRO-3 or FSDP saved "
            "only what one process held of it, and the rest is not in this file. Save the adapter again with the weights "
            "gathered (stage3_gather_16bit_weights_on_model_save, or GatheredParameters around save_pretrained)."
        )


def _rows(module: str, stored: Stored, config: AdapterConfig) -> Rows:
    at = config.rows(module)
    if at is None or len(stored.shape) != 2 or stored.shape[0] != len(at):
        said = "nothing" if at is None else f"{len(at)} of them"
        raise ConversionError(
            f"the adapter holds rows of {show(module)} in the shape {stored.shape}, and trainable_token_indices in "
            f"adapter_config.json says {said}. The config belongs to another adapter."
        )
    return Rows(at, stored)


def _pair(module: str, parts: Mapping[str, Stored], config: AdapterConfig) -> Pair:
    embedding = any(what.startswith("lora_embedding") for what in parts)
    names = ("lora_embedding_A", "lora_embedding_B") if embedding else ("lora_A.weight", "lora_B.weight")
    wanted = (*names, "lora_magnitude_vector") if config.rescaled else names
    if absent := [name for name in wanted if name not in parts]:
        raise ConversionError(f"the adapter has no {absent[0]} for the module {show(module)}: it is incomplete. Get it again.")
    if "lora_magnitude_vector" in parts and not config.rescaled:
        raise ConversionError(
            f"the adapter has a lora_magnitude_vector for the module {show(module)}, a tensor of DoRA, and adapter_config.json "
            "does not say use_dora. The config belongs to another adapter."
        )
    if strange := parts.keys() - {*wanted, "lora_B.bias"}:
        raise ConversionError(
            f"the adapter has both linear and embedding matrices for the module {show(module)}: {listed(strange)}."
        )
    pair = Pair(
        module, parts[names[0]], parts[names[1]], parts.get("lora_B.bias"), embedding, parts.get("lora_magnitude_vector")
    )
    rank = config.rank_of(module)
    if len(pair.down.shape) != 2 or len(pair.up.shape) != 2 or {pair.down.shape[0], pair.up.shape[1]} != {rank}:
        raise ConversionError(
            f"the matrices of the module {show(module)} have the shapes {pair.down.shape} and {pair.up.shape}, which "
            f"are not of the rank {rank} that adapter_config.json gives it. The config belongs to another adapter."
        )
    return pair


def _is_idle(sources: Sources, pair: Pair) -> bool:
    """Whether a pair changes nothing; ``ConversionError`` where it would spread NaN."""
    some = [_scan(sources, stored) for stored in pair.tensors]
    return pair.magnitude is None and not all(some[:2]) and not any(some[2:])


def _scan(sources: Sources, stored: Stored) -> bool:
    """Whether a tensor has an element that is not zero; refuse NaN and infinity, which would spread over rows and columns."""
    import numpy as np

    mask = _EXPONENT[stored.dtype]
    some = False
    for first, last in _row_blocks(stored, stored.shape[0] if stored.shape else 0):
        bits = np.frombuffer(read_rows(sources, stored, first, last), f"<u{ITEMSIZE[stored.dtype]}")
        some = some or bool((bits << 1).any())  # without the sign
        wrong = np.flatnonzero((bits & mask) == mask)
        if len(wrong):
            width = max(1, stored.numel // stored.shape[0])
            at = (first + int(wrong[0]) // width, int(wrong[0]) % width)
            raise ConversionError(
                f"{show(stored.name.partition('/')[2])} of the adapter holds NaN or infinity (the first at row {at[0]}, column "
                f"{at[1]}). The training diverged or the file is damaged; merging it would ruin the base."
            )
    return some


def _row_blocks(stored: Stored, count: int) -> Iterable[tuple[int, int]]:
    row = max(1, stored.nbytes // max(1, stored.shape[0])) if stored.shape else 1
    step = max(1, _ROWS // row)
    return ((first, min(first + step, count)) for first in range(0, count, step))
