"""Gradient spectra against the mechanical resonances of a scanner."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from pulsetwin.errors import ProtocolError
from pulsetwin.export.findings import ERROR, WARNING, Finding
from pulsetwin.export.gradient_samples import gradient_chunks
from pulsetwin.scanner import Scanner
from pulsetwin.sequences.events import Array
from pulsetwin.sequences.seqfile import SeqFile

WINDOW = 0.05  # [s]: lines 20 Hz apart, as in pypulseq's spectrum; bands are some 100 Hz wide
LIMIT, CAUTION = 0.10, 0.05  # of the largest gradient; our own choice: vendors state bands but no amplitude
_OVERSAMPLING = 10  # sampling rate over the highest frequency of interest: what folds back is far above all bands


@dataclass(frozen=True, slots=True)
class BandPeak:
    """The strongest component of one gradient axis in one band, over all windows of the sequence.

    Parameters
    ----------
    axis
        0, 1, 2 for x, y, z.
    band
        Lowest and highest frequency [Hz].
    amplitude
        Amplitude of the sinusoid that would show the same [T/m].
    frequency
        Where in the band [Hz].
    time
        Middle of the window [s].
    """

    axis: int
    band: tuple[float, float]
    amplitude: float
    frequency: float
    time: float


def band_peaks(
    seq: SeqFile, bands: tuple[tuple[float, float], ...], gamma: float, raster: float, window: float = WINDOW
) -> list[BandPeak]:
    """Return the strongest component of each axis in each band, axis by axis.

    The played gradients are cut into windows that overlap by half, weighted by Hann's and transformed. A component
    within ``2 / window`` of a band is seen in it, weakened.

    Parameters
    ----------
    bands
        Lowest and highest frequency of each [Hz].
    gamma
        Gyromagnetic ratio / 2 pi [Hz/T].
    raster
        Gradient raster [s].
    window
        Length of a window [s].

    Raises
    ------
    ProtocolError
        If a band lies above what the raster can show.
    """
    if not bands:
        return []
    highest = max(high for _, high in bands)
    if highest > 0.5 / raster:
        raise ProtocolError(f"forbidden_bands: {highest:g} Hz is above what a raster of {raster:g} s shows: correct it")
    factor, half, lines = _cut(highest, raster, window)
    inside = [np.abs(lines - 0.5 * (low + high)) <= 0.5 * (high - low + lines[1]) for low, high in bands]
    best = [[BandPeak(axis, band, 0.0, band[0], 0.0) for band in bands] for axis in range(3)]
    for first, gradients in _stretches(seq, raster, half * factor):
        spectrum = _amplitudes(gradients, half, factor, lines * raster) / gamma
        for axis in range(3):
            for number, (band, here) in enumerate(zip(bands, inside, strict=True)):
                part = spectrum[axis][:, here]
                row, column = divmod(int(np.argmax(part)), part.shape[1])
                if part[row, column] > best[axis][number].amplitude:
                    time = (first + (row + 1) * half * factor) * raster
                    frequency = float(lines[here][column])
                    best[axis][number] = BandPeak(axis, band, float(part[row, column]), frequency, time)
    return [peak for row in best for peak in row]


def largest_spectrum(
    seq: SeqFile, highest: float, gamma: float, raster: float, window: float = WINDOW
) -> tuple[Array, Array]:
    """Return frequencies up to `highest` [Hz] and the largest amplitude of all windows at each [T/m], ``[3, line]``.

    The windows are those of `band_peaks`.
    """
    factor, half, lines = _cut(highest, raster, window)
    shown = lines <= highest
    best = np.zeros((3, int(shown.sum())))
    for _, gradients in _stretches(seq, raster, half * factor):
        spectrum = _amplitudes(gradients, half, factor, lines * raster)[..., shown]
        best = np.maximum(best, spectrum.max(axis=1))
    return lines[shown], best / gamma


def _cut(highest: float, raster: float, window: float) -> tuple[int, int, Array]:
    """Return raster intervals a sample, samples of half a window, and the frequencies of the spectrum [Hz]."""
    factor = max(1, int(1 / (_OVERSAMPLING * highest * raster)))
    half = max(8, round(0.5 * window / (factor * raster)))
    return factor, half, np.fft.rfftfreq(4 * half, factor * raster)


def _amplitudes(gradients: Array, half: int, factor: int, line: Array) -> Array:
    """Return the spectra of all windows of two halves, as amplitudes of sinusoids, ``[3, window, line]``.

    The lines, in cycles per raster interval, undo what averaging over `factor` intervals weakens.
    """
    coarse = (gradients.reshape(3, -1, factor) @ np.full(factor, 1 / factor)).reshape(3, -1, half)
    windows = np.concatenate((coarse[:, :-1], coarse[:, 1:]), axis=2)
    weight = np.hanning(2 * half + 1)[:-1]
    return 2 / weight.sum() * np.abs(np.fft.rfft(windows * weight, 4 * half, axis=2)) / np.sinc(line * factor)


def _stretches(seq: SeqFile, raster: float, step: int) -> Iterator[tuple[int, Array]]:
    """Yield the gradients [Hz/m] in whole numbers of steps, two at least, each stretch beginning with the last's end.

    Between stretches the gradients are constant, of which two steps or more, a window, stand before and one after.
    """
    held, start = np.zeros((3, step)), -step
    for first, gradients in gradient_chunks(seq, raster):
        last, missing = held[:, -1:], first - start - held.shape[1]
        if missing > 3 * step:
            yield start, _whole_steps(held, np.repeat(last, 2 * step, axis=1), step)
            start = first // step * step - step
            held, missing = np.zeros((3, 0)), first - start
        held = np.concatenate((held, np.repeat(last, missing, axis=1), gradients), axis=1)
        ready = held.shape[1] // step * step
        if ready >= 2 * step:
            yield start, held[:, :ready]
            start, held = start + ready - step, held[:, ready - step :]
    yield start, _whole_steps(held, np.zeros((3, step)), step)


def _whole_steps(held: Array, after: Array, step: int) -> Array:
    """Append as much of the constant `after` as makes the steps whole, and then all of it."""
    return np.concatenate((held, after[:, : -held.shape[1] % step], after), axis=1)


def acoustic_findings(seq: SeqFile, scanner: Scanner) -> tuple[list[Finding], dict[str, float]]:
    """Return the verdict on each axis at its worst band, and the amplitudes [mT/m]; nothing without forbidden bands.

    A component above 10 % of the largest gradient is an error, above 5 % a warning.
    """
    peaks = band_peaks(seq, scanner.forbidden_bands, scanner.gamma, scanner.gradient_raster)
    found, named = [], {}
    for axis, name in enumerate("xyz"):
        mine = [peak for peak in peaks if peak.axis == axis]
        if not mine:
            continue
        worst = max(mine, key=lambda peak: peak.amplitude)
        named[f"resonance {name} [mT/m]"] = 1e3 * worst.amplitude
        if worst.amplitude > CAUTION * scanner.max_gradient:
            severity = ERROR if worst.amplitude > LIMIT * scanner.max_gradient else WARNING
            time = min(max(worst.time, 0.0), seq.duration)
            block = max(int(np.searchsorted(seq.block_start, time, side="right")) - 1, 0)
            message = f"G{name} drives the resonance of {worst.band[0]:g} to {worst.band[1]:g} Hz"
            message += f" at {worst.frequency:.0f} Hz"
            limit = 1e3 * LIMIT * scanner.max_gradient
            found.append(
                Finding(
                    severity, f"acoustic-{name}", message, int(seq.number[block]), time, 1e3 * worst.amplitude, limit,
                    "mT/m",
                )
            )  # fmt: skip
    return found, named
