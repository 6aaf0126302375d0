"""What the headers say about the tensors: marks, sizes, alignment and element types."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise

from convert.checkpoint.names import printed
from convert.manifest import NAME as MANIFEST
from convert.report import size
from convert.validate.expected import dtype_name
from convert.validate.rule import Found, rule
from convert.validate.subject import Subject
from surgery.dtypes import FLOATS, ITEMSIZE, QUANTISED
from surgery.errors import listed, show

HUB_HEADER = 25_000_000  # bytes: what the Hub's clients read of a header


@rule(
    "header-no-format", "warning",
    what='a safetensors file does not say `"format": "pt"`',
    why="transformers 4 refuses such a file (OSError), because it cannot know which framework wrote it",
    fix='write `__metadata__: {"format": "pt"}` (`--fix` does)',
    source="transformers 4.57.6 modeling_utils.py load_state_dict; ecosystem facts 3.1",
)  # fmt: skip
def header_no_format(subject: Subject) -> Iterator[Found]:
    for name, contents in subject.weights.loaded.items():
        if name.endswith(".safetensors") and contents.metadata.get("format") != "pt":
            yield Found(name, f"the format in its metadata is {show(contents.metadata.get('format'))}")


@rule(
    "header-too-large", "error",
    what="a header is larger than the Hub's clients read",
    why="above 25 MB the Hub shows no tensors and parse_safetensors_file_metadata refuses the file",
    fix="write fewer tensors a file: `weightsmith repack SRC OUT --max-shard-size 5GB`",
    source="huggingface_hub 2.4 constants SAFETENSORS_MAX_HEADER_LENGTH = 25e6",
)  # fmt: skip
def header_too_large(subject: Subject) -> Iterator[Found]:
    for name in subject.weights.contents:
        if not name.endswith(".safetensors"):
            continue
        with open(subject.weights.files[name].path, "rb") as file:
            length = int.from_bytes(file.read(8), "little")
        if length > HUB_HEADER:
            yield Found(name, f"a header of {size(length)}; the limit is {size(HUB_HEADER)}")


@rule(
    "misaligned", "warning",
    what="a tensor does not begin at a multiple of its element size",
    why="it cannot be mapped into memory as it is: loaders copy it, and some runtimes read it slowly or not at all",
    fix="write the file again (`weightsmith repack SRC OUT` aligns)",
    source="safetensors README: alignment of the byte buffer",
)  # fmt: skip
def misaligned(subject: Subject) -> Iterator[Found]:
    for name, contents in subject.weights.contents.items():
        if name.endswith(".safetensors"):
            crooked = [t.name for t in contents.tensors.values() if t.numel and t.offset % ITEMSIZE[t.dtype]]
            if crooked:
                yield Found(name, f"{len(crooked)} misaligned: {listed(map(show, crooked))}", crooked[0])


@rule(
    "dtype-config", "warning",
    what="the config names another element type than the weights have",
    why='loaders with dtype="auto" cast every weight on loading: silently twice the memory, or half the precision',
    fix="correct dtype / torch_dtype in config.json (`--fix` does)",
    source="transformers 5.23 modeling_utils.py _get_dtype; lit-llama #414, MotionGPT #26",
)  # fmt: skip
def dtype_config(subject: Subject) -> Iterator[Found]:
    stated, stored = dtype_name(subject.config), main_dtype(subject)
    if stated is not None and stored is not None and stated != stored:
        yield Found(subject.config_name, f"it says {show(stated)}; most bytes are {stored}")


@rule(
    "dtype-keys-disagree", "warning",
    what="dtype and torch_dtype in the config differ",
    why="transformers 5 believes dtype, older versions torch_dtype",
    fix="give both the same value (`--fix` does where the weights decide)",
    source="transformers 5.23 configuration_utils.py, executed",
)  # fmt: skip
def dtype_keys_disagree(subject: Subject) -> Iterator[Found]:
    new, old = subject.config.get("dtype"), subject.config.get("torch_dtype")
    if new is not None and old is not None and new != old:
        yield Found(subject.config_name, f"dtype is {show(new)}, torch_dtype is {show(old)}")


@rule(
    "dtype-mixed", "warning",
    what="matrices are stored in several floating-point types",
    why="most loaders cast all to one, so that some of the model is not what was saved; it is often a slip of a merge",
    fix="write all in one type (`--dtype`), or ignore this rule if it is meant",
    source="lit-llama #414; mergekit #316",
)  # fmt: skip
def dtype_mixed(subject: Subject) -> Iterator[Found]:
    held: dict[str, list[str]] = {}
    for name, tensor in subject.tensors.items():
        if len(tensor.shape) >= 2 and tensor.dtype in FLOATS and name not in subject.expected.scaled:
            held.setdefault(tensor.dtype, []).append(name)
    if len(held) > 1 and not any(t.dtype in QUANTISED for t in subject.tensors.values()):
        rarest = min(held, key=lambda dtype: len(held[dtype]))
        counts = ", ".join(f"{len(names)} {dtype}" for dtype, names in sorted(held.items()))
        first = held[rarest][0]
        yield Found(subject.tensors[first].file, f"{counts}; {rarest} are {listed(map(show, held[rarest]))}", first)


@rule(
    "dtype-float64", "warning",
    what="weights are stored as float64",
    why="no inference runs in it: four times the bytes of bf16 for nothing",
    fix="`--dtype float32` or `bfloat16`",
    source="transformers and vLLM have no float64 kernels for attention",
)  # fmt: skip
def dtype_float64(subject: Subject) -> Iterator[Found]:
    wide = [t for t in subject.tensors.values() if t.dtype == "F64"]
    if wide:
        yield Found(wide[0].file, f"{len(wide)} tensor(s), {size(sum(t.nbytes for t in wide))}", wide[0].name)


@rule(
    "tensor-empty", "warning",
    what="a tensor has no elements",
    why="it is what a sharded training run saves on the wrong rank: the weight itself is lost",
    fix="save the model again with its parameters gathered",
    source="DeepSpeed ZeRO-3 state dicts without gathering",
)  # fmt: skip
def tensor_empty(subject: Subject) -> Iterator[Found]:
    for tensor in subject.tensors.values():
        if not tensor.numel:
            yield Found(tensor.file, f"{show(tensor.name)} has the shape {tensor.shape}", tensor.name)


@rule(
    "tensors-overlap", "warning",
    what="two tensors of a torch file share their bytes but are not the same tensor",
    why="writing one changes the other; safetensors cannot store it, and tools disagree about what is meant",
    fix="save clones of the tensors",
    source="safetensors torch shared tensors documentation",
)  # fmt: skip
def tensors_overlap(subject: Subject) -> Iterator[Found]:
    for name, contents in subject.weights.contents.items():
        if name.endswith(".safetensors"):
            continue
        placed = sorted(
            (t for t in contents.tensors.values() if t.numel and t.contiguous), key=lambda t: (t.offset, t.nbytes)
        )
        for one, other in pairwise(placed):
            same = (one.offset, one.nbytes) == (other.offset, other.nbytes)
            if other.offset < one.offset + one.nbytes and not same:
                yield Found(name, f"{show(one.name)} and {show(other.name)} overlap", other.name)


@rule(
    "manifest-size", "error",
    what="a weight file is not of the size that weightsmith.json recorded",
    why="it was changed or cut after the conversion that the manifest vouches for",
    fix="convert again, or remove the manifest if the change was meant",
    source="convert.manifest",
)  # fmt: skip
def manifest_size(subject: Subject) -> Iterator[Found]:
    for name, told in recorded(subject).items():
        entry = subject.files.get(name)
        path = (entry.real if entry.is_link else entry.path) if entry is not None else None
        if path is None:
            yield Found(MANIFEST, f"{printed(name)}, which it records, is not there")
        elif (actual := os.stat(path).st_size) != told.get("size"):
            yield Found(name, f"{actual} bytes; {MANIFEST} recorded {show(told.get('size'))}")


def recorded(subject: Subject) -> dict[str, dict[str, object]]:
    """The output files that our manifest vouches for, by name."""
    outputs = subject.provenance.get("outputs")
    entries = [entry for entry in outputs if isinstance(entry, dict)] if isinstance(outputs, list) else []
    return {entry["name"]: entry for entry in entries if isinstance(entry.get("name"), str)}


def main_dtype(subject: Subject) -> str | None:
    """The floating-point type that most bytes have, as config.json names it; of quantised weights, of the rest."""
    held: Counter[str] = Counter()
    for name, tensor in subject.tensors.items():
        if tensor.dtype in FLOATS and name not in subject.expected.scaled:
            held[FLOATS[tensor.dtype]] += tensor.nbytes
    return held.most_common(1)[0][0] if held else None
