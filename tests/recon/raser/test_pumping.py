"""Sources of few modes, averaged over and told, against dense linear algebra on a projection that is made up."""

from __future__ import annotations

import numpy as np

from pulsetwin.recon.raser.pumping import averaged_over, pumping_of
from pulsetwin.recon.raser.starts import Averaged

NODES, MODES, SHARED = 8, 20, 4
RNG = np.random.default_rng(2)
OF_MODES = np.maximum(0, 1 - np.abs(np.arange(NODES)[:, None] - np.linspace(0, NODES - 1, MODES)))
COLUMNS = RNG.standard_normal((300, 2 * NODES + SHARED))


def told(data: np.ndarray) -> Averaged:
    nothing = np.zeros((0, 0))
    return Averaged(COLUMNS.T @ COLUMNS, COLUMNS.T @ data, float(data @ data), nothing, nothing, nothing)


def test_averaged_over_it_is_the_likelihood_of_the_sum_of_sources_and_noise():
    data, spreads, values = RNG.standard_normal(300), 0.1 + RNG.random(MODES), RNG.standard_normal(NODES + SHARED)
    found = averaged_over(told(data), OF_MODES, spreads)
    emits = COLUMNS[:, NODES : 2 * NODES] @ OF_MODES * spreads
    rest = data - np.delete(COLUMNS, np.s_[NODES : 2 * NODES], 1) @ values
    wanted = rest @ np.linalg.solve(np.eye(300) + emits @ emits.T, rest)
    assert abs(values @ found.curvature @ values - 2 * found.right @ values + found.constant - wanted) < 1e-5 * wanted


def test_few_sources_are_found_and_the_others_vanish():
    sources, values = np.zeros(MODES), RNG.standard_normal(NODES + SHARED)
    sources[[5, 13]] = 3.0, 1.0
    data = COLUMNS @ np.insert(values, NODES, OF_MODES @ sources) + 0.1 * RNG.standard_normal(300)
    spreads = np.full(MODES, 1.0)
    for _ in range(5):
        pumping = pumping_of(told(data), OF_MODES, spreads, values)
        spreads = pumping.spreads
    assert np.abs(OF_MODES @ (pumping.sources - sources)).max() < 0.15
    near = [4, 5, 6, 12, 13, 14]
    assert pumping.sources[near].sum() > 0.95 * 4
    assert np.abs(np.delete(pumping.sources, [3, *near, 7, 11, 15])).max() < 0.1


def test_without_pumping_spreads_vanish():
    values = RNG.standard_normal(NODES + SHARED)
    data = COLUMNS @ np.insert(values, NODES, np.zeros(NODES)) + RNG.standard_normal(300)
    assert pumping_of(told(data), OF_MODES, np.full(MODES, 1.0), values).spreads.max() < 0.1
