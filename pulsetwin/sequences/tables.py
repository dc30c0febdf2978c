"""The event sections of a `.seq` file, read into tables; the columns of each version are here and nowhere else."""

from __future__ import annotations

import numpy as np

from pulsetwin.sequences import rf as pulses
from pulsetwin.sequences.events import NONE, AdcEvents, Array, RfEvents
from pulsetwin.sequences.gradients import OVERSAMPLED, GradientRows
from pulsetwin.sequences.seqtext import Section, to_numbers
from pulsetwin.sequences.shapes import Shape, decode

Version = tuple[int, int, int]
_US = 1e-6
_USES = "erispou"


def rows_of(used: Array, ids: Array) -> tuple[Array, Array]:
    """Return the row of each used id in the table `ids` (`NONE` for id 0), and which used ids are missing."""
    order = np.argsort(ids, kind="stable")
    if not len(ids):
        return np.full(used.shape, NONE), used != 0
    place = np.minimum(np.searchsorted(ids[order], used), len(ids) - 1)
    row = np.where(used == 0, NONE, order[place])
    return row, (used != 0) & (ids[order[place]] != used)


def read_shapes(section: Section | None, version: Version) -> tuple[Array, tuple[Shape, ...]]:
    """Return ids and shapes of `[SHAPES]`."""
    if section is None:
        return np.zeros(0, np.int64), ()
    text = section.text if "#" not in section.text else "\n".join(section.lines())
    blocks = text.lower().split("shape_id")
    if blocks[0].strip():
        section.fail("text before the first shape_id")
    ids, shapes = [], []
    for block in blocks[1:]:
        head, _, rest = block.partition("num_samples")
        label = head.strip()
        try:
            number, length, *values = to_numbers(f"{label} {rest}") if label else ()
            if number != int(number) or length != int(length) or number < 1 or length < 1:
                raise ValueError("its id or num_samples is not a whole number above 0")
            shape = decode(np.array(values), int(length), always_packed=version < (1, 4, 0))
        except (ValueError, OverflowError) as error:
            section.fail(f"shape {label[:20] or '?'} cannot be read: {_reason(error)}")
        ids.append(int(number))
        shapes.append(shape)
    return section.unique(np.array(ids, np.int64), "shape"), tuple(shapes)


def _reason(error: Exception) -> str:
    text = str(error)
    if "not enough values" in text:
        return "it has no num_samples"
    return "it holds something that is not a number" if "unmatched data" in text else text


def _shape_rows(section: Section, values: Array, ids: Array, what: str) -> Array:
    """Return rows of shapes from the ids in a column; raises where one does not exist."""
    used = section.whole(values, what)
    row, missing = rows_of(used, ids)
    if np.any(missing):
        bad = int(np.nonzero(missing)[0][0])
        section.fail(f"{what} {used[bad]} is not in [SHAPES]", bad, "the file is cut or edited: export it again")
    return row


def _ids(section: Section, values: Array, what: str) -> Array:
    return section.unique(section.whole(values, what, lowest=1), what)


def _nonnegative(section: Section, values: Array, what: str) -> Array:
    if np.any(values < 0):
        bad = int(np.nonzero(values < 0)[0][0])
        section.fail(f"{what} {values[bad]:g} is negative", bad)
    return values


def read_rf(
    section: Section | None,
    version: Version,
    shape_ids: Array,
    shapes: tuple[Shape, ...],
    raster: float,
    field_strength: float | None,
) -> RfEvents:
    """Return the table of `[RF]`, with what older versions leave out (centre, use) worked out."""
    if section is None:
        empty = np.zeros(0)
        return RfEvents(*[empty.astype(np.int64)] + [empty] * 10 + [empty.astype("U1"), empty, empty])
    use, table = _uses(section) if version >= (1, 5, 0) else ([], section)
    columns = table.numbers((11,) if version >= (1, 5, 0) else (8,) if version >= (1, 4, 0) else (7,)).T
    count = columns.shape[1]
    magnitude = _shape_rows(table, columns[2], shape_ids, "magnitude shape")
    if np.any(magnitude == NONE):
        table.fail("a pulse has no magnitude shape", int(np.nonzero(magnitude == NONE)[0][0]))
    phase_shape = _shape_rows(table, columns[3], shape_ids, "phase shape")
    timed = version >= (1, 4, 0)
    time_shape = _shape_rows(table, columns[4], shape_ids, "time shape") if timed else np.full(count, NONE)
    rest = columns[5:] if timed else columns[4:]
    center = rest[0] * _US if version >= (1, 5, 0) else np.full(count, np.nan)
    rest = rest[1:] if version >= (1, 5, 0) else rest
    delay = _nonnegative(table, rest[0] * _US, "delay")
    freq_ppm, phase_ppm = (rest[1], rest[2]) if version >= (1, 5, 0) else np.zeros((2, count))
    keys = np.stack((magnitude, phase_shape, time_shape), 1)
    distinct, which = np.unique(keys, axis=0, return_inverse=True)
    envelopes = [_envelope(table, key, shapes, raster) for key in distinct]
    which = which.reshape(-1)
    duration = np.array([envelopes[i].duration for i in which])
    middle = np.array([envelopes[i].center for i in which])
    unit = np.array([pulses.flip_angle(e, 1.0) for e in envelopes])
    flip = np.abs(columns[1]) * unit[which]
    if version < (1, 5, 0):
        use = [pulses.guess_use(*values, field_strength) for values in zip(flip, duration, rest[-2], strict=True)]
    center = np.where(np.isnan(center), middle, center)
    ids = _ids(table, columns[0], "RF event")
    return RfEvents(
        ids, columns[1], magnitude, phase_shape, time_shape, delay, center, rest[-2], rest[-1], freq_ppm, phase_ppm,
        np.array(use, "U1"), duration, flip,
    )  # fmt: skip


def _uses(section: Section) -> tuple[list[str], Section]:
    """Split the last column, a letter, from the rows of `[RF]` 1.5."""
    lines = section.lines()
    uses = [line[-1].lower() for line in lines]
    for row, (line, use) in enumerate(zip(lines, uses, strict=True)):
        if use not in _USES or not line[:-1].endswith((" ", "\t")):
            section.fail(f"the use of the pulse, {line.split()[-1][:20]!r}, is none of {', '.join(_USES)}", row)
    return uses, Section(section.path, section.name, "\n".join(line[:-1] for line in lines), section.line)


def _envelope(section: Section, key: Array, shapes: tuple[Shape, ...], raster: float) -> pulses.Envelope:
    magnitude, phase, time = (None if row == NONE else shapes[row] for row in key)
    assert magnitude is not None
    for other in (phase, time):
        if other is not None and other.num_samples != magnitude.num_samples:
            section.fail(f"shapes of one pulse have {magnitude.num_samples} and {other.num_samples} samples")
    if time is not None and np.any(np.diff(time.value) < 0):
        section.fail("the time shape of a pulse runs backwards")
    return pulses.envelope(magnitude, phase, time, raster)


def read_gradients(
    trap: Section | None, shaped: Section | None, version: Version, shape_ids: Array, shapes: tuple[Shape, ...]
) -> GradientRows:
    """Return the rows of `[TRAP]` and `[GRADIENTS]`."""
    traps, trap_ids = np.zeros((0, 6)), np.zeros(0, np.int64)
    if trap is not None:
        traps = trap.numbers((6,)) * np.array([1, 1, _US, _US, _US, _US])
        _nonnegative(trap, traps[:, 2:].min(1, initial=0), "rise, flat, fall or delay")
        trap_ids = _ids(trap, traps[:, 0], "gradient")
    if shaped is None:
        none, number = np.zeros(0), np.zeros(0, np.int64)
        return GradientRows(trap_ids, traps[:, 1:], number, none, none, none, none, number, number)
    columns = shaped.numbers((7,) if version >= (1, 5, 0) else (5,) if version >= (1, 4, 0) else (4,)).T
    count = columns.shape[1]
    unknown = np.full(count, np.nan)
    first, last = (columns[2], columns[3]) if version >= (1, 5, 0) else (unknown, unknown)
    rest = columns[4:] if version >= (1, 5, 0) else columns[2:]
    shape = _shape_rows(shaped, rest[0], shape_ids, "shape")
    time_shape = np.full(count, NONE)
    if version >= (1, 4, 0):
        doubled = rest[1] == -1
        time_shape = _shape_rows(shaped, np.where(doubled, 0, rest[1]), shape_ids, "time shape")
        time_shape[doubled] = OVERSAMPLED
    ids = _ids(shaped, columns[0], "gradient")
    shaped.unique(np.concatenate((trap_ids, ids)), "gradient")
    _check_shaped(shaped, shape, time_shape, shapes)
    delay = _nonnegative(shaped, rest[-1] * _US, "delay")
    return GradientRows(trap_ids, traps[:, 1:], ids, columns[1], delay, first, last, shape, time_shape)


def _check_shaped(section: Section, shape: Array, time_shape: Array, shapes: tuple[Shape, ...]) -> None:
    for row, (one, time) in enumerate(zip(shape, time_shape, strict=True)):
        if one == NONE:
            section.fail("a gradient has no shape", row)
        count = shapes[one].num_samples
        if time >= 0 and shapes[time].num_samples != count:
            section.fail(f"the time shape has {shapes[time].num_samples} samples, the gradient {count}", row)
        if time >= 0 and (shapes[time].value[0] < 0 or np.any(np.diff(shapes[time].value) < 0)):
            section.fail("the time shape runs backwards", row)
        if time == OVERSAMPLED and count % 2 == 0:
            section.fail(f"an oversampled gradient needs an odd number of samples, not {count}", row)


def read_adc(section: Section | None, version: Version, shape_ids: Array) -> AdcEvents:
    """Return the table of `[ADC]`."""
    if section is None:
        number, none = np.zeros(0, np.int64), np.zeros(0)
        return AdcEvents(number, number, *[none] * 6, number)
    columns = section.numbers((9,) if version >= (1, 5, 0) else (6,)).T
    zeros = np.zeros(columns.shape[1])
    freq_ppm, phase_ppm = (columns[4], columns[5]) if version >= (1, 5, 0) else (zeros, zeros)
    freq, phase = columns[6:8] if version >= (1, 5, 0) else columns[4:6]
    shape = zeros.astype(np.int64) + NONE
    if version >= (1, 5, 0):
        shape = _shape_rows(section, columns[8], shape_ids, "phase shape")
    count = section.whole(columns[1], "number of samples", lowest=1)
    dwell = _nonnegative(section, columns[2] * 1e-9, "dwell time")
    delay = _nonnegative(section, columns[3] * _US, "delay")
    ids = _ids(section, columns[0], "ADC event")
    return AdcEvents(ids, count, dwell, delay, freq, phase, freq_ppm, phase_ppm, shape)
