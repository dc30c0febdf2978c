"""Images after inversions as a function of their times: what a T1 map is read from, and what it costs."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor

from pulsetwin.errors import ProtocolError
from pulsetwin.optimize.schemes import Bounds, Scheme, Values, centric_lines
from pulsetwin.sim.timeline import Timeline

LEAST = 15e-3
"""Least time on either side of an inversion [s], for an adiabatic pulse and its spoiler."""
CRUSHING = 4.0
"""Cycles across the slice after an inversion."""
RF_SPOILING = math.radians(84)
"""By which the RF phase's increment grows [rad]."""
_SPOILING = 2.0  # cycles across a voxel along the readout after each excitation


def inversion_recovery(
    *, images: int = 10, matrix: int = 32, fov: float = 0.2, thickness: float = 8e-3,
    flip_angle: float = math.radians(5), tr: float = 15e-3, te: float = 8e-3, dwell: float = 80e-6,
) -> Scheme:  # fmt: skip
    """Return a series of images, each an inversion and a train of gradient echoes, one for each line, centric.

    Its values: ``inversion_time`` [s] ``[image]``, from the inversion to the first excitation, which is that of the
    centre of k-space; ``recovery`` [s] ``[image - 1]``, from the end of a train to the next inversion; ``flip_angle``
    [rad] ``[1]`` of all excitations. Both times begin at 30 ms, near their least.

    Parameters
    ----------
    images
        How many, at least 2.
    matrix
        Samples, lines, and voxels along x and y.
    fov, thickness
        Field of view in the plane, and thickness of the slice [m].
    flip_angle
        Of all excitations [rad].
    tr, te, dwell
        Time from excitation to excitation, echo and dwell time [s].

    Raises
    ------
    ProtocolError
        If the readout does not fit, or there are too few images.
    """
    before, after = te - (matrix // 2) * dwell, tr - te - (matrix - 1 - matrix // 2) * dwell
    if before <= 0 or after <= 0 or images < 2:
        raise ProtocolError(f"inversion recovery: {images} images, {matrix} samples of {dwell:g} s in TE {te:g} s, "
                            f"TR {tr:g} s: give 2 images or more, and samples that fit")  # fmt: skip
    line = [before] + [dwell] * (matrix - 1) + [after]
    train = torch.tensor(line * matrix, dtype=torch.float64)
    sampled = torch.tensor([False] + ([True] * matrix + [False]) * matrix + [False])
    counts = torch.tensor([1] + [matrix + 1] * (matrix - 1) + [matrix + 2])  # the last excitation's recovery
    zero = torch.zeros(1, dtype=torch.float64)
    one = torch.cat((zero, train, zero))
    empty = Timeline.zeros(one.repeat(images), counts.repeat(images), sampled.repeat(images))
    number = torch.arange(matrix, dtype=torch.float64)
    phase = torch.remainder(RF_SPOILING * number * (number + 1) / 2, 2 * math.pi)
    filled = replace(
        empty, moment=_moments(matrix, fov, thickness).repeat(images, 1), phase=torch.cat((zero, phase)).repeat(images),
        sample_phase=(math.pi / 2 - phase).repeat_interleave(matrix).repeat(images),
    )  # fmt: skip

    def build(values: Values) -> Timeline:
        first, last = values["inversion_time"], torch.cat((values["recovery"], zero))
        times = torch.cat((first[:, None], train.expand(images, -1), last[:, None]), 1)
        inversion = torch.full((images, 1), math.pi, dtype=torch.float64)
        angles = torch.cat((inversion, values["flip_angle"].expand(images, matrix)), 1)
        return replace(filled, duration=times.reshape(-1), flip_angle=angles.reshape(-1))

    start = torch.full((images,), 2 * LEAST, dtype=torch.float64)
    times = Bounds(low=LEAST, scale=0.1, unit=0.1)
    return Scheme(
        {"inversion_time": start, "recovery": start[1:], "flip_angle": torch.full_like(zero, flip_angle)},
        {"inversion_time": times, "recovery": times, "flip_angle": Bounds(0.0, math.pi / 2, 0.05, 0.05)}, build,
        (torch.arange(matrix + 1) == 0).repeat(images), (matrix, matrix), (fov, fov, thickness),
    )  # fmt: skip


def _moments(matrix: int, fov: float, thickness: float) -> Tensor:
    """Return the moments of an image's intervals [1/m], ``[interval, 3]``."""
    step, half = 1 / fov, matrix // 2
    line = centric_lines(matrix)
    moment = torch.zeros(matrix, matrix + 1, 3, dtype=torch.float64)
    moment[:, 1:-1, 0] = step
    moment[:, 0, 0] = -half * step
    moment[:, -1, 0] = (_SPOILING * matrix - (matrix - 1 - half)) * step
    moment[:, 0, 1], moment[:, -1, 1] = line * step, -line * step
    crusher = torch.tensor([[0.0, 0.0, CRUSHING / thickness]], dtype=torch.float64)
    return torch.cat((crusher, moment.reshape(-1, 3), torch.zeros(1, 3, dtype=torch.float64)))
