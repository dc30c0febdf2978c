"""Adiabatic full passages from formulas: HSn, tanh/tan and cos/tan, sampled on the RF raster.

Amplitude and frequency are functions of tau, which runs from -1 to 1. They are designed by their peak B1 and by how far
the frequency is swept; a flip angle says nothing of them. All of them start above resonance and end below it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pypulseq as pp
from scipy.integrate import cumulative_trapezoid

from pulsetwin.errors import ProtocolError
from pulsetwin.scanner import Scanner
from pulsetwin.sequences.events import Array
from pulsetwin.sequences.timing import whole

Function = Callable[[Array], Array]
_FINE = 20001  # points of numerical integrals over tau


def hyperbolic_secant(
    duration: float, peak_b1: float, sweep: float, use: str, scanner: Scanner, *, order: int = 1,
    truncation: float = 0.05,
) -> Any:  # fmt: skip
    """Return an HSn pulse: amplitude ``sech(beta tau^n)``, frequency the integral of its square.

    Parameters
    ----------
    duration
        Length [s].
    peak_b1
        Largest B1 [T].
    sweep
        Frequency offset at the beginning [Hz]; that at the end is ``-sweep``.
    use
        pypulseq's name for what the pulse does.
    scanner
        Whose limits and rasters are kept.
    order
        n, from 1 to 8: the larger, the flatter the amplitude and the lower the peak that is needed.
    truncation
        Amplitude at the ends, relative to the peak; it determines beta.

    Raises
    ------
    ProtocolError
        If the order or the truncation is out of range, or the peak is more than the scanner has.

    References
    ----------
    Tannus and Garwood 1996, doi:10.1006/jmra.1996.0110.
    """
    if not 1 <= order <= 8 or not 0 < truncation < 1:
        raise ProtocolError(
            f"HS{order} truncated at {truncation:g}: give an order of 1 to 8, and more than 0, less than 1"
        )
    beta = math.acosh(1 / truncation)
    fine = np.linspace(-1, 1, _FINE)
    swept = cumulative_trapezoid(np.cosh(beta * fine**order) ** -2.0, fine, initial=0)
    swept = 1 - 2 * swept / swept[-1]
    return adiabatic_pulse(
        lambda tau: 1 / np.cosh(beta * tau**order), lambda tau: sweep * np.interp(tau, fine, swept), duration, peak_b1,
        use, scanner,
    )  # fmt: skip


def tanh_tan(
    duration: float, peak_b1: float, sweep: float, use: str, scanner: Scanner, *, steepness: float = 10.0,
    bend: float = 10.0,
) -> Any:  # fmt: skip
    """Return a tanh/tan pulse: amplitude ``tanh(xi (1 - |tau|))``, frequency ``-sweep tan(kappa tau) / tan(kappa)``.

    Parameters
    ----------
    duration, peak_b1, sweep, use, scanner
        As of `hyperbolic_secant`.
    steepness
        xi.
    bend
        ``tan(kappa)``: the larger, the slower the sweep through resonance.

    References
    ----------
    Garwood and Ke 1991, doi:10.1016/0022-2364(91)90137-I; Hwang et al. 1998, doi:10.1006/jmre.1998.1441.
    """
    return adiabatic_pulse(
        lambda tau: np.tanh(steepness * (1 - np.abs(tau))), _tangent(sweep, bend), duration, peak_b1, use, scanner
    )


def cos_tan(
    duration: float, peak_b1: float, sweep: float, use: str, scanner: Scanner, *, power: float = 0.2, bend: float = 10.0
) -> Any:  # fmt: skip
    """Return a cos/tan pulse: amplitude ``cos(pi tau / 2)^power``, frequency ``-sweep tan(kappa tau) / tan(kappa)``.

    Parameters
    ----------
    duration, peak_b1, sweep, use, scanner
        As of `hyperbolic_secant`.
    power
        Of the cosine: the smaller, the flatter the amplitude.
    bend
        ``tan(kappa)``: the larger, the slower the sweep through resonance.
    """
    return adiabatic_pulse(
        lambda tau: np.cos(math.pi * tau / 2) ** power, _tangent(sweep, bend), duration, peak_b1, use, scanner
    )


def _tangent(sweep: float, bend: float) -> Function:
    return lambda tau: -sweep * np.tan(math.atan(bend) * tau) / bend


def adiabatic_pulse(
    amplitude: Function, frequency: Function, duration: float, peak_b1: float, use: str, scanner: Scanner
) -> Any:  # fmt: skip
    """Return the pulse with an amplitude, 1 at its peak, and a frequency [Hz], both of tau; its phase is 0 at tau = 0.

    Raises
    ------
    ProtocolError
        If the peak is more than the scanner has.
    """
    if peak_b1 > scanner.max_b1 * (1 + 1e-9):
        raise ProtocolError(
            f"adiabatic pulse: peak B1 = {1e6 * peak_b1:g} uT is more than the {1e6 * scanner.max_b1:g} uT of "
            f"{scanner.name}: give that, with a longer pulse or a narrower sweep"
        )
    step = scanner.rf_raster
    samples = round(whole(duration, step) / step)
    tau = (2 * np.arange(samples) + 1) / samples - 1
    fine = np.linspace(-1, 1, 2 * samples + 1)  # the samples and the ends of their intervals
    cycles = cumulative_trapezoid(frequency(fine), fine, initial=0) * samples * step / 2
    phase = 2 * math.pi * (cycles[1::2] - cycles[samples])
    signal = scanner.gamma * peak_b1 * amplitude(tau) * np.exp(1j * phase)
    return pp.make_arbitrary_rf(
        signal, 0.0, no_signal_scaling=True, dwell=step, delay=scanner.rf_dead_time, use=use,
        center=samples * step / 2, system=scanner.opts,
    )  # fmt: skip
