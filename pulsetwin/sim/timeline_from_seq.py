"""Turn a `.seq` into a `Timeline`: what its blocks play, in the twin's signs, cut where something happens."""

from __future__ import annotations

import hashlib
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from pulsetwin.errors import ProtocolError
from pulsetwin.sequences.events import NONE, AdcEvents, Array, RfEvents
from pulsetwin.sequences.rf import GAMMA
from pulsetwin.sequences.seqfile import ADC, EXT, GX, RF, SeqFile, read_seq
from pulsetwin.sim.block_intervals import Intervals, codes, cut_blocks, merged, spread
from pulsetwin.sim.gradient_delay import delayed_gradients
from pulsetwin.sim.pulse_shapes import Pulses, played_pulses
from pulsetwin.sim.timeline import Timeline

if TYPE_CHECKING:
    from pypulseq import Sequence


def timeline_from_seq(
    seq: SeqFile | str | Path | Sequence,
    *,
    field_strength: float | None = None,
    gradient_delay: tuple[float, float, float] = (0.0, 0.0, 0.0),
) -> Timeline:
    """Return the timeline of a Pulseq sequence.

    Moments and times are exact: intervals end at samples, pulse centres, begins and ends of pulses, ends of blocks, and
    where a trapezoid or shape bends; neighbours with the same constant gradient are joined. A waveform of more than 32
    points is cut into 64 equal pieces; between samples up to 100 us apart nothing else is cut.

    A phase of the `.seq` is negated, since the twin's spins turn the other way: a pulse has ``-(phase + that of the
    shape + 2 pi f t_centre)``, t from the end of its delay. Samples are received with ``phase + 2 pi f t + shape`` of
    the ADC, t from the end of its delay. For flip angles see `pulse_shapes.played_pulses`. Should samples precede the
    first pulse (noise scans), a pulse of 0 rad at the start of the sequence comes first, so that each
    sample of the file has one here.

    Parameters
    ----------
    seq
        A sequence that `read_seq` returned, the path of a `.seq`, or a pypulseq sequence.
    field_strength
        Main field [T] for offsets in ppm; by default `B0` of the file's `[DEFINITIONS]`.
    gradient_delay
        How much later than the `.seq` says the gradients along x, y, z play, relative to pulses and samples [s].

    Raises
    ------
    ProtocolError
        If the sequence plays no pulse, uses ppm offsets of an unknown field, or plays past the end of a block, or
        the delays are not three finite numbers.
    SeqError
        If the file is damaged or not supported.
    """
    seq = delayed_gradients(as_seq_file(seq), gradient_delay)
    pulses = played_pulses(seq)
    if not len(pulses.block):
        raise ProtocolError(f"{seq.path}: plays no RF pulse: nothing would be excited; give a sequence with pulses")
    field = _field(seq) if field_strength is None else field_strength
    cut = merged(cut_blocks(seq))
    return _assembled(seq, cut, pulses, field)


def as_seq_file(seq: SeqFile | str | Path | Sequence) -> SeqFile:
    """Return the tables of a sequence: itself, read from a path, or by way of a file from pypulseq."""
    if isinstance(seq, SeqFile):
        return seq
    if isinstance(seq, str | Path):
        return read_seq(seq)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "sequence.seq"
        seq.write(str(path))
        return read_seq(path)


def _assembled(seq: SeqFile, cut: Intervals, pulses: Pulses, field: float | None) -> Timeline:
    rf = seq.events[pulses.block, RF]
    frequency, offset = _offsets(seq, seq.rf, rf, field)
    phase = pulses.phase - offset - 2 * np.pi * frequency * seq.rf.center[rf]
    start = np.nonzero(cut.centered)[0] + 1
    sample, sample_phase, event, order = _samples(seq, cut, field)
    time = float(seq.block_start[pulses.block[0]] + seq.rf.delay[rf[0]] + seq.rf.center[rf[0]])
    values = {"flip_angle": pulses.flip_angle, "phase": phase, "frequency": frequency, "shape": pulses.shape}
    if len(sample) and sample[0] < start[0]:
        start, time = np.append(0, start), 0.0
        for name, nothing in (("flip_angle", 0.0), ("phase", 0.0), ("frequency", 0.0), ("shape", NONE)):
            values[name] = np.append(nothing, values[name])
    repetition = np.searchsorted(start, sample, side="right")
    first = np.nonzero(np.append(True, (np.diff(event) != 0) | (np.diff(repetition) != 0))[: len(sample)])[0]
    taken, bounds = sample - start[0], np.append(first, len(sample))
    duration, moment = cut.duration[start[0] :], cut.moment[start[0] :]
    values |= {
        "duration": duration, "moment": moment, "in_pulse": cut.in_pulse[start[0] :],
        "interval_start": np.append(start, len(cut)) - start[0], "sample_interval": taken,
        "sample_phase": sample_phase, "readout_start": bounds,
        "readout_shape": _readout_shapes(seq, event[first], order[first], bounds, (duration, moment, taken)),
    }  # fmt: skip
    tensors = {name: torch.from_numpy(np.ascontiguousarray(value)) for name, value in values.items()}
    return Timeline(**tensors, shapes=pulses.shapes, shim=_shims(seq, pulses.block, len(start)), start_time=time)


def _field(seq: SeqFile) -> float | None:
    value = seq.definitions.get("B0")
    return value if isinstance(value, float) and value > 0 else None


def _offsets(seq: SeqFile, table: RfEvents | AdcEvents, row: Array, field: float | None) -> tuple[Array, Array]:
    """Return the frequency [Hz] and phase [rad] offsets of played events, those in ppm included."""
    ppm = table.freq_ppm[row], table.phase_ppm[row]
    if field is None:
        if np.any(ppm):
            raise ProtocolError(
                f"{seq.path}: offsets are in ppm and [DEFINITIONS] states no B0: pass field_strength, e.g. that of "
                "the Scanner"
            )
        field = 0.0
    return table.freq[row] + 1e-6 * GAMMA * field * ppm[0], table.phase[row] + 1e-6 * GAMMA * field * ppm[1]


def _samples(seq: SeqFile, cut: Intervals, field: float | None) -> tuple[Array, Array, Array, Array]:
    """Return interval, receiver phase [rad], block and number within the ADC event of each sample."""
    block = np.nonzero(seq.events[:, ADC] != NONE)[0]
    row = seq.events[block, ADC]
    count = seq.adc.num_samples[row]
    interval = np.nonzero(cut.sampled)[0]
    if len(interval) != count.sum():
        raise ProtocolError(f"{seq.path}: an ADC event has a dwell time too short to tell its samples apart")
    frequency, offset = _offsets(seq, seq.adc, row, field)
    order, owner = spread(np.zeros(len(row), np.int64), count), np.repeat(np.arange(len(row)), count)
    phase = offset[owner] + 2 * np.pi * (frequency * seq.adc.dwell[row])[owner] * (order + 0.5)
    shape = np.where(row == NONE, NONE, seq.adc.phase_shape[row])[owner]
    for number in np.unique(shape[shape != NONE]):
        phase[shape == number] += seq.shapes[number].at(order[shape == number])
    return interval, phase, block[owner], order


def _readout_shapes(
    seq: SeqFile, block: Array, first: Array, bounds: Array, intervals: tuple[Array, Array, Array]
) -> Array:
    """Return what `equal_readouts` does, from one of those readouts each that play equal events."""
    if not len(block):
        return np.zeros(0, np.int64)
    duration, moment, taken = intervals
    number, example = codes(*seq.events[block, GX : ADC + 1].T, seq.rotation[block], first, np.diff(bounds))
    size = np.diff(bounds)[example]
    ends = np.cumsum(size)
    chosen, start = taken[spread(bounds[example], size)], np.repeat(taken[bounds[example]], size)
    grain = max(np.abs(moment).max(), 1e-9) * 1e-6
    steps = np.empty((len(chosen), 4), np.int64)
    for column, (step, unit) in enumerate(zip((duration, *moment.T), (1e-9, grain, grain, grain), strict=True)):
        total = np.cumsum(step)
        steps[:, column] = np.round((total[chosen] - total[start]) / unit)
    known: dict[bytes, int] = {}
    same = [
        known.setdefault(hashlib.sha256(steps[end - count : end].data).digest(), len(known))
        for end, count in zip(ends.tolist(), size.tolist(), strict=True)
    ]
    _, seen, order = np.unique(np.array(same)[number], return_index=True, return_inverse=True)
    return np.argsort(np.argsort(seen))[order]


def _shims(seq: SeqFile, block: Array, pulses: int) -> Tensor | None:
    """Return the weights of the transmit channels, conjugated like every phase, complex128 ``[pulse, channel]``."""
    lists = seq.events[block, EXT]
    found = [seq.extensions.shims[row][0] if row != NONE and seq.extensions.shims[row] else None for row in lists]
    channels = {len(weights) for weights in found if weights is not None}
    if not channels:
        return None
    if len(channels) > 1:
        raise ProtocolError(f"{seq.path}: RF shims have {sorted(channels)} channels: use one number throughout")
    weights = np.ones((pulses, channels.pop()), np.complex128)
    for place, one in enumerate(found, pulses - len(found)):
        if one is not None:
            weights[place] = np.conj(one)
    return torch.from_numpy(weights)
