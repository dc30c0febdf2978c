"""A particle in its share of frozen solution: concentric layers, each of one material.

The solid reaches from the centre to R, the frozen solution of radicals from there to R', beyond which the next
particle's share begins, so that nothing flows through R'. The polarisation P obeys (Pinon et al. 2017,
doi:10.1021/acs.jpcc.7b04438)

    C dP/dt = div(D C grad P) - C (P - P0) / T1,    P(r, 0) = 0 after saturation,

with P and the flux D C dP/dr continuous where layers meet.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from scipy.optimize import brentq

from pulsetwin.errors import ProtocolError, ShapeError

SHAPES = {"slab": 0, "cylinder": 1, "sphere": 2}
"""Name of a shape to the power of r with which surfaces grow; a slab is one half of it, from its middle."""
_FINEST = 12.0  # by the number of cells, the size of the finest one in how far polarisation reaches


@dataclass(frozen=True, slots=True)
class Layers:
    """Concentric layers from the centre outwards; many thin ones are a smooth profile.

    Parameters
    ----------
    shape
        ``sphere``, ``cylinder`` or ``slab``.
    edges
        Outer radius of each layer [m], ``[..., layer]``.
    concentration
        Of the nuclei, in any unit common to all layers, ``[..., layer]``.
    diffusion
        Coefficient of spin diffusion D [m^2/s], ``[..., layer]``.
    t1
        To what the polarisation builds up or decays, and how fast: T1 [s], ``[..., layer]``.
    polarisation
        P0, which a layer by itself would reach, in any unit, ``[..., layer]``.

    All are numpy arrays, or torch tensors where derivatives are wanted.

    Raises
    ------
    ProtocolError
        If the shape is unknown, radii do not grow, or a number is not positive (P0: not finite).
    ShapeError
        If there is not one value for each layer.
    """

    shape: str
    edges: Any
    concentration: Any
    diffusion: Any
    t1: Any
    polarisation: Any

    def __post_init__(self) -> None:
        if self.shape not in SHAPES:
            raise ProtocolError(f"no shape {self.shape!r}: take one of {', '.join(SHAPES)}")
        for field in fields(self)[1:]:
            values = _plain(getattr(self, field.name))
            if values.shape != _plain(self.edges).shape or not values.size:
                raise ShapeError(
                    f"{field.name} is {values.shape}, edges {_plain(self.edges).shape}: one for each layer"
                )
            if not np.isfinite(values).all() or (field.name != "polarisation" and (values <= 0).any()):
                raise ProtocolError(f"{field.name} = {values}: give finite, positive values in SI units")
        if (np.diff(_plain(self.edges), axis=-1) <= 0).any():
            raise ProtocolError(f"edges = {_plain(self.edges)} m: radii of layers grow outwards")

    @property
    def power(self) -> int:
        """With which power of r surfaces grow."""
        return SHAPES[self.shape]


def refined(layers: Layers, cells: int, times: np.ndarray) -> tuple[Layers, np.ndarray]:
    """Return the same particle in thinner layers, finest where materials meet, and to which layer each one belongs.

    Cells grow as the hyperbolic sine of their number, smoothly, so that finite volumes keep their second order. The
    first ones resolve how far polarisation diffuses until the earliest time.

    Parameters
    ----------
    layers
        The particle, one of them.
    cells
        How many cells each layer becomes.
    times
        At which polarisation is wanted [s], ``[time]``; zero and earlier count as never.
    """
    if cells < 2:
        raise ProtocolError(f"cells = {cells}: give each layer at least 2")
    inner, last = np.concatenate(([0.0], layers.edges[:-1])), len(layers.edges) - 1
    first = min((t for t in times if t > 0), default=np.inf)
    reach = np.sqrt(layers.diffusion * np.minimum(first, layers.t1))
    edges = [
        _graded(inner[n], layers.edges[n], (n > 0, n < last), cells, reach[n])[1:] for n in range(len(layers.edges))
    ]
    parent = np.repeat(np.arange(len(edges)), cells)
    values = [getattr(layers, name)[parent] for name in ("concentration", "diffusion", "t1", "polarisation")]
    return Layers(layers.shape, np.concatenate(edges), *values), parent


def _graded(a: float, b: float, fine: tuple[bool, bool], cells: int, reach: float) -> np.ndarray:
    """Return the edges of cells between a and b, ``[cells + 1]``, which are fine at the ends that are said to be."""
    if all(fine):
        middle = (a + b) / 2
        left = _graded(a, middle, (True, False), cells // 2, reach)
        return np.concatenate((left, _graded(middle, b, (False, True), cells - cells // 2, reach)[1:]))
    steps, span = np.linspace(0, 1, cells + 1), b - a
    finest = _FINEST * reach / span
    if not any(fine) or finest >= 1:
        return np.append(a + span * steps[:-1], b)
    slope = brentq(lambda x: x / np.sinh(x) - finest, 1e-9, 100)
    graded = span * np.sinh(slope * steps) / np.sinh(slope)
    return np.append(a + graded[:-1], b) if fine[0] else np.append(b - graded[:0:-1], b)


def _plain(values: Any) -> np.ndarray:
    """Return an array or a tensor without derivatives as an array."""
    return np.asarray(values.detach() if hasattr(values, "detach") else values)
