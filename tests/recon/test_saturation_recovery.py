"""T1 by recovery against scipy's fit, the bound of noise, the library's published signal and the twin."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.optimize import curve_fit

from pulsetwin.errors import ProtocolError, ShapeError
from pulsetwin.recon.exponential import fit_exponential
from pulsetwin.recon.saturation_recovery import RANGE, map_t1
from pulsetwin.scanner import Scanner
from pulsetwin.sequences.saturation_recovery import Protocol, build
from pulsetwin.sequences.seqfile import read_seq
from pulsetwin.sim.acquire import acquire
from pulsetwin.sim.phantom_tissue import Tissue
from pulsetwin.sim.phantoms import single_voxel
from pulsetwin.volume import Images
from tests.conftest import ROOT

TIMES = np.array([10.0, 6, 4, 3, 2, 1.5, 1, 0.75, 0.5, 0.4, 0.3, 0.2])
LIBRARY = ROOT.parent / "shared/data/pulseq_cest"
PRISMA = Scanner.preset("siemens-prisma")


def recovery(t1: np.ndarray, change: float | np.ndarray = 1.0) -> np.ndarray:
    return 1 - np.asarray(change)[..., None] * np.exp(-TIMES / np.asarray(t1)[..., None])


def images(data: np.ndarray) -> Images:
    return Images(data.T[:, None, None, :], np.eye(4), ({},) * data.shape[1])


@pytest.mark.parametrize("change", [0.9, 1.0, 1.9, 2.0])
@pytest.mark.parametrize("kind", ["signed", "magnitude", "complex"])
def test_all_recoveries_are_fitted_exactly(change, kind):
    t1 = np.geomspace(0.15, 4, 300)
    signal = 700 * recovery(t1, np.full(300, change))
    data = {"signed": signal, "magnitude": np.abs(signal), "complex": signal * np.exp(2.2j)}[kind]
    maps = map_t1(images(data), {"TI": tuple(TIMES)})
    assert maps["T1"].valid.all()
    assert maps["T1"].values.ravel() == pytest.approx(t1, rel=1e-5)
    assert maps["M0"].values.ravel() == pytest.approx(np.full(300, 700), rel=1e-5)
    assert maps["recovered"].values.ravel() == pytest.approx(np.full(300, change), rel=1e-4)


def test_noisy_fits_are_those_of_scipy():
    t1 = np.geomspace(0.3, 3, 20)
    data = recovery(t1, np.full(20, 0.95)) + 0.02 * np.random.default_rng(0).standard_normal((20, 12))
    maps = map_t1(images(data), {"TI": tuple(TIMES)})
    for number, start in enumerate(t1):
        found, covariance = curve_fit(lambda t, a, b, c: a - b * np.exp(-t / c), TIMES, data[number], (1, 1, start))
        assert maps["T1"].values[0, 0, number] == pytest.approx(found[2], rel=1e-4)
        assert maps["T1_std"].values[0, 0, number] == pytest.approx(math.sqrt(covariance[2, 2]), rel=2e-3)
        assert maps["M0"].values[0, 0, number] == pytest.approx(found[0], rel=1e-4)


@pytest.mark.parametrize(("change", "magnitude"), [(1.0, False), (1.0, True), (2.0, False), (2.0, True)])
def test_noise_reaches_the_bound_and_is_told(change, magnitude):
    t1, noise = 1.1, 0.01
    decay = np.exp(-TIMES / t1)
    slopes = np.stack((np.ones(12), -decay, -change * decay * TIMES / t1**2), 1)
    bound = noise * math.sqrt(np.linalg.inv(slopes.T @ slopes)[2, 2])
    data = recovery(t1, change) + noise * np.random.default_rng(1).standard_normal((4000, 12))
    found = fit_exponential(np.abs(data) if magnitude else data, TIMES, RANGE, signed=not magnitude)
    assert found.values[1].std() == pytest.approx(bound, rel=0.06)
    assert abs(found.values[1].mean() - t1) < 0.1 * bound
    assert np.median(found.deviation[1]) == pytest.approx(bound, rel=0.06)


def test_scaling_changes_nothing():
    data = recovery(np.array([0.8, 1.6])) + 0.01 * np.random.default_rng(0).standard_normal((2, 12))
    small, large = (fit_exponential(scale * data, TIMES, RANGE).values for scale in (1e-6, 1e6))
    assert small[1] == pytest.approx(large[1], rel=1e-9)
    assert 1e12 * small[0] == pytest.approx(large[0], rel=1e-9)


def test_the_published_signal_of_a_library_sequence():
    """Three hyperbolic secants and spoilers saturate; pools of 1.0 and 1.3 s exchange."""
    path = LIBRARY / "T1map_001_3HypSec.seq"
    if not path.exists():
        pytest.skip("library sequences are not here")
    z = np.loadtxt(LIBRARY / "M_z_T1map_001_3HypSec.seq.txt")
    maps = map_t1(images(z[None]), read_seq(path).definitions)
    assert maps["T1"].values.item() == pytest.approx(1.0, abs=0.02)
    assert maps["recovered"].values.item() == pytest.approx(1.0, abs=0.02)


@pytest.mark.parametrize("t1", [0.6, 1.5])
def test_a_designed_sequence_in_the_twin(tmp_path, t1):
    protocol = Protocol(readout="fid", matrix=(1, 1, 1), fov=(4e-3,) * 3, oversampling=4, rf_duration=5e-4,
                        flip_angle=math.pi / 2, recovery_times=(4.0, 2.0, 1.0, 0.6, 0.3, 0.15))  # fmt: skip
    build(protocol, PRISMA).write(str(tmp_path / "recovery.seq"))
    seq = read_seq(tmp_path / "recovery.seq")
    raw = acquire(seq, single_voxel(Tissue(1.0, t1, 0.08), (4e-3,) * 3, b1=0.9), PRISMA)
    maps = map_t1(images(raw.groups[0].samples[:, 0, 0][None]), seq.definitions)
    assert maps["T1"].values.item() == pytest.approx(t1, rel=0.05)  # saturations leave 1.5 % of what was before


def test_voxels_that_tell_nothing_are_not_valid():
    data = np.abs(recovery(np.full(5, 1.0)))
    data[1] = np.nan
    data[2] = 1.0
    data[3] = data[3, ::-1]
    maps = map_t1(images(data), {"TI": tuple(TIMES)})
    assert maps["T1"].valid.ravel().tolist() == [True, False, False, False, True]
    assert not maps["T1"].values[~maps["T1"].valid].any()
    assert any("no T1" in said for said in maps.warnings)


def test_wrong_input_is_refused():
    data = recovery(np.array([1.0, 2.0]))
    with pytest.raises(ProtocolError, match="does not define TI"):
        map_t1(images(data), {"TE": 0.1})
    with pytest.raises(ProtocolError, match="TI as 'soon': give finite numbers"):
        map_t1(images(data), {"TI": "soon"})
    with pytest.raises(ProtocolError, match="TI is about 1250, which would be s: give it in s, not in ms"):
        map_t1(images(data), {"TI": tuple(1e3 * TIMES)})
    with pytest.raises(ShapeError, match=r"11 images, but the .seq has 12 times"):
        map_t1(images(data[:, :11]), {"TI": tuple(TIMES)})
    with pytest.raises(ShapeError, match="3 times for three unknowns"):
        map_t1(images(data[:, :3]), {"TI": (3.0, 2.0, 1.0)})
    with pytest.raises(ProtocolError, match="no voxel to map"):
        map_t1(images(np.nan * data), {"TI": tuple(TIMES)})
