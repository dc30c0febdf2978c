"""Peripheral nerve stimulation by the played gradients: the SAFE model, streamed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numba import njit

from pulsetwin.export.findings import ERROR, TOLD, WARNING, Finding
from pulsetwin.export.gradient_samples import CHUNK, gradient_chunks
from pulsetwin.scanner import SafeAxis, Scanner
from pulsetwin.sequences.events import Array
from pulsetwin.sequences.seqfile import SeqFile

LIMIT, CAUTION = 100.0, 80.0

# The "MP_GPA_EXAMPLE" of the public SAFE code (Szczepankiewicz and Witzel): like a whole-body gradient coil, but of no
# real scanner.
EXAMPLE_AXES = (
    SafeAxis((0.20e-3, 0.03e-3, 3.00e-3), (0.40, 0.10, 0.50), 30.0, 0.35),
    SafeAxis((1.50e-3, 2.50e-3, 0.15e-3), (0.55, 0.15, 0.30), 15.0, 0.31),
    SafeAxis((2.00e-3, 0.12e-3, 1.00e-3), (0.42, 0.40, 0.18), 25.0, 0.25),
)
_NOT_FOR_PEOPLE = ("bruker", "magritek")
_WHY_NOT = "the example is of a coil for people"


@dataclass(frozen=True, slots=True)
class NervePeak:
    """The strongest stimulation of a sequence.

    Parameters
    ----------
    percent
        Norm over the axes, in % of the limit.
    axes
        Largest of each axis alone [%].
    block, time
        Row of the block and time [s] of the strongest.
    example
        Whether example coefficients stood in for those of the scanner.
    """

    percent: float
    axes: tuple[float, float, float]
    block: int
    time: float
    example: bool


def stimulation(
    seq: SeqFile, axes: Sequence[SafeAxis], gamma: float, raster: float, chunk: int = CHUNK
) -> Iterator[tuple[int, Array]]:
    r"""Yield the stimulation of each axis in % of its limit, a chunk at a time.

    .. math:: s = \frac{100 g}{l} (w_1 |h_1 * \dot G| + w_2\, h_2 * |\dot G| + w_3 |h_3 * \dot G|)

    with low-pass filters `h_i` of time constants `tau_i`, whose state is carried from chunk to chunk, and the slew rate
    as the difference of the gradients in the middle of neighbouring raster intervals. While no gradient changes, the
    stimulation only decays, as is known without samples: such times are left out.

    Parameters
    ----------
    axes
        Coefficients of x, y and z.
    gamma
        Gyromagnetic ratio / 2 pi [Hz/T].
    raster
        Gradient raster [s].
    chunk
        Samples of a chunk.

    Yields
    ------
    tuple
        Number `n` of the first sample, at ``(n + 0.5) raster``, and stimulation [%], float64 ``[3, sample]``.

    References
    ----------
    Hebrank and Gebhardt, SAFE-Model, Proc. ISMRM 8 (2000) 2007.
    """
    decay = np.array([[tau / (tau + raster) for tau in axis.tau] for axis in axes])
    scale = np.array([100 * axis.gradient_scale / axis.stimulation_limit for axis in axes])
    weight = scale[:, None] * np.array([axis.weight for axis in axes])
    state = np.zeros((3, 3))
    last, expected = np.zeros((3, 1)), 0
    for first, gradients in gradient_chunks(seq, raster, chunk):
        state *= decay ** (first - expected)
        slew = np.diff(gradients, axis=1, prepend=last) / (raster * gamma)
        yield first, _filter(slew, decay, weight, state)
        last, expected = gradients[:, -1:], first + gradients.shape[1]


@njit(cache=True)
def _filter(slew: Array, decay: Array, weight: Array, state: Array) -> Array:
    """Return the stimulation [%] by `slew` [T/m/s] ``[3, sample]``, and carry `state` ``[axis, filter]`` on.

    One loop for all filters takes a quarter of the time of `scipy.signal.lfilter`, called for each of the nine.
    """
    result = np.empty_like(slew)
    for axis in range(slew.shape[0]):
        d1, d2, d3 = decay[axis]
        w1, w2, w3 = weight[axis]
        s1, s2, s3 = state[axis]
        for n in range(slew.shape[1]):
            rate = slew[axis, n]
            s1 = d1 * s1 + (1 - d1) * rate
            s2 = d2 * s2 + (1 - d2) * abs(rate)
            s3 = d3 * s3 + (1 - d3) * rate
            result[axis, n] = w1 * abs(s1) + w2 * s2 + w3 * abs(s3)
        state[axis, 0], state[axis, 1], state[axis, 2] = s1, s2, s3
    return result


def nerve_axes(scanner: Scanner) -> tuple[SafeAxis, SafeAxis, SafeAxis] | None:
    """Return the coefficients by which a scanner is judged: its own, or for whole bodies those of the example.

    Scanners of animals and bench tops have none unless they state them: no person is in there.
    """
    return EXAMPLE_AXES if scanner.pns is None and scanner.vendor.lower() not in _NOT_FOR_PEOPLE else scanner.pns


def nerve_peak(seq: SeqFile, scanner: Scanner) -> NervePeak | None:
    """Return the strongest stimulation, or None where `nerve_axes` has no coefficients.

    x, y, z of the sequence are taken as the scanner's axes.
    """
    example, axes = scanner.pns is None, nerve_axes(scanner)
    if axes is None:
        return None
    each, best, time = np.zeros(3), 0.0, 0.0
    for first, percent in stimulation(seq, axes, scanner.gamma, scanner.gradient_raster):
        each = np.maximum(each, percent.max(axis=1))
        norm = np.einsum("an,an->n", percent, percent)
        top = int(np.argmax(norm))
        if norm[top] > best:
            best, time = float(norm[top]), (first + top + 0.5) * scanner.gradient_raster
    block = max(int(np.searchsorted(seq.block_start, time, side="right")) - 1, 0)
    x, y, z = (float(value) for value in each)
    return NervePeak(float(np.sqrt(best)), (x, y, z), block, time, example)


def nerve_findings(seq: SeqFile, scanner: Scanner) -> tuple[list[Finding], dict[str, float]]:
    """Return the verdict and the peak [%]: above 100 % an error, above 80 % a warning.

    Example coefficients are those of no real scanner and give warnings only: real EPI scans exceed them. Where there
    are none, that is told.
    """
    peak = nerve_peak(seq, scanner)
    if peak is None:
        return [Finding(TOLD, "pns", f"not judged: the scanner has no pns of its own, and {_WHY_NOT}")], {}
    source = " by example coefficients of a whole body coil, as the scanner has no pns of its own" * peak.example
    peaks = {f"PNS{' (example coefficients)' * peak.example} [%]": peak.percent, "PNS time [s]": peak.time}
    peaks["PNS block"] = float(seq.number[peak.block])
    if peak.percent <= CAUTION:
        return [], peaks
    severity = ERROR if peak.percent > LIMIT and not peak.example else WARNING
    where = int(seq.number[peak.block]), peak.time
    message = f"the gradients stimulate nerves{source}"
    return [Finding(severity, "pns", message, *where, peak.percent, LIMIT, "%")], peaks
