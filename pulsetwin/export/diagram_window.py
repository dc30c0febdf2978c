"""Which part of a sequence a diagram shows: a repetition, a range of blocks, or a range of time."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pulsetwin.errors import ProtocolError
from pulsetwin.export.repetitions import repetitions
from pulsetwin.sequences.events import NONE
from pulsetwin.sequences.readouts import PlayedReadouts
from pulsetwin.sequences.seqfile import ADC, EXT, RF, SeqFile
from pulsetwin.sequences.waveforms import blocks_between

_PAUSE = 0.2


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
