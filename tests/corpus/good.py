"""The good checkpoint that every case starts from, and the ways to write it again."""

from __future__ import annotations

import json
import os
import random
import shutil
import zlib
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from tests.corpus.files import Stored, Tensors, bytes_of, joined, laid_out, parted
from tests.trained.pieces import Spelled, model

HALVES = ("first", "second")
FAMILIES = ("baichuan", "llama")
INDEX = "model.safetensors.index.json"
HEAD, EMBEDDING, NORM = "lm_head.weight", "model.embed_tokens.weight", "model.norm.weight"
_MATRICES = ("mlp.up_proj", "mlp.gate_proj", "self_attn.o_proj", "mlp.down_proj")

T = TypeVar("T")


@cache
def tokenizer(pieces: int) -> bytes:
    return model(Spelled({"byte_fallback": False, "character_coverage": 0.98}, corpus="english", pieces=pieces))


class Good:
    """A case's place: `root` is the case's own, `folder` what is converted; `tensors` those of the last writing.

    `kept` is what an output must have; `lies` which shard holds a tensor; `input` what the command is given.
    """

    def __init__(self, root: Path, half: str, name: str, family: str | None) -> None:
        seed = zlib.crc32(f"{half} {name}".encode())
        self.root, self.folder, self.name, self.half = root, root / "in", name, half
        self.input = self.folder
        self.chance, self.numbers = random.Random(seed), np.random.default_rng(seed)
        self.family = family or self.chance.choice(FAMILIES)
        self.hidden, self.heads, self.inner, self.layers = self.one_of((16, 4, 40, 2), (24, 6, 56, 3))
        self.rows = self.one_of(128, 96)
        self.marker = self.numbers.bytes(24)
        self.canary = root / "ran"
        self.tensors: Tensors = {}
        self.kept: Tensors = {}
        self.lies: dict[str, str] = {}

    def one_of(self, first: T, second: T) -> T:
        """The detail of this half."""
        return first if self.half == HALVES[0] else second

    # what a checkpoint is made of

    def shapes(self) -> dict[str, tuple[int, ...]]:
        wide, inner = self.hidden, self.inner
        found: dict[str, tuple[int, ...]] = {EMBEDDING: (self.rows, wide)}
        packed = {"self_attn.W_pack": (3 * wide, wide)}
        apart = {f"self_attn.{part}_proj": (wide, wide) for part in "qkv"}
        layer = (packed if self.family == "baichuan" else apart) | {
            "self_attn.o_proj": (wide, wide), "mlp.gate_proj": (inner, wide), "mlp.up_proj": (inner, wide),
            "mlp.down_proj": (wide, inner), "input_layernorm": (wide,), "post_attention_layernorm": (wide,),
        }  # fmt: skip
        for at in range(self.layers):
            found |= {f"model.layers.{at}.{name}.weight": shape for name, shape in layer.items()}
        return found | {NORM: (wide,), HEAD: (self.rows, wide)}

    def stored(self, dtype: str, shape: Sequence[int]) -> Stored:
        """Chance values."""
        values = (self.numbers.standard_normal(tuple(shape)) * 0.05).astype(np.float32)
        if dtype == "BF16":
            data = (values.view(np.uint32) >> 16).astype(np.uint16).tobytes()
        elif dtype in ("F16", "F32", "F64"):
            data = values.astype(f"float{dtype[1:]}").tobytes()
        else:
            data = self.numbers.integers(0, 100, bytes_of(dtype, shape), dtype=np.uint8).tobytes()
        return Stored(dtype, tuple(shape), data)

    def made(self, dtype: str | None = None) -> Tensors:
        kind = dtype or self.one_of("BF16", "F16")
        return {name: self.stored(kind, shape) for name, shape in self.shapes().items()}

    def config(self, **changed: Any) -> dict[str, Any]:
        """The config; a value of ... leaves its key out."""
        baichuan = self.family == "baichuan"
        own = {
            "auto_map": {"AutoConfig": "configuration_baichuan.BaichuanConfig",
                         "AutoModelForCausalLM": "modeling_baichuan.BaichuanForCausalLM"},
        } if baichuan else {"num_key_value_heads": self.heads}  # fmt: skip
        said = {
            "architectures": ["BaichuanForCausalLM" if baichuan else "LlamaForCausalLM"], "model_type": self.family,
            "hidden_size": self.hidden, "intermediate_size": self.inner, "num_hidden_layers": self.layers,
            "num_attention_heads": self.heads, "hidden_act": "silu", "rms_norm_eps": 1e-6, "max_position_embeddings": 128,
            "model_max_length": 128, "vocab_size": self.rows, "tie_word_embeddings": False, "initializer_range": 0.02,
            "torch_dtype": self.one_of("bfloat16", "float16"), "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0,
            "use_cache": True, **own, **changed,
        }  # fmt: skip
        return {key: value for key, value in said.items() if value is not ...}

    # writing it

    def put(self, name: str, data: bytes | str | Mapping[str, Any] | Sequence[Any], base: Path | None = None) -> Path:
        path = (base or self.folder) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if not isinstance(data, bytes):
            data = (data if isinstance(data, str) else json.dumps(data, indent=2)).encode()
        path.write_bytes(data)
        return path

    def remove(self, name: str) -> Path:
        path = self.folder / name
        path.unlink()
        return path

    def around(self, config: Mapping[str, Any] | str | None = None) -> None:
        """An empty folder, then everything but weights."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self.put("config.json", self.config() if config is None else config)
        self.put("generation_config.json", {"bos_token_id": 1, "eos_token_id": 2})
        self.put("tokenizer_config.json", {"model_max_length": 128, "tokenizer_class": "LlamaTokenizer"})
        self.put("tokenizer.model", tokenizer(self.rows))
        if self.family == "baichuan":
            for name in ("configuration_baichuan.py", "modeling_baichuan.py"):
                self.put(name, self.python())

    def write(
        self,
        tensors: Tensors | None = None,
        *,
        config: Mapping[str, Any] | str | None = None,
        shards: int | None = None,
        names: Sequence[str] = (),
        cuts: Sequence[int] = (),
        **layout: Any,
    ) -> None:
        """All of it, in `shards` files of these `names`, or cut at `cuts`; `layout` is how each is laid out."""
        self.around(config)
        self.holds(self.made() if tensors is None else tensors)
        count = shards or len(names) or self.one_of(2, 3)
        order, size = list(self.tensors), -(-len(self.tensors) // count)
        parts = [order[: cuts[0]], order[cuts[0] :]] if cuts else _cut(order, size)
        for at, part in enumerate(parts):
            name = names[at] if names else shard(at, len(parts))
            self.put(name, laid_out({each: self.tensors[each] for each in part}, **({"metadata": {"format": "pt"}} | layout)))
            self.lies |= dict.fromkeys(part, name)
        self.index()

    def holds(self, tensors: Tensors) -> None:
        self.tensors, self.kept, self.lies = tensors, dict(tensors), {}

    @property
    def total(self) -> int:
        return sum(len(stored.data) for stored in self.tensors.values())

    def index(self, said: Any = None, *, name: str = INDEX, total: float | None = None) -> None:
        right = {"metadata": {"total_size": self.total if total is None else total}, "weight_map": self.lies}
        self.put(name, right if said is None else said)

    def single(self, order: Sequence[str] = ()) -> None:
        tensors = self.made()
        self.around()
        self.holds(tensors)
        self.put("model.safetensors", laid_out(tensors, metadata={"format": "pt"}, order=order))

    def torch(self, written: Callable[[Tensors], bytes], *, shards: int = 1, tensors: Tensors | None = None,
              others: Callable[[Tensors], bytes] | None = None) -> None:  # fmt: skip
        """torch's files; of several, the first is `written`, and the rest as `others` writes them."""
        self.around()
        self.holds(self.made(self.one_of("F32", "F16")) if tensors is None else tensors)
        size = -(-len(self.tensors) // shards)
        for at, part in enumerate(_cut(list(self.tensors), size)):
            name = "pytorch_model.bin" if shards == 1 else f"pytorch_model-{at + 1:05d}-of-{shards:05d}.bin"
            write = written if at == 0 or others is None else others
            self.put(name, write({each: self.tensors[each] for each in part}))
            self.lies |= dict.fromkeys(part, name)
        if shards > 1:
            self.index(name="pytorch_model.bin.index.json")

    # choosing and changing parts of it

    def matrix(self) -> str:
        """The name of one that chance picks."""
        return f"model.layers.{self.chance.randrange(self.layers)}.{self.chance.choice(_MATRICES)}.weight"

    def hit(self) -> str:
        """A shard that holds one."""
        return self.lies[self.matrix()]

    def other(self, name: str) -> str:
        """A shard that is not this one."""
        return next(each for each in self.shards if each != name)

    @property
    def shards(self) -> list[str]:
        return list(dict.fromkeys(self.lies.values()))

    def of(self, shard: str) -> Tensors:
        return {name: self.tensors[name] for name, lies in self.lies.items() if lies == shard}

    def file(self, change: Callable[[bytes], bytes]) -> Path:
        path = self.folder / self.hit()
        path.write_bytes(change(path.read_bytes()))
        return path

    def header(self, change: Callable[[dict[str, Any], str], object], body: Callable[[bytes], bytes] = bytes) -> None:
        """One shard's header as a table, with the name of one of its tensors."""
        name = self.matrix()
        path = self.folder / self.lies[name]
        header, data = parted(path.read_bytes())
        change(header, name)
        path.write_bytes(joined(header, body(data)))

    def text(self, change: Callable[[str, str], str | bytes]) -> None:
        """One shard's header as text."""
        name = self.matrix()
        path = self.folder / self.lies[name]
        data = path.read_bytes()
        header, body = parted(data)
        path.write_bytes(joined(change(joined(header, b"")[8:].decode(), name), body))

    def bait(self, name: str = "outside/secret.safetensors", tensors: Sequence[str] = (NORM,)) -> Path:
        """A good shard outside the checkpoint, whose values are the marker."""
        shapes = self.shapes()
        marked = {}
        for each in tensors:
            size = bytes_of("BF16", shapes[each])
            marked[each] = Stored("BF16", shapes[each], (self.marker * (size // 24 + 1))[:size])
        return self.put(name, laid_out(marked), self.root)

    def link(self, name: str, target: Path | str) -> None:
        self.remove(name)
        os.symlink(target, self.folder / name)

    # code that says that it ran

    def shell(self) -> str:
        return f": > '{self.canary}'"

    def python(self) -> str:
        return f"open({str(self.canary)!r}, 'w').close()\n"


def shard(at: int, count: int) -> str:
    return f"model-{at + 1:05d}-of-{count:05d}.safetensors"


def _cut(names: list[str], size: int) -> list[list[str]]:
    return [names[at : at + size] for at in range(0, len(names), size)]
