"""Which interpreters play a `.seq`: the features that it uses and its size, against what each of them can read.

What interpreters do is taken from their public code and release notes: Siemens from the official C++ reader, which they
share, and Bruker from the last public state of its interpreter, which reads the columns of Pulseq 1.4 without looking
at the version. No scanner was at hand to try it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from pulsetwin.export.bruker_findings import MOST_BLOCKS, MOST_EVENTS, MOST_SHAPES
from pulsetwin.sequences.events import NONE
from pulsetwin.sequences.seqfile import ADC, EXT, GX, GZ, RF, SeqFile

YES, NO, IGNORED = "yes", "no", "ignored"
_Version = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Interpreter:
    """What plays `.seq` files on a scanner.

    Parameters
    ----------
    name, vendor
        Shown name, and the vendor as in `Scanner`.
    newest
        The newest version that it reads as meant.
    columns
        The only minor version whose columns it knows, or None where it reads all from 1.2 up to the newest.
    lacks
        Features that it does not have beside those newer than it, with what happens: refused, or ignored.
    most
        Its largest tables, by the names of `counts`.
    """

    name: str
    vendor: str
    newest: _Version
    columns: int | None
    lacks: Mapping[str, str]
    most: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What an interpreter makes of a file.

    Parameters
    ----------
    interpreter, vendor
        Its name and vendor.
    plays
        Whether it plays the file as meant; ignored features alone do not speak against it.
    reasons
        Why not, and what it ignores.
    features
        Each feature that the file uses to ``yes``, ``no`` or ``ignored``.
    """

    interpreter: str
    vendor: str
    plays: bool
    reasons: tuple[str, ...]
    features: dict[str, str]

    def __str__(self) -> str:
        return f"{self.interpreter:<26}{'yes' if self.plays else 'no'}" + "".join(f"; {why}" for why in self.reasons)


SINCE: dict[str, _Version] = {
    "shaped gradients": (1, 2, 0),
    "gradients with corners at own times": (1, 4, 0),
    "pulses with samples at own times": (1, 4, 0),
    "labels": (1, 2, 0),
    "triggers": (1, 2, 0),
    "acquisitions of several lengths": (1, 2, 0),
    "soft delays": (1, 5, 0),
    "oversampled gradients": (1, 5, 0),
    "offsets in ppm": (1, 5, 0),
    "phase-modulated acquisition": (1, 5, 0),
    "label OFF": (1, 5, 1),
    "rotations": (1, 5, 1),
    "RF shims": (1, 5, 1),
}
"""Features and the first version of the format that has them."""

_BRUKER_LACKS = {
    "shaped gradients": NO,
    "gradients with corners at own times": NO,
    "pulses with samples at own times": NO,
    "acquisitions of several lengths": NO,
    "labels": IGNORED,
    "triggers": IGNORED,
}
_BRUKER_MOST = {
    "blocks": MOST_BLOCKS,
    **dict.fromkeys(("RF events", "trapezoids", "ADC events"), MOST_EVENTS),
    "shapes": MOST_SHAPES,
}
INTERPRETERS = (
    Interpreter("Siemens 1.4", "siemens", (1, 4, 9), None, {}, {}),
    Interpreter("Siemens 1.5.0", "siemens", (1, 5, 0), None, {}, {}),
    Interpreter("Siemens 1.5.1 and later", "siemens", (1, 5, 9), None, {}, {}),
    Interpreter("Bruker (columns of 1.4)", "bruker", (1, 4, 9), 4, _BRUKER_LACKS, _BRUKER_MOST),
)


def features(seq: SeqFile) -> list[str]:
    """Return the features that the blocks of `seq` use, beyond pulses, trapezoids and acquisitions of one length."""
    lists = _used(seq.events[:, EXT])
    rf, adc, gradients = (_used(seq.events[:, part]) for part in (RF, ADC, slice(GX, GZ + 1)))
    ppm = (seq.rf.freq_ppm[rf], seq.rf.phase_ppm[rf], seq.adc.freq_ppm[adc], seq.adc.phase_ppm[adc])
    labels = {entry[1] for row in lists for entry in seq.extensions.labels[row]}
    kinds = set(seq.gradients.kind[gradients])
    found = {
        "shaped gradients": "a" in kinds,
        "gradients with corners at own times": "e" in kinds,
        "pulses with samples at own times": np.any(seq.rf.time_shape[rf] != NONE),
        "acquisitions of several lengths": len(np.unique(seq.adc.num_samples[adc])) > 1,
        "labels": bool(labels),
        "triggers": any(len(seq.extensions.triggers[row]) for row in lists),
        "soft delays": any(len(seq.extensions.soft_delays[row]) for row in lists),
        "oversampled gradients": "o" in kinds,
        "offsets in ppm": any(np.any(offsets) for offsets in ppm),
        "phase-modulated acquisition": np.any(seq.adc.phase_shape[adc] != NONE),
        "label OFF": "OFF" in labels,
        "rotations": np.any(seq.rotation != NONE),
        "RF shims": any(len(seq.extensions.shims[row]) for row in lists),
        "unknown extensions": any(len(seq.extensions.unknown[row]) for row in lists),
    }
    return [name for name, present in found.items() if present]


def counts(seq: SeqFile) -> dict[str, int]:
    """Return the sizes of the tables in the file, as interpreters limit them."""
    trapezoids = int(np.sum(seq.gradients.kind == "t"))
    return {
        "blocks": len(seq),
        "RF events": len(seq.rf),
        "trapezoids": trapezoids,
        "other gradients": len(seq.gradients) - trapezoids,
        "ADC events": len(seq.adc),
        "extension lists": len(seq.extensions),
        "shapes": len(seq.shapes),
    }


def verdicts(seq: SeqFile) -> tuple[Verdict, ...]:
    """Return what each known interpreter makes of `seq`."""
    used, sizes = features(seq), counts(seq)
    return tuple(_verdict(seq.version, used, sizes, interpreter) for interpreter in INTERPRETERS)


def _verdict(version: _Version, used: list[str], sizes: dict[str, int], interpreter: Interpreter) -> Verdict:
    cells = {name: _cell(name, interpreter) for name in used}
    against = _layout(version, interpreter)
    against += [f"has no {name}" for name, cell in cells.items() if cell == NO]
    against += [f"drops {name} beyond {most}" for name, most in interpreter.most.items() if sizes[name] > most]
    ignored = [name for name, cell in cells.items() if cell == IGNORED]
    notes = [f"ignores {', '.join(ignored)}"] * bool(ignored)
    return Verdict(interpreter.name, interpreter.vendor, not against, (*against, *notes), cells)


def _cell(name: str, interpreter: Interpreter) -> str:
    """Return whether an interpreter has a feature; the specification allows to ignore unknown extensions."""
    if name == "unknown extensions":
        return IGNORED
    if SINCE.get(name, (1, 2, 0)) > interpreter.newest:
        return NO
    return interpreter.lacks.get(name, YES)


def _layout(version: _Version, interpreter: Interpreter) -> list[str]:
    """Return what is wrong with the version of the file."""
    shown = ".".join(map(str, version))
    if interpreter.columns is not None:
        wrong = version[1] != interpreter.columns
        return [f"misreads the columns of {shown} without a word: write it as 1.4.1"] * wrong
    return [f"refuses files of {shown}" + ": write it as 1.4.1" * (interpreter.newest[1] == 4)] * (
        version > interpreter.newest
    )


def _used(rows: np.ndarray) -> np.ndarray:
    """Return the rows of a table that blocks play."""
    distinct = np.unique(rows)
    return distinct[distinct != NONE]
