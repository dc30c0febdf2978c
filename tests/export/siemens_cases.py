"""Sequences for the tests of the Siemens write gate, and what pypulseq plays of them."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pypulseq as pp

from pulsetwin.scanner import Scanner
from tests.sequences import made

PRISMA = Scanner.preset("siemens-prisma")
SYSTEM = PRISMA.opts
STATED = {"Name": "test", "FOV": [0.22, 0.22, 5e-3]}


def pulse(**changes: Any) -> Any:
    """Return a sinc pulse of 1 ms with dead time before it."""
    settings = {"duration": 1e-3, "delay": 100e-6, "system": SYSTEM, "use": "excitation"} | changes
    return pp.make_sinc_pulse(0.2, **settings)


def acquisition(**changes: Any) -> Any:
    """Return an acquisition of 64 samples."""
    return pp.make_adc(64, **({"dwell": 10e-6, "delay": 20e-6, "system": SYSTEM} | changes))


def sequence(*blocks: list[Any]) -> pp.Sequence:
    """Return a sequence of blocks, each padded to 10 ms."""
    seq = pp.Sequence(SYSTEM)
    for events in blocks:
        seq.add_block(*events, pp.make_delay(10e-3))
    return seq


def labelled_echo() -> pp.Sequence:
    """Return the spin echo of the readers' tests with each label set at its start."""
    seq = pp.Sequence(made.SYSTEM)
    seq.add_block(pp.make_delay(1e-3), *(pp.make_label(name, "SET", 0) for name in ("NOISE", "REV", "LIN")))
    source = made.spin_echo(4)
    for block in source.block_events:
        events = vars(source.get_block(block))
        kept = [events[name] for name in ("rf", "gx", "gy", "gz", "adc") if events[name] is not None]
        labels = list((events.get("label") or {}).values())
        seq.add_block(*kept, *labels, pp.make_delay(events["block_duration"]))
    return seq


def gre_label(lines: int = 12) -> pp.Sequence:
    """Return a gradient echo in the manner of pypulseq's `write_gre_label`: slices, spoilers, two labels, a trigger."""
    seq, fov = pp.Sequence(SYSTEM), 0.22
    rf, select, rephase = pp.make_sinc_pulse(
        np.deg2rad(10), duration=3e-3, slice_thickness=3e-3, apodization=0.42, time_bw_product=4, system=SYSTEM,
        return_gz=True, use="excitation", delay=100e-6,
    )  # fmt: skip
    read = pp.make_trapezoid("x", flat_area=64 / fov, flat_time=3.2e-3, system=SYSTEM)
    adc = pp.make_adc(64, duration=3.2e-3, delay=read.rise_time, system=SYSTEM)
    back = pp.make_trapezoid("x", area=-read.area / 2, duration=1e-3, system=SYSTEM)
    spoil = pp.make_trapezoid("z", area=4 / 3e-3, system=SYSTEM)
    phase, step = 0.0, 0.0
    seq.add_block(pp.make_delay(1e-3), pp.make_label("LIN", "SET", 0), pp.make_label("SLC", "SET", 0))
    seq.add_block(pp.make_trigger("physio1", duration=2e-3), pp.make_digital_output_pulse("osc0", duration=1e-3))
    for place in range(2):
        rf.freq_offset = select.amplitude * 3.3e-3 * (place - 0.5)
        for line in range(lines):
            rf.phase_offset = adc.phase_offset = np.deg2rad(phase)
            step = (step + 117) % 360
            phase = (phase + step) % 360
            seq.add_block(rf, select)
            blip = pp.make_trapezoid("y", area=(line - lines // 2) / fov, duration=1e-3, system=SYSTEM)
            seq.add_block(back, blip, rephase)
            seq.add_block(read, adc)
            seq.add_block(pp.scale_grad(blip, -1), spoil, pp.make_label("LIN", "INC", 1), pp.make_delay(3e-3))
        seq.add_block(pp.make_delay(1e-3), pp.make_label("LIN", "SET", 0), pp.make_label("SLC", "INC", 1))
    return seq


def epi(lines: int = 16) -> pp.Sequence:
    """Return an echo-planar train in the manner of pypulseq's `write_epi`, blips split over the readouts."""
    seq, fov = pp.Sequence(SYSTEM), 0.22
    fat = pp.make_gauss_pulse(
        np.deg2rad(110), duration=8e-3, freq_ppm=-3.45, delay=100e-6, system=SYSTEM, use="saturation"
    )
    seq.add_block(fat, pp.make_label("LIN", "SET", 0), pp.make_label("REV", "SET", 0))
    read = pp.make_trapezoid("x", flat_area=64 / fov, flat_time=0.64e-3, rise_time=0.2e-3, system=SYSTEM)
    adc = pp.make_adc(64, duration=0.64e-3, delay=0.2e-3, system=SYSTEM)
    blip = pp.make_trapezoid("y", area=1 / fov, duration=0.2e-3, system=SYSTEM)
    up, down = pp.split_gradient_at(blip, 0.1e-3, system=SYSTEM)
    up, down, _ = pp.align(right=up, left=[down, read])
    both = pp.add_gradients((down, up), system=SYSTEM)
    seq.add_block(pulse())
    seq.add_block(pp.make_trapezoid("x", area=-read.area / 2, duration=1e-3, system=SYSTEM))
    for line in range(lines):
        share = up if line == 0 else down if line == lines - 1 else both
        labels = [pp.make_label("LIN", "SET", line), pp.make_label("REV", "SET", line % 2)]
        seq.add_block(pp.scale_grad(read, (-1) ** line), share, adc, *labels)
    return seq


def read_by_pypulseq(path: Path, system: pp.Opts = SYSTEM) -> pp.Sequence:
    """Return a file as pypulseq reads it, without its rounding to six digits."""
    seq = pp.Sequence(system)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        seq.read(str(path), remove_duplicates=False)
    return seq


def played_gradient(event: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return corners [s] and values [Hz/m] of a gradient event of pypulseq."""
    if event.type == "trap":
        time = event.delay + np.cumsum([0, event.rise_time, event.flat_time, event.fall_time])
        return time, event.amplitude * np.array([0, 1, 1, 0])
    return event.delay + event.tt, event.waveform


def played_pulse(event: Any, count: int = 500) -> np.ndarray:
    """Return a pulse of pypulseq at `count` times inside it [Hz], without its offsets."""
    inside = (np.arange(count) + 0.5) / count * event.shape_dur
    parts = (np.interp(inside, event.t, part) for part in (event.signal.real, event.signal.imag))
    return next(parts) + 1j * next(parts)
