"""3D-QALAS: T2 preparation, train, inversion, four trains; T1, T2 and proton density from five volumes."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pypulseq as pp

from pulsetwin.errors import ProtocolError
from pulsetwin.scanner import Scanner
from pulsetwin.sequences.checks import check_even
from pulsetwin.sequences.describe_scan import describe
from pulsetwin.sequences.events import Array
from pulsetwin.sequences.known_events import registered
from pulsetwin.sequences.noise_scan import add_noise_scan
from pulsetwin.sequences.orderings import annular, centred_block, centric, elliptical_mask, poisson_mask
from pulsetwin.sequences.preparations import Preparation, inversion, play, t2_preparation
from pulsetwin.sequences.protocol import setting, validate
from pulsetwin.sequences.qalas_train import CONTRASTS, Train, add_train, flip_angles, label, readout_train
from pulsetwin.sequences.timing import pause, rest


@dataclass(frozen=True, slots=True)
class Protocol:
    """Settings of a 3D-QALAS; times are from centre to centre of pulses. The defaults are the 1 mm in-vivo protocol."""

    fov: tuple[float, float, float] = setting(
        (0.256, 0.24, 0.208), "m", "field of view along x, y, z", low=1e-4, high=1
    )
    matrix: tuple[int, int, int] = setting((256, 240, 208), "", "samples, lines and partitions", low=2, high=4096)
    acceleration: float | None = setting(
        6.21, "", "lines of the whole matrix per line that is sampled, in a Poisson-disc pattern with which the last "
        "train is filled; the whole ellipse if none", low=1, high=64,
    )  # fmt: skip
    calibration: int = setting(16, "", "lines and partitions of the fully sampled centre", low=0, high=512)
    seed: int = setting(0, "", "of the sampling pattern", low=0, high=2**31)
    train: int = setting(127, "", "readouts of a train", low=1, high=4096)
    flip_angle: tuple[float, ...] = setting(
        (math.radians(4),), "rad", "of the readouts: of all, or of each of the five trains", low=1e-3, high=math.pi / 2
    )
    te: float | None = setting(2.276e-3, "s", "echo time; the least if none", low=0, high=1)
    echo_spacing: float | None = setting(5.8e-3, "s", "from readout to readout; the least if none", low=0, high=1)
    bandwidth: float = setting(325.5, "Hz", "per pixel", low=1, high=1e5)
    oversampling: int = setting(2, "", "of the readout", low=1, high=8)
    rf_duration: float = setting(100e-6, "s", "of the hard excitations", low=1e-6, high=1e-2)
    spoiling: float = setting(1.5, "", "cycles of phase across a voxel along x of each readout", low=0, high=64)
    rf_spoiling: float = setting(
        math.radians(117), "rad", "increment of the RF phase's increment, which starts anew each TR", low=0, high=7
    )
    t2prep_te: float = setting(0.1, "s", "from the 90-degree pulse to the -90-degree pulse", low=1e-3, high=1)
    t2prep_delay: float | None = setting(
        10.04e-3, "s", "from the -90-degree pulse to the first readout; the least if none", low=0, high=1
    )
    inversion_gap: float | None = setting(
        899.78e-3, "s", "from the first train to the second, with the inversion between; the least if none", high=60,
        low=0,
    )  # fmt: skip
    ti: float | None = setting(
        100.13e-3, "s", "from the inversion to the second train; the least if none", low=0, high=60
    )
    gap: float | None = setting(0.9, "s", "from train to train after that; the least if none", low=0, high=60)
    tr: float | None = setting(4.50002, "s", "repetition time; the least if none", low=0, high=600)
    refocusing_duration: float = setting(3.5e-3, "s", "of the adiabatic refocusing pulses", low=1e-4, high=5e-2)
    refocusing_b1: float = setting(20e-6, "T", "peak of the adiabatic refocusing pulses", low=1e-7, high=1e-2)
    refocusing_sweep: float = setting(7e3, "Hz", "offset at which they start and end", low=1, high=1e6)
    inversion_duration: float = setting(12.8e-3, "s", "of the adiabatic inversion", low=1e-4, high=5e-2)
    inversion_b1: float | None = setting(
        None, "T", "peak of the adiabatic inversion; 21 uT if none, or the scanner's if less", low=1e-7, high=1e-2
    )
    inversion_sweep: float = setting(830.0, "Hz", "offset at which it starts and ends", low=1, high=1e6)
    crushing: float = setting(
        3.0, "", "cycles of phase across a voxel along z of the spoilers after preparations", low=0, high=64
    )
    crusher_duration: float = setting(9.68e-3, "s", "of those spoilers", low=0, high=0.1)
    noise_samples: int = setting(0, "", "of noise before the first pulse, at least", low=0, high=10**7)
    dummies: int = setting(1, "", "TRs before the first that is measured", low=0, high=100)

    def __post_init__(self) -> None:
        validate(self)
        check_even(self.matrix)
        if len(self.flip_angle) not in (1, CONTRASTS):
            raise ProtocolError(f"flip_angle has {len(self.flip_angle)} values: give 1 or {CONTRASTS}")


@dataclass(frozen=True, slots=True)
class _Plan:
    """Preparations and train of a TR, and its pauses [s]: before the first train, around the inversion, and so on."""

    prepared: Preparation
    inverted: Preparation
    train: Train
    before_first: float
    before_inversion: float
    after_inversion: float
    between: float
    at_end: float

    def starts(self, length: int) -> list[float]:
        """Return the start of each train of `length` readouts in the TR [s]."""
        lasting = length * self.train.spacing
        first = self.prepared.duration + self.before_first
        second = first + lasting + self.before_inversion + self.inverted.duration + self.after_inversion
        return [first, *[second + number * (lasting + self.between) for number in range(CONTRASTS - 1)]]


def build(protocol: Protocol, scanner: Scanner) -> pp.Sequence:
    """Return the sequence.

    LIN, PAR, ECO (the contrast, 0 to 4) and SEG (the TR) name each readout; REF and IMA are 1 in the fully sampled
    centre. All contrasts have the same pattern, and echo e of each train is on the e-th annulus of it.

    Parameters
    ----------
    protocol
        The settings.
    scanner
        Whose limits and rasters are kept.

    Raises
    ------
    ProtocolError
        If a time is too short; the least that works is told.

    References
    ----------
    Kvernby et al. 2014, doi:10.1186/s12968-014-0102-0; Jun et al. 2023, doi:10.1002/mrm.29786.
    """
    p = protocol
    seq = pp.Sequence(scanner.opts)
    plan, orders, marks = _plan(seq, p, scanner), sampling(p), _marks(p)
    seq.add_block(*[label(seq, name, int(name == "ONCE")) for name in _labels(p)])
    add_noise_scan(seq, plan.train.acquisitions[0], p.noise_samples, scanner)
    for repetition in range(-p.dummies, len(orders)):
        if repetition == 0 and "ONCE" in _labels(p):
            seq.add_block(label(seq, "ONCE", 0))
        _add_repetition(seq, plan, orders[max(repetition, 0)], repetition, marks)
    return _described(seq, p, plan, len(orders))


def sampling(protocol: Protocol) -> Array:
    """Return line and partition of each readout, int64 ``[TR, readout of a train, 2]``, which all contrasts share."""
    p, shape = protocol, (protocol.matrix[2], protocol.matrix[1])
    cells = math.prod(shape)
    wanted = int(elliptical_mask(shape).sum()) if p.acceleration is None else math.ceil(cells / p.acceleration)
    filled = min(math.ceil(wanted / p.train) * p.train, cells)
    if p.acceleration is None:  # what is needed to fill the last train lies around the ellipse
        mask = np.zeros(shape, bool)
        mask[tuple(centric(~mask)[:filled, ::-1].T)] = True
    else:
        mask = poisson_mask(shape, cells / filled, calibration=(p.calibration,) * 2, seed=p.seed)
    return annular(mask, p.train)


def _plan(seq: pp.Sequence, p: Protocol, scanner: Scanner) -> _Plan:
    raster, crushing = scanner.block_raster, p.crushing * p.matrix[2] / p.fov[2]
    prepared = t2_preparation(
        p.t2prep_te, p.refocusing_duration, p.refocusing_b1, p.refocusing_sweep, crushing, scanner,
        spoiler_duration=p.crusher_duration,
    )  # fmt: skip
    inverted = inversion(
        p.inversion_duration, p.inversion_b1, p.inversion_sweep, crushing, scanner, spoiler_duration=p.crusher_duration
    )
    train = readout_train(seq, p, scanner)
    lasting = p.train * train.spacing
    before_first = rest("t2prep_delay", p.t2prep_delay, prepared.after + train.centre, raster)
    after_inversion = rest("ti", p.ti, inverted.after + train.centre, raster)
    before_inversion = rest("inversion_gap", p.inversion_gap, lasting + inverted.duration + after_inversion, raster)
    between = rest("gap", p.gap, lasting, raster)
    pauses = (before_first, before_inversion, after_inversion, between, 0.0)
    plan = _Plan(_known(seq, prepared), _known(seq, inverted), train, *pauses)
    return replace(plan, at_end=rest("tr", p.tr, plan.starts(p.train)[-1] + lasting, raster))


def _known(seq: pp.Sequence, preparation: Preparation) -> Preparation:
    """Return a preparation with its events registered."""
    blocks = tuple(tuple(registered(seq, event) for event in block) for block in preparation.blocks)
    return replace(preparation, blocks=blocks)


def _labels(p: Protocol) -> list[str]:
    """Return the labels that the sequence uses."""
    wanted = {
        "LIN": True, "PAR": True, "ECO": True, "SEG": True, "REF": p.calibration > 0, "IMA": p.calibration > 0,
        "NOISE": p.noise_samples > 0, "ONCE": p.dummies + p.noise_samples > 0,
    }  # fmt: skip
    return [name for name, used in wanted.items() if used]


def _add_repetition(seq: pp.Sequence, plan: _Plan, order: Array, repetition: int, marks: Array) -> None:
    """Add a TR; nothing is acquired if its number is negative."""
    for contrast in range(CONTRASTS):
        if contrast == 0:
            play(seq, plan.prepared)
            pause(seq, plan.before_first)
        elif contrast == 1:
            pause(seq, plan.before_inversion)
            play(seq, plan.inverted)
            pause(seq, plan.after_inversion)
        else:
            pause(seq, plan.between)
        names = None if repetition < 0 else _names(seq, order, contrast, repetition, marks)
        add_train(seq, plan.train, contrast, order, names)
    pause(seq, plan.at_end)


def _marks(p: Protocol) -> Array:
    """Return which lines and partitions are the fully sampled centre, bool ``[line, partition]``."""
    return centred_block((p.matrix[1], p.matrix[2]), (p.calibration,) * 2)


def _names(seq: pp.Sequence, order: Array, contrast: int, repetition: int, marks: Array) -> list[list[Any]]:
    """Return the labels of each readout besides line and partition: all at the first, then those that change."""
    names: list[list[Any]] = [[] for _ in order]
    names[0] = [label(seq, "ECO", contrast), label(seq, "SEG", repetition)]
    if marks.any():
        marked = marks[tuple(order.T)]
        for echo in [0, *(np.nonzero(np.diff(marked))[0] + 1)]:
            names[echo] += [label(seq, name, int(marked[echo])) for name in ("REF", "IMA")]
    return names


def _described(seq: pp.Sequence, p: Protocol, plan: _Plan, repetitions: int) -> pp.Sequence:
    """Set the definitions, of which the times [s] are all that maps need: centres of pulses since the TR's start."""
    starts = plan.starts(p.train)
    pulse = plan.inverted.blocks[0][0]
    begin = starts[1] - plan.after_inversion - plan.inverted.duration
    return describe(
        seq, p, plan.train.te, starts[-1] + p.train * plan.train.spacing + plan.at_end,
        TI=plan.inverted.after + plan.after_inversion + plan.train.centre, EchoSpacing=plan.train.spacing,
        T2prepStart=plan.prepared.before - p.t2prep_te, T2prepTE=p.t2prep_te, InversionStart=begin + pulse.delay,
        InversionDuration=pulse.shape_dur, TrainStarts=[start + plan.train.centre for start in starts],
        TrainLength=p.train, FlipAngles=flip_angles(p),
        Acceleration=p.matrix[1] * p.matrix[2] / (repetitions * p.train), Repetitions=repetitions,
    )  # fmt: skip
