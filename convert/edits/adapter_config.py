"""What adapter_config.json says, and which kinds of adapters we refuse by name.

Read in peft 0.21 (tuners/lora/config.py, layer.py:278-281, utils/other.py:1524-1532). Every key is either read here,
known to change nothing of what is saved, or, when it has a value, a reason to refuse.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from surgery.errors import ConversionError, listed, show

#: keys that say how an adapter was trained or is run, and nothing of what its tensors mean
_TRAINING = frozenset(
    {
        "auto_mapping", "peft_version", "revision", "task_type", "inference_mode", "lora_dropout", "layers_pattern",
        "layers_to_transform", "exclude_modules", "target_modules", "megatron_config",
        "megatron_core", "qalora_group_size", "runtime_config", "eva_config", "base_model_name_or_path",
        "fan_in_fan_out", "loftq_config", "enable_lora", "merge_weights", "swift_type", "lora_dtype",
    }
)  # fmt: skip
#: what names of such keys begin with: ms-swift keeps the learning rates of LoRA+ here
_TRAINING_STEMS = ("lorap_",)
_READ = frozenset(
    {
        "peft_type", "r", "lora_alpha", "use_rslora", "rank_pattern", "alpha_pattern", "bias", "lora_bias",
        "init_lora_weights", "modules_to_save", "use_dora", "trainable_token_indices", "ensure_weight_tying",
    }
)  # fmt: skip

#: keys that make of a LoRA something else, and what that is called
_OTHER_KINDS = {
    "use_qalora": "QA-LoRA, which pools the inputs of the adapter",
    "use_bdlora": "block-diagonal LoRA",
    "alora_invocation_tokens": "an activated LoRA, which acts only behind certain tokens and equals no merged weight",
    "layer_replication": "an adapter of a model with repeated layers",
    "target_parameters": "an adapter of bare parameters (stacked experts)",
    "arrow_config": "Arrow, a router among adapters",
    "velora_config": "VeLoRA",
    "kasa_config": "KaSA",
    "monteclora_config": "MonteCLoRA",
}

#: how a config may call embeddings, where it gives no name
EMBEDDINGS = ""

#: initialisations that leave the base as it is; the others (pissa, olora, corda, lora_ga, loftq) subtract from it first
_PLAIN_STARTS = (True, False, None, "gaussian", "eva", "orthogonal")
_MOST_RANK = 1 << 16
_MOST_TOKENS = 1 << 20
#: the largest number that float32 has: products are taken in it
LARGEST = 3.4028234663852886e38
#: a name of modules; its dots stand for themselves, which differs from a pattern's only for modules that nobody names so
_NAME = re.compile(r"[\w\-]+(?:\.[\w\-]+)*")
_MOST_PATTERNS = 1000
_TEXT = re.compile(r"(?:[\w.\-|^$]|\\[.dw]|\[[^\[\]]{1,40}\]|[*+?](?![*+?{])|\((?:\?:)?|\)(?![*+?{]))*")


@dataclass(frozen=True)
class ByModule:
    """peft's table of patterns: the first that matches the end of a module's name, from a dot on, says its value.

    Names are looked up, so that any number of them takes no longer; of what is more than a name there are few.
    """

    names: Mapping[str, tuple[int, Any]] = field(default_factory=dict)  # a name -> its place in the table, its value
    patterns: tuple[tuple[int, re.Pattern[str], bool, Any], ...] = ()  # place, pattern, whether it is of a whole name, value

    def of(self, module: str, default: Any) -> Any:
        """The value for a module, or the default."""
        ends = [module, *(module[i + 1 :] for i, c in enumerate(module) if c == ".")]
        found = [self.names[end] for end in ends if end in self.names]
        for place, pattern, whole, value in self.patterns:
            if any(pattern.fullmatch(end) for end in (ends[:1] if whole else ends)):
                found.append((place, value))
                break
        return min(found, key=lambda one: one[0])[1] if found else default


@dataclass(frozen=True)
class AdapterConfig:
    """A LoRA's own words, checked."""

    rank: int
    alpha: float
    stabilised: bool = False  # rank-stabilised: divided by the root of the rank
    bias: str = "none"
    ranks: ByModule = ByModule()
    alphas: ByModule = ByModule()
    base: str = ""  # what the adapter says it was trained on
    saved: tuple[str, ...] = ()  # ends of the names of modules that are trained whole
    rescaled: bool = False  # DoRA: every row gets a norm of its own
    tokens: Mapping[str, tuple[int, ...]] = field(default_factory=dict)  # end of a module's name -> its trained rows
    tying: bool = False  # what is added to tied embeddings is added to the output projection too

    def rank_of(self, module: str) -> int:
        rank: int = self.ranks.of(module, self.rank)
        return rank

    def trains_whole(self, module: str) -> bool:
        """Whether a module was trained whole: peft goes by the end of its name."""
        return module.endswith(self.saved) if self.saved else False

    def rows(self, module: str) -> tuple[int, ...] | None:
        """Which rows of a module are trained by themselves, if any are."""
        return next((rows for end, rows in self.tokens.items() if module.endswith(end)), None)

    def factor(self, module: str) -> float:
        """What the product of a module's matrices is multiplied by."""
        rank = self.rank_of(module)
        alpha: float = self.alphas.of(module, self.alpha)
        return alpha / (math.sqrt(rank) if self.stabilised else rank)


def read_config(config: Mapping[str, Any]) -> AdapterConfig:
    """The config of a LoRA; ``ConversionError`` for every other kind, by name, and for what is missing or no number."""
    kind = config.get("peft_type")
    if kind != "LORA":
        raise ConversionError(
            f"adapter_config.json: peft_type is {show(kind)}, and only LORA adapters can be merged here. Merge it "
            "with the library that made it (peft's merge_and_unload), and convert the result."
        )
    if others := [why for key, why in _OTHER_KINDS.items() if config.get(key)]:
        raise ConversionError(
            f"adapter_config.json: this is {'; '.join(others)}. Adding the product of its matrices would give another "
            "model, so it is refused. Merge it with peft's merge_and_unload, and convert the result."
        )
    if (start := config.get("init_lora_weights", True)) not in _PLAIN_STARTS:
        raise ConversionError(
            f"adapter_config.json: init_lora_weights is {show(start)}, which changes the base before training, so "
            "that the adapter belongs to a base that is not stored. Save it with peft's "
            "path_initial_model_for_weight_conversion first."
        )
    known = _TRAINING | _READ | _OTHER_KINDS.keys()
    set_ = [key for key, value in config.items() if value not in (None, False, "", [], {})]
    if unknown := sorted(key for key in set_ if key not in known and not key.startswith(_TRAINING_STEMS)):
        raise ConversionError(
            f"adapter_config.json: {listed(show(key, 60) for key in unknown)} "
            f"{'is a key' if len(unknown) == 1 else 'are keys'} that we do not know, so what the tensors mean may be "
            "something else. Merge it with the library that made it."
        )
    bias = config.get("bias", "none")
    if bias not in ("none", "all", "lora_only"):
        raise ConversionError(f"adapter_config.json: bias is {show(bias)}, which is none of none, all and lora_only.")
    return AdapterConfig(
        rank=_rank("r", config.get("r")),
        alpha=_number("lora_alpha", config.get("lora_alpha")),
        stabilised=config.get("use_rslora") is True,
        bias=bias,
        ranks=_by_module("rank_pattern", ((k, _rank("rank_pattern", v)) for k, v in _table(config, "rank_pattern"))),
        alphas=_by_module("alpha_pattern", ((k, _number("alpha_pattern", v)) for k, v in _table(config, "alpha_pattern"))),
        base=str(config.get("base_model_name_or_path") or ""),
        saved=_names("modules_to_save", config.get("modules_to_save")),
        rescaled=config.get("use_dora") is True,
        tokens=_tokens(config.get("trainable_token_indices")),
        tying=config.get("ensure_weight_tying") is True,
    )


def _table(config: Mapping[str, Any], key: str) -> list[tuple[str, Any]]:
    table = config.get(key) or {}
    if not isinstance(table, Mapping):
        raise ConversionError(f"adapter_config.json: {key} is {show(table)}, not a table of names.")
    return list(table.items())


def _names(key: str, value: Any) -> tuple[str, ...]:
    found = value or []
    if not isinstance(found, list) or not all(isinstance(name, str) and name for name in found):
        raise ConversionError(f"adapter_config.json: {key} is {show(value)}, not a list of names. The file is damaged.")
    return tuple(found)


def _tokens(value: Any) -> dict[str, tuple[int, ...]]:
    """Rows by the end of a module's name; a bare list is of the embeddings, whatever they are called."""
    table = value if isinstance(value, Mapping) else {EMBEDDINGS: value} if value else {}
    for rows in table.values():
        whole = isinstance(rows, list) and len(rows) <= _MOST_TOKENS and all(type(row) is int and row >= 0 for row in rows)
        if not whole or len(set(rows)) != len(rows):
            raise ConversionError(
                f"adapter_config.json: trainable_token_indices has {show(rows)}, which is no list of different rows. The "
                "file is damaged."
            )
    return {end: tuple(rows) for end, rows in table.items()}


def _rank(key: str, value: Any) -> int:
    if type(value) is not int or not 0 < value <= _MOST_RANK:
        said = "is missing" if value is None else f"is {show(value)}"
        raise ConversionError(f"adapter_config.json: {key} {said}, but a rank is a whole number from 1 on. The file is damaged.")
    return value


def _number(key: str, value: Any) -> float:
    if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) > LARGEST:
        raise ConversionError(
            f"adapter_config.json: {key} is {show(value)}, beyond the largest number of float32: no weight survives such "
            "a factor. The file is damaged, or was made to do damage; get it again from whoever trained it."
        )
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        said = "is missing" if value is None else f"is {show(value)}"
        raise ConversionError(
            f"adapter_config.json: {key} {said}; without it nobody can say by how much the adapter counts. Look it up "
            "where the adapter was published and put it in."
        )
    return float(value)


def _pattern(key: str, text: str) -> str:
    """A pattern that cannot take long to match: no repetition of a group, few repetitions at all."""
    simple = len(text) <= 300 and _TEXT.fullmatch(text) and sum(text.count(c) for c in "*+?") <= 4
    try:
        re.compile(text if simple else "(")
    except re.error:
        raise ConversionError(
            f"adapter_config.json: {key} has the pattern {show(text)}, which is no simple name or pattern. Write the "
            "names of the modules out."
        ) from None
    return text


def _by_module(key: str, values: Iterable[tuple[str, Any]]) -> ByModule:
    names: dict[str, tuple[int, Any]] = {}
    patterns: list[tuple[int, re.Pattern[str], bool, Any]] = []
    for place, (text, value) in enumerate(values):
        if _NAME.fullmatch(text):
            names.setdefault(text, (place, value))
        else:
            patterns.append((place, re.compile(_pattern(key, text)), text.startswith("^"), value))
        if len(patterns) > _MOST_PATTERNS:
            raise ConversionError(
                f"adapter_config.json: {key} has more than {_MOST_PATTERNS} patterns, each of which every module would be held "
                "against; no adapter has so many. Write the names of the modules out."
            )
    return ByModule(names, tuple(patterns))
