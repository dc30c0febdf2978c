"""bSSFP: balance, times and phases of what is played, its steady state by formula, and the image it gives."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pypulseq as pp
import pytest
import torch

from pulsetwin.errors import ProtocolError
from pulsetwin.export.playable import check
from pulsetwin.export.seq_rules import text_faults
from pulsetwin.recon.reconstruct import reconstruct
from pulsetwin.scanner import Scanner
from pulsetwin.sequences.bssfp import Protocol, build
from pulsetwin.sequences.seqfile import GX, read_seq
from pulsetwin.sim.acquire import acquire, phantom_for

PRISMA = Scanner.preset("siemens-prisma")
SMALL = {"siemens-prisma": 0.22, "siemens-terra": 0.22, "bruker-biospec-94": 0.03}


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("extra", [{}, {"slices": 2}, {"matrix": (32, 64, 2)}, {"phase_increment": 1.0}])
def test_playable(name, extra, tmp_path):
    scanner, edge = Scanner.preset(name), SMALL[name]
    protocol = Protocol(**({"fov": (edge, edge, edge / 8), "matrix": (32, 16, 1), "dummies": 2} | extra))
    seq = build(protocol, scanner)
    assert seq.check_timing()[0]
    seq.write(str(tmp_path / "bssfp.seq"))
    assert not text_faults(tmp_path / "bssfp.seq")
    report = check(read_seq(tmp_path / "bssfp.seq"), scanner)
    assert not [finding for finding in report.findings if finding.severity == "error"], report.findings
    assert not [finding for finding in report.findings if finding.rule.startswith("label")], report.findings


@pytest.mark.parametrize("tr", [None, 8e-3])
def test_times_and_places(tr):
    protocol = Protocol(matrix=(32, 8, 4), fov=(0.2, 0.1, 0.04), tr=tr, dummies=3)
    seq = build(protocol, PRISMA)
    k, _, excitation, _, time = seq.calculate_kspace()
    k, time, excitation = k.reshape(3, -1, 64), time.reshape(-1, 64), np.asarray(excitation)
    wanted = [(0, (line - 4) / 0.1, (part - 2) / 0.04) for part in range(4) for line in range(8)]
    assert np.allclose(k[:, :, 32].T, wanted, atol=1e-3)
    assert np.allclose(time[:, 32] - excitation[4:], seq.definitions["TE"], atol=1e-9)
    assert np.allclose(np.diff(excitation[1:]), seq.definitions["TR"], atol=1e-9)
    assert seq.definitions["TE"] == pytest.approx(seq.definitions["TR"] / 2, abs=1e-5)
    assert np.diff(excitation)[0] == pytest.approx(seq.definitions["TR"] / 2, abs=1e-9)
    if tr is not None:
        assert seq.definitions["TR"] == pytest.approx(tr, abs=1e-9)


def test_each_repetition_is_balanced(tmp_path):
    build(Protocol(matrix=(16, 8, 4), dummies=2, spoiling=0.0), PRISMA).write(str(tmp_path / "bssfp.seq"))
    seq = read_seq(tmp_path / "bssfp.seq")
    area = np.append(seq.gradients.area, 0.0)[seq.events[:, GX : GX + 3]]
    per_repetition = area[3:].reshape(2 + 8 * 4, 4, 3)  # after the labels and the half pulse with its lobe
    assert np.abs(per_repetition).max() > 30
    assert np.allclose(per_repetition.sum(1), 0, atol=1e-2)
    assert np.allclose(area[1:3].sum(0), 0, atol=1e-2)


@pytest.mark.parametrize("increment", [math.pi, 2.0])
def test_phases_and_labels(increment):
    seq = build(Protocol(matrix=(16, 8, 1), slices=2, dummies=1, phase_increment=increment), PRISMA)
    blocks = [seq.get_block(number) for number in seq.block_events]
    rf = [block.rf for block in blocks if block.rf is not None]
    centre = np.array([one.phase_offset + 2 * np.pi * one.freq_offset * pp.calc_rf_center(one)[0] for one in rf])
    centre = centre.reshape(2, -1)
    assert np.allclose(np.exp(1j * centre[:, 1:]), np.exp(1j * increment * np.arange(9)), atol=1e-9)
    adc = np.array([block.adc.phase_offset for block in blocks if block.adc is not None]).reshape(2, 8)
    assert np.allclose(np.exp(1j * adc), np.exp(1j * centre[:, 2:]), atol=1e-9)
    flip = [np.abs(np.sum(one.signal)) for one in rf]
    assert flip[0] == pytest.approx(flip[1] / 2)
    labels = seq.evaluate_labels(evolution="adc")
    assert np.array_equal(labels["LIN"], np.tile(np.arange(8), 2))
    assert np.array_equal(labels["SLC"], np.repeat([0, 1], 8))


def test_the_image_is_the_steady_state_of_the_phantom(tmp_path):
    protocol = Protocol(matrix=(32, 32, 1), dummies=100, flip_angle=math.radians(60), tr=10e-3)
    seq = build(protocol, PRISMA)
    seq.write(str(tmp_path / "bssfp.seq"))
    phantom = phantom_for(read_seq(tmp_path / "bssfp.seq"), "brain", 32, PRISMA)
    relaxation = {"t1": (phantom.t1 / 2).clamp(max=0.8), "t2": (phantom.t2 / 2).clamp(max=0.1)}  # steady within 1 s
    phantom = replace(phantom, b0=torch.zeros_like(phantom.b0), b1=torch.ones_like(phantom.b1), **relaxation)
    image = np.abs(reconstruct(acquire(tmp_path / "bssfp.seq", phantom, PRISMA, tol=1e-2)).values[0, 0])
    density, t1, t2 = (getattr(phantom, name)[0].numpy() for name in ("proton_density", "t1", "t2"))
    inside = density > 0.5
    e1, e2 = (np.exp(-seq.definitions["TR"] / np.where(inside, time, 1.0)) for time in (t1, t2))
    a = protocol.flip_angle  # Freeman and Hill 1971, on resonance, at TR / 2
    steady = density * np.sin(a) * np.sqrt(e2) * (1 - e1) / (1 - (e1 - e2) * np.cos(a) - e1 * e2)
    steady, inside = (np.roll(map_[::-1], 1, 0) for map_ in (np.where(inside, steady, 0), inside))
    share = image / (image[inside].mean() / steady[inside].mean())
    assert np.linalg.norm((share - steady)[inside]) < 0.05 * np.linalg.norm(steady[inside])
    assert share[~inside].mean() < 0.05 * share[inside].mean()


def test_what_cannot_be_is_refused():
    with pytest.raises(ProtocolError, match=r"tr = 2 ms is too short: \d\.\d+ ms is the least"):
        build(Protocol(tr=2e-3), PRISMA)
    with pytest.raises(ProtocolError, match="partitions"):
        Protocol(matrix=(32, 32, 4), slices=2)
    with pytest.raises(ProtocolError, match="even"):
        Protocol(matrix=(33, 32, 1))


@pytest.mark.parametrize("name", SMALL)
def test_the_least_repetition_time_works_when_asked_for(name):
    scanner, edge = Scanner.preset(name), SMALL[name]
    for bandwidth in (300.0, 700.0, 1100.0):
        wanted = {"matrix": (32, 8, 1), "fov": (edge, edge, edge / 40), "dummies": 0, "bandwidth": bandwidth}
        least = build(Protocol(**wanted), scanner).definitions["TR"]
        assert build(Protocol(tr=least, **wanted), scanner).definitions["TR"] == pytest.approx(least, abs=1e-9)
        with pytest.raises(ProtocolError, match="least that works"):
            build(Protocol(tr=least - 20e-6, **wanted), scanner)
