"""The text of a `.seq` file, 1.4.1 or 1.5.0, from the event libraries of a pypulseq sequence.

pypulseq's own writer keeps six digits (gradients are off by up to 5e-6 of their peak, phases of long RF-spoiled trains
by tens of degrees) and writes some whole numbers in exponent notation, which the official reader misreads. This one
keeps nine digits, writes whole numbers where the format has them, and refuses what the version cannot express.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from pulsetwin.errors import ProtocolError
from pulsetwin.export.siemens_extensions import extension_texts
from pulsetwin.export.siemens_pulses import pulse_shapes, pulse_use
from pulsetwin.export.siemens_values import number, on_circle, whole
from pulsetwin.sequences.shapes import decode

if TYPE_CHECKING:
    import pypulseq

Version = tuple[int, int, int]
_ON_RASTER, _OVERSAMPLED = 0, -1


def seq_text(
    sequence: pypulseq.Sequence,
    version: Version,
    definitions: dict[str, str],
    larmor: float,
    *,
    packed: bool = True,
) -> str:
    """Return the signed text of a `.seq` file with LF line ends; events that differ in no digit are written once.

    Parameters
    ----------
    sequence
        What to write; it is not changed.
    version
        ``(1, 4, 1)`` or ``(1, 5, 0)``.
    definitions
        `[DEFINITIONS]`, ready to be written.
    larmor
        Larmor frequency [MHz], at which 1.4.1 states offsets in ppm.
    packed
        Whether shapes stay run-length coded; otherwise every sample is written.

    Raises
    ------
    ProtocolError
        If the version cannot express an event; it names the block, the reason and the remedy.
    """
    modern = version >= (1, 5, 0)
    shapes: dict[str, int] = {}
    pulses: dict[tuple[int, ...], list[int]] = {}
    rf, rf_rows = _renumbered(
        sequence, (1,), "RF pulse", lambda event: _rf_row(sequence, event, shapes, pulses, modern, larmor)
    )
    gradients, gradient_rows = _renumbered(
        sequence, (2, 3, 4), "gradient", lambda event: _gradient_row(sequence, event, shapes, modern)
    )
    adc, adc_rows = _renumbered(
        sequence, (5,), "acquisition", lambda event: _adc_row(sequence, event, shapes, modern, larmor)
    )
    lists, extension_sections = extension_texts(sequence, modern)
    blocks = _blocks(sequence, (rf, gradients, gradients, gradients, adc, lists))
    trapezoids = [f"{i} {row[1:]}" for row, i in gradient_rows.items() if row[0] == "t"]
    shaped = [f"{i} {row[1:]}" for row, i in gradient_rows.items() if row[0] == "g"]
    major, minor, revision = version
    sections = [
        ("[VERSION]", [f"major {major}", f"minor {minor}", f"revision {revision}"]),
        ("[DEFINITIONS]", [f"{name} {value}" for name, value in sorted(definitions.items())]),
        ("[BLOCKS]", blocks),
        ("[RF]", [f"{i} {row}" for row, i in rf_rows.items()]),
        ("[GRADIENTS]", shaped),
        ("[TRAP]", trapezoids),
        ("[ADC]", [f"{i} {row}" for row, i in adc_rows.items()]),
        *extension_sections,
        ("[SHAPES]", [f"\nshape_id {i}\n{text if packed else _unpacked(text)}" for text, i in shapes.items()]),
    ]
    body = "# Pulseq sequence file\n# Created by pulsetwin\n\n"
    body += "".join(title + "\n" + "\n".join(rows) + "\n\n" for title, rows in sections if rows)
    digest = hashlib.md5(body.encode("utf-8"), usedforsecurity=False).hexdigest()
    note = "# MD5 of the text above, without the line end that precedes [SIGNATURE]\n"
    return f"{body}\n[SIGNATURE]\n{note}Type md5\nHash {digest}\n"


def used_events(sequence: pypulseq.Sequence, columns: tuple[int, ...]) -> dict[int, int]:
    """Return the events that blocks play in some columns of `block_events`, each with its first block."""
    table = event_table(sequence)[:, [column - 1 for column in columns]]
    events, first = np.unique(table, return_index=True)
    blocks = list(sequence.block_events)
    places = dict(zip(events.tolist(), (first // table.shape[1]).tolist(), strict=True))
    return {event: blocks[places[event]] for event in sorted(places, key=places.__getitem__) if event > 0}


def event_table(sequence: pypulseq.Sequence) -> np.ndarray:
    """Return the events RF, GX, GY, GZ, ADC and extension list of the blocks, int64 ``[block, 6]``."""
    return np.array([row[1:] for row in sequence.block_events.values()], np.int64).reshape(-1, 6)


def _renumbered(
    sequence: pypulseq.Sequence, columns: tuple[int, ...], what: str, row_of: Callable[[int], str]
) -> tuple[dict[int, int], dict[str, int]]:
    """Return the new number of each event, and the numbers of the distinct rows."""
    rows: dict[str, int] = {}
    numbers = {0: 0}
    for event, block in used_events(sequence, columns).items():
        try:
            numbers[event] = rows.setdefault(row_of(event), len(rows) + 1)
        except ValueError as error:
            raise ProtocolError(f"block {block}, {what}: {error}") from None
    return numbers, rows


def _blocks(sequence: pypulseq.Sequence, numbers: tuple[dict[int, int], ...]) -> list[str]:
    columns = []
    for column, numbers_of in zip(event_table(sequence).T, numbers, strict=True):
        events, place = np.unique(column, return_inverse=True)
        columns.append(np.array([numbers_of[event] for event in events.tolist()])[place.reshape(-1)].tolist())
    lines = []
    for block, (name, row) in enumerate(zip(sequence.block_events, zip(*columns, strict=True), strict=True), 1):
        try:
            ticks = whole(sequence.block_durations[name], sequence.block_duration_raster, "duration", "block rasters")
        except ValueError as error:
            raise ProtocolError(f"block {name}: {error}") from None
        lines.append(" ".join(map(str, (block, ticks, *row))))
    return lines


def shape_text(packed: Any) -> str:
    """Return a stored shape, its number of samples first, as text."""
    return f"num_samples {int(packed[0])}\n" + "\n".join(format(value, ".9g") for value in packed[1:])


def _unpacked(text: str) -> str:
    """Return the text of a shape with all its samples."""
    _, count, *values = text.split()
    samples = decode(np.array(values, float), int(count)).samples()
    return shape_text(np.concatenate(([int(count)], samples)))


def _shape(sequence: pypulseq.Sequence, shapes: dict[str, int], event: Any) -> int:
    """Return the number of a shape of the sequence in the file."""
    if event in (_ON_RASTER, _OVERSAMPLED):
        return int(event)
    return shapes.setdefault(shape_text(sequence.shape_library.data[int(event)]), len(shapes) + 1)


def _rf_row(
    sequence: pypulseq.Sequence,
    event: int,
    shapes: dict[str, int],
    pulses: dict[tuple[int, ...], list[int]],
    modern: bool,
    larmor: float,
) -> str:
    """Return the row of a pulse; `pulses` keeps the shapes' numbers in the file by those in the library."""
    amplitude, *stored, center, delay, freq_ppm, phase_ppm, freq, phase = sequence.rf_library.data[event][:10]
    if (key := tuple(stored)) not in pulses:
        pulses[key] = [shapes.setdefault(shape_text(shape), len(shapes) + 1) for shape in pulse_shapes(sequence, event)]
    magnitude, angle, time = (*pulses[key], 0)[:3]
    head = f"{number(amplitude, 'amplitude')} {magnitude} {angle} {time}"
    start = whole(delay, 1e-6, "delay", "us")
    if not modern:
        offsets = f"{number(freq + freq_ppm * larmor, 'frequency')} {on_circle(phase + phase_ppm * larmor)}"
        return f"{head} {start} {offsets}"
    ppm = f"{number(freq_ppm, 'frequency')} {number(phase_ppm, 'phase')}"
    middle = number(1e6 * center, "centre")
    return f"{head} {middle} {start} {ppm} {number(freq, 'frequency')} {on_circle(phase)} {pulse_use(sequence, event)}"


def _gradient_row(sequence: pypulseq.Sequence, event: int, shapes: dict[str, int], modern: bool) -> str:
    amplitude, *rest = sequence.grad_library.data[event]
    size = number(amplitude, "amplitude")
    if sequence.grad_library.type[event] == "t":
        names = ("rise time", "flat time", "fall time", "delay")
        times = (whole(value, 1e-6, name, "us") for value, name in zip(rest, names, strict=True))
        return f"t{size} {' '.join(map(str, times))}"
    first, last, shape, time, delay = rest
    if time == _OVERSAMPLED and not modern:
        raise ValueError("it is oversampled, which 1.4.1 has no place for; sample it on the raster, or write 1.5")
    edges = f" {number(first, 'first value')} {number(last, 'last value')}" if modern else ""
    ids = f"{_shape(sequence, shapes, shape)} {_shape(sequence, shapes, time)}"
    return f"g{size}{edges} {ids} {whole(delay, 1e-6, 'delay', 'us')}"


def _adc_row(sequence: pypulseq.Sequence, event: int, shapes: dict[str, int], modern: bool, larmor: float) -> str:
    samples, dwell, delay, freq_ppm, phase_ppm, freq, phase, shape = sequence.adc_library.data[event][:8]
    count = whole(samples, 1.0, "number of samples", "samples")
    if not 0 < count <= np.iinfo(np.uint16).max:
        raise ValueError(f"{count} samples, where raw data count 1 to 65535; split it with pypulseq.calc_adc_segments")
    head = f"{count} {whole(dwell, 1e-9, 'dwell time', 'ns')} {whole(delay, 1e-6, 'delay', 'us')}"
    if modern:
        ppm = f"{number(freq_ppm, 'frequency')} {number(phase_ppm, 'phase')}"
        place = _shape(sequence, shapes, shape)
        return f"{head} {ppm} {number(freq, 'frequency')} {on_circle(phase)} {place}"
    if shape != 0:
        raise ValueError("its phase is modulated, which 1.4.1 has no place for; leave it out, or write 1.5")
    return f"{head} {number(freq + freq_ppm * larmor, 'frequency')} {on_circle(phase + phase_ppm * larmor)}"
