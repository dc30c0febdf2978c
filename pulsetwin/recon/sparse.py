"""Compressed sensing: SENSE with an l1 penalty on wavelets or on finite differences."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from torch import Tensor

from pulsetwin.errors import ProtocolError, ShapeError
from pulsetwin.recon.hybrid import HybridSense, centred, chunks, origin_first, planes, sampled_lines
from pulsetwin.recon.sense_lines import WORKSPACE, normal_operator

Proximal = Callable[[Tensor, float], Tensor]


def l1_wavelet(
    kspace: Tensor,
    mask: Tensor,
    maps: Tensor,
    *,
    regularisation: float = 1e-3,
    iterations: int = 50,
    tolerance: float = 1e-3,
    wavelet: str = "db4",
) -> Tensor:
    """Solve ``min_x 1/2 ||M F S x - y||^2 + lambda ||W x||_1`` by FISTA.

    ``W`` is sigpy's zero-padded wavelet transform over the axes longer than 1, taken as unitary in its proximal map.

    Parameters
    ----------
    kspace
        Samples ``[coil, z, y, x]``, any unit; ignored where `mask` is False. The readout x is fully sampled.
    mask
        True where k-space was sampled, bool ``[z, y]``.
    maps
        Coil sensitivities ``[coil, z, y, x]``.
    regularisation
        ``lambda`` relative to the largest magnitude of the zero-filled image ``S^H F^H y``.
    iterations
        Most iterations, at least 1.
    tolerance
        Relative change of the image from one iteration to the next at which they stop.
    wavelet
        Name of an orthogonal wavelet known to pywt.

    Returns
    -------
    Tensor
        Image ``[z, y, x]`` in the unit of `kspace`, 0 where no coil is sensitive.

    Raises
    ------
    ShapeError
        If the shapes disagree.
    ProtocolError
        If a setting is out of range or nothing was sampled.

    References
    ----------
    Lustig et al. 2007, doi:10.1002/mrm.21391. FISTA: Beck and Teboulle 2009, doi:10.1137/080716542; restarts:
    O'Donoghue and Candes 2015, doi:10.1007/s10208-013-9150-3.
    """
    import sigpy  # seconds at start-up, spared to those who do not need it

    shape = [n for n in kspace.shape[1:] if n > 1]
    try:
        transform = sigpy.linop.Wavelet(shape, wave_name=wavelet)
    except ValueError as error:
        raise ProtocolError(f"wavelet {wavelet!r}: {error}; give a name of pywt.wavelist(kind='discrete')") from error

    def proximal(image: Tensor, weight: float) -> Tensor:
        coefficients = torch.from_numpy(transform(image.cpu().numpy().reshape(shape)))
        shrunk = _shrink(coefficients, weight).numpy()
        return torch.from_numpy(np.ascontiguousarray(transform.H(shrunk))).reshape(image.shape).to(image)

    return _solve(kspace, mask, maps, proximal, regularisation, iterations, tolerance)


def total_variation(
    kspace: Tensor,
    mask: Tensor,
    maps: Tensor,
    *,
    regularisation: float = 1e-3,
    iterations: int = 50,
    tolerance: float = 1e-3,
) -> Tensor:
    """Solve ``min_x 1/2 ||M F S x - y||^2 + lambda sum_axis ||x - shift(x)||_1`` by FISTA.

    Anisotropic and circular, as in sigpy. The proximal map goes on from the dual variable of the iteration before.

    Parameters
    ----------
    kspace
        Samples ``[coil, z, y, x]``, any unit; ignored where `mask` is False. The readout x is fully sampled.
    mask
        True where k-space was sampled, bool ``[z, y]``.
    maps
        Coil sensitivities ``[coil, z, y, x]``.
    regularisation
        ``lambda`` relative to the largest magnitude of the zero-filled image ``S^H F^H y``.
    iterations
        Most iterations, at least 1.
    tolerance
        Relative change of the image from one iteration to the next at which they stop.

    Returns
    -------
    Tensor
        Image ``[z, y, x]`` in the unit of `kspace`, 0 where no coil is sensitive.

    Raises
    ------
    ShapeError
        If the shapes disagree.
    ProtocolError
        If a setting is out of range or nothing was sampled.

    References
    ----------
    Block et al. 2007, doi:10.1002/mrm.21236. Proximal map: Beck and Teboulle 2009, doi:10.1109/TIP.2009.2028250.
    """
    axes = [axis for axis, n in enumerate(kspace.shape[1:]) if n > 1]
    dual = kspace.new_zeros((len(axes), *kspace.shape[1:]))

    def proximal(image: Tensor, weight: float) -> Tensor:
        return _smooth(image, weight, axes, dual)

    return _solve(kspace, mask, maps, proximal, regularisation, iterations, tolerance)


def _solve(
    kspace: Tensor,
    mask: Tensor,
    maps: Tensor,
    proximal: Proximal,
    regularisation: float,
    iterations: int,
    tolerance: float,
) -> Tensor:
    """Set up the gradient of the data term and run FISTA from zero on data scaled to unit size."""
    _check(kspace, mask, maps, regularisation, iterations, tolerance)
    samples = sampled_lines(kspace, mask)
    parts = list(chunks(kspace.shape[-1], kspace[..., 0].nbytes))
    models = [HybridSense.at(maps[None], mask, x) for x in parts]
    rhs = torch.cat([model.adjoint(planes(samples, mask, x)) for model, x in zip(models, parts, strict=True)])
    scale = rhs.abs().max()
    if not bool(scale > 0):
        return centred(rhs)[0]
    rhs = rhs / scale
    normals = [normal_operator(model, WORKSPACE // len(models)) for model in models]

    def gradient(image: Tensor) -> Tensor:
        turned = origin_first(image[None])
        return centred(torch.cat([normal(turned[x]) for normal, x in zip(normals, parts, strict=True)]) - rhs)[0]

    step = 1 / float(maps.abs().square().sum(0).max())
    shrink = partial(proximal, weight=regularisation * step)
    image = _fista(gradient, shrink, centred(torch.zeros_like(rhs))[0], step, iterations, tolerance)
    return torch.where(maps.abs().amax(0) > 0, scale * image, 0)


def _fista(
    gradient: Callable[[Tensor], Tensor],
    shrink: Callable[[Tensor], Tensor],
    start: Tensor,
    step: float,
    iterations: int,
    tolerance: float,
) -> Tensor:
    """Return the image after accelerated proximal gradient steps, with the momentum restarted where it goes uphill."""
    image = ahead = start
    momentum = 1.0
    for _ in range(iterations):
        previous, image = image, shrink(ahead - step * gradient(ahead))
        change = image - previous
        if change.norm() <= tolerance * image.norm():
            break
        if torch.vdot((ahead - image).flatten(), change.flatten()).real > 0:
            momentum = 1.0
        following = (1 + math.sqrt(1 + 4 * momentum**2)) / 2
        ahead = image + (momentum - 1) / following * change
        momentum = following
    return image


def _shrink(values: Tensor, weight: float) -> Tensor:
    """Return complex soft thresholding, ``v max(1 - weight / |v|, 0)``."""
    return values * (1 - weight / values.abs().clamp_min(weight or 1)).to(values.real.dtype)


def _smooth(image: Tensor, weight: float, axes: list[int], dual: Tensor, steps: int = 8) -> Tensor:
    """Return the proximal map of total variation by fast dual projection, going on from `dual`, changed in place.

    ``dual`` holds one field ``|p| <= weight`` per axis; the image is ``v - sum_axis G^H p``.
    """
    ahead, momentum = dual.clone(), 1.0
    for _ in range(steps):
        primal = image - _divergence(ahead, axes)
        fields = ahead + _differences(primal, axes) / (4 * len(axes))
        fields /= (fields.abs() / weight).clamp_min(1) if weight > 0 else float("inf")
        following = (1 + math.sqrt(1 + 4 * momentum**2)) / 2
        ahead = fields + (momentum - 1) / following * (fields - dual)
        dual.copy_(fields)
        momentum = following
    return image - _divergence(dual, axes)


def _differences(image: Tensor, axes: list[int]) -> Tensor:
    return torch.stack([image - image.roll(1, axis) for axis in axes])


def _divergence(fields: Tensor, axes: list[int]) -> Tensor:
    """Return the adjoint of `_differences`."""
    return sum((field - field.roll(-1, axis) for field, axis in zip(fields, axes, strict=True)), fields.new_zeros(()))


def _check(
    kspace: Tensor, mask: Tensor, maps: Tensor, regularisation: float, iterations: int, tolerance: float
) -> None:
    if kspace.ndim != 4 or mask.shape != kspace.shape[1:3] or mask.dtype != torch.bool:
        raise ShapeError(
            f"kspace is {tuple(kspace.shape)} and mask {mask.dtype} {tuple(mask.shape)}: "
            "give [coil, z, y, x] and bool [z, y]"
        )
    if maps.shape != kspace.shape:
        raise ShapeError(f"maps are {tuple(maps.shape)} but the data {tuple(kspace.shape)}: pass maps of the same grid")
    if not bool(mask.any()):
        raise ProtocolError("mask holds no sample: check the line and partition labels")
    if not regularisation >= 0 or iterations < 1 or not tolerance >= 0:
        raise ProtocolError(
            f"regularisation {regularisation}, iterations {iterations}, tolerance {tolerance}: "
            "give none negative and at least one iteration"
        )
