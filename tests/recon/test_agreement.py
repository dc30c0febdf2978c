"""Figures of agreement against published tables, scipy and scikit-image."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from pulsetwin.errors import ProtocolError, ShapeError
from pulsetwin.recon.agreement import agreement, icc, intraclass, mape, nrmse, pearson, ssim, ssim_uniform
from pulsetwin.volume import Volume

# six targets rated by four judges: Shrout and Fleiss 1979, table 2
RATINGS = np.array([[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]], float)
RNG = np.random.default_rng(0)


def test_icc_is_that_of_the_published_table():
    assert intraclass(RATINGS) == pytest.approx(0.29, abs=0.005)  # table 4
    assert intraclass(3 * RATINGS - 7) == pytest.approx(intraclass(RATINGS))


def test_icc_of_two_is_that_of_an_analysis_of_variance():
    """Mean squares by the definition of McGraw and Wong, from sums over a table with numpy's own variances."""
    one, other = RNG.normal(10, 3, 50), RNG.normal(11, 2, 50)
    table = np.stack((one, other), 1)
    between = 2 * table.mean(1).var(ddof=1)
    judges = 50 * table.mean(0).var(ddof=1)
    rest = (table - table.mean(1, keepdims=True) - table.mean(0) + table.mean()).ravel() @ table.ravel() / 49
    assert icc(one, other) == pytest.approx((between - rest) / (between + rest + 2 * (judges - rest) / 50))
    assert icc(one, one) == pytest.approx(1)
    assert icc(one, one + 100) < 0.01  # correlated, but no agreement
    assert pearson(one, one + 100) == pytest.approx(1)


def test_simple_figures():
    reference, found = np.array([1.0, 2.0, 4.0]), np.array([1.1, 1.8, 4.4])
    assert mape(found, reference) == pytest.approx(0.1)
    assert nrmse(found, reference) == pytest.approx(math.sqrt((0.01 + 0.04 + 0.16) / 3) / (7 / 3))
    assert nrmse(found, reference, over="range") == pytest.approx(math.sqrt(0.07) / 3)
    one, other = RNG.normal(size=(2, 30))
    assert pearson(one, other) == pytest.approx(stats.pearsonr(one, other).statistic)
    assert math.isnan(pearson(one, 0 * one))
    assert mape(np.ones(3), np.array([0, 1, 2.0])) == pytest.approx(0.25)


@pytest.mark.parametrize("shape", [(40, 52), (3, 30, 24)])
def test_ssim_is_that_of_scikit_image(shape):
    metrics = pytest.importorskip("skimage.metrics")
    reference = np.cumsum(RNG.normal(size=shape), -1)
    found = reference + RNG.normal(size=shape)
    slices = [(found, reference)] if len(shape) == 2 else list(zip(found, reference, strict=True))
    expected = [
        metrics.structural_similarity(one, other, gaussian_weights=True, sigma=1.5, use_sample_covariance=False,
                                      data_range=np.ptp(reference), full=True)[1]
        for one, other in slices
    ]  # fmt: skip
    assert ssim(found, reference) == pytest.approx(np.mean(expected), rel=1e-6)
    assert ssim(reference, reference) == pytest.approx(1)


def test_ssim_sees_only_where_it_is_told_to():
    reference = RNG.normal(5, 1, (32, 32))
    found, where = reference.copy(), np.zeros((32, 32), bool)
    where[4:28, 4:28] = True
    found[~where] = np.nan
    assert ssim(found, reference, where) == pytest.approx(1)
    assert ssim(found + 1, reference, where) < 0.99


def test_maps_agree_where_both_are_valid():
    values = RNG.uniform(1, 2, (2, 12, 12))
    valid, other = np.ones((2, 12, 12), bool), np.ones((2, 12, 12), bool)
    valid[0, :6], other[1, :, :6] = False, False
    shared = valid & other
    noisy = np.where(shared, values + RNG.normal(0, 0.05, values.shape), 1e6)
    figures = agreement(Volume(noisy, "s", np.eye(4), valid), Volume(values, "s", np.eye(4), other))
    assert set(figures) == {"nrmse", "mape", "pearson", "icc", "ssim"}
    assert figures["nrmse"] == pytest.approx(0.05 / 1.5, rel=0.2)
    assert figures["pearson"] == pytest.approx(np.corrcoef(noisy[shared], values[shared])[0, 1])
    assert figures["ssim"] > 0.9


def test_wrong_input_is_refused():
    with pytest.raises(ShapeError, match="as many of both"):
        nrmse(np.ones(3), np.ones(4))
    with pytest.raises(ShapeError, match="at least two targets"):
        intraclass(np.ones((5, 1)))
    with pytest.raises(ProtocolError, match="whichever is not 0"):
        nrmse(np.ones(3), np.ones(3), over="range")
    one = Volume(np.ones((1, 2, 2)), "", np.eye(4), np.zeros((1, 2, 2), bool))
    with pytest.raises(ProtocolError, match="0 valid voxels"):
        agreement(one, one)


def test_flat_ssim_is_that_of_a_loop_over_windows():
    rng = np.random.default_rng(4)
    reference = rng.random((11, 9))
    found = reference + 0.1 * rng.standard_normal(reference.shape)
    light, contrast = (0.01 * np.ptp(reference)) ** 2, (0.03 * np.ptp(reference)) ** 2
    values = []
    for y in range(5):
        for x in range(3):
            a, b = found[y : y + 7, x : x + 7].ravel(), reference[y : y + 7, x : x + 7].ravel()
            ((va, shared), (_, vb)), ma, mb = np.cov(a, b), a.mean(), b.mean()
            above = (2 * ma * mb + light) * (2 * shared + contrast)
            values.append(above / ((ma**2 + mb**2 + light) * (va + vb + contrast)))
    assert ssim_uniform(found, reference) == pytest.approx(np.mean(values), rel=1e-9)
    with pytest.raises(ShapeError, match="7 pixels"):
        ssim_uniform(found[:6], reference[:6])
