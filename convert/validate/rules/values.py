"""The numbers themselves, found by `--deep`: what is none, what is all the same, what is there twice."""

from __future__ import annotations

import re
from collections.abc import Iterator

from convert.checkpoint.names import printed
from convert.validate.rule import Found, rule
from convert.validate.rules.headers import recorded
from convert.validate.scan import Seen
from convert.validate.subject import Subject
from surgery.errors import show

#: matrices over the vocabulary, which formats store under several names when a model shares them
_SHARED = re.compile(r"embed|head|wte|^output\.weight|/output\.weight")


@rule(
    "nan", "error", deep=True,
    what="a tensor holds NaN",
    why="one NaN makes every logit NaN",
    fix="go back to the checkpoint before it; a training run or a merge diverged",
    source="IEEE 754",
)  # fmt: skip
def nan(subject: Subject) -> Iterator[Found]:
    for file, name, seen in _seen(subject):
        if seen.nan:
            yield Found(file, f"{seen.nan} NaN in {show(name)}", name)


@rule(
    "infinite", "error", deep=True,
    what="a tensor holds infinities",
    why="they become NaN in the first product; most often a cast to float16 overflowed at 65504",
    fix="cast from the original weights again, to bfloat16 or float32",
    source="IEEE 754",
)  # fmt: skip
def infinite(subject: Subject) -> Iterator[Found]:
    for file, name, seen in _seen(subject):
        if seen.inf:
            yield Found(file, f"{seen.inf} infinities in {show(name)}", name)


@rule(
    "tensor-zero", "warning", deep=True,
    what="a weight is zero everywhere",
    why="the layer does nothing: it was never loaded or never trained",
    fix="look at how the tensor was made; ignore this rule if zeros are meant (as in an identity block)",
    source="Megatron-LM #5844: dropped experts; LLaMA-Pro for where it is meant",
)  # fmt: skip
def tensor_zero(subject: Subject) -> Iterator[Found]:
    for file, name, seen in _seen(subject):
        if (
            seen.zero
            and not name.endswith("bias")
            and not _is_added_to_one(subject, name)
            and subject.tensors[name].numel
            and not name.endswith("lora_B.weight")
        ):
            yield Found(file, f"{show(name)} is all zeros", name)


@rule(
    "rows-constant", "warning", deep=True,
    what="rows of a matrix hold one and the same number",
    why="they carry nothing: rows that a resize added and nobody trained, or that a bad copy overwrote",
    fix="initialise new rows from old ones (`surgery extend-vocab`); write overwritten ones again",
    source="TensorRT-LLM #98: padded tokens can be chosen",
)  # fmt: skip
def rows_constant(subject: Subject) -> Iterator[Found]:
    beyond = _unused_rows(subject)
    ends = (subject.expected.row_name("embed"), subject.expected.row_name("head"))
    for file, name, seen in _seen(subject):
        allowed = beyond if _row(subject, name) in ends else 0
        if seen.constant > allowed and not seen.zero:
            yield Found(file, f"{seen.constant} of {seen.rows} rows of {show(name)}", name)


@rule(
    "tensors-equal", "warning", deep=True,
    what="two matrices hold the same bytes",
    why="two layers are never equal after training: one was copied over the other, or layers were duplicated",
    fix="look at how the checkpoint was made; ignore this rule if layers were repeated on purpose",
    source="mergekit passthrough merges duplicate layers on purpose; other cases are slips",
)  # fmt: skip
def tensors_equal(subject: Subject) -> Iterator[Found]:
    first: dict[str, str] = {}
    for file, name, seen in _seen(subject):
        plain = seen.zero or not seen.digest or seen.constant == seen.rows > 0
        if (
            len(subject.tensors[name].shape) < 2
            or plain
            or _SHARED.search(name)
            or subject.expected.left(_row(subject, name))
        ):
            continue
        if (other := first.setdefault(seen.digest, name)) != name:
            yield Found(file, f"{show(name)} equals {show(other)}", name)


@rule(
    "manifest-hash", "error", deep=True,
    what="a weight file is not the one that weightsmith.json vouches for",
    why="it was changed after it was verified: a bad disk, a bad copy, or an edit",
    fix="convert again, or remove the manifest if the change was meant",
    source="convert.manifest: xxh3_128 of every file",
)  # fmt: skip
def manifest_hash(subject: Subject) -> Iterator[Found]:
    hashes = subject.scan.hashes if subject.scan is not None else {}
    for name, told in recorded(subject).items():
        if name in hashes and hashes[name] != told.get("xxh3_128"):
            yield Found(name, f"xxh3_128 {hashes[name]}; {printed(name)} was recorded as {show(told.get('xxh3_128'))}")


def _seen(subject: Subject) -> Iterator[tuple[str, str, Seen]]:
    """File, name and what was seen, of every tensor that was scanned and that loaders read."""
    scanned = subject.scan.tensors if subject.scan is not None else {}
    for name, tensor in subject.tensors.items():
        plain = name.partition("/")[2] if subject.kind == "meta" else name
        if (seen := scanned.get((tensor.file, plain))) is not None:
            yield tensor.file, name, seen


def _is_added_to_one(subject: Subject, name: str) -> bool:
    """Whether a tensor is the weight of a norm that multiplies by 1 + weight, so that zeros are what it begins with."""
    facts = subject.expected.facts
    return bool(facts and facts["norm.offset"]) and len(subject.tensors[name].shape) == 1


def _row(subject: Subject, name: str) -> str:
    return subject.expected.in_rows.get(name, name)


def _unused_rows(subject: Subject) -> int:
    """Rows of the embedding that may hold anything: those that no id reaches, and the one that torch keeps at zero."""
    top, rows, pad = subject.vocabulary.max_id, subject.rows, subject.text_config.get("pad_token_id")
    beyond = max(rows - top - 1, 0) if top is not None and rows is not None else 0
    return beyond + (isinstance(pad, int) and (top is None or pad <= top))
