"""The readout trains of a 3D-QALAS: hard pulses and lines, spoiled along x, from events that are made once.

A scan has tens of thousands of readouts but only hundreds of different events. Each is registered with the sequence
beforehand, so that a block is a row of numbers.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import pypulseq as pp

from pulsetwin.scanner import Scanner
from pulsetwin.sequences.cartesian import encoding, least_duration, line, lobe
from pulsetwin.sequences.events import Array
from pulsetwin.sequences.hard_pulse import hard_pulse
from pulsetwin.sequences.known_events import registered
from pulsetwin.sequences.rf_phase import spoiled_phase, within_turn
from pulsetwin.sequences.timing import rest, up

CONTRASTS = 5
Block = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Train:
    """The events of all readouts of a TR.

    Parameters
    ----------
    pulses, acquisitions
        By number of the readout in the TR: their phases differ, and the flip angles of trains.
    lead, read, leave
        Gradients along x before, during and after the acquisition.
    along
        For y and z, by number of the line or partition: the lobe that leads there, and the one that leads back.
    named
        Labels of lines and of partitions, by number.
    span
        Of a pulse's block, as a delay.
    centre
        From the start of the train to the centre of its first pulse [s].
    te, spacing
        From a pulse to its echo, and from pulse to pulse [s].
    """

    pulses: tuple[Any, ...]
    acquisitions: tuple[Any, ...]
    lead: Any
    read: Any
    leave: Any
    along: tuple[tuple[tuple[Any, Any], ...], ...]
    named: tuple[tuple[Any, ...], ...]
    span: Any
    centre: float
    te: float
    spacing: float


def readout_train(seq: pp.Sequence, protocol: Any, scanner: Scanner) -> Train:
    """Return the train of a protocol, its events registered with a sequence.

    Lobes are as long as echo time and spacing let them, so that they are as gentle as can be.

    Raises
    ------
    ProtocolError
        If the echo time or the spacing is too short; the least that works is told.
    """
    p, raster = protocol, scanner.block_raster
    tips = [hard_pulse(angle, p.rf_duration, "excitation", scanner) for angle in flip_angles(p)]
    span, centre = up(pp.calc_duration(tips[0]), raster), tips[0].delay + tips[0].center
    read = line(p.matrix[0], p.fov[0], p.bandwidth, p.oversampling, scanner)
    farthest = [count / 2 / fov for count, fov in zip(p.matrix[1:], p.fov[1:], strict=True)]
    spoiling = p.spoiling * p.matrix[0] / p.fov[0] - (read.read.area - read.before)
    lead = least_duration(read.before, *farthest, scanner=scanner)
    least_te = span - centre + lead + read.echo
    lead += rest("te", p.te, least_te, raster)
    leave = least_duration(spoiling, *farthest, scanner=scanner)
    least_spacing = span + lead + read.duration + leave
    leave += rest("echo_spacing", p.echo_spacing, least_spacing, raster)
    phases = [within_turn(spoiled_phase(p.rf_spoiling, number)) for number in range(CONTRASTS * p.train)]
    encoded = tuple(zip("yz", p.matrix[1:], p.fov[1:], strict=True))
    return Train(
        pulses=tuple(_with_phase(seq, tips[number // p.train], phase) for number, phase in enumerate(phases)),
        acquisitions=tuple(_with_phase(seq, read.adc, phase) for phase in phases),
        lead=registered(seq, lobe("x", -read.before, lead, scanner)), read=registered(seq, read.read),
        leave=registered(seq, lobe("x", spoiling, leave, scanner)),
        along=tuple(_lobes(seq, axis, count, fov, (lead, leave), scanner) for axis, count, fov in encoded),
        named=tuple(
            tuple(label(seq, name, number) for number in range(count))
            for name, count in zip(("LIN", "PAR"), p.matrix[1:], strict=True)
        ),
        span=pp.make_delay(span), centre=centre, te=span - centre + lead + read.echo,
        spacing=span + lead + read.duration + leave,
    )  # fmt: skip


def flip_angles(protocol: Any) -> list[float]:
    """Return the flip angle of each train [rad]."""
    return list(protocol.flip_angle) * (CONTRASTS // len(protocol.flip_angle))


def add_train(seq: pp.Sequence, train: Train, contrast: int, order: Array, names: list[list[Any]] | None) -> None:
    """Add a train.

    Parameters
    ----------
    seq
        To which it is added.
    train
        Its events.
    contrast
        Number of the train in the TR, from 0.
    order
        Line and partition of each readout, int64 ``[readout, 2]``.
    names
        Labels of each readout besides line and partition; nothing is acquired if None.
    """
    (along_y, along_z), (lines, partitions) = train.along, train.named
    for echo, (row, partition) in enumerate(order.tolist()):
        number = contrast * len(order) + echo
        (to_y, from_y), (to_z, from_z) = along_y[row], along_z[partition]
        seq.add_block(train.pulses[number], train.span)
        seq.add_block(train.lead, to_y, to_z)
        if names is None:
            seq.add_block(train.read)
        else:
            acquisition = train.acquisitions[number]
            seq.add_block(train.read, acquisition, lines[row], partitions[partition], *names[echo])
        seq.add_block(train.leave, from_y, from_z)


def label(seq: pp.Sequence, name: str, value: int) -> Any:
    """Return a registered label that sets `name` to `value`."""
    return registered(seq, pp.make_label(name, "SET", value))


def _lobes(
    seq: pp.Sequence, axis: str, count: int, fov: float, durations: tuple[float, float], scanner: Scanner
) -> tuple[tuple[Any, Any], ...]:
    """Return the lobes of two durations [s] that lead to each line and back."""
    places = [encoding(number, count, fov) for number in range(count)]
    lead, leave = durations
    return tuple(
        (registered(seq, lobe(axis, k, lead, scanner)), registered(seq, lobe(axis, -k, leave, scanner))) for k in places
    )


def _with_phase(seq: pp.Sequence, event: Any, phase: float) -> Any:
    turned = copy.copy(event)
    turned.phase_offset = phase
    return registered(seq, turned)
