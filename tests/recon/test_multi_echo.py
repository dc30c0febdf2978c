"""T2 by spin echoes against scipy's fit, the bound of noise, and an image of the twin."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.optimize import curve_fit

from pulsetwin.errors import ProtocolError, ShapeError
from pulsetwin.recon.multi_echo import map_t2
from pulsetwin.recon.reconstruct import reconstruct
from pulsetwin.scanner import Scanner
from pulsetwin.sequences.multi_echo import Protocol, build
from pulsetwin.sequences.seqfile import read_seq
from pulsetwin.sim.acquire import acquire
from pulsetwin.sim.phantom_tissue import Tissue
from pulsetwin.sim.phantoms import single_voxel
from pulsetwin.volume import Images

TIMES = 0.012 * np.arange(1, 17)
T2 = np.geomspace(0.02, 0.4, 200)
PRISMA = Scanner.preset("siemens-prisma")


def images(data: np.ndarray) -> Images:
    return Images(data.T[:, None, None, :], np.eye(4), ({},) * data.shape[1])


@pytest.mark.parametrize("offset", [0.0, 30.0])
def test_all_decays_are_fitted_exactly(offset):
    data = 500 * np.exp(-TIMES / T2[:, None]) + offset
    maps = map_t2(images(data * np.exp(1j)), {"TE": tuple(TIMES)}, offset=offset > 0)
    assert maps["T2"].valid.all()
    assert maps["T2"].values.ravel() == pytest.approx(T2, rel=1e-5)
    assert maps["M0"].values.ravel() == pytest.approx(np.full(200, 500), rel=1e-4)
    assert ("offset" in maps.volumes) == (offset > 0)
    if offset:
        assert maps["offset"].values.ravel() == pytest.approx(np.full(200, offset), rel=1e-3)


@pytest.mark.parametrize("offset", [False, True])
def test_noisy_fits_are_those_of_scipy(offset):
    t2 = np.geomspace(0.03, 0.15, 12)
    data = np.exp(-TIMES / t2[:, None]) + 0.1 * offset + 0.01 * np.random.default_rng(0).standard_normal((12, 16))
    maps = map_t2(images(data), {"TE": tuple(TIMES)}, offset=offset)
    more = [0.1] if offset else []
    for number, start in enumerate(t2):
        found, covariance = curve_fit(
            lambda t, a, b, c=0.0: a * np.exp(-t / b) + c, TIMES, data[number], [1, start, *more]
        )
        assert maps["T2"].values[0, 0, number] == pytest.approx(found[1], rel=1e-4)
        assert maps["T2_std"].values[0, 0, number] == pytest.approx(math.sqrt(covariance[1, 1]), rel=2e-3)


def test_noise_reaches_the_bound():
    t2, noise = 0.08, 0.01
    decay = np.exp(-TIMES / t2)
    slopes = np.stack((decay, decay * TIMES / t2**2), 1)
    bound = noise * math.sqrt(np.linalg.inv(slopes.T @ slopes)[1, 1])
    data = decay + noise * np.random.default_rng(1).standard_normal((4000, 16))
    found = map_t2(images(data), {"TE": tuple(TIMES)})["T2"].values
    assert found.std() == pytest.approx(bound, rel=0.06)
    assert abs(found.mean() - t2) < 0.1 * bound


def test_an_image_of_the_twin(tmp_path):
    protocol = Protocol(fov=(0.02, 0.02, 0.005), matrix=(2, 2), echoes=3, tr=None, dummies=0, bandwidth=2000.0)
    build(protocol, PRISMA).write(str(tmp_path / "echoes.seq"))
    seq = read_seq(tmp_path / "echoes.seq")
    raw = acquire(seq, single_voxel(Tissue(1.0, 0.1, 0.06), (0.01, 0.01, 0.005)), PRISMA, tol=1e-2)
    maps = map_t2(reconstruct(raw), seq.definitions)
    assert maps["T2"].values[maps["T2"].valid].max() == pytest.approx(0.06, rel=0.02)


def test_wrong_input_is_refused():
    data = np.exp(-TIMES / T2[:, None])
    with pytest.raises(ProtocolError, match="does not define TE"):
        map_t2(images(data), {})
    with pytest.raises(ProtocolError, match="TE is about 102, which would be s: give it in s, not in ms"):
        map_t2(images(data), {"TE": tuple(1e3 * TIMES)})
    with pytest.raises(ShapeError, match=r"16 images, but the .seq has 1 times TE"):
        map_t2(images(data), {"TE": 0.01})
    with pytest.raises(ShapeError, match="at least 4"):
        map_t2(images(data[:, :3]), {"TE": tuple(TIMES[:3])}, offset=True)
    growing = map_t2(images(data[:, ::-1]), {"TE": tuple(TIMES)})["T2"]
    assert not growing.valid.any()
