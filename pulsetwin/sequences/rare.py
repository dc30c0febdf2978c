"""Turbo spin echo (RARE): one echo or a train a shot, with a flip angle for each refocusing pulse; slices."""

from __future__ import annotations

import math
from dataclasses import dataclass

import pypulseq as pp

from pulsetwin.errors import ProtocolError
from pulsetwin.scanner import Scanner
from pulsetwin.sequences.cartesian import labels
from pulsetwin.sequences.describe_scan import describe
from pulsetwin.sequences.noise_scan import begin_scan
from pulsetwin.sequences.orderings import interleaved
from pulsetwin.sequences.protocol import setting, validate
from pulsetwin.sequences.slice_pulse import position
from pulsetwin.sequences.spin_echo_train import add_train, spin_echo_train
from pulsetwin.sequences.timing import after_each, pause


@dataclass(frozen=True, slots=True)
class Protocol:
    """Settings of a RARE; a train of one echo is a spin echo."""

    fov: tuple[float, float, float] = setting((0.22, 0.22, 0.005), "m", "field of view along x, y, z", low=1e-4, high=1)
    matrix: tuple[int, int] = setting((128, 128), "", "samples and lines", low=2, high=4096)
    slices: int = setting(1, "", "slices", low=1, high=512)
    slice_gap: float = setting(0.0, "m", "between slices", low=0, high=0.1)
    train: int = setting(16, "", "echoes after an excitation, of which the lines are a multiple", low=1, high=1024)
    order: str = setting("linear", "", "of the lines in a train", choices=("linear", "centric"))
    refocusing: tuple[float, ...] = setting(
        (math.pi,), "rad", "of the refocusing pulses; the last counts for those that follow", low=0.01, high=math.pi
    )
    echo_spacing: float | None = setting(None, "s", "the least if none", low=0, high=1)
    te: float | None = setting(
        None, "s", "the echo next to it reads the central line, in linear order; as ordered if none", low=0, high=60
    )
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
        if self.matrix[0] % 2 or self.matrix[1] % self.train:
            raise ProtocolError(f"matrix = {self.matrix}, train = {self.train}: give an even number of samples, and "
                                "lines that are a multiple of the train")  # fmt: skip
        if self.te is not None and self.order != "linear":
            raise ProtocolError(f"te = {1e3 * self.te:g} ms, order = {self.order}: give te with the order linear only")


def build(protocol: Protocol, scanner: Scanner) -> pp.Sequence:
    """Return the sequence, excited along x and refocused along y of the rotating frame (CPMG).

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
    p, parts = protocol, spin_echo_train(protocol, scanner)
    shot = parts.duration(p.train)
    wait = after_each(p.tr, shot, p.slices, scanner.block_raster)
    seq = pp.Sequence(scanner.opts)
    begin_scan(seq, "LIN PAR SLC ECO", parts.line.adc, p.noise_samples, scanner)
    shots, centre = p.matrix[1] // p.train, _central_echo(p, parts.spacing)
    for number in [None] * p.dummies + list(range(shots)):
        lines = _lines(p, number or 0, shots, centre)
        for slice_number in interleaved(p.slices).tolist():
            place = position(slice_number, p.slices, p.fov[2], p.slice_gap)
            names = None if number is None else [labels(row, 0, slice_number, 0) for row in lines]
            add_train(seq, parts, lines, names, place, p.refocusing)
            pause(seq, wait)
    te = parts.spacing * (centre + 1)
    return describe(seq, p, te, p.slices * (shot + wait), EchoSpacing=parts.spacing, Bandwidth=parts.line.bandwidth)


def _central_echo(p: Protocol, spacing: float) -> int:
    """Return the number of the echo that reads the central line, counted from 0."""
    if p.te is None:
        return 0 if p.order == "centric" else p.train // 2
    echo = round(p.te / spacing)
    if not 1 <= echo <= p.train:
        raise ProtocolError(f"te = {1e3 * p.te:.6g} ms is not among the echoes: give {1e3 * spacing:.6g} to "
                            f"{1e3 * p.train * spacing:.6g} ms, or another train or echo_spacing")  # fmt: skip
    return echo - 1


def _lines(p: Protocol, shot: int, shots: int, centre: int) -> list[int]:
    """Return the lines of a shot in the order of its echoes: k-space in bands of `shots` lines, one for each echo.

    In linear order the bands are turned round in a ring until the middle one comes at echo `centre`.
    """
    middle = p.train // 2
    bands = [(echo - centre + middle) % p.train for echo in range(p.train)]
    if p.order == "centric":
        bands.sort(key=lambda band: (abs(band - middle), band))
    return [band * shots + shot for band in bands]
