"""FLASH: times, places and phases of what is played, by pypulseq's own tracing, and the image it gives."""

from __future__ import annotations

import math

import numpy as np
import pypulseq as pp
import pytest

from pulsetwin.errors import ProtocolError
from pulsetwin.export.playable import check
from pulsetwin.recon.reconstruct import reconstruct
from pulsetwin.scanner import Scanner
from pulsetwin.sequences.flash import Protocol, build
from pulsetwin.sequences.seqfile import read_seq
from pulsetwin.sim.acquire import acquire, phantom_for
from tests.world import at_voxels

PRISMA = Scanner.preset("siemens-prisma")
SMALL = {"siemens-prisma": 0.22, "siemens-terra": 0.22, "bruker-biospec-94": 0.03}


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("extra", [{}, {"slices": 3}, {"echoes": 3}, {"matrix": (32, 16, 8)}])
def test_playable(name, extra, tmp_path):
    scanner, edge = Scanner.preset(name), SMALL[name]
    protocol = Protocol(**({"fov": (edge, edge, edge / 8), "matrix": (32, 16, 1), "dummies": 2} | extra))
    seq = build(protocol, scanner)
    assert seq.check_timing()[0]
    seq.write(str(tmp_path / "flash.seq"))
    report = check(read_seq(tmp_path / "flash.seq"), scanner)
    assert not [finding for finding in report.findings if finding.severity == "error"], report.findings


@pytest.mark.parametrize(("te", "tr"), [(None, None), (5e-3, 20e-3)])
def test_times_and_places(te, tr):
    protocol = Protocol(matrix=(32, 8, 4), fov=(0.2, 0.1, 0.04), te=te, tr=tr, dummies=3, echoes=2)
    seq = build(protocol, PRISMA)
    k, _, excitation, _, time = seq.calculate_kspace()
    k, time = k.reshape(3, -1, 64), time.reshape(-1, 64)
    excitation = np.asarray(excitation)
    assert len(time) == 8 * 4 * 2
    assert np.allclose(k[0, :, 32], 0, atol=1e-3)  # of 2-fold oversampling: half of 64 samples
    assert np.allclose(np.diff(k[0, 0]), 1 / 0.2 / 2, rtol=1e-6)
    wanted = [((line - 4) / 0.1, (part - 2) / 0.04) for part in range(4) for line in range(8) for _ in range(2)]
    assert np.allclose(k[1:, :, 32].T, wanted, atol=1e-3)
    echo = time[:, 32].reshape(-1, 2) - excitation[3:, None]
    assert np.allclose(echo, seq.definitions["TE"], atol=1e-9)
    assert np.allclose(np.diff(excitation), seq.definitions["TR"], atol=1e-9)
    if te is not None:
        assert echo[0, 0] == pytest.approx(te, abs=1e-9)
        assert np.diff(excitation)[0] == pytest.approx(tr, abs=1e-5)


def test_phases_and_labels(tmp_path):
    protocol = Protocol(matrix=(16, 8, 1), slices=2, dummies=1, rf_spoiling=math.radians(117))
    seq = build(protocol, PRISMA)
    n = np.repeat(np.arange(8 + 1), 2)  # each slice by itself
    wanted = np.radians(117) * n * (n + 1) / 2
    blocks = [seq.get_block(i) for i in seq.block_events]
    adc = np.array([block.adc.phase_offset for block in blocks if block.adc is not None])
    assert np.allclose(np.exp(1j * adc), np.exp(1j * wanted[2:]), atol=1e-9)
    rf = [block.rf for block in blocks if block.rf is not None]
    centre = [one.phase_offset + 2 * np.pi * one.freq_offset * pp.calc_rf_center(one)[0] for one in rf]
    assert np.allclose(np.exp(1j * np.array(centre)), np.exp(1j * wanted), atol=1e-9)
    labels = seq.evaluate_labels(evolution="adc")
    assert np.array_equal(labels["LIN"], np.repeat(np.arange(8), 2))
    assert np.array_equal(labels["SLC"], np.tile([0, 1], 8))


def test_the_image_is_the_phantom(tmp_path):
    protocol = Protocol(matrix=(32, 32, 1), dummies=60, flip_angle=math.radians(10), tr=12e-3)
    seq = build(protocol, PRISMA)
    seq.write(str(tmp_path / "flash.seq"))
    phantom = phantom_for(read_seq(tmp_path / "flash.seq"), "brain", 32, PRISMA)
    images = reconstruct(acquire(tmp_path / "flash.seq", phantom, PRISMA, tol=1e-2))
    image = np.abs(at_voxels(images.values[0], images.affine, phantom))
    density = phantom.proton_density.numpy()
    assert np.corrcoef(image.ravel(), density.ravel())[0, 1] > 0.9


@pytest.mark.parametrize("asked", [300.0, 1302.0])
def test_the_bandwidth_is_that_of_the_samples(asked):
    """Of the samples that are played, which may not be what was asked for."""
    seq = build(Protocol(matrix=(64, 2, 1), bandwidth=asked, dummies=0), PRISMA)
    time = seq.calculate_kspace()[4].reshape(2, -1)[0]
    assert seq.definitions["Bandwidth"] == pytest.approx(1 / ((time[1] - time[0]) * len(time)), rel=1e-9)


def test_what_cannot_be_is_refused():
    with pytest.raises(ProtocolError, match=r"\d\.\d+ ms is the least"):
        build(Protocol(matrix=(64, 64, 1), te=1e-3), PRISMA)
    with pytest.raises(ProtocolError, match="tr = 2 ms is too short"):
        build(Protocol(tr=2e-3), PRISMA)
    with pytest.raises(ProtocolError, match="partitions"):
        Protocol(matrix=(32, 32, 4), slices=2)
    with pytest.raises(ProtocolError, match="flip_angle"):
        Protocol(flip_angle=15)
    with pytest.raises(ProtocolError, match="3 numbers"):
        Protocol(fov=(0.2, 0.2))


@pytest.mark.parametrize("asked", [400.0, 480.0, 800.0, 1302.0])
def test_the_bandwidth_that_is_played_is_stated_and_near_what_is_asked(asked):
    scanner = Scanner.preset("siemens-prisma")
    seq = build(Protocol(matrix=(128, 16, 1), bandwidth=asked), scanner)
    assert seq.definitions["Bandwidth"] == pytest.approx(asked, rel=0.05)
    adc = next(block.adc for block in map(seq.get_block, seq.block_events) if block.adc is not None)
    assert seq.definitions["Bandwidth"] == pytest.approx(1 / (adc.num_samples * adc.dwell))
