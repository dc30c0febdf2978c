"""Multi-echo spin echo: T2 from a train of echoes of one line after each excitation; slices."""

from __future__ import annotations

import math
from dataclasses import dataclass

import pypulseq as pp

from pulsetwin.scanner import Scanner
from pulsetwin.sequences.cartesian import labels
from pulsetwin.sequences.checks import check_even
from pulsetwin.sequences.describe_scan import describe
from pulsetwin.sequences.noise_scan import begin_scan
from pulsetwin.sequences.orderings import interleaved
from pulsetwin.sequences.protocol import setting, validate
from pulsetwin.sequences.slice_pulse import position
from pulsetwin.sequences.spin_echo_train import add_train, spin_echo_train
from pulsetwin.sequences.timing import after_each, pause


@dataclass(frozen=True, slots=True)
class Protocol:
    """Settings of a multi-echo spin echo."""

    fov: tuple[float, float, float] = setting((0.22, 0.22, 0.005), "m", "field of view along x, y, z", low=1e-4, high=1)
    matrix: tuple[int, int] = setting((128, 128), "", "samples and lines", low=2, high=4096)
    slices: int = setting(1, "", "slices", low=1, high=512)
    slice_gap: float = setting(0.0, "m", "between slices", low=0, high=0.1)
    echoes: int = setting(16, "", "of each line", low=1, high=1024)
    refocusing: tuple[float, ...] = setting(
        (math.pi,), "rad", "of the refocusing pulses; the last counts for those that follow", low=0.01, high=math.pi
    )
    echo_spacing: float | None = setting(None, "s", "the least if none", low=0, high=1)
    tr: float | None = setting(2.0, "s", "repetition time of a slice; the least if none", low=0, high=60)
    bandwidth: float = setting(400.0, "Hz", "per pixel", low=1, high=1e5)
    oversampling: int = setting(2, "", "of the readout", low=1, high=8)
    excitation_duration: float = setting(2e-3, "s", "of the excitation", low=1e-4, high=2e-2)
    refocusing_duration: float = setting(2.5e-3, "s", "of the refocusing pulses", low=1e-4, high=2e-2)
    time_bandwidth: float = setting(4.0, "", "of all pulses", low=1, high=32)
    crushing: float = setting(4.0, "", "cycles across the slice on either side of a refocusing pulse", low=1, high=64)
    dummies: int = setting(1, "", "excitations of each slice before the first that is measured", low=0, high=1000)
    noise_samples: int = setting(0, "", "of a noise scan before all, at least", low=0, high=10**7)

    def __post_init__(self) -> None:
        validate(self)
        check_even(self.matrix)


def build(protocol: Protocol, scanner: Scanner) -> pp.Sequence:
    """Return the sequence; the label ECO counts echoes, whose times are the definition TE.

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
    """
    p, train = protocol, spin_echo_train(protocol, scanner)
    shot = train.duration(p.echoes)
    wait = after_each(p.tr, shot, p.slices, scanner.block_raster)
    seq = pp.Sequence(scanner.opts)
    begin_scan(seq, "LIN PAR SLC ECO", train.line.adc, p.noise_samples, scanner)
    for line in [None] * p.dummies + list(range(p.matrix[1])):
        for slice_number in interleaved(p.slices).tolist():
            place = position(slice_number, p.slices, p.fov[2], p.slice_gap)
            names = None if line is None else [labels(line, 0, slice_number, echo) for echo in range(p.echoes)]
            lines = [p.matrix[1] // 2 if line is None else line] * p.echoes
            add_train(seq, train, lines, names, place, p.refocusing)
            pause(seq, wait)
    times = [train.spacing * (echo + 1) for echo in range(p.echoes)]
    return describe(seq, p, times, p.slices * (shot + wait), EchoSpacing=train.spacing, Bandwidth=train.line.bandwidth)
