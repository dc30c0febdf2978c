"""The projections of a RASER scan, from its raw data and what the sequence states."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from scipy.interpolate import make_interp_spline

from pulsetwin.errors import MismatchError, ProtocolError
from pulsetwin.rawdata import RawData
from pulsetwin.recon.definitions import stated_numbers
from pulsetwin.sequences.raser import STATED
from pulsetwin.sim.raser.threshold import PROTON

_NEEDED = (*STATED, "Matrix", "FOV")
_TURN = 2 * math.pi + 1e-6  # an angle beyond is in another unit than rad


class Stated(NamedTuple):
    """What a sequence states.

    Attributes
    ----------
    angles
        Of the gradient ``[angle]`` [rad].
    matrix
        Pixels of the image along y and x.
    bandwidth
        Of a pixel [Hz].
    dwell
        From sample to sample [s].
    gap
        Samples missing between the acquisitions of an angle.
    """

    angles: np.ndarray
    matrix: tuple[int, int]
    bandwidth: float
    dwell: float
    gap: int


class Projections(NamedTuple):
    """Samples ``[angle, sample]``, complex, mixed down to the middle of the image, and what the sequence states."""

    signal: np.ndarray
    stated: Stated


def stated(definitions: Mapping[str, Any]) -> Stated:
    """Return what the definitions of a RASER `.seq` state.

    Raises
    ------
    MismatchError
        If it is no RASER sequence.
    ProtocolError
        If a definition is not a number or of another unit, or the pixels are not square.
    """
    missing = [name for name in _NEEDED if name not in definitions]
    if missing:
        raise MismatchError(f"the scan does not state {', '.join(missing)}: give the .seq of a RASER scan by --seq")
    said = {name: stated_numbers(definitions, name) for name in _NEEDED}
    angles, matrix, fov = said["RaserAngles"], said["Matrix"][:2], said["FOV"][:2]
    gradient, dwell, gap = (float(said[name][0]) for name in ("RaserGradient", "RaserDwell", "RaserGap"))
    _check(angles, matrix, fov, gradient, dwell, float(said["RaserGap"][0]))
    columns, rows = (int(count) for count in matrix)
    return Stated(angles, (rows, columns), PROTON / (2 * math.pi) * gradient * float(fov[0]) / columns, dwell, int(gap))


def projections_of(raw: RawData, seconds: float = 4.096) -> Projections:
    """Return the projections of a RASER scan. Of several coils the strongest combination is taken.

    Parameters
    ----------
    raw
        One LIN for each angle, whose acquisitions are numbered by SEG.
    seconds
        How much of each projection is used [s]; later there should be nothing left but noise.

    Raises
    ------
    MismatchError
        If the scan states no RASER angles, or projections are missing or of several lengths.
    ProtocolError
        As of `stated` and `bridged`, or if there is no time to use.
    """
    said = stated(raw.definitions)
    if not 0 < seconds < math.inf:
        raise ProtocolError(f"seconds = {seconds:g}: give a time above 0")
    count = round(seconds / said.dwell)
    if count < 1:
        raise ProtocolError(f"seconds = {seconds:g}: that is less than a sample, of {said.dwell:g} s")
    signal = bridged(raw, len(said.angles), said.gap)[:, :count]
    y, x = (((count - 1) / 2 - count // 2) * said.bandwidth for count in said.matrix)  # the middle, from voxel n // 2
    offset = x * np.cos(said.angles) + y * np.sin(said.angles)
    signal = signal * np.exp(2j * np.pi * offset[:, None] * said.dwell * np.arange(signal.shape[1]))
    return Projections(signal, said)


def _check(angles: np.ndarray, matrix: np.ndarray, fov: np.ndarray, gradient: float, dwell: float, gap: float) -> None:
    """Raise `ProtocolError` where numbers that a scan states make no sense."""
    if (np.abs(angles) > _TURN).any():
        raise ProtocolError(f"RaserAngles reach {np.abs(angles).max():g}: they are in rad, at most 2 pi")
    if len(matrix) < 2 or len(fov) < 2 or min(*matrix, *fov, dwell, gradient) <= 0 or gap < 0:
        raise ProtocolError(f"Matrix {matrix}, FOV {fov} m, RaserGradient {gradient:g} T/m, RaserDwell {dwell:g} s, "
                            f"RaserGap {gap:g}: build the sequence anew")  # fmt: skip
    if fov.max() > 1 or gradient > 1 or dwell > 1:
        raise ProtocolError(
            f"FOV {fov} m, RaserGradient {gradient:g} T/m, RaserDwell {dwell:g} s: these are in m, T/m and s"
        )
    if not math.isclose(fov[0] / matrix[0], fov[1] / matrix[1], rel_tol=1e-6):
        raise ProtocolError("the voxels of the scan are not square: build the sequence anew with a square matrix")


def bridged(raw: RawData, angles: int, gap: int) -> np.ndarray:
    """Return the signal of each angle on one even grid of time, ``[angle, sample]``, gaps of the receiver bridged.

    Parameters
    ----------
    raw
        The scan.
    angles
        That there should be.
    gap
        Samples missing between the acquisitions of an angle.

    Raises
    ------
    MismatchError
        If acquisitions are missing, double or of several lengths.
    ProtocolError
        If a sample is not a number.
    """
    if len(raw.groups) != 1:
        raise MismatchError("the scan has acquisitions of several lengths: leave out the references")
    group = raw.groups[0]
    line, segment = group.label("LIN"), group.label("SEG")
    segments = int(segment.max()) + 1
    order = np.lexsort((segment, line))
    whole = np.indices((angles, segments)).reshape(2, -1)
    if not np.array_equal([line[order], segment[order]], whole):
        raise MismatchError(
            f"{len(group)} acquisitions for {angles} angles of {segments}: some are missing or double; all angles are "
            "needed: copy those that are missing, or measure again"
        )
    measured = np.asarray(group.samples[order], np.complex128)
    bad = ~np.isfinite(measured).all((1, 2))  # before coils and gaps, over which it would spread
    if bad.any():
        angle = int(bad.argmax()) // segments
        raise ProtocolError(f"projection {angle} has samples that are no numbers: measure it again")
    samples = _one_coil(measured).reshape(angles, segments, -1)
    if segments == 1 or gap == 0:
        return samples.reshape(angles, -1)
    length = samples.shape[2]
    known = (np.arange(segments)[:, None] * (length + gap) + np.arange(length)).ravel()
    return make_interp_spline(known, samples.reshape(angles, -1), k=3, axis=1)(np.arange(known[-1] + 1))


def _one_coil(samples: np.ndarray) -> np.ndarray:
    """Return the combination of coils in which the signal is strongest, ``[readout, sample]``."""
    if samples.shape[1] == 1:
        return samples[:, 0]
    covariance = np.einsum("rcs,rds->cd", samples, samples.conj())
    return np.einsum("c,rcs->rs", np.linalg.eigh(covariance)[1][:, -1].conj(), samples)
