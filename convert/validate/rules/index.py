"""The index against the headers, both ways, and the shards against their names."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from math import prod

from convert.checkpoint.names import check_shard_name, printed
from convert.checkpoint.shards import MISTRAL_FILE, Layout
from convert.validate.rule import Found, rule
from convert.validate.rules.adapter import NAME as ADAPTER
from convert.validate.subject import Subject
from surgery.errors import ConversionError, listed, show

_FORMAT = "huggingface_hub 2.4 serialization: StateDictSplit; transformers 5.23 modeling_utils.py"
_NUMBERED = re.compile(r"(.*)-(\d{5,6})-of-(\d{5,6})(\.\w+)")


@rule(
    "index-unreadable", "error",
    what="the index cannot be read",
    why="loaders look there first, and fail",
    fix="write it again (`weightsmith repack SRC OUT` does)",
    source=_FORMAT,
)  # fmt: skip
def index_unreadable(subject: Subject) -> Iterator[Found]:
    if subject.index is not None and subject.index.fault:
        yield Found(subject.index.name, subject.index.fault)


@rule(
    "index-path", "error",
    what="the index names a file outside its directory, or one that is no shard",
    why="a loader that follows it reads whatever lies there",
    fix="write the index again with plain file names",
    source="convert.checkpoint.names; path traversal by weight_map",
)  # fmt: skip
def index_path(subject: Subject) -> Iterator[Found]:
    if subject.index is None or subject.weights.layout is None:
        return
    for name in sorted(set(subject.index.weight_map.values())):
        try:
            check_shard_name(name, (subject.weights.layout.suffix,), subject.index.name)
        except ConversionError as error:
            yield Found(subject.index.name, str(error))


@rule(
    "shard-missing", "error",
    what="a shard is missing",
    why="loading fails, or with some loaders the absent tensors are left at random values",
    fix="download or write the missing shard",
    source=_FORMAT,
)  # fmt: skip
def shard_missing(subject: Subject) -> Iterator[Found]:
    named = set(subject.index.weight_map.values()) if subject.index is not None else set()
    where = (
        subject.index.name if subject.index is not None else subject.weights.names[0] if subject.weights.names else "."
    )
    wanted = {name for name in named if "/" not in name and "\\" not in name} or _promised(subject.weights.names)
    for name in sorted(wanted - subject.folder.names):
        yield Found(name if len(name) < 200 else where, f"{printed(name)} is not there, though {where} says so")


@rule(
    "shard-orphan", "error",
    what="a weight file belongs to nothing: the index does not name it, or its number does not fit",
    why="it is left from another save; mlx loads every model*.safetensors, so the stale tensors win there",
    fix="remove it, or write the index again if the shard belongs to the model",
    source="mlx-lm utils.py load_model globs model*.safetensors; " + _FORMAT,
)  # fmt: skip
def shard_orphan(subject: Subject) -> Iterator[Found]:
    if subject.index is None or not subject.index.weight_map:
        return
    layout = subject.weights.layout
    for name in subject.weights.unread:
        if layout is not None and name != layout.single and _is_read_by_mlx(name, layout):
            yield Found(name, f"{subject.index.name} does not name it")


@rule(
    "weights-beside", "warning",
    what="a weight file lies beside the model under a name that transformers does not read",
    why="everybody downloads it, and where there is no index vLLM loads every *.safetensors into the model",
    fix="remove it, or keep it in a folder or a repository of its own",
    source="transformers 5.23 _get_resolved_checkpoint_files; vLLM default_loader.py globs *.safetensors, and keeps to "
    "the index where there is one",
)  # fmt: skip
def weights_beside(subject: Subject) -> Iterator[Found]:
    """Mistral's own form of the same model, which its repositories have on purpose, is none of this."""
    layout, indexed = subject.weights.layout, bool(subject.index and subject.index.weight_map)
    loose = () if ADAPTER in subject.folder.names else subject.weights.adapters  # else adapter-beside tells
    for name in (*subject.weights.unread, *loose):
        if layout is None or layout.owns(name) or (indexed and _is_read_by_mlx(name, layout)):
            continue  # shard-orphan and index-and-single tell
        if not (MISTRAL_FILE.fullmatch(name) and "params.json" in subject.folder.names):
            yield Found(name, f"beside {printed((subject.weights.names or (layout.single,))[0])}")


@rule(
    "index-and-single", "error",
    what="a whole model file lies beside an index of other files",
    why="transformers loads the single file, vLLM the shards: two models under one name",
    fix="remove the one that is stale",
    source="transformers 5.23 _get_resolved_checkpoint_files looks for the single file first",
)  # fmt: skip
def index_and_single(subject: Subject) -> Iterator[Found]:
    layout, index = subject.weights.layout, subject.index
    there = (*subject.weights.names, *subject.weights.unread)
    if layout is None or layout.single not in there:
        return
    named = set(index.weight_map.values()) if index is not None else set()
    others = [] if layout.single in named else [n for n in there if n != layout.single and layout.owns(n)]
    if others or (named and layout.single not in named):
        yield Found(layout.single, f"beside {listed(map(printed, others or sorted(named)))}")


@rule(
    "index-missing", "error",
    what="shards have no index",
    why="transformers and vLLM do not find sharded weights without it",
    fix="write it (`weightsmith repack SRC OUT` does)",
    source=_FORMAT,
)  # fmt: skip
def index_missing(subject: Subject) -> Iterator[Found]:
    layout = subject.weights.layout
    if layout is None or subject.index is not None or layout.single in subject.weights.names:
        return
    if shards := [name for name in subject.weights.names if layout.owns(name)]:
        told = f"{len(shards)} shards" if len(shards) > 1 else printed(shards[0])
        yield Found(layout.index, f"{layout.index} is not there, beside {told}")


@rule(
    "index-absent-tensor", "error", needs="files",
    what="the index lists tensors that no shard has",
    why="the tensor was lost, and transformers fills it with random numbers, or the index is of another save",
    fix="write the shard again, or the index",
    source="transformers 5.23, executed: tensors that the class needs and no file has are initialised at random",
)  # fmt: skip
def index_absent_tensor(subject: Subject) -> Iterator[Found]:
    index = subject.index
    if index is None or not subject.whole:
        return
    absent = [n for n in index.weight_map if n not in subject.tensors and not subject.expected.is_tied_head(n)]
    if absent:
        yield Found(index.name, f"{len(absent)} in no shard: {listed(map(show, absent))}", absent[0])


@rule(
    "index-wrong-shard", "error",
    what="the index places a tensor in another shard than has it",
    why="loaders that open only the named shard do not find the tensor",
    fix="write the index again",
    source=_FORMAT,
)  # fmt: skip
def index_wrong_shard(subject: Subject) -> Iterator[Found]:
    if subject.index is None:
        return
    holders = _holders(subject)
    wrong = [n for n, shard in subject.index.weight_map.items() if n in holders and shard not in holders[n]]
    if wrong:
        held = holders[wrong[0]][0]
        yield Found(
            subject.index.name,
            f"{len(wrong)} elsewhere, such as {show(wrong[0])}, which is in {printed(held)}",
            wrong[0],
        )


@rule(
    "index-unlisted-tensor", "error",
    what="a shard has tensors that the index does not list",
    why="loaders that follow the index never read them and fill them with random numbers",
    fix="write the index again",
    source=_FORMAT,
)  # fmt: skip
def index_unlisted_tensor(subject: Subject) -> Iterator[Found]:
    if subject.index is None or not subject.index.weight_map:
        return
    named = set(subject.index.weight_map.values())
    for file in subject.weights.names:
        contents = subject.weights.contents.get(file)
        unlisted = [n for n in (contents.tensors if contents else ()) if n not in subject.index.weight_map]
        if unlisted and file in named:
            yield Found(
                file, f"{len(unlisted)} not in {subject.index.name}: {listed(map(show, unlisted))}", unlisted[0]
            )


@rule(
    "index-total-size", "warning", needs="files",
    what="total_size in the index is not the sum of the tensors",
    why="progress bars and memory estimates of the Hub, vLLM and accelerate go by it",
    fix="write the true sum (`--fix` does)",
    source="huggingface_hub 2.4 get_safetensors_metadata; transformers 5.23 save_pretrained",
)  # fmt: skip
def index_total_size(subject: Subject) -> Iterator[Found]:
    if subject.index is None or subject.index.fault or not subject.whole:
        return
    stated, actual = subject.index.metadata.get("total_size"), totals(subject)["total_size"]
    if stated != actual:
        yield Found(subject.index.name, f"total_size is {show(stated)}, the tensors have {actual} bytes")


@rule(
    "index-total-parameters", "warning", needs="files",
    what="total_parameters in the index is not the number of elements",
    why="the Hub shows it as the size of the model",
    fix="write the true number (`--fix` does)",
    source="transformers 5.23 save_pretrained writes it",
)  # fmt: skip
def index_total_parameters(subject: Subject) -> Iterator[Found]:
    if subject.index is None or subject.index.fault or not subject.whole:
        return
    stated, actual = subject.index.metadata.get("total_parameters"), totals(subject)["total_parameters"]
    if stated is not None and stated not in (actual, actual - _buffers(subject)):
        yield Found(subject.index.name, f"total_parameters is {show(stated)}, the tensors have {actual} elements")


@rule(
    "shard-name", "warning",
    what="a weight file is not named as loaders expect",
    why="globs such as model*.safetensors miss it, and the count in the name is how people notice a missing shard",
    fix="name shards model-00001-of-0000N.safetensors, a single file model.safetensors",
    source=_FORMAT,
)  # fmt: skip
def shard_name(subject: Subject) -> Iterator[Found]:
    layout = subject.weights.layout
    if layout is None:
        return
    for name in subject.weights.names:
        if not layout.owns(name):
            yield Found(name, f"neither {layout.single} nor one of its shards")
    counts = {match[3] for name in subject.weights.names if (match := _NUMBERED.fullmatch(name))}
    shards = [name for name in subject.weights.names if _NUMBERED.fullmatch(name)]
    if len(counts) > 1:
        yield Found(shards[-1], f"shards of several counts: {listed(sorted(counts))}")
    elif counts and int(next(iter(counts))) < len(shards):
        yield Found(shards[-1], f"{len(shards)} shards, though their names count {int(next(iter(counts)))}")


@rule(
    "tensor-twice", "error",
    what="two files have a tensor of the same name",
    why="which one counts depends on the order in which a loader reads the files",
    fix="write the checkpoint again (`weightsmith repack SRC OUT` refuses unless both are equal)",
    source="transformers 5.23 and vLLM read shard by shard; the last one wins",
)  # fmt: skip
def tensor_twice(subject: Subject) -> Iterator[Found]:
    if subject.kind == "meta":
        return
    twice = {name: files for name, files in _holders(subject).items() if len(files) > 1}
    if twice:
        name, files = next(iter(twice.items()))
        yield Found(files[1], f"{len(twice)} in two files, such as {show(name)} in {listed(map(printed, files))}", name)


def totals(subject: Subject) -> dict[str, int]:
    """What an index should say: bytes and elements of all tensors together."""
    tensors = subject.tensors.values()
    return {"total_size": sum(t.nbytes for t in tensors), "total_parameters": sum(prod(t.shape) for t in tensors)}


def _buffers(subject: Subject) -> int:
    """Elements of the tensors that transformers does not count as parameters: what is neither weight nor bias."""
    names = (t for name, t in subject.tensors.items() if not name.endswith((".weight", ".bias")))
    return sum(prod(tensor.shape) for tensor in names)


def _holders(subject: Subject) -> Mapping[str, list[str]]:
    found: dict[str, list[str]] = {}
    for file, contents in subject.weights.loaded.items():
        for name in contents.tensors:
            found.setdefault(name, []).append(file)
    return found


def _is_read_by_mlx(name: str, layout: Layout) -> bool:
    """Whether mlx-lm's glob takes the file, or the name says that it is a shard of this layout."""
    return layout.owns(name) or (name.startswith("model") and name.endswith(".safetensors"))


def _promised(names: tuple[str, ...]) -> set[str]:
    """The shards that numbered names say there are."""
    matches = [match for name in names if (match := _NUMBERED.fullmatch(name))]
    if not matches or int(matches[0][3]) > 10_000:
        return set()
    stem, _, count, suffix = matches[0].groups()
    return {f"{stem}-{number:0{len(count)}d}-of-{count}{suffix}" for number in range(1, int(count) + 1)}
