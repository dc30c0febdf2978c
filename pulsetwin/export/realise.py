"""A learnt timeline as a playable sequence: slice-selective pulses, trapezoids, readouts, under a scanner's limits.

Hard pulses become pulses whose slice gradients are rewound on both sides, so that all that lies between two pulses'
centres has the moments of the timeline. Intervals without samples become one trapezoid along each axis. Where the
limits leave too little time, times grow, alike in all repetitions of the same make, and `Realised` tells by how much;
a slower readout keeps its middle.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
import pypulseq as pp
from torch import Tensor

from pulsetwin.errors import ProtocolError, ShapeError
from pulsetwin.export.realise_plan import Readout, Repetition, repetitions
from pulsetwin.export.realise_readout import Window, readout_gradients, window
from pulsetwin.scanner import Scanner
from pulsetwin.sequences.cartesian import lobe
from pulsetwin.sequences.events import AXES, Array
from pulsetwin.sequences.selective_pulse import slr_pulse
from pulsetwin.sequences.slice_pulse import SlicePulse, scaled, slice_pulse
from pulsetwin.sequences.timing import pause, up, whole
from pulsetwin.sim.timeline import Timeline

PULSES = ("sinc", "slr")
PULSE_DURATION, TIME_BANDWIDTH = 2e-3, 4.0  # of the pulses, if nothing else is asked for [s]
LONGEST_LOBE = 2e-3  # of lobes that have more time than they need [s]
_USES = ("excitation", "refocusing")
_NO_PULSE = 1e-6  # flip angle [rad] below which nothing is played
_EXCITATION = math.radians(90.01)  # up to which readers take a pulse for an excitation
_ROUNDING = 1e-12  # by which the sum of a lobe's ramps and top may exceed its duration [s]
_NO_MOMENT = 1e-6  # [1/m], below which no gradient is played


@dataclass(frozen=True, slots=True, eq=False)
class Realised:
    """A playable sequence, and what it cost.

    Parameters
    ----------
    sequence
        The sequence, with its slice thickness and field of view in the definitions.
    longer
        By how much parts last longer than learnt, alike in all repetitions that have them [s], by name; only those
        that do.
    duration
        Of the sequence, from the first pulse's centre on [s].
    learnt_duration
        Of the timeline [s].
    """

    sequence: pp.Sequence
    longer: dict[str, float]
    duration: float
    learnt_duration: float


def realise(
    timeline: Timeline, scanner: Scanner, *, fov: tuple[float, float, float], pulse: str = "sinc",
    pulse_duration: float = PULSE_DURATION, time_bandwidth: float = TIME_BANDWIDTH, refocusing: Tensor | None = None,
) -> Realised:  # fmt: skip
    """Return a sequence that plays a timeline of instantaneous pulses.

    Phases of a `.seq` count the other way round and are negated. Samples are even within a readout, and so is their
    phase.

    Parameters
    ----------
    timeline
        What was learnt; values are taken without their gradients.
    scanner
        Whose limits, rasters and dead times are kept.
    fov
        Field of view along x, y and thickness of the slice along z [m].
    pulse
        ``sinc``, one shape scaled for all angles; or ``slr``, a Shinnar-Le Roux design for each angle.
    pulse_duration
        Of the pulses [s].
    time_bandwidth
        Product of duration and bandwidth.
    refocusing
        Which pulses are declared refocusings, bool ``[pulse]``: raw data are sorted by k that they turn. By default
        those beyond 90 degrees, as readers of files before 1.5 take them.

    Raises
    ------
    ProtocolError
        If the timeline has finite pulses, carriers, shims, or samples that no acquisition takes; or if the scanner has
        too little B1 or gradient, where the least duration is told.
    ShapeError
        If `refocusing` has not one value for each pulse.
    """
    if pulse not in PULSES:
        raise ProtocolError(f"pulse {pulse!r} is unknown: choose {' or '.join(PULSES)}")
    if refocusing is not None and len(refocusing) != timeline.pulses:
        raise ShapeError(
            f"realise: refocusing has {len(refocusing)} values for {timeline.pulses} pulses: give one each"
        )
    plan = repetitions(timeline)
    turned = [one.flip_angle > _EXCITATION for one in plan] if refocusing is None else refocusing.tolist()
    uses = [_USES[one] for one in turned]
    pulses = _pulses(plan, uses, fov[2], pulse, pulse_duration, time_bandwidth, scanner)
    windows = _windows(plan, pulses, scanner)
    gaps = [_Gaps.of(number, plan, pulses, windows, scanner) for number in range(len(plan))]
    spare = _spare(plan, gaps, scanner)
    sequence = pp.Sequence(scanner.opts)
    for number, repetition in enumerate(plan):
        _add(sequence, repetition, pulses[number], gaps[number], spare, scanner)
    sequence.set_definition("FOV", list(fov))
    sequence.set_definition("Name", "realised")
    learnt = float(timeline.duration.detach().sum())
    longer = {name: -wait for name, wait in spare.items() if wait < -scanner.block_raster / 2}
    longer |= _longer_readouts(plan, windows)
    return Realised(sequence, longer, float(sequence.duration()[0]) - pulses[0].centre, learnt)


def _pulses(
    plan: list[Repetition], uses: list[str], thickness: float, kind: str, duration: float, time_bandwidth: float,
    scanner: Scanner,
) -> list[SlicePulse]:  # fmt: skip
    """Return the pulse of each repetition, with its flip angle; its phase is given when it is played."""
    make = partial(slice_pulse if kind == "sinc" else slr_pulse, thickness=thickness, duration=duration,
                   time_bandwidth=time_bandwidth, scanner=scanner)  # fmt: skip
    strongest = {name: max(one.flip_angle for one, use in zip(plan, uses, strict=True) if use == name) for name in uses}
    known: dict[tuple[str, float], SlicePulse] = {}
    made = []
    for one, use in zip(plan, uses, strict=True):
        angle = max(strongest[use] if kind == "sinc" else one.flip_angle, _NO_PULSE)
        if (use, angle) not in known:
            known[use, angle] = make(flip_angle=angle, use=use)
        base = known[use, angle]
        rf, select, fill = base.events
        factor = one.flip_angle / angle
        made.append(SlicePulse((scaled(rf, factor), select, fill), base.centre, base.after, base.duration))
    return made


def _windows(plan: list[Repetition], pulses: list[SlicePulse], scanner: Scanner) -> dict[Any, Window]:
    """Return the window of each kind of readout by its key."""
    members: dict[Any, list[tuple[Readout, float]]] = {}
    for one, pulse in zip(plan, pulses, strict=True):
        for readout in one.readouts:
            begin = pulse.centre + readout.start - readout.dwell / 2
            late = whole(begin % scanner.block_raster, scanner.rf_raster) % scanner.block_raster
            members.setdefault(readout.key, []).append((readout, late))
    return {
        key: window(own[0][0].count, own[0][0].dwell, own[0][1], np.stack([one.moments for one, _ in own]), scanner)
        for key, own in members.items()
    }


@dataclass(frozen=True, slots=True, eq=False)
class _Gaps:
    """What lies between the pulse's block, the readouts' blocks and the next pulse's block of one repetition.

    Names, moments [1/m] ``[gap, 3]``, times learnt for each and needed by its lobes [s], and each readout's window and
    gradients.
    """

    names: list[str]
    moments: Array
    time: list[float]
    needed: list[float]
    windows: list[Window]
    gradients: list[list[Any]]

    @classmethod
    def of(
        cls, number: int, plan: list[Repetition], pulses: list[SlicePulse], windows: dict[Any, Window],
        scanner: Scanner,
    ) -> _Gaps:  # fmt: skip
        """Return those of repetition `number`."""
        one, pulse = plan[number], pulses[number]
        own = [windows[readout.key] for readout in one.readouts]
        played = [readout_gradients(w, readout.moments) for w, readout in zip(own, one.readouts, strict=True)]
        following = pulses[number + 1] if number + 1 < len(pulses) else None
        ahead = _along_z(0.0 if following is None else following.events[1].area - following.after)
        k = [np.zeros(3), *[edge for readout in one.readouts for edge in (readout.first_k, readout.last_k)], one.moment]
        before = [_along_z(pulse.after), *[tail for _, _, tail in played]]
        after = [*[head for _, head, _ in played], ahead]
        t = [0.0, *[edge for pair in zip(one.readouts, own, strict=True) for edge in _edges(*pair)], one.duration]
        used = [pulse.duration - pulse.centre, *[w.last for w in own]]
        wanted = [*[w.first for w in own], 0.0 if following is None else following.centre]
        moments = np.array([k[2 * i + 1] - k[2 * i] - before[i] - after[i] for i in range(len(before))])
        times = [t[2 * i + 1] - t[2 * i] - used[i] - wanted[i] for i in range(len(before))]
        places = ["pulse", *[f"readout {i + 1}" if own[1:] else "readout" for i in range(len(own))], "pulse"]
        names = [f"{here} to {there}" for here, there in pairwise(places)]
        return cls(names, moments, times, [_least(m, scanner) for m in moments], own, [g for g, _, _ in played])


def _edges(readout: Readout, own: Window) -> tuple[float, float]:
    """Return first and last sample since the pulse's centre [s]: a slower readout keeps its middle, and so its TE."""
    slower = (readout.count - 1) * (own.dwell - readout.dwell) / 2
    return readout.start - slower, readout.end + slower


def _along_z(area: float) -> Array:
    return np.array([0.0, 0.0, area])


def _least(moments: Array, scanner: Scanner) -> float:
    """Return the time that the lobes of some moments [1/m] need [s]."""
    lobes = [pp.make_trapezoid("x", area=area, system=scanner.opts) for area in moments if abs(area) > _NO_MOMENT]
    return up(max((pp.calc_duration(one) for one in lobes), default=0.0), scanner.block_raster)


def _spare(plan: list[Repetition], gaps: list[_Gaps], scanner: Scanner) -> dict[str, float]:
    """Return what the gaps of each name have left at the tightest [s]; negative where they must grow."""
    spare: dict[str, float] = {}
    for own in gaps:
        for name, time, needed in zip(own.names, own.time, own.needed, strict=True):
            spare[name] = min(spare.get(name, math.inf), whole(time, scanner.block_raster) - needed)
    return spare


def _add(
    sequence: pp.Sequence, one: Repetition, pulse: SlicePulse, gaps: _Gaps, spare: dict[str, float], scanner: Scanner
) -> None:
    """Add the blocks of a repetition."""
    rf, select, fill = pulse.tuned(0.0, (-one.phase) % (2 * math.pi))
    sequence.add_block(*([rf] if one.flip_angle > _NO_PULSE else []), select, fill)
    for number, name in enumerate(gaps.names):
        time = whole(gaps.time[number], scanner.block_raster) + max(-spare[name], 0.0)
        length = min(max(gaps.needed[number], LONGEST_LOBE), time)
        pairs = zip(AXES, gaps.moments[number], strict=True)
        lobes = [lobe(axis, float(area), length + _ROUNDING, scanner) for axis, area in pairs if abs(area) > _NO_MOMENT]
        if lobes:
            sequence.add_block(*lobes, pp.make_delay(length))
        pause(sequence, time - length * bool(lobes))
        if number < len(gaps.windows):
            own = gaps.windows[number]
            adc = pp.make_adc(own.count, dwell=own.dwell, delay=own.delay, system=scanner.opts)
            adc.phase_offset = one.readouts[number].phase % (2 * math.pi)
            sequence.add_block(*gaps.gradients[number], adc, pp.make_delay(own.duration))


def _longer_readouts(plan: list[Repetition], windows: dict[Any, Window]) -> dict[str, float]:
    """Return by how much readouts last longer [s], by name."""
    found = {}
    for number, own in enumerate(windows.values()):
        dwell = next(r.dwell for one in plan for r in one.readouts if windows[r.key] is own)
        if own.dwell > dwell * (1 + 1e-9):
            found[f"readout {number + 1} of {own.count} samples"] = own.count * (own.dwell - dwell)
    return found
