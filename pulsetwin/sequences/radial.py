"""Radial spoiled gradient echo: spokes through the middle of k-space, in slices or a volume, uniform or golden."""

from __future__ import annotations

import math
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import pypulseq as pp

from pulsetwin.scanner import Scanner
from pulsetwin.sequences.angles import ORDERS, in_plane, in_space
from pulsetwin.sequences.cartesian import labels, least_duration, lobe
from pulsetwin.sequences.checks import check_cube, check_slices, check_square
from pulsetwin.sequences.describe_scan import describe
from pulsetwin.sequences.events import Array
from pulsetwin.sequences.known_events import add_block
from pulsetwin.sequences.noise_scan import begin_scan
from pulsetwin.sequences.orderings import interleaved
from pulsetwin.sequences.protocol import setting, validate
from pulsetwin.sequences.rf_phase import spoiled_phase
from pulsetwin.sequences.slice_pulse import position, slice_pulse
from pulsetwin.sequences.spokes import full_spoke
from pulsetwin.sequences.timing import after_each, pause, rest


@dataclass(frozen=True, slots=True)
class Protocol:
    """Settings of a radial scan; a matrix of one partition gives slices, a cube gives spokes in all of space."""

    fov: tuple[float, float, float] = setting((0.22, 0.22, 0.005), "m", "field of view along x, y, z", low=1e-4, high=1)
    matrix: tuple[int, int, int] = setting((128, 128, 1), "", "voxels along x, y, z", low=1, high=4096)
    spokes: int = setting(201, "", "spokes of a slice or of the volume", low=1, high=65536)
    order: str = setting("golden", "", "of the spokes' directions", choices=ORDERS)
    slices: int = setting(1, "", "slices, with one partition only", low=1, high=512)
    slice_gap: float = setting(0.0, "m", "between slices", low=0, high=0.1)
    flip_angle: float = setting(math.radians(12), "rad", "of the excitation", low=1e-3, high=math.pi)
    te: float | None = setting(None, "s", "echo time, at the middle of k-space; the least if none", low=0, high=1)
    tr: float | None = setting(None, "s", "repetition time of a slice; the least if none", low=0, high=60)
    bandwidth: float = setting(400.0, "Hz", "per pixel", low=1, high=1e5)
    oversampling: int = setting(2, "", "of the readout", low=1, high=8)
    rf_duration: float = setting(2e-3, "s", "of the excitation", low=1e-4, high=2e-2)
    time_bandwidth: float = setting(4.0, "", "of the excitation", low=1, high=32)
    spoiling: float = setting(2.0, "", "cycles of phase across a voxel along z that the spoiler makes", low=0, high=64)
    rf_spoiling: float = setting(math.radians(117), "rad", "increment of the RF phase's increment", low=0, high=7)
    dummies: int = setting(32, "", "repetitions before the first that is measured", low=0, high=100000)
    noise_samples: int = setting(0, "", "of a noise scan before all, at least", low=0, high=10**7)

    def __post_init__(self) -> None:
        validate(self)
        check_slices(self.matrix, self.slices)
        (check_cube if self.matrix[2] > 1 else check_square)(self.fov, self.matrix)


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
        If a time is too short or a gradient too weak; what works is told.
    """
    p, raster = protocol, scanner.block_raster
    parts = _parts(p, scanner)
    wait_te = rest("te", p.te, parts.least_te, raster)
    one = parts.least_tr + wait_te
    wait_tr = after_each(p.tr, one, p.slices, raster)
    flat = p.matrix[2] == 1
    directions = in_plane(p.spokes, p.order, math.pi) if flat else in_space(p.spokes, p.order, half=True)
    seq = pp.Sequence(scanner.opts)
    begin_scan(seq, "LIN PAR SLC", parts.spoke.adc, p.noise_samples, scanner)
    for repetition, number in enumerate([None] * p.dummies + list(range(p.spokes))):
        phase = spoiled_phase(p.rf_spoiling, repetition)
        for slice_number in interleaved(p.slices).tolist():
            place = position(slice_number, p.slices, p.fov[2], p.slice_gap)
            add_block(seq, *parts.pulse.tuned(place, phase))
            parts.spoke.adc.phase_offset = phase
            measured = [] if number is None else [parts.spoke.adc, *labels(number, 0, slice_number)]
            _spoke(seq, parts, directions[number or 0], wait_te, measured, flat)
            pause(seq, wait_tr)
    return describe(seq, p, parts.least_te + wait_te, p.slices * (one + wait_tr))


def _parts(p: Protocol, scanner: Scanner) -> SimpleNamespace:
    """Return the parts of a repetition, and the least echo and repetition times [s]."""
    pulse = slice_pulse(p.flip_angle, p.fov[2], p.rf_duration, p.time_bandwidth, "excitation", scanner)
    spoke = full_spoke(p.matrix[0], p.fov[0], p.bandwidth, p.oversampling, scanner)
    spoiler = p.spoiling * p.matrix[2] / p.fov[2]
    before, after = (least_duration(area, scanner=scanner) for area in (pulse.after, spoiler))
    if p.matrix[2] == 1:  # lobes along z play beside those of the spoke
        before, after = max(before, spoke.lobe_duration), max(after, spoke.lobe_duration)
        leading, trailing = before, after
    else:
        leading, trailing = before + spoke.lobe_duration, after * (spoiler > 0) + spoke.lobe_duration
    return SimpleNamespace(
        pulse=pulse, spoke=spoke, rephaser=lobe("z", -pulse.after, before, scanner),
        spoiler=[lobe("z", spoiler, after, scanner)] if spoiler else [],
        least_te=pulse.duration - pulse.centre + leading + spoke.zero,
        least_tr=pulse.duration + leading + spoke.duration + (trailing if spoiler else spoke.lobe_duration),
    )  # fmt: skip


def _spoke(
    seq: pp.Sequence, parts: SimpleNamespace, direction: Array, wait_te: float, measured: list[Any], flat: bool
) -> None:
    """Add what follows the pulse; in a volume the lobes along z play by themselves, for spokes have theirs too."""
    read, back = parts.spoke.events(direction)
    if flat:
        add_block(seq, *back, parts.rephaser)
    else:
        add_block(seq, parts.rephaser)
        add_block(seq, *back)
    pause(seq, wait_te)
    add_block(seq, *read, *measured, pp.make_delay(parts.spoke.duration))
    add_block(seq, *back, *(parts.spoiler if flat else []))
    if parts.spoiler and not flat:
        add_block(seq, *parts.spoiler)
