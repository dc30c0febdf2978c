"""Pre-saturated turbo-FLASH: maps of B1 by two images of each slice, one of them after a preparation pulse."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pypulseq as pp

from pulsetwin.errors import ProtocolError
from pulsetwin.scanner import Scanner
from pulsetwin.sequences.cartesian import least_duration, lobe, set_labels
from pulsetwin.sequences.checks import check_even
from pulsetwin.sequences.describe_scan import describe
from pulsetwin.sequences.gradient_echo import GradientEcho, add_excitation, add_readout, add_rewinding, spoiled_echo
from pulsetwin.sequences.noise_scan import begin_scan
from pulsetwin.sequences.orderings import centric, interleaved
from pulsetwin.sequences.protocol import setting, validate
from pulsetwin.sequences.rf_phase import spoiled_phase
from pulsetwin.sequences.slice_pulse import SlicePulse, position, slice_pulse
from pulsetwin.sequences.timing import after_each, pause, rest


@dataclass(frozen=True, slots=True)
class Protocol:
    """Settings of a pre-saturated turbo-FLASH."""

    fov: tuple[float, float, float] = setting((0.22, 0.22, 0.005), "m", "field of view along x, y, z", low=1e-4, high=1)
    matrix: tuple[int, int, int] = setting((64, 64, 1), "", "samples, lines and 1: there are slices", low=1, high=512)
    slices: int = setting(1, "", "slices, every other one first", low=1, high=512)
    slice_gap: float = setting(0.005, "m", "between slices", low=0, high=0.1)
    preparation: float = setting(math.radians(80), "rad", "flip angle of the preparation", low=0.1, high=math.pi)
    preparation_duration: float = setting(4e-3, "s", "of the preparation", low=1e-4, high=2e-2)
    preparation_time_bandwidth: float = setting(8.0, "", "of the preparation", low=1, high=32)
    preparation_width: float = setting(2.5, "", "thickness that is prepared, of that of the slice", low=1, high=10)
    flip_angle: float = setting(math.radians(5), "rad", "of the excitations", low=1e-3, high=math.pi / 2)
    te: float | None = setting(None, "s", "echo time; the least if none", low=0, high=1)
    tr: float | None = setting(5.0, "s", "from image to image of a slice; the least if none", low=0, high=100)
    bandwidth: float = setting(500.0, "Hz", "per pixel", low=1, high=1e5)
    oversampling: int = setting(2, "", "of the readout", low=1, high=8)
    rf_duration: float = setting(1e-3, "s", "of the excitations", low=1e-4, high=2e-2)
    time_bandwidth: float = setting(4.0, "", "of the excitations", low=1, high=32)
    spoiling: float = setting(2.0, "", "cycles of phase across a voxel along z after each echo", low=0, high=64)
    crushing: float = setting(8.0, "", "cycles of phase across a voxel along z after the preparation", low=1, high=256)
    rf_spoiling: float = setting(math.radians(117), "rad", "increment of the RF phase's increment", low=0, high=7)
    dummies: int = setting(1, "", "reference images that are played before the first is measured", low=0, high=100)
    noise_samples: int = setting(0, "", "of a noise scan before all, at least", low=0, high=10**7)

    def __post_init__(self) -> None:
        validate(self)
        check_even(self.matrix)
        if self.matrix[2] > 1:
            raise ProtocolError(f"matrix = {self.matrix}: give 1 partition, and slices")


def build(protocol: Protocol, scanner: Scanner) -> pp.Sequence:
    """Return the sequence: SET 0 is the reference, SET 1 is prepared; lines go from the centre outwards.

    The ratio of the images, prepared to reference, is the cosine of the preparation's flip angle, but for the recovery
    in the time `PreparationDelay` from the preparation to the excitation of the centre (Chung et al., Magn Reson Med
    2010, 64, 439; doi:10.1002/mrm.22423). The dummies give both images the same past, so that TR may be short.

    Parameters
    ----------
    protocol
        The settings.
    scanner
        Whose limits and rasters are kept.

    Raises
    ------
    ProtocolError
        If a time or a pulse is too short; the least that works is told.
    """
    p, raster = protocol, scanner.block_raster
    echo, prepare, crusher = _parts(p, scanner)
    wait_te = rest("te", p.te, echo.te, raster)
    lead = prepare.duration + pp.calc_duration(crusher)
    shot = lead + p.matrix[1] * (echo.duration + wait_te)
    wait = after_each(p.tr, shot, p.slices, raster)
    lines = centric(np.ones((1, p.matrix[1]), bool))[:, 0].tolist()
    seq = pp.Sequence(scanner.opts)
    begin_scan(seq, "LIN SLC SET", echo.line.adc, p.noise_samples, scanner)
    for which in [None] * p.dummies + [0, 1]:
        for number in interleaved(p.slices).tolist():
            place = position(number, p.slices, p.fov[2], p.slice_gap)
            if which == 1:
                seq.add_block(*prepare.tuned(place, 0.0))
            else:
                pause(seq, prepare.duration)
            seq.add_block(crusher)
            for count, line in enumerate(lines):
                add_excitation(seq, echo, (line, 0), place, spoiled_phase(p.rf_spoiling, count))
                pause(seq, wait_te)
                add_readout(seq, echo, None if which is None else set_labels(LIN=line, SLC=number, SET=which))
                add_rewinding(seq, echo, (line, 0))
            pause(seq, wait)
    delay = lead - prepare.centre + echo.pulse.centre
    return describe(
        seq, p, echo.te + wait_te, p.slices * (shot + wait), PreparationDelay=delay, Bandwidth=echo.line.bandwidth
    )


def _parts(p: Protocol, scanner: Scanner) -> tuple[GradientEcho, SlicePulse, Any]:
    """Return the repetition, the preparation and its crusher.

    The crusher adds up to whole cycles across the slice too: a small share of the preparation's transverse
    magnetisation would be large beside the echoes.
    """
    echo = spoiled_echo(p, scanner)
    before = echo.pulse.events[1].area - echo.pulse.after
    wide = p.preparation_width * p.fov[2]
    prepare = slice_pulse(
        p.preparation, wide, p.preparation_duration, p.preparation_time_bandwidth, "preparation", scanner
    )
    area = p.crushing / p.fov[2] - before - prepare.after
    return echo, prepare, lobe("z", area, least_duration(area, scanner=scanner), scanner)
