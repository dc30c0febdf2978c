"""What experiments image while they learn, by name, and where the tissues of a brain are."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from pulsetwin.optimize.experiment import Object
from pulsetwin.optimize.schemes import Scheme
from pulsetwin.sim.phantom import Phantom, Voxels
from pulsetwin.sim.phantom_tissue import alike, brain_tissues
from pulsetwin.sim.phantoms import brain, random_sparse, shepp_logan


def phantom_of(name: str, settings: Object, scheme: Scheme, seed: int = 0) -> Phantom:
    """Return a phantom by its name in the scheme's field of view."""
    matrix = (1, *scheme.matrix)
    if name == "brain":
        return brain(matrix, scheme.fov, fields=settings.fields)
    if name == "shepp-logan":
        return shepp_logan(matrix, scheme.fov)
    return random_sparse(matrix, scheme.fov, blocks=settings.blocks, largest=settings.largest, seed=seed)


def voxels_of(phantom: Phantom, settings: Object) -> Voxels:
    """Return the voxels of a phantom, as far off resonance as is asked for."""
    voxels = phantom.voxels()
    return replace(voxels, b0=voxels.b0 + settings.b0)


def tissue_weights(phantom: Phantom) -> Tensor | None:
    """Return where grey matter, white matter and fluid are, by T1 at 3 T, 0 or 1 ``[3, y, x]``; None if one is not."""
    tissues = brain_tissues(3.0)
    found = torch.stack([alike(phantom.t1[0], tissues[name]).double() for name in ("grey", "white", "fluid")])
    return found if bool((found.flatten(1).sum(1) > 0).all()) else None
