"""Fits voxel by voxel: against truth, a general solver from many starts, and real scans with their reference maps."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.optimize import least_squares

from pulsetwin.errors import ProtocolError, ShapeError
from pulsetwin.recon.cest_mrf.problem import normalised, predicted, problem_of
from pulsetwin.recon.cest_mrf.voxelwise import voxelwise
from pulsetwin.sim.bloch_mcconnell.pool_model import Pool, PoolModel
from tests.recon.cest_mrf.fit_cases import DATA, FREE, MM, NAMES, larginine, larginine_seq, tissues


def split(truth):
    """Return what is given of a truth."""
    return {name: values for name, values in truth.items() if name not in NAMES}


@pytest.mark.parametrize("normalisation", ["l2", "first", "none"])
def test_finds_the_truth_without_noise_where_t1_t2_and_fields_differ_from_voxel_to_voxel(normalisation):
    problem, truth, rng = larginine(normalisation), tissues(20), np.random.default_rng(1)
    truth |= {"b0_shift": rng.uniform(-0.2, 0.2, 20), "b1": rng.uniform(0.85, 1.1, 20)}
    data = predicted(problem, tuple(truth), np.stack(list(truth.values()), 1))
    found = voxelwise(data, problem, FREE, split(truth))
    for name in NAMES:
        np.testing.assert_allclose(found.values[name], truth[name], rtol=1e-4)
    assert found.misfit.max() < 1e-10


def test_leaves_no_more_than_a_general_solver_from_many_starts():
    problem, truth, rng = larginine(), tissues(3, seed=3), np.random.default_rng(2)
    data = predicted(problem, tuple(truth), np.stack(list(truth.values()), 1))
    data = normalised(data + 0.02 * rng.standard_normal(data.shape), "l2")
    found = voxelwise(data, problem, FREE, split(truth))
    low, high = np.array(list(FREE.values())).T
    for voxel, curve in enumerate(data):
        known = [values[voxel] for values in split(truth).values()]

        def left(scaled, known=known, curve=curve):
            row = np.array([[*(low + scaled * (high - low)), *known]])
            return predicted(problem, (*NAMES, "t1", "t2"), row)[0] - curve

        best = min(least_squares(left, start, bounds=(0, 1)).cost for start in rng.uniform(0.02, 0.98, (4, 2)))
        assert found.misfit[voxel] <= 2 * best * (1 + 1e-6)


def test_real_scan_of_larginine_agrees_with_the_reference_and_leaves_less_than_its_dictionary():
    held = np.load(DATA / "cest_larg_9p4t" / "voxels.npz")
    scan = {name: held[name][::2] for name in held}
    free = {"t1": (2.5, 3.3), "t2": (0.6, 1.2), NAMES[0]: (10 * MM, 120 * MM), NAMES[1]: (100.0, 1400.0)}
    found = voxelwise(normalised(scan["data"].astype(float), "l2"), larginine(), free, {})
    assert np.mean(found.misfit < 2 - 2 * scan["product"]) > 0.99  # squares that a dictionary leaves
    fraction, rate = (found.values[name] for name in NAMES)
    assert np.corrcoef(rate, scan["exchange_rate"])[0, 1] > 0.99
    assert fraction.mean() == pytest.approx(50 * MM, rel=0.06)
    # All vials hold 50 mM. What varies is little more than steps of 5 mM of the reference's grid, which spoil the
    # correlation of these estimates with their own curves' places on that grid as much.
    axes = np.arange(2.5, 2.61, 0.05), np.arange(0.6, 1.21, 0.05), np.arange(20, 86, 5) * MM, np.arange(100, 551, 10.0)
    grid = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 4)
    fitted = np.stack([*found.values.values()], 1)
    curves, fitted = (predicted(larginine(), tuple(free), table) for table in (grid, fitted))
    own = grid[(fitted @ curves.T).argmax(1), 2]
    assert np.corrcoef(fraction, scan["fraction"])[0, 1] > np.corrcoef(fraction, own)[0, 1] - 0.02
    assert np.corrcoef(own, scan["fraction"])[0, 1] > 0.95


def test_real_scan_of_iohexol_with_its_t1_and_t2_agrees_with_the_reference_network():
    scan = np.load(DATA / "iohexol_4p7t" / "voxels.npz")
    seq = larginine_seq()  # of the same schedule, but 3 ppm at 9.4 T
    shifted = replace(seq.rf, freq=seq.rf.freq * (4.3 * 4.7) / (3.0 * 9.4))
    seq = replace(seq, rf=shifted, definitions={**seq.definitions, "B0": 4.7})
    model = PoolModel(2.8, 0.5, (Pool("iohexol", 7e-4, 200.0, 4.3, 2.2, 0.04),), 4.7, reset=False)
    problem = problem_of(seq, model, mode="pulseq_cest", observe="transverse", normalisation="l2")
    free = {"iohexol.fraction": (0.0, 150 * 2 / 110e3), "iohexol.exchange_rate": (10.0, 1800.0)}
    given = {name: scan[name] for name in ("t1", "t2")}
    found = voxelwise(normalised(scan["data"].astype(float), "l2"), problem, free, given)
    for name in ("fraction", "exchange_rate"):
        assert np.corrcoef(found.values[f"iohexol.{name}"], scan[name])[0, 1] > 0.9, name


@pytest.mark.parametrize(
    ("free", "given", "error", "told"),
    [
        ({}, {}, ProtocolError, "nothing is sought"),
        ({NAMES[0]: (0.1, 0.1)}, {}, ProtocolError, "lower one first"),
        ({NAMES[0]: (0.0, np.inf)}, {}, ProtocolError, "finite bounds"),
        ({"amide.fraction": (0.0, 0.1)}, {}, ProtocolError, "amide.fraction"),
        (FREE, {NAMES[0]: np.ones(2)}, ProtocolError, "sought and given"),
        (FREE, {"t1": np.ones(3)}, ShapeError, "for 2 voxels"),
    ],
)
def test_what_cannot_be_fitted_is_told(free, given, error, told):
    with pytest.raises(error, match=told):
        voxelwise(np.full((2, 30), 30**-0.5), larginine(), free, given)
