"""Spoiled gradient echo (FLASH): slices or a volume, one echo or several, gradient and RF spoiling."""

from __future__ import annotations

import math
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import pypulseq as pp

from pulsetwin.errors import ProtocolError
from pulsetwin.scanner import Scanner
from pulsetwin.sequences.protocol import setting, validate
from pulsetwin.sequences.timing import down, rest, up, whole


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
    events = _events(p, scanner)
    wait_te = rest("te", p.te, events.least_te, raster)
    one = events.least_tr + wait_te
    wait_tr = down(rest("tr", p.tr, p.slices * one, raster) / p.slices, raster)
    seq = pp.Sequence(scanner.opts)
    counters = ("LIN", "PAR", "SLC", "ECO")
    seq.add_block(*(pp.make_label(name, "SET", 0) for name in counters))
    number = 0
    lines = [(line, part) for part in range(p.matrix[2]) for line in range(p.matrix[1])]
    for where in [None] * p.dummies + lines:
        for slice_number in range(p.slices):
            phase = p.rf_spoiling * number * (number + 1) / 2 % (2 * math.pi)
            _repetition(seq, p, events, where, slice_number, phase, wait_te)
            if wait_tr > 0:
                seq.add_block(pp.make_delay(wait_tr))
            number += 1
    spacing = pp.calc_duration(events.read) + (pp.calc_duration(events.flyback) if p.echoes > 1 else 0)
    seq.set_definition("FOV", [p.fov[0], p.fov[1], _depth(p)])
    seq.set_definition("TE", [events.least_te + wait_te + echo * spacing for echo in range(p.echoes)])
    seq.set_definition("TR", p.slices * (one + wait_tr))
    seq.set_definition("SliceThickness", p.fov[2])
    seq.set_definition("SlicePositions", [_position(p, number) for number in range(p.slices)])
    return seq


def _events(p: Protocol, scanner: Scanner) -> SimpleNamespace:
    """Return the events of a repetition, and the least echo and repetition times [s]."""
    opts, raster = scanner.opts, max(scanner.gradient_raster, scanner.block_raster)
    rf, select, rephase = pp.make_sinc_pulse(
        p.flip_angle, duration=p.rf_duration, slice_thickness=p.fov[2], apodization=0.5, use="excitation",
        time_bw_product=p.time_bandwidth, return_gz=True, system=opts, delay=scanner.rf_dead_time,
    )  # fmt: skip
    count = p.matrix[0] * p.oversampling
    dwell = whole(1 / (p.bandwidth * count), scanner.adc_raster)
    area = p.matrix[0] / p.fov[0]
    read = pp.make_trapezoid("x", amplitude=area / (count * dwell), flat_time=up(count * dwell, raster), system=opts)
    spare = max(scanner.adc_dead_time - read.rise_time, 0.0)
    flat = up(count * dwell + 2 * spare, raster)
    read = pp.make_trapezoid("x", amplitude=area / (count * dwell), flat_time=flat, system=opts)
    late = whole(read.rise_time + (flat - count * dwell) / 2, scanner.rf_raster)
    adc = pp.make_adc(count, dwell=dwell, delay=max(late, scanner.adc_dead_time), system=opts)
    # the echo is at sample n / 2, half a dwell time after the middle of the samples
    middle = adc.delay + count * dwell / 2 + dwell / 2
    back = pp.make_trapezoid("x", area=-read.amplitude * (middle - read.rise_time / 2), system=opts)
    steps = [
        pp.make_trapezoid(axis, area=n / 2 / fov, system=opts)
        for axis, n, fov in zip("yz", p.matrix[1:], p.fov[1:], strict=True)
    ]
    thickness = p.fov[2] / p.matrix[2]
    spoiler = pp.make_trapezoid("z", area=max(p.spoiling, 1e-3) / thickness, system=opts)
    widest = pp.make_trapezoid("z", area=abs(rephase.area) + steps[1].area, system=opts)
    prephase = max(pp.calc_duration(one) for one in (back, steps[0], widest))
    rewind = max(
        pp.calc_duration(one)
        for one in (steps[0], pp.make_trapezoid("z", area=spoiler.area + steps[1].area, system=opts))
    )
    flyback = pp.make_trapezoid("x", area=-read.area, system=opts)
    centre = rf.delay + pp.calc_rf_center(rf)[0]
    excitation = up(max(pp.calc_duration(rf), pp.calc_duration(select)), scanner.block_raster)
    train = p.echoes * pp.calc_duration(read) + (p.echoes - 1) * pp.calc_duration(flyback)
    return SimpleNamespace(
        rf=rf, select=select, excited=pp.make_delay(excitation), rephase=rephase, read=read, adc=adc, back=back,
        spoiler=spoiler, flyback=flyback, prephase=prephase, rewind=rewind,
        least_te=excitation - centre + prephase + middle, least_tr=excitation + prephase + train + rewind, opts=opts,
    )  # fmt: skip


def _repetition(
    seq: pp.Sequence, p: Protocol, events: SimpleNamespace, where: tuple[int, int] | None, slice_number: int,
    phase: float, wait_te: float,
) -> None:  # fmt: skip
    """Add an excitation and its echoes; nothing is measured if `where`, line and partition, is None."""
    offset = events.select.amplitude * _position(p, slice_number)
    events.rf.freq_offset = offset
    events.rf.phase_offset = (phase - 2 * math.pi * offset * pp.calc_rf_center(events.rf)[0]) % (2 * math.pi)
    events.adc.phase_offset = phase
    line, partition = (p.matrix[1] // 2, p.matrix[2] // 2) if where is None else where
    steps = [(n - size // 2) / fov for n, size, fov in zip((line, partition), p.matrix[1:], p.fov[1:], strict=True)]
    seq.add_block(events.rf, events.select, events.excited)
    seq.add_block(
        _long("x", events.back.area, events.prephase, events), _long("y", steps[0], events.prephase, events),
        _long("z", events.rephase.area + steps[1], events.prephase, events),
    )  # fmt: skip
    if wait_te > 0:
        seq.add_block(pp.make_delay(wait_te))
    for echo in range(p.echoes):
        if echo:
            seq.add_block(events.flyback)
        labels = zip(("LIN", "PAR", "SLC", "ECO"), (line, partition, slice_number, echo), strict=True)
        heard = [] if where is None else [events.adc, *(pp.make_label(name, "SET", value) for name, value in labels)]
        seq.add_block(events.read, *heard)
    seq.add_block(
        _long("y", -steps[0], events.rewind, events),
        _long("z", events.spoiler.area - steps[1], events.rewind, events),
    )


def _long(axis: str, area: float, duration: float, events: SimpleNamespace) -> Any:
    return pp.make_trapezoid(axis, area=area, duration=duration, system=events.opts)


def _depth(p: Protocol) -> float:
    return p.fov[2] if p.slices == 1 else p.slices * p.fov[2] + (p.slices - 1) * p.slice_gap


def _position(p: Protocol, number: int) -> float:
    """Return the place of a slice's centre along z [m]."""
    return (number - (p.slices - 1) / 2) * (p.fov[2] + p.slice_gap)
