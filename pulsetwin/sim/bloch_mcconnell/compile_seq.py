"""Walk the blocks of a `.seq` and write down what they do to the magnetisation: `program.Program`."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from pulsetwin.errors import ProtocolError
from pulsetwin.sequences.events import NONE, Array
from pulsetwin.sequences.gradients import moment_at
from pulsetwin.sequences.seqfile import ADC, GX, GZ, RF, SeqFile
from pulsetwin.sim.bloch_mcconnell.coarse import coarser
from pulsetwin.sim.bloch_mcconnell.pool_model import PoolModel, check_field
from pulsetwin.sim.bloch_mcconnell.program import CRUSH, RECORD, RESET, Program
from pulsetwin.sim.bloch_mcconnell.reuse import joined
from pulsetwin.sim.bloch_mcconnell.steps import Steps, exact_steps, sampled_steps

MODES = ("physical", "pulseq_cest")
_SPOILING = 50.0  # 1/m: a cycle of phase in 2 cm, which no voxel that is measured reaches
_TIME = 12  # decimals of durations [s]
_ANGLE = 12  # decimals of turns [rad]


@dataclass(slots=True)
class _Path:
    """What is written down so far; `phase` is the last pulse's, `frame` how far its frame is from the carrier [rad]."""

    chains: dict[tuple[object, ...], int] = field(default_factory=dict)
    steps: list[tuple[Array, Array, Array, Array]] = field(default_factory=list)
    maps: list[int] = field(default_factory=list)
    turns: list[float] = field(default_factory=list)
    records: list[tuple[float, int]] = field(default_factory=list)
    waiting: float = 0.0
    phase: float = 0.0
    frame: float = 0.0
    coherent: bool = False

    def wait(self, time: float) -> None:
        """Let magnetisation precess freely."""
        self.waiting += time

    def settle(self) -> None:
        """Write down the free precession that is waited for."""
        time = round(self.waiting, _TIME)
        if time > 0:
            one = np.zeros(1)
            self._add(("free", time), (one, one, np.array([time]), one), 0.0)
        self.waiting = 0.0

    def pulse(self, frequency: float, phase: float, steps: Steps) -> None:
        """Play a pulse; `phase` is that of its start in the frame of the carrier."""
        self.settle()
        if not len(steps.duration):
            return
        begins = phase - self.frame
        turn = begins + steps.phase[0] - self.phase if self.coherent else 0.0
        turns = -np.diff(steps.phase, prepend=steps.phase[0])
        key = (frequency, *(part.tobytes() for part in (steps.amplitude, steps.phase, steps.duration)))
        played = (np.full(len(turns), frequency), steps.amplitude, steps.duration, turns)
        self._add(key, played, -turn)
        self.phase, self.coherent = begins + float(steps.phase[-1]), True

    def crush(self) -> None:
        """Take away the transverse magnetisation."""
        self.settle()
        if self.coherent:
            self._append(CRUSH)
        self.coherent = False

    def record(self, block: int) -> None:
        """Measure."""
        self.settle()
        self._append(RECORD)
        self.records.append((self.phase + self.frame, block))

    def reset(self) -> None:
        """Begin anew."""
        self.waiting = 0.0
        self._append(RESET)
        self.coherent = False

    def _append(self, number: int, turn: float = 0.0) -> None:
        self.maps.append(number)
        self.turns.append(_turn(turn))

    def _add(self, key: tuple[object, ...], steps: tuple[Array, Array, Array, Array], turn: float) -> None:
        if key not in self.chains:
            self.chains[key] = len(self.chains) + 1
            self.steps.append(steps)
        self._append(self.chains[key], turn)


def compile_seq(
    seq: SeqFile,
    model: PoolModel,
    *,
    mode: str = "physical",
    reset: bool | None = None,
    spoiled: bool = False,
    at_excitations: bool = False,
) -> Program:
    """Return the program of a sequence.

    ``physical`` plays what the file says: phases in double precision, ``exp(i (phase + 2 pi f t))`` from the pulse's
    start, pulses on their raster (see `coarse.coarser`), all time that passes; transverse magnetisation is gone before
    a pulse if gradients have dephased it by a cycle in 2 cm since the pulse before.

    ``pulseq_cest`` plays what Pulseq-CEST's simulation makes of it: the frame turns in every pulse by whole degrees and
    never back, pulses are thinned out, no time passes in a block with samples, and transverse magnetisation is gone
    after a block with three gradients, and nowhere else.

    Parameters
    ----------
    seq
        The sequence.
    model
        Its field makes Hz of ppm and is compared with that of `seq`.
    mode
        ``physical`` or ``pulseq_cest``.
    reset
        Whether each record is followed by the initial magnetisation; as `model` says if None.
    spoiled
        Whether transverse magnetisation is gone before each readout pulse, for files that leave out what spoils it. A
        readout pulse is one with samples before the next pulse and no spoiling in between, or of the same shape,
        amplitude and frequency as such a pulse.
    at_excitations
        Whether records are made at the ends of pulses with samples before the next one, instead of at each block with
        samples.

    Raises
    ------
    ProtocolError
        If the mode is unknown or nothing is measured.
    MismatchError
        If the fields disagree.
    """
    if mode not in MODES:
        raise ProtocolError(f"mode = {mode!r}: give one of {', '.join(MODES)}")
    check_field(seq, model)
    path = _Path()
    walk = _walk_physical if mode == "physical" else _walk_literal
    walk(seq, model, path, _Rules(seq, model.reset if reset is None else reset, spoiled, at_excitations))
    if not path.records:
        raise ProtocolError(f"{seq.path}: nothing is measured: no block has samples")
    return _program(mode, path)


class _Rules:
    """When to record, reset and spoil."""

    def __init__(self, seq: SeqFile, reset: bool, spoiled: bool, at_excitations: bool) -> None:
        pulse, sampled = seq.events[:, RF] != NONE, seq.events[:, ADC] != NONE
        number = np.cumsum(pulse)
        followed = np.isin(number, number[sampled]) & pulse
        self.excites = followed if at_excitations else np.zeros(len(seq), bool)
        self.samples = np.zeros(len(seq), bool) if at_excitations else sampled
        self.reset = reset
        self.spoils = np.zeros(len(seq), bool)
        if spoiled:
            self.spoils = _readout_pulses(seq, number, sampled)


def _readout_pulses(seq: SeqFile, number: Array, sampled: Array) -> Array:
    """Return whether each block plays a readout pulse, bool ``[block]``; see `compile_seq`."""
    crushed = np.all(seq.events[:, GX : GZ + 1] != NONE, axis=1) & (seq.events[:, RF] == NONE) & ~sampled
    count = np.cumsum(crushed)
    block = np.nonzero(seq.events[:, RF] != NONE)[0]
    if not len(block):
        return np.zeros(len(seq), bool)
    samples = np.nonzero(sampled & (number > 0))[0]
    owner = block[number[samples] - 1]
    reads = np.unique(seq.events[owner[count[samples] == count[owner]], RF])
    rf = seq.rf
    kind = np.stack((rf.magnitude, rf.phase_shape, rf.time_shape, rf.amplitude, rf.freq), 1)
    alike = np.array([any(np.array_equal(one, kind[row]) for row in reads) for one in kind], bool)
    result = np.zeros(len(seq), bool)
    result[block] = alike[seq.events[block, RF]]
    return result


def _walk_physical(seq: SeqFile, model: PoolModel, path: _Path, rules: _Rules) -> None:
    larmor = model.gamma * model.b0 / (2 * math.pi)
    frequency = seq.rf.freq + 1e-6 * larmor * seq.rf.freq_ppm
    phase = seq.rf.phase + 1e-6 * larmor * seq.rf.phase_ppm
    moment = np.zeros(3)
    known: dict[int, Steps] = {}
    for block in range(len(seq)):
        row, adc = seq.events[block, RF], seq.events[block, ADC]
        whole = _moment(seq, block, math.inf)
        passed = 0.0
        if row != NONE:
            if row not in known:
                known[row] = coarser(exact_steps(seq, row), model)
            steps = known[row]
            before = _moment(seq, block, seq.rf.delay[row] + seq.rf.center[row])
            path.wait(seq.rf.delay[row])
            if rules.spoils[block] or np.any(np.abs(moment + before) > _SPOILING):
                path.crush()
            path.pulse(frequency[row], phase[row], steps)
            path.frame += 2 * math.pi * math.fmod(frequency[row] * steps.length, 1.0)
            passed, moment, whole = seq.rf.delay[row] + steps.length, np.zeros(3), whole - before
            if rules.excites[block]:
                path.record(block)
        if rules.samples[block]:
            path.wait(seq.adc.delay[adc] - passed)
            passed = seq.adc.delay[adc]
            path.record(block)
            if rules.reset:
                path.reset()
        path.wait(seq.block_duration[block] - passed)
        moment = moment + whole


def _moment(seq: SeqFile, block: int, time: float) -> Array:
    """Return the gradients' integral from the block's start to a `time` in it [1/m], ``[3]``."""
    events = seq.events[block, GX : GZ + 1]
    if np.all(events == NONE):
        return np.zeros(3)
    if math.isinf(time):
        return np.append(seq.gradients.area, 0.0)[events]
    return moment_at(seq.gradients, events, np.full((3, 1), time))[:, 0]


def _walk_literal(seq: SeqFile, model: PoolModel, path: _Path, rules: _Rules) -> None:
    degrees = 0
    known: dict[int, Steps] = {}
    for block in range(len(seq)):
        row, passed = seq.events[block, RF], 0.0
        if rules.samples[block]:
            path.record(block)
            if rules.reset:
                path.reset()
            continue
        if row != NONE:
            if row not in known:
                known[row] = sampled_steps(seq, row, model.max_pulse_samples)
            steps = known[row]
            path.wait(seq.rf.delay[row])
            if rules.spoils[block]:
                path.crush()
            path.pulse(seq.rf.freq[row], seq.rf.phase[row], steps)
            degrees += int(math.fmod(int(360 * steps.length * seq.rf.freq[row]), 360))
            path.frame = math.radians(degrees)
            passed = seq.rf.delay[row] + steps.length
            if rules.excites[block]:
                path.record(block)
        path.wait(seq.block_duration[block] - passed)
        if row == NONE and np.all(seq.events[block, GX : GZ + 1] != NONE):
            path.crush()


def _turn(angle: float) -> float:
    """Return an angle from -pi to pi, rounded so that equal ones are the same number."""
    return round(math.remainder(angle, 2 * math.pi), _ANGLE)


def _program(mode: str, path: _Path) -> Program:
    frequency, amplitude, duration, turn = (np.concatenate(part) for part in zip(*path.steps, strict=True))
    chain = np.concatenate(([0], np.cumsum([len(steps[0]) for steps in path.steps])))
    turns, blocks = zip(*path.records, strict=True)
    reused = joined(np.array(path.maps), np.array(path.turns), len(path.steps) + 1)
    return Program(
        mode, frequency, amplitude, duration, turn, chain, *reused, np.array(turns), np.array(blocks)
    )  # fmt: skip
