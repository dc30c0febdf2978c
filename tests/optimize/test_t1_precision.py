"""The bound of T1 is that of numerical derivatives and of fits, and the usual sequence is the shortest of its kind."""

from __future__ import annotations

import math

import pytest
import torch

from pulsetwin.optimize.t1_precision import (
    Readout,
    deviations,
    duration_of,
    fitted_t1,
    overall,
    usual_of,
    usual_values,
)
from pulsetwin.sim.phantom_tissue import brain_tissues
from pulsetwin.sim.signal_models.inversion_recovery import signals

READOUT = Readout(pulses=32, tr=15e-3, te=8e-3, noise=6e-4)
ANGLE = math.radians(5)


def usual(images, *times):
    return usual_values(images, *(torch.tensor(one, dtype=torch.float64) for one in times), ANGLE)


VALUES = usual(8, 0.05, 2.0, 0.5)


def course(tissue, t1):
    decay = math.exp(-READOUT.te / tissue.t2 - READOUT.te / tissue.t2_prime)
    settings = {"flip_angle": ANGLE, "tr": READOUT.tr, "pulses": READOUT.pulses}
    t1 = torch.tensor([t1], dtype=torch.float64)
    return tissue.proton_density * decay * signals(t1, VALUES["inversion_time"], VALUES["recovery"], **settings)


def test_the_bound_is_that_of_differences():
    for name, found in zip(("grey", "white", "fluid"), deviations(VALUES, READOUT).tolist(), strict=True):
        tissue = brain_tissues(3.0)[name]
        slope = (course(tissue, tissue.t1 * 1.0001) - course(tissue, tissue.t1 * 0.9999)) / 2e-4
        both = torch.cat((slope, course(tissue, tissue.t1)))  # by log T1, and by the log of the density
        wanted = READOUT.noise * float(torch.linalg.inv(both @ both.T)[0, 0].sqrt())
        assert found == pytest.approx(wanted, rel=1e-4)


def test_fits_reach_the_bound_whatever_the_phase():
    tissue, generator = brain_tissues(3.0)["grey"], torch.Generator().manual_seed(0)
    noise = math.sqrt(2) * torch.randn(8, 4000, generator=generator, dtype=torch.complex128)
    images = course(tissue, tissue.t1).T * torch.exp(torch.tensor(1.2j)) + READOUT.noise * noise
    t1 = fitted_t1(images, VALUES, READOUT)
    assert float(t1.mean()) == pytest.approx(tissue.t1, rel=1e-3)
    assert float(t1.std() / tissue.t1) == pytest.approx(float(deviations(VALUES, READOUT)[0]), rel=0.05)


def test_the_usual_sequence_is_as_precise_and_no_shorter_one_is():
    asked = 0.012
    found = usual_of(asked, READOUT, ANGLE, recovery=2.0)
    values = usual(found.images, found.first, found.last, 2.0)
    assert float(overall(values, READOUT)) == pytest.approx(found.deviation)
    assert found.deviation <= asked
    assert found.duration == pytest.approx(float(duration_of(values, READOUT)))
    assert float(overall(usual(found.images - 1, found.first, found.last, 2.0), READOUT)) > asked
    for last in (0.8, 1.6, 3.2):
        for images in range(3, 8):
            other = usual(images, 0.06, last, 2.0)
            if float(duration_of(other, READOUT)) < 0.9 * found.duration:
                assert float(overall(other, READOUT)) > asked
