"""Spoiled gradient echo (FLASH): slices or a volume, one echo or several, gradient and RF spoiling."""

from __future__ import annotations

import math
from dataclasses import dataclass

import pypulseq as pp

from pulsetwin.scanner import Scanner
from pulsetwin.sequences.cartesian import labels, set_labels
from pulsetwin.sequences.checks import check_even, check_slices
from pulsetwin.sequences.describe_scan import describe
from pulsetwin.sequences.gradient_echo import add_excitation, add_readout, add_rewinding, spoiled_echo
from pulsetwin.sequences.noise_scan import begin_scan
from pulsetwin.sequences.orderings import interleaved, linear
from pulsetwin.sequences.protocol import setting, validate
from pulsetwin.sequences.rf_phase import spoiled_phase
from pulsetwin.sequences.sampling import calibration_labels, check_sampling, sampled, sampling_definitions
from pulsetwin.sequences.slice_pulse import position
from pulsetwin.sequences.timing import after_each, pause, rest


@dataclass(frozen=True, slots=True)
class Protocol:
    """Settings of a FLASH; a matrix of one partition gives slices, of more a volume."""

    fov: tuple[float, float, float] = setting((0.22, 0.22, 0.005), "m", "field of view along x, y, z", low=1e-4, high=1)
    matrix: tuple[int, int, int] = setting((128, 128, 1), "", "samples, lines and partitions", low=1, high=4096)
    slices: int = setting(1, "", "slices, with one partition only", low=1, high=512)
    slice_gap: float = setting(0.0, "m", "between slices", low=0, high=0.1)
    acceleration: tuple[int, int] = setting((1, 1), "", "along y and z: one of so many is sampled", low=1, high=16)
    caipi_shift: int = setting(0, "", "partitions by which sampled lines are shifted, one to the next", low=0, high=15)
    calibration: int = setting(0, "", "lines and partitions around the centre, all sampled", low=0, high=256)
    partial_fourier: tuple[float, float] = setting(
        (1.0, 1.0), "", "share along y and z that is sampled", low=0.5, high=1
    )
    flip_angle: float = setting(math.radians(15), "rad", "of the excitation", low=1e-3, high=math.pi)
    te: float | None = setting(None, "s", "first echo time; the least if none", low=0, high=1)
    tr: float | None = setting(None, "s", "repetition time of a slice; the least if none", low=0, high=60)
    echoes: int = setting(1, "", "echoes, all read in the same direction", low=1, high=64)
    bandwidth: float = setting(400.0, "Hz", "per pixel", low=1, high=1e5)
    oversampling: int = setting(2, "", "of the readout", low=1, high=8)
    rf_duration: float = setting(2e-3, "s", "of the excitation", low=1e-4, high=2e-2)
    time_bandwidth: float = setting(4.0, "", "of the excitation", low=1, high=32)
    spoiling: float = setting(2.0, "", "cycles of phase across a voxel along z that the spoiler makes", low=0, high=64)
    rf_spoiling: float = setting(math.radians(117), "rad", "increment of the RF phase's increment", low=0, high=7)
    dummies: int = setting(32, "", "repetitions before the first that is measured", low=0, high=100000)
    noise_samples: int = setting(0, "", "of a noise scan before all, at least", low=0, high=10**7)

    def __post_init__(self) -> None:
        validate(self)
        check_slices(self.matrix, self.slices)
        check_even(self.matrix)
        check_sampling(self)


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
        If a time is too short; the least that works is told.
    """
    p, raster = protocol, scanner.block_raster
    echo = spoiled_echo(p, scanner)
    flyback = pp.make_trapezoid("x", area=-echo.line.read.area, system=scanner.opts)
    spacing = echo.line.duration + pp.calc_duration(flyback)
    wait_te = rest("te", p.te, echo.te, raster)
    one = echo.duration + (p.echoes - 1) * spacing + wait_te
    wait_tr = after_each(p.tr, one, p.slices, raster)
    seq = pp.Sequence(scanner.opts)
    calibrating = calibration_labels(p)
    begin_scan(seq, "LIN PAR SLC ECO" + " REF IMA" * bool(calibrating), echo.line.adc, p.noise_samples, scanner)
    lines = [(number, partition) for number, partition in linear(sampled(p)).tolist()]
    for repetition, measured in enumerate([None] * p.dummies + lines):
        phase = spoiled_phase(p.rf_spoiling, repetition)
        where = measured or (p.matrix[1] // 2, p.matrix[2] // 2)
        for slice_number in interleaved(p.slices).tolist():
            add_excitation(seq, echo, where, position(slice_number, p.slices, p.fov[2], p.slice_gap), phase)
            pause(seq, wait_te)
            for number in range(p.echoes):
                if number:
                    seq.add_block(flyback)
                names = [*labels(*where, slice_number, number), *set_labels(**calibrating.get(where, {}))]
                add_readout(seq, echo, names if measured else None)
            add_rewinding(seq, echo, where)
            pause(seq, wait_tr)
    times = [echo.te + wait_te + number * spacing for number in range(p.echoes)]
    return describe(seq, p, times, p.slices * (one + wait_tr), Bandwidth=echo.line.bandwidth, **sampling_definitions(p))
