"""What a stranger writes and we read: good files to begin with, and the product's own way to read one."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import convert
from convert.checkpoint import open_adapter, open_checkpoint
from convert.claims import claim, compared_tokens, explained, remade_plan
from convert.edits.adapter import read_adapter
from convert.edits.lossless import plan_lossless
from convert.edits.lossless_making import make_lossless
from convert.prepare import plan_conversion
from convert.recipe import read_recipe
from convert.saved import load_plan, saved_text
from convert.validate.card_text import block, read_card
from convert.validate.check import validate
from mappings.tokenizers import recipe_for
from surgery.tokenizer.chat import check_template
from surgery.tokenizer.sources import read as read_vocabulary
from tests.checkpoint.test_torch_file import legacy
from tests.checkpoint.written import number, pickle_of, safetensors, tensor, text, torch_zip
from tests.fuzz.shapes import Shape
from tests.goldens import golden
from tests.trained.kinds import kind
from tests.validate.repository import good

_CARD = """---
license: apache-2.0
language: [en, zh]
base_model: a/b
model-index:
- name: x
  results:
  - task: {type: text-generation}
    dataset: {name: d, type: d}
    metrics: [{type: acc, value: 0.5}]
---
# A model

```python
x = "{{ y }}"
```
"""
_RECIPE = """source = "a"
output = "out"
target = "llama"
max-shard-size = "5GB"
[[edit]]
do = "cast"
dtype = "bfloat16"
[[edit]]
do = "merge-lora"
adapter = "b"
weight = 0.5
"""
_TEMPLATE = b"{% for m in messages %}{{ m['role'] + m.content|trim }}{% endfor %}"


@dataclass(frozen=True)
class Surface:
    """``read`` reads a file in a folder that ``prepare`` has filled once; ``seeds`` are good files of its kind."""

    shape: Shape
    seeds: Callable[[Path], tuple[bytes, ...]]
    read: Callable[[bytes, Path], Any]
    prepare: Callable[[Path], Any] = lambda folder: None


def _checkpoint(name: str) -> Callable[[Path], Any]:
    return lambda folder: shutil.copytree(golden(name).checkpoint, folder, dirs_exist_ok=True)


def _documents(name: str, *goldens: str) -> Callable[[Path], tuple[bytes, ...]]:
    return lambda folder: tuple((golden(one).checkpoint / name).read_bytes() for one in goldens)


def _there(name: str) -> Callable[[Path], tuple[bytes, ...]]:
    """The good file that the prepared folder has."""
    return lambda folder: ((folder / name).read_bytes(),)


def _config(data: bytes, folder: Path) -> None:
    (folder / "config.json").write_bytes(data)
    plan_conversion(open_checkpoint(folder), "llama").summary()


def _index(data: bytes, folder: Path) -> None:
    (folder / "pytorch_model.bin.index.json").write_bytes(data)
    open_checkpoint(folder)


def _weights(name: str) -> Callable[[bytes, Path], None]:
    def read(data: bytes, folder: Path) -> None:
        (folder / name).write_bytes(data)
        open_checkpoint(folder)

    return read


def _validated(name: str) -> Callable[[bytes, Path], None]:
    def read(data: bytes, folder: Path) -> None:
        (folder / name).write_bytes(data)
        validate(folder)

    return read


def _vocabulary(name: str, family: str) -> Callable[[bytes, Path], None]:
    def read(data: bytes, folder: Path) -> None:
        read_vocabulary({name: data})
        recipe_for(family, {name: data})

    return read


def _adapter(data: bytes, folder: Path) -> None:
    (folder / "adapter_config.json").write_bytes(data)
    read_adapter(open_adapter(folder))


def _card(data: bytes, folder: Path) -> None:
    card = read_card(data.decode(errors="replace"))
    block({"license": "mit"}, card)


def _recipe(data: bytes, folder: Path) -> None:
    (folder / "recipe.toml").write_bytes(data)
    read_recipe(folder / "recipe.toml")


def _plan(data: bytes, folder: Path) -> None:
    (folder / "plan.json").write_bytes(data)
    load_plan(folder / "plan.json")


def _saved(folder: Path) -> tuple[bytes, ...]:
    source = open_checkpoint(golden("baichuan-7b").checkpoint)
    plan = plan_conversion(source, "llama")
    return (saved_text(plan, {"src": str(source.path), "to": "llama", "from": None}, {}).encode(),)


def _converted(folder: Path) -> None:
    convert.write(plan_conversion(open_checkpoint(golden("baichuan-7b").checkpoint), "llama"), folder / "out", verify="off")


def _manifest(data: bytes, folder: Path) -> None:
    (folder / "out/weightsmith.json").write_bytes(data)
    source, output = open_checkpoint(golden("baichuan-7b").checkpoint), open_checkpoint(folder / "out")
    plan = remade_plan(source, output)
    explained(plan), claim(output, plan, None), compared_tokens(source, output)


def _made_delta(folder: Path) -> None:
    base, target = golden("llama-mha").checkpoint, folder / "target"
    shutil.copytree(base, target)
    make_lossless(open_checkpoint(base), open_checkpoint(target), folder / "delta")


def _delta(data: bytes, folder: Path) -> None:
    (folder / "delta/delta.json").write_bytes(data)
    plan_lossless(open_checkpoint(golden("llama-mha").checkpoint), folder / "delta")


def _template(data: bytes, folder: Path) -> None:
    check_template(data.decode(errors="replace"))


def _repository(folder: Path) -> None:
    good().write(folder)


def _pickled(folder: Path) -> tuple[bytes, ...]:
    inside = pickle_of(w=tensor(), v=tensor((2, 2), (1, 2)))[2:-1]
    program = pickle_of(model=inside, step=number(7), words=b"](" + text("x") + b"\x88Ne")
    return torch_zip(program), legacy(), b"\x80\x02" + inside + b"."


def _headers(folder: Path) -> tuple[bytes, ...]:
    entry = {"dtype": "F32", "shape": [2, 1], "data_offsets": [0, 8]}
    return safetensors({"__metadata__": {"format": "pt"}, "w": entry}, b"\0" * 8), safetensors({}, b"")


SURFACES: Final[Mapping[str, Surface]] = {
    "config.json": Surface(
        "json", _documents("config.json", "baichuan-7b", "qwen2", "chatglm3", "llama-rope-llama3"), _config,
        _checkpoint("baichuan-7b"),
    ),
    "index.json": Surface(
        "json", _documents("pytorch_model.bin.index.json", "baichuan-7b"), _index, _checkpoint("baichuan-7b"),
    ),
    "safetensors": Surface("bytes", _headers, _weights("model.safetensors"), lambda folder: _bare(folder)),
    "pickle": Surface("bytes", _pickled, _weights("pytorch_model.bin"), lambda folder: _bare(folder)),
    "tokenizer.json": Surface(
        "json", lambda folder: tuple(kind(one).files["tokenizer.json"] for one in ("qwen2-json",)),
        _vocabulary("tokenizer.json", "qwen2"),
    ),
    "sentencepiece": Surface(
        "bytes", lambda folder: tuple(kind(one).files["tokenizer.model"] for one in ("llama", "unigram")),
        _vocabulary("tokenizer.model", "llama"),
    ),
    "tiktoken": Surface("bytes", lambda folder: (b"IQ== 0\nIg== 1\nISI= 2\n",), _vocabulary("qwen.tiktoken", "qwen")),
    "manifest": Surface("json", _there("out/weightsmith.json"), _manifest, _converted),
    "plan": Surface("json", _saved, _plan),
    "recipe": Surface("bytes", lambda folder: (_RECIPE.encode(),), _recipe),
    "adapter": Surface(
        "json", _there("adapter_config.json"), _adapter,
        lambda folder: shutil.copytree(golden("lora-qv-only").checkpoint / "adapter", folder, dirs_exist_ok=True),
    ),
    "delta": Surface("json", _there("delta/delta.json"), _delta, _made_delta),
    "card": Surface("bytes", lambda folder: (_CARD.encode(),), _card),
    "template": Surface("bytes", lambda folder: (_TEMPLATE,), _template),
    "repository/config.json": Surface("json", _there("config.json"), _validated("config.json"), _repository),
    "repository/README.md": Surface("bytes", lambda folder: (_CARD.encode(),), _validated("README.md"), _repository),
    "repository/generation_config.json": Surface(
        "json", _there("generation_config.json"), _validated("generation_config.json"), _repository,
    ),
}  # fmt: skip


def _bare(folder: Path) -> None:
    shutil.copy(golden("baichuan-7b").checkpoint / "config.json", folder)
