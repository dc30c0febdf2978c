"""Echo-planar imaging: gradient or spin echo, navigators, ramp sampling, segments, blips up, down, both or none."""

from __future__ import annotations

import math
from dataclasses import dataclass
from types import SimpleNamespace

import pypulseq as pp

from pulsetwin.errors import ProtocolError
from pulsetwin.scanner import Scanner
from pulsetwin.sequences.cartesian import encoding, least_duration, lobe, set_labels
from pulsetwin.sequences.describe_scan import describe
from pulsetwin.sequences.epi_train import add_lines, add_navigators, train
from pulsetwin.sequences.noise_scan import begin_scan
from pulsetwin.sequences.orderings import interleaved
from pulsetwin.sequences.preparations import fat_saturation, play
from pulsetwin.sequences.protocol import setting, validate
from pulsetwin.sequences.slice_pulse import position, slice_pulse
from pulsetwin.sequences.timing import after_each, down, pause, rest, up

_CRUSHING = 8.0  # cycles of phase across the slice after the saturation of fat
_LABELS = "LIN SLC SET REP AVG SEG NAV REV"


@dataclass(frozen=True, slots=True)
class Protocol:
    """Settings of an EPI."""

    fov: tuple[float, float, float] = setting((0.22, 0.22, 0.004), "m", "field of view along x, y, z", low=1e-4, high=1)
    matrix: tuple[int, int] = setting((64, 64), "", "samples and lines", low=2, high=1024)
    slices: int = setting(1, "", "slices", low=1, high=512)
    slice_gap: float = setting(0.0, "m", "between slices", low=0, high=0.1)
    echo: str = setting("gradient", "", "which is read", choices=("gradient", "spin"))
    flip_angle: float = setting(math.radians(90), "rad", "of the excitation", low=1e-3, high=math.pi)
    te: float | None = setting(None, "s", "echo time of the central line; the least if none", low=0, high=1)
    tr: float | None = setting(2.0, "s", "repetition time of a slice; the least if none", low=0, high=60)
    blips: str = setting(
        "up", "", "up, down, both one after the other (SET 0 and 1), or none for a ghost reference",
        choices=("up", "down", "both", "none"),
    )  # fmt: skip
    navigators: bool = setting(True, "", "three echoes without phase encoding after each excitation")
    ramp_sampling: bool = setting(True, "", "sample on the ramps; otherwise all gradients are trapezoids")
    segments: int = setting(1, "", "excitations that share the lines of an image", low=1, high=256)
    partial_fourier: float = setting(1.0, "", "part of the lines; those read first are left out", low=0.55, high=1)
    repetitions: int = setting(1, "", "of the whole", low=1, high=100000)
    dummies: int = setting(1, "", "excitations of each slice before the first that is measured", low=0, high=10000)
    bandwidth: float = setting(2000.0, "Hz", "per pixel, where the gradient is flat", low=1, high=1e6)
    oversampling: int = setting(2, "", "of the readout", low=1, high=8)
    rf_duration: float = setting(2e-3, "s", "of the excitation", low=1e-4, high=2e-2)
    refocusing_duration: float = setting(4e-3, "s", "of the refocusing pulse", low=1e-4, high=2e-2)
    time_bandwidth: float = setting(4.0, "", "of the pulses", low=1, high=32)
    crushing: float = setting(4.0, "", "cycles across the slice on either side of the refocusing", low=1, high=64)
    fat_saturation: bool = setting(True, "", "saturate fat before each excitation")
    spoiling: float = setting(4.0, "", "cycles of phase across the slice after the train", low=0, high=64)
    noise_samples: int = setting(0, "", "of a noise scan before all, at least", low=0, high=10**7)

    def __post_init__(self) -> None:
        validate(self)
        if self.matrix[0] % 2 or self.matrix[1] % (2 * self.segments):
            raise ProtocolError(f"matrix = {self.matrix}, segments = {self.segments}: give an even number of samples, "
                                "and lines that are a multiple of twice the segments")  # fmt: skip


def build(protocol: Protocol, scanner: Scanner) -> pp.Sequence:
    """Return the sequence.

    SEG and REV are 1 for lines towards -x, NAV for navigators. Segments are shifted in time, so that the phase of
    off-resonance grows smoothly from line to line.

    Parameters
    ----------
    protocol
        The settings.
    scanner
        Whose limits and rasters are kept.

    Raises
    ------
    ProtocolError
        If a time is too short or the bandwidth too high; what works is told.
    """
    p, parts = protocol, _parts(protocol, scanner)
    shots = [(number, down_) for number, down_ in enumerate(_directions(p))]
    te, waits = _echo_time(p, parts, scanner)
    one = parts.duration + max(early + late for early, late in waits.values())
    wait_tr = after_each(p.tr, one, p.slices, scanner.block_raster)
    seq = pp.Sequence(scanner.opts)
    begin_scan(seq, _LABELS, parts.train.line.adc, p.noise_samples, scanner)
    measured = [(n, s, d, shot) for n in range(p.repetitions) for s, d in shots for shot in range(p.segments)]
    for repetition, number, direction, shot in [(None, *measured[0][1:])] * p.dummies + measured:
        wait = waits[direction, shot]
        for slice_number in interleaved(p.slices).tolist():
            counters = None if repetition is None else {"SLC": slice_number, "SET": number, "REP": repetition}
            _shot(seq, p, parts, (direction, shot), counters, slice_number, wait, scanner)
            pause(seq, one - parts.duration - sum(wait) + wait_tr)
    _define(seq, p, parts, te, p.slices * (one + wait_tr))
    return seq


def _directions(p: Protocol) -> list[int]:
    """Return the direction of the blips of each image: +1, -1, or 0 for none."""
    return {"up": [1], "down": [-1], "both": [1, -1], "none": [0]}[p.blips]


def _lines(p: Protocol, direction: int, shot: int) -> list[int]:
    """Return the lines of a shot in the order in which they are read; without blips those that they stand for."""
    left_out = int((1 - p.partial_fourier) * p.matrix[1] / p.segments + 1e-9) * p.segments
    lines = list(range(left_out, p.matrix[1]))[shot :: p.segments]
    return lines if direction >= 0 else [p.matrix[1] - 1 - number for number in lines]


def _parts(p: Protocol, scanner: Scanner) -> SimpleNamespace:
    """Return the parts of a shot, its duration without delays, and the times around its refocusing pulse [s]."""
    spin = p.echo == "spin"
    excitation = slice_pulse(p.flip_angle, p.fov[2], p.rf_duration, p.time_bandwidth, "excitation", scanner)
    refocusing = slice_pulse(math.pi, p.fov[2], p.refocusing_duration, p.time_bandwidth, "refocusing", scanner)
    lines = train(
        p.matrix[0], p.fov[0], p.bandwidth, p.oversampling, p.segments / p.fov[1], p.ramp_sampling, scanner
    )  # fmt: skip
    before, farthest = lines.line.before, p.matrix[1] / 2 / p.fov[1]
    crusher, spoiler = p.crushing / p.fov[2], p.spoiling / p.fov[2]
    lead = least_duration(before, farthest, crusher if spin else excitation.after, scanner=scanner)
    opening = least_duration(before, crusher + abs(excitation.after), scanner=scanner)
    rewind = least_duration(before, farthest, spoiler, scanner=scanner)
    navigation = (opening + 3 * lines.line.duration + 2 * lines.gap) if p.navigators else 0.0
    first = excitation.duration - excitation.centre + navigation + (opening + refocusing.centre if spin else 0.0)
    second = (refocusing.duration - refocusing.centre if spin else 0.0) + lead
    train_time = lines.duration(len(_lines(p, 1, 0)))
    fat = fat_saturation(_CRUSHING / p.fov[2], scanner) if p.fat_saturation else None
    before_excitation = 0.0 if fat is None else fat.duration
    return SimpleNamespace(
        fat=fat, excitation=excitation, refocusing=refocusing, train=lines, crusher=crusher, spoiler=spoiler, lead=lead,
        opening=opening, rewind=rewind, first=first, second=second,
        duration=before_excitation + excitation.centre + first + second + train_time + rewind,
    )  # fmt: skip


def _echo_time(
    p: Protocol, parts: SimpleNamespace, scanner: Scanner
) -> tuple[float, dict[tuple[int, int], tuple[float, float]]]:
    """Return the echo time, and for each direction and shot the delays before and after the refocusing pulse [s].

    Blips of either direction reach the central line at the same time. A gradient echo has the second delay only.
    """
    raster, spacing = scanner.block_raster, parts.train.spacing
    shift = [down(shot * spacing / p.segments, raster) for shot in range(p.segments)]
    central = {}
    for direction in _directions(p):
        for shot in range(p.segments):
            if (lines := _lines(p, direction, shot)).count(p.matrix[1] // 2):
                central[direction] = shift[shot] + lines.index(p.matrix[1] // 2) * spacing + parts.train.line.echo
    halves = parts.first, parts.second + max(central.values())
    least = up(2 * max(halves), 2 * raster) if p.echo == "spin" else sum(halves)
    te = least + rest("te", p.te, least, raster * (2 if p.echo == "spin" else 1))
    early = down(te / 2 - parts.first, raster) if p.echo == "spin" else 0.0
    late = {
        direction: down(te - parts.first - early - parts.second - time, raster) for direction, time in central.items()
    }
    return te, {(d, shot): (early, late[d] + shift[shot]) for d in late for shot in range(p.segments)}


def _shot(
    seq: pp.Sequence, p: Protocol, parts: SimpleNamespace, which: tuple[int, int], counters: dict[str, int] | None,
    slice_number: int, wait: tuple[float, float], scanner: Scanner,
) -> None:  # fmt: skip
    """Add an excitation and its train, of a direction and shot; nothing is measured if `counters` is None."""
    place, before = position(slice_number, p.slices, p.fov[2], p.slice_gap), parts.train.line.before
    direction, lines = which[0], _lines(p, *which)
    k = [encoding(number, p.matrix[1], p.fov[1]) * abs(direction) for number in lines]
    rephase = -parts.excitation.after
    if parts.fat is not None:
        play(seq, parts.fat)
    seq.add_block(*parts.excitation.tuned(place, 0.0))
    start_x = -before
    if p.navigators:
        seq.add_block(lobe("x", before, parts.opening, scanner), lobe("z", rephase, parts.opening, scanner))
        add_navigators(seq, parts.train, p.matrix[1] // 2, counters)
        start_x, rephase = 0.0, 0.0
    if p.echo == "spin":
        pause(seq, wait[0])
        seq.add_block(
            lobe("x", before if p.navigators else 0.0, parts.opening, scanner),
            lobe("z", rephase + parts.crusher, parts.opening, scanner),
        )
        seq.add_block(*parts.refocusing.tuned(place, math.pi / 2))
        start_x, rephase = -before, parts.crusher
    pause(seq, wait[1])
    ready = set_labels(**counters, NAV=0, AVG=0) if counters is not None else []
    seq.add_block(
        lobe("x", start_x, parts.lead, scanner), lobe("y", k[0], parts.lead, scanner),
        lobe("z", rephase, parts.lead, scanner), *ready,
    )  # fmt: skip
    add_lines(seq, parts.train, lines, direction, p.matrix[1] // 2, measured=counters is not None)
    seq.add_block(
        lobe("x", before if len(lines) % 2 == 0 else -before, parts.rewind, scanner),
        lobe("y", -k[-1], parts.rewind, scanner), lobe("z", parts.spoiler, parts.rewind, scanner),
    )  # fmt: skip


def _define(seq: pp.Sequence, p: Protocol, parts: SimpleNamespace, te: float, tr: float) -> None:
    """State what readers and reconstructions need."""
    read, adc = parts.train.line.read, parts.train.line.adc
    gridding = {
        "TargetGriddedSamples": p.matrix[0] * p.oversampling,
        "TrapezoidGriddingParameters": [
            read.rise_time, read.flat_time, read.fall_time, adc.delay, adc.num_samples * adc.dwell
        ],
    }  # fmt: skip
    describe(
        seq, p, te, tr, EchoSpacing=parts.train.spacing, kSpaceCenterLine=p.matrix[1] // 2,
        ReadoutOversamplingFactor=p.oversampling, **(gridding if p.ramp_sampling else {}),
    )  # fmt: skip
