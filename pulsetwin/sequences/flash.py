"""Spoiled gradient echo (FLASH): slices or a volume, one echo or several, gradient and RF spoiling."""

from __future__ import annotations

import math
from dataclasses import dataclass
from types import SimpleNamespace

import pypulseq as pp

from pulsetwin.errors import ProtocolError
from pulsetwin.scanner import Scanner
from pulsetwin.sequences.cartesian import encoding, labels, least_duration, line, lobe
from pulsetwin.sequences.protocol import setting, validate
from pulsetwin.sequences.slice_pulse import position, slice_pulse
from pulsetwin.sequences.timing import down, pause, rest


@dataclass(frozen=True, slots=True)
class Protocol:
    """Settings of a FLASH; a matrix of one partition gives slices, of more a volume."""

    fov: tuple[float, float, float] = setting((0.22, 0.22, 0.005), "m", "field of view along x, y, z", low=1e-4, high=1)
    matrix: tuple[int, int, int] = setting((128, 128, 1), "", "samples, lines and partitions", low=1, high=4096)
    slices: int = setting(1, "", "slices, with one partition only", low=1, high=512)
    slice_gap: float = setting(0.0, "m", "between slices", low=0, high=0.1)
    flip_angle: float = setting(math.radians(15), "rad", "of the excitation", low=1e-3, high=math.pi)
    te: float | None = setting(None, "s", "first echo time; the least if none", low=0, high=1)
    tr: float | None = setting(None, "s", "repetition time of a slice; the least if none", low=0, high=60)
    echoes: int = setting(1, "", "echoes, all read in the same direction", low=1, high=64)
    bandwidth: float = setting(400.0, "Hz", "per pixel", low=1, high=1e5)
    oversampling: int = setting(2, "", "of the readout", low=1, high=8)
    rf_duration: float = setting(2e-3, "s", "of the excitation", low=1e-4, high=2e-2)
    time_bandwidth: float = setting(4.0, "", "of the excitation", low=1, high=32)
    spoiling: float = setting(2.0, "", "cycles of phase across a voxel along z that the spoiler makes", low=0, high=64)
    rf_spoiling: float = setting(math.radians(117), "rad", "increment of the RF phase's increment", low=0, high=7)
    dummies: int = setting(32, "", "repetitions before the first that is measured", low=0, high=100000)

    def __post_init__(self) -> None:
        validate(self)
        if self.matrix[2] > 1 and self.slices > 1:
            raise ProtocolError(f"slices = {self.slices} with {self.matrix[2]} partitions: give one of them as 1")
        if self.matrix[0] % 2 or self.matrix[1] % 2:
            raise ProtocolError(f"matrix = {self.matrix}: give even numbers along x and y")


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
    wait_te = rest("te", p.te, parts.least_te, raster)
    one = parts.least_tr + wait_te
    wait_tr = down(rest("tr", p.tr, p.slices * one, raster) / p.slices, raster)
    seq = pp.Sequence(scanner.opts)
    seq.add_block(*labels(0, 0, 0, 0))
    lines = [(number, partition) for partition in range(p.matrix[2]) for number in range(p.matrix[1])]
    for repetition, where in enumerate([None] * p.dummies + lines):
        phase = p.rf_spoiling * repetition * (repetition + 1) / 2 % (2 * math.pi)
        for slice_number in range(p.slices):
            _repetition(seq, p, parts, where, slice_number, phase, wait_te, scanner)
            pause(seq, wait_tr)
    spacing = parts.line.duration + pp.calc_duration(parts.flyback)
    deep = p.slices * p.fov[2] + (p.slices - 1) * p.slice_gap
    seq.set_definition("FOV", [p.fov[0], p.fov[1], deep])
    seq.set_definition("TE", [parts.least_te + wait_te + echo * spacing for echo in range(p.echoes)])
    seq.set_definition("TR", p.slices * (one + wait_tr))
    seq.set_definition("SliceThickness", p.fov[2])
    seq.set_definition("SlicePositions", [position(n, p.slices, p.fov[2], p.slice_gap) for n in range(p.slices)])
    return seq


def _parts(p: Protocol, scanner: Scanner) -> SimpleNamespace:
    """Return the parts of a repetition, and the least echo and repetition times [s]."""
    pulse = slice_pulse(p.flip_angle, p.fov[2], p.rf_duration, p.time_bandwidth, "excitation", scanner)
    read = line(p.matrix[0], p.fov[0], p.bandwidth, p.oversampling, scanner)
    farthest = [count / 2 / fov for count, fov in zip(p.matrix[1:], p.fov[1:], strict=True)]
    spoiler = p.spoiling * p.matrix[2] / p.fov[2]
    prephase = least_duration(read.before, farthest[0], pulse.after + farthest[1], scanner=scanner)
    rewind = least_duration(farthest[0], spoiler + farthest[1], scanner=scanner)
    flyback = pp.make_trapezoid("x", area=-read.read.area, system=scanner.opts)
    train = p.echoes * read.duration + (p.echoes - 1) * pp.calc_duration(flyback)
    return SimpleNamespace(
        pulse=pulse, line=read, spoiler=spoiler, prephase=prephase, rewind=rewind, flyback=flyback,
        least_te=pulse.duration - pulse.centre + prephase + read.echo,
        least_tr=pulse.duration + prephase + train + rewind,
    )  # fmt: skip


def _repetition(
    seq: pp.Sequence, p: Protocol, parts: SimpleNamespace, where: tuple[int, int] | None, slice_number: int,
    phase: float, wait_te: float, scanner: Scanner,
) -> None:  # fmt: skip
    """Add an excitation and its echoes; nothing is measured if `where`, line and partition, is None."""
    adc = parts.line.adc
    adc.phase_offset = phase
    number, partition = (p.matrix[1] // 2, p.matrix[2] // 2) if where is None else where
    along = [encoding(n, size, fov) for n, size, fov in zip((number, partition), p.matrix[1:], p.fov[1:], strict=True)]
    seq.add_block(*parts.pulse.tuned(position(slice_number, p.slices, p.fov[2], p.slice_gap), phase))
    seq.add_block(
        lobe("x", -parts.line.before, parts.prephase, scanner), lobe("y", along[0], parts.prephase, scanner),
        lobe("z", along[1] - parts.pulse.after, parts.prephase, scanner),
    )  # fmt: skip
    pause(seq, wait_te)
    for echo in range(p.echoes):
        if echo:
            seq.add_block(parts.flyback)
        seq.add_block(
            parts.line.read, *([] if where is None else [adc, *labels(number, partition, slice_number, echo)])
        )
    seq.add_block(
        lobe("y", -along[0], parts.rewind, scanner), lobe("z", parts.spoiler - along[1], parts.rewind, scanner)
    )
