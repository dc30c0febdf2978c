"""Walk the blocks of a `.seq` and write down what they do to the magnetisation: `program.Program`."""

from __future__ import annotations

import math

import numpy as np

from pulsetwin.errors import ProtocolError, ShapeError
from pulsetwin.sequences.events import NONE, Array
from pulsetwin.sequences.gradients import moment_at
from pulsetwin.sequences.seqfile import ADC, GX, GZ, RF, SeqFile
from pulsetwin.sim.bloch_mcconnell.coarse import coarser
from pulsetwin.sim.bloch_mcconnell.path import Path
from pulsetwin.sim.bloch_mcconnell.pool_model import PoolModel, check_field
from pulsetwin.sim.bloch_mcconnell.program import Program
from pulsetwin.sim.bloch_mcconnell.steps import Steps, exact_steps, sampled_steps

MODES = ("physical", "pulseq_cest")
_SPOILING = 50.0  # 1/m: a cycle of phase in 2 cm, which no voxel that is measured reaches
_ORIGIN = np.zeros((1, 3))


def compile_seq(
    seq: SeqFile,
    model: PoolModel,
    *,
    mode: str = "physical",
    reset: bool | None = None,
    spoiled: bool = False,
    at_excitations: bool = False,
    isochromats: Array | None = None,
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
    isochromats
        Positions [m], ``[isochromat, 3]``, whose magnetisation gradients dephase and whose mean is recorded, instead of
        the ideal spoiling of ``physical``. Gradients act between pulses, and on both sides of a pulse's centre.

    Raises
    ------
    ProtocolError
        If the mode is unknown, has no isochromats, or nothing is measured.
    ShapeError
        If `isochromats` has another shape.
    MismatchError
        If the fields disagree.
    """
    if mode not in MODES:
        raise ProtocolError(f"mode = {mode!r}: give one of {', '.join(MODES)}")
    if isochromats is not None and mode != "physical":
        raise ProtocolError(f"mode = {mode!r} spoils as Pulseq-CEST does: leave out isochromats")
    positions = _ORIGIN if isochromats is None else np.asarray(isochromats, np.float64)
    if positions.ndim != 2 or positions.shape[1] != 3 or not len(positions):
        raise ShapeError(f"isochromats {positions.shape}: give positions in m, [isochromat, 3]")
    check_field(seq, model)
    path = Path()
    rules = _Rules(seq, model.reset if reset is None else reset, spoiled, at_excitations, isochromats is not None)
    (_walk_physical if mode == "physical" else _walk_literal)(seq, model, path, rules)
    if not path.records:
        raise ProtocolError(f"{seq.path}: nothing is measured: no block has samples")
    return path.program(mode, positions)


class _Rules:
    """When to record, reset and spoil."""

    def __init__(self, seq: SeqFile, reset: bool, spoiled: bool, at_excitations: bool, dephased: bool) -> None:
        pulse, sampled = seq.events[:, RF] != NONE, seq.events[:, ADC] != NONE
        number = np.cumsum(pulse)
        followed = np.isin(number, number[sampled]) & pulse
        self.excites = followed if at_excitations else np.zeros(len(seq), bool)
        self.samples = np.zeros(len(seq), bool) if at_excitations else sampled
        self.reset, self.dephased = reset, dephased
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


def _walk_physical(seq: SeqFile, model: PoolModel, path: Path, rules: _Rules) -> None:
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
            if rules.dephased:
                path.dephase(moment + before)
            if rules.spoils[block] or (not rules.dephased and np.any(np.abs(moment + before) > _SPOILING)):
                path.crush()
            path.pulse(frequency[row], phase[row], steps)
            path.frame += 2 * math.pi * math.fmod(frequency[row] * steps.length, 1.0)
            passed, moment, whole = seq.rf.delay[row] + steps.length, np.zeros(3), whole - before
            if rules.excites[block]:
                path.record(block)
        if rules.samples[block]:
            path.wait(seq.adc.delay[adc] - passed)
            passed = seq.adc.delay[adc]
            if rules.dephased:
                path.dephase(moment)
                moment = np.zeros(3)
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


def _walk_literal(seq: SeqFile, model: PoolModel, path: Path, rules: _Rules) -> None:
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
