"""MPRAGE: times, places and phases of what is played, by pypulseq's own tracing, and its contrast."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from pulsetwin.errors import ProtocolError
from pulsetwin.export.playable import check
from pulsetwin.scanner import Scanner
from pulsetwin.sequences.mprage import Protocol, build
from pulsetwin.sequences.seqfile import read_seq
from pulsetwin.sim.acquire import acquire
from pulsetwin.sim.phantom_tissue import WATER
from pulsetwin.sim.phantoms import single_voxel

PRISMA = Scanner.preset("siemens-prisma")
SMALL = {"siemens-prisma": 0.22, "siemens-terra": 0.22, "bruker-biospec-94": 0.03}


@pytest.mark.parametrize("name", SMALL)
def test_playable(name, tmp_path):
    scanner, edge = Scanner.preset(name), SMALL[name]
    seq = build(Protocol(fov=(edge,) * 3, matrix=(32, 8, 8), bandwidth=500.0), scanner)
    assert seq.check_timing()[0]
    seq.write(str(tmp_path / "mprage.seq"))
    report = check(read_seq(tmp_path / "mprage.seq"), scanner)
    assert not [finding for finding in report.findings if finding.severity == "error"], report.findings


@pytest.mark.parametrize(("ti", "te", "tr", "spacing"), [(None, None, None, None), (0.5, 4e-3, 1.2, 12e-3)])
def test_times_and_places(ti, te, tr, spacing):
    protocol = Protocol(fov=(0.2, 0.1, 0.08), matrix=(32, 4, 6), ti=ti, te=te, tr=tr, echo_spacing=spacing, dummies=1)
    seq = build(protocol, PRISMA)
    k, _, excitation, _, time = seq.calculate_kspace()
    k, time, excitation = k.reshape(3, -1, 64), time.reshape(-1, 64), np.asarray(excitation).reshape(5, 6)
    assert np.allclose(k[0, :, 32], 0, atol=1e-3)
    wanted = [((row - 2) / 0.1, (part - 3) / 0.08) for row in range(4) for part in range(6)]
    assert np.allclose(k[1:, :, 32].T, wanted, atol=1e-3)
    assert np.allclose(time[:, 32].reshape(4, 6) - excitation[1:], seq.definitions["TE"], atol=1e-9)
    assert np.allclose(np.diff(excitation, axis=1), seq.definitions["EchoSpacing"], atol=1e-9)
    assert np.allclose(np.diff(excitation[:, 0]), seq.definitions["TR"], atol=1e-9)
    starts = np.cumsum([0, *seq.block_durations.values()])
    inversions = [
        starts[n] + rf.delay + rf.center
        for n, rf in enumerate(seq.get_block(i).rf for i in seq.block_events)
        if rf is not None and rf.use == "inversion"
    ]
    assert np.allclose(excitation[:, 3] - inversions, seq.definitions["TI"], atol=1e-9)
    for name, asked in (("TI", ti), ("TE", te), ("TR", tr), ("EchoSpacing", spacing)):
        if asked is not None:
            assert seq.definitions[name] == pytest.approx(asked, abs=1e-5)


@pytest.mark.parametrize("ti", [0.2, 0.4, 1.0])
def test_the_inversion_inverts(ti, tmp_path):
    """Small angles see ``1 - 2 exp(-TI / T1)``, and a tissue that has recovered before TI sees 1."""
    path, seen = tmp_path / "mprage.seq", []
    protocol = Protocol(fov=(0.1, 0.1, 0.1), matrix=(16, 2, 2), ti=ti, flip_angle=math.radians(1), dummies=0)
    build(protocol, PRISMA).write(str(path))
    for t1 in (0.6, 1e-2):
        voxel = replace(single_voxel(replace(WATER, t1=t1, t2=1e-2)), shape="point")
        samples = acquire(path, voxel, PRISMA).groups[0].samples
        seen.append(samples[1, 0, 16])  # the first train's middle partition, k = 0 along x
    found = (seen[0] / seen[1]).real
    assert found == pytest.approx(1 - 2 * math.exp(-ti / 0.6), abs=0.03)


def test_what_cannot_be_is_refused():
    with pytest.raises(ProtocolError, match="ti = 1 ms is too short"):
        build(Protocol(matrix=(32, 8, 8), ti=1e-3), PRISMA)
    with pytest.raises(ProtocolError, match="tr = 10 ms is too short"):
        build(Protocol(matrix=(32, 8, 8), tr=1e-2), PRISMA)
    with pytest.raises(ProtocolError, match="even numbers"):
        Protocol(matrix=(32, 7, 8))
