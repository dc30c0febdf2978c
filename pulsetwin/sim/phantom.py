"""What lies in the scanner: maps of tissue and fields on a voxel grid."""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
from torch import Tensor

from pulsetwin.errors import ProtocolError, ShapeError

VOXEL_SHAPES = ("box", "sinc", "point")
_TISSUE = ("proton_density", "t1", "t2", "t2_prime", "diffusion", "b0")


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
        Relaxation times [s], ``[voxel]``; `t2_prime` may be infinite.
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


@dataclass(frozen=True, slots=True)
class Phantom:
    """Maps of tissue and fields ``[z, y, x]``, float64; voxel ``n // 2`` of each axis lies at the origin.

    Parameters
    ----------
    proton_density
        Relative; voxels of 0 hold nothing.
    t1, t2, t2_prime
        [s]; `t2_prime` may be infinite.
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
            If there are none, or relaxation times there are not positive.
        """
        keep = self.proton_density.detach() > threshold
        if not bool(keep.any()):
            raise ProtocolError(f"phantom: no voxel has a proton density above {threshold:g}")
        axes = [(torch.arange(n, dtype=torch.float64) - n // 2) for n in self.grid]
        z, y, x = torch.meshgrid(*axes, indexing="ij")
        grid = torch.stack([axis * size for axis, size in zip((x, y, z), self.size, strict=True)], -1)
        maps = {name: getattr(self, name)[keep] for name in _TISSUE}
        for name in ("t1", "t2", "t2_prime"):
            if not bool((maps[name] > 0).all()):
                raise ProtocolError(f"phantom: {name} is not positive everywhere that there is proton density")
        pools = tuple(
            Pool(**{f.name: _picked(getattr(pool, f.name), keep) for f in fields(Pool)}) for pool in self.pools
        )
        return Voxels(
            position=grid.to(keep.device)[keep], **maps, b1=self.b1[:, keep], coils=self.coils[:, keep],
            size=self.size, shape=self.shape, pools=pools,
        )  # fmt: skip


def _picked(value: Tensor | float, keep: Tensor) -> Tensor | float:
    return value[keep] if isinstance(value, Tensor) and value.ndim == 3 else value
