"""Spiral: arms on their curve and within limits, places and times by pypulseq's tracing, and the image they give."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.spatial import cKDTree

from pulsetwin.errors import ProtocolError
from pulsetwin.scanner import Scanner
from pulsetwin.sequences.spiral import Protocol, build
from pulsetwin.sequences.spiral_arm import arm
from tests.sequences.nonlines import EDGE, PRISMA, agreement, errors, net_moments


@pytest.mark.parametrize("name", EDGE)
@pytest.mark.parametrize("extra", [{}, {"slices": 2, "order": "golden"}, {"matrix": (32, 32, 4), "edge_density": 0.5}])
def test_playable(name, extra, tmp_path):
    scanner, edge = Scanner.preset(name), EDGE[name]
    protocol = Protocol(
        **({"fov": (edge, edge, edge / 8), "matrix": (64, 64, 1), "interleaves": 6, "dummies": 2} | extra)
    )
    assert not errors(build(protocol, scanner), tmp_path / "spiral.seq", scanner)


@pytest.mark.parametrize("density", [1.0, 0.4])
@pytest.mark.parametrize("scanner", [Scanner.preset(name) for name in EDGE], ids=list(EDGE))
@pytest.mark.parametrize(("samples", "interleaves"), [(48, 1), (48, 12), (160, 2)])
def test_arms_are_fast_and_within_limits(scanner, density, samples, interleaves):
    raster = scanner.gradient_raster
    one = arm(samples, 0.2 if scanner.vendor == "siemens" else 0.03, interleaves, density, 1e9, scanner)
    slew = np.abs(np.diff(one.gradient)) / raster / scanner.gamma
    strength = np.abs(one.gradient) / scanner.gamma
    assert slew.max() <= scanner.max_slew
    assert strength.max() <= scanner.max_gradient
    assert one.gradient[0] == one.gradient[-1] == 0
    busy = np.maximum(slew / scanner.max_slew, strength[1:] / scanner.max_gradient)[: round(one.outward / raster) - 1]
    assert np.median(busy) > 0.97  # one of the limits is used up


@pytest.mark.parametrize("density", [1.0, 0.5])
def test_places(density):
    fov, edge, count = 0.2, 16 / 0.2, 4
    protocol = Protocol(
        fov=(fov, fov, 0.02), matrix=(32, 32, 3), interleaves=count, edge_density=density, dummies=1, bandwidth=250e3
    )
    k = build(protocol, PRISMA).calculate_kspace()[0].reshape(3, 3, count, -1)
    assert np.allclose(k[2], (np.arange(3) - 1)[:, None, None] / 0.02, atol=1e-3)
    across = (k[0] + 1j * k[1])[1]
    r = np.linspace(0, edge, 100000)
    curve = r * np.exp(2j * math.pi * fov / count * (r - (1 - density) * r**2 / 2 / edge))
    nearest = cKDTree(np.stack((curve.real, curve.imag), 1))
    for number, one in enumerate(across * np.exp(-2j * math.pi * np.arange(count) / count)[:, None]):
        distance, where = nearest.query(np.stack((one.real, one.imag), 1))
        assert distance.max() * fov < 0.05, number  # cells
        assert np.all(np.diff(r[where]) > 0)
    assert np.abs(np.abs(across[:, -1]) - edge).max() * fov < 1
    assert np.abs(np.diff(across)).max() * fov < 1


@pytest.mark.parametrize(("te", "tr"), [(None, None), (3e-3, 30e-3)])
def test_times_phases_and_labels(te, tr):
    seq = build(Protocol(matrix=(32, 32, 1), interleaves=5, slices=2, dummies=2, te=te, tr=tr), PRISMA)
    _, _, excitation, _, time = seq.calculate_kspace()
    time = time.reshape(10, -1)
    start = time[:, 0] - np.asarray(excitation)[4:] - (time[0, 1] - time[0, 0]) / 2
    assert np.allclose(start, seq.definitions["TE"], atol=1e-9)
    assert np.allclose(np.diff(excitation[::2]), seq.definitions["TR"], atol=1e-9)
    if te is not None:
        assert (seq.definitions["TE"], seq.definitions["TR"]) == pytest.approx((te, tr), abs=2e-5)
    found = seq.evaluate_labels(evolution="adc")
    assert np.array_equal(found["LIN"], np.repeat(np.arange(5), 2))
    assert np.array_equal(found["SLC"], np.tile([0, 1], 5))
    n = np.repeat(np.arange(2, 7), 2)
    blocks = [seq.get_block(number) for number in seq.block_events]
    adc = np.array([block.adc.phase_offset for block in blocks if block.adc is not None])
    assert np.allclose(np.exp(1j * adc), np.exp(1j * np.radians(117) * n * (n + 1) / 2), atol=1e-9)


def test_the_file_brings_each_arm_back(tmp_path):
    protocol = Protocol(fov=(0.213, 0.213, 0.02), matrix=(48, 48, 4), interleaves=7, order="golden", dummies=1)
    build(protocol, PRISMA).write(str(tmp_path / "spiral.seq"))
    left = net_moments(tmp_path / "spiral.seq")
    assert np.abs(left[:, :2]).max() < 1e-4  # 1/m, of 113 that an arm reaches
    assert np.ptp(left[:, 2]) < 1e-2


@pytest.mark.parametrize(
    "extra",
    [{}, pytest.param({"edge_density": 0.6, "order": "golden", "interleaves": 13}, marks=pytest.mark.slow)],
)
def test_the_image_is_the_brain(extra, tmp_path):
    seq = build(Protocol(**({"matrix": (32, 32, 1), "interleaves": 8, "dummies": 60, "tr": 12e-3} | extra)), PRISMA)
    seq.write(str(tmp_path / "spiral.seq"))
    assert agreement(tmp_path / "spiral.seq", math.radians(15), 12e-3) > 0.95


def test_what_cannot_be_is_refused():
    with pytest.raises(ProtocolError, match=r"te = 1 ms is too short: [\d.]+ ms is the least"):
        build(Protocol(te=1e-3), PRISMA)
    with pytest.raises(ProtocolError, match="tr = 2 ms is too short"):
        build(Protocol(tr=2e-3), PRISMA)
    with pytest.raises(ProtocolError, match="times as many interleaves"):
        build(Protocol(matrix=(256, 256, 1), interleaves=1), PRISMA)
    with pytest.raises(ProtocolError, match="edge_density"):
        Protocol(edge_density=0.0)
    with pytest.raises(ProtocolError, match="partitions"):
        Protocol(matrix=(32, 32, 4), slices=2)
