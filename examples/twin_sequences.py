"""Four small sequences for the digital twin: FLASH, RARE, echo-planar and radial, one slice of a head.

`python examples/twin_sequences.py flash 96 flash.seq` writes one of them.
"""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pypulseq as pp

FOV, THICKNESS = 0.22, 5e-3
SYSTEM = pp.Opts(
    max_grad=60, grad_unit="mT/m", max_slew=150, slew_unit="T/m/s", B0=3.0, rf_ringdown_time=20e-6,
    rf_dead_time=100e-6, adc_dead_time=10e-6,
)  # fmt: skip


def flash(matrix: int = 96, flip_angle: float = 12.0, repetition_time: float = 12e-3) -> pp.Sequence:
    """RF-spoiled gradient echo with a second of dummy repetitions."""
    seq = pp.Sequence(SYSTEM)
    block = _excitation(flip_angle)
    read, adc, back = _readout(matrix, 30e-6)
    spoiler = _spoiler(block)
    dummies = round(1.0 / repetition_time)
    for number in range(-dummies, matrix):
        block.rf.phase_offset = adc.phase_offset = np.deg2rad(84.0 * number * (number + 1) / 2)
        step = (number - matrix // 2) / FOV if number >= 0 else 0.0
        start = _duration(seq)
        seq.add_block(block.rf, block.slice)
        seq.add_block(back, _phase(step), block.rephase)
        seq.add_block(read, *([adc] if number >= 0 else []))
        seq.add_block(_phase(-step), spoiler)
        seq.add_block(pp.make_delay(_to_raster(repetition_time - (_duration(seq) - start))))
    return _finished(seq, "flash", matrix)


def rare(matrix: int = 96, echo_spacing: float = 9e-3, refocusing_angle: float = 180.0) -> pp.Sequence:
    """Single-shot RARE from the centre of k-space outwards."""
    seq = pp.Sequence(SYSTEM)
    block = _excitation(90.0)
    refocus = pp.make_block_pulse(
        np.deg2rad(refocusing_angle),
        duration=1e-3,
        phase_offset=np.pi / 2,
        use="refocusing",
        delay=SYSTEM.rf_dead_time,
        system=SYSTEM,
    )
    read, adc, _ = _readout(matrix, 30e-6)
    prephase = pp.make_trapezoid("x", area=read.area / 2, duration=1.5e-3, system=SYSTEM)
    crusher = pp.make_trapezoid("z", area=4 / THICKNESS, duration=1.5e-3, system=SYSTEM)
    refocus_time = pp.calc_duration(refocus)
    half = _to_raster(echo_spacing / 2)
    centre = block.rf.delay + pp.calc_rf_center(block.rf)[0]
    seq.add_block(block.rf, block.slice)
    rephase = pp.make_trapezoid("z", area=block.rephase.area + crusher.area, duration=1.5e-3, system=SYSTEM)
    seq.add_block(prephase, rephase)
    mid_refocus = refocus.delay + pp.calc_rf_center(refocus)[0]
    seq.add_block(pp.make_delay(_to_raster(half - (_duration(seq) - centre) - mid_refocus)))
    for line in _centre_out(matrix):
        step = (line - matrix // 2) / FOV
        seq.add_block(refocus)
        seq.add_block(_phase(step), crusher)
        left = half - (refocus_time - mid_refocus) - pp.calc_duration(crusher, _phase(step))
        pause = pp.make_delay(_to_raster(left - pp.calc_duration(read) / 2))
        seq.add_block(pause)
        seq.add_block(read, adc)
        rest = half - pp.calc_duration(read) / 2 - pp.calc_duration(crusher, _phase(step)) - mid_refocus
        seq.add_block(pp.make_delay(_to_raster(rest)))
        seq.add_block(_phase(-step), crusher)
    return _finished(seq, "rare", matrix)


def epi(matrix: int = 64) -> pp.Sequence:
    """Gradient-echo echo-planar train with flat-top sampling."""
    seq = pp.Sequence(SYSTEM)
    block = _excitation(90.0)
    read, adc, _ = _readout(matrix, 10e-6)
    adc.delay = read.rise_time  # half a step later, so that both directions sample the same positions
    back = pp.make_trapezoid("x", area=-read.area / 2 - 0.5 / FOV, duration=1e-3, system=SYSTEM)
    blip = pp.make_trapezoid("y", area=1 / FOV, duration=0.2e-3, system=SYSTEM)
    seq.add_block(block.rf, block.slice)
    seq.add_block(back, _phase(-(matrix // 2) / FOV), block.rephase)
    for line in range(matrix):
        seq.add_block(pp.scale_grad(read, 1.0 if line % 2 == 0 else -1.0), adc)
        if line < matrix - 1:
            seq.add_block(blip)
    return _finished(seq, "epi", matrix)


def radial(matrix: int = 96, spokes: int | None = None, flip_angle: float = 12.0) -> pp.Sequence:
    """RF-spoiled radial gradient echo, golden angle, twofold oversampled, by default with twice as many spokes as
    voxels across."""
    seq = pp.Sequence(SYSTEM)
    block = _excitation(flip_angle)
    read, adc, _ = _readout(matrix, 20e-6, oversampling=2)
    back = _halves(read)
    spoiler = _spoiler(block)
    for number in range(-40, spokes or 2 * matrix):
        block.rf.phase_offset = adc.phase_offset = np.deg2rad(84.0 * number * (number + 1) / 2)
        angle = number * np.pi * (np.sqrt(5) - 1) / 2
        seq.add_block(block.rf, block.slice)
        seq.add_block(*pp.rotate(back, angle=angle, axis="z"), block.rephase)
        seq.add_block(*pp.rotate(read, *([adc] if number >= 0 else []), angle=angle, axis="z"))
        seq.add_block(*pp.rotate(back, angle=angle, axis="z"), spoiler)
        seq.add_block(pp.make_delay(3e-3))
    return _finished(seq, "radial", matrix)


def _excitation(degrees: float) -> SimpleNamespace:
    rf, gradient, rephaser = pp.make_sinc_pulse(
        np.deg2rad(degrees), duration=2e-3, slice_thickness=THICKNESS, time_bw_product=4, apodization=0.5,
        use="excitation", return_gz=True, delay=SYSTEM.rf_dead_time, system=SYSTEM,
    )  # fmt: skip
    return SimpleNamespace(rf=rf, slice=gradient, rephase=rephaser)


def _readout(
    matrix: int, dwell: float, oversampling: int = 1
) -> tuple[SimpleNamespace, SimpleNamespace, SimpleNamespace]:
    """Readout gradient of `dwell` [s] a voxel, acquisition with its sample ``n // 2`` at the centre, and prephaser."""
    steps = 2 * SYSTEM.grad_raster_time  # of which ramps are whole multiples, so that half of the gradient can be made
    rise = steps * np.ceil(1 / (FOV * dwell * SYSTEM.max_slew * steps))
    read = pp.make_trapezoid("x", flat_area=matrix / FOV, flat_time=matrix * dwell, rise_time=rise, system=SYSTEM)
    dwell /= oversampling
    adc = pp.make_adc(oversampling * matrix, dwell=dwell, delay=read.rise_time - dwell / 2, system=SYSTEM)
    return read, adc, pp.make_trapezoid("x", area=-read.area / 2, duration=1e-3, system=SYSTEM)


def _spoiler(block: SimpleNamespace) -> SimpleNamespace:
    """Return what makes a repetition dephase the slice by six whole cycles, after which nothing of it is left."""
    area = 6 / THICKNESS - block.slice.area - block.rephase.area
    return pp.make_trapezoid("z", area=area, duration=2e-3, system=SYSTEM)


def _halves(read: SimpleNamespace) -> SimpleNamespace:
    """Return minus half of a readout, of its own amplitude: digits that a `.seq` rounds off cancel at any angle."""
    half = pp.scale_grad(read, -1.0)
    half.flat_time = (read.flat_time - read.rise_time) / 2
    half.area, half.flat_area = -read.area / 2, half.amplitude * half.flat_time
    return half


def _phase(area: float) -> SimpleNamespace:
    return pp.make_trapezoid("y", area=area, duration=1e-3, system=SYSTEM)


def _centre_out(matrix: int) -> list[int]:
    return sorted(range(matrix), key=lambda line: (abs(line - matrix // 2), line))


def _to_raster(time: float) -> float:
    return round(time / SYSTEM.grad_raster_time) * SYSTEM.grad_raster_time


def _duration(seq: pp.Sequence) -> float:
    return float(sum(seq.block_durations.values()))


def _finished(seq: pp.Sequence, name: str, matrix: int) -> pp.Sequence:
    valid, problems = seq.check_timing()
    if not valid:
        raise RuntimeError(f"{name}: {problems[:3]}")
    seq.set_definition("Name", name)
    seq.set_definition("FOV", [FOV, FOV, THICKNESS])
    seq.set_definition("Matrix", [matrix, matrix, 1])
    return seq


if __name__ == "__main__":
    builders = {"flash": flash, "rare": rare, "epi": epi, "radial": radial}
    if len(sys.argv) != 4 or sys.argv[1] not in builders:
        sys.exit(f"usage: python {sys.argv[0]} {{{','.join(builders)}}} MATRIX FILE.seq")
    Path(sys.argv[3]).parent.mkdir(parents=True, exist_ok=True)
    builders[sys.argv[1]](int(sys.argv[2])).write(sys.argv[3])
