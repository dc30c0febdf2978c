"""Where the repetitions of a sequence begin: its preparations, or its excitations."""

from __future__ import annotations

import numpy as np

from pulsetwin.sequences.distinct import distinct_rows
from pulsetwin.sequences.events import NONE, Array
from pulsetwin.sequences.readouts import PlayedReadouts
from pulsetwin.sequences.seqfile import EXT, GX, GZ, RF, SeqFile

_PREPARES = ("i", "s", "p")


def repetitions(seq: SeqFile, played: PlayedReadouts) -> Array:
    """Return the block at which each repetition that acquires images begins, int64 ``[repetition]``.

    Where blocks set the label TRID, they begin repetitions. Else a repetition begins with the preparation of an
    excitation if there is one, or with the excitation. Preparations are the pulses of no kind (shape and length) that
    is ever followed by a readout before the next excitation. Where more than one excitation is prepared, a repetition
    lasts from preparation to preparation, and where their kinds come in a cycle, as in 3D-QALAS, for the whole cycle;
    so it does where the intervals between the excitations of a slice come in a cycle, as in AFI. Dummy scans begin no
    repetition. Sequences without pulses repeat after each readout that no other follows at once, those without
    gradients during the readouts, such as simulated CEST, with the first pulse after a readout.
    """
    readouts = played.block[played.flags["imaging"]]
    if not len(readouts):
        return np.zeros(0, np.int64)
    marked = _marked(seq)
    if len(marked):
        return marked[np.unique(np.searchsorted(marked, readouts, side="right") - 1).clip(0)]
    pulses = np.nonzero(seq.events[:, RF] != NONE)[0]
    next_readout = np.searchsorted(readouts, pulses)
    pulses, next_readout = pulses[next_readout < len(readouts)], next_readout[next_readout < len(readouts)]
    if not len(pulses):
        return np.append(0, readouts[:-1][np.diff(readouts) > 1] + 1)
    use = seq.rf.use[seq.events[pulses, RF]]
    encodes = np.any(seq.events[readouts, GX : GZ + 1] != NONE)
    if not encodes or not np.any(np.isin(use, ("e", "u"))):
        return pulses[_since_last_readout(next_readout)]
    kinds = _kinds(seq, pulses)
    begin, prepared = _beginnings(use, kinds, next_readout)
    if prepared.sum() > 1:
        begin = begin[prepared]
        return pulses[begin[:: _cycle(kinds[begin])]]
    begin = pulses[begin]
    one_slice = len(np.unique(seq.rf.freq[seq.events[begin, RF]])) == 1
    return begin[:: _cycle(np.rint(1e6 * np.diff(seq.block_start[begin])))] if one_slice else begin


def _marked(seq: SeqFile) -> Array:
    """Return the blocks that set the label TRID."""
    sets = np.array(
        [any(is_set and name == "TRID" for is_set, name, _ in row) for row in seq.extensions.labels] + [False]
    )
    return np.nonzero(sets[seq.events[:, EXT]])[0]


def _since_last_readout(next_readout: Array) -> Array:
    """Return the first pulse after each readout; before the first readout, as many pulses as before the second."""
    _, begin, count = np.unique(next_readout, return_index=True, return_counts=True)
    begin[0] += max(0, count[0] - count[1]) if len(count) > 1 else 0
    return begin


def _kinds(seq: SeqFile, pulses: Array) -> Array:
    """Return a number for the shapes of each pulse: its flip angle, phase and frequency do not count."""
    row = seq.events[pulses, RF]
    shapes = np.column_stack((seq.rf.magnitude, seq.rf.phase_shape, seq.rf.time_shape))[row]
    return distinct_rows(shapes)[1]


def _beginnings(use: Array, kinds: Array, next_readout: Array) -> tuple[Array, Array]:
    """Return the pulse that begins the repetition of each excitation with a readout, and whether it prepares.

    Parameters
    ----------
    use, kinds
        Use and kind of each pulse, ``[pulse]``.
    next_readout
        The readout that follows each pulse, ``[pulse]``.
    """
    order = np.arange(len(use))
    excites = np.isin(use, ("e", "u"))
    readout = next_readout[excites]
    excitation = order[excites][np.append(readout[1:] != readout[:-1], True)]
    serving = np.zeros(next_readout.max() + 1, np.int64)
    serving[next_readout[excitation]] = excitation
    serves = order >= serving[next_readout]
    prepares = ~np.isin(kinds, kinds[serves & ~np.isin(use, _PREPARES)]) | np.isin(use, _PREPARES)
    before = np.append(-1, np.maximum.accumulate(np.where(prepares, -1, order)))[excitation]
    earliest = np.searchsorted(next_readout, next_readout[excitation])
    begin = np.maximum(before + 1, earliest)
    return begin, begin < excitation


def _cycle(kinds: Array) -> int:
    """Return after how many entries a sequence repeats itself, at least twice; 1 if it does not."""
    for period in range(1, min(len(kinds) // 2, 16) + 1):
        if np.array_equal(kinds[period:], kinds[:-period]):
            return period
    return 1
