"""A network that repairs images of the sequence it learnt with, whatever their scale and common phase."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from pulsetwin.errors import MismatchError, ProtocolError
from pulsetwin.operators.nufft import Nufft
from pulsetwin.progress import Progress, silent
from pulsetwin.rawdata import RawData, Readouts
from pulsetwin.recon.channels import channel_matrix
from pulsetwin.recon.combine import adaptive
from pulsetwin.recon.direct_images import METHODS, direct_image, encoding
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
_SAME_FOV = 0.01  # of the field of view, relative
_NO_PULSE = 1e-6  # flip angle [rad] that a `.seq` may leave out


class Learnt(NamedTuple):
    """What a network learnt with: a sequence and how its images were made, see `purpose_of`.

    k of samples [1/m] ``[readout, sample, 2]``; flip angle and phase of each pulse as ``flip exp(i phase)`` [rad], and
    the receiver's factor of each readout, complex; field of view along x, y, z [m]; voxels along y, x.
    """

    kspace: Tensor
    pulses: Tensor
    received: Tensor
    fov: tuple[float, float, float]
    matrix: tuple[int, int]
    method: str
    iterations: int


def new_repair_network(*, width: int = 32, layers: int = 3, kernel: int = 3, seed: int = 0) -> ImageNetwork:
    """Return a network that leaves images as they are until it learns; see `image_network.Architecture`."""
    network = new_image_network(Architecture(2, 2, width, layers, kernel), {"what": PURPOSE}, seed=seed)
    for value in list(network.module.parameters())[-2:]:
        torch.nn.init.zeros_(value)
    return network


def repair_settings(network: ImageNetwork) -> dict[str, Any]:
    """Return how the images are made that a network repairs, and the network's SHA-256; errors as of `learnt_with`."""
    learnt = learnt_with(network)
    steps = {} if learnt.method == "adjoint" else {"iterations": learnt.iterations}
    return {"method": learnt.method, **steps, "image_network": network.digest}


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
        As of `learnt_with`, or if the network learnt with another sequence.
    ProtocolError
        If samples are not finite.
    """
    learnt = learnt_with(network)
    _check_fov(raw.geometry.fov, learnt)
    _check_pulses(played, learnt)
    readouts, left_out = imaging_readouts(raw)
    whiten, _ = channel_matrix(raw, readouts, coils=None, coil_bytes=0, memory=raw.coils, dtype=torch.complex128)
    contrasts, contrast = contrasts_of(readouts)
    place = readouts.label("SLC")
    slices = int(place.max(initial=0)) + 1
    ny, nx = learnt.matrix
    values, plain = np.zeros((2, len(contrasts), slices, ny, nx), np.complex64)
    transforms: dict[bytes, Nufft] = {}
    for number in range(len(contrasts)):
        for index in range(slices):
            member = readouts.select((contrast == number) & (place == index))
            with torch.no_grad():
                image = _image(member, whiten, learnt, transforms)
                values[number, index], plain[number, index] = repaired(network, image).numpy(), image.numpy()
            progress(number * slices + index + 1, len(contrasts) * slices, "reconstructing")
    affine = affine_ras(raw.geometry, (nx, ny, slices))
    quality = {"coils": float(len(whiten)), **image_figures(np.abs(values[0]), None)}
    change = float(np.linalg.norm(values - plain) / max(np.linalg.norm(plain), np.finfo(np.float32).tiny))
    told = (
        f"a network (SHA-256 {network.digest}) repaired the images, which changed them by {100 * change:.2g} %: doubt "
        "what it did not learn"
    )
    return Images(values, affine, contrasts, None, quality, (*raw.warnings, *left_out, told))


def learnt_with(network: ImageNetwork) -> Learnt:
    """Return what a network learnt with.

    Raises
    ------
    MismatchError
        If it is for something else than images, or does not tell.
    """
    about = network.purpose
    if about.get("what") != PURPOSE:
        raise MismatchError(f"the network is for {about.get('what')}, not {PURPOSE}: give one that is")
    try:
        kspace, pulses, received = (
            torch.tensor(about[name], dtype=torch.float64) for name in ("kspace", "pulses", "received")
        )
        (x, y, z), (ny, nx) = map(float, about["fov"]), map(int, about["matrix"])
        pulses, received = torch.view_as_complex(pulses), torch.view_as_complex(received)
        learnt = Learnt(kspace, pulses, received, (x, y, z), (ny, nx), about["method"], int(about["iterations"]))
        sizes = (x, y, z, ny, nx, learnt.iterations, kspace.numel(), len(pulses), len(received))
        told = all(0 < size < math.inf for size in sizes) and kspace.ndim == 3 and kspace.shape[2] == 2
        told &= learnt.method in METHODS and all(bool(one.isfinite().all()) for one in (kspace, pulses, received))
    except (KeyError, TypeError, ValueError, RuntimeError, OverflowError):
        told = False
    if not told:
        raise MismatchError("the network does not tell the sequence and the images that it learnt with: train it anew")
    return learnt


def _image(readouts: Readouts, whiten: Tensor, learnt: Learnt, transforms: dict[bytes, Nufft]) -> Tensor:
    """Return the image ``[y, x]`` of the readouts of one slice, not yet repaired; equal samples share a transform."""
    kspace = torch.from_numpy(readouts.trajectory.positions())  # type: ignore[union-attr]
    _check_kspace(kspace, learnt)
    encoded = encoding(kspace.reshape(-1, 3), learnt.fov, learnt.matrix)
    transform = transforms.setdefault(kspace.numpy().tobytes(), encoded)
    signals = whiten @ torch.from_numpy(np.asarray(readouts.samples[:])).movedim(1, 0).flatten(1).to(whiten.dtype)
    if not bool(signals.isfinite().all()):
        raise ProtocolError("samples of the scan or of its noise are not finite: check the raw data for NaNs")
    images = direct_image(signals, transform, learnt.method, learnt.iterations)
    return images[0] if len(images) == 1 else adaptive(images[:, None], walsh(images[:, None]))[0]


def _check_fov(fov: tuple[float, float, float], network: Learnt) -> None:
    """Check that a field of view along x, y, z [m] is that of the images that a network learnt with."""
    if not np.allclose(fov, network.fov, rtol=_SAME_FOV, atol=0):
        wanted, found = (" x ".join(f"{1e3 * length:.4g}" for length in one) for one in (network.fov, fov))
        raise MismatchError(f"the network learnt with a field of view of {wanted} mm, but that of the scan is {found}: "
                            "give the network of this sequence")  # fmt: skip


def _check_pulses(played: Timeline, network: Learnt) -> None:
    """Check that a sequence has the flip angles and phases, of pulses and readouts, that a network learnt with."""
    pulses, received = _pulses(played)
    for what, found, learnt in (("pulses", pulses, network.pulses), ("readouts", received, network.received)):
        if len(found) != len(learnt):
            told = f"{len(learnt)} {what}, but the .seq has {len(found)}"
        elif float((found - learnt).abs().max()) > _ALIKE * float(learnt.abs().max()):
            told = f"other flip angles or phases of {what} than those of the .seq"
        else:
            continue
        raise MismatchError(f"the network learnt with {told}: give the network of this sequence")


def _check_kspace(kspace: Tensor, network: Learnt) -> None:
    """Check that samples ``[readout, sample, 3]`` [1/m] are where those are that a network learnt with."""
    learnt = network.kspace
    if kspace.shape[:2] != learnt.shape[:2]:
        told = "{} readouts of {} samples, but there are {} of {}".format(*learnt.shape[:2], *kspace.shape[:2])
        raise MismatchError(f"the network learnt with {told}: give the network of this sequence")
    apart = (kspace[..., :2] - learnt).abs() * torch.tensor(network.fov[:2])
    if float(apart.max()) > _NEAR:
        raise MismatchError(f"the network learnt with samples up to {float(apart.max()):.2g} cells of k-space from "
                            "those of the .seq: give the network of this sequence")  # fmt: skip
