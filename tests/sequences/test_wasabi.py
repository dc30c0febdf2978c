"""WASABI: the signal by the published formula, times, labels, and what is played."""

from __future__ import annotations

import tomllib
from dataclasses import replace

import numpy as np
import pytest

from pulsetwin.errors import ProtocolError
from pulsetwin.sequences.protocol import protocol_from
from pulsetwin.sequences.seqfile import read_seq
from pulsetwin.sequences.wasabi import Protocol, build
from pulsetwin.sim.acquire import acquire
from pulsetwin.sim.phantom_tissue import Tissue
from pulsetwin.sim.phantoms import single_voxel
from tests.conftest import ROOT
from tests.sequences.nonlines import EDGE, PRISMA, Scanner, errors

SMALL = {"matrix": (16, 16, 1), "offsets": (-1.0, 0.5), "m0_recovery": 0.5, "recovery": 0.2}


@pytest.mark.parametrize("name", EDGE)
@pytest.mark.parametrize(
    "extra", [{"shots": 2}, {"readout": "epi", "matrix": (32, 32, 2), "bandwidth": 2000.0}], ids=str
)
def test_playable(name, extra, tmp_path):
    scanner, edge = Scanner.preset(name), EDGE[name]
    protocol = Protocol(**(SMALL | extra | {"fov": (edge, edge, edge / 4)}))
    assert not errors(build(protocol, scanner), tmp_path / "wasabi.seq", scanner)


@pytest.mark.parametrize(("b0", "b1"), [(0.0, 1.0), (45.0, 0.85), (-70.0, 1.15)])
def test_the_signal_is_that_of_the_formula(b0, b1, tmp_path):
    """Schuenke et al. 2017, equation 1, for no relaxation during the pulse."""
    offsets = np.linspace(-2, 2, 24)
    protocol = Protocol(
        readout="fid", matrix=(1, 1, 1), fov=(1e-3,) * 3, oversampling=4, rf_duration=5e-4, flip_angle=np.pi / 2,
        offsets=tuple(offsets), recovery=9.0,
    )  # fmt: skip
    build(protocol, PRISMA).write(str(tmp_path / "wasabi.seq"))
    raw = acquire(tmp_path / "wasabi.seq", single_voxel(Tissue(1.0, 1.0, 0.9), b0=b0, b1=b1), PRISMA)
    signal = np.abs(raw.groups[0].samples[:, 0, 0])
    larmor = 1e-6 * PRISMA.gamma * PRISMA.field_strength
    distance, field = offsets - b0 / larmor, b1 * 3.7e-6 * PRISMA.gamma / larmor
    tilt, turn = np.arctan2(field, distance), np.hypot(field, distance) * larmor * 2 * np.pi * 5e-3 / 2
    assert np.allclose(signal[1:] / signal[0], np.abs(1 - 2 * np.sin(tilt) ** 2 * np.sin(turn) ** 2), atol=0.01)
    assert np.argmin(np.abs(offsets - b0 / larmor)) != np.argmin(np.abs(offsets + b0 / larmor)) or b0 == 0


def test_times_labels_and_definitions(tmp_path):
    protocol = Protocol(**(SMALL | {"shots": 2}))
    seq = build(protocol, PRISMA)
    seq.write(str(tmp_path / "wasabi.seq"))
    said = read_seq(tmp_path / "wasabi.seq").definitions
    assert said["offsets_ppm"] == (-300.0, -1.0, 0.5)
    assert (said["Trec_M0"], said["Trec"], said["B1"], said["num_meas"]) == (0.5, 0.2, pytest.approx(3.7), 3)
    labels = seq.evaluate_labels(evolution="adc")
    assert np.array_equal(labels["SET"], np.repeat([0, 1, 2], 16))
    first = np.asarray(seq.calculate_kspace()[2]).reshape(3, 2, 8)[:, :, 0]  # of each shot
    assert np.allclose(np.diff(first.ravel())[1:], said["TR"], atol=1e-9)
    assert first[0, 1] - first[0, 0] == pytest.approx(said["TR"] + 0.3, abs=1e-9)


def test_the_protocol_for_3_tesla(tmp_path):
    values = tomllib.loads((ROOT / "examples" / "protocols" / "wasabi_3t.toml").read_text())["wasabi"]
    protocol = replace(protocol_from(Protocol, values, "wasabi_3t"), matrix=(16, 16, 3), bandwidth=2000.0)
    seq = build(protocol, PRISMA)
    assert len(seq.definitions["offsets_ppm"]) == 32
    assert not errors(seq, tmp_path / "wasabi.seq", PRISMA)


def test_what_cannot_be_is_refused():
    with pytest.raises(ProtocolError, match="b1 = 25 uT is too strong"):
        build(Protocol(b1=25e-6), PRISMA)
    with pytest.raises(ProtocolError, match="offsets: give at least one"):
        Protocol(offsets=())
