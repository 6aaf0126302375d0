"""The configs of a miniature: the source's own with smaller sizes, and the output's as it lies on disk with the same.

No key is read here for what it means but through the source's table, and only to learn which keys are sizes: everything
else stays word for word, so that what a table drops or misreads is still there for the library to see.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from convert.witness.vocabulary import Tokens, names_tokens, with_tokens_of
from mappings.config import read_facts
from mappings.family import Family, Fixed, Of, Setting, lookup
from mappings.via import Inexpressible
from surgery.errors import ConversionError
from surgery.facts import Facts

_FFN, _EXPERT_FFN, _SHARED_FFN, _LATENT, _HIDDEN = 96, 32, 48, 64, 128
_HEADS = 2  # key-value heads: one alone hides a wrong order
_LAYERS = 3  # at least, where there are as many
_MOST_LAYERS = 48
#: facts that name layers
_LAYER_SETS = ("layers.moe", "window.full", "rope.none")


@dataclass(frozen=True)
class Small:
    """A config with smaller sizes, and the facts that the source's table reads in it."""

    config: Mapping[str, Any]
    facts: Facts

    @property
    def layers(self) -> int:
        return int(self.facts["layer"])

    @property
    def width(self) -> int:
        return int(self.facts["hidden"])


def shrunk(family: Family, facts: Facts, config: Mapping[str, Any], tokens: Tokens, accept: Iterable[str] = ()) -> Small:
    """The config with fewer layers, heads, experts and tokens, and narrower; every key that is no size is kept verbatim.

    ``facts`` are those of the whole model. ``ConversionError`` where no such config can be written.
    """
    wanted = _sizes(family, facts, config, tokens)
    smaller = facts.with_(wanted, "the miniature")
    kept = copy.deepcopy(with_tokens_of(config, tokens))
    for setting in family.settings:
        if isinstance(setting, Setting) and set(setting.facts) & wanted.keys():
            for key, value in _written(setting, facts, smaller).items():
                if lookup(_opened(family, config), key) is not None:
                    _put(kept, family.nested, key, value)
    for key, value in _per_layer(facts, kept):
        kept[key] = value[: wanted["layer"]]
    if any(isinstance(s, Setting) and "quantization_config" in s.keys for s in family.settings):
        kept.pop("quantization_config", None)  # the numbers are what they are, in whatever type they lie
    read = read_facts(family, kept, accept=frozenset(accept))
    unknown = {name: wanted.get(name, facts[name]) for name in facts if not read.knows(name) and facts.knows(name)}
    # what the files decide, and sizes that no key says; a count of MTP layers may be there without them
    read = read.with_({**unknown, "mtp": 0}, "the miniature")
    if read["layer"] != wanted["layer"] or read["vocab"] != len(tokens):
        raise ConversionError(
            f"its config does not become smaller: {read['layer']} layers and {read['vocab']} tokens are what it then says"
        )
    return Small(kept, read)


def laid_over(disk: Mapping[str, Any], planned: Mapping[str, Any], small: Mapping[str, Any], tokens: Tokens) -> dict[str, Any]:
    """The config of an output on ``disk`` with the sizes of its miniature.

    ``planned`` and ``small`` are what the tables write for the whole model and for the miniature: where they differ a key
    depends on sizes, and where the disk says what was planned, the miniature's value stands for it. Every other key and
    value is the disk's, absent ones included.
    """
    found: dict[str, Any] = {}
    for key, value in with_tokens_of(disk, tokens).items():
        whole, less = planned.get(key), small.get(key)
        if names_tokens(key) or whole == less:
            found[key] = value
        elif isinstance(disk[key], Mapping) and isinstance(whole, Mapping) and isinstance(less, Mapping):
            found[key] = laid_over(disk[key], whole, less, tokens)
        else:
            found[key] = less if disk[key] == whole else value
    return found


def _sizes(family: Family, facts: Facts, config: Mapping[str, Any], tokens: Tokens) -> dict[str, Any]:
    """The sizes of the miniature, and the sets of layers that change with them; what a constant says is left alone."""
    opened = _opened(family, config)
    wanted: dict[str, Any] = {"layer": _layers(facts, opened), "vocab": len(tokens)}
    if facts["mtp"]:
        wanted["mtp"] = 0  # no stock class runs the layers that predict further tokens
    for name in _LAYER_SETS:
        if facts[name]:
            wanted[name] = tuple(layer for layer in facts[name] if layer < wanted["layer"])
    if facts.knows("kv") and facts.knows("heads"):
        kv = min(_HEADS, facts["kv"]) if _free(family, "kv", opened) else facts["kv"]
        wanted |= {"kv": kv, "heads": kv * (facts["heads"] // facts["kv"])}
        if facts.knows("head"):
            wide = wanted["heads"] * facts["head"]
            whole = facts["heads"] * facts["head"] == facts["hidden"]
            wanted["hidden"] = wide if whole else wide + 2 * facts["head"]
    wanted.setdefault("hidden", min(_HIDDEN, facts["hidden"]))
    small = {"ffn": _FFN, "expert_ffn": _EXPERT_FFN, "latent_q": _LATENT, "latent_kv": _LATENT}
    wanted |= {name: min(size, facts[name]) for name, size in small.items() if facts.knows(name)}
    if facts.knows("shared_ffn"):
        whole, rest = divmod(facts["shared_ffn"], facts["expert_ffn"])
        wanted["shared_ffn"] = min(_SHARED_FFN, facts["shared_ffn"]) if rest else whole * wanted["expert_ffn"]
    if facts.knows("expert"):
        wanted["expert"] = _experts(facts)
    return {name: value for name, value in wanted.items() if value != facts[name]} | {
        "layer": wanted["layer"]
    }


def _layers(facts: Facts, config: Mapping[str, Any]) -> int:
    """As many of the first layers as hold every kind of layer."""
    count: int = facts["layer"]
    lists = [value for _, value in _per_layer(facts, config)]
    sets = [facts[name] for name in _LAYER_SETS]
    kinds = [(*(layer in one for one in sets), *(repr(one[layer]) for one in lists)) for layer in range(count)]
    seen = {kind: layer for layer, kind in reversed(list(enumerate(kinds)))}
    needed = max(seen.values()) + 1
    if needed > _MOST_LAYERS:
        raise ConversionError(f"a miniature with every kind of layer would have {needed} layers")
    return min(count, max(_LAYERS, needed))


def _per_layer(facts: Facts, config: Mapping[str, Any]) -> list[tuple[str, list[Any]]]:
    """The lists of a config that have an entry for each layer."""
    lists = [(key, value) for key, value in config.items() if isinstance(value, list) and len(value) == facts["layer"]]
    return [(key, value) for key, value in lists if not names_tokens(key) and key != "architectures" and facts["layer"] > 1]


def _experts(facts: Facts) -> int:
    """Fewer experts: twice as many as a token uses, and whole groups."""
    used, groups = facts["router.used"] or 1, facts["router.groups"] or 1
    each = max(2, -(-2 * used // groups), -(-used // (facts["router.groups_used"] or groups)))
    return int(min(facts["expert"], groups * each))


def _free(family: Family, fact: str, config: Mapping[str, Any]) -> bool:
    """Whether a size is said by a key that is there, or follows from others; a constant of the class is neither."""
    for setting in family.settings:
        if isinstance(setting, Fixed) and setting.fact == fact:
            return isinstance(setting.value, Of)
        if isinstance(setting, Setting) and fact in setting.facts:
            default = dict(setting.defaults())[fact]
            return isinstance(default, Of) or any(lookup(config, key) is not None for key in setting.keys)
    return True


def _written(setting: Setting, facts: Facts, smaller: Facts) -> dict[str, Any]:
    """The keys of a setting whose values change with the sizes."""
    try:
        before, after = (setting.via.write(setting.keys, {f: one[f] for f in setting.facts}) for one in (facts, smaller))
    except Inexpressible:
        return {}
    return {key: value for key, value in after.items() if before.get(key) != value}


def _opened(family: Family, config: Mapping[str, Any]) -> Mapping[str, Any]:
    inner = config.get(family.nested) if family.nested else None
    return {**inner, **config} if isinstance(inner, Mapping) else config


def _put(config: dict[str, Any], nested: str, key: str, value: Any) -> None:
    """Store a value wherever the config says the key, in the nested table or outside of it."""
    first, *rest = key.split(".")
    inner = config.get(nested) if nested else None
    for table in (config, inner):
        if isinstance(table, dict) and first in table:
            if rest and isinstance(table[first], dict):
                _put(table[first], "", ".".join(rest), value)
            elif not rest:
                table[first] = value
