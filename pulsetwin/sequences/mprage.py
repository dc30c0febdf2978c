"""Inversion-prepared 3D gradient echo (MPRAGE): an adiabatic inversion before each line's train of partitions."""

from __future__ import annotations

import math
from dataclasses import dataclass
from types import SimpleNamespace

import pypulseq as pp

from pulsetwin.errors import ProtocolError
from pulsetwin.scanner import Scanner
from pulsetwin.sequences.cartesian import encoding, labels, least_duration, line, lobe
from pulsetwin.sequences.protocol import setting, validate
from pulsetwin.sequences.slice_pulse import slice_pulse
from pulsetwin.sequences.timing import pause, rest, up


@dataclass(frozen=True, slots=True)
class Protocol:
    """Settings of an MPRAGE."""

    fov: tuple[float, float, float] = setting(
        (0.256, 0.24, 0.176), "m", "field of view along x, y, z", low=1e-4, high=1
    )
    matrix: tuple[int, int, int] = setting((256, 240, 176), "", "samples, lines and partitions", low=2, high=4096)
    flip_angle: float = setting(math.radians(9), "rad", "of the excitations", low=1e-3, high=math.pi / 2)
    ti: float | None = setting(
        None, "s", "from the inversion to the middle partition; the least if none", low=0, high=9
    )
    tr: float | None = setting(None, "s", "from inversion to inversion; the least if none", low=0, high=60)
    echo_spacing: float | None = setting(None, "s", "from excitation to excitation; the least if none", low=0, high=1)
    bandwidth: float = setting(240.0, "Hz", "per pixel", low=1, high=1e5)
    oversampling: int = setting(2, "", "of the readout", low=1, high=8)
    inversion_duration: float = setting(10.24e-3, "s", "of the adiabatic pulse", low=1e-3, high=5e-2)
    rf_duration: float = setting(1e-3, "s", "of the excitations", low=1e-4, high=1e-2)
    time_bandwidth: float = setting(8.0, "", "of the excitations", low=1, high=32)
    spoiling: float = setting(2.0, "", "cycles of phase across a voxel along z that the spoilers make", low=0, high=64)
    rf_spoiling: float = setting(math.radians(50), "rad", "increment of the RF phase's increment", low=0, high=7)
    dummies: int = setting(1, "", "inversions before the first train that is measured", low=0, high=100)

    def __post_init__(self) -> None:
        validate(self)
        if any(count % 2 for count in self.matrix):
            raise ProtocolError(f"matrix = {self.matrix}: give even numbers")


def build(protocol: Protocol, scanner: Scanner) -> pp.Sequence:
    """Return the sequence.

    Parameters
    ----------
    protocol
        The settings.
    scanner
        Whose limits and rasters are kept.

    Raises
    ------
    ProtocolError
        If a time is too short; the least that works is told.
    """
    p, raster = protocol, scanner.block_raster
    parts = _parts(p, scanner)
    wait = rest("echo_spacing", p.echo_spacing, parts.least_spacing, raster)
    spacing = parts.least_spacing + wait
    partitions = p.matrix[2]
    to_middle = parts.after_inversion + partitions // 2 * spacing + parts.pulse.centre
    wait_ti = rest("ti", p.ti, to_middle, raster)
    train = parts.before_inversion + parts.after_inversion + wait_ti + partitions * spacing
    wait_tr = rest("tr", p.tr, train, raster)
    seq = pp.Sequence(scanner.opts)
    seq.add_block(*labels(0, 0, 0, 0))
    number = 0
    for row in [None] * p.dummies + list(range(p.matrix[1])):
        seq.add_block(*parts.inversion)
        seq.add_block(parts.inversion_spoiler)
        pause(seq, wait_ti)
        for partition in range(partitions):
            _excitation(seq, p, parts, (row, partition), number, scanner)
            pause(seq, wait)
            number += 1
        pause(seq, wait_tr)
    seq.set_definition("FOV", list(p.fov))
    seq.set_definition("TE", parts.te)
    seq.set_definition("TI", to_middle + wait_ti)
    seq.set_definition("TR", train + wait_tr)
    seq.set_definition("EchoSpacing", spacing)
    seq.set_definition("SliceThickness", p.fov[2])
    return seq


def _parts(p: Protocol, scanner: Scanner) -> SimpleNamespace:
    """Return the parts of a train and its least times [s]."""
    opts, raster = scanner.opts, scanner.block_raster
    inversion = pp.make_adiabatic_pulse(
        "hypsec", duration=p.inversion_duration, dwell=10 * scanner.rf_raster, system=opts, use="inversion",
        delay=scanner.rf_dead_time,
    )  # fmt: skip
    whole = up(pp.calc_duration(inversion), raster)
    centre = inversion.delay + pp.calc_rf_center(inversion)[0]
    spoiler = pp.make_trapezoid("z", area=8 * p.matrix[2] / p.fov[2], system=opts)
    pulse = slice_pulse(p.flip_angle, p.fov[2], p.rf_duration, p.time_bandwidth, "excitation", scanner)
    read = line(p.matrix[0], p.fov[0], p.bandwidth, p.oversampling, scanner)
    farthest = [count / 2 / fov for count, fov in zip(p.matrix[1:], p.fov[1:], strict=True)]
    spoiling = p.spoiling * p.matrix[2] / p.fov[2]
    prephase = least_duration(read.before, farthest[0], pulse.after + farthest[1], scanner=scanner)
    rewind = least_duration(farthest[0], spoiling + farthest[1], scanner=scanner)
    return SimpleNamespace(
        inversion=(inversion, pp.make_delay(whole)), inversion_spoiler=spoiler, before_inversion=centre,
        after_inversion=whole - centre + pp.calc_duration(spoiler), pulse=pulse, line=read, spoiling=spoiling,
        prephase=prephase, rewind=rewind, te=pulse.duration - pulse.centre + prephase + read.echo,
        least_spacing=pulse.duration + prephase + read.duration + rewind,
    )  # fmt: skip


def _excitation(
    seq: pp.Sequence, p: Protocol, parts: SimpleNamespace, where: tuple[int | None, int], number: int, scanner: Scanner
) -> None:
    """Add an excitation and its readout; nothing is measured if the line is None."""
    row, partition = where
    phase = p.rf_spoiling * number * (number + 1) / 2 % (2 * math.pi)
    adc = parts.line.adc
    adc.phase_offset = phase
    along = [
        encoding(n, size, fov)
        for n, size, fov in zip(
            (p.matrix[1] // 2 if row is None else row, partition), p.matrix[1:], p.fov[1:], strict=True
        )
    ]
    seq.add_block(*parts.pulse.tuned(0.0, phase))
    seq.add_block(
        lobe("x", -parts.line.before, parts.prephase, scanner), lobe("y", along[0], parts.prephase, scanner),
        lobe("z", along[1] - parts.pulse.after, parts.prephase, scanner),
    )  # fmt: skip
    seq.add_block(parts.line.read, *([] if row is None else [adc, *labels(row, partition, 0, 0)]))
    seq.add_block(
        lobe("y", -along[0], parts.rewind, scanner), lobe("z", parts.spoiling - along[1], parts.rewind, scanner)
    )
