"""Cut, resample and join phantoms. Voxel ``n // 2`` of the result lies at the origin, as always."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import fields, replace

import torch
from torch import Tensor

from pulsetwin.errors import ProtocolError, ShapeError
from pulsetwin.sim.phantom import Phantom, Pool
from pulsetwin.sim.phantom_tissue import voxel_size

_MAPS = ("proton_density", "t1", "t2", "t2_prime", "diffusion", "b0", "b1", "coils")


def overlap(start: float, step: float, count: int, new_start: float, new_step: float, new_count: int) -> Tensor:
    """Return the share of each new cell that each old cell covers, float64 ``[new, old]``.

    Cells lie side by side from the edge `start` in steps of `step`; a row sums to 1 where old cells cover the new one.
    """
    old = start + step * torch.arange(count, dtype=torch.float64)
    new = new_start + new_step * torch.arange(new_count, dtype=torch.float64)[:, None]
    covered = torch.minimum(old + step, new + new_step) - torch.maximum(old, new)
    share = covered / new_step
    return torch.where(share > 1e-9, share, 0.0)  # edges that coincide but for rounding must not fill empty voxels


def crop(phantom: Phantom, matrix: tuple[int, int, int]) -> Phantom:
    """Keep `matrix` voxels along z, y, x around the centre, without changing them.

    Raises
    ------
    ShapeError
        If the phantom has fewer.
    """
    if len(matrix) != 3 or not all(1 <= m <= n for m, n in zip(matrix, phantom.grid, strict=True)):
        raise ShapeError(f"crop: {tuple(matrix)} voxels asked of a phantom of {phantom.grid}: ask for 1 to that many")
    kept = tuple(slice(n // 2 - m // 2, n // 2 - m // 2 + m) for m, n in zip(matrix, phantom.grid, strict=True))
    return _each(phantom, lambda values: values[(..., *kept)])


def slice_at(phantom: Phantom, z: float, thickness: float | None = None) -> Phantom:
    """Cut an axial slice, which comes to lie at the origin.

    Parameters
    ----------
    phantom
        To cut.
    z
        Centre of the slice in the phantom [m].
    thickness
        Of the slice, averaged as `resample` does [m]; by default the plane of voxels that holds `z` is taken as it is.

    Raises
    ------
    ProtocolError
        If the slice lies outside of the phantom.
    """
    count, edge = phantom.grid[0], phantom.size[2]
    start = -(count // 2 + 0.5) * edge
    if not start <= z < start + count * edge:
        raise ProtocolError(f"slice_at: z = {z:g} m is outside of {start:g} to {start + count * edge:g} m")
    if thickness is None:
        plane = min(int((z - start) / edge), count - 1)
        return _each(phantom, lambda values: values[..., plane : plane + 1, :, :])
    if not thickness > 0:
        raise ProtocolError(f"slice_at: the thickness is {thickness:g} m: give more than 0")
    weights = overlap(start, edge, count, z - thickness / 2, thickness, 1)
    _, y, x = phantom.grid
    size = (phantom.size[0], phantom.size[1], thickness)
    return _averaged(phantom, (weights, _identity(y), _identity(x)), size)


def stack(phantoms: Sequence[Phantom]) -> Phantom:
    """Join phantoms along z, in order of rising z.

    Raises
    ------
    ShapeError
        If there are none, or their planes, voxels, coils or pools differ.
    """
    if not phantoms:
        raise ShapeError("stack: no phantoms: give at least one")
    first = phantoms[0]
    for number, other in enumerate(phantoms):
        if _kind(other) != _kind(first):
            raise ShapeError(f"stack: phantom {number} is {_kind(other)}, the first {_kind(first)}: make them alike")
    pools = []
    for alike in zip(*(phantom.pools for phantom in phantoms), strict=True):
        whole = [_spread(pool, phantom) for pool, phantom in zip(alike, phantoms, strict=True)]
        names = ("fraction", "exchange_rate", "t1", "t2")
        joined = {name: torch.cat([getattr(pool, name) for pool in whole], -3) for name in names}
        pools.append(Pool(shift=alike[0].shift, **joined))
    maps = {name: torch.cat([getattr(phantom, name) for phantom in phantoms], -3) for name in _MAPS}
    return replace(first, **maps, pools=tuple(pools))


def resample(phantom: Phantom, matrix: tuple[int, int, int], fov: tuple[float, float, float] | None = None) -> Phantom:
    """Average a phantom over the voxels of another grid, each weighted by the volume that it shares with the new one.

    Proton density is conserved. Relaxation and diffusion are means of the rates weighted by proton density, fields and
    sensitivities weighted means too (plain ones where nothing is). What the fields do *within* a new voxel is lost:
    resample before adding fields if that matters. Space that the old grid does not cover is empty. Voxels ``n // 2``
    of both grids stay at the origin, so that grids of even and odd count over one field of view end half a voxel apart.

    Parameters
    ----------
    phantom
        To resample.
    matrix
        Voxels along z, y, x.
    fov
        Extent along x, y, z [m]; by default the phantom's own.
    """
    size = voxel_size(matrix, fov if fov is not None else phantom.fov)
    weights = []
    for axis, (new, old) in enumerate(zip(matrix, phantom.grid, strict=True)):
        edge, new_edge = phantom.size[2 - axis], size[2 - axis]
        weights.append(overlap(-(old // 2 + 0.5) * edge, edge, old, -(new // 2 + 0.5) * new_edge, new_edge, new))
    return _averaged(phantom, (weights[0], weights[1], weights[2]), size)


def _averaged(phantom: Phantom, weights: tuple[Tensor, Tensor, Tensor], size: tuple[float, float, float]) -> Phantom:
    def average(values: Tensor) -> Tensor:
        for matrix in weights:
            values = torch.tensordot(values, matrix.to(values.device, values.dtype), ([-3], [1]))
        return values

    old = phantom.proton_density
    density, cover = average(old), average(torch.ones_like(old))

    def weighted(values: Tensor, weight: Tensor, total: Tensor) -> Tensor:
        """Return the mean of `values`; 0 where there is no weight, whatever the values are there."""
        kept = torch.where(weight > 0, values, 0.0)
        return torch.where(total > 0, average(kept * weight) / torch.where(total > 0, total, 1.0), 0.0)

    def time(values: Tensor, weight: Tensor, total: Tensor) -> Tensor:
        rate = weighted(1 / torch.where(weight > 0, values, 1.0), weight, total)
        return torch.where(total > 0, 1 / torch.where(total > 0, rate, 1.0), 0.0)

    def smooth(values: Tensor) -> Tensor:
        plain = weighted(values, torch.ones_like(old), cover)
        return torch.where(density > 0, weighted(values, old, density), plain)

    pools = []
    for pool in (_spread(pool, phantom) for pool in phantom.pools):
        weight = pool.fraction * old
        total = average(weight)
        times = (time(value, weight, total) for value in (pool.t1, pool.t2))
        fraction = weighted(pool.fraction, old, density)
        pools.append(Pool(fraction, weighted(pool.exchange_rate, weight, total), pool.shift, *times))
    times = {name: time(getattr(phantom, name), old, density) for name in ("t1", "t2", "t2_prime")}
    return replace(
        phantom, proton_density=density, **times, diffusion=weighted(phantom.diffusion, old, density),
        b0=smooth(phantom.b0), b1=smooth(phantom.b1), coils=smooth(phantom.coils), size=size, pools=tuple(pools),
    )  # fmt: skip


def _each(phantom: Phantom, change: Callable[[Tensor], Tensor]) -> Phantom:
    """Apply `change` to every map."""
    pools = []
    for pool in phantom.pools:
        values = {field.name: getattr(pool, field.name) for field in fields(Pool)}
        grids = {name: change(v) for name, v in values.items() if isinstance(v, Tensor) and v.ndim == 3}
        pools.append(replace(pool, **grids))
    return replace(phantom, **{name: change(getattr(phantom, name)) for name in _MAPS}, pools=tuple(pools))


def _spread(pool: Pool, phantom: Phantom) -> Pool:
    """Return `pool` with all of its values as maps."""
    names = ("fraction", "exchange_rate", "t1", "t2")
    return replace(pool, **{name: getattr(pool, name).expand(phantom.grid) for name in names})


def _kind(phantom: Phantom) -> tuple[object, ...]:
    """Return what phantoms must share to be joined: plane, voxels, channels, coils and pools."""
    size = tuple(round(edge, 9) for edge in phantom.size)
    shifts = tuple(pool.shift for pool in phantom.pools)
    return phantom.grid[1:], size, len(phantom.b1), len(phantom.coils), phantom.shape, shifts


def _identity(count: int) -> Tensor:
    return torch.eye(count, dtype=torch.float64)
