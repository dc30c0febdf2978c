"""CEST-MRF images to maps of fractions, concentrations, exchange rates and pH, by any of the methods."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

import numpy as np

from pulsetwin.errors import MismatchError, ProtocolError, ShapeError
from pulsetwin.progress import Progress, silent
from pulsetwin.recon.cest_mrf.by_dictionary import by_dictionary, windows_about
from pulsetwin.recon.cest_mrf.dictionary import computed, kept
from pulsetwin.recon.cest_mrf.grid import Grid
from pulsetwin.recon.cest_mrf.problem import Estimate, Known, Problem, normalised, predicted, problem_of
from pulsetwin.recon.cest_mrf.study import Solute, Study
from pulsetwin.recon.voxels import Voxels, voxels, water_shift
from pulsetwin.sequences.seqfile import SeqFile
from pulsetwin.volume import Images, Maps, Volume

METHODS = ("dictionary", "voxelwise", "network", "nbmf")
KNOWN = {"t1": "T1", "t2": "T2", "b0_shift": "B0", "b1": "B1"}
"""Parameters that maps can be given of, and how those are called."""
_WATER = {"t1": ("water_T1", "s"), "t2": ("water_T2", "s"), "b0_shift": ("B0_ppm", "ppm"), "b1": ("B1", "")}
_UNITS = {"fraction": "", "exchange_rate": "1/s", "shift": "ppm", "t1": "s", "t2": "s"}
_LONGEST = 20.0  # relaxation time of water [s]: a longer one is in ms
_TYPICAL = 200  # entries of the grid that tell how large signals can be
_FAR = 3.0  # times as large or small as any of them: not normalised

Found = dict[str, tuple[np.ndarray, str]]


@dataclass(frozen=True, slots=True)
class How:
    """How maps are made.

    Parameters
    ----------
    method
        One of `METHODS`.
    dictionary
        File that holds the dictionary, made if there is none; in memory if None.
    threads
        Of simulation and matching, or processes that make a file.
    parallel
        Whether `nbmf` learns from each measurement by what the one before it measured.

    Raises
    ------
    ProtocolError
        If there is no such method, it does not use a file or `parallel` that is given, or there is no thread.
    """

    method: str = "dictionary"
    dictionary: str | Path | None = None
    threads: int = 1
    parallel: bool = False

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise ProtocolError(f"method = {self.method!r}: give one of {', '.join(METHODS)}")
        if self.dictionary and self.method != "dictionary":
            raise ProtocolError(f"{self.method} uses no dictionary: leave it out, or choose the method dictionary")
        if self.parallel and self.method != "nbmf":
            raise ProtocolError(f"parallel is of nbmf, the method is {self.method}: leave it out, or choose nbmf")
        if self.threads < 1:
            raise ProtocolError(f"threads = {self.threads}: give 1 or more")


def map_cest(
    images: Images, seq: SeqFile, study: Study, known: Mapping[str, Volume], how: How, *,
    mask: np.ndarray | None = None, progress: Progress = silent,
) -> Maps:  # fmt: skip
    """Return maps of what the study's grid varies and no map tells.

    Of each pool ``<pool>_fraction`` and ``_exchange_rate`` [1/s], and where the study knows its solute
    ``_concentration`` [mM] and ``_pH``; ``_std`` are standard deviations where the method has them. ``residual`` is the
    root mean square of what the model leaves of the normalised data, ``R2`` the part of their variance it explains.

    Parameters
    ----------
    images
        In order of play.
    seq
        What was played.
    study
        Pools, grid and measurement; the grid's ends are the bounds of methods that need none.
    known
        Maps on the grid of the images: ``t1``, ``t2`` [s], ``b0_shift`` [ppm], ``b1``.
    how
        Method and means.
    mask
        Voxels to map, bool ``[z, y, x]``; those that are not empty if None.
    progress
        Called with what is done of a step, its whole and its name.

    Raises
    ------
    MismatchError
        If there are not as many images as the sequence measures, its field is not the model's, images are not
        normalised as the study says, or a dictionary is of something else.
    ProtocolError
        If the study has no grid, or a map lies elsewhere, is in other units, or is one that the method cannot take.
    ShapeError
        If the mask is not on the grid of the images.
    """
    if study.grid is None:
        raise ProtocolError("the pool model tells no grid: name the parameters that are sought and their ranges")
    problem = problem_of(seq, study.model, **study.measurement)
    if len(images.values) != problem.program.records:
        raise MismatchError(
            f"there are {len(images.values)} images, but {seq.path} measures {problem.program.records}: give all of "
            "them, in order of play, and the .seq that was played"
        )
    found = _voxels(images, problem, mask)
    given, usable = _given(found, known)
    data = normalised(found.data, problem.normalisation)
    usable &= np.isfinite(data).all(1)
    if not usable.any():
        raise ProtocolError("no voxel can be mapped: where images have signal, a map is not valid or M0 is 0")
    _check_size(data[usable], problem, study.grid)
    here = {name: values[usable] for name, values in given.items()}
    estimate = _estimated(data[usable], problem, study.grid, here, seq, how, progress)
    maps = _found(estimate, study.solutes) | _quality(data[usable], estimate)
    valid = usable.copy()
    valid[usable] = np.isfinite(estimate.misfit)
    spread = {name: (_spread(values, usable), unit) for name, (values, unit) in maps.items()}
    return Maps(found.volumes(spread, valid), images.warnings + _said(valid, found, problem))


def _voxels(images: Images, problem: Problem, mask: np.ndarray | None) -> Voxels:
    """Return the voxels to map, with signs only where the model has them."""
    found = voxels(images, 0 if problem.observe == "z" else None)
    if mask is not None and mask.shape != found.where.shape:
        raise ShapeError(f"the mask is {mask.shape}, the images are {found.where.shape}: give one of their voxels")
    where = found.where if mask is None else found.where & mask
    if not where.any():
        raise ProtocolError("no voxel of the mask has signal: give a mask of the object")
    data = found.data[where[found.where]]
    return Voxels(data if problem.observe == "z" else np.abs(data), found.signed, where, found.affine)


def _given(found: Voxels, known: Mapping[str, Volume]) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Return the values of known maps, ``[voxel]``, and where all are valid."""
    values, usable = {}, np.ones(len(found.data), bool)
    for name, volume in known.items():
        if name not in KNOWN:
            raise ProtocolError(f"a map of {name} cannot be given: those of {', '.join(KNOWN)} can")
        values[name], valid = water_shift(found, volume) if name == "b0_shift" else found.of(volume, KNOWN[name])
        usable &= valid & ((values[name] > 0) | (name == "b0_shift"))
        middle = float(np.median(values[name][valid])) if valid.any() else 0.0
        if name in ("t1", "t2") and middle > _LONGEST:
            raise ProtocolError(f"{KNOWN[name]} is about {middle:.4g}, which would be s: give the map in s, not in ms")
    return values, usable


def _check_size(data: np.ndarray, problem: Problem, grid: Grid) -> None:
    """Raise where data are far from what any entry of the grid gives: images that are not relative to M0."""
    if problem.normalisation == "l2":
        return
    rows = np.linspace(0, len(grid) - 1, _TYPICAL).astype(np.int64)
    largest = np.abs(predicted(problem, grid.names, grid.rows(rows))).max(1)
    typical = float(np.median(np.abs(data).max(1)))
    if not largest.min() / _FAR < typical < largest.max() * _FAR:
        raise MismatchError(
            f"images reach {typical:.3g} where the model gives {largest.min():.3g} to {largest.max():.3g}: divide them "
            f"by M0, or give M0 first and normalisation: first, or choose l2 (now {problem.normalisation})"
        )


def _estimated(
    data: np.ndarray, problem: Problem, grid: Grid, given: Known, seq: SeqFile, how: How,
    progress: Progress,
) -> Estimate:  # fmt: skip
    if how.method == "dictionary":
        windows = windows_about(grid, given)  # what cannot be known is told before the dictionary is made
        if how.dictionary:
            entries = kept(how.dictionary, problem, grid, seq, workers=how.threads, progress=progress)
        else:
            entries = computed(problem, grid, how.threads, progress)
        found = by_dictionary(data, entries, given, windows=windows, threads=how.threads, progress=progress)
        values = {name: one for name, one in found.values.items() if name not in given}
        return Estimate(values, found.deviation, found.misfit)
    method: Callable[..., Estimate] = getattr(import_module(f"pulsetwin.recon.cest_mrf.{how.method}"), how.method)
    free = {name: ends for name, ends in grid.bounds().items() if ends[0] < ends[1] and name not in given}
    if not free:
        raise ProtocolError("nothing is sought: the grid varies only what is given, give it more parameters")
    settings = {"parallel": True} if how.parallel else {}
    return method(data, problem, free, given, **settings, threads=how.threads, progress=progress)


def _found(estimate: Estimate, solutes: Mapping[str, Solute]) -> Found:
    """Return values and deviations by the names of maps, with their units."""
    maps: Found = {}
    for name, values in estimate.values.items():
        deviation = estimate.deviation.get(name)
        for called, (changed, scale, unit) in _named(name, values, solutes).items():
            maps[called] = changed, unit
            if deviation is not None:
                maps[f"{called}_std"] = deviation * scale, unit
    return maps


def _named(
    name: str, values: np.ndarray, solutes: Mapping[str, Solute]
) -> dict[str, tuple[np.ndarray, np.ndarray | float, str]]:
    """Return the maps of a parameter: values, what a change of the parameter is multiplied by, and unit."""
    if name in _WATER:
        called, unit = _WATER[name]
        return {called: (values, 1.0, unit)}
    pool, what = name.split(".")
    maps: dict[str, tuple[np.ndarray, np.ndarray | float, str]] = {f"{pool}_{what}": (values, 1.0, _UNITS[what])}
    solute = solutes.get(pool)
    if what == "fraction" and solute:
        maps[f"{pool}_concentration"] = solute.concentration(values), float(solute.concentration(np.ones(()))), "mM"
    if what == "exchange_rate" and solute and solute.ph:
        above = np.maximum(values - solute.ph.offset, np.finfo(float).tiny)
        maps[f"{pool}_pH"] = solute.ph(values), 1 / (np.log(10) * above), "pH"
    return maps


def _quality(data: np.ndarray, estimate: Estimate) -> Found:
    variance = np.sum((data - data.mean(1, keepdims=True)) ** 2, 1)
    with np.errstate(divide="ignore", invalid="ignore"):
        explained = 1 - estimate.misfit / variance
    return {"residual": (np.sqrt(estimate.misfit / data.shape[1]), ""), "R2": (explained, "")}


def _spread(values: np.ndarray, usable: np.ndarray) -> np.ndarray:
    """Return values of usable voxels among all of them, not a number elsewhere."""
    whole = np.full(len(usable), np.nan)
    whole[usable] = values
    return whole


def _said(valid: np.ndarray, found: Voxels, problem: Problem) -> tuple[str, ...]:
    said = []
    if not valid.all():
        said.append(f"{int((~valid).sum())} voxels with signal are not mapped: known maps or the grid exclude them.")
    if problem.observe == "z" and not found.signed:
        said.append("The images have no signs, which the model of the longitudinal magnetisation has.")
    return tuple(said)
