"""UTE: places and times by pypulseq's tracing, spokes that undo themselves in the file, and the image they give."""

from __future__ import annotations

import math

import numpy as np
import pytest

from pulsetwin.errors import ProtocolError
from pulsetwin.scanner import Scanner
from pulsetwin.sequences.angles import in_space
from pulsetwin.sequences.ute import Protocol, build
from tests.sequences.nonlines import EDGE, PRISMA, agreement, errors, net_moments

SMALL = {"fov": (0.2, 0.2, 0.2), "matrix": (16, 16, 16)}


@pytest.mark.parametrize("name", EDGE)
@pytest.mark.parametrize("extra", [{}, {"order": "uniform", "bandwidth": 300.0}, {"spoiling": 0.0}])
def test_playable(name, extra, tmp_path):
    scanner = Scanner.preset(name)
    seq = build(Protocol(fov=(EDGE[name],) * 3, matrix=(32,) * 3, spokes=30, dummies=2, **extra), scanner)
    assert not errors(seq, tmp_path / "ute.seq", scanner)


@pytest.mark.parametrize("order", ["uniform", "golden"])
def test_places(order):
    seq = build(Protocol(**SMALL, spokes=40, order=order, dummies=1), PRISMA)
    k, _, _, _, _ = seq.calculate_kspace()
    k = k.reshape(3, 40, -1)
    reach = np.linalg.norm(k, axis=0) * 0.2
    directions = in_space(40, order, half=False)
    assert np.allclose(k[:, :, -1] / np.linalg.norm(k[:, :, -1], axis=0), directions.T, atol=1e-4)
    block = next(block for block in map(seq.get_block, seq.block_events) if block.adc is not None)
    read = [one for one in (block.gx, block.gy, block.gz) if one is not None]
    rise, dwell, strength = read[0].rise_time, block.adc.dwell, math.hypot(*(one.amplitude for one in read))
    since = (np.arange(block.adc.num_samples) + 0.5) * dwell
    area = np.where(since < rise, since**2 / 2 / rise, since - rise / 2)  # from the very beginning of the ramp
    assert np.allclose(reach, strength * area * 0.2, atol=1e-3)
    assert np.all(np.diff(reach, axis=1) > 0)
    step = np.diff(reach, axis=1)[:, -1]
    assert np.allclose(reach[:, -1] + step / 2, 8, atol=1e-3)
    assert step.max() < 0.5  # twofold sampling


@pytest.mark.parametrize(("te", "tr"), [(None, None), (0.5e-3, 5e-3)])
def test_times(te, tr):
    seq = build(Protocol(**SMALL, spokes=6, dummies=2, te=te, tr=tr), PRISMA)
    _, _, excitation, _, time = seq.calculate_kspace()
    time = time.reshape(6, -1)
    first = time[:, 0] - np.asarray(excitation)[2:] - (time[0, 1] - time[0, 0]) / 2
    assert np.allclose(first, seq.definitions["TE"], atol=1e-9)
    assert np.allclose(np.diff(excitation), seq.definitions["TR"], atol=1e-9)
    if te is None:
        assert seq.definitions["TE"] < 75e-6
    else:
        assert (seq.definitions["TE"], seq.definitions["TR"]) == pytest.approx((te, tr), abs=1e-5)


def test_the_file_undoes_each_spoke(tmp_path):
    seq = build(Protocol(**SMALL, spokes=80, dummies=1, bandwidth=517.0), PRISMA)
    seq.write(str(tmp_path / "ute.seq"))
    left = net_moments(tmp_path / "ute.seq")
    assert np.ptp(left, axis=0).max() < 1e-8  # 1/m, of about 40 that a spoke reaches
    assert left[0, 2] == pytest.approx(2 * 16 / 0.2, rel=1e-5)


def test_the_pulse_has_its_flip_angle_and_one_sample_each_raster_interval():
    seq = build(Protocol(**SMALL, spokes=1, dummies=0, flip_angle=math.radians(8), rf_duration=50e-6), PRISMA)
    rf = next(block.rf for block in map(seq.get_block, seq.block_events) if block.rf is not None)
    assert len(rf.signal) == 50
    assert 2 * math.pi * np.abs(rf.signal).sum() * 1e-6 == pytest.approx(math.radians(8), rel=1e-9)


def test_the_image_is_the_brain(tmp_path):
    seq = build(Protocol(fov=(0.2,) * 3, matrix=(8, 8, 8), spokes=140, dummies=20, tr=12e-3), PRISMA)
    seq.write(str(tmp_path / "ute.seq"))
    assert agreement(tmp_path / "ute.seq", math.radians(5), 12e-3) > 0.9


def test_what_cannot_be_is_refused():
    with pytest.raises(ProtocolError, match=r"rf_duration = 60 us is too short: 244\.\d+ us is the least"):
        build(Protocol(flip_angle=math.radians(90)), PRISMA)
    with pytest.raises(ProtocolError, match=r"te = 0\.03 ms is too short: 0\.06 ms is the least"):
        build(Protocol(te=30e-6), PRISMA)
    with pytest.raises(ProtocolError, match="tr = 1 ms is too short"):
        build(Protocol(tr=1e-3), PRISMA)
    with pytest.raises(ProtocolError, match="along x, y and z"):
        Protocol(matrix=(32, 32, 16))
