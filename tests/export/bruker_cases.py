"""Sequences for the tests of the export to Bruker, and a model of how the public interpreter loads a file."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pypulseq as pp

from pulsetwin.scanner import Scanner

BIOSPEC = Scanner.preset("bruker-biospec-94")
SYSTEM = BIOSPEC.opts
STATED = {"Name": "test", "FOV": [0.03, 0.03, 1e-3]}
SAMPLES, DWELL = 32, 20e-6


def pulse(**changes: Any) -> Any:
    """Return a sinc pulse of 1 ms."""
    settings = {"duration": 1e-3, "delay": 100e-6, "system": SYSTEM, "use": "excitation"} | changes
    return pp.make_sinc_pulse(0.2, **settings)


def acquisition(**changes: Any) -> Any:
    """Return an acquisition of 32 samples."""
    settings = {"num_samples": SAMPLES, "dwell": DWELL, "delay": 100e-6, "system": SYSTEM} | changes
    return pp.make_adc(**settings)


def trapezoid(amplitude: float = 1e5, axis: str = "x", **changes: Any) -> Any:
    """Return a trapezoid with ramps of 80 us on the common raster of 40 us [Hz/m]."""
    settings = {"amplitude": amplitude, "rise_time": 80e-6, "flat_time": 320e-6, "system": SYSTEM} | changes
    return pp.make_trapezoid(axis, **settings)


def sequence(*blocks: list[Any], length: float = 4e-3) -> pp.Sequence:
    """Return a sequence of blocks, each padded to `length` [s]."""
    seq = pp.Sequence(SYSTEM)
    for events in blocks:
        seq.add_block(*events, pp.make_delay(length))
    return seq


def gradient_echo(lines: int = 8, labels: bool = True) -> pp.Sequence:
    """Return a spoiled gradient echo of trapezoids with RF spoiling, and where asked for labels LIN and REV."""
    seq, fov = pp.Sequence(SYSTEM), STATED["FOV"][0]
    rf, select, rephase = pp.make_sinc_pulse(
        0.2, duration=1e-3, slice_thickness=1e-3, time_bw_product=4, system=SYSTEM, return_gz=True, use="excitation",
        delay=200e-6,
    )  # fmt: skip
    read = trapezoid(SAMPLES / fov / (SAMPLES * DWELL), flat_time=SAMPLES * DWELL)
    adc = acquisition(delay=read.rise_time + 20e-6, num_samples=SAMPLES - 2)
    back = pp.make_trapezoid("x", area=-read.area / 2, duration=0.8e-3, system=SYSTEM)
    steepest = pp.make_trapezoid("y", area=lines / fov / 2, duration=0.8e-3, system=SYSTEM)
    if labels:
        seq.add_block(*(pp.make_label(name, "SET", 0) for name in ("LIN", "REV")))
    for line in range(lines):
        rf.phase_offset = adc.phase_offset = np.deg2rad(117) * line * (line + 1) / 2
        blip = pp.scale_grad(steepest, 2 * line / lines - 1)
        seq.add_block(rf, select)
        seq.add_block(back, blip, rephase)
        seq.add_block(read, adc, *([pp.make_label("LIN", "SET", line)] if labels else []))
        seq.add_block(pp.scale_grad(blip, -1), pp.make_delay(3e-3))
    return seq


def interpreted(path: Path) -> SimpleNamespace:
    """Load a file as the public interpreter does: tables of fixed size, columns of 1.4, samples line by line.

    It does not look at the version, and takes as many lines for a shape as it has samples, whatever they are.
    """
    loaded = SimpleNamespace(blocks=[], rf=[], trap=[], adc=[], shapes={}, name="", fov=None)
    tables = {"[BLOCKS]": (loaded.blocks, 8, 2048), "[RF]": (loaded.rf, 8, 256)}
    tables |= {"[TRAP]": (loaded.trap, 6, 256), "[ADC]": (loaded.adc, 6, 256)}
    section, shape, left, seen = "", 0, 0, 0
    for line in path.read_text().split("\n"):
        if not line or line[0] == "#":
            continue
        if line[0] == "[":
            section, left = line, 0
        elif section in tables:
            rows, columns, most = tables[section]
            if len(rows) < most and len(line.split()) >= columns:
                rows.append([float(word) for word in line.split()[:columns]])
        elif section == "[DEFINITIONS]":
            name, _, value = line.partition(" ")
            loaded.name = value if name == "Name" else loaded.name
            loaded.fov = [float(word) for word in value.split()] if name == "FOV" else loaded.fov
        elif section == "[SHAPES]" and left:
            loaded.shapes[shape].append(_number(line))
            left -= 1
        elif section == "[SHAPES]" and line.startswith("shape_id") and seen < 511:
            shape, seen = int(line.split()[1]), seen + 1
            loaded.shapes[shape] = []
        elif section == "[SHAPES]" and line.startswith("num_samples"):
            left = int(line.split()[1])
    return loaded


def _number(line: str) -> float:
    """Return what C's `atof` makes of a line: 0 where it is no number."""
    try:
        return float(line.split()[0])
    except ValueError:
        return 0.0
