"""A `.seq` file that was read back, compared event by event with the pypulseq sequence that was to be written."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from pulsetwin.errors import MismatchError
from pulsetwin.export.siemens_extensions import chain, label
from pulsetwin.export.siemens_pulses import stored_shape
from pulsetwin.export.siemens_text import event_table
from pulsetwin.sequences.events import NONE
from pulsetwin.sequences.seqfile import ADC, EXT, GX, GZ, RF, SeqFile
from pulsetwin.sequences.shapes import Shape

if TYPE_CHECKING:
    import pypulseq

OF_PEAK = 1e-6
_PHASE = 1e-5
_TIME = 1e-9
_LIBRARY = {RF: 1, GX: 2, GX + 1: 3, GZ: 4, ADC: 5, EXT: 6}


def require_same(seq: SeqFile, sequence: pypulseq.Sequence, larmor: float) -> None:
    """Compare a file that was read back with the sequence that was to be written.

    Gradients and RF must agree to 1e-6 of their peak, phases to 1e-5 rad, times and counts exactly (1e-9 s is what
    sums of floating-point times differ by). Values of a shaped gradient at its edges are compared from 1.5 on, where
    the file has them.

    Parameters
    ----------
    seq
        What was read back.
    sequence
        What was asked for.
    larmor
        Larmor frequency [MHz], for offsets in ppm.

    Raises
    ------
    MismatchError
        At the first event that differs; it names the block.
    """
    wanted = event_table(sequence)
    if len(wanted) != len(seq):
        raise MismatchError(f"{seq.path}: {len(seq)} blocks read back, {len(wanted)} asked for")
    duration = np.array([sequence.block_durations[block] for block in sequence.block_events])
    off = np.nonzero(np.abs(duration - seq.block_duration) > _TIME)[0]
    if len(off):
        _fail(seq, int(off[0]), "duration", seq.block_duration[off[0]], duration[off[0]])
    for column in (RF, GX, GX + 1, GZ, ADC, EXT):
        ids, rows = wanted[:, _LIBRARY[column] - 1], seq.events[:, column]
        _, first = np.unique(ids * (rows.max() + 2) + rows - NONE, return_index=True)
        for block in first.tolist():
            event, row = int(ids[block]), int(rows[block])
            if (event == 0) != (row == NONE):
                _fail(seq, block, "whether it plays an event", row != NONE, event != 0)
            if event:
                for what, read, asked, tolerance in _pairs(seq, sequence, column, event, row, larmor):
                    _agree(seq, block, what, read, asked, tolerance)


def _pairs(seq: SeqFile, sequence: pypulseq.Sequence, column: int, event: int, row: int, larmor: float) -> list[Any]:
    """Return ``(what, read, asked for, tolerance)`` of an event; a tolerance of None means equality."""
    if column == RF:
        return _rf(seq, sequence, event, row, larmor)
    if column == ADC:
        return _adc(seq, sequence, event, row, larmor)
    if column == EXT:
        return _extensions(seq, sequence, event, row)
    return _gradient(seq, sequence, event, row)


def _rf(seq: SeqFile, sequence: pypulseq.Sequence, event: int, row: int, larmor: float) -> list[Any]:
    size, magnitude, phase, time, center, delay, *offsets = sequence.rf_library.data[event][:10]
    rf = seq.rf
    asked_size, asked_phase = stored_shape(sequence, magnitude), stored_shape(sequence, phase)
    read_size, read_phase = seq.shapes[rf.magnitude[row]], None
    if rf.phase_shape[row] != NONE:
        read_phase = seq.shapes[rf.phase_shape[row]]
    length, timing = asked_size.num_samples, []
    if time:
        times = stored_shape(sequence, time)
        length = int(np.ceil(times.value[-1] - 1e-6))
        if rf.time_shape[row] == NONE:  # a constant pulse was sampled on the raster
            asked_size, asked_phase = (_longer(part, read_size.num_samples) for part in (asked_size, asked_phase))
        else:
            timing = _curves("pulse's times", seq.shapes[rf.time_shape[row]], 1.0, times, 1.0, 1e-3)
    peak = OF_PEAK * abs(size) * np.abs(asked_size.value).max()
    pairs = [
        *_curves("pulse", read_size, rf.amplitude[row], asked_size, size, peak),
        *_curves("pulse phase", read_phase, 2 * np.pi, asked_phase, 2 * np.pi, _PHASE),
        ("pulse length", rf.duration[row], length * sequence.rf_raster_time, _TIME),
        *timing,
        ("pulse delay", rf.delay[row], delay, _TIME),
        *_offsets("pulse", (rf.freq, rf.phase, rf.freq_ppm, rf.phase_ppm), offsets, row, larmor),
    ]
    if seq.version >= (1, 5, 0):
        pairs.append(("pulse centre", rf.center[row], center, _TIME))
        stated = sequence.rf_library.type.get(event)
        pairs += [("pulse use", rf.use[row], str(stated)[0], None)] if stated else []
    return pairs


def _longer(shape: Shape, count: int) -> Shape:
    """Return a shape of two or more samples stretched to `count` samples."""
    return Shape(count, shape.index * (count - 1) / (shape.num_samples - 1), shape.value)


def _curves(
    what: str, read: Shape | None, read_scale: float, asked: Shape, scale: float, tolerance: float
) -> list[Any]:
    """Return the pairs that make two shapes equal: straight lines that agree at all corners agree between them."""
    if read is None:
        return [(what, np.zeros(len(asked.value)), scale * asked.value, tolerance)]
    corners = np.union1d(read.index, asked.index)
    return [
        (f"samples of the {what}", read.num_samples, asked.num_samples, None),
        (what, read_scale * read.at(corners), scale * asked.at(corners), tolerance),
    ]


def _offsets(name: str, read: tuple[Any, ...], asked: list[float], row: int, larmor: float) -> list[Any]:
    """Return frequency [Hz] and phase [a complex number of size 1] with the parts in ppm at the Larmor frequency."""
    freq, phase, freq_ppm, phase_ppm = (float(values[row]) for values in read)
    wanted_freq_ppm, wanted_phase_ppm, wanted_freq, wanted_phase = asked
    wanted = wanted_freq + larmor * wanted_freq_ppm
    return [
        (f"{name} frequency", freq + larmor * freq_ppm, wanted, 1e-6 + 1e-8 * abs(wanted)),
        (
            f"{name} phase", np.exp(1j * (phase + larmor * phase_ppm)),
            np.exp(1j * (wanted_phase + larmor * wanted_phase_ppm)), _PHASE,
        ),
    ]  # fmt: skip


def _adc(seq: SeqFile, sequence: pypulseq.Sequence, event: int, row: int, larmor: float) -> list[Any]:
    count, dwell, delay, *offsets, shape = sequence.adc_library.data[event][:8]
    adc = seq.adc
    pairs = [
        ("number of samples", adc.num_samples[row], count, None),
        ("dwell time", adc.dwell[row], dwell, 1e-3 * _TIME),
        ("acquisition delay", adc.delay[row], delay, _TIME),
        *_offsets("acquisition", (adc.freq, adc.phase, adc.freq_ppm, adc.phase_ppm), offsets, row, larmor),
        ("phase modulation", adc.phase_shape[row] != NONE, shape != 0, None),
    ]
    if shape and adc.phase_shape[row] != NONE:
        pairs.append(
            (
                "phase modulation",
                seq.shapes[adc.phase_shape[row]].samples(),
                stored_shape(sequence, shape).samples(),
                _PHASE,
            )
        )
    return pairs


def _gradient(seq: SeqFile, sequence: pypulseq.Sequence, event: int, row: int) -> list[Any]:
    time, value = seq.gradients.points(row)
    data = sequence.grad_library.data[event]
    if sequence.grad_library.type[event] == "t":
        amplitude, rise, flat, fall, delay = data
        corners = delay + np.cumsum([0, rise, flat, fall])
        heights = np.array([0, amplitude, amplitude, 0])
        return [
            ("gradient's corners", time, corners, _TIME),
            ("gradient", value, heights, OF_PEAK * abs(amplitude)),
        ]
    size, first, last, shape, timing, delay = data
    wave = size * stored_shape(sequence, shape).samples()
    raster = sequence.grad_raster_time
    count = len(wave)
    if timing > 0:
        when = stored_shape(sequence, timing).samples() * raster
    else:
        when = raster * ((np.arange(count) + 1) / 2 if timing < 0 else np.arange(count) + 0.5)
    end = raster * ((count + 1) / 2 if timing < 0 else count) if timing <= 0 else when[-1]
    peak = OF_PEAK * np.abs(wave).max(initial=0)
    pairs = [
        ("gradient", np.interp(when + delay, time, value), wave, peak),
        ("gradient's end", time[-1], delay + end, _TIME),
        ("gradient's delay", seq.gradients.delay[row], delay, _TIME),
    ]
    if seq.version >= (1, 5, 0):
        pairs.append(("gradient at its edges", value[[0, -1]], np.array([first, last]), peak + OF_PEAK * abs(first)))
    return pairs


def _extensions(seq: SeqFile, sequence: pypulseq.Sequence, event: int, row: int) -> list[Any]:
    asked: dict[str, list[Any]] = {"labels": [], "triggers": [], "soft delays": []}
    for kind, reference in chain(sequence, event):
        if kind.startswith("LABEL"):
            value, name = label(sequence, kind, reference)
            asked["labels"].append((kind == "LABELSET", name, int(value)))
        elif kind == "TRIGGERS":
            what, channel, *times = sequence.trigger_library.data[reference]
            asked["triggers"].append((int(what), int(channel), *(round(1e6 * time) for time in times)))
        else:
            place, offset, factor, hint = sequence.soft_delay_library.data[reference]
            asked["soft delays"].append((int(place), round(1e6 * offset), f"{factor:.9g}", hint))
    found = seq.extensions
    triggers = [(a, b, round(1e6 * c), round(1e6 * d)) for a, b, c, d in found.triggers[row]]
    delays = [(a, round(1e6 * b), f"{c:.9g}", d) for a, b, c, d in found.soft_delays[row]]
    return [
        ("labels", list(found.labels[row]), asked["labels"][::-1], None),
        ("triggers", triggers, asked["triggers"], None),
        ("soft delays", delays, asked["soft delays"], None),
    ]


def _agree(seq: SeqFile, block: int, what: str, read: Any, asked: Any, tolerance: float | None) -> None:
    if tolerance is None:
        same = bool(read == asked)
    elif not isinstance(read, np.ndarray):
        same = bool(abs(read - asked) <= tolerance)
    else:
        same = np.shape(read) == np.shape(asked) and bool(np.all(np.abs(read - asked) <= tolerance))
    if not same:
        _fail(seq, block, what, read, asked)


def _fail(seq: SeqFile, block: int, what: str, read: Any, asked: Any) -> None:
    shown = [np.array2string(value, threshold=6) if isinstance(value, np.ndarray) else value for value in (read, asked)]
    raise MismatchError(
        f"{seq.path.name}: {what} of block {seq.number[block]} was read back as {shown[0]}, not the {shown[1]} asked "
        "for; nothing was written: simplify that event, and report it"
    )
