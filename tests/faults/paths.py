"""The paths by which bytes come to be under OUT, each with a small input made of the goldens and the trained vocabularies.

Of every document of an input a second content is kept that is as good as the first, so that an exchange can be told.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from convert.checkpoint import open_checkpoint
from convert.edits.lossless_making import make_lossless
from tests.goldens import golden
from tests.trained.checkpoints import size_of, widened
from tests.trained.kinds import kind
from tests.trained.pieces import form

_WEIGHTS = (".safetensors", ".bin", ".zst")
_LICENCE = "Permission is granted to every test to copy this model.\n"
_SIZE = ("--max-shard-size", "200KB")  # several files of output
_UNVERIFIED = ("--verify", "off", *_SIZE)
#: config keys that any model may have another value of, in the order in which one is looked for
_LENGTHS = ("max_position_embeddings", "model_max_length", "max_length")


@dataclass(frozen=True)
class Case:
    """A command that makes OUT of a folder IN; words are completed with both."""

    name: str
    about: str
    folder: Path  # IN
    words: tuple[str, ...]  # with {in} and {out}
    source: str = "."  # the checkpoint in IN that the command calls SRC
    others: Mapping[str, bytes] = field(default_factory=dict)  # document -> another content of it

    def command(self, folder: Path, out: Path) -> list[str]:
        """The command line for an input (IN, or a copy of it) and an output."""
        return [word.replace("{in}", str(folder)).replace("{out}", str(out)) for word in self.words]

    @property
    def weights(self) -> list[str]:
        """Every file with tensors, by its name relative to IN."""
        files = (path for path in sorted(self.folder.rglob("*")) if path.suffix in _WEIGHTS)
        return [str(path.relative_to(self.folder)) for path in files]


def case(name: str, room: Path) -> Case:
    """The path of this name, its input made in a folder of its own."""
    about, make, words, source = _PATHS[name]
    folder = room / name
    folder.mkdir(parents=True)
    make(folder)
    documents = {
        str(path.relative_to(folder)): _another(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.suffix not in _WEIGHTS and not path.name.endswith(".index.json")
    }
    return Case(name, about, folder, tuple(words), source, documents)


def _another(path: Path) -> bytes:
    """Another content for a document, which a command takes as it takes the first."""
    content = path.read_bytes()
    if path.name == "tokenizer.model":
        model = form.ModelProto.FromString(content)
        model.pieces[-1].piece = "\ue0ff\ue0ff"
        changed: bytes = model.SerializeToString()
        return changed
    if path.suffix == ".json":
        return _another_json(json.loads(content))
    return content + (b"another\n" if path.suffix == ".txt" else b"# and to nobody else\n")


def _another_json(value: dict[str, Any]) -> bytes:
    length = next((key for key in _LENGTHS if key in value), None)
    if length is not None:
        value[length] *= 2
    elif "lora_alpha" in value:
        value["lora_alpha"] *= 2
    return json.dumps(value, indent=3).encode()


def _tensors(folder: Path) -> dict[str, torch.Tensor]:
    found: dict[str, torch.Tensor] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix == ".safetensors":
            found |= load_file(path)
        elif path.suffix == ".bin":
            found |= torch.load(path, weights_only=True)
    return found


def _written(tensors: Mapping[str, torch.Tensor], config: Mapping[str, Any], folder: Path, shards: int = 3) -> None:
    """A checkpoint of so many safetensors files, with an index and a licence."""
    folder.mkdir(parents=True, exist_ok=True)
    files = [f"model-{place + 1:05d}-of-{shards:05d}.safetensors" for place in range(shards)]
    where = {name: files[place * shards // len(tensors)] for place, name in enumerate(sorted(tensors))}
    for file in files:
        save_file({name: tensors[name].contiguous() for name in where if where[name] == file}, folder / file, {"format": "pt"})
    total = sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
    index = {"metadata": {"total_size": total}, "weight_map": where}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "LICENSE").write_text(_LICENCE)


def _copied(checkpoint: Path, folder: Path) -> None:
    shutil.copytree(checkpoint, folder, dirs_exist_ok=True)
    (folder / "LICENSE").write_text(_LICENCE)


def _with_tokenizer(name: str, folder: Path) -> None:
    """A golden with a row for every piece of a trained SentencePiece model, and the model."""
    pieces = kind("llama-other-size")
    made = widened(golden(name).checkpoint, size_of(pieces), pieces.files, folder.with_name(f"{folder.name}.whole"))
    _written(_tensors(made), json.loads((made / "config.json").read_text()), folder)
    for file in pieces.files:
        shutil.copy(made / file, folder / file)
    shutil.rmtree(made)


def _mistral(folder: Path) -> None:
    _with_tokenizer("mistral", folder)


def _baichuan(folder: Path) -> None:
    _copied(golden("baichuan-7b").checkpoint, folder)


def _baichuan_2(folder: Path) -> None:
    _copied(golden("baichuan2-7b").checkpoint, folder)


def _lora(folder: Path) -> None:
    _copied(golden("lora-qv-only").checkpoint / "base", folder / "base")
    shutil.copytree(golden("lora-qv-only").checkpoint / "adapter", folder / "adapter")


def _words(folder: Path) -> None:
    _with_tokenizer("llama-mha", folder / "base")
    (folder / "words.txt").write_text("weightsmith\nsurgery\ncheckpoint\n")


def _llama(folder: Path) -> None:
    checkpoint = golden("llama-gqa").checkpoint
    _written(_tensors(checkpoint), json.loads((checkpoint / "config.json").read_text()), folder)


def _recipe(folder: Path) -> None:
    _lora(folder)
    (folder / "recipe.toml").write_text(
        'source = "base"\ntarget = "internlm2"\nmax-shard-size = "200KB"\n\n'
        '[[edit]]\ndo = "merge-lora"\nadapter = "adapter"\n\n[[edit]]\ndo = "cast"\ndtype = "bfloat16"\n'
    )


def _two(folder: Path) -> None:
    """A base, and a target that differs in two of its tensors, in its config and by a tokenizer."""
    _with_tokenizer("llama-mha", folder / "base")
    shutil.copytree(folder / "base", folder / "target")
    for file in sorted((folder / "target").glob("*.safetensors")):
        tensors = load_file(file)
        for name in sorted(tensors)[:4]:
            tensors[name] = tensors[name] + 0.01
        save_file(tensors, file, {"format": "pt"})
    config = json.loads((folder / "target" / "config.json").read_text())
    (folder / "target" / "config.json").write_text(json.dumps(config | {"rope_theta": 20000.0}))


def _delta(folder: Path) -> None:
    _two(folder)
    make_lossless(open_checkpoint(folder / "base"), open_checkpoint(folder / "target"), folder / "delta")
    shutil.rmtree(folder / "target")


_ONE = ("{in}", "{out}")
_BASE = ("{in}/base", "{out}")
#: name -> what it is, how its input is made, its words, its SRC
_PATHS: Mapping[str, tuple[str, Callable[[Path], None], tuple[str, ...], str]] = {
    "bytes": (
        "bytes moved: Mistral to Llama, two workers",
        _mistral, ("weightsmith", "mistral-to-llama", *_ONE, *_UNVERIFIED, "--tokenizer", "carry", "-j", "2"), ".",
    ),
    "bin": ("`.bin` files: Baichuan to Llama", _baichuan, ("weightsmith", "baichuan-to-llama", *_ONE, *_UNVERIFIED), "."),
    "baichuan2": (
        "computed: Baichuan 2 to Llama", _baichuan_2, ("weightsmith", "baichuan-to-llama", *_ONE, *_UNVERIFIED), ".",
    ),
    "verified": (
        "the same, verified before it is published", _baichuan_2, ("weightsmith", "baichuan-to-llama", *_ONE, *_SIZE), ".",
    ),
    "merge-lora": (
        "`surgery merge-lora`", _lora, ("surgery", "merge-lora", *_BASE, "--adapter", "{in}/adapter", *_UNVERIFIED), "base",
    ),
    "extend-vocab": (
        "`surgery extend-vocab`",
        _words, ("surgery", "extend-vocab", *_BASE, "--add", "{in}/words.txt", "--no-effect", *_UNVERIFIED), "base",
    ),
    "cast": ("`surgery cast`", _llama, ("surgery", "cast", *_ONE, "--dtype", "bfloat16", *_UNVERIFIED), "."),
    "recipe": (
        "`surgery run`: merge-lora, cast, to InternLM2, two workers",
        _recipe, ("surgery", "run", "{in}/recipe.toml", "{out}", "--verify", "off", "-j", "2"), "base",
    ),
    "make-delta": (
        "`surgery make-delta`, lossless",
        _two, ("surgery", "make-delta", "--lossless", "{in}/base", "{in}/target", "{out}"), "target",
    ),
    "apply-delta": (
        "`surgery apply-delta`, lossless", _delta, ("surgery", "apply-delta", *_BASE, "--delta", "{in}/delta"), "base",
    ),
}  # fmt: skip
NAMES = tuple(_PATHS)
ABOUT = {name: path[0] for name, path in _PATHS.items()}
