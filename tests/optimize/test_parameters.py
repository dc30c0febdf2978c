"""Parameters keep their bounds, begin where they are told to, and move by their scale."""

from __future__ import annotations

import math

import pytest
import torch

from pulsetwin.errors import ProtocolError
from pulsetwin.optimize.parameters import Parameter, starts, values_of

BOUNDS = [(-math.inf, math.inf), (0.0, math.inf), (-math.inf, 5.0), (0.0, 5.0)]


@pytest.mark.parametrize(("low", "high"), BOUNDS)
def test_value_undoes_free(low, high):
    start = torch.tensor([0.3, 1.0, 4.9], dtype=torch.float64)
    parameter = Parameter(start, low, high)
    assert torch.allclose(parameter.value(parameter.free()), start, rtol=1e-12)


@pytest.mark.parametrize(("low", "high"), BOUNDS)
def test_no_free_number_leaves_the_bounds(low, high):
    value = Parameter(torch.ones(1), low, high).value(torch.linspace(-40, 40, 801, dtype=torch.float64))
    assert bool((value >= low).all() and (value <= high).all())
    assert bool((value.diff() >= 0).all() or (value.diff() <= 0).all())


def test_a_start_at_its_bound_can_still_move():
    for start, low, high in ((0.0, 0.0, 1.0), (1.0, 0.0, 1.0), (0.0, 0.0, math.inf), (2.0, -math.inf, 2.0)):
        parameter = Parameter(torch.tensor(start), low, high)
        free = parameter.free().requires_grad_()
        parameter.value(free).backward()
        assert abs(float(free.grad)) > 1e-7
        assert float(parameter.value(free.detach())) == pytest.approx(start, abs=2e-6)


def test_each_number_may_have_its_own_bounds():
    high = torch.tensor([[0.1], [5.0]], dtype=torch.float64)
    parameter = Parameter(torch.tensor([[0.1, -0.1], [0.3, 4.0]], dtype=torch.float64), -high, high)
    torch.testing.assert_close(parameter.value(parameter.free()), parameter.start, rtol=0, atol=1e-6)
    assert bool((parameter.value(torch.full((2, 2), 40.0)) <= high).all())
    with pytest.raises(ProtocolError, match="outside"):
        Parameter(torch.full((2, 2), 1.0), -high, high)


def test_scale_is_the_slope_in_the_middle():
    for parameter in (Parameter(torch.tensor(0.0), scale=30.0), Parameter(torch.tensor(0.0), -100, 100, scale=30.0)):
        free = parameter.free().requires_grad_()
        parameter.value(free).backward()
        assert float(free.grad) == pytest.approx(30.0)


@pytest.mark.parametrize(
    ("start", "low", "high", "scale"),
    [(2.0, 0.0, 1.0, None), (0.5, 1.0, 0.0, None), (math.nan, -math.inf, math.inf, None), (0.5, 0.0, 1.0, -1.0)],
)
def test_what_cannot_be_is_refused(start, low, high, scale):
    with pytest.raises(ProtocolError, match="parameter"):
        Parameter(torch.tensor(start), low, high, scale)


def test_names_are_kept():
    parameters = {"a": Parameter(torch.ones(2)), "b": Parameter(torch.tensor([[0.5]]), 0, 1)}
    values = values_of(parameters, starts(parameters))
    assert list(values) == ["a", "b"]
    assert values["b"].shape == (1, 1)
