"""The documents that are swept, each with what a whole one says, and the commands that read it."""

from __future__ import annotations

import json
import shutil
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml
from safetensors.torch import load_file, save_file

from tests.goldens import golden
from tests.odd.here import ran
from tests.trained.checkpoints import widened
from tests.trained.kinds import kind

_ROWS = 1792
_CARD = {
    "license": "apache-2.0", "language": ["en", "zh"], "tags": ["llama"], "library_name": "transformers", "base_model": ["a/b"],
    "pipeline_tag": "text-generation", "datasets": ["a/c"], "metrics": ["accuracy"], "license_name": "n",
    "license_link": "LICENSE", "base_model_relation": "finetune", "model_name": "m", "widget": [{"text": "t"}],
    "new_version": "a/d", "inference": True,
    "model-index": [{"name": "m", "results": [{
        "task": {"type": "text-generation"}, "dataset": {"name": "d", "type": "d"}, "metrics": [{"type": "a", "value": 1.0}],
    }]}],
}  # fmt: skip
_TEMPLATE = "{% for m in messages %}<|start_header_id|>{{ m['role'] }}: {{ m['content'] }}{% endfor %}"
_ADAPTER = {
    "peft_type": "LORA", "r": 2, "lora_alpha": 4, "target_modules": ["q_proj"], "bias": "none", "use_dora": False,
    "use_rslora": False, "fan_in_fan_out": False, "modules_to_save": None, "rank_pattern": {}, "alpha_pattern": {},
    "layers_to_transform": None, "layers_pattern": None, "lora_bias": False, "init_lora_weights": True, "task_type": "CAUSAL_LM",
    "base_model_name_or_path": "a/b", "inference_mode": True, "lora_dropout": 0.0, "revision": None,
    "trainable_token_indices": None, "layer_replication": None, "megatron_config": None, "ensure_weight_tying": False,
}  # fmt: skip


@dataclass(frozen=True)
class Surface:
    """A document: its name, how it is written, and command lines in which ``{folder}`` is where the odd one lies.

    ``{src}`` is a whole checkpoint, ``{out}`` what was made of it, ``{new}`` a name that is free.
    """

    name: str
    commands: tuple[str, ...]
    write: Callable[[Any], str] = json.dumps
    folder: str = "odd"  # where the odd one lies in


def _of_checkpoint() -> tuple[str, ...]:
    src, out = "{folder}", "{out}"
    return (
        f"weightsmith run {src} {{new}} --to llama", f"weightsmith run {src} {{new}} --to yi --verify off",
        f"weightsmith run {src} {{new}} --to yi --tokenizer carry --verify off", f"weightsmith plan {src} --to qwen2",
        f"weightsmith plan {src} --to llama --for transformers,vllm,llama.cpp,mlx", f"weightsmith inspect {src}",
        f"weightsmith verify {src} {out}", f"weightsmith verify {{src}} {src}",
        f"weightsmith validate {src} --for vllm,llama.cpp",
        f"weightsmith validate {src} --fix --dry-run --json", f"weightsmith card {{src}} {src} --dry-run",
        f"weightsmith card {src} {out} --dry-run", f"weightsmith diff {src} {out}", f"weightsmith chat-check {src} {out}",
        f"weightsmith chat-check {{src}} {src}", f"weightsmith repack {src} {{new}}",
        f"surgery untie {src} {{new}} --verify off", f"surgery cast {src} --dry-run --dtype bfloat16",
        f"surgery repeat-kv {src} --dry-run", f"surgery pad-vocab {src} --dry-run --multiple-of 256",
        f"surgery unpad-vocab {src} {{new}} --verify off",
        f"surgery extend-vocab {src} {{new}} --tokens <|new|> --verify off --no-effect",
        f"surgery trim-vocab {src} --dry-run --corpus {{words}}",
        f"surgery transplant-tokenizer {src} --dry-run --donor {{src}}",
        f"surgery transplant-tokenizer {{src}} --dry-run --donor {src}",
        f"surgery make-delta {src} {{src}} {{new}}", f"surgery make-delta {{src}} {src} {{new}} --lossless",
        f"surgery apply-delta {{src}} {{new}} --delta {src} --verify off",
    )  # fmt: skip


_MERGE = ("surgery merge-lora {src} {new} --adapter {folder} --verify off", "surgery merge-lora {src} {new} --adapter {folder}")


def _toml(value: Any) -> str:
    """TOML of a table of plain values and lists of tables, as far as TOML has the values."""
    if not isinstance(value, dict):
        raise ValueError("a TOML document is a table")
    lines, tables = [], []
    for key, each in value.items():
        if isinstance(each, list) and each and all(isinstance(one, dict) for one in each):
            tables += [f"[[{json.dumps(key)}]]\n{_toml(one)}" for one in each]
        else:
            lines.append(f"{json.dumps(key)} = {_inline(each)}")
    return "\n".join([*lines, *tables, ""])


def _inline(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(key)} = {_inline(each)}" for key, each in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_inline, value)) + "]"
    if isinstance(value, float):
        return repr(value)
    return "''" if value is None else json.dumps(value)


SURFACES: Mapping[str, Surface] = {
    surface.name: surface
    for surface in (
        *(
            Surface(name, _of_checkpoint())
            for name in (
                "config.json", "generation_config.json", "tokenizer_config.json", "tokenizer.json", "special_tokens_map.json",
                "added_tokens.json", "model.safetensors.index.json", "weightsmith.json",
            )
        ),
        Surface("README.md", _of_checkpoint(), lambda value: f"---\n{yaml.safe_dump(value, sort_keys=False)}---\n# m\n"),
        Surface("adapter_config.json", (*_MERGE, "weightsmith validate {folder}"), folder="adapter"),
        Surface("delta.json", ("surgery apply-delta {src} {new} --delta {folder}", "weightsmith validate {folder}"),
                folder="delta"),
        Surface("plan.json", ("weightsmith run --plan {folder}/plan.json {new} --verify off",
                              "weightsmith run --plan {folder}/plan.json --dry-run",
                              "weightsmith verify --plan {folder}/plan.json"), folder="plan"),
        Surface("recipe.toml", ("surgery run {folder}/recipe.toml {new} --verify off",
                                "surgery run {folder}/recipe.toml --dry-run --json"), _toml, folder="recipe"),
    )
}  # fmt: skip


@dataclass(frozen=True)
class Ground:
    """A folder in which every document lies whole beside what it belongs to."""

    place: Path

    def file(self, surface: Surface) -> Path:
        return self.place / surface.folder / surface.name

    def whole(self, surface: Surface) -> Any:
        """What the document says before anything odd is put into it."""
        text = (self.place / "whole" / surface.folder / surface.name).read_text(encoding="utf-8")
        if surface.name == "README.md":
            return yaml.safe_load(text.split("---\n")[1])
        return tomllib.loads(text) if surface.name.endswith(".toml") else json.loads(text)

    def line(self, surface: Surface, command: str) -> list[str]:
        """A command line on this ground."""
        names = {name: str(self.place / name) for name in ("src", "out", "new")}
        words = command.format(folder=self.place / surface.folder, words=self.place / "words.txt", **names)
        return words.split()

    def put(self, surface: Surface, value: Any) -> None:
        self.file(surface).write_text(surface.write(value), encoding="utf-8")

    def restore(self, surface: Surface) -> None:
        shutil.copyfile(self.place / "whole" / surface.folder / surface.name, self.file(surface))
        for left in self.place.glob("*new*"):
            shutil.rmtree(left) if left.is_dir() else left.unlink()


def ground(place: Path) -> Ground:
    """Every document, whole, under ``place``."""
    src, out = place / "src", place / "out"
    vocabulary = kind("llama3-json")
    base = widened(golden("llama-gqa").checkpoint, _ROWS, vocabulary.files, place / "base")
    said = json.loads((base / "tokenizer_config.json").read_text())
    more = {"chat_template": _TEMPLATE, "added_tokens_decoder": {
        str(1500): {"content": "<|begin_of_text|>", "special": True, "lstrip": False, "rstrip": False, "normalized": False,
                    "single_word": False}},
            "additional_special_tokens": ["<|start_header_id|>"], "model_max_length": 512, "add_bos_token": True,
            "clean_up_tokenization_spaces": False, "legacy": False, "pad_token": None, "unk_token": None}  # fmt: skip
    _json(base / "tokenizer_config.json", {**said, **more})
    special = {"bos_token": "<|begin_of_text|>", "eos_token": {"content": "<|eot_id|>", "lstrip": False}}
    _json(base / "special_tokens_map.json", {**special, "additional_special_tokens": ["<|start_header_id|>"]})
    _json(base / "added_tokens.json", {"<|begin_of_text|>": 1500})
    _json(base / "generation_config.json", {
        "bos_token_id": 1, "eos_token_id": [2, 3], "pad_token_id": 0, "do_sample": True, "temperature": 0.6, "top_p": 0.9,
        "top_k": 50, "max_new_tokens": 20, "suppress_tokens": [5], "forced_eos_token_id": 2, "bad_words_ids": [[7]],
        "repetition_penalty": 1.1, "transformers_version": "4.40.0", "sequence_bias": [[[1], 0.5]], "stop_strings": ["x"],
    })  # fmt: skip
    (base / "README.md").write_text(f"---\n{yaml.safe_dump(_CARD)}---\n# m\n", encoding="utf-8")
    (place / "words.txt").write_text("some words to keep\n", encoding="utf-8")
    _made(f"weightsmith run {base} {src} --to llama --max-shard-size 1MB")
    _made(f"weightsmith run {src} {out} --to llama --max-shard-size 1MB --plan-out {place / 'made.json'} --verify off")
    for name in ("special_tokens_map.json", "added_tokens.json", "README.md"):  # which a run writes into others, or anew
        for folder in (src, out):
            shutil.copyfile(base / name, folder / name)
    shutil.copytree(out, place / "odd")
    _adapter(place / "adapter", src)
    _delta(place, src)
    (place / "plan").mkdir()
    (place / "made.json").rename(place / "plan" / "plan.json")
    (place / "recipe").mkdir()
    edits = [{"do": "merge-lora", "adapter": "../adapter", "weight": 1.0, "subtract": False}, {"do": "untie"}]
    edits += [{"do": "cast", "dtype": "float32", "clamp": False}, {"do": "repeat-kv", "kv": 4}]
    told = {"source": "../src", "output": "../new", "target": "llama", "max-shard-size": "1MB", "tokenizer": "carry",
            "accept-key": [], "mend": ["repeat-kv"], "edit": edits}  # fmt: skip
    (place / "recipe" / "recipe.toml").write_text(_toml(told), encoding="utf-8")
    for folder in {surface.folder for surface in SURFACES.values()}:
        shutil.copytree(place / folder, place / "whole" / folder)
    return Ground(place)


def _adapter(folder: Path, src: Path) -> None:
    name = "model.layers.0.self_attn.q_proj"
    index = json.loads((src / "model.safetensors.index.json").read_text())["weight_map"]
    rows, columns = load_file(src / index[f"{name}.weight"])[f"{name}.weight"].shape
    random = torch.Generator().manual_seed(5)
    folder.mkdir()
    save_file({
        f"base_model.model.{name}.lora_A.weight": torch.randn(2, columns, generator=random),
        f"base_model.model.{name}.lora_B.weight": torch.randn(rows, 2, generator=random),
    }, folder / "adapter_model.safetensors")  # fmt: skip
    _json(folder / "adapter_config.json", _ADAPTER)


def _delta(place: Path, src: Path) -> None:
    _made(f"surgery cast {src} {place / 'cast'} --dtype float32 --verify off")
    _made(f"surgery make-delta {src} {place / 'cast'} {place / 'delta'} --lossless")


def _json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value), encoding="utf-8")


def _made(command: str) -> None:
    done = ran(command.split())
    assert done.status == 0, (command, done.stderr)
