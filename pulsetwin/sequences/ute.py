"""Ultra-short echo time (UTE): spokes from the middle of k-space outwards in all of space, after a hard pulse."""

from __future__ import annotations

import math
from dataclasses import dataclass
from types import SimpleNamespace

import pypulseq as pp

from pulsetwin.scanner import Scanner
from pulsetwin.sequences.angles import ORDERS, in_space
from pulsetwin.sequences.cartesian import labels, least_duration, lobe
from pulsetwin.sequences.checks import check_cube
from pulsetwin.sequences.describe_scan import describe
from pulsetwin.sequences.hard_pulse import hard_pulse
from pulsetwin.sequences.known_events import add_block
from pulsetwin.sequences.noise_scan import begin_scan
from pulsetwin.sequences.protocol import setting, validate
from pulsetwin.sequences.rf_phase import spoiled_phase
from pulsetwin.sequences.spokes import half_spoke
from pulsetwin.sequences.timing import pause, rest, up


@dataclass(frozen=True, slots=True)
class Protocol:
    """Settings of a UTE scan of a volume; the echo time counts from the pulse's centre to the middle of k-space."""

    fov: tuple[float, float, float] = setting((0.24, 0.24, 0.24), "m", "field of view along x, y, z", low=1e-4, high=1)
    matrix: tuple[int, int, int] = setting((96, 96, 96), "", "voxels along x, y, z", low=2, high=4096)
    spokes: int = setting(14000, "", "half-spokes", low=1, high=65536)
    order: str = setting("golden", "", "of the spokes' directions", choices=ORDERS)
    flip_angle: float = setting(math.radians(5), "rad", "of the excitation", low=1e-3, high=math.pi)
    te: float | None = setting(None, "s", "echo time; the least if none", low=0, high=1)
    tr: float | None = setting(None, "s", "repetition time; the least if none", low=0, high=60)
    bandwidth: float = setting(1000.0, "Hz", "per pixel, on the flat top", low=1, high=1e5)
    oversampling: int = setting(2, "", "of the readout", low=1, high=8)
    rf_duration: float = setting(60e-6, "s", "of the excitation", low=4e-6, high=1e-2)
    spoiling: float = setting(2.0, "", "cycles of phase across a voxel along z that the spoiler makes", low=0, high=64)
    rf_spoiling: float = setting(math.radians(117), "rad", "increment of the RF phase's increment", low=0, high=7)
    dummies: int = setting(200, "", "repetitions before the first that is measured", low=0, high=100000)
    noise_samples: int = setting(0, "", "of a noise scan before all, at least", low=0, high=10**7)

    def __post_init__(self) -> None:
        validate(self)
        check_cube(self.fov, self.matrix)


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
        If a time is too short, or a gradient or the pulse too weak; what works is told.
    """
    p, raster = protocol, scanner.block_raster
    parts = _parts(p, scanner)
    wait_te = rest("te", p.te, parts.least_te, raster)
    wait_tr = rest("tr", p.tr, parts.least_tr + wait_te, raster)
    directions = in_space(p.spokes, p.order, half=False)
    seq = pp.Sequence(scanner.opts)
    begin_scan(seq, "LIN", parts.spoke.adc, p.noise_samples, scanner)
    for repetition, number in enumerate([None] * p.dummies + list(range(p.spokes))):
        parts.rf.phase_offset = parts.spoke.adc.phase_offset = spoiled_phase(p.rf_spoiling, repetition)
        read, back = parts.spoke.events(directions[number or 0])
        add_block(seq, parts.rf, pp.make_delay(parts.pulse_duration))
        pause(seq, wait_te)
        measured = [] if number is None else [parts.spoke.adc, *labels(number)]
        add_block(seq, *read, *measured, pp.make_delay(parts.spoke.duration))
        add_block(seq, *back)
        for spoiler in parts.spoiler:
            add_block(seq, spoiler)
        pause(seq, wait_tr)
    return describe(seq, p, parts.least_te + wait_te, parts.least_tr + wait_te + wait_tr)


def _parts(p: Protocol, scanner: Scanner) -> SimpleNamespace:
    """Return the parts of a repetition, and the least echo and repetition times [s]."""
    rf = hard_pulse(p.flip_angle, p.rf_duration, "excitation", scanner)
    spoke = half_spoke(p.matrix[0], p.fov[0], p.bandwidth, p.oversampling, scanner)
    area = p.spoiling * p.matrix[2] / p.fov[2]
    spoiling = least_duration(area, scanner=scanner) if area else 0.0
    pulse_duration = up(pp.calc_duration(rf), scanner.block_raster)
    return SimpleNamespace(
        rf=rf, pulse_duration=pulse_duration, spoke=spoke,
        spoiler=[lobe("z", area, spoiling, scanner)] if area else [],
        least_te=pulse_duration - float(rf.delay + pp.calc_rf_center(rf)[0]) + spoke.zero,
        least_tr=pulse_duration + spoke.duration + spoke.lobe_duration + spoiling,
    )  # fmt: skip
