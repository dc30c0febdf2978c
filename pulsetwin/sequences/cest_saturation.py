"""Saturation for CEST: a continuous wave, trains of off-resonant pulses, and trains of spin-lock pulses.

Constant pulses have two corners, so that seconds of saturation are two numbers; the writers of files sample them on the
RF raster, where a run of equal samples is a number too.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pypulseq as pp

from pulsetwin.errors import ProtocolError
from pulsetwin.scanner import Scanner
from pulsetwin.sequences.cartesian import least_duration, lobe
from pulsetwin.sequences.hard_pulse import hard_pulse
from pulsetwin.sequences.rf_phase import within_turn
from pulsetwin.sequences.slice_pulse import scaled
from pulsetwin.sequences.timing import rest, up, whole

KINDS = ("cw", "block", "gauss", "spin_lock")
Block = tuple[Any, ...]
_LEAST_TIP = math.radians(1)  # tips below are left out, as the published spin-lock protocols do
_GAUSS_SAMPLES = 500


def saturation(protocol: Any, b1: float, offset: float, time: float, scanner: Scanner) -> list[Block]:
    """Return the blocks of a saturation; where `b1` is 0 they are delays of the same durations.

    ``cw`` is one pulse. The pulses of a ``block`` or ``gauss`` train start with the phase that the one before ended
    with. Each pulse of a ``spin_lock`` train lies along the effective field: it is led to, and back, by hard pulses on
    resonance of ``atan(gamma b1 / offset)``, and the phases of pulse n, counted from 1, are advanced by n `phase_step`.

    Parameters
    ----------
    protocol
        Settings `saturation`, `pulse_duration`, `pulse_pause`, `tip_duration`, `tip_pause` [s] and `phase_step` [rad].
    b1
        Amplitude of constant pulses, root mean square over a Gaussian pulse [T].
    offset
        Of the pulses' frequency from that of water [ppm].
    time
        From the beginning of the first to the end of the last pulse [s]; 0 for none.
    scanner
        Whose limits and rasters are kept.

    Raises
    ------
    ProtocolError
        If a pulse is too strong, or the pulses do not fill the time; what works is told.
    """
    p, frequency = protocol, 1e-6 * offset * scanner.gamma * scanner.field_strength
    if time == 0:
        return []
    if p.saturation == "cw":
        return [constant_pulse(b1, time, frequency, 0.0, scanner)]
    count = pulses_in(time, p.pulse_duration, p.pulse_pause)
    make = {"block": _train, "gauss": _train, "spin_lock": _spin_locks}[p.saturation]
    return make(p, b1, frequency, count, scanner)


def pulses_in(time: float, duration: float, pause: float) -> int:
    """Return how many pulses of a `duration` with pauses between them fill a `time` [s].

    Raises
    ------
    ProtocolError
        If it is no whole number of them; the nearest time that works is told.
    """
    count = max(round((time + pause) / (duration + pause)), 1)
    nearest = count * duration + (count - 1) * pause
    if abs(nearest - time) > 1e-6:
        raise ProtocolError(f"saturation_time = {time:g} s is not filled by pulses of {1e3 * duration:g} ms with "
                            f"pauses of {1e3 * pause:g} ms: {nearest:.9g} s is")  # fmt: skip
    return count


def constant_pulse(b1: float, duration: float, frequency: float, phase: float, scanner: Scanner) -> Block:
    """Return the block of a constant pulse of `b1` [T] at a `frequency` [Hz], with its `phase` [rad] at its start."""
    fill = pp.make_delay(_block_duration(duration, scanner))
    if b1 == 0:
        return (fill,)
    _check_b1(b1, b1, scanner)
    length = whole(duration, scanner.rf_raster)
    rf = pp.make_block_pulse(
        2 * math.pi * scanner.gamma * b1 * length, duration=length, freq_offset=frequency,
        phase_offset=within_turn(phase), delay=scanner.rf_dead_time, use="saturation", system=scanner.opts,
    )  # fmt: skip
    return rf, fill


def gauss_pulse(b1: float, duration: float, frequency: float, phase: float, scanner: Scanner) -> Block:
    """Return the block of a Gaussian pulse with a root mean square of `b1` [T], else as `constant_pulse`."""
    fill = pp.make_delay(_block_duration(duration, scanner))
    if b1 == 0:
        return (fill,)
    dwell = max(whole(duration / _GAUSS_SAMPLES, scanner.rf_raster), scanner.rf_raster)
    rf = pp.make_gauss_pulse(
        math.pi, duration=whole(duration, dwell), dwell=dwell, freq_offset=frequency, phase_offset=within_turn(phase),
        delay=scanner.rf_dead_time, use="saturation", system=scanner.opts,
    )  # fmt: skip
    relative = np.abs(rf.signal) / math.sqrt(np.mean(np.abs(rf.signal) ** 2))
    _check_b1(b1, b1 * float(relative.max()), scanner)
    return scaled(rf, scanner.gamma * b1 * float(relative.max() / np.abs(rf.signal).max())), fill


def crusher(cycles: float, protocol: Any, scanner: Scanner) -> Block:
    """Return a block of gradients along x, y and z that make `cycles` of phase across a voxel; none if that is 0."""
    areas = [cycles * count / fov for count, fov in zip(protocol.matrix, protocol.fov, strict=True)]
    share = 1 / math.sqrt(len(areas))  # so that the vector keeps the limits of an axis, for any orientation
    each = replace(scanner, max_gradient=share * scanner.max_gradient, max_slew=share * scanner.max_slew)
    duration = least_duration(*areas, scanner=each)
    return tuple(lobe(axis, area, duration, each) for axis, area in zip("xyz", areas, strict=True) if area)


def _train(p: Any, b1: float, frequency: float, count: int, scanner: Scanner) -> list[Block]:
    make = constant_pulse if p.saturation == "block" else gauss_pulse
    pulse = _block_duration(p.pulse_duration, scanner)
    beside = pulse - p.pulse_duration
    wait = rest("pulse_pause", p.pulse_pause, beside, scanner.block_raster)
    blocks: list[Block] = []
    for number in range(count):
        if number:
            blocks += _delay(wait)
        phase = 2 * math.pi * (number * frequency * p.pulse_duration % 1)
        blocks.append(make(b1, p.pulse_duration, frequency, phase, scanner))
    return blocks


def _spin_locks(p: Any, b1: float, frequency: float, count: int, scanner: Scanner) -> list[Block]:
    tip = _block_duration(p.tip_duration, scanner)
    beside = _block_duration(p.pulse_duration, scanner) - p.pulse_duration
    gap = rest("tip_pause", p.tip_pause, beside, scanner.block_raster)
    least = beside + 2 * (gap + tip)
    wait = rest("pulse_pause", p.pulse_pause, least, scanner.block_raster)
    turned = math.pi * frequency * p.pulse_duration * 2 % (2 * math.pi)
    towards = math.pi / 2 if frequency >= 0 else -math.pi / 2  # below resonance the effective field is upside down
    blocks: list[Block] = []
    for number in range(count):
        if number:
            blocks += _delay(wait)
        phase = (number + 1) * p.phase_step
        blocks += [
            _tip(p, b1, frequency, phase - towards, scanner),
            *_delay(gap),
            constant_pulse(b1, p.pulse_duration, frequency, phase, scanner),
            *_delay(gap),
            _tip(p, b1, frequency, phase + turned + towards, scanner),
        ]
    return blocks


def _tip(p: Any, b1: float, frequency: float, phase: float, scanner: Scanner) -> Block:
    """Return the block of a pulse on resonance by the angle between z and the effective field."""
    fill = pp.make_delay(_block_duration(p.tip_duration, scanner))
    angle = math.atan2(scanner.gamma * b1, abs(frequency))
    if angle < _LEAST_TIP:
        return (fill,)
    rf = hard_pulse(angle, p.tip_duration, "preparation", scanner)
    rf.phase_offset = within_turn(phase)
    return rf, fill


def _delay(time: float) -> list[Block]:
    return [(pp.make_delay(time),)] if time > 0 else []


def _block_duration(pulse: float, scanner: Scanner) -> float:
    return up(scanner.rf_dead_time + pulse + scanner.rf_ringdown_time, scanner.block_raster)


def _check_b1(asked: float, peak: float, scanner: Scanner) -> None:
    if peak > scanner.max_b1:
        raise ProtocolError(f"b1 = {1e6 * asked:g} uT is too strong for {scanner.name}: "
                            f"{1e6 * asked * scanner.max_b1 / peak:.4g} uT is the most")  # fmt: skip
