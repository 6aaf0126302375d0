"""Whether a golden folder is what tests/golden/README.md says: `python -m tests.check_golden [FOLDER ...]`.

Every fault of every folder is printed, and any makes the exit status 1. With no folder named: every case there is.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from convert.checkpoint import Checkpoint, open_adapter, open_checkpoint, open_sources, read_tensor
from surgery.errors import ConversionError
from tests.goldens import goldens

#: which fields provenance.json must have, and of which kind
FIELDS: Mapping[str, type] = {
    "source.repo": str, "source.path": str, "source.commit": str, "transformers": str, "torch": str, "seed": int,
    "hidden_states_convention": str,
}  # fmt: skip
#: under which of these names a field may stand
HASHES = ("source.sha256", "modeling_file_sha256")
SENSITIVITIES = ("sensitivity", "sensitivity_max_abs_dlogits")
CONVENTIONS = ("after the final norm", "BEFORE the final norm")
#: mistakes of this many kinds were tried at least, each moving the logits by more than this, or by exactly nothing
MISTAKES, VISIBLE = 10, 1e-2

#: how a config spells the sizes
HIDDEN = ("hidden_size", "n_embd", "dim")
LAYERS = ("num_hidden_layers", "num_layers", "n_layer", "n_layers")
VOCAB = ("padded_vocab_size", "vocab_size")
WITHIN = ("text_config", "model_args")

MAIN = {"input_ids": torch.int64, "logits": torch.float32, "hidden_states": torch.float32}
#: what more golden.safetensors may hold: the type, and whether it has the shape of the logits
MORE = (
    (re.compile("logits_(native|merged)"), torch.float32, True),
    (re.compile("logits_base_only_clamped_ids"), torch.float32, False),
    (re.compile("merged::.+"), torch.float32, False),
    (re.compile("dequant_bf16::.+"), torch.bfloat16, False),
    (re.compile("target_sum_all_params"), torch.float64, False),
)
#: the parts of a checkpoint that is made of two
PARTS = ("base", "delta")
STORED = {"float32": "F32", "bfloat16": "BF16", "float16": "F16"}


def faults(folder: Path) -> list[str]:
    """In what ways a folder is no golden case; none when it is one."""
    missing = [name for name in ("checkpoint", "golden.safetensors", "provenance.json") if not (folder / name).exists()]
    if missing:
        return [f"{name} is missing" for name in missing]
    try:
        provenance = json.loads((folder / "provenance.json").read_text(encoding="utf-8"))
    except ValueError as error:
        return [f"provenance.json is no JSON: {error}"]
    if not isinstance(provenance, dict):
        return ["provenance.json is no object"]
    try:
        truth = load_file(folder / "golden.safetensors")
    except SafetensorError as error:
        return [f"golden.safetensors cannot be read: {error}"]
    told = [*_provenance(provenance), *_truth(truth)]
    try:
        opened = [open_checkpoint(part) for part in _parts(folder / "checkpoint")]
        if (folder / "checkpoint" / "adapter").is_dir():
            _adapter(folder / "checkpoint" / "adapter")
        values = [fault for checkpoint in opened for fault in _values(checkpoint)]
    except ConversionError as error:
        return [*told, f"checkpoint: {error}"]
    stored = [fault for checkpoint in opened for fault in _stored(checkpoint, provenance)]
    return told or [*values, *stored, *_sizes(opened[-1], truth)]


def _provenance(told: Mapping[str, Any]) -> Iterator[str]:
    for name, kind in FIELDS.items():
        if not isinstance(found := _at(told, name), kind) or found == "":
            yield f"provenance.json: {name} is {found!r}, not {kind.__name__}"
    if not any(_hashed(_at(told, name)) for name in HASHES):
        yield f"provenance.json: neither {' nor '.join(HASHES)} is the SHA-256 of the code that computed it"
    if not any(words in str(told.get("hidden_states_convention")) for words in CONVENTIONS):
        yield f"provenance.json: hidden_states_convention says neither {' nor '.join(map(repr, CONVENTIONS))}"
    moved = next((told[name] for name in SENSITIVITIES if isinstance(told.get(name), dict)), {})
    if len(moved) < MISTAKES:
        yield f"provenance.json: {len(moved)} mistakes were tried, fewer than {MISTAKES}"
    for mistake, by in moved.items():
        if not isinstance(by, int | float) or not (by == 0 or by > VISIBLE):
            yield f"provenance.json: {mistake!r} moves the logits by {by!r}, which a tolerance could hide"


def _hashed(told: Any) -> bool:
    """Whether this is a SHA-256, or one for each of several files."""
    several = list(told.values()) if isinstance(told, dict) else [told]
    return bool(several) and all(re.fullmatch("[0-9a-f]{64}", str(each)) for each in several)


def _at(told: Mapping[str, Any], name: str) -> Any:
    outer, _, inner = name.rpartition(".")
    holder = told.get(outer) if outer else told
    return holder.get(inner) if isinstance(holder, dict) else None


def _truth(truth: Mapping[str, torch.Tensor]) -> Iterator[str]:
    """Names, types and shapes among themselves; then the values."""
    if missing := sorted(MAIN.keys() - truth.keys()):
        yield f"golden.safetensors lacks {', '.join(missing)}"
        return
    ids, logits, hidden = (truth[name] for name in MAIN)
    if ids.dim() != 2 or tuple(logits.shape[:2]) != tuple(ids.shape) or logits.dim() != 3:
        yield f"input_ids {tuple(ids.shape)} and logits {tuple(logits.shape)} are not [B, T] and [B, T, V]"
    elif hidden.dim() != 4 or tuple(hidden.shape[1:3]) != tuple(ids.shape):
        yield f"hidden_states {tuple(hidden.shape)} is not [L + 1, {ids.shape[0]}, {ids.shape[1]}, H]"
    for name, tensor in truth.items():
        known = [(kind, whole) for pattern, kind, whole in MORE if pattern.fullmatch(name)]
        kind, whole = (MAIN[name], False) if name in MAIN else known[0] if known else (None, False)
        if kind is None:
            yield f"golden.safetensors: {name} is nothing that the format knows"
        elif tensor.dtype != kind:
            yield f"golden.safetensors: {name} is {tensor.dtype}, not {kind}"
        elif whole and tensor.shape != logits.shape:
            yield f"golden.safetensors: {name} is {tuple(tensor.shape)}, the logits are {tuple(logits.shape)}"
        elif not bool(torch.isfinite(tensor).all()):
            yield f"golden.safetensors: {name} is not finite"
    if not (bool((ids >= 0).all()) and bool((ids < logits.shape[-1]).all())):
        yield f"input_ids lie outside the {logits.shape[-1]} tokens of the logits"
    if not float(logits.std()) > 0.1:
        yield "the logits hardly differ from one another: a mistake would not move them"


def _parts(checkpoint: Path) -> list[Path]:
    return [checkpoint / part for part in PARTS if (checkpoint / part).is_dir()] or [checkpoint]


def _adapter(folder: Path) -> None:
    opened = open_adapter(folder)
    with open_sources(opened) as sources:
        for tensor in opened.tensors.values():
            read_tensor(sources, tensor)


_FLOATS = {"F32": torch.float32, "BF16": torch.bfloat16, "F16": torch.float16, "F64": torch.float64}


def _values(checkpoint: Checkpoint) -> Iterator[str]:
    """Every weight is read, and is a number."""
    with open_sources(checkpoint) as sources:
        for name, tensor in checkpoint.tensors.items():
            content = read_tensor(sources, tensor)
            if tensor.dtype in _FLOATS and len(content):
                values = torch.frombuffer(bytearray(content), dtype=_FLOATS[tensor.dtype])
                if not bool(torch.isfinite(values).all()):
                    yield f"checkpoint: {name} is not finite"


def _stored(checkpoint: Checkpoint, told: Mapping[str, Any]) -> Iterator[str]:
    """The type and the number of tensors, as far as provenance.json states them."""
    if (kind := STORED.get(str(told.get("checkpoint_dtype")))) is not None:
        kinds = sorted({tensor.dtype for name, tensor in checkpoint.tensors.items() if not name.endswith("freqs")})
        if kinds != [kind]:
            yield f"checkpoint: the tensors are {', '.join(kinds)}, provenance.json says {told['checkpoint_dtype']}"
    if (count := told.get("n_tensors")) is not None and count != len(checkpoint.tensors):
        yield f"checkpoint: {len(checkpoint.tensors)} tensors, provenance.json says {count}"


def _sizes(checkpoint: Checkpoint, truth: Mapping[str, torch.Tensor]) -> Iterator[str]:
    """What config.json says against the shapes of what was computed; an adapter may have added tokens."""
    config = dict(checkpoint.config)
    for key in WITHIN:
        if isinstance(inner := config.get(key), Mapping):
            config |= inner
    said = [next((config[key] for key in keys if config.get(key)), None) for keys in (LAYERS, HIDDEN, VOCAB)]
    hidden, vocab = truth["hidden_states"].shape, truth["logits"].shape[-1]
    adapted = any(name.startswith("merged::") for name in truth)
    for what, size, found in zip(("layers", "width", "tokens"), said, (hidden[0] - 1, hidden[3], vocab), strict=True):
        if size in (None, -1):  # Meta leaves the vocabulary to the tokenizer
            continue
        if size != found and not (what == "tokens" and adapted and size < found):
            yield f"the config says {size} {what}, golden.safetensors was computed with {found}"


def main(folders: Sequence[str]) -> int:
    """Print what is wrong with each folder; the exit status."""
    chosen = [Path(folder) for folder in folders] or [case.folder for case in goldens()]
    wrong = 0
    for folder in chosen:
        found = faults(folder)
        wrong += bool(found)
        sys.stdout.writelines(f"{folder.name}: {fault}\n" for fault in found)
    sys.stdout.write(f"{len(chosen) - wrong} of {len(chosen)} golden folders are in order\n")
    return 1 if wrong or not chosen else 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
