"""What each kind of pulse does to the magnetisation of each tissue, relaxation during the pulse included.

    M+ <- p M+ + q conj(M+) + r Mz + s        Mz <- u M+ + conj(u) conj(M+) + w Mz + z

Free precession before and after the pulse's centre is taken out, since states count it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from pulsetwin.sim.pulse_rotations import instant_rotation
from pulsetwin.sim.rotations import pulse_maps
from pulsetwin.sim.table_plan import Plan
from pulsetwin.sim.timeline import Timeline

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class PulseMaps:
    """Maps of all kinds of pulses for some tissues.

    Parameters
    ----------
    values
        p, q, r, u, w, s, z at a phase of 0, complex128 ``[kind, 7, tissue]``.
    after
        How long each kind goes on after its centre [s], ``[kind]``.
    """

    values: NDArray[np.complex128]
    after: Array


def tissue_maps(timeline: Timeline, plan: Plan, tissue: Array) -> PulseMaps:
    """Return the maps of a plan's pulses for tissues ``[tissue, 5]``: T1, T2 [s], diffusion, B1, offset [Hz]."""
    t1, t2, _, b1, offset = (torch.from_numpy(np.ascontiguousarray(column)) for column in tissue.T)
    field, values, after = b1.to(torch.complex128), [], []
    for pulse in plan.pulses.tolist():
        number = int(timeline.shape[pulse])
        if number < 0:
            values.append(_instant(*instant_rotation(timeline.flip_angle[pulse], field)))
            after.append(0.0)
            continue
        shape = timeline.shapes[number]
        matrix, shift = pulse_maps(
            shape, offset=offset, b1=field, t1=t1, t2=t2, flip_angle=float(timeline.flip_angle[pulse]),
            frequency=float(timeline.frequency[pulse]),
        )  # fmt: skip
        after.append(float(shape.duration.sum()) - shape.center)
        turns = np.exp(2j * np.pi * np.outer((shape.center, after[-1]), tissue[:, 4]))
        values.append(_centred(_complex(matrix.numpy(), shift.numpy()), *turns))
    return PulseMaps(np.stack(values), np.array(after))


def turned_phase(values: NDArray[np.complex128], phase: float) -> NDArray[np.complex128]:
    """Return the map ``[7, ...]`` of a pulse with a phase [rad]."""
    turn = np.exp(1j * phase)
    p, q, r, u, w, s, z = values
    return np.stack((p, q * turn**2, r * turn, u / turn, w, s * turn, z))


def _instant(alpha: torch.Tensor, beta: torch.Tensor) -> NDArray[np.complex128]:
    a, b = alpha.numpy(), beta.numpy()
    nothing = np.zeros_like(a)
    return np.stack((a.conj() ** 2, -(b**2), 2 * a.conj() * b, -(a * b).conj(), np.abs(a) ** 2 - np.abs(b) ** 2,
                     nothing, nothing))  # fmt: skip


def _complex(matrix: Array, shift: Array) -> NDArray[np.complex128]:
    """Return the map ``[7, tissue]`` of one on x, y, z, ``[tissue, 3, 3]`` and ``[tissue, 3]``."""
    (xx, xy, xz), (yx, yy, yz), (zx, zy, zz) = matrix.transpose(1, 2, 0)
    x, y, z = shift.T
    return np.stack((
        (xx + yy + 1j * (yx - xy)) / 2, (xx - yy + 1j * (yx + xy)) / 2, xz + 1j * yz, (zx - 1j * zy) / 2, zz + 0j,
        x + 1j * y, z + 0j,
    ))  # fmt: skip


def _centred(
    values: NDArray[np.complex128], before: NDArray[np.complex128], after: NDArray[np.complex128]
) -> NDArray[np.complex128]:
    """Take the turns by free precession before and after a pulse's centre, given as their inverses, out of its map."""
    p, q, r, u, w, s, z = values
    return np.stack((p * before * after, q * before.conj() * after, r * after, u * before, w, s * after, z))
