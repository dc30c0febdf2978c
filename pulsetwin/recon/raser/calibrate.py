"""What the gain of the receiver is: how much a RASER's signal, as recorded, does to the inversion."""

from __future__ import annotations

import math

import numpy as np
from scipy.linalg import solve_triangular
from scipy.optimize import minimize_scalar

from pulsetwin.errors import ProtocolError
from pulsetwin.recon.raser.alone import alone
from pulsetwin.recon.raser.band import Band, in_band
from pulsetwin.recon.raser.driven import Parameters, responses
from pulsetwin.recon.raser.linearised import as_rows
from pulsetwin.recon.raser.pumping import WIDE, gained
from pulsetwin.sim.raser.projections import strip_frequencies

_ANGLES = 6  # that are looked at
_RATIOS = 30.0, 300.0  # signal-to-noise ratios, least and most, that the model is trusted to
_START = 1e-3  # amplitude at the start, relative to the inversion
_WIDTH = 40.0  # highest frequency of the drive [Hz]
_GRID = np.linspace(-1.6, 1.6, 17)  # logarithms of kappa about what the emitted energy tells


@alone()
def kappa_of(
    signal: np.ndarray, dwell: float, modes: int, bandwidth: float, *, t1: float, t2: float, over_threshold: float,
    pump_decay: float | None = None,
) -> float:  # fmt: skip
    """Return the kappa at which the driven modes explain the strongest projections best; see `driven.Parameters`.

    It is 1 in units of the threshold and ``1 / |gain|^2`` for a gain. What the modes start with is averaged over: the
    likelihood of kappa remains. It says how far the burst empties the inversions.

    Parameters
    ----------
    signal
        Samples ``[angle, sample]``, complex, mixed down to the middle of the image.
    dwell
        From sample to sample [s].
    modes
        Of a projection.
    bandwidth
        Of a mode [Hz].
    t1, t2
        T1 and T2* [s], about.
    over_threshold
        Inversion of all spins in units of the threshold, about.
    pump_decay
        Decay of a pumping of few modes [s]; None if there is no such thing. What is pumped is averaged over, too.

    Raises
    ------
    ShapeError
        If there are fewer samples than the filter of the band needs.
    ProtocolError
        If there is no signal, a sample is not a number, the dwell is too long, or the projections do not tell.
    """
    peaks = np.abs(signal).max(1)
    strongest = np.argsort(peaks)[::-1][: max(1, len(peaks) // 2)]
    chosen = strongest[:: max(1, len(strongest) // _ANGLES)][:_ANGLES]
    energy = float(np.median((np.abs(signal[chosen]) ** 2).sum(1))) * dwell / t2
    if not 0 < energy < math.inf:
        raise ProtocolError("projections are empty or not numbers: leave out those that are, and their angles")
    band = in_band(signal[chosen], dwell, _WIDTH)
    trusted = peaks[chosen].mean() * math.sqrt(dwell / band.step) / np.array(_RATIOS)
    noise = float(np.clip(band.noise, trusted[1], trusted[0]))
    omega = 2 * math.pi * strip_frequencies(modes, bandwidth)
    centre = math.log(over_threshold / energy)

    def unlikely(log_kappa: float) -> float:
        parameters = Parameters(t1, t2, math.exp(log_kappa))
        try:
            with np.errstate(over="ignore", invalid="ignore"):
                return _unlikely(band, omega, parameters, noise, over_threshold / modes, pump_decay)
        except np.linalg.LinAlgError:  # the signals run away
            return math.inf

    best = int(np.argmin([unlikely(centre + one) for one in _GRID]))
    if best in (0, len(_GRID) - 1):
        raise ProtocolError("the projections tell no gain, as if nothing had emitted: give it by --gain")
    bounds = centre + _GRID[[best - 1, best + 1]]
    return math.exp(minimize_scalar(unlikely, bounds=bounds, method="bounded", options={"xatol": 2e-3}).x)


def _unlikely(
    band: Band, omega: np.ndarray, parameters: Parameters, noise: float, usual: float, decay: float | None
) -> float:
    """Return minus the logarithm of the likelihood of the parameters, up to a constant.

    Inversions are normal about what is usual, by as much; amplitudes at the start about 0, with the receiver's gain.
    """
    modes, total = len(omega), 0.0
    spread = np.repeat([usual, _START * usual / math.sqrt(parameters.kappa)], [modes, 2 * modes])
    for data, drive in zip(band.data, band.drive, strict=True):
        flow = responses(drive, omega, parameters, band.step, decay)[:, :2]
        columns, sources = np.split(flow.reshape(2 * len(flow), -1), [3 * modes], axis=1)
        rest = (as_rows(data) - usual * columns[:, :modes].sum(1)) / noise
        columns = columns * (spread / noise)
        gram = columns.T @ columns
        gram[np.diag_indices_from(gram)] += 1.0
        factor = np.linalg.cholesky(gram)
        explained = solve_triangular(factor, columns.T @ rest, lower=True, check_finite=False)
        total += 0.5 * float(rest @ rest - explained @ explained) + float(np.log(np.diag(factor)).sum())
        if decay is not None:
            taken = solve_triangular(factor, columns.T @ sources, lower=True, check_finite=False)
            curvature = (sources.T @ sources) / noise**2 - taken.T @ taken / noise**2
            pull = (sources.T @ rest - taken.T @ explained) / noise
            total -= gained(curvature, pull, WIDE * usual * modes)
    return total
