"""Newton's method on RASER projections: image, scales, starts and parameters at once, noise annealed.

Each iteration linearises every projection (see `linearised`) and averages over its starts (see `starts`). The scale of
each projection and the parameters are the best for whatever image is tried, and the image is what is then the best.
"""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch
from scipy.sparse import csr_array

from pulsetwin.progress import Progress
from pulsetwin.recon.raser.guess import Guess, Scan
from pulsetwin.recon.raser.linearised import between, linearised
from pulsetwin.recon.raser.normal import Normal, root_of
from pulsetwin.recon.raser.pumping import Pumping, averaged_over, pumping_at_first, pumping_of
from pulsetwin.recon.raser.starts import Averaged, average, starts_of
from pulsetwin.recon.raser.support import support
from pulsetwin.recon.raser.total_variation import Minimum, minimise

_COARSE, _FINE = (15.0, 50.0), (500.0,)  # signal-to-noise ratios: parameters held, then fitted
_TRUST, _STRIDE = 0.1, 0.15  # standard deviation of a step of a logarithm while it is coarse, and the largest step
_LAST = 10  # most iterations with the noise that there is
_RETRIES = 5  # and as many more, where steps of the parameters are too long
_NEAR, _STILL = 0.05, 0.01  # changes of logarithms that are not too long, and from which on the support stays
_FOUND = (2e-3, 1e-2)  # last changes of logarithms and, relative, of the image
_EXPLAINED = 1.5  # chi squared at which a fit is good enough to drive, and to judge the next by
_RISE = 1.1  # of chi squared from then on at which an iteration is not believed
_RIGID = 1e6  # inverse square of the relative change of the image's sum: the projections' scales tell it
_FREER = 0.03  # of the penalty's weight, where parameters are told: a penalty pulls them towards a blurred image
_CONTRAST = 0.08, 0.008  # mean gradient of an image while there is none yet, and the least that is believed
_FLOOR = 0.05  # of the root mean square inversion: a mode may start with as much as that one could


@dataclass(frozen=True, slots=True)
class Fit:
    """A guess and what it was found with.

    Attributes
    ----------
    guess
        What is fitted.
    normal
        Equations it solves, linear about the guess before.
    minimum, there
        Its image before it was scaled to a largest pixel of 1, and the curvature of the pixels that are `there`, with
        the parameters held.
    freer
        The curvature with the parameters at their best instead, and the penalty that they are told with.
    step
        Last changes of the logarithms.
    residuals
        Of the data in standard deviations, a row for each angle.
    settled
        Whether image and logarithms stood still at last.
    """

    guess: Guess
    normal: Normal
    minimum: Minimum
    there: np.ndarray
    freer: np.ndarray
    step: np.ndarray
    residuals: list[np.ndarray]
    settled: bool = False

    @property
    def misfit(self) -> float:
        """Mean square of the residuals: about 1 where the model explains the data."""
        return float(np.mean([np.mean(one**2) for one in self.residuals]))


def fit(scan: Scan, guess: Guess, ratio: float, progress: Progress, *, rough: bool = True) -> Fit:
    """Return the fit that is best with the noise there is.

    Parameters
    ----------
    scan
        Data and what is known beforehand.
    guess
        Where to begin; its drives are the measured signals.
    ratio
        Signal-to-noise ratio: mean peak of the signals over the noise of a sample as acquired.
    progress
        Called with the iteration and how many there are at most.
    rough
        Whether the image of the guess is none yet, and is looked for with much noise and held parameters first.

    Raises
    ------
    numpy.linalg.LinAlgError
        If equations have no solution, or one that is not a number; with pumping, before the noise is what it is.
    """
    if guess.pumping is not None:
        guess = replace(guess, pumping=_pumping(scan, guess, max(ratio / _FINE[0], 1.0)))
    levels = [level for level in (*(_COARSE if rough else ()), *_FINE) if level < ratio]
    most = len(levels) + _LAST + _RETRIES
    follows, driven, still, told, best, cut, before, rejected = False, False, False, False, None, True, None, 0
    there = np.ones(len(guess.image), bool)
    for count in range(most):
        progress(count, most, "invert")
        last = count - rejected >= len(levels)
        level = ratio if last else levels[count - rejected]
        fits = last or level not in _COARSE
        explained = best is not None and best.misfit < _EXPLAINED
        if driven and cut and not still:  # from a fit that drives itself on: others do not tell what may be cut off
            there = support(guess.image, scan.inside)
        try:
            found = _iterate(scan, guess, ratio / level, there, fits=fits, last=last, follows=follows)
        except np.linalg.LinAlgError:
            could_be_noisier = level not in _COARSE and ratio > _COARSE[-1]
            if best is None and could_be_noisier:  # a first image may be too far off for so little noise
                levels, rejected = [_COARSE[-1], *levels], rejected + 1
                continue
            if guess.pumping is None or best is None or not told:
                raise
            break
        if before is not None and _too_far(before, found, ratio / level):
            halved, rejected, follows, driven = _halved(before), rejected + 1, False, False
            best, before, guess = halved if best is before else best, halved, halved.guess
            continue
        before = found
        worse = explained and not found.misfit < _RISE * best.misfit
        if worse and not there.all():
            guess, best, before = best.guess, best if told else found, None
            follows, driven, told, cut = False, False, True, False  # from now on, nothing is cut off
            there = np.ones(len(guess.image), bool)
            continue
        moved = np.linalg.norm(found.guess.image - guess.image) / np.linalg.norm(guess.image)
        guess = found.guess
        best = best if worse and told else found  # errors are those of the noise that there is
        told = last
        largest = np.abs(found.step).max()
        if driven and largest < _FOUND[0] and moved < _FOUND[1]:
            best = replace(best, settled=best is found)
            break
        still = driven and largest < _STILL
        driven = follows and found.misfit < _EXPLAINED  # not by measured signals, whose noise biases parameters
        follows = last and found.misfit < _EXPLAINED
    progress(most, most, "invert")
    if not np.isfinite(best.misfit):
        raise np.linalg.LinAlgError("the signal runs away")
    return best


def _too_far(before: Fit, after: Fit, worse: float) -> bool:
    """Return whether the parameters' last step was long and made the fit worse than noise `worse` times as large."""
    least = max(_RISE * before.misfit, _EXPLAINED * worse**2)
    return float(np.abs(before.step).max()) > _NEAR and not after.misfit < least


def _halved(found: Fit) -> Fit:
    """Return a fit with half of the parameters' step."""
    step = found.step / 2
    return replace(found, step=step, guess=replace(found.guess, logs=found.guess.logs - step))


def _iterate(
    scan: Scan, guess: Guess, worse: float, there: np.ndarray, *, fits: bool, last: bool, follows: bool
) -> Fit:
    """Return the next guess, of pixels `there`, noise `worse` times what it is; the fit drives then if `follows`."""
    told = _all_told(scan, guess, worse * scan.noise)
    normal = _gathered(scan, guess, [one.told for one in told])
    held = normal.shared + np.diag(scan.known**-2.0 + (0.0 if last else _TRUST**-2.0)) if fits else None
    right = normal.shared_right + (scan.prior - guess.logs) * scan.known**-2.0
    weight = scan.weight / (max(_contrast(scan, guess.image), _CONTRAST[1]) if last else _CONTRAST[0])
    gradient, step = csr_array(scan.gradient[:, there]), np.zeros(len(right))
    if held is not None:
        taken = np.linalg.solve(held, np.column_stack([normal.mixed.T, right]))
        curvature, slope = normal.image - normal.mixed @ taken[:, :-1], normal.right - normal.mixed @ taken[:, -1]
        freer = _image(guess, curvature, slope, there, gradient, _FREER * weight)
        step = np.clip(taken[:, -1] - taken[:, :-1] @ freer.image, -_STRIDE, _STRIDE)
    minimum = _image(guess, normal.image, normal.right - normal.mixed @ step, there, gradient, weight)
    freer = minimum if held is None else freer
    scales, starts, drives, residuals, pumping = np.empty(len(told)), [], [], [], []
    for j, one in enumerate(told):
        shape = scan.places[j] @ minimum.image
        scales[j] = _scale(guess, scan.places[j], one.told, shape, step, j)
        values = np.append(scales[j] * shape, step)
        if guess.pumping is not None:
            pumping.append(pumping_of(one.averaged, scan.of_modes, guess.pumping[j].spreads, values))
            values = np.insert(values, len(shape), scan.of_modes @ pumping[j].sources)
        starts.append(starts_of(one.averaged, values))
        signal = one.columns @ np.insert(values, len(shape), starts[j].ravel()) - one.rest
        residuals.append((scan.data[j] - signal) / scan.noise)
        drives.append(between(signal) if follows else guess.drives[j])
    top = float(minimum.image.max())
    after = Guess(minimum.image / top, scales * top, starts, guess.logs + step, drives, pumping or None)
    return Fit(after, normal, minimum, there, freer.curvature, step, residuals)


def _pumping(scan: Scan, guess: Guess, worse: float) -> list[Pumping]:
    """Return the pumping of each projection when nothing is known of the image."""
    modes = scan.of_modes.shape[1]
    told = [one.averaged for one in _all_told(scan, guess, worse * scan.noise)]
    totals = guess.scales * guess.image.sum()
    return [pumping_at_first(one, scan.of_modes, total / modes) for one, total in zip(told, totals, strict=True)]


class _Told(NamedTuple):
    """Columns and rest of a projection, what it tells with its starts averaged over, and with its sources, too."""

    columns: np.ndarray
    rest: np.ndarray
    averaged: Averaged
    told: Averaged


def _all_told(scan: Scan, guess: Guess, noise: float) -> list[_Told]:
    """Return what each projection tells, several worked on side by side."""
    with ThreadPoolExecutor(torch.get_num_threads()) as pool:
        return list(pool.map(lambda j: _told_by(scan, guess, j, noise), range(len(scan.data))))


@np.errstate(over="ignore", invalid="ignore", divide="ignore")  # of this thread: as in `invert`
def _told_by(scan: Scan, guess: Guess, j: int, noise: float) -> _Told:
    """Return a projection, linear about the guess, and what it tells of inversions."""
    inversion = guess.scales[j] * (scan.places[j] @ guess.image)
    sources = [] if guess.pumping is None else [scan.of_modes @ guess.pumping[j].sources]
    begin = np.vstack([inversion, guess.starts[j], *sources])
    linear = linearised(guess.drives[j], scan.omega, guess.parameters, scan.step, begin, guess.decay)
    both = np.column_stack([linear.columns, scan.data[j] + linear.rest])
    strips = guess.scales[j] * (scan.strips[j] @ guess.image)
    floor = _FLOOR * np.sqrt(np.mean(strips**2))
    share = scan.start * math.exp(-scan.prior[2] / 2) * math.sqrt(0.5)  # amplitudes have the receiver's gain
    root = scan.of_modes * (share * np.hypot(strips, floor))
    averaged = told = average(both.T @ both, noise, np.linalg.cholesky(root @ root.T))
    if guess.pumping is not None:
        told = averaged_over(averaged, scan.of_modes, guess.pumping[j].spreads)
    return _Told(*linear, averaged, told)


def _profile(guess: Guess, places: np.ndarray, averaged: Averaged) -> tuple[np.ndarray, np.ndarray, float]:
    """Return the direction in which a change of a projection's scale goes, its curvature times it, and along it."""
    along = np.append(places @ guess.image, np.zeros(len(guess.logs)))
    bent = averaged.curvature @ along
    return along, bent, float(along @ bent)


def _gathered(scan: Scan, guess: Guess, told: list[Averaged]) -> Normal:
    """Return the normal equations of all projections, each with the best scale for whatever image is tried."""
    modes, count, roots = len(scan.omega), len(guess.logs), []
    mixed, right = np.zeros((len(guess.image), count)), np.zeros(len(guess.image))
    shared, shared_right, constant = np.zeros((count, count)), np.zeros(count), 0.0
    for scale, places, one in zip(guess.scales, scan.places, told, strict=True):
        along, bent, size = _profile(guess, places, one)
        free = float(along @ one.right) / size
        curvature, slope = one.curvature - np.outer(bent, bent) / size, one.right - bent * free
        roots.append((scale * root_of(curvature[:modes, :modes], scale * along[:modes])) @ places)
        mixed += scale * (places.T @ curvature[:modes, modes:])
        right += scale * (places.T @ slope[:modes])
        shared += curvature[modes:, modes:]
        shared_right += slope[modes:]
        constant += one.constant - free**2 * size
    rows = np.concatenate(roots)
    image = rows.T @ rows
    return Normal(image, mixed, shared, right, shared_right, constant)


def _contrast(scan: Scan, image: np.ndarray) -> float:
    """Return the mean length of the gradient: the penalty's slope is the weight over it, as it is its logarithm."""
    return float(np.hypot(*(scan.gradient @ image).reshape(2, -1)).sum()) / len(image)


def _image(
    guess: Guess, curvature: np.ndarray, right: np.ndarray, there: np.ndarray, gradient: csr_array, weight: float
) -> Minimum:
    """Return the best image of pixels `there`, 0 elsewhere, and the curvature of these."""
    rigid = _RIGID / guess.image.sum() ** 2  # else scales could do what the image does
    normal, slope = curvature[np.ix_(there, there)] + rigid, right + rigid * guess.image.sum()
    found = minimise(normal, slope[there], gradient, guess.image[there], weight)
    image = np.zeros(len(there))
    image[there] = found.image
    return Minimum(image, found.curvature)


def _scale(guess: Guess, places: np.ndarray, averaged: Averaged, shape: np.ndarray, step: np.ndarray, j: int) -> float:
    """Return a projection's scale: that of the new shape which is most like the linearised profile."""
    along, bent, size = _profile(guess, places, averaged)
    change = (along @ averaged.right - bent @ np.append(guess.scales[j] * shape, step)) / size
    return guess.scales[j] + change * float(shape @ along[: len(shape)]) / float(shape @ shape)
