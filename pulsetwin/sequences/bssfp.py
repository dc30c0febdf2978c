"""Balanced steady-state free precession (bSSFP): slices or a volume, begun by half a flip angle."""

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
from pulsetwin.sequences.timing import down, rest, up, whole

_ROUNDING = 1e-12  # [s]


@dataclass(frozen=True, slots=True)
class Protocol:
    """Settings of a bSSFP; a matrix of one partition gives slices, of more a volume. TE is half of TR."""

    fov: tuple[float, float, float] = setting((0.22, 0.22, 0.005), "m", "field of view along x, y, z", low=1e-4, high=1)
    matrix: tuple[int, int, int] = setting((128, 128, 1), "", "samples, lines and partitions", low=1, high=4096)
    slices: int = setting(1, "", "slices one after the other, with one partition only", low=1, high=512)
    slice_gap: float = setting(0.0, "m", "between slices", low=0, high=0.1)
    flip_angle: float = setting(math.radians(40), "rad", "of the excitations", low=1e-3, high=math.pi)
    tr: float | None = setting(None, "s", "between excitations; the least if none", low=0, high=1)
    phase_increment: float = setting(math.pi, "rad", "from pulse to pulse", low=0, high=2 * math.pi)
    bandwidth: float = setting(600.0, "Hz", "per pixel", low=1, high=1e5)
    oversampling: int = setting(2, "", "of the readout", low=1, high=8)
    rf_duration: float = setting(1e-3, "s", "of the excitations", low=1e-4, high=2e-2)
    time_bandwidth: float = setting(3.0, "", "of the excitations", low=1, high=32)
    spoiling: float = setting(8.0, "", "cycles of phase across the slice after the last line", low=0, high=64)
    dummies: int = setting(40, "", "repetitions of each slice before the first that is measured", low=0, high=100000)

    def __post_init__(self) -> None:
        validate(self)
        if self.matrix[2] > 1 and self.slices > 1:
            raise ProtocolError(f"slices = {self.slices} with {self.matrix[2]} partitions: give one of them as 1")
        if self.matrix[0] % 2 or self.matrix[1] % 2:
            raise ProtocolError(f"matrix = {self.matrix}: give even numbers along x and y")


def build(protocol: Protocol, scanner: Scanner) -> pp.Sequence:
    """Return the sequence: all gradients of a repetition add up to 0, and the echo is in its middle.

    Parameters
    ----------
    protocol
        The settings.
    scanner
        Whose limits and rasters are kept.

    Raises
    ------
    ProtocolError
        If the repetition time is too short; the least that works is told.
    """
    p = protocol
    parts = _parts(p, scanner)
    seq = pp.Sequence(scanner.opts)
    seq.add_block(*labels(0, 0, 0))
    lines = [(number, partition) for partition in range(p.matrix[2]) for number in range(p.matrix[1])]
    for slice_number in range(p.slices):
        place = position(slice_number, p.slices, p.fov[2], p.slice_gap)
        _begin(seq, p, parts, place, scanner)
        for repetition, where in enumerate([None] * p.dummies + lines):
            _repetition(seq, p, parts, where, slice_number, repetition, scanner)
        if p.spoiling:
            seq.add_block(pp.make_trapezoid("z", area=p.spoiling / p.fov[2], system=scanner.opts))
    seq.set_definition("FOV", [p.fov[0], p.fov[1], p.slices * p.fov[2] + (p.slices - 1) * p.slice_gap])
    seq.set_definition("TE", parts.te)
    seq.set_definition("TR", parts.tr)
    seq.set_definition("SliceThickness", p.fov[2])
    seq.set_definition("SlicePositions", [position(n, p.slices, p.fov[2], p.slice_gap) for n in range(p.slices)])
    return seq


def _parts(p: Protocol, scanner: Scanner) -> SimpleNamespace:
    """Return the parts of a repetition and its times [s]; the lobes take what the pulse and the readout leave."""
    raster = scanner.block_raster
    pulse = slice_pulse(p.flip_angle, p.fov[2], p.rf_duration, p.time_bandwidth, "excitation", scanner)
    read = line(p.matrix[0], p.fov[0], p.bandwidth, p.oversampling, scanner)
    ahead = pulse.events[1].area - pulse.after
    farthest = [count / 2 / fov for count, fov in zip(p.matrix[1:], p.fov[1:], strict=True)]
    farthest[1] *= p.matrix[2] > 1
    prephase = least_duration(read.before, farthest[0], abs(pulse.after) + farthest[1], scanner=scanner)
    rewind = least_duration(read.before, farthest[0], abs(ahead) + farthest[1], scanner=scanner)
    begin = least_duration(pulse.events[1].area, scanner=scanner)
    sides = (
        pulse.duration - pulse.centre + prephase + read.echo, read.duration - read.echo + rewind + pulse.centre,
        pulse.duration + begin,
    )  # fmt: skip
    least = 2 * up(max(sides), raster)
    tr = least + rest("tr", p.tr, least, 2 * raster)
    # the echo is as near to the middle as the raster lets it be
    prephase = _on_raster(down(tr / 2 - (pulse.duration - pulse.centre) - read.echo, raster), raster)
    return SimpleNamespace(
        pulse=pulse, line=read, ahead=ahead, tr=tr, prephase=prephase,
        te=pulse.duration - pulse.centre + prephase + read.echo,
        rewind=_on_raster(tr - pulse.duration - prephase - read.duration, raster),
        begin=_on_raster(tr / 2 - pulse.duration, raster),
    )  # fmt: skip


def _on_raster(time: float, raster: float) -> float:
    """Return a time next to the raster on it [s], rounded up: pypulseq takes no less than a lobe's least duration."""
    return whole(time, raster) + _ROUNDING


def _wrapped(phase: float) -> float:
    """Return a phase [rad] from 0 to below a turn; one that is a turn but for rounding is 0, as files round it up."""
    return 0.0 if abs(math.remainder(phase, 2 * math.pi)) < 1e-9 else phase % (2 * math.pi)


def _begin(seq: pp.Sequence, p: Protocol, parts: SimpleNamespace, place: float, scanner: Scanner) -> None:
    """Add half a flip angle, half a repetition before the first pulse (Deimling and Heid, ISMRM 1994, p. 495).

    It is opposed to the first pulse for alternating phases; another increment is like a precession between pulses, of
    which half passes by then.
    """
    phase = math.pi - (p.phase_increment - math.pi) / 2
    rf, select, fill = parts.pulse.tuned(place, phase)
    seq.add_block(SimpleNamespace(**{**vars(rf), "signal": rf.signal / 2}), select, fill)
    seq.add_block(lobe("z", -select.area, parts.begin, scanner))


def _repetition(
    seq: pp.Sequence, p: Protocol, parts: SimpleNamespace, where: tuple[int, int] | None, slice_number: int,
    repetition: int, scanner: Scanner,
) -> None:  # fmt: skip
    """Add a pulse and its echo; nothing is measured if `where`, line and partition, is None."""
    phase, adc = _wrapped(p.phase_increment * repetition), parts.line.adc
    adc.phase_offset = phase
    number, partition = (p.matrix[1] // 2, p.matrix[2] // 2) if where is None else where
    along = [encoding(n, size, fov) for n, size, fov in zip((number, partition), p.matrix[1:], p.fov[1:], strict=True)]
    seq.add_block(*parts.pulse.tuned(position(slice_number, p.slices, p.fov[2], p.slice_gap), phase))
    seq.add_block(
        lobe("x", -parts.line.before, parts.prephase, scanner), lobe("y", along[0], parts.prephase, scanner),
        lobe("z", along[1] - parts.pulse.after, parts.prephase, scanner),
    )  # fmt: skip
    seq.add_block(parts.line.read, *([] if where is None else [adc, *labels(number, partition, slice_number)]))
    seq.add_block(
        lobe("x", parts.line.before - parts.line.read.area, parts.rewind, scanner),
        lobe("y", -along[0], parts.rewind, scanner),
        lobe("z", -parts.ahead - along[1], parts.rewind, scanner),
    )  # fmt: skip
