"""WASABI: shift of B0 and relative B1 from images after a short strong pulse at offsets around water; WASABITI: T1 too.

A constant pulse of nutation frequency v and duration tp turns a spin over with the probability

    p = v^2 / (v^2 + (w - s)^2) sin^2(pi tp sqrt(v^2 + (w - s)^2)),

where w is the pulse's offset and s the shift of water, all in Hz. WASABI fits ``|c - d p|`` with free c and d (Schuenke
et al. 2017, doi:10.1002/mrm.26133), into which relaxation, exchange and the scale of the images go. WASABITI fits
``|(1 - exp(-trec / T1)) (1 - 2 p)|`` to images relative to M0.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import numpy as np

from pulsetwin.progress import Progress, silent
from pulsetwin.recon.b1 import RANGE
from pulsetwin.recon.levenberg import Fitted, Model, levenberg

T1_RANGE = (0.02, 10.0)
"""Between which WASABITI searches T1 [s]."""
_DEPTHS = (1.25, 1.4, 1.55, 1.7, 1.85, 2.0)  # d / c where the search begins
_T1S = 10  # values of T1 where it begins, and the shortest of them, of the longest recovery
_SHORTEST = 0.2
_FINE = 0.06  # step of the search in v and s, of 1 / tp, in which p oscillates once
_APART = 0.5  # between shifts of rivals, of 1 / tp
_REACH = 0.1  # of a step in v and s, of 1 / tp
_T1_REACH = 0.5  # of a step in ln T1
_RIVAL = 4.0  # by what factor the squares that a rival leaves may exceed those of the best
_MOST = 20.0  # of c and d, relative to the largest value of a voxel
_SCORES = 1 << 23  # at a time


@dataclass(frozen=True, slots=True)
class Pulse:
    """The pulse of a WASABI, and its offsets.

    Parameters
    ----------
    nutation
        Nominal nutation frequency, gamma B1 / 2 pi [Hz].
    duration
        [s].
    offsets
        From the scanner's frequency, of each image but those of M0 [Hz], ``[image]``.
    """

    nutation: float
    duration: float
    offsets: np.ndarray


def turned(nutation: np.ndarray, offset: np.ndarray, duration: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return p, and its derivatives by nutation and by offset.

    Parameters
    ----------
    nutation, offset
        v and w - s [Hz], of shapes that broadcast; v is positive.
    duration
        tp [s].
    """
    square = nutation**2 + offset**2
    angle = 2 * math.pi * duration * np.sqrt(square)
    share, sine = nutation**2 / square, 0.5 - 0.5 * np.cos(angle)
    both = 2 * sine / square
    common = share * (0.5 * angle * np.sin(angle) / square - both)
    return share * sine, nutation * (common + both), offset * common


def fit_wasabi(data: np.ndarray, pulse: Pulse, *, signed: bool = False, progress: Progress = silent) -> Fitted:
    """Return relative B1, s [Hz], c and d in units of the data: least squares from the best of a grid of B1 and s.

    Parameters
    ----------
    data
        ``[voxel, image]``, of any scale.
    pulse
        What was played.
    signed
        Whether `data` have signs; they are magnitudes if not.
    progress
        Called with voxels done, their number and what is done.
    """
    scale = np.abs(data).max(1, initial=0)
    scaled = data / np.where(scale > 0, scale, 1)[:, None]
    shift, b1, depth = _grid(pulse, _DEPTHS)
    curves = 1 - depth[:, None] * _turned(b1, shift, pulse)[0]
    curves = curves if signed else np.abs(curves)
    size = np.einsum("ci,ci->c", curves, curves)
    starts, left = [], []
    for choice, score in _rivals(scaled, curves / np.sqrt(size)[:, None], np.zeros_like(size), shift, pulse):
        level = score / np.sqrt(size[choice])
        starts.append(np.stack((b1[choice], shift[choice], level, level * depth[choice])))
        left.append(np.einsum("vi,vi->v", scaled, scaled) - score**2)
    low, high = np.array([RANGE[0], pulse.offsets.min(), 0, 0]), np.array([RANGE[1], pulse.offsets.max(), _MOST, _MOST])
    reach = np.array([*_reach(pulse), np.inf, np.inf])
    found = _best(_wasabi(pulse, signed), scaled, starts, left, (low, high, reach), progress)
    return found.scaled(np.stack((np.ones_like(scale), np.ones_like(scale), scale, scale)), scale)


def fit_wasabiti(
    data: np.ndarray, pulse: Pulse, recovery: np.ndarray, *, signed: bool = False, progress: Progress = silent
) -> Fitted:
    """Return relative B1, s [Hz] and T1 [s].

    Parameters
    ----------
    data
        Relative to M0, ``[voxel, image]``.
    pulse
        What was played.
    recovery
        From the saturation before each image to its pulse, trec [s], ``[image]``.
    signed
        Whether `data` have signs; they are magnitudes if not.
    progress
        Called with voxels done, their number and what is done.
    """
    shortest = max(_SHORTEST * float(recovery.max()), T1_RANGE[0])
    shift, b1, t1 = _grid(pulse, np.geomspace(shortest, T1_RANGE[1], _T1S))
    curves = (1 - np.exp(-recovery / t1[:, None])) * (1 - 2 * _turned(b1, shift, pulse)[0])
    curves = curves if signed else np.abs(curves)
    half = 0.5 * np.einsum("ci,ci->c", curves, curves)
    starts, left = [], []
    for choice, score in _rivals(data, curves, half, shift, pulse):
        starts.append(np.stack((b1[choice], shift[choice], np.log(t1[choice]))))
        left.append(np.einsum("vi,vi->v", data, data) - 2 * score)
    low = np.array([RANGE[0], pulse.offsets.min(), math.log(T1_RANGE[0])])
    high = np.array([RANGE[1], pulse.offsets.max(), math.log(T1_RANGE[1])])
    reach = np.array([*_reach(pulse), _T1_REACH])
    found = _best(_wasabiti(pulse, recovery, signed), data, starts, left, (low, high, reach), progress)
    np.exp(found.values[2], out=found.values[2])
    found.deviation[2] *= found.values[2]
    return found


def _grid(pulse: Pulse, third: tuple[float, ...] | np.ndarray) -> np.ndarray:
    """Return all s [Hz], B1 and values of `third` where the search begins, ``[3, combination]``, by s at first."""
    step = _FINE / pulse.duration
    low, high = pulse.offsets.min(), pulse.offsets.max()
    shifts = np.linspace(low, high, max(math.ceil((high - low) / step), 8) + 1)
    fields = np.linspace(*RANGE, max(math.ceil((RANGE[1] - RANGE[0]) * pulse.nutation / step), 8) + 1)
    return np.array(list(itertools.product(shifts, fields, third))).T


def _reach(pulse: Pulse) -> tuple[float, float]:
    """Return how far a step may change B1 and s [Hz]: a part of an oscillation."""
    return _REACH / (pulse.duration * pulse.nutation), _REACH / pulse.duration


def _turned(b1: np.ndarray, shift: np.ndarray, pulse: Pulse) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return p and its derivatives by nutation and offset for relative B1 and shifts, ``[voxel, image]``."""
    return turned(b1[:, None] * pulse.nutation, pulse.offsets - shift[:, None], pulse.duration)


def _rivals(
    data: np.ndarray, curves: np.ndarray, handicap: np.ndarray, shift: np.ndarray, pulse: Pulse
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return twice which curve has the greatest score, its product with the data less its handicap, and that score.

    The second one is the best of those whose shift is so different that no descent leads from one to the other.
    """
    transposed = np.vstack((curves.T, -handicap)).astype(np.float32)
    ones = np.ones((len(data), 1), np.float32)
    shifts = np.unique(shift)
    each, result = len(shift) // len(shifts), np.zeros((2, 2, len(data)))
    block = max(_SCORES // len(shift), 1)
    for first in range(0, len(data), block):
        rows = slice(first, first + block)
        scores = (np.hstack((data[rows], ones[rows]), dtype=np.float32) @ transposed).reshape(-1, len(shifts), each)
        within = scores.argmax(2)
        scores = np.take_along_axis(scores, within[..., None], 2)[..., 0]
        for rival in range(2):
            best = scores.argmax(1)
            picked = np.arange(len(best)), best
            result[rival, :, rows] = best * each + within[picked], scores[picked]
            scores[np.abs(shifts - shifts[best, None]) < _APART / pulse.duration] = -np.inf
    return [(choice.astype(int), score) for choice, score in result]


def _best(
    model: Model, data: np.ndarray, starts: list[np.ndarray], left: list[np.ndarray],
    limits: tuple[np.ndarray, np.ndarray, np.ndarray], progress: Progress,
) -> Fitted:  # fmt: skip
    """Return the better of the fits from two starts; the second is tried where it is not much worse than the first."""
    *bounds, reach = limits
    found = levenberg(model, data, starts[0], *bounds, reach=reach, progress=progress, what="B0 and B1")
    rows = np.nonzero(left[1] < _RIVAL * left[0])[0]
    other = levenberg(model, data[rows], starts[1][:, rows], *bounds, reach=reach, progress=progress, what="B0 again")
    return found.improved(other, rows)


def _wasabi(pulse: Pulse, signed: bool) -> Model:
    def model(values: np.ndarray, _: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        b1, shift, level, depth = values
        over, by_nutation, by_offset = _turned(b1, shift, pulse)
        depth = depth[:, None]
        curve = level[:, None] - depth * over
        slopes = np.stack((-pulse.nutation * depth * by_nutation, depth * by_offset, np.ones_like(over), -over))
        return (curve, slopes) if signed else _magnitude(curve, slopes)

    return model


def _wasabiti(pulse: Pulse, recovery: np.ndarray, signed: bool) -> Model:
    def model(values: np.ndarray, _: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        b1, shift, log_t1 = values  # whose steps cannot lead beyond 0, as those of T1 would
        over, by_nutation, by_offset = _turned(b1, shift, pulse)
        rest, times = 1 - 2 * over, recovery * np.exp(-log_t1)[:, None]
        full = -np.expm1(-times)
        slopes = np.stack(
            (-2 * pulse.nutation * full * by_nutation, 2 * full * by_offset, -times * np.exp(-times) * rest)
        )
        return (full * rest, slopes) if signed else _magnitude(full * rest, slopes)

    return model


def _magnitude(curve: np.ndarray, slopes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the magnitude of a model, and its derivatives."""
    sign = np.where(curve < 0, -1.0, 1.0)
    return curve * sign, slopes * sign
