"""Sweep `adapter`: every kind of adapter, on tied and untied bases, grown and shrunk, one and two in turn.

The judge is peft's forward with the adapter that it reads from the folder, unmerged: what the user trained.
"""

from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from convert.edits.lora import merge_lora
from convert.planning import Plan
from surgery.edits.tie import untie
from tests.differential import judge, product
from tests.differential.case import Outcome, concluded, unjudged
from tests.differential.judge import Unloadable
from tests.differential.native import native
from tests.differential.room import Room

#: what kinds speak of -> modules of each base
MODULES: Mapping[str, Mapping[str, list[str]]] = {
    "llama": {
        "attention": ["q_proj", "k_proj", "v_proj", "o_proj"],
        "mlp": ["gate_proj", "up_proj", "down_proj"],
        "embedding": ["embed_tokens"],
        "head": ["lm_head"],
        "norms": ["input_layernorm", "norm"],
    },
    "gpt2": {
        "attention": ["c_attn"],
        "mlp": ["c_fc", "mlp.c_proj"],
        "embedding": ["wte"],
        "head": ["lm_head"],
        "norms": ["ln_1", "ln_f"],
    },
}


@dataclass(frozen=True)
class Kind:
    """One kind of adapter: which modules it trains, which it keeps whole, and further options of its config."""

    train: tuple[str, ...] = ("attention",)
    save: tuple[str, ...] = ()
    config: str = "LoraConfig"
    options: tuple[tuple[str, Any], ...] = (("r", 4), ("lora_alpha", 6))

    def peft(self, family: str) -> Any:
        """The config as peft has it."""
        import peft

        modules = MODULES.get(family, MODULES["llama"])
        told = {"target_modules": [name for role in self.train for name in modules[role]]} if self.train else {}
        saved = {"modules_to_save": [name for role in self.save for name in modules[role]]} if self.save else {}
        return getattr(peft, self.config)(task_type="CAUSAL_LM", **{**told, **saved, **dict(self.options)})


def _lora(*train: str, save: tuple[str, ...] = (), **options: Any) -> Kind:
    rank = {"r": 4, "lora_alpha": 6}
    return Kind(train or ("attention",), save, options=tuple({**rank, **options}.items()))


KINDS: Mapping[str, Kind] = {
    "attention": _lora(),
    "mlp": _lora("mlp"),
    "linear": _lora("attention", "mlp"),
    "embedding": _lora("embedding", "attention"),
    "head": _lora("head", "attention"),
    "ends": _lora("embedding", "head"),
    "ends-tying": _lora("embedding", "head", ensure_weight_tying=True),
    "save-embedding": _lora(save=("embedding",)),
    "save-head": _lora(save=("head",)),
    "save-ends": _lora(save=("embedding", "head")),
    "save-ends-tying": _lora(save=("embedding", "head"), ensure_weight_tying=True),
    "save-norms": _lora(save=("norms",)),
    "save-head-train-embedding": _lora("embedding", save=("head",)),
    "rslora": _lora("attention", "mlp", use_rslora=True),
    "patterns": _lora("attention", "mlp", rank_pattern={r"layers\.1\..*": 2}, alpha_pattern={"mlp": 3}),
    "bias-lora-only": _lora(bias="lora_only"),
    "bias-all": _lora(bias="all"),
    "lora-bias": _lora(lora_bias=True),
    "tokens": _lora(trainable_token_indices=[3, 5, 8]),
    "tokens-tying": _lora(trainable_token_indices=[3, 5, 8], ensure_weight_tying=True),
    "dora": _lora(use_dora=True),
    "one-layer": _lora(layers_to_transform=[1]),
    "gaussian": _lora(init_lora_weights="gaussian"),
    "pissa": _lora(init_lora_weights="pissa"),
    "olora": _lora(init_lora_weights="olora"),
    "fan-in-fan-out": _lora(fan_in_fan_out=True),
    "ia3": Kind(("attention",), config="IA3Config", options=(("feedforward_modules", []),)),
    "loha": Kind(config="LoHaConfig", options=(("r", 4),)),
    "lokr": Kind(config="LoKrConfig", options=(("r", 4),)),
    "adalora": Kind(config="AdaLoraConfig", options=(("r", 4), ("total_step", 10))),
    "oft": Kind(config="OFTConfig", options=(("r", 4), ("oft_block_size", 0))),
    "vera": Kind(("mlp",), config="VeraConfig", options=(("r", 4),)),
    "prompt": Kind((), config="PromptTuningConfig", options=(("num_virtual_tokens", 3),)),
    "prefix": Kind((), config="PrefixTuningConfig", options=(("num_virtual_tokens", 3),)),
}
ROWS = {"same": 67, "grown": 72, "shrunk": 62}
COUNTS = {"one": 1, "two": 2}
#: bases that get every size and count; the others have their own names, biases or layouts
WHOLE = ("llama",)
BASES = ("llama", "qwen2", "gpt2")


@dataclass(frozen=True)
class AdapterCase:
    """Adapters of a kind merged into a base, which is untied before where that is said."""

    family: str
    tied: bool
    kind: str
    rows: str
    count: str
    way: str  # merge, or untie+merge

    @property
    def id(self) -> str:
        return f"{self.source}/{self.way}"

    @property
    def source(self) -> str:
        return f"adapter/{self.family}-{'tied' if self.tied else 'untied'}/{self.kind}/{self.rows}/{self.count}"

    def judged(self, room: Room) -> Outcome:
        base = room.keep(("adapter", self.family, str(self.tied)), lambda: _base(self.family, self.tied, room))
        made = room.last("adapters", self.source, lambda: _trained(self, base, room), _dropped)
        if isinstance(made, str):
            return unjudged(self.id, made)

        def plan() -> Plan:
            artefact = product.opened(base)
            artefact = untie(artefact) if self.way.startswith("untie") else artefact
            for folder in made.folders:
                artefact = merge_lora(artefact, folder)
            return product.plan_artefact(artefact, tokenizer="carry")

        def judged(plan: Plan) -> Outcome:
            output = product.written(plan, room, product.class_of(made.tokens)).verified(plan).gone()
            return concluded(self.id, output.faults(made.logits))

        return product.tried(self.id, plan, judged)


@dataclass(frozen=True)
class Trained:
    """Adapters in turn, and peft's logits; columns that the files do not determine are left out."""

    folders: tuple[Path, ...]
    tokens: Tensor
    logits: Tensor


def cases() -> Iterator[AdapterCase]:
    """Every case."""
    for family in BASES:
        whole = family in WHOLE
        for tied in (False, True):
            for kind in KINDS:
                for rows in ROWS if whole else ("same",):
                    for count in COUNTS if whole else ("one",):
                        for way in ("merge", "untie+merge") if tied else ("merge",):
                            yield AdapterCase(family, tied, kind, rows, count, way)


def _base(family: str, tied: bool, room: Room) -> Path:
    folder = room.fresh(family)
    one = native(family)
    one.make(folder, one.config(tie_word_embeddings=tied))
    return folder


def _dropped(old: Trained | str) -> None:
    if isinstance(old, Trained):
        for folder in old.folders:
            shutil.rmtree(folder)


def _trained(case: AdapterCase, base: Path, room: Room) -> Trained | str:
    """Adapters with random weights as peft saves them, and what peft computes from the files; or why it cannot."""
    folders = tuple(room.fresh("adapter") for _ in range(COUNTS[case.count]))
    rows = ROWS[case.rows]
    try:
        for at in range(len(folders)):
            _train(case, base, folders[:at], folders[at], rows)
        return _truth(base, folders, rows)
    except Unloadable as error:
        return f"peft: {error}"
    except Exception as error:  # peft has no such adapter for this base
        return f"peft: {type(error).__name__}: {' '.join(str(error).split())[:150]}"


def _train(case: AdapterCase, base: Path, before: tuple[Path, ...], folder: Path, rows: int) -> None:
    import peft

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.manual_seed(len(before))
        found = judge.merged(base, before)
        if rows != found.get_input_embeddings().weight.shape[0]:
            found.resize_token_embeddings(rows, mean_resizing=False)
        adapted = peft.get_peft_model(found, KINDS[case.kind].peft(case.family))
        random = torch.Generator().manual_seed(7 + len(before))
        for name, parameter in adapted.named_parameters():
            if parameter.requires_grad:
                noise = torch.randn(parameter.shape, generator=random)
                parameter.data = parameter.data + noise * (0.05 if "lora" in name else 0.2)
        adapted.save_pretrained(folder)
    (folder / "rows.json").write_text(json.dumps(rows))


def _truth(base: Path, folders: tuple[Path, ...], rows: int) -> Trained:
    """peft's logits, as far as the files determine them: rows that no file holds are drawn at random, twice."""
    for vocabulary in (rows, min(rows, ROWS["same"])):
        tokens = judge.ids(vocabulary)
        one, other = (judge.with_adapters(base, folders, tokens, seed) for seed in (1, 2))
        agree = (one == other).all(0).all(0)
        if agree[:vocabulary].all() or vocabulary == min(rows, ROWS["same"]):
            known = int(agree.long().cumprod(0).sum())
            if known:
                return Trained(folders, tokens, one[..., :known])
    raise Unloadable("the files do not determine its logits")
