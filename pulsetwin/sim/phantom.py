"""What lies in the scanner: maps of tissue and fields on a voxel grid."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor

from pulsetwin.errors import ProtocolError, ShapeError

VOXEL_SHAPES = ("box", "sinc", "point")
_TISSUE = ("proton_density", "t1", "t2", "t2_prime", "diffusion", "b0")
_TIMES = ("t1", "t2", "t2_prime")
_SIGNED = ("b0", "b1", "coils")


@dataclass(frozen=True, slots=True)
class Pool:
    """Protons that exchange with water.

    Parameters
    ----------
    fraction
        Protons relative to those of water ``[z, y, x]`` or ``[voxel]``.
    exchange_rate
        From the pool to water [1/s], of the same shape, or a scalar tensor.
    shift
        Chemical shift from water [ppm].
    t1, t2
        Relaxation times [s], scalar tensors or of the shape of `fraction`.
    """

    fraction: Tensor
    exchange_rate: Tensor
    shift: float
    t1: Tensor
    t2: Tensor


@dataclass(frozen=True, slots=True)
class Voxels:
    """The voxels of a phantom that hold protons, in a row, as the engines take them; real tensors of one dtype.

    Parameters
    ----------
    position
        Centres along x, y, z [m], ``[voxel, 3]``.
    proton_density
        ``[voxel]``, relative.
    t1, t2, t2_prime
        Relaxation times [s], ``[voxel]``; infinite where there is no relaxation.
    diffusion
        Coefficient [m^2/s], ``[voxel]``.
    b0
        Off-resonance [Hz], ``[voxel]``.
    b1
        Relative transmit field, complex ``[channel, voxel]``.
    coils
        Receive sensitivities, complex ``[coil, voxel]``.
    size
        Edges of a voxel along x, y, z [m].
    shape
        ``box``: signal spread evenly over the voxel; ``sinc``: band-limited to the grid's k-space; ``point``.
    pools
        Exchanging pools, maps ``[voxel]``.
    """

    position: Tensor
    proton_density: Tensor
    t1: Tensor
    t2: Tensor
    t2_prime: Tensor
    diffusion: Tensor
    b0: Tensor
    b1: Tensor
    coils: Tensor
    size: tuple[float, float, float]
    shape: str = "box"
    pools: tuple[Pool, ...] = ()

    def __len__(self) -> int:
        return len(self.proton_density)

    def at(self, index: Tensor) -> Voxels:
        """Return the voxels of some numbers, on the CPU, without gradients and pools."""
        names = ("proton_density", "t1", "t2", "t2_prime", "diffusion", "b0", "b1", "coils")
        maps = {name: getattr(self, name).detach().cpu()[..., index] for name in names}
        return replace(self, position=self.position.detach().cpu()[index], **maps, pools=())


@dataclass(frozen=True, slots=True)
class Phantom:
    """Maps of tissue and fields ``[z, y, x]``, float64; voxel ``n // 2`` of each axis lies at the origin.

    Parameters
    ----------
    proton_density
        Relative; voxels of 0 hold nothing.
    t1, t2, t2_prime
        Relaxation times [s]; infinite where there is no relaxation.
    diffusion
        [m^2/s].
    b0
        Off-resonance [Hz].
    b1
        Relative transmit field, complex ``[channel, z, y, x]``.
    coils
        Receive sensitivities, complex ``[coil, z, y, x]``.
    size
        Edges of a voxel along x, y, z [m].
    shape
        Of the voxels, one of `VOXEL_SHAPES`.
    pools
        Exchanging pools.

    Raises
    ------
    ShapeError
        If maps are not on one grid, or `b1` or `coils` not complex.
    ProtocolError
        If `size` is not three positive lengths, or `shape` is not known.
    """

    proton_density: Tensor
    t1: Tensor
    t2: Tensor
    t2_prime: Tensor
    diffusion: Tensor
    b0: Tensor
    b1: Tensor
    coils: Tensor
    size: tuple[float, float, float]
    shape: str = "box"
    pools: tuple[Pool, ...] = ()

    def __post_init__(self) -> None:
        grid = tuple(self.proton_density.shape)
        for name in _TISSUE:
            value = getattr(self, name)
            if len(grid) != 3 or tuple(value.shape) != grid:
                raise ShapeError(f"phantom: {name} is {tuple(value.shape)}: give [z, y, x] like proton_density {grid}")
        for name in ("b1", "coils"):
            value = getattr(self, name)
            if tuple(value.shape[1:]) != grid or not value.is_complex():
                raise ShapeError(f"phantom: {name} is {value.dtype} {tuple(value.shape)}: give complex [n, z, y, x]")
        if self.shape not in VOXEL_SHAPES:
            raise ProtocolError(f"phantom: shape {self.shape!r} is none of {', '.join(VOXEL_SHAPES)}")
        if len(self.size) != 3 or not all(0 < edge < math.inf for edge in self.size):
            raise ProtocolError(f"phantom: size is {tuple(self.size)}: give the edges of a voxel along x, y, z in m")

    @property
    def grid(self) -> tuple[int, int, int]:
        """Voxels along z, y, x."""
        z, y, x = self.proton_density.shape
        return z, y, x

    @property
    def fov(self) -> tuple[float, float, float]:
        """Extent along x, y, z [m]."""
        z, y, x = self.grid
        return self.size[0] * x, self.size[1] * y, self.size[2] * z

    def voxels(self, threshold: float = 0.0) -> Voxels:
        """Return the voxels with a proton density above `threshold`.

        Raises
        ------
        ProtocolError
            If there are none, a proton density is negative or not finite, or any other map has values there that are
            out of range: relaxation times are above 0, diffusion 0 or more, fields and sensitivities finite.
        """
        _check("proton_density", self.proton_density)
        keep = self.proton_density.detach() > threshold
        if not bool(keep.any()):
            raise ProtocolError(f"phantom: no voxel has a proton density above {threshold:g}")
        axes = [(torch.arange(n, dtype=torch.float64) - n // 2) for n in self.grid]
        z, y, x = torch.meshgrid(*axes, indexing="ij")
        grid = torch.stack([axis * size for axis, size in zip((x, y, z), self.size, strict=True)], -1)
        maps = {name: getattr(self, name)[keep] for name in _TISSUE}
        maps |= {"b1": self.b1[:, keep], "coils": self.coils[:, keep]}
        for name, values in maps.items():
            _check(name, values)
        pools = tuple(
            Pool(**{f.name: _picked(getattr(pool, f.name), keep) for f in fields(Pool)}) for pool in self.pools
        )
        return Voxels(position=grid.to(keep.device)[keep], **maps, size=self.size, shape=self.shape, pools=pools)


def _picked(value: Tensor | float, keep: Tensor) -> Tensor | float:
    return value[keep] if isinstance(value, Tensor) and value.ndim == 3 else value


def _check(name: str, values: Tensor) -> None:
    """Raise unless the values of a map are in its range; those without protons are not meant."""
    values = values.detach()
    if name in _TIMES:
        good, range_ = values > 0, "above 0, in s"
    elif name in _SIGNED:
        good, range_ = values.isfinite(), "finite"
    else:
        good, range_ = (values >= 0) & values.isfinite(), "0 or more, and finite"
    if not bool(good.all()):
        first = values[~good][0].item()
        raise ProtocolError(f"phantom: {name} is {first:g} in {int((~good).sum())} voxels: give values {range_}")
