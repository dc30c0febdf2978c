"""Walk the blocks of a `.seq` and write down what they do to the magnetisation: `program.Program`."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from pulsetwin.errors import ProtocolError, ShapeError
from pulsetwin.sequences.events import NONE, Array
from pulsetwin.sequences.gradients import amplitude_at, moment_at
from pulsetwin.sequences.seqfile import ADC, GX, GZ, RF, SeqFile
from pulsetwin.sim.bloch_mcconnell.coarse import coarser
from pulsetwin.sim.bloch_mcconnell.path import Path
from pulsetwin.sim.bloch_mcconnell.pool_model import PoolModel, check_field
from pulsetwin.sim.bloch_mcconnell.program import Program
from pulsetwin.sim.bloch_mcconnell.steps import exact_steps, sampled_steps

MODES = ("physical", "pulseq_cest")
_SPOILING = 50.0  # 1/m: a cycle of phase in 2 cm, which no voxel that is measured reaches
_OVERLAP = 1e-9  # s
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
    start, pulses on their raster (see `coarse.coarser`), and in the middle of their slice where a gradient selects one,
    all time that passes; transverse magnetisation is gone before
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
        samples; they are not followed by the initial magnetisation.
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
    rules = _rules(seq, model.reset if reset is None else reset, spoiled, at_excitations, isochromats is not None)
    (_walk_physical if mode == "physical" else _walk_literal)(seq, model, path, rules)
    if not path.records:
        raise ProtocolError(f"{seq.path}: nothing is measured: no block has samples")
    return path.program(mode, positions)


@dataclass(frozen=True, slots=True)
class _Rules:
    """When to record and to spoil.

    Blocks whose pulse a record follows (`excites`), with a record (`samples`), whose pulse no transverse magnetisation
    reaches (`spoils`), bool ``[block]``; whether each record is followed by the initial magnetisation (`reset`); and
    whether gradients act on isochromats (`dephased`).
    """

    excites: Array
    samples: Array
    spoils: Array
    reset: bool
    dephased: bool


def _rules(seq: SeqFile, reset: bool, spoiled: bool, at_excitations: bool, dephased: bool) -> _Rules:
    pulse, sampled = seq.events[:, RF] != NONE, seq.events[:, ADC] != NONE
    number, never = np.cumsum(pulse), np.zeros(len(seq), bool)
    followed = np.isin(number, number[sampled]) & pulse
    spoils = _readout_pulses(seq, number, sampled) if spoiled else never
    if at_excitations:
        return _Rules(followed, never, spoils, False, dephased)
    return _Rules(never, sampled, spoils, reset, dephased)


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


def _tuned(seq: SeqFile, model: PoolModel) -> tuple[Array, Array]:
    """Return frequency [Hz] and phase [rad] of each RF event in the model's field."""
    megahertz = 1e-6 * model.gamma * model.b0 / (2 * math.pi)
    return seq.rf.freq + megahertz * seq.rf.freq_ppm, seq.rf.phase + megahertz * seq.rf.phase_ppm


def _walk_physical(seq: SeqFile, model: PoolModel, path: Path, rules: _Rules) -> None:
    frequency, phase = _tuned(seq, model)
    rotation, moment, known = seq.rotation, np.zeros(3), {}
    for block in range(len(seq)):
        row, adc, passed, before = seq.events[block, RF], seq.events[block, ADC], 0.0, np.zeros(3)
        if row != NONE:
            if row not in known:
                known[row] = coarser(exact_steps(seq, row), model)
            before = _moment(seq, block, rotation, seq.rf.delay[row] + seq.rf.center[row])
            path.wait(seq.rf.delay[row])
            _spoil(path, moment + before, rules.spoils[block], rules.dephased)
            offset, begins = _in_slice(seq, block, frequency[row], phase[row])
            path.pulse(offset, begins, known[row])
            path.frame += 2 * math.pi * math.fmod(offset * known[row].length, 1.0)
            passed, moment = seq.rf.delay[row] + known[row].length, np.zeros(3)
            if rules.excites[block]:
                path.record(block)
        if rules.samples[block]:
            if seq.adc.delay[adc] < passed - _OVERLAP:
                raise ProtocolError(f"{seq.path}: block {seq.number[block]} has samples during its pulse")
            path.wait(seq.adc.delay[adc] - passed)
            passed = seq.adc.delay[adc]
            if rules.dephased:
                until = _moment(seq, block, rotation, passed)
                path.dephase(moment + until - before)
                moment, before = np.zeros(3), until
            path.record(block)
            if rules.reset:
                path.reset()
        path.wait(seq.block_duration[block] - passed)
        moment = moment + _moment(seq, block, rotation, math.inf) - before


def _in_slice(seq: SeqFile, block: int, frequency: float, phase: float) -> tuple[float, float]:
    """Return frequency [Hz] and phase at the start [rad] of a pulse as the middle of its slice sees them.

    Under a gradient the offset of a pulse tells where the slice is, and the gradient makes up for it there; at the
    pulse's centre its phase is the same.
    """
    row, events = seq.events[block, RF], seq.events[block, GX : GZ + 1]
    middle = np.full((3, 1), seq.rf.delay[row] + seq.rf.center[row])
    if np.all(events == NONE) or not np.any(amplitude_at(seq.gradients, events, middle)):
        return frequency, phase
    place = seq.rf.freq[row]
    return frequency - place, phase + 2 * math.pi * math.fmod(place * seq.rf.center[row], 1.0)


def _spoil(path: Path, moment: Array, gone: bool, dephased: bool) -> None:
    """Do to transverse magnetisation what a gradient moment [1/m] does, or take it away."""
    if dephased:
        path.dephase(moment)
    elif np.any(np.abs(moment) > _SPOILING):
        gone = True
    if gone:
        path.crush()


def _moment(seq: SeqFile, block: int, rotation: Array, time: float) -> Array:
    """Return the gradients' integral from the block's start to a `time` in it [1/m], ``[3]``."""
    events = seq.events[block, GX : GZ + 1]
    if np.all(events == NONE):
        return np.zeros(3)
    if math.isinf(time):
        moment = np.append(seq.gradients.area, 0.0)[events]
    else:
        moment = moment_at(seq.gradients, events, np.full((3, 1), time))[:, 0]
    return moment if rotation[block] == NONE else seq.extensions.rotations[rotation[block]] @ moment


def _walk_literal(seq: SeqFile, model: PoolModel, path: Path, rules: _Rules) -> None:
    frequency, phase = _tuned(seq, model)
    degrees, known = 0, {}
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
            path.pulse(frequency[row], phase[row], steps)
            degrees += int(math.fmod(int(360 * steps.length * frequency[row]), 360))
            path.frame = math.radians(degrees)
            passed = seq.rf.delay[row] + steps.length
            if rules.excites[block]:
                path.record(block)
        path.wait(seq.block_duration[block] - passed)
        if row == NONE and np.all(seq.events[block, GX : GZ + 1] != NONE):
            path.crush()
