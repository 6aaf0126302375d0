"""Adapters: what peft saves, and what whoever merges it must know."""

from __future__ import annotations

import re
from collections.abc import Iterator

from convert.checkpoint.names import printed
from convert.validate.rule import Found, rule
from convert.validate.subject import Subject, said
from convert.validate.under import REPOSITORY
from surgery.errors import listed, show

NAME = "adapter_config.json"
_PEFT = "peft 0.21 tuners/lora"
_HALF = re.compile(r"(.*)\.lora_(?:embedding_)?([AB])(?:\.\w+)?(?:\.weight)?")


@rule(
    "adapter-config", "error",
    what="adapter_config.json lacks what a merge needs, or states what cannot be",
    why="the scale of every update is lora_alpha / r: without them the adapter means nothing",
    fix="copy the file from the training run",
    source=_PEFT,
)  # fmt: skip
def adapter_config(subject: Subject) -> Iterator[Found]:
    if subject.kind != "adapter" or not subject.config:
        return
    kind = subject.config.get("peft_type")
    if not isinstance(kind, str):
        yield Found(NAME, f"peft_type is {said(kind)}")
    elif kind == "LORA":
        for key in ("r", "lora_alpha"):
            value = subject.config.get(key)
            if not isinstance(value, int | float) or isinstance(value, bool) or value <= 0:
                yield Found(NAME, f"{key} is {said(value)}")
        if not subject.config.get("target_modules") and not subject.config.get("target_parameters"):
            yield Found(NAME, f"target_modules is {said(subject.config.get('target_modules'))}")


@rule(
    "adapter-base", "warning",
    what="the adapter does not say which public model it belongs to",
    why="peft loads base_model_name_or_path; a path of the training machine exists nowhere else",
    fix="write the repository id of the base model",
    source=_PEFT + "; AutoPeftModel",
)  # fmt: skip
def adapter_base(subject: Subject) -> Iterator[Found]:
    if subject.kind != "adapter" or not subject.config:
        return
    base = subject.config.get("base_model_name_or_path")
    if not isinstance(base, str) or not REPOSITORY.fullmatch(base):
        yield Found(NAME, f"base_model_name_or_path is {said(base)}")


@rule(
    "adapter-halves", "error",
    what="one half of a low-rank update is missing, or the halves do not fit",
    why="the update cannot be computed; peft leaves the other half at its initial value",
    fix="save the adapter again",
    source=_PEFT + "/layer.py: B @ A",
)  # fmt: skip
def adapter_halves(subject: Subject) -> Iterator[Found]:
    halves: dict[str, dict[str, str]] = {}
    for name in subject.tensors if subject.kind == "adapter" else ():
        if match := _HALF.fullmatch(name):
            halves.setdefault(match[1], {})[match[2]] = name
    single = sorted(name for pair in halves.values() if len(pair) == 1 for name in pair.values())
    if single:
        yield Found(subject.tensors[single[0]].file, f"{len(single)} alone: {listed(map(show, single))}", single[0])
    wrong = []
    for pair in halves.values():
        if len(pair) == 2:
            a, b = subject.tensors[pair["A"]].shape, subject.tensors[pair["B"]].shape
            if len(a) == len(b) == 2 and a[0] != b[1]:
                wrong.append(f"{show(pair['A'])} {a} and {show(pair['B'])} {b}")
    if wrong:
        yield Found(subject.weights.names[0], f"{len(wrong)} pair(s) of different rank: {listed(wrong, 2)}")


@rule(
    "adapter-empty", "error",
    what="the adapter holds no update",
    why="loading it changes nothing, without a word",
    fix="save the adapter again; gathered, if the training was sharded",
    source=_PEFT,
)  # fmt: skip
def adapter_empty(subject: Subject) -> Iterator[Found]:
    if subject.kind == "adapter" and subject.weights.complete and not any(t.numel for t in subject.tensors.values()):
        yield Found(subject.weights.names[0], "no tensor with elements")


@rule(
    "adapter-beside", "error",
    what="an adapter lies beside the weights of a whole model",
    why="where peft is installed, transformers loads the adapter over the weights: an adapter that was merged counts twice",
    fix="remove adapter_config.json and adapter_model.*, or publish the adapter in a repository of its own",
    source="transformers 5.23 integrations/peft.py maybe_load_adapters, executed; peft #1381",
)  # fmt: skip
def adapter_beside(subject: Subject) -> Iterator[Found]:
    if subject.kind != "adapter" and subject.weights.names and NAME in subject.folder.names:
        names = (NAME, *(name for name in subject.weights.adapters if not name.endswith(".json")))
        yield Found(NAME, f"{listed(map(printed, names))} beside {printed(subject.weights.names[0])}")
