"""RASER: projections of a sample that emits by itself; no pulse, a weak radial gradient and a long acquisition."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
import pypulseq as pp

from pulsetwin.errors import ProtocolError
from pulsetwin.scanner import Scanner
from pulsetwin.sequences.angles import ORDERS, in_plane, turns
from pulsetwin.sequences.cartesian import least_duration, lobe, set_labels
from pulsetwin.sequences.checks import check_square
from pulsetwin.sequences.events import AXES, Array
from pulsetwin.sequences.hard_pulse import hard_pulse
from pulsetwin.sequences.protocol import setting, validate
from pulsetwin.sequences.spokes import full_spoke
from pulsetwin.sequences.timing import pause, rest, up, whole

_LABELS = ("LIN", "SEG", "SET")
_NOTHING = 1e-9  # of the gradient: a component that is rounding of 0


@dataclass(frozen=True, slots=True)
class Protocol:
    """Settings of a RASER scan; the defaults are those of Becker et al. 2025 on a spectrometer of 60 MHz."""

    fov: tuple[float, float, float] = setting(
        (7.4e-3, 7.4e-3, 1e-2), "m", "field of view along x, y, z", low=1e-4, high=1
    )
    matrix: tuple[int, int, int] = setting((44, 44, 1), "", "voxels along x, y, z", low=1, high=4096)
    angles: int = setting(30, "", "projections, within half a turn", low=1, high=4096)
    order: str = setting("uniform", "", "of the angles", choices=ORDERS)
    gradient: float = setting(26e-6, "T/m", "of the projections", low=1e-7, high=1)
    samples: int = setting(32768, "", "of a projection, in several acquisitions if need be", low=16, high=10**7)
    dwell: float = setting(500e-6, "s", "from sample to sample", low=1e-7, high=0.1)
    pumping: float = setting(
        20.0, "s", "wait before each projection, in which the sample is polarised", low=0, high=1e5
    )
    trigger: str = setting(
        "none", "", "after pumping, wait for this input: the sample is there", choices=("none", "physio1", "physio2")
    )
    reference: bool = setting(False, "", "add a spin echo of each angle, SET 1, after all projections")
    reference_te: float | None = setting(None, "s", "echo time of the reference; the least if none", low=0, high=10)
    reference_bandwidth: float = setting(20.0, "Hz", "per pixel of the reference", low=0.1, high=1e5)
    rf_duration: float = setting(600e-6, "s", "of the reference's pulses", low=4e-6, high=1e-2)
    crushing: float = setting(8.0, "", "cycles along z on either side of the refocusing pulse", low=1, high=1000)

    def __post_init__(self) -> None:
        validate(self)
        check_square(self.fov, self.matrix)


STATED = ("RaserAngles", "RaserGradient", "RaserDwell", "RaserSegmentSamples", "RaserGap")
"""Definitions of a RASER `.seq` that others have not."""


def is_raser(definitions: Mapping[str, Any]) -> bool:
    """Return whether a sequence, whose definitions these are, is made for RASER: it states the angles."""
    return "RaserAngles" in definitions


def build(protocol: Protocol, scanner: Scanner) -> pp.Sequence:
    """Return the sequence: a line (LIN) for each angle, its acquisitions numbered by SEG.

    Between the acquisitions of an angle the gradient stays on, and `RaserGap` samples are missing for the receiver's
    dead time: sample j of segment i is sample ``j + i (samples of a segment + gap)`` of one even grid.

    Parameters
    ----------
    protocol
        The settings.
    scanner
        Whose limits and rasters are kept.

    Raises
    ------
    ProtocolError
        If a time is too short or a gradient or pulse too weak; what works is told.
    """
    p, raster = protocol, scanner.block_raster
    parts = _projection(p, scanner)
    directions, pumping = in_plane(p.angles, p.order, math.pi), up(p.pumping, raster)
    trigger = [] if p.trigger == "none" else [pp.make_trigger(p.trigger, duration=raster, system=scanner.opts)]
    seq = pp.Sequence(scanner.opts)
    seq.add_block(*set_labels(**dict.fromkeys(_LABELS, 0)))
    for number, direction in enumerate(directions):
        pause(seq, pumping)
        if trigger:
            seq.add_block(*trigger)
        _add_projection(seq, p, parts, number, direction, scanner)
    if p.reference:
        te = _add_references(seq, p, directions, pumping, scanner)
        seq.set_definition("TE", te)
    said = {
        "FOV": list(p.fov), "Matrix": [float(count) for count in p.matrix],
        "TR": pumping + raster * len(trigger) + parts.duration, "RaserAngles": list(turns(p.angles, p.order, math.pi)),
        "RaserGradient": p.gradient, "RaserDwell": parts.dwell, "RaserSegments": parts.segments,
        "RaserSegmentSamples": parts.count, "RaserGap": parts.gap,
    }  # fmt: skip
    for name, value in said.items():
        seq.set_definition(name, [float(one) for one in value] if isinstance(value, list) else float(value))
    return seq


def _projection(p: Protocol, scanner: Scanner) -> SimpleNamespace:
    """Return how a projection's acquisitions lie in time [s], and its duration.

    Blocks last a whole number of samples, so that all samples of an angle are on one grid.
    """
    raster, dead = scanner.block_raster, up(scanner.adc_dead_time, scanner.gradient_raster)
    dwell = up(p.dwell, scanner.adc_raster)
    if not math.isclose(dwell, p.dwell, rel_tol=1e-6):
        raise ProtocolError(
            f"dwell = {1e6 * p.dwell:g} us is off the raster: {1e6 * dwell:g} us is the next that works"
        )
    amplitude = p.gradient * scanner.gamma
    if amplitude > scanner.opts.max_grad:
        raise ProtocolError(f"gradient = {p.gradient:g} T/m is too much: {scanner.max_gradient:g} T/m is the most")
    rise = up(amplitude / scanner.opts.max_slew, scanner.gradient_raster)
    limit, divisor = scanner.adc_samples_limit, scanner.adc_samples_divisor
    segments = math.ceil(p.samples / (limit // divisor * divisor)) if limit else 1
    count = math.ceil(p.samples / segments / divisor) * divisor
    gap = 0 if segments == 1 else _gap(count, dwell, 2 * dead, raster)
    lead = max(up(rise, raster) - dead, 0.0)
    adc = pp.make_adc(count, dwell=dwell, delay=dead, system=scanner.opts)
    step, last = (count + gap) * dwell, up(dead + count * dwell + dead, raster)
    return SimpleNamespace(
        adc=adc, amplitude=amplitude, rise=rise, lead=lead, step=step, last=last, segments=segments, count=count,
        gap=gap, dwell=dwell, dead=dead, duration=lead + (segments - 1) * step + last + up(rise, raster),
    )  # fmt: skip


def _gap(count: int, dwell: float, least: float, raster: float) -> int:
    """Return the fewest samples that last at least a time [s] and with which `count` more end on the raster [s]."""
    first = math.ceil(least / dwell - 1e-9)
    for gap in range(first, first + round(raster / dwell) + 1000):
        steps = (count + gap) * dwell / raster
        if abs(steps - round(steps)) < 1e-6:
            return gap
    raise ProtocolError(f"dwell = {1e6 * dwell:g} us: give a multiple of {1e6 * raster:g} us")


def _add_projection(
    seq: pp.Sequence, p: Protocol, parts: SimpleNamespace, number: int, direction: Array, scanner: Scanner
) -> None:
    """Add the acquisitions of an angle, under one gradient that rises before the first and falls after the last."""
    for segment in range(parts.segments):
        first, last = segment == 0, segment == parts.segments - 1
        start = parts.lead if first else 0.0
        end = start + (parts.last if last else parts.step)
        corners = [(0.0, 0.0), (parts.rise, 1.0)] if first else [(0.0, 1.0)]
        corners += [(end, 1.0), (end + parts.rise, 0.0)] if last else [(end, 1.0)]
        parts.adc.delay = start + parts.dead
        seq.add_block(
            *_gradients(corners, parts.amplitude * direction, scanner), parts.adc,
            *set_labels(LIN=number, SEG=segment, SET=0),
        )  # fmt: skip


def _gradients(corners: list[tuple[float, float]], amplitude: Array, scanner: Scanner) -> list[Any]:
    """Return the gradients of an `amplitude` [Hz/m] ``[3]`` times a shape, given as corners: time [s] and value."""
    times, shape = np.array(corners).T
    played = [
        (axis, float(part))
        for axis, part in zip(AXES, amplitude, strict=True)
        if abs(part) > _NOTHING * np.abs(amplitude).max()
    ]
    if len(corners) == 4:  # a whole trapezoid, which every interpreter plays
        rise, flat, fall = np.diff(times)
        return [
            pp.make_trapezoid(axis, amplitude=part, rise_time=rise, flat_time=flat, fall_time=fall, system=scanner.opts)
            for axis, part in played
        ]
    return [
        pp.make_extended_trapezoid(axis, times=times, amplitudes=part * shape, system=scanner.opts)
        for axis, part in played
    ]


def _add_references(seq: pp.Sequence, p: Protocol, directions: Array, pumping: float, scanner: Scanner) -> float:
    """Add a spin echo of hard pulses for each angle; return its echo time [s]."""
    raster = scanner.block_raster
    excite, refocus = (
        hard_pulse(angle, p.rf_duration, use, scanner)
        for angle, use in ((math.pi / 2, "excitation"), (math.pi, "refocusing"))
    )
    refocus.phase_offset = math.pi / 2
    pulse = up(pp.calc_duration(excite), raster)  # both last as long
    spoke = full_spoke(p.matrix[0], p.fov[0], p.reference_bandwidth, 2, scanner)
    area = p.crushing / p.fov[2]
    crush = 2 * least_duration(area, scanner=scanner)  # gently: nothing is gained by haste
    crusher = lobe("z", area, crush, scanner)
    centre = refocus.delay + pp.calc_rf_center(refocus)[0]
    sides = (
        pulse + spoke.lobe_duration + crush,
        pulse - centre + crush + spoke.zero,
    )  # between the pulses' centres, and until the echo
    half = max(sides) + rest("reference_te", p.reference_te, 2 * max(sides), 2 * raster) / 2
    before, after = (whole(half - side, raster) for side in sides)
    for number, direction in enumerate(directions):
        pause(seq, pumping)
        seq.add_block(excite, pp.make_delay(pulse))
        seq.add_block(*spoke.events(-direction)[1])
        seq.add_block(crusher)
        pause(seq, before)
        seq.add_block(refocus, pp.make_delay(pulse))
        seq.add_block(crusher)
        pause(seq, after)
        read, _ = spoke.events(direction)
        seq.add_block(*read, spoke.adc, pp.make_delay(spoke.duration), *set_labels(LIN=number, SEG=0, SET=1))
    return sum(sides) + before + after
