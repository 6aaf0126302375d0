"""The frame between two residual streams: by what the output's hidden states differ from the source's, the function being kept.

A gauge multiplies the stream, LayerNorm-to-RMSNorm takes every position's mean away, a permutation or a change of signs
renames its dimensions, a rotation (QuaRot, SpinQuant) mixes them. Each shows in the embeddings, and is fitted to them once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

_SYSTEMATIC = 8.0  # rounding errors of many weights cancel along the values themselves: a common factor may be so much less off
_FITS = 4.0  # times the noise: a frame that leaves more is none
_ROWS = 512  # embeddings by which dimensions are told apart
_WIDEST = 1024  # a rotation of more dimensions takes minutes to fit
_BLOCK = 1024  # dimensions matched at a time

#: the embeddings of some tokens on both sides, [token, hidden], by the number of tokens wanted; fewer where there are fewer
Sample = Callable[[int], tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class Renamed:
    """Output dimension ``i`` is dimension ``order[i]`` of the source, times ``signs[i]``."""

    order: Tensor
    signs: Tensor

    def __call__(self, x: Tensor) -> Tensor:
        renamed: Tensor = x[..., self.order] * self.signs.to(x)
        return renamed

    def __str__(self) -> str:
        moved = int((self.order != torch.arange(len(self.order))).sum())
        return f"with {moved} dimensions renamed and {int((self.signs < 0).sum())} signs changed"


@dataclass(frozen=True)
class Rotated:
    """The stream times an orthogonal matrix."""

    matrix: Tensor  # float64

    def __call__(self, x: Tensor) -> Tensor:
        return (x.double() @ self.matrix).to(x)

    def __str__(self) -> str:
        return f"rotated in {len(self.matrix)} dimensions"


@dataclass(frozen=True)
class Frame:
    """Output hidden states = ``scale`` * source hidden states, ``centred`` or not, ``turned`` or not.

    Fitted once, on embeddings, and then held: a layer that breaks it is a layer that computes something else. ``known`` is
    false where lengths and angles of the embeddings are the source's, so that a rotation lies between, which is not found.
    """

    scale: float = 1.0
    centred: bool = False
    turned: Renamed | Rotated | None = None
    known: bool = True

    @classmethod
    def fit(cls, source: Tensor, output: Tensor, noise: float, sample: Sample | None = None) -> Frame:
        """The frame in which ``output`` is closest to ``source``; exactly 1 where it cannot be told from 1."""
        plain, centred = _fitted(source, output), _fitted(_centre(source), output)
        chosen = centred if centred[1] < 0.1 * plain[1] and plain[1] > 4 * noise else plain
        if chosen[1] > _FITS * noise:  # not all of it: a turn, or tokens that are wrong, which say nothing about the rest
            if sample is not None and (turned := _turned(sample, noise)) is not None:
                return turned
            chosen = _typical(source, output, noise), chosen[1]
        scale = 1.0 if abs(chosen[0] - 1.0) <= noise / _SYSTEMATIC else chosen[0]
        return cls(scale, chosen is centred)

    def __call__(self, x: Tensor) -> Tensor:
        x = self.turned(x) if self.turned is not None else x
        return self.scale * (_centre(x) if self.centred else x)

    def __str__(self) -> str:
        if not self.known:
            return "hidden states rotated, by what is not known"
        if self.turned is None and self.scale == 1.0 and not self.centred:
            return "equal hidden states"
        if self.turned is not None:
            times = f", times {self.scale:.6g}" if self.scale != 1.0 else ""
            return f"hidden states {self.turned}{times}"
        return f"hidden states {'centred and ' if self.centred else ''}times {self.scale:.6g}"


def _turned(sample: Sample, noise: float) -> Frame | None:
    """The frame of a stream whose dimensions were renamed or mixed; None where no such thing lies between."""
    a, b = (each.double().cpu() for each in sample(_ROWS))
    if not (a.isfinite().all() and b.isfinite().all()):
        return None
    angles = _fitted(a @ a.T, b @ b.T)
    if not angles[1] <= _FITS * noise or angles[0] <= 0:
        return None
    if (renamed := _renamed(a, b)) is not None:
        scale, left = _fitted(renamed(a), b)
        if left <= _FITS * noise:
            return Frame(1.0 if abs(scale - 1.0) <= noise / _SYSTEMATIC else scale, turned=renamed)
    hidden = a.shape[1]
    if hidden <= _WIDEST:
        a, b = (each.double().cpu() for each in sample(2 * hidden))
        left_, sizes, right = torch.linalg.svd(a.T @ b)
        if len(a) >= hidden and float(sizes[-1]) > noise * float(sizes[0]):  # else some directions are never seen
            rotated = Rotated(left_ @ right)
            scale, left = _fitted(rotated(a), b)
            if left <= _FITS * noise:
                return Frame(1.0 if abs(scale - 1.0) <= noise / _SYSTEMATIC else scale, turned=rotated)
    return Frame(float(angles[0]) ** 0.5, known=False)


def _renamed(a: Tensor, b: Tensor) -> Renamed | None:
    """Each dimension of ``b`` [token, hidden] as the one of ``a`` that it goes along with; None where two share one."""
    one, other = (torch.nn.functional.normalize(each, dim=0) for each in (a, b))
    order, signs = [], []
    for start in range(0, b.shape[1], _BLOCK):
        alike = other[:, start : start + _BLOCK].T @ one
        best = alike.abs().argmax(1)
        order.append(best)
        signs.append(alike.gather(1, best[:, None])[:, 0].sign())
    found = torch.cat(order)
    return Renamed(found, torch.cat(signs)) if len(set(found.tolist())) == len(found) else None


def _typical(source: Tensor, output: Tensor, noise: float) -> float:
    """The factor of most tokens, where most have one; 1 where they have none in common."""
    a, b = source.double().flatten(0, -2), output.double().flatten(0, -2)
    scale = float(((a * b).sum(-1) / (a * a).sum(-1)).median())
    left = ((b - scale * a).square().sum(-1) / b.square().sum(-1)).sqrt().median()
    return scale if float(left) <= _FITS * noise else 1.0


def _centre(x: Tensor) -> Tensor:
    return x - x.mean(-1, keepdim=True)


def _fitted(source: Tensor, output: Tensor) -> tuple[float, float]:
    """The least-squares factor from `source` to `output`, and the relative error that remains."""
    a, b = source.double(), output.double()
    scale = float((a * b).sum() / (a * a).sum())
    size = float(b.square().mean().sqrt())
    off = float((b - scale * a).square().mean().sqrt())
    return scale, off / size if size else (0.0 if off == 0 else float("inf"))
