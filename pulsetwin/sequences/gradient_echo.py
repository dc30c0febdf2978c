"""A gradient echo with Cartesian encoding: a slice or slab pulse, the lobes before and after, and a line."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pypulseq as pp

from pulsetwin.scanner import Scanner
from pulsetwin.sequences.cartesian import Line, encoding, least_duration, line, lobe
from pulsetwin.sequences.known_events import add_block
from pulsetwin.sequences.slice_pulse import SlicePulse, slice_pulse


@dataclass(frozen=True, slots=True)
class GradientEcho:
    """The parts of a repetition.

    Parameters
    ----------
    matrix, fov
        Of the image [m].
    pulse, line
        The excitation and the readout.
    prephase, rewind
        Duration of the lobes between them and after the readout [s].
    leaving
        Areas along x and z that the lobes after the readout have besides those that rewind the encoding [1/m].
    scanner
        Whose limits and rasters are kept.
    """

    matrix: tuple[int, int, int]
    fov: tuple[float, float, float]
    pulse: SlicePulse
    line: Line
    prephase: float
    rewind: float
    leaving: tuple[float, float]
    scanner: Scanner

    @property
    def te(self) -> float:
        """Time from the pulse's centre to the echo [s]."""
        return self.pulse.duration - self.pulse.centre + self.prephase + self.line.echo

    @property
    def duration(self) -> float:
        """Of all its blocks with one readout [s]."""
        return self.pulse.duration + self.prephase + self.line.duration + self.rewind

    def k(self, where: tuple[int, int]) -> tuple[float, float]:
        """Return k along y and z of a line and a partition [1/m]."""
        number, partition = where
        return encoding(number, self.matrix[1], self.fov[1]), encoding(partition, self.matrix[2], self.fov[2])


def spoiled_echo(protocol: Any, scanner: Scanner) -> GradientEcho:
    """Return a gradient echo that is spoiled along z, with all lobes as short as they can be.

    From pulse to pulse the gradients along z add up to the spoiling: what the pulse's gradient does before the pulse's
    centre is part of it, or else a fraction of a cycle would be left, and with it what was excited before.

    Parameters
    ----------
    protocol
        Settings `fov`, `matrix`, `flip_angle`, `rf_duration`, `time_bandwidth`, `bandwidth`, `oversampling` and
        `spoiling`.
    scanner
        Whose limits and rasters are kept.
    """
    p = protocol
    pulse = slice_pulse(p.flip_angle, p.fov[2], p.rf_duration, p.time_bandwidth, "excitation", scanner)
    read = line(p.matrix[0], p.fov[0], p.bandwidth, p.oversampling, scanner)
    y, z = (count / 2 / fov for count, fov in zip(p.matrix[1:], p.fov[1:], strict=True))
    spoiler = p.spoiling * p.matrix[2] / p.fov[2]
    prephase = least_duration(read.before, y, pulse.after + z, scanner=scanner)
    leaving = spoiler - (pulse.events[1].area - pulse.after)
    rewind = least_duration(y, abs(leaving) + z, scanner=scanner)
    return GradientEcho(p.matrix, p.fov, pulse, read, prephase, rewind, (0.0, leaving), scanner)


def add_excitation(seq: pp.Sequence, echo: GradientEcho, where: tuple[int, int], place: float, phase: float) -> None:
    """Add the pulse for a slice at `place` along z [m] with an RF phase [rad], and the lobes that lead to a line.

    Parameters
    ----------
    seq
        To which it is added.
    echo
        The parts.
    where
        Number of the line and the partition.
    place, phase
        As above; the phase is the readout's too.
    """
    y, z = echo.k(where)
    echo.line.adc.phase_offset = phase
    add_block(seq, *echo.pulse.tuned(place, phase))
    add_block(
        seq, lobe("x", -echo.line.before, echo.prephase, echo.scanner), lobe("y", y, echo.prephase, echo.scanner),
        lobe("z", z - echo.pulse.after, echo.prephase, echo.scanner),
    )  # fmt: skip


def add_readout(seq: pp.Sequence, echo: GradientEcho, names: list[Any] | None) -> None:
    """Add the readout with its labels; only its gradient, for a dummy, if `names` is None."""
    add_block(seq, echo.line.read, *([] if names is None else [echo.line.adc, *names]))


def add_rewinding(seq: pp.Sequence, echo: GradientEcho, where: tuple[int, int]) -> None:
    """Add the lobes after the readout of a line and a partition."""
    y, z = echo.k(where)
    along_x = [lobe("x", echo.leaving[0], echo.rewind, echo.scanner)] if echo.leaving[0] else []
    add_block(
        seq, *along_x, lobe("y", -y, echo.rewind, echo.scanner),
        lobe("z", echo.leaving[1] - z, echo.rewind, echo.scanner),
    )  # fmt: skip
