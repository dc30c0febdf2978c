"""CEST-MRF: a published sequence event by event, spin-locks by Bloch's equation, times, and what is played."""

from __future__ import annotations

import dataclasses
import math
import tomllib

import numpy as np
import pytest

from pulsetwin.errors import ProtocolError
from pulsetwin.scanner import Scanner
from pulsetwin.sequences.cest_mrf import Protocol, build, schedule
from pulsetwin.sequences.cest_saturation import crusher, gauss_pulse, saturation
from pulsetwin.sequences.protocol import protocol_from
from pulsetwin.sequences.seqfile import ADC, EXT, RF, read_seq
from tests.conftest import ROOT
from tests.sequences.nonlines import EDGE, PRISMA, errors

PROTOCOLS = ROOT / "examples" / "protocols"
PUBLISHED = ROOT / "tests" / "data" / "cest_larg_9p4t" / "acq_protocol.seq"
TRAINS = Protocol(b1=(2e-6,), saturation_time=(0.5,), matrix=(8, 8, 1))
SIX_DIGITS = 1e-12  # what is left between two numbers that both were printed with six digits


def larg() -> tuple[Protocol, Scanner]:
    values = tomllib.loads((PROTOCOLS / "cest_larg_9p4t.toml").read_text())["cest_mrf"]
    return protocol_from(Protocol, values, "larg"), Scanner.load(PROTOCOLS / "cest_larg_scanner.toml")


def columns(seq, table, column, names):
    """Return what an event table says of each block, NaN where the block has no such event."""
    row = seq.events[:, column]
    return {name: np.append(getattr(table, name).astype(float), np.nan)[row] for name in names}


def test_the_published_sequence_event_by_event(tmp_path):
    seq = build(*larg())
    seq.write(str(tmp_path / "larg.seq"))
    mine, theirs = read_seq(tmp_path / "larg.seq"), read_seq(PUBLISHED)
    assert mine.block_duration[0] == 0
    assert mine.events[0, EXT] >= 0  # labels are set to 0 before all else
    mine = dataclasses.replace(mine, events=mine.events[1:], block_duration=mine.block_duration[1:])
    assert len(mine.events) == len(theirs.events) == 149
    assert np.allclose(mine.block_duration, theirs.block_duration, rtol=0, atol=SIX_DIGITS)
    pulses = [columns(one, one.rf, RF, ("amplitude", "freq", "phase", "delay", "duration")) for one in (mine, theirs)]
    samples = [columns(one, one.adc, ADC, ("num_samples", "dwell", "delay", "freq", "phase")) for one in (mine, theirs)]
    for ours, published in (pulses, samples):
        for name in ours:
            assert np.allclose(ours[name], published[name], rtol=0, atol=SIX_DIGITS, equal_nan=True), name
    assert np.isfinite(pulses[1]["amplitude"]).sum() == 59
    for one in (mine, theirs):  # all pulses are constant, with phase 0
        assert all(np.ptp(one.shapes[shape].value) == 0 for shape in one.rf.magnitude)
        assert all(not one.shapes[shape].value.any() for shape in one.rf.phase_shape)


def turned(magnetisation: np.ndarray, block: tuple, offset: float, gamma: float) -> np.ndarray:
    """Return the magnetisation after a block of a constant pulse or a delay, by Bloch's equation without relaxation.

    The frame turns with the carrier; spins precess by ``exp(2 pi i offset t)``.
    """
    rf = next((event for event in block if event.type == "rf"), None)
    if rf is None:
        return about_z(magnetisation, 2 * np.pi * offset * block[0].delay)
    fill = next(event for event in block if event.type == "delay").delay
    m = about_z(magnetisation, 2 * np.pi * offset * rf.delay)
    phase, length = rf.phase_offset, rf.shape_dur
    m = about_z(m, -phase)
    field = 2 * np.pi * np.array([abs(rf.signal[0]), 0, offset - rf.freq_offset])
    rate = np.linalg.norm(field)
    axis, angle = field / rate, rate * length
    m = m * np.cos(angle) + np.cross(axis, m) * np.sin(angle) + axis * (axis @ m) * (1 - np.cos(angle))
    m = about_z(m, phase + 2 * np.pi * rf.freq_offset * length)
    return about_z(m, 2 * np.pi * offset * (fill - rf.delay - length))


def about_z(m: np.ndarray, angle: float) -> np.ndarray:
    turn = (m[0] + 1j * m[1]) * np.exp(1j * angle)
    return np.array([turn.real, turn.imag, m[2]])


@pytest.mark.parametrize("offset", [3.0, -3.0, 1.0, -8.0])
@pytest.mark.parametrize("b1", [0.5e-6, 2e-6, 4e-6])
def test_spin_locks_keep_the_water_along_the_field(offset, b1):
    blocks = saturation(TRAINS, b1, offset, 0.5, PRISMA)
    m = np.array([0.0, 0.0, 1.0])
    for number, block in enumerate(blocks):
        m = turned(m, block, 0.0, PRISMA.gamma)
        if block[0].type == "rf" and abs(block[0].shape_dur - 0.1) < 1e-9:
            tilt = math.atan2(b1 * PRISMA.gamma, abs(offset) * 1e-6 * PRISMA.gamma * PRISMA.field_strength)
            assert abs(m[2] - math.cos(tilt)) < 1e-3, number  # it leaves the pulse at the angle of the field
    assert m[2] > 1 - 1e-5
    free = np.array([0.0, 0.0, 1.0])
    for block in saturation(dataclasses.replace(TRAINS, saturation="block"), b1, offset, 0.5, PRISMA):
        free = turned(free, block, 0.0, PRISMA.gamma)
    assert free[2] < m[2]


def test_phases_and_times_of_a_spin_lock_train():
    blocks = saturation(TRAINS, 2e-6, 3.0, 0.5, PRISMA)
    pulses, time = [], 0.0
    for block in blocks:
        if block[0].type == "rf":
            pulses.append((time + block[0].delay, block[0]))
        time += max(getattr(event, "delay", 0.0) for event in block)
    assert len(pulses) == 9
    locks = [begin for begin, rf in pulses if rf.shape_dur > 0.05]
    assert np.allclose(np.diff(locks), 0.2, atol=1e-9)
    frequency = 3e-6 * PRISMA.gamma * PRISMA.field_strength
    turns = 360 * (frequency * 0.1 % 1)
    wanted = [angle for n in (1, 2, 3) for angle in (50 * n - 90, 50 * n, 50 * n + turns + 90)]
    found = np.array([rf.phase_offset for _, rf in pulses])
    assert np.allclose(np.exp(1j * found), np.exp(1j * np.deg2rad(wanted)), atol=1e-9)
    assert found.min() >= 0
    assert found.max() < 2 * np.pi
    tip = np.rad2deg(2 * np.pi * np.abs(pulses[0][1].signal).sum() * 1e-6)
    assert tip == pytest.approx(np.rad2deg(np.arctan(2 / (3 * PRISMA.field_strength))), rel=1e-6)


def test_the_pulses_of_the_published_spin_lock_protocol():
    """Amplitudes [Hz], frequency [Hz] and phases [rad] of the first pulses of pulseq-cest's 13-spin-lock protocol."""
    scanner = dataclasses.replace(PRISMA, field_strength=3.0, gamma=42.5764e6)
    blocks = saturation(Protocol(), 2e-6, 3.0, 2.5, scanner)
    pulses = [block[0] for block in blocks if block[0].type == "rf"]
    assert len(pulses) == 39
    assert [float(f"{abs(rf.signal[0]):.6g}") for rf in pulses[:3]] == [34.8022, 85.1528, 34.8022]
    assert [float(f"{rf.freq_offset:.6g}") for rf in pulses[:3]] == [0, 383.188, 0]
    published = [-0.698132, 0.872665, 4.44629, 0.174533, 1.74533, 5.31895, 1.0472, 2.61799, 6.19162]
    found = np.array([rf.phase_offset for rf in pulses[:9]])
    assert np.abs(np.angle(np.exp(1j * (found - published)))).max() < 5e-6  # of six digits


@pytest.mark.parametrize("name", ["cest_larg_3t", "cest_amide_3t", "cest_semisolid_mt_3t"])
def test_clinical_protocols(name, tmp_path):
    values = tomllib.loads((PROTOCOLS / f"{name}.toml").read_text())["cest_mrf"]
    protocol = dataclasses.replace(protocol_from(Protocol, values, name), matrix=(16, 16, 3), bandwidth=2000.0)
    seq = build(protocol, PRISMA)
    assert seq.definitions["n_pulses"] == [0] + [13] * 30
    hertz = {round(offset * 127.7292) for offset in seq.definitions["offsets_ppm"]}
    assert hertz == {"cest_larg_3t": {383}, "cest_amide_3t": {447}}.get(name, {1022, 766, 1277, 1788})
    assert np.allclose(np.sum(seq.definitions["B1pa"]), 56.1)
    assert not errors(seq, tmp_path / "cest.seq", PRISMA)


def test_block_trains_are_a_wave_with_gaps():
    blocks = saturation(dataclasses.replace(TRAINS, saturation="block"), 2e-6, -3.7, 0.5, PRISMA)
    pulses = [block[0] for block in blocks if block[0].type == "rf"]
    assert len(pulses) == 3
    frequency = -3.7e-6 * PRISMA.gamma * PRISMA.field_strength
    assert np.allclose([rf.freq_offset for rf in pulses], frequency)
    assert np.allclose(
        np.diff([rf.phase_offset for rf in pulses]) % (2 * np.pi), 2 * np.pi * frequency * 0.1 % (2 * np.pi)
    )


def test_gauss_pulses_have_the_power_that_was_asked_for():
    rf, _ = gauss_pulse(2e-6, 0.05, 400.0, 0.0, PRISMA)
    assert math.sqrt(np.mean(np.abs(rf.signal) ** 2)) / PRISMA.gamma == pytest.approx(2e-6, rel=1e-9)
    assert rf.shape_dur == pytest.approx(0.05, abs=1e-9)
    assert len(rf.signal) <= 1000


def test_the_crusher_makes_its_cycles_in_any_orientation():
    protocol = Protocol(matrix=(64, 32, 16), fov=(0.2, 0.2, 0.1))
    lobes = crusher(3.0, protocol, PRISMA)
    assert [one.channel for one in lobes] == ["x", "y", "z"]
    assert np.allclose([one.area for one in lobes], 3 * np.array([64 / 0.2, 32 / 0.2, 16 / 0.1]))
    slew = np.linalg.norm([one.amplitude / one.rise_time for one in lobes]) / PRISMA.gamma
    assert 0.5 * PRISMA.max_slew < slew <= PRISMA.max_slew
    assert crusher(0.0, protocol, PRISMA) == ()


@pytest.mark.parametrize("name", EDGE)
@pytest.mark.parametrize(
    "extra",
    [
        {"saturation": "cw", "matrix": (16, 16, 1)},
        {"readout": "epi", "matrix": (32, 32, 4)},
        {
            "saturation": "gauss",
            "readout": "epi",
            "ramp_sampling": True,
            "matrix": (32, 32, 1),
            "shots": 2,
            "segments": 2,
        },
        {"saturation": "block", "readout": "fid", "matrix": (1, 1, 1), "oversampling": 4},
    ],
    ids=str,
)
def test_playable(name, extra, tmp_path):
    scanner, edge = Scanner.preset(name), EDGE[name]
    settings = {
        "fov": (edge, edge, edge / 8), "b1": (2e-6, 0.0, 4e-6), "saturation_time": (0.3,), "tr": (2.0, 3.0, 2.0),
        "offset": (3.0, 3.0, -2.0),
    }  # fmt: skip
    assert not errors(build(Protocol(**(settings | extra)), scanner), tmp_path / "cest.seq", scanner)


def test_times_and_definitions():
    protocol = Protocol(
        matrix=(16, 16, 1), b1=(2e-6, 0.0, 3e-6), saturation_time=(0.3, 0.3, 0.0), tr=(2.0, 1.5, 1.0), offset=(3.5,),
        flip_angle=(0.2, 0.3, 0.2),
    )  # fmt: skip
    seq = build(protocol, PRISMA)
    _, _, excitation, _, _ = seq.calculate_kspace()
    first = np.asarray(excitation).reshape(3, 16)[:, 0]
    saturated = 1.22e-3 + 0.3 + 0.02e-3 + 1.12e-3  # tip and dead time, the train, ring-down, tip
    assert np.allclose(np.diff(first), [2.0, 1.5 - saturated], atol=1e-9)
    assert seq.definitions["MeasurementTimes"][:2] == pytest.approx([2.0, 1.5], abs=1e-8)
    assert "TR" not in seq.definitions
    equal = build(Protocol(matrix=(16, 16, 1), b1=(2e-6, 3e-6), tr=(4.0,)), PRISMA)
    assert equal.definitions["TR"] == pytest.approx(4.0)
    assert "MeasurementTimes" not in equal.definitions
    assert seq.definitions["B1pa"] == pytest.approx([2, 0, 3])
    assert seq.definitions["offsets_ppm"] == [3.5] * 3
    assert seq.definitions["n_pulses"] == [2, 2, 0]
    labels = seq.evaluate_labels(evolution="adc")
    assert np.array_equal(labels["SET"], np.repeat([0, 1, 2], 16))
    assert labels["LIN"][0] == 8


def test_what_cannot_be_is_refused():
    with pytest.raises(ProtocolError, match=r"2\.45 s is not filled .* 2\.5 s is"):
        build(Protocol(saturation_time=(2.45,)), PRISMA)
    with pytest.raises(ProtocolError, match="offset has 2 values where 30 are measured: give 1 or 30"):
        Protocol(offset=(3.0, 4.0))
    with pytest.raises(ProtocolError, match="recovery and tr"):
        Protocol(tr=(3.0,), recovery=(1.0,))
    with pytest.raises(ProtocolError, match="b1 = 30 uT is too strong for MAGNETOM Prisma: 24 uT is the most"):
        build(Protocol(b1=(30e-6,)), PRISMA)
    with pytest.raises(ProtocolError, match="tr of measurement 1 = 100 ms is too short"):
        build(Protocol(b1=(1e-6,), tr=(9.0, 0.1)), PRISMA)
    with pytest.raises(ProtocolError, match="a fid has no encoding"):
        Protocol(readout="fid")
    with pytest.raises(ProtocolError, match="pulse_pause = 1 ms is too short"):
        build(Protocol(pulse_pause=1e-3, saturation_time=(0.201,)), PRISMA)


def test_a_setting_of_one_value_counts_for_all():
    rows = schedule(Protocol(b1=(1e-6, 2e-6), offset=(3.0,), recovery=(0.5,)))
    assert [(row.b1, row.offset, row.recovery, row.tr) for row in rows] == [
        (1e-6, 3.0, 0.5, None),
        (2e-6, 3.0, 0.5, None),
    ]
