"""Preparations of magnetisation: inversion, T2 preparation, saturation, fat saturation, each with its spoiler."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pypulseq as pp

from pulsetwin.errors import ProtocolError
from pulsetwin.scanner import Scanner
from pulsetwin.sequences.adiabatic import hyperbolic_secant, tanh_tan
from pulsetwin.sequences.cartesian import least_duration, lobe
from pulsetwin.sequences.hard_pulse import hard_pulse
from pulsetwin.sequences.timing import down, rest, up, whole

FAT = -3.45e-6
"""Shift of the main line of fat from water, as a fraction of the field."""
_INVERSION_B1 = 21e-6  # of the published QALAS protocol [T]
_MLEV16 = (1, 1, -1, -1, -1, 1, 1, -1, -1, -1, 1, 1, 1, -1, -1, 1)
Block = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Preparation:
    """Blocks, and when they act.

    Parameters
    ----------
    blocks
        Events of each block.
    before, after
        From the start to the centre of the pulse that sets the longitudinal magnetisation, and from there to the end
        [s]: the recovery counts from that centre.
    """

    blocks: tuple[Block, ...]
    before: float
    after: float

    @property
    def duration(self) -> float:
        """Of all blocks [s]."""
        return self.before + self.after


def play(seq: pp.Sequence, preparation: Preparation) -> None:
    """Add the blocks of a preparation."""
    for block in preparation.blocks:
        seq.add_block(*block)


def spoiler(area: float, scanner: Scanner, duration: float | None = None, axis: str = "z") -> Block:
    """Return the block of a gradient of an area [1/m] and a duration [s], the least if none; empty if there is no area.

    Raises
    ------
    ProtocolError
        If the duration is too short; the least is told.
    """
    least = least_duration(area, scanner=scanner) if area else 0.0
    length = least + rest("spoiler", duration, least, scanner.gradient_raster)
    if not length:
        return ()
    return (lobe(axis, area, length, scanner) if area else pp.make_delay(length),)


def inversion(
    duration: float, peak_b1: float | None, sweep: float, spoiling: float, scanner: Scanner, *, order: int = 4,
    spoiler_duration: float | None = None,
) -> Preparation:  # fmt: skip
    """Return an adiabatic inversion by an HSn pulse, then a spoiler.

    Parameters
    ----------
    duration
        Of the pulse [s].
    peak_b1
        Its largest B1 [T]; if None 21 uT, or what the scanner has if that is less.
    sweep
        Frequency offset from which, and to minus which, it goes [Hz].
    spoiling
        Area of the spoiler along z [1/m].
    scanner
        Whose limits and rasters are kept.
    order
        n.
    spoiler_duration
        Of its block [s]; the least if none.
    """
    peak = min(_INVERSION_B1, scanner.max_b1) if peak_b1 is None else peak_b1
    pulse = hyperbolic_secant(duration, peak, sweep, "inversion", scanner, order=order)
    return _prepared(_at_centres([pulse], [0.0], scanner), 0.0, pulse, spoiler(spoiling, scanner, spoiler_duration))


def t2_preparation(
    te: float, refocusing_duration: float, peak_b1: float, sweep: float, spoiling: float, scanner: Scanner, *,
    refocusings: int = 4, tip_duration: float = 300e-6, spoiler_duration: float | None = None,
) -> Preparation:  # fmt: skip
    """Return a T2 preparation: 90 degrees, adiabatic refocusing by tanh/tan pulses, -90 degrees, then a spoiler.

    Passages in pairs undo each other's phase; their signs follow MLEV, so that errors of one pair are undone by the
    next. What relaxes with T2 for `te` is ``sin^2`` of the tips' angle, the rest relaxes with T1.

    Parameters
    ----------
    te
        From the centre of the first 90-degree pulse to that of the second [s].
    refocusing_duration, peak_b1, sweep
        Of the refocusing pulses [s], [T], [Hz], as of `adiabatic.tanh_tan`.
    spoiling
        Area of the spoiler along z [1/m].
    scanner
        Whose limits and rasters are kept.
    refocusings
        4, 8 or 16.
    tip_duration
        Of the 90-degree pulses [s].
    spoiler_duration
        Of its block [s]; the least if none.

    Raises
    ------
    ProtocolError
        If `te` is too short for the pulses; the least that works is told.

    References
    ----------
    Brittain et al. 1995, doi:10.1002/mrm.1910330515; Levitt et al. 1982, doi:10.1016/0022-2364(82)90042-5.
    """
    if refocusings not in (4, 8, 16):
        raise ProtocolError(f"{refocusings} refocusing pulses: give 4, 8 or 16")
    tip = hard_pulse(math.pi / 2, tip_duration, "preparation", scanner)
    passage = tanh_tan(refocusing_duration, peak_b1, sweep, "refocusing", scanner)
    between = scanner.rf_ringdown_time + scanner.rf_dead_time + scanner.block_raster
    nearest = max(passage.shape_dur, tip.shape_dur) + between
    rest("t2prep_te", te, refocusings * up(nearest, scanner.block_raster), scanner.block_raster)
    pulses = [tip, *[_turned(passage, sign) for sign in _MLEV16[:refocusings]], _turned(tip, -1)]
    centres = [0.0, *[(2 * number + 1) * te / (2 * refocusings) for number in range(refocusings)], te]
    blocks = _at_centres(pulses, centres, scanner)
    return _prepared(blocks, te, tip, spoiler(spoiling, scanner, spoiler_duration))


def saturation(
    peak_b1: float, spoiling: float, scanner: Scanner, *, pulses: int = 4, b1_error: float = 0.3
) -> Preparation:  # fmt: skip
    """Return a saturation that tolerates errors of B1: a train of hard pulses, each followed by a spoiler.

    Pulse i turns by ``90 / b_i`` degrees, so that ``prod cos(90 b / b_i)``, what is left at relative B1 b, is 0 at each
    b_i; these are the Chebyshev nodes of the range, between which it stays smallest. Spoilers take turns along z, y
    and x and grow, so that no echo of an earlier pulse is rephased.

    Parameters
    ----------
    peak_b1
        Of the pulses [T].
    spoiling
        Area of the first spoiler [1/m].
    scanner
        Whose limits and rasters are kept.
    pulses
        Their number.
    b1_error
        Range of relative B1 is 1 - `b1_error` to 1 + `b1_error`; below 1.

    Raises
    ------
    ProtocolError
        If the peak is more than the scanner has.

    References
    ----------
    Ogg et al. 1994, doi:10.1006/jmrb.1994.1048 (WET, whose angles follow from other aims).
    """
    if peak_b1 > scanner.max_b1:
        raise ProtocolError(
            f"saturation: {1e6 * peak_b1:g} uT, {scanner.name} has {1e6 * scanner.max_b1:g} uT: give that"
        )
    blocks: list[Block] = []
    nodes = 1 + b1_error * np.cos(math.pi * (np.arange(pulses) + 0.5) / pulses)
    for number, node in enumerate(nodes):
        angle = math.pi / 2 / float(node)
        length = up(angle / (2 * math.pi * scanner.gamma * peak_b1), scanner.rf_raster)
        pulse = hard_pulse(angle, length, "saturation", scanner)
        crush = spoiler(spoiling * (1 + number / pulses), scanner, axis="zyx"[number % 3])
        blocks += [*_at_centres([pulse], [0.0], scanner), crush]
    start = sum(pp.calc_duration(*block) for block in blocks[:-2])
    last = _prepared(tuple(blocks[-2:-1]), 0.0, pulse, blocks[-1])
    return Preparation(tuple(blocks), start + last.before, last.after)


def fat_saturation(
    spoiling: float, scanner: Scanner, *, flip_angle: float = math.radians(100), shift: float = FAT
) -> Preparation:  # fmt: skip
    """Return a Gauss pulse on the line of fat, then a spoiler.

    Its length follows the field: of the fraction of it that fat is shifted by, the line of the pulse is 0.6 wide.

    Parameters
    ----------
    spoiling
        Area of the spoiler along z [1/m].
    scanner
        Whose field tells the frequency.
    flip_angle
        On the line [rad]; somewhat above 90 degrees, as fat recovers until the excitation.
    shift
        Of the line from water, as a fraction of the field.
    """
    frequency = shift * scanner.gamma * scanner.field_strength
    bandwidth, cycles = 0.6 * abs(frequency), 2.0
    pulse = pp.make_gauss_pulse(
        flip_angle, duration=up(cycles / bandwidth, 2 * scanner.rf_raster), time_bw_product=cycles, apodization=0.5,
        freq_offset=frequency, delay=scanner.rf_dead_time, use="saturation", system=scanner.opts,
    )  # fmt: skip
    pulse.center = pulse.shape_dur / 2
    pulse.phase_offset = -2 * math.pi * frequency * pulse.center % (2 * math.pi)
    return _prepared(_at_centres([pulse], [0.0], scanner), 0.0, pulse, spoiler(spoiling, scanner))


def _prepared(blocks: tuple[Block, ...], centre: float, first: Any, crush: Block) -> Preparation:
    """Return the preparation that acts at a time after the centre of the first pulse, with its spoiler."""
    every = (*blocks, crush) if crush else blocks
    before = first.delay + first.center + centre
    return Preparation(every, before, sum(pp.calc_duration(*block) for block in every) - before)


def _turned(pulse: Any, sign: int) -> Any:
    """Return a copy of a pulse with its phase turned by half a turn if the sign is negative."""
    other = copy.copy(pulse)
    other.phase_offset = 0.0 if sign > 0 else math.pi
    return other


def _at_centres(pulses: list[Any], centres: list[float], scanner: Scanner) -> tuple[Block, ...]:
    """Return the blocks, one after the other, of pulses with their centres at times after that of the first [s].

    Blocks start on their raster; what is left is a longer delay before the pulse, which is on the finer raster of RF.
    """
    dead, raster = scanner.rf_dead_time, scanner.block_raster
    lead = dead + pulses[0].center
    starts = [down(lead + at - one.center - dead, raster) for one, at in zip(pulses, centres, strict=True)]
    for one, at, start in zip(pulses, centres, starts, strict=True):
        one.delay = whole(lead + at - one.center - start, scanner.rf_raster)
    ends = [*starts[1:], starts[-1] + up(pp.calc_duration(pulses[-1]), raster)]
    durations = [whole(end - start, raster) for start, end in zip(starts, ends, strict=True)]
    return tuple((one, pp.make_delay(length)) for one, length in zip(pulses, durations, strict=True))
