"""Rotary position tables: which frequencies a config asks for, and the rotation in its two layouts.

Definitions as in transformers 5.23.0, modeling_rope_utils.py (`ROPE_INIT_FUNCTIONS`, `standardize_rope_params`);
config keys in both forms, old (`rope_theta`, `rope_scaling`) and new (`rope_parameters`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from surgery.errors import ConversionError, show

_WITHIN_ORIGINAL = ("llama3", "yarn", "longrope")


@dataclass(frozen=True)
class Rope:
    """What a rotation needs: one frequency per rotated pair, and the factor on cos and sin."""

    frequencies: Tensor  # float64, [rotated / 2]
    factor: float = 1.0

    def rotate(self, x: Tensor, *, interleaved: bool = False, positions: Tensor | None = None) -> Tensor:
        """Turn the first dimensions of every head; x is [batch, head, position, dim].

        Half-split pairs dimension j with j + rotated/2; interleaved pairs 2j with 2j + 1. The rest passes unturned.
        Positions count from 0 unless given as [batch, position].
        """
        rotated = 2 * len(self.frequencies)
        at = torch.arange(x.shape[-2]) if positions is None else positions[:, None]
        angles = at.to(torch.float64)[..., None] * self.frequencies
        cos = (angles.cos() * self.factor).to(x)
        sin = (angles.sin() * self.factor).to(x)
        turned, rest = x[..., :rotated], x[..., rotated:]
        if interleaved:
            first, second = turned[..., 0::2], turned[..., 1::2]
            pairs = torch.stack((first * cos - second * sin, second * cos + first * sin), -1).flatten(-2)
        else:
            first, second = turned.chunk(2, -1)
            pairs = torch.cat((first * cos - second * sin, second * cos + first * sin), -1)
        return torch.cat((pairs, rest), -1) if rest.shape[-1] else pairs


def plain(theta: float, dim: int) -> Rope:
    """The original table: ``theta ** (-2j / dim)``."""
    return Rope(_plain(theta, dim))


def settings(config: Mapping[str, Any], theta: float = 10000.0) -> dict[str, Any]:
    """The rope keys of a config in one form, with `rope_type` and `rope_theta` always present.

    Where both spellings are there the library takes the older table, whole (modeling_rope_utils.py,
    `convert_rope_params_to_dict`); `meaning` says where they disagree.
    """
    found = dict(config.get("rope_scaling") or config.get("rope_parameters") or {})
    if any(isinstance(value, Mapping) for value in found.values()):
        raise ConversionError("rope_parameters differ per layer type, which none of the reference decoders computes.")
    kind = found.get("rope_type", found.get("type")) or "default"
    found["rope_type"] = {"su": "longrope", "mrope": "default"}.get(kind, kind)
    if found.get("rope_theta") is None:
        found["rope_theta"] = config.get("rope_theta") or theta
    if found["rope_type"] in _WITHIN_ORIGINAL:
        top = config.get("original_max_position_embeddings")
        found["original_max_position_embeddings"] = (
            top or found.get("original_max_position_embeddings") or config.get("max_position_embeddings")
        )
    if found.get("partial_rotary_factor") is None:
        found["partial_rotary_factor"] = config.get("partial_rotary_factor") or 1.0
    return found


def table(keys: Mapping[str, Any], dim: int, *, length: int, longest: int, partial: bool = True) -> Rope:
    """The table for heads of `dim` and sequences of `length`, in a model made for positions up to `longest`.

    With `partial` false a default table ignores `partial_rotary_factor`, as transformers' Llama does.
    """
    kind = keys["rope_type"]
    if kind not in _KINDS:
        raise ConversionError(f"The rope type {show(kind)} is none of {', '.join(sorted(_KINDS))}.")
    share = float(keys.get("partial_rotary_factor", 1.0))
    if not partial and kind != "proportional":
        if kind != "default" and share != 1.0:
            raise ConversionError(
                f"rope_type {kind} with partial_rotary_factor {share} means nothing in this architecture."
            )
        share = 1.0
    rotated = dim if kind == "proportional" else int(dim * share)
    said = {key: value for key, value in keys.items() if value is not None}
    try:
        return _KINDS[kind](said, rotated, length, longest)
    except KeyError as missing:
        raise ConversionError(f"config.json's rope_type {kind} comes without {missing.args[0]}, which it needs.") from None
    except (ArithmeticError, ValueError) as error:  # a logarithm of nothing, a division by it
        raise ConversionError(
            f"config.json's rope_type {kind} has numbers that make no table ({error}): heads of {dim}, {show(dict(keys), 400)}."
        ) from None


def yarn_scale(factor: float, weight: float = 1.0) -> float:
    """YaRN's attention temperature, ``0.1 * weight * ln(factor) + 1``."""
    return 1.0 if factor <= 1 else 0.1 * weight * math.log(factor) + 1.0


def _plain(theta: float, dim: int) -> Tensor:
    return float(theta) ** (-torch.arange(0, dim, 2, dtype=torch.float64) / dim)


def _default(keys: Mapping[str, Any], dim: int, length: int, longest: int) -> Rope:
    return plain(keys["rope_theta"], dim)


def _linear(keys: Mapping[str, Any], dim: int, length: int, longest: int) -> Rope:
    return Rope(_plain(keys["rope_theta"], dim) / keys["factor"])


def _dynamic(keys: Mapping[str, Any], dim: int, length: int, longest: int) -> Rope:
    if length <= longest or dim == 2:  # inert; and the one frequency of a single pair is 1 in any base
        return plain(keys["rope_theta"], dim)
    factor, ratio = keys.get("factor") or 1.0, length / longest
    return plain(keys["rope_theta"] * (factor * ratio - (factor - 1)) ** (dim / (dim - 2)), dim)


def _llama3(keys: Mapping[str, Any], dim: int, length: int, longest: int) -> Rope:
    """Long waves are slowed by the factor, short ones kept, those between blended by turns within the context."""
    frequencies = _plain(keys["rope_theta"], dim)
    low, high = keys["low_freq_factor"], keys["high_freq_factor"]
    turns = keys["original_max_position_embeddings"] * frequencies / (2 * math.pi)
    kept = ((turns - low) / (high - low)).clamp(0, 1)
    return Rope(frequencies * (kept + (1 - kept) / keys["factor"]))


def _yarn(keys: Mapping[str, Any], dim: int, length: int, longest: int) -> Rope:
    original, theta = keys["original_max_position_embeddings"], keys["rope_theta"]
    factor = keys.get("factor") or longest / original

    def pair_that_turns(times: float) -> float:
        return dim * math.log(original / (times * 2 * math.pi)) / (2 * math.log(theta))

    low, high = pair_that_turns(keys.get("beta_fast") or 32), pair_that_turns(keys.get("beta_slow") or 1)
    if keys.get("truncate", True):
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, dim - 1)
    ramp = (torch.arange(dim // 2, dtype=torch.float64) - low) / (high - low if high != low else 0.001)
    slowed = ramp.clamp(0, 1)
    attention = keys.get("attention_factor")
    if attention is None:
        weight, weight_all = keys.get("mscale"), keys.get("mscale_all_dim")
        attention = yarn_scale(factor)
        if weight and weight_all:
            attention = yarn_scale(factor, weight) / yarn_scale(factor, weight_all)
    return Rope(_plain(theta, dim) * (slowed / factor + (1 - slowed)), attention)


def _longrope(keys: Mapping[str, Any], dim: int, length: int, longest: int) -> Rope:
    original = keys["original_max_position_embeddings"]
    factor = keys.get("factor") or longest / original
    attention = keys.get("attention_factor")
    if attention is None:
        attention = 1.0 if factor <= 1 else math.sqrt(1 + math.log(factor) / math.log(original))
    slow = keys["long_factor"] if length > original else keys["short_factor"]
    return Rope(_plain(keys["rope_theta"], dim) / torch.tensor(slow, dtype=torch.float64), attention)


def _proportional(keys: Mapping[str, Any], dim: int, length: int, longest: int) -> Rope:
    """The first pairs turn as in a table over the whole head, the others stand still."""
    frequencies = _plain(keys["rope_theta"], dim) / (keys.get("factor") or 1.0)
    turning = int(keys["partial_rotary_factor"] * dim // 2)
    frequencies[turning:] = 0.0
    return Rope(frequencies)


_KINDS: dict[str, Callable[[Mapping[str, Any], int, int, int], Rope]] = {
    "default": _default,
    "linear": _linear,
    "dynamic": _dynamic,
    "llama3": _llama3,
    "yarn": _yarn,
    "longrope": _longrope,
    "proportional": _proportional,
}
