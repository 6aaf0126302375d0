"""The names that adapters give their tensors: peft's, and what torch.compile, FSDP and other wrappers put between."""

from __future__ import annotations

import re
from dataclasses import dataclass

from surgery.errors import ConversionError, show

#: names begin with this, one ``model`` for peft's wrapper and the rest for the model's own
_ROOT = "base_model.model."
#: what wrappers put into the names of what they wrap -> who they are
_WRAPPERS = {
    "_orig_mod.": "torch.compile", "_fsdp_wrapped_module.": "FSDP", "_checkpoint_wrapped_module.": "activation checkpointing",
}  # fmt: skip
_KEY = re.compile(
    r"(?P<module>(?:(?!\.lora_).)+?)\.(?P<what>"
    r"lora_[AB](?:\.default)?\.weight|lora_embedding_[AB](?:\.default)?|lora_B(?:\.default)?\.bias"
    r"|lora_magnitude_vector(?:\.default)?(?:\.weight)?"
    r"|token_adapter\.trainable_tokens_delta(?:\.default)?|token_adapter\.base_layer\.weight"
    r"|modules_to_save(?:\.default)?\.(?:weight|bias)|(?:original_module|base_layer)\.(?:weight|bias)|weight|bias)"
)
_FOREIGN = {
    "hada_w": "LoHa", "lokr_w": "LoKr", "oft_": "OFT", "boft_": "BOFT", "ia3_l": "IA3",
    "vera_lambda": "VeRA", "lora_E": "AdaLoRA", "ln_tuning_layers": "LN tuning", "prompt_embeddings": "prompt tuning",
    "adaption_": "adaption prompts",
}  # fmt: skip


@dataclass(frozen=True)
class Named:
    """A tensor of an adapter: the module it is about, what of it, and the wrappers whose names were left out."""

    module: str
    what: str
    wrappers: tuple[str, ...] = ()

    @property
    def tensor(self) -> str:
        """The tensor of the base that it is about."""
        return f"{self.module}.{'bias' if self.what.endswith('bias') else 'weight'}"

    @property
    def key(self) -> str:
        """The name that peft gives it."""
        return f"{_ROOT}{self.module}.{self.what}"


def named(key: str) -> Named:
    """What the name of a tensor says; ``ConversionError`` where no adapter of this kind has such a name.

    >>> named("_orig_mod.base_model.model.base_model.model.lm_head.lora_A.default.weight")
    Named(module='lm_head', what='lora_A.weight', wrappers=('torch.compile', 'peft, twice'))
    """
    plain, wrappers = key, []
    for part, who in _WRAPPERS.items():
        if part in plain:
            plain = plain.replace(part, "")
            wrappers.append(who)
    rest = plain.removeprefix(_ROOT)
    if rest.startswith(_ROOT):
        rest = re.sub(rf"^(?:{re.escape(_ROOT)})+", "", rest)
        wrappers.append("peft, twice")
    match = _KEY.fullmatch(rest) if plain.startswith(_ROOT) else None
    if match is None:
        raise _unknown(key)
    what = match["what"].replace(".default", "").replace("vector.weight", "vector")
    return Named(match["module"], what, tuple(wrappers))


def _unknown(key: str) -> ConversionError:
    kind = next((name for part, name in _FOREIGN.items() if part in key), "")
    if kind:
        return ConversionError(
            f"{show(key)}: this is a tensor of {kind}, not of a LoRA, and cannot be merged here. Merge it with the "
            "library that made it, and convert the result."
        )
    return ConversionError(
        f"{show(key)} is no name that peft gives a LoRA's tensor ({_ROOT}<module>.lora_A.weight and so on), so what it means is "
        "not known. peft itself would pass over it, and leave its matrices at zero: give the tensors the names that peft "
        "looks for, or save the adapter again from the program that trained it."
    )
