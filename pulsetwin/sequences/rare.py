"""Turbo spin echo (RARE): one echo or a train a shot, with a flip angle for each refocusing pulse; slices."""

from __future__ import annotations

import math
from dataclasses import dataclass
from types import SimpleNamespace

import pypulseq as pp

from pulsetwin.errors import ProtocolError
from pulsetwin.scanner import Scanner
from pulsetwin.sequences.cartesian import encoding, labels, least_duration, line, lobe
from pulsetwin.sequences.describe_scan import describe
from pulsetwin.sequences.protocol import setting, validate
from pulsetwin.sequences.slice_pulse import position, scaled, slice_pulse
from pulsetwin.sequences.timing import down, pause, rest, up


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
    tr: float | None = setting(None, "s", "repetition time of a slice; the least if none", low=0, high=60)
    bandwidth: float = setting(400.0, "Hz", "per pixel", low=1, high=1e5)
    oversampling: int = setting(2, "", "of the readout", low=1, high=8)
    excitation_duration: float = setting(2e-3, "s", "of the excitation", low=1e-4, high=2e-2)
    refocusing_duration: float = setting(2.5e-3, "s", "of the refocusing pulses", low=1e-4, high=2e-2)
    time_bandwidth: float = setting(4.0, "", "of all pulses", low=1, high=32)
    crushing: float = setting(4.0, "", "cycles across the slice on either side of a refocusing pulse", low=1, high=64)

    def __post_init__(self) -> None:
        validate(self)
        if self.matrix[0] % 2 or self.matrix[1] % self.train:
            raise ProtocolError(f"matrix = {self.matrix}, train = {self.train}: give an even number of samples, and "
                                "lines that are a multiple of the train")  # fmt: skip


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
    p, raster = protocol, scanner.block_raster
    parts = _parts(p, scanner)
    spacing = parts.least_spacing + rest("echo_spacing", p.echo_spacing, parts.least_spacing, 2 * raster)
    shot = parts.excitation.duration + parts.to_refocusing(spacing) + p.train * spacing
    wait = down(rest("tr", p.tr, p.slices * shot, raster) / p.slices, raster)
    seq = pp.Sequence(scanner.opts)
    seq.add_block(*labels(0, 0, 0, 0))
    shots = p.matrix[1] // p.train
    for number in range(shots):
        lines = _lines(p, number, shots)
        for slice_number in range(p.slices):
            _shot(seq, p, parts, lines, slice_number, spacing, scanner)
            pause(seq, wait)
    centre = next(echo for echo, row in enumerate(zip(*(_lines(p, n, shots) for n in range(shots)), strict=True))
                  if p.matrix[1] // 2 in row)  # fmt: skip
    te = spacing * (centre + 1)
    return describe(seq, p, te, p.slices * (shot + wait), EchoSpacing=spacing)


def _lines(p: Protocol, shot: int, shots: int) -> list[int]:
    """Return the lines of a shot in the order of its echoes: k-space in bands of `shots` lines, one for each echo."""
    bands = list(range(p.train))
    if p.order == "centric":
        middle = p.train // 2
        bands.sort(key=lambda band: (abs(band - middle), band))
    return [band * shots + shot for band in bands]


def _parts(p: Protocol, scanner: Scanner) -> SimpleNamespace:
    """Return the parts of a shot, and the least echo spacing [s].

    From the middle of a refocusing pulse to that of the next: its second half, crusher and line's encoding, readout,
    rewinder and crusher, and the first half of the next; delays on both sides of the readout fill up the spacing.
    """
    excitation = slice_pulse(
        math.pi / 2, p.fov[2], p.excitation_duration, p.time_bandwidth, "excitation", scanner
    )  # fmt: skip
    refocusing = slice_pulse(
        math.pi, p.fov[2], p.refocusing_duration, p.time_bandwidth, "refocusing", scanner
    )  # fmt: skip
    read = line(p.matrix[0], p.fov[0], p.bandwidth, p.oversampling, scanner)
    crusher, farthest = p.crushing / p.fov[2], p.matrix[1] / 2 / p.fov[1]
    crush = least_duration(crusher, farthest, scanner=scanner)
    prephase = least_duration(read.before, crusher - excitation.after, scanner=scanner)
    raster = scanner.block_raster
    halves = (refocusing.duration - refocusing.centre, refocusing.centre)
    sides = [half + crush + part for half, part in zip(halves, (read.echo, read.duration - read.echo), strict=True)]
    first = excitation.duration - excitation.centre + prephase + refocusing.centre
    least = up(2 * max(*sides, first), 2 * raster)

    def to_refocusing(spacing: float) -> float:
        """Return the time from the end of the excitation's block to the start of the first refocusing one's [s]."""
        return spacing / 2 - (excitation.duration - excitation.centre) - refocusing.centre

    def waits(spacing: float) -> tuple[float, float, float]:
        """Return the delays before the first refocusing pulse, and before and after a readout [s]."""
        early = down(spacing / 2 - sides[0], raster)
        late = spacing - refocusing.duration - 2 * crush - read.duration - early
        return to_refocusing(spacing) - prephase, early, late

    return SimpleNamespace(
        excitation=excitation, refocusing=refocusing, line=read, crusher=crusher, crush=crush, prephase=prephase,
        least_spacing=least, to_refocusing=to_refocusing, waits=waits,
    )  # fmt: skip


def _shot(
    seq: pp.Sequence, p: Protocol, parts: SimpleNamespace, lines: list[int], slice_number: int, spacing: float,
    scanner: Scanner,
) -> None:  # fmt: skip
    """Add an excitation and its train of echoes."""
    place = position(slice_number, p.slices, p.fov[2], p.slice_gap)
    first, early, late = parts.waits(spacing)
    seq.add_block(*parts.excitation.tuned(place, 0.0))
    seq.add_block(
        lobe("x", parts.line.before, parts.prephase, scanner),
        lobe("z", parts.crusher - parts.excitation.after, parts.prephase, scanner),
    )
    pause(seq, first)
    for echo, number in enumerate(lines):
        angle = p.refocusing[min(echo, len(p.refocusing) - 1)]
        rf, select, fill = parts.refocusing.tuned(place, math.pi / 2)
        k = encoding(number, p.matrix[1], p.fov[1])
        # crushers of one echo are those of the next: each side of a pulse has the same
        seq.add_block(scaled(rf, angle / math.pi), select, fill)
        seq.add_block(lobe("y", k, parts.crush, scanner), lobe("z", parts.crusher, parts.crush, scanner))
        pause(seq, early)
        seq.add_block(parts.line.read, parts.line.adc, *labels(number, 0, slice_number, 0))
        pause(seq, late)
        seq.add_block(lobe("y", -k, parts.crush, scanner), lobe("z", parts.crusher, parts.crush, scanner))
