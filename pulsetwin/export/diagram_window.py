"""Which part of a sequence a diagram shows: a repetition, a range of blocks, or a range of time."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pulsetwin.errors import ProtocolError
from pulsetwin.sequences.events import NONE, Array
from pulsetwin.sequences.readouts import PlayedReadouts
from pulsetwin.sequences.seqfile import ADC, EXT, GX, GZ, RF, SeqFile
from pulsetwin.sequences.waveforms import blocks_between

_PAUSE = 0.2
_PREPARES = ("i", "s", "p")


@dataclass(frozen=True, slots=True)
class Window:
    """Start and end of what is shown [s], and what it is, in words."""

    start: float
    stop: float
    name: str


def window_of_repetition(seq: SeqFile, played: PlayedReadouts, number: int = 1) -> Window:
    """Return one of the repetitions that acquire images, without the pause that follows it; the first is number 1.

    Raises
    ------
    ProtocolError
        If there are fewer; where nothing is acquired, number 1 is the whole sequence.
    """
    first = repetitions(seq, played)
    if not 1 <= number <= max(len(first), 1):
        raise ProtocolError(f"repetition {number}: the sequence has {len(first)} that acquire; give 1 to {len(first)}")
    if not len(first):
        return Window(0.0, seq.duration, "whole sequence")
    begin = int(first[number - 1])
    stop = int(first[number]) - 1 if number < len(first) else len(seq) - 1
    readouts = played.block[(played.block >= begin) & (played.block <= stop)]
    tr = (
        f", TR {say_times(float(seq.block_start[first[number]] - seq.block_start[begin]))}"
        if number < len(first)
        else ""
    )
    return Window(*_action(seq, begin, int(readouts[-1]), stop), f"repetition {number} of {len(first)}{tr}")


def window_of_blocks(seq: SeqFile, first: int, last: int) -> Window:
    """Return the range from one block to another, by their numbers in the file.

    Raises
    ------
    ProtocolError
        If a block does not exist, or the last comes before the first.
    """
    rows = []
    for number in (first, last):
        found = np.nonzero(seq.number == number)[0]
        if not len(found):
            least, most = seq.number.min(), seq.number.max()
            raise ProtocolError(f"blocks {first}..{last}: no block {number}; the file has {least} to {most}")
        rows.append(int(found[0]))
    if rows[1] < rows[0]:
        raise ProtocolError(
            f"blocks {first}..{last}: block {last} plays before block {first}; give the first one first"
        )
    return Window(*_span(seq, *rows), f"blocks {first} to {last}")


def window_of_time(seq: SeqFile, start: float, stop: float) -> Window:
    """Return the range from one time to another [s].

    Raises
    ------
    ProtocolError
        If nothing plays in it.
    """
    if not start < stop or not len(blocks_between(seq, start, stop)):
        raise ProtocolError(
            f"window {start:g} to {stop:g} s holds no block: give two times from 0 to {seq.duration:g} s, early first"
        )
    start, stop = max(start, 0.0), min(stop, seq.duration)
    return Window(start, stop, say_times(start, stop))


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
    return np.unique(shapes, axis=0, return_inverse=True)[1].reshape(-1)


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


def _action(seq: SeqFile, begin: int, last: int, stop: int) -> tuple[float, float]:
    """Return when a repetition starts and ends [s]: from after the pause before it until the pause after it.

    Parameters
    ----------
    begin, last, stop
        Blocks of the repetition: its first pulse, its last readout, and its end.
    """
    elapsed = seq.block_start[last] + seq.block_duration[last] - seq.block_start[begin]
    pause = np.all(seq.events[:, :EXT] == NONE, axis=1) & (seq.block_duration > _PAUSE * elapsed)
    after = np.nonzero(pause[last + 1 : stop + 1])[0]
    plays = np.nonzero(np.any(seq.events[:begin, (RF, ADC)] != NONE, axis=1))[0]
    earliest = int(plays[-1]) + 1 if len(plays) else 0
    before = np.nonzero(pause[earliest:begin])[0]
    if len(before):
        begin = earliest + int(before[-1]) + 1
    elif not len(plays):
        begin = 0
    return _span(seq, begin, last + int(after[0]) if len(after) else stop)


def _span(seq: SeqFile, first: int, last: int) -> tuple[float, float]:
    return float(seq.block_start[first]), float(seq.block_start[last] + seq.block_duration[last])


def say_times(*seconds: float) -> str:
    """Write times one to the other, in the unit that fits the last."""
    scale, unit = (1.0, "s") if seconds[-1] >= 2 else (1e3, "ms")
    return " to ".join(f"{scale * one:.6g}" for one in seconds) + f" {unit}"
