"""Modes driven by a signal, against the coupled equations of the simulation and against scipy."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.integrate import solve_ivp

from pulsetwin.errors import ShapeError
from pulsetwin.recon.raser.driven import Parameters, emitted, kicks, responses
from pulsetwin.recon.raser.linearised import as_complex
from tests.recon.raser.projection import STEP, played, projection


@pytest.mark.parametrize(("over", "most"), [(10.0, 1e-7), (30.0, 1e-4)])
def test_modes_driven_by_their_own_signal_emit_it(over, most):
    """The identity that the inversion rests on."""
    p = projection(over)
    found = as_complex(emitted(p.start, p.signal, p.omega, p.parameters, STEP))
    assert np.abs(found - p.signal[::2]).max() < most * np.abs(p.signal).max()


def test_pumped_modes_driven_by_their_own_signal_emit_it():
    p, decay = projection(10.0), 0.8
    source = np.zeros(len(p.omega))
    source[[9, 25, 26]] = 2.0, 1.5, 1.0
    start = np.vstack([p.start, source])
    signal = played(start, p.frequency, p.parameters, STEP / 2, len(p.signal), decay)
    found = as_complex(emitted(start, signal, p.omega, p.parameters, STEP, decay))
    assert np.abs(signal - p.signal).max() > 0.1 * np.abs(signal).max()
    assert np.abs(found - signal[::2]).max() < 1e-6 * np.abs(signal).max()
    flow = responses(signal, p.omega, p.parameters, STEP, decay)
    assert np.abs(np.einsum("tpsm,sm->tp", flow[:, :2], start) - found.view(float).reshape(-1, 2)).max() < 1e-12


def test_responses_add_up_to_what_is_emitted():
    p = projection(10.0)
    flow = responses(p.signal, p.omega, p.parameters, STEP)
    found = np.einsum("tpsm,sm->tp", flow[:, :2], p.start)
    assert np.abs(found - emitted(p.start, p.signal, p.omega, p.parameters, STEP)).max() < 1e-12


def test_one_mode_is_that_of_scipy():
    times = np.arange(401) * STEP / 2
    parameters, omega = Parameters(3.0, 0.5, 1.3), 11.0

    def drive(t):
        return 2 * np.exp(7j * t) / np.cosh(4 * (t - 0.7))

    def slope(t, y):
        a, n = y[0] + 1j * y[1], y[2]
        rate = (1j * omega - 1 / 0.5) * a + n * drive(t) / 0.5
        return [rate.real, rate.imag, -n / 3 - 1.3 / 0.5 * (np.conj(a) * drive(t)).real]

    flow = responses(drive(times), np.array([omega]), parameters, STEP)
    for start, begin in enumerate(([0, 0, 1], [1, 0, 0], [0, 1, 0])):
        wanted = solve_ivp(slope, (0, times[-1]), begin, rtol=1e-11, atol=1e-12, t_eval=times[::2]).y
        assert np.abs(flow[:, :, start, 0].T - wanted).max() < 3e-6


def test_a_kick_is_worth_a_change_of_the_start():
    """Drive with a short pulse added: the signal after it changes as by the start that `kicks` tells."""
    p = projection(10.0)
    flow = responses(p.signal, p.omega, p.parameters, STEP)
    worth = kicks(flow, p.start, p.parameters)
    at, small = 60, 1e-6
    for part, kick in enumerate((1.0, 1j)):
        pulsed = p.signal.copy()
        pulsed[2 * at] += small * kick * 3 / STEP  # Simpson's weight of a time is a third of the step
        changed = emitted(p.start, pulsed, p.omega, p.parameters, STEP)
        found = (changed - emitted(p.start, p.signal, p.omega, p.parameters, STEP))[at + 2 :] / small
        wanted = np.einsum("tpsm,sm->tp", flow[at + 2 :, :2], worth[at, part])
        assert np.abs(found - wanted).max() < 0.02 * np.abs(wanted).max()


def test_the_drive_has_middles():
    with pytest.raises(ShapeError, match="odd"):
        responses(np.zeros(10, complex), np.zeros(3), Parameters(5.0, 0.7, 1.0), STEP)
