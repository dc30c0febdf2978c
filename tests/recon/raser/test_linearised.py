"""A linear projection, against finite changes of what the simulation plays, and Newton's method with it."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.interpolate import make_interp_spline

from pulsetwin.recon.raser.driven import Parameters
from pulsetwin.recon.raser.linearised import as_complex, as_rows, linearised
from tests.recon.raser.projection import STEP, played, projection


def changed(p, number, share):
    """Return the signal with the logarithm of a parameter changed."""
    parameters = Parameters(*(v * np.exp(share * (n == number)) for n, v in enumerate(p.parameters)))
    return played(p.start, p.frequency, parameters, STEP / 2, len(p.signal))[::2]


def test_columns_are_what_a_change_makes_of_the_coupled_signal():
    p = projection(10.0)
    linear = linearised(p.signal, p.omega, p.parameters, STEP, p.start)
    modes = len(p.omega)
    for number, mode, share in ((0, 12, 1e-4), (0, 25, 1e-4), (1, 20, 1e-7), (2, 8, 1e-7)):
        start = p.start.copy()
        start[number, mode] += share
        wanted = (played(start, p.frequency, p.parameters, STEP / 2, len(p.signal)) - p.signal)[::2] / share
        found = as_complex(linear.columns[:, number * modes + mode])
        assert np.abs(found - wanted).max() < 0.02 * np.abs(wanted).max()
    for number in range(3):
        wanted = (changed(p, number, 1e-5) - changed(p, number, -1e-5)) / 2e-5
        found = as_complex(linear.columns[:, 3 * modes + number])
        assert np.abs(found - wanted).max() < 0.02 * np.abs(wanted).max()


def test_columns_of_a_pumping_are_what_it_changes():
    p, decay, modes = projection(10.0), 0.8, 40
    source = np.zeros(modes)
    source[[9, 25]] = 2.0, 1.5
    start = np.vstack([p.start, source])

    def signal(start, decay):
        return played(start, p.frequency, p.parameters, STEP / 2, len(p.signal), decay)

    drive = signal(start, decay)
    linear = linearised(drive, p.omega, p.parameters, STEP, start, decay)
    assert linear.columns.shape[1] == 4 * modes + 4
    for row, mode in ((0, 12), (3, 9), (3, 20)):
        changed = start.copy()
        changed[row, mode] += 1e-4
        wanted = (signal(changed, decay) - drive)[::2] / 1e-4
        assert np.abs(as_complex(linear.columns[:, row * modes + mode]) - wanted).max() < 0.02 * np.abs(wanted).max()
    wanted = (signal(start, decay * np.exp(1e-4)) - signal(start, decay * np.exp(-1e-4)))[::2] / 2e-4
    assert np.abs(as_complex(linear.columns[:, -1]) - wanted).max() < 0.02 * np.abs(wanted).max()


@pytest.mark.parametrize("over", [10.0, 30.0])
def test_repeated_it_solves_the_coupled_equations_from_a_wrong_signal(over):
    """From a signal with 5 % of smooth error and the right start, Newton's method finds what is played."""
    p = projection(over)
    times = np.arange(len(p.signal)) * STEP / 2
    drive = p.signal * (1 + 0.05 * np.exp(3j * times))
    errors = []
    for _ in range(5):
        linear = linearised(drive, p.omega, p.parameters, STEP, p.start)
        signal = as_complex(linear.columns @ np.append(p.start.ravel(), np.zeros(3)) - linear.rest)
        errors.append(np.abs(signal - p.signal[::2]).max() / np.abs(p.signal).max())
        drive = make_interp_spline(times[::2], signal, k=7)(times)
    assert errors[-1] < 1e-3
    assert errors[-1] < 0.05 * errors[0]


def test_rows_and_back():
    signal = np.array([1 + 2j, 3 - 1j])
    assert as_rows(signal).tolist() == [1, 2, 3, -1]
    assert (as_complex(as_rows(signal)) == signal).all()
