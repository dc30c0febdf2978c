"""Spiral spoiled gradient echo: interleaved arms out of the middle of k-space, in slices or a stack of spirals."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
import pypulseq as pp

from pulsetwin.errors import ProtocolError
from pulsetwin.scanner import Scanner
from pulsetwin.sequences.angles import ORDERS, turns
from pulsetwin.sequences.cartesian import encoding, labels, least_duration, lobe
from pulsetwin.sequences.checks import check_slices, check_square
from pulsetwin.sequences.describe_scan import describe
from pulsetwin.sequences.known_events import add_block
from pulsetwin.sequences.noise_scan import begin_scan
from pulsetwin.sequences.orderings import interleaved
from pulsetwin.sequences.protocol import setting, validate
from pulsetwin.sequences.rf_phase import spoiled_phase
from pulsetwin.sequences.slice_pulse import position, slice_pulse
from pulsetwin.sequences.spiral_arm import arm
from pulsetwin.sequences.timing import after_each, pause, rest, up, whole


@dataclass(frozen=True, slots=True)
class Protocol:
    """Settings of a spiral scan; a matrix of one partition gives slices, of more a stack of spirals."""

    fov: tuple[float, float, float] = setting((0.22, 0.22, 0.005), "m", "field of view along x, y, z", low=1e-4, high=1)
    matrix: tuple[int, int, int] = setting((128, 128, 1), "", "voxels along x, y, z", low=1, high=4096)
    interleaves: int = setting(16, "", "arms that together sample the field of view", low=1, high=4096)
    order: str = setting("uniform", "", "of the arms' turns", choices=ORDERS)
    edge_density: float = setting(1.0, "", "sampling density at the edge, of that in the middle", low=0.1, high=1)
    slices: int = setting(1, "", "slices, with one partition only", low=1, high=512)
    slice_gap: float = setting(0.0, "m", "between slices", low=0, high=0.1)
    flip_angle: float = setting(math.radians(15), "rad", "of the excitation", low=1e-3, high=math.pi)
    te: float | None = setting(None, "s", "echo time, at the start of the arm; the least if none", low=0, high=1)
    tr: float | None = setting(None, "s", "repetition time of a slice; the least if none", low=0, high=60)
    bandwidth: float = setting(400e3, "Hz", "of the receiver", low=1e3, high=1e7)
    rf_duration: float = setting(2e-3, "s", "of the excitation", low=1e-4, high=2e-2)
    time_bandwidth: float = setting(4.0, "", "of the excitation", low=1, high=32)
    spoiling: float = setting(2.0, "", "cycles of phase across a voxel along z that the spoiler makes", low=0, high=64)
    rf_spoiling: float = setting(math.radians(117), "rad", "increment of the RF phase's increment", low=0, high=7)
    dummies: int = setting(32, "", "repetitions before the first that is measured", low=0, high=100000)
    noise_samples: int = setting(0, "", "of a noise scan before all, at least", low=0, high=10**7)

    def __post_init__(self) -> None:
        validate(self)
        check_slices(self.matrix, self.slices)
        check_square(self.fov, self.matrix)


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
        If a time is too short or an arm too long for the receiver; what works is told.
    """
    p, raster = protocol, scanner.block_raster
    parts = _parts(p, scanner)
    wait_te = rest("te", p.te, parts.least_te, raster)
    one = parts.least_tr + wait_te
    wait_tr = after_each(p.tr, one, p.slices, raster)
    seq = pp.Sequence(scanner.opts)
    begin_scan(seq, "LIN PAR SLC", parts.adc, p.noise_samples, scanner)
    arms = [(number, partition) for partition in range(p.matrix[2]) for number in range(p.interleaves)]
    for repetition, where in enumerate([None] * p.dummies + arms):
        phase = spoiled_phase(p.rf_spoiling, repetition)
        for slice_number in interleaved(p.slices).tolist():
            add_block(seq, *parts.pulse.tuned(position(slice_number, p.slices, p.fov[2], p.slice_gap), phase))
            _arm(seq, p, parts, where, slice_number, phase, wait_te, scanner)
            pause(seq, wait_tr)
    return describe(seq, p, parts.least_te + wait_te, p.slices * (one + wait_tr))


def _parts(p: Protocol, scanner: Scanner) -> SimpleNamespace:
    """Return the parts of a repetition, and the least echo and repetition times [s]."""
    pulse = slice_pulse(p.flip_angle, p.fov[2], p.rf_duration, p.time_bandwidth, "excitation", scanner)
    dwell = max(whole(1 / p.bandwidth, scanner.adc_raster), scanner.adc_raster)
    one = arm(p.matrix[0], p.fov[0], p.interleaves, p.edge_density, 1 / p.fov[0] / dwell, scanner)
    start = up(max(scanner.adc_dead_time, scanner.gradient_raster), scanner.gradient_raster)
    adc = _adc(one.outward, dwell, start, scanner)
    farthest, spoiler = p.matrix[2] / 2 / p.fov[2], p.spoiling * p.matrix[2] / p.fov[2]
    prephase = least_duration(pulse.after + farthest, scanner=scanner)
    # the way back needs no receiver, so that the lobe along z plays beside it
    quiet = up(start + one.outward + scanner.adc_dead_time, scanner.gradient_raster)
    rewind = least_duration(spoiler + farthest, scanner=scanner)
    duration = up(max(start + (len(one.gradient) - 1) * scanner.gradient_raster, quiet + rewind), scanner.block_raster)
    return SimpleNamespace(
        pulse=pulse, adc=adc, arms=_turned(one.gradient, turns(p.interleaves, p.order, 2 * math.pi), start, scanner),
        prephase=prephase, quiet=quiet, rewind=rewind, spoiler=spoiler,
        least_te=pulse.duration - pulse.centre + prephase + start,
        least_tr=pulse.duration + prephase + duration, duration=duration,
    )  # fmt: skip


def _adc(outward: float, dwell: float, start: float, scanner: Scanner) -> Any:
    """Return the acquisition of an arm that lasts `outward` [s]."""
    divisor, limit = scanner.adc_samples_divisor, scanner.adc_samples_limit
    count = max(int(outward / dwell) // divisor, 1) * divisor
    if limit and count > limit:
        raise ProtocolError(
            f"an arm of {count} samples is too long: {limit} are the most of {scanner.name}; give about "
            f"{count / limit:.2g} times as many interleaves, or less bandwidth"
        )
    return pp.make_adc(count, dwell=dwell, delay=start, system=scanner.opts)


def _turned(gradient: np.ndarray, angles: np.ndarray, start: float, scanner: Scanner) -> list[list[Any]]:
    """Return the gradients along x and y of each arm, which begin a raster interval before they rise at `start` [s]."""
    opts, turned = scanner.opts, [gradient * np.exp(1j * angle) for angle in angles]
    return [
        [
            pp.make_arbitrary_grad(axis, part, first=0.0, last=0.0, delay=start - scanner.gradient_raster, system=opts)
            for axis, part in (("x", one.real), ("y", one.imag))
        ]
        for one in turned
    ]


def _arm(
    seq: pp.Sequence, p: Protocol, parts: SimpleNamespace, where: tuple[int, int] | None, slice_number: int,
    phase: float, wait_te: float, scanner: Scanner,
) -> None:  # fmt: skip
    """Add what follows a pulse; nothing is measured if `where`, arm and partition, is None."""
    parts.adc.phase_offset = phase
    number, partition = (0, p.matrix[2] // 2) if where is None else where
    deep = encoding(partition, p.matrix[2], p.fov[2])
    add_block(seq, lobe("z", deep - parts.pulse.after, parts.prephase, scanner))
    pause(seq, wait_te)
    rewind = copy.copy(lobe("z", parts.spoiler - deep, parts.rewind, scanner))
    rewind.delay = parts.quiet
    measured = [] if where is None else [parts.adc, *labels(number, partition, slice_number)]
    add_block(seq, *parts.arms[number], rewind, *measured, pp.make_delay(parts.duration))
