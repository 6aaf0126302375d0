"""Named conversions of keys about experts: which layers have them, how wide they are, how stored; and Llama 4's."""

from __future__ import annotations

from typing import Any

from mappings.via import Inexpressible, Unreadable, Values, Via
from surgery.errors import show

MOST_LAYERS = 10_000  # so that no config makes a list without end


def _layers(values: Values) -> int:
    count = values["num_hidden_layers"] + values.get("num_nextn_predict_layers", 0)  # only some families have it
    if not 0 < count <= MOST_LAYERS:
        raise Unreadable(f"num_hidden_layers = {show(values['num_hidden_layers'])} is not a sensible number of layers")
    return int(values["num_hidden_layers"])


def _late_read(facts: tuple[str, ...], values: Values) -> dict[str, Any]:
    layer, mtp, moe = facts
    layers, extra = _layers(values), values["num_nextn_predict_layers"]
    every = range(layers + extra)
    first, step = values["first_k_dense_replace"], values["moe_layer_freq"]
    found = tuple(i for i in every if i >= first and i % step == 0)
    return {layer: layers, mtp: extra, moe: found}


def _late_write(keys: tuple[str, ...], facts: Values) -> dict[str, Any]:
    layers, extra, moe = facts.values()
    if not moe:
        return dict(zip(keys, (layers, extra, layers + extra, 1), strict=True))
    for step in range(1, layers + extra + 1):
        if tuple(i for i in range(moe[0], layers + extra) if i % step == 0) == tuple(moe):
            return dict(zip(keys, (layers, extra, moe[0], step), strict=True))
    reason = "first_k_dense_replace and moe_layer_freq can only say every n-th layer from one on"
    raise Inexpressible(reason, "layers.moe")


#: facts (layer, mtp, layers.moe) as DeepSeek says them: every so many layers from the first on
FROM_A_LAYER_ON = Via("every n-th layer from one on", _late_read, _late_write)


def _sparse_read(facts: tuple[str, ...], values: Values) -> dict[str, Any]:
    layer, moe = facts
    step, dense = values["decoder_sparse_step"], values["mlp_only_layers"]
    layers = _layers(values)
    return {layer: layers, moe: tuple(i for i in range(layers) if i not in dense and (i + 1) % step == 0)}


def _sparse_write(keys: tuple[str, ...], facts: Values) -> dict[str, Any]:
    layers, moe = facts.values()
    return dict(zip(keys, (layers, 1, [i for i in range(layers) if i not in moe]), strict=True))


#: facts (layer, layers.moe) as Qwen says them: every n-th, but for a list
BUT_FOR_A_LIST = Via("every n-th layer but for a list", _sparse_read, _sparse_write)


def _llama4_read(facts: tuple[str, ...], values: Values) -> dict[str, Any]:
    layer, moe, still = facts
    layers, step = _layers(values), values["interleave_moe_layer_step"]
    every = values["no_rope_layer_interval"]
    rotated = values.get("no_rope_layers") or [(i + 1) % every for i in range(layers)]  # 0: does not rotate
    if len(rotated) != layers:
        raise Unreadable(f"no_rope_layers has {len(rotated)} entries for {layers} layers")
    chunked = ["chunked_attention" if on else "full_attention" for on in rotated]
    if list(values.get("layer_types", chunked)) != chunked:
        raise Unreadable("layer_types gives chunks to other layers than those that rotate")
    experts = values.get("moe_layers", range(step - 1, layers, step))
    return {layer: layers, moe: tuple(experts), still: tuple(i for i, on in enumerate(rotated) if not on)}


def _llama4_write(keys: tuple[str, ...], facts: Values) -> dict[str, Any]:
    layers, moe, still = facts.values()
    return dict(zip(keys, (layers, list(moe), [int(i not in still) for i in range(layers)]), strict=False))


#: facts (layer, layers.moe, rope.none) as Llama 4 says them: lists, or every n-th
LLAMA_4_LAYERS = Via("lists of layers, or every n-th", _llama4_read, _llama4_write)


def _tuning_read(facts: tuple[str, ...], values: Values) -> dict[str, Any]:
    on = values["attn_temperature_tuning"]
    return {facts[0]: (values["floor_scale"], values["attn_scale"]) if on else None}


def _tuning_write(keys: tuple[str, ...], facts: Values) -> dict[str, Any]:
    (tuning,) = facts.values()
    return {keys[0]: tuning is not None} | (dict(zip(keys[1:], tuning, strict=True)) if tuning else {})


#: fact (floor, scale) from a switch and two numbers
TUNING = Via("a switch and two numbers", _tuning_read, _tuning_write)


def _every_write(keys: tuple[str, ...], facts: Values) -> dict[str, Any]:
    layers, moe = facts.values()
    if tuple(moe) != tuple(range(layers)):
        raise Inexpressible("every layer has experts here", "layers.moe")
    return {keys[0]: layers}


#: facts (layer, layers.moe) where no layer is without experts
EVERY_LAYER = Via(
    "every layer",
    lambda facts, values: {facts[0]: _layers(values), facts[1]: tuple(range(_layers(values)))},
    _every_write,
)


def _shared_read(facts: tuple[str, ...], values: Values) -> dict[str, Any]:
    routed, shared = facts
    width = values["moe_intermediate_size"]
    return {routed: width, shared: width * values["n_shared_experts"]}


def _shared_write(keys: tuple[str, ...], facts: Values) -> dict[str, Any]:
    routed, shared = facts.values()
    if not routed or not shared or shared % routed:
        raise Inexpressible(f"the shared expert must be so many times as wide as a routed one ({shared}, {routed})")
    return dict(zip(keys, (routed, shared // routed), strict=True))


#: facts (expert_ffn, shared_ffn) from the width of an expert and how many are shared
SHARED_EXPERTS = Via("so many experts in one", _shared_read, _shared_write)



def among(*known: str | bool) -> Via:
    """The key names one of the ways that the code has; others may exist elsewhere."""

    def read(facts: tuple[str, ...], values: Values) -> dict[str, Any]:
        for key, found in values.items():
            if found not in known:
                raise Unreadable(f"{key} = {show(found)}, but the code knows only {' and '.join(map(str, known))}")
        return {facts[0]: found for found in values.values()}

    def write(keys: tuple[str, ...], facts: Values) -> dict[str, Any]:
        (found,) = facts.values()
        if found not in known:
            raise Inexpressible(f"{keys[0]} is {' or '.join(map(str, known))}")
        return {keys[0]: found}

    return Via(f"{' or '.join(map(str, known))}", read, write)


_BLOCK = [128, 128]


def _fp8_read(facts: tuple[str, ...], values: Values) -> dict[str, Any]:
    for key, found in values.items():
        said = (found.get("quant_method"), found.get("fmt", "e4m3"), list(found.get("weight_block_size") or ()))
        if said != ("fp8", "e4m3", _BLOCK):
            raise Unreadable(f"{key} says {said}, but only fp8, e4m3 in blocks of 128 x 128 is understood")
    return {}


#: weights in float8 with a factor for each block; written as the numbers that they are
FP8_BLOCKS = Via("float8 in blocks of 128 x 128", _fp8_read, lambda keys, facts: {})
