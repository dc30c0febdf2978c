"""Few frequencies for many: phases at all lags, and the signal of a continuum under the same drive."""

from __future__ import annotations

import numpy as np
import pytest

from pulsetwin.recon.raser.driven import emitted
from pulsetwin.recon.raser.nodes import nodes, weights
from tests.recon.raser.projection import PARAMETERS, STEP, projection

SECONDS, T2 = 2.5, 0.7


def test_phases_are_those_of_the_modes():
    """The farther from 0 the lag the less a phase counts, as it has faded by then."""
    omega, modes = nodes(3.0, SECONDS, T2), 2 * np.pi * np.linspace(-3, 3, 101)
    lags = np.linspace(-SECONDS, SECONDS, 251)
    found = np.exp(1j * np.outer(lags, omega)) @ weights(omega, modes, SECONDS, T2)
    apart = np.abs(found - np.exp(1j * np.outer(lags, modes))) * np.exp(-np.abs(lags) / T2)[:, None]
    assert len(omega) < 0.4 * len(modes)
    assert apart.max() < 0.02
    assert apart[:, 10:-10].max() < 1e-3
    assert apart[np.abs(lags) < 2, 10:-10].max() < 2e-4


@pytest.mark.parametrize("over", [10.0, 30.0])
def test_nodes_emit_what_four_times_as_many_modes_do(over):
    """Inversions and amplitudes of 160 modes, driven by their own signal."""
    p = projection(over, modes=160)
    omega = nodes(3.2, SECONDS, T2)
    start = p.start @ weights(omega, p.omega, SECONDS, T2).T
    many, few = (emitted(s, p.signal, w, PARAMETERS, STEP) for s, w in ((p.start, p.omega), (start, omega)))
    assert len(omega) <= 40
    assert np.abs(few - many).max() < 1e-5 * np.abs(many).max()


def test_longer_signals_need_more_of_them_until_the_phases_have_faded():
    counts = [len(nodes(3.0, seconds, T2)) for seconds in (1.0, 2.0, 4.0, 100.0, 1000.0)]
    assert counts == sorted(counts)
    assert counts[2] > 1.7 * counts[1]
    assert counts[-1] == counts[-2]
