"""Readouts that follow a preparation: a train of gradient echoes, echo-planar trains, or a free induction decay."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
import pypulseq as pp

from pulsetwin.errors import ProtocolError
from pulsetwin.scanner import Scanner
from pulsetwin.sequences import orderings
from pulsetwin.sequences.cartesian import encoding, least_duration, lobe, set_labels
from pulsetwin.sequences.checks import check_even
from pulsetwin.sequences.epi_train import add_lines, add_navigators, train
from pulsetwin.sequences.gradient_echo import add_excitation, add_readout, add_rewinding, spoiled_echo
from pulsetwin.sequences.hard_pulse import hard_pulse
from pulsetwin.sequences.noise_scan import begin_scan
from pulsetwin.sequences.protocol import setting
from pulsetwin.sequences.rf_phase import spoiled_phase
from pulsetwin.sequences.slice_pulse import slice_pulse
from pulsetwin.sequences.timing import down, pause, rest, up, whole

LABELS = "LIN PAR SLC SET AVG SEG NAV REV"
_COMMON = ("fov", "matrix", "rf_duration", "time_bandwidth", "bandwidth", "oversampling", "spoiling")


@dataclass(frozen=True, slots=True)
class Readout:
    """What is played after a preparation.

    Parameters
    ----------
    add
        Adds a shot to a sequence: called with the sequence, the number of the shot and the number of the measurement.
    duration
        Of a shot [s].
    te
        From an excitation's centre to where k is 0, or to the first sample without encoding [s].
    centre
        From the start of the first shot to the excitation of the centre of k-space [s].
    adc
        Its acquisition.
    """

    add: Callable[[pp.Sequence, int, int], None]
    duration: float
    te: float
    centre: float
    adc: Any


@dataclass(frozen=True, slots=True)
class Settings:
    """Settings of the readout, which protocols of prepared scans begin with."""

    fov: tuple[float, float, float] = setting((0.22, 0.22, 0.005), "m", "field of view along x, y, z", low=1e-4, high=1)
    matrix: tuple[int, int, int] = setting((64, 64, 1), "", "samples, lines and partitions", low=1, high=1024)
    readout: str = setting(
        "flash", "", "train of gradient echoes, echo-planar trains, or a decay without gradients (matrix 1, 1, 1)",
        choices=("flash", "epi", "fid"),
    )  # fmt: skip
    order: str = setting("centric", "", "of lines, or of partitions of epi", choices=("centric", "linear"))
    shots: int = setting(1, "", "preparations that share the lines of an image", low=1, high=4096)
    te: float | None = setting(None, "s", "echo time; the least if none", low=0, high=1)
    echo_spacing: float | None = setting(None, "s", "from excitation to excitation; the least if none", low=0, high=1)
    bandwidth: float = setting(800.0, "Hz", "per pixel", low=1, high=1e6)
    oversampling: int = setting(2, "", "of the readout", low=1, high=8)
    rf_duration: float = setting(2e-3, "s", "of the excitations", low=1e-4, high=2e-2)
    time_bandwidth: float = setting(4.0, "", "of the excitations", low=1, high=32)
    spoiling: float = setting(2.0, "", "cycles of phase across a voxel along z after each excitation", low=0, high=64)
    rf_spoiling: float = setting(math.radians(117), "rad", "increment of the RF phase's increment", low=0, high=7)
    noise_samples: int = setting(0, "", "of a noise scan before all, at least", low=0, high=10**7)
    segments: int = setting(1, "", "epi: trains that share the lines of a partition", low=1, high=256)
    navigators: bool = setting(True, "", "epi: three echoes without phase encoding at the start of a shot")
    ramp_sampling: bool = setting(False, "", "epi: sample on the ramps")


def check_readout(settings: Settings) -> None:
    """Check that the matrix suits the readout.

    Raises
    ------
    ProtocolError
        If not.
    """
    p = settings
    if p.readout == "fid":
        if p.matrix != (1, 1, 1) or p.shots > 1:
            raise ProtocolError(f"matrix = {p.matrix}, shots = {p.shots}: a fid has no encoding, give 1, 1, 1 and 1")
        return
    check_even(p.matrix)
    if p.readout != "epi" and p.segments > 1:
        raise ProtocolError(f"segments = {p.segments}: only epi has them, give shots")
    if p.readout == "epi" and p.matrix[1] % (2 * p.segments):
        raise ProtocolError(f"matrix = {p.matrix}, segments = {p.segments}: give a multiple of {2 * p.segments} lines")
    if len(_places(p)) % p.shots:
        raise ProtocolError(f"shots = {p.shots}: give a divisor of the {len(_places(p))} excitations of an image")


def readout(settings: Settings, flip_angle: float, scanner: Scanner) -> Readout:
    """Return the readout with a `flip_angle` [rad].

    Raises
    ------
    ProtocolError
        If a time is too short; the least that works is told.
    """
    return {"flash": _flash, "epi": _epi, "fid": _fid}[settings.readout](settings, flip_angle, scanner)


def start(settings: Settings, snapshot: Readout, scanner: Scanner) -> pp.Sequence:
    """Return a sequence that begins with its labels, which are 0, and a noise scan."""
    seq = pp.Sequence(scanner.opts)
    begin_scan(seq, LABELS, snapshot.adc, settings.noise_samples, scanner)
    return seq


def _places(p: Settings) -> list[tuple[int, int]]:
    """Return what the excitations of an image encode, in order: line, or segment of epi, and partition."""
    order = orderings.centric if p.order == "centric" else orderings.linear
    if p.readout == "epi":
        partitions = order(np.ones((1, p.matrix[2]), bool))[:, 0]
        return [(segment, partition) for partition in partitions.tolist() for segment in range(p.segments)]
    return [(line, partition) for line, partition in order(np.ones(p.matrix[2:0:-1], bool)).tolist()]


def _centre(p: Settings, spacing: float, first: float) -> float:
    """Return when a shot excites the centre of k-space [s]."""
    middle = (0 if p.readout == "epi" else p.matrix[1] // 2, p.matrix[2] // 2)
    return _places(p).index(middle) // p.shots * spacing + first


def _flash(p: Settings, flip_angle: float, scanner: Scanner) -> Readout:
    echo = spoiled_echo(SimpleNamespace(flip_angle=flip_angle, **{name: getattr(p, name) for name in _COMMON}), scanner)
    wait_te = rest("te", p.te, echo.te, scanner.block_raster)
    wait = rest("echo_spacing", p.echo_spacing, echo.duration + wait_te, scanner.block_raster)
    places = _places(p)

    def add(seq: pp.Sequence, shot: int, number: int) -> None:
        for count, (line, partition) in enumerate(places[shot :: p.shots]):
            add_excitation(seq, echo, (line, partition), 0.0, spoiled_phase(p.rf_spoiling, count))
            pause(seq, wait_te)
            add_readout(seq, echo, set_labels(LIN=line, PAR=partition, SET=number))
            add_rewinding(seq, echo, (line, partition))
            pause(seq, wait)

    spacing = echo.duration + wait_te + wait
    duration = len(places) // p.shots * spacing
    return Readout(add, duration, echo.te + wait_te, _centre(p, spacing, echo.pulse.centre), echo.line.adc)


def _epi(p: Settings, flip_angle: float, scanner: Scanner) -> Readout:
    parts, raster, places = _epi_parts(p, flip_angle, scanner), scanner.block_raster, _places(p)
    middle = p.matrix[1] // 2
    # segments are shifted in time, so that the phase of off-resonance grows smoothly from line to line
    shift = [down(segment * parts.train.spacing / p.segments, raster) for segment in range(p.segments)]
    central = middle // p.segments * parts.train.spacing + shift[middle % p.segments] + parts.train.line.echo
    wait_te = rest("te", p.te, parts.first + central, raster)
    least = parts.pulse.centre + parts.first + wait_te + shift[-1] + parts.length + parts.rewind
    wait = rest("echo_spacing", p.echo_spacing, least, raster)

    def add(seq: pp.Sequence, shot: int, number: int) -> None:
        for count, (segment, partition) in enumerate(places[shot :: p.shots]):
            phase = spoiled_phase(p.rf_spoiling, count)
            waits = wait_te + shift[segment], wait + shift[-1] - shift[segment]
            _add_train(seq, p, parts, (segment, partition), number, phase, waits, scanner)

    spacing = least + wait
    duration = len(places) // p.shots * spacing
    te, centre = parts.first + wait_te + central, _centre(p, spacing, parts.pulse.centre)
    return Readout(add, duration, te, centre, parts.train.line.adc)


def _epi_parts(p: Settings, flip_angle: float, scanner: Scanner) -> SimpleNamespace:
    """Return the parts of an echo-planar train; and how long its lobes, its lines and what leads to them last [s]."""
    pulse = slice_pulse(flip_angle, p.fov[2], p.rf_duration, p.time_bandwidth, "excitation", scanner)
    lines = train(
        p.matrix[0], p.fov[0], p.bandwidth, p.oversampling, p.segments / p.fov[1], p.ramp_sampling, scanner
    )  # fmt: skip
    y, z = (count / 2 / fov for count, fov in zip(p.matrix[1:], p.fov[1:], strict=True))
    spoiler = p.spoiling * p.matrix[2] / p.fov[2]
    opening = least_duration(lines.line.before, pulse.after, scanner=scanner)
    lead = least_duration(lines.line.before, y, pulse.after + z, scanner=scanner)
    navigation = opening + lines.duration(3) if p.navigators else 0.0
    return SimpleNamespace(
        pulse=pulse, train=lines, spoiler=spoiler, opening=opening, lead=lead,
        rewind=least_duration(lines.line.before, y, spoiler + z, scanner=scanner),
        first=pulse.duration - pulse.centre + navigation + lead, length=lines.duration(p.matrix[1] // p.segments),
    )  # fmt: skip


def _add_train(
    seq: pp.Sequence, p: Settings, parts: SimpleNamespace, where: tuple[int, int], number: int, phase: float,
    waits: tuple[float, float], scanner: Scanner,
) -> None:  # fmt: skip
    """Add an excitation and the lines of a segment and partition, with delays before and after them [s]."""
    segment, partition = where
    lines = list(range(segment, p.matrix[1], p.segments))
    y = [encoding(line, p.matrix[1], p.fov[1]) for line in (lines[0], lines[-1])]
    z, before, middle = encoding(partition, p.matrix[2], p.fov[2]), parts.train.line.before, p.matrix[1] // 2
    names = {"PAR": partition, "SET": number}
    parts.train.line.adc.phase_offset = phase
    seq.add_block(*parts.pulse.tuned(0.0, phase))
    if p.navigators:
        seq.add_block(
            lobe("x", before, parts.opening, scanner), lobe("z", -parts.pulse.after, parts.opening, scanner)
        )  # fmt: skip
        add_navigators(seq, parts.train, middle, names)
    pause(seq, waits[0])
    seq.add_block(
        lobe("x", 0.0 if p.navigators else -before, parts.lead, scanner), lobe("y", y[0], parts.lead, scanner),
        lobe("z", z - (0.0 if p.navigators else parts.pulse.after), parts.lead, scanner),
        *set_labels(**names, NAV=0, AVG=0),
    )  # fmt: skip
    add_lines(seq, parts.train, lines, 1, middle, measured=True)
    seq.add_block(
        lobe("x", before if len(lines) % 2 == 0 else -before, parts.rewind, scanner),
        lobe("y", -y[1], parts.rewind, scanner), lobe("z", parts.spoiler - z, parts.rewind, scanner),
    )  # fmt: skip
    pause(seq, waits[1])


def _fid(p: Settings, flip_angle: float, scanner: Scanner) -> Readout:
    rf = hard_pulse(flip_angle, p.rf_duration, "excitation", scanner)
    samples, raster = p.oversampling, scanner.block_raster
    dwell = whole(1 / (p.bandwidth * samples), scanner.adc_raster)
    adc = pp.make_adc(samples, dwell=dwell, delay=scanner.adc_dead_time, system=scanner.opts)
    pulse = up(scanner.rf_dead_time + p.rf_duration + scanner.rf_ringdown_time, raster)
    read = up(2 * scanner.adc_dead_time + samples * dwell, raster)
    centre = rf.delay + rf.shape_dur / 2
    least = pulse - centre + scanner.adc_dead_time + dwell / 2
    wait = rest("te", p.te, least, raster)

    def add(seq: pp.Sequence, shot: int, number: int) -> None:
        seq.add_block(rf, pp.make_delay(pulse))
        pause(seq, wait)
        seq.add_block(adc, pp.make_delay(read), *set_labels(SET=number))

    return Readout(add, pulse + wait + read, least + wait, centre, adc)
