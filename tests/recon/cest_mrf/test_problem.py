"""Signals of CEST-MRF as they are compared with data, and their derivatives."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pulsetwin.errors import MismatchError, ProtocolError
from pulsetwin.recon.cest_mrf.problem import NORMALISATIONS, normalised, predicted, problem_of, slopes
from pulsetwin.sim.bloch_mcconnell.pool_model import Pool, PoolModel

SEQ = Path(__file__).parents[2] / "data" / "cest_larg_9p4t" / "acq_protocol.seq"
NAMES = ("t1", "t2", "b0_shift", "b1", "amine.fraction", "amine.exchange_rate")
TABLE = np.array([[2.8, 0.9, 0.05, 0.97, 1.4e-3, 400.0], [2.6, 1.1, -0.02, 1.05, 2.7e-3, 150.0]])


def model(b0: float = 9.4) -> PoolModel:
    return PoolModel(2.8, 1.2, (Pool("amine", 1e-3, 300, 3, 2.8, 0.04),), b0, reset=False)


@pytest.mark.parametrize("observe", ["transverse", "z"])
@pytest.mark.parametrize("normalisation", NORMALISATIONS)
def test_slopes_are_those_of_the_normalised_signals(seq, observe, normalisation):
    problem = problem_of(seq, model(), mode="pulseq_cest", observe=observe, normalisation=normalisation)
    signals, found = slopes(problem, NAMES, TABLE, NAMES)
    np.testing.assert_array_equal(signals, predicted(problem, NAMES, TABLE))
    for at, name in enumerate(NAMES):
        step = np.zeros(len(NAMES))
        step[at] = 1e-5 * max(TABLE[0, at], 0.1)
        expected = (predicted(problem, NAMES, TABLE + step) - predicted(problem, NAMES, TABLE - step)) / (2 * step[at])
        np.testing.assert_allclose(
            found[..., at], expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max(), err_msg=name
        )


def test_signals_have_unit_length_or_begin_with_one(seq):
    for normalisation in ("l2", "first"):
        problem = problem_of(seq, model(), mode="physical", observe="transverse", normalisation=normalisation)
        signals = predicted(problem, NAMES, TABLE)
        size = np.sum(signals**2, 1) if normalisation == "l2" else signals[:, 0]
        np.testing.assert_allclose(size, 1, rtol=1e-12)


def test_scale_of_the_data_does_not_matter_and_empty_voxels_are_not_finite():
    data = np.array([[3.0, 4.0], [0.0, 0.0], [np.nan, 1.0]])
    for normalisation in ("l2", "first"):
        one = normalised(data, normalisation)
        np.testing.assert_allclose(one[0], normalised(1e6 * data, normalisation)[0], rtol=1e-15)
        assert not np.isfinite(one[1:]).any(axis=1).all()
    assert normalised(data, "none") is data


def test_words_and_fields_are_checked(seq):
    with pytest.raises(ProtocolError, match="observe = 'xy'"):
        problem_of(seq, model(), mode="physical", observe="xy", normalisation="l2")
    with pytest.raises(ProtocolError, match="normalisation = 'max'"):
        problem_of(seq, model(), mode="physical", observe="z", normalisation="max")
    with pytest.raises(ProtocolError, match="mode"):
        problem_of(seq, model(), mode="literal", observe="z", normalisation="l2")
    with pytest.raises(MismatchError, match="3 T"):
        problem_of(seq, model(3.0), mode="physical", observe="z", normalisation="l2")
