"""Slice-selective pulses besides the sinc: Gauss, Shinnar-Le Roux, and several slices at once."""

from __future__ import annotations

import copy
import math

import numpy as np
import pypulseq as pp

from pulsetwin.errors import ProtocolError
from pulsetwin.scanner import Scanner
from pulsetwin.sequences.events import Array
from pulsetwin.sequences.slice_pulse import SlicePulse
from pulsetwin.sequences.timing import up

_KINDS = {"excitation": "ex", "refocusing": "se", "inversion": "inv", "saturation": "sat"}
_SMALL = math.radians(45)  # below it an excitation's ripples are those of its beta polynomial


def gauss_pulse(
    flip_angle: float, thickness: float, duration: float, time_bandwidth: float, use: str, scanner: Scanner
) -> SlicePulse:
    """Return a Gauss pulse of `flip_angle` [rad] for a slice of `thickness` [m]; `use` is pypulseq's.

    Raises
    ------
    ProtocolError
        If it needs more B1 than there is; the least duration is told.
    """
    length = up(duration, scanner.gradient_raster)
    shape = pp.make_gauss_pulse(
        flip_angle, duration=length, time_bw_product=time_bandwidth, use=use, system=scanner.opts,
        delay=scanner.rf_dead_time,
    )  # fmt: skip
    return _selective(shape.signal, thickness, length, time_bandwidth, use, scanner)


def slr_pulse(
    flip_angle: float, thickness: float, duration: float, time_bandwidth: float, use: str, scanner: Scanner, *,
    ripple: float = 0.01,
) -> SlicePulse:  # fmt: skip
    """Return a linear-phase Shinnar-Le Roux pulse of any `flip_angle` [rad] for a slice of `thickness` [m].

    Its beta polynomial is ``sin(flip_angle / 2)`` times a least-squares low-pass filter.

    Parameters
    ----------
    flip_angle, thickness
        As above.
    duration
        Length [s].
    time_bandwidth
        Product of duration and bandwidth.
    use
        pypulseq's: excitation, refocusing, inversion or saturation; it tells which magnetisation `ripple` is of.
    scanner
        Whose limits and rasters are kept.
    ripple
        Largest deviation within and outside the slice, as a fraction of the equilibrium magnetisation.

    Raises
    ------
    ProtocolError
        If it has no such design, or needs more B1 than there is; the least duration is told.

    References
    ----------
    Pauly et al. 1991, doi:10.1109/42.75611.
    """
    from sigpy.mri.rf import slr  # seconds at start-up, spared to those who do not need it

    if use not in _KINDS:
        raise ProtocolError(f"an SLR pulse for {use}: choose {', '.join(_KINDS)}")
    length = up(duration, scanner.gradient_raster)
    kind = "st" if use == "excitation" and flip_angle < _SMALL else _KINDS[use]
    _, within, outside = slr.calc_ripples(kind, ripple, ripple)
    low_pass = slr.dzls(round(length / scanner.rf_raster), time_bandwidth, within, outside)
    flat_phase = use == "excitation"  # of the transverse magnetisation: alpha's phase is taken out of beta's
    angles = slr.b2rf(math.sin(flip_angle / 2) * low_pass, flat_phase).real  # imaginary parts are rounding
    return _selective(angles / (2 * math.pi * scanner.rf_raster), thickness, length, time_bandwidth, use, scanner)


def multiband(pulse: SlicePulse, bands: int, spacing: float, scanner: Scanner, *, low_peak: bool = True) -> SlicePulse:
    """Return a pulse that does to several slices at once what `pulse` does to one.

    Parameters
    ----------
    pulse
        For one slice.
    bands
        Number of slices, centred together; up to 16.
    spacing
        From slice to slice [m].
    scanner
        Whose limits are kept.
    low_peak
        Whether slices have Wong's phases, with which the peak is lowest; otherwise they have the same one. With one
        or two slices there is nothing to gain.

    Raises
    ------
    ProtocolError
        If there are too many slices, or they need more B1 than there is; the least duration is told.

    References
    ----------
    Wong 2012, Proc. ISMRM 20, 2209.
    """
    from sigpy.mri.rf.multiband import mb_rf

    if not 1 <= bands <= 16:
        raise ProtocolError(f"{bands} slices at once: give 1 to 16")
    single, select, fill = pulse.events
    rf = copy.copy(single)
    turns = spacing * select.amplitude * rf.shape_dur  # by which neighbours differ over the pulse
    rf.signal = mb_rf(single.signal, bands, turns, "phs_mod" if low_peak and bands > 2 else "None")
    _check_peak(rf.signal, rf.shape_dur, scanner)
    return SlicePulse((rf, select, fill), pulse.centre, pulse.after, pulse.duration)


def _selective(
    signal: Array, thickness: float, duration: float, time_bandwidth: float, use: str, scanner: Scanner
) -> SlicePulse:
    """Return the slice pulse of a symmetric `signal` [Hz] with a sample in each interval of the RF raster."""
    _check_peak(signal, duration, scanner)
    rf, select = pp.make_arbitrary_rf(
        np.asarray(signal), 0.0, no_signal_scaling=True, dwell=scanner.rf_raster, delay=scanner.rf_dead_time, use=use,
        bandwidth=time_bandwidth / duration, slice_thickness=thickness, return_gz=True, center=duration / 2,
        system=scanner.opts,
    )  # fmt: skip
    centre = rf.delay + rf.center
    left = select.delay + select.rise_time + select.flat_time + select.fall_time / 2 - centre
    whole = up(max(pp.calc_duration(rf), pp.calc_duration(select)), scanner.block_raster)
    return SlicePulse((rf, select, pp.make_delay(whole)), centre, select.amplitude * left, whole)


def _check_peak(signal: Array, duration: float, scanner: Scanner) -> None:
    peak, most = float(np.abs(signal).max()) / scanner.gamma, scanner.max_b1
    if peak > most:
        raise ProtocolError(
            f"a selective pulse of {1e3 * duration:g} ms needs {1e6 * peak:.4g} uT, {scanner.name} has "
            f"{1e6 * most:g} uT: give at least {1e3 * duration * peak / most:.4g} ms"
        )
