"""Against the Bloch-McConnell challenge and the values that the Pulseq-CEST library publishes."""

from __future__ import annotations

import numpy as np
import pytest

from pulsetwin.sim.bloch_mcconnell.compile_seq import compile_seq
from pulsetwin.sim.bloch_mcconnell.entries import play_entries
from pulsetwin.sim.bloch_mcconnell.play import simulate
from tests.sim.bloch_mcconnell.cases import (
    POOLS,
    challenge,
    library,
    needs_challenge,
    needs_library,
    reference,
    specified,
)


@needs_challenge
@pytest.mark.parametrize("case", POOLS)
def test_challenge_as_its_files_play_it(case):
    seq, model = challenge(case)
    np.testing.assert_allclose(simulate(seq, model).numpy(), reference(case, "seq_Mz"), rtol=0, atol=1e-8)


@needs_challenge
@pytest.mark.parametrize("case", POOLS)
def test_challenge_as_it_is_described(case):
    seq, model = specified(case)
    expected = np.append(reference(case, "M0_m300"), reference(case, "Mz"))
    np.testing.assert_allclose(simulate(seq, model).numpy(), expected, rtol=0, atol=1e-9)
    compiled = play_entries(compile_seq(seq, model), model, ["t1"], np.array([[model.t1]]))[0]
    np.testing.assert_allclose(compiled, expected, rtol=0, atol=1e-9)


@needs_library
@pytest.mark.parametrize(
    ("name", "tolerance"),
    [("APTw_3T_000", 2e-7), ("APTw_3T_003", 2e-7), ("MRF_CEST_3T_002", 2e-7), ("WASABI", 2e-7), ("T1map", 1e-5)],
)
def test_library(name, tolerance):
    seq, model, published = library(name)
    z = simulate(seq, model, mode="pulseq_cest").numpy()
    np.testing.assert_allclose(z, published, rtol=0, atol=tolerance)
