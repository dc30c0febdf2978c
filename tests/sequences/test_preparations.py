"""Preparations: times by pypulseq's blocks, and what they do to the magnetisation by brute-force rotation."""

from __future__ import annotations

import math

import numpy as np
import pypulseq as pp
import pytest

from pulsetwin.errors import ProtocolError
from pulsetwin.scanner import Scanner
from pulsetwin.sequences.preparations import fat_saturation, inversion, play, saturation, spoiler, t2_preparation
from tests.sequences.bloch import free, longitudinal, relaxed, spinor, then

PRISMA = Scanner.preset("siemens-prisma")
AREA = 3000.0
MAKE = {
    "inversion": lambda scanner: inversion(12.8e-3, 20e-6, 830.0, AREA, scanner),
    "t2": lambda scanner: t2_preparation(0.1, 3.5e-3, 20e-6, 7e3, AREA, scanner, spoiler_duration=9.68e-3),
    "saturation": lambda scanner: saturation(15e-6, AREA, scanner),
    "fat": lambda scanner: fat_saturation(AREA, scanner),
}


def played(preparation, scanner=PRISMA) -> list[tuple[float, object]]:
    """Return the start of each pulse [s] and the pulse, as pypulseq decodes them."""
    seq, found, time = pp.Sequence(scanner.opts), [], 0.0
    play(seq, preparation)
    for number in seq.block_events:
        rf = seq.get_block(number).rf
        if rf is not None:
            found.append((time + rf.delay, rf))
        time += seq.block_durations[number]
    return found


def envelope(rf, step: int = 4) -> np.ndarray:
    """Return the samples of a pulse [Hz] with phase and frequency offset, averaged over `step` us."""
    time = (np.arange(len(rf.signal)) + 0.5) * 1e-6
    signal = rf.signal * np.exp(1j * (rf.phase_offset + 2 * np.pi * rf.freq_offset * time))
    return signal[: len(signal) // step * step].reshape(-1, step).mean(1)


def left(preparation, b1, offset, scanner=PRISMA) -> np.ndarray:
    """Return the longitudinal magnetisation, 1 before, of pulses without spoilers and relaxation between them."""
    total, end = None, 0.0
    for start, rf in played(preparation, scanner):
        turn = spinor(envelope(rf), b1, offset, 4e-6)
        total = turn if total is None else then(then(total, free(offset, start - end)), turn)
        end = start + 4e-6 * (len(rf.signal) // 4)
    return longitudinal(total)


@pytest.mark.parametrize("name", MAKE)
@pytest.mark.parametrize("scanner", ["siemens-prisma", "siemens-terra", "bruker-biospec-94"])
def test_durations_and_centre(name, scanner):
    scanner = Scanner.preset(scanner)
    preparation = MAKE[name](scanner)
    seq = pp.Sequence(scanner.opts)
    play(seq, preparation)
    assert seq.check_timing()[0]
    assert seq.duration()[0] == pytest.approx(preparation.duration, abs=1e-9)
    start, rf = played(preparation, scanner)[-1]
    assert start + rf.center == pytest.approx(preparation.before, abs=1e-9)
    assert np.abs(rf.signal).max() <= scanner.max_b1 * scanner.gamma
    assert np.allclose(rf.t, (np.arange(len(rf.signal)) + 0.5) * 1e-6, atol=1e-12)  # no shape of times, which misplays
    areas = [one.area for blocks in preparation.blocks for one in blocks if one.type == "trap"]
    assert min(np.abs(areas)) == pytest.approx(AREA)


@pytest.mark.parametrize("te", [0.1, 0.0803, 0.04007])
@pytest.mark.parametrize("refocusings", [4, 8])
def test_t2_preparation_is_as_long_as_asked(te, refocusings):
    found = played(t2_preparation(te, 3e-3, 20e-6, 7e3, AREA, PRISMA, refocusings=refocusings))
    centres = np.array([start + rf.center for start, rf in found])
    centres -= centres[0]
    assert centres[-1] == pytest.approx(te, abs=1e-9)
    wanted = (2 * np.arange(refocusings) + 1) * te / (2 * refocusings)
    assert np.allclose(centres[1:-1], wanted, atol=0.51e-6)  # on the raster of RF


@pytest.mark.parametrize(("refocusings", "te"), [(4, 0.1), (8, 0.1), (16, 0.12)])
def test_efficiency_of_the_t2_preparation(refocusings, te):
    """Without relaxation nothing is lost; the 90-degree pulses limit it at 150 Hz."""
    b1, offset = np.meshgrid(np.linspace(0.7, 1.3, 7), np.linspace(-150, 150, 7))
    preparation = t2_preparation(te, 3.5e-3, 20e-6, 7e3, AREA, PRISMA, refocusings=refocusings)
    efficiency = left(preparation, b1, offset)
    assert efficiency.min() > 0.98
    assert efficiency.mean() > 0.995


@pytest.mark.parametrize("peak", [15e-6, 20e-6])
def test_efficiency_of_the_inversion(peak):
    b1, offset = np.meshgrid(np.linspace(0.7, 1.3, 5), [-150.0, 0.0, 150.0])
    assert left(inversion(12.8e-3, peak, 830.0, AREA, PRISMA), b1, offset).max() < -0.99


def test_inversion_of_the_played_pulse_with_relaxation():
    """Values of an ODE solver at 21 uT for white matter and fluid."""
    ((_, rf),) = played(inversion(12.8e-3, 21e-6, 830.0, AREA, PRISMA))
    for t1, t2, efficiency in ((0.85, 0.07, 0.887), (4.0, 1.8, 0.989)):
        assert -relaxed(envelope(rf), 4e-6, t1, t2)[2] == pytest.approx(efficiency, abs=0.002)


def test_saturation_at_any_b1():
    """Each pulse leaves its own part, as spoilers take the rest: less than 1 % from 0.7 to 1.3 of B1."""
    b1, offset = np.meshgrid(np.linspace(0.7, 1.3, 25), [-100.0, 0.0, 100.0])
    parts = [longitudinal(spinor(envelope(rf), b1, offset, 4e-6)) for _, rf in played(saturation(15e-6, AREA, PRISMA))]
    assert np.abs(np.prod(parts, axis=0)).max() < 0.01
    single = longitudinal(spinor(np.full(391, 639.3), b1, offset, 1e-6))  # a 90-degree pulse
    assert np.abs(single).max() > 0.4


@pytest.mark.parametrize("scanner", ["siemens-prisma", "siemens-terra", "bruker-biospec-94"])
def test_fat_saturation(scanner):
    scanner = Scanner.preset(scanner)
    line = -3.45e-6 * scanner.gamma * scanner.field_strength
    preparation = fat_saturation(AREA, scanner)
    at = np.array([line, 0.9 * line, 1.1 * line, 0.0, 0.1 * line, -0.1 * line])
    found = left(preparation, np.ones(6), at, scanner)
    assert found[0] == pytest.approx(math.cos(math.radians(100)), abs=0.02)
    assert np.abs(found[1:3]).max() < 0.3
    assert found[3:].min() > 0.99


def test_spoilers():
    (gradient,) = spoiler(AREA, PRISMA, 10e-3)
    assert (gradient.area, pp.calc_duration(gradient)) == pytest.approx((AREA, 10e-3))
    assert spoiler(0.0, PRISMA) == ()
    assert pp.calc_duration(*spoiler(0.0, PRISMA, 5e-3)) == pytest.approx(5e-3)


def test_what_cannot_be_is_refused():
    with pytest.raises(ProtocolError, match=r"t2prep_te = 10 ms is too short: 14\.\d+ ms"):
        t2_preparation(0.01, 3.5e-3, 20e-6, 7e3, AREA, PRISMA)
    with pytest.raises(ProtocolError, match="4, 8 or 16"):
        t2_preparation(0.1, 3.5e-3, 20e-6, 7e3, AREA, PRISMA, refocusings=5)
    with pytest.raises(ProtocolError, match=r"spoiler = 0\.1 ms is too short"):
        inversion(12.8e-3, 20e-6, 830.0, AREA, PRISMA, spoiler_duration=1e-4)
    with pytest.raises(ProtocolError, match=r"30 uT, MAGNETOM Prisma has 24 uT"):
        saturation(30e-6, AREA, PRISMA)
