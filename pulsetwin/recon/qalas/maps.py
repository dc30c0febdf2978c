"""From five QALAS volumes to maps of T1, T2, proton density and inversion efficiency, with their uncertainty."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import torch

from pulsetwin.errors import MismatchError, ProtocolError, ShapeError
from pulsetwin.progress import Progress, silent
from pulsetwin.recon.qalas.crlb import least_deviations
from pulsetwin.recon.qalas.dictionary import Grid, match
from pulsetwin.recon.qalas.fit import EFFICIENCY_RANGE, Efficiency, Fitted, fit, fit_magnitudes
from pulsetwin.recon.qalas.network import Network
from pulsetwin.recon.qalas.ssl import learnt
from pulsetwin.recon.qalas.ssl_start import noise_of, signed_data
from pulsetwin.recon.qalas.training import Training
from pulsetwin.recon.qalas.transmit_field import on_grid
from pulsetwin.recon.qalas.tv import smooth_fit
from pulsetwin.recon.voxels import stored, with_signs
from pulsetwin.sim.signal_models.qalas_pulses import QalasPulses
from pulsetwin.sim.signal_models.qalas_timing import CONTRASTS, QalasTiming
from pulsetwin.volume import Images, Maps, Volume

METHODS = ("fit", "dictionary", "ssl", "tv")
_OPTIONS = {"dictionary": {"grid"}, "ssl": {"training", "network"}, "tv": {"weight"}}
UNITS = {"T1": "s", "T2": "s", "PD": "", "IE": ""}
_BLOCK = 1 << 16  # voxels fitted at a time
_B1_RANGE = (0.2, 2.0)
_DIM = 0.05  # part of the bright voxels' signal below which a voxel counts as empty
_TOLERANCE = 0.02  # of contrast 5, by which the contrasts may seem out of order


@dataclass(frozen=True, slots=True)
class _Task:
    """What the voxels in `mask` share, and by voxel: signals ``[voxel, 5]``, B1, offset and noise ``[voxel]``."""

    data: np.ndarray
    signed: bool
    b1: np.ndarray
    offset: np.ndarray
    noise: np.ndarray | None
    timing: QalasTiming
    ie: Efficiency
    pulses: QalasPulses | None
    mask: np.ndarray
    edges: np.ndarray


def map_qalas(
    images: Images,
    timing: QalasTiming,
    b1: Volume | np.ndarray | float | None = None,
    *,
    method: str = "fit",
    ie: Efficiency = EFFICIENCY_RANGE,
    pulses: QalasPulses | None = None,
    offset: np.ndarray | None = None,
    noise: np.ndarray | float | None = None,
    mask: np.ndarray | None = None,
    grid: Grid | None = None,
    training: Training | None = None,
    network: Network | None = None,
    weight: float | None = None,
    progress: Progress = silent,
) -> Maps:
    """Return ``T1``, ``T2`` [s], ``PD``, ``IE`` and ``residual``, and with known noise the deviations ``T1_std`` etc.

    PD is in units of the images; residual is the root of the mean square over the contrasts. Deviations are the least
    that noise allows (Cramer and Rao). Voxels that are empty, not finite, or whose values are found at the end of their
    range are not valid.

    Parameters
    ----------
    images
        The five contrasts in order of play. The signs of complex ones follow from their phase: contrast 5 is positive.
        Real ones with negative values have their signs already; those of magnitudes are judged by what they explain.
    timing
        Times of the sequence.
    b1
        Relative transmit field: a map of any grid, which is interpolated, values ``[z, y, x]``, or one value.
    method
        ``fit``, least squares; ``dictionary``, the best of a grid of values; ``ssl``, a network that learns from the
        scan; ``tv``, least squares with total variation. Deviations of the last two are bounds of a fit voxel by voxel.
    ie
        What is known of the inversion efficiency: bounds, ``"free"``, a value, values ``[z, y, x]``, or a function of
        T1, T2 and B1. With ``dictionary`` and ``ssl``, bounds.
    pulses
        What the real preparations do, `qalas_pulses.calibrate`, not ideal ones and `ie`; with ``fit`` and ``tv``.
    offset
        Off-resonance [Hz], ``[z, y, x]``, for `pulses` that depend on it.
    noise
        Standard deviation of the real part of the images' noise, ``[z, y, x]`` or one value; `images.noise_std` if
        None.
    mask
        Voxels to map, bool ``[z, y, x]``; those that are not empty if None.
    grid
        Of the dictionary, the published one if None.
    training, network
        Of ``ssl``: how it learns, and a network to be trained further or, without `training`, used as it is.
    weight
        Of ``tv``: what edges count for, `tv.WEIGHT` if None.
    progress
        Called with voxels done, their number and what is done.

    Raises
    ------
    ShapeError
        If there are not five contrasts, or something is not of their grid.
    MismatchError
        If the contrasts are out of order, or the B1 map lies elsewhere.
    ProtocolError
        If the method is unknown, or cannot honour an option.
    """
    _check(method, ie, pulses, offset)
    given = {"grid": grid, "training": training, "network": network, "weight": weight}
    options = {name: value for name, value in given.items() if value is not None}
    for name in options.keys() - _OPTIONS.get(method, ()):
        raise ProtocolError(f"QALAS: {name} is not an option of method {method}")
    volumes, shape = _ordered(images), images.values.shape[1:]
    noise = _of_grid("noise", images.noise_std if noise is None else noise, shape)
    warnings = ["The noise of the images is not known: no maps of standard deviations."] if noise is None else []
    field, warned = _field(b1, images.affine, shape)
    usable = np.isfinite(volumes).all(0) & (field > _B1_RANGE[0]) & (field < _B1_RANGE[1])
    chosen = _filled(volumes, usable) if mask is None else _of_grid("mask", mask, shape) & usable
    where = np.nonzero(chosen.ravel())[0]
    if not len(where):
        raise ProtocolError("QALAS: no voxel to map: the images are empty or not finite, or the mask or B1 leaves none")
    data, signed = _signed(volumes.reshape(CONTRASTS, -1)[:, where].T)
    _check_order(data, signed)
    task = _Task(
        data, signed, field.ravel()[where],
        np.zeros(len(where)) if offset is None else _of_grid("offset", offset, shape).ravel()[where],
        None if noise is None else noise.ravel()[where], timing,
        _of_grid("ie", ie, shape).ravel()[where] if isinstance(ie, np.ndarray) else ie, pulses,
        chosen, np.linalg.norm(images.affine[:3, 2::-1], axis=0),
    )  # fmt: skip
    found, deviations = _found(task, method, options, progress)
    scale = {"residual": (np.sqrt(found.misfit / CONTRASTS), "")}
    scale |= {name: (getattr(found, name.lower()), unit) for name, unit in UNITS.items()}
    for (name, unit), deviation in zip(UNITS.items(), [] if deviations is None else deviations, strict=False):
        scale[f"{name}_std"] = deviation, unit
    return Maps(_volumes(scale, found.valid, where, shape, images.affine), (*warned, *warnings))


def _check(method: str, ie: Efficiency, pulses: QalasPulses | None, offset: np.ndarray | None) -> None:
    if method not in METHODS:
        raise ProtocolError(f"QALAS: no method {method!r}; there are {', '.join(METHODS)}")
    if method in ("dictionary", "ssl") and (pulses is not None or not isinstance(ie, tuple)):
        raise ProtocolError(f"QALAS: {method} is of ideal preparations and bounds of the efficiency: use method fit")
    if offset is not None and pulses is None:
        raise ProtocolError("QALAS: only pulses depend on the offset: pass those of calibrate, or no offset")
    if pulses is not None and ie is not EFFICIENCY_RANGE:
        raise ProtocolError("QALAS: pulses determine the inversion efficiency: give either pulses or ie")


def _ordered(images: Images) -> np.ndarray:
    """Return the five volumes by their echo label, if they have one."""
    if len(images.values) != CONTRASTS:
        raise ShapeError(f"QALAS has {CONTRASTS} contrasts, but there are {len(images.values)}: pass all of one scan")
    names = [contrast.get("ECO") for contrast in images.contrasts]
    values = images.values if np.iscomplexobj(images.values) else images.values.astype(np.float64)
    if None in names or len(set(names)) == 1:
        return values
    if sorted(names) != list(range(CONTRASTS)):
        raise MismatchError(f"the contrasts are labelled ECO {names}: pass 0 to {CONTRASTS - 1} of one scan")
    return values[np.argsort(names)]


def _of_grid(name: str, value: np.ndarray | float | None, shape: tuple[int, ...]) -> np.ndarray | None:
    if value is None:
        return None
    value = np.asarray(value)
    if value.ndim and value.shape != shape:
        raise ShapeError(f"QALAS: {name} is {value.shape}, but the images are {shape}: give [z, y, x] of their grid")
    return np.broadcast_to(value, shape)


def _field(
    b1: Volume | np.ndarray | float | None, affine: np.ndarray, shape: tuple[int, ...]
) -> tuple[np.ndarray, list[str]]:
    """Return B1 on the grid of the images, and what is to be said of it."""
    if b1 is None:
        return np.ones(shape), ["No B1 map: B1 is taken as 1. Where it is 10 % off, T1 is 6 to 9 % off."]
    if not isinstance(b1, Volume):
        return np.array(_of_grid("b1", b1, shape), np.float64), []
    values, inside = on_grid(b1, affine, shape)
    if inside.all():
        return values, []
    return values, [f"{1 - inside.mean():.1%} of the voxels lie outside the B1 map: its nearest value is taken there."]


def _filled(volumes: np.ndarray, usable: np.ndarray) -> np.ndarray:
    """Return which voxels are not empty."""
    strength = np.sqrt((np.abs(np.where(usable, volumes, 0)) ** 2).sum(0))
    return strength > _DIM * np.percentile(strength, 99)


def _signed(data: np.ndarray) -> tuple[np.ndarray, bool]:
    """Return real signals ``[voxel, 5]``, of which contrast 5 is positive, and whether they have signs."""
    if not np.iscomplexobj(data):
        return data, bool((data < 0).any())
    return with_signs(data, -1), True


def _check_order(data: np.ndarray, signed: bool) -> None:
    """Raise MismatchError unless most voxels recover from contrast to contrast after the inversion."""
    levels = np.median(data / np.maximum(np.abs(data[:, -1:]), 1e-300), 0)
    rising = levels[1:] if signed else levels[2:]
    if (np.diff(rising) < -_TOLERANCE).any() or (signed and levels[0] < -_TOLERANCE):
        raise MismatchError(
            f"the contrasts seem out of order, their medians being {np.round(levels, 2).tolist()} of the fifth: pass "
            "the T2-prepared one first, then those after the inversion"
        )


def _found(task: _Task, method: str, options: dict[str, Any], progress: Progress) -> tuple[Fitted, np.ndarray | None]:
    """Return the estimates and their deviations ``[4, voxel]``, in blocks and as many threads as torch would use."""
    total = len(task.data)
    blocks = [slice(begin, min(begin + _BLOCK, total)) for begin in range(0, total, _BLOCK)]
    matched = None
    if method == "dictionary":
        grid = options.get("grid", Grid())
        matched = match(task.data, task.timing, task.b1, grid=grid, ie=task.ie, signed=task.signed, progress=progress)
    elif method != "fit":
        matched = _together(task, method, options, progress)

    def work(here: slice) -> tuple[Fitted, np.ndarray | None]:
        if matched is None:
            result = _fitted(task, here)
        else:
            result = Fitted(*(getattr(matched, field.name)[here] for field in fields(matched)))
        return result, None if task.noise is None else _deviations(task, here, result)

    parts = []
    with ThreadPoolExecutor(torch.get_num_threads()) as pool:
        for here, part in zip(blocks, pool.map(work, blocks), strict=True):
            parts.append(part)
            progress(here.stop, total, "QALAS maps")
    found = Fitted(*(np.concatenate([getattr(one, field.name) for one, _ in parts]) for field in fields(Fitted)))
    return found, None if task.noise is None else np.concatenate([one for _, one in parts], 1)


def _together(task: _Task, method: str, options: dict[str, Any], progress: Progress) -> Fitted:
    """Return the estimates of methods that see all voxels at once, from the fit on."""
    start = _found(replace(task, noise=None), "fit", {}, silent)[0]
    data, shift = task.data, {"pulses": task.pulses, "offset": task.offset}
    if not task.signed:
        data = signed_data(data, task.timing, task.b1, start, **shift)
    noise = noise_of(start, task.noise, free=task.pulses is None and isinstance(task.ie, str | tuple))
    shared = {"mask": task.mask, "ie": task.ie, "progress": progress, **options}
    if method == "ssl":
        return learnt(data, task.timing, task.b1, noise, **shared)
    return smooth_fit(data, task.timing, task.b1, noise, start, edges=task.edges, **shift, **shared)


def _fitted(task: _Task, here: slice) -> Fitted:
    ie = task.ie[here] if isinstance(task.ie, np.ndarray) else task.ie
    options = {"ie": ie, "pulses": task.pulses}
    if task.signed:
        return fit(task.data[here], task.timing, task.b1[here], offset=task.offset[here], **options)
    noise = None if task.noise is None else float(np.median(task.noise[here]))

    def estimate(data: np.ndarray, rows: np.ndarray) -> Fitted:
        part = {**options, "ie": ie[rows]} if isinstance(ie, np.ndarray) else options
        return fit(data, task.timing, task.b1[here][rows], offset=task.offset[here][rows], **part)

    return fit_magnitudes(task.data[here], noise, estimate)[0]


def _deviations(task: _Task, here: slice, found: Fitted) -> np.ndarray:
    tissue = np.nan_to_num(np.stack((found.t1, found.t2, found.pd, found.ie)))
    return least_deviations(
        task.timing, tissue, task.b1[here], task.noise[here], offset=task.offset[here],
        ie_known=not isinstance(task.ie, tuple | str), pulses=task.pulses,
    )  # fmt: skip


def _volumes(
    maps: dict[str, tuple[np.ndarray, str]], valid: np.ndarray, where: np.ndarray, shape: tuple[int, ...],
    affine: np.ndarray,
) -> dict[str, Volume]:  # fmt: skip
    """Return the maps on the grid, 0 where nothing was mapped."""
    good = np.zeros(shape, bool)
    good.ravel()[where] = valid
    result = {}
    for name, (values, unit) in maps.items():
        volume = np.zeros(shape, np.float32)
        volume.ravel()[where] = stored(values)
        result[name] = Volume(volume, unit, affine, good)
    return result
