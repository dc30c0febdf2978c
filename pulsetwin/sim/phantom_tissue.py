"""Tissues by field strength, and phantoms mixed from them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pulsetwin.errors import ProtocolError, ShapeError
from pulsetwin.sim.phantom import Phantom

FIELD_STRENGTHS = (1.5, 3.0, 7.0)
_ALIKE = 0.15  # of T1
_EMPTY = 0.01  # proton density below which a voxel counts as empty: too little to see, costly to simulate


@dataclass(frozen=True, slots=True)
class Tissue:
    """Properties of one substance.

    Parameters
    ----------
    proton_density
        Relative to water.
    t1, t2
        Relaxation times [s].
    t2_prime
        Time constant of the reversible decay [s]; infinite where there is none.
    diffusion
        Coefficient [m^2/s].
    """

    proton_density: float
    t1: float
    t2: float
    t2_prime: float = math.inf
    diffusion: float = 0.0

    @property
    def row(self) -> tuple[float, float, float, float, float]:
        """What mixes linearly: proton density, and times it the rates R1, R2, R2' [1/s] and the diffusion."""
        density = self.proton_density
        rates = 1 / self.t1, 1 / self.t2, 1 / self.t2_prime, self.diffusion
        return density, *(density * rate for rate in rates)


WATER = Tissue(1.0, 10 / 3, 2.0, diffusion=2.0e-9)

# T1, T2 [s] at 1.5, 3 and 7 T; see brain_tissues for the sources.
_GREY = {1.5: (1.197, 0.087), 3.0: (1.607, 0.076), 7.0: (1.939, 0.047)}
_WHITE = {1.5: (0.646, 0.080), 3.0: (0.838, 0.071), 7.0: (1.126, 0.047)}
_FLUID = {1.5: (4.3, 2.0), 3.0: (4.3, 2.0), 7.0: (4.3, 1.0)}
_T2_STAR_7T = {"grey": 0.0332, "white": 0.0268}


def alike(t1: Tensor, tissue: Tissue) -> Tensor:
    """Return which voxels count as a tissue: those whose T1 [s] is within 15 % of its own, bool of their shape."""
    return (t1 / tissue.t1 - 1).abs() < _ALIKE


def brain_tissues(field_strength: float) -> dict[str, Tissue]:
    """Return grey matter, white matter and cerebrospinal fluid at 1.5, 3 or 7 T, as ``grey``, ``white``, ``fluid``.

    ========================  ===================  ===================  ==============
    at 1.5 / 3 / 7 T          grey matter          white matter         fluid
    ========================  ===================  ===================  ==============
    T1 [s]                    1.197/1.607/1.939    0.646/0.838/1.126    4.3
    T2 [s]                    0.087/0.076/0.047    0.080/0.071/0.047    2.0/2.0/1.0
    T2' [s]                   0.528/0.264/0.113    0.291/0.146/0.062    infinite
    proton density            0.84                 0.69                 1
    diffusion [1e-9 m^2/s]    0.8                  0.7                  3.0
    ========================  ===================  ===================  ==============

    T1 of tissue: Wright et al. 2008 (doi:10.1007/s10334-008-0104-8), MPRAGE; of fluid: Rooney et al. 2007
    (doi:10.1002/mrm.21122), independent of the field. T2 of tissue: Cox and Gowland, Magn Reson Med 2010 (PubMed
    20593370), frontal grey matter; of fluid: rounded between its compartments, shorter at 7 T according to Spijkerman
    et al. 2018 (doi:10.1007/s10334-017-0659-3). T2': ``R2' = 1 / T2* - 1 / T2`` at 7 T with T2* of Peters et al. 2007
    (doi:10.1016/j.mri.2007.02.014), scaled with the field, since at low field the difference of the two is within
    their errors. Proton density: water content measured by Oros-Peusquens et al. 2019 (doi:10.3389/fneur.2019.01333).
    Diffusion: means of isotropic coefficients as in Pierpaoli et al., Radiology 1996; the fluid's is near that of
    water at 37 degrees C. Real tissue varies by about a tenth around all of these, and is not isotropic.

    Raises
    ------
    ProtocolError
        For another field strength.
    """
    field = nearest_field(field_strength)
    reversible = {name: (1 / star - 1 / t2) * field / 7 for name, star, t2 in (
        ("grey", _T2_STAR_7T["grey"], _GREY[7.0][1]), ("white", _T2_STAR_7T["white"], _WHITE[7.0][1])
    )}  # fmt: skip
    return {
        "grey": Tissue(0.84, *_GREY[field], 1 / reversible["grey"], 0.8e-9),
        "white": Tissue(0.69, *_WHITE[field], 1 / reversible["white"], 0.7e-9),
        "fluid": Tissue(1.0, *_FLUID[field], diffusion=3.0e-9),
    }


def nearest_field(field_strength: float, known: Sequence[float] = FIELD_STRENGTHS) -> float:
    """Return the entry of `known` within 10 percent of `field_strength` [T], so that 2.89 T counts as 3 T.

    Raises
    ------
    ProtocolError
        If there is none.
    """
    best = min(known, key=lambda field: abs(field - field_strength))
    if not abs(best - field_strength) <= 0.1 * best:
        values = ", ".join(f"{field:g}" for field in known)
        raise ProtocolError(f"no tissue values are known at {field_strength:g} T: choose one of {values} T")
    return best


def mixed(sums: Tensor, size: tuple[float, float, float], b0: Tensor, b1: Tensor) -> Phantom:
    """Make a phantom from sums over the tissues in each voxel of ``fraction * Tissue.row``.

    Proton densities add up. The rates R1, R2, R2' and the diffusion coefficient are means weighted by proton density:
    the mono-exponential decay that leaves time 0 as steeply as the true, multi-exponential one. Voxels with less than
    1 percent of water's protons are emptied: their times and coefficient are 0.

    Parameters
    ----------
    sums
        ``[5, z, y, x]``.
    size
        Edges of a voxel along x, y, z [m].
    b0
        Off-resonance [Hz], ``[z, y, x]``.
    b1
        Relative transmit field, real or complex ``[z, y, x]``.
    """
    density = torch.where(sums[0] > _EMPTY, sums[0], 0.0)
    filled = density > 0
    means = sums[1:] / torch.where(filled, density, 1.0)
    times = torch.where(filled, 1 / torch.where(filled, means[:3], 1.0), 0.0)
    return Phantom(
        proton_density=density, t1=times[0], t2=times[1], t2_prime=times[2],
        diffusion=torch.where(filled, means[3], 0.0), b0=b0, b1=b1.to(torch.complex128)[None],
        coils=torch.ones((1, *density.shape), dtype=torch.complex128), size=size,
    )  # fmt: skip


def voxel_size(matrix: tuple[int, int, int], fov: tuple[float, float, float]) -> tuple[float, float, float]:
    """Return the edges of a voxel along x, y, z [m] of a `matrix` ``(z, y, x)`` over a `fov` along x, y, z [m].

    Raises
    ------
    ShapeError, ProtocolError
        Unless there are three counts of at least 1, and three positive lengths.
    """
    if len(matrix) != 3 or len(fov) != 3 or min(matrix) < 1:
        raise ShapeError(f"phantom: matrix {tuple(matrix)}, fov {tuple(fov)}: give voxels z, y, x and lengths x, y, z")
    if not all(0 < length < 10 for length in fov):
        raise ProtocolError(f"phantom: the field of view is {tuple(fov)} m: give lengths of x, y, z between 0 and 10 m")
    z, y, x = matrix
    return fov[0] / x, fov[1] / y, fov[2] / z


def coordinates(matrix: tuple[int, int, int], size: tuple[float, float, float]) -> tuple[Tensor, Tensor, Tensor]:
    """Return voxel centres along z, y, x [m], float64 ``[z, 1, 1]``, ``[1, y, 1]``, ``[1, 1, x]``; 0 at ``n // 2``."""
    z, y, x = ((torch.arange(n, dtype=torch.float64) - n // 2) * size[2 - i] for i, n in enumerate(matrix))
    return z[:, None, None], y[None, :, None], x[None, None, :]
