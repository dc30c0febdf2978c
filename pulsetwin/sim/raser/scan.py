"""RASER on the virtual scanner: projections of a phantom that emits by itself, as raw data."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pulsetwin.errors import ProtocolError
from pulsetwin.operators.strips import strip_areas
from pulsetwin.rawdata import Geometry, RawData
from pulsetwin.sequences.events import NONE
from pulsetwin.sequences.geometry import with_sequence
from pulsetwin.sequences.raser import STATED, is_raser
from pulsetwin.sequences.readouts import PlayedReadouts, played_readouts
from pulsetwin.sequences.seqfile import RF, SeqFile
from pulsetwin.sim.acquire import RAS_OF_GRADIENTS
from pulsetwin.sim.phantom import Phantom
from pulsetwin.sim.raser.projections import emitted, strip_frequencies
from pulsetwin.sim.raser.threshold import PROTON
from pulsetwin.sim.timeline_from_seq import as_seq_file

if TYPE_CHECKING:
    import pypulseq

Array = NDArray[np.float64]
_PER_VOXEL = 4  # modes across a voxel, so that the discrete modes do not come back into phase during the readout
_NOISE = 16384  # samples of the noise scan


@dataclass(frozen=True, slots=True)
class Sample:
    """What the spins are like, whose density alone a phantom gives; the defaults are those of pyrazine at 1.5 T.

    Parameters
    ----------
    t1, t2
        T1 and T2* [s].
    total
        Inversion in units of the threshold.
    spread
        Largest relative deviation of the inversion at an angle, either way.
    start
        Size of the amplitudes that the emission starts from, relative to the inversion.
    """

    t1: float = 5.0
    t2: float = 0.7
    total: float = 10.0
    spread: float = 0.05
    start: float = 1e-3


def acquire_raser(
    sequence: str | Path | SeqFile | pypulseq.Sequence,
    phantom: Phantom,
    sample: Sample | None = None,
    *,
    snr: float | None = None,
    seed: int = 0,
) -> RawData:
    """Measure the projections of `phantom`, whose proton density is that of inverted spins, by one coil.

    The emission of an angle starts at its first sample. Offsets of B0, and the phantom's relaxation times, do not act.

    Parameters
    ----------
    sequence
        A RASER `.seq` without references, or its path, or a `pypulseq.Sequence`.
    phantom
        The object: its x, y, z are RAS, while the gradient y points to the back; its voxels are square.
    sample
        Of which it consists; by default see `Sample`.
    snr
        Mean over the angles of the largest signal, over the standard deviation of the noise's real part in a sample.
        If None, there is no noise.
    seed
        Of the inversion at each angle, of the starts and of the noise, 0 or more.

    Returns
    -------
    RawData
        Signals in units of the threshold, see `modes.play`.

    Raises
    ------
    ProtocolError
        If the sequence is not for RASER, plays pulses, or a setting makes no sense; if the voxels are not square.
    """
    sample = sample or Sample()
    seq = as_seq_file(sequence)
    _check(seq, phantom, sample, snr, seed)
    played, said, rng = played_readouts(seq), seq.definitions, np.random.default_rng(seed)
    angles = np.atleast_1d(np.asarray(said["RaserAngles"], np.float64))
    line, segment = (played.labels.get(name, np.zeros(len(played), np.int32)) for name in ("LIN", "SEG"))
    if line.max() >= len(angles):
        raise ProtocolError(f"{seq.path} has a line {line.max()}, and {len(angles)} angles: build it anew")
    length, whole = int(played.num_samples[0]), int(said["RaserSegmentSamples"] + said["RaserGap"])
    totals = sample.total * (1 + sample.spread * rng.uniform(-1, 1, len(angles)))
    profiles, frequency = _modes(phantom, angles, float(said["RaserGradient"]))
    signal = emitted(
        profiles, totals, frequency, rng, t1=sample.t1, t2=sample.t2, share=sample.start,
        dwell=float(said["RaserDwell"]), samples=int(segment.max()) * whole + length,
    )  # fmt: skip
    first = segment * whole
    samples = signal[line[:, None], first[:, None] + np.arange(length)][:, None]
    noise = None
    if snr is not None:
        level = abs(signal).max(1).mean() / snr
        samples = samples + level * _white(rng, samples.shape)
        noise = (level * _white(rng, (1, _NOISE))).astype(np.complex64)
    return _raw(seq, played, phantom, samples, noise, {"seed": seed, "times_threshold": totals.tolist()})


def _modes(phantom: Phantom, angles: Array, gradient: float) -> tuple[Array, Array]:
    """Return profiles of the density ``[angle, mode]`` and their frequencies [Hz]."""
    density = phantom.proton_density.sum(0).numpy()
    rows, columns = density.shape
    size = phantom.fov[0] / columns
    count = math.ceil(_PER_VOXEL * math.hypot(rows, columns))
    strips = strip_areas((rows, columns), -angles, count, per_pixel=_PER_VOXEL)  # y of the gradients is not that of RAS
    middle = [((n - 1) / 2 - n // 2) * size for n in (columns, rows)]
    away = middle[0] * np.cos(angles) - middle[1] * np.sin(angles)
    rate = PROTON / (2 * math.pi) * gradient
    frequency = strip_frequencies(count, rate * size / _PER_VOXEL) - rate * away[:, None]
    return (strips @ density.ravel()).reshape(len(angles), count), frequency


def _raw(
    seq: SeqFile, played: PlayedReadouts, phantom: Phantom, samples: NDArray[np.complex128],
    noise: NDArray[np.complex64] | None, facts: dict[str, object],
) -> RawData:  # fmt: skip
    """Return readouts ``[readout, coil, sample]`` with all that belongs to them."""
    events = np.arange(len(played))
    groups = (played.readouts(events, samples.astype(np.complex64)),)
    where = Geometry(phantom.fov, phantom.grid[::-1], RAS_OF_GRADIENTS, np.zeros((1, 3)), "HFS")
    groups, where, notes = with_sequence(groups, where, played, events)
    header = {
        "vendor": "pulsetwin", "sequence": "pulseq", "signature": seq.signature or "", "engine": "raser",
        "engine_reason": "the sequence plays no pulse, and states RASER angles", **facts,
    }  # fmt: skip
    return RawData(groups, noise, float(played.dwell[0]), where, seq.definitions, header, tuple(notes))


def _check(seq: SeqFile, phantom: Phantom, sample: Sample, snr: float | None, seed: int) -> None:
    """Raise `ProtocolError` unless sequence, phantom and settings make sense together."""
    if not is_raser(seq.definitions):
        raise ProtocolError(f"{seq.path} states no RaserAngles: it is no RASER sequence")
    missing = [name for name in STATED if name not in seq.definitions]
    if missing:
        raise ProtocolError(f"{seq.path} does not state {', '.join(missing)}: build it anew")
    if (seq.events[:, RF] != NONE).any():
        raise ProtocolError(f"{seq.path} plays pulses for its references, which are not simulated: build it without")
    x, y = (edge / count for edge, count in zip(phantom.fov, phantom.grid[:0:-1], strict=False))
    if not math.isclose(x, y, rel_tol=1e-6):
        raise ProtocolError(f"the phantom's voxels are {x:g} by {y:g} m: give one with square voxels")
    if not 0 < sample.total < math.inf or not 0 <= sample.spread < 1 or not sample.start > 0:
        raise ProtocolError(f"{sample}: give a total and a start above 0, and a spread of 0 or more and less than 1")
    if snr is not None and not 0 < snr < math.inf:
        raise ProtocolError(f"snr {snr} is not positive: leave it out for a scan without noise")
    if seed < 0:
        raise ProtocolError(f"seed {seed}: give 0 or more")


def _white(rng: np.random.Generator, shape: tuple[int, ...]) -> NDArray[np.complex128]:
    return rng.standard_normal(shape) + 1j * rng.standard_normal(shape)
