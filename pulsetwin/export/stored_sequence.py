"""A `.seq` file that was read, as the pypulseq sequence that the write gates take.

pypulseq's own reader hangs on some truncated files, expands long pulses and forgets the uses of pulses before 1.5; here
its tables are filled from ours, which are checked, and constant pulses stay a few numbers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from pulsetwin.errors import ProtocolError
from pulsetwin.scanner import Scanner
from pulsetwin.sequences.events import NONE, Array
from pulsetwin.sequences.seqfile import SeqFile
from pulsetwin.sequences.shapes import Shape

if TYPE_CHECKING:
    import pypulseq

_DERIVED = (
    "GradientRasterTime", "BlockDurationRaster", "RadiofrequencyRasterTime", "AdcRasterTime", "TotalDuration",
)  # fmt: skip
_USES = {
    "e": "excitation", "r": "refocusing", "i": "inversion", "s": "saturation", "p": "preparation", "o": "other",
    "u": "undefined",
}  # fmt: skip
_DIGITS = ".9g"  # those of the text: errors are carried on, not added up
_OVERSAMPLED = -1


def stored_sequence(seq: SeqFile, scanner: Scanner) -> pypulseq.Sequence:
    """Return the pypulseq sequence that plays what a `.seq` file holds, with the rasters of the file.

    Parameters
    ----------
    seq
        What was read.
    scanner
        Whose limits and gamma the sequence states.

    Raises
    ------
    ProtocolError
        If the file uses what pypulseq has no place for: rotations, RF shims, unknown extensions, the label OFF.
    """
    import pypulseq

    sequence = pypulseq.Sequence(scanner.opts)
    sequence.grad_raster_time = seq.rasters["GradientRasterTime"]
    sequence.block_duration_raster = seq.rasters["BlockDurationRaster"]
    sequence.rf_raster_time = seq.rasters["RadiofrequencyRasterTime"]
    sequence.adc_raster_time = seq.rasters["AdcRasterTime"]
    sequence.definitions = {name: value for name, value in seq.definitions.items() if name not in _DERIVED}
    shapes = sequence.shape_library.data
    for row, shape in enumerate(seq.shapes):
        shapes[row + 1] = packed(shape)
    _add_pulses(sequence, seq)
    _add_gradients(sequence, seq)
    adc = seq.adc
    for row in range(len(adc)):
        offsets = (float(values[row]) for values in (adc.freq_ppm, adc.phase_ppm, adc.freq, adc.phase))
        timing = int(adc.num_samples[row]), float(adc.dwell[row]), float(adc.delay[row])
        sequence.adc_library.data[row + 1] = (*timing, *offsets, int(adc.phase_shape[row]) + 1)
    heads = _add_extensions(sequence, seq)
    events = seq.events + 1
    events[:, -1] = np.append(heads, 0)[seq.events[:, -1]]
    for block, (row, duration) in enumerate(zip(events, seq.block_duration, strict=True), 1):
        sequence.block_events[block] = np.concatenate(([0], row))
        sequence.block_durations[block] = float(duration)
    return sequence


def packed(shape: Shape) -> Array:
    """Return a shape as `.seq` files store it, its number of samples first: run-length coded where that is shorter."""
    steps: list[float] = []
    counts: list[int] = []
    reached = 0.0
    for value, count in zip(shape.value.tolist(), np.diff(shape.index, prepend=-1).tolist(), strict=True):
        step = float(format((value - reached) / count, _DIGITS))
        reached += step * count
        if steps and steps[-1] == step:
            counts[-1] += count
        else:
            steps.append(step)
            counts.append(count)
    stored: list[float] = []
    for step, count in zip(steps, counts, strict=True):
        stored += [step] if count == 1 else [step, step, count - 2]
    if len(stored) >= shape.num_samples:
        stored = shape.samples().tolist()
    return np.array([shape.num_samples, *stored])


def _add_pulses(sequence: pypulseq.Sequence, seq: SeqFile) -> None:
    """Fill the table of pulses; those without a phase shape get one of zeros."""
    rf, shapes = seq.rf, sequence.shape_library.data
    zeros: dict[int, int] = {}
    for row in range(len(rf)):
        phase = int(rf.phase_shape[row]) + 1
        if not phase:
            count = seq.shapes[rf.magnitude[row]].num_samples
            phase = zeros.setdefault(count, len(shapes) + 1)
            shapes.setdefault(phase, packed(Shape(count, np.unique([0, count - 1]), np.zeros(min(count, 2)))))
        ids = int(rf.magnitude[row]) + 1, phase, int(rf.time_shape[row]) + 1
        offsets = (float(values[row]) for values in (rf.freq_ppm, rf.phase_ppm, rf.freq, rf.phase))
        head = float(rf.amplitude[row]), *ids, float(rf.center[row]), float(rf.delay[row])
        sequence.rf_library.data[row + 1] = (*head, *offsets)
        sequence.rf_library.type[row + 1] = _USES[str(rf.use[row])]


def _add_gradients(sequence: pypulseq.Sequence, seq: SeqFile) -> None:
    library, raster = sequence.grad_library, sequence.grad_raster_time
    shapes = sequence.shape_library.data
    for row, (kind, delay) in enumerate(zip(seq.gradients.kind.tolist(), seq.gradients.delay.tolist(), strict=True)):
        time, value = seq.gradients.points(row)
        if kind == "t":
            library.type[row + 1] = "t"
            library.data[row + 1] = (float(value[1]), *np.diff(time).tolist(), delay)
            continue
        peak = float(np.abs(value).max())
        shape, timing = _gradient_shapes(kind, (time - delay) / raster, value / (peak or 1.0))
        shapes[len(shapes) + 1] = packed(shape)
        number, times = len(shapes), _OVERSAMPLED * (kind == "o")
        if timing is not None:
            shapes[len(shapes) + 1] = packed(timing)
            times = len(shapes)
        library.type[row + 1] = "g"
        library.data[row + 1] = (peak, float(value[0]), float(value[-1]), number, times, delay)


def _gradient_shapes(kind: str, time: Array, value: Array) -> tuple[Shape, Shape | None]:
    """Return the shape of a gradient and, where it has corners at own times, that of its times.

    Parameters
    ----------
    kind
        See `GradientEvents`.
    time
        Times of its points, edges included, from the end of the delay in gradient rasters, ``[point]``.
    value
        Values relative to the peak, ``[point]``.
    """
    if kind == "e":
        index = np.arange(len(time))
        return Shape(len(time), index, value), Shape(len(time), index, time)
    index = np.rint(time[1:-1] - 0.5 if kind == "a" else 2 * time[1:-1] - 1).astype(np.int64)
    count = round(time[-1]) if kind == "a" else round(2 * time[-1]) - 1
    return Shape(count, index, value[1:-1]), None


def _add_extensions(sequence: pypulseq.Sequence, seq: SeqFile) -> list[int]:
    """Fill the tables of labels, triggers and soft delays; return the head of each extension list."""
    from pypulseq.supported_labels_rf_use import get_supported_labels

    extensions, known = seq.extensions, list(get_supported_labels())
    kinds = ("LABELSET", "LABELINC", "TRIGGERS", "DELAYS")
    sequence.extension_string_idx, sequence.extension_numeric_idx = list(kinds), [1, 2, 3, 4]
    tables = (
        sequence.label_set_library.data, sequence.label_inc_library.data, sequence.trigger_library.data,
        sequence.soft_delay_library.data,
    )  # fmt: skip
    heads = []
    for row in range(len(extensions)):
        _require_known(seq, row, known)
        labels = [(int(not is_set), (value, known.index(name) + 1)) for is_set, name, value in extensions.labels[row]]
        entries: list[tuple[int, tuple[Any, ...]]] = [(3, delay) for delay in extensions.soft_delays[row][::-1]]
        entries += [(2, trigger) for trigger in extensions.triggers[row][::-1]]
        entries += labels
        head = 0
        for kind, entry in entries:
            tables[kind][len(tables[kind]) + 1] = entry
            node = len(sequence.extensions_library.data) + 1
            sequence.extensions_library.data[node] = (kind + 1, len(tables[kind]), head)
            head = node
        heads.append(head)
    return heads


def _require_known(seq: SeqFile, row: int, known: list[str]) -> None:
    extensions = seq.extensions
    lacking = [name for _, name, _ in extensions.labels[row] if name not in known]
    missing = [f"label {name}" for name in lacking] + list(extensions.unknown[row])
    missing += ["a rotation"] * int(extensions.rotation[row] != NONE) + ["RF shims"] * bool(len(extensions.shims[row]))
    if missing:
        block = int(seq.number[np.argmax(seq.events[:, -1] == row)])
        raise ProtocolError(
            f"{seq.path.name}, block {block}: {', '.join(missing)} cannot be written as 1.4.1 or 1.5.0; apply "
            "rotations and shims to the events themselves, and leave the rest out"
        )
