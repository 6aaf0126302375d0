"""Orthogonal matching pursuit: rows as sums of a few rows of a dictionary."""

from __future__ import annotations

from typing import TYPE_CHECKING

from surgery.gathered import Mixture

if TYPE_CHECKING:
    import torch

_BLOCK = 1 << 25  # products of targets with the dictionary that are held at once


def pursue(targets: torch.Tensor, dictionary: torch.Tensor, most: int) -> tuple[Mixture, ...]:
    """For each target the ``most`` rows of the dictionary, or fewer, whose best sum comes close to it, with weights.

    Each step takes the row that points most along what is left, then fits all taken rows anew by least squares; it ends
    where nothing is left. All in float32. Pati, Rezaiifar and Krishnaprasad 1993.
    """
    import torch

    lengths = torch.linalg.vector_norm(dictionary, dim=1)
    units = dictionary / lengths.clamp_min(torch.finfo(dictionary.dtype).tiny)[:, None]
    most = min(most, *dictionary.shape)
    found: list[Mixture] = []
    step = max(1, _BLOCK // len(dictionary))
    for first in range(0, len(targets), step):
        found += _block(targets[first : first + step], dictionary, units, most)
    return tuple(found)


def _block(targets: torch.Tensor, dictionary: torch.Tensor, units: torch.Tensor, most: int) -> list[Mixture]:
    import torch

    count = len(targets)
    chosen = torch.empty((count, 0), dtype=torch.long)
    weights = torch.empty((count, 0), dtype=targets.dtype)
    left = targets
    enough = torch.linalg.vector_norm(targets, dim=1) * 1e-5
    for _ in range(most):
        fits = (left @ units.T).abs_()
        if chosen.shape[1]:
            fits.scatter_(1, chosen, -1.0)
        chosen = torch.cat((chosen, fits.argmax(1, keepdim=True)), 1)
        atoms = dictionary[chosen]  # target, step, column
        weights = _least_squares(atoms, targets)
        left = targets - (weights[:, None, :] @ atoms)[:, 0]
        if bool((torch.linalg.vector_norm(left, dim=1) <= enough).all()):
            break
    return [
        tuple((row, weight) for row, weight in zip(rows, by, strict=True) if weight)
        for rows, by in zip(chosen.tolist(), weights.tolist(), strict=True)
    ]


def _least_squares(atoms: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Weights of a few atoms, by their normal equations in float64, where a trace of a ridge holds doubles apart."""
    import torch

    wide = atoms.double()
    products = wide @ wide.mT
    ridge = products.diagonal(dim1=1, dim2=2).mean(1)[:, None, None] * 1e-10 + torch.finfo(torch.float64).tiny
    known = wide @ targets.double()[:, :, None]
    solved: torch.Tensor = torch.linalg.solve(products + ridge * torch.eye(products.shape[1]).double(), known)
    return solved[..., 0].to(targets.dtype)
