"""What a model needs, as transformers and peft count it: classes without values (torch's meta device), of any size."""

from __future__ import annotations

import json
import warnings
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import torch

from tests.oracle import transformers

RANK = 16


@dataclass(frozen=True)
class Judged:
    """Elements of the model's own parameters, of an adapter on all its linears, and of its cache of a text."""

    parameters: int
    adapter: int
    cache: int


def without_values(config: Any) -> Any:
    """The stock class of a config, with shapes alone."""
    with torch.device("meta"):
        return transformers().AutoModelForCausalLM.from_config(config)


def judged(config: Any, context: int) -> Judged:
    """All counts of a config, by the libraries."""
    return Judged(parameters(without_values(config)), adapter(without_values(config)), cache(config, context))


def parameters(model: Any) -> int:
    """What the state dict holds, tied parameters once: with the shift of DeepSeek's router, which the class calls a buffer."""
    return sum({id(value): value.numel() for value in model.state_dict(keep_vars=True).values()}.values())


def adapter(model: Any) -> int:
    """Parameters of peft's adapter for ``all-linear``, and of another for what that leaves out of some mixtures of experts.

    peft 0.21 reaches the stacked experts and the router of Mixtral and DeepSeek, but then neither DeepSeek's dense MLPs nor
    its shared experts, and of Qwen MoE and Llama 4 no experts: they are asked for by name, gate and up with twice the rank, as
    peft itself does it.
    """
    import peft

    linears = {name for name, one in model.named_modules() if isinstance(one, torch.nn.Linear) and name != "lm_head"}
    matrices = {name for name, one in model.named_parameters() if name.endswith(("gate.weight", "_proj")) and one.dim() > 1}
    matrices -= {f"{name}.weight" for name in linears}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        first = peft.get_peft_model(model, peft.LoraConfig(r=RANK, target_modules="all-linear", task_type="CAUSAL_LM"))
        total = _trained(first)
        reached = set(first.targeted_module_names)
        stacked = set(first.targeted_parameter_names)
    shapes = {name: tuple(one.shape) for name, one in without_values(model.config).named_parameters()}
    return (
        total
        + sum(RANK * sum(shapes[f"{name}.weight"]) for name in linears - reached)
        + sum(_stacked(name, shapes[name]) for name in matrices - stacked - {f"{name}.weight" for name in reached})
    )


def _stacked(name: str, shape: tuple[int, ...]) -> int:
    """An adapter of a parameter with two axes, or with three: as many as there are experts."""
    return prod(shape[:-2]) * sum(shape[-2:]) * RANK * (2 if name.endswith("gate_up_proj") else 1)


def _trained(model: Any) -> int:
    return sum(one.numel() for one in model.parameters() if one.requires_grad)


def cache(config: Any, context: int) -> int:
    """What transformers keeps of a text that a model without values was run over."""
    kept = _run(_attending(config), context).past_key_values
    return sum(layer.keys.numel() + layer.values.numel() for layer in kept.layers)


def expanded(config: Any, context: int) -> int:
    """The keys and values that attention makes of its latents: what is kept by programs that do not keep the latents."""
    model = _attending(config)
    found: list[int] = []

    def counting(expand: Any) -> Any:
        def expand_kv(*latents: Any) -> Any:
            made = expand(*latents)
            found.append(sum(one.numel() for one in made))
            return made

        return expand_kv

    for layer in model.model.layers:
        layer.self_attn.expand_kv = counting(layer.self_attn.expand_kv)
    _run(model, context)
    assert len(found) == config.num_hidden_layers
    return sum(found)


def _run(model: Any, context: int) -> Any:
    with torch.inference_mode():
        return model(torch.zeros(1, context, dtype=torch.long, device="meta"), use_cache=True, logits_to_keep=1)


def _attending(config: Any) -> Any:
    """The class without its MLPs, which keep nothing; choosing experts needs values."""
    model = without_values(config)
    for module in list(model.modules()):
        for name in {"mlp", "feed_forward"} & dict(module.named_children()).keys():
            setattr(module, name, torch.nn.Identity())
        if hasattr(module, "is_moe_layer"):  # of Llama 4, whose experts return a pair
            module.is_moe_layer = False
    return model


def headers(config: Any, folder: Path) -> Path:
    """A checkpoint of the class as it is published, whose one file of weights has a header and holes."""
    from transformers.core_model_loading import revert_weight_conversion

    model = without_values(config)
    stored = model.state_dict()
    for tied in model.all_tied_weights_keys:
        stored.pop(tied)
    stored = revert_weight_conversion(model, stored)
    header, at = {}, 0
    for name, value in stored.items():
        header[name] = {"dtype": "BF16", "shape": list(value.shape), "data_offsets": [at, at := at + 2 * value.numel()]}
    text = json.dumps(header).encode()
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "model.safetensors", "wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        file.truncate(8 + len(text) + at)
    (folder / "config.json").write_text(config.to_json_string(use_diff=False))
    return folder
