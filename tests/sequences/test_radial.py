"""Radial: places and times by pypulseq's tracing, spokes that undo themselves in the file, and the image they give."""

from __future__ import annotations

import math

import numpy as np
import pytest

from pulsetwin.errors import ProtocolError
from pulsetwin.scanner import Scanner
from pulsetwin.sequences.angles import in_plane, in_space
from pulsetwin.sequences.radial import Protocol, build
from tests.sequences.nonlines import EDGE, PRISMA, agreement, echo_times, errors, net_moments

VOLUME = {"fov": (0.2, 0.2, 0.2), "matrix": (16, 16, 16)}


@pytest.mark.parametrize("name", EDGE)
@pytest.mark.parametrize("extra", [{}, {"slices": 3, "order": "uniform"}, {"matrix": (32, 32, 32), "fov": None}])
def test_playable(name, extra, tmp_path):
    scanner, edge = Scanner.preset(name), EDGE[name]
    fov = (edge,) * 3 if "fov" in extra else (edge, edge, edge / 8)
    protocol = Protocol(**({"matrix": (32, 32, 1), "spokes": 30, "dummies": 2} | extra | {"fov": fov}))
    assert not errors(build(protocol, scanner), tmp_path / "radial.seq", scanner)


@pytest.mark.parametrize("order", ["uniform", "golden"])
@pytest.mark.parametrize("extra", [{"matrix": (16, 16, 1), "fov": (0.2, 0.2, 0.005)}, VOLUME])
def test_places(order, extra):
    seq = build(Protocol(**extra, spokes=21, order=order, dummies=2), PRISMA)
    k = seq.calculate_kspace()[0].reshape(3, 21, 32)
    wanted = in_plane(21, order, math.pi) if extra["matrix"][2] == 1 else in_space(21, order, half=True)
    step = k[:, :, 1:] - k[:, :, :-1]
    assert np.allclose(step, wanted.T[:, :, None] / 0.2 / 2, atol=2e-5 / 0.2)
    assert np.abs(k[:, :, 16]).max() * 0.2 < 0.5 * 0.5e-6 * 400 * 32 + 1e-4  # half of the RF raster, twofold sampling


@pytest.mark.parametrize("extra", [{"slices": 2}, VOLUME])
@pytest.mark.parametrize("times", [(None, None), (7e-3, 40e-3)])
def test_times(extra, times):
    protocol = Protocol(**({"matrix": (16, 16, 1)} | extra), spokes=5, dummies=3, te=times[0], tr=times[1])
    seq = build(protocol, PRISMA)
    excitation = np.asarray(seq.calculate_kspace()[2])
    assert np.allclose(echo_times(seq), seq.definitions["TE"], atol=0.5e-6)
    assert np.allclose(np.diff(excitation[:: protocol.slices]), seq.definitions["TR"], atol=1e-9)
    if times[0]:
        assert seq.definitions["TE"] == pytest.approx(times[0], abs=5e-6)
        assert seq.definitions["TR"] == pytest.approx(times[1], abs=2e-5)


@pytest.mark.parametrize("extra", [{"fov": (0.213, 0.213, 0.004), "matrix": (30, 30, 1)}, VOLUME])
def test_the_file_undoes_each_spoke(extra, tmp_path):
    seq = build(Protocol(**extra, spokes=80, dummies=1, bandwidth=517.0, oversampling=4), PRISMA)
    seq.write(str(tmp_path / "radial.seq"))
    left = net_moments(tmp_path / "radial.seq")
    assert np.abs(left[:, :2]).max() < 1e-8  # 1/m, of about 80 that a spoke reaches
    assert np.ptp(left[:, 2]) < 1e-8


def test_directions_are_even():
    golden = np.sort(np.arctan2(*in_plane(34, "golden", math.pi)[:, 1::-1].T) % math.pi)
    gaps = np.diff(np.append(golden, golden[0] + math.pi)) * 34 / math.pi
    assert gaps.min() > 0.6
    assert gaps.max() < 1.7
    for order in ("uniform", "golden"):
        for half in (True, False):
            lines = in_space(400, order, half=half)
            assert np.allclose(np.linalg.norm(lines, axis=1), 1)
            assert not half or lines[:, 2].min() >= 0
            assert np.allclose(3 * lines.T @ lines / 400, np.eye(3), atol=0.05)  # as of an even cover of the sphere


def test_phases_and_labels():
    seq = build(Protocol(matrix=(16, 16, 1), spokes=6, slices=2, dummies=1), PRISMA)
    n = np.repeat(np.arange(7), 2)
    wanted = np.radians(117) * n * (n + 1) / 2
    blocks = [seq.get_block(number) for number in seq.block_events]
    adc = [block.adc.phase_offset for block in blocks if block.adc is not None]
    assert np.allclose(np.exp(1j * np.array(adc)), np.exp(1j * wanted[2:]), atol=1e-9)
    found = seq.evaluate_labels(evolution="adc")
    assert np.array_equal(found["LIN"], np.repeat(np.arange(6), 2))
    assert np.array_equal(found["SLC"], np.tile([0, 1], 6))


@pytest.mark.parametrize(
    ("extra", "least"),
    [
        ({"matrix": (32, 32, 1), "spokes": 64}, 0.98),
        pytest.param({**VOLUME, "matrix": (12, 12, 12), "spokes": 300}, 0.97, marks=pytest.mark.slow),
    ],
)
def test_the_image_is_the_brain(extra, least, tmp_path):
    seq = build(Protocol(**extra, dummies=60, tr=12e-3), PRISMA)
    seq.write(str(tmp_path / "radial.seq"))
    assert agreement(tmp_path / "radial.seq", math.radians(12), 12e-3) > least


def test_what_cannot_be_is_refused():
    with pytest.raises(ProtocolError, match=r"te = 1 ms is too short: [\d.]+ ms is the least"):
        build(Protocol(te=1e-3), PRISMA)
    with pytest.raises(ProtocolError, match="tr = 2 ms is too short"):
        build(Protocol(tr=2e-3), PRISMA)
    with pytest.raises(ProtocolError, match="532 Hz is the most"):
        build(Protocol(fov=(0.02, 0.02, 0.005), bandwidth=5000.0), PRISMA)
    build(Protocol(fov=(0.02, 0.02, 0.005), bandwidth=532.0, spokes=1), PRISMA)
    with pytest.raises(ProtocolError, match="needs a multiple of 4"):
        build(Protocol(matrix=(30, 30, 1), oversampling=1), PRISMA)
    with pytest.raises(ProtocolError, match="8192 are the most"):
        build(Protocol(matrix=(2048, 2048, 1), oversampling=8, bandwidth=50.0), PRISMA)
    with pytest.raises(ProtocolError, match="partitions"):
        Protocol(**VOLUME, slices=2)
    with pytest.raises(ProtocolError, match="along x, y and z"):
        Protocol(matrix=(32, 32, 8))
    with pytest.raises(ProtocolError, match="along x and y"):
        Protocol(matrix=(32, 16, 1))
    with pytest.raises(ProtocolError, match="give uniform, golden"):
        Protocol(order="gold")
