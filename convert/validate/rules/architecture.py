"""Names and shapes against the family tables: what is missing, what nobody reads, what lies the wrong way round."""

from __future__ import annotations

from collections.abc import Iterator

from convert.checkpoint.files import Sources
from convert.checkpoint.reading import read_rows, read_tensor
from convert.checkpoint.stored import Stored
from convert.validate.rule import Found, rule
from convert.validate.subject import Subject
from surgery.errors import listed, show

_TABLES = "the family's table in mappings/, and the class it names"
_RANDOM = "transformers 5.23, executed: missing tensors are initialised at random and only logged"
SAMPLE = 64 << 20  # bytes of a tensor up to which all is compared without --deep


@rule(
    "architecture-unknown", "note",
    what="there is no table for this architecture",
    why="names, shapes, tie and head are not checked; all other groups are",
    fix="nothing; `weightsmith families` lists what is known",
    source="mappings/",
)  # fmt: skip
def architecture_unknown(subject: Subject) -> Iterator[Found]:
    if (
        subject.config
        and not subject.expected.candidates
        and not subject.expected.quantised
        and subject.kind != "adapter"
    ):
        wrapper = " (a vision-language wrapper)" if subject.is_wrapper else ""
        yield Found(
            subject.config_name,
            f"{show(subject.config.get('architectures'))}{wrapper}: names and shapes are not checked",
        )


@rule(
    "architecture-ambiguous", "note",
    what="the config fits several variants that compute different things",
    why="whoever loads or converts the model must say which it is; names and shapes are the same and were checked",
    fix="say in the card which variant it is",
    source=_TABLES,
)  # fmt: skip
def architecture_ambiguous(subject: Subject) -> Iterator[Found]:
    if len(subject.expected.candidates) > 1:
        yield Found(subject.config_name, f"it may be {' or '.join(f.title for f in subject.expected.candidates)}")


@rule(
    "weights-quantised", "note",
    what="the weights are quantised in a format that the tables do not describe",
    why="names and shapes are not checked",
    fix="nothing; validate the original model as well",
    source="convert.checkpoint.quantised",
)  # fmt: skip
def weights_quantised(subject: Subject) -> Iterator[Found]:
    if subject.expected.quantised:
        yield Found(subject.config_name, subject.expected.quantised)


@rule(
    "architecture-unsolved", "error",
    what="the tensors do not have the form that the config's architecture has",
    why="sizes that the config leaves open cannot be found in any tensor, or slabs do not fit together",
    fix="take config and weights from the same model",
    source=_TABLES,
)  # fmt: skip
def architecture_unsolved(subject: Subject) -> Iterator[Found]:
    known = subject.expected
    if known.problem and known.facts is not None and subject.whole and not known.contradiction:
        yield Found(subject.config_name, known.problem)


@rule(
    "layer-count", "error", needs="table",
    what="the number of layers in the weights is not what the config says",
    why="layers too few are initialised at random, layers too many are dropped",
    fix="correct num_hidden_layers, or take config and weights from the same model",
    source=_RANDOM,
)  # fmt: skip
def layer_count(subject: Subject) -> Iterator[Found]:
    known = subject.expected
    if known.shapes and known.layers and subject.whole and known.facts is not None:
        count = known.facts["layer"] + known.facts["mtp"]
        if known.layers != frozenset(range(count)):
            gaps = sorted(frozenset(range(count)) ^ known.layers)
            yield Found(
                subject.config_name,
                f"the config says {count}, the weights have {len(known.layers)} (differing: {listed(gaps)})",
            )


@rule(
    "tensor-missing", "error", needs="table",
    what="tensors that the architecture needs are missing",
    why="transformers fills them with random numbers and says so only in its log; the model talks nonsense",
    fix="save or convert the model again; nothing can make up a weight",
    source=_RANDOM,
)  # fmt: skip
def tensor_missing(subject: Subject) -> Iterator[Found]:
    if not subject.whole:
        return
    head = subject.expected.row_name("head")
    missing = [
        n for n in subject.expected.shapes if n not in subject.expected.stored and n != head and _in_layers(subject, n)
    ]
    for file, names in _by_file(subject, missing).items():
        yield Found(file, f"{len(names)} missing: {listed(map(show, names))}", names[0])


@rule(
    "head-missing", "error", needs="table",
    what="there is no output projection, and the config does not tie it to the embeddings",
    why="transformers initialises lm_head at random: every logit is noise",
    fix="set tie_word_embeddings to true if the model is tied, else save lm_head",
    source=_RANDOM + "; vLLM #6758, Megatron-Bridge #919",
)  # fmt: skip
def head_missing(subject: Subject) -> Iterator[Found]:
    head = subject.expected.row_name("head")
    if subject.whole and head in subject.expected.shapes and head not in subject.expected.stored:
        yield Found(subject.config_name, f"{show(head)} is not stored and tie_word_embeddings is not true", head)


@rule(
    "tensor-unexpected", "error", needs="table",
    what="there are tensors that the architecture does not read",
    why="they are dropped on loading with a log line: a bias, a renamed layer or a whole adapter is lost",
    fix="rename them, correct the config key that switches them on, or remove them",
    source=_RANDOM,
)  # fmt: skip
def tensor_unexpected(subject: Subject) -> Iterator[Found]:
    known = subject.expected
    if not known.shapes:
        return
    head = known.row_name("head")
    extra = [
        n for n in known.stored if n not in known.shapes and n != head and not known.left(n) and _in_layers(subject, n)
    ]
    for file, names in _by_file(subject, extra).items():
        yield Found(file, f"{len(names)} that nothing reads: {listed(map(show, names))}", names[0])


@rule(
    "buffer-saved", "note", needs="table",
    what="buffers are stored that every loader computes anew",
    why="harmless, but mlx and strict loaders may refuse them, and a wrong one has misled people",
    fix="`weightsmith run SRC OUT` leaves them out",
    source=_TABLES,
)  # fmt: skip
def buffer_saved(subject: Subject) -> Iterator[Found]:
    known = subject.expected
    left = [name for name in known.stored if name not in known.shapes and known.left(name, parts=False)]
    if known.shapes and left:
        yield Found(_file_of(subject, left[0]), f"{len(left)}, such as {show(left[0])}: {known.left(left[0])}", left[0])


@rule(
    "parts-unchecked", "note", needs="table",
    what="parts of the model lie outside what the table describes",
    why="the language model was checked; names and shapes of vision, audio or prediction parts were not",
    fix="nothing",
    source=_TABLES,
)  # fmt: skip
def parts_unchecked(subject: Subject) -> Iterator[Found]:
    known = subject.expected
    parts = [n for n in known.stored if n not in known.shapes and known.left(n) and not known.left(n, parts=False)]
    if known.shapes and parts:
        yield Found(
            _file_of(subject, parts[0]), f"{len(parts)}, such as {show(parts[0])}: {known.left(parts[0])}", parts[0]
        )


@rule(
    "tensor-transposed", "error", needs="table",
    what="a matrix lies the wrong way round",
    why="loading fails, or for square matrices computes nonsense",
    fix="transpose it: Conv1D weights (GPT-2) and JAX kernels are stored input first",
    source=_TABLES,
)  # fmt: skip
def tensor_transposed(subject: Subject) -> Iterator[Found]:
    for name, expected, actual in _misshapen(subject):
        if expected == actual[::-1]:
            yield Found(_file_of(subject, name), f"{show(name)} is {_by(actual)}, expected {_by(expected)}", name)


@rule(
    "tensor-shape", "error", needs="table",
    what="a tensor has another shape than the config says",
    why="loading fails with a size mismatch, or with ignore_mismatched_sizes fills it with random numbers",
    fix="take config and weights from the same model",
    source=_TABLES,
)  # fmt: skip
def tensor_shape(subject: Subject) -> Iterator[Found]:
    wrong = [item for item in _misshapen(subject) if item[1] != item[2][::-1] and not _only_rows(subject, *item)]
    for file, names in _by_file(subject, [name for name, _, _ in wrong]).items():
        first = next(item for item in wrong if item[0] == names[0])
        yield Found(
            file, f"{len(names)}, such as {show(first[0])}: {_by(first[2])}, expected {_by(first[1])}", first[0]
        )


@rule(
    "vocab-rows", "error", needs="table",
    what="the embedding or the output projection has other rows than vocab_size",
    why="loading fails with a size mismatch, or ids beyond the rows read outside the matrix",
    fix="set vocab_size to the number of rows, and see that the tokenizer has no id above it",
    source="Chinese-LLaMA-Alpaca #87, llama.cpp #3633, Megatron-Bridge #625",
)  # fmt: skip
def vocab_rows(subject: Subject) -> Iterator[Found]:
    for name, expected, actual in _misshapen(subject):
        if _only_rows(subject, name, expected, actual):
            yield Found(
                _file_of(subject, name), f"{show(name)} has {actual[0]} rows, vocab_size is {expected[0]}", name
            )


@rule(
    "tied-head-differs", "error", needs="table",
    what="the config ties the output projection to the embeddings, but the stored one is different",
    why="transformers keeps both and warns, vLLM and llama.cpp take one: the logits differ from server to server",
    fix="set tie_word_embeddings to false if the model has two matrices, else remove the stale one",
    source="transformers 5.23, executed; vLLM #16555, llama.cpp #12567",
)  # fmt: skip
def tied_head_differs(subject: Subject) -> Iterator[Found]:
    pair = _tied_pair(subject)
    if pair is not None and not alike(subject, *pair):
        yield Found(pair[0].file, f"{show(pair[0].name)} differs from {show(pair[1].name)}", pair[0].name)


@rule(
    "tied-head-stored", "warning", needs="table",
    what="the output projection is stored beside the embeddings that it is tied to",
    why="it doubles their bytes, and is wrong as soon as one of them is changed",
    fix="`weightsmith run SRC OUT` leaves the copy out after comparing all of it",
    source="safetensors #98, vLLM #53019",
)  # fmt: skip
def tied_head_stored(subject: Subject) -> Iterator[Found]:
    pair = _tied_pair(subject)
    if pair is not None and alike(subject, *pair):
        some = "" if pair[0].nbytes <= SAMPLE else " in the blocks that were compared (--deep compares all)"
        yield Found(pair[0].file, f"{show(pair[0].name)} equals {show(pair[1].name)}{some}", pair[0].name)


@rule(
    "processor-missing", "warning",
    what="a vision-language model has no processor config",
    why="AutoProcessor cannot prepare images for it",
    fix="copy preprocessor_config.json from the source model",
    source="transformers 5.23 AutoProcessor",
)  # fmt: skip
def processor_missing(subject: Subject) -> Iterator[Found]:
    names = ("preprocessor_config.json", "processor_config.json")
    if subject.is_wrapper and subject.kind == "model" and not any(name in subject.folder.names for name in names):
        yield Found(names[0], f"{names[0]} is not there, though the config is of a model that sees or hears")


def alike(subject: Subject, one: Stored, other: Stored) -> bool:
    """Whether two tensors are equal: by hashes after a deep pass, by all bytes if small, else by some rows."""
    if (one.dtype, one.shape) != (other.dtype, other.shape):
        return False
    if subject.scan is not None:
        seen = [subject.scan.tensors[t.file, t.name].digest for t in (one, other)]
        return seen[0] == seen[1]
    with Sources({t.file: subject.weights.files[t.file] for t in (one, other)}) as sources:
        if one.nbytes <= SAMPLE:
            return read_tensor(sources, one) == read_tensor(sources, other)
        rows = one.shape[0]
        places = sorted({rows * step // 64 for step in range(64)} | {rows - 1})
        return all(read_rows(sources, one, at, at + 1) == read_rows(sources, other, at, at + 1) for at in places)


def _tied_pair(subject: Subject) -> tuple[Stored, Stored] | None:
    known = subject.expected
    if known.facts is None or not known.shapes or not known.facts["tied"]:
        return None
    head, embed = (known.stored.get(known.row_name(role)) for role in ("head", "embed"))
    if head is None or embed is None or subject.kind == "meta":
        return None
    return subject.tensors[head.stored[0].name], subject.tensors[embed.stored[0].name]


def _misshapen(subject: Subject) -> Iterator[tuple[str, tuple[int, ...], tuple[int, ...]]]:
    known = subject.expected
    for name, expected in known.shapes.items():
        if (found := known.stored.get(name)) is not None and tuple(found.shape) != expected:
            yield name, expected, tuple(found.shape)


def _only_rows(subject: Subject, name: str, expected: tuple[int, ...], actual: tuple[int, ...]) -> bool:
    ends = (subject.expected.row_name("embed"), subject.expected.row_name("head"))
    return name in ends and expected[1:] == actual[1:] and expected[0] != actual[0]


def _in_layers(subject: Subject, name: str) -> bool:
    """Whether a name is of a layer that both the config and the weights have; others are `layer-count`'s to tell."""
    layer, known = subject.expected.layer_of(name), subject.expected
    if layer is None or known.facts is None:
        return True
    return layer in known.layers and layer < known.facts["layer"] + known.facts["mtp"]


def _file_of(subject: Subject, name: str) -> str:
    """The weight file that has a tensor, or where the index says that it should be."""
    found = subject.expected.stored.get(name)
    if found is not None:
        return subject.tensors[found.stored[0].name].file
    placed = subject.index.weight_map.get(name) if subject.index is not None else None
    return placed or (subject.index.name if subject.index is not None else (subject.weights.names or (".",))[0])


def _by_file(subject: Subject, names: list[str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name in names:
        found.setdefault(_file_of(subject, name), []).append(name)
    return found


def _by(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape)) or "scalar"
