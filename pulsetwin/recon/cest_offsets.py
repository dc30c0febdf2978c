"""Which offset each image of a CEST or WASABI scan has by its `.seq`, and which images are M0."""

from __future__ import annotations

import numpy as np

from pulsetwin.errors import ProtocolError, ShapeError
from pulsetwin.recon.definitions import stated_numbers
from pulsetwin.scanner import PROTON
from pulsetwin.sequences.seqfile import RF, SeqFile

_FAR = 100.0  # offset beyond which saturation is nil, where a `.seq` does not state that of M0 [ppm]
_SAME = 1e-3  # [ppm]


def larmor(seq: SeqFile) -> float:
    """Return the frequency of water by the definitions FREQ [MHz] or B0 [T] of a `.seq`, in Hz for each ppm.

    Raises
    ------
    ProtocolError
        If there is neither.
    """
    for name, scale in (("FREQ", 1.0), ("B0", 1e-6 * PROTON)):
        value = seq.definitions.get(name)
        if isinstance(value, float) and value > 0:
            return value * scale
    raise ProtocolError(f"{seq.path}: neither FREQ [MHz] nor B0 [T] is defined: add one, so that ppm are known in Hz")


def offsets(seq: SeqFile, played: np.ndarray | None = None) -> np.ndarray:
    """Return the offset of each measurement [ppm], of the definition ``offsets_ppm`` or of its pulses.

    Parameters
    ----------
    seq
        The sequence.
    played
        Rows of the pulses that prepare a measurement each, where the definition may be missing.

    Raises
    ------
    ProtocolError
        If the offsets are not known, or no numbers.
    """
    stated = stated_numbers(seq.definitions, "offsets_ppm")
    if stated is not None:
        return stated
    if played is None:
        raise ProtocolError(f"{seq.path}: offsets_ppm is not defined: add the offset of each image to [DEFINITIONS]")
    return seq.rf.freq[played] / larmor(seq) + seq.rf.freq_ppm[played]


def m0_images(offset: np.ndarray, seq: SeqFile) -> np.ndarray:
    """Return which measurements are M0: those at the definition ``M0_offset``, or beyond 100 ppm; bool ``[image]``."""
    stated = seq.definitions.get("M0_offset")
    if isinstance(stated, float):
        return np.abs(offset - stated) < _SAME
    return np.abs(offset) > _FAR


def split(count: int, offset: np.ndarray, m0: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return which of `count` images are M0 and which are not, int ``[image]``; M0 may be left out of the images.

    Raises
    ------
    ShapeError
        If the `.seq` has another number of images.
    """
    if count == len(offset):
        return np.nonzero(m0)[0], np.nonzero(~m0)[0]
    if count == (~m0).sum():
        return np.zeros(0, int), np.arange(count)
    without = f", or {(~m0).sum()} without M0" if m0.any() else ""
    raise ShapeError(f"there are {count} images, but the .seq measures {len(offset)}{without}: give all of one scan")


def preparing_pulses(seq: SeqFile) -> np.ndarray:
    """Return the rows of the pulses that prepare measurements, in order of play: those like the one farthest off.

    Raises
    ------
    ProtocolError
        If no pulse is off resonance.
    """
    rf = seq.rf
    played = seq.events[:, RF]
    played = played[played >= 0]
    if np.any(rf.use[played] == "s"):
        played = played[rf.use[played] == "s"]
    frequency = np.abs(rf.freq[played]) + np.abs(rf.freq_ppm[played])
    if not len(played) or frequency.max() == 0:
        raise ProtocolError(f"{seq.path}: no pulse is off resonance: pass the .seq of a CEST or WASABI scan")
    one = played[np.argmax(frequency)]
    alike = np.isclose(rf.amplitude[played], rf.amplitude[one]) & (rf.magnitude[played] == rf.magnitude[one])
    return played[alike & np.isclose(rf.duration[played], rf.duration[one])]
