"""Averages over starts, against the same with the covariance written out."""

from __future__ import annotations

import numpy as np

from pulsetwin.recon.raser.starts import average, starts_of


def test_averaging_is_a_covariance():
    rng = np.random.default_rng(0)
    modes, noise = 4, 0.7
    root = np.tril(rng.uniform(0.1, 2, (modes, modes)))
    spread = np.kron(np.eye(2), root @ root.T)
    columns, data = rng.standard_normal((60, 3 * modes + 3)), rng.standard_normal(60)
    both = np.column_stack([columns, data])
    found = average(both.T @ both, noise, root)
    hidden, seen = columns[:, modes : 3 * modes], np.delete(columns, range(modes, 3 * modes), 1)
    covariance = noise**2 * np.eye(60) + hidden @ spread @ hidden.T
    weighted = np.linalg.solve(covariance, np.column_stack([seen, data]))
    assert np.allclose(found.curvature, seen.T @ weighted[:, :-1])
    assert np.allclose(found.right, seen.T @ weighted[:, -1])
    assert np.isclose(found.constant, data @ weighted[:, -1])
    values = rng.standard_normal(modes + 3)
    rest = np.linalg.solve(covariance, data - seen @ values)
    assert np.allclose(starts_of(found, values).ravel(), spread @ hidden.T @ rest)
