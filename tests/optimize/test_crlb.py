"""The bound of a line's slope, of QALAS by other code, and its derivatives by finite differences of a design."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from pulsetwin.errors import ProtocolError, ShapeError
from pulsetwin.optimize.crlb import jacobian, mean, variances, worst
from pulsetwin.recon.qalas.crlb import least_deviations
from pulsetwin.sim.signal_models.qalas import signals
from pulsetwin.sim.signal_models.qalas_timing import QalasTiming

TIMING = QalasTiming.preset("siemens")
TISSUE = {
    "t1": torch.tensor([0.85, 1.35, 4.0], dtype=torch.float64),
    "t2": torch.tensor([0.07, 0.085, 1.8], dtype=torch.float64),
    "pd": torch.tensor([0.7, 0.85, 1.0], dtype=torch.float64),
    "ie": torch.tensor([0.9, 0.92, 0.99], dtype=torch.float64),
}
B1 = torch.tensor([0.8, 1.0, 1.2], dtype=torch.float64)
UNKNOWNS = ("t1", "t2", "pd", "ie")


def qalas(timing=TIMING):
    return lambda tissue: signals(timing, tissue["t1"], tissue["t2"], pd=tissue["pd"], ie=tissue["ie"], b1=B1)


def test_line():
    """The variance of a fitted line's slope is that of textbooks, noise^2 / sum (x - mean x)^2."""
    x = torch.tensor([0.0, 1.0, 2.5, 7.0], dtype=torch.float64)
    line = torch.stack((x, torch.ones(4, dtype=torch.float64)), -1)[None]
    noise = torch.tensor([0.3], dtype=torch.float64)
    assert variances(line, 1, noise).item() == pytest.approx(0.09 / float(((x - x.mean()) ** 2).sum()), rel=1e-12)


def test_nuisance_is_eliminated():
    """The Schur complement gives the block of the whole inverse."""
    rows = torch.randn(6, 9, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    rows = rows * torch.tensor([1e-4, 30.0, 1.0, 2e5])
    whole = torch.linalg.inv(rows.mT @ rows).diagonal(dim1=-2, dim2=-1)
    assert torch.allclose(variances(rows, 2, 0.1), 0.01 * whole[:, :2], rtol=1e-8)


@pytest.mark.parametrize("known", [False, True])
def test_agrees_with_the_bound_of_maps(known):
    """The bound that maps come with, by compiled code with derivatives of its own."""
    unknowns = UNKNOWNS[: 3 if known else 4]
    found = variances(jacobian(qalas(), TISSUE, unknowns), 3, 0.01).sqrt()
    table = np.stack([TISSUE[name].numpy() for name in UNKNOWNS])
    assert np.allclose(found.T, least_deviations(TIMING, table, B1.numpy(), 0.01, ie_known=known)[:3], rtol=1e-9)


def test_derivatives_by_the_design():
    """Those of the bound by flip angles are its differences."""
    start = torch.tensor([0.09, 0.06, 0.1, 0.03, 0.08], dtype=torch.float64, requires_grad=True)

    def bound(angles):
        timing = replace(TIMING, flip_angles=tuple(angles))
        found = variances(jacobian(qalas(timing), TISSUE, UNKNOWNS), 2)
        return worst(found / torch.stack((TISSUE["t1"], TISSUE["t2"]), 1) ** 2, 20.0)

    assert torch.autograd.gradcheck(bound, (start,), eps=1e-7, rtol=1e-4, atol=1e-3)


def test_complex_signals_are_twice_the_measurements():
    """A phase is told by the imaginary part: the bound of it is that of noise over amplitude."""
    value = {"phase": torch.tensor([0.3], dtype=torch.float64), "size": torch.tensor([2.0], dtype=torch.float64)}
    rows = jacobian(lambda own: torch.polar(own["size"], own["phase"])[..., None], value, ("phase", "size"))
    assert torch.allclose(variances(rows, 2, 0.1), torch.tensor([[0.05**2, 0.1**2]], dtype=torch.float64))


def test_worst_and_mean():
    """The smooth maximum lies above the maximum and goes to it; weights are those of tissues."""
    values = torch.tensor([[1.0, 2.0], [3.0, 4.0]], dtype=torch.float64)
    assert 4.0 < worst(values, 8.0) < 4.0 * 4 ** (1 / 8)
    assert worst(values, 2000.0).item() == pytest.approx(4.0, rel=1e-3)
    assert mean(values).item() == 2.5
    assert mean(values, torch.tensor([3.0, 1.0], dtype=torch.float64)).item() == pytest.approx(0.75 * 1.5 + 0.25 * 3.5)


def test_says_what_is_missing():
    with pytest.raises(ProtocolError, match="'t3' has no value: the tissue has t1"):
        jacobian(qalas(), TISSUE, ("t1", "t3"))
    with pytest.raises(ShapeError, match="5 measurements of 6 unknowns"):
        variances(torch.zeros(1, 5, 6, dtype=torch.float64), 1)


def test_more_noise_more_variance():
    """The bound goes with the noise squared."""
    rows = jacobian(qalas(), TISSUE, UNKNOWNS)
    assert torch.allclose(variances(rows, 2, 0.02), 4 * variances(rows, 2, 0.01))
    assert math.isfinite(float(variances(rows, 4).sum()))
