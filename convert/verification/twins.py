"""Two forms of one architecture: which tensor, and which index, of one form is an element of the other.

GPT-2's releases keep matrices as [in, out] and nanoGPT as [out, in]. Mixtral's published files hold each matrix of each
expert by itself, and transformers 5 one tensor a layer, gate rows first (models/mixtral/modeling_mixtral.py:64-65).
Otherwise a tensor's twin has its name. Written without the tables, which say the same in their own notation.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from convert.verification.names import bare

Index = tuple[int, ...]

#: matrices that GPT-2 keeps as [in, out] and nanoGPT as [out, in]
_CONV1D = ("attn.c_attn.weight", "attn.c_proj.weight", "mlp.c_fc.weight", "mlp.c_proj.weight")
_FUSED = re.compile(r"(.*)mlp\.(?:experts\.(gate_up_proj|down_proj)|(gate)\.weight)")
_SINGLE = re.compile(r"(.*)block_sparse_moe\.(?:experts\.(\d+)\.(w[123])|(gate))\.weight")


@dataclass(frozen=True)
class Place:
    """An element of the source."""

    tensor: str
    index: Index


class Twins:
    """Where elements of ``outputs`` are in ``sources``; both map names to headers with a shape."""

    def __init__(self, outputs: Mapping[str, Any], sources: Mapping[str, Any]) -> None:
        self._sources = sources
        self._bare = {bare(name, wrapped=True): name for name in sources}
        self._turned = _widening(outputs) != _widening(sources)
        self._fused = any(_FUSED.fullmatch(name) for name in sources)
        self.experts = any(_SINGLE.fullmatch(name) for name in (outputs if self._fused else sources))

    def of(self, name: str, index: Index) -> Place | None:
        """None where the source has nothing of that name."""
        short = bare(name, wrapped=True)
        if (twin := self._bare.get(short)) is not None:
            return Place(twin, index[::-1] if self._turned and short.endswith(_CONV1D) else index)
        if self.experts:
            return self._split(name, index) if self._fused else self._joined(name, index)
        return None

    def _joined(self, name: str, index: Index) -> Place | None:
        """An element of a fused tensor, in the experts' own."""
        if not (found := _FUSED.fullmatch(name)):
            return None
        layer, kind, router = found.groups()
        if router:
            return Place(f"{layer}block_sparse_moe.gate.weight", index)
        expert, row, column = index
        at = f"{layer}block_sparse_moe.experts.{expert}."
        if kind == "down_proj":
            return Place(f"{at}w2.weight", (row, column))
        gate_rows = self._sources[f"{at}w1.weight"].shape[0]
        return Place(f"{at}w1.weight", (row, column)) if row < gate_rows else Place(f"{at}w3.weight", (row - gate_rows, column))

    def _split(self, name: str, index: Index) -> Place | None:
        """An element of an expert's own tensor, in the fused one."""
        if not (found := _SINGLE.fullmatch(name)):
            return None
        layer, expert, kind, router = found.groups()
        if router:
            return Place(f"{layer}mlp.gate.weight", index)
        row, column = index
        both = f"{layer}mlp.experts.gate_up_proj"
        if kind == "w2":
            return Place(f"{layer}mlp.experts.down_proj", (int(expert), row, column))
        return Place(both, (int(expert), row + (kind == "w3") * self._sources[both].shape[1] // 2, column))


def _widening(headers: Mapping[str, Any]) -> bool:
    """Whether a GPT-2 is stored as [in, out], by its one matrix that widens."""
    return any(bare(name, wrapped=True).endswith("mlp.c_fc.weight") and h.shape[0] < h.shape[1] for name, h in headers.items())
