"""The signal by summing over isochromats: finite RF pulses, slice profiles, and the truth other engines are held to."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from scipy.stats import qmc
from torch import Tensor

from pulsetwin.errors import ProtocolError, ShapeError
from pulsetwin.progress import Progress, silent
from pulsetwin.sim.isochromat_kernel import place_spins, run_voxels
from pulsetwin.sim.isochromat_maps import PORTION, pulse_series
from pulsetwin.sim.isochromat_program import Motion, compile_timeline
from pulsetwin.sim.phantom import Voxels
from pulsetwin.sim.timeline import Timeline

_RESULT_BYTES = 128 * 2**20


def simulate_isochromats(
    timeline: Timeline,
    voxels: Voxels,
    *,
    spins: int = 512,
    seed: int = 0,
    finite_rf: bool = True,
    motion: Motion | None = None,
    progress: Progress = silent,
) -> Tensor:
    """Return the signal ``s_c(t) = sum_v C_cv rho_v mean_n M+_vn(t)`` of spins that follow the Bloch equations.

    Each voxel holds `spins` spins at Sobol points of the box, their offsets drawn from the Lorentzian line of T2' by a
    fourth Sobol axis, which is shifted at random from voxel to voxel. Diffusing spins walk at random, freely through
    the voxel's faces, a step from pulse to pulse; samples are attenuated by the expectation over the walks since their
    pulse. No gradients to inputs are recorded.

    Parameters
    ----------
    timeline
        Sequence.
    voxels
        Object; of shape ``box`` or ``point``. Tensors on the CPU.
    spins
        Spins per voxel, best a power of 2. A single spin lies in the centre.
    seed
        Of the points and walks: two seeds give independent errors.
    finite_rf
        Play the shapes of pulses that have one, with gradients, offset and relaxation; else rotate at their centres.
    motion
        Rigid motion of the object: from the time since the start of the sequence [s] to a rotation matrix ``[3, 3]``
        and a shift [m] ``[3]``, ``r -> R r + s``, along the axes of the voxels' positions. Field maps
        and coils stay with the object.
    progress
        Called with voxels done, their number and what is done.

    Returns
    -------
    Tensor
        complex128 ``[coil, sample]``.

    Raises
    ------
    ProtocolError
        If voxels are of shape ``sinc``, have pools or, with a single spin, T2'; if samples lie within a played pulse,
        or its shape does not fill its window.
    ShapeError
        If shims or shapes are not of the transmit channels of `voxels`.

    References
    ----------
    Cayley-Klein and Bloch: Pauly et al. 1991, doi:10.1109/42.75611.
    """
    check_isochromats(timeline, voxels, spins)
    table, field = voxel_table(voxels)
    program = compile_timeline(timeline, voxels, finite_rf=finite_rf, motion=motion)
    cloud, shift = spin_points(spins, len(voxels), seed)
    walking = 2 * seed + 1 if bool((voxels.diffusion > 0).any()) else 0
    weights = (voxels.coils.detach() * voxels.proton_density.detach()).to(torch.complex128).numpy()
    size = np.array(voxels.size if voxels.shape == "box" and spins > 1 else (0.0, 0.0, 0.0))

    def portion(here: slice) -> np.ndarray:
        places, rows = place_spins(cloud, shift[here], table[here], size), (table[here], field[here])
        series = pulse_series(places, *rows, program.steps, program.step_start, program.plan)
        mean = run_voxels(
            places, *rows, program.steps, program.step_start, program.plan, series, program.pulses, program.intervals,
            program.start, program.recorded, walking, here.start,
        )  # fmt: skip
        if walking:
            mean *= np.exp(-np.outer(table[here, 7], program.attenuation))
        return weights[:, here] @ mean

    signal = np.zeros((len(weights), program.recorded), complex)
    for done, part in _in_threads(portion, len(voxels), 16 * program.recorded + 32 * spins):
        signal += part
        progress(done, len(voxels), "isochromats")
    found = torch.from_numpy(signal)[:, torch.from_numpy(program.column)]
    return found.mul_(torch.exp(1j * timeline.sample_phase.detach()))


def two_seed_error(timeline: Timeline, voxels: Voxels, *, seed: int = 0, **options: Any) -> tuple[Tensor, float]:
    """Return the mean signal of two independent seeds and its estimated relative error, ``|s1 - s2| / |s1 + s2|``.

    Parameters
    ----------
    timeline, voxels
        As for `simulate_isochromats`.
    seed
        First seed; the second follows it.
    options
        Further options of `simulate_isochromats`.
    """
    one, two = (simulate_isochromats(timeline, voxels, seed=seed + k, **options) for k in range(2))
    total = float(torch.linalg.norm(one + two))
    return (one + two) / 2, float(torch.linalg.norm(one - two)) / total if total else 0.0


def check_isochromats(timeline: Timeline, voxels: Voxels, spins: int) -> None:
    """Raise what `simulate_isochromats` says of voxels and shims."""
    if voxels.shape == "sinc":
        raise ProtocolError(
            "isochromats fill boxes or points, not the endless voxels of shape 'sinc': "
            "pass dataclasses.replace(voxels, shape='box')"
        )
    if voxels.pools:
        raise ProtocolError("isochromats do not exchange with pools: use Bloch-McConnell, or pass voxels without pools")
    if spins < 1:
        raise ProtocolError(f"{spins} spins per voxel: give at least 1")
    if spins == 1 and bool(torch.isfinite(voxels.t2_prime).any()):
        raise ProtocolError("a single spin per voxel has no T2': give more spins, or an infinite t2_prime")
    if timeline.duration.is_cuda or voxels.position.is_cuda:
        raise ProtocolError("isochromats run on the CPU: move timeline and voxels there")
    channels = len(voxels.b1)
    if timeline.shim is not None and timeline.shim.shape != (timeline.pulses, channels):
        raise ShapeError(f"the shim is {tuple(timeline.shim.shape)}: give [pulse, channel] of {channels} channels")


def voxel_table(voxels: Voxels) -> tuple[np.ndarray, np.ndarray]:
    """Return the kernel's rows ``[voxel, 8]`` and transmit fields ``[voxel, channel, 2]``."""
    columns = (voxels.b0, 1 / voxels.t1, 1 / voxels.t2, 1 / (2 * np.pi * voxels.t2_prime), voxels.diffusion)
    rows = torch.cat((voxels.position, torch.stack(columns, 1)), 1)
    field = torch.view_as_real(voxels.b1.detach().to(torch.complex128).T.contiguous())
    return rows.detach().double().numpy(), field.numpy()


def spin_points(spins: int, voxels: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return points of the unit cube ``[spin, 4]`` and each voxel's shift of them, as `place_spins` takes them."""
    if spins == 1:
        return np.full((1, 4), 0.5), np.zeros((voxels, 4))
    rng = np.random.default_rng(seed)
    cloud = qmc.Sobol(4, seed=rng).random_base2((spins - 1).bit_length())[:spins]
    return np.ascontiguousarray(cloud), rng.random((voxels, 4))


def _in_threads(work: Callable[[slice], np.ndarray], total: int, size: int) -> Iterator[tuple[int, np.ndarray]]:
    """Yield how many of `total` voxels are done and what `work` returns, in as many threads as torch would use.

    `size` is what one voxel's result takes [byte].
    """
    threads = torch.get_num_threads()
    count = max(1, min(_RESULT_BYTES // (threads * size), -(-total // (4 * threads)), PORTION))
    parts = [slice(first, min(first + count, total)) for first in range(0, total, count)]
    with ThreadPoolExecutor(threads) as pool:
        yield from zip((part.stop for part in parts), pool.map(work, parts), strict=True)
