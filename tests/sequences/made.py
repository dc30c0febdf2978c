"""Sequences made with pypulseq and by hand, for the tests of everything that reads `.seq` files."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pypulseq as pp

SYSTEM = pp.Opts(
    max_grad=40, grad_unit="mT/m", max_slew=150, slew_unit="T/m/s", rf_dead_time=100e-6, rf_ringdown_time=20e-6,
    adc_dead_time=10e-6, B0=3.0,
)  # fmt: skip


def spin_echo(lines: int = 6, fov: float = 0.2) -> pp.Sequence:
    """Return a spin echo with labels, spoilers of extended trapezoids and a noise scan."""
    seq = pp.Sequence(SYSTEM)
    excite, select, _ = pp.make_sinc_pulse(
        np.pi / 2,
        duration=2e-3,
        slice_thickness=5e-3,
        system=SYSTEM,
        return_gz=True,
        use="excitation",
        freq_offset=700,
        delay=100e-6,
    )
    refocus = pp.make_block_pulse(np.pi, duration=1e-3, system=SYSTEM, use="refocusing", delay=100e-6)
    read = pp.make_trapezoid("x", flat_area=64 / fov, flat_time=3.2e-3, system=SYSTEM)
    adc = pp.make_adc(64, duration=3.2e-3, delay=read.rise_time, system=SYSTEM)
    pre = pp.make_trapezoid("x", area=read.area / 2, duration=2e-3, system=SYSTEM)
    times = np.array([0, 200e-6, 1e-3, 1.3e-3])
    crush = pp.make_extended_trapezoid("z", times=times, amplitudes=np.array([0, 4e5, 4e5, 0]), system=SYSTEM)
    seq.add_block(adc, pp.make_delay(4e-3), *[pp.make_label(n, "SET", v) for n, v in (("NOISE", 1), ("LIN", 0))])
    for line in range(lines):
        area = (line - lines // 2) / fov
        phase = pp.make_trapezoid("y", area=area, duration=2e-3, system=SYSTEM)
        seq.add_block(excite, select, pp.make_label("NOISE", "SET", 0))
        seq.add_block(pre, phase)
        seq.add_block(crush)
        seq.add_block(refocus)
        seq.add_block(crush)
        seq.add_block(read, adc, pp.make_label("REV", "SET", 1), pp.make_label("LIN", "SET", 2 * line))
        seq.add_block(pp.make_delay(5e-3), pp.make_label("LIN", "INC", 7))
    seq.set_definition("FOV", [fov, fov, 5e-3])
    seq.set_definition("Name", "spin_echo")
    return seq


def spiral(arms: int = 3) -> pp.Sequence:
    """Return a gradient echo with spiral readouts: arbitrary gradients that start at zero and end off zero."""
    seq = pp.Sequence(SYSTEM)
    excite = pp.make_gauss_pulse(0.3, duration=1e-3, system=SYSTEM, use="excitation", delay=100e-6)
    time = (np.arange(400) + 0.5) * 10e-6
    adc = pp.make_adc(720, dwell=5e-6, delay=100e-6, system=SYSTEM)
    for arm in range(arms):
        wave = 2e5 * time / 4e-3 * np.exp(2j * np.pi * (time / 1e-3 + arm / arms))
        edge = 2e5 * np.exp(2j * np.pi * arm / arms)
        ramps = [
            pp.make_extended_trapezoid(
                name, times=np.array([0, 100e-6, 150e-6]), amplitudes=np.array([end, end / 2, 0]), system=SYSTEM
            )
            for name, end in (("x", edge.real), ("y", edge.imag))
        ]
        seq.add_block(excite)
        shaped = [
            pp.make_arbitrary_grad(name, part, first=0, last=end, system=SYSTEM)
            for name, part, end in (("x", wave.real, edge.real), ("y", wave.imag, edge.imag))
        ]
        seq.add_block(*shaped, adc, pp.make_label("LIN", "SET", arm))
        seq.add_block(*ramps)
        seq.add_block(pp.make_delay(3e-3))
    return seq


def gradient_echo(lines: int, partitions: int = 1) -> pp.Sequence:
    """Return a spoiled gradient echo with quadratic RF phase: many blocks, few shapes."""
    seq = pp.Sequence(SYSTEM)
    excite = pp.make_block_pulse(0.2, duration=0.5e-3, system=SYSTEM, use="excitation", delay=100e-6)
    read = pp.make_trapezoid("x", flat_area=64 / 0.2, flat_time=1.28e-3, system=SYSTEM)
    adc = pp.make_adc(64, duration=1.28e-3, delay=read.rise_time, system=SYSTEM)
    pre = pp.make_trapezoid("x", area=-read.area / 2, duration=1e-3, system=SYSTEM)
    labels = [pp.make_label("LIN", "INC", 1), pp.make_label("PAR", "INC", 1)]
    reset = [pp.make_label("LIN", "SET", 0), pp.make_label("PAR", "SET", 0)]
    phases = [
        pp.make_trapezoid("y", area=(line - lines // 2) / 0.2, duration=1e-3, system=SYSTEM) for line in range(lines)
    ]
    count = 0
    for partition in range(partitions):
        area = (partition - partitions // 2) / 0.1
        slab = pp.make_trapezoid("z", area=area, duration=1e-3, system=SYSTEM)
        for line in range(lines):
            excite.phase_offset = adc.phase_offset = np.deg2rad(117 * count * count / 2) % (2 * np.pi)
            seq.add_block(excite, *(reset if count == 0 else labels[1:] if line == 0 else []))
            seq.add_block(pre, phases[line], slab)
            mine = [pp.make_label("LIN", "SET", 0)] if line == 0 else labels[:1]
            seq.add_block(read, adc, *mine)
            seq.add_block(pp.make_delay(2e-3))
            count += 1
    return seq


def write(seq: pp.Sequence, path: Path, version: str) -> Path:
    """Write `seq` as 1.5.0 or 1.4.1."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        seq.write(str(path), v141_compat=version == "1.4.1")
    return path


def text(
    version: str, blocks: str, *, definitions: str = "", rf: str = "", trap: str = "", gradients: str = "",
    adc: str = "", delays: str = "", extensions: str = "", shapes: str = "",
) -> str:  # fmt: skip
    """Return the text of a hand-written file."""
    major, minor, revision = version.split(".")
    parts = [f"# hand-written\n[VERSION]\nmajor {major}\nminor {minor}\nrevision {revision}\n"]
    rasters = (
        "GradientRasterTime 1e-05\nRadiofrequencyRasterTime 1e-06\nAdcRasterTime 1e-07\nBlockDurationRaster 1e-05\n"
    )
    parts.append(f"[DEFINITIONS]\n{rasters}{definitions}\n")
    sections = {
        "BLOCKS": blocks, "RF": rf, "GRADIENTS": gradients, "TRAP": trap, "ADC": adc, "DELAYS": delays,
        "EXTENSIONS": extensions, "SHAPES": shapes,
    }  # fmt: skip
    parts += [f"[{name}]\n{body}\n" for name, body in sections.items() if body]
    return "\n".join(parts)
