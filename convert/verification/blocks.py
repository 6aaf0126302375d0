"""The arithmetic that decoders share: norms, attention, activations. Plain functions on tensors.

Hidden states are [batch, position, hidden], heads are [batch, head, position, dim].
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from surgery.errors import ConversionError, show

_SCORES = 1 << 22  # elements of one block of attention scores

Activation = Callable[[Tensor], Tensor]

_ACTIVATIONS: dict[str, Activation] = {
    "silu": F.silu,
    "swish": F.silu,
    "gelu": F.gelu,
    "gelu_pytorch_tanh": lambda x: F.gelu(x, approximate="tanh"),
    "gelu_new": lambda x: F.gelu(x, approximate="tanh"),
    "gelu_fast": lambda x: F.gelu(x, approximate="tanh"),
    "relu": F.relu,
    "relu2": lambda x: F.relu(x).square(),
}


def activation(name: str) -> Activation:
    try:
        return _ACTIVATIONS[name]
    except KeyError:
        raise ConversionError(f"The activation {show(name)} is none of {', '.join(_ACTIVATIONS)}.") from None


def rms_norm(x: Tensor, weight: Tensor | None, eps: float) -> Tensor:
    scaled = x * torch.rsqrt(x.square().mean(-1, keepdim=True) + eps)
    return scaled if weight is None else scaled * weight


def layer_norm(x: Tensor, weight: Tensor, bias: Tensor | None, eps: float) -> Tensor:
    return F.layer_norm(x, (x.shape[-1],), weight, bias, eps)


def split(x: Tensor, heads: int, dim: int) -> Tensor:
    """[batch, position, heads * dim] to heads; refuses any other width."""
    if x.shape[-1] != heads * dim:
        raise ConversionError(
            f"A projection yields {x.shape[-1]} values where config.json asks for {heads} heads of {dim}."
        )
    return x.reshape(*x.shape[:-1], heads, dim).transpose(1, 2)


def merge(x: Tensor) -> Tensor:
    """Heads back to [batch, position, heads * dim]."""
    return x.transpose(1, 2).flatten(-2)


def attend(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    *,
    scale: float | None = None,
    window: int | None = None,
    chunk: int | None = None,
    slopes: Tensor | None = None,
    softcap: float | None = None,
    prefix: Tensor | None = None,
) -> Tensor:
    """Causal attention; query head h reads key head h // (heads / kv heads).

    `window` keys are visible, the own one included; `chunk` shows only keys of the query's own chunk. `slopes`, one per
    query head, add slope * key index to the scores (ALiBi). `prefix`, one length per sequence, makes that many
    first keys visible to every query. Scores exist for a block of queries at a time.
    """
    batch, heads, length, dim = q.shape
    kv, keys = k.shape[1], k.shape[2]
    grouped = q.reshape(batch, kv, heads // kv, length, dim)
    at = torch.arange(keys, device=q.device)
    mixed = []
    step = max(1, _SCORES // max(1, batch * heads * keys))
    for low in range(0, length, step):
        here = at[low : low + step, None]
        scores = torch.einsum("bkgqd,bksd->bkgqs", grouped[..., low : low + step, :], k)
        scores = scores * (1 / math.sqrt(dim) if scale is None else scale)
        if softcap is not None:
            scores = softcap * torch.tanh(scores / softcap)
        if slopes is not None:
            scores = scores + slopes.to(q).reshape(kv, heads // kv, 1, 1) * at.to(q)
        visible = at <= here
        if window is not None:
            visible &= at > here - window
        if chunk is not None:
            visible &= at // chunk == here // chunk
        if prefix is not None:
            visible = visible | (at < prefix.to(q.device)[:, None, None, None, None])
        scores = scores.masked_fill(~visible, float("-inf"))
        mixed.append(torch.einsum("bkgqs,bksd->bkgqd", scores.softmax(-1), v))
    return torch.cat(mixed, -2).flatten(1, 2)


def alibi_slopes(heads: int) -> Tensor:
    """ALiBi's slopes: a geometric series for a power of two, filled up from the next one's every second slope.

    Press et al. 2021; Baichuan-13B modeling_baichuan.py:20-46.
    """

    def series(count: int) -> list[float]:
        return [2.0 ** (-8.0 * (index + 1) / count) for index in range(count)]

    power = 1 << (heads.bit_length() - 1)
    slopes = series(power) + series(2 * power)[0::2][: heads - power]
    return torch.tensor(slopes, dtype=torch.float64)
