"""Sequences of published CEST fingerprinting protocols, as their files play them."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pypulseq as pp

from pulsetwin.scanner import Scanner
from pulsetwin.sequences.cest_mrf import Protocol, schedule
from pulsetwin.sequences.cest_saturation import constant_pulse, saturation
from pulsetwin.sequences.seqfile import SeqFile, read_seq

_CRUSHER, _TIP_TO_TIP, _RECOVERY = 6.5e-3, 28.37e-3, 0.999


def spin_lock_protocol(path: Path, *, shots: int = 45, **changes: tuple[float, ...]) -> SeqFile:
    """Write and read 30 measurements of 13 spin-locks of 100 ms, each followed by a train of excitations by 15 degrees.

    There are samples after the first of them, and no gradients but those between saturation and train.
    """
    scanner = replace(Scanner.preset("siemens-prisma"), rf_ringdown_time=30e-6)
    protocol = Protocol(**changes)
    seq, flip = pp.Sequence(scanner.opts), math.radians(15)
    excitation = constant_pulse(flip / (2 * math.pi * scanner.gamma * 2e-3), 2e-3, 0.0, 0.0, scanner)[:1]
    length = pp.calc_duration(*excitation)
    crusher = [
        pp.make_trapezoid(axis, area=2000, duration=_CRUSHER, system=scanner.opts) for axis in "xyz"
    ]  # fmt: skip
    for row in schedule(protocol):
        for block in saturation(protocol, row.b1, row.offset, row.saturation_time, scanner):
            seq.add_block(*block)
        seq.add_block(*crusher)
        for shot in range(shots):
            seq.add_block(*excitation)
            if shot == 0:
                seq.add_block(pp.make_adc(2, duration=0.9e-3, delay=20e-6, system=scanner.opts), pp.make_delay(1e-3))
            seq.add_block(pp.make_delay(_TIP_TO_TIP - length - (1e-3 if shot == 0 else 0.0)))
        seq.add_block(pp.make_delay(_RECOVERY))
    seq.set_definition("B0", scanner.field_strength)
    seq.write(str(path))
    return read_seq(path)
