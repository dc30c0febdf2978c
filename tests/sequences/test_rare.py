"""RARE: times, places and phases of what is played, by pypulseq's own tracing, and the image it gives."""

from __future__ import annotations

import math

import numpy as np
import pypulseq as pp
import pytest
from scipy.ndimage import binary_dilation

from pulsetwin.errors import ProtocolError
from pulsetwin.export.playable import check
from pulsetwin.recon.reconstruct import reconstruct
from pulsetwin.scanner import Scanner
from pulsetwin.sequences.rare import Protocol, build
from pulsetwin.sequences.seqfile import read_seq
from pulsetwin.sim.acquire import acquire, phantom_for
from tests.world import at_voxels

PRISMA = Scanner.preset("siemens-prisma")
SMALL = {"siemens-prisma": 0.22, "siemens-terra": 0.22, "bruker-biospec-94": 0.03}


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("extra", [{}, {"slices": 3, "train": 1}, {"order": "centric", "refocusing": (2.5, 2.0)}])
def test_playable(name, extra, tmp_path):
    scanner, edge = Scanner.preset(name), SMALL[name]
    longer = {"refocusing_duration": 4e-3, "excitation_duration": 4e-3}  # so that 180 degrees need little B1
    protocol = Protocol(**({"fov": (edge, edge, edge / 20), "matrix": (32, 16), "train": 8} | longer | extra))
    seq = build(protocol, scanner)
    assert seq.check_timing()[0]
    seq.write(str(tmp_path / "rare.seq"))
    report = check(read_seq(tmp_path / "rare.seq"), scanner)
    assert not [finding for finding in report.findings if finding.severity == "error"], report.findings


@pytest.mark.parametrize(("spacing", "tr", "order"), [(None, None, "linear"), (12e-3, 0.5, "centric")])
def test_times_and_places(spacing, tr, order):
    protocol = Protocol(matrix=(32, 16), train=8, echo_spacing=spacing, tr=tr, order=order, dummies=0)
    seq = build(protocol, PRISMA)
    k, _, excitation, refocusing, time = seq.calculate_kspace()
    k, time = k.reshape(3, -1, 64), time.reshape(-1, 64)
    excitation, refocusing = np.asarray(excitation), np.asarray(refocusing).reshape(2, 8)
    step = seq.definitions["EchoSpacing"]
    assert np.allclose(refocusing - excitation[:, None], step * (np.arange(8) + 0.5), atol=1e-9)
    echo = time[:, 32].reshape(2, 8) - excitation[:, None]
    assert np.allclose(echo, step * (np.arange(8) + 1), atol=1.1e-5)  # delays lie on the raster
    assert np.allclose(k[0, :, 32], 0, atol=1e-3)
    assert np.allclose(k[2, :, 32], k[2, 0, 32], atol=1e-3)  # crushers are equal
    lines = np.round(k[1, :, 32] * 0.22).astype(int) + 8
    assert np.array_equal(np.sort(lines), np.arange(16))
    assert np.array_equal(lines, seq.evaluate_labels(evolution="adc")["LIN"])
    first = time[np.flatnonzero(lines == 8)[0], 32]
    assert first - excitation[excitation < first][-1] == pytest.approx(seq.definitions["TE"], abs=1.1e-5)
    if tr is not None:
        assert np.diff(excitation)[0] == pytest.approx(tr, abs=1e-5)
        assert step == pytest.approx(spacing, abs=2.1e-5)
        assert seq.definitions["TE"] == pytest.approx(step)  # centric: the first echo is the middle line


def test_angles_and_phases():
    seq = build(Protocol(matrix=(16, 8), train=4, refocusing=(math.pi, 2.0), dummies=0), PRISMA)
    pulses = [block.rf for block in (seq.get_block(i) for i in seq.block_events) if block.rf is not None]
    angle = [2 * np.pi * np.abs(np.sum(one.signal) * seq.rf_raster_time) for one in pulses]
    assert np.allclose(angle, [math.pi / 2, math.pi, 2, 2, 2] * 2, rtol=1e-4)
    centre = [one.phase_offset + 2 * np.pi * one.freq_offset * pp.calc_rf_center(one)[0] for one in pulses]
    assert np.allclose(np.exp(1j * np.array(centre)), [1, 1j, 1j, 1j, 1j] * 2, atol=1e-9)


def test_the_image_is_the_phantom(tmp_path):
    seq = build(Protocol(matrix=(32, 32), train=32, order="centric", bandwidth=800.0), PRISMA)
    seq.write(str(tmp_path / "rare.seq"))
    phantom = phantom_for(read_seq(tmp_path / "rare.seq"), "brain", 32, PRISMA)
    images = reconstruct(acquire(tmp_path / "rare.seq", phantom, PRISMA, tol=1e-2))
    image = np.abs(at_voxels(images.values[0], images.affine, phantom))[0]
    density = phantom.proton_density[0].numpy()
    assert np.corrcoef(image.ravel(), density.ravel())[0, 1] > 0.95


def scanned(tmp_path, **extra):
    """Return the image of a disc of water without relaxation, and where it is."""
    path = tmp_path / "rare.seq"
    build(Protocol(**({"matrix": (32, 32), "train": 8, "bandwidth": 800.0} | extra)), PRISMA).write(str(path))
    phantom = phantom_for(read_seq(path), "vials", 32, PRISMA)
    images = reconstruct(acquire(path, phantom, PRISMA, tol=1e-2))
    return np.abs(at_voxels(images.values[0], images.affine, phantom))[0], phantom.proton_density[0].numpy()


def background(image, density):
    """Return the mean signal where nothing is, away from the edges of the object, over that of the object."""
    empty = ~binary_dilation(density > 0, iterations=2)
    assert empty.sum() > 50
    return image[empty].mean() / image[density > 0.5].mean()


def test_shots_of_the_default_have_no_ghost(tmp_path):
    assert background(*scanned(tmp_path)) < 0.015
    assert background(*scanned(tmp_path, dummies=0, tr=None)) > 0.03  # the first shot finds more magnetisation


@pytest.mark.parametrize(("wanted", "echo"), [(12e-3, 1), (50e-3, 4), (99e-3, 8)])
def test_the_central_line_is_read_at_the_echo_next_to_te(wanted, echo):
    seq = build(Protocol(matrix=(32, 16), train=8, echo_spacing=12e-3, te=wanted), PRISMA)
    lines = np.asarray(seq.evaluate_labels(evolution="adc")["LIN"]).reshape(2, 8)
    assert (lines[:, echo - 1] == 8).sum() == 1
    assert np.array_equal(np.sort(lines.ravel()), np.arange(16))
    assert seq.definitions["TE"] == pytest.approx(12e-3 * echo)


def test_what_cannot_be_is_refused():
    with pytest.raises(ProtocolError, match="echo_spacing = 1 ms is too short"):
        build(Protocol(echo_spacing=1e-3), PRISMA)
    with pytest.raises(ProtocolError, match="te = 200 ms is not among the echoes: give 10 to 160 ms"):
        build(Protocol(te=0.2, echo_spacing=0.01, bandwidth=800.0), PRISMA)
    with pytest.raises(ProtocolError, match="order linear only"):
        Protocol(te=0.1, order="centric")
    with pytest.raises(ProtocolError, match="multiple of the train"):
        Protocol(matrix=(32, 30), train=16)
    with pytest.raises(ProtocolError, match="linear, centric"):
        Protocol(order="random")
