"""AFI: times, places, phases and spoiling of what is played, and the flip angles that its images give."""

from __future__ import annotations

import math
import tomllib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from pulsetwin.errors import ProtocolError
from pulsetwin.recon.reconstruct import reconstruct
from pulsetwin.scanner import Scanner
from pulsetwin.sequences.afi import Protocol, build, phases
from pulsetwin.sequences.protocol import protocol_from
from pulsetwin.sim.acquire import acquire
from pulsetwin.sim.phantom_shapes import Ellipsoid, painted
from pulsetwin.sim.phantom_tissue import Tissue
from tests.sequences.nonlines import EDGE, PRISMA, errors, net_moments
from tests.world import at_voxels

EXAMPLES = Path(__file__).parents[2] / "examples" / "protocols"
SMALL = {"fov": (0.2, 0.1, 0.04), "matrix": (32, 4, 6), "dummies": 2, "spoiling": 4.0}


@pytest.mark.parametrize("name", EDGE)
@pytest.mark.parametrize("extra", [{}, {"noise_samples": 1000}, {"tr": None, "ratio": 2.5}])
def test_playable(name, extra, tmp_path):
    scanner, edge = Scanner.preset(name), EDGE[name]
    protocol = Protocol(**({"fov": (edge,) * 3, "matrix": (32, 8, 8), "dummies": 2} | extra))
    assert not errors(build(protocol, scanner), tmp_path / "afi.seq", scanner)


@pytest.mark.parametrize(("te", "tr", "ratio"), [(None, None, 3.0), (4e-3, 15e-3, 5.0)])
def test_times_and_places(te, tr, ratio):
    protocol = Protocol(**SMALL, te=te, tr=tr, ratio=ratio)
    seq = build(protocol, PRISMA)
    k, _, excitation, _, time = seq.calculate_kspace()
    k, time, excitation = k.reshape(3, -1, 64), time.reshape(-1, 64), np.asarray(excitation)
    assert np.allclose(k[0, :, 32], 0, atol=1e-3)
    wanted = [((row - 2) / 0.1, (part - 3) / 0.04) for part in range(6) for row in range(4) for _ in range(2)]
    assert np.allclose(k[1:, :, 32].T, wanted, atol=1e-3)
    assert np.allclose(time[:, 32] - excitation[4:], seq.definitions["TE"], atol=1e-9)
    assert np.allclose(np.diff(excitation)[::2], seq.definitions["TR1"], atol=1e-9)
    assert np.allclose(np.diff(excitation)[1::2], seq.definitions["TR2"], atol=1e-9)
    assert seq.definitions["TR2"] / seq.definitions["TR1"] == pytest.approx(ratio, abs=1e-3)
    if tr is not None:
        assert seq.definitions["TR1"] == pytest.approx(tr, abs=5e-6)
        assert seq.definitions["TE"] == pytest.approx(te, abs=5e-6)


def test_labels():
    found = build(Protocol(**SMALL, noise_samples=100), PRISMA).evaluate_labels(evolution="adc")
    assert found["NOISE"].tolist() == [1, 1] + [0] * 48
    assert np.array_equal(found["SET"][2:], np.tile([0, 1], 24))
    assert np.array_equal(found["LIN"][2:], np.tile(np.repeat(np.arange(4), 2), 6))
    assert np.array_equal(found["PAR"][2:], np.repeat(np.arange(6), 8))


def test_gradients_spoil_by_whole_cycles(tmp_path):
    seq = build(Protocol(**SMALL, ratio=5.0), PRISMA)
    seq.write(str(tmp_path / "afi.seq"))
    left = net_moments(tmp_path / "afi.seq") * [0.2 / 32, 0.1 / 4, 0.04 / 6]  # cycles across a voxel
    wanted = np.zeros(left.shape)
    wanted[::2, 2], wanted[1::2, 2] = 4, 20
    assert np.allclose(left, wanted, rtol=0, atol=1e-4)


def test_phases_are_those_of_a_steady_state():
    """The advance across a time grows by the same from pair to pair, in proportion to the time."""
    path = np.unwrap(np.concatenate([phases(number, 0.3, 5.0) for number in range(12)]), period=2 * math.pi)
    seq = build(Protocol(**SMALL, rf_spoiling=0.3), PRISMA)
    played = np.array([block.rf.phase_offset for block in map(seq.get_block, seq.block_events) if block.rf is not None])
    for one in (path, played):
        step = np.diff(one)
        growth = [np.exp(1j * np.diff(step[first::2])) for first in (0, 1)]
        assert np.allclose(growth[0], np.exp(0.3j), atol=1e-9)
        assert np.allclose(growth[1], np.exp(1.5j), atol=1e-9)
    blocks = [seq.get_block(number) for number in seq.block_events]
    adc = [block.adc.phase_offset for block in blocks if block.adc is not None]
    assert np.allclose(adc, played[4:], atol=1e-9)


@pytest.mark.parametrize(
    ("tissue", "dummies"),
    [
        pytest.param(Tissue(1.0, 0.4, 0.05, diffusion=0.8e-9), 20, marks=pytest.mark.slow),
        pytest.param(Tissue(1.0, 1.0, 0.08, diffusion=0.8e-9), 50, marks=pytest.mark.slow),
    ],
)
def test_the_flip_angle_is_that_of_the_map(tissue, dummies, tmp_path):
    """Flip angles from 36 to 72 degrees along x, by the default spoiling, to 2 percent."""
    protocol = Protocol(fov=(0.08, 0.02, 0.01), matrix=(16, 4, 2), dummies=dummies, noise_samples=64)
    seq = build(protocol, PRISMA)
    seq.write(str(tmp_path / "afi.seq"))
    phantom = painted((2, 4, 16), protocol.fov, [Ellipsoid((0, 0, 0), (math.inf,) * 3, tissue)])
    map_of_b1 = torch.linspace(0.6, 1.2, 16, dtype=torch.float64).expand(1, 2, 4, 16)
    phantom = replace(phantom, b1=map_of_b1.to(phantom.b1.dtype).clone())
    images = reconstruct(acquire(tmp_path / "afi.seq", phantom, PRISMA, tol=1e-3))
    shorter, longer = (np.abs(at_voxels(images.values[number], images.affine, phantom)) for number in range(2))
    n = seq.definitions["TR2"] / seq.definitions["TR1"]
    ratio = longer / shorter
    found = np.arccos((n * ratio - 1) / (n - ratio)) / protocol.flip_angle
    assert np.abs(found / map_of_b1[0].numpy() - 1).max() < 0.02


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("afi*.toml")), ids=lambda path: path.stem)
def test_example_protocols(path, tmp_path):
    table = tomllib.loads(path.read_text("utf-8"))
    scanner = Scanner.preset(path.read_text("utf-8").split("--scanner ")[1].split()[0])
    protocol = replace(protocol_from(Protocol, table["afi"], path.name), dummies=1)
    few = replace(protocol, matrix=(protocol.matrix[0], 4, 4), fov=(protocol.fov[0], *(
        4 * edge / count for edge, count in zip(protocol.fov[1:], protocol.matrix[1:], strict=True)
    )))  # fmt: skip
    assert not errors(build(few, scanner), tmp_path / "afi.seq", scanner)


def test_what_cannot_be_is_refused():
    with pytest.raises(ProtocolError, match=r"te = 0.5 ms is too short: [\d.]+ ms is the least"):
        build(Protocol(**SMALL, te=0.5e-3), PRISMA)
    with pytest.raises(ProtocolError, match="tr = 2 ms is too short"):
        build(Protocol(**SMALL, tr=2e-3), PRISMA)
    with pytest.raises(ProtocolError, match="rf_duration = 100 us is too short"):
        build(Protocol(**SMALL, rf_duration=100e-6), PRISMA)
    with pytest.raises(ProtocolError, match="even numbers"):
        Protocol(matrix=(32, 7, 8))
    with pytest.raises(ProtocolError, match="ratio = 1"):
        Protocol(ratio=1.0)
