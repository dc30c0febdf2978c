"""RF power of a sequence: energy, power averaged over sliding windows, pulse lengths, duty cycle, relative SAR.

Power is the square of the transmit field, ``B1^2``: the absorbed power is proportional to it, by a factor of coil,
patient and field strength that no sequence knows. Pulses are integrated on the corners of their run-length shapes, so a
constant pulse of 15 s costs as much as one of 1 ms.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pulsetwin.export.findings import TOLD, Finding
from pulsetwin.scanner import Scanner
from pulsetwin.sequences.distinct import distinct_rows
from pulsetwin.sequences.events import NONE, Array
from pulsetwin.sequences.seqfile import RF, SeqFile

WINDOWS = (10.0, 360.0)
_REFERENCE_DURATION, _REFERENCE_TR = 1e-3, 1.0
_REFERENCE_POWER = (0.5 / _REFERENCE_DURATION) ** 2 * _REFERENCE_DURATION / _REFERENCE_TR  # 180 degree block [Hz^2]
_NODES = 32


@dataclass(frozen=True, slots=True)
class RfPower:
    """What the pulses of a sequence amount to.

    Parameters
    ----------
    peak
        Largest ``B1`` [T].
    energy
        Integral of ``B1^2`` over the whole sequence [T^2 s].
    average
        Mean of ``B1^2`` over the whole sequence [T^2].
    windowed
        Largest mean of ``B1^2`` over any interval of 10 s and of 6 min [T^2]; a sequence shorter than the window is
        taken as repeated without a pause, so that its average stands for it.
    longest_pulse
        Duration of the longest pulse [s].
    duty_cycle, windowed_duty_cycle
        Fraction of the time with a pulse: of the whole sequence, and at most in any 10 s.
    relative_sar
        `windowed` in units of a 1 ms 180 degree block pulse every second.
    window_start
        When the windows of the largest mean begin [s].
    """

    peak: float
    energy: float
    average: float
    windowed: tuple[float, float]
    longest_pulse: float
    duty_cycle: float
    windowed_duty_cycle: float
    relative_sar: tuple[float, float]
    window_start: tuple[float, float]


def rf_power(seq: SeqFile, gamma: float) -> RfPower:
    """Return energy, power and duty cycle of all pulses; transmit channel weights (RF shims) are not part of it.

    Parameters
    ----------
    gamma
        Gyromagnetic ratio / 2 pi [Hz/T].
    """
    blocks = np.nonzero(seq.events[:, RF] != NONE)[0]
    if not len(blocks):
        return RfPower(0.0, 0.0, 0.0, (0.0, 0.0), 0.0, 0.0, 0.0, (0.0, 0.0), (0.0, 0.0))
    row = seq.events[blocks, RF]
    time, energy = _cumulative_energy(seq, blocks)
    begin = seq.block_start[blocks] + seq.rf.delay[row]
    length = seq.rf.duration[row]
    edges = np.stack((begin, begin + length), 1).reshape(-1)
    on = np.cumsum(np.stack((np.zeros(len(length)), length), 1).reshape(-1))
    # blocks that are shorter than their pulses are found elsewhere, but must not divide by nothing here
    total = max(seq.duration, float(time[-1]), seq.rasters["RadiofrequencyRasterTime"])
    (short, short_at), (long, long_at) = (_largest_mean(time, energy, window, total) for window in WINDOWS)
    tallest = np.array([np.abs(shape.value).max() for shape in seq.shapes])[seq.rf.magnitude[row]]
    return RfPower(
        peak=float((np.abs(seq.rf.amplitude[row]) * tallest).max()) / gamma,
        energy=float(energy[-1]) / gamma**2,
        average=float(energy[-1]) / total / gamma**2,
        windowed=(short / gamma**2, long / gamma**2),
        longest_pulse=float(length.max()),
        duty_cycle=float(on[-1]) / total,
        windowed_duty_cycle=_largest_mean(edges, on, WINDOWS[0], total)[0],
        relative_sar=(short / _REFERENCE_POWER, long / _REFERENCE_POWER),
        window_start=(short_at, long_at),
    )


def rf_findings(seq: SeqFile, scanner: Scanner) -> tuple[list[Finding], dict[str, float]]:
    """Return the RF power as findings that are told without a limit, with where it is largest, and as named numbers."""
    power = rf_power(seq, scanner.gamma)
    if not power.peak:
        return [], _peaks(power)
    told = [
        Finding(TOLD, "rf-pulse-length", "", value=1e3 * power.longest_pulse, unit="ms"),
        Finding(TOLD, "rf-duty-cycle", "", value=100 * power.duty_cycle, unit="%"),
        Finding(TOLD, "rf-duty-cycle-10s", "", value=100 * power.windowed_duty_cycle, unit="%"),
        Finding(TOLD, "rf-energy", "", value=1e12 * power.energy, unit="uT2 s"),
        Finding(TOLD, "rf-rms", "", value=1e6 * float(np.sqrt(power.average)), unit="uT"),
    ]
    windows = zip(("10s", "6min"), power.windowed, power.relative_sar, power.window_start, strict=True)
    for name, mean, sar, start in windows:
        block = max(int(np.searchsorted(seq.block_start, start, side="right")) - 1, 0)
        where = int(seq.number[block]), start
        told += [
            Finding(TOLD, f"rf-rms-{name}", "", *where, 1e6 * float(np.sqrt(mean)), None, "uT"),
            Finding(TOLD, f"rf-sar-{name}", "", *where, sar),
        ]
    return told, _peaks(power)


def rf_peaks(seq: SeqFile, scanner: Scanner) -> dict[str, float]:
    """Return the RF power as named numbers: root mean square B1 [uT], energy [uT^2 s], lengths, duty, relative SAR."""
    return _peaks(rf_power(seq, scanner.gamma))


def _peaks(power: RfPower) -> dict[str, float]:
    ten_seconds, six_minutes = (1e6 * float(np.sqrt(value)) for value in power.windowed)
    return {
        "RF energy [uT2 s]": 1e12 * power.energy,
        "B1 rms [uT]": 1e6 * float(np.sqrt(power.average)),
        "B1 rms 10 s [uT]": ten_seconds,
        "B1 rms 6 min [uT]": six_minutes,
        "RF pulse length [ms]": 1e3 * power.longest_pulse,
        "RF duty cycle [%]": 100 * power.duty_cycle,
        "RF duty cycle 10 s [%]": 100 * power.windowed_duty_cycle,
        "relative SAR 10 s": power.relative_sar[0],
        "relative SAR 6 min": power.relative_sar[1],
    }


def power_course(seq: SeqFile, gamma: float, window: float, points: int = 1200) -> tuple[Array, Array]:
    """Return evenly spaced times [s] and the mean of ``B1^2`` over the window before each [T^2].

    Before the sequence nothing is played; one shorter than the window is taken as repeated without a pause.

    Parameters
    ----------
    window
        [s].
    """
    blocks = np.nonzero(seq.events[:, RF] != NONE)[0]
    end = np.linspace(0.0, seq.duration, points)
    if not len(blocks) or not seq.duration:
        return end, np.zeros(points)
    time, energy = _cumulative_energy(seq, blocks)
    if seq.duration <= window:
        return end, np.full(points, energy[-1] / seq.duration / gamma**2)
    inside = np.interp(end, time, energy, left=0.0) - np.interp(end - window, time, energy, left=0.0)
    return end, inside / window / gamma**2


def pulse_energy(seq: SeqFile, row: int) -> tuple[Array, Array]:
    """Return times after the delay of RF event `row` [s] and its energy up to them, integral of ``(gamma B1)^2`` [Hz].

    Samples on the raster are held for their interval; samples with times of their own are joined by straight lines. The
    sums are exact at the returned times.
    """
    rf = seq.rf
    time, energy = _shape_energy(seq, int(rf.magnitude[row]), int(rf.time_shape[row]))
    return time, rf.amplitude[row] ** 2 * energy


def _shape_energy(seq: SeqFile, magnitude_row: int, time_row: int) -> tuple[Array, Array]:
    """Return times [s] and the integral of the squared relative magnitude up to them [s], both ``[node]``."""
    magnitude, raster = seq.shapes[magnitude_row], seq.rasters["RadiofrequencyRasterTime"]
    last = magnitude.num_samples - 1
    kept = np.unique(np.linspace(0, last, _NODES + 1).astype(np.int64))
    if time_row != NONE:
        clock = seq.shapes[time_row]
        corner = np.union1d(np.union1d(magnitude.index, clock.index), kept)
        time, value = clock.at(corner) * raster, magnitude.at(corner)
        part = np.diff(time) * (value[:-1] ** 2 + value[:-1] * value[1:] + value[1:] ** 2) / 3
    else:
        corner = np.union1d(magnitude.index, kept)
        value = magnitude.at(corner)
        count = np.diff(corner)
        slope = np.diff(value) / count
        # the sum over the samples of a run of (v + k s)^2 for k = 0 ... n - 1
        part = count * value[:-1] ** 2 + value[:-1] * slope * count * (count - 1)
        part = raster * (part + slope**2 * (count - 1) * count * (2 * count - 1) / 6)
        part = np.append(part, raster * value[-1] ** 2)
        corner, kept = np.append(corner, last + 1), np.append(kept, last + 1)
        time = corner * raster
    energy = np.concatenate(([0.0], np.cumsum(part)))
    shown = np.searchsorted(corner, kept)
    return time[shown], energy[shown]


def _cumulative_energy(seq: SeqFile, blocks: Array) -> tuple[Array, Array]:
    """Return times since the sequence's start [s] and the energy played until then [Hz], both ``[node]``."""
    row = seq.events[blocks, RF]
    first, kind = distinct_rows(np.column_stack((seq.rf.magnitude[row], seq.rf.time_shape[row])))
    times, gains = [], []
    for number, where in enumerate(first):
        time, energy = _shape_energy(seq, int(seq.rf.magnitude[row[where]]), int(seq.rf.time_shape[row[where]]))
        same = kind == number
        begin = seq.block_start[blocks[same]] + seq.rf.delay[row[same]]
        gain = np.diff(energy, prepend=0.0)
        times.append((begin[:, None] + time).reshape(-1))
        gains.append((seq.rf.amplitude[row[same]][:, None] ** 2 * gain).reshape(-1))
    time, gain = np.concatenate(times), np.concatenate(gains)
    order = np.argsort(time, kind="stable")
    return time[order], np.cumsum(gain[order])


def _largest_mean(time: Array, cumulative: Array, window: float, total: float) -> tuple[float, float]:
    """Return the largest mean rate of `cumulative` over a window [s], and when that window begins [s].

    The integral over a window changes linearly between the nodes, so that its largest value has its beginning or its
    end at a node.
    """
    if total <= window:
        return float(cumulative[-1]) / total, 0.0
    begin = np.clip(np.concatenate((time, time - window)), 0.0, total - window)
    inside = np.interp(begin + window, time, cumulative) - np.interp(begin, time, cumulative)
    best = int(np.argmax(inside))
    return float(inside[best]) / window, float(begin[best])
