"""RASER: what is played while the receiver is on, by pypulseq's own tracing, and the spin echoes beside it."""

from __future__ import annotations

import math
import tomllib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pulsetwin.errors import ProtocolError
from pulsetwin.export.siemens import write_siemens
from pulsetwin.scanner import Scanner
from pulsetwin.sequences.protocol import protocol_from
from pulsetwin.sequences.raser import Protocol, build
from pulsetwin.sequences.seqfile import read_seq
from pulsetwin.sim.acquire import acquire
from pulsetwin.sim.phantoms import vials
from tests.sequences.nonlines import PRISMA, errors

SCANNERS = ("siemens-prisma", "siemens-terra", "bruker-biospec-94", "magritek-spinsolve-60")
EXAMPLES = Path(__file__).parents[2] / "examples" / "protocols"
SHORT = {"samples": 40, "dwell": 10e-6, "pumping": 1e-3, "gradient": 1e-3}


def times_of(seq, angles: int) -> np.ndarray:
    """Return the times of the samples of each angle [s], by pypulseq, ``[angle, sample]``."""
    return seq.calculate_kspace()[4].reshape(angles, -1)


@pytest.mark.parametrize("name", SCANNERS)
@pytest.mark.parametrize("extra", [{}, {"reference": True, "trigger": "physio1"}, {"order": "golden"}])
def test_playable(name, extra, tmp_path):
    scanner = Scanner.preset(name)
    seq = build(Protocol(angles=5, **extra), scanner)
    assert not errors(seq, tmp_path / "raser.seq", scanner)


@pytest.mark.parametrize("name", SCANNERS)
@pytest.mark.parametrize("order", ["uniform", "golden"])
def test_the_gradient_of_each_sample(name, order):
    """One even grid of samples for each angle, but for those that the receiver's dead time takes."""
    scanner = Scanner.preset(name)
    seq = build(Protocol(angles=3, order=order), scanner)
    said = seq.definitions
    time = times_of(seq, 3)
    segments, count, gap = (int(said[f"Raser{part}"]) for part in ("Segments", "SegmentSamples", "Gap"))
    assert time.shape == (3, 32768)
    assert segments * count == 32768
    assert segments == (4 if "siemens" in name else 1)
    number = np.arange(segments)[:, None] * (count + gap) + np.arange(count)
    assert np.allclose(time - time[:, :1], number.ravel() * 500e-6, rtol=0, atol=1e-9)
    assert np.allclose(np.diff(time[:, 0]), said["TR"], rtol=0, atol=1e-9)
    turn = np.arange(3) * ((math.sqrt(5) - 1) / 2 if order == "golden" else 1 / 3) % 1 * math.pi
    assert np.allclose(said["RaserAngles"], turn)
    for axis, wanted in zip(seq.get_gradients(), (np.cos(turn), np.sin(turn), np.zeros(3)), strict=True):
        played = np.zeros(time.shape) if axis is None else axis(time)
        assert np.allclose(played / scanner.gamma, 26e-6 * wanted[:, None], rtol=0, atol=1e-11)
    assert 26e-6 * scanner.gamma * 7.4e-3 == pytest.approx(8.19, abs=0.01)  # Hz across the sample, Becker et al. 2025


def test_there_is_no_pulse_and_the_sample_is_pumped():
    seq = build(Protocol(angles=3, pumping=7.0), PRISMA)
    blocks = [seq.get_block(number) for number in seq.block_events]
    assert all(block.rf is None for block in blocks)
    time = times_of(seq, 3)
    assert np.all(time[1:, 0] - time[:-1, -1] > 7.0)
    assert np.all(time[1:, 0] - time[:-1, -1] < 7.0 + 1e-3)
    waiting = build(Protocol(angles=3, trigger="physio2"), PRISMA)
    inputs = [getattr(waiting.get_block(number), "trigger", None) for number in waiting.block_events]
    assert [one[0].type for one in inputs if one] == ["trigger"] * 3


def test_labels(tmp_path):
    seq = build(Protocol(angles=3, reference=True), PRISMA)
    found = seq.evaluate_labels(evolution="adc")
    assert np.array_equal(found["LIN"], [*np.repeat(np.arange(3), 4), 0, 1, 2])
    assert np.array_equal(found["SEG"], [*np.tile(np.arange(4), 3), 0, 0, 0])
    assert np.array_equal(found["SET"], [0] * 12 + [1] * 3)


@pytest.mark.parametrize("version", ["1.4.1", "1.5"])
def test_the_siemens_file(version, tmp_path):
    """The gate compares what is read back with what was designed; a gradient that jumped between blocks would fail."""
    protocol = Protocol(angles=3, reference=True)
    report = write_siemens(
        build(protocol, PRISMA), tmp_path / "raser.seq", scanner=PRISMA, version=version, definitions={"Name": "raser"}
    )
    assert not report.errors
    assert read_seq(tmp_path / "raser.seq").definitions["RaserGradient"] == pytest.approx(26e-6)


@pytest.mark.parametrize("te", [None, 0.08])
def test_the_reference_is_an_echo(te):
    protocol = Protocol(angles=4, reference=True, reference_te=te, **SHORT)
    seq = build(protocol, PRISMA)
    k, _, excitation, refocusing, time = seq.calculate_kspace()
    k, time = k[:, -4 * 88 :].reshape(3, 4, 88), time[-4 * 88 :].reshape(4, 88)
    excitation, refocusing = np.asarray(excitation), np.asarray(refocusing)
    echo = seq.definitions["TE"]
    assert te is None or echo == pytest.approx(te, abs=2e-5)
    assert np.allclose(time[:, 44] - excitation, echo, rtol=0, atol=1e-6)
    assert np.allclose(2 * (refocusing - excitation), echo, rtol=0, atol=1e-5)
    angle = np.arange(4) * math.pi / 4
    assert np.allclose(k[:, :, 44], 0, atol=0.02 / 7.4e-3)
    step = np.stack((np.cos(angle), np.sin(angle), np.zeros(4))) / 7.4e-3 / 2
    assert np.allclose(np.diff(k, axis=2), step[:, :, None], rtol=1e-4, atol=1e-3)


def test_the_reference_shows_the_projections(tmp_path):
    """Against the direct sum over the voxels, at the places that pypulseq tells."""
    protocol = Protocol(matrix=(16, 16, 1), angles=3, reference=True, **(SHORT | {"pumping": 30.0}))
    seq = build(protocol, PRISMA)
    seq.write(str(tmp_path / "raser.seq"))
    phantom = vials((1, 16, 16), protocol.fov)
    group = next(one for one in acquire(tmp_path / "raser.seq", phantom, PRISMA).groups if one.samples.shape[2] == 32)
    k = seq.calculate_kspace()[0][:, -3 * 32 :].reshape(3, 3, 32)
    place = (np.arange(16) - 8) * 7.4e-3 / 16
    x, y = place[None, :], -place[:, None]  # y of the scanner is to the back
    weight = (phantom.proton_density * (-seq.definitions["TE"] / phantom.t2.clamp(min=1e-6)).exp())[0].numpy()
    wave = np.exp(-2j * np.pi * (k[0, ..., None, None] * x + k[1, ..., None, None] * y))
    voxel = np.sinc(k[0] * 7.4e-3 / 16) * np.sinc(k[1] * 7.4e-3 / 16)
    wanted = (voxel * (wave * weight).sum((-1, -2))).ravel()
    found = np.asarray(group.samples)[:, 0].ravel()
    assert abs(np.vdot(found, wanted)) / np.linalg.norm(found) / np.linalg.norm(wanted) > 0.999


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("raser*.toml")), ids=lambda path: path.stem)
def test_example_protocols(path, tmp_path):
    table = tomllib.loads(path.read_text("utf-8"))
    scanner = Scanner.preset(path.read_text("utf-8").split("--scanner ")[1].split()[0])
    protocol = protocol_from(Protocol, table["raser"], path.name)
    assert not errors(build(replace(protocol, angles=4), scanner), tmp_path / "raser.seq", scanner)


def test_what_cannot_be_is_refused():
    with pytest.raises(ProtocolError, match=r"26\.1 us is the next"):
        build(Protocol(dwell=26.05e-6), PRISMA)
    with pytest.raises(ProtocolError, match=r"0.08 T/m is the most"):
        build(Protocol(gradient=0.5), PRISMA)
    with pytest.raises(ProtocolError, match=r"reference_te = 1 ms is too short: [\d.]+ ms is the least"):
        build(Protocol(reference=True, reference_te=1e-3), PRISMA)
    with pytest.raises(ProtocolError, match="rf_duration = 100 us is too short"):
        build(Protocol(reference=True, rf_duration=100e-6), PRISMA)
    with pytest.raises(ProtocolError, match="along x and y"):
        Protocol(matrix=(44, 40, 1))
    with pytest.raises(ProtocolError, match="give none, physio1, physio2"):
        Protocol(trigger="ecg")
