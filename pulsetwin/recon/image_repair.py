"""A network that repairs images of the sequence it learnt with, whatever their scale and common phase."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pulsetwin.errors import MismatchError
from pulsetwin.progress import Progress, silent
from pulsetwin.rawdata import RawData, Readouts
from pulsetwin.recon.channels import channel_matrix
from pulsetwin.recon.combine import adaptive
from pulsetwin.recon.direct_images import direct_image, encoding
from pulsetwin.recon.image_network import Architecture, ImageNetwork, new_image_network
from pulsetwin.recon.layout import contrasts_of
from pulsetwin.recon.quality import image_figures
from pulsetwin.recon.reconstruct import imaging_readouts
from pulsetwin.recon.walsh import walsh
from pulsetwin.sim.timeline import Timeline
from pulsetwin.volume import Images, affine_ras

PURPOSE = "repair of images"
_NEAR = 0.1  # of a cell of k-space, within which samples are where they were learnt
_ALIKE = 0.01  # of the largest flip angle, or rad of the receiver's phase, within which pulses and readouts are equal
_NO_PULSE = 1e-6  # flip angle [rad] that a `.seq` may leave out


def new_repair_network(*, width: int = 32, layers: int = 3, kernel: int = 3, seed: int = 0) -> ImageNetwork:
    """Return a network that leaves images as they are until it learns; see `image_network.Architecture`."""
    network = new_image_network(Architecture(2, 2, width, layers, kernel), {"what": PURPOSE}, seed=seed)
    for value in list(network.module.parameters())[-2:]:
        torch.nn.init.zeros_(value)
    return network


def purpose_of(
    kspace: Tensor, played: Timeline, fov: tuple[float, float, float], matrix: tuple[int, int], method: str,
    iterations: int,
) -> dict[str, Any]:  # fmt: skip
    """Return what a network is for that learnt with a sequence: all that its images are made by.

    Parameters
    ----------
    kspace
        Position of each sample [1/m], ``[readout, sample, 3]``.
    played
        The sequence.
    fov
        Field of view along x, y, z [m].
    matrix
        Voxels along y, x.
    method, iterations
        Of `direct_image`.
    """
    pulses, received = _pulses(played)
    return {
        "what": PURPOSE, "kspace": kspace[..., :2].round(decimals=3).tolist(),
        "pulses": torch.view_as_real(pulses).tolist(), "received": torch.view_as_real(received).tolist(),
        "fov": list(fov), "matrix": list(matrix), "method": method, "iterations": iterations,
    }  # fmt: skip


def _pulses(played: Timeline) -> tuple[Tensor, Tensor]:
    """Return flip angle and phase of each pulse as ``flip exp(i phase)`` [rad], and the factor of each readout."""
    pulses = torch.polar(played.flip_angle.detach().abs(), played.phase.detach())
    pulses = torch.where(played.flip_angle.detach() < 0, -pulses, pulses)[pulses.abs() > _NO_PULSE]
    phase = played.sample_phase[played.readout_start[:-1]].detach()
    return pulses, torch.polar(torch.ones_like(phase), phase)


def repaired(network: ImageNetwork, image: Tensor, weights: Mapping[str, Tensor] | None = None) -> Tensor:
    """Return a repaired image, differentiable in it and in the weights, ``x + a f(x / a)``.

    The factor ``a``, of the image's root mean square and mean phase (weighted by magnitude), makes a change of scale or
    of phase one of the result.

    Parameters
    ----------
    network
        Of `new_repair_network`.
    image
        Complex ``[y, x]``.
    weights
        By name, instead of the network's own; the network computes in their precision.
    """
    precision = next(iter((network.weights if weights is None else weights).values())).dtype
    magnitude = image.abs()
    size = (magnitude.square().mean() + torch.finfo(magnitude.dtype).tiny).sqrt()  # an empty image stays empty
    unit = torch.polar(size, torch.angle((image * magnitude).sum()))
    channels = torch.view_as_real(image / unit).movedim(-1, 0)[None].to(precision)
    change = network(channels, weights)[0].movedim(0, -1).to(image.real.dtype)
    return image + unit * torch.view_as_complex(change.contiguous())


def reconstruct_repaired(
    raw: RawData, played: Timeline, network: ImageNetwork, *, progress: Progress = silent
) -> Images:
    """Return images of a learnt sequence as it learnt to make them: coil by coil, combined, repaired by its network.

    Parameters
    ----------
    raw
        The scan, with a trajectory.
    played
        Its sequence.
    network
        That learnt with its sequence.
    progress
        Called after each slice of each contrast.

    Raises
    ------
    MismatchError
        If the network is for something else than images, or learnt with another sequence.
    """
    if network.purpose.get("what") != PURPOSE:
        raise MismatchError(f"the network is for {network.purpose.get('what')}, not {PURPOSE}: give one that is")
    _check_pulses(played, network.purpose)
    readouts, left_out = imaging_readouts(raw)
    whiten, _ = channel_matrix(raw, readouts, coils=None, coil_bytes=0, memory=raw.coils, dtype=torch.complex128)
    contrasts, contrast = contrasts_of(readouts)
    place = readouts.label("SLC")
    slices = int(place.max(initial=0)) + 1
    ny, nx = network.purpose["matrix"]
    values = np.zeros((len(contrasts), slices, ny, nx), np.complex64)
    for number in range(len(contrasts)):
        for index in range(slices):
            member = readouts.select((contrast == number) & (place == index))
            with torch.no_grad():
                values[number, index] = _image(member, whiten, network).numpy()
            progress(number * slices + index + 1, len(contrasts) * slices, "reconstructing")
    affine = affine_ras(raw.geometry, (nx, ny, slices))
    quality = image_figures(np.abs(values[0]), None)
    return Images(values, affine, contrasts, None, quality, (*raw.warnings, *left_out))


def _image(readouts: Readouts, whiten: Tensor, network: ImageNetwork) -> Tensor:
    """Return the image ``[y, x]`` of the readouts of one slice."""
    about = network.purpose
    kspace = torch.from_numpy(readouts.trajectory.positions())  # type: ignore[union-attr]
    _check_kspace(kspace, about)
    transform = encoding(kspace.reshape(-1, 3), tuple(about["fov"]), tuple(about["matrix"]))
    signals = whiten @ torch.from_numpy(np.asarray(readouts.samples[:])).movedim(1, 0).flatten(1).to(whiten.dtype)
    images = torch.stack([direct_image(one, transform, about["method"], about["iterations"]) for one in signals])
    combined = images[0] if len(images) == 1 else adaptive(images[:, None], walsh(images[:, None]))[0]
    return repaired(network, combined)


def _check_pulses(played: Timeline, about: Mapping[str, Any]) -> None:
    """Check that a sequence has the flip angles and phases, of pulses and readouts, that a network learnt with."""
    for name, what, found in zip(("pulses", "received"), ("pulses", "readouts"), _pulses(played), strict=True):
        learnt = torch.view_as_complex(torch.tensor(about[name], dtype=torch.float64))
        if len(found) != len(learnt):
            told = f"{len(learnt)} {what}, but the .seq has {len(found)}"
        elif float((found - learnt).abs().max()) > _ALIKE * float(learnt.abs().max()):
            told = f"other flip angles or phases of {what} than those of the .seq"
        else:
            continue
        raise MismatchError(f"the network learnt with {told}: give the network of this sequence")


def _check_kspace(kspace: Tensor, about: Mapping[str, Any]) -> None:
    """Check that samples ``[readout, sample, 3]`` [1/m] are where those are that a network learnt with."""
    learnt = torch.tensor(about["kspace"], dtype=torch.float64)
    if kspace.shape[:2] != learnt.shape[:2]:
        told = "{} readouts of {} samples, but there are {} of {}".format(*learnt.shape[:2], *kspace.shape[:2])
        raise MismatchError(f"the network learnt with {told}: give the network of this sequence")
    apart = (kspace[..., :2] - learnt).abs() * torch.tensor(about["fov"][:2])
    if float(apart.max()) > _NEAR:
        raise MismatchError(f"the network learnt with samples up to {float(apart.max()):.2g} cells of k-space from "
                            "those of the .seq: give the network of this sequence")  # fmt: skip
