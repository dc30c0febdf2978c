"""What the tests of networks share: their bounds, and simulated scans of the L-arginine schedule."""

from __future__ import annotations

import numpy as np

from pulsetwin.recon.cest_mrf.problem import normalised, predicted
from tests.recon.cest_mrf.fit_cases import MM, NAMES, larginine, tissues

FREE = {NAMES[0]: (20 * MM, 110 * MM), NAMES[1]: (100.0, 800.0)}
NOISE = 2e-3


def scan(count: int, seed: int = 0, noise: float = NOISE) -> tuple[np.ndarray, dict, dict]:
    """Return noisy normalised signals, what is known of the voxels, and the truth of the rest."""
    truth = tissues(count, seed)
    data = predicted(larginine(), tuple(truth), np.stack(list(truth.values()), 1))
    data = normalised(data + noise * np.random.default_rng(seed + 1).standard_normal(data.shape), "l2")
    return data, {name: truth.pop(name) for name in ("t1", "t2")}, truth
