"""Nyquist ghosts of echo-planar scans: estimate and undo what forward and reversed lines disagree about.

A gradient that lags by a delay shifts forward and reversed lines apart in k-space, and eddy currents add a phase of
alternating sign; both put a ghost at half the field of view (Bruder et al., doi:10.1002/mrm.1910230211). The
correction is one delay, which enters the trajectory, and one phase per slice.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy.optimize import minimize
from torch import Tensor

from pulsetwin.errors import MismatchError, ProtocolError
from pulsetwin.operators.fft import ifft
from pulsetwin.recon.grid import LinePhase, profile_transforms, profiles
from pulsetwin.recon.layout import Layout

LARGEST_DELAY = 3.0
"""Largest delay that the reference-free search considers, in samples of the readout."""


@dataclass(frozen=True, slots=True)
class PolarityPhase:
    """Phase of the reversed relative to the forward profiles, ``constant + slope * (x - x_centre)``.

    Parameters
    ----------
    constant
        At the centre of the field of view [rad], in (-pi/2, pi/2].
    slope
        Per voxel [rad].
    """

    constant: float
    slope: float


def polarity(plan: Layout) -> np.ndarray:
    """Return +1 for readouts that run towards +x, -1 for reversed ones, int ``[readout]``."""
    trajectory = plan.readouts.trajectory
    assert trajectory is not None
    along = trajectory.shapes[:, -1, 0] - trajectory.shapes[:, 0, 0]
    return np.sign(along).astype(int)[trajectory.shape_index]


def alternates(plan: Layout) -> bool:
    """Tell whether any single image mixes forward and reversed lines."""
    sign = polarity(plan)
    image = plan.contrast * plan.slices + plan.slice_index
    return any(np.ptp(sign[image == i]) > 0 for i in np.unique(image))


def delay_of(phase: PolarityPhase, plan: Layout) -> float:
    """Return the gradient delay [s] that the slope of `phase` stands for, at the fastest part of the readout."""
    trajectory = plan.readouts.trajectory
    assert trajectory is not None
    fastest = float(np.abs(np.diff(trajectory.shapes[:, :, 0], axis=1)).max()) * plan.fov[0]
    samples = -phase.slope * plan.shape[0] / (4 * np.pi * fastest)
    return samples * float(np.median(plan.readouts.dwell))


def line_phase(plan: Layout, phases: list[PolarityPhase]) -> LinePhase:
    """Return the phase that brings forward and reversed lines together: half to each, one entry per slice."""
    half = 0.5 * polarity(plan)
    constant = np.array([p.constant for p in phases])[plan.slice_index]
    slope = np.array([p.slope for p in phases])[plan.slice_index]
    return LinePhase(half * constant, half * slope)


def from_reference(plan: Layout, coil_matrix: Tensor, delay: float = 0.0) -> list[PolarityPhase]:
    """Estimate the phase of each slice from lines without phase encoding (navigators or a reference scan).

    Three consecutive lines ``p`` of alternating polarity give ``arg(p_n^2 conj(p_{n-1} p_{n+1}))``, twice the phase
    and free of whatever grows linearly in time, such as off-resonance.

    Parameters
    ----------
    plan
        The reference lines, in the order of their acquisition.
    coil_matrix
        Whitening and compression ``[virtual, coil]``.
    delay
        Gradient delay already accounted for [s].

    Raises
    ------
    MismatchError
        If a slice has no three consecutive lines of alternating polarity.
    """
    transforms, sign = profile_transforms(plan, delay), polarity(plan)
    result = []
    for index in range(plan.slices):
        member = np.nonzero(plan.slice_index == index)[0]
        centre = np.nonzero((sign[member][1:-1] != sign[member][:-2]) & (sign[member][1:-1] != sign[member][2:]))[0] + 1
        if not len(centre):
            raise MismatchError(
                f"slice {index} has no three reference lines of alternating polarity: "
                "give the same EPI train without phase-encoding blips as the reference"
            )
        lines = profiles(plan, member, transforms, coil_matrix.to(torch.complex128), torch.complex128)
        product = lines[centre] ** 2 * (lines[centre - 1] * lines[centre + 1]).conj()
        product = torch.where(torch.from_numpy(sign[member][centre] < 0)[:, None, None], product, product.conj())
        result.append(_fit(product / product.abs().sqrt().clamp(min=1e-300)))
    return result


def _fit(doubled: Tensor) -> PolarityPhase:
    """Fit a line through half the angle of ``[..., x]``, weighted by magnitude, without unwrapping."""
    total = doubled.sum(tuple(range(doubled.ndim - 1))).cpu().numpy()
    x = np.arange(len(total)) - len(total) // 2
    slope = float(np.angle(np.sum(total[1:] * total[:-1].conj())))
    constant = float(np.angle(np.sum(total * np.exp(-1j * slope * x))))
    for _ in range(3):
        residual = total * np.exp(-1j * (constant + slope * x))
        weight = np.abs(residual)
        step = np.polynomial.polynomial.polyfit(x, np.angle(residual), 1, w=np.sqrt(weight))
        constant, slope = constant + step[0], slope + step[1]
    constant = (constant + np.pi) % (2 * np.pi) - np.pi
    return PolarityPhase(constant / 2, slope / 2)


def without_reference(hybrid: Tensor, plan: Layout, start: list[PolarityPhase] | None = None) -> list[PolarityPhase]:
    """Estimate the phase of each slice from the image itself: the one with the least entropy.

    An image of half its lines is object plus ghost; the phase that adds both halves up to the sharpest image
    (least entropy of the magnitude, Clare, ISMRM 2003 p. 1041) is searched on a grid and refined by Nelder-Mead.
    A shift of object and ghost by half the field of view cannot be told apart: the smaller phase is taken.

    Parameters
    ----------
    hybrid
        Uncorrected lines ``[contrast, slice, kz, ky, coil, x]``; the first contrast is used.
    plan
        Where each readout went.
    start
        Start the refinement of each slice here instead of on a grid.
    """
    reversed_line = np.zeros(plan.counts().shape, bool)
    reversed_line.reshape(-1)[plan.cell] = polarity(plan) < 0
    result = []
    for index in range(plan.slices):
        lines = hybrid[0, index].to(torch.complex128)
        coils = _strongest(lines, 4)
        back = torch.from_numpy(reversed_line[0, index])[..., None, None].to(lines.device)
        forward, backward = (ifft(ifft(part, (0,)), (1,)).flatten(0, 2) for part in (coils * ~back, coils * back))
        result.append(_least_entropy(forward, backward, coils.shape[2], plan, start and start[index]))
    return result


def _strongest(lines: Tensor, keep: int) -> Tensor:
    """Compress ``[kz, ky, coil, x]`` to its strongest virtual coils."""
    flat = lines.movedim(2, 0).flatten(1)
    _, vectors = torch.linalg.eigh(flat @ flat.mH)
    return torch.einsum("cv,zycx->zyvx", vectors[:, -keep:].conj(), lines)


def _least_entropy(
    forward: Tensor, backward: Tensor, coils: int, plan: Layout, start: PolarityPhase | None
) -> PolarityPhase:
    """Search the phase for which ``forward + backward`` has the least entropy; both are ``[z*y*coil, x]``."""
    voxels = forward.shape[-1]
    x = torch.arange(voxels, dtype=torch.float64, device=forward.device) - voxels // 2

    def entropy(constant: Tensor, slope: float) -> Tensor:
        turn = torch.exp(-1j * (constant[:, None] + slope * x))
        image = forward + turn[:, None, :] * backward
        power = (image.real**2 + image.imag**2).unflatten(1, (-1, coils)).sum(2)
        magnitude = power.sqrt().flatten(1)
        share = magnitude / magnitude.pow(2).sum(1, keepdim=True).sqrt()
        return -(share * (share + 1e-12).log()).sum(1)

    if start is None:
        constants = torch.arange(-8, 8, dtype=torch.float64, device=x.device) * (np.pi / 16)
        limit = 4 * np.pi * LARGEST_DELAY / plan.shape[0]
        slopes = np.arange(-limit, limit, 1.0 / voxels)
        table = torch.stack([entropy(constants, float(slope)) for slope in slopes])
        best = int(table.argmin())
        start = PolarityPhase(float(constants[best % len(constants)]), float(slopes[best // len(constants)]))
    found = minimize(
        lambda p: float(entropy(torch.tensor([p[0]], dtype=torch.float64, device=x.device), p[1] / voxels)),
        [start.constant, start.slope * voxels],
        method="Nelder-Mead",
        options={"initial_simplex": _simplex(start, voxels), "xatol": 1e-4, "fatol": 1e-9},
    )
    constant = (found.x[0] + np.pi / 2) % np.pi - np.pi / 2
    return PolarityPhase(float(constant), float(found.x[1]) / voxels)


def _simplex(start: PolarityPhase, voxels: int) -> np.ndarray:
    """Start triangle of the refinement, in units of ``[constant, slope * voxels]``."""
    corner = np.array([start.constant, start.slope * voxels])
    return corner + np.array([[0.0, 0.0], [0.1, 0.0], [0.0, 0.5]])


def one_delay(phases: list[PolarityPhase], plan: Layout) -> float:
    """Return the delay common to all slices [s], the median of theirs.

    Raises
    ------
    ProtocolError
        If it is so large that the estimate cannot be right.
    """
    delay = float(np.median([delay_of(phase, plan) for phase in phases]))
    if abs(delay) > 2 * LARGEST_DELAY * float(np.median(plan.readouts.dwell)):
        raise ProtocolError(
            f"the estimated gradient delay is {delay * 1e6:.1f} us, more than a few samples: "
            "the reference lines do not belong to this scan"
        )
    return delay
