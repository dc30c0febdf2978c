"""Deviations of estimates: against differences, noise sent through the normalisation, and how often they hold."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from pulsetwin.errors import ProtocolError
from pulsetwin.recon.cest_mrf.problem import normalised, predicted
from pulsetwin.recon.cest_mrf.uncertainty import deviations
from pulsetwin.recon.cest_mrf.voxelwise import voxelwise
from tests.recon.cest_mrf.fit_cases import FREE, NAMES, larginine, tissues


def parts(truth):
    """Return what is sought and what is given of a truth."""
    return {name: truth[name] for name in NAMES}, {name: truth[name] for name in truth if name not in NAMES}


def jacobian(problem, truth, voxel):
    """Return the derivatives ``[measurement, parameter]`` in a voxel by central differences."""
    row, columns = np.array([values[voxel] for values in truth.values()]), []
    for number in range(len(row)):
        step = np.zeros(len(row))
        step[number] = 1e-5 * row[number]
        ends = predicted(problem, tuple(truth), np.stack((row + step, row - step)))
        columns.append((ends[0] - ends[1]) / (2 * step[number]))
    return np.stack(columns, 1)


@pytest.mark.parametrize("normalisation", ["l2", "none"])
def test_the_bound_is_that_of_differences(normalisation):
    problem, truth = larginine(normalisation), tissues(3)
    found = deviations(problem, *parts(truth), noise=0.01)
    for voxel in range(3):
        slope = jacobian(problem, truth, voxel)[:, : len(NAMES)]
        bound = 0.01 * np.sqrt(np.diag(np.linalg.inv(slope.T @ slope)))
        np.testing.assert_allclose([found[name][voxel] for name in NAMES], bound, rtol=1e-3)


@pytest.mark.parametrize("normalisation", ["l2", "first", "none"])
def test_noise_and_uncertain_maps_spread_estimates_as_random_ones_do(normalisation):
    """Random noise is divided as the data are, and led to the estimates by the differences' pseudo-inverse."""
    problem, truth, rng = larginine(normalisation), tissues(1, seed=5), np.random.default_rng(0)
    raw = predicted(replace(problem, normalisation="none"), tuple(truth), np.array([*truth.values()]).T)
    size = {"l2": np.linalg.norm(raw), "first": raw[0, 0], "none": 1.0}[normalisation]
    noisy = normalised(raw + 1e-5 * size * rng.standard_normal((20000, raw.shape[1])), normalisation)
    slope = jacobian(problem, truth, 0)
    off = 1e-3 * rng.standard_normal((20000, 2))  # of T1 and T2, which a fit would take for true
    change = noisy - normalised(raw, normalisation) - off @ slope[:, 2:].T
    spread = (change @ np.linalg.pinv(slope[:, :2] / 1e-3).T / 1e-3).std(0)
    given_deviation = {"t1": np.array([1e-3]), "t2": np.array([1e-3])}
    found = deviations(problem, *parts(truth), noise=1e-5, given_deviation=given_deviation)
    np.testing.assert_allclose([found[name][0] for name in NAMES], spread, rtol=0.03)


@pytest.mark.parametrize(
    ("normalisation", "spread", "noise"),
    [("l2", {}, 1e-2), ("first", {"t1": 0.1, "t2": 0.05}, 2e-3), ("none", {"t1": 0.1}, 2e-3)],
)
def test_two_thirds_of_the_truths_lie_within_a_deviation(normalisation, spread, noise):
    """Noise is relative to the root of the sum of squares; maps in `spread` are wrong by that much."""
    count, rng = 1000, np.random.default_rng(7)
    problem, truth = larginine(normalisation), tissues(count, seed=6)
    raw = predicted(replace(problem, normalisation="none"), tuple(truth), np.stack(list(truth.values()), 1))
    raw += noise * np.linalg.norm(raw, axis=1, keepdims=True) * rng.standard_normal(raw.shape)
    given_deviation = {name: np.full(count, size) for name, size in spread.items()}
    given = parts(truth)[1]
    given |= {name: given[name] + size * rng.standard_normal(count) for name, size in given_deviation.items()}
    found = voxelwise(
        normalised(raw, normalisation), problem, FREE, given, given_deviation=given_deviation, starts=1
    )  # fmt: skip
    for name in NAMES:
        within = np.abs(found.values[name] - truth[name]) <= found.deviation[name]
        assert 0.63 < within.mean() < 0.73, name


def test_a_parameter_that_changes_nothing_is_not_known():
    problem, truth = larginine(), tissues(2)
    truth["amine.exchange_rate"][0] = truth["amine.fraction"][0] = 0.0  # no pool, no rate
    found = deviations(problem, *parts(truth), noise=0.01)
    assert list(np.isfinite(found["amine.exchange_rate"])) == [False, True]


def test_what_is_missing_is_told():
    problem, truth = larginine(), tissues(2)
    data = predicted(problem, tuple(truth), np.stack(list(truth.values()), 1))
    with pytest.raises(ProtocolError, match="either the noise"):
        deviations(problem, *parts(truth))
    with pytest.raises(ProtocolError, match="either the noise"):
        deviations(problem, *parts(truth), noise=0.1, data=data)
    with pytest.raises(ProtocolError, match="b1 has a deviation"):
        deviations(problem, *parts(truth), noise=0.1, given_deviation={"b1": np.ones(2)})
