"""The pulses of a sequence for ParaVision: a shape file for each, and lists of frequency, phase and power in order.

The lists are a JCAMP-DX parameter file, in the names of the public interpreter. Power follows from the reference power,
which the console adjusts: that of a rectangle of 90 degrees in 1 ms, so of 250 Hz, and ``P = P_ref (B1 / 250 Hz)^2``
with the peak B1, which holds for adiabatic pulses too.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pulsetwin.atomic import atomic_folder
from pulsetwin.errors import FileError, MismatchError, ProtocolError
from pulsetwin.export.jcamp_shape import MODES, RfShape, rf_shape, write_shape
from pulsetwin.sequences.events import NONE, Array
from pulsetwin.sequences.seqfile import RF, SeqFile

REFERENCE_B1 = 250.0
"""B1 of the reference pulse [Hz]: 90 degrees by a rectangle of 1 ms, 5.87 uT for protons."""
LISTS = "rf_lists"
_MOST_POINTS = 32768
_MODE_OF_USE = {"i": "inversion", "r": "refocusing"}
_PARAMETERS = {
    "frequency": ("SeqRFFrequencyList", 1.0, "Hz"),
    "phase": ("SeqRFPhaseList", 180 / math.pi, "deg"),
    "power": ("SeqRFPowerList", 1.0, "W"),
    "duration": ("SeqRFDurationList", 1e6, "us"),
    "shape": ("SeqRFShapeList", 1.0, "number of the shape file"),
}


@dataclass(frozen=True, slots=True)
class PulseLists:
    """What the pulses of a sequence need beside their shapes, in order of play.

    Parameters
    ----------
    reference_power
        Power of the reference pulse [W], for which `power` holds.
    frequency, phase
        Offsets [Hz], [rad, 0 to 2 pi], float64 ``[pulse]``.
    power, duration
        Peak power [W] and length of the shape [s], float64 ``[pulse]``.
    shape
        Number of the shape file, float64 ``[pulse]``.
    """

    reference_power: float
    frequency: Array
    phase: Array
    power: Array
    duration: Array
    shape: Array


def write_pulses(seq: SeqFile, folder: str | Path, *, reference_power: float, force: bool = False) -> PulseLists:
    """Write the shape files ``pulseq_shape1.exc`` ... and the lists of a sequence into a folder; return the lists.

    Parameters
    ----------
    seq
        The sequence; pulses with use inversion or refocusing get shapes of that mode.
    folder
        The folder to appear.
    reference_power
        Power of the console's reference pulse [W], as adjusted with the coil and the object.
    force
        Whether to replace files of an existing folder.

    Raises
    ------
    ProtocolError
        If there is no pulse, or the power is not above 0.
    MismatchError
        If what was read back is not what was written.
    """
    lists, shapes = pulse_lists(seq, reference_power)
    with atomic_folder(folder, force=force) as temporary:
        for number, shape in enumerate(shapes, 1):
            write_shape(shape, temporary / f"pulseq_shape{number}{MODES[shape.mode][1]}")
        (temporary / LISTS).write_bytes(_text(lists, seq.path.stem).encode("ascii", "replace"))
        back = read_pulse_lists(temporary / LISTS)
        for name in _PARAMETERS:
            if not np.allclose(getattr(back, name), getattr(lists, name), rtol=1e-8, atol=1e-10):
                raise MismatchError(f"{folder}: the list of {name} was read back differently; check the disk")
    return lists


def pulse_lists(seq: SeqFile, reference_power: float) -> tuple[PulseLists, list[RfShape]]:
    """Return the lists and the distinct shapes of a sequence; see `write_pulses`."""
    if not (math.isfinite(reference_power) and reference_power > 0):
        raise ProtocolError(f"reference power {reference_power:g} W: give that of the console, above 0")
    played = seq.events[:, RF][seq.events[:, RF] != NONE]
    if not len(played):
        raise ProtocolError(f"{seq.path.name} has no pulse to write")
    if np.any(seq.rf.freq_ppm[played]) or np.any(seq.rf.phase_ppm[played]):
        raise ProtocolError(f"{seq.path.name} has offsets in ppm: export it as 1.4.1 first, which states them in Hz")
    rf = seq.rf
    tallest = np.array([np.abs(shape.value).max() for shape in seq.shapes])
    keys = [
        (*map(int, (rf.magnitude[row], rf.phase_shape[row], rf.time_shape[row])), _mode(seq, row)) for row in played
    ]
    numbers: dict[tuple[object, ...], int] = {}
    shapes = []
    for key, row in zip(keys, played.tolist(), strict=True):
        if key not in numbers:
            numbers[key] = len(numbers) + 1
            mode = _mode(seq, row)
            shapes.append(rf_shape(_rotation(seq, row), mode, None if mode == "excitation" else math.pi))
    peak = np.abs(rf.amplitude) * tallest[rf.magnitude]
    turned = rf.phase + np.where(rf.amplitude < 0, np.pi, 0.0)
    lists = PulseLists(
        reference_power,
        rf.freq[played],
        np.mod(turned, 2 * np.pi)[played],
        reference_power * (peak[played] / REFERENCE_B1) ** 2,
        rf.duration[played],
        np.array([numbers[key] for key in keys], float),
    )
    return lists, shapes


def read_pulse_lists(path: str | Path) -> PulseLists:
    """Read the lists that `write_pulses` wrote.

    Raises
    ------
    FileError
        If they are missing or damaged.
    """
    try:
        lines = [line for line in Path(path).read_text("ascii").splitlines() if not line.startswith("$$")]
        entries = dict(entry.split("=", 1) for entry in "\n".join(lines).split("##")[1:])
        values = {name: _array(entries[f"${key}"]) / scale for name, (key, scale, _) in _PARAMETERS.items()}
        return PulseLists(float(entries["$PVM_RefPowCh1"]), **values)
    except (OSError, ValueError, KeyError) as error:
        raise FileError(path, f"holds no lists of pulses ({error})", "export the sequence again") from None


def _array(text: str) -> Array:
    """Return a JCAMP-DX array, whose size stands in brackets before it."""
    size, _, rest = text.strip().removeprefix("(").partition(")")
    values = np.array(rest.split(), float)
    if len(values) != int(size):
        raise ValueError(f"{len(values)} values where {size.strip()} are stated")
    return values


def _mode(seq: SeqFile, row: int) -> str:
    return _MODE_OF_USE.get(str(seq.rf.use[row]), "excitation")


def _rotation(seq: SeqFile, row: int) -> Array:
    """Return the rotation by each even part of a pulse [rad], complex128 ``[point]``, at most 32768 parts."""
    rf, raster = seq.rf, seq.rasters["RadiofrequencyRasterTime"]
    magnitude = seq.shapes[rf.magnitude[row]]
    count = round(rf.duration[row] / raster)
    points = min(count, _MOST_POINTS)
    place = (np.arange(points) + 0.5) * count / points
    if rf.time_shape[row] == NONE:
        index = place - 0.5
    else:
        time = seq.shapes[rf.time_shape[row]].samples()
        index = np.interp(place, time, np.arange(len(time)))
    turns = 0.0 if rf.phase_shape[row] == NONE else seq.shapes[rf.phase_shape[row]].at(index)
    b1 = abs(rf.amplitude[row]) * magnitude.at(index) * np.exp(2j * np.pi * turns)
    return np.asarray(2 * np.pi * b1 * rf.duration[row] / points)


def _text(lists: PulseLists, title: str) -> str:
    lines = [
        f"##TITLE=Pulses of {title}",
        "##JCAMP-DX=4.24",
        "##DATATYPE=Parameter Values",
        "##ORIGIN=pulsetwin",
        "##OWNER=pulsetwin",
        "$$ power of 90 degrees in 1 ms by a rectangle (250 Hz) [W], for which the powers below hold",
        f"##$PVM_RefPowCh1={lists.reference_power:.9g}",
    ]
    for name, (key, scale, unit) in _PARAMETERS.items():
        values = getattr(lists, name) * scale
        lines += [f"$$ {name} [{unit}], in order of play", f"##${key}=( {len(values)} )"]
        lines += [" ".join(f"{value:.9g}" for value in values[at : at + 8]) for at in range(0, len(values), 8)]
    return "\n".join([*lines, "##END=", ""])
