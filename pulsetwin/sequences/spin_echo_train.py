"""Trains of spin echoes of a slice, each with a line of its own; excited along x, refocused along y (CPMG)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import pypulseq as pp

from pulsetwin.scanner import Scanner
from pulsetwin.sequences.cartesian import Line, encoding, least_duration, line, lobe
from pulsetwin.sequences.slice_pulse import SlicePulse, scaled, slice_pulse
from pulsetwin.sequences.timing import down, pause, rest, up, whole


@dataclass(frozen=True, slots=True)
class SpinEchoTrain:
    """The parts of a train.

    From the middle of a refocusing pulse to that of the next: its second half, crusher and line's encoding, readout,
    rewinder and crusher, and the first half of the next; delays on both sides of the readout fill up the spacing.

    Parameters
    ----------
    excitation, refocusing, line
        The pulses and the readout.
    crusher
        Area of the crushers [1/m].
    crush, prephase
        Duration of the crushers, and of the lobes between the pulses [s].
    spacing
        From echo to echo [s].
    waits
        Delays before the first refocusing pulse, and before and after a readout [s].
    lines, fov
        Number of lines, and the field of view along them [m].
    scanner
        Whose limits and rasters are kept.
    """

    excitation: SlicePulse
    refocusing: SlicePulse
    line: Line
    crusher: float
    crush: float
    prephase: float
    spacing: float
    waits: tuple[float, float, float]
    lines: int
    fov: float
    scanner: Scanner

    def duration(self, echoes: int) -> float:
        """Return how long the blocks of a number of echoes last [s]."""
        return self.excitation.duration + self.prephase + self.waits[0] + echoes * self.spacing


def spin_echo_train(protocol: Any, scanner: Scanner) -> SpinEchoTrain:
    """Return a train.

    Parameters
    ----------
    protocol
        Settings `fov`, `matrix`, `excitation_duration`, `refocusing_duration`, `time_bandwidth`, `bandwidth`,
        `oversampling`, `crushing` and `echo_spacing`.
    scanner
        Whose limits and rasters are kept.

    Raises
    ------
    ProtocolError
        If the echo spacing is too short; the least that works is told.
    """
    p, raster = protocol, scanner.block_raster
    # an even number of raster intervals, so that pulses have their centres on the raster, from echo to echo alike
    excitation, refocusing = (
        slice_pulse(angle, p.fov[2], whole(duration, 2 * raster), p.time_bandwidth, use, scanner)
        for angle, duration, use in (
            (math.pi / 2, p.excitation_duration, "excitation"), (math.pi, p.refocusing_duration, "refocusing"),
        )
    )  # fmt: skip
    read = line(p.matrix[0], p.fov[0], p.bandwidth, p.oversampling, scanner)
    crusher, farthest = p.crushing / p.fov[2], p.matrix[1] / 2 / p.fov[1]
    crush = least_duration(crusher, farthest, scanner=scanner)
    prephase = least_duration(read.before, crusher - excitation.after, scanner=scanner)
    before = refocusing.duration - refocusing.centre + crush + read.echo
    after = refocusing.centre + crush + read.duration - read.echo
    first = excitation.duration - excitation.centre + prephase + refocusing.centre
    least = up(2 * max(before, after, first), 2 * raster)
    spacing = least + rest("echo_spacing", p.echo_spacing, least, 2 * raster)
    early = down(spacing / 2 - before, raster)
    late = spacing - refocusing.duration - 2 * crush - read.duration - early
    return SpinEchoTrain(
        excitation, refocusing, read, crusher, crush, prephase, spacing, (spacing / 2 - first, early, late),
        p.matrix[1], p.fov[1], scanner,
    )  # fmt: skip


def add_train(
    seq: pp.Sequence, train: SpinEchoTrain, lines: list[int], names: list[list[Any]] | None, place: float,
    angles: tuple[float, ...],
) -> None:  # fmt: skip
    """Add an excitation and its echoes.

    Parameters
    ----------
    seq
        To which they are added.
    train
        The parts.
    lines
        Number of the line of each echo.
    names
        Labels of each echo; nothing is measured if None.
    place
        Of the slice along z [m].
    angles
        Of the refocusing pulses [rad]; the last counts for those that follow.
    """
    scanner, (first, early, late) = train.scanner, train.waits
    seq.add_block(*train.excitation.tuned(place, 0.0))
    seq.add_block(
        lobe("x", train.line.before, train.prephase, scanner),
        lobe("z", train.crusher - train.excitation.after, train.prephase, scanner),
    )
    pause(seq, first)
    for echo, number in enumerate(lines):
        angle = angles[min(echo, len(angles) - 1)]
        rf, select, fill = train.refocusing.tuned(place, math.pi / 2)
        k = encoding(number, train.lines, train.fov)
        # crushers of one echo are those of the next: each side of a pulse has the same
        seq.add_block(scaled(rf, angle / math.pi), select, fill)
        seq.add_block(lobe("y", k, train.crush, scanner), lobe("z", train.crusher, train.crush, scanner))
        pause(seq, early)
        seq.add_block(train.line.read, *([] if names is None else [train.line.adc, *names[echo]]))
        pause(seq, late)
        seq.add_block(lobe("y", -k, train.crush, scanner), lobe("z", train.crusher, train.crush, scanner))
